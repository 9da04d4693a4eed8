//! A plan's consequences: NodeClaims to create, things to say, promises to remember.
//!
//! Source: `C/pkg/controllers/provisioning/provisioner.go`, `…/scheduling/{scheduler,nodeclaimtemplate,events}.go`.

use crate::effect::Effect;
use crate::log::{Line, some};
use crate::metrics::Measure;
use crate::recorder::EventSpec;
use crate::step::{Act, Note};
use crate::world::World;
use api::nodepool::{NodeClassRef, SelectorRequirement};
use api::{NodeClaim, NodeClaimSpec};
use cluster::{Key, hash};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use planner::output::{ClaimRequirement, NodeClaimPlan, PodOutcome, PodVerdict, PoolRefusal, Refusal};
use planner::{Explanation, Plan, words};
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::{Operator, Taint, labels};

pub const CONTROLLER: &str = "provisioner";

/// `namespace/name` as a key.
pub fn key(name: &str) -> Key {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    Key::new(namespace, name)
}

/// What is said about a plan, in order of pods.
pub fn notes(world: &World, plan: &Plan, explanation: &Explanation) -> Vec<Note> {
    let mut notes = Vec::new();
    for barren in &explanation.barren {
        let why = if barren.min_values { " due to minValues incompatibility" } else { "" };
        let line = Line::info(CONTROLLER, "skipping, nodepool requirements filtered out all instance types");
        notes.push(line.object("NodePool", "", &barren.pool).into());
        if let Some(pool) = world.index.pool(&barren.pool) {
            let text = format!("NodePool requirements filtered out all compatible available instance types{why}");
            notes.push(EventSpec::new(&**pool, true, "NoCompatibleInstanceTypes", text).dedupe_for(SignedDuration::from_mins(1)).into());
        }
    }
    let deferred: Vec<String> = explanation.pods.iter().filter(|verdict| is_deferred(verdict)).map(|v| v.pod.to_string()).collect();
    if !deferred.is_empty() {
        let text = "deferring scheduling decision for provisionable pod(s) to future simulation due to limited reserved offering capacity";
        notes.push(Line::debug(CONTROLLER, text).with("Pods", some(&deferred, 5)).into());
    }
    if explanation.pods.iter().any(has_no_pool) {
        notes.push(Line::info(CONTROLLER, "no dynamic nodepools found").into());
    }
    for verdict in explanation.pods.iter().filter(|verdict| !is_deferred(verdict) && !has_no_pool(verdict)) {
        if let Some(error) = words::of(&verdict.outcome) {
            let key = key(&verdict.pod);
            notes.push(line_of(verdict, &error).object("Pod", &key.namespace, &key.name).into());
            if let Some(pod) = world.index.pod(&key).filter(|_| !is_silent(verdict)) {
                let event = EventSpec::new(&**pod, true, "FailedScheduling", format!("Failed to schedule pod, {error}"));
                notes.push(event.dedupe_for(SignedDuration::from_mins(5)).into());
            }
        }
    }
    for nomination in &plan.nominations {
        let Some(pod) = world.index.pod(&key(&nomination.pod)) else { continue };
        notes.push(nominated(pod, &on_machine(world, &nomination.node)).into());
    }
    if !plan.launches.is_empty() {
        let names: Vec<String> = plan.launches.iter().flat_map(|launch| launch.pods.iter().map(ToString::to_string)).collect();
        notes.push(Line::info(CONTROLLER, "found provisionable pod(s)").with("Pods", some(&names, 5)).with("duration", "0s").into());
        notes.push(
            Line::info(CONTROLLER, "computed new nodeclaim(s) to fit pod(s)")
                .with("nodeclaims", plan.launches.len())
                .with("pods", names.len())
                .into(),
        );
        let mut nodes: Vec<&Arc<str>> = plan.nominations.iter().map(|n| &n.node).collect();
        nodes.dedup();
        if !nodes.is_empty() {
            let line = Line::info(CONTROLLER, "computed unready node(s) will fit pod(s)")
                .with("nodes", nodes.len())
                .with("pods", plan.nominations.len());
            notes.push(line.into());
        }
    }
    notes
}

