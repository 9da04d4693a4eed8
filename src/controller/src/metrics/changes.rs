//! From changes of objects to counters and histograms.
//!
//! Sources: `C/pkg/controllers/metrics/pod/controller.go`, `C/pkg/controllers/node/termination/controller.go`,
//! `C/pkg/controllers/nodeclaim/lifecycle/{controller,registration}.go`, `awslabs/operatorpkg/status/controller.go`.

use super::exposition::{Labels, labels};
use super::families::{self as family, Conditions};
use super::{Metrics, seconds};
use crate::conditions::{EC2_NODE_CLASS, NODE_CLAIM, NODE_POOL};
use api::{Condition, NodeClaim};
use cluster::{Key, Object, Touched};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use kube::{Resource, ResourceExt};
use planner::output::{PodOutcome, PodVerdict};
use std::borrow::Cow;
use std::sync::Arc;
use vocabulary::labels as names;

/// What is remembered of a pod until it runs.
#[derive(Debug, Default)]
pub struct PodTimes {
    /// First plan that looked at it, first plan that said anything about it, first plan that had a place for it.
    pub seen: Option<Timestamp>,
    pub decided: Option<Timestamp>,
    pub placed: Option<Timestamp>,
    /// It was seen waiting, and was not seen ready, or bound, since.
    pub unstarted: bool,
    pub unbound: bool,
}

/// A condition of any kind of object.
pub struct Seen<'a> {
    pub kind: &'a str,
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
    pub since: Option<Timestamp>,
}

impl Metrics {
    pub fn touched(&mut self, touched: &Touched, now: Timestamp) {
        match (&touched.old, &touched.new) {
            (_, Some(Object::Pod(pod))) => self.pod(&touched.key, pod),
            (Some(Object::Pod(_)), None) => drop(self.pods.remove(&touched.key)),
            (old, Some(Object::Node(new))) => {
                let old = if let Some(Object::Node(old)) = old { Some(old) } else { None };
                self.transitions(&family::NODE, None, &of_node(new), old.map(|old| of_node(old)), &node_labels(new));
            }
            (Some(Object::Node(old)), None) => self.node_gone(old, now),
            (old, Some(Object::NodeClaim(new))) => {
                let old = if let Some(Object::NodeClaim(old)) = old { Some(old) } else { None };
                self.claim(old, new);
            }
            (Some(Object::NodeClaim(old)), None) => self.claim_gone(old, now),
            (old, Some(Object::NodePool(new))) => {
                let of = |pool: &api::NodePool| pool.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
                let old = if let Some(Object::NodePool(old)) = old { Some(of(old)) } else { None };
                let kind = Some(("NodePool", "karpenter.sh"));
                self.transitions(&family::NODE_POOL, kind, &seen(&of(new)), first(old.as_deref(), NODE_POOL, &**new), &Vec::new());
            }
            (old, Some(Object::EC2NodeClass(new))) => {
                let of = |class: &api::EC2NodeClass| class.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
                let old = if let Some(Object::EC2NodeClass(old)) = old { Some(of(old)) } else { None };
                let kind = Some(("EC2NodeClass", "karpenter.k8s.aws"));
                self.transitions(&family::NODE_CLASS, kind, &seen(&of(new)), first(old.as_deref(), EC2_NODE_CLASS, &**new), &Vec::new());
            }
            (Some(Object::NodePool(old)), None) => {
                self.ended(&family::NODE_POOL, Some(("NodePool", "karpenter.sh")), &**old, Vec::new(), now)
            }
            (Some(Object::EC2NodeClass(old)), None) => {
                self.ended(&family::NODE_CLASS, Some(("EC2NodeClass", "karpenter.k8s.aws")), &**old, Vec::new(), now);
            }
            _ => {}
        }
    }

    fn pod(&mut self, key: &Key, pod: &core::Pod) {
        let status = pod.status.as_ref();
        if status.and_then(|s| s.phase.as_deref()) == Some("Pending") {
            let times = self.pods.entry(key.clone()).or_default();
            (times.unstarted, times.unbound) = (true, true);
            return;
        }
        let Some(times) = self.pods.get_mut(key) else { return };
        let created = pod.creation_timestamp().map(|time| time.0);
        let since = |kind: &str| {
            let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
            conditions.iter().find(|c| c.type_ == kind && c.status == "True").map(|c| c.last_transition_time.as_ref().map(|t| t.0))
        };
        let placed = times.placed;
        if times.unbound
            && let Some(bound) = since("PodScheduled")
        {
            times.unbound = false;
            if let (Some(bound), Some(created)) = (bound, created) {
                self.store.observe(&family::POD_BOUND, Vec::new(), seconds(created, bound), bound);
                if let Some(placed) = placed {
                    self.store.observe(&family::POD_PROVISIONING_BOUND, Vec::new(), seconds(placed, bound), bound);
                }
            }
        }
        if times.unstarted {
            if let Some(ready) = since("Ready") {
                times.unstarted = false;
                if let (Some(ready), Some(created)) = (ready, created) {
                    self.store.observe(&family::POD_STARTUP, Vec::new(), seconds(created, ready), ready);
                    if let Some(placed) = placed {
                        self.store.observe(&family::POD_PROVISIONING_STARTUP, Vec::new(), seconds(placed, ready), ready);
                    }
                }
            } else if cluster::pod::is_terminal(pod) {
                times.unstarted = false;
            }
        }
        if !times.unstarted {
            self.pods.remove(key);
        }
    }

