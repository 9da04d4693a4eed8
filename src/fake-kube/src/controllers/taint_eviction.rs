//! Deletes pods that do not tolerate their node's NoExecute taints, or no longer.
//!
//! Source: `pkg/controller/tainteviction/taint_eviction.go`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::events::Recorder;
use super::facts;
use super::pods::{Key, after, disruption_target, key_of, node_name, set_condition};
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, EventType, Object};

pub(super) struct TaintEviction {
    /// When pods go that tolerate for a while.
    due: BTreeMap<Key, Timestamp>,
    /// Those that it has deleted, until they are gone.
    marked: BTreeSet<Key>,
    /// Nodes with NoExecute taints.
    tainted: BTreeSet<String>,
    recorder: Recorder,
}

impl Default for TaintEviction {
    fn default() -> Self {
        TaintEviction {
            due: BTreeMap::new(),
            marked: BTreeSet::new(),
            tainted: BTreeSet::new(),
            recorder: Recorder::new("taint-eviction-controller"),
        }
    }
}

impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut dirty: BTreeSet<Key> = BTreeSet::new();
        for change in changed {
            match change.plural() {
                "nodes" => {
                    let taints = &facts::node(&change.object).no_execute;
                    let had = if taints.is_empty() || change.event == EventType::Deleted {
                        self.tainted.remove(change.name())
                    } else {
                        !self.tainted.insert(change.name().to_owned())
                    };
                    let before = change.previous.as_ref().map_or(&[][..], |before| &facts::node(before).no_execute);
                    if *taints != before || had != self.tainted.contains(change.name()) {
                        let here = |pod: &Object| &*facts::pod(pod).node == change.name();
                        dirty.extend(api.store().list("pods").filter(|pod| here(pod)).map(|pod| key_of(pod)));
                    }
                }
                "pods" if change.event == EventType::Deleted => {
                    self.marked.remove(&key_of(&change.object));
                    self.cancel(api, now, &change.object);
                }
                "pods" if self.tainted.contains(&*facts::pod(&change.object).node) => drop(dirty.insert(key_of(&change.object))),
                _ => {}
            }
        }
        for key in dirty {
            self.sync(api, now, key);
        }
        let late: Vec<Key> = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in late {
            self.due.remove(&key);
            self.evict(api, now, &key);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due.values().min().copied()
    }

    fn unsettled(&self, _: &Api) -> Vec<String> {
        self.due.keys().map(|(namespace, name)| format!("pod {namespace}/{name} tolerates its node's taint only for a while")).collect()
    }
}

impl TaintEviction {
    /// `processPodOnNode`. Pods that have ended or are ending are no exception.
    fn sync(&mut self, api: &mut Api, now: Timestamp, key: Key) {
        let Some(pod) = api.store().get("pods", &key.0, &key.1).cloned() else { return };
        let value = pod.value();
        let taints = api.store().get("nodes", "", node_name(&value)).map_or(&[][..], |node| &facts::node(node).no_execute);
        if taints.is_empty() {
            self.cancel(api, now, &pod);
            return;
        }
        match patience(taints, &value) {
            Patience::None => {
                self.cancel(api, now, &pod);
                self.evict(api, now, &key);
            }
            // A deadline that runs already stays, whatever it would be now.
            Patience::Seconds(_) if self.marked.contains(&key) => {}
            Patience::Seconds(seconds) => drop(self.due.entry(key).or_insert(after(now, seconds))),
            Patience::Endless => self.cancel(api, now, &pod),
        }
    }

    /// `cancelWorkWithEvent`: it was to be deleted, and need not be.
    fn cancel(&mut self, api: &mut Api, now: Timestamp, pod: &Object) {
        let key = key_of(pod);
        if self.due.remove(&key).is_some() {
            self.recorder.normal(api, now, pod, "TaintManagerEviction", &format!("Cancelling deletion of Pod {}/{}", key.0, key.1));
        }
    }

    fn evict(&mut self, api: &mut Api, now: Timestamp, key: &Key) {
        let Some(pod) = api.store().get("pods", &key.0, &key.1).cloned() else { return };
        if !self.marked.insert(key.clone()) {
            return;
        }
        self.recorder.normal(api, now, &pod, "TaintManagerEviction", &format!("Marking for deletion Pod {}/{}", key.0, key.1));
        let target = disruption_target(&pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
        // Either fails only when the pod is gone already.
        let _ = api.update_with(now, "pods", &key.0, &key.1, Some("status"), |value| {
            set_condition(value, now, target);
        });
        let _ = api.delete(now, "pods", &key.0, &key.1, DeleteOptions::default().if_uid(&pod.meta.uid));
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Patience {
    None,
    Seconds(i64),
    Endless,
}

/// The shortest time for which the pod tolerates all of the taints (getMinTolerationTime).
pub(super) fn patience(taints: &[(String, String)], pod: &Value) -> Patience {
    let tolerations: Vec<&Value> = pod["spec"]["tolerations"].as_array().into_iter().flatten().collect();
    let mut shortest: Option<i64> = None;
    for (key, value) in taints {
        let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, key, value)) else { return Patience::None };
        if let Some(seconds) = toleration["tolerationSeconds"].as_i64() {
            shortest = Some(shortest.map_or(seconds, |so_far| so_far.min(seconds)));
        }
    }
    match shortest {
        Some(seconds) if seconds <= 0 => Patience::None,
        Some(seconds) => Patience::Seconds(seconds),
        None => Patience::Endless,
    }
}

fn tolerates(toleration: &Value, key: &str, value: &str) -> bool {
    let text = |field: &str| toleration[field].as_str().unwrap_or_default();
    let value_matches = if text("operator") == "Exists" { true } else { text("value") == value };
    matches!(text("effect"), "" | "NoExecute") && (text("key").is_empty() || text("key") == key) && value_matches
}
