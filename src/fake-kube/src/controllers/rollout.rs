//! How many pods each ReplicaSet of a Deployment shall have. Pure.
//!
//! Source: `pkg/controller/deployment/{rolling,recreate,sync}.go`, `util/deployment_util.go`.

use serde_json::Value;

use super::pods::scaled;

/// `spec.strategy`.
pub(super) enum Strategy {
    Recreate,
    Rolling { max_surge: Value, max_unavailable: Value },
}

impl Strategy {
    pub fn of(deployment: &Value) -> Self {
        let strategy = &deployment["spec"]["strategy"];
        if strategy["type"] == "Recreate" {
            return Strategy::Recreate;
        }
        let field = |name: &str| strategy["rollingUpdate"].get(name).cloned().unwrap_or_else(|| Value::from("25%"));
        Strategy::Rolling { max_surge: field("maxSurge"), max_unavailable: field("maxUnavailable") }
    }

    /// Surge is rounded up, unavailability down; when both are zero, one may be unavailable (ResolveFenceposts).
    fn fenceposts(&self, replicas: i64) -> (i64, i64) {
        match self {
            Strategy::Recreate => (0, 0),
            Strategy::Rolling { max_surge, max_unavailable } => {
                let surge = scaled(max_surge, replicas, true).unwrap_or(0);
                let unavailable = scaled(max_unavailable, replicas, false).unwrap_or(0);
                if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
            }
        }
    }

    pub fn max_surge(&self, replicas: i64) -> i64 {
        self.fenceposts(replicas).0
    }

    pub fn max_unavailable(&self, replicas: i64) -> i64 {
        if replicas == 0 { 0 } else { self.fenceposts(replicas).1.min(replicas) }
    }

    /// What a new ReplicaSet begins with (NewRSNewReplicas).
    pub fn first_replicas(&self, wanted: i64, others: &[Member]) -> i64 {
        match self {
            Strategy::Recreate => wanted,
            Strategy::Rolling { .. } => self.room(wanted, others.iter().map(|one| one.replicas).sum()).min(wanted),
        }
    }

    fn room(&self, wanted: i64, there: i64) -> i64 {
        (wanted + self.max_surge(wanted) - there).max(0)
    }
}

/// One ReplicaSet; they come oldest first.
pub(super) struct Member {
    pub newest: bool,
    /// `spec.replicas`.
    pub replicas: i64,
    pub available: i64,
    /// The Deployment's size when the set was scaled last, from its annotations.
    pub desired: Option<i64>,
    pub maximum: Option<i64>,
}

/// Replicas for each set, in the order given.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub replicas: Vec<i64>,
}

/// One step of a rollout. `old_pods_run` matters to Recreate alone.
pub(super) fn plan(strategy: &Strategy, wanted: i64, paused: bool, sets: &[Member], newest: Option<usize>, old_pods_run: bool) -> Plan {
    let mut replicas: Vec<i64> = sets.iter().map(|set| set.replicas).collect();
    let resized = sets.iter().any(|set| set.replicas > 0 && set.desired.is_some_and(|desired| desired != wanted));
    if paused || resized {
        resize(strategy, wanted, sets, newest, &mut replicas);
        return Plan { replicas };
    }
    match (strategy, newest) {
        (Strategy::Recreate, newest) => {
            for (_, count) in replicas.iter_mut().enumerate().filter(|(at, _)| Some(*at) != newest) {
                *count = 0;
            }
            if let (Some(at), false) = (newest, old_pods_run || sets.iter().any(|set| !set.newest && set.replicas > 0)) {
                replicas[at] = wanted;
            }
        }
        (Strategy::Rolling { .. }, Some(at)) => {
            if !grow(strategy, wanted, sets, at, &mut replicas) {
                shrink(strategy, wanted, sets, at, &mut replicas);
            }
        }
        (Strategy::Rolling { .. }, None) => {}
    }
    Plan { replicas }
}

/// reconcileNewReplicaSet. True when the newest set changed.
fn grow(strategy: &Strategy, wanted: i64, sets: &[Member], newest: usize, replicas: &mut [i64]) -> bool {
    let now = sets[newest].replicas;
    replicas[newest] = if now >= wanted {
        wanted
    } else {
        let there = sets.iter().map(|set| set.replicas).sum();
        now + strategy.room(wanted, there).min(wanted - now)
    };
    replicas[newest] != now
}

/// reconcileOldReplicaSets: first pods that are not available, then as many as availability allows.
fn shrink(strategy: &Strategy, wanted: i64, sets: &[Member], newest: usize, replicas: &mut [i64]) {
    let min_available = wanted - strategy.max_unavailable(wanted);
    let all: i64 = sets.iter().map(|set| set.replicas).sum();
    let mut spare = all - min_available - (sets[newest].replicas - sets[newest].available);
    if spare <= 0 {
        return;
    }
    for (at, set) in sets.iter().enumerate().filter(|(at, _)| *at != newest) {
        let unhealthy = (set.replicas - set.available).clamp(0, spare);
        replicas[at] -= unhealthy;
        spare -= unhealthy;
    }
    let mut spare = sets.iter().map(|set| set.available).sum::<i64>() - min_available;
    for at in (0..sets.len()).filter(|at| *at != newest) {
        let count = replicas[at].min(spare).max(0);
        replicas[at] -= count;
        spare -= count;
    }
}

