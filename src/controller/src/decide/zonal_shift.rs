//! Zones that ARC shifts the cluster away from: asked for every half minute, and told to the NodePools that they concern.
//!
//! Source: `A/pkg/controllers/arczonalshift/controller.go`. What an offering in such a zone is worth is the cloud's to say.

use super::last;
use crate::effect::{Effect, Outcome};
use crate::recorder::EventSpec;
use crate::step::{Done, Memo, Note, Step};
use crate::world::World;
use api::{EC2NodeClass, NodePool};
use jiff::SignedDuration;
use kube::ResourceExt;
use std::collections::BTreeSet;
use vocabulary::{Requirements, labels};

const EVERY: SignedDuration = SignedDuration::from_secs(30);

pub fn decide(world: &World, done: &[Done]) -> Step {
    let Some(Ok(Outcome::Zones(shifted))) = last(done, |e| matches!(e, Effect::RefreshZonalShifts)) else {
        return Step::act(Effect::RefreshZonalShifts);
    };
    if *shifted == world.shifted {
        return Step::after(EVERY, None);
    }
    let mut step = Step::after(EVERY, None).note(Memo::Shifted(shifted.clone()));
    for pool in world.index.pools() {
        let reference = &pool.spec.template.spec.node_class_ref;
        let Some(class) = world.index.class(&reference.name) else {
            let pool = pool.name_any();
            return Step::retry(format!("publishing zonal shift events: getting nodeclass {:?} for nodepool {pool:?}", reference.name));
        };
        step.notes.extend(events(pool, class, &world.shifted, shifted).into_iter().map(Note::from));
    }
    step
}

/// What changed for a pool whose requirements allow the zone, and whose class has a subnet in it.
fn events(pool: &NodePool, class: &EC2NodeClass, before: &BTreeSet<String>, now: &BTreeSet<String>) -> Vec<EventSpec> {
    let requirements: Requirements = cluster::pool::convert(pool).requirements.iter().cloned().collect();
    let allows = |key: &str, value: &str| requirements.get(key).is_none_or(|requirement| requirement.has(value));
    let subnets = class.status.as_ref().map_or(&[][..], |status| &status.subnets);
    let told = |zone_id: &String, is_shifted: bool| {
        let zone = &subnets.iter().find(|subnet| subnet.zone_id == *zone_id)?.zone;
        if !allows(labels::ZONE, zone) || !allows(labels::ZONE_ID, zone_id) {
            return None;
        }
        let (reason, what, how) =
            if is_shifted { ("ZonalShiftActive", "detected", "unavailable") } else { ("ZonalShiftCleared", "cleared", "restored") };
        let text = format!("Zonal shift {what}: offerings in zone {zone} ({zone_id}) are {how} for this NodePool");
        let mut event = EventSpec::new(pool, is_shifted, reason, text);
        event.dedupe.push(zone_id.clone());
        Some(event)
    };
    let begun = now.difference(before).filter_map(|zone| told(zone, true));
    begun.chain(before.difference(now).filter_map(|zone| told(zone, false))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn class() -> EC2NodeClass {
        serde_json::from_value(json!({"apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": "default"}, "spec": {},
            "status": {"subnets": [{"id": "subnet-1", "zone": "us-west-2a", "zoneID": "usw2-az1"}, {"id": "subnet-2", "zone": "us-west-2b", "zoneID": "usw2-az2"}]}}))
        .expect("a class")
    }

    fn pool(requirements: &Value) -> NodePool {
        serde_json::from_value(json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default", "uid": "u"},
            "spec": {"template": {"spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}, "requirements": requirements}}}}))
        .expect("a pool")
    }

    #[rstest]
    #[case::any_zone(json!([]), &["usw2-az2"], &["ZonalShiftActive us-west-2a (usw2-az1)", "ZonalShiftCleared us-west-2b (usw2-az2)"])]
    #[case::another_zone(json!([{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-west-2b"]}]), &[], &[])]
    #[case::not_that_zone(json!([{"key": "topology.k8s.aws/zone-id", "operator": "NotIn", "values": ["usw2-az1"]}]), &["usw2-az2"], &["ZonalShiftCleared us-west-2b (usw2-az2)"])]
    #[case::no_subnet_there(json!([]), &["usw2-az9"], &["ZonalShiftActive us-west-2a (usw2-az1)"])]
    fn pools_hear_of_their_own_zones(#[case] requirements: Value, #[case] before: &[&str], #[case] expected: &[&str]) {
        let set = |zones: &[&str]| zones.iter().map(|zone| (*zone).to_owned()).collect::<BTreeSet<_>>();
        let said = events(&pool(&requirements), &class(), &set(before), &set(&["usw2-az1"]));
        let zone = |text: &str| text.split("zone ").nth(1).and_then(|rest| rest.split(" are").next()).unwrap_or("").to_owned();
        let said: Vec<String> = said.iter().map(|event| format!("{} {}", event.reason, zone(&event.message))).collect();
        assert_eq!(said, expected);
    }
}
