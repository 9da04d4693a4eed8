//! What the disruption of nodes remembers between decisions: the pass under way, the commands on their way, what was looked at.

use jiff::{SignedDuration, Timestamp};
use planner::disruption::{Command, Method, Proposal, Stays, unchanged_until};
use planner::{Offerings, Snapshot};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A pass that found nothing is remembered no longer than that (`C/pkg/controllers/state/cluster.go`, ConsolidationState).
const REMEMBERED: SignedDuration = SignedDuration::from_mins(5);

#[derive(Debug, Default)]
pub struct Disruption {
    pub pass: Pass,
    pub commands: BTreeMap<u64, Underway>,
    started: u64,
    /// The index's churn when it was last looked at, the number of states since the start, and when the present one began.
    churn: u64,
    state: u64,
    since: Option<Timestamp>,
    exhausted: BTreeMap<Method, u64>,
    pub answers: Answers,
    /// Commands that are carried out after the present one, in the same pass.
    pub queued: VecDeque<Command>,
    /// The index's version at the last pass that ran to its end.
    pub seen: Option<u64>,
    /// How many nodes each method could have taken, and why the others stay, as it last said it.
    pub stays: BTreeMap<Method, (usize, Vec<Stays>)>,
}

/// Where the present pass through the methods stands.
#[derive(Debug, Default)]
pub enum Pass {
    #[default]
    Idle,
    /// Nodes that an earlier run left tainted are being freed.
    Cleaning,
    /// The command is judged again at `until`; should it not hold, the method at this position is next.
    Waiting { command: Command, until: Timestamp, next: usize },
    /// Its nodes are being tainted and marked. `wrote`: the last writes are done, and some may have failed.
    Marking { command: Command, attempts: u32, wrote: bool },
    /// Its replacements, by name, are being created.
    Creating { command: Command, names: Vec<String> },
}

/// What the methods said of one picture of the cluster. They are pure, so that the same question need not be asked twice.
#[derive(Debug, Default)]
pub struct Answers {
    asked: Option<Question>,
    of: BTreeMap<Method, Proposal>,
}

#[derive(Debug)]
struct Question {
    snapshot: Arc<Snapshot>,
    offerings: Offerings,
    busy: BTreeSet<Arc<str>>,
    /// From when on the time alone may make the answers others.
    until: Timestamp,
}

impl Question {
    /// An index and a catalogue that did not change give the same `Arc`s.
    fn is(&self, snapshot: &Arc<Snapshot>, offerings: &Offerings, busy: &BTreeSet<Arc<str>>, now: Timestamp) -> bool {
        let offered = || self.offerings.iter().zip(offerings).all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(a.1, b.1));
        now < self.until
            && Arc::ptr_eq(&self.snapshot, snapshot)
            && self.busy == *busy
            && self.offerings.len() == offerings.len()
            && offered()
    }
}

impl Answers {
    /// Forgets what was said of another picture.
    pub fn ask(&mut self, snapshot: &Arc<Snapshot>, offerings: &Offerings, busy: &BTreeSet<Arc<str>>, now: Timestamp) {
        if self.asked.as_ref().is_some_and(|question| question.is(snapshot, offerings, busy, now)) {
            return;
        }
        self.of.clear();
        // Where a budget opens by the clock, an answer holds for this instant.
        let until = unchanged_until(snapshot, now).unwrap_or(now);
        self.asked = Some(Question { snapshot: snapshot.clone(), offerings: offerings.clone(), busy: busy.clone(), until });
    }

    /// What this method said before, or says now.
    pub fn of(&mut self, method: Method, say: impl FnOnce() -> Proposal) -> Proposal {
        self.of.entry(method).or_insert_with(say).clone()
    }
}

/// A command that is being carried out.
#[derive(Clone, Debug)]
pub struct Underway {
    pub command: Command,
    pub created: Timestamp,
    /// NodeClaims that stand in, by name.
    pub replacements: Vec<String>,
}

impl Disruption {
    /// Takes note of what happened in the cluster.
    pub fn notice(&mut self, churn: u64, now: Timestamp) {
        if self.churn != churn || self.since.is_none() {
            self.churn = churn;
            self.begin_state(now);
        }
    }

    fn begin_state(&mut self, now: Timestamp) {
        self.state += 1;
        self.since = Some(now);
    }

    fn state(&mut self, now: Timestamp) -> u64 {
        if self.since.is_none_or(|since| now.duration_since(since) >= REMEMBERED) {
            self.begin_state(now);
        }
        self.state
    }

    /// Whether the method found nothing in this state of the cluster before.
    pub fn is_exhausted(&mut self, method: Method, now: Timestamp) -> bool {
        let state = self.state(now);
        self.exhausted.get(&method) == Some(&state)
    }

    pub fn exhaust(&mut self, method: Method, now: Timestamp) {
        let state = self.state(now);
        self.exhausted.insert(method, state);
    }

    /// Nodes on which commands are being carried out.
    pub fn busy(&self) -> BTreeSet<Arc<str>> {
        self.commands.values().flat_map(|underway| underway.command.names()).collect()
    }

