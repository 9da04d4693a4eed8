//! What befalls an account by nobody's request: Spot interruptions, machines that vanish, scheduled maintenance, stray messages.
//!
//! An [`Incident`] is a value; [`State::befall`] checks it whole before it does any of it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::agenda::Due;
use super::image;
use super::instance::{Check, Instance};
use super::lifecycle::{BY_USER_TERMINATE, HARDWARE_FAILURE, SPOT_TERMINATION, later};
use super::machine::Phase;
use super::maintenance::{MAINTENANCE_NOTICE, Maintenance};
use super::market::Market;
use super::rules::Effect;
use super::{State, World, bus};

/// How long before its end a Spot instance is warned. Source: EC2 user guide, "Spot Instance interruption notices".
pub const SPOT_NOTICE: SignedDuration = SignedDuration::from_mins(2);

/// Something that happens. Instances are named by id, whatever their region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Incident {
    /// EC2 takes Spot instances back: the warning now, the end after the notice.
    SpotInterruption {
        instances: Vec<String>,
        #[serde(default = "two_minutes")]
        notice: SignedDuration,
    },
    /// EC2 says that Spot instances are at risk, and does nothing more.
    RebalanceRecommendation { instances: Vec<String> },
    /// Instances end at once.
    Vanish { instances: Vec<String>, cause: Cause },
    /// AWS Health announces what will be done to instances after the notice: a retirement two weeks from now, unless told otherwise.
    ScheduledChange {
        instances: Vec<String>,
        #[serde(default)]
        event: Maintenance,
        #[serde(default = "two_weeks")]
        notice: SignedDuration,
    },
    /// A status check of instances fails from now on.
    Impair { instances: Vec<String>, check: Check },
    /// AWS publishes new images in the home region, and its public parameters point to them.
    ImageRelease,
    /// A message comes into a queue of the home region from nowhere.
    Message { queue: String, body: Body },
}

/// What befalls one machine. By a rule it does so some time after the machine's launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fate {
    /// See [`Incident::SpotInterruption`].
    SpotInterruption {
        #[serde(default = "two_minutes")]
        notice: SignedDuration,
    },
    RebalanceRecommendation,
    Vanish {
        #[serde(default)]
        cause: Cause,
    },
    ScheduledChange {
        #[serde(default)]
        event: Maintenance,
        #[serde(default = "two_weeks")]
        notice: SignedDuration,
    },
    Impair {
        check: Check,
    },
}

impl Fate {
    /// Whether EC2 does this to Spot instances only.
    pub(crate) fn of_spot(self) -> bool {
        matches!(self, Self::SpotInterruption { .. } | Self::RebalanceRecommendation)
    }
}

/// Who ended an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Somebody with the account's console.
    #[default]
    Terminated,
    /// The host broke.
    HardwareFailure,
}

/// What a stray message holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    Text(String),
    /// The last message that came into the queue once more, as standard queues may deliver it.
    DuplicateOfLast,
    /// An event in EventBridge's form that is about none of this account's instances.
    Foreign,
}

/// Why something cannot happen. Then nothing of it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IncidentError {
    #[error("no instances are named")]
    Nobody,
    #[error("there is no instance {0}")]
    NoInstance(String),
    #[error("instance {0} is on-demand: EC2 warns and takes back Spot instances only")]
    NotSpot(String),
    #[error("instance {id} is {state} already")]
    Ended { id: String, state: &'static str },
    #[error("Spot instance {0} has its interruption warning already")]
    Warned(String),
    #[error("there is no queue {0}")]
    NoQueue(String),
    #[error("no message has ever come into queue {0}")]
    NothingSent(String),
}

fn two_minutes() -> SignedDuration {
    SPOT_NOTICE
}

fn two_weeks() -> SignedDuration {
    MAINTENANCE_NOTICE
}

