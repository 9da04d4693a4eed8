//! Where simulations run. Those of one search share a scheduler that holds all nodes: each takes its candidates out and finds the rest
//! as it stands in the cluster. What they decide is what a scheduler built for each of them alone would decide, only sooner.

use super::candidate::Candidate;
use super::pod::{is_currently_reschedulable, is_reschedulable};
use super::simulate::is_settling;
use crate::input::{Node, Offerings, Options, Pod, Snapshot};
use crate::intern::ResourceNames;
use crate::quick::Quick;
use crate::reservation::Reservations;
use crate::schedule::{Scheduler, counted, counts};
use crate::validate;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

/// The picture that every question of one search is asked about.
#[derive(Clone, Copy)]
pub struct Picture<'a> {
    pub snapshot: &'a Snapshot,
    pub offerings: &'a Offerings,
    pub now: Timestamp,
    pub options: &'a Options,
}

pub struct Bench<'a> {
    pub picture: Picture<'a>,
    scheduler: Held<'a>,
    waiting: Option<Rc<Waiting>>,
    /// Why pods found no place, by shape, stage and what the limits left.
    told: Told,
}

enum Held<'a> {
    /// Built for each simulation, over the cluster without its candidates.
    Own(Option<Scheduler<'a>>),
    /// Built once, at the first simulation.
    Shared(Option<Ground<'a>>),
}

pub type Told = BTreeMap<(usize, Option<usize>, Vec<BTreeMap<Arc<str>, i64>>), String>;

/// Pods that need a place whichever nodes are looked at.
pub struct Waiting {
    pub pending: Vec<Arc<Pod>>,
    /// Their uids.
    pub uids: BTreeSet<Arc<str>>,
    /// Of nodes that are on their way out.
    pub going: Vec<Arc<Pod>>,
}

impl Waiting {
    fn of(picture: Picture<'_>) -> Self {
        let Picture { snapshot, now, .. } = picture;
        let pending: Vec<Arc<Pod>> = snapshot.pending.iter().filter(|pod| validate::fault(pod).is_none()).cloned().collect();
        let uids = pending.iter().map(|pod| pod.uid.clone()).collect();
        let going = snapshot.nodes.iter().filter(|node| node.deleting).flat_map(|node: &Arc<Node>| &node.pods);
        let going = going.filter(|pod| is_currently_reschedulable(pod, snapshot, now)).cloned().collect();
        Waiting { pending, uids, going }
    }
}

impl<'a> Bench<'a> {
    pub fn new(picture: Picture<'a>) -> Self {
        Bench { picture, scheduler: Held::Shared(None), waiting: None, told: Told::new() }
    }

    /// Every simulation begins with nothing.
    pub fn from_scratch(picture: Picture<'a>) -> Self {
        Bench { picture, scheduler: Held::Own(None), waiting: None, told: Told::new() }
    }

    pub fn waiting(&mut self) -> Rc<Waiting> {
        let picture = self.picture;
        self.waiting.get_or_insert_with(|| Rc::new(Waiting::of(picture))).clone()
    }

    /// A scheduler over the cluster without the candidates, for these pods, and what was told of pods without a place.
    pub fn scheduler(&mut self, candidates: &[&Candidate], pods: Vec<Arc<Pod>>, consolidation: bool) -> (&mut Scheduler<'a>, &mut Told) {
        let picture = self.picture;
        let scheduler = match &mut self.scheduler {
            Held::Shared(ground) => ground.get_or_insert_with(|| Ground::new(picture)).without(candidates, pods),
            Held::Own(own) => {
                self.told.clear();
                own.insert(alone(picture, candidates, pods, consolidation))
            }
        };
        (scheduler, &mut self.told)
    }
}

fn alone<'a>(picture: Picture<'a>, candidates: &[&Candidate], pods: Vec<Arc<Pod>>, consolidation: bool) -> Scheduler<'a> {
    let Picture { snapshot, offerings, now, options } = picture;
    let names: BTreeSet<&Arc<str>> = candidates.iter().map(|c| &c.node.name).collect();
    let mut scheduler = Scheduler::new(&without(snapshot, &names), offerings, options, pods);
    scheduler.reservations.fall_back();
    if consolidation {
        for existing in &mut scheduler.existing {
            existing.settling = is_settling(snapshot, &existing.node, now);
        }
    }
    scheduler
}

