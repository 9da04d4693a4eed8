//! A command on its way: its nodes marked, its replacements awaited, its NodeClaims deleted; or given up and its nodes freed.
//!
//! Source: `C/pkg/controllers/disruption/queue.go`, `C/pkg/controllers/state/statenode.go`.

use super::{delete, locked};
use crate::conditions::{ConditionSet, NODE_CLAIM};
use crate::disruption::Underway;
use crate::effect::{Effect, Failure};
use crate::log::Line;
use crate::metrics::Measure;
use crate::patch;
use crate::recorder::EventSpec;
use crate::step::{Act, Done, Memo, Note, Step, Then};
use crate::world::{World, conditions};
use cluster::Kind;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Taint};
use planner::disruption::Command;
use serde_json::{Value, json};
use std::sync::Arc;
use vocabulary::labels;

const CONTROLLER: &str = "disruption.queue";
const REASON: &str = "DisruptionReason";
const AGAIN: SignedDuration = SignedDuration::from_secs(1);

fn is_disrupted(taint: &Taint) -> bool {
    taint.key == labels::DISRUPTED_TAINT && taint.effect == "NoSchedule" && taint.value.as_deref().unwrap_or("").is_empty()
}

/// The patch that sets or removes the taint; `None` when it is as it should be, or the node is on its way out by itself.
fn taint(node: &Arc<Node>, wanted: bool) -> Option<Act> {
    let has = node.spec.as_ref().and_then(|s| s.taints.as_ref()).is_some_and(|taints| taints.iter().any(is_disrupted));
    if has == wanted || has && node.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let mut tainted = (**node).clone();
    let taints = tainted.spec.get_or_insert_default().taints.get_or_insert_default();
    if wanted {
        taints.retain(|t| t.key != labels::DISRUPTED_TAINT);
        taints.push(Taint { key: labels::DISRUPTED_TAINT.to_owned(), effect: "NoSchedule".to_owned(), value: None, time_added: None });
    } else {
        taints.retain(|t| !is_disrupted(t));
    }
    if taints.is_empty() {
        tainted.spec.get_or_insert_default().taints = None;
    }
    Some(locked(Kind::Node, &**node, false, patch::of_object(&**node, &tainted)?).tolerant())
}

/// The patch that says on the NodeClaim why it goes, or no longer says it.
fn condition(world: &World, claim: &str, reason: Option<&str>, now: Timestamp) -> Option<Act> {
    let claim = world.index.claim(claim)?;
    // Most claims, most of the time.
    if reason.is_none() && api::condition::find(conditions(claim), REASON).is_none() {
        return None;
    }
    let mut status = claim.status.clone().unwrap_or_default();
    let mut set = ConditionSet::new(&**claim, conditions(claim), NODE_CLAIM, now);
    match reason {
        Some(reason) => {
            set.set_true_because(REASON, reason, reason);
        }
        None => set.clear(REASON),
    }
    status.conditions = set.into_conditions();
    let mut next = (**claim).clone();
    next.status = Some(status);
    Some(locked(Kind::NodeClaim, &**claim, true, patch::of_field("status", &**claim, &next)?).tolerant())
}

/// What is still to be written before the command's nodes count as marked.
pub fn marks(world: &World, command: &Command, now: Timestamp) -> Vec<Act> {
    let reason = command.method.reason();
    let of = |node: &planner::disruption::Removed| {
        let taint = world.index.node(&node.node).and_then(|node| taint(node, true));
        taint.into_iter().chain(condition(world, &node.node_claim, Some(reason), now))
    };
    command.nodes.iter().flat_map(of).collect()
}

/// Whether node and NodeClaim are there and say that they are being disrupted.
pub fn is_marked(world: &World, node: &planner::disruption::Removed) -> bool {
    let tainted = world.index.node(&node.node).is_some_and(|node| taint(node, true).is_none());
    let said = world.index.claim(&node.node_claim).is_some_and(|claim| api::condition::is_true(conditions(claim), REASON));
    tainted && said
}

/// Frees initialized nodes that are tainted although nobody disrupts them: a command of an earlier run, or one that failed.
pub fn clean(world: &World, now: Timestamp) -> Vec<Act> {
    let busy = world.disruption.busy();
    let mut acts = Vec::new();
    for machine in world.index.machines().filter(|m| !m.deleting && !busy.contains(&m.name)) {
        let Some(claim) = &machine.node_claim else { continue };
        if machine.has_node {
            acts.extend(world.index.node(&machine.name).and_then(|node| taint(node, false)));
        }
        if machine.initialized {
            acts.extend(condition(world, claim, None, now));
        }
    }
    acts
}

/// One look at a command.
pub fn decide(world: &World, id: u64, done: &[Done], now: Timestamp) -> Step {
    let Some(underway) = world.disruption.commands.get(&id) else { return Step::rest() };
    let late = now.duration_since(underway.created) > world.disruption.timeout();
    if done.iter().any(|d| matches!(&*d.effect, Effect::Patch { .. })) {
        return end(id, false);
    }
    match wait_or_delete(world, underway, done) {
        Progress::Acts(acts) => Step { acts, ..Step::default() },
        Progress::Waits { why, notes } if !late => Step { then: Then::After { wait: AGAIN, why: Some(why) }, notes, ..Step::default() },
        Progress::Waits { why, .. } => give_up(world, id, underway, &format!("command reached timeout, {why}"), now),
        Progress::Failed(error) => give_up(world, id, underway, &error, now),
        Progress::Succeeded if late => give_up(world, id, underway, "command reached timeout", now),
        Progress::Succeeded => {
            let mut step = end(id, true);
            step.notes.push(with_command(Line::debug(CONTROLLER, "command succeeded"), &underway.command).into());
            step
        }
    }
}

