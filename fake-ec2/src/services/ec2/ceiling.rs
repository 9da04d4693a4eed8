//! What bounds a launch beside addresses: the pool or the reservation, the account's vCPUs, the placement group.

use std::collections::BTreeMap;

use super::launch::{self, Place};
use crate::protocol::AwsError;
use crate::services::errors;
use crate::state::market::{Pool, Room};
use crate::state::reservation::Preference;
use crate::state::settings::Quota;
use crate::state::{Market, World};

/// Most instances of a spread group in a zone. Source: EC2 user guide, "Spread placement groups".
const SPREAD: u64 = 7;

/// What is planned already in the same request.
#[derive(Debug, Default)]
pub(super) struct Held {
    pools: BTreeMap<(Pool, Option<String>), u64>,
    vcpus: BTreeMap<&'static str, u64>,
    groups: BTreeMap<(String, &'static str), u64>,
}

impl Held {
    pub fn add(&mut self, place: &Place, market: Market, count: u64) {
        *self.pools.entry((place.pool(market), place.reservation.clone())).or_insert(0) += count;
        *self.vcpus.entry(class(place.details.name())).or_insert(0) += count * u64::from(place.details.vcpus());
        if let Some(group) = &place.group {
            *self.groups.entry((group.clone(), place.zone.name)).or_insert(0) += count;
        }
    }
}

/// Why there is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Capacity,
    Reservation,
    Quota(u64),
    Spread,
    /// The cluster placement group is in another zone.
    Elsewhere,
}

impl Why {
    pub fn error(self, world: &World<'_>, place: &Place, market: Market) -> AwsError {
        match self {
            Self::Capacity | Self::Elsewhere => launch::insufficient(world, place, market),
            Self::Reservation => errors::RESERVATION_FULL.error(&[]),
            Self::Quota(_) if market == Market::Spot => errors::SPOT_QUOTA.error(&[]),
            Self::Quota(limit) => errors::VCPU_QUOTA.error(&[&limit.to_string()]),
            Self::Spread => errors::SPREAD_LIMIT.error(&[]),
        }
    }
}

/// How many more instances a place takes, and what the bound is.
pub(super) fn left(world: &World<'_>, place: &Place, market: Market, held: &Held) -> (u64, Why) {
    let planned = held.pools.get(&(place.pool(market), place.reservation.clone())).copied().unwrap_or(0);
    let (room, why) = capacity(world, place, market);
    let mut least = (room.saturating_sub(planned), why);
    if let Some((free, limit)) = vcpus_left(world, place, market) {
        let free = free.saturating_sub(held.vcpus.get(class(place.details.name())).copied().unwrap_or(0));
        let instances = free / u64::from(place.details.vcpus().max(1));
        if instances < least.0 {
            least = (instances, Why::Quota(limit));
        }
    }
    let group = place.group.as_deref().and_then(|name| world.placement_group(name));
    if let Some(group) = group.filter(|group| group.strategy == "spread" && group.spread_level.as_deref() != Some("host")) {
        let planned = held.groups.get(&(group.name.clone(), place.zone.name)).copied().unwrap_or(0);
        let free = SPREAD.saturating_sub(world.grouped(&group.name, Some(place.zone.name)) + planned);
        if free < least.0 {
            least = (free, Why::Spread);
        }
    }
    // A fleet is told of capacity there (karpenter-provider-aws, designs/placement-groups-support.md, "Note on cluster PG launches").
    if group.is_some_and(|group| group.strategy == "cluster") && elsewhere(world, place, held).is_some() {
        least = (0, Why::Elsewhere);
    }
    least
}

/// The zone of the cluster placement group, when it is another one: its instances are all in one zone.
pub(super) fn elsewhere(world: &World<'_>, place: &Place, held: &Held) -> Option<&'static str> {
    let group = world.placement_group(place.group.as_deref()?).filter(|group| group.strategy == "cluster")?;
    let planned = held.groups.iter().filter(|((name, _), count)| *name == group.name && **count > 0).map(|((_, zone), _)| *zone);
    world.zones_of_group(&group.name).into_iter().chain(planned).find(|zone| *zone != place.zone.name)
}

fn capacity(world: &World<'_>, place: &Place, market: Market) -> (u64, Why) {
    if let Some(id) = &place.reservation {
        return (world.reservation_left(id), Why::Reservation);
    }
    let open = if market == Market::OnDemand && place.preference != Preference::None {
        world.open_reservations(place.details.name(), place.zone.name).iter().map(|(_, left)| left).sum()
    } else {
        0
    };
    match (place.preference, world.room(&place.pool(market))) {
        (Preference::Only, _) => (open, Why::Reservation),
        (_, Room::Unlimited) => (u64::MAX, Why::Capacity),
        (_, Room::Left(left)) => (left + open, Why::Capacity),
    }
}

/// vCPUs of the class and market that the account may still start, and its quota; `None` where none is set.
fn vcpus_left(world: &World<'_>, place: &Place, market: Market) -> Option<(u64, u64)> {
    let quotas = &world.account.settings.quotas;
    let class_of_place = class(place.details.name());
    let limit = quotas.iter().rev().find(|quota: &&Quota| quota.class == class_of_place && quota.market == market)?.vcpus;
    let live = world.region.instances.values().filter(|it| it.phase.holds_capacity() && it.market == market);
    let used: u64 = live
        .filter(|it| class(it.instance_type) == class_of_place)
        .filter_map(|it| crate::catalogue::instance_type(it.instance_type))
        .map(|details| u64::from(details.vcpus()))
        .sum();
    Some((limit.saturating_sub(used), limit))
}

/// The quota that a type counts against. Source: EC2 user guide, "Amazon EC2 instance type quotas".
pub(super) fn class(instance_type: &str) -> &'static str {
    let family = instance_type.split('.').next().unwrap_or_default();
    let starts = |prefix: &str| family.starts_with(prefix);
    match family {
        _ if starts("trn") => "trn",
        _ if starts("inf") => "inf",
        _ if starts("dl") => "dl",
        _ if starts("hpc") => "hpc",
        _ if starts("vt") || starts("g") => "g",
        _ if starts("mac") => "mac",
        _ if starts("u-") || starts("u7") => "high-memory",
        _ if starts("f") => "f",
        _ if starts("p") => "p",
        _ if starts("x") => "x",
        _ => "standard",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case("m5.large", "standard")]
    #[case("t3.medium", "standard")]
    #[case("z1d.large", "standard")]
    #[case("g5.xlarge", "g")]
    #[case("vt1.3xlarge", "g")]
    #[case("p5.48xlarge", "p")]
    #[case("inf2.xlarge", "inf")]
    #[case("trn1.2xlarge", "trn")]
    #[case("x2idn.16xlarge", "x")]
    #[case("u-6tb1.metal", "high-memory")]
    #[case("hpc7g.4xlarge", "hpc")]
    fn classes(#[case] name: &str, #[case] class: &str) {
        assert_eq!(super::class(name), class);
    }
}
