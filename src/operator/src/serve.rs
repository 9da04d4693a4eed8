//! Probes and metrics over HTTP. Paths and answers: `C/pkg/operator/operator.go`, controller-runtime's health handlers.

use bytes::Bytes;
use controller::Handle;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Metrics,
    Probes,
}

/// Binds the port on all addresses, as upstream does: kubelets and Prometheus come from other machines. Port 0 is a free one.
pub async fn bind(port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, door: Door, handle: Handle) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // A connection that could not be taken is its peer's loss.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let handle = handle.clone();
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(door, handle.clone(), request));
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(door: Door, handle: Handle, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match (door, request.method(), request.uri().path()) {
        (_, method, _) if method != Method::GET && method != Method::HEAD => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET".to_owned()),
        (Door::Metrics, _, "/metrics") => match handle.metrics().await {
            Some(text) => (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
            None => (StatusCode::SERVICE_UNAVAILABLE, PLAIN, "the controller has stopped".to_owned()),
        },
        (Door::Probes, _, "/healthz") => (StatusCode::OK, PLAIN, "ok".to_owned()),
        (Door::Probes, _, "/readyz") if handle.is_ready() => (StatusCode::OK, PLAIN, "ok".to_owned()),
        (Door::Probes, _, "/readyz") => (StatusCode::INTERNAL_SERVER_ERROR, PLAIN, not_ready(&handle)),
        _ => (StatusCode::NOT_FOUND, PLAIN, "404 page not found".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    Ok(response)
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn not_ready(handle: &Handle) -> String {
    format!("not everything is listed and known yet: {}", handle.unsettled().join(", "))
}
