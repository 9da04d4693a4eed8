//! `given.aws.spot`: what Spot costs, and how it moves. The same words change a cloud that runs.

use super::catalogue;
use super::fields::Reader;
use super::mistake::Mistakes;
use super::units;
use crate::world::machines::micro_usd;
use crate::yaml::{self, Kind, Node};
use fake_ec2::state::{Moves, SpotMarket, SpotPrice, Trace};
use jiff::Timestamp;
use std::path::Path;

/// Prices that are set, and how the others move.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spot {
    pub prices: Vec<SpotPrice>,
    pub market: SpotMarket,
}

impl Spot {
    /// Makes the cloud so; a trace begins now.
    pub fn set(&self, state: &mut fake_ec2::state::State, now: Timestamp) {
        state.settings_mut().spot_prices = self.prices.clone();
        state.set_spot_market(self.market.clone());
        state.begin_spot_trace(now);
    }
}

/// Where the trace of prices is.
#[derive(Clone, Copy, Debug)]
pub enum Traces<'a> {
    /// In a file, by its path from this folder.
    In(&'a Path),
    /// The text itself: who asks from outside has no folder here.
    Said,
}

/// The words by themselves, as YAML or JSON.
pub fn read(name: &str, text: &str, region: &str, traces: Traces<'_>) -> Result<Spot, Mistakes> {
    let reader = Reader { file: name.to_owned(), source: text.into(), mistakes: Default::default() };
    let mut found = Spot::default();
    match yaml::documents(text) {
        Err(broken) => reader.wrong(&broken.span, format!("not YAML: {}", broken.message), None),
        Ok(documents) => match documents.as_slice() {
            [one] => found = spot(&reader, traces, one, region),
            _ => reader.wrong(&(0..0), "one document is needed", "write moving, still, or {moves: 20%, …}".to_owned()),
        },
    }
    let mistakes = reader.mistakes.into_inner();
    if mistakes.is_empty() { Ok(found) } else { Err(Mistakes(mistakes)) }
}

/// `moving`, `still`, or a mapping.
pub(super) fn spot(reader: &Reader, traces: Traces<'_>, node: &Node, region: &str) -> Spot {
    let mut made = Spot::default();
    if !matches!(node.kind, Kind::Map(_)) {
        let moves = reader.parsed(node, "spot", |text| match text {
            "moving" => Ok(Some(Moves::default())),
            "still" => Ok(None),
            _ => Err("write moving, still, or a mapping with moves, every, prices, trace".to_owned()),
        });
        made.market.moves = moves.flatten();
        return made;
    }
    let fields = reader.map(node, "spot", &["prices", "moves", "every", "trace"]);
    let swing = fields.get("moves").and_then(|n| reader.parsed(n, "spot.moves", percent));
    let every = fields.get("every").and_then(|n| {
        reader.parsed(n, "spot.every", |text| {
            units::duration(text).and_then(|every| if every.as_secs() < 60 { Err("write a minute or more".to_owned()) } else { Ok(every) })
        })
    });
    if swing.is_some() || every.is_some() {
        let usual = Moves::default();
        made.market.moves = Some(Moves { swing: swing.unwrap_or(usual.swing), every: every.unwrap_or(usual.every) });
    }
    if let Some(node) = fields.get("trace") {
        made.market.trace = trace(reader, traces, node, region);
    }
    if let Some(node) = fields.get("prices") {
        made.prices = prices(reader, node, region);
    }
    made
}

fn percent(text: &str) -> Result<u64, String> {
    let parsed = text.strip_suffix('%').and_then(|digits| digits.parse::<f64>().ok()).filter(|percent| (0.0..=100.0).contains(percent));
    parsed.map(|percent| (percent * 10.0).round() as u64).ok_or_else(|| "write how far prices go from their middle, such as 20%".to_owned())
}

fn trace(reader: &Reader, traces: Traces<'_>, node: &Node, region: &str) -> Option<Trace> {
    let said = reader.text_of(node, "spot.trace")?;
    let (name, text) = match traces {
        Traces::Said => ("the trace".to_owned(), said),
        Traces::In(folder) => {
            let path = folder.join(&said);
            match std::fs::read_to_string(&path) {
                Ok(text) => (path.display().to_string(), text),
                Err(error) => {
                    reader.wrong(
                        &node.span,
                        format!("{} cannot be read: {error}", path.display()),
                        "write a file's path from here".to_owned(),
                    );
                    return None;
                }
            }
        }
    };
    match Trace::read(&name, &text, region) {
        Ok(trace) => Some(trace),
        Err(error) => {
            let place = if error.line == 0 { error.file.clone() } else { format!("{}, line {}", error.file, error.line) };
            reader.wrong(&node.span, format!("{place}: {}", error.why), error.remedy);
            None
        }
    }
}

/// `{m5.large: $0.03, c5.large: {us-west-2a: $0.04}}`.
fn prices(reader: &Reader, node: &Node, region: &str) -> Vec<SpotPrice> {
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(&node.span, "spot.prices must map instance types to prices", "for example {m5.large: $0.03}".to_owned());
        return Vec::new();
    };
    let mut found = Vec::new();
    for (key, value) in entries {
        let named = Node { kind: Kind::Text(key.name.clone()), span: key.span.clone() };
        let Some(name) = catalogue::types(reader, &named, region).pop() else { continue };
        let mut add = |zone: Option<String>, value: &Node| {
            if let Some(price) = reader.parsed(value, "price", units::money) {
                found.push(SpotPrice { instance_type: name.clone(), zone, per_hour: micro_usd(price) });
            }
        };
        match &value.kind {
            Kind::Map(zones) => {
                for (key, value) in zones {
                    let named = Node { kind: Kind::Text(key.name.clone()), span: key.span.clone() };
                    add(catalogue::zones(reader, &named, region).pop(), value);
                }
            }
            _ => add(None, value),
        }
    }
    found
}
