//! Pods that no planning can help (`C/pkg/controllers/provisioning/provisioner.go`, Validate).

use crate::input::Pod;
use crate::shape::selector_requirements;
use std::sync::Arc;
use vocabulary::{Operator, Requirement, Requirements, labels};

/// What is wrong with the pod's own demands and its volumes. `matchFields` are judged where the pod is read.
pub fn fault(pod: &Pod) -> Option<Arc<str>> {
    if avoids_karpenter(pod) {
        return Some(format!("{} DoesNotExist: the pod asks not to run on a node of Karpenter", labels::NODEPOOL).into());
    }
    let selector = selector_requirements(pod);
    let terms = std::iter::once(&selector).chain(&pod.node_affinity);
    let asked = terms.flat_map(Requirements::iter).find_map(requirement_fault).map(Arc::from);
    asked.or_else(|| pod.volumes.fault.clone())
}

fn avoids_karpenter(pod: &Pod) -> bool {
    let heaviest = pod.preferred_node_affinity.iter().rev().max_by_key(|(weight, _)| *weight).map(|(_, terms)| terms);
    let mut asked = selector_requirements(pod);
    heaviest.into_iter().chain(pod.node_affinity.first()).for_each(|terms| asked.extend(terms));
    asked.get(labels::NODEPOOL).is_some_and(|r| r.operator() == Operator::DoesNotExist)
}

/// Source: `C/pkg/apis/v1/nodeclaim_validation.go`, ValidateRequirement.
fn requirement_fault(requirement: &Requirement) -> Option<String> {
    let key = &requirement.key;
    if labels::is_restricted(key) {
        return Some(format!("label {key} may not be asked for, Karpenter sets it by itself; use a well-known label or one of your own"));
    }
    let known = labels::known_values(key)?;
    let unknown = requirement.operator() == Operator::In && !requirement.values.iter().any(|value| known.contains(&&**value));
    let values = || requirement.values.iter().map(|value| &**value).collect::<Vec<_>>().join(", ");
    unknown.then(|| format!("label {key}: no valid value among {}; there are {}", values(), known.join(", ")))
}
