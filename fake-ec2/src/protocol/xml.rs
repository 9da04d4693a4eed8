//! Outputs to XML, in EC2's dialect and in the query protocol's.

use std::fmt::Write;

use serde_json::Value;

use super::scalar;
use crate::model::{Finder, Kind, Member, Model, ShapeId};

/// Writes values by a model.
pub(super) struct Writer<'a> {
    model: &'a Model,
    /// What an item of a list is called when the model does not say: `item` in EC2, `member` elsewhere.
    item: &'static str,
    /// Whether instants show milliseconds.
    millis: bool,
    out: String,
}

impl<'a> Writer<'a> {
    /// A writer of a document that will be about `size` bytes long.
    pub fn new(model: &'a Model, item: &'static str, millis: bool, size: usize) -> Self {
        let mut out = String::with_capacity(size + 512);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        Self { model, item, millis, out }
    }

    /// Writes a part of a document.
    pub fn part(model: &'a Model, item: &'static str, millis: bool) -> Self {
        Self { model, item, millis, out: String::with_capacity(4096) }
    }

    pub fn finish(self) -> String {
        self.out
    }

    pub fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    pub fn open_in(&mut self, name: &str, namespace: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str(" xmlns=\"");
        escape(&mut self.out, namespace);
        self.out.push_str("\">");
    }

    pub fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    pub fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        escape(&mut self.out, text);
        self.close(name);
    }

    /// The members of a structure, without an element around them.
    pub fn members(&mut self, shape: ShapeId, value: &Value) {
        let model = self.model;
        let (Kind::Structure(members), Value::Object(object)) = (&model.shape(shape).kind, value) else {
            return;
        };
        let mut finder = Finder::new(members);
        for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            if let Some(member) = finder.find(name) {
                self.member(member, value);
            }
        }
    }

    fn member(&mut self, member: &Member, value: &Value) {
        let model = self.model;
        let name = member.wire_name();
        match (&model.shape(member.shape).kind, value) {
            (Kind::List { member: item, flattened }, Value::Array(list)) if *flattened || member.flattened => {
                let name = item.location_name.unwrap_or(name);
                for value in list {
                    self.element(name, item.shape, value);
                }
            }
            (Kind::Map { key, value: part, flattened }, Value::Object(object)) if *flattened || member.flattened => {
                for (name_of, value) in object {
                    self.entry(name, (key, part), name_of, value);
                }
            }
            _ => self.element(name, member.shape, value),
        }
    }

    fn element(&mut self, name: &str, shape: ShapeId, value: &Value) {
        let model = self.model;
        self.open(name);
        match (&model.shape(shape).kind, value) {
            // Written before, by a writer of the same model.
            (Kind::Structure(_), Value::String(text)) => self.out.push_str(text),
            (Kind::Structure(_), _) => self.members(shape, value),
            (Kind::List { member: item, .. }, Value::Array(list)) => {
                let name = item.location_name.unwrap_or(self.item);
                for value in list {
                    self.element(name, item.shape, value);
                }
            }
            (Kind::Map { key, value: part, .. }, Value::Object(object)) => {
                for (name_of, value) in object {
                    self.entry("entry", (key, part), name_of, value);
                }
            }
            (Kind::Timestamp, Value::String(text)) => {
                let text = if self.millis { text.clone() } else { scalar::whole_seconds(text) };
                escape(&mut self.out, &text);
            }
            (_, Value::String(text)) => escape(&mut self.out, text),
            (_, Value::Number(number)) => drop(write!(self.out, "{number}")),
            (_, Value::Bool(value)) => self.out.push_str(if *value { "true" } else { "false" }),
            (_, Value::Null | Value::Array(_) | Value::Object(_)) => {}
        }
        self.close(name);
    }

    fn entry(&mut self, element: &str, (key, part): (&Member, &Member), name: &str, value: &Value) {
        self.open(element);
        self.text(key.location_name.unwrap_or("key"), name);
        self.element(part.location_name.unwrap_or("value"), part.shape, value);
        self.close(element);
    }
}

/// About how long a value is as XML: so that a reply of megabytes is not moved while it is written.
pub(super) fn size(value: &Value) -> usize {
    // Names of elements are some ten letters long, and stand there twice.
    const AROUND: usize = 32;
    match value {
        Value::Object(members) => members.values().map(|value| AROUND + size(value)).sum(),
        Value::Array(items) => items.iter().map(|item| AROUND + size(item)).sum(),
        Value::String(text) => text.len(),
        _ => 8,
    }
}

/// Appends text with XML's own characters escaped. What XML 1.0 cannot hold at all becomes U+FFFD; a carriage return is escaped since
/// readers turn a bare one into a line feed.
fn escape(out: &mut String, text: &str) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'&' | b'<' | b'>' | b'"');
    if text.bytes().all(plain) {
        out.push_str(text);
        return;
    }
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(letter),
            letter if letter < ' ' || matches!(letter, '\u{FFFE}' | '\u{FFFF}') => out.push('\u{FFFD}'),
            letter => out.push(letter),
        }
    }
}

/// Text as an element's content.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape(&mut out, text);
    out
}
