//! How many replicas an autoscaler wants, and how fast it may get there. Pure.
//!
//! Source: `pkg/controller/podautoscaler/{replica_calculator,horizontal}.go`.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;

/// Of one pod, what the calculation needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    pub state: State,
    /// In thousandths of CPUs or of bytes; what it uses, and what it asks for.
    pub usage: i64,
    pub request: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    /// Pending, or not ready for a whole window yet.
    Unready,
    /// Without a metric.
    Missing,
}

/// What a metric is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// Percent of what is asked for.
    Utilization(i64),
    /// On average per pod, in thousandths.
    Average(i64),
}

/// What a metric says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proposal {
    pub replicas: i64,
    /// Percent, for a target of that kind.
    pub utilization: Option<i64>,
    /// The average per pod, in thousandths.
    pub average: i64,
}

/// GetResourceReplicas and calcPlainMetricReplicas. `None` when no pod can be measured.
pub(super) fn replicas(pods: &[Measured], current: i64, target: Target, tolerances: (f64, f64)) -> Option<Proposal> {
    let measured: Vec<Measured> = pods.iter().copied().filter(|pod| pod.state == State::Ready).collect();
    let (ratio, utilization, average) = ratio(&measured, target)?;
    let within = |ratio: f64| ratio >= 1.0 - tolerances.0 && ratio <= 1.0 + tolerances.1;
    let proposal = |replicas| Some(Proposal { replicas, utilization, average });
    let of = |state: State| pods.iter().copied().filter(move |pod| pod.state == state);
    let with_unready = of(State::Unready).count() > 0 && ratio > 1.0;
    if !with_unready && of(State::Missing).count() == 0 {
        return proposal(if within(ratio) { current } else { (ratio * measured.len() as f64).ceil() as i64 });
    }
    // Who is not measured is taken to use what keeps the set from moving.
    let mut all = measured;
    let assumed = |pod: Measured| match target {
        _ if ratio > 1.0 => Measured { usage: 0, ..pod },
        Target::Utilization(percent) => Measured { usage: pod.request.saturating_mul(percent.max(100)) / 100, ..pod },
        Target::Average(value) => Measured { usage: value, ..pod },
    };
    if ratio != 1.0 {
        all.extend(of(State::Missing).map(assumed));
    }
    if with_unready {
        all.extend(of(State::Unready).map(|pod| Measured { usage: 0, ..pod }));
    }
    let (again, _, _) = self::ratio(&all, target)?;
    let turned = (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0);
    if within(again) || turned {
        return proposal(current);
    }
    let wanted = (again * all.len() as f64).ceil() as i64;
    let against = (again < 1.0 && wanted > current) || (again > 1.0 && wanted < current);
    proposal(if against { current } else { wanted })
}

/// Usage over target; percent and average of it.
fn ratio(pods: &[Measured], target: Target) -> Option<(f64, Option<i64>, i64)> {
    let count = i64::try_from(pods.len()).ok().filter(|count| *count > 0)?;
    let usage = pods.iter().map(|pod| pod.usage).fold(0, i64::saturating_add);
    let average = usage / count;
    match target {
        Target::Utilization(percent) => {
            let requests = pods.iter().map(|pod| pod.request).fold(0, i64::saturating_add);
            let utilization = (usage.saturating_mul(100)).checked_div(requests)?;
            Some((utilization as f64 / percent as f64, Some(utilization), average))
        }
        Target::Average(value) => Some((average as f64 / value as f64, None, average)),
    }
}

/// The tolerances down and up.
pub(super) fn tolerances(behavior: &Value) -> (f64, f64) {
    let of = |direction: &str| {
        let text = behavior[direction]["tolerance"].as_str();
        let quantity = text.and_then(|text| crate::quantity::Quantity::parse(text).ok());
        quantity.map_or(TOLERANCE, |quantity| quantity.milli_value() as f64 / 1000.0)
    };
    (of("scaleDown"), of("scaleUp"))
}

/// What an autoscaler remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// What was wanted when.
    pub recommendations: Vec<(Timestamp, i64)>,
    ups: Vec<(Timestamp, i64)>,
    downs: Vec<(Timestamp, i64)>,
}

/// A number of replicas with the conditions that explain it: reason and message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Normal {
    pub replicas: i64,
    pub stabilized: Option<(&'static str, &'static str)>,
    pub limited: bool,
    pub limit: (&'static str, &'static str),
}

const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FAST: (&str, &str) = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const TOO_FAST_DOWN: (&str, &str) = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const TOO_MANY: (&str, &str) = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const DOWN_STABILIZED: (&str, &str) =
    ("ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation");
const UP_STABILIZED: (&str, &str) =
    ("ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation");

/// The bounds of an autoscaler.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub current: i64,
    pub least: i64,
    pub most: i64,
}

/// `--horizontal-pod-autoscaler-downscale-stabilization`.
const STABILIZATION_SECONDS: i64 = 300;

fn before(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
}

