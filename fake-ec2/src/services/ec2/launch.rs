//! How a launch is checked and done, whoever asks for it: RunInstances or a fleet.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::images;
use super::spec::Spec;
use crate::catalogue::{self, InstanceType, Zone};
use crate::protocol::AwsError;
use crate::services::errors;
use crate::services::input::{Members, Read};
use crate::state::instance::{Instance, InstanceProfileRef, Metadata, Volume};
use crate::state::machine::Phase;
use crate::state::market::{Pool, Room};
use crate::state::network::{Interface, Tags};
use crate::state::reservation::Preference;
use crate::state::{Market, World};

/// What a pool is chosen by: a type and where it would run. Overrides of a fleet, or what the spec itself says.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::services) struct Choice<'a> {
    pub instance_type: Option<&'a str>,
    pub image: Option<&'a str>,
    pub subnet: Option<&'a str>,
    /// A zone, by name or by id.
    pub zone: Option<&'a str>,
}

/// A checked place for instances.
#[derive(Clone, Debug)]
pub(in crate::services) struct Place {
    pub details: &'static InstanceType,
    pub image_id: String,
    pub subnet_id: String,
    pub vpc_id: String,
    pub zone: Zone,
    /// The capacity reservation that the launch names.
    pub reservation: Option<String>,
    pub preference: Preference,
    /// The placement group's name.
    pub group: Option<String>,
}

impl Place {
    pub fn pool(&self, market: Market) -> Pool {
        Pool { instance_type: self.details.name().to_owned(), zone: self.zone.name.to_owned(), market }
    }
}

/// What holds for all places of a spec.
#[derive(Clone, Debug)]
pub(in crate::services) struct Common {
    pub profile: Option<InstanceProfileRef>,
}

/// Whose instances they are and what they are called.
#[derive(Debug)]
pub(in crate::services) struct Order<'a> {
    pub market: Market,
    pub client_token: Option<&'a str>,
    /// The most that is paid per hour of Spot.
    pub max_price: Option<catalogue::MicroUsd>,
    /// Tags by resource type that come on top of the spec's.
    pub tags: &'a std::collections::BTreeMap<String, Tags>,
    /// `aws:…` tags of the instances.
    pub system_tags: Tags,
}

/// Checks what does not depend on a place: the profile, the groups, the reservation.
pub(in crate::services) fn check_common(world: &World<'_>, spec: &Spec) -> Result<Common, AwsError> {
    for interface in &spec.interfaces {
        for group in interface.texts("Groups") {
            known_group(world, group)?;
        }
        if let Some(id) = interface.text("NetworkInterfaceId") {
            return Err(errors::INTERFACE_NOT_FOUND.error(&[id]));
        }
    }
    for group in &spec.group_ids {
        known_group(world, group)?;
    }
    if let Some(group) = spec.placement_group.as_ref().filter(|group| world.placement_group(group).is_none()) {
        return Err(errors::PLACEMENT_GROUP_UNKNOWN.error(&[group]));
    }
    if let Some(number) = spec.partition {
        check_partition(world, spec, number)?;
    }
    if let Some(id) = spec.reservation.as_ref().filter(|id| !world.region.reservations.contains_key(*id)) {
        return Err(errors::RESERVATION_NOT_FOUND.error(&[id]));
    }
    Ok(Common { profile: profile(world, spec)? })
}

/// A partition is one of a partition placement group. Source: API reference, Placement, PartitionNumber.
fn check_partition(world: &World<'_>, spec: &Spec, number: i64) -> Result<(), AwsError> {
    let group = spec.placement_group.as_deref().and_then(|named| world.placement_group(named));
    match group.and_then(|group| group.partitions) {
        Some(count) if (1..=count).contains(&number) => Ok(()),
        Some(_) => Err(errors::invalid(&number.to_string(), "PartitionNumber", "The placement group has no such partition.")),
        None => Err(errors::COMBINATION.error(&["PartitionNumber", "Placement"])),
    }
}

