//! What a Job makes of failed pods beside counting them: `podFailurePolicy`, limits per index, and `successPolicy`.
//!
//! Source: `pkg/controller/job/{pod_failure_policy,success_policy,indexed_job_utils,backoff_utils}.go`.

use serde_json::{Value, json};

use super::job_indexes::Indexes;
use crate::store::Object;

const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// What a failure of a pod leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Count,
    Ignore,
    FailIndex,
    /// With the words for it.
    FailJob(String),
}

/// matchPodFailurePolicy: the first rule that applies; without one the failure counts.
pub(super) fn outcome(job: &Value, pod: &Object) -> Outcome {
    let value = pod.value();
    let place = format!("{}/{}", pod.meta.namespace, pod.meta.name);
    for (at, rule) in job["spec"]["podFailurePolicy"]["rules"].as_array().into_iter().flatten().enumerate() {
        let action = rule["action"].as_str().unwrap_or_default();
        let said = if rule["onExitCodes"].is_object() {
            exited(&value["status"], &rule["onExitCodes"]).map(|(name, code)| {
                format!("Container {name} for pod {place} failed with exit code {code} matching {action} rule at index {at}")
            })
        } else {
            condition(&value["status"], &rule["onPodConditions"])
                .map(|kind| format!("Pod {place} has condition {kind} matching {action} rule at index {at}"))
        };
        match (said, action) {
            (None, _) => {}
            (Some(_), "Ignore") => return Outcome::Ignore,
            (Some(_), "FailIndex") => return Outcome::FailIndex,
            (Some(words), "FailJob") => return Outcome::FailJob(words),
            (Some(_), _) => return Outcome::Count,
        }
    }
    Outcome::Count
}

/// The first container that ended with such a code, and the code.
fn exited(status: &Value, wanted: &Value) -> Option<(String, i64)> {
    let lists = ["containerStatuses", "initContainerStatuses"];
    lists.iter().flat_map(|list| status[*list].as_array().into_iter().flatten()).find_map(|container| {
        let code = container["state"]["terminated"]["exitCode"].as_i64().filter(|code| *code != 0)?;
        let name = container["name"].as_str().unwrap_or_default();
        let meant = wanted["containerName"].as_str().is_none_or(|wanted| wanted == name);
        let listed = wanted["values"].as_array().is_some_and(|values| values.iter().any(|value| value.as_i64() == Some(code)));
        let holds = match wanted["operator"].as_str() {
            Some("In") => listed,
            Some("NotIn") => !listed,
            _ => false,
        };
        (meant && holds).then(|| (name.to_owned(), code))
    })
}

fn condition(status: &Value, patterns: &Value) -> Option<String> {
    let all = status["conditions"].as_array()?;
    let wanted = patterns.as_array()?;
    let found = all.iter().find(|one| wanted.iter().any(|wanted| one["type"] == wanted["type"] && one["status"] == wanted["status"]));
    found.and_then(|one| one["type"].as_str()).map(str::to_owned)
}

/// The words, when a rule of the success policy is met (matchSuccessPolicy).
pub(super) fn success(job: &Value, done: &Indexes, completions: i64) -> Option<String> {
    if done.count() == 0 {
        return None;
    }
    let rules = job["spec"]["successPolicy"]["rules"].as_array()?;
    let met = |rule: &Value| {
        let count = rule["succeededCount"].as_i64();
        match rule["succeededIndexes"].as_str() {
            Some(text) => {
                let wanted = Indexes::parse(text, completions);
                let have = wanted.shared(done);
                wanted.count() > 0 && (have == wanted.count() || count.is_some_and(|count| have >= count))
            }
            None => count.is_some_and(|count| done.count() >= count),
        }
    };
    rules.iter().position(met).map(|at| format!("Matched rules at index {at}"))
}

/// How often pods of this one's index had failed before it: such as count, and such as do not.
pub(super) fn earlier_failures(pod: &Object) -> (i64, i64) {
    let read = |key: &str| {
        let number = pod.meta.annotations.get(key).and_then(|text| text.parse::<i64>().ok());
        number.filter(|number| (0..=i64::from(i32::MAX)).contains(number)).unwrap_or(0)
    };
    (read(FAILURES), read(IGNORED))
}

/// Whether the index of this failed pod gets no other (isIndexFailed).
pub(super) fn fails_index(job: &Value, pod: &Object) -> bool {
    let limit = job["spec"]["backoffLimitPerIndex"].as_i64().unwrap_or(i64::MAX);
    match outcome(job, pod) {
        Outcome::FailIndex => true,
        Outcome::Ignore => false,
        Outcome::Count | Outcome::FailJob(_) => earlier_failures(pod).0 >= limit,
    }
}

/// Writes on a new pod how often its index has failed, the one that it replaces included (addIndexFailureCountAnnotation).
pub(super) fn mark_failures(job: &Value, pod: &mut Value, replaced: Option<&Object>) {
    let (mut failures, mut ignored) = (0, 0);
    if let Some(replaced) = replaced {
        (failures, ignored) = earlier_failures(replaced);
        match outcome(job, replaced) {
            Outcome::Ignore => ignored += 1,
            _ => failures += 1,
        }
    }
    let notes = &mut pod["metadata"]["annotations"];
    if !notes.is_object() {
        *notes = json!({});
    }
    notes[FAILURES] = json!(failures.to_string());
    if ignored > 0 {
        notes[IGNORED] = json!(ignored.to_string());
    }
}
