//! The placement group of a NodeClass. Source: `A/pkg/providers/placementgroup/{provider,types}.go`.

use super::filter;
use crate::cache::Cache;
use crate::port::CloudError;
use crate::wire::Element;
use crate::wire::client::{Call, Client, lock};
use api::EC2NodeClass;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Mutex;

/// `DefaultTTL`.
const FRESH: SignedDuration = SignedDuration::from_mins(1);
/// `PlacementGroupAvailabilityTTL`: as long as that a group is believed in that cannot be asked for.
const BELIEVED: SignedDuration = SignedDuration::from_hours(24);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementGroup {
    pub id: String,
    pub name: String,
    /// `cluster`, `partition` or `spread`.
    pub strategy: String,
    /// Of the strategy `partition`; else 0.
    pub partitions: i64,
}

impl PlacementGroup {
    pub fn is_partitioned(&self) -> bool {
        self.strategy == "partition"
    }

    /// The partitions' names, as labels have them.
    pub fn partition_names(&self) -> Vec<String> {
        let count = if self.is_partitioned() { self.partitions } else { 0 };
        (1..=count).map(|number| number.to_string()).collect()
    }

    fn read(item: &Element) -> Option<Self> {
        Some(PlacementGroup {
            id: item.string("groupId")?,
            name: item.string("groupName").unwrap_or_default(),
            strategy: item.string("strategy").unwrap_or_default(),
            partitions: item.number(&["partitionCount"]).unwrap_or(0),
        })
    }
}

pub struct PlacementGroups {
    state: Mutex<State>,
}

struct State {
    /// Queries that were answered lately.
    fresh: Cache<String, ()>,
    found: Cache<String, PlacementGroup>,
}

impl Default for PlacementGroups {
    fn default() -> Self {
        PlacementGroups { state: Mutex::new(State { fresh: Cache::new(FRESH), found: Cache::new(BELIEVED) }) }
    }
}

/// What a class asks for: an id before a name. `None` where it asks for nothing.
fn query(class: &EC2NodeClass) -> Option<Value> {
    let selector = class.spec.placement_group_selector.as_ref()?;
    let text = |key: &str| selector.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut query = json!({"Filters": [filter("state", &["available"])]});
    match (text("id"), text("name")) {
        (Some(id), _) => query["GroupIds"] = json!([id]),
        (None, Some(name)) => query["GroupNames"] = json!([name]),
        (None, None) => {}
    }
    Some(query)
}

impl PlacementGroups {
    /// As it was last found, without a call.
    pub fn known(&self, class: &EC2NodeClass, now: Timestamp) -> Option<PlacementGroup> {
        let key = query(class)?.to_string();
        lock(&self.state).found.get(&key, now).cloned()
    }

    /// Asks no more often than once a minute. `None`: the class wants none, or there is none.
    pub async fn resolve(&self, client: &Client, class: &EC2NodeClass, now: Timestamp) -> Result<Option<PlacementGroup>, CloudError> {
        let Some(query) = query(class) else { return Ok(None) };
        let key = query.to_string();
        {
            let state = lock(&self.state);
            if state.fresh.get(&key, now).is_some() {
                return Ok(state.found.get(&key, now).cloned());
            }
        }
        // Not in pages; of several the first counts.
        let root = client.call(&Call::ec2("DescribePlacementGroups", query)).await?.xml();
        let group = root.list("placementGroupSet").find_map(PlacementGroup::read);
        let mut state = lock(&self.state);
        if let Some(group) = &group {
            state.found.set(key.clone(), group.clone(), now);
        }
        state.fresh.set(key, (), now);
        Ok(group)
    }

    /// As it is, or as it was while it cannot be asked for: a launch does not wait for that.
    pub async fn for_launch(&self, client: &Client, class: &EC2NodeClass, now: Timestamp) -> Option<PlacementGroup> {
        match self.resolve(client, class, now).await {
            Ok(group) => group,
            Err(_) => self.known(class, now),
        }
    }
}
