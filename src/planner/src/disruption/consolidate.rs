//! The methods: which candidates, in which order, at which price.

use super::balanced::Totals;
use super::bench::{Bench, Picture};
use super::budget::allowances;
use super::candidate::Candidate;
use super::simulate::{Simulation, least_price, simulate, simulate_up_to};
use super::{Announced, Blocker, Command, Invalid, Method, Proposal, Stays, Unconsolidatable, Why};
use crate::claim::Claim;
use crate::fixed::{self, Census};
use crate::input::{ConsolidationPolicy, Offering, Offerings, Options, Snapshot};
use crate::launch::Draft;
use crate::template::{Template, buyable};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vocabulary::{CapacityType, Requirement, Requirements, UsdPerHour, labels};

/// Nodes in one multi-node command at the most, less one.
const MOST: usize = 100;
/// Cheaper Spot types that a single Spot node's replacement must be able to choose from.
const SPOT_TO_SPOT_TYPES: usize = 15;

/// What one method would do now. `busy` are the nodes on which commands are being carried out.
pub fn propose(
    snapshot: &Snapshot,
    offerings: &Offerings,
    now: Timestamp,
    options: &Options,
    busy: &BTreeSet<Arc<str>>,
    method: Method,
) -> Proposal {
    Search::new(snapshot, offerings, now, options).propose(busy, method)
}

/// One look at the cluster: what the methods have in common is worked out once.
pub struct Search<'a> {
    bench: Bench<'a>,
    /// A simulation that does not matter any more may be broken off.
    brief: bool,
}

impl<'a> Search<'a> {
    pub fn new(snapshot: &'a Snapshot, offerings: &'a Offerings, now: Timestamp, options: &'a Options) -> Self {
        Search { bench: Bench::new(Picture { snapshot, offerings, now, options }), brief: true }
    }

    /// Works out everything anew for every node: slow, and the same in the end.
    pub fn from_scratch(snapshot: &'a Snapshot, offerings: &'a Offerings, now: Timestamp, options: &'a Options) -> Self {
        Search { bench: Bench::from_scratch(Picture { snapshot, offerings, now, options }), brief: false }
    }

    /// What one method would do now. `busy` are the nodes on which commands are being carried out.
    pub fn propose(&mut self, busy: &BTreeSet<Arc<str>>, method: Method) -> Proposal {
        let Picture { snapshot, now, .. } = self.bench.picture;
        let mut pass = Pass { search: self, method, proposal: Proposal::default() };
        let candidates = pass.candidates(busy);
        pass.proposal.candidates = candidates.len();
        if candidates.is_empty() {
            return pass.end(None);
        }
        let (left, closed) = budgets(snapshot, method, now);
        pass.proposal.closed_pools = closed;
        let command = match method {
            Method::Emptiness => pass.emptiness(candidates, left),
            Method::Drift => pass.drift(candidates, &left, busy),
            Method::MultiNode => pass.multi_node(candidates, left),
            Method::SingleNode => pass.single_node(candidates, &left),
        };
        pass.end(command)
    }
}

type Left = BTreeMap<Arc<str>, u32>;

/// Nodes that each pool may still lose, and the pools with nodes that may lose none.
fn budgets(snapshot: &Snapshot, method: Method, now: Timestamp) -> (Left, Vec<Arc<str>>) {
    let all = allowances(snapshot, method, now);
    let closed = all.iter().filter(|(_, a)| a.nodes > 0 && a.allowed == 0).map(|(name, _)| name.clone()).collect();
    (all.into_iter().map(|(name, allowance)| (name, allowance.left())).collect(), closed)
}

struct Pass<'s, 'a> {
    search: &'s mut Search<'a>,
    method: Method,
    proposal: Proposal,
}

