//! Conditions of a NodePool, an EC2NodeClass or a NodeClaim that do not hold, why, and what can be done about it.

use super::question::resolve;
use super::record::Record;
use super::{Answer, At, Error, Fact, Question, Section};
use serde_json::{Value, json};

/// What there is to do about a reason. Reasons are upstream's: `A/pkg/controllers/nodeclass`, `C/pkg/controllers/{nodepool,nodeclaim}`,
/// `A/pkg/errors/errors.go`.
const REMEDIES: [(&str, &str); 28] = [
    ("NodeClassNotFound", "apply the EC2NodeClass that spec.template.spec.nodeClassRef names, or correct the name"),
    ("NodeClassTerminating", "the EC2NodeClass is being deleted: point nodeClassRef to another"),
    ("NodePoolValidationFailed", "correct spec.template: the message names the key and the values that are possible"),
    ("AMINotFound", "correct spec.amiSelectorTerms: alias, id, name, owner or tags that an image of this region and account has"),
    ("SubnetsNotFound", "correct spec.subnetSelectorTerms, or tag subnets of the cluster's VPC as they say"),
    ("SecurityGroupsNotFound", "correct spec.securityGroupSelectorTerms, or tag security groups as they say"),
    ("UnsupportedAlias", "correct the alias in spec.amiSelectorTerms: the message names the families and versions"),
    ("PlacementGroupResolutionFailed", "let the controller's role call ec2:DescribePlacementGroups"),
    ("PlacementGroupNotFound", "correct spec.placementGroupSelector, or make the placement group"),
    ("TagValidationFailed", "take the tag out of spec.tags: only the controller sets it"),
    ("ClusterCIDRResolutionFailed", "let the controller call eks:DescribeCluster"),
    ("CreateLaunchTemplateAuthCheckFailed", "let the controller's role call ec2:CreateLaunchTemplate with these tags"),
    ("CreateFleetAuthCheckFailed", "let the controller's role call ec2:CreateFleet with these tags"),
    ("RunInstancesAuthCheckFailed", "let the controller's role call ec2:RunInstances with these tags"),
    ("UserDataSizeLimitExceeded", "shorten spec.userData: EC2 takes 16 KiB"),
    ("DependenciesNotReady", "see the conditions before it"),
    ("UnhealthyDependents", "see the conditions that it is made of"),
    ("StartupTaintsExist", "whoever is to remove the startup taint has not: see the message for the taint"),
    ("KnownEphemeralTaintsExist", "the kubelet or the cloud provider still holds the node back"),
    ("ResourceNotRegistered", "a device plugin has to announce the resource on the node"),
    ("NodeNotFound", "the machine has not joined yet: if it never does, look at user data, role, image and network, and at its console"),
    ("NodeNotReady", "the node has joined and is not Ready yet: see its own conditions"),
    ("MultipleNodesFound", "two Nodes have the machine's provider ID: delete the one that is not its own"),
    ("NodeClassReadinessUnknown", "see the conditions of its EC2NodeClass"),
    ("Unauthorized", "let the controller's role make the call"),
    ("SpotSLRCreationFailed", "make the service-linked role: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"),
    ("SecurityGroupSubnetVPCMismatch", "choose security groups of the subnets' VPC"),
    ("RegistrationFailed", "machines of this pool did not join: look at user data, role, image and network"),
];

/// Those that tell of something else than health while they do not hold.
const NOT_WANTED: [&str; 5] = ["Drifted", "Consolidatable", "Disrupted", "DisruptionReason", "InstanceTerminating"];

