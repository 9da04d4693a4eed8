use ambient::Entropy;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::admission::Refusal;
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

fn begin(view: &View, now: Timestamp, images: &mut Images) -> Life {
    Life::begin(view, &profile(), &mut Entropy::from_seed(1).stream("pod"), now, at(10), images)
}

fn life(view: &View, pulled: bool) -> Life {
    let all = view.init.iter().chain(&view.containers).filter(|_| pulled);
    let mut images = all.map(|container| (container.image.clone(), at(0))).collect();
    begin(view, at(0), &mut images)
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

/// What is told at some moment, in short: phase, Ready and its reason, the first container's state.
fn in_short(view: &View, life: &Life, second: i64) -> String {
    let (stage, _, _) = life.progress(view, at(second));
    let patch = status(view, life, stage, "10.0.0.1", "10.0.0.2", at(second));
    let told = &patch["status"];
    let ready = told["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Ready").unwrap();
    let container = &told["containerStatuses"][0];
    let state = container["state"].as_object().unwrap().iter().next().unwrap();
    let reason = ready["reason"].as_str().unwrap_or("-");
    let (phase, ready) = (told["phase"].as_str().unwrap(), ready["status"].as_str().unwrap());
    let detail = state.1["reason"].as_str().unwrap_or_default();
    format!("{phase}, Ready {ready} {reason}, {} {detail}, {} restarts", state.0, container["restartCount"])
}

fn command(policy: &str, script: &str) -> View {
    view(json!({ "restartPolicy": policy, "containers": [{ "name": "c", "image": "i", "command": ["sh", "-c", script] }] }))
}

// The containers start in the eleventh second.
#[rstest]
#[case::runs("Never", "sleep 5", 12, "Running, Ready True -, running , 0 restarts")]
#[case::succeeds("Never", "sleep 5", 16, "Succeeded, Ready False PodCompleted, terminated Completed, 0 restarts")]
#[case::fails("Never", "sleep 5; exit 3", 16, "Failed, Ready False PodFailed, terminated Error, 0 restarts")]
#[case::starts_again("Always", "sleep 5", 16, "Running, Ready True -, running , 1 restarts")]
#[case::and_again_after_a_while(
    "OnFailure",
    "sleep 5; false",
    21,
    "Running, Ready False ContainersNotReady, waiting CrashLoopBackOff, 1 restarts"
)]
#[case::until_it_does("OnFailure", "sleep 5; false", 31, "Running, Ready True -, running , 2 restarts")]
fn a_program_that_ends_ends_its_pod_or_starts_again(#[case] policy: &str, #[case] script: &str, #[case] second: i64, #[case] expect: &str) {
    let view = command(policy, script);
    assert_eq!(in_short(&view, &life(&view, true), second), expect);
}

#[test]
fn each_turn_of_a_restart_is_told_and_the_next_is_known() {
    let view = command("OnFailure", "sleep 5; false");
    let life = life(&view, true);
    let (mut second, mut turns) = (at(11), Vec::new());
    for _ in 0..5 {
        let (stage, turn, next) = life.progress(&view, second);
        turns.push((second.as_second() - at(0).as_second(), stage, turn));
        second = next.unwrap();
    }
    let numbers: Vec<u32> = turns.iter().map(|(_, _, turn)| *turn).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "{turns:?}");
    let seconds: Vec<i64> = turns.iter().map(|(second, _, _)| *second).collect();
    assert_eq!(seconds, [11, 16, 21, 31, 36]);
}

