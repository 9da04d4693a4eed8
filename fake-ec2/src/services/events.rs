//! EventBridge: rules on the default bus, with queues as targets.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::input::{Members, Out, Read};
use super::page;
use super::{Answer, errors};
use crate::protocol::{AwsError, Call};
use crate::state::bus::{self, BadSchedule, BusRule, Target};
use crate::state::{World, pattern, transform};

const BUS: &str = "default";

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    check_bus(&call.input)?;
    match call.operation {
        "DeleteRule" => delete_rule(world, call),
        "DescribeRule" => Ok(render(named(world, &call.input, "Name")?)),
        "DisableRule" => switch(world, call, false),
        "EnableRule" => switch(world, call, true),
        "ListRuleNamesByTarget" => rule_names(world, call),
        "ListRules" => list_rules(world, call),
        "ListTargetsByRule" => list_targets(world, call),
        "PutEvents" => put_events(world, call),
        "PutRule" => put_rule(world, call),
        "PutTargets" => put_targets(world, call),
        "RemoveTargets" => remove_targets(world, call),
        _ => Err(errors::unsupported(call)),
    }
}

fn check_bus(input: &Members) -> Result<(), AwsError> {
    match input.text("EventBusName") {
        Some(bus) if bus != BUS && !bus.ends_with(":event-bus/default") => Err(errors::NO_BUS.error(&[bus])),
        _ => Ok(()),
    }
}

fn named<'a>(world: &'a mut World<'_>, input: &Members, member: &str) -> Result<&'a mut BusRule, AwsError> {
    let name = input.text(member).unwrap_or_default();
    world.region.bus.rules.get_mut(name).ok_or_else(|| errors::NO_RULE.error(&[name, BUS]))
}

fn render(rule: &BusRule) -> Value {
    Out::new()
        .with("Name", rule.name.clone())
        .with("Arn", rule.arn.clone())
        .maybe("EventPattern", rule.pattern.as_ref().map(Value::to_string))
        .maybe("ScheduleExpression", rule.schedule.clone())
        .with("State", if rule.enabled { "ENABLED" } else { "DISABLED" })
        .maybe("Description", rule.description.clone())
        .with("EventBusName", BUS)
        .done()
}

fn put_rule(world: &mut World<'_>, call: &Call) -> Answer {
    let name = call.input.text("Name").unwrap_or_default();
    let schedule = call.input.text("ScheduleExpression").map(str::to_owned);
    let pattern = match call.input.text("EventPattern") {
        None => None,
        Some(text) => {
            let pattern: Value = serde_json::from_str(text).map_err(|_| errors::PATTERN.error(&["Invalid JSON"]))?;
            if let Some(fault) = pattern::fault(&pattern) {
                return Err(errors::PATTERN.error(&[&fault]));
            }
            Some(pattern)
        }
    };
    if schedule.is_none() && pattern.is_none() {
        return Err(errors::RULE_EMPTY.error(&[]));
    }
    match schedule.as_deref().map(bus::rate) {
        Some(Err(BadSchedule::Nonsense)) => return Err(errors::SCHEDULE.error(&[])),
        Some(Err(BadSchedule::Cron)) => return Err(errors::SCHEDULE_CRON.error(&[])),
        Some(Ok(_)) | None => {}
    }
    let arn = world.account.arn("events", &world.region.name, &format!("rule/{name}"));
    let held = world.region.bus.rules.remove(name);
    let (targets, tags, deliveries) = held.map_or_else(Default::default, |held| (held.targets, held.tags, held.deliveries));
    let rule = BusRule {
        name: name.to_owned(),
        arn: arn.clone(),
        pattern,
        schedule,
        fires: None,
        description: call.input.text("Description").map(str::to_owned),
        enabled: call.input.text("State") != Some("DISABLED"),
        tags,
        targets,
        deliveries,
    };
    world.region.bus.rules.insert(name.to_owned(), rule);
    bus::wind(world, name);
    Ok(json!({"RuleArn": arn}))
}

fn delete_rule(world: &mut World<'_>, call: &Call) -> Answer {
    let name = call.input.text("Name").unwrap_or_default();
    if world.region.bus.rules.get(name).is_some_and(|rule| !rule.targets.is_empty()) {
        return Err(errors::RULE_HAS_TARGETS.error(&[]));
    }
    world.region.bus.rules.remove(name);
    Ok(Out::new().done())
}

