//! Request bodies as protobuf, `application/vnd.kubernetes.protobuf`: what unmodified Go controllers send for built-in kinds. Replies stay
//! JSON, which such clients accept beside it.
//!
//! A body is four magic bytes and a `runtime.Unknown` that names the kind and holds the object. Messages are read by upstream's published
//! descriptions (`data/protobuf.json`, made by `ci/generate/protobuf.py`), not by generated code. Errors are the words of the readers that
//! Go's server has (`k8s.io/apimachinery/pkg/runtime/serializer/protobuf`, `generated.pb.go`).

mod message;
mod table;
mod wire;

use serde_json::{Map, Value};

const MAGIC: &[u8] = b"k8s\0";

/// Why a body was not read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Failure {
    /// `apiVersion` and `kind`, when the body got as far as to say them.
    pub(crate) said: Option<(String, String)>,
    pub(crate) why: String,
    /// More than the server will hold.
    pub(crate) too_large: bool,
}

/// What the path lets one expect, for bodies that do not say what they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
}

/// Reads a body as the JSON that Go's types would make of it.
pub(crate) fn read(body: &[u8], expected: Option<Expected>) -> Result<Value, Failure> {
    let failure = |why: String| Failure { said: None, why, too_large: false };
    if body.is_empty() {
        return Err(failure("empty data".to_owned()));
    }
    let data = body
        .strip_prefix(MAGIC)
        .ok_or_else(|| failure("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".to_owned()))?;
    if data.is_empty() {
        return Err(failure("empty body".to_owned()));
    }
    let envelope = wire::envelope(data).map_err(|error| failure(error.to_string()))?;
    let or = |said: String, expected: Option<&str>| if said.is_empty() { expected.unwrap_or_default().to_owned() } else { said };
    let api_version = or(envelope.api_version, expected.map(|expected| expected.api_version));
    let kind = or(envelope.kind, expected.map(|expected| expected.kind));
    let said = || Some((api_version.clone(), kind.clone()));
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let name = table::message_of(group, version, &kind).ok_or_else(|| Failure {
        said: said(),
        why: format!("no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\""),
        too_large: false,
    })?;
    let mut fields = Map::new();
    fields.insert("kind".to_owned(), Value::from(kind.clone()));
    fields.insert("apiVersion".to_owned(), Value::from(api_version.clone()));
    message::read(name, envelope.raw, &mut fields).map_err(|error| Failure {
        said: said(),
        why: error.to_string(),
        too_large: error == wire::Error::TooMany,
    })?;
    Ok(Value::Object(fields))
}

/// Puts the structs into an object that Go holds by value, and so always writes: of a Deployment an empty `spec.strategy`, of each
/// container its `resources`.
pub(crate) fn complete(group: &str, version: &str, kind: &str, object: &mut Value) {
    if let (Some(name), Value::Object(map)) = (table::message_of(group, version, kind), object) {
        complete_message(name, map, DEPTH);
    }
}

/// Only a schema in a schema is deeper.
const DEPTH: u32 = 24;

fn complete_message(name: &str, object: &mut Map<String, Value>, depth: u32) {
    let (Some(message), Some(depth)) = (table::message(name), depth.checked_sub(1)) else { return };
    for field in message.values() {
        if field.or_null && !object.contains_key(&field.json) {
            object.insert(field.json.clone(), Value::Null);
        }
        let table::Kind::Message(inner) = &field.kind else { continue };
        if field.inline {
            complete_message(inner, object, depth);
            continue;
        }
        if field.always && object.get(&field.json).is_none_or(Value::is_null) {
            object.insert(field.json.clone(), Value::Object(Map::new()));
        }
        match (field.shape, object.get_mut(&field.json)) {
            (table::Shape::One, Some(Value::Object(map))) => complete_message(inner, map, depth),
            (table::Shape::List, Some(Value::Array(list))) => {
                list.iter_mut().filter_map(Value::as_object_mut).for_each(|map| complete_message(inner, map, depth));
            }
            (table::Shape::Map, Some(Value::Object(map))) => {
                map.values_mut().filter_map(Value::as_object_mut).for_each(|map| complete_message(inner, map, depth));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
