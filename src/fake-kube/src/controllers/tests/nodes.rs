//! Nodes that are not well, fall silent and go, and what becomes of their pods.

use rstest::rstest;
use serde_json::{Value, json};

use super::{World, at, deployment, template};
use crate::DeleteOptions;
use crate::controllers::taint_eviction::{Patience, patience};

#[test]
fn a_node_that_is_not_ready_is_tainted_and_loses_its_pods_after_five_minutes() {
    let mut world = World::new();
    world.node("a", "4");
    assert_eq!(world.get("nodes", "a")["spec"].get("taints"), None, "the taint of admission goes when the node is ready");
    world.create("apps/deployments", deployment(1, "1"));
    world.kubelets();
    // One that is well: with none, nothing would be driven away.
    world.node("b", "0");
    world.to(20);
    world.ready("a", "False");
    let effects: Vec<_> = world.get("nodes", "a")["spec"]["taints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|taint| format!("{}:{}", taint["key"], taint["effect"]))
        .collect();
    assert_eq!(effects, ["\"node.kubernetes.io/not-ready\":\"NoSchedule\"", "\"node.kubernetes.io/not-ready\":\"NoExecute\""]);
    world.to(319);
    assert_eq!(world.pods()[0]["metadata"].get("deletionTimestamp"), None);
    world.to(320);
    assert!(world.pods().iter().any(|pod| pod["metadata"].get("deletionTimestamp").is_some()));
}

#[test]
fn a_kubelet_with_a_stored_lease_is_missed_after_its_grace() {
    let mut world = World::new();
    world.node("a", "4");
    world
        .kube
        .api_mut()
        .create(at(0), "coordination.k8s.io/leases", "kube-node-lease", json!({ "metadata": { "name": "a" }, "spec": {} }))
        .unwrap();
    world.to(49);
    assert_eq!(world.get("nodes", "a")["status"]["conditions"][0]["status"], "True");
    world.to(50);
    assert_eq!(world.get("nodes", "a")["status"]["conditions"][0]["status"], "Unknown");
    assert_eq!(world.get("nodes", "a")["spec"]["taints"][0]["key"], "node.kubernetes.io/unreachable");
}

fn messages(world: &World, about: &str) -> Vec<String> {
    let events = world.kube.api().store().list("events").map(|event| event.value());
    let of = events.filter(|event| event["involvedObject"]["name"].as_str().is_some_and(|name| name.starts_with(about)));
    of.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

fn lease(world: &mut World, node: &str) {
    let lease = json!({ "metadata": { "name": node }, "spec": {} });
    world.kube.api_mut().create(at(world.now), "coordination.k8s.io/leases", "kube-node-lease", lease).unwrap();
    world.to(world.now);
}

/// A ready node `a` with a Deployment's one pod on it.
fn world_with_a_pod(cpu: &str) -> World {
    let mut world = World::new();
    world.node("a", "4");
    world.create("apps/deployments", deployment(1, cpu));
    world.kubelets();
    world
}

fn driven_away(world: &World, node: &str) -> bool {
    let taints = world.get("nodes", node)["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints.iter().any(|taint| taint["effect"] == "NoExecute")
}

#[test]
fn a_silent_kubelets_pods_are_marked_and_what_becomes_of_its_node_is_told() {
    let mut world = world_with_a_pod("1");
    world.node("b", "4");
    assert_eq!(messages(&world, "a"), ["Node a event: Registered Node a in Controller"]);
    lease(&mut world, "a");
    world.to(50);
    assert_eq!(messages(&world, "a")[1..], ["Node a status is now: NodeNotReady"]);
    assert!(messages(&world, "web-").iter().any(|message| message == "Node is not ready"));
    let ready = |world: &World| {
        let pod = world.pods()[0].clone();
        let conditions = pod["status"]["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|one| one["type"] == "Ready").unwrap()["status"].clone()
    };
    assert_eq!(ready(&world), "False");
    // It comes back in time: its pods need not go.
    world.to(100);
    world.ready("a", "True");
    assert_eq!(world.get("nodes", "a")["spec"].get("taints"), None);
    let pod = world.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(messages(&world, "web-").contains(&format!("Cancelling deletion of Pod default/{pod}")));
    world.to(500);
    assert_eq!(world.on_node("a"), 1);
    world.delete("nodes", "a", DeleteOptions::now());
    world.to(505);
    assert_eq!(messages(&world, "a").last().unwrap(), "Node a event: Removing Node a from Controller");
}

#[test]
fn a_kubelet_that_says_itself_that_it_is_not_ready_leaves_its_pods_ready() {
    let mut world = World::new();
    world.node("a", "4");
    world.node("b", "0");
    world.create("apps/deployments", deployment(1, "1"));
    world.kubelets();
    world.ready("a", "False");
    world.to(200);
    let pod = world.pods()[0].clone();
    assert!(pod["status"]["conditions"].as_array().unwrap().iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
}

#[test]
fn of_many_nodes_in_a_zone_one_in_ten_seconds_loses_its_pods() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        world.node(name, "4");
    }
    world.to(20);
    for name in ["a", "b", "c"] {
        world.ready(name, "False");
    }
    let tainted = |world: &World| ["a", "b", "c"].iter().filter(|name| driven_away(world, name)).count();
    assert_eq!(tainted(&world), 1);
    assert!(world.kube.unsettled().contains(&"node b is to be tainted".to_owned()), "{:?}", world.kube.unsettled());
    world.to(29);
    assert_eq!(tainted(&world), 1);
    world.to(30);
    assert_eq!(tainted(&world), 2);
    world.to(40);
    assert_eq!(tainted(&world), 3);
}

/// Names, zones and whether they count, all ready since twenty seconds ago.
fn world_with_zones(nodes: &[(&str, &str, bool)]) -> World {
    let mut world = World::new();
    for (name, zone, counts) in nodes {
        world.node(name, "4");
        world.change("nodes", name, None, |node| {
            node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(zone);
            if !counts {
                node["metadata"]["labels"]["node.kubernetes.io/exclude-disruption"] = json!("");
            }
        });
    }
    world.to(20);
    world
}

#[test]
fn each_zone_loses_its_own() {
    let mut world = world_with_zones(&[("a", "x", true), ("b", "y", true), ("c", "x", true), ("d", "y", true), ("e", "x", true)]);
    for name in ["a", "b", "c"] {
        world.ready(name, "False");
    }
    assert_eq!(["a", "b", "c"].map(|name| driven_away(&world, name)), [true, true, false]);
    world.to(30);
    assert!(driven_away(&world, "c"));
}

#[test]
fn when_no_node_that_counts_is_well_pods_stay_where_they_are() {
    let mut world = world_with_zones(&[("a", "x", true), ("b", "y", true), ("spare", "x", false)]);
    world.create("apps/deployments", deployment(3, "1"));
    world.kubelets();
    world.ready("a", "False");
    assert!(driven_away(&world, "a"));
    world.ready("b", "False");
    world.to(25);
    assert!(!driven_away(&world, "a") && !driven_away(&world, "b"), "the spare one is well and does not count");
    world.to(1000);
    assert!(world.pods().iter().all(|pod| pod["metadata"].get("deletionTimestamp").is_none()));
    world.ready("b", "True");
    world.to(1005);
    assert!(!driven_away(&world, "a"), "the first one waits ten seconds");
    world.to(1010);
    assert!(driven_away(&world, "a"));
}

#[test]
fn a_look_that_is_late_is_not_put_off_by_what_changes() {
    let mut world = World::new();
    world.node("a", "4");
    world.to(1);
    world.node("b", "4");
    assert_eq!(messages(&world, "b"), Vec::<String>::new(), "the next look is at five seconds");
    world.now = 6;
    world.kube.api_mut().create(at(6), "nodes", "", json!({ "metadata": { "name": "c" } })).unwrap();
    world.kube.advance(at(6));
    assert_eq!(messages(&world, "b"), ["Node b event: Registered Node b in Controller"]);
}

#[test]
fn what_kubelets_may_keep_depends_on_how_many_nodes_there_are() {
    let mut world = World::new();
    let ttl = |world: &World, name: &str| world.get("nodes", name)["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"].clone();
    for number in 0..=101 {
        world.create("nodes", json!({ "metadata": { "name": format!("n{number:03}") } }));
    }
    assert_eq!((ttl(&world, "n099"), ttl(&world, "n100")), (json!("0"), json!("15")), "it moves with more than a hundred");
    for number in 0..10 {
        world.delete("nodes", &format!("n{number:03}"), DeleteOptions::now());
    }
    world.create("nodes", json!({ "metadata": { "name": "still" } }));
    assert_eq!(ttl(&world, "still"), "15", "and does not move to and fro");
    for number in 10..20 {
        world.delete("nodes", &format!("n{number:03}"), DeleteOptions::now());
    }
    world.create("nodes", json!({ "metadata": { "name": "again" } }));
    assert_eq!(ttl(&world, "again"), "0");
}

#[test]
fn the_collector_leaves_a_new_pod_of_the_same_name_alone() {
    let mut world = World::new();
    let pod = || json!({ "metadata": { "name": "db-0" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    let mut held = pod();
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.create("pods", held);
    // All before anybody looks.
    let api = world.kube.api_mut();
    api.delete(at(0), "pods", "default", "db-0", DeleteOptions::now()).unwrap();
    api.update_with(at(0), "pods", "default", "db-0", None, |pod| pod["metadata"]["finalizers"] = json!([])).unwrap();
    api.create(at(0), "pods", "default", pod()).unwrap();
    world.to(0);
    assert_eq!(world.get("pods", "db-0")["status"]["phase"], "Pending");
}

#[test]
fn a_node_that_nobody_speaks_for_is_unknown_after_a_minute() {
    let mut world = World::new();
    world.node("b", "4");
    world.create("nodes", json!({ "metadata": { "name": "a", "labels": { "kubernetes.io/os": "linux" } } }));
    let labels = &world.get("nodes", "a")["metadata"]["labels"];
    assert_eq!(labels["beta.kubernetes.io/os"], "linux", "{labels}");
    assert_eq!(world.get("nodes", "a")["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"], "0");
    world.to(59);
    assert_eq!(world.get("nodes", "a")["status"].get("conditions"), None);
    world.to(60);
    let ready = world.get("nodes", "a")["status"]["conditions"][0].clone();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("Unknown"), &json!("NodeStatusNeverUpdated")));
}

#[test]
fn what_is_deleted_on_a_node_out_of_service_goes_with_the_next_look() {
    let mut world = World::new();
    world.node("a", "4");
    world.create("apps/deployments", deployment(1, "1"));
    world.create(
        "apps/daemonsets",
        json!({ "metadata": { "name": "agent" }, "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": template("1", "agent") } }),
    );
    world.create("apps/statefulsets", json!({ "metadata": { "name": "db" }, "spec": { "serviceName": "db", "selector": { "matchLabels": { "app": "web" } }, "template": template("1", "db") } }));
    world.kubelets();
    world.node("b", "0");
    lease(&mut world, "a");
    world.to(65);
    assert_eq!(world.on_node("a"), 3);
    world.change("nodes", "a", None, |node| {
        let taints = node["spec"]["taints"].as_array_mut().unwrap();
        taints.push(json!({ "key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute" }));
    });
    world.to(79);
    assert_eq!(world.on_node("a"), 3);
    world.to(80);
    assert_eq!(world.kube.unsettled(), Vec::<String>::new());
    assert_eq!(world.on_node("a"), 0, "{:?}", world.pods());
}

#[test]
fn of_very_many_pods_that_have_ended_the_oldest_go() {
    let mut world = World::new();
    for number in 0..12_503 {
        let pod = json!({ "metadata": { "name": format!("p{number:05}") }, "spec": { "nodeName": "a", "containers": [{ "name": "c", "image": "i" }] } });
        world.to(number / 1000);
        world.kube.api_mut().create(at(number / 1000), "pods", "default", pod).unwrap();
        world
            .kube
            .api_mut()
            .update_with(at(number / 1000), "pods", "default", &format!("p{number:05}"), Some("status"), |pod| {
                pod["status"]["phase"] = json!("Succeeded")
            })
            .unwrap();
    }
    world.to(14);
    assert_eq!(world.pods().len(), 12_500);
    assert_eq!(world.pods()[0]["metadata"]["name"], "p00003");
}

#[test]
fn pods_on_a_node_that_is_gone_are_collected() {
    let mut world = world_with_a_pod("100m");
    world.delete("nodes", "a", DeleteOptions::default());
    world.to(39);
    assert_eq!(world.on_node("a"), 1);
    assert!(!world.kube.unsettled().is_empty());
    world.to(41);
    assert_eq!((world.on_node("a"), world.pods().len()), (0, 1), "its ReplicaSet made another");
}

#[rstest]
#[case(json!([]), Patience::None)]
#[case(json!([{ "key": "k", "operator": "Exists" }]), Patience::Endless)]
#[case(json!([{ "key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }]), Patience::Seconds(300))]
#[case(json!([{ "key": "k", "operator": "Exists", "effect": "NoSchedule" }]), Patience::None)]
#[case(json!([{ "key": "k", "value": "other" }]), Patience::None)]
#[case(json!([{ "operator": "Exists", "tolerationSeconds": 0 }]), Patience::None)]
fn how_long_a_taint_is_tolerated(#[case] tolerations: Value, #[case] expect: Patience) {
    assert_eq!(patience(&[("k".into(), "v".into())], &json!({ "spec": { "tolerations": tolerations } })), expect);
}
