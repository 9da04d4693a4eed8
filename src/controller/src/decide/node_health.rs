//! Node repair: a node that has been broken for longer than its condition is tolerated goes by force, unless too many are broken at once.
//!
//! Sources: `C/pkg/controllers/node/health/{controller,events}.go`; the conditions and their times: `A/pkg/cloudprovider/cloudprovider.go`,
//! RepairPolicies.

use super::{delete, unlocked};
use crate::effect::Effect;
use crate::log::Line;
use crate::metrics::Measure;
use crate::recorder::EventSpec;
use crate::step::{Done, Step};
use crate::world::World;
use api::NodeClaim;
use cluster::Kind;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use kube::ResourceExt;
use serde_json::json;
use std::sync::Arc;
use vocabulary::labels;

const CONTROLLER: &str = "node.health";
/// So many nodes of a pool may be broken, rounded up, before repair stops: then more is wrong than nodes.
const BROKEN_PERCENT: usize = 20;
const BLOCKED: SignedDuration = SignedDuration::from_mins(5);

/// A condition with this status is a broken node, tolerated for so long.
const POLICIES: [(&str, &str, SignedDuration); 7] = [
    ("Ready", "False", SignedDuration::from_mins(30)),
    ("Ready", "Unknown", SignedDuration::from_mins(30)),
    // The node monitoring agent writes these.
    ("AcceleratedHardwareReady", "False", SignedDuration::from_mins(10)),
    ("StorageReady", "False", SignedDuration::from_mins(30)),
    ("NetworkingReady", "False", SignedDuration::from_mins(30)),
    ("KernelReady", "False", SignedDuration::from_mins(30)),
    ("ContainerRuntimeReady", "False", SignedDuration::from_mins(30)),
];

fn conditions(node: &Node) -> &[NodeCondition] {
    node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

/// Conditions that make the node broken, each with the time until which it is tolerated.
fn broken(node: &Node) -> impl Iterator<Item = (&NodeCondition, Timestamp)> {
    POLICIES.iter().filter_map(|(kind, status, tolerated)| {
        let condition = conditions(node).iter().find(|condition| condition.type_ == *kind && condition.status == *status)?;
        let since = condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        Some((condition, since.saturating_add(*tolerated).unwrap_or(Timestamp::MAX)))
    })
}

/// The condition whose time is over first.
fn first(node: &Node) -> Option<(&NodeCondition, Timestamp)> {
    broken(node).min_by_key(|(_, until)| *until)
}

/// Whether a change of the node is one of its conditions: another status, another time of transition, one more or less.
pub fn is_event(old: Option<&Node>, new: &Node) -> bool {
    let key = |c: &NodeCondition| (c.type_.clone(), c.status.clone(), c.last_transition_time.clone());
    let Some(old) = old else { return true };
    let (old, new) = (conditions(old), conditions(new));
    old.len() != new.len() || old.iter().any(|before| !new.iter().any(|after| key(before) == key(after)))
}

/// When a broken node of ours is to be repaired.
pub fn upcoming(world: &World) -> impl Iterator<Item = (Timestamp, String)> + '_ {
    let nodes = world.index.nodes().filter(|_| world.settings.node_repair);
    nodes.filter(|node| node.metadata.deletion_timestamp.is_none()).filter_map(|node| {
        let (condition, until) = first(node)?;
        let claim = claim_of(world, node).filter(|claim| claim.metadata.deletion_timestamp.is_none())?;
        // While too many are broken nothing comes.
        few_are_broken(world, claim.labels().get(labels::NODEPOOL)).then_some(())?;
        Some((until, format!("node {} is to be repaired: {} is {}", node.name_any(), condition.type_, condition.status)))
    })
}

/// The node's NodeClaim, if there is exactly one.
fn claim_of<'a>(world: &'a World, node: &Node) -> Option<&'a Arc<NodeClaim>> {
    let id = node.spec.as_ref()?.provider_id.as_deref()?;
    match world.index.claims_of(id).as_slice() {
        [claim] => Some(*claim),
        _ => None,
    }
}

