//! What a pod means for the end of its node (`C/pkg/utils/pod/scheduling.go`, `C/pkg/utils/pdb/pdb.go`, `C/pkg/utils/disruption/`).

use crate::input::{Pod, PodBudget, SelectorTerm, Snapshot};
use jiff::Timestamp;
use std::sync::Arc;
use vocabulary::{Operator, Taint, labels};

/// Neither finished nor on its way out.
pub fn is_under_way(pod: &Pod) -> bool {
    !pod.terminal && !pod.terminating
}

/// Whether `karpenter.sh/do-not-disrupt` protects the pod now.
pub fn is_protected(pod: &Pod, now: Timestamp) -> bool {
    pod.do_not_disrupt || pod.do_not_disrupt_until.is_some_and(|until| now < until)
}

pub fn is_disruptable(pod: &Pod, now: Timestamp) -> bool {
    !is_under_way(pod) || !is_protected(pod, now)
}

/// Needs a place elsewhere when its node goes. Pods of a StatefulSet come back only once they are gone, so they count until then.
pub fn is_reschedulable(pod: &Pod) -> bool {
    (is_under_way(pod) || pod.terminating && pod.stateful) && !pod.daemon && !pod.mirror
}

/// Is evicted when its node is drained.
pub fn is_evictable(pod: &Pod, now: Timestamp) -> bool {
    let taint = Taint { key: labels::DISRUPTED_TAINT.into(), value: "".into(), effect: vocabulary::Effect::NoSchedule };
    is_under_way(pod) && !pod.tolerations.iter().any(|t| t.tolerates(&taint)) && !pod.mirror && !is_protected(pod, now)
}

/// Needs a place elsewhere, and will get to leave: not protected, and no budget forbids every eviction.
pub fn is_currently_reschedulable(pod: &Pod, snapshot: &Snapshot, now: Timestamp) -> bool {
    is_reschedulable(pod) && is_disruptable(pod, now) && first_blocking(pod, snapshot, now, |budget| budget.blocks_fully).is_none()
}

/// The budgets that keep the pod: several that match (evictions know only one), or one that `blocks`.
pub fn first_blocking(pod: &Pod, snapshot: &Snapshot, now: Timestamp, blocks: impl Fn(&PodBudget) -> bool) -> Option<Vec<Arc<str>>> {
    if snapshot.pod_budgets.is_empty() || !is_evictable(pod, now) {
        return None;
    }
    let matching: Vec<&Arc<PodBudget>> =
        snapshot.pod_budgets.iter().filter(|b| b.namespace == pod.namespace && selects(b.selector.as_deref(), pod)).collect();
    let name = |budget: &PodBudget| Arc::from(format!("{}/{}", budget.namespace, budget.name));
    match matching.as_slice() {
        [] => None,
        [budget] if budget.unhealthy_may_go && pod.unhealthy => None,
        [budget] => blocks(budget).then(|| vec![name(budget)]),
        several => Some(several.iter().map(|budget| name(budget)).collect()),
    }
}

fn selects(selector: Option<&[SelectorTerm]>, pod: &Pod) -> bool {
    let holds = |term: &SelectorTerm| {
        let value = pod.labels.get(&term.key);
        match term.operator {
            Operator::In => value.is_some_and(|value| term.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !term.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            _ => false,
        }
    };
    selector.is_some_and(|terms| terms.iter().all(holds))
}

/// What evicting the pod counts, from -10 to 10, 1 for an ordinary pod.
pub fn eviction_cost(pod: &Pod) -> f64 {
    let cost = 1.0 + pod.deletion_cost.0 / f64::from(1 << 27) + f64::from(pod.priority) / f64::from(1 << 25);
    cost.clamp(-10.0, 10.0)
}
