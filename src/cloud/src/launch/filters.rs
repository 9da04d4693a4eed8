//! Which of a claim's types a launch asks for. Source: `A/pkg/providers/instance/filter/filter.go`, in its order.

use super::claim::Wanted;
use crate::labels as aws;
use crate::providers::reservations::CAPACITY_BLOCK;
use planner::{InstanceType, Offering};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vocabulary::labels::instance;
use vocabulary::{CapacityType, UsdPerHour};

/// The most types of one request (`maxInstanceTypes`).
const MOST_TYPES: usize = 60;

/// Types in order of their cheapest offering. `Err` says why none is left.
pub fn filter(all: &[InstanceType], wanted: &Wanted, min_values_best_effort: bool) -> Result<Vec<InstanceType>, String> {
    let gone = || "all requested instance types were unavailable during launch".to_owned();
    let types: Vec<InstanceType> = all.iter().filter(|kind| is_compatible_and_available(kind, wanted)).cloned().collect();
    let types =
        [of_one_reservation_type, of_one_block, of_one_reservation_per_zone, without_exotic, without_dear_spot].into_iter().try_fold(
            types,
            |types, filter: fn(Vec<InstanceType>, &Wanted) -> _| {
                if types.is_empty() { None } else { Some(filter(types, wanted)) }
            },
        );
    match types {
        Some(types) if !types.is_empty() => truncate(types, wanted, min_values_best_effort),
        _ => Err(gone()),
    }
}

fn suits(offering: &Offering, wanted: &Wanted) -> bool {
    offering.available && wanted.requirements.is_compatible(&offering.requirements, aws::is_well_known)
}

/// compatible-available-filter.
fn is_compatible_and_available(kind: &InstanceType, wanted: &Wanted) -> bool {
    wanted.requirements.is_compatible(&kind.requirements, aws::is_well_known)
        && wanted.requests.fits(&kind.allocatable)
        && kind.offerings.iter().any(|offering| suits(offering, wanted))
}

/// The only value of a label of an offering.
pub fn label<'a>(offering: &'a Offering, key: &str) -> &'a str {
    offering.requirements.get(key).and_then(|r| r.single()).map_or("", |value| &**value)
}

/// Kinds of reservations, those that are taken first at equal prices first; which one an offering is of.
fn kind(offering: &Offering) -> usize {
    match (label(offering, aws::RESERVATION_TYPE), label(offering, aws::RESERVATION_INTERRUPTIBLE)) {
        (CAPACITY_BLOCK, _) => 1,
        (_, "true") => 2,
        _ => 0,
    }
}

fn is_reserved(offering: &Offering) -> bool {
    offering.capacity_type == CapacityType::Reserved
}

/// capacity-reservation-type-filter: one fleet is of one kind of reservations, the one with the cheapest type.
fn of_one_reservation_type(types: Vec<InstanceType>, wanted: &Wanted) -> Vec<InstanceType> {
    if !wanted.allows(CapacityType::Reserved) {
        return types;
    }
    let offered = types.iter().flat_map(|t| &t.offerings).filter(|o| is_reserved(o) && suits(o, wanted));
    let Some((_, chosen)) = offered.map(|o| (o.price, kind(o))).min() else { return types };
    let mut types = types;
    types.retain(|t| t.offerings.iter().any(|o| is_reserved(o) && suits(o, wanted) && kind(o) == chosen));
    types.iter_mut().for_each(|t| t.offerings.retain(|o| is_reserved(o) && kind(o) == chosen));
    types
}

/// capacity-block-filter: one fleet takes one capacity block.
fn of_one_block(types: Vec<InstanceType>, wanted: &Wanted) -> Vec<InstanceType> {
    // The filter before left one kind.
    let first = types.iter().flat_map(|t| &t.offerings).find(|o| !label(o, aws::RESERVATION_TYPE).is_empty());
    if !wanted.allows(CapacityType::Reserved) || first.is_none_or(|o| label(o, aws::RESERVATION_TYPE) != CAPACITY_BLOCK) {
        return types;
    }
    let cheapest = |t: &InstanceType| t.offerings.iter().filter(|o| is_reserved(o) && suits(o, wanted)).min_by_key(|o| o.price).cloned();
    let chosen = types.into_iter().filter_map(|t| Some((cheapest(&t)?, t))).min_by_key(|(offering, _)| offering.price);
    chosen
        .map(|(offering, mut t)| {
            t.offerings = vec![offering];
            t
        })
        .into_iter()
        .collect()
}

