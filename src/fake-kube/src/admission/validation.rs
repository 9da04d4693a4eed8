//! Validation of built-in kinds, for the mistakes that people make; custom kinds go by their schema.
//!
//! - every object: name, namespace, labels, annotations' size, finalizers' form, owner references
//! - pods and templates (more in [`super::pod_specs`], of workloads and services in [`super::workloads`]): containers, their names, images, pull and restart policies, ports, quantities (negative, request over limit),
//!   tolerations, node affinity's operators, spread constraints; updates of what may not change
//! - workloads: selector, its match with the template, restart policy, replicas, strategy; immutable selectors
//! - the kinds of [`super::others`]
//! - nodes' taints, budgets, priority classes, services' ports, CRDs' names
//!
//! Source: `k8s.io/apimachinery/pkg/api/validation`, `k8s.io/kubernetes/pkg/apis/{core,apps,policy}/validation`.

use serde_json::{Map, Value};

use super::Errors;
use crate::api::Api;
use crate::kinds::Kind;
use crate::quantity::Quantity;
use crate::select::{Labels, is_label, is_label_key, is_label_value, is_subdomain};
use crate::status::FieldError;
use crate::store::string_map;

pub(super) const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
pub(super) const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
pub(super) const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Bytes that all annotations of an object may have together.
const ANNOTATIONS: usize = 256 * 1024;

pub(crate) fn validate_create(api: &Api, kind: &Kind, version: &str, object: &Value) -> Errors {
    let mut errors = metadata(kind, object);
    if kind.is_custom() {
        errors.extend(crate::crd::validate(kind, version, object, None));
    } else {
        specific(api, kind, object, &mut errors);
        match kind.key.as_str() {
            "pods" if object["spec"]["ephemeralContainers"].as_array().is_some_and(|list| !list.is_empty()) => {
                errors.push(FieldError::forbidden("spec.ephemeralContainers", "cannot be set on create"));
            }
            "services" => super::workloads::new_service(&object["spec"], &mut errors),
            _ => {}
        }
    }
    errors
}

pub(crate) fn validate_update(api: &Api, kind: &Kind, version: &str, old: &Value, new: &Value, subresource: Option<&str>) -> Errors {
    let mut errors = metadata(kind, new);
    deletion_in_progress(kind.is_custom(), old, new, &mut errors);
    if kind.is_custom() {
        errors.extend(crate::crd::validate(kind, version, new, Some(old)));
    } else if subresource.is_none() {
        immutable(kind, old, new, &mut errors);
        super::others::immutable(kind, old, new, &mut errors);
        specific(api, kind, new, &mut errors);
        if kind.group == "apiextensions.k8s.io" {
            // The name stands, so what it is made of is what must not change.
            errors.retain(|error| error.field != "metadata.name");
        }
    }
    errors
}

