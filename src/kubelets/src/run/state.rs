//! What is due, and what follows from what was done. No IO, no clock.
//!
//! `admission` takes pods or refuses them, `troubles` breaks nodes and evicts, `processes` leads containers that are processes, `speech` makes Events.

mod admission;
mod processes;
mod speech;
mod troubles;

use std::collections::{BTreeMap, BTreeSet};

use ambient::{Entropy, Stream};
use jiff::{SignedDuration, Timestamp};

use super::RETRY;
use super::addresses::Addresses;
use super::effects::{Done, Effect, Outcome};
use crate::admission::{Applicant, Site};
use crate::boot::{Bootstrap, boot};
use crate::capacity;
use crate::machine::{Machine, State as MachineState};
use crate::node::{self, Problem};
use crate::pod::{self, Images, Life, ProbeKind, Restart, Stage, View};
use crate::process::Id;
use crate::profile::{Heartbeats, Profile};
use crate::words::Word;
use admission::Look;
use processes::stray;

/// `nodeLeaseDurationSeconds` / 4, and `nodeStatusReportFrequency`.
const LEASE_EVERY: SignedDuration = SignedDuration::from_secs(node::LEASE_SECONDS / 4);
const STATUS_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// What may have something to do. The order is that of work due at the same instant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    /// Join, then become ready; by machine id.
    Machine(String),
    /// By uid.
    Pod(String),
    /// Heartbeats; by machine id.
    Lease(String),
    Status(String),
    /// Device plugins speak; by machine id.
    Devices(String),
    /// A node that is short of something looks whom to end; by machine id.
    Pressure(String),
    /// What is said of a pod, by uid, and of a node, by machine id.
    PodWords(String),
    NodeWords(String),
    /// A container's process starts or ends, and is asked.
    Process(Id),
    Probe(Id, ProbeKind),
}

pub struct State {
    profile: Profile,
    entropy: Entropy,
    units: BTreeMap<String, Unit>,
    /// Machine ids by node name.
    names: BTreeMap<String, String>,
    tenants: BTreeMap<String, Tenant>,
    /// Nodes as the API server showed them last, by name.
    sites: BTreeMap<String, Site>,
    /// Pods' uids by node name, whether we know the node or not.
    bound: BTreeMap<String, BTreeSet<String>>,
    timers: BTreeSet<(Timestamp, Key)>,
    in_flight: BTreeSet<Key>,
    /// Machines that have ended and whose last sign of life is still to be written: node and its UID.
    silent: BTreeMap<String, (String, String)>,
    /// Machines that ended before their node was ready: the Node and its UID, to be removed.
    forsaken: BTreeMap<String, (String, String)>,
    addresses: Addresses,
    /// Processes whose pods are none of ours any more, and which are to end at once.
    strays: BTreeSet<Id>,
    /// Uids of the list that is coming in.
    listed: BTreeSet<String>,
    synced: bool,
}

/// A machine with its kubelet.
struct Unit {
    machine: Machine,
    stream: Stream,
    images: Images,
    phase: Phase,
    problems: Vec<Problem>,
    /// When it ends the next pod for want of something.
    evicts: Option<Timestamp>,
    /// Its device plugins have not spoken yet.
    devices: bool,
    /// What its kubelet has had to say of the node, and how much of that is written.
    words: Vec<Word>,
    spoken: usize,
    /// It was silent once: its Lease is an object now, and has to be renewed.
    renews: bool,
}

enum Phase {
    /// The machine is not running yet.
    Off,
    /// The operating system starts; the Node is made at this time.
    Booting {
        joins: Timestamp,
        bootstrap: Box<Bootstrap>,
    },
    Joined {
        uid: String,
        network: Timestamp,
        ready: bool,
    },
    /// Its kubelet runs no more; the machine does.
    Silent,
    /// It never joins, or its Node was deleted under it: a kubelet registers at its start only.
    Apart,
}

