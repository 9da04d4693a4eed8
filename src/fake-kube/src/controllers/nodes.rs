//! Keeps a node's taints in step with its conditions, notices kubelets that have gone silent, and tells what becomes of nodes.
//!
//! Source: `pkg/controller/nodelifecycle/node_lifecycle_controller.go`, constants in `config/v1alpha1/defaults.go`. NoSchedule taints come
//! at once; all else happens when it looks, every five seconds (here at multiples of five). How fast NoExecute taints come is in
//! [`zones`](super::zones).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::Recorder;
use super::facts::{self, Ready};
use super::pods::{after, condition, set_condition};
use super::zones::Zones;
use crate::api::Api;
use crate::controller::Controller;
use crate::store::{Change, EventType, Object};
use crate::time;

/// How often all nodes are looked at (NodeMonitorPeriod).
const LOOK_SECONDS: i64 = 5;
/// Without a sign of life for so long, a kubelet counts as gone (NodeMonitorGracePeriod).
const GRACE_SECONDS: i64 = 50;
/// The same for one that has never said how it is (NodeStartupGracePeriod).
const STARTUP_GRACE_SECONDS: i64 = 60;

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

/// How long a kubelet may keep what it has read, in seconds, by the number of nodes: from so many on, up to so many, the annotation's
/// value. They overlap, so that it does not move to and fro (`pkg/controller/ttl/ttl_controller.go`).
const TTL: [(usize, usize, &str); 5] = [(0, 100, "0"), (90, 500, "15"), (450, 1000, "30"), (900, 2000, "60"), (1800, usize::MAX, "300")];
const TTL_ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// Labels that follow others (labelReconcileInfo).
const LABELS: [(&str, &str); 2] = [("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];

pub(super) struct Nodes {
    /// When nodes count as gone that have a stored lease, or have never said how they are. Others renew theirs without anybody
    /// storing it.
    deadlines: BTreeMap<String, Timestamp>,
    known: BTreeMap<String, Arc<Object>>,
    zones: Zones,
    /// Which of [`TTL`].
    ttl: usize,
    /// When it looks at all nodes, if anything has changed.
    look: Option<Timestamp>,
    recorder: Recorder,
}

impl Default for Nodes {
    fn default() -> Self {
        Nodes {
            deadlines: BTreeMap::new(),
            known: BTreeMap::new(),
            zones: Zones::default(),
            ttl: 0,
            look: None,
            recorder: Recorder::new("node-controller"),
        }
    }
}

impl Controller for Nodes {
    fn name(&self) -> &'static str {
        "nodelifecycle"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut dirty = BTreeSet::new();
        for change in changed {
            match (change.plural(), change.namespace(), change.event) {
                ("nodes", _, EventType::Deleted) => {
                    self.deadlines.remove(change.name());
                    self.look.get_or_insert(next_look(now));
                    self.set_ttl(api.store().len("nodes"));
                }
                ("nodes", _, event) => {
                    self.hear(now, change);
                    if event == EventType::Added {
                        self.set_ttl(api.store().len("nodes"));
                    }
                    dirty.insert(change.name().to_owned());
                }
                ("coordination.k8s.io/leases", "kube-node-lease", EventType::Deleted) => drop(self.deadlines.remove(change.name())),
                ("coordination.k8s.io/leases", "kube-node-lease", _) => {
                    self.deadlines.insert(change.name().to_owned(), after(now, GRACE_SECONDS));
                }
                _ => {}
            }
        }
        for name in dirty {
            sync_taints(api, now, &name);
            sync_labels(api, now, &name, TTL[self.ttl].2);
        }
        if self.next_look().is_some_and(|at| at <= now) {
            self.look = None;
            self.look_at_all(api, now);
        }
        for name in self.zones.due(now) {
            drive_away(api, now, &name);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.next_look().into_iter().chain(self.zones.next_due()).min()
    }

    fn unsettled(&self, api: &Api) -> Vec<String> {
        let waiting = self.zones.waiting().map(|name| format!("node {name} is to be tainted"));
        let unwell = |node: &Arc<Object>| facts::node(node).ready != Some(Ready::True);
        let looked_at = self.look.is_some().then(|| api.store().list("nodes").filter(|node| unwell(node)));
        let unwell = looked_at.into_iter().flatten().map(|node| format!("node {} is not ready and is to be looked at", node.meta.name));
        waiting.chain(unwell).collect()
    }
}

impl Nodes {
    fn next_look(&self) -> Option<Timestamp> {
        self.look.into_iter().chain(self.deadlines.values().min().map(|at| next_look(*at))).min()
    }

    /// Nodes are told when they change next, not all at once.
    fn set_ttl(&mut self, nodes: usize) {
        while nodes > TTL[self.ttl].1 {
            self.ttl += 1;
        }
        while nodes < TTL[self.ttl].0 {
            self.ttl -= 1;
        }
    }

    /// A node has come or has changed.
    fn hear(&mut self, now: Timestamp, change: &Change) {
        let (node, before) = (facts::node(&change.object), change.previous.as_ref().map(|before| facts::node(before)));
        if node.ready.is_none() {
            self.deadlines.entry(change.name().to_owned()).or_insert_with(|| after(now, STARTUP_GRACE_SECONDS));
        } else if before.is_some_and(|before| before.ready.is_none()) {
            // From now on it is known by its lease, if by anything.
            self.deadlines.remove(change.name());
        } else if heartbeat(&change.object) != change.previous.as_ref().and_then(|before| heartbeat(before))
            && let Some(at) = self.deadlines.get_mut(change.name())
        {
            *at = after(now, GRACE_SECONDS);
        }
        let same = |before: &facts::NodeFacts| {
            before.ready == node.ready
                && before.no_execute == node.no_execute
                && before.zone == node.zone
                && before.excluded == node.excluded
        };
        if !before.is_some_and(same) {
            // One that is late already stays due, however much changes meanwhile.
            self.look.get_or_insert(next_look(now));
        }
    }

    /// `monitorNodeHealth`.
    fn look_at_all(&mut self, api: &mut Api, now: Timestamp) {
        let nodes: Vec<Arc<Object>> = api.store().list("nodes").cloned().collect();
        let there: BTreeMap<String, Arc<Object>> = nodes.iter().map(|node| (node.meta.name.clone(), Arc::clone(node))).collect();
        let known = std::mem::take(&mut self.known);
        for (name, node) in there.iter().filter(|(name, _)| !known.contains_key(*name)) {
            self.recorder.normal(api, now, node, "RegisteredNode", &format!("Node {name} event: Registered Node {name} in Controller"));
            self.reached(api, now, name);
        }
        for (name, node) in known.iter().filter(|(name, _)| !there.contains_key(*name)) {
            self.recorder.normal(api, now, node, "RemovingNode", &format!("Node {name} event: Removing Node {name} from Controller"));
        }
        self.known = there;
        let gone: Vec<String> = self.deadlines.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.deadlines.remove(&name);
            self.lose(api, now, &name);
        }
        let mut of_zones: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for name in self.known.keys().cloned().collect::<Vec<_>>() {
            let Some(node) = api.store().get("nodes", "", &name).cloned() else { continue };
            let node = facts::node(&node);
            if !node.excluded {
                let (ready, other) = of_zones.entry(node.zone.to_string()).or_default();
                *(if node.ready == Some(Ready::True) { ready } else { other }) += 1;
            }
            let has = |key: &str| node.no_execute.iter().any(|(one, _)| one == key);
            match node.ready {
                None => {}
                Some(Ready::True) => self.reached(api, now, &name),
                // One taint takes the other's place at once.
                Some(Ready::False) if has(UNREACHABLE) => drive_away(api, now, &name),
                Some(Ready::Unknown) if has(NOT_READY) => drive_away(api, now, &name),
                Some(Ready::False) if has(NOT_READY) => {}
                Some(Ready::Unknown) if has(UNREACHABLE) => {}
                Some(_) => self.zones.add(&node.zone, &name),
            }
        }
        let news = self.zones.look(now, &of_zones);
        if news.all_disrupted {
            for name in self.known.keys().cloned().collect::<Vec<_>>() {
                self.reached(api, now, &name);
            }
        }
        if news.recovered {
            self.deadlines.values_mut().for_each(|at| *at = after(now, GRACE_SECONDS));
        }
    }

    /// `markNodeAsReachable`: nothing drives its pods away any more.
    fn reached(&mut self, api: &mut Api, now: Timestamp, name: &str) {
        self.zones.remove(name);
        let drives = |(key, _): &(String, String)| key == NOT_READY || key == UNREACHABLE;
        // Of nearly every node there is nothing to take away, and its object need not be read.
        if api.store().get("nodes", "", name).is_some_and(|node| facts::node(node).no_execute.iter().any(drives)) {
            change_taints(api, now, name, |taints| {
                taints.retain(|taint| taint["effect"] != "NoExecute" || (taint["key"] != NOT_READY && taint["key"] != UNREACHABLE));
            });
        }
    }

    /// The kubelet is silent: nobody knows its conditions (tryUpdateNodeHealth).
    fn lose(&mut self, api: &mut Api, now: Timestamp, name: &str) {
        let Some(node) = api.store().get("nodes", "", name).cloned() else { return };
        let created = node.value()["metadata"]["creationTimestamp"].clone();
        let _ = api.update_with(now, "nodes", "", name, Some("status"), |node| {
            for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
                let wanted = match condition(node, kind) {
                    Some(known) if known["status"] == "Unknown" => continue,
                    Some(_) => json!({ "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status." }),
                    None => {
                        json!({ "reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status.", "lastHeartbeatTime": created })
                    }
                };
                let mut wanted = wanted;
                wanted["type"] = json!(kind);
                wanted["status"] = json!("Unknown");
                set_condition(node, now, wanted);
            }
        });
        if facts::node(&node).ready == Some(Ready::True) {
            self.recorder.normal(api, now, &node, "NodeNotReady", &format!("Node {name} status is now: NodeNotReady"));
            self.mark_pods_not_ready(api, now, name);
        }
        sync_taints(api, now, name);
    }

    /// `pkg/controller/util/node/controller_utils.go`, MarkPodsNotReady.
    fn mark_pods_not_ready(&mut self, api: &mut Api, now: Timestamp, node: &str) {
        let ready = |pod: &Object| &*facts::pod(pod).node == node && facts::pod(pod).ready_since.is_some();
        let pods: Vec<Arc<Object>> = api.store().list("pods").filter(|pod| ready(pod)).cloned().collect();
        for pod in pods {
            let _ = api.update_with(now, "pods", &pod.meta.namespace, &pod.meta.name, Some("status"), |pod| {
                set_condition(pod, now, json!({ "type": "Ready", "status": "False" }));
            });
            self.recorder.warning(api, now, &pod, "NodeNotReady", "Node is not ready");
        }
    }
}