/// The command that removes these nodes and carries out what was simulated; without a simulation nothing has to move.
fn command(method: Method, candidates: &[&Candidate], simulation: Option<Simulation<'_, '_>>) -> Command {
    let source: f64 = candidates.iter().map(|c| c.price.dollars()).sum();
    let (replacements, least, nominations) = match simulation {
        None => (Vec::new(), 0.0, Vec::new()),
        Some(mut simulation) => {
            let nominations = simulation.nominations();
            let (replacements, least) = simulation.write();
            (replacements, least, nominations)
        }
    };
    let nodes = candidates.iter().map(|c| c.removed()).collect();
    Command { method, nodes, replacements, nominations, savings: source - least }
}

impl Pass<'_, '_> {
    fn end(mut self, command: Option<Command>) -> Proposal {
        self.proposal.command = command;
        self.proposal
    }

    fn stays(&mut self, node: &Arc<str>, why: Why) {
        self.proposal.stays.push(Stays { node: node.clone(), why });
    }

    /// Nodes that the method may consider.
    fn candidates(&mut self, busy: &BTreeSet<Arc<str>>) -> Vec<Candidate> {
        let Picture { snapshot, offerings, now, .. } = self.search.bench.picture;
        let mut found = Vec::new();
        for node in snapshot.nodes.iter().filter(|node| node.node_claim.is_some()) {
            match Candidate::of(node, snapshot, offerings, busy, self.method, now) {
                Ok(candidate) => match unsuitable(&candidate, self.method) {
                    Some(why) => self.stays(&node.name, why),
                    None => found.push(candidate),
                },
                Err(blocker) => self.stays(&node.name, Why::Blocked(blocker)),
            }
        }
        found
    }

    /// All empty nodes that the budgets allow, at once (`emptiness.go`).
    fn emptiness(&mut self, mut candidates: Vec<Candidate>, mut left: Left) -> Option<Command> {
        sort(&mut candidates);
        let chosen = self.within_budgets(candidates, &mut left);
        let chosen: Vec<&Candidate> = chosen.iter().collect();
        (!chosen.is_empty()).then(|| command(self.method, &chosen, None))
    }

