//! What kubectl prints: `meta.k8s.io/v1 Table`.
//!
//! Built-in kinds with columns of their own: Pod, Node, Deployment, ReplicaSet, DaemonSet, StatefulSet, Job, Service, Namespace,
//! Event, PodDisruptionBudget, CustomResourceDefinition, and those of [`super::cells`]; custom kinds by their `additionalPrinterColumns`; the others by name and age.
//! Source: `k8s.io/kubernetes/pkg/printers/internalversion/printers.go`,
//! `apiextensions-apiserver/pkg/registry/customresource/tableconvertor`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells;
use super::read::partial;
use crate::crd::Column;
use crate::kinds::Kind;
use crate::store::Object;

/// Name, type, format, priority.
type Definition = (String, String, String, i64);

pub(crate) fn table(now: Timestamp, kind: &Kind, version: &str, objects: &[&Arc<Object>], meta: Value, include: &str) -> Value {
    let columns = columns(kind, version);
    let definitions: Vec<Value> = columns
        .iter()
        .map(|(name, kind, format, priority)| json!({ "name": name, "type": kind, "format": format, "description": name, "priority": priority }))
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let value = object.value();
            let mut row = json!({ "cells": cells(now, kind, version, &value) });
            match include {
                "None" => row["object"] = Value::Null,
                "Object" => row["object"] = (*value).clone(),
                _ => row["object"] = partial(object),
            }
            row
        })
        .collect();
    json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": definitions, "rows": rows })
}

fn columns(kind: &Kind, version: &str) -> Vec<Definition> {
    let text = |name: &str, priority: i64| {
        let format = if name == "Name" { "name" } else { "" };
        (name.to_owned(), "string".to_owned(), format.to_owned(), priority)
    };
    if let Some(custom) = kind.custom(version) {
        let age = [Column {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            format: String::new(),
            description: String::new(),
            priority: 0,
            path: ".metadata.creationTimestamp".to_owned(),
        }];
        let own = if custom.columns.is_empty() { &age[..] } else { &custom.columns };
        let rest = own.iter().map(|column| (column.name.clone(), column.kind.clone(), column.format.clone(), column.priority));
        return std::iter::once(text("Name", 0)).chain(rest).collect();
    }
    if let Some(own) = cells::columns(&kind.key) {
        return own.iter().map(|said| typed(text(bare(said), i64::from(said.ends_with('*'))), said)).collect();
    }
    let (plain, wide) = names(kind);
    let sort = |column: Definition| {
        let number = matches!(
            (kind.key.as_str(), column.0.as_str()),
            ("apps/replicasets" | "apps/daemonsets", "Desired" | "Current" | "Ready" | "Up-to-date" | "Available")
                | ("policy/poddisruptionbudgets", "Allowed Disruptions")
                | ("scheduling.k8s.io/priorityclasses", "Value")
        );
        let truth = column.0 == "Global-Default";
        typed(
            column,
            if number {
                "#"
            } else if truth {
                "?"
            } else {
                ""
            },
        )
    };
    plain.iter().map(|name| text(name, 0)).chain(wide.iter().map(|name| text(name, 1))).map(sort).collect()
}

/// A column's name without its marks.
fn bare(said: &str) -> &str {
    said.trim_end_matches(['*', '#', '?'])
}

/// Marked as one of numbers or of truths.
fn typed(mut column: Definition, said: &str) -> Definition {
    let said = said.trim_end_matches('*');
    match column.0.as_str() {
        "Attacher" => column.2 = "name".to_owned(),
        "Created At" => column.1 = "date".to_owned(),
        _ => {}
    }
    if said.ends_with('#') {
        column.1 = "integer".to_owned();
    } else if said.ends_with('?') {
        column.1 = "boolean".to_owned();
    }
    column
}

