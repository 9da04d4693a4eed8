//! When what happens to a pod.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ambient::Stream;
use jiff::{SignedDuration, Timestamp};

use super::process::Process;
use super::runs::{self, Now, Restart};
use super::{ContainerView, Deletion, View};
use crate::admission::Refusal;
use crate::process::Exit;
use crate::profile::Profile;
use crate::words::Word;

/// How far a pod has come. Only ever further.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Its kubelet has not spoken of it.
    Unseen,
    /// `ContainerCreating`.
    Accepted,
    /// All containers run; probes have not succeeded yet.
    Running,
    Ready,
    /// The containers have ended, after a deletion or by themselves.
    Ended,
}

/// The moments of one pod's life; drawn when it is first seen, ended by a deletion.
#[derive(Clone, PartialEq, Debug)]
pub struct Life {
    pub accepted: Timestamp,
    pub running: Timestamp,
    pub ready: Timestamp,
    pub ended: Option<Timestamp>,
    /// When each init container starts and is done, in order; never, behind one that fails.
    pub init: Vec<Span>,
    /// Its node ended or refused it.
    pub evicted: Option<Eviction>,
    /// When its containers are told to stop, whoever wants that.
    pub stopping: Option<Timestamp>,
    /// It had to wait for its node's network.
    pub offline: bool,
    /// Init containers', then containers'; none for a pod that ran before its kubelet knew it.
    pub pulls: Vec<Pull>,
    /// When each container first starts.
    pub starts: Vec<Timestamp>,
    /// Of the containers that are real processes, by name. Then `running` and `ready` are what they make them.
    pub processes: BTreeMap<String, Process>,
    /// From SIGTERM to the end, when nothing else holds it up; drawn with the rest, so that the order of events changes no draw.
    stop: SignedDuration,
}

/// When an init container first starts, and when the next one may: after its end, or a sidecar's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    pub start: Timestamp,
    pub done: Timestamp,
}

/// An image is looked for, and pulled if it is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pull {
    pub from: Timestamp,
    pub until: Timestamp,
    pub fetched: bool,
}

/// `pkg/kubelet/eviction/helpers.go`, Reason.
pub const EVICTED: &str = "Evicted";
/// `pkg/kubelet/events/event.go`, PreemptContainer.
const PREEMPTED: &str = "Preempting";
const PREEMPTED_MESSAGE: &str = "Preempted in order to admit critical pod";
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Eviction {
    pub reason: Cow<'static, str>,
    /// As in its Event; a refusal's status says more.
    pub message: String,
    /// It was refused, and never ran here.
    pub refused: bool,
}

impl Eviction {
    fn new(reason: &'static str, message: impl Into<String>) -> Eviction {
        Eviction { reason: reason.into(), message: message.into(), refused: false }
    }

    /// What is said of it when the containers are told to stop.
    pub(super) fn word(&self, at: Timestamp) -> Word {
        match &*self.reason {
            DEADLINE_EXCEEDED => Word::normal(at, DEADLINE_EXCEEDED, self.message.as_str()),
            _ => Word::warning(at, self.reason.clone(), self.message.as_str()),
        }
    }

    /// Whether its containers are killed without a grace.
    pub(super) fn kills(&self) -> bool {
        self.reason != PREEMPTED
    }

    /// What the condition `DisruptionTarget` says of it (`pkg/kubelet/eviction/eviction_manager.go`, `pkg/kubelet/preemption/preemption.go`).
    pub(super) fn disruption(&self) -> Option<&str> {
        match &*self.reason {
            EVICTED => Some(&self.message),
            PREEMPTED => Some("Pod was preempted by Kubelet to accommodate a critical pod."),
            _ => None,
        }
    }
}

/// A node's images, and since when each of them is there, or when it will be.
pub type Images = BTreeMap<String, Timestamp>;

