//! The loop: mail in, decisions, effects out. The only place that changes the world.
//!
//! `route` says who must look at a change; `provision` and `disrupt` are the two decisions that need a picture of everything; `fixed` keeps
//! pools of fixed size and NodeOverlays.

mod disrupt;
mod fixed;
mod provision;
mod route;

use crate::decide::decide;
use crate::effect::{Effect, Failure, Outcome};
use crate::handle::{Handle, Shared};
use crate::log::{Level, Line};
use crate::metrics::Metrics;
use crate::perform::perform;
use crate::record::{Decision, What};
use crate::recorder::Recorder;
use crate::settings::{CrashPoint, Settings, Tamper};
use crate::step::{Act, Done, Memo, Note, Step, Then};
use crate::unsettled;
use crate::work::{Queue, Work};
use crate::world::World;
use ambient::{Clock, Entropy, Stream};
use cloud::Cloud;
use cloud::telling::{Loudness, Report, listen};
use cluster::{Change, Kind, Object};
use jiff::{SignedDuration, Timestamp};
use kube::{Client, ResourceExt};
use planner::Snapshot;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// How long effects in flight may still take once the controller is to end; kubelets kill after 30 s.
const PATIENCE: SignedDuration = SignedDuration::from_secs(20);
/// Decisions about one piece of work in a row; more means that they undo each other.
const ROUNDS: usize = 100;

pub(crate) enum Mail {
    Watched(Change),
    Ended { number: u64, outcome: Result<Outcome, Failure>, told: Vec<Report> },
}

#[derive(Clone)]
pub(crate) struct Sender {
    channel: UnboundedSender<Mail>,
    shared: Arc<Shared>,
}

