//! What controllers ask again and again about pods and nodes, read once from each version of an object.

use jiff::Timestamp;
use scheduler::NodeInfo;
use serde_json::Value;

use super::pods::{condition, finished, node_name, ready_since};
use crate::store::Object;

/// Of a pod.
pub(super) struct PodFacts {
    pub finished: bool,
    /// Empty when it has none yet.
    pub node: Box<str>,
    /// The node where it is, or, of a daemon, shall be.
    pub target: Box<str>,
    pub ready_since: Option<Timestamp>,
}

/// Of a node.
pub(super) struct NodeFacts {
    /// None when it cannot be read.
    pub info: Option<NodeInfo>,
    /// Key and value of the taints that drive pods away.
    pub no_execute: Vec<(String, String)>,
    /// None when its kubelet has never said.
    pub ready: Option<Ready>,
    /// Region and zone, one text (`k8s.io/component-helpers/node/topology`, GetZoneKey); empty when it has neither.
    pub zone: Box<str>,
    /// Does not count when it is asked how well its zone is.
    pub excluded: bool,
}

/// The status of a node's condition Ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ready {
    True,
    False,
    Unknown,
}

pub(super) fn pod(object: &Object) -> &PodFacts {
    object.derived(|value| PodFacts {
        finished: finished(value),
        node: node_name(value).into(),
        target: target_node(value).into(),
        ready_since: ready_since(value),
    })
}

pub(super) fn node(object: &Object) -> &NodeFacts {
    object.derived(|value| NodeFacts {
        info: NodeInfo::from_json(value).ok(),
        no_execute: no_execute(value),
        ready: condition(value, "Ready").map(|ready| match ready["status"].as_str() {
            Some("True") => Ready::True,
            Some("False") => Ready::False,
            _ => Ready::Unknown,
        }),
        zone: zone(&value["metadata"]["labels"]).into(),
        excluded: value["metadata"]["labels"].get("node.kubernetes.io/exclude-disruption").is_some(),
    })
}

fn zone(labels: &Value) -> String {
    let text = |new: &str, old: &str| labels[new].as_str().or_else(|| labels[old].as_str()).unwrap_or_default();
    let region = text("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region");
    let zone = text("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
    if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
}

fn target_node(pod: &Value) -> &str {
    let bound = node_name(pod);
    if !bound.is_empty() {
        return bound;
    }
    let terms = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    terms[0]["matchFields"][0]["values"][0].as_str().unwrap_or_default()
}

fn no_execute(node: &Value) -> Vec<(String, String)> {
    let taints = node["spec"]["taints"].as_array().into_iter().flatten().filter(|taint| taint["effect"] == "NoExecute");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    taints.map(|taint| (text(&taint["key"]), text(&taint["value"]))).collect()
}
