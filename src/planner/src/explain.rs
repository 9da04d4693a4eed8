//! Which constraint failed first: per pool, and per instance type.

use crate::bits::Bits;
use crate::claim::Claim;
use crate::input::{MinValuesPolicy, Pod, Pool, Snapshot};
use crate::intern::{RequirementTable, RequirementsId, ResourceNames, Undefined};
use crate::launch::full_name;
use crate::output::{PodOutcome, PodVerdict, PoolRefusal, Refusal};
use crate::ports::{self, Port};
use crate::schedule::Scheduler;
use crate::shape::{Shape, Stage};
use crate::template::{NODES, Template, buyable};
use crate::topology::{Conflict, Site, Topology};
use crate::words;
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::{Requirement, Requirements, labels, taint};

/// What is asked of an instance type.
struct Asked<'a> {
    requirements: &'a Requirements,
    requests: &'a [i64],
    wanted: &'a [Port],
    taken: &'a [Port],
    limits: &'a BTreeMap<Arc<str>, i64>,
}

/// The first constraint that keeps a type out. Limits come last: a type that is only kept out by them would do otherwise.
fn type_refusal(template: &Template, names: &ResourceNames, position: usize, asked: &Asked<'_>) -> Option<Refusal> {
    let instance_type = &template.types[position];
    if let Some(conflict) = asked.requirements.first_conflict(&instance_type.requirements) {
        return Some(mismatch(conflict, instance_type.requirements.get(&conflict.key)));
    }
    if let Some((name, amount)) = instance_type.allocatable.iter().find(|(_, amount)| *amount < 0) {
        return Some(Refusal::Resource { name: name.into(), asked: 0, room: amount });
    }
    let group = template.groups.iter().find(|group| group.types.contains(position));
    let daemon_ports = group.map_or(&[][..], |group| &group.ports);
    if let Some(port) = ports::first_conflict(asked.wanted, asked.taken).or(ports::first_conflict(asked.wanted, daemon_ports)) {
        return Some(Refusal::HostPort { port: port.port });
    }
    let room = names.amounts(&instance_type.allocatable);
    for (resource, (pods, room)) in asked.requests.iter().zip(&room).enumerate() {
        let total = pods + group.map_or(0, |group| group.overhead[resource]);
        if total > *room {
            return Some(Refusal::Resource { name: names.name(resource).clone(), asked: total, room: *room });
        }
    }
    if !instance_type.offerings.iter().any(|offering| buyable(offering, asked.requirements)) {
        return Some(Refusal::NoOffering { detail: offering_detail(template, position, asked.requirements) });
    }
    template.first_limit(position, asked.limits).map(|name| limit_refusal(template, name, &[position], asked.limits))
}

fn mismatch(asked: &Requirement, offered: Option<&Requirement>) -> Refusal {
    Refusal::Requirement {
        asked: asked.to_string(),
        offered: offered.map_or_else(|| format!("{} is not set", asked.key), Requirement::to_string),
    }
}

/// Whether zone and market exclude each other, or the cloud has none.
fn offering_detail(template: &Template, position: usize, requirements: &Requirements) -> String {
    let offerings = &template.types[position].offerings;
    let fitting = offerings.iter().filter(|o| requirements.is_compatible(&o.requirements, labels::is_well_known));
    let places: Vec<String> = fitting.map(|o| format!("{} in {}", o.capacity_type, o.zone)).collect();
    if places.is_empty() {
        return "it is not offered in any zone and market that is asked for".to_owned();
    }
    format!("not available at present: {}", places.join(", "))
}

fn limit_refusal(template: &Template, name: &Arc<str>, types: &[usize], remaining: &BTreeMap<Arc<str>, i64>) -> Refusal {
    let smallest = types.iter().map(|t| template.types[*t].capacity.get(name)).min().unwrap_or(0);
    let smallest = if **name == *NODES { 1 } else { smallest };
    Refusal::Limits { name: name.clone(), limit: template.pool.limits.get(name), left: remaining.get(name).copied().unwrap_or(0), smallest }
}

/// How far a type got: the further, the closer it was.
fn progress(refusal: &Refusal) -> u8 {
    match refusal {
        Refusal::HostPort { .. } => 1,
        Refusal::Resource { .. } => 2,
        Refusal::NoOffering { .. } => 3,
        Refusal::Limits { .. } => 4,
        _ => 0,
    }
}

