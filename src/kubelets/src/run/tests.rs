//! The state alone: what is due, and when it is settled.

mod admission;

use ambient::Entropy;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::effects::{Done, Effect, Outcome};
use super::state::{Key, State};
use crate::admission::Site;
use crate::machine::tests::machine;
use crate::machine::{Machine, State as MachineState};
use crate::node::Problem;
use crate::pod::{ProbeKind, Stage, View};
use crate::process::{Exit, Id};
use crate::profile::{Heartbeats, Profile, Range};
use crate::words::Telling;

const NODE: &str = "i-1.us-west-2.compute.internal";

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

fn state(heartbeats: Heartbeats) -> State {
    state_with(heartbeats, false)
}

fn state_with(heartbeats: Heartbeats, events: bool) -> State {
    let second = Range::millis(1000, 1000);
    let fixed = Range::millis(30_000, 30_000);
    let profile = Profile {
        registered: fixed,
        ready: second,
        image_pull: second,
        start: second,
        stop: second,
        heartbeats,
        events,
        ..Default::default()
    };
    let mut state = State::new(Entropy::from_seed(1), profile);
    state.end_list();
    state
}

fn running() -> Machine {
    let config = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: { cluster: { name: lab, apiServerEndpoint: a, \
                  certificateAuthority: Y2E=, cidr: 10.0.0.0/8 } }";
    Machine { user_data: config.into(), ..machine("i-1") }
}

fn pod(uid: &str, deleted: Option<i64>) -> Option<View> {
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": uid, "namespace": "d", "uid": uid },
        "spec": { "nodeName": NODE, "containers": [{ "name": "c", "image": "i" }] },
    }))
    .expect("a pod");
    if let Some(second) = deleted {
        pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(second + 30)));
        pod.metadata.deletion_grace_period_seconds = Some(30);
    }
    View::of(&pod)
}

fn words(effects: &[Effect]) -> Vec<String> {
    let word = |effect: &Effect| match effect {
        Effect::Join { id, .. } => format!("join {id}"),
        Effect::Ready { id, .. } => format!("ready {id}"),
        Effect::Lease { id, .. } => format!("lease {id}"),
        Effect::Forsake { id, .. } => format!("forsake {id}"),
        Effect::Status { id, .. } => format!("status {id}"),
        Effect::Devices { id, devices, .. } => format!("devices of {id} {devices:?}"),
        Effect::Volumes { uid, .. } => format!("volumes of {uid}"),
        Effect::Look { uid, .. } => format!("look at the node of {uid}"),
        Effect::Tell { name, stage, .. } => format!("tell {name} {stage:?}"),
        Effect::Say { tellings, .. } => format!("say {}", said(tellings)),
        Effect::Remove { name, .. } => format!("remove {name}"),
        Effect::Start { id, .. } => format!("start {} of {}", id.container, id.uid),
        Effect::Stop { id, grace } => format!("stop {} of {} in {}s", id.container, id.uid, grace.as_secs()),
        Effect::Probe { id, kind, .. } => format!("ask {} of {} for {kind:?}", id.container, id.uid),
    };
    effects.iter().map(word).collect()
}

