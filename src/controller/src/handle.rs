//! What others may ask of a running controller, and tell it.

use jiff::Timestamp;
use planner::Plan;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, oneshot};

#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub unsettled: Mutex<Vec<String>>,
    pub upcoming: Mutex<Arc<Vec<(Timestamp, String)>>>,
    pub mail: AtomicUsize,
    pub stop: Notify,
    /// What is under way is to be finished before.
    pub finishing: AtomicBool,
    /// Everything is listed.
    pub ready: AtomicBool,
    /// Those who want to know what would be planned now.
    pub asking: Mutex<Vec<oneshot::Sender<Plan>>>,
    /// Those who want to read the metrics.
    pub reading: Mutex<Vec<oneshot::Sender<String>>>,
    pub asked: Notify,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// In words, what could still move by itself. Empty: nothing is under way; polls, resyncs and heartbeats do not count.
    pub fn unsettled(&self) -> Vec<String> {
        let mut list = self.shared.unsettled.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mail = self.shared.mail.load(Ordering::Relaxed);
        if mail > 0 {
            list.push(format!("{mail} changes and replies are not read yet"));
        }
        list
    }

    /// What will come by itself when nothing else happens before, and when: NodeClaims that become Consolidatable.
    pub fn upcoming(&self) -> Vec<(Timestamp, String)> {
        self.shared.upcoming.lock().unwrap_or_else(PoisonError::into_inner).to_vec()
    }

    /// What would be planned for the cluster as it is now; nothing comes of it. `None` while that cannot be said: not everything is
    /// listed, a NodeClaim is without a machine, or the controller has stopped.
    pub async fn dry_plan(&self) -> Option<Plan> {
        let (sender, receiver) = oneshot::channel();
        self.shared.asking.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        self.shared.asked.notify_one();
        receiver.await.ok()
    }

    /// The metrics as they are now, in Prometheus' text. `None` when the controller has stopped.
    pub async fn metrics(&self) -> Option<String> {
        let (sender, receiver) = oneshot::channel();
        self.shared.reading.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        self.shared.asked.notify_one();
        receiver.await.ok()
    }

    /// Ends [`crate::Controller::run`] after the present decision; effects in flight are dropped.
    pub fn stop(&self) {
        self.shared.stop.notify_one();
    }

    /// The same once the effects in flight have ended, and what follows from their replies: no machine is launched and forgotten.
    pub fn finish(&self) {
        self.shared.finishing.store(true, Ordering::Relaxed);
        self.shared.stop.notify_one();
    }

    /// Whether every kind of object has been listed, as a readiness probe asks.
    pub fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Relaxed)
    }
}

impl Shared {
    pub fn publish(&self, list: Vec<String>, upcoming: &Arc<Vec<(Timestamp, String)>>) {
        *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner) = list;
        self.upcoming.lock().unwrap_or_else(PoisonError::into_inner).clone_from(upcoming);
    }
}
