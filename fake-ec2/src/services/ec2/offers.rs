//! What is on offer: types, where they are, Spot prices, zones, regions.

use jiff::{Timestamp, TimestampRound, Unit};
use serde_json::json;

use crate::catalogue::{self, Zone};
use crate::protocol::{AwsError, Call};
use crate::services::filter::{Filters, Table};
use crate::services::input::{Out, Read, stamp};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::account::Account;
use crate::state::spot::{self, SpotRow};
use crate::state::{Region, World};

/// Source: API reference, DescribeInstanceTypes, Filters.
const TYPE_FILTERS: Table = &[
    ("auto-recovery-supported", "AutoRecoverySupported"),
    ("bare-metal", "BareMetal"),
    ("burstable-performance-supported", "BurstablePerformanceSupported"),
    ("current-generation", "CurrentGeneration"),
    ("dedicated-hosts-supported", "DedicatedHostsSupported"),
    ("ebs-info.attachment-limit-type", "EbsInfo.AttachmentLimitType"),
    ("ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps", "EbsInfo.EbsOptimizedInfo.BaselineBandwidthInMbps"),
    ("ebs-info.ebs-optimized-info.baseline-iops", "EbsInfo.EbsOptimizedInfo.BaselineIops"),
    ("ebs-info.ebs-optimized-info.baseline-throughput-in-mbps", "EbsInfo.EbsOptimizedInfo.BaselineThroughputInMBps"),
    ("ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps", "EbsInfo.EbsOptimizedInfo.MaximumBandwidthInMbps"),
    ("ebs-info.ebs-optimized-info.maximum-iops", "EbsInfo.EbsOptimizedInfo.MaximumIops"),
    ("ebs-info.ebs-optimized-info.maximum-throughput-in-mbps", "EbsInfo.EbsOptimizedInfo.MaximumThroughputInMBps"),
    ("ebs-info.ebs-optimized-support", "EbsInfo.EbsOptimizedSupport"),
    ("ebs-info.encryption-support", "EbsInfo.EncryptionSupport"),
    ("ebs-info.maximum-ebs-attachments", "EbsInfo.MaximumEbsAttachments"),
    ("ebs-info.nvme-support", "EbsInfo.NvmeSupport"),
    ("free-tier-eligible", "FreeTierEligible"),
    ("hibernation-supported", "HibernationSupported"),
    ("hypervisor", "Hypervisor"),
    ("instance-storage-info.disk.count", "InstanceStorageInfo.Disks.Count"),
    ("instance-storage-info.disk.size-in-gb", "InstanceStorageInfo.Disks.SizeInGB"),
    ("instance-storage-info.disk.type", "InstanceStorageInfo.Disks.Type"),
    ("instance-storage-info.encryption-support", "InstanceStorageInfo.EncryptionSupport"),
    ("instance-storage-info.nvme-support", "InstanceStorageInfo.NvmeSupport"),
    ("instance-storage-info.total-size-in-gb", "InstanceStorageInfo.TotalSizeInGB"),
    ("instance-storage-supported", "InstanceStorageSupported"),
    ("instance-type", "InstanceType"),
    ("memory-info.size-in-mib", "MemoryInfo.SizeInMiB"),
    ("network-info.bandwidth-weightings", "NetworkInfo.BandwidthWeightings"),
    ("network-info.efa-info.maximum-efa-interfaces", "NetworkInfo.EfaInfo.MaximumEfaInterfaces"),
    ("network-info.efa-supported", "NetworkInfo.EfaSupported"),
    ("network-info.ena-support", "NetworkInfo.EnaSupport"),
    ("network-info.flexible-ena-queues-support", "NetworkInfo.FlexibleEnaQueuesSupport"),
    ("network-info.encryption-in-transit-supported", "NetworkInfo.EncryptionInTransitSupported"),
    ("network-info.ipv4-addresses-per-interface", "NetworkInfo.Ipv4AddressesPerInterface"),
    ("network-info.ipv6-addresses-per-interface", "NetworkInfo.Ipv6AddressesPerInterface"),
    ("network-info.ipv6-supported", "NetworkInfo.Ipv6Supported"),
    ("network-info.maximum-network-cards", "NetworkInfo.MaximumNetworkCards"),
    ("network-info.maximum-network-interfaces", "NetworkInfo.MaximumNetworkInterfaces"),
    ("network-info.network-performance", "NetworkInfo.NetworkPerformance"),
    ("nitro-enclaves-support", "NitroEnclavesSupport"),
    ("nitro-tpm-support", "NitroTpmSupport"),
    ("nitro-tpm-info.supported-versions", "NitroTpmInfo.SupportedVersions"),
    ("processor-info.supported-architecture", "ProcessorInfo.SupportedArchitectures"),
    ("processor-info.sustained-clock-speed-in-ghz", "ProcessorInfo.SustainedClockSpeedInGhz"),
    ("processor-info.supported-features", "ProcessorInfo.SupportedFeatures"),
    ("reboot-migration-support", "RebootMigrationSupport"),
    ("supported-boot-mode", "SupportedBootModes"),
    ("supported-root-device-type", "SupportedRootDeviceTypes"),
    ("supported-usage-class", "SupportedUsageClasses"),
    ("supported-virtualization-type", "SupportedVirtualizationTypes"),
    ("vcpu-info.default-cores", "VCpuInfo.DefaultCores"),
    ("vcpu-info.default-threads-per-core", "VCpuInfo.DefaultThreadsPerCore"),
    ("vcpu-info.default-vcpus", "VCpuInfo.DefaultVCpus"),
    ("vcpu-info.valid-cores", "VCpuInfo.ValidCores"),
    ("vcpu-info.valid-threads-per-core", "VCpuInfo.ValidThreadsPerCore"),
];

