//! The conditions `Consolidatable` and `Drifted` of a NodeClaim.
//!
//! Source: `C/pkg/controllers/nodeclaim/disruption/{controller,consolidation,drift}.go`.

use super::locked;
use crate::conditions::{ConditionSet, NODE_CLAIM};
use crate::log::Line;
use crate::patch;
use crate::step::{Act, Note, Step, Then};
use crate::world::{World, conditions};
use api::{NodeClaim, NodePool};
use cluster::Kind;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use planner::InstanceType;
use std::sync::Arc;
use vocabulary::{CapacityType, Requirement, Requirements, labels};

const CONTROLLER: &str = "nodeclaim.disruption";
/// How long a verdict on drift stands without anything having changed.
const DRIFT_AGAIN: SignedDuration = SignedDuration::from_mins(5);
/// Younger NodeClaims are not asked whether their type still exists.
const TYPE_CHECK_FROM: SignedDuration = SignedDuration::from_hours(1);

/// What the cloud's side says.
#[derive(Clone, Debug, PartialEq)]
pub enum CloudDrift {
    No,
    Drifted(&'static str),
    /// It could not be found out.
    Error(String),
}

/// `drift` is asked only when the NodeClaim itself shows none.
pub fn decide(world: &World, name: &str, drift: impl FnOnce() -> CloudDrift, now: Timestamp) -> Step {
    let Some(claim) = world.index.claim(name) else { return Step::rest() };
    let Some(pool) = pool_of(world, claim) else { return Step::rest() };
    let mut set = ConditionSet::new(&**claim, conditions(claim), NODE_CLAIM, now);
    let mut notes = Vec::new();
    let (drift_wait, error) = drifted(claim, pool, &mut set, drift, &mut notes);
    // A pool of fixed size is never consolidated.
    let quiet_wait = if pool.spec.replicas.is_none() { consolidatable(claim, pool, &mut set, now, &mut notes) } else { None };
    let mut status = claim.status.clone().unwrap_or_default();
    status.conditions = set.into_conditions();
    let mut next = (**claim).clone();
    next.status = Some(status);
    if let Some(body) = patch::of_field("status", &**claim, &next) {
        let mut act: Act = locked(Kind::NodeClaim, &**claim, true, body);
        act.after = notes;
        return Step::act(act);
    }
    let then = match (error, drift_wait.into_iter().chain(quiet_wait).min()) {
        (Some(error), _) => Then::Retry(error.into()),
        (None, Some(wait)) => Then::After { wait, why: None },
        (None, None) => Then::Rest,
    };
    Step { then, ..Step::default() }
}

/// The NodePool of a NodeClaim that may be marked.
pub fn pool_of<'a>(world: &'a World, claim: &NodeClaim) -> Option<&'a Arc<NodePool>> {
    if claim.metadata.deletion_timestamp.is_some() {
        return None;
    }
    world.index.pool(claim.labels().get(labels::NODEPOOL)?)
}

fn said(claim: &NodeClaim, message: &str) -> Line {
    let line = Line::debug(CONTROLLER, message).object("NodeClaim", "", &claim.name_any());
    match claim.status.as_ref().and_then(|s| s.node_name.as_deref()) {
        Some(node) => line.object("Node", "", node),
        None => line,
    }
}

fn drifted(
    claim: &NodeClaim,
    pool: &NodePool,
    set: &mut ConditionSet,
    drift: impl FnOnce() -> CloudDrift,
    notes: &mut Vec<Note>,
) -> (Option<SignedDuration>, Option<String>) {
    let had = set.get("Drifted").is_some();
    if !set.is_true("Launched") {
        set.clear("Drifted");
        if had {
            notes.push(said(claim, "removing drift status condition, isn't launched").into());
        }
        return (None, None);
    }
    let own = static_drift(pool, claim).or_else(|| requirement_drift(pool, claim));
    let reason = match own.map_or_else(drift, CloudDrift::Drifted) {
        CloudDrift::Error(error) => return (None, Some(format!("getting drift, {error}"))),
        CloudDrift::No => None,
        CloudDrift::Drifted(reason) => Some(reason),
    };
    match reason {
        None => {
            set.clear("Drifted");
            if had {
                notes.push(said(claim, "removing drifted status condition, not drifted").into());
            }
        }
        Some(reason) => {
            set.set_true_because("Drifted", reason, reason);
            if !had {
                notes.push(said(claim, "marking drifted").with("reason", reason).into());
            }
        }
    }
    (Some(DRIFT_AGAIN), None)
}

