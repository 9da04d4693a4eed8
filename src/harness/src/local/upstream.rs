//! Karpenter as its authors wrote it, out of cluster, on any API server and any cloud that speaks AWS.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kube::Config;

use super::control_plane::answers;
use super::process::{Leashed, Program};
use super::{Error, ports};

const REMEDY: &str = "Its log says why; often the cloud or the API server does not answer as it should";

/// What the controller is started with.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    pub binary: PathBuf,
    pub arguments: Vec<String>,
    pub kubeconfig: PathBuf,
    /// Serves every AWS API that it calls, e.g. `http://127.0.0.1:4566`.
    pub aws_endpoint: String,
    pub region: String,
    pub cluster_name: String,
    pub cluster_endpoint: String,
    /// The name of the interruption queue; without one interruptions are not handled.
    pub queue: Option<String>,
    /// Takes what it prints: a JSON object per line, unless it panics.
    pub log: PathBuf,
    /// Further settings by their environment names (`BATCH_IDLE_DURATION`, `FEATURE_GATES`, credentials, …); they win over ours.
    pub settings: BTreeMap<String, String>,
}

/// A running controller; dropping it ends it.
#[derive(Debug)]
pub struct UpstreamController {
    process: Leashed,
    probes: String,
    /// `http://127.0.0.1:PORT/metrics`.
    pub metrics: String,
}

impl UpstreamController {
    /// Starts the process. It is of use when [`UpstreamController::ready`] returns.
    pub fn start(options: UpstreamOptions) -> Result<UpstreamController, Error> {
        let [metrics, probes] = ports::free()?;
        let environment = environment(&options, metrics, probes);
        let UpstreamOptions { binary, arguments, log, .. } = options;
        let program = Program { name: "karpenter", binary, arguments, environment, hostname: "", log, goes_on: false, remedy: REMEDY };
        Ok(UpstreamController {
            process: Leashed::start(program)?,
            probes: format!("http://127.0.0.1:{probes}"),
            metrics: format!("http://127.0.0.1:{metrics}/metrics"),
        })
    }

    /// Waits until it says that it is ready: its caches are filled from the API server and from the cloud.
    pub async fn ready(&self) -> Result<(), Error> {
        let url = self.probes.parse().map_err(|source: http::uri::InvalidUri| Error::Io {
            doing: format!("read {} as a URL", self.probes),
            source: std::io::Error::other(source),
        })?;
        answers(&Config::new(url), "/readyz", &self.process, &[]).await
    }

    /// What `/metrics` says now.
    pub async fn scrape(&self) -> Result<String, Error> {
        let url = self.metrics.trim_end_matches("/metrics").parse().map_err(|source: http::uri::InvalidUri| Error::Io {
            doing: format!("read {} as a URL", self.metrics),
            source: std::io::Error::other(source),
        })?;
        let client = kube::Client::try_from(Config::new(url)).map_err(Error::kube("make a client for metrics"))?;
        let request = http::Request::get("/metrics")
            .body(Vec::new())
            .map_err(|source| Error::Io { doing: "ask for metrics".to_owned(), source: std::io::Error::other(source) })?;
        client.request_text(request).await.map_err(Error::kube("read the metrics"))
    }

    /// An error when it has ended.
    pub fn check(&self) -> Result<(), Error> {
        self.process.check()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything that it has printed so far, line by line.
    pub fn log_lines(&self) -> Result<Vec<String>, Error> {
        let log = self.process.log();
        let bytes = std::fs::read(log).map_err(Error::io(format!("read the log {}", log.display())))?;
        Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
    }
}

/// The controller's whole environment (`C/pkg/operator/options/options.go`, `A/pkg/operator/options/options.go`). Credentials are
/// fixed and worthless: it must never find somebody's real ones, hence also no profile and no metadata service.
fn environment(options: &UpstreamOptions, metrics: u16, probes: u16) -> BTreeMap<String, String> {
    let UpstreamOptions { kubeconfig, aws_endpoint, region, cluster_name, cluster_endpoint, queue, settings, .. } = options;
    let (metrics, probes) = (metrics.to_string(), probes.to_string());
    let kubeconfig = kubeconfig.to_string_lossy();
    let fixed = [
        ("KUBECONFIG", kubeconfig.as_ref()),
        ("AWS_ENDPOINT_URL", aws_endpoint),
        ("AWS_REGION", region),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("CLUSTER_NAME", cluster_name),
        ("CLUSTER_ENDPOINT", cluster_endpoint),
        ("INTERRUPTION_QUEUE", queue.as_deref().unwrap_or_default()),
        ("DISABLE_LEADER_ELECTION", "true"),
        ("SYSTEM_NAMESPACE", "kube-system"),
        ("KUBERNETES_MIN_VERSION", "1.19.0-0"),
        ("METRICS_PORT", &metrics),
        ("HEALTH_PROBE_PORT", &probes),
        ("LOG_LEVEL", "debug"),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    fixed.chain(settings.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
}
