//! Who is scheduled next: by priority, then by time in the queue; after a failure only when a change makes it worth a try.
//!
//! Source: `backend/queue/{scheduling_queue,active_queue,backoff_queue}.go`, with queueing hints and, as by default since 1.33,
//! pods popped from the back-off queue when nothing else waits.

use crate::hints::{Event, worth_retry};
use crate::plugins::PluginSet;
use crate::pod::PodInfo;
use crate::view::ClusterView;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// `scheduling_queue.go`: DefaultPodInitialBackoffDuration, DefaultPodMaxBackoffDuration, DefaultPodMaxInUnschedulablePodsDuration and
/// the interval at which pods that waited that long are looked for.
pub const INITIAL_BACKOFF: SignedDuration = SignedDuration::from_secs(1);
pub const MAX_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
pub const MAX_UNSCHEDULABLE: SignedDuration = SignedDuration::from_mins(5);

/// A pod that waits, with the history of its attempts.
#[derive(Clone, Debug)]
pub struct QueuedPod {
    pub pod: Arc<PodInfo>,
    /// When it was added, or failed last.
    pub since: Timestamp,
    /// Attempts that ended with a rule's refusal.
    pub refusals: u32,
    /// Attempts in a row that ended with an error (a request that failed).
    pub errors: u32,
    /// The rules that refused it last time.
    pub by: PluginSet,
    /// Order of arrival, for pods of one priority and one instant.
    sequence: u64,
}

type Order = (std::cmp::Reverse<i32>, Timestamp, u64);

impl QueuedPod {
    fn order(&self) -> Order {
        (std::cmp::Reverse(self.pod.priority), self.since, self.sequence)
    }

    /// When its back-off ends: 1 s, doubled with each attempt, up to 10 s, cut to the whole second (`backoff_queue.go`, alignToWindow). None
    /// when it never failed.
    pub fn backoff_until(&self) -> Option<Timestamp> {
        let attempts = if self.errors > 0 { self.errors } else { self.refusals };
        let doublings = attempts.checked_sub(1)?;
        let wait = INITIAL_BACKOFF.as_secs().checked_shl(doublings.min(32)).unwrap_or(i64::MAX).min(MAX_BACKOFF.as_secs());
        Some(whole_second(self.since.saturating_add(SignedDuration::from_secs(wait)).unwrap_or(Timestamp::MAX)))
    }

    /// All whose back-off ends within one second come back together, when that second is over.
    fn back_at(&self) -> Option<Timestamp> {
        Some(self.backoff_until()?.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX))
    }

    fn backing_off(&self, now: Timestamp) -> bool {
        self.backoff_until().is_some_and(|until| until >= whole_second(now))
    }
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    Backoff,
    /// Refused; waits for a change.
    Unschedulable,
    /// Has scheduling gates.
    Gated,
}

/// Every pod that waits for a node, by `namespace/name`.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    pods: BTreeMap<String, (Place, QueuedPod)>,
    active: BTreeMap<Order, String>,
    sequence: u64,
}

impl Queue {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pod, or takes over its new form. A pod whose form changed in what scheduling sees is tried again.
    pub fn set(&mut self, pod: Arc<PodInfo>, changed: bool, now: Timestamp) {
        let key = pod.key();
        let gated = !pod.gates.is_empty();
        let Some((place, mut queued)) = self.take(&key) else {
            self.sequence += 1;
            let queued = QueuedPod { pod, since: now, refusals: 0, errors: 0, by: PluginSet::default(), sequence: self.sequence };
            self.put(key, if gated { Place::Gated } else { Place::Active }, queued);
            return;
        };
        queued.pod = pod;
        let place = match place {
            _ if gated => Place::Gated,
            Place::Gated => Place::Active,
            Place::Unschedulable if changed && queued.backing_off(now) => Place::Backoff,
            Place::Unschedulable if changed => Place::Active,
            same => same,
        };
        self.put(key, place, queued);
    }

    /// Forgets a pod: it was deleted, or somebody assigned it.
    pub fn remove(&mut self, key: &str) {
        self.take(key);
    }

    fn take(&mut self, key: &str) -> Option<(Place, QueuedPod)> {
        let (place, queued) = self.pods.remove(key)?;
        self.active.remove(&queued.order());
        Some((place, queued))
    }

    fn put(&mut self, key: String, place: Place, queued: QueuedPod) {
        if place == Place::Active {
            self.active.insert(queued.order(), key.clone());
        }
        self.pods.insert(key, (place, queued));
    }

