//! The fake cloud's machines, for kubelets and for the books.

use crate::invariants;
use crate::observe::Observer;
use crate::pump::Line;
use crate::timeline::Event;
use fake_ec2::catalogue::MicroUsd;
use fake_ec2::state::{LedgerEntry, Machine, Market, Phase};
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use tokio::sync::Notify;
use vocabulary::UsdPerHour;

/// The machines as the pump last saw them: kubelets read it without asking the fake.
#[derive(Clone)]
pub struct Board {
    observer: Observer,
    shared: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
    line: Arc<OnceLock<Line<fake_ec2::Cloud>>>,
}

#[derive(Default)]
struct Seen {
    version: Option<u64>,
    machines: Vec<kubelets::Machine>,
}

impl Board {
    pub fn new(observer: Observer) -> Self {
        Board { observer, shared: Arc::default(), changed: Arc::default(), line: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Looks at the fake after each of its steps.
    pub fn watch(&self, cloud: &fake_ec2::Cloud) {
        let version = cloud.state().machines_version();
        let mut seen = self.lock();
        if seen.version != Some(version) {
            seen.version = Some(version);
            let machines: Vec<kubelets::Machine> = cloud.state().machines().iter().map(machine).collect();
            self.observer.machines(cloud.state().machines().iter().map(|machine| (machine.id.clone(), judged(machine))));
            let off: Vec<String> =
                seen.machines.iter().filter(|m| on(m) && !machines.iter().any(|n| n.id == m.id && on(n))).map(|m| m.id.clone()).collect();
            seen.machines = machines;
            drop(seen);
            for id in off {
                self.observer.machine_ended(&id);
            }
            self.changed.notify_waiters();
        }
    }

    /// The way back, for consoles.
    pub fn connect(&self, line: Line<fake_ec2::Cloud>) {
        // Connected once, when the world is built.
        let _ = self.line.set(line);
    }
}

impl kubelets::Machines for Board {
    fn machines(&self) -> Vec<kubelets::Machine> {
        self.lock().machines.clone()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        let mut notified = Box::pin(self.changed.clone().notified_owned());
        // Takes part from now on, not from the first poll.
        notified.as_mut().enable();
        Box::pin(notified)
    }

    fn set_console(&self, id: &str, text: &str) {
        // Kubelets write to a console when a machine does not join: what a person would look up first.
        self.observer.note(Event::MachineRefused { instance: id.to_owned(), why: text.trim().to_owned() }, Vec::new());
        let (Some(line), id, text) = (self.line.get().cloned(), id.to_owned(), text.to_owned()) else { return };
        tokio::spawn(async move {
            // A world that ended needs no console.
            let _ = line.visit(move |cloud, now| cloud.state_mut().set_console(now, &id, &text)).await;
        });
    }
}

/// As far as it is judged by.
fn judged(from: &Machine) -> invariants::Machine {
    invariants::Machine {
        instance_type: from.instance_type.clone(),
        zone: from.zone.clone(),
        market: from.market.name().to_owned(),
        on: !matches!(from.phase, Phase::ShuttingDown | Phase::Terminated),
        autoscaled: from.tags.contains_key(vocabulary::labels::NODEPOOL),
        price: from.price_per_hour.map(|MicroUsd(micro)| micro as f64 / 1e6),
    }
}

/// Whether a machine has power: a kubelet can speak for its pods.
fn on(machine: &kubelets::Machine) -> bool {
    matches!(machine.state, kubelets::State::Pending | kubelets::State::Running)
}

fn machine(from: &Machine) -> kubelets::Machine {
    let state = match from.phase {
        Phase::Pending => kubelets::State::Pending,
        Phase::Running => kubelets::State::Running,
        Phase::Stopping => kubelets::State::Stopping,
        Phase::Stopped => kubelets::State::Stopped,
        Phase::ShuttingDown => kubelets::State::ShuttingDown,
        Phase::Terminated => kubelets::State::Terminated,
    };
    let image_family = match from.image_family.as_str() {
        "al2023" => kubelets::ImageFamily::AmazonLinux2023,
        "al2" => kubelets::ImageFamily::AmazonLinux2,
        "bottlerocket" => kubelets::ImageFamily::Bottlerocket,
        "windows" => kubelets::ImageFamily::Windows,
        _ => kubelets::ImageFamily::Custom,
    };
    kubelets::Machine {
        id: from.id.clone(),
        instance_type: from.instance_type.clone(),
        zone: from.zone.clone(),
        zone_id: from.zone_id.clone(),
        region: from.region.clone(),
        private_ip: from.private_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        private_dns_name: from.private_dns_name.clone(),
        image_id: from.image_id.clone(),
        image_family,
        architecture: if from.architecture == "arm64" { kubelets::Architecture::Arm64 } else { kubelets::Architecture::Amd64 },
        role: from.role.clone(),
        user_data: from.user_data.clone(),
        launch_time: from.launched,
        state,
        spot: from.market == Market::Spot,
        vcpus: from.vcpus,
        memory_mib: from.memory_mib,
        network_interfaces: from.network.interfaces,
        addresses_per_interface: from.network.ipv4_per_interface,
        root_volume_gib: pods_volume_gib(from),
        local_storage_gb: from.local_storage_gb,
        extended_resources: from.devices_of_plugins.clone(),
        tags: from.tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
    }
}

/// The volume that holds the pods' files: the root, but Bottlerocket keeps them on its second one.
/// Source: Bottlerocket's README, "Default Volumes".
fn pods_volume_gib(from: &Machine) -> u64 {
    let second = from.devices.iter().find(|device| !device.root).filter(|_| from.image_family == "bottlerocket");
    second.or_else(|| from.devices.iter().find(|device| device.root)).map_or(0, |device| device.size_gib)
}

/// Whether a machine is paid for: pending counts from its launch, as AWS's on-demand billing does within a minute.
pub fn runs(machine: &Machine) -> bool {
    matches!(machine.phase, Phase::Pending | Phase::Running)
}

fn dollars(price: Option<MicroUsd>) -> UsdPerHour {
    price.and_then(|MicroUsd(micro)| UsdPerHour::new(micro as f64 / 1e6)).unwrap_or_default()
}

/// What runs, each machine with what it costs per hour now.
pub fn priced(cloud: &fake_ec2::Cloud, now: jiff::Timestamp) -> Vec<(Machine, UsdPerHour)> {
    let running = cloud.state().machines().into_iter().filter(runs);
    running.map(|machine| (cloud.state().price_at(&machine, now), machine)).map(|(price, machine)| (machine, dollars(price))).collect()
}

pub fn ledger_price(entry: &LedgerEntry) -> UsdPerHour {
    dollars(entry.price_per_hour)
}

pub fn micro_usd(price: UsdPerHour) -> MicroUsd {
    // Prices are parsed as non-negative; a millionth of a dollar is the finest that AWS lists.
    MicroUsd((price.dollars() * 1e6).round() as u64)
}

/// One sentence on where prices come from.
pub fn price_source(region: &str, own: bool, spot: &str) -> String {
    let known = fake_ec2::catalogue::on_demand_price(region, "m5.large");
    let listed = match known {
        Some(price) if !price.derived => format!("on-demand list prices of {region}, from Karpenter's bundled price list"),
        Some(_) => format!("on-demand prices of {region} derived from us-east-1's list"),
        None => format!("no list prices for {region}"),
    };
    if own { format!("the scenario's own where it names a type, else {listed}; {spot}") } else { format!("{listed}; {spot}") }
}
