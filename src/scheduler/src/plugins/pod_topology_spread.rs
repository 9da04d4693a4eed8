//! Keeps pods of one selector evenly spread over zones, nodes, or any label: hard constraints exclude, soft ones score.
//!
//! Source: `framework/plugins/podtopologyspread/{filtering,scoring,common,plugin}.go`.

use super::{Plugin, Rejection, taint_toleration};
use crate::MAX_NODE_SCORE;
use crate::node::NodeInfo;
use crate::pod::{PodInfo, SpreadConstraint};
use crate::view::{ClusterView, ShapeMatch};
use std::collections::BTreeMap;

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The constraints of pods that declare none: soft, over nodes (skew 3) and zones (skew 5).
const SYSTEM_DEFAULTS: [(&str, i64); 2] = [(HOSTNAME, 3), (ZONE, 5)];

/// Counts that one scheduling cycle needs for the hard constraints of its pod.
#[derive(Clone)]
pub(crate) struct Hard<'a> {
    rows: Vec<HardRow<'a>>,
}

#[derive(Clone)]
struct HardRow<'a> {
    constraint: &'a SpreadConstraint,
    shapes: ShapeMatch,
    /// Matching pods by value of the topology key.
    counts: BTreeMap<&'a str, i64>,
    matches_itself: bool,
}

impl<'a> Hard<'a> {
    pub fn prepare(pod: &'a PodInfo, view: &'a ClusterView) -> Self {
        let mut rows: Vec<HardRow<'a>> = pod
            .spread
            .iter()
            .filter(|constraint| constraint.hard)
            .map(|constraint| HardRow {
                constraint,
                shapes: view.matching_shapes(&constraint.selector, &pod.namespace),
                counts: BTreeMap::new(),
                matches_itself: constraint.selector.matches(&pod.labels),
            })
            .collect();
        if rows.is_empty() {
            return Hard { rows };
        }
        for node in view.nodes() {
            if rows.iter().any(|row| !node.labels.contains_key(&row.constraint.topology_key)) {
                continue;
            }
            for row in rows.iter_mut().filter(|row| includes(row.constraint, pod, node)) {
                *row.counts.entry(&node.labels[&row.constraint.topology_key]).or_default() += row.shapes.count(node);
            }
        }
        Hard { rows }
    }

    pub fn filter(&self, node: &NodeInfo) -> Option<Rejection> {
        for row in &self.rows {
            let Some(value) = node.labels.get(&row.constraint.topology_key) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Some(Rejection::unresolvable(Plugin::PodTopologySpread, reason));
            };
            let fewest = if (row.counts.len() as i64) < row.constraint.min_domains {
                0
            } else {
                row.counts.values().copied().min().unwrap_or(i64::from(i32::MAX))
            };
            let here = row.counts.get(value.as_str()).copied().unwrap_or(0);
            if here + i64::from(row.matches_itself) - fewest > row.constraint.max_skew {
                return Some(Rejection::resolvable(Plugin::PodTopologySpread, "node(s) didn't match pod topology spread constraints"));
            }
        }
        None
    }

    /// Counts as they would be with these pods on `node` as well (`by` 1), or without them (-1).
    pub fn change(&mut self, pod: &PodInfo, node: &'a NodeInfo, changed: &[&PodInfo], by: i64) {
        if self.rows.iter().any(|row| !node.labels.contains_key(&row.constraint.topology_key)) {
            return;
        }
        for row in self.rows.iter_mut().filter(|row| includes(row.constraint, pod, node)) {
            let matching = changed
                .iter()
                .filter(|one| one.namespace == pod.namespace && !one.terminating && row.constraint.selector.matches(&one.labels))
                .count() as i64;
            if let Some(count) = row.counts.get_mut(node.labels[&row.constraint.topology_key].as_str()) {
                *count += by * matching;
            }
        }
    }
}

