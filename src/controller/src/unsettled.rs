//! Whether anything is still under way, in words.

use crate::decide::{lifecycle, marks, node_health};
use crate::disruption::Pass;
use crate::effect::Effect;
use crate::work::Work;
use crate::world::World;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use std::sync::Arc;
use vocabulary::labels;

/// Effects that only keep knowledge fresh.
pub fn is_poll(world: &World, work: Option<&Work>, effect: &Effect) -> bool {
    match effect {
        Effect::RefreshInstanceTypes
        | Effect::RefreshPrices
        | Effect::RefreshZonalShifts
        | Effect::KubernetesVersion
        | Effect::ListInstances
        | Effect::ListUnhealthy
        | Effect::FindCapacityReservations(_)
        | Effect::GetLease { .. }
        | Effect::WriteLease { .. }
        | Effect::ReceiveMessages
        | Effect::CollectProfiles(_)
        | Effect::ExpireLaunchTemplates => world.facts.started,
        Effect::ResolveAmis { .. }
        | Effect::ResolveSubnets(_)
        | Effect::ResolveSecurityGroups(_)
        | Effect::ResolveCapacityReservations(_)
        | Effect::ResolvePlacementGroup(_)
        | Effect::EnsureInstanceProfile(_)
        | Effect::Validate { .. } => match work {
            Some(Work::NodeClass(name)) => world.index.class(name).is_some_and(|class| is_ready(class)),
            _ => false,
        },
        _ => false,
    }
}

/// Ready for its present generation.
fn is_ready(class: &api::EC2NodeClass) -> bool {
    let ready = class.status.as_ref().and_then(|s| api::condition::find(&s.conditions, "Ready"));
    ready.is_some_and(|c| c.is_true() && c.observed_generation == class.metadata.generation)
}

/// What the world says of itself, worked out anew only when it may have become something else.
#[derive(Debug, Default)]
pub struct Outlook {
    asked: Option<(Timestamp, Question)>,
    /// In words, what moves.
    pub moving: Arc<Vec<String>>,
    /// See [`upcoming`].
    pub upcoming: Arc<Vec<(Timestamp, String)>>,
}

/// Equal questions have equal answers: nothing that an outlook is made of has changed.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    revision: u64,
    plans: u64,
    pass: (bool, Option<u64>),
    commands: Vec<u64>,
    batch: bool,
}

/// While something moves anyway, all of it is told again no more often than that.
const TOLD_EVERY: SignedDuration = SignedDuration::from_secs(1);

/// What moves, and what will. `busy`: something moves whatever the world says, so that what it said a moment ago will do.
pub fn outlook(world: &mut World, busy: bool, now: Timestamp) -> &Outlook {
    let question = Question {
        revision: world.index.revision(),
        plans: world.planned.count,
        pass: (matches!(world.disruption.pass, Pass::Idle), world.disruption.seen),
        commands: world.disruption.commands.keys().copied().collect(),
        batch: world.batch.is_work(),
    };
    let known = match &world.outlook.asked {
        Some((at, _)) if busy => now.duration_since(*at) < TOLD_EVERY,
        Some((_, asked)) => *asked == question,
        None => false,
    };
    if !known {
        let moving = Arc::new(of_world(world));
        let upcoming = Arc::new(upcoming(world));
        world.outlook = Outlook { asked: Some((now, question)), moving, upcoming };
    }
    &world.outlook
}

