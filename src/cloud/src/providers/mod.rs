//! What is known of the cloud, and how it is found out: one module per noun, as in Karpenter's provider (`A/pkg/providers`).
//!
//! Map: [`type_info`] reads a type's description; [`requirements`] and [`capacity`] turn it into labels and amounts; [`catalogue`] keeps
//! types, zones and offerings; [`pricing`] and [`unavailable`] say what they cost and which are not to be had; [`reservations`] what is set aside, [`placement_groups`] what machines are near to or far from, [`zonal_shift`] which zones are left alone; [`subnets`],
//! [`security_groups`], [`images`], [`profiles`] resolve a NodeClass; [`instances`] are machines, [`health`] what is wrong with them; [`queue`] are interruptions.

pub mod capacity;
pub mod catalogue;
pub mod compatibility;
pub mod family;
pub mod health;
pub mod images;
pub mod instances;
pub mod placement_groups;
pub mod pricing;
pub mod profiles;
pub mod queue;
pub mod requirements;
pub mod reservations;
pub mod security_groups;
pub mod subnets;
pub mod type_info;
pub mod unavailable;
pub mod zonal_shift;

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An EC2 filter.
pub fn filter(name: &str, values: &[impl AsRef<str>]) -> Value {
    json!({"Name": name, "Values": values.iter().map(|value| value.as_ref()).collect::<Vec<_>>()})
}

/// Filters of a selector's tags; the value `*` asks for the key alone.
pub fn tag_filters(tags: &BTreeMap<String, String>) -> Vec<Value> {
    tags.iter().map(|(key, value)| if value == "*" { filter("tag-key", &[key]) } else { filter(&format!("tag:{key}"), &[value]) }).collect()
}

/// Tags as a list of keys and values, in order of key.
pub fn tag_list(tags: &BTreeMap<String, String>) -> Value {
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}
