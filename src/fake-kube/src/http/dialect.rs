//! Events have two forms, `v1` and `events.k8s.io/v1`, and are stored in the first.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/events/v1/conversion.go`.

use serde_json::{Map, Value};

/// How a resource is spoken of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Dialect {
    #[default]
    Plain,
    Events,
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
    pub(crate) fn read(self, value: Value) -> Value {
        match self {
            Dialect::Plain => value,
            Dialect::Events => renamed(value, "v1", |name| NAMES.iter().find(|(new, _)| *new == name).map(|(_, old)| *old)),
        }
    }

    /// From the stored form to the client's.
    pub(crate) fn say(self, value: Value) -> Value {
        match self {
            Dialect::Plain => value,
            Dialect::Events => renamed(value, "events.k8s.io/v1", |name| NAMES.iter().find(|(_, old)| *old == name).map(|(new, _)| *new)),
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
