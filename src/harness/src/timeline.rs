//! The timeline: what happened, in order, for people.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// One observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Since the story began.
    #[serde(with = "seconds")]
    pub at: SignedDuration,
    pub event: Event,
    /// Further lines: why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
}

/// Seconds with three digits.
mod seconds {
    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(at: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((at.as_secs_f64() * 1000.0).round() / 1000.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
        SignedDuration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Event {
    /// A step of the scenario, as written.
    Step {
        text: String,
    },
    /// A manifest of the world before the story.
    Applied {
        file: String,
        objects: Vec<String>,
    },
    PodsPending {
        owner: String,
        count: usize,
    },
    /// No node takes them, and why.
    PodsRefused {
        owner: String,
        count: usize,
        reason: String,
    },
    PodsReady {
        owner: String,
        node: String,
        count: usize,
    },
    PodsGone {
        owner: String,
        count: usize,
    },
    /// Their node went away while they ran on it.
    PodsLost {
        owner: String,
        node: String,
        count: usize,
    },
    Batched {
        pods: usize,
    },
    /// A machine that runs and does not become a node, by its console.
    MachineRefused {
        instance: String,
        why: String,
    },
    ClaimCreated {
        claim: String,
        pool: String,
        types: Vec<String>,
    },
    Launched {
        claim: String,
        instance: String,
        instance_type: String,
        capacity_type: String,
        zone: String,
        price: Option<String>,
    },
    Registered {
        claim: String,
        node: String,
    },
    Initialized {
        claim: String,
        node: String,
    },
    ClaimDeleted {
        claim: String,
    },
    ClaimGone {
        claim: String,
    },
    NodeReady {
        node: String,
        instance_type: String,
    },
    NodeDisrupted {
        node: String,
        instance_type: String,
        /// What was done to it, with what comes in its place, and the reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<String>,
    },
    NodeGone {
        node: String,
    },
}

impl Event {
    /// Whether `next` is more of the same: then counts add up and one line tells both.
    fn absorb(&mut self, next: &Event) -> bool {
        match (self, next) {
            (Event::PodsPending { owner, count }, Event::PodsPending { owner: other, count: more }) if owner == other => *count += more,
            (Event::PodsRefused { owner, count, reason }, Event::PodsRefused { owner: other, count: more, reason: why })
                if owner == other && reason == why =>
            {
                *count += more
            }
            (Event::PodsReady { owner, node, count }, Event::PodsReady { owner: other, node: there, count: more })
                if owner == other && node == there =>
            {
                *count += more
            }
            (Event::PodsLost { owner, node, count }, Event::PodsLost { owner: other, node: there, count: more })
                if owner == other && node == there =>
            {
                *count += more
            }
            (Event::PodsGone { owner, count }, Event::PodsGone { owner: other, count: more }) if owner == other => *count += more,
            _ => return false,
        }
        true
    }

    pub fn sentence(&self) -> String {
        let pods = |count: usize| if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") };
        match self {
            Event::Step { text } => text.clone(),
            Event::Applied { file, objects } => format!("applied {file}: {}", objects.join(", ")),
            Event::PodsPending { owner, count } => format!("{} of {owner} Pending", pods(*count)),
            Event::PodsRefused { owner, count, reason } => format!("{} of {owner} stay Pending: {reason}", pods(*count)),
            Event::PodsReady { owner, node, count } => format!("{} of {owner} ready on {node}", pods(*count)),
            Event::PodsGone { owner, count } => format!("{} of {owner} gone", pods(*count)),
            Event::PodsLost { owner, node, count } => format!("{} of {owner} lost with {node}", pods(*count)),
            Event::Batched { pods: count } => format!("batched {}", pods(*count)),
            Event::MachineRefused { instance, why } => format!("machine {instance} does not join: {why}"),
            Event::ClaimCreated { claim, pool, types } => {
                let shown = types.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
                let more = if types.len() > 5 { format!(" and {} other(s)", types.len() - 5) } else { String::new() };
                format!("NodeClaim {claim} of pool {pool} may be: {shown}{more}")
            }
            Event::Launched { claim, instance, instance_type, capacity_type, zone, price } => {
                let price = price.as_ref().map_or(String::new(), |p| format!(" at {p}/h"));
                format!("launched {claim}: {instance_type} {capacity_type} in {zone}{price} ({instance})")
            }
            Event::Registered { claim, node } => format!("registered {claim} as node {node}"),
            Event::Initialized { claim, node } => format!("initialized {claim}: node {node} takes pods"),
            Event::ClaimDeleted { claim } => format!("NodeClaim {claim} is being deleted"),
            Event::ClaimGone { claim } => format!("NodeClaim {claim} gone"),
            Event::NodeReady { node, instance_type } => format!("node {node} ({instance_type}) Ready"),
            Event::NodeDisrupted { node, instance_type, command } => {
                let command = command.as_ref().map_or(String::new(), |command| format!(": {command}"));
                format!("node {node} ({instance_type}) tainted karpenter.sh/disrupted{command}")
            }
            Event::NodeGone { node } => format!("node {node} gone"),
        }
    }
}

/// Entries in order of time.
#[derive(Clone, Debug)]
pub struct Timeline {
    start: Timestamp,
    pub entries: Vec<Entry>,
}

/// Observations of the same thing this close together are told as one.
const TOGETHER: SignedDuration = SignedDuration::from_millis(1000);

impl Timeline {
    pub fn new(start: Timestamp) -> Self {
        Timeline { start, entries: Vec::new() }
    }

    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// Sets what counts as zero from now on; what was before has negative times.
    pub fn begin(&mut self, start: Timestamp) {
        let shift = start.duration_since(self.start);
        for entry in &mut self.entries {
            entry.at = entry.at.saturating_sub(shift);
        }
        self.start = start;
    }

    pub fn push(&mut self, now: Timestamp, event: Event, because: Vec<String>) {
        let at = now.duration_since(self.start);
        // Look back past what happened in the same second, so that interleaved events of two groups still add up.
        for entry in self.entries.iter_mut().rev().take_while(|e| at.saturating_sub(e.at) <= TOGETHER).take(64) {
            if matches!(entry.event, Event::Step { .. }) {
                break;
            }
            if entry.event.absorb(&event) {
                return;
            }
        }
        self.entries.push(Entry { at, event, because });
    }
}
