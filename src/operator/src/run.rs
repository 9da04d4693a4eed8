//! Starts everything, and ends it in good order.

use crate::lines::Lines;
use crate::rate::Rate;
use crate::serve::{self, Door};
use crate::settings::Options;
use ambient::{Clock, Entropy};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud::{AwsCloud, CloudError};
use controller::{Controller, LeaderElection, Stopped};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use kube::api::PostParams;
use kube::client::ClientBuilder;
use kube::{Api, Client, Config};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing_subscriber::prelude::*;

/// Where a pod finds its own namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("no cluster is configured: {0}; set KUBECONFIG, or run in a pod with a service account")]
    Cluster(#[source] kube::config::InferConfigError),
    #[error("no client of the API server: {0}")]
    Client(#[source] kube::Error),
    #[error("kube-system/kube-dns cannot be read: {0}")]
    Dns(#[source] kube::Error),
    #[error("no account is configured: {0}; set AWS_REGION and credentials, as for every AWS tool")]
    Account(#[source] CloudError),
    #[error("port {0} cannot be listened on: {1}; choose another with --metrics-port or --health-probe-port, or 0 for a free one")]
    Port(u16, #[source] std::io::Error),
    #[error("the log cannot be written: {0}")]
    Log(#[source] std::io::Error),
    #[error(
        "no namespace for the lease: this is no pod, so name one with --leader-election-namespace, or pass --disable-leader-election=true"
    )]
    Namespace,
    #[error("the lease was lost to another process, which works now")]
    LeaseLost,
    #[error("no randomness from the system")]
    Chance,
    #[error("{0}")]
    Runtime(#[source] std::io::Error),
}

/// Runs the controller until SIGTERM or SIGINT. What it began is brought to its end, and the lease given back.
pub fn run(options: Options) -> Result<(), OperatorError> {
    let lines = Lines::open(options.log_level, &options.log_outputs, &options.log_error_outputs, now).map_err(OperatorError::Log)?;
    // A second subscriber in one process would be a mistake of ours; the first one's lines are as good.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(OperatorError::Runtime)?;
    runtime.block_on(work(options))
}

fn now() -> Timestamp {
    Clock::machine().now()
}

async fn work(mut options: Options) -> Result<(), OperatorError> {
    for name in &options.without_effect {
        tracing::info!(setting = name, "this setting changes nothing here");
    }
    let config = Config::infer().await.map_err(OperatorError::Cluster)?;
    if options.controller.cluster_ca.is_none() {
        let authority = config.root_cert.as_deref().map(|certificates| STANDARD.encode(pem(certificates)));
        options.controller.cluster_ca.clone_from(&authority);
        options.cloud.cluster_ca = authority;
    }
    let client = limited(config, &options).map_err(OperatorError::Client)?;
    options.cloud.cluster_dns_ip = dns(&client).await?;
    let seed = seed()?;
    if options.leader_election {
        let namespace = options.leader_election_namespace.clone().or_else(own_namespace).ok_or(OperatorError::Namespace)?;
        let host = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/etc/hostname").ok());
        let identity = format!("{}_{seed:016x}", host.as_deref().map_or("dryfit", str::trim));
        options.controller.leader_election = Some(LeaderElection { namespace, name: options.leader_election_name.clone(), identity });
    }
    let (clock, entropy) = (Clock::machine(), Entropy::from_seed(seed));
    let account =
        AwsCloud::from_environment(options.cloud, clock.clone(), &entropy.child("cloud")).await.map_err(OperatorError::Account)?;
    let election = options.controller.leader_election.clone();
    let (controller, handle) = Controller::new(client.clone(), Arc::new(account), clock, entropy.child("controller"), options.controller);
    let mut doors = JoinSet::new();
    for (door, port, name) in [(Door::Metrics, options.metrics_port, "metrics"), (Door::Probes, options.probe_port, "probes")] {
        let (listener, address) = serve::bind(port).await.map_err(|error| OperatorError::Port(port, error))?;
        tracing::info!(address = %address, "serving {name}");
        doors.spawn(serve::serve(listener, door, handle.clone()));
    }
    let mut ended = signal(SignalKind::terminate()).map_err(OperatorError::Runtime)?;
    let ender = handle.clone();
    doors.spawn(async move {
        tokio::select! {
            biased;
            _ = ended.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("ending: what is under way is finished first");
        ender.finish();
    });
    let stopped = controller.run().await;
    if stopped == Stopped::LeaseLost {
        return Err(OperatorError::LeaseLost);
    }
    if let Some(election) = election
        && let Err(error) = release(&client, &election).await
    {
        tracing::info!(error = %error, "the lease was not given back, and lapses by itself");
    }
    Ok(())
}

/// The process's client, no faster than it may be.
fn limited(config: Config, options: &Options) -> Result<Client, kube::Error> {
    let builder = ClientBuilder::try_from(config)?;
    Ok(match Rate::new(options.kube_client_qps, options.kube_client_burst) {
        Some(rate) => builder.with_layer(&rate).build(),
        None => builder.build(),
    })
}

/// Gives the lease back, so that another process need not wait until it lapses (client-go's `release`).
async fn release(client: &Client, election: &LeaderElection) -> Result<(), kube::Error> {
    let api = Api::<Lease>::namespaced(client.clone(), &election.namespace);
    let Some(mut lease) = api.get_opt(&election.name).await? else { return Ok(()) };
    let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&election.identity)) else { return Ok(()) };
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    api.replace(&election.name, &PostParams::default(), &lease).await.map(drop)
}

/// The address of the cluster's DNS (`A/pkg/operator/operator.go`, KubeDNSIP). `None` where there is no such Service.
async fn dns(client: &Client) -> Result<Option<std::net::IpAddr>, OperatorError> {
    let service = Api::<Service>::namespaced(client.clone(), "kube-system").get_opt("kube-dns").await.map_err(OperatorError::Dns)?;
    Ok(service.and_then(|s| s.spec?.cluster_ip).and_then(|address| address.parse().ok()))
}

fn own_namespace() -> Option<String> {
    let told = std::env::var("SYSTEM_NAMESPACE").ok().filter(|name| !name.is_empty());
    told.or_else(|| std::fs::read_to_string(NAMESPACE_FILE).ok()).map(|name| name.trim().to_owned())
}

/// Certificates as a PEM file, as kubeconfigs and service accounts have them.
fn pem(certificates: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        for line in encoded.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// Names of NodeClaims, jitter and the identity come from here.
fn seed() -> Result<u64, OperatorError> {
    let mut bytes = [0; 8];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).map_err(|_| OperatorError::Chance)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_become_the_file_that_they_came_from() {
        let certificate: Vec<u8> = (0..100).collect();
        let text = pem(std::slice::from_ref(&certificate));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[lines.len() - 1]), ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"));
        assert!(lines[1..lines.len() - 1].iter().all(|line| line.len() <= 64));
        assert_eq!(STANDARD.decode(lines[1..lines.len() - 1].concat()).expect("base64"), certificate);
    }
}
