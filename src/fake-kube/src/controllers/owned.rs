//! Which objects of one kind each owner controls, kept from changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pods::{Key, key_of};
use crate::api::Api;
use crate::store::{Change, EventType, Object};

/// Objects by the uid of their controller.
pub(super) struct Owned {
    plural: &'static str,
    by_uid: BTreeMap<String, BTreeMap<Key, Arc<Object>>>,
    /// The resourceVersion of the last change that was taken in.
    seen: u64,
}

impl Owned {
    pub fn new(plural: &'static str) -> Self {
        Owned { plural, by_uid: BTreeMap::new(), seen: 0 }
    }

    /// Takes in a change of this kind. Gives the owners that should look: name and kind.
    pub fn apply(&mut self, change: &Change) -> Vec<(String, Key)> {
        self.seen = change.resource_version;
        if change.plural() != self.plural {
            return Vec::new();
        }
        let mut owners = Vec::new();
        for (object, there) in [(change.previous.as_ref(), false), (Some(&change.object), change.event != EventType::Deleted)] {
            let Some(object) = object else { continue };
            let Some(owner) = object.meta.controller() else { continue };
            let set = self.by_uid.entry(owner.uid.clone()).or_default();
            if there {
                set.insert(key_of(object), object.clone());
            } else {
                set.remove(&key_of(object));
            }
            if set.is_empty() {
                self.by_uid.remove(&owner.uid);
            }
            owners.push((owner.kind.clone(), (object.meta.namespace.clone(), owner.name.clone())));
        }
        owners.dedup();
        owners
    }

    /// The owner's objects that the store still has, in order of names.
    pub fn of(&self, api: &Api, uid: &str) -> Vec<Arc<Object>> {
        self.of_which(api, uid, |_| true)
    }

    /// The same, of those that were `asked` for when they were last seen.
    pub fn of_which(&self, api: &Api, uid: &str, asked: impl Fn(&Object) -> bool) -> Vec<Arc<Object>> {
        let held = self.by_uid.get(uid).into_iter().flatten().filter(|(_, object)| asked(object));
        if api.store().resource_version() == self.seen {
            return held.map(|(_, object)| object.clone()).collect();
        }
        held.filter_map(|((namespace, name), _)| api.store().get(self.plural, namespace, name))
            .filter(|object| object.meta.controller().is_some_and(|owner| owner.uid == uid))
            .cloned()
            .collect()
    }
}
