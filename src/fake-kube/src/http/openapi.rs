//! OpenAPI v3: the types of every group (upstream's own, from `data/openapi.json.gz`; the custom kinds' from their definitions), and of
//! the paths what kubectl reads: which kind a path is for, and whether it takes `fieldValidation`.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::serve::{json_reply, with_type};
use crate::kinds::Kind;
use crate::kube::Response;
use crate::store::Store;

/// `/openapi/v3`: a document per group and version.
pub(crate) fn index(store: &Store) -> Value {
    let mut names = BTreeSet::new();
    for kind in store.kinds() {
        for version in served(kind) {
            names.insert(place(kind, version));
        }
    }
    let version_of = |name: &str| {
        // Clients keep a document as long as its hash stays: of a group with definitions, it changes with each of them.
        let group = name.strip_prefix("apis/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let of_group = |object: &&std::sync::Arc<crate::store::Object>| object.meta.name.ends_with(&format!(".{group}"));
        let definitions = store.list("apiextensions.k8s.io/customresourcedefinitions").filter(of_group);
        definitions.map(|object| object.meta.generation as u64 + object.meta.resource_version).max().unwrap_or(0)
    };
    let link = |name: &str| json!({ "serverRelativeURL": format!("/openapi/v3/{name}?hash={:X}", version_of(name)) });
    let paths: Map<String, Value> = names.into_iter().map(|name| (name.clone(), link(&name))).collect();
    json!({ "paths": paths })
}

/// Upstream's document: types by number, and which types a group has under which names.
fn published() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let mut text = String::new();
        let packed: &[u8] = include_bytes!("../../data/openapi.json.gz");
        GzDecoder::new(packed).read_to_string(&mut text).expect("data/openapi.json.gz is text, packed");
        serde_json::from_str(&text).expect("data/openapi.json.gz holds JSON")
    })
}

fn served(kind: &Kind) -> Vec<&str> {
    match kind.versions.as_slice() {
        [] if kind.key == "autoscaling/horizontalpodautoscalers" => vec![&kind.version, "v1"],
        [] => vec![&kind.version],
        list => list.iter().filter(|version| version.served).map(|version| version.name.as_str()).collect(),
    }
}

fn place(kind: &Kind, version: &str) -> String {
    if kind.group.is_empty() { format!("api/{version}") } else { format!("apis/{}/{version}", kind.group) }
}

/// `/openapi/v2`: a document without types, in the form that the client asks for. kubectl looks here for what it has not found in v3.
pub(crate) fn second(headers: &HeaderMap) -> Response {
    /// `openapi_v2.Document` with `swagger` and `info`.
    const EMPTY: &[u8] = b"\x0a\x032.0\x12\x15\x0a\x0aKubernetes\x12\x07v1.36.3";
    let asked = headers.get_all(ACCEPT).iter().any(|value| value.as_bytes().starts_with(b"application/com.github.proto-openapi"));
    if asked {
        return with_type(StatusCode::OK, Bytes::from_static(EMPTY), "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    }
    json_reply(
        StatusCode::OK,
        &json!({ "swagger": "2.0", "info": { "title": "Kubernetes", "version": "v1.36.3" }, "paths": {}, "definitions": {} }),
    )
}

/// One group and version.
pub(crate) fn document(store: &Store, name: &str) -> Option<Value> {
    let mut paths = Map::new();
    let published = published();
    let types = published["documents"][name].as_object().into_iter().flatten();
    let mut schemas: Map<String, Value> = types
        .filter_map(|(name, at)| Some((name.clone(), published["schemas"].get(usize::try_from(at.as_u64()?).ok()?)?.clone())))
        .collect();
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
            paths.insert(base.clone(), json!({ "get": one("list"), "post": one("post") }));
            paths.insert(format!("{base}/{{name}}"), json!({ "get": one("get"), "put": one("put"), "patch": one("patch") }));
            let Some(custom) = kind.custom(version) else { continue };
            let mut schema = custom.json.clone();
            schema["x-kubernetes-group-version-kind"] = json!([gvk]);
            if let Some(properties) = schema["properties"].as_object_mut() {
                let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
                // What every object has is described as it is for built-in ones.
                let common = type_of(published, "io.k8s.api.core.v1.Pod").map(|pod| &pod["properties"]);
                for key in ["apiVersion", "kind", "metadata"] {
                    properties.insert(key.to_owned(), common.map(|common| common[key].clone()).unwrap_or_default());
                }
                if let Some(metadata) = properties.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.shift_remove("default");
                }
                for (name, schema) in with_references(published, meta) {
                    schemas.insert(name, schema);
                }
            }
            let mut reversed: Vec<&str> = kind.group.split('.').filter(|part| !part.is_empty()).collect();
            reversed.reverse();
            reversed.extend([version, kind.kind.as_str()]);
            schemas.insert(reversed.join("."), schema);
        }
    }
    (!paths.is_empty()).then(|| json!({ "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": "" }, "paths": paths, "components": { "schemas": schemas } }))
}

/// A published type of the core group.
fn type_of<'a>(published: &'a Value, name: &str) -> Option<&'a Value> {
    let at = published["documents"]["api/v1"][name].as_u64()?;
    published["schemas"].get(usize::try_from(at).ok()?)
}

/// A published type, and those that it refers to.
fn with_references(published: &Value, name: &str) -> Vec<(String, Value)> {
    let mut found: Vec<(String, Value)> = Vec::new();
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        if let Some(schema) = type_of(published, &name).filter(|_| found.iter().all(|(one, _)| *one != name)) {
            references(schema, &mut open);
            found.push((name, schema.clone()));
        }
    }
    found
}

fn references(schema: &Value, open: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            let target = map.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/components/schemas/"));
            open.extend(target.map(str::to_owned));
            map.values().for_each(|value| references(value, open));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, open)),
        _ => {}
    }
}
