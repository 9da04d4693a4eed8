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
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    Submit(Request, oneshot::Sender<http::Response<ReplyBody>>, Reader),
    Visit(Visit<F>),
    Gone(F::Ticket),
}

/// Who reads a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// A task of this process, which reads whenever it runs.
    Here,
    /// A peer behind a socket, who may never read.
    Away,
}

/// So much of a stream waits for a peer at most, beside what it began with: then the stream ends, and the peer begins again, as with a
/// server whose watcher does not keep up (`k8s.io/apiserver/pkg/storage/cacher/cache_watcher.go`, forget).
const MOST_UNREAD: usize = 64 << 20;

/// A line to a fake. Cheap to clone.
pub struct Line<F: Fake> {
    commands: mpsc::UnboundedSender<Command<F>>,
    reader: Reader,
}

impl<F: Fake> Clone for Line<F> {
    fn clone(&self) -> Self {
        Line { commands: self.commands.clone(), reader: self.reader }
    }
}

/// The fake's world has ended.
#[derive(Debug, thiserror::Error)]
#[error("the fake behind this line has ended")]
pub struct Ended;

impl<F: Fake> Line<F> {
    /// The same line for a peer behind a socket: what it does not read is not kept without end.
    pub fn for_peers(self) -> Self {
        Line { reader: Reader::Away, ..self }
    }

    /// Sends a request and waits for the head of its reply.
    pub async fn call(&self, request: Request) -> Result<http::Response<ReplyBody>, Ended> {
        let (sender, receiver) = oneshot::channel();
        self.commands.send(Command::Submit(request, sender, self.reader)).map_err(|_| Ended)?;
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
    /// Bytes of the stream that nobody has taken yet.
    unread: Arc<AtomicUsize>,
    /// Told when the reader of a stream goes away.
    gone: Option<Box<dyn FnOnce() + Send>>,
}

impl ReplyBody {
    pub fn whole(body: Bytes) -> Self {
        ReplyBody { whole: Some(body), stream: None, unread: Arc::default(), gone: None }
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
            Some(stream) => {
                let chunk = stream.poll_recv(context);
                if let Poll::Ready(Some(bytes)) = &chunk {
                    self.unread.fetch_sub(bytes.len(), Ordering::Relaxed);
                }
                chunk.map(|chunk| chunk.map(|bytes| Ok(http_body::Frame::data(bytes))))
            }
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
    Head(oneshot::Sender<http::Response<ReplyBody>>, Reader),
    Stream(Stream),
}

struct Stream {
    chunks: mpsc::UnboundedSender<Bytes>,
    unread: Arc<AtomicUsize>,
    /// What may wait; none for a reader of this process.
    most: Option<usize>,
    /// What it begins with comes in the fake's first step, and may be as large as it is.
    beginning: bool,
}

impl Stream {
    /// False when too much waits already, or nobody reads any more.
    fn send(&mut self, bytes: Bytes) -> bool {
        let size = bytes.len();
        let waiting = self.unread.fetch_add(size, Ordering::Relaxed);
        if self.beginning {
            self.most = self.most.map(|most| most + size);
        }
        self.most.is_none_or(|most| waiting + size <= most) && self.chunks.send(bytes).is_ok()
    }
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
    Line { commands: sender, reader: Reader::Here }
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
            Command::Submit(request, reply, reader) => {
                self.requests += 1;
                if let Some(tap) = &mut self.tap {
                    tap.request(now, self.requests, &request);
                }
                let ticket = self.fake.submit(now, request);
                self.waiting.insert(ticket, (self.requests, Waiting::Head(reply, reader)));
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
            let mut begun = Vec::new();
            for out in self.fake.advance(now) {
                if let Out::Head(ticket, _) = &out {
                    begun.push(*ticket);
                }
                self.deliver(now, out);
            }
            for ticket in begun {
                if let Some((_, Waiting::Stream(stream))) = self.waiting.get_mut(&ticket) {
                    stream.beginning = false;
                }
            }
        }
    }

