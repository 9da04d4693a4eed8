//! NodePools of fixed size: the NodeClaims that `replicas` ask for, and which of them go when there are too many.
//!
//! Source: `C/pkg/controllers/static`, `C/pkg/controllers/provisioning/scheduling/nodeclaimtemplate.go`,
//! `C/pkg/controllers/state/statenodepool.go`.

use crate::disruption::{eviction_cost, is_disruptable};
use crate::input::{Node, Pool, Snapshot};
use crate::launch;
use crate::output::{ClaimRequirement, NodeClaimPlan};
use crate::template::NODES;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::{Requirement, Requirements, Resources, labels};

/// The NodeClaims of a pool, by what becomes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub active: i64,
    /// A command is being carried out on them, and they are still there.
    pub pending_disruption: i64,
    pub deleting: i64,
}

impl Census {
    /// `busy`: names of nodes on which a command is being carried out.
    pub fn of(pool: &Pool, snapshot: &Snapshot, busy: &BTreeSet<Arc<str>>) -> Self {
        let mut census = Census::default();
        for node in members(pool, snapshot) {
            if busy.contains(&node.name) {
                census.pending_disruption += 1;
            } else if node.deleting {
                census.deleting += 1;
            } else {
                census.active += 1;
            }
        }
        census
    }

    /// How many of `wanted` more NodeClaims `limits.nodes` lets be made.
    pub fn room(self, pool: &Pool, wanted: i64) -> i64 {
        let limit = if pool.limits.contains(NODES) { pool.limits.get(NODES) } else { i64::MAX };
        wanted.min(limit.saturating_sub(self.active + self.deleting + self.pending_disruption)).max(0)
    }
}

fn members<'a>(pool: &'a Pool, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Arc<Node>> {
    snapshot.nodes.iter().filter(|node| node.node_claim.is_some() && node.labels.get(labels::NODEPOOL) == Some(&pool.name))
}

/// A NodeClaim for no pod in particular: whatever meets the pool's requirements, chosen when it is launched.
pub fn claim(pool: &Pool) -> NodeClaimPlan {
    let mut own = pool.labels.clone();
    own.insert(labels::NODEPOOL.into(), pool.name.clone());
    own.insert(labels::EC2NODECLASS.into(), pool.node_class.clone());
    let mut requirements: Requirements = pool.requirements.iter().cloned().collect();
    requirements.extend(&Requirements::from_labels(own.iter().map(|(key, value)| (&**key, &**value))));
    own.extend(launch::custom_labels(&requirements).collect::<Vec<_>>());
    let mut annotations = pool.annotations.clone();
    annotations.insert(labels::NODEPOOL_HASH.into(), pool.hash.clone());
    annotations.insert(labels::NODEPOOL_HASH_VERSION.into(), labels::NODEPOOL_HASH_VERSION_VALUE.into());
    let written = |requirement: &Requirement| ClaimRequirement {
        requirement: requirement.clone(),
        ordered_values: requirement.values.iter().cloned().collect(),
    };
    NodeClaimPlan {
        pool: pool.name.clone(),
        pool_uid: pool.uid.clone(),
        node_class: pool.node_class.clone(),
        labels: own,
        annotations,
        taints: pool.taints.clone(),
        startup_taints: pool.startup_taints.clone(),
        requirements: requirements.iter().map(written).collect(),
        requests: Resources::new(),
        expire_after: pool.expire_after,
        termination_grace_period: pool.termination_grace_period,
        instance_types: Vec::new(),
        pods: Vec::new(),
    }
}

/// The NodeClaims to give up when there are `count` too many: those without a machine, then empty nodes, then those that cost the least
/// to give up. Equals go by name (upstream: in the order of a Go map).
pub fn surplus(pool: &Pool, snapshot: &Snapshot, busy: &BTreeSet<Arc<str>>, count: usize, now: Timestamp) -> Vec<Arc<str>> {
    let mut staying: Vec<&Arc<Node>> = members(pool, snapshot).filter(|node| !node.deleting && !busy.contains(&node.name)).collect();
    let protects = |node: &Node| node.pods.iter().any(|pod| !is_disruptable(pod, now));
    let rank = |node: &Node| match () {
        () if !node.launched => 0,
        () if node.pods.iter().all(|pod| pod.daemon || pod.terminal) && !protects(node) => 1,
        () if !protects(node) => 2,
        () => 3,
    };
    let cost = |node: &Node| {
        let evictions: f64 = node.pods.iter().filter(|pod| !pod.terminal).map(|pod| eviction_cost(pod)).sum();
        let left = pool.expire_after.map_or(1.0, |lifetime| {
            let age = now.duration_since(node.created).as_secs_f64();
            ((lifetime.as_secs_f64() - age) / lifetime.as_secs_f64()).clamp(0.0, 1.0)
        });
        if rank(node) > 1 { evictions * left } else { 0.0 }
    };
    staying.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| cost(a).total_cmp(&cost(b))).then_with(|| a.name.cmp(&b.name)));
    staying.into_iter().take(count).filter_map(|node| node.node_claim.clone()).collect()
}
