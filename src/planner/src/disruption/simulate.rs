//! Scheduling as it would be without some nodes (`C/pkg/controllers/disruption/helpers.go`, SimulateScheduling).

use super::candidate::Candidate;
use super::pod::is_currently_reschedulable;
use crate::explain;
use crate::input::{Node, Offerings, Options, Pod, Snapshot};
use crate::launch::{self, Draft, full_name};
use crate::output::{Explanation, NodeClaimPlan, Nomination, PodOutcome, PodVerdict, Refusal};
use crate::schedule::{Placement, Scheduler};
use crate::validate;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::UsdPerHour;

/// The picture that every question of one pass is asked about.
#[derive(Clone, Copy)]
pub struct Picture<'a> {
    pub snapshot: &'a Snapshot,
    pub offerings: &'a Offerings,
    pub now: Timestamp,
    pub options: &'a Options,
}

/// What scheduling came to without the candidates.
pub struct Simulation<'a> {
    scheduler: Scheduler<'a>,
    picture: Snapshot,
    placements: Vec<Placement>,
    /// Positions of pods that were not pending before and would be now, with the reason where it is known already.
    unplaced: Vec<(Arc<str>, Unplaced)>,
    /// New NodeClaims that would be made: position and draft.
    pub drafts: Vec<(usize, Draft)>,
}

enum Unplaced {
    Text(String),
    /// Position of the pod; the reason is worked out when somebody asks.
    Pod(usize),
}

/// Plans without the candidates. `consolidation`: nodes that are settling take no pod that would be moved. `None` when there is no
/// NodePool to plan with.
pub fn simulate<'a>(picture: Picture<'a>, candidates: &[&Candidate], consolidation: bool) -> Option<Simulation<'a>> {
    let Picture { snapshot, offerings, now, options } = picture;
    if !snapshot.pools.iter().any(|pool| pool.ready) {
        return None;
    }
    let names: BTreeSet<&Arc<str>> = candidates.iter().map(|c| &c.node.name).collect();
    let without = without(snapshot, &names);
    let mut pods: Vec<Arc<Pod>> = snapshot.pending.iter().filter(|pod| validate::fault(pod).is_none()).cloned().collect();
    let pending: BTreeSet<Arc<str>> = pods.iter().map(|pod| pod.uid.clone()).collect();
    let leaves = |pod: &&Arc<Pod>| is_currently_reschedulable(pod, snapshot, now);
    let moved: BTreeSet<Arc<str>> =
        candidates.iter().flat_map(|c| &c.reschedulable).filter(leaves).filter(|p| !p.phase_pending).map(|p| p.uid.clone()).collect();
    pods.extend(candidates.iter().flat_map(|c| &c.reschedulable).filter(leaves).cloned());
    let going = snapshot.nodes.iter().filter(|node| node.deleting && !names.contains(&node.name));
    let mut from_deleting = BTreeSet::new();
    for pod in going.flat_map(|node: &Arc<Node>| &node.pods).filter(leaves) {
        from_deleting.insert(pod.uid.clone());
        pods.push(pod.clone());
    }
    let mut unplaced = Vec::new();
    pods.retain(|pod| {
        if let Some(field) = pod.undecided.first() {
            if !pending.contains(&pod.uid) {
                unplaced.push((full_name(pod), Unplaced::Text(format!("{field} is not decided here"))));
            }
            return false;
        }
        true
    });
    let mut scheduler = Scheduler::new(&without, offerings, options, pods);
    scheduler.reservations.fall_back();
    if consolidation {
        for existing in &mut scheduler.existing {
            existing.settling = is_settling(snapshot, &existing.node, now);
        }
        scheduler.moved = (0..scheduler.pods.len()).filter(|p| moved.contains(&scheduler.pods[*p].uid)).collect();
    }
    let placements = scheduler.run();
    let was_pending = |position: usize| pending.contains(&scheduler.pods[position].uid);
    for (position, placement) in placements.iter().enumerate() {
        let pod = &scheduler.pods[position];
        match placement {
            Placement::Nowhere { .. } if !was_pending(position) => unplaced.push((full_name(pod), Unplaced::Pod(position))),
            // A plan that leans on a node which is not complete yet may come to nothing.
            Placement::Node(node) => {
                let node = &scheduler.existing[*node].node;
                if !node.initialized && !from_deleting.contains(&pod.uid) && !was_pending(position) {
                    unplaced.push((full_name(pod), Unplaced::Text(uninitialized(node))));
                }
            }
            _ => {}
        }
    }
    let mut drafts = Vec::new();
    for (position, claim) in scheduler.claims.iter().enumerate() {
        match launch::draft(&scheduler, claim) {
            Ok(draft) => drafts.push((position, draft)),
            Err(short) => {
                let text = format!("NodePool couldn't meet minValues requirements ({}: {} of {})", short.key, short.found, short.wanted);
                let pods = claim.pods.iter().filter(|p| !was_pending(**p)).map(|p| full_name(&scheduler.pods[*p]));
                unplaced.extend(pods.map(|pod| (pod, Unplaced::Text(text.clone()))));
            }
        }
    }
    unplaced.sort_by(|a, b| a.0.cmp(&b.0));
    Some(Simulation { scheduler, picture: without, placements, unplaced, drafts })
}

