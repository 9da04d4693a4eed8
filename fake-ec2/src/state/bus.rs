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
use super::{State, World, pattern, transform};
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
    /// When it fires by its schedule.
    pub fires: Option<Timestamp>,
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
    /// As it was put; what it says of its input is [`transform`]'s.
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

/// An event reaches the rules that want it.
pub(crate) fn deliver(world: &mut World<'_>, event: &Value) {
    deliver_by(world, event, |rule| rule.wants(event));
}

/// A rule fires by its schedule, unless it was told something else meanwhile, and will again.
/// Source: EventBridge user guide, "Creating a rule that runs on a schedule": the event's form.
pub(crate) fn fire(world: &mut World<'_>, name: &str) {
    let now = world.now;
    let Some(rule) = world.region.bus.rules.get(name).filter(|rule| rule.fires == Some(now)) else { return };
    let arn = rule.arn.clone();
    let event = json!({
        "version": "0",
        "id": world.account.entropy.uuid("event"),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": world.account.id,
        "time": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "region": world.region.name,
        "resources": [arn],
        "detail": {},
    });
    deliver_by(world, &event, |rule| rule.name == name);
    wind(world, name);
}

/// Says anew when a rule fires next: not at all when it is off or has no schedule.
pub(crate) fn wind(world: &mut World<'_>, name: &str) {
    let now = world.now;
    let Some(rule) = world.region.bus.rules.get_mut(name) else { return };
    let every = rule.schedule.as_deref().filter(|_| rule.enabled).and_then(|schedule| rate(schedule).ok());
    rule.fires = every.map(|every| later(now, every));
    if let Some(at) = rule.fires {
        world.account.agenda.add(at, Due::Schedule { region: world.region.name.clone(), rule: name.to_owned() });
    }
}

/// Why a schedule is none that is kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSchedule {
    /// It is no schedule.
    Nonsense,
    /// It is `cron(…)`.
    Cron,
}

/// How often `rate(5 minutes)` fires. Source: EventBridge user guide, "Rate expressions": the unit is singular for 1 and plural else.
pub fn rate(schedule: &str) -> Result<SignedDuration, BadSchedule> {
    let inside = |name: &str| schedule.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
    if inside("cron").is_some_and(|fields| fields.split_whitespace().count() == 6) {
        return Err(BadSchedule::Cron);
    }
    let (count, unit) = inside("rate").and_then(|inside| inside.split_once(' ')).ok_or(BadSchedule::Nonsense)?;
    let count: i64 = count.parse().ok().filter(|count| (1..=1_000_000).contains(count)).ok_or(BadSchedule::Nonsense)?;
    let minutes = match (unit, count) {
        ("minute", 1) | ("minutes", 2..) => 1,
        ("hour", 1) | ("hours", 2..) => 60,
        ("day", 1) | ("days", 2..) => 24 * 60,
        _ => return Err(BadSchedule::Nonsense),
    };
    Ok(SignedDuration::from_mins(count * minutes))
}

/// An event reaches its targets: one message per rule and target, if the target's policy lets it in.
fn deliver_by(world: &mut World<'_>, event: &Value, wants: impl Fn(&BusRule) -> bool) {
    let mut parcels = Vec::new();
    for rule in world.region.bus.rules.values().filter(|rule| wants(rule)) {
        for (id, target) in &rule.targets {
            let body = transform::body(&target.whole, (&rule.name, &rule.arn), event, world.now);
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
        self.enabled && self.pattern.as_ref().is_some_and(|pattern| pattern::matches(pattern, event))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("rate(1 minute)", Ok(1))]
    #[case("rate(5 minutes)", Ok(5))]
    #[case("rate(1 hour)", Ok(60))]
    #[case("rate(2 days)", Ok(2880))]
    #[case("rate(1 minutes)", Err(BadSchedule::Nonsense))]
    #[case("rate(5 minute)", Err(BadSchedule::Nonsense))]
    #[case("rate(0 minutes)", Err(BadSchedule::Nonsense))]
    #[case("rate(5 weeks)", Err(BadSchedule::Nonsense))]
    #[case("every minute", Err(BadSchedule::Nonsense))]
    #[case("cron(0 12 * *)", Err(BadSchedule::Nonsense))]
    #[case("cron(0 12 * * ? *)", Err(BadSchedule::Cron))]
    fn schedules(#[case] text: &str, #[case] minutes: Result<i64, BadSchedule>) {
        assert_eq!(rate(text), minutes.map(SignedDuration::from_mins));
    }
}
