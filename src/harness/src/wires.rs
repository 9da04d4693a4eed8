//! Thin adapters from a [`Line`] to what talks over it: a tower service for Kubernetes clients, an HTTP client for AWS's SDK
//! runtime, an HTTP server for everybody else.

use crate::pump::{Ended, Fake, Line, ReplyBody, Request, Response};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A fake as a tower service, for `kube::Client::new`.
pub struct KubeService<F: Fake> {
    line: Line<F>,
    /// The `User-Agent`, so that a tap can tell who asks.
    agent: Option<&'static str>,
}

impl<F: Fake> KubeService<F> {
    pub fn client(line: Line<F>) -> kube::Client {
        kube::Client::new(KubeService { line, agent: None }, "default")
    }

    /// The same, under a name.
    pub fn client_of(line: Line<F>, agent: &'static str) -> kube::Client {
        kube::Client::new(KubeService { line, agent: Some(agent) }, "default")
    }
}

impl<F: Fake> Clone for KubeService<F> {
    fn clone(&self) -> Self {
        KubeService { line: self.line.clone(), agent: self.agent }
    }
}

impl<F: Fake> tower::Service<http::Request<kube::client::Body>> for KubeService<F> {
    type Response = http::Response<ReplyBody>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<kube::client::Body>) -> Self::Future {
        let (line, agent) = (self.line.clone(), self.agent);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            if let Some(agent) = agent {
                parts.headers.insert(http::header::USER_AGENT, http::HeaderValue::from_static(agent));
            }
            let body = body.collect().await?.to_bytes();
            Ok(line.call(http::Request::from_parts(parts, body)).await?)
        })
    }
}

/// A fake as the HTTP client of AWS's SDK runtime.
pub fn aws_client<F: Fake>(line: Line<F>) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(AwsConnector { line });
    http_client_fn(move |_, _| connector.clone())
}

struct AwsConnector<F: Fake> {
    line: Line<F>,
}

impl<F: Fake> std::fmt::Debug for AwsConnector<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AwsConnector")
    }
}

impl<F: Fake> HttpConnector for AwsConnector<F> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let line = self.line.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            let reply = line.call(http::Request::from_parts(parts, body)).await.map_err(|error| ConnectorError::io(error.into()))?;
            let (parts, body) = reply.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            HttpResponse::try_from(http::Response::from_parts(parts, SdkBody::from(body)))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// The largest request that a server reads.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// How long a request's body may take: a peer that sends nothing more must not hold what it has sent for ever.
const BODY_WAIT: Duration = Duration::from_secs(20);

/// How long a request's head may take from the first moment that a server waits for it. A connection on which nothing comes ends then, too:
/// clients of AWS keep theirs no longer, and open another.
const HEAD_WAIT: Duration = Duration::from_secs(30);

/// How many connections are open at a time; others wait in the listener's queue. Below the 1,024 files that a process may have by default.
const MOST_CONNECTIONS: usize = 900;

/// The largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Bodies above this many bytes …
const LARGE_BODY: usize = 64 << 10;
/// … are read so many at a time; others wait, and their time counts.
const MOST_LARGE_BODIES: usize = 32;

/// Serves a fake over HTTP/1 until the task is dropped.
pub async fn serve<F: Fake>(listener: TcpListener, line: Line<F>) -> std::io::Result<()> {
    serve_beside(listener, line, |_, request| Err::<std::future::Ready<Response>, _>(Box::new(request))).await
}

/// The same; `beside` may answer a request itself, or gives it back for the fake. What peers can hold is bounded: connections, heads, bodies,
/// and the time for each.
pub async fn serve_beside<F: Fake, A>(
    listener: TcpListener,
    line: Line<F>,
    beside: impl Fn(Line<F>, Request) -> Result<A, Box<Request>> + Clone + Send + 'static,
) -> std::io::Result<()>
where
    A: Future<Output = Response> + Send + 'static,
{
    let (seats, large) = (Arc::new(Semaphore::new(MOST_CONNECTIONS)), Arc::new(Semaphore::new(MOST_LARGE_BODIES)));
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else {
            // No file left for it, or its peer has gone already: the listener itself is well.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (line, beside, large) = (line.clone(), beside.clone(), Arc::clone(&large));
        let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            answer(line.clone(), beside.clone(), Some(Arc::clone(&large)), request)
        });
        let mut server = hyper::server::conn::http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).max_buf_size(MAX_HEAD_BYTES);
        tokio::spawn(async move {
            // A peer that breaks its connection is no event for the server.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(seat);
        });
    }
}

/// Serves one connection, plain or TLS, until its peer ends it.
pub async fn connection<F: Fake, A>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    line: Line<F>,
    beside: impl Fn(Line<F>, Request) -> Result<A, Box<Request>> + Clone + Send + 'static,
) where
    A: Future<Output = Response> + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        answer(line.clone(), beside.clone(), None, request)
    });
    let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    server.http1().keep_alive(true);
    // A peer that breaks its connection is no event for the server.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// A whole body, or why it did not come. Of large ones only so many are read at a time, if that is bounded.
async fn read(mut body: hyper::body::Incoming, large: Option<Arc<Semaphore>>) -> Result<Bytes, &'static str> {
    let (mut whole, mut seat) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| "cut")?.into_data() else { continue };
        if whole.len() + data.len() > MAX_REQUEST_BYTES {
            return Err("too-large");
        }
        if let Some(large) = large.as_ref().filter(|_| seat.is_none() && whole.len() + data.len() > LARGE_BODY) {
            seat = Arc::clone(large).acquire_owned().await.ok();
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

async fn answer<F: Fake, A: Future<Output = Response>>(
    line: Line<F>,
    beside: impl Fn(Line<F>, Request) -> Result<A, Box<Request>>,
    large: Option<Arc<Semaphore>>,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<ReplyBody>, Ended> {
    let (mut parts, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_WAIT, read(body, large)).await.unwrap_or(Err("slow"));
    parts.headers.remove(fake_ec2::cloud::UNREADABLE);
    // A body that did not come: let the fake say it in its own protocol.
    let body = read.unwrap_or_else(|why| {
        parts.headers.insert(fake_ec2::cloud::UNREADABLE, http::HeaderValue::from_static(why));
        Bytes::new()
    });
    match beside(line.clone(), http::Request::from_parts(parts, body)) {
        Ok(answered) => Ok(answered.await.map(ReplyBody::whole)),
        Err(request) => line.for_peers().call(*request).await,
    }
}

/// Binds a loopback address and says where.
pub async fn listen(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Takes as long for a nearly right token as for a wrong one.
pub fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