/// The same cluster with some nodes on their way out: no room on them, nothing of them counts for limits.
fn without(snapshot: &Snapshot, names: &BTreeSet<&Arc<str>>) -> Snapshot {
    let mark = |node: &Arc<Node>| {
        if names.contains(&node.name) { Arc::new(Node { deleting: true, ..(**node).clone() }) } else { node.clone() }
    };
    Snapshot { nodes: snapshot.nodes.iter().map(mark).collect(), ..snapshot.clone() }
}

/// `C/pkg/utils/disruption/disruption.go`, IsUnderConsolidateAfter.
pub fn is_settling(snapshot: &Snapshot, node: &Node, now: Timestamp) -> bool {
    let pool = node.pool.as_ref().and_then(|name| snapshot.pools.iter().find(|pool| pool.name == *name));
    let after = pool.and_then(|pool| pool.disruption.consolidate_after);
    match (node.quiet_since, after) {
        (Some(since), Some(after)) if after.is_positive() => now.duration_since(since) < after,
        _ => false,
    }
}

fn uninitialized(node: &Node) -> String {
    let claim = node.node_claim.as_ref().map(|name| format!("nodeclaim/{name}"));
    let own = node.has_node.then(|| format!("node/{}", node.name));
    format!("would schedule against uninitialized {}", [claim, own].into_iter().flatten().collect::<Vec<_>>().join(", "))
}

impl<'a> Simulation<'a> {
    /// Every pod that was not pending before has a place.
    pub fn places_all(&self) -> bool {
        self.unplaced.is_empty()
    }

    /// The first five pods without a place, with their reasons, and the names of the others.
    pub fn reasons(&mut self) -> Vec<(Arc<str>, String)> {
        let mut told = Vec::new();
        for (name, why) in std::mem::take(&mut self.unplaced) {
            let text = match why {
                Unplaced::Text(text) => text,
                Unplaced::Pod(_) if told.len() >= 5 => String::new(),
                Unplaced::Pod(position) => self.reason(position),
            };
            told.push((name, text));
        }
        told
    }

    fn reason(&mut self, position: usize) -> String {
        let deferred = if let Placement::Nowhere { deferred } = self.placements[position] { deferred } else { None };
        let shape = self.scheduler.shapes.of_pod[position];
        let pools = explain::unschedulable(&mut self.scheduler, &self.picture, shape, deferred);
        let pod = full_name(&self.scheduler.pods[position]);
        if pools.iter().all(|refusal| refusal.reason == Refusal::NotReady) {
            return "no NodePool is ready".to_owned();
        }
        let verdict = PodVerdict { pod: pod.clone(), outcome: PodOutcome::Unschedulable(pools) };
        let text = crate::render(&Explanation { pods: vec![verdict], ..Explanation::default() });
        let text = text.trim_end();
        let text = text.strip_prefix(&format!("{pod}: ")).unwrap_or(text);
        text.strip_prefix("Pending: ").unwrap_or(text).to_owned()
    }

    /// Pods that go to nodes which exist.
    pub fn nominations(&self) -> Vec<Nomination> {
        let mut made: Vec<Nomination> = self
            .placements
            .iter()
            .enumerate()
            .filter_map(|(position, placement)| {
                let Placement::Node(node) = placement else { return None };
                let node = self.scheduler.existing[*node].node.name.clone();
                Some(Nomination { pod: full_name(&self.scheduler.pods[position]), node })
            })
            .collect();
        made.sort_by(|a, b| a.pod.cmp(&b.pod));
        made
    }

    pub fn scheduler(&self) -> &Scheduler<'a> {
        &self.scheduler
    }

    /// The NodeClaims of the drafts, and what the cheapest of each costs together.
    pub fn write(&mut self) -> (Vec<NodeClaimPlan>, f64) {
        let drafts = std::mem::take(&mut self.drafts);
        let mut least = 0.0;
        let mut plans = Vec::new();
        for (position, draft) in drafts {
            let claim = &self.scheduler.claims[position];
            let template = &self.scheduler.templates[claim.template];
            let first = draft.chosen.first().and_then(|(t, _)| {
                let offerings = template.types[*t].offerings.iter().filter(|o| crate::template::buyable(o, &draft.requirements));
                offerings.map(|o| o.price).min()
            });
            least += first.map_or(0.0, UsdPerHour::dollars);
            plans.push(launch::write(&self.scheduler, claim, draft).0);
        }
        (plans, least)
    }
}
