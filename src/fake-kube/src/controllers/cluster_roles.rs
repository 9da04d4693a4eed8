//! Writes into cluster roles that gather others what these allow.
//!
//! Source: `pkg/controller/clusterroleaggregation/clusterroleaggregation_controller.go`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::Api;
use crate::controller::Controller;
use crate::select::Labels;
use crate::store::{Change, Object};

const PLURAL: &str = "rbac.authorization.k8s.io/clusterroles";

#[derive(Default)]
pub(super) struct ClusterRoles;

impl Controller for ClusterRoles {
    fn name(&self) -> &'static str {
        "clusterrole-aggregation"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        if !changed.iter().any(|change| change.plural() == PLURAL) {
            return;
        }
        let roles: Vec<Arc<Object>> = api.store().list(PLURAL).cloned().collect();
        for role in roles {
            let value = role.value();
            if !value["aggregationRule"].is_object() {
                continue;
            }
            let gathered = gather(api, &role, &value);
            let before = value["rules"].as_array().cloned().unwrap_or_default();
            if before != gathered {
                // Gone meanwhile: then it allows nothing.
                let _ = api.update_with(now, PLURAL, "", &role.meta.name, None, |role| role["rules"] = json!(gathered));
            }
        }
    }
}

/// The rules of all roles that a selector means, by name, each once.
fn gather(api: &Api, role: &Object, value: &Value) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    for selector in value["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten().filter_map(Labels::of) {
        let others = api.store().list(PLURAL).filter(|other| other.meta.name != role.meta.name && selector.matches(&other.meta.labels));
        for other in others {
            for rule in other.value()["rules"].as_array().into_iter().flatten() {
                if !found.contains(rule) {
                    found.push(rule.clone());
                }
            }
        }
    }
    found
}
