//! Follows every machine through the record: from the plan or command that wanted it to its end.

use super::At;
use super::record::{Decision, Record};
use serde_json::Value;
use std::collections::BTreeMap;
use vocabulary::labels;

/// A NodeClaim, its node, or both.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub claim: Option<String>,
    pub node: Option<String>,
    pub pool: Option<String>,
    pub origin: Option<Origin>,
    pub provider_id: Option<String>,
    pub instance_type: Option<String>,
    pub zone: Option<String>,
    pub market: Option<String>,
    pub created: Option<At>,
    pub launched: Option<At>,
    pub registered: Option<At>,
    pub initialized: Option<At>,
    /// When its deletion began, as far as known.
    pub deleting: Option<At>,
    /// The controller that asked for its deletion, and when.
    pub deleted_by: Option<(At, String)>,
    pub launch_error: Option<(At, String)>,
    pub node_gone: Option<At>,
    pub gone: Option<At>,
}

/// What wanted it: a position among the record's decisions, and which of the decision's NodeClaims it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Plan(usize, usize),
    Command(usize, usize),
}

impl Machine {
    /// Whether the planner means it by this name: the node's, or the NodeClaim's before there is a node.
    pub fn is_called(&self, name: &str) -> bool {
        self.claim.as_deref() == Some(name) || self.node.as_deref() == Some(name)
    }

    /// `i-…` of its provider id.
    pub fn instance(&self) -> Option<&str> {
        self.provider_id.as_deref()?.rsplit('/').next().filter(|id| !id.is_empty())
    }

    /// The node's name, or the NodeClaim's.
    pub fn name(&self) -> &str {
        self.node.as_deref().or(self.claim.as_deref()).unwrap_or_default()
    }

    pub fn existed(&self, at: At) -> bool {
        self.created.is_some_and(|created| created <= at)
    }

    pub fn ended(&self, at: At) -> Option<At> {
        let end = if self.claim.is_some() { self.gone } else { self.node_gone };
        end.filter(|gone| *gone <= at)
    }
}

fn keep(place: &mut Option<At>, at: At) {
    place.get_or_insert(at);
}

/// The machines of a run, in order of their creation.
pub fn machines(record: &Record) -> Vec<Machine> {
    let mut claims: BTreeMap<String, Machine> = BTreeMap::new();
    for (position, (at, decision)) in record.decisions.iter().enumerate() {
        take(&mut claims, position, *at, decision);
    }
    for ((kind, _, name), sightings) in &record.sightings {
        if kind != "NodeClaim" {
            continue;
        }
        let machine = claims.entry(name.clone()).or_default();
        machine.claim.get_or_insert_with(|| name.clone());
        for sighting in sightings {
            keep(&mut machine.created, sighting.at);
            labelled(machine, &sighting.object);
            let text = |pointer: &str| sighting.object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            machine.provider_id = machine.provider_id.take().or_else(|| text("/status/providerID"));
            machine.node = machine.node.take().or_else(|| text("/status/nodeName"));
            if sighting.object.pointer("/metadata/deletionTimestamp").is_some() {
                machine.deleting = Some(machine.deleting.map_or(sighting.at, |at| at.min(sighting.at)));
            }
            if sighting.gone {
                machine.gone = Some(sighting.at);
            }
        }
    }
    let mut machines: Vec<Machine> = claims.into_values().filter(|machine| machine.claim.is_some()).collect();
    nodes(record, &mut machines);
    machines.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.name().cmp(b.name())));
    machines
}

fn labelled(machine: &mut Machine, object: &Value) {
    let label = |key: &str| object["metadata"]["labels"][key].as_str().map(str::to_owned);
    let known = [
        (&mut machine.pool, labels::NODEPOOL),
        (&mut machine.instance_type, labels::INSTANCE_TYPE),
        (&mut machine.zone, labels::ZONE),
        (&mut machine.market, labels::CAPACITY_TYPE),
    ];
    for (place, key) in known {
        *place = place.take().or_else(|| label(key));
    }
}

