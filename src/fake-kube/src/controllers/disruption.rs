//! Keeps the numbers of PodDisruptionBudgets, from which evictions are allowed or refused.
//!
//! Source: `pkg/controller/disruption/disruption.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::Recorder;
use super::pods::{Key, after, finished, key_of, number, ready_since, scaled, set_condition};
use crate::api::Api;
use crate::controller::Controller;
use crate::select::Labels;
use crate::store::{Change, Object};

const PLURAL: &str = "policy/poddisruptionbudgets";
/// How long an evicted pod that is still there counts as gone (DeletionTimeout).
const DELETION_TIMEOUT_SECONDS: i64 = 120;

pub(super) struct Disruption {
    /// When a pod that was evicted and is still there counts again.
    due: BTreeMap<Key, Timestamp>,
    recorder: Recorder,
}

impl Default for Disruption {
    fn default() -> Self {
        Disruption { due: BTreeMap::new(), recorder: Recorder::new("controllermanager") }
    }
}

impl Controller for Disruption {
    fn name(&self) -> &'static str {
        "disruption"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut dirty: BTreeSet<Key> = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for change in changed {
            match change.plural() {
                PLURAL => drop(dirty.insert(key_of(&change.object))),
                "pods" => dirty.extend(budgets_of(api, change)),
                "apps/deployments" | "apps/replicasets" | "apps/statefulsets" => {
                    dirty.extend(api.store().list_in(PLURAL, change.namespace()).map(|budget| key_of(budget)));
                }
                _ => {}
            }
        }
        for key in dirty {
            self.due.remove(&key);
            self.sync(api, now, &key);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due.values().min().copied()
    }

    fn unsettled(&self, _: &Api) -> Vec<String> {
        Vec::new()
    }
}

fn budgets_of(api: &Api, change: &Change) -> Vec<Key> {
    let labels = [Some(&change.object), change.previous.as_ref()].into_iter().flatten().map(|object| &object.meta.labels);
    let labels: Vec<_> = labels.collect();
    let selects = |budget: &&Arc<Object>| {
        Labels::of(&budget.value()["spec"]["selector"]).is_some_and(|selector| labels.iter().any(|labels| selector.matches(labels)))
    };
    api.store().list_in(PLURAL, change.namespace()).filter(selects).map(|budget| key_of(budget)).collect()
}

impl Disruption {
    fn sync(&mut self, api: &mut Api, now: Timestamp, key: &Key) {
        let Some(budget) = api.store().get(PLURAL, &key.0, &key.1).cloned() else { return };
        let value = budget.value();
        let selector = Labels::of(&value["spec"]["selector"]);
        let selected = |pod: &&Arc<Object>| selector.as_ref().is_some_and(|selector| selector.matches(&pod.meta.labels));
        let pods: Vec<Arc<Object>> =
            api.store().list_in("pods", &key.0).filter(selected).filter(|pod| !finished(&pod.value())).cloned().collect();
        if pods.is_empty() {
            self.recorder.normal(api, now, &budget, "NoPods", "No matching pods found");
        }
        let (expected, desired) = expectation(api, &value["spec"], &pods);
        let disrupted = self.still_disrupted(&value, &pods, now, key);
        let healthy = pods
            .iter()
            .filter(|pod| pod.meta.deletion.is_none() && !disrupted.contains_key(&pod.meta.name) && ready_since(&pod.value()).is_some())
            .count() as i64;
        let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
        let written = api.update_with(now, PLURAL, &key.0, &key.1, Some("status"), |object| {
            let status = &mut object["status"];
            status["currentHealthy"] = json!(healthy);
            status["desiredHealthy"] = json!(desired);
            status["expectedPods"] = json!(expected);
            status["disruptionsAllowed"] = json!(allowed);
            status["observedGeneration"] = json!(budget.meta.generation);
            if let Some(map) = status.as_object_mut() {
                map.shift_remove("disruptedPods");
            }
            if !disrupted.is_empty() {
                status["disruptedPods"] = json!(disrupted);
            }
            let (state, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
            let condition = json!({ "type": "DisruptionAllowed", "status": state, "reason": reason, "message": "", "observedGeneration": budget.meta.generation });
            set_condition(object, now, condition);
        });
        // Deleted meanwhile: then its numbers do not matter.
        drop(written);
    }

    /// Pods whose eviction was granted and whose deletion nobody has seen yet (buildDisruptedPodMap).
    fn still_disrupted(&mut self, budget: &Value, pods: &[Arc<Object>], now: Timestamp, key: &Key) -> BTreeMap<String, Value> {
        let mut still = BTreeMap::new();
        for (name, at) in budget["status"]["disruptedPods"].as_object().into_iter().flatten() {
            let there = pods.iter().any(|pod| pod.meta.name == *name && pod.meta.deletion.is_none());
            let Some(until) = at.as_str().and_then(|text| text.parse().ok()).map(|at| after(at, DELETION_TIMEOUT_SECONDS)) else {
                continue;
            };
            if there && until > now {
                still.insert(name.clone(), at.clone());
                let due = self.due.entry(key.clone()).or_insert(until);
                *due = (*due).min(until);
            }
        }
        still
    }
}

/// Expected pods, and how many of them have to be healthy (getExpectedPodCount).
fn expectation(api: &Api, spec: &Value, pods: &[Arc<Object>]) -> (i64, i64) {
    if let Some(most) = spec.get("maxUnavailable").filter(|value| !value.is_null()) {
        let expected = expected_scale(api, pods);
        return (expected, (expected - scaled(most, expected, true).unwrap_or(0)).max(0));
    }
    let Some(least) = spec.get("minAvailable").filter(|value| !value.is_null()) else { return (pods.len() as i64, 0) };
    if let Some(number) = least.as_i64() {
        return (pods.len() as i64, number);
    }
    let expected = expected_scale(api, pods);
    (expected, scaled(least, expected, true).unwrap_or(0))
}

/// The sizes of the workloads that control these pods (getExpectedScale). Pods without one cannot be counted.
fn expected_scale(api: &Api, pods: &[Arc<Object>]) -> i64 {
    let mut sizes: BTreeMap<String, i64> = BTreeMap::new();
    for pod in pods {
        let Some(owner) = pod.meta.controller() else { continue };
        let namespace = &pod.meta.namespace;
        let found = match owner.kind.as_str() {
            "ReplicaSet" => api.store().get("apps/replicasets", namespace, &owner.name),
            "StatefulSet" => api.store().get("apps/statefulsets", namespace, &owner.name),
            "ReplicationController" => api.store().get("replicationcontrollers", namespace, &owner.name),
            _ => None,
        };
        let Some(workload) = found.filter(|workload| workload.meta.uid == owner.uid) else { continue };
        let deployment = workload.meta.controller().filter(|owner| owner.kind == "Deployment");
        let top = deployment.and_then(|owner| api.store().get("apps/deployments", namespace, &owner.name)).unwrap_or(workload);
        sizes.insert(top.meta.uid.clone(), number(&top.value(), "/spec/replicas"));
    }
    sizes.values().sum()
}
