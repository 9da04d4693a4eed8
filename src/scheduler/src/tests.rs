//! Filters, scores and messages, with values worked out from upstream's formulas by hand.

use crate::plugins::{Plugin, node_resources};
use crate::queue::Queue;
use crate::{ClusterView, Event, FitError, NodeInfo, PodInfo, schedule, schedule_scored};
use rstest::rstest;
use serde_json::{Value, json};
use std::sync::Arc;

fn node(name: &str, cpu: &str, memory: &str, extra: Value) -> NodeInfo {
    let mut node = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } }, "spec": {},
        "status": { "allocatable": { "cpu": cpu, "memory": memory, "pods": "110" } },
    });
    merge(&mut node, extra);
    NodeInfo::from_json(&node).unwrap()
}

fn pod(name: &str, cpu: &str, memory: &str, extra: Value) -> PodInfo {
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "default", "uid": name },
        "spec": { "containers": [{ "resources": { "requests": { "cpu": cpu, "memory": memory } } }] },
    });
    merge(&mut pod, extra);
    PodInfo::from_json(&pod).unwrap()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value))
        }
        (into, from) => *into = from,
    }
}

fn view(nodes: impl IntoIterator<Item = NodeInfo>) -> ClusterView {
    let mut view = ClusterView::new();
    for node in nodes {
        view.set_node(node);
    }
    view
}

fn place(view: &mut ClusterView, pod: PodInfo, on: &str) {
    view.set_pod(Arc::new(PodInfo { node_name: on.to_owned(), ..pod }));
}

fn labels(pairs: Value) -> Value {
    json!({ "metadata": { "labels": pairs } })
}

fn scores(view: &ClusterView, pod: &PodInfo, plugin: Plugin) -> Vec<i64> {
    let at = Plugin::SCORING.iter().position(|(one, _)| *one == plugin).unwrap();
    schedule_scored(view, pod, 0).unwrap().scores.iter().map(|score| score.by_plugin[at]).collect()
}

#[rstest]
#[case::nothing_requested("0", "0", [("4", "10000"), ("4", "10000")], [100, 100])]
#[case::differently_sized("3", "5000", [("4", "10000"), ("6", "10000")], [37, 50])]
#[case::no_memory_at_all("1", "0", [("4", "0"), ("2", "0")], [75, 50])]
fn least_allocated(#[case] cpu: &str, #[case] memory: &str, #[case] nodes: [(&str, &str); 2], #[case] expect: [i64; 2]) {
    let pod = pod("p", cpu, memory, json!({}));
    assert_eq!(nodes.map(|(cpu, memory)| node_resources::least_allocated(&pod, &node("n", cpu, memory, json!({})))), expect);
}

#[test]
fn balanced_allocation_scores_the_improvement() {
    let nodes = [node("a", "4", "10000", json!({})), node("b", "6", "10000", json!({}))];
    // a: shares 0.75 and 0.5 deviate by 0.125, so 87 after, 100 before: 50 + (50 - 13) / 2; b stays even: 50 + 50 / 2.
    assert_eq!(node_resources::balanced_allocation(&pod("p", "3", "5000", json!({})), &[&nodes[0], &nodes[1]]), Some(vec![68, 75]));
    assert_eq!(node_resources::balanced_allocation(&pod("p", "0", "0", json!({})), &[&nodes[0]]), None);
}

#[test]
fn soft_taints_cost_points() {
    let tainted =
        json!({ "spec": { "taints": [{ "key": "a", "effect": "PreferNoSchedule" }, { "key": "b", "effect": "PreferNoSchedule" }] } });
    let half = json!({ "spec": { "taints": [{ "key": "a", "effect": "PreferNoSchedule" }] } });
    let view = view([node("a", "4", "1Gi", tainted), node("b", "4", "1Gi", half), node("c", "4", "1Gi", json!({}))]);
    assert_eq!(scores(&view, &pod("p", "1", "1", json!({})), Plugin::TaintToleration), [0, 50, 100]);
    let tolerant = pod("p", "1", "1", json!({ "spec": { "tolerations": [{ "key": "b", "operator": "Exists" }] } }));
    assert_eq!(scores(&view, &tolerant, Plugin::TaintToleration), [0, 0, 100]);
}

