//! Any bytes as a request to the embedded Kubernetes with its controllers: the first byte chooses method, content type and reply, the
//! first line is the path, the rest is the body. What comes of it within an hour is played, too.
#![no_main]

use bytes::Bytes;
use fake_kube::{Config, Kube};
use jiff::{SignedDuration, Timestamp};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];
const TYPES: [&str; 7] = [
    "application/json",
    "application/vnd.kubernetes.protobuf",
    "application/yaml",
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const ACCEPTED: [&str; 4] = [
    "application/json",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
];

fn world(now: Timestamp) -> Kube {
    let mut kube = Kube::new(Config { start: now, managed_fields: true, ..Config::default() });
    for controller in fake_kube::controllers::all(1) {
        kube.add_controller(controller);
    }
    let container = json!({ "name": "c", "image": "i", "resources": { "requests": { "cpu": "100m" } } });
    let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [container] } });
    let spec = json!({ "replicas": 2, "selector": { "matchLabels": { "a": "b" } }, "template": template });
    for (plural, namespace, object) in [
        ("nodes", "", json!({ "metadata": { "name": "n" } })),
        ("configmaps", "default", json!({ "metadata": { "name": "m" }, "data": { "a": "b" } })),
        ("pods", "default", json!({ "metadata": { "name": "p" }, "spec": { "containers": [container] } })),
        ("apps/deployments", "default", json!({ "metadata": { "name": "d" }, "spec": spec })),
    ] {
        kube.api_mut().create(now, plural, namespace, object).expect("a valid object");
    }
    kube
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, rest)) = input.split_first() else { return };
    let choice = usize::from(*choice);
    let (path, body) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &b""[..]),
    };
    let path = format!("/{}", String::from_utf8_lossy(path).trim_start_matches('/'));
    let request = http::Request::builder()
        .method(METHODS[choice % METHODS.len()])
        .uri(path)
        .header("content-type", TYPES[choice / METHODS.len() % TYPES.len()])
        .header("accept", ACCEPTED[choice / 64 % ACCEPTED.len()]);
    let Ok(request) = request.body(Bytes::copy_from_slice(body)) else { return };
    let start: Timestamp = "2026-11-20T17:00:00Z".parse().expect("an instant");
    let mut kube = world(start);
    kube.submit(start, request);
    let end = start + SignedDuration::from_hours(1);
    let mut now = start;
    for _ in 0..300 {
        kube.advance(now);
        match kube.next_due() {
            Some(due) if due <= end => now = now.max(due),
            _ => break,
        }
    }
});
