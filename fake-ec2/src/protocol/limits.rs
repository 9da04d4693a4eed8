//! What the models say of a value beyond its kind: its enumeration, its length, its range. Asked of forms, before an operation is done.
//!
//! EC2's model bounds hardly anything but page sizes, on which its operations have their own words: of it enumerations alone are asked.
//! An empty text reads as absent, as clients of the query protocols send it. Enumerations that are data (types of instances and of
//! resources) are not in the models here and are asked by the operations that take them.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::AwsError;
use crate::model::{Kind, Model, Protocol, Service, Shape, ShapeId};

/// The first value that the model does not allow, as the service's error.
pub fn broken(model: &Model, protocol: Protocol, shape: ShapeId, input: &Map<String, Value>) -> Option<AwsError> {
    if !matches!(protocol, Protocol::Ec2 | Protocol::Query) || model.service == Service::Sqs {
        return None;
    }
    let Kind::Structure(members) = &model.shape(shape).kind else { return None };
    members.iter().find_map(|member| {
        let value = input.get(member.name)?;
        walk(model, protocol, member.shape, value, &named(protocol, member.name, &member.form_name))
    })
}

/// A member as the service's messages write it.
fn named(protocol: Protocol, name: &str, form: &str) -> String {
    if protocol == Protocol::Ec2 {
        return form.to_owned();
    }
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

fn walk(model: &Model, protocol: Protocol, id: ShapeId, value: &Value, path: &str) -> Option<AwsError> {
    let shape = model.shape(id);
    if let Some(error) = one(protocol, shape, value, path) {
        return Some(error);
    }
    match (&shape.kind, value) {
        (Kind::Structure(members), Value::Object(object)) => members.iter().find_map(|member| {
            let path = format!("{path}.{}", named(protocol, member.name, &member.form_name));
            walk(model, protocol, member.shape, object.get(member.name)?, &path)
        }),
        (Kind::List { member, .. }, Value::Array(list)) => list.iter().enumerate().find_map(|(at, item)| {
            let mut path = path.to_owned();
            // EC2 counts in the parameter's name, the query protocol as its messages do.
            let _ = if protocol == Protocol::Ec2 { write!(path, ".{}", at + 1) } else { write!(path, ".{}.member", at + 1) };
            walk(model, protocol, member.shape, item, &path)
        }),
        (Kind::Map { key, value: part, .. }, Value::Object(object)) => object.iter().find_map(|(name, item)| {
            let of_key = one(protocol, model.shape(key.shape), &Value::from(name.as_str()), path);
            of_key.or_else(|| walk(model, protocol, part.shape, item, &format!("{path}.{name}")))
        }),
        _ => None,
    }
}

/// Source of the forms: EC2 API reference, "Error codes", InvalidParameterValue; the query services' constraint messages as clients quote
/// them.
fn one(protocol: Protocol, shape: &Shape, value: &Value, path: &str) -> Option<AwsError> {
    let text = value.as_str();
    if text == Some("") {
        return None;
    }
    if let Some(text) = text.filter(|text| !shape.values.is_empty() && !shape.values.contains(text)) {
        let known = shape.values.join(", ");
        return Some(match protocol {
            Protocol::Ec2 => AwsError::new(
                "InvalidParameterValue",
                format!("Value ({text}) for parameter {path} is invalid. Valid values are: {known}."),
            ),
            _ => constraint(text, path, &format!("Member must satisfy enum value set: [{known}]")),
        });
    }
    if protocol == Protocol::Ec2 {
        return None;
    }
    let (measure, what) = match (&shape.kind, value) {
        (Kind::Text, Value::String(text)) => (text.chars().count() as f64, "length"),
        (Kind::List { .. }, Value::Array(list)) => (list.len() as f64, "length"),
        (Kind::Map { .. }, Value::Object(map)) => (map.len() as f64, "length"),
        (Kind::Integer | Kind::Long | Kind::Number, value) => (value.as_f64()?, "value"),
        _ => return None,
    };
    let bound = |word: &str, bound: f64| format!("Member must have {what} {word} than or equal to {bound}");
    let why = match (shape.min, shape.max) {
        (Some(min), _) if measure < min => bound("greater", min),
        (_, Some(max)) if measure > max => bound("less", max),
        _ => return None,
    };
    let shown = text.map_or_else(|| value.to_string(), str::to_owned);
    Some(constraint(&shown, path, &why))
}

fn constraint(value: &str, path: &str, why: &str) -> AwsError {
    let message = format!("1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: {why}");
    AwsError::new("ValidationError", message)
}
