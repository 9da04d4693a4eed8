//! What an autoscaler did to nodes, told from the API alone, so that every controller is judged by the same eyes.
//!
//! [`History`] keeps what was seen of each NodeClaim; [`History::acts`] makes sense of it; [`hold`] compares with what was expected.
//!
//! A command marks its nodes' NodeClaims with the condition `DisruptionReason` and makes its replacements right after, on which the
//! event `DisruptionLaunching` says the reason once more (`C/pkg/controllers/disruption/queue.go`). A NodeClaim that is deleted without
//! such a mark was interrupted (event `TerminatingOnInterruption`, `A/pkg/controllers/interruption/events`), has expired, or was removed
//! by somebody else.

use crate::scenario::{Group, Phrase, Verb};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Nodes of one command are marked side by side; two commands of one reason are at least a validation (15 s) apart, but for drift, whose
/// commands have one node each.
const ONE_COMMAND: SignedDuration = SignedDuration::from_secs(2);
const DRIFTED: &str = "Drifted";
/// The event that an interruption has deleted a NodeClaim.
const ON_INTERRUPTION: &str = "TerminatingOnInterruption";
/// What an interruption is called on the NodeClaim. Source: `A/pkg/controllers/interruption/events/events.go`.
pub const INTERRUPTIONS: [&str; 5] =
    ["SpotInterrupted", "CapacityReservationInstanceInterrupted", "InstanceStopping", "InstanceTerminating", "InstanceUnhealthy"];

/// When something was seen: by order, and by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    pub order: u64,
    pub at: Timestamp,
}

/// What was seen of the NodeClaims that are and were.
#[derive(Clone, Debug, Default)]
pub struct History {
    claims: BTreeMap<String, Facts>,
}

#[derive(Clone, Debug, Default)]
struct Facts {
    created: Option<Stamp>,
    /// When it expires, by its creation and its spec.
    expires: Option<Timestamp>,
    launched: Option<Stamp>,
    instance_type: String,
    node: String,
    marks: Vec<Mark>,
    deleted: Option<Stamp>,
    /// The reason of the command that made it as a replacement.
    replaces: Option<String>,
    interruptions: Vec<(Stamp, String)>,
}

#[derive(Clone, Debug)]
struct Mark {
    stamp: Stamp,
    reason: String,
    cleared: bool,
}

/// One look at a NodeClaim.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub created: Timestamp,
    pub expire_after: Option<SignedDuration>,
    pub launched: bool,
    pub instance_type: String,
    pub node: String,
    /// The reason of its condition `DisruptionReason`, while that is true.
    pub reason: Option<String>,
    pub deleting: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// A machine that replaces none.
    Launch,
    /// A command without replacements.
    Delete,
    Replace,
    Expire,
    Interrupt,
    /// Deleted by somebody else: by hand, or since its machine was gone.
    Remove,
}

/// One act of the autoscaler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Act {
    #[serde(skip)]
    pub order: u64,
    /// Seconds since the story began.
    pub at: f64,
    pub done: Done,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    pub nodes: Vec<Machine>,
    /// What comes in their place.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub with: Vec<Machine>,
    /// The command gave up and left its nodes as they were.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub taken_back: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub claim: String,
    pub node: String,
    /// Empty while it is not known.
    pub instance_type: String,
}

impl History {
    pub fn look(&mut self, stamp: Stamp, claim: &str, look: Look) {
        let facts = self.claims.entry(claim.to_owned()).or_default();
        facts.created.get_or_insert(stamp);
        facts.expires = look.expire_after.and_then(|after| look.created.checked_add(after).ok());
        if look.launched {
            facts.launched.get_or_insert(stamp);
        }
        // A NodeClaim that is going may lose labels and status: what was known stays known.
        if !look.instance_type.is_empty() {
            facts.instance_type = look.instance_type;
        }
        if !look.node.is_empty() {
            facts.node = look.node;
        }
        match (look.reason, facts.marks.last_mut().filter(|mark| !mark.cleared)) {
            (Some(reason), Some(mark)) if mark.reason == reason => {}
            (Some(reason), before) => {
                if let Some(mark) = before {
                    mark.cleared = true;
                }
                facts.marks.push(Mark { stamp, reason, cleared: false });
            }
            (None, Some(mark)) if !look.deleting => mark.cleared = true,
            (None, _) => {}
        }
        if look.deleting {
            facts.deleted.get_or_insert(stamp);
        }
    }

    pub fn gone(&mut self, stamp: Stamp, claim: &str) {
        if let Some(facts) = self.claims.get_mut(claim) {
            facts.deleted.get_or_insert(stamp);
        }
    }

