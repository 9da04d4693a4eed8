//! Attracts pods to pods, or keeps them apart, by a label of their nodes: required terms exclude, preferred ones score.
//!
//! Source: `framework/plugins/interpodaffinity/{filtering,scoring}.go`.

use super::{Plugin, Rejection};
use crate::MAX_NODE_SCORE;
use crate::node::NodeInfo;
use crate::pod::{PodInfo, PodTerm};
use crate::view::ClusterView;
use std::collections::BTreeMap;

/// The weight of a required affinity of an existing pod that the new one satisfies (`apis/config/v1/defaults.go`).
const HARD_POD_AFFINITY_WEIGHT: i64 = 1;

/// Matches by (topology key, value).
type Counts<'a> = BTreeMap<(&'a str, &'a str), i64>;

fn bump<'a>(counts: &mut Counts<'a>, node: &'a NodeInfo, key: &'a str, by: i64) {
    if let Some(value) = node.labels.get(key) {
        *counts.entry((key, value)).or_default() += by;
    }
}

/// Counts that one scheduling cycle needs for required terms.
#[derive(Clone)]
pub(crate) struct Required<'a> {
    pod: &'a PodInfo,
    view: &'a ClusterView,
    existing_anti: Counts<'a>,
    affinity: Counts<'a>,
    anti: Counts<'a>,
    /// Nobody there has terms about the pod, nor has it any: then the rule is not asked again in this cycle, not even when a pod with
    /// such terms is thought to be there (`filtering.go`, PreFilter's Skip).
    skipped: bool,
}

impl<'a> Required<'a> {
    pub fn prepare(pod: &'a PodInfo, view: &'a ClusterView) -> Self {
        let mut required =
            Required { pod, view, existing_anti: Counts::new(), affinity: Counts::new(), anti: Counts::new(), skipped: false };
        let has_terms = !pod.affinity.required.is_empty() || !pod.anti_affinity.required.is_empty();
        let mut look = |node: &'a NodeInfo| node.pods.values().for_each(|existing| required.count(existing, node, 1));
        if has_terms {
            view.nodes().for_each(&mut look);
        } else {
            view.nodes_with_required_anti_affinity().for_each(&mut look);
        }
        required.skipped = !has_terms && required.existing_anti.is_empty();
        required
    }

    fn count(&mut self, existing: &'a PodInfo, node: &'a NodeInfo, by: i64) {
        let (pod, view) = (self.pod, self.view);
        for term in &existing.anti_affinity.required {
            if term.matches(pod, view.namespace_labels(&pod.namespace)) {
                bump(&mut self.existing_anti, node, &term.topology_key, by);
            }
        }
        let labels = view.namespace_labels(&existing.namespace);
        if matches_all(&pod.affinity.required, existing, view) {
            for term in &pod.affinity.required {
                bump(&mut self.affinity, node, &term.topology_key, by);
            }
        }
        for term in pod.anti_affinity.required.iter().filter(|term| term.matches(existing, labels)) {
            bump(&mut self.anti, node, &term.topology_key, by);
        }
    }

