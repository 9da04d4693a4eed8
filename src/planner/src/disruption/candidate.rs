//! Nodes that may be disrupted now, and why the others may not (`C/pkg/controllers/disruption/types.go`, NewCandidate).

use super::pod::{self, is_disruptable, is_reschedulable};
use super::{Method, Removed};
use crate::input::{InstanceType, Node, Offerings, Pod, Pool, Snapshot};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::{CapacityType, UsdPerHour, labels};

/// The first thing that keeps a node from being disrupted, in the order of the questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Blocker {
    /// A command is being carried out on it already.
    InQueue,
    NotManaged,
    NoNode,
    NotInitialized,
    Deleting,
    Nominated,
    Annotation,
    NoPoolLabel,
    PoolNotFound(Arc<str>),
    /// A pod with `karpenter.sh/do-not-disrupt`.
    Pod(Arc<str>),
    PodBudget(Arc<str>),
    SeveralPodBudgets(Vec<Arc<str>>),
    /// Drift: pods that would find no place.
    Unplaced(Vec<(Arc<str>, String)>),
}

impl std::fmt::Display for Blocker {
    /// Upstream's words (`C/pkg/controllers/state/statenode.go`).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Blocker::InQueue => f.write_str("Candidate is already being disrupted"),
            Blocker::NotManaged => f.write_str("Node isn't managed by karpenter"),
            Blocker::NoNode => f.write_str("Nodeclaim does not have an associated node"),
            Blocker::NotInitialized => f.write_str("Node isn't initialized"),
            Blocker::Deleting => f.write_str("Node is deleting or marked for deletion"),
            Blocker::Nominated => f.write_str("Node is nominated for a pending pod"),
            Blocker::Annotation => write!(f, "Disruption is blocked through the {:?} annotation", labels::DO_NOT_DISRUPT),
            Blocker::NoPoolLabel => write!(f, "Node doesn't have required label (label={})", labels::NODEPOOL),
            Blocker::PoolNotFound(pool) => write!(f, "NodePool not found (NodePool={pool})"),
            Blocker::Pod(name) => write!(f, "Pod has {:?} annotation (Pod={name})", labels::DO_NOT_DISRUPT),
            Blocker::PodBudget(name) => write!(f, "Pdb prevents pod evictions (PodDisruptionBudget=[{name}])"),
            Blocker::SeveralPodBudgets(names) => {
                write!(f, "Eviction does not support multiple PDBs (PodDisruptionBudget(s)=[{}])", names.join(" "))
            }
            Blocker::Unplaced(pods) => f.write_str(&super::unplaced("Not", pods)),
        }
    }
}

/// A node that may be disrupted.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub node: Arc<Node>,
    pub pool: Arc<Pool>,
    /// Position of the node's type among the pool's offerings.
    pub types: Arc<Vec<InstanceType>>,
    pub instance_type: Option<usize>,
    pub reschedulable: Vec<Arc<Pod>>,
    /// Of the offering that the node was bought as, available or not; nothing when it is not known.
    pub price: UsdPerHour,
    /// 1 for the node, and what evicting its pods counts, as far as that is more than nothing.
    pub reschedule_cost: f64,
}