    fn within_budgets(&mut self, candidates: Vec<Candidate>, left: &mut Left) -> Vec<Candidate> {
        let mut chosen = Vec::new();
        for candidate in candidates {
            match left.get_mut(&candidate.pool.name) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    chosen.push(candidate);
                }
                _ => self.stays(&candidate.node.name, Why::Budget),
            }
        }
        chosen
    }

    /// The node that drifted first, those without pods before the others (`drift.go`).
    fn drift(&mut self, candidates: Vec<Candidate>, left: &Left, busy: &BTreeSet<Arc<str>>) -> Option<Command> {
        let (fixed, mut candidates): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|c| c.pool.replicas.is_some());
        let mut commands = self.fixed_drift(&fixed, left, busy).into_iter();
        if let Some(first) = commands.next() {
            self.proposal.more = commands.collect();
            return Some(first);
        }
        candidates.sort_by_key(|c| (!c.reschedulable.is_empty(), c.node.drifted.as_ref().map(|(since, _)| *since)));
        for candidate in &candidates {
            if left.get(&candidate.pool.name).copied().unwrap_or(0) == 0 {
                self.stays(&candidate.node.name, Why::Budget);
                continue;
            }
            let mut simulation = simulate(&mut self.search.bench, &[candidate], false)?;
            if !simulation.places_all() {
                let pods = simulation.reasons();
                self.stays(&candidate.node.name, Why::Blocked(Blocker::Unplaced(pods)));
                continue;
            }
            return Some(command(self.method, &[candidate], Some(simulation)));
        }
        None
    }

    /// Nodes of pools of fixed size, as many at once as budget and node limit let be replaced, once there are not too many
    /// (`staticdrift.go`; upstream takes them in the order of a Go map).
    fn fixed_drift(&mut self, candidates: &[Candidate], left: &Left, busy: &BTreeSet<Arc<str>>) -> Vec<Command> {
        let mut by_pool: BTreeMap<&Arc<str>, Vec<&Candidate>> = BTreeMap::new();
        candidates.iter().for_each(|candidate| by_pool.entry(&candidate.pool.name).or_default().push(candidate));
        let mut commands = Vec::new();
        for (name, candidates) in by_pool {
            let pool = &candidates[0].pool;
            let allowed = left.get(name).copied().unwrap_or(0);
            let census = Census::of(pool, self.search.bench.picture.snapshot, busy);
            let settled = census.active + census.pending_disruption <= pool.replicas.unwrap_or(0);
            let wanted = i64::try_from(candidates.len()).unwrap_or(i64::MAX).min(allowed.into());
            let count = if settled { usize::try_from(census.room(pool, wanted)).unwrap_or(0) } else { 0 };
            for candidate in &candidates[count..] {
                self.stays(&candidate.node.name, Why::Budget);
            }
            commands.extend(candidates[..count].iter().map(|candidate| Command {
                method: self.method,
                nodes: vec![candidate.removed()],
                replacements: vec![fixed::claim(pool)],
                nominations: Vec::new(),
                savings: candidate.price.dollars(),
            }));
        }
        commands
    }

    /// The most nodes, from the front, that one cheaper node or none can stand in for (`multinodeconsolidation.go`).
    fn multi_node(&mut self, mut candidates: Vec<Candidate>, mut left: Left) -> Option<Command> {
        sort(&mut candidates);
        let all = candidates.len();
        let chosen = self.within_budgets(candidates, &mut left);
        let totals = Totals::of(&self.search.bench.picture);
        let mut found = None;
        let (mut low, mut high) = (1, MOST.min(chosen.len().saturating_sub(1)));
        // One node alone is left to the single-node method.
        while chosen.len() >= 2 && low <= high {
            let middle = usize::midpoint(low, high);
            let tried: Vec<&Candidate> = chosen[..=middle].iter().collect();
            let command = self.consolidate(&tried).ok().flatten();
            match command.filter(|command| self.weigh(&totals, &tried, command)) {
                Some(command) => {
                    found = Some(command);
                    low = middle + 1;
                }
                None => high = middle - 1,
            }
        }
        // What was approved last is what is found; else the last that was not.
        if let Some(last) = self.proposal.weighed.iter_mut().rev().find(|weighed| weighed.approved == found.is_some()) {
            last.counted = true;
        }
        self.proposal.exhausted = found.is_none() && chosen.len() == all;
        found
    }

    /// The first node that is not needed or can be replaced by a cheaper one, pools in turn (`singlenodeconsolidation.go`).
    fn single_node(&mut self, mut candidates: Vec<Candidate>, left: &Left) -> Option<Command> {
        sort(&mut candidates);
        let mut constrained = false;
        let totals = Totals::of(&self.search.bench.picture);
        for candidate in in_turn(candidates) {
            if left.get(&candidate.pool.name).copied().unwrap_or(0) == 0 {
                constrained = true;
                self.stays(&candidate.node.name, Why::Budget);
                continue;
            }
            if !totals.can_approve(&candidate) {
                self.stays(&candidate.node.name, Why::Unbalanced);
                continue;
            }
            match self.consolidate(&[&candidate]) {
                Ok(Some(command)) if !self.weigh(&totals, &[&candidate], &command) => self.stays(&candidate.node.name, Why::Unbalanced),
                Ok(Some(command)) => return Some(command),
                Ok(None) => {}
                Err(why) => self.stays(&candidate.node.name, Why::Unconsolidatable(why)),
            }
        }
        self.proposal.exhausted = !constrained;
        None
    }

    /// Whether the move is approved.
    fn weigh(&mut self, totals: &Totals, candidates: &[&Candidate], command: &Command) -> bool {
        let weighed = totals.weigh(candidates, command);
        let approved = weighed.approved;
        self.proposal.weighed.push(weighed);
        approved
    }

    /// Whether these nodes can go, with one cheaper node for all of them at the most (`consolidation.go`, computeConsolidation).
    fn consolidate(&mut self, candidates: &[&Candidate]) -> Result<Option<Command>, Unconsolidatable> {
        let method = self.method;
        let options = self.search.bench.picture.options;
        // Of several nodes nobody asks why they stay, so that a second NodeClaim settles it.
        let most = if self.search.brief && method == Method::MultiNode { 1 } else { usize::MAX };
        let Some(mut simulation) = simulate_up_to(&mut self.search.bench, candidates, true, most) else { return Ok(None) };
        if !simulation.places_all() {
            return Err(Unconsolidatable::Pods(simulation.reasons()));
        }
        match simulation.drafts.len() {
            0 => return Ok(Some(command(method, candidates, Some(simulation)))),
            1 => {}
            count => return Err(Unconsolidatable::SeveralNodes(count)),
        }
        let Some((position, mut draft)) = simulation.drafts.pop() else { return Ok(None) };
        let scheduler = simulation.scheduler();
        let claim = &scheduler.claims[position];
        let template = &scheduler.templates[claim.template];
        let price: f64 = candidates.iter().map(|c| c.price.dollars()).sum();
        let market =
            |draft: &Draft, market: CapacityType| draft.requirements.get(labels::CAPACITY_TYPE).is_none_or(|r| r.has(market.as_str()));
        if candidates.iter().all(|c| c.is_spot()) && market(&draft, CapacityType::Spot) {
            spot_to_spot(options, candidates.len(), template, claim, &mut draft, price)?;
        } else {
            keep_cheaper(template, claim, &mut draft, price)?;
            // The prices were those of Spot: should there be none, the launch shall fail rather than cost more.
            if market(&draft, CapacityType::Spot) && market(&draft, CapacityType::OnDemand) {
                draft.requirements.add(Requirement::is_in(labels::CAPACITY_TYPE, CapacityType::Spot.as_str()));
            }
        }
        let nodes = candidates.iter().map(|candidate| candidate.node.name.clone()).collect();
        self.proposal.announced.push(Announced { nodes, savings: price - least_price(template, &draft) });
        if candidates.len() > 1 {
            drop_same_types(candidates, template, claim, &mut draft)?;
        }
        simulation.drafts.push((position, draft));
        Ok(Some(command(method, candidates, Some(simulation))))
    }
}

