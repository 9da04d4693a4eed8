//! EventBridge's default bus: rules with patterns, and events that really travel to queues.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::agenda::Due;
use super::lifecycle::later;
use super::machine::Phase;
use super::network::Tags;
use super::queue::Queue;
use super::rules::{Disturbance, Effect};
use super::{State, World};
use crate::services::access;

/// The default bus of a region.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Bus {
    /// By name.
    pub rules: BTreeMap<String, BusRule>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct BusRule {
    pub name: String,
    pub arn: String,
    pub pattern: Option<Value>,
    pub schedule: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub tags: Tags,
    /// By id.
    pub targets: IndexMap<String, Target>,
    /// What became of its events: by the target's id.
    pub deliveries: BTreeMap<String, Deliveries>,
}

/// Events that a rule sent to a target, as CloudWatch's `Invocations` and `FailedInvocations` count them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliveries {
    pub delivered: u64,
    pub failed: u64,
    /// Why the last one failed.
    pub why: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Target {
    pub arn: String,
    /// What is sent in place of the event.
    pub input: Option<String>,
    /// As it was put.
    pub whole: Value,
}

/// An instance's state has changed. Source of the form: EC2 user guide, "Instance state-change notifications".
pub(crate) fn instance_changed(world: &mut World<'_>, instance_id: &str, phase: Phase) {
    let arn = world.account.arn("ec2", &world.region.name, &format!("instance/{instance_id}"));
    let detail = json!({"instance-id": instance_id, "state": phase.name()});
    emit(world, "aws.ec2", "EC2 Instance State-change Notification", vec![arn], detail);
}

/// Puts an event on the bus. One that no rule wants is gone at once; the others travel.
pub(crate) fn emit(world: &mut World<'_>, source: &str, kind: &str, resources: Vec<String>, detail: Value) -> String {
    let id = world.account.entropy.uuid("event");
    let event = json!({
        "version": "0",
        "id": id,
        "detail-type": kind,
        "source": source,
        "account": world.account.id,
        "time": world.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "region": world.region.name,
        "resources": resources,
        "detail": detail,
    });
    if world.region.bus.rules.values().any(|rule| rule.wants(&event)) {
        let delay = world.account.settings.event_delivery;
        let at = later(world.now, world.account.entropy.delay("event-delivery", delay));
        for at in disturbed(world, kind, at) {
            world.account.agenda.add(at, Due::Event { region: world.region.name.clone(), event: event.clone() });
        }
    }
    id
}

/// When an event arrives that would arrive at an instant, after all faults in force; never, or more than once.
fn disturbed(world: &mut World<'_>, kind: &str, at: Timestamp) -> Vec<Timestamp> {
    let now = world.now;
    let mut arrivals = vec![at];
    for active in world.account.rules.iter_mut().filter(|active| active.in_force(now)) {
        let Effect::Events { kinds, does } = &active.rule.effect else { continue };
        if !kinds.is_empty() && !kinds.iter().any(|known| known == kind) {
            continue;
        }
        active.met += 1;
        active.hits += 1;
        match does {
            Disturbance::Drop => arrivals.clear(),
            Disturbance::Duplicate => arrivals.extend(arrivals.clone()),
            Disturbance::Delay { by } => arrivals.iter_mut().for_each(|at| *at = later(*at, *by)),
            Disturbance::Reorder { within } => {
                // Events of one stretch of time arrive after it, the last first; those of one instant, too.
                let stretch = i64::try_from(within.as_millis()).unwrap_or(i64::MAX).max(1);
                let left = stretch - now.as_millisecond().rem_euclid(stretch);
                let turn = i64::try_from(active.hits % 1000).unwrap_or(0);
                let whole = SignedDuration::from_millis(left.saturating_mul(2).saturating_add(1000 - turn));
                arrivals.iter_mut().for_each(|at| *at = later(now, whole));
            }
        }
    }
    arrivals
}

