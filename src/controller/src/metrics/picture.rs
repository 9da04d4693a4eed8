//! Gauges, read off the world at the moment somebody asks.
//!
//! Sources: `C/pkg/controllers/metrics/{node,nodepool,pod}/controller.go`, `C/pkg/controllers/state/metrics.go`,
//! `A/pkg/providers/instancetype/metrics.go`, `awslabs/operatorpkg/status/controller.go`.

use super::changes::{Seen, claim_labels, joined, label, node_labels, of_kind, of_node, seen};
use super::exposition::{Family, Labels, Store, labels};
use super::families::{self as family, Conditions};
use super::{Metrics, seconds};
use crate::world::World;
use cluster::Key;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use planner::disruption::{self, Method};
use planner::input::InstanceType;
use planner::{Offerings, Snapshot};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::{Resources, labels as names, resources};

/// What the gauges are read from, beside the world.
pub struct Sight<'a> {
    pub snapshot: &'a Snapshot,
    /// By pool, for what a pool's machines cost.
    pub offerings: &'a Offerings,
    /// Each NodeClass's instance types.
    pub types: &'a [Arc<Vec<InstanceType>>],
}

impl Metrics {
    /// Everything, as text.
    pub fn text(&mut self, world: &World, sight: &Sight<'_>, now: Timestamp) -> String {
        let mut gauges = Store::default();
        self.state(&mut gauges, world, now);
        nodes(&mut gauges, world, now);
        self.pods(&mut gauges, world, now);
        pools(&mut gauges, world, sight, now);
        types(&mut gauges, sight);
        conditions(&mut gauges, world, now);
        let version = [("version", env!("CARGO_PKG_VERSION")), ("goversion", ""), ("goarch", std::env::consts::ARCH), ("commit", "")];
        gauges.set(&family::BUILD_INFO, labels(version), 1.0);
        if let Some(election) = &world.settings.leader_election {
            let leads = if world.election.renewed.is_some() { 1.0 } else { 0.0 };
            gauges.set(&family::LEADER, labels([("name", &election.name)]), leads);
        }
        let mut all = self.store.clone();
        all.extend(gauges);
        if !world.settings.observability {
            all.retain(is_always_shown);
        }
        all.text(now)
    }

    fn state(&mut self, gauges: &mut Store, world: &World, now: Timestamp) {
        let synced = world.index.synced();
        self.unsynced = if synced { None } else { self.unsynced.or(Some(now)) };
        gauges.set(&family::STATE_NODES, Vec::new(), count(world.index.machines().count()));
        gauges.set(&family::STATE_SYNCED, Vec::new(), if synced { 1.0 } else { 0.0 });
        gauges.set(&family::STATE_UNSYNCED, Vec::new(), self.unsynced.map_or(0.0, |since| seconds(since, now)));
    }

    fn pods(&self, gauges: &mut Store, world: &World, now: Timestamp) {
        for pod in world.index.pods() {
            gauges.set(&family::POD_STATE, pod_state(world, pod), 1.0);
            let key = Key::of(&**pod);
            let Some(times) = self.times(&key) else { continue };
            let own = || labels([("name", &*key.name), ("namespace", &*key.namespace)]);
            let mut since = |family: &Family, from: Option<Timestamp>| {
                if let Some(from) = from {
                    gauges.set(family, own(), seconds(from, now));
                }
            };
            let created = pod.creation_timestamp().map(|time| time.0);
            if times.unstarted {
                since(&family::POD_UNSTARTED, created);
                since(&family::POD_PROVISIONING_UNSTARTED, times.placed);
            }
            if times.unbound && cluster::pod::node_name(pod).is_none() {
                since(&family::POD_UNBOUND, created);
                since(&family::POD_PROVISIONING_UNBOUND, times.placed);
                if times.decided.is_none() {
                    since(&family::POD_UNDECIDED, times.seen);
                }
            }
        }
    }
}