/// What the method does not take, of nodes that may be disrupted (ShouldDisrupt of each method).
fn unsuitable(candidate: &Candidate, method: Method) -> Option<Why> {
    let node = &candidate.node;
    let pool = &candidate.pool;
    let gone = |why| Some(Why::Unconsolidatable(why));
    if method == Method::Drift {
        return node.drifted.is_none().then_some(Why::NotMarked("Drifted".into()));
    }
    if pool.replicas.is_some() {
        return Some(Why::FixedSize);
    }
    let disabled = pool.disruption.consolidate_after.is_none();
    let unmarked = node.consolidatable.is_none().then_some(Why::NotMarked("Consolidatable".into()));
    if method == Method::Emptiness {
        if disabled {
            return gone(Unconsolidatable::ConsolidationDisabled(pool.name.clone()));
        }
        return if candidate.is_empty() { unmarked } else { Some(Why::OtherMethod) };
    }
    if candidate.instance_type.is_none() {
        let name = node.labels.get(labels::INSTANCE_TYPE).cloned().unwrap_or_else(|| "".into());
        return gone(Unconsolidatable::InstanceTypeNotFound(name));
    }
    if let Some(key) = [labels::CAPACITY_TYPE, labels::ZONE].into_iter().find(|key| !node.labels.contains_key(*key)) {
        return gone(Unconsolidatable::LabelMissing(key.into()));
    }
    if disabled {
        return gone(Unconsolidatable::ConsolidationDisabled(pool.name.clone()));
    }
    if candidate.is_empty() {
        return Some(Why::OtherMethod);
    }
    if pool.disruption.policy == ConsolidationPolicy::WhenEmpty {
        return gone(Unconsolidatable::OnlyWhenEmpty(pool.name.clone()));
    }
    unmarked
}

