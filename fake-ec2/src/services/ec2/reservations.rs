//! Capacity reservations and placement groups.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::tags;
use crate::catalogue;
use crate::protocol::{AwsError, Call};
use crate::services::filter::{Filters, Table};
use crate::services::input::{Out, Read, stamp};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::agenda::Due;
use crate::state::market::{Market, Pool};
use crate::state::reservation::{CapacityReservation, PlacementGroup};

const CAPACITY_FILTERS: Table = &[
    ("instance-type", "InstanceType"),
    ("owner-id", "OwnerId"),
    ("instance-platform", "InstancePlatform"),
    ("availability-zone", "AvailabilityZone"),
    ("availability-zone-id", "AvailabilityZoneId"),
    ("tenancy", "Tenancy"),
    ("outpost-arn", ""),
    ("state", "State"),
    ("start-date", "StartDate"),
    ("end-date", "EndDate"),
    ("end-date-type", "EndDateType"),
    ("instance-match-criteria", "InstanceMatchCriteria"),
    ("placement-group-arn", ""),
    ("reservation-type", "ReservationType"),
];

fn render(world: &World<'_>, it: &CapacityReservation) -> Value {
    let used = world.reservation_used(&it.id);
    let active = it.state == "active";
    Out::new()
        .with("CapacityReservationId", it.id.clone())
        .with("OwnerId", world.account.id.clone())
        .with("CapacityReservationArn", it.arn.clone())
        .with("AvailabilityZoneId", it.zone.id)
        .with("AvailabilityZone", it.zone.name)
        .with("InstanceType", it.instance_type)
        .with("InstancePlatform", "Linux/UNIX")
        .with("Tenancy", "default")
        .with("TotalInstanceCount", if active { it.total } else { 0 })
        .with("AvailableInstanceCount", if active { it.total.saturating_sub(used) } else { 0 })
        .with("EbsOptimized", false)
        .with("EphemeralStorage", false)
        .with("State", it.state)
        .with("StartDate", stamp(it.created))
        .maybe("EndDate", it.end.map(stamp))
        .with("EndDateType", if it.end.is_some() { "limited" } else { "unlimited" })
        .with("InstanceMatchCriteria", if it.open { "open" } else { "targeted" })
        .with("CreateDate", stamp(it.created))
        .with("ReservationType", "default")
        .with("Tags", tags::render(&it.tags))
        .done()
}

fn known<'a>(world: &'a World<'_>, id: &str) -> Result<&'a CapacityReservation, AwsError> {
    world.region.reservations.get(id).ok_or_else(|| errors::RESERVATION_NOT_FOUND.error(&[id]))
}

/// The end that a request asks for; `EndDateType` must agree.
fn end(call: &Call, now: Timestamp) -> Result<Option<Timestamp>, AwsError> {
    let end = call.input.text("EndDate").and_then(|text| text.parse::<Timestamp>().ok());
    match (call.input.text("EndDateType").unwrap_or("unlimited"), end) {
        ("unlimited", None) => Ok(None),
        ("limited", Some(end)) if end > now => Ok(Some(end)),
        ("limited", Some(_)) => Err(errors::invalid("EndDate", "EndDate", "The end date must be in the future.")),
        ("limited", None) => Err(errors::MISSING.error(&["EndDate"])),
        _ => Err(errors::COMBINATION.error(&["EndDate", "EndDateType"])),
    }
}

pub(super) fn create_capacity(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    let name = input.need("InstanceType")?;
    let details = catalogue::instance_type(name).ok_or_else(|| errors::TYPE_INVALID.error(&[name]))?;
    let asked = input.text("AvailabilityZone").or_else(|| input.text("AvailabilityZoneId"));
    let asked = asked.ok_or_else(|| errors::MISSING.error(&["AvailabilityZone"]))?;
    let zone = world.region.zones.iter().copied().find(|zone| zone.name == asked || zone.id == asked);
    let zone = zone.ok_or_else(|| errors::ZONE_UNKNOWN.error(&[asked]))?;
    let offered = world.account.offered_in(world.region, name);
    if !offered.contains(&zone) {
        let others: Vec<&str> = offered.iter().map(|zone| zone.name).collect();
        return Err(errors::NOT_IN_ZONE.error(&[name, zone.name, &others.join(", ")]));
    }
    let total = input.int("InstanceCount").and_then(|count| u64::try_from(count).ok()).filter(|count| *count > 0);
    let total = total.ok_or_else(|| errors::invalid("0", "InstanceCount", "The instance count must be positive."))?;
    let (end, tags) = (end(call, world.now)?, tags::for_resource(input, "capacity-reservation")?);
    super::dry_run(call)?;
    let pool = Pool { instance_type: details.name().to_owned(), zone: zone.name.to_owned(), market: Market::OnDemand };
    if !world.room(&pool).holds(total) {
        return Err(errors::CAPACITY_NOWHERE.error(&[name, zone.name]));
    }
    let id = world.account.entropy.id("cr");
    let made = CapacityReservation {
        arn: world.account.arn("ec2", &world.region.name, &format!("capacity-reservation/{id}")),
        id: id.clone(),
        instance_type: details.name(),
        zone,
        total: 0,
        open: input.text("InstanceMatchCriteria").unwrap_or("open") == "open",
        state: "active",
        created: world.now,
        end,
        tags,
    };
    world.region.reservations.insert(id.clone(), made);
    world.resize_reservation(&id, total);
    if let Some(end) = end {
        world.account.agenda.add(end, Due::Reservation { region: world.region.name.clone(), id: id.clone() });
    }
    Ok(Out::new().with("CapacityReservation", render(world, known(world, &id)?)).done())
}

