//! Reads XML replies into a tree. Never panics, whatever the bytes.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};

/// An element: its name without prefix, its text, its children in order. Attributes are of no use to AWS's replies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable XML: {0}")]
pub struct XmlError(pub String);

/// Deeper replies do not exist; a limit keeps a hostile one from exhausting the stack when it is dropped.
const DEEPEST: usize = 128;

impl Element {
    /// The root element of a document.
    pub fn parse(bytes: &[u8]) -> Result<Element, XmlError> {
        let text = std::str::from_utf8(bytes).map_err(|error| XmlError(error.to_string()))?;
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Element> = Vec::new();
        loop {
            let event = reader.read_event().map_err(|error| XmlError(error.to_string()))?;
            match event {
                Event::Start(start) => {
                    if open.len() == DEEPEST {
                        return Err(XmlError("nested too deeply".to_owned()));
                    }
                    open.push(named(&start));
                }
                Event::Empty(start) => {
                    let element = named(&start);
                    match open.last_mut() {
                        Some(parent) => parent.children.push(element),
                        None => return Ok(element),
                    }
                }
                Event::End(_) => {
                    let done = open.pop().ok_or_else(|| XmlError("an end without a start".to_owned()))?;
                    match open.last_mut() {
                        Some(parent) => parent.children.push(done),
                        None => return Ok(done),
                    }
                }
                Event::Text(text) => {
                    if let Some(current) = open.last_mut() {
                        current.text.push_str(&text);
                    }
                }
                Event::CData(text) => {
                    if let Some(current) = open.last_mut() {
                        current.text.push_str(&text);
                    }
                }
                Event::GeneralRef(entity) => {
                    if let Some(current) = open.last_mut() {
                        let name: &str = &entity;
                        match entity.resolve_char_ref() {
                            Ok(Some(character)) => current.text.push(character),
                            Ok(None) => {
                                current.text.push_str(resolve_xml_entity(name).ok_or_else(|| XmlError(format!("unknown entity {name}")))?)
                            }
                            Err(error) => return Err(XmlError(error.to_string())),
                        }
                    }
                }
                Event::Eof => return Err(XmlError("ends before its root does".to_owned())),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }

    /// The first child of this name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The element at the end of a path of first children.
    pub fn at(&self, path: &[&str]) -> Option<&Element> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// The trimmed text at the end of a path; `None` when a part is missing.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path).map(|element| element.text.trim())
    }

    pub fn string(&self, name: &str) -> Option<String> {
        self.text_at(&[name]).map(str::to_owned)
    }

    pub fn number<T: std::str::FromStr>(&self, path: &[&str]) -> Option<T> {
        self.text_at(path)?.parse().ok()
    }

    pub fn boolean(&self, path: &[&str]) -> Option<bool> {
        match self.text_at(path)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The entries (`item`, `member`) of a list child; none when it is missing.
    pub fn list<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Element> {
        self.child(name).into_iter().flat_map(|list| list.children.iter()).filter(|entry| entry.name == "item" || entry.name == "member")
    }

    pub fn texts(&self, name: &str) -> Vec<String> {
        self.list(name).map(|entry| entry.text.trim().to_owned()).collect()
    }
}

fn named(start: &BytesStart<'_>) -> Element {
    Element { name: start.local_name().as_ref().to_owned(), ..Element::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_entities_and_character_references() {
        let root = Element::parse(
            b"<?xml version=\"1.0\"?>\n<R xmlns=\"http://x/\"><set><item><a>1 &lt; 2 &amp; &#65;&#x42;</a></item><item/></set><flag>true</flag><ns:b>x</ns:b></R>",
        )
        .unwrap();
        assert_eq!(root.list("set").count(), 2);
        assert_eq!(root.list("set").next().unwrap().string("a").unwrap(), "1 < 2 & AB");
        assert_eq!(root.boolean(&["flag"]), Some(true));
        assert_eq!(root.string("b").unwrap(), "x");
    }

    #[test]
    fn refuses_half_documents() {
        for text in ["", "<a>", "<a></b>", "text", "</a>", "<a>&nosuch;</a>"] {
            assert!(Element::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics_on_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Element::parse(&bytes);
        }

        #[test]
        fn never_panics_on_markup(text in "(<[a-c/!?]{0,3}[a-c ]{0,3}>?|&[a-z#0-9x]{0,6};?|\\]\\]>|<!\\[CDATA\\[|[a-c]){0,30}") {
            let _ = Element::parse(text.as_bytes());
        }
    }
}
