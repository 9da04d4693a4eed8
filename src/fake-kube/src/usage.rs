//! What pods use, as a metrics server last saw it.
//!
//! Hollow containers use what somebody says they use. A pod's own annotation comes first: `usage.dryfit.dev/cpu: 200m`,
//! `usage.dryfit.dev/memory: 300Mi`. Otherwise its share of the load on its workload: `load.dryfit.dev/cpu: 600m` on a Deployment (or any
//! other owner) is spread over the ready pods, none above its limit. Both take steps by the time since the annotation's object was made,
//! `0s=100m, 5m=2400m`, or the lines of a ConfigMap, as a trace that was recorded elsewhere: `configmap/NAME/KEY`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::quantity::Quantity;
use crate::store::{Object, Store};
use crate::time;

/// `--metric-resolution` of metrics-server as EKS installs it, and the window of its rates.
pub(crate) const RESOLUTION: SignedDuration = SignedDuration::from_secs(15);
pub(crate) const USAGE: &str = "usage.dryfit.dev/";
pub(crate) const LOAD: &str = "load.dryfit.dev/";

/// The last sample. Empty until somebody says what anything uses: such a cluster has no metrics server.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub at: Option<Timestamp>,
    /// By namespace and name; only pods that run.
    pub pods: BTreeMap<(String, String), Used>,
}

/// What one pod uses, container by container.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Used {
    pub node: String,
    pub containers: Vec<(String, Amounts)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Amounts {
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
}

impl Used {
    pub fn total(&self) -> Amounts {
        let sum = |of: fn(&Amounts) -> i64| self.containers.iter().map(|(_, amounts)| of(amounts)).fold(0, i64::saturating_add);
        Amounts { milli_cpu: sum(|one| one.milli_cpu), memory: sum(|one| one.memory) }
    }
}

/// Whether the object says what something uses.
pub(crate) fn says(object: &Object) -> bool {
    object.meta.annotations.keys().any(|key| key.starts_with(USAGE) || key.starts_with(LOAD))
}

/// What an annotation says that nobody can read, and of which object.
pub(crate) type Fault = (Arc<Object>, String);

/// CPU and memory, where something is said of them.
type Said = [Option<Quantity>; 2];

/// Looks at every running pod.
pub(crate) fn sample(store: &Store, now: Timestamp) -> (Usage, Vec<Fault>) {
    // What each loaded owner says, and its ready pods.
    let mut owners: BTreeMap<String, (Said, i64)> = BTreeMap::new();
    let (mut pods, mut faults) = (Vec::new(), Vec::new());
    for pod in store.list("pods") {
        let value = pod.value();
        if value["status"]["phase"] != "Running" {
            continue;
        }
        let ready = pod.meta.deletion.is_none() && is_ready(&value);
        let loaded = loaded_owner(store, pod).filter(|_| ready);
        if let Some(owner) = loaded {
            let said = || (said(store, owner, LOAD, now, &mut faults), 0);
            owners.entry(owner.meta.uid.clone()).or_insert_with(said).1 += 1;
        }
        pods.push((pod, value, loaded.map(|owner| owner.meta.uid.clone())));
    }
    let pods = pods.into_iter().map(|(pod, value, owner)| {
        let share = owner.and_then(|uid| owners.get(&uid).copied());
        let own = said(store, pod, USAGE, now, &mut faults);
        ((pod.meta.namespace.clone(), pod.meta.name.clone()), used(&value, own, share))
    });
    let pods = pods.collect();
    (Usage { at: Some(now), pods }, faults)
}

