//! Pods with a number each, made in order, kept with their claims, replaced from the last to the first.
//!
//! Source: `pkg/controller/statefulset/{stateful_set_control,stateful_pod_control,stateful_set_utils}.go`. Without MaxUnavailableStatefulSet,
//! which is off by default in 1.36, one pod is replaced at a time. Orphans are not adopted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::claims::{self, Policy};
use super::events::Recorder;
use super::history::{self, History, Labels};
use super::owned::Owned;
use super::pods::{Key, after, from_template, key_of, number, phase, ready_since};
use super::replica_sets::set_or_remove;
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::status::Status;
use crate::store::{Change, Object};

const PLURAL: &str = "apps/statefulsets";
const CLAIMS: &str = "persistentvolumeclaims";
const REVISION: &str = "controller-revision-hash";
const LABELS: Labels = Labels { hash: "controller.kubernetes.io/hash" };

pub(super) struct StatefulSets {
    pods: Owned,
    /// Those to look at again: a pod becomes available, or a request failed.
    due: BTreeMap<Key, Timestamp>,
    recorder: Recorder,
}

impl Default for StatefulSets {
    fn default() -> Self {
        StatefulSets { pods: Owned::new("pods"), due: BTreeMap::new(), recorder: Recorder::new("statefulset-controller") }
    }
}

impl Controller for StatefulSets {
    fn name(&self) -> &'static str {
        "statefulset"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut dirty: BTreeSet<Key> = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for change in changed {
            dirty.extend(self.pods.apply(change).into_iter().filter(|(kind, _)| kind == "StatefulSet").map(|(_, key)| key));
            if change.plural() == PLURAL {
                dirty.insert(key_of(&change.object));
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
        let words = "waits until a pod is available, or tries again";
        self.due.keys().map(|(namespace, name)| format!("StatefulSet {namespace}/{name} {words}")).collect()
    }
}

/// A set as it is looked at.
struct Looked<'a> {
    set: &'a Arc<Object>,
    value: &'a Value,
    now: Timestamp,
    start: i64,
    replicas: i64,
    ordered: bool,
    min_ready: i64,
    policy: Policy,
}

impl<'a> Looked<'a> {
    fn new(set: &'a Arc<Object>, value: &'a Value, now: Timestamp) -> Self {
        let spec = &value["spec"];
        Looked {
            set,
            value,
            now,
            start: number(value, "/spec/ordinals/start"),
            replicas: spec["replicas"].as_i64().unwrap_or(1),
            ordered: spec["podManagementPolicy"] != "Parallel",
            min_ready: number(value, "/spec/minReadySeconds"),
            policy: Policy::of(&spec["persistentVolumeClaimRetentionPolicy"]),
        }
    }

    fn in_range(&self, ordinal: i64) -> bool {
        (self.start..self.start + self.replicas).contains(&ordinal)
    }

    fn available(&self, pod: &Value) -> bool {
        ready_since(pod).is_some_and(|since| after(since, self.min_ready) <= self.now)
    }

    fn unavailable(&self, pod: Option<&Arc<Object>>) -> bool {
        pod.is_none_or(|pod| pod.meta.deletion.is_some() || !self.available(&pod.value()))
    }
}

/// Why a set is left alone until something changes.
type Go = Result<(), Stop>;

enum Stop {
    Waits,
    Failed,
}

impl From<Status> for Stop {
    fn from(_: Status) -> Stop {
        Stop::Failed
    }
}

