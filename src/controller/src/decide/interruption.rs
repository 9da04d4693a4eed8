//! What the account says of its machines: Spot interruptions, rebalance recommendations, state changes, scheduled maintenance.
//!
//! Messages come from a queue that EventBridge fills. One that cannot be read is told of and deleted; one that could not be acted on
//! stays, and comes again. Sources: `A/pkg/controllers/interruption/{controller,utils,parser}.go`, `…/messages/**`.

use super::delete;
use crate::effect::{Effect, Outcome};
use crate::log::{Level, Line};
use crate::metrics::Measure;
use crate::recorder::EventSpec;
use crate::step::{Act, Done, Note, Step, Then};
use crate::world::{World, instance_id, provider_id};
use api::NodeClaim;
use cloud::port::{Message, ReservationChange};
use cluster::Kind as ObjectKind;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vocabulary::{CapacityType, labels};

const CONTROLLER: &str = "interruption";

/// What a message is about, by upstream's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    SpotInterrupted,
    RebalanceRecommendation,
    InstanceStopped,
    InstanceTerminated,
    CapacityReservationInterrupted,
    ScheduledChange,
    /// What EC2 says when it is asked for the status of its machines.
    InstanceStatus,
    SystemStatus,
    EventStatus,
    NoOp,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::SpotInterrupted => "spot_interrupted",
            Kind::RebalanceRecommendation => "rebalance_recommendation",
            Kind::InstanceStopped => "instance_stopped",
            Kind::InstanceTerminated => "instance_terminated",
            Kind::CapacityReservationInterrupted => "capacity_reservation_interrupted",
            Kind::ScheduledChange => "scheduled_change",
            Kind::InstanceStatus => "instance_status",
            Kind::SystemStatus => "system_status",
            Kind::EventStatus => "event_status",
            Kind::NoOp => "no_op",
        }
    }

    /// Reason and message of the Event, and whether it is a warning.
    pub(super) fn event(self) -> Option<(&'static str, &'static str, bool)> {
        Some(match self {
            Kind::SpotInterrupted => ("SpotInterrupted", "Spot interruption warning was triggered", true),
            Kind::RebalanceRecommendation => ("SpotRebalanceRecommendation", "Spot rebalance recommendation was triggered", false),
            Kind::InstanceStopped => ("InstanceStopping", "Instance is stopping", true),
            Kind::InstanceTerminated => ("InstanceTerminating", "Instance is terminating", true),
            Kind::CapacityReservationInterrupted => {
                ("CapacityReservationInstanceInterrupted", "Capacity Reservation interruption warning was triggered", true)
            }
            Kind::ScheduledChange | Kind::InstanceStatus | Kind::SystemStatus | Kind::EventStatus => {
                ("InstanceUnhealthy", "An unhealthy warning was triggered for the instance", true)
            }
            Kind::NoOp => return None,
        })
    }

    /// The machine is broken: nothing can be drained.
    pub(super) fn is_forceful(self) -> bool {
        matches!(self, Kind::InstanceStatus | Kind::SystemStatus)
    }

    fn deletes(self) -> bool {
        !matches!(self, Kind::RebalanceRecommendation | Kind::NoOp)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub kind: Kind,
    pub instances: Vec<String>,
    /// When what it tells happened, as the message says.
    pub time: Option<Timestamp>,
}

