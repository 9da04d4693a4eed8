//! Pools of fixed size, balanced ones, and NodeOverlays.

mod support;

use jiff::SignedDuration;
use planner::disruption::{Method, Why, propose};
use planner::fixed::{self, Census};
use planner::input::*;
use planner::overlay::{Overlay, PriceChange, evaluate};
use rstest::rstest;
use std::collections::BTreeSet;
use std::sync::Arc;
use support::{World, amounts, instance_type, lab_types, now, pod, pool};
use vocabulary::{Operator, Requirement, Resources, UsdPerHour, labels};

fn none() -> BTreeSet<Arc<str>> {
    BTreeSet::new()
}

/// The lab with nodes of this many pods each, in a pool of so many replicas.
fn fixed_lab(pods: &[usize], replicas: i64) -> World {
    let mut world = World::lab();
    let template = {
        let full = World::lab().inflate(0, 1);
        let (plan, _) = full.plan();
        full.carried_out(&plan).snapshot.nodes[0].clone()
    };
    for (n, count) in pods.iter().enumerate() {
        let mut node = (*template).clone();
        node.name = format!("node-{n}").into();
        node.node_claim = Some(format!("claim-{n}").into());
        node.provider_id = Some(format!("aws:///{n}").into());
        node.pods = (0..*count).map(|k| Arc::new(pod(&format!("pod-{n}-{k}"), "100m", ""))).collect();
        world.snapshot.nodes.push(Arc::new(node));
    }
    world.with_pool(|pool| {
        pool.replicas = Some(replicas);
        pool.ready = false;
        pool.disruption.budgets = vec![Budget { nodes: "10".into(), reasons: None, schedule: None, duration: None }];
    })
}

fn change(world: &mut World, node: usize, change: impl FnOnce(&mut Node)) {
    change(Arc::make_mut(&mut world.snapshot.nodes[node]));
}

#[test]
fn a_claim_of_fixed_size_leaves_the_type_open() {
    let world = World::lab();
    let made = fixed::claim(&world.snapshot.pools[0]);
    let keys: Vec<&str> = made.requirements.iter().map(|r| &*r.requirement.key).collect();
    assert!(keys.contains(&labels::INSTANCE_TYPE) && keys.contains(&labels::NODEPOOL) && !keys.contains(&labels::REGISTERED));
    assert_eq!((made.requests, made.instance_types.len()), (Resources::new(), 0));
    assert!(!made.annotations.contains_key(labels::NODECLAIM_MIN_VALUES_RELAXED));
}

#[test]
fn those_without_a_machine_go_first_then_empty_ones_then_the_cheapest_to_empty() {
    let mut world = fixed_lab(&[3, 0, 1, 2, 1], 1);
    change(&mut world, 4, |node| node.launched = false);
    change(&mut world, 2, |node| Arc::make_mut(&mut node.pods[0]).do_not_disrupt = true);
    let pool = world.snapshot.pools[0].clone();
    let order = fixed::surplus(&pool, &world.snapshot, &none(), 9, now());
    assert_eq!(order.iter().map(|name| &**name).collect::<Vec<_>>(), ["claim-4", "claim-1", "claim-3", "claim-0", "claim-2"]);
    assert_eq!(fixed::surplus(&pool, &world.snapshot, &none(), 2, now()).len(), 2);
}

#[rstest]
#[case::within(4, 2, 2)]
#[case::up_to_the_limit(3, 2, 1)]
#[case::beyond(2, 2, 0)]
fn the_node_limit_counts_what_is_on_its_way_out(#[case] limit: i64, #[case] wanted: i64, #[case] room: i64) {
    let mut world = fixed_lab(&[0, 0], 4);
    change(&mut world, 1, |node| node.deleting = true);
    let world = world.with_pool(|pool| pool.limits.set("nodes", limit));
    let pool = &world.snapshot.pools[0];
    let census = Census::of(pool, &world.snapshot, &none());
    assert_eq!(census, Census { active: 1, pending_disruption: 0, deleting: 1 });
    assert_eq!(census.room(pool, wanted), room);
}

