//! Capacity reservations and placement groups: the account has none yet, and says so in EC2's words.

use serde_json::Value;

use crate::protocol::Call;
use crate::services::filter::{Filters, Table};
use crate::services::input::{Out, Read};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::World;

const CAPACITY_FILTERS: Table = &[
    ("instance-type", "InstanceType"),
    ("owner-id", "OwnerId"),
    ("instance-platform", "InstancePlatform"),
    ("availability-zone", "AvailabilityZone"),
    ("availability-zone-id", "AvailabilityZoneId"),
    ("tenancy", "Tenancy"),
    ("outpost-arn", "OutpostArn"),
    ("state", "State"),
    ("start-date", "StartDate"),
    ("end-date", "EndDate"),
    ("end-date-type", "EndDateType"),
    ("instance-match-criteria", "InstanceMatchCriteria"),
    ("placement-group-arn", "PlacementGroupArn"),
    ("reservation-type", "ReservationType"),
];

pub(super) fn describe_capacity(_: &mut World<'_>, call: &Call) -> Answer {
    Filters::read(&call.input, CAPACITY_FILTERS)?;
    if let Some(id) = call.input.texts("CapacityReservationIds").first() {
        return Err(errors::RESERVATION_NOT_FOUND.error(&[id]));
    }
    let (found, _) = page::cut(call, Pages::capped(1, 1000), Vec::<(String, Value)>::new())?;
    Ok(Out::new().with("CapacityReservations", found).done())
}

const GROUP_FILTERS: Table = &[
    ("group-name", "GroupName"),
    ("group-arn", "GroupArn"),
    ("spread-level", "SpreadLevel"),
    ("state", "State"),
    ("strategy", "Strategy"),
];

pub(super) fn describe_placement_groups(_: &mut World<'_>, call: &Call) -> Answer {
    Filters::read(&call.input, GROUP_FILTERS)?;
    let named = call.input.texts("GroupNames").into_iter().chain(call.input.texts("GroupIds")).next();
    match named {
        Some(name) => Err(errors::PLACEMENT_GROUP_UNKNOWN.error(&[name])),
        None => Ok(Out::new().with("PlacementGroups", Vec::<Value>::new()).done()),
    }
}
