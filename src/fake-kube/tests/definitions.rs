//! What becomes of definitions, of namespaces that end, and of what is on its way out.

mod common;

use common::World;
use fake_kube::Out;
use serde_json::{Value, json};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn definition(plural: &str, kind: &str) -> Value {
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage, "deprecated": !storage,
            "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": { "type": "object" } } } },
        })
    };
    json!({
        "metadata": { "name": format!("{plural}.x.io") },
        "spec": {
            "group": "x.io", "scope": "Namespaced", "names": { "plural": plural, "kind": kind },
            "versions": [version("v1", true), version("v1beta1", false)],
        },
    })
}

/// Type, status and reason of each condition.
fn conditions(object: &Value) -> Vec<String> {
    let part = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let list = object["status"]["conditions"].as_array().into_iter().flatten();
    list.map(|one| ["type", "status", "reason"].map(|key| part(one, key)).join(" ")).collect()
}

#[test]
fn a_taken_kind_is_served_when_it_is_free_again() {
    let mut world = World::new();
    world.make(CRDS, definition("foos", "Foo"));
    world.make(CRDS, definition("bars", "Foo"));
    assert_eq!(
        conditions(&world.get(&format!("{CRDS}/bars.x.io"))),
        ["NamesAccepted False ListKindConflict", "Established False NotAccepted"]
    );
    assert_eq!(world.ask("GET", "/apis/x.io/v1/bars", Value::Null).0, 404);
    assert_eq!(world.ask("GET", "/apis/x.io/v1/foos", Value::Null).0, 200);
    assert_eq!(world.ask("DELETE", &format!("{CRDS}/foos.x.io"), Value::Null).0, 200);
    let bars = world.get(&format!("{CRDS}/bars.x.io"));
    assert_eq!(conditions(&bars), ["NamesAccepted True NoConflicts", "Established True InitialNamesAccepted"]);
    assert_eq!(bars["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert_eq!(world.ask("GET", "/apis/x.io/v1/bars", Value::Null).0, 200);
}

#[test]
fn a_namespace_says_what_keeps_it() {
    let mut world = World::new();
    world.make("/api/v1/namespaces", json!({ "metadata": { "name": "n" } }));
    let maps = "/api/v1/namespaces/n/configmaps";
    world.make(maps, json!({ "metadata": { "name": "held", "finalizers": ["a.b/c"] } }));
    world.make(maps, json!({ "metadata": { "name": "free" } }));
    assert_eq!(world.ask("DELETE", "/api/v1/namespaces/n", Value::Null).0, 200);
    let namespace = world.get("/api/v1/namespaces/n");
    let expected = [
        "NamespaceDeletionDiscoveryFailure False ResourcesDiscovered",
        "NamespaceDeletionGroupVersionParsingFailure False ParsedGroupVersions",
        "NamespaceDeletionContentFailure False ContentDeleted",
        "NamespaceContentRemaining True SomeResourcesRemain",
        "NamespaceFinalizersRemaining True SomeFinalizersRemain",
    ];
    assert_eq!(conditions(&namespace), expected);
    let said = &namespace["status"]["conditions"];
    assert_eq!(said[3]["message"], "Some resources are remaining: configmaps. has 1 resource instances");
    assert_eq!(said[4]["message"], "Some content in the namespace has finalizers remaining: a.b/c in 1 resource instances");
    let version = namespace["metadata"]["resourceVersion"].clone();
    world.pass(1);
    world.get("/api/v1/nodes");
    assert_eq!(world.get("/api/v1/namespaces/n")["metadata"]["resourceVersion"], version, "it says so once");
    assert_eq!(world.ask("PATCH", &format!("{maps}/held"), json!({ "metadata": { "finalizers": null } })).0, 200);
    assert_eq!(world.ask("GET", "/api/v1/namespaces/n", Value::Null).0, 404);
}

/// The `Warning` header of a GET.
fn warning(world: &mut World, path: &str) -> Option<String> {
    let ticket = world.submit("GET", path, "", "application/json", "application/json");
    let mut replies = world.kube.advance(world.now).into_iter().filter_map(|out| match out {
        Out::Reply(one, reply) if one == ticket => reply.headers().get("warning").map(|value| value.to_str().unwrap().to_owned()),
        _ => None,
    });
    replies.next()
}

#[test]
fn versions_that_go_come_with_a_warning() {
    let mut world = World::new();
    world.make(CRDS, definition("foos", "Foo"));
    assert_eq!(warning(&mut world, "/apis/x.io/v1beta1/foos").as_deref(), Some("299 - \"x.io/v1beta1 Foo is deprecated\""));
    assert_eq!(warning(&mut world, "/apis/x.io/v1/foos"), None);
    let endpoints = warning(&mut world, "/api/v1/namespaces/default/endpoints");
    assert_eq!(endpoints.as_deref(), Some("299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\""));
}

#[test]
fn a_config_map_has_a_megabyte() {
    let mut world = World::new();
    let of = |bytes: usize| json!({ "metadata": { "name": "m" }, "data": { "a": "x".repeat(bytes) } });
    let (code, said) = world.ask("POST", "/api/v1/namespaces/default/configmaps", of(1024 * 1024 + 1));
    assert_eq!(
        (code, said["message"].as_str()),
        (422, Some("ConfigMap \"m\" is invalid: []: Too long: may not be more than 1048576 bytes"))
    );
    world.make("/api/v1/namespaces/default/configmaps", of(1024 * 1024));
}
