//! Worlds for tests: the workshop's instance types, EKS's daemons, and what becomes of a world when its launches are carried out.

#![allow(dead_code, reason = "each test binary uses its part")]

use jiff::Timestamp;
use planner::input::*;
use planner::output::{NodeClaimPlan, PodOutcome};
use planner::overlay::Overlay;
use planner::{Explanation, Plan};
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::{CapacityType, Effect, Operator, Quantity, Requirement, Requirements, Resources, Taint, UsdPerHour, labels};

pub mod random;
pub mod relations;

pub const ZONES: [&str; 3] = ["us-west-2a", "us-west-2b", "us-west-2c"];

pub fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// `cpu`, `memory`, as Kubernetes writes them; empty means none.
pub fn amounts(cpu: &str, memory: &str) -> Resources {
    let quantity = |text: &str| text.parse::<Quantity>().unwrap();
    Resources::from_quantities([("cpu", cpu), ("memory", memory)].into_iter().filter(|(_, q)| !q.is_empty()).map(|(n, q)| (n, quantity(q))))
}

pub fn pod(name: &str, cpu: &str, memory: &str) -> Pod {
    Pod {
        uid: name.into(),
        namespace: "default".into(),
        name: name.into(),
        created: now(),
        requests: amounts(cpu, memory).with("pods", 1),
        selector: Labels::new(),
        node_affinity: Vec::new(),
        preferred_node_affinity: Vec::new(),
        tolerations: Vec::new(),
        host_ports: Vec::new(),
        spread: Vec::new(),
        pod_affinity: PodTerms::default(),
        pod_anti_affinity: PodTerms::default(),
        volumes: Volumes::default(),
        labels: Labels::new(),
        owner: None,
        daemon: false,
        do_not_disrupt: false,
        do_not_disrupt_until: None,
        priority: 0,
        deletion_cost: DeletionCost::default(),
        terminating: false,
        terminal: false,
        stateful: false,
        mirror: false,
        phase_pending: false,
        unhealthy: false,
        undecided: Vec::new(),
    }
}

pub fn daemon(name: &str, cpu: &str, memory: &str) -> Daemon {
    let everything = vocabulary::Toleration { key: "".into(), exists: true, value: "".into(), effect: None };
    let pod = Pod { daemon: true, tolerations: vec![everything], ..pod(name, cpu, memory) };
    Daemon { namespace: "kube-system".into(), name: name.into(), pod: Arc::new(pod) }
}

/// What EKS runs on each node.
pub fn eks_daemons() -> Vec<Daemon> {
    vec![
        daemon("aws-node", "50m", ""),
        daemon("ebs-csi-node", "30m", "120Mi"),
        daemon("eks-pod-identity-agent", "", ""),
        daemon("kube-proxy", "100m", ""),
    ]
}

pub fn offering(zone: &str, market: CapacityType, dollars: f64) -> Offering {
    let requirements = Requirements::from_labels([(labels::ZONE, zone), (labels::CAPACITY_TYPE, market.as_str())]);
    Offering {
        zone: zone.into(),
        zone_id: None,
        capacity_type: market,
        price: UsdPerHour::new(dollars).unwrap(),
        available: true,
        requirements,
        reservation_capacity: None,
        overlaid: false,
    }
}

/// Allocatable memory in Mi; capacity is larger by what the kubelet keeps.
pub fn instance_type(name: &str, cpus: i64, memory: i64, capacity: i64, pods: i64, dollars: f64) -> InstanceType {
    const MIB: i64 = 1 << 20;
    let offerings: Vec<Offering> = ZONES.iter().map(|zone| offering(zone, CapacityType::OnDemand, dollars)).collect();
    let mut requirements: Requirements =
        [Requirement::new(labels::ZONE, Operator::In, ZONES), Requirement::is_in(labels::CAPACITY_TYPE, "on-demand")].into_iter().collect();
    for (key, value) in [(labels::INSTANCE_TYPE, name), (labels::ARCH, "amd64"), (labels::OS, "linux")] {
        requirements.add(Requirement::is_in(key, value));
    }
    InstanceType {
        name: name.into(),
        requirements,
        capacity: Resources::new().with("cpu", cpus * 1000).with("memory", capacity * MIB).with("pods", pods),
        allocatable: Resources::new().with("cpu", cpus * 1000 - 70).with("memory", memory * MIB).with("pods", pods),
        offerings,
        overlaid: false,
    }
}