/// `Pulled: …, BackOff x3: …`
fn said(tellings: &[Telling]) -> String {
    let one = |telling: &Telling| {
        let (event, count) = (&telling.event, telling.event["count"].as_i64().unwrap_or(0));
        let count = if count > 1 { format!(" x{count}") } else { String::new() };
        format!("{}{count}: {}", event["reason"].as_str().unwrap_or_default(), event["message"].as_str().unwrap_or_default())
    };
    tellings.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// It takes its time to be ready, and hangs later on.
fn probed(kind: ProbeKind, second: i64) -> Result<(), String> {
    let well = match kind {
        ProbeKind::Readiness => second >= 40,
        _ => second < 100,
    };
    if well { Ok(()) } else { Err("HTTP probe failed with statuscode: 500".to_owned()) }
}

/// Does what is due at `second`, all with success; says what it was.
fn step(state: &mut State, second: i64) -> Vec<String> {
    let effects = state.due(at(second), 100);
    let said = words(&effects);
    for effect in effects {
        let (key, outcome) = match effect {
            Effect::Join { id, node, .. } => {
                (Key::Machine(id), Outcome::Joined { uid: "node-uid".into(), site: Site::from_json(&node).map(Box::new) })
            }
            Effect::Look { uid, .. } => (Key::Pod(uid), Outcome::Looked(None)),
            Effect::Ready { id, .. } => (Key::Machine(id), Outcome::Written),
            Effect::Lease { id, .. } => (Key::Lease(id), Outcome::Written),
            Effect::Forsake { id, .. } => (Key::Machine(id), Outcome::Written),
            Effect::Status { id, .. } => (Key::Status(id), Outcome::Written),
            Effect::Devices { id, .. } => (Key::Devices(id), Outcome::Written),
            Effect::Volumes { uid, .. } => (Key::Pod(uid), Outcome::Volumes(second >= 45)),
            Effect::Say { key, spoken, .. } => (key, Outcome::Said(spoken)),
            Effect::Tell { uid, stage, turn, .. } => (Key::Pod(uid), Outcome::Told { stage, turn, view: None }),
            Effect::Remove { uid, .. } => (Key::Pod(uid), Outcome::Written),
            Effect::Start { id, .. } => (Key::Process(id), Outcome::Started(Ok(()))),
            Effect::Stop { id, .. } => (Key::Process(id), Outcome::Stopped),
            Effect::Probe { id, kind, since, .. } => (Key::Probe(id, kind), Outcome::Probed { since, answer: probed(kind, second) }),
        };
        state.done(Done { key, outcome }, at(second));
    }
    said
}

#[test]
fn a_machine_joins_after_its_boot_becomes_ready_and_is_settled() {
    let mut state = state(Heartbeats::Computed);
    state.synchronise(vec![Machine { state: MachineState::Pending, ..running() }], at(0));
    assert_eq!(state.unsettled(), ["machine i-1 (m5.large) boots"]);
    assert_eq!(state.next_due(), None);
    state.synchronise(vec![running()], at(5));
    assert!(step(&mut state, 29).is_empty());
    assert_eq!(step(&mut state, 30), ["join i-1"]);
    assert_eq!(state.unsettled(), ["machine i-1 (m5.large) has joined and is not ready yet"]);
    assert_eq!(step(&mut state, 31), ["ready i-1"]);
    assert!(state.unsettled().is_empty());
    assert_eq!(state.next_due(), None, "computed heartbeats are none of ours");
}

#[test]
fn devices_are_announced_a_while_after_the_node_is_ready() {
    let mut state = state(Heartbeats::Computed);
    let devices = [("nvidia.com/gpu".to_owned(), 4)].into();
    state.synchronise(vec![Machine { extended_resources: devices, ..running() }], at(0));
    step(&mut state, 30);
    step(&mut state, 31);
    assert_eq!(state.unsettled(), ["machine i-1 (m5.large) waits for its device plugins"]);
    assert!(step(&mut state, 50).is_empty());
    assert_eq!(step(&mut state, 51), [r#"devices of i-1 {"nvidia.com/gpu": "4"}"#]);
    assert!(state.unsettled().is_empty());
    assert!(step(&mut state, 100).is_empty());
}

#[test]
fn renewed_heartbeats_go_on_and_do_not_count() {
    let mut state = state(Heartbeats::Renewed);
    state.synchronise(vec![running()], at(0));
    step(&mut state, 30);
    assert_eq!(step(&mut state, 31), ["lease i-1", "ready i-1"]);
    assert!(state.unsettled().is_empty());
    assert_eq!(step(&mut state, 41), ["lease i-1"]);
    assert_eq!(step(&mut state, 330), ["lease i-1", "status i-1"]);
    state.synchronise(vec![Machine { state: MachineState::ShuttingDown, ..running() }], at(331));
    assert!(step(&mut state, 1000).is_empty(), "a machine that is off renews nothing");
}

#[test]
fn a_machine_that_cannot_join_says_so_once_and_is_settled() {
    let mut state = state(Heartbeats::Renewed);
    let consoles = state.synchronise(vec![machine("i-1")], at(0));
    assert_eq!(consoles.len(), 1);
    assert!(consoles.iter().all(|(id, text)| id == "i-1" && text.contains("user data is empty")));
    assert!(state.synchronise(vec![machine("i-1")], at(1)).is_empty());
    assert!(state.unsettled().is_empty() && state.next_due().is_none());
}

#[test]
fn a_pod_waits_for_its_node_lives_and_ends() {
    let mut state = state(Heartbeats::Computed);
    state.synchronise(vec![running()], at(0));
    state.apply(pod("a", None), at(1));
    assert!(step(&mut state, 1).is_empty(), "nobody speaks for it before its node has joined");
    assert_eq!(step(&mut state, 30), ["join i-1"]);
    assert_eq!(step(&mut state, 30), ["tell a Accepted"]);
    assert_eq!(step(&mut state, 31), ["ready i-1"]);
    assert_eq!(state.unsettled(), ["pod d/a starts"]);
    assert_eq!(step(&mut state, 33), ["tell a Ready"], "a second to pull, a second to start");
    assert!(state.unsettled().is_empty());
    state.apply(pod("b", None), at(40));
    assert_eq!(step(&mut state, 40), ["tell b Accepted"]);
    assert_eq!(step(&mut state, 41), ["tell b Ready"], "the image is there");
    state.apply(pod("a", Some(50)), at(50));
    assert_eq!(state.unsettled(), ["pod d/a terminates"]);
    assert!(step(&mut state, 50).is_empty());
    assert_eq!(step(&mut state, 51), ["tell a Ended"]);
    assert_eq!(step(&mut state, 51), ["remove a"]);
    state.forget("a");
    assert!(state.unsettled().is_empty());
}

#[test]
fn a_failed_write_is_tried_again_and_one_object_has_one_write_in_flight() {
    let mut state = state(Heartbeats::Computed);
    state.synchronise(vec![running()], at(0));
    step(&mut state, 30);
    state.apply(pod("a", None), at(35));
    assert_eq!(words(&state.due(at(35), 100)), ["ready i-1", "tell a Accepted"]);
    assert!(words(&state.due(at(60), 100)).is_empty(), "both are in flight");
    state.done(Done { key: Key::Pod("a".into()), outcome: Outcome::Failed }, at(60));
    assert_eq!(state.next_due(), Some(at(61)));
    let effects = state.due(at(61), 100);
    assert!(matches!(effects.as_slice(), [Effect::Tell { stage: Stage::Ready, .. }]), "by now it is further");
}

#[test]
fn pods_of_a_lost_machine_are_nobodys_work() {
    let mut state = state(Heartbeats::Computed);
    state.synchronise(vec![running()], at(0));
    step(&mut state, 30);
    state.apply(pod("a", Some(31)), at(31));
    state.synchronise(Vec::new(), at(31));
    let mut left = step(&mut state, 100);
    left.sort();
    assert_eq!(left, ["forsake i-1", "lease i-1"], "the last sign of life; and it was never ready, so that its Node goes");
    assert!(step(&mut state, 200).is_empty());
    assert!(state.unsettled().is_empty());
}

#[test]
fn what_a_new_list_lacks_is_forgotten() {
    let mut state = state(Heartbeats::Computed);
    state.synchronise(vec![running()], at(0));
    step(&mut state, 30);
    state.apply(pod("a", Some(31)), at(31));
    state.begin_list();
    state.list(pod("b", None), at(32));
    state.end_list();
    assert_eq!(state.unsettled(), ["machine i-1 (m5.large) has joined and is not ready yet", "pod d/b starts"]);
}

#[test]
fn the_same_seed_draws_the_same_whatever_the_order() {
    let joins = |ids: [&str; 2]| {
        let mut state = State::new(Entropy::from_seed(7), Profile::default());
        for id in ids {
            let known: Vec<Machine> =
                ids.iter().filter(|other| *other <= &id).map(|id| Machine { id: (*id).into(), ..running() }).collect();
            state.synchronise(known, at(0));
        }
        state.next_due()
    };
    assert_eq!(joins(["i-1", "i-2"]), joins(["i-2", "i-1"]));
}

fn problem(condition: &str, status: &str) -> Problem {
    Problem { condition: condition.into(), status: status.into(), reason: "R".into(), message: "m".into(), since: at(-60) }
}

/// A machine whose node has been ready since second 31.
fn ready(heartbeats: Heartbeats) -> State {
    let mut state = state(heartbeats);
    state.synchronise(vec![running()], at(0));
    (0..=31).for_each(|second| drop(step(&mut state, second)));
    state
}

#[test]
fn a_broken_node_says_so_at_once_and_until_it_is_mended() {
    let mut state = ready(Heartbeats::Computed);
    for status in ["False", "True"] {
        state.trouble("i-1", problem("KernelReady", status), at(40)).expect("a node that is ready");
        match state.due(at(40), 10).as_slice() {
            [Effect::Status { ready: true, problems, .. }] => assert_eq!(*problems, [problem("KernelReady", status)]),
            other => panic!("{:?}", words(other)),
        }
        state.done(Done { key: Key::Status("i-1".into()), outcome: Outcome::Written }, at(40));
    }
    assert_eq!(state.next_due(), None, "heartbeats are computed");
    assert!(state.trouble("i-2", problem("KernelReady", "False"), at(40)).is_err());
}

#[test]
fn a_silent_kubelet_ends_no_pod_and_comes_back_when_it_is_woken() {
    let mut state = ready(Heartbeats::Computed);
    state.trouble("i-1", problem("Ready", "Unknown"), at(40)).expect("a node that is ready");
    assert_eq!(step(&mut state, 40), ["lease i-1"], "its last sign of life");
    state.apply(pod("p", Some(41)), at(41));
    assert!(step(&mut state, 100).is_empty());
    assert!(state.trouble("i-1", problem("KernelReady", "False"), at(100)).is_err());
    state.trouble("i-1", problem("Ready", "True"), at(100)).expect("it wakes");
    assert_eq!(step(&mut state, 100), ["join i-1"]);
    assert_eq!(step(&mut state, 101), ["tell p Ended", "lease i-1", "ready i-1"], "its Lease is an object now, and the pod ends at last");
}

/// A pod that asks for `request` and uses 300Mi.
fn hungry(uid: &str, request: &str) -> Option<View> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": uid, "namespace": "d", "uid": uid, "annotations": { "usage.dryfit.dev/memory": "300Mi" } },
        "spec": { "nodeName": NODE, "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "memory": request } } }] },
        "status": { "qosClass": "Burstable" },
    }))
    .expect("a pod");
    View::of(&pod)
}

