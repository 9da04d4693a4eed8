//! Judges: expectations against what was seen. Pure.

use crate::acts::{self, Act};
use crate::observe::{ClaimSeen, NodeSeen, Observed, PodSeen};
use crate::scenario::{Aggregate, Compare, CostOf, Count, Expectation, LatencyOf, NodeTypes, Noun, Phrase, Placed, PodExpectation};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use vocabulary::UsdPerHour;

/// What an expectation is judged by besides the cluster: the account's books and the wire's counts, since the step began.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Per pool, and under `None` everything that runs.
    pub hourly: BTreeMap<Option<String>, UsdPerHour>,
    /// The same at the step's beginning.
    pub hourly_before: BTreeMap<Option<String>, UsdPerHour>,
    /// Dollars since the step began.
    pub spent: f64,
    pub calls: BTreeMap<String, u64>,
    /// AWS calls by operation.
    pub denied: BTreeMap<String, u64>,
    pub launches: u64,
    pub disruptions: u64,
    /// When the step began.
    pub since: Timestamp,
    /// Positions in `became_ready` and `became_initialized` from which this step counts.
    pub ready_from: usize,
    pub initialized_from: usize,
    /// Positions in `evicted` and `lost` from which this step counts.
    pub evicted_from: usize,
    pub lost_from: usize,
    /// Changes up to this one came before the step.
    pub order_from: u64,
    /// The position in `said.events` from which this step counts.
    pub told_from: usize,
    /// True conditions of the objects that conditions are expected of.
    pub conditions: BTreeMap<String, BTreeMap<String, String>>,
    /// The objects of which something is expected; null if there is none.
    pub objects: BTreeMap<String, serde_json::Value>,
    /// The controller's ERROR lines.
    pub errors: Vec<String>,
    /// Latency bounds are multiplied by this.
    pub latency_factor: f64,
}

/// The judgement of one expectation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// As written in the scenario.
    pub expected: String,
    pub line: usize,
    pub held: bool,
    /// What was seen.
    pub seen: String,
}

pub fn check(expectation: &Placed<Expectation>, observed: &Observed, facts: &Facts) -> Verdict {
    let (held, seen) = judge(&expectation.value, observed, facts);
    Verdict { expected: expectation.text.clone(), line: expectation.line, held, seen }
}

/// `never`: the same judgement, the other way round; and nothing that the guard has seen on the way.
pub fn check_never(expectation: &Placed<Expectation>, observed: &Observed, facts: &Facts) -> Verdict {
    let verdict = check(expectation, observed, facts);
    let once = observed.guard.as_ref().and_then(|guard| guard.broken.get(&expectation.line)?.get(&expectation.text));
    let (held, seen) = match once {
        Some(seen) => (false, seen.clone()),
        None => (!verdict.held, verdict.seen),
    };
    Verdict { expected: format!("never {}", verdict.expected), line: verdict.line, held, seen }
}

/// Watches over `never` while a step runs: the observer shows it every change.
#[derive(Debug)]
pub struct Guard {
    never: Vec<Placed<Expectation>>,
    /// What counts from the step's beginning.
    facts: Facts,
    launches: u64,
    disruptions: u64,
    /// What was seen when it was first broken, by line and text.
    broken: BTreeMap<usize, BTreeMap<String, String>>,
}

impl Guard {
    /// Of what is told by the cluster alone; the rest (costs, calls, conditions, latencies, actions) is judged at the step's end.
    pub fn new(never: &[Placed<Expectation>], facts: Facts, observed: &Observed) -> Guard {
        let seen = |e: &&Placed<Expectation>| {
            matches!(
                e.value,
                Expectation::Pods(_)
                    | Expectation::Nodes { .. }
                    | Expectation::NodeClaims { .. }
                    | Expectation::Launches(_)
                    | Expectation::Disruptions(_)
            )
        };
        Guard {
            never: never.iter().filter(seen).cloned().collect(),
            facts,
            launches: observed.launches,
            disruptions: observed.disruptions,
            broken: BTreeMap::new(),
        }
    }

    pub fn look(&mut self, now: Timestamp, observed: &Observed) {
        self.facts.launches = observed.launches - self.launches;
        self.facts.disruptions = observed.disruptions - self.disruptions;
        for never in &self.never {
            if self.broken.get(&never.line).is_some_and(|texts| texts.contains_key(&never.text)) {
                continue;
            }
            let (is, seen) = judge(&never.value, observed, &self.facts);
            if is {
                let at = now.duration_since(observed.timeline.start()).as_secs_f64();
                self.broken.entry(never.line).or_default().insert(never.text.clone(), format!("{seen}, at {at:.1}s"));
            }
        }
    }

