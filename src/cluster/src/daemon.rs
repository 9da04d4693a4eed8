//! A DaemonSet as the pod that it puts on a node.
//!
//! The pod is made from the template with the tolerations that the DaemonSet controller adds to every pod
//! (`k8s.io/kubernetes/pkg/controller/daemon/util/daemonset_util.go`, AddOrUpdateDaemonPodTolerations).

use crate::pod;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use planner::input::Daemon;
use std::sync::Arc;
use vocabulary::{Effect, Toleration};

const ADDED: [(&str, Effect); 6] = [
    ("node.kubernetes.io/not-ready", Effect::NoExecute),
    ("node.kubernetes.io/unreachable", Effect::NoExecute),
    ("node.kubernetes.io/disk-pressure", Effect::NoSchedule),
    ("node.kubernetes.io/memory-pressure", Effect::NoSchedule),
    ("node.kubernetes.io/pid-pressure", Effect::NoSchedule),
    ("node.kubernetes.io/unschedulable", Effect::NoSchedule),
];

pub fn convert(set: &DaemonSet) -> Daemon {
    let template = set.spec.template.clone();
    let host_network = template.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.namespace = set.metadata.namespace.clone();
    metadata.name = set.metadata.name.clone();
    metadata.uid = set.metadata.uid.clone();
    let created = set.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let mut made = pod::convert(&Pod { metadata, spec: template.spec, status: None }, created);
    made.daemon = true;
    let network = host_network.then_some(("node.kubernetes.io/network-unavailable", Effect::NoSchedule));
    for (key, effect) in ADDED.into_iter().chain(network) {
        let toleration = Toleration { key: key.into(), exists: true, value: "".into(), effect: Some(effect) };
        if !made.tolerations.contains(&toleration) {
            made.tolerations.push(toleration);
        }
    }
    Daemon {
        namespace: set.metadata.namespace.as_deref().unwrap_or("").into(),
        name: set.metadata.name.as_deref().unwrap_or("").into(),
        pod: Arc::new(made),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_daemon_tolerates_what_its_controller_adds() {
        let set = serde_json::from_value(json!({"metadata": {"name": "aws-node", "namespace": "kube-system"}, "spec": {"selector": {}, "template": {
            "metadata": {"labels": {"app": "aws-node"}}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "resources": {"requests": {"cpu": "50m"}}}]}}}}))
        .expect("a DaemonSet");
        let daemon = convert(&set);
        assert_eq!(daemon.pod.requests.get("cpu"), 50);
        assert!(daemon.pod.daemon && daemon.pod.tolerations.len() == 7);
    }
}
