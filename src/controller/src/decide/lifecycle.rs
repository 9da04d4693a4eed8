//! NodeClaim: finalizer → launch → registration → initialization, with time limits; and its end.
//!
//! Source: `C/pkg/controllers/nodeclaim/lifecycle/{controller,liveness}.go`.

use super::{delete, finalize, initialization, launch, locked, registration, unlocked};
use crate::conditions::{ConditionSet, NODE_CLAIM, Status};
use crate::log::Line;
use crate::metrics::Measure;
use crate::patch;
use crate::step::{Act, Done, Memo, Note, Step, Then};
use crate::world::{World, conditions};
use api::{NodeClaim, NodeClaimStatus};
use cloud::port::Cause;
use cluster::Kind;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use std::sync::Arc;
use vocabulary::labels;

pub const CONTROLLER: &str = "nodeclaim.lifecycle";
const LAUNCH_TIMEOUT: SignedDuration = SignedDuration::from_mins(5);
const REGISTRATION_TIMEOUT: SignedDuration = SignedDuration::from_mins(15);

pub fn decide(world: &World, name: &str, done: &[Done], now: Timestamp) -> Step {
    let Some(claim) = world.index.claim(name) else { return Step::rest() };
    if claim.metadata.deletion_timestamp.is_some() {
        return finalize::decide(world, claim, done, now);
    }
    if !claim.finalizers().iter().any(|f| f == labels::TERMINATION_FINALIZER) {
        // Nothing may be launched that could be forgotten.
        let mut kept = (**claim).clone();
        kept.finalizers_mut().push(labels::TERMINATION_FINALIZER.to_owned());
        return match patch::of_field("metadata", &**claim, &kept) {
            Some(body) => Step::act(locked(Kind::NodeClaim, &**claim, false, body)),
            None => Step::rest(),
        };
    }
    let mut run = Run::new(claim, now);
    const STAGES: [Stage; 4] = [launch::decide, registration::decide, initialization::decide, liveness];
    for stage in STAGES {
        if let Some(step) = stage(world, &mut run, done) {
            return step;
        }
    }
    run.finish()
}

/// `Some` when the stage has something to do before the next may be looked at.
type Stage = fn(&World, &mut Run<'_>, &[Done]) -> Option<Step>;

/// One reconcile: the claim as it shall be.
pub struct Run<'a> {
    pub claim: &'a Arc<NodeClaim>,
    pub draft: NodeClaim,
    pub status: NodeClaimStatus,
    pub set: ConditionSet,
    pub now: Timestamp,
    /// Said when the status has been written.
    pub after: Vec<Note>,
    pub error: Option<Cause>,
    /// To be looked at again without a word.
    pub again: bool,
    wait: Option<SignedDuration>,
}

impl<'a> Run<'a> {
    fn new(claim: &'a Arc<NodeClaim>, now: Timestamp) -> Self {
        let status = claim.status.clone().unwrap_or_default();
        let set = ConditionSet::new(&**claim, &status.conditions, NODE_CLAIM, now);
        Run { claim, draft: (**claim).clone(), status, set, now, after: Vec::new(), error: None, again: false, wait: None }
    }

    pub fn line(&self, message: &str) -> Line {
        let line = Line::info(CONTROLLER, message).object("NodeClaim", "", &self.claim.name_any());
        let line = match self.status.provider_id.as_deref() {
            Some(id) => line.with("provider-id", id),
            None => line,
        };
        match self.status.node_name.as_deref() {
            Some(node) => line.object("Node", "", node),
            None => line,
        }
    }

    fn refresh_after(&mut self, wait: SignedDuration) {
        self.wait = Some(self.wait.map_or(wait, |least| least.min(wait)));
    }

    /// Metadata first, then the status; then the claim is left alone for a second, as upstream does to read its own writes.
    fn finish(mut self) -> Step {
        if let Some(body) = patch::of_field("metadata", &**self.claim, &self.draft) {
            return Step::act(unlocked(Kind::NodeClaim, &**self.claim, false, body));
        }
        self.status.conditions = self.set.into_conditions();
        let mut next = (**self.claim).clone();
        next.status = Some(self.status);
        if let Some(body) = patch::of_field("status", &**self.claim, &next) {
            let mut act: Act = unlocked(Kind::NodeClaim, &**self.claim, true, body);
            act.after = self.after;
            act.after.push(Note::HoldUntil(self.now.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX)));
            return Step::act(act);
        }
        let then = match (self.error, self.wait) {
            (Some(error), _) => Then::Retry(error),
            (None, _) if self.again => Then::Again,
            (None, Some(wait)) => Then::After { wait, why: None },
            (None, None) => Then::Rest,
        };
        Step { then, ..Step::default() }
    }
}

/// A claim that does not launch in 5 minutes, or whose Node does not come in 15, goes.
fn liveness(world: &World, run: &mut Run<'_>, _: &[Done]) -> Option<Step> {
    if run.set.is_true("Registered") {
        return None;
    }
    let since = |run: &Run<'_>, kind: &str| run.set.get(kind).and_then(|c| c.last_transition_time).unwrap_or(run.now);
    if !run.set.is_true("Launched") {
        let left = LAUNCH_TIMEOUT - run.now.duration_since(since(run, "Launched"));
        if left.is_positive() {
            run.refresh_after(left);
            return None;
        }
        return Some(timed_out(world, run, LAUNCH_TIMEOUT, "launch_timeout"));
    }
    let left = REGISTRATION_TIMEOUT - run.now.duration_since(since(run, "Registered"));
    if left.is_positive() {
        run.refresh_after(left);
        return None;
    }
    Some(timed_out(world, run, REGISTRATION_TIMEOUT, "registration_timeout"))
}

fn timed_out(world: &World, run: &Run<'_>, timeout: SignedDuration, reason: &str) -> Step {
    let line = Line { level: crate::log::Level::Debug, ..run.line("terminating due to timeout") };
    let mut act =
        delete(Kind::NodeClaim, &**run.claim).then(line.with("timeout", format!("{}m0s", timeout.as_mins())).with("reason", reason));
    act = act.then(Measure::disrupted(run.claim, reason));
    if let Some(pool_uid) = pool_uid(world, run.claim) {
        let launched = run.set.get("Launched").filter(|c| Status::of(Some(c)) != Status::True);
        let failure =
            launched.map_or(("RegistrationFailed".into(), "Failed to register node".into()), |c| (c.reason.clone(), c.message.clone()));
        act = act.then(Memo::Registration { pool_uid, failure: Some(failure) });
    }
    Step::act(act)
}

/// The uid of the claim's pool, if the pool that owns it still exists.
pub fn pool_uid(world: &World, claim: &NodeClaim) -> Option<String> {
    let pool = world.index.pool(claim.labels().get(labels::NODEPOOL)?)?;
    let uid = pool.uid()?;
    claim.owner_references().iter().any(|owner| owner.kind == "NodePool" && owner.uid == uid).then_some(uid)
}

/// Whether the claim still has a way to go, in words.
pub fn unsettled(claim: &NodeClaim) -> Option<String> {
    let name = claim.name_any();
    let is = |kind: &str| api::condition::is_true(conditions(claim), kind);
    if claim.metadata.deletion_timestamp.is_some() {
        Some(format!("claim {name} terminates"))
    } else if !is("Launched") {
        Some(format!("claim {name} launches"))
    } else if !is("Registered") {
        Some(format!("claim {name} waits for its node"))
    } else if !is("Initialized") {
        Some(format!("claim {name} waits for its node to be initialized"))
    } else {
        None
    }
}
