//! The pump: one task owns a fake, feeds it requests, and wakes it when something is due.
//!
//! Only tokio's clock moves time. Under a paused runtime, time moves when every task waits for it, so a fake must never be
//! reached through a socket there: [`Line`] hands requests over in memory.

use ambient::Clock;
use bytes::Bytes;
use http::response::Parts;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};

pub type Request = http::Request<Bytes>;
pub type Response = http::Response<Bytes>;

/// The shape that every fake has; each fake has its own types, this is where they meet.
pub trait Fake: Send + 'static {
    type Ticket: Copy + Ord + Send + 'static;
    fn submit(&mut self, now: Timestamp, request: Request) -> Self::Ticket;
    fn cancel(&mut self, now: Timestamp, ticket: Self::Ticket);
    fn next_due(&self) -> Option<Timestamp>;
    fn advance(&mut self, now: Timestamp) -> Vec<Out<Self::Ticket>>;
    fn unsettled(&self) -> Vec<String>;
}

pub enum Out<T> {
    Reply(T, Response),
    Head(T, Parts),
    Chunk(T, Bytes),
    End(T),
}

/// What happens on a wire, for those who watch it.
pub trait Tap: Send {
    fn request(&mut self, now: Timestamp, number: u64, request: &Request);
    fn reply(&mut self, now: Timestamp, number: u64, status: u16, body: &[u8]);
    fn chunk(&mut self, now: Timestamp, number: u64, body: &[u8]);
}

/// Looks at a fake between two of its steps.
type Visit<F> = Box<dyn FnOnce(&mut F, Timestamp) + Send>;

#[expect(clippy::large_enum_variant, reason = "nearly all are requests, the largest")]
enum Command<F: Fake> {
    Submit(Request, oneshot::Sender<http::Response<ReplyBody>>),
    Visit(Visit<F>),
    Gone(F::Ticket),
}

/// A line to a fake. Cheap to clone.
pub struct Line<F: Fake> {
    commands: mpsc::UnboundedSender<Command<F>>,
}

impl<F: Fake> Clone for Line<F> {
    fn clone(&self) -> Self {
        Line { commands: self.commands.clone() }
    }
}

/// The fake's world has ended.
#[derive(Debug, thiserror::Error)]
#[error("the fake behind this line has ended")]
pub struct Ended;

impl<F: Fake> Line<F> {
    /// Sends a request and waits for the head of its reply.
    pub async fn call(&self, request: Request) -> Result<http::Response<ReplyBody>, Ended> {
        let (sender, receiver) = oneshot::channel();
        self.commands.send(Command::Submit(request, sender)).map_err(|_| Ended)?;
        receiver.await.map_err(|_| Ended)
    }

    /// Looks at the fake, or changes it, between two of its steps.
    pub async fn visit<R: Send + 'static>(&self, f: impl FnOnce(&mut F, Timestamp) -> R + Send + 'static) -> Result<R, Ended> {
        let (sender, receiver) = oneshot::channel();
        let visit = Command::Visit(Box::new(move |fake, now| {
            // The visitor may have gone; then nobody wants the answer.
            let _ = sender.send(f(fake, now));
        }));
        self.commands.send(visit).map_err(|_| Ended)?;
        receiver.await.map_err(|_| Ended)
    }
}

/// The body of a reply: whole, or as it comes.
pub struct ReplyBody {
    whole: Option<Bytes>,
    stream: Option<mpsc::UnboundedReceiver<Bytes>>,
    /// Told when the reader of a stream goes away.
    gone: Option<Box<dyn FnOnce() + Send>>,
}