pub fn decide(world: &World, name: &str, done: &[Done], now: Timestamp) -> Step {
    let Some(node) = world.index.node(name) else { return Step::rest() };
    let Some(claim) = claim_of(world, node) else { return Step::rest() };
    let Some((condition, until)) = first(node) else { return Step::rest() };
    if now < until {
        return Step::after(until.duration_since(now), None);
    }
    let pool = claim.labels().get(labels::NODEPOOL);
    if !few_are_broken(world, pool) {
        return blocked(world, node, claim, pool);
    }
    let line = |text: &str| Line::info(CONTROLLER, text).object("Node", "", name).object("NodeClaim", "", &claim.name_any());
    // Nothing on it is waited for: the time of its termination is over as soon as it begins.
    let stamped = claim.annotations().get(labels::NODECLAIM_TERMINATION_TIMESTAMP).and_then(|text| text.parse::<Timestamp>().ok());
    let just_stamped = done.iter().any(|done| matches!(&*done.effect, Effect::Patch { .. }));
    if !just_stamped && stamped.is_none_or(|stamp| stamp >= now) {
        let at = crate::conditions::seconds(now).to_string();
        let body = json!({"metadata": {"annotations": {labels::NODECLAIM_TERMINATION_TIMESTAMP: at}}});
        let said = line("annotated nodeclaim").with(labels::NODECLAIM_TERMINATION_TIMESTAMP, at);
        return Step::act(unlocked(Kind::NodeClaim, &**claim, false, body).then(said));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Step::rest();
    }
    let act = delete(Kind::NodeClaim, &**claim).then(line("deleting unhealthy node"));
    Step::act(act.then(Measure::disrupted(claim, "unhealthy")).then(Measure::repaired(claim, &condition.type_)))
}

/// Of the pool's nodes; without a pool, of the cluster's. How long they have been broken does not matter.
fn few_are_broken(world: &World, pool: Option<&String>) -> bool {
    let nodes = world.index.nodes().filter(|node| pool.is_none() || node.labels().get(labels::NODEPOOL) == pool);
    let (all, bad) = nodes.fold((0, 0), |(all, bad), node| (all + 1, bad + usize::from(broken(node).next().is_some())));
    bad <= (all * BROKEN_PERCENT).div_ceil(100)
}

