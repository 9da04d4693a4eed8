//! `expect`, `never`, `always`: what must hold.

use super::Placed;
use super::fields::Reader;
use super::units;
use crate::yaml::{Kind, Node};
use jiff::SignedDuration;
use std::collections::BTreeMap;
use vocabulary::UsdPerHour;

/// `5`, or a comparison as text: `"<= 4"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub compare: Compare,
    pub value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Equal,
    AtMost,
    AtLeast,
    Less,
    More,
}

impl Compare {
    pub fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Compare::Equal => left == right,
            Compare::AtMost => left <= right,
            Compare::AtLeast => left >= right,
            Compare::Less => left < right,
            Compare::More => left > right,
        }
    }

    pub fn sign(self) -> &'static str {
        match self {
            Compare::Equal => "",
            Compare::AtMost => "<= ",
            Compare::AtLeast => ">= ",
            Compare::Less => "< ",
            Compare::More => "> ",
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.compare.sign(), self.value)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Expectation {
    Pods(PodExpectation),
    Nodes {
        pool: Option<String>,
        nouns: Vec<Noun>,
    },
    NodeClaims {
        pool: Option<String>,
        count: Count,
    },
    Cost {
        pool: Option<String>,
        of: CostOf,
        compare: Compare,
        /// Dollars, per hour unless the total is meant.
        amount: UsdPerHour,
    },
    Latency {
        of: LatencyOf,
        aggregate: Aggregate,
        compare: Compare,
        bound: SignedDuration,
    },
    /// NodeClaims created in this step (under `always`: in the whole run).
    Launches(Count),
    /// Nodes disrupted voluntarily in this step.
    Disruptions(Count),
    /// Calls that AWS refused for want of permission.
    AwsDenied(Count),
    /// ERROR lines of the controller in this step.
    ControllerErrors(Count),
    /// Calls of one operation in this step.
    AwsCalls {
        operation: String,
        count: Count,
    },
    /// Events of the autoscaler in this step, by their reason, and the kind that they are about if that is said.
    Events {
        reason: String,
        kind: Option<String>,
        count: Count,
    },
    /// What an object's conditions must say, `nodepool/default: [Ready]`.
    Conditions {
        object: super::Target,
        wanted: Vec<Condition>,
    },
    /// What an object holds among other things; null means that there is no such object.
    Shows {
        object: super::Target,
        wanted: serde_json::Value,
    },
    /// What the autoscaler does to nodes in this step, in order; each entry with its alternatives.
    Actions(Vec<Vec<super::Phrase>>),
}

impl std::fmt::Display for Expectation {
    /// For those of which one key holds several; the others are shown as they are written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expectation::Conditions { object, wanted } => {
                let shown: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                write!(f, "conditions: {{ {object}: {{ {} }} }}", shown.join(", "))
            }
            Expectation::Shows { object, wanted } => write!(f, "shows: {{ {object}: {wanted} }}"),
            Expectation::AwsCalls { operation, count } => write!(f, "aws: {{ calls: {{ {operation}: {count} }} }}"),
            Expectation::Events { reason, kind, count } => {
                let kind = kind.as_ref().map_or(String::new(), |kind| format!("{kind}/"));
                write!(f, "events: {{ {kind}{reason}: {count} }}")
            }
            Expectation::AwsDenied(count) => write!(f, "aws: {{ denied: {count} }}"),
            Expectation::Cost { of, compare, amount, pool } => {
                let pool = pool.as_ref().map_or(String::new(), |pool| format!("pool: {pool}, "));
                write!(f, "cost: {{ {pool}{}: {}{amount} }}", of.word(), compare.sign())
            }
            Expectation::Latency { of, aggregate, compare, bound } => {
                let of = if *of == LatencyOf::PodReady { "pod-ready" } else { "node-ready" };
                let aggregate = if let Aggregate::Percentile(p) = aggregate { format!("p{p}") } else { "max".to_owned() };
                write!(f, "latency: {{ {of}: {aggregate} {}{bound:#} }}", compare.sign())
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// `SubnetsReady: False because SubnetsNotFound`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The condition's reason, if it is asked for.
    pub reason: Option<String>,
}

