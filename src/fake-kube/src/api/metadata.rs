//! What the server itself keeps in `metadata`.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::kinds::Kind;

/// The metadata of an object, made if need be.
pub(crate) fn of(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let meta = &mut object["metadata"];
    if !meta.is_object() {
        *meta = Value::Object(Map::new());
    }
    match meta {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// Kinds whose strategy counts generations; custom kinds all do (`grep "Generation = 1" pkg/registry/**/strategy.go`).
pub(crate) fn has_generation(kind: &Kind) -> bool {
    kind.is_custom()
        || matches!(
            kind.key.as_str(),
            "pods"
                | "podtemplates"
                | "replicationcontrollers"
                | "apps/deployments"
                | "apps/replicasets"
                | "apps/daemonsets"
                | "apps/statefulsets"
                | "batch/jobs"
                | "batch/cronjobs"
                | "policy/poddisruptionbudgets"
                | "scheduling.k8s.io/priorityclasses"
                | "networking.k8s.io/ingresses"
                | "networking.k8s.io/ingressclasses"
                | "networking.k8s.io/networkpolicies"
                | "discovery.k8s.io/endpointslices"
                | "admissionregistration.k8s.io/mutatingwebhookconfigurations"
                | "admissionregistration.k8s.io/validatingwebhookconfigurations"
                | "admissionregistration.k8s.io/validatingadmissionpolicies"
                | "admissionregistration.k8s.io/validatingadmissionpolicybindings"
                | "apiextensions.k8s.io/customresourcedefinitions"
        )
}

/// Kinds that may be updated without a resourceVersion (`AllowUnconditionalUpdate`).
pub(crate) fn unconditional_update(kind: &Kind) -> bool {
    !kind.is_custom()
        && !matches!(
            kind.key.as_str(),
            "policy/poddisruptionbudgets"
                | "coordination.k8s.io/leases"
                | "node.k8s.io/runtimeclasses"
                | "storage.k8s.io/csidrivers"
                | "storage.k8s.io/csinodes"
                | "storage.k8s.io/csistoragecapacities"
                | "storage.k8s.io/volumeattachments"
                | "admissionregistration.k8s.io/mutatingwebhookconfigurations"
                | "admissionregistration.k8s.io/validatingwebhookconfigurations"
                | "admissionregistration.k8s.io/validatingadmissionpolicies"
                | "admissionregistration.k8s.io/validatingadmissionpolicybindings"
                | "apiextensions.k8s.io/customresourcedefinitions"
        )
}

/// Whether the desired state differs: `spec`, of kinds that have one; everything but metadata and status of the others.
pub(crate) fn desired_changed(kind: &Kind, old: &Value, new: &Value) -> bool {
    match kind.key.as_str() {
        // Made with a generation that nobody counts on.
        "scheduling.k8s.io/priorityclasses" => return false,
        // Their labels count (`pkg/registry/discovery/endpointslice/strategy.go`).
        "discovery.k8s.io/endpointslices" if old["metadata"]["labels"] != new["metadata"]["labels"] => return true,
        _ => {}
    }
    if !kind.is_custom() && (old.get("spec").is_some() || new.get("spec").is_some()) {
        // Deployments count their annotations, too (`pkg/registry/apps/deployment/strategy.go`).
        let annotations = |object: &Value| object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        return old["spec"] != new["spec"] || kind.key == "apps/deployments" && annotations(old) != annotations(new);
    }
    let desired = |object: &Value| -> Map<String, Value> {
        let map = object.as_object().cloned().unwrap_or_default();
        map.into_iter().filter(|(key, _)| key != "metadata" && key != "apiVersion" && !(key == "status" && kind.status)).collect()
    };
    desired(old) != desired(new)
}

/// Carries over what an update cannot set.
pub(crate) fn keep(meta: &mut Map<String, Value>, old: &Value) {
    for key in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "selfLink",
    ] {
        match old.get(key) {
            Some(value) => meta.insert(key.to_owned(), value.clone()),
            None => meta.shift_remove(key),
        };
    }
}

/// Puts `metadata` first and its fields in the API's order, and drops what is empty.
pub(crate) fn arrange(object: &mut Value, kind: &Kind) {
    const ORDER: &[&str] = &[
        "name",
        "generateName",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ];
    let Some(map) = object.as_object_mut() else { return };
    let mut meta = match map.shift_remove("metadata") {
        Some(Value::Object(meta)) => meta,
        _ => Map::new(),
    };
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let mut arranged = Map::new();
    for key in ORDER {
        if let Some(value) = meta.shift_remove(*key).filter(|value| !empty(value)) {
            arranged.insert((*key).to_owned(), value);
        }
    }
    let mut fields = Map::new();
    fields.insert("kind".to_owned(), Value::from(kind.kind.clone()));
    fields.insert("apiVersion".to_owned(), Value::from(kind.api_version()));
    fields.insert("metadata".to_owned(), Value::Object(arranged));
    let status = map.shift_remove("status");
    fields.extend(std::mem::take(map).into_iter().filter(|(key, _)| key != "kind" && key != "apiVersion"));
    fields.extend(status.map(|status| ("status".to_owned(), status)));
    *map = fields;
}

/// Whether two states differ in nothing but the resourceVersion.
pub(crate) fn same(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return old == new };
    old.len() == new.len() && same_but(old, new, "metadata") && same_but(metadata_in(old), metadata_in(new), "resourceVersion")
}

fn metadata_in(object: &Map<String, Value>) -> &Map<String, Value> {
    static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    object.get("metadata").and_then(Value::as_object).unwrap_or(&NONE)
}

/// Whether two maps are equal, one key left out.
fn same_but(old: &Map<String, Value>, new: &Map<String, Value>, key: &str) -> bool {
    let counted = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key(key));
    counted(old) == counted(new) && old.iter().all(|(name, value)| name == key || new.get(name) == Some(value))
}

/// Whether an object that is being deleted has nothing left that keeps it: no finalizers, no grace.
pub(crate) fn nothing_holds(kind: &Kind, object: &Value) -> bool {
    let meta = &object["metadata"];
    let finalizers = meta["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    let own = kind.key == "namespaces" && object["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    !finalizers && !own && meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
}
