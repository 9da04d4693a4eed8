//! Takes changes, hands out snapshots. Only what a change touched is converted anew; everything else is shared.

use crate::machine::{self, Parts};
use crate::store::{Key, Replaced, Store};
use crate::volumes::{self, Storage};
use crate::{daemon, pod, pod_budget, pool};
use api::{EC2NodeClass, NodeClaim, NodeOverlay, NodePool};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use planner::Snapshot;
use planner::input::{Daemon, Namespace, Node, Pod, PodBudget, Pool};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vocabulary::Resources;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Pod,
    Node,
    NodeClaim,
    NodePool,
    EC2NodeClass,
    DaemonSet,
    PodDisruptionBudget,
    Namespace,
    PersistentVolumeClaim,
    PersistentVolume,
    StorageClass,
    CSINode,
    /// Watched only where the gate `NodeOverlay` is on.
    NodeOverlay,
}

impl Kind {
    pub const ALL: [Kind; 13] = [
        Kind::Pod,
        Kind::Node,
        Kind::NodeClaim,
        Kind::NodePool,
        Kind::EC2NodeClass,
        Kind::DaemonSet,
        Kind::PodDisruptionBudget,
        Kind::Namespace,
        Kind::PersistentVolumeClaim,
        Kind::PersistentVolume,
        Kind::StorageClass,
        Kind::CSINode,
        Kind::NodeOverlay,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Pod => "Pod",
            Kind::Node => "Node",
            Kind::NodeClaim => "NodeClaim",
            Kind::NodePool => "NodePool",
            Kind::EC2NodeClass => "EC2NodeClass",
            Kind::DaemonSet => "DaemonSet",
            Kind::PodDisruptionBudget => "PodDisruptionBudget",
            Kind::Namespace => "Namespace",
            Kind::PersistentVolumeClaim => "PersistentVolumeClaim",
            Kind::PersistentVolume => "PersistentVolume",
            Kind::StorageClass => "StorageClass",
            Kind::CSINode => "CSINode",
            Kind::NodeOverlay => "NodeOverlay",
        }
    }
}

/// An object of a watched kind.
#[derive(Clone, Debug)]
pub enum Object {
    Pod(Arc<core::Pod>),
    Node(Arc<core::Node>),
    NodeClaim(Arc<NodeClaim>),
    NodePool(Arc<NodePool>),
    EC2NodeClass(Arc<EC2NodeClass>),
    DaemonSet(Arc<DaemonSet>),
    PodDisruptionBudget(Arc<PodDisruptionBudget>),
    Namespace(Arc<core::Namespace>),
    PersistentVolumeClaim(Arc<core::PersistentVolumeClaim>),
    PersistentVolume(Arc<core::PersistentVolume>),
    StorageClass(Arc<StorageClass>),
    CSINode(Arc<CSINode>),
    NodeOverlay(Arc<NodeOverlay>),
}

/// What a watch, or the reply to a write, says.
#[derive(Clone, Debug)]
pub enum Change {
    /// The watch lists anew.
    Init(Kind),
    Apply(Object),
    Delete(Object),
    /// The list is complete; what it did not hold is gone.
    InitDone(Kind),
}

/// What became different. Both `None` never happens.
#[derive(Clone, Debug)]
pub struct Touched {
    pub kind: Kind,
    pub key: Key,
    pub old: Option<Object>,
    pub new: Option<Object>,
}

/// A machine is known by its NodeClaim, or by its Node where there is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum MachineKey {
    Claim(Arc<str>),
    Node(Arc<str>),
}

type Names = BTreeMap<Arc<str>, BTreeSet<Arc<str>>>;

#[derive(Debug, Default)]
pub struct Index {
    pods: Store<core::Pod>,
    nodes: Store<core::Node>,
    claims: Store<NodeClaim>,
    pools: Store<NodePool>,
    classes: Store<EC2NodeClass>,
    daemon_sets: Store<DaemonSet>,
    pod_budgets: Store<PodDisruptionBudget>,
    namespaces: Store<core::Namespace>,
    volume_claims: Store<core::PersistentVolumeClaim>,
    volumes: Store<core::PersistentVolume>,
    storage_classes: Store<StorageClass>,
    csi_nodes: Store<CSINode>,
    overlays: Store<NodeOverlay>,
    expects_overlays: bool,

    /// Each with its planned form as long as it counts (`machine::counts`).
    pods_by_node: BTreeMap<Arc<str>, BTreeMap<Key, Option<Arc<Pod>>>>,
    nodes_by_provider: Names,
    claims_by_provider: Names,

    planned_pods: BTreeMap<Key, Arc<Pod>>,
    pending: BTreeSet<Key>,
    machines: BTreeMap<MachineKey, Arc<Node>>,
    dirty: BTreeSet<MachineKey>,
    planned_pools: BTreeMap<Arc<str>, Arc<Pool>>,
    daemons: BTreeMap<Key, Arc<Daemon>>,
    /// The pod that each DaemonSet made last, though it may be gone.
    newest_daemons: BTreeMap<Key, Arc<core::Pod>>,
    planned_budgets: BTreeMap<Key, Arc<PodBudget>>,
    planned_namespaces: BTreeMap<Key, Arc<Namespace>>,
    /// Pods by the claims of their volumes.
    pods_by_claim: BTreeMap<Key, BTreeSet<Key>>,

    nominations: BTreeMap<MachineKey, Timestamp>,
    marked: BTreeSet<Arc<str>>,
    /// Changes whenever a snapshot would.
    version: u64,
    churn: u64,
    /// Changes with every object, mark and nomination.
    revision: u64,
    last: Option<(u64, Arc<Snapshot>)>,
}

fn provider_of(node: &core::Node) -> Option<&str> {
    node.spec.as_ref()?.provider_id.as_deref().filter(|id| !id.is_empty())
}

