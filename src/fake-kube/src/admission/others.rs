//! Defaults and validation of kinds that people seldom write by hand: the mistakes that a client's generator makes.
//!
//! - ConfigMaps' and Secrets' keys and data, volumes and claims, quotas, controller revisions, replication controllers, pod templates
//! - leases, storage classes, CSINodes, VolumeAttachments, storage capacities, runtime classes, endpoint slices
//! - autoscalers, roles and bindings, network policies, ingresses and their classes, webhook configurations
//!
//! Source: `k8s.io/kubernetes/pkg/apis/*/{v1/defaults.go,validation/validation.go}`; ci/generate/replay_kinds.py asks a real server.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::Errors;
use super::validation::{LABEL, QUALIFIED, SUBDOMAIN, pod_spec};
use crate::kinds::Kind;
use crate::quantity::Quantity;
use crate::select::{Labels, is_label, is_label_key, is_subdomain};
use crate::status::{FieldError, Status};

const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// Bytes that are no base64 are no Secret at all.
pub(crate) fn check_data(kind: &Kind, object: &Value) -> Result<(), Status> {
    if kind.key != "secrets" {
        return Ok(());
    }
    for value in object["data"].as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str()) {
        if base64::engine::general_purpose::STANDARD.decode(value).is_err() {
            let good = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
            let at = value.chars().take_while(good).count();
            let why = format!("Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte {at}");
            return Err(Status::bad_request(why));
        }
    }
    Ok(())
}

type Fields = Map<String, Value>;

fn each(list: Option<&mut Value>, f: &mut dyn FnMut(&mut Fields)) {
    list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut).for_each(f);
}

fn set(map: &mut Fields, key: &str, value: Value) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value);
    }
}

fn protocols(map: &mut Fields) {
    each(map.get_mut("ports"), &mut |port| set(port, "protocol", json!("TCP")));
}

pub(super) fn default(kind: &Kind, map: &mut Fields) {
    match kind.key.as_str() {
        "endpoints" => each(map.get_mut("subsets"), &mut protocols),
        // No limits are stored as none.
        "limitranges" if map.get("spec").is_some_and(|spec| spec["limits"].as_array().is_some_and(Vec::is_empty)) => {
            map.insert("spec".to_owned(), json!({ "limits": null }));
        }
        "networking.k8s.io/networkpolicies" => {
            if let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) {
                ["ingress", "egress"].iter().for_each(|way| each(spec.get_mut(*way), &mut protocols));
            }
        }
        "discovery.k8s.io/endpointslices" => each(map.get_mut("endpoints"), &mut |one| set(one, "conditions", json!({}))),
        "admissionregistration.k8s.io/mutatingwebhookconfigurations" | "admissionregistration.k8s.io/validatingwebhookconfigurations" => {
            let mutating = kind.plural.starts_with("mutating");
            each(map.get_mut("webhooks"), &mut |hook| {
                let plain = [
                    ("failurePolicy", json!("Fail")),
                    ("matchPolicy", json!("Equivalent")),
                    ("namespaceSelector", json!({})),
                    ("objectSelector", json!({})),
                    ("timeoutSeconds", json!(10)),
                ];
                plain.into_iter().for_each(|(key, value)| set(hook, key, value));
                if mutating {
                    set(hook, "reinvocationPolicy", json!("Never"));
                }
                each(hook.get_mut("rules"), &mut |rule| set(rule, "scope", json!("*")));
                if let Some(service) =
                    hook.get_mut("clientConfig").and_then(|config| config.get_mut("service")).and_then(Value::as_object_mut)
                {
                    set(service, "port", json!(443));
                }
            });
        }
        _ => {}
    }
}

