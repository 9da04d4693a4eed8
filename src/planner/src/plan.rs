//! From a picture of the cluster to a plan, with the reasons.

use crate::disruption::pod::is_currently_reschedulable;
use crate::explain;
use crate::input::{Node, Offerings, Options, Snapshot};
use crate::launch::{self, full_name};
use crate::output::{Explanation, Nomination, Plan, PodOutcome, PodVerdict, PoolRefusal, Refusal};
use crate::schedule::{Placement, Scheduler};
use crate::validate;
use crate::words;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Decides what should exist for the pods that wait, and for those on nodes that go away.
///
/// `now` decides which pods are still protected from leaving a node that goes. Every node of the snapshot must be launched: until then
/// upstream does not plan at all (`C/pkg/controllers/state/cluster.go`, Synced).
pub fn plan(snapshot: &Snapshot, offerings: &Offerings, now: Timestamp, options: &Options) -> (Plan, Explanation) {
    let mut explanation = Explanation::default();
    let mut pods = Vec::new();
    for pod in &snapshot.pending {
        match validate::fault(pod) {
            Some(outcome) => explanation.pods.push(PodVerdict { pod: full_name(pod), outcome }),
            None => pods.push(pod.clone()),
        }
    }
    let leaving = snapshot.nodes.iter().filter(|node| node.deleting).flat_map(|node: &Arc<Node>| &node.pods);
    pods.extend(leaving.filter(|pod| is_currently_reschedulable(pod, snapshot, now)).cloned());
    pods.retain(|pod| match pod.undecided.first() {
        Some(field) => {
            explanation.pods.push(explain::undecided(snapshot, pod, field));
            false
        }
        None => true,
    });
    if !snapshot.pools.iter().any(|pool| pool.ready) {
        // Without a NodePool upstream does not even look at the nodes that exist.
        explanation.pods.extend(pods.iter().map(|pod| PodVerdict { pod: full_name(pod), outcome: no_pool(snapshot) }));
        return (Plan::default(), in_order(explanation));
    }
    if pods.is_empty() {
        return (Plan::default(), in_order(explanation));
    }
    let mut scheduler = Scheduler::new(snapshot, offerings, options, pods);
    explanation.barren = std::mem::take(&mut scheduler.barren);
    explanation.zones = zones(&mut scheduler);
    let placements = scheduler.run();
    let plan = write(&mut scheduler, snapshot, &placements, &mut explanation);
    (plan, in_order(explanation))
}

/// Counts pods that wait by the zone they are tied to, before any is placed.
fn zones(scheduler: &mut Scheduler<'_>) -> BTreeMap<Arc<str>, u32> {
    let mut made: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    let mut known: Vec<Option<Arc<str>>> = vec![None; scheduler.shapes.shapes.len()];
    for (_, shape) in scheduler.pods.iter().zip(&scheduler.shapes.of_pod).filter(|(pod, _)| pod.phase_pending) {
        let of = &scheduler.shapes.shapes[*shape];
        let zone = known[*shape].get_or_insert_with(|| scheduler.topology.effective_zone(of, &mut scheduler.table));
        *made.entry(zone.clone()).or_default() += 1;
    }
    made
}

/// Verdicts in order of the pods' names.
fn in_order(mut explanation: Explanation) -> Explanation {
    explanation.pods.sort_by(|a, b| a.pod.cmp(&b.pod));
    explanation
}

fn no_pool(snapshot: &Snapshot) -> PodOutcome {
    let refusal = |pool: &Arc<crate::input::Pool>| PoolRefusal {
        pool: pool.name.clone(),
        reason: Refusal::NotReady,
        types: Vec::new(),
        words: "".into(),
    };
    PodOutcome::Unschedulable(snapshot.pools.iter().map(refusal).collect())
}

fn write(scheduler: &mut Scheduler<'_>, snapshot: &Snapshot, placements: &[Placement], explanation: &mut Explanation) -> Plan {
    let mut plan = Plan::default();
    let mut launch_of_claim: BTreeMap<usize, Result<usize, PoolRefusal>> = BTreeMap::new();
    for (position, claim) in scheduler.claims.iter().enumerate() {
        let outcome = match launch::finish(scheduler, claim) {
            Ok((launch, reason)) => {
                plan.launches.push(launch);
                explanation.launches.push(reason);
                Ok(plan.launches.len() - 1)
            }
            Err(short) => {
                let pool = scheduler.templates[claim.template].pool.name.clone();
                let words = words::cut_too_far(&pool, &short.key).into();
                let reason = Refusal::MinValues { key: short.key, wanted: short.wanted, found: short.found };
                Err(PoolRefusal { pool, reason, types: Vec::new(), words })
            }
        };
        launch_of_claim.insert(position, outcome);
    }
    let mut refusals: BTreeMap<(usize, Option<usize>), Vec<PoolRefusal>> = BTreeMap::new();
    for (pod, placement) in placements.iter().enumerate() {
        let name = full_name(&scheduler.pods[pod]);
        let outcome = match placement {
            Placement::Node(node) => {
                let node = scheduler.existing[*node].node.name.clone();
                plan.nominations.push(Nomination { pod: name.clone(), node: node.clone() });
                PodOutcome::FitsNode(node)
            }
            Placement::Claim(claim) => match &launch_of_claim[claim] {
                Ok(launch) => PodOutcome::Launch(*launch),
                Err(refusal) => PodOutcome::Unschedulable(vec![refusal.clone()]),
            },
            Placement::Nowhere { deferred } => {
                let shape = scheduler.shapes.of_pod[pod];
                let known =
                    refusals.entry((shape, *deferred)).or_insert_with(|| explain::unschedulable(scheduler, snapshot, pod, *deferred, true));
                PodOutcome::Unschedulable(known.clone())
            }
        };
        explanation.pods.push(PodVerdict { pod: name, outcome });
    }
    plan.nominations.sort_by(|a, b| a.pod.cmp(&b.pod));
    plan
}
