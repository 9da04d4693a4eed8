//! What a schema of a CustomResourceDefinition may not say.
//!
//! Source: `apiextensions-apiserver/pkg/apiserver/schema/validation.go`, `pkg/apis/apiextensions/validation/validation.go`. The words
//! about a pattern are those of another library of regular expressions.

use regex::Regex;
use serde_json::{Value, json};

use crate::schema::{self, Schema};
use crate::status::FieldError;

/// Where a schema stands, which decides the words for a missing type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Field,
    Item,
}

/// Everything that is wrong with a version's schema.
pub(super) fn check(json: &Value, path: &str, errors: &mut Vec<FieldError>) {
    node(json, path, Place::Root, errors);
}

fn node(json: &Value, path: &str, place: Place, errors: &mut Vec<FieldError>) {
    const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
    const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
    let named = json["type"].as_str().unwrap_or_default();
    let free = json["x-kubernetes-int-or-string"] == true || json[PRESERVE] == true;
    if named.is_empty() && (!free || place == Place::Root) {
        let why = match place {
            Place::Root => "must not be empty at the root",
            Place::Field => "must not be empty for specified object fields",
            Place::Item => "must not be empty for specified array items",
        };
        errors.push(FieldError::required(format!("{path}.type"), why));
    } else if !named.is_empty() && !TYPES.contains(&named) {
        errors.push(FieldError::unsupported(format!("{path}.type"), &json["type"], &TYPES));
    }
    if json[PRESERVE] == false {
        errors.push(FieldError::invalid(format!("{path}.{PRESERVE}"), &json!(false), "must be true or undefined"));
    }
    if let Some(pattern) = json["pattern"].as_str()
        && let Err(regex::Error::Syntax(why)) = Regex::new(pattern)
    {
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let why = format!("must be a valid regular expression, but isn't: error parsing regexp: {why}");
        errors.push(FieldError::invalid(format!("{path}.pattern"), &json["pattern"], why));
    }
    if json["properties"].is_object() && json["additionalProperties"].is_object() {
        let why = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(format!("{path}.additionalProperties"), why));
    }
    list(json, path, named, errors);
    default(json, path, errors);
    for (name, inner) in json["properties"].as_object().into_iter().flatten() {
        // What every object has is described by the server.
        if place != Place::Root || !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            node(inner, &format!("{path}.properties[{name}]"), Place::Field, errors);
        }
    }
    if json["additionalProperties"].is_object() {
        node(&json["additionalProperties"], &format!("{path}.additionalProperties"), Place::Field, errors);
    }
    if json["items"].is_object() {
        node(&json["items"], &format!("{path}.items"), Place::Item, errors);
    }
}

fn list(json: &Value, path: &str, named: &str, errors: &mut Vec<FieldError>) {
    const KIND: &str = "x-kubernetes-list-type";
    const KEYS: &str = "x-kubernetes-list-map-keys";
    if named == "array" && !json["items"].is_object() {
        errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
    }
    let Some(kind) = json[KIND].as_str() else { return };
    if named != "array" {
        let why = "must be array if x-kubernetes-list-type is specified";
        errors.push(FieldError::invalid(format!("{path}.type"), &json!(named), why));
        return;
    }
    let items = &json["items"];
    let composite = matches!(items["type"].as_str(), Some("object" | "array"));
    match kind {
        "map" => {
            let keys = schema::strings(&json[KEYS]);
            if keys.is_empty() {
                errors.push(FieldError::required(format!("{path}.{KEYS}"), "must not be empty if x-kubernetes-list-type is map"));
            } else if keys.iter().any(|key| items["properties"].get(key).is_none()) {
                errors.push(FieldError::invalid(format!("{path}.{KEYS}"), &json[KEYS], "entries must all be names of item properties"));
            } else {
                let required = schema::strings(&items["required"]);
                for key in keys.iter().filter(|key| !required.contains(key) && items["properties"][*key]["default"].is_null()) {
                    let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                    errors.push(FieldError::required(format!("{path}.items.properties[{key}].default"), why));
                }
            }
        }
        "set" if composite && items["x-kubernetes-map-type"] != "atomic" && items["x-kubernetes-list-type"] != "atomic" => {
            let part = if items["type"] == "array" { "list" } else { "map" };
            let at = format!("{path}.items.x-kubernetes-{part}-type");
            let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
            errors.push(FieldError::invalid(at, &items[format!("x-kubernetes-{part}-type")], why));
        }
        _ => {}
    }
}

/// A default is a value of its own type.
fn default(json: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(default) = json.get("default").filter(|default| !default.is_null()) else { return };
    for mut error in schema::validate(&Schema::custom(json), default, "") {
        error.field = if error.field.is_empty() { format!("{path}.default") } else { format!("{path}.default.{}", error.field) };
        errors.push(error);
    }
}
