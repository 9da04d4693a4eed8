//! What a plan says, and why. Both are data: the executor has no choices left, and every view renders the same explanation.

use crate::input::Labels;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::{Requirement, Resources, Taint, UsdPerHour};

/// What should exist. Empty when the cluster needs nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub launches: Vec<NodeClaimPlan>,
    /// Pods that an existing or coming node will take, by the node's name: nobody launches for them.
    pub nominations: Vec<Nomination>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.launches.is_empty() && self.nominations.is_empty()
    }
}

/// A NodeClaim to create.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeClaimPlan {
    pub pool: Arc<str>,
    pub pool_uid: Arc<str>,
    pub node_class: Arc<str>,
    pub labels: Labels,
    pub annotations: Labels,
    pub taints: Vec<Taint>,
    pub startup_taints: Vec<Taint>,
    /// As they go into `spec.requirements`, `node.kubernetes.io/instance-type` included, in order of keys.
    pub requirements: Vec<ClaimRequirement>,
    /// Pods and daemons together: `spec.resources.requests`.
    pub requests: Resources,
    pub expire_after: Option<SignedDuration>,
    pub termination_grace_period: Option<SignedDuration>,
    /// Instance types in order of their cheapest fitting price.
    pub instance_types: Vec<Choice>,
    /// `namespace/name` of the pods it is for.
    pub pods: Vec<Arc<str>>,
}

/// A requirement with its values in the order in which upstream writes them: by name, instance types too
/// (`C/pkg/scheduling/requirement.go`, NodeSelectorRequirement).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimRequirement {
    pub requirement: Requirement,
    pub ordered_values: Vec<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    pub instance_type: Arc<str>,
    /// Cheapest available offering that fits the requirements.
    pub price: UsdPerHour,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nomination {
    /// `namespace/name`.
    pub pod: Arc<str>,
    pub node: Arc<str>,
}

/// Why the plan is what it is: one entry per pod considered, those left alone included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub pods: Vec<PodVerdict>,
    pub launches: Vec<LaunchReason>,
    /// NodePools that no pod can get a node of, in the order in which they are tried.
    #[serde(default)]
    pub barren: Vec<Barren>,
    /// Pods of phase Pending by the zone that they, their volumes and their spread leave them: its name, `flexible` for several, `none`
    /// (`C/pkg/controllers/provisioning/scheduling/scheduler.go`, computeEffectiveZoneFromPod).
    #[serde(default)]
    pub zones: BTreeMap<Arc<str>, u32>,
}

/// A ready NodePool whose own requirements leave none of the instance types that it is offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Barren {
    pub pool: Arc<str>,
    /// Some types would do, but fewer than its `minValues` demand.
    pub min_values: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodVerdict {
    /// `namespace/name`.
    pub pod: Arc<str>,
    pub outcome: PodOutcome,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PodOutcome {
    /// An existing node, or one that is on its way, takes it.
    FitsNode(Arc<str>),
    /// The launch with this index in the plan takes it.
    Launch(usize),
    /// Nothing takes it: per pool the first constraint that failed.
    Unschedulable(Vec<PoolRefusal>),
    /// The pod itself is refused (`C/pkg/controllers/provisioning/provisioner.go`, Validate).
    Invalid {
        fault: Arc<str>,
        /// The same in Karpenter's words.
        words: Arc<str>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolRefusal {
    pub pool: Arc<str>,
    pub reason: Refusal,
    /// Per instance type of the pool the first constraint that failed, in order of names.
    pub types: Vec<(Arc<str>, Refusal)>,
    /// What Karpenter says of it in the pod's `FailedScheduling`, to the letter; empty where it says nothing: the pool is not looked at,
    /// or the pod waits for a reservation.
    #[serde(default)]
    pub words: Arc<str>,
}

/// The first constraint that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Refusal {
    NotReady,
    /// A taint that the pod does not tolerate.
    Taint(Taint),
    /// What is asked (of the pod) against what is offered.
    Requirement {
        asked: String,
        offered: String,
    },
    /// Asked and available amount of one resource, daemons included in what is asked.
    Resource {
        name: Arc<str>,
        asked: i64,
        room: i64,
    },
    /// `spec.limits` of this resource: what is left and what the smallest type takes.
    Limits {
        name: Arc<str>,
        limit: i64,
        left: i64,
        smallest: i64,
    },
    /// Fits, but no zone and market of it is to be had.
    NoOffering {
        detail: String,
    },
    HostPort {
        port: i32,
    },
    /// A rule about other pods, by Karpenter's name for it, and the pods that it counts by domain.
    Topology {
        rule: Arc<str>,
        key: Arc<str>,
        domains: Vec<(Arc<str>, i64)>,
    },
    /// What the pod's volumes ask against what is offered.
    Volume {
        asked: String,
        offered: String,
    },
    MinValues {
        key: Arc<str>,
        wanted: u32,
        found: u32,
    },
    /// No instance type meets the pool's own requirements.
    NoInstanceTypes,
    /// Reserved capacity would do, but other NodeClaims hold all of it: the pod waits for a later pass, without an event
    /// (`C/pkg/controllers/provisioning/scheduling/scheduler.go`, ReservedOfferingError).
    ReservedCapacity,
    /// A constraint that this planner does not decide.
    Undecided(Arc<str>),
}

/// Why a launch got the instance types it got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchReason {
    pub pool: Arc<str>,
    /// Pods and daemons.
    pub requests: Resources,
    pub daemons: Resources,
    pub pods: usize,
    pub chosen: Vec<Choice>,
    /// Types of the pool that were ruled out, with the first constraint that failed; none in plans of more than a hundred launches.
    pub ruled_out: Vec<(Arc<str>, Refusal)>,
    /// Pools that were tried before, with the reason they lost.
    pub refused_pools: Vec<PoolRefusal>,
}
