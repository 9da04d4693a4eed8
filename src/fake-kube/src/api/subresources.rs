//! Subresources that are verbs: binding, eviction, scale.
//!
//! Source: `k8s.io/kubernetes/pkg/registry/core/pod/storage/{storage,eviction}.go`, `pkg/registry/apps/*/storage/storage.go`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Api, DeleteOptions, Target, WriteOptions};
use crate::kinds::{Kind, Scale};
use crate::select::Labels;
use crate::status::Status;
use crate::store::Object;
use crate::time;

/// How long a budget remembers a pod that was evicted but is still there (`DeletionTimeout`).
const DISRUPTED_POD_LIMIT: usize = 2000;

impl Api {
    /// `pods/binding`: sets `spec.nodeName` and the condition PodScheduled.
    pub fn bind(&mut self, now: Timestamp, namespace: &str, pod: &str, node: &str) -> Result<Arc<Object>, Status> {
        let kind = self.known("pods")?;
        let bound = self.bound(now, namespace, pod, node)?;
        Ok(self.put(now, &kind, bound))
    }

    /// The pod as it would be bound.
    pub(crate) fn bound(&self, now: Timestamp, namespace: &str, pod: &str, node: &str) -> Result<Value, Status> {
        let kind = self.known("pods")?;
        let old = self.existing(&kind, namespace, pod)?.clone();
        let refuse = |why: String| Status::conflict(&pods_binding(&kind), pod, &why);
        if old.meta.deletion.is_some() {
            return Err(refuse(format!("pod {pod} is being deleted, cannot be assigned to a host")));
        }
        let value = old.value();
        let bound = value["spec"]["nodeName"].as_str().unwrap_or_default();
        if !bound.is_empty() {
            return Err(refuse(format!("pod {pod} is already assigned to node {bound:?}")));
        }
        if value["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
            return Err(refuse(format!("pod {pod} has non-empty .spec.schedulingGates")));
        }
        let mut new = (*value).clone();
        new["spec"]["nodeName"] = Value::from(node);
        // A promise is kept by now (the gate ClearingNominatedNodeNameAfterBinding, on since 1.35).
        if let Some(status) = new["status"].as_object_mut() {
            status.shift_remove("nominatedNodeName");
        }
        self.label_with_place(&mut new, node);
        set_condition(
            &mut new,
            json!({
                "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": time::seconds(now),
            }),
        );
        // Binding is no update of the spec: the generation stays (`assignPod`), and what was true for the API stays valid.
        super::metadata::arrange(&mut new, &kind);
        Ok(new)
    }

