//! A node or NodeClaim: what it is, why this type, and (in `stay` and `command`) why it is still there or how it ended.

use super::machine::{self, Machine, Origin};
use super::question::resolve;
use super::record::{Decision, Record};
use super::{Answer, At, Error, Fact, Kind, Question, Section, command, condition, pod, stay, words};
use planner::disruption::Method;
use planner::output::{ClaimRequirement, LaunchReason, NodeClaimPlan, Refusal};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::{CapacityType, UsdPerHour, labels};

pub fn answer(record: &Record, question: &Question, at: At) -> Result<Answer, Error> {
    let machines = machine::machines(record);
    let names = machines.iter().flat_map(|m| [m.node.as_deref(), m.claim.as_deref()]).flatten();
    let unknown = || Error::Unknown { kind: question.kind, name: question.name.clone(), near: Vec::new() };
    let name = resolve(question, names)?;
    let machine = machine::called(&machines, name, at).ok_or_else(unknown)?;
    let object = match (question.kind, &machine.claim) {
        (Kind::NodeClaim, Some(claim)) => format!("nodeclaim/{claim}"),
        _ => format!("{}/{}", if machine.node.is_some() { Kind::Node } else { Kind::NodeClaim }, machine.name()),
    };
    let mut sections = Vec::new();
    if !machine.existed(at) {
        let says = match machine.created {
            Some(created) => format!("it was not there yet: it came at {created}"),
            None => "it was wanted, but never created".to_owned(),
        };
        sections.push(Section { title: "What it is", facts: vec![Fact::new(machine.created, says)] });
        return Ok(Answer { object, at, sections });
    }
    sections.push(Section { title: "What it is", facts: what(record, machine, at) });
    let unmet = unmet(record, machine, at);
    if !unmet.is_empty() {
        sections.push(Section { title: "Which conditions do not hold", facts: unmet });
    }
    let facts = why_type(record, machine, at);
    if !facts.is_empty() {
        sections.push(Section { title: "Why this type", facts });
    }
    let (done, begun) = command::section(record, &machines, machine, at);
    sections.extend(done);
    if !begun && machine.claim.is_some() {
        let facts = stay::facts(record, machine, at);
        if !facts.is_empty() {
            sections.push(Section { title: "Why it is still there", facts });
        }
    }
    Ok(Answer { object, at, sections })
}

/// What keeps its NodeClaim from being a node that takes pods.
fn unmet(record: &Record, machine: &Machine, at: At) -> Vec<Fact> {
    let claim = machine.claim.as_deref().filter(|_| machine.initialized.is_none_or(|initialized| initialized > at));
    claim.and_then(|claim| record.object("NodeClaim", "", claim, at)).map(condition::unmet).unwrap_or_default()
}

/// The cloud's bill knows what a machine costs; else a plan that names one market.
pub fn price(record: &Record, machine: &Machine) -> Option<UsdPerHour> {
    if let Some(billed) = machine.instance().and_then(|id| record.prices.get(id)) {
        return Some(*billed);
    }
    let plan = plan_of(record, machine)?;
    let market = plan.requirements.iter().find(|r| &*r.requirement.key == labels::CAPACITY_TYPE);
    market.filter(|r| r.ordered_values.len() == 1 && &*r.ordered_values[0] == CapacityType::OnDemand.as_str())?;
    plan.instance_types.iter().find(|c| machine.instance_type.as_deref() == Some(&c.instance_type)).map(|c| c.price)
}

fn plan_of<'a>(record: &'a Record, machine: &Machine) -> Option<&'a NodeClaimPlan> {
    match machine.origin? {
        Origin::Plan(position, index) => match &record.decisions.get(position)?.1 {
            Decision::Planned { plan, .. } => plan.launches.get(index),
            _ => None,
        },
        Origin::Command(position, index) => match &record.decisions.get(position)?.1 {
            Decision::Disrupting { command, .. } => command.replacements.get(index),
            _ => None,
        },
    }
}

