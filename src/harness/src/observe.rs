//! Sees what happens: watches the cluster as any client could, so that every mode and every controller is seen with the same eyes.

use crate::acts::{History, Look, Stamp};
use crate::check::Guard;
use crate::invariants::Watch;
use crate::report::NodeLine;
use crate::said::Said;
use crate::scenario::Nodes;
use crate::timeline::{Event, Timeline};
use ambient::Clock;
use api::{EC2NodeClass, NodeClaim, NodePool, condition};
use futures::{StreamExt, stream::SelectAll};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// What is known of the cluster now, and what happened on the way.
pub struct Observed {
    pub pods: BTreeMap<(String, String), PodSeen>,
    pub nodes: BTreeMap<String, NodeSeen>,
    pub claims: BTreeMap<String, ClaimSeen>,
    pub timeline: Timeline,
    /// NodeClaims ever created, and nodes ever tainted as disrupted.
    pub launches: u64,
    pub disruptions: u64,
    /// Every pod that became ready: when it was created and when it was ready.
    pub became_ready: Vec<(Timestamp, Timestamp)>,
    /// The same of NodeClaims: created and initialized.
    pub became_initialized: Vec<(Timestamp, Timestamp)>,
    /// What was seen of NodeClaims, from which the autoscaler's acts are told.
    pub history: History,
    /// How many changes were seen.
    pub order: u64,
    /// Pods of workloads that were evicted, and pods whose node went away under them: namespace and name.
    pub evicted: Vec<(String, String)>,
    pub lost: Vec<(String, String)>,
    /// What the autoscaler said.
    pub said: Said,
    /// Uids of those.
    counted: BTreeSet<(&'static str, String)>,
    /// Watches over what must never be, while a step runs.
    pub guard: Option<Guard>,
    /// Watches over what always holds.
    pub watch: Watch,
    /// Kinds whose first list has not arrived yet.
    waiting: BTreeSet<&'static str>,
}

#[derive(Clone, Debug)]
pub struct PodSeen {
    pub uid: String,
    /// `namespace/name` of the workload: a Deployment's pods under the Deployment's name.
    pub owner: String,
    /// Of a DaemonSet or in `kube-system`: not what a scenario is about.
    pub system: bool,
    pub created: Timestamp,
    pub node: Option<String>,
    pub ready: bool,
    pub terminating: bool,
    pub finished: bool,
    /// Why the node autoscaler does not help, from its events.
    pub refused: Option<String>,
}

#[derive(Clone, Debug)]
pub struct NodeSeen {
    pub pool: Option<String>,
    pub instance_type: String,
    pub capacity_type: Option<String>,
    pub zone: Option<String>,
    /// `i-…`, by its provider ID.
    pub instance: Option<String>,
    pub ready: bool,
    pub disrupted: bool,
    pub deleting: bool,
    pub cpu: String,
    pub memory: String,
    pub pods: String,
}

#[derive(Clone, Debug)]
pub struct ClaimSeen {
    pub pool: Option<String>,
    pub created: Timestamp,
    pub launched: bool,
    pub registered: bool,
    pub initialized: bool,
    pub deleting: bool,
    pub node: String,
    pub allocatable: BTreeMap<String, String>,
}

/// A shared view of [`Observed`].
#[derive(Clone)]
pub struct Observer {
    shared: Arc<Mutex<Observed>>,
    clock: Clock,
}

#[expect(clippy::large_enum_variant, reason = "one at a time, from the stream into the state")]
pub enum Seen {
    Pod(watcher::Event<core::Pod>),
    Node(watcher::Event<core::Node>),
    Claim(watcher::Event<NodeClaim>),
    Event(watcher::Event<core::Event>),
    Pool(watcher::Event<NodePool>),
    Class(watcher::Event<EC2NodeClass>),
    Budget(watcher::Event<PodDisruptionBudget>),
}

impl Observer {
    pub fn new(clock: Clock) -> Self {
        let observed = Observed {
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            claims: BTreeMap::new(),
            timeline: Timeline::new(clock.now()),
            launches: 0,
            disruptions: 0,
            became_ready: Vec::new(),
            became_initialized: Vec::new(),
            history: History::default(),
            order: 0,
            evicted: Vec::new(),
            lost: Vec::new(),
            said: Said::default(),
            counted: BTreeSet::new(),
            guard: None,
            watch: Watch::default(),
            waiting: BTreeSet::from(["pods", "nodes", "nodeclaims"]),
        };
        Observer { shared: Arc::new(Mutex::new(observed)), clock }
    }

