//! Excludes nodes with taints that the pod does not tolerate; prefers those with fewer untolerated soft taints.

use super::{Plugin, Rejection, normalize};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use vocabulary::{Effect, Taint};

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    untolerated(pod, &node.taints).then(|| Rejection::unresolvable(Plugin::TaintToleration, "node(s) had untolerated taint(s)"))
}

/// Whether a `NoSchedule` or `NoExecute` taint is not tolerated.
pub(crate) fn untolerated(pod: &PodInfo, taints: &[Taint]) -> bool {
    taints.iter().any(|taint| taint.effect != Effect::PreferNoSchedule && !pod.tolerations.iter().any(|t| t.tolerates(taint)))
}

/// 100 for the fewest untolerated `PreferNoSchedule` taints.
pub(crate) fn score(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let mut scores: Vec<i64> = nodes
        .iter()
        .map(|node| {
            let soft = node.taints.iter().filter(|taint| taint.effect == Effect::PreferNoSchedule);
            soft.filter(|taint| !pod.tolerations.iter().any(|t| t.tolerates(taint))).count() as i64
        })
        .collect();
    normalize(&mut scores, true);
    scores
}
