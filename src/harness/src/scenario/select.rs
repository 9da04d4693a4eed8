//! Which nodes: `{ pool: default, types: [m5.large], zones: [us-west-2a], capacity: spot, count: 1 }`.

use super::catalogue;
use super::fields::Reader;
use crate::yaml::{Kind, Node};

/// Nodes by what they are, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    pub pool: Option<String>,
    /// Instance types; empty means any.
    pub types: Vec<String>,
    pub zones: Vec<String>,
    /// `on-demand` or `spot`; empty means both.
    pub capacity: Vec<String>,
    pub count: HowMany,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HowMany {
    /// The first so many; fewer is a mistake.
    First(u64),
    /// Every one; none is a mistake.
    All,
}

impl Default for HowMany {
    fn default() -> Self {
        HowMany::First(1)
    }
}

impl Nodes {
    pub fn of_pool(pool: &str) -> Nodes {
        Nodes { pool: Some(pool.to_owned()), ..Nodes::default() }
    }

    /// Whether a node of these labels is meant.
    pub fn want(&self, pool: Option<&str>, instance_type: &str, zone: Option<&str>, capacity: Option<&str>) -> bool {
        let among =
            |list: &[String], value: Option<&str>| list.is_empty() || value.is_some_and(|value| list.iter().any(|item| item == value));
        self.pool.as_deref().is_none_or(|wanted| pool == Some(wanted))
            && among(&self.types, Some(instance_type))
            && among(&self.zones, zone)
            && among(&self.capacity, capacity)
    }

    /// Takes as many of what was found as are asked for, or says what is missing.
    pub fn take<T>(&self, mut found: Vec<T>) -> Result<Vec<T>, String> {
        match self.count {
            HowMany::All if found.is_empty() => Err("no node is meant by this".to_owned()),
            HowMany::All => Ok(found),
            HowMany::First(most) => match usize::try_from(most) {
                Ok(most) if most <= found.len() => {
                    found.truncate(most);
                    Ok(found)
                }
                _ if found.is_empty() => Err("no node is meant by this".to_owned()),
                _ => Err(format!("{most} nodes are asked for, and {} are meant by this", found.len())),
            },
        }
    }
}

/// A selector; `count` may stand in it, or beside it (`outer`), not in both places.
pub fn nodes(reader: &Reader, node: Option<&Node>, outer: Option<&Node>, what: &str, region: &str) -> Nodes {
    let mut made = Nodes::default();
    let mut inner = None;
    if let Some(node) = node {
        let fields = reader.map(node, what, &["pool", "types", "zones", "capacity", "count"]);
        made.pool = fields.get("pool").and_then(|n| reader.text_of(n, "pool"));
        made.types = fields.get("types").map(|n| catalogue::types(reader, n, region)).unwrap_or_default();
        made.zones = fields.get("zones").map(|n| catalogue::zones(reader, n, region)).unwrap_or_default();
        made.capacity = fields.get("capacity").map(|n| catalogue::capacity(reader, n)).unwrap_or_default();
        inner = fields.get("count");
    }
    if let (Some(_), Some(twice)) = (inner, outer) {
        reader.wrong(&twice.span, "count stands twice: in the selector and beside it", "keep one of them".to_owned());
    }
    if let Some(node) = inner.or(outer) {
        made.count = match &node.kind {
            Kind::Text(text) if text == "all" => HowMany::All,
            _ => reader
                .parsed(node, "count", |text| match text.parse::<u64>() {
                    Ok(count) if count > 0 => Ok(HowMany::First(count)),
                    _ => Err("write a whole number from 1 on, or all".to_owned()),
                })
                .unwrap_or_default(),
        };
    }
    made
}
