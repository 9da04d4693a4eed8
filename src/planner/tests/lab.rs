//! The EKS workshop's lab: how many pods of 1 Gi become which nodes.

mod support;

use planner::input::{Labels, Pod, PodTerm, SelectorTerm, Shown, SpreadConstraint};
use planner::output::{PodOutcome, Refusal};
use rstest::rstest;
use std::sync::Arc;
use support::{World, launches, outcome, pod, taint};
use vocabulary::{CapacityType, Effect, Operator, Taint, labels};

#[test]
fn five_pods_are_one_m5_large() {
    let (plan, _) = World::lab().inflate(0, 5).plan();
    assert_eq!(launches(&plan), [(5, vec!["m5.large"])]);
    let launch = &plan.launches[0];
    assert_eq!(launch.instance_types[0].price.dollars(), 0.096);
    assert_eq!(
        launch.requests.to_quantities(),
        [("cpu", "180m"), ("memory", "5240Mi"), ("pods", "9")].map(|(n, q)| (n.into(), q.into())).into()
    );
    assert_eq!(&*launch.labels["type"], "karpenter");
    assert_eq!(&*launch.labels[labels::NODEPOOL], "default");
    assert_eq!(&*launch.labels[labels::EC2NODECLASS], "default");
    assert_eq!(&*launch.annotations[labels::NODEPOOL_HASH], "1");
    assert_eq!(&*launch.annotations[labels::NODEPOOL_HASH_VERSION], "v3");
    assert_eq!(&*launch.annotations[labels::NODECLAIM_MIN_VALUES_RELAXED], "false");
}

#[test]
fn requirements_are_those_that_upstream_writes() {
    let (plan, _) = World::lab().inflate(0, 5).plan();
    let written: Vec<String> = plan.launches[0].requirements.iter().map(|r| r.requirement.to_string()).collect();
    assert_eq!(
        written,
        [
            "karpenter.k8s.aws/ec2nodeclass In [default]",
            "karpenter.sh/capacity-type In [on-demand]",
            "karpenter.sh/nodepool In [default]",
            "node.kubernetes.io/instance-type In [m5.large]",
            "type In [karpenter]",
        ]
    );
}

#[test]
fn twelve_pods_fill_the_first_node_and_launch_one_more() {
    let five = World::lab().inflate(0, 5);
    let (plan, _) = five.plan();
    let twelve = five.carried_out(&plan).inflate(5, 12);
    let (plan, explanation) = twelve.plan();
    assert_eq!(launches(&plan), [(6, vec!["m5.large"])]);
    assert_eq!(plan.nominations.len(), 1);
    assert_eq!(*outcome(&explanation, "inflate-005"), PodOutcome::FitsNode("node-000".into()));
    assert_eq!(*outcome(&explanation, "inflate-006"), PodOutcome::Launch(0));
}

#[test]
fn sixty_pods_are_ten_nodes() {
    let (plan, _) = World::lab().inflate(0, 60).plan();
    assert_eq!(launches(&plan), vec![(6, vec!["m5.large"]); 10]);
    let mut world = World::lab().inflate(0, 5);
    for to in [12, 60] {
        let from = world.snapshot.pending.len() + world.snapshot.nodes.iter().map(|n| n.pods.len()).sum::<usize>();
        world = world.carried_out(&world.plan().0).inflate(from, to);
    }
    world = world.carried_out(&world.plan().0);
    assert_eq!(world.snapshot.nodes.len(), 10);
}

#[test]
fn the_pod_that_passes_the_limits_stays_pending() {
    let limited = World::lab().inflate(0, 61).with_pool(|pool| pool.limits.set("memory", 75 << 30));
    let (plan, explanation) = limited.plan();
    assert_eq!(plan.launches.len(), 10);
    let pending: Vec<_> = explanation.pods.iter().filter(|v| matches!(v.outcome, PodOutcome::Unschedulable(_))).collect();
    assert_eq!(pending.len(), 1);
    let PodOutcome::Unschedulable(pools) = &pending[0].outcome else { unreachable!("filtered above") };
    let Refusal::Limits { name, limit, left, smallest } = &pools[0].reason else { panic!("{:?}", pools[0]) };
    assert_eq!((&**name, *limit), ("memory", 75 << 30));
    assert_eq!((*left >> 20, *smallest >> 20), (75 * 1024 - 10 * 7577, 1894));
    insta::assert_snapshot!(planner::render(&planner::Explanation { pods: explanation.pods, ..planner::Explanation::default() }));
}

