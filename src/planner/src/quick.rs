//! Which existing nodes are worth asking, where many simulations share them: those that refused a stage as they stand in the cluster
//! are not asked again, and those that a simulation put pods on are put back afterwards.

use crate::bits::Bits;
use crate::existing::{Answer, Existing};
use crate::intern::RequirementTable;
use crate::shape::{Shape, Stage};
use crate::topology::Topology;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Quick {
    /// Per stage, the nodes that did not refuse it as they stand in the cluster.
    open: BTreeMap<usize, Bits>,
    /// Nodes that the present simulation put pods on, as they were before, by position.
    touched: BTreeMap<usize, Existing>,
    /// Nodes that the present simulation does without.
    absent: BTreeSet<usize>,
}

/// A pod by its position, and whether consolidation would move it.
#[derive(Clone, Copy)]
pub struct Newcomer {
    pub pod: usize,
    pub moved: bool,
}

impl Quick {
    /// Undoes what a simulation did to the nodes, and takes others away for the next.
    pub fn begin_anew(&mut self, existing: &mut [Existing], absent: BTreeSet<usize>) {
        for (position, before) in std::mem::take(&mut self.touched) {
            existing[position] = before;
        }
        self.absent = absent;
    }

    /// The first node that takes the pod, as asking one after the other would find it.
    pub fn place(
        &mut self,
        existing: &mut [Existing],
        newcomer: Newcomer,
        shape: &Shape,
        stage: &Stage,
        table: &mut RequirementTable,
        topology: &mut Topology,
    ) -> Option<usize> {
        let Newcomer { pod, moved } = newcomer;
        let open = self.open.entry(stage.id).or_insert_with(|| Bits::from_fn(existing.len(), |_| true));
        let mut from = 0;
        loop {
            let touched = self.touched.range(from..).next().map(|(position, _)| *position);
            let position = [open.next(from), touched].into_iter().flatten().min()?;
            from = position + 1;
            let node = &mut existing[position];
            if self.absent.contains(&position) || node.settling && moved {
                continue;
            }
            if touched == Some(position) {
                if node.try_add(pod, shape, stage, table, topology) {
                    return Some(position);
                }
                continue;
            }
            match node.accepts(shape, stage, table, topology) {
                Answer::Takes(joined) => {
                    self.touched.insert(position, node.clone());
                    node.take(pod, shape, joined, table, topology);
                    return Some(position);
                }
                Answer::Topology => {}
                Answer::Refuses => open.remove(position),
            }
        }
    }
}