impl Life {
    /// A new pod's life. `network` is when the node can give pods addresses.
    pub fn begin(view: &View, profile: &Profile, stream: &mut Stream, now: Timestamp, network: Timestamp, images: &mut Images) -> Life {
        let begin = if view.host_network { now } else { now.max(network) };
        let after = |time: Timestamp, more: SignedDuration| time.saturating_add(more).unwrap_or(Timestamp::MAX);
        // Drawn in any case: an image that is there already must not move the draws that follow.
        let all = view.init.iter().chain(&view.containers);
        let waits: Vec<_> = all.map(|container| (profile.image_pull.draw(stream), &container.image)).collect();
        let mut pulls = Vec::with_capacity(waits.len());
        let mut pull = |from: Timestamp| {
            let Some((wait, image)) = waits.get(pulls.len()) else { return from };
            // What another pod pulls already is waited for, not pulled again.
            let there = images.get(*image).copied().unwrap_or(Timestamp::MAX);
            let until = after(from, *wait).min(there.max(from));
            images.insert((*image).clone(), until.min(there));
            pulls.push(Pull { from, until, fetched: until > from });
            until
        };
        let mut time = begin;
        let mut init = Vec::with_capacity(view.init.len());
        for container in &view.init {
            let (start, run) = (profile.start.draw(stream), profile.init.draw(stream));
            let start = after(pull(time), start);
            // The next one waits for an init container to succeed, and for a sidecar to have started. An init container's own program
            // says how long it takes and whether it does.
            time = match container.program {
                _ if container.sidecar => after(start, container.readiness),
                Some(program) if program.exit != 0 => Timestamp::MAX,
                Some(program) => after(start, program.runs),
                None => after(start, run),
            };
            init.push(Span { start, done: time });
        }
        let mut starts = Vec::with_capacity(view.containers.len());
        for _ in &view.containers {
            time = after(pull(time), profile.start.draw(stream));
            starts.push(time);
        }
        let probes = view.containers.iter().map(|container| container.readiness).max().unwrap_or_default();
        let stop = profile.stop.draw(stream);
        let life = Life {
            accepted: now,
            running: time,
            ready: after(time, probes),
            ended: None,
            init,
            evicted: None,
            stopping: None,
            offline: begin > now,
            pulls,
            starts,
            processes: BTreeMap::new(),
            stop,
        };
        life.with_processes(view)
    }

    /// The same, with processes that start when the hollow containers in their places would.
    fn with_processes(mut self, view: &View) -> Life {
        let soon = self.accepted;
        for (place, container) in view.containers.iter().enumerate().filter(|(_, one)| one.real.is_some()) {
            let start = self.starts.get_mut(place).map_or(soon, |start| std::mem::replace(start, Timestamp::MAX));
            self.processes.insert(container.name.clone(), Process::new(start));
            (self.running, self.ready) = (Timestamp::MAX, Timestamp::MAX);
        }
        self
    }

    /// The same, as long as its volumes are not there: nothing starts.
    pub fn held(self) -> Life {
        let never = Span { start: Timestamp::MAX, done: Timestamp::MAX };
        let init = vec![never; self.init.len()];
        let processes = BTreeMap::new();
        Life { running: Timestamp::MAX, ready: Timestamp::MAX, init, pulls: Vec::new(), starts: Vec::new(), processes, ..self }
    }

    /// The same, after it was held.
    pub fn after(self, held: &Life) -> Life {
        Life { accepted: held.accepted, offline: held.offline, ..self }
    }

    /// A life without a beginning that is to be told.
    fn plain(now: Timestamp, running: Timestamp, stop: SignedDuration) -> Life {
        Life {
            accepted: now,
            running,
            ready: running,
            ended: None,
            init: Vec::new(),
            evicted: None,
            stopping: None,
            offline: false,
            pulls: Vec::new(),
            starts: Vec::new(),
            processes: BTreeMap::new(),
            stop,
        }
    }

