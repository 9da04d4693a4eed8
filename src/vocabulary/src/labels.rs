//! Well-known label, annotation, taint and finalizer names.
//!
//! Sources: `C/pkg/apis/v1/labels.go`, `A/pkg/apis/v1/labels.go`, `k8s.io/api/core/v1/well_known_labels.go`.

pub const NODEPOOL: &str = "karpenter.sh/nodepool";
pub const INITIALIZED: &str = "karpenter.sh/initialized";
pub const REGISTERED: &str = "karpenter.sh/registered";
pub const DO_NOT_SYNC_TAINTS: &str = "karpenter.sh/do-not-sync-taints";
pub const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
pub const EC2NODECLASS: &str = "karpenter.k8s.aws/ec2nodeclass";
pub const ZONE: &str = "topology.kubernetes.io/zone";
pub const REGION: &str = "topology.kubernetes.io/region";
pub const ZONE_ID: &str = "topology.k8s.aws/zone-id";
pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
pub const ARCH: &str = "kubernetes.io/arch";
pub const OS: &str = "kubernetes.io/os";
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Annotations of NodeClaims (`C/pkg/apis/v1alpha1/labels.go`).
pub const PRICE_OVERLAY_APPLIED: &str = "karpenter.sh/price-overlay-applied";
pub const CAPACITY_OVERLAY_APPLIED: &str = "karpenter.sh/capacity-overlay-applied";
pub const CAPACITY_RESERVATION_ID: &str = "karpenter.k8s.aws/capacity-reservation-id";
pub const CAPACITY_RESERVATION_TYPE: &str = "karpenter.k8s.aws/capacity-reservation-type";
pub const CAPACITY_RESERVATION_INTERRUPTIBLE: &str = "karpenter.k8s.aws/capacity-reservation-interruptible";
pub const PLACEMENT_GROUP_ID: &str = "karpenter.k8s.aws/placement-group-id";
pub const PLACEMENT_GROUP_PARTITION: &str = "karpenter.k8s.aws/placement-group-partition";
pub const WINDOWS_BUILD: &str = "node.kubernetes.io/windows-build";

pub const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
pub const NODEPOOL_HASH: &str = "karpenter.sh/nodepool-hash";
pub const NODEPOOL_HASH_VERSION: &str = "karpenter.sh/nodepool-hash-version";
pub const NODECLAIM_TERMINATION_TIMESTAMP: &str = "karpenter.sh/nodeclaim-termination-timestamp";
pub const NODECLAIM_MIN_VALUES_RELAXED: &str = "karpenter.sh/nodeclaim-min-values-relaxed";
/// Value of [`NODEPOOL_HASH_VERSION`] that this version writes (`C/pkg/apis/v1/nodepool.go`, NodePoolHashVersion).
pub const NODEPOOL_HASH_VERSION_VALUE: &str = "v3";
/// Value of [`EC2NODECLASS_HASH_VERSION`] that this version writes (`A/pkg/apis/v1/ec2nodeclass.go`, EC2NodeClassHashVersion).
pub const EC2NODECLASS_HASH_VERSION_VALUE: &str = "v5";
pub const EC2NODECLASS_HASH: &str = "karpenter.k8s.aws/ec2nodeclass-hash";
pub const EC2NODECLASS_HASH_VERSION: &str = "karpenter.k8s.aws/ec2nodeclass-hash-version";
pub const TAGGED: &str = "karpenter.k8s.aws/tagged";
pub const INSTANCE_PROFILE_NAME: &str = "karpenter.k8s.aws/instance-profile-name";

pub const TERMINATION_FINALIZER: &str = "karpenter.sh/termination";
pub const EC2NODECLASS_FINALIZER: &str = "karpenter.k8s.aws/termination";

pub const DISRUPTED_TAINT: &str = "karpenter.sh/disrupted";
pub const UNREGISTERED_TAINT: &str = "karpenter.sh/unregistered";
pub const NOT_READY_TAINT: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE_TAINT: &str = "node.kubernetes.io/unreachable";
pub const UNINITIALIZED_TAINT: &str = "node.cloudprovider.kubernetes.io/uninitialized";

pub const TAG_CLUSTER_NAME: &str = "eks:eks-cluster-name";
pub const TAG_NODECLAIM: &str = "karpenter.sh/nodeclaim";
pub const TAG_NAME: &str = "Name";

