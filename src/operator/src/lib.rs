//! The controller as a process of its own: settings under upstream's names, log lines, probes, metrics, and an end in good order.
//!
//! May touch: `controller` and what it is made from, Kubernetes' and AWS's clients, sockets, signals. Must never touch: the fakes, the
//! harness, decisions.
//!
//! Map: [`settings`] reads what upstream reads from its environment and flags; [`run`](run()) starts everything and waits for the end;
//! `serve` answers probes and scrapes; `lines` writes the log;
//! `rate` spares the API server.

mod lines;
mod rate;
mod run;
mod serve;
pub mod settings;

pub use run::{OperatorError, run};
pub use settings::{Mistake, Options, SETTINGS, Setting};

/// Karpenter's CustomResourceDefinitions as one List, for `kubectl apply -f -`.
pub fn definitions() -> serde_json::Value {
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": api::crds::all()})
}