/// The first look that is not before then.
fn next_look(at: Timestamp) -> Timestamp {
    time::next_multiple(at, LOOK_SECONDS)
}

fn heartbeat(node: &Object) -> Option<String> {
    condition(&node.value(), "Ready").map(|ready| ready["lastHeartbeatTime"].to_string())
}

/// NoSchedule taints, as the node's conditions want them (doNoScheduleTaintingPass).
fn sync_taints(api: &mut Api, now: Timestamp, name: &str) {
    let Some(node) = api.store().get("nodes", "", name) else { return };
    let value = node.value();
    let holds = |(kind, status, _): &&(&str, &str, &str)| condition(&value, kind).is_some_and(|one| one["status"] == *status);
    let mut wanted: Vec<&str> = BY_CONDITION.iter().filter(holds).map(|(_, _, taint)| *taint).collect();
    if value["spec"]["unschedulable"] == true {
        wanted.push(UNSCHEDULABLE);
    }
    let managed = |key: &Value| BY_CONDITION.iter().any(|(_, _, taint)| key == taint) || key == UNSCHEDULABLE;
    change_taints(api, now, name, |taints| {
        let has = |taints: &[Value], key: &str| taints.iter().any(|taint| taint["effect"] == "NoSchedule" && taint["key"] == key);
        let missing: Vec<Value> = wanted.iter().filter(|key| !has(taints, key)).map(|key| taint(key, "NoSchedule", now)).collect();
        taints.retain(|taint| taint["effect"] != "NoSchedule" || !managed(&taint["key"]) || wanted.iter().any(|key| taint["key"] == *key));
        taints.extend(missing);
    });
}

