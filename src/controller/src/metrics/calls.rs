//! From calls and decisions to counters and histograms.
//!
//! Sources: `C/pkg/cloudprovider/metrics/cloudprovider.go`, `C/pkg/controllers/node/termination/terminator/eviction.go`,
//! `C/pkg/controllers/disruption/{controller,queue,validation}.go`, `C/pkg/controllers/provisioning/**`.

use super::exposition::{Family, Labels, labels};
use super::families as family;
use super::{Metrics, seconds};
use crate::effect::{Effect, Failure, Outcome};
use crate::world::World;
use api::NodeClaim;
use cloud::port::LaunchError;
use cloud::telling::Report;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use planner::Explanation;
use planner::disruption::{Command, Method, Weighed};
use planner::output::PodOutcome;
use std::collections::BTreeSet;
use vocabulary::labels as names;

/// Something to count, as a decision names it.
#[derive(Clone, Debug)]
pub struct Measure {
    family: Family,
    labels: Labels,
    amount: f64,
}

fn own<'a>(claim: &'a NodeClaim, name: &str) -> &'a str {
    claim.labels().get(name).map_or("", String::as_str)
}

/// `KernelReady` as `kernel_ready` (`C/pkg/utils/pretty/pretty.go`, ToSnakeCase).
fn snake_case(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

impl Measure {
    fn one<const N: usize>(family: Family, pairs: [(&'static str, &str); N]) -> Self {
        Measure { family, labels: labels(pairs), amount: 1.0 }
    }

    /// `reason`: `provisioned`, or a disruption's in small letters.
    pub fn created(claim: &NodeClaim, reason: &str) -> Self {
        let relaxed = claim.annotations().get(names::NODECLAIM_MIN_VALUES_RELAXED).map_or("false", String::as_str);
        let pool = own(claim, names::NODEPOOL);
        Self::one(family::CLAIMS_CREATED, [("reason", reason), ("nodepool", pool), ("min_values_relaxed", relaxed)])
    }

    /// A NodeClaim was deleted; the reasons are in `reference`'s words of upstream: `expired`, `launch_timeout`, a message's kind.
    pub fn disrupted(claim: &NodeClaim, reason: &str) -> Self {
        let (pool, market) = (own(claim, names::NODEPOOL), own(claim, names::CAPACITY_TYPE));
        Self::one(family::CLAIMS_DISRUPTED, [("reason", reason), ("nodepool", pool), ("capacity_type", market)])
    }

    /// A broken node went; `condition` is the one that says so.
    pub fn repaired(claim: &NodeClaim, condition: &str) -> Self {
        let (pool, market) = (own(claim, names::NODEPOOL), own(claim, names::CAPACITY_TYPE));
        let image = claim.status.as_ref().and_then(|s| s.image_id.as_deref()).unwrap_or("");
        let condition = snake_case(condition);
        Self::one(
            family::UNHEALTHY_DISRUPTED,
            [("condition", condition.as_str()), ("nodepool", pool), ("capacity_type", market), ("image_id", image)],
        )
    }

    pub fn pod_drained(reason: &str) -> Self {
        Self::one(family::PODS_DRAINED, [("reason", reason)])
    }

    pub fn received(kind: &str) -> Self {
        Self::one(family::MESSAGES_RECEIVED, [("message_type", kind)])
    }

    /// How long ago what a message tells happened.
    pub fn message_latency(latency: SignedDuration) -> Self {
        Measure { family: family::MESSAGE_LATENCY, labels: Vec::new(), amount: latency.as_secs_f64() }
    }

    pub fn unhealthy(category: &str) -> Self {
        Self::one(family::UNHEALTHY, [("category", category)])
    }

    /// A disruption command was given up: its replacements did not come.
    pub fn command_failed(command: &Command) -> Self {
        Self::one(family::QUEUE_FAILURES, decision(command))
    }
}

/// In the words of `voluntary_disruption_*`.
fn reason(method: Method) -> String {
    method.reason().to_lowercase()
}

/// `C/pkg/controllers/disruption/*.go`, ConsolidationType.
fn consolidation(method: Method) -> &'static str {
    match method {
        Method::Emptiness => "empty",
        Method::Drift => "",
        Method::MultiNode => "multi",
        Method::SingleNode => "single",
    }
}

fn decision(command: &Command) -> [(&'static str, &'static str); 3] {
    let reason = match command.method {
        Method::Emptiness => "empty",
        Method::Drift => "drifted",
        Method::MultiNode | Method::SingleNode => "underutilized",
    };
    [("decision", command.decision()), ("reason", reason), ("consolidation_type", consolidation(command.method))]
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Metrics::default();
        for method in [Method::MultiNode, Method::SingleNode] {
            metrics.store.add(&family::TIMEOUTS, labels([("consolidation_type", consolidation(method))]), 0.0);
        }
        metrics
    }

    pub fn take(&mut self, measure: Measure, now: Timestamp) {
        let Measure { family, labels, amount } = measure;
        match family.kind {
            super::exposition::Kind::Counter | super::exposition::Kind::Gauge => self.store.add(&family, labels, amount),
            _ => self.store.observe(&family, labels, amount, now),
        }
    }

    /// A call came back.
    pub fn called(&mut self, effect: &Effect, outcome: &Result<Outcome, Failure>, controller: &str, began: Timestamp, now: Timestamp) {
        match effect {
            Effect::Evict { .. } => {
                let code = match outcome {
                    Ok(_) => 200,
                    Err(Failure::Kube { code, .. }) => *code,
                    // No answer is no code.
                    Err(_) => 0,
                };
                if code > 0 {
                    self.store.add(&family::EVICTIONS, labels([("code", &code.to_string())]), 1.0);
                }
            }
            Effect::DeleteMessage { .. } if outcome.is_ok() => self.store.add(&family::MESSAGES_DELETED, Vec::new(), 1.0),
            _ => {}
        }
        let (method, gone) = match effect {
            Effect::Launch(_) => ("Create", false),
            Effect::Terminate { .. } => ("Delete", matches!(outcome, Ok(Outcome::Terminated(false)))),
            Effect::GetInstance { .. } => ("Get", matches!(outcome, Ok(Outcome::Instance(None)))),
            Effect::ListInstances => ("List", false),
            _ => return,
        };
        let error = match outcome {
            Ok(Outcome::Launch(Err(LaunchError::InsufficientCapacity(_)))) => Some("InsufficientCapacityError"),
            Ok(Outcome::Launch(Err(LaunchError::NodeClassNotReady(_)))) => Some("NodeClassNotReadyError"),
            _ if gone => Some("NodeClaimNotFoundError"),
            Ok(Outcome::Launch(Err(LaunchError::Failed { .. }))) | Err(_) => Some(""),
            Ok(_) => None,
        };
        self.provider(method, controller, error, began, now);
    }

    /// What a call of the cloud told beside its answer; lines are none of it.
    pub fn heard(&mut self, report: Report, now: Timestamp) {
        let whole = |number: usize| u32::try_from(number).map_or(f64::MAX, f64::from);
        match report {
            Report::BatchWindow { batcher, open } => {
                self.store.observe(&family::BATCH_WINDOW, labels([("batcher", batcher)]), open.as_secs_f64(), now);
            }
            Report::Batch { batcher, size } => self.store.observe(&family::BATCH_SIZE, labels([("batcher", batcher)]), whole(size), now),
            Report::UserData { class, bytes: Some(bytes) } => {
                self.store.set(&family::USER_DATA, labels([("nodeclass", &class)]), whole(bytes));
            }
            Report::UserData { class, bytes: None } => self.store.remove(&family::USER_DATA, &labels([("nodeclass", &class)])),
            Report::LaunchFailure { zone, zone_id, capacity_type, reason } => {
                let own = [("zone", zone.as_str()), ("zone_id", zone_id.as_str()), ("capacity_type", capacity_type), ("reason", reason)];
                self.store.add(&family::LAUNCH_FAILURES, labels(own), 1.0);
            }
            Report::TerminationFailure { zone, zone_id } => {
                self.store.add(&family::TERMINATION_FAILURES, labels([("zone", zone.as_str()), ("zone_id", &zone_id)]), 1.0);
            }
            Report::Line { .. } => {}
        }
    }

    /// A call of the cloud's port by upstream's name for it. `error`: its kind, if it failed.
    pub fn provider(&mut self, method: &str, controller: &str, error: Option<&str>, began: Timestamp, now: Timestamp) {
        let own = [("controller", controller), ("method", method), ("provider", "aws")];
        self.store.observe(&family::CALLS, labels(own), seconds(began, now), now);
        if let Some(error) = error {
            let [controller, method, provider] = own;
            self.store.add(&family::CALL_ERRORS, labels([controller, method, provider, ("error", error)]), 1.0);
        }
    }

    /// A reconcile ended; `result` in controller-runtime's words.
    pub fn reconciled(&mut self, controller: &str, result: &str, took: f64, now: Timestamp) {
        self.store.add(&family::RECONCILES, labels([("controller", controller), ("result", result)]), 1.0);
        if result == "error" {
            self.store.add(&family::RECONCILE_ERRORS, labels([("controller", controller)]), 1.0);
        }
        self.store.observe(&family::RECONCILE_TIME, labels([("controller", controller)]), took, now);
    }

    /// A plan was made by this controller.
    pub fn planned(&mut self, controller: &'static str, explanation: &Explanation, began: Timestamp, now: Timestamp) {
        let verdicts = &explanation.pods;
        self.store.observe(&family::SCHEDULING, labels([("controller", controller)]), seconds(began, now), now);
        self.store.set(&family::QUEUE_DEPTH, labels([("controller", controller), ("scheduling_id", "")]), 0.0);
        let count = |wanted: fn(&PodOutcome) -> bool| {
            let found = verdicts.iter().filter(|verdict| wanted(&verdict.outcome)).count();
            u32::try_from(found).map_or(f64::MAX, f64::from)
        };
        let ignored = count(|outcome| matches!(outcome, PodOutcome::Invalid { .. }));
        let unschedulable = count(|outcome| matches!(outcome, PodOutcome::Unschedulable(_)));
        self.store.set(&family::IGNORED_PODS, Vec::new(), ignored);
        self.store.set(&family::UNSCHEDULABLE_PODS, labels([("controller", controller)]), unschedulable);
        self.store.clear(&family::PENDING_BY_ZONE);
        for (zone, pods) in &explanation.zones {
            self.store.set(&family::PENDING_BY_ZONE, labels([("controller", controller), ("zone", zone)]), f64::from(*pods));
        }
        self.decided(verdicts, now);
    }

    /// A method of disruption was asked.
    pub fn evaluated(&mut self, method: Method, candidates: usize, began: Timestamp, now: Timestamp) {
        let reason = reason(method);
        let own = [("reason", reason.as_str()), ("consolidation_type", consolidation(method))];
        self.store.observe(&family::EVALUATION, labels(own), seconds(began, now), now);
        let count = u32::try_from(candidates).map_or(f64::MAX, f64::from);
        self.store.set(&family::ELIGIBLE, labels([("reason", reason.as_str())]), count);
    }

    /// Moves of consolidation that were judged (`C/pkg/controllers/disruption/balanced.go`).
    pub fn weighed(&mut self, world: &World, moves: &[Weighed], now: Timestamp) {
        let word = |approved: bool| if approved { "approved" } else { "rejected" };
        for weighed in moves.iter().filter(|weighed| weighed.counted) {
            for share in &weighed.pools {
                let policy = world
                    .index
                    .pool(&share.pool)
                    .map(|pool| pool.spec.disruption.consolidation_policy.as_deref().unwrap_or("WhenEmptyOrUnderutilized"));
                let own = [("nodepool", &*share.pool), ("policy", policy.unwrap_or_default())];
                self.store.add(&family::MOVES, labels([("decision", word(weighed.approved)), own[0], own[1]]), 1.0);
                if let Some(score) = share.score {
                    let decision = ("decision", word(score.is_approved()));
                    self.store.observe(&family::SCORES, labels([decision, own[0], own[1]]), score.value(), now);
                }
            }
        }
    }

    pub fn began(&mut self, command: &Command) {
        let own = decision(command);
        self.store.add(&family::DECISIONS, labels(own), 1.0);
        let [decision, reason, kind] = own;
        let pools: BTreeSet<&str> = command.nodes.iter().map(|node| &*node.pool).collect();
        for pool in pools {
            self.store.add(&family::POOL_DECISIONS, labels([("nodepool", pool), decision, reason, kind]), 1.0);
        }
    }

    pub fn rejected(&mut self, command: &Command) {
        let count = u32::try_from(command.nodes.len()).map_or(f64::MAX, f64::from);
        self.store.add(&family::FAILED_VALIDATIONS, labels([("consolidation_type", consolidation(command.method))]), count);
    }
}
