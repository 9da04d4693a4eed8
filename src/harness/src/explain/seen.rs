//! What the trace keeps of a watched object: enough to tell where pods ran, when nodes came and went, and what forbade to move them.
//!
//! A watch event beyond the trace's measure is a digest, and most objects are. So each change of the kinds below is kept once, cut
//! down to what a question can be about.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Kinds that are kept, with the JSON pointers of what is kept of them beside [`METADATA`].
const KEPT: [(&str, &[&str]); 6] = [
    ("Pod", &["/metadata/annotations", "/spec/nodeName", "/status/phase", "/status/conditions"]),
    ("Node", &["/metadata/annotations", "/spec/providerID", "/spec/taints", "/status/conditions"]),
    (
        "NodeClaim",
        &[
            "/metadata/annotations",
            "/spec/expireAfter",
            "/spec/terminationGracePeriod",
            "/status/providerID",
            "/status/nodeName",
            "/status/lastPodEventTime",
            "/status/conditions",
        ],
    ),
    (
        "NodePool",
        &[
            "/spec/disruption",
            "/spec/limits",
            "/spec/replicas",
            "/spec/template/spec/nodeClassRef",
            "/spec/weight",
            "/status/resources",
            "/status/conditions",
        ],
    ),
    ("EC2NodeClass", &["/status/conditions"]),
    (
        "PodDisruptionBudget",
        &["/spec", "/status/expectedPods", "/status/desiredHealthy", "/status/currentHealthy", "/status/disruptionsAllowed"],
    ),
];

const METADATA: [&str; 7] = [
    "/metadata/namespace",
    "/metadata/name",
    "/metadata/uid",
    "/metadata/creationTimestamp",
    "/metadata/deletionTimestamp",
    "/metadata/labels",
    "/metadata/ownerReferences",
];

/// Tells each change once, however many watches deliver it.
#[derive(Default)]
pub struct Sights {
    versions: BTreeMap<(String, String), u64>,
}

impl Sights {
    /// What is new in a chunk of a watch, as `{"change": …, "object": …}`.
    pub fn see(&mut self, chunk: &[u8]) -> Vec<Value> {
        chunk.split(|byte| *byte == b'\n').filter_map(|line| self.change(line)).collect()
    }

    fn change(&mut self, line: &[u8]) -> Option<Value> {
        let event: Value = serde_json::from_slice(line).ok()?;
        let change = event["type"].as_str().filter(|change| matches!(*change, "ADDED" | "MODIFIED" | "DELETED"))?;
        let object = &event["object"];
        let cut = cut(object)?;
        let key = (object["kind"].as_str()?.to_owned(), object.pointer("/metadata/uid")?.as_str()?.to_owned());
        let version = object.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()?;
        if self.versions.get(&key).is_some_and(|known| *known >= version) {
            return None;
        }
        self.versions.insert(key, version);
        Some(json!({"change": change, "object": cut}))
    }
}

fn cut(object: &Value) -> Option<Value> {
    let kind = object["kind"].as_str()?;
    let (_, own) = KEPT.iter().find(|(name, _)| *name == kind)?;
    let mut kept = json!({"kind": kind});
    for pointer in METADATA.iter().chain(*own) {
        if let Some(value) = object.pointer(pointer) {
            put(&mut kept, pointer, value.clone());
        }
    }
    Some(kept)
}

fn put(into: &mut Value, pointer: &str, value: Value) {
    let mut place = into;
    for key in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[key];
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(change: &str, kind: &str, version: u64) -> Vec<u8> {
        let object = json!({
            "kind": kind,
            "metadata": {"name": "a", "uid": "u", "resourceVersion": version.to_string(), "managedFields": [1]},
            "spec": {"nodeName": "n", "containers": []},
        });
        format!("{}\n", json!({"type": change, "object": object})).into_bytes()
    }

    #[test]
    fn a_change_is_told_once_and_cut_down() {
        let mut sights = Sights::default();
        let seen = sights.see(&event("ADDED", "Pod", 5));
        let object = json!({"kind": "Pod", "metadata": {"name": "a", "uid": "u"}, "spec": {"nodeName": "n"}});
        assert_eq!(seen, [json!({"change": "ADDED", "object": object})]);
        assert!(sights.see(&event("ADDED", "Pod", 5)).is_empty(), "another watch tells the same");
        assert!(sights.see(&event("MODIFIED", "Pod", 4)).is_empty(), "a watch that lags behind");
        assert_eq!(sights.see(&event("DELETED", "Pod", 6)).len(), 1);
        assert!(sights.see(&event("ADDED", "Secret", 7)).is_empty());
        assert!(sights.see(b"{\"type\":\"ADDED\"").is_empty());
    }
}
