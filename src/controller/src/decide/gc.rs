//! Garbage: machines without a NodeClaim, NodeClaims without a machine, instance profiles without a user.
//!
//! Sources: `A/pkg/controllers/nodeclaim/garbagecollection/controller.go`, `C/pkg/controllers/nodeclaim/garbagecollection/controller.go`.

use super::{delete, last};
use crate::effect::{Effect, Outcome};
use crate::log::Line;
use crate::metrics::Measure;
use crate::step::{Act, Done, Memo, Step};
use crate::world::{World, conditions, provider_id};
use cloud::port::Instance;
use cluster::{Kind, machine};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use std::collections::BTreeSet;
use vocabulary::labels;

const PROFILES_EVERY: SignedDuration = SignedDuration::from_mins(30);

fn is_terminating(instance: &Instance) -> bool {
    instance.state == "shutting-down"
}

/// Every ten seconds at first, then every two minutes.
pub fn instances(world: &World, done: &[Done], now: Timestamp) -> Step {
    let every = if world.instance_gc_successes < 20 { SignedDuration::from_secs(10) } else { SignedDuration::from_mins(2) };
    let instances = match last(done, |e| matches!(e, Effect::ListInstances)) {
        Some(Ok(Outcome::Instances(instances))) => instances,
        _ => return Step::act(Effect::ListInstances),
    };
    if done.len() > 1 {
        return Step::after(every, None).note(Memo::InstanceGcSucceeded);
    }
    let orphans = instances.iter().filter(|instance| {
        let old = now.duration_since(instance.launch_time) > SignedDuration::from_secs(30);
        old && !is_terminating(instance) && world.index.claims_of(&instance.provider_id()).is_empty()
    });
    let mut acts = Vec::new();
    for instance in orphans {
        let id = instance.provider_id();
        let line = Line::debug("instance.garbagecollection", "garbage collected cloudprovider instance").with("provider-id", id.as_str());
        acts.push(Act::from(Effect::Terminate { id: instance.id.clone() }).then(line));
        if let Some(node) = world.index.nodes_of(&id).first() {
            let line = Line::debug("instance.garbagecollection", "garbage collected node").with("provider-id", id.as_str()).object(
                "Node",
                "",
                &node.name_any(),
            );
            acts.push(delete(Kind::Node, &***node).then(line));
        }
    }
    if acts.is_empty() { Step::after(every, None).note(Memo::InstanceGcSucceeded) } else { Step { acts, ..Step::default() } }
}

/// Every two minutes. A Node that is still ready has a machine, whatever the list says.
pub fn claims(world: &World, done: &[Done]) -> Step {
    let every = SignedDuration::from_mins(2);
    let instances = match last(done, |e| matches!(e, Effect::ListInstances)) {
        Some(Ok(Outcome::Instances(instances))) => instances,
        _ => return Step::act(Effect::ListInstances),
    };
    if done.len() > 1 {
        return Step::after(every, None);
    }
    let present: BTreeSet<String> = instances.iter().filter(|i| !is_terminating(i)).map(Instance::provider_id).collect();
    let lost = world.index.claims().filter(|claim| {
        let id = provider_id(claim).unwrap_or("");
        let ready = world.index.nodes_of(id).iter().any(|node| machine::is_ready(node));
        api::condition::is_true(conditions(claim), "Registered")
            && claim.metadata.deletion_timestamp.is_none()
            && !present.contains(id)
            && !ready
    });
    let acts: Vec<Act> = lost
        .map(|claim| {
            let line = Line::debug("nodeclaim.garbagecollection", "garbage collecting nodeclaim with no cloudprovider representation")
                .object("NodeClaim", "", &claim.name_any())
                .object("Node", "", claim.status.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or(""))
                .with("provider-id", provider_id(claim).unwrap_or(""));
            delete(Kind::NodeClaim, &**claim).then(line).then(Measure::disrupted(claim, "garbage_collected"))
        })
        .collect();
    if acts.is_empty() { Step::after(every, None) } else { Step { acts, ..Step::default() } }
}
/// Instance profiles that no NodeClass and no NodeClaim names (`A/pkg/controllers/nodeclass/garbagecollection/controller.go`).
pub fn profiles(world: &World, done: &[Done]) -> Step {
    match last(done, |e| matches!(e, Effect::CollectProfiles(_))) {
        Some(Ok(Outcome::Names(names))) => {
            let line = |name: &String| {
                Line::debug("instanceprofile.garbagecollection", "deleted instance profile").with("instance-profile", name.as_str())
            };
            let mut step = Step::after(PROFILES_EVERY, None);
            step.notes.extend(names.iter().map(|name| line(name).into()));
            step
        }
        _ => {
            let current = world.index.classes().filter_map(|class| class.status.as_ref()?.instance_profile.clone());
            let active = world.index.claims().filter_map(|claim| claim.annotations().get(labels::INSTANCE_PROFILE_NAME).cloned());
            Step::act(Effect::CollectProfiles(current.chain(active).filter(|name| !name.is_empty()).collect()))
        }
    }
}
