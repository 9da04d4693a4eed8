//! Mistakes in pods and their templates beyond names, images and resources: ports of the node, environment, probes, mounts, volumes,
//! affinity between pods.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/validation/validation.go`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Errors;
use super::others::{CONFIG_KEY, is_config_key};
use super::validation::{LABEL, QUALIFIED, SUBDOMAIN};
use crate::quantity::Quantity;
use crate::select::{is_label, is_label_key, is_subdomain};
use crate::status::FieldError;

fn list(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What concerns the pod as a whole.
pub(super) fn whole(spec: &Value, path: &str, errors: &mut Errors) {
    volumes(&spec["volumes"], &format!("{path}.volumes"), errors);
    host_ports(spec, path, errors);
    for kind in ["podAffinity", "podAntiAffinity"] {
        pod_affinity(&spec["affinity"][kind], &format!("{path}.affinity.{kind}"), errors);
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let why = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(format!("{path}.activeDeadlineSeconds"), &spec["activeDeadlineSeconds"], why));
    }
    for key in ["hostname", "subdomain"] {
        if !text(&spec[key]).is_empty() && !is_label(text(&spec[key])) {
            errors.push(FieldError::invalid(format!("{path}.{key}"), &spec[key], LABEL));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, gate) in list(&spec["schedulingGates"]) {
        if !seen.insert(text(&gate["name"])) {
            errors.push(FieldError::duplicate(format!("{path}.schedulingGates[{index}]"), &gate["name"]));
        }
    }
}

pub(super) fn container(container: &Value, path: &str, errors: &mut Errors) {
    ports(&container["ports"], &format!("{path}.ports"), errors);
    for (index, one) in list(&container["env"]) {
        variable(one, &format!("{path}.env[{index}]"), errors);
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[name].is_object() {
            probe(&container[name], name != "readinessProbe", &format!("{path}.{name}"), errors);
        }
    }
    let mut seen = BTreeSet::new();
    for (index, mount) in list(&container["volumeMounts"]) {
        let at = format!("{path}.volumeMounts[{index}].mountPath");
        match text(&mount["mountPath"]) {
            "" => errors.push(FieldError::required(at, "")),
            place if !seen.insert(place) => errors.push(FieldError::invalid(at, &mount["mountPath"], "must be unique")),
            _ => {}
        }
    }
}

/// `IsValidPortName` (`k8s.io/apimachinery/pkg/util/validation`).
pub(super) fn port_name(name: &str) -> Vec<&'static str> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let rules = [
        (name.len() > 15, "must be no more than 15 characters"),
        (name.is_empty() || !name.chars().all(good), "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
        (!name.chars().any(|c| c.is_ascii_alphabetic()), "must contain at least one letter (a-z)"),
        (name.contains("--"), "must not contain consecutive hyphens"),
        (name.starts_with('-') || name.ends_with('-'), "must not begin or end with a hyphen"),
    ];
    rules.into_iter().filter(|(wrong, _)| *wrong).map(|(_, why)| why).collect()
}

const PORT: &str = "must be between 1 and 65535, inclusive";

/// A port by number or by name.
pub(super) fn number_or_name(port: &Value, at: &str, errors: &mut Errors) {
    if let Some(name) = port.as_str() {
        errors.extend(port_name(name).into_iter().map(|why| FieldError::invalid(at, port, why)));
    } else if !(1..=65535).contains(&port.as_i64().unwrap_or(0)) {
        errors.push(FieldError::invalid(at, &json!(port.as_i64().unwrap_or(0)), PORT));
    }
}

