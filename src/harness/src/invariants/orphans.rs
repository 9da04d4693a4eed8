//! No instance without an owner for longer than garbage collection takes.
//!
//! Upstream lists instances every ten seconds, twenty times, and then every two minutes, and terminates those older than 30 s that no
//! NodeClaim names (`A/pkg/controllers/nodeclaim/garbagecollection/controller.go`). So the longest that an orphan may live is
//! 30 s + 2 min, and 15 s for the calls themselves.

use super::view::View;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// From the launch, or the end of its NodeClaim, to the beginning of its termination.
pub const BOUND: SignedDuration = SignedDuration::from_secs(30 + 120 + 15);

#[derive(Debug, Default)]
pub struct Orphans {
    /// Since when instances are without a NodeClaim.
    since: BTreeMap<String, Timestamp>,
    told: BTreeSet<String>,
}

impl Orphans {
    /// Machines or NodeClaims have changed.
    pub fn look(&mut self, view: &View, now: Timestamp) {
        let owned: BTreeSet<&String> = view.claims.values().filter_map(|claim| claim.instance.as_ref()).collect();
        let without = view.machines.iter().filter(|(id, machine)| machine.on && machine.autoscaled && !owned.contains(id));
        let before = std::mem::take(&mut self.since);
        self.since = without.map(|(id, _)| (id.clone(), before.get(id).copied().unwrap_or(now))).collect();
    }

    /// Instances that are without a NodeClaim now.
    pub fn present(&self) -> impl Iterator<Item = &String> {
        self.since.keys()
    }

    pub fn tick(&mut self, now: Timestamp) -> Vec<String> {
        let late = self.since.iter().filter(|(id, since)| now.duration_since(**since) > BOUND && !self.told.contains(*id));
        let late: Vec<(String, Timestamp)> = late.map(|(id, since)| (id.clone(), *since)).collect();
        late.into_iter()
            .map(|(id, since)| {
                let waited = now.duration_since(since).as_secs();
                let what =
                    format!("instance {id} runs without a NodeClaim for {waited}s, garbage collection takes {}s at most", BOUND.as_secs());
                self.told.insert(id);
                what
            })
            .collect()
    }
}
