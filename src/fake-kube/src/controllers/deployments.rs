//! Rolls a Deployment's pod template out over ReplicaSets, and sums up their numbers.
//!
//! Source: `pkg/controller/deployment/{sync,rolling,recreate,progress}.go`, `util/deployment_util.go`. The decision how many pods
//! each ReplicaSet has is in [`super::rollout`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::events::Recorder;
use super::owned::Owned;
use super::pods::{Key, after, condition, finished, key_of, number, owner_reference};
use super::replica_sets::set_or_remove;
use super::rollout::{Member, Plan, Strategy, plan};
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, Object};
use crate::time;

const PLURAL: &str = "apps/deployments";
const SETS: &str = "apps/replicasets";
const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// maxRevHistoryLengthInChars.
const LONGEST_HISTORY: usize = 2000;
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

pub(super) struct Deployments {
    sets: Owned,
    pods: Owned,
    /// When a rollout's progress deadline has to be looked at.
    due: BTreeMap<Key, Timestamp>,
    recorder: Recorder,
}

impl Default for Deployments {
    fn default() -> Self {
        let recorder = Recorder::new("deployment-controller");
        Deployments { sets: Owned::new(SETS), pods: Owned::new("pods"), due: BTreeMap::new(), recorder }
    }
}

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut dirty: BTreeSet<Key> = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for change in changed {
            dirty.extend(self.sets.apply(change).into_iter().filter(|(kind, _)| kind == "Deployment").map(|(_, key)| key));
            // Only Recreate looks at pods: it waits until the old ones are gone.
            for (kind, (namespace, name)) in self.pods.apply(change) {
                let set = (kind == "ReplicaSet").then(|| api.store().get(SETS, &namespace, &name)).flatten();
                if let Some(owner) = set.and_then(|set| set.meta.controller()) {
                    dirty.insert((namespace, owner.name.clone()));
                }
            }
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
        // Whatever can be done is done within the step; the rest waits for ReplicaSets and kubelets, which speak for themselves.
        Vec::new()
    }
}

impl Deployments {
    fn sync(&mut self, api: &mut Api, now: Timestamp, key: &Key) {
        let Some(deployment) = api.store().get(PLURAL, &key.0, &key.1).cloned() else { return };
        let value = deployment.value();
        let mut sets = self.sets.of(api, &deployment.meta.uid);
        sets.sort_by_key(|set| (set.meta.creation, set.meta.name.clone()));
        if deployment.meta.deletion.is_some() {
            return self.write_status(api, now, &deployment, &value, &sets, None);
        }
        let paused = value["spec"]["paused"] == true;
        let mut newest = sets.iter().position(|set| same_template(&set.value()["spec"]["template"], &value["spec"]["template"]));
        let strategy = Strategy::of(&value);
        let waits = matches!(strategy, Strategy::Recreate) && self.old_pods_run(api, &sets, newest);
        if newest.is_none()
            && !paused
            && !waits
            && members(&sets, None).iter().all(|old| matches!(strategy, Strategy::Rolling { .. }) || old.replicas == 0)
        {
            self.create_set(api, now, &deployment, &value, &sets);
            sets = self.sets_of(api, &deployment);
            newest = sets.iter().position(|set| same_template(&set.value()["spec"]["template"], &value["spec"]["template"]));
        }
        if let Some(at) = newest {
            self.sync_annotations(api, now, &deployment, &value, &sets, &sets[at].clone());
        }
        let decided = plan(&strategy, number(&value, "/spec/replicas"), paused, &members(&sets, newest), newest, waits);
        self.apply(api, now, &deployment, &value, &sets, &decided);
        let sets: Vec<Arc<Object>> =
            sets.iter().filter_map(|set| api.store().get(SETS, &set.meta.namespace, &set.meta.name)).cloned().collect();
        let newest = newest.and_then(|at| sets.get(at)).cloned();
        let Some(deployment) = api.store().get(PLURAL, &key.0, &key.1).cloned() else { return };
        self.write_status(api, now, &deployment, &deployment.value(), &sets, newest.as_ref());
        self.clean_up(api, now, &value, &sets, newest.as_ref());
    }

    /// The index sees a new set only with the next change, so the store is asked.
    fn sets_of(&self, api: &Api, deployment: &Object) -> Vec<Arc<Object>> {
        let owned = |set: &&Arc<Object>| set.meta.controller().is_some_and(|owner| owner.uid == deployment.meta.uid);
        let mut sets: Vec<_> = api.store().list_in(SETS, &deployment.meta.namespace).filter(owned).cloned().collect();
        sets.sort_by_key(|set| (set.meta.creation, set.meta.name.clone()));
        sets
    }

