//! Values by their types: which fields there are, what differs, merging, removing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::set::{Element, Set};
use crate::schema::{ListKind, Schema, Type};

type Of<'a> = Option<&'a Schema>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Scalar,
    /// Taken as a whole.
    Atomic,
    List,
    Map,
}

/// How a value is treated. What has no type is treated as what it looks like.
fn shape(schema: Of, value: Option<&Value>) -> Shape {
    let Some(schema) = schema.filter(|schema| schema.kind != Type::Any) else {
        return match value {
            Some(Value::Object(_)) => Shape::Map,
            Some(Value::Array(_)) => Shape::Atomic,
            _ => Shape::Scalar,
        };
    };
    match schema.kind {
        Type::Object if schema.atomic => Shape::Atomic,
        Type::Object => Shape::Map,
        Type::Array if schema.list == ListKind::Atomic => Shape::Atomic,
        Type::Array => Shape::List,
        _ => Shape::Scalar,
    }
}

fn field<'a>(schema: Of<'a>, name: &str) -> Of<'a> {
    schema.and_then(|schema| schema.field(name)).map(Arc::as_ref)
}

fn items(schema: Of) -> Of {
    schema.and_then(|schema| schema.items.as_deref())
}

fn named(name: &str) -> Element {
    Element::Field(name.to_owned())
}

/// The step to a list's item.
fn element(schema: Of, item: &Value) -> Option<Element> {
    match schema.map(|schema| &schema.list) {
        Some(ListKind::Map(keys)) => {
            let mut found: Vec<(String, String)> = keys
                .iter()
                .filter_map(|key| match item.get(key).filter(|value| !value.is_null()) {
                    Some(value) => Some((key.clone(), value.to_string())),
                    None => Some((key.clone(), key_default(items(schema), key)?.to_owned())),
                })
                .collect();
            found.sort();
            (!found.is_empty()).then_some(Element::Key(found))
        }
        _ => Some(Element::Value(item.to_string())),
    }
}

/// What a key counts as that is not there, as JSON: a port's protocol has a default, and Go's zero is that of what is required.
fn key_default(item: Of, key: &str) -> Option<&'static str> {
    let item = item.filter(|item| !item.go.is_empty())?;
    if key == "protocol" {
        return Some("\"TCP\"");
    }
    let field = item.field(key).filter(|_| item.required.iter().any(|name| name == key))?;
    match field.kind {
        Type::String => Some("\"\""),
        Type::Integer => Some("0"),
        _ => None,
    }
}

fn map(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => true,
    }
}

/// Every field that a value has.
pub(super) fn fields(schema: Of, value: &Value) -> Set {
    let mut set = Set::default();
    collect(schema, value, &mut Vec::new(), &mut set);
    set
}