/// The workshop's three types, with Karpenter's estimate of what is left of them.
pub fn lab_types() -> Vec<InstanceType> {
    vec![
        instance_type("m5.large", 2, 6903, 7577, 29, 0.096),
        instance_type("t3.medium", 2, 3246, 3788, 17, 0.0416),
        instance_type("t3.small", 2, 1418, 1894, 11, 0.0208),
    ]
}

pub fn pool(name: &str) -> Pool {
    Pool {
        name: name.into(),
        uid: name.into(),
        weight: 0,
        ready: true,
        node_class: "default".into(),
        labels: Labels::new(),
        annotations: Labels::new(),
        taints: Vec::new(),
        startup_taints: Vec::new(),
        requirements: Vec::new(),
        limits: Resources::new(),
        expire_after: None,
        termination_grace_period: None,
        hash: "1".into(),
        disruption: PoolDisruption { consolidate_after: None, policy: ConsolidationPolicy::WhenEmptyOrUnderutilized, budgets: Vec::new() },
        replicas: None,
    }
}

pub fn taint(key: &str, effect: Effect) -> Taint {
    Taint { key: key.into(), value: "".into(), effect }
}

/// A snapshot of one pool, with what the cloud offers it.
pub struct World {
    pub snapshot: Snapshot,
    pub offerings: Offerings,
    pub options: Options,
    /// NodeOverlays, each with its price as written.
    pub overlays: Vec<(Overlay, Option<String>)>,
}

impl World {
    pub fn new(pools: Vec<Pool>, types: Vec<InstanceType>) -> Self {
        let types = Arc::new(types);
        let offerings = pools.iter().map(|pool| (pool.name.clone(), types.clone())).collect();
        let snapshot = Snapshot { pools: pools.into_iter().map(Arc::new).collect(), ..Snapshot::default() };
        World { snapshot, offerings, options: Options::default(), overlays: Vec::new() }
    }

    /// The workshop's lab without pods.
    pub fn lab() -> Self {
        let mut pool = pool("default");
        pool.labels.insert("type".into(), "karpenter".into());
        pool.requirements.push(Requirement::is_in(labels::CAPACITY_TYPE, "on-demand"));
        pool.requirements.push(Requirement::new(labels::INSTANCE_TYPE, Operator::In, ["m5.large", "t3.medium", "t3.small"]));
        let mut world = World::new(vec![pool], lab_types());
        world.snapshot.daemons = eks_daemons().into_iter().map(Arc::new).collect();
        world
    }

    /// Changes the first pool.
    pub fn with_pool(mut self, change: impl FnOnce(&mut Pool)) -> Self {
        change(Arc::make_mut(&mut self.snapshot.pools[0]));
        self
    }

    pub fn with_pods(mut self, pods: impl IntoIterator<Item = Pod>) -> Self {
        self.snapshot.pending.extend(pods.into_iter().map(Arc::new));
        self
    }

    /// So many pods of 1 Gi with the lab's node selector.
    pub fn inflate(self, from: usize, to: usize) -> Self {
        let one = |n: usize| {
            let mut pod = pod(&format!("inflate-{n:03}"), "", "1Gi");
            pod.selector.insert("type".into(), "karpenter".into());
            pod
        };
        self.with_pods((from..to).map(one))
    }

    pub fn plan(&self) -> (Plan, Explanation) {
        planner::plan(&self.snapshot, &self.overlaid(), now(), &self.options)
    }

    /// The offerings as the overlays make them.
    pub fn overlaid(&self) -> Offerings {
        let pools: Vec<_> = self.snapshot.pools.iter().map(|pool| (&pool.name, &pool.labels)).collect();
        let overlays: Vec<Overlay> = self.overlays.iter().map(|(overlay, _)| overlay.clone()).collect();
        let (made, _) = planner::overlay::evaluate(&pools, &self.offerings, &overlays);
        self.offerings.iter().map(|(pool, types)| (pool.clone(), made.apply(pool, types).unwrap())).collect()
    }

