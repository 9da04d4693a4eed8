//! What happens by itself, and when.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::incident::Fate;
use crate::kept::pairs;

/// One thing that happens at an instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Due {
    /// An instance comes out of a transitional state, unless it was overtaken (`generation` moved on).
    Instance { region: String, id: String, generation: u64 },
    /// A Spot instance's notice is over.
    TakeBack { region: String, id: String },
    /// The time of a scheduled event has come.
    Maintenance { region: String, id: String },
    /// A terminated instance is described no longer.
    Forget { region: String, id: String },
    /// An event reaches the bus's rules.
    Event { region: String, event: Value },
    /// A rule of the bus fires by its schedule, unless that was changed.
    Schedule { region: String, rule: String },
    /// A message came into a queue beside all requests; a waiting receiver must be asked again.
    Visible { region: String },
    /// A Spot price may have changed that somebody pays up to a maximum only.
    Price { region: String },
    /// A capacity reservation ends, unless its end was moved.
    Reservation { region: String, id: String },
    /// An Auto Scaling group compares what it holds with what it should.
    Group { region: String, name: String, retry: bool },
    /// What a rule has in store for an instance comes.
    Fate { region: String, id: String, rule: String, fate: Fate },
    /// A cluster has been made.
    Cluster { region: String, name: String },
    /// A node group's update takes its next step.
    Nodegroup { region: String, cluster: String, name: String },
}

impl Due {
    pub fn region(&self) -> &str {
        match self {
            Self::Instance { region, .. }
            | Self::TakeBack { region, .. }
            | Self::Maintenance { region, .. }
            | Self::Forget { region, .. }
            | Self::Fate { region, .. }
            | Self::Event { region, .. }
            | Self::Schedule { region, .. }
            | Self::Visible { region }
            | Self::Price { region }
            | Self::Group { region, .. }
            | Self::Reservation { region, .. }
            | Self::Nodegroup { region, .. }
            | Self::Cluster { region, .. } => region,
        }
    }

    /// In words, if it is work that a settled world must not have.
    fn work(&self) -> Option<String> {
        match self {
            Self::Instance { id, .. } => Some(format!("instance {id} changes its state")),
            Self::TakeBack { id, .. } => Some(format!("Spot instance {id} is taken back")),
            Self::Event { event, .. } => {
                Some(format!("event `{}` is on its way", event.get("detail-type").and_then(Value::as_str).unwrap_or("?")))
            }
            Self::Cluster { name, .. } => Some(format!("cluster {name} is being created")),
            Self::Nodegroup { name, .. } => Some(format!("node group {name} is being updated")),
            Self::Group { name, retry: false, .. } => Some(format!("Auto Scaling group {name} launches or terminates")),
            // Without capacity a group would try for ever; what is in force keeps nothing unsettled.
            Self::Group { .. }
            | Self::Fate { .. }
            | Self::Maintenance { .. }
            | Self::Reservation { .. }
            | Self::Forget { .. }
            | Self::Schedule { .. }
            | Self::Visible { .. }
            | Self::Price { .. } => None,
        }
    }
}

/// Dues in the order of (instant, sequence).
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Agenda {
    #[serde(with = "pairs")]
    dues: BTreeMap<(Timestamp, u64), Due>,
    sequence: u64,
}

impl Agenda {
    pub fn add(&mut self, at: Timestamp, due: Due) {
        self.sequence += 1;
        self.dues.insert((at, self.sequence), due);
    }

    /// Whether something comes by a rule or by an announcement in this time.
    pub fn fates(&self, from: Timestamp, to: Timestamp) -> bool {
        let meant = |due: &Due| matches!(due, Due::Fate { .. } | Due::Maintenance { .. });
        self.dues.iter().any(|((at, _), due)| meant(due) && from < *at && *at <= to)
    }

    pub fn next(&self) -> Option<Timestamp> {
        self.dues.keys().next().map(|(at, _)| *at)
    }

    /// The first due at or before `now`.
    pub fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, Due)> {
        let first = self.dues.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, _), due) = first.remove_entry();
        Some((at, due))
    }

    /// An instance has ended before its notice was over.
    pub fn forget_notice(&mut self, instance: &str) {
        self.dues.retain(|_, due| !matches!(due, Due::TakeBack { id, .. } if id == instance));
    }

    /// An instance has ended before what was announced of it.
    pub fn forget_maintenance(&mut self, instance: &str) {
        self.dues.retain(|_, due| !matches!(due, Due::Maintenance { id, .. } if id == instance));
    }

    /// A cluster is there already.
    pub fn forget_cluster(&mut self, cluster: &str) {
        self.dues.retain(|_, due| !matches!(due, Due::Cluster { name, .. } if name == cluster));
    }

    pub fn unsettled(&self) -> Vec<String> {
        self.dues.iter().filter_map(|((at, _), due)| due.work().map(|work| format!("{work} at {at}"))).collect()
    }
}