#[test]
fn drifted_nodes_of_a_fixed_pool_are_replaced_each_on_its_own() {
    let mut world = fixed_lab(&[1, 1, 1], 3);
    for node in 0..2 {
        change(&mut world, node, |node| node.drifted = Some((now(), "NodePoolDrifted".into())));
    }
    let later = now() + SignedDuration::from_mins(10);
    let ask =
        |world: &World, busy: &BTreeSet<Arc<str>>| propose(&world.snapshot, &world.offerings, later, &world.options, busy, Method::Drift);
    let proposal = ask(&world, &none());
    let commands: Vec<_> = proposal.command.iter().chain(&proposal.more).collect();
    assert_eq!(commands.iter().map(|c| (c.nodes.len(), c.replacements.len())).collect::<Vec<_>>(), [(1, 1), (1, 1)]);
    // As long as there are too many, because a successor is there already, nothing more drifts.
    let mut crowded = fixed_lab(&[1, 1, 1, 1], 3);
    change(&mut crowded, 0, |node| node.deleting = true);
    change(&mut crowded, 1, |node| node.drifted = Some((now(), "NodePoolDrifted".into())));
    assert!(ask(&crowded, &BTreeSet::from([Arc::from("node-0")])).command.is_none());
    assert!(ask(&crowded, &none()).command.is_some(), "one that is on its way out counts no longer");
    let world = world.with_pool(|pool| pool.limits.set("nodes", 3));
    assert!(ask(&world, &none()).command.is_none(), "a limit that equals the size leaves no room for a successor");
    let single = propose(&world.snapshot, &world.offerings, later, &world.options, &none(), Method::SingleNode);
    assert!(single.command.is_none() && single.stays.iter().all(|stays| stays.why == Why::FixedSize));
}

fn overlay(name: &str, weight: i32, requirement: Requirement, price: Option<&str>) -> Overlay {
    Overlay {
        name: name.into(),
        weight,
        requirements: [requirement].into_iter().collect(),
        price: price.map(|text| PriceChange::parse(text).unwrap()),
        capacity: Resources::new(),
    }
}

fn of_type(name: &str) -> Requirement {
    Requirement::is_in(labels::INSTANCE_TYPE, name)
}

/// Prices of the lab's types under these overlays, and who is refused.
fn prices(overlays: &[Overlay]) -> (Vec<f64>, Vec<String>) {
    let (name, own) = (Arc::from("default"), Labels::from([("team".into(), "blue".into())]));
    let offerings = Offerings::from([(name, Arc::new(lab_types()))]);
    let (made, refused) = evaluate(&[(&"default".into(), &own)], &offerings, overlays);
    let types = made.apply("default", &offerings["default"]).unwrap();
    let price = |t: &InstanceType| t.offerings[0].price.dollars();
    (types.iter().map(price).collect(), refused.iter().map(ToString::to_string).collect())
}

#[rstest]
#[case::set(vec![overlay("a", 0, of_type("m5.large"), Some("0.01"))], &[0.01, 0.0416, 0.0208], &[])]
#[case::less(vec![overlay("a", 0, of_type("m5.large"), Some("-0.05"))], &[0.046, 0.0416, 0.0208], &[])]
#[case::never_below_nothing(vec![overlay("a", 0, of_type("m5.large"), Some("-9"))], &[0.0, 0.0416, 0.0208], &[])]
#[case::a_share(vec![overlay("a", 0, of_type("m5.large"), Some("+50%"))], &[0.144, 0.0416, 0.0208], &[])]
#[case::the_heavier_counts(
    vec![overlay("a", 1, of_type("m5.large"), Some("1")), overlay("b", 2, of_type("m5.large"), Some("2"))], &[2.0, 0.0416, 0.0208], &[]
)]
#[case::of_equals_the_last_name_counts_and_the_other_is_refused_whole(
    vec![
        overlay("a", 1, Requirement::new(labels::INSTANCE_TYPE, Operator::In, ["m5.large", "t3.small"]), Some("1")),
        overlay("b", 1, of_type("m5.large"), Some("2")),
    ],
    &[2.0, 0.0416, 0.0208], &["a"]
)]
#[case::a_label_of_the_pool(vec![overlay("a", 0, Requirement::is_in("team", "blue"), Some("1"))], &[1.0, 1.0, 1.0], &[])]
#[case::a_label_of_nobody(vec![overlay("a", 0, Requirement::is_in("squad", "blue"), Some("1"))], &[0.096, 0.0416, 0.0208], &[])]
fn overlays_change_prices(#[case] overlays: Vec<Overlay>, #[case] expected: &[f64], #[case] refused: &[&str]) {
    let (found, told) = prices(&overlays);
    let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9);
    assert!(close && told == refused, "{found:?} {told:?}");
}

