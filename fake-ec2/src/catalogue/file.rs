//! A catalogue of one region as a file: what an account was told of its types, offerings and prices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MicroUsd, instance_type, learn, on_demand_price, region, spot_price_base};
use crate::state::market::parse_usd;
use crate::state::{Offered, Settings};

/// The file's version.
const VERSION: u32 = 1;

/// What is on offer in a region, and at which price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    pub catalogue: u32,
    pub region: String,
    /// Where it was read.
    #[serde(default)]
    pub source: String,
    /// By name.
    pub types: BTreeMap<String, Offer>,
}

/// One type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Offer {
    /// Names of the zones that offer it, in order.
    pub zones: Vec<String>,
    /// Dollars per hour: `0.096000`. None if the list has no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<String>,
    /// Dollars per hour by zone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spot: BTreeMap<String, String>,
    /// `InstanceTypeInfo` as DescribeInstanceTypes tells it.
    pub details: Value,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("{0}: not a catalogue: {1}; dryfit catalog refresh writes one")]
    Broken(String, String),
    #[error("{0}: a catalogue of version {1}, this dryfit reads {VERSION}; write it anew with dryfit catalog refresh")]
    Version(String, u32),
    #[error("{0}: a catalogue of {1}, asked for {2}; choose --region {1}, or refresh one of {2}")]
    Region(String, String, String),
    #[error("{file}: {name}: {why}; write it anew with dryfit catalog refresh")]
    Offer { file: String, name: String, why: String },
}

impl File {
    /// What is built in of a region; `None` if there is no such region. Spot prices are left out: they are derived when asked for.
    pub fn built_in(name: &str) -> Option<Self> {
        let known = region(name)?;
        let mut types: BTreeMap<String, Offer> = BTreeMap::new();
        for offering in known.offerings() {
            let offer = types.entry(offering.instance_type.to_owned()).or_default();
            offer.zones.push(offering.zone.name.to_owned());
        }
        for (name_of, offer) in &mut types {
            let Some(details) = instance_type(name_of) else { continue };
            offer.details = details.describe();
            offer.on_demand = on_demand_price(name, name_of).map(|price| price.per_hour.to_decimal());
            let spot = details.usage_classes().iter().any(|class| class == "spot");
            if let Some(price) = spot_price_base(name, name_of).filter(|_| spot) {
                offer.spot = offer.zones.iter().map(|zone| (zone.clone(), price.per_hour.to_decimal())).collect();
            }
        }
        Some(Self { catalogue: VERSION, region: name.to_owned(), source: "built in; Spot prices are derived".into(), types })
    }

    pub fn new(region: &str, source: &str) -> Self {
        Self { catalogue: VERSION, region: region.to_owned(), source: source.to_owned(), types: BTreeMap::new() }
    }

    /// Reads a file and checks all of it. `name` is its name in messages.
    pub fn read(name: &str, text: &str) -> Result<Self, FileError> {
        let file: Self = serde_json::from_str(text).map_err(|error| FileError::Broken(name.to_owned(), error.to_string()))?;
        if file.catalogue != VERSION {
            return Err(FileError::Version(name.to_owned(), file.catalogue));
        }
        let zones: Vec<&str> = region(&file.region).map(|known| known.zones().iter().map(|zone| zone.name).collect()).unwrap_or_default();
        for (type_name, offer) in &file.types {
            let wrong = |why: String| FileError::Offer { file: name.to_owned(), name: type_name.clone(), why };
            if let Some(zone) = offer.zones.iter().chain(offer.spot.keys()).find(|zone| !zones.contains(&zone.as_str())) {
                return Err(wrong(format!("{} has no zone {zone}", file.region)));
            }
            if let Some(price) = offer.on_demand.iter().chain(offer.spot.values()).find(|price| parse_usd(price).is_none()) {
                return Err(wrong(format!("cannot read the price {price:?}")));
            }
            if !super::types::is_shape(type_name, &offer.details) {
                return Err(wrong("its details are not what DescribeInstanceTypes tells".into()));
            }
        }
        Ok(file)
    }

    /// Makes it what an account finds in its home region. Types that are not built in become known to this process.
    pub fn apply(&self, settings: &mut Settings) {
        let price = |text: &String| parse_usd(text).unwrap_or(MicroUsd(0));
        let mut offerings = BTreeMap::new();
        for (name, offer) in &self.types {
            learn(name, &offer.details);
            let spot = offer.spot.iter().map(|(zone, text)| (zone.clone(), price(text))).collect();
            let offered = Offered { zones: offer.zones.clone(), on_demand: offer.on_demand.as_ref().map(price), spot };
            offerings.insert(name.clone(), offered);
        }
        settings.offerings = Some(offerings);
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}