    /// The world once the plan is carried out: each launch a ready node of its cheapest type with its pods bound, nominated pods
    /// bound to their nodes.
    pub fn carried_out(&self, plan: &Plan) -> World {
        let mut snapshot = self.snapshot.clone();
        let offerings = self.overlaid();
        let pods: BTreeMap<String, Arc<Pod>> =
            snapshot.pending.iter().map(|pod| (format!("{}/{}", pod.namespace, pod.name), pod.clone())).collect();
        // What leaves is gone by then, and its pods were recreated as pending ones.
        let mut pods = pods;
        for node in snapshot.nodes.iter().filter(|node| node.deleting) {
            pods.extend(node.pods.iter().map(|pod| (format!("{}/{}", pod.namespace, pod.name), pod.clone())));
        }
        snapshot.nodes.retain(|node| !node.deleting);
        let mut placed: Vec<Arc<str>> = Vec::new();
        for (number, launch) in plan.launches.iter().enumerate() {
            let name = format!("node-{:03}", self.snapshot.nodes.len() + number);
            let mut node = Self::node(&name, launch, &offerings);
            node.pods.extend(launch.pods.iter().filter_map(|name| pods.get(&**name)).cloned());
            placed.extend(launch.pods.iter().cloned());
            snapshot.nodes.push(Arc::new(node));
        }
        for nomination in &plan.nominations {
            let node = snapshot.nodes.iter_mut().find(|node| node.name == nomination.node).expect("a nominated node exists");
            if let Some(pod) = pods.get(&*nomination.pod) {
                Arc::make_mut(node).pods.push(pod.clone());
                placed.push(nomination.pod.clone());
            }
        }
        snapshot.pending.retain(|pod| !placed.contains(&format!("{}/{}", pod.namespace, pod.name).into()));
        World { snapshot, offerings, options: self.options.clone(), overlays: Vec::new() }
    }

    fn node(name: &str, launch: &NodeClaimPlan, offerings: &Offerings) -> Node {
        let cheapest = &launch.instance_types[0].instance_type;
        let chosen = offerings[&launch.pool].iter().find(|t| t.name == *cheapest).expect("a chosen type is offered");
        let asked: Requirements = launch.requirements.iter().map(|r| r.requirement.clone()).collect();
        let offering = chosen.offerings.iter().filter(|o| o.available && asked.is_compatible(&o.requirements, labels::is_well_known));
        let offering = offering.min_by_key(|o| o.price).expect("a chosen type can be bought");
        let mut labels = chosen.requirements.labels();
        labels.extend(offering.requirements.labels());
        labels.extend(launch.labels.clone());
        labels.insert(labels::HOSTNAME.into(), name.into());
        Node {
            name: name.into(),
            node_claim: Some(name.into()),
            pool: Some(launch.pool.clone()),
            provider_id: Some(name.into()),
            created: now(),
            has_node: true,
            launched: true,
            registered: true,
            initialized: true,
            ready: true,
            deleting: false,
            nominated_until: None,
            labels,
            annotations: launch.annotations.clone(),
            taints: launch.taints.clone(),
            capacity: chosen.capacity.clone(),
            allocatable: chosen.allocatable.clone(),
            pods: Vec::new(),
            price: Some(offering.price),
            consolidatable: None,
            drifted: None,
            quiet_since: None,
            instance_terminating: false,
            grace_limited: false,
            shown: None,
            volume_limits: BTreeMap::new(),
        }
    }
}

/// `inflate-003` and so on of the lab, or whatever the pod is called.
pub fn outcome<'a>(explanation: &'a Explanation, pod: &str) -> &'a PodOutcome {
    let wanted = format!("default/{pod}");
    &explanation.pods.iter().find(|verdict| *verdict.pod == *wanted).expect("every pod has a verdict").outcome
}

/// Pods and instance types of each launch, in the order of the plan.
pub fn launches(plan: &Plan) -> Vec<(usize, Vec<&str>)> {
    plan.launches.iter().map(|l| (l.pods.len(), l.instance_types.iter().map(|c| &*c.instance_type).collect())).collect()
}
