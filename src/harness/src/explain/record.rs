//! A run's record, read back from its trace: decisions, what was seen of objects, what the cloud billed, in order of time.

use super::{At, Error};
use jiff::Timestamp;
use planner::disruption::{Command, Invalid, Method, Stays};
use planner::{Explanation, Plan};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::UsdPerHour;

/// One decision of the controller, as far as questions are about it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    Planned { plan: Plan, explanation: Explanation, names: Vec<String>, nominated_until: Timestamp },
    Unsynced { waiting_for: Vec<String> },
    Proposed { command: Command, until: Timestamp },
    Rejected { command: Command, reason: Invalid },
    Disrupting { command: Command, replacements: Vec<String>, nominated_until: Timestamp },
    Stays { method: Method, nodes: Vec<Stays>, candidates: usize, budgets: Vec<Budget> },
    EffectBegun { number: u64, verb: String, object: String, controller: String },
    EffectEnded { number: u64, verb: String, object: String, error: Option<String> },
    Log { controller: String, message: String, keys: Value },
}

const KNOWN: [&str; 9] = ["planned", "unsynced", "proposed", "rejected", "disrupting", "stays", "effect-begun", "effect-ended", "log"];

/// What a pool's budgets came to, in nodes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Budget {
    pub pool: Arc<str>,
    pub nodes: u32,
    pub allowed: u32,
    pub disrupting: u32,
}

/// An object as it was from then on.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub at: At,
    /// It was deleted then.
    pub gone: bool,
    pub object: Value,
}

/// Kind, namespace, name.
pub type Key = (String, String, String);

/// Times count from the story's beginning.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub decisions: Vec<(At, Decision)>,
    pub sightings: BTreeMap<Key, Vec<Sighting>>,
    /// Per machine of the cloud.
    pub prices: BTreeMap<String, UsdPerHour>,
    pub end: At,
    began: Timestamp,
}

#[derive(Deserialize)]
struct Line {
    t: String,
    what: String,
    of: Value,
}

impl Record {
    /// Reads a trace. The first line that is not whole is an error: what came after it is unknown.
    pub fn read(trace: &str) -> Result<Record, Error> {
        let mut lines = Vec::new();
        for (position, text) in trace.lines().enumerate() {
            let wrong = |why: String| Error::Line { line: position + 1, why };
            let line: Line = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
            let seconds: f64 = line.t.parse().map_err(|_| wrong(format!("the time {:?} is no number of seconds", line.t)))?;
            let at = At::from_seconds(seconds).ok_or_else(|| wrong(format!("the time {:?} is out of range", line.t)))?;
            lines.push((position + 1, at, line));
        }
        let story = lines.iter().find(|(_, _, line)| line.what == "story").ok_or(Error::NoStory)?;
        let (zero, began) = (story.1, &story.2.of["began"]);
        let began = began.as_str().and_then(|text| text.parse().ok());
        let began = began.ok_or_else(|| Error::Line { line: story.0, why: "it does not say when the story began".to_owned() })?;
        let mut record = Record { began, ..Record::default() };
        for (number, at, line) in lines {
            let at = at.since(zero);
            record.end = record.end.max(at);
            // The bill is made when the story is over; what comes after it are the quiet minutes, which belong to no story.
            let over = line.what == "bill";
            record.take(number, at, line)?;
            if over {
                break;
            }
        }
        if record.decisions.is_empty() {
            return Err(Error::NoDecisions);
        }
        Ok(record)
    }

    fn take(&mut self, number: usize, at: At, line: Line) -> Result<(), Error> {
        let wrong = |error: serde_json::Error| Error::Line { line: number, why: error.to_string() };
        match line.what.as_str() {
            "decision" => {
                let tag = line.of.as_object().and_then(|object| object.keys().next());
                if tag.is_some_and(|tag| KNOWN.contains(&tag.as_str())) {
                    self.decisions.push((at, serde_json::from_value(line.of).map_err(wrong)?));
                }
            }
            "seen" => {
                let text = |pointer: &str| line.of.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
                let key = (text("/object/kind"), text("/object/metadata/namespace"), text("/object/metadata/name"));
                let gone = text("/change") == "DELETED";
                self.sightings.entry(key).or_default().push(Sighting { at, gone, object: line.of["object"].clone() });
            }
            "bill" => self.prices = serde_json::from_value(line.of).map_err(wrong)?,
            _ => {}
        }
        Ok(())
    }

    pub fn at(&self, time: Timestamp) -> At {
        At::from_millis(i64::try_from(time.duration_since(self.began).as_millis()).unwrap_or(i64::MAX))
    }

    /// A time of an object, as `2026-01-01T00:00:00Z`.
    pub fn at_text(&self, text: Option<&str>) -> Option<At> {
        text?.parse().ok().map(|time| self.at(time))
    }

    /// Decisions up to then, the latest first.
    pub fn until(&self, at: At) -> impl Iterator<Item = (At, &Decision)> {
        self.decisions.iter().rev().filter(move |(when, _)| *when <= at).map(|(when, decision)| (*when, decision))
    }

    /// What was known of an object then; `None` before it was seen and after it was deleted.
    pub fn object(&self, kind: &str, namespace: &str, name: &str, at: At) -> Option<&Value> {
        let sightings = self.sightings.get(&(kind.to_owned(), namespace.to_owned(), name.to_owned()))?;
        let last = sightings.iter().rev().find(|sighting| sighting.at <= at)?;
        (!last.gone).then_some(&last.object)
    }

    /// Every object of a kind that was there, in order of namespace and name.
    pub fn objects(&self, kind: &str, at: At) -> impl Iterator<Item = (&Key, &Value)> {
        let all = self.sightings.iter().filter(move |((known, ..), _)| known == kind);
        all.filter_map(move |(key, _)| Some((key, self.object(&key.0, &key.1, &key.2, at)?)))
    }

    /// Whether the trace tells of objects at all: the local control plane's does not.
    pub fn has_sightings(&self) -> bool {
        !self.sightings.is_empty()
    }
}
