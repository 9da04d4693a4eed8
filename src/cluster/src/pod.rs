//! A Pod in the planner's words.
//!
//! Sources: `C/pkg/utils/pod/scheduling.go`, `C/pkg/utils/resources/resources.go`, `k8s.io/component-helpers/resource/helpers.go`.

use crate::relations;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use planner::input::{DeletionCost, HostPort, Labels, Owner, Pod, Volumes};
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::{Effect, Operator, Quantity, Requirement, Requirements, Resources, Taint, Toleration, labels, resources};

pub(crate) type ResourceList = BTreeMap<String, WireQuantity>;

/// A list as amounts. What the API server accepted can be read; anything else counts as nothing.
pub fn amounts(list: Option<&ResourceList>) -> Resources {
    Resources::from_quantities(
        list.into_iter().flatten().map(|(name, quantity)| (name.as_str(), quantity.0.parse::<Quantity>().unwrap_or_default())),
    )
}

pub fn text_labels(map: Option<&BTreeMap<String, String>>) -> Labels {
    map.into_iter().flatten().map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str()))).collect()
}

pub fn effect(text: &str) -> Option<Effect> {
    Some(match text {
        "NoSchedule" => Effect::NoSchedule,
        "PreferNoSchedule" => Effect::PreferNoSchedule,
        "NoExecute" => Effect::NoExecute,
        _ => return None,
    })
}

pub fn taint(taint: &core::Taint) -> Option<Taint> {
    Some(Taint { key: taint.key.as_str().into(), value: taint.value.as_deref().unwrap_or("").into(), effect: effect(&taint.effect)? })
}

/// Converts the pod. `created` is used where the object has no creation time (templates).
pub fn convert(pod: &core::Pod, created: Timestamp) -> Pod {
    let none = core::PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let meta = &pod.metadata;
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let annotations = meta.annotations.as_ref();
    let protection = annotations.and_then(|a| a.get(labels::DO_NOT_DISRUPT)).map(String::as_str);
    let status = pod.status.as_ref();
    Pod {
        uid: meta.uid.as_deref().unwrap_or("").into(),
        namespace: meta.namespace.as_deref().unwrap_or("").into(),
        name: meta.name.as_deref().unwrap_or("").into(),
        created: meta.creation_timestamp.as_ref().map_or(created, |time| time.0),
        requests: requests(pod),
        selector: text_labels(spec.node_selector.as_ref()),
        node_affinity: required_terms(affinity),
        preferred_node_affinity: preferred_terms(affinity),
        tolerations: spec.tolerations.iter().flatten().filter_map(toleration).collect(),
        host_ports: host_ports(spec),
        spread: relations::spread(pod),
        pod_affinity: relations::affinity(spec),
        pod_anti_affinity: relations::anti_affinity(spec),
        volumes: Volumes::default(),
        labels: text_labels(meta.labels.as_ref()),
        owner: owner(meta),
        daemon: is_owned_by(meta, "apps/v1", "DaemonSet"),
        do_not_disrupt: protection == Some("true"),
        do_not_disrupt_until: protection.and_then(|value| protected_until(value, pod)),
        priority: spec.priority.unwrap_or(0),
        deletion_cost: annotations
            .and_then(|a| a.get("controller.kubernetes.io/pod-deletion-cost"))
            .and_then(|cost| cost.parse().ok())
            .map_or(DeletionCost::default(), DeletionCost),
        terminating: meta.deletion_timestamp.is_some(),
        terminal: is_terminal(pod),
        stateful: is_owned_by(&pod.metadata, "apps/v1", "StatefulSet"),
        mirror: is_owned_by(&pod.metadata, "v1", "Node"),
        phase_pending: status.and_then(|s| s.phase.as_deref()) == Some("Pending"),
        unhealthy: status.and_then(|s| s.conditions.as_ref()).into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "False"),
        undecided: undecided(spec),
    }
}

/// The end of a protection for a time: a positive Go duration from the pod's start, without a start never. Anything else protects
/// nothing (`C/pkg/utils/pod/scheduling.go`, IsDoNotDisruptActive).
fn protected_until(value: &str, pod: &core::Pod) -> Option<Timestamp> {
    let duration = api::duration::parse_go(value).filter(|d| d.is_positive())?;
    match pod.status.as_ref().and_then(|s| s.start_time.as_ref()) {
        Some(start) => Some(start.0.saturating_add(duration).unwrap_or(Timestamp::MAX)),
        None => Some(Timestamp::MAX),
    }
}

