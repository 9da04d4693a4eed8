//! One scheduling cycle: exclude nodes, score the rest, take the best (`schedule_one.go`).

use crate::fit_error::{Diagnosis, FitError};
use crate::node::NodeInfo;
use crate::plugins::inter_pod_affinity::Required;
use crate::plugins::pod_topology_spread::Hard;
use crate::plugins::volumes::Claims;
use crate::plugins::{
    Plugin, PluginSet, Rejection, inter_pod_affinity, node_affinity, node_name, node_ports, node_resources, node_unschedulable,
    pod_topology_spread, taint_toleration,
};
use crate::pod::PodInfo;
use crate::view::ClusterView;
use std::sync::Arc;

/// Where a pod goes, and how that compared with the alternatives.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    pub node: String,
    /// Every feasible node that was scored, in order of names, where [`schedule_scored`] was asked; empty when only one was feasible, since
    /// then nothing is scored.
    pub scores: Vec<NodeScore>,
    /// How many nodes were looked at; for [`ClusterView::advance_start`].
    pub examined: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NodeScore {
    pub node: String,
    /// Weighted sum.
    pub total: i64,
    /// Before weights, 0 to 100, in the order of [`Plugin::SCORING`]; a rule that had nothing to say gives 0 to all.
    pub by_plugin: [i64; Plugin::SCORING.len()],
}

/// The shape of pods in copies of a node: spreading is counted in the prepared state, and nobody reads the copy's shapes.
pub(crate) const NO_SHAPE: u32 = u32::MAX;

/// Everything about one pod that is computed once per cycle.
#[derive(Clone)]
pub(crate) struct Prepared<'a> {
    pub pod: &'a PodInfo,
    pub view: &'a ClusterView,
    pub spread: Hard<'a>,
    pub affinity: Required<'a>,
    pub claims: Claims<'a>,
}

impl<'a> Prepared<'a> {
    pub fn new(pod: &'a PodInfo, view: &'a ClusterView, claims: Claims<'a>) -> Self {
        Prepared { pod, view, spread: Hard::prepare(pod, view), affinity: Required::prepare(pod, view), claims }
    }

    /// What keeps the pod from the node. Where pods of no lower priority are promised the node, it must fit with them and without
    /// them (`framework/runtime/framework.go`, RunFilterPluginsWithNominatedPods).
    pub fn filter(&self, node: &NodeInfo) -> Option<Rejection> {
        let promised: Vec<&'a Arc<PodInfo>> =
            self.view.nominated(&node.name).filter(|other| other.priority >= self.pod.priority && other.uid != self.pod.uid).collect();
        if promised.is_empty() {
            return self.rules(node);
        }
        let mut fuller = node.clone();
        promised.iter().for_each(|other| fuller.add(Arc::clone(other), NO_SHAPE));
        let promised: Vec<&'a PodInfo> = promised.into_iter().map(|other| &**other).collect();
        self.changed(&node.name, &promised, 1).rules(&fuller).or_else(|| self.rules(node))
    }

