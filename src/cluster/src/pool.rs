//! A NodePool in the planner's words.

use crate::hash;
use crate::pod;
use api::NodePool;
use api::condition;
use api::nodepool::SelectorRequirement;
use planner::input::{Budget, ConsolidationPolicy, Pool, PoolDisruption};
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::{Operator, Quantity, Requirement, Resources, Taint};

/// Whether the reference names our kind of NodeClass; objects of other providers are not ours to manage
/// (`C/pkg/utils/nodepool/nodepool.go`, IsManaged).
pub fn is_ours(reference: &api::nodepool::NodeClassRef) -> bool {
    reference.group == "karpenter.k8s.aws" && reference.kind == "EC2NodeClass"
}

pub fn quantities(list: &BTreeMap<String, Quantity>) -> Resources {
    Resources::from_quantities(list.iter().map(|(name, quantity)| (name.as_str(), *quantity)))
}

/// An operator that is not known makes a requirement that nothing meets.
pub fn requirement(wire: &SelectorRequirement) -> Requirement {
    let operator = Operator::parse(&wire.operator).unwrap_or(Operator::DoesNotExist);
    let mut made = Requirement::new(wire.key.as_str(), operator, wire.values.iter().map(String::as_str));
    made.min_values = wire.min_values;
    made
}

pub fn taints(wire: &[k8s_openapi::api::core::v1::Taint]) -> Vec<Taint> {
    wire.iter().filter_map(pod::taint).collect()
}

pub fn convert(pool: &NodePool) -> Pool {
    let template = &pool.spec.template;
    let spec = &template.spec;
    let conditions = pool.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    Pool {
        name: pool.metadata.name.as_deref().unwrap_or("").into(),
        uid: pool.metadata.uid.as_deref().unwrap_or("").into(),
        weight: pool.spec.weight.unwrap_or(0),
        ready: condition::is_true(conditions, "Ready") && pool.metadata.deletion_timestamp.is_none() && pool.spec.replicas.is_none(),
        node_class: spec.node_class_ref.name.as_str().into(),
        labels: pod::text_labels(Some(&template.metadata.labels)),
        annotations: pod::text_labels(Some(&template.metadata.annotations)),
        taints: taints(&spec.taints),
        startup_taints: taints(&spec.startup_taints),
        requirements: spec.requirements.iter().map(requirement).collect(),
        limits: pool.spec.limits.as_ref().map(quantities).unwrap_or_default(),
        expire_after: spec.expire_after.as_ref().and_then(|d| d.duration),
        termination_grace_period: spec.termination_grace_period.as_ref().and_then(|d| d.duration),
        hash: hash::node_pool(pool).into(),
        disruption: disruption(pool),
        replicas: pool.spec.replicas,
    }
}

fn disruption(pool: &NodePool) -> PoolDisruption {
    let wire = &pool.spec.disruption;
    PoolDisruption {
        consolidate_after: wire.consolidate_after.duration,
        policy: match wire.consolidation_policy.as_deref() {
            Some("WhenEmpty") => ConsolidationPolicy::WhenEmpty,
            Some("Balanced") => ConsolidationPolicy::Balanced,
            _ => ConsolidationPolicy::WhenEmptyOrUnderutilized,
        },
        budgets: wire.budgets.iter().map(budget).collect(),
    }
}

fn budget(wire: &api::nodepool::Budget) -> Budget {
    Budget {
        nodes: wire.nodes.as_str().into(),
        reasons: wire.reasons.as_ref().map(|reasons| reasons.iter().map(|r| Arc::from(r.as_str())).collect()),
        schedule: wire.schedule.as_deref().map(Arc::from),
        duration: wire.duration.as_deref().and_then(api::duration::parse_go),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn pool(patch: Value) -> NodePool {
        let mut object = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default", "uid": "u"},
            "spec": {"limits": {"cpu": "1000", "memory": "1000Gi"}, "template": {"metadata": {"labels": {"type": "karpenter"}}, "spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}, "expireAfter": "Never",
                "requirements": [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"], "minValues": 1}]}}},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        if let (Some(to), Some(from)) = (object.as_object_mut(), patch.as_object()) {
            for (key, value) in from {
                if let (Some(to), Some(from)) = (to[key].as_object_mut(), value.as_object()) {
                    to.extend(from.clone());
                }
            }
        }
        serde_json::from_value(object).expect("a NodePool")
    }

    #[rstest]
    #[case::ready(json!({}), true)]
    #[case::deleting(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), false)]
    #[case::fixed_size(json!({"spec": {"replicas": 3}}), false)]
    #[case::no_condition(json!({"status": {"conditions": []}}), false)]
    fn readiness(#[case] patch: Value, #[case] ready: bool) {
        assert_eq!(convert(&pool(patch)).ready, ready);
    }

    #[test]
    fn limits_and_requirements_carry_over() {
        let pool = convert(&pool(json!({})));
        assert_eq!((pool.limits.get("cpu"), pool.limits.get("memory")), (1_000_000, 1000 << 30));
        assert_eq!(pool.expire_after, None);
        assert!(pool.requirements[0].has("on-demand") && pool.requirements[0].min_values == Some(1));
    }
}
