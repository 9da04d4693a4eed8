//! Mistakes in rolling updates, budgets and services.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/{apps,policy,core}/validation/validation.go`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Errors;
use super::pod_specs::{number_or_name, protocol};
use super::validation::{LABEL, SUBDOMAIN, enumerated, non_negative};
use crate::select::{is_label, is_subdomain};
use crate::status::FieldError;

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// A number of pods or a share of them; whether it is none.
fn share(value: &Value, at: &str, bounded: bool, errors: &mut Errors) -> bool {
    if let Some(number) = value.as_i64() {
        if number < 0 {
            errors.push(FieldError::invalid(at, value, "must be greater than or equal to 0"));
        }
        return number == 0;
    }
    let Some(text) = value.as_str() else { return value.is_null() };
    let percent = text.strip_suffix('%').filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    match percent.map(|digits| digits.parse::<u64>().unwrap_or(u64::MAX)) {
        None => errors.push(FieldError::invalid(at, value, PERCENT)),
        Some(number) if bounded && number > 100 => errors.push(FieldError::invalid(at, value, "must not be greater than 100%")),
        Some(number) => return number == 0,
    }
    false
}

pub(super) fn deployment(spec: &Value, errors: &mut Errors) {
    let (strategy, at) = (&spec["strategy"], "spec.strategy.rollingUpdate");
    if strategy["type"] == "Recreate" && strategy["rollingUpdate"].is_object() {
        errors.push(FieldError::forbidden(at, "may not be specified when strategy `type` is 'Recreate'"));
    } else if strategy["type"] == "RollingUpdate" && strategy["rollingUpdate"].is_object() {
        let rolling = &strategy["rollingUpdate"];
        let none = share(&rolling["maxUnavailable"], &format!("{at}.maxUnavailable"), true, errors);
        if share(&rolling["maxSurge"], &format!("{at}.maxSurge"), false, errors) && none {
            let why = "may not be 0 when `maxSurge` is 0";
            errors.push(FieldError::invalid(format!("{at}.maxUnavailable"), &rolling["maxUnavailable"], why));
        }
    }
    non_negative(spec, "revisionHistoryLimit", "spec", errors);
    non_negative(spec, "progressDeadlineSeconds", "spec", errors);
    if let Some(deadline) = spec["progressDeadlineSeconds"].as_i64()
        && deadline <= spec["minReadySeconds"].as_i64().unwrap_or(0)
    {
        let why = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid("spec.progressDeadlineSeconds", &spec["progressDeadlineSeconds"], why));
    }
}

pub(super) fn daemon_set(spec: &Value, errors: &mut Errors) {
    let (strategy, at) = (&spec["updateStrategy"], "spec.updateStrategy.rollingUpdate");
    if strategy["type"] != "RollingUpdate" || !strategy["rollingUpdate"].is_object() {
        return;
    }
    let rolling = &strategy["rollingUpdate"];
    let still = share(&rolling["maxUnavailable"], &format!("{at}.maxUnavailable"), true, errors);
    let alone = share(&rolling["maxSurge"], &format!("{at}.maxSurge"), true, errors);
    if still && alone {
        errors.push(FieldError::required(format!("{at}.maxUnavailable"), "cannot be 0 when maxSurge is 0"));
    } else if !still && !alone {
        let why = "may not be set when maxUnavailable is non-zero";
        errors.push(FieldError::invalid(format!("{at}.maxSurge"), &rolling["maxSurge"], why));
    }
}

pub(super) fn budget(spec: &Value, errors: &mut Errors) {
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        // As Go's internal type is written.
        let fields = ["minAvailable", "selector", "maxUnavailable", "unhealthyPodEvictionPolicy"];
        let shown: Map<String, Value> =
            fields.iter().map(|field| (field[..1].to_uppercase() + &field[1..], spec[*field].clone())).collect();
        errors.push(FieldError::invalid("spec", &Value::Object(shown), "minAvailable and maxUnavailable cannot be both set"));
    }
    for key in ["minAvailable", "maxUnavailable"] {
        share(&spec[key], &format!("spec.{key}"), true, errors);
    }
    enumerated(spec, "unhealthyPodEvictionPolicy", "spec", &["AlwaysAllow", "IfHealthyBudget"], errors);
}

pub(super) fn service(spec: &Value, errors: &mut Errors) {
    let headless = spec["clusterIP"] == "None";
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    if ports.is_empty() && !headless && spec["type"] != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let (mut names, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let at = format!("spec.ports[{index}]");
        let number = port["port"].as_i64().unwrap_or(0);
        if !(1..=65535).contains(&number) {
            errors.push(FieldError::invalid(format!("{at}.port"), &json!(number), "must be between 1 and 65535, inclusive"));
        }
        match port["name"].as_str().unwrap_or_default() {
            "" if ports.len() > 1 => errors.push(FieldError::required(format!("{at}.name"), "")),
            "" => {}
            name if !is_label(name) => errors.push(FieldError::invalid(format!("{at}.name"), &port["name"], LABEL)),
            name if !names.insert(name) => errors.push(FieldError::duplicate(format!("{at}.name"), &port["name"])),
            _ => {}
        }
        protocol(port, &at, errors);
        if !port["targetPort"].is_null() && port["targetPort"] != 0 && port["targetPort"] != "" {
            number_or_name(&port["targetPort"], &format!("{at}.targetPort"), errors);
        }
        let spoken = port["protocol"].as_str().unwrap_or("TCP");
        if !taken.insert((spoken, number)) {
            // As Go's internal type is written, with what decides alone.
            let shown = json!({ "Name": "", "Protocol": spoken, "AppProtocol": null, "Port": number, "TargetPort": 0, "NodePort": 0 });
            errors.push(FieldError::duplicate(at, &shown));
        }
    }
    enumerated(spec, "type", "spec", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], errors);
    enumerated(spec, "sessionAffinity", "spec", &["ClientIP", "None"], errors);
    let outside = spec["externalName"].as_str().unwrap_or_default();
    if spec["type"] == "ExternalName" {
        match outside.trim_end_matches('.') {
            "" => errors.push(FieldError::required("spec.externalName", "")),
            name if !is_subdomain(name) => errors.push(FieldError::invalid("spec.externalName", &spec["externalName"], SUBDOMAIN)),
            _ => {}
        }
    } else if let Some(address) = spec["clusterIP"].as_str().filter(|address| !matches!(*address, "" | "None"))
        && address.parse::<std::net::IpAddr>().is_err()
    {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid("spec.clusterIPs[0]", &spec["clusterIP"], why));
    }
}

/// What is refused in something new alone: an update takes back what the type no longer has.
pub(super) fn new_service(spec: &Value, errors: &mut Errors) {
    if spec["type"] != "ClusterIP" {
        return;
    }
    for (index, port) in spec["ports"].as_array().into_iter().flatten().enumerate() {
        if port["nodePort"].as_i64().is_some_and(|number| number != 0) {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(format!("spec.ports[{index}].nodePort"), why));
        }
    }
}
