//! A pod: Pending since when and why, or where it runs and why there, and what became of it.

use super::machine::{self, Machine};
use super::question::resolve;
use super::record::{Decision, Record};
use super::{Answer, At, Error, Fact, Question, Section, condition, node, words};
use planner::output::{PodOutcome, PoolRefusal, Refusal};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use vocabulary::labels;

/// A pod as it was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `namespace/name`.
    pub name: String,
    /// `namespace/name` of its workload: a Deployment's pods bear the Deployment's name.
    pub owner: String,
    pub daemon: bool,
    pub node: Option<String>,
    pub ready: bool,
    pub terminating: bool,
    pub finished: bool,
    /// Has `karpenter.sh/do-not-disrupt`.
    pub protected: bool,
    pub labels: Value,
}

impl Seen {
    fn of(namespace: &str, name: &str, object: &Value) -> Seen {
        let metadata = &object["metadata"];
        let owners = metadata["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
        let owner = owners.iter().find(|owner| owner["controller"] == true);
        let hash = metadata["labels"]["pod-template-hash"].as_str().map(|hash| format!("-{hash}"));
        let workload = owner.and_then(|owner| owner["name"].as_str()).unwrap_or(name);
        let workload = hash.and_then(|hash| workload.strip_suffix(&hash)).unwrap_or(workload);
        let phase = object.pointer("/status/phase").and_then(Value::as_str);
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Seen {
            name: format!("{namespace}/{name}"),
            owner: format!("{namespace}/{workload}"),
            daemon: owner.is_some_and(|owner| owner["kind"] == "DaemonSet"),
            node: object.pointer("/spec/nodeName").and_then(Value::as_str).map(str::to_owned),
            ready: conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"),
            terminating: metadata.get("deletionTimestamp").is_some(),
            finished: matches!(phase, Some("Succeeded" | "Failed")),
            protected: metadata["annotations"].get(labels::DO_NOT_DISRUPT).is_some_and(|value| value != "false"),
            labels: metadata["labels"].clone(),
        }
    }
}

/// The pods there were then.
pub fn all(record: &Record, at: At) -> impl Iterator<Item = Seen> {
    record.objects("Pod", at).map(|((_, namespace, name), object)| Seen::of(namespace, name, object))
}

/// What happened to the pod, with the time of each: `None` where it did not.
#[derive(Default)]
struct Life {
    created: Option<At>,
    bound: Option<(At, String)>,
    ready: Option<At>,
    terminating: Option<At>,
    gone: Option<At>,
    owner: String,
}

fn life(record: &Record, name: &str, at: At) -> Life {
    let (namespace, short) = name.split_once('/').unwrap_or(("", name));
    let sightings = record.sightings.get(&("Pod".to_owned(), namespace.to_owned(), short.to_owned()));
    let mut life = Life::default();
    for sighting in sightings.into_iter().flatten().filter(|sighting| sighting.at <= at) {
        if life.gone.is_some() && !sighting.gone {
            // A StatefulSet's pod comes again under its name.
            life = Life::default();
        }
        let seen = Seen::of(namespace, short, &sighting.object);
        life.created.get_or_insert(sighting.at);
        if let (Some(node), None) = (&seen.node, &life.bound) {
            life.bound = Some((sighting.at, node.clone()));
        }
        if seen.ready {
            life.ready.get_or_insert(sighting.at);
        }
        if seen.terminating {
            life.terminating.get_or_insert(sighting.at);
        }
        if sighting.gone {
            life.gone = Some(sighting.at);
        }
        life.owner = seen.owner;
    }
    life
}

/// Every name of a pod in the record: those that were seen, and those that were planned for.
fn names(record: &Record) -> BTreeSet<String> {
    let seen = record.sightings.keys().filter(|(kind, ..)| kind == "Pod").map(|(_, namespace, name)| format!("{namespace}/{name}"));
    let planned = record.decisions.iter().filter_map(|(_, decision)| match decision {
        Decision::Planned { explanation, .. } => Some(explanation.pods.iter().map(|verdict| verdict.pod.to_string())),
        _ => None,
    });
    seen.chain(planned.flatten()).collect()
}

pub fn answer(record: &Record, question: &Question, at: At) -> Result<Answer, Error> {
    let names = names(record);
    let name = resolve(question, names.iter().map(String::as_str))?;
    let machines = machine::machines(record);
    let life = life(record, name, at);
    let mut sections = Vec::new();
    let answer = |sections| Ok(Answer { object: format!("pod/{name}"), at, sections });
    if record.has_sightings() && life.created.is_none() {
        let first = record.sightings.iter().filter(|((kind, namespace, short), _)| kind == "Pod" && format!("{namespace}/{short}") == name);
        let first = first.flat_map(|(_, sightings)| sightings.first()).map(|sighting| sighting.at).next();
        let says = first.map_or_else(|| "it was not there".to_owned(), |first| format!("it was not there yet: it came at {first}"));
        sections.push(Section { title: "What it is", facts: vec![Fact::new(None, says)] });
        return answer(sections);
    }
    sections.push(Section { title: "What it is", facts: what(record, &life) });
    let place = match &life.bound {
        Some((when, node)) => Section { title: "Why it runs there", facts: why_there(record, &machines, name, *when, node) },
        None => Section { title: "Why it is Pending", facts: why_pending(record, name, life.created.unwrap_or_default(), at) },
    };
    if !place.facts.is_empty() {
        sections.push(place);
    }
    let facts = evictions(record, name, at);
    if !facts.is_empty() {
        sections.push(Section { title: "Evictions", facts });
    }
    answer(sections)
}

fn what(record: &Record, life: &Life) -> Vec<Fact> {
    if !record.has_sightings() {
        return vec![Fact::new(None, "where it was is not in the record: no watch on the cluster was traced")];
    }
    let mut facts = vec![Fact::new(life.created, format!("created for {}", life.owner)).with(json!({"owner": life.owner}))];
    if let Some((when, node)) = &life.bound {
        facts.push(Fact::new(*when, format!("bound to node {node}")).with(json!({"node": node})));
    }
    let rest = [(life.ready, "ready"), (life.terminating, "told to end"), (life.gone, "gone")];
    facts.extend(rest.into_iter().filter_map(|(when, says)| Some(Fact::new(when?, says))));
    if life.bound.is_none() && life.gone.is_none() {
        facts.push(Fact::new(None, format!("Pending since {}", life.created.unwrap_or_default())));
    }
    facts
}

/// The last plan that looked at the pod, from `from` on.
fn planned<'a>(record: &'a Record, name: &str, from: At, until: At) -> Option<(At, &'a PodOutcome, &'a [String])> {
    record.until(until).take_while(|(when, _)| *when >= from).find_map(|(when, decision)| match decision {
        Decision::Planned { explanation, names, .. } => {
            let verdict = explanation.pods.iter().find(|verdict| &*verdict.pod == name)?;
            Some((when, &verdict.outcome, names.as_slice()))
        }
        _ => None,
    })
}