pub(super) fn validate(kind: &Kind, object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match kind.key.as_str() {
        "configmaps" | "secrets" => {
            for (key, _) in object["data"].as_object().into_iter().flatten() {
                if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
                    errors.push(FieldError::invalid(format!("data[{key}]"), &json!(key), CONFIG_KEY));
                }
            }
        }
        "persistentvolumes" => {
            if list(&spec["accessModes"]).is_empty() {
                errors.push(FieldError::required("spec.accessModes", ""));
            }
            const OTHER: [&str; 8] = [
                "capacity",
                "accessModes",
                "claimRef",
                "persistentVolumeReclaimPolicy",
                "storageClassName",
                "mountOptions",
                "volumeMode",
                "nodeAffinity",
            ];
            let other = |key: &String| OTHER.contains(&key.as_str()) || key == "volumeAttributesClassName";
            if spec.as_object().is_none_or(|spec| spec.keys().all(other)) {
                errors.push(FieldError::required("spec", "must specify a volume type"));
            }
        }
        "persistentvolumeclaims" => {
            if list(&spec["accessModes"]).is_empty() {
                errors.push(FieldError::required("spec.accessModes", "at least 1 access mode is required"));
            }
            if spec["resources"]["requests"]["storage"].is_null() {
                errors.push(FieldError::required("spec.resources[storage]", ""));
            }
        }
        "replicationcontrollers" => {
            let labels = &spec["template"]["metadata"]["labels"];
            let selects = Labels::of(&json!({ "matchLabels": spec["selector"] }));
            let has = crate::store::string_map(labels);
            if spec["selector"].is_object() && selects.is_some_and(|selector| !selector.matches(&has)) {
                errors.push(FieldError::invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"));
            }
        }
        "podtemplates" => pod_spec(&object["template"]["spec"], "template.spec", errors),
        "resourcequotas" => {
            for (name, amount) in spec["hard"].as_object().into_iter().flatten() {
                if Quantity::parse(&text(amount)).is_ok_and(Quantity::is_negative) {
                    errors.push(FieldError::invalid(format!("spec.hard[{name}]"), amount, "must be greater than or equal to 0"));
                }
            }
        }
        "apps/controllerrevisions" if object["revision"].as_i64().is_some_and(|number| number < 0) => {
            errors.push(FieldError::invalid("revision", &object["revision"], "must be greater than or equal to 0"));
        }
        "coordination.k8s.io/leases" if spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) => {
            errors.push(FieldError::invalid("spec.leaseDurationSeconds", &spec["leaseDurationSeconds"], "must be greater than 0"));
        }
        "storage.k8s.io/storageclasses" => {
            let provisioner = text(&object["provisioner"]);
            if provisioner.is_empty() {
                errors.push(FieldError::required("provisioner", ""));
            } else if !is_label_key(&provisioner.to_lowercase()) {
                errors.push(FieldError::invalid("provisioner", &object["provisioner"], QUALIFIED));
            }
        }
        "storage.k8s.io/csinodes" => {
            for (at, driver) in list(&spec["drivers"]).iter().enumerate() {
                for key in ["name", "nodeID"] {
                    if text(&driver[key]).is_empty() {
                        errors.push(FieldError::required(format!("spec.drivers[{at}].{key}"), ""));
                    }
                }
            }
        }
        "storage.k8s.io/volumeattachments" => {
            let source = &spec["source"];
            if source["inlineVolumeSpec"].is_null() && text(&source["persistentVolumeName"]).is_empty() {
                let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
                errors.push(FieldError::required("spec.source", why));
            }
        }
        "storage.k8s.io/csistoragecapacities" if !is_subdomain(&text(&object["storageClassName"])) => {
            errors.push(FieldError::invalid("storageClassName", &object["storageClassName"], SUBDOMAIN));
        }
        "node.k8s.io/runtimeclasses" if !is_label(&text(&object["handler"])) => {
            errors.push(FieldError::invalid("handler", &object["handler"], LABEL));
        }
        "discovery.k8s.io/endpointslices" => one_of(&object["addressType"], "addressType", &["FQDN", "IPv4", "IPv6"], errors),
        "autoscaling/horizontalpodautoscalers" => autoscaler(spec, errors),
        "networking.k8s.io/networkpolicies" => {
            for (at, policy) in list(&spec["policyTypes"]).iter().enumerate() {
                one_of(policy, &format!("spec.policyTypes[{at}]"), &["Ingress", "Egress"], errors);
            }
        }
        "networking.k8s.io/ingresses" => {
            for (rule_at, rule) in list(&spec["rules"]).iter().enumerate() {
                for (at, path) in list(&rule["http"]["paths"]).iter().enumerate() {
                    if path["pathType"].is_null() {
                        let field = format!("spec.rules[{rule_at}].http.paths[{at}].pathType");
                        errors.push(FieldError::required(field, "pathType must be specified"));
                    }
                }
            }
        }
        "networking.k8s.io/ingressclasses" if text(&spec["controller"]).is_empty() => {
            errors.push(FieldError::required("spec.controller", ""))
        }
        _ if kind.group == "rbac.authorization.k8s.io" => rbac(kind, object, errors),
        _ if kind.group == "admissionregistration.k8s.io" => webhooks(object, errors),
        _ => {}
    }
}