/// The caps and the default length of pages: API reference, DescribeInstanceTypes, MaxResults.
pub(super) fn types(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, TYPE_FILTERS)?;
    let wanted = call.input.texts("InstanceTypes");
    let unknown: Vec<&str> = wanted.iter().copied().filter(|name| world.account.offered_in(world.region, name).is_empty()).collect();
    if !unknown.is_empty() {
        return Err(errors::INSTANCE_TYPES_UNKNOWN.error(&[&unknown.join(", ")]));
    }
    let place = page::place(call, Pages::capped(5, 100).by_default(100).not_with("InstanceTypes", "InstanceTypes"))?;
    let names = world.account.offered(world.region).map(|(name, _)| name).filter(|name| wanted.is_empty() || wanted.contains(name));
    let (types, token) = place.take(call, names.map(|name| (name.to_owned(), name)), |name| {
        let details = catalogue::instance_type(name)?.describe();
        filters.pass(&details).then_some(details)
    });
    Ok(Out::new().with("InstanceTypes", types).maybe("NextToken", token).done())
}

const OFFERING_FILTERS: Table = &[("instance-type", "InstanceType"), ("location", "Location")];

pub(super) fn offerings(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, OFFERING_FILTERS)?;
    let kind = call.input.text("LocationType").unwrap_or("region");
    let mut rows = Vec::new();
    for (name, zones) in world.account.offered(world.region) {
        let locations: Vec<&str> = match kind {
            "region" => vec![&world.region.name],
            "availability-zone" => zones.iter().map(|zone| zone.name).collect(),
            "availability-zone-id" => zones.iter().map(|zone| zone.id).collect(),
            "outpost" => Vec::new(),
            _ => {
                return Err(errors::invalid(kind, "locationType", "Expecting region, availability-zone, availability-zone-id or outpost."));
            }
        };
        for location in locations {
            let row = json!({"InstanceType": name, "LocationType": kind, "Location": location});
            if filters.pass(&row) {
                rows.push((format!("{name}\u{0}{location}"), row));
            }
        }
    }
    let (offerings, token) = page::cut(call, Pages::capped(5, 1000).by_default(1000), rows)?;
    Ok(Out::new().with("InstanceTypeOfferings", offerings).maybe("NextToken", token).done())
}

const SPOT_FILTERS: Table = &[
    ("availability-zone", "AvailabilityZone"),
    ("availability-zone-id", "AvailabilityZoneId"),
    ("instance-type", "InstanceType"),
    ("product-description", "ProductDescription"),
    ("spot-price", "SpotPrice"),
    ("timestamp", "Timestamp"),
];

/// The one product that the prices are of, under both of its names.
const PRODUCTS: [&str; 2] = ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"];