impl Candidate {
    /// `busy`: names of nodes on which a command is being carried out.
    pub fn of(
        node: &Arc<Node>,
        snapshot: &Snapshot,
        offerings: &Offerings,
        busy: &BTreeSet<Arc<str>>,
        method: Method,
        now: Timestamp,
    ) -> Result<Candidate, Blocker> {
        if busy.contains(&node.name) {
            return Err(Blocker::InQueue);
        }
        if let Some(blocker) = node_blocker(node, now) {
            return Err(blocker);
        }
        let name = node.labels.get(labels::NODEPOOL).ok_or(Blocker::NoPoolLabel)?;
        let pool = snapshot.pools.iter().find(|pool| pool.name == *name);
        let (Some(pool), Some(types)) = (pool, offerings.get(name).filter(|types| !types.is_empty())) else {
            return Err(Blocker::PoolNotFound(name.clone()));
        };
        if let Some(blocker) = pod_blocker(node, snapshot, now)
            && !(node.grace_limited && method == Method::Drift)
        {
            return Err(blocker);
        }
        let instance_type = node.labels.get(labels::INSTANCE_TYPE).and_then(|name| types.iter().position(|t| t.name == *name));
        let reschedulable: Vec<Arc<Pod>> = node.pods.iter().filter(|pod| is_reschedulable(pod)).cloned().collect();
        let reschedule_cost = 1.0 + reschedulable.iter().map(|pod| pod::eviction_cost(pod).max(0.0)).sum::<f64>();
        let price = instance_type.and_then(|position| price_of(node, &types[position])).unwrap_or(UsdPerHour::ZERO);
        Ok(Candidate { node: node.clone(), pool: pool.clone(), types: types.clone(), instance_type, reschedulable, price, reschedule_cost })
    }

    /// Nothing on it costs anything to move. Pods whose costs come to nothing count for none.
    pub fn is_empty(&self) -> bool {
        self.reschedule_cost <= 1.0
    }

    /// Price per cost of disruption: the most first.
    pub fn savings_ratio(&self) -> f64 {
        self.price.dollars() / self.reschedule_cost
    }

    pub fn is_spot(&self) -> bool {
        self.node.labels.get(labels::CAPACITY_TYPE).is_some_and(|market| &**market == CapacityType::Spot.as_str())
    }

    pub fn removed(&self) -> Removed {
        let label = |key: &str| self.node.labels.get(key).cloned().unwrap_or_else(|| "".into());
        Removed {
            node: self.node.name.clone(),
            node_claim: self.node.node_claim.clone().unwrap_or_else(|| "".into()),
            provider_id: self.node.provider_id.clone().unwrap_or_else(|| "".into()),
            pool: self.pool.name.clone(),
            instance_type: label(labels::INSTANCE_TYPE),
            capacity_type: label(labels::CAPACITY_TYPE),
            pods: self.reschedulable.len(),
            price: self.price,
        }
    }
}

fn node_blocker(node: &Node, now: Timestamp) -> Option<Blocker> {
    let annotated = node.annotations.get(labels::DO_NOT_DISRUPT).is_some_and(|value| &**value == "true");
    let questions = [
        (node.node_claim.is_none(), Blocker::NotManaged),
        (!node.has_node, Blocker::NoNode),
        (!node.initialized, Blocker::NotInitialized),
        (node.deleting, Blocker::Deleting),
        (node.nominated_until.is_some_and(|until| now < until), Blocker::Nominated),
        (annotated, Blocker::Annotation),
    ];
    questions.into_iter().find(|(blocked, _)| *blocked).map(|(_, blocker)| blocker)
}

fn pod_blocker(node: &Node, snapshot: &Snapshot, now: Timestamp) -> Option<Blocker> {
    if let Some(pod) = node.pods.iter().find(|pod| !is_disruptable(pod, now)) {
        return Some(Blocker::Pod(crate::launch::full_name(pod)));
    }
    let mut names = node.pods.iter().find_map(|pod| pod::first_blocking(pod, snapshot, now, |budget| budget.allowed == 0))?;
    Some(if names.len() == 1 { Blocker::PodBudget(names.remove(0)) } else { Blocker::SeveralPodBudgets(names) })
}

/// What the node costs by its zone and market labels (`C/pkg/cloudprovider/types.go`, OfferingPrice).
pub fn price_of(node: &Node, instance_type: &InstanceType) -> Option<UsdPerHour> {
    let zone = node.labels.get(labels::ZONE)?;
    let market = node.labels.get(labels::CAPACITY_TYPE)?;
    let matching = |o: &&crate::input::Offering| o.zone == *zone && o.capacity_type.as_str() == &**market;
    instance_type.offerings.iter().find(matching).map(|offering| offering.price)
}
