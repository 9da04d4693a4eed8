//! Excludes nodes that nodeSelector or required affinity do not select; prefers those that preferred affinity selects.

use super::{Plugin, Rejection, normalize};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

/// The pre-filter's answer when alternatives name nodes that contradict each other.
pub(crate) const CONFLICT: &str = "pod affinity terms conflict";

/// ErrReasonPod of `framework/plugins/nodeaffinity/node_affinity.go`.
pub(crate) const MISMATCH: &str = "node(s) didn't match Pod's node affinity/selector";

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    (!pod.selects_node(&node.name, &node.labels)).then(|| Rejection::unresolvable(Plugin::NodeAffinity, MISMATCH))
}

/// The sum of the weights of matching terms, scaled; None when the pod prefers nothing.
pub(crate) fn score(pod: &PodInfo, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    if pod.preferred_nodes.is_empty() {
        return None;
    }
    let sum = |node: &NodeInfo| {
        pod.preferred_nodes.iter().filter(|(_, term)| term.matches(&node.name, &node.labels)).map(|(weight, _)| weight).sum()
    };
    let mut scores: Vec<i64> = nodes.iter().map(|node| sum(node)).collect();
    normalize(&mut scores, false);
    Some(scores)
}
