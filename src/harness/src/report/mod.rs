//! Tells: the outcome of runs as text for people, JSON and JUnit for machines.

mod junit;
mod text;

pub use junit::junit;
pub use text::{summary, text};

use crate::check::Verdict;
use crate::drive::StepReport;
use crate::timeline::Entry;
use serde::{Deserialize, Serialize};

/// What became of one scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub scenario: String,
    pub about: String,
    pub path: String,
    /// `embedded Kubernetes, virtual time` or what stood in for it.
    pub world: String,
    pub seed: u64,
    pub outcome: Outcome,
    pub steps: Vec<StepReport>,
    pub always: Vec<Verdict>,
    /// What always holds: a verdict a rule.
    #[serde(default)]
    pub invariants: Vec<Verdict>,
    pub timeline: Vec<Entry>,
    pub costs: Costs,
    /// The pools' nodes at the end, in order of type and zone.
    pub nodes: Vec<NodeLine>,
    /// Seconds of the story, virtual or real.
    pub story_seconds: f64,
    /// Seconds of the machine. Not part of what two runs have in common.
    pub wall_seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Outcome {
    Held,
    /// An expectation failed, or the world did not settle.
    Failed,
    /// The scenario or a manifest is wrong: nothing was judged.
    Mistaken {
        message: String,
    },
    /// The world broke: nothing can be said.
    Broken {
        message: String,
    },
}

impl Outcome {
    /// The process's exit code: 0 all held, 1 failed, 2 wrong input, 3 the environment failed.
    pub fn code(&self) -> u8 {
        match self {
            Outcome::Held => 0,
            Outcome::Failed => 1,
            Outcome::Mistaken { .. } => 2,
            Outcome::Broken { .. } => 3,
        }
    }
}

/// A node of a pool: what was bought, and what the controller and the kubelet say is left for pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeLine {
    pub pool: String,
    pub instance_type: String,
    pub capacity_type: String,
    pub zone: String,
    /// `status.allocatable` of the NodeClaim.
    pub claim_allocatable: std::collections::BTreeMap<String, String>,
    /// cpu, memory and pods of the Node.
    pub node_allocatable: [String; 3],
    pub pods: usize,
}

/// What the machines cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Per hour at the end, by pool; nodes of no pool under `other nodes`.
    pub hourly: Vec<(String, f64)>,
    /// Dollars from the start of the story to its end, all machines.
    pub spent: f64,
    /// Where the prices come from.
    pub source: String,
}

impl Report {
    /// Verdicts in the order of the file, and what was broken of what always holds.
    pub fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.steps.iter().flat_map(|s| &s.verdicts).chain(&self.always).chain(self.invariants.iter().filter(|v| !v.held))
    }

    /// A report of something that did not run.
    pub fn not_run(path: &str, outcome: Outcome) -> Report {
        let scenario = std::path::Path::new(path).file_stem().map_or_else(|| path.to_owned(), |stem| stem.to_string_lossy().into_owned());
        Report {
            scenario,
            about: String::new(),
            path: path.to_owned(),
            world: String::new(),
            seed: 0,
            outcome,
            steps: Vec::new(),
            always: Vec::new(),
            invariants: Vec::new(),
            timeline: Vec::new(),
            costs: Costs::default(),
            nodes: Vec::new(),
            story_seconds: 0.0,
            wall_seconds: 0.0,
        }
    }
}