pub(super) fn modify_capacity(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.need("CapacityReservationId")?.to_owned();
    let before = known(world, &id)?.clone();
    if before.state != "active" {
        return Err(errors::RESERVATION_STATE.error(&[&id, before.state]));
    }
    let total = call.input.int("InstanceCount").and_then(|count| u64::try_from(count).ok());
    let until = if call.input.text("EndDateType").is_some() { end(call, world.now)? } else { before.end };
    super::dry_run(call)?;
    if let Some(total) = total {
        if total < world.reservation_used(&id) {
            return Err(errors::invalid(&total.to_string(), "InstanceCount", "The reservation is used by more instances."));
        }
        world.resize_reservation(&id, total);
    }
    if let Some(reservation) = world.region.reservations.get_mut(&id) {
        reservation.end = until;
    }
    if let Some(end) = until {
        world.account.agenda.add(end, Due::Reservation { region: world.region.name.clone(), id });
    }
    Ok(Out::new().with("Return", true).done())
}

pub(super) fn cancel_capacity(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.need("CapacityReservationId")?.to_owned();
    let state = known(world, &id)?.state;
    if state != "active" {
        return Err(errors::RESERVATION_STATE.error(&[&id, state]));
    }
    super::dry_run(call)?;
    world.end_reservation(&id, "cancelled");
    Ok(Out::new().with("Return", true).done())
}

pub(super) fn describe_capacity(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, CAPACITY_FILTERS)?;
    let ids = call.input.texts("CapacityReservationIds");
    for id in &ids {
        known(world, id)?;
    }
    let asked = world.region.reservations.values().filter(|it| ids.is_empty() || ids.contains(&it.id.as_str()));
    let rows = asked.map(|it| (it.id.clone(), render(world, it))).filter(|(_, row)| filters.pass(row)).collect();
    let (found, token) = page::cut(call, Pages::capped(1, 1000), rows)?;
    Ok(Out::new().with("CapacityReservations", found).maybe("NextToken", token).done())
}

const GROUP_FILTERS: Table = &[
    ("group-name", "GroupName"),
    ("group-arn", "GroupArn"),
    ("spread-level", "SpreadLevel"),
    ("state", "State"),
    ("strategy", "Strategy"),
];

fn render_group(world: &World<'_>, group: &PlacementGroup) -> Value {
    Out::new()
        .with("GroupName", group.name.clone())
        .with("State", "available")
        .with("Strategy", group.strategy.clone())
        .maybe("PartitionCount", group.partitions)
        .with("GroupId", group.id.clone())
        .with("GroupArn", world.account.arn("ec2", &world.region.name, &format!("placement-group/{}", group.name)))
        .maybe("SpreadLevel", group.spread_level.clone())
        .with("Tags", tags::render(&group.tags))
        .done()
}

/// Source: API reference, CreatePlacementGroup: two partitions unless asked, seven at most; spread over racks unless asked.
pub(super) fn create_placement_group(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    let name = input.need("GroupName")?;
    if world.region.placement_groups.contains_key(name) {
        return Err(errors::PLACEMENT_GROUP_EXISTS.error(&[name]));
    }
    let strategy = input.text("Strategy").unwrap_or("cluster");
    let partitions = match (strategy, input.int("PartitionCount")) {
        ("partition", count) => Some(count.unwrap_or(2)),
        (_, None) => None,
        (_, Some(_)) => return Err(errors::COMBINATION.error(&["PartitionCount", "Strategy"])),
    };
    if let Some(count) = partitions.filter(|count| !(1..=7).contains(count)) {
        return Err(errors::invalid(&count.to_string(), "PartitionCount", "The partition count must be between 1 and 7."));
    }
    let tags = tags::for_resource(input, "placement-group")?;
    super::dry_run(call)?;
    let group = PlacementGroup {
        id: world.account.entropy.id("pg"),
        name: name.to_owned(),
        strategy: strategy.to_owned(),
        partitions,
        spread_level: (strategy == "spread").then(|| input.text("SpreadLevel").unwrap_or("rack").to_owned()),
        tags,
    };
    let shown = render_group(world, &group);
    world.region.placement_groups.insert(group.name.clone(), group);
    Ok(Out::new().with("PlacementGroup", shown).done())
}

pub(super) fn delete_placement_group(world: &mut World<'_>, call: &Call) -> Answer {
    let name = call.input.need("GroupName")?;
    if !world.region.placement_groups.contains_key(name) {
        return Err(errors::PLACEMENT_GROUP_UNKNOWN.error(&[name]));
    }
    if world.grouped(name, None) > 0 {
        return Err(errors::PLACEMENT_GROUP_IN_USE.error(&[name]));
    }
    super::dry_run(call)?;
    world.region.placement_groups.remove(name);
    Ok(Out::new().done())
}

pub(super) fn describe_placement_groups(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, GROUP_FILTERS)?;
    let named: Vec<&str> = call.input.texts("GroupNames").into_iter().chain(call.input.texts("GroupIds")).collect();
    if let Some(unknown) = named.iter().find(|name| world.placement_group(name).is_none()) {
        return Err(errors::PLACEMENT_GROUP_UNKNOWN.error(&[unknown]));
    }
    let groups = world.region.placement_groups.values();
    let asked = groups.filter(|it| named.is_empty() || named.contains(&it.name.as_str()) || named.contains(&it.id.as_str()));
    let rows: Vec<Value> = asked.map(|it| render_group(world, it)).filter(|row| filters.pass(row)).collect();
    Ok(Out::new().with("PlacementGroups", json!(rows)).done())
}