/// The prices between `StartTime` and `EndTime`, the latest first, with those that were in force at `StartTime`; without one, of the last
/// 90 days. Prices that hold still are told once, as of the start of the hour.
pub(super) fn spot_prices(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, SPOT_FILTERS)?;
    let (types, products) = (call.input.texts("InstanceTypes"), call.input.texts("ProductDescriptions"));
    let zone = call.input.text("AvailabilityZone");
    if let Some(zone) = zone
        && world.region.zone(zone).is_none()
    {
        return Err(errors::ZONE_UNKNOWN.error(&[zone]));
    }
    let zone_id = call.input.text("AvailabilityZoneId");
    let listed = products.is_empty() || products.iter().any(|product| PRODUCTS.contains(product));
    let (start, end) = span(world.now, call)?;
    // EC2 answers at most 1,000 rows whatever MaxResults asks for; Karpenter asks for 2,000.
    let length = call.input.int("MaxResults").and_then(|asked| usize::try_from(asked).ok()).map_or(1000, |asked| asked.clamp(1, 1000));
    let place = page::place_by(call, length, call.input.text("NextToken"), &errors::NEXT_TOKEN)?;
    let offered = world.account.offered(world.region).filter(|(name, _)| listed && (types.is_empty() || types.contains(name)));
    let spot =
        |name: &&str| catalogue::instance_type(name).is_some_and(|details| details.usage_classes().iter().any(|class| class == "spot"));
    let offered = offered.filter(|(name, _)| filters.pass_path("InstanceType", name) && spot(name));
    let offered = offered.flat_map(|(name, zones)| zones.into_iter().map(move |offered| (name, offered)));
    let pools: Vec<(&'static str, Zone)> = offered
        .filter(|(_, at)| {
            zone.is_none_or(|zone| zone == at.name)
                && zone_id.is_none_or(|id| id == at.id)
                && filters.pass_path("AvailabilityZone", at.name)
        })
        .collect();
    let after = place.after().and_then(|key| key.get(..TIME_DIGITS)?.parse::<i64>().ok()).map(|inverted| i64::MAX - inverted);
    let until = after.and_then(|millis| Timestamp::from_millisecond(millis).ok()).map_or(end, |at| at.min(end));
    let (account, region) = (&*world.account, &*world.region);
    let rows = History { account, region, pools: &pools, start, high: Some(until), still: hour(end) };
    let (prices, token) = place.take(call, rows.flatten(), |(name, at, row)| {
        let row = json!({
            "AvailabilityZone": at.name, "AvailabilityZoneId": at.id, "InstanceType": name,
            "ProductDescription": PRODUCTS[0], "SpotPrice": row.price.to_decimal(), "Timestamp": stamp(row.since),
        });
        filters.pass(&row).then_some(row)
    });
    world.note_priced(start, |effect| pools.iter().any(|(name, at)| effect.spot_price(name, at.name).is_some()));
    // EC2 sends an empty token after the last page, and SDKs stop there.
    Ok(Out::new().with("SpotPriceHistory", prices).with("NextToken", token.unwrap_or_default()).done())
}

/// Digits of an instant in a row's key; the later, the smaller.
const TIME_DIGITS: usize = 19;

type Row = (String, (&'static str, Zone, SpotRow));

/// Rows, the latest first, made a stretch of time after the other as a page asks for them.
struct History<'a> {
    account: &'a Account,
    region: &'a Region,
    pools: &'a [(&'static str, Zone)],
    start: Timestamp,
    /// The end of the next stretch; `None` after the last.
    high: Option<Timestamp>,
    /// As of when prices are told that hold still.
    still: Timestamp,
}

