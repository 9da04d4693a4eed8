//! Hashes of templates: equal hashes mean that a node made from the one is a node made from the other. They are upstream's own, bit
//! for bit (`api::hash`).

use api::{EC2NodeClass, NodePool};
use serde_json::Value;

/// Value of the annotation `karpenter.k8s.aws/ec2nodeclass-hash-version`.
pub const CLASS_VERSION: &str = vocabulary::labels::EC2NODECLASS_HASH_VERSION_VALUE;
/// Value of the annotation `karpenter.sh/nodepool-hash-version`.
pub const POOL_VERSION: &str = vocabulary::labels::NODEPOOL_HASH_VERSION_VALUE;

/// Of `spec.template` without its requirements (they are compared with the labels of nodes instead).
pub fn node_pool(pool: &NodePool) -> String {
    api::hash::nodepool(&pool.spec.template)
}

/// Of the spec without the selectors, which are resolved into the status and compared there, with the cluster's authority.
pub fn node_class(class: &EC2NodeClass, ca_bundle: Option<&str>) -> String {
    api::hash::ec2nodeclass(&class.spec, ca_bundle)
}

/// Of any value, for comparisons in this process alone: FNV-1a over a canonical text: keys sorted, lists as sets, empty values left out.
pub fn digest(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash.to_string()
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_zero),
    }
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            let mut parts: Vec<String> = items
                .iter()
                .map(|item| {
                    let mut part = String::new();
                    canonical(item, &mut part);
                    part
                })
                .collect();
            parts.sort();
            out.push('[');
            out.push_str(&parts.join(","));
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.iter().filter(|(_, v)| !is_zero(v)).map(|(k, _)| k).collect();
            keys.sort();
            out.push('{');
            for key in keys {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(&map[key], out);
                out.push(',');
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::order_of_keys(json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}), true)]
    #[case::order_of_lists(json!([1, 2]), json!([2, 1]), true)]
    #[case::zero_values(json!({"a": 1, "b": "", "c": []}), json!({"a": 1}), true)]
    #[case::values(json!({"a": 1}), json!({"a": 2}), false)]
    #[case::keys(json!({"a": "x"}), json!({"b": "x"}), false)]
    fn sees_what_matters(#[case] a: Value, #[case] b: Value, #[case] equal: bool) {
        assert_eq!(digest(&a) == digest(&b), equal);
    }

    #[test]
    fn a_requirement_does_not_change_the_hash_but_a_label_does() {
        let mut pool = NodePool::new("p", api::NodePoolSpec::default());
        let before = node_pool(&pool);
        pool.spec.template.spec.requirements.push(api::nodepool::SelectorRequirement {
            key: "k".into(),
            operator: "Exists".into(),
            ..Default::default()
        });
        assert_eq!(node_pool(&pool), before);
        pool.spec.template.metadata.labels.insert("type".into(), "karpenter".into());
        assert_ne!(node_pool(&pool), before);
    }
}