/// An event reaches its targets: one message per matching rule and target, if the target's policy lets it in.
pub(crate) fn deliver(world: &mut World<'_>, event: &Value) {
    let mut parcels = Vec::new();
    for rule in world.region.bus.rules.values().filter(|rule| rule.wants(event)) {
        for (id, target) in &rule.targets {
            let body = target.input.clone().unwrap_or_else(|| event.to_string());
            let queue = target.arn.rsplit(':').next().unwrap_or_default().to_owned();
            parcels.push((rule.name.clone(), rule.arn.clone(), id.clone(), queue, body));
        }
    }
    for (rule, arn, target, queue, body) in parcels {
        let refused = match world.region.queues.contains_key(&queue) {
            true => access::delivery::refused(world, &arn, &queue),
            false => Some(format!("there is no queue {queue}")),
        };
        let only_noted = world.account.settings.iam == super::IamMode::Log && world.region.queues.contains_key(&queue);
        let counts = world.region.bus.rules.get_mut(&rule).map(|rule| rule.deliveries.entry(target).or_default());
        if let Some(counts) = counts {
            match &refused {
                Some(why) => (counts.failed, counts.why) = (counts.failed + 1, Some(why.clone())),
                None => counts.delivered += 1,
            }
        }
        if refused.is_some() && !only_noted {
            continue;
        }
        let id = world.account.entropy.uuid("message");
        let Some(queue) = world.region.queues.get_mut(&queue) else { continue };
        send(queue, world.now, id, body);
    }
}

impl State {
    /// What became of the home region's events, by rule and target.
    pub fn deliveries(&self) -> Vec<(String, String, Deliveries)> {
        let rules = self.regions.get(&self.account.home).into_iter().flat_map(|region| region.bus.rules.values());
        let of = |rule: &BusRule| -> Vec<(String, String, Deliveries)> {
            let targets = rule.targets.iter();
            targets
                .map(|(id, target)| (rule.name.clone(), target.arn.clone(), rule.deliveries.get(id).cloned().unwrap_or_default()))
                .collect()
        };
        rules.flat_map(of).collect()
    }
}

fn send(queue: &mut Queue, now: Timestamp, id: String, body: String) {
    let delay = SignedDuration::from_secs(queue.seconds("DelaySeconds", 0));
    queue.send(now, id, body, None, delay);
}

impl BusRule {
    pub fn wants(&self, event: &Value) -> bool {
        self.enabled && self.pattern.as_ref().is_some_and(|pattern| matches(pattern, event))
    }
}

/// Whether an event matches a pattern: every member of the pattern must match; a list offers alternatives.
/// Source: EventBridge user guide, "Creating Amazon EventBridge event patterns".
pub fn matches(pattern: &Value, event: &Value) -> bool {
    let Some(pattern) = pattern.as_object() else { return false };
    pattern.iter().all(|(name, wanted)| {
        let found = event.get(name);
        match wanted {
            Value::Object(_) => found.is_some_and(|found| matches(wanted, found)),
            Value::Array(alternatives) => alternatives.iter().any(|alternative| any_matches(alternative, found)),
            _ => false,
        }
    })
}

/// A list in the event matches if one of its items does.
fn any_matches(alternative: &Value, found: Option<&Value>) -> bool {
    match found {
        Some(Value::Array(items)) => items.iter().any(|item| one_matches(alternative, Some(item))),
        found => one_matches(alternative, found),
    }
}

fn one_matches(alternative: &Value, found: Option<&Value>) -> bool {
    let Some((operator, operand)) = alternative.as_object().and_then(|object| object.iter().next()) else {
        return found == Some(alternative);
    };
    let text = found.and_then(Value::as_str);
    match operator.as_str() {
        "exists" => operand.as_bool() == Some(found.is_some()),
        "prefix" => operand.as_str().is_some_and(|start| text.is_some_and(|text| text.starts_with(start))),
        "suffix" => operand.as_str().is_some_and(|end| text.is_some_and(|text| text.ends_with(end))),
        "equals-ignore-case" => operand.as_str().is_some_and(|same| text.is_some_and(|text| text.eq_ignore_ascii_case(same))),
        "wildcard" => operand.as_str().is_some_and(|form| text.is_some_and(|text| crate::services::filter::glob(form, text))),
        "anything-but" => found.is_some_and(|found| match operand {
            Value::Array(list) => !list.contains(found),
            Value::Object(_) => !one_matches(operand, Some(found)),
            _ => operand != found,
        }),
        "numeric" => found.and_then(Value::as_f64).is_some_and(|number| numeric(operand, number)),
        _ => false,
    }
}