impl Memory {
    /// normalizeDesiredReplicas and normalizeDesiredReplicasWithBehaviors.
    pub fn normalize(&mut self, now: Timestamp, wanted: i64, bounds: Bounds, behavior: &Value) -> Normal {
        if behavior.is_object() { self.by_behavior(now, wanted, bounds, behavior) } else { self.by_default(now, wanted, bounds) }
    }

    fn by_default(&mut self, now: Timestamp, wanted: i64, bounds: Bounds) -> Normal {
        let cutoff = before(now, STABILIZATION_SECONDS);
        let recent = self.recommendations.iter().filter(|(at, _)| *at >= cutoff).map(|(_, replicas)| *replicas);
        let stabilized = recent.max().map_or(wanted, |highest| highest.max(wanted));
        self.remember(now, wanted, cutoff);
        // Doubling, or four.
        let fastest = (2 * bounds.current).max(4);
        let (most, limit) = if bounds.most > fastest { (fastest, TOO_FAST) } else { (bounds.most, TOO_MANY) };
        let (replicas, limit) = if stabilized < bounds.least {
            (bounds.least, TOO_FEW)
        } else if stabilized > most {
            (most, limit)
        } else {
            (stabilized, WITHIN)
        };
        Normal { replicas, stabilized: (stabilized != wanted).then_some(DOWN_STABILIZED), limited: replicas != stabilized, limit }
    }

    fn by_behavior(&mut self, now: Timestamp, wanted: i64, bounds: Bounds, behavior: &Value) -> Normal {
        let window = |direction: &str, otherwise| behavior[direction]["stabilizationWindowSeconds"].as_i64().unwrap_or(otherwise);
        let (up_cutoff, down_cutoff) = (before(now, window("scaleUp", 0)), before(now, window("scaleDown", STABILIZATION_SECONDS)));
        let since = |cutoff: Timestamp| self.recommendations.iter().filter(move |(at, _)| *at > cutoff).map(|(_, replicas)| *replicas);
        let up = since(up_cutoff).chain([wanted]).min().unwrap_or(wanted);
        let down = since(down_cutoff).chain([wanted]).max().unwrap_or(wanted);
        let stabilized = bounds.current.max(up).min(down);
        self.remember(now, wanted, up_cutoff.min(down_cutoff));
        let why = if wanted >= bounds.current { UP_STABILIZED } else { DOWN_STABILIZED };
        let (replicas, limit) = self.rate(now, stabilized, bounds, behavior);
        Normal { replicas, stabilized: (stabilized != wanted).then_some(why), limited: replicas != stabilized, limit }
    }

    fn remember(&mut self, now: Timestamp, wanted: i64, cutoff: Timestamp) {
        self.recommendations.retain(|(at, _)| *at >= cutoff);
        self.recommendations.push((now, wanted));
    }

    /// convertDesiredReplicasWithBehaviorRate.
    fn rate(&self, now: Timestamp, wanted: i64, bounds: Bounds, behavior: &Value) -> (i64, (&'static str, &'static str)) {
        if wanted > bounds.current {
            let fastest = self.limit(now, bounds.current, &behavior["scaleUp"], true).max(bounds.current);
            let (most, limit) = if bounds.most > fastest { (fastest, TOO_FAST) } else { (bounds.most, TOO_MANY) };
            if wanted > most {
                return (most, limit);
            }
        } else if wanted < bounds.current {
            let fastest = self.limit(now, bounds.current, &behavior["scaleDown"], false).min(bounds.current);
            let (least, limit) = if bounds.least < fastest { (fastest, TOO_FAST_DOWN) } else { (bounds.least, TOO_FEW) };
            if wanted < least {
                return (least, limit);
            }
        }
        (wanted, WITHIN)
    }

    /// calculateScaleUpLimitWithScalingRules, calculateScaleDownLimitWithBehaviors.
    fn limit(&self, now: Timestamp, current: i64, rules: &Value, up: bool) -> i64 {
        let select = rules["selectPolicy"].as_str().unwrap_or("Max");
        if select == "Disabled" {
            return current;
        }
        let changed = |events: &[(Timestamp, i64)], seconds| -> i64 {
            events.iter().filter(|(at, _)| *at > before(now, seconds)).map(|(_, replicas)| replicas).sum()
        };
        let proposals = rules["policies"].as_array().into_iter().flatten().map(|policy| {
            let (value, seconds) = (policy["value"].as_i64().unwrap_or(0), policy["periodSeconds"].as_i64().unwrap_or(0));
            let start = current - changed(&self.ups, seconds) + changed(&self.downs, seconds);
            match (policy["type"] == "Percent", up) {
                (true, true) => (start as f64 * (1.0 + value as f64 / 100.0)).ceil() as i64,
                (true, false) => (start as f64 * (1.0 - value as f64 / 100.0)) as i64,
                (false, true) => start + value,
                (false, false) => start - value,
            }
        });
        // The greatest change: the highest count upwards, the lowest downwards.
        let found = if (select == "Min") == up { proposals.min() } else { proposals.max() };
        found.unwrap_or(current)
    }

