//! Structural validation of custom objects, with the API server's messages.
//!
//! Source: `kube-openapi/pkg/validation/{validate,errors}`, `apiextensions-apiserver/pkg/apiserver/validation/validation.go`,
//! `…/schema/listtype/validation.go`. Where Go iterates a map, we go by name.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{ListKind, Rules, Schema, Type, formats};
use crate::status::{FieldError, FieldErrorKind};

/// Everything that is wrong with `value`; paths begin below `path`.
pub(crate) fn validate(schema: &Schema, value: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    any(schema, value, path, &mut errors);
    errors
}

fn any(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if value.is_null() {
        if schema.kind != Type::Any && !schema.nullable {
            errors.push(wrong_type(path, value, schema.kind.name(), "null"));
        }
        return;
    }
    if !matches_type(schema, value) {
        errors.push(wrong_type(path, value, schema.kind.name(), json_type(value)));
    }
    if let Some(rules) = &schema.rules {
        combined(rules, value, path, errors);
        scalar(rules, value, path, errors);
    }
    if let (Some(format), Value::String(text)) = (&schema.format, value)
        && matches!(schema.kind, Type::String | Type::Any)
        && !formats::holds(format, text)
    {
        errors.push(wrong_type_text(path, value, &format!("must be of type {format}: {}", crate::status::quoted(text))));
    }
    if let (Some(format), Value::Number(number)) = (&schema.format, value)
        && format == "int32"
        && schema.kind == Type::Integer
        && number.as_i64().is_none_or(|whole| i32::try_from(whole).is_err())
    {
        let detail = format!("Checked value must be of type integer with format int32 in {path}");
        errors.push(FieldError::invalid(path, value, detail));
    }
    match value {
        Value::Array(list) => array(schema, list, path, errors),
        Value::Object(map) => object(schema, map, path, errors),
        _ => {}
    }
    if let Some(rules) = &schema.rules
        && !rules.one_of_values.is_empty()
        && !rules.one_of_values.contains(value)
    {
        let listed: Vec<String> =
            rules.one_of_values.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
        errors.push(FieldError::unsupported(path, value, &listed));
    }
}

fn array(schema: &Schema, list: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    if let Some(items) = &schema.items {
        for (index, item) in list.iter().enumerate() {
            any(items, item, &format!("{path}[{index}]"), errors);
        }
    }
    let Some(rules) = &schema.rules else { return };
    let count = list.len() as u64;
    if let Some(least) = rules.min_items.filter(|&least| count < least) {
        errors.push(FieldError::invalid(path, &Value::from(count), format!("{path} in body should have at least {least} items")));
    }
    if let Some(most) = rules.max_items.filter(|&most| count > most) {
        errors.push(FieldError::too_many(path, list.len(), most));
    }
    if rules.unique_items && list.iter().enumerate().any(|(index, item)| list[..index].contains(item)) {
        errors.push(FieldError::invalid(path, &Value::from(""), format!("{path} in body shouldn't contain duplicates")));
    }
}

fn object(schema: &Schema, map: &serde_json::Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(rules) = &schema.rules {
        let count = map.len() as u64;
        if let Some(least) = rules.min_properties.filter(|&least| count < least) {
            let detail = format!("{path} in body should have at least {least} properties");
            errors.push(FieldError::invalid(path, &Value::from(count), detail));
        }
        if let Some(most) = rules.max_properties.filter(|&most| count > most) {
            errors.push(FieldError::too_many(path, map.len(), most));
        }
    }
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort();
    for key in keys {
        if let Some(field) = schema.field(key) {
            any(field, &map[key], &join(path, key), errors);
        }
    }
    for name in schema.required.iter().filter(|name| !map.contains_key(*name)) {
        errors.push(FieldError::required(join(path, name), ""));
    }
}

fn scalar(rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::String(text) => {
            let length = text.chars().count() as u64;
            // The first that fails ends the check (`stringValidator`).
            if let Some(most) = rules.max_length.filter(|&most| length > most) {
                errors.push(FieldError::too_long(path, most));
            } else if let Some(least) = rules.min_length.filter(|&least| length < least) {
                errors.push(FieldError::invalid(path, value, format!("{path} in body should be at least {least} chars long")));
            } else if let Some((pattern, Some(regex))) = &rules.pattern
                && !regex.is_match(text)
            {
                errors.push(FieldError::invalid(path, value, format!("{path} in body should match '{pattern}'")));
            }
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            if let Some((most, exclusive)) = rules.maximum
                && (number > most || (exclusive && number >= most))
            {
                let words = if exclusive { "less than" } else { "less than or equal to" };
                errors.push(FieldError::invalid(path, value, format!("{path} in body should be {words} {}", plain(most))));
            }
            if let Some((least, exclusive)) = rules.minimum
                && (number < least || (exclusive && number <= least))
            {
                let words = if exclusive { "greater than" } else { "greater than or equal to" };
                errors.push(FieldError::invalid(path, value, format!("{path} in body should be {words} {}", plain(least))));
            }
            if let Some(factor) = rules.multiple_of
                && factor > 0.0
                && (number / factor).fract() != 0.0
            {
                errors.push(FieldError::invalid(path, value, format!("{path} in body should be a multiple of {}", plain(factor))));
            }
        }
        _ => {}
    }
}

