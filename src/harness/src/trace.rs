//! The trace: every request and reply on both wires, every decision, every change of what matters in the cluster, in order, with the
//! time of the run.
//!
//! One JSON object a line. Bodies beyond [`WHOLE`] bytes are digests. The same seed gives the same bytes.

use crate::explain::seen::Sights;
use crate::pump::{Request, Tap};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

/// Bodies up to this size are traced whole.
const WHOLE: usize = 600;
/// What a controller asks of AWS is the evidence: kept whole up to this size.
const WHOLE_REQUEST: usize = 32 << 10;

/// Collects what happens; cheap to clone.
#[derive(Clone)]
pub struct Trace {
    shared: Arc<Mutex<Shared>>,
    start: Timestamp,
}

struct Shared {
    lines: Option<Vec<String>>,
    calls: BTreeMap<String, u64>,
    denied: BTreeMap<String, u64>,
    aws_operations: BTreeMap<u64, String>,
    sights: Sights,
}

impl Trace {
    /// Keeps lines only when somebody wants them; calls are always counted.
    pub fn new(start: Timestamp, keep: bool) -> Self {
        let lines = keep.then(Vec::new);
        let shared =
            Shared { lines, calls: BTreeMap::new(), denied: BTreeMap::new(), aws_operations: BTreeMap::new(), sights: Sights::default() };
        Trace { shared: Arc::new(Mutex::new(shared)), start }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Seconds since the run began.
    pub fn at(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(self.start)
    }

    pub fn record(&self, now: Timestamp, what: &str, value: impl FnOnce() -> Value) {
        let at = self.at(now);
        let mut shared = self.lock();
        if let Some(lines) = &mut shared.lines {
            lines.push(json!({"t": format!("{:.3}", at.as_secs_f64()), "what": what, "of": value()}).to_string());
        }
    }

    /// What a chunk of a watch tells of pods, nodes and what holds them, each change once.
    fn see(&self, now: Timestamp, chunk: &[u8]) {
        let seen = {
            let mut shared = self.lock();
            if shared.lines.is_some() { shared.sights.see(chunk) } else { Vec::new() }
        };
        for change in seen {
            self.record(now, "seen", || change);
        }
    }

    /// AWS calls so far by operation.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.lock().calls.clone()
    }

    /// AWS calls so far that were denied, by operation.
    pub fn denied(&self) -> BTreeMap<String, u64> {
        self.lock().denied.clone()
    }

    /// The whole trace, a line each.
    pub fn text(&self) -> String {
        self.lock().lines.iter().flatten().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        })
    }

    pub fn tap(&self, wire: Wire) -> Box<dyn Tap> {
        Box::new(WireTap { trace: self.clone(), wire })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Kubernetes,
    Aws,
}

struct WireTap {
    trace: Trace,
    wire: Wire,
}

impl WireTap {
    fn name(&self) -> &'static str {
        match self.wire {
            Wire::Kubernetes => "kubernetes",
            Wire::Aws => "aws",
        }
    }
}

impl Tap for WireTap {
    fn request(&mut self, now: Timestamp, number: u64, request: &Request) {
        let operation = (self.wire == Wire::Aws).then(|| operation(request));
        if let Some(operation) = &operation {
            let mut shared = self.trace.lock();
            *shared.calls.entry(operation.clone()).or_insert(0) += 1;
            shared.aws_operations.insert(number, operation.clone());
        }
        let name = self.name();
        self.trace.record(now, &format!("{name} request"), || {
            let target = request.uri().path_and_query().map_or("/", |p| p.as_str());
            json!({"n": number, "operation": operation, "method": request.method().as_str(), "target": target, "body": body(request.body(), if self.wire == Wire::Aws { WHOLE_REQUEST } else { WHOLE })})
        });
    }

    fn reply(&mut self, now: Timestamp, number: u64, status: u16, bytes: &[u8]) {
        if self.wire == Wire::Aws {
            let mut shared = self.trace.lock();
            // JSON protocols answer 400, and REST-JSON has the code in a header only.
            let words = [&b"UnauthorizedOperation"[..], b"AccessDenied", b"is not authorized to perform"];
            let denied = matches!(status, 400 | 403) && words.iter().any(|word| bytes.windows(word.len()).any(|w| w == *word));
            let operation = shared.aws_operations.remove(&number);
            if let Some(operation) = operation.filter(|_| denied) {
                *shared.denied.entry(operation).or_insert(0) += 1;
            }
        }
        self.trace.record(now, &format!("{} reply", self.name()), || json!({"n": number, "status": status, "body": body(bytes, WHOLE)}));
    }

    fn chunk(&mut self, now: Timestamp, number: u64, bytes: &[u8]) {
        self.trace.record(now, &format!("{} event", self.name()), || json!({"n": number, "body": body(bytes, WHOLE)}));
        if self.wire == Wire::Kubernetes {
            self.trace.see(now, bytes);
        }
    }
}

/// The operation of an AWS request: `Action`, the target header, or method and path.
fn operation(request: &Request) -> String {
    if let Some(target) = request.headers().get("x-amz-target").and_then(|v| v.to_str().ok()) {
        return target.rsplit('.').next().unwrap_or(target).to_owned();
    }
    let action = |text: &str| text.split('&').find_map(|pair| pair.strip_prefix("Action=")).map(str::to_owned);
    let from_body = std::str::from_utf8(&request.body()[..request.body().len().min(256)]).ok().and_then(action);
    from_body.or_else(|| request.uri().query().and_then(action)).unwrap_or_else(|| format!("{} {}", request.method(), request.uri().path()))
}

fn body(bytes: &[u8], whole: usize) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= whole => Value::String(text.to_owned()),
        _ => json!({"bytes": bytes.len(), "sha256": hex(&Sha256::digest(bytes))}),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
