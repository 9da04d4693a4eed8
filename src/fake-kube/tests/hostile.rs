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