    /// What a plan said of each pod.
    pub fn decided(&mut self, verdicts: &[PodVerdict], now: Timestamp) {
        for verdict in verdicts {
            let (namespace, name) = verdict.pod.split_once('/').unwrap_or(("", &verdict.pod));
            // A pod on a node that goes waits for nothing.
            let Some(times) = self.pods.get_mut(&Key::new(namespace, name)) else { continue };
            let seen = *times.seen.get_or_insert(now);
            if times.decided.is_none() {
                times.decided = Some(now);
                self.store.observe(&family::POD_DECISION, Vec::new(), seconds(seen, now), now);
            }
            match verdict.outcome {
                PodOutcome::FitsNode(_) | PodOutcome::Launch(_) => drop(times.placed.get_or_insert(now)),
                PodOutcome::Unschedulable(_) | PodOutcome::Invalid { .. } => times.placed = None,
            }
        }
    }

    /// A pod that waits was seen for the first time.
    pub fn noticed(&mut self, key: &Key, now: Timestamp) {
        if let Some(times) = self.pods.get_mut(key) {
            times.seen.get_or_insert(now);
        }
    }

    pub(super) fn times(&self, key: &Key) -> Option<&PodTimes> {
        self.pods.get(key)
    }

    fn claim(&mut self, old: Option<&Arc<NodeClaim>>, new: &Arc<NodeClaim>) {
        let of = |claim: &NodeClaim| crate::world::conditions(claim).to_vec();
        let (before, after) = (old.map(|old| of(old)), of(new));
        let kind = Some(("NodeClaim", "karpenter.sh"));
        self.transitions(&family::NODE_CLAIM, kind, &seen(&after), first(before.as_deref(), NODE_CLAIM, &**new), &claim_labels(new));
        let turned = |kind: &str| {
            let was = before.as_deref().is_some_and(|list| api::condition::is_true(list, kind));
            before.is_some() && !was && api::condition::is_true(&after, kind)
        };
        let (pool, zone) = (label(&**new, names::NODEPOOL), label(&**new, names::ZONE));
        if turned("Registered") {
            self.store.add(&family::NODES_CREATED, labels([("nodepool", pool), ("zone", zone)]), 1.0);
        }
        if turned("Drained") {
            self.store.add(&family::NODES_DRAINED, labels([("nodepool", pool)]), 1.0);
        }
    }

    fn claim_gone(&mut self, old: &Arc<NodeClaim>, now: Timestamp) {
        let (pool, zone, market) = (label(&**old, names::NODEPOOL), label(&**old, names::ZONE), label(&**old, names::CAPACITY_TYPE));
        self.store.add(&family::CLAIMS_TERMINATED, labels([("nodepool", pool), ("capacity_type", market), ("zone", zone)]), 1.0);
        if let Some(deleted) = &old.metadata.deletion_timestamp {
            self.store.observe(&family::CLAIM_TERMINATION, labels([("nodepool", pool)]), seconds(deleted.0, now), now);
        }
        let terminating = api::condition::find(crate::world::conditions(old), "InstanceTerminating").filter(|c| c.status == "True");
        if let Some(since) = terminating.and_then(|c| c.last_transition_time) {
            self.store.observe(&family::INSTANCE_TERMINATION, labels([("nodepool", pool)]), seconds(since, now), now);
        }
        self.ended(&family::NODE_CLAIM, Some(("NodeClaim", "karpenter.sh")), &**old, claim_labels(old), now);
    }

    fn node_gone(&mut self, old: &Arc<core::Node>, now: Timestamp) {
        let (pool, zone) = (label(&**old, names::NODEPOOL), label(&**old, names::ZONE));
        if !pool.is_empty() {
            self.store.add(&family::NODES_TERMINATED, labels([("nodepool", pool), ("zone", zone)]), 1.0);
            if let Some(deleted) = &old.metadata.deletion_timestamp {
                self.store.observe(&family::NODE_TERMINATION, labels([("nodepool", pool)]), seconds(deleted.0, now), now);
            }
            if let Some(created) = old.creation_timestamp() {
                self.store.observe(&family::NODE_LIFETIME, labels([("nodepool", pool)]), seconds(created.0, now), now);
            }
        }
        self.ended(&family::NODE, None, &**old, node_labels(old), now);
    }

