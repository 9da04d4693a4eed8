//! A DaemonSet as the pod that it puts on a node.
//!
//! A pod that the DaemonSet has already says it best, since admission may have changed it (LimitRange, RuntimeClass, VPA). Before there
//! is one, the pod is made from the template: with limits for requests that are not given, as the API server would, and with the
//! tolerations that the DaemonSet controller adds (`k8s.io/kubernetes/pkg/controller/daemon/util/daemonset_util.go`,
//! AddOrUpdateDaemonPodTolerations). Sources: `C/pkg/controllers/provisioning/provisioner.go`, getDaemonSetPods;
//! `C/pkg/utils/daemonset/daemonset.go`, PodForDaemonSet.

use crate::pod;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Affinity, Container, NodeAffinity, Pod, PodSpec};
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

/// The name of the DaemonSet that controls the pod, and its uid.
pub fn controller(pod: &Pod) -> Option<(&str, &str)> {
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    (owner.kind == "DaemonSet" && owner.api_version == "apps/v1").then_some((&owner.name, &owner.uid))
}

/// `newest` is the pod that the DaemonSet made last.
pub fn convert(set: &DaemonSet, newest: Option<&Pod>) -> Daemon {
    let mut template = set.spec.template.clone();
    let newest = newest.filter(|pod| controller(pod).is_some_and(|(_, uid)| set.metadata.uid.as_deref() == Some(uid)));
    template.spec = match newest.and_then(|pod| pod.spec.clone()) {
        Some(spec) => Some(with_affinity_of(spec, template.spec.as_ref())),
        None => template.spec.map(with_limits_requested),
    };
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

/// The DaemonSet controller writes the node's name where the template has its required node affinity.
fn with_affinity_of(mut spec: PodSpec, template: Option<&PodSpec>) -> PodSpec {
    let wanted =
        |spec: &PodSpec| spec.affinity.as_ref()?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.clone();
    let required = template.and_then(wanted);
    if required.is_some() || wanted(&spec).is_some() {
        let affinity = spec.affinity.get_or_insert_with(Affinity::default);
        affinity.node_affinity.get_or_insert_with(NodeAffinity::default).required_during_scheduling_ignored_during_execution = required;
    }
    spec.node_name = None;
    spec
}

fn with_limits_requested(mut spec: PodSpec) -> PodSpec {
    let merge = |container: &mut Container| {
        let Some(resources) = &mut container.resources else { return };
        for (name, limit) in resources.limits.iter().flatten() {
            resources.requests.get_or_insert_default().entry(name.clone()).or_insert_with(|| limit.clone());
        }
    };
    spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()).for_each(merge);
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set(container: &Value) -> DaemonSet {
        let required = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]}}});
        serde_json::from_value(
            json!({"metadata": {"name": "agent", "namespace": "kube-system", "uid": "d"}, "spec": {"selector": {}, "template": {
            "metadata": {"labels": {"app": "agent"}}, "spec": {"affinity": required, "containers": [container]}}}}),
        )
        .expect("a DaemonSet")
    }

    #[test]
    fn limits_are_requested_where_nothing_is() {
        let container = json!({"name": "c", "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "1", "memory": "1Gi"}}});
        let daemon = convert(&set(&container), None);
        assert_eq!((daemon.pod.requests.get("cpu"), daemon.pod.requests.get("memory")), (50, 1 << 30));
    }

    #[test]
    fn a_pod_that_is_there_says_what_it_asks() {
        let set = set(&json!({"name": "c", "resources": {"requests": {"cpu": "50m"}}}));
        let here = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]}}});
        let pod = |uid: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "agent-x", "namespace": "kube-system",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": uid, "controller": true}]},
                "spec": {"nodeName": "n", "affinity": here, "containers": [{"name": "c", "resources": {"requests": {"cpu": "75m"}}}]}}))
            .expect("a pod")
        };
        let (before, after) = (convert(&set, None), convert(&set, Some(&pod("d"))));
        assert_eq!((before.pod.requests.get("cpu"), after.pod.requests.get("cpu")), (50, 75));
        assert_eq!(before.pod.node_affinity, after.pod.node_affinity);
        assert_eq!(before, convert(&set, Some(&pod("of an earlier one with this name"))));
    }

    #[test]
    fn a_daemon_tolerates_what_its_controller_adds() {
        let set = serde_json::from_value(json!({"metadata": {"name": "aws-node", "namespace": "kube-system"}, "spec": {"selector": {}, "template": {
            "metadata": {"labels": {"app": "aws-node"}}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "resources": {"requests": {"cpu": "50m"}}}]}}}}))
        .expect("a DaemonSet");
        let daemon = convert(&set, None);
        assert_eq!(daemon.pod.requests.get("cpu"), 50);
        assert!(daemon.pod.daemon && daemon.pod.tolerations.len() == 7);
    }
}