fn metadata(kind: &Kind, object: &Value) -> Errors {
    let mut errors = Vec::new();
    let meta = &object["metadata"];
    let name = meta["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        errors.extend(name_errors(kind, name).map(|why| FieldError::invalid("metadata.name", &meta["name"], why)));
    }
    labels(&meta["labels"], "metadata.labels", &mut errors);
    for (key, _) in meta["annotations"].as_object().into_iter().flatten() {
        if !is_label_key(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", &Value::from(key.clone()), QUALIFIED));
        }
    }
    let size: usize =
        meta["annotations"].as_object().into_iter().flatten().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS as u64));
    }
    for owner in meta["ownerReferences"].as_array().into_iter().flatten() {
        for (key, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if owner[key].as_str().unwrap_or_default().is_empty() {
                errors.push(FieldError::invalid(format!("metadata.ownerReferences.{key}"), &Value::from(""), why));
            }
        }
    }
    let controllers = meta["ownerReferences"].as_array().into_iter().flatten().filter(|owner| owner["controller"] == true).count();
    if controllers > 1 {
        errors.push(FieldError::invalid(
            "metadata.ownerReferences",
            &meta["ownerReferences"],
            "Only one reference can have Controller set to true",
        ));
    }
    for (index, finalizer) in meta["finalizers"].as_array().into_iter().flatten().enumerate() {
        let text = finalizer.as_str().unwrap_or_default();
        if !is_label_key(text) {
            errors.push(FieldError::invalid("metadata.finalizers", finalizer, QUALIFIED));
        } else if !text.contains('/')
            && !matches!(text, "orphan" | "foregroundDeletion" | "kubernetes")
            && !kind.is_custom()
            && kind.group != "apiextensions.k8s.io"
        {
            errors.push(FieldError::invalid(
                format!("metadata.finalizers[{index}]"),
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    errors
}

fn name_errors(kind: &Kind, name: &str) -> Option<String> {
    let key = kind.key.as_str();
    match key {
        // `path.ValidatePathSegmentName`: anything that can stand in a URL.
        _ if kind.group == "rbac.authorization.k8s.io" => match name {
            "." | ".." => Some(format!("may not be '{name}'")),
            _ if name.contains('/') => Some("may not contain '/'".to_owned()),
            _ if name.contains('%') => Some("may not contain '%'".to_owned()),
            _ => None,
        },
        "networking.k8s.io/ipaddresses" => match name.parse::<std::net::IpAddr>() {
            Ok(address) if address.to_string() == name => None,
            Ok(address) => Some(format!("must be in canonical form (\"{address}\")")),
            Err(_) => Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()),
        },
        "namespaces" if name.len() > 63 => Some("must be no more than 63 bytes".to_owned()),
        "namespaces" => (!is_label(name)).then(|| LABEL.to_owned()),
        "services" => (!is_label(name) || name.starts_with(|c: char| c.is_ascii_digit())).then(|| DNS1035.to_owned()),
        _ if name.len() > 253 => Some("must be no more than 253 bytes".to_owned()),
        _ => (!is_subdomain(name)).then(|| SUBDOMAIN.to_owned()),
    }
}

fn labels(value: &Value, path: &str, errors: &mut Errors) {
    for (key, value) in value.as_object().into_iter().flatten() {
        if !is_label_key(key) {
            errors.push(FieldError::invalid(path, &Value::from(key.clone()), QUALIFIED));
        }
        let text = value.as_str().unwrap_or_default();
        if text.len() > 63 {
            errors.push(FieldError::invalid(path, value, "must be no more than 63 bytes"));
        } else if !is_label_value(text) {
            errors.push(FieldError::invalid(path, value, LABEL_VALUE));
        }
    }
}

fn deletion_in_progress(custom: bool, old: &Value, new: &Value, errors: &mut Errors) {
    if old["metadata"]["deletionTimestamp"].is_null() {
        return;
    }
    let list = |object: &Value| crate::schema::strings(&object["metadata"]["finalizers"]);
    let before = list(old);
    let added: Vec<String> = list(new).into_iter().filter(|one| !before.contains(one)).collect();
    if !added.is_empty() {
        let shown = added.iter().map(|one| crate::status::quoted(one)).collect::<Vec<_>>().join(", ");
        let detail = format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}");
        errors.push(FieldError::forbidden("metadata.finalizers", detail.clone()));
        // Built-in strategies check the metadata once more than the generic code does.
        if !custom {
            errors.push(FieldError::forbidden("metadata.finalizers", detail));
        }
    }
}

fn specific(api: &Api, kind: &Kind, object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    match kind.key.as_str() {
        "pods" => pod_spec(spec, "spec", errors),
        "apps/deployments" | "apps/replicasets" | "apps/statefulsets" | "apps/daemonsets" => {
            if kind.key == "apps/statefulsets" && !matches!(spec["podManagementPolicy"].as_str(), Some("OrderedReady" | "Parallel")) {
                let why = "must be 'OrderedReady' or 'Parallel'";
                errors.push(FieldError::invalid("spec.podManagementPolicy", &spec["podManagementPolicy"], why));
            }
            workload(kind, spec, errors);
            match kind.plural.as_str() {
                "deployments" => super::workloads::deployment(spec, errors),
                "daemonsets" => super::workloads::daemon_set(spec, errors),
                _ => {}
            }
        }
        "batch/jobs" => {
            let policy = spec["template"]["spec"]["restartPolicy"].as_str().unwrap_or_default();
            if !matches!(policy, "OnFailure" | "Never") {
                errors.push(FieldError::required("spec.template.spec.restartPolicy", "valid values: \"OnFailure\", \"Never\""));
            }
            pod_spec(&spec["template"]["spec"], "spec.template.spec", errors);
        }
        "batch/cronjobs" => cron_job(spec, errors),
        "nodes" => taints(&spec["taints"], errors),
        "limitranges" => super::limits::validate(spec, errors),
        "services" => super::workloads::service(spec, errors),
        "policy/poddisruptionbudgets" => super::workloads::budget(spec, errors),
        "scheduling.k8s.io/priorityclasses" => {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            enumerated(object, "preemptionPolicy", "", &["PreemptLowerPriority", "Never"], errors);
            if name.starts_with("system-") && !matches!(name, "system-cluster-critical" | "system-node-critical") {
                let why = "priority class names with 'system-' prefix are reserved for system use only. error:";
                errors.push(FieldError::forbidden("metadata.name", format!("{why} {name} is not a known system priority class")));
            }
            if object["value"].as_i64().unwrap_or(0) > 1_000_000_000 && !name.starts_with("system-") {
                errors.push(FieldError::forbidden("value", "maximum allowed value of a user defined priority is 1000000000"));
            }
        }
        "apiextensions.k8s.io/customresourcedefinitions" => crate::crd::validate_definition(api, object, errors),
        _ => super::others::validate(kind, object, errors),
    }
}

fn workload(kind: &Kind, spec: &Value, errors: &mut Errors) {
    non_negative(spec, "replicas", "spec", errors);
    non_negative(spec, "minReadySeconds", "spec", errors);
    let template = &spec["template"];
    let selector = Labels::of(&spec["selector"]);
    match selector {
        None => {
            errors.push(FieldError::required("spec.selector", ""));
            // No selector matches no labels.
            let shown = shown_map(&template["metadata"]["labels"]);
            let detail = "`selector` does not match template `labels`";
            errors.push(FieldError { value: Some(shown), ..FieldError::invalid("spec.template.metadata.labels", &Value::Null, detail) });
        }
        Some(selector) if selector.is_empty() => {
            errors.push(FieldError::invalid(
                "spec.selector",
                &spec["selector"],
                format!("empty selector is invalid for {}", kind.kind.to_lowercase()),
            ));
        }
        Some(selector) => {
            if !selector.matches(&string_map(&template["metadata"]["labels"])) {
                let shown = shown_map(&template["metadata"]["labels"]);
                errors.push(FieldError {
                    value: Some(shown),
                    ..FieldError::invalid("spec.template.metadata.labels", &Value::Null, "`selector` does not match template `labels`")
                });
            }
        }
    }
    labels(&template["metadata"]["labels"], "spec.template.labels", errors);
    let claims: Vec<Value> = spec["volumeClaimTemplates"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|claim| serde_json::json!({ "name": claim["metadata"]["name"] }))
        .collect();
    if claims.is_empty() {
        pod_spec(&template["spec"], "spec.template.spec", errors);
    } else {
        // Claims are volumes that the controller adds.
        let mut whole = template["spec"].clone();
        match whole["volumes"].as_array_mut() {
            Some(volumes) => volumes.extend(claims),
            None => whole["volumes"] = Value::from(claims),
        }
        pod_spec(&whole, "spec.template.spec", errors);
    }
    let policy = &template["spec"]["restartPolicy"];
    if policy != "Always" && template["spec"].is_object() {
        errors.push(FieldError::unsupported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
}

/// How a map of labels is shown in messages: as JSON, sorted.
fn shown_map(value: &Value) -> String {
    let sorted: std::collections::BTreeMap<String, String> = string_map(value);
    serde_json::to_string(&sorted).unwrap_or_default()
}

pub(super) fn non_negative(parent: &Value, key: &str, path: &str, errors: &mut Errors) {
    if parent[key].as_i64().is_some_and(|number| number < 0) {
        errors.push(FieldError::invalid(format!("{path}.{key}"), &parent[key], "must be greater than or equal to 0"));
    }
}

pub(super) fn pod_spec(spec: &Value, path: &str, errors: &mut Errors) {
    let volumes: Vec<&str> = spec["volumes"].as_array().into_iter().flatten().filter_map(|volume| volume["name"].as_str()).collect();
    let containers = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut names: Vec<&str> = Vec::new();
    for list in ["containers", "initContainers"] {
        for (index, one) in spec[list].as_array().into_iter().flatten().enumerate() {
            let at = format!("{path}.{list}[{index}]");
            container(one, &at, &volumes, errors);
            if let Some(name) = one["name"].as_str() {
                if names.contains(&name) {
                    errors.push(FieldError::duplicate(format!("{at}.name"), &one["name"]));
                }
                names.push(name);
            }
        }
    }
    super::pod_specs::whole(spec, path, errors);
    enumerated(spec, "restartPolicy", path, &["Always", "OnFailure", "Never"], errors);
    enumerated(spec, "dnsPolicy", path, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], errors);
    non_negative(spec, "terminationGracePeriodSeconds", path, errors);
    labels(&spec["nodeSelector"], &format!("{path}.nodeSelector"), errors);
    tolerations(&spec["tolerations"], &format!("{path}.tolerations"), errors);
    spread(&spec["topologySpreadConstraints"], &format!("{path}.topologySpreadConstraints"), errors);
    node_affinity(&spec["affinity"]["nodeAffinity"], &format!("{path}.affinity.nodeAffinity"), errors);
}

pub(super) fn enumerated(parent: &Value, key: &str, path: &str, allowed: &[&str], errors: &mut Errors) {
    if let Some(text) = parent[key].as_str()
        && !allowed.contains(&text)
    {
        let at = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        errors.push(FieldError::unsupported(at, &parent[key], allowed));
    }
}

fn container(container: &Value, path: &str, volumes: &[&str], errors: &mut Errors) {
    match container["name"].as_str().unwrap_or_default() {
        "" => errors.push(FieldError::required(format!("{path}.name"), "")),
        name if !is_label(name) => errors.push(FieldError::invalid(format!("{path}.name"), &container["name"], LABEL)),
        _ => {}
    }
    if container["image"].as_str().unwrap_or_default().is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    }
    enumerated(container, "imagePullPolicy", path, &["Always", "IfNotPresent", "Never"], errors);
    for (index, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
        let at = format!("{path}.ports[{index}].containerPort");
        match port["containerPort"].as_i64() {
            None | Some(0) => errors.push(FieldError::required(at, "")),
            Some(number) if !(1..=65535).contains(&number) => {
                errors.push(FieldError::invalid(at, &port["containerPort"], "must be between 1 and 65535, inclusive"))
            }
            Some(_) => {}
        }
    }
    for (index, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let name = mount["name"].as_str().unwrap_or_default();
        if !volumes.contains(&name) {
            errors.push(FieldError {
                kind: crate::status::FieldErrorKind::NotFound,
                ..FieldError::invalid(format!("{path}.volumeMounts[{index}].name"), &mount["name"], "")
            });
        }
    }
    resources(&container["resources"], &format!("{path}.resources"), errors);
    super::pod_specs::extended(&container["resources"], &format!("{path}.resources"), errors);
    super::pod_specs::container(container, path, errors);
}

fn resources(resources: &Value, path: &str, errors: &mut Errors) {
    let quantity = |value: &Value| value.as_str().and_then(|text| Quantity::parse(text).ok());
    for list in ["limits", "requests"] {
        for (name, value) in resources[list].as_object().into_iter().flatten() {
            if quantity(value).is_some_and(Quantity::is_negative) {
                errors.push(FieldError::invalid(format!("{path}.{list}[{name}]"), value, "must be greater than or equal to 0"));
            }
            if !name.contains('/') && !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
                errors.push(FieldError::invalid(
                    format!("{path}.{list}[{name}]"),
                    &Value::from(name.clone()),
                    "must be a standard resource for containers",
                ));
            }
        }
    }
    for (name, value) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        if let (Some(request), Some(limit_value)) = (quantity(value), quantity(limit))
            && request > limit_value
            && !super::pod_specs::is_whole(name)
        {
            let detail = format!("must be less than or equal to {name} limit of {}", limit.as_str().unwrap_or_default());
            errors.push(FieldError::invalid(format!("{path}.requests"), value, detail));
        }
    }
}