    /// Counts conditions that came or have another status.
    fn transitions(
        &mut self,
        families: &Conditions,
        kind: Option<(&str, &str)>,
        now: &[Seen<'_>],
        before: Option<Vec<Seen<'_>>>,
        more: &Labels,
    ) {
        let before = before.unwrap_or_default();
        for condition in now {
            let old = before.iter().find(|old| old.kind == condition.kind);
            if old.is_some_and(|old| old.status == condition.status) {
                continue;
            }
            let own = [("type", condition.kind), ("status", condition.status), ("reason", condition.reason)];
            self.store.add(&families.transitions, joined(labels(own), more), 1.0);
            if let Some(kind) = kind {
                self.store.add(&family::ANY.transitions, of_kind(labels(own), kind), 1.0);
            }
            if let Some((old, from, to)) = old.and_then(|old| Some((old, old.since?, condition.since?))) {
                let own = [("type", old.kind), ("status", old.status)];
                self.store.observe(&families.transition, joined(labels(own), more), seconds(from, to), to);
                if let Some(kind) = kind {
                    self.store.observe(&family::ANY.transition, of_kind(labels(own), kind), seconds(from, to), to);
                }
            }
        }
    }

    fn ended(&mut self, families: &Conditions, kind: Option<(&str, &str)>, old: &impl ResourceExt, more: Labels, now: Timestamp) {
        let Some(deleted) = &old.meta().deletion_timestamp else { return };
        let took = seconds(deleted.0, now);
        self.store.observe(&families.terminated, more, took, now);
        if let Some(kind) = kind {
            self.store.observe(&family::ANY.terminated, of_kind(Vec::new(), kind), took, now);
        }
    }
}

pub fn joined(mut own: Labels, more: &Labels) -> Labels {
    own.extend(more.iter().cloned());
    own.sort();
    own
}

pub fn of_kind(own: Labels, (kind, group): (&str, &str)) -> Labels {
    joined(own, &labels([("kind", kind), ("group", group)]))
}

pub fn seen(conditions: &[Condition]) -> Vec<Seen<'_>> {
    conditions
        .iter()
        .map(|c| Seen { kind: &c.kind, status: &c.status, reason: &c.reason, message: &c.message, since: c.last_transition_time })
        .collect()
}

/// The conditions that an object had; `None` when it had not been seen before.
fn first<'a>(before: Option<&'a [Condition]>, kinds: &[&'static str], object: &impl ResourceExt) -> Option<Vec<Seen<'a>>> {
    before.map(|before| awaited(seen(before), kinds, object.creation_timestamp().map(|time| time.0)))
}

/// With the conditions that an object of its kind has from the beginning: before anybody has written them they are Unknown
/// (`awslabs/operatorpkg/status/condition_set.go`, For).
pub fn awaited<'a>(mut seen: Vec<Seen<'a>>, kinds: &[&'static str], since: Option<Timestamp>) -> Vec<Seen<'a>> {
    for kind in kinds.iter().copied().chain(["Ready"]) {
        if !seen.iter().any(|there| there.kind == kind) {
            let (reason, message) = ("AwaitingReconciliation", "object is awaiting reconciliation");
            seen.push(Seen { kind, status: "Unknown", reason, message, since });
        }
    }
    seen
}

pub fn of_node<'a>(node: &'a core::Node) -> Vec<Seen<'a>> {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let since = |c: &core::NodeCondition| c.last_transition_time.as_ref().map(|t| t.0);
    let one = |c: &'a core::NodeCondition| Seen {
        kind: &c.type_,
        status: &c.status,
        reason: c.reason.as_deref().unwrap_or(""),
        message: c.message.as_deref().unwrap_or(""),
        since: since(c),
    };
    conditions.iter().map(one).collect()
}

pub fn label<'a>(object: &'a impl Resource, name: &str) -> &'a str {
    object.meta().labels.as_ref().and_then(|labels| labels.get(name)).map_or("", String::as_str)
}

/// Labels of an object as labels of its conditions, named as `operatorpkg/status` does (toPrometheusLabel).
fn copied<const N: usize>(object: &impl Resource, wanted: [(&'static str, &str); N]) -> Labels {
    let mut made: Labels = wanted.map(|(name, key)| (Cow::Borrowed(name), label(object, key).to_owned())).into();
    made.sort();
    made
}

const CLASS: (&str, &str) = ("karpenter_k8s_aws_ec2nodeclass", names::EC2NODECLASS);
const POOL: (&str, &str) = ("karpenter_sh_nodepool", names::NODEPOOL);

pub fn claim_labels(claim: &NodeClaim) -> Labels {
    copied(claim, [CLASS, POOL])
}

pub fn node_labels(node: &core::Node) -> Labels {
    copied(node, [CLASS, POOL, ("karpenter_sh_initialized", names::INITIALIZED)])
}
