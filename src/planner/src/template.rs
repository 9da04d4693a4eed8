//! What a NodePool can give a new node: its instance types, in tables that answer for all of them at once.

use crate::bits::Bits;
use crate::daemons::{DaemonGroup, Daemons};
use crate::input::{InstanceType, Labels, MinValuesPolicy, Offering, Options, Pool};
use crate::intern::{RequirementTable, RequirementsId, ResourceNames};
use crate::ports::{self, Port};
use indexmap::IndexMap;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use vocabulary::{CapacityType, Requirement, Requirements, UsdPerHour, labels};

/// `minValues` by key.
pub type MinValues = BTreeMap<Arc<str>, u32>;

/// A NodePool with the instance types that meet its own requirements.
pub struct Template {
    pub pool: Arc<Pool>,
    pub types: Arc<Vec<InstanceType>>,
    /// The template's labels with those of NodePool and NodeClass.
    pub labels: Labels,
    pub requirements: RequirementsId,
    pub min_values: MinValues,
    /// Types that meet the pool's own requirements and can be had.
    pub options: Bits,
    /// There would be some, but fewer than `minValues` demand.
    pub too_few: bool,
    pub groups: Vec<DaemonGroup>,
    /// What the limits leave, by resource.
    pub remaining: BTreeMap<Arc<str>, i64>,
    /// Whether the pool's last opened NodeClaim had its `minValues` lowered. Upstream keeps the annotation in a map that all
    /// NodeClaims of a pool share, so the last one speaks for all (`C/pkg/controllers/provisioning/scheduling/scheduler.go`).
    pub relaxed: bool,
    fits: Vec<FitTable>,
    by_requirement: IndexMap<Requirement, Bits>,
    by_offering: IndexMap<Requirements, Bits>,
    offering_keys: BTreeSet<Arc<str>>,
    /// By number of the requirements.
    matching: Vec<Option<Rc<Bits>>>,
    rankings: RefCell<IndexMap<Requirements, Rc<Ranking>>>,
    /// All types in order of names.
    by_name: Vec<usize>,
}

/// What types cost under some requirements.
pub struct Ranking {
    /// Types that can be bought, cheapest first, equal prices by name.
    pub order: Vec<(usize, UsdPerHour)>,
    /// By type, the markets in which it can be bought.
    pub markets: Vec<Vec<CapacityType>>,
}

impl Template {
    /// The pool's template; whether any type is left is in `options`.
    pub fn new(pool: &Arc<Pool>, types: &Arc<Vec<InstanceType>>, table: &mut RequirementTable, options: &Options) -> Self {
        let mut labels = pool.labels.clone();
        labels.insert(labels::NODEPOOL.into(), pool.name.clone());
        labels.insert(labels::EC2NODECLASS.into(), pool.node_class.clone());
        let mut requirements: Requirements = pool.requirements.iter().cloned().collect();
        requirements.extend(&Requirements::from_labels(labels.iter().map(|(key, value)| (&**key, &**value))));
        // Daemons that ask for these labels run on the node once it has them.
        requirements.add(Requirement::is_in(labels::REGISTERED, "true"));
        requirements.add(Requirement::is_in(labels::INITIALIZED, "true"));
        let min_values = requirements.iter().filter_map(|r| Some((r.key.clone(), r.min_values?))).collect();
        let without_min = |mut requirement: Requirement| {
            requirement.min_values = None;
            requirement
        };
        let requirements = table.intern(requirements.iter().cloned().map(without_min).collect());
        let mut made = Template {
            pool: pool.clone(),
            types: types.clone(),
            labels,
            requirements,
            min_values,
            options: Bits::from_fn(types.len(), |_| true),
            too_few: false,
            groups: Vec::new(),
            remaining: pool.limits.iter().map(|(name, limit)| (Arc::from(name), limit)).collect(),
            relaxed: false,
            fits: Vec::new(),
            by_requirement: IndexMap::new(),
            by_offering: IndexMap::new(),
            offering_keys: BTreeSet::new(),
            matching: Vec::new(),
            rankings: RefCell::default(),
            by_name: {
                let mut order: Vec<usize> = (0..types.len()).collect();
                order.sort_by_key(|t| &types[*t].name);
                order
            },
        };
        made.keep_own_options(table, options.min_values_policy);
        made
    }