pub fn is_terminal(pod: &core::Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Failed" | "Succeeded"))
}

pub fn is_terminating(pod: &core::Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

pub fn node_name(pod: &core::Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// The scheduler has seen the pod and found no node, it is bound nowhere, preempts nobody, and is neither a daemon nor static.
pub fn is_provisionable(pod: &core::Pod) -> bool {
    let status = pod.status.as_ref();
    let unschedulable = status
        .and_then(|s| s.conditions.as_ref())
        .is_some_and(|conditions| conditions.iter().any(|c| c.type_ == "PodScheduled" && c.reason.as_deref() == Some("Unschedulable")));
    unschedulable
        && node_name(pod).is_none()
        && status.and_then(|s| s.nominated_node_name.as_deref()).is_none_or(str::is_empty)
        && !is_owned_by(&pod.metadata, "apps/v1", "DaemonSet")
        && !is_owned_by(&pod.metadata, "v1", "Node")
}

pub fn is_owned_by(meta: &ObjectMeta, api_version: &str, kind: &str) -> bool {
    meta.owner_references.iter().flatten().any(|owner| owner.api_version == api_version && owner.kind == kind)
}

fn owner(meta: &ObjectMeta) -> Option<Owner> {
    let owners = meta.owner_references.as_ref()?;
    let owner = owners.iter().find(|o| o.controller == Some(true)).or(owners.first())?;
    Some(Owner { kind: owner.kind.as_str().into(), name: owner.name.as_str().into(), uid: owner.uid.as_str().into() })
}

/// An operator that is not known here (`Lt`, `Gt` of later API servers) tolerates nothing.
fn toleration(wire: &core::Toleration) -> Option<Toleration> {
    let exists = match wire.operator.as_deref().unwrap_or("Equal") {
        "" | "Equal" => false,
        "Exists" => true,
        _ => return None,
    };
    let effect = match wire.effect.as_deref() {
        None | Some("") => None,
        Some(text) => Some(effect(text)?),
    };
    Some(Toleration { key: wire.key.as_deref().unwrap_or("").into(), exists, value: wire.value.as_deref().unwrap_or("").into(), effect })
}

pub(crate) fn expressions(term: &core::NodeSelectorTerm) -> Requirements {
    let known = term.match_expressions.iter().flatten();
    known
        .filter_map(|e| {
            Some(Requirement::new(e.key.as_str(), Operator::parse(&e.operator)?, e.values.iter().flatten().map(String::as_str)))
        })
        .collect()
}

fn required_terms(affinity: Option<&core::NodeAffinity>) -> Vec<Requirements> {
    let selector = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    selector.map(|s| s.node_selector_terms.iter().map(expressions).collect()).unwrap_or_default()
}

fn preferred_terms(affinity: Option<&core::NodeAffinity>) -> Vec<(i32, Requirements)> {
    let terms = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    terms.into_iter().flatten().map(|term| (term.weight, expressions(&term.preference))).collect()
}

/// Ports of ordinary containers only.
fn host_ports(spec: &core::PodSpec) -> Vec<HostPort> {
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports
        .filter(|port| port.host_port.is_some_and(|number| number != 0))
        .map(|port| HostPort {
            ip: port.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0").into(),
            port: port.host_port.unwrap_or(0),
            protocol: port.protocol.as_deref().unwrap_or("TCP").into(),
        })
        .collect()
}

/// Fields that the planner does not decide yet, by their path below `spec`.
fn undecided(spec: &core::PodSpec) -> Vec<Arc<str>> {
    let mut names: Vec<&str> = Vec::new();
    if let Some(affinity) = &spec.affinity {
        let required = affinity.node_affinity.as_ref().and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        if required.is_some_and(|s| s.node_selector_terms.iter().any(|t| t.match_fields.as_ref().is_some_and(|f| !f.is_empty()))) {
            names.push("affinity.nodeAffinity.matchFields");
        }
    }
    if spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        names.push("resourceClaims");
    }
    names.into_iter().map(Arc::from).collect()
}

/// Limits of the whole pod plus `pods: 1` (`C/pkg/utils/resources/resources.go`, LimitsForPods).
pub fn limits(pod: &core::Pod) -> Resources {
    let none = core::PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let of = |list: Option<&core::ResourceRequirements>| amounts(list.and_then(|r| r.limits.as_ref()));
    let mut total = together(spec, |container, _| of(container.resources.as_ref()), &of(spec.resources.as_ref()));
    total.set(resources::PODS, 1);
    total
}

/// Requests of the whole pod plus `pods: 1`.
pub fn requests(pod: &core::Pod) -> Resources {
    let none = core::PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let status = pod.status.as_ref();
    let infeasible = status
        .and_then(|s| s.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|c| c.type_ == "PodResizePending"))
        .is_some_and(|pending| pending.reason.as_deref() == Some("Infeasible"));
    let running = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or(&[]);
    let started = status.and_then(|s| s.init_container_statuses.as_deref()).unwrap_or(&[]);

    let of = |container: &core::Container, init: bool| {
        let statuses = match (init, is_sidecar(container)) {
            (true, true) => started,
            (true, false) => &[],
            (false, _) => running,
        };
        container_requests(container, statuses, infeasible)
    };
    let mut total = together(spec, of, &amounts(spec.resources.as_ref().and_then(|r| r.requests.as_ref())));
    total.add(&amounts(spec.overhead.as_ref()));
    total.set(resources::PODS, 1);
    total
}

