//! Excludes cordoned nodes, unless the pod tolerates the taint that stands for it.

use super::{Plugin, Rejection};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use vocabulary::{Effect, Taint};

pub(crate) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    (node.unschedulable && !tolerates(pod)).then(|| Rejection::unresolvable(Plugin::NodeUnschedulable, "node(s) were unschedulable"))
}

pub(crate) fn tolerates(pod: &PodInfo) -> bool {
    let taint = Taint { key: "node.kubernetes.io/unschedulable".into(), value: "".into(), effect: Effect::NoSchedule };
    pod.tolerations.iter().any(|toleration| toleration.tolerates(&taint))
}
