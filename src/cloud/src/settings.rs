//! The settings of the adapter. Names and defaults: `A/pkg/operator/options/options.go`.

use jiff::SignedDuration;
use std::net::IpAddr;

/// What the operator says about the cluster and its account.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `CLUSTER_NAME`, required.
    pub cluster_name: String,
    /// `CLUSTER_ENDPOINT`; asked of EKS when unset.
    pub cluster_endpoint: Option<String>,
    /// `CLUSTER_CA_BUNDLE`, base64.
    pub cluster_ca: Option<String>,
    /// `ISOLATED_VPC`: the price list and IAM are out of reach.
    pub isolated_vpc: bool,
    /// `VM_MEMORY_OVERHEAD_PERCENT`, a fraction: 0.075 is 7.5 %.
    pub vm_memory_overhead_percent: f64,
    /// `INTERRUPTION_QUEUE`, a queue's name.
    pub interruption_queue: Option<String>,
    /// `RESERVED_ENIS`: network interfaces that pods cannot use.
    pub reserved_enis: u32,
    /// `DISABLE_DRY_RUN`: a NodeClass counts as valid without being tried.
    pub disable_dry_run: bool,
    /// The ClusterIP of `kube-system/kube-dns`; an IPv6 address makes the cluster an IPv6 one.
    pub cluster_dns_ip: Option<IpAddr>,
    /// The feature gate `ReservedCapacity`, on by default: launches that are not reserved stay out of open capacity reservations.
    pub reserved_capacity: bool,
    /// `MIN_VALUES_POLICY` is `BestEffort`.
    pub min_values_best_effort: bool,
    /// `ENABLE_ZONAL_SHIFT`: zones that ARC has shifted the cluster away from are left alone.
    pub zonal_shift: bool,
    /// `EKS_CONTROL_PLANE`: EKS is asked for the cluster's version, not the API server.
    pub eks_control_plane: bool,
    /// `AMI_REFRESH_INTERVAL`, `SUBNET_REFRESH_INTERVAL`: for so long an answer about images, and subnets, will do.
    pub ami_refresh: SignedDuration,
    pub subnet_refresh: SignedDuration,
}

impl Settings {
    /// The defaults for a cluster of this name.
    pub fn new(cluster_name: impl Into<String>) -> Self {
        Settings {
            cluster_name: cluster_name.into(),
            cluster_endpoint: None,
            cluster_ca: None,
            isolated_vpc: false,
            vm_memory_overhead_percent: 0.075,
            interruption_queue: None,
            reserved_enis: 0,
            disable_dry_run: false,
            cluster_dns_ip: None,
            reserved_capacity: true,
            min_values_best_effort: false,
            zonal_shift: false,
            eks_control_plane: false,
            ami_refresh: SignedDuration::from_mins(1),
            subnet_refresh: SignedDuration::from_mins(1),
        }
    }

    /// Whether nodes of this cluster live on IPv6.
    pub fn ipv6(&self) -> bool {
        matches!(self.cluster_dns_ip, Some(IpAddr::V6(address)) if address.to_ipv4_mapped().is_none())
    }
}
