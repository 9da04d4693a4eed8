//! Counts what the objects of a namespace use of its ResourceQuotas.
//!
//! Source: `pkg/controller/resourcequota/resource_quota_controller.go`. Counted anew with each change in a namespace that has a quota.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::Api;
use crate::controller::Controller;
use crate::quantity::Quantity;
use crate::quota::{self, Amounts};
use crate::store::Change;

const PLURAL: &str = "resourcequotas";

#[derive(Default)]
pub(super) struct Quotas;

impl Controller for Quotas {
    fn name(&self) -> &'static str {
        "resource-quota"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        if api.store().is_empty(PLURAL) {
            return;
        }
        let namespaces: BTreeSet<&str> = changed.iter().map(Change::namespace).filter(|namespace| !namespace.is_empty()).collect();
        for namespace in namespaces {
            let quotas: Vec<_> = api.store().list_in(PLURAL, namespace).cloned().collect();
            for quota in quotas {
                let value = quota.value();
                let hard = value["spec"]["hard"].clone();
                let used = quota::encode(&count(api, namespace, &value));
                let _ = api.update_with(now, PLURAL, namespace, &quota.meta.name, Some("status"), |value| {
                    value["status"]["hard"] = hard;
                    value["status"]["used"] = used;
                });
            }
        }
    }
}

/// What everything that the quota covers uses of what it limits.
fn count(api: &Api, namespace: &str, quota: &Value) -> Amounts {
    let mut used: Amounts = quota::amounts(&quota["spec"]["hard"]).into_keys().map(|name| (name, Quantity::ZERO)).collect();
    for kind in api.store().kinds().filter(|kind| kind.namespaced) {
        for object in api.store().list_in(&kind.key, namespace) {
            let value = object.value();
            // A pod that has finished uses nothing any more.
            let finished = kind.key == "pods" && matches!(value["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            if finished || !quota::covers(quota, kind, &value) {
                continue;
            }
            for (name, amount) in quota::usage(kind, &value) {
                if let Some(sum) = used.get_mut(&name) {
                    *sum = *sum + amount;
                }
            }
        }
    }
    used
}