    /// As it would be with these pods on a node as well (`by` 1), or without them (-1).
    pub fn changed(&self, node: &str, pods: &[&'a PodInfo], by: i64) -> Prepared<'a> {
        let mut other = self.clone();
        if let Some(node) = self.view.node(node) {
            other.spread.change(self.pod, node, pods, by);
            other.affinity.change(node, pods, by);
        }
        other.claims.change(self.pod, pods, by);
        other
    }

    /// The first rule that excludes the node, in the default profile's order.
    fn rules(&self, node: &NodeInfo) -> Option<Rejection> {
        let pod = self.pod;
        node_unschedulable::filter(pod, node)
            .or_else(|| node_name::filter(pod, node))
            .or_else(|| taint_toleration::filter(pod, node))
            .or_else(|| node_affinity::filter(pod, node))
            .or_else(|| node_ports::filter(pod, node))
            .or_else(|| node_resources::filter(pod, node))
            .or_else(|| self.claims.filter(node))
            .or_else(|| self.spread.filter(node))
            .or_else(|| self.affinity.filter(node))
    }
}

/// Chooses a node for `pod`. `draw` decides among nodes of equal score, where the real one rolls dice: the node at
/// `draw % ties` in order of names.
///
/// # Errors
/// [`FitError`] with the reason per node when no node will do. It is an answer, not a failure.
pub fn schedule(view: &ClusterView, pod: &PodInfo, draw: u64) -> Result<Placement, Box<FitError>> {
    choose(view, pod, draw, false)
}

/// As [`schedule`], with every score.
///
/// # Errors
/// As there.
pub fn schedule_scored(view: &ClusterView, pod: &PodInfo, draw: u64) -> Result<Placement, Box<FitError>> {
    choose(view, pod, draw, true)
}

fn choose(view: &ClusterView, pod: &PodInfo, draw: u64, scored: bool) -> Result<Placement, Box<FitError>> {
    if view.nodes().len() == 0 {
        return Err(Box::new(FitError::no_nodes()));
    }
    let named = pod.named_nodes();
    if named.as_ref().is_some_and(Vec::is_empty) {
        return Err(Box::new(FitError::before_filters(view.nodes().len(), Plugin::NodeAffinity, node_affinity::CONFLICT)));
    }
    let claims = match Claims::prepare(pod, view) {
        Ok(claims) => claims,
        Err((plugin, why)) => return Err(Box::new(FitError::before_filters(view.nodes().len(), plugin, &why))),
    };
    let prepared = Prepared::new(pod, view, claims);
    if let Some(nominated) = view.node(&pod.nominated_node_name)
        && prepared.filter(nominated).is_none()
    {
        return Ok(Placement { node: nominated.name.clone(), scores: Vec::new(), examined: 1 });
    }
    let (feasible, rejected) = match &named {
        Some(names) => {
            let mut candidates: Vec<&NodeInfo> = names.iter().filter_map(|name| view.node(name)).collect();
            candidates.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            let start = if candidates.is_empty() { 0 } else { view.next_start() % candidates.len() };
            let rotated = candidates.iter().skip(start).chain(candidates.iter().take(start)).copied();
            find_feasible(&prepared, rotated, candidates.len(), candidates.len() - start)
        }
        None => {
            let (nodes, wraps) = view.nodes_from_start();
            find_feasible(&prepared, nodes, view.nodes().len(), wraps)
        }
    };
    if feasible.is_empty() {
        let diagnosis = Diagnosis { rejected, restricted_to_named: named.is_some() };
        return Err(Box::new(FitError::new(view, &prepared, diagnosis)));
    }
    let examined = feasible.len() + rejected.len();
    if let [only] = feasible[..] {
        return Ok(Placement { node: only.name.clone(), scores: Vec::new(), examined });
    }
    let columns = columns(view, pod, &feasible);
    let totals: Vec<i64> = (0..feasible.len()).map(|at| total(&columns, at)).collect();
    let scores = if scored { named_scores(&columns, &feasible) } else { Vec::new() };
    Ok(Placement { node: feasible[best(&totals, draw)].name.clone(), scores, examined })
}

type Rejected = Vec<(String, Rejection)>;

/// All nodes of a small cluster; in a large one enough of them, beginning where the last search ended. `nodes` are `count` in order of names,
/// but for beginning in the middle: the first by name comes after `wraps` of them.
fn find_feasible<'a>(
    prepared: &Prepared<'_>,
    nodes: impl Iterator<Item = &'a NodeInfo>,
    count: usize,
    wraps: usize,
) -> (Vec<&'a NodeInfo>, Rejected) {
    let enough = feasible_nodes_to_find(count);
    let (mut feasible, mut rejected) = (Vec::with_capacity(enough), Vec::new());
    let mut before_the_first = None;
    for (at, node) in nodes.enumerate() {
        if at == wraps {
            before_the_first = Some(feasible.len());
        }
        match prepared.filter(node) {
            Some(rejection) => rejected.push((node.name.clone(), rejection)),
            None => feasible.push(node),
        }
        if feasible.len() >= enough {
            break;
        }
    }
    feasible.rotate_left(before_the_first.unwrap_or(0));
    (feasible, rejected)
}

/// `schedule_one.go`, numFeasibleNodesToFind with the default percentage of 0: all below 100 nodes, then 50 % less one point per
/// 125 nodes, at least 5 % and at least 100.
fn feasible_nodes_to_find(nodes: usize) -> usize {
    const MINIMUM: usize = 100;
    if nodes < MINIMUM {
        return nodes;
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(MINIMUM)
}

/// One column for each rule that has something to say.
type Columns = [Option<Vec<i64>>; Plugin::SCORING.len()];

/// Scores feasible nodes by all rules.
fn columns(view: &ClusterView, pod: &PodInfo, nodes: &[&NodeInfo]) -> Columns {
    [
        Some(taint_toleration::score(pod, nodes)),
        node_affinity::score(pod, nodes),
        Some(nodes.iter().map(|node| node_resources::least_allocated(pod, node)).collect()),
        pod_topology_spread::score(pod, view, nodes),
        inter_pod_affinity::score(pod, view, nodes),
        node_resources::balanced_allocation(pod, nodes),
    ]
}

fn by_plugin(columns: &Columns, at: usize) -> [i64; Plugin::SCORING.len()] {
    let mut scores = [0; Plugin::SCORING.len()];
    for (score, column) in scores.iter_mut().zip(columns) {
        *score = column.as_ref().map_or(0, |column| column[at]);
    }
    scores
}

fn total(columns: &Columns, at: usize) -> i64 {
    by_plugin(columns, at).iter().zip(Plugin::SCORING).map(|(score, (_, weight))| score * weight).sum()
}

fn named_scores(columns: &Columns, nodes: &[&NodeInfo]) -> Vec<NodeScore> {
    let row = |(at, node): (usize, &&NodeInfo)| NodeScore {
        node: node.name.clone(),
        total: total(columns, at),
        by_plugin: by_plugin(columns, at),
    };
    nodes.iter().enumerate().map(row).collect()
}

/// The place of the highest; among equals the draw decides.
fn best(totals: &[i64], draw: u64) -> usize {
    let highest = totals.iter().copied().max().unwrap_or(0);
    let ties: Vec<usize> = (0..totals.len()).filter(|at| totals[*at] == highest).collect();
    ties[(draw % ties.len() as u64) as usize]
}

impl FitError {
    /// Which rules excluded nodes.
    pub(crate) fn plugins_of(rejected: &[(String, Rejection)]) -> PluginSet {
        let mut set = PluginSet::default();
        for (_, rejection) in rejected {
            set.insert(rejection.plugin);
        }
        set
    }
}