/// Whether a node counts under the constraint's inclusion policies (matchNodeInclusionPolicies).
fn includes(constraint: &SpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> bool {
    (!constraint.honor_affinity || pod.selects_node(&node.name, &node.labels))
        && (!constraint.honor_taints || !taint_toleration::untolerated(pod, &node.taints))
}

/// Scores feasible nodes by the soft constraints: 100 for the emptiest domain. None when there are none.
pub(crate) fn score(pod: &PodInfo, view: &ClusterView, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let defaults;
    let constraints: Vec<&SpreadConstraint> = if pod.spread_declared {
        pod.spread.iter().filter(|constraint| !constraint.hard).collect()
    } else {
        defaults = system_defaults(pod, view)?;
        defaults.iter().collect()
    };
    if constraints.is_empty() {
        return None;
    }
    let has_all = |node: &NodeInfo| constraints.iter().all(|constraint| node.labels.contains_key(&constraint.topology_key));
    // The system's own constraints also score nodes without a zone.
    let ignored: Vec<bool> = nodes.iter().map(|node| pod.spread_declared && !has_all(node)).collect();
    let rows: Vec<SoftRow<'_>> =
        constraints.iter().map(|constraint| SoftRow::prepare(constraint, pod, view, nodes, &ignored, &has_all)).collect();
    let scores = nodes.iter().zip(&ignored).map(|(node, ignored)| (!ignored).then(|| raw_score(node, &rows))).collect();
    Some(spread_normalized(scores))
}

fn system_defaults(pod: &PodInfo, view: &ClusterView) -> Option<Vec<SpreadConstraint>> {
    let selector = view.default_selector(pod)?;
    let of = |(key, skew): (&str, i64)| SpreadConstraint {
        max_skew: skew,
        topology_key: key.to_owned(),
        hard: false,
        selector: selector.clone(),
        min_domains: 1,
        honor_affinity: true,
        honor_taints: false,
    };
    Some(SYSTEM_DEFAULTS.map(of).into())
}

struct SoftRow<'a> {
    constraint: &'a SpreadConstraint,
    shapes: ShapeMatch,
    /// By value of the topology key, for values that a feasible node has; unused for host names.
    counts: BTreeMap<&'a str, i64>,
    weight: f64,
}

impl<'a> SoftRow<'a> {
    fn prepare(
        constraint: &'a SpreadConstraint,
        pod: &PodInfo,
        view: &'a ClusterView,
        feasible: &[&'a NodeInfo],
        ignored: &[bool],
        has_all: &dyn Fn(&NodeInfo) -> bool,
    ) -> Self {
        let shapes = view.matching_shapes(&constraint.selector, &pod.namespace);
        let mut counts: BTreeMap<&'a str, i64> = BTreeMap::new();
        let scored = || feasible.iter().zip(ignored).filter(|(_, ignored)| !**ignored).map(|(node, _)| *node);
        let domains = if constraint.topology_key == HOSTNAME {
            scored().count()
        } else {
            for node in scored() {
                counts.insert(node.labels.get(&constraint.topology_key).map_or("", String::as_str), 0);
            }
            for node in view.nodes().filter(|node| (!pod.spread_declared || has_all(node)) && includes(constraint, pod, node)) {
                let value = node.labels.get(&constraint.topology_key).map_or("", String::as_str);
                if let Some(count) = counts.get_mut(value) {
                    *count += shapes.count(node);
                }
            }
            counts.len()
        };
        SoftRow { constraint, shapes, counts, weight: ((domains + 2) as f64).ln() }
    }
}

/// The weighted number of matching pods in the node's domains: lower is better.
fn raw_score(node: &NodeInfo, rows: &[SoftRow<'_>]) -> i64 {
    let mut score = 0.0;
    for row in rows {
        if let Some(value) = node.labels.get(&row.constraint.topology_key) {
            let count = if row.constraint.topology_key == HOSTNAME {
                row.shapes.count(node)
            } else {
                row.counts.get(value.as_str()).copied().unwrap_or(0)
            };
            score += count as f64 * row.weight + (row.constraint.max_skew - 1) as f64;
        }
    }
    score.round() as i64
}

fn spread_normalized(scores: Vec<Option<i64>>) -> Vec<i64> {
    let highest = scores.iter().flatten().copied().max().unwrap_or(0).max(0);
    let lowest = scores.iter().flatten().copied().min().unwrap_or(0);
    let scale = |score: Option<i64>| match score {
        None => 0,
        Some(_) if highest == 0 => MAX_NODE_SCORE,
        Some(score) => MAX_NODE_SCORE * (highest + lowest - score) / highest,
    };
    scores.into_iter().map(scale).collect()
}
