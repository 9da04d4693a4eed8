//! Instance types, offerings and prices, as published; decoded when first asked for, and once per process.
//!
//! What is real and what is derived: types and offerings are AWS's own descriptions (through the moto project's snapshots), and the
//! on-demand prices of us-east-1 are AWS's list prices (through Karpenter's table). All else is derived and says so
//! ([`Price::derived`]): other regions' prices by a factor per region, Spot prices by a discount per family.

mod file;
mod offerings;
mod prices;
mod types;

pub use file::{File, FileError, Offer};
pub use offerings::{Offering, Region, Zone, offerings, region, regions};
pub use prices::{MicroUsd, Price, on_demand_price, spot_price_base};
pub use types::{InstanceType, instance_type, learn, types};

/// Where a file of data comes from; the first line of each.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Provenance {
    pub source: String,
    pub version: String,
    pub date: String,
    pub licence: String,
}

/// The provenance of each file of data, by the file's name.
pub fn provenance() -> Vec<(&'static str, Provenance)> {
    [("types", types::text()), ("offerings", offerings::text()), ("prices", prices::text())]
        .into_iter()
        .map(|(name, text)| (name, first_line(text)))
        .collect()
}

fn first_line(text: &str) -> Provenance {
    let line = text.lines().next().unwrap_or_default();
    serde_json::from_str(line).expect("the generator writes a provenance first")
}

/// Unpacks a committed file.
fn unpack(bytes: &[u8]) -> String {
    use std::io::Read;
    // The trailer of gzip is the length (RFC 1952, ISIZE): a text that grows is copied again and again.
    let length = bytes.last_chunk().map_or(0, |trailer| u32::from_le_bytes(*trailer));
    let mut text = String::with_capacity(usize::try_from(length).unwrap_or(0));
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).expect("a committed file is whole");
    text
}