fn known_group(world: &World<'_>, id: &str) -> Result<(), AwsError> {
    if world.region.group(id, world.now).is_some() { Ok(()) } else { Err(errors::GROUP_NOT_FOUND.error(&[id])) }
}

fn profile(world: &World<'_>, spec: &Spec) -> Result<Option<InstanceProfileRef>, AwsError> {
    // What IAM was told a moment ago EC2 may not know yet.
    let mut profiles = world.account.iam.profiles.values().filter(|profile| profile.known <= world.now);
    let found = match (&spec.profile_name, &spec.profile_arn) {
        (Some(name), _) => Some(profiles.find(|profile| profile.name == *name).ok_or_else(|| errors::PROFILE_NAME.error(&[name]))?),
        (None, Some(arn)) => Some(profiles.find(|profile| profile.arn == *arn).ok_or_else(|| errors::PROFILE_ARN.error(&[arn]))?),
        (None, None) => None,
    };
    Ok(found.map(|profile| InstanceProfileRef { arn: profile.arn.clone(), id: profile.id.clone(), name: profile.name.clone() }))
}

/// Finds and checks the place that a choice means.
pub(in crate::services) fn place(world: &World<'_>, spec: &Spec, choice: &Choice<'_>) -> Result<Place, AwsError> {
    let image = choice.image.or(spec.image.as_deref()).ok_or_else(|| errors::MISSING.error(&["ImageId"]))?;
    let image = match image.strip_prefix("resolve:ssm:") {
        Some(parameter) => resolve_parameter(world, parameter)?,
        None => image,
    };
    let image = images::find(world, image)?;
    if image.available.is_some_and(|available| world.now < available) {
        return Err(errors::IMAGE_UNAVAILABLE.error(&[&image.id]));
    }
    // EC2's default type of a request that names none. Source: API reference, RunInstances, InstanceType.
    let name = choice.instance_type.or(spec.instance_type.as_deref()).unwrap_or("m1.small");
    let details = catalogue::instance_type(name).ok_or_else(|| errors::TYPE_INVALID.error(&[name]))?;
    if !details.architectures().iter().any(|architecture| architecture == image.architecture) {
        let theirs = details.architectures().first().map_or("", String::as_str);
        return Err(errors::ARCHITECTURE.error(&[theirs, image.architecture]));
    }
    let zones = world.account.offered_in(world.region, name);
    if zones.is_empty() {
        return Err(errors::NOT_IN_REGION.error(&[]));
    }
    let (subnet_id, vpc_id, zone) = subnet(world, spec, choice, &zones)?;
    if !zones.contains(&zone) {
        let others: Vec<&str> = zones.iter().map(|zone| zone.name).collect();
        return Err(errors::NOT_IN_ZONE.error(&[name, zone.name, &others.join(", ")]));
    }
    let named = spec.reservation.as_ref().and_then(|id| world.region.reservations.get(id));
    if let Some(reservation) = named.filter(|it| it.instance_type != details.name() || it.zone != zone) {
        return Err(errors::RESERVATION_MISMATCH.error(&[&reservation.id]));
    }
    let place = Place {
        details,
        image_id: image.id.clone(),
        subnet_id,
        vpc_id,
        zone,
        reservation: spec.reservation.clone(),
        preference: Preference::read(&spec.reservation_preference),
        group: spec.placement_group.as_ref().and_then(|named| world.placement_group(named)).map(|group| group.name.clone()),
    };
    check_networks(world, spec, &place)?;
    check_strategy(world, &place)?;
    Ok(place)
}

/// Not every type can be in every kind of group (PlacementGroupInfo of the type's description).
fn check_strategy(world: &World<'_>, place: &Place) -> Result<(), AwsError> {
    let Some(group) = place.group.as_deref().and_then(|named| world.placement_group(named)) else { return Ok(()) };
    let supported = place.details.details().pointer("/PlacementGroupInfo/SupportedStrategies").and_then(Value::as_array);
    if supported.is_none_or(|all| all.iter().any(|strategy| strategy.as_str() == Some(&group.strategy))) {
        return Ok(());
    }
    let strategy = match group.strategy.as_str() {
        "cluster" => "Cluster",
        "partition" => "Partition",
        _ => "Spread",
    };
    Err(errors::GROUP_STRATEGY.error(&[strategy, place.details.name()]))
}