#[test]
fn a_node_that_is_short_of_memory_evicts_one_pod_after_the_other_until_it_is_not() {
    let mut state = ready(Heartbeats::Computed);
    for (uid, request) in [("a", "500Mi"), ("b", "100Mi"), ("c", "200Mi"), ("d", "400Mi")] {
        state.apply(hungry(uid, request), at(32));
    }
    (32..=39).for_each(|second| drop(step(&mut state, second)));
    state.trouble("i-1", problem("MemoryPressure", "True"), at(40)).expect("a node that is ready");
    assert_eq!(state.unsettled(), [format!("node {NODE} is short of something and evicts pods")]);
    assert_eq!(step(&mut state, 40), ["status i-1"]);
    assert_eq!(step(&mut state, 50), ["tell b Ended"], "it uses the most beyond what it asks for");
    assert!(step(&mut state, 59).is_empty());
    assert_eq!(step(&mut state, 60), ["tell c Ended"]);
    state.trouble("i-1", problem("MemoryPressure", "False"), at(65)).expect("a node that is ready");
    assert_eq!(step(&mut state, 65), ["status i-1"]);
    assert!(step(&mut state, 100).is_empty());
    assert!(state.unsettled().is_empty());
}

#[test]
fn a_node_without_disk_takes_no_pod_and_says_so() {
    let mut state = ready(Heartbeats::Computed);
    state.trouble("i-1", problem("DiskPressure", "True"), at(40)).expect("a node that is ready");
    state.apply(hungry("late", "100Mi"), at(41));
    match state.due(at(41), 10).as_slice() {
        [Effect::Status { .. }, Effect::Tell { patch, .. }] | [Effect::Tell { patch, .. }, Effect::Status { .. }] => {
            assert_eq!(patch["status"]["message"], "Pod was rejected: The node had condition: [DiskPressure]. ");
        }
        other => panic!("{:?}", words(other)),
    }
}

