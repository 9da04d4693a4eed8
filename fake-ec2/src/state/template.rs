//! Launch templates and their versions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::network::Tags;

#[derive(Debug, Serialize, Deserialize)]
pub struct LaunchTemplate {
    pub id: String,
    pub name: String,
    pub created: Timestamp,
    pub created_by: String,
    pub tags: Tags,
    /// From when on it is found by name or id.
    pub found: Timestamp,
    pub default_version: u64,
    /// Never empty; numbers are not used again.
    pub versions: BTreeMap<u64, TemplateVersion>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct TemplateVersion {
    pub description: Option<String>,
    pub created: Timestamp,
    /// `RequestLaunchTemplateData`, by member names.
    pub data: Map<String, Value>,
}

impl LaunchTemplate {
    pub fn latest(&self) -> u64 {
        self.versions.keys().next_back().copied().unwrap_or(1)
    }

    /// The number that `$Latest`, `$Default`, a number or nothing (the default) stands for; `None` if there is no such version.
    pub fn resolve(&self, version: Option<&str>) -> Option<u64> {
        let number = match version {
            None | Some("$Default") => self.default_version,
            Some("$Latest") => self.latest(),
            Some(number) => number.parse().ok()?,
        };
        self.versions.contains_key(&number).then_some(number)
    }
}
