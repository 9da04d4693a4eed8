//! Makes Jobs at the times of a schedule, and removes old ones.
//!
//! Source: `pkg/controller/cronjob/{cronjob_controllerv2,utils}.go`. A look comes a tenth of a second after each scheduled time, as there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::events::Recorder;
use super::job_status::is_over;
use super::owned::Owned;
use super::pods::{Key, after, condition, key_of, owner_reference};
use super::volumes::text;
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::cron::Schedule;
use crate::store::{Change, Object};
use crate::time;

const PLURAL: &str = "batch/cronjobs";
const JOBS: &str = "batch/jobs";
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// nextScheduleDelta.
const PADDING: SignedDuration = SignedDuration::from_millis(100);
/// Above this the missed times are said to be too many.
const MANY: i64 = 100;

pub(super) struct CronJobs {
    jobs: Owned,
    due: BTreeMap<Key, Timestamp>,
    recorder: Recorder,
}

impl Default for CronJobs {
    fn default() -> Self {
        CronJobs { jobs: Owned::new(JOBS), due: BTreeMap::new(), recorder: Recorder::new("cronjob-controller") }
    }
}

impl Controller for CronJobs {
    fn name(&self) -> &'static str {
        "cronjob"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut dirty: BTreeSet<Key> = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for change in changed {
            dirty.extend(self.jobs.apply(change).into_iter().filter(|(kind, _)| kind == "CronJob").map(|(_, key)| key));
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
        // What is scheduled for later is no work that is under way.
        Vec::new()
    }
}

/// What one look found and changed: the status is written once.
struct Look {
    cron: Arc<Object>,
    value: Arc<Value>,
    active: Vec<Value>,
    last_scheduled: Option<Timestamp>,
    last_successful: Option<Timestamp>,
    zone: TimeZone,
}

impl Look {
    fn is_active(&self, uid: &str) -> bool {
        self.active.iter().any(|one| one["uid"] == uid)
    }

    fn forget(&mut self, uid: &str) {
        self.active.retain(|one| one["uid"] != uid);
    }
}

