//! Reads mappings strictly: unknown keys are mistakes with a suggestion, and reading goes on after each mistake.

use super::mistake::{Mistake, Site};
use crate::yaml::{Key, Kind, Node, Span};
use std::cell::RefCell;
use std::sync::Arc;

/// Collects mistakes of one file.
pub struct Reader {
    pub file: String,
    pub source: Arc<str>,
    pub mistakes: RefCell<Vec<Mistake>>,
}

impl Reader {
    pub fn wrong(&self, span: &Span, message: impl Into<String>, help: impl Into<Option<String>>) {
        let mistake = Mistake {
            file: self.file.clone(),
            source: self.source.clone(),
            span: span.clone(),
            message: message.into(),
            help: help.into(),
        };
        self.mistakes.borrow_mut().push(mistake);
    }

    /// How many mistakes were found so far.
    pub fn mistakes(&self) -> usize {
        self.mistakes.borrow().len()
    }

    /// A place, for mistakes that show only in the run.
    pub fn site(&self, span: &Span) -> Site {
        Site { file: self.file.clone(), source: self.source.clone(), span: span.clone() }
    }

    /// One-based line of a place.
    pub fn line(&self, span: &Span) -> usize {
        self.source.get(..span.start).unwrap_or("").matches('\n').count() + 1
    }

    /// The source of a place on one line, for verdicts.
    pub fn text(&self, span: &Span) -> String {
        self.source.get(span.clone()).unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// A mapping whose keys must be among `known`.
    pub fn map<'n>(&self, node: &'n Node, what: &str, known: &[&str]) -> Fields<'n> {
        let Kind::Map(entries) = &node.kind else {
            self.wrong(
                &node.span,
                format!("{what} must be a mapping, not {}", node.describe()),
                format!("known keys: {}", known.join(", ")),
            );
            return Fields { entries: &[] };
        };
        for (key, _) in entries {
            if !known.contains(&key.name.as_str()) {
                self.wrong(&key.span, format!("unknown key {:?} in {what}", key.name), suggest(&key.name, known));
            }
        }
        Fields { entries }
    }

    pub fn text_of(&self, node: &Node, what: &str) -> Option<String> {
        match &node.kind {
            Kind::Text(text) | Kind::Number(text) => Some(text.clone()),
            Kind::Bool(value) => Some(value.to_string()),
            _ => {
                self.wrong(&node.span, format!("{what} must be text, not {}", node.describe()), None);
                None
            }
        }
    }

    pub fn list<'n>(&self, node: &'n Node) -> Vec<&'n Node> {
        match &node.kind {
            Kind::List(items) => items.iter().collect(),
            Kind::Null => Vec::new(),
            _ => vec![node],
        }
    }

    pub fn texts(&self, node: &Node, what: &str) -> Vec<String> {
        self.list(node).into_iter().filter_map(|item| self.text_of(item, what)).collect()
    }

    pub fn whole(&self, node: &Node, what: &str) -> Option<u64> {
        let parsed = if let Kind::Number(text) = &node.kind { text.parse().ok() } else { None };
        if parsed.is_none() {
            self.wrong(&node.span, format!("{what} must be a whole number"), None);
        }
        parsed
    }

    /// A value that `parse` understands; its message says what is expected.
    pub fn parsed<T>(&self, node: &Node, what: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text_of(node, what)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(help) => {
                self.wrong(&node.span, format!("{what}: cannot read {text:?}"), help);
                None
            }
        }
    }
}

/// The entries of a mapping.
pub struct Fields<'n> {
    entries: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = &'n (Key, Node)> {
        self.entries.iter()
    }
}

/// `did you mean …?` when something known is near, else what is known.
pub fn suggest(name: &str, known: &[&str]) -> Option<String> {
    near(name, known.iter().copied()).or_else(|| Some(format!("known here: {}", known.join(", "))))
}

/// `did you mean …?` when something known is near.
pub fn near<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    // Longer than any name that AWS or we give: not worth the comparison.
    if name.len() > 100 {
        return None;
    }
    let nearest = known.map(|known| (strsim::damerau_levenshtein(name, known), known)).min()?;
    (nearest.0 <= 1 + name.chars().count() / 3).then(|| format!("did you mean {:?}?", nearest.1))
}
