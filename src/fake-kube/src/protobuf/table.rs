//! The messages, from `data/protobuf.json`. Read once, on first use.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// Its name in JSON.
    pub(super) json: String,
    /// Its name in Go, as errors say it.
    pub(super) go: String,
    pub(super) kind: Kind,
    pub(super) shape: Shape,
    /// Its fields are fields of the outer object.
    pub(super) inline: bool,
    /// A zero is as good as nothing: `omitempty` on what is no pointer.
    pub(super) omit_zero: bool,
    /// A struct that Go holds by value: JSON always has it, were it empty.
    pub(super) always: bool,
    /// A list or map that JSON always has, as null when it is not there.
    pub(super) or_null: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    One,
    List,
    /// Keys are strings.
    Map,
}

#[derive(Debug)]
pub(super) enum Kind {
    Text,
    Bytes,
    Int32,
    Int64,
    Bool,
    Double,
    Message(String),
}

/// Messages whose JSON is no object.
const BY_HAND: &[&str] =
    &["meta.v1.Time", "meta.v1.MicroTime", "api.resource.Quantity", "util.intstr.IntOrString", "meta.v1.FieldsV1", "runtime.RawExtension"];

/// Fields by number.
pub(super) type Message = BTreeMap<i32, Field>;

struct Table {
    kinds: BTreeMap<String, String>,
    messages: BTreeMap<String, Message>,
}

/// The message of a kind.
pub(super) fn message_of(group: &str, version: &str, kind: &str) -> Option<&'static str> {
    let kinds = &table().kinds;
    let found = kinds.get(&format!("{group}/{version}/{kind}"));
    // Options are registered with every group.
    found.or_else(|| kinds.get(&format!("*/{kind}"))).map(String::as_str)
}

pub(super) fn message(name: &str) -> Option<&'static Message> {
    table().messages.get(name)
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(load)
}

fn load() -> Table {
    let document: Value = serde_json::from_str(include_str!("../../data/protobuf.json")).expect("data/protobuf.json is JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kinds = document["kinds"].as_object().into_iter().flatten().map(|(gvk, name)| (gvk.clone(), text(name))).collect();
    let messages = document["messages"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, fields)| {
            let fields = fields.as_array().into_iter().flatten();
            let numbered = fields.filter_map(|field| Some((i32::try_from(field[0].as_i64()?).ok()?, read(field))));
            (name.clone(), numbered.collect())
        })
        .collect();
    Table { kinds, messages }
}

/// Number, name in JSON, type, flags, name in Go.
fn read(field: &Value) -> Field {
    let text = |index: usize| field[index].as_str().unwrap_or_default();
    let flags = text(3);
    Field {
        json: text(1).to_owned(),
        go: text(4).to_owned(),
        kind: match text(2) {
            "string" => Kind::Text,
            "bytes" => Kind::Bytes,
            "int32" => Kind::Int32,
            "int64" => Kind::Int64,
            "bool" => Kind::Bool,
            "double" => Kind::Double,
            name => Kind::Message(name.to_owned()),
        },
        shape: match () {
            () if flags.contains('m') => Shape::Map,
            () if flags.contains('r') => Shape::List,
            () => Shape::One,
        },
        inline: flags.contains('i'),
        omit_zero: flags.contains(['o', 'z']) && !flags.contains('p'),
        or_null: flags.contains(['r', 'm']) && !flags.contains(['o', 'z']),
        always: !flags.contains(['r', 'm', 'p', 'z', 'i']) && text(2).contains('.') && !BY_HAND.contains(&text(2)),
    }
}