impl StatefulSets {
    fn sync(&mut self, api: &mut Api, now: Timestamp, key: &Key) {
        let Some(set) = api.store().get(PLURAL, &key.0, &key.1).cloned() else { return };
        let value = set.value();
        let looked = Looked::new(&set, &value, now);
        let Ok(history) = history::sync(api, now, &set, &value, &LABELS) else {
            self.due.insert(key.clone(), after(now, 1));
            return;
        };
        let current_name = value["status"]["currentRevision"].as_str().unwrap_or_default();
        let current = history.all.iter().find(|one| one.meta.name == current_name).unwrap_or(&history.update).clone();
        let pods = self.pods.of(api, &set.meta.uid);
        let mut live: BTreeSet<String> = pods.iter().filter_map(|pod| pod.meta.labels.get(REVISION).cloned()).collect();
        live.extend([current.meta.name.clone(), history.update.meta.name.clone()]);
        if set.meta.deletion.is_none() && matches!(self.move_on(api, &looked, &history, &current), Err(Stop::Failed)) {
            self.due.insert(key.clone(), after(now, 1));
        }
        self.write_status(api, &looked, &history, &current);
        history::truncate(api, now, &history.all, &live, value["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10));
    }

    /// Makes, mends, removes, replaces: in that order, and one at a time unless the set is `Parallel`.
    fn move_on(&mut self, api: &mut Api, looked: &Looked<'_>, history: &History, current: &Object) -> Go {
        let pods = self.pods.of(api, &looked.set.meta.uid);
        let mut replicas: BTreeMap<i64, Arc<Object>> = BTreeMap::new();
        let mut condemned: BTreeMap<i64, Arc<Object>> = BTreeMap::new();
        for pod in pods {
            let Some(ordinal) = ordinal(&looked.set.meta.name, &pod.meta.name) else { continue };
            if looked.in_range(ordinal) { &mut replicas } else { &mut condemned }.insert(ordinal, pod);
        }
        let range = looked.start..looked.start + looked.replicas;
        let first_unhealthy = range
            .clone()
            .find(|ordinal| looked.unavailable(replicas.get(ordinal)))
            .or_else(|| condemned.iter().find(|(_, pod)| looked.unavailable(Some(pod))).map(|(ordinal, _)| *ordinal));
        let mut waits = false;
        for ordinal in range.clone() {
            match self.keep(api, looked, history, current, ordinal, replicas.get(&ordinal)) {
                Err(Stop::Waits) if !looked.ordered => waits = true,
                other => other?,
            }
        }
        for (ordinal, pod) in &condemned {
            self.own_claims(api, looked, *ordinal, pod)?;
        }
        for (ordinal, pod) in condemned.iter().rev() {
            let blocked = !looked.available(&pod.value()) && first_unhealthy != Some(*ordinal);
            if looked.ordered && (pod.meta.deletion.is_some() || blocked) {
                return Err(Stop::Waits);
            }
            if pod.meta.deletion.is_none() {
                self.delete(api, looked, pod)?;
                if looked.ordered {
                    return Err(Stop::Waits);
                }
            }
        }
        if waits { Err(Stop::Waits) } else { self.roll(api, looked, history, &replicas) }
    }

    /// One of the pods that shall be there.
    fn keep(
        &mut self,
        api: &mut Api,
        looked: &Looked<'_>,
        history: &History,
        current: &Object,
        ordinal: i64,
        pod: Option<&Arc<Object>>,
    ) -> Go {
        let Some(pod) = pod else {
            self.create(api, looked, history, current, ordinal)?;
            return Err(Stop::Waits);
        };
        let value = pod.value();
        if matches!(phase(&value), "Failed" | "Succeeded") {
            if pod.meta.deletion.is_none() {
                self.delete(api, looked, pod)?;
            }
            return Err(Stop::Waits);
        }
        if phase(&value) == "Pending" {
            self.make_claims(api, looked, ordinal, &pod.meta.name)?;
        }
        if looked.ordered && looked.unavailable(Some(pod)) {
            if let Some(since) = ready_since(&value).filter(|_| pod.meta.deletion.is_none()) {
                self.due.insert(key_of(looked.set), after(since, looked.min_ready));
            }
            return Err(Stop::Waits);
        }
        self.own_claims(api, looked, ordinal, pod)
    }

    fn create(&mut self, api: &mut Api, looked: &Looked<'_>, history: &History, current: &Object, ordinal: i64) -> Go {
        let (set, name) = (looked.set, format!("{}-{ordinal}", looked.set.meta.name));
        self.make_claims(api, looked, ordinal, &name)?;
        // Whoever is below the partition, or made while an update has not come so far, gets the old template (newVersionedStatefulSetPod).
        let strategy = &looked.value["spec"]["updateStrategy"];
        let below = match strategy["rollingUpdate"]["partition"].as_i64() {
            Some(partition) => ordinal < looked.start + partition,
            None => strategy["type"] == "RollingUpdate" && ordinal < looked.start + number(looked.value, "/status/currentReplicas"),
        };
        let revision = if below { current } else { &*history.update };
        let pod = pod_for(looked, &history::template(revision), &revision.meta.name, ordinal);
        let made = api.create(looked.now, "pods", &set.meta.namespace, pod);
        match made {
            Ok(_) => self.tell(api, looked, "SuccessfulCreate", &format!("Create Pod {name} in StatefulSet {} successful", set.meta.name)),
            Err(why) => {
                let message = format!("Create Pod {name} in StatefulSet {} failed error: {why}", set.meta.name);
                self.recorder.warning(api, looked.now, set, "FailedCreate", &message);
                return Err(Stop::Failed);
            }
        }
        Ok(())
    }

    fn tell(&mut self, api: &mut Api, looked: &Looked<'_>, reason: &'static str, message: &str) {
        self.recorder.normal(api, looked.now, looked.set, reason, message);
    }

    fn delete(&mut self, api: &mut Api, looked: &Looked<'_>, pod: &Object) -> Go {
        match api.delete(looked.now, "pods", &pod.meta.namespace, &pod.meta.name, DeleteOptions::default().if_uid(&pod.meta.uid)) {
            Err(why) if !why.is_not_found() => Err(why.into()),
            _ => {
                let message = format!("Delete Pod {} in StatefulSet {} successful", pod.meta.name, looked.set.meta.name);
                self.tell(api, looked, "SuccessfulDelete", &message);
                Ok(())
            }
        }
    }

    fn make_claims(&mut self, api: &mut Api, looked: &Looked<'_>, ordinal: i64, pod: &str) -> Go {
        let set = looked.set;
        for template in templates(looked.value) {
            let name = claim_name(set, template, ordinal);
            match api.store().get(CLAIMS, &set.meta.namespace, &name) {
                Some(claim) if claim.meta.deletion.is_some() => return Err(Stop::Failed),
                Some(_) => continue,
                None => {}
            }
            let claim = claims::from_template(template, &name, &looked.value["spec"]["selector"]["matchLabels"]);
            match api.create(looked.now, CLAIMS, &set.meta.namespace, claim) {
                Ok(_) => {
                    let message = format!("Create Claim {name} Pod {pod} in StatefulSet {} success", set.meta.name);
                    self.tell(api, looked, "SuccessfulCreate", &message);
                }
                Err(why) => {
                    let message = format!("Create Claim {name} for Pod {pod} in StatefulSet {} failed error: {why}", set.meta.name);
                    self.recorder.warning(api, looked.now, set, "FailedCreate", &message);
                    return Err(Stop::Failed);
                }
            }
        }
        if let Some(pod) = api.store().get("pods", &set.meta.namespace, pod).cloned() {
            self.own_claims(api, looked, ordinal, &pod)?;
        }
        Ok(())
    }

    /// Lets claims go with the set, or with a pod that is scaled away, as the retention policy says.
    fn own_claims(&mut self, api: &mut Api, looked: &Looked<'_>, ordinal: i64, pod: &Object) -> Go {
        let set = looked.set;
        for template in templates(looked.value) {
            let name = claim_name(set, template, ordinal);
            let Some(claim) = api.store().get(CLAIMS, &set.meta.namespace, &name).cloned() else { continue };
            let Some(owners) = looked.policy.owners(&claim, set, pod, looked.in_range(ordinal)) else { continue };
            api.update_with(looked.now, CLAIMS, &set.meta.namespace, &name, None, |claim| claim["metadata"]["ownerReferences"] = owners)?;
        }
        Ok(())
    }

    /// Replaces the last pod of an old template, once all after it are available.
    fn roll(&mut self, api: &mut Api, looked: &Looked<'_>, history: &History, replicas: &BTreeMap<i64, Arc<Object>>) -> Go {
        let strategy = &looked.value["spec"]["updateStrategy"];
        if strategy["type"] == "OnDelete" {
            return Ok(());
        }
        let least = looked.start + strategy["rollingUpdate"]["partition"].as_i64().unwrap_or(0);
        for (_, pod) in replicas.range(least..).rev() {
            let outdated = pod.meta.labels.get(REVISION) != Some(&history.update.meta.name);
            if outdated && pod.meta.deletion.is_none() {
                return self.delete(api, looked, pod);
            }
            if looked.unavailable(Some(pod)) {
                if let Some(since) = ready_since(&pod.value()) {
                    self.due.insert(key_of(looked.set), after(since, looked.min_ready));
                }
                return Ok(());
            }
        }
        Ok(())
    }

    fn write_status(&mut self, api: &mut Api, looked: &Looked<'_>, history: &History, current: &Object) {
        let set = looked.set;
        let (mut current_name, update_name) = (current.meta.name.clone(), history.update.meta.name.clone());
        let (mut there, mut ready, mut available, mut on_current, mut on_update) = (0, 0, 0, 0, 0);
        for pod in self.pods.of(api, &set.meta.uid) {
            let value = pod.value();
            there += 1;
            if phase(&value) == "Running"
                && let Some(since) = ready_since(&value)
            {
                ready += 1;
                let at = after(since, looked.min_ready);
                available += usize::from(at <= looked.now);
                if at > looked.now {
                    self.due.insert(key_of(set), at);
                }
            }
            if pod.meta.deletion.is_none() {
                let revision = pod.meta.labels.get(REVISION);
                on_current += usize::from(revision == Some(&current_name));
                on_update += usize::from(revision == Some(&update_name));
            }
        }
        let wanted = usize::try_from(looked.replicas).unwrap_or(0);
        let rolling = looked.value["spec"]["updateStrategy"]["type"] == "RollingUpdate";
        if rolling && (on_update, ready, there) == (wanted, wanted, wanted) {
            (on_current, current_name) = (on_update, update_name.clone());
        }
        // Gone meanwhile: then there is no status to write.
        let _ = api.update_with(looked.now, PLURAL, &set.meta.namespace, &set.meta.name, Some("status"), |object| {
            let status = &mut object["status"];
            status["observedGeneration"] = json!(set.meta.generation);
            status["replicas"] = json!(there);
            status["availableReplicas"] = json!(available);
            for (field, count) in [("readyReplicas", ready), ("currentReplicas", on_current), ("updatedReplicas", on_update)] {
                set_or_remove(status, field, count);
            }
            status["currentRevision"] = json!(current_name);
            status["updateRevision"] = json!(update_name);
            if status.get("collisionCount").is_none() {
                status["collisionCount"] = json!(0);
            }
        });
    }
}

fn templates(set: &Value) -> impl Iterator<Item = &Value> {
    set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten()
}

fn claim_name(set: &Object, template: &Value, ordinal: i64) -> String {
    format!("{}-{}-{ordinal}", template["metadata"]["name"].as_str().unwrap_or_default(), set.meta.name)
}

/// `web-3` is the third of `web`.
fn ordinal(set: &str, pod: &str) -> Option<i64> {
    pod.strip_prefix(set)?.strip_prefix('-')?.parse().ok()
}

fn pod_for(looked: &Looked<'_>, template: &Value, revision: &str, ordinal: i64) -> Value {
    let set = looked.set;
    let mut pod = from_template(set, template);
    let name = format!("{}-{ordinal}", set.meta.name);
    pod["metadata"]["name"] = json!(name);
    if !pod["metadata"]["labels"].is_object() {
        pod["metadata"]["labels"] = json!({});
    }
    let labels = &mut pod["metadata"]["labels"];
    labels[REVISION] = json!(revision);
    labels["statefulset.kubernetes.io/pod-name"] = json!(name);
    labels["apps.kubernetes.io/pod-index"] = json!(ordinal.to_string());
    pod["spec"]["hostname"] = json!(name);
    if let Some(service) = looked.value["spec"]["serviceName"].as_str().filter(|name| !name.is_empty()) {
        pod["spec"]["subdomain"] = json!(service);
    }
    let mut volumes: Vec<Value> = templates(looked.value)
        .map(
            |claim| json!({ "name": claim["metadata"]["name"], "persistentVolumeClaim": { "claimName": claim_name(set, claim, ordinal) } }),
        )
        .collect();
    let replaced: BTreeSet<String> = volumes.iter().map(|one| one["name"].to_string()).collect();
    let others = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.extend(others.filter(|one| !replaced.contains(&one["name"].to_string())).cloned());
    if !volumes.is_empty() {
        pod["spec"]["volumes"] = Value::Array(volumes);
    }
    pod
}
