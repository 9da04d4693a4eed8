//! Spot prices over time: a seeded process, a trace that is played back, faults over both.
//!
//! Nothing is stored that moves: the price of a pool at an instant is computed from the seed, the pool's name and the instant, so that a
//! history of every type in every zone costs what is asked of it and no more.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::agenda::Due;
use super::region::Region;
use super::rules::{Effect, SpotPriceIs};
use super::{LedgerEntry, Machine, Market, State, World};
use crate::catalogue::{self, MicroUsd};

/// How far back EC2 tells prices. Source: API reference, DescribeSpotPriceHistory.
pub const HISTORY: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How Spot prices move. `Default`: they hold still.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpotMarket {
    /// A process of the seed.
    pub moves: Option<Moves>,
    /// Prices of some pools that were recorded; the others move or hold still.
    pub trace: Option<super::spot_trace::Trace>,
    /// The instant that the trace's beginning stands for; until it is known, the trace has not begun.
    pub origin: Option<Timestamp>,
}

/// A price that reverts to its middle: in each step a shock, of which 85 % are left in the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moves {
    /// Standard deviation around the middle, in thousandths of it.
    pub swing: u64,
    /// From one price of a pool to its next; pools do not change at the same instants.
    pub every: SignedDuration,
}

impl Default for Moves {
    /// Prices that change a few times a day by some per cent, as EC2's have since 2017.
    fn default() -> Self {
        Self { swing: 120, every: SignedDuration::from_hours(6) }
    }
}

/// One pool's price from an instant on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpotRow {
    pub since: Timestamp,
    pub price: MicroUsd,
}

impl Moves {
    fn millis(self) -> i64 {
        i64::try_from(self.every.as_millis()).unwrap_or(i64::MAX).max(1)
    }

    /// The number of the step in which an instant lies.
    fn step(self, pool: u64, at: Timestamp) -> i64 {
        at.as_millisecond().saturating_sub(self.phase(pool)).div_euclid(self.millis())
    }

    fn phase(self, pool: u64) -> i64 {
        i64::try_from(pool % self.millis().unsigned_abs()).unwrap_or(0)
    }

    /// When a step begins.
    fn begins(self, pool: u64, step: i64) -> Timestamp {
        let at = step.saturating_mul(self.millis()).saturating_add(self.phase(pool));
        Timestamp::from_millisecond(at).unwrap_or(Timestamp::MIN)
    }

    /// By how many thousandths the price of a step lies off its middle. The sum over shocks that fade is the autoregressive process of
    /// first order, cut off where a thirtieth of a shock is gone; it needs no step before it.
    fn off(self, pool: u64, step: i64) -> i64 {
        let (mut weight, mut sum) = (FIRST_WEIGHT, 0i64);
        for back in 0..SHOCKS {
            sum += weight * shock(pool, step.wrapping_sub(back));
            weight = weight * KEPT_PERCENT / 100;
        }
        let swing = i64::try_from(self.swing.min(10_000)).unwrap_or(0);
        sum / 1_000_000 * swing / SHOCK_DEVIATION
    }
}

/// Shocks that are added up.
const SHOCKS: i64 = 40;
/// What is left of a shock in the next step.
const KEPT_PERCENT: i64 = 85;
/// √(1 − 0.85²) in millionths, so that the sum's deviation is a shock's.
const FIRST_WEIGHT: i64 = 526_783;
/// Of the sum of four even 16-bit numbers: 65536 / √3.
const SHOCK_DEVIATION: i64 = 37_837;