    /// Whether pods of old ReplicaSets are still there and not finished (`recreate.go`, oldPodsRunning).
    fn old_pods_run(&self, api: &Api, sets: &[Arc<Object>], newest: Option<usize>) -> bool {
        let old = sets.iter().enumerate().filter(|(at, _)| Some(*at) != newest);
        old.flat_map(|(_, set)| self.pods.of(api, &set.meta.uid)).any(|pod| !finished(&pod.value()))
    }

    fn create_set(&mut self, api: &mut Api, now: Timestamp, deployment: &Object, value: &Value, sets: &[Arc<Object>]) {
        let mut template = value["spec"]["template"].clone();
        let hash = template_hash(&template, number(value, "/status/collisionCount"));
        let mut selector = value["spec"]["selector"].clone();
        template["metadata"]["labels"][HASH] = json!(hash);
        selector["matchLabels"][HASH] = json!(hash);
        let replicas = Strategy::of(value).first_replicas(number(value, "/spec/replicas"), &members(sets, None));
        let mut annotations = copied_annotations(deployment);
        annotations.extend(size_annotations(value));
        annotations.insert(REVISION.to_owned(), json!((revision(sets) + 1).to_string()));
        let name = format!("{}-{hash}", deployment.meta.name);
        let mut set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": { "name": name, "labels": template["metadata"]["labels"], "annotations": annotations, "ownerReferences": [owner_reference(deployment)] },
            "spec": { "replicas": replicas, "selector": selector, "template": template },
        });
        // Go omits a zero.
        if let seconds @ 1.. = number(value, "/spec/minReadySeconds") {
            set["spec"]["minReadySeconds"] = json!(seconds);
        }
        match api.create(now, SETS, &deployment.meta.namespace, set) {
            Ok(_) => {
                if replicas > 0 {
                    let message = format!("Scaled up replica set {name} from 0 to {replicas}");
                    self.recorder.normal(api, now, deployment, "ScalingReplicaSet", &message);
                }
                let message = format!("Created new replica set {name:?}");
                self.progress(api, now, deployment, "True", "NewReplicaSetCreated", &message);
            }
            Err(why) if why.is_already_exists() => {
                // Another template of the same hash: count the collision, so that the next hash differs.
                let next = number(value, "/status/collisionCount") + 1;
                let _ = api.update_with(now, PLURAL, &deployment.meta.namespace, &deployment.meta.name, Some("status"), |object| {
                    object["status"]["collisionCount"] = json!(next);
                });
            }
            Err(why) => {
                let message = format!("Failed to create new replica set {name:?}: {why}");
                self.recorder.warning(api, now, deployment, "ReplicaSetCreateError", &message);
                self.progress(api, now, deployment, "False", "ReplicaSetCreateError", &message);
            }
        }
    }

    fn progress(&self, api: &mut Api, now: Timestamp, deployment: &Object, status: &str, reason: &str, message: &str) {
        let change = |object: &mut Value| set_condition(object, now, "Progressing", status, reason, message, true);
        // Deleted meanwhile: then there is no status to write.
        let _ = api.update_with(now, PLURAL, &deployment.meta.namespace, &deployment.meta.name, Some("status"), change);
    }

    /// The newest set carries the highest revision, the Deployment the same one (`sync.go`, getNewReplicaSet).
    fn sync_annotations(
        &self,
        api: &mut Api,
        now: Timestamp,
        deployment: &Object,
        value: &Value,
        sets: &[Arc<Object>],
        newest: &Arc<Object>,
    ) {
        let old: Vec<Arc<Object>> = sets.iter().filter(|set| set.meta.uid != newest.meta.uid).cloned().collect();
        let current = newest.meta.annotations.get(REVISION).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let wanted = current.max(revision(&old) + 1).to_string();
        let min_ready = number(value, "/spec/minReadySeconds");
        let copied = copied_annotations(deployment);
        let _ = api.update_with(now, SETS, &newest.meta.namespace, &newest.meta.name, None, |set| {
            let back = history(newest, current, &wanted).map(|text| (HISTORY.to_owned(), json!(text)));
            for (key, text) in copied.into_iter().chain([(REVISION.to_owned(), json!(wanted))]).chain(back) {
                set["metadata"]["annotations"][key] = text;
            }
            if number(set, "/spec/minReadySeconds") != min_ready {
                set["spec"]["minReadySeconds"] = json!(min_ready);
            }
        });
        if deployment.meta.annotations.get(REVISION) != Some(&wanted) {
            // By the status: the annotation is no new generation.
            let _ = api.update_with(now, PLURAL, &deployment.meta.namespace, &deployment.meta.name, Some("status"), |object| {
                object["metadata"]["annotations"][REVISION] = json!(wanted);
            });
        }
    }

    fn apply(&mut self, api: &mut Api, now: Timestamp, deployment: &Object, value: &Value, sets: &[Arc<Object>], plan: &Plan) {
        for (set, replicas) in sets.iter().zip(&plan.replicas) {
            let before = number(&set.value(), "/spec/replicas");
            let sizes = size_annotations(value);
            let changed = api.update_with(now, SETS, &set.meta.namespace, &set.meta.name, None, |object| {
                if before == *replicas && *replicas == 0 {
                    return;
                }
                object["spec"]["replicas"] = json!(replicas);
                for (key, text) in sizes {
                    object["metadata"]["annotations"][key] = text;
                }
            });
            if changed.is_ok() && before != *replicas {
                let direction = if *replicas > before { "up" } else { "down" };
                let message = format!("Scaled {direction} replica set {} from {before} to {replicas}", set.meta.name);
                self.recorder.normal(api, now, deployment, "ScalingReplicaSet", &message);
            }
        }
    }

    fn write_status(
        &mut self,
        api: &mut Api,
        now: Timestamp,
        deployment: &Object,
        value: &Value,
        sets: &[Arc<Object>],
        newest: Option<&Arc<Object>>,
    ) {
        let values: Vec<Arc<Value>> = sets.iter().map(|set| set.value()).collect();
        let sum = |field: &str| values.iter().map(|set| number(set, field)).sum::<i64>();
        let counts = Counts {
            wanted: number(value, "/spec/replicas"),
            asked: sum("/spec/replicas"),
            replicas: sum("/status/replicas"),
            updated: newest.map_or(0, |set| number(&set.value(), "/status/replicas")),
            ready: sum("/status/readyReplicas"),
            available: sum("/status/availableReplicas"),
            terminating: sum("/status/terminatingReplicas"),
        };
        let max_unavailable = Strategy::of(value).max_unavailable(counts.wanted);
        let subject = newest.map_or(format!("Deployment {:?}", deployment.meta.name), |set| format!("ReplicaSet {:?}", set.meta.name));
        let deadline = value["spec"]["progressDeadlineSeconds"].as_i64().filter(|seconds| *seconds < i64::from(i32::MAX));
        let paused = value["spec"]["paused"] == true;
        let failure = newest.into_iter().chain(sets).find_map(|set| condition(&set.value(), "ReplicaFailure").cloned());
        let written = api.update_with(now, PLURAL, &deployment.meta.namespace, &deployment.meta.name, Some("status"), |object| {
            let before = object["status"].clone();
            counts.write(&mut object["status"], deployment.meta.generation);
            let (status, reason, message) = if counts.available >= counts.wanted - max_unavailable {
                ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
            } else {
                ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
            };
            set_condition(object, now, "Available", status, reason, message, false);
            if let (Some(seconds), false) = (deadline, paused) {
                counts.progress(object, &before, now, seconds, &subject);
            }
            copy_failure(object, failure);
        });
        // Looked at again when its deadline passes, unless the rollout is complete or has failed.
        if let (Ok(object), Some(seconds), false) = (written, deadline, paused) {
            let value = object.value();
            // One that has succeeded is judged again only when its pods change (`progress.go`, isCompleteDeployment).
            let settled = |one: &Value| {
                one["reason"] == "ProgressDeadlineExceeded"
                    || (one["reason"] == "NewReplicaSetAvailable" && counts.replicas == counts.updated)
            };
            let waiting = condition(&value, "Progressing").filter(|one| !counts.complete() && !settled(one));
            if let Some(last) = waiting.and_then(|one| one["lastUpdateTime"].as_str()?.parse().ok()) {
                self.due.insert(key_of(deployment), after(last, seconds + 1));
            }
        }
    }

    /// Deletes the oldest empty sets beyond `revisionHistoryLimit`, once the rollout is complete.
    fn clean_up(&self, api: &mut Api, now: Timestamp, value: &Value, sets: &[Arc<Object>], newest: Option<&Arc<Object>>) {
        let Some(newest) = newest else { return };
        let new = newest.value();
        if number(&new, "/status/availableReplicas") < number(value, "/spec/replicas") {
            return;
        }
        let limit = value["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10);
        let mut old: Vec<&Arc<Object>> = sets.iter().filter(|set| set.meta.uid != newest.meta.uid && set.meta.deletion.is_none()).collect();
        old.sort_by_key(|set| revision(std::slice::from_ref(*set)));
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for set in old.into_iter().take(surplus) {
            let value = set.value();
            let empty = number(&value, "/spec/replicas") == 0 && number(&value, "/status/replicas") == 0;
            if empty && number(&value, "/status/observedGeneration") >= set.meta.generation {
                let _ = api.delete(now, SETS, &set.meta.namespace, &set.meta.name, DeleteOptions::background());
            }
        }
    }
}

