//! Containers of the controller's image as processes of this machine: what `kubelets::Processes` asks for.
//!
//! A pod has its own network, these processes share one: the ports that the controller listens on are replaced by free ones, and probes are
//! asked there. What a pod finds in its container (the API server's address, an account's token) or from its machine (a region,
//! credentials) comes as variables.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambient::Clock;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Container, Probe, ServiceAccount};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::PostParams;
use kube::config::Kubeconfig;
use kube::{Api, Client};
use kubelets::process::{Exit, Id, Order};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::process::{Leashed, Program};
use super::{Error, ports};

/// How often a process is asked whether it still runs.
const POLL: SignedDuration = SignedDuration::from_millis(50);
/// No world lives as long as a token.
const TOKEN_SECONDS: i64 = 30 * 24 * 3600;
/// Variables of Karpenter that name its ports, with the defaults (`C/pkg/operator/options/options.go`).
const PORTS: [(&str, u16); 2] = [("METRICS_PORT", 8080), ("HEALTH_PROBE_PORT", 8081)];

/// What processes are started with.
#[derive(Clone)]
pub struct PodOptions {
    /// What runs in place of the image's own program, with these arguments before the container's.
    pub binary: PathBuf,
    pub arguments: Vec<String>,
    /// The administrator's: where the API server is, and whom it is known by.
    pub kubeconfig: PathBuf,
    /// May ask for the tokens of service accounts.
    pub client: Client,
    /// Serves every AWS API, e.g. `http://127.0.0.1:4566`.
    pub aws_endpoint: String,
    pub region: String,
    /// Variables of every container that does not say otherwise.
    pub settings: BTreeMap<String, String>,
    /// A log for each container, `POD_CONTAINER.log`, of all its runs.
    pub logs: PathBuf,
    pub clock: Clock,
}

/// All such processes of a world.
#[derive(Clone)]
pub struct Pods(Arc<Shared>);

struct Shared {
    options: PodOptions,
    present: Mutex<Present>,
    ended: Arc<Notify>,
}

#[derive(Default)]
struct Present {
    running: BTreeMap<Id, Running>,
    ended: Vec<(Id, Exit)>,
    /// Every log, in the order of their first runs.
    logs: Vec<PathBuf>,
}

struct Running {
    process: Arc<Leashed>,
    /// The ports of the manifest, and those that are listened on.
    ports: BTreeMap<u16, u16>,
    metrics: u16,
    container: Container,
    /// When it is ended by force; it was asked to end.
    deadline: Option<Timestamp>,
}

/// Whether an image is Karpenter's or ours, from whatever registry, by tag or digest.
pub fn is_controllers(image: &str) -> bool {
    let image = image.split('@').next().unwrap_or_default();
    let (folder, name) = image.rsplit_once('/').unwrap_or(("", image));
    let name = name.split(':').next().unwrap_or_default();
    name == "dryfit" || name == "controller" && folder.rsplit('/').next() == Some("karpenter")
}

