//! Whether a node is what its NodeClaim promised, every ten minutes.
//!
//! Source: `C/pkg/controllers/nodeclaim/consistency/{controller,nodeshape}.go`.

use super::locked;
use crate::conditions::{ConditionSet, NODE_CLAIM};
use crate::log::Line;
use crate::patch;
use crate::recorder::EventSpec;
use crate::step::{Memo, Note, Step, Then};
use crate::world::{World, conditions, provider_id};
use api::NodeClaim;
use cluster::Kind;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use vocabulary::Quantity;

const CONTROLLER: &str = "nodeclaim.consistency";
pub const EVERY: SignedDuration = SignedDuration::from_mins(10);
/// A node with less of a resource than this share of what was promised is none that was asked for.
const ENOUGH: f64 = 0.9;
const CONDITION: &str = "ConsistentStateFound";

pub fn decide(world: &World, name: &str, now: Timestamp) -> Step {
    let Some(claim) = world.index.claim(name) else { return Step::rest() };
    let Some(id) = provider_id(claim) else { return Step::rest() };
    let uid = claim.uid().unwrap_or_default();
    if let Some(left) = world.scanned.get(&uid).map(|at| EVERY - now.duration_since(*at)).filter(|left| left.is_positive()) {
        return Step::after(left, None);
    }
    let scanned = Note::from(Memo::Scanned(uid, now));
    let nodes = world.index.nodes_of(id);
    // None yet, or several: registration deals with that.
    let [node] = nodes.as_slice() else { return Step::after(EVERY, None).note(scanned) };
    let issues = issues(claim, node);
    let mut set = ConditionSet::new(&**claim, conditions(claim), NODE_CLAIM, now);
    if issues.is_empty() {
        set.set_true(CONDITION);
    } else {
        set.set_false(CONDITION, "ConsistencyCheckFailed", "Consistency Check Failed");
    }
    let mut notes = vec![scanned];
    for issue in issues {
        let mut line = Line::info(CONTROLLER, "failed consistency check").object("NodeClaim", "", name);
        if let Some(node) = claim.status.as_ref().and_then(|s| s.node_name.as_deref()) {
            line = line.object("Node", "", node);
        }
        notes.push(line.with("issue", issue.as_str()).into());
        let mut event = EventSpec::new(&**claim, true, "FailedConsistencyCheck", issue.as_str());
        event.dedupe.push(issue);
        notes.push(event.dedupe_for(EVERY).into());
    }
    let mut status = claim.status.clone().unwrap_or_default();
    status.conditions = set.into_conditions();
    let mut next = (**claim).clone();
    next.status = Some(status);
    let acts = patch::of_field("status", &**claim, &next).map(|body| locked(Kind::NodeClaim, &**claim, true, body));
    Step { acts: acts.into_iter().collect(), notes, then: Then::After { wait: EVERY, why: None }, ..Step::default() }
}

/// Resources that were asked for and of which the node has too little, in words.
fn issues(claim: &NodeClaim, node: &Node) -> Vec<String> {
    if claim.metadata.deletion_timestamp.is_some() || !api::condition::is_true(conditions(claim), "Initialized") {
        return Vec::new();
    }
    let promised = claim.status.as_ref().map(|s| s.capacity.clone()).unwrap_or_default();
    let has = node.status.as_ref().and_then(|s| s.capacity.clone()).unwrap_or_default();
    let mut found = Vec::new();
    for (resource, requested) in &claim.spec.resources.requests {
        let Some(expected) = promised.get(resource).filter(|q| amount(q) > 0.0).filter(|_| amount(requested) > 0.0) else { continue };
        let present = has.get(resource).and_then(|present| present.0.parse::<Quantity>().ok()).unwrap_or(Quantity::from_units(0));
        let share = amount(&present) / amount(expected);
        if share < ENOUGH {
            let (expected, present, percent) = (expected, present, share * 100.0);
            found.push(format!("expected {expected} of resource {resource}, but found {present} ({percent:.1}% of expected)"));
        }
    }
    found
}

/// As a float, whatever the unit: only shares are of interest.
#[expect(clippy::cast_precision_loss, reason = "a share of two amounts of one resource")]
fn amount(quantity: &Quantity) -> f64 {
    quantity.milli_ceil() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Effect;
    use crate::settings::Settings;
    use cluster::Object;
    use rstest::rstest;
    use serde_json::json;
    use std::sync::Arc;

    fn world(memory: &str, initialized: bool) -> World {
        let claim = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "a", "uid": "a", "resourceVersion": "1"},
            "spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}, "resources": {"requests": {"memory": "1Gi", "pods": "2"}}},
            "status": {"providerID": "aws:///us-west-2a/i-1", "nodeName": "n", "capacity": {"memory": "8Gi", "cpu": "2"},
                "conditions": [{"type": "Initialized", "status": if initialized { "True" } else { "Unknown" }}]}});
        let node =
            json!({"metadata": {"name": "n"}, "spec": {"providerID": "aws:///us-west-2a/i-1"}, "status": {"capacity": {"memory": memory}}});
        let mut world = World::new(Settings::new("lab"));
        world.index.apply(Object::NodeClaim(Arc::new(serde_json::from_value(claim).expect("a claim"))));
        world.index.apply(Object::Node(Arc::new(serde_json::from_value(node).expect("a node"))));
        world
    }

    #[rstest]
    #[case::as_promised("8Gi", true, "True")]
    #[case::nine_tenths("7549748Ki", true, "True")]
    #[case::too_small("7Gi", true, "False")]
    #[case::not_yet_initialized("1Gi", false, "True")]
    fn nodes_are_held_against_their_claims(#[case] memory: &str, #[case] initialized: bool, #[case] expected: &str) {
        let step = decide(&world(memory, initialized), "a", Timestamp::UNIX_EPOCH);
        let [crate::step::Act { effect: Effect::Patch { body, .. }, .. }] = &step.acts[..] else { panic!("{step:?}") };
        let conditions = body["status"]["conditions"].as_array().expect("conditions");
        let found = conditions.iter().find(|c| c["type"] == CONDITION).expect("the condition");
        assert_eq!(found["status"], expected);
        let said = step.notes.iter().filter_map(|note| if let Note::Event(event) = note { Some(event.message.as_str()) } else { None });
        let words: Vec<&str> =
            if expected == "False" { vec!["expected 8Gi of resource memory, but found 7Gi (87.5% of expected)"] } else { vec![] };
        assert_eq!(said.collect::<Vec<_>>(), words);
    }

    #[test]
    fn once_in_ten_minutes() {
        let mut world = world("8Gi", true);
        world.remember(Memo::Scanned("a".into(), Timestamp::UNIX_EPOCH));
        let later = |minutes| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        assert!(decide(&world, "a", later(9)).acts.is_empty());
        assert_eq!(decide(&world, "a", later(10)).acts.len(), 1);
    }
}
