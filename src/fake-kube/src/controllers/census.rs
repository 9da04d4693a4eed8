//! How many pods each owner has, in what state, kept from changes: a ReplicaSet of thousands need not walk through all of them each
//! time that one becomes ready.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::facts;
use crate::api::Api;
use crate::store::{Change, EventType, Object};

/// Counts by the uid of the pods' controller.
#[derive(Default)]
pub(super) struct Census {
    by_uid: BTreeMap<String, Counted>,
    /// The resourceVersion of the last change that was taken in.
    seen: u64,
}

/// The pods of one owner that have not finished.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counted {
    /// Not being deleted; the numbers below are of these.
    pub running: usize,
    pub terminating: usize,
    pub ready: usize,
    /// No ready one became ready later than that.
    pub ready_by: Option<Timestamp>,
    /// By their labels.
    labelled: BTreeMap<BTreeMap<String, String>, usize>,
}

impl Census {
    pub fn apply(&mut self, change: &Change) {
        self.seen = change.resource_version;
        if change.plural() != "pods" {
            return;
        }
        if let Some(previous) = &change.previous {
            self.count(previous, false);
        }
        if change.event != EventType::Deleted {
            self.count(&change.object, true);
        }
    }

    fn count(&mut self, pod: &Object, comes: bool) {
        let Some(owner) = pod.meta.controller() else { return };
        let facts = facts::pod(pod);
        if facts.finished {
            return;
        }
        let counted = self.by_uid.entry(owner.uid.clone()).or_default();
        let step = |number: &mut usize| if comes { *number += 1 } else { *number = number.saturating_sub(1) };
        if pod.meta.deletion.is_some() {
            step(&mut counted.terminating);
        } else {
            step(&mut counted.running);
            if facts.ready_since.is_some() {
                step(&mut counted.ready);
                counted.ready_by = counted.ready_by.max(facts.ready_since);
            }
            match counted.labelled.get_mut(&pod.meta.labels) {
                Some(number) => step(number),
                None => drop(counted.labelled.insert(pod.meta.labels.clone(), usize::from(comes))),
            }
            if !comes {
                counted.labelled.retain(|_, number| *number > 0);
            }
        }
        if counted.running + counted.terminating == 0 {
            self.by_uid.remove(&owner.uid);
        }
    }

    /// The pods of this owner; `None` when something was written that was not taken in yet.
    pub fn of(&self, api: &Api, uid: &str) -> Option<Counted> {
        (api.store().resource_version() == self.seen).then(|| self.by_uid.get(uid).cloned().unwrap_or_default())
    }
}

impl Counted {
    /// By walking through an owner's pods.
    pub fn of<'a>(pods: impl Iterator<Item = &'a Object>) -> Counted {
        let mut counted = Counted::default();
        for pod in pods {
            let facts = facts::pod(pod);
            if facts.finished {
            } else if pod.meta.deletion.is_some() {
                counted.terminating += 1;
            } else {
                counted.running += 1;
                counted.ready += usize::from(facts.ready_since.is_some());
                counted.ready_by = counted.ready_by.max(facts.ready_since);
                *counted.labelled.entry(pod.meta.labels.clone()).or_default() += 1;
            }
        }
        counted
    }

    /// Running ones that have at least these labels.
    pub fn labelled(&self, wanted: &BTreeMap<String, String>) -> usize {
        let has = |labels: &BTreeMap<String, String>| wanted.iter().all(|(key, value)| labels.get(key) == Some(value));
        self.labelled.iter().filter(|(labels, _)| has(labels)).map(|(_, number)| number).sum()
    }
}

/// A controller that only holds the census against what the store says, in every story that is told in tests.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Audit(Census);

#[cfg(test)]
impl crate::controller::Controller for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn step(&mut self, api: &mut Api, _: Timestamp, changed: &[Change]) {
        changed.iter().for_each(|change| self.0.apply(change));
        let owner = |pod: &Object| pod.meta.controller().map(|owner| owner.uid.clone());
        let owners: std::collections::BTreeSet<String> =
            api.store().list("pods").filter_map(|pod| owner(pod)).chain(self.0.by_uid.keys().cloned()).collect();
        for uid in owners {
            let walked = Counted::of(api.store().list("pods").map(|pod| &**pod).filter(|pod| owner(pod).as_ref() == Some(&uid)));
            let counted = self.0.of(api, &uid).expect("everything was taken in");
            assert!(counted.ready_by >= walked.ready_by);
            assert_eq!(Counted { ready_by: walked.ready_by, ..counted }, walked, "pods of {uid}");
        }
    }
}
