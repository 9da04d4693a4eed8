//! Server-side apply, plainly: what is applied is merged by the schema's list kinds. The manager is recorded; ownership is not, so
//! nothing conflicts, and a field that is left out of a later apply stays.

use serde_json::{Map, Value};

use crate::schema::{ListKind, Schema};

/// Merges `config` into `target`.
pub(crate) fn apply(schema: Option<&Schema>, target: &mut Value, config: &Value) {
    match (target, config) {
        (Value::Object(old), Value::Object(new)) if !schema.is_some_and(|schema| schema.atomic) => {
            for (key, value) in new {
                if value.is_null() {
                    continue;
                }
                let field = schema.and_then(|schema| schema.field(key)).map(|field| &**field);
                apply(field, old.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(old), Value::Array(new)) => match schema.map(|schema| &schema.list) {
            Some(ListKind::Set) => {
                for item in new {
                    if !old.contains(item) {
                        old.push(item.clone());
                    }
                }
            }
            Some(ListKind::Map(keys)) => {
                let items = schema.and_then(|schema| schema.items.as_deref());
                for item in new {
                    let same = |one: &Value| keys.iter().all(|key| key_of(one, key) == key_of(item, key));
                    match old.iter_mut().find(|one| same(one)) {
                        Some(found) => apply(items, found, item),
                        None => old.push(fresh(item)),
                    }
                }
            }
            _ => *old = new.clone(),
        },
        (target, config) => *target = fresh(config),
    }
}

/// Ports name their protocol by default, so an absent key is TCP there and absent everywhere else.
fn key_of<'a>(item: &'a Value, key: &str) -> &'a Value {
    static TCP: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::from("TCP"));
    match item.get(key) {
        None if key == "protocol" => &TCP,
        None => &Value::Null,
        Some(value) => value,
    }
}

fn fresh(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept: Map<String, Value> =
                map.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), fresh(value))).collect();
            Value::Object(kept)
        }
        other => other.clone(),
    }
}