#[test]
fn an_annotation_says_when_a_pod_ends() {
    let pod = json!({ "metadata": { "name": "p", "uid": "u", "annotations": { "run.dryfit.dev/ends": "7s=2" } },
        "spec": { "nodeName": "n", "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } });
    let view = View::of(&serde_json::from_value(pod).unwrap()).unwrap();
    assert_eq!(in_short(&view, &life(&view, true), 18), "Failed, Ready False PodFailed, terminated Error, 0 restarts");
}

#[test]
fn readiness_gates_hold_a_ready_pod_back() {
    let mut view =
        view(json!({ "readinessGates": [{ "conditionType": "example.com/up" }], "containers": [{ "name": "c", "image": "i" }] }));
    let life = life(&view, true);
    assert_eq!(in_short(&view, &life, 12), "Running, Ready False ReadinessGatesNotReady, running , 0 restarts");
    let turn = life.progress(&view, at(12)).1;
    view.conditions.push(PodCondition { type_: "example.com/up".into(), status: "True".into(), ..Default::default() });
    assert_eq!(in_short(&view, &life, 13), "Running, Ready True -, running , 0 restarts");
    assert_ne!(life.progress(&view, at(13)).1, turn, "there is something to tell");
}

fn init(policy: &str, script: &str) -> View {
    view(json!({ "restartPolicy": policy,
        "initContainers": [{ "name": "first", "image": "i" }, { "name": "second", "image": "i", "command": ["sh", "-c", script] }],
        "containers": [{ "name": "c", "image": "i" }] }))
}

/// What is told of the init containers, in short.
fn initials(view: &View, life: &Life, second: i64) -> String {
    let (stage, _, _) = life.progress(view, at(second));
    let patch = status(view, life, stage, "10.0.0.1", "10.0.0.2", at(second));
    let of = |list: &str| {
        let each = patch["status"][list].as_array().unwrap().iter().map(|one| {
            let state = one["state"].as_object().unwrap().iter().next().unwrap();
            format!("{} {} {}", state.0, state.1["reason"].as_str().unwrap_or("-"), one["restartCount"])
        });
        each.collect::<Vec<_>>().join(", ")
    };
    format!("{}: {} | {}", patch["status"]["phase"].as_str().unwrap(), of("initContainerStatuses"), of("containerStatuses"))
}

// The first starts in the eleventh second, and takes one; the second starts in the thirteenth.
#[rstest]
#[case::not_yet("Always", "sleep 5", 10, "Pending: waiting PodInitializing 0, waiting PodInitializing 0 | waiting PodInitializing 0")]
#[case::one_after_the_other("Always", "sleep 5", 13, "Pending: terminated Completed 0, running - 0 | waiting PodInitializing 0")]
#[case::then_the_rest("Always", "sleep 5", 19, "Running: terminated Completed 0, terminated Completed 0 | running - 0")]
#[case::fails("Never", "sleep 5; exit 3", 18, "Failed: terminated Completed 0, terminated Error 0 | waiting PodInitializing 0")]
#[case::fails_again(
    "OnFailure",
    "sleep 5; false",
    23,
    "Pending: terminated Completed 0, waiting CrashLoopBackOff 1 | waiting PodInitializing 0"
)]
#[case::and_again("Always", "sleep 5; false", 33, "Pending: terminated Completed 0, running - 2 | waiting PodInitializing 0")]
fn init_containers_run_one_after_the_other_and_may_fail(
    #[case] policy: &str,
    #[case] script: &str,
    #[case] second: i64,
    #[case] expect: &str,
) {
    let view = init(policy, script);
    assert_eq!(initials(&view, &life(&view, true), second), expect);
}

#[test]
fn each_step_of_the_init_containers_is_told() {
    let view = init("Always", "sleep 5; false");
    let life = life(&view, true);
    let (mut second, mut told) = (at(0), Vec::new());
    for _ in 0..8 {
        let (_, turn, next) = life.progress(&view, second);
        told.push((second.as_second() - at(0).as_second(), turn));
        second = next.expect("there is more");
    }
    assert_eq!(told.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [0, 11, 12, 13, 18, 23, 33, 38]);
    assert!(told.windows(2).all(|pair| pair[0].1 < pair[1].1), "{told:?}");
}

#[test]
fn a_sidecar_that_ends_starts_again() {
    let view = view(json!({ "initContainers": [{ "name": "s", "restartPolicy": "Always", "command": ["sleep", "5"] }],
        "containers": [{ "name": "c" }] }));
    let life = life(&view, true);
    assert_eq!(initials(&view, &life, 12), "Running: running - 0 | running - 0");
    assert_eq!(initials(&view, &life, 21), "Running: waiting CrashLoopBackOff 1 | running - 0");
}

#[test]
fn what_wants_too_much_memory_is_killed_and_starts_again() {
    let pod = json!({ "metadata": { "name": "p", "uid": "u", "annotations": { "run.dryfit.dev/ends": "7s=oom" } },
        "spec": { "nodeName": "n", "containers": [{ "name": "c", "image": "i" }] } });
    let view = View::of(&serde_json::from_value(pod).unwrap()).unwrap();
    let life = life(&view, true);
    let patch = status(&view, &life, Stage::Ready, "", "", at(19));
    let last = &patch["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((last["reason"].as_str(), last["exitCode"].as_i64()), (Some("OOMKilled"), Some(137)));
    assert_eq!(patch["status"]["containerStatuses"][0]["restartCount"], 1);
    let waits = "Running, Ready False ContainersNotReady, waiting CrashLoopBackOff, 1 restarts";
    assert_eq!(in_short(&view, &life, 25), waits);
}

#[test]
fn a_pod_that_outlives_its_deadline_has_failed_and_says_why() {
    let view = view(json!({ "activeDeadlineSeconds": 3, "containers": [{ "name": "c", "image": "i" }] }));
    let mut life = life(&view, true);
    assert_eq!(view.deadline(&life), Some(life.accepted.saturating_add(SignedDuration::from_secs(3)).unwrap()));
    life.expire(at(30));
    let told = status(&view, &life, Stage::Ended, "10.0.0.9", "10.0.0.1", at(30))["status"].clone();
    assert_eq!((&told["phase"], &told["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")));
    assert_eq!(told["message"], "Pod was active on the node longer than the specified deadline");
    assert!(told["conditions"].as_array().unwrap().iter().all(|one| one["type"] != "DisruptionTarget"));
}

#[test]
fn an_image_that_another_pod_pulls_is_waited_for() {
    let view = view(one());
    let mut images = Images::new();
    let first = begin(&view, at(0), &mut images);
    let there = first.pulls[0].until;
    assert!(first.pulls[0].fetched && there > at(10));
    let second = begin(&view, at(0), &mut images);
    assert_eq!((second.pulls[0].until, second.pulls[0].fetched), (there, true));
    let later = begin(&view, at(60), &mut images);
    assert_eq!((later.pulls[0].until, later.pulls[0].fetched), (at(60), false), "it is there");
    // Who comes first pulls, whatever another pod will pull later.
    let mut images = Images::from([(view.containers[0].image.clone(), at(500))]);
    assert_eq!(begin(&view, at(0), &mut images).pulls[0].until, there);
}

#[test]
fn an_evicted_pod_has_failed_and_says_why() {
    let view = view(one());
    let mut life = life(&view, true);
    life.evict("The node was low on resource: memory. ".to_owned(), at(30));
    let (stage, _, _) = life.progress(&view, at(30));
    let told = &status(&view, &life, stage, "10.0.0.1", "10.0.0.2", at(30))["status"];
    assert_eq!((&told["phase"], &told["reason"]), (&json!("Failed"), &json!("Evicted")));
    let ended = &told["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(137), &json!("Error")));
    let target = told["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "DisruptionTarget").unwrap();
    assert_eq!((&target["reason"], &target["message"]), (&json!("TerminationByKubelet"), &told["message"]));
}

/// `5 Reason spec.…`, by seconds.
fn told_until(view: &View, life: &Life, second: i64) -> Vec<String> {
    let line = |word: &crate::words::Word| format!("{} {} {}", word.at.as_second() - at(0).as_second(), word.reason, word.field);
    words(view, life, at(second)).iter().map(line).collect()
}

#[test]
fn containers_are_spoken_of_in_the_order_in_which_they_start() {
    let view = view(
        json!({ "initContainers": [{ "name": "i", "image": "a" }], "containers": [{ "name": "c", "image": "b", "imagePullPolicy": "Always" }] }),
    );
    let life = life(&view, false);
    let said = told_until(&view, &life, 60);
    let (init, main) = ("spec.initContainers{i}", "spec.containers{c}");
    let expect = [
        "0 NetworkNotReady ".to_owned(),
        format!("10 Pulling {init}"),
        format!("11 Pulled {init}"),
        format!("12 Created {init}"),
        format!("12 Started {init}"),
        format!("13 Pulling {main}"),
        format!("14 Pulled {main}"),
        format!("15 Created {main}"),
        format!("15 Started {main}"),
    ];
    assert_eq!(said, expect);
    // What was said stays said.
    for second in 0..60 {
        let before = told_until(&view, &life, second);
        assert_eq!(before, said[..before.len()]);
    }
    assert_eq!(next_word(&life, at(11)), Some(at(12)));
    assert_eq!(next_word(&life, at(15)), None);
}

#[test]
fn a_container_that_fails_again_and_again_is_spoken_of_each_time() {
    let mut view = view(json!({ "containers": [{ "name": "c", "image": "b", "command": ["false"] }] }));
    let mut life = life(&view, true);
    let said = told_until(&view, &life, 40);
    let c = "spec.containers{c}";
    let expect = ["0 NetworkNotReady ".to_owned()]
        .into_iter()
        .chain(
            [(10, "Pulled"), (11, "Created"), (11, "Started"), (11, "Pulled"), (11, "Created"), (11, "Started"), (11, "BackOff")]
                .map(|(at, what)| format!("{at} {what} {c}")),
        )
        .chain([(21, "Pulled"), (21, "Created"), (21, "Started"), (21, "BackOff")].map(|(at, what)| format!("{at} {what} {c}")));
    assert_eq!(said, expect.collect::<Vec<_>>());
    let back_off = words(&view, &life, at(40)).into_iter().find(|word| word.reason == "BackOff").expect("it failed twice");
    assert_eq!(back_off.message, "Back-off restarting failed container c in pod p_d(u)");
    // It waits when its deletion comes: there is nothing to stop.
    view.deletion = Some(Deletion { deadline: at(60), grace: SignedDuration::from_secs(30) });
    life.delete(&view, at(30));
    assert!(!told_until(&view, &life, 99).iter().any(|line| line.contains("Killing") || line.starts_with("41")));
}

#[test]
fn an_evicted_pod_is_told_why_and_then_stopped() {
    let view = view(one());
    let mut life = life(&view, true);
    life.evict("The node was low on resource: memory. ".to_owned(), at(50));
    let last: Vec<_> = words(&view, &life, at(50))
        .into_iter()
        .filter(|word| word.at == at(50))
        .map(|word| (word.warning, word.reason.into_owned(), word.message))
        .collect();
    let expect = [(true, "Evicted", "The node was low on resource: memory. "), (false, "Killing", "Stopping container c")];
    assert_eq!(last, expect.map(|(warning, reason, message)| (warning, reason.to_owned(), message.to_owned())));
}

#[test]
fn of_a_pod_that_ran_before_only_its_end_is_told() {
    let view = view(one());
    let mut life = Life::resume(&view, &profile(), &mut Entropy::from_seed(1).stream("pod"), at(5));
    assert!(words(&view, &life, at(50)).is_empty());
    life.evict("m".to_owned(), at(60));
    assert_eq!(told_until(&view, &life, 60), ["60 Evicted ", "60 Killing spec.containers{c}"]);
}

#[test]
fn a_refusal_is_told_without_what_the_status_adds() {
    let view = view(one());
    let life = Life::refused(&view, Refusal::new("Evicted", "The node had condition: [DiskPressure]. "), at(5));
    let said = words(&view, &life, at(5));
    assert_eq!((said[0].reason.as_ref(), said[0].message.as_str()), ("Evicted", "The node had condition: [DiskPressure]. "));
    assert_eq!(told(&view, &life, Stage::Ended)["status"]["message"], "Pod was rejected: The node had condition: [DiskPressure]. ");
}