impl Condition {
    /// Whether a condition as [`crate::objects`] shows it is this one.
    pub fn holds(&self, shown: &str) -> bool {
        let Some(rest) = shown.strip_prefix(self.status.as_str()) else { return false };
        self.reason.as_ref().is_none_or(|reason| rest.strip_prefix(" (").is_some_and(|why| why.starts_with(&format!("{reason}:"))))
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind, self.status)?;
        self.reason.as_ref().map_or(Ok(()), |reason| write!(f, " because {reason}"))
    }
}

/// Pods of the user's workloads: not DaemonSets', not in `kube-system`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PodExpectation {
    /// Only pods of this namespace.
    pub namespace: Option<String>,
    pub ready: Option<Count>,
    pub pending: Option<Count>,
    /// Every pending pod's reason names this: `limits`.
    pub reason: Option<String>,
    /// Evicted in this step.
    pub evicted: Option<Count>,
    /// Whose node went away in this step while they ran on it and nobody had asked them to end.
    pub lost: Option<Count>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Noun {
    Count(Count),
    Types(NodeTypes),
    Capacity(Vec<String>),
    Zones(Count),
    /// Exactly these.
    ZonesAre(Vec<String>),
    Ready(Count),
    /// Tainted `karpenter.sh/disrupted`.
    Tainted(Count),
    /// Pods of user workloads per node, in descending order.
    PodsPerNode(Vec<u64>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum NodeTypes {
    /// Each node's type is in this list.
    Among(Vec<String>),
    /// Exactly so many of each.
    Exactly(BTreeMap<String, u64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyOf {
    /// From a pod's creation to Ready.
    PodReady,
    /// From a NodeClaim's creation to Initialized.
    NodeReady,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostOf {
    /// What runs at the end of the step.
    Hourly,
    /// By how much that is less than at the step's beginning.
    Saved,
    /// Dollars spent in the step, all machines together.
    Total,
}

impl CostOf {
    pub fn word(self) -> &'static str {
        match self {
            CostOf::Hourly => "hourly",
            CostOf::Saved => "saved",
            CostOf::Total => "total",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    Max,
    Percentile(u8),
}

const KNOWN: [&str; 13] = [
    "pods",
    "nodes",
    "nodeclaims",
    "cost",
    "latency",
    "launches",
    "disruptions",
    "aws",
    "conditions",
    "shows",
    "actions",
    "controller",
    "events",
];

/// The expectations of `always`, which are judged once, at the end: of what is counted over the run. Of a state that would say
/// nothing of the time before.
pub fn always(reader: &Reader, node: &Node) -> Vec<Placed<Expectation>> {
    let found = expectations(reader, node, "always");
    for expectation in &found {
        let counted = match &expectation.value {
            Expectation::Pods(pods) => pods.ready.is_none() && pods.pending.is_none() && pods.reason.is_none(),
            Expectation::Nodes { .. } | Expectation::NodeClaims { .. } => false,
            Expectation::Conditions { .. } | Expectation::Shows { .. } => false,
            Expectation::Cost { of, .. } => *of == CostOf::Total,
            _ => true,
        };
        if !counted {
            let what = format!("{} is a state, and always is judged at the end", expectation.text);
            let help =
                "write it under expect of the last step, or what must not be under never of each step, which is watched all the time";
            reader.wrong(&node.span, what, help.to_owned());
        }
    }
    found
}

/// The expectations of one block, each with its own place.
pub fn expectations(reader: &Reader, node: &Node, what: &str) -> Vec<Placed<Expectation>> {
    let mut found = Vec::new();
    let fields = reader.map(node, what, &[&KNOWN[..], &["aws.denied"]].concat());
    for (key, value) in fields.iter() {
        let span = key.span.start..value.span.end;
        let mistakes = reader.mistakes();
        let several = one(reader, &key.name, value);
        // What came to nothing without a word would hold of anything.
        if several.is_empty() && reader.mistakes() == mistakes {
            let help = "say what is expected of it; `dryfit test --help` and docs/scenarios.md list what can be";
            reader.wrong(&span, format!("{} expects nothing", key.name), help.to_owned());
        }
        let alone = several.len() == 1;
        for expectation in several {
            let text = if alone { reader.text(&span) } else { expectation.to_string() };
            found.push(Placed { value: expectation, text, line: reader.line(&span) });
        }
    }
    found
}

fn one(reader: &Reader, name: &str, node: &Node) -> Vec<Expectation> {
    match name {
        "pods" => pods(reader, node).into_iter().collect(),
        "nodes" => nodes(reader, node).into_iter().collect(),
        "nodeclaims" => {
            let fields = reader.map(node, "nodeclaims", &["pool", "count"]);
            let pool = pool(reader, &fields);
            fields
                .get("count")
                .and_then(|n| count(reader, n, "nodeclaims.count"))
                .map(|count| Expectation::NodeClaims { pool, count })
                .into_iter()
                .collect()
        }
        "cost" => cost(reader, node),
        "latency" => latency(reader, node),
        "launches" => count(reader, node, "launches").map(Expectation::Launches).into_iter().collect(),
        "disruptions" => count(reader, node, "disruptions").map(Expectation::Disruptions).into_iter().collect(),
        "aws.denied" => count(reader, node, "aws.denied").map(Expectation::AwsDenied).into_iter().collect(),
        "aws" => aws(reader, node),
        "conditions" => {
            let found = by_object(reader, node, "conditions", "{nodepool/default: [Ready]}");
            found
                .into_iter()
                .map(|(object, value)| {
                    let wanted = wanted(reader, value);
                    if wanted.is_empty() {
                        reader.wrong(&value.span, format!("no condition of {object} is expected"), "for example [Ready]".to_owned());
                    }
                    Expectation::Conditions { object, wanted }
                })
                .collect()
        }
        "shows" => {
            let found = by_object(reader, node, "shows", "{node/a: {spec: {unschedulable: true}}}");
            found.into_iter().map(|(object, value)| Expectation::Shows { object, wanted: value.to_json() }).collect()
        }
        "controller" => {
            let fields = reader.map(node, "controller", &["errors"]);
            fields
                .get("errors")
                .and_then(|n| count(reader, n, "controller.errors"))
                .map(Expectation::ControllerErrors)
                .into_iter()
                .collect()
        }
        "events" => match &node.kind {
            Kind::Map(entries) => entries
                .iter()
                .filter_map(|(key, value)| {
                    let count = count(reader, value, "events")?;
                    let (kind, reason) = key.name.split_once('/').map_or((None, key.name.as_str()), |(kind, reason)| (Some(kind), reason));
                    Some(Expectation::Events { reason: reason.to_owned(), kind: kind.map(str::to_owned), count })
                })
                .collect(),
            _ => {
                reader.wrong(
                    &node.span,
                    "events is no mapping",
                    "events: {NodeRepairBlocked: 1, Node/DisruptionBlocked: \">= 1\"}".to_owned(),
                );
                Vec::new()
            }
        },
        "actions" => vec![Expectation::Actions(super::phrase::actions(reader, node))],
        _ => Vec::new(),
    }
}

fn pool(reader: &Reader, fields: &super::fields::Fields<'_>) -> Option<String> {
    fields.get("pool").and_then(|n| reader.text_of(n, "pool"))
}

fn cost(reader: &Reader, node: &Node) -> Vec<Expectation> {
    let fields = reader.map(node, "cost", &["pool", "hourly", "saved", "total"]);
    let pool = pool(reader, &fields);
    let mut found = Vec::new();
    for of in [CostOf::Hourly, CostOf::Saved, CostOf::Total] {
        let Some(value) = fields.get(of.word()) else { continue };
        if of == CostOf::Total && pool.is_some() {
            reader.wrong(&value.span, "the total is of all machines", "leave pool out".to_owned());
        }
        let amount = reader.parsed(value, &format!("cost.{}", of.word()), |text| {
            let split = text.find('$').unwrap_or(0);
            let (sign, dollars) = text.split_at(split);
            let help = || "write a price in dollars such as $0.096, or a comparison such as \"< $1\"".to_owned();
            let compare = if sign.trim().is_empty() { Compare::Equal } else { comparison(sign.trim()).ok_or_else(help)? };
            Ok((compare, units::money(dollars)?))
        });
        found.extend(amount.map(|(compare, amount)| Expectation::Cost { pool: pool.clone(), of, compare, amount }));
    }
    if found.is_empty() && fields.iter().all(|(key, _)| key.name == "pool") {
        reader.wrong(&node.span, "cost expects nothing", "add hourly, saved or total".to_owned());
    }
    found
}

fn pods(reader: &Reader, node: &Node) -> Option<Expectation> {
    let fields = reader.map(node, "pods", &["namespace", "ready", "pending", "reason", "evicted", "lost"]);
    let expected = PodExpectation {
        namespace: fields.get("namespace").and_then(|n| reader.text_of(n, "pods.namespace")),
        ready: fields.get("ready").and_then(|n| count(reader, n, "pods.ready")),
        pending: fields.get("pending").and_then(|n| count(reader, n, "pods.pending")),
        reason: fields.get("reason").and_then(|n| reader.text_of(n, "pods.reason")),
        evicted: fields.get("evicted").and_then(|n| count(reader, n, "pods.evicted")),
        lost: fields.get("lost").and_then(|n| count(reader, n, "pods.lost")),
    };
    if expected.reason.is_none() && [expected.ready, expected.pending, expected.evicted, expected.lost].iter().all(Option::is_none) {
        reader.wrong(&node.span, "pods expects nothing", "add ready, pending, reason, evicted or lost".to_owned());
        return None;
    }
    Some(Expectation::Pods(expected))
}

fn nodes(reader: &Reader, node: &Node) -> Option<Expectation> {
    let fields = reader.map(node, "nodes", &["pool", "count", "ready", "tainted", "types", "capacity", "zones", "pods"]);
    let mut nouns = Vec::new();
    nouns.extend(fields.get("count").and_then(|n| count(reader, n, "nodes.count")).map(Noun::Count));
    nouns.extend(fields.get("ready").and_then(|n| count(reader, n, "nodes.ready")).map(Noun::Ready));
    nouns.extend(fields.get("tainted").and_then(|n| count(reader, n, "nodes.tainted")).map(Noun::Tainted));
    nouns.extend(fields.get("zones").and_then(|n| match &n.kind {
        Kind::List(_) => Some(Noun::ZonesAre(reader.texts(n, "nodes.zones"))),
        _ => count(reader, n, "nodes.zones").map(Noun::Zones),
    }));
    nouns.extend(fields.get("capacity").map(|n| Noun::Capacity(reader.texts(n, "nodes.capacity"))));
    nouns.extend(fields.get("pods").map(|n| {
        let mut counts: Vec<u64> = reader.list(n).into_iter().filter_map(|item| reader.whole(item, "nodes.pods")).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        Noun::PodsPerNode(counts)
    }));
    if let Some(types) = fields.get("types") {
        nouns.push(Noun::Types(match &types.kind {
            Kind::Map(entries) => NodeTypes::Exactly(
                entries.iter().filter_map(|(key, value)| Some((key.name.clone(), reader.whole(value, "a number of nodes")?))).collect(),
            ),
            _ => NodeTypes::Among(reader.texts(types, "nodes.types")),
        }));
    }
    if nouns.is_empty() {
        reader.wrong(&node.span, "nodes expects nothing", "add count, ready, tainted, types, capacity, zones or pods".to_owned());
        return None;
    }
    Some(Expectation::Nodes { pool: pool(reader, &fields), nouns })
}

fn latency(reader: &Reader, node: &Node) -> Vec<Expectation> {
    let fields = reader.map(node, "latency", &["pod-ready", "node-ready"]);
    let mut found = Vec::new();
    for (key, value) in fields.iter() {
        let of = if key.name == "pod-ready" { LatencyOf::PodReady } else { LatencyOf::NodeReady };
        if let Some((aggregate, compare, bound)) = reader.parsed(value, "latency", bound) {
            found.push(Expectation::Latency { of, aggregate, compare, bound });
        }
    }
    found
}

/// `p95 < 60s`, `max <= 2m`.
fn bound(text: &str) -> Result<(Aggregate, Compare, SignedDuration), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let help = || "write an aggregate, a comparison and a time: p95 < 60s, or max <= 2m".to_owned();
    let [aggregate, compare, time] = words.as_slice() else { return Err(help()) };
    let aggregate = match *aggregate {
        "max" => Aggregate::Max,
        other => {
            Aggregate::Percentile(other.strip_prefix('p').and_then(|n| n.parse().ok()).filter(|n| (1..=100).contains(n)).ok_or_else(help)?)
        }
    };
    Ok((aggregate, comparison(compare).ok_or_else(help)?, units::duration(time)?))
}

fn comparison(text: &str) -> Option<Compare> {
    Some(match text {
        "=" | "==" => Compare::Equal,
        "<=" => Compare::AtMost,
        ">=" => Compare::AtLeast,
        "<" => Compare::Less,
        ">" => Compare::More,
        _ => return None,
    })
}

fn count(reader: &Reader, node: &Node, what: &str) -> Option<Count> {
    reader.parsed(node, what, |text| {
        let help = || "write a whole number, or a comparison such as \"<= 4\"".to_owned();
        let split = text.find(|c: char| c.is_ascii_digit()).ok_or_else(help)?;
        let (sign, digits) = text.split_at(split);
        let compare = if sign.trim().is_empty() { Compare::Equal } else { comparison(sign.trim()).ok_or_else(help)? };
        Ok(Count { compare, value: digits.trim().parse().map_err(|_| help())? })
    })
}

fn aws(reader: &Reader, node: &Node) -> Vec<Expectation> {
    let fields = reader.map(node, "aws", &["denied", "calls"]);
    let mut found: Vec<Expectation> =
        fields.get("denied").and_then(|n| count(reader, n, "aws.denied")).map(Expectation::AwsDenied).into_iter().collect();
    if let Some(calls) = fields.get("calls") {
        let Kind::Map(entries) = &calls.kind else {
            reader.wrong(&calls.span, "aws.calls must map operations to numbers", "for example {CreateFleet: 1}".to_owned());
            return found;
        };
        for (key, value) in entries {
            super::catalogue::operation_named(reader, &key.name, &key.span);
            found.extend(count(reader, value, "aws.calls").map(|count| Expectation::AwsCalls { operation: key.name.clone(), count }));
        }
    }
    found
}

/// A mapping by objects.
fn by_object<'n>(reader: &Reader, node: &'n Node, what: &str, example: &str) -> Vec<(super::Target, &'n Node)> {
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(&node.span, format!("{what} must be a mapping by objects"), format!("for example {example}"));
        return Vec::new();
    };
    if entries.is_empty() {
        reader.wrong(&node.span, format!("{what} expects nothing"), format!("for example {example}"));
    }
    let mut found = Vec::new();
    for (key, value) in entries {
        match super::action::target(&key.name) {
            Some(object) => found.push((object, value)),
            None => reader.wrong(&key.span, format!("{:?} is no object", key.name), "write KIND/NAME or KIND/NAMESPACE/NAME".to_owned()),
        }
    }
    found
}

/// `[Ready]`: these are True; or a mapping of conditions to what each must say.
fn wanted(reader: &Reader, node: &Node) -> Vec<Condition> {
    let Kind::Map(entries) = &node.kind else {
        let is_true = |kind| Condition { kind, status: "True".to_owned(), reason: None };
        return reader.texts(node, "a condition").into_iter().map(is_true).collect();
    };
    let condition = |kind: &str, text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (status, reason) = match words.as_slice() {
            [status] => (*status, None),
            [status, "because", reason] => (*status, Some((*reason).to_owned())),
            _ => ("", None),
        };
        // YAML reads a bare True as a boolean, which comes here in lower case.
        let known = ["True", "False", "Unknown"].into_iter().find(|known| known.eq_ignore_ascii_case(status));
        let status = known.ok_or("write True, False or Unknown, and because REASON after it")?.to_owned();
        Ok(Condition { kind: kind.to_owned(), status, reason })
    };
    entries.iter().filter_map(|(key, value)| reader.parsed(value, "a condition", |text| condition(&key.name, text))).collect()
}
