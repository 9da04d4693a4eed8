//! Excludes nodes where a wanted host port is taken.

use super::{Plugin, Rejection};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    let taken = pod.host_ports.iter().any(|want| node.used_ports.iter().any(|used| used.conflicts(want)));
    taken.then(|| Rejection::resolvable(Plugin::NodePorts, "node(s) didn't have free ports for the requested pod ports"))
}