#[test]
fn an_overlay_adds_resources_that_a_pod_may_ask_for() {
    let mut world = World::new(vec![pool("default")], lab_types());
    let mut asks = pod("p", "100m", "");
    asks.requests.set("example.com/chip", 1);
    world = world.with_pods([asks]);
    assert!(world.plan().0.launches.is_empty());
    let chip = Overlay { capacity: Resources::new().with("example.com/chip", 2), ..overlay("chips", 0, of_type("m5.large"), None) };
    world.overlays.push((chip, None));
    let (plan, _) = world.plan();
    let launch = &plan.launches[0];
    assert_eq!(launch.instance_types.iter().map(|choice| &*choice.instance_type).collect::<Vec<_>>(), ["m5.large"]);
    assert_eq!(launch.annotations.get(labels::CAPACITY_OVERLAY_APPLIED).map(|value| &**value), Some("true"));
    assert!(!launch.annotations.contains_key(labels::PRICE_OVERLAY_APPLIED));
}

#[test]
fn a_pool_that_was_not_there_has_no_overlaid_types() {
    let (made, _) = evaluate(&[], &Offerings::new(), &[]);
    assert!(made.apply("default", &Arc::new(lab_types())).is_none());
}

/// A node of m5.large with one small pod, which a cheaper type could carry at this price.
fn balanced(other: f64, policy: ConsolidationPolicy) -> Option<Why> {
    let types = vec![instance_type("m5.large", 2, 6903, 7577, 29, 0.096), instance_type("t3.small", 2, 1418, 1894, 11, other)];
    let mut world = fixed_lab(&[1, 9], 0).with_pool(|pool| {
        pool.replicas = None;
        pool.ready = true;
        pool.disruption.policy = policy;
        pool.disruption.consolidate_after = Some(SignedDuration::ZERO);
    });
    world.offerings = Offerings::from([("default".into(), Arc::new(types))]);
    for position in 0..2 {
        change(&mut world, position, |node| {
            node.labels.insert(labels::INSTANCE_TYPE.into(), "m5.large".into());
            node.consolidatable = Some(now());
            node.allocatable = amounts("1", "7Gi").with("pods", 29);
            // The other node is full, and stays.
            if position == 1 {
                node.annotations.insert(labels::DO_NOT_DISRUPT.into(), "true".into());
                node.allocatable = amounts("900m", "1Gi").with("pods", 9);
            }
        });
    }
    let later = now() + SignedDuration::from_mins(10);
    let proposal = propose(&world.snapshot, &world.offerings, later, &world.options, &none(), Method::SingleNode);
    // The move is announced, whether or not it is worth its disruption.
    assert_eq!(proposal.announced.iter().map(|a| a.nodes.iter().map(|n| &**n).collect()).collect::<Vec<Vec<_>>>(), [["node-0"]]);
    assert!((proposal.announced[0].savings - (0.096 - other)).abs() < 1e-9, "{:?}", proposal.announced);
    assert_eq!(proposal.command.is_some(), proposal.stays.iter().all(|stays| &*stays.node != "node-0"));
    proposal.stays.into_iter().find(|stays| &*stays.node == "node-0").map(|stays| stays.why)
}

#[rstest]
#[case::much_cheaper(0.02, ConsolidationPolicy::Balanced, None)]
#[case::hardly_cheaper(0.095, ConsolidationPolicy::Balanced, Some(Why::Unbalanced))]
#[case::hardly_cheaper_is_enough_otherwise(0.095, ConsolidationPolicy::WhenEmptyOrUnderutilized, None)]
fn a_balanced_pool_wants_its_disruption_paid_for(#[case] other: f64, #[case] policy: ConsolidationPolicy, #[case] why: Option<Why>) {
    assert_eq!(balanced(other, policy), why);
}

#[test]
fn a_price_change_reads_what_the_definition_lets_pass() {
    let apply = |text: &str| PriceChange::parse(text).map(|change| change.apply(UsdPerHour::new(0.1).unwrap()).dollars());
    assert_eq!(apply("0.25"), Some(0.25));
    assert_eq!(apply("-100%"), Some(0.0));
    assert_eq!(apply("+.1"), Some(0.2));
    assert_eq!(apply("ten"), None);
}