    pub fn lock(&self) -> MutexGuard<'_, Observed> {
        self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn note(&self, event: Event, because: Vec<String>) {
        let now = self.clock.now();
        self.lock().timeline.push(now, event, because);
    }

    /// The account's machines have changed.
    pub fn machines(&self, machines: impl Iterator<Item = (String, crate::invariants::Machine)>) {
        let now = self.clock.now();
        self.lock().watch.machines(now, machines);
    }

    /// A machine is off: what still runs on it is lost.
    pub fn machine_ended(&self, instance: &str) {
        let now = self.clock.now();
        let mut observed = self.lock();
        let node = observed.nodes.iter().find(|(_, node)| node.instance.as_deref() == Some(instance)).map(|(name, _)| name.clone());
        if let Some(node) = node {
            observed.lose(now, &node);
            observed.look_out(now);
        }
    }

    /// Watches until dropped.
    pub async fn run(self, client: Client) {
        fn stream<K>(api: Api<K>, wrap: fn(watcher::Event<K>) -> Seen) -> futures::stream::BoxStream<'static, Seen>
        where
            K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
        {
            watcher(api, watcher::Config::default()).filter_map(move |event| async move { event.ok().map(wrap) }).boxed()
        }
        let mut all = SelectAll::new();
        all.push(stream(Api::all(client.clone()), Seen::Node));
        all.push(stream(Api::all(client.clone()), Seen::Claim));
        all.push(stream(Api::all(client.clone()), Seen::Pod));
        all.push(stream(Api::all(client.clone()), Seen::Event));
        all.push(stream(Api::all(client.clone()), Seen::Pool));
        all.push(stream(Api::all(client.clone()), Seen::Class));
        all.push(stream(Api::all(client), Seen::Budget));
        while let Some(seen) = all.next().await {
            let now = self.clock.now();
            self.lock().see(now, seen);
        }
    }
}

impl Observed {
    fn see(&mut self, now: Timestamp, seen: Seen) {
        self.order += 1;
        self.watch.see(now, &seen);
        self.take(now, seen);
        self.look_out(now);
    }

    fn look_out(&mut self, now: Timestamp) {
        if let Some(mut guard) = self.guard.take() {
            guard.look(now, self);
            self.guard = Some(guard);
        }
    }

    fn stamp(&self, at: Timestamp) -> Stamp {
        Stamp { order: self.order, at }
    }