fn one_of(value: &Value, field: &str, known: &[&str], errors: &mut Errors) {
    if !known.iter().any(|one| value == one) {
        errors.push(FieldError::unsupported(field, value, known));
    }
}

fn autoscaler(spec: &Value, errors: &mut Errors) {
    let (least, most) = (spec["minReplicas"].as_i64().unwrap_or(1), spec["maxReplicas"].as_i64().unwrap_or(0));
    if most < 1 {
        errors.push(FieldError::required("spec.maxReplicas", "must be set and greater than 0"));
    }
    if most < least {
        errors.push(FieldError::invalid("spec.maxReplicas", &json!(most), "must be greater than or equal to `minReplicas`"));
    }
    let target = &spec["scaleTargetRef"];
    for key in ["kind", "name"] {
        if target[key].as_str().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(format!("spec.scaleTargetRef.{key}"), ""));
        }
    }
    if !target["apiVersion"].as_str().unwrap_or_default().contains('/') {
        let version = json!(target["apiVersion"].as_str().unwrap_or_default());
        errors.push(FieldError::invalid("spec.scaleTargetRef.apiVersion", &version, "apiVersion must specify API group"));
    }
}

fn rbac(kind: &Kind, object: &Value, errors: &mut Errors) {
    let none = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    match kind.plural.as_str() {
        "roles" | "clusterroles" => {
            for (at, rule) in object["rules"].as_array().into_iter().flatten().enumerate() {
                if none(&rule["verbs"]) {
                    errors.push(FieldError::required(format!("rules[{at}].verbs"), "verbs must contain at least one value"));
                }
                if !none(&rule["nonResourceURLs"]) {
                    continue;
                }
                if none(&rule["apiGroups"]) {
                    errors
                        .push(FieldError::required(format!("rules[{at}].apiGroups"), "resource rules must supply at least one api group"));
                }
                if none(&rule["resources"]) {
                    errors.push(FieldError::required(format!("rules[{at}].resources"), "resource rules must supply at least one resource"));
                }
            }
        }
        _ => {
            let known: &[&str] = if kind.plural == "rolebindings" { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
            one_of(&object["roleRef"]["kind"], "roleRef.kind", known, errors);
            if object["roleRef"]["name"].as_str().unwrap_or_default().is_empty() {
                errors.push(FieldError::required("roleRef.name", ""));
            }
        }
    }
}

/// A binding is for one role for ever.
pub(super) fn immutable(kind: &Kind, old: &Value, new: &Value, errors: &mut Errors) {
    let binding = matches!(kind.plural.as_str(), "rolebindings" | "clusterrolebindings") && kind.group == "rbac.authorization.k8s.io";
    if binding && old["roleRef"] != new["roleRef"] {
        let of = &new["roleRef"];
        let shown = json!({ "APIGroup": of["apiGroup"], "Kind": of["kind"], "Name": of["name"] });
        errors.push(FieldError::invalid("roleRef", &shown, "cannot change roleRef"));
    }
}

fn webhooks(object: &Value, errors: &mut Errors) {
    for (at, hook) in object["webhooks"].as_array().into_iter().flatten().enumerate() {
        let name = hook["name"].as_str().unwrap_or_default();
        if name.split('.').count() < 3 {
            let why = "should be a domain with at least three segments separated by dots";
            errors.push(FieldError::invalid(format!("webhooks[{at}].name"), &hook["name"], why));
        }
        one_of(&hook["sideEffects"], &format!("webhooks[{at}].sideEffects"), &["None", "NoneOnDryRun"], errors);
    }
}
