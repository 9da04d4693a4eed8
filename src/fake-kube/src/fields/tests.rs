//! The laws of ownership, on a type that has every kind of list and map.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::set::Set;
use super::*;
use crate::kinds::built_in;

fn types() -> Types {
    let kinds = built_in();
    let service = kinds.iter().find(|kind| kind.key == "services").expect("a built-in kind");
    Types::of(service, "v1")
}

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, api_version: "v1", subresource: None, now: Timestamp::UNIX_EPOCH }
}

/// Labels, a map list with two keys, a set, an atomic list, scalars.
fn config() -> impl Strategy<Value = Value> {
    let labels = proptest::collection::btree_map("[a-c]", "[x-z]", 0..3);
    let ports = proptest::collection::btree_map((1u16..4, prop_oneof![Just("TCP"), Just("UDP")]), proptest::option::of("[n-p]"), 0..4);
    let finalizers = proptest::collection::btree_set("[a-c]/x", 0..3);
    let sources = proptest::option::of(proptest::collection::vec("[0-9]", 0..3));
    (labels, ports, finalizers, sources, proptest::option::of("[s-u]")).prop_map(|(labels, ports, finalizers, sources, scalar)| {
        let ports: Vec<Value> = ports
            .into_iter()
            .map(|((port, protocol), name)| {
                let mut one = json!({ "port": port, "protocol": protocol });
                if let Some(name) = name {
                    one["name"] = json!(name);
                }
                one
            })
            .collect();
        let mut spec = json!({ "ports": ports });
        if let Some(sources) = sources {
            spec["externalIPs"] = json!(sources);
        }
        if let Some(scalar) = scalar {
            spec["externalName"] = json!(scalar);
        }
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s", "labels": labels, "finalizers": finalizers }, "spec": spec })
    })
}

/// What an object is without its entries.
fn plain(mut object: Value) -> Value {
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.shift_remove("managedFields");
    }
    object
}

fn owned(object: &Value, manager: &str) -> Set {
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let mut all = Set::default();
    for entry in list.iter().filter(|entry| entry["manager"] == manager) {
        all.add(&Set::decode(&entry["fieldsV1"]).expect("what was written can be read"));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_applied_is_there_and_owned(first in config(), second in config()) {
        let types = types();
        let object = applied(&types, None, &first, writer("a"), false).unwrap();
        let object = applied(&types, Some(&object), &second, writer("b"), true).unwrap();
        // Laid over the result once more, the configuration changes nothing.
        let again = applied(&types, Some(&object), &second, writer("b"), false).unwrap();
        prop_assert_eq!(plain(object.clone()), plain(again));
        let alone = applied(&types, None, &second, writer("b"), false).unwrap();
        prop_assert_eq!(owned(&object, "b"), owned(&alone, "b"));
    }

    #[test]
    fn a_conflict_changes_nothing_and_force_resolves_it(first in config(), second in config()) {
        let types = types();
        let object = applied(&types, None, &first, writer("a"), false).unwrap();
        if let Err(status) = applied(&types, Some(&object), &second, writer("b"), false) {
            prop_assert_eq!(status.code, 409);
            let causes = status.details.map(|details| details.causes.len()).unwrap_or_default();
            prop_assert!(causes > 0);
            let forced = applied(&types, Some(&object), &second, writer("b"), true).unwrap();
            prop_assert!(owned(&forced, "a") != owned(&object, "a"), "the loser owns what it owned");
        }
    }

    #[test]
    fn what_is_left_out_goes_when_nobody_else_owns_it(first in config(), second in config()) {
        let types = types();
        let object = applied(&types, None, &first, writer("a"), false).unwrap();
        let left = applied(&types, Some(&object), &second, writer("a"), false).unwrap();
        let fresh = applied(&types, None, &second, writer("a"), false).unwrap();
        // Alone, an applier has exactly what it says, whatever it said before.
        prop_assert_eq!(owned(&left, "a"), owned(&fresh, "a"));
        // What is empty and what is not there are one to the API.
        let bare = |value: &Value| value.as_object().filter(|map| !map.is_empty()).cloned();
        prop_assert_eq!(bare(&left["metadata"]["labels"]), bare(&fresh["metadata"]["labels"]));
        prop_assert_eq!(&left["spec"]["externalName"], &fresh["spec"]["externalName"]);
        let count = |object: &Value| object["spec"]["ports"].as_array().map_or(0, Vec::len);
        prop_assert_eq!(count(&left), count(&fresh));
    }

    #[test]
    fn sets_are_read_as_they_are_written(first in config()) {
        let types = types();
        let object = applied(&types, None, &first, writer("a"), false).unwrap();
        let set = owned(&object, "a");
        prop_assert_eq!(Set::decode(&set.encode()), Some(set));
    }

    #[test]
    fn an_update_takes_what_it_changes(first in config(), second in config()) {
        let types = types();
        let object = applied(&types, None, &first, writer("a"), false).unwrap();
        let mut new = second;
        updated(&types, Some(&object), &mut new, writer("u"), true);
        let both = owned(&new, "a").intersection(&owned(&new, "u"));
        prop_assert!(both.is_empty(), "{:?}", both.paths());
    }
}

#[test]
fn malformed_entries_are_as_good_as_none() {
    let mut object = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s", "managedFields": [{ "manager": "x", "operation": "Eat" }] } });
    updated(&types(), None, &mut object, writer("u"), false);
    assert!(object["metadata"].get("managedFields").is_none());
}
