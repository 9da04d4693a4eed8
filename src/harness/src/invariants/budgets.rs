//! No graceful disruption begun beyond a budget.
//!
//! Judged when a NodeClaim is marked with the reason of a command. Allowed is the least of the budgets for the reason that are in force,
//! percentages of the pool's initialized nodes rounded up; nodes that are not ready, marked or on their way out use it up
//! (`C/pkg/apis/v1/nodepool.go`, GetAllowedDisruptionsByReason; `C/pkg/controllers/disruption/helpers.go`,
//! BuildDisruptionBudgetMapping). Expiry, interruption and deletion by hand have no such mark and no budget.

use super::view::{Claim, Node, View};
use jiff::Timestamp;
use planner::disruption::is_active;
use planner::input::Budget;

const GRACEFUL: [&str; 3] = ["Empty", "Underutilized", "Drifted"];

/// `marked` has just got its reason.
pub fn look(view: &View, marked: &Claim, now: Timestamp) -> Option<String> {
    let reason = marked.reason.as_deref().filter(|reason| GRACEFUL.contains(reason))?;
    let pool = view.pools.get(&marked.pool)?;
    let of_pool = |node: &Node| {
        let claim = view.claim_of(node)?;
        let counts = claim.pool == marked.pool && node.initialized && !claim.instance_terminating;
        counts.then(|| !node.ready || node.deleting || claim.deleting || claim.reason.is_some())
    };
    let leaving: Vec<bool> = view.nodes.values().filter_map(of_pool).collect();
    let disrupting = leaving.iter().filter(|leaving| **leaving).count();
    let allowed = allowed(&pool.budgets, reason, leaving.len(), now);
    (disrupting > allowed).then(|| {
        format!(
            "{disrupting} of {} nodes of pool {} are being disrupted with one more for {reason}, its budgets allow {allowed}",
            leaving.len(),
            marked.pool
        )
    })
}

/// A budget that cannot be read allows nothing, whatever its reasons.
fn allowed(budgets: &[Budget], reason: &str, nodes: usize, now: Timestamp) -> usize {
    let mut least = usize::MAX;
    for budget in budgets {
        let (Ok(active), Some(amount)) = (is_active(budget, now), amount(&budget.nodes, nodes)) else { return 0 };
        if active && budget.reasons.as_ref().is_none_or(|reasons| reasons.iter().any(|r| **r == *reason)) {
            least = least.min(amount);
        }
    }
    least
}

fn amount(text: &str, nodes: usize) -> Option<usize> {
    match text.strip_suffix('%') {
        None => text.parse().ok(),
        Some(percent) => Some((nodes * percent.parse::<usize>().ok()?).div_ceil(100)),
    }
}
