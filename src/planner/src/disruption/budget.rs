//! Disruption budgets of NodePools (`C/pkg/apis/v1/nodepool.go`, `C/pkg/controllers/disruption/helpers.go`).

use super::Method;
use crate::input::{Budget, Snapshot};
use croner::Cron;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// A budget that cannot be read. Until it is mended its pool allows nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BudgetError {
    #[error("the schedule {0:?} cannot be read: {1}")]
    Schedule(String, String),
    #[error("the number of nodes {0:?} is neither a count nor a percentage")]
    Nodes(String),
}

/// What a pool may lose for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Initialized nodes of the pool, those whose machine is being terminated left out.
    pub nodes: u32,
    /// The smallest of the budgets in force.
    pub allowed: u32,
    /// Nodes that are not ready, or already on their way out.
    pub disrupting: u32,
}

impl Allowance {
    pub fn left(&self) -> u32 {
        self.allowed.saturating_sub(self.disrupting)
    }
}

/// Per pool, by its name.
pub fn allowances(snapshot: &Snapshot, method: Method, now: Timestamp) -> BTreeMap<Arc<str>, Allowance> {
    let mut nodes: BTreeMap<&str, u32> = BTreeMap::new();
    let mut disrupting: BTreeMap<&str, u32> = BTreeMap::new();
    for node in snapshot.nodes.iter().filter(|n| n.node_claim.is_some() && n.initialized && !n.instance_terminating) {
        let Some(pool) = node.pool.as_deref() else { continue };
        *nodes.entry(pool).or_default() += 1;
        if !node.ready || node.deleting {
            *disrupting.entry(pool).or_default() += 1;
        }
    }
    let of = |pool: &crate::input::Pool| {
        let count = nodes.get(&*pool.name).copied().unwrap_or(0);
        let allowed = allowed(&pool.disruption.budgets, method, count, now).unwrap_or(0);
        Allowance { nodes: count, allowed, disrupting: disrupting.get(&*pool.name).copied().unwrap_or(0) }
    };
    snapshot.pools.iter().map(|pool| (pool.name.clone(), of(pool))).collect()
}

/// The least that the budgets allow; a broken one allows nothing, whatever its reasons.
fn allowed(budgets: &[Budget], method: Method, nodes: u32, now: Timestamp) -> Result<u32, BudgetError> {
    let mut least = u32::MAX;
    for budget in budgets {
        let value = if is_active(budget, now)? { scaled(&budget.nodes, nodes)? } else { u32::MAX };
        if budget.reasons.as_ref().is_none_or(|reasons| reasons.iter().any(|r| &**r == method.reason())) {
            least = least.min(value);
        }
    }
    Ok(least)
}

/// Percentages are rounded up.
fn scaled(text: &str, nodes: u32) -> Result<u32, BudgetError> {
    let wrong = || BudgetError::Nodes(text.to_owned());
    match text.strip_suffix('%') {
        None => text.parse().map_err(|_| wrong()),
        Some(percent) => {
            let percent: u32 = percent.parse().map_err(|_| wrong())?;
            Ok(u32::try_from((u64::from(nodes) * u64::from(percent)).div_ceil(100)).unwrap_or(u32::MAX))
        }
    }
}

/// A budget without a schedule always is; one with a schedule from each hit for its duration, in UTC.
pub fn is_active(budget: &Budget, now: Timestamp) -> Result<bool, BudgetError> {
    if budget.schedule.is_none() && budget.duration.is_none() {
        return Ok(true);
    }
    let text = budget.schedule.as_deref().unwrap_or("");
    let wrong = |error: String| BudgetError::Schedule(text.to_owned(), error);
    // `@midnight` is `@daily` by another name.
    let pattern = if text == "@midnight" { "@daily" } else { text };
    let cron: Cron = pattern.parse().map_err(|error: croner::errors::CronError| wrong(error.to_string()))?;
    let back = budget.duration.unwrap_or(SignedDuration::ZERO);
    let from = now.saturating_sub(back).unwrap_or(Timestamp::MIN);
    // Hits are whole minutes, so whole seconds lose nothing; the first hit after `from` counts, one at `from` does not.
    let start = chrono::DateTime::from_timestamp(from.as_second(), 0).ok_or_else(|| wrong("out of the calendar".to_owned()))?;
    let next = cron.find_next_occurrence(&start, false).map_err(|error| wrong(error.to_string()))?;
    Ok(next.timestamp() <= now.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn budget(nodes: &str, schedule: Option<&str>, minutes: i64) -> Budget {
        let duration = schedule.map(|_| SignedDuration::from_mins(minutes));
        Budget { nodes: nodes.into(), reasons: None, schedule: schedule.map(Arc::from), duration }
    }

    #[rstest]
    #[case("10%", 2, 1)]
    #[case("10%", 11, 2)]
    #[case("0%", 5, 0)]
    #[case("100%", 5, 5)]
    #[case("3", 2, 3)]
    fn amounts(#[case] nodes: &str, #[case] count: u32, #[case] allowed: u32) {
        assert_eq!(scaled(nodes, count), Ok(allowed));
    }

    #[rstest]
    #[case::before("0 9 * * mon-fri", 480, "2026-01-05T08:59:59Z", false)]
    #[case::at_the_hit("0 9 * * mon-fri", 480, "2026-01-05T09:00:00Z", true)]
    #[case::within("0 9 * * mon-fri", 480, "2026-01-05T16:59:59Z", true)]
    #[case::at_the_end("0 9 * * mon-fri", 480, "2026-01-05T17:00:00Z", false)]
    #[case::on_sunday("0 9 * * mon-fri", 480, "2026-01-04T12:00:00Z", false)]
    #[case::nickname("@daily", 60, "2026-01-04T00:30:00Z", true)]
    #[case::midnight("@midnight", 60, "2026-01-04T01:30:00Z", false)]
    #[case::every_quarter("*/15 * * * *", 5, "2026-01-04T01:34:00Z", true)]
    #[case::between_quarters("*/15 * * * *", 5, "2026-01-04T01:36:00Z", false)]
    fn schedules(#[case] schedule: &str, #[case] minutes: i64, #[case] now: &str, #[case] active: bool) {
        assert_eq!(is_active(&budget("0", Some(schedule), minutes), now.parse().unwrap()), Ok(active));
    }

    #[rstest]
    #[case(&[budget("10%", None, 0), budget("0", Some("@daily"), 60)], "2026-01-04T00:30:00Z", 0)]
    #[case(&[budget("10%", None, 0), budget("0", Some("@daily"), 60)], "2026-01-04T02:30:00Z", 1)]
    #[case(&[], "2026-01-04T02:30:00Z", u32::MAX)]
    fn the_least_counts(#[case] budgets: &[Budget], #[case] now: &str, #[case] least: u32) {
        assert_eq!(allowed(budgets, Method::Emptiness, 5, now.parse().unwrap()), Ok(least));
    }

    #[test]
    fn a_budget_for_other_reasons_does_not_count_but_breaks_all_when_broken() {
        let for_drift = |schedule: &str| Budget { reasons: Some(vec!["Drifted".into()]), ..budget("0", Some(schedule), 60) };
        let now = "2026-01-04T00:30:00Z".parse().unwrap();
        assert_eq!(allowed(&[for_drift("@daily")], Method::Emptiness, 5, now), Ok(u32::MAX));
        assert_eq!(allowed(&[for_drift("@daily")], Method::Drift, 5, now), Ok(0));
        assert!(allowed(&[for_drift("not a schedule")], Method::Emptiness, 5, now).is_err());
    }
}
