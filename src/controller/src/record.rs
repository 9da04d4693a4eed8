//! What the controller did and why, for traces and timelines.

use crate::log::Line;
use crate::recorder::EventSpec;
use jiff::Timestamp;
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
    Event(EventSpec),
    Log(Line),
    Crashed {
        number: u64,
    },
}