struct Counts {
    wanted: i64,
    asked: i64,
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
    terminating: i64,
}

impl Counts {
    fn write(&self, status: &mut Value, generation: i64) {
        status["observedGeneration"] = json!(generation);
        let unavailable = (self.asked - self.available).max(0);
        let fields = [
            ("replicas", self.replicas),
            ("updatedReplicas", self.updated),
            ("readyReplicas", self.ready),
            ("availableReplicas", self.available),
            ("unavailableReplicas", unavailable),
        ];
        for (field, count) in fields {
            set_or_remove(status, field, usize::try_from(count).unwrap_or(0));
        }
        status["terminatingReplicas"] = json!(self.terminating);
    }

    /// `util/deployment_util.go`, DeploymentComplete.
    fn complete(&self) -> bool {
        self.updated == self.wanted && self.replicas == self.wanted && self.available == self.wanted
    }

    /// `progress.go`, syncRolloutStatus.
    fn progress(&self, object: &mut Value, before: &Value, now: Timestamp, deadline: i64, subject: &str) {
        let current = condition(object, "Progressing").cloned();
        let reason = current.as_ref().and_then(|one| one["reason"].as_str()).unwrap_or_default();
        if current.is_some() && reason == "NewReplicaSetAvailable" && self.replicas == self.updated {
            return;
        }
        let old = |field: &str| before[field].as_i64().unwrap_or(0);
        let moved = self.updated > old("updatedReplicas")
            || self.replicas - self.updated < old("replicas") - old("updatedReplicas")
            || self.ready > old("readyReplicas")
            || self.available > old("availableReplicas");
        let since = current.as_ref().and_then(|one| one["lastUpdateTime"].as_str()?.parse::<Timestamp>().ok());
        if self.complete() {
            set_condition(
                object,
                now,
                "Progressing",
                "True",
                "NewReplicaSetAvailable",
                &format!("{subject} has successfully progressed."),
                true,
            );
        } else if moved {
            set_condition(object, now, "Progressing", "True", "ReplicaSetUpdated", &format!("{subject} is progressing."), true);
        } else if since.is_some_and(|since| after(since, deadline) < now) && reason != "ProgressDeadlineExceeded" {
            set_condition(
                object,
                now,
                "Progressing",
                "False",
                "ProgressDeadlineExceeded",
                &format!("{subject} has timed out progressing."),
                true,
            );
        }
    }
}