/// Columns of a built-in kind, those for everybody and those for `-o wide`.
fn names(kind: &Kind) -> (&'static [&'static str], &'static [&'static str]) {
    match kind.key.as_str() {
        "pods" => (&["Name", "Ready", "Status", "Restarts", "Age"], &["IP", "Node", "Nominated Node", "Readiness Gates"]),
        "nodes" => (
            &["Name", "Status", "Roles", "Age", "Version"],
            &["Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"],
        ),
        "apps/deployments" => (&["Name", "Ready", "Up-to-date", "Available", "Age"], &["Containers", "Images", "Selector"]),
        "apps/replicasets" => (&["Name", "Desired", "Current", "Ready", "Age"], &["Containers", "Images", "Selector"]),
        "apps/daemonsets" => (
            &["Name", "Desired", "Current", "Ready", "Up-to-date", "Available", "Node Selector", "Age"],
            &["Containers", "Images", "Selector"],
        ),
        "apps/statefulsets" => (&["Name", "Ready", "Age"], &["Containers", "Images"]),
        "batch/jobs" => (&["Name", "Status", "Completions", "Duration", "Age"], &["Containers", "Images", "Selector"]),
        "services" => (&["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age"], &["Selector"]),
        "namespaces" => (&["Name", "Status", "Age"], &[]),
        "events" => (&["Last Seen", "Type", "Reason", "Object", "Message"], &["Subobject", "Source", "First Seen", "Count", "Name"]),
        "policy/poddisruptionbudgets" => (&["Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age"], &[]),
        "apiextensions.k8s.io/customresourcedefinitions"
        | "limitranges"
        | "storage.k8s.io/csistoragecapacities"
        | "rbac.authorization.k8s.io/roles"
        | "rbac.authorization.k8s.io/clusterroles" => (&["Name", "Created At"], &[]),
        "configmaps" => (&["Name", "Data", "Age"], &[]),
        "secrets" => (&["Name", "Type", "Data", "Age"], &[]),
        "coordination.k8s.io/leases" => (&["Name", "Holder", "Age"], &[]),
        "scheduling.k8s.io/priorityclasses" => (&["Name", "Value", "Global-Default", "Age", "PreemptionPolicy"], &[]),
        _ => (&["Name", "Age"], &[]),
    }
}

fn cells(now: Timestamp, kind: &Kind, version: &str, object: &Value) -> Vec<Value> {
    let name = object["metadata"]["name"].clone();
    if let Some(custom) = kind.custom(version) {
        let rest = custom.columns.iter().map(|column| cell(now, column, object));
        if custom.columns.is_empty() {
            return vec![name, json!(age(now, &object["metadata"]["creationTimestamp"]))];
        }
        return std::iter::once(name).chain(rest).collect();
    }
    if let Some(own) = cells::columns(&kind.key) {
        let one = |said: &&str| match bare(said) {
            "Name" => name.clone(),
            "Age" => json!(age(now, &object["metadata"]["creationTimestamp"])),
            column => cells::cell(now, &kind.key, column, object),
        };
        // Upstream's rows of this kind have an age that no column names.
        let age = (kind.key == "networking.k8s.io/ipaddresses").then_some(&"Age");
        return own.iter().chain(age).map(one).collect();
    }
    let (plain, wide) = names(kind);
    plain.iter().chain(wide).map(|column| built_in(now, kind, column, object)).collect()
}

