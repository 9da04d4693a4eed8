//! `fault`: what the cloud does to the story.

use super::catalogue;
use super::change::{self, Change};
use super::fields::{Fields, Reader};
use super::mistake::{Mistakes, Site};
use super::problem::{self, Problem};
use super::select::{self, Nodes};
use super::units;
use crate::yaml::{self, Kind, Node};
use fake_ec2::state::{Delay, Only};
use jiff::SignedDuration;

/// One fault, and where it stands: that it matches nothing may show only when it happens.
#[derive(Clone, Debug)]
pub struct Fault {
    pub what: What,
    /// Whose calls it meets; the first account's if nobody is named.
    pub account: Option<String>,
    pub site: Site,
    /// One-based.
    pub line: usize,
}

#[derive(Clone, Debug)]
pub enum What {
    /// In force from now on.
    Force { force: Force, lasting: Option<SignedDuration>, times: Option<u64> },
    /// Happens to nodes' machines.
    Blow { blow: Blow, nodes: Nodes },
    /// Nodes are broken, and say so.
    NodeProblem { problem: Problem, nodes: Nodes },
    /// Comes into a queue; the interruption queue unless it is named.
    Message { queue: Option<String>, body: Body, times: u64 },
    /// AWS publishes new images.
    ImageRelease,
    /// The cloud is otherwise from now on.
    Change(Change),
    /// Ends what is in force, by the word that began it.
    Lift(Vec<String>),
}

/// What stays in force until its time is over or it is lifted.
#[derive(Clone, Debug, PartialEq)]
pub enum Force {
    /// No capacity; empty lists mean all.
    Ice { types: Vec<String>, zones: Vec<String>, capacity: Vec<String> },
    Error {
        operation: String,
        code: String,
        message: String,
        only: Only,
        /// The operation is done, and its answer is lost.
        after: bool,
    },
    /// Replies come later.
    Slow { operation: String, by: Delay, only: Only },
    /// Pages hold at most so many items.
    ShortPages { operation: String, most: u64 },
    /// A token bucket over the operations together.
    Throttle { operation: String, burst: u64, per_second: u64, per_instance: bool },
    /// Zones are down.
    ZoneDown { zones: Vec<String> },
    /// IAM denies these actions.
    Deny { actions: Vec<String> },
    /// What becomes of events on their way; no kinds mean all.
    Events { kinds: Vec<String>, does: fake_ec2::state::Disturbance },
    /// Befalls each machine that is launched from now on and that the selector means, so long after it runs.
    Fate { blow: Blow, nodes: Nodes, after: Delay, permille: Option<u64> },
    /// AWS publishes new images again and again.
    Releases { every: SignedDuration },
    /// What Spot costs; empty lists mean all.
    SpotPrice { types: Vec<String>, zones: Vec<String>, price: fake_ec2::state::SpotPriceIs },
}

