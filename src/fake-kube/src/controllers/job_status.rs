//! What a Job says of itself: numbers, conditions, the event of its end.
//!
//! Source: `pkg/controller/job/job_controller.go`, enactJobFinished, recordJobFinished, ensureJobConditionStatus; `backoff_utils.go`.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::events::Recorder;
use super::pods::condition;
use super::replica_sets::set_or_remove;
use crate::api::Api;
use crate::store::Object;
use crate::time;

const PLURAL: &str = "batch/jobs";

/// How a Job ends.
pub(super) struct Verdict {
    pub success: bool,
    reason: String,
    message: String,
}

impl Verdict {
    pub fn failed(reason: &str, message: &str) -> Verdict {
        Verdict { success: false, reason: reason.to_owned(), message: message.to_owned() }
    }

    pub fn met(reason: &str, message: &str) -> Verdict {
        Verdict { success: true, reason: reason.to_owned(), message: message.to_owned() }
    }

    pub fn complete() -> Verdict {
        let message = "Reached expected number of succeeded pods";
        Verdict { success: true, reason: "CompletionsReached".to_owned(), message: message.to_owned() }
    }

    /// The condition that says what will be said once no pod is left, and that one.
    fn conditions(&self) -> (&'static str, &'static str) {
        if self.success { ("SuccessCriteriaMet", "Complete") } else { ("FailureTarget", "Failed") }
    }
}

/// What is written beside conditions.
pub(super) struct Numbers {
    /// `active`, `succeeded`, `failed`, `ready`, `terminating`.
    pub numbers: [(&'static str, i64); 5],
    /// Which indices have succeeded, of an indexed Job.
    pub indexes: Option<String>,
    /// Which have failed for good, where failures are limited per index.
    pub failed_indexes: Option<String>,
    pub suspended: bool,
}

pub(super) fn many<T>(list: &[T]) -> i64 {
    i64::try_from(list.len()).unwrap_or(i64::MAX)
}

pub(super) fn is_over(job: &Value) -> bool {
    ["Complete", "Failed"].iter().any(|kind| condition(job, kind).is_some_and(|one| one["status"] == "True"))
}

pub(super) fn write(api: &mut Api, now: Timestamp, job: &Object, what: &Numbers, verdict: Option<&Verdict>, recorder: &mut Recorder) {
    let mut said: Option<(&'static str, &'static str)> = None;
    let mut ended = false;
    // Gone meanwhile: then nobody asks.
    let _ = api.update_with(now, PLURAL, &job.meta.namespace, &job.meta.name, Some("status"), |object| {
        if !what.suspended && object["status"].get("startTime").is_none() {
            object["status"]["startTime"] = json!(time::seconds(now));
        }
        numbers(&mut object["status"], what);
        let over = verdict.is_some_and(|verdict| conclude(object, now, verdict, what));
        ended = over;
        if verdict.is_none() {
            said = suspend(object, now, what.suspended);
        }
    });
    if let Some((reason, message)) = said {
        recorder.normal(api, now, job, reason, message);
    }
    match verdict.filter(|_| ended) {
        Some(verdict) if verdict.success => recorder.normal(api, now, job, "Completed", "Job completed"),
        Some(verdict) => {
            let known = ["BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy", "FailedIndexes", "MaxFailedIndexesExceeded"];
            let reason = known.into_iter().find(|one| *one == verdict.reason).unwrap_or("Failed");
            recorder.warning(api, now, job, reason, &verdict.message);
        }
        None => {}
    }
}

fn numbers(status: &mut Value, what: &Numbers) {
    for (field, count) in what.numbers {
        if matches!(field, "ready" | "terminating") {
            status[field] = json!(count);
        } else {
            set_or_remove(status, field, usize::try_from(count).unwrap_or(0));
        }
    }
    status["uncountedTerminatedPods"] = json!({});
    if let (Some(text), Some(map)) = (&what.indexes, status.as_object_mut()) {
        if text.is_empty() {
            map.shift_remove("completedIndexes");
        } else {
            map.insert("completedIndexes".to_owned(), json!(text));
        }
    }
    if let Some(text) = &what.failed_indexes {
        status["failedIndexes"] = json!(text);
    }
}

/// Says what comes, and once no pod is on its way out, that it has come. True when it has.
fn conclude(object: &mut Value, now: Timestamp, verdict: &Verdict, what: &Numbers) -> bool {
    let (before, at_last) = verdict.conditions();
    ensure(object, now, before, true, &verdict.reason, &verdict.message);
    if what.numbers.iter().any(|(field, count)| *field == "terminating" && *count > 0) {
        return false;
    }
    ensure(object, now, at_last, true, &verdict.reason, &verdict.message);
    if verdict.success {
        object["status"]["completionTime"] = json!(time::seconds(now));
    }
    true
}

/// The event's reason and message when it has changed.
fn suspend(object: &mut Value, now: Timestamp, suspended: bool) -> Option<(&'static str, &'static str)> {
    let (reason, message) = if suspended { ("JobSuspended", "Job suspended") } else { ("JobResumed", "Job resumed") };
    if !ensure(object, now, "Suspended", suspended, reason, message) {
        return None;
    }
    if suspended {
        if let Some(status) = object["status"].as_object_mut() {
            status.shift_remove("startTime");
        }
        return Some(("Suspended", message));
    }
    object["status"]["startTime"] = json!(time::seconds(now));
    Some(("Resumed", message))
}

/// ensureJobConditionStatus: a condition that never held is not written as false.
fn ensure(object: &mut Value, now: Timestamp, kind: &str, holds: bool, reason: &str, message: &str) -> bool {
    let status = if holds { "True" } else { "False" };
    let at = time::seconds(now);
    let new =
        json!({ "type": kind, "status": status, "lastProbeTime": at, "lastTransitionTime": at, "reason": reason, "message": message });
    let list = &mut object["status"]["conditions"];
    if !list.is_array() {
        *list = json!([]);
    }
    let Value::Array(list) = list else { return false };
    match list.iter_mut().find(|one| one["type"] == kind) {
        Some(old) if old["status"] == status && old["reason"] == reason && old["message"] == message => false,
        Some(old) => {
            *old = new;
            true
        }
        None if holds => {
            list.push(new);
            true
        }
        None => false,
    }
}

/// getFinishedTime.
pub(super) fn finished_at(pod: &Arc<Object>) -> Timestamp {
    let value = pod.value();
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let statuses = value["status"]["containerStatuses"].as_array().filter(|list| !list.is_empty());
    let ends: Option<Vec<Timestamp>> =
        statuses.and_then(|list| list.iter().map(|one| time(&one["state"]["terminated"]["finishedAt"])).collect());
    let ended = ends.and_then(|ends| ends.into_iter().max());
    let unready = || condition(&value, "Ready").filter(|one| one["status"] == "False").and_then(|one| time(&one["lastTransitionTime"]));
    let deleted = || {
        let grace = SignedDuration::from_secs(value["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0));
        time(&value["metadata"]["deletionTimestamp"]).and_then(|at| at.checked_sub(grace).ok())
    };
    ended.or_else(unready).or_else(deleted).unwrap_or(pod.meta.creation)
}