    /// Leaves the types that meet the pool's own requirements; none when they are fewer than `minValues` demands. Each requirement is
    /// held against those that the ones before it left, since a pool often names a few of a thousand types.
    fn keep_own_options(&mut self, table: &RequirementTable, policy: MinValuesPolicy) {
        let types = self.types.clone();
        let requirements = table.get(self.requirements);
        // A list of types leaves the fewest.
        let first = requirements.get(labels::INSTANCE_TYPE);
        for requirement in first.into_iter().chain(requirements.iter().filter(|r| *r.key != *labels::INSTANCE_TYPE)) {
            let alone: Requirements = [requirement.clone()].into_iter().collect();
            self.options.keep(|t| types[t].requirements.intersects(&alone));
        }
        // A handful of keys among tens of thousands of offerings: looked up, not collected and sorted.
        for requirement in self.options.iter().flat_map(|t| &types[t].offerings).flat_map(|o| o.requirements.iter()) {
            if !self.offering_keys.contains(&requirement.key) {
                self.offering_keys.insert(requirement.key.clone());
            }
        }
        let offered = self.offering_types(requirements);
        self.options.retain(&offered);
        self.options.keep(|t| types[t].allocatable.iter().all(|(_, amount)| amount >= 0));
        if policy == MinValuesPolicy::Strict && self.shortages(&self.min_values, &self.options).next().is_some() {
            self.too_few = !self.options.is_empty();
            self.options.clear();
        }
        self.remember(self.requirements, Rc::new(self.options.clone()));
    }

    fn remember(&mut self, id: RequirementsId, types: Rc<Bits>) {
        if id.position() >= self.matching.len() {
            self.matching.resize(id.position() + 1, None);
        }
        self.matching[id.position()] = Some(types);
    }

    /// Groups the options by the daemons that would run on them.
    pub fn add_daemons(&mut self, daemons: &mut Daemons, table: &RequirementTable, names: &ResourceNames) {
        self.groups = daemons.groups(&self.pool.taints, table.get(self.requirements), &self.types, &self.options, names);
        self.fits = self.groups.iter().map(|group| FitTable::of(&self.types, &group.types, names)).collect();
    }

    /// Options that share a value with the requirements on every key, and have an available offering that meets them
    /// (`C/pkg/controllers/provisioning/scheduling/nodeclaim.go`, compatible and fits).
    pub fn matching(&mut self, table: &RequirementTable, id: RequirementsId) -> Rc<Bits> {
        if let Some(Some(known)) = self.matching.get(id.position()) {
            return known.clone();
        }
        let requirements = table.get(id);
        let mut found = self.offering_types(requirements);
        for requirement in requirements.iter() {
            if !self.by_requirement.contains_key(requirement) {
                let alone: Requirements = [requirement.clone()].into_iter().collect();
                let mut bits = self.options.clone();
                bits.keep(|t| self.types[t].requirements.intersects(&alone));
                self.by_requirement.insert(requirement.clone(), bits);
            }
            found.retain(&self.by_requirement[requirement]);
        }
        let found = Rc::new(found);
        self.remember(id, found.clone());
        found
    }

    /// The types that can be bought under these requirements, with prices. Asked again and again with few different answers.
    pub fn ranking(&self, requirements: &Requirements) -> Rc<Ranking> {
        let concerned: Requirements = requirements.iter().filter(|r| self.offering_keys.contains(&r.key)).cloned().collect();
        if let Some(known) = self.rankings.borrow().get(&concerned) {
            return known.clone();
        }
        let mut made = Ranking { order: Vec::new(), markets: vec![Vec::new(); self.types.len()] };
        for t in self.options.iter() {
            let usable = || self.types[t].offerings.iter().filter(|offering| buyable(offering, &concerned));
            made.markets[t].extend(usable().map(|offering| offering.capacity_type).collect::<BTreeSet<_>>());
            made.order.extend(usable().map(|offering| offering.price).min().map(|price| (t, price)));
        }
        made.order.sort_by(|(a, cheap), (b, dear)| cheap.cmp(dear).then_with(|| self.types[*a].name.cmp(&self.types[*b].name)));
        let made = Rc::new(made);
        self.rankings.borrow_mut().insert(concerned, made.clone());
        made
    }

    /// Those of `types` in order of names.
    pub fn names_of<'a>(&'a self, types: &'a Bits) -> impl Iterator<Item = &'a Arc<str>> {
        self.by_name.iter().filter(|t| types.contains(**t)).map(|t| &self.types[*t].name)
    }

    fn offering_types(&mut self, requirements: &Requirements) -> Bits {
        let concerned: Requirements = requirements.iter().filter(|r| self.offering_keys.contains(&r.key)).cloned().collect();
        if let Some(known) = self.by_offering.get(&concerned) {
            return known.clone();
        }
        let mut found = self.options.clone();
        found.keep(|t| self.types[t].offerings.iter().any(|offering| buyable(offering, &concerned)));
        self.by_offering.insert(concerned, found.clone());
        found
    }