impl Force {
    pub fn word(&self) -> &'static str {
        match self {
            Force::Ice { .. } => "ice",
            Force::Error { .. } => "error",
            Force::Slow { .. } => "slow",
            Force::ShortPages { .. } => "short-pages",
            Force::Throttle { .. } => "throttle",
            Force::Deny { .. } => "deny",
            Force::ZoneDown { .. } => "az-down",
            Force::SpotPrice { .. } => "spot-price",
            Force::Events { .. } => "events",
            Force::Fate { blow, .. } => blow.word(),
            Force::Releases { .. } => "ami-release",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Blow {
    /// The warning now, the end after this notice.
    SpotInterruption {
        notice: SignedDuration,
    },
    Rebalance,
    /// Terminated by somebody, or lost with its host.
    Vanish {
        hardware: bool,
    },
    /// AWS Health announces what will be done to the machine after the notice.
    HealthEvent {
        event: fake_ec2::state::maintenance::Maintenance,
        notice: SignedDuration,
    },
    /// A status check fails from now on.
    Impaired {
        check: fake_ec2::state::instance::Check,
    },
}

impl Blow {
    pub fn word(self) -> &'static str {
        match self {
            Blow::SpotInterruption { .. } => "spot-interruption",
            Blow::Rebalance => "rebalance",
            Blow::Vanish { .. } => "vanish",
            Blow::HealthEvent { .. } => "health-event",
            Blow::Impaired { .. } => "impaired",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Text(String),
    DuplicateOfLast,
    Foreign,
}

const FORCES: [&str; 15] = [
    "ice",
    "error",
    "throttle",
    "deny",
    "az-down",
    "spot-price",
    "events",
    "slow",
    "short-pages",
    "spot-interruption",
    "rebalance",
    "vanish",
    "health-event",
    "impaired",
    "ami-release",
];
/// Every word: what stays in force or befalls machines, what changes, and the rest.
pub(crate) fn words() -> Vec<&'static str> {
    FORCES.into_iter().chain(change::WORDS).chain(["node-problem", "message", "lift"]).collect()
}

/// A fault is a mapping by its word; several words in one mapping, or several mappings in a list, happen in their order.
pub(super) fn faults(reader: &Reader, node: &Node, region: &str) -> Vec<Fault> {
    let mut found = Vec::new();
    for item in reader.list(node) {
        let known: Vec<&str> = words().into_iter().chain(["account"]).collect();
        let fields = reader.map(item, "fault", &known);
        let named = fields.get("account");
        let account = named.and_then(|n| reader.parsed(n, "account", account));
        for (key, value) in fields.iter().filter(|(key, _)| key.name != "account") {
            let Some(what) = one(reader, &key.name, value, region) else { continue };
            if let Some(named) = named.filter(|_| !matches!(what, What::Force { .. })) {
                reader.wrong(
                    &named.span,
                    format!("{} is of the first account", key.name),
                    "account belongs to what stays in force".to_owned(),
                );
            }
            let span = key.span.start..value.span.end;
            found.push(Fault { what, account: account.clone(), site: reader.site(&span), line: reader.line(&span) });
        }
    }
    if found.is_empty() && reader.mistakes.borrow().is_empty() {
        reader.wrong(&node.span, "a fault without a word", format!("write one of {}", words().join(", ")));
    }
    found
}

fn account(text: &str) -> Result<String, String> {
    if fake_ec2::state::is_account(text) { Ok(text.to_owned()) } else { Err("write an account's twelve digits, in quotes".to_owned()) }
}

/// Faults that stand alone, as YAML or JSON, in a region.
pub fn read(name: &str, text: &str, region: &str) -> Result<Vec<Fault>, Mistakes> {
    let reader = Reader { file: name.to_owned(), source: text.into(), mistakes: Default::default() };
    let mut found = Vec::new();
    match yaml::documents(text) {
        Err(broken) => reader.wrong(&broken.span, format!("not YAML: {}", broken.message), None),
        Ok(documents) if documents.is_empty() => reader.wrong(&(0..0), "no fault", format!("write one of {}", words().join(", "))),
        Ok(documents) => documents.iter().for_each(|document| found.extend(faults(&reader, document, region))),
    }
    let mistakes = reader.mistakes.into_inner();
    if mistakes.is_empty() { Ok(found) } else { Err(Mistakes(mistakes)) }
}

/// Faults of the world before the story: only what stays in force, since nothing runs yet.
pub(super) fn standing(reader: &Reader, node: &Node, region: &str) -> Vec<Fault> {
    let found = faults(reader, node, region);
    for fault in &found {
        if !matches!(fault.what, What::Force { .. }) {
            reader.wrong(
                &fault.site.span,
                "nothing runs yet that this could happen to",
                format!(
                    "given.aws.faults takes {}. What befalls machines needs after, ami-release needs every; the others belong to a step",
                    FORCES.join(", ")
                ),
            );
        }
    }
    found
}

fn one(reader: &Reader, word: &str, node: &Node, region: &str) -> Option<What> {
    match word {
        "ice" => {
            let fields = reader.map(node, "ice", &["types", "zones", "capacity", "for"]);
            let force = Force::Ice {
                types: fields.get("types").map(|n| catalogue::types(reader, n, region)).unwrap_or_default(),
                zones: fields.get("zones").map(|n| catalogue::zones(reader, n, region)).unwrap_or_default(),
                capacity: fields.get("capacity").map(|n| catalogue::capacity(reader, n)).unwrap_or_default(),
            };
            offered_somewhere(reader, node, &force, region);
            Some(What::Force { force, lasting: lasting(reader, &fields), times: None })
        }
        "error" => {
            let fields = reader.map(node, "error", &["operation", "code", "message", "with", "chance", "after", "times", "for"]);
            let operation = needed(reader, node, &fields, "error", "operation").and_then(|n| catalogue::operation(reader, n))?;
            let code = needed(reader, node, &fields, "error", "code").and_then(|n| reader.text_of(n, "code"))?;
            let message = fields.get("message").and_then(|n| reader.text_of(n, "message"));
            let message = message.unwrap_or_else(|| format!("{code}, as the scenario has it."));
            let times = fields.get("times").and_then(|n| positive(reader, n, "times"));
            let after = fields.get("after").is_some_and(|n| reader.text_of(n, "after").as_deref() == Some("true"));
            let force = Force::Error { operation, code, message, only: only(reader, &fields), after };
            Some(What::Force { force, lasting: lasting(reader, &fields), times })
        }
        "slow" => {
            let fields = reader.map(node, "slow", &["operation", "by", "with", "chance", "times", "for"]);
            let operation = needed(reader, node, &fields, "slow", "operation").and_then(|n| catalogue::operation(reader, n))?;
            let by = needed(reader, node, &fields, "slow", "by").and_then(|n| change::delay(reader, n, "slow.by"))?;
            let times = fields.get("times").and_then(|n| positive(reader, n, "times"));
            let force = Force::Slow { operation, by, only: only(reader, &fields) };
            Some(What::Force { force, lasting: lasting(reader, &fields), times })
        }
        "short-pages" => {
            let fields = reader.map(node, "short-pages", &["operation", "most", "times", "for"]);
            let operation = needed(reader, node, &fields, "short-pages", "operation").and_then(|n| catalogue::operation(reader, n))?;
            let most = needed(reader, node, &fields, "short-pages", "most").and_then(|n| reader.whole(n, "short-pages.most"))?;
            let times = fields.get("times").and_then(|n| positive(reader, n, "times"));
            Some(What::Force { force: Force::ShortPages { operation, most }, lasting: lasting(reader, &fields), times })
        }
        "throttle" => {
            let fields = reader.map(node, "throttle", &["operation", "burst", "rate", "per", "for"]);
            let operation = needed(reader, node, &fields, "throttle", "operation").and_then(|n| catalogue::operation(reader, n))?;
            let burst = fields.get("burst").and_then(|n| positive(reader, n, "burst")).unwrap_or(1);
            let per_second = fields.get("rate").and_then(|n| reader.parsed(n, "rate", rate)).unwrap_or(0);
            let per = |text: &str| match text {
                "request" => Ok(false),
                "instance" => Ok(true),
                _ => Err("write request or instance".to_owned()),
            };
            let per_instance = fields.get("per").and_then(|n| reader.parsed(n, "throttle.per", per)).unwrap_or(false);
            let force = Force::Throttle { operation, burst, per_second, per_instance };
            Some(What::Force { force, lasting: lasting(reader, &fields), times: None })
        }
        "deny" => {
            let fields = reader.map(node, "deny", &["actions", "times", "for"]);
            let node = needed(reader, node, &fields, "deny", "actions")?;
            let actions = reader.list(node).into_iter().filter_map(|n| reader.parsed(n, "deny.actions", action)).collect();
            let times = fields.get("times").and_then(|n| positive(reader, n, "times"));
            Some(What::Force { force: Force::Deny { actions }, lasting: lasting(reader, &fields), times })
        }
        "az-down" => {
            let fields = reader.map(node, "az-down", &["zones", "for"]);
            let zones = needed(reader, node, &fields, "az-down", "zones").map(|n| catalogue::zones(reader, n, region))?;
            Some(What::Force { force: Force::ZoneDown { zones }, lasting: lasting(reader, &fields), times: None })
        }
        "spot-price" => {
            let fields = reader.map(node, "spot-price", &["types", "zones", "price", "for"]);
            let price =
                needed(reader, node, &fields, "spot-price", "price").and_then(|n| reader.parsed(n, "spot-price.price", spot_price))?;
            let types = fields.get("types").map(|n| catalogue::types(reader, n, region)).unwrap_or_default();
            let zones = fields.get("zones").map(|n| catalogue::zones(reader, n, region)).unwrap_or_default();
            let force = Force::SpotPrice { types, zones, price };
            offered_somewhere(reader, node, &force, region);
            Some(What::Force { force, lasting: lasting(reader, &fields), times: None })
        }
        "events" => events(reader, node),
        "ami-release" => {
            let fields = reader.map(node, "ami-release", &["every", "times", "for"]);
            let Some(every) = fields.get("every") else { return Some(What::ImageRelease) };
            let every = reader.parsed(every, "ami-release.every", |text| {
                units::duration(text)
                    .and_then(|every| if every.as_secs() < 60 { Err("write a minute or more".to_owned()) } else { Ok(every) })
            })?;
            let times = fields.get("times").and_then(|n| positive(reader, n, "times"));
            Some(What::Force { force: Force::Releases { every }, lasting: lasting(reader, &fields), times })
        }
        "message" => message(reader, node),
        "lift" => {
            let known = |item: &&Node| {
                reader.text_of(item, "lift").is_some_and(|word| {
                    let known = FORCES.contains(&word.as_str());
                    if !known {
                        reader.wrong(&item.span, format!("{word:?} cannot be lifted"), super::fields::suggest(&word, &FORCES));
                    }
                    known
                })
            };
            let items: Vec<&Node> = reader.list(node).into_iter().filter(known).collect();
            Some(What::Lift(items.into_iter().filter_map(|item| reader.text_of(item, "lift")).collect()))
        }
        _ if change::WORDS.contains(&word) => change::read(reader, word, node, region).map(What::Change),
        "node-problem" => problem::read(reader, node, region),
        _ => blow(reader, word, node, region),
    }
}

/// Which of an operation's calls are meant: `with: { InstanceType: m5.* }`, `chance: 25%`.
fn only(reader: &Reader, fields: &Fields<'_>) -> Only {
    let with = match fields.get("with").map(|n| &n.kind) {
        Some(Kind::Map(entries)) => {
            entries.iter().filter_map(|(key, value)| Some((key.name.clone(), reader.text_of(value, "with")?))).collect()
        }
        Some(_) => {
            if let Some(node) = fields.get("with") {
                reader.wrong(
                    &node.span,
                    "with must map members of the request to values",
                    "for example {InstanceType: m5.large}".to_owned(),
                );
            }
            Default::default()
        }
        None => Default::default(),
    };
    Only { with, permille: fields.get("chance").and_then(|n| reader.parsed(n, "chance", percent)) }
}

/// Kinds of events by their words here, and as EventBridge calls them.
const EVENTS: [(&str, &str); 4] = [
    ("spot-interruption", "EC2 Spot Instance Interruption Warning"),
    ("rebalance", "EC2 Instance Rebalance Recommendation"),
    ("health-event", "AWS Health Event"),
    ("state-change", "EC2 Instance State-change Notification"),
];

fn events(reader: &Reader, node: &Node) -> Option<What> {
    use fake_ec2::state::Disturbance;
    let fields = reader.map(node, "events", &["kind", "do", "by", "times", "for"]);
    let kind = |n: &Node| {
        reader.parsed(n, "events.kind", |text| {
            let known = EVENTS.iter().find(|(word, _)| *word == text).map(|(_, kind)| (*kind).to_owned());
            known.ok_or_else(|| format!("write one of {}", EVENTS.map(|(word, _)| word).join(", ")))
        })
    };
    let kinds: Vec<String> = fields.get("kind").map(|n| reader.list(n)).unwrap_or_default().into_iter().filter_map(kind).collect();
    let by = fields.get("by").and_then(|n| reader.parsed(n, "events.by", units::duration));
    let does = needed(reader, node, &fields, "events", "do").and_then(|n| {
        reader.parsed(n, "events.do", |text| match (text, by) {
            ("drop", None) => Ok(Disturbance::Drop),
            ("duplicate", None) => Ok(Disturbance::Duplicate),
            ("drop" | "duplicate", Some(_)) => Err("by belongs to delay and reorder".to_owned()),
            ("delay", by) => Ok(Disturbance::Delay { by: by.unwrap_or(SignedDuration::from_mins(1)) }),
            ("reorder", by) => Ok(Disturbance::Reorder { within: by.unwrap_or(SignedDuration::from_secs(30)) }),
            _ => Err("write drop, duplicate, delay or reorder".to_owned()),
        })
    })?;
    let times = fields.get("times").and_then(|n| positive(reader, n, "times"));
    Some(What::Force { force: Force::Events { kinds, does }, lasting: lasting(reader, &fields), times })
}

fn blow(reader: &Reader, word: &str, node: &Node, region: &str) -> Option<What> {
    let own: &[&str] = match word {
        "spot-interruption" => &["notice"],
        "vanish" => &["cause"],
        "impaired" => &["check"],
        "health-event" => &["event", "notice"],
        "rebalance" => &[],
        _ => return None,
    };
    let known: Vec<&str> = ["nodes", "count", "after", "chance", "times", "for"].iter().chain(own).copied().collect();
    let fields = reader.map(node, word, &known);
    let notice = fields.get("notice").and_then(|n| reader.parsed(n, "notice", units::duration));
    let blow = match word {
        "spot-interruption" => Blow::SpotInterruption { notice: notice.unwrap_or(fake_ec2::state::incident::SPOT_NOTICE) },
        "rebalance" => Blow::Rebalance,
        "vanish" => Blow::Vanish {
            hardware: fields.get("cause").and_then(|n| {
                reader.parsed(n, "cause", |text| match text {
                    "terminated" => Ok(false),
                    "hardware-failure" => Ok(true),
                    _ => Err("write terminated or hardware-failure".to_owned()),
                })
            }) == Some(true),
        },
        "impaired" => Blow::Impaired {
            check: fields.get("check").and_then(|n| reader.parsed(n, "check", check)).unwrap_or(fake_ec2::state::instance::Check::Instance),
        },
        _ => Blow::HealthEvent {
            event: fields.get("event").and_then(|n| reader.parsed(n, "event", |text| text.parse())).unwrap_or_default(),
            notice: notice.unwrap_or(fake_ec2::state::maintenance::MAINTENANCE_NOTICE),
        },
    };
    let mut nodes = select::nodes(reader, fields.get("nodes"), fields.get("count"), &format!("{word}.nodes"), region);
    if matches!(blow, Blow::SpotInterruption { .. } | Blow::Rebalance) {
        if nodes.capacity.iter().any(|kind| kind != "spot") {
            reader.wrong(&node.span, "EC2 takes back Spot instances only", "leave capacity out, or write capacity: spot".to_owned());
        }
        nodes.capacity = vec!["spot".to_owned()];
    }
    let Some(after) = fields.get("after") else {
        for name in ["chance", "times", "for"] {
            if let Some(node) = fields.get(name) {
                reader.wrong(&node.span, format!("{name} belongs to what comes after each launch"), "write after: 10m".to_owned());
            }
        }
        return Some(What::Blow { blow, nodes });
    };
    if nodes.count != select::HowMany::default() {
        reader.wrong(&after.span, "of machines to come no count can be told", "write times, or leave count out".to_owned());
    }
    let after = change::delay(reader, after, &format!("{word}.after"))?;
    let permille = fields.get("chance").and_then(|n| reader.parsed(n, "chance", percent));
    let times = fields.get("times").and_then(|n| positive(reader, n, "times"));
    Some(What::Force { force: Force::Fate { blow, nodes, after, permille }, lasting: lasting(reader, &fields), times })
}

fn message(reader: &Reader, node: &Node) -> Option<What> {
    let named = |word: &str| match word {
        "foreign" => Ok(Body::Foreign),
        "duplicate-of-last" => Ok(Body::DuplicateOfLast),
        _ => Err("write foreign, duplicate-of-last, or {body: \"…\"}".to_owned()),
    };
    if matches!(node.kind, Kind::Text(_)) {
        return reader.parsed(node, "message", named).map(|body| What::Message { queue: None, body, times: 1 });
    }
    let fields = reader.map(node, "message", &["body", "is", "times", "queue"]);
    let queue = fields.get("queue").and_then(|n| reader.text_of(n, "queue"));
    let times = fields.get("times").and_then(|n| positive(reader, n, "times")).unwrap_or(1);
    let body = match (fields.get("body"), fields.get("is")) {
        (Some(body), None) => Body::Text(match &body.kind {
            Kind::Map(_) | Kind::List(_) => body.to_json().to_string(),
            _ => reader.text_of(body, "body")?,
        }),
        (None, Some(word)) => reader.parsed(word, "message.is", named)?,
        _ => {
            reader.wrong(&node.span, "a message has either a body or a word for it", "write {body: \"…\"} or {is: foreign}".to_owned());
            return None;
        }
    };
    Some(What::Message { queue, body, times })
}

/// `25%`, in thousandths.
fn percent(text: &str) -> Result<u64, String> {
    let share = text.strip_suffix('%').and_then(|digits| digits.parse::<f64>().ok()).filter(|share| (0.0..=100.0).contains(share));
    share.map(|share| (share * 10.0).round() as u64).ok_or_else(|| "write a share such as 25%".to_owned())
}

fn lasting(reader: &Reader, fields: &Fields<'_>) -> Option<SignedDuration> {
    fields.get("for").and_then(|n| reader.parsed(n, "for", units::duration))
}

fn needed<'n>(reader: &Reader, node: &Node, fields: &Fields<'n>, what: &str, name: &str) -> Option<&'n Node> {
    let found = fields.get(name);
    if found.is_none() {
        reader.wrong(&node.span, format!("{what} needs {name}"), None);
    }
    found
}

