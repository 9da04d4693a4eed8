//! What the server does to an object beside storing it: defaults, admission, validation. The list of what is done, by kind, is in
//! each module's header; what is not on a list is stored as it comes.

mod accounts;
mod defaults;
mod limits;
mod others;
mod pod_specs;
mod pods;
mod services;
mod validation;
mod workloads;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::Api;
use crate::kinds::Kind;
use crate::status::{FieldError, Status};

pub(crate) use defaults::default;
pub(crate) use others::check_data;
pub(crate) use pods::quality;
pub(crate) use services::{addresses, free_addresses};
pub(crate) use validation::{validate_create, validate_update};

/// Mutating admission and the strategies' `PrepareForCreate`.
pub(crate) fn on_create(api: &mut Api, now: Timestamp, kind: &Arc<Kind>, object: &mut Value) -> Result<(), Status> {
    match kind.key.as_str() {
        "pods" => pods::on_create(api, kind, object)?,
        "nodes" => {
            taint_new_node(object);
            object["status"] = defaults::initial_status(kind);
        }
        "services" => services::allocate(api, object),
        "namespaces" => object["status"] = json!({ "phase": "Active" }),
        "persistentvolumes" | "persistentvolumeclaims" => {
            if kind.key == "persistentvolumeclaims"
                && object["spec"].get("storageClassName").is_none()
                && let Some(class) = default_class(api)
            {
                object["spec"]["storageClassName"] = json!(class);
            }
            if kind.key == "persistentvolumeclaims" {
                limits::check_claim(api, kind, object)?;
            }
            object["status"] = json!({ "phase": "Pending" });
            if kind.key == "persistentvolumes" {
                object["status"]["lastPhaseTransitionTime"] = json!(crate::time::seconds(now));
            }
            protect(object, if kind.key == "persistentvolumes" { "kubernetes.io/pv-protection" } else { "kubernetes.io/pvc-protection" });
        }
        "storage.k8s.io/volumeattributesclasses" => protect(object, "kubernetes.io/vac-protection"),
        "batch/jobs" => {
            own_pods_of_job(object);
            object["status"] = json!({});
        }
        "apiextensions.k8s.io/customresourcedefinitions" => {
            crate::crd::prepare(now, object, None);
            crate::crd::accept(api, now, object);
        }
        _ if kind.status && !kind.is_custom() => object["status"] = defaults::initial_status(kind),
        _ => {}
    }
    Ok(())
}

pub(crate) fn on_update(now: Timestamp, kind: &Kind, old: &Value, new: &mut Value, subresource: Option<&str>) {
    match (kind.key.as_str(), subresource) {
        ("pods", None) => pods::on_update(old, new),
        ("pods", Some("status")) => pods::on_status(old, new),
        ("services", None) => services::keep(old, new),
        ("apps/daemonsets", None) => count_template(old, new),
        ("namespaces", None) => new["spec"]["finalizers"] = old["spec"]["finalizers"].clone(),
        ("apiextensions.k8s.io/customresourcedefinitions", None) => crate::crd::prepare(now, new, Some(old)),
        _ => {}
    }
}

/// The newest of the classes that are marked as default (`plugin/pkg/admission/storage/storageclass/setdefault`).
pub(crate) fn default_class(api: &Api) -> Option<String> {
    const MARKS: [&str; 2] = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    let marked =
        |class: &&Arc<crate::store::Object>| MARKS.iter().any(|mark| class.meta.annotations.get(*mark).is_some_and(|yes| yes == "true"));
    let all = api.store().list("storage.k8s.io/storageclasses").filter(marked);
    all.max_by_key(|class| (class.meta.creation, std::cmp::Reverse(class.meta.name.clone()))).map(|class| class.meta.name.clone())
}

/// TaintNodesByCondition: a new node takes no pods until its kubelet says that it is ready, and the node lifecycle controller has
/// seen that (`plugin/pkg/admission/nodetaint/admission.go`).
fn taint_new_node(node: &mut Value) {
    let taint = json!({ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" });
    let taints = &mut node["spec"]["taints"];
    if !taints.is_array() {
        *taints = json!([]);
    }
    if let Value::Array(list) = taints
        && !list.iter().any(|one| one["key"] == taint["key"] && one["effect"] == taint["effect"])
    {
        list.push(taint);
    }
}

/// A DaemonSet's template has a generation of its own (`pkg/registry/apps/daemonset/strategy.go`).
fn count_template(old: &Value, new: &mut Value) {
    const KEY: &str = "deprecated.daemonset.template.generation";
    let before = old["metadata"]["annotations"][KEY].as_str().and_then(|text| text.parse::<i64>().ok()).unwrap_or(1);
    let now = if old["spec"]["template"] == new["spec"]["template"] { before } else { before + 1 };
    if !new["metadata"]["annotations"].is_object() {
        new["metadata"]["annotations"] = json!({});
    }
    new["metadata"]["annotations"][KEY] = json!(now.to_string());
}

/// StorageObjectInUseProtection: what is in use goes last (`plugin/pkg/admission/storage/storageobjectinuseprotection`).
fn protect(object: &mut Value, finalizer: &str) {
    let list = &mut object["metadata"]["finalizers"];
    if !list.is_array() {
        *list = json!([]);
    }
    if let Value::Array(list) = list
        && !list.iter().any(|one| one == finalizer)
    {
        list.push(json!(finalizer));
    }
}

/// A Job selects its pods by its own uid, unless told otherwise (`pkg/registry/batch/job/strategy.go`).
fn own_pods_of_job(job: &mut Value) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let uid = job["metadata"]["uid"].clone();
    let name = job["metadata"]["name"].clone();
    let labels = &mut job["spec"]["template"]["metadata"]["labels"];
    if !labels.is_object() {
        *labels = json!({});
    }
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        labels[key] = value.clone();
    }
    if job["metadata"].get("labels").is_none() {
        job["metadata"]["labels"] = job["spec"]["template"]["metadata"]["labels"].clone();
    }
    job["spec"]["selector"] = json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } });
}

/// A check that yields field errors.
pub(crate) type Errors = Vec<FieldError>;