/// A fact for each condition that is False or Unknown; nothing when all hold or none is known.
pub fn unmet(object: &Value) -> Vec<Fact> {
    let all = object.pointer("/status/conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |condition: &Value, key: &str| condition[key].as_str().unwrap_or_default().to_owned();
    // Of a pool's machines nothing may be known yet.
    let unasked = |c: &Value| c["type"] == "NodeRegistrationHealthy" && c["status"] == "Unknown";
    let unmet = all.iter().filter(|c| c["status"] != "True" && !NOT_WANTED.iter().any(|kind| c["type"] == *kind) && !unasked(c));
    let mut facts: Vec<(bool, Fact)> = unmet
        .map(|condition| {
            let (kind, status, reason, message) =
                (text(condition, "type"), text(condition, "status"), text(condition, "reason"), text(condition, "message"));
            let remedy = REMEDIES.iter().find(|(known, _)| *known == reason).map(|(_, remedy)| format!("what to do: {remedy}"));
            let data = json!({"type": kind, "status": status, "reason": reason, "message": message});
            (kind == "Ready", Fact::new(None, format!("{kind} is {status} because {reason}: {message}")).more(remedy).with(data))
        })
        .collect();
    // What Ready sums up comes after what it is made of.
    facts.sort_by_key(|(sum, _)| *sum);
    facts.into_iter().map(|(_, fact)| fact).collect()
}

/// As lines below another fact.
pub fn lines(object: &Value) -> Vec<String> {
    unmet(object).into_iter().flat_map(|fact| [fact.says].into_iter().chain(fact.more)).collect()
}

/// Why a NodePool is not ready: its own conditions, and those of its NodeClass.
pub fn of_pool(record: &Record, name: &str, at: At) -> Vec<String> {
    let Some(pool) = record.object("NodePool", "", name, at) else { return Vec::new() };
    let mut found = lines(pool);
    let class = pool.pointer("/spec/template/spec/nodeClassRef/name").and_then(Value::as_str);
    if let Some((class, object)) = class.and_then(|class| Some((class, record.object("EC2NodeClass", "", class, at)?))) {
        found.extend(lines(object).into_iter().map(|line| format!("EC2NodeClass {class}: {line}")));
    }
    found
}

/// `ec2nodeclass/NAME`.
pub fn answer(record: &Record, question: &Question, at: At) -> Result<Answer, Error> {
    let known = record.sightings.keys().filter(|(kind, ..)| kind == "EC2NodeClass").map(|(_, _, name)| name.as_str());
    let name = resolve(question, known)?;
    let facts = match record.object("EC2NodeClass", "", name, at) {
        None => vec![Fact::new(None, "it is not there")],
        Some(object) if object.pointer("/status/conditions").is_none() => vec![Fact::new(None, "the controller has not looked at it yet")],
        Some(object) => {
            let facts = unmet(object);
            if facts.is_empty() { vec![Fact::new(None, "all its conditions hold: it can launch")] } else { facts }
        }
    };
    let of_class = |pool: &&Value| pool.pointer("/spec/template/spec/nodeClassRef/name").and_then(Value::as_str) == Some(name);
    let pools: Vec<String> = record.objects("NodePool", at).filter(|(_, pool)| of_class(pool)).map(|(key, _)| key.2.clone()).collect();
    let says = if pools.is_empty() { "no NodePool names it".to_owned() } else { format!("used by NodePool {}", pools.join(", ")) };
    let sections = vec![
        Section { title: "Whether it can launch", facts },
        Section { title: "Who uses it", facts: vec![Fact::new(None, says).with(json!(pools))] },
    ];
    Ok(Answer { object: format!("ec2nodeclass/{name}"), at, sections })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_is_told_with_what_to_do_and_the_sum_last() {
        let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "m"});
        let object = json!({"status": {"conditions": [
            condition("Ready", "False", "UnhealthyDependents"), condition("AMIsReady", "False", "AMINotFound"),
            condition("SubnetsReady", "True", "SubnetsReady"), condition("ValidationSucceeded", "Unknown", "Nobody'sReason"),
            condition("Drifted", "False", "NotDrifted"),
        ]}});
        let told = lines(&object);
        assert_eq!(told[0], "AMIsReady is False because AMINotFound: m");
        assert!(told[1].starts_with("what to do: correct spec.amiSelectorTerms"));
        assert_eq!(told[2], "ValidationSucceeded is Unknown because Nobody'sReason: m");
        assert_eq!(told[3], "Ready is False because UnhealthyDependents: m");
        assert_eq!(told.len(), 5);
        assert!(lines(&json!({})).is_empty());
    }
}
