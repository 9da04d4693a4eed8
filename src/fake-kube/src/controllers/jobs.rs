//! Runs pods to completion: parallelism, completions, the limit of failures.
//!
//! Source: `pkg/controller/job/job_controller.go`. Counts come from the pods that are there, not from tracking finalizers; indexed
//! completion, suspension and deadlines are not modelled. Failed pods are replaced after 10 s, doubled up to 10 minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::Recorder;
use super::owned::Owned;
use super::pods::{Key, active, after, condition, from_template, key_of, phase, ready_since, set_condition};
use super::replica_sets::set_or_remove;
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, Object};
use crate::time;

const PLURAL: &str = "batch/jobs";
/// DefaultJobPodFailureBackOff and MaxJobPodFailureBackOff.
const BACKOFF_SECONDS: (i64, i64) = (10, 600);

pub(super) struct Jobs {
    pods: Owned,
    due: BTreeMap<Key, Timestamp>,
    recorder: Recorder,
}

impl Default for Jobs {
    fn default() -> Self {
        Jobs { pods: Owned::new("pods"), due: BTreeMap::new(), recorder: Recorder::new("job-controller") }
    }
}

impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut dirty: BTreeSet<Key> = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for change in changed {
            dirty.extend(self.pods.apply(change).into_iter().filter(|(kind, _)| kind == "Job").map(|(_, key)| key));
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
        self.due.keys().map(|(namespace, name)| format!("Job {namespace}/{name} waits before it replaces a failed pod")).collect()
    }
}

impl Jobs {
    fn sync(&mut self, api: &mut Api, now: Timestamp, key: &Key) {
        let Some(job) = api.store().get(PLURAL, &key.0, &key.1).cloned() else { return };
        let value = job.value();
        let over = ["Complete", "Failed"].iter().any(|kind| condition(&value, kind).is_some_and(|one| one["status"] == "True"));
        if over || job.meta.deletion.is_some() {
            return;
        }
        let all = self.pods.of(api, &job.meta.uid);
        let mut tally = Tally::default();
        for pod in &all {
            tally.count(pod);
        }
        let completions = value["spec"]["completions"].as_i64();
        let parallelism = value["spec"]["parallelism"].as_i64().unwrap_or(1);
        let wanted = completions.unwrap_or(1);
        let limit = value["spec"]["backoffLimit"].as_i64().unwrap_or(6);
        let verdict = if tally.failed as i64 > limit {
            Some(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"))
        } else if tally.succeeded as i64 >= wanted && (completions.is_some() || tally.active.is_empty()) {
            Some(("Complete", "CompletionsReached", "Reached expected number of succeeded pods"))
        } else {
            None
        };
        // Without completions the pods agree among themselves: once one has succeeded, no more are made.
        let room = match completions {
            Some(_) => parallelism.min((wanted - tally.succeeded as i64).max(0)),
            None if tally.succeeded > 0 => tally.active.len() as i64,
            None => parallelism,
        };
        match &verdict {
            Some(_) => self.delete(api, now, &job, &tally.active),
            None if tally.active.len() as i64 > room => self.delete(api, now, &job, &tally.active[room.max(0) as usize..]),
            None => self.create(api, now, &job, &value, room - tally.active.len() as i64, &tally),
        }
        self.write_status(api, now, &job, &tally, verdict);
    }

    fn create(&mut self, api: &mut Api, now: Timestamp, job: &Object, value: &Value, count: i64, tally: &Tally) {
        if let (Some(last), true) = (tally.last_failure, count > 0) {
            let doublings = u32::try_from(tally.failed.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
            let ready_at = after(last, (BACKOFF_SECONDS.0 << doublings).min(BACKOFF_SECONDS.1));
            if ready_at > now {
                self.due.insert(key_of(job), ready_at);
                return;
            }
        }
        for _ in 0..count {
            match api.create(now, "pods", &job.meta.namespace, from_template(job, &value["spec"]["template"])) {
                Ok(pod) => self.recorder.normal(api, now, job, "SuccessfulCreate", &format!("Created pod: {}", pod.meta.name)),
                Err(why) => {
                    self.recorder.warning(api, now, job, "FailedCreate", &format!("Error creating: {why}"));
                    self.due.insert(key_of(job), after(now, 1));
                    return;
                }
            }
        }
    }

    fn delete(&mut self, api: &mut Api, now: Timestamp, job: &Object, pods: &[Arc<Object>]) {
        for pod in pods {
            if api.delete(now, "pods", &pod.meta.namespace, &pod.meta.name, DeleteOptions::default().if_uid(&pod.meta.uid)).is_ok() {
                self.recorder.normal(api, now, job, "SuccessfulDelete", &format!("Deleted pod: {}", pod.meta.name));
            }
        }
    }

    fn write_status(&mut self, api: &mut Api, now: Timestamp, job: &Object, tally: &Tally, verdict: Option<(&str, &'static str, &str)>) {
        let written = api.update_with(now, PLURAL, &job.meta.namespace, &job.meta.name, Some("status"), |object| {
            let status = &mut object["status"];
            if status.get("startTime").is_none() {
                status["startTime"] = json!(time::seconds(now));
            }
            let active = if verdict.is_some() { 0 } else { tally.active.len() };
            for (field, count) in [("active", active), ("succeeded", tally.succeeded), ("failed", tally.failed)] {
                set_or_remove(status, field, count);
            }
            status["ready"] = json!(if verdict.is_some() { 0 } else { tally.ready });
            status["terminating"] = json!(tally.terminating);
            let Some((kind, reason, message)) = verdict else { return };
            if kind == "Complete" {
                status["completionTime"] = json!(time::seconds(now));
            }
            let before = if kind == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
            for kind in [before, kind] {
                set_condition(
                    object,
                    now,
                    json!({ "type": kind, "status": "True", "lastProbeTime": time::seconds(now), "reason": reason, "message": message }),
                );
            }
        });
        if let (Ok(_), Some((kind, reason, message))) = (written, verdict) {
            match kind {
                "Complete" => self.recorder.normal(api, now, job, "Completed", "Job completed"),
                _ => self.recorder.warning(api, now, job, reason, message),
            }
        }
    }
}

#[derive(Default)]
struct Tally {
    active: Vec<Arc<Object>>,
    ready: usize,
    succeeded: usize,
    failed: usize,
    terminating: usize,
    last_failure: Option<Timestamp>,
}

impl Tally {
    fn count(&mut self, pod: &Arc<Object>) {
        let value = pod.value();
        match phase(&value) {
            "Succeeded" => self.succeeded += 1,
            "Failed" => {
                self.failed += 1;
                let ends = value["status"]["containerStatuses"].as_array().into_iter().flatten();
                let ended = ends.filter_map(|one| one["state"]["terminated"]["finishedAt"].as_str()?.parse::<Timestamp>().ok()).max();
                self.last_failure = self.last_failure.max(ended.or(Some(pod.meta.creation)));
            }
            _ if active(pod, &value) => {
                self.ready += usize::from(ready_since(&value).is_some());
                self.active.push(pod.clone());
            }
            _ => self.terminating += 1,
        }
    }
}
