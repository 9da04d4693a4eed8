//! Pieces of work, each decided by one controller about one object, and the queue that orders them.
//!
//! The queue is client-go's work queue in our own hands: a key is never worked on twice at once, what arrives meanwhile is looked
//! at afterwards, failures back off exponentially. Timers fire in order of (instant, sequence).

use cluster::Key;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

type Name = Arc<str>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    Startup,
    /// The leader election.
    Lease,
    KubernetesVersion,
    NodeClass(Name),
    NodePool(Name),
    PoolCounter(Name),
    /// A NodePool of fixed size gets or loses NodeClaims.
    FixedSize(Name),
    /// NodeOverlays are held against the instance types of all pools.
    NodeOverlays,
    Lifecycle(Name),
    Expiration(Name),
    Tagging(Name),
    /// The conditions that say whether a NodeClaim may be consolidated, and has drifted.
    Marks(Name),
    PodEvents(Name),
    Termination(Name),
    Evict {
        pod: Key,
        uid: Name,
    },
    Provision,
    Retrigger,
    /// The search for nodes that should go.
    Disruption,
    /// A command on its way, by its number.
    Command(u64),
    /// The queue of what the account says of its machines.
    Interruption,
    InstanceGc,
    ClaimGc,
    /// Machines that EC2 finds broken.
    Health,
    /// A node whose conditions say that it is broken.
    NodeHealth(Name),
    /// Machines that left their capacity reservation, and those of one that ends.
    CapacityTypes,
    ReservationExpiration,
    InstanceTypes,
    Prices,
    LaunchTemplates,
    /// A node is what its NodeClaim promised.
    Consistency(Name),
    /// Instance profiles that nobody uses any more.
    Profiles,
    /// Image parameters whose image is deprecated are asked for anew.
    Images,
    /// Zones that are shifted away from.
    ZonalShift,
    /// A NodeClaim or a Node names its NodeClass.
    HydrateClaim(Name),
    HydrateNode(Name),
}

impl Work {
    /// The controller's name upstream, as in its logs.
    pub fn controller(&self) -> &'static str {
        match self {
            Work::Startup => "",
            Work::Lease => "leader-election",
            Work::KubernetesVersion => "providers.version",
            Work::NodeClass(_) => "nodeclass",
            Work::NodePool(_) => "nodepool.readiness",
            Work::PoolCounter(_) => "nodepool.counter",
            Work::FixedSize(_) => "static.provisioning",
            Work::NodeOverlays => "nodeoverlay.controller",
            Work::Lifecycle(_) => "nodeclaim.lifecycle",
            Work::Expiration(_) => "nodeclaim.expiration",
            Work::Tagging(_) => "nodeclaim.tagging",
            Work::Marks(_) => "nodeclaim.disruption",
            Work::PodEvents(_) => "nodeclaim.podevents",
            Work::Disruption => "disruption",
            Work::Command(_) => "disruption.queue",
            Work::Termination(_) => "node.termination",
            Work::Evict { .. } => "eviction-queue",
            Work::Provision => "provisioner",
            Work::Retrigger => "provisioner.trigger.pod",
            Work::Interruption => "interruption",
            Work::InstanceGc => "instance.garbagecollection",
            Work::ClaimGc => "nodeclaim.garbagecollection",
            Work::Health => "interruption.instancestatus",
            Work::NodeHealth(_) => "node.health",
            Work::CapacityTypes => "capacityreservation.capacitytype",
            Work::ReservationExpiration => "capacityreservation.expiration",
            Work::InstanceTypes => "providers.instancetype",
            Work::Prices => "providers.pricing",
            Work::LaunchTemplates => "providers.launchtemplate",
            Work::Consistency(_) => "nodeclaim.consistency",
            Work::Profiles => "instanceprofile.garbagecollection",
            Work::Images => "providers.ssm.invalidation",
            Work::ZonalShift => "zonalshift",
            Work::HydrateClaim(_) => "nodeclaim.hydration",
            Work::HydrateNode(_) => "node.hydration",
        }
    }

    /// What it is about.
    pub fn object(&self) -> String {
        match self {
            Work::NodeClass(name) => format!("ec2nodeclass/{name}"),
            Work::NodePool(name) | Work::PoolCounter(name) | Work::FixedSize(name) => format!("nodepool/{name}"),
            Work::Lifecycle(name)
            | Work::Expiration(name)
            | Work::Tagging(name)
            | Work::Marks(name)
            | Work::PodEvents(name)
            | Work::HydrateClaim(name)
            | Work::Consistency(name) => {
                format!("nodeclaim/{name}")
            }
            Work::Command(id) => format!("command/{id}"),
            Work::Termination(name) | Work::NodeHealth(name) | Work::HydrateNode(name) => format!("node/{name}"),
            Work::Evict { pod, .. } => format!("pod/{pod}"),
            _ => String::new(),
        }
    }

    /// The key under which a line of the log names what it is about, and its name.
    pub fn subject(&self) -> Option<(&'static str, &str)> {
        match self {
            Work::NodeClass(name) => Some(("EC2NodeClass", &**name)),
            Work::NodePool(name) | Work::PoolCounter(name) | Work::FixedSize(name) => Some(("NodePool", &**name)),
            Work::Lifecycle(name) | Work::Tagging(name) | Work::Marks(name) | Work::Consistency(name) => Some(("NodeClaim", &**name)),
            Work::Termination(name) => Some(("Node", &**name)),
            _ => None,
        }
    }

    /// First and longest wait after failures (`C/pkg/controllers/**`, Register; `operatorpkg/reasonable`; controller-runtime).
    fn back_off(&self) -> (SignedDuration, SignedDuration) {
        match self {
            Work::Lifecycle(_) => (SignedDuration::from_secs(1), SignedDuration::from_mins(1)),
            Work::Termination(_) | Work::NodeHealth(_) | Work::Evict { .. } => {
                (SignedDuration::from_millis(100), SignedDuration::from_secs(10))
            }
            Work::NodeClass(_) | Work::Tagging(_) => (SignedDuration::from_millis(100), SignedDuration::from_mins(1)),
            _ => (SignedDuration::from_millis(5), SignedDuration::from_secs(1000)),
        }
    }

    /// Polls keep knowledge fresh; nobody waits for them.
    pub fn is_poll(&self) -> bool {
        matches!(
            self,
            Work::KubernetesVersion
                | Work::Lease
                | Work::PoolCounter(_)
                | Work::Retrigger
                | Work::Disruption
                | Work::Interruption
                | Work::InstanceGc
                | Work::ClaimGc
                | Work::Health
                | Work::CapacityTypes
                | Work::ReservationExpiration
                | Work::InstanceTypes
                | Work::Prices
                | Work::LaunchTemplates
                | Work::Consistency(_)
                | Work::Profiles
                | Work::Images
                | Work::ZonalShift
        )
    }
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let object = self.object();
        match (self.controller(), object.as_str()) {
            ("", _) => f.write_str("start-up"),
            (controller, "") => f.write_str(controller),
            (controller, object) => write!(f, "{controller} {object}"),
        }
    }
}