#[test]
fn a_pod_starts_when_its_volumes_are_attached() {
    let mut state = ready(Heartbeats::Computed);
    let mut view = pod("a", None).expect("a pod");
    view.claims = vec!["data".to_owned()];
    state.apply(Some(view), at(40));
    assert_eq!(step(&mut state, 40), ["tell a Accepted"]);
    assert_eq!(step(&mut state, 40), ["volumes of a"]);
    assert_eq!(state.unsettled(), ["pod d/a starts"]);
    assert_eq!(step(&mut state, 41), ["volumes of a"]);
    assert_eq!(step(&mut state, 45), ["volumes of a"], "and now they are there");
    assert!(step(&mut state, 46).is_empty());
    assert_eq!(step(&mut state, 47), ["tell a Ready"], "a second to pull, a second to start");
    assert!(state.unsettled().is_empty());
}

/// What is said between two seconds, both included.
fn heard(state: &mut State, from: i64, to: i64) -> Vec<String> {
    let all = (from..=to).flat_map(|second| step(state, second).into_iter().chain(step(state, second)).collect::<Vec<_>>());
    all.filter_map(|one| one.strip_prefix("say ").map(str::to_owned)).collect()
}

#[test]
fn a_kubelet_says_what_happens_to_its_node() {
    let mut state = state_with(Heartbeats::Computed, true);
    state.synchronise(vec![running()], at(0));
    let now = |reason: &str| format!("{reason}: Node {NODE} status is now: {reason}");
    let start = [
        "Starting: Starting kubelet.".to_owned(),
        now("NodeHasSufficientMemory"),
        now("NodeHasNoDiskPressure"),
        now("NodeHasSufficientPID"),
        "NodeAllocatableEnforced: Updated Node Allocatable limit across pods".to_owned(),
    ];
    assert_eq!(heard(&mut state, 0, 31), [start.join(", "), now("NodeReady")]);
    state.trouble("i-1", problem("MemoryPressure", "True"), at(40)).expect("a node that is ready");
    let threshold = "EvictionThresholdMet: Attempting to reclaim memory".to_owned();
    assert_eq!(heard(&mut state, 40, 50), [now("NodeHasInsufficientMemory"), threshold]);
    state.trouble("i-1", problem("MemoryPressure", "False"), at(55)).expect("a node that is ready");
    let again = now("NodeHasSufficientMemory").replace("Memory: N", "Memory x2: N");
    assert_eq!(heard(&mut state, 55, 60), [again], "the event that is there is counted");
    state.trouble("i-1", problem("KernelReady", "False"), at(70)).expect("a node that is ready");
    assert!(heard(&mut state, 70, 71).is_empty(), "that is the monitoring agent's");
}

