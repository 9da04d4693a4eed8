//! Which nodes go, which stay and why, and what stands in for them: the workshop's lab after it was scaled down.

mod support;

use jiff::{SignedDuration, Timestamp};
use planner::disruption::{self, Blocker, Command, Invalid, Method, Proposal, Unconsolidatable, Why};
use planner::input::*;
use rstest::rstest;
use std::collections::BTreeSet;
use std::sync::Arc;
use support::{World, instance_type, now, offering, pod};
use vocabulary::{CapacityType, Operator, Requirement, Requirements, labels};

const LATER: SignedDuration = SignedDuration::from_mins(10);

fn later() -> Timestamp {
    now() + LATER
}

/// The lab with so many pods on its nodes, all of it quiet and marked consolidatable.
fn lab(pods: usize) -> World {
    let world = World::lab().with_pool(|pool| {
        pool.disruption.consolidate_after = Some(SignedDuration::from_secs(30));
        pool.disruption.budgets = vec![budget("10%")];
    });
    let world = world.inflate(0, pods);
    let (plan, _) = world.plan();
    settled(world.carried_out(&plan))
}

fn budget(nodes: &str) -> Budget {
    Budget { nodes: nodes.into(), reasons: None, schedule: None, duration: None }
}

fn settled(mut world: World) -> World {
    for node in &mut world.snapshot.nodes {
        let node = Arc::make_mut(node);
        node.consolidatable = Some(now());
        node.quiet_since = Some(now());
    }
    world
}

/// Keeps so many pods on each node, in order of names.
fn keep(mut world: World, counts: &[usize]) -> World {
    for (node, count) in world.snapshot.nodes.iter_mut().zip(counts) {
        Arc::make_mut(node).pods.truncate(*count);
    }
    world
}

fn change(mut world: World, node: usize, change: impl FnOnce(&mut Node)) -> World {
    change(Arc::make_mut(&mut world.snapshot.nodes[node]));
    world
}

fn change_pod(world: World, node: usize, change_pod: impl FnOnce(&mut Pod)) -> World {
    change(world, node, |node| change_pod(Arc::make_mut(&mut node.pods[0])))
}

fn propose(world: &World, method: Method) -> Proposal {
    disruption::propose(&world.snapshot, &world.offerings, later(), &world.options, &BTreeSet::new(), method)
}

/// The first method that has something to do.
fn first(world: &World) -> Option<Command> {
    Method::ALL.into_iter().find_map(|method| propose(world, method).command)
}

fn told(command: &Command) -> String {
    let nodes: Vec<&str> = command.nodes.iter().map(|n| &*n.node).collect();
    let types: Vec<Vec<&str>> = command.replacements.iter().map(|r| r.instance_types.iter().map(|c| &*c.instance_type).collect()).collect();
    format!("{} {} {:?} {:?}", command.method.reason(), command.decision(), nodes, types)
}

fn why<'a>(proposal: &'a Proposal, node: &str) -> Option<&'a Why> {
    proposal.stays.iter().find(|s| &*s.node == node).map(|s| &s.why)
}

#[rstest]
// The workshop: twelve pods on two nodes, then five, then one.
#[case::nothing_to_gain(&[6, 6], None)]
#[case::one_node_empty(&[5, 0], Some(r#"Empty delete ["node-001"] []"#))]
#[case::the_one_with_fewer_pods_goes(&[3, 2], Some(r#"Underutilized delete ["node-001"] []"#))]
#[case::the_other_way_round(&[1, 4], Some(r#"Underutilized delete ["node-000"] []"#))]
#[case::a_smaller_node_does(&[1, 6], Some(r#"Underutilized replace ["node-000"] [["t3.small", "t3.medium"]]"#))]
fn the_lab_scaled_down(#[case] pods: &[usize], #[case] expected: Option<&str>) {
    let world = keep(lab(12), pods);
    assert_eq!(first(&world).map(|command| told(&command)).as_deref(), expected);
}

