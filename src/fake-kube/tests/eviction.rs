//! Evictions and budgets, graceful deletion, events in both forms, conflicts, rules.

mod common;

use common::{World, start};
use fake_kube::{Action, Rule, Status};
use jiff::SignedDuration;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";

fn running_pod(world: &mut World, name: &str) {
    world.make(PODS, json!({ "metadata": { "name": name, "labels": { "app": "a" } }, "spec": { "containers": [{ "name": "c", "image": "i" }], "nodeName": "n" } }));
    let ready = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
    assert_eq!(world.ask("PATCH", &format!("{PODS}/{name}/status"), ready).0, 200);
}

fn evict(world: &mut World, name: &str) -> (u16, Value) {
    let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name, "namespace": "default" } });
    world.ask("POST", &format!("{PODS}/{name}/eviction"), body)
}

fn budget(world: &mut World, allowed: i64) {
    let path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    world.make(path, json!({ "metadata": { "name": "b" }, "spec": { "minAvailable": 2, "selector": { "matchLabels": { "app": "a" } } } }));
    let status = json!({ "status": { "observedGeneration": 1, "disruptionsAllowed": allowed, "desiredHealthy": 2, "currentHealthy": 2 + allowed, "expectedPods": 3 } });
    assert_eq!(world.ask("PATCH", &format!("{path}/b/status"), status).0, 200);
}

