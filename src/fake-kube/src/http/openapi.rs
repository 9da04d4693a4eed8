//! OpenAPI v3, as far as kubectl needs it to send objects: which paths take `fieldValidation`, and the custom kinds' schemas.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::store::Store;

/// `/openapi/v3`: a document per group and version.
pub(crate) fn index(store: &Store) -> Value {
    let mut names = BTreeSet::new();
    for kind in store.kinds() {
        for version in served(kind) {
            names.insert(place(kind, version));
        }
    }
    let paths: serde_json::Map<String, Value> =
        names.into_iter().map(|name| (name.clone(), json!({ "serverRelativeURL": format!("/openapi/v3/{name}") }))).collect();
    json!({ "paths": paths })
}

fn served(kind: &Kind) -> Vec<&str> {
    match kind.versions.as_slice() {
        [] => vec![&kind.version],
        list => list.iter().filter(|version| version.served).map(|version| version.name.as_str()).collect(),
    }
}

fn place(kind: &Kind, version: &str) -> String {
    if kind.group.is_empty() { format!("api/{version}") } else { format!("apis/{}/{version}", kind.group) }
}

/// One group and version.
pub(crate) fn document(store: &Store, name: &str) -> Option<Value> {
    let mut paths = serde_json::Map::new();
    let mut schemas = serde_json::Map::new();
    for kind in store.kinds() {
        for version in served(kind).into_iter().filter(|version| place(kind, version) == name) {
            let gvk = json!({ "group": kind.group, "version": version, "kind": kind.kind });
            let parameter = |name: &str| json!({ "name": name, "in": "query", "schema": { "type": "string", "uniqueItems": true } });
            let parameters = json!([parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")]);
            let one =
                |action: &str| json!({ "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk, "parameters": parameters });
            let base = if kind.namespaced {
                format!("/{name}/namespaces/{{namespace}}/{}", kind.plural)
            } else {
                format!("/{name}/{}", kind.plural)
            };
            paths.insert(base.clone(), json!({ "post": one("post") }));
            paths.insert(format!("{base}/{{name}}"), json!({ "put": one("put"), "patch": one("patch") }));
            let mut schema = kind.custom(version).map_or_else(|| json!({ "type": "object" }), |version| version.json.clone());
            schema["x-kubernetes-group-version-kind"] = json!([gvk]);
            let mut reversed: Vec<&str> = kind.group.split('.').filter(|part| !part.is_empty()).collect();
            reversed.reverse();
            reversed.extend([version, kind.kind.as_str()]);
            schemas.insert(reversed.join("."), schema);
        }
    }
    (!paths.is_empty()).then(|| json!({ "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": "" }, "paths": paths, "components": { "schemas": schemas } }))
}
