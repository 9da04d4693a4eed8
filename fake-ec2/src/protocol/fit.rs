//! Whether a value fits its shape: what a service hands out is checked before it is written, so that a mistake shows as an error and
//! not as a member that is silently missing.

use serde_json::Value;

use crate::model::{Finder, Kind, Model, ShapeId};

/// A place in a value, written out only when something is wrong there.
enum Path<'a> {
    Root,
    Name(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Name(above, name) => write!(formatter, "{above}.{name}"),
            Self::Index(above, at) => write!(formatter, "{above}[{at}]"),
        }
    }
}

/// Every place at which a value does not fit, in words; empty when all is well.
pub fn misfits(model: &Model, shape: ShapeId, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(model, shape, value, &Path::Root, &mut found);
    found
}

fn walk(model: &Model, shape: ShapeId, value: &Value, path: &Path<'_>, found: &mut Vec<String>) {
    match (&model.shape(shape).kind, value) {
        (_, Value::Null) => {}
        // Written before, when it was held against the same shape.
        (Kind::Structure(_), Value::String(text)) if text.starts_with('<') => {}
        (Kind::Structure(members), Value::Object(object)) => {
            let mut finder = Finder::new(members);
            for (key, value) in object {
                let below = Path::Name(path, key);
                match finder.find(key) {
                    Some(member) => walk(model, member.shape, value, &below, found),
                    None => found.push(format!("{below}: {} has no such member", model.shape(shape).name)),
                }
            }
        }
        (Kind::List { member, .. }, Value::Array(list)) => {
            for (at, item) in list.iter().enumerate() {
                walk(model, member.shape, item, &Path::Index(path, at), found);
            }
        }
        (Kind::Map { value: part, .. }, Value::Object(object)) => {
            for (key, item) in object {
                walk(model, part.shape, item, &Path::Name(path, key), found);
            }
        }
        (kind, value) if scalar_fits(kind, value) => {}
        (kind, value) => found.push(format!("{path}: {value} is no {}", noun(kind))),
    }
}

fn scalar_fits(kind: &Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Text | Kind::Blob, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) | (Kind::Number, Value::Number(_)) => true,
        (Kind::Integer, Value::Number(number)) => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        (Kind::Long, Value::Number(number)) => number.as_i64().is_some(),
        (Kind::Timestamp, Value::String(text)) => text.parse::<jiff::Timestamp>().is_ok(),
        _ => false,
    }
}

fn noun(kind: &Kind) -> &'static str {
    match kind {
        Kind::Structure(_) => "structure",
        Kind::List { .. } => "list",
        Kind::Map { .. } => "map",
        Kind::Text => "string",
        Kind::Integer => "integer",
        Kind::Long => "long",
        Kind::Number => "number",
        Kind::Boolean => "boolean",
        Kind::Timestamp => "timestamp",
        Kind::Blob => "base64 text",
    }
}
