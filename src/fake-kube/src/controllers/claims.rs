//! Whom a StatefulSet's claims belong to.
//!
//! Source: `pkg/controller/statefulset/stateful_set_utils.go`, getPersistentVolumeClaims and updateClaimOwnerRefForSetAndPod.

use serde_json::{Value, json};

use super::pods::owner_reference;
use crate::store::Object;

/// A claim of one pod, from its template.
pub(super) fn from_template(template: &Value, name: &str, selected: &Value) -> Value {
    let mut labels = template["metadata"]["labels"].clone();
    if !labels.is_object() {
        labels = json!({});
    }
    for (key, value) in selected.as_object().into_iter().flatten() {
        labels[key] = value.clone();
    }
    let mut metadata = json!({ "name": name, "labels": labels });
    if let Some(annotations) = template["metadata"].get("annotations").filter(|value| !value.is_null()) {
        metadata["annotations"] = annotations.clone();
    }
    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"] })
}

/// When claims go.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Policy {
    pub with_set: bool,
    pub with_pod: bool,
}

impl Policy {
    pub fn of(value: &Value) -> Policy {
        Policy { with_set: value["whenDeleted"] == "Delete", with_pod: value["whenScaled"] == "Delete" }
    }

    /// The owners that the claim shall have, when they are not those that it has.
    pub fn owners(self, claim: &Object, set: &Object, pod: &Object, in_range: bool) -> Option<Value> {
        let is = |name: &str, kind: &str, of: &Object| kind == of.kind.kind && name == of.meta.name;
        let owners = &claim.meta.owners;
        // Of an earlier set or pod of this name: it goes with them.
        let stale = |of: &Object| owners.iter().any(|by| is(&by.name, &by.kind, of) && by.uid != of.meta.uid);
        if stale(set) || stale(pod) {
            return None;
        }
        let by_set = self.with_set && (in_range || !self.with_pod);
        let by_pod = self.with_pod && !in_range;
        let has = |of: &Object| owners.iter().any(|by| by.uid == of.meta.uid);
        let other_controller = owners.iter().any(|by| by.controller && by.uid != set.meta.uid && by.uid != pod.meta.uid);
        if (has(set), has(pod)) == (by_set, by_pod) || (other_controller && !has(set) && !has(pod)) {
            return None;
        }
        let value = claim.value();
        let ours = [&set.meta.uid, &pod.meta.uid];
        let mut list: Vec<Value> = value["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|by| !ours.iter().any(|uid| by["uid"] == uid.as_str()))
            .cloned()
            .collect();
        if !other_controller {
            list.extend(by_set.then(|| owner_reference(set)));
            list.extend(by_pod.then(|| owner_reference(pod)));
        }
        Some(Value::Array(list))
    }
}
