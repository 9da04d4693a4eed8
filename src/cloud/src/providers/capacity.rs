//! What a machine has, and what is kept back of it. Source: `A/pkg/providers/instancetype/types.go`.

use super::family::{DEFAULT_VOLUME, Family};
use super::type_info::TypeInfo;
use crate::labels;
use crate::settings::Settings;
use crate::tables;
use api::ec2nodeclass::{BlockDeviceMapping, EC2NodeClassSpec, KubeletConfiguration, NetworkInterface};
use std::collections::BTreeMap;
use vocabulary::resources::{CPU, EPHEMERAL_STORAGE, MEMORY, PODS};
use vocabulary::{Quantity, Resources};

const MIB: i64 = 1 << 20;

/// Capacity without zero amounts, and what is left for pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amounts {
    pub capacity: Resources,
    pub allocatable: Resources,
}

/// `observed_memory` are bytes that a node of this type and image once reported; they replace the computed capacity, not the
/// computed overhead.
pub fn amounts(info: &TypeInfo, family: Family, spec: &EC2NodeClassSpec, settings: &Settings, observed_memory: Option<i64>) -> Amounts {
    let kubelet = spec.kubelet.clone().unwrap_or_default();
    let mut capacity = capacity(info, family, spec, &kubelet, settings);
    let storage = capacity.get(EPHEMERAL_STORAGE);
    let overhead = overhead(info, family, spec, &kubelet, settings, storage);
    if let Some(bytes) = observed_memory {
        capacity.set(MEMORY, bytes);
    }
    let mut allocatable = Resources::new();
    for (name, amount) in capacity.iter() {
        allocatable.set(name, amount - overhead.get(name));
    }
    Amounts { capacity, allocatable }
}

fn capacity(info: &TypeInfo, family: Family, spec: &EC2NodeClassSpec, kubelet: &KubeletConfiguration, settings: &Settings) -> Resources {
    let gpus = |manufacturer: &str| info.gpus.iter().flatten().filter(|gpu| gpu.manufacturer == manufacturer).map(|gpu| gpu.count).sum();
    let neuron = info.neuron.as_deref().unwrap_or_default();
    let interfaces = &spec.network_interfaces;
    let efa = if interfaces.is_empty() {
        info.network.maximum_efa.unwrap_or(0)
    } else {
        interfaces.iter().map(|interface| i64::from(interface.interface_type == "efa-only")).sum()
    };
    let mut amounts = vec![
        (CPU, info.vcpus * 1000),
        (MEMORY, memory(info, settings)),
        (EPHEMERAL_STORAGE, ephemeral_storage(info, family, &spec.block_device_mappings, spec.instance_store_policy.as_deref())),
        (PODS, pods(info, family, kubelet, interfaces, settings)),
        (labels::POD_ENI, tables::limits(&info.name).branch_interfaces.unwrap_or(0)),
        (labels::NVIDIA_GPU, gpus("NVIDIA")),
        (labels::AMD_GPU, gpus("AMD")),
        (labels::GAUDI, gpus("Habana")),
        (labels::NEURON, neuron.iter().map(|device| device.count).sum()),
        (labels::NEURON_CORE, neuron.first().map_or(0, |device| device.count * device.cores)),
        (labels::EFA, efa),
    ];
    if family.is_windows() && info.architecture() == "amd64" {
        amounts.push((labels::PRIVATE_IPV4, tables::limits(&info.name).ipv4_per_interface.map_or(0, |count| count - 1)));
    }
    let mut capacity = Resources::new();
    amounts.into_iter().filter(|(_, amount)| *amount != 0).for_each(|(name, amount)| capacity.set(name, amount));
    capacity
}

/// Bytes, less what the hypervisor takes; Gravitons reserve 64 MiB for contiguous allocation on top.
fn memory(info: &TypeInfo, settings: &Settings) -> i64 {
    let graviton = info.processor.as_ref().is_some_and(|p| p.architectures.first().is_some_and(|name| name == "arm64"));
    let size = info.memory - if graviton { 64 } else { 0 };
    let lost = ((size * MIB) as f64 * settings.vm_memory_overhead_percent / 1024.0 / 1024.0).ceil() as i64;
    (size - lost) * MIB
}

