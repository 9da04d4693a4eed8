//! Roles and instance profiles.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::network::Tags;

#[derive(Debug, Default)]
pub struct Iam {
    /// By name.
    pub roles: BTreeMap<String, Role>,
    /// By name.
    pub profiles: BTreeMap<String, InstanceProfile>,
}

#[derive(Debug)]
pub struct Role {
    pub name: String,
    pub path: String,
    pub id: String,
    pub arn: String,
    pub description: Option<String>,
    pub trust: String,
    pub max_session_seconds: i64,
    pub created: Timestamp,
    pub tags: Tags,
    /// ARNs of managed policies.
    pub attached: BTreeSet<String>,
    /// Inline policies: name and document.
    pub inline: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct InstanceProfile {
    pub name: String,
    pub path: String,
    pub id: String,
    pub arn: String,
    pub created: Timestamp,
    pub tags: Tags,
    /// Role names; IAM allows one.
    pub roles: Vec<String>,
}