fn why_pending(record: &Record, name: &str, created: At, at: At) -> Vec<Fact> {
    let Some((when, outcome, names)) = planned(record, name, created, at) else {
        let waits = record.until(at).take_while(|(when, _)| *when >= created).find_map(|(when, decision)| match decision {
            Decision::Unsynced { waiting_for } => Some((when, waiting_for)),
            _ => None,
        });
        return vec![match waits {
            Some((when, claims)) => {
                let says = format!("nothing is planned while NodeClaims have no machine: {}", claims.join(", "));
                Fact::new(when, says).with(json!({"waiting_for": claims}))
            }
            None => Fact::new(None, "no plan has looked at it yet"),
        }];
    };
    match outcome {
        PodOutcome::FitsNode(node) => {
            vec![Fact::new(when, format!("it fits on {node}, which is not ready for it yet")).with(json!({"node": node}))]
        }
        PodOutcome::Launch(index) => {
            let claim = names.get(*index).map(String::as_str).unwrap_or_default();
            vec![Fact::new(when, format!("NodeClaim {claim} is launched for it")).with(json!({"nodeclaim": claim}))]
        }
        PodOutcome::Invalid { fault, .. } => vec![Fact::new(when, format!("it is refused: {fault}"))],
        PodOutcome::Unschedulable(pools) if pools.is_empty() => vec![Fact::new(when, "there is no NodePool")],
        PodOutcome::Unschedulable(pools) => pools.iter().map(|pool| refused(record, when, pool)).collect(),
    }
}

