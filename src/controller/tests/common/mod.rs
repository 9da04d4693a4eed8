//! A cluster and a cloud in memory, for the controller under a paused clock.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod cloud;
pub mod kube;

use self::cloud::MemoryCloud;
use ::kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use ::kube::{Api, Client, ResourceExt};
use ambient::{Clock, Entropy};
use api::{EC2NodeClass, NodeClaim, NodePool};
use controller::{Controller, Decision, Handle, Settings, Stopped};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

pub struct Lab {
    pub client: Client,
    pub cloud: Arc<MemoryCloud>,
    pub clock: Clock,
    pub record: Arc<Mutex<Vec<Decision>>>,
    pub handle: Handle,
    pub running: JoinHandle<Stopped>,
}

pub fn epoch() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

impl Lab {
    /// A NodePool, an EC2NodeClass and a running controller.
    pub async fn start(adjust: impl FnOnce(&mut Settings)) -> Lab {
        let clock = Clock::virtual_from(epoch());
        let client = kube::start(clock.clone());
        let cloud = Arc::new(MemoryCloud::new(clock.clone()));
        let nodeclass: EC2NodeClass = serde_json::from_value(node_class()).expect("an EC2NodeClass");
        Api::all(client.clone()).create(&PostParams::default(), &nodeclass).await.expect("EC2NodeClass");
        let pool: NodePool = serde_json::from_value(node_pool()).expect("a NodePool");
        Api::all(client.clone()).create(&PostParams::default(), &pool).await.expect("NodePool");
        Lab::resume(client, cloud, clock, adjust)
    }

    /// A controller on what is there already.
    pub fn resume(client: Client, cloud: Arc<MemoryCloud>, clock: Clock, adjust: impl FnOnce(&mut Settings)) -> Lab {
        let record = Arc::new(Mutex::new(Vec::new()));
        let mut settings = Settings::new("lab");
        let sink = record.clone();
        settings.observer = Some(Arc::new(move |decision| sink.lock().expect("unpoisoned").push(decision)));
        adjust(&mut settings);
        let (controller, handle) = Controller::new(client.clone(), cloud.clone(), clock.clone(), Entropy::from_seed(7), settings);
        let running = tokio::spawn(controller.run());
        Lab { client, cloud, clock, record, handle, running }
    }

    pub async fn pods(&self, count: usize, memory: &str) {
        for number in 0..count {
            let pod: Pod = serde_json::from_value(
                json!({"metadata": {"name": format!("inflate-{number}"), "namespace": "default", "labels": {"app": "inflate"}},
                "spec": {"nodeSelector": {"type": "karpenter"}, "terminationGracePeriodSeconds": 30,
                    "containers": [{"name": "c", "image": "pause", "resources": {"requests": {"memory": memory}}}]}}),
            )
            .expect("a Pod");
            Api::namespaced(self.client.clone(), "default").create(&PostParams::default(), &pod).await.expect("created");
        }
    }

    pub async fn claims(&self) -> Vec<NodeClaim> {
        Api::all(self.client.clone()).list(&ListParams::default()).await.expect("NodeClaims").items
    }

    pub async fn claim(&self) -> NodeClaim {
        let mut claims = self.claims().await;
        assert_eq!(claims.len(), 1, "one NodeClaim");
        claims.remove(0)
    }

    pub async fn nodes(&self) -> Vec<Node> {
        Api::all(self.client.clone()).list(&ListParams::default()).await.expect("Nodes").items
    }

    pub async fn all_pods(&self) -> Vec<Pod> {
        Api::namespaced(self.client.clone(), "default").list(&ListParams::default()).await.expect("Pods").items
    }

    pub async fn pool(&self) -> NodePool {
        Api::all(self.client.clone()).get("default").await.expect("NodePool")
    }

    pub async fn class(&self) -> EC2NodeClass {
        Api::all(self.client.clone()).get("default").await.expect("EC2NodeClass")
    }

    pub async fn events(&self, reason: &str) -> Vec<Event> {
        let events: Vec<Event> = Api::all(self.client.clone()).list(&ListParams::default()).await.expect("Events").items;
        events.into_iter().filter(|event| event.reason.as_deref() == Some(reason)).collect()
    }

    pub async fn wait(&self, seconds: i64) {
        self.clock.sleep(SignedDuration::from_secs(seconds)).await;
    }

