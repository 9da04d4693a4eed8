//! Requests that would end the server, or fill its memory.

mod common;

use common::World;
use rstest::rstest;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Each copy doubles what is copied: forty of them would be a thousand times a thousand times a thousand times as much.
#[test]
fn copies_of_copies_are_bounded() {
    let mut world = World::new();
    world.make(MAPS, json!({ "metadata": { "name": "m", "annotations": { "a": "b" } } }));
    let copy = |number: u32| json!({ "op": "copy", "from": "/metadata/annotations", "path": format!("/metadata/annotations/a{number}") });
    let patch = (0..40).map(copy).collect::<Value>().to_string();
    let (code, _) = world.raw("PATCH", &format!("{MAPS}/m"), patch, "application/json-patch+json", "application/json");
    assert_eq!(code, 422);
    assert_eq!(world.get(&format!("{MAPS}/m"))["metadata"]["annotations"], json!({ "a": "b" }));
    let once = json!([{ "op": "add", "path": "/data", "value": { "x": "1" } }, { "op": "copy", "from": "/data/x", "path": "/data/y" }])
        .to_string();
    let (code, _) = world.raw("PATCH", &format!("{MAPS}/m"), once, "application/json-patch+json", "application/json");
    assert_eq!((code, &world.get(&format!("{MAPS}/m"))["data"]), (200, &json!({ "x": "1", "y": "1" })));
}

#[rstest]
#[case::text(r#""x""#)]
#[case::number("1")]
#[case::list("[]")]
#[case::truth("true")]
fn an_apply_whose_metadata_is_no_object_is_refused(#[case] metadata: &str) {
    let mut world = World::new();
    let body = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{metadata}}}"#);
    let (code, said) = world.raw("PATCH", &format!("{MAPS}/m?fieldManager=x"), body, "application/apply-patch+yaml", "application/json");
    assert_eq!(code, 400, "{said}");
}

/// Three loops within each other over 400 words would be 64,000,000 turns, a minute and more.
#[rstest]
#[case::loops("self.all(x, self.all(y, self.all(z, x + y + z != 'q')))", "call cost exceeds limit")]
#[case::loops_over_what_a_loop_made("self.map(x, self.map(y, x + y)).all(x, x.all(y, self.all(z, z != y)))", "call cost exceeds limit")]
#[case::loops_over_letters(
    "self.all(x, 'abcdefghijklmnopqrstuvwxyz'.split('').all(y, self.all(z, x + y + z != 'q')))",
    "call cost exceeds limit"
)]
#[case::ranges("lists.range(1000000000).all(x, x >= 0)", "call cost exceeds limit")]
#[case::copies("self.map(x, self.join(self[0])).map(x, x.replace('', x)).join('').size() != 1", "call cost exceeds limit")]
#[case::one_loop("self.all(x, x != 'q')", "")]
#[case::two_loops("self.all(x, self.exists_one(y, y == x))", "")]
fn rules_that_would_not_end_are_refused(#[case] rule: &str, #[case] why: &str) {
    let mut world = World::new();
    let list = json!({ "type": "array", "items": { "type": "string" }, "x-kubernetes-validations": [{ "rule": rule }] });
    world.make(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        json!({
            "metadata": { "name": "bombs.x.io" },
            "spec": {
                "group": "x.io", "scope": "Namespaced", "names": { "plural": "bombs", "kind": "Bomb" },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                    "type": "object", "properties": { "spec": { "type": "object", "properties": { "list": list } } },
                } } }],
            },
        }),
    );
    let list: Vec<String> = (0..400).map(|number| format!("word-{number}")).collect();
    let body = json!({ "apiVersion": "x.io/v1", "kind": "Bomb", "metadata": { "name": "b" }, "spec": { "list": list } });
    let (code, said) = world.ask("POST", "/apis/x.io/v1/namespaces/default/bombs", body);
    assert_eq!(code, if why.is_empty() { 201 } else { 422 }, "{said}");
    assert!(said["message"].as_str().unwrap_or_default().contains(why), "{said}");
}

/// Many cheap rules come to the budget of the request together.
#[test]
fn rules_share_a_budget() {
    let mut world = World::new();
    let inner = json!({
        "type": "array", "items": { "type": "integer" }, "x-kubernetes-validations": [{ "rule": "self.all(x, self.all(y, x + y >= 0))" }]
    });
    let crd = json!({
        "metadata": { "name": "bombs.x.io" },
        "spec": {
            "group": "x.io", "scope": "Namespaced", "names": { "plural": "bombs", "kind": "Bomb" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "properties": { "lists": { "type": "array", "items": inner } },
            } } }],
        },
    });
    world.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd);
    let lists = vec![vec![1; 100]; 400];
    let body = json!({ "apiVersion": "x.io/v1", "kind": "Bomb", "metadata": { "name": "b" }, "lists": lists });
    let (code, said) = world.ask("POST", "/apis/x.io/v1/namespaces/default/bombs", body);
    assert_eq!(code, 422, "{said}");
    assert!(said["message"].as_str().unwrap_or_default().contains("running out of cost budget"), "{said}");
}

/// What `autoscaling/v1` has no field for stands in annotations, as text that anybody may write.
#[rstest]
#[case::a_metric("autoscaling.alpha.kubernetes.io/metrics", r#"[{"type":"é","é":{}}]"#)]
#[case::no_metric("autoscaling.alpha.kubernetes.io/metrics", r#"["é",3,null,{"type":3}]"#)]
#[case::behaviour("autoscaling.alpha.kubernetes.io/behavior", r#"{"É":{"Ü":[]},"":3}"#)]
#[case::conditions("autoscaling.alpha.kubernetes.io/conditions", r#"["é"]"#)]
fn an_autoscalers_annotations_are_no_panic(#[case] key: &str, #[case] text: &str) {
    const PATH: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let body = json!({
        "metadata": { "name": "h", "annotations": { key: text } },
        "spec": { "scaleTargetRef": { "kind": "Deployment", "name": "d", "apiVersion": "apps/v1" }, "maxReplicas": 3 },
    });
    let mut world = World::new();
    let (code, said) = world.ask("POST", PATH, body);
    assert!(matches!(code, 201 | 400 | 422), "{said}");
    assert_eq!(world.ask("GET", PATH, Value::Null).0, 200);
}
