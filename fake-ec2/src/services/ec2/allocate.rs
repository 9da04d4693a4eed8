//! Which pools a fleet takes: candidates and a strategy in, a plan and the failures out. Changes nothing.

use std::collections::BTreeMap;

use super::ceiling::{self, Held};
use super::launch::{self, Place};
use crate::catalogue::MicroUsd;
use crate::protocol::AwsError;
use crate::services::errors;
use crate::state::market::Room;
use crate::state::{Market, World};

/// How a fleet chooses. Source: EC2 user guide, "Use allocation strategies to determine how EC2 Fleet fulfills capacity".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// The cheapest pool that has capacity; Spot capacity may be spread over the cheapest few.
    LowestPrice { pools: usize },
    /// Overrides in the order of their priority.
    Prioritized,
    /// Among the pools that can hold the whole, the cheapest.
    PriceCapacityOptimized,
    /// The deepest pools.
    CapacityOptimized,
    /// Among the deep pools, by priority.
    CapacityOptimizedPrioritized,
    /// Evenly over all pools.
    Diversified,
}

impl Strategy {
    /// A strategy by its name in one market; `lowest-price` where none is named, as the API has it.
    pub fn read(market: Market, name: Option<&str>, pools: usize) -> Result<Self, AwsError> {
        Ok(match (market, name.unwrap_or("lowest-price")) {
            (_, "lowest-price") => Self::LowestPrice { pools: pools.max(1) },
            (Market::OnDemand, "prioritized") => Self::Prioritized,
            (Market::Spot, "price-capacity-optimized") => Self::PriceCapacityOptimized,
            (Market::Spot, "capacity-optimized") => Self::CapacityOptimized,
            (Market::Spot, "capacity-optimized-prioritized") => Self::CapacityOptimizedPrioritized,
            (Market::Spot, "diversified") => Self::Diversified,
            (_, other) => return Err(errors::invalid(other, "AllocationStrategy", "The allocation strategy is not valid.")),
        })
    }
}

/// One override of one template, placed.
#[derive(Debug)]
pub(super) struct Candidate {
    pub place: Place,
    /// Lower is preferred; absent is last.
    pub priority: Option<f64>,
    /// Units of the target that an instance counts for; never 0.
    pub weight: u64,
    pub max_price: Option<(String, MicroUsd)>,
    /// Addresses that an instance takes.
    pub addresses: u32,
}

/// What a fleet would take.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Candidate and how many instances of it, in the order of choice.
    pub take: Vec<(usize, u64)>,
    /// Candidate and why it did not give (all) that was asked of it.
    pub failures: Vec<(usize, AwsError)>,
    /// Units of the target that are met.
    pub met: u64,
    held: Held,
    addresses: BTreeMap<String, u32>,
}

/// Chooses pools for `target` units. `draw` decides between pools that the strategy holds equal.
pub(super) fn allocate(
    world: &World<'_>,
    candidates: &[(usize, Candidate)],
    market: Market,
    strategy: Strategy,
    target: u64,
    draw: u64,
) -> Plan {
    let mut plan = Plan::default();
    let order = rank(world, candidates, market, strategy, target, draw);
    let spread = match strategy {
        Strategy::Diversified => order.len(),
        Strategy::LowestPrice { pools } => pools.min(order.len()),
        _ => 1,
    };
    if spread > 1 {
        plan.spread(world, candidates, &order[..spread], market, target);
    }
    for at in order {
        if plan.met >= target {
            break;
        }
        plan.fill(world, &candidates[at], market, target);
    }
    plan
}

impl Plan {
    /// Takes all that is wanted still from one candidate, or what it has.
    fn fill(&mut self, world: &World<'_>, (number, candidate): &(usize, Candidate), market: Market, target: u64) {
        if self.failures.iter().any(|(failed, _)| failed == number) {
            return;
        }
        let wanted = (target - self.met).div_ceil(candidate.weight);
        let (given, why) = self.available(world, candidate, market, wanted);
        self.take(*number, candidate, market, given);
        if let Some(why) = why {
            self.failures.push((*number, why));
        }
    }

    /// Takes one at a time, in turn, until the target is met or nobody gives more.
    fn spread(&mut self, world: &World<'_>, candidates: &[(usize, Candidate)], order: &[usize], market: Market, target: u64) {
        let mut giving = true;
        while giving && self.met < target {
            giving = false;
            for at in order {
                let (number, candidate) = &candidates[*at];
                if self.met >= target || self.failures.iter().any(|(failed, _)| failed == number) {
                    continue;
                }
                match self.available(world, candidate, market, 1) {
                    (0, Some(why)) => self.failures.push((*number, why)),
                    (given, _) => {
                        self.take(*number, candidate, market, given);
                        giving = true;
                    }
                }
            }
        }
    }

