//! The search for nodes that should go, and the commands that come of it.
//!
//! One pass at a time: it frees what an earlier run left tainted, asks the methods in their order, lets the first command that one
//! of them proposes wait and be judged again, and starts it. Source: `C/pkg/controllers/disruption/{controller,queue}.go`.

use super::{Controller, later};
use crate::decide::{marks, orchestrate, provision};
use crate::disruption::Pass;
use crate::effect::{Effect, Outcome};
use crate::log::Line;
use crate::record::{PoolBudget, What};
use crate::recorder::EventSpec;
use crate::step::{Act, Done, Memo, Note, Step, Then};
use crate::work::Work;
use crate::world::{TYPE_CHECK, instance_id, provider_id};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use planner::disruption::{self, Announced, Command, Method, Proposal, Score, Search, Weighed, Why};
use planner::{Offerings, Snapshot};
use std::sync::Arc;

const CONTROLLER: &str = "disruption";
const POLL: SignedDuration = SignedDuration::from_secs(10);
/// Between a proposal and its second judgement.
const VALIDATION_DELAY: SignedDuration = SignedDuration::from_secs(15);
/// Writes that conflict with somebody else's are tried again so often, 10 ms later and then five times as long.
const MARK_ATTEMPTS: u32 = 4;

impl Controller {
    pub(super) fn disrupt(&mut self, done: &[Done], now: Timestamp) -> Step {
        match std::mem::take(&mut self.world.disruption.pass) {
            Pass::Idle => {
                self.world.disruption.queued.clear();
                if !self.world.index.synced() {
                    return Step::after(SignedDuration::from_secs(1), None);
                }
                let acts = orchestrate::clean(&self.world, now);
                if acts.is_empty() {
                    return self.methods(0, now);
                }
                self.world.disruption.pass = Pass::Cleaning;
                Step { acts, ..Step::default() }
            }
            Pass::Cleaning => match done.iter().filter_map(|d| d.outcome.as_ref().err()).find(|e| !e.is_not_found()) {
                Some(error) if error.is_conflict() => Step { then: Then::Again, ..Step::default() },
                Some(error) => Step::retry(format!("freeing nodes, {error}")),
                None => self.methods(0, now),
            },
            Pass::Waiting { command, until, next } if now < until => {
                self.world.disruption.pass = Pass::Waiting { command, until, next };
                Step::after(until.duration_since(now), Some("a disruption command is validated".to_owned()))
            }
            Pass::Waiting { command, next, .. } => self.judge(&command, next, now),
            Pass::Marking { command, attempts, wrote } => self.mark_nodes(command, attempts, wrote, now),
            Pass::Creating { command, names } => self.begin_command(command, names, done, now),
        }
    }

    /// Asks the methods from this one on; the first that has something to do ends the pass.
    fn methods(&mut self, first: usize, now: Timestamp) -> Step {
        let version = self.world.index.version();
        let snapshot = self.picture();
        let (offerings, mut notes) = self.all_offerings(now);
        let busy = self.world.disruption.busy();
        let options = self.world.settings.options.clone();
        let mut search = Search::new(&snapshot, &offerings, now, &options);
        self.world.disruption.answers.ask(&snapshot, &offerings, &busy, now);
        for (position, method) in Method::ALL.into_iter().enumerate().skip(first) {
            if method.is_remembered() && self.world.disruption.is_exhausted(method, now) {
                continue;
            }
            let began = self.clock.now();
            let mut proposal = self.world.disruption.answers.of(method, || search.propose(&busy, method));
            self.metrics.evaluated(method, proposal.candidates, began, self.clock.now());
            if let Some(change) = self.tamper().and_then(|tamper| tamper.proposal.as_ref()) {
                change(method, &snapshot, &mut proposal);
            }
            notes.extend(self.tell(method, &proposal));
            self.metrics.weighed(&self.world, &proposal.weighed, self.clock.now());
            self.record_stays(method, &proposal, &snapshot, now);
            let Some(command) = proposal.command else {
                if proposal.exhausted {
                    self.world.disruption.exhaust(method, now);
                }
                continue;
            };
            if !method.is_validated() {
                self.world.disruption.queued = proposal.more.into();
                let step = self.start(command, now);
                return Step { notes: notes.into_iter().chain(step.notes).collect(), ..step };
            }
            let until = later(now, VALIDATION_DELAY);
            self.record(What::Proposed { command: Arc::new(command.clone()), until });
            self.world.disruption.pass = Pass::Waiting { command, until, next: position + 1 };
            let then = Then::After { wait: VALIDATION_DELAY, why: Some("a disruption command is validated".to_owned()) };
            return Step { notes, then, ..Step::default() };
        }
        // What is left of a pass after a command that did not hold has not seen everything.
        if first == 0 {
            self.world.disruption.seen = Some(version);
        }
        Step { notes, then: Then::After { wait: POLL, why: None }, ..Step::default() }
    }

