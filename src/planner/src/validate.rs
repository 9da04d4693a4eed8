//! Pods that no planning can help (`C/pkg/controllers/provisioning/provisioner.go`, Validate).

use crate::input::Pod;
use crate::output::PodOutcome;
use crate::shape::selector_requirements;
use std::sync::Arc;
use vocabulary::{Operator, Requirement, Requirements, labels};

/// What is wrong with the pod's own demands and its volumes.
pub fn fault(pod: &Pod) -> Option<PodOutcome> {
    let mut faults: Vec<(String, String)> = Vec::new();
    if avoids_karpenter(pod) {
        let label = labels::NODEPOOL;
        faults.push((
            format!("{label} DoesNotExist: the pod asks not to run on a node of Karpenter"),
            format!("configured to not run on a Karpenter provisioned node (requirement={label} DoesNotExist)"),
        ));
    }
    let selector = selector_requirements(pod);
    for requirement in std::iter::once(&selector).chain(&pod.node_affinity).flat_map(Requirements::iter) {
        faults.extend(requirement_fault(requirement));
    }
    if pod.undecided.iter().any(|field| **field == *MATCH_FIELDS) {
        let words = "node selector term with matchFields is not supported";
        faults.push((format!("{words}: name labels in matchExpressions"), words.to_owned()));
    }
    faults.extend(pod.volumes.fault.as_ref().map(|fault| (fault.to_string(), fault.to_string())));
    let words: Vec<&str> = faults.iter().map(|(_, words)| words.as_str()).collect();
    let words = Arc::from(words.join("; "));
    faults.into_iter().next().map(|(fault, _)| PodOutcome::Invalid { fault: fault.into(), words })
}

/// The field of a pod that nobody can be helped with.
const MATCH_FIELDS: &str = "affinity.nodeAffinity.matchFields";

/// The pod keeps away from Karpenter's nodes on purpose.
pub fn avoids_karpenter(pod: &Pod) -> bool {
    let heaviest = pod.preferred_node_affinity.iter().rev().max_by_key(|(weight, _)| *weight).map(|(_, terms)| terms);
    let mut asked = selector_requirements(pod);
    heaviest.into_iter().chain(pod.node_affinity.first()).for_each(|terms| asked.extend(terms));
    asked.get(labels::NODEPOOL).is_some_and(|r| r.operator() == Operator::DoesNotExist)
}

/// In our words and in Karpenter's. Source: `C/pkg/apis/v1/nodeclaim_validation.go`, ValidateRequirement; `labels.go`, IsRestrictedLabel.
fn requirement_fault(requirement: &Requirement) -> Option<(String, String)> {
    let key = &requirement.key;
    if labels::is_restricted(key) {
        return Some((
            format!("label {key} may not be asked for, Karpenter sets it by itself; use a well-known label or one of your own"),
            format!(
                "using label {key} is not allowed as it might interfere with the internal provisioning logic; specify a well known label: \
                 [{}], or a custom label that does not use a restricted domain: [{}]",
                labels::WELL_KNOWN.join(" "),
                labels::RESTRICTED_DOMAINS.join(" ")
            ),
        ));
    }
    let known = labels::known_values(key)?;
    let unknown = requirement.operator() == Operator::In && !requirement.values.iter().any(|value| known.contains(&&**value));
    let values: Vec<&str> = requirement.values.iter().map(|value| &**value).collect();
    let set: Vec<String> = known.iter().map(|value| format!("{value}:{{}}")).collect();
    unknown.then(|| {
        (
            format!("label {key}: no valid value among {}; there are {}", values.join(", "), known.join(", ")),
            format!("no valid values found in [{0}] for {key}, expected one of: map[{1}], got: [{0}]", values.join(" "), set.join(" ")),
        )
    })
}
