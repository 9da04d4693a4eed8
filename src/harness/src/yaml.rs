//! YAML as a tree in which every key and value knows where it stands, so that a mistake can be shown in the file.

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle};
use serde_json::{Map, Value};
use std::ops::Range;

/// Bytes in the source.
pub type Span = Range<usize>;

/// Deeper trees are refused: no scenario or manifest needs them, and the reader is recursive.
const MAX_DEPTH: usize = 64;
/// Larger files are refused before they are read.
pub const MAX_BYTES: usize = 8 << 20;
/// An alias copies its anchor; a file may not grow beyond this many nodes by that.
const MAX_NODES: usize = 400_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub span: Span,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Null,
    Bool(bool),
    /// Numbers keep their text: `1.10` is a version as often as a number.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub span: Span,
    pub name: String,
}

/// Something wrong with the text itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    pub span: Span,
    pub message: String,
}

/// All documents of a file; empty documents are left out.
pub fn documents(source: &str) -> Result<Vec<Node>, Broken> {
    if source.len() > MAX_BYTES {
        return Err(Broken { span: 0..0, message: format!("the file has {} bytes; at most {MAX_BYTES} are read", source.len()) });
    }
    let mut reader = Reader { parser: Parser::new_from_str(source), anchors: Vec::new(), nodes: 0, length: source.len() };
    let mut found = Vec::new();
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(found),
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            event => {
                let node = reader.node(event, span, 0)?;
                if node.kind != Kind::Null {
                    found.push(node);
                }
            }
        }
    }
}

struct Reader<'s, I: granit_parser::BorrowedInput<'s>> {
    parser: Parser<'s, I>,
    anchors: Vec<(usize, Node)>,
    nodes: usize,
    length: usize,
}

impl<'s, I: granit_parser::BorrowedInput<'s>> Reader<'s, I> {
    fn next(&mut self) -> Result<(Event<'s>, Span), Broken> {
        // Comments are presentation, not content.
        let content = std::iter::from_fn(|| self.parser.next_event()).find(|next| !matches!(next, Ok((Event::Comment(..), _))));
        match content {
            Some(Ok((event, span))) => Ok((event, span.byte_range().unwrap_or(0..0))),
            Some(Err(error)) => {
                let at = error.marker().byte_offset().unwrap_or(0).min(self.length);
                Err(Broken { span: at..at, message: error.info() })
            }
            None => Ok((Event::StreamEnd, self.length..self.length)),
        }
    }

    fn node(&mut self, event: Event<'s>, span: Span, depth: usize) -> Result<Node, Broken> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(Broken { span, message: "nested too deeply or too large".to_owned() });
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let kind = if plain { scalar(&text) } else { Kind::Text(text.into_owned()) };
                Ok(self.keep(anchor, Node { span, kind }))
            }
            Event::SequenceStart(style, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, at) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        let last = items.last().map_or(span.end, |item: &Node| item.span.end).max(span.end);
                        let end = if style == StructureStyle::Flow { at.end.max(last) } else { last };
                        return Ok(self.keep(anchor, Node { span: span.start..end, kind: Kind::List(items) }));
                    }
                    items.push(self.node(event, at, depth + 1)?);
                }
            }
            Event::MappingStart(style, anchor, _) => {
                let (entries, closed) = self.entries(depth)?;
                // A block has no closing sign: its end event stands at what follows.
                let last = entries.last().map_or(span.end, |(_, value)| value.span.end).max(span.end);
                let end = if style == StructureStyle::Flow { closed.max(last) } else { last };
                Ok(self.keep(anchor, Node { span: span.start..end, kind: Kind::Map(entries) }))
            }
            Event::Alias(id) => {
                let node = self.anchors.iter().rev().find(|(known, _)| *known == id).map(|(_, node)| node.clone());
                let node = node.ok_or_else(|| Broken { span: span.clone(), message: "alias inside its own anchor".to_owned() })?;
                self.nodes += count(&node);
                if self.nodes > MAX_NODES {
                    return Err(Broken { span, message: "aliases make this file too large".to_owned() });
                }
                Ok(Node { span, kind: node.kind })
            }
            _ => Err(Broken { span, message: "unexpected end".to_owned() }),
        }
    }

    /// Up to the mapping's end, and where that is.
    fn entries(&mut self, depth: usize) -> Result<(Vec<(Key, Node)>, usize), Broken> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok((entries, at.end));
            }
            let key = self.node(event, at, depth + 1)?;
            let name = match key.kind {
                Kind::Text(name) | Kind::Number(name) => name,
                Kind::Bool(value) => value.to_string(),
                Kind::Null => "null".to_owned(),
                _ => return Err(Broken { span: key.span, message: "a key must be a word".to_owned() }),
            };
            if entries.iter().any(|(known, _)| known.name == name) {
                return Err(Broken { span: key.span, message: format!("key {name:?} stands here twice") });
            }
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth + 1)?;
            entries.push((Key { span: key.span, name }, value));
        }
    }

    fn keep(&mut self, anchor: usize, node: Node) -> Node {
        if anchor != 0 {
            self.anchors.push((anchor, node.clone()));
        }
        node
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::List(items) => items.iter().map(count).sum::<usize>(),
        Kind::Map(entries) => entries.iter().map(|(_, value)| count(value)).sum(),
        _ => 0,
    }
}