/// The envelope of EventBridge. Fields that are absent or null count as empty, as Go reads them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Envelope {
    version: Option<String>,
    source: Option<String>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    /// A time which is none is an error, as upstream has it.
    time: Option<Timestamp>,
    detail: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InstanceDetail {
    #[serde(rename = "instance-id")]
    instance_id: Option<String>,
    state: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HealthDetail {
    service: Option<String>,
    #[serde(rename = "eventTypeCategory")]
    category: Option<String>,
    #[serde(rename = "affectedEntities")]
    entities: Option<Vec<Entity>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entity {
    #[serde(rename = "entityValue")]
    value: Option<String>,
}

/// A JSON object as a struct. (A list would be taken as the fields in their order.)
fn object<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, String> {
    if !value.is_object() {
        return Err(format!("cannot unmarshal {value} into an object"));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// Reads a message's body. What is none of ours is no error and does nothing.
pub fn parse(body: &str) -> Result<Read, String> {
    let nothing = Read { kind: Kind::NoOp, instances: Vec::new(), time: None };
    if body.is_empty() {
        return Ok(nothing);
    }
    // Through a value: of a key that stands twice the last counts.
    let value: serde_json::Value = serde_json::from_str(body).map_err(|e| format!("unmarshalling the message as Metadata, {e}"))?;
    if value.is_null() {
        return Ok(nothing);
    }
    let envelope: Envelope = object(value).map_err(|e| format!("unmarshalling the message as Metadata, {e}"))?;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let name = (text(&envelope.version), text(&envelope.source), text(&envelope.detail_type));
    let kind = match (name.0.as_str(), name.1.as_str(), name.2.as_str()) {
        ("0", "aws.ec2", "EC2 Spot Instance Interruption Warning") => Kind::SpotInterrupted,
        ("0", "aws.ec2", "EC2 Instance Rebalance Recommendation") => Kind::RebalanceRecommendation,
        ("0", "aws.ec2", "EC2 Instance State-change Notification") => Kind::InstanceTerminated,
        ("0", "aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning") => Kind::CapacityReservationInterrupted,
        ("0", "aws.health", "AWS Health Event") => Kind::ScheduledChange,
        _ => return Ok(Read { time: envelope.time, ..nothing }),
    };
    let time = envelope.time;
    let detail = envelope.detail.unwrap_or_else(|| serde_json::json!({}));
    let wrong = |e: String| format!("parsing event message, {e}");
    if kind == Kind::ScheduledChange {
        let health: HealthDetail = object(detail).map_err(wrong)?;
        if health.service.as_deref() != Some("EC2") || health.category.as_deref() != Some("scheduledChange") {
            return Ok(nothing);
        }
        let instances = health.entities.unwrap_or_default().into_iter().filter_map(|entity| entity.value).collect();
        return Ok(Read { kind, instances, time });
    }
    let instance: InstanceDetail = object(detail).map_err(wrong)?;
    let instances = vec![text(&instance.instance_id)];
    if kind != Kind::InstanceTerminated {
        return Ok(Read { kind, instances, time });
    }
    let state = text(&instance.state);
    // Accepted whatever its letters' case, told apart by the letters as they are: so upstream does.
    Ok(match (state.to_ascii_lowercase().as_str(), state.as_str()) {
        (_, "stopping" | "stopped") => Read { kind: Kind::InstanceStopped, instances, time },
        ("stopping" | "stopped" | "shutting-down" | "terminated", _) => Read { kind, instances, time },
        _ => nothing,
    })
}

/// Receives, acts, deletes, and receives again at once.
pub fn decide(world: &World, done: &[Done], now: Timestamp) -> Step {
    let received = done.iter().find_map(|d| match (&*d.effect, &d.outcome) {
        (Effect::ReceiveMessages, Ok(Outcome::Messages(messages))) => Some(messages),
        _ => None,
    });
    let Some(messages) = received else { return Step::act(Effect::ReceiveMessages) };
    let deleted = done.iter().any(|d| matches!(&*d.effect, Effect::DeleteMessage { .. }));
    let again = Step { then: Then::After { wait: SignedDuration::ZERO, why: None }, ..Step::default() };
    if messages.is_empty() {
        return again;
    }
    let failures: BTreeMap<&str, String> = done
        .iter()
        .filter_map(|d| match (&*d.effect, &d.outcome) {
            (Effect::Delete { target, .. }, Err(error)) if !error.is_not_found() => Some((&*target.key.name, error.to_string())),
            (Effect::DeleteMessage { receipt }, Err(error)) => Some((receipt.as_str(), error.to_string())),
            _ => None,
        })
        .collect();
    if deleted {
        return failures.values().next().map_or(again, |error| Step::retry(format!("deleting sqs message, {error}")));
    }
    let mut step = Step::default();
    if done.len() == 1 {
        let mut claims = BTreeSet::new();
        for message in messages {
            act(world, message, &mut claims, &mut step, now);
        }
        if !step.acts.is_empty() {
            return step;
        }
    }
    // What was acted on is deleted; what failed comes again when its time of being invisible is over.
    let handled = messages.iter().filter(|message| !concerns(world, message).iter().any(|claim| failures.contains_key(claim.as_str())));
    step.acts.extend(handled.map(|m| Act::from(Effect::DeleteMessage { receipt: m.receipt.clone() }).tolerant()));
    if step.acts.is_empty() {
        let error = failures.values().next().cloned().unwrap_or_default();
        return Step::retry(format!("handling message, acting on NodeClaims, {error}"));
    }
    step
}

/// Names of the NodeClaims that the message is about.
fn concerns(world: &World, message: &Message) -> Vec<String> {
    let instances = parse(&message.body).map(|read| read.instances).unwrap_or_default();
    instances.iter().flat_map(|id| claims_of(world, id)).map(|claim| claim.name_any()).collect()
}

pub(super) fn claims_of<'a>(world: &'a World, id: &'a str) -> impl Iterator<Item = &'a Arc<NodeClaim>> {
    world.index.claims().filter(move |claim| !id.is_empty() && provider_id(claim).and_then(instance_id) == Some(id))
}

pub(super) fn node_of<'a>(world: &'a World, id: &str) -> Option<&'a Arc<Node>> {
    world.index.nodes().find(|node| node.spec.as_ref().and_then(|s| s.provider_id.as_deref()).and_then(instance_id) == Some(id))
}

fn act(world: &World, message: &Message, seen: &mut BTreeSet<String>, step: &mut Step, now: Timestamp) {
    let read = match parse(&message.body) {
        Ok(read) => read,
        Err(error) => {
            let error = format!("parsing sqs message, {error}");
            let queue = world.settings.interruption_queue.as_deref().unwrap_or_default();
            step.notes.push(Line::error(CONTROLLER, "failed parsing interruption message", error).with("queue", queue).into());
            return;
        }
    };
    step.notes.push(Measure::received(read.kind.as_str()).into());
    step.notes.extend(read.time.map(|time| Measure::message_latency(now.duration_since(time)).into()));
    let Some((reason, text, warning)) = read.kind.event() else { return };
    let queue = world.settings.interruption_queue.as_deref();
    for id in &read.instances {
        let node = node_of(world, id);
        for claim in claims_of(world, id) {
            step.notes.push(EventSpec::new(&**claim, warning, reason, text).into());
            step.notes.extend(node.map(|node| EventSpec::new(&**node, warning, reason, text).into()));
            if read.kind == Kind::SpotInterrupted
                && let (Some(zone), Some(name)) = (claim.labels().get(labels::ZONE), claim.labels().get(labels::INSTANCE_TYPE))
            {
                let line = about(CONTROLLER, "removing offering from offerings", queue, claim, node, read.kind);
                let line = line.with("reason", read.kind.as_str()).with("instance-type", name.as_str()).with("zone", zone.as_str());
                let line = line.with("capacity-type", CapacityType::Spot.as_str()).with("ttl", "3m0s");
                step.notes.push(Line { level: Level::Debug, ..line }.into());
                step.notes.push(Note::Unavailable { instance_type: name.clone(), zone: zone.clone(), capacity_type: CapacityType::Spot });
            }
            if read.kind == Kind::CapacityReservationInterrupted
                && let Some(id) = claim.labels().get(labels::CAPACITY_RESERVATION_ID)
            {
                step.notes.push(Note::Reservation(id.clone(), ReservationChange::Exhausted));
            }
            // Two messages about one machine delete it once.
            if read.kind.deletes() && claim.metadata.deletion_timestamp.is_none() && seen.insert(claim.name_any()) {
                step.acts.push(deletion(CONTROLLER, queue, claim, node, read.kind));
            }
        }
    }
}

/// A line about a message and one of the machines that it names.
fn about(controller: &'static str, message: &str, queue: Option<&str>, claim: &NodeClaim, node: Option<&Arc<Node>>, kind: Kind) -> Line {
    let line = Line::info(controller, message)
        .with("messageKind", kind.as_str())
        .object("NodeClaim", "", &claim.name_any())
        .with("action", if kind.is_forceful() { "ForcefulTermination" } else { "CordonAndDrain" });
    let line = node.map_or(line.clone(), |node| line.object("Node", "", &node.name_any()));
    queue.map_or(line.clone(), |queue| line.with("queue", queue))
}

/// `queue` is the one that the message came from, if it came from one.
pub(super) fn deletion(controller: &'static str, queue: Option<&str>, claim: &Arc<NodeClaim>, node: Option<&Arc<Node>>, kind: Kind) -> Act {
    const REASON: &str = "TerminatingOnInterruption";
    let line = about(controller, "initiating delete from interruption message", queue, claim, node, kind);
    let act = delete(ObjectKind::NodeClaim, &**claim).tolerant().then(line).then(Measure::disrupted(claim, kind.as_str()));
    let act = act.then(EventSpec::new(&**claim, true, REASON, "Interruption triggered termination for the NodeClaim"));
    match node {
        Some(node) => act.then(EventSpec::new(&**node, true, REASON, "Interruption triggered termination for the Node")),
        None => act,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    fn event(source: &str, detail_type: &str, detail: serde_json::Value) -> String {
        json!({"version": "0", "id": "x", "source": source, "detail-type": detail_type, "account": "1", "region": "us-west-2",
            "time": "2026-01-01T00:00:00Z", "resources": [], "detail": detail})
        .to_string()
    }

    const STATE: &str = "EC2 Instance State-change Notification";

    #[rstest]
    #[case::spot("aws.ec2", "EC2 Spot Instance Interruption Warning", json!({"instance-id": "i-1", "instance-action": "terminate"}), Kind::SpotInterrupted, &["i-1"])]
    #[case::rebalance("aws.ec2", "EC2 Instance Rebalance Recommendation", json!({"instance-id": "i-1"}), Kind::RebalanceRecommendation, &["i-1"])]
    #[case::stopping("aws.ec2", STATE, json!({"instance-id": "i-1", "state": "stopping"}), Kind::InstanceStopped, &["i-1"])]
    #[case::terminated("aws.ec2", STATE, json!({"instance-id": "i-1", "state": "terminated"}), Kind::InstanceTerminated, &["i-1"])]
    #[case::stopping_in_capitals("aws.ec2", STATE, json!({"instance-id": "i-1", "state": "STOPPING"}), Kind::InstanceTerminated, &["i-1"])]
    #[case::running("aws.ec2", STATE, json!({"instance-id": "i-1", "state": "running"}), Kind::NoOp, &[])]
    #[case::maintenance("aws.health", "AWS Health Event", json!({"service": "EC2", "eventTypeCategory": "scheduledChange", "affectedEntities": [{"entityValue": "i-1"}, {"entityValue": "i-2"}]}), Kind::ScheduledChange, &["i-1", "i-2"])]
    #[case::health_of_another_service("aws.health", "AWS Health Event", json!({"service": "RDS", "eventTypeCategory": "scheduledChange"}), Kind::NoOp, &[])]
    #[case::foreign("aws.s3", "Object Created", json!({"bucket": "b"}), Kind::NoOp, &[])]
    fn messages(#[case] source: &str, #[case] name: &str, #[case] detail: serde_json::Value, #[case] kind: Kind, #[case] ids: &[&str]) {
        let read = parse(&event(source, name, detail)).expect("a message");
        assert_eq!((read.kind, read.instances), (kind, ids.iter().map(|id| (*id).to_owned()).collect()));
    }

    #[rstest]
    #[case::empty("", true)]
    #[case::null("null", true)]
    #[case::no_json("{", false)]
    #[case::a_list("[]", false)]
    #[case::a_number_as_source(r#"{"version": "0", "source": 7}"#, false)]
    #[case::no_time(r#"{"time": "yesterday"}"#, false)]
    #[case::detail_of_another_shape(
        r#"{"version": "0", "source": "aws.ec2", "detail-type": "EC2 Instance Rebalance Recommendation", "detail": []}"#,
        false
    )]
    fn odd_bodies(#[case] body: &str, #[case] readable: bool) {
        assert_eq!(parse(body).is_ok(), readable);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in ".*") {
            let _ = parse(&body);
        }
    }
}