    /// A bound pod says where it is (PodTopologyLabelsAdmission, `plugin/pkg/admission/podtopologylabels`; on by default since 1.35).
    fn label_with_place(&self, pod: &mut Value, node: &str) {
        let Some(node) = self.store.get("nodes", "", node) else { return };
        for key in ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"] {
            if let Some(value) = node.meta.labels.get(key) {
                if !pod["metadata"]["labels"].is_object() {
                    pod["metadata"]["labels"] = json!({});
                }
                pod["metadata"]["labels"][key] = Value::from(value.clone());
            }
        }
    }

    /// `pods/eviction`: deletes the pod unless that breaks a budget.
    pub fn evict(&mut self, now: Timestamp, namespace: &str, pod: &str, options: &DeleteOptions) -> Result<(), Status> {
        let kind = self.known("pods")?;
        let old = self.existing(&kind, namespace, pod)?.clone();
        let value = old.value();
        let target = Target { kind: &kind, version: &kind.version, namespace, name: pod, subresource: None };
        // Finished and pending pods, and those that terminate already, count for no budget (`canIgnorePDB`).
        let free = matches!(value["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending")) || old.meta.deletion.is_some();
        if free {
            return self.delete_evicted(now, target, options);
        }
        let budgets: Vec<Arc<Object>> = self
            .store
            .list_in("policy/poddisruptionbudgets", namespace)
            .filter(|budget| Labels::of(&budget.value()["spec"]["selector"]).is_some_and(|selector| selector.matches(&old.meta.labels)))
            .cloned()
            .collect();
        match budgets.as_slice() {
            [] => {}
            [budget] => self.spend(now, budget, &old, &value, options.dry_run)?,
            _ => {
                let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                return Err(Status::internal(message).plain(message));
            }
        }
        self.delete_evicted(now, target, options)
    }

    /// Says why the pod goes, then deletes it (`k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go`, addConditionAndDeletePod).
    fn delete_evicted(&mut self, now: Timestamp, target: Target, options: &DeleteOptions) -> Result<(), Status> {
        let mut options = options.clone();
        if !options.dry_run {
            // What is asked of the pod is asked before it is written to.
            self.delete_with(now, target, &DeleteOptions { dry_run: true, ..options.clone() })?;
            let mut new = (*self.existing(target.kind, target.namespace, target.name)?.value()).clone();
            set_condition(
                &mut new,
                json!({
                    "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
                    "lastProbeTime": null, "lastTransitionTime": time::seconds(now),
                }),
            );
            super::metadata::arrange(&mut new, target.kind);
            self.put(now, target.kind, new);
            options.preconditions.resource_version = None;
        }
        self.delete_with(now, target, &options).map(drop)
    }

    /// Takes one disruption from a budget, or refuses.
    fn spend(&mut self, now: Timestamp, budget: &Object, pod: &Object, pod_value: &Value, dry_run: bool) -> Result<(), Status> {
        let value = budget.value();
        let status = &value["status"];
        let number = |key: &str| status[key].as_i64().unwrap_or(0);
        let ready = conditions(pod_value).any(|one| one["type"] == "Ready" && one["status"] == "True");
        let policy = value["spec"]["unhealthyPodEvictionPolicy"].as_str().unwrap_or("IfHealthyBudget");
        // An unhealthy pod may go when the budget is met without it, or always, as the policy says.
        if !ready && (policy == "AlwaysAllow" || (number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0)) {
            return Ok(());
        }
        let name = &budget.meta.name;
        let too_many = || Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0);
        if number("observedGeneration") < budget.meta.generation {
            let cause = format!("The disruption budget {name} is still being processed by the server.");
            return Err(Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 10).with_cause(
                "DisruptionBudget",
                cause,
                "",
            ));
        }
        let allowed = number("disruptionsAllowed");
        if allowed < 0 {
            return Err(Status::forbidden(&pdb_kind(budget), name, "pdb disruptions allowed is negative"));
        }
        if status["disruptedPods"].as_object().is_some_and(|map| map.len() > DISRUPTED_POD_LIMIT) {
            return Err(Status::forbidden(
                &pdb_kind(budget),
                name,
                "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
            ));
        }
        if allowed == 0 {
            let mut cause = format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                number("desiredHealthy"),
                number("currentHealthy")
            );
            if let Some(one) = conditions(&value).find(|one| one["type"] == "DisruptionAllowed" && one["reason"] == "SyncFailed") {
                cause = format!(
                    "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
                    one["message"].as_str().unwrap_or_default()
                );
            }
            return Err(too_many().with_cause("DisruptionBudget", cause, ""));
        }
        if dry_run {
            return Ok(());
        }
        let pod = pod.meta.name.clone();
        self.update_with(now, "policy/poddisruptionbudgets", &budget.meta.namespace, name, Some("status"), |value| {
            let status = &mut value["status"];
            status["disruptionsAllowed"] = Value::from(allowed - 1);
            if !status["disruptedPods"].is_object() {
                status["disruptedPods"] = json!({});
            }
            status["disruptedPods"][pod] = Value::from(time::seconds(now));
            if allowed == 1 {
                set_condition(value, json!({
                    "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "", "lastTransitionTime": time::seconds(now),
                    "observedGeneration": budget.meta.generation,
                }));
            }
        })?;
        Ok(())
    }

    /// `scale`, as `autoscaling/v1 Scale`.
    pub(crate) fn scale_of(&self, object: &Object) -> Option<Value> {
        let scale = object.kind.scale.as_ref()?;
        let value = object.value();
        let meta = &value["metadata"];
        let mut status = json!({ "replicas": at(&value, &scale.status_replicas).as_i64().unwrap_or(0) });
        if let Some(text) = selector_text(scale, &value) {
            status["selector"] = Value::from(text);
        }
        let mut spec = json!({});
        if let Some(replicas) = at(&value, &scale.spec_replicas).as_i64().filter(|&replicas| replicas != 0) {
            spec["replicas"] = Value::from(replicas);
        }
        let mut scaled = json!({ "name": meta["name"] });
        for key in ["namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = meta.get(key) {
                scaled[key] = value.clone();
            }
        }
        Some(json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": scaled, "spec": spec, "status": status }))
    }

    /// Writes `spec.replicas` of a `Scale` into its object.
    pub(crate) fn scale_to(&mut self, now: Timestamp, target: Target, body: &Value, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        let kind = target.kind;
        let Some(scale) = &kind.scale else { return Err(Status::no_such_resource()) };
        let old = self.existing(kind, target.namespace, target.name)?.clone();
        let wanted = body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !wanted.is_empty() && wanted != old.meta.resource_version.to_string() {
            return Err(Status::modified(kind, target.name));
        }
        let replicas = body["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let error = crate::status::FieldError::invalid("spec.replicas", &Value::from(replicas), "must be greater than or equal to 0");
            return Err(Status::invalid(&scale_kind(kind), target.name, vec![error]));
        }
        let mut value = (*old.value()).clone();
        let mut place = &mut value;
        for key in scale.spec_replicas.split('.') {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[key];
        }
        *place = Value::from(replicas);
        let target = Target { subresource: Some("scale"), ..target };
        self.update_to(now, target, value, options).map(|written| written.object)
    }
}

