//! Scheduling as it would be without some nodes (`C/pkg/controllers/disruption/helpers.go`, SimulateScheduling).

use super::bench::{Bench, Told};
use super::candidate::Candidate;
use super::pod::is_currently_reschedulable;
use crate::explain;
use crate::input::{Node, Pod, Snapshot};
use crate::launch::{self, Draft, full_name};
use crate::output::{Explanation, NodeClaimPlan, Nomination, PodOutcome, PodVerdict, Refusal};
use crate::schedule::{Placement, Scheduler};
use crate::template::Template;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::UsdPerHour;

/// What scheduling came to without the candidates.
pub struct Simulation<'s, 'a> {
    scheduler: &'s mut Scheduler<'a>,
    told: &'s mut Told,
    snapshot: &'a Snapshot,
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
pub fn simulate<'s, 'a>(bench: &'s mut Bench<'a>, candidates: &[&Candidate], consolidation: bool) -> Option<Simulation<'s, 'a>> {
    simulate_up_to(bench, candidates, consolidation, usize::MAX)
}

/// The same, `None` as well once more than `most` NodeClaims would be needed.
pub fn simulate_up_to<'s, 'a>(
    bench: &'s mut Bench<'a>,
    candidates: &[&Candidate],
    consolidation: bool,
    most: usize,
) -> Option<Simulation<'s, 'a>> {
    let snapshot = bench.picture.snapshot;
    let now = bench.picture.now;
    if !snapshot.pools.iter().any(|pool| pool.ready) {
        return None;
    }
    let waiting = bench.waiting();
    let pending = &waiting.uids;
    let mut pods: Vec<Arc<Pod>> = waiting.pending.clone();
    let leaves = |pod: &&Arc<Pod>| is_currently_reschedulable(pod, snapshot, now);
    let moved: BTreeSet<Arc<str>> =
        candidates.iter().flat_map(|c| &c.reschedulable).filter(leaves).filter(|p| !p.phase_pending).map(|p| p.uid.clone()).collect();
    pods.extend(candidates.iter().flat_map(|c| &c.reschedulable).filter(leaves).cloned());
    // A candidate is not on its way out, so that these are the others.
    let from_deleting: BTreeSet<&Arc<str>> = waiting.going.iter().map(|pod| &pod.uid).collect();
    pods.extend(waiting.going.iter().cloned());
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
    let (scheduler, told) = bench.scheduler(candidates, pods, consolidation);
    if consolidation {
        scheduler.moved = (0..scheduler.pods.len()).filter(|p| moved.contains(&scheduler.pods[*p].uid)).collect();
    }
    // A NodeClaim that falls short of its `minValues` comes to nothing and does not count.
    let most = if scheduler.templates.iter().all(|template| template.min_values.is_empty()) { most } else { usize::MAX };
    let placements = scheduler.run_up_to(most)?;
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
        match launch::draft(scheduler, claim) {
            Ok(draft) => drafts.push((position, draft)),
            Err(short) => {
                let text = format!("NodePool couldn't meet minValues requirements ({}: {} of {})", short.key, short.found, short.wanted);
                let pods = claim.pods.iter().filter(|p| !was_pending(**p)).map(|p| full_name(&scheduler.pods[*p]));
                unplaced.extend(pods.map(|pod| (pod, Unplaced::Text(text.clone()))));
            }
        }
    }
    unplaced.sort_by(|a, b| a.0.cmp(&b.0));
    Some(Simulation { scheduler, told, snapshot, placements, unplaced, drafts })
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

impl<'a> Simulation<'_, 'a> {
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
        let left = self.scheduler.templates.iter().map(|template| template.remaining.clone()).collect();
        let question = (shape, deferred, left);
        // What topology allows is different each time.
        if self.scheduler.is_related(shape) {
            return self.reason_of_shape(position, deferred);
        }
        if let Some(known) = self.told.get(&question) {
            return known.clone();
        }
        let text = self.reason_of_shape(position, deferred);
        self.told.insert(question, text.clone());
        text
    }

    fn reason_of_shape(&mut self, position: usize, deferred: Option<usize>) -> String {
        let pools = explain::unschedulable(self.scheduler, self.snapshot, position, deferred, false);
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
        self.scheduler
    }

    /// The NodeClaims of the drafts, and what the cheapest of each costs together.
    pub fn write(&mut self) -> (Vec<NodeClaimPlan>, f64) {
        let drafts = std::mem::take(&mut self.drafts);
        let mut least = 0.0;
        let mut plans = Vec::new();
        for (position, draft) in drafts {
            let claim = &self.scheduler.claims[position];
            let template = &self.scheduler.templates[claim.template];
            least += least_price(template, &draft);
            plans.push(launch::write(self.scheduler, claim, draft).0);
        }
        (plans, least)
    }
}

/// What the cheapest launch of the draft's first type costs, in USD per hour; nothing if it cannot be bought (`types.go`, EstimatedSavings).
pub fn least_price(template: &Template, draft: &Draft) -> f64 {
    let first = draft.chosen.first().and_then(|(t, _)| {
        let offerings = template.types[*t].offerings.iter().filter(|o| crate::template::buyable(o, &draft.requirements));
        offerings.map(|o| o.price).min()
    });
    first.map_or(0.0, UsdPerHour::dollars)
}
