//! Which nodes should go, and what should stand in for them.
//!
//! [`propose`] is one disruption method over one picture of the cluster; [`validate`] judges a command again after its wait. Both
//! simulate scheduling with the loop that provisioning uses. Source: `C/pkg/controllers/disruption/`.
//!
//! Upstream gives up a multi-node search after a minute and a single-node pass after three; there is no clock here, so both run
//! to their end.
//!
//! Several methods over one picture are asked through a [`Search`]; how long its answers hold when nothing changes but the time says
//! [`unchanged_until`].

mod balanced;
mod bench;
mod budget;
mod candidate;
mod consolidate;
mod lasting;
pub(crate) mod pod;
mod simulate;

pub use balanced::{Score, Share, Weighed};
pub use budget::{Allowance, allowances, is_active};
pub use candidate::{Blocker, Candidate};
pub use consolidate::{Search, propose, validate};
pub use lasting::unchanged_until;
pub use pod::{eviction_cost, is_disruptable, is_evictable, is_reschedulable, is_under_way};

use crate::output::{NodeClaimPlan, Nomination};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::UsdPerHour;

/// The ways in which nodes are disrupted by plan, in the order in which they are tried (`controller.go`, NewMethods).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Method {
    Emptiness,
    Drift,
    MultiNode,
    SingleNode,
}

impl Method {
    pub const ALL: [Method; 4] = [Method::Emptiness, Method::Drift, Method::MultiNode, Method::SingleNode];

    /// The reason as budgets, conditions and Events name it.
    pub fn reason(self) -> &'static str {
        match self {
            Method::Emptiness => "Empty",
            Method::Drift => "Drifted",
            Method::MultiNode | Method::SingleNode => "Underutilized",
        }
    }

    /// Whether a command waits and is judged again before it is carried out.
    pub fn is_validated(self) -> bool {
        self != Method::Drift
    }

    /// Whether a pass that found nothing is remembered until the cluster changes.
    pub fn is_remembered(self) -> bool {
        self != Method::Drift
    }
}

/// Nodes to remove, and NodeClaims that must be ready before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    pub method: Method,
    pub nodes: Vec<Removed>,
    pub replacements: Vec<NodeClaimPlan>,
    /// Pods that go to nodes which exist.
    pub nominations: Vec<Nomination>,
    /// What the nodes cost less what the cheapest replacements would.
    pub savings: f64,
}

impl Command {
    /// `delete` or `replace`.
    pub fn decision(&self) -> &'static str {
        if self.replacements.is_empty() { "delete" } else { "replace" }
    }

    pub fn names(&self) -> BTreeSet<Arc<str>> {
        self.nodes.iter().map(|node| node.node.clone()).collect()
    }
}

/// A node that a command removes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Removed {
    pub node: Arc<str>,
    pub node_claim: Arc<str>,
    pub provider_id: Arc<str>,
    pub pool: Arc<str>,
    pub instance_type: Arc<str>,
    pub capacity_type: Arc<str>,
    /// Pods that need another place.
    pub pods: usize,
    pub price: UsdPerHour,
}

/// Why a node stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stays {
    pub node: Arc<str>,
    pub why: Why,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Why {
    /// It may not be disrupted at all now (Event `DisruptionBlocked`).
    Blocked(Blocker),
    /// It could be, but nothing is gained (Event `Unconsolidatable`).
    Unconsolidatable(Unconsolidatable),
    /// Its NodePool's budget for this reason is used up.
    Budget,
    /// It is not marked with the condition that the method asks for: `Consolidatable`, `Drifted`.
    NotMarked(Arc<str>),
    /// It is empty and left to the method for empty nodes, or it is not empty.
    OtherMethod,
    /// Its NodePool is balanced, and giving it up saves too little for the pods that would have to move.
    Unbalanced,
    /// Its NodePool has a fixed size: only drift replaces its nodes.
    FixedSize,
}