/// `anyOf`, `oneOf`, `allOf`, `not`. These errors name no field of their own.
fn combined(rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let say = |words: &str| FieldError {
        field: "<nil>".to_owned(),
        ..FieldError::invalid("", &Value::from(""), format!("{} {words}", crate::status::quoted(path)))
    };
    let tried = |schemas: &[Schema]| -> Vec<Vec<FieldError>> { schemas.iter().map(|one| validate(one, value, path)).collect() };
    let best = |tried: Vec<Vec<FieldError>>| tried.into_iter().min_by_key(Vec::len).unwrap_or_default();
    if !rules.any_of.is_empty() {
        let tried = tried(&rules.any_of);
        if tried.iter().all(|failures| !failures.is_empty()) {
            errors.push(say("must validate at least one schema (anyOf)"));
            errors.extend(best(tried));
        }
    }
    if !rules.one_of.is_empty() {
        let tried = tried(&rules.one_of);
        match tried.iter().filter(|failures| failures.is_empty()).count() {
            1 => {}
            0 => {
                errors.push(say("must validate one and only one schema (oneOf). Found none valid"));
                errors.extend(best(tried));
            }
            count => errors.push(say(&format!("must validate one and only one schema (oneOf). Found {count} valid alternatives"))),
        }
    }
    if !rules.all_of.is_empty() {
        let failures: Vec<Vec<FieldError>> = tried(&rules.all_of).into_iter().filter(|one| !one.is_empty()).collect();
        if !failures.is_empty() {
            let none = if failures.len() == rules.all_of.len() { ". None validated" } else { "" };
            errors.push(say(&format!("must validate all the schemas (allOf){none}")));
            errors.extend(failures.into_iter().flatten());
        }
    }
    if let Some(not) = &rules.not
        && validate(not, value, path).is_empty()
    {
        errors.push(say("must not validate the schema (not)"));
    }
}

fn matches_type(schema: &Schema, value: &Value) -> bool {
    match (schema.kind, value) {
        (Type::Any, _)
        | (Type::Object, Value::Object(_))
        | (Type::Array, Value::Array(_))
        | (Type::String | Type::Quantity | Type::Time | Type::MicroTime, Value::String(_))
        | (Type::Number, Value::Number(_))
        | (Type::Boolean, Value::Bool(_))
        | (Type::IntOrString, Value::String(_)) => true,
        (Type::Integer | Type::IntOrString, Value::Number(number)) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|float| float.fract() == 0.0)
        }
        _ => false,
    }
}

fn wrong_type(path: &str, value: &Value, wanted: &str, found: &str) -> FieldError {
    wrong_type_text(path, value, &format!("must be of type {wanted}: {}", crate::status::quoted(found)))
}

fn wrong_type_text(path: &str, value: &Value, words: &str) -> FieldError {
    // The server shows the name of the type that it found, not the value.
    let shown = words.rsplit_once(": ").map(|(_, found)| found.to_owned());
    let detail = format!("{path} in body {words}");
    FieldError {
        field: path.to_owned(),
        kind: FieldErrorKind::TypeInvalid,
        value: shown.or_else(|| Some(crate::status::shown(value))),
        detail,
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn plain(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 { format!("{}", number as i64) } else { number.to_string() }
}

pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The uniqueness that `x-kubernetes-list-type: set` and `map` promise.
pub(crate) fn validate_list_kinds(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            for key in keys {
                let below = if schema.properties.contains_key(key) { join(path, key) } else { format!("{path}[{key}]") };
                if let Some(field) = schema.field(key) {
                    validate_list_kinds(field, &map[key], &below, errors);
                }
            }
        }
        Value::Array(list) => {
            let keys: Vec<Value> = match &schema.list {
                ListKind::Atomic => Vec::new(),
                ListKind::Set => list.clone(),
                ListKind::Map(names) => {
                    list.iter().map(|item| names.iter().map(|name| (name.clone(), item[name].clone())).collect()).collect()
                }
            };
            let mut seen = BTreeSet::new();
            for (index, key) in keys.iter().enumerate() {
                if !seen.insert(key.to_string()) {
                    errors.push(FieldError::duplicate(format!("{path}[{index}]"), key));
                }
            }
            if let Some(items) = &schema.items {
                for (index, item) in list.iter().enumerate() {
                    validate_list_kinds(items, item, &format!("{path}[{index}]"), errors);
                }
            }
        }
        _ => {}
    }
}