fn tolerations(list: &Value, path: &str, errors: &mut Errors) {
    for (index, one) in list.as_array().into_iter().flatten().enumerate() {
        let at = format!("{path}[{index}]");
        let operator = one["operator"].as_str().unwrap_or_default();
        let key = one["key"].as_str().unwrap_or_default();
        if key.is_empty() && operator != "Exists" {
            errors.push(FieldError::invalid(
                format!("{at}.operator"),
                &one["operator"],
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ));
        }
        if operator == "Exists" && !one["value"].as_str().unwrap_or_default().is_empty() {
            errors.push(FieldError::invalid(format!("{at}.operator"), &one["value"], "value must be empty when `operator` is 'Exists'"));
        }
        if !matches!(operator, "" | "Equal" | "Exists" | "Lt" | "Gt") {
            errors.push(FieldError::unsupported(format!("{at}.operator"), &one["operator"], &["Equal", "Exists"]));
        }
        if !one["tolerationSeconds"].is_null() && one["effect"] != "NoExecute" {
            errors.push(FieldError::invalid(
                format!("{at}.effect"),
                &Value::from(one["effect"].as_str().unwrap_or_default()),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            ));
        }
        let effect = one["effect"].as_str().unwrap_or_default();
        if !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            errors.push(FieldError::unsupported(format!("{at}.effect"), &one["effect"], &["NoSchedule", "PreferNoSchedule", "NoExecute"]));
        }
    }
}

