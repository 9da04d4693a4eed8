//! How long an answer holds when nothing changes but the time.

use crate::input::Snapshot;
use jiff::Timestamp;

/// The instant from which on a proposal over this snapshot may be another although nothing happened: a nomination or a protection
/// ends, a node has settled. [`Timestamp::MAX`] where no time counts; `None` where a budget opens and closes by the clock.
pub fn unchanged_until(snapshot: &Snapshot, now: Timestamp) -> Option<Timestamp> {
    let timed = snapshot.pools.iter().flat_map(|pool| &pool.disruption.budgets).any(|b| b.schedule.is_some() || b.duration.is_some());
    if timed {
        return None;
    }
    let mut least = Timestamp::MAX;
    let mut at = |instant: Timestamp| {
        if instant > now {
            least = least.min(instant);
        }
    };
    for node in &snapshot.nodes {
        node.nominated_until.into_iter().for_each(&mut at);
        node.pods.iter().filter_map(|pod| pod.do_not_disrupt_until).for_each(&mut at);
        let pool = node.pool.as_ref().and_then(|name| snapshot.pools.iter().find(|pool| pool.name == *name));
        if let (Some(since), Some(after)) = (node.quiet_since, pool.and_then(|pool| pool.disruption.consolidate_after)) {
            at(since.saturating_add(after).unwrap_or(Timestamp::MAX));
        }
    }
    Some(least)
}
