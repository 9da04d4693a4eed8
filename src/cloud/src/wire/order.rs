//! Sorts the members of parameters as the service models list them.
//!
//! No service minds the order, but AWS's clients write this one, so that a request of ours and of theirs are the same bytes. The order is
//! `data/member_order.tsv`; a structure that is not in it has one member or none.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Operation and path of members, to the members of the structure there.
static ORDER: LazyLock<BTreeMap<(&str, &str), Vec<&str>>> = LazyLock::new(|| {
    include_str!("../../data/member_order.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut cells = line.split('\t');
            Some(((cells.next()?, cells.next()?), cells.next()?.split(' ').collect()))
        })
        .collect()
});

/// Members that the model does not know come last, in the order given.
pub fn as_modelled(operation: &str, parameters: &Value) -> Value {
    sorted(operation, "", parameters)
}

/// `path` are member names, dots between; lists add nothing to it.
fn sorted(operation: &str, path: &str, value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| sorted(operation, path, item)).collect(),
        Value::Object(members) => {
            let order = ORDER.get(&(operation, path)).map(Vec::as_slice).unwrap_or_default();
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by_key(|(name, _)| order.iter().position(|known| known == name).unwrap_or(order.len()));
            let inner = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            Value::Object(
                members.into_iter().map(|(name, value)| (name.clone(), sorted(operation, &inner(name), value))).collect::<Map<_, _>>(),
            )
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_stand_as_the_model_lists_them() {
        let given = json!({
            "Unknown": 1,
            "TagSpecifications": [{"Tags": [{"Value": "v", "Key": "k"}], "ResourceType": "fleet"}],
            "Type": "instant",
            "ClientToken": "t",
        });
        let written = r#"{"ClientToken":"t","Type":"instant","TagSpecifications":[{"ResourceType":"fleet","Tags":[{"Key":"k","Value":"v"}]}],"Unknown":1}"#;
        assert_eq!(as_modelled("CreateFleet", &given).to_string(), written);
        assert_eq!(as_modelled("NoSuchOperation", &given), given);
    }
}
