//! ResourceQuota: what an object uses, and whether a namespace has that left.
//!
//! Source: `k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go`, `k8s.io/kubernetes/pkg/quota/v1/evaluator/core`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::api::Api;
use crate::kinds::Kind;
use crate::quantity::Quantity;
use crate::status::Status;

const PLURAL: &str = "resourcequotas";

/// Amounts by the names that quotas have for them.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

pub(crate) fn amounts(value: &Value) -> Amounts {
    let parse = |(name, amount): (&String, &Value)| Some((name.clone(), Quantity::parse(amount.as_str()?).ok()?));
    value.as_object().into_iter().flatten().filter_map(parse).collect()
}

pub(crate) fn encode(amounts: &Amounts) -> Value {
    amounts.iter().map(|(name, amount)| (name.clone(), Value::from(amount.to_string()))).collect::<serde_json::Map<_, _>>().into()
}

fn add(into: &mut Amounts, name: impl Into<String>, amount: Quantity) {
    let entry = into.entry(name.into()).or_insert(Quantity::ZERO);
    *entry = *entry + amount;
}

/// What one object uses of everything that a quota can limit.
pub(crate) fn usage(kind: &Kind, object: &Value) -> Amounts {
    let one = Quantity::parse("1").unwrap_or(Quantity::ZERO);
    let mut used = Amounts::new();
    add(&mut used, format!("count/{}", kind.resource()), one);
    const NAMED: &[&str] =
        &["pods", "services", "secrets", "configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas"];
    if NAMED.contains(&kind.key.as_str()) {
        add(&mut used, kind.key.as_str(), one);
    }
    let spec = &object["spec"];
    match kind.key.as_str() {
        "pods" => {
            for (name, amount) in of_pod(spec, "requests") {
                if !name.contains('/') {
                    add(&mut used, name.as_str(), amount);
                }
                add(&mut used, format!("requests.{name}"), amount);
            }
            for (name, amount) in of_pod(spec, "limits") {
                add(&mut used, format!("limits.{name}"), amount);
            }
        }
        "services" => match spec["type"].as_str() {
            Some("LoadBalancer") => {
                add(&mut used, "services.loadbalancers", one);
                add(&mut used, "services.nodeports", one);
            }
            Some("NodePort") => add(&mut used, "services.nodeports", one),
            _ => {}
        },
        "persistentvolumeclaims" => {
            let class = spec["storageClassName"].as_str().unwrap_or_default();
            let storage = spec["resources"]["requests"]["storage"].as_str().and_then(|text| Quantity::parse(text).ok());
            if let Some(storage) = storage {
                add(&mut used, "requests.storage", storage);
                if !class.is_empty() {
                    add(&mut used, format!("{class}.storageclass.storage.k8s.io/requests.storage"), storage);
                }
            }
            if !class.is_empty() {
                add(&mut used, format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), one);
            }
        }
        _ => {}
    }
    used
}

/// What a pod's containers need together: those that run side by side, or the largest of those that run before, and the overhead.
pub(crate) fn of_pod(spec: &Value, sort: &str) -> Amounts {
    let mut running = Amounts::new();
    let mut most = Amounts::new();
    let each = |list: &'static str| spec[list].as_array().into_iter().flatten();
    for container in each("containers") {
        amounts(&container["resources"][sort]).into_iter().for_each(|(name, amount)| add(&mut running, name, amount));
    }
    let mut sidecars = Amounts::new();
    for container in each("initContainers") {
        let own = amounts(&container["resources"][sort]);
        if container["restartPolicy"] == "Always" {
            own.iter().for_each(|(name, amount)| add(&mut sidecars, name.as_str(), *amount));
            own.into_iter().for_each(|(name, amount)| add(&mut running, name, amount));
            continue;
        }
        for (name, amount) in own {
            let together = amount + sidecars.get(&name).copied().unwrap_or(Quantity::ZERO);
            let largest = most.entry(name).or_insert(Quantity::ZERO);
            if together > *largest {
                *largest = together;
            }
        }
    }
    for (name, amount) in most {
        let now = running.entry(name).or_insert(Quantity::ZERO);
        if amount > *now {
            *now = amount;
        }
    }
    for (name, amount) in amounts(&spec["overhead"]) {
        if sort == "requests" || running.contains_key(&name) {
            add(&mut running, name, amount);
        }
    }
    running
}

/// Whether a quota is about this object: scopes choose among pods.
pub(crate) fn covers(quota: &Value, kind: &Kind, object: &Value) -> bool {
    let spec = &quota["spec"];
    let plain = spec["scopes"].as_array().into_iter().flatten().map(|scope| json!({ "scopeName": scope, "operator": "Exists" }));
    let selected = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten().cloned();
    let mut scopes = plain.chain(selected).peekable();
    scopes.peek().is_none() || kind.key == "pods" && scopes.all(|scope| in_scope(&scope, &object["spec"]))
}

