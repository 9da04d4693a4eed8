//! The labels of an instance type, as requirements. Source: `A/pkg/providers/instancetype/types.go`, computeRequirements.

use super::family::Family;
use super::type_info::TypeInfo;
use crate::labels as aws;
use crate::tables;
use api::ec2nodeclass::{CapacityReservation, Subnet};
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::labels::{self, instance};
use vocabulary::{Requirement, Requirements};

/// `zones` are those that offer the type; only those with a subnet of the class count.
/// `reserved` are the reservations of this type.
pub fn requirements(
    info: &TypeInfo,
    region: &str,
    zones: &BTreeSet<Arc<str>>,
    subnets: &[Subnet],
    family: Family,
    reserved: &[&CapacityReservation],
) -> Requirements {
    let subnet_zones = || subnets.iter().filter(|subnet| zones.contains(subnet.zone.as_str()));
    let mut usage: Vec<&str> =
        info.usage_classes.iter().map(String::as_str).filter(|class| matches!(*class, "on-demand" | "spot")).collect();
    if !reserved.is_empty() {
        usage.push("reserved");
    }
    let os: &[&str] = match (family.is_windows(), info.architecture() == "amd64") {
        (true, true) => &["windows"],
        (true, false) => &[],
        (false, _) => &["linux"],
    };
    let mut set = Requirements::new();
    // Present names all, so that nothing need be looked up.
    let mut put = |key: &str, values: &[&str]| {
        // One by one: most have one, and collecting sorts.
        let mut allowed = BTreeSet::new();
        allowed.extend(values.iter().map(|value| Arc::<str>::from(*value)));
        let values = allowed;
        set.set(Requirement { key: key.into(), complement: false, values, gte: None, lte: None, min_values: None });
    };
    put(labels::INSTANCE_TYPE, &[&info.name]);
    put(labels::ARCH, &[&info.architecture()]);
    put(labels::OS, os);
    put(labels::ZONE, &subnet_zones().map(|subnet| subnet.zone.as_str()).collect::<Vec<_>>());
    put(labels::REGION, &[region]);
    put(labels::WINDOWS_BUILD, family.windows_build().as_slice());
    put(labels::CAPACITY_TYPE, &usage);
    put(instance::CPU, &[&info.vcpus.to_string()]);
    put(instance::MEMORY, &[&info.memory.to_string()]);
    put(instance::HYPERVISOR, &[&info.hypervisor]);
    put(instance::ENCRYPTION_IN_TRANSIT, &[if info.network.encryption_in_transit { "true" } else { "false" }]);
    put(instance::TENANCY, &["default", "dedicated"]);
    put(aws::RESERVATION_ID, &reserved.iter().map(|r| r.id.as_str()).collect::<Vec<_>>());
    put(aws::RESERVATION_TYPE, &reserved.iter().map(|r| r.reservation_type.as_str()).collect::<Vec<_>>());
    put(aws::RESERVATION_INTERRUPTIBLE, &reserved.iter().map(|r| if r.interruptible { "true" } else { "false" }).collect::<Vec<_>>());
    for (key, value) in optional(info) {
        put(key, value.as_deref().as_slice());
    }
    let zone_ids: Vec<&str> = subnet_zones().map(|subnet| subnet.zone_id.as_str()).collect();
    if !zone_ids.is_empty() {
        put(labels::ZONE_ID, &zone_ids);
    }
    set
}

