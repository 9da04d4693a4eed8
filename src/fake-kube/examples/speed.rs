//! How fast and how large: `speed` prints one line per question. The numbers are in docs/measurements.md.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures the machine's time")]

use std::time::Instant;

use bytes::Bytes;
use fake_kube::{Config, Kube, Out, Request, controllers};
use jiff::Timestamp;
use serde_json::{Value, json};

fn main() {
    let nodes: usize = argument(1, 10_000);
    let pods: usize = argument(2, 100_000);
    start();
    let mut kube = Kube::new(Config::default());
    fill(&mut kube, nodes, pods);
    watch(&mut kube, 100, 2_000);
    drop(kube);
    place(argument(3, 5_000), argument(4, 10_000));
}

fn argument(at: usize, otherwise: usize) -> usize {
    std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time of our days")
}

fn request(method: &str, path: &str, body: &Value) -> Request {
    let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.body(bytes).expect("a request")
}

/// The reply's code; a watch has none yet.
fn ask(kube: &mut Kube, method: &str, path: &str, body: &Value) -> u16 {
    kube.submit(now(), request(method, path, body));
    let replies = kube.advance(now());
    replies.iter().find_map(|out| if let Out::Reply(_, reply) = out { Some(reply.status().as_u16()) } else { None }).unwrap_or(0)
}

/// A span of the machine's time, and of the processor's, which others on the machine do not lengthen.
struct Span {
    wall: Instant,
    cpu: f64,
}

impl Span {
    fn begin() -> Span {
        Span { wall: Instant::now(), cpu: processor_seconds() }
    }

    /// Milliseconds: wall, processor.
    fn took(&self) -> String {
        format!("{:.0} ms ({:.0} ms of processor)", self.wall.elapsed().as_secs_f64() * 1000.0, (processor_seconds() - self.cpu) * 1000.0)
    }

    fn rate(&self, count: usize) -> String {
        let of = |seconds: f64| count as f64 / seconds.max(0.001);
        format!("{:.0} a second ({:.0} a second of processor)", of(self.wall.elapsed().as_secs_f64()), of(processor_seconds() - self.cpu))
    }
}

/// User and system time of this process; the kernel counts in hundredths of a second.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Bytes that the process holds.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn node(number: usize) -> Value {
    let name = format!("ip-10-{}-{}-{}.us-west-2.compute.internal", number / 62_500, number / 250 % 250, number % 250);
    let room = json!({ "cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "80Gi" });
    json!({
        "metadata": { "name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": (["us-west-2a", "us-west-2b", "us-west-2c"][number % 3]), "node.kubernetes.io/instance-type": "m5.4xlarge",
        } },
        "spec": { "providerID": format!("aws:///us-west-2a/i-{number:017x}") },
        "status": { "capacity": room, "allocatable": room, "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

fn pod(number: usize, node: &str) -> Value {
    let mut spec = json!({
        "containers": [{ "name": "main", "image": "registry.example.com/team/service:1.2.3",
            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
            "env": [{ "name": "LOG", "value": "info" }], "ports": [{ "containerPort": 8080 }] }],
    });
    if !node.is_empty() {
        spec["nodeName"] = json!(node);
    }
    json!({ "metadata": { "name": format!("service-{:05}-{number:07}", number % 500), "labels": { "app": format!("service-{}", number % 500), "team": format!("t{}", number % 40) } }, "spec": spec })
}

fn start() {
    let begin = Span::begin();
    let mut kube = Kube::new(Config::default());
    for controller in controllers::all(0) {
        kube.add_controller(controller);
    }
    let code = ask(&mut kube, "GET", "/api/v1/namespaces", &Value::Null);
    println!("start: the first list of namespaces ({code}) after {}", begin.took());
}

fn fill(kube: &mut Kube, nodes: usize, pods: usize) {
    let empty = resident();
    let names: Vec<String> = (0..nodes).map(|number| node(number)["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect();
    for number in 0..nodes {
        assert_eq!(ask(kube, "POST", "/api/v1/nodes", &node(number)), 201);
    }
    let bodies: Vec<Request> =
        (0..pods).map(|number| request("POST", "/api/v1/namespaces/default/pods", &pod(number, &names[number % nodes.max(1)]))).collect();
    let begin = Span::begin();
    for body in bodies {
        kube.submit(now(), body);
        kube.advance(now());
    }
    let rate = begin.rate(pods);
    let held = resident().saturating_sub(empty);
    println!("create: {pods} pods through HTTP in process, {rate}");
    println!("size: {nodes} nodes and {pods} pods in {:.0} MiB, {} bytes a pod", held as f64 / 1048576.0, held / pods.max(1) as u64);
    let begin = Span::begin();
    let code = ask(kube, "GET", "/api/v1/pods", &Value::Null);
    println!("list: all pods ({code}) in {}", begin.took());
}

fn watch(kube: &mut Kube, watchers: usize, changes: usize) {
    let version = kube.api().store().resource_version();
    let before = resident();
    for _ in 0..watchers {
        kube.submit(now(), request("GET", &format!("/api/v1/pods?watch=1&resourceVersion={version}"), &Value::Null));
    }
    kube.advance(now());
    let begin = Span::begin();
    let mut events = 0;
    for number in 0..changes {
        let name = pod(number, "")["metadata"]["name"].clone();
        let path = format!("/api/v1/namespaces/default/pods/{}/status", name.as_str().unwrap_or_default());
        let mut patch = request("PATCH", &path, &json!({ "status": { "phase": "Running" } }));
        patch.headers_mut().insert("content-type", http::HeaderValue::from_static("application/merge-patch+json"));
        kube.submit(now(), patch);
        events += kube.advance(now()).iter().filter(|out| matches!(out, Out::Chunk(..))).count();
    }
    println!(
        "watch: {changes} changes of pods to {watchers} watchers, {events} events, {}, {:.1} MiB more",
        begin.rate(events),
        resident().saturating_sub(before) as f64 / 1048576.0
    );
}

fn place(nodes: usize, pods: usize) {
    let mut kube = Kube::new(Config::default());
    for controller in controllers::all(0) {
        kube.add_controller(controller);
    }
    for number in 0..nodes {
        ask(&mut kube, "POST", "/api/v1/nodes", &node(number));
        let path = format!("/api/v1/nodes/{}/status", node(number)["metadata"]["name"].as_str().unwrap_or_default());
        let mut patch = request("PATCH", &path, &json!({ "status": node(number)["status"] }));
        patch.headers_mut().insert("content-type", http::HeaderValue::from_static("application/merge-patch+json"));
        kube.submit(now(), patch);
    }
    kube.advance(now());
    for number in 0..pods {
        kube.submit(now(), request("POST", "/api/v1/namespaces/default/pods", &pod(number, "")));
    }
    let begin = Span::begin();
    kube.advance(now());
    let rate = begin.rate(pods);
    let bound = kube.api().store().list("pods").filter(|pod| pod.value()["spec"]["nodeName"].is_string()).count();
    println!("schedule: {bound} of {pods} plain pods on {nodes} nodes, bound and with their events, {rate}");
}
