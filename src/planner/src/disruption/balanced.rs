//! `consolidationPolicy: Balanced`: a move must save as large a share of its NodePool's cost as half the share of its disruption.
//!
//! Source: `C/pkg/controllers/disruption/balanced.go`; the factor is `BalancedK` of `C/pkg/apis/v1/nodepool.go`.

use super::bench::Picture;
use super::candidate::{Candidate, price_of};
use super::pod::{eviction_cost, is_reschedulable};
use crate::input::{ConsolidationPolicy, Node};
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::labels;

/// A share of disruption may be so many times the share of savings.
const FACTOR: f64 = 2.0;

/// What all nodes of a pool cost, and what it would take to give them all up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Total {
    cost: f64,
    disruption: f64,
}

/// Of the pools that are balanced.
#[derive(Debug, Default)]
pub struct Totals(BTreeMap<Arc<str>, Total>);

impl Totals {
    pub fn of(picture: &Picture<'_>) -> Self {
        let balanced = picture.snapshot.pools.iter().filter(|pool| pool.disruption.policy == ConsolidationPolicy::Balanced);
        let mut totals: BTreeMap<Arc<str>, Total> = balanced.map(|pool| (pool.name.clone(), Total::default())).collect();
        for node in picture.snapshot.nodes.iter().filter(|_| !totals.is_empty()).collect::<Vec<_>>() {
            let Some(name) = node.labels.get(labels::NODEPOOL) else { continue };
            let Some(total) = totals.get_mut(name) else { continue };
            total.disruption += disruption(node);
            let types = picture.offerings.get(name);
            let own = types.and_then(|types| types.iter().find(|t| node.labels.get(labels::INSTANCE_TYPE) == Some(&t.name)));
            total.cost += own.and_then(|own| price_of(node, own)).map_or(0.0, |price| price.dollars());
        }
        Totals(totals)
    }

    /// Whether every balanced pool approves of giving up these nodes for these savings, each held to its share of both.
    pub fn approve(&self, candidates: &[&Candidate], savings: f64) -> bool {
        let source: f64 = candidates.iter().map(|c| c.price.dollars()).sum();
        let mut by_pool: BTreeMap<&Arc<str>, (f64, f64)> = BTreeMap::new();
        for candidate in candidates {
            let own = by_pool.entry(&candidate.pool.name).or_default();
            own.0 += candidate.price.dollars();
            own.1 += candidate.reschedule_cost;
        }
        let pools = by_pool.len();
        by_pool.into_iter().all(|(name, (cost, disruption))| {
            let share = if source > 0.0 && pools > 1 { savings * (cost / source) } else { savings };
            self.0.get(name).is_none_or(|total| total.approves(share, disruption))
        })
    }

    /// Whether the move would be approved if nothing had to stand in for the node; if not, no other will.
    pub fn can_approve(&self, candidate: &Candidate) -> bool {
        let unknown = |total: &Total| total.cost <= 0.0;
        let saved = candidate.price.dollars();
        self.0.get(&candidate.pool.name).is_none_or(|total| unknown(total) || total.approves(saved, candidate.reschedule_cost))
    }
}

impl Total {
    fn approves(&self, savings: f64, disruption: f64) -> bool {
        self.cost > 0.0 && self.disruption > 0.0 && (savings / self.cost) / (disruption / self.disruption) >= 1.0 / FACTOR
    }
}

/// 1 for the node, and what evicting its pods counts.
fn disruption(node: &Node) -> f64 {
    1.0 + node.pods.iter().filter(|pod| is_reschedulable(pod)).map(|pod| eviction_cost(pod).max(0.0)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::a_tenth_of_both(0.1, 1.0, true)]
    #[case::half_as_much_saved_as_disrupted(0.05, 1.0, true)]
    #[case::less(0.049, 1.0, false)]
    #[case::nothing(0.0, 1.0, false)]
    fn savings_are_weighed_against_disruption(#[case] savings: f64, #[case] disruption: f64, #[case] approved: bool) {
        assert_eq!(Total { cost: 1.0, disruption: 10.0 }.approves(savings, disruption), approved);
    }

    #[test]
    fn a_pool_without_a_cost_approves_of_nothing() {
        assert!(!Total { cost: 0.0, disruption: 10.0 }.approves(1.0, 1.0));
    }
}
