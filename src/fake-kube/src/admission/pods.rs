//! Pods: status at birth, quality of service, priority, default tolerations, default requests of LimitRange, RuntimeClass overhead;
//! service accounts are [`accounts`]'.
//!
//! Source: `k8s.io/kubernetes/plugin/pkg/admission/{priority,defaulttolerationseconds,limitranger,runtimeclass}`,
//! `pkg/registry/core/pod/strategy.go`, `pkg/apis/core/v1/helper/qos`; the order is `pkg/kubeapiserver/options/plugins.go`'s.

use serde_json::{Map, Value, json};

use super::{accounts, limits};
use crate::api::Api;
use crate::kinds::Kind;
use crate::quantity::Quantity;
use crate::status::Status;

pub(super) fn on_create(api: &mut Api, kind: &Kind, pod: &mut Value) -> Result<(), Status> {
    limits::defaults(api, pod);
    accounts::admit(api, kind, pod)?;
    priority(api, kind, pod)?;
    tolerate_failing_nodes(pod);
    runtime_class(api, kind, pod)?;
    merge_label_keys(pod);
    pod["status"] = json!({ "phase": "Pending" });
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        pod["status"]["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "lastProbeTime": null, "lastTransitionTime": null, "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    pod["status"]["qosClass"] = json!(quality(&pod["spec"]));
    limits::check_pod(api, kind, pod)
}

/// `matchLabelKeys` and `mismatchLabelKeys` become a part of the selector beside them, where there is one
/// (`k8s.io/kubernetes/pkg/registry/core/pod/strategy.go`, mutatePodAffinity, mutateTopologySpreadConstraints).
fn merge_label_keys(pod: &mut Value) {
    const LISTS: [&str; 5] = [
        "/spec/topologySpreadConstraints",
        "/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution",
        "/spec/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution",
        "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution",
        "/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution",
    ];
    let labels = pod["metadata"]["labels"].clone();
    for list in LISTS {
        for entry in pod.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(entry) = entry.as_object_mut() else { continue };
            let term = if entry.contains_key("podAffinityTerm") { entry["podAffinityTerm"].as_object_mut() } else { Some(entry) };
            let Some(term) = term.filter(|term| term.get("labelSelector").is_some_and(Value::is_object)) else { continue };
            let mut expressions = Vec::new();
            for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
                let keys = term.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
                let known = keys.filter_map(|key| Some((key, labels.get(key)?.as_str()?)));
                expressions.extend(known.map(|(key, value)| json!({ "key": key, "operator": operator, "values": [value] })));
            }
            if !expressions.is_empty()
                && let Some(selector) = term.get_mut("labelSelector").and_then(Value::as_object_mut)
                && let Value::Array(all) = selector.entry("matchExpressions").or_insert_with(|| json!([]))
            {
                all.extend(expressions);
            }
        }
    }
}

/// The class does not change after creation, whatever the update says.
pub(super) fn on_update(old: &Value, new: &mut Value) {
    if new["spec"]["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        new["spec"]["terminationGracePeriodSeconds"] = json!(1);
    }
    new["status"]["qosClass"] = old["status"]["qosClass"].clone();
}

pub(super) fn on_status(old: &Value, new: &mut Value) {
    if new["status"]["qosClass"].as_str().unwrap_or_default().is_empty() && new["status"].is_object() {
        new["status"]["qosClass"] = old["status"]["qosClass"].clone();
    }
}

/// Five minutes on a node that is not ready or unreachable, unless the pod says how long itself.
fn tolerate_failing_nodes(pod: &mut Value) {
    let list = &mut pod["spec"]["tolerations"];
    if !list.is_array() {
        *list = json!([]);
    }
    let Value::Array(list) = list else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |one: &Value| {
            let keyed = one["key"] == key || one["key"].as_str().unwrap_or_default().is_empty();
            keyed && matches!(one["effect"].as_str(), None | Some("" | "NoExecute"))
        };
        if !list.iter().any(covers) {
            list.push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }));
        }
    }
}