/// `reconcileNodeLabels`, and the annotation of the TTL controller.
fn sync_labels(api: &mut Api, now: Timestamp, name: &str, ttl: &str) {
    let Some(node) = api.store().get("nodes", "", name) else { return };
    let value = node.value();
    let labels = &value["metadata"]["labels"];
    let follows = |(leader, follower): &&(&str, &str)| labels.get(leader).is_some() && labels.get(leader) != labels.get(follower);
    let wanted: Vec<(&str, Value)> = LABELS.iter().filter(follows).map(|(leader, follower)| (*follower, labels[*leader].clone())).collect();
    if !wanted.is_empty() || value["metadata"]["annotations"][TTL_ANNOTATION] != ttl {
        let _ = api.update_with(now, "nodes", "", name, None, |node| {
            for (follower, label) in wanted {
                node["metadata"]["labels"][follower] = label;
            }
            node["metadata"]["annotations"][TTL_ANNOTATION] = json!(ttl);
        });
    }
}

/// The taint that drives pods away takes the place of the other one (doNoExecuteTaintingPass).
fn drive_away(api: &mut Api, now: Timestamp, name: &str) {
    let Some(node) = api.store().get("nodes", "", name) else { return };
    let (add, remove) = match facts::node(node).ready {
        Some(Ready::False) => (NOT_READY, UNREACHABLE),
        Some(Ready::Unknown) => (UNREACHABLE, NOT_READY),
        // Ready again.
        _ => return,
    };
    change_taints(api, now, name, |taints| {
        taints.retain(|taint| taint["effect"] != "NoExecute" || taint["key"] != remove);
        if !taints.iter().any(|taint| taint["effect"] == "NoExecute" && taint["key"] == add) {
            taints.push(taint(add, "NoExecute", now));
        }
    });
}

fn taint(key: &str, effect: &str, now: Timestamp) -> Value {
    json!({ "key": key, "effect": effect, "timeAdded": time::seconds(now) })
}

/// Writes the node's taints if that changes them.
fn change_taints(api: &mut Api, now: Timestamp, name: &str, change: impl FnOnce(&mut Vec<Value>)) {
    let Some(node) = api.store().get("nodes", "", name) else { return };
    let before = node.value()["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let mut taints = before.clone();
    change(&mut taints);
    if taints == before {
        return;
    }
    // Deleted meanwhile: then its taints do not matter.
    let _ = api.update_with(now, "nodes", "", name, None, |node| match node["spec"].as_object_mut() {
        Some(spec) if taints.is_empty() => drop(spec.shift_remove("taints")),
        _ => node["spec"]["taints"] = Value::from(taints),
    });
}
