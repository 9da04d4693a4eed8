//! Sets of field paths.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

/// A step of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Element {
    Field(String),
    /// An item of a list that is a map: its keys and their values as JSON, by key.
    Key(Vec<(String, String)>),
    /// An item of a list that is a set, as JSON.
    Value(String),
    Index(i64),
}

impl Element {
    /// As in `fieldsV1`.
    fn encode(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Key(keys) => {
                let fields: Vec<String> = keys.iter().map(|(key, value)| format!("{}:{value}", Value::from(key.as_str()))).collect();
                format!("k:{{{}}}", fields.join(","))
            }
            Element::Value(value) => format!("v:{value}"),
            Element::Index(index) => format!("i:{index}"),
        }
    }

    fn decode(text: &str) -> Option<Element> {
        let (sort, rest) = text.split_once(':')?;
        Some(match sort {
            "f" => Element::Field(rest.to_owned()),
            "v" => Element::Value(serde_json::from_str::<Value>(rest).ok()?.to_string()),
            "i" => Element::Index(rest.parse().ok()?),
            "k" => {
                let keys: BTreeMap<String, Value> = serde_json::from_str(rest).ok()?;
                Element::Key(keys.into_iter().map(|(key, value)| (key, value.to_string())).collect())
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Key(keys) => {
                let fields: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "[{}]", fields.join(","))
            }
            Element::Value(value) => write!(f, "[={value}]"),
            Element::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// Paths, as a tree: a path may be a member, and have longer ones below.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Set {
    pub(super) members: BTreeSet<Element>,
    pub(super) children: BTreeMap<Element, Set>,
}

impl Set {
    pub(super) fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => drop(self.members.insert(last.clone())),
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Set::is_empty)
    }

    /// What is below a step.
    pub(super) fn below(&self, element: &Element) -> Option<&Set> {
        self.children.get(element).filter(|set| !set.is_empty())
    }

    pub(super) fn union(&self, other: &Set) -> Set {
        let mut out = self.clone();
        out.add(other);
        out
    }

    pub(super) fn add(&mut self, other: &Set) {
        self.members.extend(other.members.iter().cloned());
        for (element, set) in &other.children {
            self.children.entry(element.clone()).or_default().add(set);
        }
    }

    pub(super) fn intersection(&self, other: &Set) -> Set {
        let both = |element: &Element, set: &Set| Some((element.clone(), set.intersection(other.children.get(element)?)));
        Set {
            members: self.members.intersection(&other.members).cloned().collect(),
            children: self.children.iter().filter_map(|(element, set)| both(element, set)).filter(|(_, set)| !set.is_empty()).collect(),
        }
    }

    /// Without the members of the other; what is below one of them stays.
    pub(super) fn difference(&self, other: &Set) -> Set {
        let without = |element: &Element, set: &Set| match other.children.get(element) {
            Some(gone) => set.difference(gone),
            None => set.clone(),
        };
        Set {
            members: self.members.difference(&other.members).cloned().collect(),
            children: self
                .children
                .iter()
                .map(|(element, set)| (element.clone(), without(element, set)))
                .filter(|(_, set)| !set.is_empty())
                .collect(),
        }
    }

    /// Without these fields of the object and everything below them.
    pub(super) fn without_fields(mut self, names: &[&str]) -> Set {
        for name in names {
            let element = Element::Field((*name).to_owned());
            self.members.remove(&element);
            self.children.remove(&element);
        }
        self
    }

    /// Every path, in order, each before those below it.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(&mut String::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut String, out: &mut Vec<String>) {
        out.extend(self.members.iter().map(|element| format!("{prefix}{element}")));
        for (element, set) in &self.children {
            let length = prefix.len();
            prefix.push_str(&element.to_string());
            set.collect(prefix, out);
            prefix.truncate(length);
        }
    }

    /// As `fieldsV1`.
    pub(super) fn encode(&self) -> Value {
        let elements: BTreeSet<&Element> = self.members.iter().chain(self.children.keys()).collect();
        let mut out = Map::new();
        for element in elements {
            let mut below = Map::new();
            if let Some(set) = self.below(element) {
                if self.members.contains(element) {
                    below.insert(".".to_owned(), Value::Object(Map::new()));
                }
                if let Value::Object(map) = set.encode() {
                    below.extend(map);
                }
            }
            out.insert(element.encode(), Value::Object(below));
        }
        Value::Object(out)
    }

    /// From `fieldsV1`; `None` when it is malformed.
    pub(super) fn decode(value: &Value) -> Option<Set> {
        let mut set = Set::default();
        for (key, below) in value.as_object()? {
            if key == "." {
                continue;
            }
            let element = Element::decode(key)?;
            let map = below.as_object()?;
            if map.is_empty() || map.contains_key(".") {
                set.members.insert(element.clone());
            }
            let inner = Set::decode(below)?;
            if !inner.is_empty() {
                set.children.insert(element, inner);
            }
        }
        Some(set)
    }
}
