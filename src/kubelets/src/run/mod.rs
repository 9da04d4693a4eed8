//! The loop that watches, waits and writes.
//!
//! One task owns all kubelets. [`state`] decides what is due, without IO; [`effects`] writes it; up to [`AT_ONCE`] writes are in flight,
//! one per object. Everything else is order: what is due is a sorted set, and of several things that can go on, the first in a fixed
//! order goes on.

mod addresses;
mod effects;
mod state;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambient::{Clock, Entropy};
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};

use crate::admission::Site;
use crate::machine::Machines;
use crate::node::Problem;
use crate::pod::View;
use crate::process::{Hollow, Processes};
use crate::profile::Profile;
use state::State;
use tokio::sync::Notify;

/// Writes in flight, as a cluster's many kubelets would have together.
const AT_ONCE: usize = 64;

/// After a failed watch or write; fixed, so that it needs no chance.
const RETRY: SignedDuration = SignedDuration::from_secs(1);

/// All hollow kubelets of a world.
pub struct Kubelets {
    client: Client,
    machines: Arc<dyn Machines>,
    processes: Arc<dyn Processes>,
    clock: Clock,
    state: Arc<Mutex<State>>,
    woken: Arc<Notify>,
}

/// Looks at running kubelets from outside.
#[derive(Clone)]
pub struct Handle {
    state: Arc<Mutex<State>>,
    woken: Arc<Notify>,
    clock: Clock,
}

impl Handle {
    /// What can still move by itself, in words: machines that boot, pods that start or terminate. Empty means settled; heartbeats
    /// never count.
    pub fn unsettled(&self) -> Vec<String> {
        lock(&self.state).unsettled()
    }

    /// Breaks the ready node of this machine, or mends it; the error says why that cannot be.
    pub fn trouble(&self, machine: &str, problem: Problem) -> Result<(), String> {
        let result = lock(&self.state).trouble(machine, problem, self.clock.now());
        self.woken.notify_one();
        result
    }
}

impl Kubelets {
    /// `entropy` is the kubelets' own sub-tree; each machine and each pod draws from a stream of its own.
    pub fn new(client: Client, machines: Arc<dyn Machines>, clock: Clock, entropy: Entropy, profile: Profile) -> (Kubelets, Handle) {
        let state = Arc::new(Mutex::new(State::new(entropy, profile)));
        let woken = Arc::new(Notify::new());
        let handle = Handle { state: state.clone(), woken: woken.clone(), clock: clock.clone() };
        (Kubelets { client, machines, processes: Arc::new(Hollow), clock, state, woken }, handle)
    }

    /// The same, with some containers as real processes.
    pub fn with_processes(self, processes: Arc<dyn Processes>) -> Kubelets {
        Kubelets { processes, ..self }
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut pods = pin!(watcher::watcher(Api::<Pod>::all(self.client.clone()), watcher::Config::default()));
        let mut nodes = pin!(watcher::watcher(Api::<Node>::all(self.client.clone()), watcher::Config::default()));
        let mut writes = FuturesUnordered::new();
        let (mut watch_again, mut nodes_again): (Option<Timestamp>, Option<Timestamp>) = (None, None);
        let mut changed = self.machines.changed();
        let mut ended = self.processes.changed();
        self.synchronise();
        loop {
            let now = self.clock.now();
            let (due, next) = {
                let mut state = lock(&self.state);
                let due = state.due(now, AT_ONCE.saturating_sub(writes.len()));
                // With all slots taken, a finished write is what goes on next.
                (due, if writes.len() < AT_ONCE { state.next_due() } else { None })
            };
            let perform = |effect| effects::perform(self.client.clone(), self.clock.clone(), self.processes.clone(), effect);
            writes.extend(due.into_iter().map(perform));
            if watch_again.is_some_and(|again| again <= now) {
                watch_again = None;
            }
            if nodes_again.is_some_and(|again| again <= now) {
                nodes_again = None;
            }
            let wake = next.into_iter().chain(watch_again).chain(nodes_again).min().unwrap_or(Timestamp::MAX);
            tokio::select! {
                biased;
                Some(done) = writes.next(), if !writes.is_empty() => lock(&self.state).done(done, self.clock.now()),
                // Before the pods: whoever was let onto a node by a change of it comes after that change.
                event = next_event(&mut nodes), if nodes_again.is_none() => {
                    if let Err(error) = self.see(event) {
                        tracing::warn!(%error, "the watch of nodes failed; it begins again");
                        nodes_again = Some(now.saturating_add(RETRY).unwrap_or(now));
                    }
                }
                event = next_event(&mut pods), if watch_again.is_none() => {
                    if let Err(error) = self.observe(event) {
                        tracing::warn!(%error, "the watch of pods failed; it begins again");
                        watch_again = Some(now.saturating_add(RETRY).unwrap_or(now));
                    }
                }
                () = &mut changed => {
                    changed = self.machines.changed();
                    self.synchronise();
                }
                () = &mut ended => {
                    ended = self.processes.changed();
                    self.bury();
                }
                () = self.woken.notified() => {}
                () = self.clock.sleep_until(wake), if wake < Timestamp::MAX => {}
            }
        }
    }

    fn synchronise(&self) {
        let machines = self.machines.machines();
        let consoles = lock(&self.state).synchronise(machines, self.clock.now());
        for (id, text) in consoles {
            self.machines.set_console(&id, &text);
        }
    }

    /// Takes note of the processes that have ended.
    fn bury(&self) {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        for (id, exit) in self.processes.ended() {
            state.process_ended(&id, exit, now);
        }
    }

    /// A pod as its kubelet sees it; what its admission looks at is read when it is new.
    fn view(&self, pod: &Pod, state: &State) -> Option<View> {
        let view = View::of(pod)?.with_processes(pod, |image| self.processes.runs(image));
        Some(if state.knows(&view.uid) { view } else { view.with_applicant(pod) })
    }

    /// Takes note of a node; of one that was deleted its kubelet, while there is one, knows what it was.
    fn see(&self, event: Option<Result<Event<Node>, watcher::Error>>) -> Result<(), watcher::Error> {
        match event.transpose()? {
            Some(Event::Apply(node) | Event::InitApply(node)) => lock(&self.state).learn(Site::of(&node)),
            Some(Event::Delete(node)) => lock(&self.state).unlearn(node.metadata.name.as_deref().unwrap_or_default()),
            _ => {}
        }
        Ok(())
    }

    fn observe(&self, event: Option<Result<Event<Pod>, watcher::Error>>) -> Result<(), watcher::Error> {
        let Some(event) = event else { return Ok(()) };
        let now = self.clock.now();
        let mut state = lock(&self.state);
        match event? {
            Event::Apply(pod) => {
                let view = self.view(&pod, &state);
                state.apply(view, now);
            }
            Event::Delete(pod) => state.forget(pod.metadata.uid.as_deref().unwrap_or_default()),
            Event::Init => state.begin_list(),
            Event::InitApply(pod) => {
                let view = self.view(&pod, &state);
                state.list(view, now);
            }
            Event::InitDone => state.end_list(),
        }
        Ok(())
    }
}

async fn next_event<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    stream.next().await
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
