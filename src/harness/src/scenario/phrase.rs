//! `actions`: what an autoscaler is expected to do, in the order in which it begins.
//!
//! ```text
//! entry  := phrase (" or " phrase)*
//! phrase := VERB nodes [" with " nodes] [" because " REASON (" or " REASON)*]
//! nodes  := [NUMBER] TYPE (" and " [NUMBER] TYPE)*          TYPE: an instance type, or node, or nodes
//! VERB   := launch | delete | replace | drift | expire | interrupt | remove
//! ```

use super::fields::{Reader, near};
use crate::acts::INTERRUPTIONS;
use crate::yaml::Node;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase {
    pub verb: Verb,
    pub nodes: Vec<Group>,
    /// Empty: not compared.
    pub with: Vec<Group>,
    /// One of these; empty: not compared.
    pub because: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub count: Option<u64>,
    /// `None`: any.
    pub instance_type: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Launch,
    Delete,
    Replace,
    /// A command of either kind whose reason is `Drifted`.
    Drift,
    Expire,
    Interrupt,
    Remove,
}

const VERBS: [(&str, Verb); 7] = [
    ("launch", Verb::Launch),
    ("delete", Verb::Delete),
    ("replace", Verb::Replace),
    ("drift", Verb::Drift),
    ("expire", Verb::Expire),
    ("interrupt", Verb::Interrupt),
    ("remove", Verb::Remove),
];

impl Verb {
    pub fn is_command(self) -> bool {
        matches!(self, Verb::Delete | Verb::Replace | Verb::Drift)
    }

    fn reasons(self) -> &'static [&'static str] {
        match self {
            Verb::Delete | Verb::Replace => &["Empty", "Underutilized", "Drifted"],
            Verb::Drift => &["Drifted"],
            Verb::Interrupt => &INTERRUPTIONS,
            Verb::Launch | Verb::Expire | Verb::Remove => &[],
        }
    }
}

/// The list: each entry with its alternatives.
pub fn actions(reader: &Reader, node: &Node) -> Vec<Vec<Phrase>> {
    let items = reader.list(node).into_iter();
    items.filter_map(|item| reader.parsed(item, "actions", entry)).collect()
}

fn entry(text: &str) -> Result<Vec<Phrase>, String> {
    let mut found: Vec<Phrase> = Vec::new();
    for part in text.split(" or ") {
        let words: Vec<&str> = part.split_whitespace().collect();
        match (words.as_slice(), found.last_mut()) {
            // `because Empty or Underutilized`
            ([reason], Some(last)) if !last.because.is_empty() => last.because.push(known_reason(last.verb, reason)?),
            (words, _) => found.push(phrase(words)?),
        }
    }
    Ok(found)
}

fn phrase(words: &[&str]) -> Result<Phrase, String> {
    let help = || "write, for example: replace 2 m5.large with t3.small because Underutilized".to_owned();
    let (first, rest) = words.split_first().ok_or_else(help)?;
    let verb = VERBS.iter().find(|(name, _)| name == first).map(|(_, verb)| *verb).ok_or_else(|| {
        let known = VERBS.map(|(name, _)| name);
        near(first, known.into_iter()).unwrap_or_else(|| format!("an action begins with {}", known.join(", ")))
    })?;
    let (rest, because) = match rest.iter().position(|word| *word == "because") {
        Some(at) => match &rest[at + 1..] {
            [reason] => (&rest[..at], vec![known_reason(verb, reason)?]),
            _ => return Err("one reason comes after because; more of them with or".to_owned()),
        },
        None => (rest, Vec::new()),
    };
    let (rest, with) = match rest.iter().position(|word| *word == "with") {
        Some(_) if !matches!(verb, Verb::Replace | Verb::Drift) => return Err("only replace and drift have a with".to_owned()),
        Some(at) => (&rest[..at], groups(&rest[at + 1..])?),
        None => (rest, Vec::new()),
    };
    Ok(Phrase { verb, nodes: groups(rest)?, with, because })
}

fn groups(words: &[&str]) -> Result<Vec<Group>, String> {
    words.split(|word| *word == "and").map(group).collect()
}

fn group(words: &[&str]) -> Result<Group, String> {
    let (count, name) = match words {
        [name] => (None, *name),
        [count, name] => {
            let count = count.parse().ok().filter(|count| *count > 0);
            (Some(count.ok_or_else(|| "write a whole number from 1 on before the type".to_owned())?), *name)
        }
        _ => return Err("write an instance type, with or without a number before it: 2 m5.large".to_owned()),
    };
    if matches!(name, "node" | "nodes") {
        return Ok(Group { count, instance_type: None });
    }
    let types = fake_ec2::catalogue::types();
    if !types.contains_key(name) {
        let help = near(name, types.keys().copied()).unwrap_or_else(|| "write a type such as m5.large, or node for any".to_owned());
        return Err(format!("there is no instance type {name:?}: {help}"));
    }
    Ok(Group { count, instance_type: Some(name.to_owned()) })
}

fn known_reason(verb: Verb, text: &str) -> Result<String, String> {
    let known = verb.reasons();
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    if known.is_empty() {
        return Err("launch, expire and remove have no reason".to_owned());
    }
    Err(near(text, known.iter().copied()).unwrap_or_else(|| format!("reasons here: {}", known.join(", "))))
}
