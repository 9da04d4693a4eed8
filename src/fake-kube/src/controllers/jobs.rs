//! Runs pods to completion: parallelism, completions, indices, the limit of failures, deadlines, suspension, and the end of finished Jobs.
//!
//! Source: `pkg/controller/job/{job_controller,backoff_utils,indexed_job_utils}.go`, `pkg/controller/ttlafterfinished`. Pods carry the tracking
//! finalizer until they are counted; what upstream writes in two steps (`uncountedTerminatedPods`, then the number) is one write here.
//! Not modelled: `managedBy`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::Recorder;
use super::job_indexes::{self, Indexes};
use super::job_policies::{self, Outcome};
use super::job_status::{Numbers, Verdict, finished_at, is_over, many, write};
use super::owned::Owned;
use super::pods::{Key, active, after, condition, from_template, key_of, number, phase, ready_since};
use super::ranking::rank;
use super::volumes::text;
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, EventType, Object};

const PLURAL: &str = "batch/jobs";
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// DefaultJobPodFailureBackOff and MaxJobPodFailureBackOff.
const BACKOFF_SECONDS: (i64, i64) = (10, 600);
/// MaxPodCreateDeletePerSync.
const BURST: usize = 500;

/// Failures since the last success, and when the last of them was.
#[derive(Clone, Copy, Default)]
struct Backoff {
    failures: u32,
    last: Option<Timestamp>,
}

pub(super) struct Jobs {
    pods: Owned,
    due: BTreeMap<Key, (Timestamp, Why)>,
    backoff: BTreeMap<String, Backoff>,
    recorder: Recorder,
}

/// What a Job waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Retry,
    Deadline,
    Expiry,
}

impl Default for Jobs {
    fn default() -> Self {
        Jobs { pods: Owned::new("pods"), due: BTreeMap::new(), backoff: BTreeMap::new(), recorder: Recorder::new("job-controller") }
    }
}

impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut dirty: BTreeSet<Key> = self.due.iter().filter(|(_, (at, _))| *at <= now).map(|(key, _)| key.clone()).collect();
        let mut orphans = Vec::new();
        for change in changed {
            dirty.extend(self.pods.apply(change).into_iter().filter(|(kind, _)| kind == "Job").map(|(_, key)| key));
            if change.plural() == PLURAL {
                dirty.insert(key_of(&change.object));
                if change.event == EventType::Deleted {
                    self.backoff.remove(&change.object.meta.uid);
                    orphans.extend(self.pods.of(api, &change.object.meta.uid));
                }
            } else if change.plural() == "pods" && change.event != EventType::Deleted && tracked(&change.object) {
                orphans.push(change.object.clone());
            }
        }
        // Nobody counts pods whose Job is gone (syncOrphanPod).
        for pod in orphans {
            let of = pod.meta.controller().filter(|owner| owner.kind == "Job");
            let job =
                of.and_then(|owner| api.store().get(PLURAL, &pod.meta.namespace, &owner.name).filter(|job| job.meta.uid == owner.uid));
            if job.is_none() {
                release(api, now, &pod);
            }
        }
        for key in dirty {
            self.due.remove(&key);
            self.sync(api, now, &key);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due.values().map(|(at, _)| *at).min()
    }

    fn unsettled(&self, _: &Api) -> Vec<String> {
        let retries = self.due.iter().filter(|(_, (_, why))| *why == Why::Retry);
        retries.map(|((namespace, name), _)| format!("Job {namespace}/{name} waits before it replaces a failed pod")).collect()
    }
}

/// A Job with its pods, as one look sees them.
struct Look<'a> {
    job: &'a Object,
    value: &'a Value,
    pods: Vec<Arc<Object>>,
    active: Vec<Arc<Object>>,
    /// Pods that are to be counted with this look.
    succeeded: Vec<Arc<Object>>,
    failed: Vec<Arc<Object>>,
    indexes: Option<Indexes>,
    /// With `backoffLimitPerIndex`: the indices that get no other pod.
    failed_indexes: Option<Indexes>,
    /// With it, too: the last failed pod of an index that has none now. It is kept, and not counted, until its successor has taken over
    /// how often the index has failed (getPodsWithDelayedDeletionPerIndex).
    replaced: BTreeMap<i64, Arc<Object>>,
}

