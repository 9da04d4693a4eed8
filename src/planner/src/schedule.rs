//! The scheduling loop: which pod goes where (`C/pkg/controllers/provisioning/scheduling/scheduler.go`, `queue.go`).

use crate::bits::Bits;
use crate::claim::{Claim, Fit, Misfit, Surroundings};
use crate::daemons::Daemons;
use crate::existing::{Common, Existing};
use crate::explain;
use crate::input::{MinValuesPolicy, Node, Offerings, Options, Pod, Pool, Snapshot};
use crate::intern::{RequirementTable, ResourceNames};
use crate::order;
use crate::output::Barren;
use crate::quick::{Newcomer, Quick};
use crate::reservation::Reservations;
use crate::shape::Shapes;
use crate::template::Template;
use crate::topology::Topology;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use vocabulary::{Effect, resources};

/// Everything that one scheduling pass reads and writes.
pub struct Scheduler<'a> {
    pub options: &'a Options,
    /// The pods to place, by position.
    pub pods: Vec<Arc<Pod>>,
    pub shapes: Shapes,
    pub names: ResourceNames,
    pub table: RequirementTable,
    pub topology: Topology,
    /// Ready pools in the order in which they are tried.
    pub templates: Vec<Template>,
    /// Ready pools that leave no instance type.
    pub barren: Vec<Barren>,
    pub existing: Vec<Existing>,
    pub claims: Vec<Claim>,
    pub reservations: Reservations,
    /// Pods that consolidation would move: nodes that are settling take none of them.
    pub moved: BTreeSet<usize>,
    /// Set where many simulations share the existing nodes.
    pub quick: Option<Quick>,
    /// Number of pods and position of each NodeClaim, fewest pods first when last sorted.
    order: Vec<(usize, usize)>,
    /// By stage, the NodeClaims that refused it since what they ask last changed; what is left of them only shrinks.
    refused: Vec<Bits>,
}

/// Where a pod ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Position in `existing`.
    Node(usize),
    /// Position in `claims`.
    Claim(usize),
    /// Waiting for a reservation at this stage of its relaxation, or refused at every one.
    Nowhere { deferred: Option<usize> },
}

impl<'a> Scheduler<'a> {
    pub fn new(snapshot: &Snapshot, offerings: &Offerings, options: &'a Options, pods: Vec<Arc<Pod>>) -> Self {
        Self::with_names(ResourceNames::of(snapshot), snapshot, offerings, options, pods)
    }