/// `nodeclaim/x, node/y`, whichever there is.
pub fn on_machine(world: &World, name: &str) -> String {
    let node = world.index.node(name);
    let provider = node.and_then(|n| n.spec.as_ref()?.provider_id.as_deref());
    let claim = provider.and_then(|id| world.index.claims_of(id).first().map(|c| c.name_any()));
    let claim = claim.or_else(|| world.index.claim(name).map(|c| c.name_any()));
    let parts = [claim.map(|c| format!("nodeclaim/{c}")), node.map(|n| format!("node/{}", n.name_any()))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

pub fn nominated(pod: &core::Pod, on: &str) -> EventSpec {
    EventSpec::new(pod, false, "Nominated", format!("Pod should schedule on: {on}")).limited()
}

fn claims_resources(pools: &[PoolRefusal]) -> bool {
    pools.iter().any(|pool| matches!(pool.reason, Refusal::Undecided(_)))
}

/// What is logged of it (`C/pkg/controllers/provisioning/scheduling/scheduler.go`, Record; `provisioner.go`, GetPendingPods). The values
/// in errors are keys of the line, those of several errors in one list (operatorpkg's `serrors`, UnwrapValues).
fn line_of(verdict: &PodVerdict, error: &str) -> Line {
    let pools = match &verdict.outcome {
        PodOutcome::Invalid { .. } => return Line::debug(CONTROLLER, "ignoring pod").with("error", error),
        PodOutcome::Unschedulable(pools) if claims_resources(pools) => {
            let text = "skipping pod with Dynamic Resource Allocation requirements, not yet supported by Karpenter";
            return Line::info(CONTROLLER, text);
        }
        PodOutcome::Unschedulable(pools) => pools.as_slice(),
        PodOutcome::FitsNode(_) | PodOutcome::Launch(_) => &[],
    };
    let mut line = Line::error(CONTROLLER, "could not schedule pod", error);
    let limited = pools.iter().filter(|pool| pool.words.ends_with(&format!("(NodePool={})", pool.pool)));
    let limited: Vec<serde_json::Value> = limited.map(|pool| serde_json::json!({ "name": pool.pool })).collect();
    let tainted =
        pools.iter().flat_map(|pool| pool.words.split("; ")).filter_map(|words| words.strip_prefix("did not tolerate taint (taint="));
    let tainted: Vec<serde_json::Value> = tainted.map(|rest| rest.trim_end_matches(')').into()).collect();
    for (key, mut values) in [("NodePool", limited), ("taint", tainted)] {
        line = match values.len() {
            0 => line,
            1 => line.with(key, values.remove(0)),
            _ => line.with(&format!("{key}s"), values),
        };
    }
    line
}

/// The pod waits for reserved capacity: nothing is wrong with it.
fn is_deferred(verdict: &PodVerdict) -> bool {
    let waits = |refusal: &PoolRefusal| refusal.reason == Refusal::ReservedCapacity;
    matches!(&verdict.outcome, PodOutcome::Unschedulable(pools) if pools.iter().any(waits))
}

/// No NodePool is ready, or there is none: nothing is said of the pod, as upstream does not look at it.
fn has_no_pool(verdict: &PodVerdict) -> bool {
    matches!(&verdict.outcome, PodOutcome::Unschedulable(pools) if pools.iter().all(|refusal| refusal.reason == Refusal::NotReady))
}

/// No Event for pods that avoid our nodes on purpose.
fn is_silent(verdict: &PodVerdict) -> bool {
    matches!(&verdict.outcome, PodOutcome::Invalid { fault, .. } if fault.starts_with(&format!("{} DoesNotExist", labels::NODEPOOL)))
}

/// The act that creates this NodeClaim, unless the pool is above its limits already. `nominate`: its pods are told of it.
/// `reason` is what it is counted under.
pub fn create(
    world: &World,
    controller: &'static str,
    reason: &str,
    launch: &NodeClaimPlan,
    name: String,
    nominate: bool,
) -> Result<Act, Line> {
    let pool = world.index.pool(&launch.pool);
    let limits = pool.and_then(|p| p.spec.limits.as_ref()).map(cluster::pool::quantities).unwrap_or_default();
    let usage = world.index.pool_usage(&launch.pool);
    if let Some((resource, limit)) = limits.iter().find(|(resource, limit)| usage.get(resource) > *limit) {
        let error = format!("{resource} resource usage of {} exceeds limit of {limit}", usage.get(resource));
        return Err(Line::error(controller, "Reconciler error", format!("creating node claim, {error}")).object(
            "NodePool",
            "",
            &launch.pool,
        ));
    }
    let claim = claim(launch, pool.map(|p| &**p), name);
    let types: Vec<String> = launch.instance_types.iter().map(|choice| choice.instance_type.to_string()).collect();
    let requests: serde_json::Map<_, _> = launch.requests.to_quantities().into_iter().map(|(k, v)| (k, v.into())).collect();
    let line = Line::info(controller, "created nodeclaim")
        .object("NodePool", "", &launch.pool)
        .object("NodeClaim", "", &claim.name_any())
        .with("requests", serde_json::Value::Object(requests))
        .with("instance-types", some(&types, 5));
    let on = format!("nodeclaim/{}", claim.name_any());
    let created = Measure::created(&claim, reason);
    let mut act = Act::from(Effect::CreateClaim(Box::new(claim))).then(line).then(created);
    for pod in launch.pods.iter().filter(|_| nominate).filter_map(|name| world.index.pod(&key(name))) {
        act = act.then(nominated(pod, &on));
    }
    Ok(act)
}

/// The NodeClaim as it goes to the API. `pool` lends durations as they were written.
pub fn claim(launch: &NodeClaimPlan, pool: Option<&api::NodePool>, name: String) -> NodeClaim {
    let text = |map: &BTreeMap<Arc<str>, Arc<str>>| map.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<BTreeMap<_, _>>();
    let template = pool.map(|p| &p.spec.template.spec);
    let mut spec = NodeClaimSpec {
        taints: launch.taints.iter().map(taint).collect(),
        startup_taints: launch.startup_taints.iter().map(taint).collect(),
        requirements: launch.requirements.iter().flat_map(requirement).collect(),
        node_class_ref: NodeClassRef {
            group: "karpenter.k8s.aws".to_owned(),
            kind: "EC2NodeClass".to_owned(),
            name: launch.node_class.to_string(),
        },
        termination_grace_period: template.and_then(|t| t.termination_grace_period.clone()),
        expire_after: template.and_then(|t| t.expire_after.clone()),
        ..NodeClaimSpec::default()
    };
    spec.resources.requests = super::nodepool::quantities(&launch.requests);
    let mut claim = NodeClaim::new(&name, spec);
    claim.metadata.generate_name = Some(format!("{}-", launch.pool));
    let mut own = text(&launch.labels);
    own.insert(labels::NODEPOOL.to_owned(), launch.pool.to_string());
    own.insert(labels::EC2NODECLASS.to_owned(), launch.node_class.to_string());
    claim.metadata.labels = Some(own);
    let mut annotations = text(&launch.annotations);
    if let Some(pool) = pool {
        annotations.insert(labels::NODEPOOL_HASH.to_owned(), hash::node_pool(pool));
        annotations.insert(labels::NODEPOOL_HASH_VERSION.to_owned(), hash::POOL_VERSION.to_owned());
    }
    claim.metadata.annotations = Some(annotations);
    claim.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "karpenter.sh/v1".to_owned(),
        kind: "NodePool".to_owned(),
        name: launch.pool.to_string(),
        uid: launch.pool_uid.to_string(),
        block_owner_deletion: Some(true),
        controller: None,
    }]);
    claim
}

