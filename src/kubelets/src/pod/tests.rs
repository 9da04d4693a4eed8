use ambient::Entropy;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::profile::{Profile, Range};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("in range")
}

/// Everything takes exactly a second.
fn profile() -> Profile {
    let second = Range::millis(1000, 1000);
    Profile { image_pull: second, start: second, init: second, stop: second, ..Default::default() }
}

fn view(spec: Value) -> View {
    let pod = json!({ "metadata": { "name": "p", "namespace": "d", "uid": "u" }, "spec": spec });
    let mut pod: Pod = serde_json::from_value(pod).expect("a pod");
    pod.spec.get_or_insert_default().node_name = Some("n".into());
    View::of(&pod).expect("it is bound")
}

fn one() -> Value {
    json!({ "containers": [{ "name": "c", "image": "i" }] })
}

fn life(view: &View, pulled: bool) -> Life {
    Life::begin(view, &profile(), &mut Entropy::from_seed(1).stream("pod"), at(0), at(10), |_| pulled)
}

#[rstest]
#[case::pulls_and_starts(one(), false, 12, 12)]
#[case::has_the_image(one(), true, 11, 11)]
#[case::host_network_waits_for_no_network(json!({ "hostNetwork": true, "containers": [{ "name": "c" }] }), true, 1, 1)]
#[case::init_containers_come_first(json!({ "initContainers": [{ "name": "i" }], "containers": [{ "name": "c" }] }), true, 13, 13)]
#[case::a_sidecar_only_starts(
    json!({ "initContainers": [{ "name": "i", "restartPolicy": "Always" }], "containers": [{ "name": "c" }] }), true, 12, 12)]
#[case::probes(
    json!({ "containers": [{ "name": "c",
        "startupProbe": { "initialDelaySeconds": 3 },
        "readinessProbe": { "initialDelaySeconds": 5, "periodSeconds": 2, "successThreshold": 3 } }] }), true, 11, 23)]
fn a_pod_starts(#[case] spec: Value, #[case] pulled: bool, #[case] running: i64, #[case] ready: i64) {
    let life = life(&view(spec), pulled);
    assert_eq!((life.running, life.ready), (at(running), at(ready)));
}

#[test]
fn stages_follow_the_clock_and_say_when_the_next_is() {
    let life = life(&view(json!({ "containers": [{ "name": "c", "readinessProbe": { "initialDelaySeconds": 5 } }] })), true);
    assert_eq!(life.stage(at(0)), (Stage::Accepted, Some(at(11))));
    assert_eq!(life.stage(at(11)), (Stage::Running, Some(at(16))));
    assert_eq!(life.stage(at(16)), (Stage::Ready, None));
}

#[rstest]
#[case::stops_soon(30, 0, 51)]
#[case::no_longer_than_the_grace(0, 0, 50)]
#[case::after_its_hook(30, 7, 58)]
#[case::killed_in_its_hook(5, 60, 55)]
fn a_deleted_pod_ends(#[case] grace: i64, #[case] hook: i64, #[case] ended: i64) {
    let hook = json!({ "preStop": { "exec": { "command": ["sh", "-c", format!("sleep {hook}; true")] } } });
    let mut view = view(json!({ "containers": [{ "name": "c", "lifecycle": hook }] }));
    let mut life = life(&view, true);
    view.deletion = Some(Deletion { deadline: at(50 + grace), grace: SignedDuration::from_secs(grace) });
    life.delete(&view, at(50));
    assert_eq!(life.ended, Some(at(ended)));
    assert_eq!(life.stage(at(ended)), (Stage::Ended, None));
    assert!(grace == 0 || life.stage(at(50)) == (Stage::Ready, Some(at(ended))));
    // Seen again, nothing moves; made shorter, the end comes earlier.
    life.delete(&view, at(50));
    assert_eq!(life.ended, Some(at(ended)));
    view.deletion = Some(Deletion { deadline: at(50), grace: SignedDuration::ZERO });
    life.delete(&view, at(50));
    assert_eq!(life.ended, Some(at(50)));
}

fn told(view: &View, life: &Life, stage: Stage) -> Value {
    status(view, life, stage, "100.64.0.1", "192.168.0.1", at(99))
}

fn of<'a>(status: &'a Value, kind: &str) -> &'a Value {
    status["status"]["conditions"].as_array().and_then(|all| all.iter().find(|one| one["type"] == kind)).expect("it is there")
}

#[test]
fn the_status_tells_the_stage() {
    let view = view(json!({ "initContainers": [{ "name": "i" }], "containers": [{ "name": "c", "image": "i" }] }));
    let mut life = life(&view, true);
    let accepted = told(&view, &life, Stage::Accepted);
    assert_eq!(accepted["metadata"]["uid"], "u");
    assert_eq!(accepted["status"]["phase"], "Pending");
    assert!(accepted["status"].get("podIP").is_none());
    assert_eq!(accepted["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    assert_eq!(of(&accepted, "Initialized")["status"], "False");
    let running = told(&view, &life, Stage::Running);
    assert_eq!(running["status"]["phase"], "Running");
    assert_eq!(running["status"]["podIP"], "100.64.0.1");
    assert_eq!(running["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    assert_eq!(of(&running, "Ready")["reason"], "ContainersNotReady");
    let ready = told(&view, &life, Stage::Ready);
    assert_eq!(ready["status"]["containerStatuses"][0]["ready"], true);
    for kind in ["Initialized", "PodReadyToStartContainers", "ContainersReady", "Ready", "PodScheduled"] {
        assert_eq!(of(&ready, kind)["status"], "True", "{kind}");
    }
    life.ended = Some(at(60));
    let ended = told(&view, &life, Stage::Ended);
    assert_eq!(ended["status"]["phase"], "Succeeded");
    assert_eq!(ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    life.ended = Some(at(1));
    assert_eq!(told(&view, &life, Stage::Ended)["status"]["phase"], "Failed", "its containers never ran");
}

#[test]
fn conditions_of_others_stay() {
    let mut view = view(one());
    let gate = PodCondition { type_: "target-health".into(), status: "True".into(), ..Default::default() };
    view.conditions = vec![gate];
    assert_eq!(of(&told(&view, &life(&view, true), Stage::Ready), "target-health")["status"], "True");
}