    /// A pod that its node does not take.
    pub fn refused(view: &View, refusal: Refusal, now: Timestamp) -> Life {
        let never = Span { start: Timestamp::MAX, done: Timestamp::MAX };
        let init = vec![never; view.init.len()];
        let evicted = Some(Eviction { reason: refusal.reason.into(), message: refusal.message, refused: true });
        Life { ended: Some(now), init, evicted, ..Life::plain(now, Timestamp::MAX, SignedDuration::ZERO) }
    }

    /// A pod that runs already, when the kubelet comes to know it.
    pub fn resume(view: &View, profile: &Profile, stream: &mut Stream, now: Timestamp) -> Life {
        let init = vec![Span { start: now, done: now }; view.init.len()];
        Life { init, ..Life::plain(now, now, profile.stop.draw(stream)) }.with_processes(view)
    }

    /// It has been there for as long as it may, and ends at once (`pkg/kubelet/active_deadline.go`).
    pub fn expire(&mut self, now: Timestamp) {
        self.cut(Eviction::new(DEADLINE_EXCEEDED, DEADLINE_MESSAGE), now);
    }

    /// Its node is short of something and ends it at once.
    pub fn evict(&mut self, message: String, now: Timestamp) {
        self.cut(Eviction::new(EVICTED, message), now);
    }

    /// Its node ends it to make room for a critical pod, with the grace that it asks for. Gives back when it is gone at the latest.
    pub fn preempt(&mut self, view: &View, now: Timestamp) -> Timestamp {
        let deadline = now.saturating_add(view.grace).unwrap_or(Timestamp::MAX);
        self.evicted.get_or_insert(Eviction::new(PREEMPTED, PREEMPTED_MESSAGE));
        self.stop(view, Deletion { deadline, grace: view.grace }, now);
        self.ended.unwrap_or(deadline)
    }

    fn cut(&mut self, why: Eviction, now: Timestamp) {
        self.ended = Some(self.ended.map_or(now, |before| before.min(now)));
        self.stopping.get_or_insert(now);
        self.evicted = Some(why);
        self.dismiss(now, now);
    }

    /// The deletion was asked for, or its grace period made shorter. The end is after the hooks and the time to stop, by the deadline
    /// at the latest, and at once for a pod that had nothing running.
    pub fn delete(&mut self, view: &View, now: Timestamp) {
        if let Some(deletion) = view.deletion {
            self.stop(view, deletion, now);
        }
    }

    fn stop(&mut self, view: &View, deletion: Deletion, now: Timestamp) {
        let deadline = deletion.deadline.min(now.saturating_add(deletion.grace).unwrap_or(Timestamp::MAX)).max(now);
        if self.ended.is_none() && self.processes.values().any(Process::lives) {
            // It ends when its processes have.
            let hooks = view.containers.iter().map(|container| container.pre_stop).max().unwrap_or_default();
            self.dismiss(now.saturating_add(hooks).unwrap_or(deadline), deadline);
            self.stopping.get_or_insert(now);
            return;
        }
        let hooks = view.containers.iter().map(|container| container.pre_stop).max().unwrap_or_default();
        let wanted = if now < self.running { self.stop } else { hooks.saturating_add(self.stop) };
        // The deadline counts in whole seconds of the API server's clock: the grace period from now on is what is left at most.
        let end = now.saturating_add(wanted.min(deletion.grace)).unwrap_or(Timestamp::MAX).min(deletion.deadline.max(now));
        self.ended = Some(self.ended.map_or(end, |before| before.min(end)));
        self.stopping.get_or_insert(now);
    }

    /// The container's process, if it is one.
    pub fn process(&self, name: &str) -> Option<&Process> {
        self.processes.get(name)
    }

    fn dismiss(&mut self, at: Timestamp, deadline: Timestamp) {
        self.processes.values_mut().for_each(|process| process.dismiss(at, deadline));
    }

