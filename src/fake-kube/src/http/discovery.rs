//! What there is: groups, versions, resources; the old form and the aggregated one.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/discovery`.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};

use super::media::Form;
use super::route::VIRTUAL;
use super::serve::{json_reply, with_type};
use crate::kinds::Kind;
use crate::kube::Response;
use crate::status::Status;
use crate::store::{Store, write_json};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A second form of autoscalers; see [`super::autoscalers`].
const OLD_AUTOSCALERS: (&str, &str) = ("autoscaling", "v1");

/// A resource of a version: name, kind, and what can be done with it.
struct Entry<'a> {
    kind: &'a Kind,
    /// Of events, the group that they are asked in.
    group: &'a str,
}

/// Groups and their versions, preferred first; the core group is the empty one.
fn versions(store: &Store) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in store.kinds() {
        let names = groups.entry(kind.group.clone()).or_default();
        let served: Vec<String> = match kind.versions.as_slice() {
            [] => vec![kind.version.clone()],
            list => list.iter().filter(|version| version.served).map(|version| version.name.clone()).collect(),
        };
        for version in served.into_iter().filter(|version| !names.contains(version)).collect::<Vec<_>>() {
            names.push(version);
        }
    }
    for (group, version) in VIRTUAL.iter().chain([&("events.k8s.io", "v1"), &OLD_AUTOSCALERS]) {
        groups.entry((*group).to_owned()).or_default().push((*version).to_owned());
    }
    groups.values_mut().for_each(|names| names.sort_by_key(|name| std::cmp::Reverse(rank(name))));
    groups
}

pub(crate) fn has_group(store: &Store, group: &str) -> bool {
    group == "events.k8s.io" || VIRTUAL.iter().any(|(name, _)| *name == group) || store.kinds().any(|kind| kind.group == group)
}

/// `v2` before `v1` before `v1beta2` before `v1alpha1` (`k8s.io/apimachinery/pkg/version/helpers.go`).
fn rank(version: &str) -> (u8, u32, u32) {
    let rest = version.strip_prefix('v').unwrap_or_default();
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..digits].parse::<u32>() else { return (0, 0, 0) };
    let stage = &rest[digits..];
    let minor = |prefix: &str| stage.strip_prefix(prefix).and_then(|text| text.parse().ok()).unwrap_or(0);
    match stage {
        "" => (3, major, 0),
        stage if stage.starts_with("beta") => (2, major, minor("beta")),
        stage if stage.starts_with("alpha") => (1, major, minor("alpha")),
        _ => (0, 0, 0),
    }
}

fn entries<'a>(store: &'a Store, group: &'a str, version: &str) -> Vec<Entry<'a>> {
    let version = version.to_owned();
    let home = if group == "events.k8s.io" { "" } else { group };
    let mut found: Vec<Entry> = store
        .kinds()
        .filter(|kind| {
            let old = (group, version.as_str()) == OLD_AUTOSCALERS && kind.plural == "horizontalpodautoscalers";
            kind.group == home && (kind.serves(&version) || old) && (group == home || kind.plural == "events")
        })
        .map(|kind| Entry { kind, group })
        .collect();
    found.sort_by(|left, right| left.kind.plural.cmp(&right.kind.plural));
    found
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

pub(crate) fn paths(store: &Store) -> Vec<String> {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in versions(store).into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.extend(["/healthz", "/livez", "/openapi/v3", "/readyz", "/version"].map(str::to_owned));
    paths
}

pub(crate) fn core(store: &Store, form: Form) -> Response {
    if form == Form::Discovery {
        return aggregated(store, true, false);
    }
    let addresses = json!([{ "clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:443" }]);
    json_reply(StatusCode::OK, &json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses }))
}

/// With `metrics`, metrics.k8s.io is there, too.
pub(crate) fn groups(store: &Store, form: Form, metrics: bool) -> Response {
    if form == Form::Discovery {
        return aggregated(store, false, metrics);
    }
    let mut groups: Vec<Value> =
        versions(store).iter().filter(|(group, _)| !group.is_empty()).map(|(group, versions)| one_group(group, versions)).collect();
    if metrics {
        let version = json!({ "groupVersion": "metrics.k8s.io/v1beta1", "version": "v1beta1" });
        groups.push(json!({ "name": super::metrics::GROUP, "versions": [version], "preferredVersion": version }));
    }
    json_reply(StatusCode::OK, &json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
}

pub(crate) fn group(store: &Store, group: &str) -> Result<Response, Status> {
    let versions = versions(store);
    let found = versions.get(group).ok_or_else(Status::no_such_resource)?;
    let mut value = json!({ "kind": "APIGroup", "apiVersion": "v1" });
    if let (Value::Object(map), Value::Object(more)) = (&mut value, one_group(group, found)) {
        map.extend(more);
    }
    Ok(json_reply(StatusCode::OK, &value))
}

fn one_group(group: &str, versions: &[String]) -> Value {
    let entries: Vec<Value> =
        versions.iter().map(|version| json!({ "groupVersion": group_version(group, version), "version": version })).collect();
    json!({ "name": group, "versions": entries, "preferredVersion": entries.first() })
}

pub(crate) fn version(store: &Store, group: &str, version: &str) -> Result<Response, Status> {
    if !versions(store).get(group).is_some_and(|list| list.iter().any(|one| one == version)) {
        return Err(Status::no_such_resource());
    }
    let mut resources = Vec::new();
    for entry in entries(store, group, version) {
        resources.extend(entry.resources());
    }
    for (plural, kind, namespaced) in virtuals(group) {
        resources.push(
            json!({ "name": plural, "singularName": kind.to_lowercase(), "namespaced": namespaced, "kind": kind, "verbs": ["create"] }),
        );
    }
    let list =
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group, version), "resources": resources });
    Ok(json_reply(StatusCode::OK, &list))
}