    pub fn any_broken(&self) -> bool {
        !self.broken.is_empty()
    }
}

fn judge(expectation: &Expectation, observed: &Observed, facts: &Facts) -> (bool, String) {
    match expectation {
        Expectation::Pods(expected) => pods(expected, observed, facts),
        Expectation::Nodes { pool, nouns } => nodes(pool.as_deref(), nouns, observed),
        Expectation::NodeClaims { pool, count } => {
            let alive = |c: &&ClaimSeen| !c.deleting && (pool.is_none() || c.pool == *pool);
            counted(*count, observed.claims.values().filter(alive).count(), "NodeClaims")
        }
        Expectation::Cost { pool, of, compare, amount } => cost(pool, *of, *compare, *amount, facts),
        Expectation::Latency { of, aggregate, compare, bound } => latency(*of, *aggregate, *compare, *bound, observed, facts),
        Expectation::Launches(count) => counted(*count, facts.launches as usize, "launches"),
        Expectation::Disruptions(count) => counted(*count, facts.disruptions as usize, "disruptions"),
        Expectation::AwsDenied(count) => denied(*count, &facts.denied),
        Expectation::ControllerErrors(count) => {
            let (held, mut seen) = counted(*count, facts.errors.len(), "error lines");
            if let Some(first) = facts.errors.first() {
                seen.push_str(&format!(": {}", first.chars().take(300).collect::<String>()));
            }
            (held, seen)
        }
        Expectation::Events { reason, kind, count } => {
            let meant = |told: &&crate::said::Told| told.reason == *reason && kind.as_ref().is_none_or(|kind| told.kind == *kind);
            let told = observed.said.events.get(facts.told_from..).unwrap_or_default().iter().filter(meant).count();
            counted(*count, told, &format!("Events {reason}"))
        }
        Expectation::AwsCalls { operation, count } => {
            counted(*count, facts.calls.get(operation).copied().unwrap_or(0) as usize, &format!("calls of {operation}"))
        }
        Expectation::Conditions { object, wanted } => {
            let Some(conditions) = facts.conditions.get(&object.to_string()) else { return (false, format!("{object} was not found")) };
            let shown = |kind: &String| format!("{kind}={}", conditions.get(kind).map_or("absent", String::as_str));
            let held = wanted.iter().all(|wanted| conditions.get(&wanted.kind).is_some_and(|status| wanted.holds(status)));
            (held, wanted.iter().map(|wanted| shown(&wanted.kind)).collect::<Vec<_>>().join(", "))
        }
        Expectation::Shows { object, wanted } => {
            let found = facts.objects.get(&object.to_string()).unwrap_or(&serde_json::Value::Null);
            let differs = difference(wanted, found, &object.to_string());
            (differs.is_none(), differs.unwrap_or_else(|| "so it is".to_owned()))
        }
        Expectation::Actions(expected) => actions(expected, observed, facts),
    }
}

/// Where what was found lacks something of what is wanted: mappings may hold more, lists may not.
fn difference(wanted: &serde_json::Value, found: &serde_json::Value, path: &str) -> Option<String> {
    use serde_json::Value;
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            let under = |key: &String| format!("{path}.{key}");
            wanted.iter().find_map(|(key, value)| difference(value, found.get(key).unwrap_or(&Value::Null), &under(key)))
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            wanted.iter().zip(found).enumerate().find_map(|(at, (wanted, found))| difference(wanted, found, &format!("{path}[{at}]")))
        }
        _ if wanted == found => None,
        _ => Some(format!("{path} is {}", found.to_string().chars().take(400).collect::<String>())),
    }
}

fn counted(count: Count, found: usize, what: &str) -> (bool, String) {
    (count.compare.holds(&(found as u64), &count.value), format!("{found} {what}"))
}

fn denied(count: Count, by_operation: &BTreeMap<String, u64>) -> (bool, String) {
    let (held, mut seen) = counted(count, by_operation.values().sum::<u64>() as usize, "calls denied");
    let named: Vec<String> =
        by_operation.iter().filter(|(_, times)| **times > 0).map(|(operation, times)| format!("{times} × {operation}")).collect();
    if !named.is_empty() {
        seen.push_str(&format!(": {}", named.join(", ")));
    }
    (held, seen)
}

fn cost(pool: &Option<String>, of: CostOf, compare: Compare, amount: UsdPerHour, facts: &Facts) -> (bool, String) {
    let at = |hourly: &BTreeMap<Option<String>, UsdPerHour>| hourly.get(pool).copied().unwrap_or_default().dollars();
    let (paid, unit) = match of {
        CostOf::Hourly => (at(&facts.hourly), "/h"),
        CostOf::Saved => (at(&facts.hourly_before) - at(&facts.hourly), "/h"),
        CostOf::Total => (facts.spent, ""),
    };
    // Sums of binary fractions: a ten-thousandth of a cent is no difference.
    let micro = |dollars: f64| (dollars * 1e6).round() as i64;
    let shown = UsdPerHour::new(paid.abs()).unwrap_or_default();
    (compare.holds(&micro(paid), &micro(amount.dollars())), format!("{}{shown}{unit}", if micro(paid) < 0 { "-" } else { "" }))
}

