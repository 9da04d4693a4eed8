//! What a plan is made from: an immutable picture of the cluster and of what the cloud offers.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::{CapacityType, Requirement, Requirements, Resources, Taint, Toleration, UsdPerHour};

pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// The cluster at one instant. Every list is ordered by name, so that equal clusters are equal values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub pools: Vec<Arc<Pool>>,
    /// Nodes and NodeClaims merged: one entry per machine, managed or not, from the moment its NodeClaim exists.
    pub nodes: Vec<Arc<Node>>,
    /// Pods that want a node (provisionable, `C/pkg/utils/pod/scheduling.go`).
    pub pending: Vec<Arc<Pod>>,
    pub daemons: Vec<Arc<Daemon>>,
    /// PodDisruptionBudgets, in order of namespace and name.
    #[serde(default)]
    pub pod_budgets: Vec<Arc<PodBudget>>,
    /// Namespaces in order of names, for terms that choose namespaces by their labels.
    #[serde(default)]
    pub namespaces: Vec<Arc<Namespace>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    pub name: Arc<str>,
    pub labels: Labels,
}

/// A PodDisruptionBudget as far as it decides (`C/pkg/utils/pdb/pdb.go`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodBudget {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// All of these; none matches every pod of the namespace, `None` matches no pod.
    pub selector: Option<Vec<SelectorTerm>>,
    /// `status.disruptionsAllowed`.
    pub allowed: i32,
    /// `maxUnavailable` of 0 or 0 %, `minAvailable` of 100 %: nothing is ever evicted.
    pub blocks_fully: bool,
    /// `unhealthyPodEvictionPolicy: AlwaysAllow`.
    pub unhealthy_may_go: bool,
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SelectorTerm {
    pub key: Arc<str>,
    /// `Exists` and `DoesNotExist` have no values; `NotIn` holds for a label that is absent.
    pub operator: vocabulary::Operator,
    pub values: Vec<Arc<str>>,
}

/// A NodePool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    pub name: Arc<str>,
    pub uid: Arc<str>,
    /// 1 to 100; unset counts as 0, heavier pools are tried first.
    pub weight: i32,
    /// `Ready` condition is True, not deleting, not static.
    pub ready: bool,
    pub node_class: Arc<str>,
    pub labels: Labels,
    pub annotations: Labels,
    pub taints: Vec<Taint>,
    pub startup_taints: Vec<Taint>,
    /// `spec.template.spec.requirements` only; labels join them in the planner.
    pub requirements: Vec<Requirement>,
    /// `spec.limits`; a name that is absent is unlimited. The name `nodes` counts nodes.
    pub limits: Resources,
    /// `None` is `Never`.
    pub expire_after: Option<SignedDuration>,
    pub termination_grace_period: Option<SignedDuration>,
    pub hash: Arc<str>,
    pub disruption: PoolDisruption,
    /// A pool of fixed size: no pod gets a node of it.
    #[serde(default)]
    pub replicas: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolDisruption {
    /// `None` is `Never`.
    pub consolidate_after: Option<SignedDuration>,
    pub policy: ConsolidationPolicy,
    pub budgets: Vec<Budget>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsolidationPolicy {
    WhenEmpty,
    WhenEmptyOrUnderutilized,
    Balanced,
}

/// A disruption budget as written; its arithmetic is the planner's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// `10%` or a count.
    pub nodes: Arc<str>,
    pub reasons: Option<Vec<Arc<str>>>,
    pub schedule: Option<Arc<str>>,
    pub duration: Option<SignedDuration>,
}

