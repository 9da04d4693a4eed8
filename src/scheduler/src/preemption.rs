//! Looks for pods of lower priority whose removal makes room.
//!
//! Source: `framework/plugins/defaultpreemption/default_preemption.go` and `framework/preemption/preemption.go`. Upstream looks at
//! a sample of a large cluster's nodes from a random offset; here all are looked at, in order of names.

use crate::cycle::{NO_SHAPE, Prepared};
use crate::node::NodeInfo;
use crate::plugins::Rejection;
use crate::pod::PodInfo;
use crate::view::{Budget, ClusterView};
use std::sync::Arc;

/// A node and the pods that have to leave it, the most important first.
#[derive(Clone, Debug)]
pub struct Preemption {
    pub node: String,
    pub victims: Vec<Arc<PodInfo>>,
    /// How many of them a PodDisruptionBudget would have kept.
    pub violations: usize,
}

impl PartialEq for Preemption {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node && self.victims.iter().map(|v| &v.uid).eq(other.victims.iter().map(|v| &v.uid))
    }
}

/// The best node to make room on, and for every node that was tried in vain its reasons.
pub(crate) fn preempt<'a>(
    view: &'a ClusterView,
    prepared: &Prepared<'a>,
    rejected: &[(String, Rejection)],
) -> (Option<Preemption>, Vec<Vec<String>>) {
    let (mut candidates, mut reasons) = (Vec::new(), Vec::new());
    for (name, _) in rejected.iter().filter(|(_, rejection)| !rejection.unresolvable) {
        let Some(node) = view.node(name) else { continue };
        match select_victims(view, prepared, node) {
            Ok(candidate) => candidates.push(candidate),
            Err(why) => reasons.push(why),
        }
    }
    candidates.sort_by(|a, b| a.node.cmp(&b.node));
    (candidates.into_iter().min_by_key(cost), reasons)
}

/// Fewest budgets broken, then the lowest highest priority, the lowest sum of priorities, the fewest pods, the latest start of the
/// most important ones (pickOneNodeForPreemption).
fn cost(candidate: &Preemption) -> (usize, i32, i64, usize, i64) {
    let highest = candidate.victims.iter().map(|pod| pod.priority).max().unwrap_or(i32::MIN);
    let sum = candidate.victims.iter().map(|pod| i64::from(pod.priority) + (1 << 31)).sum();
    let earliest = candidate.victims.iter().filter(|pod| pod.priority == highest).map(|pod| started(pod)).min().unwrap_or(i64::MAX);
    (candidate.violations, highest, sum, candidate.victims.len(), earliest.saturating_neg())
}

/// Seconds; a pod that has not started counts as starting now.
fn started(pod: &PodInfo) -> i64 {
    pod.start_time.map_or(i64::MAX, |at| at.as_second())
}

fn select_victims<'a>(view: &'a ClusterView, prepared: &Prepared<'a>, node: &'a NodeInfo) -> Result<Preemption, Vec<String>> {
    let mut lower: Vec<&'a Arc<PodInfo>> = node.pods.values().filter(|pod| pod.priority < prepared.pod.priority).collect();
    if lower.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".to_owned()]);
    }
    if let Some(rejection) = filter_without(prepared, node, &lower) {
        return Err(rejection.reasons);
    }
    lower.sort_by_key(|pod| (std::cmp::Reverse(pod.priority), started(pod)));
    let (violating, harmless) = by_budget(view, &lower);
    // Keep as many as possible, the most important first, those under a budget before the others.
    let mut removed = lower.clone();
    let mut violations = 0;
    for (pods, guarded) in [(violating, true), (harmless, false)] {
        for pod in pods {
            let without_it: Vec<&'a Arc<PodInfo>> =
                removed.iter().copied().filter(|other| other.uid != pod.uid || other.name != pod.name).collect();
            if filter_without(prepared, node, &without_it).is_none() {
                removed = without_it;
            } else {
                violations += usize::from(guarded);
            }
        }
    }
    Ok(Preemption { node: node.name.clone(), victims: removed.into_iter().cloned().collect(), violations })
}

/// The filters' answer for the node without these pods.
fn filter_without<'a>(prepared: &Prepared<'a>, node: &NodeInfo, removed: &[&'a Arc<PodInfo>]) -> Option<Rejection> {
    let mut smaller = node.clone();
    for pod in removed {
        smaller.remove(&pod.key(), NO_SHAPE);
    }
    let gone: Vec<&'a PodInfo> = removed.iter().map(|pod| &***pod).collect();
    prepared.changed(&node.name, &gone, -1).filter(&smaller)
}

/// Splits pods into those whose removal would break a budget and the others, keeping their order (filterPodsWithPDBViolation).
fn by_budget<'a>(view: &ClusterView, pods: &[&'a Arc<PodInfo>]) -> (Vec<&'a Arc<PodInfo>>, Vec<&'a Arc<PodInfo>>) {
    let mut left: Vec<(&str, &Budget, i32)> =
        view.budgets.iter().map(|((namespace, _), budget)| (namespace.as_str(), budget, budget.allowed)).collect();
    pods.iter().copied().partition(|pod| {
        let mut broken = false;
        for (namespace, budget, allowed) in &mut left {
            let concerns = *namespace == pod.namespace
                && !pod.labels.is_empty()
                && !budget.selector.is_everything()
                && budget.selector.matches(&pod.labels)
                && !budget.disrupted.contains(&pod.name);
            if concerns {
                *allowed -= 1;
                broken |= *allowed < 0;
            }
        }
        broken
    })
}