    fn judge(&mut self, command: &Command, next: usize, now: Timestamp) -> Step {
        let snapshot = self.picture();
        let (offerings, mut notes) = self.all_offerings(now);
        let busy = self.world.disruption.busy();
        let judged = disruption::validate(&snapshot, &offerings, now, &self.world.settings.options, &busy, command);
        match judged {
            Ok(command) => {
                let step = self.start(command, now);
                Step { notes: notes.into_iter().chain(step.notes).collect(), ..step }
            }
            Err(invalid) => {
                self.metrics.rejected(command);
                self.record(What::Rejected { command: Arc::new(command.clone()), reason: invalid });
                // Upstream says so for single nodes alone: for several the command was emptied before, for empty ones it logs.
                match command.method {
                    Method::SingleNode => notes.extend(self.rejected_events(command, invalid)),
                    Method::Emptiness => {
                        let text = "abandoning empty node consolidation attempt due to pod churn, command is no longer valid";
                        notes.push(orchestrate::with_command(Line::debug(CONTROLLER, text), command).into());
                    }
                    Method::Drift | Method::MultiNode => {}
                }
                let step = self.methods(next, now);
                Step { notes: notes.into_iter().chain(step.notes).collect(), ..step }
            }
        }
    }

    /// The command will be carried out.
    fn start(&mut self, mut command: Command, now: Timestamp) -> Step {
        if let Some(change) = self.tamper().and_then(|tamper| tamper.command.as_ref()) {
            change(&mut command);
        }
        let text = orchestrate::text(&command, self.world.disruption.next_id());
        let line = orchestrate::with_command(Line::info(CONTROLLER, "disrupting node(s)").with("command", text), &command);
        let step = self.mark_nodes(command, 0, false, now);
        Step { notes: std::iter::once(line.into()).chain(step.notes).collect(), ..step }
    }

    /// Taints the nodes and says on their NodeClaims why they go, before anything is launched.
    fn mark_nodes(&mut self, mut command: Command, attempts: u32, wrote: bool, now: Timestamp) -> Step {
        let acts = orchestrate::marks(&self.world, &command, now);
        if !acts.is_empty() && attempts <= MARK_ATTEMPTS {
            if wrote {
                self.world.disruption.pass = Pass::Marking { command, attempts, wrote: false };
                let wait = SignedDuration::from_millis(10 * 5_i64.pow(attempts.saturating_sub(1)));
                return Step::after(wait, Some("nodes are being marked for disruption".to_owned()));
            }
            self.world.disruption.pass = Pass::Marking { command, attempts: attempts + 1, wrote: true };
            return Step { acts, ..Step::default() };
        }
        let all = command.nodes.len();
        command.nodes.retain(|node| orchestrate::is_marked(&self.world, node));
        if command.nodes.is_empty() || !command.replacements.is_empty() && command.nodes.len() < all {
            return Step::retry("marking disrupted, some nodes could not be marked");
        }
        self.create_replacements(command, now)
    }