impl Sender {
    pub fn send(&self, mail: Mail) {
        self.shared.mail.fetch_add(1, Ordering::Relaxed);
        // Nobody reads any more once the controller has stopped.
        if self.channel.send(mail).is_err() {
            self.shared.mail.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Why [`Controller::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// [`Handle::stop`] was called.
    Asked,
    /// The lease went to another process, or could not be renewed.
    LeaseLost,
    /// At [`Settings::crash_at`], with this effect's number.
    Crashed(u64),
}

/// The controller. Does nothing until it is run; stops, with all that it began, when it is dropped.
pub struct Controller {
    client: Client,
    cloud: Arc<dyn Cloud>,
    clock: Clock,
    watch_entropy: Entropy,
    names: Stream,
    world: World,
    metrics: Metrics,
    queue: Queue,
    recorder: Recorder,
    mail: UnboundedReceiver<Mail>,
    sender: Sender,
    shared: Arc<Shared>,
    watches: JoinSet<()>,
    effects: JoinSet<()>,
    in_flight: BTreeMap<u64, InFlight>,
    running: BTreeMap<Work, Reconcile>,
    effect_number: u64,
    record_sequence: u64,
    /// Everything is listed and known: works are decided.
    open: bool,
    crashed: Option<u64>,
    /// Nothing new is begun, and at this instant all is over.
    finishing: Option<Timestamp>,
}

struct InFlight {
    /// `None`: an Event, which nobody waits for.
    work: Option<Work>,
    act: Act2,
    began: Timestamp,
}

/// An act with its effect shared with the task that performs it.
struct Act2 {
    effect: Arc<Effect>,
    after: Vec<Note>,
    tolerant: bool,
}

/// The effects of one reconcile so far.
#[derive(Default)]
struct Reconcile {
    began: Option<Timestamp>,
    done: Vec<Done>,
    outstanding: usize,
    rounds: usize,
    ends: Option<Then>,
}

impl Controller {
    /// Must be called inside the runtime when the clock is virtual. `client` needs what upstream's cluster role allows.
    pub fn new(client: Client, cloud: Arc<dyn Cloud>, clock: Clock, entropy: Entropy, settings: Settings) -> (Controller, Handle) {
        let (channel, mail) = unbounded_channel();
        let shared = Arc::new(Shared::default());
        shared.publish(vec!["start-up".to_owned()], &Arc::default());
        let controller = Controller {
            client,
            cloud,
            clock,
            watch_entropy: entropy.child("watch"),
            names: entropy.stream("nodeclaim-names"),
            world: World::new(settings),
            metrics: Metrics::new(),
            queue: Queue::default(),
            recorder: Recorder::default(),
            mail,
            sender: Sender { channel, shared: shared.clone() },
            shared: shared.clone(),
            watches: JoinSet::new(),
            effects: JoinSet::new(),
            in_flight: BTreeMap::new(),
            running: BTreeMap::new(),
            effect_number: 0,
            record_sequence: 0,
            open: false,
            crashed: None,
            finishing: None,
        };
        (controller, Handle { shared })
    }

    /// Works until [`Handle::stop`], or the crash point.
    pub async fn run(mut self) -> Stopped {
        let overlays = self.world.settings.node_overlay;
        crate::watch::start(&mut self.watches, &self.client, &self.sender, &self.clock, &self.watch_entropy, overlays);
        self.queue.add(Work::Startup, self.clock.now());
        if self.world.settings.leader_election.is_some() {
            self.queue.add(Work::Lease, self.clock.now());
        }
        let shared = self.shared.clone();
        loop {
            if let Some(number) = self.turn() {
                self.record(What::Crashed { number });
                return Stopped::Crashed(number);
            }
            if self.world.election.lost {
                return Stopped::LeaseLost;
            }
            self.publish();
            if self.finishing.is_some_and(|until| self.clock.now() >= until || self.is_finished()) {
                return Stopped::Asked;
            }
            let due = self.next_due();
            let clock = self.clock.clone();
            let alarm = async {
                match due {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shared.stop.notified() => {
                    if !shared.finishing.load(Ordering::Relaxed) {
                        return Stopped::Asked;
                    }
                    self.finishing = Some(later(self.clock.now(), PATIENCE));
                }
                () = shared.asked.notified() => self.answer(),
                mail = self.mail.recv() => {
                    if let Some(mail) = mail {
                        self.read(mail);
                    }
                }
                () = alarm => {}
            }
        }
    }

    /// Everything that can be decided now. The number of the effect at which to crash, if it was met.
    fn turn(&mut self) -> Option<u64> {
        loop {
            let now = self.clock.now();
            self.queue.wake(now);
            if self.batch_due().is_some_and(|due| due <= now) {
                self.queue.add(Work::Provision, now);
            }
            while self.crashed.is_none()
                && self.finishing.is_none()
                && let Some(work) = self.queue.pop()
            {
                self.reconcile(work);
            }
            while self.effects.try_join_next().is_some() {}
            match self.mail.try_recv() {
                Ok(mail) if self.crashed.is_none() => self.read(mail),
                _ => return self.crashed,
            }
        }
    }

    /// When the open batch closes; never while a plan is being carried out.
    fn batch_due(&self) -> Option<Timestamp> {
        if !self.open || self.finishing.is_some() || self.running.contains_key(&Work::Provision) { None } else { self.world.batch.due() }
    }

    fn next_due(&self) -> Option<Timestamp> {
        match self.finishing {
            Some(until) => Some(until),
            None => [self.queue.next_due(), self.batch_due()].into_iter().flatten().min(),
        }
    }

    /// Nothing is in flight that somebody waits for.
    fn is_finished(&self) -> bool {
        self.in_flight.values().all(|flight| flight.work.as_ref().is_none_or(Work::is_poll))
    }

    fn publish(&mut self) {
        let mut list = Vec::new();
        if !self.open {
            list.push("start-up".to_owned());
        }
        for (number, flight) in &self.in_flight {
            if !unsettled::is_poll(&self.world, flight.work.as_ref(), &flight.act.effect) {
                let (verb, object) = flight.act.effect.describe();
                list.push(format!("effect {number}: {verb} {object}"));
            }
        }
        list.extend(self.queue.waiting().map(str::to_owned));
        let outlook = unsettled::outlook(&mut self.world, !list.is_empty(), self.clock.now());
        list.extend(outlook.moving.iter().cloned());
        self.shared.publish(list, &outlook.upcoming);
        self.shared.ready.store(self.world.index.is_listed(), Ordering::Relaxed);
    }

    fn record(&mut self, what: What) {
        self.record_sequence += 1;
        if let Some(observer) = &self.world.settings.observer {
            observer(Decision { at: self.clock.now(), sequence: self.record_sequence, what });
        }
    }

    // Mail.

    fn read(&mut self, mail: Mail) {
        self.shared.mail.fetch_sub(1, Ordering::Relaxed);
        match mail {
            Mail::Watched(change) => {
                for touched in self.world.index.change(change) {
                    self.notice(&touched, None);
                }
                self.world.disruption.notice(self.world.index.churn(), self.clock.now());
                self.open_when_ready();
            }
            Mail::Ended { number, outcome, told } => self.ended(number, outcome, told),
        }
    }

    fn ended(&mut self, number: u64, outcome: Result<Outcome, Failure>, told: Vec<Report>) {
        if self.world.settings.crash_at == Some(CrashPoint::After(number)) {
            self.crashed = Some(number);
            return;
        }
        let Some(InFlight { work, act, began }) = self.in_flight.remove(&number) else { return };
        let controller = work.as_ref().map_or("events", Work::controller);
        told.into_iter().for_each(|report| self.heard(report, work.as_ref()));
        self.metrics.called(&act.effect, &outcome, controller, began, self.clock.now());
        let (verb, object) = act.effect.describe();
        let error = outcome.as_ref().err().map(ToString::to_string);
        self.record(What::EffectEnded { number, verb, object, error });
        match &outcome {
            Ok(outcome) => {
                self.take_in(outcome, work.as_ref());
                self.say(act.after, work.as_ref());
            }
            Err(error) if work.is_none() => tracing::debug!(%error, "an Event was not written"),
            Err(_) => {}
        }
        let Some(work) = work else { return };
        let Some(reconcile) = self.running.get_mut(&work) else { return };
        reconcile.outstanding -= 1;
        if let (Err(error), false) = (&outcome, act.tolerant) {
            let then = match error {
                error if error.is_not_found() => Then::Rest,
                error if error.is_conflict() => Then::Again,
                error => Then::Retry(error.to_string().into()),
            };
            // An error outweighs a conflict, a conflict an object that is gone.
            let rank = |then: &Then| match then {
                Then::Retry(_) => 2,
                Then::Again => 1,
                _ => 0,
            };
            if reconcile.ends.as_ref().is_none_or(|ends| rank(ends) < rank(&then)) {
                reconcile.ends = Some(then);
            }
        }
        reconcile.done.push(Done { effect: act.effect, outcome });
        if reconcile.outstanding == 0 {
            match reconcile.ends.take() {
                Some(then) => self.end(work, then),
                None => self.reconcile(work),
            }
        }
    }

    /// What a call told beside its answer.
    fn heard(&mut self, report: Report, work: Option<&Work>) {
        let Report::Line { loudness, message, keys, controller } = report else {
            self.metrics.heard(report, self.clock.now());
            return;
        };
        let level = match loudness {
            Loudness::Debug => Level::Debug,
            Loudness::Info => Level::Info,
            Loudness::Error => Level::Error,
        };
        let mut line = Line::new(level, controller.or(work.map(Work::controller)).unwrap_or_default(), message);
        if let (None, Some((key, name))) = (controller, work.and_then(Work::subject)) {
            line = line.object(key, "", name);
        }
        line.keys.extend(keys);
        self.say(vec![line.into()], None);
    }

    /// A reply shows the object as it is now: what was written is known before the watch says so.
    fn take_in(&mut self, outcome: &Outcome, work: Option<&Work>) {
        let touched = match outcome {
            Outcome::Object(object) => self.world.index.apply((**object).clone()),
            Outcome::Gone(target) => {
                let index = &self.world.index;
                let object = match target.kind {
                    Kind::Pod => index.pod(&target.key).cloned().map(Object::Pod),
                    Kind::Node => index.node(&target.key.name).cloned().map(Object::Node),
                    Kind::NodeClaim => index.claim(&target.key.name).cloned().map(Object::NodeClaim),
                    Kind::NodePool => index.pool(&target.key.name).cloned().map(Object::NodePool),
                    Kind::EC2NodeClass => index.class(&target.key.name).cloned().map(Object::EC2NodeClass),
                    // Never deleted from here: the watch tells.
                    _ => None,
                };
                object.and_then(|object| self.world.index.delete(&object))
            }
            _ => None,
        };
        if let Some(touched) = touched {
            self.notice(&touched, work);
        }
    }

    // Deciding.

    fn tamper(&self) -> Option<&Tamper> {
        self.world.settings.tamper.as_ref()
    }

    /// What planning is about.
    fn picture(&mut self) -> Arc<Snapshot> {
        let mut snapshot = self.world.index.snapshot();
        if let Some(change) = self.tamper().and_then(|tamper| tamper.picture.as_ref()) {
            change(Arc::make_mut(&mut snapshot));
        }
        snapshot
    }

    fn reconcile(&mut self, work: Work) {
        loop {
            let now = self.clock.now();
            self.world.index.refresh();
            self.world.disruption.notice(self.world.index.churn(), now);
            let mut reconcile = self.running.remove(&work).unwrap_or_default();
            reconcile.began.get_or_insert(now);
            reconcile.rounds += 1;
            let step = if reconcile.rounds > ROUNDS {
                Step::retry("decisions undo each other")
            } else {
                match &work {
                    Work::Provision => self.provision(&reconcile.done, now),
                    Work::FixedSize(name) => self.keep_size(name, &reconcile.done, now),
                    Work::NodeOverlays => self.overlay(&reconcile.done, now),
                    Work::Retrigger => self.retrigger(now),
                    Work::Disruption => self.disrupt(&reconcile.done, now),
                    Work::Command(id) => self.orchestrate(*id, &reconcile.done, now),
                    Work::Marks(name) => self.mark(name, &reconcile.done, now),
                    Work::Images => self.forget_images(now),
                    _ => decide(&self.world, &work, &reconcile.done, now),
                }
            };
            let mut step = step;
            if let Some(change) = self.tamper().and_then(|tamper| tamper.step.as_ref()) {
                change(&work, &mut step);
            }
            let Step { acts, then, notes, enqueue } = step;
            self.say(notes, Some(&work));
            for other in enqueue {
                self.queue.add_new(other, now);
            }
            if acts.is_empty() {
                let over = !matches!(then, Then::Continue);
                self.running.insert(work.clone(), reconcile);
                if !over {
                    continue;
                }
                self.end(work, then);
                return;
            }
            reconcile.outstanding = acts.len();
            self.running.insert(work.clone(), reconcile);
            for Act { effect, after, tolerant } in acts {
                self.begin(Some(work.clone()), Act2 { effect: Arc::new(effect), after, tolerant });
            }
            return;
        }
    }

    /// The reconcile is over.
    fn end(&mut self, work: Work, then: Then) {
        let began = self.running.remove(&work).and_then(|reconcile| reconcile.began);
        let now = self.clock.now();
        let result = match &then {
            Then::Rest | Then::Continue => "success",
            Then::After { .. } => "requeue_after",
            Then::Again => "requeue",
            Then::Retry(_) => "error",
        };
        let took = now.duration_since(began.unwrap_or(now)).as_secs_f64();
        self.metrics.reconciled(work.controller(), result, took, now);
        match then {
            Then::Rest | Then::Continue => self.queue.finish(work, now),
            Then::After { wait, why } => self.queue.after(work, later(now, wait), why, now),
            Then::Again => {
                let why = format!("{work} is tried again");
                self.queue.fail(work, Some(why), now);
            }
            Then::Retry(error) => {
                let line = Line::error(work.controller(), "Reconciler error", &error);
                let line = match work.subject() {
                    Some((kind, name)) => line.object(kind, "", name),
                    None => line.with("object", work.object()),
                };
                let keys = error.call.iter().flat_map(|call| call.keys());
                let line = keys.fold(line, |line, (key, value)| line.with(key, value));
                let why = if work.is_poll() { None } else { Some(format!("{work} is tried again: {error}")) };
                self.queue.fail(work, why, now);
                self.say(vec![Note::Log(line)], None);
            }
        }
    }

    fn say(&mut self, notes: Vec<Note>, work: Option<&Work>) {
        for note in notes {
            match note {
                Note::Log(line) => {
                    line.emit();
                    // Debug lines about nothing new would fill the record.
                    if line.level != Level::Debug || !line.keys.is_empty() {
                        self.record(What::Log(line));
                    }
                }
                Note::Event(spec) => {
                    if let Some(event) = self.recorder.event(&spec, self.clock.now()) {
                        self.record(What::Event(spec));
                        let effect = Arc::new(Effect::PublishEvent(Box::new(event)));
                        self.begin(None, Act2 { effect, after: Vec::new(), tolerant: true });
                    }
                }
                Note::Unavailable { instance_type, zone, capacity_type } => {
                    self.cloud.mark_unavailable(&instance_type, &zone, capacity_type, self.clock.now());
                }
                Note::Reservation(id, change) => self.cloud.reservation_changed(&id, change, self.clock.now()),
                Note::Remember(memo) => self.remember(memo),
                Note::Count(measure) => self.metrics.take(measure, self.clock.now()),
                Note::HoldUntil(until) => {
                    if let Some(work) = work {
                        self.queue.hold(work, until);
                    }
                }
            }
        }
    }

    fn remember(&mut self, memo: Memo) {
        let started = matches!(memo, Memo::Started | Memo::Leading(_));
        let pool_uid = if let Memo::Registration { pool_uid, .. } = &memo { Some(pool_uid.clone()) } else { None };
        if let Memo::Overlaid(overlays) = &memo {
            self.cloud.overlay(overlays.clone());
        }
        self.world.remember(memo);
        if let Some(uid) = pool_uid {
            let pools: Vec<Arc<str>> =
                self.world.index.pools().filter(|p| p.uid().as_deref() == Some(uid.as_str())).map(|p| p.name_any().into()).collect();
            let now = self.clock.now();
            pools.into_iter().for_each(|name| self.queue.add(Work::NodePool(name), now));
        }
        if started {
            self.open_when_ready();
        }
    }

    fn begin(&mut self, work: Option<Work>, act: Act2) {
        if self.crashed.is_some() {
            return;
        }
        self.effect_number += 1;
        let number = self.effect_number;
        if self.world.settings.crash_at == Some(CrashPoint::Before(number)) {
            self.crashed = Some(number);
            return;
        }
        let (verb, object) = act.effect.describe();
        let controller = work.as_ref().map_or("events", Work::controller);
        self.record(What::EffectBegun { number, verb, object, controller });
        let (client, cloud, sender, effect) = (self.client.clone(), self.cloud.clone(), self.sender.clone(), act.effect.clone());
        self.in_flight.insert(number, InFlight { work, act, began: self.clock.now() });
        self.effects.spawn(async move {
            let (outcome, told) = listen(perform(client, cloud, effect)).await;
            sender.send(Mail::Ended { number, outcome, told });
        });
    }
}

pub(super) fn later(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}
