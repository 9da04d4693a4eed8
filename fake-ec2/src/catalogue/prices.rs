//! What an hour costs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

/// Millionths of a US dollar. AWS's list has six places, so that list prices are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct MicroUsd(pub u64);

impl MicroUsd {
    /// As the Pricing API and DescribeSpotPriceHistory write it: `0.096000`.
    pub fn to_decimal(self) -> String {
        format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }

    /// This, times thousandths, rounded half up.
    pub fn permille(self, thousandths: u64) -> Self {
        Self((self.0.saturating_mul(thousandths).saturating_add(500)) / 1000)
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "${}", self.to_decimal())
    }
}

/// A price per hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    pub per_hour: MicroUsd,
    /// Not a published price: a factor or a discount was applied.
    pub derived: bool,
}

/// The Linux, shared-tenancy price; `None` where the type is unknown to the price list or the region is unknown.
pub fn on_demand_price(region: &str, instance_type: &str) -> Option<Price> {
    let listed = *prices().get(instance_type)?;
    if region == LISTED_REGION {
        return Some(Price { per_hour: listed, derived: false });
    }
    Some(Price { per_hour: listed.permille(region_factor(region)?), derived: true })
}

/// Around what the Spot price moves: the on-demand price less a discount of the family. Always derived; zones and time are the market's.
pub fn spot_price_base(region: &str, instance_type: &str) -> Option<Price> {
    let on_demand = on_demand_price(region, instance_type)?;
    Some(Price { per_hour: on_demand.per_hour.permille(1000 - spot_discount(instance_type)), derived: true })
}

const LISTED_REGION: &str = "us-east-1";

/// Prices of a region against us-east-1, in thousandths; `None` for a region that is not in the table.
/// us-east-2 and us-west-2 have us-east-1's list prices for the common families. The others are the ratio of m5.large's list prices
/// (0.096 in us-east-1) as the EC2 price pages show it: right to a few per cent for other families, hence `derived`.
fn region_factor(region: &str) -> Option<u64> {
    Some(match region {
        "us-east-1" | "us-east-2" | "us-west-2" => 1000,
        "us-west-1" => 1167,
        "ca-central-1" | "ca-west-1" => 1115,
        "eu-north-1" => 1063,
        "eu-west-1" => 1115,
        "eu-west-2" => 1156,
        "eu-west-3" => 1167,
        "eu-central-1" => 1198,
        "eu-central-2" => 1318,
        "eu-south-1" => 1167,
        "eu-south-2" => 1115,
        "ap-south-1" | "ap-south-2" => 1052,
        "ap-northeast-1" | "ap-northeast-3" => 1292,
        "ap-northeast-2" => 1229,
        "ap-southeast-1" | "ap-southeast-2" | "ap-southeast-3" | "ap-southeast-4" | "ap-southeast-5" | "ap-southeast-7" => 1250,
        "ap-east-1" | "ap-east-2" => 1375,
        "me-south-1" | "me-central-1" => 1229,
        "il-central-1" => 1229,
        "af-south-1" => 1323,
        "sa-east-1" => 1594,
        "mx-central-1" => 1050,
        _ => return None,
    })
}

/// A typical Spot discount in thousandths of the on-demand price, by the first letters of the family. These are round numbers chosen to
/// keep the order that the Spot advisor shows (accelerators and burstable types are discounted least, older general types most), not measurements.
fn spot_discount(instance_type: &str) -> u64 {
    let family: String = instance_type.chars().take_while(char::is_ascii_alphabetic).collect();
    match family.as_str() {
        "t" => 600,
        "m" => 620,
        "c" => 600,
        "r" | "x" | "z" => 640,
        "i" | "im" | "is" | "d" | "h" => 650,
        "g" | "gr" | "vt" => 550,
        "p" | "inf" | "trn" | "dl" | "f" => 500,
        "a" => 650,
        _ => 600,
    }
}

fn prices() -> &'static BTreeMap<&'static str, MicroUsd> {
    static PRICES: LazyLock<BTreeMap<&'static str, MicroUsd>> = LazyLock::new(|| {
        let rows = text().lines().skip(1).filter_map(|line| line.split_once('\t'));
        rows.map(|(name, micro)| (name, MicroUsd(micro.parse().expect("a committed price is a number")))).collect()
    });
    &PRICES
}

/// The file: a provenance, then a line `type TAB millionths of a dollar per hour` per type.
pub(super) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| super::unpack(include_bytes!("../../data/prices.tsv.gz")));
    &TEXT
}
