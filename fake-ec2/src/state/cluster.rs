//! EKS clusters, as far as a client can see them from AWS's side.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::network::Tags;

#[derive(Clone, Debug)]
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
    pub asked: Vec<(&'static str, Value)>,
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
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
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
}

#[derive(Clone, Debug)]
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

#[derive(Clone, Debug)]
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