    /// An event on a NodeClaim, by its reason and message.
    pub fn event(&mut self, stamp: Stamp, claim: &str, reason: &str, message: &str) {
        let said = || message.rsplit(": ").next().unwrap_or_default().to_owned();
        let known = INTERRUPTIONS.contains(&reason) || [ON_INTERRUPTION, "DisruptionLaunching", "DisruptionTerminating"].contains(&reason);
        if !known {
            return;
        }
        let facts = self.claims.entry(claim.to_owned()).or_default();
        match reason {
            "DisruptionLaunching" => drop(facts.replaces.get_or_insert_with(said)),
            // The mark itself may have been missed between two lists.
            "DisruptionTerminating" if facts.marks.is_empty() => facts.marks.push(Mark { stamp, reason: said(), cleared: false }),
            "DisruptionTerminating" => {}
            _ if facts.interruptions.iter().all(|(_, known)| known != reason) => facts.interruptions.push((stamp, reason.to_owned())),
            _ => {}
        }
    }

    /// What was done, in the order in which it began; times count from `start`.
    pub fn acts(&self, start: Timestamp) -> Vec<Act> {
        let act = |stamp: Stamp, done: Done, reason: Option<String>, nodes: Vec<Machine>| Act {
            order: stamp.order,
            at: (stamp.at.duration_since(start).as_secs_f64() * 1000.0).round() / 1000.0,
            done,
            reason,
            nodes,
            with: Vec::new(),
            taken_back: false,
        };
        let (commands, replacements) = self.commands();
        let mut acts = Vec::new();
        for command in commands {
            let nodes = command.marked.iter().map(|(name, _)| self.machine(name)).collect();
            let done = if command.with.is_empty() { Done::Delete } else { Done::Replace };
            let mut made = act(command.began, done, Some(command.reason), nodes);
            made.with = command.with.iter().map(|name| self.machine(name)).collect();
            made.taken_back = command.marked.iter().all(|(_, cleared)| *cleared);
            acts.push(made);
        }
        for (name, facts) in self.claims.iter().filter(|(_, facts)| facts.launched.is_some()) {
            if let Some(launched) = facts.launched.filter(|_| !replacements.contains(&name.as_str())) {
                acts.push(act(launched, Done::Launch, None, vec![self.machine(name)]));
            }
            if let Some(deleted) = facts.deleted.filter(|_| facts.marks.iter().all(|mark| mark.cleared)) {
                let (done, reason) = facts.end(deleted);
                acts.push(act(deleted, done, reason, vec![self.machine(name)]));
            }
        }
        acts.sort_by_key(|act| act.order);
        acts
    }

    fn machine(&self, claim: &str) -> Machine {
        let facts = self.claims.get(claim).cloned().unwrap_or_default();
        Machine { claim: claim.to_owned(), node: facts.node, instance_type: facts.instance_type }
    }

    /// The commands, and the NodeClaims that were made as replacements.
    fn commands(&self) -> (Vec<Command<'_>>, Vec<&str>) {
        let mut marks: Vec<(&str, &Mark)> =
            self.claims.iter().flat_map(|(name, facts)| facts.marks.iter().map(move |mark| (name.as_str(), mark))).collect();
        marks.sort_by_key(|(_, mark)| mark.stamp);
        let mut commands: Vec<Command<'_>> = Vec::new();
        for (name, mark) in marks {
            let same = commands.last_mut().filter(|command| {
                command.reason == mark.reason && mark.reason != DRIFTED && mark.stamp.at.duration_since(command.began.at) <= ONE_COMMAND
            });
            match same {
                Some(command) => command.marked.push((name, mark.cleared)),
                None => commands.push(Command {
                    began: mark.stamp,
                    reason: mark.reason.clone(),
                    marked: vec![(name, mark.cleared)],
                    with: Vec::new(),
                }),
            }
        }
        let mut made: Vec<(Stamp, &str, &str)> =
            self.claims.iter().filter_map(|(name, facts)| Some((facts.created?, name.as_str(), facts.replaces.as_deref()?))).collect();
        made.sort();
        let mut replacements = Vec::new();
        for (created, name, reason) in made {
            let of = commands.iter_mut().rev().find(|command| command.reason.eq_ignore_ascii_case(reason) && command.began <= created);
            if let Some(command) = of {
                command.with.push(name);
                replacements.push(name);
            }
        }
        (commands, replacements)
    }
}

