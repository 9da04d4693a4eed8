//! Names that AWS gives: instance types, zones, operations. A name that nothing bears is a mistake before anything runs.

use super::fields::{Reader, near};
use crate::yaml::{Node, Span};
use fake_ec2::catalogue;
use fake_ec2::model::Service;
use std::collections::BTreeSet;

/// Instance types that the region offers.
pub fn types(reader: &Reader, node: &Node, region: &str) -> Vec<String> {
    let offered = |name: &str| {
        // A type that is not built in came with a file, which says where it is.
        !catalogue::types().contains_key(name) || catalogue::region(region).is_none_or(|region| !region.offerings_of(name).is_empty())
    };
    let list = reader.list(node).into_iter();
    list.filter_map(|item| {
        let name = reader.text_of(item, "an instance type")?;
        if catalogue::instance_type(&name).is_none() {
            let help = near(&name, catalogue::types().keys().copied()).unwrap_or_else(|| "write a type such as m5.large".to_owned());
            reader.wrong(&item.span, format!("there is no instance type {name:?}"), help);
        } else if !offered(&name) {
            reader.wrong(&item.span, format!("{region} does not offer {name}"), None);
        }
        Some(name)
    })
    .collect()
}

pub fn zones(reader: &Reader, node: &Node, region: &str) -> Vec<String> {
    let known: Vec<&str> =
        catalogue::region(region).map(|region| region.zones().iter().map(|zone| zone.name).collect()).unwrap_or_default();
    let list = reader.list(node).into_iter();
    list.filter_map(|item| {
        let name = reader.text_of(item, "a zone")?;
        if !known.is_empty() && !known.contains(&name.as_str()) {
            reader.wrong(
                &item.span,
                format!("{region} has no zone {name:?}"),
                near(&name, known.iter().copied()).unwrap_or_else(|| format!("its zones: {}", known.join(", "))),
            );
        }
        Some(name)
    })
    .collect()
}

pub fn region(reader: &Reader, node: &Node) -> Option<String> {
    let name = reader.text_of(node, "given.aws.region")?;
    if catalogue::region(&name).is_none() {
        let known: Vec<&str> = catalogue::regions().keys().copied().collect();
        let help = near(&name, known.iter().copied()).unwrap_or_else(|| format!("known here: {}", known.join(", ")));
        reader.wrong(&node.span, format!("there is no region {name:?}"), help);
        return None;
    }
    Some(name)
}

/// `on-demand`, `spot`, or both.
pub fn capacity(reader: &Reader, node: &Node) -> Vec<String> {
    let list = reader.list(node).into_iter();
    list.filter_map(|item| {
        reader.parsed(item, "capacity", |text| match text {
            "on-demand" | "spot" => Ok(text.to_owned()),
            other => Err(near(other, ["on-demand", "spot"].into_iter()).unwrap_or_else(|| "write on-demand or spot".to_owned())),
        })
    })
    .collect()
}

/// An operation's name, or the beginning of some and `*`.
pub fn operation(reader: &Reader, node: &Node) -> Option<String> {
    let name = reader.text_of(node, "operation")?;
    operation_named(reader, &name, &node.span);
    Some(name)
}

/// Says so when there is no such operation.
pub fn operation_named(reader: &Reader, name: &str, span: &Span) {
    let known: BTreeSet<&str> = Service::ALL.iter().flat_map(|service| service.model().operations.keys().copied()).collect();
    let matched = match name.strip_suffix('*') {
        Some(start) => known.iter().any(|operation| operation.starts_with(start)),
        None => known.contains(name),
    };
    if !matched {
        let help = near(name.trim_end_matches('*'), known.iter().copied());
        let help = help.unwrap_or_else(|| "write an operation such as CreateFleet, or Describe* for all that begin so".to_owned());
        reader.wrong(span, format!("no service has an operation {name:?}"), help);
    }
}