impl<'a> Look<'a> {
    fn at(job: &'a Object, value: &'a Value, pods: Vec<Arc<Object>>) -> Look<'a> {
        let completions = number(value, "/spec/completions");
        let indexed = value["spec"]["completionMode"] == "Indexed";
        // Only failed pods are replaced: then one that is going is not failed yet.
        let patient = value["spec"]["podReplacementPolicy"] == "Failed";
        let mut look = Look {
            job,
            value,
            pods: Vec::new(),
            active: Vec::new(),
            succeeded: Vec::new(),
            failed: Vec::new(),
            indexes: None,
            failed_indexes: None,
            replaced: BTreeMap::new(),
        };
        let mut done = indexed.then(|| Indexes::parse(value["status"]["completedIndexes"].as_str().unwrap_or_default(), completions));
        for pod in &pods {
            let one = pod.value();
            let index = job_indexes::of(pod).filter(|index| *index < completions);
            let counts = tracked(pod) && (!indexed || index.is_some());
            match phase(&one) {
                "Succeeded" => {
                    if let (Some(done), Some(index)) = (&mut done, index) {
                        done.add(index);
                    }
                    if counts {
                        look.succeeded.push(pod.clone());
                    }
                }
                "Failed" if counts => look.failed.push(pod.clone()),
                "Failed" => {}
                _ if active(pod, &one) => look.active.push(pod.clone()),
                _ if counts && !patient => look.failed.push(pod.clone()),
                _ => {}
            }
        }
        look.pods = pods;
        look.indexes = done;
        if indexed && value["spec"]["backoffLimitPerIndex"].is_i64() {
            look.per_index(completions);
        }
        look
    }

    fn per_index(&mut self, completions: i64) {
        let mut lost = Indexes::parse(self.value["status"]["failedIndexes"].as_str().unwrap_or_default(), completions);
        for pod in self.failed.iter().filter(|pod| job_policies::fails_index(self.value, pod)) {
            job_indexes::of(pod).into_iter().for_each(|index| lost.add(index));
        }
        let taken: BTreeSet<i64> = self.active.iter().filter_map(|pod| job_indexes::of(pod)).collect();
        let over = |index: i64| lost.has(index) || taken.contains(&index) || self.indexes.as_ref().is_some_and(|done| done.has(index));
        let age = |pod: &Arc<Object>| {
            let (counted, ignored) = job_policies::earlier_failures(pod);
            (counted + ignored, finished_at(pod))
        };
        for pod in &self.failed {
            let Some(index) = job_indexes::of(pod).filter(|index| !over(*index)) else { continue };
            if self.replaced.get(&index).is_none_or(|known| age(known) <= age(pod)) {
                self.replaced.insert(index, pod.clone());
            }
        }
        self.failed_indexes = Some(lost);
    }

    /// Whether a failed pod waits for its successor.
    fn waits(&self, pod: &Object) -> bool {
        self.replaced.values().any(|one| one.meta.uid == pod.meta.uid)
    }

    fn counts(&self, pod: &Object) -> bool {
        job_policies::outcome(self.value, pod) != Outcome::Ignore
    }

    fn all_succeeded(&self) -> i64 {
        match &self.indexes {
            Some(done) => done.count(),
            None => number(self.value, "/status/succeeded") + many(&self.succeeded),
        }
    }

    fn all_failed(&self) -> i64 {
        number(self.value, "/status/failed") + many(&self.failed.iter().filter(|pod| self.counts(pod)).collect::<Vec<_>>())
    }

    /// Those that are counted with this look.
    fn failed_now(&self, over: bool) -> i64 {
        let now = |pod: &&Arc<Object>| self.counts(pod) && (over || !self.waits(pod));
        number(self.value, "/status/failed") + many(&self.failed.iter().filter(now).collect::<Vec<_>>())
    }

    fn terminating(&self) -> i64 {
        many(
            &self
                .pods
                .iter()
                .filter(|pod| pod.meta.deletion.is_some() && !matches!(phase(&pod.value()), "Succeeded" | "Failed"))
                .collect::<Vec<_>>(),
        )
    }
}