impl ReplyBody {
    pub fn whole(body: Bytes) -> Self {
        ReplyBody { whole: Some(body), stream: None, gone: None }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        if let Some(tell) = self.gone.take() {
            tell();
        }
    }
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if let Some(body) = self.whole.take() {
            return Poll::Ready(if body.is_empty() { None } else { Some(Ok(http_body::Frame::data(body))) });
        }
        match &mut self.stream {
            Some(stream) => stream.poll_recv(context).map(|chunk| chunk.map(|bytes| Ok(http_body::Frame::data(bytes)))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none() && self.whole.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.whole {
            Some(body) => http_body::SizeHint::with_exact(body.len() as u64),
            None if self.stream.is_none() => http_body::SizeHint::with_exact(0),
            None => http_body::SizeHint::default(),
        }
    }
}

enum Waiting {
    Head(oneshot::Sender<http::Response<ReplyBody>>),
    Stream(mpsc::UnboundedSender<Bytes>),
}

struct Pump<F: Fake> {
    fake: F,
    clock: Clock,
    tap: Option<Box<dyn Tap>>,
    waiting: BTreeMap<F::Ticket, (u64, Waiting)>,
    requests: u64,
    commands: mpsc::WeakUnboundedSender<Command<F>>,
    after: Box<dyn FnMut(&F) + Send>,
}

/// Starts the task that owns `fake`; it ends when the last line is dropped. `after` sees the fake after each of its steps.
pub fn start<F: Fake>(fake: F, clock: Clock, tap: Option<Box<dyn Tap>>, after: impl FnMut(&F) + Send + 'static) -> Line<F> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let pump = Pump { fake, clock, tap, waiting: BTreeMap::new(), requests: 0, commands: sender.downgrade(), after: Box::new(after) };
    tokio::spawn(pump.run(receiver));
    Line { commands: sender }
}

impl<F: Fake> Pump<F> {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command<F>>) {
        loop {
            self.advance();
            (self.after)(&self.fake);
            let due = self.fake.next_due();
            let clock = self.clock.clone();
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => return,
                },
                () = async { match due { Some(due) => clock.sleep_until(due).await, None => std::future::pending().await } } => {}
            }
        }
    }

    fn take(&mut self, command: Command<F>) {
        let now = self.clock.now();
        match command {
            Command::Submit(request, reply) => {
                self.requests += 1;
                if let Some(tap) = &mut self.tap {
                    tap.request(now, self.requests, &request);
                }
                let ticket = self.fake.submit(now, request);
                self.waiting.insert(ticket, (self.requests, Waiting::Head(reply)));
            }
            Command::Visit(visit) => visit(&mut self.fake, now),
            Command::Gone(ticket) => {
                if self.waiting.remove(&ticket).is_some() {
                    self.fake.cancel(now, ticket);
                }
            }
        }
    }

    fn advance(&mut self) {
        loop {
            let now = self.clock.now();
            if self.fake.next_due().is_none_or(|due| due > now) {
                return;
            }
            for out in self.fake.advance(now) {
                self.deliver(now, out);
            }
        }
    }

    fn deliver(&mut self, now: Timestamp, out: Out<F::Ticket>) {
        match out {
            Out::Reply(ticket, response) => {
                let Some((number, Waiting::Head(sender))) = self.waiting.remove(&ticket) else { return };
                if let Some(tap) = &mut self.tap {
                    tap.reply(now, number, response.status().as_u16(), response.body());
                }
                // A caller that gave up does not want its answer any more.
                let _ = sender.send(response.map(ReplyBody::whole));
            }
            Out::Head(ticket, parts) => {
                let Some((number, Waiting::Head(sender))) = self.waiting.remove(&ticket) else { return };
                if let Some(tap) = &mut self.tap {
                    tap.reply(now, number, parts.status.as_u16(), b"");
                }
                let (chunks, stream) = mpsc::unbounded_channel();
                let commands = self.commands.clone();
                let gone = move || {
                    if let Some(commands) = commands.upgrade() {
                        let _ = commands.send(Command::Gone(ticket));
                    }
                };
                self.waiting.insert(ticket, (number, Waiting::Stream(chunks)));
                let body = ReplyBody { whole: None, stream: Some(stream), gone: Some(Box::new(gone)) };
                let _ = sender.send(http::Response::from_parts(parts, body));
            }
            Out::Chunk(ticket, bytes) => {
                let Some((number, Waiting::Stream(chunks))) = self.waiting.get(&ticket) else { return };
                if let Some(tap) = &mut self.tap {
                    tap.chunk(now, *number, &bytes);
                }
                let _ = chunks.send(bytes);
            }
            Out::End(ticket) => {
                self.waiting.remove(&ticket);
            }
        }
    }
}
