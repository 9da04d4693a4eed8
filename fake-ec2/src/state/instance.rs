//! Instances and their volumes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::Phase;
use super::maintenance::Scheduled;
use super::market::{Market, Pool};
use super::network::Tags;
use crate::catalogue::{MicroUsd, Zone};
use crate::kept::{Word, word};

/// An instance, with its launch parameters as they took effect.
#[derive(Debug, Serialize, Deserialize)]
pub struct Instance {
    pub id: String,
    pub reservation_id: String,
    #[serde(deserialize_with = "word::one")]
    pub instance_type: Word,
    pub zone: Zone,
    pub vpc_id: String,
    pub subnet_id: String,
    pub image_id: String,
    pub market: Market,
    pub phase: Phase,
    pub launched: Timestamp,
    pub tags: Tags,
    /// Interfaces by id, the primary one first.
    pub interfaces: Vec<String>,
    /// Volumes by device name.
    pub volumes: Vec<(String, String)>,
    /// Per hour, as it was at the launch.
    pub price: Option<MicroUsd>,
    /// The most that its user pays per hour of a Spot instance.
    pub max_price: Option<MicroUsd>,
    /// `sir-…` of a Spot instance.
    pub spot_request: Option<String>,
    pub client_token: Option<String>,
    pub launch_index: i64,
    pub key_name: Option<String>,
    /// As it was sent: base64.
    pub user_data: Option<String>,
    pub profile: Option<InstanceProfileRef>,
    pub monitoring: bool,
    pub ebs_optimized: bool,
    pub tenancy: String,
    pub metadata: Metadata,
    pub capacity_reservation_preference: String,
    /// The reservation whose room it uses.
    pub capacity_reservation: Option<String>,
    /// The placement group's name, and the partition in it.
    pub placement_group: Option<String>,
    pub partition: Option<i64>,
    /// `disableApiTermination`, `disableApiStop`.
    pub keep: (bool, bool),
    /// From when on describing finds it.
    pub found: Timestamp,
    /// Status checks that fail, with the instant of the first failure.
    pub impaired: Vec<(Check, Timestamp)>,
    /// What was announced of it.
    pub events: Vec<Scheduled>,
    pub enclave: bool,
    /// Code and message of the last change.
    pub reason: Option<(String, String)>,
    pub transition_reason: String,
    pub console: Option<(Timestamp, String)>,
    /// When its user was warned that EC2 takes it back.
    pub interrupted: Option<Timestamp>,
    /// It is taken back since its price has passed `max_price`.
    pub priced_out: bool,
    /// When it terminated.
    pub ended: Option<Timestamp>,
    /// Moves on with each change, so that a due that was overtaken is known.
    pub generation: u64,
}

/// A status check. Source: EC2 user guide, "Status checks for Amazon EC2 instances".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    Instance,
    System,
    AttachedEbs,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceProfileRef {
    pub arn: String,
    pub id: String,
    pub name: String,
}

/// `MetadataOptions` in effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metadata {
    pub endpoint: String,
    pub tokens: String,
    pub hop_limit: i64,
    pub ipv6: String,
    pub tags: String,
}

impl Metadata {
    /// What was asked, over EC2's defaults: endpoint on, and IMDSv2 as AMIs with `imds-support` v2.0 ask (Amazon Linux 2023 and
    /// Bottlerocket: tokens required, two hops; else optional and one).
    /// Source: EC2 user guide "Configure instance metadata options for new instances".
    pub fn over_defaults(asked: Option<&serde_json::Map<String, Value>>, imds_v2: bool) -> Self {
        let text = |name: &str| Some(asked?.get(name)?.as_str()?.to_owned());
        let hops = asked.and_then(|asked| asked.get("HttpPutResponseHopLimit")?.as_i64());
        Self {
            endpoint: text("HttpEndpoint").unwrap_or_else(|| "enabled".into()),
            tokens: text("HttpTokens").unwrap_or_else(|| if imds_v2 { "required" } else { "optional" }.into()),
            hop_limit: hops.unwrap_or(if imds_v2 { 2 } else { 1 }),
            ipv6: text("HttpProtocolIpv6").unwrap_or_else(|| "disabled".into()),
            tags: text("InstanceMetadataTags").unwrap_or_else(|| "disabled".into()),
        }
    }
}

impl Instance {
    pub fn pool(&self) -> Pool {
        Pool { instance_type: self.instance_type.to_owned(), zone: self.zone.name.to_owned(), market: self.market }
    }
}

/// A volume, always attached to an instance.
#[derive(Debug, Serialize, Deserialize)]
pub struct Volume {
    pub id: String,
    pub instance_id: String,
    pub device: String,
    pub zone: Zone,
    pub size_gib: i64,
    pub volume_type: String,
    pub iops: Option<i64>,
    pub throughput: Option<i64>,
    pub encrypted: bool,
    pub kms_key: Option<String>,
    pub snapshot: Option<String>,
    pub delete_on_termination: bool,
    pub created: Timestamp,
    /// When it was attached; with its instance, if nobody did that by hand.
    pub attached: Option<Timestamp>,
    pub tags: Tags,
}