struct Tenant {
    view: View,
    /// As it was first seen; nothing of it changes.
    applicant: Option<Box<Applicant>>,
    look: Look,
    life: Option<Life>,
    reported: Stage,
    /// What was last told of that stage.
    turn: u32,
    ip: String,
    /// How much of what there is to say is written.
    spoken: usize,
    /// It waits for its volumes; when they are looked for next.
    volumes: Option<Timestamp>,
}

impl Tenant {
    fn new(view: View, applicant: Option<Box<Applicant>>) -> Tenant {
        let (reported, look) = (Stage::Unseen, Look::Never);
        Tenant { view, applicant, look, life: None, reported, turn: 0, ip: String::new(), spoken: 0, volumes: None }
    }

    /// It starts for ever, since an init container fails again and again.
    fn goes_round(&self) -> bool {
        let never =
            self.life.as_ref().is_some_and(|life| life.ended.is_none() && life.running == Timestamp::MAX && life.processes.is_empty());
        never && self.volumes.is_none() && self.view.restart != Restart::Never
    }
}

impl State {
    pub fn new(entropy: Entropy, profile: Profile) -> State {
        State {
            profile,
            entropy,
            units: BTreeMap::new(),
            names: BTreeMap::new(),
            tenants: BTreeMap::new(),
            sites: BTreeMap::new(),
            bound: BTreeMap::new(),
            timers: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            silent: BTreeMap::new(),
            forsaken: BTreeMap::new(),
            addresses: Addresses::default(),
            strays: BTreeSet::new(),
            listed: BTreeSet::new(),
            synced: false,
        }
    }

    // Machines

    /// Takes the cloud's list; gives back what consoles show from now on.
    pub fn synchronise(&mut self, machines: Vec<Machine>, now: Timestamp) -> Vec<(String, String)> {
        let on = |machine: &Machine| matches!(machine.state, MachineState::Pending | MachineState::Running);
        let machines: BTreeMap<String, Machine> = machines.into_iter().filter(on).map(|each| (each.id.clone(), each)).collect();
        let lost: Vec<String> = self.units.keys().filter(|id| !machines.contains_key(*id)).cloned().collect();
        lost.iter().for_each(|id| self.lose(id, now));
        let mut consoles = Vec::new();
        for (id, machine) in machines {
            if self.units.get(&id).is_some_and(|unit| !matches!(unit.phase, Phase::Off)) {
                continue;
            }
            let mut stream = self.entropy.child("machine").stream(&id);
            let phase = match machine.state {
                MachineState::Running => match boot(&machine, &self.profile) {
                    Ok(bootstrap) => {
                        // Drawn from the launch on, as a user counts; a machine that was launched long ago joins at once.
                        let wait = self.profile.registered.draw(&mut stream);
                        let joins = machine.launch_time.saturating_add(wait).unwrap_or(now).max(now);
                        self.timers.insert((joins, Key::Machine(id.clone())));
                        Phase::Booting { joins, bootstrap: Box::new(bootstrap) }
                    }
                    Err(refusal) => {
                        consoles.push((id.clone(), format!("{refusal}\n")));
                        Phase::Apart
                    }
                },
                _ => Phase::Off,
            };
            self.units.insert(
                id,
                Unit {
                    machine,
                    stream,
                    images: Images::new(),
                    phase,
                    problems: Vec::new(),
                    evicts: None,
                    devices: false,
                    words: Vec::new(),
                    spoken: 0,
                    renews: false,
                },
            );
        }
        consoles
    }

    /// The machine is off: nobody speaks for its node and its pods any more. Their objects are left to the controllers.
    fn lose(&mut self, id: &str, now: Timestamp) {
        let Some(unit) = self.units.remove(id) else { return };
        let name = &unit.machine.private_dns_name;
        // EKS's cloud controller manager removes a Node whose machine is gone; here only one that never came to anything, which nobody
        // else would remove.
        if let Phase::Joined { uid, ready: false, .. } = &unit.phase {
            self.forsaken.insert(id.to_owned(), (name.clone(), uid.clone()));
            self.timers.insert((now, Key::Machine(id.to_owned())));
        }
        // Heartbeats that nobody writes would go on for ever: a Lease that is written shows when the last one was.
        if let (Heartbeats::Computed, Phase::Joined { uid, .. }) = (&self.profile.heartbeats, &unit.phase) {
            self.silent.insert(id.to_owned(), (name.clone(), uid.clone()));
            self.timers.insert((now, Key::Lease(id.to_owned())));
        }
        let name = name.clone();
        self.abandon(id, &name);
    }

