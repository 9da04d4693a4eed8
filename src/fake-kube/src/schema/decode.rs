//! Decodes an object of a built-in kind as Go would: types, quantities and times are checked and written back in canonical form, what
//! the type does not have is dropped and named, absent and empty become the same.
//!
//! Source of the messages: `encoding/json` and `sigs.k8s.io/json` as kube-apiserver uses them.

use serde_json::Value;

use super::{Schema, Type};
use crate::quantity::Quantity;

/// Checks and cleans `value`. `Err` is the decoder's message; `unknown` gets the paths of fields that were dropped.
pub(crate) fn decode(schema: &Schema, value: &mut Value, unknown: &mut Vec<String>) -> Result<(), String> {
    let owner = schema.go.rsplit('.').next().unwrap_or_default().to_owned();
    Decoder { unknown, owner }.any(schema, value, &mut String::new(), &mut String::new())
}

struct Decoder<'a> {
    unknown: &'a mut Vec<String>,
    /// The outermost struct, as messages name it.
    owner: String,
}

impl Decoder<'_> {
    /// `at` is the field's path with indices, for unknown fields; `plain` the path without, for type errors.
    fn any(&mut self, schema: &Schema, value: &mut Value, at: &mut String, plain: &mut String) -> Result<(), String> {
        match (schema.kind, &mut *value) {
            (Type::Any, _) | (_, Value::Null) => Ok(()),
            (Type::Object, Value::Object(map)) => {
                let mut drop = Vec::new();
                let outer = (!schema.properties.is_empty())
                    .then(|| std::mem::replace(&mut self.owner, schema.go.rsplit('.').next().unwrap_or_default().to_owned()));
                for (key, inner) in map.iter_mut() {
                    let Some(field) = schema.field(key) else {
                        self.unknown.push(join(at, key));
                        drop.push(key.clone());
                        continue;
                    };
                    let (at_length, plain_length) = (at.len(), plain.len());
                    push(at, key);
                    // Keys of maps are no fields.
                    if schema.properties.contains_key(key) {
                        push(plain, key);
                    }
                    self.any(field, inner, at, plain)?;
                    at.truncate(at_length);
                    plain.truncate(plain_length);
                    if inner.is_null() || (is_empty_collection(field, inner) && !schema.required.iter().any(|name| name == key)) {
                        drop.push(key.clone());
                    }
                }
                drop.iter().for_each(|key| {
                    map.shift_remove(key);
                });
                if let Some(outer) = outer {
                    self.owner = outer;
                }
                Ok(())
            }
            (Type::Array, Value::Array(list)) => {
                let Some(items) = &schema.items else { return Ok(()) };
                for (index, inner) in list.iter_mut().enumerate() {
                    let length = at.len();
                    at.push_str(&format!("[{index}]"));
                    self.any(items, inner, at, plain)?;
                    at.truncate(length);
                    if inner.is_null() && items.kind == Type::Object {
                        *inner = Value::Object(serde_json::Map::new());
                    }
                }
                Ok(())
            }
            (Type::String, Value::String(_)) | (Type::Boolean, Value::Bool(_)) | (Type::Number, Value::Number(_)) => Ok(()),
            (Type::Integer, Value::Number(number)) => match whole(number) {
                Some(whole) if fits(whole, schema.format.as_deref()) => {
                    *value = Value::from(whole);
                    Ok(())
                }
                _ => Err(self.mismatch(&format!("number {number}"), schema, plain)),
            },
            (Type::IntOrString, Value::String(_)) => Ok(()),
            (Type::IntOrString, Value::Number(number)) => match whole(number) {
                Some(whole) => {
                    *value = Value::from(whole);
                    Ok(())
                }
                None => Err(self.mismatch(&format!("number {number}"), schema, plain)),
            },
            (Type::Quantity, Value::String(text)) => canonical(text).map(|text| *value = Value::String(text)),
            (Type::Quantity, Value::Number(number)) => canonical(&number.to_string()).map(|text| *value = Value::String(text)),
            (Type::Quantity, other) => canonical(&other.to_string()).map(|_| ()),
            (Type::Time, Value::String(text)) => {
                *value = Value::String(crate::time::seconds(instant(text)?));
                Ok(())
            }
            (Type::MicroTime, Value::String(text)) => {
                *value = Value::String(crate::time::micros(instant(text)?));
                Ok(())
            }
            (_, other) => {
                let found = go_kind(other);
                Err(self.mismatch(found, schema, plain))
            }
        }
    }

    fn mismatch(&self, found: &str, schema: &Schema, plain: &str) -> String {
        if plain.is_empty() {
            format!("json: cannot unmarshal {found} into Go value of type {}", schema.go)
        } else {
            format!("json: cannot unmarshal {found} into Go struct field {}.{plain} of type {}", self.owner, schema.go)
        }
    }
}

fn push(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Go's `omitempty` on lists and maps. Structs stay, since a pointer to an empty one means something (`emptyDir: {}`).
fn is_empty_collection(schema: &Schema, value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty() && schema.additional.is_some(),
        _ => false,
    }
}

fn whole(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9.0e15).map(|float| float as i64))
}

fn fits(whole: i64, format: Option<&str>) -> bool {
    format != Some("int32") || i32::try_from(whole).is_ok()
}

fn canonical(text: &str) -> Result<String, String> {
    Quantity::parse(text.trim()).map(|quantity| quantity.to_string()).map_err(|error| error.to_string())
}

fn instant(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse().map_err(|_| {
        let text = crate::status::quoted(text);
        let inner = crate::status::quoted(&text);
        format!("parsing time {inner} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text} as \"2006\"")
    })
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
