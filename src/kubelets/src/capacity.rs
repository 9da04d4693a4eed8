//! What a machine offers, and what is left for pods.

use std::collections::BTreeMap;

use crate::boot::Bootstrap;
use crate::machine::Machine;
use crate::profile::Profile;
use crate::quantity;

const MIB: i128 = 1024 * 1024;
const GIB: i128 = 1024 * MIB;

/// Quantities by resource, as they stand in a Node's status.
pub type Resources = BTreeMap<String, String>;

/// `status.capacity` and `status.allocatable` before any device plugin has announced something.
pub fn resources(machine: &Machine, bootstrap: &Bootstrap, profile: &Profile) -> (Resources, Resources) {
    let pods = pods(machine, bootstrap);
    let memory = profile.memory_kib.get(&machine.instance_type).map_or_else(|| memory(machine.memory_mib), |kib| i128::from(*kib) * 1024);
    let disk = disk(machine, bootstrap);
    let cpu = i128::from(machine.vcpus) * 1000;

    let reserve_pods = if bootstrap.reserves_by_max_pods { pods } else { machine.pods_by_interfaces() };
    let own = [
        ("cpu", cpu_reserve(machine.vcpus)),
        ("memory", (255 + 11 * i128::from(reserve_pods)) * MIB * 1000),
        ("ephemeral-storage", GIB * 1000),
    ];
    let reserved = |resource: &str| {
        let own = own.iter().find(|(name, _)| *name == resource).map_or(0, |(_, milli)| *milli);
        let given = |map: &BTreeMap<String, String>| map.get(resource).and_then(|text| quantity::milli(text));
        given(&bootstrap.kube_reserved).unwrap_or(own) + given(&bootstrap.system_reserved).unwrap_or(0)
    };
    let evicted = |signal: &str, default: &str, capacity: i128| {
        threshold(bootstrap.eviction_hard.get(signal).map_or(default, String::as_str), capacity)
    };
    let left = |capacity: i128, taken: i128| (capacity - taken).max(0);
    let free_cpu = left(cpu, reserved("cpu"));
    let free_memory = left(memory, reserved("memory") / 1000 + evicted("memory.available", "100Mi", memory));
    let free_disk = left(disk, reserved("ephemeral-storage") / 1000 + evicted("nodefs.available", "10%", disk));

    let shared = |cpu: String, memory: i128, disk: i128| {
        Resources::from([
            ("cpu".to_owned(), cpu),
            ("memory".to_owned(), format!("{}Ki", memory / 1024)),
            ("ephemeral-storage".to_owned(), disk.to_string()),
            ("hugepages-1Gi".to_owned(), "0".to_owned()),
            ("hugepages-2Mi".to_owned(), "0".to_owned()),
            ("pods".to_owned(), pods.to_string()),
        ])
    };
    (shared(machine.vcpus.to_string(), memory, disk), shared(format!("{free_cpu}m"), free_memory, free_disk))
}

/// What device plugins add to both.
pub fn devices(machine: &Machine) -> Resources {
    machine.extended_resources.iter().map(|(name, count)| (name.clone(), count.to_string())).collect()
}

/// Pods that the kubelet admits.
pub fn pods(machine: &Machine, bootstrap: &Bootstrap) -> u32 {
    let most = bootstrap.max_pods.unwrap_or_else(|| machine.pods_by_interfaces());
    bootstrap.pods_per_core.map_or(most, |per_core| most.min(per_core.saturating_mul(machine.vcpus)))
}

/// Memory in bytes that Linux shows of `advertised` MiB: 1/64 of it describes its own pages (`struct page`, 64 bytes per 4 KiB), and
/// the hypervisor and the kernel keep 5.36 % of the first 8 GiB and 2 % of the rest. The shares are such that m5.large shows
/// 7,807,780 KiB, as it does in the wild. Never less than what Karpenter expects without having seen the type, advertised − 7.5 %
/// (`A/pkg/providers/instancetype/types.go`).
pub fn memory(advertised: u64) -> i128 {
    let kib = i128::from(advertised) * 1024;
    let first = kib.min(8 * 1024 * 1024);
    let seen = kib - kib / 64 - first * 53_615 / 1_000_000 - (kib - first) * 2 / 100;
    let expected = kib - (kib * 75 + 1_024_000 - 1) / 1_024_000 * 1024;
    seen.max(expected) * 1024
}