    fn create_replacements(&mut self, command: Command, now: Timestamp) -> Step {
        let mut names = Vec::new();
        let mut acts: Vec<Act> = Vec::new();
        for plan in &command.replacements {
            let name = self.claim_name(&plan.pool, &names);
            let reason = command.method.reason().to_lowercase();
            match provision::create(&self.world, CONTROLLER, &reason, plan, name.clone(), false) {
                Ok(act) => acts.push(act.tolerant()),
                Err(line) => {
                    return Step::retry("launching replacement nodeclaim, the limits of its pool are reached").note(line);
                }
            }
            names.push(name);
        }
        if acts.is_empty() {
            return self.begin_command(command, names, &[], now);
        }
        self.world.disruption.pass = Pass::Creating { command, names };
        Step { acts, ..Step::default() }
    }

    /// The nodes are marked only now that their replacements exist: else provisioning would launch for their pods as well.
    fn begin_command(&mut self, command: Command, names: Vec<String>, done: &[Done], now: Timestamp) -> Step {
        let created = done.iter().filter(|d| matches!(&*d.effect, Effect::CreateClaim(_)));
        if let Some(error) = created.filter_map(|d| d.outcome.as_ref().err()).next() {
            return Step::retry(format!("launching replacement nodeclaim, {error}"));
        }
        command.nodes.iter().for_each(|node| self.world.index.mark(&node.node_claim, true));
        let nominated_until = later(now, self.world.settings.nomination_window());
        let mut notes: Vec<Note> = Vec::new();
        for nomination in &command.nominations {
            self.world.index.nominate(&nomination.node, nominated_until);
            if let Some(pod) = self.world.index.pod(&provision::key(&nomination.pod)) {
                notes.push(provision::nominated(pod, &provision::on_machine(&self.world, &nomination.node)).into());
            }
        }
        let recorded = What::Disrupting { command: Arc::new(command.clone()), replacements: names.clone(), nominated_until };
        self.metrics.began(&command);
        let id = self.world.disruption.begin(command, names, now);
        self.record(recorded);
        if let Some(next) = self.world.disruption.queued.pop_front() {
            let mut following = self.start(next, now);
            following.notes.splice(0..0, notes);
            following.enqueue.insert(0, Work::Command(id));
            return following;
        }
        // Something was done: look again at once.
        Step { notes, enqueue: vec![Work::Command(id)], then: Then::After { wait: SignedDuration::ZERO, why: None }, ..Step::default() }
    }

    pub(super) fn orchestrate(&mut self, id: u64, done: &[Done], now: Timestamp) -> Step {
        orchestrate::decide(&self.world, id, done, now)
    }

    /// What can be bought for each pool, ready or not: a node of a pool that is not ready has a price all the same.
    fn all_offerings(&self, now: Timestamp) -> (Offerings, Vec<Note>) {
        let (offerings, unresolved) = self.offered(self.world.index.pools(), now);
        let failed = |(pool, error)| Line::error(CONTROLLER, "failed listing instance types", error).with("nodepool", pool).into();
        (offerings, unresolved.into_iter().map(failed).collect())
    }

    // What is said.

    /// Events for nodes that stay, at the node and its NodeClaim.
    fn tell(&self, method: Method, proposal: &Proposal) -> Vec<Note> {
        let mut notes = Vec::new();
        for stays in &proposal.stays {
            let (reason, text, span) = match &stays.why {
                Why::Blocked(disruption::Blocker::InQueue) => continue,
                Why::Blocked(blocker) => ("DisruptionBlocked", blocker.to_string(), SignedDuration::from_mins(2)),
                Why::Unconsolidatable(why) => ("Unconsolidatable", why.to_string(), SignedDuration::from_mins(15)),
                _ => continue,
            };
            notes.extend(self.on_node(&stays.node, reason, &text, span));
        }
        for pool in proposal.closed_pools.iter().filter_map(|name| self.world.index.pool(name)) {
            let text = format!("No allowed disruptions for disruption reason {} due to blocking budget", method.reason());
            let mut event = EventSpec::new(&**pool, false, "DisruptionBlocked", text).dedupe_for(SignedDuration::from_mins(1));
            event.dedupe.push(method.reason().to_owned());
            notes.push(event.into());
        }
        notes.extend(proposal.announced.iter().flat_map(|announced| self.candidate_events(announced)));
        notes.extend(proposal.weighed.iter().flat_map(|weighed| self.scores(weighed)));
        notes
    }

