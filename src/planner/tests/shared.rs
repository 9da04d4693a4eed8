//! A search that shares its work finds what one finds that works out everything anew for every node.

mod support;

use jiff::{SignedDuration, Timestamp};
use planner::disruption::{Method, Proposal, Search, Unconsolidatable, Why, unchanged_until};
use planner::input::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use support::random::{self, Dice};
use support::{World, now, pod};

fn later() -> Timestamp {
    now() + SignedDuration::from_mins(10)
}

/// A random world some time after its pods found their places: nodes that are quiet or not, nominated, protected or drifted, pools
/// with budgets and policies, pods that other nodes would take.
fn lived_in(seed: u64) -> (World, BTreeSet<Arc<str>>) {
    let mut world = random::world(seed);
    let mut dice = Dice::new(seed ^ 0xD15);
    for pool in &mut world.snapshot.pools {
        disrupt_pool(&mut dice, Arc::make_mut(pool));
    }
    // Most of what is pending gets its nodes first, so that there is something to consolidate.
    let waiting = if dice.percent(30) { world.snapshot.pending.split_off(world.snapshot.pending.len() * 3 / 4) } else { Vec::new() };
    let mut world = if dice.percent(85) { world.carried_out(&world.plan().0) } else { world };
    world.snapshot.pending.extend(waiting);
    let mut busy = BTreeSet::new();
    for node in &mut world.snapshot.nodes {
        let node = Arc::make_mut(node);
        age(&mut dice, node);
        if dice.percent(5) {
            busy.insert(node.name.clone());
        }
    }
    for n in 0..dice.between(0, 3) {
        world.snapshot.pod_budgets.push(Arc::new(pod_budget(&mut dice, n)));
    }
    world.options.spot_to_spot_consolidation = dice.percent(50);
    (world, busy)
}

fn disrupt_pool(dice: &mut Dice, pool: &mut Pool) {
    pool.disruption.consolidate_after = (!dice.percent(10)).then(|| SignedDuration::from_secs(dice.between(0, 20) * 60));
    if dice.percent(10) {
        pool.disruption.policy = ConsolidationPolicy::WhenEmpty;
    }
    if dice.percent(5) {
        pool.ready = false;
    }
    let budget = |nodes: &str| Budget { nodes: nodes.into(), reasons: None, schedule: None, duration: None };
    pool.disruption.budgets = match dice.between(0, 4) {
        0 => vec![budget("1")],
        1 => vec![budget("50%"), Budget { reasons: Some(vec!["Underutilized".into()]), ..budget("2") }],
        2 => Vec::new(),
        3 => vec![Budget { schedule: Some("0 0 * * *".into()), duration: Some(SignedDuration::from_mins(30)), ..budget("0") }],
        _ => vec![budget("100%")],
    };
}

fn age(dice: &mut Dice, node: &mut Node) {
    // Leaves room behind.
    node.pods.retain(|pod| pod.daemon || dice.percent(60));
    for pod in &mut node.pods {
        let pod = Arc::make_mut(pod);
        pod.do_not_disrupt = dice.percent(2);
        pod.do_not_disrupt_until = dice.percent(3).then(|| later() + SignedDuration::from_mins(dice.between(-5, 5)));
        pod.deletion_cost = DeletionCost(if dice.percent(10) { f64::from(i32::MIN) } else { 0.0 });
        pod.priority = i32::try_from(dice.between(0, 3)).unwrap() * 1_000_000;
        pod.terminating = dice.percent(3);
    }
    node.consolidatable = dice.percent(85).then(now);
    node.quiet_since = dice.percent(90).then(|| later() - SignedDuration::from_mins(dice.between(0, 15)));
    node.drifted = dice.percent(15).then(|| (now(), "NodePoolDrifted".into()));
    node.nominated_until = dice.percent(6).then(|| later() + SignedDuration::from_mins(dice.between(-5, 5)));
    node.ready = !dice.percent(5);
    node.grace_limited = dice.percent(20);
}

fn pod_budget(dice: &mut Dice, n: i64) -> PodBudget {
    let allowed = i32::try_from(dice.between(0, 2)).unwrap();
    PodBudget {
        namespace: "default".into(),
        name: format!("budget-{n}").into(),
        selector: if dice.percent(20) { Some(Vec::new()) } else { None },
        allowed,
        blocks_fully: allowed == 0 && dice.percent(50),
        unhealthy_may_go: dice.percent(30),
    }
}

/// What the methods find one after the other, with one search for all of them.
fn found(search: &mut Search<'_>, busy: &BTreeSet<Arc<str>>) -> Vec<Proposal> {
    Method::ALL.into_iter().map(|method| search.propose(busy, method)).collect()
}

fn compare(world: &World, busy: &BTreeSet<Arc<str>>, what: &str) -> Vec<Proposal> {
    let World { snapshot, offerings, options, .. } = world;
    let slow = found(&mut Search::from_scratch(snapshot, offerings, later(), options), busy);
    let mut search = Search::new(snapshot, offerings, later(), options);
    assert_eq!(found(&mut search, busy), slow, "{what}");
    // Nothing that a simulation did is left behind.
    let mut backwards: Vec<Proposal> = Method::ALL.into_iter().rev().map(|method| search.propose(busy, method)).collect();
    backwards.reverse();
    assert_eq!(backwards, slow, "{what}, asked again in another order");
    slow
}