/// Nodes join the NodeClaim of their machine; those without one stand alone.
fn nodes(record: &Record, machines: &mut Vec<Machine>) {
    for ((kind, _, name), sightings) in &record.sightings {
        if kind != "Node" {
            continue;
        }
        for sighting in sightings {
            let provider = sighting.object.pointer("/spec/providerID").and_then(Value::as_str);
            let known = machines.iter().rposition(|m| {
                provider.is_some() && m.provider_id.as_deref() == provider || m.claim.is_none() && m.node.as_ref() == Some(name)
            });
            let position = known.unwrap_or_else(|| {
                machines.push(Machine { provider_id: provider.map(str::to_owned), ..Machine::default() });
                machines.len() - 1
            });
            let machine = &mut machines[position];
            machine.node.get_or_insert_with(|| name.clone());
            if machine.claim.is_none() {
                keep(&mut machine.created, sighting.at);
            }
            labelled(machine, &sighting.object);
            if sighting.gone {
                machine.node_gone = Some(sighting.at);
            }
        }
    }
}

fn take(claims: &mut BTreeMap<String, Machine>, position: usize, at: At, decision: &Decision) {
    let mut wanted = |names: &[String], origin: fn(usize, usize) -> Origin| {
        for (index, name) in names.iter().enumerate() {
            let machine = claims.entry(name.clone()).or_default();
            machine.origin.get_or_insert(origin(position, index));
        }
    };
    match decision {
        Decision::Planned { names, .. } => wanted(names, Origin::Plan),
        Decision::Disrupting { replacements, .. } => wanted(replacements, Origin::Command),
        Decision::EffectBegun { verb, object, controller, .. } if verb == "delete" => {
            if let Some(machine) = object.strip_prefix("nodeclaim/").and_then(|name| claims.get_mut(name)) {
                machine.deleted_by.get_or_insert_with(|| (at, controller.clone()));
                keep(&mut machine.deleting, at);
            }
        }
        Decision::Log { message, keys, .. } => {
            if let Some(name) = keys["NodeClaim"]["name"].as_str() {
                let machine = claims.entry(name.to_owned()).or_default();
                machine.claim.get_or_insert_with(|| name.to_owned());
                said(machine, at, message, keys);
            }
        }
        _ => {}
    }
}

/// The controller's own lines about a NodeClaim: they are there in every mode.
fn said(machine: &mut Machine, at: At, message: &str, keys: &Value) {
    let text = |key: &str| keys[key].as_str().map(str::to_owned);
    if let Some(node) = keys["Node"]["name"].as_str() {
        machine.node.get_or_insert_with(|| node.to_owned());
    }
    match message {
        "created nodeclaim" => {
            keep(&mut machine.created, at);
            machine.pool = keys["NodePool"]["name"].as_str().map(str::to_owned);
        }
        "launched nodeclaim" => {
            keep(&mut machine.launched, at);
            machine.provider_id = text("provider-id");
            machine.instance_type = text("instance-type");
            machine.zone = text("zone");
            machine.market = text("capacity-type");
        }
        "registered nodeclaim" => keep(&mut machine.registered, at),
        "initialized nodeclaim" => keep(&mut machine.initialized, at),
        "failed launching nodeclaim" => machine.launch_error = Some((at, text("error").unwrap_or_default())),
        "deleted node" => keep(&mut machine.node_gone, at),
        "deleted nodeclaim" => keep(&mut machine.gone, at),
        _ => {}
    }
}

/// The machine of this name as of then: the one that is there, else the latest that was, else the first that will be.
pub fn called<'a>(machines: &'a [Machine], name: &str, at: At) -> Option<&'a Machine> {
    let named = || machines.iter().filter(|machine| machine.is_called(name));
    named().rfind(|machine| machine.existed(at)).or_else(|| named().next())
}