fn resolve_parameter<'a>(world: &'a World<'_>, name: &str) -> Result<&'a str, AwsError> {
    let own = world.region.parameters.get(name).map(|parameter| parameter.value.as_str());
    let found = own.or_else(|| world.region.public_parameters.get(name).map(String::as_str));
    found.ok_or_else(|| errors::invalid(name, "ImageId", "The Systems Manager parameter does not exist."))
}

/// The subnet asked for, else a default subnet of the zone asked for, else of the first zone that offers the type.
fn subnet(world: &World<'_>, spec: &Spec, choice: &Choice<'_>, zones: &[Zone]) -> Result<(String, String, Zone), AwsError> {
    let zone = choice.zone.or(spec.zone.as_deref());
    if let Some(id) = choice.subnet.or_else(|| spec.asked_subnet()) {
        let subnet = world.region.subnet(id, world.now).ok_or_else(|| errors::SUBNET_NOT_FOUND.error(&[id]))?;
        if let Some(zone) = zone.filter(|zone| *zone != subnet.zone.name && *zone != subnet.zone.id) {
            let why = format!("The subnet '{id}' is in the Availability Zone '{}'.", subnet.zone.name);
            return Err(errors::invalid(zone, "availabilityZone", &why));
        }
        return Ok((subnet.id.clone(), subnet.vpc_id.clone(), subnet.zone));
    }
    if let Some(zone) = zone
        && !world.region.zones.iter().any(|known| known.name == zone || known.id == zone)
    {
        return Err(errors::ZONE_UNKNOWN.error(&[zone]));
    }
    let vpc = world.region.default_vpc().ok_or_else(|| errors::NO_DEFAULT_VPC.error(&[]))?;
    let mut defaults = world.region.subnets.values().filter(|subnet| subnet.default && subnet.vpc_id == vpc.id).collect::<Vec<_>>();
    defaults.sort_by_key(|subnet| subnet.zone.name);
    let found = match zone {
        Some(zone) => defaults.into_iter().find(|subnet| subnet.zone.name == zone || subnet.zone.id == zone),
        None => defaults.into_iter().find(|subnet| zones.contains(&subnet.zone)),
    };
    let found = found.ok_or_else(|| errors::NO_DEFAULT_SUBNET.error(&[&vpc.id]))?;
    Ok((found.id.clone(), found.vpc_id.clone(), found.zone))
}

/// Groups and subnet must be of one VPC.
fn check_networks(world: &World<'_>, spec: &Spec, place: &Place) -> Result<(), AwsError> {
    let of_interfaces = spec.interfaces.iter().flat_map(|interface| interface.texts("Groups"));
    for id in spec.group_ids.iter().map(String::as_str).chain(of_interfaces) {
        if world.region.groups.get(id).is_some_and(|group| group.vpc_id != place.vpc_id) {
            return Err(errors::NETWORKS.error(&[id, &place.subnet_id]));
        }
    }
    for name in &spec.group_names {
        group_by_name(world, name, &place.vpc_id)?;
    }
    let most = place.details.max_network_interfaces() as usize;
    if spec.interfaces.len() > most {
        return Err(errors::TOO_MANY_INTERFACES.error(&[&spec.interfaces.len().to_string(), place.details.name()]));
    }
    Ok(())
}

fn group_by_name(world: &World<'_>, name: &str, vpc_id: &str) -> Result<String, AwsError> {
    let found = world.region.groups.values().find(|group| group.name == name && group.vpc_id == vpc_id);
    Ok(found.ok_or_else(|| errors::GROUP_NOT_FOUND.error(&[name]))?.id.clone())
}

