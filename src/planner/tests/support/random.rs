//! Seeded random worlds, small enough to read and odd enough to disagree about.

use super::*;
use planner::overlay::{Overlay, PriceChange};
use vocabulary::Toleration;

/// SplitMix64: the same numbers for the same seed on every machine.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From `low` up to and with `high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1).unsigned_abs()).cast_signed()
    }

    pub fn percent(&mut self, chance: i64) -> bool {
        self.between(1, 100) <= chance
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.between(0, i64::try_from(from.len()).unwrap() - 1)).unwrap()]
    }

    fn some<'a>(&mut self, from: &[&'a str]) -> Vec<&'a str> {
        let chosen: Vec<&str> = from.iter().copied().filter(|_| self.percent(60)).collect();
        if chosen.is_empty() { vec![*self.pick(from)] } else { chosen }
    }
}

const CPU_LABEL: &str = labels::instance::CPU;
const TEAMS: [&str; 3] = ["blue", "green", "red"];
const MARKETS: [CapacityType; 2] = [CapacityType::OnDemand, CapacityType::Spot];

pub fn world(seed: u64) -> World {
    let mut dice = Dice::new(seed);
    let types = instance_types(&mut dice);
    let names: Vec<&str> = types.iter().map(|t| &*t.name).collect();
    let pools: Vec<Pool> = (0..dice.between(1, 3)).map(|n| random_pool(&mut dice, n, &names)).collect();
    let mut world = World::new(pools, types.clone());
    if dice.percent(15) {
        world.options.min_values_policy = MinValuesPolicy::BestEffort;
    }
    if dice.percent(15) {
        world.options.preference_policy = PreferencePolicy::Ignore;
    }
    if dice.percent(10) {
        world.options.max_instance_types = 3;
    }
    world.snapshot.daemons = (0..dice.between(0, 3)).map(|n| Arc::new(random_daemon(&mut dice, n))).collect();
    let nodes = dice.between(0, 4);
    for n in 0..nodes {
        let node = random_node(&mut dice, n, &types, &world.snapshot.pools);
        world.snapshot.nodes.push(Arc::new(node));
    }
    if dice.percent(25) {
        world.overlays = (0..dice.between(1, 4)).map(|n| random_overlay(&mut dice, n, &names)).collect();
    }
    let mut shapes: Vec<Pod> = (0..dice.between(1, 6)).map(|n| random_pod(&mut dice, n)).collect();
    if dice.percent(60) {
        shapes.iter_mut().for_each(|pod| relations::relate(&mut dice, pod));
        world.snapshot.namespaces = relations::namespaces();
        let pods = world.snapshot.nodes.iter_mut().flat_map(|node| &mut Arc::make_mut(node).pods);
        pods.for_each(|pod| relations::settle(&mut dice, Arc::make_mut(pod)));
    }
    let stateful = dice.percent(30);
    if stateful {
        for node in &mut world.snapshot.nodes {
            let node = Arc::make_mut(node);
            relations::limit(&mut dice, node);
            for pod in &mut node.pods {
                if dice.percent(30) {
                    relations::mount(&mut dice, Arc::make_mut(pod));
                }
            }
        }
    }
    let pods = if dice.percent(10) { dice.between(60, 200) } else { dice.between(1, 40) };
    for n in 0..pods {
        let mut pod = dice.pick(&shapes).clone();
        pod.name = format!("pod-{n:03}").into();
        pod.uid = format!("{:08x}-{n}", dice.next() >> 32).into();
        pod.created = now() + jiff::SignedDuration::from_secs(dice.between(0, 3));
        if stateful && dice.percent(20) {
            relations::mount(&mut dice, &mut pod);
        }
        world.snapshot.pending.push(Arc::new(Pod { phase_pending: true, ..pod }));
    }
    world
}