#[test]
fn what_a_replacement_saves() {
    let command = first(&keep(lab(5), &[1])).expect("a smaller node does");
    assert!((command.savings - (0.096 - 0.0208)).abs() < 1e-9, "{}", command.savings);
    assert_eq!(command.nodes[0].pods, 1);
}

#[test]
fn pods_that_cost_nothing_to_move_leave_a_node_empty() {
    let world = change_pod(keep(lab(5), &[1]), 0, |pod| pod.deletion_cost = DeletionCost(f64::from(i32::MIN)));
    assert_eq!(first(&world).map(|c| told(&c)).as_deref(), Some(r#"Empty delete ["node-000"] []"#));
}

#[rstest]
#[case::annotated(|n: &mut Node| { n.annotations.insert(labels::DO_NOT_DISRUPT.into(), "true".into()); }, Blocker::Annotation)]
#[case::not_initialized(|n: &mut Node| n.initialized = false, Blocker::NotInitialized)]
#[case::deleting(|n: &mut Node| n.deleting = true, Blocker::Deleting)]
#[case::nominated(|n: &mut Node| n.nominated_until = Some(now() + LATER + SignedDuration::from_secs(1)), Blocker::Nominated)]
#[case::without_a_node(|n: &mut Node| n.has_node = false, Blocker::NoNode)]
#[case::of_no_pool(|n: &mut Node| { n.labels.remove(labels::NODEPOOL); }, Blocker::NoPoolLabel)]
#[case::of_a_pool_that_is_gone(|n: &mut Node| { n.labels.insert(labels::NODEPOOL.into(), "old".into()); }, Blocker::PoolNotFound("old".into()))]
fn nodes_that_may_not_be_disrupted(#[case] spoil: fn(&mut Node), #[case] blocker: Blocker) {
    let world = change(keep(lab(5), &[0]), 0, spoil);
    let proposal = propose(&world, Method::Emptiness);
    assert_eq!(why(&proposal, "node-000"), Some(&Why::Blocked(blocker)));
    assert_eq!(proposal.command, None);
}

#[rstest]
#[case::for_ever(|p: &mut Pod| p.do_not_disrupt = true, false)]
#[case::still_for_a_while(|p: &mut Pod| p.do_not_disrupt_until = Some(later() + SignedDuration::from_secs(1)), false)]
#[case::no_longer(|p: &mut Pod| p.do_not_disrupt_until = Some(later()), true)]
#[case::a_finished_pod_protects_nothing(|p: &mut Pod| { p.do_not_disrupt = true; p.terminal = true; }, true)]
#[case::a_daemon_protects_its_node(|p: &mut Pod| { p.do_not_disrupt = true; p.daemon = true; }, false)]
fn pods_that_protect_their_node(#[case] protect: fn(&mut Pod), #[case] disrupted: bool) {
    let world = change_pod(keep(lab(5), &[1]), 0, protect);
    assert_eq!(first(&world).is_some(), disrupted);
}

fn pod_budget(name: &str, allowed: i32) -> PodBudget {
    PodBudget {
        namespace: "default".into(),
        name: name.into(),
        selector: Some(Vec::new()),
        allowed,
        blocks_fully: false,
        unhealthy_may_go: false,
    }
}

fn with_budgets(mut world: World, budgets: impl IntoIterator<Item = PodBudget>) -> World {
    world.snapshot.pod_budgets = budgets.into_iter().map(Arc::new).collect();
    world
}

#[test]
fn pod_disruption_budgets_keep_nodes() {
    let world = || keep(lab(5), &[1]);
    let blocker = |world: &World| match why(&propose(world, Method::SingleNode), "node-000") {
        Some(Why::Blocked(blocker)) => Some(blocker.to_string()),
        _ => None,
    };
    assert_eq!(blocker(&with_budgets(world(), [pod_budget("b", 1)])), None);
    let none = with_budgets(world(), [pod_budget("b", 0)]);
    assert_eq!(blocker(&none).as_deref(), Some("Pdb prevents pod evictions (PodDisruptionBudget=[default/b])"));
    let two = with_budgets(world(), [pod_budget("a", 1), pod_budget("b", 1)]);
    assert_eq!(blocker(&two).as_deref(), Some("Eviction does not support multiple PDBs (PodDisruptionBudget(s)=[default/a default/b])"));
    let elsewhere = with_budgets(world(), [PodBudget { namespace: "other".into(), ..pod_budget("b", 0) }]);
    assert_eq!(blocker(&elsewhere), None);
    let unhealthy =
        change_pod(with_budgets(world(), [PodBudget { unhealthy_may_go: true, ..pod_budget("b", 0) }]), 0, |p| p.unhealthy = true);
    assert_eq!(blocker(&unhealthy), None);
    let term =
        |operator, values: &[&str]| SelectorTerm { key: "app".into(), operator, values: values.iter().map(|v| Arc::from(*v)).collect() };
    for (operator, values, selects) in [
        (Operator::In, &["web"][..], true),
        (Operator::In, &["db"], false),
        (Operator::NotIn, &["db"], true),
        (Operator::Exists, &[], true),
        (Operator::DoesNotExist, &[], false),
    ] {
        let budget = PodBudget { selector: Some(vec![term(operator, values)]), ..pod_budget("b", 0) };
        let labelled = change_pod(with_budgets(world(), [budget]), 0, |p| {
            p.labels.insert("app".into(), "web".into());
        });
        assert_eq!(blocker(&labelled).is_some(), selects, "{operator:?} {values:?}");
    }
}

#[rstest]
#[case::policy(|w: World| w.with_pool(|p| p.disruption.policy = ConsolidationPolicy::WhenEmpty), "NodePool \"default\" has consolidation policy WhenEmpty, but node is not empty")]
#[case::never(|w: World| w.with_pool(|p| p.disruption.consolidate_after = None), "NodePool \"default\" has consolidation disabled")]
#[case::unknown_type(|w: World| change(w, 0, |n| { n.labels.insert(labels::INSTANCE_TYPE.into(), "m9.large".into()); }), "Instance Type \"m9.large\" not found")]
#[case::no_zone(|w: World| change(w, 0, |n| { n.labels.remove(labels::ZONE); }), "Node does not have label \"topology.kubernetes.io/zone\"")]
#[case::no_place_for_its_pods(|w: World| change_pod(w, 0, |p| { p.selector.insert("type".into(), "other".into()); }), "Not all pods would schedule, default/inflate-000 => ")]
fn what_is_not_consolidated(#[case] spoil: fn(World) -> World, #[case] text: &str) {
    let proposal = propose(&spoil(keep(lab(5), &[1])), Method::SingleNode);
    assert_eq!(proposal.command, None);
    let Some(Why::Unconsolidatable(why)) = why(&proposal, "node-000") else { panic!("{:?}", proposal.stays) };
    assert!(why.to_string().starts_with(text), "{why}");
}

#[test]
fn the_replacement_that_lost_is_told() {
    let proposal = propose(&lab(5), Method::SingleNode);
    let Some(Why::Unconsolidatable(Unconsolidatable::NotCheaper { best: Some((name, best)), price })) = why(&proposal, "node-000") else {
        panic!("{:?}", proposal.stays)
    };
    assert_eq!((&**name, best.dollars(), price.dollars()), ("m5.large", 0.096, 0.096));
    assert!(proposal.exhausted, "nothing was found and no budget was the reason");
}

#[test]
fn an_unmarked_node_waits() {
    let world = change(keep(lab(5), &[0]), 0, |n| n.consolidatable = None);
    assert_eq!(why(&propose(&world, Method::Emptiness), "node-000"), Some(&Why::NotMarked("Consolidatable".into())));
}

#[rstest]
#[case::a_tenth_of_two_is_one("10%", 1)]
#[case::half("50%", 1)]
#[case::all("100%", 2)]
#[case::none("0", 0)]
fn budgets_bound_a_command(#[case] nodes: &str, #[case] removed: usize) {
    let world = keep(lab(12), &[0, 0]).with_pool(|p| p.disruption.budgets = vec![budget(nodes)]);
    let proposal = propose(&world, Method::Emptiness);
    assert_eq!(proposal.command.map_or(0, |c| c.nodes.len()), removed);
    assert_eq!(proposal.stays.iter().filter(|s| s.why == Why::Budget).count(), 2 - removed);
    assert_eq!(proposal.closed_pools.len(), usize::from(removed == 0));
}

#[test]
fn nodes_on_their_way_out_and_those_not_ready_count_against_the_budget() {
    for spoil in [(|n: &mut Node| n.deleting = true) as fn(&mut Node), |n| n.ready = false] {
        let world = change(keep(lab(12), &[6, 0]), 0, spoil);
        assert_eq!(propose(&world, Method::Emptiness).command, None);
    }
    let gone = change(keep(lab(12), &[6, 0]), 0, |n| {
        n.deleting = true;
        n.instance_terminating = true;
    });
    assert!(propose(&gone, Method::Emptiness).command.is_some(), "what is being terminated no longer counts");
}

#[test]
fn several_nodes_become_one_cheaper_one() {
    // Two nodes of three pods each: one m5.large takes them all, but that is deleting one of the two.
    let all = |w: World| w.with_pool(|p| p.disruption.budgets = vec![budget("100%")]);
    let same = all(keep(lab(12), &[3, 3]));
    assert_eq!(propose(&same, Method::MultiNode).command, None, "one of their own type is no replacement");
    let smaller = all(keep(lab(12), &[1, 1]));
    let command = propose(&smaller, Method::MultiNode).command.expect("a t3.medium takes both");
    assert_eq!(told(&command), r#"Underutilized replace ["node-000", "node-001"] [["t3.medium"]]"#);
    assert_eq!(propose(&keep(lab(12), &[1, 1]), Method::MultiNode).command, None, "the default budget lets one node go at a time");
}

#[test]
fn a_node_that_settles_takes_no_pods_that_are_moved_but_takes_pending_ones() {
    let settling = |w: World| change(w, 0, |n| n.quiet_since = Some(later() - SignedDuration::from_secs(29)));
    let world = settling(keep(lab(12), &[3, 2]));
    let command = propose(&world, Method::SingleNode).command;
    assert_ne!(command.map(|c| told(&c)).as_deref(), Some(r#"Underutilized delete ["node-001"] []"#));
    let drifted = change(world, 1, |n| n.drifted = Some((now(), "NodePoolDrifted".into())));
    let command = propose(&drifted, Method::Drift).command.expect("drift moves its pods there all the same");
    assert_eq!(told(&command), r#"Drifted delete ["node-001"] []"#);
}

#[test]
fn pods_for_a_node_that_is_not_initialized_are_no_plan() {
    let world = change(keep(lab(12), &[3, 2]), 0, |n| n.initialized = false);
    let proposal = propose(&world, Method::SingleNode);
    let Some(Why::Unconsolidatable(why)) = why(&proposal, "node-001") else { panic!("{:?}", proposal.stays) };
    assert!(why.to_string().contains("would schedule against uninitialized nodeclaim/node-000, node/node-000"), "{why}");
}

#[test]
fn pending_pods_that_fit_nowhere_do_not_block() {
    let world = keep(lab(12), &[3, 2]).with_pods([pod("huge", "64", "1Gi")]);
    assert_eq!(first(&world).map(|c| told(&c)).as_deref(), Some(r#"Underutilized delete ["node-001"] []"#));
}

#[test]
fn drift_takes_the_oldest_first_and_empty_ones_before() {
    let marked = |world: World, node: usize, second: i64| {
        change(world, node, |n| n.drifted = Some((now() + SignedDuration::from_secs(second), "NodePoolDrifted".into())))
    };
    let both = marked(marked(lab(12), 0, 9), 1, 5);
    assert_eq!(propose(&both, Method::Drift).command.map(|c| told(&c)).as_deref(), Some(r#"Drifted replace ["node-001"] [["m5.large"]]"#));
    let empty = keep(both, &[0, 6]);
    assert_eq!(propose(&empty, Method::Drift).command.map(|c| told(&c)).as_deref(), Some(r#"Drifted delete ["node-000"] []"#));
}

#[test]
fn a_grace_period_lets_drift_pass_protected_pods() {
    let drifted = change(keep(lab(5), &[1]), 0, |n| n.drifted = Some((now(), "NodePoolDrifted".into())));
    let protected = change_pod(drifted, 0, |p| p.do_not_disrupt = true);
    assert_eq!(propose(&protected, Method::Drift).command, None);
    let limited = change(protected, 0, |n| n.grace_limited = true);
    assert!(propose(&limited, Method::Drift).command.is_some());
    assert_eq!(propose(&limited, Method::SingleNode).command, None, "consolidation never passes them");
}

/// One pod on a Spot m5.large, with so many cheaper Spot types.
fn spot(cheaper: usize) -> World {
    let market = |name: &str, dollars: f64| {
        let mut made = instance_type(name, 2, 6903, 7577, 29, dollars);
        made.offerings = vec![offering("us-west-2a", CapacityType::Spot, dollars)];
        let mut requirements: Requirements = made.requirements.iter().filter(|r| &*r.key != labels::CAPACITY_TYPE).cloned().collect();
        requirements.add(Requirement::is_in(labels::CAPACITY_TYPE, "spot"));
        made.requirements = requirements;
        made
    };
    let mut types: Vec<InstanceType> = (0..cheaper).map(|n| market(&format!("c{n:02}.large"), 0.01 + 0.001 * n as f64)).collect();
    types.push(market("m5.large", 0.09));
    let mut pool = support::pool("default");
    pool.labels.insert("type".into(), "karpenter".into());
    pool.disruption.consolidate_after = Some(SignedDuration::from_secs(30));
    pool.requirements.push(Requirement::is_in(labels::CAPACITY_TYPE, "spot"));
    let mut world = World::new(vec![pool], types);
    let first = world.clone_with_only("m5.large").inflate(0, 1);
    let (plan, _) = first.plan();
    world.snapshot = settled(first.carried_out(&plan)).snapshot;
    world
}

trait Only {
    fn clone_with_only(&self, name: &str) -> World;
}

impl Only for World {
    fn clone_with_only(&self, name: &str) -> World {
        let only = |types: &Arc<Vec<InstanceType>>| Arc::new(types.iter().filter(|t| &*t.name == name).cloned().collect::<Vec<_>>());
        World {
            snapshot: self.snapshot.clone(),
            offerings: self.offerings.iter().map(|(pool, types)| (pool.clone(), only(types))).collect(),
            options: self.options.clone(),
            overlays: Vec::new(),
        }
    }
}

#[test]
fn spot_for_spot_needs_the_gate_and_fifteen_cheaper_types() {
    let text = |world: &World| match why(&propose(world, Method::SingleNode), "node-000") {
        Some(Why::Unconsolidatable(why)) => why.to_string(),
        other => format!("{other:?}"),
    };
    let mut world = spot(20);
    assert_eq!(text(&world), "SpotToSpotConsolidation is disabled, can't replace a spot node with a spot node");
    world.options.spot_to_spot_consolidation = true;
    let command = propose(&world, Method::SingleNode).command.expect("twenty cheaper types");
    assert_eq!(command.replacements[0].instance_types.len(), 15, "no more than fifteen, so that the next pass finds none cheaper");
    let mut few = spot(14);
    few.options.spot_to_spot_consolidation = true;
    assert_eq!(
        text(&few),
        "SpotToSpotConsolidation requires 15 cheaper instance type options than the current candidate to consolidate, got 14"
    );
}

#[test]
fn a_launch_that_counts_on_spot_prices_may_be_spot_only() {
    let world = keep(lab(5), &[1]).with_pool(|p| p.requirements.retain(|r| &*r.key != labels::CAPACITY_TYPE));
    let mut world = world;
    let mut types = (*world.offerings["default"]).clone();
    for t in &mut types {
        let dollars = t.offerings[0].price.dollars() * 0.4;
        t.offerings.push(offering("us-west-2a", CapacityType::Spot, dollars));
        let mut requirements: Requirements = t.requirements.iter().filter(|r| &*r.key != labels::CAPACITY_TYPE).cloned().collect();
        requirements.add(Requirement::new(labels::CAPACITY_TYPE, Operator::In, ["on-demand", "spot"]));
        t.requirements = requirements;
    }
    world.offerings.insert("default".into(), Arc::new(types));
    let command = propose(&world, Method::SingleNode).command.expect("Spot is cheaper");
    let market = command.replacements[0].requirements.iter().find(|r| &*r.requirement.key == labels::CAPACITY_TYPE).expect("a market");
    assert!(market.requirement.has("spot") && !market.requirement.has("on-demand"));
}

#[test]
fn a_command_is_judged_again() {
    let world = keep(lab(12), &[3, 2]);
    let command = first(&world).expect("one node is too much");
    let judge = |world: &World| {
        disruption::validate(&world.snapshot, &world.offerings, later(), &world.options, &BTreeSet::new(), &command).map(|c| c.nodes.len())
    };
    assert_eq!(judge(&world), Ok(1));
    assert_eq!(judge(&change(world.clone_world(), 1, |n| n.nominated_until = Some(Timestamp::MAX))), Err(Invalid::Churn));
    assert_eq!(judge(&change(world.clone_world(), 1, |n| n.consolidatable = None)), Err(Invalid::Churn));
    assert_eq!(judge(&world.clone_world().with_pool(|p| p.disruption.budgets = vec![budget("0")])), Err(Invalid::Budget));
    let fuller = change(world.clone_world(), 0, |n| n.pods.extend((0..3).map(|k| Arc::new(pod(&format!("new-{k}"), "", "1Gi")))));
    assert_eq!(judge(&fuller), Err(Invalid::Scheduling), "its pods would need a new node by now");
}

#[test]
fn of_empty_nodes_those_that_still_are_go() {
    let world = keep(lab(12), &[0, 0]).with_pool(|p| p.disruption.budgets = vec![budget("100%")]);
    let command = first(&world).expect("both are empty");
    assert_eq!(command.nodes.len(), 2);
    let one = change(world, 1, |n| n.pods.push(Arc::new(pod("new", "", "1Gi"))));
    let judged =
        disruption::validate(&one.snapshot, &one.offerings, later(), &one.options, &BTreeSet::new(), &command).expect("one is left");
    assert_eq!(told(&judged), r#"Empty delete ["node-000"] []"#);
}

#[test]
fn nodes_in_the_queue_are_left_alone() {
    let world = keep(lab(5), &[0]);
    let busy = BTreeSet::from([Arc::<str>::from("node-000")]);
    let proposal = disruption::propose(&world.snapshot, &world.offerings, later(), &world.options, &busy, Method::Emptiness);
    assert_eq!(proposal.candidates, 0);
    assert_eq!(proposal.command, None);
}

trait Again {
    fn clone_world(&self) -> World;
}

impl Again for World {
    fn clone_world(&self) -> World {
        World { snapshot: self.snapshot.clone(), offerings: self.offerings.clone(), options: self.options.clone(), overlays: Vec::new() }
    }
}
