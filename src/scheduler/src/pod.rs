//! A pod as the rules see it: read once from its JSON, compiled, immutable.

use crate::node::NodeInfo;
use crate::plugins::taint_toleration;
use crate::resources::{Resource, pod_requests};
use crate::selector::{NodeSelectorTerm, Selector};
use crate::wire::{self, Labels, ReadError};
use jiff::Timestamp;
use serde_json::Value;
use vocabulary::{Effect, Taint, Toleration};

/// Everything that scheduling needs to know of a pod.
#[derive(Clone, Debug)]
pub struct PodInfo {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: Labels,
    /// Kind and name of the controller that owns it.
    pub owner: Option<(String, String)>,
    /// Empty while unassigned.
    pub node_name: String,
    pub nominated_node_name: String,
    pub scheduler_name: String,
    pub gates: Vec<String>,
    pub priority: i32,
    pub never_preempts: bool,
    pub start_time: Option<Timestamp>,
    /// It has a deletion timestamp.
    pub terminating: bool,
    /// It is terminating because a scheduler made room for another.
    pub preempted: bool,
    /// Its phase is Succeeded or Failed: it holds nothing any more.
    pub finished: bool,
    pub requests: Resource,
    /// CPU (thousandths) and memory (bytes) as scored: with defaults for containers without a request.
    pub scored_milli_cpu: i64,
    pub scored_memory: i64,
    pub host_ports: Vec<HostPort>,
    pub tolerations: Vec<Toleration>,
    pub node_selector: Selector,
    /// Required node affinity; the terms are alternatives.
    pub node_terms: Option<Vec<NodeSelectorTerm>>,
    pub preferred_nodes: Vec<(i64, NodeSelectorTerm)>,
    pub affinity: PodTerms,
    pub anti_affinity: PodTerms,
    /// Whether it has constraints of its own; without, the system's default ones apply.
    pub spread_declared: bool,
    pub spread: Vec<SpreadConstraint>,
    /// The claims that it names, and whether they are its own (ephemeral).
    pub claims: Vec<(String, bool)>,
}

/// A port of the node that a pod wants for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// `k8s.io/kube-scheduler/framework`, HostPortInfo.CheckConflict: the wildcard address takes the port on all.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        self.port == other.port && self.protocol == other.protocol && (self.ip == other.ip || self.ip == ANY_IP || other.ip == ANY_IP)
    }
}

const ANY_IP: &str = "0.0.0.0";

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodTerms {
    pub required: Vec<PodTerm>,
    pub preferred: Vec<(i64, PodTerm)>,
}

impl PodTerms {
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.preferred.is_empty()
    }
}

/// One term of pod affinity or anti-affinity.
#[derive(Clone, Debug, PartialEq)]
pub struct PodTerm {
    pub selector: Selector,
    pub namespaces: Vec<String>,
    pub namespace_selector: Selector,
    pub topology_key: String,
}

impl PodTerm {
    fn from_wire(from: &wire::PodTerm, namespace: &str) -> Self {
        // Without namespaces and selector the term means the pod's own namespace (`framework/types.go`, getNamespacesFromPodAffinityTerm).
        let own = from.namespaces.is_empty() && from.namespace_selector.is_none();
        PodTerm {
            selector: Selector::from_wire(from.label_selector.as_ref()),
            namespaces: if own { vec![namespace.to_owned()] } else { from.namespaces.clone() },
            namespace_selector: Selector::from_wire(from.namespace_selector.as_ref()),
            topology_key: from.topology_key.clone(),
        }
    }

    /// Whether the term means `pod`, whose namespace has these labels.
    pub fn matches(&self, pod: &PodInfo, namespace_labels: &Labels) -> bool {
        (self.namespaces.contains(&pod.namespace) || self.namespace_selector.matches(namespace_labels))
            && self.selector.matches(&pod.labels)
    }
}

/// A constraint of topology spread with its defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct SpreadConstraint {
    pub max_skew: i64,
    pub topology_key: String,
    /// `DoNotSchedule` is hard, `ScheduleAnyway` soft.
    pub hard: bool,
    pub selector: Selector,
    pub min_domains: i64,
    pub honor_affinity: bool,
    pub honor_taints: bool,
}

