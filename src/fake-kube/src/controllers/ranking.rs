//! Which of a ReplicaSet's pods goes first when it shrinks.
//!
//! Source: `pkg/controller/controller_utils.go`, ActivePodsWithRanks.Less; `pkg/controller/replicaset/replica_set.go`,
//! getPodsRankedByRelatedPodsOnSameNode.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::pods::{active, node_name, phase, ready_since};
use crate::store::Object;

/// What the order looks at, read once per pod.
pub(super) struct Ranked {
    pub object: Arc<Object>,
    assigned: bool,
    phase: u8,
    ready: Option<Timestamp>,
    deletion_cost: i32,
    /// Active pods of this and related ReplicaSets on the same node.
    doubled: usize,
    restarts: (i64, i64),
}

/// Sorts `pods`, the first to be deleted in front. `related` are the pods of all ReplicaSets of the same owner.
pub(super) fn rank(pods: &[Arc<Object>], related: &[Arc<Object>], now: Timestamp) -> Vec<Ranked> {
    let mut on_node: BTreeMap<String, usize> = BTreeMap::new();
    for object in related {
        let pod = object.value();
        if active(object, &pod) {
            *on_node.entry(node_name(&pod).to_owned()).or_default() += 1;
        }
    }
    let mut ranked: Vec<Ranked> = pods
        .iter()
        .map(|object| {
            let pod = object.value();
            Ranked {
                object: object.clone(),
                assigned: !node_name(&pod).is_empty(),
                phase: match phase(&pod) {
                    "Pending" => 0,
                    "Unknown" => 1,
                    _ => 2,
                },
                ready: ready_since(&pod),
                deletion_cost: deletion_cost(object),
                doubled: on_node.get(node_name(&pod)).copied().unwrap_or(0),
                restarts: restarts(&pod),
            }
        })
        .collect();
    ranked.sort_by(|a, b| order(a, b, now));
    ranked
}

fn order(a: &Ranked, b: &Ranked, now: Timestamp) -> Ordering {
    let states = |pod: &Ranked| (pod.assigned, pod.phase, pod.ready.is_some(), pod.deletion_cost, Reverse(pod.doubled));
    states(a).cmp(&states(b)).then_with(|| {
        let by_age = |a: Timestamp, b: Timestamp, uids: (&str, &str)| match a == b {
            true => Ordering::Equal,
            // Newer first, but pods of about the same age in no order that age gives.
            false => age_bucket(a, now).cmp(&age_bucket(b, now)).then_with(|| uids.0.cmp(uids.1)),
        };
        let uids = (a.object.meta.uid.as_str(), b.object.meta.uid.as_str());
        let ready = match (a.ready, b.ready) {
            (Some(a), Some(b)) => by_age(a, b, uids),
            _ => Ordering::Equal,
        };
        ready
            .then_with(|| Reverse(a.restarts).cmp(&Reverse(b.restarts)))
            .then_with(|| by_age(a.object.meta.creation, b.object.meta.creation, uids))
            // Upstream leaves complete ties to an unstable sort.
            .then_with(|| uids.0.cmp(uids.1))
    })
}

/// The whole part of log2 of an age in nanoseconds; -1 for what is not in the past (logarithmicRankDiff).
fn age_bucket(at: Timestamp, now: Timestamp) -> i64 {
    let nanos = now.duration_since(at).as_nanos();
    if nanos > 0 { i64::from(nanos.ilog2()) } else { -1 }
}

fn deletion_cost(pod: &Object) -> i32 {
    pod.meta.annotations.get("controller.kubernetes.io/pod-deletion-cost").and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The highest restart count of containers, then of sidecars.
fn restarts(pod: &Value) -> (i64, i64) {
    let most = |list: &str, which: &dyn Fn(&str) -> bool| {
        let statuses = pod["status"][list].as_array().into_iter().flatten();
        statuses
            .filter(|one| which(one["name"].as_str().unwrap_or_default()))
            .filter_map(|one| one["restartCount"].as_i64())
            .max()
            .unwrap_or(0)
    };
    let init = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    let sidecars: BTreeSet<&str> = init.filter(|one| one["restartPolicy"] == "Always").filter_map(|one| one["name"].as_str()).collect();
    (most("containerStatuses", &|_| true), most("initContainerStatuses", &|name| sidecars.contains(name)))
}
