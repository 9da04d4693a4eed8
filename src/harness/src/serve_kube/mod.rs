//! The embedded Kubernetes on a socket: TLS, a token, a kubeconfig. In real time; `dryfit up --kube-only` serves it alone, with nodes
//! that have hollow kubelets.
//!
//! - `credentials`: an authority, a certificate and a token, made anew at each start
//! - `machines`: the nodes that somebody asked for

mod credentials;
mod machines;

use crate::pump::{self, Line, Request, Response};
use crate::wires::{self, KubeService};
use ambient::{Clock, Entropy};
use credentials::Credentials;
use std::future::{Ready, ready};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[derive(Clone, Debug)]
pub struct KubeOptions {
    pub listen: SocketAddr,
    /// Written when requests are welcome.
    pub kubeconfig: PathBuf,
    /// How many nodes there are, each with a kubelet that runs pods.
    pub nodes: u32,
    pub seed: u64,
    /// Whether roles and bindings decide what others than the administrator may do.
    pub rbac: bool,
    /// Whether its own scheduler and controllers run; otherwise somebody else's must.
    pub controllers: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {0}: {1}; choose another port, or port 0 for a free one")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("the server ended: {0}")]
    Ended(#[source] std::io::Error),
    #[error("no runtime: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("{0} is not overwritten, since it is not from an earlier run: name another file")]
    NotOurs(PathBuf),
    #[error("write {0}: {1}")]
    Write(PathBuf, #[source] std::io::Error),
    #[error("make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("serve TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// An API server that welcomes requests as soon as [`Server::serve`] is polled.
pub struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    credentials: Credentials,
    /// `https://127.0.0.1:PORT`.
    pub url: String,
}

impl Server {
    /// Listens, and writes a kubeconfig whose user may do everything.
    pub async fn open(listen: SocketAddr, kubeconfig: &Path) -> Result<Server, ServeError> {
        let (listener, address) = wires::listen(listen).await.map_err(|error| ServeError::Listen(listen, error))?;
        let credentials = Credentials::make(address.ip())?;
        let acceptor = TlsAcceptor::from(Arc::new(credentials.tls()?));
        let url = format!("https://{address}");
        credentials.write_kubeconfig(kubeconfig, &url)?;
        Ok(Server { listener, acceptor, credentials, url })
    }

    /// Whose tokens the server takes, and what signs those that it gives out.
    pub fn users(&self) -> (Vec<(String, fake_kube::User)>, Vec<u8>) {
        let secret = format!("service accounts {}", self.credentials.token).into_bytes();
        (vec![(self.credentials.token.clone(), fake_kube::User::administrator())], secret)
    }

    /// The authority of the server's certificate, as PEM.
    pub fn root_ca(&self) -> String {
        self.credentials.authority()
    }

    /// Serves until the task is dropped.
    pub async fn serve(self, line: Line<fake_kube::Kube>) -> std::io::Result<()> {
        let gate = move |_: Line<fake_kube::Kube>, request: Request| admit(request);
        loop {
            let (stream, _) = self.listener.accept().await?;
            // Small answers shall not wait for more; a connection that cannot promise it serves all the same.
            let _ = stream.set_nodelay(true);
            let (line, gate, acceptor) = (line.clone(), gate, self.acceptor.clone());
            tokio::spawn(async move {
                // Whoever speaks no TLS, or goes away, is no event for the server.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                wires::connection(stream, line, gate).await;
            });
        }
    }
}

/// Answers itself who says nothing of himself; gives the request back for the server, which knows the tokens, otherwise.
fn admit(request: Request) -> Result<Ready<Response>, Box<Request>> {
    let open = matches!(request.uri().path(), "/healthz" | "/livez" | "/readyz" | "/version");
    let said = request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if open || said.starts_with("Bearer ") {
        return Err(Box::new(request));
    }
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
    });
    let mut reply = Response::new(status.to_string().into());
    *reply.status_mut() = http::StatusCode::UNAUTHORIZED;
    reply.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(ready(reply))
}

/// Serves until a signal ends the process. Prints the address when requests are welcome.
pub fn serve(options: &KubeOptions) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Runtime)?;
    runtime.block_on(run(options))
}

async fn run(options: &KubeOptions) -> Result<(), ServeError> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(ServeError::Runtime)?;
    let clock = Clock::machine();
    let server = Server::open(options.listen, &options.kubeconfig).await?;
    let (tokens, secret) = server.users();
    let config = fake_kube::Config {
        seed: options.seed,
        start: clock.now(),
        managed_fields: true,
        service_accounts: true,
        tokens,
        secret,
        rbac: options.rbac,
        root_ca: server.root_ca(),
        unmanaged: !options.controllers,
        ..Default::default()
    };
    let mut kube = fake_kube::Kube::new(config);
    let all = || fake_kube::controllers::all(options.seed);
    for controller in if options.controllers { all() } else { fake_kube::controllers::beside_a_manager() } {
        kube.add_controller(controller);
    }
    let line = pump::start(kube, clock.clone(), None, |_| {});
    let machines = Arc::new(machines::Standing::new(options.nodes, &server.url, clock.now()));
    let client = KubeService::client(line.clone());
    let entropy = Entropy::from_seed(options.seed).child("kubelets");
    let (kubelets, _handle) = kubelets::Kubelets::new(client, machines, clock, entropy, machines::profile());
    println!("listening on {}\nexport KUBECONFIG={}", server.url, options.kubeconfig.display());
    // Whoever starts us reads the lines through a pipe.
    let _ = std::io::stdout().flush();
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
        () = kubelets.run() => Ok(()),
        ended = server.serve(line) => ended.map_err(ServeError::Ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_brings_no_token_is_not_let_in() {
        let ask = |path: &str, said: Option<&str>| {
            let mut request = http::Request::get(path);
            if let Some(said) = said {
                request = request.header("authorization", said);
            }
            admit(request.body(bytes::Bytes::new()).unwrap()).is_err()
        };
        assert!(ask("/api/v1/pods", Some("Bearer secret")));
        assert!(!ask("/api/v1/pods", Some("Basic secret")));
        assert!(!ask("/api/v1/pods", None));
        assert!(ask("/readyz", None));
    }
}
