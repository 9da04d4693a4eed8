//! What IAM refused, and why, for those who look for the statement.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Denial {
    pub at: Timestamp,
    pub request_id: String,
    /// Whether the request was refused, or only would have been.
    pub enforced: bool,
    pub principal: String,
    /// `ec2:RunInstances`
    pub action: String,
    pub resource: String,
    /// As the client was told it.
    pub message: String,
    /// Which statement denied, or which come near and what they lack.
    pub why: Vec<String>,
}

/// How many refusals are kept.
const KEPT: usize = 1000;

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Denials {
    pub count: u64,
    pub latest: VecDeque<Denial>,
}

impl Denials {
    pub fn add(&mut self, denial: Denial) {
        self.count += 1;
        if self.latest.len() == KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(denial);
    }
}
