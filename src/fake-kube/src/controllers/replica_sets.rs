//! Keeps as many pods as a ReplicaSet asks for.
//!
//! Source: `pkg/controller/replicaset/{replica_set,replica_set_utils}.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::census::{Census, Counted};
use super::events::Recorder;
use super::facts;
use super::owned::Owned;
use super::pods::{Key, after, condition, from_template, key_of, number, set_condition};
use super::ranking::rank;
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::status::Status;
use crate::store::{Change, Object};

const PLURAL: &str = "apps/replicasets";
/// At most so many pods are made or deleted at once (BurstReplicas).
const BURST: usize = 500;

pub(super) struct ReplicaSets {
    pods: Owned,
    census: Census,
    siblings: Owned,
    /// Those to look at again: because a pod becomes available, or a request failed.
    due: BTreeMap<Key, Due>,
    recorder: Recorder,
}

#[derive(Clone, Copy)]
struct Due {
    at: Timestamp,
    /// Requests that failed in a row; zero when it is about availability.
    failures: u32,
}

impl Default for ReplicaSets {
    fn default() -> Self {
        let recorder = Recorder::new("replicaset-controller");
        let (pods, siblings) = (Owned::new("pods"), Owned::new(PLURAL));
        ReplicaSets { pods, census: Census::default(), siblings, due: BTreeMap::new(), recorder }
    }
}

/// The work queue's own back-off: 5 ms, doubled, up to 1000 s (`client-go/util/workqueue/default_rate_limiters.go`).
pub(super) fn queue_backoff(failures: u32) -> SignedDuration {
    SignedDuration::from_millis(5i64.checked_shl(failures.min(40)).unwrap_or(i64::MAX).min(1_000_000))
}

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut dirty: BTreeSet<Key> = self.due.iter().filter(|(_, due)| due.at <= now).map(|(key, _)| key.clone()).collect();
        for change in changed {
            dirty.extend(self.pods.apply(change).into_iter().filter(|(kind, _)| kind == "ReplicaSet").map(|(_, key)| key));
            self.census.apply(change);
            self.siblings.apply(change);
            if change.plural() == PLURAL {
                dirty.insert(key_of(&change.object));
            }
        }
        for key in dirty {
            let before = self.due.remove(&key);
            self.sync(api, now, &key, before.map_or(0, |due| due.failures));
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due.values().map(|due| due.at).min()
    }

    fn unsettled(&self, _: &Api) -> Vec<String> {
        let what = |due: &Due| {
            if due.failures > 0 { "tries again to make its pods" } else { "waits until its pods have been ready for minReadySeconds" }
        };
        self.due.iter().map(|((namespace, name), due)| format!("ReplicaSet {namespace}/{name} {}", what(due))).collect()
    }
}

impl ReplicaSets {
    fn sync(&mut self, api: &mut Api, now: Timestamp, key: &Key, failures: u32) {
        let Some(set) = api.store().get(PLURAL, &key.0, &key.1).cloned() else { return };
        let value = set.value();
        let wanted = number(&value, "/spec/replicas");
        let counted =
            self.census.of(api, &set.meta.uid).filter(|counted| counted.running as i64 == wanted && is_plain(counted, &value, now));
        let (counted, running) = match counted {
            Some(counted) => (counted, Vec::new()),
            None => {
                let all = self.pods.of(api, &set.meta.uid);
                let live = |pod: &&Arc<Object>| pod.meta.deletion.is_none() && !facts::pod(pod).finished;
                (Counted::of(all.iter().map(|pod| &**pod)), all.iter().filter(live).cloned().collect())
            }
        };
        let scales = set.meta.deletion.is_none() && counted.running as i64 != wanted;
        let outcome = if scales { self.scale(api, now, &set, &value, &running) } else { Ok(()) };
        if outcome.is_err() {
            self.due.insert(
                key.clone(),
                Due { at: now.checked_add(queue_backoff(failures)).unwrap_or(Timestamp::MAX), failures: failures + 1 },
            );
        }
        let what = if (counted.running as i64) < wanted { "FailedCreate" } else { "FailedDelete" };
        let failure = outcome.err().map(|why| (what, why.message));
        self.write_status(api, now, &set, &value, &counted, &running, failure);
    }

