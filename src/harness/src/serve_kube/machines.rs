//! Nodes for a cluster without a cloud: machines that were always there.

use futures::future::BoxFuture;
use jiff::Timestamp;
use kubelets::{Architecture, Heartbeats, ImageFamily, Machine, Profile, Range, State};

const CLUSTER: &str = "dryfit";

/// A fixed number of equal machines over three zones.
pub(super) struct Standing(Vec<Machine>);

impl Standing {
    pub(super) fn new(count: u32, endpoint: &str, now: Timestamp) -> Standing {
        Standing((1..=count).map(|number| machine(number, endpoint, now)).collect())
    }
}

impl kubelets::Machines for Standing {
    fn machines(&self) -> Vec<Machine> {
        self.0.clone()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn set_console(&self, id: &str, text: &str) {
        eprintln!("{id}: {text}");
    }
}

/// They come up within a second, so that nobody has to wait for what is no part of the question.
pub(super) fn profile() -> Profile {
    Profile { registered: Range::millis(0, 200), ready: Range::millis(100, 500), heartbeats: Heartbeats::Renewed, ..Profile::default() }
}

fn machine(number: u32, endpoint: &str, now: Timestamp) -> Machine {
    let (a, b) = (number / 250, number % 250 + 4);
    let zone = ["us-west-2a", "us-west-2b", "us-west-2c"][number as usize % 3];
    let config = serde_json::json!({
        "apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig",
        "spec": { "cluster": { "name": CLUSTER, "apiServerEndpoint": endpoint, "certificateAuthority": "LQ==", "cidr": crate::furnish::SERVICE_CIDR } },
    });
    Machine {
        id: format!("i-{number:017x}"),
        instance_type: "m5.xlarge".to_owned(),
        zone: zone.to_owned(),
        zone_id: format!("usw2-az{}", number % 3 + 1),
        region: "us-west-2".to_owned(),
        private_ip: format!("192.168.{a}.{b}"),
        private_dns_name: format!("node-{number}"),
        image_id: "ami-0".to_owned(),
        image_family: ImageFamily::AmazonLinux2023,
        architecture: Architecture::Amd64,
        role: Some("node".to_owned()),
        user_data: config.to_string().into_bytes(),
        launch_time: now,
        state: State::Running,
        spot: false,
        vcpus: 4,
        memory_mib: 16_384,
        network_interfaces: 4,
        addresses_per_interface: 15,
        root_volume_gib: 80,
        local_storage_gb: 0,
        extended_resources: Default::default(),
        tags: Default::default(),
    }
}
