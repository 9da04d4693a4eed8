//! Decisions, one file per controller. Every function here is pure: the world, the work, what came of this reconcile's effects
//! so far, and the time, in; a [`Step`] out.

pub mod consistency;
pub mod evict;
pub mod expiration;
pub mod finalize;
pub mod gc;
pub mod health;
pub mod hydration;
pub mod initialization;
pub mod interruption;
pub mod launch;
pub mod lease;
pub mod lifecycle;
pub mod marks;
pub mod node_health;
pub mod nodeclass;
pub mod nodepool;
pub mod orchestrate;
pub mod overlay;
pub mod pod_events;
pub mod provision;
pub mod registration;
pub mod reservations;
pub mod startup;
pub mod tagging;
pub mod termination;
pub mod transitions;
pub mod validation;
pub mod zonal_shift;

use crate::effect::{Effect, Failure, Outcome, Target};
use crate::step::{Act, Done, Step};
use crate::work::Work;
use crate::world::World;
use cluster::Kind;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::Value;

/// Decides one piece of work. What needs the snapshot, the cloud's offerings or more memory than an object is decided in the shell.
pub fn decide(world: &World, work: &Work, done: &[Done], now: Timestamp) -> Step {
    match work {
        Work::Lease => lease::decide(world, done, now),
        Work::Startup => startup::decide(done),
        Work::KubernetesVersion => startup::version(world, done),
        Work::InstanceTypes => poll(done, Effect::RefreshInstanceTypes, SignedDuration::from_hours(12)),
        Work::Prices => poll(done, Effect::RefreshPrices, SignedDuration::from_hours(12)),
        Work::LaunchTemplates => poll(done, Effect::ExpireLaunchTemplates, SignedDuration::from_mins(1)),
        Work::NodeClass(name) => nodeclass::decide(world, name, done, now),
        Work::NodePool(name) => nodepool::decide(world, name, now),
        Work::PoolCounter(name) => nodepool::count(world, name),
        Work::Lifecycle(name) => lifecycle::decide(world, name, done, now),
        Work::Expiration(name) => expiration::decide(world, name, now),
        Work::Tagging(name) => tagging::decide(world, name, done, now),
        Work::Termination(name) => termination::decide(world, name, done, now),
        Work::Evict { pod, uid } => evict::decide(world, pod, uid, done),
        Work::Consistency(name) => consistency::decide(world, name, now),
        Work::Profiles => gc::profiles(world, done),
        Work::InstanceGc => gc::instances(world, done, now),
        Work::ClaimGc => gc::claims(world, done),
        Work::Health => health::decide(world, done, now),
        Work::NodeHealth(name) => node_health::decide(world, name, done, now),
        Work::CapacityTypes => reservations::capacity_types(world, done),
        Work::ReservationExpiration => reservations::expiration(world, done),
        Work::Interruption => interruption::decide(world, done, now),
        Work::ZonalShift => zonal_shift::decide(world, done),
        Work::HydrateClaim(name) => hydration::claim(world, name),
        Work::HydrateNode(name) => hydration::node(world, name),
        Work::PodEvents(name) => pod_events::decide(world, name, now),
        Work::Provision
        | Work::FixedSize(_)
        | Work::NodeOverlays
        | Work::Retrigger
        | Work::Disruption
        | Work::Images
        | Work::Command(_)
        | Work::Marks(_) => Step::rest(),
    }
}

/// A call made every so often.
fn poll(done: &[Done], effect: Effect, every: SignedDuration) -> Step {
    if done.is_empty() { Step::act(effect) } else { Step::after(every, None) }
}

/// The last outcome of an effect of this reconcile.
fn last(done: &[Done], wanted: impl Fn(&Effect) -> bool) -> Option<Result<&Outcome, &Failure>> {
    done.iter().rev().find(|done| wanted(&done.effect)).map(|done| done.outcome.as_ref())
}

/// A patch of a cluster-scoped object that fails when somebody else has changed the object.
fn locked(kind: Kind, object: &impl ResourceExt, status: bool, body: Value) -> Act {
    let body = crate::patch::locked(body, object.resource_version().as_deref());
    Act::from(Effect::Patch { target: Target::cluster(kind, &object.name_any()), status, body })
}

fn unlocked(kind: Kind, object: &impl ResourceExt, status: bool, body: Value) -> Act {
    Act::from(Effect::Patch { target: Target::cluster(kind, &object.name_any()), status, body })
}

fn delete(kind: Kind, object: &impl ResourceExt) -> Act {
    Act::from(Effect::Delete { target: Target::cluster(kind, &object.name_any()), uid: object.uid(), grace_seconds: None })
}

/// At most 300 characters, as conditions and Events carry errors.
fn truncate(message: &str) -> String {
    match message.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

/// What tests of several decisions begin with.
#[cfg(test)]
mod testing {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    /// A running pod with these fields of its metadata, spec and status.
    pub fn pod(patch: &Value) -> Pod {
        let mut object =
            json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": []}, "status": {"phase": "Running"}});
        for (field, inner) in patch.as_object().into_iter().flatten() {
            for (key, value) in inner.as_object().into_iter().flatten() {
                object[field][key] = value.clone();
            }
        }
        serde_json::from_value(object).expect("a pod")
    }
}
