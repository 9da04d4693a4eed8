//! Subnets of a NodeClass, and which of them a launch goes to. Source: `A/pkg/providers/subnet/subnet.go`.

use super::{filter, tag_filters};
use crate::cache::Cache;
use crate::labels::is_well_known;
use crate::port::CloudError;
use crate::wire::client::{Client, lock};
use api::EC2NodeClass;
use api::ec2nodeclass::{Subnet, SubnetSelectorTerm};
use jiff::{SignedDuration, Timestamp};
use planner::InstanceType;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use vocabulary::resources::PODS;
use vocabulary::{CapacityType, Requirement, Requirements, labels};

/// `DefaultTTL`, `AvailableIPAddressTTL`: counts of addresses outlast the subnets by the difference at the least.
const FRESH: SignedDuration = SignedDuration::from_mins(1);
const ADDRESSES: SignedDuration = SignedDuration::from_mins(5);

/// The subnet that a launch uses in its zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZonalSubnet {
    pub id: String,
    pub zone: String,
    pub zone_id: String,
    /// Free addresses when they were last asked for.
    pub free: i64,
}

pub struct Subnets {
    state: Mutex<State>,
}

struct State {
    /// By NodeClass uid and generation.
    found: Cache<String, Vec<Subnet>>,
    free: Cache<String, i64>,
    /// What is left of the free addresses after launches that are under way.
    in_flight: BTreeMap<String, i64>,
}

impl Subnets {
    /// `fresh` is `SUBNET_REFRESH_INTERVAL` (`A/pkg/operator/operator.go`, subnetIPCacheTTL).
    pub fn new(fresh: SignedDuration) -> Self {
        let counted = ADDRESSES.max(fresh + (ADDRESSES - FRESH));
        Subnets { state: Mutex::new(State { found: Cache::new(fresh), free: Cache::new(counted), in_flight: BTreeMap::new() }) }
    }
}

impl Subnets {
    /// Most free addresses first, then by id.
    pub async fn resolve(&self, client: &Client, class: &EC2NodeClass, now: Timestamp) -> Result<Vec<Subnet>, CloudError> {
        let key = class_key(class);
        if let Some(found) = lock(&self.state).found.get(&key, now) {
            return Ok(found.clone());
        }
        let mut found: BTreeMap<String, (Subnet, i64)> = BTreeMap::new();
        for filters in filter_sets(&class.spec.subnet_selector_terms) {
            let pages = client.ec2_pages("DescribeSubnets", json!({"Filters": filters, "MaxResults": 500})).await?;
            for item in pages.iter().flat_map(|page| page.list("subnetSet")) {
                let Some(id) = item.string("subnetId") else { continue };
                let subnet = Subnet {
                    id: id.clone(),
                    zone: item.string("availabilityZone").unwrap_or_default(),
                    zone_id: item.string("availabilityZoneId").unwrap_or_default(),
                };
                found.insert(id, (subnet, item.number(&["availableIpAddressCount"]).unwrap_or(0)));
            }
        }
        let mut state = lock(&self.state);
        for (id, (_, free)) in &found {
            state.free.set(id.clone(), *free, now);
            state.in_flight.remove(id);
        }
        let mut sorted: Vec<(Subnet, i64)> = found.into_values().collect();
        sorted.sort_by(|(a, free_a), (b, free_b)| free_b.cmp(free_a).then_with(|| a.id.cmp(&b.id)));
        let subnets: Vec<Subnet> = sorted.into_iter().map(|(subnet, _)| subnet).collect();
        state.found.set(key, subnets.clone(), now);
        Ok(subnets)
    }

    /// Per zone the subnet with the most free addresses; takes off what the launch will use of each.
    pub fn for_launch(
        &self,
        subnets: &[Subnet],
        types: &[InstanceType],
        capacity_type: CapacityType,
        now: Timestamp,
    ) -> BTreeMap<String, ZonalSubnet> {
        let mut state = lock(&self.state);
        let mut chosen: BTreeMap<String, ZonalSubnet> = BTreeMap::new();
        for subnet in subnets {
            let free = state.free.get(&subnet.id, now).copied().unwrap_or(0);
            if let Some(current) = chosen.get(&subnet.zone) {
                let tracked = |id: &str, known: i64| state.in_flight.get(id).copied().unwrap_or(known);
                if tracked(&current.id, current.free) >= tracked(&subnet.id, free) {
                    continue;
                }
            }
            let pick = ZonalSubnet { id: subnet.id.clone(), zone: subnet.zone.clone(), zone_id: subnet.zone_id.clone(), free };
            chosen.insert(subnet.zone.clone(), pick);
        }
        for subnet in chosen.values() {
            let before = state.in_flight.get(&subnet.id).copied().unwrap_or(subnet.free);
            state.in_flight.insert(subnet.id.clone(), before - fewest_pods(types, capacity_type, &subnet.zone));
        }
        chosen
    }

    /// Gives back what was taken off subnets that were offered to the fleet and not used, unless they were asked for since.
    pub fn after_launch(
        &self,
        offered: &BTreeSet<String>,
        used: &BTreeSet<String>,
        zonal: &BTreeMap<String, ZonalSubnet>,
        types: &[InstanceType],
        capacity_type: CapacityType,
        now: Timestamp,
    ) {
        let mut state = lock(&self.state);
        for subnet in zonal.values().filter(|subnet| offered.contains(&subnet.id) && !used.contains(&subnet.id)) {
            if state.free.get(&subnet.id, now) == Some(&subnet.free)
                && let Some(left) = state.in_flight.get_mut(&subnet.id)
            {
                *left += fewest_pods(types, capacity_type, &subnet.zone);
            }
        }
    }

    /// The fleet found no free address: the subnet comes last until it is asked for again.
    pub fn mark_full(&self, subnet: &str, now: Timestamp) {
        let mut state = lock(&self.state);
        state.free.set(subnet.to_owned(), 0, now);
        state.in_flight.remove(subnet);
    }
}

/// The key of per-class caches (`A/pkg/utils/utils.go`, GetNodeClassHash).
pub fn class_key(class: &EC2NodeClass) -> String {
    format!("{}-{}", class.metadata.uid.as_deref().unwrap_or_default(), class.metadata.generation.unwrap_or_default())
}

fn fewest_pods(types: &[InstanceType], capacity_type: CapacityType, zone: &str) -> i64 {
    let wanted: Requirements =
        [Requirement::is_in(labels::CAPACITY_TYPE, capacity_type.as_str()), Requirement::is_in(labels::ZONE, zone)].into_iter().collect();
    let offered = |kind: &&InstanceType| kind.offerings.iter().any(|o| o.available && wanted.is_compatible(&o.requirements, is_well_known));
    types.iter().filter(offered).map(|kind| kind.capacity.get(PODS)).min().unwrap_or(0)
}

/// One set of filters per term by tags, and one for all ids.
fn filter_sets(terms: &[SubnetSelectorTerm]) -> Vec<Vec<Value>> {
    let ids: Vec<&str> = terms.iter().filter_map(|term| term.id.as_deref().filter(|id| !id.is_empty())).collect();
    let by_tags = terms.iter().filter(|term| term.id.as_deref().unwrap_or_default().is_empty());
    let mut sets: Vec<Vec<Value>> = by_tags.map(|term| tag_filters(&term.tags)).collect();
    if !ids.is_empty() {
        sets.push(vec![filter("subnet-id", &ids)]);
    }
    sets
}