/// reserved-offering-filter: one reservation per pool of a fleet, the one with the most machines left.
fn of_one_reservation_per_zone(types: Vec<InstanceType>, wanted: &Wanted) -> Vec<InstanceType> {
    if !wanted.allows(CapacityType::Reserved) {
        return types;
    }
    let largest = |t: &InstanceType| {
        let mut by_zone: BTreeMap<Arc<str>, Offering> = BTreeMap::new();
        for offering in t.offerings.iter().filter(|o| is_reserved(o) && suits(o, wanted)) {
            let held = by_zone.get(&offering.zone);
            if held.is_none_or(|held| offering.reservation_capacity > held.reservation_capacity) {
                by_zone.insert(offering.zone.clone(), offering.clone());
            }
        }
        by_zone.into_values().collect::<Vec<_>>()
    };
    let reserved: Vec<InstanceType> =
        types.iter().map(|t| InstanceType { offerings: largest(t), ..t.clone() }).filter(|t| !t.offerings.is_empty()).collect();
    if reserved.is_empty() { types } else { reserved }
}

/// exotic-instance-filter: bare metal and accelerators only when nothing else is left.
fn without_exotic(types: Vec<InstanceType>, wanted: &Wanted) -> Vec<InstanceType> {
    if wanted.has_min_values() || types.iter().all(is_exotic) {
        return types;
    }
    types.into_iter().filter(|kind| !is_exotic(kind)).collect()
}

fn is_exotic(kind: &InstanceType) -> bool {
    let metal = kind.requirements.get(instance::SIZE).is_some_and(|size| size.values.iter().any(|size| size.contains("metal")));
    metal || [aws::NEURON, aws::NEURON_CORE, aws::AMD_GPU, aws::NVIDIA_GPU, aws::GAUDI].iter().any(|name| kind.capacity.get(name) != 0)
}

/// spot-offering-filter: a claim that may be of either market pays no more for Spot than for the cheapest on-demand machine.
fn without_dear_spot(types: Vec<InstanceType>, wanted: &Wanted) -> Vec<InstanceType> {
    if wanted.has_min_values() || !wanted.allows(CapacityType::OnDemand) || !wanted.allows(CapacityType::Spot) {
        return types;
    }
    let offered = || types.iter().flat_map(|kind| &kind.offerings).filter(|offering| suits(offering, wanted));
    let cheapest = offered().filter(|offering| offering.capacity_type == CapacityType::OnDemand).map(|offering| offering.price).min();
    let (Some(cheapest), true) = (cheapest, offered().any(|offering| offering.capacity_type == CapacityType::Spot)) else { return types };
    types
        .into_iter()
        .filter_map(|mut kind| {
            kind.offerings.retain(|offering| offering.capacity_type != CapacityType::Spot || offering.price <= cheapest);
            (!kind.offerings.is_empty()).then_some(kind)
        })
        .collect()
}

