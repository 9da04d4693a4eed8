//! Stories of the workload controllers in a tiny world: numbered pods and their volumes, load and services.

mod batch;
mod serving;
mod stateful;

use std::sync::Arc;

use fake_kube::store::Object;
use fake_kube::{Config, DeleteOptions, Kube};
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

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
        for controller in fake_kube::controllers::all(7) {
            kube.add_controller(controller);
        }
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
                            value["status"]["startTime"] = json!(now);
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
