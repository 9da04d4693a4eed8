//! Fleets that were created, the latest of them.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::network::Tags;
use crate::kept::{Word, word};

/// How many are remembered: an autoscaler makes one per launch, and nobody looks far back.
const REMEMBERED: usize = 1_000;

/// An instant fleet.
#[derive(Debug, Serialize, Deserialize)]
pub struct Fleet {
    pub id: String,
    pub created: Timestamp,
    /// `active`, `deleted_terminating`, `deleted`.
    #[serde(deserialize_with = "word::one")]
    pub state: Word,
    /// What of the request is described, as JSON.
    pub request: String,
    /// As CreateFleet told them.
    pub instances: Vec<Value>,
    pub failures: Vec<Value>,
    pub tags: Tags,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Fleets(VecDeque<Fleet>);

impl Fleets {
    pub fn remember(&mut self, fleet: Fleet) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(fleet);
    }

    pub fn get(&self, id: &str) -> Option<&Fleet> {
        self.0.iter().rev().find(|fleet| fleet.id == id)
    }

    pub fn set_state(&mut self, id: &str, state: &'static str) {
        if let Some(fleet) = self.0.iter_mut().rev().find(|fleet| fleet.id == id) {
            fleet.state = state;
        }
    }
}