/// What an object's annotations say.
fn said(store: &Store, about: &Arc<Object>, prefix: &str, now: Timestamp, faults: &mut Vec<Fault>) -> Said {
    ["cpu", "memory"].map(|name| {
        let key = format!("{prefix}{name}");
        let steps = read(store, &about.meta.namespace, about.meta.annotations.get(&key)?);
        let steps = steps.map_err(|why| faults.push((about.clone(), format!("{key}: {why}")))).ok()?;
        // The last that has begun.
        let begun = |after: SignedDuration| about.meta.creation.saturating_add(after).is_ok_and(|at| at <= now);
        steps.into_iter().rev().find(|(after, _)| begun(*after)).map(|(_, amount)| amount)
    })
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"].as_array().into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// The first owner, upwards, that carries a load.
fn loaded_owner<'a>(store: &'a Store, pod: &'a Arc<Object>) -> Option<&'a Arc<Object>> {
    let mut at = pod;
    // Pod, ReplicaSet, Deployment, and whatever makes Deployments.
    for _ in 0..4 {
        let owner = at.meta.controller()?;
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let kind = store.kinds().find(|kind| kind.kind == owner.kind && kind.group == group)?;
        at = store.get(&kind.key, if kind.namespaced { &at.meta.namespace } else { "" }, &owner.name)?;
        if at.meta.annotations.keys().any(|key| key.starts_with(LOAD)) {
            return Some(at);
        }
    }
    None
}

/// A pod's usage, on its first container; the others use nothing.
fn used(value: &Value, own: Said, share: Option<(Said, i64)>) -> Used {
    let amount = |at: usize, name: &str, of: fn(Quantity) -> i64| {
        let shared = || share.and_then(|(said, pods)| said[at].map(|all| of(all) / pods.max(1)));
        let wanted = own[at].map(of).or_else(shared).unwrap_or(0);
        limit(value, name).map_or(wanted, |limit| wanted.min(of(limit)))
    };
    let amounts = Amounts { milli_cpu: amount(0, "cpu", Quantity::milli_value), memory: amount(1, "memory", Quantity::value) };
    let names = value["spec"]["containers"].as_array().into_iter().flatten();
    let names = names.map(|container| container["name"].as_str().unwrap_or_default().to_owned());
    let containers = names.enumerate().map(|(at, name)| (name, if at == 0 { amounts } else { Amounts::default() }));
    Used { node: value["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(), containers: containers.collect() }
}

/// What the first container may use at most.
fn limit(pod: &Value, name: &str) -> Option<Quantity> {
    pod["spec"]["containers"][0]["resources"]["limits"][name].as_str().and_then(|text| Quantity::parse(text).ok())
}

/// `200m`; steps, `0s=100m, 5m=2400m`; or `configmap/NAME/KEY`, whose lines are steps: from when on, since the object was made, and how much.
fn read(store: &Store, namespace: &str, text: &str) -> Result<Vec<(SignedDuration, Quantity)>, String> {
    let text = text.trim();
    if let Some((name, key)) = text.strip_prefix("configmap/").and_then(|rest| rest.split_once('/')) {
        let map =
            store.get("configmaps", namespace, name).ok_or_else(|| format!("there is no ConfigMap {name} in namespace {namespace}"))?;
        let value = map.value();
        let lines = value["data"][key].as_str().ok_or_else(|| format!("ConfigMap {name} has no key {key}"))?;
        return lines_of(lines).map_err(|why| format!("ConfigMap {name}, {key}, {why}"));
    }
    let steps = if text.contains('=') {
        text.split(',').map(|step| step.split_once('=').and_then(|(after, amount)| step_of(after, amount))).collect()
    } else {
        Quantity::parse(text).ok().map(|amount| vec![(SignedDuration::ZERO, amount)])
    };
    steps.ok_or_else(|| format!("{text:?} is neither an amount (200m), nor steps (0s=100m, 5m=2400m), nor configmap/NAME/KEY"))
}

/// A line for each step, `90 250m` or `90s,0.25`; a first line that names its columns, empty ones and remarks (`#`) say nothing.
fn lines_of(text: &str) -> Result<Vec<(SignedDuration, Quantity)>, String> {
    let mut steps = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let mut words = line.split([',', ' ', '\t']).filter(|word| !word.is_empty());
        let step = match (words.next(), words.next(), words.next()) {
            (Some(after), Some(amount), None) => step_of(after, amount),
            _ => None,
        };
        match step {
            Some(step) => steps.push(step),
            None if at == 0 || line.is_empty() || line.starts_with('#') => {}
            None => return Err(format!("line {}: {line:?} is no time with an amount, such as 90s,250m", at + 1)),
        }
    }
    steps.sort_by_key(|(after, _)| *after);
    Ok(steps)
}

/// A number without a unit is seconds.
fn step_of(after: &str, amount: &str) -> Option<(SignedDuration, Quantity)> {
    let after = after.trim();
    let seconds = || after.parse::<f64>().ok().and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok());
    Some((seconds().or_else(|| after.parse().ok())?, Quantity::parse(amount.trim()).ok()?))
}

/// `metrics.k8s.io/v1beta1`, PodMetrics.
pub(crate) fn pod_metrics(usage: &Usage, pod: &Object) -> Option<Value> {
    let used = usage.pods.get(&(pod.meta.namespace.clone(), pod.meta.name.clone()))?;
    let containers = used.containers.iter().map(|(name, amounts)| json!({ "name": name, "usage": shown(amounts) }));
    Some(json!({
        "kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": metadata(pod, usage.at),
        "timestamp": usage.at.map(time::seconds), "window": "15s", "containers": containers.collect::<Vec<_>>(),
    }))
}

/// `metrics.k8s.io/v1beta1`, NodeMetrics: the sum of the node's pods.
pub(crate) fn node_metrics(usage: &Usage, node: &Object) -> Value {
    let here = usage.pods.values().filter(|used| used.node == node.meta.name).map(Used::total);
    let sum = here.fold(Amounts::default(), |sum, one| Amounts {
        milli_cpu: sum.milli_cpu.saturating_add(one.milli_cpu),
        memory: sum.memory.saturating_add(one.memory),
    });
    json!({
        "kind": "NodeMetrics", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": metadata(node, usage.at),
        "timestamp": usage.at.map(time::seconds), "window": "15s", "usage": shown(&sum),
    })
}

fn metadata(object: &Object, at: Option<Timestamp>) -> Value {
    let mut metadata = json!({ "name": object.meta.name, "creationTimestamp": at.map(time::seconds) });
    if !object.meta.namespace.is_empty() {
        metadata["namespace"] = json!(object.meta.namespace);
    }
    if !object.meta.labels.is_empty() {
        metadata["labels"] = json!(object.meta.labels);
    }
    metadata
}

/// Nanocores and Ki, as metrics-server writes them.
fn shown(amounts: &Amounts) -> Value {
    let cpu = if amounts.milli_cpu == 0 { "0".to_owned() } else { format!("{}n", amounts.milli_cpu.saturating_mul(1_000_000)) };
    let memory = if amounts.memory == 0 { "0".to_owned() } else { format!("{}Ki", amounts.memory / 1024) };
    json!({ "cpu": cpu, "memory": memory })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn store() -> Store {
        Store::new(1)
    }

    /// What counts at a time after the beginning.
    fn at(steps: Option<Vec<(SignedDuration, Quantity)>>, seconds: i64) -> Option<i64> {
        let last = steps?.into_iter().rev().find(|(after, _)| *after <= SignedDuration::from_secs(seconds));
        last.map(|(_, amount)| amount.milli_value())
    }

    #[rstest]
    #[case("200m", 0, Some(200))]
    #[case("0s=100m, 5m=2400m", 299, Some(100))]
    #[case("0s=100m, 5m=2400m", 300, Some(2400))]
    #[case("10s=1", 9, None)]
    #[case("nonsense", 9, None)]
    #[case("soon=1", 9, None)]
    fn a_step_holds_until_the_next(#[case] text: &str, #[case] seconds: i64, #[case] expected: Option<i64>) {
        assert_eq!(at(read(&store(), "default", text).ok(), seconds), expected);
    }

    #[rstest]
    #[case("seconds,cores\n0,0.1\n60,2.5\n", 59, Some(100))]
    #[case("seconds,cores\n0,0.1\n60,2.5\n", 60, Some(2500))]
    #[case("# from Tuesday\n\n1m 250m\n0s 100m\n", 30, Some(100))]
    #[case("0,0.1\n60,much\n", 30, None)]
    #[case("0,0.1\n60\n", 30, None)]
    fn a_trace_has_a_line_for_each_step(#[case] text: &str, #[case] seconds: i64, #[case] expected: Option<i64>) {
        assert_eq!(at(lines_of(text).ok(), seconds), expected);
    }

    #[rstest]
    #[case("soon", "is neither an amount")]
    #[case("configmap/day/cpu", "there is no ConfigMap day")]
    fn what_cannot_be_read_is_said(#[case] text: &str, #[case] why: &str) {
        let said = read(&store(), "default", text).expect_err("no amount");
        assert!(said.contains(why), "{said}");
    }
}