    /// Makes or deletes pods.
    fn scale(&mut self, api: &mut Api, now: Timestamp, set: &Arc<Object>, value: &Value, running: &[Arc<Object>]) -> Result<(), Status> {
        let wanted = usize::try_from(number(value, "/spec/replicas")).unwrap_or(0);
        for _ in running.len()..wanted.min(running.len() + BURST) {
            match api.create(now, "pods", &set.meta.namespace, from_template(set, &value["spec"]["template"])) {
                Ok(pod) => self.recorder.normal(api, now, set, "SuccessfulCreate", &format!("Created pod: {}", pod.meta.name)),
                Err(why) => {
                    self.recorder.warning(api, now, set, "FailedCreate", &format!("Error creating: {why}"));
                    return Err(why);
                }
            }
        }
        let surplus = running.len().saturating_sub(wanted).min(BURST);
        if surplus == 0 {
            return Ok(());
        }
        let related = self.related(api, set);
        for ranked in rank(running, &related, now).into_iter().take(surplus) {
            let meta = &ranked.object.meta;
            match api.delete(now, "pods", &meta.namespace, &meta.name, DeleteOptions::default().if_uid(&meta.uid)) {
                Ok(_) => self.recorder.normal(api, now, set, "SuccessfulDelete", &format!("Deleted pod: {}", meta.name)),
                Err(why) if why.is_not_found() => {}
                Err(why) => {
                    self.recorder.warning(api, now, set, "FailedDelete", &format!("Error deleting: {why}"));
                    return Err(why);
                }
            }
        }
        Ok(())
    }

    /// Pods of all ReplicaSets that the same owner controls (getIndirectlyRelatedPods).
    fn related(&self, api: &Api, set: &Object) -> Vec<Arc<Object>> {
        match set.meta.controller() {
            None => self.pods.of(api, &set.meta.uid),
            Some(owner) => self.siblings.of(api, &owner.uid).iter().flat_map(|sibling| self.pods.of(api, &sibling.meta.uid)).collect(),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what the status is made of")]
    fn write_status(
        &mut self,
        api: &mut Api,
        now: Timestamp,
        set: &Object,
        value: &Value,
        counted: &Counted,
        running: &[Arc<Object>],
        failure: Option<(&str, String)>,
    ) {
        let min_ready = number(value, "/spec/minReadySeconds");
        let template = crate::store::string_map(&value["spec"]["template"]["metadata"]["labels"]);
        let labelled = counted.labelled(&template);
        let mut available = 0;
        if is_plain(counted, value, now) {
            available = counted.ready;
        } else {
            for at in running.iter().filter_map(|pod| facts::pod(pod).ready_since).map(|since| after(since, min_ready)) {
                if at <= now {
                    available += 1;
                    continue;
                }
                let due = self.due.entry(key_of(set)).or_insert(Due { at, failures: 0 });
                due.at = due.at.min(at);
            }
        }
        let change = |object: &mut Value| {
            let status = &mut object["status"];
            status["replicas"] = json!(counted.running);
            for (field, count) in [("fullyLabeledReplicas", labelled), ("readyReplicas", counted.ready), ("availableReplicas", available)] {
                set_or_remove(status, field, count);
            }
            status["terminatingReplicas"] = json!(counted.terminating);
            status["observedGeneration"] = json!(set.meta.generation);
            match failure {
                // Its words stay those of the first failure (calculateStatus): they carry a name that is drawn anew each time.
                Some(_) if condition(object, "ReplicaFailure").is_some() => {}
                Some((reason, message)) => {
                    let condition = json!({ "type": "ReplicaFailure", "status": "True", "reason": reason, "message": message });
                    set_condition(object, now, condition);
                }
                None => {
                    if let Some(list) = object["status"].get_mut("conditions").and_then(Value::as_array_mut) {
                        list.retain(|one| one["type"] != "ReplicaFailure");
                    }
                }
            }
        };
        // Gone meanwhile: then there is no status to write.
        let _ = api.update_with(now, PLURAL, &set.meta.namespace, &set.meta.name, Some("status"), change);
    }
}

/// Whoever is ready is available at once.
fn is_plain(counted: &Counted, set: &Value, now: Timestamp) -> bool {
    number(set, "/spec/minReadySeconds") == 0 && counted.ready_by.is_none_or(|at| at <= now)
}

/// Go omits counts of zero.
pub(super) fn set_or_remove(status: &mut Value, field: &str, count: usize) {
    if count > 0 {
        status[field] = json!(count);
    } else if let Some(map) = status.as_object_mut() {
        map.shift_remove(field);
    }
}
