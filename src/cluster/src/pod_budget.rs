//! A PodDisruptionBudget in the planner's words (`C/pkg/utils/pdb/pdb.go`).

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use planner::input::{PodBudget, SelectorTerm};
use std::sync::Arc;
use vocabulary::Operator;

pub fn convert(budget: &PodDisruptionBudget) -> PodBudget {
    let spec = budget.spec.as_ref();
    let is = |value: Option<&IntOrString>, number: Option<i32>, text: &str| match value {
        Some(IntOrString::Int(value)) => Some(*value) == number,
        Some(IntOrString::String(value)) => value == text,
        None => false,
    };
    let most = spec.and_then(|s| s.max_unavailable.as_ref());
    let least = spec.and_then(|s| s.min_available.as_ref());
    PodBudget {
        namespace: budget.metadata.namespace.as_deref().unwrap_or("").into(),
        name: budget.metadata.name.as_deref().unwrap_or("").into(),
        selector: spec.and_then(|s| s.selector.as_ref()).map(terms),
        allowed: budget.status.as_ref().and_then(|s| s.disruptions_allowed).unwrap_or(0),
        blocks_fully: is(most, Some(0), "0%") || is(least, None, "100%"),
        unhealthy_may_go: spec.and_then(|s| s.unhealthy_pod_eviction_policy.as_deref()) == Some("AlwaysAllow"),
    }
}

pub(crate) fn terms(selector: &LabelSelector) -> Vec<SelectorTerm> {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| SelectorTerm {
        key: key.as_str().into(),
        operator: Operator::In,
        values: vec![value.as_str().into()],
    });
    let expressions = selector.match_expressions.iter().flatten().map(|e| SelectorTerm {
        key: e.key.as_str().into(),
        // The API server lets no other operator through; one would match nothing.
        operator: Operator::parse(&e.operator).unwrap_or(Operator::Gt),
        values: e.values.iter().flatten().map(|v| Arc::from(v.as_str())).collect(),
    });
    labels.chain(expressions).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::none_unavailable(json!({"maxUnavailable": 0}), true)]
    #[case::no_percent_unavailable(json!({"maxUnavailable": "0%"}), true)]
    #[case::all_available(json!({"minAvailable": "100%"}), true)]
    #[case::a_count_that_happens_to_be_all(json!({"minAvailable": 1}), false)]
    #[case::one_unavailable(json!({"maxUnavailable": 1}), false)]
    fn budgets_that_never_allow(#[case] spec: Value, #[case] blocks: bool) {
        let budget = serde_json::from_value(json!({"metadata": {"name": "b", "namespace": "n"}, "spec": spec})).expect("a budget");
        assert_eq!(convert(&budget).blocks_fully, blocks);
    }
}
