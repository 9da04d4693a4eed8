//! Whether a kubelet takes a pod that is bound to its node, in the real one's words when it does not.
//!
//! Source: kubernetes `pkg/kubelet/kubelet.go` (the order of the handlers), `pkg/kubelet/lifecycle/predicate.go`; what pressure refuses is
//! [`crate::pod::Appetite`]'s. Not here, since nothing of the kind is hollow: AppArmor, node features that are declared, a node that shuts
//! down, the policies of the CPU, memory and topology managers.
//!
//! - [`devices`]: what device plugins can give, and to whom they gave it
//! - [`preemption`]: who goes to make room for a critical pod
//! - `sysctl`: kernel parameters that a pod may set

pub mod devices;
pub mod preemption;
mod sysctl;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use scheduler::{Failure, NodeInfo, PodInfo, admission_check};
use serde_json::Value;

use crate::pod::critical;
use devices::Limits;
use preemption::Class;

/// What all hollow machines run.
const OS: &str = "linux";
const OS_LABEL: &str = "kubernetes.io/os";

/// A pod as its admission sees it; nothing of it changes while the pod lives.
#[derive(Clone, Debug)]
pub struct Applicant {
    pod: Arc<PodInfo>,
    os: Option<String>,
    /// `supplementalGroupsPolicy: Strict`.
    strict_groups: bool,
    sysctls: Vec<String>,
    host_network: bool,
    host_ipc: bool,
    limits: Vec<Limits>,
    critical: bool,
    /// It did not come from the API server: taints do not keep it away.
    is_static: bool,
    priority: Option<i32>,
    class: Class,
}

impl Applicant {
    /// `None` when an amount or a rule of it cannot be read; API servers let no such pod in.
    pub fn of(pod: &Pod) -> Option<Applicant> {
        let spec = pod.spec.as_ref()?;
        let security = spec.security_context.as_ref();
        Some(Applicant {
            pod: Arc::new(PodInfo::from_json(&serde_json::to_value(pod).ok()?).ok()?),
            os: spec.os.as_ref().map(|os| os.name.clone()),
            strict_groups: security.and_then(|security| security.supplemental_groups_policy.as_deref()) == Some("Strict"),
            sysctls: security.and_then(|security| security.sysctls.as_ref()).into_iter().flatten().map(|one| one.name.clone()).collect(),
            host_network: spec.host_network.unwrap_or(false),
            host_ipc: spec.host_ipc.unwrap_or(false),
            limits: Limits::of(spec),
            critical: critical::is_critical(pod),
            is_static: critical::is_static(pod),
            priority: spec.priority,
            class: Class::of(pod.status.as_ref().and_then(|status| status.qos_class.as_deref())),
        })
    }
}

/// A node as its kubelet knows it from the API server, which may be a moment ago.
#[derive(Clone, Debug)]
pub struct Site {
    /// `metadata.resourceVersion`; a later one is newer.
    version: u64,
    info: NodeInfo,
    /// Its container runtime knows `supplementalGroupsPolicy`.
    strict_groups: bool,
}

impl Site {
    /// `None` when an amount or a taint of it cannot be read.
    pub fn of(node: &Node) -> Option<Site> {
        Site::from_json(&serde_json::to_value(node).ok()?)
    }

    /// The same from the object as the API server shows it.
    pub fn from_json(node: &Value) -> Option<Site> {
        let mut info = NodeInfo::from_json(node).ok()?;
        // The kubelet knows better than a label that somebody has changed (rejectPodAdmissionBasedOnOSSelector).
        if !info.labels.is_empty() {
            info.labels.insert(OS_LABEL.to_owned(), OS.to_owned());
        }
        let version = node["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        let strict_groups = node["status"]["features"]["supplementalGroupsPolicy"].as_bool().unwrap_or(false);
        Some(Site { version, info, strict_groups })
    }

    pub fn name(&self) -> &str {
        &self.info.name
    }

    pub fn is_older_than(&self, other: &Site) -> bool {
        self.version < other.version
    }
}

/// Why a kubelet does not take a pod; both as in its Event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub reason: String,
    pub message: String,
}

