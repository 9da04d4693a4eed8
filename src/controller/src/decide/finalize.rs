//! The end of a NodeClaim: its Node is drained and gone, then its machine, then its finalizer.
//!
//! Source: `C/pkg/controllers/nodeclaim/lifecycle/controller.go`, finalize.

use super::lifecycle::CONTROLLER;
use super::{delete, last, locked};
use crate::conditions::{ConditionSet, NODE_CLAIM};
use crate::effect::{Effect, Outcome};
use crate::log::Line;
use crate::patch;
use crate::recorder::EventSpec;
use crate::step::{Done, Note, Step};
use crate::world::{World, conditions, instance_id, provider_id};
use api::NodeClaim;
use cloud::port::ReservationChange;
use cluster::Kind;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use std::sync::Arc;
use vocabulary::labels;

pub fn decide(world: &World, claim: &Arc<NodeClaim>, done: &[Done], now: Timestamp) -> Step {
    if !claim.finalizers().iter().any(|f| f == labels::TERMINATION_FINALIZER) {
        return Step::rest();
    }
    if let Some(step) = stamp(claim) {
        return step;
    }
    if api::condition::is_true(conditions(claim), "Registered") {
        let nodes = provider_id(claim).map(|id| world.index.nodes_of(id)).unwrap_or_default();
        let acts: Vec<_> = nodes.iter().filter(|n| n.metadata.deletion_timestamp.is_none()).map(|n| delete(Kind::Node, &***n)).collect();
        if !acts.is_empty() {
            return Step { acts, ..Step::default() };
        }
        if !nodes.is_empty() {
            return Step::rest();
        }
    }
    if let Some(id) = provider_id(claim).and_then(instance_id) {
        let gone = match last(done, |e| matches!(e, Effect::Terminate { .. })) {
            Some(Ok(Outcome::Terminated(something))) => !something,
            _ => return Step::act(Effect::Terminate { id: id.to_owned() }),
        };
        if let Some(step) = terminating(claim, now) {
            return step;
        }
        if !gone {
            return Step::after(SignedDuration::from_secs(5), Some(format!("the machine of claim {} shuts down", claim.name_any())));
        }
    }
    let mut released = (**claim).clone();
    released.finalizers_mut().retain(|f| f != labels::TERMINATION_FINALIZER);
    match patch::of_field("metadata", &**claim, &released) {
        Some(body) => {
            let act = locked(Kind::NodeClaim, &**claim, false, body).then(line(claim, "deleted nodeclaim"));
            let reserved = claim.labels().get(labels::CAPACITY_RESERVATION_ID).filter(|_| provider_id(claim).is_some());
            Step::act(match reserved {
                Some(id) => act.then(Note::Reservation(id.clone(), ReservationChange::Released)),
                None => act,
            })
        }
        None => Step::rest(),
    }
}

fn line(claim: &NodeClaim, text: &str) -> Line {
    let line = Line::info(CONTROLLER, text).object("NodeClaim", "", &claim.name_any());
    let line = provider_id(claim).map_or(line.clone(), |id| line.with("provider-id", id));
    match claim.status.as_ref().and_then(|s| s.node_name.as_deref()) {
        Some(node) => line.object("Node", "", node),
        None => line,
    }
}

/// `terminationGracePeriod` counts from the deletion.
fn stamp(claim: &Arc<NodeClaim>) -> Option<Step> {
    if claim.annotations().contains_key(labels::NODECLAIM_TERMINATION_TIMESTAMP) {
        return None;
    }
    let grace = claim.spec.termination_grace_period.as_ref()?.duration?;
    let deleted = claim.metadata.deletion_timestamp.as_ref()?.0;
    let end = crate::conditions::seconds(deleted.saturating_add(grace).unwrap_or(Timestamp::MAX)).to_string();
    let mut stamped = (**claim).clone();
    stamped.annotations_mut().insert(labels::NODECLAIM_TERMINATION_TIMESTAMP.to_owned(), end.clone());
    let body = patch::of_field("metadata", &**claim, &stamped)?;
    let line = line(claim, "annotated nodeclaim").with(labels::NODECLAIM_TERMINATION_TIMESTAMP, end.as_str());
    let event = EventSpec::new(&**claim, true, "TerminationGracePeriodExpiring", format!("All pods will be deleted by {end}"));
    Some(Step::act(locked(Kind::NodeClaim, &**claim, false, body).then(line).then(event)))
}

/// Writes `InstanceTerminating` unless it is there.
fn terminating(claim: &Arc<NodeClaim>, now: Timestamp) -> Option<Step> {
    let mut status = claim.status.clone().unwrap_or_default();
    let mut set = ConditionSet::new(&**claim, &status.conditions, NODE_CLAIM, now);
    set.set_true("InstanceTerminating");
    status.conditions = set.into_conditions();
    let mut next = (**claim).clone();
    next.status = Some(status);
    let body = patch::of_field("status", &**claim, &next)?;
    Some(Step::act(locked(Kind::NodeClaim, &**claim, true, body)))
}