fn provider_of_claim(claim: &NodeClaim) -> Option<&str> {
    claim.status.as_ref()?.provider_id.as_deref().filter(|id| !id.is_empty())
}

fn relate(names: &mut Names, old: Option<&str>, new: Option<&str>, name: &Arc<str>) {
    if old == new {
        return;
    }
    if let Some(old) = old
        && let Some(set) = names.get_mut(old)
    {
        set.remove(name);
        if set.is_empty() {
            names.remove(old);
        }
    }
    if let Some(new) = new {
        names.entry(new.into()).or_default().insert(name.clone());
    }
}

impl Index {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one change; what it made different, in order of names.
    pub fn change(&mut self, change: Change) -> Vec<Touched> {
        match change {
            Change::Init(kind) => {
                self.begin(kind);
                Vec::new()
            }
            Change::InitDone(kind) => self.end(kind),
            Change::Apply(object) => self.apply(object).into_iter().collect(),
            Change::Delete(object) => self.delete(&object).into_iter().collect(),
        }
    }

    fn begin(&mut self, kind: Kind) {
        self.revision += 1;
        match kind {
            Kind::Pod => self.pods.begin(),
            Kind::Node => self.nodes.begin(),
            Kind::NodeClaim => self.claims.begin(),
            Kind::NodePool => self.pools.begin(),
            Kind::EC2NodeClass => self.classes.begin(),
            Kind::DaemonSet => self.daemon_sets.begin(),
            Kind::PodDisruptionBudget => self.pod_budgets.begin(),
            Kind::Namespace => self.namespaces.begin(),
            Kind::PersistentVolumeClaim => self.volume_claims.begin(),
            Kind::PersistentVolume => self.volumes.begin(),
            Kind::StorageClass => self.storage_classes.begin(),
            Kind::CSINode => self.csi_nodes.begin(),
            Kind::NodeOverlay => self.overlays.begin(),
        }
    }

    fn end(&mut self, kind: Kind) -> Vec<Touched> {
        self.revision += 1;
        match kind {
            Kind::Pod => self.pods.end().into_iter().map(|r| self.pod_changed(r)).collect(),
            Kind::Node => self.nodes.end().into_iter().map(|r| self.node_changed(r)).collect(),
            Kind::NodeClaim => self.claims.end().into_iter().map(|r| self.claim_changed(r)).collect(),
            Kind::NodePool => self.pools.end().into_iter().map(|r| self.pool_changed(r)).collect(),
            Kind::EC2NodeClass => self.classes.end().into_iter().map(|r| self.class_changed(r)).collect(),
            Kind::DaemonSet => self.daemon_sets.end().into_iter().map(|r| self.daemon_changed(r)).collect(),
            Kind::PodDisruptionBudget => self.pod_budgets.end().into_iter().map(|r| self.budget_changed(r)).collect(),
            Kind::Namespace => self.namespaces.end().into_iter().map(|r| self.namespace_changed(r)).collect(),
            Kind::PersistentVolumeClaim => self.volume_claims.end().into_iter().map(|r| self.volume_claim_changed(r)).collect(),
            Kind::PersistentVolume => self.volumes.end().into_iter().map(|r| self.volume_changed(r)).collect(),
            Kind::StorageClass => self.storage_classes.end().into_iter().map(|r| self.storage_class_changed(r)).collect(),
            Kind::CSINode => self.csi_nodes.end().into_iter().map(|r| self.csi_node_changed(r)).collect(),
            Kind::NodeOverlay => self.overlays.end().into_iter().map(|r| self.overlay_changed(r)).collect(),
        }
    }

    /// `None` when the object is not newer than what is known, or not ours to manage.
    pub fn apply(&mut self, object: Object) -> Option<Touched> {
        self.revision += 1;
        match object {
            Object::Pod(o) => self.pods.apply(Arc::unwrap_or_clone(o)).map(|r| self.pod_changed(r)),
            Object::Node(o) => self.nodes.apply(Arc::unwrap_or_clone(o)).map(|r| self.node_changed(r)),
            Object::NodeClaim(o) if pool::is_ours(&o.spec.node_class_ref) => {
                self.claims.apply(Arc::unwrap_or_clone(o)).map(|r| self.claim_changed(r))
            }
            Object::NodePool(o) if pool::is_ours(&o.spec.template.spec.node_class_ref) => {
                self.pools.apply(Arc::unwrap_or_clone(o)).map(|r| self.pool_changed(r))
            }
            Object::NodeClaim(_) | Object::NodePool(_) => None,
            Object::EC2NodeClass(o) => self.classes.apply(Arc::unwrap_or_clone(o)).map(|r| self.class_changed(r)),
            Object::DaemonSet(o) => self.daemon_sets.apply(Arc::unwrap_or_clone(o)).map(|r| self.daemon_changed(r)),
            Object::PodDisruptionBudget(o) => self.pod_budgets.apply(Arc::unwrap_or_clone(o)).map(|r| self.budget_changed(r)),
            Object::Namespace(o) => self.namespaces.apply(Arc::unwrap_or_clone(o)).map(|r| self.namespace_changed(r)),
            Object::PersistentVolumeClaim(o) => self.volume_claims.apply(Arc::unwrap_or_clone(o)).map(|r| self.volume_claim_changed(r)),
            Object::PersistentVolume(o) => self.volumes.apply(Arc::unwrap_or_clone(o)).map(|r| self.volume_changed(r)),
            Object::StorageClass(o) => self.storage_classes.apply(Arc::unwrap_or_clone(o)).map(|r| self.storage_class_changed(r)),
            Object::CSINode(o) => self.csi_nodes.apply(Arc::unwrap_or_clone(o)).map(|r| self.csi_node_changed(r)),
            Object::NodeOverlay(o) => self.overlays.apply(Arc::unwrap_or_clone(o)).map(|r| self.overlay_changed(r)),
        }
    }

