//! LimitRange: what containers get that name nothing, and what pods and claims may not be beyond.
//!
//! Source: `plugin/pkg/admission/limitranger/admission.go`. Several mistakes come in order of resource names; Go iterates a map.

use serde_json::{Value, json};

use crate::api::Api;
use crate::kinds::Kind;
use crate::quantity::Quantity;
use crate::quota::{self, Amounts};
use crate::status::Status;

fn ranges(api: &Api, namespace: &str, sort: &str) -> Vec<Value> {
    let all = api.store().list_in("limitranges", namespace);
    let limits = all.flat_map(|range| range.value()["spec"]["limits"].as_array().cloned().unwrap_or_default());
    limits.filter(|limit| limit["type"] == sort).collect()
}

/// Requests and limits that a LimitRange of type Container gives to containers that name none.
pub(super) fn defaults(api: &Api, pod: &mut Value) {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    for range in ranges(api, &namespace, "Container") {
        for list in ["containers", "initContainers"] {
            for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
                for (from, to) in [("defaultRequest", "requests"), ("default", "limits")] {
                    for (name, value) in range[from].as_object().into_iter().flatten() {
                        let resources = &mut container["resources"];
                        if resources[to].get(name).is_none() {
                            if !resources[to].is_object() {
                                resources[to] = json!({});
                            }
                            resources[to][name] = value.clone();
                        }
                    }
                }
            }
        }
    }
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