fn priority(api: &Api, kind: &Kind, pod: &mut Value) -> Result<(), Status> {
    let classes = "scheduling.k8s.io/priorityclasses";
    let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let wanted = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let class = if wanted.is_empty() {
        // Of several global defaults, the one with the lowest value counts.
        let defaults = api.store().list(classes).map(|class| class.value()).filter(|class| class["globalDefault"] == true);
        defaults.min_by_key(|class| class["value"].as_i64())
    } else {
        let found = api.store().get(classes, "", &wanted).map(|class| class.value());
        if found.is_none() {
            return Err(Status::forbidden(kind, &name, &format!("no PriorityClass with name {wanted} was found")));
        }
        found
    };
    let spec = &mut pod["spec"];
    let (value, policy) = match class {
        Some(class) => {
            spec["priorityClassName"] = class["metadata"]["name"].clone();
            (class["value"].as_i64().unwrap_or(0), class["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority").to_owned())
        }
        None => (0, "PreemptLowerPriority".to_owned()),
    };
    if spec["priority"].as_i64().is_some_and(|given| given != value) {
        return Err(Status::forbidden(
            kind,
            &name,
            &format!(
                "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name",
                spec["priority"]
            ),
        ));
    }
    spec["priority"] = json!(value);
    if spec["preemptionPolicy"].as_str().is_some_and(|given| given != policy) {
        return Err(Status::forbidden(
            kind,
            &name,
            &format!(
                "the string value of PreemptionPolicy ({}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name",
                spec["preemptionPolicy"].as_str().unwrap_or_default()
            ),
        ));
    }
    spec["preemptionPolicy"] = json!(policy);
    Ok(())
}

fn runtime_class(api: &Api, kind: &Kind, pod: &mut Value) -> Result<(), Status> {
    let Some(name) = pod["spec"]["runtimeClassName"].as_str().map(str::to_owned) else { return Ok(()) };
    let Some(class) = api.store().get("node.k8s.io/runtimeclasses", "", &name).map(|class| class.value()) else {
        let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Status::forbidden(kind, pod_name, &format!("pod rejected: RuntimeClass {name:?} not found")));
    };
    if let Some(overhead) = class["overhead"].get("podFixed") {
        pod["spec"]["overhead"] = overhead.clone();
    }
    for (key, value) in class["scheduling"]["nodeSelector"].as_object().into_iter().flatten() {
        if !pod["spec"]["nodeSelector"].is_object() {
            pod["spec"]["nodeSelector"] = json!({});
        }
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    if let Some(more) = class["scheduling"]["tolerations"].as_array() {
        let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        tolerations.extend(more.iter().cloned());
        pod["spec"]["tolerations"] = Value::from(tolerations);
    }
    Ok(())
}

/// `Guaranteed` when every container limits cpu and memory and asks for just that; `BestEffort` when none asks for any.
pub(crate) fn quality(spec: &Value) -> &'static str {
    let mut any = false;
    let mut all = true;
    let containers = ["containers", "initContainers"].iter().flat_map(|list| spec[*list].as_array().into_iter().flatten());
    let pod_level = spec.get("resources").filter(|resources| resources.as_object().is_some_and(|map| !map.is_empty()));
    let resources: Vec<&Value> = match pod_level {
        Some(resources) => vec![resources],
        None => containers.map(|container| &container["resources"]).collect(),
    };
    let empty = Map::new();
    for one in resources {
        let requests = one["requests"].as_object().unwrap_or(&empty);
        let limits = one["limits"].as_object().unwrap_or(&empty);
        for name in ["cpu", "memory"] {
            let amount = |map: &Map<String, Value>| {
                map.get(name)
                    .and_then(Value::as_str)
                    .and_then(|text| Quantity::parse(text).ok())
                    .filter(|quantity| *quantity > Quantity::ZERO)
            };
            let (request, limit) = (amount(requests), amount(limits));
            any |= request.is_some() || limit.is_some();
            let same =
                matches!((request, limit), (Some(request), Some(limit)) if request.partial_cmp(&limit) == Some(std::cmp::Ordering::Equal));
            all &= limit.is_some() && (same || request.is_none());
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
