//! A form's tree to an input, in EC2's dialect and in the query protocol's.
//!
//! EC2: lists are flat (`InstanceId.1`), and a member is called by its query name, else by its location name with a capital, else by its
//! own name. Query: lists are `Tags.member.1` unless flattened, maps `Attribute.1.Name`. Sources: Smithy's ec2Query and awsQuery
//! protocols, and what botocore sends.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::form::{Key, Tree};
use super::{Malformed, scalar};
use crate::model::{Kind, Member, Model, Protocol, ShapeId};

/// Reads trees against a model.
pub(super) struct Reader<'a> {
    model: &'a Model,
    ec2: bool,
    /// Parameters that the model does not know.
    pub unknown: Vec<String>,
}

impl<'a> Reader<'a> {
    pub fn new(model: &'a Model, protocol: Protocol) -> Self {
        Self { model, ec2: protocol == Protocol::Ec2, unknown: Vec::new() }
    }

    /// Reads the members of a structure.
    pub fn structure(&mut self, shape: ShapeId, tree: &Tree<'_>, path: &str) -> Result<Map<String, Value>, Malformed> {
        let Kind::Structure(members) = &self.model.shape(shape).kind else {
            return Ok(Map::new());
        };
        let mut object = Map::new();
        let mut known = Vec::new();
        for member in members {
            let name = self.name(member);
            let value = match tree.child(&name) {
                Some(node) => self.value(member.shape, member.flattened, node, &join(path, &name))?,
                None => None,
            };
            match value {
                Some(value) => drop(object.insert(member.name.to_owned(), value)),
                None if member.required => return Err(Malformed::Missing { path: join(path, &name) }),
                None => {}
            }
            known.push(name);
        }
        for (key, node) in &tree.children {
            if !matches!(key, Key::Name(name) if known.iter().any(|known| known == name)) {
                self.remember(node, join(path, &key.to_string()));
            }
        }
        Ok(object)
    }

    /// A member's name in a form. A flattened list of the query protocol is called by its items' name.
    fn name(&self, member: &Member) -> Cow<'static, str> {
        if self.ec2 {
            return match (member.query_name, member.location_name) {
                (Some(name), _) => name.into(),
                (None, Some(name)) => capitalised(name, member.name),
                (None, None) => member.name.into(),
            };
        }
        if let Kind::List { member: item, flattened } = &self.model.shape(member.shape).kind
            && let Some(name) = item.location_name.filter(|_| *flattened || member.flattened)
        {
            return name.into();
        }
        member.wire_name().into()
    }

    fn value(&mut self, shape: ShapeId, flattened: bool, node: &Tree<'_>, path: &str) -> Result<Option<Value>, Malformed> {
        let model = self.model;
        match &model.shape(shape).kind {
            Kind::Structure(_) => Ok(Some(Value::Object(self.structure(shape, node, path)?))),
            Kind::List { member, flattened: flat } => self.list(member, *flat || flattened || self.ec2, node, path).map(Some),
            Kind::Map { key, value, flattened: flat } => self.map((key, value), *flat || flattened, node, path).map(Some),
            kind => {
                for (key, below) in &node.children {
                    self.remember(below, join(path, &key.to_string()));
                }
                let Some(text) = node.value else {
                    return Ok(None);
                };
                let bad = |wanted| Malformed::Value { path: path.to_owned(), value: text.to_owned(), wanted };
                scalar::from_text(kind, text).map(Some).map_err(bad)
            }
        }
    }

    fn list(&mut self, member: &Member, flat: bool, node: &Tree<'_>, path: &str) -> Result<Value, Malformed> {
        let wrapper = member.location_name.unwrap_or("member");
        let Some((items, path)) = self.below(node, (!flat).then_some(wrapper), path) else {
            return Ok(Value::Array(Vec::new()));
        };
        let mut list = Vec::new();
        for (index, item) in items.indexed() {
            list.extend(self.value(member.shape, false, item, &format!("{path}.{index}"))?);
        }
        self.strangers(items, None, &path);
        Ok(Value::Array(list))
    }

    fn map(&mut self, (key, value): (&Member, &Member), flat: bool, node: &Tree<'_>, path: &str) -> Result<Value, Malformed> {
        let Some((entries, path)) = self.below(node, (!flat).then_some("entry"), path) else {
            return Ok(Value::Object(Map::new()));
        };
        let (key_name, value_name) = (key.location_name.unwrap_or("key"), value.location_name.unwrap_or("value"));
        let mut object = Map::new();
        for (index, entry) in entries.indexed() {
            let path = format!("{path}.{index}");
            let Some(name) = entry.child(key_name).and_then(|node| node.value) else {
                return Err(Malformed::Missing { path: join(&path, key_name) });
            };
            let value_path = join(&path, value_name);
            let read = match entry.child(value_name) {
                Some(node) => self.value(value.shape, false, node, &value_path)?,
                None => None,
            };
            let Some(read) = read else {
                return Err(Malformed::Missing { path: value_path });
            };
            object.insert(name.to_owned(), read);
        }
        self.strangers(entries, None, &path);
        Ok(Value::Object(object))
    }

    /// The node that holds the numbered parts, and its path: the node itself when flat, else the wrapper below it, which a list that is
    /// sent empty has not.
    fn below<'n>(&mut self, node: &'n Tree<'n>, wrapper: Option<&'n str>, path: &str) -> Option<(&'n Tree<'n>, String)> {
        let Some(wrapper) = wrapper else {
            return Some((node, path.to_owned()));
        };
        self.strangers(node, Some(wrapper), path);
        node.child(wrapper).map(|below| (below, join(path, wrapper)))
    }

    /// Remembers what stands where only numbers should, or only one name.
    fn strangers(&mut self, node: &Tree<'_>, but: Option<&str>, path: &str) {
        for (key, stranger) in &node.children {
            let fits = match (key, but) {
                (Key::Name(name), Some(but)) => *name == but,
                (Key::Index(_), Some(_)) | (Key::Name(_), None) => false,
                (Key::Index(_), None) => true,
            };
            if !fits {
                self.remember(stranger, join(path, &key.to_string()));
            }
        }
    }

    fn remember(&mut self, node: &Tree<'_>, path: String) {
        for (key, below) in &node.children {
            self.remember(below, join(&path, &key.to_string()));
        }
        if node.value.is_some() {
            self.unknown.push(path);
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A location name with a capital, which mostly is the member's own name.
fn capitalised(name: &'static str, own: &'static str) -> Cow<'static, str> {
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    if own.chars().next() == first && own.get(1..) == name.get(1..) {
        return own.into();
    }
    first.into_iter().chain(letters).collect::<String>().into()
}
