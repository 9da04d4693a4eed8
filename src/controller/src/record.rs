//! What the controller did and why, for traces and timelines.

use crate::log::Line;
use crate::recorder::EventSpec;
use jiff::Timestamp;
use planner::disruption::{Command, Invalid, Method, Stays};
use planner::{Explanation, Plan};
use serde::Serialize;
use std::sync::Arc;

/// One entry of the record, in order of `sequence`.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    pub at: Timestamp,
    pub sequence: u64,
    pub what: What,
}

/// What a pool's budgets come to, in nodes.
#[derive(Clone, Debug, Serialize)]
pub struct PoolBudget {
    pub pool: Arc<str>,
    pub nodes: u32,
    pub allowed: u32,
    /// Not ready, or on their way out.
    pub disrupting: u32,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The controller knows its surroundings and begins to work.
    Started,
    EffectBegun {
        number: u64,
        verb: &'static str,
        object: String,
        controller: &'static str,
    },
    EffectEnded {
        number: u64,
        verb: &'static str,
        object: String,
        error: Option<String>,
    },
    BatchOpened,
    /// A plan was made. `names` are the NodeClaims of its launches, in order.
    Planned {
        plan: Arc<Plan>,
        explanation: Arc<Explanation>,
        names: Vec<String>,
        /// Until then the nominated nodes are kept for their pods.
        nominated_until: Timestamp,
    },
    /// A batch closed while a NodeClaim was without a machine, or before everything was listed: no plan was made.
    Unsynced {
        waiting_for: Vec<String>,
    },
    /// A method proposes a command, which is judged again before it is carried out.
    Proposed {
        command: Arc<Command>,
        /// When it is judged again.
        until: Timestamp,
    },
    /// The command did not hold.
    Rejected {
        command: Arc<Command>,
        reason: Invalid,
    },
    /// The command's nodes are marked and its replacements, by name, created.
    Disrupting {
        command: Arc<Command>,
        replacements: Vec<String>,
        /// Until then the nominated nodes are kept for their pods.
        nominated_until: Timestamp,
    },
    /// Why nodes stay, by one method's lights, whenever that changed.
    Stays {
        method: Method,
        nodes: Arc<Vec<Stays>>,
        /// Nodes that the method could have taken.
        candidates: usize,
        /// What the pools with nodes may lose for the method's reason.
        budgets: Vec<PoolBudget>,
    },
    Event(EventSpec),
    Log(Line),
    Crashed {
        number: u64,
    },
}