impl Refusal {
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Refusal {
        Refusal { reason: reason.into(), message: message.into() }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is taken once these of the others have gone, by their places, in this order.
    Taken {
        victims: Vec<usize>,
    },
    Refused(Refusal),
    /// It is refused for nothing but labels and taints, which others may have changed meanwhile. The real kubelet looks at the Node once
    /// more for labels; for taints it trusts its watch, which is its node's alone and no busier than that.
    Doubtful(Refusal),
}

/// Whether the node takes the pod beside `others`, which are those that have not ended. `devices` are what plugins have announced.
pub fn admit(applicant: &Applicant, site: &Site, others: &[&Applicant], devices: &BTreeMap<String, u64>) -> Verdict {
    let refusal =
        sysctl::forbidden(applicant).or_else(|| devices::unavailable(applicant, others, devices)).or_else(|| unsupported(applicant, site));
    if let Some(refusal) = refusal {
        return Verdict::Refused(refusal);
    }
    let mut failures = failures(applicant, site, others);
    let doubtful = failures.iter().all(|failure| matches!(failure, Failure::Rule("NodeAffinity" | TAINTS, _)));
    if applicant.critical {
        // What it lacks is no reason to refuse a critical pod (HandleAdmissionFailure).
        let (lacks, rules): (Vec<_>, Vec<_>) = failures.into_iter().partition(|failure| matches!(failure, Failure::Insufficient(_)));
        if rules.is_empty() {
            return match preemption::victims(applicant, others, &lacks) {
                Ok(victims) => Verdict::Taken { victims },
                Err(message) => Verdict::Refused(Refusal::new(UNEXPECTED, message)),
            };
        }
        failures = rules;
    }
    match failures.into_iter().next().map(said) {
        None => Verdict::Taken { victims: Vec::new() },
        Some(refusal) if doubtful => Verdict::Doubtful(refusal),
        Some(refusal) => Verdict::Refused(refusal),
    }
}

const UNEXPECTED: &str = "UnexpectedAdmissionError";
const TAINTS: &str = "TaintToleration";
/// `pkg/scheduler/framework/plugins/tainttoleration/taint_toleration.go`, ErrReasonNotMatch.
const UNTOLERATED: &str = "node(s) had taints that the pod didn't tolerate";

/// What no room on the node would help.
fn unsupported(applicant: &Applicant, site: &Site) -> Option<Refusal> {
    if applicant.pod.labels.get(OS_LABEL).is_some_and(|os| os != OS) {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return Some(Refusal::new("PodOSSelectorNodeLabelDoesNotMatch", message));
    }
    if applicant.os.as_deref().is_some_and(|os| os != OS) {
        return Some(Refusal::new("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"));
    }
    (applicant.strict_groups && !site.strict_groups)
        .then(|| Refusal::new("SupplementalGroupsPolicyNotSupported", "SupplementalGroupsPolicy=Strict is not supported in this node"))
}

/// generalFilter, without the extended resources that the node does not have (removeMissingExtendedResources): something else than a
/// node may serve those.
fn failures(applicant: &Applicant, site: &Site, others: &[&Applicant]) -> Vec<Failure> {
    let node = site.info.clone().with_pods(others.iter().map(|other| &other.pod));
    let mut requests = applicant.pod.requests.clone();
    requests.scalar.retain(|name, _| !devices::is_extended(name) || node.allocatable.scalar.contains_key(name));
    let mut failures = admission_check(&applicant.pod, &requests, &node);
    if !applicant.is_static && !applicant.pod.tolerates_running(&node) {
        failures.push(Failure::Rule(TAINTS, UNTOLERATED));
    }
    failures
}

/// The kubelet's words; it names the first failure alone.
fn said(failure: Failure) -> Refusal {
    match failure {
        Failure::Rule(name, words) => Refusal::new(name, format!("Predicate {name} failed: {words}")),
        Failure::Insufficient(lack) => {
            let message = format!(
                "Node didn't have enough resource: {}, requested: {}, used: {}, capacity: {}",
                lack.resource, lack.requested, lack.used, lack.capacity
            );
            Refusal::new(format!("OutOf{}", lack.resource), message)
        }
    }
}
