//! Removes pods that no kubelet will ever remove.
//!
//! Source: `pkg/controller/podgc/gc_controller.go`: pods on nodes that are gone (after a quarantine), and pods that are deleted but were
//! never bound. Upstream looks every 20 s; here at the end of the quarantine.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::json;

use super::facts;
use super::pods::{after, disruption_target, set_condition};
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, EventType, Object};

/// quarantineTime.
const QUARANTINE_SECONDS: i64 = 40;

#[derive(Default)]
pub(super) struct PodGc {
    /// Nodes that pods name and that are not there, and until when one waits for them.
    missing: BTreeMap<String, Timestamp>,
}

impl Controller for PodGc {
    fn name(&self) -> &'static str {
        "podgc"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        for change in changed {
            match (change.plural(), change.event) {
                ("nodes", EventType::Deleted) if api.store().list("pods").any(|pod| &*facts::pod(pod).node == change.name()) => {
                    self.missing.insert(change.name().to_owned(), after(now, QUARANTINE_SECONDS));
                }
                ("nodes", _) => drop(self.missing.remove(change.name())),
                ("pods", EventType::Added | EventType::Modified) => {
                    let node = &*facts::pod(&change.object).node;
                    if node.is_empty() && change.object.meta.deletion.is_some() {
                        let _ = api.delete(now, "pods", change.namespace(), change.name(), DeleteOptions::now());
                    } else if !node.is_empty() && api.store().get("nodes", "", node).is_none() {
                        self.missing.entry(node.to_owned()).or_insert(after(now, QUARANTINE_SECONDS));
                    }
                }
                _ => {}
            }
        }
        let over: BTreeSet<String> = self.missing.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        if !over.is_empty() {
            self.missing.retain(|name, _| !over.contains(name));
            collect(api, now, &over);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.missing.values().min().copied()
    }

    fn unsettled(&self, api: &Api) -> Vec<String> {
        let gone = self.missing.keys().map(|node| format!("pods on node {node}, which is gone, are to be removed"));
        let held = |finalizers: &[String]| !finalizers.is_empty();
        let leaving = api.store().list("pods").filter(|pod| pod.meta.deletion.is_some() && !held(&pod.meta.finalizers));
        gone.chain(leaving.map(|pod| format!("pod {}/{} is terminating", pod.meta.namespace, pod.meta.name))).collect()
    }
}

fn collect(api: &mut Api, now: Timestamp, nodes: &BTreeSet<String>) {
    let orphaned = |pod: &Object| {
        let node = &*facts::pod(pod).node;
        nodes.contains(node) && api.store().get("nodes", "", node).is_none()
    };
    let pods: Vec<_> = api.store().list("pods").filter(|pod| orphaned(pod)).cloned().collect();
    for pod in pods {
        let (namespace, name) = (&pod.meta.namespace, &pod.meta.name);
        if !facts::pod(&pod).finished {
            let target = disruption_target("DeletionByPodGC", "PodGC: node no longer exists");
            // Either fails only when the pod is gone already.
            let _ = api.update_with(now, "pods", namespace, name, Some("status"), |value| {
                value["status"]["phase"] = json!("Failed");
                set_condition(value, now, target);
            });
        }
        let _ = api.delete(now, "pods", namespace, name, DeleteOptions::now());
    }
}
