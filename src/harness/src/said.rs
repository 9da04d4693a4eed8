//! What the node autoscaler said in the cluster: its Events, and the conditions of its objects as they came.

use k8s_openapi::api::core::v1 as core;
use serde::Serialize;
use std::collections::BTreeMap;

/// One Event, each time it was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Kind and name of the object that it is about.
    pub kind: String,
    pub name: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub weight: String,
    pub reason: String,
    pub message: String,
}

/// A condition became another, or the same for another reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Turned {
    pub kind: &'static str,
    pub name: String,
    pub condition: String,
    pub status: String,
    pub reason: String,
}

#[derive(Debug, Default, Serialize)]
pub struct Said {
    pub events: Vec<Told>,
    pub conditions: Vec<Turned>,
    /// How often each Event was counted, by uid.
    #[serde(skip)]
    counted: BTreeMap<String, i32>,
    /// Status and reason, by kind, object and condition.
    #[serde(skip)]
    last: BTreeMap<(&'static str, String, String), (String, String)>,
}

impl Said {
    /// An Event of the autoscaler came or was counted up.
    pub fn event(&mut self, event: &core::Event) {
        let uid = event.metadata.uid.clone().unwrap_or_default();
        let count = event.count.unwrap_or(1).max(1);
        let before = self.counted.insert(uid, count).unwrap_or(0);
        let about = &event.involved_object;
        let told = Told {
            kind: about.kind.clone().unwrap_or_default(),
            name: about.name.clone().unwrap_or_default(),
            weight: event.type_.clone().unwrap_or_default(),
            reason: event.reason.clone().unwrap_or_default(),
            message: event.message.clone().unwrap_or_default(),
        };
        self.events.extend((before..count).map(|_| told.clone()));
    }

    pub fn conditions(&mut self, kind: &'static str, name: &str, conditions: &[api::Condition]) {
        for condition in conditions {
            let now = (condition.status.clone(), condition.reason.clone());
            let key = (kind, name.to_owned(), condition.kind.clone());
            if self.last.get(&key) != Some(&now) {
                self.last.insert(key, now);
                self.conditions.push(Turned {
                    kind,
                    name: name.to_owned(),
                    condition: condition.kind.clone(),
                    status: condition.status.clone(),
                    reason: condition.reason.clone(),
                });
            }
        }
    }
}