    pub fn delete(&mut self, object: &Object) -> Option<Touched> {
        self.revision += 1;
        match object {
            Object::Pod(o) => self.pods.delete(o).map(|r| self.pod_changed(r)),
            Object::Node(o) => self.nodes.delete(o).map(|r| self.node_changed(r)),
            Object::NodeClaim(o) => self.claims.delete(o).map(|r| self.claim_changed(r)),
            Object::NodePool(o) => self.pools.delete(o).map(|r| self.pool_changed(r)),
            Object::EC2NodeClass(o) => self.classes.delete(o).map(|r| self.class_changed(r)),
            Object::DaemonSet(o) => self.daemon_sets.delete(o).map(|r| self.daemon_changed(r)),
            Object::PodDisruptionBudget(o) => self.pod_budgets.delete(o).map(|r| self.budget_changed(r)),
            Object::Namespace(o) => self.namespaces.delete(o).map(|r| self.namespace_changed(r)),
            Object::PersistentVolumeClaim(o) => self.volume_claims.delete(o).map(|r| self.volume_claim_changed(r)),
            Object::PersistentVolume(o) => self.volumes.delete(o).map(|r| self.volume_changed(r)),
            Object::StorageClass(o) => self.storage_classes.delete(o).map(|r| self.storage_class_changed(r)),
            Object::CSINode(o) => self.csi_nodes.delete(o).map(|r| self.csi_node_changed(r)),
            Object::NodeOverlay(o) => self.overlays.delete(o).map(|r| self.overlay_changed(r)),
        }
    }

    fn pod_changed(&mut self, change: Replaced<core::Pod>) -> Touched {
        let Replaced { key, old, new } = change;
        let nodes = [&old, &new].map(|pod| pod.as_deref().and_then(pod::node_name).map(Arc::<str>::from));
        if nodes[0] != nodes[1]
            && let Some(was) = &nodes[0]
            && let Some(set) = self.pods_by_node.get_mut(was)
        {
            set.remove(&key);
            if set.is_empty() {
                self.pods_by_node.remove(was);
            }
        }
        let bound = new.as_deref().is_some_and(|pod| nodes[1].is_some() && !pod::is_terminal(pod));
        if new.is_none() || bound && nodes[0] != nodes[1] {
            self.churn += 1;
        }
        self.relate_claims(&key, old.as_deref(), new.as_deref());
        if old.is_none()
            && let Some(pod) = &new
        {
            self.daemon_pod_came(pod);
        }
        let planned = new.as_deref().map(|pod| self.planned(pod));
        let provisionable = new.as_deref().is_some_and(pod::is_provisionable);
        let same = planned.as_ref() == self.planned_pods.get(&key).map(|p| &**p);
        if !same {
            match planned {
                Some(planned) => self.planned_pods.insert(key.clone(), Arc::new(planned)),
                None => self.planned_pods.remove(&key),
            };
        }
        if let Some(is) = &nodes[1] {
            let counted = self.planned_pods.get(&key).filter(|pod| machine::counts(pod)).cloned();
            self.pods_by_node.entry(is.clone()).or_default().insert(key.clone(), counted);
        }
        let was_pending = if provisionable { !self.pending.insert(key.clone()) } else { self.pending.remove(&key) };
        if was_pending != provisionable || (provisionable && !same) {
            self.version += 1;
        }
        if !same || nodes[0] != nodes[1] {
            for node in nodes.into_iter().flatten() {
                self.touch_node(&node);
            }
        }
        Touched { kind: Kind::Pod, key, old: old.map(Object::Pod), new: new.map(Object::Pod) }
    }

    /// The pod in the planner's words, with what its volumes mean.
    fn planned(&self, pod: &core::Pod) -> Pod {
        let mut planned = pod::convert(pod, Timestamp::UNIX_EPOCH);
        let claims = volumes::claims(pod);
        if !claims.is_empty() {
            planned.volumes = volumes::resolve(&claims, self);
        }
        planned
    }

    fn relate_claims(&mut self, key: &Key, old: Option<&core::Pod>, new: Option<&core::Pod>) {
        let [old, new] = [old, new].map(|pod| pod.map(volumes::claims).unwrap_or_default());
        for claim in old.iter().filter(|claim| !new.contains(claim)) {
            if let Some(pods) = self.pods_by_claim.get_mut(claim) {
                pods.remove(key);
                if pods.is_empty() {
                    self.pods_by_claim.remove(claim);
                }
            }
        }
        for claim in new {
            self.pods_by_claim.entry(claim).or_default().insert(key.clone());
        }
    }

    /// Looks again at pods whose volumes may mean something else now.
    fn replan(&mut self, pods: BTreeSet<Key>) {
        for key in pods {
            let Some(pod) = self.pods.get(&key).cloned() else { continue };
            let planned = self.planned(&pod);
            if self.planned_pods.get(&key).is_some_and(|known| **known == planned) {
                continue;
            }
            let planned = Arc::new(planned);
            self.planned_pods.insert(key.clone(), planned.clone());
            if self.pending.contains(&key) {
                self.version += 1;
            }
            if let Some(node) = pod::node_name(&pod).map(Arc::<str>::from) {
                if let Some(Some(room)) = self.pods_by_node.get_mut(&node).and_then(|pods| pods.get_mut(&key)) {
                    *room = planned;
                }
                self.touch_node(&node);
            }
        }
    }

    fn touch_node(&mut self, name: &Arc<str>) {
        let key = Key::new("", name);
        let provider = self.nodes.get(&key).and_then(|node| provider_of(node)).map(Arc::<str>::from);
        let claims: Vec<Arc<str>> = provider.and_then(|id| self.claims_by_provider.get(&id)).into_iter().flatten().cloned().collect();
        self.dirty.insert(MachineKey::Node(name.clone()));
        self.dirty.extend(claims.into_iter().map(MachineKey::Claim));
    }

