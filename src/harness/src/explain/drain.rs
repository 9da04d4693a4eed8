//! What a drain waits for: the pods that are left, and the budgets that keep them.

use super::machine::Machine;
use super::pod::{self, Seen};
use super::record::{Decision, Record};
use super::{At, Fact, words};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};
use vocabulary::labels;

pub fn facts(record: &Record, machine: &Machine, at: At) -> Vec<Fact> {
    let mut facts = Vec::new();
    let Some(node) = machine.node.as_deref().filter(|_| machine.node_gone.is_none_or(|gone| gone > at)) else { return facts };
    let left: Vec<Seen> = pod::all(record, at).filter(|pod| pod.node.as_deref() == Some(node) && !pod.daemon && !pod.finished).collect();
    if record.has_sightings() {
        let names: Vec<&str> = left.iter().take(5).map(|pod| &*pod.name).collect();
        let more = if left.len() > 5 { format!(" and {} more", left.len() - 5) } else { String::new() };
        let says = match left.len() {
            0 => "no pod is left that must be evicted".to_owned(),
            _ => format!("{} left to go: {}{more}", words::count(left.len(), "pod"), names.join(", ")),
        };
        facts.push(Fact::new(None, says).with(json!({"pods": left.iter().map(|pod| &pod.name).collect::<Vec<_>>()})));
    }
    for pod in &left {
        facts.extend(held(record, pod, at));
    }
    facts.extend(deadline(record, machine, at));
    facts
}

/// The last answer to the eviction of a pod, if it was no.
fn held(record: &Record, pod: &Seen, at: At) -> Option<Fact> {
    if pod.protected {
        let says = format!("pod {} has the annotation {} and is not evicted", pod.name, labels::DO_NOT_DISRUPT);
        return Some(Fact::new(None, says).with(json!({"pod": pod.name})));
    }
    let object = format!("pod/{}", pod.name);
    let last = record.until(at).find_map(|(when, decision)| match decision {
        Decision::EffectEnded { verb, object: of, error, .. } if verb == "evict" && *of == object => Some((when, error)),
        _ => None,
    });
    let (when, error) = last?;
    let error = error.as_ref()?;
    let budgets: Vec<(String, bool)> = budgets(record, pod, at).map(|(name, budget)| (name, never(&budget))).collect();
    let named: Vec<String> = budgets
        .iter()
        .map(|(name, never)| {
            format!(
                "PodDisruptionBudget {name} {}",
                if *never { "can never be met: it allows no eviction at all" } else { "allows no eviction now" }
            )
        })
        .collect();
    let says = format!("the eviction of {} was refused: {}", pod.name, error.trim_end_matches('.'));
    let data = json!({"pod": pod.name, "error": error, "budgets": budgets.iter().map(|(name, never)| json!({"name": name, "never": never})).collect::<Vec<_>>()});
    Some(Fact::new(when, says).more(named).with(data))
}

fn budgets<'a>(record: &'a Record, pod: &'a Seen, at: At) -> impl Iterator<Item = (String, PodDisruptionBudget)> + 'a {
    let namespace = pod.name.split('/').next().unwrap_or_default();
    record.objects("PodDisruptionBudget", at).filter(move |((_, of, _), _)| of == namespace).filter_map(move |((_, of, name), object)| {
        let budget: PodDisruptionBudget = serde_json::from_value(object.clone()).ok()?;
        selects(&budget, pod).then(|| (format!("{of}/{name}"), budget))
    })
}

/// An empty selector selects every pod of the namespace, none selects no pod (policy/v1).
fn selects(budget: &PodDisruptionBudget, pod: &Seen) -> bool {
    let Some(selector) = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else { return false };
    let label = |key: &str| pod.labels[key].as_str();
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| label(key) == Some(value));
    let holds = |term: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement| {
        let values = term.values.as_deref().unwrap_or_default();
        let one_of = label(&term.key).is_some_and(|value| values.iter().any(|v| v == value));
        match term.operator.as_str() {
            "In" => one_of,
            "NotIn" => !one_of,
            "Exists" => label(&term.key).is_some(),
            "DoesNotExist" => label(&term.key).is_none(),
            _ => false,
        }
    };
    equal && selector.match_expressions.iter().flatten().all(holds)
}

/// Allows no eviction however healthy its pods are: `maxUnavailable` of nothing, `minAvailable` of all there are.
fn never(budget: &PodDisruptionBudget) -> bool {
    let (Some(spec), status) = (&budget.spec, budget.status.as_ref()) else { return false };
    let none = match &spec.max_unavailable {
        Some(IntOrString::Int(number)) => *number == 0,
        Some(IntOrString::String(text)) => text == "0%" || text == "0",
        None => false,
    };
    let expected = status.and_then(|s| s.expected_pods).unwrap_or(0);
    let desired = status.and_then(|s| s.desired_healthy).unwrap_or(0);
    none || spec.min_available.is_some() && expected > 0 && desired >= expected
}

/// When what is left is deleted by force.
fn deadline(record: &Record, machine: &Machine, at: At) -> Option<Fact> {
    let claim = record.object("NodeClaim", "", machine.claim.as_deref()?, at)?;
    let stamp = claim["metadata"]["annotations"][labels::NODECLAIM_TERMINATION_TIMESTAMP].as_str();
    match record.at_text(stamp) {
        Some(end) => {
            let says = format!("at {end} its terminationGracePeriod ends, and what is left is deleted");
            Some(Fact::new(None, says).with(json!({"deleted": end})))
        }
        None if record.has_sightings() && claim.pointer("/spec/terminationGracePeriod").and_then(Value::as_str).is_none() => {
            Some(Fact::new(None, "it has no terminationGracePeriod: the drain waits as long as it takes"))
        }
        None => None,
    }
}