fn is_sidecar(container: &core::Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What a pod's containers come to, of which `of` says one's own (the second argument: an init container); `pod` is said of the pod.
fn together(spec: &core::PodSpec, of: impl Fn(&core::Container, bool) -> Resources, pod: &Resources) -> Resources {
    let mut total = Resources::sum(spec.containers.iter().map(|c| of(c, false)).collect::<Vec<_>>().iter());
    // Sidecars run beside everything that starts after them; other init containers run alone, beside the sidecars before them.
    let (mut sidecars, mut peak) = (Resources::new(), Resources::new());
    for container in spec.init_containers.iter().flatten() {
        let mut wants = of(container, true);
        if is_sidecar(container) {
            total.add(&wants);
            sidecars.add(&wants);
            wants = sidecars.clone();
        } else {
            wants.add(&sidecars);
        }
        peak.max(&wants);
    }
    total.max(&peak);
    // What is said of the pod stands in for the sum of the containers' (`IsSupportedPodLevelResource`).
    for (name, amount) in pod.iter() {
        if name == resources::CPU || name == resources::MEMORY || name.starts_with("hugepages-") {
            total.set(name, amount);
        }
    }
    total
}

/// What the container asks for, or has been given while a resize is under way, whichever is more. Of containers that run alone before the
/// others, and of those whose status does not tell what they have, only the former counts.
fn container_requests(container: &core::Container, statuses: &[core::ContainerStatus], infeasible: bool) -> Resources {
    let asked = amounts(container.resources.as_ref().and_then(|r| r.requests.as_ref()));
    let status = statuses.iter().rfind(|status| status.name == container.name);
    let Some((status, has)) = status.and_then(|status| Some((status, status.resources.as_ref()?))) else { return asked };
    let mut given = amounts(has.requests.as_ref());
    given.max(&amounts(status.allocated_resources.as_ref()));
    if !infeasible {
        given.max(&asked);
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn pod(spec: Value, status: Value) -> core::Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec, "status": status})).expect("a pod")
    }

    fn container(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}}})
    }

    fn sidecar(name: &str, cpu: &str) -> Value {
        let mut container = container(name, cpu);
        container["restartPolicy"] = json!("Always");
        container
    }

    #[rstest]
    #[case::sum_of_containers(json!({"containers": [container("a", "1"), container("b", "500m")]}), 1500)]
    #[case::the_largest_init_container_wins(json!({"initContainers": [container("i", "3"), container("j", "2")], "containers": [container("a", "1")]}), 3000)]
    #[case::a_sidecar_runs_beside(json!({"initContainers": [sidecar("s", "1")], "containers": [container("a", "1")]}), 2000)]
    #[case::init_after_a_sidecar_carries_it(json!({"initContainers": [sidecar("s", "1"), container("i", "3")], "containers": [container("a", "1")]}), 4000)]
    #[case::init_before_a_sidecar_does_not(json!({"initContainers": [container("i", "3"), sidecar("s", "1")], "containers": [container("a", "1")]}), 3000)]
    #[case::overhead(json!({"overhead": {"cpu": "250m"}, "containers": [container("a", "1")]}), 1250)]
    #[case::pod_level(json!({"resources": {"requests": {"cpu": "4"}}, "containers": [container("a", "1")]}), 4000)]
    fn cpu_requests(#[case] spec: Value, #[case] milli: i64) {
        let requests = requests(&pod(spec, json!({})));
        assert_eq!((requests.get("cpu"), requests.get("pods")), (milli, 1));
    }

    #[rstest]
    #[case::growing_in_place(json!({"containerStatuses": [status("2", "1")]}), 2000)]
    #[case::shrinking_is_not_done_yet(json!({"containerStatuses": [status("1", "3")]}), 3000)]
    #[case::infeasible(json!({"containerStatuses": [status("500m", "500m")], "conditions": [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]}), 500)]
    #[case::infeasible_and_given_nothing(json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0, "resources": {}}], "conditions": [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]}), 0)]
    #[case::the_status_does_not_tell(json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0, "allocatedResources": {"cpu": "3"}}]}), 1000)]
    fn resizes_in_place(#[case] status: Value, #[case] milli: i64) {
        assert_eq!(requests(&pod(json!({"containers": [container("a", "1")]}), status)).get("cpu"), milli);
    }

    fn status(actual: &str, allocated: &str) -> Value {
        json!({"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0, "resources": {"requests": {"cpu": actual}}, "allocatedResources": {"cpu": allocated}})
    }

    #[rstest]
    #[case::unschedulable(json!({}), "Unschedulable", true)]
    #[case::gated(json!({}), "SchedulingGated", false)]
    #[case::bound(json!({"spec": {"containers": [], "nodeName": "n"}}), "Unschedulable", false)]
    #[case::daemon(json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u"}]}}), "Unschedulable", false)]
    #[case::static_pod(json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "d", "uid": "u"}]}}), "Unschedulable", false)]
    #[case::replica(json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "d", "uid": "u"}]}}), "Unschedulable", true)]
    #[case::preempting(json!({"status": {"nominatedNodeName": "n"}}), "Unschedulable", false)]
    fn provisionable(#[case] mut object: Value, #[case] reason: &str, #[case] expected: bool) {
        if object["status"].is_null() {
            object["status"] = json!({});
        }
        object["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": reason}]);
        assert_eq!(is_provisionable(&serde_json::from_value(object).expect("a pod")), expected);
    }

    #[rstest]
    #[case(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]}}}}), &["affinity.nodeAffinity.matchFields"])]
    #[case(json!({"volumes": [{"name": "v", "emptyDir": {}}]}), &[])]
    #[case(json!({"affinity": {"podAffinity": {}}}), &[])]
    #[case(json!({"resourceClaims": [{"name": "g"}]}), &["resourceClaims"])]
    fn names_what_is_not_decided(#[case] mut spec: Value, #[case] expected: &[&str]) {
        spec["containers"] = json!([]);
        let names = convert(&pod(spec, json!({})), Timestamp::UNIX_EPOCH).undecided;
        assert_eq!(names.iter().map(|n| &**n).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn terms_become_requirements() {
        let spec = json!({"containers": [], "nodeSelector": {"type": "karpenter"}, "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}, {"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "preference": {"matchExpressions": [{"key": "n", "operator": "Gt", "values": ["4"]}]}}]}}});
        let pod = convert(&pod(spec, json!({})), Timestamp::UNIX_EPOCH);
        assert_eq!(pod.selector.get("type").map(|v| &**v), Some("karpenter"));
        assert_eq!(pod.node_affinity.len(), 2);
        assert!(pod.node_affinity[0].get("zone").is_some_and(|r| r.has("a") && !r.has("c")));
        assert!(
            pod.preferred_node_affinity[0].0 == 7 && pod.preferred_node_affinity[0].1.get("n").is_some_and(|r| r.has("5") && !r.has("4"))
        );
    }
}
