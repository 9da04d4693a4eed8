//! One pod on every node that a DaemonSet may run on. The scheduler places it, by affinity to the node's name.
//!
//! Source: `pkg/controller/daemon/{daemon_controller,update}.go`, `util/daemonset_util.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use scheduler::PodInfo;
use serde_json::{Value, json};

use super::events::Recorder;
use super::facts;
use super::history::{self, Labels};
use super::owned::Owned;
use super::pods::{Key, after, from_template, key_of, number, scaled};
use super::replica_sets::set_or_remove;
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, EventType, Object};

const PLURAL: &str = "apps/daemonsets";
const HASH: &str = "controller-revision-hash";
const LABELS: Labels = Labels { hash: HASH };

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
    /// How often in a row each set could not do what it was to do.
    failures: BTreeMap<Key, u32>,
    /// What the last look at each set found.
    found: BTreeMap<Key, Found>,
    recorder: Recorder,
}

impl Default for DaemonSets {
    fn default() -> Self {
        let recorder = Recorder::new("daemonset-controller");
        DaemonSets { pods: Owned::new("pods"), due: BTreeMap::new(), failures: BTreeMap::new(), found: BTreeMap::new(), recorder }
    }
}

/// Which nodes of a set to look at again.
enum Look {
    AtAll,
    At(BTreeSet<String>),
}

impl Look {
    fn also(&mut self, node: &str) {
        if let Look::At(nodes) = self {
            nodes.insert(node.to_owned());
        }
    }
}

/// What a look at every node of a set found, kept up to date by looks at the nodes that changed.
struct Found {
    /// The set's uid and generation: another set, or another spec, is looked at from the start.
    of: (String, i64),
    by_node: BTreeMap<String, Counts>,
    total: Counts,
    /// Nodes where something failed, to be looked at with the next look.
    unfinished: BTreeSet<String>,
}

impl Controller for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let late = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| (key.clone(), Look::AtAll));
        let mut dirty: BTreeMap<Key, Look> = late.collect();
        for change in changed {
            for (_, key) in self.pods.apply(change).into_iter().filter(|(kind, _)| kind == "DaemonSet") {
                let look = dirty.entry(key).or_insert_with(|| Look::At(BTreeSet::new()));
                for pod in [Some(&change.object), change.previous.as_ref()].into_iter().flatten() {
                    look.also(&facts::pod(pod).target);
                }
            }
            match change.plural() {
                PLURAL => drop(dirty.entry(key_of(&change.object)).or_insert_with(|| Look::At(BTreeSet::new()))),
                "nodes" if concerns(change) => {
                    for set in api.store().list(PLURAL) {
                        dirty.entry(key_of(set)).or_insert_with(|| Look::At(BTreeSet::new())).also(change.name());
                    }
                }
                _ => {}
            }
        }
        self.due.retain(|_, at| *at > now);
        for (key, look) in dirty {
            self.sync(api, now, &key, look);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due.values().min().copied()
    }

    fn unsettled(&self, _: &Api) -> Vec<String> {
        // One that is refused waits for somebody else.
        self.due
            .keys()
            .filter(|key| !self.failures.contains_key(key))
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

/// What to do.
#[derive(Default)]
struct Work {
    create_on: Vec<String>,
    delete: Vec<Arc<Object>>,
}

/// The numbers of the status: of one node, or of all.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Counts {
    desired: usize,
    current: usize,
    ready: usize,
    available: usize,
    updated: usize,
    misscheduled: usize,
    /// Pods of another template that are not being deleted, wherever they are.
    outdated: usize,
}

impl Counts {
    fn numbers(&mut self) -> [&mut usize; 7] {
        let Counts { desired, current, ready, available, updated, misscheduled, outdated } = self;
        [desired, current, ready, available, updated, misscheduled, outdated]
    }

    fn replace(&mut self, mut before: Counts, mut after: Counts) {
        for ((total, before), after) in self.numbers().into_iter().zip(before.numbers()).zip(after.numbers()) {
            *total = *total + *after - *before;
        }
    }
}

/// A set as it is looked at.
struct Looked<'a> {
    key: &'a Key,
    value: &'a Value,
    hash: &'a str,
    /// Its pod, to be held against nodes.
    probe: &'a PodInfo,
    now: Timestamp,
}