    pub fn filter(&self, node: &NodeInfo) -> Option<Rejection> {
        if self.skipped {
            return None;
        }
        let count = |counts: &Counts<'_>, key: &str| {
            node.labels.get(key).and_then(|value| counts.get(&(key, value.as_str()))).copied().unwrap_or(0)
        };
        if !self.affinity_holds(node) {
            return Some(Rejection::unresolvable(Plugin::InterPodAffinity, "node(s) didn't match pod affinity rules"));
        }
        if self.pod.anti_affinity.required.iter().any(|term| count(&self.anti, &term.topology_key) > 0) {
            return Some(Rejection::resolvable(Plugin::InterPodAffinity, "node(s) didn't match pod anti-affinity rules"));
        }
        let disliked =
            self.existing_anti.iter().any(|((key, value), count)| *count > 0 && node.labels.get(*key).is_some_and(|has| has == value));
        disliked.then(|| Rejection::resolvable(Plugin::InterPodAffinity, "node(s) didn't satisfy existing pods anti-affinity rules"))
    }

    fn affinity_holds(&self, node: &NodeInfo) -> bool {
        let mut all_there = true;
        for term in &self.pod.affinity.required {
            let Some(value) = node.labels.get(&term.topology_key) else { return false };
            all_there &= self.affinity.get(&(term.topology_key.as_str(), value.as_str())).is_some_and(|count| *count > 0);
        }
        // The first pod of a series that has affinity to itself must not wait for ever.
        all_there || (self.affinity.values().all(|count| *count == 0) && matches_all(&self.pod.affinity.required, self.pod, self.view))
    }

    /// Counts as they would be with these pods on `node` as well (`by` 1), or without them (-1).
    pub fn change(&mut self, node: &'a NodeInfo, changed: &[&'a PodInfo], by: i64) {
        for one in changed {
            self.count(one, node, by);
        }
    }
}

fn matches_all(terms: &[PodTerm], pod: &PodInfo, view: &ClusterView) -> bool {
    !terms.is_empty() && terms.iter().all(|term| term.matches(pod, view.namespace_labels(&pod.namespace)))
}

/// Scores feasible nodes by preferred terms in both directions. None when no term of anybody applies.
pub(crate) fn score(pod: &PodInfo, view: &ClusterView, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let prefers = !pod.affinity.preferred.is_empty() || !pod.anti_affinity.preferred.is_empty();
    let mut weights: Counts<'_> = Counts::new();
    if prefers {
        for node in view.nodes() {
            node.pods.values().for_each(|existing| weigh(pod, existing, node, view, &mut weights));
        }
    } else {
        for node in view.nodes_with_affinity() {
            let having = node.pods.values().filter(|existing| existing.has_affinity());
            having.for_each(|existing| weigh(pod, existing, node, view, &mut weights));
        }
    }
    if weights.is_empty() {
        return None;
    }
    let raw = |node: &NodeInfo| -> i64 {
        weights.iter().filter(|((key, value), _)| node.labels.get(*key).is_some_and(|has| has == value)).map(|(_, weight)| weight).sum()
    };
    let scores: Vec<i64> = nodes.iter().map(|node| raw(node)).collect();
    let (lowest, highest) = (scores.iter().copied().min()?, scores.iter().copied().max()?);
    let scale = |score: i64| {
        if highest == lowest { 0 } else { (MAX_NODE_SCORE as f64 * ((score - lowest) as f64 / (highest - lowest) as f64)) as i64 }
    };
    Some(scores.into_iter().map(scale).collect())
}

fn weigh<'a>(pod: &'a PodInfo, existing: &'a PodInfo, node: &'a NodeInfo, view: &ClusterView, weights: &mut Counts<'a>) {
    let theirs = view.namespace_labels(&existing.namespace);
    let ours = view.namespace_labels(&pod.namespace);
    for (weight, term) in pod.affinity.preferred.iter().filter(|(_, term)| term.matches(existing, theirs)) {
        bump(weights, node, &term.topology_key, *weight);
    }
    for (weight, term) in pod.anti_affinity.preferred.iter().filter(|(_, term)| term.matches(existing, theirs)) {
        bump(weights, node, &term.topology_key, -weight);
    }
    for term in existing.affinity.required.iter().filter(|term| term.matches(pod, ours)) {
        bump(weights, node, &term.topology_key, HARD_POD_AFFINITY_WEIGHT);
    }
    for (weight, term) in existing.affinity.preferred.iter().filter(|(_, term)| term.matches(pod, ours)) {
        bump(weights, node, &term.topology_key, *weight);
    }
    for (weight, term) in existing.anti_affinity.preferred.iter().filter(|(_, term)| term.matches(pod, ours)) {
        bump(weights, node, &term.topology_key, -weight);
    }
}
