//! Excludes every node but the one that the pod names.

use super::{Plugin, Rejection};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

/// ErrReason of `framework/plugins/nodename/node_name.go`.
pub(crate) const MISMATCH: &str = "node(s) didn't match the requested node name";

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    (!pod.node_name.is_empty() && pod.node_name != node.name).then(|| Rejection::unresolvable(Plugin::NodeName, MISMATCH))
}
