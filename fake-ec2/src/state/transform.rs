//! What a rule sends to a target: the event, a constant, a part of the event, or a text made of its parts.
//!
//! Source: EventBridge user guide, "Amazon EventBridge input transformation". Where a path finds nothing its page says that the variable
//! "won't appear in the output": inside quotes it is empty here, elsewhere `null`, so that what was JSON stays it.

use jiff::Timestamp;
use serde_json::Value;

/// What is sent of an event to a target, which is as it was put.
pub fn body(target: &Value, (rule, rule_arn): (&str, &str), event: &Value, now: Timestamp) -> String {
    if let Some(text) = target.get("Input").and_then(Value::as_str) {
        return text.to_owned();
    }
    if let Some(path) = target.get("InputPath").and_then(Value::as_str) {
        return find(event, path).unwrap_or(&Value::Null).to_string();
    }
    let Some(transformer) = target.get("InputTransformer") else { return event.to_string() };
    let template = transformer.get("InputTemplate").and_then(Value::as_str).unwrap_or_default();
    let value = |name: &str| match name {
        "aws.events.rule-arn" => Some(Value::from(rule_arn)),
        "aws.events.rule-name" => Some(Value::from(rule)),
        "aws.events.event.ingestion-time" => Some(Value::from(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())),
        "aws.events.event" | "aws.events.event.json" => Some(event.clone()),
        _ => {
            let path = transformer.get("InputPathsMap")?.get(name)?.as_str()?;
            Some(find(event, path).cloned().unwrap_or(Value::Null))
        }
    };
    fill(template, value)
}

/// What is wrong with how a target's input is said, if anything.
pub fn fault(target: &Value) -> Option<String> {
    let id = target.get("Id").and_then(Value::as_str).unwrap_or_default();
    let ways = ["Input", "InputPath", "InputTransformer"].iter().filter(|way| target.get(**way).is_some()).count();
    if ways > 1 {
        return Some(format!("Only one of Input, InputPath, or InputTransformer must be provided for target {id}."));
    }
    if let Some(input) = target.get("Input").and_then(Value::as_str)
        && serde_json::from_str::<Value>(input).is_err()
    {
        return Some(format!("JSON syntax error in input for target {id}."));
    }
    if target.get("InputPath").and_then(Value::as_str).is_some_and(|path| steps(path).is_none()) {
        return Some(format!("InputPath for target {id} is invalid."));
    }
    let paths = target.get("InputTransformer").and_then(|it| it.get("InputPathsMap")).and_then(Value::as_object);
    let wrong = paths.into_iter().flatten().any(|(_, path)| path.as_str().and_then(steps).is_none());
    wrong.then(|| format!("Invalid InputPathsMap for target {id}."))
}

/// The template with its `<names>` replaced. Text inside quotes stands there as it is, elsewhere a value is JSON.
fn fill(template: &str, value: impl Fn(&str) -> Option<Value>) -> String {
    let (mut filled, mut rest, mut quoted) = (String::new(), template, false);
    while let Some(at) = rest.find(['<', '"', '\\']) {
        filled.push_str(&rest[..at]);
        let (found, after) = rest[at..].split_at(1);
        rest = after;
        match found {
            "\"" => {
                quoted = !quoted;
                filled.push('"');
            }
            // What is escaped neither opens nor closes anything.
            "\\" => {
                let next = rest.chars().next().map_or(0, char::len_utf8);
                filled.push('\\');
                filled.push_str(&rest[..next]);
                rest = &rest[next..];
            }
            _ => match rest.split_once('>').and_then(|(name, after)| Some((value(name)?, after))) {
                Some((value, after)) => {
                    filled.push_str(&shown(&value, quoted));
                    rest = after;
                }
                None => filled.push('<'),
            },
        }
    }
    filled.push_str(rest);
    filled
}

fn shown(value: &Value, quoted: bool) -> String {
    match value {
        value if !quoted => value.to_string(),
        Value::Null => String::new(),
        value => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let escaped = Value::from(text).to_string();
            escaped[1..escaped.len() - 1].to_owned()
        }
    }
}

/// One step of a path: a member or an item.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    Member(&'a str),
    Item(usize),
}

/// `$.detail.instance-id`, `$.detail['instance-id']`, `$.resources[0]`: the part of JSONPath that EventBridge knows.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let (mut rest, mut steps) = (path.strip_prefix('$')?, Vec::new());
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, left) = after.split_at(end);
            if name.is_empty() {
                return None;
            }
            steps.push(Step::Member(name));
            rest = left;
        } else {
            let (inside, left) = rest.strip_prefix('[')?.split_once(']')?;
            let name = ['\'', '"'].iter().find_map(|quote| inside.strip_prefix(*quote)?.strip_suffix(*quote));
            steps.push(match name {
                Some(name) => Step::Member(name),
                None => Step::Item(inside.parse().ok()?),
            });
            rest = left;
        }
    }
    Some(steps)
}

fn find<'a>(event: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path)?.into_iter().try_fold(event, |value, step| match step {
        Step::Member(name) => value.get(name),
        Step::Item(at) => value.get(at),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::whole(json!({}), r#"{"detail":{"n":3,"state":"a \"b\""},"resources":["arn:a","arn:b"]}"#)]
    #[case::constant(json!({"Input": "{\"a\": 1}"}), r#"{"a": 1}"#)]
    #[case::part(json!({"InputPath": "$.detail"}), r#"{"n":3,"state":"a \"b\""}"#)]
    #[case::in_brackets(json!({"InputPath": "$['detail']['n']"}), "3")]
    #[case::item(json!({"InputPath": "$.resources[1]"}), r#""arn:b""#)]
    #[case::nothing(json!({"InputPath": "$.detail.other"}), "null")]
    #[case::text(json!({"InputTransformer": {"InputPathsMap": {"s": "$.detail.state", "n": "$.detail.n"}, "InputTemplate": "\"<s> and <n>\""}}), r#""a \"b\" and 3""#)]
    #[case::json(json!({"InputTransformer": {"InputPathsMap": {"s": "$.detail.state", "d": "$.detail", "x": "$.x"},
        "InputTemplate": "{\"s\": <s>, \"d\": <d>, \"x\": <x>, \"y\": \"<x>\", \"z\": \"<other>\"}"}}),
        r#"{"s": "a \"b\"", "d": {"n":3,"state":"a \"b\""}, "x": null, "y": "", "z": "<other>"}"#)]
    #[case::own(json!({"InputTransformer": {"InputTemplate": "\"<aws.events.rule-name> <aws.events.rule-arn> \\\"<aws.events.event.ingestion-time>\""}}),
        r#""r arn:r \"2026-11-20T17:00:00Z""#)]
    fn inputs(#[case] target: Value, #[case] sent: &str) {
        let event = json!({"detail": {"n": 3, "state": "a \"b\""}, "resources": ["arn:a", "arn:b"]});
        assert_eq!(fault(&target), None);
        let now = "2026-11-20T17:00:00Z".parse().expect("an instant");
        assert_eq!(body(&target, ("r", "arn:r"), &event, now), sent);
    }

    #[rstest]
    #[case(json!({"Input": "{}", "InputPath": "$.detail"}))]
    #[case(json!({"Input": "no JSON"}))]
    #[case(json!({"InputPath": "detail"}))]
    #[case(json!({"InputPath": "$.detail["}))]
    #[case(json!({"InputTransformer": {"InputPathsMap": {"a": "$..b"}, "InputTemplate": "<a>"}}))]
    fn wrong_inputs(#[case] target: Value) {
        assert!(fault(&target).is_some());
    }
}
