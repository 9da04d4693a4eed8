//! Deletes what has lost its last owner, and carries out foreground and orphaning deletion.
//!
//! Source: `pkg/controller/garbagecollector/garbagecollector.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::events::Recorder;
use crate::api::{Api, DeleteOptions, Propagation};
use crate::controller::Controller;
use crate::store::{Change, EventType, Object, OwnerRef};

/// Kind, namespace, name.
type Id = (String, String, String);

pub(super) struct Garbage {
    /// Objects by the uid of each of their owners.
    dependents: BTreeMap<String, BTreeSet<Id>>,
    recorder: Recorder,
}

impl Default for Garbage {
    fn default() -> Self {
        Garbage { dependents: BTreeMap::new(), recorder: Recorder::new("garbage-collector-controller") }
    }
}

impl Controller for Garbage {
    fn name(&self) -> &'static str {
        "garbagecollector"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let (mut orphans, mut deleting) = (BTreeSet::new(), BTreeSet::new());
        for change in changed {
            let id = id_of(&change.object);
            self.index(change, &id);
            if change.event == EventType::Deleted {
                orphans.extend(self.dependents.get(&change.object.meta.uid).into_iter().flatten().cloned());
                // Owners that wait for their dependents look again.
                deleting.extend(
                    change
                        .object
                        .meta
                        .owners
                        .iter()
                        .filter_map(|owner| find(api, owner, &change.object.meta.namespace))
                        .map(|owner| id_of(&owner)),
                );
            } else {
                if !change.object.meta.owners.is_empty() {
                    orphans.insert(id.clone());
                    self.warn(api, now, change);
                }
                if change.object.meta.deletion.is_some() {
                    deleting.insert(id);
                }
            }
        }
        for id in deleting {
            self.process_deletion(api, now, &id);
        }
        for id in orphans {
            self.attempt_to_delete(api, now, &id);
        }
    }
}

