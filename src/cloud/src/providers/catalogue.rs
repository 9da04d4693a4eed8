//! Instance types, their zones, and the offerings of a NodeClass. Source: `A/pkg/providers/instancetype/{instancetype.go,offering}`.

use super::family::Family;
use super::placement_groups::PlacementGroup;
use super::pricing::Pricing;
use super::reservations::Reservations;
use super::type_info::TypeInfo;
use super::unavailable::Unavailable;
use super::zonal_shift::ZonalShifts;
use super::{capacity, compatibility, filter, requirements};
use crate::cache::Cache;
use crate::labels as aws;
use crate::port::CloudError;
use crate::settings::Settings;
use crate::telling::{Report, tell};
use crate::wire::Element;
use crate::wire::client::{Client, lock};
use api::EC2NodeClass;
use api::ec2nodeclass::{CapacityReservation, Subnet};
use jiff::{SignedDuration, Timestamp};
use planner::{InstanceType, Offering};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use vocabulary::{CapacityType, Operator, Requirement, Requirements, UsdPerHour, labels};

/// How long a node's reported memory is believed (`DiscoveredCapacityCacheTTL`).
const OBSERVED: SignedDuration = SignedDuration::from_hours(60 * 24);

/// `InstanceTypesZonesAndOfferingsTTL`: what types amount to is worked out no more often than that, so that a report counts from the
/// next time on.
const RESOLVED: SignedDuration = SignedDuration::from_mins(5);

type Zones = BTreeSet<Arc<str>>;
/// Bytes that nodes reported, by type and images of the class.
type Observed = Cache<(String, String), i64>;
/// What the answer depends on: class, placement group and shifted zones, then how many refreshes, observations, prices, marks, counts of
/// reservations.
type Key = (String, String, [u64; 5]);

/// Everything known of instance types.
pub struct Catalogue {
    known: Mutex<Known>,
}

struct Known {
    types: Arc<BTreeMap<String, TypeInfo>>,
    zones: Arc<BTreeMap<String, Zones>>,
    all_zones: Arc<Zones>,
    refreshes: u64,
    observed: Observed,
    observations: u64,
    /// Per shape of a class: when its types were worked out, and which reports were known then.
    resolved: BTreeMap<String, Resolved>,
    /// The last answer per NodeClass.
    answers: BTreeMap<String, Held>,
    /// The types' requirements, in order of names: they outlive prices and images, and are most of an answer.
    labels: BTreeMap<LabelsKey, Arc<Vec<Requirements>>>,
}

struct Resolved {
    at: Timestamp,
    observations: u64,
    observed: Arc<Observed>,
}

/// What the requirements of types depend on besides the types themselves: region, family, zone names and ids of the subnets.
type LabelsKey = (String, u8, BTreeSet<(String, String)>);

/// An answer, and when it holds: what is marked unavailable comes back at `until`.
struct Held {
    key: Key,
    from: Timestamp,
    until: Timestamp,
    types: Arc<Vec<InstanceType>>,
}

impl Default for Catalogue {
    fn default() -> Self {
        let known = Known {
            types: Arc::default(),
            zones: Arc::default(),
            all_zones: Arc::default(),
            refreshes: 0,
            observed: Cache::new(OBSERVED),
            observations: 0,
            resolved: BTreeMap::new(),
            answers: BTreeMap::new(),
            labels: BTreeMap::new(),
        };
        Catalogue { known: Mutex::new(known) }
    }
}

/// What the offerings are made from besides types and zones.
pub struct Market<'a> {
    pub region: &'a str,
    pub settings: &'a Settings,
    pub pricing: &'a Pricing,
    pub unavailable: &'a Mutex<Unavailable>,
    pub reservations: &'a Reservations,
    pub shifts: &'a ZonalShifts,
    /// The class's.
    pub group: Option<PlacementGroup>,
}

impl Market<'_> {
    /// What the class has set aside, if that is looked at.
    fn reserved<'a>(&self, class: &'a EC2NodeClass) -> &'a [CapacityReservation] {
        let reserved = class.status.as_ref().map_or(&[][..], |status| &status.capacity_reservations);
        if self.settings.reserved_capacity { reserved } else { &[] }
    }
}

