//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler, ready to be used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client, Config};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::credentials::{self, Credentials};
use super::process::{Leashed, Program, tail};
use super::{Binary, Error, ports};

/// How long a component may take on a machine that is busy with other things. Idle, all of them together take 3 to 4 s.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(40);
const REMEDY: &str = "If the log does not say why: build the control plane anew (`ci/judges/build`) and try again";

/// What a control plane is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the binaries, from [`super::find_binaries`].
    pub binaries: PathBuf,
    /// Data, keys, logs and the kubeconfig; made when missing. It is left as it is at the end, for whoever wants the logs.
    pub workdir: PathBuf,
    /// CustomResourceDefinitions that are served when [`ControlPlane::start`] returns.
    pub crds: Vec<Value>,
}

/// A running control plane; dropping it ends it.
#[derive(Debug)]
pub struct ControlPlane {
    /// For kubectl and any other client; the user in it may do everything.
    pub kubeconfig: PathBuf,
    /// `https://127.0.0.1:PORT`.
    pub url: String,
    pub admin_token: String,
    pub workdir: PathBuf,
    /// From the call of [`ControlPlane::start`] to its return.
    pub ready_after: Duration,
    config: Config,
    components: Vec<Leashed>,
}

impl ControlPlane {
    /// Starts all components and waits until they are of use: the API is served, the CRDs are established, and the service accounts
    /// are there without which no pod is admitted.
    pub async fn start(options: Options) -> Result<ControlPlane, Error> {
        const ATTEMPTS: usize = 3;
        let mut attempt = 1;
        loop {
            match ControlPlane::attempt(&options).await {
                Err(error) if error.is_port_taken() && attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    async fn attempt(options: &Options) -> Result<ControlPlane, Error> {
        let begun = Instant::now();
        let Options { binaries, workdir, crds } = options;
        std::fs::create_dir_all(workdir).map_err(Error::io(format!("make the folder {}", workdir.display())))?;
        // The store of an earlier run in the same folder would be another cluster.
        match std::fs::remove_dir_all(workdir.join("etcd").join("member")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("empty the store of an earlier run")(error));
            }
            _ => {}
        }
        let credentials = credentials::make(workdir)?;
        let [etcd_port, peer_port, api_port, manager_port, scheduler_port] = ports::free()?;
        let url = format!("https://127.0.0.1:{api_port}");
        let kubeconfig = credentials::kubeconfig(workdir.join("kubeconfig"), &url, &credentials)?;
        let launch = Launch { binaries, workdir };

        // The API server looks for etcd until it is there, so both may start at once.
        let etcd = launch.start(Binary::Etcd, etcd_arguments(workdir, etcd_port, peer_port))?;
        let api = launch.start(Binary::ApiServer, api_arguments(&credentials, etcd_port, api_port))?;
        let config = config(&url, &credentials)?;
        answers(&config, "/readyz", &api, &[&etcd]).await?;

        let manager = launch.start(Binary::ControllerManager, manager_arguments(&credentials, &kubeconfig, manager_port))?;
        let scheduler = launch.start(Binary::Scheduler, scheduler_arguments(&credentials, &kubeconfig, scheduler_port))?;
        let client = Client::try_from(config.clone()).map_err(Error::kube("make a client of the control plane"))?;
        let port_config = |port| self::config(&format!("https://127.0.0.1:{port}"), &credentials);
        let (manager_config, scheduler_config) = (port_config(manager_port)?, port_config(scheduler_port)?);
        let below = [&etcd, &api];
        tokio::try_join!(
            answers(&manager_config, "/healthz", &manager, &below),
            answers(&scheduler_config, "/healthz", &scheduler, &below),
            install(&client, crds, &api),
            populated(&client, &manager),
        )?;
        Ok(ControlPlane {
            kubeconfig,
            url,
            admin_token: credentials.admin_token,
            workdir: workdir.clone(),
            ready_after: begun.elapsed(),
            config,
            // The order of ending: writers first, the store last.
            components: vec![scheduler, manager, api, etcd],
        })
    }

    /// A configuration with the administrator's token.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    pub fn client(&self) -> Result<Client, Error> {
        Client::try_from(self.config()).map_err(Error::kube("make a client of the control plane"))
    }

    /// An error when a component has ended.
    pub fn check(&self) -> Result<(), Error> {
        self.components.iter().try_for_each(Leashed::check)
    }

    /// Names and process ids of the components.
    pub fn processes(&self) -> Vec<(String, u32)> {
        self.components.iter().map(|component| (component.name().to_owned(), component.id())).collect()
    }
}

struct Launch<'a> {
    binaries: &'a Path,
    workdir: &'a Path,
}

impl Launch<'_> {
    fn start(&self, binary: Binary, arguments: Vec<String>) -> Result<Leashed, Error> {
        let name = binary.file_name();
        let home = ("HOME".to_owned(), self.workdir.to_string_lossy().into_owned());
        Leashed::start(Program {
            name,
            binary: self.binaries.join(name),
            arguments,
            environment: BTreeMap::from([home]),
            log: self.workdir.join(format!("{name}.log")),
            hostname: "",
            goes_on: false,
            remedy: REMEDY,
        })
    }
}