    fn take(&mut self, now: Timestamp, seen: Seen) {
        match seen {
            Seen::Pod(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => self.pod(now, &pod),
            Seen::Pod(watcher::Event::Delete(pod)) => self.pod_gone(now, &pod),
            Seen::Node(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) => self.node(now, &node),
            Seen::Node(watcher::Event::Delete(node)) => {
                let name = node.name_any();
                self.lose(now, &name);
                self.nodes.remove(&name);
                self.timeline.push(now, Event::NodeGone { node: name }, Vec::new());
            }
            Seen::Claim(watcher::Event::Apply(claim) | watcher::Event::InitApply(claim)) => self.claim(now, &claim),
            Seen::Claim(watcher::Event::Delete(claim)) => {
                let name = claim.name_any();
                self.claims.remove(&name);
                self.history.gone(self.stamp(now), &name);
                self.timeline.push(now, Event::ClaimGone { claim: name }, Vec::new());
            }
            Seen::Event(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) => self.event(now, &event),
            Seen::Pod(watcher::Event::InitDone) => _ = self.waiting.remove("pods"),
            Seen::Node(watcher::Event::InitDone) => _ = self.waiting.remove("nodes"),
            Seen::Claim(watcher::Event::InitDone) => _ = self.waiting.remove("nodeclaims"),
            Seen::Pod(_) | Seen::Node(_) | Seen::Claim(_) | Seen::Event(_) => {}
            Seen::Pool(watcher::Event::Apply(pool) | watcher::Event::InitApply(pool)) => {
                let status = pool.status.as_ref();
                self.said.conditions("NodePool", &pool.name_any(), status.map(|s| s.conditions.as_slice()).unwrap_or_default());
            }
            Seen::Class(watcher::Event::Apply(class) | watcher::Event::InitApply(class)) => {
                let status = class.status.as_ref();
                self.said.conditions("EC2NodeClass", &class.name_any(), status.map(|s| s.conditions.as_slice()).unwrap_or_default());
            }
            // For those who watch over what always holds.
            Seen::Pool(_) | Seen::Class(_) | Seen::Budget(_) => {}
        }
    }

    fn pod(&mut self, now: Timestamp, pod: &core::Pod) {
        let key = (pod.namespace().unwrap_or_default(), pod.name_any());
        let uid = pod.uid().unwrap_or_default();
        let status = pod.status.as_ref();
        let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
        let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let before = self.pods.get(&key).filter(|seen| seen.uid == uid).cloned();
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone());
        let terminating = pod.metadata.deletion_timestamp.is_some();
        let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True") && !terminating;
        let evicted = conditions.iter().any(|c| c.type_ == "DisruptionTarget" && c.reason.as_deref() == Some("EvictionByEvictionAPI"));
        let (owner, daemon) = owner(pod);
        let seen = PodSeen {
            uid,
            system: daemon || key.0 == "kube-system",
            created: before.as_ref().map_or(now, |b| b.created),
            ready,
            terminating,
            finished: matches!(phase, "Succeeded" | "Failed"),
            refused: before.as_ref().and_then(|b| b.refused.clone()).filter(|_| node.is_none()),
            node,
            owner,
        };
        if !seen.system {
            if before.is_none() && seen.node.is_none() && !terminating {
                self.timeline.push(now, Event::PodsPending { owner: seen.owner.clone(), count: 1 }, Vec::new());
            }
            if ready && !before.as_ref().is_some_and(|b| b.ready) {
                // Ready again is no other pod.
                if self.counted.insert(("ready", seen.uid.clone())) {
                    self.became_ready.push((seen.created, now));
                }
                self.timeline.push(
                    now,
                    Event::PodsReady { owner: seen.owner.clone(), node: seen.node.clone().unwrap_or_default(), count: 1 },
                    Vec::new(),
                );
            }
        }
        if evicted && !seen.system {
            self.evict(key.clone(), seen.uid.clone());
        }
        self.pods.insert(key, seen);
    }

    /// Pods of the scenario since then that are to run and were never ready.
    pub fn never_ready(&self, since: Timestamp) -> usize {
        let wait = |pod: &&PodSeen| {
            !pod.system && !pod.terminating && !pod.finished && pod.created >= since && !self.counted.contains(&("ready", pod.uid.clone()))
        };
        self.pods.values().filter(wait).count()
    }

    fn evict(&mut self, key: (String, String), uid: String) {
        if self.counted.insert(("evicted", uid)) {
            self.evicted.push(key);
        }
    }

    /// A node goes away: pods that still run on it, and that nobody has asked to end, are lost.
    fn lose(&mut self, now: Timestamp, node: &str) {
        let left =
            self.pods.iter().filter(|(_, pod)| !pod.system && !pod.terminating && !pod.finished && pod.node.as_deref() == Some(node));
        let left: Vec<_> = left.map(|(key, pod)| (key.clone(), pod.uid.clone(), pod.owner.clone())).collect();
        for (key, uid, owner) in left {
            if self.counted.insert(("lost", uid)) {
                self.lost.push(key);
                self.timeline.push(now, Event::PodsLost { owner, node: node.to_owned(), count: 1 }, Vec::new());
            }
        }
    }

