//! The harness's view: what hollow kubelets need of an instance, and what it cost.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::State;
use super::instance::Instance;
use super::market::{Market, Pool};
use super::network::Tags;
use super::region::Region;
use super::rules::{ActiveRule, Rule};
use crate::catalogue::{self, MicroUsd};

/// An instance's state. Only forward, but for stop and start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

impl Phase {
    /// As EC2 writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }

    /// EC2's number of the state. Source: API reference, `InstanceState`.
    pub const fn code(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// Whether the instance takes capacity of its pool.
    pub const fn holds_capacity(self) -> bool {
        matches!(self, Self::Pending | Self::Running | Self::Stopping)
    }
}

/// What a hollow kubelet needs to know of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub id: String,
    pub region: String,
    /// `us-west-2a`
    pub zone: String,
    /// `usw2-az1`
    pub zone_id: String,
    pub instance_type: String,
    pub market: Market,
    pub phase: Phase,
    pub launched: Timestamp,
    /// Released with the interface: `None` once terminated.
    pub private_ip: Option<Ipv4Addr>,
    /// `ip-10-0-1-2.us-west-2.compute.internal`; empty once terminated.
    pub private_dns_name: String,
    pub image_id: String,
    pub image_name: String,
    /// `x86_64`, `arm64`
    pub architecture: String,
    /// `al2023`, `al2`, `bottlerocket`
    pub image_family: String,
    pub instance_profile: Option<String>,
    /// The profile's role, by name.
    pub role: Option<String>,
    /// Decoded.
    pub user_data: Vec<u8>,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub network: NetworkLimits,
    /// EBS volumes that are attached, the root first; none once terminated.
    pub devices: Vec<BlockDevice>,
    /// Local disks of the type, all together; 0 when it has none.
    pub local_storage_gb: u64,
    /// What device plugins would announce of its type, by the resource's name: `nvidia.com/gpu`.
    pub devices_of_plugins: BTreeMap<String, u64>,
    pub tags: Tags,
    /// At the launch; `None` if nobody knows a price.
    pub price_per_hour: Option<MicroUsd>,
}

/// How many pods the VPC network gives an instance addresses for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkLimits {
    /// Interfaces on the default card.
    pub interfaces: u32,
    pub ipv4_per_interface: u32,
    /// `interfaces × (ipv4_per_interface − 1) + 2`, as amazon-vpc-cni's max-pods calculator has it.
    pub max_pods: u32,
}

/// An attached EBS volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// `/dev/xvda`
    pub name: String,
    pub size_gib: u64,
    /// Whether the image boots from it.
    pub root: bool,
}

/// What an instance cost: the whole is (end − start) × price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    pub instance_id: String,
    pub region: String,
    pub zone: String,
    pub instance_type: String,
    pub market: Market,
    /// The launch.
    pub start: Timestamp,
    /// When it began to shut down or to stop, from when on AWS bills no longer; `None` while it runs.
    pub end: Option<Timestamp>,
    pub price_per_hour: Option<MicroUsd>,
}

/// What ran and runs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    entries: Vec<LedgerEntry>,
    /// Which entry of an instance runs.
    open: BTreeMap<String, usize>,
}

impl Ledger {
    pub fn open(&mut self, entry: LedgerEntry) {
        self.open.insert(entry.instance_id.clone(), self.entries.len());
        self.entries.push(entry);
    }

    pub fn close(&mut self, instance_id: &str, end: Timestamp) {
        if let Some(at) = self.open.remove(instance_id) {
            self.entries[at].end = Some(end);
        }
    }
}

impl State {
    /// Every instance that is still described, over all regions, by region and id.
    pub fn machines(&self) -> Vec<Machine> {
        self.regions.values().flat_map(|region| region.instances.values().map(|instance| self.machine(region, instance))).collect()
    }

    /// Changes whenever `machines` would answer otherwise.
    pub fn machines_version(&self) -> u64 {
        self.account.machines_version
    }

    /// What ran, from when to when, at which price, in the order of the launches; a stopped and started instance has several entries.
    pub fn ledger(&self) -> &[LedgerEntry] {
        &self.account.ledger.entries
    }

    /// Sets what GetConsoleOutput shows; false if there is no such instance.
    pub fn set_console(&mut self, now: Timestamp, instance_id: &str, text: &str) -> bool {
        let found = self.regions.values_mut().find_map(|region| region.instances.get_mut(instance_id));
        found.map(|instance| instance.console = Some((now, text.to_owned()))).is_some()
    }

