//! Auto Scaling groups: what they are to hold, whom they hold, and what they did.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::kept::{Word, word};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub arn: String,
    pub least: u64,
    pub most: u64,
    pub desired: u64,
    /// `LaunchTemplateSpecification`, unless the policy has it.
    pub template: Option<Map<String, Value>>,
    /// `MixedInstancesPolicy` as it was put.
    pub mixed: Option<Map<String, Value>>,
    /// Subnets by id; empty: the default subnets of `zones`.
    pub subnets: Vec<String>,
    pub zones: Vec<String>,
    pub cooldown: i64,
    pub created: Timestamp,
    /// By key.
    pub tags: BTreeMap<String, GroupTag>,
    pub protect_new: bool,
    pub rebalance: bool,
    /// Instances by id, in the order of their launches.
    pub members: indexmap::IndexMap<String, Member>,
    /// The latest first.
    pub activities: VecDeque<Activity>,
    /// The group goes when its instances have gone.
    pub deleting: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupTag {
    pub value: String,
    /// New instances get it, too.
    pub propagate: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Member {
    pub protected: bool,
    /// Id and version of the template it was launched from.
    pub template: (String, String),
    pub template_name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Activity {
    pub id: String,
    pub description: String,
    pub cause: String,
    pub start: Timestamp,
    pub end: Option<Timestamp>,
    /// `Successful`, `Failed`, `InProgress`.
    #[serde(deserialize_with = "word::one")]
    pub status: Word,
    pub message: Option<String>,
    /// The instance that it is about.
    pub instance: Option<String>,
}

/// How many activities are kept. AWS keeps six weeks of them.
const ACTIVITIES: usize = 500;

impl Group {
    /// Units of capacity that an instance of a type counts for, where the policy's overrides say so. One without a weight counts for one.
    /// Source: EC2 Auto Scaling user guide, "Configure an Auto Scaling group to use instance weights".
    pub fn weight(&self, instance_type: &str) -> Option<u64> {
        let overrides = self.mixed.as_ref()?.get("LaunchTemplate")?.get("Overrides")?.as_array()?;
        let of_type = overrides.iter().find(|one| one.get("InstanceType").and_then(Value::as_str) == Some(instance_type))?;
        of_type.get("WeightedCapacity")?.as_str()?.parse().ok()
    }

    pub fn note(&mut self, activity: Activity) {
        self.activities.push_front(activity);
        self.activities.truncate(ACTIVITIES);
    }
}
