//! One eviction, until the pod is gone or another pod has its name.
//!
//! Source: `C/pkg/controllers/node/termination/terminator/eviction.go`.

use super::last;
use crate::effect::{Effect, Failure, Outcome};
use crate::metrics::Measure;
use crate::recorder::EventSpec;
use crate::step::{Act, Done, Step, Then};
use crate::world::World;
use cluster::Key;
use kube::ResourceExt;

const SEVERAL_BUDGETS: &str = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";

pub fn decide(world: &World, key: &Key, uid: &str, done: &[Done]) -> Step {
    let Some(pod) = world.index.pod(key).filter(|pod| pod.uid().as_deref() == Some(uid)) else { return Step::rest() };
    match last(done, |e| matches!(e, Effect::Evict { .. })) {
        None if pod.metadata.deletion_timestamp.is_some() => Step::rest(),
        None => Step::act(Act::from(Effect::Evict { pod: key.clone(), uid: uid.to_owned() }).tolerant()),
        Some(Ok(Outcome::Done | Outcome::Gone(_) | Outcome::Object(_))) => {
            let reason = reason(world, pod);
            let drained = Measure::pod_drained(&reason);
            Step::rest().note(drained).note(EventSpec::new(&**pod, false, "Evicted", format!("Evicted pod: {reason}")))
        }
        Some(Ok(_)) => Step::rest(),
        Some(Err(Failure::Kube { code: 404 | 409, .. })) => Step::rest(),
        Some(Err(Failure::Kube { code, message, .. })) if *code == 429 || message == SEVERAL_BUDGETS => {
            let why = if message == SEVERAL_BUDGETS { "eviction does not support multiple PDBs" } else { "evicting pod violates a PDB" };
            let step = Step { then: Then::Again, ..Step::default() };
            match cluster::pod::node_name(pod).and_then(|node| world.index.node(node)) {
                Some(node) => {
                    step.note(EventSpec::new(&**node, true, "FailedDraining", format!("Failed to drain node, {why} (Pod={key})")))
                }
                None => step,
            }
        }
        Some(Err(error)) => Step::retry(error.to_string()),
    }
}

/// Why the pod's node goes.
fn reason(world: &World, pod: &k8s_openapi::api::core::v1::Pod) -> String {
    let node = cluster::pod::node_name(pod).and_then(|name| world.index.node(name));
    let provider = node.and_then(|n| n.spec.as_ref()?.provider_id.as_deref());
    let Some(claim) = provider.and_then(|id| world.index.claims_of(id).first().copied()) else { return String::new() };
    let condition = api::condition::find(crate::world::conditions(claim), "DisruptionReason").filter(|c| c.is_true());
    condition.map_or_else(|| "Forceful Termination".to_owned(), |c| c.reason.clone())
}
