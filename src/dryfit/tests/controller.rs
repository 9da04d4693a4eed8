//! `dryfit controller` as an operator runs it: on an API server and a cloud that listen on loopback, in real time.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DynamicObject, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Config};
use rstest::rstest;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A child that ends with the test; what it prints can be printed until then.
struct Running(Child, #[expect(dead_code, reason = "a pipe without a reader breaks")] Lines<BufReader<ChildStdout>>);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it, and gives the first word of its output that `wanted` takes.
fn start(arguments: &[&str], wanted: impl Fn(&str) -> Option<String>) -> (Running, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dryfit")).args(arguments).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut output = BufReader::new(child.stdout.take().expect("piped")).lines();
    let found = output.by_ref().map_while(Result::ok).find_map(|line| wanted(&line));
    (Running(child, output), found.unwrap_or_else(|| panic!("{arguments:?} ended before it listened")))
}

fn listening(line: &str) -> Option<String> {
    line.strip_prefix("listening on ").map(str::to_owned)
}

/// Status and body of a GET.
fn get(port: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body.to_owned())
}

fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{what}: not within a minute")
}

struct Controller {
    child: Child,
    metrics: String,
    probes: String,
}

impl Controller {
    fn start(kubeconfig: &Path, cloud: &str, log: &Path) -> Controller {
        let child = Command::new(env!("CARGO_BIN_EXE_dryfit"))
            .args(["controller", "--metrics-port", "0", "--log-level", "info", "--leader-election-namespace", "kube-system"])
            .envs([("CLUSTER_NAME", "lab"), ("HEALTH_PROBE_PORT", "0"), ("AWS_REGION", "us-west-2"), ("AWS_ENDPOINT_URL", cloud)])
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")])
            .envs([("LOG_OUTPUT_PATHS", log), ("KUBECONFIG", kubeconfig)])
            .env("CLUSTER_ENDPOINT", "https://127.0.0.1:6443")
            .spawn()
            .expect("it starts");
        let port = |name: &str| {
            until(name, || {
                let text = std::fs::read_to_string(log).ok()?;
                let line = text.lines().find(|line| line.contains(&format!("serving {name}")))?;
                let port = line.split("0.0.0.0:").nth(1)?;
                Some(port.chars().take_while(char::is_ascii_digit).collect::<String>())
            })
        };
        Controller { metrics: port("metrics"), probes: port("probes"), child }
    }

    fn end(mut self) -> Option<i32> {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(killed.success());
        self.child.wait().expect("it ends").code()
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

async fn define(client: &Client) {
    let printed = Command::new(env!("CARGO_BIN_EXE_dryfit")).arg("crds").output().expect("it prints").stdout;
    let list: serde_json::Value = serde_json::from_slice(&printed).expect("JSON");
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
    for item in list["items"].as_array().expect("items") {
        let object: DynamicObject = serde_json::from_value(item.clone()).expect("an object");
        Api::<DynamicObject>::all_with(client.clone(), &kind).create(&PostParams::default(), &object).await.expect("created");
    }
}

#[tokio::test]
async fn probes_metrics_lease_and_an_end_in_good_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let (kubeconfig, log) = (folder.path().join("kubeconfig"), folder.path().join("log"));
    let (_cloud, cloud) = start(&["cloud", "--listen", "127.0.0.1:0"], listening);
    let file = kubeconfig.to_string_lossy();
    let (_kube, _) = start(&["up", "--kube-only", "--listen", "127.0.0.1:0", "--nodes", "1", "--kubeconfig", &file], listening);
    let client = client(&kubeconfig).await;
    let lease = async || Api::<Lease>::namespaced(client.clone(), "kube-system").get_opt(controller_lease()).await.expect("asked");
    let holder = |lease: Option<Lease>| lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();

    let first = Controller::start(&kubeconfig, &cloud, &log);
    assert_eq!(get(&first.probes, "/healthz"), (200, "ok".to_owned()));
    let (status, why) = get(&first.probes, "/readyz");
    assert_eq!(status, 500, "without the definitions nothing can be listed");
    assert!(why.contains("start-up"), "{why}");

    define(&client).await;
    until("ready", || (get(&first.probes, "/readyz").0 == 200).then_some(()));
    let (status, text) = get(&first.metrics, "/metrics");
    assert_eq!(status, 200);
    until("leads", || {
        get(&first.metrics, "/metrics").1.contains("leader_election_master_status{name=\"karpenter-leader-election\"} 1").then_some(())
    });
    assert!(text.contains("karpenter_cluster_state_node_count 1\n"), "{text}");
    assert_eq!(get(&first.metrics, "/else").0, 404);
    assert_ne!(holder(lease().await), "");

    assert_eq!(first.end(), Some(0));
    assert_eq!(holder(lease().await), "", "the lease was given back");
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok_and(|v| v["level"].is_string())), "{text}");
}

fn controller_lease() -> &'static str {
    "karpenter-leader-election"
}

#[rstest]
#[case::no_name(&["--batch-max-duration", "soon"], "CLUSTER_NAME: is required: the name of the cluster that nodes join (flag --cluster-name)\nBATCH_MAX_DURATION: \"soon\" is no duration, like 10s or 1m30s (flag --batch-max-duration)\n", 2)]
#[case::a_flag_wins(&["--cluster-name", "x", "--log-level", "loud"], "LOG_LEVEL: \"loud\" is none of debug, info, error (flag --log-level)\n", 2)]
#[case::no_cluster(&["--cluster-name", "x"], "no cluster is configured", 1)]
fn what_is_wrong_is_said_at_once(#[case] arguments: &[&str], #[case] said: &str, #[case] code: i32) {
    let run = Command::new(env!("CARGO_BIN_EXE_dryfit"))
        .arg("controller")
        .args(arguments)
        .env("LOG_LEVEL", "info")
        .env("KUBECONFIG", "/nowhere/kubeconfig")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&run.stderr);
    assert!(text.starts_with(said), "{text}");
    assert_eq!(run.status.code(), Some(code));
}
