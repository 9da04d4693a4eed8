//! Event patterns: which events a rule wants.
//!
//! Source: EventBridge user guide, "Amazon EventBridge event patterns", and "Comparison operators for use in event patterns".

use std::net::IpAddr;

use serde_json::Value;

/// Whether an event matches a pattern: every member of the pattern must match; a list offers alternatives.
pub fn matches(pattern: &Value, event: &Value) -> bool {
    let Some(pattern) = pattern.as_object() else { return false };
    pattern.iter().all(|(name, wanted)| {
        // One of these patterns, beside all that stands next to it.
        if let ("$or", Value::Array(patterns)) = (name.as_str(), wanted) {
            return patterns.iter().any(|pattern| matches(pattern, event));
        }
        let found = event.get(name);
        match wanted {
            Value::Object(_) => matches(wanted, found.unwrap_or(&Value::Null)),
            Value::Array(alternatives) => alternatives.iter().any(|alternative| any_matches(alternative, found)),
            _ => false,
        }
    })
}

/// A list in the event matches if one of its items does.
fn any_matches(alternative: &Value, found: Option<&Value>) -> bool {
    match found {
        Some(Value::Array(items)) => items.iter().any(|item| one_matches(alternative, Some(item))),
        found => one_matches(alternative, found),
    }
}

fn one_matches(alternative: &Value, found: Option<&Value>) -> bool {
    let Some((operator, operand)) = alternative.as_object().and_then(|object| object.iter().next()) else {
        return found == Some(alternative);
    };
    let text = found.and_then(Value::as_str);
    match operator.as_str() {
        "exists" => operand.as_bool() == Some(found.is_some()),
        "prefix" => operand.as_str().is_some_and(|start| text.is_some_and(|text| text.starts_with(start))),
        "suffix" => operand.as_str().is_some_and(|end| text.is_some_and(|text| text.ends_with(end))),
        "equals-ignore-case" => operand.as_str().is_some_and(|same| text.is_some_and(|text| text.eq_ignore_ascii_case(same))),
        "wildcard" => operand.as_str().is_some_and(|form| text.is_some_and(|text| crate::services::filter::glob(form, text))),
        "anything-but" => found.is_some_and(|found| match operand {
            Value::Array(list) => !list.contains(found),
            Value::Object(_) => !one_matches(operand, Some(found)),
            _ => operand != found,
        }),
        "cidr" => operand.as_str().and_then(network).zip(text).is_some_and(|(network, text)| holds(network, text)),
        "numeric" => found.and_then(Value::as_f64).is_some_and(|number| numeric(operand, number)),
        _ => false,
    }
}

fn numeric(operand: &Value, number: f64) -> bool {
    let terms = operand.as_array().map_or(&[][..], Vec::as_slice);
    !terms.is_empty()
        && terms.chunks(2).all(|term| match term {
            [Value::String(operator), bound] => bound.as_f64().is_some_and(|bound| match operator.as_str() {
                "<" => number < bound,
                "<=" => number <= bound,
                ">" => number > bound,
                ">=" => number >= bound,
                "=" => number == bound,
                _ => false,
            }),
            _ => false,
        })
}

/// `10.0.0.0/24`: its address and how many bits of it count.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

fn holds((network, bits): (IpAddr, u32), text: &str) -> bool {
    let first = |value: u128, width: u32| value.checked_shr(width - bits).unwrap_or(0);
    match (network, text.parse()) {
        (IpAddr::V4(network), Ok(IpAddr::V4(address))) => first(u32::from(network).into(), 32) == first(u32::from(address).into(), 32),
        (IpAddr::V6(network), Ok(IpAddr::V6(address))) => first(network.into(), 128) == first(address.into(), 128),
        _ => false,
    }
}

/// What is wrong with a pattern, if anything: it must be an object whose leaves are lists of scalars or known operators.
pub fn fault(pattern: &Value) -> Option<String> {
    let Some(pattern) = pattern.as_object() else { return Some("Filter is not an object".into()) };
    if pattern.is_empty() {
        return Some("Event pattern must contain at least one field".into());
    }
    pattern.iter().find_map(|(name, wanted)| match wanted {
        Value::Array(list) if name == "$or" => match list.len() {
            0 | 1 => Some("$or must have at least two patterns".into()),
            _ => list.iter().find_map(fault),
        },
        Value::Object(_) => fault(wanted),
        Value::Array(list) if list.is_empty() => Some(format!("Empty arrays are not allowed at \"{name}\"")),
        Value::Array(list) => list.iter().find_map(|item| {
            let (operator, operand) = item.as_object()?.iter().next()?;
            operand_fault(operator, operand)
        }),
        _ => Some(format!("\"{name}\" must be an object or an array")),
    })
}

