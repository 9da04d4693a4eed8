//! Whether anything is still under way, in words.

use crate::decide::{lifecycle, marks};
use crate::disruption::Pass;
use crate::effect::Effect;
use crate::work::Work;
use crate::world::World;
use kube::ResourceExt;
use vocabulary::labels;

/// Effects that only keep knowledge fresh.
pub fn is_poll(world: &World, work: Option<&Work>, effect: &Effect) -> bool {
    match effect {
        Effect::RefreshInstanceTypes
        | Effect::RefreshPrices
        | Effect::KubernetesVersion
        | Effect::ListInstances
        | Effect::GetLease { .. }
        | Effect::WriteLease { .. }
        | Effect::ReceiveMessages
        | Effect::ExpireLaunchTemplates => world.facts.started,
        Effect::ResolveAmis { .. }
        | Effect::ResolveSubnets(_)
        | Effect::ResolveSecurityGroups(_)
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

/// What the world itself says: pods that wait for an answer, claims and nodes on their way in or out.
pub fn of_world(world: &mut World) -> Vec<String> {
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
        if world.index.synced() && counted != world.index.pool_usage(&pool.name_any()).get("nodes") {
            list.push(format!("the nodes of pool {} are counted", pool.name_any()));
        }
    }
    list
}

/// NodeClaims that become Consolidatable unless a pod comes or goes before, and when.
pub fn upcoming(world: &World) -> Vec<(jiff::Timestamp, String)> {
    let due = |claim: &std::sync::Arc<api::NodeClaim>| {
        let at = marks::due(world, claim)?;
        Some((at, format!("claim {} becomes consolidatable at {at}", claim.name_any())))
    };
    world.index.claims().filter_map(due).collect()
}
