//! `karpenter.sh/v1alpha1` NodeOverlay. Source: `C/pkg/apis/v1alpha1/nodeoverlay.go`, `nodeoverlay_validation.go`.

use crate::condition::Condition;
use crate::nodepool::SelectorRequirement;
use crate::validate;
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vocabulary::Quantity;

#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "karpenter.sh",
    version = "v1alpha1",
    kind = "NodeOverlay",
    status = "NodeOverlayStatus",
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct NodeOverlaySpec {
    /// Without `minValues`.
    #[serde(default)]
    pub requirements: Vec<SelectorRequirement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_adjustment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// Extended resources.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capacity: BTreeMap<String, Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeOverlayStatus {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl NodeOverlaySpec {
    /// What the definition cannot say (RuntimeValidate); empty when nothing is wrong.
    pub fn faults(&self) -> Vec<String> {
        // `C/pkg/apis/v1/labels.go`, WellKnownResources.
        const WELL_KNOWN: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "pods"];
        let of_requirements = self.requirements.iter().flat_map(validate::requirement);
        let mut faults: Vec<String> = of_requirements.map(|fault| format!("invalid value: {fault} in requirements, restricted")).collect();
        let empty = self.requirements.iter().filter(|r| r.operator == "NotIn" && r.values.is_empty());
        faults.extend(empty.map(|r| format!("key {} with operator NotIn must have a value defined", r.key)));
        let restricted = self.capacity.keys().filter(|name| WELL_KNOWN.contains(&name.as_str()));
        faults.extend(restricted.map(|name| format!("invalid capacity: {name} in resource, restricted")));
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(json!({"requirements": [{"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["m5"]}], "price": "0.1"}), 0)]
    #[case(json!({"requirements": [{"key": "team", "operator": "NotIn"}]}), 1)]
    #[case(json!({"requirements": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}), 1)]
    #[case(json!({"requirements": [], "capacity": {"cpu": "1", "example.com/chip": "2"}}), 1)]
    fn what_the_definition_cannot_say(#[case] spec: Value, #[case] faults: usize) {
        let spec: NodeOverlaySpec = serde_json::from_value(spec).expect("a spec");
        assert_eq!(spec.faults().len(), faults, "{:?}", spec.faults());
    }
}