fn taint(taint: &Taint) -> core::Taint {
    let value = (!taint.value.is_empty()).then(|| taint.value.to_string());
    core::Taint { key: taint.key.to_string(), value, effect: format!("{:?}", taint.effect), time_added: None }
}

/// Two bounds are two entries, and a bound takes precedence over excluded values
/// (`C/pkg/scheduling/requirement.go`, NodeSelectorRequirement).
fn requirement(planned: &ClaimRequirement) -> Vec<SelectorRequirement> {
    let made = &planned.requirement;
    let entry = |operator: &str, values: Vec<String>| SelectorRequirement {
        key: made.key.to_string(),
        operator: operator.to_owned(),
        values,
        min_values: made.min_values,
    };
    let bounds = [("Gte", made.gte), ("Lte", made.lte)];
    let bounded: Vec<_> = bounds.into_iter().filter_map(|(operator, bound)| Some(entry(operator, vec![bound?.to_string()]))).collect();
    if !bounded.is_empty() {
        return bounded;
    }
    let ordered: Vec<String> = match planned.ordered_values.as_slice() {
        [] => made.values.iter().map(ToString::to_string).collect(),
        ordered => ordered.iter().map(ToString::to_string).collect(),
    };
    match made.operator() {
        operator @ (Operator::In | Operator::NotIn) => vec![entry(&format!("{operator:?}"), ordered)],
        operator => vec![entry(&format!("{operator:?}"), Vec::new())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use vocabulary::Requirement;

    #[rstest]
    #[case::values_in_order_of_price(Requirement::new("t", Operator::In, ["m5.large", "t3.small"]), &["t3.small", "m5.large"], &[("In", "t3.small,m5.large")])]
    #[case::exists(Requirement::new("t", Operator::Exists, [""; 0]), &[], &[("Exists", "")])]
    #[case::absent(Requirement::new("t", Operator::DoesNotExist, [""; 0]), &[], &[("DoesNotExist", "")])]
    #[case::not_in(Requirement::new("t", Operator::NotIn, ["a"]), &[], &[("NotIn", "a")])]
    #[case::greater(Requirement::new("t", Operator::Gt, ["4"]), &[], &[("Gte", "5")])]
    #[case::between(Requirement::new("t", Operator::Gt, ["4"]).intersection(&Requirement::new("t", Operator::Lt, ["9"])), &[], &[("Gte", "5"), ("Lte", "8")])]
    fn requirements_on_the_wire(#[case] made: Requirement, #[case] ordered: &[&str], #[case] expected: &[(&str, &str)]) {
        let planned = ClaimRequirement { requirement: made, ordered_values: ordered.iter().map(|v| Arc::from(*v)).collect() };
        let wire: Vec<_> = requirement(&planned).into_iter().map(|r| (r.operator, r.values.join(","))).collect();
        assert_eq!(wire, expected.iter().map(|(o, v)| ((*o).to_owned(), (*v).to_owned())).collect::<Vec<_>>());
    }
}