    /// A container's process runs.
    pub fn process_starts(&mut self, view: &View, name: &str, now: Timestamp) {
        let Some(place) = view.containers.iter().position(|container| container.name == name) else { return };
        let Some((process, real)) = self.processes.get_mut(name).zip(view.containers[place].real.as_deref()) else { return };
        process.starts(&view.containers[place], real, now);
        if let Some(start) = self.starts.get_mut(place).filter(|start| **start == Timestamp::MAX) {
            *start = now;
        }
        // Whoever wanted its end meanwhile gets it.
        if self.stopping.is_some() || self.ended.is_some() {
            self.dismiss(now, now);
        }
        if self.running == Timestamp::MAX && self.processes.values().all(|one| one.lives() || one.has_failed()) {
            self.running = self.starts.iter().copied().filter(|start| *start < Timestamp::MAX).max().map_or(now, |start| start.max(now));
        }
        self.probes_agree(now);
    }

    /// A container's process has ended.
    pub fn process_ends(&mut self, view: &View, name: &str, exit: Exit) {
        let said = format!("{name} in pod {}_{}({})", view.name, view.namespace, view.uid);
        let Some(process) = self.processes.get_mut(name) else { return };
        process.ends(exit, view.restart, &said);
        if self.stopping.is_some() && self.ended.is_none() && !self.processes.values().any(Process::lives) {
            self.ended = Some(exit.at);
        }
    }

    /// A probe has answered.
    pub fn process_probed(&mut self, view: &View, (name, kind): (&str, super::ProbeKind), answer: Result<(), String>, now: Timestamp) {
        let real = view.containers.iter().find(|one| one.name == name).and_then(|one| one.real.as_deref());
        if let Some((process, real)) = self.processes.get_mut(name).zip(real) {
            process.probed(kind, answer, (name, real), now);
        }
        self.probes_agree(now);
    }

    /// The pod is ready for the first time when all its processes are.
    fn probes_agree(&mut self, now: Timestamp) {
        if self.ready == Timestamp::MAX && self.running <= now && self.processes.values().all(Process::is_ready) {
            self.ready = now;
        }
    }

    /// How a container is at `now`; nobody asks before the pod runs.
    pub fn container(&self, view: &View, container: &ContainerView, now: Timestamp) -> runs::State {
        if let Some(process) = self.processes.get(&container.name) {
            return process.state();
        }
        // What a deletion stopped does not start again.
        let now = self.ended.map_or(now, |ended| now.min(ended));
        runs::state(container.program, view.restart, self.running, now)
    }

    /// How an init container or a sidecar is at `now`; `None` before it starts, and where it just does what it shall.
    pub fn initial(&self, view: &View, place: usize, now: Timestamp) -> Option<runs::State> {
        let (span, restart) = self.restarts(view, place)?;
        let now = self.ended.map_or(now, |ended| now.min(ended));
        let program = view.init.get(place)?.program;
        (span.start <= now).then(|| runs::state(program, restart, span.start, now))
    }

    /// An init container or a sidecar that may run more than once, with the policy that decides.
    pub(super) fn restarts(&self, view: &View, place: usize) -> Option<(Span, Restart)> {
        let (container, span) = (view.init.get(place)?, self.init.get(place)?);
        container.program.filter(|program| container.sidecar || program.exit != 0)?;
        // An init container that has succeeded does not run again, whatever the pod's policy says of its others.
        let restart = match view.restart {
            _ if container.sidecar => Restart::Always,
            Restart::Never => Restart::Never,
            _ => Restart::OnFailure,
        };
        Some((*span, restart))
    }

    /// Whether an init container has failed for good.
    pub fn spoilt(&self, view: &View, now: Timestamp) -> bool {
        let over = |place: usize| self.initial(view, place, now).is_some_and(|state| state.now == Now::Over);
        (0..view.init.len()).any(over)
    }

