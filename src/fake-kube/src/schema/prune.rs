//! Takes from a custom object what its structural schema does not have.
//!
//! Source: `apiextensions-apiserver/pkg/apiserver/schema/pruning/algorithm.go`.

use serde_json::Value;

use super::Schema;

/// Drops unknown fields and names them. `root` objects keep `apiVersion`, `kind` and `metadata`.
pub(crate) fn prune(schema: &Schema, value: &mut Value, root: bool, unknown: &mut Vec<String>) {
    walk(schema, value, root, &mut String::new(), unknown);
}

fn walk(schema: &Schema, value: &mut Value, root: bool, path: &mut String, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let mut drop = Vec::new();
            for (key, inner) in map.iter_mut() {
                if (root || schema.embedded) && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                match schema.field(key) {
                    Some(field) => walk(field, inner, false, path, unknown),
                    None if schema.preserve_unknown => {}
                    None => {
                        unknown.push(path.clone());
                        drop.push(key.clone());
                    }
                }
                path.truncate(length);
            }
            drop.iter().for_each(|key| {
                map.shift_remove(key);
            });
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for (index, inner) in list.iter_mut().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                walk(items, inner, false, path, unknown);
                path.truncate(length);
            }
        }
        _ => {}
    }
}