    fn node_changed(&mut self, change: Replaced<core::Node>) -> Touched {
        let Replaced { key, old, new } = change;
        let name = key.name.clone();
        self.touch_claims_of(old.as_deref().and_then(provider_of));
        relate(&mut self.nodes_by_provider, old.as_deref().and_then(provider_of), new.as_deref().and_then(provider_of), &name);
        self.touch_node(&name);
        Touched { kind: Kind::Node, key, old: old.map(Object::Node), new: new.map(Object::Node) }
    }

    fn touch_claims_of(&mut self, provider: Option<&str>) {
        let claims = provider.and_then(|id| self.claims_by_provider.get(id)).into_iter().flatten().cloned().map(MachineKey::Claim);
        self.dirty.extend(claims);
    }

    fn claim_changed(&mut self, change: Replaced<NodeClaim>) -> Touched {
        let Replaced { key, old, new } = change;
        let name = key.name.clone();
        let ids = [old.as_deref().and_then(provider_of_claim), new.as_deref().and_then(provider_of_claim)];
        relate(&mut self.claims_by_provider, ids[0], ids[1], &name);
        self.dirty.insert(MachineKey::Claim(name.clone()));
        for id in ids.into_iter().flatten() {
            let nodes = self.nodes_by_provider.get(id).into_iter().flatten().cloned().map(MachineKey::Node);
            self.dirty.extend(nodes);
        }
        if new.is_none() {
            self.nominations.remove(&MachineKey::Claim(name.clone()));
            self.marked.remove(&name);
        }
        Touched { kind: Kind::NodeClaim, key, old: old.map(Object::NodeClaim), new: new.map(Object::NodeClaim) }
    }

    fn pool_changed(&mut self, change: Replaced<NodePool>) -> Touched {
        let Replaced { key, old, new } = change;
        let planned = new.as_deref().map(pool::convert);
        if new.is_some() && new.as_ref().and_then(|pool| pool.metadata.generation) != old.as_ref().and_then(|pool| pool.metadata.generation)
        {
            self.churn += 1;
        }
        if planned.as_ref() != self.planned_pools.get(&key.name).map(|p| &**p) {
            self.version += 1;
            match planned {
                Some(planned) => self.planned_pools.insert(key.name.clone(), Arc::new(planned)),
                None => self.planned_pools.remove(&key.name),
            };
        }
        Touched { kind: Kind::NodePool, key, old: old.map(Object::NodePool), new: new.map(Object::NodePool) }
    }

    fn overlay_changed(&mut self, change: Replaced<NodeOverlay>) -> Touched {
        let Replaced { key, old, new } = change;
        Touched { kind: Kind::NodeOverlay, key, old: old.map(Object::NodeOverlay), new: new.map(Object::NodeOverlay) }
    }

    /// Offerings are other ones now: a plan over the same snapshot may come out differently.
    pub fn offerings_changed(&mut self) {
        self.version += 1;
        self.churn += 1;
    }

    fn class_changed(&mut self, change: Replaced<EC2NodeClass>) -> Touched {
        let Replaced { key, old, new } = change;
        // Offerings depend on the class, so a plan over the same snapshot may come out differently.
        self.version += 1;
        Touched { kind: Kind::EC2NodeClass, key, old: old.map(Object::EC2NodeClass), new: new.map(Object::EC2NodeClass) }
    }

    fn daemon_changed(&mut self, change: Replaced<DaemonSet>) -> Touched {
        let Replaced { key, old, new } = change;
        if new.is_none() {
            self.newest_daemons.remove(&key);
        }
        self.plan_daemon(&key, new.as_deref());
        Touched { kind: Kind::DaemonSet, key, old: old.map(Object::DaemonSet), new: new.map(Object::DaemonSet) }
    }

    fn plan_daemon(&mut self, key: &Key, set: Option<&DaemonSet>) {
        let planned = set.map(|set| daemon::convert(set, self.newest_daemons.get(key).map(|pod| &**pod)));
        if planned.as_ref() != self.daemons.get(key).map(|d| &**d) {
            self.version += 1;
            match planned {
                Some(planned) => self.daemons.insert(key.clone(), Arc::new(planned)),
                None => self.daemons.remove(key),
            };
        }
    }

    /// Upstream looks for it when the DaemonSet changed, and every minute; here it counts at once.
    fn daemon_pod_came(&mut self, pod: &Arc<core::Pod>) {
        let Some((name, uid)) = daemon::controller(pod) else { return };
        let key = Key::new(pod.metadata.namespace.as_deref().unwrap_or_default(), name);
        let created = |pod: &core::Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let older = |known: &Arc<core::Pod>| daemon::controller(known).is_some_and(|(_, of)| of != uid) || created(known) < created(pod);
        if self.newest_daemons.get(&key).is_none_or(older) {
            self.newest_daemons.insert(key.clone(), pod.clone());
            if let Some(set) = self.daemon_sets.get(&key).cloned() {
                self.plan_daemon(&key, Some(&set));
            }
        }
    }

    fn budget_changed(&mut self, change: Replaced<PodDisruptionBudget>) -> Touched {
        let Replaced { key, old, new } = change;
        let planned = new.as_deref().map(pod_budget::convert);
        if planned.as_ref() != self.planned_budgets.get(&key).map(|b| &**b) {
            self.version += 1;
            match planned {
                Some(planned) => self.planned_budgets.insert(key.clone(), Arc::new(planned)),
                None => self.planned_budgets.remove(&key),
            };
        }
        let (old, new) = (old.map(Object::PodDisruptionBudget), new.map(Object::PodDisruptionBudget));
        Touched { kind: Kind::PodDisruptionBudget, key, old, new }
    }