/// The pool's template is not the one that the NodeClaim was made from. Hashes of different versions say nothing.
fn static_drift(pool: &NodePool, claim: &NodeClaim) -> Option<&'static str> {
    let of = |annotations: &std::collections::BTreeMap<String, String>, key: &str| annotations.get(key).cloned();
    let version = of(pool.annotations(), labels::NODEPOOL_HASH_VERSION)?;
    let (wanted, made) = (of(pool.annotations(), labels::NODEPOOL_HASH)?, of(claim.annotations(), labels::NODEPOOL_HASH)?);
    (of(claim.annotations(), labels::NODEPOOL_HASH_VERSION)? == version && wanted != made).then_some("NodePoolDrifted")
}

/// The NodeClaim's labels no longer meet the pool's requirements.
fn requirement_drift(pool: &NodePool, claim: &NodeClaim) -> Option<&'static str> {
    let wanted: Requirements = pool.spec.template.spec.requirements.iter().map(cluster::pool::requirement).collect();
    (!of_labels(claim).is_compatible(&wanted, |_| false)).then_some("RequirementsDrifted")
}

fn of_labels(claim: &NodeClaim) -> Requirements {
    Requirements::from_labels(claim.labels().iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

/// Whether the NodeClaim is old enough to be asked [`type_drift`].
pub fn is_type_checked(claim: &NodeClaim, now: Timestamp) -> bool {
    claim.creation_timestamp().is_some_and(|created| now.duration_since(created.0) > TYPE_CHECK_FROM)
}

/// The type, or what was bought of it, is no longer on offer at all. A reserved machine may count as on-demand by now.
pub fn type_drift(claim: &NodeClaim, types: &[InstanceType]) -> Option<&'static str> {
    const REASON: &str = "InstanceTypeNotFound";
    let name = claim.labels().get(labels::INSTANCE_TYPE).map(String::as_str).unwrap_or_default();
    let Some(found) = types.iter().find(|t| &*t.name == name) else { return Some(REASON) };
    let mut own = of_labels(claim);
    if claim.labels().get(labels::CAPACITY_TYPE).map(String::as_str) == Some(CapacityType::Reserved.as_str()) {
        let markets = [CapacityType::Reserved.as_str(), CapacityType::OnDemand.as_str()];
        own.set(Requirement::new(labels::CAPACITY_TYPE, vocabulary::Operator::In, markets));
        own.remove(labels::CAPACITY_RESERVATION_ID);
        own.remove(labels::CAPACITY_RESERVATION_TYPE);
    }
    let on_offer = found.offerings.iter().any(|o| own.is_compatible(&o.requirements, labels::is_well_known));
    (!on_offer).then_some(REASON)
}

/// True once no pod came or went for `consolidateAfter`. How long that still takes.
fn consolidatable(
    claim: &NodeClaim,
    pool: &NodePool,
    set: &mut ConditionSet,
    now: Timestamp,
    notes: &mut Vec<Note>,
) -> Option<SignedDuration> {
    const KIND: &str = "Consolidatable";
    let had = set.get(KIND).is_some();
    let mut remove = |set: &mut ConditionSet, reason: &str, more: &[(&str, String)]| {
        set.clear(KIND);
        if had {
            let line = said(claim, "removing consolidatable status condition").with("reason", reason);
            notes.push(more.iter().fold(line, |line, (key, value)| line.with(key, value.clone())).into());
        }
    };
    let Some(after) = pool.spec.disruption.consolidate_after.duration else {
        remove(set, "consolidation is disabled", &[]);
        return None;
    };
    let Some(quiet) = quiet_since(claim) else {
        remove(set, "nodeclaim isn't initialized", &[]);
        return None;
    };
    let left = after - now.duration_since(quiet);
    if after.is_positive() && left.is_positive() {
        let since = now.duration_since(quiet);
        let times = [
            ("lastPodEventTime", quiet.to_string()),
            ("consolidateAfter", api::duration::print_go(after)),
            ("timeSincePodEvent", api::duration::print_go(since)),
        ];
        remove(set, "consolidateAfter window not yet elapsed", &times);
        return Some(left);
    }
    set.set_true(KIND);
    if !had {
        notes.push(said(claim, "marking consolidatable").into());
    }
    None
}

/// The last pod event, or the initialization when there was none since; `None` before it.
pub fn quiet_since(claim: &NodeClaim) -> Option<Timestamp> {
    let initialized = api::condition::find(conditions(claim), "Initialized").filter(|c| c.is_true())?;
    claim.status.as_ref().and_then(|s| s.last_pod_event_time).or(initialized.last_transition_time)
}

/// When the NodeClaim will be Consolidatable, if it is not yet and nothing happens.
pub fn due(world: &World, claim: &NodeClaim) -> Option<Timestamp> {
    let pool = pool_of(world, claim).filter(|pool| pool.spec.replicas.is_none())?;
    let after = pool.spec.disruption.consolidate_after.duration?;
    if api::condition::is_true(conditions(claim), "Consolidatable") {
        return None;
    }
    quiet_since(claim)?.saturating_add(after).ok()
}