    /// The next pod to try. When no pod is active, the one whose back-off ends first does not wait for its end (of those that end within
    /// one second, the one that counts most); only pods that came back from an error do.
    pub fn pop(&mut self, now: Timestamp) -> Option<QueuedPod> {
        self.flush(now);
        let key = match self.active.first_key_value() {
            Some((_, key)) => key.clone(),
            None => self
                .pods
                .iter()
                .filter(|(_, (place, queued))| *place == Place::Backoff && queued.errors == 0)
                .min_by_key(|(_, (_, queued))| (queued.backoff_until(), queued.order()))
                .map(|(key, _)| key.clone())?,
        };
        self.take(&key).map(|(_, queued)| queued)
    }

    /// Puts back a pod that the rules in `by` refused.
    pub fn refused(&mut self, mut queued: QueuedPod, by: PluginSet, now: Timestamp) {
        queued.refusals += 1;
        queued.errors = 0;
        queued.by = by;
        queued.since = now;
        self.put(queued.pod.key(), Place::Unschedulable, queued);
    }

    /// Puts back a pod whose attempt ended with an error; it is tried again after its back-off.
    pub fn failed(&mut self, mut queued: QueuedPod, now: Timestamp) {
        queued.errors += 1;
        queued.since = now;
        self.put(queued.pod.key(), Place::Backoff, queued);
    }

    /// Wakes the refused pods that the change may have helped.
    pub fn on_event(&mut self, event: Event<'_>, view: &ClusterView, now: Timestamp) {
        self.wake_those(event, view, now, |_| true);
    }

    /// A pod that was promised a node has that promise no more. To whom counts no more than that pod it is as if the pod had left the node
    /// (`eventhandlers.go`, hasNominatedNodeNameChanged, getLEPriorityPreCheck); it may be the pod itself.
    pub fn on_void_promise(&mut self, had: &PodInfo, view: &ClusterView, now: Timestamp) {
        self.wake_those(Event::PodRemoved(had), view, now, |pod| pod.priority <= had.priority);
    }

    fn wake_those(&mut self, event: Event<'_>, view: &ClusterView, now: Timestamp, concerns: impl Fn(&PodInfo) -> bool) {
        let waits = |place: Place, queued: &QueuedPod| place == Place::Unschedulable && concerns(&queued.pod);
        let woken: Vec<String> = self
            .pods
            .iter()
            .filter(|(_, (place, queued))| waits(*place, queued) && worth_retry(&queued.pod, queued.by, event, view))
            .map(|(key, _)| key.clone())
            .collect();
        for key in woken {
            self.wake(&key, now);
        }
    }

    fn wake(&mut self, key: &str, now: Timestamp) {
        if let Some((_, queued)) = self.take(key) {
            let place = if queued.backing_off(now) { Place::Backoff } else { Place::Active };
            self.put(key.to_owned(), place, queued);
        }
    }

    /// Moves what has waited long enough: back-offs that ended, and refused pods after 5 minutes.
    fn flush(&mut self, now: Timestamp) {
        let ready = |place: Place, queued: &QueuedPod| match place {
            Place::Backoff => !queued.backing_off(now),
            Place::Unschedulable => leftover_due(queued) <= now,
            Place::Active | Place::Gated => false,
        };
        let keys: Vec<String> = self.pods.iter().filter(|(_, (place, queued))| ready(*place, queued)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.wake(&key, now);
        }
    }

    /// When [`Queue::pop`] has something to give: in the past or at `now` when it has already. None when only a change helps.
    pub fn next_due(&self) -> Option<Timestamp> {
        let due = |(place, queued): &(Place, QueuedPod)| match place {
            Place::Active => Some(queued.since),
            Place::Backoff if queued.errors == 0 => Some(queued.since),
            Place::Backoff => queued.back_at(),
            Place::Unschedulable => Some(leftover_due(queued)),
            Place::Gated => None,
        };
        self.pods.values().filter_map(due).min()
    }

    /// Pods that are about to be tried: active, or in back-off after a change that may have helped them. Refused and gated ones are not.
    pub fn about_to_try(&self) -> impl Iterator<Item = &QueuedPod> {
        self.pods.values().filter(|(place, _)| matches!(place, Place::Active | Place::Backoff)).map(|(_, queued)| queued)
    }

    pub fn get(&self, key: &str) -> Option<&QueuedPod> {
        self.pods.get(key).map(|(_, queued)| queued)
    }

    pub fn len(&self) -> usize {
        self.pods.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }
}

fn leftover_due(queued: &QueuedPod) -> Timestamp {
    queued.since.saturating_add(MAX_UNSCHEDULABLE).unwrap_or(Timestamp::MAX)
}