/// One machine of the cluster: a Node, a NodeClaim, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The Node's name, or the NodeClaim's until there is a Node; see [`Node::known_as`].
    pub name: Arc<str>,
    pub node_claim: Option<Arc<str>>,
    /// Name of the NodePool that owns it; `None` for nodes Karpenter does not manage.
    pub pool: Option<Arc<str>>,
    pub provider_id: Option<Arc<str>>,
    pub created: Timestamp,
    /// There is a Node, not a NodeClaim alone.
    #[serde(default)]
    pub has_node: bool,
    /// The NodeClaim has a provider id: until then no planning happens at all (`C/pkg/controllers/state/cluster.go`, Synced).
    pub launched: bool,
    pub registered: bool,
    pub initialized: bool,
    pub ready: bool,
    /// A deletion is under way or the node is marked for one.
    pub deleting: bool,
    /// A pod was promised this node until then.
    pub nominated_until: Option<Timestamp>,
    pub labels: Labels,
    pub annotations: Labels,
    /// As scheduling sees them: before initialization without the known ephemeral and the startup taints.
    pub taints: Vec<Taint>,
    /// Before initialization the NodeClaim's value stands in for each resource that is zero on the Node.
    pub capacity: Resources,
    pub allocatable: Resources,
    pub pods: Vec<Arc<Pod>>,
    pub price: Option<UsdPerHour>,
    /// `Consolidatable` condition is True since then.
    pub consolidatable: Option<Timestamp>,
    /// `Drifted` condition: since when and why.
    pub drifted: Option<(Timestamp, Arc<str>)>,
    /// Since when no pod came or went: the last pod event, or the initialization. `None` before that.
    #[serde(default)]
    pub quiet_since: Option<Timestamp>,
    /// The NodeClaim's `InstanceTerminating`: drained, and its machine is being terminated.
    #[serde(default)]
    pub instance_terminating: bool,
    /// The NodeClaim has a `terminationGracePeriod`.
    #[serde(default)]
    pub grace_limited: bool,
    /// Volumes that the node can attach, by CSI driver (CSINode); a driver that is absent is unlimited.
    #[serde(default)]
    pub volume_limits: BTreeMap<Arc<str>, i64>,
    /// What the Node itself shows, where scheduling goes by something else while it boots: rules about other pods count by this
    /// (`C/pkg/controllers/provisioning/scheduling/topology.go`, countDomains).
    #[serde(default)]
    pub shown: Option<Arc<Shown>>,
}

/// Labels and taints of a Node as it has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub labels: Labels,
    pub taints: Vec<Taint>,
}

impl Node {
    pub fn shown_labels(&self) -> &Labels {
        self.shown.as_ref().map_or(&self.labels, |shown| &shown.labels)
    }

    pub fn shown_taints(&self) -> &[Taint] {
        self.shown.as_ref().map_or(&self.taints, |shown| &shown.taints)
    }

    /// What scheduling calls it: its NodeClaim until Karpenter has registered it (`C/pkg/controllers/state/statenode.go`, Name).
    pub fn known_as(&self) -> &Arc<str> {
        self.node_claim.as_ref().filter(|_| !self.registered).unwrap_or(&self.name)
    }
}

/// `controller.kubernetes.io/pod-deletion-cost`, any number. Each is equal to itself, so that shared pods are compared by their address.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeletionCost(pub f64);

impl PartialEq for DeletionCost {
    fn eq(&self, other: &Self) -> bool {
        self.0.total_cmp(&other.0).is_eq()
    }
}

impl Eq for DeletionCost {}

/// A pod, bound or pending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    pub uid: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub created: Timestamp,
    /// Requests with init containers, sidecars and overhead folded in, plus `pods: 1`.
    pub requests: Resources,
    /// `nodeSelector` and each OR term of the required node affinity.
    pub selector: Labels,
    pub node_affinity: Vec<Requirements>,
    pub preferred_node_affinity: Vec<(i32, Requirements)>,
    pub tolerations: Vec<Toleration>,
    pub host_ports: Vec<HostPort>,
    /// `topologySpreadConstraints`.
    #[serde(default)]
    pub spread: Vec<SpreadConstraint>,
    #[serde(default)]
    pub pod_affinity: PodTerms,
    #[serde(default)]
    pub pod_anti_affinity: PodTerms,
    #[serde(default)]
    pub volumes: Volumes,
    pub labels: Labels,
    pub owner: Option<Owner>,
    pub daemon: bool,
    /// Of an `apps/v1` StatefulSet.
    #[serde(default)]
    pub stateful: bool,
    /// Owned by its Node: a static pod, which nobody can move.
    #[serde(default)]
    pub mirror: bool,
    /// `karpenter.sh/do-not-disrupt: "true"`.
    pub do_not_disrupt: bool,
    /// The same for a time, `karpenter.sh/do-not-disrupt: 1h`: from the pod's start on; without a start for ever.
    #[serde(default)]
    pub do_not_disrupt_until: Option<Timestamp>,
    pub priority: i32,
    pub deletion_cost: DeletionCost,
    pub terminating: bool,
    pub terminal: bool,
    /// Phase Pending, bound or not.
    #[serde(default)]
    pub phase_pending: bool,
    /// The Ready condition is False.
    #[serde(default)]
    pub unhealthy: bool,
    /// Constraints on this pod that this planner does not decide yet, by the field's name. Such a pod is refused with this as
    /// the reason, never placed as if the field were absent.
    pub undecided: Vec<Arc<str>>,
}

