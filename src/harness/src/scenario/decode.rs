//! From YAML to a [`Scenario`].

use super::fields::Reader;
use super::mistake::Mistakes;
use super::{Action, Mode, OnWire, Placed, Scenario, Step, action, expect, fault, given, units};
use crate::invariants::Rule;
use crate::yaml::{self, Kind, Node};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub fn scenario(path: &Path, source: &Arc<str>) -> Result<Scenario, Mistakes> {
    let reader = Reader { file: path.display().to_string(), source: source.clone(), mistakes: Default::default() };
    let made = document(&reader).map(|node| decode(&reader, path, &node));
    let mistakes = reader.mistakes.into_inner();
    match made {
        Some(scenario) if mistakes.is_empty() => Ok(scenario),
        _ => Err(Mistakes(mistakes)),
    }
}

fn document(reader: &Reader) -> Option<Node> {
    match yaml::documents(&reader.source) {
        Err(broken) => reader.wrong(&broken.span, format!("not YAML: {}", broken.message), None),
        Ok(mut documents) if documents.len() == 1 => return documents.pop(),
        Ok(documents) if documents.is_empty() => {
            reader.wrong(&(0..0), "the file is empty", "a scenario begins with `scenario: a-name`".to_owned())
        }
        Ok(documents) => reader.wrong(&documents[1].span, "one scenario a file: here begins a second document", None),
    }
    None
}

fn decode(reader: &Reader, path: &Path, node: &Node) -> Scenario {
    let folder = path.parent().unwrap_or(Path::new("."));
    let known = ["scenario", "about", "tags", "source", "seed", "given", "steps", "always", "without", "on"];
    let fields = reader.map(node, "the scenario", &known);
    let text = |name: &str| fields.get(name).and_then(|n| reader.text_of(n, name));
    let name = text("scenario").unwrap_or_else(|| {
        if fields.get("scenario").is_none() {
            reader.wrong(&(node.span.start..node.span.start + 1), "the scenario has no name", "begin with `scenario: a-name`".to_owned());
        }
        String::new()
    });
    let given = given::given(reader, folder, fields.get("given"));
    let steps = fields.get("steps").map(|n| reader.list(n)).unwrap_or_default();
    let steps: Vec<Step> = steps.into_iter().map(|n| step(reader, folder, n, &given.aws.region)).collect();
    if steps.is_empty() {
        reader.wrong(
            &(node.span.start..node.span.start + 1),
            "the scenario has no steps",
            "add `steps:` with at least one `- expect:`".to_owned(),
        );
    }
    text("source");
    Scenario {
        path: path.to_path_buf(),
        name,
        about: text("about").unwrap_or_default(),
        tags: fields.get("tags").map(|n| reader.texts(n, "tags")).unwrap_or_default(),
        seed: fields.get("seed").and_then(|n| reader.whole(n, "seed")).unwrap_or(1),
        given,
        steps,
        always: fields.get("always").map(|n| expect::always(reader, n)).unwrap_or_default(),
        without: fields.get("without").map(|n| without(reader, n)).unwrap_or_default(),
        on_wire: fields.get("on").map(|n| on(reader, n)).unwrap_or_default(),
    }
}

fn step(reader: &Reader, folder: &Path, node: &Node, region: &str) -> Step {
    let fields = reader.map(node, "a step", &["do", "fault", "within", "until", "expect", "never"]);
    let actions = fields.get("do").map(|n| reader.list(n)).unwrap_or_default();
    let placed = |n: &Node| {
        Some(Placed { value: action::action(reader, folder, n, region)?, text: reader.text(&n.span), line: reader.line(&n.span) })
    };
    let mut actions: Vec<Placed<Action>> = actions.into_iter().filter_map(placed).collect();
    let faults = fields.get("fault").map(|n| fault::faults(reader, n, region)).unwrap_or_default();
    actions.extend(faults.into_iter().map(|fault| {
        let (text, line) = (format!("fault: {}", reader.text(&fault.site.span)), fault.line);
        Placed { value: Action::Fault(fault), text, line }
    }));
    let block = |name: &str| fields.get(name).map(|n| expect::expectations(reader, n, name)).unwrap_or_default();
    if ["do", "fault", "until", "expect", "never"].iter().all(|name| fields.get(name).is_none()) {
        let help = "add do, fault, until, expect or never".to_owned();
        reader.wrong(&(node.span.start..node.span.start + 1), "a step that does and expects nothing", help);
    }
    if let (Some(_), Some(until)) = (fields.get("within"), fields.get("until")) {
        let help = "within waits for the world to settle, until ends the step at its time in any case: keep one of them".to_owned();
        reader.wrong(&until.span, "within and until in one step", help);
    }
    Step {
        actions,
        within: fields.get("within").and_then(|n| reader.parsed(n, "within", units::duration)),
        until: fields.get("until").and_then(|n| reader.parsed(n, "until", units::duration)),
        expect: block("expect"),
        never: block("never"),
    }
}

/// What always holds is switched off by name, and with a reason.
fn without(reader: &Reader, node: &Node) -> BTreeMap<Rule, String> {
    let fields = reader.map(node, "without", &Rule::NAMES);
    let mut made = BTreeMap::new();
    for (key, value) in fields.iter() {
        let Some(rule) = Rule::by_name(&key.name) else { continue };
        match &value.kind {
            Kind::Text(why) if !why.trim().is_empty() => _ = made.insert(rule, why.trim().to_owned()),
            _ => {
                let help = format!("write `{}: \"why it need not hold here\"`; it says: {}", key.name, rule.says());
                reader.wrong(&key.span, format!("without.{} needs a reason", key.name), help);
            }
        }
    }
    made
}

fn on(reader: &Reader, node: &Node) -> OnWire {
    let mut made = OnWire::default();
    let fields = reader.map(node, "on", &["wire"]);
    let Some(node) = fields.get("wire") else { return made };
    let fields = reader.map(node, "on.wire", &["boot", "within", "latency"]);
    if let Some(node) = fields.get("boot") {
        made.boot = given::boot(reader, node, "on.wire.boot");
    }
    made.within = fields.get("within").and_then(|n| reader.parsed(n, "on.wire.within", units::factor));
    made.latency = fields.get("latency").and_then(|n| reader.parsed(n, "on.wire.latency", units::factor));
    made
}

impl Scenario {
    /// Boot times of a mode: from launch to the Node, from there to Ready, and from there until devices are announced.
    pub fn boot(&self, mode: Mode) -> (given::Span, jiff::SignedDuration, jiff::SignedDuration) {
        let aws = &self.given.aws;
        let own = if mode == Mode::Wire { self.on_wire.boot.clone() } else { given::Boot::default() };
        (own.registered.unwrap_or(aws.registered), own.ready.unwrap_or(aws.ready), own.devices.unwrap_or(aws.devices))
    }

    /// The deadline of a step in a mode; ten minutes unless it says otherwise.
    pub fn within(&self, step: &Step, mode: Mode) -> jiff::SignedDuration {
        let base = step.within.unwrap_or(jiff::SignedDuration::from_mins(10));
        match (mode, self.on_wire.within) {
            (Mode::Wire, Some(factor)) => {
                jiff::SignedDuration::try_from_secs_f64(base.as_secs_f64() * factor).unwrap_or(jiff::SignedDuration::MAX)
            }
            _ => base,
        }
    }

    pub fn latency_factor(&self, mode: Mode) -> f64 {
        if mode == Mode::Wire { self.on_wire.latency.unwrap_or(1.0) } else { 1.0 }
    }
}
