//! Defaults and validation of kinds that people seldom write by hand: the mistakes that a client's generator makes.
//!
//! - ConfigMaps' and Secrets' keys and data, volumes and claims, quotas, controller revisions, replication controllers, pod templates
//! - leases, storage classes, CSINodes, VolumeAttachments, storage capacities, runtime classes, endpoint slices
//! - classes of volume attributes, service ranges and their addresses, admission policies and their bindings (CEL is not compiled)
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

pub(super) const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// `IsConfigMapKey`, but for its length.
pub(super) fn is_config_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

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
        "admissionregistration.k8s.io/validatingadmissionpolicies" => {
            if let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) {
                set(spec, "failurePolicy", json!("Fail"));
                match_resources(spec.get_mut("matchConstraints"));
            }
        }
        "admissionregistration.k8s.io/validatingadmissionpolicybindings" => {
            match_resources(map.get_mut("spec").and_then(|spec| spec.get_mut("matchResources")));
        }
        _ => {}
    }
}

fn match_resources(value: Option<&mut Value>) {
    let Some(map) = value.and_then(Value::as_object_mut) else { return };
    for (key, plain) in [("matchPolicy", json!("Equivalent")), ("namespaceSelector", json!({})), ("objectSelector", json!({}))] {
        set(map, key, plain);
    }
    for rules in ["resourceRules", "excludeResourceRules"] {
        each(map.get_mut(rules), &mut |rule| set(rule, "scope", json!("*")));
    }
}