enum Progress {
    Acts(Vec<Act>),
    Waits { why: String, notes: Vec<Note> },
    Failed(String),
    Succeeded,
}

fn wait_or_delete(world: &World, underway: &Underway, done: &[Done]) -> Progress {
    let reason = underway.command.method.reason();
    let mut notes: Vec<Note> = Vec::new();
    let mut waiting = Vec::new();
    for name in &underway.replacements {
        let Some(claim) = world.index.claim(name) else {
            return Progress::Failed(format!("replacement was deleted (NodeClaim={name})"));
        };
        notes.push(EventSpec::new(&**claim, false, "DisruptionLaunching", format!("Launching NodeClaim: {reason}")).into());
        if !api::condition::is_true(conditions(claim), "Initialized") {
            let text = "Waiting on readiness to continue disruption";
            notes.push(EventSpec::new(&**claim, false, "DisruptionWaitingReadiness", text).into());
            waiting.push(name.as_str());
        }
    }
    if !waiting.is_empty() {
        return Progress::Waits { why: format!("waiting for replacement initialization, {}", waiting.join(", ")), notes };
    }
    let deletes = |d: &&Done| matches!(&*d.effect, Effect::Delete { .. });
    let failed = done.iter().filter(deletes).filter_map(|d| d.outcome.as_ref().err()).find(|e| !e.is_not_found());
    if let Some(error) = failed {
        return Progress::Waits { why: Failure::to_string(error), notes };
    }
    let acts: Vec<Act> = underway.command.nodes.iter().filter_map(|removed| terminate(world, removed, reason)).collect();
    if acts.is_empty() { Progress::Succeeded } else { Progress::Acts(acts) }
}

/// Deletes the NodeClaim, unless it goes already.
fn terminate(world: &World, removed: &planner::disruption::Removed, reason: &str) -> Option<Act> {
    let claim = world.index.claim(&removed.node_claim).filter(|c| c.metadata.deletion_timestamp.is_none())?;
    let mut act = delete(Kind::NodeClaim, &**claim).tolerant().then(Measure::disrupted(claim, &reason.to_lowercase()));
    if let Some(node) = world.index.node(&removed.node) {
        act = act.then(EventSpec::new(&**node, false, "DisruptionTerminating", format!("Disrupting Node: {reason}")));
    }
    Some(act.then(EventSpec::new(&**claim, false, "DisruptionTerminating", format!("Disrupting NodeClaim: {reason}"))))
}

/// Frees the nodes. Replacements stay: they may be of use, and go by consolidation if they are not.
fn give_up(world: &World, id: u64, underway: &Underway, error: &str, now: Timestamp) -> Step {
    let line = Line::error(CONTROLLER, "failed terminating nodes while executing a disruption command", error);
    let note: Note = with_command(line, &underway.command).into();
    let free = |node: &planner::disruption::Removed| {
        let taint = world.index.node(&node.node).and_then(|node| taint(node, false));
        taint.into_iter().chain(condition(world, &node.node_claim, None, now))
    };
    let acts: Vec<Act> = underway.command.nodes.iter().flat_map(free).collect();
    let mut step = if acts.is_empty() { end(id, false) } else { Step { acts, ..Step::default() } };
    step.notes.extend([note, Measure::command_failed(&underway.command).into()]);
    step
}

fn end(id: u64, succeeded: bool) -> Step {
    Step::rest().note(Memo::CommandEnded { id, succeeded })
}

/// `Underutilized/7: replace: nodepools=[default]: [node-a] -> [1 replacement] (savings: $0.08)`.
pub fn text(command: &Command, id: u64) -> String {
    let names: Vec<&str> = command.nodes.iter().map(|node| &*node.node).collect();
    let mut pools: Vec<&str> = command.nodes.iter().map(|node| &*node.pool).collect();
    pools.dedup();
    let into = match command.replacements.len() {
        0 => String::new(),
        1 => " -> [1 replacement]".to_owned(),
        count => format!(" -> [{count} replacements]"),
    };
    let (reason, decision) = (command.method.reason(), command.decision());
    let (pools, names) = (pools.join(","), names.join(", "));
    format!("{reason}/{id}: {decision}: nodepools=[{pools}]: [{names}]{into} (savings: ${:.2})", command.savings)
}

pub fn with_command(line: Line, command: &Command) -> Line {
    let disrupted: Vec<Value> = command
        .nodes
        .iter()
        .map(|node| {
            json!({"Node": {"name": node.node}, "NodeClaim": {"name": node.node_claim}, "instance-type": node.instance_type, "capacity-type": node.capacity_type})
        })
        .collect();
    let market = |plan: &planner::output::NodeClaimPlan| {
        let asked = plan.requirements.iter().find(|r| &*r.requirement.key == labels::CAPACITY_TYPE);
        let may = |market: &str| asked.is_none_or(|r| r.requirement.has(market));
        ["reserved", "spot"].into_iter().find(|market| asked.is_some() && may(market)).unwrap_or("on-demand")
    };
    let one = command.replacements.len() == 1;
    let replacements: Vec<Value> = command
        .replacements
        .iter()
        .map(|plan| {
            let mut entry = json!({"capacity-type": market(plan)});
            if one {
                let types: Vec<String> = plan.instance_types.iter().map(|t| t.instance_type.to_string()).collect();
                entry["instance-types"] = crate::log::some(&types, 5).into();
            }
            entry
        })
        .collect();
    line.with("decision", command.decision())
        .with("disrupted-node-count", disrupted.len())
        .with("replacement-node-count", replacements.len())
        .with("pod-count", command.nodes.iter().map(|node| node.pods).sum::<usize>())
        .with("disrupted-nodes", disrupted)
        .with("replacement-nodes", replacements)
}
