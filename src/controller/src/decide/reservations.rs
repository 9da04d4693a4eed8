//! What becomes of machines whose capacity reservation ends.
//!
//! Source: `A/pkg/controllers/capacityreservation/{capacitytype,expiration}/controller.go`. Unlike there, nobody asks while no NodeClaim
//! is reserved.

use super::{delete, last, unlocked};
use crate::effect::{Effect, Outcome};
use crate::log::Line;
use crate::patch;
use crate::step::{Act, Done, Step};
use crate::world::{World, provider_id};
use api::NodeClaim;
use api::ec2nodeclass::CapacityReservationSelectorTerm;
use cloud::port::Instance;
use cluster::Kind;
use jiff::SignedDuration;
use kube::{Resource, ResourceExt};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vocabulary::{CapacityType, labels};

const EVERY: SignedDuration = SignedDuration::from_mins(1);
/// Labels that go; upstream leaves the one that says whether the reservation is interruptible (`A/pkg/apis/v1/doc.go`).
const RESERVED: [&str; 2] = [labels::CAPACITY_RESERVATION_ID, labels::CAPACITY_RESERVATION_TYPE];

fn is_reserved(object: &impl ResourceExt) -> bool {
    object.labels().get(labels::CAPACITY_TYPE).map(String::as_str) == Some(CapacityType::Reserved.as_str())
}

/// A machine that is no longer reserved is on demand, and so are its NodeClaim and its Node.
pub fn capacity_types(world: &World, done: &[Done]) -> Step {
    let reserved_node = |node: &&Arc<k8s_openapi::api::core::v1::Node>| is_reserved(&***node);
    if !world.index.claims().any(|claim| is_reserved(&**claim)) && !world.index.nodes().any(|node| reserved_node(&node)) {
        return Step::after(EVERY, None);
    }
    let Some(Ok(Outcome::Instances(instances))) = last(done, |e| matches!(e, Effect::ListInstances)) else {
        return Step::act(Effect::ListInstances);
    };
    let by_id: BTreeMap<String, &Instance> = instances.iter().map(|instance| (instance.provider_id(), instance)).collect();
    let mut step = Step::after(EVERY, None);
    let mut updated = Vec::new();
    for claim in world.index.claims().filter(|claim| claim.metadata.deletion_timestamp.is_none()) {
        let id = provider_id(claim).unwrap_or_default();
        if by_id.get(id).is_none_or(|instance| instance.capacity_type != CapacityType::OnDemand) {
            continue;
        }
        let of_claim = is_reserved(&**claim).then(|| unlocked(Kind::NodeClaim, &**claim, false, demoted(&**claim)));
        let nodes = world.index.nodes_of(id);
        let registered = |node: &k8s_openapi::api::core::v1::Node| {
            node.metadata.deletion_timestamp.is_none() && node.labels().get(labels::REGISTERED).map(String::as_str) == Some("true")
        };
        let of_nodes = nodes.iter().filter(|node| registered(node) && is_reserved(&****node));
        let acts: Vec<Act> =
            of_claim.into_iter().chain(of_nodes.map(|node| unlocked(Kind::Node, &***node, false, demoted(&***node)))).collect();
        if !acts.is_empty() {
            updated.push(claim.name_any());
            step.acts.extend(acts);
        }
    }
    if let Some(act) = step.acts.last_mut() {
        act.after.push(
            Line::debug("capacityreservation.capacitytype", "updated capacity type for nodeclaims").with("NodeClaims", updated).into(),
        );
    }
    step
}

/// The labels of an on-demand machine.
fn demoted(object: &impl Resource) -> Value {
    let mut next = object.meta().labels.clone().unwrap_or_default();
    next.insert(labels::CAPACITY_TYPE.to_owned(), CapacityType::OnDemand.as_str().to_owned());
    next.retain(|label, _| !RESERVED.contains(&label.as_str()));
    let in_metadata = |labels: Value| serde_json::json!({"metadata": {"labels": labels}});
    let before = serde_json::json!(object.meta().labels);
    in_metadata(patch::difference(&before, &serde_json::json!(next)).unwrap_or_default())
}