/// Checks that the type is sold in this market, and the price against a maximum.
pub(in crate::services) fn check_market(
    world: &World<'_>,
    place: &Place,
    market: Market,
    most: Option<&(String, catalogue::MicroUsd)>,
) -> Result<(), AwsError> {
    if market != Market::Spot {
        return Ok(());
    }
    if !place.details.usage_classes().iter().any(|class| class == "spot") {
        return Err(errors::SPOT_TYPE.error(&[place.details.name()]));
    }
    let price = world.account.spot_price(world.region, place.details.name(), place.zone.name, world.now);
    match (most, price) {
        (Some((text, most)), Some(price)) if price > *most => Err(errors::SPOT_PRICE.error(&[text, &price.to_decimal()])),
        _ => Ok(()),
    }
}

/// EC2's words for a pool that has nothing left, with the zones that still have the type.
pub(in crate::services) fn insufficient(world: &World<'_>, place: &Place, market: Market) -> AwsError {
    if market == Market::Spot {
        return errors::SPOT_CAPACITY.error(&[]);
    }
    let name = place.details.name();
    let others = world.account.offered_in(world.region, name).into_iter().filter(|zone| *zone != place.zone);
    let others = others.filter(|zone| !world.room(&Pool { instance_type: name.into(), zone: zone.name.into(), market }).none());
    let others: Vec<&str> = others.map(|zone| zone.name).collect();
    if others.is_empty() {
        return errors::CAPACITY_NOWHERE.error(&[name, place.zone.name]);
    }
    errors::CAPACITY.error(&[name, place.zone.name, &others.join(", ")])
}

/// How many more instances a place takes by its pool.
pub(in crate::services) fn room(world: &World<'_>, place: &Place, market: Market) -> Room {
    world.room(&place.pool(market))
}

/// Makes instances of one reservation at a place that was checked and has the addresses. Returns their ids.
pub(in crate::services) fn launch(
    world: &mut World<'_>,
    spec: &Spec,
    common: &Common,
    place: &Place,
    order: &Order<'_>,
    count: u64,
) -> Vec<String> {
    let reservation_id = world.account.entropy.id("r");
    let mut ids = Vec::new();
    for index in 0..count {
        let id = world.account.entropy.id("i");
        let Some(interfaces) = make_interfaces(world, spec, place, order, &id) else { break };
        let volumes = make_volumes(world, spec, place, order, &id);
        let mut tags = order.system_tags.clone();
        tags.extend(tags_for(spec, order, "instance"));
        let (capacity_reservation, partition) =
            (reservation_of(world, place, order.market), spec.partition.or_else(|| partition_of(world, place)));
        let price = world.account.pool_price(world.region, &place.pool(order.market), world.now);
        let instance = Instance {
            id: id.clone(),
            reservation_id: reservation_id.clone(),
            instance_type: place.details.name(),
            zone: place.zone,
            vpc_id: place.vpc_id.clone(),
            subnet_id: place.subnet_id.clone(),
            image_id: place.image_id.clone(),
            market: order.market,
            phase: Phase::Pending,
            launched: world.now,
            tags,
            interfaces,
            volumes,
            price,
            max_price: order.max_price.filter(|_| order.market == Market::Spot),
            spot_request: (order.market == Market::Spot).then(|| spot_request_id(world)),
            client_token: order.client_token.map(str::to_owned),
            launch_index: i64::try_from(index).unwrap_or(i64::MAX),
            key_name: spec.key_name.clone(),
            user_data: spec.user_data.clone(),
            profile: common.profile.clone(),
            monitoring: spec.monitoring,
            ebs_optimized: spec.ebs_optimized.unwrap_or_else(|| ebs_optimized_by_default(place.details)),
            tenancy: spec.tenancy.clone(),
            metadata: Metadata::over_defaults(spec.metadata.as_ref(), true),
            capacity_reservation_preference: spec.reservation_preference.clone(),
            capacity_reservation,
            placement_group: place.group.clone(),
            partition,
            keep: spec.keep,
            found: world.account.found_from(world.now, world.account.settings.consistency.instances),
            impaired: Vec::new(),
            events: Vec::new(),
            enclave: spec.enclave,
            reason: None,
            transition_reason: String::new(),
            console: None,
            interrupted: None,
            priced_out: false,
            ended: None,
            generation: 0,
        };
        world.region.instances.insert(id.clone(), instance);
        world.begin(&id);
        ids.push(id);
    }
    if order.max_price.is_some() {
        world.watch_prices();
    }
    ids
}