fn pods(expected: &PodExpectation, observed: &Observed, facts: &Facts) -> (bool, String) {
    let ours: Vec<&PodSeen> = observed
        .pods
        .iter()
        .filter(|((namespace, _), pod)| {
            !pod.system && !pod.terminating && !pod.finished && expected.namespace.as_ref().is_none_or(|n| n == namespace)
        })
        .map(|(_, pod)| pod)
        .collect();
    let ready = ours.iter().filter(|p| p.ready).count() as u64;
    let pending: Vec<_> = ours.iter().filter(|p| p.node.is_none()).collect();
    let holds = |count: Option<Count>, found: u64| count.is_none_or(|c| c.compare.holds(&found, &c.value));
    let reasons: BTreeSet<&str> = pending.iter().map(|p| p.refused.as_deref().unwrap_or("no reason given")).collect();
    let named =
        expected.reason.as_ref().is_none_or(|word| !pending.is_empty() && reasons.iter().all(|reason| reason.contains(word.as_str())));
    let since = |list: &[(String, String)], from: usize| {
        let ours = list.get(from..).unwrap_or_default().iter();
        ours.filter(|(namespace, _)| expected.namespace.as_ref().is_none_or(|n| n == namespace)).count() as u64
    };
    let (evicted, lost) = (since(&observed.evicted, facts.evicted_from), since(&observed.lost, facts.lost_from));
    let held = holds(expected.ready, ready)
        && holds(expected.pending, pending.len() as u64)
        && holds(expected.evicted, evicted)
        && holds(expected.lost, lost)
        && named;
    let mut seen = format!("{ready} ready, {} pending", pending.len());
    if expected.evicted.is_some() {
        seen.push_str(&format!(", {evicted} evicted"));
    }
    if expected.lost.is_some() {
        seen.push_str(&format!(", {lost} lost"));
    }
    if !reasons.is_empty() {
        seen.push_str(&format!(" ({})", reasons.into_iter().collect::<Vec<_>>().join("; ")));
    }
    (held, seen)
}

fn nodes(pool: Option<&str>, nouns: &[Noun], observed: &Observed) -> (bool, String) {
    let ours: BTreeMap<&String, &NodeSeen> =
        observed.nodes.iter().filter(|(_, n)| !n.deleting && pool.is_none_or(|p| n.pool.as_deref() == Some(p))).collect();
    let mut types: BTreeMap<String, u64> = BTreeMap::new();
    for node in ours.values() {
        *types.entry(node.instance_type.clone()).or_insert(0) += 1;
    }
    let mut seen = vec![if types.is_empty() {
        "no nodes".to_owned()
    } else {
        types.iter().map(|(t, n)| format!("{n} × {t}")).collect::<Vec<_>>().join(", ")
    }];
    let mut held = true;
    for noun in nouns {
        held &= match noun {
            Noun::Count(count) => count.compare.holds(&(ours.len() as u64), &count.value),
            Noun::Ready(count) => {
                let ready = ours.values().filter(|n| n.ready).count();
                seen.push(format!("{ready} ready"));
                count.compare.holds(&(ready as u64), &count.value)
            }
            // Of no node nothing can be said: an expectation on types or markets wants one at least.
            Noun::Types(NodeTypes::Among(list)) => !types.is_empty() && types.keys().all(|t| list.contains(t)),
            Noun::Types(NodeTypes::Exactly(wanted)) => types == *wanted,
            Noun::Capacity(list) => {
                let found: BTreeSet<&str> = ours.values().map(|n| n.capacity_type.as_deref().unwrap_or("none")).collect();
                seen.push(found.iter().copied().collect::<Vec<_>>().join(", "));
                !found.is_empty() && found.iter().all(|kind| list.iter().any(|allowed| allowed == kind))
            }
            Noun::Tainted(count) => {
                let tainted = ours.values().filter(|n| n.disrupted).count() as u64;
                seen.push(format!("{tainted} tainted"));
                count.compare.holds(&tainted, &count.value)
            }
            Noun::Zones(count) => {
                let zones: BTreeSet<_> = ours.values().filter_map(|n| n.zone.clone()).collect();
                seen.push(format!("{} zones", zones.len()));
                count.compare.holds(&(zones.len() as u64), &count.value)
            }
            Noun::ZonesAre(list) => {
                let zones: BTreeSet<&str> = ours.values().filter_map(|n| n.zone.as_deref()).collect();
                seen.push(format!("in {}", zones.iter().copied().collect::<Vec<_>>().join(", ")));
                zones == list.iter().map(String::as_str).collect()
            }
            Noun::PodsPerNode(wanted) => {
                let on = |name: &str| {
                    observed.pods.values().filter(|p| !p.system && !p.terminating && !p.finished && p.node.as_deref() == Some(name)).count()
                        as u64
                };
                let mut counts: Vec<u64> = ours.keys().map(|name| on(name)).collect();
                counts.sort_unstable_by(|a, b| b.cmp(a));
                seen.push(format!("pods per node {counts:?}"));
                counts == *wanted
            }
        };
    }
    (held, seen.join("; "))
}