impl Status {
    /// The same error without the server's prefix.
    fn plain(mut self, message: &str) -> Status {
        self.message = message.to_owned();
        self
    }
}

fn selector_text(scale: &Scale, value: &Value) -> Option<String> {
    if let Some(path) = &scale.selector {
        return at(value, path).as_str().map(str::to_owned);
    }
    let labels = match &value["spec"]["selector"] {
        selector if selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some() => {
            selector["matchLabels"].as_object()
        }
        selector => selector.as_object(),
    };
    let mut pairs: Vec<String> = labels?.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    pairs.sort();
    Some(pairs.join(","))
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| &value[key])
}

fn conditions(value: &Value) -> impl Iterator<Item = &Value> {
    value["status"]["conditions"].as_array().into_iter().flatten()
}

/// Replaces the condition of the same type, or adds it.
pub(crate) fn set_condition(object: &mut Value, condition: Value) {
    let list = &mut object["status"]["conditions"];
    if !list.is_array() {
        *list = json!([]);
    }
    if let Value::Array(list) = list {
        match list.iter_mut().find(|one| one["type"] == condition["type"]) {
            Some(found) => *found = condition,
            None => list.push(condition),
        }
    }
}

fn pods_binding(pods: &Kind) -> Kind {
    named(pods, "pods/binding", "Binding")
}

fn pdb_kind(budget: &Object) -> Kind {
    named(&budget.kind, "poddisruptionbudgets", "PodDisruptionBudget")
}

fn scale_kind(kind: &Kind) -> Kind {
    let mut kind = named(kind, &kind.plural, "Scale");
    kind.group = "autoscaling".to_owned();
    kind
}

/// A kind for error messages alone.
fn named(like: &Kind, plural: &str, kind: &str) -> Kind {
    Kind {
        key: like.key.clone(),
        group: like.group.clone(),
        version: like.version.clone(),
        kind: kind.to_owned(),
        list_kind: String::new(),
        plural: plural.to_owned(),
        singular: String::new(),
        namespaced: like.namespaced,
        short_names: Vec::new(),
        categories: Vec::new(),
        status: false,
        scale: None,
        selectable: Vec::new(),
        versions: Vec::new(),
    }
}
