//! Labels that earlier versions did not write: the NodeClass's name, on NodeClaims and on their Nodes.
//!
//! Source: `C/pkg/controllers/nodeclaim/hydration/controller.go`, `C/pkg/controllers/node/hydration/controller.go`.

use super::unlocked;
use crate::patch;
use crate::step::Step;
use crate::world::World;
use api::NodeClaim;
use cluster::Kind;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use vocabulary::labels;

fn is_ours(claim: &NodeClaim) -> bool {
    let class = &claim.spec.node_class_ref;
    class.group == "karpenter.k8s.aws" && class.kind == "EC2NodeClass"
}

fn lacks(object: &impl ResourceExt, claim: &NodeClaim) -> bool {
    object.labels().get(labels::EC2NODECLASS) != Some(&claim.spec.node_class_ref.name)
}

/// The claim is ours and does not name its NodeClass.
pub fn of_claim(claim: &NodeClaim) -> bool {
    is_ours(claim) && lacks(claim, claim)
}

/// The Node of this one claim of ours does not name the NodeClass.
pub fn of_node(node: &Node, claim: &NodeClaim) -> bool {
    is_ours(claim) && lacks(node, claim)
}

pub fn claim(world: &World, name: &str) -> Step {
    let Some(claim) = world.index.claim(name).filter(|claim| of_claim(claim)) else { return Step::rest() };
    let mut named = (**claim).clone();
    named.labels_mut().insert(labels::EC2NODECLASS.to_owned(), claim.spec.node_class_ref.name.clone());
    match patch::of_field("metadata", &**claim, &named) {
        Some(body) => Step::act(unlocked(Kind::NodeClaim, &**claim, false, body)),
        None => Step::rest(),
    }
}

pub fn node(world: &World, name: &str) -> Step {
    let Some(node) = world.index.node(name) else { return Step::rest() };
    let claims = world.index.claims_of(node.spec.as_ref().and_then(|s| s.provider_id.as_deref()).unwrap_or(""));
    let [claim] = claims[..] else { return Step::rest() };
    if !of_node(node, claim) {
        return Step::rest();
    }
    let mut named = (**node).clone();
    named.labels_mut().insert(labels::EC2NODECLASS.to_owned(), claim.spec.node_class_ref.name.clone());
    match patch::of_field("metadata", &**node, &named) {
        Some(body) => Step::act(unlocked(Kind::Node, &**node, false, body)),
        None => Step::rest(),
    }
}
