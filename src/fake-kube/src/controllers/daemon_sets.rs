//! One pod on every node that a DaemonSet may run on. The scheduler places it, by affinity to the node's name.
//!
//! Source: `pkg/controller/daemon/{daemon_controller,update}.go`, `util/daemonset_util.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use scheduler::PodInfo;
use serde_json::{Value, json};

use super::deployments::template_hash;
use super::events::Recorder;
use super::facts;
use super::owned::Owned;
use super::pods::{Key, after, from_template, key_of, number, scaled};
use super::replica_sets::set_or_remove;
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, EventType, Object};

const PLURAL: &str = "apps/daemonsets";
const HASH: &str = "controller-revision-hash";

/// What its pods tolerate beside what their template says (AddOrUpdateDaemonPodTolerations).
const TOLERATIONS: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

pub(super) struct DaemonSets {
    pods: Owned,
    due: BTreeMap<Key, Timestamp>,
    recorder: Recorder,
}

impl Default for DaemonSets {
    fn default() -> Self {
        DaemonSets { pods: Owned::new("pods"), due: BTreeMap::new(), recorder: Recorder::new("daemonset-controller") }
    }
}

impl Controller for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut dirty: BTreeSet<Key> = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for change in changed {
            dirty.extend(self.pods.apply(change).into_iter().filter(|(kind, _)| kind == "DaemonSet").map(|(_, key)| key));
            match change.plural() {
                PLURAL => drop(dirty.insert(key_of(&change.object))),
                "nodes" if concerns(change) => dirty.extend(api.store().list(PLURAL).map(|set| key_of(set))),
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
        self.due
            .keys()
            .map(|(namespace, name)| format!("DaemonSet {namespace}/{name} waits until its pods have been ready for minReadySeconds"))
            .collect()
    }
}

/// Heartbeats and images of a node change nothing here.
fn concerns(change: &Change) -> bool {
    let Some(before) = &change.previous else { return true };
    let (old, new) = (before.value(), change.object.value());
    change.event != EventType::Modified || old["metadata"]["labels"] != new["metadata"]["labels"] || old["spec"] != new["spec"]
}

/// A DaemonSet's pods on one node, the oldest first.
type OnNode = BTreeMap<String, Vec<Arc<Object>>>;

/// What to do, and the numbers of the status.
#[derive(Default)]
struct Work {
    create_on: Vec<String>,
    delete: Vec<Arc<Object>>,
    desired: usize,
    current: usize,
    ready: usize,
    available: usize,
    updated: usize,
    misscheduled: usize,
}

impl DaemonSets {
    fn sync(&mut self, api: &mut Api, now: Timestamp, key: &Key) {
        let Some(set) = api.store().get(PLURAL, &key.0, &key.1).cloned() else { return };
        if set.meta.deletion.is_some() {
            return;
        }
        let value = set.value();
        let hash = template_hash(&value["spec"]["template"], number(&value, "/status/collisionCount"));
        let Ok(probe) = PodInfo::from_json(&pod_for(&set, &value, &hash, None)) else { return };
        let on_node = self.by_node(api, &set);
        let mut work = Work::default();
        let nodes: Vec<Arc<Object>> = api.store().list("nodes").cloned().collect();
        for node in &nodes {
            self.look_at(now, &value, &hash, &probe, node, on_node.get(&node.meta.name).map_or(&[][..], Vec::as_slice), &mut work, key);
        }
        for (node, pods) in &on_node {
            if nodes.binary_search_by(|known| known.meta.name.as_str().cmp(node)).is_err() {
                // Pods that wait for a node that is gone; bound ones are left to pod garbage collection.
                work.delete.extend(pods.iter().filter(|pod| facts::pod(pod).node.is_empty()).cloned());
            }
        }
        if work.create_on.is_empty() && work.delete.is_empty() {
            roll(&value, &hash, &on_node, now, &mut work);
        }
        self.carry_out(api, now, &set, &value, &hash, &work);
        write_status(api, now, &set, &work);
    }

    /// By the node where a pod is or shall be.
    fn by_node(&self, api: &Api, set: &Object) -> OnNode {
        let mut on_node = OnNode::new();
        for pod in self.pods.of(api, &set.meta.uid) {
            on_node.entry(facts::pod(&pod).target.to_string()).or_default().push(pod);
        }
        for pods in on_node.values_mut() {
            pods.sort_by_key(|pod| (facts::pod(pod).node.is_empty(), pod.meta.creation, pod.meta.name.clone()));
        }
        on_node
    }

