//! What a pod says of other pods: spread constraints, affinity and anti-affinity, in the planner's words.

use crate::pod_budget::terms;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use planner::input::{PodTerm, PodTerms, Selector, SelectorTerm, SpreadConstraint};
use std::sync::Arc;
use vocabulary::Operator;

/// A selector without doubles, in order: equal selectors are equal values.
fn selector(wire: Option<&LabelSelector>) -> Selector {
    wire.map(|wire| in_order(terms(wire)))
}

fn in_order(mut all: Vec<SelectorTerm>) -> Vec<SelectorTerm> {
    for term in &mut all {
        term.values.sort();
    }
    all.sort();
    all.dedup();
    all
}

/// `matchLabelKeys` join the selector with the pod's own values; keys that the pod lacks say nothing
/// (`C/pkg/controllers/provisioning/scheduling/topology.go`, newForTopologies).
pub fn spread(pod: &core::Pod) -> Vec<SpreadConstraint> {
    let constraints = pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_deref()).unwrap_or_default();
    let own = pod.metadata.labels.as_ref();
    let convert = |wire: &core::TopologySpreadConstraint| {
        let matched = wire.match_label_keys.iter().flatten().filter_map(|key| {
            let value = own?.get(key)?;
            Some(SelectorTerm { key: key.as_str().into(), operator: Operator::In, values: vec![value.as_str().into()] })
        });
        SpreadConstraint {
            key: wire.topology_key.as_str().into(),
            max_skew: wire.max_skew,
            min_domains: wire.min_domains,
            soft: wire.when_unsatisfiable == "ScheduleAnyway",
            selector: selector(wire.label_selector.as_ref()).map(|terms| in_order(terms.into_iter().chain(matched).collect())),
            honor_affinity: wire.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: wire.node_taints_policy.as_deref() == Some("Honor"),
        }
    };
    constraints.iter().map(convert).collect()
}

pub fn affinity(spec: &core::PodSpec) -> PodTerms {
    let wire = spec.affinity.as_ref().and_then(|affinity| affinity.pod_affinity.as_ref());
    let required = wire.and_then(|w| w.required_during_scheduling_ignored_during_execution.as_deref());
    pod_terms(required, wire.and_then(|w| w.preferred_during_scheduling_ignored_during_execution.as_deref()))
}

pub fn anti_affinity(spec: &core::PodSpec) -> PodTerms {
    let wire = spec.affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let required = wire.and_then(|w| w.required_during_scheduling_ignored_during_execution.as_deref());
    pod_terms(required, wire.and_then(|w| w.preferred_during_scheduling_ignored_during_execution.as_deref()))
}

fn pod_terms(required: Option<&[core::PodAffinityTerm]>, preferred: Option<&[core::WeightedPodAffinityTerm]>) -> PodTerms {
    PodTerms {
        required: required.unwrap_or_default().iter().map(term).collect(),
        preferred: preferred.unwrap_or_default().iter().map(|weighted| (weighted.weight, term(&weighted.pod_affinity_term))).collect(),
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys` of these terms are the API server's to merge into the selector, and it does so.
fn term(wire: &core::PodAffinityTerm) -> PodTerm {
    PodTerm {
        key: wire.topology_key.as_str().into(),
        selector: selector(wire.label_selector.as_ref()),
        namespaces: wire.namespaces.iter().flatten().map(|name| Arc::from(name.as_str())).collect(),
        namespace_selector: selector(wire.namespace_selector.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn match_label_keys_join_the_selector() {
        let pod = serde_json::from_value(json!({"metadata": {"name": "p", "labels": {"app": "web", "pod-template-hash": "abc"}}, "spec": {"containers": [],
            "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "nodeTaintsPolicy": "Honor",
                "matchLabelKeys": ["pod-template-hash", "absent"], "labelSelector": {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}}]}}))
        .expect("a pod");
        let [made] = spread(&pod).try_into().expect("one constraint");
        let is = |key: &str, value: &str| SelectorTerm { key: key.into(), operator: Operator::In, values: vec![value.into()] };
        assert_eq!(made.selector, Some(vec![is("app", "web"), is("pod-template-hash", "abc")]));
        assert!(made.soft && made.honor_taints && made.honor_affinity);
    }

    #[test]
    fn terms_keep_their_namespaces_and_weights() {
        let spec = serde_json::from_value(json!({"containers": [], "affinity": {
            "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "podAffinityTerm": {"topologyKey": "zone", "namespaces": ["a"]}}]},
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "host", "namespaceSelector": {}, "labelSelector": {"matchLabels": {"app": "db"}}}]}}}))
        .expect("a spec");
        let near = affinity(&spec).preferred;
        assert_eq!((near[0].0, &*near[0].1.namespaces[0], &near[0].1.selector, &near[0].1.namespace_selector), (7, "a", &None, &None));
        let apart = anti_affinity(&spec).required;
        assert_eq!((apart[0].selector.as_ref().map(Vec::len), &apart[0].namespace_selector), (Some(1), &Some(Vec::new())));
    }
}
