//! Reads the fields that scheduling needs from Kubernetes' JSON. Unknown fields are ignored, absent ones are empty.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use vocabulary::{Effect, Quantity};

/// An object that is not what its kind says.
#[derive(Debug, thiserror::Error)]
#[error("not a readable {kind}")]
pub struct ReadError {
    kind: &'static str,
    #[source]
    source: serde_json::Error,
}

/// Reads `value` as a `kind`. An explicit null counts as absent, as for Go's decoder.
pub(crate) fn read<T: DeserializeOwned>(kind: &'static str, value: &Value) -> Result<T, ReadError> {
    T::deserialize(value).or_else(|_| T::deserialize(&without_nulls(value))).map_err(|source| ReadError { kind, source })
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect()),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

pub type Labels = BTreeMap<String, String>;
pub type Amounts = BTreeMap<String, Quantity>;

macro_rules! wire {
    ($($(#[$doc:meta])* $name:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name { $($(#[$meta])* pub $field: $type),* }
    )*};
}

wire! {
    Meta { name: String, namespace: String, uid: String, labels: Labels, annotations: Labels, deletion_timestamp: Option<String>, owner_references: Vec<OwnerReference> }
    OwnerReference { kind: String, name: String, controller: bool }
    LabelSelector { match_labels: Labels, match_expressions: Vec<Expression> }
    /// A requirement of a label selector or of a node selector.
    Expression { key: String, operator: String, values: Vec<String> }

    Pod { metadata: Meta, spec: PodSpec, status: PodStatus }
    PodSpec {
        node_name: String, scheduler_name: String, priority: Option<i32>, preemption_policy: String, scheduling_gates: Vec<Gate>,
        containers: Vec<Container>, init_containers: Vec<Container>, overhead: Amounts, resources: Requirements, tolerations: Vec<Toleration>,
        node_selector: Labels, affinity: Affinity, topology_spread_constraints: Vec<Spread>, volumes: Vec<PodVolume>,
    }
    PodVolume { name: String, persistent_volume_claim: Option<ClaimName>, ephemeral: Option<Empty> }
    ClaimName { claim_name: String }
    Empty {}
    PodStatus { phase: String, nominated_node_name: String, start_time: Option<String>, conditions: Vec<PodCondition> }
    PodCondition { #[serde(rename = "type")] kind: String, status: String, reason: String }
    Gate { name: String }
    Container { resources: Requirements, ports: Vec<Port>, restart_policy: String }
    Requirements { requests: Amounts }
    Port { host_port: i32, protocol: String, #[serde(rename = "hostIP")] host_ip: String }
    Toleration { key: String, operator: String, value: String, effect: Option<Effect> }
    Affinity { node_affinity: NodeAffinity, pod_affinity: PodAffinity, pod_anti_affinity: PodAffinity }
    NodeAffinity {
        #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")] required: Option<NodeSelector>,
        #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")] preferred: Vec<PreferredNode>,
    }
    NodeSelector { node_selector_terms: Vec<NodeTerm> }
    NodeTerm { match_expressions: Vec<Expression>, match_fields: Vec<Expression> }
    PreferredNode { weight: i32, preference: NodeTerm }
    PodAffinity {
        #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")] required: Vec<PodTerm>,
        #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")] preferred: Vec<WeightedPodTerm>,
    }
    WeightedPodTerm { weight: i32, pod_affinity_term: PodTerm }
    PodTerm { label_selector: Option<LabelSelector>, namespace_selector: Option<LabelSelector>, namespaces: Vec<String>, topology_key: String }
    Spread {
        max_skew: i32, topology_key: String, when_unsatisfiable: String, label_selector: Option<LabelSelector>, match_label_keys: Vec<String>,
        min_domains: Option<i32>, node_affinity_policy: Option<String>, node_taints_policy: Option<String>,
    }

    Node { metadata: Meta, spec: NodeSpec, status: NodeStatus }
    NodeSpec { unschedulable: bool, taints: Vec<Taint> }
    NodeStatus { allocatable: Amounts }

    Claim { metadata: Meta, spec: ClaimSpec, status: Phase }
    ClaimSpec {
        storage_class_name: String, volume_name: String, access_modes: Vec<String>, volume_mode: String, resources: Requirements,
        selector: Option<LabelSelector>,
    }
    Phase { phase: String }
    Volume { metadata: Meta, spec: VolumeSpec, status: Phase }
    VolumeSpec {
        storage_class_name: String, access_modes: Vec<String>, volume_mode: String, capacity: Amounts, claim_ref: ClaimReference, csi: Csi,
        node_affinity: VolumeAffinity,
    }
    ClaimReference { namespace: String, name: String }
    Csi { driver: String, volume_handle: String }
    VolumeAffinity { required: Option<NodeSelector> }
    StorageClass { metadata: Meta, provisioner: String, volume_binding_mode: String, allowed_topologies: Vec<Topology> }
    Topology { match_label_expressions: Vec<Expression> }
    CsiNode { metadata: Meta, spec: CsiNodeSpec }
    CsiNodeSpec { drivers: Vec<CsiDriver> }
    CsiDriver { name: String, allocatable: Option<CsiLimit> }
    CsiLimit { count: Option<i64> }

    Workload { spec: WorkloadSpec }
    WorkloadSpec { selector: LabelSelector }
    Service { spec: ServiceSpec }
    ServiceSpec { selector: Option<Labels> }
    DisruptionBudget { metadata: Meta, spec: BudgetSpec, status: BudgetStatus }
    BudgetSpec { selector: Option<LabelSelector> }
    BudgetStatus { disruptions_allowed: i32, disrupted_pods: BTreeMap<String, String> }
}

/// A node's taint; the effect is required.
#[derive(Clone, Debug, Deserialize)]
pub struct Taint {
    pub key: String,
    #[serde(default)]
    pub value: String,
    pub effect: Effect,
}
