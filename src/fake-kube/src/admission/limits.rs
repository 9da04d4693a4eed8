//! LimitRange: what containers get that name nothing, and what pods and claims may not be beyond.
//!
//! Source: `plugin/pkg/admission/limitranger/admission.go`. Several mistakes come in order of resource names; Go iterates a map.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Errors;
use crate::api::Api;
use crate::kinds::Kind;
use crate::quantity::Quantity;
use crate::quota::{self, Amounts};
use crate::status::{FieldError, Status};

fn ranges(api: &Api, namespace: &str, sort: &str) -> Vec<Value> {
    let all = api.store().list_in("limitranges", namespace);
    let limits = all.flat_map(|range| range.value()["spec"]["limits"].as_array().cloned().unwrap_or_default());
    limits.filter(|limit| limit["type"] == sort).collect()
}

/// What a LimitRange's items of type Container leave open: the limit is the maximum, the request the limit or the minimum
/// (`pkg/apis/core/v1/defaults.go`, SetDefaults_LimitRangeItem).
pub(super) fn complete(spec: &mut Map<String, Value>) {
    for item in spec.get_mut("limits").and_then(Value::as_array_mut).into_iter().flatten().filter(|item| item["type"] == "Container") {
        for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
            for (name, amount) in item.get(from).and_then(Value::as_object).cloned().unwrap_or_default() {
                if !item[to].is_object() {
                    item[to] = json!({});
                }
                if item[to].get(&name).is_none() {
                    item[to][name] = amount;
                }
            }
        }
    }
}

/// ValidateLimitRange. Several mistakes come in order of resource names.
pub(super) fn validate(spec: &Value, errors: &mut Errors) {
    let mut sorts = BTreeSet::new();
    for (number, item) in spec["limits"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.limits[{number}]");
        if !sorts.insert(item["type"].as_str().unwrap_or_default()) {
            errors.push(FieldError::duplicate(format!("{path}.type"), &item["type"]));
        }
        if item["type"] == "Pod" {
            let set = |list: &&&str| item[**list].as_object().is_some_and(|map| !map.is_empty());
            for list in ["default", "defaultRequest"].iter().filter(set) {
                errors.push(FieldError::forbidden(format!("{path}.{list}"), "may not be specified when `type` is 'Pod'"));
            }
        }
        item_bounds(item, &path, errors);
    }
}

fn item_bounds(item: &Value, path: &str, errors: &mut Errors) {
    let [least, most, limit, request, ratio] =
        ["min", "max", "default", "defaultRequest", "maxLimitRequestRatio"].map(|list| quota::amounts(&item[list]));
    let names: BTreeSet<&String> = [&least, &most, &limit, &request, &ratio].into_iter().flat_map(Amounts::keys).collect();
    for name in names {
        let mut say = |list: &str, shown: Quantity, why: String| {
            let shown = Value::from(shown.to_string());
            errors.push(FieldError::invalid(format!("{path}.{list}[{name}]"), &shown, why));
        };
        let (least, most, limit, request) = (least.get(name), most.get(name), limit.get(name), request.get(name));
        if let Some((least, most)) = above(least, most) {
            say("min", least, format!("min value {least} is greater than max value {most}"));
        }
        if let Some((least, request)) = above(least, request) {
            say("defaultRequest", request, format!("min value {least} is greater than default request value {request}"));
        }
        if let Some((request, most)) = above(request, most) {
            say("defaultRequest", request, format!("default request value {request} is greater than max value {most}"));
        }
        if let Some((request, limit)) = above(request, limit) {
            say("defaultRequest", request, format!("default request value {request} is greater than default limit value {limit}"));
        }
        if let Some((least, limit)) = above(least, limit) {
            say("default", least, format!("min value {least} is greater than default value {limit}"));
        }
        if let Some((limit, most)) = above(limit, most) {
            say("default", most, format!("default value {limit} is greater than max value {most}"));
        }
        if let Some(ratio) = ratio.get(name).filter(|ratio| ratio.milli_value() < 1000) {
            say("maxLimitRequestRatio", *ratio, format!("ratio {ratio} is less than 1"));
        }
    }
}

/// Both, if the first is greater.
fn above(one: Option<&Quantity>, other: Option<&Quantity>) -> Option<(Quantity, Quantity)> {
    Some((*one?, *other?)).filter(|(one, other)| one > other)
}

/// Requests and limits that a LimitRange of type Container gives to containers that name none, and the annotation that says so. Each
/// LimitRange writes its own; the last one's stays.
pub(super) fn defaults(api: &Api, pod: &mut Value) {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    for range in api.store().list_in("limitranges", &namespace) {
        let given = given(&range.value());
        let mut said = Vec::new();
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                said.extend(fill(container, &given, what));
            }
        }
        if !said.is_empty() {
            let notes = &mut pod["metadata"]["annotations"];
            if !notes.is_object() {
                *notes = json!({});
            }
            notes["kubernetes.io/limit-ranger"] = json!(format!("LimitRanger plugin set: {}", said.join("; ")));
        }
    }
}

/// The defaults of one LimitRange, under `requests` and `limits`; a later item counts (defaultContainerResourceRequirements).
fn given(range: &Value) -> BTreeMap<&'static str, BTreeMap<String, Value>> {
    let mut found: BTreeMap<&'static str, BTreeMap<String, Value>> = BTreeMap::new();
    for limit in range["spec"]["limits"].as_array().into_iter().flatten().filter(|limit| limit["type"] == "Container") {
        for (from, to) in [("defaultRequest", "requests"), ("default", "limits")] {
            let amounts = limit[from].as_object().into_iter().flatten().map(|(name, amount)| (name.clone(), amount.clone()));
            found.entry(to).or_default().extend(amounts);
        }
    }
    found
}