#[test]
fn sharing_changes_no_decision() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..3_000 {
        let (world, busy) = lived_in(seed);
        for (method, proposal) in Method::ALL.into_iter().zip(compare(&world, &busy, &format!("world {seed}"))) {
            if let Some(command) = &proposal.command {
                *seen.entry(format!("{method:?} {}", command.decision())).or_default() += 1;
                if !command.nominations.is_empty() {
                    *seen.entry(format!("{method:?} moves")).or_default() += 1;
                }
            }
            for stays in &proposal.stays {
                let kind = match &stays.why {
                    Why::Unconsolidatable(Unconsolidatable::Pods(_)) => "no place",
                    Why::Unconsolidatable(Unconsolidatable::NotCheaper { .. }) => "not cheaper",
                    Why::Unconsolidatable(Unconsolidatable::SeveralNodes(_)) => "several nodes",
                    Why::Unconsolidatable(Unconsolidatable::SpotToSpotNeedsTypes { .. } | Unconsolidatable::SpotToSpotDisabled) => "spot",
                    Why::Budget => "budget",
                    Why::Blocked(_) => "blocked",
                    _ => continue,
                };
                *seen.entry(format!("{method:?}: {kind}")).or_default() += 1;
            }
        }
    }
    // The worlds are odd enough: everything that can come out did.
    for expected in [
        "Emptiness delete",
        "Drift delete",
        "Drift replace",
        "Drift moves",
        "MultiNode delete",
        "MultiNode replace",
        "SingleNode delete",
        "SingleNode replace",
        "SingleNode moves",
        "SingleNode: no place",
        "SingleNode: not cheaper",
        "SingleNode: several nodes",
        "SingleNode: spot",
        "SingleNode: budget",
        "SingleNode: blocked",
        "Drift: blocked",
    ] {
        assert!(seen.get(expected).is_some_and(|times| *times >= 5), "{expected} came {:?} times: {seen:#?}", seen.get(expected));
    }
}

/// Forty nodes, most of them full, in which some pods only go where others went before.
#[test]
fn sharing_changes_no_decision_among_many_nodes() {
    let mut dice = Dice::new(7);
    let world = World::lab().with_pool(|pool| {
        pool.limits.set("cpu", 90_000);
        pool.disruption.consolidate_after = Some(SignedDuration::from_secs(30));
        pool.disruption.budgets = vec![Budget { nodes: "100%".into(), reasons: None, schedule: None, duration: None }];
    });
    let world = world.inflate(0, 230);
    let mut world = world.carried_out(&world.plan().0);
    for (n, node) in world.snapshot.nodes.iter_mut().enumerate() {
        let node = Arc::make_mut(node);
        node.consolidatable = Some(now());
        node.quiet_since = Some(if n % 7 == 0 { later() } else { now() });
        if dice.percent(30) {
            node.pods.truncate(usize::try_from(dice.between(1, 5)).unwrap());
        }
        if dice.percent(15) {
            let mut odd = pod(&format!("odd-{n}"), "300m", "200Mi");
            odd.node_affinity = vec![[vocabulary::Requirement::new("team", vocabulary::Operator::NotIn, ["red"])].into_iter().collect()];
            node.pods.push(Arc::new(odd));
        }
        if dice.percent(15) {
            let mut ported = pod(&format!("port-{n}"), "100m", "100Mi");
            ported.host_ports.push(HostPort { ip: "".into(), port: 80, protocol: "TCP".into() });
            node.pods.push(Arc::new(ported));
        }
    }
    let proposals = compare(&world, &BTreeSet::new(), "many nodes");
    assert!(proposals[3].command.is_some() && proposals[2].command.is_some());
}

/// A proposal holds until the instant that is said, when nothing but the time changes.
#[test]
fn proposals_hold_as_long_as_it_is_said() {
    let (mut bounded, mut changed) = (0, 0);
    for seed in 0..1_500 {
        let (world, busy) = lived_in(seed);
        let World { snapshot, offerings, options, .. } = &world;
        let Some(until) = unchanged_until(snapshot, later()) else {
            assert!(snapshot.pools.iter().any(|pool| pool.disruption.budgets.iter().any(|b| b.schedule.is_some())));
            continue;
        };
        let at = |now: Timestamp| found(&mut Search::new(snapshot, offerings, now, options), &busy);
        let before = at(later());
        let last = if until == Timestamp::MAX { later() + SignedDuration::from_hours(24) } else { until - SignedDuration::from_nanos(1) };
        assert_eq!(at(last), before, "world {seed} until {until}");
        if until != Timestamp::MAX {
            bounded += 1;
            changed += usize::from(at(until) != before);
        }
    }
    assert!(bounded > 300 && changed > 30, "{bounded} with an end, {changed} of them are different then");
}
