//! A Node, a NodeClaim, or both, as one machine in the planner's words.
//!
//! Source: `C/pkg/controllers/state/statenode.go`.

use crate::pod::{amounts, text_labels};
use crate::pool;
use api::NodeClaim;
use api::condition;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use planner::input::{Node, Pod, Shown};
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::{Effect, Resources, Taint, labels};

/// Taints that come and go while a node boots (`C/pkg/scheduling/taints.go`, KnownEphemeralTaints).
pub fn is_known_ephemeral(taint: &Taint) -> bool {
    match (&*taint.key, taint.effect) {
        (labels::NOT_READY_TAINT, Effect::NoSchedule | Effect::NoExecute) => true,
        (labels::UNREACHABLE_TAINT, Effect::NoSchedule) => true,
        (labels::UNINITIALIZED_TAINT, Effect::NoSchedule) => &*taint.value == "true",
        (labels::UNREGISTERED_TAINT, Effect::NoExecute) => true,
        (key, _) => key.starts_with("readiness.k8s.io/"),
    }
}

pub fn is_ready(node: &core::Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

pub fn node_taints(node: &core::Node) -> Vec<Taint> {
    pool::taints(node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default())
}

fn label<'a>(node: &'a core::Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// What a machine is made from. At least one of `node` and `claim` is there.
pub struct Parts<'a> {
    pub node: Option<&'a core::Node>,
    pub claim: Option<&'a NodeClaim>,
    /// Pods bound to the node, in order of namespace and name.
    pub pods: Vec<Arc<Pod>>,
    pub nominated_until: Option<Timestamp>,
    /// Volumes that the node can attach, by CSI driver.
    pub volume_limits: BTreeMap<Arc<str>, i64>,
    /// Somebody decided that it goes, although no deletion can be seen yet.
    pub marked: bool,
}

pub fn merge(parts: Parts<'_>) -> Node {
    let Parts { node, claim, pods, nominated_until, volume_limits, marked } = parts;
    let managed = claim.is_some();
    let registered = !managed || node.is_some_and(|n| label(n, labels::REGISTERED) == Some("true"));
    let initialized = !managed || node.is_some_and(|n| label(n, labels::INITIALIZED) == Some("true"));
    // Before registration the Node is not complete yet: the NodeClaim speaks for it.
    let speaker = if managed && !registered || node.is_none() { claim.map(|c| &c.metadata) } else { node.map(|n| &n.metadata) };
    let node_labels = text_labels(speaker.and_then(|m| m.labels.as_ref()));
    let status = claim.and_then(|c| c.status.as_ref());
    let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
    let since = |kind: &str| condition::find(conditions, kind).filter(|c| c.is_true());
    let claimed_id = status.and_then(|s| s.provider_id.as_deref()).filter(|id| !id.is_empty());
    let provider_id = claimed_id.or_else(|| node.and_then(|n| n.spec.as_ref()?.provider_id.as_deref()));
    let meta = claim.map(|c| &c.metadata).or(node.map(|n| &n.metadata));
    let sees = taints(node, claim, registered, initialized);
    let shown = node.map(|node| Shown { labels: text_labels(node.metadata.labels.as_ref()), taints: node_taints(node) });
    let shown = shown.filter(|shown| shown.labels != node_labels || shown.taints != sees).map(Arc::new);
    let deleted = |m: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| m.deletion_timestamp.is_some();
    Node {
        name: node.map(|n| &n.metadata).or(meta).and_then(|m| m.name.as_deref()).unwrap_or("").into(),
        node_claim: claim.and_then(|c| c.metadata.name.as_deref()).map(Arc::from),
        pool: node_labels.get(labels::NODEPOOL).cloned(),
        provider_id: provider_id.map(Arc::from),
        created: meta.and_then(|m| m.creation_timestamp.as_ref()).map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        launched: !managed || claimed_id.is_some(),
        registered,
        initialized,
        ready: node.is_some_and(is_ready),
        deleting: marked || meta.is_some_and(deleted),
        nominated_until,
        annotations: text_labels(speaker.and_then(|m| m.annotations.as_ref())),
        taints: sees,
        shown,
        capacity: resources(
            node.map(|n| amounts(n.status.as_ref().and_then(|s| s.capacity.as_ref()))),
            status.map(|s| pool::quantities(&s.capacity)),
            initialized,
        ),
        allocatable: resources(
            node.map(|n| amounts(n.status.as_ref().and_then(|s| s.allocatable.as_ref()))),
            status.map(|s| pool::quantities(&s.allocatable)),
            initialized,
        ),
        labels: node_labels,
        pods,
        price: None,
        consolidatable: since("Consolidatable").and_then(|c| c.last_transition_time),
        quiet_since: since("Initialized").and_then(|c| status.and_then(|s| s.last_pod_event_time).or(c.last_transition_time)),
        instance_terminating: since("InstanceTerminating").is_some(),
        grace_limited: claim.is_some_and(|c| c.spec.termination_grace_period.is_some()),
        volume_limits,
        has_node: node.is_some(),
        drifted: since("Drifted").and_then(|c| Some((c.last_transition_time?, Arc::from(c.reason.as_str())))),
    }
}

fn taints(node: Option<&core::Node>, claim: Option<&NodeClaim>, registered: bool, initialized: bool) -> Vec<Taint> {
    let mut taints = match (node, claim) {
        (Some(node), None) => node_taints(node),
        (Some(node), Some(_)) if registered => node_taints(node),
        (_, Some(claim)) => pool::taints(&claim.spec.taints),
        (None, None) => Vec::new(),
    };
    if let (false, Some(claim)) = (initialized, claim) {
        let startup = pool::taints(&claim.spec.startup_taints);
        taints.retain(|taint| !is_known_ephemeral(taint) && !startup.iter().any(|s| s.key == taint.key && s.effect == taint.effect));
    }
    taints
}

