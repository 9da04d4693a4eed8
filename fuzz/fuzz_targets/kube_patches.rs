//! Any JSON as a patch of each sort, on a pod, a Deployment and a custom object, then as an apply by a second manager: no panic, and
//! whatever is stored can be read back.
#![no_main]

use bytes::Bytes;
use fake_kube::{Config, Kube, Out};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  names: {kind: Thing, listKind: ThingList, plural: things, singular: thing}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-validations: [{rule: "!has(self.least) || self.least >= 0"}]
            properties:
              least: {type: integer, default: 1, maximum: 10}
              words: {type: array, maxItems: 5, items: {type: string, pattern: "^[a-z]+$"}, x-kubernetes-list-type: set}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, size: {x-kubernetes-int-or-string: true}}}
              rest: {type: object, x-kubernetes-preserve-unknown-fields: true}
"#;
const OBJECTS: [&str; 3] =
    ["/api/v1/namespaces/default/pods/p", "/apis/apps/v1/namespaces/default/deployments/d", "/apis/example.com/v1/namespaces/default/things/t"];

fn ask(kube: &mut Kube, now: Timestamp, method: &str, path: &str, sort: &str, body: &[u8]) -> Option<Value> {
    let request = http::Request::builder().method(method).uri(path).header("content-type", sort).header("accept", "application/json");
    kube.submit(now, request.body(Bytes::copy_from_slice(body)).ok()?);
    kube.advance(now).into_iter().find_map(|out| match out {
        Out::Reply(_, response) => Some(serde_json::from_slice(response.body()).expect("replies are JSON")),
        _ => None,
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, patch)) = input.split_first() else { return };
    let choice = usize::from(*choice);
    let now: Timestamp = "2026-11-20T17:00:00Z".parse().expect("an instant");
    let mut kube = Kube::new(Config { start: now, managed_fields: true, ..Config::default() });
    kube.install_crd(now, DEFINITION).expect("a valid definition");
    let container = json!({ "name": "c", "image": "i", "env": [{ "name": "A", "value": "b" }] });
    let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [container] } });
    let made = [
        ("pods", json!({ "metadata": { "name": "p" }, "spec": { "containers": [container] } })),
        ("apps/deployments", json!({ "metadata": { "name": "d" }, "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": template } })),
        ("example.com/things", json!({ "apiVersion": "example.com/v1", "kind": "Thing", "metadata": { "name": "t" }, "spec": { "words": ["a"], "parts": [{ "name": "x" }] } })),
    ];
    for (plural, object) in made {
        kube.api_mut().create(now, plural, "default", object).expect("a valid object");
    }
    let path = OBJECTS[choice % OBJECTS.len()];
    let sort = ["application/merge-patch+json", "application/json-patch+json", "application/strategic-merge-patch+json"][choice / 3 % 3];
    ask(&mut kube, now, "PATCH", path, sort, patch);
    let read = ask(&mut kube, now, "GET", path, "application/json", b"").expect("a reply");
    assert!(read["metadata"]["name"].is_string() || read["code"] == 404, "{read}");
    for manager in ["one", "two"] {
        let query = format!("{path}?fieldManager={manager}&force={}", choice / 9 % 2 == 0);
        ask(&mut kube, now, "PATCH", &query, "application/apply-patch+yaml", patch);
    }
    kube.advance(now);
});
