//! A scenario: one file that is a world, a story and its expectations.
//!
//! [`read`] turns text into a [`Scenario`] or into every mistake it contains; the manifests it refers to are read with it, so
//! that a missing or broken one is found before anything runs.

mod action;
mod catalogue;
pub mod change;
mod decode;
mod expect;
pub mod fault;
mod fields;
mod given;
mod mistake;

mod phrase;
mod problem;
mod select;
pub mod spot;
mod units;

pub use action::{Action, Ask, Target};
pub use change::Change;
pub use expect::{Aggregate, Compare, Condition, CostOf, Count, Expectation, LatencyOf, NodeTypes, Noun, PodExpectation};
pub use fault::Fault;
pub use given::{Aws, Capacity, Daemonsets, Given, Kubernetes, Manifest, NodeGroup, Pods, Queue, Span as DurationRange};
pub use mistake::{Mistake, Mistakes, Site};
pub use phrase::{Group, Phrase, Verb};
pub use problem::Problem;
pub use select::Nodes;

use crate::invariants::Rule;
use jiff::SignedDuration;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which world a run takes place in; settings and tolerances may differ between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One process, virtual time.
    Sim,
    /// A real control plane on loopback, real time.
    Wire,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub path: PathBuf,
    pub name: String,
    pub about: String,
    pub tags: Vec<String>,
    pub seed: u64,
    pub given: Given,
    pub steps: Vec<Step>,
    pub always: Vec<Placed<Expectation>>,
    /// What does not hold here of what always holds, and why.
    pub without: BTreeMap<Rule, String>,
    /// Differences of the wire world: shorter boots, longer deadlines.
    pub on_wire: OnWire,
}

#[derive(Clone, Debug, Default)]
pub struct OnWire {
    pub boot: given::Boot,
    /// Deadlines are multiplied by this.
    pub within: Option<f64>,
    /// Latency bounds are multiplied by this.
    pub latency: Option<f64>,
}

/// A value and where it stands in the scenario file, as text for messages.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    pub value: T,
    /// The source text, on one line.
    pub text: String,
    /// One-based.
    pub line: usize,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub actions: Vec<Placed<Action>>,
    /// The deadline by which the world must have settled.
    pub within: Option<SignedDuration>,
    /// The step ends so long after its beginning, settled or not.
    pub until: Option<SignedDuration>,
    pub expect: Vec<Placed<Expectation>>,
    pub never: Vec<Placed<Expectation>>,
}

/// Reads a scenario file and all that it refers to.
pub fn read(path: &Path) -> Result<Scenario, Mistakes> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        bare(&shown, format!("cannot be read: {error}"), Some("give the path of a scenario file or of a folder with some".to_owned()))
    })?;
    let text = String::from_utf8(bytes).map_err(|_| bare(&shown, "is not UTF-8 text".to_owned(), None))?;
    parse(path, &text)
}

/// Reads a scenario from text; manifests are looked up beside `path`.
pub fn parse(path: &Path, text: &str) -> Result<Scenario, Mistakes> {
    decode::scenario(path, &Arc::from(text))
}

fn bare(file: &str, message: String, help: Option<String>) -> Mistakes {
    Mistakes(vec![Mistake { file: file.to_owned(), source: Arc::from(""), span: 0..0, message, help }])
}

#[cfg(test)]
mod tests;