impl Pods {
    pub fn new(options: PodOptions) -> Pods {
        Pods(Arc::new(Shared { options, present: Mutex::default(), ended: Arc::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.0.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all of them at once.
    pub fn end(&self) {
        let running = std::mem::take(&mut self.lock().running);
        drop(running);
    }

    /// Everything that they have printed so far, line by line, log by log.
    pub fn log_lines(&self) -> Vec<String> {
        let logs = self.lock().logs.clone();
        let texts = logs.iter().filter_map(|log| std::fs::read(log).ok());
        texts.flat_map(|bytes| String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// What `/metrics` of the one says that holds the lease, or else of one that answers.
    pub async fn scrape(&self) -> Option<String> {
        let ports: Vec<u16> = self.lock().running.values().map(|running| running.metrics).collect();
        let mut other = None;
        for port in ports {
            let Ok(text) = get(port, "/metrics").await.map(|(_, text)| text) else { continue };
            if text.lines().any(|line| line.starts_with("leader_election_master_status") && line.ends_with(" 1")) {
                return Some(text);
            }
            other = Some(text);
        }
        other
    }

    async fn start(self, order: Order) -> Result<(), Error> {
        let options = &self.0.options;
        let kubeconfig = self.kubeconfig(&order).await?;
        let free = ports::free::<2>()?;
        let own = |(name, usual): (&str, u16)| order.environment.get(name).and_then(|port| port.parse().ok()).unwrap_or(usual);
        let ports: Vec<(u16, u16)> = PORTS.into_iter().map(own).zip(free).collect();
        let log = options.logs.join(format!("{}_{}.log", order.pod, order.id.container));
        // The entry point is ours to choose; what follows it is the container's.
        let own = order.command.iter().skip(1).chain(&order.arguments).cloned();
        let process = Leashed::start(Program {
            name: "karpenter",
            binary: options.binary.clone(),
            arguments: options.arguments.iter().cloned().chain(own).collect(),
            environment: environment(options, &order, &kubeconfig, free),
            // A lease names its holder so.
            hostname: &order.pod,
            log: log.clone(),
            goes_on: true,
            remedy: "",
        })?;
        let (process, metrics) = (Arc::new(process), free[0]);
        let running = Running { process, ports: ports.into_iter().collect(), metrics, container: order.container, deadline: None };
        let process = running.process.clone();
        {
            let mut present = self.lock();
            if !present.logs.contains(&log) {
                present.logs.push(log);
            }
            present.running.insert(order.id.clone(), running);
        }
        tokio::spawn(self.clone().watch(order.id, process));
        Ok(())
    }

    /// Waits for the end of a process, and hastens it when its grace is over.
    async fn watch(self, id: Id, process: Arc<Leashed>) {
        let clock = &self.0.options.clock;
        loop {
            clock.sleep(POLL).await;
            let mut present = self.lock();
            let Some(running) = present.running.get(&id).filter(|one| Arc::ptr_eq(&one.process, &process)) else { return };
            if running.deadline.is_some_and(|deadline| deadline <= clock.now()) {
                process.kill();
            }
            // Who cannot be asked after is gone.
            let status = match process.ended() {
                Ok(None) => continue,
                Ok(Some(status)) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
                Err(_) => 255,
            };
            present.running.remove(&id);
            present.ended.push((id, Exit { code: status, at: clock.now() }));
            drop(present);
            self.0.ended.notify_waiters();
            return;
        }
    }

    /// The API server as the pod's service account knows it.
    async fn kubeconfig(&self, order: &Order) -> Result<PathBuf, Error> {
        let options = &self.0.options;
        let accounts: Api<ServiceAccount> = Api::namespaced(options.client.clone(), &order.namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..Default::default() };
        let request = TokenRequest { spec: Some(spec), ..Default::default() };
        let account = &order.service_account;
        let made = accounts.create_token_request(account, &PostParams::default(), &request).await;
        let made = made.map_err(Error::kube(format!("ask for a token of the account {account}")))?;
        let token = made.status.and_then(|status| status.token).unwrap_or_default();
        let path = options.logs.join(format!("{}_{account}.kubeconfig", order.namespace));
        let doing = |what: &str, path: &Path| format!("{what} the kubeconfig {}", path.display());
        let wrong = |source: kube::config::KubeconfigError| Error::Io {
            doing: doing("read", &options.kubeconfig),
            source: std::io::Error::other(source),
        };
        let mut config = Kubeconfig::read_from(&options.kubeconfig).map_err(wrong)?;
        for user in config.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
            user.token = Some(token.clone().into());
        }
        // YAML takes JSON as it is.
        let text = serde_json::to_string(&config)
            .map_err(|source| Error::Io { doing: doing("write", &path), source: std::io::Error::other(source) })?;
        super::credentials::write_private(path.clone(), &text)
    }
}

/// What the container says, and what it cannot know; credentials are worthless, so that nobody's real ones are ever found.
fn environment(options: &PodOptions, order: &Order, kubeconfig: &Path, free: [u16; 2]) -> BTreeMap<String, String> {
    let usual = [("AWS_REGION", options.region.as_str()), ("LEADER_ELECTION_NAMESPACE", order.namespace.as_str())];
    let kubeconfig = kubeconfig.to_string_lossy();
    let fixed = [
        ("KUBECONFIG", kubeconfig.as_ref()),
        ("AWS_ENDPOINT_URL", &options.aws_endpoint),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("HOSTNAME", &order.pod),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut all: BTreeMap<String, String> = usual.into_iter().map(owned).collect();
    all.extend(options.settings.clone());
    all.extend(order.environment.clone());
    all.extend(fixed.into_iter().map(owned));
    all.extend(PORTS.into_iter().zip(free).map(|((name, _), port)| (name.to_owned(), port.to_string())));
    all
}

impl kubelets::Processes for Pods {
    fn runs(&self, image: &str) -> bool {
        is_controllers(image)
    }

    fn start(&self, order: Order) -> BoxFuture<'static, Result<(), String>> {
        let start = self.clone().start(order);
        Box::pin(async move { start.await.map_err(|error| format!("failed to create containerd task: {}", causes(&error))) })
    }

    fn stop(&self, id: &Id, grace: SignedDuration) {
        let now = self.0.options.clock.now();
        if let Some(running) = self.lock().running.get_mut(id) {
            if running.deadline.is_none() {
                running.process.terminate();
            }
            let deadline = now.saturating_add(grace).unwrap_or(now);
            running.deadline = Some(running.deadline.map_or(deadline, |before| before.min(deadline)));
        }
    }

    fn probe(&self, id: &Id, probe: &Probe) -> BoxFuture<'static, Result<(), String>> {
        let present = self.lock();
        let Some(running) = present.running.get(id) else { return Box::pin(std::future::ready(Err("it does not run".to_owned()))) };
        let (http, socket) = (probe.http_get.clone(), probe.tcp_socket.clone());
        let port = http.as_ref().map(|http| &http.port).or(socket.as_ref().map(|socket| &socket.port));
        // Nothing can be executed in a container that is none.
        let Some(port) = port.and_then(|port| listened(running, port)) else { return Box::pin(std::future::ready(Ok(()))) };
        drop(present);
        let path = http.map(|http| http.path.unwrap_or_default());
        let (clock, patience) = (self.0.options.clock.clone(), i64::from(probe.timeout_seconds.unwrap_or(1).max(1)));
        Box::pin(async move {
            let url = format!("http://127.0.0.1:{port}{}", path.as_deref().unwrap_or_default());
            tokio::select! {
                biased;
                answer = ask(port, path.as_deref()) => answer,
                () = clock.sleep(SignedDuration::from_secs(patience)) => Err(format!("Get {url:?}: context deadline exceeded")),
            }
        })
    }

    fn ended(&self) -> Vec<(Id, Exit)> {
        std::mem::take(&mut self.lock().ended)
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        let mut notified = Box::pin(self.0.ended.clone().notified_owned());
        // Takes part from now on, not from the first poll.
        notified.as_mut().enable();
        notified
    }
}

/// The port that is really listened on.
fn listened(running: &Running, port: &IntOrString) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut named = running.container.ports.iter().flatten();
            named.find(|one| one.name.as_ref() == Some(name)).map(|one| one.container_port).or(name.parse().ok())
        }
    };
    let number = u16::try_from(number?).ok()?;
    Some(running.ports.get(&number).copied().unwrap_or(number))
}

/// Without a path it is enough that somebody listens. Source of the words: kubernetes `pkg/probe/http/http.go`.
async fn ask(port: u16, path: Option<&str>) -> Result<(), String> {
    let refused = |error: std::io::Error| format!("dial tcp 127.0.0.1:{port}: connect: {}", error.kind());
    let Some(path) = path else { return TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(refused) };
    match get(port, path).await {
        Ok((200..400, _)) => Ok(()),
        Ok((code, _)) => Err(format!("HTTP probe failed with statuscode: {code}")),
        Err(error) => Err(format!("Get \"http://127.0.0.1:{port}{path}\": {}", refused(error))),
    }
}

/// Status and body.
async fn get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    status.map(|status| (status, body)).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("public.ecr.aws/karpenter/controller:1.14.1@sha256:0123", true)]
    #[case("localhost:5000/karpenter/controller", true)]
    #[case("karpenter/controller:1.14.1", true)]
    #[case("registry.example/tools/dryfit:2", true)]
    #[case("dryfit", true)]
    #[case("public.ecr.aws/ebs-csi-driver/controller:1", false)]
    #[case("registry.example/karpenter/controller/sidecar", false)]
    #[case("controller", false)]
    fn images(#[case] image: &str, #[case] expect: bool) {
        assert_eq!(is_controllers(image), expect);
    }
}
