//! Initialization: the Node is ready, nothing holds pods back any more, and everything asked for is there.
//!
//! Source: `C/pkg/controllers/nodeclaim/lifecycle/initialization.go`.

use super::lifecycle::Run;
use super::unlocked;
use crate::conditions::Status;
use crate::patch;
use crate::step::{Done, Step};
use crate::world::World;
use api::NodeClaim;
use cluster::{Kind, machine, pool};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use vocabulary::{Taint, labels};

pub fn decide(world: &World, run: &mut Run<'_>, _: &[Done]) -> Option<Step> {
    if run.set.status("Initialized") != Status::Unknown {
        run.set.keep("Initialized");
        return None;
    }
    if !run.set.is_true("Registered") {
        return None;
    }
    let nodes = run.status.provider_id.as_deref().map(|id| world.index.nodes_of(id)).unwrap_or_default();
    let [node] = nodes.as_slice() else {
        run.set.unknown("Initialized", "NodeNotFound", "Node not registered with cluster");
        return None;
    };
    if let Some((reason, message)) = missing(run.claim, node) {
        run.set.unknown("Initialized", reason, &message);
        return None;
    }
    let mut labelled = (***node).clone();
    labelled.labels_mut().insert(labels::INITIALIZED.to_owned(), "true".to_owned());
    if let Some(body) = patch::of_field("metadata", &***node, &labelled) {
        return Some(Step::act(unlocked(Kind::Node, &***node, false, body)));
    }
    run.set.set_true("Initialized");
    let allocatable = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
    let allocatable: serde_json::Map<_, _> = allocatable.into_iter().flatten().map(|(k, v)| (k.clone(), v.0.clone().into())).collect();
    run.after.push(run.line("initialized nodeclaim").with("allocatable", serde_json::Value::Object(allocatable)).into());
    None
}

/// What is still missing: condition reason and message.
pub fn missing(claim: &NodeClaim, node: &Node) -> Option<(&'static str, String)> {
    if !machine::is_ready(node) {
        return Some(("NodeNotReady", "Node status is NotReady".to_owned()));
    }
    let show = |taint: &Taint| match &*taint.value {
        "" => format!("{}:{:?}", taint.key, taint.effect),
        value => format!("{}={value}:{:?}", taint.key, taint.effect),
    };
    let taints = machine::node_taints(node);
    let startup = pool::taints(&claim.spec.startup_taints);
    if let Some(taint) = taints.iter().find(|t| startup.iter().any(|s| s.key == t.key && s.effect == t.effect)) {
        return Some(("StartupTaintsExist", format!("StartupTaint {:?} still exists", show(taint))));
    }
    if let Some(taint) = taints.iter().find(|t| machine::is_known_ephemeral(t)) {
        return Some(("KnownEphemeralTaintsExist", format!("KnownEphemeralTaint {:?} still exists", show(taint))));
    }
    let allocatable = cluster::pod::amounts(node.status.as_ref().and_then(|s| s.allocatable.as_ref()));
    let asked = pool::quantities(&claim.spec.resources.requests);
    let absent = asked.iter().find(|(name, amount)| *amount != 0 && allocatable.get(name) == 0);
    absent.map(|(name, _)| ("ResourceNotRegistered", format!("Resource {name:?} was requested but not registered")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::complete(json!({}), None)]
    #[case::not_ready(json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}), Some("NodeNotReady"))]
    #[case::startup_taint(json!({"spec": {"taints": [{"key": "cilium", "effect": "NoExecute"}]}}), Some("StartupTaintsExist"))]
    #[case::ephemeral_taint(json!({"spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]}}), Some("KnownEphemeralTaintsExist"))]
    #[case::other_taint(json!({"spec": {"taints": [{"key": "dedicated", "effect": "NoSchedule"}]}}), None)]
    #[case::no_gpu_yet(json!({"status": {"allocatable": {"cpu": "2", "nvidia.com/gpu": "0"}}}), Some("ResourceNotRegistered"))]
    fn what_is_missing(#[case] patch: Value, #[case] reason: Option<&str>) {
        let mut node = json!({"metadata": {"name": "n"}, "spec": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "2", "nvidia.com/gpu": "1"}}});
        for (field, inner) in patch.as_object().into_iter().flatten() {
            for (key, value) in inner.as_object().into_iter().flatten() {
                node[field][key] = value.clone();
            }
        }
        let claim: NodeClaim = serde_json::from_value(json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "c"},
            "spec": {"startupTaints": [{"key": "cilium", "effect": "NoExecute"}], "resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "1", "example.com/none": "0"}}}}))
        .expect("a NodeClaim");
        assert_eq!(missing(&claim, &serde_json::from_value(node).expect("a Node")).map(|(reason, _)| reason), reason);
    }
}
