//! Excludes nodes without enough room; prefers those that stay emptiest and most evenly used.
//!
//! Source: `framework/plugins/noderesources/{fit,least_allocated,balanced_allocation}.go`.

use super::{Plugin, Rejection};
use crate::MAX_NODE_SCORE;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::resources::Resource;

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    let (mut reasons, mut unresolvable) = (Vec::new(), false);
    each_lack(&pod.requests, node, |name, requested, _, capacity| match name {
        "pods" => reasons.push("Too many pods".to_owned()),
        name => {
            reasons.push(format!("Insufficient {name}"));
            unresolvable |= requested > capacity;
        }
    });
    (!reasons.is_empty()).then_some(Rejection { plugin: Plugin::NodeResourcesFit, reasons, unresolvable })
}

/// Tells what the node lacks for a pod with these requests: the name, then what is requested, used and there (`fit.go`, fitsRequest).
pub(crate) fn each_lack(want: &Resource, node: &NodeInfo, mut tell: impl FnMut(&str, i64, i64, i64)) {
    let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
    if pods >= node.allowed_pods {
        tell("pods", 1, pods, node.allowed_pods);
    }
    let mut check = |name: &str, requested: i64, used: i64, capacity: i64| {
        if requested > 0 && requested > capacity.saturating_sub(used) {
            tell(name, requested, used, capacity);
        }
    };
    let (used, has) = (&node.requested, &node.allocatable);
    check("cpu", want.milli_cpu, used.milli_cpu, has.milli_cpu);
    check("memory", want.memory, used.memory, has.memory);
    check("ephemeral-storage", want.ephemeral_storage, used.ephemeral_storage, has.ephemeral_storage);
    for (name, amount) in &want.scalar {
        check(name, *amount, used.scalar(name), has.scalar(name));
    }
}

/// LeastAllocated over CPU and memory of equal weight: the mean of the free shares, in percent.
pub(crate) fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let pairs = [
        (node.scored_milli_cpu.saturating_add(pod.scored_milli_cpu), node.allocatable.milli_cpu),
        (node.scored_memory.saturating_add(pod.scored_memory), node.allocatable.memory),
    ];
    let (mut sum, mut weights) = (0, 0);
    for (requested, capacity) in pairs {
        if capacity != 0 {
            sum += if requested > capacity { 0 } else { (capacity - requested).saturating_mul(MAX_NODE_SCORE) / capacity };
            weights += 1;
        }
    }
    if weights == 0 { 0 } else { sum / weights }
}

/// How much evener the pod makes the use of CPU and memory; about 75 when it changes nothing. None for a pod without requests.
pub(crate) fn balanced_allocation(pod: &PodInfo, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    if pod.requests.milli_cpu == 0 && pod.requests.memory == 0 {
        return None;
    }
    let score = |node: &NodeInfo| {
        let (used, has) = (&node.requested, &node.allocatable);
        let before = evenness([(used.milli_cpu, has.milli_cpu), (used.memory, has.memory)]);
        let with = |used: i64, more: i64| used.saturating_add(more);
        let after =
            evenness([(with(used.milli_cpu, pod.requests.milli_cpu), has.milli_cpu), (with(used.memory, pod.requests.memory), has.memory)]);
        MAX_NODE_SCORE / 2 + (MAX_NODE_SCORE / 2 + after - before) / 2
    };
    Some(nodes.iter().map(|node| score(node)).collect())
}

/// 100 less the standard deviation of the used shares, in percent; a resource that the node lacks does not count.
fn evenness(pairs: [(i64, i64); 2]) -> i64 {
    let share = |(used, has): (i64, i64)| (has != 0).then(|| (used as f64 / has as f64).min(1.0));
    let deviation = match pairs.map(share) {
        [Some(cpu), Some(memory)] => ((cpu - memory) / 2.0).abs(),
        _ => 0.0,
    };
    ((1.0 - deviation) * MAX_NODE_SCORE as f64) as i64
}
