//! Excludes nodes where a wanted host port is taken.

use super::{Plugin, Rejection};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

/// ErrReason of `framework/plugins/nodeports/node_ports.go`.
pub(crate) const TAKEN: &str = "node(s) didn't have free ports for the requested pod ports";

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    let taken = pod.host_ports.iter().any(|want| node.used_ports.iter().any(|used| used.conflicts(want)));
    taken.then(|| Rejection::resolvable(Plugin::NodePorts, TAKEN))
}
