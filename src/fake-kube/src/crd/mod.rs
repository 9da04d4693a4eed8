//! Kinds that users add: CustomResourceDefinitions become kinds; their objects are checked against schema, list kinds and CEL rules.
//!
//! Source: `apiextensions-apiserver/pkg/{apiserver,controller,registry}`. Conversion strategy `None` only: versions differ in name.

mod cost;
mod names;
mod structural;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kube_cel::{CompiledSchema, ErrorKind, RootContext, Validator};
use serde_json::{Value, json};

use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::kinds::{Kind, Scale, Selectable};
use crate::schema::{self, Schema};
use crate::status::{FieldError, FieldErrorKind, Status};
use crate::store::{Change, EventType, Object};
use crate::time;
pub(crate) use names::accept;

/// One version of a custom kind, as compiled from its definition.
pub struct Version {
    pub name: String,
    pub served: bool,
    pub storage: bool,
    /// What to say to whoever asks for a version that is on its way out.
    pub(crate) deprecated: Option<String>,
    /// `status` is a subresource of its own.
    pub status: bool,
    pub columns: Vec<Column>,
    /// `openAPIV3Schema` as it was written.
    pub json: Value,
    pub(crate) schema: Schema,
    rules: CompiledSchema,
    /// Whether any CEL rule exists.
    has_rules: bool,
    /// Whether all of them stand in `spec`, so that nothing else decides what they say.
    rules_in_spec: bool,
    /// Specs that passed the rules lately, each with the one that it replaced: most writes change the status alone.
    passed: Mutex<VecDeque<Passed>>,
}

type Passed = (Value, Option<Value>);

/// How many of them are kept.
const PASSED: usize = 32;

/// `additionalPrinterColumns`.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: String,
    pub format: String,
    pub description: String,
    pub priority: i64,
    pub path: String,
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Version").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Holds a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
const CRDS: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// Fills in names, list kind, status and conditions.
pub(crate) fn prepare(now: Timestamp, crd: &mut Value, old: Option<&Value>) {
    let spec = &mut crd["spec"];
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    if spec["names"]["singular"].as_str().unwrap_or_default().is_empty() {
        spec["names"]["singular"] = Value::from(kind.to_lowercase());
    }
    if spec["names"]["listKind"].as_str().unwrap_or_default().is_empty() {
        spec["names"]["listKind"] = Value::from(format!("{kind}List"));
    }
    if spec["conversion"].is_null() {
        spec["conversion"] = json!({ "strategy": "None" });
    }
    let storage: Vec<Value> = versions(crd).filter(|version| version["storage"] == true).map(|version| version["name"].clone()).collect();
    match old {
        None => {
            // Upstream's finalizing controller adds it once the kind is established.
            crd["metadata"]["finalizers"] = json!([CLEANUP]);
            crd["status"] = json!({ "conditions": [], "acceptedNames": {}, "storedVersions": storage });
            establish(now, crd);
        }
        Some(old) => {
            let mut stored = old["status"]["storedVersions"].as_array().cloned().unwrap_or_default();
            stored.extend(
                storage.into_iter().filter(|one| !old["status"]["storedVersions"].as_array().is_some_and(|list| list.contains(one))),
            );
            crd["status"] = old["status"].clone();
            if names::established(crd) {
                crd["status"]["acceptedNames"] = crd["spec"]["names"].clone();
            }
            crd["status"]["storedVersions"] = Value::from(stored);
        }
    }
}

/// All names are its own.
fn establish(now: Timestamp, crd: &mut Value) {
    let at = time::seconds(now);
    crd["status"]["acceptedNames"] = crd["spec"]["names"].clone();
    crd["status"]["conditions"] = json!([
        { "type": "NamesAccepted", "status": "True", "lastTransitionTime": at, "reason": "NoConflicts", "message": "no conflicts found" },
        { "type": "Established", "status": "True", "lastTransitionTime": at, "reason": "InitialNamesAccepted", "message": "the initial names have been accepted" },
    ]);
}

fn versions(crd: &Value) -> impl Iterator<Item = &Value> {
    crd["spec"]["versions"].as_array().into_iter().flatten()
}

