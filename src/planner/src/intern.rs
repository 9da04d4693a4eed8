//! Small integers for what is compared again and again: resource names and requirement sets.

use crate::input::{Node, Snapshot};
use indexmap::{IndexMap, IndexSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use vocabulary::{Requirements, Resources, labels};

/// Amounts by position of the resource's name in [`ResourceNames`].
pub type Amounts = Vec<i64>;

/// The resources that any pod asks for, in order of names. What nobody asks for decides nothing, a negative amount apart.
pub struct ResourceNames(IndexSet<Arc<str>>);

impl ResourceNames {
    pub fn of(snapshot: &Snapshot) -> Self {
        Self::of_pods(snapshot, |node| node.deleting)
    }

    /// Of the pods on all nodes as well, whichever of them goes.
    pub fn of_all(snapshot: &Snapshot) -> Self {
        Self::of_pods(snapshot, |_| true)
    }

    fn of_pods(snapshot: &Snapshot, goes: impl Fn(&Node) -> bool) -> Self {
        let daemons = snapshot.daemons.iter().map(|daemon| &daemon.pod);
        let bound = snapshot.nodes.iter().filter(|node| goes(node)).flat_map(|node| &node.pods);
        let pods = snapshot.pending.iter().chain(daemons).chain(bound);
        let mut names: IndexSet<Arc<str>> = IndexSet::new();
        for (name, _) in pods.flat_map(|pod| pod.requests.iter()) {
            if !names.contains(name) {
                names.insert(Arc::from(name));
            }
        }
        names.sort();
        ResourceNames(names)
    }

    pub fn amounts(&self, resources: &Resources) -> Amounts {
        self.0.iter().map(|name| resources.get(name)).collect()
    }

    /// The same of what a function says of each name.
    pub fn amounts_by(&self, amount: impl Fn(&str) -> i64) -> Amounts {
        self.0.iter().map(|name| amount(name)).collect()
    }

    pub fn name(&self, position: usize) -> &Arc<str> {
        &self.0[position]
    }

    /// Without the names of which there is nothing.
    pub fn resources(&self, amounts: &[i64]) -> Resources {
        let mut made = Resources::new();
        for (name, amount) in self.0.iter().zip(amounts).filter(|(_, amount)| **amount != 0) {
            made.set(name, *amount);
        }
        made
    }
}

pub fn add(into: &mut Amounts, more: &[i64]) {
    for (slot, amount) in into.iter_mut().zip(more) {
        *slot = slot.saturating_add(*amount);
    }
}

/// A requirement set in [`RequirementTable`]. Equal sets have equal numbers. `minValues` are kept apart, by whom they concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequirementsId(u32);

impl RequirementsId {
    pub fn position(self) -> usize {
        self.0 as usize
    }
}

/// Every requirement set of one plan, each once, and what joining two of them gave.
#[derive(Default)]
pub struct RequirementTable {
    sets: IndexSet<Requirements>,
    /// By what is held: what came in, and what was left.
    joins: Vec<Joins>,
}

type Joins = IndexMap<(RequirementsId, Undefined), Option<RequirementsId>, BuildHasherDefault<Numbers>>;

/// A hash of small numbers that nobody chose to collide.
#[derive(Default)]
pub struct Numbers(u64);

impl Hasher for Numbers {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number.cast_unsigned() as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}

/// Whether a label that one side lacks may take any value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Undefined {
    /// For new nodes: well-known labels may, the cloud will set them.
    WellKnown,
    /// For nodes that exist.
    Nothing,
}

impl Undefined {
    pub fn allows(self, key: &str) -> bool {
        self == Undefined::WellKnown && labels::is_well_known(key)
    }
}

impl RequirementTable {
    pub fn intern(&mut self, requirements: Requirements) -> RequirementsId {
        let (position, _) = self.sets.insert_full(requirements);
        RequirementsId(u32::try_from(position).expect("fewer than four billion requirement sets"))
    }

    pub fn get(&self, id: RequirementsId) -> &Requirements {
        &self.sets[id.0 as usize]
    }

    /// What remains of `held` when `incoming` must be met as well, `None` when it cannot (`C/pkg/scheduling/requirements.go`,
    /// Compatible and Add).
    pub fn join(&mut self, held: RequirementsId, incoming: RequirementsId, undefined: Undefined) -> Option<RequirementsId> {
        if held.position() >= self.joins.len() {
            self.joins.resize_with(held.position() + 1, Joins::default);
        }
        if let Some(known) = self.joins[held.position()].get(&(incoming, undefined)) {
            return *known;
        }
        let (left, right) = (self.get(held), self.get(incoming));
        let joined = left.is_compatible(right, |key| undefined.allows(key)).then(|| {
            let mut both = left.clone();
            both.extend(right);
            both
        });
        let joined = joined.map(|both| self.intern(both));
        self.joins[held.position()].insert((incoming, undefined), joined);
        joined
    }
}
