//! `consolidationPolicy: Balanced`: a move must save as large a share of its NodePool's cost as half the share of its disruption.
//!
//! Source: `C/pkg/controllers/disruption/balanced.go`; the factor is `BalancedK` of `C/pkg/apis/v1/nodepool.go`.

use super::Command;
use super::bench::Picture;
use super::candidate::{Candidate, price_of};
use super::pod::{eviction_cost, is_reschedulable};
use crate::input::{ConsolidationPolicy, Node};
use serde::{Deserialize, Serialize};
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

/// A pool's nodes in a move.
#[derive(Default)]
struct Part {
    cost: f64,
    disruption: f64,
    nodes: Vec<Arc<str>>,
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

    /// Judges giving up these nodes for these savings: every balanced pool must approve, each held to its share of both.
    pub fn weigh(&self, candidates: &[&Candidate], command: &Command) -> Weighed {
        let source: f64 = candidates.iter().map(|c| c.price.dollars()).sum();
        let mut by_pool: BTreeMap<&Arc<str>, Part> = BTreeMap::new();
        for candidate in candidates {
            let own = by_pool.entry(&candidate.pool.name).or_default();
            own.cost += candidate.price.dollars();
            own.disruption += candidate.reschedule_cost;
            own.nodes.push(candidate.node.name.clone());
        }
        let count = by_pool.len();
        let share = |(pool, Part { cost, disruption, nodes }): (&Arc<str>, Part)| {
            let savings = if source > 0.0 && count > 1 { command.savings * (cost / source) } else { command.savings };
            let score =
                self.0.get(pool).map(|total| Score { savings, disruption, pool_cost: total.cost, pool_disruption: total.disruption });
            Share { pool: pool.clone(), nodes, score }
        };
        let pools: Vec<Share> = by_pool.into_iter().map(share).collect();
        let approved = pools.iter().filter_map(|share| share.score).all(|score| score.is_approved());
        Weighed { pools, decision: command.decision().into(), approved, counted: candidates.len() == 1 }
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
        Score { savings, disruption, pool_cost: self.cost, pool_disruption: self.disruption }.is_approved()
    }
}

/// A move of consolidation that was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighed {
    pub pools: Vec<Share>,
    /// `delete` or `replace`.
    pub decision: Arc<str>,
    /// By every pool.
    pub approved: bool,
    /// It counts as a move: each of one node does; of those that a search among several nodes tries, the one that it ends with.
    pub counted: bool,
}

/// A pool's part in a move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    pub pool: Arc<str>,
    pub nodes: Vec<Arc<str>>,
    /// Of a pool whose policy is `Balanced`.
    pub score: Option<Score>,
}

/// What a move saves and disturbs, beside all that the pool costs (dollars per hour) and all its disruption.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    pub savings: f64,
    pub disruption: f64,
    pub pool_cost: f64,
    pub pool_disruption: f64,
}

impl Score {
    /// `BalancedK`.
    pub const K: i32 = 2;
    pub const THRESHOLD: f64 = 1.0 / FACTOR;

    /// Shares of savings and of disruption; none of both where a pool's whole is not known.
    pub fn fractions(&self) -> (f64, f64) {
        if self.pool_cost <= 0.0 || self.pool_disruption <= 0.0 {
            return (0.0, 0.0);
        }
        (self.savings / self.pool_cost, self.disruption / self.pool_disruption)
    }

    /// The one share by the other (`types.go`, Score).
    pub fn value(&self) -> f64 {
        match self.fractions() {
            (savings, _) if savings <= 0.0 => 0.0,
            (_, 0.0) => f64::INFINITY,
            (savings, disruption) => savings / disruption,
        }
    }

    pub fn is_approved(&self) -> bool {
        self.value() >= Self::THRESHOLD
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