    /// What balanced pools make of a move (`balanced.go`, EvaluateBalancedMove, ApproveCommand, EmitMultiNodeEvents).
    fn scores(&self, weighed: &Weighed) -> Vec<Note> {
        let alone = weighed.pools.iter().map(|share| share.nodes.len()).sum::<usize>() == 1;
        let mut notes = Vec::new();
        for (share, score) in weighed.pools.iter().filter_map(|share| Some((share, share.score?))) {
            let (savings, disruption) = score.fractions();
            let line = Line::debug("disruption", "consolidation score")
                .with("nodepool", &*share.pool)
                .with("score", score.value())
                .with("savings_fraction", savings)
                .with("disruption_fraction", disruption)
                .with("savings", score.savings)
                .with("disruption_cost", score.disruption)
                .with("nodepool_total_cost", score.pool_cost)
                .with("nodepool_total_disruption_cost", score.pool_disruption)
                .with("threshold", Score::THRESHOLD)
                .with("k", Score::K)
                .with("approved", score.is_approved())
                .with("decision", &*weighed.decision)
                .with("candidates", share.nodes.iter().map(|node| node.to_string()).collect::<Vec<_>>());
            notes.push(line.into());
            // Refusals are many: they are counted, not told.
            if !weighed.counted || !score.is_approved() {
                continue;
            }
            let text = format!(
                "score {:.2} >= threshold {:.2} (k: {}, savings {:.1}%, disruption {:.1}%)",
                score.value(),
                Score::THRESHOLD,
                Score::K,
                savings * 100.0,
                disruption * 100.0
            );
            let (reason, span) = ("ConsolidationApproved", SignedDuration::from_mins(2));
            if alone {
                notes.extend(share.nodes.iter().flat_map(|node| self.on_node(node, reason, &text, span)));
            } else if let Some(pool) = self.world.index.pool(&share.pool) {
                notes.push(EventSpec::new(&**pool, false, reason, text).dedupe_for(span).into());
            }
        }
        notes
    }

    fn on_node(&self, name: &str, reason: &'static str, text: &str, span: SignedDuration) -> Vec<Note> {
        let node = self.world.index.node(name);
        let provider = node.and_then(|n| n.spec.as_ref()?.provider_id.as_deref());
        let claim = provider.and_then(|id| self.world.index.claims_of(id).into_iter().next()).or_else(|| self.world.index.claim(name));
        let of_node = node.map(|node| EventSpec::new(&**node, false, reason, text).dedupe_for(span));
        let of_claim = claim.map(|claim| EventSpec::new(&**claim, false, reason, text).dedupe_for(span));
        of_node.into_iter().chain(of_claim).map(Note::from).collect()
    }

    fn candidate_events(&self, announced: &Announced) -> Vec<Note> {
        let nodes = &announced.nodes;
        let about = |node: &str| of_node("replace", nodes.len(), 1, node);
        let text = |about: &str| format!("Consolidation candidate: {about} (savings: ${:.2})", announced.savings);
        nodes.iter().flat_map(|node| self.command_event(node, "ConsolidationCandidate", about(node), text)).collect()
    }

    fn rejected_events(&self, command: &Command, invalid: disruption::Invalid) -> Vec<Note> {
        let reason = invalid.as_str();
        let about = |node: &str| of_node(command.decision(), command.nodes.len(), command.replacements.len(), node);
        let text = |about: &str| format!("Consolidation rejected: {about}, reason: {reason} (savings: ${:.2})", command.savings);
        let of = |node: &disruption::Removed| self.command_event(&node.node, "ConsolidationRejected", about(&node.node), text);
        command.nodes.iter().flat_map(of).collect()
    }

    /// The same command about the same node is told again after two minutes, whatever it would save by then (`events.go`).
    fn command_event(&self, node: &str, reason: &'static str, about: String, text: impl Fn(&str) -> String) -> Vec<Note> {
        let mut notes = self.on_node(node, reason, &text(&about), SignedDuration::from_mins(2));
        for note in &mut notes {
            if let Note::Event(event) = note {
                event.dedupe.push(about.clone());
            }
        }
        notes
    }