fn instant(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

impl CronJobs {
    fn sync(&mut self, api: &mut Api, now: Timestamp, key: &Key) {
        let Some(cron) = api.store().get(PLURAL, &key.0, &key.1).cloned() else { return };
        let value = cron.value();
        let jobs = self.jobs.of(api, &cron.meta.uid);
        let mut look = Look {
            active: value["status"]["active"].as_array().cloned().unwrap_or_default(),
            last_scheduled: instant(&value["status"]["lastScheduleTime"]),
            last_successful: instant(&value["status"]["lastSuccessfulTime"]),
            zone: TimeZone::UTC,
            cron,
            value,
        };
        self.clean_up(api, now, &mut look, &jobs);
        self.take_stock(api, now, &mut look, &jobs);
        if look.cron.meta.deletion.is_none()
            && let Some(next) = self.schedule(api, now, &mut look)
        {
            self.due.insert(key.clone(), next);
        }
        write(api, now, &look);
    }

    /// cleanupFinishedJobs: no more than so many that succeeded and so many that failed, the oldest go.
    fn clean_up(&mut self, api: &mut Api, now: Timestamp, look: &mut Look, jobs: &[Arc<Object>]) {
        for (limit, kind) in [("successfulJobsHistoryLimit", "Complete"), ("failedJobsHistoryLimit", "Failed")] {
            let Some(most) = look.value["spec"][limit].as_u64() else { continue };
            let ended = |job: &&Arc<Object>| condition(&job.value(), kind).is_some_and(|one| one["status"] == "True");
            let mut finished: Vec<&Arc<Object>> = jobs.iter().filter(ended).collect();
            finished.sort_by_key(|job| (instant(&job.value()["status"]["startTime"]).unwrap_or(Timestamp::MAX), job.meta.name.clone()));
            let surplus = finished.len().saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
            for job in finished.into_iter().take(surplus) {
                self.delete(api, now, look, job);
            }
        }
    }

    fn delete(&mut self, api: &mut Api, now: Timestamp, look: &mut Look, job: &Object) -> bool {
        if let Err(why) = api.delete(now, JOBS, &job.meta.namespace, &job.meta.name, DeleteOptions::background()) {
            self.recorder.warning(api, now, &look.cron, "FailedDelete", &format!("Deleted job: {why}"));
            return false;
        }
        look.forget(&job.meta.uid);
        self.recorder.normal(api, now, &look.cron, "SuccessfulDelete", &format!("Deleted job {}", job.meta.name));
        true
    }

    /// Which Jobs still run, and which have ended since the last look.
    fn take_stock(&mut self, api: &mut Api, now: Timestamp, look: &mut Look, jobs: &[Arc<Object>]) {
        for job in jobs {
            let value = job.value();
            let (known, over) = (look.is_active(&job.meta.uid), is_over(&value));
            if !known && !over {
                let message = format!("Saw a job that the controller did not create or forgot: {}", job.meta.name);
                self.recorder.warning(api, now, &look.cron, "UnexpectedJob", &message);
            }
            let complete = condition(&value, "Complete").is_some_and(|one| one["status"] == "True");
            if known && over {
                look.forget(&job.meta.uid);
                let kind = if complete { "Complete" } else { "Failed" };
                let message = format!("Saw completed job: {}, condition: {kind}", job.meta.name);
                self.recorder.normal(api, now, &look.cron, "SawCompletedJob", &message);
            }
            if complete {
                look.last_successful = look.last_successful.max(instant(&value["status"]["completionTime"]));
            }
        }
        let missing = |one: &&Value| {
            let found = api.store().get(JOBS, &text(&one["namespace"]), &text(&one["name"]));
            found.is_none_or(|job| one["uid"] != job.meta.uid.as_str())
        };
        let gone: Vec<Value> = look.active.iter().filter(missing).cloned().collect();
        for one in gone {
            look.forget(&text(&one["uid"]));
            self.recorder.normal(api, now, &look.cron, "MissingJob", &format!("Active job went missing: {}", text(&one["name"])));
        }
    }

    /// Makes the Job that is due, if one is; when to look again.
    fn schedule(&mut self, api: &mut Api, now: Timestamp, look: &mut Look) -> Option<Timestamp> {
        let spec = look.value.clone();
        let spec = &spec["spec"];
        if let Some(name) = spec["timeZone"].as_str() {
            match TimeZone::get(name) {
                Ok(zone) => look.zone = zone,
                Err(_) => {
                    let message = format!("invalid timeZone: {}: unknown time zone {name}", crate::status::quoted(name));
                    self.recorder.warning(api, now, &look.cron, "UnknownTimeZone", &message);
                    return None;
                }
            }
        }
        if spec["suspend"] == true {
            return None;
        }
        let said = spec["schedule"].as_str().unwrap_or_default();
        let schedule = match Schedule::parse(said) {
            Ok(schedule) => schedule,
            Err(why) => {
                let message = format!("unparseable schedule: {} : {why}", crate::status::quoted(said));
                self.recorder.warning(api, now, &look.cron, "UnparseableSchedule", &message);
                return None;
            }
        };
        let deadline = spec["startingDeadlineSeconds"].as_i64();
        if let Some((scheduled, missed)) = most_recent(look, now, &schedule, deadline) {
            if missed > MANY {
                let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
                self.recorder.warning(api, now, &look.cron, "TooManyMissedTimes", message);
            }
            if deadline.is_some_and(|seconds| after(scheduled, seconds) < now) {
                let shown = scheduled.strftime("%a, %d %b %Y %H:%M:%S +0000");
                self.recorder.warning(api, now, &look.cron, "MissSchedule", &format!("Missed scheduled time to start a job: {shown}"));
            } else {
                self.start(api, now, look, scheduled)?;
            }
        }
        // After the last scheduled time; after now when it was missed.
        let from = match most_recent(look, now, &schedule, None) {
            Some((recent, _)) => recent,
            None => look.last_scheduled.unwrap_or(look.cron.meta.creation),
        };
        schedule.next(from, &look.zone)?.checked_add(PADDING).ok().map(|at| at.max(now + PADDING))
    }

    /// None when something failed that is to be looked at with the next change.
    fn start(&mut self, api: &mut Api, now: Timestamp, look: &mut Look, scheduled: Timestamp) -> Option<()> {
        let namespace = look.cron.meta.namespace.clone();
        let name = format!("{}-{}", look.cron.meta.name, scheduled.as_second() / 60);
        if look.active.iter().any(|one| one["name"] == name) || look.last_scheduled == Some(scheduled) {
            return Some(());
        }
        match look.value["spec"]["concurrencyPolicy"].as_str() {
            Some("Forbid") if !look.active.is_empty() => {
                let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.recorder.normal(api, now, &look.cron, "JobAlreadyActive", message);
                return Some(());
            }
            Some("Replace") => {
                for one in look.active.clone() {
                    let job = api.store().get(JOBS, &namespace, &text(&one["name"])).cloned()?;
                    if !self.delete(api, now, look, &job) {
                        return None;
                    }
                }
            }
            _ => {}
        }
        let job = match api.create(now, JOBS, &namespace, job_of(look, &name, scheduled)) {
            Ok(job) => {
                self.recorder.normal(api, now, &look.cron, "SuccessfulCreate", &format!("Created job {}", job.meta.name));
                job
            }
            Err(why) if why.is_already_exists() => {
                let job = api.store().get(JOBS, &namespace, &name).cloned()?;
                let ours = job.meta.controller().is_some_and(|owner| owner.uid == look.cron.meta.uid);
                if !ours || look.is_active(&job.meta.uid) {
                    return None;
                }
                job
            }
            Err(why) => {
                self.recorder.warning(api, now, &look.cron, "FailedCreate", &format!("Error creating job: {why}"));
                return None;
            }
        };
        look.active.push(json!({
            "kind": "Job", "namespace": namespace, "name": name, "uid": job.meta.uid, "apiVersion": "batch/v1",
            "resourceVersion": job.meta.resource_version.to_string(),
        }));
        look.last_scheduled = Some(scheduled);
        Some(())
    }
}

/// The latest time that has come, and about how many came (mostRecentScheduleTime). With a deadline nothing before it counts.
fn most_recent(look: &Look, now: Timestamp, schedule: &Schedule, deadline: Option<i64>) -> Option<(Timestamp, i64)> {
    let mut earliest = look.last_scheduled.unwrap_or(look.cron.meta.creation);
    if let Some(seconds) = deadline {
        earliest = earliest.max(after(now, -seconds));
    }
    let first = schedule.next(earliest, &look.zone).filter(|at| *at <= now)?;
    let Some(second) = schedule.next(first, &look.zone).filter(|at| *at <= now) else { return Some((first, 1)) };
    let between = second.duration_since(first).as_secs().max(1);
    let missed = now.duration_since(first).as_secs() / between + 1;
    let (mut recent, mut next) = (None, schedule.next(after(first, (missed - 2) * between), &look.zone));
    while let Some(at) = next.filter(|at| *at <= now) {
        recent = Some(at);
        next = schedule.next(at, &look.zone);
    }
    recent.map(|at| (at, missed))
}

fn job_of(look: &Look, name: &str, scheduled: Timestamp) -> Value {
    let template = &look.value["spec"]["jobTemplate"];
    let mut metadata = json!({ "name": name, "ownerReferences": [owner_reference(&look.cron)] });
    if template["metadata"]["labels"].is_object() {
        metadata["labels"] = template["metadata"]["labels"].clone();
    }
    metadata["annotations"] = match &template["metadata"]["annotations"] {
        Value::Object(notes) => Value::Object(notes.clone()),
        _ => json!({}),
    };
    let shown = scheduled.to_zoned(look.zone.clone());
    let shown = if shown.offset().is_zero() { time::seconds(scheduled) } else { shown.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string() };
    metadata["annotations"][SCHEDULED] = json!(shown);
    json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"] })
}

fn write(api: &mut Api, now: Timestamp, look: &Look) {
    let moment = |at: Option<Timestamp>| at.map(|at| json!(time::seconds(at)));
    let status = [
        ("active", (!look.active.is_empty()).then(|| Value::Array(look.active.clone()))),
        ("lastScheduleTime", moment(look.last_scheduled)),
        ("lastSuccessfulTime", moment(look.last_successful)),
    ];
    // Gone meanwhile: then nobody asks.
    let _ = api.update_with(now, PLURAL, &look.cron.meta.namespace, &look.cron.meta.name, Some("status"), |cron| {
        for (field, value) in status {
            match (value, cron["status"].as_object_mut()) {
                (Some(value), _) => cron["status"][field] = value,
                (None, Some(status)) => drop(status.shift_remove(field)),
                (None, None) => {}
            }
        }
    });
}