fn spread(list: &Value, path: &str, errors: &mut Errors) {
    for (index, one) in list.as_array().into_iter().flatten().enumerate() {
        let at = format!("{path}[{index}]");
        if one["maxSkew"].as_i64().unwrap_or(0) <= 0 {
            let value = Value::from(one["maxSkew"].as_i64().unwrap_or(0));
            errors.push(FieldError::invalid(format!("{at}.maxSkew"), &value, "must be greater than zero"));
        }
        if one["topologyKey"].as_str().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(format!("{at}.topologyKey"), "can not be empty"));
        }
        enumerated(one, "whenUnsatisfiable", &at, &["DoNotSchedule", "ScheduleAnyway"], errors);
    }
}

fn node_affinity(affinity: &Value, path: &str, errors: &mut Errors) {
    let required = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"].as_array().map(Vec::as_slice);
    if affinity["requiredDuringSchedulingIgnoredDuringExecution"].is_object() && required.is_none_or(<[Value]>::is_empty) {
        errors.push(FieldError::required(
            format!("{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"),
            "must have at least one node selector term",
        ));
    }
    for (index, term) in required.unwrap_or_default().iter().enumerate() {
        for (number, one) in term["matchExpressions"].as_array().into_iter().flatten().enumerate() {
            let at = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{index}].matchExpressions[{number}]");
            let values = one["values"].as_array().map_or(0, Vec::len);
            match one["operator"].as_str().unwrap_or_default() {
                "In" | "NotIn" if values == 0 => {
                    errors.push(FieldError::required(format!("{at}.values"), "must be specified when `operator` is 'In' or 'NotIn'"));
                }
                "Exists" | "DoesNotExist" if values > 0 => {
                    errors.push(FieldError::forbidden(
                        format!("{at}.values"),
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    ));
                }
                "Gt" | "Lt" if values != 1 => {
                    errors.push(FieldError::required(
                        format!("{at}.values"),
                        "must be specified single value when `operator` is 'Lt' or 'Gt'",
                    ));
                }
                "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
                _ => errors.push(FieldError::invalid(format!("{at}.operator"), &one["operator"], "not a valid selector operator")),
            }
        }
    }
}