/// Nearly normal: four even numbers together, around 0.
fn shock(pool: u64, step: i64) -> i64 {
    let mixed = mix(pool ^ (step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let part = |shift: u32| i64::from((mixed >> shift) as u16);
    part(0) + part(16) + part(32) + part(48) - 2 * 65_535
}

/// SplitMix64's finalizer.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// EC2 tells four places.
fn four_places(price: MicroUsd) -> MicroUsd {
    MicroUsd((price.0 + 50) / 100 * 100)
}

impl Account {
    /// A number of a pool that the seed alone decides.
    fn pool_number(&self, instance_type: &str, zone: &str) -> u64 {
        self.entropy.fixed(&format!("spot/{zone}/{instance_type}"))
    }

    /// What the settings say of a pool's price, whatever moves.
    fn spot_price_set(&self, region: &Region, instance_type: &str, zone: &str) -> Option<MicroUsd> {
        if region.name != self.home || self.settings.spot_prices.is_empty() {
            return None;
        }
        let rows = self.settings.spot_prices.iter().rev().filter(|price| price.instance_type == instance_type);
        rows.filter(|price| price.zone.as_deref().is_none_or(|named| named == zone))
            .max_by_key(|price| price.zone.is_some())
            .map(|p| p.per_hour)
    }

    fn trace_rows<'a>(&'a self, region: &Region, instance_type: &str, zone: &str) -> Option<(&'a [(SignedDuration, MicroUsd)], Timestamp)> {
        let market = &self.settings.spot;
        let trace = market.trace.as_ref().filter(|_| region.name == self.home)?;
        Some((trace.rows(instance_type, zone)?, market.origin.unwrap_or(Timestamp::MAX)))
    }

    /// Spot, per hour, at an instant: what the settings say, else the trace, else the process around the derived price; a fault in force
    /// over any of them.
    pub(crate) fn spot_price(&self, region: &Region, instance_type: &str, zone: &str, at: Timestamp) -> Option<MicroUsd> {
        let plain = self.spot_price_without_faults(region, instance_type, zone, at)?;
        let fault = self.rules.iter().rev().filter(|active| active.rule.in_force_at(at));
        let price = fault.filter_map(|active| active.rule.effect.spot_price(instance_type, zone)).next();
        Some(match price {
            None => plain,
            Some(SpotPriceIs::PerHour(price)) => price,
            Some(SpotPriceIs::Permille(factor)) => {
                let most = self.on_demand_price(&region.name, instance_type).unwrap_or(MicroUsd(u64::MAX));
                plain.permille(factor).min(most)
            }
        })
    }

    fn spot_price_without_faults(&self, region: &Region, instance_type: &str, zone: &str, at: Timestamp) -> Option<MicroUsd> {
        if let Some(price) = self.spot_price_set(region, instance_type, zone) {
            return Some(price);
        }
        if let Some((rows, origin)) = self.trace_rows(region, instance_type, zone) {
            // Before its first row a pool has that row's price: the trace knows no other.
            let begun = rows.partition_point(|(after, _)| at.duration_since(origin) >= *after);
            return rows.get(begun.saturating_sub(1)).map(|(_, price)| *price);
        }
        let offerings = self.settings.offerings.as_ref().filter(|_| region.name == self.home);
        let (pool, middle) = match offerings {
            Some(offerings) => (None, *offerings.get(instance_type)?.spot.get(zone)?),
            // The derived base, moved by up to a tenth, evenly, by zone and seed.
            None => {
                let pool = self.pool_number(instance_type, zone);
                (Some(pool), catalogue::spot_price_base(&region.name, instance_type)?.per_hour.permille(900 + pool % 201))
            }
        };
        let Some(moves) = self.settings.spot.moves else { return Some(middle) };
        let pool = pool.unwrap_or_else(|| self.pool_number(instance_type, zone));
        let off = moves.off(pool, moves.step(pool, at)).clamp(-900, 100_000);
        let moved = four_places(middle.permille(u64::try_from(1000 + off).unwrap_or(0)));
        let most = self.on_demand_price(&region.name, instance_type).unwrap_or(MicroUsd(u64::MAX));
        Some(moved.max(MicroUsd(100)).min(most))
    }

    /// Whether any Spot price may ever change.
    pub(crate) fn spot_moves(&self) -> bool {
        let market = &self.settings.spot;
        market.moves.is_some()
            || market.trace.is_some()
            || self.rules.iter().any(|active| matches!(active.rule.effect, Effect::SpotPrice { .. }))
    }

    /// In how long a stretch a pool's price changes about once; `None` when only few instants change prices at all.
    pub(crate) fn spot_step(&self) -> Option<SignedDuration> {
        self.settings.spot.moves.map(|moves| moves.every)
    }

    /// Every instant after `from` and up to `to` at which a pool's price may change, in order.
    fn spot_instants(&self, region: &Region, instance_type: &str, zone: &str, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        let within = |at: &Timestamp| from < *at && *at <= to;
        let of_pool = self.rules.iter().map(|active| &active.rule).filter(|rule| rule.effect.spot_price(instance_type, zone).is_some());
        let mut instants: Vec<Timestamp> = of_pool.flat_map(|rule| [rule.since, rule.until]).flatten().filter(within).collect();
        if self.spot_price_set(region, instance_type, zone).is_some() {
        } else if let Some((rows, origin)) = self.trace_rows(region, instance_type, zone) {
            instants.extend(rows.iter().filter_map(|(after, _)| origin.checked_add(*after).ok()).filter(within));
        } else if let Some(moves) = self.settings.spot.moves {
            let pool = self.pool_number(instance_type, zone);
            let steps = moves.step(pool, from)..=moves.step(pool, to);
            instants.extend(steps.map(|step| moves.begins(pool, step)).filter(within));
        }
        instants.sort_unstable();
        instants.dedup();
        instants
    }

    /// A pool's changes of price after `from` and up to `to`, in order.
    pub(crate) fn spot_changes(&self, region: &Region, instance_type: &str, zone: &str, from: Timestamp, to: Timestamp) -> Vec<SpotRow> {
        let Some(mut before) = self.spot_price(region, instance_type, zone, from) else { return Vec::new() };
        let mut rows = Vec::new();
        for since in self.spot_instants(region, instance_type, zone, from, to) {
            let Some(price) = self.spot_price(region, instance_type, zone, since) else { continue };
            if price != before {
                rows.push(SpotRow { since, price });
            }
            before = price;
        }
        rows
    }

    /// The price in force at an instant and since when: the last change at most a day before, since EC2 tells prices once a day if they
    /// do not change.
    pub(crate) fn spot_in_force(&self, region: &Region, instance_type: &str, zone: &str, at: Timestamp) -> Option<SpotRow> {
        let price = self.spot_price(region, instance_type, zone, at)?;
        let day = at.checked_sub(SignedDuration::from_hours(24)).unwrap_or(at);
        let last = self.spot_changes(region, instance_type, zone, day, at).pop();
        Some(last.unwrap_or(SpotRow { since: day, price }))
    }
}

/// How far ahead changes of price are looked for.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

impl World<'_> {
    /// Warns of the end of Spot machines whose price has passed what their users pay at most, and sees to it that it is asked again when a
    /// price may change. Source: EC2 user guide, "Spot Instance interruptions": EC2 may take an instance back when the price is higher
    /// than your maximum price, with the same notice.
    pub(crate) fn watch_prices(&mut self) {
        let (account, region, now) = (&*self.account, &*self.region, self.now);
        let capped = region.instances.values().filter(|it| it.phase.holds_capacity() && it.interrupted.is_none());
        let capped: Vec<_> = capped.filter_map(|it| Some((it.id.clone(), it.instance_type, it.zone.name, it.max_price?))).collect();
        let price = |name: &str, zone: &str| account.spot_price(region, name, zone, now);
        let (out, held): (Vec<_>, Vec<_>) =
            capped.into_iter().partition(|(_, name, zone, most)| price(name, zone).is_some_and(|price| price > *most));
        let ahead = super::lifecycle::later(now, AHEAD);
        let next =
            |(_, name, zone, _): &(String, &str, &str, MicroUsd)| account.spot_instants(region, name, zone, now, ahead).first().copied();
        let next = if held.is_empty() || !account.spot_moves() { None } else { Some(held.iter().filter_map(next).min().unwrap_or(ahead)) };
        for (id, ..) in out {
            if let Some(instance) = self.region.instances.get_mut(&id) {
                instance.priced_out = true;
            }
            self.interrupt(&id, super::incident::SPOT_NOTICE);
        }
        if let Some(next) = next.filter(|next| self.region.prices_watched.is_none_or(|watched| *next < watched)) {
            self.region.prices_watched = Some(next);
            self.account.agenda.add(next, Due::Price { region: self.region.name.clone() });
        }
    }
}

