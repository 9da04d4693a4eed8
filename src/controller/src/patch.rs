//! JSON merge patches (RFC 7386) as the difference of two objects.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// What turns `old` into `new`; `None` when nothing does.
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            for (key, value) in new {
                match old.get(key) {
                    None => {
                        patch.insert(key.clone(), value.clone());
                    }
                    Some(before) => {
                        if let Some(inner) = difference(before, value) {
                            patch.insert(key.clone(), inner);
                        }
                    }
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ if old == new => None,
        _ => Some(new.clone()),
    }
}

/// The difference of two objects within one field (`metadata`, `spec`, `status`).
pub fn of_field(field: &str, old: &impl Serialize, new: &impl Serialize) -> Option<Value> {
    let read = |object: Result<Value, serde_json::Error>| {
        object.ok().and_then(|mut o| o.get_mut(field).map(Value::take)).unwrap_or_else(|| json!({}))
    };
    difference(&read(serde_json::to_value(old)), &read(serde_json::to_value(new))).map(|inner| json!({ field: inner }))
}

/// The same, of everything but the status.
pub fn of_object(old: &impl Serialize, new: &impl Serialize) -> Option<Value> {
    let read = |object: Result<Value, serde_json::Error>| {
        let mut object = object.unwrap_or_default();
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
        object
    };
    difference(&read(serde_json::to_value(old)), &read(serde_json::to_value(new)))
}

/// Makes the patch fail with a conflict unless the object is still at this version. Lists are replaced as a whole by a merge
/// patch, so whoever changes one must have seen it.
pub fn locked(mut patch: Value, resource_version: Option<&str>) -> Value {
    if let (Some(version), Some(map)) = (resource_version, patch.as_object_mut()) {
        let meta = map.entry("metadata").or_insert_with(|| json!({}));
        if let Some(meta) = meta.as_object_mut() {
            meta.insert("resourceVersion".into(), version.into());
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(json!({"a": 1}), json!({"a": 1}), None)]
    #[case(json!({"a": 1}), json!({"a": 2}), Some(json!({"a": 2})))]
    #[case(json!({"a": 1, "b": 1}), json!({"b": 1}), Some(json!({"a": null})))]
    #[case(json!({"a": {"x": [1, 2], "y": 1}}), json!({"a": {"x": [1], "y": 1}}), Some(json!({"a": {"x": [1]}})))]
    #[case(json!({}), json!({"a": {"b": 1}}), Some(json!({"a": {"b": 1}})))]
    fn differences(#[case] old: Value, #[case] new: Value, #[case] patch: Option<Value>) {
        assert_eq!(difference(&old, &new), patch);
    }

    #[test]
    fn a_lock_is_in_the_metadata() {
        assert_eq!(locked(json!({"status": {}}), Some("7")), json!({"status": {}, "metadata": {"resourceVersion": "7"}}));
    }
}