impl DaemonSets {
    fn sync(&mut self, api: &mut Api, now: Timestamp, key: &Key, look: Look) {
        let set = api.store().get(PLURAL, &key.0, &key.1).filter(|set| set.meta.deletion.is_none()).cloned();
        let Some(set) = set else {
            self.failures.remove(key);
            return drop(self.found.remove(key));
        };
        let value = set.value();
        let Ok(history) = history::sync(api, now, &set, &value, &LABELS) else { return };
        let hash = history.update.meta.labels.get(HASH).cloned().unwrap_or_default();
        let Ok(probe) = PodInfo::from_json(&pod_for(&set, &value, &hash, None)) else { return };
        let looked = Looked { key, value: &value, hash: &hash, probe: &probe, now };
        let of = (set.meta.uid.clone(), set.meta.generation);
        let known = self.found.remove(key).filter(|found| found.of == of && found.total.outdated == 0);
        let (mut found, nodes) = match (known, look) {
            (Some(mut found), Look::At(mut nodes)) => {
                nodes.append(&mut found.unfinished);
                (found, Some(nodes))
            }
            _ => (Found { of, by_node: BTreeMap::new(), total: Counts::default(), unfinished: BTreeSet::new() }, None),
        };
        let on_node = self.by_node(api, &set, nodes.as_ref());
        let nodes =
            nodes.unwrap_or_else(|| api.store().list("nodes").map(|node| node.meta.name.clone()).chain(on_node.keys().cloned()).collect());
        let mut work = Work::default();
        for name in &nodes {
            let pods = on_node.get(name).map_or(&[][..], Vec::as_slice);
            let counts = match api.store().get("nodes", "", name).cloned() {
                Some(node) => self.look_at(&looked, &node, pods, &mut work),
                None => {
                    // Pods that wait for a node that is gone; bound ones are left to pod garbage collection.
                    work.delete.extend(pods.iter().filter(|pod| facts::pod(pod).node.is_empty()).cloned());
                    Counts::default()
                }
            };
            let counts = Counts { outdated: outdated(pods, &hash), ..counts };
            let before = if counts == Counts::default() { found.by_node.remove(name) } else { found.by_node.insert(name.clone(), counts) };
            found.total.replace(before.unwrap_or_default(), counts);
        }
        if work.create_on.is_empty() && work.delete.is_empty() && found.total.outdated > 0 {
            roll(&looked, &on_node, &found.total, &mut work);
        }
        found.unfinished = self.carry_out(api, &looked, &set, &work);
        if found.unfinished.is_empty() {
            self.failures.remove(key);
        } else {
            // The work queue's own back-off, as for ReplicaSets.
            let failures = self.failures.entry(key.clone()).or_default();
            let at = now.saturating_add(super::replica_sets::queue_backoff(*failures)).unwrap_or(Timestamp::MAX);
            *failures += 1;
            let due = self.due.entry(key.clone()).or_insert(at);
            *due = (*due).min(at);
        }
        if history.all.len() > 1 {
            let hashes: BTreeSet<&String> = on_node.values().flatten().filter_map(|pod| pod.meta.labels.get(HASH)).collect();
            let lives = |one: &&Arc<Object>| {
                one.meta.uid == history.update.meta.uid || one.meta.labels.get(HASH).is_some_and(|hash| hashes.contains(hash))
            };
            let live = history.all.iter().filter(lives).map(|one| one.meta.name.clone()).collect();
            history::truncate(api, now, &history.all, &live, value["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10));
        }
        write_status(api, now, &set, &found.total);
        self.found.insert(key.clone(), found);
    }

    /// By the node where a pod is or shall be: of all nodes, or of these.
    fn by_node(&self, api: &Api, set: &Object, nodes: Option<&BTreeSet<String>>) -> OnNode {
        let mut on_node = OnNode::new();
        let asked = |pod: &Object| nodes.is_none_or(|nodes| nodes.contains(&*facts::pod(pod).target));
        for pod in self.pods.of_which(api, &set.meta.uid, asked) {
            on_node.entry(facts::pod(&pod).target.to_string()).or_default().push(pod);
        }
        for pods in on_node.values_mut() {
            pods.sort_by_key(|pod| (facts::pod(pod).node.is_empty(), pod.meta.creation, pod.meta.name.clone()));
        }
        on_node
    }

    fn look_at(&mut self, set: &Looked<'_>, node: &Object, pods: &[Arc<Object>], work: &mut Work) -> Counts {
        let mut counts = Counts::default();
        let Some(info) = &facts::node(node).info else { return counts };
        let selected = set.probe.selects_node(&info.name, &info.labels);
        let should_run = selected && set.probe.tolerates_all(info);
        let may_stay = selected && set.probe.tolerates_running(info);
        let (mut failed, mut live) = (Vec::new(), Vec::new());
        for pod in pods.iter().filter(|pod| pod.meta.deletion.is_none()) {
            if facts::pod(pod).finished { failed.push(pod.clone()) } else { live.push(pod) }
        }
        if !should_run {
            counts.misscheduled += usize::from(!live.is_empty());
        }
        if !may_stay {
            work.delete.extend(live.into_iter().cloned());
            return counts;
        }
        work.delete.extend(failed);
        work.delete.extend(live.iter().skip(1).map(|pod| (*pod).clone()));
        if !should_run {
            return counts;
        }
        counts.desired += 1;
        let Some(pod) = live.first() else {
            // Its predecessor must be gone first.
            if pods.is_empty() {
                work.create_on.push(info.name.clone());
            }
            return counts;
        };
        counts.current += 1;
        let ready = facts::pod(pod).ready_since;
        counts.updated += usize::from(is_current(pod, set.hash));
        counts.ready += usize::from(ready.is_some());
        match ready.map(|since| after(since, number(set.value, "/spec/minReadySeconds"))) {
            Some(at) if at <= set.now => counts.available += 1,
            Some(at) => {
                let due = self.due.entry(set.key.clone()).or_insert(at);
                *due = (*due).min(at);
            }
            None => {}
        }
        counts
    }

    /// The nodes where something failed.
    fn carry_out(&mut self, api: &mut Api, looked: &Looked<'_>, set: &Object, work: &Work) -> BTreeSet<String> {
        let (now, mut failed) = (looked.now, BTreeSet::new());
        for node in &work.create_on {
            match api.create(now, "pods", &set.meta.namespace, pod_for(set, looked.value, looked.hash, Some(node))) {
                Ok(pod) => self.recorder.normal(api, now, set, "SuccessfulCreate", &format!("Created pod: {}", pod.meta.name)),
                Err(why) => {
                    failed.insert(node.clone());
                    self.recorder.warning(api, now, set, "FailedCreate", &format!("Error creating: {why}"));
                }
            }
        }
        for pod in &work.delete {
            match api.delete(now, "pods", &pod.meta.namespace, &pod.meta.name, DeleteOptions::default().if_uid(&pod.meta.uid)) {
                Ok(_) => self.recorder.normal(api, now, set, "SuccessfulDelete", &format!("Deleted pod: {}", pod.meta.name)),
                Err(_) => drop(failed.insert(facts::pod(pod).target.to_string())),
            }
        }
        failed
    }
}

fn is_current(pod: &Object, hash: &str) -> bool {
    pod.meta.labels.get(HASH).is_some_and(|has| has == hash)
}

fn outdated(pods: &[Arc<Object>], hash: &str) -> usize {
    pods.iter().filter(|pod| pod.meta.deletion.is_none() && !is_current(pod, hash)).count()
}

/// Replaces pods of an old template, `maxUnavailable` at a time (`update.go`, rollingUpdate without surge).
fn roll(set: &Looked<'_>, on_node: &OnNode, total: &Counts, work: &mut Work) {
    let strategy = &set.value["spec"]["updateStrategy"];
    if strategy["type"] == "OnDelete" {
        return;
    }
    let most = strategy["rollingUpdate"].get("maxUnavailable").cloned().unwrap_or_else(|| json!(1));
    let most = scaled(&most, total.desired as i64, true).unwrap_or(1).max(1);
    let mut unavailable = total.desired as i64 - total.available as i64;
    for pod in on_node.values().flatten().filter(|pod| pod.meta.deletion.is_none() && !is_current(pod, set.hash)) {
        let available = facts::pod(pod).ready_since.map(|since| after(since, number(set.value, "/spec/minReadySeconds")));
        let counts_already = available.is_none_or(|at| at > set.now);
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

fn write_status(api: &mut Api, now: Timestamp, set: &Object, total: &Counts) {
    // Gone meanwhile: then there is no status to write.
    let _ = api.update_with(now, PLURAL, &set.meta.namespace, &set.meta.name, Some("status"), |object| {
        let status = &mut object["status"];
        let always = [
            ("currentNumberScheduled", total.current),
            ("numberMisscheduled", total.misscheduled),
            ("desiredNumberScheduled", total.desired),
            ("numberReady", total.ready),
        ];
        for (field, count) in always {
            status[field] = json!(count);
        }
        status["observedGeneration"] = json!(set.meta.generation);
        set_or_remove(status, "updatedNumberScheduled", total.updated);
        set_or_remove(status, "numberAvailable", total.available);
        set_or_remove(status, "numberUnavailable", total.desired.saturating_sub(total.available));
    });
}