    /// Keeps why nodes stay, and records it where it is news.
    fn record_stays(&mut self, method: Method, proposal: &Proposal, snapshot: &Snapshot, now: Timestamp) {
        let told = (proposal.candidates, proposal.stays.clone());
        if self.world.disruption.stays.get(&method) == Some(&told) {
            return;
        }
        self.world.disruption.stays.insert(method, told);
        let budgets = disruption::allowances(snapshot, method, now).into_iter().filter(|(_, allowance)| allowance.nodes > 0);
        let budgets = budgets.map(|(pool, a)| PoolBudget { pool, nodes: a.nodes, allowed: a.allowed, disrupting: a.disrupting }).collect();
        let (candidates, nodes) = (proposal.candidates, Arc::new(proposal.stays.clone()));
        self.record(What::Stays { method, nodes, candidates, budgets });
    }

    // Marks.

    /// The conditions of one NodeClaim, with what the cloud's side says of drift.
    pub(super) fn mark(&mut self, name: &str, done: &[Done], now: Timestamp) -> Step {
        let Some(claim) = self.world.index.claim(name).cloned() else { return Step::rest() };
        if marks::pool_of(&self.world, &claim).is_none() {
            return Step::rest();
        }
        let id = provider_id(&claim).and_then(instance_id).unwrap_or_default();
        let mut instance = self.cloud.known(id);
        let asked = done.iter().rev().find_map(|d| match (&*d.effect, &d.outcome) {
            (Effect::GetInstance { .. }, Ok(Outcome::Instance(found))) => Some(found.clone()),
            _ => None,
        });
        if instance.is_none() && !id.is_empty() {
            match asked.clone() {
                None => return Step::act(Effect::GetInstance { id: id.to_owned() }),
                Some(found) => instance = found.map(|i| *i),
            }
        }
        let class = self.world.class_of(&claim).cloned();
        let uid = claim.uid().unwrap_or_default();
        let fresh = self.world.types_checked.get(&uid).is_some_and(|at| now.duration_since(*at) < TYPE_CHECK);
        let mut checked = false;
        let cloud = self.cloud.clone();
        // What was described before the reservation ended may still name it; upstream asks anew before it says so.
        let unknown = |id: &String| {
            let known = class.as_ref().and_then(|class| class.status.as_ref()).map_or(&[][..], |status| &status.capacity_reservations);
            known.iter().all(|reservation| reservation.id != *id)
        };
        if asked.is_none() && instance.as_ref().and_then(|i| i.reservation.as_ref()).is_some_and(unknown) {
            return Step::act(Effect::GetInstance { id: id.to_owned() });
        }
        let drift = || {
            let Some(class) = class.filter(|class| class.metadata.deletion_timestamp.is_none()) else { return marks::CloudDrift::No };
            if !fresh && marks::is_type_checked(&claim, now) {
                match cloud.instance_types(&class, now) {
                    Ok(types) => match marks::type_drift(&claim, &types) {
                        Some(reason) => return marks::CloudDrift::Drifted(reason),
                        None => checked = true,
                    },
                    Err(error) => return marks::CloudDrift::Error(error),
                }
            }
            let Some(instance) = instance else { return marks::CloudDrift::No };
            match cloud.drift(&claim, &class, &instance, now) {
                Ok(None) => marks::CloudDrift::No,
                Ok(Some(reason)) => marks::CloudDrift::Drifted(reason),
                Err(error) => marks::CloudDrift::Error(error),
            }
        };
        let step = marks::decide(&self.world, name, drift, now);
        if checked { step.note(Memo::TypeChecked(uid, now)) } else { step }
    }
}

/// A command from the point of view of one of its nodes.
fn of_node(decision: &str, nodes: usize, replacements: usize, node: &str) -> String {
    match (nodes, replacements) {
        (1, 1) => format!("{decision}: [{node}] -> [1 replacement]"),
        (1, _) => format!("{decision}: [{node}] -> [{replacements} replacements]"),
        _ => format!("{decision}: [{node}] (part of {nodes}-node consolidation)"),
    }
}