impl State {
    /// Lets something happen, or says why it cannot.
    pub fn befall(&mut self, now: Timestamp, incident: &Incident) -> Result<(), IncidentError> {
        self.advance(now);
        match incident {
            Incident::SpotInterruption { instances, notice } => {
                self.check(instances, true)?;
                if let Some(id) = instances.iter().find(|id| self.instance(id).is_some_and(|instance| instance.interrupted.is_some())) {
                    return Err(IncidentError::Warned(id.clone()));
                }
                self.each(now, instances, Fate::SpotInterruption { notice: *notice });
            }
            Incident::RebalanceRecommendation { instances } => {
                self.check(instances, true)?;
                self.each(now, instances, Fate::RebalanceRecommendation);
            }
            Incident::Vanish { instances, cause } => {
                self.check(instances, false)?;
                self.each(now, instances, Fate::Vanish { cause: *cause });
            }
            Incident::ScheduledChange { instances, event, notice } => {
                self.check(instances, false)?;
                self.each(now, instances, Fate::ScheduledChange { event: *event, notice: *notice });
            }
            Incident::Impair { instances, check } => {
                self.check(instances, false)?;
                self.each(now, instances, Fate::Impair { check: *check });
            }
            Incident::ImageRelease => {
                let home = self.account.home.clone();
                if let Some(world) = self.world(now, &home) {
                    image::release(world.region, now);
                }
            }
            Incident::Message { queue, body } => self.stray(now, queue, body)?,
        }
        Ok(())
    }

    fn region_of(&self, id: &str) -> Option<String> {
        self.regions.values().find(|region| region.instances.contains_key(id)).map(|region| region.name.clone())
    }

    fn instance(&self, id: &str) -> Option<&Instance> {
        self.regions.values().find_map(|region| region.instances.get(id))
    }

    fn check(&self, ids: &[String], spot_only: bool) -> Result<(), IncidentError> {
        if ids.is_empty() {
            return Err(IncidentError::Nobody);
        }
        for id in ids {
            let instance = self.instance(id).ok_or_else(|| IncidentError::NoInstance(id.clone()))?;
            if spot_only && instance.market != Market::Spot {
                return Err(IncidentError::NotSpot(id.clone()));
            }
            if matches!(instance.phase, Phase::ShuttingDown | Phase::Terminated) {
                return Err(IncidentError::Ended { id: id.clone(), state: instance.phase.name() });
            }
        }
        Ok(())
    }

    fn each(&mut self, now: Timestamp, ids: &[String], fate: Fate) {
        for id in ids {
            if let Some(region) = self.region_of(id)
                && let Some(mut world) = self.world(now, &region)
            {
                world.suffer(id, fate);
            }
        }
    }

    fn stray(&mut self, now: Timestamp, name: &str, body: &Body) -> Result<(), IncidentError> {
        let home = self.account.home.clone();
        let Some(world) = self.world(now, &home) else { return Err(IncidentError::NoQueue(name.to_owned())) };
        let foreign = foreign(&world);
        let queue = world.region.queues.get_mut(name).ok_or_else(|| IncidentError::NoQueue(name.to_owned()))?;
        match body {
            Body::DuplicateOfLast => {
                let (id, body) = queue.last().cloned().ok_or_else(|| IncidentError::NothingSent(name.to_owned()))?;
                queue.send(now, id, body, None, SignedDuration::ZERO);
            }
            Body::Text(text) => {
                let id = world.account.entropy.uuid("message");
                queue.send(now, id, text.clone(), None, SignedDuration::ZERO);
            }
            Body::Foreign => {
                let id = world.account.entropy.uuid("message");
                queue.send(now, id, foreign.to_string(), None, SignedDuration::ZERO);
            }
        }
        // Whoever waits at the queue is asked again.
        world.account.agenda.add(now, Due::Visible { region: home });
        Ok(())
    }
}

