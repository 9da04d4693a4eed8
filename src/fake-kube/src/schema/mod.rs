//! Types of objects as data: the built-in kinds' (from Kubernetes' OpenAPI) and the custom kinds' (structural schemas of CRDs) in one
//! form, so that pruning, defaults, validation and merging are written once.

mod builtin;
mod decode;
mod defaults;
mod formats;
mod prune;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

pub(crate) use builtin::{built_in, lists};
pub(crate) use decode::decode;
pub(crate) use defaults::fill_defaults;
pub(crate) use prune::prune;
pub(crate) use validate::{validate, validate_list_kinds};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Type {
    /// Anything goes and is kept.
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
    /// Built-in kinds only: written back in canonical form.
    Quantity,
    Time,
    MicroTime,
}

impl Type {
    /// As validation messages list it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Type::Any => "",
            Type::Object => "object",
            Type::Array => "array",
            Type::String | Type::Quantity | Type::Time | Type::MicroTime => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
            Type::IntOrString => "integer,string",
        }
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum ListKind {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

/// How strategic merge patch treats a list or object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PatchRule {
    pub(crate) merge: bool,
    pub(crate) replace: bool,
    pub(crate) retain_keys: bool,
    pub(crate) merge_key: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) kind: Type,
    pub(crate) nullable: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded: bool,
    pub(crate) properties: BTreeMap<String, Arc<Schema>>,
    /// The type of a map's values.
    pub(crate) additional: Option<Arc<Schema>>,
    pub(crate) items: Option<Arc<Schema>>,
    pub(crate) list: ListKind,
    pub(crate) atomic: bool,
    pub(crate) patch: PatchRule,
    pub(crate) default: Option<Value>,
    pub(crate) required: Vec<String>,
    pub(crate) format: Option<String>,
    pub(crate) rules: Option<Box<Rules>>,
    /// Built-in kinds only: the Go type, as decoding errors name it.
    pub(crate) go: String,
}

/// Constraints on values; few nodes have any.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) one_of_values: Vec<Value>,
    pub(crate) pattern: Option<(String, Option<Regex>)>,
    pub(crate) minimum: Option<(f64, bool)>,
    pub(crate) maximum: Option<(f64, bool)>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) unique_items: bool,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

/// Deeper than any real schema; a bound for hostile ones.
const DEPTH: usize = 64;

impl Schema {
    /// From `openAPIV3Schema` of a CRD.
    pub(crate) fn custom(json: &Value) -> Schema {
        Schema::read(json, DEPTH)
    }

    fn read(json: &Value, depth: usize) -> Schema {
        if depth == 0 {
            return Schema { preserve_unknown: true, ..Schema::default() };
        }
        let child = |key: &str| json.get(key).filter(|value| value.is_object()).map(|inner| Arc::new(Schema::read(inner, depth - 1)));
        let flag = |key: &str| json[key].as_bool().unwrap_or(false);
        let kind = match json["type"].as_str() {
            _ if flag("x-kubernetes-int-or-string") => Type::IntOrString,
            Some("object") => Type::Object,
            Some("array") => Type::Array,
            Some("string") => Type::String,
            Some("integer") => Type::Integer,
            Some("number") => Type::Number,
            Some("boolean") => Type::Boolean,
            _ => Type::Any,
        };
        let properties = json["properties"].as_object().into_iter().flatten();
        Schema {
            kind,
            nullable: flag("nullable"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields") || json["additionalProperties"] == true,
            embedded: flag("x-kubernetes-embedded-resource"),
            properties: properties.map(|(name, inner)| (name.clone(), Arc::new(Schema::read(inner, depth - 1)))).collect(),
            additional: child("additionalProperties"),
            items: child("items"),
            list: list_kind(json),
            atomic: json["x-kubernetes-map-type"] == "atomic",
            patch: PatchRule::default(),
            default: json.get("default").cloned(),
            required: strings(&json["required"]),
            format: json["format"].as_str().map(str::to_owned),
            rules: Rules::read(json, depth).map(Box::new),
            go: String::new(),
        }
    }

    /// The same type with the same children, to be changed; its rules and defaults stay behind.
    pub(crate) fn shallow(&self) -> Schema {
        Schema {
            kind: self.kind,
            preserve_unknown: self.preserve_unknown,
            properties: self.properties.clone(),
            additional: self.additional.clone(),
            items: self.items.clone(),
            atomic: self.atomic,
            format: self.format.clone(),
            go: self.go.clone(),
            required: self.required.clone(),
            ..Schema::default()
        }
    }

    /// The type of a field, whether named or a map's value.
    pub(crate) fn field(&self, name: &str) -> Option<&Arc<Schema>> {
        self.properties.get(name).or(self.additional.as_ref())
    }
}

impl Rules {
    fn read(json: &Value, depth: usize) -> Option<Rules> {
        const KEYS: &[&str] = &[
            "enum",
            "pattern",
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "uniqueItems",
            "minProperties",
            "maxProperties",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        if !KEYS.iter().any(|key| json.get(*key).is_some()) {
            return None;
        }
        let size = |key: &str| json[key].as_u64();
        let bound = |key: &str, exclusive: &str| Some((json[key].as_f64()?, json[exclusive].as_bool().unwrap_or(false)));
        let schemas =
            |key: &str| json[key].as_array().map(|list| list.iter().map(|one| Schema::read(one, depth - 1)).collect()).unwrap_or_default();
        Some(Rules {
            one_of_values: json["enum"].as_array().cloned().unwrap_or_default(),
            pattern: json["pattern"].as_str().map(|text| (text.to_owned(), Regex::new(text).ok())),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: json["multipleOf"].as_f64(),
            min_length: size("minLength"),
            max_length: size("maxLength"),
            min_items: size("minItems"),
            max_items: size("maxItems"),
            unique_items: json["uniqueItems"].as_bool().unwrap_or(false),
            min_properties: size("minProperties"),
            max_properties: size("maxProperties"),
            all_of: schemas("allOf"),
            any_of: schemas("anyOf"),
            one_of: schemas("oneOf"),
            not: json.get("not").map(|inner| Box::new(Schema::read(inner, depth - 1))),
        })
    }
}

pub(crate) fn list_kind(json: &Value) -> ListKind {
    match json["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map(strings(&json["x-kubernetes-list-map-keys"])),
        _ => ListKind::Atomic,
    }
}

pub(crate) fn strings(value: &Value) -> Vec<String> {
    value.as_array().map(|list| list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()).unwrap_or_default()
}