fn instance_types(dice: &mut Dice) -> Vec<InstanceType> {
    (0..dice.between(2, 14))
        .map(|n| {
            let cpus = *dice.pick(&[1, 2, 4, 8, 16]);
            let memory = cpus * 1024 * *dice.pick(&[1, 2, 4, 8]);
            let zones = dice.some(&ZONES);
            // Odd cents, so that no two types cost the same.
            let dollars = 0.01 * cpus as f64 + 0.000_013 * memory as f64 + 0.000_000_7 * n as f64;
            let mut made = instance_type(&format!("type-{n:02}"), cpus, memory - 300, memory, dice.between(4, 30), dollars);
            made.requirements.set(Requirement::new(labels::ZONE, Operator::In, zones.iter().copied()));
            made.requirements.set(Requirement::new(labels::CAPACITY_TYPE, Operator::In, ["on-demand", "spot"]));
            made.requirements.set(Requirement::is_in(labels::ARCH, *dice.pick(&["amd64", "amd64", "arm64"])));
            made.requirements.set(Requirement::is_in(CPU_LABEL, cpus.to_string()));
            made.requirements.set(Requirement::is_in(labels::instance::FAMILY, *dice.pick(&["c5", "m5", "t3"])));
            made.requirements.set(Requirement::new(labels::instance::GPU_NAME, Operator::DoesNotExist, [""; 0]));
            let places = zones.iter().flat_map(|zone| MARKETS.map(|market| (*zone, market)));
            made.offerings = places.map(|(zone, market)| random_offering(dice, zone, market, dollars)).collect();
            if dice.percent(18) {
                reserve(dice, &mut made, n, &zones);
            }
            if dice.percent(15) {
                made.capacity.set("example.com/gpu", 2);
                made.allocatable.set("example.com/gpu", 2);
            }
            made
        })
        .collect()
}

fn random_offering(dice: &mut Dice, zone: &str, market: CapacityType, dollars: f64) -> Offering {
    let rebate = if market == CapacityType::Spot { 0.3 + 0.001 * dice.between(0, 200) as f64 } else { 1.0 };
    let mut made = offering(zone, market, dollars * rebate);
    made.available = dice.percent(85);
    made
}

/// A few machines of this type in one capacity reservation or two, of a kind each.
fn reserve(dice: &mut Dice, made: &mut InstanceType, n: i64, zones: &[&str]) {
    let (mut ids, mut kinds): (Vec<Arc<str>>, Vec<&str>) = Default::default();
    for k in 0..dice.between(1, 2) {
        let id: Arc<str> = format!("cr-{n}-{k}").into();
        let kind = *dice.pick(&["default", "default", "capacity-block"]);
        let zone: &str = zones[usize::try_from(dice.between(0, zones.len() as i64 - 1)).unwrap()];
        let mut reserved = offering(zone, CapacityType::Reserved, 0.000_001 * n as f64 + 0.000_000_01 * k as f64);
        reserved.requirements.add(Requirement::is_in(labels::CAPACITY_RESERVATION_ID, id.clone()));
        reserved.requirements.add(Requirement::is_in(labels::CAPACITY_RESERVATION_TYPE, kind));
        reserved.available = dice.percent(90);
        reserved.reservation_capacity = Some(u32::try_from(dice.between(0, 3)).unwrap());
        made.offerings.push(reserved);
        ids.push(id);
        kinds.push(kind);
    }
    made.requirements.set(Requirement::new(labels::CAPACITY_TYPE, Operator::In, ["on-demand", "reserved", "spot"]));
    made.requirements.set(Requirement::new(labels::CAPACITY_RESERVATION_ID, Operator::In, ids));
    made.requirements.set(Requirement::new(labels::CAPACITY_RESERVATION_TYPE, Operator::In, kinds));
}

fn random_requirement(dice: &mut Dice, names: &[&str]) -> Requirement {
    let mut made = match dice.between(0, 9) {
        0 => Requirement::new(labels::ZONE, Operator::In, dice.some(&ZONES)),
        1 => Requirement::new(labels::ZONE, Operator::NotIn, [*dice.pick(&ZONES)]),
        2 => Requirement::new(labels::CAPACITY_TYPE, Operator::In, dice.some(&["on-demand", "reserved", "spot"])),
        3 => Requirement::new(labels::ARCH, Operator::In, dice.some(&["amd64", "arm64"])),
        4 => Requirement::new(CPU_LABEL, *dice.pick(&[Operator::Gt, Operator::Gte]), [*dice.pick(&["1", "2", "4"])]),
        5 => Requirement::new(CPU_LABEL, *dice.pick(&[Operator::Lt, Operator::Lte]), [*dice.pick(&["4", "8", "16"])]),
        6 => Requirement::new(labels::INSTANCE_TYPE, Operator::NotIn, dice.some(names)),
        9 => Requirement::new(labels::CAPACITY_RESERVATION_TYPE, *dice.pick(&[Operator::In, Operator::NotIn]), ["capacity-block"]),
        7 => Requirement::new(labels::instance::FAMILY, Operator::In, dice.some(&["c5", "m5", "t3"])),
        _ => Requirement::new(labels::instance::FAMILY, Operator::Exists, [""; 0]),
    };
    let few = made.complement || made.values.len() > 1;
    if few && dice.percent(12) {
        made.min_values = Some(u32::try_from(dice.between(1, 2)).unwrap());
    }
    made
}

