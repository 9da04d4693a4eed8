//! rest-json: the operation from method and path, members from path and query string.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{Form, Malformed, scalar};
use crate::model::{Kind, Location, Model, Operation, Route, Segment};

/// What a method and a path mean.
pub(super) enum Found {
    /// An operation, and the labels of its path with what fills them, decoded.
    Served(&'static Operation, Vec<(&'static str, String)>),
    /// An operation of the service that is not served.
    Other(&'static str),
}

/// Finds the operation; the route with the most literal segments wins.
pub(super) fn find<B>(model: &'static Model, request: &http::Request<B>) -> Option<Found> {
    let parts: Vec<&str> = request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
    let method = request.method().as_str();
    let literals = |route: &Route| route.path.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count();
    let served = model.operations.values().filter_map(|operation| {
        let labels = labels(&operation.route, method, &parts)?;
        Some((literals(&operation.route), Found::Served(operation, labels)))
    });
    let others = model.others.iter().filter_map(|(name, route)| {
        labels(route, method, &parts)?;
        Some((literals(route), Found::Other(name)))
    });
    served.chain(others).max_by_key(|(literals, _)| *literals).map(|(_, found)| found)
}

fn labels(route: &Route, method: &str, parts: &[&str]) -> Option<Vec<(&'static str, String)>> {
    if route.method != method || route.path.len() != parts.len() {
        return None;
    }
    let mut labels = Vec::new();
    for (segment, part) in route.path.iter().zip(parts) {
        match segment {
            Segment::Literal(literal) if literal == part => {}
            Segment::Literal(_) => return None,
            Segment::Label(name) => labels.push((*name, percent_decode_str(part).decode_utf8().ok()?.into_owned())),
        }
    }
    Some(labels)
}

/// Adds the members of path and query string to an input.
pub(super) fn fill(
    model: &Model,
    operation: &Operation,
    labels: &[(&'static str, String)],
    query: &Form,
    input: &mut Map<String, Value>,
) -> Result<(), Malformed> {
    let Some(Kind::Structure(members)) = operation.input.map(|shape| &model.shape(shape).kind) else {
        return Ok(());
    };
    for member in members {
        let name = member.wire_name();
        let texts: Vec<&str> = match member.location {
            Location::Body => continue,
            Location::Path => labels.iter().filter(|(label, _)| *label == name).map(|(_, text)| text.as_str()).collect(),
            Location::QueryString => query.all(name).collect(),
        };
        let read = |kind: &Kind, text: &&str| {
            let bad = |wanted| Malformed::Value { path: name.to_owned(), value: (*text).to_owned(), wanted };
            scalar::from_text(kind, text).map_err(bad)
        };
        let value = match (&model.shape(member.shape).kind, texts.last()) {
            (_, None) => continue,
            (Kind::List { member: item, .. }, _) => {
                let kind = &model.shape(item.shape).kind;
                Value::Array(texts.iter().map(|text| read(kind, text)).collect::<Result<_, _>>()?)
            }
            (kind, Some(text)) => read(kind, text)?,
        };
        input.insert(member.name.to_owned(), value);
    }
    Ok(())
}
