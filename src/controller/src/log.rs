//! Log lines as upstream writes them, as data.
//!
//! Each line goes to `tracing` as one event of target `controller` with the fields `controller`, `message` and `keys`, a JSON
//! object; the JSON layer of the command line lifts `keys` to the top level, as upstream's logger does.

use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    Debug,
    Info,
    Error,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub level: Level,
    pub controller: &'static str,
    pub message: String,
    pub keys: Map<String, Value>,
}

impl Line {
    pub fn new(level: Level, controller: &'static str, message: impl Into<String>) -> Self {
        Line { level, controller, message: message.into(), keys: Map::new() }
    }

    pub fn debug(controller: &'static str, message: impl Into<String>) -> Self {
        Self::new(Level::Debug, controller, message)
    }

    pub fn info(controller: &'static str, message: impl Into<String>) -> Self {
        Self::new(Level::Info, controller, message)
    }

    pub fn error(controller: &'static str, message: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::new(Level::Error, controller, message).with("error", error.to_string())
    }

    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.insert(key.to_owned(), value.into());
        self
    }

    /// The key of an object: `{"name": …}` or `{"name": …, "namespace": …}`.
    pub fn object(self, key: &str, namespace: &str, name: &str) -> Self {
        let mut object = Map::new();
        object.insert("name".into(), name.into());
        if !namespace.is_empty() {
            object.insert("namespace".into(), namespace.into());
        }
        self.with(key, Value::Object(object))
    }

    pub fn emit(&self) {
        let keys = Value::Object(self.keys.clone()).to_string();
        match self.level {
            Level::Debug => tracing::debug!(target: "controller", controller = self.controller, keys, "{}", self.message),
            Level::Info => tracing::info!(target: "controller", controller = self.controller, keys, "{}", self.message),
            Level::Error => tracing::error!(target: "controller", controller = self.controller, keys, "{}", self.message),
        }
    }
}

/// The first `most` names and how many there are beside (`C/pkg/utils/pretty`).
pub fn some(names: &[String], most: usize) -> String {
    let shown = names.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > most { format!("{shown} and {} other(s)", names.len() - most) } else { shown }
}
