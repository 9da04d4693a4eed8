//! Keeps a node's taints in step with its conditions, and notices kubelets that have gone silent.
//!
//! Source: `pkg/controller/nodelifecycle/node_lifecycle_controller.go`, constants in `config/v1alpha1/defaults.go`. Taints come at once;
//! upstream limits NoExecute ones to one node per zone in ten seconds.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::facts;
use super::pods::{after, condition, set_condition};
use crate::api::Api;
use crate::controller::Controller;
use crate::store::{Change, EventType, Object};
use crate::time;

/// Without a sign of life for so long, a kubelet counts as gone (NodeMonitorGracePeriod).
const GRACE_SECONDS: i64 = 50;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Which taint a condition brings: type, status, taint.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

#[derive(Default)]
pub(super) struct Nodes {
    /// The last sign of life of nodes that have a stored lease. Others renew theirs without anybody storing it.
    alive: BTreeMap<String, Timestamp>,
}

impl Controller for Nodes {
    fn name(&self) -> &'static str {
        "nodelifecycle"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut dirty = BTreeSet::new();
        for change in changed {
            match (change.plural(), change.namespace(), change.event) {
                ("nodes", _, EventType::Deleted) => drop(self.alive.remove(change.name())),
                ("nodes", _, _) => {
                    if heartbeat(&change.object) != change.previous.as_ref().and_then(|before| heartbeat(before))
                        && let Some(at) = self.alive.get_mut(change.name())
                    {
                        *at = now;
                    }
                    dirty.insert(change.name().to_owned());
                }
                ("coordination.k8s.io/leases", "kube-node-lease", EventType::Deleted) => drop(self.alive.remove(change.name())),
                ("coordination.k8s.io/leases", "kube-node-lease", _) => drop(self.alive.insert(change.name().to_owned(), now)),
                _ => {}
            }
        }
        let silent: Vec<String> =
            self.alive.iter().filter(|(_, at)| after(**at, GRACE_SECONDS) <= now).map(|(name, _)| name.clone()).collect();
        for name in silent {
            self.alive.remove(&name);
            mark_unknown(api, now, &name);
            dirty.insert(name);
        }
        for name in dirty {
            sync(api, now, &name);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.alive.values().map(|at| after(*at, GRACE_SECONDS)).min()
    }
}

fn heartbeat(node: &Object) -> Option<String> {
    condition(&node.value(), "Ready").map(|ready| ready["lastHeartbeatTime"].to_string())
}

fn sync(api: &mut Api, now: Timestamp, name: &str) {
    let Some(node) = api.store().get("nodes", "", name).cloned() else { return };
    let value = node.value();
    let wanted = wanted_taints(&value);
    let current = value["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let same = |taint: &Value, key: &str, effect: &str| taint["key"] == key && taint["effect"] == effect;
    let mut taints: Vec<Value> =
        current.iter().filter(|taint| !managed(taint) || wanted.iter().any(|(key, effect)| same(taint, key, effect))).cloned().collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| same(taint, key, effect)) {
            taints.push(json!({ "key": key, "effect": effect, "timeAdded": time::seconds(now) }));
        }
    }
    if taints != current {
        // Deleted meanwhile: then its taints do not matter.
        let _ = api.update_with(now, "nodes", "", name, None, |node| {
            if taints.is_empty() {
                if let Some(spec) = node["spec"].as_object_mut() {
                    spec.shift_remove("taints");
                }
            } else {
                node["spec"]["taints"] = Value::from(taints);
            }
        });
    }
    if condition(&value, "Ready").is_some_and(|ready| ready["status"] != "True") {
        mark_pods_not_ready(api, now, name);
    }
}

fn wanted_taints(node: &Value) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    for (kind, status, taint) in BY_CONDITION {
        if condition(node, kind).is_some_and(|one| one["status"] == status) {
            wanted.push((taint, "NoSchedule"));
            if kind == "Ready" {
                wanted.push((taint, "NoExecute"));
            }
        }
    }
    if node["spec"]["unschedulable"] == true {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    wanted
}

fn managed(taint: &Value) -> bool {
    let key = taint["key"].as_str().unwrap_or_default();
    match taint["effect"].as_str() {
        Some("NoSchedule") => key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, taint)| *taint == key),
        Some("NoExecute") => key == NOT_READY || key == UNREACHABLE,
        _ => false,
    }
}

/// The kubelet is silent: nobody knows its conditions (tryUpdateNodeHealth).
fn mark_unknown(api: &mut Api, now: Timestamp, name: &str) {
    let _ = api.update_with(now, "nodes", "", name, Some("status"), |node| {
        for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
            let known = condition(node, kind).is_some();
            let (reason, message) = if known {
                ("NodeStatusUnknown", "Kubelet stopped posting node status.")
            } else {
                ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
            };
            set_condition(node, now, json!({ "type": kind, "status": "Unknown", "reason": reason, "message": message }));
        }
    });
}

/// `pkg/controller/util/node/controller_utils.go`, MarkPodsNotReady.
fn mark_pods_not_ready(api: &mut Api, now: Timestamp, node: &str) {
    let ready = |pod: &Object| &*facts::pod(pod).node == node && facts::pod(pod).ready_since.is_some();
    let pods: Vec<(String, String)> =
        api.store().list("pods").filter(|pod| ready(pod)).map(|pod| (pod.meta.namespace.clone(), pod.meta.name.clone())).collect();
    for (namespace, name) in pods {
        let _ = api.update_with(now, "pods", &namespace, &name, Some("status"), |pod| {
            set_condition(pod, now, json!({ "type": "Ready", "status": "False" }));
        });
    }
}