    fn pod_gone(&mut self, now: Timestamp, pod: &core::Pod) {
        if let Some(seen) = self.pods.remove(&(pod.namespace().unwrap_or_default(), pod.name_any()))
            && !seen.system
        {
            self.timeline.push(now, Event::PodsGone { owner: seen.owner, count: 1 }, Vec::new());
        }
    }

    fn node(&mut self, now: Timestamp, node: &core::Node) {
        let name = node.name_any();
        let label = |key: &str| node.labels().get(key).cloned();
        let status = node.status.as_ref();
        let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let taints = node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
        let room = |resource: &str| status.and_then(|s| s.allocatable.as_ref()?.get(resource).map(|q| q.0.clone())).unwrap_or_default();
        let seen = NodeSeen {
            pool: label(vocabulary::labels::NODEPOOL),
            instance_type: label(vocabulary::labels::INSTANCE_TYPE).unwrap_or_default(),
            capacity_type: label(vocabulary::labels::CAPACITY_TYPE),
            zone: label(vocabulary::labels::ZONE),
            instance: node.spec.as_ref().and_then(|s| s.provider_id.as_deref()?.rsplit('/').next().map(str::to_owned)),
            ready: conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
            disrupted: taints.iter().any(|t| t.key == vocabulary::labels::DISRUPTED_TAINT),
            deleting: node.metadata.deletion_timestamp.is_some(),
            cpu: room("cpu"),
            memory: room("memory"),
            pods: room("pods"),
        };
        let before = self.nodes.get(&name);
        if seen.ready && !before.is_some_and(|b| b.ready) {
            self.timeline.push(now, Event::NodeReady { node: name.clone(), instance_type: seen.instance_type.clone() }, Vec::new());
        }
        if seen.disrupted && !before.is_some_and(|b| b.disrupted) {
            self.disruptions += 1;
            self.timeline.push(
                now,
                Event::NodeDisrupted { node: name.clone(), instance_type: seen.instance_type.clone(), command: None },
                Vec::new(),
            );
        }
        self.nodes.insert(name, seen);
    }

    fn claim(&mut self, now: Timestamp, claim: &NodeClaim) {
        let name = claim.name_any();
        let status = claim.status.clone().unwrap_or_default();
        let label = |key: &str| claim.labels().get(key).cloned().unwrap_or_default();
        let is = |kind: &str| condition::is_true(&status.conditions, kind);
        self.said.conditions("NodeClaim", &name, &status.conditions);
        let before = self.claims.get(&name).cloned();
        let pool = claim.labels().get(vocabulary::labels::NODEPOOL).cloned();
        if before.is_none() {
            self.launches += 1;
            let types = claim
                .spec
                .requirements
                .iter()
                .find(|r| r.key == vocabulary::labels::INSTANCE_TYPE)
                .map(|r| r.values.clone())
                .unwrap_or_default();
            self.timeline.push(now, Event::ClaimCreated { claim: name.clone(), pool: pool.clone().unwrap_or_default(), types }, Vec::new());
        }
        let seen = ClaimSeen {
            pool,
            created: before.as_ref().map_or(now, |b| b.created),
            launched: is("Launched"),
            registered: is("Registered"),
            initialized: is("Initialized"),
            deleting: claim.metadata.deletion_timestamp.is_some(),
            node: status.node_name.clone().unwrap_or_default(),
            allocatable: status.allocatable.iter().map(|(name, amount)| (name.clone(), amount.to_string())).collect(),
        };
        let look = Look {
            created: claim.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0),
            expire_after: claim.spec.expire_after.as_ref().and_then(|after| after.duration),
            launched: seen.launched,
            instance_type: label(vocabulary::labels::INSTANCE_TYPE),
            node: seen.node.clone(),
            reason: condition::find(&status.conditions, "DisruptionReason").filter(|c| c.is_true()).map(|c| c.reason.clone()),
            deleting: seen.deleting,
        };
        self.history.look(self.stamp(now), &name, look);
        let was = |f: fn(&ClaimSeen) -> bool| before.as_ref().is_some_and(f);
        let node = status.node_name.clone().unwrap_or_default();
        if seen.launched && !was(|b| b.launched) {
            let provider = status.provider_id.clone().unwrap_or_default();
            let instance = provider.rsplit('/').next().unwrap_or_default().to_owned();
            let event = Event::Launched {
                claim: name.clone(),
                instance,
                instance_type: label(vocabulary::labels::INSTANCE_TYPE),
                capacity_type: label(vocabulary::labels::CAPACITY_TYPE),
                zone: label(vocabulary::labels::ZONE),
                price: None,
            };
            self.timeline.push(now, event, Vec::new());
        }
        if seen.registered && !was(|b| b.registered) {
            self.timeline.push(now, Event::Registered { claim: name.clone(), node: node.clone() }, Vec::new());
        }
        if seen.initialized && !was(|b| b.initialized) {
            self.became_initialized.push((seen.created, now));
            self.timeline.push(now, Event::Initialized { claim: name.clone(), node }, Vec::new());
        }
        if seen.deleting && !was(|b| b.deleting) {
            self.timeline.push(now, Event::ClaimDeleted { claim: name.clone() }, Vec::new());
        }
        self.claims.insert(name, seen);
    }

