//! What a real kube-apiserver 1.36.3 answered (`tests/replay/*.json`, recorded by `examples/record_replies.rs`), this server answers too.
//!
//! Compared are status code and body, without uids, versions, times and managed fields. Steps with a `differs` are known differences,
//! each with its reason; such a step fails when it no longer differs.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::World;
use fake_kube::Config;
use rstest::rstest;
use serde_json::Value;

#[rstest]
#[case::pods("pods")]
#[case::workloads("workloads")]
#[case::writes("writes")]
#[case::paths("paths")]
#[case::custom("custom")]
#[case::protobuf("protobuf")]
#[case::apply("apply")]
#[case::quotas("quotas")]
#[case::kinds("kinds")]
#[case::clients("clients")]
#[case::karpenter("karpenter")]
#[case::accounts("accounts")]
#[case::autoscaling("autoscaling")]
#[case::mistakes("mistakes")]
#[case::options("options")]
#[case::definitions("definitions")]
fn answers_like_the_real_server(#[case] name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay").join(format!("{name}.json"));
    let script: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut world =
        World::with(Config { start: common::start(), managed_fields: true, service_accounts: name == "accounts", ..Config::default() });
    if name == "karpenter" {
        common::karpenter(&mut world);
    }
    let mut wrong = Vec::new();
    // Resource versions that later steps name.
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    for step in script["steps"].as_array().unwrap() {
        let line = step["do"].as_str().unwrap();
        let (method, path) = line.split_once(' ').unwrap();
        let told = |text: &str| kept.iter().fold(text.to_owned(), |text, (name, version)| text.replace(name, version));
        let (path, body) = (&told(path), |body: String| told(&body));
        let body = body(step.get("body").map(|body| body.as_str().map_or_else(|| body.to_string(), str::to_owned)).unwrap_or_default());
        let bytes = step["bytes"].as_str().map_or_else(|| body.clone().into_bytes(), |text| STANDARD.decode(text).unwrap());
        let (code, text) = world.raw(
            method,
            path,
            bytes,
            step["type"].as_str().unwrap_or("application/json"),
            step["accept"].as_str().unwrap_or("application/json"),
        );
        let reply = read(text);
        if let (Some(name), Some(version)) = (step["keep"].as_str(), reply["metadata"]["resourceVersion"].as_str()) {
            kept.insert(format!("${name}"), version.to_owned());
        }
        let (mut expected, mut reply) = (step["reply"].clone(), reply);
        if name != "accounts" {
            [&mut expected, &mut reply].into_iter().for_each(forget_default_account);
        }
        let (theirs, ours) = (normal(&expected, step["managed"] == true), normal(&reply, step["managed"] == true));
        let same = step["code"] == code && theirs == ours;
        match step["differs"].as_str() {
            None if !same => {
                let mut apart = Vec::new();
                differences("", &theirs, &ours, &mut apart);
                wrong.push(format!("{line} {body}\n  theirs {}, ours {code}\n{}", step["code"], apart.join("\n")));
            }
            Some(reason) if same => wrong.push(format!("{line}: no longer differs ({reason})")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{} steps differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// What is known to differ may become less. Steps with one reason are one difference.
#[test]
fn known_differences_have_a_ceiling() {
    const MOST: usize = 25;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay");
    let mut reasons = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let script: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        let steps = script["steps"].as_array().unwrap().iter();
        reasons.extend(steps.filter_map(|step| step["differs"].as_str().map(str::to_owned)));
    }
    assert!((1..=MOST).contains(&reasons.len()), "{} reasons: {reasons:#?}", reasons.len());
}

/// Most files are of a server without the ServiceAccount plugin, which says nobody's name where it was not asked for one.
fn forget_default_account(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| !(key.starts_with("serviceAccount") && value == "default"));
            map.values_mut().for_each(forget_default_account);
        }
        Value::Array(list) => list.iter_mut().for_each(forget_default_account),
        _ => {}
    }
}

/// A document, a stream of them as a list, or text.
fn read(text: String) -> Value {
    let lines = || text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    serde_json::from_str(&text)
        .ok()
        .or_else(|| lines().ok().filter(|lines| !lines.is_empty()).map(Value::Array))
        .unwrap_or(Value::String(text))
}