    /// These, and the nodes that are marked while their replacements are being created: they count no more among those of a pool of
    /// fixed size, or the replacement would be one too many (`C/pkg/controllers/disruption/queue.go`, markDisrupted).
    pub fn pending(&self) -> BTreeSet<Arc<str>> {
        let mut pending = self.busy();
        if let Pass::Creating { command, .. } = &self.pass {
            pending.extend(command.names());
        }
        pending
    }

    /// The number of the next command.
    pub fn next_id(&self) -> u64 {
        self.started + 1
    }

    pub fn begin(&mut self, command: Command, replacements: Vec<String>, now: Timestamp) -> u64 {
        self.started += 1;
        self.commands.insert(self.started, Underway { command, created: now, replacements });
        self.started
    }

    /// How long a command may take: 80 ms for each node in the queue, ten minutes at the least, an hour at the most
    /// (`C/pkg/controllers/disruption/queue.go`, GetMaxRetryDuration).
    pub fn timeout(&self) -> SignedDuration {
        let nodes = i64::try_from(self.busy().len()).unwrap_or(i64::MAX);
        let scaled = SignedDuration::from_millis(nodes.saturating_mul(80));
        scaled.clamp(SignedDuration::from_mins(10), SignedDuration::from_hours(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    #[test]
    fn a_pass_that_found_nothing_is_remembered_until_something_happens_and_for_five_minutes() {
        let mut disruption = Disruption::default();
        disruption.notice(1, at(0));
        disruption.exhaust(Method::SingleNode, at(10));
        assert!(disruption.is_exhausted(Method::SingleNode, at(299)));
        assert!(!disruption.is_exhausted(Method::MultiNode, at(299)), "each method remembers for itself");
        assert!(!disruption.is_exhausted(Method::SingleNode, at(300)), "five minutes after the change, not after the pass");
        disruption.exhaust(Method::SingleNode, at(300));
        disruption.notice(2, at(301));
        assert!(!disruption.is_exhausted(Method::SingleNode, at(301)));
    }

    /// How often a method is really asked at these seconds, each with a picture, offerings and the nodes that are busy.
    fn times_asked(questions: &[(i64, &Arc<Snapshot>, &Offerings, &str)]) -> usize {
        let (mut answers, mut asked) = (Answers::default(), 0);
        for (second, snapshot, offerings, busy) in questions {
            answers.ask(snapshot, offerings, &BTreeSet::from([Arc::from(*busy)]), at(*second));
            answers.of(Method::SingleNode, || {
                asked += 1;
                Proposal::default()
            });
        }
        asked
    }

    #[test]
    fn a_marked_node_is_pending_while_its_replacement_is_made() {
        let command = serde_json::json!({"method": Method::Drift, "replacements": [], "nominations": [], "savings": 0.0, "nodes": [{"node": "a",
            "node_claim": "c", "provider_id": "i", "pool": "p", "instance_type": "t", "capacity_type": "spot", "pods": 0, "price": 0.1}]});
        let command: Command = serde_json::from_value(command).expect("a command");
        let mut disruption =
            Disruption { pass: Pass::Marking { command: command.clone(), attempts: 0, wrote: false }, ..Disruption::default() };
        assert!(disruption.pending().is_empty());
        disruption.pass = Pass::Creating { command: command.clone(), names: Vec::new() };
        assert!(disruption.busy().is_empty() && disruption.pending().contains("a"));
        disruption.pass = Pass::Idle;
        disruption.begin(command, Vec::new(), at(0));
        assert!(disruption.pending().contains("a"));
    }

    #[test]
    fn the_same_question_is_asked_once() {
        let (one, other) = (Arc::new(Snapshot::default()), Arc::new(Snapshot::default()));
        let offered = Offerings::from([("default".into(), Arc::default())]);
        let offered_anew = Offerings::from([("default".into(), Arc::default())]);
        assert_eq!(times_asked(&[(0, &one, &offered, "a"), (3_600, &one, &offered, "a")]), 1);
        assert_eq!(times_asked(&[(0, &one, &offered, "a"), (10, &other, &offered, "a")]), 2, "another picture");
        assert_eq!(times_asked(&[(0, &one, &offered, "a"), (10, &one, &offered_anew, "a")]), 2, "other offerings");
        assert_eq!(times_asked(&[(0, &one, &offered, "a"), (10, &one, &Offerings::new(), "a")]), 2, "no offerings");
        assert_eq!(times_asked(&[(0, &one, &offered, "a"), (10, &one, &offered, "b")]), 2, "another node is busy");
    }

    #[test]
    fn an_answer_holds_no_longer_than_the_time_lets_it() {
        let node = serde_json::json!({"name": "a", "created": at(0), "nominated_until": at(20), "has_node": true, "launched": true,
            "registered": true, "initialized": true, "ready": true, "deleting": false, "labels": {}, "annotations": {}, "taints": [],
            "capacity": {}, "allocatable": {}, "pods": [], "instance_terminating": false, "grace_limited": false});
        let node = serde_json::from_value(node).expect("a node");
        let nominated = Arc::new(Snapshot { nodes: vec![Arc::new(node)], ..Snapshot::default() });
        let none = Offerings::new();
        assert_eq!(times_asked(&[(0, &nominated, &none, ""), (19, &nominated, &none, "")]), 1);
        assert_eq!(times_asked(&[(0, &nominated, &none, ""), (20, &nominated, &none, "")]), 2);
    }
}
