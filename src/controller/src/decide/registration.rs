//! Registration: the machine's Node has come; it gets what the claim says and loses the taint that kept pods away.
//!
//! Source: `C/pkg/controllers/nodeclaim/lifecycle/registration.go`, and upstream's one registration hook, which waits until EC2 has said which
//! partition of a placement group the machine is in (`A/pkg/cloudprovider/registrationhooks/placementgrouphook.go`).

use super::lifecycle::{CONTROLLER, Run, pool_uid};
use super::{last, locked};
use crate::conditions::Status;
use crate::effect::{Effect, Outcome};
use crate::log::{Level, Line};
use crate::patch;
use crate::recorder::EventSpec;
use crate::step::{Act, Done, Memo, Step};
use crate::world::{World, instance_id};
use api::NodeClaim;
use cluster::Kind;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use vocabulary::labels;

pub fn decide(world: &World, run: &mut Run<'_>, done: &[Done]) -> Option<Step> {
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
    let hook = match partition(run, done) {
        Ok(hook) => hook,
        Err(step) => return Some(*step),
    };
    let synced = sync(&run.draft, node, hook == Hook::Passed);
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
    if hook != Hook::Passed {
        run.set.unknown("Registered", "RegistrationHookPending", HOOK);
        let line = run.line("awaiting registration hooks").object("Node", "", &node.name_any()).with("hooks", serde_json::json!([HOOK]));
        run.after.push(Line { level: Level::Debug, ..line }.into());
        match hook {
            Hook::Failed(error) => run.error = Some(format!("registration hook {HOOK:?} failed, {error}").into()),
            _ => run.again = true,
        }
        return None;
    }
    run.set.set_true("Registered");
    run.status.node_name = Some(node.name_any());
    run.after.push(run.line("registered nodeclaim").into());
    if let Some(pool_uid) = pool_uid(world, run.claim) {
        run.after.push(Memo::Registration { pool_uid, failure: None }.into());
    }
    None
}

const HOOK: &str = "PlacementGroupRegistrationHook";

#[derive(Debug, PartialEq, Eq)]
enum Hook {
    Passed,
    /// EC2 does not say yet.
    Pending,
    Failed(String),
}

/// A claim whose partition EC2 chose has an empty label for it until EC2 says which. `Err` is the question.
fn partition(run: &mut Run<'_>, done: &[Done]) -> Result<Hook, Box<Step>> {
    let own = run.claim.labels();
    let waits = own.contains_key(labels::PLACEMENT_GROUP_ID) && own.get(labels::PLACEMENT_GROUP_PARTITION).is_some_and(String::is_empty);
    if !waits {
        return Ok(Hook::Passed);
    }
    let Some(id) = run.status.provider_id.as_deref().and_then(instance_id) else { return Ok(Hook::Pending) };
    match last(done, |e| matches!(e, Effect::GetInstance { .. })) {
        None => Err(Box::new(Step::act(Act::from(Effect::GetInstance { id: id.to_owned() }).tolerant()))),
        Some(Ok(Outcome::Instance(Some(instance)))) => Ok(match instance.partition {
            Some(number) => {
                run.draft.labels_mut().insert(labels::PLACEMENT_GROUP_PARTITION.to_owned(), number.to_string());
                Hook::Passed
            }
            None => Hook::Pending,
        }),
        Some(Ok(_)) => Ok(Hook::Failed("describing instance for partition number, instance not found".to_owned())),
        Some(Err(error)) => Ok(Hook::Failed(format!("describing instance for partition number, {error}"))),
    }
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

fn is_unregistered(taint: &Taint) -> bool {
    taint.key == labels::UNREGISTERED_TAINT && taint.effect == "NoExecute"
}

/// Finalizer, owner, taints, annotations and labels of the claim onto the Node; the taint that keeps pods away goes with the registration.
pub fn sync(claim: &NodeClaim, node: &Node, registered: bool) -> Node {
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
    all.retain(|taint| !registered || !is_unregistered(taint));
    spec.taints = (!all.is_empty()).then_some(all);
    synced.annotations_mut().extend(claim.annotations().clone());
    synced.labels_mut().extend(claim.labels().clone());
    if registered {
        synced.labels_mut().insert(labels::REGISTERED.to_owned(), "true".to_owned());
    }
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
        let synced = sync(&claim, &node, true);
        let mut keys: Vec<_> = super::taints(&synced).iter().map(|t| t.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, taints);
        assert_eq!(synced.labels().get("type").map(String::as_str), Some("karpenter"));
        assert_eq!(synced.labels().get("karpenter.sh/registered").map(String::as_str), Some("true"));
        assert_eq!((synced.finalizers().len(), synced.owner_references().len()), (1, 1));
        assert_eq!(sync(&claim, &synced, true), synced, "twice is once");
        let waiting = sync(&claim, &node, false);
        assert!(super::taints(&waiting).iter().any(is_unregistered) && !waiting.labels().contains_key("karpenter.sh/registered"));
    }
}
