//! What controllers ask about pods, and small things they all write.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::store::Object;
use crate::time;

pub(super) type Key = (String, String);

pub(super) fn key_of(object: &Object) -> Key {
    (object.meta.namespace.clone(), object.meta.name.clone())
}

pub(super) fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or("Pending")
}

pub(super) fn finished(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// `pkg/controller/controller_utils.go`, IsPodActive.
pub(super) fn active(object: &Object, pod: &Value) -> bool {
    object.meta.deletion.is_none() && !finished(pod)
}

pub(super) fn node_name(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == kind)
}

/// Since when the pod has been ready; None when it is not.
pub(super) fn ready_since(pod: &Value) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|one| one["status"] == "True")?;
    Some(ready["lastTransitionTime"].as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// `seconds` later.
pub(super) fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// Sets a condition. Its `lastTransitionTime` moves only when the status does. False when nothing changed.
pub(super) fn set_condition(object: &mut Value, now: Timestamp, mut condition: Value) -> bool {
    let conditions = &mut object["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Value::Array(list) = conditions else { return false };
    let Some(found) = list.iter_mut().find(|one| one["type"] == condition["type"]) else {
        condition["lastTransitionTime"] = json!(time::seconds(now));
        list.push(condition);
        return true;
    };
    let same_status = found["status"] == condition["status"];
    condition["lastTransitionTime"] = if same_status { found["lastTransitionTime"].clone() } else { json!(time::seconds(now)) };
    let Some(new) = condition.as_object() else { return false };
    let changed = new.iter().any(|(key, value)| found[key.as_str()] != *value);
    for (key, value) in new {
        found[key.as_str()] = value.clone();
    }
    changed
}

/// A condition that says why a pod is about to be deleted (`k8s.io/api/core/v1`, DisruptionTarget).
pub(super) fn disruption_target(pod: &Object, reason: &str, message: &str) -> Value {
    let generation = &pod.value()["metadata"]["generation"];
    json!({ "type": "DisruptionTarget", "observedGeneration": generation, "status": "True", "reason": reason, "message": message })
}

/// A new pod from a workload's template, owned by it.
pub(super) fn from_template(owner: &Object, template: &Value) -> Value {
    let mut metadata = json!({
        "generateName": format!("{}-", owner.meta.name),
        "ownerReferences": [owner_reference(owner)],
    });
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(key).filter(|value| !value.is_null()) {
            metadata[key] = value.clone();
        }
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] })
}

pub(super) fn owner_reference(owner: &Object) -> Value {
    json!({
        "apiVersion": owner.kind.api_version(), "kind": owner.kind.kind, "name": owner.meta.name, "uid": owner.meta.uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// An absolute number, or a percentage of `total`, rounded up or down (`k8s.io/apimachinery/pkg/util/intstr`).
pub(super) fn scaled(value: &Value, total: i64, round_up: bool) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let percent = value.as_str()?.strip_suffix('%')?.parse::<i64>().ok()?;
    let product = total.saturating_mul(percent);
    Some(if round_up { product.saturating_add(99).div_euclid(100) } else { product.div_euclid(100) })
}

pub(super) fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}