fn positive(reader: &Reader, node: &Node, what: &str) -> Option<u64> {
    reader.parsed(node, what, |text| text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "write a whole number from 1 on".to_owned()))
}

/// `ec2:CreateFleet`, `ec2:Describe*`: an action of a service that the cloud has.
fn action(text: &str) -> Result<String, String> {
    let help = || "write an action of IAM, such as ec2:CreateFleet or ec2:Describe*".to_owned();
    let (service, name) = text.split_once(':').ok_or_else(help)?;
    let known = match name.strip_suffix('*') {
        Some(prefix) => !prefix.contains('*') && fake_ec2::policy::reference::actions(service).any(|known| known.starts_with(prefix)),
        None => fake_ec2::policy::reference::action(service, name).is_some(),
    };
    if known { Ok(text.to_owned()) } else { Err(help()) }
}

fn check(text: &str) -> Result<fake_ec2::state::instance::Check, String> {
    use fake_ec2::state::instance::Check;
    match text {
        "instance" => Ok(Check::Instance),
        "system" => Ok(Check::System),
        "attached-ebs" => Ok(Check::AttachedEbs),
        _ => Err("write instance, system or attached-ebs".to_owned()),
    }
}

/// `2/s`; `0/s` never refills.
fn rate(text: &str) -> Result<u64, String> {
    let help = || "write calls per second, such as 2/s".to_owned();
    text.strip_suffix("/s").and_then(|digits| digits.parse().ok()).ok_or_else(help)
}