/// The Deployment's own size changed: sets keep their shares (`sync.go`, scale).
fn resize(strategy: &Strategy, wanted: i64, sets: &[Member], newest: Option<usize>, replicas: &mut [i64]) {
    let active: Vec<usize> = (0..sets.len()).filter(|at| sets[*at].replicas > 0).collect();
    if active.len() <= 1 {
        if let Some(only) = active.first().copied().or(newest).or(sets.len().checked_sub(1)) {
            replicas[only] = wanted;
        }
        return;
    }
    if let Some(at) = newest.filter(|at| sets[*at].replicas == wanted && sets[*at].available == wanted && sets[*at].desired == Some(wanted))
    {
        for (other, count) in replicas.iter_mut().enumerate() {
            *count = if other == at { *count } else { 0 };
        }
        return;
    }
    if !matches!(strategy, Strategy::Rolling { .. }) {
        return;
    }
    let all: i64 = sets.iter().map(|set| set.replicas).sum();
    let allowed = if wanted > 0 { wanted + strategy.max_surge(wanted) } else { 0 };
    let to_add = allowed - all;
    // The largest first; among equals the newest when growing, the oldest when shrinking.
    let mut order = active;
    order.sort_by_key(|at| (std::cmp::Reverse(sets[*at].replicas), if to_add > 0 { usize::MAX - at } else { *at }));
    let mut added = 0;
    for at in &order {
        let before = sets[*at].maximum.filter(|maximum| *maximum > 0).unwrap_or(wanted.max(1));
        let share = (sets[*at].replicas as f64 * allowed as f64 / before as f64).round() as i64 - sets[*at].replicas;
        let left = to_add - added;
        let share = if to_add > 0 { share.min(left) } else { share.max(left) };
        replicas[*at] += share;
        added += share;
    }
    if let Some(first) = order.first() {
        replicas[*first] = (replicas[*first] + to_add - added).max(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn rolling(surge: Value, unavailable: Value) -> Strategy {
        Strategy::Rolling { max_surge: surge, max_unavailable: unavailable }
    }

    /// Sets as (replicas, available), oldest first; the last is the newest.
    fn step(strategy: &Strategy, wanted: i64, sets: &[(i64, i64)]) -> Vec<i64> {
        let last = sets.len() - 1;
        let members: Vec<Member> = sets
            .iter()
            .enumerate()
            .map(|(at, (replicas, available))| Member {
                newest: at == last,
                replicas: *replicas,
                available: *available,
                desired: Some(wanted),
                maximum: None,
            })
            .collect();
        plan(strategy, wanted, false, &members, Some(last), false).replicas
    }

    #[rstest]
    #[case::surge_first(10, &[(10, 10), (0, 0)], vec![10, 3])]
    #[case::then_old_ones_go(10, &[(10, 10), (3, 0)], vec![8, 3])]
    #[case::room_that_was_made_is_used(10, &[(8, 8), (3, 0)], vec![8, 5])]
    #[case::unavailable_new_pods_hold_it(10, &[(8, 8), (5, 0)], vec![8, 5])]
    #[case::as_they_become_available(10, &[(8, 8), (5, 5)], vec![3, 5])]
    #[case::unhealthy_old_ones_go_first(10, &[(10, 4), (3, 3)], vec![5, 3])]
    #[case::too_large_a_new_one_shrinks(3, &[(0, 0), (5, 5)], vec![0, 3])]
    fn rolls(#[case] wanted: i64, #[case] sets: &[(i64, i64)], #[case] expect: Vec<i64>) {
        assert_eq!(step(&rolling(json!("25%"), json!("25%")), wanted, sets), expect);
    }

    #[test]
    fn with_neither_surge_nor_unavailability_one_goes_first() {
        assert_eq!(step(&rolling(json!(0), json!("1%")), 3, &[(3, 3), (0, 0)]), [2, 0]);
    }

    #[test]
    fn recreate_waits_for_old_pods() {
        assert_eq!(step(&Strategy::Recreate, 3, &[(3, 3), (0, 0)]), [0, 0]);
        assert_eq!(step(&Strategy::Recreate, 3, &[(0, 0), (0, 0)]), [0, 3]);
    }

    #[test]
    fn a_new_size_keeps_shares() {
        let set = |newest, replicas, maximum| Member { newest, replicas, available: replicas, desired: Some(10), maximum: Some(maximum) };
        let sets = [set(false, 8, 13), set(true, 5, 13)];
        assert_eq!(plan(&rolling(json!(3), json!(2)), 20, false, &sets, Some(1), false).replicas, [14, 9]);
    }
}
