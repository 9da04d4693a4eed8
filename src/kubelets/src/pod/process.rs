//! What a kubelet knows of a container that is a real process: its runs as they were, its probes, and what is to be done with it.
//!
//! Source: kubernetes `pkg/kubelet/{prober/worker.go,prober/prober.go,kuberuntime/kuberuntime_manager.go}`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, Probe};

use super::ContainerView;
use super::runs::{self, Now, Restart, Run, State};
use super::words;
use crate::process::Exit;
use crate::words::Word;

/// `terminationGracePeriodSeconds` of a pod that says nothing, as the API server fills it in.
const GRACE_SECONDS: i64 = 30;
/// A container that could not be made is tried again after so long (`pkg/kubelet/kubelet.go`, the resync of a pod that failed).
const TRY_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// What its pod says of a container that is a process.
#[derive(Clone, PartialEq, Debug)]
pub struct Real {
    pub probes: BTreeMap<Kind, Probe>,
    /// From SIGTERM to SIGKILL when a probe has it started anew.
    pub grace: SignedDuration,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
}

impl Real {
    pub fn of(pod: &Pod, container: &Container) -> Real {
        let kinds = [
            (Kind::Startup, &container.startup_probe),
            (Kind::Liveness, &container.liveness_probe),
            (Kind::Readiness, &container.readiness_probe),
        ];
        let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(GRACE_SECONDS);
        Real {
            probes: kinds.into_iter().filter_map(|(kind, probe)| Some((kind, probe.clone()?))).collect(),
            grace: SignedDuration::from_secs(grace),
        }
    }
}

/// One container's process through all its runs.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Process {
    /// When it is to be started.
    pub due: Option<Timestamp>,
    since: Option<Timestamp>,
    restarts: u32,
    last: Option<Run>,
    wait: SignedDuration,
    over: bool,
    /// Why it could not be made: reason and message.
    pub refusal: Option<(&'static str, String)>,
    started: bool,
    ready: bool,
    gauges: BTreeMap<Kind, Gauge>,
    stop: Option<Stop>,
    /// It ran when its pod was told to end.
    pub dismissed: bool,
    words: Vec<Word>,
}

/// A probe of the present run.
#[derive(Clone, PartialEq, Debug)]
struct Gauge {
    next: Timestamp,
    successes: i32,
    failures: i32,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Stop {
    at: Timestamp,
    /// When it is ended by force.
    deadline: Timestamp,
    asked: bool,
}

impl Process {
    pub fn new(due: Timestamp) -> Process {
        Process { due: Some(due), ..Default::default() }
    }

    pub fn lives(&self) -> bool {
        self.since.is_some()
    }

    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }

    pub fn is_ready(&self) -> bool {
        self.since.is_some() && self.ready
    }

    /// It has ended at least once, so that its pod's way to readiness may be a long one.
    pub fn has_failed(&self) -> bool {
        self.last.is_some()
    }

    pub fn state(&self) -> State {
        let now = match self.since {
            Some(since) => Now::Running { since },
            None if self.over => Now::Over,
            None => Now::Waits { wait: self.wait },
        };
        State { now, restarts: self.restarts, last: self.last, next: None }
    }