    /// Nobody speaks for the pods of the node any more.
    fn abandon(&mut self, id: &str, name: &str) {
        if self.names.get(name).is_some_and(|owner| owner == id) {
            self.names.remove(name);
            self.sites.remove(name);
            self.addresses.forget(name);
            for uid in self.bound.get(name).into_iter().flatten() {
                if let Some(tenant) = self.tenants.get_mut(uid) {
                    tenant.look = Look::Never;
                    let life = tenant.life.take();
                    stray(&mut self.strays, &mut self.timers, uid, life);
                }
            }
        }
    }

    // Pods

    pub fn apply(&mut self, view: Option<View>, now: Timestamp) {
        let Some(mut view) = view else { return };
        let applicant = view.applicant.take();
        let uid = view.uid.clone();
        self.bound.entry(view.node.clone()).or_default().insert(uid.clone());
        match self.tenants.get_mut(&uid) {
            Some(tenant) => tenant.view = view,
            None => drop(self.tenants.insert(uid.clone(), Tenant::new(view, applicant))),
        }
        self.attend(&uid, now);
    }

    /// Whether the pod was seen on its node before.
    pub fn knows(&self, uid: &str) -> bool {
        self.tenants.contains_key(uid)
    }

    pub fn forget(&mut self, uid: &str) {
        let Some(tenant) = self.tenants.remove(uid) else { return };
        stray(&mut self.strays, &mut self.timers, uid, tenant.life);
        let node = &tenant.view.node;
        self.addresses.give_back(node, &tenant.ip);
        if let Some(uids) = self.bound.get_mut(node) {
            uids.remove(uid);
            if uids.is_empty() {
                self.bound.remove(node);
            }
        }
    }

    pub fn begin_list(&mut self) {
        self.listed.clear();
    }

    pub fn list(&mut self, view: Option<View>, now: Timestamp) {
        self.listed.extend(view.as_ref().map(|view| view.uid.clone()));
        self.apply(view, now);
    }

    /// What the list did not have was deleted while nobody watched.
    pub fn end_list(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let gone: Vec<String> = self.tenants.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        gone.iter().for_each(|uid| self.forget(uid));
        self.synced = true;
    }

    // Work

