//! What operators watch: upstream's metrics under upstream's names, in Prometheus' text.
//!
//! [`changes`] counts what happens to objects, [`calls`] what is asked of the cluster and the cloud and what a decision says is to be
//! counted, [`picture`] reads the gauges off the world when somebody asks. Counting costs a few map entries; nothing is formatted
//! until then.

mod calls;
mod changes;
mod exposition;
mod families;
mod picture;

pub use calls::Measure;
pub use changes::{Seen, awaited, of_node, seen};
pub use exposition::{Labels, Store};
pub use picture::Sight;

use changes::PodTimes;
use cluster::Key;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Everything that was counted since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    store: Store,
    /// Pods that were seen waiting and are not running yet.
    pods: BTreeMap<Key, PodTimes>,
    /// Since when plans cannot be made.
    unsynced: Option<Timestamp>,
}

/// The span in seconds, as a float.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
