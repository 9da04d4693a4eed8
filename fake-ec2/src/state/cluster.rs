//! EKS clusters, as far as a client can see them from AWS's side.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::network::Tags;
use crate::kept::{Word, word};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    pub name: String,
    pub arn: String,
    pub version: String,
    pub role_arn: String,
    pub endpoint: String,
    /// Base64 of PEM, as `certificateAuthority.data`.
    pub certificate_authority: String,
    /// Sixteen bytes in hexadecimal, upper case: the end of the OIDC issuer.
    pub oidc_id: String,
    pub subnet_ids: Vec<String>,
    pub security_group_ids: Vec<String>,
    pub cluster_security_group: String,
    pub vpc_id: String,
    pub service_ipv4_cidr: String,
    pub authentication_mode: String,
    pub public_access: bool,
    pub private_access: bool,
    /// Members that are shown as they were asked for.
    #[serde(deserialize_with = "word::values")]
    pub asked: Vec<(Word, Value)>,
    pub zonal_shift: bool,
    pub created: Timestamp,
    pub active: bool,
    pub tags: Tags,
    /// Zonal shifts, the oldest first.
    pub shifts: Vec<Shift>,
    /// Managed node groups by name.
    pub nodegroups: BTreeMap<String, Nodegroup>,
    /// Access entries by the principal's ARN.
    pub entries: BTreeMap<String, AccessEntry>,
    /// Pod Identity associations by id.
    pub associations: BTreeMap<String, PodAssociation>,
}

/// A shift of traffic away from a zone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shift {
    pub id: String,
    /// A zone by its id.
    pub away_from: String,
    pub start: Timestamp,
    pub expires: Timestamp,
    pub comment: String,
    pub cancelled: bool,
}

/// A managed node group. Its machines are those of an Auto Scaling group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nodegroup {
    pub name: String,
    pub arn: String,
    /// The Auto Scaling group's name.
    pub group: String,
    /// Members of `Nodegroup` that are shown as they were sent.
    pub shown: Map<String, Value>,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Value>,
    pub created: Timestamp,
    /// All its machines have run once.
    pub active: bool,
    pub tags: Tags,
    /// The oldest first; of them the last alone may be on its way.
    pub updates: Vec<Update>,
}

/// A change of a node group that takes its time, or was one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Update {
    pub id: String,
    /// `VersionUpdate` or `ConfigUpdate`.
    pub kind: String,
    /// `InProgress`, `Successful` or `Failed`.
    pub status: String,
    pub params: Vec<(String, String)>,
    pub created: Timestamp,
    /// Why it failed.
    pub why: Option<String>,
    /// Version of the group's own template that its machines come to.
    pub template: u64,
    /// Desired and most machines, before it and after it.
    pub sizes: (u64, u64),
    /// When the last old machine went, and how many were left then.
    pub moved: Timestamp,
    pub left: u64,
    /// What the group shows when it is done.
    pub then: Vec<(String, Value)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessEntry {
    pub principal: String,
    pub arn: String,
    /// `STANDARD`, `EC2_LINUX` …
    pub kind: String,
    pub username: String,
    pub groups: Vec<String>,
    pub created: Timestamp,
    pub tags: Tags,
    /// Access policies by ARN, with their scope.
    pub policies: BTreeMap<String, (Value, Timestamp)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PodAssociation {
    pub id: String,
    pub arn: String,
    pub namespace: String,
    pub service_account: String,
    pub role: String,
    pub created: Timestamp,
    pub modified: Timestamp,
    pub tags: Tags,
}