/// The reservation whose room an instance uses: the one named, or an open one that fits.
fn reservation_of(world: &World<'_>, place: &Place, market: Market) -> Option<String> {
    if market != Market::OnDemand || place.preference == Preference::None {
        return None;
    }
    place
        .reservation
        .clone()
        .or_else(|| world.open_reservations(place.details.name(), place.zone.name).into_iter().next().map(|(id, _)| id))
}

/// The partition that EC2 picks: the emptiest.
fn partition_of(world: &World<'_>, place: &Place) -> Option<i64> {
    let group = world.placement_group(place.group.as_deref()?)?;
    let held = |number: &i64| {
        let instances = world.region.instances.values().filter(|it| it.phase.holds_capacity());
        instances.filter(|it| it.placement_group.as_deref() == Some(&group.name) && it.partition == Some(*number)).count()
    };
    (1..=group.partitions?).min_by_key(held)
}

/// `sir-` and eight letters and digits.
fn spot_request_id(world: &mut World<'_>) -> String {
    format!("sir-{}", world.account.entropy.letters("sir", b"abcdefghijkmnpqrstuvwxyz0123456789", 8))
}

fn ebs_optimized_by_default(details: &InstanceType) -> bool {
    details.details().pointer("/EbsInfo/EbsOptimizedSupport").and_then(Value::as_str) == Some("default")
}

fn tags_for(spec: &Spec, order: &Order<'_>, kind: &str) -> Tags {
    let mut tags = spec.tags.get(kind).cloned().unwrap_or_default();
    tags.extend(order.tags.get(kind).cloned().unwrap_or_default());
    tags
}

/// The interfaces of one instance; `None`, and none made, when the subnet has not enough addresses.
fn make_interfaces(world: &mut World<'_>, spec: &Spec, place: &Place, order: &Order<'_>, instance_id: &str) -> Option<Vec<String>> {
    let plain = [Members::new()];
    let asked: &[Members] = if spec.interfaces.is_empty() { &plain } else { &spec.interfaces };
    if world.region.subnets.get(&place.subnet_id)?.free() < spec.addresses() {
        return None;
    }
    let mut made = Vec::new();
    for (at, interface) in asked.iter().enumerate() {
        let kind = interface.text("InterfaceType").unwrap_or("interface");
        let subnet = world.region.subnets.get_mut(&place.subnet_id)?;
        let asked_address = interface.text("PrivateIpAddress").and_then(|text| text.parse::<Ipv4Addr>().ok());
        let address = match asked_address {
            _ if kind == "efa-only" => None,
            Some(address) if subnet.take_this(address) => Some(address),
            _ => Some(subnet.take(&mut world.account.entropy)?),
        };
        let public = interface.member("AssociatePublicIpAddress").and_then(Value::as_bool).unwrap_or(subnet.public);
        let public_address = (public && at == 0 && address.is_some()).then(|| public_address(world));
        let groups = interface_groups(world, spec, interface, place);
        let made_one = Interface {
            id: world.account.entropy.id("eni"),
            attachment_id: world.account.entropy.id("eni-attach"),
            instance_id: instance_id.to_owned(),
            subnet_id: place.subnet_id.clone(),
            vpc_id: place.vpc_id.clone(),
            zone: place.zone,
            groups,
            address,
            public_address,
            mac: mac(world),
            description: interface.text("Description").unwrap_or_default().to_owned(),
            interface_type: kind.to_owned(),
            device_index: interface.int("DeviceIndex").unwrap_or(i64::try_from(at).unwrap_or(0)),
            card_index: interface.int("NetworkCardIndex").unwrap_or(0),
            delete_on_termination: interface.member("DeleteOnTermination").and_then(Value::as_bool).unwrap_or(true),
            attached_at: world.now,
            tags: tags_for(spec, order, "network-interface"),
        };
        made.push(made_one.id.clone());
        world.region.interfaces.insert(made_one.id.clone(), made_one);
    }
    Some(made)
}