/// Why nothing is gained by consolidating a node (`consolidation.go`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Unconsolidatable {
    InstanceTypeNotFound(Arc<str>),
    LabelMissing(Arc<str>),
    ConsolidationDisabled(Arc<str>),
    OnlyWhenEmpty(Arc<str>),
    /// Pods that would find no place, with the reason.
    Pods(Vec<(Arc<str>, String)>),
    /// So many new nodes would be needed for it.
    SeveralNodes(usize),
    /// The replacement that lost, and its price against the node's.
    NotCheaper {
        best: Option<(Arc<str>, UsdPerHour)>,
        price: UsdPerHour,
    },
    MinValues {
        key: Arc<str>,
        wanted: u32,
        found: u32,
    },
    SpotToSpotDisabled,
    SpotToSpotNeedsTypes {
        wanted: usize,
        found: usize,
    },
}

impl std::fmt::Display for Unconsolidatable {
    /// Upstream's words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unconsolidatable::InstanceTypeNotFound(name) => write!(f, "Instance Type {name:?} not found"),
            Unconsolidatable::LabelMissing(key) => write!(f, "Node does not have label {key:?}"),
            Unconsolidatable::ConsolidationDisabled(pool) => write!(f, "NodePool {pool:?} has consolidation disabled"),
            Unconsolidatable::OnlyWhenEmpty(pool) => {
                write!(f, "NodePool {pool:?} has consolidation policy WhenEmpty, but node is not empty")
            }
            Unconsolidatable::Pods(pods) => f.write_str(&unplaced("Not", pods)),
            Unconsolidatable::SeveralNodes(count) => write!(f, "Can't remove without creating {count} candidates"),
            Unconsolidatable::NotCheaper { .. } => f.write_str("Can't replace with a cheaper node"),
            Unconsolidatable::MinValues { key, wanted, found } => {
                write!(f, "Filtering by price: minValues requirement is not met for label(s) ({key}: {found} of {wanted})")
            }
            Unconsolidatable::SpotToSpotDisabled => {
                f.write_str("SpotToSpotConsolidation is disabled, can't replace a spot node with a spot node")
            }
            Unconsolidatable::SpotToSpotNeedsTypes { wanted, found } => write!(
                f,
                "SpotToSpotConsolidation requires {wanted} cheaper instance type options than the current candidate to consolidate, got {found}"
            ),
        }
    }
}

/// At most five pods with their reasons, as upstream tells them.
fn unplaced(first_word: &str, pods: &[(Arc<str>, String)]) -> String {
    let shown: String = pods.iter().take(5).map(|(pod, why)| format!("{pod} => {why} ")).collect();
    let more = if pods.len() > 5 { format!(" and {} other(s)", pods.len() - 5) } else { String::new() };
    format!("{first_word} all pods would schedule, {shown}{more}")
}

/// What a method came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    pub command: Option<Command>,
    /// To be carried out beside it, each on its own.
    #[serde(default)]
    pub more: Vec<Command>,
    /// Per node that could have been meant: why it stays.
    pub stays: Vec<Stays>,
    /// Candidates there were, blocked ones not counted.
    pub candidates: usize,
    /// Nothing was found, and no budget was the reason: the same picture need not be looked at again.
    pub exhausted: bool,
    /// Pools that have nodes and may lose none for this reason now.
    pub closed_pools: Vec<Arc<str>>,
    /// Moves of consolidation that could be made, in the order in which they were judged.
    #[serde(default)]
    pub weighed: Vec<Weighed>,
    /// Moves to one cheaper node that were found on the way, whatever became of them.
    #[serde(default)]
    pub announced: Vec<Announced>,
}

/// Nodes that one cheaper node could stand in for: the Event `ConsolidationCandidate`, which says so before anything is weighed
/// (`consolidation.go`, EmitCandidateEvents).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announced {
    pub nodes: Vec<Arc<str>>,
    /// USD per hour.
    pub savings: f64,
}

/// Why a command does not hold any more (`validation.go`). The text is the reason in the Event `ConsolidationRejected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Invalid {
    Budget,
    Scheduling,
    Churn,
}

impl Invalid {
    pub fn as_str(self) -> &'static str {
        match self {
            Invalid::Budget => "budget",
            Invalid::Scheduling => "scheduling",
            Invalid::Churn => "churn",
        }
    }
}
