//! Condition sets with a root `Ready` that follows its dependents.
//!
//! Source: `github.com/awslabs/operatorpkg/status/condition_set.go`. Times are cut to whole seconds, as `metav1.Time` writes them.

use api::Condition;
use jiff::{Timestamp, Unit};
use kube::ResourceExt;

/// The dependents of `Ready` of each kind (`C/pkg/apis/v1/*_status.go`, `A/pkg/apis/v1/ec2nodeclass_status.go`).
pub const NODE_CLAIM: &[&str] = &["Launched", "Registered", "Initialized"];
pub const NODE_POOL: &[&str] = &["ValidationSucceeded", "NodeClassReady"];
pub const NODE_OVERLAY: &[&str] = &["ValidationSucceeded"];
pub const EC2_NODE_CLASS: &[&str] = &[
    "AMIsReady",
    "SubnetsReady",
    "SecurityGroupsReady",
    "InstanceProfileReady",
    "ValidationSucceeded",
    "PlacementGroupReady",
    "CapacityReservationsReady",
];

/// While the gate `ReservedCapacity` is off.
pub const EC2_NODE_CLASS_UNRESERVED: &[&str] = EC2_NODE_CLASS.split_last().expect("it has members").1;

const ROOT: &str = "Ready";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    True,
    False,
    Unknown,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        }
    }

    pub fn of(condition: Option<&Condition>) -> Self {
        match condition.map(|c| c.status.as_str()) {
            Some("True") => Status::True,
            Some("False") => Status::False,
            _ => Status::Unknown,
        }
    }
}

/// Whole seconds, downwards.
pub fn seconds(at: Timestamp) -> Timestamp {
    at.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc)).unwrap_or(at)
}

/// A draft of an object's conditions. What the object lacks of its dependents is Unknown from the start.
pub struct ConditionSet {
    dependents: &'static [&'static str],
    conditions: Vec<Condition>,
    generation: i64,
    deleting: bool,
    created: Timestamp,
    now: Timestamp,
    /// Whose status became another here, in order: a second holds several.
    turned: Vec<String>,
}

