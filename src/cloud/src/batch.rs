//! Gathers equal calls for a moment and makes them as one. Source: `A/pkg/batcher/batcher.go`.

use crate::port::CloudError;
use crate::telling::{Report, tell};
use crate::wire::client::lock;
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// When a batch is closed.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The batcher's name in metrics.
    pub name: &'static str,
    /// Nothing came for so long.
    pub idle: Duration,
    /// The first call has waited for so long.
    pub longest: Duration,
    /// So many calls wait.
    pub most: usize,
}

/// Makes one call for all inputs of a bucket; one result per input, in order.
type Execute<I, O> = Arc<dyn Fn(Vec<I>) -> BoxFuture<'static, Vec<Result<O, CloudError>>> + Send + Sync>;

pub struct Batcher<I, O> {
    shared: Arc<Shared<I, O>>,
}

struct Shared<I, O> {
    window: Window,
    execute: Execute<I, O>,
    waiting: Mutex<Waiting<I, O>>,
    full: Notify,
}

struct Waiting<I, O> {
    open: bool,
    last: Instant,
    requests: Vec<Request<I, O>>,
}

struct Request<I, O> {
    bucket: String,
    input: I,
    answer: oneshot::Sender<Share<O>>,
}

/// One caller's share, with what the first of a batch is to tell.
type Share<O> = (Result<O, CloudError>, Vec<Report>);

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    pub fn new<F>(window: Window, execute: F) -> Self
    where
        F: Fn(Vec<I>) -> BoxFuture<'static, Vec<Result<O, CloudError>>> + Send + Sync + 'static,
    {
        let waiting = Mutex::new(Waiting { open: false, last: Instant::now(), requests: Vec::new() });
        Batcher { shared: Arc::new(Shared { window, execute: Arc::new(execute), waiting, full: Notify::new() }) }
    }

    /// Joins the batch of `bucket` and waits for its own share of the answer. Must be called inside a tokio runtime.
    pub async fn add(&self, bucket: String, input: I) -> Result<O, CloudError> {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = lock(&self.shared.waiting);
            waiting.last = Instant::now();
            waiting.requests.push(Request { bucket, input, answer });
            if !waiting.open {
                waiting.open = true;
                tokio::spawn(gather(self.shared.clone()));
            }
            if waiting.requests.len() >= self.shared.window.most {
                self.shared.full.notify_one();
            }
        }
        let (share, reports) = answered.await.unwrap_or_else(|_| (Err(unanswered()), Vec::new()));
        reports.into_iter().for_each(tell);
        share
    }
}

/// Waits until the window closes, then hands each bucket to a task of its own, in order of arrival.
async fn gather<I: Send + 'static, O: Send + 'static>(shared: Arc<Shared<I, O>>) {
    let start = Instant::now();
    loop {
        let close = {
            let mut waiting = lock(&shared.waiting);
            let close = (waiting.last + shared.window.idle).min(start + shared.window.longest);
            if Instant::now() >= close || waiting.requests.len() >= shared.window.most {
                waiting.open = false;
                let requests = std::mem::take(&mut waiting.requests);
                drop(waiting);
                dispatch(&shared, requests, start.elapsed());
                return;
            }
            close
        };
        tokio::select! {
            biased;
            () = shared.full.notified() => {}
            () = tokio::time::sleep_until(close) => {}
        }
    }
}

fn dispatch<I: Send + 'static, O: Send + 'static>(shared: &Arc<Shared<I, O>>, requests: Vec<Request<I, O>>, open: Duration) {
    let batcher = shared.window.name;
    let mut window = Some(Report::BatchWindow { batcher, open });
    let mut buckets: indexmap::IndexMap<String, Vec<Request<I, O>>> = indexmap::IndexMap::new();
    for request in requests {
        buckets.entry(request.bucket.clone()).or_default().push(request);
    }
    for requests in buckets.into_values() {
        let execute = shared.execute.clone();
        let mut reports: Vec<Report> = window.take().into_iter().collect();
        reports.push(Report::Batch { batcher, size: requests.len() });
        tokio::spawn(async move {
            let (inputs, answers): (Vec<I>, Vec<_>) = requests.into_iter().map(|request| (request.input, request.answer)).unzip();
            let mut results = execute(inputs).await.into_iter();
            for answer in answers {
                // A caller that went away does not want its share any more.
                let share = results.next().unwrap_or_else(|| Err(unanswered()));
                let _ = answer.send((share, std::mem::take(&mut reports)));
            }
        });
    }
}

fn unanswered() -> CloudError {
    CloudError {
        operation: "batch".to_owned(),
        code: "NoAnswer".to_owned(),
        message: "error making call".to_owned(),
        status: 0,
        request_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Sizes = Arc<Mutex<Vec<(usize, Duration)>>>;

    fn counting(window: Window) -> (Arc<Batcher<u32, u32>>, Sizes, Instant) {
        let (sizes, start) = (Sizes::default(), Instant::now());
        let log = sizes.clone();
        let batcher = Batcher::new(window, move |inputs: Vec<u32>| {
            lock(&log).push((inputs.len(), start.elapsed()));
            Box::pin(async move { inputs.into_iter().map(|input| Ok(input * 10)).collect() })
        });
        (Arc::new(batcher), sizes, start)
    }

    const FLEET: Window = Window { name: "create_fleet", idle: Duration::from_millis(35), longest: Duration::from_secs(1), most: 1_000 };

    #[tokio::test(start_paused = true)]
    async fn equal_inputs_within_the_window_become_one_call() {
        let (batcher, sizes, _) = counting(FLEET);
        let calls = (0..5).map(|n| {
            let batcher = batcher.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(n * 30)).await;
                batcher.add(if n == 4 { "b" } else { "a" }.to_owned(), n as u32).await
            }
        });
        let answers = futures::future::join_all(calls).await;
        assert_eq!(answers.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 10, 20, 30, 40]);
        let closed = Duration::from_millis(4 * 30 + 35);
        assert_eq!(*lock(&sizes), [(4, closed), (1, closed)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_batch_tells_of_it() {
        let (batcher, _, _) = counting(FLEET);
        let calls = ["a", "a", "b"].map(|bucket| crate::telling::listen(batcher.add(bucket.to_owned(), 1)));
        let told: Vec<Vec<Report>> = futures::future::join_all(calls).await.into_iter().map(|(_, told)| told).collect();
        let batch = |size| Report::Batch { batcher: "create_fleet", size };
        let window = Report::BatchWindow { batcher: "create_fleet", open: Duration::from_millis(35) };
        assert_eq!(told, [vec![window, batch(2)], vec![], vec![batch(1)]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_never_outlasts_its_bound_and_closes_when_full() {
        let (batcher, sizes, _) = counting(FLEET);
        let calls = (0..40).map(|n| {
            let batcher = batcher.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(n * 30)).await;
                batcher.add("a".to_owned(), 1).await
            }
        });
        futures::future::join_all(calls).await;
        assert_eq!(lock(&sizes)[0], (34, Duration::from_secs(1)));

        let (batcher, sizes, _) = counting(Window { most: 3, ..FLEET });
        futures::future::join_all((0..3).map(|_| batcher.add("a".to_owned(), 1))).await;
        assert_eq!(*lock(&sizes), [(3, Duration::ZERO)]);
    }
}
