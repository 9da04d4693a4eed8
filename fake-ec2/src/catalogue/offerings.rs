//! Which types are on offer where.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use serde::{Deserialize, Serialize};

use crate::kept::{Word, word};

/// A region with its zones.
#[derive(Debug)]
pub struct Region {
    pub name: &'static str,
    zones: Vec<Zone>,
    text: &'static str,
    offerings: OnceLock<Vec<Offering>>,
}

/// An availability zone. Which name stands for which id differs between accounts; this is the mapping of the account of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Zone {
    /// `us-west-2a`
    #[serde(deserialize_with = "word::one")]
    pub name: Word,
    /// `usw2-az1`
    #[serde(deserialize_with = "word::one")]
    pub id: Word,
}

/// One type in one zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offering {
    pub instance_type: &'static str,
    pub zone: Zone,
}

impl Region {
    /// In the order of their names.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// By type, then zone name.
    pub fn offerings(&self) -> &[Offering] {
        self.offerings.get_or_init(|| {
            let types: BTreeMap<&'static str, u32> = serde_json::from_str(self.text).expect("a committed line is JSON");
            types
                .into_iter()
                .flat_map(|(instance_type, mask)| {
                    let offered = move |at: usize| mask & (1 << at) != 0;
                    let zones = self.zones.iter().enumerate().filter(move |(at, _)| offered(*at));
                    zones.map(move |(_, zone)| Offering { instance_type, zone: *zone })
                })
                .collect()
        })
    }

    /// The offerings of one type, by zone name.
    pub fn offerings_of<'a>(&'a self, instance_type: &str) -> &'a [Offering] {
        let all = self.offerings();
        let start = all.partition_point(|offering| offering.instance_type < instance_type);
        let end = all.partition_point(|offering| offering.instance_type <= instance_type);
        all.get(start..end).unwrap_or_default()
    }
}

/// The regions of the commercial partition, by name.
pub fn regions() -> &'static BTreeMap<&'static str, Region> {
    static REGIONS: LazyLock<BTreeMap<&'static str, Region>> = LazyLock::new(|| {
        text()
            .lines()
            .skip(1)
            .map(|line| {
                let mut columns = line.splitn(3, '\t');
                let mut column = || columns.next().unwrap_or_default();
                let (name, zones, text) = (column(), column(), column());
                let zones = serde_json::from_str(zones).expect("a committed line is JSON");
                (name, Region { name, zones, text, offerings: OnceLock::new() })
            })
            .collect()
    });
    &REGIONS
}

pub fn region(name: &str) -> Option<&'static Region> {
    regions().get(name)
}

/// What is on offer in a region, by type, then zone name; empty for a region that nobody knows.
pub fn offerings(region_name: &str) -> &'static [Offering] {
    region(region_name).map_or(&[], Region::offerings)
}

/// The file: a provenance, then a line `region TAB zones TAB {type: bit set over the zones}` per region.
pub(super) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| super::unpack(include_bytes!("../../data/offerings.jsonl.gz")));
    &TEXT
}