/// What the world itself says: pods that wait for an answer, claims and nodes on their way in or out.
fn of_world(world: &mut World) -> Vec<String> {
    let mut list = Vec::new();
    if world.batch.is_work() {
        list.push("a batch of pods is being collected".to_owned());
    }
    let version = world.index.version();
    let pending = world.index.pending().count();
    if pending > 0 && world.planned.version != Some(version) {
        list.push(format!("{pending} pending pods wait for the next plan"));
    }
    let placed = world.index.pending().filter(|(_, pod)| pod.uid().is_some_and(|uid| world.planned.placed.contains(&uid))).count();
    if placed > 0 {
        list.push(format!("{placed} pods wait to be bound where they were promised a place"));
    }
    list.extend(world.index.claims().filter_map(|claim| lifecycle::unsettled(claim)));
    if !matches!(world.disruption.pass, Pass::Idle) {
        list.push("nodes are judged for disruption".to_owned());
    }
    list.extend(world.disruption.commands.keys().map(|id| format!("disruption command {id} is carried out")));
    // The next pass comes within ten seconds; it has nothing new to see when nothing changed since the last.
    let managed = world.index.machines().any(|machine| machine.node_claim.is_some() && machine.initialized && !machine.deleting);
    if managed && world.disruption.seen != Some(version) {
        list.push("the disruption of nodes looks at the cluster".to_owned());
    }
    let finalizer = |f: &String| f == labels::TERMINATION_FINALIZER;
    let leaving = world.index.nodes().filter(|node| node.metadata.deletion_timestamp.is_some() && node.finalizers().iter().any(finalizer));
    list.extend(leaving.map(|node| format!("node {} terminates", node.name_any())));
    for pool in world.index.pools() {
        let counted = pool.status.as_ref().and_then(|s| s.nodes).unwrap_or(0);
        let ready = pool.status.as_ref().is_some_and(|s| api::condition::is_true(&s.conditions, "Ready"));
        if let Some(replicas) = pool.spec.replicas.filter(|_| ready && world.settings.static_capacity) {
            let limit = pool.spec.limits.as_ref().and_then(|limits| limits.get("nodes")).map_or(i64::MAX, vocabulary::Quantity::ceil);
            let name = pool.name_any();
            let own = world.index.claims().filter(|c| c.labels().get(labels::NODEPOOL) == Some(&name));
            let staying = own.filter(|c| c.metadata.deletion_timestamp.is_none()).count();
            if i64::try_from(staying).is_ok_and(|staying| staying != replicas.min(limit)) {
                list.push(format!("pool {name} has {staying} of {replicas} NodeClaims"));
            }
        }
        if world.index.synced() && counted != world.index.pool_usage(&pool.name_any()).get("nodes") {
            list.push(format!("the nodes of pool {} are counted", pool.name_any()));
        }
    }
    list
}

/// NodeClaims that become Consolidatable unless a pod comes or goes before, and broken nodes that are to be repaired; and when.
fn upcoming(world: &World) -> Vec<(Timestamp, String)> {
    let due = |claim: &Arc<api::NodeClaim>| {
        let at = marks::due(world, claim)?;
        Some((at, format!("claim {} becomes consolidatable at {at}", claim.name_any())))
    };
    world.index.claims().filter_map(due).chain(node_health::upcoming(world)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use cluster::Object;
    use serde_json::json;

    fn claim(version: u64, deleting: bool) -> Object {
        let mut claim = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": "a", "uid": "a", "resourceVersion": version.to_string()},
            "spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}}});
        if deleting {
            claim["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
        }
        Object::NodeClaim(Arc::new(serde_json::from_value(claim).expect("a claim")))
    }

    #[test]
    fn what_moves_is_told_anew_after_a_change_and_a_second_later_while_busy() {
        let mut world = World::new(Settings::new("lab"));
        let at = |millis: i64| Timestamp::from_millisecond(millis).expect("in range");
        assert!(outlook(&mut world, false, at(0)).moving.is_empty());
        world.index.apply(claim(1, false));
        assert_eq!(*outlook(&mut world, false, at(1)).moving, ["claim a launches"]);
        world.index.apply(claim(2, true));
        assert_eq!(*outlook(&mut world, true, at(1_000)).moving, ["claim a launches"], "something else moves, that will do");
        assert_eq!(*outlook(&mut world, true, at(1_001)).moving, ["claim a terminates"]);
        let first = outlook(&mut world, false, at(5_000)).moving.clone();
        assert!(Arc::ptr_eq(&first, &outlook(&mut world, false, at(9_000)).moving), "nothing changed, nothing is worked out");
        world.disruption.pass = Pass::Cleaning;
        assert!(outlook(&mut world, false, at(9_000)).moving.contains(&"nodes are judged for disruption".to_owned()));
    }
}