fn collect(schema: Of, value: &Value, path: &mut Vec<Element>, set: &mut Set) {
    match (shape(schema, Some(value)), value) {
        (Shape::Scalar | Shape::Atomic, _) => set.insert(path),
        (Shape::Map, Value::Object(map)) => {
            for (key, inner) in map {
                path.push(named(key));
                collect(field(schema, key), inner, path, set);
                let is_field = schema.is_some_and(|schema| schema.properties.contains_key(key));
                if inner.is_null() || inner.as_object().is_some_and(Map::is_empty) || !is_field {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Shape::List, Value::Array(list)) => {
            for item in list {
                let Some(step) = element(schema, item) else { continue };
                path.push(step);
                collect(items(schema), item, path, set);
                set.insert(path);
                path.pop();
            }
        }
        _ => {}
    }
}

/// How two values differ.
#[derive(Default)]
pub(super) struct Comparison {
    pub(super) removed: Set,
    pub(super) modified: Set,
    pub(super) added: Set,
}

pub(super) fn compare(schema: Of, old: &Value, new: &Value) -> Comparison {
    let mut comparison = Comparison::default();
    comparison.both(schema, Some(old), Some(new), &mut Vec::new());
    comparison
}

impl Comparison {
    fn both(&mut self, schema: Of, old: Option<&Value>, new: Option<&Value>, path: &mut Vec<Element>) {
        let (before, after) = (shape(schema, old), shape(schema, new));
        let leaf = match (old, new) {
            (_, None) => self.by_shape(before, schema, old, new, path),
            (None, _) => self.by_shape(after, schema, old, new, path),
            _ if before == after => self.by_shape(after, schema, old, new, path),
            _ => {
                self.by_shape(before, schema, old, new, path);
                self.by_shape(after, schema, old, new, path)
            }
        };
        if !leaf {
            self.leaf(old, new, path, false);
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>, path: &[Element], compared: bool) {
        match (old, new) {
            (None, _) => self.added.insert(path),
            (_, None) => self.removed.insert(path),
            (Some(old), Some(new)) if compared && old != new => self.modified.insert(path),
            _ => {}
        }
    }

    /// True when the value was taken as a whole.
    fn by_shape(&mut self, shape: Shape, schema: Of, old: Option<&Value>, new: Option<&Value>, path: &mut Vec<Element>) -> bool {
        if matches!(shape, Shape::Scalar | Shape::Atomic) || empty(old) && empty(new) {
            self.leaf(old, new, path, true);
            return true;
        }
        if shape == Shape::Map {
            let (old, new) = (map(old), map(new));
            let keys: BTreeSet<&String> = old.into_iter().chain(new).flat_map(Map::keys).collect();
            for key in keys {
                path.push(named(key));
                self.both(field(schema, key), old.and_then(|map| map.get(key)), new.and_then(|map| map.get(key)), path);
                path.pop();
            }
            return false;
        }
        let index = |value| {
            let mut found: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
            for item in list(value) {
                if let Some(step) = element(schema, item) {
                    found.entry(step).or_default().push(item);
                }
            }
            found
        };
        let (old, new) = (index(old), index(new));
        let steps: BTreeSet<&Element> = old.keys().chain(new.keys()).collect();
        for step in steps {
            let (before, after) = (old.get(step).cloned().unwrap_or_default(), new.get(step).cloned().unwrap_or_default());
            path.push(step.clone());
            match (before.as_slice(), after.as_slice()) {
                ([] | [_], [] | [_]) => self.both(items(schema), before.first().copied(), after.first().copied(), path),
                ([_, _, ..], [_, _, ..]) if before != after => self.modified.insert(path),
                ([_, _, ..], [_, _, ..]) => {}
                ([_, _, ..], _) => {
                    if let Some(first) = after.first() {
                        self.both(items(schema), None, Some(first), path);
                    }
                    self.removed.insert(path);
                }
                (_, _) => {
                    if let Some(first) = before.first() {
                        self.both(items(schema), Some(first), None, path);
                    }
                    self.added.insert(path);
                }
            }
            path.pop();
        }
        false
    }
}

/// `config` laid over `live`.
pub(super) fn merge(schema: Of, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let (before, after) = (shape(schema, live), shape(schema, config));
    let shape = if config.is_none() { before } else { after };
    if matches!(shape, Shape::Scalar | Shape::Atomic) || empty(live) && empty(config) {
        return config.or(live).cloned();
    }
    if shape == Shape::Map {
        let (live, config) = (map(live), map(config));
        let mut out = Map::new();
        for (key, value) in live.into_iter().flatten() {
            if let Some(merged) = merge(field(schema, key), Some(value), config.and_then(|map| map.get(key))) {
                out.insert(key.clone(), merged);
            }
        }
        for (key, value) in config.into_iter().flatten().filter(|(key, _)| live.is_none_or(|map| !map.contains_key(*key))) {
            if let Some(merged) = merge(field(schema, key), None, Some(value)) {
                out.insert(key.clone(), merged);
            }
        }
        return (!out.is_empty()).then_some(Value::Object(out));
    }
    let out = merge_lists(schema, list(live), list(config));
    (!out.is_empty()).then_some(Value::Array(out))
}

/// Both sides keep their order; where they disagree, the configuration's counts.
fn merge_lists(schema: Of, live: &[Value], config: &[Value]) -> Vec<Value> {
    let steps = |list: &[Value]| -> Vec<Option<Element>> { list.iter().map(|item| element(schema, item)).collect() };
    let (lefts, rights) = (steps(live), steps(config));
    let find = |steps: &[Option<Element>], values: &[Value], step: &Option<Element>| -> Option<usize> {
        let mut found = steps.iter().enumerate().filter(|(_, one)| *one == step).map(|(index, _)| index);
        let first = found.next();
        // What is there twice is not merged with anything.
        first.filter(|_| found.next().is_none() && !values.is_empty())
    };
    let in_config = |step: &Option<Element>| rights.contains(step);
    let mut shared = rights.iter().filter(|step| lefts.contains(step)).peekable();
    let mut done: BTreeSet<&Option<Element>> = BTreeSet::new();
    let mut out = Vec::new();
    let (mut left, mut right) = (0, 0);
    while left < lefts.len() || right < rights.len() {
        if left < lefts.len() && right < rights.len() {
            let step = &lefts[left];
            if *step == rights[right] {
                done.insert(step);
                let old = find(&lefts, live, step).map(|at| &live[at]);
                out.extend(merge(items(schema), old, Some(&config[right])));
                left += 1;
                right += 1;
                shared.next();
                continue;
            }
            if in_config(step) && shared.peek().is_some_and(|next| *next != step) {
                left += 1;
                continue;
            }
        }
        if left < lefts.len() {
            let step = &lefts[left];
            if !in_config(step) {
                out.extend(merge(items(schema), Some(&live[left]), None));
                left += 1;
                continue;
            }
            if done.contains(step) {
                left += 1;
            }
        }
        if right < rights.len() {
            let step = &rights[right];
            done.insert(step);
            let old = find(&lefts, live, step).map(|at| &live[at]);
            out.extend(merge(items(schema), old, Some(&config[right])));
            right += 1;
            if shared.peek().is_some_and(|next| *next == step) {
                shared.next();
            }
        }
    }
    out
}

/// The value without the members of a set.
pub(super) fn remove(schema: Of, value: &Value, gone: &Set) -> Option<Value> {
    match (shape(schema, Some(value)), value) {
        (Shape::Scalar, _) => Some(value.clone()),
        (Shape::Map, Value::Object(map)) => {
            let mut out = Map::new();
            for (key, inner) in map {
                let step = named(key);
                if gone.members.contains(&step) {
                    continue;
                }
                let kept = match gone.below(&step) {
                    Some(below) => remove(field(schema, key), inner, below).unwrap_or(Value::Null),
                    None => inner.clone(),
                };
                out.insert(key.clone(), kept);
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        (Shape::List, Value::Array(list)) => {
            let mut out = Vec::new();
            for item in list {
                let Some(step) = element(schema, item) else { continue };
                if gone.members.contains(&step) {
                    continue;
                }
                match gone.below(&step) {
                    Some(below) => out.extend(remove(items(schema), item, below)),
                    None => out.push(item.clone()),
                }
            }
            (!out.is_empty()).then_some(Value::Array(out))
        }
        _ => None,
    }
}

/// The set with every field of a struct as a member that has something below it.
pub(super) fn with_structs(schema: Of, set: &Set) -> Set {
    let mut out = Set { members: set.members.clone(), children: Default::default() };
    for (step, below) in &set.children {
        let inner = match step {
            Element::Field(name) => {
                if schema.is_some_and(|schema| schema.properties.contains_key(name)) {
                    out.members.insert(step.clone());
                }
                field(schema, name)
            }
            _ => items(schema),
        };
        out.children.insert(step.clone(), with_structs(inner, below));
    }
    out
}

/// What a configuration has that its type does not allow, in structured-merge-diff's words.
pub(super) fn check(schema: Of, value: &Value, path: &str, wrong: &mut Vec<String>) {
    let Some(schema) = schema.filter(|schema| schema.kind != Type::Any && !value.is_null()) else { return };
    let expected = |what: &str, got: String| format!("{path}: expected {what}, got {got}");
    match (schema.kind, value) {
        (Type::Object, Value::Object(map)) => {
            for (key, inner) in map {
                let below = format!("{path}.{key}");
                match schema.field(key) {
                    Some(field) => check(Some(field), inner, &below, wrong),
                    None if schema.preserve_unknown => {}
                    None => wrong.push(format!("{below}: field not declared in schema")),
                }
            }
        }
        (Type::Object, _) => wrong.push(expected("map", format!("&{{{}}}", go(value)))),
        (Type::Array, Value::Array(list)) => {
            let mut seen = BTreeSet::new();
            for (index, item) in list.iter().enumerate() {
                if schema.list == ListKind::Atomic {
                    check(items(Some(schema)), item, &format!("{path}[{index}]"), wrong);
                    continue;
                }
                let Some(step) = element(Some(schema), item) else {
                    let ListKind::Map(keys) = &schema.list else { continue };
                    let key = keys.first().map(String::as_str).unwrap_or_default();
                    let why =
                        format!("associative list with keys has an element that omits key field {key:?} (and doesn't have default value)");
                    wrong.push(format!("{path}: element {index}: {why}"));
                    continue;
                };
                check(items(Some(schema)), item, &format!("{path}{step}"), wrong);
                if !seen.insert(step.clone()) {
                    wrong.push(format!("{path}: duplicate entries for key {step}"));
                }
            }
        }
        (Type::Array, _) => wrong.push(expected("list", format!("&{{{}}}", go(value)))),
        (Type::String, Value::String(_)) | (Type::Boolean, Value::Bool(_)) | (Type::Integer | Type::Number, Value::Number(_)) => {}
        (Type::String, _) => wrong.push(expected("string", value.to_string())),
        (Type::Boolean, _) => wrong.push(expected("boolean", go(value))),
        (Type::Integer | Type::Number, _) => wrong.push(expected("numeric (int or float)", go_type(value).to_owned())),
        _ => {}
    }
}

/// As Go's `%v` prints it.
fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            format!("map[{}]", sorted.into_iter().map(|(key, value)| format!("{key}:{}", go(value))).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// As Go's `%T` prints it.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