#[derive(Debug, Default)]
struct Item {
    queued: bool,
    busy: bool,
    /// Asked for while busy.
    again: bool,
    failures: u32,
    hold_until: Option<Timestamp>,
    timer: Option<(Timestamp, u64)>,
    /// Why its timer counts as work under way.
    why: Option<String>,
}

#[derive(Debug, Default)]
pub struct Queue {
    items: BTreeMap<Work, Item>,
    ready: VecDeque<Work>,
    timers: BTreeMap<(Timestamp, u64), Work>,
    sequence: u64,
}

impl Queue {
    /// Asks for the work to be decided as soon as it may be.
    pub fn add(&mut self, work: Work, now: Timestamp) {
        let item = self.items.entry(work.clone()).or_default();
        if item.busy {
            item.again = true;
        } else if let Some(until) = item.hold_until.filter(|until| *until > now) {
            // An earlier timer would be pushed out by the hold anyway.
            if item.timer.is_none_or(|(at, _)| at > until) {
                self.schedule(work, until, None);
            }
        } else if !item.queued {
            item.queued = true;
            self.ready.push_back(work);
        }
    }

    /// The same, unless it is known already (waiting, failing or under way).
    pub fn add_new(&mut self, work: Work, now: Timestamp) {
        if !self.items.contains_key(&work) {
            self.add(work, now);
        }
    }

    fn schedule(&mut self, work: Work, at: Timestamp, why: Option<String>) {
        self.sequence += 1;
        let slot = (at, self.sequence);
        let item = self.items.entry(work.clone()).or_default();
        if let Some(old) = item.timer.replace(slot) {
            self.timers.remove(&old);
        }
        item.why = why;
        self.timers.insert(slot, work);
    }

    fn unschedule(&mut self, work: &Work) {
        if let Some(item) = self.items.get_mut(work) {
            item.why = None;
            if let Some(slot) = item.timer.take() {
                self.timers.remove(&slot);
            }
        }
    }