fn what(record: &Record, machine: &Machine, at: At) -> Vec<Fact> {
    let mut facts = Vec::new();
    let launched = machine.launched.is_some_and(|launched| launched <= at) || machine.claim.is_none();
    if launched {
        let cost = price(record, machine);
        let parts = [machine.instance_type.clone(), machine.market.clone(), machine.zone.clone(), cost.map(words::price)];
        let data = json!({"instance_type": machine.instance_type, "capacity_type": machine.market, "zone": machine.zone, "price": cost, "machine": machine.instance()});
        let mut parts: Vec<String> = parts.into_iter().flatten().collect();
        parts.extend(machine.instance().map(|id| format!("machine {id}")));
        facts.push(Fact::new(None, parts.join(", ")).with(data));
    }
    match &machine.claim {
        Some(claim) => {
            let pool = machine.pool.as_ref().map(|pool| format!(" of NodePool {pool}")).unwrap_or_default();
            let node = machine.node.as_ref().filter(|_| machine.registered.is_some_and(|r| r <= at));
            let node = node.map(|node| format!(", node {node}")).unwrap_or_default();
            let data = json!({"nodeclaim": claim, "nodepool": machine.pool, "node": machine.node});
            facts.push(Fact::new(None, format!("NodeClaim {claim}{pool}{node}")).with(data));
        }
        None => facts.push(Fact::new(None, "it has no NodeClaim: Karpenter neither made it nor removes it")),
    }
    let life = [
        ("created", machine.created),
        ("launched", machine.launched),
        ("registered", machine.registered),
        ("initialized", machine.initialized),
    ];
    let known: Vec<(&str, At)> = life.into_iter().filter_map(|(word, when)| Some((word, when.filter(|w| *w <= at)?))).collect();
    let says = known.iter().map(|(word, when)| format!("{word} at {when}")).collect::<Vec<_>>().join(", ");
    let data = known.iter().map(|(word, when)| ((*word).to_owned(), json!(when))).collect();
    facts.push(Fact::new(None, says).with(serde_json::Value::Object(data)));
    facts.extend(pods(record, machine, at));
    facts
}

/// The pods on it, by workload.
fn pods(record: &Record, machine: &Machine, at: At) -> Option<Fact> {
    if !record.has_sightings() {
        return Some(Fact::new(None, "which pods it had is not in the record: no watch on the cluster was traced"));
    }
    let node = machine.node.as_deref().filter(|node| record.object("Node", "", node, at).is_some())?;
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    let mut daemons = 0;
    for seen in pod::all(record, at).filter(|pod| pod.node.as_deref() == Some(node)) {
        if seen.daemon {
            daemons += 1;
        } else {
            *groups.entry(seen.owner).or_default() += 1;
        }
    }
    let mut parts: Vec<String> = groups.iter().map(|(owner, number)| format!("{number} of {owner}")).collect();
    if daemons > 0 {
        parts.push(words::count(daemons, "daemon"));
    }
    let says = if parts.is_empty() { "no pods".to_owned() } else { format!("pods: {}", parts.join(", ")) };
    Some(Fact::new(None, says).with(json!({"pods": groups, "daemons": daemons})))
}

fn why_type(record: &Record, machine: &Machine, at: At) -> Vec<Fact> {
    let mut facts = Vec::new();
    match machine.origin {
        Some(Origin::Plan(position, index)) => {
            if let Some((when, Decision::Planned { plan, explanation, .. })) = record.decisions.get(position)
                && let (Some(launch), Some(reason)) = (plan.launches.get(index), explanation.launches.get(index))
            {
                facts.extend(chosen(*when, launch, reason));
                facts.extend(market(machine, launch));
            }
        }
        Some(Origin::Command(position, index)) => {
            if let Some((when, Decision::Disrupting { command, .. })) = record.decisions.get(position)
                && let Some(plan) = command.replacements.get(index)
            {
                let names: Vec<&str> = command.nodes.iter().map(|node| &*node.node).collect();
                let old: f64 = command.nodes.iter().map(|node| node.price.dollars()).sum();
                let for_pods = words::count(plan.pods.len(), "pod");
                let asks = words::amounts(&plan.requests);
                let says = format!("it stands in for {} ({}) because {}", names.join(", "), words::dollars(old), command.method.reason());
                let asked = format!("for {for_pods}; with daemons {asks} are asked");
                let less = if command.method == Method::Drift { "" } else { " and costs less" };
                let fits = format!("what fits{less}: {}", words::choices(&plan.instance_types));
                let data =
                    json!({"replaces": names, "price": old, "pods": plan.pods, "requests": plan.requests, "chosen": plan.instance_types});
                facts.push(Fact::new(*when, says).more([asked, fits]).with(data));
                facts.extend(market(machine, plan));
            }
        }
        None => {}
    }
    if let Some((when, error)) = machine.launch_error.as_ref().filter(|(when, _)| *when <= at) {
        facts.push(Fact::new(*when, format!("the launch failed: {error}")));
    }
    facts
}

