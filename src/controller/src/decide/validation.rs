//! Whether a NodeClass could launch: its parts are resolved, its tags are allowed, and real calls that change nothing are let
//! through. Verdicts hold for 30 minutes. Source: `A/pkg/controllers/nodeclass/validation.go`.

use super::nodeclass::Run;
use crate::conditions::Status;
use crate::effect::{Effect, Outcome};
use crate::step::{Act, Memo, Step};
use crate::world::World;
use api::EC2NodeClass;
use cloud::port::Validation;
use cluster::hash;
use jiff::SignedDuration;
use kube::ResourceExt;
use serde_json::json;
use vocabulary::{Requirement, Requirements};

const KIND: &str = "ValidationSucceeded";
const NEEDS: [&str; 4] = ["AMIsReady", "InstanceProfileReady", "SecurityGroupsReady", "SubnetsReady"];
const AWAITING: &str = "Awaiting AMI, Instance Profile, Security Group, and Subnet resolution";

/// `Some` while an answer is outstanding.
pub fn decide(world: &World, run: &mut Run<'_>) -> Option<Step> {
    let every = SignedDuration::from_mins(10);
    let statuses = NEEDS.map(|kind| run.set.status(kind));
    if statuses.contains(&Status::False) {
        run.set.set_false(KIND, "DependenciesNotReady", AWAITING);
        run.refresh_after(every);
        return None;
    }
    if statuses.contains(&Status::Unknown) {
        run.set.unknown(KIND, "DependenciesNotReady", AWAITING);
        run.refresh_after(every);
        return None;
    }
    if let Some(key) = restricted_tag(run.class) {
        run.set.set_false(KIND, "TagValidationFailed", &format!("{key:?} tag does not pass tag validation requirements"));
        return None;
    }
    if world.settings.disable_dry_run {
        run.set.set_true(KIND);
        run.refresh_after(every);
        return None;
    }
    let digest = digest(&run.draft());
    let fresh = |at: jiff::Timestamp| run.now.duration_since(at) < SignedDuration::from_mins(30);
    if let Some((_, verdict)) = world.validations.get(&digest).filter(|(at, _)| fresh(*at)) {
        apply(run, &verdict.clone());
        run.refresh_after(every);
        return None;
    }
    match run.answer(|e| if let Effect::Validate { class, .. } = e { Some(class) } else { None }) {
        None => Some(Step::act(Act::from(Effect::Validate { class: run.draft(), pools: pools(world, run.class) }).tolerant())),
        Some(Ok(Outcome::Validated(Validation::Again(cause)))) => {
            match cause {
                Some(cause) => run.error(cause.clone()),
                None => run.again = true,
            }
            None
        }
        Some(Ok(Outcome::Validated(Validation::Unresolved { reason, message, cause }))) => {
            run.set.set_false(KIND, reason, message);
            run.error(cause.clone());
            None
        }
        Some(Ok(Outcome::Validated(verdict))) => {
            // Remembered first; the next decision finds it above.
            let mut step = Step::rest().note(Memo::Validated(digest, run.now, verdict.clone()));
            step.then = crate::step::Then::Continue;
            Some(step)
        }
        Some(Err(error)) => {
            run.error(format!("validating, {error}"));
            None
        }
        Some(Ok(_)) => None,
    }
}

/// What machines of this class will be asked for: a type that no NodePool allows may be one that the account may not launch.
fn pools(world: &World, class: &EC2NodeClass) -> Vec<Requirements> {
    let ours = world.index.pools().filter(|pool| pool.spec.template.spec.node_class_ref.name == class.name_any());
    ours.map(|pool| {
        let pool = cluster::pool::convert(pool);
        let labels = pool.labels.iter().map(|(key, value)| Requirement::is_in(key.clone(), value.clone()));
        pool.requirements.iter().cloned().chain(labels).collect()
    })
    .collect()
}

fn apply(run: &mut Run<'_>, verdict: &Validation) {
    match verdict {
        Validation::Failed { reason, message } | Validation::Unresolved { reason, message, .. } => run.set.set_false(KIND, reason, message),
        Validation::Passed | Validation::Again(_) => run.set.set_true(KIND),
    };
}

/// Tags that only the controller may set (`A/pkg/apis/v1/labels.go`, RestrictedTagPatterns).
pub fn restricted_tag(class: &EC2NodeClass) -> Option<&str> {
    let restricted = |key: &str| {
        key.starts_with("kubernetes.io/cluster")
            || ["eks:eks-cluster-name", "karpenter.sh/nodepool", "karpenter.sh/nodeclaim", "karpenter.k8s.aws/ec2nodeclass"].contains(&key)
    };
    class.spec.tags.keys().map(String::as_str).find(|key| restricted(key))
}

/// Of everything that the verdict depends on.
fn digest(class: &EC2NodeClass) -> String {
    let status = class.status.clone().unwrap_or_default();
    let parts = json!({"subnets": status.subnets, "groups": status.security_groups, "amis": status.amis, "profile": status.instance_profile,
        "spec": class.spec, "annotations": class.annotations()});
    format!("{}:{}", class.name_any(), hash::digest(&parts))
}
