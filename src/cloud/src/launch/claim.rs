//! What a claim and its NodeClass ask for.

use crate::labels as aws;
use crate::port::LaunchError;
use crate::providers::images::requirement;
use api::condition;
use api::{EC2NodeClass, NodeClaim};
use planner::InstanceType;
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::labels::{self, instance};
use vocabulary::{CapacityType, Requirement, Requirements, Resources};

/// A claim, in the planner's terms.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub requirements: Requirements,
    pub requests: Resources,
}

impl Wanted {
    pub fn of(claim: &NodeClaim) -> Self {
        let spec = &claim.spec;
        Wanted {
            requirements: spec.requirements.iter().filter_map(requirement).collect(),
            requests: Resources::from_quantities(spec.resources.requests.iter().map(|(name, quantity)| (name.as_str(), *quantity))),
        }
    }

    /// Whether the claim may be of this market; a claim that says nothing may be of any.
    pub fn allows(&self, capacity_type: CapacityType) -> bool {
        self.requirements.get(labels::CAPACITY_TYPE).is_none_or(|requirement| requirement.has(capacity_type.as_str()))
    }

    pub fn has_min_values(&self) -> bool {
        self.requirements.iter().any(|requirement| requirement.min_values.is_some())
    }

    /// Reserved before Spot, if there is any to be had; else on-demand without a look (`getCapacityType`).
    pub fn capacity_type(&self, types: &[InstanceType]) -> CapacityType {
        let offered = |capacity_type: &CapacityType| {
            let wanted = self.of_market(*capacity_type);
            let has = |kind: &InstanceType| {
                kind.offerings.iter().any(|o| o.available && wanted.is_compatible(&o.requirements, aws::is_well_known))
            };
            self.allows(*capacity_type) && types.iter().any(has)
        };
        [CapacityType::Reserved, CapacityType::Spot].into_iter().find(offered).unwrap_or(CapacityType::OnDemand)
    }

    /// The requirements with the market settled.
    pub fn of_market(&self, capacity_type: CapacityType) -> Requirements {
        let mut requirements = self.requirements.clone();
        requirements.set(Requirement::is_in(labels::CAPACITY_TYPE, capacity_type.as_str()));
        requirements
    }

    /// `default` wherever it is allowed (`getTenancyType`).
    pub fn tenancy(&self) -> &'static str {
        match self.requirements.get(instance::TENANCY) {
            Some(requirement) if !requirement.has("default") && requirement.has("dedicated") => "dedicated",
            _ => "default",
        }
    }
}

/// The partition of a placement group that a claim asks for: the first of those it names, in the order of their letters.
pub fn partition(wanted: &Requirements) -> Option<Arc<str>> {
    let asked = wanted.get(labels::PLACEMENT_GROUP_PARTITION).filter(|requirement| !requirement.complement)?;
    asked.values.first().cloned()
}

/// A launch waits for a NodeClass that is ready and whose status is about its present spec (`A/pkg/cloudprovider/cloudprovider.go`, Create).
pub fn check_ready(class: &EC2NodeClass) -> Result<(), LaunchError> {
    let conditions = class.status.as_ref().map_or(&[][..], |status| &status.conditions);
    match condition::find(conditions, "Ready") {
        Some(ready) if ready.status == "False" => Err(LaunchError::NodeClassNotReady(ready.message.clone())),
        Some(ready) if ready.is_true() && ready.observed_generation != class.metadata.generation => {
            Err(LaunchError::NodeClassNotReady("nodeclass status has not been reconciled against the latest spec".to_owned()))
        }
        Some(ready) if ready.is_true() => Ok(()),
        _ => {
            let message = "NodeClass is in Ready=Unknown".to_owned();
            Err(LaunchError::Failed {
                reason: "NodeClassReadinessUnknown".to_owned(),
                cause: format!("creating nodeclaim, resolving nodeclass readiness, {message}").into(),
                message,
            })
        }
    }
}

/// The tags of everything that a launch makes (`A/pkg/utils/utils.go`, GetTags). `Err` names the tags that a class may not set.
pub fn tags(class: &EC2NodeClass, nodepool: &str, cluster: &str) -> Result<BTreeMap<String, String>, String> {
    let refused: Vec<String> = class.spec.tags.keys().filter(|key| is_restricted(key)).map(|key| format!("{key:?}")).collect();
    if !refused.is_empty() {
        return Err(format!("tags failed validation requirements (tags={})", refused.join(", ")));
    }
    let mut tags = class.spec.tags.clone();
    tags.insert(format!("kubernetes.io/cluster/{cluster}"), "owned".to_owned());
    tags.insert(labels::NODEPOOL.to_owned(), nodepool.to_owned());
    tags.insert(labels::TAG_CLUSTER_NAME.to_owned(), cluster.to_owned());
    tags.insert(labels::EC2NODECLASS.to_owned(), class.metadata.name.clone().unwrap_or_default());
    Ok(tags)
}

/// Source: `A/pkg/apis/v1/labels.go`, RestrictedTagPatterns.
fn is_restricted(key: &str) -> bool {
    let cluster = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    [labels::NODEPOOL, labels::TAG_CLUSTER_NAME, labels::EC2NODECLASS, labels::TAG_NODECLAIM].contains(&key)
        || key.strip_prefix("kubernetes.io/cluster/").is_some_and(cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("team", false)]
    #[case("Name", false)]
    #[case("karpenter.sh/nodepool", true)]
    #[case("eks:eks-cluster-name", true)]
    #[case("kubernetes.io/cluster/x-1", true)]
    #[case("kubernetes.io/cluster/", false)]
    fn some_tags_are_karpenters_own(#[case] key: &str, #[case] restricted: bool) {
        let mut class = EC2NodeClass::new("default", api::EC2NodeClassSpec::default());
        class.spec.tags.insert(key.to_owned(), "v".to_owned());
        assert_eq!(tags(&class, "pool", "cluster").is_err(), restricted);
    }
}
