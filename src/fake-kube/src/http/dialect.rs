//! Kinds that have two forms: events, `v1` and `events.k8s.io/v1`, are stored in the first; autoscalers, `autoscaling/v1` and `v2`, in the
//! second.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/events/v1/conversion.go`; see [`super::autoscalers`].

use serde_json::{Map, Value};

use super::autoscalers;
use crate::status::Status;

/// How a resource is spoken of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Dialect {
    #[default]
    Plain,
    Events,
    /// HorizontalPodAutoscalers of `autoscaling/v1`.
    Autoscalers,
}

/// Names in `events.k8s.io/v1`, and in `v1`.
const NAMES: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

impl Dialect {
    /// From the client's form to the stored one.
    pub(crate) fn read(self, value: Value) -> Result<Value, Status> {
        Ok(match self {
            Dialect::Plain => value,
            Dialect::Events => renamed(value, "v1", |name| NAMES.iter().find(|(new, _)| *new == name).map(|(_, old)| *old)),
            Dialect::Autoscalers => {
                if let Some(said) = value["apiVersion"].as_str().filter(|said| !matches!(*said, "" | "autoscaling/v1")) {
                    return Err(Status::bad_request(format!(
                        "the API version in the data ({said}) does not match the expected API version (autoscaling/v1)"
                    )));
                }
                autoscalers::read(value)
            }
        })
    }

    /// A refusal names the version that the client speaks.
    pub(crate) fn refusal(self, mut status: Status) -> Status {
        if self == Dialect::Autoscalers {
            status.message = status.message.replace("in version \"v2\" cannot be handled", "in version \"v1\" cannot be handled");
        }
        status
    }

    /// What the client calls the group and version; nothing where it is the kind's own.
    pub(crate) fn api_version(self) -> Option<&'static str> {
        match self {
            Dialect::Plain => None,
            Dialect::Events => Some("events.k8s.io/v1"),
            Dialect::Autoscalers => Some("autoscaling/v1"),
        }
    }

    /// From the stored form to the client's.
    pub(crate) fn say(self, value: Value) -> Value {
        match self {
            Dialect::Plain => value,
            Dialect::Events => renamed(value, "events.k8s.io/v1", |name| NAMES.iter().find(|(_, old)| *old == name).map(|(new, _)| *new)),
            Dialect::Autoscalers => autoscalers::say(value),
        }
    }
}

fn renamed(value: Value, api_version: &str, name: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(map) = value else { return value };
    let mut out: Map<String, Value> = map.into_iter().map(|(key, value)| (name(&key).map_or(key, str::to_owned), value)).collect();
    if out.contains_key("apiVersion") {
        out.insert("apiVersion".to_owned(), Value::from(api_version));
    }
    Value::Object(out)
}