/// Whether a family stays where the state of the cluster is not to be observed: upstream then leaves out the controllers `metrics.pod`,
/// `metrics.node` and `metrics.nodepool`, and those of the conditions of NodeClaims, Nodes and NodePools (`C/pkg/controllers/controllers.go`).
fn is_always_shown(name: &str, labels: &Labels) -> bool {
    let of_pods = name.starts_with("karpenter_pods_") && name != family::EVICTIONS.name && name != family::PODS_DRAINED.name;
    let gauges = [
        family::NODE_ALLOCATABLE,
        family::NODE_OVERHEAD,
        family::NODE_POD_REQUESTS,
        family::NODE_POD_LIMITS,
        family::NODE_DAEMON_REQUESTS,
        family::NODE_DAEMON_LIMITS,
        family::NODE_AGE,
        family::UTILIZATION,
        family::POOL_LIMIT,
        family::POOL_USAGE,
        family::POOL_COST,
    ];
    let of_conditions = match name.strip_prefix("operator_") {
        Some(rest) if rest.starts_with("ec2nodeclass_") => false,
        Some(rest) if rest.starts_with("status_condition_") || rest.starts_with("termination_") => {
            !labels.iter().any(|(name, value)| name == "kind" && value == "EC2NodeClass")
        }
        Some(_) => true,
        None => false,
    };
    !of_pods && !of_conditions && gauges.iter().all(|family| family.name != name)
}

fn pod_state(world: &World, pod: &core::Pod) -> Labels {
    let node_name = cluster::pod::node_name(pod).unwrap_or("");
    let node = world.index.node(node_name);
    let of_node = |name: &str| node.map_or("", |node| label(&**node, name));
    let namespace = pod.namespace().unwrap_or_default();
    // As upstream writes it, whatever the group.
    let owner = pod.owner_references().first().map_or_else(String::new, |owner| {
        format!("/apis/{}/namespaces/{namespace}/{}s/{}", owner.api_version, owner.kind.to_lowercase(), owner.name)
    });
    let status = pod.status.as_ref();
    let ready = status.and_then(|s| s.conditions.as_ref()).is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    let truth = |is: bool| if is { "true" } else { "false" };
    labels([
        ("name", &pod.name_any()),
        ("namespace", &namespace),
        ("owner", &owner),
        ("node", node_name),
        ("scheduled", truth(!node_name.is_empty())),
        ("nodepool", of_node(names::NODEPOOL)),
        ("zone", of_node(names::ZONE)),
        ("arch", of_node(names::ARCH)),
        ("capacity_type", of_node(names::CAPACITY_TYPE)),
        ("instance_type", of_node(names::INSTANCE_TYPE)),
        ("phase", status.and_then(|s| s.phase.as_deref()).unwrap_or("")),
        ("ready", truth(ready)),
        ("managed", truth(!of_node(names::NODEPOOL).is_empty())),
    ])
}

/// Well-known labels under the last part of their name, in snake case.
fn well_known(node: &core::Node) -> Labels {
    let mut made: BTreeMap<Cow<'static, str>, String> = BTreeMap::new();
    for key in names::WELL_KNOWN {
        let Some((_, name)) = key.split_once('/') else { continue };
        made.insert(name.to_lowercase().replace('-', "_").into(), label(node, key).to_owned());
    }
    made.into_iter().collect()
}

