//! NodePool: hash, validation, readiness, registration health and usage.
//!
//! Source: `C/pkg/controllers/nodepool/{hash,readiness,validation,registrationhealth,counter}`. The four that write conditions are
//! one decision here, so that they cannot conflict with each other.

use super::{locked, nodeclass, unlocked};
use crate::conditions::{ConditionSet, NODE_POOL, Status};
use crate::patch;
use crate::step::{Act, Memo, Step};
use crate::world::{Health, World};
use api::NodePool;
use cluster::{Kind, hash};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::{Quantity, Resources, labels};

pub fn decide(world: &World, name: &str, now: Timestamp) -> Step {
    let Some(pool) = world.index.pool(name) else { return Step::rest() };
    if let Some(step) = stamp(world, pool) {
        return step;
    }
    let mut status = pool.status.clone().unwrap_or_default();
    let mut set = ConditionSet::new(&**pool, &status.conditions, NODE_POOL, now);
    match api::validate::template(&pool.spec.template).as_slice() {
        [] => set.set_true("ValidationSucceeded"),
        errors => set.set_false("ValidationSucceeded", "NodePoolValidationFailed", &errors.join("; ")),
    };
    let missing = readiness(world, pool, &mut set);
    let since = set.get("NodeClassReady").and_then(|condition| condition.last_transition_time).unwrap_or(now);
    let memo = health(world, pool, &mut status, &mut set);
    status.conditions = set.into_conditions();
    let mut next = (**pool).clone();
    next.status = Some(status);
    let mut step = match patch::of_field("status", &**pool, &next) {
        Some(body) => Step::act(locked(Kind::NodePool, &**pool, true, body)),
        None if missing => unresolved(pool, now.duration_since(since)),
        None => Step::rest(),
    };
    step.notes.extend(memo.map(Into::into));
    step
}

/// Upstream says it whenever somebody lists the pool's types, at the latest with the next pass of disruption
/// (`A/pkg/cloudprovider/cloudprovider.go`, GetInstanceTypes); an Event counts once in two minutes.
fn unresolved(pool: &NodePool, missing_for: SignedDuration) -> Step {
    let pass = SignedDuration::from_secs(10);
    if missing_for < pass {
        return Step::after(pass - missing_for, None);
    }
    Step::after(SignedDuration::from_mins(2), None).note(nodeclass::unresolved(pool))
}

fn stamp(world: &World, pool: &Arc<NodePool>) -> Option<Step> {
    let digest = hash::node_pool(pool);
    let mut stamped = (**pool).clone();
    stamped.annotations_mut().insert(labels::NODEPOOL_HASH.to_owned(), digest.clone());
    stamped.annotations_mut().insert(labels::NODEPOOL_HASH_VERSION.to_owned(), hash::POOL_VERSION.to_owned());
    let body = patch::of_field("metadata", &**pool, &stamped)?;
    // The claims first: a pool that is stamped is not looked at again.
    let claims = world.index.claims().filter(|claim| claim.labels().get(labels::NODEPOOL) == Some(&pool.name_any()));
    let stamp = |claim: &Arc<api::NodeClaim>| {
        nodeclass::restamp(claim, labels::NODEPOOL_HASH, labels::NODEPOOL_HASH_VERSION, hash::POOL_VERSION, &digest)
    };
    let acts: Vec<Act> = claims.filter_map(stamp).collect();
    Some(if acts.is_empty() { Step::act(unlocked(Kind::NodePool, &**pool, false, body)) } else { Step { acts, ..Step::default() } })
}

/// Whether there is no such NodeClass.
fn readiness(world: &World, pool: &NodePool, set: &mut ConditionSet) -> bool {
    const KIND: &str = "NodeClassReady";
    let Some(class) = world.index.class(&pool.spec.template.spec.node_class_ref.name) else {
        set.set_false(KIND, "NodeClassNotFound", "NodeClass not found on cluster");
        return true;
    };
    if class.metadata.deletion_timestamp.is_some() {
        set.set_false(KIND, "NodeClassTerminating", "NodeClass is Terminating");
        return false;
    }
    let ready = class.status.as_ref().and_then(|s| api::condition::find(&s.conditions, "Ready"));
    match (Status::of(ready), ready) {
        (Status::True, _) => set.set_true(KIND),
        (Status::False, Some(ready)) => set.set_false(KIND, &ready.reason, &ready.message),
        _ => set.set_false(KIND, "NodeClassReadinessUnknown", "Node Class Readiness Unknown"),
    };
    false
}

/// What is remembered of registrations decides; a new generation of the pool or its class forgets it.
fn health(world: &World, pool: &NodePool, status: &mut api::NodePoolStatus, set: &mut ConditionSet) -> Option<Memo> {
    const KIND: &str = "NodeRegistrationHealthy";
    let class = world.index.class(&pool.spec.template.spec.node_class_ref.name)?;
    let uid = pool.uid().unwrap_or_default();
    let present = set.get(KIND).cloned();
    let generation = class.metadata.generation.unwrap_or(0);
    let outdated = present.as_ref().is_none_or(|c| c.observed_generation.unwrap_or(0) != pool.metadata.generation.unwrap_or(0));
    if outdated || status.node_class_observed_generation != Some(generation) {
        status.node_class_observed_generation = Some(generation);
        set.unknown(KIND, "AwaitingReconciliation", "object is awaiting reconciliation");
        return Some(Memo::ForgetHealth(uid));
    }
    match (world.health.get(&uid).and_then(Health::verdict), Status::of(present.as_ref())) {
        (Some(true), _) => {
            set.set_true(KIND);
            None
        }
        (Some(false), was) if was != Status::False => {
            let (reason, message) = world.health.get(&uid).map(Health::failure).unwrap_or_default();
            set.set_false(KIND, reason, message);
            None
        }
        // A restart forgets the registrations, not the verdict.
        (None, Status::True) => Some(Memo::Health(uid, true)),
        (None, Status::False) => Some(Memo::Health(uid, false)),
        _ => None,
    }
}

pub fn quantities(amounts: &Resources) -> BTreeMap<String, Quantity> {
    amounts.to_quantities().into_iter().filter_map(|(name, text)| Some((name, text.parse().ok()?))).collect()
}

/// `status.resources` and `status.nodes`, every five seconds.
pub fn count(world: &World, name: &str) -> Step {
    let Some(pool) = world.index.pool(name) else { return Step::rest() };
    if !world.index.synced() {
        return Step::after(SignedDuration::from_secs(1), None);
    }
    let mut usage = Resources::new();
    for base in ["cpu", "memory", "pods", "ephemeral-storage", "nodes"] {
        usage.set(base, 0);
    }
    usage.add(&world.index.pool_usage(name));
    let mut status = pool.status.clone().unwrap_or_default();
    status.nodes = Some(usage.get("nodes"));
    status.resources = Some(quantities(&usage));
    let mut next = (**pool).clone();
    next.status = Some(status);
    match patch::of_field("status", &**pool, &next) {
        Some(body) => Step::act(unlocked(Kind::NodePool, &**pool, true, body)),
        None => Step::after(SignedDuration::from_secs(5), None),
    }
}