#[test]
fn an_eviction_deletes_gracefully() {
    let mut world = World::new();
    running_pod(&mut world, "p");
    assert_eq!(evict(&mut world, "p").0, 201);
    let pod = world.get(&format!("{PODS}/p"));
    assert_eq!(
        (&pod["metadata"]["deletionTimestamp"], &pod["metadata"]["deletionGracePeriodSeconds"]),
        (&json!("2026-01-01T00:00:30Z"), &json!(30))
    );
    let why = pod["status"]["conditions"].as_array().and_then(|all| all.iter().find(|one| one["type"] == "DisruptionTarget"));
    assert_eq!(why.map(|one| &one["reason"]), Some(&json!("EvictionByEvictionAPI")));
    let (code, gone) = world.ask("DELETE", &format!("{PODS}/p?gracePeriodSeconds=0"), Value::Null);
    assert_eq!((code, &gone["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(0)));
    assert_eq!(world.ask("GET", &format!("{PODS}/p"), Value::Null).0, 404);
}

#[test]
fn a_budget_is_spent_and_then_refuses() {
    let mut world = World::new();
    ["p", "q"].iter().for_each(|name| running_pod(&mut world, name));
    budget(&mut world, 1);
    assert_eq!(evict(&mut world, "p").0, 201);
    let (code, status) = evict(&mut world, "q");
    assert_eq!(code, 429, "{status}");
    assert_eq!(status["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    let cause = &status["details"]["causes"][0];
    assert_eq!(
        (cause["reason"].as_str(), cause["message"].as_str()),
        (Some("DisruptionBudget"), Some("The disruption budget b needs 2 healthy pods and has 3 currently"))
    );
    let budget = world.get("/apis/policy/v1/namespaces/default/poddisruptionbudgets/b");
    assert_eq!(
        (&budget["status"]["disruptionsAllowed"], &budget["status"]["disruptedPods"]["p"]),
        (&json!(0), &json!("2026-01-01T00:00:00Z"))
    );
}

#[test]
fn a_pending_pod_costs_no_budget() {
    let mut world = World::new();
    world.make(
        PODS,
        json!({ "metadata": { "name": "p", "labels": { "app": "a" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } }),
    );
    budget(&mut world, 0);
    assert_eq!(evict(&mut world, "p").0, 201);
    assert_eq!(world.ask("GET", &format!("{PODS}/p"), Value::Null).0, 404);
}

#[test]
fn the_second_writer_of_a_version_is_told_so() {
    let mut world = World::new();
    let maps = "/api/v1/namespaces/default/configmaps";
    let mut first = world.make(maps, json!({ "metadata": { "name": "a" } }));
    let mut second = first.clone();
    first["data"] = json!({ "k": "1" });
    second["data"] = json!({ "k": "2" });
    assert_eq!(world.ask("PUT", &format!("{maps}/a"), first).0, 200);
    let (code, status) = world.ask("PUT", &format!("{maps}/a"), second);
    assert_eq!((code, status["reason"].as_str()), (409, Some("Conflict")));
    assert_eq!(
        status["message"],
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    assert_eq!(world.get(&format!("{maps}/a"))["data"]["k"], "1");
}

#[test]
fn events_are_the_same_in_both_groups() {
    let mut world = World::new();
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e" }, "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Launch",
        "reason": "Launched", "note": "said", "regarding": { "kind": "Pod", "name": "p", "namespace": "default" }, "type": "Normal", "reportingController": "k",
    });
    let made = world.make("/apis/events.k8s.io/v1/namespaces/default/events", event);
    assert_eq!((&made["note"], &made["apiVersion"]), (&json!("said"), &json!("events.k8s.io/v1")));
    let list = world.get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=p");
    assert_eq!((&list["items"][0]["message"], &list["items"][0]["reportingComponent"]), (&json!("said"), &json!("k")));
    let (code, patched) = world.ask("PATCH", "/apis/events.k8s.io/v1/namespaces/default/events/e", json!({ "note": "more" }));
    assert_eq!((code, &patched["note"], patched.get("message")), (200, &json!("more"), None));
}

#[test]
fn a_rule_refuses_or_delays_what_it_meets() {
    let mut world = World::new();
    let refuse = Status::too_many_requests("too many requests, please try again later", 1);
    world.kube.add_rule(Rule {
        methods: vec!["POST".to_owned()],
        path: PODS.to_owned(),
        times: Some(1),
        action: Action::Refuse(refuse),
        ..Rule::default()
    });
    world.kube.add_rule(Rule { path: "/version".to_owned(), action: Action::Delay(SignedDuration::from_secs(3)), ..Rule::default() });
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    assert_eq!(world.ask("POST", PODS, pod.clone()).0, 429);
    assert_eq!(world.ask("POST", PODS, pod).0, 201);
    world.get("/version");
    assert_eq!(world.now, start() + SignedDuration::from_secs(3));
    assert_eq!(world.kube.rule_hits(), [1, 1]);
}

#[test]
fn a_namespace_takes_its_content_with_it() {
    let mut world = World::new();
    world.make("/api/v1/namespaces", json!({ "metadata": { "name": "other" } }));
    world.make("/api/v1/namespaces/other/configmaps", json!({ "metadata": { "name": "held", "finalizers": ["example.dev/x"] } }));
    world.make("/api/v1/namespaces/other/configmaps", json!({ "metadata": { "name": "free" } }));
    assert_eq!(world.ask("DELETE", "/api/v1/namespaces/other", Value::Null).1["status"]["phase"], "Terminating");
    world.kube.advance(world.now);
    let left = world.get("/api/v1/namespaces/other/configmaps");
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert_eq!(world.kube.unsettled(), ["namespace other is being deleted and still has content"]);
    let (code, status) = world.ask("POST", "/api/v1/namespaces/other/configmaps", json!({ "metadata": { "name": "late" } }));
    assert_eq!((code, status["details"]["causes"][0]["reason"].as_str()), (403, Some("NamespaceTerminating")));
    world.ask("PATCH", "/api/v1/namespaces/other/configmaps/held", json!({ "metadata": { "finalizers": null } }));
    world.kube.advance(world.now);
    assert_eq!(world.ask("GET", "/api/v1/namespaces/other", Value::Null).0, 404);
    assert!(world.kube.unsettled().is_empty());
}

#[test]
fn a_dry_eviction_writes_nothing() {
    let mut world = World::new();
    running_pod(&mut world, "p");
    let before = world.get(&format!("{PODS}/p"));
    let body =
        json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "p" }, "deleteOptions": { "dryRun": ["All"] } });
    assert_eq!(world.ask("POST", &format!("{PODS}/p/eviction?dryRun=All"), body).0, 201);
    assert_eq!(world.get(&format!("{PODS}/p")), before);
}

#[test]
fn label_keys_become_a_part_of_their_selector() {
    let mut world = World::new();
    let term = |selector: Value| json!({ "labelSelector": selector, "topologyKey": "z", "matchLabelKeys": ["hash"], "mismatchLabelKeys": ["tenant", "not-there"] });
    let terms = json!([term(json!({ "matchLabels": { "app": "a" } })), { "topologyKey": "z", "matchLabelKeys": ["hash"] }]);
    let preferred = json!([{ "weight": 1, "podAffinityTerm": term(json!({ "matchLabels": { "app": "a" } })) }]);
    let spread = json!([{ "maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": { "matchLabels": { "app": "a" } }, "matchLabelKeys": ["hash"] }]);
    world.make(
        PODS,
        json!({ "metadata": { "name": "p", "labels": { "app": "a", "hash": "1", "tenant": "t" } }, "spec": { "containers": [{ "name": "c", "image": "i" }],
            "topologySpreadConstraints": spread,
            "affinity": { "podAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": preferred },
                "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": terms } } } }),
    );
    let spec = world.get(&format!("{PODS}/p"))["spec"].clone();
    let hash = json!({ "key": "hash", "operator": "In", "values": ["1"] });
    let tenant = json!({ "key": "tenant", "operator": "NotIn", "values": ["t"] });
    let required = &spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(required[0]["labelSelector"]["matchExpressions"], json!([hash, tenant]));
    assert!(required[1]["labelSelector"].is_null(), "no selector is none");
    let preferred = &spec["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"];
    assert_eq!(preferred["labelSelector"]["matchExpressions"], json!([hash, tenant]));
    assert_eq!(spec["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"], json!([hash]));
}