fn etcd_arguments(workdir: &Path, client: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    vec![
        "--name=dryfit".into(),
        format!("--data-dir={}", workdir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=dryfit={peer}"),
        // The data lives as long as the run: an outage of the machine need not be survived.
        "--unsafe-no-fsync=true".into(),
        "--log-level=warn".into(),
    ]
}

fn serving(credentials: &Credentials, port: u16) -> Vec<String> {
    vec![
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", credentials.cert_file.display()),
        format!("--tls-private-key-file={}", credentials.key_file.display()),
        "--profiling=false".into(),
    ]
}

fn api_arguments(credentials: &Credentials, etcd: u16, port: u16) -> Vec<String> {
    let mut arguments = serving(credentials, port);
    arguments.extend([
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--advertise-address=127.0.0.1".into(),
        // An endpoint may not be a loopback address, and nobody reaches us through the service.
        "--endpoint-reconciler-type=none".into(),
        "--authorization-mode=RBAC".into(),
        format!("--token-auth-file={}", credentials.token_file.display()),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!("--service-account-key-file={}", credentials.service_account_public_key.display()),
        format!("--service-account-signing-key-file={}", credentials.service_account_key.display()),
        "--service-cluster-ip-range=10.100.0.0/16".into(),
        "--allow-privileged=true".into(),
    ]);
    arguments
}

fn manager_arguments(credentials: &Credentials, kubeconfig: &Path, port: u16) -> Vec<String> {
    let mut arguments = serving(credentials, port);
    arguments.extend([
        format!("--kubeconfig={}", kubeconfig.display()),
        "--authentication-skip-lookup=true".into(),
        "--leader-elect=false".into(),
        format!("--service-account-private-key-file={}", credentials.service_account_key.display()),
        format!("--root-ca-file={}", credentials.ca_file.display()),
        "--controllers=*,-nodeipam".into(),
    ]);
    arguments
}

fn scheduler_arguments(credentials: &Credentials, kubeconfig: &Path, port: u16) -> Vec<String> {
    let mut arguments = serving(credentials, port);
    arguments.extend([
        format!("--kubeconfig={}", kubeconfig.display()),
        "--authentication-skip-lookup=true".into(),
        "--leader-elect=false".into(),
    ]);
    arguments
}

fn config(url: &str, credentials: &Credentials) -> Result<Config, Error> {
    let parsed: http::Uri = url.parse().map_err(|source| Error::Io {
        doing: format!("read {url} as a URL"),
        source: std::io::Error::other::<http::uri::InvalidUri>(source),
    })?;
    let mut config = Config::new(parsed);
    config.root_cert = Some(vec![credentials.ca_der.clone()]);
    config.auth_info.token = Some(credentials.admin_token.clone().into());
    Ok(config)
}

/// Waits until `path` answers with success. Ends with an error as soon as `component` or one it stands on has ended.
pub(super) async fn answers(config: &Config, path: &str, component: &Leashed, below: &[&Leashed]) -> Result<(), Error> {
    let client = Client::try_from(config.clone()).map_err(Error::kube("make a client for a health check"))?;
    let ask = async || {
        let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        client.request_text(request).await.map(|_| ()).map_err(|error| error.to_string())
    };
    wait(component, below, ask).await
}

/// Repeats `ask` until it is content.
async fn wait(component: &Leashed, below: &[&Leashed], ask: impl AsyncFn() -> Result<(), String>) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        let Err(last) = ask().await else { return Ok(()) };
        component.check()?;
        below.iter().try_for_each(|leashed| leashed.check())?;
        if begun.elapsed() > PATIENCE {
            let (name, log) = (component.name().to_owned(), component.log().to_path_buf());
            return Err(Error::NotReady { component: name, after: PATIENCE, last, tail: tail(&log), log });
        }
        sleep(POLL).await;
    }
}

/// Waits for the namespaces and service accounts that every cluster has a moment after its start.
async fn populated(client: &Client, manager: &Leashed) -> Result<(), Error> {
    let ask = async || {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.get("kube-node-lease").await.map_err(|error| error.to_string())?;
        for namespace in ["default", "kube-system"] {
            let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
            accounts.get("default").await.map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    wait(manager, &[], ask).await
}

/// Creates the definitions and waits until all are served.
async fn install(client: &Client, crds: &[Value], api: &Leashed) -> Result<(), Error> {
    const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let name_of = |crd: &Value| crd["metadata"]["name"].as_str().unwrap_or("(without a name)").to_owned();
    for crd in crds {
        let refused = |why: String| Error::Crd { name: name_of(crd), why };
        let body = serde_json::to_vec(crd).map_err(|error| refused(error.to_string()))?;
        let request = Request::post(PATH).header("content-type", "application/json").body(body);
        let request = request.map_err(|error| refused(error.to_string()))?;
        client.request::<Value>(request).await.map_err(|error| refused(error.to_string()))?;
    }
    for crd in crds {
        let name = name_of(crd);
        let ask = async || {
            let request = Request::get(format!("{PATH}/{name}")).body(Vec::new()).map_err(|error| error.to_string())?;
            let found: Value = client.request(request).await.map_err(|error| error.to_string())?;
            let conditions = found["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            let established = conditions.iter().any(|each| each["type"] == "Established" && each["status"] == "True");
            if established { Ok(()) } else { Err(format!("the CustomResourceDefinition {name} is not established")) }
        };
        wait(api, &[], ask).await?;
    }
    Ok(())
}