    /// `names` may hold more than the pods ask for: what nobody asks for decides nothing.
    pub fn with_names(names: ResourceNames, snapshot: &Snapshot, offerings: &Offerings, options: &'a Options, pods: Vec<Arc<Pod>>) -> Self {
        let mut table = RequirementTable::default();
        let pools = ordered_pools(snapshot);
        let soft = pools.iter().flat_map(|pool| &pool.taints).any(|taint| taint.effect == Effect::PreferNoSchedule);
        let mut topology = Topology::new(snapshot, &pools, offerings, &pods, &mut table);
        let shapes = Shapes::of(&pods, &names, &mut table, &mut topology.rules, options.preference_policy, soft);
        let usable = |pool: &&Arc<Pool>| offerings.get(&pool.name).is_some_and(|types| !types.is_empty());
        let mut templates: Vec<Template> =
            pools.iter().copied().filter(usable).map(|pool| Template::new(pool, &offerings[&pool.name], &mut table, options)).collect();
        let starved = templates.iter().filter(|template| template.options.is_empty());
        let barren = starved.map(|template| Barren { pool: template.pool.name.clone(), min_values: template.too_few }).collect();
        templates.retain(|template| !template.options.is_empty());
        let mut daemons = Daemons::of(snapshot);
        templates.iter_mut().for_each(|template| template.add_daemons(&mut daemons, &table, &names));
        subtract_nodes(&mut templates, snapshot);
        let existing = existing_nodes(snapshot, &daemons, &shapes, &names, &mut table, &topology);
        let reserved_pools: Offerings =
            pools.iter().filter_map(|pool| Some((pool.name.clone(), offerings.get(&pool.name)?.clone()))).collect();
        let reservations = Reservations::of(&reserved_pools, options.reserved_capacity);
        topology.begin(&pods, &shapes.of_pod, &shapes.shapes, &BTreeSet::new(), &mut table);
        Scheduler {
            options,
            pods,
            shapes,
            names,
            table,
            topology,
            templates,
            barren,
            existing,
            claims: Vec::new(),
            reservations,
            moved: BTreeSet::new(),
            quick: None,
            order: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Forgets what was placed; the pods are others now, and the nodes of these names are gone.
    pub fn begin_anew(&mut self, pods: Vec<Arc<Pod>>, gone: &BTreeSet<Arc<str>>) {
        self.shapes.look_at(&pods, &self.names, &mut self.table, &mut self.topology.rules);
        self.topology.begin(&pods, &self.shapes.of_pod, &self.shapes.shapes, gone, &mut self.table);
        self.pods = pods;
        self.claims.clear();
        self.moved.clear();
        self.order.clear();
        self.refused.clear();
    }

    /// Whether rules about other pods have a say in where pods of this shape go.
    pub fn is_related(&mut self, shape: usize) -> bool {
        let shape = &self.shapes.shapes[shape];
        shape.stages.iter().any(|stage| self.topology.concerns(shape, stage))
    }

    /// Places what can be placed. A pod that failed is tried again as long as another one found a place since.
    pub fn run(&mut self) -> Vec<Placement> {
        self.run_up_to(usize::MAX).expect("as many NodeClaims as there are pods at the most")
    }

    /// `None` once more NodeClaims than `most` are needed.
    pub fn run_up_to(&mut self, most: usize) -> Option<Vec<Placement>> {
        let mut placements = vec![Placement::Nowhere { deferred: None }; self.pods.len()];
        let mut queue: VecDeque<usize> = self.queue().into();
        let mut last_length: BTreeMap<usize, usize> = BTreeMap::new();
        while let Some(pod) = queue.front().copied() {
            if last_length.get(&pod) == Some(&queue.len()) {
                break;
            }
            queue.pop_front();
            placements[pod] = self.place(pod);
            if self.claims.len() > most {
                return None;
            }
            if let Placement::Nowhere { .. } = placements[pod] {
                queue.push_back(pod);
                last_length.insert(pod, queue.len());
            }
        }
        Some(placements)
    }

    /// Most CPU first, then most memory, then oldest, then by UID.
    fn queue(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.pods.len()).collect();
        let key = |position: &usize| {
            let pod = &self.pods[*position];
            let asked = |name| std::cmp::Reverse(pod.requests.get(name));
            (asked(resources::CPU), asked(resources::MEMORY), pod.created, pod.uid.clone())
        };
        order.sort_by_cached_key(key);
        order
    }

    /// Tries the pod with all its preferences, then with fewer and fewer.
    fn place(&mut self, pod: usize) -> Placement {
        let shape = self.shapes.of_pod[pod];
        for stage in 0..self.shapes.shapes[shape].stages.len() {
            match self.place_stage(pod, shape, stage) {
                Placement::Nowhere { deferred: None } => {}
                // Waiting for a reservation relaxes nothing.
                decided => return decided,
            }
        }
        Placement::Nowhere { deferred: None }
    }

    fn place_stage(&mut self, pod: usize, shape: usize, index: usize) -> Placement {
        let shape = &self.shapes.shapes[shape];
        let stage = &shape.stages[index];
        let moved = self.moved.contains(&pod);
        self.topology.groups_of(stage, &mut self.table);
        let mut takes =
            |node: &mut Existing| !(node.settling && moved) && node.try_add(pod, shape, stage, &mut self.table, &mut self.topology);
        let taken = match &mut self.quick {
            None => self.existing.iter_mut().position(&mut takes),
            Some(quick) => quick.place(&mut self.existing, Newcomer { pod, moved }, shape, stage, &mut self.table, &mut self.topology),
        };
        if let Some(node) = taken {
            return Placement::Node(node);
        }
        order::sort_like_go(&mut self.order, |(pods, _)| *pods);
        if stage.id >= self.refused.len() {
            self.refused.resize(stage.id + 1, Bits::default());
        }
        for turn in 0..self.order.len() {
            let claim = self.order[turn].1;
            if self.refused[stage.id].contains(claim) {
                continue;
            }
            let held = &mut self.claims[claim];
            let mut at = Surroundings {
                template: &mut self.templates[held.template],
                table: &mut self.table,
                topology: &mut self.topology,
                reservations: &self.reservations,
            };
            match held.fit(shape, stage, &mut at, MinValuesPolicy::Strict) {
                Ok(fit) => {
                    let before = held.requirements;
                    held.add(pod, shape, fit, &mut self.reservations);
                    if held.requirements != before {
                        self.refused.iter_mut().for_each(|refused| refused.remove(claim));
                    }
                    self.order[turn].0 += 1;
                    let site = held.site(&self.templates[held.template]);
                    self.topology.record(shape, site, held.requirements, &mut self.table);
                    return Placement::Claim(claim);
                }
                Err(Misfit::Constraint) => self.refused[stage.id].insert(claim),
                Err(Misfit::Reservation | Misfit::Topology) => {}
            }
        }
        self.open(pod, index)
    }

    /// Opens a NodeClaim of the first pool that allows the pod.
    fn open(&mut self, pod: usize, index: usize) -> Placement {
        let shape = &self.shapes.shapes[self.shapes.of_pod[pod]];
        let stage = &shape.stages[index];
        for position in 0..self.templates.len() {
            let template = &mut self.templates[position];
            let options = template.within_limits();
            if template.nodes_exhausted() || options.is_empty() {
                continue;
            }
            let host = self.topology.host_of_claim(self.claims.len());
            let mut claim = Claim::open(position, host, template, options, vec![0; shape.requests.len()]);
            let mut at = Surroundings { template, table: &mut self.table, topology: &mut self.topology, reservations: &self.reservations };
            let fit: Result<Fit, Misfit> = claim.fit(shape, stage, &mut at, self.options.min_values_policy);
            match fit {
                Ok(fit) => {
                    template.relaxed = fit.relaxed;
                    claim.add(pod, shape, fit, &mut self.reservations);
                    template.reserve(&claim.options);
                    // Simulations do not tell.
                    if self.quick.is_none() {
                        claim.refused_pools = (0..position)
                            .map(|p| {
                                let template = &mut self.templates[p];
                                explain::pool_refusal(template, &mut self.table, &mut self.topology, &self.names, shape, stage, host)
                            })
                            .collect();
                    }
                    let site = claim.site(&self.templates[position]);
                    self.topology.record(shape, site, claim.requirements, &mut self.table);
                    self.claims.push(claim);
                    self.order.push((1, self.claims.len() - 1));
                    return Placement::Claim(self.claims.len() - 1);
                }
                // A pool that could give reserved capacity, were it free, keeps lighter pools from being used.
                Err(Misfit::Reservation) => return Placement::Nowhere { deferred: Some(index) },
                Err(Misfit::Constraint | Misfit::Topology) => {}
            }
        }
        Placement::Nowhere { deferred: None }
    }
}

/// Ready pools, heaviest first, among equals the last name first (`C/pkg/utils/nodepool/nodepool.go`, OrderByWeight).
fn ordered_pools(snapshot: &Snapshot) -> Vec<&Arc<Pool>> {
    let mut pools: Vec<&Arc<Pool>> = snapshot.pools.iter().filter(|pool| pool.ready).collect();
    pools.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| b.name.cmp(&a.name)));
    pools
}