struct Command<'h> {
    began: Stamp,
    reason: String,
    /// NodeClaims, and whether the mark was taken off again.
    marked: Vec<(&'h str, bool)>,
    with: Vec<&'h str>,
}

impl Facts {
    /// Why it was deleted, if no command did it.
    fn end(&self, deleted: Stamp) -> (Done, Option<String>) {
        let before = self.interruptions.iter().rfind(|(stamp, kind)| kind != ON_INTERRUPTION && *stamp <= deleted);
        let told = self.interruptions.iter().any(|(_, kind)| kind == ON_INTERRUPTION);
        if told || before.is_some() {
            let first = self.interruptions.iter().find(|(_, kind)| kind != ON_INTERRUPTION);
            return (Done::Interrupt, before.or(first).map(|(_, kind)| kind.clone()));
        }
        match self.expires {
            Some(expires) if deleted.at >= expires => (Done::Expire, None),
            _ => (Done::Remove, None),
        }
    }
}

/// `2 m5.large and 1 t3.small`.
fn groups(machines: &[Machine]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for machine in machines {
        *counts.entry(if machine.instance_type.is_empty() { "node" } else { &machine.instance_type }).or_default() += 1;
    }
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(" and ")
}

impl std::fmt::Display for Act {
    /// As a scenario would write it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = match self.done {
            Done::Launch => "launch",
            Done::Delete => "delete",
            Done::Replace => "replace",
            Done::Expire => "expire",
            Done::Interrupt => "interrupt",
            Done::Remove => "remove",
        };
        write!(f, "{verb} {}", groups(&self.nodes))?;
        if !self.with.is_empty() {
            write!(f, " with {}", groups(&self.with))?;
        }
        if let Some(reason) = &self.reason {
            write!(f, " because {reason}")?;
        }
        if self.taken_back { f.write_str(" (taken back)") } else { Ok(()) }
    }
}

/// Whether what was done is what was expected: each entry, one of its phrases, in order, and nothing besides. Commands that were taken
/// back are told and not compared.
pub fn hold(expected: &[Vec<Phrase>], acts: &[&Act]) -> bool {
    let Some((entry, rest)) = expected.split_first() else { return acts.is_empty() };
    entry.iter().any(|phrase| taken(phrase, acts).is_some_and(|count| hold(rest, &acts[count..])))
}

/// How many of the acts that come next a phrase stands for.
fn taken(phrase: &Phrase, acts: &[&Act]) -> Option<usize> {
    let done: &[Done] = match phrase.verb {
        Verb::Launch => &[Done::Launch],
        Verb::Delete => &[Done::Delete],
        Verb::Replace => &[Done::Replace],
        Verb::Drift => &[Done::Delete, Done::Replace],
        Verb::Expire => &[Done::Expire],
        Verb::Interrupt => &[Done::Interrupt],
        Verb::Remove => &[Done::Remove],
    };
    let because = |act: &Act| {
        let reason = act.reason.as_deref();
        (phrase.because.is_empty() || phrase.because.iter().any(|wanted| Some(wanted.as_str()) == reason))
            && (phrase.verb != Verb::Drift || reason == Some(DRIFTED))
    };
    // A command is one act, whatever the number of its nodes; the others are an act per node.
    let length = if phrase.verb.is_command() { 1 } else { phrase.nodes.iter().map(|group| group.count.unwrap_or(1)).sum() };
    let next = acts.get(..usize::try_from(length).ok()?)?;
    let nodes: Vec<&Machine> = next.iter().flat_map(|act| &act.nodes).collect();
    let with: Vec<&Machine> = next.iter().flat_map(|act| &act.with).collect();
    let fits = next.iter().all(|act| done.contains(&act.done) && because(act))
        && cover(&phrase.nodes, &nodes)
        && (phrase.with.is_empty() || cover(&phrase.with, &with));
    fits.then_some(next.len())
}

/// Whether groups describe machines: each group has some, in its number if it gives one, and no machine is in none.
fn cover(groups: &[Group], machines: &[&Machine]) -> bool {
    let of = |group: &Group| {
        let meant = |machine: &&&Machine| group.instance_type.as_ref().is_none_or(|name| *name == machine.instance_type);
        u64::try_from(machines.iter().filter(meant).count()).unwrap_or(u64::MAX)
    };
    let counted = groups.iter().all(|group| group.count.map_or(of(group) > 0, |count| of(group) == count));
    let named = |machine: &&Machine| groups.iter().any(|g| g.instance_type.as_ref().is_none_or(|name| *name == machine.instance_type));
    counted && machines.iter().all(named)
}

#[cfg(test)]
mod tests;
