//! Pods that their node does not take, and what is made of them.

use serde_json::Value;

use super::*;
use crate::admission::Site;

/// A pod of this name on the node, with `more` in its spec; `status` as the API server shows it.
fn bound(uid: &str, cpu: &str, more: Value, status: Value) -> Option<View> {
    let mut spec = json!({ "nodeName": NODE, "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": cpu } } }] });
    spec.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
    let pod = json!({ "metadata": { "name": uid, "namespace": "d", "uid": uid }, "spec": spec, "status": status });
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    View::of(&pod).map(|view| view.with_applicant(&pod))
}

fn asks(uid: &str, cpu: &str) -> Option<View> {
    bound(uid, cpu, json!({}), json!({}))
}

/// The statuses that are told at `second`, by pod.
fn statuses(state: &mut State, second: i64) -> Vec<(String, Value)> {
    let effects = state.due(at(second), 100);
    let tell = |effect| match effect {
        Effect::Tell { uid, stage, turn, patch, .. } => Some((uid, stage, turn, patch)),
        _ => None,
    };
    let all = effects.into_iter().filter_map(tell).map(|(uid, stage, turn, patch)| {
        state.done(Done { key: Key::Pod(uid.clone()), outcome: Outcome::Told { stage, turn, view: None } }, at(second));
        (uid, patch["status"].clone())
    });
    all.collect()
}

fn refused(state: &mut State, second: i64) -> Vec<String> {
    let all = statuses(state, second).into_iter();
    all.filter(|(_, status)| status["phase"] == "Failed").map(|(uid, status)| format!("{uid} {}", status["reason"])).collect()
}

// An m5.large has 1930m for pods.

#[test]
fn a_pod_that_does_not_fit_has_failed_and_holds_nothing() {
    let mut state = ready(Heartbeats::Computed);
    state.apply(asks("a", "1500m"), at(40));
    step(&mut state, 40);
    state.apply(asks("b", "1500m"), at(41));
    let told = statuses(&mut state, 41);
    let message = "Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 1500, capacity: 1930";
    let expect =
        json!({ "phase": "Failed", "reason": "OutOfcpu", "message": message, "startTime": "1970-01-01T00:00:41Z", "conditions": [] });
    assert_eq!(told, [("b".to_owned(), expect)]);
    state.apply(asks("c", "400m"), at(42));
    let told = statuses(&mut state, 42);
    assert!(told.iter().any(|(uid, status)| uid == "c" && status["phase"] == "Pending"), "the refused one holds nothing: {told:?}");
    (42..=45).for_each(|second| drop(step(&mut state, second)));
    assert!(state.unsettled().is_empty());
    assert!(step(&mut state, 100).is_empty(), "once is enough");
}

#[test]
fn what_has_ended_makes_room() {
    let mut state = ready(Heartbeats::Computed);
    state.apply(
        bound(
            "a",
            "1500m",
            json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i",
        "command": ["sleep", "5"], "resources": { "requests": { "cpu": "1500m" } } }] }),
            json!({}),
        ),
        at(40),
    );
    (40..=42).for_each(|second| drop(step(&mut state, second)));
    state.apply(asks("early", "1"), at(45));
    assert_eq!(refused(&mut state, 45), ["early \"OutOfcpu\""]);
    (45..=50).for_each(|second| drop(step(&mut state, second)));
    state.apply(asks("late", "1"), at(51));
    assert_eq!(step(&mut state, 51), ["tell late Accepted"]);
}

#[test]
fn its_event_says_why() {
    let mut state = state_with(Heartbeats::Computed, true);
    state.synchronise(vec![running()], at(0));
    heard(&mut state, 0, 39);
    state.apply(asks("a", "3"), at(40));
    let message = "Node didn't have enough resource: cpu, requested: 3000, used: 0, capacity: 1930";
    assert_eq!(heard(&mut state, 40, 60), [format!("OutOfcpu: {message}")]);
}