    /// Which of `eligible` meet the requirements and have room for `requests` and their daemons.
    pub fn filter(
        &mut self,
        table: &RequirementTable,
        eligible: &Bits,
        id: RequirementsId,
        requests: &[i64],
        wanted: &[Port],
        taken: &[Port],
    ) -> Bits {
        let mut candidates = eligible.clone();
        candidates.retain(&self.matching(table, id));
        if candidates.is_empty() {
            return candidates;
        }
        let mut left = Bits::empty(self.types.len());
        for (group, fits) in self.groups.iter().zip(&self.fits) {
            if !group.types.intersects(&candidates)
                || ports::first_conflict(wanted, taken).or(ports::first_conflict(wanted, &group.ports)).is_some()
            {
                continue;
            }
            let mut members = group.types.and(&candidates);
            fits.retain(&mut members, requests, &group.overhead);
            left.union(&members);
        }
        left
    }

    /// Keys of which the types offer fewer distinct values than demanded, with the number found. Values are counted as the types
    /// have them, whatever the requirements leave of them (`C/pkg/cloudprovider/types.go`, SatisfiesMinValues).
    pub fn shortages<'a>(&'a self, min_values: &'a MinValues, types: &'a Bits) -> impl Iterator<Item = (&'a Arc<str>, u32, u32)> {
        min_values.iter().filter_map(|(key, wanted)| {
            let values: BTreeSet<&Arc<str>> =
                types.iter().filter_map(|t| self.types[t].requirements.get(key)).flat_map(|r| &r.values).collect();
            let found = u32::try_from(values.len()).unwrap_or(u32::MAX);
            (found < *wanted).then_some((key, *wanted, found))
        })
    }

    /// Options that the limits still allow.
    pub fn within_limits(&self) -> Bits {
        let mut left = self.options.clone();
        if !self.remaining.is_empty() {
            left.keep(|t| self.first_limit(t, &self.remaining).is_none());
        }
        left
    }

    /// The first limit that a node of this type would exceed.
    pub fn first_limit<'a>(&self, position: usize, remaining: &'a BTreeMap<Arc<str>, i64>) -> Option<&'a Arc<str>> {
        let capacity = &self.types[position].capacity;
        remaining.iter().find(|(name, left)| capacity.get(name) > **left).map(|(name, _)| name)
    }

    /// `limits.nodes` is used up to the last.
    pub fn nodes_exhausted(&self) -> bool {
        self.remaining.get(NODES) == Some(&0)
    }

    /// Takes the largest capacity of the options off what the limits leave: any of them may be launched.
    pub fn reserve(&mut self, options: &Bits) {
        for (name, left) in &mut self.remaining {
            let largest = options.iter().map(|t| self.types[t].capacity.get(name)).max().unwrap_or(0);
            *left = left.saturating_sub(largest);
        }
    }
}

/// The name of the limit that counts nodes (`C/pkg/utils/resources/resources.go`, Node).
pub const NODES: &str = "nodes";

/// Whether an offering is there and meets the requirements.
pub fn buyable(offering: &Offering, requirements: &Requirements) -> bool {
    offering.available && requirements.is_compatible(&offering.requirements, labels::is_well_known)
}

/// Per resource the distinct allocatable amounts of some types, ascending, each with the types that have at least that much.
struct FitTable(Vec<Vec<(i64, Bits)>>);

impl FitTable {
    fn of(types: &[InstanceType], members: &Bits, names: &ResourceNames) -> Self {
        let rooms: Vec<(usize, Vec<i64>)> = members.iter().map(|t| (t, names.amounts(&types[t].allocatable))).collect();
        let width = names.amounts(&vocabulary::Resources::new()).len();
        let column = |resource: usize| {
            let distinct: BTreeSet<i64> = rooms.iter().map(|(_, room)| room[resource]).collect();
            let at_least = |amount: i64| {
                let mut bits = Bits::empty(types.len());
                rooms.iter().filter(|(_, room)| room[resource] >= amount).for_each(|(t, _)| bits.insert(*t));
                (amount, bits)
            };
            distinct.into_iter().map(at_least).collect()
        };
        FitTable((0..width).map(column).collect())
    }

    fn retain(&self, types: &mut Bits, requests: &[i64], overhead: &[i64]) {
        for (column, (asked, daemons)) in self.0.iter().zip(requests.iter().zip(overhead)) {
            let total = asked.saturating_add(*daemons);
            match column.get(column.partition_point(|(amount, _)| *amount < total)) {
                Some((_, enough)) => types.retain(enough),
                None => types.clear(),
            }
        }
    }
}
