//! What is being done to a node, and how it ended.

use super::machine::Machine;
use super::record::{Decision, Record};
use super::{At, Fact, Section, drain, words};
use planner::disruption::Command;
use serde_json::{Value, json};

/// How it ended, or what is under way; and whether its end has begun.
pub fn section(record: &Record, machines: &[Machine], machine: &Machine, at: At) -> (Option<Section>, bool) {
    let reached = |when: Option<At>| when.is_some_and(|when| when <= at);
    if let Some(gone) = machine.ended(at) {
        let mut facts = reasons(record, machines, machine, at);
        facts.extend(steps(machine, at));
        let last = if machine.claim.is_some() { "its machine is terminated, its NodeClaim gone" } else { "the node is gone" };
        facts.push(Fact::new(gone, last));
        return (Some(Section { title: "How it ended", facts }), true);
    }
    let section = |facts| Some(Section { title: "What is under way", facts });
    if reached(machine.deleting) {
        let mut facts = reasons(record, machines, machine, at);
        facts.extend(steps(machine, at));
        facts.extend(drain::facts(record, machine, at));
        return (section(facts), true);
    }
    match last_command(record, machine, at) {
        None => (None, false),
        Some(Commanded::Proposed { when, command, until }) => {
            let says = format!("{} proposes to {}; it is judged again at {until}", words::method(command.method), purpose(command));
            (section(vec![Fact::new(when, says).with(json!({"command": command, "until": until}))]), false)
        }
        Some(Commanded::Begun { when, command, replacements }) => {
            let mut facts = begun(record, machines, when, command, replacements, at);
            facts.extend(replacements.iter().filter_map(|name| waits_for(machines, name, at)));
            (section(facts), true)
        }
    }
}

enum Commanded<'a> {
    Proposed { when: At, command: &'a Command, until: At },
    Begun { when: At, command: &'a Command, replacements: &'a [String] },
}

/// The last command on it that has been neither rejected nor given up.
fn last_command<'a>(record: &'a Record, machine: &Machine, at: At) -> Option<Commanded<'a>> {
    let meant = |command: &Command| command.nodes.iter().any(|node| machine.is_called(&node.node));
    for (when, decision) in record.until(at) {
        match decision {
            Decision::Proposed { command, until } if meant(command) => {
                return Some(Commanded::Proposed { when, command, until: record.at(*until) });
            }
            Decision::Disrupting { command, replacements, .. } if meant(command) => {
                return Some(Commanded::Begun { when, command, replacements });
            }
            Decision::Rejected { command, .. } if meant(command) => return None,
            Decision::Log { message, keys, .. } if given_up(message, keys, machine) => return None,
            _ => {}
        }
    }
    None
}

