//! How fast nodes that are not well lose their pods: a taint in ten seconds in each zone, fewer where most of a zone is not well, none when
//! no node at all is well, since then it is rather the control plane that is cut off.
//!
//! Source: `pkg/controller/nodelifecycle/node_lifecycle_controller.go` (handleDisruption, ComputeZoneState, ReducedQPSFunc),
//! `scheduler/rate_limited_queue.go`; the numbers are kube-controller-manager's defaults.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

/// Between two taints in a zone (`--node-eviction-rate` 0.1 a second).
const EVERY: SignedDuration = SignedDuration::from_secs(10);
/// The same in a zone that is partly disrupted and large (`--secondary-node-eviction-rate` 0.01).
const SLOWLY: SignedDuration = SignedDuration::from_secs(100);
/// A zone of more nodes than this is large (`--large-cluster-size-threshold`).
const LARGE: usize = 50;
/// From this share on, and more than [`FEW`] nodes, a zone is partly disrupted (`--unhealthy-zone-threshold`), in hundredths.
const UNHEALTHY: usize = 55;
const FEW: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Initial,
    Normal,
    Partial,
    Full,
}

impl State {
    fn of(ready: usize, other: usize) -> State {
        match (ready, other) {
            (0, 1..) => State::Full,
            (_, other) if other > FEW && other.saturating_mul(100) >= ready.saturating_add(other).saturating_mul(UNHEALTHY) => {
                State::Partial
            }
            _ => State::Normal,
        }
    }

    /// Between two taints in a zone of so many nodes; None: never.
    fn pace(self, nodes: usize) -> Option<SignedDuration> {
        match self {
            State::Partial => (nodes > LARGE).then_some(SLOWLY),
            _ => Some(EVERY),
        }
    }
}

#[derive(Debug)]
struct Zone {
    state: State,
    /// Between two taints; None: none.
    pace: Option<SignedDuration>,
    /// When the next taint may come.
    free: Timestamp,
    waiting: BTreeSet<String>,
}

impl Default for Zone {
    fn default() -> Self {
        Zone { state: State::Initial, pace: Some(EVERY), free: Timestamp::MIN, waiting: BTreeSet::new() }
    }
}

impl Zone {
    /// Takes the right to one taint.
    fn take(&mut self, now: Timestamp) -> bool {
        let Some(pace) = self.pace.filter(|_| self.free <= now) else { return false };
        self.free = now.saturating_add(pace).unwrap_or(Timestamp::MAX);
        true
    }

    /// `SwapLimiter`: a new pace begins with a taint, unless none was to be had before.
    fn set_pace(&mut self, now: Timestamp, pace: Option<SignedDuration>) {
        if self.pace == pace {
            return;
        }
        let could = self.take(now);
        self.pace = pace;
        self.free = Timestamp::MIN;
        if !could {
            self.take(now);
        }
    }
}

/// What a look at all zones found.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct News {
    /// No zone has a node that is well, for the first time.
    pub all_disrupted: bool,
    /// Some node is well, after none was.
    pub recovered: bool,
}

#[derive(Default, Debug)]
pub(super) struct Zones(BTreeMap<String, Zone>);

impl Zones {
    /// The node's pods are to be driven away, as soon as it is its turn.
    pub fn add(&mut self, zone: &str, node: &str) {
        self.0.entry(zone.to_owned()).or_default().waiting.insert(node.to_owned());
    }

    pub fn remove(&mut self, node: &str) {
        for zone in self.0.values_mut() {
            zone.waiting.remove(node);
        }
    }

    /// How many nodes of each zone are ready, and how many are not (handleDisruption).
    pub fn look(&mut self, now: Timestamp, zones: &BTreeMap<String, (usize, usize)>) -> News {
        let states: BTreeMap<&String, (State, usize)> =
            zones.iter().map(|(name, (ready, other))| (name, (State::of(*ready, *other), ready.saturating_add(*other)))).collect();
        for name in zones.keys() {
            self.0.entry(name.clone()).or_default();
        }
        let all_are = states.values().all(|(state, _)| *state == State::Full);
        self.0.retain(|name, _| zones.contains_key(name));
        let all_were = self.0.values().all(|zone| zone.state == State::Full);
        let news = News { all_disrupted: all_are && !all_were, recovered: all_were && !all_are };
        if all_are {
            for zone in self.0.values_mut() {
                zone.state = State::Full;
                zone.set_pace(now, None);
            }
            return news;
        }
        for (name, (state, nodes)) in states {
            let zone = self.0.entry(name.clone()).or_default();
            if zone.state != state || news.recovered {
                zone.state = state;
                zone.set_pace(now, state.pace(nodes));
            }
        }
        news
    }