    /// Moves what is due to the end of the queue.
    pub fn wake(&mut self, now: Timestamp) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let work = entry.remove();
            if let Some(item) = self.items.get_mut(&work) {
                item.timer = None;
                item.why = None;
            }
            self.add(work, now);
        }
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next piece of work; it is busy until [`Queue::finish`], [`Queue::after`] or [`Queue::fail`].
    pub fn pop(&mut self) -> Option<Work> {
        let work = self.ready.pop_front()?;
        self.unschedule(&work);
        let item = self.items.entry(work.clone()).or_default();
        item.queued = false;
        item.busy = true;
        Some(work)
    }

    pub fn hold(&mut self, work: &Work, until: Timestamp) {
        if let Some(item) = self.items.get_mut(work) {
            item.hold_until = Some(until);
        }
    }

    /// Done until something happens.
    pub fn finish(&mut self, work: Work, now: Timestamp) {
        self.release(&work, true, now);
        if let Some(item) = self.items.get(&work)
            && !item.queued
            && item.timer.is_none()
            && item.hold_until.is_none_or(|until| until <= now)
        {
            self.items.remove(&work);
        }
    }

    /// Done for a while.
    pub fn after(&mut self, work: Work, at: Timestamp, why: Option<String>, now: Timestamp) {
        self.release(&work, true, now);
        let at = self.items.get(&work).and_then(|item| item.hold_until).map_or(at, |until| at.max(until));
        if self.items.get(&work).is_none_or(|item| !item.queued && item.timer.is_none()) {
            self.schedule(work, at, why);
        }
    }

    /// Failed: when it will be tried again.
    pub fn fail(&mut self, work: Work, why: Option<String>, now: Timestamp) -> Timestamp {
        self.release(&work, false, now);
        let item = self.items.entry(work.clone()).or_default();
        let (first, most) = work.back_off();
        let wait = first
            .as_nanos()
            .checked_shl(item.failures.min(40))
            .map_or(most, |nanos| SignedDuration::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX)).min(most));
        item.failures = item.failures.saturating_add(1);
        let at = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
        if !item.queued {
            self.schedule(work, at, why);
        }
        at
    }

    fn release(&mut self, work: &Work, healthy: bool, now: Timestamp) {
        let item = self.items.entry(work.clone()).or_default();
        item.busy = false;
        if healthy {
            item.failures = 0;
        }
        if std::mem::take(&mut item.again) {
            self.add(work.clone(), now);
        }
    }

    /// Why a failing work is tried again, or what a timer waits for; in order of works.
    pub fn waiting(&self) -> impl Iterator<Item = &str> {
        self.items.values().filter_map(|item| item.why.as_deref())
    }

    /// Works that are ready or under way and are no polls.
    pub fn active(&self) -> BTreeSet<&Work> {
        self.items.iter().filter(|(work, item)| (item.busy || item.queued) && !work.is_poll()).map(|(work, _)| work).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).expect("in range")
    }

    fn work() -> Work {
        Work::Lifecycle("c".into())
    }

    #[test]
    fn a_key_is_never_worked_on_twice_at_once() {
        let mut queue = Queue::default();
        queue.add(work(), at(0));
        queue.add(work(), at(0));
        assert_eq!(queue.pop(), Some(work()));
        queue.add(work(), at(1));
        assert_eq!(queue.pop(), None);
        queue.finish(work(), at(2));
        assert_eq!(queue.pop(), Some(work()));
        queue.finish(work(), at(3));
        assert_eq!(queue.pop(), None);
    }

    #[rstest]
    #[case(0, 1_000)]
    #[case(1, 2_000)]
    #[case(5, 32_000)]
    #[case(6, 60_000)]
    #[case(60, 60_000)]
    fn failures_back_off(#[case] earlier: u32, #[case] wait: i64) {
        let mut queue = Queue::default();
        for _ in 0..earlier {
            queue.add(work(), at(0));
            queue.pop();
            queue.fail(work(), None, at(0));
        }
        queue.add(work(), at(0));
        queue.pop();
        assert_eq!(queue.fail(work(), None, at(0)), at(wait));
    }

    #[test]
    fn a_hold_delays_what_comes_meanwhile() {
        let mut queue = Queue::default();
        queue.add(work(), at(0));
        queue.pop();
        queue.hold(&work(), at(1_000));
        queue.finish(work(), at(0));
        queue.add(work(), at(10));
        assert_eq!((queue.pop(), queue.next_due()), (None, Some(at(1_000))));
        queue.wake(at(1_000));
        assert_eq!(queue.pop(), Some(work()));
    }

    #[test]
    fn timers_fire_in_order_of_instant_and_sequence() {
        let mut queue = Queue::default();
        for (name, due) in [("b", 5), ("a", 5), ("c", 3)] {
            let work = Work::Lifecycle(name.into());
            queue.add(work.clone(), at(0));
            queue.pop();
            queue.after(work, at(due), None, at(0));
        }
        queue.wake(at(5));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|w| w.object()).collect();
        assert_eq!(order, ["nodeclaim/c", "nodeclaim/b", "nodeclaim/a"]);
    }
}