pub(super) fn validate(kind: &Kind, object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match kind.key.as_str() {
        "configmaps" | "secrets" => {
            for (key, _) in object["data"].as_object().into_iter().flatten() {
                if !is_config_key(key) {
                    errors.push(FieldError::invalid(format!("data[{key}]"), &json!(key), CONFIG_KEY));
                }
                if kind.key == "configmaps" && object["binaryData"].get(key).is_some() {
                    errors.push(FieldError::invalid(format!("data[{key}]"), &json!(key), "duplicate of key present in binaryData"));
                }
            }
            /// Bytes that all values have together (`MaxSecretSize`).
            const MOST: usize = 1024 * 1024;
            let of = |field: &str| object[field].as_object().into_iter().flatten();
            let bytes = |encoded: &Value| encoded.as_str().map_or(0, |text| text.trim_end_matches('=').len() * 3 / 4);
            let plain = |value: &Value| value.as_str().map_or(0, str::len);
            let size: usize = match kind.key.as_str() {
                "secrets" => of("data").map(|(_, value)| bytes(value)).sum(),
                _ => of("data").map(|(_, value)| plain(value)).chain(of("binaryData").map(|(_, value)| bytes(value))).sum(),
            };
            if size > MOST {
                errors.push(FieldError::too_long(if kind.key == "secrets" { "data" } else { "[]" }, MOST as u64));
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
            let asked = &spec["resources"]["requests"]["storage"];
            let zero = Quantity::parse("0").ok();
            if asked.as_str().and_then(|text| Quantity::parse(text).ok()).is_some_and(|size| size.is_negative() || Some(size) == zero) {
                errors.push(FieldError::invalid("spec.resources[storage]", asked, "must be greater than zero"));
            }
            const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
            for mode in list(&spec["accessModes"]).iter().filter(|mode| !MODES.iter().any(|known| *mode == known)) {
                errors.push(FieldError::unsupported("spec.accessModes", mode, &MODES));
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
            driver_name(&object["provisioner"], "provisioner", errors);
        }
        "storage.k8s.io/volumeattributesclasses" => {
            driver_name(&object["driverName"], "driverName", errors);
            if object["parameters"].as_object().is_none_or(Map::is_empty) {
                errors.push(FieldError::required("parameters", "must contain at least one key/value pair"));
            }
        }
        "networking.k8s.io/ipaddresses" => parent_reference(&spec["parentRef"], errors),
        "networking.k8s.io/servicecidrs" => service_range(&spec["cidrs"], errors),
        "admissionregistration.k8s.io/validatingadmissionpolicies" => policy(spec, errors),
        "admissionregistration.k8s.io/validatingadmissionpolicybindings" => policy_binding(spec, errors),
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

fn driver_name(name: &Value, field: &str, errors: &mut Errors) {
    match name.as_str().unwrap_or_default() {
        "" => errors.push(FieldError::required(field, "")),
        driver if !is_label_key(&driver.to_lowercase()) => errors.push(FieldError::invalid(field, name, QUALIFIED)),
        _ => {}
    }
}

/// `content.IsPathSegmentName`: anything that can stand in a URL.
fn path_segment(value: &Value, field: String, errors: &mut Errors) {
    let name = value.as_str().unwrap_or_default();
    if matches!(name, "." | "..") {
        errors.push(FieldError::invalid(field, value, format!("may not be '{name}'")));
    } else if let Some(bad) = ['/', '%'].into_iter().find(|bad| name.contains(*bad)) {
        errors.push(FieldError::invalid(field, value, format!("may not contain '{bad}'")));
    }
}

fn parent_reference(parent: &Value, errors: &mut Errors) {
    if parent.is_null() {
        return errors.push(FieldError::required("spec.parentRef", ""));
    }
    let group = &parent["group"];
    if !matches!(group.as_str(), None | Some("")) && !is_subdomain(group.as_str().unwrap_or_default()) {
        errors.push(FieldError::invalid("spec.parentRef.group", group, SUBDOMAIN));
    }
    for key in ["resource", "name", "namespace"] {
        let field = format!("spec.parentRef.{key}");
        match parent[key].as_str().unwrap_or_default() {
            "" if key == "namespace" => {}
            "" => errors.push(FieldError::required(field, "")),
            _ => path_segment(&parent[key], field, errors),
        }
    }
}

fn service_range(ranges: &Value, errors: &mut Errors) {
    let blocks: Vec<&str> = ranges.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if blocks.is_empty() {
        return errors.push(FieldError::required("spec.cidrs", "at least one CIDR required"));
    }
    if blocks.len() > 2 {
        return errors.push(FieldError::invalid("spec.cidrs", &json!({ "CIDRs": ranges }), "may only hold up to 2 values"));
    }
    for (at, block) in blocks.iter().enumerate() {
        if !is_block(block) {
            let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.push(FieldError::invalid(format!("spec.cidrs[{at}]"), &json!(block), why));
        }
    }
    if let [one, other] = blocks[..]
        && is_block(one)
        && is_block(other)
        && one.contains(':') == other.contains(':')
    {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(FieldError::invalid("spec.cidrs", ranges, why));
    }
}

fn is_block(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = if address.contains(':') { 128 } else { 32 };
    address.parse::<std::net::IpAddr>().is_ok() && length.parse::<u8>().is_ok_and(|length| length <= most)
}

/// Without its expressions: whether they are CEL is not looked at.
fn policy(spec: &Value, errors: &mut Errors) {
    let none = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    one_of(&spec["failurePolicy"], "spec.failurePolicy", &["Fail", "Ignore"], errors);
    let constraints = &spec["matchConstraints"];
    if constraints.is_null() {
        errors.push(FieldError::required("spec.matchConstraints", ""));
    } else if none(&constraints["resourceRules"]) {
        errors.push(FieldError::required("spec.matchConstraints.resourceRules", ""));
    }
    if none(&spec["validations"]) && none(&spec["auditAnnotations"]) {
        for field in ["spec.validations", "spec.auditAnnotations"] {
            errors.push(FieldError::required(field, "validations or auditAnnotations must contain at least one item"));
        }
    }
    for (at, validation) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        if validation["expression"].as_str().unwrap_or_default().trim().is_empty() {
            errors.push(FieldError::required(format!("spec.validations[{at}].expression"), "expression is not specified"));
        }
    }
}

fn policy_binding(spec: &Value, errors: &mut Errors) {
    match spec["policyName"].as_str().unwrap_or_default() {
        "" => errors.push(FieldError::required("spec.policyName", "")),
        name if !is_subdomain(name) => errors.push(FieldError::invalid("spec.policyName", &spec["policyName"], SUBDOMAIN)),
        _ => {}
    }
    if let Some(parameters) = spec.get("paramRef") {
        let named = !parameters["name"].as_str().unwrap_or_default().is_empty();
        path_segment(&parameters["name"], "spec.paramRef.name".to_owned(), errors);
        match (named, parameters["selector"].is_null()) {
            (true, false) => {
                for field in ["spec.paramRef.name", "spec.paramRef.selector"] {
                    errors.push(FieldError::forbidden(field, "name and selector are mutually exclusive"));
                }
            }
            (false, true) => errors.push(FieldError::required("spec.paramRef", "one of name or selector must be specified")),
            _ => {}
        }
        let action = &parameters["parameterNotFoundAction"];
        match action.as_str().unwrap_or_default() {
            "" => errors.push(FieldError::required("spec.paramRef.parameterNotFoundAction", "")),
            _ => one_of(action, "spec.paramRef.parameterNotFoundAction", &["Deny", "Allow"], errors),
        }
    }
    let actions = spec["validationActions"].as_array().map_or(&[][..], Vec::as_slice);
    for (at, action) in actions.iter().enumerate() {
        let field = format!("spec.validationActions[{at}]");
        one_of(action, &field, &["Audit", "Deny", "Warn"], errors);
        if actions[..at].contains(action) {
            errors.push(FieldError::duplicate(field, action));
        }
    }
    if ["Deny", "Warn"].iter().all(|action| actions.iter().any(|one| one == action)) {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid("spec.validationActions", &spec["validationActions"], why));
    }
    if actions.is_empty() {
        errors.push(FieldError::required("spec.validationActions", "at least one validation action is required"));
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
    if least < 1 {
        errors.push(FieldError::invalid("spec.minReplicas", &spec["minReplicas"], "must be greater than or equal to 1"));
    }
    let outside = |metric: &Value| metric["type"] == "Object" || metric["type"] == "External";
    if least == 0 && !spec["metrics"].as_array().is_some_and(|metrics| metrics.iter().any(outside)) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden("spec.metrics", why));
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

/// What stays as it was made: a binding's role, a class's driver and parameters, an address's owner, a range.
pub(super) fn immutable(kind: &Kind, old: &Value, new: &Value, errors: &mut Errors) {
    let binding = matches!(kind.plural.as_str(), "rolebindings" | "clusterrolebindings") && kind.group == "rbac.authorization.k8s.io";
    if binding && old["roleRef"] != new["roleRef"] {
        let of = &new["roleRef"];
        let shown = json!({ "APIGroup": of["apiGroup"], "Kind": of["kind"], "Name": of["name"] });
        errors.push(FieldError::invalid("roleRef", &shown, "cannot change roleRef"));
    }
    const IMMUTABLE: &str = "field is immutable";
    match kind.key.as_str() {
        "storage.k8s.io/volumeattributesclasses" => {
            for key in ["driverName", "parameters"].into_iter().filter(|key| old[*key] != new[*key]) {
                errors.push(FieldError::forbidden(key, format!("updates to {key} are forbidden.")));
            }
        }
        "networking.k8s.io/ipaddresses" if old["spec"]["parentRef"] != new["spec"]["parentRef"] => {
            let of = &new["spec"]["parentRef"];
            let part = |key: &str| of[key].as_str().unwrap_or_default().to_owned();
            let shown =
                json!({ "Group": part("group"), "Resource": part("resource"), "Namespace": part("namespace"), "Name": part("name") });
            errors.push(FieldError::invalid("spec.parentRef", &shown, IMMUTABLE));
        }
        "networking.k8s.io/servicecidrs" => {
            let (before, after) = (list(&old["spec"]["cidrs"]), list(&new["spec"]["cidrs"]));
            // A second family may be added.
            let fixed = if after.len() == before.len() || (before.len(), after.len()) == (1, 2) { before.len() } else { 0 };
            if fixed == 0 {
                errors.push(FieldError::invalid("spec.cidrs", &new["spec"]["cidrs"], IMMUTABLE));
            }
            for (at, (_, now)) in before.iter().zip(after).enumerate().take(fixed).filter(|(_, (one, other))| one != other) {
                errors.push(FieldError::invalid(format!("spec.cidrs[{at}]"), now, IMMUTABLE));
            }
        }
        _ => {}
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
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