fn interface_groups(world: &World<'_>, spec: &Spec, interface: &Members, place: &Place) -> Vec<String> {
    let mut groups: Vec<String> = interface.texts("Groups").into_iter().map(str::to_owned).collect();
    groups.extend(spec.group_ids.iter().cloned());
    groups.extend(spec.group_names.iter().filter_map(|name| group_by_name(world, name, &place.vpc_id).ok()));
    if groups.is_empty() {
        groups.extend(world.region.default_group(&place.vpc_id).map(|group| group.id.clone()));
    }
    groups
}

fn public_address(world: &mut World<'_>) -> Ipv4Addr {
    let drawn = world.account.entropy.draw("public-address");
    let [_, a, b, c, ..] = drawn.to_le_bytes();
    Ipv4Addr::new(54, 184 + (a & 7), b, c.clamp(1, 254))
}

fn mac(world: &mut World<'_>) -> String {
    let [_, a, b, c, d, ..] = world.account.entropy.draw("mac").to_le_bytes();
    format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{:02x}", a ^ d)
}

/// The image's disks with the launch's over them.
fn make_volumes(world: &mut World<'_>, spec: &Spec, place: &Place, order: &Order<'_>, instance_id: &str) -> Vec<(String, String)> {
    let devices = world.region.images.get(&place.image_id).map(|image| image.devices.clone()).unwrap_or_default();
    let mut disks: Vec<(String, Members)> = devices
        .into_iter()
        .map(|(device, size)| {
            let ebs = [("VolumeSize".to_owned(), Value::from(size)), ("VolumeType".to_owned(), Value::from("gp3"))];
            (device, ebs.into_iter().collect())
        })
        .collect();
    for mapping in &spec.devices {
        let (Some(device), Some(ebs)) = (mapping.text("DeviceName"), mapping.part("Ebs")) else { continue };
        match disks.iter_mut().find(|(held, _)| held == device) {
            Some((_, held)) => held.extend(ebs.clone()),
            None => disks.push((device.to_owned(), ebs.clone())),
        }
    }
    let mut made = Vec::new();
    for (device, ebs) in disks {
        let volume_type = ebs.text("VolumeType").unwrap_or("gp2").to_owned();
        let gp3 = volume_type == "gp3";
        let volume = Volume {
            id: world.account.entropy.id("vol"),
            instance_id: instance_id.to_owned(),
            device: device.clone(),
            zone: place.zone,
            size_gib: ebs.int("VolumeSize").unwrap_or(8),
            // gp3 comes with 3,000 IOPS and 125 MiB/s. Source: EBS user guide, "General Purpose SSD volumes".
            iops: ebs.int("Iops").or(gp3.then_some(3000)),
            throughput: ebs.int("Throughput").or(gp3.then_some(125)),
            volume_type,
            encrypted: ebs.flag("Encrypted"),
            kms_key: ebs.text("KmsKeyId").map(str::to_owned),
            snapshot: ebs.text("SnapshotId").map(str::to_owned),
            delete_on_termination: ebs.member("DeleteOnTermination").and_then(Value::as_bool).unwrap_or(true),
            created: world.now,
            attached: None,
            tags: tags_for(spec, order, "volume"),
        };
        made.push((device, volume.id.clone()));
        world.region.volumes.insert(volume.id.clone(), volume);
    }
    made
}
