//! Karpenter's own definitions: they are taken, their defaults are filled in, and what they forbid is refused in the server's words.

mod common;

use common::World;
use rstest::rstest;
use serde_json::{Value, json};

const POOLS: &str = "/apis/karpenter.sh/v1/nodepools";

fn world() -> World {
    let mut world = World::new();
    common::karpenter(&mut world);
    world
}

fn pool(requirements: Value) -> Value {
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "default" },
        "spec": { "template": { "spec": {
            "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
            "requirements": requirements,
        } } },
    })
}

#[test]
fn a_pool_gets_its_defaults() {
    let mut world = world();
    let made = world.make(POOLS, pool(json!([{ "key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"] }])));
    assert_eq!(
        made["spec"]["disruption"],
        json!({ "budgets": [{ "nodes": "10%" }], "consolidateAfter": "0s", "consolidationPolicy": "WhenEmptyOrUnderutilized" })
    );
    assert_eq!(made["spec"]["template"]["spec"]["expireAfter"], "720h");
    assert_eq!(made["metadata"]["generation"], 1);
}

/// Messages as kube-apiserver 1.36.3 gave them.
#[rstest]
#[case::operator(
    json!([{ "key": "a", "operator": "Foo" }]),
    "spec.template.spec.requirements[0].operator: Unsupported value: \"Foo\": supported values: \"Gte\", \"Lte\", \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\", \"Gt\", \"Lt\""
)]
#[case::value_type(
    json!([{ "key": "a", "operator": "In", "values": [1] }]),
    "spec.template.spec.requirements[0].values[0]: Invalid value: \"integer\": spec.template.spec.requirements[0].values[0] in body must be of type string: \"integer\""
)]
#[case::restricted_domain(
    json!([{ "key": "karpenter.sh/foo", "operator": "In", "values": ["x"] }]),
    "spec.template.spec.requirements[0].key: Invalid value: \"karpenter.sh/foo\": label domain \"karpenter.sh\" is restricted"
)]
#[case::the_providers_domain(
    json!([{ "key": "karpenter.k8s.aws/instance-fmaily", "operator": "In", "values": ["m5"] }]),
    "spec.template.spec.requirements[0].key: Invalid value: \"karpenter.k8s.aws/instance-fmaily\": label domain \"karpenter.k8s.aws\" is restricted"
)]
#[case::no_values(
    json!([{ "key": "foo", "operator": "In" }]),
    "spec.template.spec.requirements: Invalid value: \"array\": no such key: values evaluating rule: requirements with operator 'In' must have a value defined"
)]
fn a_bad_requirement_is_refused(#[case] requirements: Value, #[case] message: &str) {
    let (code, status) = world().ask("POST", POOLS, pool(requirements));
    assert_eq!(code, 422, "{status}");
    let text = status["message"].as_str().unwrap();
    assert!(text.starts_with("NodePool.karpenter.sh \"default\" is invalid: ") && text.contains(message), "{text}");
}

#[test]
fn a_transition_rule_sees_the_old_object() {
    let mut world = world();
    let claims = "/apis/karpenter.sh/v1/nodeclaims";
    let claim = json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": { "name": "c" },
        "spec": { "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" }, "requirements": [] },
    });
    world.make(claims, claim);
    let (code, status) = world.ask("PATCH", &format!("{claims}/c"), json!({ "spec": { "expireAfter": "1h" } }));
    assert_eq!(code, 422);
    assert_eq!(status["message"], "NodeClaim.karpenter.sh \"c\" is invalid: spec: Invalid value: spec is immutable");
    let (code, _) = world.ask("PATCH", &format!("{claims}/c"), json!({ "metadata": { "labels": { "a": "b" } } }));
    assert_eq!(code, 200);
}

#[test]
fn status_is_written_by_itself_and_does_not_count_as_a_generation() {
    let mut world = world();
    world.make(POOLS, pool(json!([])));
    let (code, status) = world.ask(
        "PATCH",
        &format!("{POOLS}/default/status"),
        json!({ "status": { "resources": { "cpu": "2" } }, "spec": { "weight": 5 } }),
    );
    assert_eq!(code, 200, "{status}");
    assert_eq!(
        (&status["status"]["resources"]["cpu"], status["spec"].get("weight"), &status["metadata"]["generation"]),
        (&json!("2"), None, &json!(1))
    );
    let (_, changed) = world.ask("PATCH", &format!("{POOLS}/default"), json!({ "spec": { "weight": 5 } }));
    assert_eq!((&changed["status"]["resources"]["cpu"], &changed["metadata"]["generation"]), (&json!("2"), &json!(2)));
}