    /// Polls every virtual second, so that a broken promise fails instead of hanging.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, limit: i64, mut holds: impl FnMut() -> F) -> i64 {
        for second in 0..limit {
            if holds().await {
                return second;
            }
            self.wait(1).await;
        }
        panic!("not within {limit} s: {what}; under way: {:?}; claims: {:#?}", self.handle.unsettled(), self.claims().await);
    }

    pub async fn settle(&self, limit: i64) -> i64 {
        self.until("settled", limit, || async { self.handle.unsettled().is_empty() }).await
    }

    /// What a kubelet does after boot: its Node, not ready yet.
    pub async fn node_joins(&self, claim: &NodeClaim, name: &str) {
        let status = claim.status.clone().unwrap_or_default();
        let node: Node = serde_json::from_value(json!({"metadata": {"name": name, "labels": {"type": "karpenter", "kubernetes.io/hostname": name}},
            "spec": {"providerID": status.provider_id, "taints": [{"key": "karpenter.sh/unregistered", "effect": "NoExecute"}, {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}}))
        .expect("a Node");
        Api::<Node>::all(self.client.clone()).create(&PostParams::default(), &node).await.expect("created");
        let body = json!({"status": {"capacity": status.capacity, "allocatable": status.allocatable, "conditions": [{"type": "Ready", "status": "False"}]}});
        Api::<Node>::all(self.client.clone()).patch_status(name, &PatchParams::default(), &Patch::Merge(body)).await.expect("status");
    }

    pub async fn node_is_ready(&self, name: &str) {
        let nodes = Api::<Node>::all(self.client.clone());
        let body = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(body)).await.expect("status");
        let mut taints = nodes.get(name).await.expect("Node").spec.and_then(|s| s.taints).unwrap_or_default();
        taints.retain(|taint| taint.key != "node.kubernetes.io/not-ready");
        nodes.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"taints": taints}}))).await.expect("taints");
    }

    /// What a kubelet does with pods that are to end.
    pub async fn pods_end(&self) -> usize {
        let pods = Api::<Pod>::namespaced(self.client.clone(), "default");
        let mut ended = 0;
        for pod in self.all_pods().await.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
            pods.delete(&pod.name_any(), &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await.expect("gone");
            ended += 1;
        }
        ended
    }

    /// From pods to a ready Node with the pods on it.
    pub async fn ready_node(&self) -> NodeClaim {
        self.until("launched", 30, || async { self.claims().await.iter().any(|c| is(c, "Launched")) }).await;
        let claim = self.claim().await;
        self.node_joins(&claim, "ip-10-0-0-1").await;
        self.node_is_ready("ip-10-0-0-1").await;
        self.until("initialized", 30, || async { is(&self.claim().await, "Initialized") }).await;
        self.claim().await
    }

    /// What lines of this message have under a key.
    pub fn said(&self, message: &str, key: &str) -> Vec<String> {
        let record = self.record.lock().expect("unpoisoned");
        let lines = record.iter().filter_map(|d| if let controller::What::Log(line) = &d.what { Some(line) } else { None });
        lines.filter(|line| line.message == message).filter_map(|line| line.keys[key].as_str().map(str::to_owned)).collect()
    }

    pub fn lines(&self) -> Vec<String> {
        let record = self.record.lock().expect("unpoisoned");
        record.iter().filter_map(|d| if let controller::What::Log(line) = &d.what { Some(line.message.clone()) } else { None }).collect()
    }
}

pub fn is(claim: &NodeClaim, kind: &str) -> bool {
    claim.status.as_ref().is_some_and(|s| api::condition::is_true(&s.conditions, kind))
}

pub fn condition(claim: &NodeClaim, kind: &str) -> (String, String) {
    let condition = claim.status.as_ref().and_then(|s| api::condition::find(&s.conditions, kind).cloned());
    condition.map(|c| (c.status, c.reason)).unwrap_or_default()
}

fn node_class() -> Value {
    json!({"apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": "default"}, "spec": {"role": "KarpenterNodeRole",
        "amiSelectorTerms": [{"alias": "al2023@latest"}],
        "subnetSelectorTerms": [{"tags": {"karpenter.sh/discovery": "lab"}}], "securityGroupSelectorTerms": [{"tags": {"karpenter.sh/discovery": "lab"}}]}})
}

fn node_pool() -> Value {
    json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default"}, "spec": {"limits": {"cpu": "1000", "memory": "1000Gi"},
        "disruption": {"consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "30s"},
        "template": {"metadata": {"labels": {"type": "karpenter"}}, "spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
            "requirements": [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
                {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["t3.small", "t3.medium", "m5.large"]}]}}}})
}