    /// The nodes whose turn it is.
    pub fn due(&mut self, now: Timestamp) -> Vec<String> {
        let mut due = Vec::new();
        for zone in self.0.values_mut() {
            while !zone.waiting.is_empty() && zone.take(now) {
                due.extend(zone.waiting.pop_first());
            }
        }
        due
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.0.values().filter(|zone| zone.pace.is_some() && !zone.waiting.is_empty()).map(|zone| zone.free).min()
    }

    /// The nodes whose turn will come.
    pub fn waiting(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter(|zone| zone.pace.is_some()).flat_map(|zone| zone.waiting.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn counts(zones: &[(&str, usize, usize)]) -> BTreeMap<String, (usize, usize)> {
        zones.iter().map(|(name, ready, other)| ((*name).to_owned(), (*ready, *other))).collect()
    }

    /// When each of so many nodes of a zone gets its taint, within ten minutes.
    fn times(zones: &mut Zones, from: i64) -> Vec<i64> {
        (from..from + 600).flat_map(|second| zones.due(at(second)).into_iter().map(move |_| second)).collect()
    }

    #[test]
    fn a_zone_loses_a_node_in_ten_seconds() {
        let mut zones = Zones::default();
        zones.look(at(0), &counts(&[("a", 7, 3)]));
        for node in ["x", "y", "z"] {
            zones.add("a", node);
        }
        assert_eq!(zones.next_due(), Some(Timestamp::MIN));
        assert_eq!(times(&mut zones, 0), [0, 10, 20]);
        assert_eq!(zones.waiting().count(), 0);
    }

    #[test]
    fn a_small_zone_that_is_mostly_unwell_keeps_its_nodes_and_a_large_one_loses_them_slowly() {
        for (ready, other, expect) in [(3, 5, &[][..]), (40, 60, &[0, 100, 200]), (5, 2, &[0, 10, 20]), (0, 9, &[0, 10, 20])] {
            let mut zones = Zones::default();
            // Another zone is well, so this is no disruption of all.
            zones.look(at(-5), &counts(&[("a", ready + other, 0), ("b", 1, 0)]));
            zones.look(at(0), &counts(&[("a", ready, other), ("b", 1, 0)]));
            for node in ["x", "y", "z"] {
                zones.add("a", node);
            }
            assert_eq!(times(&mut zones, 0), expect, "{ready} ready, {other} not");
        }
    }

    #[test]
    fn when_no_node_at_all_is_well_nothing_is_driven_away_until_one_is() {
        let mut zones = Zones::default();
        assert_eq!(zones.look(at(0), &counts(&[("a", 1, 0), ("b", 1, 0)])), News { all_disrupted: false, recovered: false });
        assert_eq!(zones.look(at(5), &counts(&[("a", 0, 1), ("b", 0, 1)])), News { all_disrupted: true, recovered: false });
        zones.add("a", "x");
        assert_eq!((zones.due(at(6)), zones.next_due(), zones.waiting().count()), (vec![], None, 0));
        assert_eq!(zones.look(at(10), &counts(&[("a", 0, 1), ("b", 0, 1)])), News { all_disrupted: false, recovered: false });
        assert_eq!(zones.look(at(15), &counts(&[("a", 0, 1), ("b", 1, 0)])), News { all_disrupted: false, recovered: true });
        // None was to be had before, so the first one takes its time.
        assert_eq!(times(&mut zones, 15), [25]);
    }

    #[test]
    fn a_node_that_is_well_again_or_whose_zone_is_gone_does_not_wait() {
        let mut zones = Zones::default();
        zones.look(at(0), &counts(&[("a", 7, 2)]));
        zones.add("a", "x");
        zones.remove("x");
        assert_eq!(zones.due(at(0)), Vec::<String>::new());
        zones.add("a", "y");
        zones.look(at(5), &counts(&[("b", 1, 0)]));
        assert_eq!(zones.due(at(5)), Vec::<String>::new());
    }
}
