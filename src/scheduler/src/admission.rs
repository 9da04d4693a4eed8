//! What a kubelet looks at once more before it takes a pod that is bound to its node, and what it says of each failure.
//!
//! Source: `eventhandlers.go` (AdmissionCheck), which the kubelet calls from `pkg/kubelet/lifecycle/predicate.go`.

use crate::node::NodeInfo;
use crate::plugins::{node_affinity, node_name, node_ports, node_resources};
use crate::pod::PodInfo;
use crate::resources::Resource;

/// Why the node cannot take the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The node has not enough of something.
    Insufficient(Lack),
    /// Another rule: the plugin's name and its words.
    Rule(&'static str, &'static str),
}

/// A resource that is short. CPU is in thousandths of a core, everything else in whole units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    pub resource: String,
    pub requested: i64,
    pub used: i64,
    pub capacity: i64,
}

/// Everything that keeps `pod` from running on `node` beside the pods there. `requests` stand for the pod's own.
pub fn admission_check(pod: &PodInfo, requests: &Resource, node: &NodeInfo) -> Vec<Failure> {
    let mut failures = Vec::new();
    node_resources::each_lack(requests, node, |resource, requested, used, capacity| {
        failures.push(Failure::Insufficient(Lack { resource: resource.to_owned(), requested, used, capacity }));
    });
    let rules = [
        (node_affinity::filter(pod, node).is_some(), "NodeAffinity", node_affinity::MISMATCH),
        (node_name::filter(pod, node).is_some(), "NodeName", node_name::MISMATCH),
        (node_ports::filter(pod, node).is_some(), "NodePorts", node_ports::TAKEN),
    ];
    failures.extend(rules.into_iter().filter(|(fails, ..)| *fails).map(|(_, rule, words)| Failure::Rule(rule, words)));
    failures
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn node() -> NodeInfo {
        let node = json!({ "metadata": { "name": "n", "labels": { "disk": "ssd" } },
            "status": { "allocatable": { "cpu": "1", "memory": "1Gi", "pods": "1" } } });
        NodeInfo::from_json(&node).unwrap()
    }

    fn pod(name: &str, cpu: &str, more: Value) -> PodInfo {
        let mut spec =
            json!({ "nodeName": "n", "containers": [{ "resources": { "requests": { "cpu": cpu } }, "ports": [{ "hostPort": 80 }] }] });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        PodInfo::from_json(&json!({ "metadata": { "name": name, "namespace": "d" }, "spec": spec })).unwrap()
    }

    #[test]
    fn all_failures_are_named_resources_first() {
        let there = Arc::new(pod("there", "700m", json!({})));
        let node = node().with_pods([&there]);
        let pod = pod("new", "500m", json!({ "nodeName": "other", "nodeSelector": { "disk": "hdd" } }));
        let lack = |resource: &str, requested, used, capacity| {
            Failure::Insufficient(Lack { resource: resource.to_owned(), requested, used, capacity })
        };
        assert_eq!(
            admission_check(&pod, &pod.requests, &node),
            [
                lack("pods", 1, 1, 1),
                lack("cpu", 500, 700, 1000),
                Failure::Rule("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"),
                Failure::Rule("NodeName", "node(s) didn't match the requested node name"),
                Failure::Rule("NodePorts", "node(s) didn't have free ports for the requested pod ports"),
            ]
        );
    }

    #[test]
    fn what_fits_has_no_failure() {
        let pod = pod("new", "1", json!({ "nodeSelector": { "disk": "ssd" } }));
        assert!(admission_check(&pod, &pod.requests, &node()).is_empty());
    }
}
