//! The built-in kinds' types, from `data/schemas.json` (made by `examples/generate_schemas.rs`). Read once, on first use.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::{PatchRule, Schema, Type, list_kind, strings};

struct Library {
    kinds: BTreeMap<String, Arc<Schema>>,
}

/// The type of a built-in kind, or of a request body such as `policy/v1 Eviction`.
pub(crate) fn built_in(group: &str, version: &str, kind: &str) -> Option<Arc<Schema>> {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(load).kinds.get(&format!("{group}/{version}/{kind}")).cloned()
}

/// Whether the list at this place of a kind merges by key, and by which.
pub(crate) fn lists(schema: &Schema) -> Option<&str> {
    schema.patch.merge_key.as_deref().filter(|_| schema.patch.merge)
}

fn load() -> Library {
    let document: Value = serde_json::from_str(include_str!("../../data/schemas.json")).expect("data/schemas.json is JSON");
    let types = document["types"].as_object().expect("data/schemas.json has types");
    let mut reader = Reader { types, done: BTreeMap::new() };
    let mut kinds = BTreeMap::new();
    for (gvk, name) in document["kinds"].as_object().into_iter().flatten() {
        kinds.insert(gvk.clone(), reader.named(name.as_str().unwrap_or_default(), &mut Vec::new()));
    }
    for (gvk, name) in [
        ("meta.k8s.io/v1/DeleteOptions", "meta.v1.DeleteOptions"),
        ("policy/v1/Eviction", "policy.v1.Eviction"),
        ("/v1/Binding", "core.v1.Binding"),
    ] {
        kinds.insert(gvk.to_owned(), reader.named(name, &mut Vec::new()));
    }
    Library { kinds }
}

struct Reader<'a> {
    types: &'a serde_json::Map<String, Value>,
    done: BTreeMap<String, Arc<Schema>>,
}

impl Reader<'_> {
    fn named(&mut self, name: &str, open: &mut Vec<String>) -> Arc<Schema> {
        if let Some(done) = self.done.get(name) {
            return done.clone();
        }
        let special = match name {
            "api.resource.Quantity" => Some(Type::Quantity),
            "util.intstr.IntOrString" => Some(Type::IntOrString),
            "meta.v1.Time" => Some(Type::Time),
            "meta.v1.MicroTime" => Some(Type::MicroTime),
            // Recursive or free: kept as they are. A CRD's schema has checks of its own.
            "runtime.RawExtension" | "meta.v1.FieldsV1" | "apiextensions.v1.JSON" | "apiextensions.v1.JSONSchemaProps" => Some(Type::Any),
            _ => None,
        };
        let schema = match (special, self.types.get(name)) {
            (Some(kind), _) => Schema { kind, go: go_name(name), ..Schema::default() },
            (None, Some(json)) if !open.iter().any(|one| one == name) => {
                open.push(name.to_owned());
                let schema = self.read(json, name, open);
                open.pop();
                schema
            }
            _ => Schema::default(),
        };
        let schema = Arc::new(schema);
        self.done.insert(name.to_owned(), schema.clone());
        schema
    }

    fn read(&mut self, json: &Value, name: &str, open: &mut Vec<String>) -> Schema {
        if let Some(reference) = json["$ref"].as_str() {
            let target = self.named(reference, open);
            // A field that adds a merge rule of its own; the children are shared.
            return target.shallow();
        }
        let format = json["format"].as_str().map(str::to_owned);
        let properties: BTreeMap<_, _> =
            json["properties"].as_object().into_iter().flatten().map(|(key, inner)| (key.clone(), self.field(inner, open))).collect();
        let additional = json.get("additionalProperties").map(|inner| self.field(inner, open));
        let items = json.get("items").map(|inner| self.field(inner, open));
        let kind = match json["type"].as_str() {
            Some("object") if properties.is_empty() && additional.is_none() && !is_empty_struct(name) => Type::Any,
            Some("object") => Type::Object,
            Some("array") => Type::Array,
            Some("integer") => Type::Integer,
            Some("number") => Type::Number,
            Some("boolean") => Type::Boolean,
            Some("string") => Type::String,
            _ => Type::Any,
        };
        let go = match kind {
            Type::Array => format!("[]{}", items.as_ref().map_or("string", |inner| inner.go.as_str())),
            Type::Object if additional.is_some() => {
                format!("map[string]{}", additional.as_ref().map_or("string", |inner| inner.go.as_str()))
            }
            Type::Boolean => "bool".to_owned(),
            Type::Integer => format.clone().unwrap_or_else(|| "int64".to_owned()),
            Type::Number => "float64".to_owned(),
            Type::String if format.as_deref() == Some("byte") => "[]uint8".to_owned(),
            Type::String => "string".to_owned(),
            _ => go_name(name),
        };
        let atomic = json["x-kubernetes-map-type"] == "atomic";
        Schema { kind, properties, additional, items, format, go, atomic, required: strings(&json["required"]), ..Schema::default() }
    }

    /// A field: its type, and what its place says of merging.
    fn field(&mut self, json: &Value, open: &mut Vec<String>) -> Arc<Schema> {
        if json.as_object().is_some_and(|map| map.len() == 1)
            && let Some(reference) = json["$ref"].as_str()
        {
            return self.named(reference, open);
        }
        let mut schema = self.read(json, "", open);
        schema.list = list_kind(json);
        schema.atomic |= json["x-kubernetes-map-type"] == "atomic";
        let strategy = json["x-kubernetes-patch-strategy"].as_str().unwrap_or_default();
        schema.patch = PatchRule {
            merge: strategy.contains("merge"),
            replace: strategy.contains("replace"),
            retain_keys: strategy.contains("retainKeys"),
            merge_key: json["x-kubernetes-patch-merge-key"].as_str().map(str::to_owned),
        };
        Arc::new(schema)
    }
}

/// `core.v1.PodSpec` → `v1.PodSpec`.
fn go_name(name: &str) -> String {
    let mut parts = name.rsplitn(3, '.');
    let (last, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{package}.{last}")
}

/// Structs without fields; everything else without properties is free-form.
fn is_empty_struct(name: &str) -> bool {
    name.is_empty()
}