/// Three Events, as upstream has them: all are about the node, and each is silenced by another object.
fn blocked(world: &World, node: &Arc<Node>, claim: &Arc<NodeClaim>, pool: Option<&String>) -> Step {
    let mut uids = vec![node.uid(), claim.uid()];
    let text = match pool {
        Some(pool) => {
            let Some(pool) = world.index.pool(pool) else { return Step::after(BLOCKED, None) };
            uids.push(pool.uid());
            format!("more than {BROKEN_PERCENT}% nodes are unhealthy in the nodepool")
        }
        None => format!("more then {BROKEN_PERCENT}% nodes are unhealthy in the cluster"),
    };
    uids.into_iter().fold(Step::after(BLOCKED, None), |step, uid| {
        let event = EventSpec::new(&**node, true, "NodeRepairBlocked", text.as_str()).dedupe_for(SignedDuration::from_mins(15));
        step.note(EventSpec { dedupe: vec![uid.unwrap_or_default()], ..event })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::step::Then;
    use cluster::Object;
    use rstest::rstest;
    use serde_json::Value;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH.saturating_add(SignedDuration::from_mins(minutes)).expect("in range")
    }

    /// Nodes of one pool, each with these conditions since the beginning of time.
    fn world(nodes: &[&[(&str, &str)]]) -> World {
        let mut world = World::new(Settings { node_repair: true, ..Settings::new("lab") });
        let pool = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "p", "uid": "p"}, "spec": {"template":
            {"spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "c"}, "requirements": []}},
            "disruption": {"consolidateAfter": "0s"}}});
        world.index.apply(Object::NodePool(Arc::new(serde_json::from_value(pool).expect("a pool"))));
        for (number, conditions) in nodes.iter().enumerate() {
            let (name, id) = (format!("n{number}"), format!("aws:///a/i-{number}"));
            let labels = json!({labels::NODEPOOL: "p"});
            let conditions: Vec<Value> = conditions
                .iter()
                .map(|(kind, status)| json!({"type": kind, "status": status, "lastTransitionTime": at(0).to_string()}))
                .collect();
            let node = json!({"metadata": {"name": name, "uid": name, "resourceVersion": "1", "labels": labels},
                "spec": {"providerID": id}, "status": {"conditions": conditions}});
            let claim = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
                "metadata": {"name": format!("c{number}"), "uid": format!("c{number}"), "resourceVersion": "1", "labels": labels},
                "spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "c"}}, "status": {"providerID": id}});
            world.index.apply(Object::Node(Arc::new(serde_json::from_value(node).expect("a node"))));
            world.index.apply(Object::NodeClaim(Arc::new(serde_json::from_value(claim).expect("a claim"))));
        }
        world
    }

    #[rstest]
    #[case::healthy(&[("Ready", "True")], None)]
    #[case::down(&[("Ready", "False")], Some(30))]
    #[case::silent(&[("Ready", "Unknown")], Some(30))]
    #[case::accelerator(&[("AcceleratedHardwareReady", "False")], Some(10))]
    #[case::storage(&[("StorageReady", "False")], Some(30))]
    #[case::network(&[("NetworkingReady", "False")], Some(30))]
    #[case::kernel(&[("KernelReady", "False")], Some(30))]
    #[case::runtime(&[("ContainerRuntimeReady", "False")], Some(30))]
    #[case::the_earliest_end_counts(&[("KernelReady", "False"), ("AcceleratedHardwareReady", "False")], Some(10))]
    #[case::only_ready_may_not_be_unknown(&[("KernelReady", "Unknown")], None)]
    #[case::pressure_is_no_break(&[("DiskPressure", "True")], None)]
    fn what_is_broken_and_for_how_long_it_is_tolerated(#[case] conditions: &[(&str, &str)], #[case] minutes: Option<i64>) {
        let world = world(&[conditions]);
        let step = decide(&world, "n0", &[], at(5));
        assert!(step.acts.is_empty());
        match (step.then, minutes) {
            (Then::After { wait, why: None }, Some(minutes)) => assert_eq!(wait, SignedDuration::from_mins(minutes - 5)),
            (Then::Rest, None) => {}
            (then, _) => panic!("{then:?}"),
        }
        let verbs: Vec<_> = decide(&world, "n0", &[], at(31)).acts.iter().map(|act| act.effect.describe().0).collect();
        assert_eq!(verbs, if minutes.is_some() { vec!["patch"] } else { Vec::new() });
    }

    #[test]
    fn a_stamped_claim_is_deleted() {
        let mut world = world(&[&[("Ready", "False")]]);
        let mut claim = (**world.index.claim("c0").expect("it is there")).clone();
        claim.annotations_mut().insert(labels::NODECLAIM_TERMINATION_TIMESTAMP.to_owned(), at(31).to_string());
        world.index.apply(Object::NodeClaim(Arc::new(claim)));
        let verbs = |now| decide(&world, "n0", &[], now).acts.iter().map(|act| act.effect.describe().0).collect::<Vec<_>>();
        assert_eq!((verbs(at(31)), verbs(at(32))), (vec!["patch"], vec!["delete"]));
    }

    #[rstest]
    #[case::one_of_one(1, 1, true)]
    #[case::one_of_three(3, 1, true)]
    #[case::two_of_five(5, 2, false)]
    #[case::two_of_six(6, 2, true)]
    #[case::all_of_two(2, 2, false)]
    fn too_many_broken_nodes_stop_repair(#[case] all: usize, #[case] bad: usize, #[case] repairs: bool) {
        let conditions: Vec<&[(&str, &str)]> =
            (0..all).map(|number| if number < bad { &[("Ready", "False")][..] } else { &[("Ready", "True")][..] }).collect();
        let step = decide(&world(&conditions), "n0", &[], at(31));
        assert_eq!(!step.acts.is_empty(), repairs);
        assert_eq!(step.notes.len(), if repairs { 0 } else { 3 }, "{:?}", step.notes);
    }
}
