//! Label and field selectors, from a query's text.
//!
//! Source: `k8s.io/apimachinery/pkg/labels/selector.go`, `pkg/fields/selector.go`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kinds::Kind;
use crate::status::Status;
use crate::store::Object;

#[derive(Clone, PartialEq, Debug)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

/// All requirements must hold.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Labels(Vec<Requirement>);

impl Labels {
    pub fn parse(text: &str) -> Result<Labels, Status> {
        let mut requirements = Vec::new();
        for part in split_outside(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(unparsable(text));
            }
            let words: Vec<&str> = part.split_whitespace().collect();
            if let [_, second, ..] = words.as_slice()
                && !part.contains(['=', '(', '<', '>'])
                && !part.starts_with('!')
            {
                return Err(Status::bad_request(format!(
                    "unable to parse requirement: found '{second}', expected: in, notin, =, ==, !=, gt, lt"
                )));
            }
            requirements.push(requirement(part).ok_or_else(|| unparsable(text))?);
        }
        Ok(Labels(requirements))
    }

    /// From a `metav1.LabelSelector`. An absent selector matches nothing, an empty one everything.
    pub fn of(selector: &Value) -> Option<Labels> {
        let selector = selector.as_object()?;
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            requirements.push(Requirement { key: key.clone(), operator: Operator::In, values: vec![value.as_str()?.to_owned()] });
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let operator = match expression["operator"].as_str()? {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => return None,
            };
            let values = crate::schema::strings(&expression["values"]);
            requirements.push(Requirement { key: expression["key"].as_str()?.to_owned(), operator, values });
        }
        Some(Labels(requirements))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|one| one.holds(labels.get(&one.key).map(String::as_str)))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|one| one == value);
        let compare = |wanted: fn(i64, i64) -> bool| {
            let pair = value.and_then(|value| Some((value.parse().ok()?, self.values.first()?.parse().ok()?)));
            pair.is_some_and(|(left, right)| wanted(left, right))
        };
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => compare(|left, right| left > right),
            Operator::Lt => compare(|left, right| left < right),
        }
    }
}

/// Splits at commas that are not inside parentheses.
fn split_outside(text: &str) -> Vec<&str> {
    let mut depth = 0usize;
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    let make = |key: &str, operator, values: Vec<String>| {
        let key = key.trim();
        is_label_key(key).then(|| Requirement { key: key.to_owned(), operator, values })
    };
    let one = |value: &str| Some(vec![value.trim().to_owned()]).filter(|list| list.iter().all(|value| is_label_value(value)));
    if let Some(key) = part.strip_prefix('!') {
        return make(key, Operator::DoesNotExist, Vec::new());
    }
    if let Some((key, value)) = part.split_once("!=") {
        return make(key, Operator::NotIn, one(value)?);
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return make(key, Operator::In, one(value)?);
    }
    if let Some((key, value)) = part.split_once('>') {
        return make(key, Operator::Gt, one(value)?);
    }
    if let Some((key, value)) = part.split_once('<') {
        return make(key, Operator::Lt, one(value)?);
    }
    if let Some((head, list)) = part.split_once('(') {
        let values: Vec<String> = list.strip_suffix(')')?.split(',').map(|value| value.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        let (key, operator, None) = (words.next()?, words.next()?, words.next()) else { return None };
        let operator = match operator {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            _ => return None,
        };
        return values.iter().all(|value| is_label_value(value)).then(|| make(key, operator, values)).flatten();
    }
    make(part, Operator::Exists, Vec::new())
}

pub(crate) fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_subdomain) && is_qualified_part(name)
}

pub(crate) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_qualified_part(value)
}

fn is_qualified_part(name: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let bytes = name.as_bytes();
    edge(bytes.first().copied()) && edge(bytes.last().copied()) && bytes.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
}

pub(crate) fn is_subdomain(name: &str) -> bool {
    // Parts may be longer than a label: only the whole is counted (`k8s.io/apimachinery/pkg/util/validation`, IsDNS1123Subdomain).
    name.len() <= 253 && name.split('.').all(is_part)
}

/// RFC 1123 label, lower case.
pub(crate) fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_part(name)
}

fn is_part(name: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = name.as_bytes();
    edge(bytes.first().copied())
        && edge(bytes.last().copied())
        && bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
}

fn unparsable(text: &str) -> Status {
    Status::bad_request(format!("unable to parse requirement: {text}"))
}

/// Terms of a field selector: field, equal or not, value.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Fields(Vec<(String, bool, String)>);

impl Fields {
    pub fn parse(kind: &Kind, text: &str) -> Result<Fields, Status> {
        let mut terms = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let split = part
                .split_once("!=")
                .map(|(field, value)| (field, false, value))
                .or_else(|| part.split_once("==").or_else(|| part.split_once('=')).map(|(field, value)| (field, true, value)));
            let Some((field, equal, value)) = split else {
                return Err(Status::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            let known = matches!(field, "metadata.name" | "metadata.namespace") || kind.selectable.iter().any(|one| one.name == field);
            if !known {
                return Err(Status::bad_request(format!("field label not supported: {field}")));
            }
            terms.push((field.to_owned(), equal, value.to_owned()));
        }
        Ok(Fields(terms))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn matches(&self, object: &Object) -> bool {
        self.0.iter().all(|(field, equal, value)| (object.field(field).unwrap_or_default() == value) == *equal)
    }

    /// The one name that is asked for, if the selector says so.
    pub fn name(&self) -> Option<&str> {
        self.0.iter().find(|(field, equal, _)| field == "metadata.name" && *equal).map(|(_, _, value)| value.as_str())
    }
}

/// What a list or a watch is restricted to.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Selection {
    /// Empty: all namespaces.
    pub namespace: String,
    pub labels: Labels,
    pub fields: Fields,
}

impl Selection {
    pub fn matches(&self, object: &Object) -> bool {
        (self.namespace.is_empty() || self.namespace == object.meta.namespace)
            && self.labels.matches(&object.meta.labels)
            && self.fields.matches(object)
    }
}
