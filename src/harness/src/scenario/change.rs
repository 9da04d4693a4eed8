//! Faults that change how the cloud is from now on: what it holds, asks and knows. Each is also a key of `given.aws`.

use super::catalogue;
use super::fields::Reader;
use super::given::{self, Capacity, Reserved};
use super::spot::{Spot, Traces};
use super::units;
use crate::yaml::{Kind, Node};
use fake_ec2::state::{Consistency, Delay, OnDemandPrice, Propagation, Quota};
use jiff::Timestamp;
use std::collections::BTreeMap;
use vocabulary::UsdPerHour;

/// What is otherwise from now on; the next one of its kind changes it again.
#[derive(Clone, Debug)]
pub enum Change {
    /// So many more machines of each pool.
    Capacity(Vec<Capacity>),
    /// vCPUs by class and market, in place of those before; none: no quotas.
    Quotas(Vec<Quota>),
    /// How long it takes until EC2 knows what was made, and until others know what IAM was told.
    Consistency(Consistency, Propagation),
    /// On-demand prices of some types.
    Prices(BTreeMap<String, UsdPerHour>),
    /// So many addresses are free in each subnet of these zones; no zones mean all.
    Addresses { zones: Vec<String>, free: u32 },
    /// Which zones offer a type; none of the catalogue's are meant where nothing is said.
    Offerings(Offerings),
    /// Reservations hold so many; one that there is not is made, one of none ends.
    Reservations(Vec<Reserved>),
    /// What Spot costs and how it moves.
    Spot(Spot),
}

/// Zones by type; no list: as in the catalogue.
pub type Offerings = BTreeMap<String, Option<Vec<String>>>;

pub(super) const WORDS: [&str; 8] = ["capacity", "quotas", "consistency", "prices", "addresses", "offerings", "reservations", "spot"];

pub(super) fn read(reader: &Reader, word: &str, node: &Node, region: &str) -> Option<Change> {
    match word {
        "capacity" => {
            let rows = reader.list(node).into_iter().filter_map(|n| given::capacity(reader, n, region));
            Some(Change::Capacity(rows.collect()))
        }
        "quotas" if matches!(&node.kind, Kind::Text(text) if text == "none") => Some(Change::Quotas(Vec::new())),
        "quotas" => Some(Change::Quotas(given::quotas(reader, node))),
        "consistency" => {
            let (consistency, propagation) = given::consistency(reader, node);
            Some(Change::Consistency(consistency, propagation))
        }
        "prices" => given::prices(reader, node).map(Change::Prices),
        "addresses" => {
            let fields = reader.map(node, "addresses", &["zones", "free"]);
            let Some(free) = fields.get("free") else {
                reader.wrong(&node.span, "addresses needs free", "for example {zones: [us-west-2a], free: 0}".to_owned());
                return None;
            };
            let zones = fields.get("zones").map(|n| catalogue::zones(reader, n, region)).unwrap_or_default();
            let free = u32::try_from(reader.whole(free, "addresses.free")?).unwrap_or(u32::MAX);
            Some(Change::Addresses { zones, free })
        }
        "offerings" => offerings(reader, node, region).map(Change::Offerings),
        "reservations" => {
            let rows = reader.list(node).into_iter().filter_map(|n| given::reserved(reader, n, region));
            Some(Change::Reservations(rows.collect()))
        }
        // Who asks from outside has no folder here, and a step has none either: a trace is its text.
        "spot" => Some(Change::Spot(super::spot::spot(reader, Traces::Said, node, region))),
        _ => None,
    }
}

/// `{m5.large: [us-west-2a], c5.large: none, t3.small: all}`.
pub(super) fn offerings(reader: &Reader, node: &Node, region: &str) -> Option<Offerings> {
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(
            &node.span,
            "offerings must map instance types to zones",
            "for example {m5.large: [us-west-2a], c5.large: none}".to_owned(),
        );
        return None;
    };
    let mut made = Offerings::new();
    for (key, value) in entries {
        let named = Node { kind: Kind::Text(key.name.clone()), span: key.span.clone() };
        let zones = match &value.kind {
            Kind::Text(text) if text == "all" => None,
            Kind::Text(text) if text == "none" => Some(Vec::new()),
            _ => Some(catalogue::zones(reader, value, region)),
        };
        made.extend(catalogue::types(reader, &named, region).into_iter().map(|name| (name, zones.clone())));
    }
    Some(made)
}

/// `2s..5s` as the cloud has it.
pub(super) fn delay(reader: &Reader, node: &Node, what: &str) -> Option<Delay> {
    reader.parsed(node, what, units::span).map(|span| Delay { least: span.low, most: span.high })
}

impl Change {
    /// Makes the cloud so; says why it cannot be.
    pub fn make(&self, state: &mut fake_ec2::state::State, now: Timestamp, region: &str) -> Result<(), String> {
        match self {
            Change::Capacity(rows) => {
                let pools = rows.iter().flat_map(|row| crate::world::inject::pools(row, region).into_iter().map(|pool| (pool, row.count)));
                pools.for_each(|(pool, count)| state.leave_capacity(&pool, count));
            }
            Change::Quotas(quotas) => state.settings_mut().quotas = quotas.clone(),
            Change::Consistency(consistency, propagation) => state.set_consistency(*consistency, *propagation),
            Change::Prices(prices) => {
                let rows = prices.iter().map(|(name, price)| OnDemandPrice {
                    region: None,
                    instance_type: name.clone(),
                    per_hour: crate::world::machines::micro_usd(*price),
                });
                state.settings_mut().on_demand_prices.extend(rows);
            }
            Change::Offerings(offerings) => {
                let offered = &mut state.settings_mut().offered_zones;
                for (name, zones) in offerings {
                    match zones {
                        Some(zones) => _ = offered.insert(name.clone(), zones.clone()),
                        None => _ = offered.remove(name),
                    }
                }
            }
            Change::Reservations(rows) => {
                for row in rows {
                    if state.resize_reservations(now, &row.instance_type, &row.zone, &row.tags, row.count)? == 0 {
                        row.make(state, now)?;
                    }
                }
            }
            Change::Spot(spot) => spot.set(state, now),
            Change::Addresses { zones, free } => {
                if state.leave_addresses(zones, *free) == 0 {
                    return Err("there is no subnet in these zones".to_owned());
                }
            }
        }
        Ok(())
    }
}
