//! Which objects of one kind each owner controls, kept from changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::pods::{Key, key_of};
use crate::api::Api;
use crate::store::{Change, EventType, Object};

/// Objects by the uid of their controller.
pub(super) struct Owned {
    plural: &'static str,
    by_uid: BTreeMap<String, BTreeSet<Key>>,
}

impl Owned {
    pub fn new(plural: &'static str) -> Self {
        Owned { plural, by_uid: BTreeMap::new() }
    }

    /// Takes in a change of this kind. Gives the owners that should look: name and kind.
    pub fn apply(&mut self, change: &Change) -> Vec<(String, Key)> {
        if change.plural() != self.plural {
            return Vec::new();
        }
        let mut owners = Vec::new();
        for (object, there) in [(change.previous.as_ref(), false), (Some(&change.object), change.event != EventType::Deleted)] {
            let Some(object) = object else { continue };
            let Some(owner) = object.meta.controller() else { continue };
            let set = self.by_uid.entry(owner.uid.clone()).or_default();
            if there {
                set.insert(key_of(object));
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
        let keys = self.by_uid.get(uid).into_iter().flatten();
        keys.filter_map(|(namespace, name)| api.store().get(self.plural, namespace, name))
            .filter(|object| object.meta.controller().is_some_and(|owner| owner.uid == uid))
            .cloned()
            .collect()
    }
}