fn in_scope(scope: &Value, spec: &Value) -> bool {
    let ends = spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
    let effort = crate::admission::quality(spec) != "BestEffort";
    match scope["scopeName"].as_str().unwrap_or_default() {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => !effort,
        "NotBestEffort" => effort,
        "PriorityClass" => {
            let class = spec["priorityClassName"].as_str().unwrap_or_default();
            let listed = || scope["values"].as_array().is_some_and(|values| values.iter().any(|value| value == class));
            match scope["operator"].as_str() {
                Some("In") => listed(),
                Some("NotIn") => !listed(),
                Some("DoesNotExist") => class.is_empty(),
                _ => !class.is_empty(),
            }
        }
        _ => false,
    }
}

/// What each container must say when a quota limits it.
fn unsaid(spec: &Value, hard: &BTreeSet<&String>) -> Option<String> {
    const ASKED: &[&str] = &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let containers = ["containers", "initContainers"].into_iter().flat_map(|list| spec[list].as_array().into_iter().flatten());
    for container in containers {
        for name in hard.iter().map(|name| name.as_str()).filter(|name| ASKED.contains(name)) {
            let (sort, resource) = name.split_once('.').unwrap_or(("requests", name));
            if container["resources"][sort].get(resource).is_none() {
                missing.entry(name).or_default().insert(container["name"].as_str().unwrap_or_default());
            }
        }
    }
    let say =
        |(name, containers): (&&str, &BTreeSet<&str>)| format!("{name} for: {}", containers.iter().copied().collect::<Vec<_>>().join(","));
    (!missing.is_empty()).then(|| format!("must specify {}", missing.iter().map(say).collect::<Vec<_>>().join("; ")))
}

/// Takes what an object uses from the quotas of its namespace, or what it uses more than it did before, or refuses it. Nothing is taken
/// on a dry run.
pub(crate) fn charge(
    api: &mut Api,
    now: jiff::Timestamp,
    kind: &Kind,
    namespace: &str,
    (before, object): (Option<&Value>, &Value),
    dry_run: bool,
) -> Result<(), Status> {
    if namespace.is_empty() || api.store().is_empty(PLURAL) {
        return Ok(());
    }
    let mut used_by_it = usage(kind, object);
    if let Some(before) = before {
        // What it gives back is counted by the controller.
        let had = usage(kind, before);
        for (name, amount) in &mut used_by_it {
            let had = had.get(name).copied().unwrap_or(Quantity::ZERO);
            *amount = if *amount > had { *amount - had } else { Quantity::ZERO };
        }
        if used_by_it.values().all(|amount| *amount == Quantity::ZERO) {
            return Ok(());
        }
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let refuse = |why: String| Err(Status::forbidden(kind, name, &why));
    let mut taken: Vec<(String, Amounts)> = Vec::new();
    for quota in api.store().list_in(PLURAL, namespace) {
        let value = quota.value();
        // What the controller has not seen yet limits nothing.
        let (hard, used) = (amounts(&value["status"]["hard"]), amounts(&value["status"]["used"]));
        let concerned: BTreeSet<&String> = hard.keys().filter(|name| used_by_it.contains_key(*name) || concerns(kind, name)).collect();
        if concerned.is_empty() || !covers(&value, kind, object) {
            continue;
        }
        let quota_name = &quota.meta.name;
        let unknown: Vec<&str> = concerned.iter().filter(|name| !used.contains_key(**name)).map(|name| name.as_str()).collect();
        if !unknown.is_empty() {
            return refuse(format!("status unknown for quota: {quota_name}, resources: {}", unknown.join(",")));
        }
        if kind.key == "pods"
            && let Some(why) = unsaid(&object["spec"], &concerned)
        {
            return refuse(format!("failed quota: {quota_name}: {why}"));
        }
        let asked: Amounts =
            used_by_it.iter().filter(|(name, _)| hard.contains_key(*name)).map(|(name, amount)| (name.clone(), *amount)).collect();
        let sum = |name: &String, amount: &Quantity| used.get(name).copied().unwrap_or(Quantity::ZERO) + *amount;
        let beyond: BTreeSet<&String> = asked
            .iter()
            .filter(|(name, amount)| hard.get(*name).is_some_and(|most| sum(name, amount) > *most))
            .map(|(name, _)| name)
            .collect();
        if !beyond.is_empty() {
            let say = |from: &Amounts| {
                let shown = beyond.iter().map(|name| format!("{name}={}", from.get(*name).copied().unwrap_or(Quantity::ZERO)));
                shown.collect::<Vec<_>>().join(",")
            };
            return refuse(format!(
                "exceeded quota: {quota_name}, requested: {}, used: {}, limited: {}",
                say(&asked),
                say(&used),
                say(&hard)
            ));
        }
        let mut after = used;
        asked.into_iter().for_each(|(name, amount)| add(&mut after, name, amount));
        taken.push((quota_name.clone(), after));
    }
    for (quota, after) in taken.into_iter().filter(|_| !dry_run) {
        api.update_with(now, PLURAL, namespace, &quota, Some("status"), |value| value["status"]["used"] = encode(&after))?;
    }
    Ok(())
}

/// Names that limit a kind even when an object uses none of it.
fn concerns(kind: &Kind, name: &str) -> bool {
    kind.key == "pods"
        && (matches!(name, "cpu" | "memory" | "ephemeral-storage")
            || name.starts_with("requests.") && name != "requests.storage"
            || name.starts_with("limits."))
}
