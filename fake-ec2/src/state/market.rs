//! What a pool costs and how much it holds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::World;
use super::account::Account;
use super::region::Region;
use super::rules::Effect;
use crate::catalogue::{self, MicroUsd, Zone};

/// How capacity is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    OnDemand,
    Spot,
}

impl Market {
    /// As EC2 writes it: `on-demand`, `spot`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
        }
    }
}

/// A pool of capacity: one type in one zone in one market.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pool {
    pub instance_type: String,
    pub zone: String,
    pub market: Market,
}

/// Why a pool gives nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// As many as anybody wants.
    Unlimited,
    /// This many more, perhaps none.
    Left(u64),
}

impl Room {
    pub fn holds(self, instances: u64) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Left(left) => left >= instances,
        }
    }

    pub fn none(self) -> bool {
        self == Self::Left(0)
    }
}

impl Account {
    /// Whether settings without a region are about this one.
    fn at_home(&self, region: &Region) -> bool {
        region.name == self.home
    }

    /// The zones of a region that offer a type, by zone name.
    pub(crate) fn offered_in(&self, region: &Region, instance_type: &str) -> Vec<Zone> {
        if self.at_home(region)
            && self.settings.offered_types.as_ref().is_some_and(|types| !types.iter().any(|offered| offered == instance_type))
        {
            return Vec::new();
        }
        if let Some(named) = self.settings.offered_zones.get(instance_type).filter(|_| self.at_home(region)) {
            return region.zones.iter().filter(|zone| named.iter().any(|name| name == zone.name)).copied().collect();
        }
        if let Some(offerings) = self.settings.offerings.as_ref().filter(|_| self.at_home(region)) {
            let named = offerings.get(instance_type).map_or(&[][..], |offered| &offered.zones);
            return region.zones.iter().filter(|zone| named.iter().any(|name| name == zone.name)).copied().collect();
        }
        let Some(known) = catalogue::region(&region.name) else { return Vec::new() };
        let zones = known.offerings_of(instance_type).iter().map(|offering| offering.zone);
        zones.filter(|zone| region.zones.contains(zone)).collect()
    }

    /// Every type on offer in a region, by name, with its zones by name.
    pub(crate) fn offered<'a>(&'a self, region: &'a Region) -> impl Iterator<Item = (&'static str, Vec<Zone>)> + 'a {
        let own = self.settings.offerings.as_ref().filter(|_| self.at_home(region));
        let built_in: &'static [catalogue::Offering] = if own.is_some() { &[] } else { catalogue::offerings(&region.name) };
        let by_type = built_in.chunk_by(|one, two| one.instance_type == two.instance_type);
        let built_in = by_type.filter_map(|offerings| Some(offerings.first()?.instance_type));
        let own = own.into_iter().flat_map(|own| own.keys()).filter_map(|name| Some(catalogue::instance_type(name)?.name()));
        own.chain(built_in).filter_map(move |name| {
            let zones = self.offered_in(region, name);
            (!zones.is_empty()).then_some((name, zones))
        })
    }

    /// On-demand, per hour.
    pub(crate) fn on_demand_price(&self, region: &str, instance_type: &str) -> Option<MicroUsd> {
        let replaced = self
            .settings
            .on_demand_prices
            .iter()
            .rev()
            .find(|price| price.instance_type == instance_type && price.region.as_deref().unwrap_or(&self.home) == region);
        if let Some(price) = replaced {
            return Some(price.per_hour);
        }
        match self.settings.offerings.as_ref().filter(|_| region == self.home) {
            Some(offerings) => offerings.get(instance_type)?.on_demand,
            None => Some(catalogue::on_demand_price(region, instance_type)?.per_hour),
        }
    }

    /// What an hour of a pool costs now.
    pub(crate) fn pool_price(&self, region: &Region, pool: &Pool, now: Timestamp) -> Option<MicroUsd> {
        match pool.market {
            Market::OnDemand => self.on_demand_price(&region.name, &pool.instance_type),
            Market::Spot => self.spot_price(region, &pool.instance_type, &pool.zone, now),
        }
    }
}

