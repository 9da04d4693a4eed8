//! What lately was not to be had. Source: `A/pkg/cache/unavailableofferings.go`.

use crate::cache::Cache;
use jiff::{SignedDuration, Timestamp};
use vocabulary::CapacityType;

/// `UnavailableOfferingsTTL`.
const TTL: SignedDuration = SignedDuration::from_mins(3);

/// A placement group by its id, and the partition of it that was asked for.
pub type Place<'a> = (&'a str, Option<&'a str>);

/// Offerings, markets and subnets that failed within the last three minutes.
#[derive(Debug)]
pub struct Unavailable {
    offerings: Cache<(CapacityType, String, String), ()>,
    /// The same within a placement group, and a partition of it where one was asked for.
    grouped: Cache<(CapacityType, String, String, String, Option<String>), ()>,
    markets: Cache<CapacityType, ()>,
    subnets: Cache<String, ()>,
    /// Grows with every mark.
    marks: u64,
}

impl Default for Unavailable {
    fn default() -> Self {
        Unavailable { offerings: Cache::new(TTL), grouped: Cache::new(TTL), markets: Cache::new(TTL), subnets: Cache::new(TTL), marks: 0 }
    }
}

impl Unavailable {
    pub fn mark(&mut self, instance_type: &str, zone: &str, market: CapacityType, now: Timestamp) {
        self.offerings.set((market, instance_type.to_owned(), zone.to_owned()), (), now);
        self.marks += 1;
    }

    /// Others may still launch there; a group that failed in one partition only is not looked at any more than that
    /// (`A/pkg/providers/instancetype/offering/base_resolver.go` asks for the group's own mark, never for a partition's).
    pub fn mark_in_group(&mut self, instance_type: &str, zone: &str, market: CapacityType, (group, partition): Place<'_>, now: Timestamp) {
        let key = (market, instance_type.to_owned(), zone.to_owned(), group.to_owned(), partition.map(str::to_owned));
        self.grouped.set(key, (), now);
        self.marks += 1;
    }

    pub fn mark_market(&mut self, market: CapacityType, now: Timestamp) {
        self.markets.set(market, (), now);
        self.marks += 1;
    }

    pub fn mark_subnet(&mut self, subnet: &str, now: Timestamp) {
        self.subnets.set(subnet.to_owned(), (), now);
        self.marks += 1;
    }

    /// A zone counts as unavailable by its subnets only when every one of them is, and there is one.
    pub fn has(&self, instance_type: &str, zone: &str, subnets: &[String], market: CapacityType, now: Timestamp) -> bool {
        self.offerings.get(&(market, instance_type.to_owned(), zone.to_owned()), now).is_some()
            || self.markets.get(&market, now).is_some()
            || !subnets.is_empty() && subnets.iter().all(|subnet| self.subnets.get(subnet, now).is_some())
    }

    /// Whether a machine of this placement group lately was not to be had.
    pub fn has_in_group(&self, instance_type: &str, zone: &str, market: CapacityType, group: &str, now: Timestamp) -> bool {
        self.grouped.get(&(market, instance_type.to_owned(), zone.to_owned(), group.to_owned(), None), now).is_some()
    }

    /// Nothing is marked, so that nobody need ask.
    pub fn is_empty(&self, now: Timestamp) -> bool {
        self.next_lapse(now).is_none()
    }

    /// Changes with every mark; with [`Self::next_lapse`] it tells whether an answer still holds.
    pub fn marks(&self) -> u64 {
        self.marks
    }

    pub fn next_lapse(&self, now: Timestamp) -> Option<Timestamp> {
        let all =
            [self.offerings.next_lapse(now), self.grouped.next_lapse(now), self.markets.next_lapse(now), self.subnets.next_lapse(now)];
        all.into_iter().flatten().min()
    }

    /// Forgets what has lapsed.
    pub fn sweep(&mut self, now: Timestamp) {
        self.offerings.sweep(now);
        self.grouped.sweep(now);
        self.markets.sweep(now);
        self.subnets.sweep(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_placement_group_lacks_others_still_get() {
        let now = Timestamp::UNIX_EPOCH;
        let mut unavailable = Unavailable::default();
        unavailable.mark_in_group("m5.large", "a", CapacityType::Spot, ("pg-1", None), now);
        unavailable.mark_in_group("m5.large", "b", CapacityType::Spot, ("pg-1", Some("2")), now);
        let lacks = |zone, group| unavailable.has_in_group("m5.large", zone, CapacityType::Spot, group, now);
        assert!(lacks("a", "pg-1") && !lacks("a", "pg-2") && !lacks("b", "pg-1"));
        assert!(!unavailable.has("m5.large", "a", &[], CapacityType::Spot, now) && !unavailable.is_empty(now));
    }

    #[test]
    fn a_zone_lacks_a_type_for_three_minutes_or_while_all_its_subnets_are_full() {
        let now = Timestamp::UNIX_EPOCH;
        let mut unavailable = Unavailable::default();
        unavailable.mark("m5.large", "a", CapacityType::Spot, now);
        unavailable.mark_subnet("subnet-1", now);
        let has = |market, zone, subnets: &[&str], after| {
            let subnets: Vec<String> = subnets.iter().map(|s| (*s).to_owned()).collect();
            unavailable.has("m5.large", zone, &subnets, market, now + SignedDuration::from_secs(after))
        };
        assert!(has(CapacityType::Spot, "a", &[], 179));
        assert!(!has(CapacityType::Spot, "a", &[], 180));
        assert!(!has(CapacityType::OnDemand, "a", &[], 0));
        assert!(has(CapacityType::OnDemand, "b", &["subnet-1"], 0));
        assert!(!has(CapacityType::OnDemand, "b", &["subnet-1", "subnet-2"], 0));
    }
}