/// Bytes for pods' ephemeral storage: the local disks when they are striped, else the volume that pods live on.
fn ephemeral_storage(info: &TypeInfo, family: Family, devices: &[BlockDeviceMapping], instance_store: Option<&str>) -> i64 {
    if instance_store == Some("RAID0")
        && let Some(total) = info.storage.as_ref().and_then(|storage| storage.total)
    {
        return total * 1_000_000_000;
    }
    let size = |device: &BlockDeviceMapping| bytes(device.ebs.as_ref()?.volume_size.as_deref()?);
    if let Some(found) = devices.iter().find(|device| device.root_volume == Some(true)).and_then(size) {
        return found;
    }
    if family == Family::Custom {
        return devices.last().and_then(size).unwrap_or(DEFAULT_VOLUME);
    }
    let on_device =
        |devices: &[BlockDeviceMapping]| devices.iter().find(|d| d.device_name.as_deref() == family.ephemeral_device()).and_then(size);
    on_device(devices).or_else(|| on_device(&family.default_block_devices())).unwrap_or(DEFAULT_VOLUME)
}

fn bytes(text: &str) -> Option<i64> {
    Some(text.parse::<Quantity>().ok()?.ceil())
}

/// The pods that the addresses of the usable interfaces carry, two of them on the host's network.
///
/// Source: `ENILimitedPods`, after the EKS AMI's eni-max-pods.txt.
fn eni_limited_pods(info: &TypeInfo, reserved: u32, interfaces: &[NetworkInterface]) -> i64 {
    let efa_only = interfaces.iter().filter(|i| i.network_card_index == 0 && i.interface_type == "efa-only").count();
    match info.default_card_interfaces() - i64::from(reserved) - efa_only as i64 {
        usable if usable > 0 => usable * (info.network.ipv4_per_interface - 1) + 2,
        _ => 0,
    }
}

fn pods(info: &TypeInfo, family: Family, kubelet: &KubeletConfiguration, interfaces: &[NetworkInterface], settings: &Settings) -> i64 {
    let count = match kubelet.max_pods {
        Some(count) => i64::from(count),
        None if family.knows_eni_limited_pods() => eni_limited_pods(info, settings.reserved_enis, interfaces),
        None => 110,
    };
    match kubelet.pods_per_core {
        Some(per_core) if per_core > 0 && family.knows_pods_per_core() => count.min(i64::from(per_core) * info.vcpus),
        _ => count,
    }
}

/// kubeReserved + systemReserved + the hard eviction threshold.
fn overhead(
    info: &TypeInfo,
    family: Family,
    spec: &EC2NodeClassSpec,
    kubelet: &KubeletConfiguration,
    settings: &Settings,
    storage: i64,
) -> Resources {
    let pods = if family.uses_eni_limited_memory_overhead() {
        eni_limited_pods(info, 0, &spec.network_interfaces)
    } else {
        pods(info, family, kubelet, &spec.network_interfaces, settings)
    };
    let mut total =
        Resources::new().with(CPU, reserved_cpu(info.vcpus * 1000)).with(MEMORY, (11 * pods + 255) * MIB).with(EPHEMERAL_STORAGE, 1 << 30);
    for (name, amount) in quantities(&kubelet.kube_reserved).iter() {
        total.set(name, amount);
    }
    total.add(&quantities(&kubelet.system_reserved));
    let mut eviction = Resources::new().with(MEMORY, 100 * MIB).with(EPHEMERAL_STORAGE, (storage as f64 / 100.0 * 10.0).ceil() as i64);
    for (signal, name, of) in [("memory.available", MEMORY, memory(info, settings)), ("nodefs.available", EPHEMERAL_STORAGE, storage)] {
        if let Some(amount) = kubelet.eviction_hard.get(signal).and_then(|value| eviction_amount(of, value)) {
            eviction.set(name, amount);
        }
    }
    total.add(&eviction);
    total
}

/// Thousandths of a core: 6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest.
fn reserved_cpu(cpu: i64) -> i64 {
    [(0, 1_000, 0.06), (1_000, 2_000, 0.01), (2_000, 4_000, 0.005), (4_000, 1 << 31, 0.0025)]
        .into_iter()
        .filter(|(start, _, _)| cpu >= *start)
        .map(|(start, end, share)| ((cpu.min(end) - start) as f64 * share) as i64)
        .sum()
}

/// A share of `of` or an amount; 100 % switches the threshold off. `None` for what is neither.
fn eviction_amount(of: i64, value: &str) -> Option<i64> {
    let Some(percent) = value.strip_suffix('%') else { return bytes(value) };
    let percent: f64 = percent.parse().ok().filter(|p: &f64| p.is_finite())?;
    Some(if percent == 100.0 { 0 } else { (of as f64 / 100.0 * percent).ceil() as i64 })
}

fn quantities(list: &BTreeMap<String, String>) -> Resources {
    let read = list.iter().filter_map(|(name, value)| Some((name.as_str(), value.parse::<Quantity>().ok()?)));
    Resources::from_quantities(read)
}
