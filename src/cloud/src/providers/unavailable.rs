//! What lately was not to be had. Source: `A/pkg/cache/unavailableofferings.go`.

use crate::cache::Cache;
use jiff::{SignedDuration, Timestamp};
use vocabulary::CapacityType;

/// `UnavailableOfferingsTTL`.
const TTL: SignedDuration = SignedDuration::from_mins(3);

/// Offerings, markets and subnets that failed within the last three minutes.
#[derive(Debug)]
pub struct Unavailable {
    offerings: Cache<(CapacityType, String, String), ()>,
    markets: Cache<CapacityType, ()>,
    subnets: Cache<String, ()>,
    /// Grows with every mark.
    marks: u64,
}

impl Default for Unavailable {
    fn default() -> Self {
        Unavailable { offerings: Cache::new(TTL), markets: Cache::new(TTL), subnets: Cache::new(TTL), marks: 0 }
    }
}

impl Unavailable {
    pub fn mark(&mut self, instance_type: &str, zone: &str, market: CapacityType, now: Timestamp) {
        self.offerings.set((market, instance_type.to_owned(), zone.to_owned()), (), now);
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

    /// Nothing is marked, so that nobody need ask.
    pub fn is_empty(&self, now: Timestamp) -> bool {
        self.next_lapse(now).is_none()
    }

    /// Changes with every mark; with [`Self::next_lapse`] it tells whether an answer still holds.
    pub fn marks(&self) -> u64 {
        self.marks
    }

    pub fn next_lapse(&self, now: Timestamp) -> Option<Timestamp> {
        [self.offerings.next_lapse(now), self.markets.next_lapse(now), self.subnets.next_lapse(now)].into_iter().flatten().min()
    }

    /// Forgets what has lapsed.
    pub fn sweep(&mut self, now: Timestamp) {
        self.offerings.sweep(now);
        self.markets.sweep(now);
        self.subnets.sweep(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