/// What was asked, what fitted, what was ruled out by what.
fn chosen(when: At, launch: &NodeClaimPlan, reason: &LaunchReason) -> Vec<Fact> {
    let daemons = usize::try_from(reason.daemons.get(vocabulary::resources::PODS)).unwrap_or(0);
    let with = if daemons > 0 { format!(" and {}", words::count(daemons, "daemon")) } else { String::new() };
    let verb = if reason.pods + daemons == 1 { "asks" } else { "ask" };
    let says = format!("{}{with} {verb} {}", words::count(reason.pods, "pod"), words::amounts(&reason.requests));
    let data = json!({"pods": launch.pods, "requests": reason.requests, "daemons": reason.daemons});
    let mut facts = vec![Fact::new(when, says).with(data)];
    if let Some(first) = reason.chosen.first() {
        let (name, cost) = (&first.instance_type, words::price(first.price));
        let says = match reason.chosen.len() {
            1 => format!("{name} at {cost} is the only type of NodePool {} that fits", reason.pool),
            many => format!("{name} at {cost} is the cheapest of {many} types of NodePool {} that fit", reason.pool),
        };
        let others = (reason.chosen.len() > 1).then(|| format!("the others: {}", words::choices(&reason.chosen[1..])));
        facts.push(Fact::new(None, says).more(others).with(json!({"nodepool": reason.pool, "chosen": reason.chosen})));
    }
    if !reason.ruled_out.is_empty() {
        facts.push(Fact::new(None, "ruled out:").more(refusals(&reason.ruled_out)).with(json!({"ruled_out": reason.ruled_out})));
    }
    for refused in &reason.refused_pools {
        let says = format!("NodePool {} lost before: {}", refused.pool, refused.reason);
        facts.push(Fact::new(None, says).more(refusals(&refused.types)).with(json!(refused)));
    }
    facts
}

/// One line for all types that failed by the same words. What a pool's or pod's requirements rule out comes last: it is most of the
/// cloud's list.
pub fn refusals(types: &[(Arc<str>, Refusal)]) -> Vec<String> {
    let mut groups: Vec<(bool, String, Vec<&str>)> = Vec::new();
    for (name, refusal) in types {
        let (required, words) = match refusal {
            Refusal::Requirement { asked, .. } => (true, format!("{asked} is asked")),
            other => (false, other.to_string()),
        };
        match groups.iter_mut().find(|(_, known, _)| *known == words) {
            Some((_, _, names)) => names.push(name),
            None => groups.push((required, words, vec![name])),
        }
    }
    groups.sort_by_key(|(required, ..)| *required);
    groups.into_iter().map(|(_, words, names)| format!("{}: {words}", some(&names))).collect()
}

fn some(names: &[&str]) -> String {
    let shown = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 8 { format!("{shown} and {} more", names.len() - 8) } else { shown }
}

/// Why on-demand or Spot, and what of the possible it became.
fn market(machine: &Machine, plan: &NodeClaimPlan) -> Vec<Fact> {
    let allowed = |r: &&ClaimRequirement| &*r.requirement.key == labels::CAPACITY_TYPE;
    let allowed: Vec<&str> =
        plan.requirements.iter().find(allowed).map(|r| r.ordered_values.iter().map(|v| &**v).collect()).unwrap_or_default();
    let mut facts = Vec::new();
    let Some(market) = machine.market.as_deref() else { return facts };
    let says = match allowed.as_slice() {
        [] => format!("{market}: neither NodePool nor pods name a market"),
        [_] => format!("{market}: nothing else was allowed"),
        many => format!("{market}: allowed were {}, of which reserved comes before spot and spot before on-demand", many.join(" and ")),
    };
    facts.push(Fact::new(None, says).with(json!({"allowed": allowed, "capacity_type": market})));
    let first = plan.instance_types.first().map(|c| &*c.instance_type);
    if let (Some(got), Some(first)) = (machine.instance_type.as_deref(), first)
        && got != first
    {
        let says = format!("the cloud was asked for any of these types and gave {got}, not {first}");
        facts.push(Fact::new(machine.launched, says).with(json!({"instance_type": got, "cheapest": first})));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_failed_alike_are_told_together_and_the_clouds_list_last() {
        let required =
            |offered: &str| Refusal::Requirement { asked: "type In [m5.large]".to_owned(), offered: format!("type In [{offered}]") };
        let short = |room| Refusal::Resource { name: "pods".into(), asked: 9, room };
        let names = ["a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9"];
        let mut types: Vec<(Arc<str>, Refusal)> = names.iter().map(|name| (Arc::from(*name), required(name))).collect();
        types.extend([("b".into(), short(4)), ("c".into(), short(5)), ("d".into(), short(4))]);
        let told = ["b, d: pods 9 of 4", "c: pods 9 of 5", "a1, a2, a3, a4, a5, a6, a7, a8 and 1 more: type In [m5.large] is asked"];
        assert_eq!(refusals(&types), told);
    }
}
