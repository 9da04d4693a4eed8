//! Which of a claim's types a launch asks for. Source: `A/pkg/providers/instance/filter/filter.go`, in its order.
//!
//! The three filters about reservations are not there: this adapter offers no reserved capacity.

use super::claim::Wanted;
use crate::labels as aws;
use planner::{InstanceType, Offering};
use std::collections::BTreeSet;
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
        [without_exotic, without_dear_spot].into_iter().try_fold(
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
        };
        let size = name.split('.').next_back().unwrap();
        InstanceType {
            name: name.into(),
            requirements: [Requirement::is_in(labels::INSTANCE_TYPE, name), Requirement::is_in(instance::SIZE, size)].into_iter().collect(),
            capacity: Resources::new().with("cpu", 2000).with(aws::NVIDIA_GPU, gpus),
            allocatable: Resources::new().with("cpu", 1900).with(aws::NVIDIA_GPU, gpus),
            offerings: offers.iter().map(offering).collect(),
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