    /// The autoscaler's word on a pod or a NodeClaim. kube-scheduler's own `FailedScheduling` says nothing of NodePools and is not meant.
    fn event(&mut self, now: Timestamp, event: &core::Event) {
        let source = event.source.as_ref().and_then(|s| s.component.as_deref()).or(event.reporting_component.as_deref()).unwrap_or("");
        if source != "karpenter" {
            return;
        }
        self.said.event(event);
        let object = &event.involved_object;
        let key = (object.namespace.clone().unwrap_or_default(), object.name.clone().unwrap_or_default());
        let message = event.message.clone().unwrap_or_default();
        match (object.kind.as_deref(), event.reason.as_deref()) {
            (Some("NodeClaim"), Some(reason)) => self.history.event(self.stamp(now), &key.1, reason, &message),
            (Some("Pod"), Some("Evicted")) if self.pods.get(&key).is_some_and(|pod| !pod.system) => {
                self.evict(key, object.uid.clone().unwrap_or_default());
            }
            (_, Some("FailedScheduling")) => self.refused(now, &key, message),
            _ => {}
        }
    }

    fn refused(&mut self, now: Timestamp, key: &(String, String), message: String) {
        if let Some(pod) = self.pods.get_mut(key)
            && pod.node.is_none()
            && pod.refused.as_ref() != Some(&message)
        {
            pod.refused = Some(message.clone());
            let owner = pod.owner.clone();
            self.timeline.push(now, Event::PodsRefused { owner, count: 1, reason: message }, Vec::new());
        }
    }

    /// Nodes that a selector means, by name, those that are leaving left out; with their machines' ids.
    pub fn choose(&self, wanted: &Nodes) -> Vec<(String, Option<String>)> {
        let meant = |node: &NodeSeen| {
            !node.deleting && wanted.want(node.pool.as_deref(), &node.instance_type, node.zone.as_deref(), node.capacity_type.as_deref())
        };
        self.nodes.iter().filter(|(_, node)| meant(node)).map(|(name, node)| (name.clone(), node.instance.clone())).collect()
    }

