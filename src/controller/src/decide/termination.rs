//! The end of a Node: tainted, drained, its volumes detached, its machine terminated, its finalizer removed.
//!
//! Source: `C/pkg/controllers/node/termination/controller.go`, `…/terminator/terminator.go`.

use super::{delete, last, locked};
use crate::conditions::{ConditionSet, NODE_CLAIM, Status};
use crate::effect::{Effect, Outcome, Target};
use crate::log::Line;
use crate::patch;
use crate::recorder::EventSpec;
use crate::step::{Act, Done, Step};
use crate::work::Work;
use crate::world::{World, instance_id, provider_id};
use api::NodeClaim;
use cluster::{Key, Kind, machine, pod};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::ResourceExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::labels;

const CONTROLLER: &str = "node.termination";
/// Pods that the scheduler placed before it saw the taint are still caught.
const MIN_DRAIN_TIME: SignedDuration = SignedDuration::from_secs(5);
const EXCLUDE_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

pub fn decide(world: &World, name: &str, done: &[Done], now: Timestamp) -> Step {
    let Some(node) = world.index.node(name) else { return Step::rest() };
    let ends = node.metadata.deletion_timestamp.is_some() && node.finalizers().iter().any(|f| f == labels::TERMINATION_FINALIZER);
    if !ends || !node.labels().contains_key(labels::EC2NODECLASS) {
        return Step::rest();
    }
    let provider = node.spec.as_ref().and_then(|s| s.provider_id.as_deref()).unwrap_or("");
    // Several claims for one machine are as good as none.
    let claims = world.index.claims_of(provider);
    let claim = if let [claim] = claims.as_slice() { Some(*claim) } else { None };
    if let Some(claim) = claim.filter(|claim| claim.metadata.deletion_timestamp.is_none()) {
        return Step::act(delete(Kind::NodeClaim, &**claim));
    }
    // Without a kubelet and without a machine there is nothing to drain.
    if !machine::is_ready(node)
        && let Some(id) = instance_id(provider)
    {
        match last(done, |e| matches!(e, Effect::GetInstance { .. })) {
            None => return Step::act(Effect::GetInstance { id: id.to_owned() }),
            Some(Ok(Outcome::Instance(None))) => return release(node, claim),
            Some(_) => {}
        }
    }
    if let Some(step) = taint(node, claim) {
        return step;
    }
    let end = match claim.and_then(|c| c.annotations().get(labels::NODECLAIM_TERMINATION_TIMESTAMP)) {
        None => None,
        Some(text) => match text.parse::<Timestamp>() {
            Ok(end) => Some(end),
            Err(error) => return Step::retry(format!("parsing annotation, {error}")),
        },
    };
    let mut run = Run {
        world,
        node,
        claim,
        done,
        now,
        end,
        set: claim.map(|c| ConditionSet::new(&**c, crate::world::conditions(c), NODE_CLAIM, now)),
        step: Step::rest(),
    };
    if let Some(end) = end {
        let event = EventSpec::new(&**node, true, "TerminationGracePeriodExpiring", format!("All pods will be deleted by {end}"));
        run.step.notes.push(event.into());
    }
    run.decide()
}

/// `karpenter.sh/disrupted` and out of the load balancers.
fn taint(node: &Arc<Node>, claim: Option<&Arc<NodeClaim>>) -> Option<Step> {
    let mut tainted = (**node).clone();
    let taints = tainted.spec.get_or_insert_default().taints.get_or_insert_default();
    if !taints.iter().any(|t| t.key == labels::DISRUPTED_TAINT && t.effect == "NoSchedule" && t.value.as_deref().unwrap_or("").is_empty()) {
        taints.retain(|t| t.key != labels::DISRUPTED_TAINT);
        taints.push(Taint { key: labels::DISRUPTED_TAINT.to_owned(), effect: "NoSchedule".to_owned(), value: None, time_added: None });
    }
    tainted.labels_mut().insert(EXCLUDE_BALANCERS.to_owned(), "karpenter".to_owned());
    let body = patch::of_object(&**node, &tainted)?;
    let line = with_claim(Line::info(CONTROLLER, "tainted node").object("Node", "", &node.name_any()), claim)
        .with("taint.Key", labels::DISRUPTED_TAINT)
        .with("taint.Value", "")
        .with("taint.Effect", "NoSchedule");
    Some(Step::act(locked(Kind::Node, &**node, false, body).then(line)))
}