/// Labels of `karpenter.k8s.aws` that describe an instance type (`A/pkg/apis/v1/labels.go`).
pub mod instance {
    pub const HYPERVISOR: &str = "karpenter.k8s.aws/instance-hypervisor";
    pub const ENCRYPTION_IN_TRANSIT: &str = "karpenter.k8s.aws/instance-encryption-in-transit-supported";
    pub const CATEGORY: &str = "karpenter.k8s.aws/instance-category";
    pub const CAPABILITY_FLEX: &str = "karpenter.k8s.aws/instance-capability-flex";
    pub const FAMILY: &str = "karpenter.k8s.aws/instance-family";
    pub const GENERATION: &str = "karpenter.k8s.aws/instance-generation";
    pub const LOCAL_NVME: &str = "karpenter.k8s.aws/instance-local-nvme";
    pub const SIZE: &str = "karpenter.k8s.aws/instance-size";
    pub const CPU: &str = "karpenter.k8s.aws/instance-cpu";
    pub const CPU_MANUFACTURER: &str = "karpenter.k8s.aws/instance-cpu-manufacturer";
    pub const CPU_CLOCK: &str = "karpenter.k8s.aws/instance-cpu-sustained-clock-speed-mhz";
    pub const MEMORY: &str = "karpenter.k8s.aws/instance-memory";
    pub const EBS_BANDWIDTH: &str = "karpenter.k8s.aws/instance-ebs-bandwidth";
    pub const NETWORK_BANDWIDTH: &str = "karpenter.k8s.aws/instance-network-bandwidth";
    pub const GPU_NAME: &str = "karpenter.k8s.aws/instance-gpu-name";
    pub const GPU_MANUFACTURER: &str = "karpenter.k8s.aws/instance-gpu-manufacturer";
    pub const GPU_COUNT: &str = "karpenter.k8s.aws/instance-gpu-count";
    pub const GPU_MEMORY: &str = "karpenter.k8s.aws/instance-gpu-memory";
    pub const ACCELERATOR_NAME: &str = "karpenter.k8s.aws/instance-accelerator-name";
    pub const ACCELERATOR_MANUFACTURER: &str = "karpenter.k8s.aws/instance-accelerator-manufacturer";
    pub const ACCELERATOR_COUNT: &str = "karpenter.k8s.aws/instance-accelerator-count";
    pub const TENANCY: &str = "karpenter.k8s.aws/instance-tenancy";
}

/// Label domains that only Karpenter may write, well-known labels apart (`C/pkg/apis/v1/labels.go`, `A/pkg/apis/v1/labels.go`).
pub const RESTRICTED_DOMAINS: [&str; 2] = ["karpenter.k8s.aws", "karpenter.sh"];

/// Labels that narrow a new node even where the NodePool does not mention them (`WellKnownLabels` of both modules), in order.
pub const WELL_KNOWN: [&str; 36] = [
    CAPACITY_RESERVATION_ID,
    CAPACITY_RESERVATION_INTERRUPTIBLE,
    CAPACITY_RESERVATION_TYPE,
    instance::ACCELERATOR_COUNT,
    instance::ACCELERATOR_MANUFACTURER,
    instance::ACCELERATOR_NAME,
    instance::CAPABILITY_FLEX,
    instance::CATEGORY,
    instance::CPU,
    instance::CPU_MANUFACTURER,
    instance::CPU_CLOCK,
    instance::EBS_BANDWIDTH,
    instance::ENCRYPTION_IN_TRANSIT,
    instance::FAMILY,
    instance::GENERATION,
    instance::GPU_COUNT,
    instance::GPU_MANUFACTURER,
    instance::GPU_MEMORY,
    instance::GPU_NAME,
    instance::HYPERVISOR,
    instance::LOCAL_NVME,
    instance::MEMORY,
    instance::NETWORK_BANDWIDTH,
    instance::SIZE,
    instance::TENANCY,
    PLACEMENT_GROUP_ID,
    PLACEMENT_GROUP_PARTITION,
    CAPACITY_TYPE,
    NODEPOOL,
    ARCH,
    OS,
    INSTANCE_TYPE,
    WINDOWS_BUILD,
    ZONE_ID,
    REGION,
    ZONE,
];

pub fn is_well_known(key: &str) -> bool {
    WELL_KNOWN.binary_search(&key).is_ok()
}

/// Labels that were renamed, and their present names (`NormalizedLabels`).
const RENAMED: [(&str, &str); 5] = [
    ("failure-domain.beta.kubernetes.io/zone", ZONE),
    ("failure-domain.beta.kubernetes.io/region", REGION),
    ("beta.kubernetes.io/arch", ARCH),
    ("beta.kubernetes.io/os", OS),
    ("beta.kubernetes.io/instance-type", INSTANCE_TYPE),
];

/// The label's present name.
pub fn normalize(key: &str) -> &str {
    RENAMED.iter().find(|(old, _)| *old == key).map_or(key, |(_, present)| present)
}

/// The present name of a label and those that it had.
pub fn spellings(present: &str) -> impl Iterator<Item = &str> {
    std::iter::once(present).chain(RENAMED.iter().filter(move |(_, name)| *name == present).map(|(old, _)| *old))
}

/// Whether users may not name this label: the hostname, and Karpenter's own domains except what is well known.
pub fn is_restricted(key: &str) -> bool {
    if is_well_known(key) {
        return false;
    }
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let inside = |restricted: &str| domain.strip_suffix(restricted).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    key == HOSTNAME || RESTRICTED_DOMAINS.into_iter().any(inside)
}

/// The only values that mean something for a label, where there is such a list (`WellKnownValuesForRequirements`).
pub fn known_values(key: &str) -> Option<&'static [&'static str]> {
    match key {
        CAPACITY_TYPE => Some(&["on-demand", "reserved", "spot"]),
        instance::TENANCY => Some(&["dedicated", "default"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn well_known_labels_are_in_order_so_that_they_can_be_searched() {
        assert!(WELL_KNOWN.is_sorted());
        assert!(WELL_KNOWN.iter().all(|key| is_well_known(key) && !is_restricted(key)));
    }

    #[rstest]
    #[case("kubernetes.io/hostname", true)]
    #[case("karpenter.sh/registered", true)]
    #[case("karpenter.k8s.aws/ec2nodeclass", true)]
    #[case("team.karpenter.sh/x", true)]
    #[case("karpenter.sh/capacity-type", false)]
    #[case("notkarpenter.sh/x", false)]
    #[case("type", false)]
    fn restricted_labels_are_karpenters_own(#[case] key: &str, #[case] restricted: bool) {
        assert_eq!(is_restricted(key), restricted);
    }
}
