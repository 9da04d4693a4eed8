//! Writes `data/schemas.json`: the types of the built-in kinds, from Kubernetes' own OpenAPI document.
//!
//!     cargo run -p fake-kube --example generate_schemas -- PATH/kubernetes/api/openapi-spec/swagger.json
//!
//! Kept: types, formats, required fields, list kinds, merge keys. Left out: every description, and what no served kind reaches.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

/// Types that are read though no table names them: request bodies of subresources and reviews.
const BODIES: &[&str] = &[
    "io.k8s.api.core.v1.Binding",
    "io.k8s.api.policy.v1.Eviction",
    "io.k8s.api.autoscaling.v1.Scale",
    "io.k8s.api.events.v1.Event",
    "io.k8s.api.authentication.v1.TokenReview",
    "io.k8s.api.authentication.v1.TokenRequest",
    "io.k8s.api.authentication.v1.SelfSubjectReview",
    "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    "io.k8s.api.authorization.v1.SubjectAccessReview",
    "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
];

const KEPT: &[&str] = &[
    "type",
    "format",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-patch-merge-key",
    "x-kubernetes-patch-strategy",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source = std::env::args().nth(1).ok_or("usage: generate_schemas PATH/swagger.json")?;
    let document: Value = serde_json::from_slice(&std::fs::read(source)?)?;
    let definitions = document["definitions"].as_object().ok_or("the document has no definitions")?;

    let served = fake_kube::kinds::built_in();
    let is_served = |definition: &Value| {
        definition["x-kubernetes-group-version-kind"].as_array().is_some_and(|list| {
            list.iter().any(|gvk| {
                served.iter().any(|kind| gvk["group"] == *kind.group && gvk["version"] == *kind.version && gvk["kind"] == *kind.kind)
            })
        })
    };
    let mut open: Vec<&str> = definitions.iter().filter(|(_, definition)| is_served(definition)).map(|(name, _)| name.as_str()).collect();
    open.extend(BODIES);

    let mut types = BTreeMap::new();
    let mut kinds = BTreeMap::new();
    while let Some(name) = open.pop() {
        if types.contains_key(&short(name)) {
            continue;
        }
        let definition = definitions.get(name).ok_or_else(|| format!("no definition named {name}"))?;
        types.insert(short(name), slim(definition));
        references(definition, &mut open);
        if let [gvk] = definition["x-kubernetes-group-version-kind"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let of = |key: &str| gvk[key].as_str().unwrap_or_default().to_owned();
            kinds.insert(format!("{}/{}/{}", of("group"), of("version"), of("kind")), short(name));
        }
    }

    let version = document["info"]["version"].clone();
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/schemas.json");
    let mut text = String::from("{\"source\":");
    text.push_str(&json!(format!("kubernetes api/openapi-spec/swagger.json ({version})")).to_string());
    text.push_str(&format!(",\"kinds\":{},\n\"types\":{{\n", serde_json::to_string(&kinds)?));
    let lines: Vec<String> = types.iter().map(|(name, slim)| format!("{}:{slim}", json!(name))).collect();
    text.push_str(&lines.join(",\n"));
    text.push_str("\n}}\n");
    std::fs::write(out, text)?;
    Ok(())
}

/// `io.k8s.api.core.v1.Pod` → `core.v1.Pod`.
fn short(name: &str) -> String {
    let name = name.strip_prefix("#/definitions/").unwrap_or(name);
    [
        "io.k8s.api.",
        "io.k8s.apimachinery.pkg.apis.",
        "io.k8s.apimachinery.pkg.",
        "io.k8s.apiextensions-apiserver.pkg.apis.",
        "io.k8s.kube-aggregator.pkg.apis.",
    ]
    .iter()
    .find_map(|prefix| name.strip_prefix(prefix))
    .unwrap_or(name)
    .to_owned()
}

fn slim(schema: &Value) -> Value {
    let mut out = Map::new();
    if let Some(reference) = schema["$ref"].as_str() {
        out.insert("$ref".to_owned(), json!(short(reference)));
    }
    for key in KEPT {
        if let Some(value) = schema.get(*key) {
            out.insert((*key).to_owned(), value.clone());
        }
    }
    if let Some(properties) = schema["properties"].as_object() {
        out.insert("properties".to_owned(), properties.iter().map(|(name, one)| (name.clone(), slim(one))).collect());
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            out.insert(key.to_owned(), slim(inner));
        }
    }
    Value::Object(out)
}

fn references<'a>(schema: &'a Value, open: &mut Vec<&'a str>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                open.push(reference.trim_start_matches("#/definitions/"));
            }
            map.values().for_each(|value| references(value, open));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, open)),
        _ => {}
    }
}