impl Catalogue {
    /// Reads types, then zones.
    pub async fn refresh(&self, client: &Client) -> Result<(), CloudError> {
        let parameters = json!({
            "Filters": [
                filter("supported-virtualization-type", &["hvm"]),
                filter("processor-info.supported-architecture", &["x86_64", "arm64"]),
            ],
            "MaxResults": 100,
        });
        let mut types: BTreeMap<String, TypeInfo> = BTreeMap::new();
        let read =
            |page: &Element| types.extend(page.list("instanceTypeSet").filter_map(TypeInfo::read).map(|info| (info.name.clone(), info)));
        client.ec2_each("DescribeInstanceTypes", parameters, read).await?;
        let parameters = json!({"LocationType": "availability-zone", "MaxResults": 1000});
        let mut zones: BTreeMap<String, Zones> = BTreeMap::new();
        let mut all_zones = Zones::new();
        let read = |page: &Element| {
            for item in page.list("instanceTypeOfferingSet") {
                if let (Some(name), Some(zone)) = (item.string("instanceType"), item.text_at(&["location"])) {
                    let zone = all_zones.get(zone).cloned().unwrap_or_else(|| Arc::from(zone));
                    all_zones.insert(zone.clone());
                    zones.entry(name).or_default().insert(zone);
                }
            }
        };
        client.ec2_each("DescribeInstanceTypeOfferings", parameters, read).await?;
        let mut known = lock(&self.known);
        known.tell_changes(&types, &zones, &all_zones);
        (known.types, known.zones, known.all_zones) = (Arc::new(types), Arc::new(zones), Arc::new(all_zones));
        known.refreshes += 1;
        known.labels.clear();
        Ok(())
    }

    /// Types as this class would get them, by name. The same value is handed out until something changed.
    pub fn instance_types(&self, class: &EC2NodeClass, market: &Market<'_>, now: Timestamp) -> Result<Arc<Vec<InstanceType>>, String> {
        let subnets = class.status.as_ref().map_or(&[][..], |status| &status.subnets);
        let shape = shape(class);
        let mut known = lock(&self.known);
        if known.types.is_empty() {
            return Err("no instance types found".to_owned());
        }
        if known.zones.is_empty() {
            return Err("no instance types offerings found".to_owned());
        }
        if subnets.is_empty() {
            return Err("no subnets found".to_owned());
        }
        let (marks, lapse) = {
            let unavailable = lock(market.unavailable);
            (unavailable.marks(), unavailable.next_lapse(now).unwrap_or(Timestamp::MAX))
        };
        // Who has nothing set aside need not hear of what others have.
        let counts = if market.reserved(class).is_empty() { 0 } else { market.reservations.changes() };
        let (observations, observed) = known.resolve(&shape, now);
        let shifted = market.shifts.shifted(now);
        let lapse = market.shifts.next_end(now).map_or(lapse, |end| lapse.min(end));
        let surroundings = format!("{:?} {shifted:?}", market.group);
        let key = (shape, surroundings, [known.refreshes, observations, market.pricing.refreshes(), marks, counts]);
        let name = class.metadata.name.clone().unwrap_or_default();
        if let Some(held) = known.answers.get(&name)
            && held.key == key
            && (held.from..held.until).contains(&now)
        {
            return Ok(held.types.clone());
        }
        let labels = known.labels_of(class, subnets, market.region);
        let types = Arc::new(build(&known, &observed, &labels, class, subnets, market, &shifted, now));
        known.answers.insert(name, Held { key, from: now, until: lapse, types: types.clone() });
        Ok(types)
    }

    /// The types that can carry what the class asks for, however they are offered.
    pub fn compatible(&self, class: &EC2NodeClass, group: Option<&PlacementGroup>) -> BTreeSet<String> {
        let family = Family::of(class);
        let types = lock(&self.known).types.clone();
        types.values().filter(|info| compatibility::is_compatible(info, family, &class.spec, group)).map(|info| info.name.clone()).collect()
    }