#[test]
fn a_kubelet_says_what_happens_to_its_pods() {
    let mut state = state_with(Heartbeats::Computed, true);
    state.synchronise(vec![running()], at(0));
    heard(&mut state, 0, 39);
    state.apply(pod("a", None), at(40));
    assert_eq!(
        heard(&mut state, 40, 45),
        [
            "Pulling: Pulling image \"i\"",
            "Pulled: Successfully pulled image \"i\" in 1s (1s including waiting). Image size: 0 bytes.",
            "Created: Container created, Started: Container started",
        ]
    );
    state.apply(pod("b", None), at(50));
    let heard_of_b = heard(&mut state, 50, 55);
    assert_eq!(
        heard_of_b.first().map(String::as_str),
        Some("Pulled: Container image \"i\" already present on machine and can be accessed by the pod")
    );
    state.apply(pod("a", Some(60)), at(60));
    assert_eq!(heard(&mut state, 60, 61), ["Killing: Stopping container c"]);
}

#[test]
fn what_could_not_be_said_is_said_again() {
    let mut state = state_with(Heartbeats::Computed, true);
    state.synchronise(vec![running()], at(0));
    let said = |state: &mut State, second: i64| {
        state.due(at(second), 100).into_iter().find_map(|effect| match effect {
            Effect::Say { key, tellings, .. } => Some((key, said(&tellings))),
            _ => None,
        })
    };
    step(&mut state, 30);
    let (key, first) = said(&mut state, 30).expect("it starts");
    state.done(Done { key, outcome: Outcome::Failed }, at(30));
    assert_eq!(said(&mut state, 31).map(|(_, again)| again), Some(first));
}

