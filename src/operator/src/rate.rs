//! How many requests the API server gets: `KUBE_CLIENT_QPS` a second, `KUBE_CLIENT_BURST` at once.
//!
//! Source: client-go's `util/flowcontrol` (a token bucket) and `rest/request.go`: watches are not held back.

use futures::future::BoxFuture;
use http::Request;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tower::{Layer, Service};

/// Tokens come back at `qps`, up to `burst`; who finds none waits for its own.
#[derive(Debug)]
struct Bucket {
    qps: f64,
    burst: f64,
    /// As of `at`; below zero where tokens are promised already.
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// How long to wait before the request may go.
    fn take(&mut self, now: Instant) -> Duration {
        self.tokens = (self.tokens + now.duration_since(self.at).as_secs_f64() * self.qps).min(self.burst) - 1.0;
        self.at = now;
        Duration::from_secs_f64((-self.tokens).max(0.0) / self.qps)
    }
}

/// Holds requests back.
#[derive(Clone, Debug)]
pub struct Rate(Arc<Mutex<Bucket>>);

impl Rate {
    /// `None` where nothing is held back: a negative rate, as client-go takes it.
    pub fn new(qps: i64, burst: i64) -> Option<Self> {
        let number = |given: i64| u32::try_from(given).ok().map(f64::from);
        // Zero is client-go's own default: 5 a second, 10 at once.
        let qps = if qps == 0 { 5.0 } else { number(qps)? };
        let burst = if burst == 0 { 10.0 } else { number(burst).unwrap_or(0.0) };
        Some(Rate(Arc::new(Mutex::new(Bucket { qps, burst, tokens: burst, at: Instant::now() }))))
    }

    /// How long the next request has to wait.
    fn take(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }
}

impl<S> Layer<S> for Rate {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { rate: self.clone(), inner }
    }
}

#[derive(Clone, Debug)]
pub struct Limited<S> {
    rate: Rate,
    inner: S,
}

fn is_watch<B>(request: &Request<B>) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1"))
}

impl<S, B> Service<Request<B>> for Limited<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let wait = if is_watch(&request) { Duration::ZERO } else { self.rate.take() };
        // Nothing is sent before it is polled.
        let answer = self.inner.call(request);
        Box::pin(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            answer.await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tower::{ServiceExt, service_fn};

    /// When each of these requests got through, in milliseconds.
    async fn through(rate: Option<Rate>, queries: &[&str]) -> Vec<u128> {
        let start = Instant::now();
        let server = service_fn(move |_: Request<()>| async move { Ok::<_, Infallible>(start.elapsed().as_millis()) });
        let ask = |query: &&str| Request::get(format!("http://server/api/v1/pods{query}")).body(()).expect("a request");
        let requests = queries.iter().map(ask);
        match rate {
            Some(rate) => {
                let limited = rate.layer(server);
                futures::future::join_all(requests.map(|request| limited.clone().oneshot(request))).await
            }
            None => futures::future::join_all(requests.map(|request| server.oneshot(request))).await,
        }
        .into_iter()
        .map(|answer| answer.expect("infallible"))
        .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_through_and_the_rest_at_the_rate() {
        assert_eq!(through(Rate::new(10, 2), &[""; 5]).await, [0, 0, 100, 200, 300]);
    }

    #[tokio::test(start_paused = true)]
    async fn watches_do_not_wait() {
        assert_eq!(through(Rate::new(10, 1), &["", "?watch=true", "", "?limit=5&watch=1"]).await, [0, 0, 100, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_negative_rate_holds_nothing_back() {
        assert_eq!(through(Rate::new(-1, 1), &[""; 3]).await, [0, 0, 0]);
        assert_eq!(through(Rate::new(0, 0), &[""; 12]).await[10..], [200, 400], "client-go's own defaults");
    }
}