/// Takes the nodes that stay off what the limits of their pools leave.
fn subtract_nodes(templates: &mut [Template], snapshot: &Snapshot) {
    for node in snapshot.nodes.iter().filter(|node| !node.deleting) {
        for template in templates.iter_mut().filter(|template| counts(&template.pool, node)) {
            for (name, left) in &mut template.remaining {
                *left = left.saturating_sub(counted(node, name));
            }
        }
    }
}

/// Whether the node counts for the pool's limits while it stays.
pub fn counts(pool: &Pool, node: &Node) -> bool {
    node.labels.get(vocabulary::labels::NODEPOOL) == Some(&pool.name)
}

/// As how much of this limit.
pub fn counted(node: &Node, name: &str) -> i64 {
    if name == crate::template::NODES { 1 } else { node.capacity.get(name) }
}

/// Nodes that stay: initialized ones first, then by name.
fn existing_nodes(
    snapshot: &Snapshot,
    daemons: &Daemons,
    shapes: &Shapes,
    names: &ResourceNames,
    table: &mut RequirementTable,
    topology: &Topology,
) -> Vec<Existing> {
    let demands = shapes.shapes.iter().flat_map(|s| s.volumes.iter().copied().chain(s.stages.iter().map(|stage| stage.requirements)));
    let mut asked: BTreeSet<Arc<str>> = demands.flat_map(|demand| table.get(demand).iter()).map(|r| r.key.clone()).collect();
    asked.extend(topology.keys().cloned());
    let mut nodes: Vec<_> = snapshot.nodes.iter().enumerate().filter(|(_, node)| !node.deleting).collect();
    nodes.sort_by(|(_, a), (_, b)| b.initialized.cmp(&a.initialized).then_with(|| a.known_as().cmp(b.known_as())));
    let mut common = Common::new(daemons, &asked, names);
    nodes.into_iter().map(|(at, node)| Existing::new(node, &mut common, table, topology.host_of_node(at))).collect()
}