    #[expect(clippy::too_many_arguments, reason = "one node of one set, looked at from all sides")]
    fn look_at(
        &mut self,
        now: Timestamp,
        set: &Value,
        hash: &str,
        probe: &PodInfo,
        node: &Object,
        pods: &[Arc<Object>],
        work: &mut Work,
        key: &Key,
    ) {
        let Some(info) = &facts::node(node).info else { return };
        let selected = probe.selects_node(&info.name, &info.labels);
        let should_run = selected && probe.tolerates_all(info);
        let may_stay = selected && probe.tolerates_running(info);
        let (mut failed, mut live) = (Vec::new(), Vec::new());
        for pod in pods.iter().filter(|pod| pod.meta.deletion.is_none()) {
            if facts::pod(pod).finished { failed.push(pod.clone()) } else { live.push(pod) }
        }
        if !should_run {
            work.misscheduled += usize::from(!live.is_empty());
        }
        if !may_stay {
            work.delete.extend(live.into_iter().cloned());
            return;
        }
        work.delete.extend(failed);
        work.delete.extend(live.iter().skip(1).map(|pod| (*pod).clone()));
        if !should_run {
            return;
        }
        work.desired += 1;
        let Some(pod) = live.first() else {
            // Its predecessor must be gone first.
            if pods.is_empty() {
                work.create_on.push(info.name.clone());
            }
            return;
        };
        work.current += 1;
        let ready = facts::pod(pod).ready_since;
        work.updated += usize::from(pod.meta.labels.get(HASH).is_some_and(|has| has == hash));
        work.ready += usize::from(ready.is_some());
        match ready.map(|since| after(since, number(set, "/spec/minReadySeconds"))) {
            Some(at) if at <= now => work.available += 1,
            Some(at) => {
                let due = self.due.entry(key.clone()).or_insert(at);
                *due = (*due).min(at);
            }
            None => {}
        }
    }

    fn carry_out(&mut self, api: &mut Api, now: Timestamp, set: &Object, value: &Value, hash: &str, work: &Work) {
        for node in &work.create_on {
            match api.create(now, "pods", &set.meta.namespace, pod_for(set, value, hash, Some(node))) {
                Ok(pod) => self.recorder.normal(api, now, set, "SuccessfulCreate", &format!("Created pod: {}", pod.meta.name)),
                Err(why) => self.recorder.warning(api, now, set, "FailedCreate", &format!("Error creating: {why}")),
            }
        }
        for pod in &work.delete {
            if api.delete(now, "pods", &pod.meta.namespace, &pod.meta.name, DeleteOptions::default().if_uid(&pod.meta.uid)).is_ok() {
                self.recorder.normal(api, now, set, "SuccessfulDelete", &format!("Deleted pod: {}", pod.meta.name));
            }
        }
    }
}

/// Replaces pods of an old template, `maxUnavailable` at a time (`update.go`, rollingUpdate without surge).
fn roll(set: &Value, hash: &str, on_node: &OnNode, now: Timestamp, work: &mut Work) {
    if set["spec"]["updateStrategy"]["type"] == "OnDelete" {
        return;
    }
    let most = set["spec"]["updateStrategy"]["rollingUpdate"].get("maxUnavailable").cloned().unwrap_or_else(|| json!(1));
    let most = scaled(&most, work.desired as i64, true).unwrap_or(1).max(1);
    let mut unavailable = work.desired as i64 - work.available as i64;
    for pod in
        on_node.values().flatten().filter(|pod| pod.meta.deletion.is_none() && pod.meta.labels.get(HASH).is_none_or(|has| has != hash))
    {
        let available = facts::pod(pod).ready_since.map(|since| after(since, number(set, "/spec/minReadySeconds")));
        let counts_already = available.is_none_or(|at| at > now);
        if counts_already {
            work.delete.push(pod.clone());
        } else if unavailable < most {
            unavailable += 1;
            work.delete.push(pod.clone());
        }
    }
}

/// The pod for one node, or, without a node, the pod that is held against every node.
fn pod_for(set: &Object, value: &Value, hash: &str, node: Option<&str>) -> Value {
    let mut pod = from_template(set, &value["spec"]["template"]);
    pod["metadata"]["labels"][HASH] = json!(hash);
    pod["metadata"]["labels"]["pod-template-generation"] = json!(number(value, "/metadata/generation").to_string());
    let network = pod["spec"]["hostNetwork"] == true;
    let tolerations = &mut pod["spec"]["tolerations"];
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    if let Value::Array(list) = tolerations {
        let extra = network.then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
        for (key, effect) in TOLERATIONS.into_iter().chain(extra) {
            let new = json!({ "key": key, "operator": "Exists", "effect": effect });
            if !list.contains(&new) {
                list.push(new);
            }
        }
    }
    if let Some(node) = node {
        let field = json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }] });
        let affinity = &mut pod["spec"]["affinity"]["nodeAffinity"];
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = json!({ "nodeSelectorTerms": [field] });
    }
    pod
}

fn write_status(api: &mut Api, now: Timestamp, set: &Object, work: &Work) {
    // Gone meanwhile: then there is no status to write.
    let _ = api.update_with(now, PLURAL, &set.meta.namespace, &set.meta.name, Some("status"), |object| {
        let status = &mut object["status"];
        let always = [
            ("currentNumberScheduled", work.current),
            ("numberMisscheduled", work.misscheduled),
            ("desiredNumberScheduled", work.desired),
            ("numberReady", work.ready),
        ];
        for (field, count) in always {
            status[field] = json!(count);
        }
        status["observedGeneration"] = json!(set.meta.generation);
        set_or_remove(status, "updatedNumberScheduled", work.updated);
        set_or_remove(status, "numberAvailable", work.available);
        set_or_remove(status, "numberUnavailable", work.desired.saturating_sub(work.available));
    });
}