/// `pkg/apis/batch/validation/validation.go`, validateCronJobSpec.
fn cron_job(spec: &Value, errors: &mut Errors) {
    let schedule = spec["schedule"].as_str().unwrap_or_default();
    if schedule.is_empty() {
        errors.push(FieldError::required("spec.schedule", ""));
    } else if let Err(why) = crate::cron::Schedule::parse(schedule) {
        errors.push(FieldError::invalid("spec.schedule", &spec["schedule"], why));
    }
    if let Some(zone) = spec["timeZone"].as_str()
        && jiff::tz::TimeZone::get(zone).is_err()
    {
        errors.push(FieldError::invalid("spec.timeZone", &spec["timeZone"], format!("unknown time zone {zone}")));
    }
    let policies = ["Allow", "Forbid", "Replace"];
    if !policies.iter().any(|policy| spec["concurrencyPolicy"] == *policy) {
        errors.push(FieldError::unsupported("spec.concurrencyPolicy", &spec["concurrencyPolicy"], &policies));
    }
    let pods = &spec["jobTemplate"]["spec"]["template"]["spec"];
    if !matches!(pods["restartPolicy"].as_str(), Some("OnFailure" | "Never")) {
        let field = "spec.jobTemplate.spec.template.spec.restartPolicy";
        errors.push(FieldError::required(field, "valid values: \"OnFailure\", \"Never\""));
    }
    pod_spec(pods, "spec.jobTemplate.spec.template.spec", errors);
}