fn entries(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

fn built_in(now: Timestamp, kind: &Kind, column: &str, object: &Value) -> Value {
    let (spec, status) = (&object["spec"], &object["status"]);
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).unwrap_or("<none>").to_owned();
    match (kind.key.as_str(), column) {
        (_, "Name") => object["metadata"]["name"].clone(),
        (_, "Age") => json!(age(now, &object["metadata"]["creationTimestamp"])),
        (_, "Created At") => object["metadata"]["creationTimestamp"].clone(),
        ("configmaps", "Data") => json!(entries(&object["data"]) + entries(&object["binaryData"])),
        ("secrets", "Data") => json!(entries(&object["data"])),
        ("secrets", "Type") => object["type"].clone(),
        ("coordination.k8s.io/leases", "Holder") => json!(spec["holderIdentity"].as_str().unwrap_or_default()),
        ("scheduling.k8s.io/priorityclasses", "Value") => json!(number(&object["value"])),
        ("scheduling.k8s.io/priorityclasses", "Global-Default") => json!(object["globalDefault"].as_bool().unwrap_or(false)),
        ("scheduling.k8s.io/priorityclasses", "PreemptionPolicy") => json!(text(&object["preemptionPolicy"])),
        ("pods", column) => pod(column, object),
        ("nodes", column) => node(column, object),
        ("services", "Port(s)") => json!(ports(&spec["ports"])),
        ("services", "Type") => spec["type"].clone(),
        ("services", "Cluster-IP") => json!(text(&spec["clusterIP"])),
        ("services", "Selector") => json!(labels(&spec["selector"])),
        ("namespaces", "Status") => status["phase"].clone(),
        (_, "Containers") => json!(joined(&spec["template"]["spec"]["containers"], "name")),
        (_, "Images") => json!(joined(&spec["template"]["spec"]["containers"], "image")),
        (_, "Selector") => json!(labels(&spec["selector"]["matchLabels"])),
        ("apps/deployments", "Up-to-date") => json!(number(&status["updatedReplicas"])),
        ("apps/deployments", "Available") => json!(number(&status["availableReplicas"])),
        ("apps/deployments" | "apps/statefulsets", "Ready") => {
            json!(format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"])))
        }
        ("apps/replicasets", "Desired") => json!(number(&spec["replicas"])),
        ("apps/replicasets", "Current") => json!(number(&status["replicas"])),
        ("apps/replicasets", "Ready") => json!(number(&status["readyReplicas"])),
        ("apps/daemonsets", "Desired") => json!(number(&status["desiredNumberScheduled"])),
        ("apps/daemonsets", "Current") => json!(number(&status["currentNumberScheduled"])),
        ("apps/daemonsets", "Ready") => json!(number(&status["numberReady"])),
        ("apps/daemonsets", "Up-to-date") => json!(number(&status["updatedNumberScheduled"])),
        ("apps/daemonsets", "Available") => json!(number(&status["numberAvailable"])),
        ("apps/daemonsets", "Node Selector") => json!(labels(&spec["template"]["spec"]["nodeSelector"])),
        ("batch/jobs", "Completions") => json!(format!("{}/{}", number(&status["succeeded"]), number(&spec["completions"]))),
        ("batch/jobs", "Duration") => json!(duration(now, status)),
        ("batch/jobs", "Status") => json!(job_status(status)),
        ("policy/poddisruptionbudgets", "Min Available") => json!(either(&spec["minAvailable"])),
        ("policy/poddisruptionbudgets", "Max Unavailable") => json!(either(&spec["maxUnavailable"])),
        ("policy/poddisruptionbudgets", "Allowed Disruptions") => json!(number(&status["disruptionsAllowed"])),
        ("events", column) => event(now, column, object),
        _ => json!("<none>"),
    }
}

fn pod(column: &str, pod: &Value) -> Value {
    let status = &pod["status"];
    let containers = || status["containerStatuses"].as_array().into_iter().flatten();
    match column {
        "Ready" => {
            let total = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
            json!(format!("{}/{total}", containers().filter(|one| one["ready"] == true).count()))
        }
        "Status" => {
            let waiting =
                containers().find_map(|one| one["state"]["waiting"]["reason"].as_str().or(one["state"]["terminated"]["reason"].as_str()));
            let gated = status["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|one| one["type"] == "PodScheduled" && one["reason"] == "SchedulingGated");
            let phase = status["reason"]
                .as_str()
                .or(waiting)
                .or(gated.then_some("SchedulingGated"))
                .or(status["phase"].as_str())
                .unwrap_or("Unknown");
            let gone = !pod["metadata"]["deletionTimestamp"].is_null() && !matches!(phase, "Succeeded" | "Failed" | "Completed");
            json!(if gone { "Terminating" } else { phase })
        }
        "Restarts" => json!(containers().filter_map(|one| one["restartCount"].as_i64()).sum::<i64>().to_string()),
        "IP" => json!(status["podIP"].as_str().unwrap_or("<none>")),
        "Node" => json!(pod["spec"]["nodeName"].as_str().unwrap_or("<none>")),
        "Nominated Node" => json!(status["nominatedNodeName"].as_str().unwrap_or("<none>")),
        _ => json!("<none>"),
    }
}

fn node(column: &str, node: &Value) -> Value {
    let status = &node["status"];
    let info = |key: &str| json!(status["nodeInfo"][key].as_str().filter(|text| !text.is_empty()).unwrap_or("<unknown>"));
    let address = |kind: &str| {
        let found = status["addresses"].as_array().into_iter().flatten().find(|one| one["type"] == kind);
        json!(found.and_then(|one| one["address"].as_str()).unwrap_or("<none>"))
    };
    match column {
        "Status" => {
            let ready = status["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Ready");
            let mut words = vec![match ready.and_then(|one| one["status"].as_str()) {
                Some("True") => "Ready",
                Some(_) => "NotReady",
                None => "Unknown",
            }];
            if node["spec"]["unschedulable"] == true {
                words.push("SchedulingDisabled");
            }
            json!(words.join(","))
        }
        "Roles" => {
            let labels = node["metadata"]["labels"].as_object();
            let roles: Vec<&str> =
                labels.into_iter().flatten().filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/")).collect();
            json!(if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") })
        }
        "Version" => json!(status["nodeInfo"]["kubeletVersion"].as_str().unwrap_or_default()),
        "Internal-IP" => address("InternalIP"),
        "External-IP" => address("ExternalIP"),
        "OS-Image" => info("osImage"),
        "Kernel-Version" => info("kernelVersion"),
        _ => info("containerRuntimeVersion"),
    }
}

fn event(now: Timestamp, column: &str, event: &Value) -> Value {
    let about = &event["involvedObject"];
    let time = |key: &str| json!(age(now, if event[key].is_null() { &event["eventTime"] } else { &event[key] }));
    match column {
        "Last Seen" => time("lastTimestamp"),
        "First Seen" => time("firstTimestamp"),
        "Type" => event["type"].clone(),
        "Reason" => event["reason"].clone(),
        "Object" => {
            json!(format!("{}/{}", about["kind"].as_str().unwrap_or_default().to_lowercase(), about["name"].as_str().unwrap_or_default()))
        }
        "Message" => json!(event["message"].as_str().unwrap_or_default().trim()),
        "Source" => json!(event["source"]["component"].as_str().or(event["reportingComponent"].as_str()).unwrap_or_default()),
        "Count" => json!(event["count"].as_i64().unwrap_or(1).to_string()),
        "Subobject" => json!(about["fieldPath"].as_str().unwrap_or_default()),
        _ => json!(""),
    }
}

/// How long a Job has run; nothing before it begins.
fn duration(now: Timestamp, status: &Value) -> String {
    let Some(start) = status["startTime"].as_str().and_then(|text| text.parse::<Timestamp>().ok()) else { return String::new() };
    let ended = status["completionTime"].as_str().and_then(|text| text.parse().ok());
    age(ended.unwrap_or(now), &json!(crate::time::seconds(start)))
}

fn job_status(status: &Value) -> &str {
    let holds =
        |kind: &str| status["conditions"].as_array().into_iter().flatten().any(|one| one["type"] == kind && one["status"] == "True");
    ["Complete", "Failed", "Suspended"].into_iter().find(|kind| holds(kind)).unwrap_or("Running")
}

fn either(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "N/A".to_owned(),
    }
}

pub(super) fn joined(list: &Value, key: &str) -> String {
    list.as_array().into_iter().flatten().filter_map(|one| one[key].as_str()).collect::<Vec<_>>().join(",")
}

pub(super) fn labels(value: &Value) -> String {
    let mut pairs: Vec<String> =
        value.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.sort();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

fn ports(list: &Value) -> String {
    let one = |port: &Value| {
        let (number, protocol) = (port["port"].as_i64().unwrap_or(0), port["protocol"].as_str().unwrap_or("TCP"));
        match port["nodePort"].as_i64() {
            Some(node) if node > 0 => format!("{number}:{node}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    };
    let all: Vec<String> = list.as_array().into_iter().flatten().map(one).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

fn cell(now: Timestamp, column: &Column, object: &Value) -> Value {
    let found = find(object, &column.path);
    match (column.kind.as_str(), found) {
        (_, None) => Value::Null,
        ("date", Some(value)) => json!(age(now, value)),
        ("string", Some(Value::String(text))) => json!(text),
        ("string", Some(value)) => json!(value.to_string()),
        (_, Some(value)) => value.clone(),
    }
}

/// The kinds of JSONPath that printer columns use: `.a.b`, `['a']`, `[0]`, `[?(@.type=="Ready")]`.
fn find<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = object;
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (step, after) = inner.split_once(']')?;
            rest = after;
            value = match step.strip_prefix("?(@.") {
                Some(test) => {
                    let (key, wanted) = test.strip_suffix(')')?.split_once("==")?;
                    let wanted = wanted.trim().trim_matches(['"', '\'']);
                    value.as_array()?.iter().find(|one| one[key.trim()] == wanted)?
                }
                None => match step.parse::<usize>() {
                    Ok(index) => value.get(index)?,
                    Err(_) => value.get(step.trim_matches(['"', '\'']))?,
                },
            };
            continue;
        }
        let name = rest.trim_start_matches('.');
        let mut key = String::new();
        let mut end = name.len();
        let mut chars = name.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => key.extend(chars.next().map(|(_, escaped)| escaped)),
                '.' | '[' => {
                    end = at;
                    break;
                }
                c => key.push(c),
            }
        }
        rest = &name[end..];
        if !key.is_empty() {
            value = value.get(&key)?;
        }
    }
    Some(value).filter(|value| !value.is_null())
}

/// How long ago, as kubectl says it (`k8s.io/apimachinery/pkg/util/duration`).
pub(super) fn age(now: Timestamp, at: &Value) -> String {
    let Some(at) = at.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else { return "<unknown>".to_owned() };
    let seconds = now.as_second() - at.as_second();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |whole: i64, unit: &str, part: i64, small: &str| {
        if part == 0 { format!("{whole}{unit}") } else { format!("{whole}{unit}{part}{small}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => two(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => format!("{days}d"),
        _ if days < 365 * 8 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}