impl Jobs {
    fn sync(&mut self, api: &mut Api, now: Timestamp, key: &Key) {
        let Some(job) = api.store().get(PLURAL, &key.0, &key.1).cloned() else { return };
        let value = job.value();
        if is_over(&value) {
            return self.expire(api, now, &job, &value);
        }
        let mut look = Look::at(&job, &value, self.pods.of(api, &job.meta.uid));
        let suspended = value["spec"]["suspend"] == true;
        self.note_failures(&look);
        let mut verdict = self.judge(now, &look, suspended);
        if verdict.is_some() {
            let active = std::mem::take(&mut look.active);
            self.delete(api, now, &job, &active, false);
        } else if job.meta.deletion.is_none() {
            self.manage(api, now, &mut look, suspended);
        }
        if verdict.is_none() {
            let enough = match value["spec"]["completions"].as_i64() {
                Some(wanted) => look.all_succeeded() >= wanted,
                None => look.all_succeeded() > 0,
            };
            if enough && look.active.is_empty() {
                verdict = Some(Verdict::complete());
            }
        }
        // What was deleted with this look is going now, and ready no more.
        let fresh = self.pods_now(api, &look);
        let going =
            fresh.iter().filter(|pod| pod.meta.deletion.is_some() && !matches!(phase(&pod.value()), "Succeeded" | "Failed")).count();
        let over = verdict.is_some() || job.meta.deletion.is_some();
        // A finished Job counts the pods that it ends as failed (trackJobStatusAndRemoveFinalizers), unless it has succeeded.
        if verdict.as_ref().is_some_and(|verdict| !verdict.success) {
            let ended = fresh.iter().filter(|pod| tracked(pod) && pod.meta.deletion.is_some() && phase(&pod.value()) != "Succeeded");
            let more: Vec<_> = ended.filter(|pod| look.failed.iter().all(|one| one.meta.uid != pod.meta.uid)).cloned().collect();
            look.failed.extend(more);
        }
        let ready = look.active.iter().filter(|pod| ready_since(&pod.value()).is_some()).count();
        let numbers = [
            ("active", many(&look.active)),
            ("succeeded", look.all_succeeded()),
            ("failed", look.failed_now(over)),
            ("ready", i64::try_from(ready).unwrap_or(0)),
            ("terminating", i64::try_from(going).unwrap_or(0).max(look.terminating())),
        ];
        let indexes = look.indexes.as_ref().map(Indexes::to_string);
        let failed_indexes = look.failed_indexes.as_ref().map(Indexes::to_string);
        write(api, now, &job, &Numbers { numbers, indexes, failed_indexes, suspended }, verdict.as_ref(), &mut self.recorder);
        let counted: Vec<Arc<Object>> = match over {
            true => fresh,
            false => look.succeeded.iter().chain(look.failed.iter().filter(|pod| !look.waits(pod))).cloned().collect(),
        };
        counted.iter().for_each(|pod| release(api, now, pod));
    }

    /// The Job's pods as the store has them after this look's own writes.
    fn pods_now(&self, api: &Api, look: &Look<'_>) -> Vec<Arc<Object>> {
        look.pods.iter().filter_map(|pod| api.store().get("pods", &pod.meta.namespace, &pod.meta.name)).cloned().collect()
    }

    /// newBackoffRecord.
    fn note_failures(&mut self, look: &Look<'_>) {
        let latest = |pods: &[Arc<Object>]| pods.iter().map(finished_at).max();
        if look.succeeded.is_empty() && look.failed.is_empty() {
            return;
        }
        let record = self.backoff.entry(look.job.meta.uid.clone()).or_default();
        let Some(success) = latest(&look.succeeded) else {
            record.failures += u32::try_from(look.failed.len()).unwrap_or(u32::MAX);
            record.last = latest(&look.failed);
            return;
        };
        let after: Vec<Timestamp> = look.failed.iter().map(finished_at).filter(|at| *at > success).collect();
        *record = Backoff { failures: u32::try_from(after.len()).unwrap_or(u32::MAX), last: after.into_iter().max() };
    }