/// Machines of a capacity block are drained before EC2 takes them back.
pub fn expiration(world: &World, done: &[Done]) -> Step {
    let reservation = |claim: &NodeClaim| claim.labels().get(labels::CAPACITY_RESERVATION_ID).cloned();
    let ids: BTreeSet<String> = world.index.claims().filter_map(|claim| reservation(claim)).collect();
    if ids.is_empty() {
        return Step::after(EVERY, None);
    }
    let Some(Ok(Outcome::CapacityReservations(found))) = last(done, |e| matches!(e, Effect::FindCapacityReservations(_))) else {
        let term = |id: String| CapacityReservationSelectorTerm { id: Some(id), ..CapacityReservationSelectorTerm::default() };
        return Step::act(Effect::FindCapacityReservations(ids.into_iter().map(term).collect()));
    };
    let expiring: BTreeSet<&str> = found.iter().filter(|found| found.is_expiring()).map(|found| found.id.as_str()).collect();
    let mut step = Step::after(EVERY, None);
    for claim in world.index.claims().filter(|claim| claim.metadata.deletion_timestamp.is_none()) {
        let Some(id) = reservation(claim).filter(|id| expiring.contains(id.as_str())) else { continue };
        let line = Line::info("capacityreservation.expiration", "initiating delete for capacity block expiration")
            .object("NodeClaim", "", &claim.name_any())
            .with("capacity-reservation-id", id);
        step.acts.push(delete(Kind::NodeClaim, &**claim).then(line));
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use api::ec2nodeclass::CapacityReservation;
    use cluster::Object;
    use serde_json::json;

    fn world() -> World {
        let mut world = World::new(Settings::new("lab"));
        let labels = json!({"karpenter.sh/capacity-type": "reserved", "karpenter.k8s.aws/capacity-reservation-id": "cr-1",
            "karpenter.k8s.aws/capacity-reservation-type": "default", "karpenter.k8s.aws/capacity-reservation-interruptible": "false",
            "karpenter.sh/registered": "true", "team": "blue"});
        let claim = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": "a", "uid": "a", "resourceVersion": "1", "labels": labels},
            "spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}},
            "status": {"providerID": "aws:///us-west-2a/i-1"}});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "uid": "n", "resourceVersion": "1", "labels": labels},
            "spec": {"providerID": "aws:///us-west-2a/i-1"}});
        world.index.apply(Object::NodeClaim(Arc::new(serde_json::from_value(claim).expect("a claim"))));
        world.index.apply(Object::Node(Arc::new(serde_json::from_value(node).expect("a node"))));
        world
    }

    fn listed(capacity_type: CapacityType) -> Vec<Done> {
        let instance = Instance {
            id: "i-1".into(),
            state: "running".into(),
            instance_type: "m5.large".into(),
            image_id: "ami-1".into(),
            zone: "us-west-2a".into(),
            zone_id: None,
            subnet_id: None,
            security_groups: Vec::new(),
            capacity_type,
            reservation: None,
            partition: None,
            launch_time: jiff::Timestamp::UNIX_EPOCH,
            tags: BTreeMap::new(),
        };
        vec![Done { effect: Arc::new(Effect::ListInstances), outcome: Ok(Outcome::Instances(vec![instance])) }]
    }

    fn bodies(step: &Step) -> Vec<Value> {
        step.acts.iter().filter_map(|act| if let Effect::Patch { body, .. } = &act.effect { Some(body.clone()) } else { None }).collect()
    }

    #[test]
    fn a_machine_that_left_its_reservation_is_on_demand() {
        let world = world();
        assert!(matches!(capacity_types(&world, &[]).acts[..], [Act { effect: Effect::ListInstances, .. }]));
        assert_eq!(bodies(&capacity_types(&world, &listed(CapacityType::Reserved))), Vec::<Value>::new());
        let demoted = json!({"metadata": {"labels": {"karpenter.sh/capacity-type": "on-demand", "karpenter.k8s.aws/capacity-reservation-id": null,
            "karpenter.k8s.aws/capacity-reservation-type": null}}});
        assert_eq!(bodies(&capacity_types(&world, &listed(CapacityType::OnDemand))), [demoted.clone(), demoted]);
    }

    #[test]
    fn nobody_asks_while_nothing_is_reserved() {
        let world = World::new(Settings::new("lab"));
        assert!(capacity_types(&world, &[]).acts.is_empty() && expiration(&world, &[]).acts.is_empty());
    }

    #[test]
    fn machines_of_an_expiring_block_are_deleted() {
        let world = world();
        let asked = Effect::FindCapacityReservations(Vec::new());
        let answer = |state: &str| {
            let reservation = CapacityReservation { id: "cr-1".into(), state: state.into(), ..CapacityReservation::default() };
            vec![Done { effect: Arc::new(asked.clone()), outcome: Ok(Outcome::CapacityReservations(vec![reservation])) }]
        };
        assert!(expiration(&world, &answer("active")).acts.is_empty());
        assert!(matches!(&expiration(&world, &answer("expiring")).acts[..], [Act { effect: Effect::Delete { .. }, .. }]));
    }
}
