//! The loop: mail in, decisions, effects out. The only place that changes the world.

use crate::decide::{decide, provision};
use crate::effect::{Effect, Failure, Outcome};
use crate::handle::{Handle, Shared};
use crate::log::{Level, Line};
use crate::perform::perform;
use crate::record::{Decision, What};
use crate::recorder::Recorder;
use crate::settings::{CrashPoint, Settings};
use crate::step::{Act, Done, Memo, Note, Step, Then};
use crate::unsettled;
use crate::work::{Queue, Work};
use crate::world::World;
use ambient::{Clock, Entropy, Stream};
use cloud::Cloud;
use cluster::{Change, Kind, Object, Touched};
use jiff::{SignedDuration, Timestamp};
use kube::{Client, ResourceExt};
use planner::Offerings;
use planner::output::PodOutcome;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use vocabulary::labels;

/// Decisions about one piece of work in a row; more means that they undo each other.
const ROUNDS: usize = 100;
/// Pods without a place are offered to the planner again and again (`C/pkg/controllers/provisioning/controller.go`).
const RETRIGGER: SignedDuration = SignedDuration::from_secs(10);

pub(crate) enum Mail {
    Watched(Change),
    Ended { number: u64, outcome: Result<Outcome, Failure> },
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
}

struct InFlight {
    /// `None`: an Event, which nobody waits for.
    work: Option<Work>,
    act: Act2,
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
        shared.publish(vec!["start-up".to_owned()]);
        let controller = Controller {
            client,
            cloud,
            clock,
            watch_entropy: entropy.child("watch"),
            names: entropy.stream("nodeclaim-names"),
            world: World::new(settings),
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
        };
        (controller, Handle { shared })
    }

    /// Works until [`Handle::stop`], or the crash point.
    pub async fn run(mut self) -> Stopped {
        crate::watch::start(&mut self.watches, &self.client, &self.sender, &self.clock, &self.watch_entropy);
        self.queue.add(Work::Startup, self.clock.now());
        let shared = self.shared.clone();
        loop {
            if let Some(number) = self.turn() {
                self.record(What::Crashed { number });
                return Stopped::Crashed(number);
            }
            self.publish();
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
                () = shared.stop.notified() => return Stopped::Asked,
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
        if !self.open || self.running.contains_key(&Work::Provision) { None } else { self.world.batch.due() }
    }

    fn next_due(&self) -> Option<Timestamp> {
        [self.queue.next_due(), self.batch_due()].into_iter().flatten().min()
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
        list.extend(unsettled::of_world(&mut self.world));
        self.shared.publish(list);
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
                    self.route(&touched, None);
                }
                self.open_when_ready();
            }
            Mail::Ended { number, outcome } => self.ended(number, outcome),
        }
    }

    fn ended(&mut self, number: u64, outcome: Result<Outcome, Failure>) {
        if self.world.settings.crash_at == Some(CrashPoint::After(number)) {
            self.crashed = Some(number);
            return;
        }
        let Some(InFlight { work, act }) = self.in_flight.remove(&number) else { return };
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
                error => Then::Retry(error.to_string()),
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
                    Kind::DaemonSet => None,
                };
                object.and_then(|object| self.world.index.delete(&object))
            }
            _ => None,
        };
        if let Some(touched) = touched {
            self.route(&touched, work);
        }
    }

    // Routing.

    fn open_when_ready(&mut self) {
        if self.open || !self.world.facts.started || !self.world.index.is_listed() {
            return;
        }
        self.open = true;
        self.record(What::Started);
        let now = self.clock.now();
        let index = &self.world.index;
        let mut works: Vec<Work> = index.classes().map(|c| Work::NodeClass(c.name_any().into())).collect();
        works.extend(index.pools().flat_map(|p| [Work::NodePool(p.name_any().into()), Work::PoolCounter(p.name_any().into())]));
        for claim in index.claims() {
            let name: Arc<str> = claim.name_any().into();
            works.extend([Work::Lifecycle(name.clone()), Work::Expiration(name.clone()), Work::Tagging(name)]);
        }
        works.extend(index.nodes().filter(|n| n.metadata.deletion_timestamp.is_some()).map(|n| Work::Termination(n.name_any().into())));
        works.extend([Work::Retrigger, Work::InstanceGc, Work::ClaimGc, Work::LaunchTemplates]);
        for work in works {
            self.queue.add(work, now);
        }
        for (work, wait) in [
            (Work::KubernetesVersion, SignedDuration::from_mins(5)),
            (Work::InstanceTypes, SignedDuration::from_hours(12)),
            (Work::Prices, SignedDuration::from_hours(12)),
        ] {
            self.queue.after(work, later(now, wait), None, now);
        }
    }

    /// Who must look at what changed. `by` has seen it already.
    fn route(&mut self, touched: &Touched, by: Option<&Work>) {
        if !self.open {
            return;
        }
        let now = self.clock.now();
        let name = touched.key.name.clone();
        let mut works = Vec::new();
        match touched.kind {
            Kind::Pod => {
                if let Some(Object::Pod(pod)) = &touched.new
                    && cluster::pod::is_provisionable(pod)
                {
                    self.trigger(&pod.uid().unwrap_or_default(), now);
                    self.queue.add_new(Work::Retrigger, now);
                }
            }
            Kind::Node => {
                for object in [&touched.old, &touched.new].into_iter().flatten() {
                    let Object::Node(node) = object else { continue };
                    let id = node.spec.as_ref().and_then(|s| s.provider_id.as_deref()).unwrap_or("");
                    works.extend(self.world.index.claims_of(id).into_iter().map(|c| Work::Lifecycle(c.name_any().into())));
                }
                if let Some(Object::Node(node)) = &touched.new {
                    if node.metadata.deletion_timestamp.is_some() {
                        works.push(Work::Termination(name));
                    }
                    if cluster::machine::node_taints(node).iter().any(|t| &*t.key == labels::DISRUPTED_TAINT) {
                        self.trigger(&node.uid().unwrap_or_default(), now);
                        self.queue.add_new(Work::Retrigger, now);
                    }
                }
            }
            Kind::NodeClaim => {
                let object = touched.new.as_ref().or(touched.old.as_ref());
                if let Some(Object::NodeClaim(claim)) = object {
                    if let Some(id) = crate::world::provider_id(claim) {
                        let nodes = self.world.index.nodes_of(id);
                        works.extend(
                            nodes
                                .into_iter()
                                .filter(|n| n.metadata.deletion_timestamp.is_some())
                                .map(|n| Work::Termination(n.name_any().into())),
                        );
                    }
                    if touched.new.is_none() {
                        works.push(Work::NodeClass(claim.spec.node_class_ref.name.as_str().into()));
                        self.world.launches.remove(&claim.uid().unwrap_or_default());
                    }
                }
                works.extend([Work::Lifecycle(name.clone()), Work::Expiration(name.clone()), Work::Tagging(name)]);
            }
            Kind::NodePool => {
                works.push(Work::NodePool(name.clone()));
                if touched.old.is_none() {
                    works.push(Work::PoolCounter(name));
                }
            }
            Kind::EC2NodeClass => {
                works.push(Work::NodeClass(name.clone()));
                let pools = self.world.index.pools().filter(|p| *p.spec.template.spec.node_class_ref.name == *name);
                works.extend(pools.map(|p| Work::NodePool(p.name_any().into())));
            }
            Kind::DaemonSet => {}
        }
        for work in works {
            if by != Some(&work) {
                self.queue.add(work, now);
            }
        }
    }

    fn trigger(&mut self, uid: &str, now: Timestamp) {
        let planned = &self.world.planned;
        let known = planned.placed.contains(uid) || planned.refused.contains(uid);
        let work = !known || planned.version != Some(self.world.index.version());
        if self.world.batch.trigger(uid, work, now) {
            self.record(What::BatchOpened);
        }
    }

    // Deciding.

    fn reconcile(&mut self, work: Work) {
        loop {
            let now = self.clock.now();
            self.world.index.refresh();
            let mut reconcile = self.running.remove(&work).unwrap_or_default();
            reconcile.rounds += 1;
            let step = if reconcile.rounds > ROUNDS {
                Step::retry("decisions undo each other")
            } else {
                match &work {
                    Work::Provision => self.provision(&reconcile.done, now),
                    Work::Retrigger => self.retrigger(now),
                    _ => decide(&self.world, &work, &reconcile.done, now),
                }
            };
            let Step { acts, then, notes, enqueue } = step;
            self.say(notes, Some(&work));
            for other in enqueue {
                self.queue.add_new(other, now);
            }
            if acts.is_empty() {
                if matches!(then, Then::Continue) {
                    self.running.insert(work.clone(), reconcile);
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
        self.running.remove(&work);
        let now = self.clock.now();
        match then {
            Then::Rest | Then::Continue => self.queue.finish(work, now),
            Then::After { wait, why } => self.queue.after(work, later(now, wait), why, now),
            Then::Again => {
                let why = format!("{work} is tried again");
                self.queue.fail(work, Some(why), now);
            }
            Then::Retry(error) => {
                let line = Line::error(work.controller(), "Reconciler error", &error).with("object", work.object());
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
                Note::Remember(memo) => self.remember(memo),
                Note::HoldUntil(until) => {
                    if let Some(work) = work {
                        self.queue.hold(work, until);
                    }
                }
            }
        }
    }

    fn remember(&mut self, memo: Memo) {
        let started = matches!(memo, Memo::Started);
        let pool_uid = if let Memo::Registration { pool_uid, .. } = &memo { Some(pool_uid.clone()) } else { None };
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
        self.in_flight.insert(number, InFlight { work, act });
        self.effects.spawn(async move {
            let outcome = perform(client, cloud, effect).await;
            sender.send(Mail::Ended { number, outcome });
        });
    }

    // Provisioning.

    fn retrigger(&mut self, now: Timestamp) -> Step {
        let mut uids: Vec<String> = self.world.index.pending().filter_map(|(_, pod)| pod.uid()).collect();
        let disrupted = |node: &k8s_openapi::api::core::v1::Node| {
            cluster::machine::node_taints(node).iter().any(|t| &*t.key == labels::DISRUPTED_TAINT)
        };
        uids.extend(self.world.index.nodes().filter(|n| disrupted(n)).filter_map(|n| n.uid()));
        if uids.is_empty() {
            return Step::rest();
        }
        for uid in uids {
            self.trigger(&uid, now);
        }
        Step::after(RETRIGGER, None)
    }

    fn provision(&mut self, done: &[Done], now: Timestamp) -> Step {
        if !done.is_empty() || !self.world.batch.take() {
            return Step::rest();
        }
        if !self.world.index.synced() {
            let launching = self.world.index.claims().filter(|c| crate::world::provider_id(c).is_none()).map(|c| c.name_any()).collect();
            self.record(What::Unsynced { waiting_for: launching });
            return Step::rest();
        }
        let version = self.world.index.version();
        let snapshot = self.world.index.snapshot();
        let (offerings, mut notes) = self.offerings(now);
        let (plan, explanation) = planner::plan(&snapshot, &offerings, now, &self.world.settings.options);
        notes.extend(provision::notes(&self.world, &plan, &explanation));
        self.note_verdicts(version, &explanation);
        let mut acts = Vec::new();
        let mut names = Vec::new();
        for launch in &plan.launches {
            let name = self.claim_name(&launch.pool, &names);
            match provision::create(&self.world, launch, name.clone()) {
                Ok(act) => acts.push(act),
                Err(line) => notes.push(line.into()),
            }
            names.push(name);
        }
        // C/pkg/controllers/state/statenode.go: twice the longest batch, and ten seconds at the least.
        let window = (self.world.settings.batch_max * 2).max(SignedDuration::from_secs(10));
        for nomination in &plan.nominations {
            self.world.index.nominate(&nomination.node, later(now, window));
        }
        self.record(What::Planned { plan: Arc::new(plan), explanation: Arc::new(explanation), names });
        Step { acts, notes, ..Step::default() }
    }

    /// What can be bought for each pool that is ready; a pool that cannot be resolved is left out.
    fn offerings(&self, now: Timestamp) -> (Offerings, Vec<Note>) {
        let (mut offerings, mut notes) = (Offerings::new(), Vec::new());
        for pool in self.world.index.pools() {
            let name = pool.name_any();
            let ready = pool.status.as_ref().is_some_and(|s| api::condition::is_true(&s.conditions, "Ready"));
            if pool.metadata.deletion_timestamp.is_some() || pool.spec.replicas.is_some() {
                continue;
            }
            if !ready {
                let line = Line::new(Level::Error, "provisioner", "ignoring nodepool, not ready").object("NodePool", "", &name);
                notes.push(line.into());
                continue;
            }
            let Some(class) = self.world.index.class(&pool.spec.template.spec.node_class_ref.name) else { continue };
            match self.cloud.instance_types(class, now) {
                Ok(types) => {
                    offerings.insert(name.as_str().into(), types);
                }
                Err(error) => {
                    let line =
                        Line::error("provisioner", "skipping, unable to resolve instance types", error).object("NodePool", "", &name);
                    notes.push(line.into());
                }
            }
        }
        (offerings, notes)
    }

    fn note_verdicts(&mut self, version: u64, explanation: &planner::Explanation) {
        let planned = &mut self.world.planned;
        planned.version = Some(version);
        planned.placed.clear();
        planned.refused.clear();
        for verdict in &explanation.pods {
            let (namespace, name) = verdict.pod.split_once('/').unwrap_or(("", &verdict.pod));
            let Some(uid) = self.world.index.pod(&cluster::Key::new(namespace, name)).and_then(|pod| pod.uid()) else { continue };
            match verdict.outcome {
                PodOutcome::FitsNode(_) | PodOutcome::Launch(_) => planned.placed.insert(uid),
                PodOutcome::Unschedulable(_) | PodOutcome::Invalid(_) => planned.refused.insert(uid),
            };
        }
    }

    /// `<pool>-` and five characters, as the API server makes names, but from our own seed, so that runs repeat.
    fn claim_name(&mut self, pool: &str, taken: &[String]) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        loop {
            let mut name = format!("{pool}-");
            for _ in 0..5 {
                let at = usize::try_from(self.names.below(LETTERS.len() as u64)).unwrap_or(0);
                name.push(char::from(LETTERS[at]));
            }
            if self.world.index.claim(&name).is_none() && !taken.contains(&name) {
                return name;
            }
        }
    }
}

fn later(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}