fn with_claim(line: Line, claim: Option<&Arc<NodeClaim>>) -> Line {
    match claim {
        Some(claim) => line.object("NodeClaim", "", &claim.name_any()),
        None => line,
    }
}

fn release(node: &Arc<Node>, claim: Option<&Arc<NodeClaim>>) -> Step {
    let mut released = (**node).clone();
    released.finalizers_mut().retain(|f| f != labels::TERMINATION_FINALIZER);
    let line = with_claim(Line::info(CONTROLLER, "deleted node").object("Node", "", &node.name_any()), claim);
    match patch::of_field("metadata", &**node, &released) {
        Some(body) => Step::act(locked(Kind::Node, &**node, false, body).then(line)),
        None => Step::rest(),
    }
}

struct Run<'a> {
    world: &'a World,
    node: &'a Arc<Node>,
    claim: Option<&'a Arc<NodeClaim>>,
    done: &'a [Done],
    now: Timestamp,
    end: Option<Timestamp>,
    set: Option<ConditionSet>,
    step: Step,
}

impl Run<'_> {
    fn decide(mut self) -> Step {
        if let Some(wait) = self.drain().or_else(|| self.volumes()) {
            return self.wait(wait);
        }
        // Effects that were found necessary on the way.
        if !self.step.acts.is_empty() {
            return self.step;
        }
        if let Some(claim) = self.claim
            && let Some(id) = provider_id(claim).and_then(instance_id)
        {
            let gone = match last(self.done, |e| matches!(e, Effect::Terminate { .. })) {
                Some(Ok(Outcome::Terminated(something))) => !something,
                _ => {
                    let id = id.to_owned();
                    return self.persist().unwrap_or_else(|| Step::act(Effect::Terminate { id }));
                }
            };
            if let Some(set) = &mut self.set {
                set.set_true("InstanceTerminating");
            }
            if !gone {
                return self.wait(SignedDuration::from_secs(5));
            }
        }
        let (node, claim) = (self.node, self.claim);
        self.persist().unwrap_or_else(|| release(node, claim))
    }

    fn wait(mut self, wait: SignedDuration) -> Step {
        let notes = std::mem::take(&mut self.step.notes);
        let enqueue = std::mem::take(&mut self.step.enqueue);
        let acts = std::mem::take(&mut self.step.acts);
        let why = Some(format!("node {} terminates", self.node.name_any()));
        let mut step = self.persist().unwrap_or_else(|| Step::after(wait, why));
        step.acts.extend(acts);
        step.notes.extend(notes);
        step.enqueue.extend(enqueue);
        step
    }

    /// The patch of the claim's conditions, if they changed.
    fn persist(&mut self) -> Option<Step> {
        let claim = self.claim?;
        let mut status = claim.status.clone().unwrap_or_default();
        status.conditions = self.set.take()?.into_conditions();
        let mut next = (**claim).clone();
        next.status = Some(status);
        let body = patch::of_field("status", &**claim, &next)?;
        Some(Step {
            acts: vec![locked(Kind::NodeClaim, &**claim, true, body)],
            notes: std::mem::take(&mut self.step.notes),
            ..Step::default()
        })
    }

    fn drain(&mut self) -> Option<SignedDuration> {
        let second = SignedDuration::from_secs(1);
        if let Some(set) = &mut self.set
            && set.get("Drained").is_none()
        {
            set.unknown("Drained", "Draining", "Draining");
        }
        let name = self.node.name_any();
        let waiting: Vec<&Arc<Pod>> = self.world.index.pods_on(&name).filter(|p| is_waiting_eviction(p, self.now)).collect();
        self.delete_expiring(&waiting);
        let group = (0..4)
            .map(|tier| waiting.iter().copied().filter(|p| drain_tier(p) == tier).collect::<Vec<_>>())
            .find(|group| !group.is_empty());
        if let Some(group) = group {
            let evictable = group.iter().filter(|p| is_evictable(p, self.now));
            self.step.enqueue.extend(evictable.map(|p| Work::Evict { pod: Key::of(&***p), uid: p.uid().unwrap_or_default().into() }));
            let message = format!("Failed to drain node, {} pods are waiting to be evicted", waiting.len());
            self.step.notes.push(EventSpec::new(&**self.node, true, "FailedDraining", message).into());
            return Some(second);
        }
        let set = self.set.as_mut()?;
        let since = set.get("Drained").and_then(|c| c.last_transition_time).unwrap_or(self.now);
        if set.status("Drained") == Status::Unknown && self.now.duration_since(since) < MIN_DRAIN_TIME {
            return Some(second);
        }
        set.set_true("Drained");
        None
    }

    /// Past the point where its full grace would outlive the node, a pod is deleted whatever protects it.
    fn delete_expiring(&mut self, waiting: &[&Arc<Pod>]) {
        let Some(end) = self.end else { return };
        for pod in waiting {
            let terminating = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
            if terminating.is_some_and(|at| at <= end) {
                continue;
            }
            let Some(grace) = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds) else { continue };
            if self.now <= end.saturating_sub(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MIN) {
                continue;
            }
            let left = end.duration_since(self.now).as_secs().max(1);
            let key = Key::of(&***pod);
            // Once per reconcile: the decision after the reply would find the pod unchanged for a moment.
            if self
                .done
                .iter()
                .any(|d| matches!(&*d.effect, Effect::Delete { target, .. } if target.kind == Kind::Pod && target.key == key))
            {
                continue;
            }
            // As Go shows a time.
            let shown = end.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string();
            let line = Line::debug(CONTROLLER, "deleting pod").object("Node", "", &self.node.name_any());
            let line = with_claim(line, self.claim)
                .with("namespace", &*key.namespace)
                .with("name", &*key.name)
                .with("pod.terminationGracePeriodSeconds", grace)
                .with("delete.gracePeriodSeconds", left)
                .with("nodeclaim.terminationTime", end.to_string());
            let message = format!(
                "Deleting the pod to accommodate the terminationTime {shown} of the node. The pod was granted {left} seconds of grace-period of its {grace} terminationGracePeriodSeconds. This bypasses the PDB of the pod and the do-not-disrupt annotation."
            );
            self.step.notes.push(EventSpec::new(&***pod, false, "Disrupted", message).into());
            let effect = Effect::Delete { target: Target { kind: Kind::Pod, key }, uid: pod.uid(), grace_seconds: Some(left) };
            self.step.acts.push(Act::from(effect).then(line));
        }
    }

    fn volumes(&mut self) -> Option<SignedDuration> {
        let name: Arc<str> = self.node.name_any().into();
        let attached = match last(self.done, |e| matches!(e, Effect::ListVolumeAttachments { .. })) {
            Some(Ok(Outcome::Attachments(attached))) => {
                let staying = self.volumes_that_stay(&name);
                attached.iter().filter(|(_, volume)| !staying.contains(volume)).map(|(name, _)| name.clone()).collect()
            }
            Some(_) => Vec::new(),
            None => {
                self.step.acts.push(Effect::ListVolumeAttachments { node: name }.into());
                return None;
            }
        };
        if attached.is_empty() {
            if let Some(set) = &mut self.set {
                set.set_true("VolumesDetached");
            }
            return None;
        }
        if self.end.is_some_and(|end| self.now > end) {
            if let Some(set) = &mut self.set {
                set.set_false("VolumesDetached", "TerminationGracePeriodElapsed", "TerminationGracePeriodElapsed");
            }
            return None;
        }
        let message = format!("Awaiting deletion of bound volumeattachments ({})", crate::log::some(&attached, 5));
        self.step.notes.push(EventSpec::new(&**self.node, false, "AwaitingVolumeDetachment", message).into());
        if let Some(set) = &mut self.set {
            set.unknown("VolumesDetached", "AwaitingVolumeDetachment", "AwaitingVolumeDetachment");
        }
        Some(SignedDuration::from_secs(1))
    }
}