impl World<'_> {
    /// Something befalls an instance that is there.
    fn suffer(&mut self, id: &str, fate: Fate) {
        match fate {
            Fate::SpotInterruption { notice } => self.interrupt(id, notice),
            Fate::RebalanceRecommendation => {
                let arn = self.account.arn("ec2", &self.region.name, &format!("instance/{id}"));
                bus::emit(self, "aws.ec2", "EC2 Instance Rebalance Recommendation", vec![arn], json!({"instance-id": id}));
            }
            Fate::Vanish { cause: Cause::Terminated } => self.terminate(id, BY_USER_TERMINATE),
            Fate::Vanish { cause: Cause::HardwareFailure } => self.terminate(id, HARDWARE_FAILURE),
            Fate::ScheduledChange { event, notice } => self.schedule(id, event, notice),
            Fate::Impair { check } => {
                let now = self.now;
                if let Some(instance) = self.region.instances.get_mut(id)
                    && !instance.impaired.iter().any(|(known, _)| *known == check)
                {
                    instance.impaired.push((check, now));
                }
            }
        }
    }

    /// An instance runs for the first time: what rules have in store for it is drawn.
    pub(super) fn draw_fates(&mut self, id: &str) {
        let Some(instance) = self.region.instances.get(id) else { return };
        let now = self.now;
        let mut drawn = Vec::new();
        for active in self.account.rules.iter_mut().filter(|active| active.in_force(now)) {
            let Effect::Fate { fate, machines, after, permille } = &active.rule.effect else { continue };
            if !machines.mean(instance) || (fate.of_spot() && instance.market != Market::Spot) {
                continue;
            }
            active.met += 1;
            if permille.is_none_or(|permille| self.account.entropy.draw("fate-chance") % 1000 < permille) {
                drawn.push((active.rule.name.clone(), *fate, self.account.entropy.delay("fate", *after)));
            }
        }
        for (rule, fate, after) in drawn {
            let due = Due::Fate { region: self.region.name.clone(), id: id.to_owned(), rule, fate };
            self.account.agenda.add(later(now, after), due);
        }
    }

    /// What a rule had in store comes, if the rule is still in force and there is still somebody to suffer it.
    pub(super) fn meet_fate(&mut self, id: &str, rule: &str, fate: Fate) {
        let now = self.now;
        let Some(instance) = self.region.instances.get(id) else { return };
        let warned = matches!(fate, Fate::SpotInterruption { .. }) && instance.interrupted.is_some();
        if warned || matches!(instance.phase, Phase::ShuttingDown | Phase::Terminated) {
            return;
        }
        let Some(active) = self.account.rules.iter_mut().find(|active| active.rule.name == rule && active.in_force(now)) else { return };
        active.hits += 1;
        self.suffer(id, fate);
    }

    /// Warns of a Spot instance's end, which comes after the notice unless the instance ends before.
    pub(super) fn interrupt(&mut self, id: &str, notice: SignedDuration) {
        let Some(instance) = self.region.instances.get_mut(id) else { return };
        instance.interrupted = Some(self.now);
        // The one ARN of EC2 with a zone in it and no account. Source: EC2 user guide, "Spot Instance interruption notices".
        let arn = format!("arn:{}:ec2:{}:instance/{id}", super::account::partition(&self.region.name), instance.zone.name);
        let detail = json!({"instance-id": id, "instance-action": "terminate"});
        bus::emit(self, "aws.ec2", "EC2 Spot Instance Interruption Warning", vec![arn], detail);
        let due = Due::TakeBack { region: self.region.name.clone(), id: id.to_owned() };
        self.account.agenda.add(later(self.now, notice), due);
    }

    /// The notice is over.
    pub(super) fn take_back(&mut self, id: &str) {
        self.terminate(id, SPOT_TERMINATION);
    }
}

/// A bucket's event that a rule too wide has let through.
fn foreign(world: &World<'_>) -> Value {
    json!({
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": world.account.id,
        "time": world.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "region": world.region.name,
        "resources": ["arn:aws:s3:::a-bucket"],
        "detail": {"version": "0", "bucket": {"name": "a-bucket"}, "object": {"key": "a-key", "size": 5}, "reason": "PutObject"},
    })
}