/// With `touch`, `lastUpdateTime` moves even if status and reason stay (SetDeploymentCondition).
fn set_condition(object: &mut Value, now: Timestamp, kind: &str, status: &str, reason: &str, message: &str, touch: bool) {
    let old = condition(object, kind).cloned();
    if !touch && old.as_ref().is_some_and(|old| old["status"] == status && old["reason"] == reason) {
        return;
    }
    let moved = old.filter(|old| old["status"] == status).map_or(json!(time::seconds(now)), |old| old["lastTransitionTime"].clone());
    let new = json!({
        "type": kind, "status": status, "lastUpdateTime": time::seconds(now), "lastTransitionTime": moved, "reason": reason, "message": message,
    });
    remove_condition(object, kind);
    match object["status"]["conditions"].as_array_mut() {
        Some(list) => list.push(new),
        None => object["status"]["conditions"] = json!([new]),
    }
}

fn remove_condition(object: &mut Value, kind: &str) {
    if let Some(list) = object["status"].get_mut("conditions").and_then(Value::as_array_mut) {
        list.retain(|one| one["type"] != kind);
    }
}

fn copy_failure(object: &mut Value, failure: Option<Value>) {
    remove_condition(object, "ReplicaFailure");
    if let (Some(mut failure), Some(list)) = (failure, object["status"]["conditions"].as_array_mut()) {
        failure["lastUpdateTime"] = failure["lastTransitionTime"].clone();
        list.push(failure);
    }
}