#[test]
fn preferred_nodes_gain_points() {
    let prefer = |weight: i64, value: &str| json!({ "weight": weight, "preference": { "matchExpressions": [{ "key": "zone", "operator": "In", "values": [value] }] } });
    let affinity = json!({ "spec": { "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [prefer(1, "a"), prefer(3, "b")] } } } });
    let view = view([
        node("a", "4", "1Gi", labels(json!({ "zone": "a" }))),
        node("b", "4", "1Gi", labels(json!({ "zone": "b" }))),
        node("c", "4", "1Gi", json!({})),
    ]);
    assert_eq!(scores(&view, &pod("p", "1", "1", affinity), Plugin::NodeAffinity), [33, 100, 0]);
}

fn web(name: &str, extra: Value) -> PodInfo {
    let mut all = labels(json!({ "app": "web" }));
    merge(&mut all, extra);
    pod(name, "100m", "1Mi", all)
}

fn owned_by_web() -> Value {
    json!({ "metadata": { "ownerReferences": [{ "kind": "ReplicaSet", "name": "web", "controller": true }] } })
}

#[test]
fn pods_of_a_replica_set_spread_over_nodes_by_default() {
    let mut view = view(["a", "b", "c"].map(|name| node(name, "4", "8Gi", json!({}))));
    view.set_workload("default", "ReplicaSet", "web", &json!({ "spec": { "selector": { "matchLabels": { "app": "web" } } } })).unwrap();
    for (name, on) in [("1", "a"), ("2", "a"), ("3", "b")] {
        place(&mut view, web(name, json!({})), on);
    }
    // Hostname weight is ln(3 + 2): counts 2, 1, 0 give round(2 * 1.609 + 2) = 5, round(3.609) = 4, 2; zones are absent.
    // Normalised: 100 * (5 + 2 - s) / 5.
    assert_eq!(scores(&view, &web("new", owned_by_web()), Plugin::PodTopologySpread), [40, 60, 100]);
    // Nobody else's pods count, and a pod without a controller has no default constraints.
    assert_eq!(scores(&view, &web("new", json!({})), Plugin::PodTopologySpread), [0, 0, 0]);
}

#[rstest]
#[case::skew_of_one(json!({}), true)]
#[case::min_domains_beyond_what_is_there(json!({ "minDomains": 3 }), false)]
fn hard_spread(#[case] extra: Value, #[case] third_fits: bool) {
    let zone = |name: &str| labels(json!({ "zone": name }));
    let mut view = view([node("a", "4", "8Gi", zone("a")), node("b", "4", "8Gi", zone("b")), node("c", "4", "8Gi", json!({}))]);
    place(&mut view, web("1", json!({})), "a");
    let mut constraint = json!({ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": { "matchLabels": { "app": "web" } } });
    merge(&mut constraint, extra);
    let new = web("new", json!({ "spec": { "topologySpreadConstraints": [constraint] } }));
    assert_eq!(schedule(&view, &new, 0).unwrap().node, "b", "zone a has one already, node c has no zone");
    place(&mut view, web("2", json!({})), "b");
    // Both zones have one. Fewer domains than minDomains pin the minimum to zero, and then a second pod is one too many.
    assert_eq!(schedule(&view, &new, 0).is_ok(), third_fits);
}

fn anti(required: bool) -> Value {
    let term = json!({ "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "app": "web" } } });
    let body = if required {
        json!({ "requiredDuringSchedulingIgnoredDuringExecution": [term] })
    } else {
        json!({ "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 10, "podAffinityTerm": term }] })
    };
    json!({ "spec": { "affinity": { "podAntiAffinity": body } } })
}

#[test]
fn anti_affinity_works_in_both_directions() {
    let mut view = view(["a", "b"].map(|name| node(name, "4", "8Gi", json!({}))));
    place(&mut view, web("1", anti(true)), "a");
    assert_eq!(schedule(&view, &web("2", json!({})), 0).unwrap().node, "b", "the one that is there dislikes the new one");
    view.remove_pod("default/1");
    place(&mut view, web("1", json!({})), "a");
    assert_eq!(schedule(&view, &web("2", anti(true)), 0).unwrap().node, "b", "the new one dislikes the one that is there");
    assert_eq!(scores(&view, &web("2", anti(false)), Plugin::InterPodAffinity), [0, 100]);
}

#[test]
fn the_first_of_a_series_with_affinity_to_itself_is_let_in() {
    let term = json!({ "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "app": "web" } } });
    let like = json!({ "spec": { "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [term] } } } });
    let mut view = view(["a", "b"].map(|name| node(name, "4", "8Gi", json!({}))));
    assert!(schedule(&view, &web("1", like.clone()), 0).is_ok());
    place(&mut view, web("1", json!({})), "b");
    assert_eq!(schedule(&view, &web("2", like), 0).unwrap().node, "b");
}

fn refusal(view: &ClusterView, pod: &PodInfo) -> FitError {
    *schedule(view, pod, 0).unwrap_err()
}

const UNHELPFUL: &str = "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
const NO_VICTIMS: &str =
    "no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";

#[rstest]
#[case::cordoned(json!({ "spec": { "unschedulable": true } }), json!({}), "1 node(s) were unschedulable", UNHELPFUL)]
#[case::tainted(json!({ "spec": { "taints": [{ "key": "a", "effect": "NoSchedule" }] } }), json!({}), "1 node(s) had untolerated taint(s)", UNHELPFUL)]
#[case::selector(json!({}), json!({ "spec": { "nodeSelector": { "a": "b" } } }), "1 node(s) didn't match Pod's node affinity/selector", UNHELPFUL)]
#[case::too_large(json!({}), json!({ "spec": { "containers": [{ "resources": { "requests": { "cpu": "5", "memory": "9Gi" } } }] } }), "1 Insufficient cpu, 1 Insufficient memory", UNHELPFUL)]
#[case::no_room(json!({ "status": { "allocatable": { "pods": "0" } } }), json!({}), "1 Too many pods", NO_VICTIMS)]
#[case::extended(json!({}), json!({ "spec": { "containers": [{ "resources": { "requests": { "nvidia.com/gpu": "1" } } }] } }), "1 Insufficient nvidia.com/gpu", UNHELPFUL)]
#[case::spread(json!({}), json!({ "spec": { "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "zone" }] } }), "1 node(s) didn't match pod topology spread constraints (missing required label)", UNHELPFUL)]
#[case::affinity(json!({}), json!({ "spec": { "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "x": "y" } } }] } } } }), "1 node(s) didn't match pod affinity rules", UNHELPFUL)]
#[case::never(json!({}), json!({ "spec": { "nodeSelector": { "a": "b" }, "preemptionPolicy": "Never" } }), "1 node(s) didn't match Pod's node affinity/selector", "no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.")]
fn messages(#[case] of_node: Value, #[case] of_pod: Value, #[case] filters: &str, #[case] post: &str) {
    let view = view([node("n", "4", "8Gi", of_node)]);
    assert_eq!(refusal(&view, &pod("p", "1", "1Gi", of_pod)).message(), format!("0/1 nodes are available: {filters}. {post}"));
}

#[test]
fn a_message_counts_reasons_over_nodes() {
    let mut view = view([
        node("a", "4", "8Gi", labels(json!({ "type": "x" }))),
        node("b", "4", "8Gi", labels(json!({ "type": "x" }))),
        node("c", "4", "8Gi", json!({})),
    ]);
    place(&mut view, pod("big", "1", "8Gi", json!({})), "a");
    let wanting = pod(
        "p",
        "1",
        "8Gi",
        json!({ "spec": { "nodeSelector": { "type": "x" }, "containers": [{ "resources": { "requests": { "memory": "9Gi" } } }] } }),
    );
    assert_eq!(
        refusal(&view, &wanting).message(),
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 Insufficient memory. \
         no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    assert_eq!(refusal(&ClusterView::new(), &wanting).message(), "no nodes available to schedule pods");
}

#[test]
fn a_pod_for_one_node_is_held_against_that_node_alone() {
    let field = json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["a"] }] });
    let daemon = json!({ "spec": { "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [field] } } } } });
    let view = view([node("a", "1", "8Gi", json!({})), node("b", "4", "8Gi", json!({}))]);
    assert_eq!(
        refusal(&view, &pod("p", "2", "1Gi", daemon)).message(),
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. \
         no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
}

#[test]
fn host_ports_collide_by_address_and_protocol() {
    let ports = |ip: &str, protocol: &str| json!({ "spec": { "containers": [{ "ports": [{ "hostPort": 80, "hostIP": ip, "protocol": protocol }] }] } });
    let mut view = view([node("a", "4", "8Gi", json!({}))]);
    place(&mut view, pod("1", "1", "1", ports("127.0.0.1", "TCP")), "a");
    assert!(schedule(&view, &pod("2", "1", "1", ports("127.0.0.2", "TCP")), 0).is_ok());
    assert!(schedule(&view, &pod("2", "1", "1", ports("127.0.0.1", "UDP")), 0).is_ok());
    let why = refusal(&view, &pod("2", "1", "1", ports("", "TCP")));
    assert!(why.message().contains("1 node(s) didn't have free ports for the requested pod ports"), "{why}");
}

#[test]
fn a_higher_priority_takes_the_cheapest_victims() {
    let mut view = view(["a", "b"].map(|name| node(name, "2", "8Gi", json!({}))));
    for (name, priority, on) in [("a1", 5, "a"), ("a2", 1, "a"), ("b1", 5, "b"), ("b2", 5, "b")] {
        place(&mut view, pod(name, "1", "1", json!({ "spec": { "priority": priority } })), on);
    }
    let found = refusal(&view, &pod("p", "1", "1", json!({ "spec": { "priority": 10 } }))).preemption.unwrap();
    assert_eq!((found.node.as_str(), found.victims.len(), found.victims[0].name.as_str()), ("a", 1, "a2"));
    view.set_budget(
        "default",
        "web",
        &json!({ "spec": { "selector": { "matchExpressions": [{ "key": "absent", "operator": "DoesNotExist" }] } } }),
    )
    .unwrap();
    assert_eq!(refusal(&view, &pod("p", "1", "1", json!({ "spec": { "priority": 1 } }))).preemption, None);
}

#[rstest]
#[case::of_higher_priority(5, json!({}), false)]
#[case::of_equal_priority(1, json!({}), false)]
#[case::of_lower_priority(0, json!({}), true)]
#[case::elsewhere(5, json!({ "status": { "nominatedNodeName": "b" } }), true)]
fn room_is_set_aside_for_a_pod_that_was_promised_the_node(#[case] priority: i32, #[case] extra: Value, #[case] fits: bool) {
    let mut view = view([node("a", "4", "10Gi", json!({}))]);
    let mut promise = json!({ "spec": { "priority": priority }, "status": { "nominatedNodeName": "a" } });
    merge(&mut promise, extra);
    let promised = Arc::new(pod("promised", "3", "1Gi", promise));
    view.set_nominated(&promised);
    let other = pod("other", "2", "1Gi", json!({ "spec": { "priority": 1 } }));
    assert_eq!(schedule(&view, &other, 0).is_ok(), fits);
    assert!(schedule(&view, &promised, 0).is_ok(), "it does not stand in its own way");
    // Whoever only fits beside the promised pod does not fit: it is not there yet.
    let beside = json!({ "spec": { "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
        { "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "app": "promised" } } }] } } } });
    view.set_nominated(&Arc::new(pod(
        "promised",
        "1",
        "1Gi",
        json!({ "metadata": { "labels": { "app": "promised" } }, "spec": { "priority": 5 }, "status": { "nominatedNodeName": "a" } }),
    )));
    assert!(schedule(&view, &pod("beside", "1", "1Gi", beside), 0).is_err());
    place(&mut view, (*promised).clone(), "b");
    assert_eq!(view.nominated("a").count(), 0, "a pod that has a node is promised none");
}

#[test]
fn the_draw_decides_among_equals_only() {
    let view = view([node("a", "4", "8Gi", json!({})), node("b", "4", "8Gi", json!({})), node("c", "1", "8Gi", json!({}))]);
    let chosen: Vec<String> = (0..4).map(|draw| schedule(&view, &pod("p", "1", "1Gi", json!({})), draw).unwrap().node).collect();
    assert_eq!(chosen, ["a", "b", "a", "b"]);
}

#[test]
fn removing_a_pod_undoes_adding_it() {
    let fresh = || view([node("a", "4", "8Gi", json!({}))]);
    let mut changed = fresh();
    place(&mut changed, web("1", anti(true)), "a");
    changed.remove_pod("default/1");
    assert_eq!(format!("{:?}", changed.node("a")), format!("{:?}", fresh().node("a")));
}

#[test]
fn sums_follow_a_node_that_comes_after_its_pods() {
    let mut view = ClusterView::new();
    place(&mut view, pod("1", "3", "1Gi", json!({})), "a");
    view.set_node(node("a", "4", "8Gi", json!({})));
    assert_eq!(view.node("a").unwrap().requested.milli_cpu, 3000);
}

#[test]
fn a_refused_pod_waits_for_a_change_that_concerns_it() {
    let at = |seconds: i64| jiff::Timestamp::from_second(seconds).unwrap();
    let mut cluster = view([node("a", "1", "8Gi", json!({}))]);
    let mut queue = Queue::new();
    queue.set(Arc::new(pod("low", "2", "1Gi", json!({}))), false, at(0));
    queue.set(Arc::new(pod("high", "2", "1Gi", json!({ "spec": { "priority": 1 } }))), false, at(1));
    let first = queue.pop(at(1)).unwrap();
    assert_eq!(first.pod.name, "high", "priority comes before time");
    for queued in [first, queue.pop(at(1)).unwrap()] {
        let why = refusal(&cluster, &queued.pod);
        queue.refused(queued, why.plugins, at(1));
    }
    assert!(queue.pop(at(2)).is_none());
    let small = node("b", "1", "8Gi", json!({}));
    queue.on_event(Event::NodeAdded(&small), &cluster, at(2));
    assert!(queue.pop(at(2)).is_none(), "it does not fit an empty node of that size either");
    let large = node("c", "4", "8Gi", json!({}));
    cluster.set_node(large.clone());
    queue.on_event(Event::NodeAdded(&large), &cluster, at(2));
    assert_eq!(queue.about_to_try().count(), 2);
    assert_eq!(queue.pop(at(2)).unwrap().pod.name, "high");
}

#[test]
fn a_void_promise_wakes_those_who_count_no_more() {
    let at = |seconds: i64| jiff::Timestamp::from_second(seconds).unwrap();
    let cluster = view([node("n", "1", "1Gi", json!({}))]);
    let mut queue = Queue::new();
    let of = |name: &str, priority: i32| Arc::new(pod(name, "2", "1Gi", json!({ "spec": { "priority": priority } })));
    [of("low", 1), of("same", 5), of("high", 9)].into_iter().for_each(|pod| queue.set(pod, false, at(0)));
    let mut popped = Vec::new();
    popped.extend(std::iter::from_fn(|| queue.pop(at(0))));
    for queued in popped {
        let why = refusal(&cluster, &queued.pod);
        queue.refused(queued, why.plugins, at(0));
    }
    assert!(queue.about_to_try().next().is_none());
    queue.on_void_promise(&of("other", 5), &cluster, at(5));
    assert_eq!(std::iter::from_fn(|| queue.pop(at(5))).map(|queued| queued.pod.name.clone()).collect::<Vec<_>>(), ["same", "low"]);
}

#[test]
fn back_off_doubles_up_to_ten_seconds_and_failed_requests_wait_for_it() {
    let at = |seconds: i64| jiff::Timestamp::from_second(seconds).unwrap();
    let mut queue = Queue::new();
    queue.set(Arc::new(pod("p", "1", "1", json!({}))), false, at(0));
    let mut now = 0;
    for wait in [1, 2, 4, 8, 10, 10] {
        let queued = queue.pop(at(now)).unwrap();
        queue.failed(queued, at(now));
        // Until the second in which it ends is over.
        assert_eq!(queue.next_due(), Some(at(now + wait + 1)));
        assert!(queue.pop(at(now + wait)).is_none());
        now += wait + 1;
    }
}

#[test]
fn refused_pods_are_tried_again_after_five_minutes() {
    let at = |seconds: i64| jiff::Timestamp::from_second(seconds).unwrap();
    let mut queue = Queue::new();
    queue.set(Arc::new(pod("p", "1", "1", json!({}))), false, at(0));
    let queued = queue.pop(at(0)).unwrap();
    let mut by = crate::PluginSet::default();
    by.insert(Plugin::NodeAffinity);
    queue.refused(queued, by, at(0));
    assert!(queue.pop(at(299)).is_none());
    assert!(queue.pop(at(300)).is_some());
}

#[test]
fn gated_pods_wait_until_the_gate_is_gone() {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let mut queue = Queue::new();
    queue.set(Arc::new(pod("p", "1", "1", json!({ "spec": { "schedulingGates": [{ "name": "x" }] } }))), false, now);
    assert!(queue.pop(now).is_none() && queue.next_due().is_none());
    queue.set(Arc::new(pod("p", "1", "1", json!({}))), true, now);
    assert!(queue.pop(now).is_some());
}

#[test]
fn of_back_offs_that_end_within_one_second_the_one_that_counts_most_ends_first() {
    let at = |millis: i64| jiff::Timestamp::from_millisecond(millis).unwrap();
    let mut queue = Queue::new();
    let mut by = crate::PluginSet::default();
    by.insert(Plugin::NodeResourcesFit);
    for (name, priority, millis) in [("low", 0, 100), ("high", 5, 900), ("next-second", 9, 1100)] {
        queue.set(Arc::new(pod(name, "2", "1Gi", json!({ "spec": { "priority": priority } }))), false, at(millis));
        let queued = queue.pop(at(millis)).unwrap();
        queue.refused(queued, by, at(millis));
    }
    let large = node("n", "4", "8Gi", json!({}));
    let cluster = view([large.clone()]);
    queue.on_event(Event::NodeAdded(&large), &cluster, at(1150));
    let order: Vec<String> = std::iter::from_fn(|| queue.pop(at(1200)).map(|queued| queued.pod.name.clone())).collect();
    assert_eq!(order, ["high", "low", "next-second"]);
}

/// The name at which the search begins is remembered, so that nobody counts up to it; whatever happens to the nodes, the order is as if
/// somebody had.
#[test]
fn the_search_begins_where_counting_would_begin_it() {
    let mut chance = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: u64| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % below
    };
    for _ in 0..200 {
        let mut view = ClusterView::new();
        // As upstream has it: a place in the list, counted on by each cycle (`schedule_one.go`, nextStartNodeIndex).
        let (mut names, mut start) = (std::collections::BTreeSet::new(), 0);
        for _ in 0..60 {
            let name = format!("n{:02}", draw(40));
            match draw(4) {
                0 => {
                    view.set_node(node(&name, "1", "1Gi", json!({})));
                    names.insert(name);
                }
                1 => {
                    view.remove_node(&name);
                    names.remove(&name);
                }
                _ if names.is_empty() => {}
                _ => {
                    let examined = draw(names.len() as u64 + 1) as usize;
                    view.advance_start(examined);
                    start = (start + examined) % names.len();
                }
            }
            let from = start.checked_rem(names.len()).unwrap_or(0);
            let expect: Vec<&String> = names.iter().skip(from).chain(names.iter().take(from)).collect();
            let (found, before) = view.nodes_from_start();
            assert_eq!(found.map(|node| &node.name).collect::<Vec<_>>(), expect);
            assert_eq!(before, names.len() - from);
        }
    }
}

/// A node says all that it lacks; the others are still counted one by one.
#[test]
fn a_node_with_two_reasons_is_one_node() {
    let mut view = view([node("a", "4", "8Gi", json!({})), node("b", "1", "8Gi", json!({})), node("c", "1", "8Gi", json!({}))]);
    place(&mut view, pod("strong", "3", "6Gi", json!({ "spec": { "priority": 9 } })), "a");
    place(&mut view, pod("weak", "1", "1Gi", json!({ "spec": { "priority": 1 } })), "a");
    let said = refusal(&view, &pod("p", "3", "4Gi", json!({ "spec": { "priority": 5 } }))).message().to_owned();
    assert_eq!(
        said,
        "0/3 nodes are available: 1 Insufficient memory, 3 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: \
         1 Insufficient cpu, 1 Insufficient memory, 2 Preemption is not helpful for scheduling."
    );
}