    /// Puts a fault in force. A rule of the same name is replaced.
    pub fn add_rule(&mut self, rule: Rule) {
        self.remove_rule(&rule.name.clone());
        self.account.prices_changed = true;
        self.account.rules.push(ActiveRule::new(rule));
    }

    /// Takes a fault away; false if there is none of the name.
    pub fn remove_rule(&mut self, name: &str) -> bool {
        self.account.prices_changed = true;
        let before = self.account.rules.len();
        self.account.rules.retain(|active| active.rule.name != name);
        self.account.rules.len() < before
    }

    fn active(&self, name: &str) -> Option<&ActiveRule> {
        self.worlds().flat_map(|state| &state.account.rules).find(|active| active.rule.name == name)
    }

    /// How often a fault has refused a call or a launch; `None` if there is none of the name.
    pub fn rule_hits(&self, name: &str) -> Option<u64> {
        self.active(name).map(|active| active.hits)
    }

    /// The faults that were put in force, over or not: name, and when it ends if it does.
    pub fn rules(&self) -> impl Iterator<Item = (&str, Option<Timestamp>)> {
        self.worlds().flat_map(|state| &state.account.rules).map(|active| (active.rule.name.as_str(), active.rule.until))
    }

    /// How often a fault has met something: besides its hits, launches that named a pool without capacity and were served from another.
    pub fn rule_met(&self, name: &str) -> Option<u64> {
        self.active(name).map(|active| active.met)
    }

    /// Ends a fault at an instant; its hits stay known. False if there is none of the name.
    pub fn end_rule(&mut self, name: &str, at: Timestamp) -> bool {
        self.account.prices_changed = true;
        let others = self.others.values_mut().flat_map(|state| &mut state.account.rules);
        let found = self.account.rules.iter_mut().chain(others).find(|active| active.rule.name == name);
        found.map(|active| active.rule.until = Some(active.rule.until.map_or(at, |until| until.min(at)))).is_some()
    }

    /// Leaves a pool of the home region this many more instances than it holds now.
    pub fn leave_capacity(&mut self, pool: &Pool, more: u64) {
        let held = self.regions.get(&self.account.home).and_then(|region| region.pools.get(pool)).copied().unwrap_or(0);
        self.account.settings.capacity.push(super::Capacity {
            instance_type: Some(pool.instance_type.clone()),
            zone: Some(pool.zone.clone()),
            market: Some(pool.market),
            instances: Some(held.saturating_add(more)),
        });
    }

    /// What is overridden, to be changed while the world runs (prices, capacity, latencies).
    pub fn settings_mut(&mut self) -> &mut super::Settings {
        self.account.prices_changed = true;
        &mut self.account.settings
    }

    /// Leaves a subnet this many free addresses; false if there is no such subnet.
    pub fn set_free_addresses(&mut self, subnet_id: &str, free: u32) -> bool {
        let found = self.regions.values_mut().find_map(|region| region.subnets.get_mut(subnet_id));
        found.map(|subnet| subnet.leave_free(free)).is_some()
    }

    /// The same for every subnet of some zones of the home region, all of them if none is named; says how many there are.
    pub fn leave_addresses(&mut self, zones: &[String], free: u32) -> usize {
        let Some(region) = self.regions.get_mut(&self.account.home) else { return 0 };
        let meant = region.subnets.values_mut().filter(|subnet| zones.is_empty() || zones.iter().any(|zone| zone == subnet.zone.name));
        meant.map(|subnet| subnet.leave_free(free)).count()
    }

