//! One stored object: typed metadata beside the bytes that are served, so that neither a list nor a watch serialises again.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize as _;
use serde_json::ser::Formatter;
use serde_json::{Map, Value};

use crate::kinds::Kind;

/// What happened to an object; the `type` of a watch event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EventType {
    Added,
    Modified,
    Deleted,
}

impl EventType {
    /// How a watch event begins, up to the object.
    pub(crate) fn frame_head(self) -> &'static [u8] {
        match self {
            EventType::Added => b"{\"type\":\"ADDED\",\"object\":",
            EventType::Modified => b"{\"type\":\"MODIFIED\",\"object\":",
            EventType::Deleted => b"{\"type\":\"DELETED\",\"object\":",
        }
    }
}

/// An entry of `metadata.ownerReferences`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OwnerRef {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub controller: bool,
    pub block_owner_deletion: bool,
}

/// `metadata`, typed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    pub name: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub uid: String,
    pub resource_version: u64,
    pub generation: i64,
    pub creation: Timestamp,
    /// When the object shall be gone; set from the moment somebody deleted it.
    pub deletion: Option<Timestamp>,
    /// Seconds.
    pub deletion_grace: Option<i64>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub owners: Vec<OwnerRef>,
    pub finalizers: Vec<String>,
}

impl Meta {
    /// Reads what is there and is lenient about what is not: validation has come before.
    pub fn read(object: &Value) -> Meta {
        let meta = &object["metadata"];
        let text = |key: &str| meta[key].as_str().unwrap_or_default().to_owned();
        let time = |key: &str| meta[key].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        Meta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: meta["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0),
            generation: meta["generation"].as_i64().unwrap_or(0),
            creation: time("creationTimestamp").unwrap_or_default(),
            deletion: time("deletionTimestamp"),
            deletion_grace: meta["deletionGracePeriodSeconds"].as_i64(),
            labels: string_map(&meta["labels"]),
            annotations: string_map(&meta["annotations"]),
            owners: meta["ownerReferences"].as_array().map(|list| list.iter().map(owner).collect()).unwrap_or_default(),
            finalizers: meta["finalizers"]
                .as_array()
                .map(|list| list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
                .unwrap_or_default(),
        }
    }

    /// The owner that has `controller: true`, if any.
    pub fn controller(&self) -> Option<&OwnerRef> {
        self.owners.iter().find(|owner| owner.controller)
    }
}

pub(crate) fn string_map(value: &Value) -> BTreeMap<String, String> {
    value
        .as_object()
        .map(|map| map.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect())
        .unwrap_or_default()
}

fn owner(value: &Value) -> OwnerRef {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    OwnerRef {
        api_version: text("apiVersion"),
        kind: text("kind"),
        name: text("name"),
        uid: text("uid"),
        controller: value["controller"].as_bool().unwrap_or(false),
        block_owner_deletion: value["blockOwnerDeletion"].as_bool().unwrap_or(false),
    }
}

/// An object as it was at one resourceVersion. Immutable.
pub struct Object {
    pub kind: Arc<Kind>,
    pub meta: Meta,
    /// Values of `kind.selectable`, in that order.
    fields: Box<[Box<str>]>,
    /// A whole watch event of this version, newline included; everything that is served is a part of it.
    frame: Bytes,
    /// Where the object begins in the frame, and where what follows `kind` and `apiVersion` begins.
    start: usize,
    rest: usize,
    parsed: Mutex<Weak<Value>>,
    derived: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Object {
    pub(crate) fn new(kind: &Arc<Kind>, event: EventType, value: &Arc<Value>) -> Object {
        let mut frame = Vec::with_capacity(1024);
        frame.extend_from_slice(event.frame_head());
        let start = frame.len();
        frame.extend_from_slice(b"{\"kind\":");
        write_json(&mut frame, &Value::String(kind.kind.clone()));
        frame.extend_from_slice(b",\"apiVersion\":");
        write_json(&mut frame, &Value::String(kind.api_version()));
        let rest = frame.len();
        if let Some(map) = value.as_object() {
            for (key, value) in map.iter().filter(|(key, _)| *key != "kind" && *key != "apiVersion") {
                frame.push(b',');
                write_json(&mut frame, &Value::String(key.clone()));
                frame.push(b':');
                write_json(&mut frame, value);
            }
        }
        frame.extend_from_slice(b"}}\n");
        Object {
            kind: kind.clone(),
            meta: Meta::read(value),
            fields: kind.selectable.iter().map(|field| field.read(value).into_boxed_str()).collect(),
            frame: frame.into(),
            start,
            rest,
            parsed: Mutex::new(Arc::downgrade(value)),
            derived: OnceLock::new(),
        }
    }

    /// The whole object. Parsed again when nobody has held it for a while: hold on to it rather than to call twice.
    pub fn value(&self) -> Arc<Value> {
        let mut parsed = self.parsed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(value) = parsed.upgrade() {
            return value;
        }
        let value = Arc::new(serde_json::from_slice::<Value>(&self.bytes()).unwrap_or_else(|_| Value::Object(Map::new())));
        *parsed = Arc::downgrade(&value);
        value
    }

    /// What somebody reads from this version more than once: `make` is asked at the first time. Objects of one kind have one such type.
    pub(crate) fn derived<T: Any + Send + Sync>(&self, make: impl FnOnce(&Value) -> T) -> &T {
        self.derived.get_or_init(|| Box::new(make(&self.value()))).downcast_ref().expect("objects of one kind have one type of facts")
    }

    /// The object as JSON, in the storage version. Shared, not copied.
    pub fn bytes(&self) -> Bytes {
        self.frame.slice(self.start..self.frame.len() - 2)
    }

    /// A selectable field's value, as field selectors see it; `None` when the kind has no such field.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(&self.meta.name),
            "metadata.namespace" => Some(&self.meta.namespace),
            _ => {
                let index = self.kind.selectable.iter().position(|field| field.name == name)?;
                self.fields.get(index).map(|value| &**value)
            }
        }
    }