fn switch(world: &mut World<'_>, call: &Call, enabled: bool) -> Answer {
    let rule = named(world, &call.input, "Name")?;
    let (name, was) = (rule.name.clone(), std::mem::replace(&mut rule.enabled, enabled));
    if was != enabled {
        bus::wind(world, &name);
    }
    Ok(Out::new().done())
}

fn put_targets(world: &mut World<'_>, call: &Call) -> Answer {
    if let Some(why) = call.input.list("Targets").iter().find_map(transform::fault) {
        return Err(errors::TARGET.error(&[&why]));
    }
    let rule = named(world, &call.input, "Rule")?;
    for target in call.input.list("Targets") {
        let (Some(id), Some(arn)) = (target.text("Id"), target.text("Arn")) else { continue };
        let held = Target { arn: arn.to_owned(), whole: target.clone() };
        rule.targets.insert(id.to_owned(), held);
    }
    Ok(json!({"FailedEntryCount": 0, "FailedEntries": []}))
}

fn remove_targets(world: &mut World<'_>, call: &Call) -> Answer {
    let ids = call.input.texts("Ids");
    let rule = named(world, &call.input, "Rule")?;
    let targets = std::mem::take(&mut rule.targets);
    rule.targets = targets.into_iter().filter(|(id, _)| !ids.contains(&id.as_str())).collect::<IndexMap<_, _>>();
    Ok(json!({"FailedEntryCount": 0, "FailedEntries": []}))
}

fn paged(call: &Call, member: &str, rows: Vec<(String, Value)>) -> Answer {
    let length = call.input.int("Limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(100).clamp(1, 100);
    let (rows, token) = page::cut_by(call, length, call.input.text("NextToken"), &errors::EVENTS_TOKEN, rows)?;
    Ok(Out::new().with(member, rows).maybe("NextToken", token).done())
}

fn list_rules(world: &mut World<'_>, call: &Call) -> Answer {
    let prefix = call.input.text("NamePrefix").unwrap_or_default();
    let rules = world.region.bus.rules.values().filter(|rule| rule.name.starts_with(prefix));
    paged(call, "Rules", rules.map(|rule| (rule.name.clone(), render(rule))).collect())
}

fn list_targets(world: &mut World<'_>, call: &Call) -> Answer {
    let targets = &named(world, &call.input, "Rule")?.targets;
    paged(call, "Targets", targets.iter().map(|(id, target)| (id.clone(), target.whole.clone())).collect())
}

fn rule_names(world: &mut World<'_>, call: &Call) -> Answer {
    let arn = call.input.text("TargetArn").unwrap_or_default();
    let rules = world.region.bus.rules.values().filter(|rule| rule.targets.values().any(|target| target.arn == arn));
    paged(call, "RuleNames", rules.map(|rule| (rule.name.clone(), json!(rule.name))).collect())
}

/// Custom events: each succeeds with an id, or fails alone.
fn put_events(world: &mut World<'_>, call: &Call) -> Answer {
    let (mut entries, mut failed) = (Vec::new(), 0);
    for entry in call.input.list("Entries") {
        // Source: EventBridge user guide, "Sending events with PutEvents": the prefix is AWS's own.
        if entry.text("Source").is_some_and(|source| source.starts_with("aws.")) {
            failed += 1;
            entries.push(json!({"ErrorCode": "NotAuthorizedForSourceException", "ErrorMessage": "Not authorized for the source."}));
            continue;
        }
        let detail = entry.text("Detail").map(serde_json::from_str::<Value>);
        let Some(Ok(detail @ Value::Object(_))) = detail else {
            failed += 1;
            entries.push(json!({"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}));
            continue;
        };
        let (source, kind) = (entry.text("Source").unwrap_or_default(), entry.text("DetailType").unwrap_or_default());
        let resources = entry.member("Resources").and_then(Value::as_array).into_iter().flatten();
        let resources = resources.filter_map(Value::as_str).map(str::to_owned).collect();
        let id = bus::emit(world, source, kind, resources, detail);
        entries.push(json!({"EventId": id}));
    }
    Ok(json!({"FailedEntryCount": failed, "Entries": entries}))
}