#[test]
fn what_runs_already_is_not_judged_again() {
    let mut state = ready(Heartbeats::Computed);
    for uid in ["a", "b"] {
        state.apply(bound(uid, "1500m", json!({}), json!({ "phase": "Running", "podIP": "10.0.0.9" })), at(40));
    }
    assert!(refused(&mut state, 40).is_empty());
    // Nor is what this kubelet took when the list comes in once more.
    state.apply(asks("c", "100m"), at(41));
    assert_eq!(refused(&mut state, 41), ["c \"OutOfcpu\""]);
    state.begin_list();
    for uid in ["a", "b"] {
        state.list(bound(uid, "1500m", json!({}), json!({ "phase": "Running" })), at(42));
    }
    state.end_list();
    assert!(refused(&mut state, 42).is_empty());
    // Two that run ask for more than there is; one that comes later is refused even so, first come or not by name.
    state.trouble("i-1", problem("Ready", "Unknown"), at(50)).expect("a node that is ready");
    state.apply(asks("0", "100m"), at(51));
    state.trouble("i-1", problem("Ready", "True"), at(60)).expect("it wakes");
    step(&mut state, 60);
    assert_eq!(refused(&mut state, 60), ["0 \"OutOfcpu\""]);
}

fn relabelled(version: &str, labels: Value, taints: Value) -> Option<Site> {
    let room = json!({ "cpu": "2", "pods": "10" });
    let node = json!({ "metadata": { "name": NODE, "resourceVersion": version, "labels": labels }, "spec": { "taints": taints },
        "status": { "allocatable": room } });
    Some(Site::from_json(&node).expect("a node"))
}

#[test]
fn the_node_is_looked_at_once_more_before_a_pod_is_refused_for_its_labels() {
    let mut state = ready(Heartbeats::Computed);
    let picky = || bound("p", "0", json!({ "nodeSelector": { "disk": "ssd" } }), json!({}));
    let look = |state: &mut State, second, site| match state.due(at(second), 10).as_slice() {
        [Effect::Look { uid, node }] => {
            assert_eq!((uid.as_str(), node.as_str()), ("p", NODE));
            assert_eq!(state.unsettled(), ["pod d/p starts"]);
            state.done(Done { key: Key::Pod(uid.clone()), outcome: Outcome::Looked(site) }, at(second));
        }
        other => panic!("{:?}", words(other)),
    };
    state.apply(picky(), at(40));
    look(&mut state, 40, relabelled("5", json!({ "disk": "ssd" }), json!([])).map(Box::new));
    assert_eq!(statuses(&mut state, 40)[0].1["phase"], "Pending", "somebody had labelled it meanwhile");
    state.forget("p");
    state.learn(relabelled("7", json!({ "disk": "hdd" }), json!([])));
    state.learn(relabelled("6", json!({ "disk": "ssd" }), json!([])));
    state.apply(picky(), at(50));
    look(&mut state, 50, None);
    assert_eq!(refused(&mut state, 50), ["p \"NodeAffinity\""], "what came late was older");
}

#[test]
fn a_taint_that_drives_pods_away_keeps_them_away() {
    let mut state = ready(Heartbeats::Computed);
    state.learn(relabelled("5", json!({}), json!([{ "key": "k", "effect": "NoExecute" }])));
    state.apply(asks("p", "0"), at(40));
    assert_eq!(step(&mut state, 40), Vec::<String>::from(["look at the node of p".to_owned()]));
    assert_eq!(refused(&mut state, 40), ["p \"TaintToleration\""]);
    state.learn(relabelled("6", json!({}), json!([])));
    state.apply(asks("q", "0"), at(41));
    assert_eq!(step(&mut state, 41), ["tell q Accepted"]);
}

#[test]
fn what_was_known_of_a_node_goes_when_both_it_and_its_machine_are_gone() {
    let mut state = ready(Heartbeats::Computed);
    let closed = |version| relabelled(version, json!({}), json!([{ "key": "k", "effect": "NoExecute" }]));
    state.learn(closed("7"));
    state.unlearn(NODE);
    state.apply(asks("p", "0"), at(40));
    step(&mut state, 40);
    assert_eq!(refused(&mut state, 40), ["p \"TaintToleration\""], "its kubelet still knows");
    for (number, shown_once_more) in [false, true].into_iter().enumerate() {
        let begins = 41 + 40 * i64::try_from(number).expect("a small number");
        state.synchronise(Vec::new(), at(begins));
        if shown_once_more {
            state.learn(closed("9"));
            state.unlearn(NODE);
        }
        state.synchronise(vec![running()], at(begins));
        (begins..begins + 39).for_each(|second| drop(step(&mut state, second)));
        let pod = format!("q{number}");
        state.apply(asks(&pod, "0"), at(begins + 39));
        assert_eq!(step(&mut state, begins + 39), [format!("tell {pod} Accepted")], "a new machine of that name is another node");
        state.forget(&pod);
    }
}