/// Gives what the container does not name. What it was given, in words (mergeContainerResources).
fn fill(container: &mut Value, given: &BTreeMap<&'static str, BTreeMap<String, Value>>, what: &str) -> Vec<String> {
    let mut said = Vec::new();
    for (to, one) in [("requests", "request"), ("limits", "limit")] {
        let missing: Vec<(String, Value)> = given
            .get(to)
            .into_iter()
            .flatten()
            .filter(|(name, _)| container["resources"][to].get(name).is_none())
            .map(|(name, amount)| (name.clone(), amount.clone()))
            .collect();
        if missing.is_empty() {
            continue;
        }
        let names: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
        said.push(format!("{} {one} for {what} {}", names.join(", "), container["name"].as_str().unwrap_or_default()));
        if !container["resources"][to].is_object() {
            container["resources"][to] = json!({});
        }
        for (name, amount) in missing {
            container["resources"][to][name] = amount;
        }
    }
    said
}

/// What a container, a pod or a claim asks for and may use.
struct Asked {
    requests: Amounts,
    limits: Amounts,
}

impl Asked {
    fn of(resources: &Value) -> Asked {
        Asked { requests: quota::amounts(&resources["requests"]), limits: quota::amounts(&resources["limits"]) }
    }
}

/// # Errors
/// `Forbidden` with every bound that the pod breaks.
pub(super) fn check_pod(api: &Api, kind: &Kind, pod: &Value) -> Result<(), Status> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut broken = Vec::new();
    for range in ranges(api, namespace, "Container") {
        for list in ["containers", "initContainers"] {
            for container in pod["spec"][list].as_array().into_iter().flatten() {
                check(&range, "Container", &Asked::of(&container["resources"]), &mut broken);
            }
        }
    }
    for range in ranges(api, namespace, "Pod") {
        let spec = &pod["spec"];
        let whole = Asked { requests: quota::of_pod(spec, "requests"), limits: quota::of_pod(spec, "limits") };
        check(&range, "Pod", &whole, &mut broken);
    }
    refuse(kind, pod, broken)
}

/// # Errors
/// `Forbidden` when the claim asks for less or more than it may.
pub(super) fn check_claim(api: &Api, kind: &Kind, claim: &Value) -> Result<(), Status> {
    const SORT: &str = "PersistentVolumeClaim";
    let namespace = claim["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut broken = Vec::new();
    for range in ranges(api, namespace, SORT) {
        let asked = Asked { requests: quota::amounts(&claim["spec"]["resources"]["requests"]), limits: Amounts::new() };
        bounds(&range["min"]).for_each(|(name, bound)| broken.extend(least(SORT, &name, bound, &asked)));
        for (name, bound) in bounds(&range["max"]) {
            broken.extend(match asked.requests.get(&name) {
                None => Some(format!("maximum {name} usage per {SORT} is {bound}.  No request is specified")),
                Some(request) if *request > bound => Some(format!("maximum {name} usage per {SORT} is {bound}, but request is {request}")),
                Some(_) => None,
            });
        }
    }
    refuse(kind, claim, broken)
}

fn refuse(kind: &Kind, object: &Value, broken: Vec<String>) -> Result<(), Status> {
    // As Go's aggregate: each message once, in brackets when there are several.
    let mut once: Vec<String> = Vec::new();
    broken.into_iter().for_each(|why| {
        if !once.contains(&why) {
            once.push(why);
        }
    });
    let why = match &once[..] {
        [] => return Ok(()),
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    Err(Status::forbidden(kind, object["metadata"]["name"].as_str().unwrap_or_default(), &why))
}

fn bounds(value: &Value) -> impl Iterator<Item = (String, Quantity)> {
    quota::amounts(value).into_iter()
}

fn check(range: &Value, sort: &str, asked: &Asked, broken: &mut Vec<String>) {
    bounds(&range["min"]).for_each(|(name, bound)| broken.extend(least(sort, &name, bound, asked)));
    bounds(&range["max"]).for_each(|(name, bound)| broken.extend(most(sort, &name, bound, asked)));
    bounds(&range["maxLimitRequestRatio"]).for_each(|(name, bound)| broken.extend(ratio(sort, &name, bound, asked)));
}

fn least(sort: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let head = format!("minimum {name} usage per {sort} is {bound}");
    match (asked.requests.get(name), asked.limits.get(name)) {
        (None, _) => Some(format!("{head}.  No request is specified")),
        (Some(request), _) if *request < bound => Some(format!("{head}, but request is {request}")),
        (_, Some(limit)) if *limit < bound => Some(format!("{head}, but limit is {limit}")),
        _ => None,
    }
}

fn most(sort: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let head = format!("maximum {name} usage per {sort} is {bound}");
    match (asked.requests.get(name), asked.limits.get(name)) {
        (_, None) => Some(format!("{head}.  No limit is specified")),
        (_, Some(limit)) if *limit > bound => Some(format!("{head}, but limit is {limit}")),
        (Some(request), _) if *request > bound => Some(format!("{head}, but request is {request}")),
        _ => None,
    }
}

fn ratio(sort: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let head = format!("{name} max limit to request ratio per {sort} is {bound}");
    let some = |amounts: &Amounts| amounts.get(name).copied().filter(|amount| *amount != Quantity::ZERO && amount.milli_value() != 0);
    let (Some(request), limit) = (some(&asked.requests), some(&asked.limits)) else {
        return Some(format!("{head}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit else { return Some(format!("{head}, but no limit is specified or limit is 0")) };
    let found = limit.milli_value() as f64 / request.milli_value() as f64;
    (found * 1000.0 > bound.milli_value() as f64).then(|| format!("{head}, but provided ratio is {found:.6}"))
}