/// `$0.05`, or `x2` of what it would be.
fn spot_price(text: &str) -> Result<fake_ec2::state::SpotPriceIs, String> {
    use fake_ec2::state::SpotPriceIs;
    match text.strip_prefix('x') {
        Some(_) => units::factor(text).map(|factor| SpotPriceIs::Permille((factor * 1000.0).round() as u64)),
        None => units::money(text).map(|price| SpotPriceIs::PerHour(crate::world::machines::micro_usd(price))),
    }
    .map_err(|_| "write a price per hour such as $0.05, or a factor such as x2".to_owned())
}

/// A type and a zone that are each known may still be no pool together.
fn offered_somewhere(reader: &Reader, node: &Node, force: &Force, region: &str) {
    let (Force::Ice { types, zones, .. } | Force::SpotPrice { types, zones, .. }, Some(region)) =
        (force, fake_ec2::catalogue::region(region))
    else {
        return;
    };
    if types.is_empty() || zones.is_empty() {
        return;
    }
    let known = |name: &String| !region.offerings_of(name).is_empty();
    let pool = |name: &String| region.offerings_of(name).iter().any(|offering| zones.iter().any(|zone| zone == offering.zone.name));
    for name in types.iter().filter(|name| known(name) && !pool(name)) {
        let at: Vec<&str> = region.offerings_of(name).iter().map(|offering| offering.zone.name).collect();
        reader.wrong(&node.span, format!("{name} is not offered in {}", zones.join(", ")), format!("it is in {}", at.join(", ")));
    }
}
