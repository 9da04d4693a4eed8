//! What Karpenter compiles in: branch interfaces, addresses, bandwidth, and prices for until the price list has been read.
//!
//! Written by `ci/generate/cloud_tables.py`.

use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::LazyLock;

/// Limits of one instance type. Source: `A/pkg/providers/instancetype/zz_generated.{vpclimits,bandwidth}.go`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Branch network interfaces, for types that trunk.
    pub branch_interfaces: Option<i64>,
    pub ipv4_per_interface: Option<i64>,
    /// Mbit/s.
    pub bandwidth: Option<i64>,
}

static LIMITS: LazyLock<BTreeMap<String, Limits>> = LazyLock::new(|| {
    rows(include_bytes!("../data/limits.tsv.gz"))
        .into_iter()
        .filter_map(|row| {
            let number = |at: usize| row.get(at)?.parse().ok();
            let limits = Limits { branch_interfaces: number(1), ipv4_per_interface: number(2), bandwidth: number(3) };
            Some((row.first()?.clone(), limits))
        })
        .collect()
});

static PRICES: LazyLock<BTreeMap<String, BTreeMap<String, f64>>> = LazyLock::new(|| {
    let mut regions: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for row in rows(include_bytes!("../data/prices.tsv.gz")) {
        if let [region, name, price] = &row[..]
            && let Ok(price) = price.parse()
        {
            regions.entry(region.clone()).or_default().insert(name.clone(), price);
        }
    }
    regions
});

pub fn limits(instance_type: &str) -> Limits {
    LIMITS.get(instance_type).copied().unwrap_or_default()
}

/// On-demand prices per hour by type; us-east-1's where upstream has none for the region. In China the currency is CNY.
pub fn first_prices(region: &str) -> &'static BTreeMap<String, f64> {
    static NONE: BTreeMap<String, f64> = BTreeMap::new();
    PRICES.get(region).or_else(|| PRICES.get("us-east-1")).unwrap_or(&NONE)
}

/// Lines that are no comment, by tabs.
fn rows(packed: &[u8]) -> Vec<Vec<String>> {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).expect("compiled-in data are readable");
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_hold_what_upstream_compiles_in() {
        assert_eq!(limits("m5.large"), Limits { branch_interfaces: Some(9), ipv4_per_interface: Some(10), bandwidth: Some(750) });
        assert_eq!(limits("t3.small").branch_interfaces, None);
        assert_eq!(limits("no.such"), Limits::default());
        assert_eq!(first_prices("us-west-2")["m5.large"], 0.096);
        assert_eq!(first_prices("cn-north-1").get("m5.large"), PRICES["cn-north-1"].get("m5.large"));
        assert!(first_prices("us-east-1").len() > 1_300);
    }
}
