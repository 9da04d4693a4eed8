//! What a kubelet knows of its machine, and the port that machines come through.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use jiff::Timestamp;

/// Where machines come from. One cloud (or a test) implements it.
pub trait Machines: Send + Sync {
    /// Every machine that is there, terminated ones as long as the cloud still shows them. A machine that is no longer listed is gone.
    fn machines(&self) -> Vec<Machine>;

    /// Resolves at the first change after this call, never before; whoever takes the future first and then lists misses nothing.
    fn changed(&self) -> BoxFuture<'static, ()>;

    /// Replaces what the machine's serial console shows.
    fn set_console(&self, id: &str, text: &str);
}

/// One machine, as its own metadata service would describe it.
#[derive(Clone, PartialEq, Debug)]
pub struct Machine {
    /// `i-0123…`.
    pub id: String,
    /// `m5.large`.
    pub instance_type: String,
    /// `us-west-2a`.
    pub zone: String,
    /// `usw2-az1`.
    pub zone_id: String,
    pub region: String,
    pub private_ip: String,
    /// The Node's name: `ip-192-168-1-2.us-west-2.compute.internal`.
    pub private_dns_name: String,
    pub image_id: String,
    pub image_family: ImageFamily,
    pub architecture: Architecture,
    /// The role of its instance profile, by name; without one it cannot authenticate.
    pub role: Option<String>,
    /// Decoded.
    pub user_data: Vec<u8>,
    pub launch_time: Timestamp,
    pub state: State,
    pub spot: bool,
    pub vcpus: u32,
    /// As advertised.
    pub memory_mib: u64,
    /// On its default network card.
    pub network_interfaces: u32,
    pub addresses_per_interface: u32,
    pub root_volume_gib: u64,
    /// Local disks, all together; 0 when it has none.
    pub local_storage_gb: u64,
    /// What device plugins announce: `nvidia.com/gpu: 4`.
    pub extended_resources: BTreeMap<String, u64>,
    pub tags: BTreeMap<String, String>,
}

impl Machine {
    /// The number of pods that its network interfaces have addresses for, host-network pods included. Source: the amazon-eks-ami
    /// project's `eni-max-pods.txt` (its head names the formula).
    pub fn pods_by_interfaces(&self) -> u32 {
        self.network_interfaces.saturating_mul(self.addresses_per_interface.saturating_sub(1)).saturating_add(2)
    }

    pub fn provider_id(&self) -> String {
        format!("aws:///{}/{}", self.zone, self.id)
    }
}

/// EC2's instance states.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

/// Decides how user data is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ImageFamily {
    AmazonLinux2023,
    AmazonLinux2,
    Bottlerocket,
    Windows,
    /// Somebody's own image: read as what the user data looks like.
    Custom,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    /// Go's name for it, which Kubernetes uses.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }

    /// The kernel's name for it.
    pub fn kernel_name(self) -> &'static str {
        match self {
            Architecture::Amd64 => "x86_64",
            Architecture::Arm64 => "aarch64",
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An m5.large in us-west-2a, launched at the epoch; its user data is empty.
    pub fn machine(id: &str) -> Machine {
        Machine {
            id: id.into(),
            instance_type: "m5.large".into(),
            zone: "us-west-2a".into(),
            zone_id: "usw2-az1".into(),
            region: "us-west-2".into(),
            private_ip: "192.168.0.10".into(),
            private_dns_name: format!("{id}.us-west-2.compute.internal"),
            image_id: "ami-1".into(),
            image_family: ImageFamily::AmazonLinux2023,
            architecture: Architecture::Amd64,
            role: Some("node".into()),
            user_data: Vec::new(),
            launch_time: Timestamp::UNIX_EPOCH,
            state: State::Running,
            spot: false,
            vcpus: 2,
            memory_mib: 8192,
            network_interfaces: 3,
            addresses_per_interface: 10,
            root_volume_gib: 20,
            local_storage_gb: 0,
            extended_resources: BTreeMap::new(),
            tags: BTreeMap::new(),
        }
    }

    #[test]
    fn an_m5_large_has_addresses_for_29_pods() {
        assert_eq!(machine("i-1").pods_by_interfaces(), 29);
    }
}
