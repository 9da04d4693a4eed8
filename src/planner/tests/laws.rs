//! What holds in every world.

mod support;

use planner::output::PodOutcome;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use support::{World, now, random};
use vocabulary::Resources;

/// Pending pods and those of nodes that go away, by name.
fn pods(world: &World) -> BTreeMap<String, Arc<planner::input::Pod>> {
    let leaving = world.snapshot.nodes.iter().filter(|node| node.deleting).flat_map(|node| &node.pods);
    let leaving = leaving.filter(|pod| !pod.daemon && !pod.terminal && !pod.terminating);
    world.snapshot.pending.iter().chain(leaving).map(|pod| (format!("{}/{}", pod.namespace, pod.name), pod.clone())).collect()
}

/// Every pending pod has one verdict, and is where the verdict says and nowhere else.
fn no_pod_is_lost(world: &World) {
    let (plan, explanation) = world.plan();
    let judged: Vec<String> = explanation.pods.iter().map(|verdict| verdict.pod.to_string()).collect();
    assert_eq!(judged.len(), pods(world).len());
    assert_eq!(judged.into_iter().collect::<BTreeSet<_>>(), pods(world).into_keys().collect());
    let mut places: BTreeMap<Arc<str>, PodOutcome> = BTreeMap::new();
    for (number, launch) in plan.launches.iter().enumerate() {
        places.extend(launch.pods.iter().map(|pod| (pod.clone(), PodOutcome::Launch(number))));
    }
    places.extend(plan.nominations.iter().map(|n| (n.pod.clone(), PodOutcome::FitsNode(n.node.clone()))));
    assert_eq!(places.len(), plan.launches.iter().map(|l| l.pods.len()).sum::<usize>() + plan.nominations.len());
    for verdict in explanation.pods {
        match verdict.outcome {
            PodOutcome::Unschedulable(pools) => {
                assert!(!places.contains_key(&verdict.pod));
                assert!(!pools.is_empty());
            }
            PodOutcome::Invalid { .. } => assert!(!places.contains_key(&verdict.pod)),
            placed => assert_eq!(places.get(&verdict.pod), Some(&placed)),
        }
    }
}

/// The pods of a launch fit into the smallest of its instance types.
fn launches_fit_their_smallest_type(world: &World) {
    let offerings = world.overlaid();
    let pods = pods(world);
    for launch in world.plan().0.launches {
        let asked = Resources::sum(launch.pods.iter().map(|pod| &pods[&**pod].requests));
        assert!(!launch.instance_types.is_empty());
        for choice in &launch.instance_types {
            let chosen = offerings[&launch.pool].iter().find(|t| t.name == choice.instance_type).unwrap();
            assert_eq!(asked.first_exceeding(&chosen.allocatable), None, "{} in {}", asked.to_quantities().len(), chosen.name);
        }
    }
}

/// Launches of the largest option each would stay within what the limits leave.
fn limits_hold(world: &World) {
    let offerings = world.overlaid();
    let (plan, _) = world.plan();
    for pool in &world.snapshot.pools {
        let mine = plan.launches.iter().filter(|launch| launch.pool == pool.name);
        let largest = mine.map(|launch| {
            let mut most = Resources::new();
            let types = &offerings[&pool.name];
            launch
                .instance_types
                .iter()
                .filter_map(|c| types.iter().find(|t| t.name == c.instance_type))
                .for_each(|t| most.max(&t.capacity));
            most
        });
        let largest: Vec<Resources> = largest.collect();
        let nodes = world.snapshot.nodes.iter().filter(|node| !node.deleting && node.pool.as_ref() == Some(&pool.name));
        let used = Resources::sum(nodes.map(|node| &node.capacity));
        for (name, limit) in pool.limits.iter().filter(|(name, _)| *name != "nodes") {
            let launched = Resources::sum(&largest).get(name);
            assert!(
                launched == 0 || used.get(name) + launched <= limit,
                "{}: {name} {launched} beside {} of {limit}",
                pool.name,
                used.get(name)
            );
        }
    }
}

/// Once the plan is carried out, planning again does nothing for pods that have a place. A refused pod may find one then, as it
/// does upstream: limits count the largest option of a launch but a node only what it became, reservations are waited for, a
/// label that another pod brought about is there, a list of types was cut below its `minValues`.
fn a_plan_carried_out_is_done(world: &World) {
    let (plan, explanation) = world.plan();
    let again = world.carried_out(&plan).plan().0;
    let refused = |verdict: &&planner::output::PodVerdict| matches!(verdict.outcome, PodOutcome::Unschedulable(_));
    let refused: BTreeSet<Arc<str>> = explanation.pods.iter().filter(refused).map(|verdict| verdict.pod.clone()).collect();
    let launched = again.launches.iter().flat_map(|launch| &launch.pods);
    for pod in launched.chain(again.nominations.iter().map(|nomination| &nomination.pod)) {
        assert!(refused.contains(pod), "{pod} had a place");
    }
    assert!(!refused.is_empty() || again.is_empty(), "{again:#?}");
}

/// The order in which pods, nodes and daemons are listed decides nothing; that of pools neither.
fn order_of_input_is_nothing(world: &World) {
    let (plan, explanation) = world.plan();
    let mut turned = world.snapshot.clone();
    turned.pending.reverse();
    turned.nodes.reverse();
    turned.pools.reverse();
    let (other, why) = planner::plan(&turned, &world.overlaid(), now(), &world.options);
    assert_eq!(plan, other);
    assert_eq!(explanation.launches, why.launches);
    let verdicts =
        |e: &planner::Explanation| e.pods.iter().map(|v| (v.pod.clone(), std::mem::discriminant(&v.outcome))).collect::<Vec<_>>();
    assert_eq!(verdicts(&explanation), verdicts(&why));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hold_in_random_worlds(seed in 0u64..1_000_000) {
        let world = random::world(seed);
        no_pod_is_lost(&world);
        launches_fit_their_smallest_type(&world);
        limits_hold(&world);
        a_plan_carried_out_is_done(&world);
        order_of_input_is_nothing(&world);
    }
}

#[test]
fn a_settled_lab_stays_as_it_is() {
    let world = World::lab().inflate(0, 60);
    let settled = world.carried_out(&world.plan().0);
    assert!(settled.plan().0.is_empty());
}

/// Nothing but rules of other pods keeps one of its pods out.
#[test]
fn a_pod_that_only_others_keep_out_is_refused_with_their_rule() {
    random::world(108_467).plan();
}