    pub fn words(&self) -> impl Iterator<Item = Word> + '_ {
        self.words.iter().cloned()
    }

    /// It runs.
    pub fn starts(&mut self, container: &ContainerView, real: &Real, now: Timestamp) {
        if self.last.is_some() {
            self.restarts += 1;
            words::pulled(container, now, None, &mut self.words, "");
            words::started(now, &mut self.words, "");
        }
        (self.due, self.refusal, self.since, self.stop) = (None, None, Some(now), None);
        self.gauges = real.probes.iter().map(|(kind, probe)| (*kind, Gauge::new(probe, now))).collect();
        self.started = !real.probes.contains_key(&Kind::Startup);
        self.ready = self.started && !real.probes.contains_key(&Kind::Readiness);
    }

    /// It could not be started.
    pub fn refused(&mut self, reason: &'static str, message: String, now: Timestamp) {
        self.words.push(Word::warning(now, "Failed", format!("Error: {message}")));
        self.refusal = Some((reason, message));
        self.due = later(now, TRY_AGAIN);
    }

    /// It ended, by itself or because it was told to. `said` is the container and its pod in the words of a back-off.
    pub fn ends(&mut self, exit: Exit, restart: Restart, said: &str) {
        let Some(started) = self.since.take() else { return };
        let finished = exit.at.max(started);
        self.last = Some(Run { started, finished, exit: exit.code, oom: false });
        self.gauges.clear();
        self.ready = false;
        if self.dismissed || restart == Restart::Never || restart == Restart::OnFailure && exit.code == 0 {
            self.over = true;
            return;
        }
        self.wait = runs::wait(self.wait, self.restarts, finished.duration_since(started));
        self.due = later(finished, self.wait);
        if !self.wait.is_zero() {
            self.words.push(Word::warning(finished, "BackOff", format!("Back-off restarting failed container {said}")));
        }
    }

    /// Its pod is to end: asked at `at`, ended by force at `deadline`. An earlier deadline takes the place of a later one.
    pub fn dismiss(&mut self, at: Timestamp, deadline: Timestamp) {
        self.dismissed |= self.lives();
        self.end_by(at, deadline);
    }

    fn end_by(&mut self, at: Timestamp, deadline: Timestamp) {
        if self.lives() && self.stop.is_none_or(|stop| deadline < stop.deadline) {
            self.stop = Some(Stop { at: at.min(deadline), deadline, asked: false });
        }
    }

    /// When it is to be told to end.
    pub fn stops(&self) -> Option<Timestamp> {
        self.stop.filter(|stop| self.lives() && !stop.asked).map(|stop| stop.at)
    }

    /// Takes the order to end it, if it is due: the grace that is left.
    pub fn stop_now(&mut self, now: Timestamp) -> Option<SignedDuration> {
        self.stops().filter(|at| *at <= now)?;
        let stop = self.stop.as_mut()?;
        stop.asked = true;
        Some(stop.deadline.duration_since(now).max(SignedDuration::ZERO))
    }

    /// When a probe is asked next. Startup holds the others up.
    pub fn next_probe(&self, kind: Kind) -> Option<Timestamp> {
        let open = (kind == Kind::Startup) != self.started;
        self.gauges.get(&kind).filter(|_| open && self.stop.is_none()).map(|gauge| gauge.next)
    }

    pub fn probes(&self) -> impl Iterator<Item = (Kind, Timestamp)> + '_ {
        self.gauges.keys().filter_map(|kind| Some((*kind, self.next_probe(*kind)?)))
    }

    /// Takes a probe's answer.
    pub fn probed(&mut self, kind: Kind, answer: Result<(), String>, (name, real): (&str, &Real), now: Timestamp) {
        let (Some(probe), Some(gauge)) = (real.probes.get(&kind), self.gauges.get_mut(&kind)) else { return };
        gauge.next = later(now, SignedDuration::from_secs(i64::from(probe.period_seconds.unwrap_or(10).max(1)))).unwrap_or(now);
        let threshold = |set: Option<i32>, usual: i32| set.unwrap_or(usual).max(1);
        match answer {
            Ok(()) => {
                (gauge.successes, gauge.failures) = (gauge.successes + 1, 0);
                if gauge.successes < threshold(probe.success_threshold, 1) {
                    return;
                }
                match kind {
                    Kind::Startup => {
                        self.started = true;
                        self.ready = !real.probes.contains_key(&Kind::Readiness);
                        self.gauges.values_mut().for_each(|gauge| gauge.next = gauge.next.max(now));
                    }
                    Kind::Readiness => self.ready = true,
                    Kind::Liveness => {}
                }
            }
            Err(why) => {
                (gauge.successes, gauge.failures) = (0, gauge.failures + 1);
                let failures = gauge.failures;
                self.words.push(Word::warning(now, "Unhealthy", format!("{} probe failed: {why}", kind.name())));
                if failures < threshold(probe.failure_threshold, 3) {
                    return;
                }
                if kind == Kind::Readiness {
                    self.ready = false;
                    return;
                }
                let message = format!("Container {name} failed {} probe, will be restarted", kind.name().to_lowercase());
                self.words.push(Word::normal(now, "Killing", message));
                let grace = probe.termination_grace_period_seconds.map_or(real.grace, SignedDuration::from_secs);
                self.end_by(now, later(now, grace).unwrap_or(now));
            }
        }
    }
}

impl Gauge {
    fn new(probe: &Probe, started: Timestamp) -> Gauge {
        let delay = SignedDuration::from_secs(i64::from(probe.initial_delay_seconds.unwrap_or(0).max(0)));
        Gauge { next: later(started, delay).unwrap_or(started), successes: 0, failures: 0 }
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Option<Timestamp> {
    at.saturating_add(by).ok()
}