fn taints(list: &Value, errors: &mut Errors) {
    let mut seen: Vec<(&Value, &Value)> = Vec::new();
    for (index, one) in list.as_array().into_iter().flatten().enumerate() {
        let at = format!("metadata.taints[{index}]");
        if !is_label_key(one["key"].as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(format!("{at}.key"), &one["key"], QUALIFIED));
        }
        let effect = one["effect"].as_str().unwrap_or_default();
        if effect.is_empty() {
            errors.push(FieldError::required(format!("{at}.effect"), ""));
        } else if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            errors.push(FieldError::unsupported(format!("{at}.effect"), &one["effect"], &["NoSchedule", "PreferNoSchedule", "NoExecute"]));
        }
        if seen.contains(&(&one["key"], &one["effect"])) {
            let mut error = FieldError::duplicate(at.clone(), one);
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
        seen.push((&one["key"], &one["effect"]));
    }
}

const POD_UPDATE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What an update may not change.
fn immutable(kind: &Kind, old: &Value, new: &Value, errors: &mut Errors) {
    let fixed = |path: &str, errors: &mut Errors| {
        let at = |object: &Value| path.split('.').fold(object.clone(), |value, key| value[key].clone());
        let (before, after) = (at(old), at(new));
        if before != after {
            errors.push(FieldError::invalid(path, &after, "field is immutable"));
        }
    };
    match kind.key.as_str() {
        "pods" if mask(&old["spec"]) != mask(&new["spec"]) => errors.push(FieldError::forbidden("spec", POD_UPDATE)),
        "apps/deployments" | "apps/replicasets" | "apps/daemonsets" => fixed("spec.selector", errors),
        "apps/statefulsets" => {
            let allowed = [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ];
            let rest = |object: &Value| -> Map<String, Value> {
                object["spec"]
                    .as_object()
                    .cloned()
                    .unwrap_or_default()
                    .into_iter()
                    .filter(|(key, _)| !allowed.contains(&key.as_str()))
                    .collect()
            };
            if rest(old) != rest(new) {
                errors.push(FieldError::forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"));
            }
        }
        "batch/jobs" => {
            fixed("spec.selector", errors);
            fixed("spec.completionMode", errors);
            if old["spec"]["suspend"] != true {
                fixed("spec.template", errors);
            }
        }
        "nodes" => {
            let before = old["spec"]["providerID"].as_str().unwrap_or_default();
            if !before.is_empty() && new["spec"]["providerID"] != before {
                errors.push(FieldError::forbidden("spec.providerID", "node updates may not change providerID except from \"\" to valid"));
            }
        }
        "scheduling.k8s.io/priorityclasses" if old["value"] != new["value"] => {
            errors.push(FieldError::forbidden("value", "may not be changed in an update."));
        }
        "apiextensions.k8s.io/customresourcedefinitions" => {
            ["spec.group", "spec.scope", "spec.names.kind", "spec.names.plural"].iter().for_each(|path| fixed(path, errors));
        }
        "services" if old["spec"]["type"] != "ExternalName" && new["spec"]["type"] != "ExternalName" => fixed("spec.clusterIP", errors),
        _ => {}
    }
    if matches!(kind.key.as_str(), "configmaps" | "secrets") && old["immutable"] == true {
        for key in ["immutable", "data", "binaryData"] {
            if old[key] != new[key] {
                errors.push(FieldError::forbidden(key, "field is immutable when `immutable` is set"));
            }
        }
    }
}

/// A pod's spec without what may change after creation.
fn mask(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let gated = spec["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    for list in ["containers", "initContainers"] {
        for one in spec[list].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            one.shift_remove("image");
        }
    }
    if let Some(map) = spec.as_object_mut() {
        for key in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates", "ephemeralContainers"] {
            map.shift_remove(key);
        }
        if gated {
            map.shift_remove("nodeSelector");
            map.shift_remove("affinity");
        }
    }
    spec
}