    /// Whether the Job has come to its end, but for having completed.
    fn judge(&mut self, now: Timestamp, look: &Look<'_>, suspended: bool) -> Option<Verdict> {
        let told = |kind: &str| condition(look.value, kind).filter(|one| one["status"] == "True");
        let words = |of: &Value| [text(&of["reason"]), text(&of["message"])];
        if let Some([reason, message]) = told("SuccessCriteriaMet").map(words) {
            return Some(Verdict::met(&reason, &message));
        }
        if let Some([reason, message]) = told("FailureTarget").map(words) {
            return Some(Verdict::failed(&reason, &message));
        }
        let hopeless = look.failed.iter().find_map(|pod| match job_policies::outcome(look.value, pod) {
            Outcome::FailJob(words) => Some(words),
            _ => None,
        });
        if let Some(message) = hopeless {
            return Some(Verdict::failed("PodFailurePolicy", &message));
        }
        let limit = look.value["spec"]["backoffLimit"].as_i64().unwrap_or(6);
        if look.all_failed() > limit || restarts_pass(look, limit) {
            return Some(Verdict::failed("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
        }
        if let Some(deadline) = look.value["spec"]["activeDeadlineSeconds"].as_i64().filter(|_| !suspended) {
            let start = look.value["status"]["startTime"].as_str().and_then(|text| text.parse().ok()).unwrap_or(now);
            let at = after(start, deadline);
            if at <= now {
                return Some(Verdict::failed("DeadlineExceeded", "Job was active longer than specified deadline"));
            }
            self.wait(look.job, at, Why::Deadline);
        }
        by_index(look)
    }

    /// Of these indices those whose last failure is long enough ago (getPodCreationInfoForIndependentIndexes).
    fn ready_indexes(&mut self, now: Timestamp, look: &Look<'_>, pending: Vec<i64>) -> Vec<i64> {
        let ready_at = |index: &i64| {
            let pod = look.replaced.get(index)?;
            let (counted, ignored) = job_policies::earlier_failures(pod);
            Some(after(finished_at(pod), backoff(u32::try_from(counted + ignored + 1).unwrap_or(u32::MAX)))).filter(|at| *at > now)
        };
        let (waiting, ready): (Vec<i64>, Vec<i64>) = pending.into_iter().partition(|index| ready_at(index).is_some());
        if let Some(at) = waiting.iter().filter_map(ready_at).min() {
            self.wait(look.job, at, Why::Retry);
        }
        ready
    }

    /// The earliest of what a Job waits for.
    fn wait(&mut self, job: &Object, at: Timestamp, why: Why) {
        let entry = self.due.entry(key_of(job)).or_insert((at, why));
        if at < entry.0 {
            *entry = (at, why);
        }
    }

    /// manageJob: so many pods as there are to be.
    fn manage(&mut self, api: &mut Api, now: Timestamp, look: &mut Look<'_>, suspended: bool) {
        let have = many(&look.active);
        let parallelism = look.value["spec"]["parallelism"].as_i64().unwrap_or(1);
        let wanted = match look.value["spec"]["completions"].as_i64() {
            _ if suspended => 0,
            Some(completions) => parallelism.min(completions - look.all_succeeded()).max(0),
            // Without completions the pods agree among themselves: once one has succeeded, no more are made.
            None if look.all_succeeded() > 0 => have,
            None => parallelism,
        };
        let surplus = usize::try_from(have - wanted).unwrap_or(0);
        if surplus > 0 {
            let gone: Vec<Arc<Object>> =
                rank(&look.active, &[], now).into_iter().take(surplus.min(BURST)).map(|ranked| ranked.object).collect();
            look.active.retain(|pod| gone.iter().all(|one| one.meta.uid != pod.meta.uid));
            return self.delete(api, now, look.job, &gone, true);
        }
        let waiting = if look.value["spec"]["podReplacementPolicy"] == "Failed" { look.terminating() } else { 0 };
        let missing = usize::try_from(wanted - have - waiting).unwrap_or(0).min(BURST);
        if missing > 0 {
            self.create(api, now, look, missing);
        }
    }

    fn create(&mut self, api: &mut Api, now: Timestamp, look: &mut Look<'_>, count: usize) {
        let job = look.job;
        if let Some(Backoff { failures: failures @ 1.., last: Some(last) }) =
            self.backoff.get(&job.meta.uid).copied().filter(|_| look.failed_indexes.is_none())
        {
            let ready_at = after(last, backoff(failures));
            if ready_at > now {
                return self.wait(job, ready_at, Why::Retry);
            }
        }
        let completions = number(look.value, "/spec/completions");
        let pending: Vec<i64> = match &look.indexes {
            Some(done) => done.pending(&look.active, look.failed_indexes.as_ref(), completions, count),
            None => Vec::new(),
        };
        let pending = self.ready_indexes(now, look, pending);
        let many = if look.indexes.is_some() { pending.len() } else { count };
        for at in 0..many {
            let mut pod = from_template(job, &look.value["spec"]["template"]);
            track(&mut pod);
            if let Some(index) = pending.get(at) {
                job_indexes::mark(&mut pod, &job.meta.name, *index);
                if look.failed_indexes.is_some() {
                    job_policies::mark_failures(look.value, &mut pod, look.replaced.get(index).map(|replaced| &**replaced));
                }
            }
            match api.create(now, "pods", &job.meta.namespace, pod) {
                Ok(pod) => {
                    self.recorder.normal(api, now, job, "SuccessfulCreate", &format!("Created pod: {}", pod.meta.name));
                    look.active.push(pod);
                }
                Err(why) => {
                    self.recorder.warning(api, now, job, "FailedCreate", &format!("Error creating: {why}"));
                    return self.wait(job, after(now, 1), Why::Retry);
                }
            }
        }
    }

    /// With `forget` they are not counted: nobody asked them to end but the Job itself.
    fn delete(&mut self, api: &mut Api, now: Timestamp, job: &Object, pods: &[Arc<Object>], forget: bool) {
        for pod in pods {
            if forget {
                release(api, now, pod);
            }
            if api.delete(now, "pods", &pod.meta.namespace, &pod.meta.name, DeleteOptions::default().if_uid(&pod.meta.uid)).is_ok() {
                self.recorder.normal(api, now, job, "SuccessfulDelete", &format!("Deleted pod: {}", pod.meta.name));
            }
        }
    }

    /// `ttlSecondsAfterFinished`.
    fn expire(&mut self, api: &mut Api, now: Timestamp, job: &Object, value: &Value) {
        self.backoff.remove(&job.meta.uid);
        for pod in self.pods.of(api, &job.meta.uid) {
            release(api, now, &pod);
        }
        let Some(seconds) = value["spec"]["ttlSecondsAfterFinished"].as_i64().filter(|_| job.meta.deletion.is_none()) else { return };
        let ended = ["Complete", "Failed"].iter().find_map(|kind| condition(value, kind)?["lastTransitionTime"].as_str()?.parse().ok());
        let at = after(ended.unwrap_or(now), seconds);
        if at > now {
            return self.wait(job, at, Why::Expiry);
        }
        // Gone meanwhile: then it has expired.
        let _ = api.delete(now, PLURAL, &job.meta.namespace, &job.meta.name, DeleteOptions::foreground().if_uid(&job.meta.uid));
    }
}

/// How long to wait after so many failures, in seconds.
fn backoff(failures: u32) -> i64 {
    (BACKOFF_SECONDS.0 << failures.saturating_sub(1).min(10)).min(BACKOFF_SECONDS.1)
}

/// The end that single indices bring about.
fn by_index(look: &Look<'_>) -> Option<Verdict> {
    let done = look.indexes.as_ref()?;
    let completions = number(look.value, "/spec/completions");
    if let Some(lost) = &look.failed_indexes {
        if look.value["spec"]["maxFailedIndexes"].as_i64().is_some_and(|most| lost.count() > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(Verdict::failed("MaxFailedIndexesExceeded", message));
        }
        if lost.count() > 0 && lost.count() + done.count() >= completions {
            return Some(Verdict::failed("FailedIndexes", "Job has failed indexes"));
        }
    }
    job_policies::success(look.value, done, completions).map(|message| Verdict::met("SuccessPolicy", &message))
}

/// pastBackoffLimitOnFailure: restarts within pods that go on.
fn restarts_pass(look: &Look<'_>, limit: i64) -> bool {
    if look.value["spec"]["template"]["spec"]["restartPolicy"] != "OnFailure" {
        return false;
    }
    let sum: i64 = look
        .pods
        .iter()
        .map(|pod| pod.value())
        .filter(|pod| matches!(phase(pod), "Running" | "Pending"))
        .flat_map(|pod| {
            let all =
                ["initContainerStatuses", "containerStatuses"].map(|list| pod["status"][list].as_array().cloned().unwrap_or_default());
            all.into_iter().flatten().filter_map(|one| one["restartCount"].as_i64()).collect::<Vec<_>>()
        })
        .sum();
    if limit == 0 { sum > 0 } else { sum >= limit }
}

fn tracked(pod: &Object) -> bool {
    pod.meta.finalizers.iter().any(|one| one == TRACKING)
}

/// Marks a new pod.
fn track(pod: &mut Value) {
    let list = &mut pod["metadata"]["finalizers"];
    match list.as_array_mut() {
        Some(list) if list.iter().any(|one| one == TRACKING) => {}
        Some(list) => list.push(json!(TRACKING)),
        None => *list = json!([TRACKING]),
    }
}

/// The pod is counted, or need not be.
fn release(api: &mut Api, now: Timestamp, pod: &Object) {
    let there =
        api.store().get("pods", &pod.meta.namespace, &pod.meta.name).is_some_and(|one| one.meta.uid == pod.meta.uid && tracked(one));
    if there {
        // Gone meanwhile: then nothing holds it.
        let _ = api.update_with(now, "pods", &pod.meta.namespace, &pod.meta.name, None, |pod| {
            if let Some(list) = pod["metadata"]["finalizers"].as_array_mut() {
                list.retain(|one| one != TRACKING);
            }
        });
    }
}
