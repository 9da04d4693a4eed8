//! When what happens to a pod.

use ambient::Stream;
use jiff::{SignedDuration, Timestamp};

use super::View;
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
    /// The containers have ended, after a deletion.
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