    /// Whether a container is ready at `now`.
    pub fn is_ready(&self, view: &View, container: &ContainerView, now: Timestamp) -> bool {
        if let Some(process) = self.processes.get(&container.name) {
            return process.is_ready();
        }
        let state = self.container(view, container, now);
        let Now::Running { since } = state.now else { return false };
        let ready = if state.restarts == 0 { self.ready } else { since.saturating_add(container.readiness).unwrap_or(Timestamp::MAX) };
        now >= ready
    }

    /// How far the pod is at `now` with what its containers do by themselves; a number that changes when there is something to tell
    /// though the stage is the same; and when that is next.
    pub fn progress(&self, view: &View, now: Timestamp) -> (Stage, u32, Option<Timestamp>) {
        let (stage, mut next) = self.stage(now);
        let gates = view.conditions.iter().filter(|one| one.status == "True" && view.gates.contains(&one.type_)).count();
        let mut turn = u32::try_from(gates).unwrap_or(u32::MAX);
        if stage != Stage::Ended && !view.init.is_empty() {
            if self.spoilt(view, now) {
                return (Stage::Ended, turn, None);
            }
            let (told, later) = self.initial_progress(view, now);
            turn += told;
            next = next.into_iter().chain(later).min();
        }
        turn += u32::try_from(self.processes.values().filter(|process| process.refusal.is_some()).count()).unwrap_or(0);
        if self.processes.is_empty() && view.containers.iter().all(|container| container.program.is_none()) {
            return (stage, turn, next);
        }
        if stage < Stage::Running || stage == Stage::Ended {
            return (stage, turn, next);
        }
        let mut over = true;
        for container in &view.containers {
            let state = self.container(view, container, now);
            let ready = self.is_ready(view, container, now);
            over &= state.now == Now::Over;
            turn += 3 * state.restarts + if matches!(state.now, Now::Running { .. }) { u32::from(ready) } else { 2 };
            let probes = match state.now {
                Now::Running { since } if !ready && container.real.is_none() => {
                    since.saturating_add(container.readiness).ok().filter(|at| *at > now)
                }
                _ => None,
            };
            next = next.into_iter().chain(state.next).chain(probes).min();
        }
        if over { (Stage::Ended, turn, None) } else { (stage, turn, next) }
    }

    /// What of the init containers is to be told by `now`, as a number that grows, and when there is more.
    fn initial_progress(&self, view: &View, now: Timestamp) -> (u32, Option<Timestamp>) {
        let (mut turn, mut next) = (0, None::<Timestamp>);
        for (place, span) in self.init.iter().enumerate() {
            for moment in [span.start, span.done] {
                turn += u32::from(moment <= now);
                next = next.into_iter().chain((moment > now).then_some(moment)).min();
            }
            if let Some(state) = self.initial(view, place, now) {
                turn += 2 * state.restarts + u32::from(!matches!(state.now, Now::Running { .. }));
                next = next.into_iter().chain(state.next).min();
            }
        }
        (turn, next.filter(|next| *next < Timestamp::MAX))
    }

    /// How far it is at `now`, and when it gets further by itself.
    pub fn stage(&self, now: Timestamp) -> (Stage, Option<Timestamp>) {
        if let Some(ended) = self.ended {
            let reached = if now >= ended { Stage::Ended } else { self.alive(now) };
            return (reached, (now < ended).then_some(ended));
        }
        let next = [self.accepted, self.running, self.ready].into_iter().find(|moment| *moment > now && *moment < Timestamp::MAX);
        (self.alive(now), next)
    }

    /// It ended before its containers ran.
    pub fn never_ran(&self) -> bool {
        self.ended.is_some_and(|ended| ended < self.running)
    }

    fn alive(&self, now: Timestamp) -> Stage {
        match now {
            now if now >= self.ready => Stage::Ready,
            now if now >= self.running => Stage::Running,
            now if now >= self.accepted => Stage::Accepted,
            _ => Stage::Unseen,
        }
    }
}
