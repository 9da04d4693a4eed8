//! Why a node is still there: each method's latest verdict on it.

use super::machine::Machine;
use super::record::{Budget, Decision, Record};
use super::{At, Fact, words};
use planner::disruption::{Blocker, Command, Method, Stays, Why};
use planner::output::Nomination;
use serde_json::{Value, json};

pub fn facts(record: &Record, machine: &Machine, at: At) -> Vec<Fact> {
    // Methods that say the same at the same time are told together.
    let mut verdicts: Vec<(Vec<Method>, Verdict)> = Vec::new();
    for method in Method::ALL {
        let Some(verdict) = verdict(record, machine, method, at) else { continue };
        match verdicts.iter_mut().find(|(_, known)| *known == verdict) {
            Some((methods, _)) => methods.push(method),
            None => verdicts.push((vec![method], verdict)),
        }
    }
    let told = verdicts.into_iter().map(|(methods, verdict)| {
        let data = json!({"methods": methods, "verdict": verdict.data});
        Fact::new(verdict.at, format!("{}: {}", words::methods(&methods), verdict.says)).with(data)
    });
    told.chain(rejected(record, machine, at)).collect()
}

#[derive(PartialEq)]
struct Verdict {
    at: Option<At>,
    says: String,
    data: Value,
}

/// The last command on it, if it was found not to hold.
fn rejected(record: &Record, machine: &Machine, at: At) -> Option<Fact> {
    let meant = |command: &Command| command.nodes.iter().any(|node| machine.is_called(&node.node));
    let last = record.until(at).find(|(_, decision)| match decision {
        Decision::Proposed { command, .. } | Decision::Rejected { command, .. } | Decision::Disrupting { command, .. } => meant(command),
        _ => false,
    });
    let Some((when, Decision::Rejected { command, reason })) = last else { return None };
    let says = format!("{} wanted to {} it, but {}", words::method(command.method), command.decision(), words::invalid(*reason));
    Some(Fact::new(when, says).with(json!({"method": command.method, "rejected": reason})))
}

fn verdict(record: &Record, machine: &Machine, method: Method, at: At) -> Option<Verdict> {
    let last = record.until(at).find_map(|(when, decision)| match decision {
        Decision::Stays { method: by, nodes, candidates, budgets } if *by == method => Some((when, nodes, *candidates, budgets)),
        _ => None,
    });
    let created = machine.created.unwrap_or_default();
    let Some((when, nodes, candidates, budgets)) = last.filter(|(when, ..)| *when >= created) else {
        return Some(Verdict { at: None, says: "not asked about it yet".to_owned(), data: Value::Null });
    };
    match nodes.iter().find(|stays| machine.is_called(&stays.node)) {
        Some(Stays { why, .. }) => {
            let more = more(record, machine, why, budgets, when, at);
            let says = words::why(method, why, more.as_deref());
            Some(Verdict { at: Some(when), says, data: json!({"why": why, "more": more}) })
        }
        None if candidates == 0 => None,
        None => {
            let says = passed(record, machine, method, candidates, when);
            Some(Verdict { at: Some(when), says, data: json!({"candidates": candidates}) })
        }
    }
}

/// A node that may go by a method and is not named by it: it is what the method proposed, or nothing was to be done with it.
fn passed(record: &Record, machine: &Machine, method: Method, candidates: usize, when: At) -> String {
    let proposed = record.until(when).take_while(|(then, _)| *then == when).find_map(|(_, decision)| match decision {
        Decision::Proposed { command, .. } | Decision::Disrupting { command, .. } if command.method == method => Some(command),
        _ => None,
    });
    match proposed {
        Some(command) if command.nodes.iter().any(|node| machine.is_called(&node.node)) => "it may go".to_owned(),
        Some(command) => {
            let names: Vec<&str> = command.nodes.iter().map(|node| &*node.node).collect();
            format!("it may go, but {} came first", names.join(", "))
        }
        None if method == Method::MultiNode && candidates == 1 => "it is the only node that may go, and this needs two".to_owned(),
        None if method == Method::MultiNode => {
            format!("of the {candidates} nodes that may go no two or more can be spared or replaced together")
        }
        None => format!("it is one of {candidates} nodes that may go"),
    }
}

/// Until when, or how much: what the record holds beside a verdict.
fn more(record: &Record, machine: &Machine, why: &Why, budgets: &[Budget], when: At, at: At) -> Option<String> {
    match why {
        Why::Blocked(Blocker::Nominated) => nominated(record, machine, when),
        Why::NotMarked(condition) if &**condition == "Consolidatable" => quiet(record, machine, when, at),
        Why::Budget => {
            let budget = budgets.iter().find(|budget| machine.pool.as_deref() == Some(&budget.pool))?;
            let Budget { nodes, allowed, disrupting, .. } = budget;
            Some(format!(
                "which allow {allowed} of {} at a time, and {disrupting} not ready or on the way out",
                words::count(*nodes as usize, "node")
            ))
        }
        _ => None,
    }
}

fn nominated(record: &Record, machine: &Machine, when: At) -> Option<String> {
    let (until, pods) = record.until(when).find_map(|(_, decision)| {
        let (nominations, until) = match decision {
            Decision::Planned { plan, nominated_until, .. } => (&plan.nominations, nominated_until),
            Decision::Disrupting { command, nominated_until, .. } => (&command.nominations, nominated_until),
            _ => return None,
        };
        let pods: Vec<&Nomination> = nominations.iter().filter(|nomination| machine.is_called(&nomination.node)).collect();
        (!pods.is_empty()).then_some((record.at(*until), pods))
    })?;
    let others = if pods.len() > 1 { format!(" and {} more", pods.len() - 1) } else { String::new() };
    Some(format!("{}{others}, until {until}", pods[0].pod))
}

/// `consolidateAfter` counts from the last pod that came or went, or from the initialization
/// (`C/pkg/controllers/nodeclaim/disruption/consolidation.go`).
fn quiet(record: &Record, machine: &Machine, when: At, at: At) -> Option<String> {
    let name = machine.claim.as_deref()?;
    let claim = record.object("NodeClaim", "", name, when)?;
    let pool = record.object("NodePool", "", machine.pool.as_deref()?, when)?;
    let written = pool.pointer("/spec/disruption/consolidateAfter")?.as_str()?;
    let after = api::duration::parse_go(written)?;
    let initialized = condition(claim, "Initialized")?;
    let (what, from) = match record.at_text(claim.pointer("/status/lastPodEventTime").and_then(Value::as_str)) {
        Some(last) => ("the last pod came or went", last),
        None => ("it was initialized", record.at_text(initialized["lastTransitionTime"].as_str())?),
    };
    let marked = record.object("NodeClaim", "", name, at).is_some_and(|claim| condition(claim, "Consolidatable").is_some());
    let since = if marked { "; it is now, and the method has not looked again" } else { "" };
    Some(format!("at the earliest at {}: consolidateAfter {written} from {from}, when {what}{since}", from.plus(after)))
}

/// A condition that is true.
fn condition<'a>(claim: &'a Value, kind: &str) -> Option<&'a Value> {
    claim.pointer("/status/conditions")?.as_array()?.iter().find(|c| c["type"] == kind && c["status"] == "True")
}
