//! Attribute-based selection: which types have the attributes that a request asks for.
//!
//! Source: API reference, InstanceRequirementsRequest; EC2 user guide, "Specify attributes for instance type selection for EC2 Fleet".

use serde_json::{Value, json};

use crate::catalogue::{self, InstanceType, MicroUsd};
use crate::protocol::Call;
use crate::services::filter::glob;
use crate::services::input::{Members, Out, Read};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::{Market, World};

/// How much dearer than the cheapest comparable type one may be, in per cent, where a request does not say.
const ON_DEMAND_PROTECTION: i64 = 20;
const SPOT_PROTECTION: i64 = 100;

/// The types of a region that have the attributes, by name, their prices not yet looked at.
pub(super) fn matching(world: &World<'_>, asked: &Members, architectures: &[&str]) -> Vec<&'static str> {
    let offered = world.account.offered(world.region).filter_map(|(name, _)| catalogue::instance_type(name));
    let fits = |details: &&'static InstanceType| {
        details.architectures().iter().any(|known| architectures.contains(&known.as_str())) && has(asked, details)
    };
    offered.filter(fits).map(InstanceType::name).collect()
}

/// Those whose price is not out of proportion to the cheapest comparable type: of the current C, M and R families, else of any current
/// one, else of any.
pub(super) fn protected(world: &World<'_>, asked: &Members, market: Market, types: Vec<&'static str>) -> Vec<&'static str> {
    let price = |name: &str| match market {
        Market::OnDemand => world.account.on_demand_price(&world.region.name, name),
        Market::Spot => {
            let zones = world.account.offered_in(world.region, name);
            zones.iter().filter_map(|zone| world.account.spot_price(world.region, name, zone.name, world.now)).min()
        }
    };
    let on_demand = |name: &str| world.account.on_demand_price(&world.region.name, name);
    let cheapest = |price: &dyn Fn(&str) -> Option<MicroUsd>| {
        let current = |name: &&&str| catalogue::instance_type(name).is_some_and(InstanceType::current_generation);
        let common = |name: &&&str| current(name) && name.starts_with(['c', 'm', 'r']);
        let least = |names: Vec<&&str>| names.into_iter().filter_map(|name| price(name)).min();
        least(types.iter().filter(common).collect())
            .or_else(|| least(types.iter().filter(current).collect()))
            .or_else(|| least(types.iter().collect()))
    };
    let (base, percent) = match market {
        Market::OnDemand => {
            (cheapest(&price), 100 + asked.int("OnDemandMaxPricePercentageOverLowestPrice").unwrap_or(ON_DEMAND_PROTECTION))
        }
        Market::Spot => match asked.int("MaxSpotPriceAsPercentageOfOptimalOnDemandPrice") {
            Some(percent) => (cheapest(&on_demand), percent),
            None => (cheapest(&price), 100 + asked.int("SpotMaxPricePercentageOverLowestPrice").unwrap_or(SPOT_PROTECTION)),
        },
    };
    let Some(base) = base else { return types };
    let most = base.permille(u64::try_from(percent.max(0)).unwrap_or(0).saturating_mul(10));
    types.iter().copied().filter(|name| price(name).is_some_and(|price| price <= most)).collect()
}

/// `GetInstanceTypesFromInstanceRequirements`: a look at what would match; prices are looked at where the request says how.
pub(super) fn preview(world: &mut World<'_>, call: &Call) -> Answer {
    let Some(asked) = call.input.part("InstanceRequirements") else {
        return Err(errors::MISSING.error(&["InstanceRequirements"]));
    };
    let virtual_types = call.input.texts("VirtualizationTypes");
    let supports = |details: &'static InstanceType| {
        let known = details.details().get("SupportedVirtualizationTypes").and_then(Value::as_array);
        known.is_some_and(|known| known.iter().any(|kind| kind.as_str().is_some_and(|kind| virtual_types.contains(&kind))))
    };
    let mut types = matching(world, asked, &call.input.texts("ArchitectureTypes"));
    types.retain(|name| catalogue::instance_type(name).is_some_and(supports));
    if asked.contains_key("OnDemandMaxPricePercentageOverLowestPrice") {
        types = protected(world, asked, Market::OnDemand, types);
    }
    if asked.contains_key("SpotMaxPricePercentageOverLowestPrice") || asked.contains_key("MaxSpotPriceAsPercentageOfOptimalOnDemandPrice") {
        types = protected(world, asked, Market::Spot, types);
    }
    let rows = types.into_iter().map(|name| (name.to_owned(), json!({"InstanceType": name}))).collect();
    let (types, token) = page::cut(call, Pages::capped(1, 1000).by_default(1000), rows)?;
    Ok(Out::new().with("InstanceTypes", types).maybe("NextToken", token).done())
}

