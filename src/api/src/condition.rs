//! Status conditions in the form of `metav1.Condition`, with operatorpkg's habits.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Condition {
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// Finds a condition by type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(Condition::is_true)
}

/// Sets a condition; the transition time moves only when the status does. Returns whether anything changed. Conditions stay in
/// order of type, as operatorpkg keeps them.
pub fn set(
    conditions: &mut Vec<Condition>,
    now: Timestamp,
    generation: Option<i64>,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
) -> bool {
    let mut next = Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Some(now),
        observed_generation: generation,
    };
    match conditions.iter_mut().find(|c| c.kind == kind) {
        Some(present) => {
            if present.status == next.status {
                next.last_transition_time = present.last_transition_time;
            }
            if *present == next {
                return false;
            }
            *present = next;
        }
        None => {
            conditions.push(next);
            conditions.sort_by(|a, b| a.kind.cmp(&b.kind));
        }
    }
    true
}