    /// What EC2 says of each type, by name.
    #[cfg(test)]
    pub fn infos(&self) -> Arc<BTreeMap<String, TypeInfo>> {
        lock(&self.known).types.clone()
    }

    /// A node of this type, running a current image of the class, reported `bytes` of memory. The smallest report counts.
    /// `true` when it is less than was known, or the first report.
    pub fn observe_memory(&self, class: &EC2NodeClass, instance_type: &str, bytes: i64, now: Timestamp) -> bool {
        let key = (instance_type.to_owned(), images(class));
        let mut known = lock(&self.known);
        let held = known.observed.get(&key, now).copied();
        if held.is_none_or(|held| bytes <= held) {
            known.observed.set(key, bytes, now);
            known.observations += u64::from(held != Some(bytes));
        }
        held.is_none_or(|held| bytes < held)
    }
}

impl Known {
    /// What was found and is other than before, in the words of `A/pkg/providers/instancetype/instancetype.go`.
    fn tell_changes(&self, types: &BTreeMap<String, TypeInfo>, zones: &BTreeMap<String, Zones>, all_zones: &Zones) {
        if *self.types != *types {
            tell(Report::debug("discovered instance types", [("count", types.len().into())]));
        }
        if *self.zones != *zones {
            tell(Report::debug("discovered offerings for instance types", [("instance-type-count", zones.len().into())]));
        }
        if *self.all_zones != *all_zones {
            let names: Vec<&str> = all_zones.iter().map(|zone| &**zone).collect();
            tell(Report::debug("discovered zones", [("zones", names.into())]));
        }
    }

    /// The reports that count for classes of this shape, and their number.
    fn resolve(&mut self, shape: &str, now: Timestamp) -> (u64, Arc<Observed>) {
        self.resolved.retain(|_, resolved| now >= resolved.at && now.duration_since(resolved.at) < RESOLVED);
        if let Some(resolved) = self.resolved.get(shape) {
            return (resolved.observations, resolved.observed.clone());
        }
        let observed = Arc::new(self.observed.clone());
        self.resolved.insert(shape.to_owned(), Resolved { at: now, observations: self.observations, observed: observed.clone() });
        (self.observations, observed)
    }

    fn labels_of(&mut self, class: &EC2NodeClass, subnets: &[Subnet], region: &str) -> Arc<Vec<Requirements>> {
        let family = Family::of(class);
        let zones = subnets.iter().map(|subnet| (subnet.zone.clone(), subnet.zone_id.clone())).collect();
        let (types, offered, none) = (&self.types, &self.zones, Zones::new());
        let make = || {
            let of =
                |info: &TypeInfo| requirements::requirements(info, region, offered.get(&info.name).unwrap_or(&none), subnets, family, &[]);
            Arc::new(types.values().map(of).collect())
        };
        self.labels.entry((region.to_owned(), family as u8, zones)).or_insert_with(make).clone()
    }
}

/// What of a class changes its types.
fn shape(class: &EC2NodeClass) -> String {
    let spec = &class.spec;
    let status = class.status.as_ref();
    json!([
        spec.kubelet,
        spec.block_device_mappings,
        spec.instance_store_policy,
        spec.network_interfaces,
        spec.connection_tracking,
        spec.cpu_options,
        Family::of(class) as u8,
        status.map(|status| &status.subnets),
        status.map(|status| &status.capacity_reservations),
        images(class),
    ])
    .to_string()
}

fn images(class: &EC2NodeClass) -> String {
    class.status.iter().flat_map(|status| &status.amis).map(|ami| ami.id.as_str()).collect::<Vec<_>>().join(",")
}

