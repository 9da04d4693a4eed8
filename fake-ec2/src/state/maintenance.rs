//! Scheduled events: what EC2 announces of a machine, and does at the time.
//!
//! Source: EC2 user guide, "Scheduled events for your instances"; API reference, `InstanceStatusEvent`; AWS Health user guide,
//! "EventBridge event schema" and its EC2 example.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::agenda::Due;
use super::lifecycle::{SCHEDULED_STOP, later};
use super::machine::Phase;
use super::{Market, World, account, bus};

/// From the announcement to the event, unless something else is said.
pub const MAINTENANCE_NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How long an event that is over is still described. Source: API reference, `InstanceStatusEvent`, Description.
const SHOWN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The code of a scheduled event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maintenance {
    /// The machine is stopped, or ends if it cannot be.
    #[default]
    InstanceRetirement,
    /// The machine is stopped; started again, it is on another host.
    InstanceStop,
    InstanceReboot,
    /// Its host is rebooted.
    SystemReboot,
    /// Network or power.
    SystemMaintenance,
}

impl Maintenance {
    pub const ALL: [Self; 5] =
        [Self::InstanceRetirement, Self::InstanceStop, Self::InstanceReboot, Self::SystemReboot, Self::SystemMaintenance];

    /// EC2's code.
    pub fn code(self) -> &'static str {
        match self {
            Self::InstanceRetirement => "instance-retirement",
            Self::InstanceStop => "instance-stop",
            Self::InstanceReboot => "instance-reboot",
            Self::SystemReboot => "system-reboot",
            Self::SystemMaintenance => "system-maintenance",
        }
    }

    /// AWS Health's type of event. Source: AWS Health API, DescribeEventTypes of EC2.
    fn health(self) -> &'static str {
        match self {
            Self::InstanceRetirement => "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
            Self::InstanceStop => "AWS_EC2_INSTANCE_STOP_SCHEDULED",
            Self::InstanceReboot => "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED",
            Self::SystemReboot => "AWS_EC2_SYSTEM_REBOOT_MAINTENANCE_SCHEDULED",
            Self::SystemMaintenance => "AWS_EC2_INSTANCE_NETWORK_MAINTENANCE_SCHEDULED",
        }
    }

    /// Only the first is in the user guide's examples.
    fn words(self) -> &'static str {
        match self {
            Self::InstanceRetirement | Self::InstanceStop => "The instance is running on degraded hardware",
            Self::InstanceReboot => "The instance is scheduled for a reboot",
            Self::SystemReboot => "The host of the instance is scheduled for a reboot",
            Self::SystemMaintenance => "The host of the instance is scheduled for maintenance",
        }
    }

    fn ends_it(self) -> bool {
        matches!(self, Self::InstanceRetirement | Self::InstanceStop)
    }
}

impl std::str::FromStr for Maintenance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|event| event.code() == text);
        found.ok_or_else(|| format!("write {}", Self::ALL.map(Self::code).join(", ")))
    }
}

/// An event of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// By which it is known as long as it is shown.
    pub number: u64,
    pub event: Maintenance,
    pub not_before: Timestamp,
    pub over: bool,
}

impl Scheduled {
    pub fn description(&self) -> String {
        format!("{}{}", if self.over { "[Completed] " } else { "" }, self.event.words())
    }

    pub fn is_shown(&self, now: Timestamp) -> bool {
        !self.over || now < later(self.not_before, SHOWN)
    }
}

impl World<'_> {
    /// Announces an event through AWS Health and in the machine's status.
    pub(super) fn schedule(&mut self, id: &str, event: Maintenance, notice: SignedDuration) {
        let code = event.health();
        let number = self.account.entropy.draw("health-event");
        let start = later(self.now, notice);
        let spoken = |at: Timestamp| at.strftime("%a, %-d %b %Y %H:%M:%S GMT").to_string();
        let Some(instance) = self.region.instances.get_mut(id) else { return };
        instance.events.retain(|event| event.is_shown(self.now));
        instance.events.push(Scheduled { number, event, not_before: start, over: false });
        let partition = account::partition(&self.region.name);
        let detail = json!({
            "eventArn": format!("arn:{partition}:health:{}::event/EC2/{code}/{code}_{number:016x}", self.region.name),
            "service": "EC2",
            "eventTypeCode": code,
            "eventTypeCategory": "scheduledChange",
            "eventScopeCode": "ACCOUNT_SPECIFIC",
            "communicationId": format!("{number:016x}"),
            "startTime": spoken(start),
            "lastUpdatedTime": spoken(self.now),
            "statusCode": "upcoming",
            "eventRegion": self.region.name,
            "eventDescription": [{"language": "en_US", "latestDescription": format!("{}.", event.words())}],
            "affectedEntities": [{"entityValue": id, "status": "PENDING", "lastUpdatedTime": spoken(self.now), "tags": instance.tags}],
            "affectedAccount": self.account.id,
            "page": "1",
            "totalPages": "1",
        });
        bus::emit(self, "aws.health", "AWS Health Event", vec![id.to_owned()], detail);
        self.account.agenda.add(start, Due::Maintenance { region: self.region.name.clone(), id: id.to_owned() });
    }

    /// The time of an event has come: what is due and not over takes place if the machine still runs, and comes to nothing if it does
    /// not. A reboot is over before anybody can look.
    pub(super) fn maintain(&mut self, id: &str) {
        let now = self.now;
        let Some(instance) = self.region.instances.get_mut(id) else { return };
        let due = |event: &Scheduled| !event.over && event.not_before <= now;
        if !matches!(instance.phase, Phase::Pending | Phase::Running) {
            instance.events.retain(|event| !due(event));
            return;
        }
        let mut ends = false;
        for event in instance.events.iter_mut().filter(|event| due(event)) {
            event.over = true;
            ends |= event.event.ends_it();
        }
        // A machine of a one-time Spot request cannot be stopped.
        match (ends, instance.market) {
            (true, Market::Spot) => self.terminate(id, SCHEDULED_STOP),
            (true, Market::OnDemand) => self.stop_for(id, SCHEDULED_STOP),
            (false, _) => {}
        }
    }
}
