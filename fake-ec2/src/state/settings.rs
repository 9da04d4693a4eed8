//! What a world is made from, as plain data.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::iam::IamMode;
use super::market::Market;
use super::rules::{Bucket, Rule};
use crate::catalogue::MicroUsd;

/// How this account's cloud differs from the plain catalogue. `Default` is a fresh account with unlimited capacity and no faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Zones of the home region that the account sees, by name (`us-west-2a`); empty means all of them.
    pub zones: Vec<String>,
    /// From launch (or start) to `running`.
    pub pending: Delay,
    /// From TerminateInstances to `terminated`.
    pub shutting_down: Delay,
    /// From StopInstances to `stopped`.
    pub stopping: Delay,
    /// How long a terminated instance is still described. EC2 user guide: "usually less than one hour".
    pub terminated_visible: SignedDuration,
    /// From an instance's change of state to the event's arrival at the rule's target.
    pub event_delivery: Delay,
    /// From EKS CreateCluster to `ACTIVE`.
    pub cluster_creation: Delay,
    /// On-demand prices that replace the catalogue's.
    pub on_demand_prices: Vec<OnDemandPrice>,
    /// Spot prices that replace the derived ones.
    pub spot_prices: Vec<SpotPrice>,
    /// How the other Spot prices move.
    pub spot: super::spot::SpotMarket,
    /// Types on offer in the home region; `None` means the catalogue's.
    pub offered_types: Option<Vec<String>>,
    /// Zones of the home region that offer a type, in place of those of the catalogue; a type that is not here is where the catalogue has it.
    pub offered_zones: BTreeMap<String, Vec<String>>,
    /// What the home region offers, by type; `None` means the catalogue's.
    pub offerings: Option<BTreeMap<String, Offered>>,
    /// How many instances a pool can hold; the last entry that matches decides, none means unlimited.
    pub capacity: Vec<Capacity>,
    /// How long replies take; the last entry that matches decides.
    pub latency: Vec<Latency>,
    /// Token buckets, none by default.
    pub buckets: Vec<Bucket>,
    /// Faults that are in force from the start.
    pub rules: Vec<Rule>,
    /// What GetConsoleOutput shows until the machine's own log is set; none means the log of a boot that went well.
    pub boot_log: Option<String>,
    /// Whether policies decide.
    pub iam: IamMode,
    /// Service control policies over the account, as documents; none means that everything is allowed.
    pub service_control_policies: Vec<String>,
    /// How long it takes until others know what IAM was told.
    pub iam_propagation: Propagation,
    /// vCPUs that may run at once, by class and market; none by default.
    pub quotas: Vec<Quota>,
    /// How long EC2 needs until it knows what it was just told.
    pub consistency: Consistency,
    /// Scheme and authority of the queue URLs handed out (`http://127.0.0.1:4566`); `None` means AWS's own.
    pub queue_url_base: Option<String>,
    /// Scheme and authority of the endpoint of clusters that furnish none (`https://127.0.0.1:6443`); `None` means EKS's form.
    pub cluster_endpoint: Option<String>,
}

/// A delay, drawn evenly from `[least, most]` of a named stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    pub least: SignedDuration,
    pub most: SignedDuration,
}

impl Delay {
    pub const ZERO: Self = Self::fixed(SignedDuration::ZERO);

    pub const fn fixed(delay: SignedDuration) -> Self {
        Self { least: delay, most: delay }
    }

    pub const fn millis(least: i64, most: i64) -> Self {
        Self { least: SignedDuration::from_millis(least), most: SignedDuration::from_millis(most) }
    }
}

/// An on-demand price per hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnDemandPrice {
    /// `None` means the home region.
    #[serde(default)]
    pub region: Option<String>,
    pub instance_type: String,
    #[serde(with = "micro_usd")]
    pub per_hour: MicroUsd,
}

/// A Spot price per hour; `zone` `None` means every zone of the home region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpotPrice {
    pub instance_type: String,
    #[serde(default)]
    pub zone: Option<String>,
    #[serde(with = "micro_usd")]
    pub per_hour: MicroUsd,
}

/// Where a type is on offer, and at which prices per hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offered {
    /// By name.
    pub zones: Vec<String>,
    pub on_demand: Option<MicroUsd>,
    /// By zone.
    pub spot: BTreeMap<String, MicroUsd>,
}

/// How many instances a pool holds. A field that is `None` matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    #[serde(default)]
    pub instance_type: Option<String>,
    #[serde(default)]
    pub zone: Option<String>,
    #[serde(default)]
    pub market: Option<Market>,
    /// Instances per pool (type, zone, market); `None` means unlimited.
    pub instances: Option<u64>,
}

/// A quota on vCPUs. Source: EC2 user guide, "Amazon EC2 instance type quotas".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// `standard`, `g`, `p`, `inf`, `trn`, `x`, `f`, `dl`, `hpc`, `high-memory`, `mac`.
    pub class: String,
    pub market: Market,
    pub vcpus: u64,
}

/// How long what was made is not found yet. Source: EC2 developer guide, "Ensuring idempotency" and "Eventual consistency".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consistency {
    pub instances: Delay,
    pub launch_templates: Delay,
    pub security_groups: Delay,
    pub subnets: Delay,
}

impl Default for Consistency {
    fn default() -> Self {
        Self { instances: Delay::ZERO, launch_templates: Delay::ZERO, security_groups: Delay::ZERO, subnets: Delay::ZERO }
    }
}

/// How long it takes until others know what IAM was told. Source: IAM user guide, "Troubleshoot IAM: changes that I make are not always
/// immediately visible".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Propagation {
    /// From a change of an instance profile to EC2's knowing of it.
    pub profiles: Delay,
    /// From a change of a user, a role, its trust or a policy to the first decision that goes by it.
    pub policies: Delay,
}

impl Default for Propagation {
    fn default() -> Self {
        Self { profiles: Delay::ZERO, policies: Delay::ZERO }
    }
}

/// How long replies of operations take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// An operation's name, or a prefix with `*` (`Describe*`).
    pub operation: String,
    pub delay: Delay,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            zones: Vec::new(),
            pending: Delay::millis(2_000, 8_000),
            shutting_down: Delay::millis(20_000, 40_000),
            stopping: Delay::millis(15_000, 30_000),
            terminated_visible: SignedDuration::from_hours(1),
            event_delivery: Delay::millis(300, 1_500),
            cluster_creation: Delay::millis(5_000, 10_000),
            on_demand_prices: Vec::new(),
            spot_prices: Vec::new(),
            spot: super::spot::SpotMarket::default(),
            offered_types: None,
            offered_zones: BTreeMap::new(),
            offerings: None,
            capacity: Vec::new(),
            latency: Vec::new(),
            buckets: Vec::new(),
            rules: Vec::new(),
            boot_log: None,
            iam: IamMode::Off,
            service_control_policies: Vec::new(),
            iam_propagation: Propagation::default(),
            quotas: Vec::new(),
            consistency: Consistency::default(),
            queue_url_base: None,
            cluster_endpoint: None,
        }
    }
}

/// Dollars as decimal text (`"0.096"`), so that no price passes through binary fractions.
mod micro_usd {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::catalogue::MicroUsd;

    pub fn serialize<S: Serializer>(price: &MicroUsd, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&price.to_decimal())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MicroUsd, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::state::market::parse_usd(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not a price in dollars")))
    }
}
