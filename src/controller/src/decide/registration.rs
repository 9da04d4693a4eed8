//! Registration: the machine's Node has come; it gets what the claim says and loses the taint that kept pods away.
//!
//! Source: `C/pkg/controllers/nodeclaim/lifecycle/registration.go`. There is one registration hook upstream, for partitions of
//! placement groups, which are not supported here.

use super::lifecycle::{CONTROLLER, Run, pool_uid};
use super::locked;
use crate::conditions::Status;
use crate::log::Line;
use crate::patch;
use crate::recorder::EventSpec;
use crate::step::{Done, Memo, Step};
use crate::world::World;
use api::NodeClaim;
use cluster::Kind;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use vocabulary::labels;

pub fn decide(world: &World, run: &mut Run<'_>, _: &[Done]) -> Option<Step> {
    if run.set.status("Registered") != Status::Unknown {
        run.set.keep("Registered");
        return None;
    }
    let nodes = run.status.provider_id.as_deref().map(|id| world.index.nodes_of(id)).unwrap_or_default();
    let node = match nodes.as_slice() {
        [] => {
            run.set.unknown("Registered", "NodeNotFound", "Node not registered with cluster");
            return None;
        }
        [node] => *node,
        _ => {
            run.set.set_false("Registered", "MultipleNodesFound", "Invariant violated, matched multiple nodes");
            return None;
        }
    };
    let synced = sync(&run.draft, node);
    if let Some(body) = patch::of_object(&**node, &synced) {
        let mut step = Step::act(locked(Kind::Node, &**node, false, body));
        if !node.labels().contains_key(labels::REGISTERED) && !taints(node).iter().any(is_unregistered) {
            let why = "missing taint prevents registration-related race conditions on Karpenter-managed nodes";
            let message = format!(
                "Missing {} taint which prevents registration related race conditions on Karpenter-managed nodes",
                labels::UNREGISTERED_TAINT
            );
            let line = Line::error(CONTROLLER, "node claim registration error", why).object("NodeClaim", "", &run.claim.name_any());
            step = step.note(line.with("taint", labels::UNREGISTERED_TAINT)).note(EventSpec::new(
                &**run.claim,
                true,
                "UnregisteredTaintMissing",
                message,
            ));
        }
        return Some(step);
    }
    run.set.set_true("Registered");
    run.status.node_name = Some(node.name_any());
    run.after.push(run.line("registered nodeclaim").into());
    if let Some(pool_uid) = pool_uid(world, run.claim) {
        run.after.push(Memo::Registration { pool_uid, failure: None }.into());
    }
    None
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

fn is_unregistered(taint: &Taint) -> bool {
    taint.key == labels::UNREGISTERED_TAINT && taint.effect == "NoExecute"
}

/// Finalizer, owner, taints, annotations and labels of the claim onto the Node.
pub fn sync(claim: &NodeClaim, node: &Node) -> Node {
    let mut synced = node.clone();
    if !synced.finalizers().iter().any(|f| f == labels::TERMINATION_FINALIZER) {
        synced.finalizers_mut().push(labels::TERMINATION_FINALIZER.to_owned());
    }
    let uid = claim.uid().unwrap_or_default();
    if !synced.owner_references().iter().any(|o| o.kind == "NodeClaim" && o.uid == uid) {
        let owner = OwnerReference {
            api_version: "karpenter.sh/v1".to_owned(),
            kind: "NodeClaim".to_owned(),
            name: claim.name_any(),
            uid,
            block_owner_deletion: Some(true),
            controller: None,
        };
        synced.owner_references_mut().push(owner);
    }
    let spec = synced.spec.get_or_insert_default();
    let mut all = spec.taints.take().unwrap_or_default();
    if node.labels().get(labels::DO_NOT_SYNC_TAINTS).is_none_or(|value| value != "true") {
        for taint in claim.spec.taints.iter().chain(&claim.spec.startup_taints) {
            if !all.iter().any(|t| t.key == taint.key && t.effect == taint.effect) {
                all.push(taint.clone());
            }
        }
    }
    all.retain(|taint| !is_unregistered(taint));
    spec.taints = (!all.is_empty()).then_some(all);
    synced.annotations_mut().extend(claim.annotations().clone());
    synced.labels_mut().extend(claim.labels().clone());
    synced.labels_mut().insert(labels::REGISTERED.to_owned(), "true".to_owned());
    synced
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::taints_are_synced("false", &["cilium", "dedicated"])]
    #[case::unless_the_node_says_no("true", &["cilium"])]
    fn a_node_gets_what_its_claim_says(#[case] no_sync: &str, #[case] taints: &[&str]) {
        let claim: NodeClaim = serde_json::from_value(json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": "c", "uid": "u", "labels": {"type": "karpenter"}, "annotations": {"a": "b"}},
            "spec": {"taints": [{"key": "dedicated", "effect": "NoSchedule"}]}}))
        .expect("a NodeClaim");
        let node: Node = serde_json::from_value(
            json!({"metadata": {"name": "n", "labels": {"type": "old", "karpenter.sh/do-not-sync-taints": no_sync}},
            "spec": {"taints": [{"key": "karpenter.sh/unregistered", "effect": "NoExecute"}, {"key": "cilium", "effect": "NoExecute"}]}}),
        )
        .expect("a Node");
        let synced = sync(&claim, &node);
        let mut keys: Vec<_> = super::taints(&synced).iter().map(|t| t.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, taints);
        assert_eq!(synced.labels().get("type").map(String::as_str), Some("karpenter"));
        assert_eq!(synced.labels().get("karpenter.sh/registered").map(String::as_str), Some("true"));
        assert_eq!((synced.finalizers().len(), synced.owner_references().len()), (1, 1));
        assert_eq!(sync(&claim, &synced), synced, "twice is once");
    }
}