/// Another price or another resource, for types that the requirement is about.
fn random_overlay(dice: &mut Dice, n: i64, names: &[&str]) -> (Overlay, Option<String>) {
    let mut requirement = match dice.between(0, 3) {
        0 => Requirement::new(labels::INSTANCE_TYPE, Operator::In, dice.some(names)),
        1 => Requirement::new(labels::CAPACITY_TYPE, Operator::In, dice.some(&["on-demand", "reserved", "spot"])),
        2 => Requirement::new("team", Operator::In, [*dice.pick(&TEAMS)]),
        _ => random_requirement(dice, names),
    };
    requirement.min_values = None;
    let price = match dice.between(0, 3) {
        0 => Some(format!("{:.3}", 0.001 * dice.between(1, 300) as f64)),
        1 => Some(format!("{:+.3}", 0.001 * dice.between(-50, 50) as f64)),
        2 => Some(format!("{:+}%", dice.between(-100, 100))),
        _ => None,
    };
    let mut capacity = vocabulary::Resources::new();
    if price.is_none() || dice.percent(20) {
        let name: &&str = dice.pick(&["example.com/gpu", "example.com/chip"]);
        capacity.set(name, dice.between(1, 3));
    }
    let weight = i32::try_from(dice.between(0, 2)).unwrap();
    let change = price.as_deref().and_then(PriceChange::parse);
    let requirements = [requirement].into_iter().collect();
    (Overlay { name: format!("overlay-{n}").into(), weight, requirements, price: change, capacity }, price)
}

fn random_pool(dice: &mut Dice, n: i64, names: &[&str]) -> Pool {
    let mut made = pool(&format!("pool-{n}"));
    made.weight = i32::try_from(dice.between(0, 2)).unwrap();
    made.requirements = (0..dice.between(0, 2)).map(|_| random_requirement(dice, names)).collect();
    if dice.percent(50) {
        made.labels.insert("team".into(), (*dice.pick(&TEAMS)).into());
    } else if dice.percent(40) {
        let operator = *dice.pick(&[Operator::In, Operator::NotIn]);
        made.requirements.push(Requirement::new("team", operator, [*dice.pick(&TEAMS)]));
    }
    if dice.percent(25) {
        made.taints.push(taint("dedicated", *dice.pick(&[Effect::NoSchedule, Effect::PreferNoSchedule])));
    }
    if dice.percent(35) {
        made.limits.set("cpu", dice.between(2, 60) * 1000);
    }
    if dice.percent(20) {
        made.limits.set("memory", dice.between(4, 200) << 30);
    }
    if dice.percent(10) {
        made.limits.set("nodes", dice.between(0, 4));
    }
    made
}

fn tolerations(dice: &mut Dice, chance: i64) -> Vec<Toleration> {
    let all = Toleration { key: "dedicated".into(), exists: true, value: "".into(), effect: None };
    if dice.percent(chance) { vec![all] } else { Vec::new() }
}

fn random_daemon(dice: &mut Dice, n: i64) -> Daemon {
    let mut pod = random_pod(dice, n);
    pod.daemon = true;
    pod.name = format!("daemon-{n}").into();
    pod.uid = pod.name.clone();
    pod.namespace = "kube-system".into();
    pod.requests = amounts(&format!("{}m", dice.between(0, 300)), &format!("{}Mi", dice.between(10, 400))).with("pods", 1);
    pod.preferred_node_affinity.clear();
    pod.tolerations = tolerations(dice, 50);
    if dice.percent(60) {
        pod.selector.clear();
        pod.node_affinity.clear();
    }
    Daemon { namespace: "kube-system".into(), name: pod.name.clone(), pod: Arc::new(pod) }
}

