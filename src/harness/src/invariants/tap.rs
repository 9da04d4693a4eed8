//! Listens on a wire for what the rules ask of requests, and hands everything on to the tap of the trace.

use super::quiet;
use super::{Rule, Watch};
use crate::observe::Observer;
use crate::pump::{Request, Tap};
use crate::trace::Wire;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The `User-Agent` of the built-in controller on the embedded Kubernetes.
pub const CONTROLLER: &str = "karpenter";

/// A tap for a wire.
pub fn tap(observer: Observer, wire: Wire, inner: Box<dyn Tap>) -> Box<dyn Tap> {
    Box::new(Listener { observer, wire, inner, removals: BTreeMap::new() })
}

struct Listener {
    observer: Observer,
    wire: Wire,
    inner: Box<dyn Tap>,
    /// Evictions and deletions of pods without a reply.
    removals: BTreeMap<u64, (String, String)>,
}

impl Tap for Listener {
    fn request(&mut self, now: Timestamp, number: u64, request: &Request) {
        let written = match self.wire {
            Wire::Aws => std::str::from_utf8(request.body()).ok().and_then(quiet::of_aws).map(str::to_owned),
            Wire::Kubernetes if from_controller(request) => {
                if let Some((pod, verb)) = removal(request) {
                    self.observer.lock().watch.evictions.ask(pod.clone(), verb);
                    self.removals.insert(number, pod);
                }
                quiet::of_kubernetes(request.method().as_str(), request.uri().path(), request.body(), now)
            }
            Wire::Kubernetes => None,
        };
        if let Some(what) = written {
            self.observer.lock().watch.wrote(now, what);
        }
        self.inner.request(now, number, request);
    }

    fn reply(&mut self, now: Timestamp, number: u64, status: u16, body: &[u8]) {
        if let Some(pod) = self.removals.remove(&number)
            && status >= 400
        {
            self.observer.lock().watch.evictions.refused(&pod);
        }
        if self.wire == Wire::Aws && body.windows(ICE.len()).any(|word| word == ICE) {
            self.observer.lock().watch.last_refusal = Some(now);
        }
        self.inner.reply(now, number, status, body);
    }

    fn chunk(&mut self, now: Timestamp, number: u64, body: &[u8]) {
        self.inner.chunk(now, number, body);
    }
}

const ICE: &[u8] = b"InsufficientInstanceCapacity";

/// Ours says `karpenter`, upstream `karpenter/VERSION` (`C/pkg/operator/operator.go`).
fn from_controller(request: &Request) -> bool {
    let agent = request.headers().get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.is_some_and(|agent| agent.split('/').next() == Some(CONTROLLER))
}

/// The pod that a request evicts or deletes.
fn removal(request: &Request) -> Option<((String, String), &'static str)> {
    let rest = request.uri().path().strip_prefix("/api/v1/namespaces/")?;
    let mut parts = rest.split('/');
    let (namespace, pods, name, sub) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
    let verb = match (request.method().as_str(), pods, sub) {
        ("POST", "pods", Some("eviction")) => "evicted",
        ("DELETE", "pods", None) => "deleted",
        _ => return None,
    };
    Some(((namespace.to_owned(), name.to_owned()), verb))
}

impl Watch {
    /// The controller writes to a Node, a NodeClaim or an instance.
    fn wrote(&mut self, now: Timestamp, what: String) {
        if self.quiet.armed {
            self.broke(Rule::Quiet, now, [format!("nothing is to be done, and the controller writes: {what}")]);
        }
    }
}