fn given_up(message: &str, keys: &Value, machine: &Machine) -> bool {
    let nodes = keys["disrupted-nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    message == "failed terminating nodes while executing a disruption command"
        && nodes.iter().any(|node| node["NodeClaim"]["name"].as_str() == machine.claim.as_deref())
}

/// `delete it, which saves $0.096/h`, `replace it and 2 more by the cheapest of t3.small at $0.0208/h, …`.
fn purpose(command: &Command) -> String {
    let others = if command.nodes.len() > 1 { format!(" and {} more", command.nodes.len() - 1) } else { String::new() };
    let by = |plan: &planner::output::NodeClaimPlan| match plan.instance_types.as_slice() {
        [one] => words::choices(std::slice::from_ref(one)),
        many => format!("the cheapest of {}", words::choices(many)),
    };
    let by: Vec<String> = command.replacements.iter().map(by).collect();
    let by = if by.is_empty() { String::new() } else { format!(" by {}", by.join(" and ")) };
    let saves = if command.savings > 0.0 { format!(", which saves {}", words::dollars(command.savings)) } else { String::new() };
    format!("{} it{others}{by}{saves}", command.decision())
}

/// The command from its proposal to the readiness of its replacements.
fn begun(record: &Record, machines: &[Machine], when: At, command: &Command, replacements: &[String], at: At) -> Vec<Fact> {
    let proposed = record.until(when).find_map(|(proposed, decision)| match decision {
        Decision::Proposed { command: other, .. } if other.method == command.method && other.names() == command.names() => Some(proposed),
        _ => None,
    });
    let (method, reason) = (words::method(command.method), command.method.reason());
    let created = match replacements {
        [] => String::new(),
        names => format!("; {} created in its place", names.join(", ")),
    };
    let data = json!({"command": command, "replacements": replacements});
    let mut facts = match proposed {
        Some(proposed) => vec![
            Fact::new(proposed, format!("{method} proposed to {}", purpose(command))),
            Fact::new(when, format!("it held when it was judged again, and was begun because {reason}{created}")).with(data),
        ],
        None => vec![Fact::new(when, format!("{method} began to {} because {reason}{created}", purpose(command))).with(data)],
    };
    for machine in replacements.iter().filter_map(|name| machines.iter().find(|m| m.claim.as_ref() == Some(name))) {
        if let Some(ready) = machine.initialized.filter(|ready| *ready <= at) {
            let kind = machine.instance_type.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
            facts.push(Fact::new(ready, format!("its replacement {}{kind} is initialized", machine.claim.as_deref().unwrap_or_default())));
        }
    }
    facts
}

/// What of a replacement is still to come.
fn waits_for(machines: &[Machine], name: &str, at: At) -> Option<Fact> {
    let replacement = machines.iter().find(|machine| machine.claim.as_deref() == Some(name));
    let reached = |when: fn(&Machine) -> Option<At>| replacement.and_then(when).filter(|when| *when <= at);
    let says = match (reached(|m| m.launched), reached(|m| m.registered), reached(|m| m.initialized)) {
        (_, _, Some(_)) => return None,
        (_, Some(when), None) => format!("it waits for {name}, registered at {when}, not initialized yet"),
        (Some(when), None, None) => format!("it waits for {name}, launched at {when}, not registered yet"),
        (None, None, None) => format!("it waits for {name}, not launched yet"),
    };
    Some(Fact::new(None, says).with(json!({"waits_for": name})))
}

/// Who wanted it gone, and why. A node on which a command is under way may still be deleted by somebody else.
fn reasons(record: &Record, machines: &[Machine], machine: &Machine, at: At) -> Vec<Fact> {
    let deleting = machine.deleting.unwrap_or(at);
    let mut facts = match last_command(record, machine, deleting) {
        Some(Commanded::Begun { when, command, replacements }) => begun(record, machines, when, command, replacements, at),
        _ => Vec::new(),
    };
    match machine.deleted_by.as_ref().filter(|(when, _)| *when <= at) {
        Some((_, controller)) if controller == "disruption.queue" => {}
        Some((when, controller)) => facts.push(deleted(record, machine, *when, controller)),
        None if machine.claim.is_some() => {
            facts.extend(machine.deleting.map(|when| Fact::new(when, "somebody else deleted its NodeClaim: the controller did not")));
        }
        None => {}
    }
    facts
}

/// One of the controller's parts deleted its NodeClaim.
fn deleted(record: &Record, machine: &Machine, when: At, controller: &str) -> Fact {
    let says = match controller {
        "nodeclaim.expiration" => format!("it expired{}", expiry(record, machine, when)),
        "interruption" => format!("AWS announced its end{}", interruption(record, machine, when)),
        "nodeclaim.garbagecollection" => "its machine had vanished from the cloud".to_owned(),
        "node.termination" => "its node was deleted, and the NodeClaim goes with it".to_owned(),
        "nodeclaim.lifecycle" => match &machine.launch_error {
            Some((_, error)) => format!("it could not be launched: {error}"),
            None => "it did not become a node in time".to_owned(),
        },
        other => format!("the controller {other} deleted it"),
    };
    Fact::new(when, says).with(json!({"controller": controller}))
}

fn expiry(record: &Record, machine: &Machine, when: At) -> String {
    let claim = machine.claim.as_deref().and_then(|name| record.object("NodeClaim", "", name, when));
    let after = claim.and_then(|claim| claim.pointer("/spec/expireAfter")?.as_str());
    match (after, machine.created) {
        (Some(after), Some(created)) => format!(": expireAfter {after} from its creation at {created}"),
        _ => String::new(),
    }
}

fn interruption(record: &Record, machine: &Machine, when: At) -> String {
    let kind = record.until(when).find_map(|(_, decision)| match decision {
        Decision::Log { controller, keys, .. }
            if controller == "interruption" && keys["NodeClaim"]["name"].as_str() == machine.claim.as_deref() =>
        {
            keys["messageKind"].as_str()
        }
        _ => None,
    });
    kind.map(|kind| format!(": {kind}")).unwrap_or_default()
}

fn steps(machine: &Machine, at: At) -> Vec<Fact> {
    let steps = [
        (machine.deleting, "its NodeClaim is deleted, the node is drained"),
        (machine.node_gone.filter(|_| machine.claim.is_some()), "the node is gone"),
    ];
    steps.into_iter().filter_map(|(when, says)| Some(Fact::new(when.filter(|when| *when <= at)?, says))).collect()
}