fn numeric(operand: &Value, number: f64) -> bool {
    let terms = operand.as_array().map_or(&[][..], Vec::as_slice);
    !terms.is_empty()
        && terms.chunks(2).all(|term| match term {
            [Value::String(operator), bound] => bound.as_f64().is_some_and(|bound| match operator.as_str() {
                "<" => number < bound,
                "<=" => number <= bound,
                ">" => number > bound,
                ">=" => number >= bound,
                "=" => number == bound,
                _ => false,
            }),
            _ => false,
        })
}

/// What is wrong with a pattern, if anything: it must be an object whose leaves are lists of scalars or known operators.
pub fn pattern_fault(pattern: &Value) -> Option<String> {
    const OPERATORS: [&str; 7] = ["exists", "prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric"];
    let Some(pattern) = pattern.as_object() else { return Some("Filter is not an object".into()) };
    if pattern.is_empty() {
        return Some("Event pattern must contain at least one field".into());
    }
    pattern.iter().find_map(|(name, wanted)| match wanted {
        Value::Object(_) => pattern_fault(wanted),
        Value::Array(list) if list.is_empty() => Some(format!("Empty arrays are not allowed at \"{name}\"")),
        Value::Array(list) => list.iter().find_map(|item| {
            let operator = item.as_object()?.keys().next()?;
            (!OPERATORS.contains(&operator.as_str())).then(|| format!("Unrecognized match type {operator}"))
        }),
        _ => Some(format!("\"{name}\" must be an object or an array")),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r#"{"source":["aws.ec2"]}"#, true)]
    #[case(r#"{"source":["aws.health"]}"#, false)]
    #[case(r#"{"source":["aws.ec2"],"detail-type":["EC2 Instance State-change Notification"]}"#, true)]
    #[case(r#"{"detail":{"state":["stopping","running"]}}"#, true)]
    #[case(r#"{"detail":{"state":[{"prefix":"run"}]}}"#, true)]
    #[case(r#"{"detail":{"state":[{"suffix":"ing"}]}}"#, true)]
    #[case(r#"{"detail":{"state":[{"anything-but":["running"]}]}}"#, false)]
    #[case(r#"{"detail":{"other":[{"exists":false}]}}"#, true)]
    #[case(r#"{"detail":{"count":[{"numeric":[">",2,"<=",3]}]}}"#, true)]
    #[case(r#"{"detail":{"count":[{"numeric":[">",3]}]}}"#, false)]
    #[case(r#"{"resources":["arn:b"]}"#, true)]
    #[case(r#"{"missing":["x"]}"#, false)]
    fn patterns(#[case] pattern: &str, #[case] matched: bool) {
        let event = json!({
            "source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification", "resources": ["arn:a", "arn:b"],
            "detail": {"state": "running", "count": 3},
        });
        let pattern: Value = serde_json::from_str(pattern).expect("JSON");
        assert_eq!((pattern_fault(&pattern), matches(&pattern, &event)), (None, matched));
    }

    #[rstest]
    #[case("[]")]
    #[case("{}")]
    #[case(r#"{"source":"aws.ec2"}"#)]
    #[case(r#"{"source":[]}"#)]
    #[case(r#"{"source":[{"like":"x"}]}"#)]
    fn bad_patterns(#[case] pattern: &str) {
        assert!(pattern_fault(&serde_json::from_str(pattern).expect("JSON")).is_some());
    }
}
