//! Stories in a tiny world.

mod nodes;

use std::sync::Arc;

use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use super::ranking::rank;
use crate::kinds;
use crate::store::{EventType, Object};
use crate::{Config, DeleteOptions, Kube, Propagation};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

struct World {
    kube: Kube,
    now: i64,
}

impl World {
    fn new() -> World {
        let mut kube = Kube::new(Config::default());
        for controller in super::all(7) {
            kube.add_controller(controller);
        }
        kube.add_controller(Box::<super::census::Audit>::default());
        let mut world = World { kube, now: 0 };
        world.to(0);
        world
    }

    /// Lets time pass, stopping at every instant at which somebody wants to run.
    fn to(&mut self, seconds: i64) {
        while let Some(due) = self.kube.next_due().filter(|due| *due <= at(seconds)) {
            self.now = self.now.max(due.as_second() - at(0).as_second());
            self.kube.advance(due.max(at(self.now)));
            if self.now == seconds && self.kube.next_due().is_some_and(|next| next <= at(seconds)) && due <= at(self.now) {
                self.kube.advance(at(seconds));
                break;
            }
        }
        self.now = seconds;
        self.kube.advance(at(seconds));
    }

    fn create(&mut self, plural: &str, object: Value) {
        let namespaced = self.kube.api().store().kind(plural).unwrap().namespaced;
        self.kube.api_mut().create(at(self.now), plural, if namespaced { "default" } else { "" }, object).unwrap();
        self.to(self.now);
    }

    fn change(&mut self, plural: &str, name: &str, sub: Option<&str>, change: impl FnOnce(&mut Value)) {
        let namespaced = self.kube.api().store().kind(plural).unwrap().namespaced;
        self.kube.api_mut().update_with(at(self.now), plural, if namespaced { "default" } else { "" }, name, sub, change).unwrap();
        self.to(self.now);
    }

    fn delete(&mut self, plural: &str, name: &str, options: DeleteOptions) {
        let namespaced = self.kube.api().store().kind(plural).unwrap().namespaced;
        self.kube.api_mut().delete(at(self.now), plural, if namespaced { "default" } else { "" }, name, options).unwrap();
        self.to(self.now);
    }

    fn get(&self, plural: &str, name: &str) -> Arc<Value> {
        let namespaced = self.kube.api().store().kind(plural).unwrap().namespaced;
        self.kube.api().store().get(plural, if namespaced { "default" } else { "" }, name).unwrap().value()
    }

    fn pods(&self) -> Vec<Arc<Value>> {
        self.kube.api().store().list("pods").map(|pod| pod.value()).collect()
    }

    fn on_node(&self, node: &str) -> usize {
        self.pods().iter().filter(|pod| pod["spec"]["nodeName"] == node).count()
    }