impl ConditionSet {
    pub fn new(object: &impl ResourceExt, conditions: &[Condition], dependents: &'static [&'static str], now: Timestamp) -> Self {
        let meta = object.meta();
        let created = meta.creation_timestamp.as_ref().map_or(now, |time| time.0);
        let mut set = ConditionSet {
            dependents,
            conditions: conditions.to_vec(),
            generation: meta.generation.unwrap_or(0),
            deleting: meta.deletion_timestamp.is_some(),
            created: seconds(created),
            now: seconds(now),
            turned: Vec::new(),
        };
        for kind in std::iter::once(&ROOT).chain(dependents) {
            if set.get(kind).is_none() {
                set.unknown(kind, "AwaitingReconciliation", "object is awaiting reconciliation");
            }
        }
        set
    }

    pub fn get(&self, kind: &str) -> Option<&Condition> {
        api::condition::find(&self.conditions, kind)
    }

    pub fn status(&self, kind: &str) -> Status {
        Status::of(self.get(kind))
    }

    pub fn is_true(&self, kind: &str) -> bool {
        self.status(kind) == Status::True
    }

    pub fn into_conditions(self) -> Vec<Condition> {
        self.conditions
    }

    pub fn set_true(&mut self, kind: &str) -> bool {
        self.set(kind, Status::True, kind, "")
    }

    pub fn set_true_because(&mut self, kind: &str, reason: &str, message: &str) -> bool {
        self.set(kind, Status::True, reason, message)
    }

    pub fn set_false(&mut self, kind: &str, reason: &str, message: &str) -> bool {
        self.set(kind, Status::False, reason, message)
    }

    pub fn unknown(&mut self, kind: &str, reason: &str, message: &str) -> bool {
        self.set(kind, Status::Unknown, reason, message)
    }

    /// Keeps what the condition says, for the object's present generation.
    pub fn keep(&mut self, kind: &str) {
        if let Some(Condition { reason, message, .. }) = self.get(kind).cloned() {
            self.set(kind, self.status(kind), &reason, &message);
        }
    }

    /// Removes a condition that is no dependent of the root.
    pub fn clear(&mut self, kind: &str) {
        if !self.dependents.contains(&kind) {
            self.conditions.retain(|c| c.kind != kind);
        }
    }

    fn set(&mut self, kind: &str, status: Status, reason: &str, message: &str) -> bool {
        let present = self.get(kind).cloned();
        let initial = if kind == ROOT || self.dependents.contains(&kind) { self.created } else { self.now };
        let transition = match &present {
            Some(present) if present.status == status.as_str() => present.last_transition_time,
            Some(_) => Some(self.now),
            None => Some(initial),
        };
        let next = Condition {
            kind: kind.to_owned(),
            status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: transition,
            observed_generation: (self.generation > 0).then_some(self.generation),
        };
        if present.as_ref() == Some(&next) {
            return false;
        }
        if present.is_none_or(|present| present.status != next.status) {
            self.turned.retain(|turned| turned != kind);
            self.turned.push(kind.to_owned());
        }
        self.conditions.retain(|c| c.kind != kind);
        if self.deleting {
            for condition in &mut self.conditions {
                condition.observed_generation = next.observed_generation;
            }
        }
        self.conditions.push(next);
        // The root last, the others by their last transition.
        self.conditions.sort_by_key(|c| (c.kind == ROOT, c.last_transition_time));
        if kind != ROOT {
            self.recompute_root();
        }
        true
    }

    fn recompute_root(&mut self) {
        let current = |c: &Condition| c.observed_generation.unwrap_or(0) == self.generation;
        let mut unhealthy: Vec<&Condition> =
            self.conditions.iter().filter(|c| self.dependents.contains(&c.kind.as_str()) && (!c.is_true() || !current(c))).collect();
        let turn = |c: &Condition| self.turned.iter().position(|turned| *turned == c.kind);
        unhealthy.sort_by_key(|c| std::cmp::Reverse((c.last_transition_time, turn(c))));
        if unhealthy.is_empty() {
            self.set_true(ROOT);
            return;
        }
        let failed = unhealthy.iter().any(|c| c.status == "False" && current(c));
        let message = unhealthy.iter().map(|c| format!("{}={}", c.kind, c.status)).collect::<Vec<_>>().join(", ");
        match failed {
            true => self.set_false(ROOT, "UnhealthyDependents", &message),
            false => self.unknown(ROOT, "ReconcilingDependents", &message),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn claim(generation: i64) -> api::NodeClaim {
        let mut claim = api::NodeClaim::new("c", api::NodeClaimSpec::default());
        claim.metadata.generation = Some(generation);
        claim.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
        claim
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    #[rstest]
    #[case::nothing_known(&[], "Unknown", "ReconcilingDependents")]
    #[case::one_true(&[("Launched", "True")], "Unknown", "ReconcilingDependents")]
    #[case::one_false(&[("Launched", "True"), ("Registered", "False")], "False", "UnhealthyDependents")]
    #[case::all_true(&[("Launched", "True"), ("Registered", "True"), ("Initialized", "True")], "True", "Ready")]
    #[case::others_do_not_matter(&[("Drained", "False")], "Unknown", "ReconcilingDependents")]
    fn the_root_follows(#[case] steps: &[(&str, &str)], #[case] status: &str, #[case] reason: &str) {
        let mut set = ConditionSet::new(&claim(1), &[], NODE_CLAIM, at(9));
        for (kind, status) in steps {
            match *status {
                "True" => set.set_true(kind),
                _ => set.set_false(kind, "R", "m"),
            };
        }
        let root = set.get("Ready").expect("always there");
        assert_eq!((root.status.as_str(), root.reason.as_str()), (status, reason));
        assert_eq!(set.into_conditions().last().map(|c| c.kind.clone()), Some("Ready".into()));
    }

    #[test]
    fn times_move_with_the_status_only() {
        let mut set = ConditionSet::new(&claim(1), &[], NODE_CLAIM, at(9));
        assert_eq!(set.get("Launched").and_then(|c| c.last_transition_time), Some(Timestamp::UNIX_EPOCH));
        set.unknown("Launched", "LaunchFailed", "no");
        assert_eq!(set.get("Launched").and_then(|c| c.last_transition_time), Some(Timestamp::UNIX_EPOCH));
        set.set_true("Launched");
        assert_eq!(set.get("Launched").and_then(|c| c.last_transition_time), Some(at(9)));
        let conditions = set.into_conditions();
        let mut later = ConditionSet::new(&claim(1), &conditions, NODE_CLAIM, at(20));
        assert!(!later.set_true("Launched"));
        assert_eq!(later.into_conditions(), conditions, "the same again is no change");
    }

    #[test]
    fn an_older_generation_is_not_ready() {
        let mut set = ConditionSet::new(&claim(1), &[], NODE_CLAIM, at(9));
        for kind in NODE_CLAIM {
            set.set_true(kind);
        }
        let mut set = ConditionSet::new(&claim(2), &set.into_conditions(), NODE_CLAIM, at(10));
        set.set_true("Launched");
        assert_eq!(set.status("Ready"), Status::Unknown);
        set.keep("Registered");
        set.keep("Initialized");
        assert_eq!(set.status("Ready"), Status::True);
    }
}
