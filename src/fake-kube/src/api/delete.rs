//! Deletion: grace, finalizers, propagation, preconditions.
//!
//! Source: `k8s.io/apiserver/pkg/registry/rest/delete.go`, `pkg/registry/generic/registry/store.go`,
//! `k8s.io/kubernetes/pkg/registry/core/pod/strategy.go` (`CheckGracefulDelete`).

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Api, DeleteOptions, Propagation, Target, metadata};
use crate::kinds::Kind;
use crate::status::Status;
use crate::store::Object;
use crate::time;

/// The outcome of a deletion.
#[derive(Debug)]
pub(crate) struct Deleted {
    /// The last state, or the one that remains until finalizers or grace are through.
    pub(crate) object: Arc<Object>,
    pub(crate) gone: bool,
}

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

impl Api {
    pub(crate) fn delete_with(&mut self, now: Timestamp, target: Target, options: &DeleteOptions) -> Result<Deleted, Status> {
        let kind = target.kind;
        let old = self.existing(kind, target.namespace, target.name)?.clone();
        check(kind, target.name, options, &old)?;
        if kind.key == "namespaces" && matches!(target.name, "default" | "kube-system" | "kube-public") {
            return Err(Status::forbidden(kind, target.name, "this namespace may not be deleted"));
        }
        let before = old.value();
        let mut new = (*before).clone();
        set_finalizers(kind, &mut new, options.propagation);
        let grace = grace(kind, &old, &before, options);
        let graceful = grace > 0;
        let held = !metadata::nothing_holds(kind, &without_grace(&new));
        if !graceful && !held {
            if options.dry_run {
                return Ok(Deleted { object: old, gone: true });
            }
            // Pods support grace, so that one without any is written once more, as being deleted, before it is removed: watches see
            // both (store.go, updateForGracefulDeletionAndFinalizers).
            if kind.key == "pods" && old.meta.deletion_grace != Some(0) {
                mark(now, kind, &old, &mut new, 0);
                metadata::arrange(&mut new, kind);
                self.put(now, kind, new);
            }
            let object = self.take_away(now, kind, target.namespace, target.name).unwrap_or(old);
            return Ok(Deleted { object, gone: true });
        }
        mark(now, kind, &old, &mut new, grace);
        if metadata::same(&before, &new) || options.dry_run {
            return Ok(Deleted { object: old, gone: false });
        }
        metadata::arrange(&mut new, kind);
        let object = self.put(now, kind, new);
        Ok(Deleted { object, gone: false })
    }
}

fn check(kind: &Kind, name: &str, options: &DeleteOptions, old: &Object) -> Result<(), Status> {
    if let Some(uid) = options.preconditions.uid.as_ref().filter(|uid| **uid != old.meta.uid) {
        let uid_of = &old.meta.uid;
        let mut status = Status::conflict(kind, name, "");
        if kind.key == "namespaces" {
            // Its registry asks itself (`pkg/registry/core/namespace/storage/storage.go`).
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {uid_of}");
            return Err(Status::conflict(kind, name, &why));
        }
        let object = if kind.group.is_empty() { kind.kind.clone() } else { format!("{}.{}", kind.kind, kind.group) };
        status.message = format!(
            "Operation cannot be fulfilled on {object} {name:?}: the UID in the precondition ({uid}) does not match the UID in record ({uid_of}). The object might have been deleted and then recreated"
        );
        if let Some(details) = &mut status.details {
            details.kind = kind.kind.clone();
        }
        return Err(status);
    }
    let version = old.meta.resource_version.to_string();
    if let Some(wanted) = options.preconditions.resource_version.as_ref().filter(|wanted| **wanted != version) {
        let mut status = Status::conflict(kind, name, "");
        let object = if kind.group.is_empty() { kind.kind.clone() } else { format!("{}.{}", kind.kind, kind.group) };
        status.message = format!(
            "Operation cannot be fulfilled on {object} {name:?}: the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        );
        if let Some(details) = &mut status.details {
            details.kind = kind.kind.clone();
        }
        return Err(status);
    }
    Ok(())
}

/// The finalizers that carry the propagation policy. Without a policy, those that are there stay.
fn set_finalizers(kind: &Kind, object: &mut Value, propagation: Option<Propagation>) {
    let orphan_by_default = matches!(kind.key.as_str(), "replicationcontrollers" | "batch/jobs");
    let Some(propagation) = propagation.or(orphan_by_default.then_some(Propagation::Orphan)) else { return };
    let meta = metadata::of(object);
    let mut finalizers: Vec<Value> = meta.get("finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    finalizers.retain(|one| one != FOREGROUND && one != ORPHAN);
    match propagation {
        Propagation::Orphan => finalizers.push(Value::from(ORPHAN)),
        Propagation::Foreground => finalizers.push(Value::from(FOREGROUND)),
        Propagation::Background => {}
    }
    if finalizers.is_empty() {
        meta.shift_remove("finalizers");
    } else {
        meta.insert("finalizers".to_owned(), Value::from(finalizers));
    }
}

/// Seconds of grace; only pods have any.
fn grace(kind: &Kind, old: &Object, value: &Value, options: &DeleteOptions) -> i64 {
    if kind.key != "pods" {
        return 0;
    }
    let asked = options.grace_period_seconds.or(value["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
    let asked = if asked < 0 { 1 } else { asked };
    let finished = matches!(value["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
    let unscheduled = value["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    if unscheduled || finished {
        return 0;
    }
    match old.meta.deletion_grace.filter(|_| old.meta.deletion.is_some()) {
        // A deletion under way can only be shortened.
        Some(running) => match options.grace_period_seconds {
            Some(_) => asked.min(running),
            None => running,
        },
        None => asked,
    }
}

fn without_grace(object: &Value) -> Value {
    let meta = &object["metadata"];
    serde_json::json!({ "metadata": { "finalizers": meta["finalizers"] }, "spec": { "finalizers": object["spec"]["finalizers"] } })
}

/// Sets deletionTimestamp and grace; the first time, the generation goes up.
fn mark(now: Timestamp, kind: &Kind, old: &Object, object: &mut Value, grace: i64) {
    let at = match (old.meta.deletion, old.meta.deletion_grace) {
        (Some(at), Some(running)) => at.checked_sub(SignedDuration::from_secs(running.saturating_sub(grace))).unwrap_or(at),
        (Some(at), None) => at,
        (None, _) => now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX),
    };
    let first = old.meta.deletion.is_none();
    if kind.group == "apiextensions.k8s.io" && first {
        // `apiextensions-apiserver/pkg/registry/customresourcedefinition/etcd.go`
        let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        let condition = serde_json::json!({
            "type": "Terminating", "status": "True", "lastTransitionTime": time::seconds(now), "reason": "InstanceDeletionPending", "message": message,
        });
        super::subresources::set_condition(object, condition);
    }
    let generation = old.meta.generation;
    if kind.key == "namespaces" {
        object["status"]["phase"] = Value::from("Terminating");
    }
    let meta = metadata::of(object);
    meta.insert("deletionTimestamp".to_owned(), Value::from(time::seconds(at)));
    let definition = kind.group == "apiextensions.k8s.io";
    if kind.key != "namespaces" && !definition {
        meta.insert("deletionGracePeriodSeconds".to_owned(), Value::from(grace));
    }
    if first && generation > 0 && !definition {
        meta.insert("generation".to_owned(), Value::from(generation + 1));
    }
}
