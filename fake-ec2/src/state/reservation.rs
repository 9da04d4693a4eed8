//! Capacity that is set aside, and how instances are placed beside each other.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::World;
use super::market::{Market, Pool};
use super::network::Tags;
use crate::catalogue::Zone;
use crate::kept::{Word, word};

/// An on-demand capacity reservation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CapacityReservation {
    pub id: String,
    pub arn: String,
    #[serde(deserialize_with = "word::one")]
    pub instance_type: Word,
    pub zone: Zone,
    pub total: u64,
    /// Whether instances that match use it by themselves; else they must name it.
    pub open: bool,
    /// `active`, `cancelled`, `expired`.
    #[serde(deserialize_with = "word::one")]
    pub state: Word,
    pub created: Timestamp,
    pub end: Option<Timestamp>,
    pub tags: Tags,
}

/// Whether a launch uses reservations that it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    Open,
    None,
    /// Nothing else.
    Only,
}

impl Preference {
    pub fn read(text: &str) -> Self {
        match text {
            "none" => Self::None,
            "capacity-reservations-only" => Self::Only,
            _ => Self::Open,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlacementGroup {
    pub id: String,
    pub name: String,
    /// `cluster`, `spread`, `partition`.
    pub strategy: String,
    /// Of the strategy `partition`.
    pub partitions: Option<i64>,
    /// Of the strategy `spread`: `rack` or `host`.
    pub spread_level: Option<String>,
    pub tags: Tags,
}

impl CapacityReservation {
    fn pool(&self) -> Pool {
        Pool { instance_type: self.instance_type.to_owned(), zone: self.zone.name.to_owned(), market: Market::OnDemand }
    }
}

impl super::State {
    /// Changes the active reservations of a type in a zone of the home region to hold so many; none ends them, and what runs in them goes on
    /// as plain on-demand instances. Says how many there were; refuses fewer than run in one.
    pub fn resize_reservations(
        &mut self,
        now: Timestamp,
        instance_type: &str,
        zone: &str,
        tags: &Tags,
        count: u64,
    ) -> Result<usize, String> {
        let home = self.account.home.clone();
        let Some(mut world) = self.world(now, &home) else { return Ok(0) };
        let meant = |it: &&CapacityReservation| {
            let tagged = tags.iter().all(|(key, value)| it.tags.get(key) == Some(value));
            it.state == "active" && it.instance_type == instance_type && it.zone.name == zone && tagged
        };
        let ids: Vec<String> = world.region.reservations.values().filter(meant).map(|it| it.id.clone()).collect();
        if let Some((id, used)) = ids.iter().map(|id| (id, world.reservation_used(id))).find(|(_, used)| count > 0 && *used > count) {
            return Err(format!("{used} machines run in {id}; count: 0 ends it"));
        }
        for id in &ids {
            if count == 0 { world.end_reservation(id, "expired") } else { world.resize_reservation(id, count) }
        }
        Ok(ids.len())
    }
}

impl World<'_> {
    /// How many instances run in a reservation.
    pub(crate) fn reservation_used(&self, id: &str) -> u64 {
        let instances = self.region.instances.values();
        instances.filter(|it| it.phase.holds_capacity() && it.capacity_reservation.as_deref() == Some(id)).count() as u64
    }

    /// How many more it holds; none once it has ended.
    pub(crate) fn reservation_left(&self, id: &str) -> u64 {
        let Some(reservation) = self.region.reservations.get(id).filter(|it| it.state == "active") else { return 0 };
        reservation.total.saturating_sub(self.reservation_used(id))
    }

    /// Open reservations that fit, with room.
    pub(crate) fn open_reservations(&self, instance_type: &str, zone: &str) -> Vec<(String, u64)> {
        let fit = |it: &&CapacityReservation| it.open && it.state == "active" && it.instance_type == instance_type && it.zone.name == zone;
        let found = self.region.reservations.values().filter(fit).map(|it| (it.id.clone(), self.reservation_left(&it.id)));
        found.filter(|(_, left)| *left > 0).collect()
    }

    /// Sets capacity aside in its pool, or gives some back.
    pub(crate) fn resize_reservation(&mut self, id: &str, total: u64) {
        let Some(reservation) = self.region.reservations.get_mut(id) else { return };
        let (before, pool) = (std::mem::replace(&mut reservation.total, total), reservation.pool());
        let held = self.region.pools.entry(pool).or_insert(0);
        *held = held.saturating_sub(before) + total;
    }

    /// A reservation ends; what runs in it goes on as plain on-demand instances.
    pub(crate) fn end_reservation(&mut self, id: &str, state: &'static str) {
        let used = self.reservation_used(id);
        let Some(reservation) = self.region.reservations.get_mut(id).filter(|it| it.state == "active") else { return };
        reservation.state = state;
        reservation.end = Some(self.now);
        let (total, pool) = (reservation.total, reservation.pool());
        let held = self.region.pools.entry(pool).or_insert(0);
        *held = held.saturating_sub(total) + used;
        for instance in self.region.instances.values_mut().filter(|it| it.capacity_reservation.as_deref() == Some(id)) {
            instance.capacity_reservation = None;
        }
        self.account.machines_version += 1;
    }

    pub(crate) fn placement_group(&self, named: &str) -> Option<&PlacementGroup> {
        self.region.placement_groups.values().find(|group| group.name == named || group.id == named)
    }

    /// Zones in which a placement group has instances.
    pub(crate) fn zones_of_group(&self, group: &str) -> std::collections::BTreeSet<&'static str> {
        let instances = self.region.instances.values();
        let own = instances.filter(|it| it.phase.holds_capacity() && it.placement_group.as_deref() == Some(group));
        own.map(|it| it.zone.name).collect()
    }

    /// Instances of a placement group in a zone.
    pub(crate) fn grouped(&self, group: &str, zone: Option<&str>) -> u64 {
        let instances =
            self.region.instances.values().filter(|it| it.phase.holds_capacity() && it.placement_group.as_deref() == Some(group));
        instances.filter(|it| zone.is_none_or(|zone| it.zone.name == zone)).count() as u64
    }
}