impl Garbage {
    fn index(&mut self, change: &Change, id: &Id) {
        for owner in change.previous.iter().flat_map(|before| &before.meta.owners) {
            if let Some(set) = self.dependents.get_mut(&owner.uid) {
                set.remove(id);
                if set.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        if change.event != EventType::Deleted {
            for owner in &change.object.meta.owners {
                self.dependents.entry(owner.uid.clone()).or_default().insert(id.clone());
            }
        }
    }

    /// An owner that lives in another namespace is none (reportInvalidNamespaceOwnerRef).
    fn warn(&mut self, api: &mut Api, now: Timestamp, change: &Change) {
        let object = &change.object;
        let known: Vec<&str> = change.previous.iter().flat_map(|before| &before.meta.owners).map(|owner| owner.uid.as_str()).collect();
        for owner in object.meta.owners.iter().filter(|owner| !known.contains(&owner.uid.as_str())) {
            let Some(kind) = kind_of(api, owner).filter(|_| find(api, owner, &object.meta.namespace).is_none()) else { continue };
            let elsewhere = |other: &Arc<Object>| other.meta.uid == owner.uid && other.meta.namespace != object.meta.namespace;
            if !api.store().list(&kind).any(elsewhere) {
                continue;
            }
            let namespace = &object.meta.namespace;
            let named = format!("{}/{}, namespace: {namespace}, name: {}, uid: {}", owner.api_version, owner.kind, owner.name, owner.uid);
            let message = format!("ownerRef [{named}] does not exist in namespace {namespace:?}");
            self.recorder.warning(api, now, object, "OwnerRefInvalidNamespace", &message);
        }
    }

    /// An object under deletion that orphans its dependents, or waits for them.
    fn process_deletion(&self, api: &mut Api, now: Timestamp, id: &Id) {
        let Some(object) = api.store().get(&id.0, &id.1, &id.2).filter(|object| object.meta.deletion.is_some()).cloned() else { return };
        let has = |finalizer: &str| object.meta.finalizers.iter().any(|one| one == finalizer);
        let dependents: Vec<Arc<Object>> = self
            .dependents
            .get(&object.meta.uid)
            .into_iter()
            .flatten()
            .filter_map(|id| api.store().get(&id.0, &id.1, &id.2))
            .cloned()
            .collect();
        if has("orphan") {
            for dependent in &dependents {
                remove_owners(api, now, dependent, &[object.meta.uid.as_str()]);
            }
            remove_finalizer(api, now, &object, "orphan");
        } else if has("foregroundDeletion") {
            for dependent in &dependents {
                self.attempt_to_delete(api, now, &id_of(dependent));
            }
            // Those that another owner keeps have let go of this one by now.
            let now_there = dependents.iter().filter_map(|one| api.store().get(&one.kind.key, &one.meta.namespace, &one.meta.name));
            let blocking = now_there
                .flat_map(|dependent| &dependent.meta.owners)
                .any(|owner| owner.uid == object.meta.uid && owner.block_owner_deletion);
            if !blocking {
                remove_finalizer(api, now, &object, "foregroundDeletion");
            }
        }
    }

    /// `attemptToDeleteItem`: an object goes when none of its owners is left. Beside a living owner only the references go, to owners
    /// that are gone and to owners that wait for their dependents.
    fn attempt_to_delete(&self, api: &mut Api, now: Timestamp, id: &Id) {
        let Some(object) = api.store().get(&id.0, &id.1, &id.2).filter(|object| object.meta.deletion.is_none()).cloned() else { return };
        let (mut solid, mut waiting, mut dangling) = (0, Vec::new(), Vec::new());
        for owner in &object.meta.owners {
            // Owners of kinds that are not known count as there: upstream waits until it knows.
            match find(api, owner, &object.meta.namespace) {
                Some(there) if there.meta.deletion.is_some() && there.meta.finalizers.iter().any(|one| one == "foregroundDeletion") => {
                    waiting.push(owner.uid.as_str());
                }
                Some(_) => solid += 1,
                None if kind_of(api, owner).is_none() => solid += 1,
                // Nor can be told of a cluster-scoped object whose owner ought to be in a namespace (namespacedOwnerOfClusterScopedObjectErr).
                None if object.meta.namespace.is_empty() && is_namespaced(api, owner) => return,
                None => dangling.push(owner.uid.as_str()),
            }
        }
        if object.meta.owners.is_empty() || (dangling.is_empty() && waiting.is_empty()) {
            return;
        }
        if solid > 0 {
            dangling.append(&mut waiting);
            remove_owners(api, now, &object, &dangling);
        } else if !waiting.is_empty() && self.dependents.contains_key(&object.meta.uid) {
            delete(api, now, &object, Propagation::Foreground);
        } else {
            let policy = |finalizer: &str| object.meta.finalizers.iter().any(|one| one == finalizer);
            let propagation = if policy("orphan") {
                Propagation::Orphan
            } else if policy("foregroundDeletion") {
                Propagation::Foreground
            } else {
                Propagation::Background
            };
            delete(api, now, &object, propagation);
        }
    }
}

fn id_of(object: &Object) -> Id {
    (object.kind.key.clone(), object.meta.namespace.clone(), object.meta.name.clone())
}

/// The owner that a reference means, if it is there. A cluster-scoped object cannot have a namespaced owner.
fn find(api: &Api, owner: &OwnerRef, namespace: &str) -> Option<Arc<Object>> {
    let kind = kind_of(api, owner)?;
    let namespace = if api.store().kind(&kind)?.namespaced { namespace } else { "" };
    api.store().get(&kind, namespace, &owner.name).filter(|object| object.meta.uid == owner.uid).cloned()
}

fn is_namespaced(api: &Api, owner: &OwnerRef) -> bool {
    kind_of(api, owner).and_then(|kind| api.store().kind(&kind)).is_some_and(|kind| kind.namespaced)
}

fn kind_of(api: &Api, owner: &OwnerRef) -> Option<String> {
    let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    api.store().kinds().find(|kind| kind.group == group && kind.kind == owner.kind).map(|kind| kind.key.clone())
}

fn delete(api: &mut Api, now: Timestamp, object: &Object, propagation: Propagation) {
    let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }.if_uid(&object.meta.uid);
    // Fails only when it is gone already, or was made again under the same name.
    let _ = api.delete(now, &object.kind.key, &object.meta.namespace, &object.meta.name, options);
}

fn remove_owners(api: &mut Api, now: Timestamp, object: &Object, uids: &[&str]) {
    if uids.is_empty() {
        return;
    }
    let _ = api.update_with(now, &object.kind.key, &object.meta.namespace, &object.meta.name, None, |value| {
        retain(&mut value["metadata"], "ownerReferences", |owner| !uids.iter().any(|uid| owner["uid"] == *uid));
    });
}

fn remove_finalizer(api: &mut Api, now: Timestamp, object: &Object, finalizer: &str) {
    let _ = api.update_with(now, &object.kind.key, &object.meta.namespace, &object.meta.name, None, |value| {
        retain(&mut value["metadata"], "finalizers", |one| one != finalizer);
    });
}

fn retain(meta: &mut Value, field: &str, keep: impl Fn(&Value) -> bool) {
    let Some(map) = meta.as_object_mut() else { return };
    if let Some(list) = map.get_mut(field).and_then(Value::as_array_mut) {
        list.retain(|one| keep(one));
        if list.is_empty() {
            map.shift_remove(field);
        }
    }
}