#[expect(clippy::too_many_arguments, reason = "what an answer is made of")]
fn build(
    known: &Known,
    observed: &Observed,
    labels_of_types: &[Requirements],
    class: &EC2NodeClass,
    subnets: &[Subnet],
    market: &Market<'_>,
    shifted: &BTreeSet<String>,
    now: Timestamp,
) -> Vec<InstanceType> {
    let none = Zones::new();
    let family = Family::of(class);
    let images = images(class);
    let group = market.group.as_ref();
    let partitions = group.map(PlacementGroup::partition_names).unwrap_or_default();
    let unavailable = lock(market.unavailable);
    let all_there = unavailable.is_empty(now);
    let zones: Vec<Zone> = known.all_zones.iter().map(|zone| Zone::new(zone, subnets, shifted)).collect();
    let mut reserved: BTreeMap<&str, Vec<&CapacityReservation>> = BTreeMap::new();
    for reservation in market.reserved(class) {
        reserved.entry(&reservation.instance_type).or_default().push(reservation);
    }
    let make = |(info, requirements): (&TypeInfo, &Requirements)| {
        let offered = known.zones.get(&info.name).unwrap_or(&none);
        let observed = observed.get(&(info.name.clone(), images.clone()), now).copied();
        let amounts = capacity::amounts(info, family, &class.spec, market.settings, observed);
        let compatible = compatibility::is_compatible(info, family, &class.spec, group);
        let markets =
            requirements.get(labels::CAPACITY_TYPE).into_iter().flat_map(|r| &r.values).filter_map(|value| CapacityType::parse(value));
        let markets: Vec<CapacityType> = markets.collect();
        let mut offerings: Vec<Offering> = zones
            .iter()
            .flat_map(|zone| markets.iter().map(move |capacity_type| (zone, *capacity_type)))
            .map(|(zone, capacity_type)| {
                let price = match capacity_type {
                    CapacityType::Spot => market.pricing.spot(&info.name, &zone.name),
                    _ => market.pricing.on_demand(&info.name),
                };
                let price = price.or_else(|| market.pricing.named(&info.name));
                let in_group = |group: &PlacementGroup| unavailable.has_in_group(&info.name, &zone.name, capacity_type, &group.id, now);
                let lacking = !all_there
                    && (unavailable.has(&info.name, &zone.name, &zone.subnets, capacity_type, now) || group.is_some_and(in_group));
                let available =
                    compatible && !zone.shifted && !lacking && price.is_some() && !zone.subnets.is_empty() && offered.contains(&zone.name);
                zone.offering(capacity_type, price.and_then(UsdPerHour::new), available)
            })
            .collect();
        let own = reserved.get(info.name.as_str()).map_or(&[][..], Vec::as_slice);
        let mut requirements = requirements.clone();
        if !own.is_empty() {
            requirements = requirements::requirements(info, market.region, offered, subnets, family, own);
            let in_zones = |zone: &str| requirements.get(labels::ZONE).is_some_and(|zones| zones.has(zone));
            let price = market.pricing.on_demand(&info.name);
            let shifted = |zone: &str| zones.iter().any(|known| *known.name == *zone && known.shifted);
            let usable = |zone: &str| compatible && in_zones(zone) && !shifted(zone);
            offerings.extend(own.iter().map(|r| reserved_offering(r, price, usable(&r.availability_zone), subnets, market, now)));
        }
        if let Some(group) = group {
            requirements.set(Requirement::is_in(labels::PLACEMENT_GROUP_ID, group.id.as_str()));
            if !partitions.is_empty() {
                requirements.set(Requirement::new(labels::PLACEMENT_GROUP_PARTITION, Operator::In, partitions.clone()));
                offerings = offerings.iter().flat_map(|offering| partitions.iter().map(|number| in_partition(offering, number))).collect();
            }
        }
        InstanceType {
            name: Arc::from(info.name.as_str()),
            requirements,
            capacity: amounts.capacity,
            allocatable: amounts.allocatable,
            offerings,
            overlaid: false,
        }
    };
    known.types.values().zip(labels_of_types).map(make).collect()
}

/// The offering in one partition of the placement group (`A/pkg/providers/instancetype/offering/placement_group_resolver.go`).
fn in_partition(offering: &Offering, number: &str) -> Offering {
    let mut own = offering.clone();
    own.requirements.set(Requirement::is_in(labels::PLACEMENT_GROUP_PARTITION, number));
    own
}