    fn namespace_changed(&mut self, change: Replaced<core::Namespace>) -> Touched {
        let Replaced { key, old, new } = change;
        let labels = |n: &core::Namespace| pod::text_labels(n.metadata.labels.as_ref());
        let planned = new.as_deref().map(|n| Namespace { name: key.name.clone(), labels: labels(n) });
        if planned.as_ref() != self.planned_namespaces.get(&key).map(|n| &**n) {
            self.version += 1;
            match planned {
                Some(planned) => self.planned_namespaces.insert(key.clone(), Arc::new(planned)),
                None => self.planned_namespaces.remove(&key),
            };
        }
        Touched { kind: Kind::Namespace, key, old: old.map(Object::Namespace), new: new.map(Object::Namespace) }
    }

    fn volume_claim_changed(&mut self, change: Replaced<core::PersistentVolumeClaim>) -> Touched {
        let Replaced { key, old, new } = change;
        self.replan(self.pods_by_claim.get(&key).cloned().unwrap_or_default());
        let (old, new) = (old.map(Object::PersistentVolumeClaim), new.map(Object::PersistentVolumeClaim));
        Touched { kind: Kind::PersistentVolumeClaim, key, old, new }
    }

    fn volume_changed(&mut self, change: Replaced<core::PersistentVolume>) -> Touched {
        let Replaced { key, old, new } = change;
        self.replan(self.pods_by_claim.values().flatten().cloned().collect());
        let (old, new) = (old.map(Object::PersistentVolume), new.map(Object::PersistentVolume));
        Touched { kind: Kind::PersistentVolume, key, old, new }
    }

    fn storage_class_changed(&mut self, change: Replaced<StorageClass>) -> Touched {
        let Replaced { key, old, new } = change;
        self.replan(self.pods_by_claim.values().flatten().cloned().collect());
        Touched { kind: Kind::StorageClass, key, old: old.map(Object::StorageClass), new: new.map(Object::StorageClass) }
    }

    fn csi_node_changed(&mut self, change: Replaced<CSINode>) -> Touched {
        let Replaced { key, old, new } = change;
        self.touch_node(&key.name);
        Touched { kind: Kind::CSINode, key, old: old.map(Object::CSINode), new: new.map(Object::CSINode) }
    }

    // Questions.

    pub fn pod(&self, key: &Key) -> Option<&Arc<core::Pod>> {
        self.pods.get(key)
    }

    pub fn node(&self, name: &str) -> Option<&Arc<core::Node>> {
        self.nodes.get(&Key::new("", name))
    }

    pub fn claim(&self, name: &str) -> Option<&Arc<NodeClaim>> {
        self.claims.get(&Key::new("", name))
    }

    pub fn pool(&self, name: &str) -> Option<&Arc<NodePool>> {
        self.pools.get(&Key::new("", name))
    }

    pub fn class(&self, name: &str) -> Option<&Arc<EC2NodeClass>> {
        self.classes.get(&Key::new("", name))
    }

    pub fn claims(&self) -> impl Iterator<Item = &Arc<NodeClaim>> {
        self.claims.iter().map(|(_, claim)| claim)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Arc<core::Node>> {
        self.nodes.iter().map(|(_, node)| node)
    }

    pub fn pools(&self) -> impl Iterator<Item = &Arc<NodePool>> {
        self.pools.iter().map(|(_, pool)| pool)
    }

    pub fn overlays(&self) -> impl Iterator<Item = &Arc<NodeOverlay>> {
        self.overlays.iter().map(|(_, overlay)| overlay)
    }

    /// NodeOverlays are watched as well, and waited for.
    pub fn expect_overlays(&mut self) {
        self.expects_overlays = true;
    }

    pub fn classes(&self) -> impl Iterator<Item = &Arc<EC2NodeClass>> {
        self.classes.iter().map(|(_, class)| class)
    }

    /// Nodes of this provider id, in order of names.
    pub fn nodes_of(&self, provider_id: &str) -> Vec<&Arc<core::Node>> {
        self.nodes_by_provider.get(provider_id).into_iter().flatten().filter_map(|name| self.node(name)).collect()
    }

    /// NodeClaims of this provider id, in order of names.
    pub fn claims_of(&self, provider_id: &str) -> Vec<&Arc<NodeClaim>> {
        self.claims_by_provider.get(provider_id).into_iter().flatten().filter_map(|name| self.claim(name)).collect()
    }

    /// Pods bound to the node, finished ones included.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<core::Pod>> {
        self.pods.iter().map(|(_, pod)| pod)
    }

    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &Arc<core::Pod>> {
        self.pods_by_node.get(node).into_iter().flatten().filter_map(|(key, _)| self.pods.get(key))
    }

    /// Provisionable pods, in order of namespace and name.
    pub fn pending(&self) -> impl Iterator<Item = (&Key, &Arc<core::Pod>)> {
        self.pending.iter().filter_map(|key| Some((key, self.pods.get(key)?)))
    }

    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Every kind has been listed once.
    pub fn is_listed(&self) -> bool {
        Kind::ALL.into_iter().all(|kind| match kind {
            Kind::Pod => self.pods.is_listed(),
            Kind::Node => self.nodes.is_listed(),
            Kind::NodeClaim => self.claims.is_listed(),
            Kind::NodePool => self.pools.is_listed(),
            Kind::EC2NodeClass => self.classes.is_listed(),
            Kind::DaemonSet => self.daemon_sets.is_listed(),
            Kind::PodDisruptionBudget => self.pod_budgets.is_listed(),
            Kind::Namespace => self.namespaces.is_listed(),
            Kind::PersistentVolumeClaim => self.volume_claims.is_listed(),
            Kind::PersistentVolume => self.volumes.is_listed(),
            Kind::StorageClass => self.storage_classes.is_listed(),
            Kind::NodeOverlay => !self.expects_overlays || self.overlays.is_listed(),
            Kind::CSINode => self.csi_nodes.is_listed(),
        })
    }

    /// Whether plans may be made: everything is listed and no NodeClaim is without a machine
    /// (`C/pkg/controllers/state/cluster.go`, Synced).
    pub fn synced(&self) -> bool {
        self.is_listed() && self.claims().all(|claim| provider_of_claim(claim).is_some())
    }

