//! What is said of a pod's life.
//!
//! Source: kubernetes `pkg/kubelet/{kubelet.go,images/image_manager.go,kuberuntime/kuberuntime_container.go,kuberuntime/
//! kuberuntime_manager.go,eviction/eviction_manager.go}`.

use jiff::{SignedDuration, Timestamp};

use super::runs::{self, Now};
use super::{ContainerView, Life, View};
use crate::words::Word;

/// `pkg/kubelet/kubelet.go`, NetworkNotReadyErrorMsg, with what a runtime says that has no network plugin yet.
const NO_NETWORK: &str = "network is not ready: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                          message:Network plugin returns error: cni plugin not initialized";

/// Everything that was said of the pod until `now`, in order. What was said stays said: later calls only add to it.
pub fn words(view: &View, life: &Life, now: Timestamp) -> Vec<Word> {
    let mut words = Vec::new();
    if let Some(refusal) = life.evicted.as_ref().filter(|eviction| eviction.refused) {
        words.push(Word::warning(life.accepted, refusal.reason.clone(), refusal.message.as_str()));
        return words;
    }
    if life.offline {
        words.push(Word::warning(life.accepted, "NetworkNotReady", NO_NETWORK));
    }
    let until = life.stopping.map_or(now, |stopping| stopping.min(now));
    for (place, container) in view.init.iter().chain(&view.containers).enumerate() {
        let field = field(view, place, container);
        begins(view, life, (place, container), &mut words, &field);
        begins_again(view, life, (place, container), until, &mut words, &field);
    }
    words.retain(|word| word.at <= until);
    words.sort_by_key(|word| word.at);
    if let Some(stopping) = life.stopping.filter(|stopping| *stopping <= now) {
        words.extend(life.evicted.as_ref().map(|eviction| eviction.word(stopping)));
        for (place, container) in view.init.iter().chain(&view.containers).enumerate() {
            if runs_at(view, life, place, stopping) {
                let message = format!("Stopping container {}", container.name);
                words.push(Word::normal(stopping, "Killing", message).of(&field(view, place, container)));
            }
        }
    }
    words
}

/// When there is more to say though the pod's status stays the same: an image is pulled, a container starts.
pub fn next(life: &Life, now: Timestamp) -> Option<Timestamp> {
    let pulls = life.pulls.iter().flat_map(|pull| [pull.from, pull.until]);
    let moments = pulls.chain(life.starts.iter().copied()).chain(life.init.iter().map(|span| span.start));
    moments.filter(|moment| *moment > now && *moment < Timestamp::MAX).min()
}

fn field(view: &View, place: usize, container: &ContainerView) -> String {
    let list = if place < view.init.len() { "initContainers" } else { "containers" };
    format!("spec.{list}{{{}}}", container.name)
}

/// A container's first start; nothing for a pod that ran before this kubelet knew it.
fn begins(view: &View, life: &Life, (place, container): (usize, &ContainerView), words: &mut Vec<Word>, field: &str) {
    let Some(pull) = life.pulls.get(place) else { return };
    pulled(container, pull.from, pull.fetched.then_some(pull.until), words, field);
    let start = match place.checked_sub(view.init.len()) {
        None => life.init.get(place).map(|span| span.start),
        Some(place) => life.starts.get(place).copied(),
    };
    started(start.unwrap_or(Timestamp::MAX), words, field);
}

/// What ended starts again, after a while if need be.
fn begins_again(
    view: &View,
    life: &Life,
    (place, container): (usize, &ContainerView),
    until: Timestamp,
    words: &mut Vec<Word>,
    field: &str,
) {
    if let Some(process) = life.process(&container.name) {
        words.extend(process.words().map(|word| word.of(field)));
        return;
    }
    let (started_at, restart) = match place.checked_sub(view.init.len()) {
        None => match life.restarts(view, place) {
            Some((span, restart)) => (span.start, restart),
            None => return,
        },
        Some(_) => (life.running, view.restart),
    };
    if started_at > until {
        return;
    }
    runs::walk(container.program, restart, started_at, until, |at, state| match state {
        Now::Running { .. } => {
            pulled(container, at, None, words, field);
            started(at, words, field);
        }
        Now::Waits { .. } => {
            let (name, namespace, uid) = (&view.name, &view.namespace, &view.uid);
            let message = format!("Back-off restarting failed container {} in pod {name}_{namespace}({uid})", container.name);
            words.push(Word::warning(at, "BackOff", message).of(field));
        }
        Now::Over => {}
    });
}

/// `done`: when the image was there, if it was not before.
pub(super) fn pulled(container: &ContainerView, from: Timestamp, done: Option<Timestamp>, words: &mut Vec<Word>, field: &str) {
    let image = &container.image;
    if done.is_none() && !container.always_pulls {
        let message = format!("Container image \"{image}\" already present on machine and can be accessed by the pod");
        words.push(Word::normal(from, "Pulled", message).of(field));
        return;
    }
    let until = done.unwrap_or(from);
    let took = go(until.duration_since(from));
    words.push(Word::normal(from, "Pulling", format!("Pulling image \"{image}\"")).of(field));
    // Nothing is pulled, so nothing has a size.
    let message = format!("Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: 0 bytes.");
    words.push(Word::normal(until, "Pulled", message).of(field));
}

pub(super) fn started(at: Timestamp, words: &mut Vec<Word>, field: &str) {
    words.push(Word::normal(at, "Created", "Container created").of(field));
    words.push(Word::normal(at, "Started", "Container started").of(field));
}

/// Whether there is something to stop at `at`.
fn runs_at(view: &View, life: &Life, place: usize, at: Timestamp) -> bool {
    let Some(container) = view.init.get(place) else {
        let container = view.containers.get(place - view.init.len());
        if let Some(process) = container.and_then(|one| life.process(&one.name)) {
            return process.dismissed;
        }
        let here = life.starts.get(place - view.init.len()).is_none_or(|start| *start <= at);
        let running = |one| matches!(runs::state(one, view.restart, life.running, at).now, Now::Running { .. });
        return here && (life.running > at || container.is_some_and(|one| running(one.program)));
    };
    let Some(span) = life.init.get(place).filter(|span| span.start <= at) else { return false };
    match life.restarts(view, place) {
        Some((span, restart)) => matches!(runs::state(container.program, restart, span.start, at).now, Now::Running { .. }),
        None => container.sidecar || span.done > at,
    }
}

/// As Go writes a duration that is cut to milliseconds: `1.25s`, `800ms`, `2m3s`.
fn go(duration: SignedDuration) -> String {
    let millis = duration.as_millis();
    let seconds = |millis: i128| {
        let text = format!("{}.{:03}", millis / 1000, millis % 1000);
        format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match millis {
        0 => "0s".to_owned(),
        1..1000 => format!("{millis}ms"),
        1000..60_000 => seconds(millis),
        _ => format!("{}m{}", millis / 60_000, seconds(millis % 60_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "0s")]
    #[case(800, "800ms")]
    #[case(1000, "1s")]
    #[case(1250, "1.25s")]
    #[case(61_005, "1m1.005s")]
    fn durations_are_go_s(#[case] millis: i64, #[case] expect: &str) {
        assert_eq!(go(SignedDuration::from_millis(millis)), expect);
    }
}