#[test]
fn an_explanation_reads_like_one() {
    let (_, explanation) = World::lab().inflate(0, 5).plan();
    insta::assert_snapshot!(planner::render(&explanation));
}

#[test]
fn one_pod_gets_the_cheapest_type_first() {
    let (plan, _) = World::lab().inflate(0, 1).plan();
    assert_eq!(launches(&plan), [(1, vec!["t3.small", "t3.medium", "m5.large"])]);
}

#[test]
fn an_offering_that_is_gone_is_not_bought() {
    let mut world = World::lab().inflate(0, 1);
    let types = std::sync::Arc::make_mut(world.offerings.get_mut("default").unwrap());
    types[2].offerings.iter_mut().for_each(|offering| offering.available = false);
    types[1].offerings[0].capacity_type = CapacityType::OnDemand;
    assert_eq!(launches(&world.plan().0), [(1, vec!["t3.medium", "m5.large"])]);
}

#[test]
fn a_pool_that_leaves_no_type_is_told_of() {
    let none = World::lab().with_pool(|pool| pool.requirements.push(vocabulary::Requirement::is_in(labels::ARCH, "arm64"))).inflate(0, 1);
    let barren = none.plan().1.barren;
    assert_eq!(barren.iter().map(|b| (&*b.pool, b.min_values)).collect::<Vec<_>>(), [("default", false)]);
    let few = World::lab().with_pool(|pool| pool.requirements[1].min_values = Some(4)).inflate(0, 1);
    assert_eq!(few.plan().1.barren.iter().map(|b| b.min_values).collect::<Vec<_>>(), [true]);
    assert!(World::lab().inflate(0, 1).plan().1.barren.is_empty());
}

/// `C/pkg/controllers/provisioning/scheduling/topology.go`, Record: once for each group that the pod owns.
#[test]
fn who_says_twice_whom_it_keeps_away_is_counted_once() {
    let quiet = [SelectorTerm { key: "app".into(), operator: Operator::In, values: vec!["noisy".into()] }];
    let apart = PodTerm { key: labels::ZONE.into(), selector: Some(quiet.to_vec()), namespaces: Vec::new(), namespace_selector: None };
    let mut first = pod("first", "1", "1Gi");
    first.pod_anti_affinity.required = vec![apart.clone(), apart];
    let mut second = pod("second", "100m", "1Gi");
    second.labels.insert("app".into(), "noisy".into());
    let (_, explanation) = World::lab().with_pods([first, second]).plan();
    assert!(matches!(outcome(&explanation, "first"), PodOutcome::Launch(0)));
    let words = planner::words::of(outcome(&explanation, "second")).expect("a refusal");
    assert!(words.contains("(counts = us-west-2a: 1, us-west-2b: 1, us-west-2c: 1, "), "{words}");
}

/// Five pods are on a node in one zone; a sixth may be in the same zone only if they do not count there.
#[rstest]
#[case::the_same(None, false)]
#[case::a_startup_taint(Some((true, vec![taint("cilium", Effect::NoExecute)])), true)]
#[case::no_zone_yet(Some((false, Vec::new())), true)]
fn what_a_node_shows_decides_whether_its_pods_count(#[case] shown: Option<(bool, Vec<Taint>)>, #[case] joins: bool) {
    let web = |mut pod: Pod| {
        pod.labels.insert("app".into(), "web".into());
        pod
    };
    let mut world = World::lab().inflate(0, 5);
    world.snapshot.pending.iter_mut().for_each(|pod| *pod = Arc::new(web((**pod).clone())));
    let mut world = world.carried_out(&world.plan().0).inflate(5, 6);
    let node = Arc::make_mut(&mut world.snapshot.nodes[0]);
    node.shown = shown.map(|(zone, taints)| {
        let labels = if zone { node.labels.clone() } else { Labels::new() };
        Arc::new(Shown { labels, taints })
    });
    let selector = Some(vec![SelectorTerm { key: "app".into(), operator: Operator::In, values: vec!["web".into()] }]);
    let spread = SpreadConstraint {
        key: labels::ZONE.into(),
        max_skew: 1,
        min_domains: None,
        soft: false,
        selector,
        honor_affinity: true,
        honor_taints: true,
    };
    let mut sixth = web((*world.snapshot.pending[0]).clone());
    sixth.spread.push(spread);
    world.snapshot.pending[0] = Arc::new(sixth);
    let (plan, _) = world.plan();
    assert_eq!((plan.nominations.len(), plan.launches.len()), if joins { (1, 0) } else { (0, 1) });
}