#[test]
fn a_lost_machine_looks_for_nothing() {
    let mut state = ready(Heartbeats::Computed);
    state.apply(bound("p", "0", json!({ "nodeSelector": { "disk": "ssd" } }), json!({})), at(40));
    state.synchronise(Vec::new(), at(40));
    assert!(state.unsettled().is_empty());
    assert!(!step(&mut state, 41).iter().any(|effect| effect.starts_with("look")));
}

fn system() -> Value {
    json!({ "priority": 2_000_001_000 })
}

#[test]
fn a_critical_pod_begins_when_those_who_made_room_have_gone() {
    let mut state = ready(Heartbeats::Computed);
    let slow = json!({ "priority": 0, "terminationGracePeriodSeconds": 20, "containers": [{ "name": "c", "image": "i",
        "resources": { "requests": { "cpu": "1500m" } }, "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } } }] });
    state.apply(bound("a", "1500m", slow, json!({ "qosClass": "Burstable" })), at(32));
    (32..=35).for_each(|second| drop(step(&mut state, second)));
    state.apply(bound("vip", "1", system(), json!({ "qosClass": "Burstable" })), at(40));
    assert!(step(&mut state, 40).is_empty(), "its hook runs");
    assert_eq!(state.unsettled(), ["pod d/vip starts"]);
    // Whoever comes now finds the place taken.
    state.apply(asks("b", "500m"), at(41));
    assert_eq!(refused(&mut state, 41), ["b \"OutOfcpu\""]);
    assert!(step(&mut state, 45).is_empty());
    let told = statuses(&mut state, 46);
    let (uid, status) = &told[0];
    assert_eq!((uid.as_str(), &status["phase"], &status["reason"]), ("a", &json!("Failed"), &json!("Preempting")));
    assert_eq!(status["message"], "Preempted in order to admit critical pod");
    let condition = status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "DisruptionTarget").unwrap();
    assert_eq!(condition["message"], "Pod was preempted by Kubelet to accommodate a critical pod.");
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 0, "it was asked to end");
    assert_eq!((told[1].0.as_str(), &told[1].1["phase"]), ("vip", &json!("Pending")));
    assert_eq!(step(&mut state, 47), ["tell vip Ready"], "the image is there");
    assert!(state.unsettled().is_empty());
}

#[test]
fn whoever_makes_room_is_told_why() {
    let mut state = state_with(Heartbeats::Computed, true);
    state.synchronise(vec![running()], at(0));
    state.apply(bound("a", "1500m", json!({ "priority": 0 }), json!({})), at(30));
    heard(&mut state, 0, 39);
    state.apply(bound("vip", "1", system(), json!({})), at(40));
    let said = heard(&mut state, 40, 40);
    assert_eq!(said, ["Preempting: Preempted in order to admit critical pod, Killing: Stopping container c"]);
}

#[test]
fn a_node_gives_each_device_once() {
    let mut state = state(Heartbeats::Computed);
    state.synchronise(vec![Machine { extended_resources: [("nvidia.com/gpu".to_owned(), 1)].into(), ..running() }], at(0));
    (0..=60).for_each(|second| drop(step(&mut state, second)));
    let train = |uid: &str| {
        let amounts = json!({ "nvidia.com/gpu": "1" });
        bound(
            uid,
            "0",
            json!({ "containers": [{ "name": "c", "image": "i", "resources": { "limits": amounts, "requests": amounts } }] }),
            json!({}),
        )
    };
    state.apply(train("a"), at(61));
    state.apply(train("b"), at(61));
    assert_eq!(refused(&mut state, 61), ["b \"UnexpectedAdmissionError\""]);
}

#[test]
fn a_kubelet_that_starts_takes_the_oldest_first() {
    let mut state = state(Heartbeats::Computed);
    state.synchronise(vec![running()], at(0));
    let aged = |uid: &str, second: i64| {
        let mut view = asks(uid, "1")?;
        view.appetite.created = Some(at(second));
        Some(view)
    };
    state.apply(aged("a", 2), at(3));
    state.apply(aged("b", 1), at(3));
    assert_eq!(step(&mut state, 30), ["join i-1"]);
    assert_eq!(refused(&mut state, 30), ["a \"OutOfcpu\""]);
}
