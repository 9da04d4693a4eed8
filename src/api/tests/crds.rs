//! Our types against the committed definitions: an object with every property of a definition set survives reading and writing.

use api::{EC2NodeClass, NodeClaim, NodePool, crds};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// An object that sets every property of a schema.
fn full(schema: &Value, path: &str) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.iter().find(|v| v.as_str() != Some(""))) {
        return first.clone();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return json!("3");
    }
    match schema["type"].as_str().unwrap_or_default() {
        "object" => match (schema["properties"].as_object(), &schema["additionalProperties"]) {
            (Some(properties), _) => {
                properties.iter().map(|(name, inner)| (name.clone(), full(inner, &format!("{path}.{name}")))).collect()
            }
            (None, Value::Object(_)) => json!({ "key": full(&schema["additionalProperties"], &format!("{path}.key")) }),
            _ => Value::Object(Map::new()),
        },
        "array" => json!([full(&schema["items"], path)]),
        "integer" => schema["minimum"].as_i64().map_or(json!(1), |least| json!(least.max(1))),
        "boolean" => json!(true),
        "string" => json!(text(schema, path)),
        other => panic!("{path}: type {other:?}"),
    }
}

fn text(schema: &Value, path: &str) -> &'static str {
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    let duration = ["Duration", "After", "Period", "duration", "GracePeriod.key"].iter().any(|name| path.ends_with(name));
    match schema["format"].as_str() {
        Some("date-time") => "2026-01-01T00:00:00Z",
        _ if duration || pattern.contains("s|m|h") => "5m",
        _ => "10",
    }
}

fn check<T: DeserializeOwned + Serialize>(kind: &str) {
    let all = crds::all();
    let definition = all.iter().find(|crd| crd["spec"]["names"]["kind"] == kind).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    for part in ["spec", "status"] {
        let object = json!({
            "apiVersion": format!("{}/v1", definition["spec"]["group"].as_str().unwrap()),
            "kind": kind,
            "metadata": { "name": "full" },
            "spec": full(&schema["spec"], "spec"),
            part: full(&schema[part], part),
        });
        let read: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{kind} {part}: {error}"));
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(differences(&object[part], &written[part], part), Vec::<String>::new(), "{kind}");
    }
}

/// Paths that were lost, changed or invented.
fn differences(before: &Value, after: &Value, path: &str) -> Vec<String> {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            let lost = a.iter().flat_map(|(key, inner)| match b.get(key) {
                Some(other) => differences(inner, other, &format!("{path}.{key}")),
                None => vec![format!("{path}.{key} is lost")],
            });
            let invented = b.keys().filter(|key| !a.contains_key(*key)).map(|key| format!("{path}.{key} is invented"));
            lost.chain(invented).collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a.iter().zip(b).flat_map(|(x, y)| differences(x, y, path)).collect(),
        _ if before == after => Vec::new(),
        _ => vec![format!("{path}: {before} became {after}")],
    }
}

#[test]
fn node_pools_survive() {
    check::<NodePool>("NodePool");
}

#[test]
fn node_claims_survive() {
    check::<NodeClaim>("NodeClaim");
}

#[test]
fn ec2_node_classes_survive() {
    check::<EC2NodeClass>("EC2NodeClass");
}