/// Those of `types` that something keeps out, in order of names, with what it was.
fn type_refusals(
    template: &Template,
    names: &ResourceNames,
    asked: &Asked<'_>,
    types: impl Iterator<Item = usize>,
) -> Vec<(usize, Refusal)> {
    let mut all: Vec<(usize, Refusal)> = types.filter_map(|t| Some((t, type_refusal(template, names, t, asked)?))).collect();
    all.sort_by(|(a, _), (b, _)| template.types[*a].name.cmp(&template.types[*b].name));
    all
}

fn named(template: &Template, refusals: Vec<(usize, Refusal)>) -> Vec<(Arc<str>, Refusal)> {
    refusals.into_iter().map(|(t, refusal)| (template.types[t].name.clone(), refusal)).collect()
}

/// The constraint of the types that came closest; the roomiest of them speaks where room was short, the smallest where limits
/// were.
fn closest(template: &Template, refusals: &[(usize, Refusal)], remaining: &BTreeMap<Arc<str>, i64>) -> Option<Refusal> {
    let furthest = refusals.iter().map(|(_, refusal)| progress(refusal)).max()?;
    let best: Vec<&(usize, Refusal)> = refusals.iter().filter(|(_, refusal)| progress(refusal) == furthest).collect();
    match &best.first()?.1 {
        Refusal::Resource { .. } => {
            let short = |refusal: &Refusal| {
                if let Refusal::Resource { asked, room, .. } = refusal { *asked as f64 / (*room).max(1) as f64 } else { 0.0 }
            };
            best.iter().min_by(|a, b| short(&a.1).total_cmp(&short(&b.1))).map(|(_, refusal)| refusal.clone())
        }
        Refusal::Limits { name, .. } => {
            let types: Vec<usize> = best.iter().map(|(t, _)| *t).collect();
            Some(limit_refusal(template, name, &types, remaining))
        }
        first => Some(first.clone()),
    }
}

/// Why a pool opens no NodeClaim for a pod of this shape.
pub fn pool_refusal(
    template: &mut Template,
    table: &mut RequirementTable,
    topology: &mut Topology,
    names: &ResourceNames,
    shape: &Shape,
    stage: &Stage,
    host: usize,
) -> PoolRefusal {
    let refuse = |template: &Template, reason, types| PoolRefusal {
        pool: template.pool.name.clone(),
        reason,
        types: named(template, types),
        words: "".into(),
    };
    if template.nodes_exhausted() {
        let reason = limit_refusal(template, &Arc::from(NODES), &[], &template.remaining);
        return refuse(template, reason, Vec::new());
    }
    if let Some(taint) = taint::first_untolerated(&template.pool.taints, &stage.tolerations) {
        return refuse(template, Refusal::Taint(taint.clone()), Vec::new());
    }
    let Some(joined) = table.join(template.requirements, stage.requirements, Undefined::WellKnown) else {
        let (pool, pod) = (table.get(template.requirements), table.get(stage.requirements));
        let conflict = pool.first_incompatible(pod, |key| Undefined::WellKnown.allows(key));
        let reason = conflict.map_or(Refusal::NoInstanceTypes, |asked| mismatch(asked, pool.get(&asked.key)));
        return refuse(template, reason, Vec::new());
    };
    let joined = match volume_refusal(template, table, shape, joined) {
        Ok(joined) => joined,
        Err(reason) => return refuse(template, reason, Vec::new()),
    };
    let site = Site { host, taints: &template.pool.taints, undefined: Undefined::WellKnown };
    let joined = match topology.conflict(shape, stage, site, joined, table) {
        Ok(joined) => joined,
        Err(conflict) => {
            let (Conflict::Rule(rule) | Conflict::Together(rule, _)) = *conflict;
            let domains = if rule.host { Vec::new() } else { topology.counts(&rule, 0).into_iter().collect() };
            let reason = Refusal::Topology { rule: rule.kind.as_str().into(), key: rule.key, domains };
            return refuse(template, reason, Vec::new());
        }
    };
    let asked =
        Asked { requirements: table.get(joined), requests: &shape.requests, wanted: &shape.ports, taken: &[], limits: &template.remaining };
    let types = type_refusals(template, names, &asked, 0..template.types.len());
    let reason = match closest(template, &types, &template.remaining) {
        // Some types would do, so it is their variety that is short, or the reservations.
        _ if types.len() < template.types.len() => variety_refusal(template, &types),
        Some(reason) => reason,
        None => Refusal::NoInstanceTypes,
    };
    refuse(template, reason, types)
}