impl State {
    /// Asks every Spot machine with a maximum whether it still pays enough, since somebody has changed prices.
    pub(super) fn look_at_prices(&mut self, now: Timestamp) {
        self.account.prices_changed = false;
        let names: Vec<String> = self.regions.keys().cloned().collect();
        for name in names {
            if let Some(mut world) = self.world(now, &name) {
                world.watch_prices();
            }
        }
    }

    /// What a machine costs per hour at an instant: a Spot machine the price of the moment, any other that of its launch.
    pub fn price_at(&self, machine: &Machine, at: Timestamp) -> Option<MicroUsd> {
        if machine.market != Market::Spot || !self.account.spot_moves() {
            return machine.price_per_hour;
        }
        let region = self.regions.get(&machine.region)?;
        self.account.spot_price(region, &machine.instance_type, &machine.zone, at).or(machine.price_per_hour)
    }

    /// Dollars that an entry of the ledger has cost between two instants. Spot is paid at the price of each moment.
    /// Source: EC2 user guide, "Spot Instances: pricing and savings".
    pub fn spent(&self, entry: &LedgerEntry, from: Timestamp, to: Timestamp) -> f64 {
        let (from, to) = (entry.start.max(from), entry.end.unwrap_or(to).min(to));
        if to <= from {
            return 0.0;
        }
        let cost = |price: Option<MicroUsd>, from: Timestamp, to: Timestamp| {
            price.map_or(0.0, |price| price.0 as f64 / 1e6) * to.duration_since(from).as_secs_f64() / 3600.0
        };
        let region = self.regions.get(&entry.region).filter(|_| entry.market == Market::Spot && self.account.spot_moves());
        let Some(region) = region else { return cost(entry.price_per_hour, from, to) };
        let mut price = self.account.spot_price(region, &entry.instance_type, &entry.zone, from);
        let (mut since, mut sum) = (from, 0.0);
        for row in self.account.spot_changes(region, &entry.instance_type, &entry.zone, from, to) {
            sum += cost(price, since, row.since);
            (since, price) = (row.since, Some(row.price));
        }
        sum + cost(price, since, to)
    }