/// The root volume as a file system shows it, or the local disks when they hold the pods' files; in bytes.
fn disk(machine: &Machine, bootstrap: &Bootstrap) -> i128 {
    if bootstrap.local_disks && machine.local_storage_gb > 0 {
        return i128::from(machine.local_storage_gb) * 1_000_000_000;
    }
    // XFS and the boot partitions keep about 12 MiB of every 20 GiB: a real 20 GiB volume shows 20,959,212 KiB.
    i128::from(machine.root_volume_gib) * GIB * 20_959_212 / 20_971_520
}

/// Thousandths of a core: 6 % of the first, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest, each step rounded down.
/// Source: amazon-eks-ami `nodeadm/internal/kubelet/config.go`.
fn cpu_reserve(vcpus: u32) -> i128 {
    let steps = [(0_i128, 1000, 600), (1000, 2000, 100), (2000, 4000, 50), (4000, i128::MAX, 25)];
    let total = i128::from(vcpus) * 1000;
    steps.iter().map(|(from, to, share)| (total.min(*to) - from).max(0) * share / 10_000).sum()
}

/// An eviction threshold in bytes: a quantity or a percentage of the capacity; 0 when it is neither.
fn threshold(text: &str, capacity: i128) -> i128 {
    match text.strip_suffix('%') {
        Some(percent) => quantity::milli(percent).map_or(0, |milli| capacity * milli / 100_000),
        None => quantity::units(text).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::m5_large(8192, 7_807_780, 40)]
    #[case::t3_small(2048, 1_895_992, 60_000)]
    fn memory_is_near_what_real_machines_show(#[case] advertised: u64, #[case] real_kib: i128, #[case] off_kib: i128) {
        let shown = memory(advertised) / 1024;
        assert!((shown - real_kib).abs() <= off_kib, "{shown} KiB");
    }

    #[rstest]
    fn memory_is_below_the_advertised_and_never_below_karpenters_expectation(
        #[values(512, 1024, 2048, 4096, 8192, 16384, 65536, 393_216, 24_576 * 1024)] advertised: u64,
    ) {
        let mib = i128::from(advertised);
        let expected = mib - (mib * 75 + 999) / 1000;
        assert!(memory(advertised) < mib * MIB);
        assert!(memory(advertised) >= expected * MIB);
    }

    /// From what a real m5.large shows, 7,807,780 KiB, the reserve for 29 pods (574 MiB) and the threshold (100 MiB) are taken; CPU and
    /// pods are those of the EKS workshop's log (1930m, 29).
    #[test]
    fn an_m5_large_leaves_room_for_pods_as_eks_reckons() {
        let machine = crate::machine::tests::machine("i-1");
        let profile = Profile { memory_kib: BTreeMap::from([("m5.large".to_owned(), 7_807_780)]), ..Default::default() };
        let (capacity, allocatable) = resources(&machine, &Bootstrap::default(), &profile);
        let of = |map: &Resources, name: &str| map.get(name).cloned().unwrap_or_default();
        assert_eq!(of(&capacity, "memory"), "7807780Ki");
        assert_eq!(of(&allocatable, "memory"), "7117604Ki");
        assert_eq!((of(&allocatable, "cpu"), of(&allocatable, "pods")), ("1930m".to_owned(), "29".to_owned()));
    }

    #[rstest]
    #[case::max_pods_do_not_change_the_reserve(false, 255 + 11 * 29)]
    #[case::unless_the_image_counts_them(true, 255 + 11 * 110)]
    fn the_memory_reserve_counts_pods(#[case] reserves_by_max_pods: bool, #[case] reserve_mib: i128) {
        let bootstrap = Bootstrap { max_pods: Some(110), reserves_by_max_pods, ..Default::default() };
        let (capacity, allocatable) = resources(&crate::machine::tests::machine("i-1"), &bootstrap, &Profile::default());
        let bytes = |map: &Resources| map.get("memory").and_then(|text| quantity::units(text)).unwrap_or_default();
        assert_eq!(bytes(&capacity) - bytes(&allocatable), (reserve_mib + 100) * MIB);
    }

    #[rstest]
    #[case(1, 60)]
    #[case(2, 70)]
    #[case(4, 80)]
    #[case(8, 90)]
    #[case(96, 310)]
    fn cpu_reserve_is_by_steps(#[case] vcpus: u32, #[case] milli: i128) {
        assert_eq!(cpu_reserve(vcpus), milli);
    }

    #[rstest]
    #[case("100Mi", 100 * MIB)]
    #[case("5%", 50)]
    #[case("nonsense", 0)]
    fn thresholds(#[case] text: &str, #[case] bytes: i128) {
        assert_eq!(threshold(text, 1000), bytes);
    }
}
