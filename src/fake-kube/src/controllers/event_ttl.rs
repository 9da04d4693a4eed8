//! Forgets events after an hour, as etcd's lease on them does (`--event-ttl`, `pkg/controlplane/apiserver/options`).

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::pods::{Key, after, key_of};
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, EventType};

const TTL_SECONDS: i64 = 3600;

#[derive(Default)]
pub(super) struct EventTtl {
    due: BTreeSet<(Timestamp, Key)>,
}

impl Controller for EventTtl {
    fn name(&self) -> &'static str {
        "event-ttl"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        for change in changed.iter().filter(|change| change.plural() == "events" && change.event != EventType::Deleted) {
            self.due.insert((after(now, TTL_SECONDS), key_of(&change.object)));
            if let Some(previous) = &change.previous {
                self.due.retain(|(at, key)| *key != key_of(previous) || *at == after(now, TTL_SECONDS));
            }
        }
        while let Some((at, _)) = self.due.first() {
            if *at > now {
                break;
            }
            if let Some((_, (namespace, name))) = self.due.pop_first() {
                // Somebody may have deleted it before.
                let _ = api.delete(now, "events", &namespace, &name, DeleteOptions::now());
            }
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    fn unsettled(&self, _: &Api) -> Vec<String> {
        Vec::new()
    }
}