/// Whether a type has all the attributes.
fn has(asked: &Members, details: &InstanceType) -> bool {
    let shape = details.details();
    let number = |pointer: &str| shape.pointer(pointer).and_then(Value::as_f64);
    let flag = |member: &str| shape.get(member).and_then(Value::as_bool).unwrap_or(false);
    let vcpus = f64::from(details.vcpus());
    let memory = details.memory_mib() as f64;
    let disks = number("/InstanceStorageInfo/TotalSizeInGB").unwrap_or(0.0);
    within(asked, "VCpuCount", vcpus)
        && within(asked, "MemoryMiB", memory)
        && within(asked, "MemoryGiBPerVCpu", memory / 1024.0 / vcpus.max(1.0))
        && within(asked, "NetworkInterfaceCount", f64::from(details.max_network_interfaces()))
        && within(asked, "TotalLocalStorageGB", disks)
        && within(asked, "BaselineEbsBandwidthMbps", number("/EbsInfo/EbsOptimizedInfo/BaselineBandwidthInMbps").unwrap_or(0.0))
        && within(asked, "NetworkBandwidthGbps", bandwidth(shape))
        && named(asked, details.name())
        && among(asked, "CpuManufacturers", manufacturer(shape.pointer("/ProcessorInfo/Manufacturer")))
        && among(asked, "InstanceGenerations", if details.current_generation() { "current" } else { "previous" })
        && choice(asked, "BareMetal", "excluded", details.bare_metal())
        && choice(asked, "BurstablePerformance", "excluded", flag("BurstablePerformanceSupported"))
        && choice(asked, "LocalStorage", "included", disks > 0.0)
        && (!asked.flag("RequireHibernateSupport") || flag("HibernationSupported"))
        && disk_kinds(asked, shape)
        && accelerators(asked, shape)
}

/// Whether a number lies in a range that is asked for; one that is not asked for is as it likes.
fn within(asked: &Members, member: &str, value: f64) -> bool {
    let Some(range) = asked.part(member) else { return true };
    let bound = |name: &str| range.get(name).and_then(|bound| bound.as_f64().or_else(|| bound.as_str()?.parse().ok()));
    bound("Min").is_none_or(|least| value >= least) && bound("Max").is_none_or(|most| value <= most)
}

/// `AllowedInstanceTypes` and `ExcludedInstanceTypes`: names with `*`.
fn named(asked: &Members, name: &str) -> bool {
    let (allowed, excluded) = (asked.texts("AllowedInstanceTypes"), asked.texts("ExcludedInstanceTypes"));
    (allowed.is_empty() || allowed.iter().any(|pattern| glob(pattern, name))) && !excluded.iter().any(|pattern| glob(pattern, name))
}

fn among(asked: &Members, member: &str, value: &str) -> bool {
    let wanted = asked.texts(member);
    wanted.is_empty() || wanted.contains(&value)
}

/// `included`, `required`, `excluded`.
fn choice(asked: &Members, member: &str, default: &str, value: bool) -> bool {
    match asked.text(member).unwrap_or(default) {
        "required" => value,
        "excluded" => !value,
        _ => true,
    }
}

/// A manufacturer in the words of requirements.
fn manufacturer(value: Option<&Value>) -> &'static str {
    match value.and_then(Value::as_str).unwrap_or_default() {
        "Intel" => "intel",
        "AMD" => "amd",
        "AWS" | "Amazon" => "amazon-web-services",
        "Apple" => "apple",
        "NVIDIA" => "nvidia",
        "Xilinx" => "xilinx",
        "Habana" => "habana",
        _ => "",
    }
}

fn bandwidth(shape: &Value) -> f64 {
    let cards = shape.pointer("/NetworkInfo/NetworkCards").and_then(Value::as_array);
    cards.into_iter().flatten().filter_map(|card| card.get("BaselineBandwidthInGbps")?.as_f64()).sum()
}

fn disk_kinds(asked: &Members, shape: &Value) -> bool {
    let wanted = asked.texts("LocalStorageTypes");
    let disks = shape.pointer("/InstanceStorageInfo/Disks").and_then(Value::as_array);
    wanted.is_empty() || disks.into_iter().flatten().all(|disk| disk.text("Type").is_some_and(|kind| wanted.contains(&kind)))
}

/// One kind of accelerator of a type.
struct Accelerator {
    kind: &'static str,
    manufacturer: &'static str,
    /// In the words of requirements: `a10g`.
    name: String,
    count: f64,
    memory_mib: f64,
}

fn accelerators(asked: &Members, shape: &Value) -> bool {
    const LISTS: [(&str, &str); 4] = [
        ("gpu", "/GpuInfo/Gpus"),
        ("fpga", "/FpgaInfo/Fpgas"),
        ("inference", "/InferenceAcceleratorInfo/Accelerators"),
        ("media", "/MediaAcceleratorInfo/Accelerators"),
    ];
    let mut held = Vec::new();
    for (kind, pointer) in LISTS {
        for one in shape.pointer(pointer).and_then(Value::as_array).into_iter().flatten() {
            let count = one.get("Count").and_then(Value::as_f64).unwrap_or(0.0);
            let each = one.pointer("/MemoryInfo/SizeInMiB").and_then(Value::as_f64).unwrap_or(0.0);
            let name = one.text("Name").unwrap_or_default().to_ascii_lowercase().replace(' ', "-");
            held.push(Accelerator { kind, manufacturer: manufacturer(one.get("Manufacturer")), name, count, memory_mib: each * count });
        }
    }
    let all = |member: &str, of: fn(&Accelerator) -> &str| {
        let wanted = asked.texts(member);
        // Asked for by name, an accelerator must be there.
        wanted.is_empty() || (!held.is_empty() && held.iter().all(|one| wanted.contains(&of(one))))
    };
    within(asked, "AcceleratorCount", held.iter().map(|one| one.count).sum())
        && within(asked, "AcceleratorTotalMemoryMiB", held.iter().map(|one| one.memory_mib).sum())
        && all("AcceleratorTypes", |one| one.kind)
        && all("AcceleratorManufacturers", |one| one.manufacturer)
        && all("AcceleratorNames", |one| &one.name)
}
