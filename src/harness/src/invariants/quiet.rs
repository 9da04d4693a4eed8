//! With nothing to do, no write to Nodes, NodeClaims or instances.
//!
//! Armed once the story has ended and settled. Kubelets' heartbeats are not the controller's: who sent a request to the embedded
//! Kubernetes is told by its `User-Agent`; of AWS's wire the controller is the only user.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

#[derive(Debug, Default)]
pub struct Quiet {
    pub armed: bool,
}

/// Operations of EC2 on instances that change something. A dry run changes nothing.
const WRITES: [&str; 10] = [
    "CreateFleet",
    "RunInstances",
    "TerminateInstances",
    "StartInstances",
    "StopInstances",
    "RebootInstances",
    "ModifyInstanceAttribute",
    "ModifyInstanceMetadataOptions",
    "CreateTags",
    "DeleteTags",
];

/// A request on AWS's wire that writes to instances: its operation.
pub fn of_aws(body: &str) -> Option<&'static str> {
    let mut pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    let action = pairs.clone().find(|(key, _)| *key == "Action")?.1;
    let operation = WRITES.into_iter().find(|known| *known == action)?;
    let dry = pairs.clone().any(|(key, value)| key == "DryRun" && value == "true");
    let tags_other = operation.ends_with("Tags") && !pairs.any(|(key, value)| key.starts_with("ResourceId") && value.starts_with("i-"));
    (!dry && !tags_other).then_some(operation)
}

/// A request on Kubernetes' wire that writes to Nodes or NodeClaims: `PATCH nodes/x`. That a NodeClaim was found to be consistent with its Node, which
/// is said ten minutes after its launch, is no writing for nothing.
pub fn of_kubernetes(method: &str, path: &str, body: &[u8], now: Timestamp) -> Option<String> {
    if !["POST", "PUT", "PATCH", "DELETE"].contains(&method) || method == "PATCH" && says_consistent(body, now) {
        return None;
    }
    let kinds = [("/api/v1/nodes", "nodes"), ("/apis/karpenter.sh/v1/nodeclaims", "nodeclaims")];
    let (rest, kind) = kinds.into_iter().find_map(|(prefix, kind)| Some((path.strip_prefix(prefix)?, kind)))?;
    (rest.is_empty() || rest.starts_with('/')).then(|| format!("{method} {kind}{rest}"))
}

/// A status in which `ConsistentStateFound` turned just now.
fn says_consistent(body: &[u8], now: Timestamp) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return false };
    let conditions = body["status"]["conditions"].as_array();
    conditions.into_iter().flatten().filter(|condition| condition["type"] == "ConsistentStateFound").any(|condition| {
        let turned = condition["lastTransitionTime"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        turned.is_some_and(|at| now.duration_since(at) < SignedDuration::from_secs(2))
    })
}