    fn deliver(&mut self, now: Timestamp, out: Out<F::Ticket>) {
        match out {
            Out::Reply(ticket, response) => {
                let Some((number, Waiting::Head(sender, _))) = self.waiting.remove(&ticket) else { return };
                if let Some(tap) = &mut self.tap {
                    tap.reply(now, number, response.status().as_u16(), response.body());
                }
                // A caller that gave up does not want its answer any more.
                let _ = sender.send(response.map(ReplyBody::whole));
            }
            Out::Head(ticket, parts) => {
                let Some((number, Waiting::Head(sender, reader))) = self.waiting.remove(&ticket) else { return };
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
                let unread: Arc<AtomicUsize> = Arc::default();
                let most = (reader == Reader::Away).then_some(MOST_UNREAD);
                let to = Stream { chunks, unread: unread.clone(), most, beginning: true };
                self.waiting.insert(ticket, (number, Waiting::Stream(to)));
                let body = ReplyBody { whole: None, stream: Some(stream), unread, gone: Some(Box::new(gone)) };
                let _ = sender.send(http::Response::from_parts(parts, body));
            }
            Out::Chunk(ticket, bytes) => {
                let Some((number, Waiting::Stream(stream))) = self.waiting.get_mut(&ticket) else { return };
                if let Some(tap) = &mut self.tap {
                    tap.chunk(now, *number, &bytes);
                }
                if !stream.send(bytes) {
                    self.waiting.remove(&ticket);
                    self.fake.cancel(now, ticket);
                }
            }
            Out::End(ticket) => {
                self.waiting.remove(&ticket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    /// Answers with a stream: `first` bytes, then a piece of a mebibyte for every visit.
    #[derive(Default)]
    struct Talker {
        asked: Option<u64>,
        headed: bool,
        first: usize,
        pieces: usize,
        cancelled: bool,
    }

    const PIECE: usize = 1 << 20;

    impl Fake for Talker {
        type Ticket = u64;

        fn submit(&mut self, _: Timestamp, _: Request) -> u64 {
            self.asked = Some(1);
            1
        }

        fn cancel(&mut self, _: Timestamp, _: u64) {
            self.cancelled = true;
        }

        fn next_due(&self) -> Option<Timestamp> {
            (self.asked.is_some() && !self.cancelled && (!self.headed || self.pieces > 0)).then_some(Timestamp::MIN)
        }

        fn advance(&mut self, _: Timestamp) -> Vec<Out<u64>> {
            if !self.headed {
                self.headed = true;
                let head = Response::new(Bytes::new()).into_parts().0;
                return vec![Out::Head(1, head), Out::Chunk(1, vec![0; self.first].into())];
            }
            self.pieces -= 1;
            vec![Out::Chunk(1, vec![0; PIECE].into())]
        }

        fn unsettled(&self) -> Vec<String> {
            Vec::new()
        }
    }

    /// How much a peer that reads nothing until all was said has of its stream, and whether the stream was ended.
    async fn heard(away: bool, first: usize, pieces: usize) -> (usize, bool) {
        let line = start(Talker { first, ..Talker::default() }, Clock::machine(), None, |_| {});
        let peer = if away { line.clone().for_peers() } else { line.clone() };
        let mut body = peer.call(Request::new(Bytes::new())).await.unwrap().into_body();
        line.visit(move |talker, _| talker.pieces = pieces).await.unwrap();
        let cancelled = line.visit(|talker, _| talker.cancelled).await.unwrap();
        let mut heard = 0;
        while heard < first + pieces * PIECE {
            match body.frame().await {
                Some(frame) => heard += frame.unwrap().into_data().map_or(0, |data| data.len()),
                None => break,
            }
        }
        (heard, cancelled)
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_loses_its_stream() {
        let (heard, ended) = heard(true, 100 * PIECE, 200).await;
        assert!(ended);
        assert_eq!(heard, 100 * PIECE + MOST_UNREAD, "what it began with, and so much more");
    }

    #[tokio::test]
    async fn a_task_of_this_process_hears_all() {
        assert_eq!(heard(false, 0, 200).await, (200 * PIECE, false));
    }
}
