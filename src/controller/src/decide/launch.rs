//! Launch: one machine per claim, and what happens when there is none to be had.
//!
//! Source: `C/pkg/controllers/nodeclaim/lifecycle/launch.go`, `A/pkg/cloudprovider/cloudprovider.go` (Create).

use super::lifecycle::{CONTROLLER, Run};
use super::{delete, last, truncate};
use crate::conditions::Status;
use crate::effect::{Effect, Outcome};
use crate::log::Line;
use crate::metrics::Measure;
use crate::recorder::EventSpec;
use crate::step::{Done, Memo, Step};
use crate::world::World;
use cloud::launch::claim::check_ready;
use cloud::port::{LaunchError, LaunchRequest, Launched};
use cluster::Kind;
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::labels;

pub fn decide(world: &World, run: &mut Run<'_>, done: &[Done]) -> Option<Step> {
    let uid = run.claim.uid().unwrap_or_default();
    if run.set.status("Launched") != Status::Unknown {
        run.set.keep("Launched");
        if world.launches.contains_key(&uid) {
            run.after.push(Memo::ForgetLaunch(uid).into());
        }
        return None;
    }
    if let Some(launched) = world.launches.get(&uid) {
        populate(run, launched);
        return None;
    }
    let outcome = match last(done, |e| matches!(e, Effect::Launch(_))) {
        Some(Ok(Outcome::Launch(Ok(launched)))) => Ok(launched),
        Some(Ok(Outcome::Launch(Err(error)))) => Err(error.clone()),
        Some(_) | None => match request(world, run) {
            Ok(request) => return Some(Step::act(Effect::Launch(request))),
            Err(error) => Err(error),
        },
    };
    match outcome {
        Ok(launched) => {
            let launched = Arc::new((**launched).clone());
            let step = Step::rest().note(launched_line(run, &launched)).note(Memo::Launched(uid, launched));
            Some(Step { then: crate::step::Then::Continue, ..step })
        }
        Err(LaunchError::Failed { reason, message, cause }) => {
            run.set.unknown("Launched", &reason, &truncate(&message));
            run.error = Some(cause.within("launching nodeclaim"));
            None
        }
        Err(error @ LaunchError::InsufficientCapacity(_)) => {
            let message = format!("NodeClaim {} event: {}", run.claim.name_any(), truncate(&told(&error)));
            let step = refused(run, &error).note(EventSpec::new(&**run.claim, true, "InsufficientCapacityError", message));
            Some(beside(&error, run).into_iter().fold(step, Step::note))
        }
        Err(error @ LaunchError::NodeClassNotReady(_)) => Some(refused(run, &error)),
    }
}

/// What upstream's providers say of the claim before (`A/pkg/providers/instance/events.go`, `A/pkg/cloudprovider/events/events.go`).
fn beside(error: &LaunchError, run: &Run<'_>) -> Option<EventSpec> {
    let LaunchError::InsufficientCapacity(why) = error else { return None };
    if why.starts_with("resolving nodeclass") {
        return Some(super::nodeclass::unresolved(&**run.claim));
    }
    let code = cloud::errors::SERVICE_LINKED_ROLE_NOT_PERMITTED;
    let message = format!("Attempted to launch a spot instance but failed due to {code:?}");
    why.contains(code).then(|| EventSpec::new(&**run.claim, true, "", message))
}

/// With the words of those through whose hands it went (`A/pkg/cloudprovider/cloudprovider.go`, Create).
fn told(error: &LaunchError) -> String {
    match error {
        LaunchError::InsufficientCapacity(why) if !why.starts_with("resolving nodeclass") => format!("creating instance, {error}"),
        _ => error.to_string(),
    }
}

/// The claim goes, so that its pods are planned anew.
fn refused(run: &Run<'_>, error: &LaunchError) -> Step {
    let line = Line::error(CONTROLLER, "failed launching nodeclaim", told(error)).object("NodeClaim", "", &run.claim.name_any());
    let reason = if matches!(error, LaunchError::InsufficientCapacity(_)) { "insufficient_capacity" } else { "nodeclass_not_ready" };
    Step::act(delete(Kind::NodeClaim, &**run.claim).then(Measure::disrupted(run.claim, reason))).note(line)
}

fn request(world: &World, run: &Run<'_>) -> Result<LaunchRequest, LaunchError> {
    let name = &run.claim.spec.node_class_ref.name;
    let missing = || LaunchError::InsufficientCapacity(format!("resolving nodeclass, EC2NodeClass.karpenter.k8s.aws {name:?} not found"));
    let class = world.class_of(run.claim).filter(|class| class.metadata.deletion_timestamp.is_none()).ok_or_else(missing)?;
    check_ready(class)?;
    if let Some(key) = super::validation::restricted_tag(class) {
        return Err(LaunchError::NodeClassNotReady(format!("{key:?} tag does not pass tag validation requirements")));
    }
    Ok(LaunchRequest { claim: run.claim.clone(), class: class.clone(), tags: tags(world, run, class) })
}

/// `A/pkg/utils/utils.go`, GetTags: our own tags win over the user's.
fn tags(world: &World, run: &Run<'_>, class: &api::EC2NodeClass) -> BTreeMap<String, String> {
    let cluster = &world.settings.cluster_name;
    let mut tags = class.spec.tags.clone();
    tags.insert(format!("kubernetes.io/cluster/{cluster}"), "owned".to_owned());
    tags.insert(labels::TAG_CLUSTER_NAME.to_owned(), cluster.clone());
    tags.insert(labels::EC2NODECLASS.to_owned(), class.name_any());
    tags.insert(labels::NODEPOOL.to_owned(), run.claim.labels().get(labels::NODEPOOL).cloned().unwrap_or_default());
    tags
}

/// The claim's own labels win over what the cloud found; annotations the other way round.
fn populate(run: &mut Run<'_>, launched: &Launched) {
    let own = std::mem::take(run.draft.labels_mut());
    let mut all = launched.labels.clone();
    all.extend(own);
    *run.draft.labels_mut() = all;
    run.draft.annotations_mut().extend(launched.annotations.clone());
    run.status.provider_id = Some(launched.provider_id.clone());
    run.status.image_id = Some(launched.image_id.clone());
    run.status.capacity = super::nodepool::quantities(&launched.capacity);
    run.status.allocatable = super::nodepool::quantities(&launched.allocatable);
    run.set.set_true("Launched");
}

fn launched_line(run: &Run<'_>, launched: &Launched) -> Line {
    let allocatable: serde_json::Map<String, serde_json::Value> =
        launched.allocatable.to_quantities().into_iter().map(|(k, v)| (k, v.into())).collect();
    run.line("launched nodeclaim")
        .with("provider-id", launched.provider_id.as_str())
        .with("instance-type", &*launched.instance_type)
        .with("zone", &*launched.zone)
        .with("capacity-type", launched.capacity_type.as_str())
        .with("allocatable", serde_json::Value::Object(allocatable))
}