impl Run<'_> {
    /// PersistentVolumes of pods that are not drained, whose detachment nobody awaits (filterVolumeAttachments).
    fn volumes_that_stay(&self, node: &str) -> BTreeSet<String> {
        let staying = self.world.index.pods_on(node).filter(|pod| !is_drainable(pod, self.now));
        staying.flat_map(|pod| self.world.index.volumes_of(pod)).collect()
    }
}

fn tolerates_disruption(pod: &Pod) -> bool {
    let taint = vocabulary::Taint { key: labels::DISRUPTED_TAINT.into(), value: "".into(), effect: vocabulary::Effect::NoSchedule };
    pod::convert(pod, Timestamp::UNIX_EPOCH).tolerations.iter().any(|t| t.tolerates(&taint))
}

/// A pod that draining is about (`C/pkg/utils/pod/scheduling.go`, IsDrainable).
pub fn is_drainable(pod: &Pod, now: Timestamp) -> bool {
    let stuck = pod.metadata.deletion_timestamp.as_ref().is_some_and(|at| now.duration_since(at.0) > SignedDuration::from_mins(1));
    !tolerates_disruption(pod) && !stuck && !pod::is_owned_by(&pod.metadata, "v1", "Node")
}

/// A pod that must be gone before the node may go (IsWaitingEviction).
pub fn is_waiting_eviction(pod: &Pod, now: Timestamp) -> bool {
    !pod::is_terminal(pod) && is_drainable(pod, now)
}