impl SpreadConstraint {
    /// `framework/plugins/podtopologyspread/common.go`, filterTopologySpreadConstraints.
    fn from_wire(from: &wire::Spread, labels: &Labels) -> Self {
        let mut selector = Selector::from_wire(from.label_selector.as_ref());
        for key in &from.match_label_keys {
            if let Some(value) = labels.get(key) {
                selector = selector.and_equals(key, value);
            }
        }
        SpreadConstraint {
            max_skew: i64::from(from.max_skew),
            topology_key: from.topology_key.clone(),
            hard: from.when_unsatisfiable != "ScheduleAnyway",
            selector,
            min_domains: i64::from(from.min_domains.unwrap_or(1)),
            honor_affinity: from.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: from.node_taints_policy.as_deref() == Some("Honor"),
        }
    }
}

impl PodInfo {
    /// Reads a pod as the API stores it.
    ///
    /// # Errors
    /// When a field that scheduling needs has the wrong type, or a quantity cannot be read.
    pub fn from_json(pod: &Value) -> Result<Self, ReadError> {
        Ok(Self::from_wire(wire::read("Pod", pod)?))
    }

    fn from_wire(pod: wire::Pod) -> Self {
        let wire::Pod { metadata: meta, spec, status } = pod;
        let scored = pod_requests(&spec, true);
        let terms = |from: &wire::PodAffinity| PodTerms {
            required: from.required.iter().map(|term| PodTerm::from_wire(term, &meta.namespace)).collect(),
            preferred: from
                .preferred
                .iter()
                .map(|term| (i64::from(term.weight), PodTerm::from_wire(&term.pod_affinity_term, &meta.namespace)))
                .collect(),
        };
        let node_affinity = &spec.affinity.node_affinity;
        PodInfo {
            requests: pod_requests(&spec, false),
            scored_milli_cpu: scored.milli_cpu,
            scored_memory: scored.memory,
            host_ports: host_ports(&spec),
            tolerations: spec.tolerations.iter().map(toleration).collect(),
            node_selector: Selector::from_labels(&spec.node_selector),
            node_terms: node_affinity
                .required
                .as_ref()
                .map(|s| s.node_selector_terms.iter().filter_map(NodeSelectorTerm::from_wire).collect()),
            preferred_nodes: node_affinity
                .preferred
                .iter()
                .filter(|term| term.weight != 0)
                .filter_map(|term| Some((i64::from(term.weight), NodeSelectorTerm::from_wire(&term.preference)?)))
                .collect(),
            affinity: terms(&spec.affinity.pod_affinity),
            anti_affinity: terms(&spec.affinity.pod_anti_affinity),
            spread_declared: !spec.topology_spread_constraints.is_empty(),
            spread: spec.topology_spread_constraints.iter().map(|c| SpreadConstraint::from_wire(c, &meta.labels)).collect(),
            claims: claims(&spec, &meta.name),
            owner: meta.owner_references.into_iter().find(|owner| owner.controller).map(|owner| (owner.kind, owner.name)),
            start_time: status.start_time.as_deref().and_then(|text| text.parse().ok()),
            terminating: meta.deletion_timestamp.is_some(),
            preempted: meta.deletion_timestamp.is_some() && preempted(&status.conditions),
            finished: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
            namespace: meta.namespace,
            name: meta.name,
            uid: meta.uid,
            labels: meta.labels,
            node_name: spec.node_name,
            nominated_node_name: status.nominated_node_name,
            scheduler_name: if spec.scheduler_name.is_empty() { DEFAULT_SCHEDULER.to_owned() } else { spec.scheduler_name },
            gates: spec.scheduling_gates.into_iter().map(|gate| gate.name).collect(),
            priority: spec.priority.unwrap_or(0),
            never_preempts: spec.preemption_policy == "Never",
        }
    }