/// Like [`pod`], but its container is a process.
fn process_pod(uid: &str, deleted: Option<i64>) -> Option<View> {
    let http = |path: &str| json!({ "path": path, "port": 8081 });
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": uid, "namespace": "d", "uid": uid },
        "spec": { "nodeName": NODE, "terminationGracePeriodSeconds": 30, "containers": [{
            "name": "c", "image": "i",
            "readinessProbe": { "httpGet": http("/readyz"), "initialDelaySeconds": 5, "periodSeconds": 10 },
            "livenessProbe": { "httpGet": http("/healthz"), "initialDelaySeconds": 30, "periodSeconds": 10, "failureThreshold": 2 },
        }] },
    }))
    .expect("a pod");
    if let Some(second) = deleted {
        pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(second + 30)));
        pod.metadata.deletion_grace_period_seconds = Some(30);
    }
    Some(View::of(&pod)?.with_processes(&pod, |image| image == "i"))
}

/// A ready node with a pod of a process, at second 31.
fn with_process(events: bool) -> State {
    let mut state = state_with(Heartbeats::Computed, events);
    state.synchronise(vec![running()], at(0));
    step(&mut state, 30);
    step(&mut state, 31);
    step(&mut state, 31);
    state.apply(process_pod("p", None), at(31));
    state
}

fn process() -> Id {
    Id { uid: "p".into(), container: "c".into() }
}

/// What is done at `second` until nothing more follows.
fn steps(state: &mut State, second: i64) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let more = step(state, second);
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

fn ends(state: &mut State, second: i64, code: i32) {
    state.process_ended(&process(), Exit { code, at: at(second) }, at(second));
}

/// The status of the container as it is told next.
fn told(state: &mut State, second: i64) -> serde_json::Value {
    let effects = state.due(at(second), 100);
    let mut told = serde_json::Value::Null;
    for effect in effects {
        if let Effect::Tell { uid, stage, turn, patch, .. } = effect {
            told = patch["status"]["containerStatuses"][0].clone();
            state.done(Done { key: Key::Pod(uid), outcome: Outcome::Told { stage, turn, view: None } }, at(second));
        }
    }
    told
}

#[test]
fn a_process_makes_its_pod_ready_and_ends_it() {
    let mut state = with_process(false);
    assert_eq!(steps(&mut state, 31), ["tell p Accepted"]);
    assert!(steps(&mut state, 32).is_empty());
    assert_eq!(steps(&mut state, 33), ["start c of p", "tell p Running"]);
    assert!(steps(&mut state, 37).is_empty());
    assert_eq!(steps(&mut state, 38), ["ask c of p for Readiness"]);
    assert_eq!(state.unsettled(), ["pod d/p starts"]);
    assert_eq!(steps(&mut state, 48), ["ask c of p for Readiness", "tell p Ready"]);
    assert!(state.unsettled().is_empty());
    state.apply(process_pod("p", Some(50)), at(50));
    assert_eq!(steps(&mut state, 50), ["stop c of p in 30s"]);
    assert!(steps(&mut state, 58).is_empty(), "nobody is asked any more");
    ends(&mut state, 59, 0);
    assert_eq!(steps(&mut state, 59), ["tell p Ended", "remove p"]);
}