/// Where two values differ, a line each.
fn differences(path: &str, theirs: &Value, ours: &Value, out: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                differences(&format!("{path}.{key}"), &theirs[key.as_str()], &ours[key.as_str()], out);
                if left.contains_key(key) != right.contains_key(key) && theirs[key.as_str()] == ours[key.as_str()] {
                    out.push(format!("  {path}.{key}: null and absent"));
                }
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (theirs, ours)) in left.iter().zip(right).enumerate() {
                differences(&format!("{path}[{index}]"), theirs, ours, out);
            }
        }
        _ if theirs != ours => out.push(format!("  {path}\n    theirs {theirs}\n    ours   {ours}")),
        _ => {}
    }
}

/// Sorted keys, and nothing in it that two servers cannot share.
fn normal(value: &Value, managed: bool) -> Value {
    const PRIVATE: &[&str] = &[
        "uid",
        "resourceVersion",
        "managedFields",
        "creationTimestamp",
        "deletionTimestamp",
        "time",
        "lastTransitionTime",
        "clusterIP",
        "clusterIPs",
        "serverAddressByClientCIDRs",
        "storageVersionHash",
        "continue",
        "remainingItemCount",
        "lastPhaseTransitionTime",
    ];
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> =
                map.keys().filter(|key| managed && *key == "managedFields" || !PRIVATE.contains(&key.as_str())).collect();
            // What a column is about is upstream's prose.
            if ["format", "priority", "type"].iter().all(|key| map.contains_key(*key)) {
                keys.retain(|key| *key != "description");
            }
            keys.sort();
            let mut out: serde_json::Map<String, Value> = keys.into_iter().map(|key| (key.clone(), normal(&map[key], managed))).collect();
            // Go goes through maps in any order.
            if let Some(Value::String(message)) = out.get("message").cloned() {
                out.insert("message".to_owned(), Value::from(plain(&message)));
            }
            // Ordered by times, which are not compared.
            if let Some(Value::Array(entries)) = out.get_mut("managedFields") {
                entries.sort_by_key(|entry| ["operation", "manager", "subresource"].map(|key| entry[key].to_string()));
            }
            // Times in a table's cells.
            if let Some(Value::Array(cells)) = out.get_mut("cells") {
                cells.iter_mut().filter(|cell| cell.as_str().is_some_and(is_time)).for_each(|cell| *cell = Value::from("TIME"));
            }
            if let Some(Value::Array(causes)) = out.get_mut("causes") {
                causes.sort_by_key(Value::to_string);
            }
            Value::Object(out)
        }
        Value::Array(list) => Value::Array(list.iter().map(|one| normal(one, managed)).collect()),
        Value::String(text) if is_uid(text) => Value::from("UID"),
        Value::String(text) if text.split_once('=').is_some_and(|(_, uid)| is_uid(uid)) => {
            Value::from(text.split_once('=').map_or("", |(key, _)| key))
        }
        Value::String(text) if is_token_volume(text) => Value::from("kube-api-access-*"),
        Value::String(text) if is_age(text) => Value::from("AGE"),
        Value::String(text) => Value::from(text.trim_end()),
        other => other.clone(),
    }
}

/// With five drawn letters.
fn is_token_volume(text: &str) -> bool {
    text.strip_prefix("kube-api-access-").is_some_and(|drawn| drawn.len() == 5)
}

/// `3s`, in a table.
fn is_age(text: &str) -> bool {
    text.strip_suffix('s').is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_time(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok()
}

fn is_uid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, c)| if matches!(at, 8 | 13 | 18 | 23) { c == b'-' } else { c.is_ascii_hexdigit() })
}

/// Messages name uids, and list several errors in any order.
fn plain(message: &str) -> String {
    let (head, list) = message.split_once("is invalid: [").unwrap_or((message, ""));
    let mut errors: Vec<&str> = list.trim_end_matches(']').split(", ").collect();
    errors.sort_unstable();
    format!("{head} {}", errors.join(", "))
        .split(' ')
        .map(|word| match word.trim_end_matches('.').strip_prefix('(').and_then(|word| word.strip_suffix(')')) {
            Some(number) if number.parse::<u64>().is_ok() => "(VERSION)",
            _ if word.len() >= 36 && word.chars().filter(|&c| c == '-').count() == 4 => "UID",
            _ => word,
        })
        .collect::<Vec<_>>()
        .join(" ")
}