fn operand_fault(operator: &str, operand: &Value) -> Option<String> {
    let fits = match operator {
        "exists" => operand.is_boolean(),
        "prefix" | "suffix" | "equals-ignore-case" | "wildcard" => operand.is_string(),
        "anything-but" => !operand.is_null(),
        "numeric" => operand.as_array().is_some_and(|terms| !terms.is_empty() && terms.len().is_multiple_of(2)),
        "cidr" => operand.as_str().and_then(network).is_some(),
        _ => return Some(format!("Unrecognized match type {operator}")),
    };
    (!fits).then(|| format!("Value of {operator} is malformed: {operand}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(r#"{"source":["aws.ec2"]}"#, true)]
    #[case(r#"{"source":["aws.health"]}"#, false)]
    #[case(r#"{"source":["aws.ec2"],"detail-type":["EC2 Instance State-change Notification"]}"#, true)]
    #[case(r#"{"detail":{"state":["stopping","running"]}}"#, true)]
    #[case(r#"{"detail":{"state":[{"prefix":"run"}]}}"#, true)]
    #[case(r#"{"detail":{"state":[{"suffix":"ing"}]}}"#, true)]
    #[case(r#"{"detail":{"state":[{"anything-but":["running"]}]}}"#, false)]
    #[case(r#"{"detail":{"other":[{"exists":false}]}}"#, true)]
    #[case(r#"{"detail":{"count":[{"numeric":[">",2,"<=",3]}]}}"#, true)]
    #[case(r#"{"detail":{"count":[{"numeric":[">",3]}]}}"#, false)]
    #[case(r#"{"resources":["arn:b"]}"#, true)]
    #[case(r#"{"missing":["x"]}"#, false)]
    #[case(r#"{"missing":{"x":[{"exists":false}]}}"#, true)]
    #[case(r#"{"$or":[{"source":["aws.health"]},{"detail":{"state":["running"]}}]}"#, true)]
    #[case(r#"{"$or":[{"source":["aws.health"]},{"detail":{"state":["stopped"]}}]}"#, false)]
    #[case(r#"{"source":["aws.health"],"$or":[{"detail":{"count":[3]}},{"detail":{"state":["running"]}}]}"#, false)]
    #[case(r#"{"detail":{"$or":[{"count":[4]},{"state":["running"]}]}}"#, true)]
    #[case(r#"{"detail":{"ip":[{"cidr":"10.0.0.0/24"}]}}"#, true)]
    #[case(r#"{"detail":{"ip":[{"cidr":"10.0.1.0/24"}]}}"#, false)]
    #[case(r#"{"detail":{"ip":[{"cidr":"0.0.0.0/0"}]}}"#, true)]
    #[case(r#"{"detail":{"ip":[{"cidr":"2001:db8::/32"}]}}"#, false)]
    fn patterns(#[case] pattern: &str, #[case] matched: bool) {
        let event = json!({
            "source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification", "resources": ["arn:a", "arn:b"],
            "detail": {"state": "running", "count": 3, "ip": "10.0.0.7"},
        });
        let pattern: Value = serde_json::from_str(pattern).expect("JSON");
        assert_eq!((fault(&pattern), matches(&pattern, &event)), (None, matched));
    }

    #[rstest]
    #[case("[]")]
    #[case("{}")]
    #[case(r#"{"source":"aws.ec2"}"#)]
    #[case(r#"{"source":[]}"#)]
    #[case(r#"{"source":[{"like":"x"}]}"#)]
    #[case(r#"{"source":[{"prefix":3}]}"#)]
    #[case(r#"{"source":[{"cidr":"10.0.0.0/33"}]}"#)]
    #[case(r#"{"$or":[{"source":["a"]}]}"#)]
    #[case(r#"{"$or":[{"source":["a"]},{}]}"#)]
    fn bad_patterns(#[case] pattern: &str) {
        assert!(fault(&serde_json::from_str(pattern).expect("JSON")).is_some());
    }
}