fn nodes(gauges: &mut Store, world: &World, now: Timestamp) {
    let (mut allocatable, mut used) = (Resources::new(), Resources::new());
    for node in world.index.nodes() {
        let status = node.status.as_ref();
        let name = node.name_any();
        let managed = !world.index.claims_of(node.spec.as_ref().and_then(|s| s.provider_id.as_deref()).unwrap_or("")).is_empty();
        let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or("");
        let own = joined(
            labels([("node_name", &name), ("phase", phase), ("managed", if managed { "true" } else { "false" })]),
            &well_known(node),
        );
        let sums = Sums::of(world, &name);
        let can = cluster::pod::amounts(status.and_then(|s| s.allocatable.as_ref()));
        let mut kept = cluster::pod::amounts(status.and_then(|s| s.capacity.as_ref()));
        kept.subtract(&can);
        for (family, amounts) in [
            (&family::NODE_ALLOCATABLE, &can),
            (&family::NODE_OVERHEAD, &kept),
            (&family::NODE_POD_REQUESTS, &sums.requests),
            (&family::NODE_POD_LIMITS, &sums.limits),
            (&family::NODE_DAEMON_REQUESTS, &sums.daemon_requests),
            (&family::NODE_DAEMON_LIMITS, &sums.daemon_limits),
        ] {
            for (resource, amount) in amounts.iter() {
                gauges.set(family, joined(labels([("resource_type", &snake(resource))]), &own), units(resource, amount));
            }
        }
        if let Some(created) = node.creation_timestamp() {
            gauges.set(&family::NODE_AGE, own, seconds(created.0, now));
        }
        allocatable.add(&can);
        used.add(&sums.requests);
    }
    for (resource, amount) in allocatable.iter().filter(|(_, amount)| *amount != 0) {
        let percent = 100.0 * units(resource, used.get(resource)) / units(resource, amount);
        gauges.set(&family::UTILIZATION, labels([("resource_type", &snake(resource))]), percent);
    }
}

/// What the pods on a node ask for, and may use.
#[derive(Default)]
struct Sums {
    requests: Resources,
    limits: Resources,
    daemon_requests: Resources,
    daemon_limits: Resources,
}

impl Sums {
    fn of(world: &World, node: &str) -> Self {
        let mut sums = Sums::default();
        for pod in world.index.pods_on(node).filter(|pod| !cluster::pod::is_terminal(pod)) {
            let (requests, limits) = (cluster::pod::requests(pod), cluster::pod::limits(pod));
            if cluster::pod::is_owned_by(&pod.metadata, "apps/v1", "DaemonSet") {
                sums.daemon_requests.add(&requests);
                sums.daemon_limits.add(&limits);
            }
            sums.requests.add(&requests);
            sums.limits.add(&limits);
        }
        sums
    }
}

fn pools(gauges: &mut Store, world: &World, sight: &Sight<'_>, now: Timestamp) {
    for pool in world.index.pools() {
        let name = pool.name_any();
        let limits = pool.spec.limits.as_ref().map(cluster::pool::quantities).unwrap_or_default();
        for (family, amounts) in [(&family::POOL_LIMIT, limits), (&family::POOL_USAGE, world.index.pool_usage(&name))] {
            for (resource, amount) in amounts.iter() {
                gauges.set(family, labels([("resource_type", &snake(resource)), ("nodepool", &name)]), units(resource, amount));
            }
        }
        gauges.set(&family::POOL_COST, labels([("nodepool", &name)]), cost(world, sight, &name));
    }
    for method in [Method::Emptiness, Method::Drift, Method::SingleNode] {
        for (pool, allowance) in disruption::allowances(sight.snapshot, method, now) {
            let own = || labels([("nodepool", &*pool), ("reason", method.reason())]);
            gauges.set(&family::POOL_ALLOWED, own(), f64::from(allowance.allowed));
            gauges.set(&family::POOL_CONSUMING, own(), f64::from(allowance.disrupting));
        }
    }
}

/// Dollars per hour of the pool's NodeClaims that have a machine, by their offerings' present price.
fn cost(world: &World, sight: &Sight<'_>, pool: &str) -> f64 {
    let Some(types) = sight.offerings.get(pool) else { return 0.0 };
    let own = world.index.claims().filter(|claim| label(&***claim, names::NODEPOOL) == pool && crate::world::provider_id(claim).is_some());
    own.filter_map(|claim| {
        let of = |name: &str| label(&**claim, name);
        let kind = types.iter().find(|kind| *kind.name == *of(names::INSTANCE_TYPE))?;
        let offered = kind.offerings.iter().find(|o| *o.zone == *of(names::ZONE) && o.capacity_type.as_str() == of(names::CAPACITY_TYPE));
        offered.map(|offering| offering.price.dollars())
    })
    .sum()
}