    // Memory that no object carries.

    /// A pod was promised the machine of this Node or NodeClaim.
    pub fn nominate(&mut self, name: &str, until: Timestamp) {
        let provider = self.node(name).and_then(|node| provider_of(node)).map(Arc::<str>::from);
        let claim = provider.and_then(|id| self.claims_by_provider.get(&id)?.first().cloned());
        let key = match claim {
            Some(claim) => MachineKey::Claim(claim),
            None if self.claim(name).is_some() => MachineKey::Claim(name.into()),
            None => MachineKey::Node(name.into()),
        };
        self.nominations.insert(key.clone(), until);
        self.dirty.insert(key);
        self.revision += 1;
    }

    /// The machine of this NodeClaim is going to be deleted, or no longer.
    pub fn mark(&mut self, claim: &str, deleting: bool) {
        let name = Arc::<str>::from(claim);
        let changed = if deleting { self.marked.insert(name.clone()) } else { self.marked.remove(&name) };
        if changed {
            self.dirty.insert(MachineKey::Claim(name));
            self.revision += 1;
        }
    }

    /// Changes when something happened after which nodes may be consolidated that could not be before: a pod was bound or is gone,
    /// a machine came, went, was initialized or marked, a NodePool is new or has another spec (`C/pkg/controllers/state/cluster.go`,
    /// MarkUnconsolidated; `C/pkg/controllers/state/informer/nodepool.go`).
    pub fn churn(&self) -> u64 {
        self.churn
    }

    /// The PersistentVolumes that the pod's claims are bound to.
    pub fn volumes_of(&self, pod: &core::Pod) -> Vec<String> {
        let bound = |claim: Key| self.volume_claims.get(&claim)?.spec.as_ref()?.volume_name.clone();
        volumes::claims(pod).into_iter().filter_map(bound).collect()
    }

    /// Whether somebody decided that the machine of this NodeClaim goes.
    pub fn is_marked(&self, claim: &str) -> bool {
        self.marked.contains(claim)
    }

    /// The machines as the planner sees them, as of the last [`Index::refresh`].
    pub fn machines(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.machines.values()
    }

    // Answers.

    /// Changes when anything does that the index could be asked for.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Changes when a snapshot would come out differently, or a NodeClass changed.
    pub fn version(&mut self) -> u64 {
        self.refresh();
        self.version
    }

    /// The cluster as it is known now. Equal clusters give the same `Arc`.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        self.refresh();
        if let Some((version, last)) = &self.last
            && *version == self.version
        {
            return last.clone();
        }
        let mut nodes: Vec<Arc<Node>> = self.machines.values().cloned().collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let snapshot = Arc::new(Snapshot {
            pools: self.planned_pools.values().cloned().collect(),
            nodes,
            pending: self.pending.iter().filter_map(|key| self.planned_pods.get(key).cloned()).collect(),
            daemons: self.daemons.values().cloned().collect(),
            pod_budgets: self.planned_budgets.values().cloned().collect(),
            namespaces: self.planned_namespaces.values().cloned().collect(),
        });
        self.last = Some((self.version, snapshot.clone()));
        snapshot
    }

    /// Converts what was touched. Snapshots and versions do so by themselves; usage does not.
    pub fn refresh(&mut self) {
        while let Some(key) = self.dirty.pop_first() {
            let made = self.machine(&key);
            if made.as_ref() == self.machines.get(&key).map(|m| &**m) {
                continue;
            }
            self.version += 1;
            let stage = |node: Option<&Node>| node.map(|n| (n.initialized, n.deleting));
            if stage(made.as_ref()) != stage(self.machines.get(&key).map(|m| &**m)) {
                self.churn += 1;
            }
            match made {
                Some(made) => self.machines.insert(key, Arc::new(made)),
                None => self.machines.remove(&key),
            };
        }
    }

    fn machine(&self, key: &MachineKey) -> Option<Node> {
        let (node, claim) = match key {
            MachineKey::Claim(name) => {
                let claim = self.claim(name)?;
                let nodes = provider_of_claim(claim).map(|id| self.nodes_of(id)).unwrap_or_default();
                (nodes.first().copied(), Some(claim))
            }
            MachineKey::Node(name) => {
                let node = self.node(name)?;
                let claimed = provider_of(node).is_some_and(|id| self.claims_by_provider.contains_key(id));
                if claimed {
                    return None;
                }
                (Some(node), None)
            }
        };
        let pods = node.and_then(|n| self.pods_by_node.get(n.metadata.name.as_deref()?)).into_iter().flatten();
        let pods = pods.filter_map(|(_, room)| room.clone()).collect();
        let marked = matches!(key, MachineKey::Claim(name) if self.marked.contains(name));
        let nominated_until = self.nominations.get(key).copied();
        let csi_node = node.and_then(|n| self.csi_nodes.get(&Key::new("", n.metadata.name.as_deref()?)));
        let volume_limits = csi_node.map(|node| volumes::limits(node)).unwrap_or_default();
        Some(machine::merge(Parts { node: node.map(|n| &**n), claim: claim.map(|c| &**c), pods, nominated_until, volume_limits, marked }))
    }

    /// Capacity of the pool's machines that are to stay, and their number under `nodes`, as of the last [`Index::refresh`]
    /// (`C/pkg/controllers/state/cluster.go`, updateNodePoolResources).
    pub fn pool_usage(&self, pool: &str) -> Resources {
        let mut usage = Resources::new();
        let mut count = 0;
        for machine in self.machines.values().filter(|m| m.pool.as_deref() == Some(pool) && !m.deleting) {
            usage.add(&machine.capacity);
            count += 1;
        }
        usage.set("nodes", count);
        usage
    }
}