/// Most price per disruption first; equals by name (upstream leaves them in the order of a Go map).
fn sort(candidates: &mut [Candidate]) {
    candidates.sort_by(|a, b| b.savings_ratio().total_cmp(&a.savings_ratio()));
}

/// The first of each pool, then the second of each; pools by name (upstream: in the order of a Go map).
fn in_turn(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut position: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut placed: Vec<(usize, Arc<str>, Candidate)> = Vec::new();
    for candidate in candidates {
        let pool = candidate.pool.name.clone();
        let turn = position.entry(pool.clone()).or_default();
        placed.push((*turn, pool, candidate));
        *turn += 1;
    }
    placed.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    placed.into_iter().map(|(_, _, candidate)| candidate).collect()
}

/// The most that launching this type may cost, in the market in which it would be launched (`C/pkg/cloudprovider/types.go`,
/// WorstLaunchPrice).
fn worst_price(offerings: &[Offering], requirements: &Requirements) -> Option<UsdPerHour> {
    [CapacityType::Reserved, CapacityType::Spot, CapacityType::OnDemand]
        .into_iter()
        .find_map(|market| offerings.iter().filter(|o| o.capacity_type == market && buyable(o, requirements)).map(|o| o.price).max())
}

/// Keeps types that are cheaper whichever of their offerings it becomes (RemoveInstanceTypeOptionsByPriceAndMinValues).
fn keep_cheaper(template: &Template, claim: &Claim, draft: &mut Draft, price: f64) -> Result<(), Unconsolidatable> {
    let worst = |t: usize| worst_price(&template.types[t].offerings, &draft.requirements);
    let kept: Vec<_> = draft.chosen.iter().copied().filter(|(t, _)| worst(*t).is_some_and(|p| p.dollars() < price)).collect();
    if kept.is_empty() {
        let best = draft.chosen.iter().filter_map(|(t, _)| Some((template.types[*t].name.clone(), worst(*t)?))).min_by_key(|(_, p)| *p);
        let price = UsdPerHour::new(price).unwrap_or(UsdPerHour::ZERO);
        return Err(Unconsolidatable::NotCheaper { best, price });
    }
    draft.chosen = kept;
    match template.shortages(&claim.min_values, &draft.types(template)).next() {
        Some((key, wanted, found)) => Err(Unconsolidatable::MinValues { key: key.clone(), wanted, found }),
        None => Ok(()),
    }
}

/// A Spot node for Spot nodes. One for one needs so much to choose from that the next pass does not find a cheaper one again.
fn spot_to_spot(
    options: &Options,
    nodes: usize,
    template: &Template,
    claim: &Claim,
    draft: &mut Draft,
    price: f64,
) -> Result<(), Unconsolidatable> {
    if !options.spot_to_spot_consolidation {
        return Err(Unconsolidatable::SpotToSpotDisabled);
    }
    draft.requirements.add(Requirement::is_in(labels::CAPACITY_TYPE, CapacityType::Spot.as_str()));
    let requirements = &draft.requirements;
    draft.chosen.retain(|(t, _)| template.types[*t].offerings.iter().any(|o| buyable(o, requirements)));
    keep_cheaper(template, claim, draft, price)?;
    if nodes > 1 {
        return Ok(());
    }
    if draft.chosen.len() < SPOT_TO_SPOT_TYPES {
        return Err(Unconsolidatable::SpotToSpotNeedsTypes { wanted: SPOT_TO_SPOT_TYPES, found: draft.chosen.len() });
    }
    // As many as `minValues` needs, where that is more.
    let enough = (1..=draft.chosen.len()).find(|count| {
        let first = Draft { requirements: Requirements::new(), chosen: draft.chosen[..*count].to_vec() };
        template.shortages(&claim.min_values, &first.types(template)).next().is_none()
    });
    let needed = if claim.min_values.is_empty() { 0 } else { enough.unwrap_or(0) };
    draft.chosen.truncate(SPOT_TO_SPOT_TYPES.max(needed));
    Ok(())
}

