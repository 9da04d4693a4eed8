//! Indices of indexed Jobs: which are done, which pods are to have which.
//!
//! Source: `pkg/controller/job/indexed_job_utils.go`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::store::Object;

const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// maxPodGenerateNameLength.
const LONGEST_PREFIX: usize = 253 - 5;

/// A set of indices, written as `0-2,4`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(BTreeSet<i64>);

impl Indexes {
    /// What cannot be read, or lies beyond `completions`, is left out.
    pub fn parse(text: &str, completions: i64) -> Indexes {
        let mut found = BTreeSet::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
                found.extend(first.max(0)..=last.min(completions - 1));
            }
        }
        Indexes(found)
    }

    pub fn add(&mut self, index: i64) {
        self.0.insert(index);
    }

    pub fn count(&self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX)
    }

    pub fn has(&self, index: i64) -> bool {
        self.0.contains(&index)
    }

    /// How many are in both.
    pub fn shared(&self, other: &Indexes) -> i64 {
        i64::try_from(self.0.intersection(&other.0).count()).unwrap_or(i64::MAX)
    }

    /// firstPendingIndexes: the first that are neither done nor taken nor given up.
    pub fn pending(&self, active: &[Arc<Object>], failed: Option<&Indexes>, completions: i64, count: usize) -> Vec<i64> {
        let taken: BTreeSet<i64> = active.iter().filter_map(|pod| of(pod)).collect();
        let lost = |index: &i64| failed.is_some_and(|failed| failed.has(*index));
        (0..completions).filter(|index| !self.0.contains(index) && !taken.contains(index) && !lost(index)).take(count).collect()
    }
}

impl fmt::Display for Indexes {
    /// Two neighbours are listed, three or more are a range.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = left.next() {
            let mut last = first;
            while left.peek() == Some(&(last + 1)) {
                last += 1;
                left.next();
            }
            match last - first {
                0 => write!(to, "{comma}{first}")?,
                1 => write!(to, "{comma}{first},{last}")?,
                _ => write!(to, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

pub(super) fn of(pod: &Object) -> Option<i64> {
    pod.meta.annotations.get(INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// Gives a new pod its index: annotation, label, host name, name, and a variable that reads the label.
pub(super) fn mark(pod: &mut Value, job: &str, index: i64) {
    for map in ["annotations", "labels"] {
        let map = &mut pod["metadata"][map];
        if !map.is_object() {
            *map = json!({});
        }
        map[INDEX] = json!(index.to_string());
    }
    let tail = format!("-{index}-");
    let head: String = job.chars().take(LONGEST_PREFIX.saturating_sub(tail.len())).collect();
    pod["metadata"]["generateName"] = json!(format!("{head}{tail}"));
    pod["spec"]["hostname"] = json!(format!("{job}-{index}"));
    let variable = json!({ "name": VARIABLE, "valueFrom": { "fieldRef": { "fieldPath": format!("metadata.labels['{INDEX}']") } } });
    for list in ["initContainers", "containers"] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            match container["env"].as_array_mut() {
                Some(env) if env.iter().any(|one| one["name"] == VARIABLE) => {}
                Some(env) => env.push(variable.clone()),
                None => container["env"] = json!([variable]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0-2,4", 9, "0-2,4")]
    #[case("0,1", 9, "0,1")]
    #[case("0,1,2", 9, "0-2")]
    #[case("3-9", 5, "3,4")]
    #[case("", 5, "")]
    #[case("x,2,-1", 5, "2")]
    fn indices_are_written_in_ranges(#[case] text: &str, #[case] completions: i64, #[case] shown: &str) {
        assert_eq!(Indexes::parse(text, completions).to_string(), shown);
    }
}