    /// `namespace/name`, as it is keyed everywhere here.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub fn has_affinity(&self) -> bool {
        !self.affinity.is_empty() || !self.anti_affinity.is_empty()
    }

    /// nodeSelector and required node affinity (`nodeaffinity.go`, RequiredNodeAffinity.Match).
    pub fn selects_node(&self, name: &str, labels: &Labels) -> bool {
        self.node_selector.matches(labels)
            && self.node_terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(name, labels)))
    }

    /// Whether it tolerates every taint that keeps pods away (`NoSchedule`, `NoExecute`).
    pub fn tolerates_all(&self, node: &NodeInfo) -> bool {
        !taint_toleration::untolerated(self, &node.taints)
    }

    /// Whether it tolerates every taint that drives running pods away (`NoExecute`).
    pub fn tolerates_running(&self, node: &NodeInfo) -> bool {
        let drives = |taint: &&Taint| taint.effect == Effect::NoExecute;
        node.taints.iter().filter(drives).all(|taint| self.tolerations.iter().any(|toleration| toleration.tolerates(taint)))
    }

    /// Whether the same nodes take both, for the same reasons: all that the rules look at is equal.
    pub fn is_scheduled_like(&self, other: &PodInfo) -> bool {
        let PodInfo {
            namespace,
            name: _,
            uid: _,
            labels,
            owner,
            node_name,
            nominated_node_name,
            scheduler_name,
            gates,
            priority,
            never_preempts,
            start_time,
            terminating,
            preempted,
            finished,
            requests,
            scored_milli_cpu,
            scored_memory,
            host_ports,
            tolerations,
            node_selector,
            node_terms,
            preferred_nodes,
            affinity,
            anti_affinity,
            spread_declared,
            spread,
            claims,
        } = self;
        (namespace, labels, owner) == (&other.namespace, &other.labels, &other.owner)
            && (node_name, nominated_node_name, scheduler_name) == (&other.node_name, &other.nominated_node_name, &other.scheduler_name)
            && (gates, priority, never_preempts) == (&other.gates, &other.priority, &other.never_preempts)
            && (start_time, terminating, preempted) == (&other.start_time, &other.terminating, &other.preempted)
            && *finished == other.finished
            && (requests, scored_milli_cpu, scored_memory) == (&other.requests, &other.scored_milli_cpu, &other.scored_memory)
            && (host_ports, tolerations, node_selector) == (&other.host_ports, &other.tolerations, &other.node_selector)
            && (node_terms, preferred_nodes) == (&other.node_terms, &other.preferred_nodes)
            && (affinity, anti_affinity) == (&other.affinity, &other.anti_affinity)
            && (spread_declared, spread, claims) == (&other.spread_declared, &other.spread, &other.claims)
    }

    /// The nodes that required affinity names, when every alternative names some
    /// (`framework/plugins/nodeaffinity/node_affinity.go`, PreFilter).
    pub fn named_nodes(&self) -> Option<Vec<&str>> {
        let terms = self.node_terms.as_ref().filter(|terms| !terms.is_empty())?;
        let mut names = Vec::new();
        for term in terms {
            names.extend(term.node_names.as_ref()?.iter().map(String::as_str));
        }
        names.sort_unstable();
        names.dedup();
        Some(names)
    }
}

/// The scheduler that pods without a `schedulerName` have.
pub const DEFAULT_SCHEDULER: &str = "default-scheduler";

fn toleration(from: &wire::Toleration) -> Toleration {
    Toleration { key: from.key.as_str().into(), exists: from.operator == "Exists", value: from.value.as_str().into(), effect: from.effect }
}

/// `defaultpreemption/default_preemption.go`, podTerminatingByPreemption.
fn preempted(conditions: &[wire::PodCondition]) -> bool {
    let target = conditions.iter().find(|condition| condition.kind == "DisruptionTarget");
    target.is_some_and(|condition| condition.status == "True" && condition.reason == "PreemptionByScheduler")
}

/// An ephemeral volume's claim has the pod's name and its own.
fn claims(spec: &wire::PodSpec, pod: &str) -> Vec<(String, bool)> {
    let named = |volume: &wire::PodVolume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some((claim.claim_name.clone(), false)),
        (None, Some(_)) => Some((format!("{pod}-{}", volume.name), true)),
        (None, None) => None,
    };
    spec.volumes.iter().filter_map(named).collect()
}

/// Ports of containers and sidecars (`util/utils.go`, GetHostPorts).
fn host_ports(spec: &wire::PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().filter(|container| container.restart_policy == "Always");
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| &container.ports)
        .filter(|port| port.host_port > 0)
        .map(|port| HostPort {
            ip: if port.host_ip.is_empty() { ANY_IP.to_owned() } else { port.host_ip.clone() },
            protocol: if port.protocol.is_empty() { "TCP".to_owned() } else { port.protocol.clone() },
            port: port.host_port,
        })
        .collect()
}
