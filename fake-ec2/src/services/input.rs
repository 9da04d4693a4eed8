//! Reading inputs: member names in, plain values out. Absent and wrongly typed read alike, since the codec has checked the types.

use serde_json::{Map, Value};

use super::errors;
use crate::protocol::AwsError;

pub type Members = Map<String, Value>;

/// How a structure is read.
pub trait Read {
    fn member(&self, name: &str) -> Option<&Value>;

    /// A string; the empty one reads as absent, as in the query protocols.
    fn text(&self, name: &str) -> Option<&str> {
        self.member(name)?.as_str().filter(|text| !text.is_empty())
    }

    fn int(&self, name: &str) -> Option<i64> {
        let value = self.member(name)?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    }

    fn flag(&self, name: &str) -> bool {
        self.member(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn list(&self, name: &str) -> &[Value] {
        self.member(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn texts(&self, name: &str) -> Vec<&str> {
        self.list(name).iter().filter_map(Value::as_str).collect()
    }

    /// A structure or a map.
    fn part(&self, name: &str) -> Option<&Members> {
        self.member(name)?.as_object()
    }

    /// A string that EC2 cannot do without.
    fn need(&self, name: &str) -> Result<&str, AwsError> {
        self.text(name).ok_or_else(|| errors::MISSING.error(&[&lower_first(name)]))
    }
}

impl Read for Members {
    fn member(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }
}

impl Read for Value {
    fn member(&self, name: &str) -> Option<&Value> {
        self.as_object()?.get(name)
    }
}

/// `InstanceId` as EC2's messages write it: `instanceId`.
pub fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// Builds a structure; members without a value are left out.
#[derive(Debug, Default)]
pub struct Out(Members);

impl Out {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn maybe(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    pub fn done(self) -> Value {
        Value::Object(self.0)
    }
}

impl From<Out> for Value {
    fn from(out: Out) -> Self {
        out.done()
    }
}

/// An instant as the wire's text, in milliseconds: `2026-11-20T17:00:00.000Z`.
pub fn stamp(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The text of a scalar as filters compare it.
pub fn scalar(value: &Value) -> Option<std::borrow::Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Bool(flag) => Some(if *flag { "true" } else { "false" }.into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