    /// How many of `wanted` instances a candidate gives on top of what is planned, and why not all of them.
    fn available(&self, world: &World<'_>, candidate: &Candidate, market: Market, wanted: u64) -> (u64, Option<AwsError>) {
        let place = &candidate.place;
        if let Err(why) = launch::check_market(world, place, market, candidate.max_price.as_ref()) {
            return (0, Some(why));
        }
        let (room, bound) = ceiling::left(world, place, market, &self.held);
        let free = world.region.subnets.get(&place.subnet_id).map_or(0, |subnet| subnet.free());
        let free = free.saturating_sub(self.addresses.get(&place.subnet_id).copied().unwrap_or(0));
        let by_address = free.checked_div(candidate.addresses).map_or(u64::MAX, u64::from);
        let given = wanted.min(room).min(by_address);
        let why = match given {
            _ if given == wanted => None,
            _ if by_address <= room => Some(errors::ADDRESSES.error(&[&place.subnet_id])),
            _ => Some(bound.error(world, place, market)),
        };
        (given, why)
    }

    fn take(&mut self, number: usize, candidate: &Candidate, market: Market, count: u64) {
        if count == 0 {
            return;
        }
        match self.take.iter_mut().find(|(taken, _)| *taken == number) {
            Some((_, held)) => *held += count,
            None => self.take.push((number, count)),
        }
        self.met += count * candidate.weight;
        self.held.add(&candidate.place, market, count);
        let addresses = u32::try_from(count).unwrap_or(u32::MAX).saturating_mul(candidate.addresses);
        *self.addresses.entry(candidate.place.subnet_id.clone()).or_insert(0) += addresses;
    }
}

/// Positions of candidates, best first.
fn rank(world: &World<'_>, candidates: &[(usize, Candidate)], market: Market, strategy: Strategy, target: u64, draw: u64) -> Vec<usize> {
    /// Smaller is better: class, then two measures, then the draw.
    type Key = (u64, u64, u64, u64);
    let key = |(number, candidate): &(usize, Candidate)| -> Key {
        let pool = candidate.place.pool(market);
        let price = world
            .account
            .pool_price(world.region, &pool, world.now)
            .map_or(u64::MAX, |price| price.0.saturating_mul(1000) / candidate.weight);
        let priority = candidate.priority.map_or(u64::MAX, sortable);
        let room = world.room(&pool);
        let shallow = u64::from(!room.holds(target.div_ceil(candidate.weight)));
        let scarcity = u64::MAX
            - match room {
                Room::Unlimited => u64::MAX,
                Room::Left(left) => left,
            };
        // Equal pools are told apart by zone first, as a fleet with one price in three zones goes to one of them.
        let tie = mix(draw, pool.zone.as_bytes());
        match strategy {
            Strategy::LowestPrice { .. } => (0, price, 0, tie),
            Strategy::Prioritized => (0, priority, price, tie),
            Strategy::PriceCapacityOptimized if shallow == 0 => (0, price, 0, tie),
            Strategy::PriceCapacityOptimized => (1, scarcity, price, tie),
            // How deep unlimited pools are is the cloud's secret: by seed, and the same from call to call.
            Strategy::CapacityOptimized => {
                (0, scarcity, world.account.entropy.fixed(&format!("depth/{}/{}", pool.zone, pool.instance_type)), tie)
            }
            Strategy::CapacityOptimizedPrioritized => (shallow, priority, scarcity, tie),
            Strategy::Diversified => (0, *number as u64, 0, 0),
        }
    };
    let mut order: Vec<(Key, usize)> = candidates.iter().enumerate().map(|(at, candidate)| (key(candidate), at)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, at)| at).collect()
}

/// A number whose order is the float's.
fn sortable(value: f64) -> u64 {
    let bits = value.to_bits();
    if value.is_sign_negative() { !bits } else { bits | (1 << 63) }
}

/// FNV-1a, started from a draw.
fn mix(draw: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(draw ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_sort_as_numbers() {
        let mut numbers = [0.5, -1.0, 0.0, 12.0, 0.096];
        numbers.sort_by_key(|number| sortable(*number));
        assert_eq!(numbers, [-1.0, 0.0, 0.096, 0.5, 12.0]);
    }

    #[test]
    fn strategies_belong_to_their_market() {
        assert!(Strategy::read(Market::OnDemand, Some("price-capacity-optimized"), 0).is_err());
        assert!(Strategy::read(Market::Spot, Some("prioritized"), 0).is_err());
        assert_eq!(Strategy::read(Market::Spot, None, 3), Ok(Strategy::LowestPrice { pools: 3 }));
    }
}