/// The same cluster with some nodes on their way out: no room on them, nothing of them counts for limits.
fn without(snapshot: &Snapshot, names: &BTreeSet<&Arc<str>>) -> Snapshot {
    let mark = |node: &Arc<Node>| {
        if names.contains(&node.name) { Arc::new(Node { deleting: true, ..(**node).clone() }) } else { node.clone() }
    };
    Snapshot { nodes: snapshot.nodes.iter().map(mark).collect(), ..snapshot.clone() }
}

/// A scheduler over all nodes, and what it takes to put it back.
struct Ground<'a> {
    scheduler: Scheduler<'a>,
    /// Positions among the existing nodes, by name.
    positions: BTreeMap<Arc<str>, Vec<usize>>,
    reservations: Reservations,
    /// Per template, what the limits leave while all nodes stay.
    spare: Vec<BTreeMap<Arc<str>, i128>>,
}

impl<'a> Ground<'a> {
    fn new(picture: Picture<'a>) -> Self {
        let Picture { snapshot, offerings, now, options } = picture;
        // Whatever any simulation may ask about: nobody asks for more.
        let bound = snapshot.nodes.iter().flat_map(|node| &node.pods).filter(|pod| is_reschedulable(pod));
        let pods = snapshot.pending.iter().chain(bound).cloned().collect();
        let mut scheduler = Scheduler::with_names(ResourceNames::of_all(snapshot), snapshot, offerings, options, pods);
        scheduler.reservations.fall_back();
        scheduler.quick = Some(Quick::default());
        let mut positions: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        for (position, existing) in scheduler.existing.iter_mut().enumerate() {
            existing.settling = is_settling(snapshot, &existing.node, now);
            positions.entry(existing.node.name.clone()).or_default().push(position);
        }
        let spare = scheduler.templates.iter().map(|template| {
            let mut spare: BTreeMap<Arc<str>, i128> =
                template.pool.limits.iter().map(|(name, limit)| (Arc::from(name), i128::from(limit))).collect();
            for node in scheduler.existing.iter().map(|existing| &existing.node).filter(|node| counts(&template.pool, node)) {
                spare.iter_mut().for_each(|(name, left)| *left -= i128::from(counted(node, name)));
            }
            spare
        });
        let spare = spare.collect();
        Ground { reservations: scheduler.reservations.clone(), positions, spare, scheduler }
    }

    fn without(&mut self, candidates: &[&Candidate], pods: Vec<Arc<Pod>>) -> &mut Scheduler<'a> {
        let scheduler = &mut self.scheduler;
        let gone: BTreeSet<usize> = candidates.iter().filter_map(|c| self.positions.get(&c.node.name)).flatten().copied().collect();
        let names = candidates.iter().map(|c| c.node.name.clone()).collect();
        scheduler.begin_anew(pods, &names);
        scheduler.reservations = self.reservations.clone();
        for (template, spare) in scheduler.templates.iter_mut().zip(&self.spare) {
            template.relaxed = false;
            for (name, left) in &mut template.remaining {
                let nodes = gone.iter().map(|position| &scheduler.existing[*position].node);
                let freed: i128 = nodes.filter(|node| counts(&template.pool, node)).map(|node| i128::from(counted(node, name))).sum();
                let exact = spare.get(name).copied().unwrap_or(0) + freed;
                *left = i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX });
            }
        }
        if let Some(quick) = &mut scheduler.quick {
            quick.begin_anew(&mut scheduler.existing, gone);
        }
        scheduler
    }
}