/// IsEvictable; protected pods stall the drain, for as long as they are protected or until the grace of the node ends.
pub fn is_evictable(pod: &Pod, now: Timestamp) -> bool {
    planner::disruption::is_evictable(&pod::convert(pod, Timestamp::UNIX_EPOCH), now)
}

/// Ordinary pods, daemons, critical pods, critical daemons, in this order.
pub fn drain_tier(pod: &Pod) -> usize {
    let critical = matches!(
        pod.spec.as_ref().and_then(|s| s.priority_class_name.as_deref()),
        Some("system-cluster-critical" | "system-node-critical")
    );
    usize::from(critical) * 2 + usize::from(pod::is_owned_by(&pod.metadata, "apps/v1", "DaemonSet"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::pod;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::ordinary(json!({}), true, true, 0)]
    #[case::terminating(json!({"metadata": {"deletionTimestamp": "1970-01-01T00:01:40Z"}}), true, false, 0)]
    #[case::stuck(json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:00Z"}}), false, false, 0)]
    #[case::finished(json!({"status": {"phase": "Succeeded"}}), false, false, 0)]
    #[case::protected(json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}}), true, false, 0)]
    #[case::protected_for_a_time(json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "2m"}}, "status": {"startTime": "1970-01-01T00:00:00Z"}}), true, false, 0)]
    #[case::protected_until_a_while_ago(json!({"metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "1m"}}, "status": {"startTime": "1970-01-01T00:00:00Z"}}), true, true, 0)]
    #[case::tolerates_everything(json!({"spec": {"tolerations": [{"operator": "Exists"}]}}), false, false, 0)]
    #[case::static_pod(json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]}}), false, false, 0)]
    #[case::daemon(json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "n", "uid": "u"}]}}), true, true, 1)]
    #[case::critical(json!({"spec": {"priorityClassName": "system-cluster-critical"}}), true, true, 2)]
    fn who_is_drained_and_when(#[case] patch: Value, #[case] waits: bool, #[case] evictable: bool, #[case] tier: usize) {
        let pod = pod(&patch);
        let now = Timestamp::from_second(101).expect("in range");
        assert_eq!((is_waiting_eviction(&pod, now), is_evictable(&pod, now), drain_tier(&pod)), (waits, evictable, tier));
    }
}