#[test]
fn a_process_that_fails_starts_again_and_waits_longer_each_time() {
    let mut state = with_process(false);
    steps(&mut state, 33);
    ends(&mut state, 34, 1);
    assert_eq!(steps(&mut state, 34), ["tell p Running", "start c of p", "tell p Running"]);
    assert!(state.unsettled().is_empty(), "whether it ever works is not for the world to wait for");
    ends(&mut state, 36, 2);
    let status = told(&mut state, 36);
    assert_eq!(status["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(status["state"]["waiting"]["message"], "back-off 10s restarting failed container=c pod=p_d(p)");
    let last = &status["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"], &status["restartCount"]), (&json!(2), &json!("Error"), &json!(1)));
    assert!(steps(&mut state, 45).is_empty());
    assert_eq!(steps(&mut state, 46), ["start c of p", "tell p Running"]);
    ends(&mut state, 47, 137);
    assert_eq!(told(&mut state, 47)["state"]["waiting"]["message"], "back-off 20s restarting failed container=c pod=p_d(p)");
    assert!(steps(&mut state, 66).is_empty());
    assert_eq!(steps(&mut state, 67), ["start c of p", "tell p Running"]);
    // The probe of the new run counts from its start.
    assert_eq!(steps(&mut state, 72), ["ask c of p for Readiness", "tell p Ready"]);
}

#[test]
fn a_process_that_hangs_is_started_anew_and_its_pod_s_events_say_so() {
    let mut state = with_process(true);
    (31..100).for_each(|second| drop(steps(&mut state, second)));
    let all: Vec<String> = (100..115).flat_map(|second| steps(&mut state, second)).filter(|what| !what.starts_with("ask")).collect();
    assert_eq!(
        all,
        [
            "say Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 500",
            "say Unhealthy x2: Liveness probe failed: HTTP probe failed with statuscode: 500, \
             Killing: Container c failed liveness probe, will be restarted",
            "stop c of p in 30s",
        ]
    );
    ends(&mut state, 120, 0);
    let effects = state.due(at(120), 100);
    assert_eq!(words(&effects), ["tell p Ready", "start c of p"]);
    let Effect::Tell { patch, .. } = &effects[0] else { panic!("the status is told") };
    let status = &patch["status"]["containerStatuses"][0];
    assert_eq!((&status["state"]["terminated"]["reason"], &status["ready"]), (&json!("Completed"), &json!(false)));
}

#[test]
fn nobody_s_processes_end_at_once() {
    let mut state = with_process(false);
    steps(&mut state, 33);
    state.forget("p");
    assert_eq!(steps(&mut state, 34), ["stop c of p in 0s"]);
    assert!(steps(&mut state, 40).is_empty());

    let mut state = with_process(false);
    steps(&mut state, 33);
    state.synchronise(vec![], at(35));
    assert!(steps(&mut state, 35).contains(&"stop c of p in 0s".to_owned()));

    // It was being started when its pod went.
    let mut state = with_process(false);
    steps(&mut state, 31);
    let effects = state.due(at(33), 100);
    assert_eq!(words(&effects), ["start c of p"]);
    state.forget("p");
    state.done(Done { key: Key::Process(process()), outcome: Outcome::Started(Ok(())) }, at(34));
    assert_eq!(steps(&mut state, 34), ["stop c of p in 0s"]);
}

#[test]
fn a_process_without_its_settings_waits_for_them() {
    let mut state = with_process(false);
    steps(&mut state, 31);
    assert_eq!(words(&state.due(at(33), 100)), ["start c of p"]);
    let why = ("CreateContainerConfigError", "configmap \"settings\" not found".to_owned());
    state.done(Done { key: Key::Process(process()), outcome: Outcome::Started(Err(why)) }, at(33));
    let waiting = told(&mut state, 33)["state"]["waiting"].clone();
    assert_eq!(waiting, json!({ "reason": "CreateContainerConfigError", "message": "configmap \"settings\" not found" }));
    assert!(steps(&mut state, 42).is_empty());
    assert_eq!(steps(&mut state, 43), ["start c of p", "tell p Running"]);
}