pub(super) fn protocol(port: &Value, at: &str, errors: &mut Errors) {
    if !matches!(text(&port["protocol"]), "" | "TCP" | "UDP" | "SCTP") {
        errors.push(FieldError::unsupported(format!("{at}.protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]));
    }
}

fn ports(ports: &Value, path: &str, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, port) in list(ports) {
        let at = format!("{path}[{index}]");
        let name = text(&port["name"]);
        if !name.is_empty() {
            let wrong = port_name(name);
            if wrong.is_empty() && !names.insert(name) {
                errors.push(FieldError::duplicate(format!("{at}.name"), &port["name"]));
            }
            errors.extend(wrong.into_iter().map(|why| FieldError::invalid(format!("{at}.name"), &port["name"], why)));
        }
        if port["hostPort"].as_i64().is_some_and(|number| number != 0 && !(1..=65535).contains(&number)) {
            errors.push(FieldError::invalid(format!("{at}.hostPort"), &port["hostPort"], PORT));
        }
        protocol(port, &at, errors);
    }
}

/// No two containers have one port of the node, and whose network is the node's has its own ports there.
fn host_ports(spec: &Value, path: &str, errors: &mut Errors) {
    let mut taken = BTreeSet::new();
    for (number, container) in list(&spec["containers"]) {
        for (index, port) in list(&container["ports"]) {
            let at = format!("{path}.containers[{number}].ports[{index}].hostPort");
            let Some(host) = port["hostPort"].as_i64().filter(|host| *host != 0) else { continue };
            if spec["hostNetwork"] == true && port["containerPort"] != port["hostPort"] {
                errors.push(FieldError::invalid(&at, &port["hostPort"], "must match `containerPort` when `hostNetwork` is true"));
            }
            let shown = format!("{}/{}/{host}", text(&port["protocol"]), text(&port["hostIP"]));
            if !taken.insert(shown.clone()) {
                errors.push(FieldError::duplicate(at, &json!(shown)));
            }
        }
    }
}

fn variable(one: &Value, path: &str, errors: &mut Errors) {
    const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    match text(&one["name"]) {
        "" => errors.push(FieldError::required(format!("{path}.name"), "")),
        name if !name.chars().all(|c| (' '..='~').contains(&c) && c != '=') => {
            let why = "a valid environment variable name must consist only of printable ASCII characters other than '='";
            errors.push(FieldError::invalid(format!("{path}.name"), &one["name"], why));
        }
        _ => {}
    }
    let (from, at) = (&one["valueFrom"], format!("{path}.valueFrom"));
    if !from.is_object() {
        return;
    }
    let wrong = match SOURCES.iter().filter(|source| !from[**source].is_null()).count() {
        0 => Some("must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"),
        _ if !text(&one["value"]).is_empty() => Some("may not be specified when `value` is not empty"),
        1 => None,
        _ => Some("may not have more than one field specified at a time"),
    };
    errors.extend(wrong.map(|why| FieldError::invalid(&at, &json!(""), why)));
    if from["fieldRef"].is_object() {
        field_path(&from["fieldRef"]["fieldPath"], &format!("{at}.fieldRef.fieldPath"), errors);
    }
    for source in ["configMapKeyRef", "secretKeyRef"] {
        let (source, at) = (&from[source], format!("{at}.{source}"));
        if !source.is_object() {
            continue;
        }
        if !is_subdomain(text(&source["name"])) {
            errors.push(FieldError::invalid(format!("{at}.name"), &json!(text(&source["name"])), SUBDOMAIN));
        }
        match text(&source["key"]) {
            "" => errors.push(FieldError::required(format!("{at}.key"), "")),
            key if !is_config_key(key) => {
                errors.push(FieldError::invalid(format!("{at}.key"), &source["key"], CONFIG_KEY));
            }
            _ => {}
        }
    }
}

/// `ConvertDownwardAPIFieldLabel` (`pkg/apis/core/pods/helpers.go`).
fn field_path(path: &Value, at: &str, errors: &mut Errors) {
    const KNOWN: [&str; 13] = [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.labels",
        "metadata.annotations",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.serviceAccountName",
        "spec.schedulerName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    let name = text(path);
    let whole = name.split_once("['").filter(|_| name.ends_with("']")).map_or(name, |(whole, _)| whole);
    if name.is_empty() {
        errors.push(FieldError::required(at, ""));
    } else if !KNOWN.contains(&whole) && whole != "status.phase" && whole != "spec.host" {
        errors.push(FieldError::invalid(at, path, format!("error converting fieldPath: field label not supported: {name}")));
    }
}

fn probe(probe: &Value, once: bool, path: &str, errors: &mut Errors) {
    let handlers: Vec<&str> = ["exec", "httpGet", "tcpSocket", "grpc"].into_iter().filter(|handler| probe[*handler].is_object()).collect();
    match handlers.first() {
        None => errors.push(FieldError::required(path, "must specify a handler type")),
        Some(&"exec") if probe["exec"]["command"].as_array().is_none_or(Vec::is_empty) => {
            errors.push(FieldError::required(format!("{path}.exec.command"), ""));
        }
        Some(&handler @ ("httpGet" | "tcpSocket")) => {
            number_or_name(&probe[handler]["port"], &format!("{path}.{handler}.port"), errors);
        }
        Some(_) => {}
    }
    for more in handlers.iter().skip(1) {
        errors.push(FieldError::forbidden(format!("{path}.{more}"), "may not specify more than 1 handler type"));
    }
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        super::validation::non_negative(probe, key, path, errors);
    }
    if once && probe["successThreshold"].as_i64().is_some_and(|times| times > 1) {
        errors.push(FieldError::invalid(format!("{path}.successThreshold"), &probe["successThreshold"], "must be 1"));
    }
}

fn volumes(volumes: &Value, path: &str, errors: &mut Errors) {
    /// In the order in which the server looks at them.
    const SOURCES: [&str; 27] = [
        "emptyDir",
        "hostPath",
        "gitRepo",
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "secret",
        "nfs",
        "iscsi",
        "glusterfs",
        "flocker",
        "persistentVolumeClaim",
        "rbd",
        "cinder",
        "cephfs",
        "quobyte",
        "downwardAPI",
        "fc",
        "flexVolume",
        "configMap",
        "azureFile",
        "vsphereVolume",
        "portworxVolume",
        "azureDisk",
        "projected",
        "csi",
        "ephemeral",
        "image",
    ];
    /// Sources that name an object.
    const NAMED: [(&str, &str); 3] = [("persistentVolumeClaim", "claimName"), ("configMap", "name"), ("secret", "secretName")];
    let mut names = BTreeSet::new();
    for (index, volume) in list(volumes) {
        let at = format!("{path}[{index}]");
        let sources: Vec<&str> = SOURCES.into_iter().filter(|source| volume[*source].is_object()).collect();
        match text(&volume["name"]) {
            "" => errors.push(FieldError::required(format!("{at}.name"), "")),
            name if !is_label(name) => errors.push(FieldError::invalid(format!("{at}.name"), &volume["name"], LABEL)),
            // What has no source stands for a StatefulSet's claim, which takes the place of a volume.
            name if !sources.is_empty() && !names.insert(name) => errors.push(FieldError::duplicate(format!("{at}.name"), &volume["name"])),
            _ => {}
        }
        for more in sources.iter().skip(1) {
            errors.push(FieldError::forbidden(format!("{at}.{more}"), "may not specify more than 1 volume type"));
        }
        for (source, key) in NAMED.iter().filter(|(source, _)| sources.first() == Some(source)) {
            if text(&volume[*source][*key]).is_empty() {
                errors.push(FieldError::required(format!("{at}.{source}.{key}"), ""));
            }
        }
    }
}

fn pod_affinity(affinity: &Value, path: &str, errors: &mut Errors) {
    for (index, term) in list(&affinity["requiredDuringSchedulingIgnoredDuringExecution"]) {
        topology_key(term, &format!("{path}.requiredDuringSchedulingIgnoredDuringExecution[{index}]"), errors);
    }
    for (index, one) in list(&affinity["preferredDuringSchedulingIgnoredDuringExecution"]) {
        let at = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]");
        if !(1..=100).contains(&one["weight"].as_i64().unwrap_or(0)) {
            errors.push(FieldError::invalid(
                format!("{at}.weight"),
                &json!(one["weight"].as_i64().unwrap_or(0)),
                "must be in the range 1-100",
            ));
        }
        topology_key(&one["podAffinityTerm"], &format!("{at}.podAffinityTerm"), errors);
    }
}

fn topology_key(term: &Value, path: &str, errors: &mut Errors) {
    let (at, key) = (format!("{path}.topologyKey"), text(&term["topologyKey"]));
    if key.is_empty() {
        errors.push(FieldError::required(&at, "can not be empty"));
        errors.push(FieldError::invalid(&at, &json!(""), "name part must be non-empty"));
    }
    if !is_label_key(key) {
        errors.push(FieldError::invalid(&at, &json!(key), QUALIFIED));
    }
}

/// What a node cannot promise twice: extended resources and huge pages.
pub(super) fn is_whole(name: &str) -> bool {
    name.starts_with("hugepages-") || is_extended(name)
}

fn is_extended(name: &str) -> bool {
    name.split_once('/').is_some_and(|(domain, _)| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io"))
}

/// Extended resources come as wholes, and a request of them is the limit.
pub(super) fn extended(resources: &Value, path: &str, errors: &mut Errors) {
    let quantity = |value: &Value| value.as_str().and_then(|text| Quantity::parse(text).ok());
    for side in ["limits", "requests"] {
        for (name, value) in resources[side].as_object().into_iter().flatten().filter(|(name, _)| is_extended(name)) {
            let thousandth = text(value).strip_suffix('m').and_then(|number| number.parse::<i64>().ok());
            if thousandth.is_some_and(|number| number % 1000 != 0) {
                errors.push(FieldError::invalid(format!("{path}.{side}[{name}]"), value, "must be an integer"));
            }
        }
    }
    for (name, value) in resources["requests"].as_object().into_iter().flatten().filter(|(name, _)| is_whole(name)) {
        let limit = &resources["limits"][name];
        if limit.is_null() {
            errors.push(FieldError::required(format!("{path}.limits"), "Limit must be set for non overcommitable resources"));
        } else if quantity(value) != quantity(limit) {
            let why = format!("must be equal to {name} limit of {}", text(limit));
            errors.push(FieldError::invalid(format!("{path}.requests"), value, why));
        }
    }
}