    /// The Spot prices of the home region at an instant, by type and zone: of some types, or of all.
    pub fn spot_prices(&self, types: &[String], at: Timestamp) -> BTreeMap<String, BTreeMap<String, MicroUsd>> {
        let mut found: BTreeMap<String, BTreeMap<String, MicroUsd>> = BTreeMap::new();
        let Some(region) = self.regions.get(&self.account.home) else { return found };
        for (name, zones) in self.account.offered(region).filter(|(name, _)| types.is_empty() || types.iter().any(|wanted| wanted == name))
        {
            if !catalogue::instance_type(name).is_some_and(|details| details.usage_classes().iter().any(|class| class == "spot")) {
                continue;
            }
            for zone in zones {
                if let Some(price) = self.account.spot_price(region, name, zone.name, at) {
                    found.entry(name.to_owned()).or_default().insert(zone.name.to_owned(), price);
                }
            }
        }
        found
    }

    /// Changes how Spot prices move from now on. What was before is told as the new settings have it: nothing that moves is stored.
    pub fn set_spot_market(&mut self, market: SpotMarket) {
        self.account.prices_changed = true;
        self.account.settings.spot = market;
    }

    /// The trace begins now.
    pub fn begin_spot_trace(&mut self, now: Timestamp) {
        self.account.prices_changed = true;
        self.account.settings.spot.origin = Some(now);
    }

    pub fn spot_market(&self) -> &SpotMarket {
        &self.account.settings.spot
    }
}
