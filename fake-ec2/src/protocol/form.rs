//! `application/x-www-form-urlencoded`, as a tree of dotted names.

use std::collections::BTreeMap;

use percent_encoding::percent_decode;

use super::Malformed;
use crate::config::Limits;

/// The pairs of a form, in order, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pairs: Vec<(String, String)>,
}

impl Form {
    /// Reads a body or a query string.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Malformed> {
        let mut pairs = Vec::new();
        for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == limits.parameters {
                return Err(Malformed::TooMany(limits.parameters));
            }
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let mut half = || decode(halves.next().unwrap_or_default());
            pairs.push((half()?, half()?));
        }
        Ok(Self { pairs })
    }

    /// The query string's pairs and, when the body is a form, the body's.
    pub fn of(request: &http::Request<bytes::Bytes>, limits: &Limits) -> Result<Self, Malformed> {
        let mut form = Self::parse(request.uri().query().unwrap_or_default().as_bytes(), limits)?;
        let content_type = request.headers().get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_form = content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        if is_form && request.body().len() <= limits.body_bytes {
            form.pairs.extend(Self::parse(request.body(), limits)?.pairs);
        }
        Ok(form)
    }

    /// The value of a name; the last one where it was sent twice.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// The values of a name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.pairs.push((name.into(), value.into()));
    }

    /// The tree of some pairs' dotted names.
    pub(super) fn tree<'a>(pairs: impl IntoIterator<Item = &'a (String, String)>, limits: &Limits) -> Result<Tree<'a>, Malformed> {
        let mut root = Tree::default();
        for (key, value) in pairs {
            let mut node = &mut root;
            for (depth, part) in key.split('.').enumerate() {
                // A level of the value takes at most three parts of the name (`Map.entry.1.value`).
                if depth >= limits.depth * 3 {
                    return Err(Malformed::TooDeep(limits.depth));
                }
                node = node.children.entry(Key::new(part)).or_default();
            }
            node.value = Some(value);
        }
        Ok(root)
    }
}

fn decode(bytes: &[u8]) -> Result<String, Malformed> {
    let bad = || Malformed::Body("a parameter is not UTF-8".into());
    if !bytes.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| bad());
    }
    let spaced: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let text = percent_decode(&spaced).decode_utf8().map_err(|_| bad())?;
    Ok(text.into_owned())
}

/// A node: its own value, and what is below.
#[derive(Debug, Default)]
pub(super) struct Tree<'a> {
    pub value: Option<&'a str>,
    pub children: BTreeMap<Key<'a>, Tree<'a>>,
}

/// A part of a dotted name. Numbers are ordered as numbers, so that `.10` comes after `.9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key<'a> {
    Index(u32),
    Name(&'a str),
}

impl<'a> Key<'a> {
    fn new(part: &'a str) -> Self {
        let canonical = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
        match part.parse() {
            Ok(index) if canonical => Self::Index(index),
            _ => Self::Name(part),
        }
    }
}

impl std::fmt::Display for Key<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index(index) => write!(formatter, "{index}"),
            Self::Name(name) => formatter.write_str(name),
        }
    }
}

impl<'a> Tree<'a> {
    pub fn child<'s>(&'s self, name: &'s str) -> Option<&'s Tree<'s>> {
        let children: &BTreeMap<Key<'s>, Tree<'s>> = &self.children;
        children.get(&Key::Name(name))
    }

    /// The children that are numbered, in the order of their numbers.
    pub fn indexed(&self) -> impl Iterator<Item = (u32, &Tree<'a>)> {
        self.children.iter().filter_map(|(key, tree)| match key {
            Key::Index(index) => Some((*index, tree)),
            Key::Name(_) => None,
        })
    }
}
