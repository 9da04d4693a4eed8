//! What every namespace has: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.
//!
//! Source: `pkg/controller/serviceaccount/serviceaccounts_controller.go`, `pkg/controller/certificates/rootcacertpublisher/publisher.go`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::Api;
use crate::controller::Controller;
use crate::store::Change;

const NAMESPACES: &str = "namespaces";
const ACCOUNTS: &str = "serviceaccounts";
const MAPS: &str = "configmaps";
const DEFAULT: &str = "default";
const ROOT: &str = "kube-root-ca.crt";
const ABOUT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or \
                     kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

#[derive(Default)]
pub(super) struct Accounts;

impl Controller for Accounts {
    fn name(&self) -> &'static str {
        "serviceaccount"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut concerned: BTreeSet<String> = BTreeSet::new();
        for change in changed {
            match change.plural() {
                NAMESPACES => drop(concerned.insert(change.name().to_owned())),
                ACCOUNTS if change.name() == DEFAULT => drop(concerned.insert(change.namespace().to_owned())),
                MAPS if change.name() == ROOT => drop(concerned.insert(change.namespace().to_owned())),
                _ => {}
            }
        }
        for namespace in concerned {
            let active = api.store().get(NAMESPACES, "", &namespace).is_some_and(|one| one.meta.deletion.is_none());
            if active {
                furnish(api, now, &namespace);
            }
        }
    }
}

fn furnish(api: &mut Api, now: Timestamp, namespace: &str) {
    let data = json!({ "ca.crt": api.root_ca() });
    let notes = json!({ "kubernetes.io/description": ABOUT });
    let map = api.store().get(MAPS, namespace, ROOT).map(|map| map.value());
    // Refused only in a namespace that is going.
    match map {
        None => drop(api.create_aside(now, MAPS, namespace, json!({ "metadata": { "name": ROOT, "annotations": notes }, "data": data }))),
        Some(map) if map["data"] != data || map["metadata"]["annotations"]["kubernetes.io/description"] != ABOUT => {
            drop(api.update_with(now, MAPS, namespace, ROOT, None, |map: &mut Value| {
                map["data"] = data;
                map["metadata"]["annotations"] = notes;
            }));
        }
        Some(_) => {}
    }
    if api.store().get(ACCOUNTS, namespace, DEFAULT).is_none() {
        drop(api.create_aside(now, ACCOUNTS, namespace, json!({ "metadata": { "name": DEFAULT } })));
    }
}