/// Labels that not every type has; without a value, the type does not have the label.
fn optional(info: &TypeInfo) -> Vec<(&'static str, Option<String>)> {
    let (category, generation) = category_and_generation(&info.name).unzip();
    let (family, size) = match info.name.split('.').collect::<Vec<_>>()[..] {
        [family, size] => (Some(family.to_owned()), Some(size.to_owned())),
        _ => (None, None),
    };
    let flexible = info.name.split('.').next().is_some_and(|family| family.contains("-flex"));
    let nvme = info.storage.as_ref().filter(|storage| storage.nvme_support != "unsupported").and_then(|storage| storage.total);
    let ebs = info.ebs.as_ref().filter(|ebs| ebs.optimized == "default").and_then(|ebs| ebs.maximum_bandwidth);
    let gpu = info.gpus.as_deref().and_then(|gpus| if let [gpu] = gpus { Some(gpu) } else { None });
    let accelerator = accelerator(info);
    let processor = info.processor.as_ref();
    vec![
        (instance::CATEGORY, category),
        (instance::GENERATION, generation),
        (instance::FAMILY, family),
        (instance::SIZE, size),
        (instance::CAPABILITY_FLEX, Some(flexible.to_string())),
        (instance::LOCAL_NVME, nvme.map(|total| total.to_string())),
        (instance::NETWORK_BANDWIDTH, tables::limits(&info.name).bandwidth.map(|mbps| mbps.to_string())),
        (instance::EBS_BANDWIDTH, ebs.map(|mbps| mbps.to_string())),
        (instance::CPU_MANUFACTURER, processor.map(|p| kebab(&p.manufacturer))),
        (instance::CPU_CLOCK, processor.map(|p| ((p.sustained_clock_speed * 1000.0).round() as i64).to_string())),
        (instance::GPU_NAME, gpu.map(|gpu| kebab(&gpu.name))),
        (instance::GPU_MANUFACTURER, gpu.map(|gpu| kebab(&gpu.manufacturer))),
        (instance::GPU_COUNT, gpu.map(|gpu| gpu.count.to_string())),
        (instance::GPU_MEMORY, gpu.map(|gpu| gpu.memory.to_string())),
        (instance::ACCELERATOR_NAME, accelerator.as_ref().map(|(name, _, _)| name.clone())),
        (instance::ACCELERATOR_MANUFACTURER, accelerator.as_ref().map(|(_, manufacturer, _)| manufacturer.clone())),
        (instance::ACCELERATOR_COUNT, accelerator.map(|(_, _, count)| count.to_string())),
    ]
}

/// Name, manufacturer and count of the one kind of accelerator, Neuron before others.
fn accelerator(info: &TypeInfo) -> Option<(String, String, i64)> {
    match (info.neuron.as_deref(), info.accelerators.as_deref()) {
        (Some([device]), _) => Some((kebab(&device.name), "aws".to_owned(), device.count)),
        (None, Some([one])) => Some((kebab(&one.name), kebab(&one.manufacturer), one.count)),
        _ => None,
    }
}

/// The groups of `(^[a-z]+)(\-[0-9]+tb)?([0-9]+).*\.`: `m5d.large` is `m` and `5`, `u-6tb1.metal` is `u` and `1`.
fn category_and_generation(name: &str) -> Option<(String, String)> {
    let (family, _) = name.rsplit_once('.')?;
    let letters = family.find(|c: char| !c.is_ascii_lowercase()).filter(|end| *end > 0)?;
    let (category, rest) = family.split_at(letters);
    let terabytes = |rest: &str| -> Option<String> {
        let rest = rest.strip_prefix('-')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
        number(rest[digits..].strip_prefix("tb")?)
    };
    let generation = terabytes(rest).or_else(|| number(rest))?;
    Some((category.to_owned(), generation))
}

/// The digits that a text begins with.
fn number(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// Label values are lower case, with dashes for spaces (`lowerKabobCase`).
fn kebab(text: &str) -> String {
    text.replace(' ', "-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("m5.large", Some(("m", "5")))]
    #[case("c7i-flex.xlarge", Some(("c", "7")))]
    #[case("u-6tb1.metal", Some(("u", "1")))]
    #[case("u7i-12tb.224xlarge", Some(("u", "7")))]
    #[case("inf2.48xlarge", Some(("inf", "2")))]
    #[case("mac2-m1ultra.metal", Some(("mac", "2")))]
    #[case("x.large", None)]
    #[case("5.large", None)]
    #[case("m5", None)]
    fn names_fall_into_category_and_generation(#[case] name: &str, #[case] expected: Option<(&str, &str)>) {
        assert_eq!(category_and_generation(name), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