fn refused(record: &Record, when: At, pool: &PoolRefusal) -> Fact {
    let mut lines = node::refusals(&pool.types);
    let fixed = record.object("NodePool", "", &pool.pool, when).is_some_and(|pool| !pool["spec"]["replicas"].is_null());
    let says = match pool.reason {
        Refusal::NotReady if fixed => format!("NodePool {} is of fixed size: it gets no nodes for pods", pool.pool),
        Refusal::NotReady => {
            lines.extend(condition::of_pool(record, &pool.pool, when));
            format!("NodePool {} is not ready", pool.pool)
        }
        _ => format!("NodePool {} does not take it: {}", pool.pool, pool.reason),
    };
    if lines.is_empty() && pool.reason == Refusal::NoInstanceTypes && !pool.words.is_empty() {
        lines.push(format!("as Karpenter says it: {}", pool.words));
    }
    Fact::new(when, says).more(lines).with(json!(pool))
}

/// What the controller planned, and what kube-scheduler did.
fn why_there(record: &Record, machines: &[Machine], name: &str, bound: At, node: &str) -> Vec<Fact> {
    let machine = machine::called(machines, node, bound);
    let is_it = |other: &str| other == node || machine.is_some_and(|machine| machine.is_called(other));
    // The first plan is the one that decided; later ones found the node on its way.
    let decided = record.decisions.iter().take_while(|(when, _)| *when <= bound).filter_map(|(when, decision)| {
        let Decision::Planned { plan, explanation, names, .. } = decision else { return None };
        let verdict = explanation.pods.iter().find(|verdict| &*verdict.pod == name)?;
        match &verdict.outcome {
            PodOutcome::Launch(index) => Some((*when, names.get(*index)?.as_str(), plan.launches.get(*index)?.pods.len(), true)),
            PodOutcome::FitsNode(node) => Some((*when, &**node, 1, false)),
            PodOutcome::Unschedulable(_) | PodOutcome::Invalid { .. } => None,
        }
    });
    let decided: Vec<_> = decided.collect();
    let Some((when, place, pods, launched)) = decided.iter().find(|(_, place, ..)| is_it(place)).or(decided.last()).copied() else {
        return vec![Fact::new(bound, "kube-scheduler found room there before any plan was made for it")];
    };
    if !is_it(place) {
        let says = format!("the plan meant {place} for it, but kube-scheduler found room on {node} first");
        return vec![Fact::new(when, says).with(json!({"planned": place, "node": node}))];
    }
    let says = if launched {
        let others = if pods > 1 { format!(" and {}", words::count(pods - 1, "more pod")) } else { String::new() };
        let kind = machine.and_then(|machine| {
            Some(format!(": {} at {}", machine.instance_type.as_deref()?, words::price(node::price(record, machine)?)))
        });
        format!("NodeClaim {place} was launched for it{others}{}", kind.unwrap_or_default())
    } else {
        format!("a plan found room for it on {place}, so nothing was launched")
    };
    vec![Fact::new(when, says).with(json!({"planned": place, "launched": launched, "pods": pods}))]
}

fn evictions(record: &Record, name: &str, at: At) -> Vec<Fact> {
    let object = format!("pod/{name}");
    let mut facts: Vec<Fact> = Vec::new();
    let (mut refused, mut last) = (0_usize, None);
    for (when, decision) in record.decisions.iter().take_while(|(when, _)| *when <= at) {
        match decision {
            Decision::EffectEnded { verb, object: of, error: Some(error), .. } if verb == "evict" && *of == object => {
                refused += 1;
                last = Some((*when, error));
            }
            Decision::EffectEnded { verb, object: of, error: None, .. } if verb == "evict" && *of == object => {
                facts.push(Fact::new(*when, "evicted: its node was drained"));
            }
            _ => {}
        }
    }
    if let Some((when, error)) = last {
        let times = if refused == 1 { "once".to_owned() } else { format!("{refused} times, the last time") };
        let says = format!("its eviction was refused {times}: {}", error.trim_end_matches('.'));
        facts.insert(0, Fact::new(when, says).with(json!({"refused": refused, "error": error})));
    }
    facts
}