impl Iterator for History<'_> {
    type Item = Vec<Row>;

    fn next(&mut self) -> Option<Vec<Row>> {
        let high = self.high.take()?;
        let mut rows: Vec<Row> = Vec::new();
        let mut push = |name: &'static str, zone: Zone, row: SpotRow| {
            let inverted = i64::MAX - row.since.as_millisecond();
            rows.push((format!("{inverted:0TIME_DIGITS$}\u{0}{name}\u{0}{}", zone.name), (name, zone, row)));
        };
        if !self.account.spot_moves() {
            for (name, zone) in self.pools {
                if let Some(price) = self.account.spot_price(self.region, name, zone.name, self.still) {
                    push(name, *zone, SpotRow { since: self.still, price });
                }
            }
        } else if high > self.start {
            let low = self.account.spot_step().and_then(|step| high.checked_sub(step).ok()).unwrap_or(self.start).max(self.start);
            self.high = Some(low);
            for (name, zone) in self.pools {
                for row in self.account.spot_changes(self.region, name, zone.name, low, high) {
                    push(name, *zone, row);
                }
            }
        } else {
            for (name, zone) in self.pools {
                if let Some(row) = self.account.spot_in_force(self.region, name, zone.name, self.start) {
                    push(name, *zone, row);
                }
            }
        }
        rows.sort_unstable_by(|(one, _), (two, _)| one.cmp(two));
        Some(rows)
    }
}

fn hour(at: Timestamp) -> Timestamp {
    at.round(TimestampRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc)).unwrap_or(at)
}

/// From when to when prices are asked for.
fn span(now: Timestamp, call: &Call) -> Result<(Timestamp, Timestamp), AwsError> {
    let read = |member: &str, named: &str| {
        let text = call.input.text(member);
        text.map(|text| text.parse::<Timestamp>().map_err(|_| errors::invalid(text, named, "Expecting a timestamp."))).transpose()
    };
    let end = read("EndTime", "endTime")?.map_or(now, |end| end.min(now));
    let oldest = now.checked_sub(spot::HISTORY).unwrap_or(now);
    let start = read("StartTime", "startTime")?.map_or(oldest, |start| start.max(oldest));
    Ok((start.min(end), end))
}

const ZONE_FILTERS: Table = &[
    ("group-long-name", ""),
    ("group-name", "GroupName"),
    ("message", ""),
    ("opt-in-status", "OptInStatus"),
    ("parent-zone-id", ""),
    ("parent-zone-name", ""),
    ("region-name", "RegionName"),
    ("state", "State"),
    ("zone-id", "ZoneId"),
    ("zone-name", "ZoneName"),
    ("zone-type", "ZoneType"),
];

pub(super) fn zones(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, ZONE_FILTERS)?;
    let (names, ids) = (call.input.texts("ZoneNames"), call.input.texts("ZoneIds"));
    let region = &*world.region;
    if let Some(unknown) = names.iter().find(|name| region.zone(name).is_none()) {
        return Err(errors::ZONE_UNKNOWN.error(&[unknown]));
    }
    if let Some(unknown) = ids.iter().find(|id| !region.zones.iter().any(|zone| zone.id == **id)) {
        return Err(errors::ZONE_UNKNOWN.error(&[unknown]));
    }
    let asked = region.zones.iter().filter(|zone| names.is_empty() || names.contains(&zone.name));
    let asked = asked.filter(|zone| ids.is_empty() || ids.contains(&zone.id));
    let rows = asked.map(|zone| {
        json!({
            "OptInStatus": "opt-in-not-required", "Messages": [], "RegionName": region.name, "ZoneName": zone.name, "ZoneId": zone.id,
            "GroupName": format!("{}-zg-1", region.name), "NetworkBorderGroup": region.name, "ZoneType": "availability-zone", "State": "available",
        })
    });
    Ok(Out::new().with("AvailabilityZones", rows.filter(|row| filters.pass(row)).collect::<Vec<_>>()).done())
}

const REGION_FILTERS: Table = &[("endpoint", "Endpoint"), ("opt-in-status", "OptInStatus"), ("region-name", "RegionName")];

pub(super) fn regions(_: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, REGION_FILTERS)?;
    let wanted = call.input.texts("RegionNames");
    if let Some(unknown) = wanted.iter().find(|name| catalogue::region(name).is_none()) {
        return Err(errors::invalid(unknown, "region", "The region does not exist."));
    }
    let names = catalogue::regions().keys().filter(|name| wanted.is_empty() || wanted.contains(name));
    let rows = names
        .map(|name| json!({"OptInStatus": "opt-in-not-required", "RegionName": name, "Endpoint": format!("ec2.{name}.amazonaws.com")}));
    Ok(Out::new().with("Regions", rows.filter(|row| filters.pass(row)).collect::<Vec<_>>()).done())
}