    /// Remembers a change that was made (storeScaleEvent).
    pub fn scaled(&mut self, now: Timestamp, from: i64, to: i64) {
        // Longer than any policy's period (1800 s at most).
        let cutoff = before(now, 1_800);
        for events in [&mut self.ups, &mut self.downs] {
            events.retain(|(at, _)| *at >= cutoff);
        }
        if to > from { self.ups.push((now, to - from)) } else { self.downs.push((now, from - to)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn pods(ready: &[i64], unready: usize, missing: usize) -> Vec<Measured> {
        let pod = |state, usage| Measured { state, usage, request: 200 };
        let mut all: Vec<Measured> = ready.iter().map(|usage| pod(State::Ready, *usage)).collect();
        all.extend(vec![pod(State::Unready, 0); unready]);
        all.extend(vec![pod(State::Missing, 0); missing]);
        all
    }

    // `replica_calculator_test.go` has the like: a plain ratio, tolerance, unready pods upwards, missing ones both ways.
    #[rstest]
    #[case::four_times(&[484], 0, 0, 1, 5)]
    #[case::within_tolerance(&[108], 0, 0, 1, 1)]
    #[case::just_beyond(&[112], 0, 0, 1, 2)]
    #[case::unready_dampens(&[484], 2, 0, 3, 5)]
    #[case::unready_stops(&[250], 2, 0, 3, 3)]
    #[case::missing_counts_full_downwards(&[40, 40], 0, 1, 3, 3)]
    #[case::down(&[10, 10, 10, 10], 0, 0, 4, 1)]
    fn wants(#[case] ready: &[i64], #[case] unready: usize, #[case] missing: usize, #[case] current: i64, #[case] expected: i64) {
        let found = replicas(&pods(ready, unready, missing), current, Target::Utilization(50), (0.1, 0.1)).unwrap();
        assert_eq!(found.replicas, expected);
    }

    #[test]
    fn nobody_measured_is_no_proposal() {
        assert_eq!(replicas(&pods(&[], 3, 0), 3, Target::Utilization(50), (0.1, 0.1)), None);
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn downwards_it_waits_for_five_minutes() {
        let mut memory = Memory::default();
        let bounds = Bounds { current: 7, least: 1, most: 10 };
        memory.normalize(at(0), 7, bounds, &Value::Null);
        let held = memory.normalize(at(300), 1, bounds, &Value::Null);
        assert_eq!((held.replicas, held.stabilized.unwrap().0), (7, "ScaleDownStabilized"));
        assert_eq!(memory.normalize(at(301), 1, bounds, &Value::Null).replicas, 1);
    }

    #[rstest]
    #[case::doubling(3, 50, 6, "ScaleUpLimit")]
    #[case::or_four(1, 50, 4, "ScaleUpLimit")]
    #[case::most(8, 50, 10, "TooManyReplicas")]
    #[case::least(3, 0, 1, "TooFewReplicas")]
    #[case::free(3, 4, 4, "DesiredWithinRange")]
    fn without_behavior(#[case] current: i64, #[case] wanted: i64, #[case] expected: i64, #[case] why: &str) {
        let normal = Memory::default().normalize(at(0), wanted, Bounds { current, least: 1, most: 10 }, &Value::Null);
        assert_eq!((normal.replicas, normal.limit.0), (expected, why));
    }

    #[test]
    fn policies_count_what_was_changed_within_their_period() {
        let behavior = json!({
            "scaleUp": { "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{ "type": "Pods", "value": 2, "periodSeconds": 60 }] },
            "scaleDown": { "stabilizationWindowSeconds": 0, "selectPolicy": "Min",
                "policies": [{ "type": "Percent", "value": 50, "periodSeconds": 60 }, { "type": "Pods", "value": 1, "periodSeconds": 60 }] },
        });
        let mut memory = Memory::default();
        let bounds = |current| Bounds { current, least: 1, most: 100 };
        assert_eq!(memory.normalize(at(0), 50, bounds(4), &behavior).replicas, 6);
        memory.scaled(at(0), 4, 6);
        assert_eq!(memory.normalize(at(30), 50, bounds(6), &behavior).replicas, 6);
        assert_eq!(memory.normalize(at(61), 50, bounds(6), &behavior).replicas, 8);
        assert_eq!(memory.normalize(at(200), 1, bounds(8), &behavior).replicas, 7);
    }

    #[test]
    fn scaling_may_be_switched_off() {
        let behavior = json!({ "scaleUp": { "selectPolicy": "Disabled" }, "scaleDown": { "selectPolicy": "Disabled", "stabilizationWindowSeconds": 0 } });
        for wanted in [1, 9] {
            assert_eq!(Memory::default().normalize(at(0), wanted, Bounds { current: 4, least: 1, most: 10 }, &behavior).replicas, 4);
        }
    }
}