fn terms(dice: &mut Dice) -> Requirements {
    let names = ["type-00", "type-01", "type-02", "type-03"];
    let mut made: Requirements = (0..dice.between(1, 2)).map(|_| random_requirement(dice, &names)).collect();
    if dice.percent(40) {
        let operator = *dice.pick(&[Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist]);
        let values = if matches!(operator, Operator::In | Operator::NotIn) { dice.some(&TEAMS) } else { Vec::new() };
        made.add(Requirement::new("team", operator, values));
    }
    let bare = made.iter().cloned().map(|mut r| {
        r.min_values = None;
        r
    });
    // An unsatisfiable pair folds into DoesNotExist here, and would be written as such: keep to what a pod can say.
    bare.filter(|r| r.complement || !r.values.is_empty() || *r.key == *"team").collect()
}

fn random_pod(dice: &mut Dice, n: i64) -> Pod {
    let cpu = *dice.pick(&["", "100m", "250m", "500m", "1", "1500m", "3"]);
    let memory = *dice.pick(&["", "64Mi", "256Mi", "512Mi", "1Gi", "1500Mi", "4Gi"]);
    let mut made = pod(&format!("shape-{n}"), cpu, memory);
    if dice.percent(5) {
        made.requests.set("example.com/gpu", 1);
    }
    if dice.percent(20) {
        made.selector.insert(labels::ZONE.into(), (*dice.pick(&ZONES)).into());
    }
    if dice.percent(15) {
        made.selector.insert("team".into(), (*dice.pick(&TEAMS)).into());
    }
    if dice.percent(25) {
        made.node_affinity = (0..dice.between(1, 3)).map(|_| terms(dice)).collect();
    }
    if dice.percent(25) {
        let preference = |dice: &mut Dice, n: i64| (i32::try_from(100 - 7 * n).unwrap(), terms(dice));
        made.preferred_node_affinity = (0..dice.between(1, 3)).map(|n| preference(dice, n)).collect();
    }
    if dice.percent(8) {
        made.host_ports.push(HostPort { ip: "".into(), port: i32::try_from(dice.between(80, 82)).unwrap(), protocol: "TCP".into() });
    }
    made.tolerations = tolerations(dice, 30);
    made
}

fn random_node(dice: &mut Dice, n: i64, types: &[InstanceType], pools: &[Arc<Pool>]) -> Node {
    let chosen = dice.pick(types);
    let name: Arc<str> = format!("node-{n}").into();
    let managed = dice.percent(70);
    let mut all = chosen.requirements.labels();
    all.insert(labels::ZONE.into(), (*dice.pick(&ZONES)).into());
    all.insert(labels::CAPACITY_TYPE.into(), "on-demand".into());
    all.insert(labels::HOSTNAME.into(), name.clone());
    let pool = dice.pick(pools);
    let initialized = !managed || dice.percent(80);
    if managed {
        all.extend(pool.labels.clone());
        all.insert(labels::NODEPOOL.into(), pool.name.clone());
        all.insert(labels::REGISTERED.into(), "true".into());
        if initialized {
            all.insert(labels::INITIALIZED.into(), "true".into());
        }
    }
    let bound = |dice: &mut Dice, k: i64| {
        let (cpu, memory) = *dice.pick(&[("100m", "128Mi"), ("100m", "512Mi"), ("500m", "128Mi"), ("500m", "512Mi")]);
        let mut made = pod(&format!("bound-{n}-{k}"), cpu, memory);
        made.daemon = dice.percent(30);
        made.terminal = dice.percent(10);
        made
    };
    Node {
        name: name.clone(),
        node_claim: managed.then(|| name.clone()),
        pool: managed.then(|| pool.name.clone()),
        provider_id: Some(format!("aws:///{name}").into()),
        created: now(),
        has_node: true,
        launched: true,
        registered: true,
        initialized,
        ready: true,
        deleting: dice.percent(15),
        nominated_until: None,
        labels: all,
        annotations: Labels::new(),
        taints: if dice.percent(20) { vec![taint("dedicated", Effect::NoSchedule)] } else { Vec::new() },
        capacity: chosen.capacity.clone(),
        allocatable: chosen.allocatable.clone(),
        pods: (0..dice.between(0, 3)).map(|k| Arc::new(bound(dice, k))).collect(),
        price: None,
        consolidatable: None,
        drifted: None,
        quiet_since: None,
        instance_terminating: false,
        grace_limited: false,
        shown: None,
        volume_limits: BTreeMap::new(),
    }
}
