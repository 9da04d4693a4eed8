//! Removes pods that no kubelet will ever remove.
//!
//! Source: `pkg/controller/podgc/gc_controller.go`: pods on nodes that are gone (after a quarantine), pods that are deleted but were never
//! bound, pods that are deleted on nodes that somebody took out of service, and the oldest of very many pods that have ended. It looks
//! every 20 s (here at multiples of twenty), which matters only to nodes out of service: the others go at once, or at the end of the
//! quarantine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::facts::{self, Ready};
use super::pods::{after, disruption_target, set_condition};
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, EventType, Object};
use crate::time;

/// gcCheckPeriod.
const LOOK_SECONDS: i64 = 20;
/// quarantineTime.
const QUARANTINE_SECONDS: i64 = 40;
/// So many pods that have ended may stay (`--terminated-pod-gc-threshold`).
const MOST_ENDED: usize = 12_500;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

#[derive(Default)]
pub(super) struct PodGc {
    /// Nodes that pods name and that are not there, and until when one waits for them.
    missing: BTreeMap<String, Timestamp>,
    /// Namespace and name of pods that have ended.
    ended: BTreeSet<(String, String)>,
    /// When it looks at pods on nodes that are out of service.
    look: Option<Timestamp>,
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
                ("nodes", _) => {
                    self.missing.remove(change.name());
                    if out_of_service(&change.object) {
                        self.look.get_or_insert(next_look(now));
                    }
                }
                ("pods", event @ (EventType::Added | EventType::Modified)) => {
                    let before = change.previous.as_ref().filter(|_| event == EventType::Modified);
                    if facts::pod(&change.object).finished && before.is_none_or(|before| !facts::pod(before).finished) {
                        self.ended.insert((change.namespace().to_owned(), change.name().to_owned()));
                    }
                    let node = &*facts::pod(&change.object).node;
                    let leaving = change.object.meta.deletion.is_some();
                    if leaving && node.is_empty() {
                        fail_and_delete(api, now, &change.object, None);
                    } else if leaving && api.store().get("nodes", "", node).is_some_and(|node| out_of_service(node)) {
                        self.look.get_or_insert(next_look(now));
                    } else if !node.is_empty() && api.store().get("nodes", "", node).is_none() {
                        self.missing.entry(node.to_owned()).or_insert(after(now, QUARANTINE_SECONDS));
                    }
                }
                ("pods", EventType::Deleted) => drop(self.ended.remove(&(change.namespace().to_owned(), change.name().to_owned()))),
                _ => {}
            }
        }
        self.forget_ended(api, now);
        if self.look.is_some_and(|at| at <= now) {
            self.look = None;
            let gone = |pod: &Object| api.store().get("nodes", "", &facts::pod(pod).node).is_some_and(|node| out_of_service(node));
            let leaving = |pod: &&Arc<Object>| pod.meta.deletion.is_some() && gone(pod);
            let pods: Vec<Arc<Object>> = api.store().list("pods").filter(leaving).cloned().collect();
            pods.iter().for_each(|pod| fail_and_delete(api, now, pod, None));
        }
        let over: BTreeSet<String> = self.missing.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        if !over.is_empty() {
            self.missing.retain(|name, _| !over.contains(name));
            collect(api, now, &over);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.missing.values().copied().chain(self.look).min()
    }

    fn unsettled(&self, api: &Api) -> Vec<String> {
        let gone = self.missing.keys().map(|node| format!("pods on node {node}, which is gone, are to be removed"));
        let held = |finalizers: &[String]| !finalizers.is_empty();
        let leaving = api.store().list("pods").filter(|pod| pod.meta.deletion.is_some() && !held(&pod.meta.finalizers));
        gone.chain(leaving.map(|pod| format!("pod {}/{} is terminating", pod.meta.namespace, pod.meta.name))).collect()
    }
}

impl PodGc {
    /// `gcTerminated`: evicted ones first, then the oldest.
    fn forget_ended(&self, api: &mut Api, now: Timestamp) {
        let Some(many) = self.ended.len().checked_sub(MOST_ENDED).filter(|many| *many > 0) else { return };
        let mut pods: Vec<Arc<Object>> =
            self.ended.iter().filter_map(|(namespace, name)| api.store().get("pods", namespace, name)).cloned().collect();
        let evicted = |pod: &Object| pod.value()["status"]["reason"] == "Evicted";
        let created = |pod: &Object| pod.value()["metadata"]["creationTimestamp"].as_str().map(str::to_owned);
        pods.sort_by_cached_key(|pod| (!evicted(pod), created(pod), pod.meta.name.clone()));
        pods.iter().take(many).for_each(|pod| fail_and_delete(api, now, pod, None));
    }
}

fn next_look(at: Timestamp) -> Timestamp {
    time::next_multiple(at, LOOK_SECONDS)
}

/// Somebody has said that the node will not come back, and it is not ready.
fn out_of_service(node: &Object) -> bool {
    let taints = &node.value()["spec"]["taints"];
    facts::node(node).ready != Some(Ready::True) && taints.as_array().into_iter().flatten().any(|taint| taint["key"] == OUT_OF_SERVICE)
}

fn collect(api: &mut Api, now: Timestamp, nodes: &BTreeSet<String>) {
    let orphaned = |pod: &Object| {
        let node = &*facts::pod(pod).node;
        nodes.contains(node) && api.store().get("nodes", "", node).is_none()
    };
    let pods: Vec<Arc<Object>> = api.store().list("pods").filter(|pod| orphaned(pod)).cloned().collect();
    for pod in pods {
        fail_and_delete(api, now, &pod, Some(disruption_target(&pod, "DeletionByPodGC", "PodGC: node no longer exists")));
    }
}

/// `markFailedAndDeletePodWithCondition`: no kubelet will say how it ended.
fn fail_and_delete(api: &mut Api, now: Timestamp, pod: &Object, condition: Option<Value>) {
    let (namespace, name) = (&pod.meta.namespace, &pod.meta.name);
    // Another one may bear its name by now, as a StatefulSet's pods do.
    if api.store().get("pods", namespace, name).is_none_or(|there| there.meta.uid != pod.meta.uid) {
        return;
    }
    if !facts::pod(pod).finished {
        let _ = api.update_with(now, "pods", namespace, name, Some("status"), |value| {
            value["status"]["phase"] = json!("Failed");
            if let Some(condition) = condition {
                set_condition(value, now, condition);
            }
        });
    }
    let _ = api.delete(now, "pods", namespace, name, DeleteOptions::now().if_uid(&pod.meta.uid));
}
