//! The embedded Kubernetes under a `kube::Client`, driven by one task.

use ambient::Clock;
use bytes::Bytes;
use fake_kube::{Config, Kube, Out, Ticket};
use http_body_util::{BodyExt, StreamBody};
use std::collections::BTreeMap;
use std::convert::Infallible;
use tokio::sync::{mpsc, oneshot};

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;
type Ask = (http::Request<Bytes>, oneshot::Sender<http::Response<Body>>);

pub fn start(clock: Clock) -> kube::Client {
    let mut fake = Kube::new(Config { start: clock.now(), seed: 1, ..Config::default() });
    for definition in api::crds::all() {
        fake.install_crd(clock.now(), &definition.to_string()).expect("a definition");
    }
    for controller in fake_kube::controllers::all(1) {
        fake.add_controller(controller);
    }
    let (asks, mail) = mpsc::unbounded_channel::<Ask>();
    tokio::spawn(pump(fake, clock, mail));
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let asks = asks.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let (sender, receiver) = oneshot::channel();
            let gone = || Box::<dyn std::error::Error + Send + Sync>::from("the server has ended");
            asks.send((http::Request::from_parts(parts, body), sender)).map_err(|_| gone())?;
            receiver.await.map_err(|_| gone())
        }
    });
    kube::Client::new(service, "default")
}

enum Waiting {
    Head(oneshot::Sender<http::Response<Body>>),
    Stream(mpsc::UnboundedSender<Bytes>),
}

async fn pump(mut fake: Kube, clock: Clock, mut mail: mpsc::UnboundedReceiver<Ask>) {
    let mut waiting: BTreeMap<Ticket, Waiting> = BTreeMap::new();
    loop {
        let due = fake.next_due();
        tokio::select! {
            biased;
            ask = mail.recv() => {
                let Some((request, sender)) = ask else { return };
                waiting.insert(fake.submit(clock.now(), request), Waiting::Head(sender));
            }
            () = async { match due { Some(at) => clock.sleep_until(at).await, None => std::future::pending().await } } => {}
        }
        for out in fake.advance(clock.now()) {
            match out {
                Out::Reply(ticket, response) => {
                    if let Some(Waiting::Head(sender)) = waiting.remove(&ticket) {
                        let _ = sender.send(response.map(|body| http_body_util::Full::new(body).boxed_unsync()));
                    }
                }
                Out::Head(ticket, parts) => {
                    let (chunks, receiver) = mpsc::unbounded_channel::<Bytes>();
                    let frames = futures::stream::unfold(receiver, |mut receiver| async move {
                        let chunk = receiver.recv().await?;
                        Some((Ok::<_, Infallible>(http_body::Frame::data(chunk)), receiver))
                    });
                    if let Some(Waiting::Head(sender)) = waiting.insert(ticket, Waiting::Stream(chunks)) {
                        let _ = sender.send(http::Response::from_parts(parts, StreamBody::new(frames).boxed_unsync()));
                    }
                }
                Out::Chunk(ticket, chunk) => {
                    if let Some(Waiting::Stream(stream)) = waiting.get(&ticket)
                        && stream.send(chunk).is_err()
                    {
                        waiting.remove(&ticket);
                        fake.cancel(clock.now(), ticket);
                    }
                }
                Out::End(ticket) => {
                    waiting.remove(&ticket);
                }
            }
        }
    }
}
