//! Machines left in capacity reservations, as NodeClaims of one plan take hold of them.
//!
//! Source: `C/pkg/controllers/provisioning/scheduling/reservationmanager.go`.

use crate::input::{Offering, Offerings};
use crate::intern::RequirementTable;
use crate::template::{Template, buyable};
use crate::{bits::Bits, intern::RequirementsId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vocabulary::{CapacityType, labels};

/// Reservation ids that a NodeClaim holds.
pub type Held = BTreeSet<Arc<str>>;

#[derive(Clone)]
pub struct Reservations {
    enabled: bool,
    /// Without reserved capacity a NodeClaim takes what else there is, instead of waiting.
    falls_back: bool,
    left: BTreeMap<Arc<str>, u32>,
}

/// The NodeClaim could use reserved capacity, but all of it is held by others: better to wait than to pay for something else.
pub struct Unreservable;

impl Reservations {
    pub fn of(offerings: &Offerings, enabled: bool) -> Self {
        let mut left: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        let all = offerings.values().flat_map(|types| types.iter()).flat_map(|t| &t.offerings);
        for (id, offering) in all.filter_map(|offering| Some((reservation_id(offering)?, offering))) {
            let capacity = offering.reservation_capacity.unwrap_or(0);
            left.entry(id.clone()).and_modify(|least| *least = capacity.min(*least)).or_insert(capacity);
        }
        Reservations { enabled, falls_back: false, left }
    }

    /// What a NodeClaim with these options would hold, given what it holds now.
    pub fn wanted(
        &self,
        template: &Template,
        table: &RequirementTable,
        options: &Bits,
        requirements: RequirementsId,
        held: &Held,
    ) -> Result<Held, Unreservable> {
        if !self.enabled || self.left.is_empty() {
            return Ok(Held::new());
        }
        let requirements = table.get(requirements);
        let offerings = options.iter().flat_map(|t| &template.types[t].offerings);
        let usable: BTreeSet<&Arc<str>> = offerings.filter(|o| buyable(o, requirements)).filter_map(reservation_id).collect();
        let free = |id: &Arc<str>| held.contains(id) || self.left.get(id).is_some_and(|left| *left > 0);
        let wanted: Held = usable.iter().filter(|id| free(id)).map(|id| (*id).clone()).collect();
        let waits = wanted.is_empty() && (!usable.is_empty() || !held.is_empty()) && !self.falls_back;
        if waits { Err(Unreservable) } else { Ok(wanted) }
    }

    /// As simulations do, which launch nothing by themselves.
    pub fn fall_back(&mut self) {
        self.falls_back = true;
    }

    /// Replaces what a NodeClaim holds.
    pub fn exchange(&mut self, before: &Held, after: &Held) {
        for (id, left) in &mut self.left {
            match (before.contains(id), after.contains(id)) {
                (false, true) => *left = left.saturating_sub(1),
                (true, false) => *left += 1,
                _ => {}
            }
        }
    }
}

fn reservation_id(offering: &Offering) -> Option<&Arc<str>> {
    if offering.capacity_type != CapacityType::Reserved {
        return None;
    }
    offering.requirements.get(labels::CAPACITY_RESERVATION_ID)?.single()
}
