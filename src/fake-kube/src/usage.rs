//! What pods use, as a metrics server last saw it.
//!
//! Hollow containers use what somebody says they use. A pod's own annotation comes first: `usage.dryfit.dev/cpu: 200m`,
//! `usage.dryfit.dev/memory: 300Mi`. Otherwise its share of the load on its workload: `load.dryfit.dev/cpu: 600m` on a Deployment (or any
//! other owner) is spread over the ready pods, none above its limit. Both take steps by the time since the annotation's object was made:
//! `0s=100m, 5m=2400m`.

use std::collections::BTreeMap;

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
        let sum = |of: fn(&Amounts) -> i64| self.containers.iter().map(|(_, amounts)| of(amounts)).sum();
        Amounts { milli_cpu: sum(|one| one.milli_cpu), memory: sum(|one| one.memory) }
    }
}

/// Whether the object says what something uses.
pub(crate) fn says(object: &Object) -> bool {
    object.meta.annotations.keys().any(|key| key.starts_with(USAGE) || key.starts_with(LOAD))
}

/// Looks at every running pod.
pub(crate) fn sample(store: &Store, now: Timestamp) -> Usage {
    let mut ready_of: BTreeMap<String, i64> = BTreeMap::new();
    let mut pods = Vec::new();
    for pod in store.list("pods") {
        let value = pod.value();
        if value["status"]["phase"] != "Running" {
            continue;
        }
        let loaded = loaded_owner(store, pod);
        let ready = pod.meta.deletion.is_none() && is_ready(&value);
        if let (Some(owner), true) = (&loaded, ready) {
            *ready_of.entry(owner.meta.uid.clone()).or_default() += 1;
        }
        pods.push((pod, value, loaded.filter(|_| ready)));
    }
    let pods = pods.into_iter().map(|(pod, value, loaded)| {
        let share = loaded.map(|owner| (owner, ready_of.get(&owner.meta.uid).copied().unwrap_or(1).max(1)));
        ((pod.meta.namespace.clone(), pod.meta.name.clone()), used(pod, &value, share, now))
    });
    Usage { at: Some(now), pods: pods.collect() }
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"].as_array().into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// The first owner, upwards, that carries a load.
fn loaded_owner<'a>(store: &'a Store, pod: &'a Object) -> Option<&'a Object> {
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
fn used(pod: &Object, value: &Value, share: Option<(&Object, i64)>, now: Timestamp) -> Used {
    let amount = |name: &str, of: fn(Quantity) -> i64| {
        let own = pod.meta.annotations.get(&format!("{USAGE}{name}")).and_then(|text| at_time(text, pod.meta.creation, now));
        let shared = || {
            let (owner, pods) = share?;
            let text = owner.meta.annotations.get(&format!("{LOAD}{name}"))?;
            Some(of(at_time(text, owner.meta.creation, now)?) / pods)
        };
        let wanted = own.map(of).or_else(shared).unwrap_or(0);
        limit(value, name).map_or(wanted, |limit| wanted.min(of(limit)))
    };
    let amounts = Amounts { milli_cpu: amount("cpu", Quantity::milli_value), memory: amount("memory", Quantity::value) };
    let names = value["spec"]["containers"].as_array().into_iter().flatten();
    let names = names.map(|container| container["name"].as_str().unwrap_or_default().to_owned());
    let containers = names.enumerate().map(|(at, name)| (name, if at == 0 { amounts } else { Amounts::default() }));
    Used { node: value["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(), containers: containers.collect() }
}

/// What the first container may use at most.
fn limit(pod: &Value, name: &str) -> Option<Quantity> {
    pod["spec"]["containers"][0]["resources"]["limits"][name].as_str().and_then(|text| Quantity::parse(text).ok())
}

/// `200m`, or steps: `0s=100m, 5m=2400m`. None when it cannot be read, or before the first step.
fn at_time(text: &str, begin: Timestamp, now: Timestamp) -> Option<Quantity> {
    if !text.contains('=') {
        return Quantity::parse(text.trim()).ok();
    }
    let mut found = None;
    for step in text.split(',') {
        let (after, amount) = step.split_once('=')?;
        let after: SignedDuration = after.trim().parse().ok()?;
        if begin.saturating_add(after).is_ok_and(|at| at <= now) {
            found = Some(Quantity::parse(amount.trim()).ok()?);
        }
    }
    found
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
    let sum =
        here.fold(Amounts::default(), |sum, one| Amounts { milli_cpu: sum.milli_cpu + one.milli_cpu, memory: sum.memory + one.memory });
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

    #[rstest]
    #[case("200m", 0, Some(200))]
    #[case("0s=100m, 5m=2400m", 299, Some(100))]
    #[case("0s=100m, 5m=2400m", 300, Some(2400))]
    #[case("10s=1", 9, None)]
    #[case("nonsense", 9, None)]
    #[case("soon=1", 9, None)]
    fn a_step_holds_until_the_next(#[case] text: &str, #[case] seconds: i64, #[case] expected: Option<i64>) {
        let at = Timestamp::from_second(seconds).unwrap();
        assert_eq!(at_time(text, Timestamp::UNIX_EPOCH, at).map(Quantity::milli_value), expected);
    }
}
