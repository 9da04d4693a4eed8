//! A form's tree to an input, in EC2's dialect and in the query protocol's.
//!
//! EC2: lists are flat (`InstanceId.1`), and a member is called by its query name, else by its location name with a capital, else by its
//! own name. Query: lists are `Tags.member.1` unless flattened, maps `Attribute.1.Name`. Sources: Smithy's ec2Query and awsQuery
//! protocols, and what botocore sends.

use std::fmt;

use serde_json::{Map, Value};

use super::form::{Key, Tree};
use super::{Malformed, scalar};
use crate::model::{Kind, Member, Model, Protocol, ShapeId};

/// Where a parameter stands: written out only for those that are wrong or not known.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    above: Option<&'a Path<'a>>,
    part: Key<'a>,
}

impl Path<'_> {
    /// The path of the whole.
    pub const ROOT: Path<'static> = Path { above: None, part: Key::Name("") };
}

impl<'a> Path<'a> {
    fn name(&'a self, name: &'a str) -> Path<'a> {
        Path { above: Some(self), part: Key::Name(name) }
    }

    fn part(&'a self, part: Key<'a>) -> Path<'a> {
        Path { above: Some(self), part }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(above) = self.above else { return Ok(()) };
        if above.above.is_some() {
            write!(formatter, "{above}.")?;
        }
        self.part.fmt(formatter)
    }
}

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
    pub fn structure(&mut self, shape: ShapeId, tree: &Tree<'_>, path: &Path<'_>) -> Result<Map<String, Value>, Malformed> {
        let Kind::Structure(members) = &self.model.shape(shape).kind else {
            return Ok(Map::new());
        };
        // Few of a structure's members are sent: what was sent looks for its member.
        let mut sent: Vec<(usize, &Tree<'_>)> = Vec::with_capacity(tree.children.len());
        for (key, node) in &tree.children {
            let member = match key {
                Key::Name(name) => members.iter().position(|member| member.form_name == *name),
                Key::Index(_) => None,
            };
            match member {
                Some(at) => sent.push((at, node)),
                None => self.remember(node, &path.part(*key)),
            }
        }
        sent.sort_unstable_by_key(|(at, _)| *at);
        let mut object = Map::with_capacity(sent.len());
        for (at, node) in sent {
            let member = &members[at];
            if let Some(value) = self.value(member.shape, member.flattened, node, &path.name(&member.form_name))? {
                object.insert(member.name.to_owned(), value);
            }
        }
        for member in members.iter().filter(|member| member.required) {
            if !object.contains_key(member.name) {
                return Err(Malformed::Missing { path: path.name(&member.form_name).to_string() });
            }
        }
        Ok(object)
    }

    fn value(&mut self, shape: ShapeId, flattened: bool, node: &Tree<'_>, path: &Path<'_>) -> Result<Option<Value>, Malformed> {
        let model = self.model;
        match &model.shape(shape).kind {
            Kind::Structure(_) => Ok(Some(Value::Object(self.structure(shape, node, path)?))),
            Kind::List { member, flattened: flat } => self.list(member, *flat || flattened || self.ec2, node, path).map(Some),
            Kind::Map { key, value, flattened: flat } => self.map((key, value), *flat || flattened, node, path).map(Some),
            kind => {
                for (key, below) in &node.children {
                    self.remember(below, &path.part(*key));
                }
                let Some(text) = node.value else {
                    return Ok(None);
                };
                let bad = |wanted| Malformed::Value { path: path.to_string(), value: text.to_owned(), wanted };
                scalar::from_text(kind, text).map(Some).map_err(bad)
            }
        }
    }

    fn list(&mut self, member: &Member, flat: bool, node: &Tree<'_>, path: &Path<'_>) -> Result<Value, Malformed> {
        let wrapper = member.location_name.unwrap_or("member");
        let below = path.name(wrapper);
        let Some((items, path)) = self.below(node, (!flat).then_some(wrapper), path, &below) else {
            return Ok(Value::Array(Vec::new()));
        };
        numbered(items, path)?;
        let mut list = Vec::new();
        for (index, item) in items.indexed() {
            list.extend(self.value(member.shape, false, item, &path.part(Key::Index(index)))?);
        }
        self.strangers(items, None, path);
        Ok(Value::Array(list))
    }

    fn map(&mut self, (key, value): (&Member, &Member), flat: bool, node: &Tree<'_>, path: &Path<'_>) -> Result<Value, Malformed> {
        let below = path.name("entry");
        let Some((entries, path)) = self.below(node, (!flat).then_some("entry"), path, &below) else {
            return Ok(Value::Object(Map::new()));
        };
        numbered(entries, path)?;
        let (key_name, value_name) = (key.location_name.unwrap_or("key"), value.location_name.unwrap_or("value"));
        let mut object = Map::new();
        for (index, entry) in entries.indexed() {
            let path = path.part(Key::Index(index));
            let Some(name) = entry.child(key_name).and_then(|node| node.value) else {
                return Err(Malformed::Missing { path: path.name(key_name).to_string() });
            };
            let value_path = path.name(value_name);
            let read = match entry.child(value_name) {
                Some(node) => self.value(value.shape, false, node, &value_path)?,
                None => None,
            };
            let Some(read) = read else {
                return Err(Malformed::Missing { path: value_path.to_string() });
            };
            object.insert(name.to_owned(), read);
        }
        self.strangers(entries, None, path);
        Ok(Value::Object(object))
    }

    /// The node that holds the numbered parts, and its path: the node itself when flat, else the wrapper below it, which a list that is
    /// sent empty has not.
    fn below<'n, 'p>(
        &mut self,
        node: &'n Tree<'n>,
        wrapper: Option<&'n str>,
        path: &'p Path<'p>,
        below: &'p Path<'p>,
    ) -> Option<(&'n Tree<'n>, &'p Path<'p>)> {
        let Some(wrapper) = wrapper else {
            return Some((node, path));
        };
        self.strangers(node, Some(wrapper), path);
        node.child(wrapper).map(|found| (found, below))
    }

    /// Remembers what stands where only numbers should, or only one name.
    fn strangers(&mut self, node: &Tree<'_>, but: Option<&str>, path: &Path<'_>) {
        for (key, stranger) in &node.children {
            let fits = match (key, but) {
                (Key::Name(name), Some(but)) => *name == but,
                (Key::Index(_), Some(_)) | (Key::Name(_), None) => false,
                (Key::Index(_), None) => true,
            };
            if !fits {
                self.remember(stranger, &path.part(*key));
            }
        }
    }

    fn remember(&mut self, node: &Tree<'_>, path: &Path<'_>) {
        for (key, below) in &node.children {
            self.remember(below, &path.part(*key));
        }
        if node.value.is_some() {
            self.unknown.push(path.to_string());
        }
    }
}

/// A number that cannot be an index must not be taken for a name that nobody knows: what it numbers would be left out without a word.
fn numbered(items: &Tree<'_>, path: &Path<'_>) -> Result<(), Malformed> {
    let digits = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let wrong = items.children.keys().find_map(|key| match key {
        Key::Name(name) if digits(name) => Some(*name),
        Key::Name(_) | Key::Index(_) => None,
    });
    match wrong {
        Some(index) => Err(Malformed::Value { path: path.to_string(), value: index.to_owned(), wanted: "list index" }),
        None => Ok(()),
    }
}