impl Storage for Index {
    fn volume_claim(&self, key: &Key) -> Option<&Arc<core::PersistentVolumeClaim>> {
        self.volume_claims.get(key)
    }

    fn volume(&self, name: &str) -> Option<&Arc<core::PersistentVolume>> {
        self.volumes.get(&Key::new("", name))
    }

    fn storage_class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.storage_classes.get(&Key::new("", name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn pod(name: &str, version: u64, node: Option<&str>, phase: &str) -> Object {
        let mut object = json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": version.to_string()},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"memory": "1Gi"}}}]}, "status": {"phase": phase}});
        match node {
            Some(node) => object["spec"]["nodeName"] = json!(node),
            None => object["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]),
        }
        Object::Pod(Arc::new(serde_json::from_value(object).expect("a pod")))
    }

    fn claim(name: &str, version: u64, provider: &str, deleting: bool) -> Object {
        let mut object = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": version.to_string(), "labels": {"karpenter.sh/nodepool": "default"}},
            "spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}},
            "status": {"providerID": provider, "capacity": {"cpu": "2"}}});
        if deleting {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Object::NodeClaim(Arc::new(serde_json::from_value(object).expect("a claim")))
    }

    fn node(name: &str, version: u64, provider: &str, labels: Value) -> Object {
        let object = json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": version.to_string(), "labels": labels},
            "spec": {"providerID": provider}, "status": {"capacity": {"cpu": "2"}}});
        Object::Node(Arc::new(serde_json::from_value(object).expect("a node")))
    }

    fn listed() -> Index {
        let mut index = Index::new();
        for kind in Kind::ALL {
            index.change(Change::Init(kind));
            index.change(Change::InitDone(kind));
        }
        index
    }

    #[test]
    fn a_claim_and_its_node_are_one_machine() {
        let mut index = listed();
        index.apply(claim("default-a", 1, "aws:///a/i-1", false));
        index.apply(node("ip-1", 2, "aws:///a/i-1", json!({})));
        index.apply(node("other", 3, "aws:///a/i-2", json!({})));
        let names =
            |index: &mut Index| index.snapshot().nodes.iter().map(|n| (n.name.to_string(), n.node_claim.is_some())).collect::<Vec<_>>();
        assert_eq!(names(&mut index), [("ip-1".to_owned(), true), ("other".to_owned(), false)]);
        index.delete(&claim("default-a", 4, "aws:///a/i-1", false));
        assert_eq!(names(&mut index), [("ip-1".to_owned(), false), ("other".to_owned(), false)]);
    }

    #[test]
    fn a_claim_without_a_machine_stops_all_planning() {
        let mut index = listed();
        assert!(index.synced());
        index.apply(claim("default-a", 1, "", false));
        assert!(!index.synced());
        index.apply(claim("default-a", 2, "aws:///a/i-1", false));
        assert!(index.synced());
    }

    #[test]
    fn what_is_not_touched_is_shared() {
        let mut index = listed();
        index.apply(node("a", 1, "aws:///a/i-1", json!({})));
        index.apply(node("b", 2, "aws:///a/i-2", json!({})));
        let before = index.snapshot();
        assert!(Arc::ptr_eq(&before, &index.snapshot()));
        index.apply(node("b", 3, "aws:///a/i-2", json!({})));
        assert!(Arc::ptr_eq(&before, &index.snapshot()), "a write that says nothing new changes nothing");
        index.apply(pod("p", 4, Some("b"), "Running"));
        let after = index.snapshot();
        assert!(Arc::ptr_eq(&before.nodes[0], &after.nodes[0]) && !Arc::ptr_eq(&before.nodes[1], &after.nodes[1]));
        assert_eq!(after.nodes[1].pods.len(), 1);
        index.apply(pod("p", 5, Some("b"), "Succeeded"));
        assert!(index.snapshot().nodes[1].pods.is_empty(), "a finished pod holds no room");
    }