/// Paid for already: next to nothing, but in the order of what it would cost otherwise
/// (`A/pkg/providers/instancetype/offering/reserved_capacity_resolver.go`).
fn reserved_offering(
    reservation: &CapacityReservation,
    on_demand: Option<f64>,
    usable: bool,
    subnets: &[Subnet],
    market: &Market<'_>,
    now: Timestamp,
) -> Offering {
    const PAID: f64 = 10_000_000.0;
    let left = market.reservations.left(&reservation.id, now);
    let zone: Arc<str> = reservation.availability_zone.as_str().into();
    let zone_id: Option<Arc<str>> = subnets.iter().find(|subnet| *subnet.zone == *zone).map(|subnet| subnet.zone_id.as_str().into());
    let is = |key: &str, value: &str| Requirement::is_in(key, value);
    let mut requirements: Requirements = [
        is(labels::CAPACITY_TYPE, CapacityType::Reserved.as_str()),
        is(labels::ZONE, &zone),
        is(aws::RESERVATION_ID, &reservation.id),
        is(aws::RESERVATION_TYPE, &reservation.reservation_type),
        is(aws::RESERVATION_INTERRUPTIBLE, if reservation.interruptible { "true" } else { "false" }),
    ]
    .into_iter()
    .collect();
    requirements.extend(&zone_id.iter().map(|id| is(labels::ZONE_ID, id)).collect());
    Offering {
        zone,
        zone_id,
        capacity_type: CapacityType::Reserved,
        price: on_demand.and_then(|dollars| UsdPerHour::new(dollars / PAID)).unwrap_or_default(),
        available: usable && left > 0 && !reservation.is_expiring(),
        requirements,
        reservation_capacity: Some(left),
        overlaid: false,
    }
}

/// A zone with the class's subnets in it.
struct Zone {
    name: Arc<str>,
    id: Option<Arc<str>>,
    subnets: Vec<String>,
    /// ARC has shifted the cluster away from it.
    shifted: bool,
    /// Requirements of its offerings, by market.
    requirements: BTreeMap<CapacityType, Requirements>,
}

impl Zone {
    fn new(name: &Arc<str>, subnets: &[Subnet], shifted: &BTreeSet<String>) -> Self {
        let here: Vec<&Subnet> = subnets.iter().filter(|subnet| *subnet.zone == **name).collect();
        let id: Option<Arc<str>> = here.first().map(|subnet| Arc::from(subnet.zone_id.as_str()));
        let requirements = |capacity_type: CapacityType| {
            let absent = |key| Requirement::new(key, Operator::DoesNotExist, [""; 0]);
            let mut set: Requirements =
                [aws::RESERVATION_ID, aws::RESERVATION_TYPE, aws::RESERVATION_INTERRUPTIBLE].into_iter().map(absent).collect();
            set.add(Requirement::is_in(labels::CAPACITY_TYPE, capacity_type.as_str()));
            set.add(Requirement::is_in(labels::ZONE, name.clone()));
            if let Some(id) = &id {
                set.add(Requirement::is_in(labels::ZONE_ID, id.clone()));
            }
            set
        };
        let requirements = [CapacityType::OnDemand, CapacityType::Spot].into_iter().map(|kind| (kind, requirements(kind))).collect();
        Zone {
            name: name.clone(),
            shifted: id.as_deref().is_some_and(|id| shifted.contains(id)),
            id,
            subnets: here.iter().map(|subnet| subnet.id.clone()).collect(),
            requirements,
        }
    }

    fn offering(&self, capacity_type: CapacityType, price: Option<UsdPerHour>, available: bool) -> Offering {
        Offering {
            zone: self.name.clone(),
            zone_id: self.id.clone(),
            capacity_type,
            price: price.unwrap_or_default(),
            available: available && price.is_some(),
            requirements: self.requirements.get(&capacity_type).cloned().unwrap_or_default(),
            reservation_capacity: None,
            overlaid: false,
        }
    }
}
