//! When what happens to a pod.

use ambient::Stream;
use jiff::{SignedDuration, Timestamp};

use super::runs::{self, Now};
use super::{ContainerView, View};
use crate::profile::Profile;

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
    /// From SIGTERM to the end, when nothing else holds it up; drawn with the rest, so that the order of events changes no draw.
    stop: SignedDuration,
}

impl Life {
    /// A new pod's life. `network` is when the node can give pods addresses; `pulled(image)` tells whether the node has the image.
    pub fn begin(
        view: &View,
        profile: &Profile,
        stream: &mut Stream,
        now: Timestamp,
        network: Timestamp,
        mut pulled: impl FnMut(&str) -> bool,
    ) -> Life {
        let begin = if view.host_network { now } else { now.max(network) };
        let after = |time: Timestamp, more: SignedDuration| time.saturating_add(more).unwrap_or(Timestamp::MAX);
        let mut time = begin;
        for container in view.init.iter().chain(&view.containers) {
            // Drawn in any case: an image that is there already must not move the draws that follow.
            let pull = profile.image_pull.draw(stream);
            if !pulled(&container.image) {
                time = after(time, pull);
            }
        }
        for container in &view.init {
            let (start, run) = (profile.start.draw(stream), profile.init.draw(stream));
            // The next one waits for an init container to end, and for a sidecar to have started.
            // An init container's own program says how long it takes; it succeeds.
            let run = container.program.map_or(run, |program| program.runs);
            time = after(time, if container.sidecar { start.saturating_add(container.readiness) } else { start.saturating_add(run) });
        }
        for _ in &view.containers {
            time = after(time, profile.start.draw(stream));
        }
        let probes = view.containers.iter().map(|container| container.readiness).max().unwrap_or_default();
        Life { accepted: now, running: time, ready: after(time, probes), ended: None, stop: profile.stop.draw(stream) }
    }

    /// A pod that runs already, when the kubelet comes to know it.
    pub fn resume(profile: &Profile, stream: &mut Stream, now: Timestamp) -> Life {
        Life { accepted: now, running: now, ready: now, ended: None, stop: profile.stop.draw(stream) }
    }

    /// The deletion was asked for, or its grace period made shorter. The end is after the hooks and the time to stop, by the deadline
    /// at the latest, and at once for a pod that had nothing running.
    pub fn delete(&mut self, view: &View, now: Timestamp) {
        let Some(deletion) = view.deletion else { return };
        let hooks = view.containers.iter().map(|container| container.pre_stop).max().unwrap_or_default();
        let wanted = if now < self.running { self.stop } else { hooks.saturating_add(self.stop) };
        // The deadline counts in whole seconds of the API server's clock: the grace period from now on is what is left at most.
        let end = now.saturating_add(wanted.min(deletion.grace)).unwrap_or(Timestamp::MAX).min(deletion.deadline.max(now));
        self.ended = Some(self.ended.map_or(end, |before| before.min(end)));
    }

    /// How a container is at `now`; nobody asks before the pod runs.
    pub fn container(&self, view: &View, container: &ContainerView, now: Timestamp) -> runs::State {
        // What a deletion stopped does not start again.
        let now = self.ended.map_or(now, |ended| now.min(ended));
        runs::state(container.program, view.restart, self.running, now)
    }

    /// Whether a container is ready at `now`.
    pub fn is_ready(&self, view: &View, container: &ContainerView, now: Timestamp) -> bool {
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
        if stage < Stage::Running || stage == Stage::Ended || view.containers.iter().all(|container| container.program.is_none()) {
            return (stage, turn, next);
        }
        let mut over = true;
        for container in &view.containers {
            let state = self.container(view, container, now);
            let ready = self.is_ready(view, container, now);
            over &= state.now == Now::Over;
            turn += 3 * state.restarts + if matches!(state.now, Now::Running { .. }) { u32::from(ready) } else { 2 };
            let probes = match state.now {
                Now::Running { since } if !ready => since.saturating_add(container.readiness).ok().filter(|at| *at > now),
                _ => None,
            };
            next = next.into_iter().chain(state.next).chain(probes).min();
        }
        if over { (Stage::Ended, turn, None) } else { (stage, turn, next) }
    }

    /// How far it is at `now`, and when it gets further by itself.
    pub fn stage(&self, now: Timestamp) -> (Stage, Option<Timestamp>) {
        if let Some(ended) = self.ended {
            let reached = if now >= ended { Stage::Ended } else { self.alive(now) };
            return (reached, (now < ended).then_some(ended));
        }
        let next = [self.running, self.ready].into_iter().find(|moment| *moment > now);
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
