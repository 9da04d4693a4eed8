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

/// Where a pod goes, and how that compared with the alternatives.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    pub node: String,
    /// Every feasible node that was scored, in order of names; empty when only one was feasible, since then nothing is scored.
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

/// Everything about one pod that is computed once per cycle.
pub(crate) struct Prepared<'a> {
    pub pod: &'a PodInfo,
    pub spread: Hard<'a>,
    pub affinity: Required<'a>,
    pub claims: Claims<'a>,
}

impl<'a> Prepared<'a> {
    pub fn new(pod: &'a PodInfo, view: &'a ClusterView, claims: Claims<'a>) -> Self {
        Prepared { pod, spread: Hard::prepare(pod, view), affinity: Required::prepare(pod, view), claims }
    }

    /// The first rule that excludes the node, in the default profile's order.
    pub fn filter(&self, node: &NodeInfo) -> Option<Rejection> {
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
    let candidates: Vec<&NodeInfo> = match &named {
        Some(names) => names.iter().filter_map(|name| view.node(name)).collect(),
        None => view.nodes().collect(),
    };
    if let Some(nominated) = view.node(&pod.nominated_node_name)
        && prepared.filter(nominated).is_none()
    {
        return Ok(Placement { node: nominated.name.clone(), scores: Vec::new(), examined: 1 });
    }
    let (feasible, rejected) = find_feasible(view, &prepared, &candidates);
    if feasible.is_empty() {
        let diagnosis = Diagnosis { rejected, restricted_to_named: named.is_some() };
        return Err(Box::new(FitError::new(view, &prepared, diagnosis)));
    }
    let examined = feasible.len() + rejected.len();
    if let [only] = feasible[..] {
        return Ok(Placement { node: only.name.clone(), scores: Vec::new(), examined });
    }
    let scores = prioritize(view, pod, &feasible);
    Ok(Placement { node: best(&scores, draw), scores, examined })
}

type Rejected = Vec<(String, Rejection)>;

/// All nodes of a small cluster; in a large one enough of them, beginning where the last search ended.
fn find_feasible<'a>(view: &ClusterView, prepared: &Prepared<'_>, candidates: &[&'a NodeInfo]) -> (Vec<&'a NodeInfo>, Rejected) {
    let enough = feasible_nodes_to_find(candidates.len());
    let (mut feasible, mut rejected) = (Vec::new(), Vec::new());
    for at in 0..candidates.len() {
        let node = candidates[(view.next_start() + at) % candidates.len()];
        match prepared.filter(node) {
            Some(rejection) => rejected.push((node.name.clone(), rejection)),
            None => feasible.push(node),
        }
        if feasible.len() >= enough {
            break;
        }
    }
    feasible.sort_unstable_by(|a, b| a.name.cmp(&b.name));
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

/// Scores feasible nodes by all rules.
pub(crate) fn prioritize(view: &ClusterView, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<NodeScore> {
    let columns = [
        Some(taint_toleration::score(pod, nodes)),
        node_affinity::score(pod, nodes),
        Some(nodes.iter().map(|node| node_resources::least_allocated(pod, node)).collect()),
        pod_topology_spread::score(pod, view, nodes),
        inter_pod_affinity::score(pod, view, nodes),
        node_resources::balanced_allocation(pod, nodes),
    ];
    let row = |at: usize| {
        let mut by_plugin = [0; Plugin::SCORING.len()];
        for (score, column) in by_plugin.iter_mut().zip(&columns) {
            *score = column.as_ref().map_or(0, |column| column[at]);
        }
        let total = by_plugin.iter().zip(Plugin::SCORING).map(|(score, (_, weight))| score * weight).sum();
        NodeScore { node: nodes[at].name.clone(), total, by_plugin }
    };
    (0..nodes.len()).map(row).collect()
}

fn best(scores: &[NodeScore], draw: u64) -> String {
    let highest = scores.iter().map(|score| score.total).max().unwrap_or(0);
    let ties: Vec<&NodeScore> = scores.iter().filter(|score| score.total == highest).collect();
    ties[(draw % ties.len() as u64) as usize].node.clone()
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