fn types(gauges: &mut Store, sight: &Sight<'_>) {
    let mut available: BTreeMap<Labels, bool> = BTreeMap::new();
    for kind in sight.types.iter().flat_map(|types| types.iter()) {
        let raw = |name: &str| {
            let values = &kind.requirements.get(name)?.values;
            values.iter().next()?.parse::<f64>().ok()
        };
        let own = || labels([("instance_type", &*kind.name)]);
        if let Some(cores) = raw("karpenter.k8s.aws/instance-cpu") {
            gauges.set(&family::TYPE_CORES, own(), cores);
        }
        if let Some(mebibytes) = raw("karpenter.k8s.aws/instance-memory") {
            gauges.set(&family::TYPE_MEMORY, own(), mebibytes * 1024.0 * 1024.0);
        }
        for offering in &kind.offerings {
            let own =
                labels([("instance_type", &*kind.name), ("capacity_type", offering.capacity_type.as_str()), ("zone", &*offering.zone)]);
            gauges.set(&family::OFFERING_PRICE, own.clone(), offering.price.dollars());
            *available.entry(own).or_default() |= offering.available;
        }
    }
    for (own, is) in available {
        gauges.set(&family::OFFERING_AVAILABLE, own, if is { 1.0 } else { 0.0 });
    }
}

fn conditions(gauges: &mut Store, world: &World, now: Timestamp) {
    let mut of = |families: &Conditions, kind: Option<(&str, &str)>, meta: &ObjectMeta, list: &[Seen<'_>], more: &Labels| {
        let own = [("name", meta.name.as_deref().unwrap_or("")), ("namespace", meta.namespace.as_deref().unwrap_or(""))];
        let mut set = |family: &Family, any: &Family, own: Labels, value: f64| {
            gauges.set(family, joined(own.clone(), more), value);
            if let Some(kind) = kind {
                gauges.set(any, of_kind(own, kind), value);
            }
        };
        for condition in list {
            let [name, namespace] = own;
            let own = labels([name, namespace, ("type", condition.kind), ("status", condition.status), ("reason", condition.reason)]);
            set(&families.count, &family::ANY.count, own.clone(), 1.0);
            if let Some(since) = condition.since {
                set(&families.current, &family::ANY.current, own, seconds(since, now));
            }
        }
        if let Some(deleted) = &meta.deletion_timestamp {
            set(&families.terminating, &family::ANY.terminating, labels(own), seconds(deleted.0, now));
        }
    };
    for claim in world.index.claims() {
        let list = seen(crate::world::conditions(claim));
        of(&family::NODE_CLAIM, Some(("NodeClaim", "karpenter.sh")), &claim.metadata, &list, &claim_labels(claim));
    }
    for node in world.index.nodes() {
        of(&family::NODE, None, &node.metadata, &of_node(node), &node_labels(node));
    }
    for pool in world.index.pools() {
        let list = pool.status.as_ref().map(|s| seen(&s.conditions)).unwrap_or_default();
        of(&family::NODE_POOL, Some(("NodePool", "karpenter.sh")), &pool.metadata, &list, &Vec::new());
    }
    for class in world.index.classes() {
        let list = class.status.as_ref().map(|s| seen(&s.conditions)).unwrap_or_default();
        of(&family::NODE_CLASS, Some(("EC2NodeClass", "karpenter.k8s.aws")), &class.metadata, &list, &Vec::new());
    }
}

fn snake(resource: &str) -> String {
    resource.to_lowercase().replace('-', "_")
}

/// Cores, or whole units of anything else.
#[expect(clippy::cast_precision_loss, reason = "the format's numbers are floats")]
fn units(resource: &str, amount: i64) -> f64 {
    if resource == resources::CPU { amount as f64 / 1000.0 } else { amount as f64 }
}

fn count(of: usize) -> f64 {
    u32::try_from(of).map_or(f64::MAX, f64::from)
}
