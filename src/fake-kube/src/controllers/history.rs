//! ControllerRevisions: what the template of a StatefulSet or DaemonSet was.
//!
//! Source: `pkg/controller/history/controller_history.go`, `pkg/controller/{statefulset/stateful_set_utils,daemon/update}.go`. Names carry
//! our own hash of the template, not Go's.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::deployments::template_hash;
use super::pods::{number, owner_reference};
use crate::api::{Api, DeleteOptions};
use crate::status::Status;
use crate::store::Object;

const PLURAL: &str = "apps/controllerrevisions";

/// An owner's template, as it is and as it was, the oldest first.
pub(super) struct History {
    pub all: Vec<Arc<Object>>,
    /// The revision of the template as it is.
    pub update: Arc<Object>,
}

/// The label of revisions (and, of DaemonSets, of their pods) that carries the hash.
pub(super) struct Labels {
    pub hash: &'static str,
}

/// Finds the revision of the owner's template, or makes it. One that was there before becomes the newest again.
pub(super) fn sync(api: &mut Api, now: Timestamp, owner: &Object, value: &Value, labels: &Labels) -> Result<History, Status> {
    let mut all = of(api, owner);
    let data = patch(&value["spec"]["template"]);
    let newest = all.last().map_or(0, |one| number(&one.value(), "/revision"));
    let equal = all.iter().rposition(|one| one.value()["data"] == data);
    let update = match equal {
        Some(at) if at + 1 == all.len() => all[at].clone(),
        Some(at) => {
            let meta = all[at].meta.clone();
            let raised = api.update_with(now, PLURAL, &meta.namespace, &meta.name, None, |one| one["revision"] = json!(newest + 1))?;
            all.remove(at);
            all.push(raised.clone());
            raised
        }
        None => {
            let made = create(api, now, owner, value, labels, (data, newest + 1))?;
            all.push(made.clone());
            made
        }
    };
    Ok(History { all, update })
}

fn of(api: &Api, owner: &Object) -> Vec<Arc<Object>> {
    let ours = |one: &&Arc<Object>| one.meta.controller().is_some_and(|by| by.uid == owner.meta.uid);
    let mut all: Vec<Arc<Object>> = api.store().list_in(PLURAL, &owner.meta.namespace).filter(ours).cloned().collect();
    all.sort_by_key(|one| (number(&one.value(), "/revision"), one.meta.creation, one.meta.name.clone()));
    all
}

fn create(
    api: &mut Api,
    now: Timestamp,
    owner: &Object,
    value: &Value,
    labels: &Labels,
    (data, revision): (Value, i64),
) -> Result<Arc<Object>, Status> {
    let template = &value["spec"]["template"];
    let mut collisions = number(value, "/status/collisionCount");
    loop {
        let hash = template_hash(template, collisions);
        let mut carried = template["metadata"]["labels"].clone();
        if !carried.is_object() {
            carried = json!({});
        }
        carried[labels.hash] = json!(hash);
        let mut annotations = value["metadata"]["annotations"].clone();
        if !annotations.is_object() {
            annotations = json!({});
        }
        let made = api.create(
            now,
            PLURAL,
            &owner.meta.namespace,
            json!({
                "metadata": {
                    "name": format!("{}-{hash}", owner.meta.name), "labels": carried, "annotations": annotations,
                    "ownerReferences": [owner_reference(owner)],
                },
                "data": data, "revision": revision,
            }),
        );
        match made {
            Err(why) if why.code == 409 && collisions < 100 => collisions += 1,
            made => return made,
        }
    }
}

/// What restores the template (`getPatch`).
fn patch(template: &Value) -> Value {
    let mut template = template.clone();
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}

/// The template that a revision holds.
pub(super) fn template(revision: &Object) -> Value {
    let mut template = revision.value()["data"]["spec"]["template"].clone();
    if let Some(map) = template.as_object_mut() {
        map.shift_remove("$patch");
    }
    template
}

/// Forgets the oldest revisions that nothing uses, beyond `limit`.
pub(super) fn truncate(api: &mut Api, now: Timestamp, all: &[Arc<Object>], live: &BTreeSet<String>, limit: i64) {
    let dead: Vec<&Arc<Object>> = all.iter().filter(|one| !live.contains(&one.meta.name)).collect();
    let surplus = dead.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    for one in dead.into_iter().take(surplus) {
        // Gone already: then it is forgotten.
        let _ = api.delete(now, PLURAL, &one.meta.namespace, &one.meta.name, DeleteOptions::default().if_uid(&one.meta.uid));
    }
}
