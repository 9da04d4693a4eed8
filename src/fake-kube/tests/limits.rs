//! LimitRange, the default class, patches that nobody can read.

mod common;

use common::World;
use rstest::rstest;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";

fn limited(limit: Value) -> World {
    let mut world = World::new();
    world.make("/api/v1/namespaces/default/limitranges", json!({ "metadata": { "name": "l" }, "spec": { "limits": [limit] } }));
    world
}

fn pod(resources: Value) -> Value {
    json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i", "resources": resources }] } })
}

// The words are those of kube-apiserver 1.36.3 (`limits.story` of ci/controllers compares them).
#[rstest]
#[case::too_much(json!({ "type": "Container", "max": { "memory": "1Gi" } }), json!({ "limits": { "memory": "2Gi" } }), "maximum memory usage per Container is 1Gi, but limit is 2Gi")]
#[case::too_little(json!({ "type": "Container", "min": { "cpu": "100m" } }), json!({ "requests": { "cpu": "50m" } }), "minimum cpu usage per Container is 100m, but request is 50m")]
#[case::nothing_asked(json!({ "type": "Pod", "min": { "cpu": "100m" } }), json!({}), "minimum cpu usage per Pod is 100m.  No request is specified")]
#[case::no_limit(json!({ "type": "Pod", "max": { "cpu": "1" } }), json!({ "requests": { "cpu": "50m" } }), "maximum cpu usage per Pod is 1.  No limit is specified")]
#[case::ratio(json!({ "type": "Container", "maxLimitRequestRatio": { "cpu": "2" } }), json!({ "requests": { "cpu": "100m" }, "limits": { "cpu": "300m" } }), "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000")]
fn refused(#[case] limit: Value, #[case] resources: Value, #[case] words: &str) {
    let (code, body) = limited(limit).ask("POST", PODS, pod(resources));
    assert_eq!((code, body["message"].as_str().unwrap()), (403, format!("pods \"p\" is forbidden: {words}").as_str()));
}

#[test]
fn what_is_within_bounds_passes() {
    let mut world =
        limited(json!({ "type": "Container", "min": { "cpu": "100m" }, "max": { "cpu": "1" }, "maxLimitRequestRatio": { "cpu": "2" } }));
    world.make(PODS, pod(json!({ "requests": { "cpu": "500m" }, "limits": { "cpu": "1" } })));
}

#[test]
fn what_a_range_leaves_open_comes_from_its_bounds() {
    let mut world = limited(json!({ "type": "Container", "min": { "cpu": "100m" }, "max": { "memory": "1Gi" } }));
    let made = world.make(PODS, pod(json!({})));
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(*resources, json!({ "limits": { "memory": "1Gi" }, "requests": { "cpu": "100m", "memory": "1Gi" } }));
    let told = "LimitRanger plugin set: cpu, memory request for container c; memory limit for container c";
    assert_eq!(made["metadata"]["annotations"]["kubernetes.io/limit-ranger"], told);
}

#[rstest]
#[case(json!([{ "type": "Container" }, { "type": "Container" }]), "spec.limits[1].type: Duplicate value: \"Container\"")]
#[case(json!([{ "type": "Container", "min": { "cpu": "2" }, "max": { "cpu": "1" }, "defaultRequest": { "cpu": "1" } }]), "min value 2 is greater than max value 1")]
#[case(json!([{ "type": "Pod", "default": { "cpu": "1" } }]), "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'")]
fn a_range_that_contradicts_itself(#[case] limits: Value, #[case] words: &str) {
    let body = json!({ "metadata": { "name": "l" }, "spec": { "limits": limits } });
    let (code, body) = World::new().ask("POST", "/api/v1/namespaces/default/limitranges", body);
    assert_eq!(code, 422);
    assert!(body["message"].as_str().unwrap().contains(words), "{}", body["message"]);
}

#[test]
fn a_binding_that_is_only_tried_binds_nothing() {
    let mut world = World::new();
    world.make(PODS, pod(json!({})));
    let binding = json!({ "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "a" } });
    let (code, _) = world.ask("POST", "/api/v1/namespaces/default/pods/p/binding?dryRun=All", binding);
    let (_, after) = world.ask("GET", "/api/v1/namespaces/default/pods/p", Value::Null);
    assert_eq!((code, after["spec"]["nodeName"].clone()), (201, Value::Null));
}

#[test]
fn a_claim_may_be_too_large() {
    let mut world = limited(json!({ "type": "PersistentVolumeClaim", "max": { "storage": "10Gi" } }));
    let claim = json!({ "metadata": { "name": "c" }, "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "11Gi" } } } });
    let (code, body) = world.ask("POST", "/api/v1/namespaces/default/persistentvolumeclaims", claim);
    let expected =
        "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 11Gi";
    assert_eq!((code, body["message"].as_str().unwrap()), (403, expected));
}

#[test]
fn a_claim_without_a_class_gets_the_default_one() {
    let mut world = World::new();
    let class = json!({ "metadata": { "name": "gp3", "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } }, "provisioner": "ebs.csi.aws.com" });
    world.make("/apis/storage.k8s.io/v1/storageclasses", class);
    let spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
    let made = world.make("/api/v1/namespaces/default/persistentvolumeclaims", json!({ "metadata": { "name": "c" }, "spec": spec }));
    assert_eq!(made["spec"]["storageClassName"], "gp3");
}

#[test]
fn a_merge_patch_with_an_unknown_field_shows_what_it_would_have_made() {
    let mut world = World::new();
    world.make("/api/v1/namespaces/default/configmaps", json!({ "metadata": { "name": "m" } }));
    let (code, body) = world.ask("PATCH", "/api/v1/namespaces/default/configmaps/m?fieldValidation=Strict", json!({ "nonsense": 1 }));
    let message = body["message"].as_str().unwrap();
    assert_eq!(code, 422);
    assert!(
        message.starts_with(" \"\" is invalid: patch: Invalid value: \"{\\\"apiVersion\\\":\\\"v1\\\"")
            && message.ends_with("strict decoding error: unknown field \"nonsense\""),
        "{message}"
    );
}

#[test]
fn a_quota_looks_at_what_grows() {
    let mut world = World::new();
    for controller in fake_kube::controllers::all(1) {
        world.kube.add_controller(controller);
    }
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let services = "/api/v1/namespaces/default/services";
    world.make(quotas, json!({ "metadata": { "name": "q" }, "spec": { "hard": { "services.nodeports": "1" } } }));
    world.kube.advance(world.now);
    for name in ["a", "b"] {
        world.make(services, json!({ "metadata": { "name": name }, "spec": { "ports": [{ "port": 80 }] } }));
    }
    let grow = json!({ "spec": { "type": "NodePort" } });
    let (code, said) = world.ask("PATCH", &format!("{services}/a"), grow.clone());
    assert_eq!(code, 200, "{said}");
    world.kube.advance(world.now);
    let (code, said) = world.ask("PATCH", &format!("{services}/b"), grow);
    let words = "services \"b\" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1";
    assert_eq!((code, said["message"].as_str().unwrap()), (403, words));
    let (code, _) = world.ask("PATCH", &format!("{services}/a"), json!({ "metadata": { "labels": { "a": "b" } } }));
    assert_eq!(code, 200, "what does not grow needs no room");
}