/// What the pool is with the first of the volumes' alternatives that it can be.
fn volume_refusal(
    template: &Template,
    table: &mut RequirementTable,
    shape: &Shape,
    joined: RequirementsId,
) -> Result<RequirementsId, Refusal> {
    let Some(first) = shape.volumes.first() else { return Ok(joined) };
    let reachable = shape.volumes.iter().find_map(|asked| table.join(joined, *asked, Undefined::WellKnown));
    reachable.ok_or_else(|| {
        let (held, asked) = (table.get(joined), table.get(*first));
        let conflict = held.first_incompatible(asked, |key| Undefined::WellKnown.allows(key));
        let reason = conflict.map_or(Refusal::NoInstanceTypes, |asked| mismatch(asked, held.get(&asked.key)));
        let Refusal::Requirement { asked, offered } = reason else { return reason };
        Refusal::Volume { asked, offered: format!("{offered} (NodePool {})", template.pool.name) }
    })
}

/// `minValues` among the types that would do for this pod.
fn variety_refusal(template: &Template, refused: &[(usize, Refusal)]) -> Refusal {
    let fitting = Bits::from_fn(template.types.len(), |t| template.options.contains(t) && !refused.iter().any(|(r, _)| *r == t));
    match template.shortages(&template.min_values, &fitting).next() {
        Some((key, wanted, found)) => Refusal::MinValues { key: key.clone(), wanted, found },
        None => Refusal::ReservedCapacity,
    }
}

/// Why each type that the pool allows and the finished NodeClaim does not is none of its options.
pub fn ruled_out(template: &Template, scheduler: &Scheduler<'_>, claim: &Claim) -> Vec<(Arc<str>, Refusal)> {
    let asked = Asked {
        requirements: scheduler.table.get(claim.requirements),
        requests: &claim.requests,
        wanted: &[],
        taken: &[],
        limits: &claim.limits,
    };
    let options = template.options.iter().filter(|t| !claim.options.contains(*t));
    named(template, type_refusals(template, &scheduler.names, &asked, options))
}

/// Why no pool of the snapshot takes a pod like this, in the order in which they are tried: at the stage at which it waits for a
/// reservation, or with all preferences given up. `worded`: in Karpenter's words, too.
pub fn unschedulable(
    scheduler: &mut Scheduler<'_>,
    snapshot: &Snapshot,
    pod: usize,
    stage: Option<usize>,
    worded: bool,
) -> Vec<PoolRefusal> {
    let mut pools: Vec<&Arc<Pool>> = snapshot.pools.iter().collect();
    pools.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| b.name.cmp(&a.name)));
    let shape = &scheduler.shapes.shapes[scheduler.shapes.of_pod[pod]];
    let last = shape.stages.last().expect("a shape has a stage at least");
    let stage = stage.map_or(last, |index| &shape.stages[index]);
    let asking = words::Asking { shape, stage, requests: &scheduler.pods[pod].requests };
    let host = scheduler.topology.host_of_claim(scheduler.claims.len());
    let strict = scheduler.options.min_values_policy == MinValuesPolicy::Strict;
    let mut refusal = |pool: &Arc<Pool>| {
        let bare = |reason| PoolRefusal { pool: pool.name.clone(), reason, types: Vec::new(), words: "".into() };
        if !pool.ready {
            return bare(Refusal::NotReady);
        }
        let Some(template) = scheduler.templates.iter_mut().find(|template| template.pool.name == pool.name) else {
            return bare(Refusal::NoInstanceTypes);
        };
        let mut made = pool_refusal(template, &mut scheduler.table, &mut scheduler.topology, &scheduler.names, shape, stage, host);
        if !worded {
            return made;
        }
        let (table, topology, names) = (&mut scheduler.table, &mut scheduler.topology, &scheduler.names);
        let mut place = words::Place { template, table, topology, names, host, claims: scheduler.claims.len(), strict };
        made.words = words::of_pool(&mut place, &asking).unwrap_or_default().into();
        made
    };
    pools.into_iter().map(&mut refusal).collect()
}

/// Verdict on a pod with a constraint that is not decided here.
pub fn undecided(snapshot: &Snapshot, pod: &Pod, field: &Arc<str>) -> PodVerdict {
    let refusal = |pool: &Arc<Pool>| {
        let reason = Refusal::Undecided(field.clone());
        PoolRefusal { pool: pool.name.clone(), reason, types: Vec::new(), words: "".into() }
    };
    PodVerdict { pod: full_name(pod), outcome: PodOutcome::Unschedulable(snapshot.pools.iter().map(refusal).collect()) }
}
