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
    },
    /// A batch closed while a NodeClaim was without a machine, or before everything was listed: no plan was made.
    Unsynced {
        waiting_for: Vec<String>,
    },
    /// A method proposes a command, which is judged again before it is carried out.
    Proposed {
        command: Arc<Command>,
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
    },
    /// Why nodes stay, by one method's lights, whenever that changed.
    Stays {
        method: Method,
        nodes: Arc<Vec<Stays>>,
    },
    Event(EventSpec),
    Log(Line),
    Crashed {
        number: u64,
    },
}
