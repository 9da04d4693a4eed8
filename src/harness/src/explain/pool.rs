//! A NodePool: what it launched, what its limits leave, what its budgets allow.

use super::question::resolve;
use super::record::{Decision, Record};
use super::{Answer, At, Error, Fact, Question, Section, node, words};
use super::{condition, machine};
use planner::disruption::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use vocabulary::{Quantity, UsdPerHour};

pub fn answer(record: &Record, question: &Question, at: At) -> Result<Answer, Error> {
    let machines = machine::machines(record);
    let seen = record.sightings.keys().filter(|(kind, ..)| kind == "NodePool").map(|(_, _, name)| name.as_str());
    let names: BTreeSet<&str> = machines.iter().filter_map(|machine| machine.pool.as_deref()).chain(seen).collect();
    let name = resolve(question, names.into_iter())?;
    let mut sections = Vec::new();
    let pool = record.object("NodePool", "", name, at);
    if let Some(pool) = pool {
        sections.push(Section { title: "What it is", facts: what(pool) });
        let unmet = condition::of_pool(record, name, at);
        if !unmet.is_empty() {
            sections.push(Section {
                title: "Which conditions do not hold",
                facts: unmet.into_iter().map(|line| Fact::new(None, line)).collect(),
            });
        }
    }
    let mut launched = Vec::new();
    let (mut running, mut sum) = (0_usize, UsdPerHour::ZERO);
    for machine in machines.iter().filter(|machine| machine.pool.as_deref() == Some(name) && machine.existed(at)) {
        let cost = node::price(record, machine);
        let parts = [machine.instance_type.clone(), machine.market.clone(), machine.zone.clone(), cost.map(words::price)];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let state = match (machine.ended(at), machine.deleting.filter(|when| *when <= at), machine.initialized.filter(|when| *when <= at)) {
            (Some(gone), ..) => format!("gone at {gone}"),
            (None, Some(deleting), _) => format!("being deleted since {deleting}"),
            (None, None, Some(_)) => "takes pods".to_owned(),
            (None, None, None) => "on its way".to_owned(),
        };
        if machine.ended(at).is_none() {
            running += 1;
            sum += cost.unwrap_or_default();
        }
        let claim = machine.claim.as_deref().unwrap_or_default();
        let says = format!("NodeClaim {claim}: {}; {state}", if parts.is_empty() { "no machine yet".to_owned() } else { parts.join(", ") });
        launched.push(
            Fact::new(machine.created, says)
                .with(json!({"nodeclaim": claim, "instance_type": machine.instance_type, "price": cost, "state": state})),
        );
    }
    let says = format!("{} now, {} together", words::count(running, "machine"), words::price(sum));
    launched.push(Fact::new(None, says).with(json!({"machines": running, "price": sum})));
    sections.push(Section { title: "What it launched", facts: launched });
    if let Some(pool) = pool {
        sections.push(Section { title: "What its limits leave", facts: limits(pool) });
    }
    let facts = budgets(record, name, at);
    if !facts.is_empty() {
        sections.push(Section { title: "What its budgets allow", facts });
    }
    Ok(Answer { object: format!("nodepool/{name}"), at, sections })
}

fn what(pool: &Value) -> Vec<Fact> {
    let disruption = &pool["spec"]["disruption"];
    let text = |key: &str| disruption[key].as_str().unwrap_or("not set");
    let weight = pool.pointer("/spec/weight").and_then(Value::as_i64);
    let weight = weight.map(|weight| format!(", weight {weight}")).unwrap_or_default();
    let says = format!("consolidationPolicy {}, consolidateAfter {}{weight}", text("consolidationPolicy"), text("consolidateAfter"));
    let mut facts = vec![Fact::new(None, says).with(disruption.clone())];
    if let Some(replicas) = pool.pointer("/spec/replicas").and_then(Value::as_i64) {
        facts.push(Fact::new(None, format!("of fixed size: {replicas} nodes, whatever pods wait")).with(json!({"replicas": replicas})));
    }
    for budget in disruption["budgets"].as_array().into_iter().flatten() {
        let reasons = budget["reasons"].as_array().map(|reasons| reasons.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "));
        let reasons = reasons.unwrap_or_else(|| "every reason".to_owned());
        let schedule = budget["schedule"].as_str().map(|s| format!(", from {s:?} for {}", budget["duration"].as_str().unwrap_or("ever")));
        facts.push(Fact::new(
            None,
            format!("budget: {} of its nodes for {reasons}{}", budget["nodes"].as_str().unwrap_or("?"), schedule.unwrap_or_default()),
        ));
    }
    facts
}

fn limits(pool: &Value) -> Vec<Fact> {
    let used = &pool["status"]["resources"];
    let Some(limits) = pool.pointer("/spec/limits").and_then(Value::as_object).filter(|limits| !limits.is_empty()) else {
        return vec![Fact::new(None, "it has no limits")];
    };
    let amount = |value: &Value| value.as_str().map(str::to_owned).or_else(|| value.as_i64().map(|n| n.to_string()));
    let fact = |(name, limit): (&String, &Value)| {
        let limit = amount(limit)?;
        let used = amount(&used[name]).unwrap_or_else(|| "0".to_owned());
        let resources = |text: &str| Some(vocabulary::Resources::from_quantities([(name.as_str(), text.parse::<Quantity>().ok()?)]));
        let left = resources(&limit)?.minus(&resources(&used)?).get(name);
        let left = vocabulary::Resources::print(name, left.max(0));
        let data = json!({"resource": name, "limit": limit, "used": used, "left": left});
        Some(Fact::new(None, format!("{name}: {used} of {limit} used, {left} left")).with(data))
    };
    limits.iter().filter_map(fact).collect()
}

/// As each reason's budget was when it was last looked at.
fn budgets(record: &Record, name: &str, at: At) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    for method in [Method::Emptiness, Method::Drift, Method::SingleNode] {
        let last = record.until(at).find_map(|(when, decision)| match decision {
            Decision::Stays { method: by, budgets, .. } if by.reason() == method.reason() => {
                budgets.iter().find(|budget| &*budget.pool == name).map(|budget| (when, budget))
            }
            _ => None,
        });
        if let Some((when, budget)) = last {
            let nodes = words::count(budget.nodes as usize, "node");
            let reason = method.reason();
            let says = format!("{reason}: {} of {nodes} at a time, and {} not ready or on the way out", budget.allowed, budget.disrupting);
            let data = json!({"reason": reason, "nodes": budget.nodes, "allowed": budget.allowed, "disrupting": budget.disrupting});
            facts.push(Fact::new(when, says).with(data));
        }
    }
    facts
}
