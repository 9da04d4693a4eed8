//! JSON to an input, by a model. Members travel under their own names in json 1.0 and 1.1, under their location names in rest-json.

use serde_json::{Map, Value};

use super::{Malformed, scalar};
use crate::config::Limits;
use crate::model::{Finder, Kind, Location, Member, Model, Protocol, ShapeId};

/// The name of a member in JSON.
pub(super) fn name(protocol: Protocol, member: &Member) -> &'static str {
    if protocol == Protocol::RestJson { member.wire_name() } else { member.name }
}

/// Reads JSON against a model.
pub(super) struct Reader<'a> {
    model: &'a Model,
    limits: &'a Limits,
    pub unknown: Vec<String>,
}

impl<'a> Reader<'a> {
    pub fn new(model: &'a Model, limits: &'a Limits) -> Self {
        Self { model, limits, unknown: Vec::new() }
    }

    /// Reads a body; an empty one is an empty object.
    pub fn body(&mut self, shape: Option<ShapeId>, bytes: &[u8]) -> Result<Map<String, Value>, Malformed> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Map::new());
        }
        let value = serde_json::from_slice(bytes).map_err(|why| Malformed::Body(why.to_string()))?;
        let Value::Object(sent) = value else {
            return Err(Malformed::Body("the body is no JSON object".into()));
        };
        let Some(shape) = shape else {
            return Ok(Map::new());
        };
        self.structure(shape, &sent, "", 0)
    }

    fn structure(&mut self, shape: ShapeId, sent: &Map<String, Value>, path: &str, depth: usize) -> Result<Map<String, Value>, Malformed> {
        let Kind::Structure(members) = &self.model.shape(shape).kind else {
            return Ok(Map::new());
        };
        let mut object = Map::new();
        let body = || members.iter().filter(|member| member.location == Location::Body);
        let wire = |member: &Member| name(self.model.protocol, member);
        let mut seen = 0;
        for member in body() {
            let Some(value) = sent.get(wire(member)) else {
                continue;
            };
            seen += 1;
            // A null is a member that was not sent.
            if !value.is_null() {
                let read = self.value_at(member, value, path, depth)?;
                object.insert(member.name.to_owned(), read);
            }
        }
        if seen < sent.len() {
            let strangers = sent.keys().filter(|key| !body().any(|member| name(self.model.protocol, member) == key.as_str()));
            self.unknown.extend(strangers.map(|key| join(path, key)));
        }
        Ok(object)
    }

    fn value_at(&mut self, member: &Member, value: &Value, path: &str, depth: usize) -> Result<Value, Malformed> {
        let below = join(path, name(self.model.protocol, member));
        self.value(member.shape, value, &below, depth + 1)
    }

    fn value(&mut self, shape: ShapeId, value: &Value, path: &str, depth: usize) -> Result<Value, Malformed> {
        if depth > self.limits.depth {
            return Err(Malformed::TooDeep(self.limits.depth));
        }
        let model = self.model;
        match (&model.shape(shape).kind, value) {
            (Kind::Structure(_), Value::Object(sent)) => self.structure(shape, sent, path, depth).map(Value::Object),
            (Kind::List { member, .. }, Value::Array(sent)) => {
                let mut list = Vec::with_capacity(sent.len());
                for (at, item) in sent.iter().enumerate() {
                    list.push(self.value(member.shape, item, &format!("{path}.{}", at + 1), depth + 1)?);
                }
                Ok(Value::Array(list))
            }
            (Kind::Map { value: part, .. }, Value::Object(sent)) => {
                let mut object = Map::new();
                for (key, item) in sent.iter().filter(|(_, item)| !item.is_null()) {
                    object.insert(key.clone(), self.value(part.shape, item, &join(path, key), depth + 1)?);
                }
                Ok(Value::Object(object))
            }
            (Kind::Structure(_) | Kind::Map { .. }, _) => Err(bad(path, value, "object")),
            (Kind::List { .. }, _) => Err(bad(path, value, "list")),
            (kind, _) => scalar::from_json(kind, value).map_err(|wanted| bad(path, value, wanted)),
        }
    }
}

/// Refuses an input that lacks a required member, at any depth.
pub(super) fn require(model: &Model, shape: ShapeId, value: &Value, path: &str) -> Result<(), Malformed> {
    match (&model.shape(shape).kind, value) {
        (Kind::Structure(members), Value::Object(object)) => {
            for member in members {
                let below = join(path, name(model.protocol, member));
                match object.get(member.name) {
                    Some(value) => require(model, member.shape, value, &below)?,
                    None if member.required => return Err(Malformed::Missing { path: below }),
                    None => {}
                }
            }
            Ok(())
        }
        (Kind::List { member, .. }, Value::Array(list)) => {
            let mut items = list.iter().enumerate();
            items.try_for_each(|(at, item)| require(model, member.shape, item, &format!("{path}.{}", at + 1)))
        }
        (Kind::Map { value: part, .. }, Value::Object(object)) => {
            object.iter().try_for_each(|(key, item)| require(model, part.shape, item, &join(path, key)))
        }
        _ => Ok(()),
    }
}

/// Writes an output as JSON.
pub(super) fn write(model: &Model, shape: ShapeId, value: &Value) -> Value {
    match (&model.shape(shape).kind, value) {
        (Kind::Structure(members), Value::Object(object)) => {
            let mut out = Map::new();
            let mut finder = Finder::new(members);
            for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
                if let Some(member) = finder.find(key) {
                    out.insert(name(model.protocol, member).to_owned(), write(model, member.shape, value));
                }
            }
            Value::Object(out)
        }
        (Kind::List { member, .. }, Value::Array(list)) => list.iter().map(|item| write(model, member.shape, item)).collect(),
        (Kind::Map { value: part, .. }, Value::Object(object)) => {
            let entries = object.iter().map(|(key, item)| (key.clone(), write(model, part.shape, item)));
            Value::Object(entries.collect())
        }
        (Kind::Timestamp, Value::String(text)) => scalar::to_epoch(text).unwrap_or(Value::Null),
        (_, value) => value.clone(),
    }
}

fn bad(path: &str, value: &Value, wanted: &'static str) -> Malformed {
    let kind = match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    };
    Malformed::Value { path: path.to_owned(), value: kind.to_owned(), wanted }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
