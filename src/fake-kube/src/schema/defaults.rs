//! Fills in a structural schema's defaults.
//!
//! Source: `apiextensions-apiserver/pkg/apiserver/schema/defaulting/algorithm.go`: depth first, an absent field takes its default
//! and is then walked like any other; null in a field that may not be null is absent when there is a default.

use serde_json::Value;

use super::Schema;

pub(crate) fn fill_defaults(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, field) in &schema.properties {
                let Some(default) = &field.default else { continue };
                let absent = map.get(name).is_none_or(|found| found.is_null() && !field.nullable);
                if absent {
                    map.insert(name.clone(), default.clone());
                }
            }
            // Null where it may not be, and without a default: absent (`PruneNonNullableNullsWithoutDefaults`).
            map.retain(|name, inner| {
                !(inner.is_null()
                    && schema.field(name).is_some_and(|field| !field.nullable && field.default.is_none() && field.kind != super::Type::Any))
            });
            for (name, inner) in map.iter_mut() {
                if let Some(field) = schema.field(name) {
                    if inner.is_null()
                        && !field.nullable
                        && let Some(default) = &field.default
                    {
                        *inner = default.clone();
                    }
                    fill_defaults(field, inner);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for inner in list {
                if inner.is_null()
                    && !items.nullable
                    && let Some(default) = &items.default
                {
                    *inner = default.clone();
                }
                fill_defaults(items, inner);
            }
        }
        _ => {}
    }
}