    pub fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// At most `most` effects whose time has come.
    pub fn due(&mut self, now: Timestamp, most: usize) -> Vec<Effect> {
        let mut effects = Vec::new();
        while effects.len() < most && self.timers.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.timers.pop_first() else { break };
            // What is in flight is looked at again when it is done.
            if self.in_flight.contains(&key) {
                continue;
            }
            if let Some(effect) = self.effect(&key, now) {
                self.in_flight.insert(key);
                effects.push(effect);
            }
        }
        effects
    }

    fn effect(&mut self, key: &Key, now: Timestamp) -> Option<Effect> {
        match key {
            Key::Pod(uid) => self.pod_effect(uid, now),
            Key::Machine(id) => self.machine_effect(id, now),
            Key::Pressure(id) => {
                self.relieve(id, now);
                None
            }
            Key::PodWords(uid) => self.speak_of_pod(uid, now),
            Key::NodeWords(id) => self.speak_of_node(id),
            Key::Process(id) => self.process_effect(id, now),
            Key::Probe(id, kind) => self.probe_effect(id, *kind, now),
            Key::Lease(id) if self.silent.contains_key(id) => {
                let (name, uid) = self.silent.get(id)?.clone();
                Some(Effect::Lease { id: id.clone(), name, uid })
            }
            Key::Devices(id) => {
                let unit = self.units.get(id).filter(|unit| unit.devices)?;
                let (id, name) = (id.clone(), unit.machine.private_dns_name.clone());
                Some(Effect::Devices { id, name, devices: capacity::devices(&unit.machine) })
            }
            Key::Lease(id) | Key::Status(id) => {
                let unit = self.units.get(id)?;
                let Phase::Joined { uid, ready, .. } = &unit.phase else { return None };
                let (id, name) = (id.clone(), unit.machine.private_dns_name.clone());
                Some(match key {
                    Key::Lease(_) => Effect::Lease { id, name, uid: uid.clone() },
                    _ => Effect::Status { id, name, ready: *ready, problems: unit.problems.clone() },
                })
            }
        }
    }

    fn machine_effect(&mut self, id: &str, now: Timestamp) -> Option<Effect> {
        if let Some((name, uid)) = self.forsaken.get(id) {
            return Some(Effect::Forsake { id: id.to_owned(), name: name.clone(), uid: uid.clone() });
        }
        let unit = self.units.get_mut(id)?;
        let Unit { machine, stream, phase, .. } = unit;
        match phase {
            Phase::Booting { joins, bootstrap } if *joins <= now => {
                let boot_id = uuid(stream);
                let node = node::node(machine, bootstrap, &self.profile, &boot_id, now);
                Some(Effect::Join { id: id.to_owned(), provider_id: machine.provider_id(), node })
            }
            Phase::Joined { uid, network, ready: false } if *network <= now => {
                let csi = self.profile.volumes.then(|| node::csi_node(machine, uid));
                Some(Effect::Ready { id: id.to_owned(), name: machine.private_dns_name.clone(), csi })
            }
            _ => None,
        }
    }

    /// A pod with a deadline ends there, or is looked at again then.
    fn outlive(&mut self, uid: &str, now: Timestamp) {
        let Some(Tenant { view, life: Some(life), .. }) = self.tenants.get_mut(uid) else { return };
        let Some(deadline) = view.deadline(life).filter(|_| life.ended.is_none() && life.progress(view, now).0 != Stage::Ended) else {
            return;
        };
        if deadline > now {
            self.timers.insert((deadline, Key::Pod(uid.to_owned())));
            return;
        }
        life.expire(now);
        self.tend(uid);
        self.mark(now, uid);
    }

    fn pod_effect(&mut self, uid: &str, now: Timestamp) -> Option<Effect> {
        self.outlive(uid, now);
        let tenant = self.tenants.get_mut(uid)?;
        let view = &tenant.view;
        if tenant.look == Look::Due {
            return Some(Effect::Look { uid: uid.to_owned(), node: view.node.clone() });
        }
        let life = tenant.life.as_ref()?;
        let (stage, turn, next) = life.progress(view, now);
        if let Some(next) = next {
            self.timers.insert((next, Key::Pod(uid.to_owned())));
            if self.profile.events {
                self.timers.insert((next, Key::PodWords(uid.to_owned())));
            }
        }
        let (uid, namespace, name) = (uid.to_owned(), view.namespace.clone(), view.name.clone());
        if stage == Stage::Ended && tenant.reported == Stage::Ended && view.deletion.is_some() {
            return Some(Effect::Remove { uid, namespace, name });
        }
        if stage < tenant.reported || (stage, turn) == (tenant.reported, tenant.turn) {
            let look = tenant.volumes.filter(|_| life.ended.is_none())?;
            if look > now {
                self.timers.insert((look, Key::Pod(uid)));
                return None;
            }
            return Some(Effect::Volumes { uid, namespace, node: view.node.clone(), claims: view.claims.clone() });
        }
        let unit = self.units.get(self.names.get(&view.node)?)?;
        let host = &unit.machine.private_ip;
        if tenant.ip.is_empty() && stage >= Stage::Running {
            tenant.ip = if view.host_network { host.clone() } else { self.addresses.take(&view.node) };
        }
        let patch = pod::status(view, life, stage, &tenant.ip, host, now);
        Some(Effect::Tell { uid, namespace, name, stage, turn, patch })
    }

    /// Takes the result of an effect.
    pub fn done(&mut self, done: Done, now: Timestamp) {
        let Done { key, outcome } = done;
        self.in_flight.remove(&key);
        if let (Key::Machine(id), false) = (&key, matches!(outcome, Outcome::Failed))
            && self.forsaken.remove(id).is_some()
        {
            return;
        }
        let later = |wait: SignedDuration| now.saturating_add(wait).unwrap_or(now);
        match (key, outcome) {
            (key, Outcome::Failed) => drop(self.timers.insert((later(RETRY), key))),
            (Key::Machine(id), Outcome::Joined { uid, site }) => {
                self.learn(site.map(|site| *site));
                self.joined(&id, uid, now);
            }
            (Key::Machine(id), Outcome::Written) => {
                let name = self.units.get_mut(&id).map(|unit| {
                    if let Phase::Joined { ready, .. } = &mut unit.phase {
                        *ready = true;
                        if !unit.machine.extended_resources.is_empty() {
                            unit.devices = true;
                            self.timers.insert((later(self.profile.devices.draw(&mut unit.stream)), Key::Devices(id.clone())));
                        }
                    }
                    unit.machine.private_dns_name.clone()
                });
                tracing::debug!(id, name, "ready");
                self.say(&id, name.map(|name| node::turned(&name, "NodeReady", now)), now);
            }
            (Key::Devices(id), _) => {
                if let Some(unit) = self.units.get_mut(&id) {
                    unit.devices = false;
                }
            }
            (Key::Lease(id), _) if self.silent.contains_key(&id) => drop(self.silent.remove(&id)),
            (Key::Machine(id) | Key::Lease(id) | Key::Status(id), Outcome::Gone) => {
                if let Some(unit) = self.units.get_mut(&id) {
                    unit.phase = Phase::Apart;
                }
            }
            (Key::Lease(id), _) => drop(self.timers.insert((later(LEASE_EVERY), Key::Lease(id)))),
            (Key::Status(id), _) => {
                if self.profile.heartbeats == Heartbeats::Renewed {
                    self.timers.insert((later(STATUS_EVERY), Key::Status(id)));
                }
            }
            (Key::Pod(uid), Outcome::Told { stage, turn, view }) => {
                if let Some(tenant) = self.tenants.get_mut(&uid) {
                    tenant.reported = tenant.reported.max(stage);
                    tenant.turn = turn;
                    if let Some(view) = view {
                        tenant.view = *view;
                    }
                }
                self.attend(&uid, now);
            }
            (Key::PodWords(uid), Outcome::Said(spoken)) => {
                if let Some(tenant) = self.tenants.get_mut(&uid) {
                    tenant.spoken = spoken;
                }
                // There may have been more to say meanwhile.
                self.mark(now, &uid);
            }
            (Key::NodeWords(id), Outcome::Said(spoken)) => {
                if let Some(unit) = self.units.get_mut(&id) {
                    unit.spoken = spoken;
                    if spoken < unit.words.len() {
                        self.timers.insert((now, Key::NodeWords(id)));
                    }
                }
            }
            (Key::Process(id), outcome) => self.processed(id, outcome, now),
            (Key::Probe(id, kind), outcome) => self.probed(id, kind, outcome, now),
            (Key::Pod(uid), Outcome::Looked(site)) => self.looked(&uid, site.map(|site| *site), now),
            (Key::Pod(uid), Outcome::Volumes(there)) => self.mounted(&uid, there, now),
            // The watch tells when the object is gone. Until then a refusal may be a conflict that passes.
            (Key::Pod(uid), Outcome::Gone) => drop(self.timers.insert((later(RETRY), Key::Pod(uid)))),
            (Key::Pod(_) | Key::Pressure(_) | Key::PodWords(_) | Key::NodeWords(_), _) | (Key::Machine(_), _) => {}
        }
    }

    /// Its volumes are there, so that the pod starts, or they are looked for again.
    fn mounted(&mut self, uid: &str, there: bool, now: Timestamp) {
        let Some(tenant) = self.tenants.get_mut(uid) else { return };
        tenant.volumes = (!there).then(|| now.saturating_add(RETRY).unwrap_or(now));
        let unit = self.names.get(&tenant.view.node).and_then(|id| self.units.get_mut(id));
        if let (true, Some(unit), Some(life)) = (there, unit, tenant.life.as_mut().filter(|life| life.ended.is_none()))
            && let Phase::Joined { network, .. } = unit.phase
        {
            let mut stream = self.entropy.child("pod").stream(uid);
            let begun = Life::begin(&tenant.view, &self.profile, &mut stream, now, network, &mut unit.images);
            *life = begun.after(life);
        }
        self.timers.insert((tenant.volumes.unwrap_or(now), Key::Pod(uid.to_owned())));
        self.attend(uid, now);
    }

    fn joined(&mut self, id: &str, uid: String, now: Timestamp) {
        let Some(unit) = self.units.get_mut(id) else { return };
        let network = now.saturating_add(self.profile.ready.draw(&mut unit.stream)).unwrap_or(now);
        unit.phase = Phase::Joined { uid, network, ready: false };
        let name = unit.machine.private_dns_name.clone();
        self.timers.insert((network, Key::Machine(id.to_owned())));
        if self.profile.heartbeats == Heartbeats::Renewed || unit.renews {
            self.timers.insert((now, Key::Lease(id.to_owned())));
        }
        if self.profile.heartbeats == Heartbeats::Renewed {
            let status = now.saturating_add(STATUS_EVERY).unwrap_or(now);
            self.timers.insert((status, Key::Status(id.to_owned())));
        }
        self.say(id, node::starts(&name, now), now);
        let waiting = self.waiting(&name);
        self.names.insert(name, id.to_owned());
        waiting.iter().for_each(|uid| self.attend(uid, now));
    }

    pub fn unsettled(&self) -> Vec<String> {
        let mut moving = Vec::new();
        if !self.synced {
            moving.push("the kubelets have not listed the pods yet".to_owned());
        }
        for (id, unit) in &self.units {
            let what = match &unit.phase {
                Phase::Off | Phase::Booting { .. } => "boots",
                Phase::Joined { ready: false, .. } => "has joined and is not ready yet",
                Phase::Joined { .. } if unit.devices => "waits for its device plugins",
                _ => continue,
            };
            moving.push(format!("machine {id} ({}) {what}", unit.machine.instance_type));
        }
        // Pods of DaemonSets come again and go again; that is no work that ends.
        let short = self.units.values().filter(|unit| unit.evicts.is_some()).map(|unit| &unit.machine.private_dns_name);
        for node in short {
            let uids = self.bound.get(node).into_iter().flatten();
            let left = uids.filter_map(|uid| self.tenants.get(uid)).any(|one| one.may_be_evicted() && !one.view.appetite.daemon);
            moving.extend(left.then(|| format!("node {node} is short of something and evicts pods")));
        }
        for (uid, tenant) in self.tenants.iter().filter(|(_, tenant)| tenant.life.is_some() || tenant.look == Look::Due) {
            let view = &tenant.view;
            let writing = self.in_flight.contains(&Key::Pod(uid.clone()));
            let what = match tenant.reported {
                _ if view.deletion.is_some() => "terminates",
                _ if tenant.goes_round() => continue,
                // Whether it will be ready is up to its process, once that has failed.
                _ if tenant.life.iter().flat_map(|life| life.processes.values()).any(pod::Process::has_failed) => continue,
                stage if stage < Stage::Ready => "starts",
                _ if writing => "changes",
                _ => continue,
            };
            moving.push(format!("pod {}/{} {what}", view.namespace, view.name));
        }
        moving
    }
}

/// A random UUID (version 4) as the kernel makes one at each boot.
fn uuid(stream: &mut Stream) -> String {
    let (high, low) = (stream.next_u64(), stream.next_u64());
    let (high, low) = (high & !0xf000 | 0x4000, low & !(0b11 << 62) | (0b10 << 62));
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xffff, low >> 48, low & 0xffff_ffff_ffff)
}
