//! What holds for any input: no panic, a watch is the list and its events, the same calls give the same bytes.

mod common;

use std::collections::BTreeMap;

use common::{World, start};
use fake_kube::{Config, Out};
use proptest::prelude::*;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

/// JSON of any shape, with keys and values that the server knows mixed in.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "metadata",
        "spec",
        "status",
        "name",
        "labels",
        "containers",
        "replicas",
        "$patch",
        "delete",
        "replace",
        "$retainKeys",
        "finalizers",
        "kind",
        "Pod",
        "apiVersion",
        "v1",
        "template",
        "selector",
        "matchLabels",
        "resources",
        "requests",
        "cpu",
        "1Gi",
        "-5",
        "",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "a",
        "tolerations",
        "resourceVersion",
        "uid",
        "ownerReferences",
        "conditions",
        "type",
        "op",
        "path",
        "/metadata/name",
        "value",
        "add",
        "remove",
        "size",
        "small",
        "parts",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

fn any_path() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "/api/v1/namespaces/default/pods",
        "/api/v1/namespaces/default/pods/p",
        "/api/v1/namespaces/default/pods/p/status",
        "/api/v1/namespaces/default/pods/p/eviction",
        "/api/v1/namespaces/default/pods/p/binding",
        "/apis/apps/v1/namespaces/default/deployments/d",
        "/apis/apps/v1/namespaces/default/deployments",
        "/apis/apps/v1/namespaces/default/deployments/d/scale",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/apis/example.dev/v1/namespaces/default/widgets",
        "/apis/example.dev/v1/namespaces/default/widgets/w",
        "/api/v1/nodes",
        "/api/v1/namespaces/default",
        "/api/v1/namespaces",
        "/apis",
        "/api/v1",
        "/openapi/v3/apis/apps/v1",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "/apis/events.k8s.io/v1/namespaces/default/events",
        "/apis/batch/v1/namespaces/default/jobs",
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
        "/api/v1/watch/pods",
        "/api/v1/namespaces/default/services",
    ]);
    let query = prop::sample::select(vec![
        "",
        "?watch=1&timeoutSeconds=1",
        "?limit=1",
        "?continue=eyJydiI6MX0",
        "?labelSelector=a%20in%20(",
        "?fieldSelector=a=b=c",
        "?dryRun=All",
        "?fieldManager=m&force=true",
        "?resourceVersion=1",
        "?fieldValidation=Strict",
        "?gracePeriodSeconds=-9223372036854775808",
        "?gracePeriodSeconds=9223372036854775807",
        "?propagationPolicy=Orphan",
        "?%ff=%ff",
        "?watch=1&timeoutSeconds=9223372036854775807&resourceVersion=18446744073709551615",
    ]);
    let path = prop_oneof![4 => known.prop_map(str::to_owned), 1 => "(/[a-z%0-9.]{0,6}){0,7}".prop_filter("a URI", |path| path.parse::<http::Uri>().is_ok())];
    (path, query).prop_map(|(path, query)| format!("{}{query}", if path.is_empty() { "/" } else { &path }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_panics(
        calls in prop::collection::vec((
            prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
            any_path(),
            prop_oneof![3 => any_json().prop_map(|value| value.to_string()), 1 => ".{0,40}".prop_map(String::from)],
            prop::sample::select(vec![
                "application/json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml",
                "application/yaml", "application/vnd.kubernetes.protobuf",
            ]),
            prop::sample::select(vec!["application/json", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "x/y"]),
        ), 1..12)
    ) {
        let mut world = World::new();
        world.kube.install_crd(world.now, &widgets().to_string()).unwrap();
        world.make("/api/v1/namespaces/default/pods", json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } }));
        world.make("/apis/example.dev/v1/namespaces/default/widgets", json!({ "apiVersion": "example.dev/v1", "kind": "Widget", "metadata": { "name": "w" }, "spec": { "size": "small" } }));
        for (method, path, body, content_type, accept) in calls {
            let ticket = world.submit(method, &path, &body, content_type, accept);
            let answered = world.kube.advance(world.now).iter().any(|out| matches!(out, Out::Reply(one, _) | Out::Head(one, _) if *one == ticket));
            prop_assert!(answered, "{method} {path} got no answer");
        }
    }

    #[test]
    fn a_watch_is_the_list_and_its_events(steps in prop::collection::vec((0..6u8, 0..5u8, 0..3u8), 1..40), from in 0..40usize) {
        let mut world = World::new();
        let mut mirror: Option<(fake_kube::Ticket, BTreeMap<String, Value>)> = None;
        for (index, (what, which, label)) in steps.iter().enumerate() {
            if index == from.min(steps.len() - 1) {
                let list = world.get(&format!("{MAPS}?labelSelector=l!%3D0"));
                let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
                let ticket = world.submit("GET", &format!("{MAPS}?watch=1&resourceVersion={version}&labelSelector=l!%3D0"), "", JSON, JSON);
                mirror = Some((ticket, by_name(&list)));
            }
            let path = format!("{MAPS}/m{which}");
            let body = json!({ "metadata": { "name": format!("m{which}"), "labels": { "l": label.to_string() } }, "data": { "k": index.to_string() } });
            match what {
                0..=1 => world.submit("POST", MAPS, body.to_string(), JSON, JSON),
                2..=3 => world.submit("PATCH", &path, body.to_string(), "application/merge-patch+json", JSON),
                4 => world.submit("DELETE", &path, "", JSON, JSON),
                _ => world.submit("DELETE", &format!("{MAPS}?labelSelector=l%3D{label}"), "", JSON, JSON),
            };
            if let Some((ticket, mirror)) = &mut mirror {
                for event in world.events(*ticket) {
                    let object = &event["object"];
                    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                    let known = mirror.contains_key(&name);
                    match event["type"].as_str().unwrap() {
                        "ADDED" => { prop_assert!(!known); mirror.insert(name, object.clone()); }
                        "MODIFIED" => { prop_assert!(known); mirror.insert(name, object.clone()); }
                        "DELETED" => { prop_assert!(known); mirror.remove(&name); }
                        other => prop_assert!(false, "{other}"),
                    }
                }
                prop_assert_eq!(&*mirror, &by_name(&world.get(&format!("{MAPS}?labelSelector=l!%3D0"))));
            }
        }
    }

    #[test]
    fn the_same_calls_give_the_same_bytes(seed in any::<u64>(), bodies in prop::collection::vec(any_json(), 1..8)) {
        let run = || {
            let mut world = World::with(Config { seed, start: start(), ..Config::default() });
            let mut said = Vec::new();
            world.submit("GET", "/api/v1/pods?watch=1", "", JSON, JSON);
            for body in &bodies {
                world.submit("POST", "/api/v1/namespaces/default/pods", json!({ "metadata": { "generateName": "p-" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } }).to_string(), JSON, JSON);
                world.submit("PATCH", "/api/v1/namespaces/default", body.to_string(), "application/merge-patch+json", JSON);
                world.pass(1);
                said.push(format!("{:?}", world.kube.advance(world.now)));
            }
            said
        };
        prop_assert_eq!(run(), run());
    }
}

#[test]
fn a_server_can_be_given_to_another_thread() {
    fn given<T: Send>(_: &T) {}
    given(&World::new().kube);
}

fn by_name(list: &Value) -> BTreeMap<String, Value> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let mut whole = json!({ "kind": "ConfigMap", "apiVersion": "v1" });
            whole.as_object_mut().unwrap().extend(item.as_object().unwrap().clone());
            (item["metadata"]["name"].as_str().unwrap().to_owned(), whole)
        })
        .collect()
}

fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": "widgets.example.dev" },
        "spec": { "group": "example.dev", "scope": "Namespaced", "names": { "kind": "Widget", "plural": "widgets" }, "versions": [{
            "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
            "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                "spec": { "type": "object", "x-kubernetes-validations": [{ "rule": "self.size == oldSelf.size" }], "properties": {
                    "size": { "type": "string", "enum": ["small", "large"] },
                    "parts": { "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": { "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } } },
                } },
                "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            } } },
        }] },
    })
}
