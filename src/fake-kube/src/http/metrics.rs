//! `metrics.k8s.io/v1beta1`, when there is a metrics server; see [`crate::usage`].

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::serve::{Asked, json_reply};
use crate::api::Api;
use crate::kube::Response;
use crate::select::Labels;
use crate::status::Status;
use crate::usage::{node_metrics, pod_metrics};

pub(crate) const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "metrics.k8s.io/v1beta1";

/// The answer, when the path is below the group and the group is there.
pub(crate) fn answer(api: &Api, path: &str, asked: &Asked) -> Option<Result<Response, Status>> {
    let rest = path.strip_prefix("/apis/metrics.k8s.io")?;
    api.usage().at?;
    if *asked.method != Method::GET {
        return Some(Err(Status::method_not_allowed()));
    }
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    let labels = match Labels::parse(asked.query.get("labelSelector")) {
        Ok(labels) => labels,
        Err(status) => return Some(Err(status)),
    };
    let answer = match parts.as_slice() {
        [] => Ok(group()),
        ["v1beta1"] => Ok(resources()),
        ["v1beta1", "nodes"] => Ok(list("NodeMetricsList", nodes(api, &labels))),
        ["v1beta1", "nodes", name] => nodes_named(api, name),
        ["v1beta1", "pods"] => Ok(list("PodMetricsList", pods(api, "", &labels))),
        ["v1beta1", "namespaces", namespace, "pods"] => Ok(list("PodMetricsList", pods(api, namespace, &labels))),
        ["v1beta1", "namespaces", namespace, "pods", name] => pod_named(api, namespace, name),
        _ => Err(Status::no_such_resource()),
    };
    Some(answer.map(|value| json_reply(StatusCode::OK, &value)))
}

/// As an entry of the list of groups.
pub(crate) fn group() -> Value {
    let version = json!({ "groupVersion": VERSION, "version": "v1beta1" });
    json!({ "kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version], "preferredVersion": version })
}

/// As an entry of aggregated discovery.
pub(crate) fn aggregated() -> Value {
    let entry = |plural: &str, kind: &str, scope: &str| {
        let kind = json!({ "group": GROUP, "version": "v1beta1", "kind": kind });
        json!({ "resource": plural, "responseKind": kind, "scope": scope, "singularResource": "", "verbs": ["get", "list"] })
    };
    let resources = [entry("nodes", "NodeMetrics", "Cluster"), entry("pods", "PodMetrics", "Namespaced")];
    let version = json!({ "version": "v1beta1", "resources": resources, "freshness": "Current" });
    json!({ "metadata": { "name": GROUP, "creationTimestamp": null }, "versions": [version] })
}

fn resources() -> Value {
    let entry = |name: &str, kind: &str, namespaced: bool| json!({ "name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"] });
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION,
        "resources": [entry("nodes", "NodeMetrics", false), entry("pods", "PodMetrics", true)],
    })
}

fn list(kind: &str, items: Vec<Value>) -> Value {
    json!({ "kind": kind, "apiVersion": VERSION, "metadata": {}, "items": items })
}

fn nodes(api: &Api, labels: &Labels) -> Vec<Value> {
    api.store().list("nodes").filter(|node| labels.matches(&node.meta.labels)).map(|node| node_metrics(api.usage(), node)).collect()
}

fn pods(api: &Api, namespace: &str, labels: &Labels) -> Vec<Value> {
    let chosen = api.store().list_in("pods", namespace).filter(|pod| labels.matches(&pod.meta.labels));
    chosen.filter_map(|pod| pod_metrics(api.usage(), pod)).collect()
}

fn nodes_named(api: &Api, name: &str) -> Result<Value, Status> {
    api.store().get("nodes", "", name).map(|node| node_metrics(api.usage(), node)).ok_or_else(|| missing("nodemetrics", name))
}

fn pod_named(api: &Api, namespace: &str, name: &str) -> Result<Value, Status> {
    let found = api.store().get("pods", namespace, name).and_then(|pod| pod_metrics(api.usage(), pod));
    found.ok_or_else(|| missing("podmetrics", &format!("{namespace}/{name}")))
}

fn missing(plural: &str, name: &str) -> Status {
    Status::new(404, "NotFound", format!("{plural}.metrics.k8s.io {name:?} not found"))
}
