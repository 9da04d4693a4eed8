//! No PodDisruptionBudget broken by an eviction.
//!
//! Judged when a pod begins to go that was evicted, or that the controller asked to delete: of the budgets that mean it none may then
//! have fewer healthy pods than it demands, unless it had before. Once a NodeClaim's termination grace ends, its pods may be deleted
//! past their budgets (`C/pkg/controllers/node/termination/terminator/terminator.go`, DeleteExpiringPods).

use super::view::{Pod, View, selects};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Evictions {
    /// Pods that the controller asked to evict or delete, and has not been refused.
    asked: BTreeMap<(String, String), &'static str>,
}

impl Evictions {
    pub fn ask(&mut self, pod: (String, String), verb: &'static str) {
        self.asked.insert(pod, verb);
    }

    pub fn refused(&mut self, pod: &(String, String)) {
        self.asked.remove(pod);
    }

    /// A pod changed, or is gone; the view does not know yet.
    pub fn look(&mut self, view: &View, pod: &core::Pod, there: bool, now: Timestamp) -> Option<String> {
        let key = (pod.namespace().unwrap_or_default(), pod.name_any());
        let after = Pod::of(pod);
        let before = view.pods.get(&key).filter(|before| before.uid == after.uid && !before.terminating)?;
        if there && !after.terminating {
            return None;
        }
        let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let evicted = conditions.iter().any(|c| c.type_ == "DisruptionTarget" && c.reason.as_deref() == Some("EvictionByEvictionAPI"));
        let verb = self.asked.remove(&key).or(evicted.then_some("evicted"))?;
        if !before.ready || is_forced(view, before, now) {
            return None;
        }
        let mut broken = Vec::new();
        for ((namespace, name), budget) in view.budgets.iter().filter(|((namespace, _), _)| *namespace == key.0) {
            if !selects(budget.selector.as_ref(), &before.labels) {
                continue;
            }
            let healthy = view.pods.iter().filter(|((other, _), p)| other == namespace && p.ready && !p.terminating);
            let healthy = healthy.filter(|(_, p)| selects(budget.selector.as_ref(), &p.labels)).count();
            let demanded = usize::try_from(budget.desired).unwrap_or(0);
            if healthy >= demanded && healthy - 1 < demanded {
                broken.push(format!(
                    "pod {}/{} is {verb} and leaves {} healthy pods, PodDisruptionBudget {namespace}/{name} demands {demanded}",
                    key.0,
                    key.1,
                    healthy - 1
                ));
            }
        }
        (!broken.is_empty()).then(|| broken.join("; "))
    }
}

/// The grace of the pod's node has come so far that the pod's own would outlive it.
fn is_forced(view: &View, pod: &Pod, now: Timestamp) -> bool {
    let node = pod.node.as_ref().and_then(|name| view.nodes.get(name));
    let ends = node.and_then(|node| view.claim_of(node)).and_then(|claim| claim.ends);
    ends.is_some_and(|ends| now >= ends.saturating_sub(SignedDuration::from_secs(pod.grace_seconds)).unwrap_or(Timestamp::MIN))
}