/// Instead of several nodes with one of them of type T, one of type T or dearer: that is deleting the others, so only what is
/// cheaper than T counts (filterOutSameInstanceType).
fn drop_same_types(candidates: &[&Candidate], template: &Template, claim: &Claim, draft: &mut Draft) -> Result<(), Unconsolidatable> {
    let mut cheapest: BTreeMap<&Arc<str>, Option<UsdPerHour>> = BTreeMap::new();
    for candidate in candidates {
        let Some(instance_type) = candidate.instance_type.map(|position| &candidate.types[position]) else { continue };
        let own = Requirements::from_labels(candidate.node.labels.iter().map(|(key, value)| (&**key, &**value)));
        let compatible = |o: &&Offering| own.is_compatible(&o.requirements, labels::is_well_known);
        let price = instance_type.offerings.iter().filter(compatible).map(|o| o.price).min();
        let known = cheapest.entry(&instance_type.name).or_default();
        *known = [*known, price].into_iter().flatten().min();
    }
    let same = draft.chosen.iter().filter_map(|(t, _)| cheapest.get(&template.types[*t].name));
    // A type without a price counts as free upstream, so that nothing is cheaper.
    let most = same.map(|price| price.map_or(0.0, UsdPerHour::dollars)).fold(f64::MAX, f64::min);
    keep_cheaper(template, claim, draft, most)
}

/// Whether a command still holds after its wait; emptiness keeps what is still empty (`validation.go`).
pub fn validate(
    snapshot: &Snapshot,
    offerings: &Offerings,
    now: Timestamp,
    options: &Options,
    busy: &BTreeSet<Arc<str>>,
    command: &Command,
) -> Result<Command, Invalid> {
    let method = command.method;
    // One simulation at the most, so there is nothing to share.
    let mut search = Search::from_scratch(snapshot, offerings, now, options);
    let mut pass = Pass { search: &mut search, method, proposal: Proposal::default() };
    let names = command.names();
    let mut still = pass.candidates(busy);
    still.retain(|candidate| names.contains(&candidate.node.name));
    if still.is_empty() || method != Method::Emptiness && still.len() != names.len() {
        return Err(Invalid::Churn);
    }
    let (mut left, _) = budgets(snapshot, method, now);
    let count = still.len();
    let within = pass.within_budgets(still, &mut left);
    if within.is_empty() || method != Method::Emptiness && within.len() != count {
        return Err(Invalid::Budget);
    }
    if method == Method::Emptiness {
        let nodes: Vec<&Candidate> = within.iter().collect();
        return Ok(self::command(method, &nodes, None));
    }
    let nodes: Vec<&Candidate> = within.iter().collect();
    let simulation = simulate(&mut pass.search.bench, &nodes, true).ok_or(Invalid::Scheduling)?;
    let held = simulation.places_all() && simulation.drafts.len() == command.replacements.len();
    let subset = match (simulation.drafts.first(), command.replacements.first()) {
        (None, None) => true,
        (Some((position, draft)), Some(replacement)) => {
            let template = &simulation.scheduler().templates[simulation.scheduler().claims[*position].template];
            let possible: BTreeSet<&Arc<str>> = draft.chosen.iter().map(|(t, _)| &template.types[*t].name).collect();
            replacement.instance_types.iter().all(|choice| possible.contains(&choice.instance_type))
        }
        _ => false,
    };
    if held && subset { Ok(command.clone()) } else { Err(Invalid::Scheduling) }
}