/// Before initialization the claim's amount stands in for what the Node still reports as zero.
fn resources(node: Option<Resources>, claim: Option<Resources>, initialized: bool) -> Resources {
    match (node, claim) {
        (Some(mut node), Some(claim)) if !initialized => {
            for (name, amount) in claim.iter() {
                if node.get(name) == 0 {
                    node.set(name, amount);
                }
            }
            node
        }
        (Some(node), _) => node,
        (None, claim) => claim.unwrap_or_default(),
    }
}

/// Finished pods hold nothing on their node. One of a StatefulSet that is being deleted counts all the same: its successor will want a
/// place when the node goes (`C/pkg/utils/pod/scheduling.go`, IsReschedulable, which asks for the phase of others only).
pub fn counts(pod: &Pod) -> bool {
    !pod.terminal || pod.terminating && pod.stateful
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn node(labels: Value, taints: Value, memory: &str) -> core::Node {
        serde_json::from_value(
            json!({"metadata": {"name": "ip-10-0-0-1", "labels": labels}, "spec": {"providerID": "aws:///a/i-1", "taints": taints},
            "status": {"allocatable": {"cpu": "2", "memory": memory}, "conditions": [{"type": "Ready", "status": "True"}]}}),
        )
        .expect("a Node")
    }

    fn claim() -> NodeClaim {
        serde_json::from_value(json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "default-abcde", "labels": {"karpenter.sh/nodepool": "default", "from": "claim"}},
            "spec": {"taints": [{"key": "dedicated", "value": "x", "effect": "NoSchedule"}], "startupTaints": [{"key": "cilium", "effect": "NoExecute"}]},
            "status": {"providerID": "aws:///a/i-1", "allocatable": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}}}))
        .expect("a NodeClaim")
    }

    fn merged(node: Option<&core::Node>, claim: Option<&NodeClaim>) -> Node {
        merge(Parts { node, claim, pods: Vec::new(), nominated_until: None, volume_limits: BTreeMap::new(), marked: false })
    }

    #[rstest]
    #[case::claim_alone(None, "claim", false, false)]
    #[case::unregistered_node(Some(json!({"from": "node"})), "claim", false, false)]
    #[case::registered_node(Some(json!({"from": "node", "karpenter.sh/registered": "true"})), "node", true, false)]
    #[case::initialized_node(Some(json!({"from": "node", "karpenter.sh/registered": "true", "karpenter.sh/initialized": "true"})), "node", true, true)]
    fn who_speaks_for_the_labels(#[case] labels: Option<Value>, #[case] from: &str, #[case] registered: bool, #[case] initialized: bool) {
        let node = labels.map(|labels| node(labels, json!([]), "4Gi"));
        let machine = merged(node.as_ref(), Some(&claim()));
        assert_eq!(
            (machine.labels.get("from").map(|v| &**v), machine.registered, machine.initialized),
            (Some(from), registered, initialized)
        );
    }

    #[rstest]
    #[case::before_initialization(json!({"karpenter.sh/registered": "true"}), &["other"])]
    #[case::afterwards(json!({"karpenter.sh/registered": "true", "karpenter.sh/initialized": "true"}), &["node.kubernetes.io/not-ready", "cilium", "other"])]
    #[case::before_registration(json!({}), &["dedicated"])]
    fn taints_that_will_go_are_ignored_while_booting(#[case] labels: Value, #[case] expected: &[&str]) {
        let taints = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}, {"key": "cilium", "effect": "NoExecute"}, {"key": "other", "effect": "NoSchedule"}]);
        let machine = merged(Some(&node(labels, taints, "4Gi")), Some(&claim()));
        assert_eq!(machine.taints.iter().map(|t| &*t.key).collect::<Vec<_>>(), expected);
    }

    /// What is the same as what scheduling goes by is not said twice.
    #[rstest]
    #[case::not_registered(json!({"from": "node"}), json!([]), Some(("node", 0)))]
    #[case::booting(json!({"from": "node", "karpenter.sh/registered": "true"}), json!([{"key": "cilium", "effect": "NoExecute"}]), Some(("node", 1)))]
    #[case::booting_without(json!({"from": "node", "karpenter.sh/registered": "true"}), json!([]), None)]
    #[case::initialized(json!({"from": "node", "karpenter.sh/registered": "true", "karpenter.sh/initialized": "true"}), json!([{"key": "cilium", "effect": "NoExecute"}]), None)]
    fn what_a_node_shows_beside(#[case] labels: Value, #[case] taints: Value, #[case] expected: Option<(&str, usize)>) {
        let machine = merged(Some(&node(labels, taints, "4Gi")), Some(&claim()));
        assert_eq!(machine.shown.as_ref().map(|shown| (&*shown.labels["from"], shown.taints.len())), expected);
    }

    #[rstest]
    #[case::booting(json!({"karpenter.sh/registered": "true"}), 4 << 30, 1)]
    #[case::initialized(json!({"karpenter.sh/initialized": "true"}), 0, 0)]
    fn the_claim_stands_in_for_zero_amounts(#[case] labels: Value, #[case] memory: i64, #[case] gpus: i64) {
        let machine = merged(Some(&node(labels, json!([]), "0")), Some(&claim()));
        assert_eq!((machine.allocatable.get("memory"), machine.allocatable.get("nvidia.com/gpu")), (memory, gpus));
    }

    #[test]
    fn a_node_of_somebody_else_is_complete_from_the_start() {
        let machine = merged(Some(&node(json!({}), json!([]), "4Gi")), None);
        assert!(machine.launched && machine.registered && machine.initialized && machine.ready && machine.pool.is_none());
    }
}