impl World<'_> {
    /// How many more instances a pool takes, faults included.
    pub(crate) fn room(&self, pool: &Pool) -> Room {
        let dry = self.account.rules.iter().any(|active| active.in_force(self.now) && active.rule.effect.dries(pool));
        if dry {
            return Room::Left(0);
        }
        let rows = self.account.settings.capacity.iter().rev();
        let limit = rows.filter(|row| row.instance_type.as_deref().is_none_or(|named| named == pool.instance_type));
        let mut limit = limit.filter(|row| row.zone.as_deref().is_none_or(|named| named == pool.zone));
        let row = limit.find(|row| row.market.is_none_or(|market| market == pool.market));
        let Some(limit) = row.and_then(|row| row.instances) else { return Room::Unlimited };
        Room::Left(limit.saturating_sub(self.region.pools.get(pool).copied().unwrap_or(0)))
    }

    /// Whether a zone is down.
    pub(crate) fn zone_down(&self, zone: &str) -> bool {
        let down = |effect: &Effect| matches!(effect, Effect::ZoneDown { zones } if zones.iter().any(|known| known == zone));
        self.account.rules.iter().any(|active| active.in_force(self.now) && down(&active.rule.effect))
    }

    /// Notes that a zone's outage has failed a call.
    pub(crate) fn note_zone_down(&mut self) {
        let now = self.now;
        for active in self.account.rules.iter_mut().filter(|active| active.in_force(now)) {
            if matches!(active.rule.effect, Effect::ZoneDown { .. }) {
                active.met += 1;
                active.hits += 1;
            }
        }
    }

    /// Notes that faults of capacity have met a launch that asked for this pool.
    pub(crate) fn note_dry(&mut self, pool: &Pool) {
        let now = self.now;
        for active in &mut self.account.rules {
            if active.rule.effect.dries(pool) && active.in_force(now) {
                active.hits += 1;
            }
        }
    }

    /// Notes which faults of capacity a launch meets that would take any of these pools.
    pub(crate) fn note_met(&mut self, pools: &[Pool]) {
        let now = self.now;
        for active in self.account.rules.iter_mut().filter(|active| active.in_force(now)) {
            let effect = &active.rule.effect;
            let priced = |pool: &Pool| pool.market == Market::Spot && effect.spot_price(&pool.instance_type, &pool.zone).is_some();
            if pools.iter().any(|pool| effect.dries(pool) || priced(pool)) {
                active.met += 1;
            }
        }
    }

    /// Notes that Spot prices since an instant were told, some of which faults may have set.
    pub(crate) fn note_priced(&mut self, since: Timestamp, priced: impl Fn(&Effect) -> bool) {
        let now = self.now;
        for active in &mut self.account.rules {
            let rule = &active.rule;
            let overlaps = rule.since.is_none_or(|begun| begun <= now) && rule.until.is_none_or(|until| until > since);
            active.met += u64::from(overlaps && priced(&rule.effect));
        }
    }

    pub(crate) fn enter_pool(&mut self, pool: Pool) {
        *self.region.pools.entry(pool).or_insert(0) += 1;
    }

    pub(crate) fn leave_pool(&mut self, pool: &Pool) {
        if let Some(held) = self.region.pools.get_mut(pool) {
            *held = held.saturating_sub(1);
        }
    }
}

/// Reads decimal dollars (`0.096`, `$1.2`), at most six places.
pub fn parse_usd(text: &str) -> Option<MicroUsd> {
    let text = text.strip_prefix('$').unwrap_or(text);
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.trim_end_matches('0').len() > 6 {
        return None;
    }
    let micro: u64 = format!("{:0<6}", part.trim_end_matches('0')).parse().ok()?;
    Some(MicroUsd(whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micro)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars() {
        assert_eq!(parse_usd("0.096"), Some(MicroUsd(96_000)));
        assert_eq!(parse_usd("$1"), Some(MicroUsd(1_000_000)));
        assert_eq!(parse_usd("0.0960000000"), Some(MicroUsd(96_000)));
        for bad in ["", "$", "0.", "-1", "0.0000001", "1e3", "0.1.2"] {
            assert_eq!(parse_usd(bad), None, "{bad}");
        }
    }
}