/// The most telling mistakes in a definition.
pub(crate) fn validate_definition(api: &Api, crd: &Value, errors: &mut Vec<FieldError>) {
    let spec = &crd["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (plural, group) = (text(&spec["names"]["plural"]), text(&spec["group"]));
    for (path, value) in [("spec.group", &group), ("spec.names.plural", &plural), ("spec.names.kind", &text(&spec["names"]["kind"]))] {
        if value.is_empty() {
            errors.push(FieldError::required(path, ""));
        }
    }
    let wanted = format!("{plural}.{group}");
    if crd["metadata"]["name"] != wanted.as_str() {
        errors.push(FieldError::invalid("metadata.name", &crd["metadata"]["name"], "must be spec.names.plural+\".\"+spec.group"));
    }
    if !matches!(spec["scope"].as_str(), Some("Namespaced" | "Cluster")) {
        errors.push(FieldError::unsupported("spec.scope", &spec["scope"], &["Cluster", "Namespaced"]));
    }
    if versions(crd).filter(|version| version["storage"] == true).count() != 1 {
        errors.push(FieldError::invalid("spec.versions", &spec["versions"], "must have exactly one version marked as storage version"));
    }
    for (index, version) in versions(crd).enumerate() {
        let path = format!("spec.versions[{index}].schema.openAPIV3Schema");
        let json = &version["schema"]["openAPIV3Schema"];
        if !json.is_object() {
            errors.push(FieldError::required(path, "schemas are required"));
            continue;
        }
        // A schema that all versions share is reported as upstream keeps it inside.
        let shared = versions(crd).all(|other| other["schema"] == version["schema"]);
        if !shared || index == 0 {
            let within = if shared { "spec.validation.openAPIV3Schema" } else { path.as_str() };
            structural::check(json, within, errors);
        }
        let compiled = kube_cel::compile_schema(json);
        for (rule, why) in rule_errors(&compiled, &path) {
            errors.push(FieldError::invalid(rule, &Value::from(""), why));
        }
    }
    let clash = api.store().kind(&crate::kinds::key(&group, &plural)).is_some_and(|kind| !kind.is_custom());
    if clash {
        errors.push(FieldError::forbidden("spec.group", format!("{plural}.{group} is served by the server itself")));
    }
}

fn rule_errors(compiled: &CompiledSchema, path: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = compiled
        .compilation_errors()
        .iter()
        .map(|error| (format!("{path}.x-kubernetes-validations"), format!("compilation failed: {error}")))
        .collect();
    let mut names: Vec<&String> = compiled.properties.keys().collect();
    names.sort();
    for name in names {
        found.extend(rule_errors(&compiled.properties[name], &format!("{path}.properties[{name}]")));
    }
    if let Some(items) = &compiled.items {
        found.extend(rule_errors(items, &format!("{path}.items")));
    }
    if let Some(values) = &compiled.additional_properties {
        found.extend(rule_errors(values, &format!("{path}.additionalProperties")));
    }
    found
}

/// A definition was written: its kind is served from now on, and what is stored shows new defaults.
pub(crate) fn changed(api: &mut Api, crd: &Object) {
    let Some(kind) = compile(&crd.value()).filter(|_| names::established(&crd.value())) else { return };
    let kind = Arc::new(kind);
    let known = api.store().kind(&kind.key).is_some();
    api.store_mut().register(kind.clone());
    if known && let Some(version) = kind.custom(&kind.version) {
        let version = version.clone();
        api.store_mut().rewrite(&kind, |value| schema::fill_defaults(&version.schema, value));
    }
}

pub(crate) fn removed(api: &mut Api, crd: &Object) {
    let value = crd.value();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    api.store_mut().unregister(&crate::kinds::key(&text(&value["spec"]["group"]), &text(&value["spec"]["names"]["plural"])));
}

fn compile(crd: &Value) -> Option<Kind> {
    let spec = &crd["spec"];
    let names = &spec["names"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let storage = versions(crd).find(|version| version["storage"] == true)?;
    let scale = &storage["subresources"]["scale"];
    let path = |value: &Value| value.as_str().unwrap_or_default().trim_start_matches('.').to_owned();
    let group = text(&spec["group"]);
    let plural = text(&names["plural"]);
    Some(Kind {
        key: crate::kinds::key(&group, &plural),
        version: text(&storage["name"]),
        kind: text(&names["kind"]),
        list_kind: text(&names["listKind"]),
        singular: text(&names["singular"]),
        namespaced: spec["scope"] == "Namespaced",
        short_names: schema::strings(&names["shortNames"]),
        categories: schema::strings(&names["categories"]),
        status: storage["subresources"].get("status").is_some_and(|status| !status.is_null()),
        scale: scale.is_object().then(|| Scale {
            spec_replicas: path(&scale["specReplicasPath"]),
            status_replicas: path(&scale["statusReplicasPath"]),
            selector: scale["labelSelectorPath"].as_str().map(|text| text.trim_start_matches('.').to_owned()),
        }),
        selectable: storage["selectableFields"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|field| Some(Selectable::new(field["jsonPath"].as_str()?.trim_start_matches('.'), "")))
            .collect(),
        versions: versions(crd).map(|version| Arc::new(compile_version(spec, version))).collect(),
        group,
        plural,
    })
}

fn compile_version(spec: &Value, version: &Value) -> Version {
    let json = version["schema"]["openAPIV3Schema"].clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Version {
        name: text(&version["name"]),
        served: version["served"] == true,
        storage: version["storage"] == true,
        status: version["subresources"].get("status").is_some_and(|status| !status.is_null()),
        deprecated: (version["deprecated"] == true).then(|| {
            let usual = || format!("{}/{} {} is deprecated", text(&spec["group"]), text(&version["name"]), text(&spec["names"]["kind"]));
            version["deprecationWarning"].as_str().map_or_else(usual, str::to_owned)
        }),
        columns: version["additionalPrinterColumns"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|column| Column {
                name: text(&column["name"]),
                kind: text(&column["type"]),
                format: text(&column["format"]),
                description: text(&column["description"]),
                priority: column["priority"].as_i64().unwrap_or(0),
                path: text(&column["jsonPath"]),
            })
            .collect(),
        schema: Schema::custom(&json),
        rules: kube_cel::compile_schema(&json),
        has_rules: contains_rules(&json),
        rules_in_spec: rules_in_spec(&json),
        passed: Mutex::default(),
        json,
    }
}

fn rules_in_spec(json: &Value) -> bool {
    let mut outside = json.clone();
    outside.get_mut("properties").and_then(Value::as_object_mut).map(|fields| fields.shift_remove("spec"));
    !contains_rules(&outside)
}

fn contains_rules(json: &Value) -> bool {
    match json {
        Value::Object(map) => map.contains_key("x-kubernetes-validations") || map.values().any(contains_rules),
        Value::Array(list) => list.iter().any(contains_rules),
        _ => false,
    }
}

/// What a custom object's version says against it.
pub(crate) fn validate(kind: &Kind, version: &str, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let Some(version) = kind.custom(version) else { return Vec::new() };
    let mut errors = Vec::new();
    let mut root: Vec<FieldError> = schema::validate(&version.schema, object, "");
    root.retain(|error| !error.field.starts_with("metadata"));
    errors.extend(root);
    // What was wrong before and did not change is let through (CRDValidationRatcheting).
    if let Some(old) = old {
        errors.retain(|error| {
            let path = if error.kind == FieldErrorKind::Required {
                error.field.rsplit_once('.').map_or("", |(parent, _)| parent)
            } else {
                &error.field
            };
            path.is_empty() || error.field == "<nil>" || at(object, path) != at(old, path)
        });
    }
    schema::validate_list_kinds(&version.schema, object, "", &mut errors);
    if !version.has_rules {
        return errors;
    }
    let blocking = |error: &FieldError| {
        matches!(
            error.kind,
            FieldErrorKind::NotSupported
                | FieldErrorKind::Required
                | FieldErrorKind::TypeInvalid
                | FieldErrorKind::TooLong
                | FieldErrorKind::TooMany
        )
    };
    if errors.iter().any(blocking) {
        let why =
            "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        errors.push(FieldError::invalid("<nil>", &Value::Null, why));
        return errors;
    }
    errors.extend(rules(kind, version, object, old));
    errors
}

fn rules(kind: &Kind, version: &Version, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    if !version.rules_in_spec {
        return rule_failures(kind, version, object, old);
    }
    let (spec, before) = (&object["spec"], old.map(|old| &old["spec"]));
    let held = || version.passed.lock().unwrap_or_else(PoisonError::into_inner);
    if held().iter().any(|(new, old)| new == spec && old.as_ref() == before) {
        return Vec::new();
    }
    let failures = rule_failures(kind, version, object, old);
    if failures.is_empty() {
        let mut passed = held();
        passed.truncate(PASSED - 1);
        passed.push_front((spec.clone(), before.cloned()));
    }
    failures
}

fn rule_failures(kind: &Kind, version: &Version, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    if let Err(much) = cost::check(&version.rules, object, old) {
        return vec![over_budget(version, object, &much)];
    }
    let root = RootContext { api_version: kind.api_version_of(&version.name), api_group: kind.group.clone(), kind: kind.kind.clone() };
    let Err(failures) = Validator::new().validate_compiled_with_context(&version.rules, object, old, Some(&root)) else {
        return Vec::new();
    };
    failures
        .into_vec()
        .into_iter()
        .map(|failure| {
            let value = at(object, &failure.field_path);
            let path = failure.field_path.clone();
            if failure.kind != ErrorKind::ValidationFailure {
                let named = said(&version.json, &failure.rule).unwrap_or(&failure.rule);
                let cause = std::error::Error::source(&failure).map_or_else(|| failure.message.clone(), ToString::to_string);
                let cause = cause.replacen("No such key", "no such key", 1);
                return FieldError::of_rule(path, type_name(value), format!("{cause} evaluating rule: {}", named.trim()));
            }
            let detail = failure.message.trim().to_owned();
            match (failure.reason.as_deref(), value) {
                (Some("FieldValueForbidden"), _) => FieldError::forbidden(path, detail),
                (Some("FieldValueRequired"), _) => FieldError::required(path, detail),
                (_, Value::Object(_) | Value::Array(_)) => FieldError::invalid_unshown(path, detail),
                (_, value) => FieldError::invalid(path, value, detail),
            }
        })
        .collect()
}

/// Upstream finds it out on the way, and has the failures of earlier rules beside it.
fn over_budget(version: &Version, object: &Value, much: &cost::TooMuch) -> FieldError {
    let why = if much.alone {
        let named = said(&version.json, &much.rule).unwrap_or(&much.rule);
        format!(
            "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {}",
            named.trim()
        )
    } else {
        "validation failed due to running out of cost budget, no further validation rules will be run".to_owned()
    };
    FieldError::of_rule(much.path.clone(), type_name(at(object, &much.path)), why)
}

/// The message that a schema gives to a rule.
fn said<'a>(json: &'a Value, rule: &str) -> Option<&'a str> {
    match json {
        Value::Object(map) => {
            let here = map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
            here.filter(|one| one["rule"] == rule)
                .find_map(|one| one["message"].as_str())
                .or_else(|| map.values().find_map(|inner| said(inner, rule)))
        }
        Value::Array(list) => list.iter().find_map(|inner| said(inner, rule)),
        _ => None,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::Null => "",
    }
}

