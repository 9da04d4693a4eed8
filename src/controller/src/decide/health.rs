//! Machines that EC2's own checks find broken, or that it means to stop: their NodeClaims go.
//!
//! Source: `A/pkg/controllers/interruption/{instancestatus_controller,utils}.go`. Unlike there, nobody asks while there is no NodeClaim.

use super::interruption::{Kind, claims_of, deletion, node_of};
use super::{last, unlocked};
use crate::effect::{Effect, Failure, Outcome};
use crate::log::Line;
use crate::metrics::Measure;
use crate::recorder::EventSpec;
use crate::step::{Done, Step};
use crate::world::World;
use cloud::port::Trouble;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::json;
use std::collections::BTreeSet;
use vocabulary::labels;

const CONTROLLER: &str = "interruption.instancestatus";
const EVERY: SignedDuration = SignedDuration::from_mins(1);

pub fn decide(world: &World, done: &[Done], now: Timestamp) -> Step {
    if world.index.claims().next().is_none() {
        return Step::after(EVERY, None);
    }
    let found = match last(done, |e| matches!(e, Effect::ListUnhealthy)) {
        None => return Step::act(crate::step::Act::from(Effect::ListUnhealthy).tolerant()),
        Some(Ok(Outcome::Unhealthy(found))) => found,
        Some(Err(Failure::Cloud(error))) if error.is_unauthorized() => {
            let text = "ec2:DescribeInstanceStatus permission is not allowed, update the IAM policy and restart the Karpenter deployment to enable instance status health checks";
            return Step::rest().note(Line::error(CONTROLLER, text, error.to_string()));
        }
        Some(Err(error)) => return Step::retry(format!("getting instance statuses, {error}")),
        Some(Ok(_)) => return Step::after(EVERY, None),
    };
    let mut step = Step::after(EVERY, None);
    let mut seen = BTreeSet::new();
    for unhealthy in found {
        let kind = match unhealthy.trouble {
            Trouble::Instance => Kind::InstanceStatus,
            Trouble::System => Kind::SystemStatus,
            Trouble::Event => Kind::EventStatus,
        };
        let node = node_of(world, &unhealthy.instance_id);
        for claim in claims_of(world, &unhealthy.instance_id).filter(|claim| claim.metadata.deletion_timestamp.is_none()) {
            if !seen.insert(claim.name_any()) {
                continue;
            }
            // A broken machine drains nothing: whatever holds its pods is overruled.
            let forced = kind.is_forceful();
            if forced && !claim.annotations().contains_key(labels::NODECLAIM_TERMINATION_TIMESTAMP) {
                let at = crate::conditions::seconds(now).to_string();
                let body = json!({"metadata": {"annotations": {labels::NODECLAIM_TERMINATION_TIMESTAMP: at}}});
                step.acts.push(unlocked(cluster::Kind::NodeClaim, &**claim, false, body));
                continue;
            }
            let line = Line::info(CONTROLLER, "detected unhealthy instance owned by cluster")
                .with("instanceID", unhealthy.instance_id.as_str())
                .with("category", unhealthy.trouble.as_str());
            step.notes.push(line.into());
            step.notes.push(Measure::unhealthy(unhealthy.trouble.as_str()).into());
            if let Some((reason, text, warning)) = kind.event() {
                step.notes.push(EventSpec::new(&**claim, warning, reason, text).into());
                step.notes.extend(node.map(|node| EventSpec::new(&**node, warning, reason, text).into()));
            }
            step.acts.push(deletion(CONTROLLER, None, claim, node, kind));
        }
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::step::Act;
    use cloud::port::Unhealthy;
    use cluster::Object;
    use rstest::rstest;
    use std::sync::Arc;

    fn world(annotated: bool) -> World {
        let mut world = World::new(Settings::new("lab"));
        let mut claim = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "a", "uid": "a", "resourceVersion": "1"},
            "spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}},
            "status": {"providerID": "aws:///us-west-2a/i-1"}});
        if annotated {
            claim["metadata"]["annotations"] = json!({labels::NODECLAIM_TERMINATION_TIMESTAMP: "1970-01-01T00:00:00Z"});
        }
        world.index.apply(Object::NodeClaim(Arc::new(serde_json::from_value(claim).expect("a claim"))));
        world
    }

    fn verbs(world: &World, trouble: Trouble, id: &str) -> Vec<&'static str> {
        let found = vec![Unhealthy { instance_id: id.into(), trouble }];
        let done = vec![Done { effect: Arc::new(Effect::ListUnhealthy), outcome: Ok(Outcome::Unhealthy(found)) }];
        decide(world, &done, Timestamp::UNIX_EPOCH).acts.iter().map(|Act { effect, .. }| effect.describe().0).collect()
    }

    #[rstest]
    #[case::a_broken_machine_is_stamped_first(false, Trouble::Instance, "i-1", &["patch"])]
    #[case::then_deleted(true, Trouble::System, "i-1", &["delete"])]
    #[case::what_is_only_planned_drains(false, Trouble::Event, "i-1", &["delete"])]
    #[case::others_are_not_ours(false, Trouble::Event, "i-2", &[])]
    fn unhealthy_machines_go(#[case] annotated: bool, #[case] trouble: Trouble, #[case] id: &str, #[case] expected: &[&str]) {
        assert_eq!(verbs(&world(annotated), trouble, id), expected);
    }
}