/// Resources that are only created.
fn virtuals(group: &str) -> Vec<(&'static str, &'static str, bool)> {
    match group {
        "" => vec![("bindings", "Binding", true)],
        "authentication.k8s.io" => vec![("selfsubjectreviews", "SelfSubjectReview", false), ("tokenreviews", "TokenReview", false)],
        "authorization.k8s.io" => vec![
            ("localsubjectaccessreviews", "LocalSubjectAccessReview", true),
            ("selfsubjectaccessreviews", "SelfSubjectAccessReview", false),
            ("selfsubjectrulesreviews", "SelfSubjectRulesReview", false),
            ("subjectaccessreviews", "SubjectAccessReview", false),
        ],
        _ => Vec::new(),
    }
}

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Subresource, its group, version and kind, its verbs.
type Sub = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

impl Entry<'_> {
    fn verbs(&self) -> Vec<&'static str> {
        if self.kind.is_custom() {
            return vec!["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
        }
        VERBS.into_iter().filter(|verb| !(self.kind.key == "namespaces" && *verb == "deletecollection")).collect()
    }

    fn subresources(&self) -> Vec<Sub> {
        let mut subs: Vec<Sub> = Vec::new();
        match self.kind.key.as_str() {
            "pods" => {
                subs.push(("binding", "", "v1", "Binding", &["create"]));
                subs.push(("eviction", "policy", "v1", "Eviction", &["create"]));
                subs.push(("log", "", "", "Pod", &["get"]));
            }
            "namespaces" => subs.push(("finalize", "", "", "Namespace", &["update"])),
            "serviceaccounts" => subs.push(("token", "authentication.k8s.io", "v1", "TokenRequest", &["create"])),
            _ => {}
        }
        if self.kind.scale.is_some() {
            subs.push(("scale", "autoscaling", "v1", "Scale", &["get", "patch", "update"]));
        }
        if self.kind.status {
            let place = if self.kind.is_custom() { 0 } else { subs.len() };
            subs.insert(place, ("status", "", "", "", &["get", "patch", "update"]));
        }
        subs
    }

    fn resources(&self) -> Vec<Value> {
        let kind = self.kind;
        let mut main = json!({ "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": self.verbs() });
        if !kind.short_names.is_empty() {
            main["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            main["categories"] = json!(kind.categories);
        }
        let subs = self.subresources().into_iter().map(|(name, group, version, named, verbs)| {
            let named = if named.is_empty() { kind.kind.as_str() } else { named };
            let mut value = json!({ "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced, "kind": named, "verbs": verbs });
            if !version.is_empty() {
                value["group"] = json!(group);
                value["version"] = json!(version);
            }
            value
        });
        std::iter::once(main).chain(subs).collect()
    }

    fn aggregated(&self, version: &str) -> Value {
        let kind = self.kind;
        let mut value = json!({
            "resource": kind.plural,
            "responseKind": { "group": self.group, "version": version, "kind": kind.kind },
            "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": kind.singular,
            "verbs": self.verbs(),
        });
        if !kind.short_names.is_empty() {
            value["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            value["categories"] = json!(kind.categories);
        }
        let subs: Vec<Value> = self
            .subresources()
            .into_iter()
            .map(|(name, group, own, named, verbs)| {
                let (group, own) = if own.is_empty() { (self.group, version) } else { (group, own) };
                let named = if named.is_empty() { kind.kind.as_str() } else { named };
                json!({ "subresource": name, "responseKind": { "group": group, "version": own, "kind": named }, "verbs": verbs })
            })
            .collect();
        if !subs.is_empty() {
            value["subresources"] = json!(subs);
        }
        value
    }
}

fn aggregated(store: &Store, core: bool, metrics: bool) -> Response {
    let mut groups: Vec<Value> = versions(store)
        .iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions.iter().map(|version| aggregated_version(store, group, version)).collect();
            let meta =
                if group.is_empty() { json!({ "creationTimestamp": null }) } else { json!({ "name": group, "creationTimestamp": null }) };
            json!({ "metadata": meta, "versions": versions })
        })
        .collect();
    if metrics {
        groups.push(super::metrics::aggregated());
    }
    let list = json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": groups });
    let mut body = Vec::new();
    write_json(&mut body, &list);
    with_type(StatusCode::OK, body.into(), AGGREGATED)
}

fn aggregated_version(store: &Store, group: &str, version: &str) -> Value {
    let mut resources: Vec<Value> = entries(store, group, version).iter().map(|entry| entry.aggregated(version)).collect();
    for (plural, kind, namespaced) in virtuals(group) {
        resources.push(json!({
            "resource": plural, "responseKind": { "group": group, "version": version, "kind": kind }, "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": kind.to_lowercase(), "verbs": ["create"],
        }));
    }
    json!({ "version": version, "resources": resources, "freshness": "Current" })
}
