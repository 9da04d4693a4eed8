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
        let Expectation { expected, desired, unmanaged } = match expectation(api, &value["spec"], &pods) {
            Ok(found) => found,
            Err(why) => {
                let message = format!("Failed to calculate the number of expected pods: {why}");
                self.recorder.warning(api, now, &budget, "CalculateExpectedPodCountFailed", &message);
                return fail_safe(api, now, key, &why);
            }
        };
        if unmanaged {
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB cannot be \
                 calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the \
                 PDB to an integer value.",
                as_go_writes(&value["spec"]["selector"])
            );
            self.recorder.warning(api, now, &budget, "UnmanagedPods", &message);
        }
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

/// Nobody may be evicted under a budget that cannot be computed (failSafe).
fn fail_safe(api: &mut Api, now: Timestamp, key: &Key, why: &str) {
    // Deleted meanwhile: then its numbers do not matter.
    let _ = api.update_with(now, PLURAL, &key.0, &key.1, Some("status"), |object| {
        object["status"]["disruptionsAllowed"] = json!(0);
        let seen = object["status"]["observedGeneration"].clone();
        let mut condition = json!({ "type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": why });
        // Go leaves out a zero.
        if !seen.is_null() {
            condition["observedGeneration"] = seen;
        }
        set_condition(object, now, condition);
    });
}

/// A selector in Go's rendering, as the event quotes it.
fn as_go_writes(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels: BTreeMap<&String, &str> = labels.map(|(key, value)| (key, value.as_str().unwrap_or_default())).collect();
    let labels: String = labels.iter().map(|(key, value)| format!("{key}: {value},")).collect();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |one: &Value| {
        let values: Vec<String> = one["values"].as_array().into_iter().flatten().map(text).collect();
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},", text(&one["key"]), text(&one["operator"]), values.join(" "))
    };
    let expressions: String = expressions.map(one).collect();
    format!("&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}")
}

struct Expectation {
    expected: i64,
    /// How many of them have to be healthy.
    desired: i64,
    /// Whether there are pods without a controller, which cannot be counted.
    unmanaged: bool,
}

/// getExpectedPodCount. `Err` says which pod's controller has no size.
fn expectation(api: &Api, spec: &Value, pods: &[Arc<Object>]) -> Result<Expectation, String> {
    if let Some(most) = spec.get("maxUnavailable").filter(|value| !value.is_null()) {
        let (expected, unmanaged) = expected_scale(api, pods)?;
        return Ok(Expectation { expected, desired: (expected - scaled(most, expected, true).unwrap_or(0)).max(0), unmanaged });
    }
    let many = pods.len() as i64;
    let Some(least) = spec.get("minAvailable").filter(|value| !value.is_null()) else {
        return Ok(Expectation { expected: many, desired: 0, unmanaged: false });
    };
    if let Some(number) = least.as_i64() {
        return Ok(Expectation { expected: many, desired: number, unmanaged: false });
    }
    let (expected, unmanaged) = expected_scale(api, pods)?;
    Ok(Expectation { expected, desired: scaled(least, expected, true).unwrap_or(0), unmanaged })
}

/// The sizes of the workloads that control these pods, and whether there are pods without one (getExpectedScale).
fn expected_scale(api: &Api, pods: &[Arc<Object>]) -> Result<(i64, bool), String> {
    let (mut sizes, mut unmanaged): (BTreeMap<String, i64>, bool) = (BTreeMap::new(), false);
    for pod in pods {
        let Some(owner) = pod.meta.controller() else {
            unmanaged = true;
            continue;
        };
        let namespace = &pod.meta.namespace;
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let kind = api.store().kinds().find(|kind| kind.group == group && kind.kind == owner.kind);
        let kind = kind.ok_or_else(|| format!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version))?;
        if kind.scale.is_none() {
            let dotted = if kind.group.is_empty() { String::new() } else { format!(".{}", kind.group) };
            return Err(format!("{}{dotted} does not implement the scale subresource", kind.plural));
        }
        let found = api.store().get(&kind.key, namespace, &owner.name).filter(|workload| workload.meta.uid == owner.uid);
        let workload = found.ok_or_else(|| format!("found no controllers for pod {:?}", pod.meta.name))?;
        let deployment = workload.meta.controller().filter(|owner| owner.kind == "Deployment");
        let top = deployment.and_then(|owner| api.store().get("apps/deployments", namespace, &owner.name));
        let size = match top {
            Some(deployment) => number(&deployment.value(), "/spec/replicas"),
            None => number(&api.scale_of(workload).unwrap_or_default(), "/spec/replicas"),
        };
        sizes.insert(top.unwrap_or(workload).meta.uid.clone(), size);
    }
    Ok((sizes.into_values().fold(0, i64::saturating_add), unmanaged))
}