    fn machine(&self, region: &Region, instance: &Instance) -> Machine {
        let primary = instance.interfaces.first().and_then(|id| region.interfaces.get(id));
        let private_ip = primary.and_then(|interface| interface.address);
        let image = region.images.get(&instance.image_id);
        let details = catalogue::instance_type(instance.instance_type);
        let profile = instance.profile.as_ref();
        let role = profile.and_then(|profile| self.account.iam.profiles.get(&profile.name)?.roles.first().cloned());
        Machine {
            id: instance.id.clone(),
            region: region.name.clone(),
            zone: instance.zone.name.to_owned(),
            zone_id: instance.zone.id.to_owned(),
            instance_type: instance.instance_type.to_owned(),
            market: instance.market,
            phase: instance.phase,
            launched: instance.launched,
            private_ip,
            private_dns_name: private_ip.map(|address| private_dns_name(&region.name, address)).unwrap_or_default(),
            image_id: instance.image_id.clone(),
            image_name: image.map(|image| image.name.clone()).unwrap_or_default(),
            architecture: image.map_or("x86_64", |image| image.architecture).to_owned(),
            image_family: image.map_or("", |image| image.family).to_owned(),
            instance_profile: profile.map(|profile| profile.name.clone()),
            role,
            user_data: instance.user_data.as_ref().and_then(|data| STANDARD.decode(data).ok()).unwrap_or_default(),
            vcpus: details.map_or(0, catalogue::InstanceType::vcpus),
            memory_mib: details.map_or(0, catalogue::InstanceType::memory_mib),
            devices: devices(region, instance, image.map_or("", |image| image.root_device)),
            local_storage_gb: details.map_or(0, local_storage_gb),
            devices_of_plugins: details.map(devices_of_plugins).unwrap_or_default(),
            network: details.map_or(NetworkLimits { interfaces: 0, ipv4_per_interface: 0, max_pods: 0 }, network_limits),
            tags: instance.tags.clone(),
            price_per_hour: instance.price,
        }
    }
}

/// The name that the VPC's resolver gives an address: `ec2.internal` in us-east-1, `<region>.compute.internal` elsewhere.
pub fn private_dns_name(region: &str, address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    let domain = if region == "us-east-1" { "ec2.internal".to_owned() } else { format!("{region}.compute.internal") };
    format!("ip-{a}-{b}-{c}-{d}.{domain}")
}

fn devices(region: &Region, instance: &Instance, root: &str) -> Vec<BlockDevice> {
    let volumes = instance.volumes.iter().filter_map(|(name, id)| Some((name, region.volumes.get(id)?)));
    let device = |(name, volume): (&String, &super::instance::Volume)| BlockDevice {
        name: name.clone(),
        size_gib: u64::try_from(volume.size_gib).unwrap_or(0),
        root: name == root,
    };
    let mut devices: Vec<BlockDevice> = volumes.map(device).collect();
    devices.sort_by_key(|device| !device.root);
    devices
}

fn local_storage_gb(details: &catalogue::InstanceType) -> u64 {
    details.details().pointer("/InstanceStorageInfo/TotalSizeInGB").and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// GPUs, accelerators and Neuron devices under the names of their makers' plugins (`A/pkg/providers/instancetype/types.go`,
/// computeCapacity).
fn devices_of_plugins(details: &catalogue::InstanceType) -> BTreeMap<String, u64> {
    let list = |path: &str| details.details().pointer(path).and_then(serde_json::Value::as_array).into_iter().flatten();
    let count = |device: &serde_json::Value| device.get("Count").and_then(serde_json::Value::as_u64).unwrap_or(0);
    let mut found = BTreeMap::new();
    let mut add = |name: &str, count: u64| {
        if count > 0 {
            *found.entry(name.to_owned()).or_default() += count;
        }
    };
    for gpu in list("/GpuInfo/Gpus") {
        match gpu.get("Manufacturer").and_then(serde_json::Value::as_str) {
            Some("NVIDIA") => add("nvidia.com/gpu", count(gpu)),
            Some("AMD") => add("amd.com/gpu", count(gpu)),
            Some("Habana") => add("habana.ai/gaudi", count(gpu)),
            _ => {}
        }
    }
    for neuron in list("/NeuronInfo/NeuronDevices") {
        let cores = neuron.pointer("/CoreInfo/Count").and_then(serde_json::Value::as_u64).unwrap_or(0);
        add("aws.amazon.com/neuron", count(neuron));
        add("aws.amazon.com/neuroncore", count(neuron) * cores);
    }
    found
}

fn network_limits(details: &catalogue::InstanceType) -> NetworkLimits {
    let index = u64::from(details.default_network_card_index());
    let cards = details.details().pointer("/NetworkInfo/NetworkCards").and_then(serde_json::Value::as_array);
    let card =
        cards.and_then(|cards| cards.iter().find(|card| card.get("NetworkCardIndex").and_then(serde_json::Value::as_u64) == Some(index)));
    let interfaces = card.and_then(|card| card.get("MaximumNetworkInterfaces")?.as_u64()).and_then(|number| u32::try_from(number).ok());
    let interfaces = interfaces.unwrap_or(details.max_network_interfaces());
    let ipv4_per_interface = details.ipv4_per_interface();
    NetworkLimits { interfaces, ipv4_per_interface, max_pods: interfaces * ipv4_per_interface.saturating_sub(1) + 2 }
}
