//! After registration the machine is named after its Node and claim, at most one call a second.
//!
//! Source: `A/pkg/controllers/nodeclaim/tagging/controller.go`.

use super::{last, unlocked};
use crate::effect::{Effect, Failure, Outcome};
use crate::patch;
use crate::step::{Act, Done, Memo, Step};
use crate::world::{World, instance_id, provider_id};
use api::NodeClaim;
use cluster::Kind;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use std::collections::BTreeMap;
use vocabulary::labels;

const CLUSTER_NAME_TAGGED: &str = "compatibility.karpenter.k8s.aws/cluster-name-tagged";

/// The Node is known, the tags are not there yet, and the claim is to stay.
pub fn is_taggable(claim: &NodeClaim) -> bool {
    let is = |key: &str| claim.annotations().get(key).is_some_and(|value| value == "true");
    let named = claim.status.as_ref().and_then(|s| s.node_name.as_deref()).is_some_and(|name| !name.is_empty());
    named && claim.metadata.deletion_timestamp.is_none() && !(is(labels::TAGGED) && is(CLUSTER_NAME_TAGGED))
}

pub fn decide(world: &World, name: &str, done: &[Done], now: Timestamp) -> Step {
    let Some(claim) = world.index.claim(name).filter(|claim| is_taggable(claim)) else { return Step::rest() };
    let Some(id) = provider_id(claim).and_then(instance_id) else { return Step::rest() };
    let instance = match last(done, |e| matches!(e, Effect::GetInstance { .. })) {
        None => return Step::act(Effect::GetInstance { id: id.to_owned() }),
        Some(Ok(Outcome::Instance(Some(instance)))) => instance,
        // The machine is gone; garbage collection sees to the rest.
        Some(_) => return Step::rest(),
    };
    match last(done, |e| matches!(e, Effect::Tag { .. })) {
        // It is gone meanwhile.
        Some(Err(Failure::Cloud(error))) if error.is_not_found() => return Step::rest(),
        // Tags that EC2 refuses are tried again for ever, as upstream does.
        Some(Err(error)) => return Step::retry(format!("tagging nodeclaim, {error}")),
        _ => {}
    }
    if last(done, |e| matches!(e, Effect::Tag { .. })).is_none() {
        let tags: BTreeMap<String, String> = wanted(world, claim).into_iter().filter(|(key, _)| !instance.tags.contains_key(key)).collect();
        if !tags.is_empty() {
            // Tagging shares its rate limit with launching.
            if let Some(until) = world.tagged_until.filter(|until| *until > now) {
                return Step::after(until.duration_since(now), Some(format!("claim {name} waits to be tagged")));
            }
            let until = now.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
            return Step::act(Act::from(Effect::Tag { id: id.to_owned(), tags }).tolerant()).note(Memo::TaggedUntil(until));
        }
    }
    let mut tagged = (**claim).clone();
    tagged.annotations_mut().insert(labels::TAGGED.to_owned(), "true".to_owned());
    tagged.annotations_mut().insert(CLUSTER_NAME_TAGGED.to_owned(), "true".to_owned());
    match patch::of_field("metadata", &**claim, &tagged) {
        Some(body) => Step::act(unlocked(Kind::NodeClaim, &**claim, false, body)),
        None => Step::rest(),
    }
}

fn wanted(world: &World, claim: &NodeClaim) -> BTreeMap<String, String> {
    let node = claim.status.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
    BTreeMap::from([
        (labels::TAG_NAME.to_owned(), node),
        (labels::TAG_NODECLAIM.to_owned(), claim.name_any()),
        (labels::TAG_CLUSTER_NAME.to_owned(), world.settings.cluster_name.clone()),
    ])
}
