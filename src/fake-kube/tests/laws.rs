//! What holds whatever happens: no orphan is left, no budget is broken, and nobody brings the server down with a large request.

mod common;

use common::World;
use fake_kube::controllers;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn world() -> World {
    let mut world = World::new();
    controllers::all(3).into_iter().for_each(|one| world.kube.add_controller(one));
    world
}

fn owner(name: &str, uid: &Value, blocks: bool) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": blocks })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    // A forest of config maps, each owned by earlier ones; some are deleted in one of three ways.
    #[test]
    fn collection_leaves_no_orphan(
        owners in prop::collection::vec(prop::collection::btree_set(0..12usize, 0..3), 2..12),
        deletions in prop::collection::vec((0..12usize, prop::sample::select(vec!["Background", "Foreground", "Orphan"])), 1..5),
    ) {
        let mut world = world();
        let mut uids: Vec<Value> = Vec::new();
        for (number, parents) in owners.iter().enumerate() {
            let references: Vec<Value> = parents.iter().filter(|at| **at < number).map(|at| owner(&format!("m{at}"), &uids[*at], at % 2 == 0)).collect();
            let made = world.make(MAPS, json!({ "metadata": { "name": format!("m{number}"), "ownerReferences": references } }));
            uids.push(made["metadata"]["uid"].clone());
        }
        for (which, policy) in deletions {
            world.ask("DELETE", &format!("{MAPS}/m{}", which % owners.len()), json!({ "propagationPolicy": policy }));
            world.pass(60);
            world.get(MAPS);
            let list = world.get(MAPS);
            let items = list["items"].as_array().unwrap();
            let lives = |uid: &Value| items.iter().any(|one| one["metadata"]["uid"] == *uid);
            for one in items {
                prop_assert!(one["metadata"]["deletionTimestamp"].is_null(), "{} is stuck", one["metadata"]["name"]);
                let references = one["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
                prop_assert!(references.is_empty() || references.iter().any(|by| lives(&by["uid"])), "{} is an orphan", one["metadata"]["name"]);
            }
        }
    }

    // Evictions and changes of readiness in any order: the healthy pods never fall below what the budget asks for by an eviction.
    #[test]
    fn evictions_never_break_a_budget(
        least in 0..6i64,
        steps in prop::collection::vec((0..3u8, 0..6usize), 1..40),
    ) {
        let mut world = world();
        let spec = json!({ "minAvailable": least, "selector": { "matchLabels": { "app": "a" } } });
        world.make("/apis/policy/v1/namespaces/default/poddisruptionbudgets", json!({ "metadata": { "name": "b" }, "spec": spec }));
        for number in 0..6 {
            let spec = json!({ "nodeName": "n", "containers": [{ "name": "c", "image": "i" }], "terminationGracePeriodSeconds": 0 });
            world.make(PODS, json!({ "metadata": { "name": format!("p{number}"), "labels": { "app": "a" } }, "spec": spec }));
            ready(&mut world, number, true);
        }
        for (what, number) in steps {
            world.pass(1);
            let before = healthy(&mut world);
            match what {
                0 => ready(&mut world, number, false),
                1 => ready(&mut world, number, true),
                _ => {
                    let was_healthy = before.contains(&format!("p{number}"));
                    let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": format!("p{number}") } });
                    let (code, _) = world.ask("POST", &format!("{PODS}/p{number}/eviction"), body);
                    let after = healthy(&mut world).len() as i64;
                    if was_healthy && code == 201 {
                        prop_assert!(after >= least, "{after} healthy of {least} after an eviction");
                    }
                    if code == 429 {
                        prop_assert!(after == before.len() as i64, "a refused eviction changed something");
                    }
                }
            }
        }
    }
}

fn ready(world: &mut World, number: usize, holds: bool) {
    let status = if holds { "True" } else { "False" };
    let body = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": status }] } });
    // Gone: then it is not ready.
    world.ask("PATCH", &format!("{PODS}/p{number}/status"), body);
}

fn healthy(world: &mut World) -> Vec<String> {
    let list = world.get(PODS);
    let good = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
            && pod["metadata"]["deletionTimestamp"].is_null()
    };
    list["items"].as_array().unwrap().iter().filter(good).map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn nested(depth: usize) -> String {
    format!("{{\"metadata\":{{\"name\":\"deep\"}},\"data\":{}{}}}", "{\"a\":".repeat(depth) + "1", "}".repeat(depth))
}

#[rstest]
#[case::deep_json(nested(100_000), "application/json", &[400])]
#[case::deep_yaml("[".repeat(20_000), "application/yaml", &[400])]
#[case::deep_merge_patch(nested(100_000), "application/merge-patch+json", &[400])]
#[case::not_json("{\"a\":".to_owned(), "application/json", &[400])]
#[case::oversize(format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(4 << 20)), "application/json", &[413])]
#[case::yaml_bomb(yaml_bomb(), "application/yaml", &[400, 422])]
#[case::protobuf(String::from("k8s\0\u{1}\u{2}\u{3}"), "application/vnd.kubernetes.protobuf", &[400])]
fn bad_bodies_get_a_status(#[case] body: String, #[case] content_type: &str, #[case] expected: &[u16]) {
    let mut world = World::new();
    world.make(MAPS, json!({ "metadata": { "name": "m" } }));
    let patch = content_type.contains("patch");
    let (method, path) = if patch { ("PATCH", format!("{MAPS}/m")) } else { ("POST", MAPS.to_owned()) };
    let (code, text) = world.raw(method, &path, &body, content_type, "application/json");
    let status: Value = serde_json::from_str(&text).unwrap();
    assert!(expected.contains(&code) && status["kind"] == "Status", "{code}: {}", &text[..text.len().min(300)]);
    assert_eq!(world.get(MAPS)["items"].as_array().unwrap().len(), 1, "nothing was stored");
}

/// Nine levels of nine references each: 387 million values when written out.
fn yaml_bomb() -> String {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        let before = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(","));
    }
    text
}

/// Each `copy` doubles what there is (`limit the number of operations`, `--max-resource-write-bytes` and `copyLimit` upstream).
#[test]
fn a_json_patch_that_doubles_itself_is_refused() {
    let mut world = World::new();
    world.make(MAPS, json!({ "metadata": { "name": "m" }, "data": { "a": "x".repeat(1000) } }));
    let mut operations = vec![json!({ "op": "add", "path": "/bomb", "value": [0] })];
    operations.extend((0..60).map(|_| json!({ "op": "copy", "from": "/bomb", "path": "/bomb/0" })));
    let (code, text) =
        world.raw("PATCH", &format!("{MAPS}/m"), Value::Array(operations).to_string(), "application/json-patch+json", "application/json");
    assert!(matches!(code, 400 | 413 | 422), "{code} {}", &text[..text.len().min(300)]);
    let many: Vec<Value> = (0..20_000).map(|_| json!({ "op": "test", "path": "/data/a", "value": "y" })).collect();
    let (code, _) =
        world.raw("PATCH", &format!("{MAPS}/m"), Value::Array(many).to_string(), "application/json-patch+json", "application/json");
    assert_eq!(code, 413);
}