/// The cheapest sixty. Equal prices stay in order of name.
fn truncate(mut types: Vec<InstanceType>, wanted: &Wanted, best_effort: bool) -> Result<Vec<InstanceType>, String> {
    let price = |kind: &InstanceType| kind.offerings.iter().filter(|offering| suits(offering, wanted)).map(|offering| offering.price).min();
    types.sort_by_cached_key(|kind| price(kind).map_or((true, UsdPerHour::ZERO), |price| (false, price)));
    types.truncate(MOST_TYPES);
    if best_effort {
        return Ok(types);
    }
    for requirement in wanted.requirements.iter() {
        let Some(least) = requirement.min_values else { continue };
        let values: BTreeSet<&Arc<str>> =
            types.iter().filter_map(|kind| kind.requirements.get(&requirement.key)).flat_map(|r| &r.values).collect();
        if values.len() < least as usize {
            return Err(format!(
                "truncating instance types based on the passed-in requirements, validating minValues, minValues requirement is not met for label(s) {}",
                requirement.key
            ));
        }
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vocabulary::{Operator, Requirement, Requirements, Resources, labels};

    fn kind(name: &str, gpus: i64, offers: &[(CapacityType, f64, bool)]) -> InstanceType {
        let offering = |(capacity_type, price, available): &(CapacityType, f64, bool)| Offering {
            zone: "a".into(),
            zone_id: None,
            capacity_type: *capacity_type,
            price: UsdPerHour::new(*price).unwrap(),
            available: *available,
            requirements: [Requirement::is_in(labels::CAPACITY_TYPE, capacity_type.as_str()), Requirement::is_in(labels::ZONE, "a")]
                .into_iter()
                .collect(),
            reservation_capacity: None,
            overlaid: false,
        };
        let size = name.split('.').next_back().unwrap();
        InstanceType {
            name: name.into(),
            requirements: [Requirement::is_in(labels::INSTANCE_TYPE, name), Requirement::is_in(instance::SIZE, size)].into_iter().collect(),
            capacity: Resources::new().with("cpu", 2000).with(aws::NVIDIA_GPU, gpus),
            allocatable: Resources::new().with("cpu", 1900).with(aws::NVIDIA_GPU, gpus),
            offerings: offers.iter().map(offering).collect(),
            overlaid: false,
        }
    }

    fn names(types: &[InstanceType], wanted: &Wanted) -> Result<Vec<String>, String> {
        Ok(filter(types, wanted, false)?.iter().map(|kind| kind.name.to_string()).collect())
    }

    const OD: CapacityType = CapacityType::OnDemand;
    const SPOT: CapacityType = CapacityType::Spot;

    #[test]
    fn types_come_by_price_and_only_where_they_fit_and_are_available() {
        let types = [
            kind("b.large", 0, &[(OD, 0.2, true)]),
            kind("a.large", 0, &[(OD, 0.2, true)]),
            kind("c.large", 0, &[(OD, 0.1, false)]),
            kind("d.large", 0, &[(OD, 0.1, true)]),
        ];
        let wanted = Wanted { requests: Resources::new().with("cpu", 1900), ..Wanted::default() };
        assert_eq!(names(&types, &wanted).unwrap(), ["d.large", "b.large", "a.large"]);
        let wanted = Wanted { requests: Resources::new().with("cpu", 1901), ..Wanted::default() };
        assert!(names(&types, &wanted).is_err());
        let only = Requirement::new(labels::INSTANCE_TYPE, Operator::In, ["c.large"]);
        assert!(names(&types, &Wanted { requirements: Requirements::from_iter([only]), ..Wanted::default() }).is_err());
    }

    /// A reserved offering in this zone: its reservation, kind, machines left.
    fn reserved(id: &str, zone: &str, kind: (&str, bool), left: u32, price: f64) -> Offering {
        let interruptible = if kind.1 { "true" } else { "false" };
        Offering {
            zone: zone.into(),
            zone_id: None,
            capacity_type: CapacityType::Reserved,
            price: UsdPerHour::new(price).unwrap(),
            available: left > 0,
            requirements: [
                Requirement::is_in(labels::CAPACITY_TYPE, "reserved"),
                Requirement::is_in(labels::ZONE, zone),
                Requirement::is_in(aws::RESERVATION_ID, id),
                Requirement::is_in(aws::RESERVATION_TYPE, kind.0),
                Requirement::is_in(aws::RESERVATION_INTERRUPTIBLE, interruptible),
            ]
            .into_iter()
            .collect(),
            reservation_capacity: Some(left),
            overlaid: false,
        }
    }

    fn with(name: &str, offerings: &[Offering]) -> InstanceType {
        let mut made = kind(name, 0, &[(OD, 1.0, true), (SPOT, 0.5, true)]);
        made.offerings.extend(offerings.iter().cloned());
        made
    }

    const PLAIN: (&str, bool) = ("default", false);
    const INTERRUPTIBLE: (&str, bool) = ("default", true);
    const BLOCK: (&str, bool) = (CAPACITY_BLOCK, false);

    /// Types and the reservations that are left of each.
    fn left(types: &[InstanceType]) -> Vec<String> {
        let ids = |t: &InstanceType| {
            let ids: Vec<&str> = t.offerings.iter().map(|o| label(o, aws::RESERVATION_ID)).collect();
            format!("{} {}", t.name, ids.join(","))
        };
        filter(types, &Wanted::default(), false).unwrap().iter().map(ids).collect()
    }

    #[test]
    fn what_is_reserved_drives_everything_else_out() {
        let types = [with("a.large", &[]), with("b.large", &[reserved("cr-1", "a", PLAIN, 1, 0.1)])];
        assert_eq!(left(&types), ["b.large cr-1"]);
        let spent = [with("b.large", &[reserved("cr-1", "a", PLAIN, 0, 0.1)])];
        assert_eq!(left(&spent), ["b.large ,,cr-1"], "nothing is left of it, and the launch is not a reserved one");
    }

    #[test]
    fn a_zone_takes_the_reservation_with_the_most_machines() {
        let offerings = [
            reserved("cr-1", "b", PLAIN, 1, 0.1),
            reserved("cr-2", "a", PLAIN, 2, 0.1),
            reserved("cr-3", "a", PLAIN, 3, 0.1),
            reserved("cr-4", "a", PLAIN, 3, 0.1),
        ];
        assert_eq!(left(&[with("a.large", &offerings)]), ["a.large cr-3,cr-1"]);
    }

    #[test]
    fn one_kind_of_reservation_is_launched_at_a_time() {
        let (plain, block, loose) =
            (reserved("cr-1", "a", PLAIN, 1, 0.2), reserved("cr-2", "b", BLOCK, 1, 0.2), reserved("cr-3", "c", INTERRUPTIBLE, 1, 0.2));
        assert_eq!(left(&[with("a.large", &[loose.clone(), block.clone(), plain.clone()])]), ["a.large cr-1"]);
        assert_eq!(left(&[with("a.large", &[loose.clone(), block])]), ["a.large cr-2"]);
        let cheaper = reserved("cr-4", "a", INTERRUPTIBLE, 1, 0.1);
        assert_eq!(left(&[with("a.large", &[plain]), with("b.large", &[cheaper, loose])]), ["b.large cr-4,cr-3"]);
    }

    #[test]
    fn a_fleet_takes_one_capacity_block() {
        let types = [
            with("a.large", &[reserved("cr-1", "a", BLOCK, 1, 0.2)]),
            with("b.large", &[reserved("cr-2", "a", BLOCK, 1, 0.1), reserved("cr-3", "b", BLOCK, 9, 0.1)]),
        ];
        assert_eq!(left(&types), ["b.large cr-2"]);
    }

    #[test]
    fn exotic_types_are_the_last_resort() {
        let (plain, gpu, metal) =
            (kind("a.large", 0, &[(OD, 9.0, true)]), kind("g.large", 1, &[(OD, 1.0, true)]), kind("a.metal", 0, &[(OD, 1.0, true)]));
        assert_eq!(names(&[plain, gpu.clone(), metal.clone()], &Wanted::default()).unwrap(), ["a.large"]);
        assert_eq!(names(&[gpu, metal], &Wanted::default()).unwrap(), ["g.large", "a.metal"]);
    }

    #[test]
    fn spot_is_not_taken_above_the_cheapest_on_demand_price() {
        let types = [kind("a.large", 0, &[(OD, 0.1, true), (SPOT, 0.1, true)]), kind("b.large", 0, &[(SPOT, 0.11, true)])];
        assert_eq!(names(&types, &Wanted::default()).unwrap(), ["a.large"]);
        let spot = Requirements::from_iter([Requirement::is_in(labels::CAPACITY_TYPE, "spot")]);
        assert_eq!(names(&types, &Wanted { requirements: spot, ..Wanted::default() }).unwrap(), ["a.large", "b.large"]);
    }

    #[test]
    fn sixty_types_at_the_most_and_min_values_must_survive() {
        let types: Vec<InstanceType> = (0..70).map(|n| kind(&format!("t{n:02}.large"), 0, &[(OD, f64::from(n), true)])).collect();
        assert_eq!(names(&types, &Wanted::default()).unwrap().len(), 60);
        let flexible = |least| {
            let mut requirement = Requirement::new(labels::INSTANCE_TYPE, Operator::Exists, [""; 0]);
            requirement.min_values = Some(least);
            Wanted { requirements: Requirements::from_iter([requirement]), ..Wanted::default() }
        };
        assert_eq!(names(&types, &flexible(60)).unwrap().len(), 60);
        assert!(names(&types, &flexible(61)).unwrap_err().contains("minValues"));
        assert_eq!(filter(&types, &flexible(61), true).unwrap().len(), 60);
    }
}