fn latency(
    of: LatencyOf,
    aggregate: Aggregate,
    compare: Compare,
    bound: SignedDuration,
    observed: &Observed,
    facts: &Facts,
) -> (bool, String) {
    let samples = match of {
        LatencyOf::PodReady => observed.became_ready.get(facts.ready_from..).unwrap_or_default(),
        LatencyOf::NodeReady => observed.became_initialized.get(facts.initialized_from..).unwrap_or_default(),
    };
    let mut times: Vec<SignedDuration> = samples.iter().map(|(from, to)| to.duration_since(*from)).collect();
    times.sort_unstable();
    if times.is_empty() {
        return (false, "nothing became ready".to_owned());
    }
    // Pods that wait to this day have waited longer than any that became ready.
    let waiting = if of == LatencyOf::PodReady { observed.never_ready(facts.since) } else { 0 };
    times.resize(times.len() + waiting, SignedDuration::MAX);
    let value = match aggregate {
        Aggregate::Max => times[times.len() - 1],
        // Nearest rank: the smallest sample that at least p percent do not exceed.
        Aggregate::Percentile(p) => times[(times.len() * usize::from(p)).div_ceil(100).clamp(1, times.len()) - 1],
    };
    let bound = SignedDuration::try_from_secs_f64(bound.as_secs_f64() * facts.latency_factor).unwrap_or(SignedDuration::MAX);
    let waiting = if waiting == 0 { String::new() } else { format!(", {waiting} pods never ready") };
    let shown = if value == SignedDuration::MAX { "not ready".to_owned() } else { format!("{:.1}s", value.as_secs_f64()) };
    (compare.holds(&value, &bound), format!("{shown} of {} samples{waiting}", times.len()))
}

/// What the autoscaler did to nodes in the step. What it took back is told, not compared.
fn actions(expected: &[Vec<Phrase>], observed: &Observed, facts: &Facts) -> (bool, String) {
    let acts: Vec<Act> = observed.history.acts(observed.timeline.start()).into_iter().filter(|act| act.order > facts.order_from).collect();
    let seen: Vec<String> = acts.iter().map(ToString::to_string).collect();
    let compared: Vec<&Act> = acts.iter().filter(|act| !act.taken_back).collect();
    (acts::hold(expected, &compared), if seen.is_empty() { "no actions".to_owned() } else { seen.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::{denied, difference};
    use crate::scenario::{Compare, Count};
    use rstest::rstest;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    #[test]
    fn calls_that_were_denied_are_named() {
        let none = Count { compare: Compare::Equal, value: 0 };
        let found = BTreeMap::from([("CreateFleet".to_owned(), 0), ("DeleteLaunchTemplate".to_owned(), 2)]);
        assert_eq!(denied(none, &found), (false, "2 calls denied: 2 × DeleteLaunchTemplate".to_owned()));
        assert_eq!(denied(none, &BTreeMap::from([("CreateFleet".to_owned(), 0)])), (true, "0 calls denied".to_owned()));
    }

    #[rstest]
    #[case(json!({"a": 1}), json!({"a": 1, "b": 2}), None)]
    #[case(json!({"a": [{"b": 1}]}), json!({"a": [{"b": 1, "c": 2}]}), None)]
    #[case(json!({"a": [{"b": 1}]}), json!({"a": [{"b": 1}, {"b": 2}]}), Some("o.a is [{\"b\":1},{\"b\":2}]"))]
    #[case(json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), Some("o.a.b is 2"))]
    #[case(Value::Null, json!({"a": 1}), Some("o is {\"a\":1}"))]
    #[case(json!({"a": 1}), Value::Null, Some("o is null"))]
    fn an_object_holds_what_is_wanted_among_other_things(#[case] wanted: Value, #[case] found: Value, #[case] differs: Option<&str>) {
        assert_eq!(difference(&wanted, &found, "o").as_deref(), differs);
    }
}