/// YAML 1.2 core schema, as kubectl's reader sees plain scalars.
fn scalar(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
            && text.parse::<f64>().is_ok_and(f64::is_finite) =>
        {
            Kind::Number(text.to_owned())
        }
        _ => Kind::Text(text.to_owned()),
    }
}

impl Node {
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(text) => serde_json::from_str(text.trim_start_matches('+')).unwrap_or_else(|_| {
                match text.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
                    Some(number) => Value::Number(number),
                    None => Value::String(text.clone()),
                }
            }),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Kind::Map(entries) => {
                Value::Object(entries.iter().map(|(key, value)| (key.name.clone(), value.to_json())).collect::<Map<_, _>>())
            }
        }
    }

    /// In words, for messages.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a truth value",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// The node at a path such as `spec.template.spec.requirements[0].operator`, or the deepest one on the way.
    pub fn at_path(&self, path: &str) -> &Node {
        let mut node = self;
        for step in path.split(['.', '[']).filter(|s| !s.is_empty()) {
            let next = match (&node.kind, step.strip_suffix(']')) {
                (Kind::List(items), Some(index)) => index.parse::<usize>().ok().and_then(|i| items.get(i)),
                (Kind::Map(entries), _) => entries.iter().find(|(key, _)| key.name == step.trim_end_matches(']')).map(|(_, value)| value),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => return node,
            }
        }
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_places_and_types() {
        let source = "# first\na: 1.10 # beside\n  # between\nb: [x, true, ~]\nc: &k {d: 'no'}\ne: *k\n";
        let docs = documents(source).unwrap();
        let Kind::Map(entries) = &docs[0].kind else { panic!("a map") };
        assert_eq!(&source[entries[1].0.span.clone()], "b");
        assert_eq!(docs[0].to_json().to_string(), r#"{"a":1.10,"b":["x",true,null],"c":{"d":"no"},"e":{"d":"no"}}"#.replace("1.10", "1.1"));
        assert_eq!(&source[docs[0].at_path("b[1]").span.clone()], "true");
        assert_eq!(&source[docs[0].at_path("b").span.clone()], "[x, true, ~]");
        assert_eq!(&source[docs[0].at_path("c").span.clone()], "{d: 'no'}");
    }

    #[test]
    fn refuses_doubles_and_bombs() {
        assert!(documents("a: 1\na: 2\n").unwrap_err().message.contains("twice"));
        let bomb: String = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, i| {
            let last = format!("*a{}", i - 1);
            format!("{text}a{i}: &a{i} [{}]\n", vec![last; 9].join(","))
        });
        assert!(documents(&bomb).unwrap_err().message.contains("large"));
        assert!(documents(&"[".repeat(10_000)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,200}") {
            let _ = documents(&text);
        }
    }
}
