//! Forgets events after an hour, as etcd's lease on them does (`--event-ttl`, `pkg/controlplane/apiserver/options`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::pods::{Key, after, key_of};
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, EventType};

const TTL_SECONDS: i64 = 3600;

#[derive(Default)]
pub(super) struct EventTtl {
    due: BTreeSet<(Timestamp, Key)>,
    /// The same by key.
    expires: BTreeMap<Key, Timestamp>,
}

impl Controller for EventTtl {
    fn name(&self) -> &'static str {
        "event-ttl"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        for change in changed.iter().filter(|change| change.plural() == "events" && change.event != EventType::Deleted) {
            let (key, at) = (key_of(&change.object), after(now, TTL_SECONDS));
            if let Some(before) = self.expires.insert(key.clone(), at) {
                self.due.remove(&(before, key.clone()));
            }
            self.due.insert((at, key));
        }
        while let Some((at, _)) = self.due.first() {
            if *at > now {
                break;
            }
            if let Some((_, key)) = self.due.pop_first() {
                self.expires.remove(&key);
                let (namespace, name) = key;
                // Somebody may have deleted it before.
                let _ = api.delete(now, "events", &namespace, &name, DeleteOptions::now());
            }
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }
}