/// The value at `spec.list[0].key`; null when there is none.
fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    let mut value = object;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (name, indices) = part.split_once('[').map_or((part, ""), |(name, rest)| (name, rest));
        value = &value[name];
        for index in indices.split(['[', ']']).filter(|index| !index.is_empty()) {
            value = match index.parse::<usize>() {
                Ok(index) => &value[index],
                Err(_) => &value[index],
            };
        }
    }
    value
}

/// Deletes the objects of definitions that are being deleted, then lets the definitions go (`…/controller/finalizer`).
#[derive(Default)]
pub(crate) struct Cleanup {
    leaving: Vec<String>,
}

impl Controller for Cleanup {
    fn name(&self) -> &'static str {
        "crd-finalizer"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        for change in changed.iter().filter(|change| change.plural() == CRDS && change.object.meta.deletion.is_some()) {
            if !self.leaving.iter().any(|name| name == change.name()) {
                self.leaving.push(change.name().to_owned());
            }
        }
        for gone in changed.iter().filter(|change| change.plural() == CRDS && change.event == EventType::Deleted) {
            names::again(api, now, &gone.object.value()["spec"]["group"]);
        }
        let leaving = std::mem::take(&mut self.leaving);
        self.leaving = leaving.into_iter().filter(|name| !clean(api, now, name)).collect();
    }

    fn unsettled(&self, _api: &Api) -> Vec<String> {
        self.leaving.iter().map(|name| format!("custom resource definition {name} is being deleted and still has objects")).collect()
    }
}

/// True when the definition is gone.
fn clean(api: &mut Api, now: Timestamp, name: &str) -> bool {
    let Some(crd) = api.store().get(CRDS, "", name).filter(|crd| crd.meta.deletion.is_some()).map(|crd| crd.value()) else { return true };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let key = crate::kinds::key(&text(&crd["spec"]["group"]), &text(&crd["spec"]["names"]["plural"]));
    let objects: Vec<(String, String)> = api
        .store()
        .list(&key)
        .filter(|object| object.meta.deletion.is_none())
        .map(|object| (object.meta.namespace.clone(), object.meta.name.clone()))
        .collect();
    for (namespace, name) in objects {
        // What a finalizer keeps is counted below, and tried again on the next change.
        let _: Result<_, Status> = api.delete(now, &key, &namespace, &name, DeleteOptions::background());
    }
    if api.store().len(&key) > 0 {
        return false;
    }
    let released = api.update_with(now, CRDS, "", name, None, |crd| {
        if let Some(list) = crd["metadata"]["finalizers"].as_array_mut() {
            list.retain(|one| one != CLEANUP);
        }
    });
    released.is_ok()
}