    /// It comes back elsewhere only when it is gone, and in upstream's eyes that makes its phase of no account.
    #[test]
    fn a_finished_pod_of_a_stateful_set_that_is_deleted_still_wants_a_place() {
        let finished = |deleted: bool, kind: &str| {
            let Object::Pod(mut pod) = pod("p", 2, Some("a"), "Succeeded") else { unreachable!() };
            let meta = &mut Arc::make_mut(&mut pod).metadata;
            meta.owner_references =
                serde_json::from_value(json!([{"apiVersion": "apps/v1", "kind": kind, "name": "db", "uid": "u"}])).unwrap();
            meta.deletion_timestamp = deleted.then(|| serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
            let mut index = listed();
            index.apply(node("a", 1, "aws:///a/i-1", json!({})));
            index.apply(Object::Pod(pod));
            index.snapshot().nodes[0].pods.len()
        };
        assert_eq!([finished(true, "StatefulSet"), finished(false, "StatefulSet"), finished(true, "ReplicaSet")], [1, 0, 0]);
    }

    #[test]
    fn a_machine_that_goes_counts_no_longer_but_shows_its_pods() {
        let mut index = listed();
        index.apply(claim("default-a", 1, "aws:///a/i-1", false));
        index.apply(node("ip-1", 2, "aws:///a/i-1", json!({})));
        index.apply(pod("p", 3, Some("ip-1"), "Running"));
        index.refresh();
        assert_eq!(index.pool_usage("default").get("nodes"), 1);
        index.apply(claim("default-a", 4, "aws:///a/i-1", true));
        let snapshot = index.snapshot();
        assert!(snapshot.nodes[0].deleting && snapshot.nodes[0].pods.len() == 1 && snapshot.pending.is_empty());
        assert_eq!(index.pool_usage("default").get("nodes"), 0);
    }

    #[test]
    fn another_spec_of_a_pool_makes_consolidation_look_again() {
        let mut index = listed();
        let pool = |version: u64, generation: i64| {
            let object = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool",
                "metadata": {"name": "default", "uid": "uid-default", "resourceVersion": version.to_string(), "generation": generation},
                "spec": {"template": {"spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}}}}});
            Object::NodePool(Arc::new(serde_json::from_value(object).expect("a pool")))
        };
        let mut churns = |object: Object| {
            let before = index.churn();
            index.apply(object);
            index.churn() != before
        };
        assert!(churns(pool(1, 1)), "it is new");
        assert!(!churns(pool(2, 1)), "only its status is another");
        assert!(churns(pool(3, 2)));
    }

    #[test]
    fn the_newest_pod_of_a_daemon_set_says_what_it_asks() {
        let mut index = listed();
        let set = json!({"metadata": {"name": "agent", "namespace": "default", "uid": "d", "resourceVersion": "1"}, "spec": {"selector": {},
            "template": {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "50m"}}}]}}}});
        let pod = |name: &str, version: u64, minute: u64, cpu: &str| {
            let object = json!({"metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": version.to_string(),
                "creationTimestamp": format!("2026-01-01T00:{minute:02}:00Z"),
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "d", "controller": true}]},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
            Object::Pod(Arc::new(serde_json::from_value(object).expect("a pod")))
        };
        let mut asks = |object: Object| {
            index.apply(object);
            index.snapshot().daemons.first().map_or(0, |daemon| daemon.pod.requests.get("cpu"))
        };
        assert_eq!(asks(pod("agent-2", 2, 2, "75m")), 0, "its set is not known yet");
        assert_eq!(asks(Object::DaemonSet(Arc::new(serde_json::from_value(set).expect("a set")))), 75);
        assert_eq!(asks(pod("agent-1", 3, 1, "60m")), 75, "an older one");
        assert_eq!(asks(pod("agent-3", 4, 3, "80m")), 80);
    }

    /// A pod is what its claims make of it, from whichever object the news comes.
    #[test]
    fn what_volumes_mean_is_kept_up_to_date() {
        fn read<K: serde::de::DeserializeOwned>(value: Value) -> Arc<K> {
            Arc::new(serde_json::from_value(value).expect("an object"))
        }
        let mut index = listed();
        let waiting = json!({"metadata": {"name": "ledger", "namespace": "default", "uid": "u", "resourceVersion": "1"},
            "spec": {"containers": [], "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}});
        index.apply(Object::Pod(read(waiting)));
        let volumes = |index: &mut Index| index.snapshot().pending[0].volumes.clone();
        assert!(volumes(&mut index).fault.is_some_and(|fault| fault.contains("not found")));
        let claim = json!({"metadata": {"name": "data", "namespace": "default", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "pv"}});
        let claim: Arc<core::PersistentVolumeClaim> = read(claim);
        index.apply(Object::PersistentVolumeClaim(claim.clone()));
        assert!(volumes(&mut index).fault.is_some_and(|fault| fault.contains("persistentvolumes \"pv\" not found")));
        let volume = json!({"metadata": {"name": "pv"}, "spec": {"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "v"}, "nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]}]}]}}}});
        index.apply(Object::PersistentVolume(read(volume)));
        let known = volumes(&mut index);
        assert_eq!((known.fault, known.requirements.len(), known.attached.len()), (None, 1, 1));
        index.delete(&Object::PersistentVolumeClaim(claim));
        assert!(volumes(&mut index).fault.is_some());
    }

    #[test]
    fn nodes_have_the_limits_of_their_drivers_and_namespaces_their_labels() {
        let mut index = listed();
        index.apply(node("ip-1", 1, "aws:///a/i-1", json!({})));
        let csi = json!({"metadata": {"name": "ip-1"}, "spec": {"drivers": [{"name": "ebs.csi.aws.com", "nodeID": "i", "allocatable": {"count": 25}}]}});
        index.apply(Object::CSINode(Arc::new(serde_json::from_value(csi).expect("a CSINode"))));
        let space = json!({"metadata": {"name": "other", "labels": {"team": "blue"}}});
        index.apply(Object::Namespace(Arc::new(serde_json::from_value(space).expect("a Namespace"))));
        let snapshot = index.snapshot();
        assert_eq!(snapshot.nodes[0].volume_limits.get("ebs.csi.aws.com"), Some(&25));
        assert_eq!(snapshot.namespaces[0].labels.get("team").map(|v| &**v), Some("blue"));
    }

    proptest! {
        /// However the changes come, the index ends where a fresh one would that sees only the end.
        #[test]
        fn incremental_equals_rebuilt(steps in prop::collection::vec((0..3usize, 0..3usize, 0..3usize, any::<bool>()), 1..40)) {
            let (names, nodes, ids) = (["a", "b", "c"], ["n0", "n1", "n2"], ["", "aws:///a/i-1", "aws:///a/i-2"]);
            let mut index = listed();
            let mut end: BTreeMap<(usize, usize), Object> = BTreeMap::new();
            for (version, (kind, name, which, gone)) in (1u64..).zip(steps) {
                let object = match kind {
                    0 => pod(names[name], version, (which > 0).then(|| nodes[which]), "Running"),
                    1 => claim(names[name], version, ids[which], false),
                    _ => node(nodes[name], version, ids[which], json!({})),
                };
                // A uid is never used again, so an object that went stays away here.
                if gone {
                    index.delete(&object);
                    end.insert((kind, name), object);
                } else if index.apply(object.clone()).is_some() {
                    end.insert((kind, name), object);
                }
                if version % 3 == 0 {
                    index.snapshot();
                }
            }
            let mut fresh = listed();
            for ((kind, name), object) in end {
                let alive = match kind {
                    0 => index.pod(&Key::new("default", names[name])).is_some(),
                    1 => index.claim(names[name]).is_some(),
                    _ => index.node(nodes[name]).is_some(),
                };
                if alive {
                    fresh.apply(object);
                }
            }
            prop_assert_eq!(&*index.snapshot(), &*fresh.snapshot());
        }
    }
}
