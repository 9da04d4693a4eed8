//! Hollow kubelets on the real control plane: the real scheduler, controllers and node-lifecycle rules judge them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambient::{Clock, Entropy};
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kubelets::{Architecture, Cluster, ImageFamily, Kubelets, Machine, Machines, Profile, Range, State};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lifetime::binaries;
use crate::local::{ControlPlane, Options};

const USER_DATA: &str = r#"MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="//"

--//
Content-Type: application/node.eks.aws

apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster: { name: lab, apiServerEndpoint: "https://lab.example", certificateAuthority: Y2E=, cidr: 10.100.0.0/16 }
  kubelet:
    config: { maxPods: 29, clusterDNS: [10.100.0.10] }
    flags: ["--node-labels=\"lab=yes\""]

--//--
"#;

/// Machines that a test switches on and off.
#[derive(Default)]
struct Rack {
    machines: Mutex<BTreeMap<String, Machine>>,
    consoles: Mutex<BTreeMap<String, String>>,
    changed: Arc<Notify>,
}

impl Rack {
    fn put(&self, number: u8, state: State, user_data: &str) {
        let machine = Machine {
            id: format!("i-{number:017x}"),
            instance_type: "m5.large".into(),
            zone: format!("us-west-2{}", ["a", "b", "c"][usize::from(number) % 3]),
            zone_id: format!("usw2-az{}", number % 3 + 1),
            region: "us-west-2".into(),
            private_ip: format!("192.168.0.{number}"),
            private_dns_name: format!("ip-192-168-0-{number}.us-west-2.compute.internal"),
            image_id: "ami-0123456789abcdef0".into(),
            image_family: ImageFamily::AmazonLinux2023,
            architecture: Architecture::Amd64,
            role: Some("node".into()),
            user_data: user_data.into(),
            launch_time: Clock::machine().now(),
            state,
            spot: false,
            vcpus: 2,
            memory_mib: 8192,
            network_interfaces: 3,
            addresses_per_interface: 10,
            root_volume_gib: 20,
            local_storage_gb: 0,
            extended_resources: BTreeMap::new(),
            tags: BTreeMap::new(),
        };
        self.machines.lock().expect("no test panicked here").insert(machine.id.clone(), machine);
        self.changed.notify_waiters();
    }
}

impl Machines for Rack {
    fn machines(&self) -> Vec<Machine> {
        self.machines.lock().expect("no test panicked here").values().cloned().collect()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        let mut notified = Box::pin(self.changed.clone().notified_owned());
        notified.as_mut().enable();
        notified.boxed()
    }

    fn set_console(&self, id: &str, text: &str) {
        self.consoles.lock().expect("no test panicked here").insert(id.into(), text.into());
    }
}

/// Waits until `holds`, at most two minutes.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(120), "not within two minutes: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("{what}: after {:?}", begun.elapsed());
}

fn condition(node: &Node, kind: &str) -> Option<(String, Timestamp)> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((found.status.clone(), found.last_transition_time.as_ref()?.0))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[tokio::test]
#[ignore = "needs the judges' binaries"]
async fn nodes_join_and_stay_and_pods_live_and_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = Options { binaries: binaries(), workdir: folder.path().join("work"), crds: Vec::new() };
    let plane = ControlPlane::start(options).await.expect("a control plane");
    let client = plane.client().expect("a client");
    let rack = Arc::new(Rack::default());
    let profile = Profile {
        registered: Range::millis(500, 1_500),
        ready: Range::millis(500, 500),
        cluster: Some(Cluster { name: "lab".into(), endpoint: "https://lab.example".into() }),
        ..Default::default()
    };
    let (kubelets, handle) = Kubelets::new(client.clone(), rack.clone(), Clock::machine(), Entropy::from_seed(7), profile);
    let _task = tokio::spawn(kubelets.run());
    (1..=3).for_each(|number| rack.put(number, State::Running, USER_DATA));
    rack.put(4, State::Running, &USER_DATA.replace("lab.example", "other.example"));

    let nodes: Api<Node> = Api::all(client.clone());
    let listed = async || nodes.list(&ListParams::default()).await.expect("a list").items;
    let settled = async || handle.unsettled().is_empty();
    until("three nodes are Ready and without taints", async || {
        let nodes = listed().await;
        let untainted = |node: &Node| node.spec.as_ref().is_some_and(|spec| spec.taints.as_ref().is_none_or(Vec::is_empty));
        let ready = |node: &&Node| condition(node, "Ready").is_some_and(|(status, _)| status == "True") && untainted(node);
        nodes.iter().filter(ready).count() == 3
    })
    .await;
    until("settled", settled).await;
    let ready_since = Clock::machine().now();
    assert_eq!(listed().await.len(), 3, "the fourth has the wrong endpoint");
    let console = rack.consoles.lock().expect("no panic").values().next().cloned().unwrap_or_default();
    assert!(console.contains("no such host"), "{console}");

    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let deployment = json!({
        "metadata": { "name": "inflate" },
        "spec": { "replicas": 6, "selector": { "matchLabels": { "app": "inflate" } }, "template": {
            "metadata": { "labels": { "app": "inflate" } },
            "spec": { "nodeSelector": { "lab": "yes" }, "containers": [{ "name": "inflate", "image": "pause:3.10",
                "readinessProbe": { "tcpSocket": { "port": 80 }, "initialDelaySeconds": 2 },
                "resources": { "requests": { "memory": "1Gi" } } }] },
        } },
    });
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment).expect("a deployment")).await.expect("created");
    until("six pods are available", async || {
        let status = deployments.get("inflate").await.expect("it is there").status.unwrap_or_default();
        status.available_replicas == Some(6)
    })
    .await;
    until("settled", settled).await;
    let running = pods.list(&ListParams::default()).await.expect("a list").items;
    let addresses: std::collections::BTreeSet<_> = running.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.clone()).collect();
    assert_eq!(addresses.len(), 6, "every pod has an address of its own");

    deployments.patch("inflate", &PatchParams::default(), &Patch::Merge(json!({ "spec": { "replicas": 2 } }))).await.expect("scaled");
    until("four pods are gone", async || pods.list(&ListParams::default()).await.expect("a list").items.len() == 2).await;
    deployments.delete("inflate", &DeleteParams::background()).await.expect("deleted");
    until("all pods are gone", async || pods.list(&ListParams::default()).await.expect("a list").items.is_empty()).await;
    until("settled", settled).await;

    tokio::time::sleep(Duration::from_secs(60)).await;
    for node in listed().await {
        let (status, since) = condition(&node, "Ready").expect("a condition");
        assert_eq!(status, "True");
        assert!(since <= ready_since, "it was never anything else");
    }

    // A machine that ends leaves its Node to the controllers, and stops renewing its lease.
    rack.put(3, State::ShuttingDown, USER_DATA);
    until("the node of the ended machine is not Ready any more", async || {
        let nodes = listed().await;
        nodes.len() == 3 && nodes.iter().filter(|node| condition(node, "Ready").is_some_and(|(status, _)| status == "True")).count() == 2
    })
    .await;
    assert!(running.iter().all(is_ready));
    plane.check().expect("all components live");
}
