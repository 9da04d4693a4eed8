//! What a server makes of itself at its start, and the namespaces' end.
//!
//! Source: `k8s.io/kubernetes/pkg/controlplane/controller/{systemnamespaces,kubernetesservice,defaultservicecidr}`, `pkg/registry/scheduling/rest`,
//! `pkg/controller/namespace/deletion`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::status::Status;
use crate::store::Change;

/// Namespaces, system priority classes, the range of services, the `kubernetes` Service. An object that is there already stays.
pub(crate) fn fill(api: &mut Api, now: Timestamp) {
    let mut make = |plural: &str, namespace: &str, object: Value| {
        // What exists is left alone: a server starts on the store that it finds.
        let _: Result<_, Status> = api.create(now, plural, namespace, object);
    };
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        make("namespaces", "", json!({ "metadata": { "name": name } }));
    }
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        ("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
    ] {
        make("scheduling.k8s.io/priorityclasses", "", json!({ "metadata": { "name": name }, "value": value, "description": description }));
    }
    make(SERVICE_RANGES, "", json!({ "metadata": { "name": "kubernetes" }, "spec": { "cidrs": ["10.100.0.0/16"] } }));
    let labels = json!({ "component": "apiserver", "provider": "kubernetes" });
    let spec = json!({ "clusterIP": "10.100.0.1", "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": 443 }] });
    make("services", "default", json!({ "metadata": { "name": "kubernetes", "labels": labels }, "spec": spec }));
    let ready = json!({
        "type": "Ready", "status": "True", "lastTransitionTime": crate::time::seconds(now), "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
    });
    let _: Result<_, Status> =
        api.update_with(now, SERVICE_RANGES, "", "kubernetes", Some("status"), |range| range["status"] = json!({ "conditions": [ready] }));
}

const SERVICE_RANGES: &str = "networking.k8s.io/servicecidrs";

/// The roles and bindings of a server that has just started.
pub(crate) fn roles(api: &mut Api, now: Timestamp) {
    // Recorded from a real server by ci/controllers/record_rbac.py.
    let all: Vec<Value> = serde_json::from_str(include_str!("../data/rbac.json")).expect("a list, as it was written");
    for one in all {
        let plural = one["plural"].as_str().unwrap_or_default();
        let namespace = one["object"]["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let made: Result<_, Status> = api.create(now, &format!("rbac.authorization.k8s.io/{plural}"), &namespace, one["object"].clone());
        debug_assert!(made.is_ok(), "{made:?}");
    }
}

/// Empties namespaces that are being deleted, then lets them go.
#[derive(Default)]
pub(crate) struct Namespaces {
    leaving: Vec<String>,
}

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let terminating = |change: &&Change| change.plural() == "namespaces" && change.object.meta.deletion.is_some();
        for change in changed.iter().filter(terminating) {
            let name = change.name().to_owned();
            if !self.leaving.contains(&name) {
                self.leaving.push(name);
            }
        }
        let leaving = std::mem::take(&mut self.leaving);
        self.leaving = leaving.into_iter().filter(|name| !empty(api, now, name)).collect();
    }

    fn unsettled(&self, _api: &Api) -> Vec<String> {
        self.leaving.iter().map(|name| format!("namespace {name} is being deleted and still has content")).collect()
    }
}

/// Deletes what is in it; true when the namespace is gone.
fn empty(api: &mut Api, now: Timestamp, namespace: &str) -> bool {
    if api.store().get("namespaces", "", namespace).is_none_or(|one| one.meta.deletion.is_none()) {
        return true;
    }
    let kinds: Vec<String> = api.store().kinds().filter(|kind| kind.namespaced).map(|kind| kind.key.clone()).collect();
    let (mut left, mut finalizers) = (BTreeMap::new(), BTreeMap::new());
    for plural in &kinds {
        let names: Vec<(String, bool)> =
            api.store().list_in(plural, namespace).map(|object| (object.meta.name.clone(), object.meta.deletion.is_some())).collect();
        for (name, _) in names.iter().filter(|(_, deleting)| !deleting) {
            // A conflict or a finalizer leaves the object there; it is counted below and tried again on the next change.
            let _: Result<_, Status> = api.delete(now, plural, namespace, name, DeleteOptions::background());
        }
        for object in api.store().list_in(plural, namespace) {
            *left.entry(format!("{}.{}", object.kind.plural, object.kind.group)).or_insert(0) += 1;
            for finalizer in &object.meta.finalizers {
                *finalizers.entry(finalizer.clone()).or_insert(0) += 1;
            }
        }
    }
    if !left.is_empty() {
        tell(api, now, namespace, &left, &finalizers);
    }
    left.is_empty() && api.finalize_namespace(now, namespace, Value::Null).is_ok()
}

/// What keeps a namespace, as its conditions (`pkg/controller/namespace/deletion/status_condition_utils.go`).
fn tell(api: &mut Api, now: Timestamp, namespace: &str, left: &BTreeMap<String, u32>, finalizers: &BTreeMap<String, u32>) {
    let listed = |what: &BTreeMap<String, u32>, word: &str| {
        what.iter().map(|(name, count)| format!("{name} {word} {count} resource instances")).collect::<Vec<_>>().join(", ")
    };
    let remaining = format!("Some resources are remaining: {}", listed(left, "has"));
    let held = format!("Some content in the namespace has finalizers remaining: {}", listed(finalizers, "in"));
    let finalizing = if finalizers.is_empty() {
        ("NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers", "All content-preserving finalizers finished")
    } else {
        ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", held.as_str())
    };
    let conditions = [
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ("NamespaceDeletionContentFailure", "False", "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain", remaining.as_str()),
        finalizing,
    ];
    // Who has taken it away meanwhile needs no telling.
    let _: Result<_, Status> = api.update_with(now, "namespaces", "", namespace, Some("status"), |value| {
        let old = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let since = |kind: &str, status: &str| {
            let same = old.iter().find(|one| one["type"] == kind && one["status"] == status);
            same.map_or_else(|| json!(crate::time::seconds(now)), |one| one["lastTransitionTime"].clone())
        };
        value["status"]["conditions"] = conditions
            .iter()
            .map(|(kind, status, reason, message)| {
                json!({ "type": kind, "status": status, "lastTransitionTime": since(kind, status), "reason": reason, "message": message })
            })
            .collect();
    });
}