/// All of these hold, or what a selector that is not given means, which depends on who asks.
pub type Selector = Option<Vec<SelectorTerm>>;

/// One of `topologySpreadConstraints`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpreadConstraint {
    pub key: Arc<str>,
    /// Pods by which a domain may exceed the emptiest one.
    pub max_skew: i32,
    pub min_domains: Option<i32>,
    /// `ScheduleAnyway`: given up when nothing else helps.
    pub soft: bool,
    /// With the values of `matchLabelKeys` that the pod has. One that is not given counts no pod in the making and every pod that is
    /// bound (`C/pkg/controllers/provisioning/scheduling/topology.go`, TopologyListOptions).
    pub selector: Selector,
    /// `nodeAffinityPolicy` and `nodeTaintsPolicy` are Honor: nodes that the pod could not run on do not count.
    pub honor_affinity: bool,
    pub honor_taints: bool,
}

/// `podAffinity` or `podAntiAffinity`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodTerms {
    pub required: Vec<PodTerm>,
    /// With their weights.
    pub preferred: Vec<(i32, PodTerm)>,
}

/// Pods that one wants to be beside, or apart from, in a domain of the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodTerm {
    pub key: Arc<str>,
    pub selector: Selector,
    /// By name, beside those that the selector finds; without either the pod's own.
    pub namespaces: Vec<Arc<str>>,
    pub namespace_selector: Selector,
}

/// What a pod's PersistentVolumeClaims mean for its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Volumes {
    /// One of these must be met (`C/pkg/controllers/provisioning/scheduling/volumetopology.go`); none at all is no demand.
    pub requirements: Vec<Requirements>,
    /// CSI driver and claim (`namespace/name`) of each volume that counts for the limits of a node.
    pub attached: Vec<(Arc<str>, Arc<str>)>,
    /// Why the pod cannot be placed before somebody mends its claims.
    pub fault: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostPort {
    pub ip: Arc<str>,
    pub port: i32,
    pub protocol: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub kind: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
}

/// A DaemonSet, as the pod that it would put on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Daemon {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub pod: Arc<Pod>,
}

/// What the cloud offers each NodePool, by the pool's name. A pool without an entry could not be resolved and is skipped.
pub type Offerings = BTreeMap<Arc<str>, Arc<Vec<InstanceType>>>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceType {
    pub name: Arc<str>,
    pub requirements: Requirements,
    /// What the machine has, and what is left of it for pods.
    pub capacity: Resources,
    pub allocatable: Resources,
    pub offerings: Vec<Offering>,
    /// A NodeOverlay added resources.
    #[serde(default)]
    pub overlaid: bool,
}

/// One way to buy an instance type: a zone and a market at a price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offering {
    pub zone: Arc<str>,
    pub zone_id: Option<Arc<str>>,
    pub capacity_type: CapacityType,
    pub price: UsdPerHour,
    /// False when the zone has no subnet, the price is unknown, or the cloud lately had none.
    pub available: bool,
    /// Zone, zone id, capacity type and tenancy, as requirements.
    pub requirements: Requirements,
    /// Machines left in a reservation.
    pub reservation_capacity: Option<u32>,
    /// The price is a NodeOverlay's.
    #[serde(default)]
    pub overlaid: bool,
}

/// Settings that change decisions (`C/pkg/operator/options/options.go`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    pub preference_policy: PreferencePolicy,
    pub min_values_policy: MinValuesPolicy,
    pub spot_to_spot_consolidation: bool,
    pub reserved_capacity: bool,
    /// Instance types handed to one NodeClaim at the most.
    pub max_instance_types: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            preference_policy: PreferencePolicy::Respect,
            min_values_policy: MinValuesPolicy::Strict,
            spot_to_spot_consolidation: false,
            reserved_capacity: true,
            max_instance_types: 600,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PreferencePolicy {
    Respect,
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MinValuesPolicy {
    Strict,
    BestEffort,
}