    fn node(&mut self, name: &str, cpu: &str) {
        self.create("nodes", json!({ "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } } }));
        self.change("nodes", name, Some("status"), |node| {
            node["status"]["allocatable"] = json!({ "cpu": cpu, "memory": "64Gi", "pods": "110" });
            node["status"]["capacity"] = node["status"]["allocatable"].clone();
        });
        self.ready(name, "True");
    }

    fn ready(&mut self, node: &str, status: &str) {
        let now = at(self.now).to_string();
        self.change("nodes", node, Some("status"), |node| {
            node["status"]["conditions"] =
                json!([{ "type": "Ready", "status": status, "lastTransitionTime": now, "lastHeartbeatTime": now }])
        });
    }

    /// What kubelets do: bound pods run and are ready, deleted ones go.
    fn kubelets(&mut self) {
        for _ in 0..20 {
            let pods: Vec<Arc<Object>> = self.kube.api().store().list("pods").cloned().collect();
            for pod in pods {
                let value = pod.value();
                let bound = value["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
                if bound && pod.meta.deletion.is_some() {
                    let _ = self.kube.api_mut().delete(at(self.now), "pods", &pod.meta.namespace, &pod.meta.name, DeleteOptions::now());
                } else if bound && value["status"]["phase"] != "Running" {
                    let now = at(self.now).to_string();
                    let _ = self.kube.api_mut().update_with(
                        at(self.now),
                        "pods",
                        &pod.meta.namespace,
                        &pod.meta.name,
                        Some("status"),
                        |value| {
                            value["status"]["phase"] = json!("Running");
                            let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": now });
                            match value["status"]["conditions"].as_array_mut() {
                                Some(list) => list.push(ready),
                                None => value["status"]["conditions"] = json!([ready]),
                            }
                        },
                    );
                }
            }
            self.to(self.now);
        }
    }
}

fn template(cpu: &str, image: &str) -> Value {
    json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": image, "resources": { "requests": { "cpu": cpu } } }] } })
}

fn deployment(replicas: i64, cpu: &str) -> Value {
    json!({ "metadata": { "name": "web" }, "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template(cpu, "one") } })
}

#[test]
fn a_deployment_becomes_pods_that_spread_over_nodes() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.node(name, "32");
    }
    world.create("apps/deployments", deployment(60, "100m"));
    assert_eq!(["a", "b", "c"].map(|node| world.on_node(node)), [20, 20, 20]);
    world.kubelets();
    let value = world.get("apps/deployments", "web");
    assert_eq!((&value["status"]["availableReplicas"], &value["status"]["observedGeneration"]), (&json!(60), &json!(1)));
    let conditions: Vec<_> = value["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["type"].as_str().unwrap(), one["status"].as_str().unwrap(), one["reason"].as_str().unwrap()))
        .collect();
    assert!(conditions.contains(&("Available", "True", "MinimumReplicasAvailable")), "{conditions:?}");
    assert!(conditions.contains(&("Progressing", "True", "NewReplicaSetAvailable")), "{conditions:?}");
    let pod = &world.pods()[0];
    let set = pod["metadata"]["ownerReferences"][0]["name"].as_str().unwrap();
    let name = pod["metadata"]["name"].as_str().unwrap();
    assert_eq!(
        (name.strip_prefix(set).unwrap().len(), pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"].as_bool()),
        (6, Some(true))
    );
    assert_eq!(world.kube.unsettled(), Vec::<String>::new());
}

#[test]
fn a_pod_that_fits_nowhere_says_why_and_is_settled() {
    let mut world = World::new();
    world.node("a", "1");
    world.create("apps/deployments", deployment(1, "2"));
    let pod = world.pods()[0].clone();
    let condition = &pod["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"]),
        (&json!("PodScheduled"), &json!("False"), &json!("Unschedulable"))
    );
    assert_eq!(
        condition["message"],
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
    assert_eq!(world.kube.unsettled(), Vec::<String>::new());
    world.to(3);
    world.node("b", "4");
    assert_eq!(world.on_node("b"), 1, "a node that fits wakes it at once");
    let reasons: Vec<String> =
        world.kube.api().store().list("events").map(|event| event.value()["reason"].as_str().unwrap().to_owned()).collect();
    assert!(reasons.contains(&"FailedScheduling".to_owned()) && reasons.contains(&"Scheduled".to_owned()), "{reasons:?}");
}

#[test]
fn a_new_template_rolls_within_its_bounds() {
    let mut world = World::new();
    world.node("a", "32");
    world.create("apps/deployments", deployment(10, "100m"));
    world.kubelets();
    world.to(60);
    world.change("apps/deployments", "web", None, |value| value["spec"]["template"] = template("100m", "two"));
    let sizes: Vec<i64> =
        world.kube.api().store().list("apps/replicasets").map(|set| set.value()["spec"]["replicas"].as_i64().unwrap()).collect();
    assert_eq!(sizes.iter().sum::<i64>(), 13, "10 and a surge of 3: {sizes:?}");
    world.kubelets();
    let images: Vec<_> = world.pods().iter().map(|pod| pod["spec"]["containers"][0]["image"].clone()).collect();
    assert_eq!(images, vec![json!("two"); 10]);
    assert_eq!(world.get("apps/deployments", "web")["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
}

#[test]
fn a_daemon_set_is_on_every_node_that_it_tolerates() {
    let mut world = World::new();
    world.node("a", "4");
    world.create("apps/daemonsets", json!({ "metadata": { "name": "agent" }, "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": template("100m", "one") } }));
    world.create(
        "nodes",
        json!({ "metadata": { "name": "b" }, "spec": { "taints": [{ "key": "mine", "effect": "NoSchedule" }] }, "status": {} }),
    );
    assert_eq!((world.on_node("a"), world.pods().len()), (1, 1));
    world.node("c", "4");
    assert_eq!((world.on_node("c"), world.pods().len()), (1, 2));
    world.kubelets();
    let status = world.get("apps/daemonsets", "agent")["status"].clone();
    assert_eq!(
        ["desiredNumberScheduled", "currentNumberScheduled", "numberReady", "numberAvailable", "updatedNumberScheduled"]
            .map(|field| status[field].as_i64()),
        [Some(2); 5]
    );
}

/// Nodes come, go and are tainted, pods are deleted, finish, become ready or not, the template changes: what was found by looking at
/// what changed is what a look at everything finds.
#[rstest]
fn a_daemon_set_looks_at_what_changed_and_misses_nothing(#[values(0, 10)] min_ready: i64, #[values(1, 2, 3, 4)] seed: u64) {
    use rand_core::{Rng, SeedableRng};
    let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |sides: u64| dice.next_u64() % sides;
    let mut world = World::new();
    let mut set = json!({ "metadata": { "name": "agent" }, "spec": { "selector": { "matchLabels": { "app": "web" } },
        "minReadySeconds": min_ready, "template": template("100m", "one") } });
    set["spec"]["template"]["spec"]["tolerations"] = json!([{ "key": "other", "operator": "Exists" }]);
    world.create("apps/daemonsets", set);
    for round in 0..60 {
        let nodes: Vec<String> = world.kube.api().store().list("nodes").map(|node| node.meta.name.clone()).collect();
        let pods: Vec<String> = world.kube.api().store().list("pods").map(|pod| pod.meta.name.clone()).collect();
        let pick = |list: &[String], drawn: u64| list.get(drawn as usize % list.len().max(1)).cloned();
        match (draw(8), pick(&nodes, draw(100)), pick(&pods, draw(100))) {
            (0 | 1, ..) => world.node(&format!("n{round}"), if draw(3) == 0 { "0" } else { "4" }),
            (2, Some(node), _) => world.delete("nodes", &node, DeleteOptions::now()),
            (3, Some(node), _) => {
                let effect = ["NoSchedule", "NoExecute", "PreferNoSchedule"][draw(3) as usize];
                let taints = if draw(3) == 0 { json!([]) } else { json!([{ "key": "mine", "effect": effect }]) };
                world.change("nodes", &node, None, |node| node["spec"]["taints"] = taints);
            }
            (4, _, Some(pod)) => world.delete("pods", &pod, DeleteOptions::default()),
            (5, _, Some(pod)) => world.change("pods", &pod, Some("status"), |pod| pod["status"]["phase"] = json!("Failed")),
            (6, ..) if draw(3) == 0 => {
                let image = format!("image-{}", draw(2));
                world.change("apps/daemonsets", "agent", None, |set| {
                    set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
                });
            }
            _ => world.kubelets(),
        }
        world.to(world.now + draw(8) as i64);
        let before = world.kube.api().store().resource_version();
        let all = world.kube.api().store().since(0);
        let status = world.get("apps/daemonsets", "agent")["status"].clone();
        let now = at(world.now);
        crate::controller::Controller::step(&mut super::daemon_sets::DaemonSets::default(), world.kube.api_mut(), now, &all);
        assert_eq!(world.get("apps/daemonsets", "agent")["status"], status, "round {round}");
        assert_eq!(world.kube.api().store().resource_version(), before, "round {round}: a look at everything finds something to do");
    }
}

#[rstest]
#[case(Propagation::Background, 0, 0)]
#[case(Propagation::Foreground, 0, 0)]
#[case(Propagation::Orphan, 1, 2)]
fn what_an_owner_leaves_behind(#[case] propagation: Propagation, #[case] sets: usize, #[case] pods: usize) {
    let mut world = World::new();
    world.node("a", "4");
    world.create("apps/deployments", deployment(2, "100m"));
    world.kubelets();
    world.delete("apps/deployments", "web", DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() });
    world.kubelets();
    let store = world.kube.api().store();
    assert_eq!((store.len("apps/deployments"), store.len("apps/replicasets"), world.pods().len()), (0, sets, pods));
    if let Some(set) = store.list("apps/replicasets").next() {
        assert!(set.meta.owners.is_empty());
    }
}

#[test]
fn beside_a_living_owner_only_the_reference_goes() {
    let mut world = World::new();
    let owner = |world: &World, name: &str| {
        let uid = world.get("configmaps", name)["metadata"]["uid"].clone();
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": true })
    };
    for name in ["one", "other"] {
        world.create("configmaps", json!({ "metadata": { "name": name } }));
    }
    let owners = json!([owner(&world, "one"), owner(&world, "other")]);
    world.create("configmaps", json!({ "metadata": { "name": "child", "ownerReferences": owners } }));
    world.delete("configmaps", "one", DeleteOptions::foreground());
    let store = world.kube.api().store();
    assert!(store.get("configmaps", "default", "one").is_none());
    let child = store.get("configmaps", "default", "child").expect("its other owner lives");
    assert_eq!(child.meta.owners.iter().map(|owner| owner.name.as_str()).collect::<Vec<_>>(), ["other"]);
}

#[test]
fn a_budget_over_pods_that_cannot_be_counted_allows_nothing() {
    let mut world = World::new();
    world.node("a", "4");
    world.create(
        "policy/poddisruptionbudgets",
        json!({ "metadata": { "name": "budget" }, "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": "agent" } } } }),
    );
    let template = json!({ "metadata": { "labels": { "app": "agent" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    world.create(
        "apps/daemonsets",
        json!({ "metadata": { "name": "agent" }, "spec": { "selector": { "matchLabels": { "app": "agent" } }, "template": template } }),
    );
    world.kubelets();
    let status = world.get("policy/poddisruptionbudgets", "budget")["status"].clone();
    assert_eq!((status["disruptionsAllowed"].clone(), status["conditions"][0]["reason"].clone()), (json!(0), json!("SyncFailed")));
    assert_eq!(status["conditions"][0]["message"], "daemonsets.apps does not implement the scale subresource");
}

#[test]
fn a_budget_counts_what_may_go() {
    let mut world = World::new();
    world.node("a", "4");
    world.create("apps/deployments", deployment(4, "100m"));
    world.create(
        "policy/poddisruptionbudgets",
        json!({ "metadata": { "name": "web" }, "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": "web" } } } }),
    );
    let numbers = |world: &World| {
        ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"]
            .map(|field| world.get("policy/poddisruptionbudgets", "web")["status"][field].as_i64().unwrap())
    };
    assert_eq!(numbers(&world), [4, 3, 0, 0]);
    world.kubelets();
    assert_eq!(numbers(&world), [4, 3, 4, 1]);
    let name = world.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    world.delete("pods", &name, DeleteOptions::default());
    assert_eq!(numbers(&world), [4, 3, 3, 0]);
}

#[test]
fn a_namespace_goes_when_it_is_empty() {
    let mut world = World::new();
    world.create("namespaces", json!({ "metadata": { "name": "other" } }));
    world.kube.api_mut().create(at(0), "configmaps", "other", json!({ "metadata": { "name": "x", "finalizers": ["a/b"] } })).unwrap();
    world.delete("namespaces", "other", DeleteOptions::default());
    assert!(world.kube.unsettled().iter().any(|what| what.contains("namespace other")));
    world.kube.api_mut().update_with(at(0), "configmaps", "other", "x", None, |value| value["metadata"]["finalizers"] = json!([])).unwrap();
    world.to(0);
    assert!(world.kube.api().store().get("namespaces", "", "other").is_none());
}

#[test]
fn a_job_runs_to_completion() {
    let mut world = World::new();
    world.node("a", "4");
    let template = json!({ "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } });
    world.create(
        "batch/jobs",
        json!({ "metadata": { "name": "work" }, "spec": { "completions": 3, "parallelism": 2, "template": template } }),
    );
    assert_eq!(world.pods().len(), 2);
    for _ in 0..3 {
        let running: Vec<_> = world
            .pods()
            .iter()
            .filter(|pod| pod["status"]["phase"] != "Succeeded")
            .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        for name in running {
            world.change("pods", &name, Some("status"), |pod| pod["status"]["phase"] = json!("Succeeded"));
        }
    }
    let status = world.get("batch/jobs", "work")["status"].clone();
    assert_eq!((world.pods().len(), status["succeeded"].as_i64()), (3, Some(3)));
    assert!(status["conditions"].as_array().unwrap().iter().any(|one| one["type"] == "Complete" && one["status"] == "True"));
}

fn job(name: &str, more: serde_json::Value) -> serde_json::Value {
    let template = json!({ "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } });
    let mut spec = json!({ "template": template });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key.as_str()] = value.clone();
    }
    json!({ "metadata": { "name": name }, "spec": spec })
}

/// Sets the phase of all pods that have not ended.
fn end(world: &mut World, phase: &str) {
    let ended = |pod: &serde_json::Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let names: Vec<String> =
        world.pods().iter().filter(|pod| !ended(pod)).map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    for name in names {
        world.change("pods", &name, Some("status"), |pod| pod["status"]["phase"] = json!(phase));
    }
}

#[test]
fn a_pod_of_a_job_is_held_until_it_is_counted() {
    let mut world = World::new();
    world.node("a", "4");
    world.create("batch/jobs", job("work", json!({ "completions": 2, "parallelism": 1 })));
    let pod = world.pods()[0].clone();
    assert_eq!(pod["metadata"]["finalizers"], json!(["batch.kubernetes.io/job-tracking"]));
    // Deleted before it could end: it counts as failed, and nothing holds it any more.
    world.delete("pods", pod["metadata"]["name"].as_str().unwrap(), DeleteOptions::now());
    assert_eq!(world.get("batch/jobs", "work")["status"]["failed"], 1);
    assert!(world.pods().iter().all(|one| one["metadata"]["uid"] != pod["metadata"]["uid"]));
    // Pods of a Job that is gone are let go.
    world.to(60);
    assert_eq!(world.pods().len(), 1);
    world.delete("batch/jobs", "work", DeleteOptions::background());
    world.to(120);
    assert_eq!(world.pods().iter().filter(|pod| !pod["metadata"]["finalizers"].is_null()).count(), 0);
}

#[test]
fn a_suspended_job_has_no_pods_and_no_start() {
    let mut world = World::new();
    world.node("a", "4");
    world.create("batch/jobs", job("work", json!({ "suspend": true })));
    assert_eq!((world.pods().len(), world.get("batch/jobs", "work")["status"]["startTime"].is_null()), (0, true));
    world.change("batch/jobs", "work", None, |job| job["spec"]["suspend"] = json!(false));
    assert_eq!((world.pods().len(), world.get("batch/jobs", "work")["status"]["startTime"].is_null()), (1, false));
}

#[test]
fn an_indexed_job_gives_each_index_a_pod_once_it_is_needed() {
    let mut world = World::new();
    world.node("a", "4");
    world.create("batch/jobs", job("work", json!({ "completions": 4, "parallelism": 3, "completionMode": "Indexed" })));
    let index = |pod: &Arc<serde_json::Value>| {
        pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap().to_owned()
    };
    let mut first: Vec<String> = world.pods().iter().map(index).collect();
    first.sort();
    assert_eq!(first, ["0", "1", "2"]);
    end(&mut world, "Succeeded");
    assert_eq!(world.get("batch/jobs", "work")["status"]["completedIndexes"], "0-2");
    end(&mut world, "Succeeded");
    let status = world.get("batch/jobs", "work")["status"].clone();
    assert_eq!((status["completedIndexes"].clone(), status["succeeded"].clone()), (json!("0-3"), json!(4)));
}

#[test]
fn a_job_past_its_deadline_fails_and_goes_after_its_time() {
    let mut world = World::new();
    world.node("a", "4");
    world.create("batch/jobs", job("work", json!({ "activeDeadlineSeconds": 30, "ttlSecondsAfterFinished": 60 })));
    world.to(31);
    let name = world.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    world.delete("pods", &name, DeleteOptions::now());
    let conditions = world.get("batch/jobs", "work")["status"]["conditions"].clone();
    let failed = conditions.as_array().unwrap().iter().find(|one| one["type"] == "Failed").expect("the Job has failed");
    assert_eq!(failed["reason"], "DeadlineExceeded");
    world.to(85);
    assert!(world.kube.api().store().get("batch/jobs", "default", "work").is_some());
    world.to(100);
    assert!(world.kube.api().store().get("batch/jobs", "default", "work").is_none());
}

#[test]
fn events_are_forgotten_after_an_hour() {
    let mut world = World::new();
    world.create("apps/deployments", deployment(1, "100m"));
    assert!(world.kube.api().store().len("events") > 0);
    world.to(60);
    world.delete("apps/deployments", "web", DeleteOptions::background());
    world.to(8000);
    assert_eq!(world.kube.api().store().len("events"), 0);
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let story = || {
        let mut world = World::new();
        world.node("a", "4");
        world.node("b", "4");
        world.create("apps/deployments", deployment(7, "100m"));
        world.kubelets();
        world.to(30);
        world.change("apps/deployments", "web", None, |value| value["spec"]["replicas"] = json!(3));
        world.kubelets();
        let store = world.kube.api().store();
        store
            .kinds()
            .flat_map(|kind| store.list(&kind.key))
            .map(|object| String::from_utf8(object.bytes().to_vec()).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(story(), story());
}

/// A pod in the shape that the order of deletion looks at: uid, node, phase, seconds since it became ready, extras.
fn candidate(uid: &str, node: &str, phase: &str, ready: Option<i64>, extra: Value) -> Arc<Object> {
    let mut pod = json!({
        "metadata": { "name": uid, "namespace": "default", "uid": uid, "creationTimestamp": at(-5000).to_string() },
        "spec": { "nodeName": node }, "status": { "phase": phase },
    });
    if let Some(seconds) = ready {
        pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True", "lastTransitionTime": at(-seconds).to_string() }]);
    }
    for (pointer, value) in extra.as_object().unwrap() {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        if pod.pointer(parent).is_none() {
            let (grandparent, key) = parent.rsplit_once('/').unwrap();
            pod.pointer_mut(grandparent).unwrap()[key] = json!({});
        }
        pod.pointer_mut(parent).unwrap()[field.replace("~1", "/")] = value.clone();
    }
    let kind = Arc::new(kinds::built_in().into_iter().find(|kind| kind.key == "pods").unwrap());
    Arc::new(Object::new(&kind, EventType::Added, &Arc::new(pod)))
}

fn running(uid: &str, node: &str, ready: i64) -> Arc<Object> {
    candidate(uid, node, "Running", Some(ready), json!({}))
}

#[rstest]
#[case::unassigned_first(vec![running("a", "n", 10), candidate("b", "", "Pending", None, json!({}))], "ba")]
#[case::pending_before_running(vec![running("a", "n", 10), candidate("b", "m", "Pending", None, json!({}))], "ba")]
#[case::not_ready_before_ready(vec![running("a", "n", 10), candidate("b", "m", "Running", None, json!({}))], "ba")]
#[case::cheaper_to_delete(vec![running("a", "n", 10), candidate("b", "m", "Running", Some(9000), json!({ "/metadata/annotations/controller.kubernetes.io~1pod-deletion-cost": "-5" }))], "ba")]
#[case::doubled_up_nodes(vec![running("a", "n", 10), running("b", "m", 4000), running("c", "m", 4000)], "bca")]
#[case::newest_ready_first(vec![running("a", "n", 1000), running("b", "m", 10)], "ba")]
// 70 s and 100 s lie in one power of two of nanoseconds (2^36 = 68.7 s to 2^37 = 137 s): the uid decides.
#[case::about_the_same_age_by_uid(vec![running("b", "n", 70), running("a", "m", 100)], "ab")]
#[case::across_a_power_of_two(vec![running("b", "n", 60), running("a", "m", 70)], "ba")]
#[case::more_restarts_first(vec![running("a", "n", 10), candidate("b", "m", "Running", Some(10), json!({ "/status/containerStatuses": [{ "restartCount": 2 }] }))], "ba")]
#[case::newer_first(vec![running("a", "n", 10), candidate("b", "m", "Running", Some(10), json!({ "/metadata/creationTimestamp": at(-20).to_string() }))], "ba")]
#[case::not_yet_ready_by_creation(vec![candidate("a", "n", "Running", None, json!({})), candidate("b", "m", "Running", None, json!({ "/metadata/creationTimestamp": at(-20).to_string() }))], "ba")]
fn order_of_deletion(#[case] pods: Vec<Arc<Object>>, #[case] expect: &str) {
    let order: String = rank(&pods, &pods, at(0)).iter().map(|ranked| ranked.object.meta.uid.clone()).collect();
    assert_eq!(order, expect);
}