    /// Whether every kind has been listed once.
    pub fn synced(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The pools' nodes, in order of type and zone.
    pub fn pool_nodes(&self) -> Vec<NodeLine> {
        let mut lines: Vec<NodeLine> = self
            .nodes
            .iter()
            .filter_map(|(name, node)| {
                let claim = self.claims.values().find(|c| c.node == *name);
                Some(NodeLine {
                    pool: node.pool.clone()?,
                    instance_type: node.instance_type.clone(),
                    capacity_type: node.capacity_type.clone().unwrap_or_default(),
                    zone: node.zone.clone().unwrap_or_default(),
                    claim_allocatable: claim.map(|c| c.allocatable.clone()).unwrap_or_default(),
                    node_allocatable: [node.cpu.clone(), node.memory.clone(), node.pods.clone()],
                    pods: self.pods.values().filter(|p| !p.system && p.node.as_ref() == Some(name)).count(),
                })
            })
            .collect();
        lines.sort();
        lines
    }

    /// What always holds, a verdict a rule.
    pub fn invariants(&self, without: &BTreeMap<crate::invariants::Rule, String>) -> Vec<crate::check::Verdict> {
        self.watch.verdicts(&self.history.acts(self.timeline.start()), self.timeline.start(), without)
    }

    /// What could still move, as far as objects tell: for worlds whose controller cannot be asked.
    pub fn moving(&self) -> Vec<String> {
        let claims =
            self.claims.iter().filter(|(_, c)| c.deleting || !c.initialized).map(|(name, _)| format!("NodeClaim {name} is on its way"));
        let nodes =
            self.nodes.iter().filter(|(_, n)| n.deleting || !n.ready).map(|(name, _)| format!("node {name} is not ready or leaving"));
        let pods = self.pods.iter().filter(|(_, p)| p.terminating || (p.node.is_some() && !p.ready && !p.finished));
        claims.chain(nodes).chain(pods.map(|((namespace, name), _)| format!("pod {namespace}/{name} is starting or ending"))).collect()
    }
}

/// The workload of a pod and whether it is a DaemonSet's: a ReplicaSet's hash is cut off, so that a Deployment's pods bear its name.
fn owner(pod: &core::Pod) -> (String, bool) {
    let namespace = pod.namespace().unwrap_or_default();
    let Some(owner) = pod.owner_references().iter().find(|o| o.controller == Some(true)) else {
        return (format!("{namespace}/{}", pod.name_any()), false);
    };
    let hash = pod.labels().get("pod-template-hash").map(|hash| format!("-{hash}"));
    let name = hash.and_then(|hash| owner.name.strip_suffix(&hash)).unwrap_or(&owner.name);
    (format!("{namespace}/{name}"), owner.kind == "DaemonSet")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Facts, check};
    use crate::scenario::{Aggregate, Compare, Expectation, LatencyOf, Placed};
    use jiff::SignedDuration;
    use serde_json::json;

    #[test]
    fn pods_that_are_never_ready_are_late() {
        let start = Timestamp::UNIX_EPOCH;
        let pod = |name: &str, ready: bool| -> core::Pod {
            let status = if ready { "True" } else { "False" };
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": {"containers": []},
                "status": {"conditions": [{"type": "Ready", "status": status}]}}))
            .expect("a pod")
        };
        let at = |seconds: i64| start + SignedDuration::from_secs(seconds);
        let observer = Observer::new(Clock::virtual_from(start));
        let mut observed = observer.lock();
        let judge = |observed: &Observed, aggregate: Aggregate| {
            let bound = SignedDuration::from_secs(60);
            let value = Expectation::Latency { of: LatencyOf::PodReady, aggregate, compare: Compare::Less, bound };
            let facts = Facts { since: start, latency_factor: 1.0, ..Facts::default() };
            check(&Placed { value, text: String::new(), line: 1 }, observed, &facts)
        };
        for name in ["a", "b"] {
            observed.pod(start, &pod(name, false));
        }
        observed.pod(at(20), &pod("a", true));
        let verdict = judge(&observed, Aggregate::Max);
        assert!(!verdict.held && verdict.seen.contains("1 pods never ready"), "{verdict:?}");
        assert!(judge(&observed, Aggregate::Percentile(50)).held);
        observed.pod(at(30), &pod("b", true));
        assert!(judge(&observed, Aggregate::Max).held);
        observed.pod(at(40), &pod("b", false));
        observed.pod(at(400), &pod("b", true));
        assert!(judge(&observed, Aggregate::Max).held, "ready again is not ready late");
    }
}