    /// A watch event of the type that this version was written with.
    pub(crate) fn frame(&self) -> Bytes {
        self.frame.clone()
    }

    /// The object and what closes a watch event, for an event of another type.
    pub(crate) fn frame_tail(&self) -> Bytes {
        self.frame.slice(self.start..)
    }

    /// What follows `kind` and `apiVersion`: a comma, the other fields, the closing brace.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.frame[self.rest..self.frame.len() - 2]
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}@{}", self.kind.key, self.meta.namespace, self.meta.name, self.meta.resource_version)
    }
}

/// Writing to memory cannot fail, and a `Value` has string keys only.
pub(crate) fn write_json(out: &mut Vec<u8>, value: &Value) {
    let mut serializer = serde_json::Serializer::with_formatter(out, AsGo);
    value.serialize(&mut serializer).expect("a Value is serialisable to memory");
}

/// JSON as Go's `encoding/json` writes it: what a browser might take for markup is escaped. Clients compare such bytes: a DaemonSet's
/// controller finds its revisions by them.
struct AsGo;

impl Formatter for AsGo {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> std::io::Result<()> {
        // U+2028 and U+2029 begin with this byte, as other characters do.
        const SUSPECT: u8 = 0xe2;
        if !fragment.bytes().any(|byte| matches!(byte, b'<' | b'>' | b'&' | SUSPECT)) {
            return writer.write_all(fragment.as_bytes());
        }
        let escaped = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        let mut rest = fragment;
        while let Some(at) = rest.find(escaped) {
            let (plain, from) = rest.split_at(at);
            let Some(c) = from.chars().next() else { break };
            write!(writer, "{plain}\\u{:04x}", u32::from(c))?;
            rest = &from[c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_written_as_go_writes_it() {
        let mut out = Vec::new();
        write_json(&mut out, &json!({ "<k>": "a && b\u{2028}\u{20ac}\n\u{1}" }));
        assert_eq!(String::from_utf8(out).unwrap(), "{\"\\u003ck\\u003e\":\"a \\u0026\\u0026 b\\u2028\u{20ac}\\n\\u0001\"}");
    }
}