fn members(sets: &[Arc<Object>], newest: Option<usize>) -> Vec<Member> {
    let read = |(at, set): (usize, &Arc<Object>)| {
        let value = set.value();
        let annotation = |key: &str| set.meta.annotations.get(key).and_then(|text| text.parse().ok());
        Member {
            newest: Some(at) == newest,
            replicas: number(&value, "/spec/replicas"),
            available: number(&value, "/status/availableReplicas"),
            desired: annotation(DESIRED),
            maximum: annotation(MAXIMUM),
        }
    };
    sets.iter().enumerate().map(read).collect()
}

fn revision(sets: &[Arc<Object>]) -> i64 {
    sets.iter().filter_map(|set| set.meta.annotations.get(REVISION)?.parse().ok()).max().unwrap_or(0)
}

/// The revisions that a set had before, when it becomes the newest again (SetNewReplicaSetAnnotations).
fn history(set: &Object, current: i64, wanted: &str) -> Option<String> {
    let old = set.meta.annotations.get(REVISION).filter(|_| wanted.parse::<i64>().is_ok_and(|wanted| current < wanted))?;
    let told = set.meta.annotations.get(HISTORY).map_or("", String::as_str);
    let mut kept: Vec<&str> = told.split(',').filter(|one| !one.is_empty()).chain([old.as_str()]).collect();
    // The oldest are forgotten.
    while kept.len() > 1 && kept.iter().map(|one| one.len() + 1).sum::<usize>() - 1 > LONGEST_HISTORY {
        kept.remove(0);
    }
    Some(kept.join(","))
}

/// Annotations of the Deployment that its sets carry too.
fn copied_annotations(deployment: &Object) -> BTreeMap<String, Value> {
    let own = |key: &str| [REVISION, HISTORY, DESIRED, MAXIMUM, "kubectl.kubernetes.io/last-applied-configuration"].contains(&key);
    deployment.meta.annotations.iter().filter(|(key, _)| !own(key)).map(|(key, text)| (key.clone(), json!(text))).collect()
}

fn size_annotations(value: &Value) -> BTreeMap<String, Value> {
    let wanted = number(value, "/spec/replicas");
    let most = wanted + Strategy::of(value).max_surge(wanted);
    BTreeMap::from([(DESIRED.to_owned(), json!(wanted.to_string())), (MAXIMUM.to_owned(), json!(most.to_string()))])
}

/// `util/deployment_util.go`, EqualIgnoreHash.
fn same_template(of_set: &Value, wanted: &Value) -> bool {
    if !alike(&of_set["spec"], &wanted["spec"]) {
        return false;
    }
    let mut bare = of_set.clone();
    if let Some(labels) = bare["metadata"]["labels"].as_object_mut() {
        labels.shift_remove(HASH);
    }
    alike(&bare, wanted)
}

/// Whether two values have one canonical form.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let count = |map: &Map<String, Value>| map.values().filter(|value| !vanishes(value)).count();
            let there = |key: &String| other.get(key).filter(|value| !vanishes(value));
            count(one) == count(other)
                && one.iter().all(|(key, value)| vanishes(value) || there(key).is_some_and(|opposite| alike(value, opposite)))
        }
        (Value::Array(one), Value::Array(other)) => one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other)),
        _ => one == other,
    }
}

/// Whether Go would omit a field of this value.
fn vanishes(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(|map| map.values().all(vanishes))
}

/// Without what Go omits when it is empty, and in one order of keys.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields: BTreeMap<&String, Value> = map.iter().map(|(key, value)| (key, canonical(value))).collect();
            let empty = |value: &Value| value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
            Value::Object(fields.into_iter().filter(|(_, value)| !empty(value)).map(|(key, value)| (key.clone(), value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

/// FNV-1a over the template and the number of collisions so far, in the letters of `rand.SafeEncodeString`. Upstream hashes Go's own
/// rendering of the struct, so the letters differ from a real cluster's; their form does not.
pub(super) fn template_hash(template: &Value, collisions: i64) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = canonical(template).to_string().into_bytes();
    if collisions > 0 {
        text.extend(collisions.to_le_bytes());
    }
    let hash = text.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| LETTERS[usize::from(digit) % LETTERS.len()] as char).collect()
}
