//! Jobs by schedule, what a Job makes of failures, and preemption's promises.

use super::*;

fn end(world: &mut World, name: &str, exit: i64) {
    let now = at(world.now).to_string();
    let ended = json!({ "exitCode": exit, "startedAt": now, "finishedAt": now });
    world.change("pods", name, Some("status"), |pod| {
        pod["status"]["phase"] = json!(if exit == 0 { "Succeeded" } else { "Failed" });
        pod["status"]["containerStatuses"] = json!([{ "name": "c", "state": { "terminated": ended } }]);
    });
}

fn job(spec: Value) -> Value {
    let mut job = json!({ "metadata": { "name": "j" }, "spec": { "template": { "spec": {
        "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } } } });
    for (key, value) in spec.as_object().unwrap() {
        job["spec"][key] = value.clone();
    }
    job
}

fn indexed(completions: i64, more: Value) -> Value {
    let mut spec = json!({ "completionMode": "Indexed", "completions": completions, "parallelism": completions });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    job(spec)
}

/// The live pod of an index, or of a Job without.
fn pod_of(world: &World, index: &str) -> String {
    let of = |pod: &Arc<Value>| {
        let mark = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap_or_default().to_owned();
        mark == index && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
    };
    world.pods().iter().find(|pod| of(pod)).unwrap()["metadata"]["name"].as_str().unwrap().to_owned()
}

fn last_condition(world: &World) -> Value {
    world.get("batch/jobs", "j")["status"]["conditions"].as_array().unwrap().last().unwrap().clone()
}

#[test]
fn a_limit_per_index_fails_the_index_and_lets_the_others_go_on() {
    let mut world = World::new();
    world.create("batch/jobs", indexed(2, json!({ "backoffLimitPerIndex": 1 })));
    let first = pod_of(&world, "0");
    end(&mut world, &first, 1);
    assert!(world.pods().iter().any(|pod| pod["metadata"]["name"] == first.as_str() && pod["metadata"]["finalizers"].is_array()));
    assert!(world.get("batch/jobs", "j")["status"]["failed"].is_null(), "it is counted once its successor is there");
    world.to(world.now + 11);
    let second = pod_of(&world, "0");
    let notes = world.get("pods", &second)["metadata"]["annotations"].clone();
    assert_eq!(notes["batch.kubernetes.io/job-index-failure-count"], "1");
    assert_eq!(world.get("batch/jobs", "j")["status"]["failed"], 1);
    end(&mut world, &second, 1);
    world.to(world.now + 100);
    let status = world.get("batch/jobs", "j")["status"].clone();
    assert_eq!((&status["failedIndexes"], &status["failed"], &status["active"]), (&json!("0"), &json!(2), &json!(1)), "{status}");
    let other = pod_of(&world, "1");
    end(&mut world, &other, 0);
    let last = last_condition(&world);
    assert_eq!((&last["type"], &last["reason"]), (&json!("Failed"), &json!("FailedIndexes")));
}

#[rstest]
#[case::fails_the_job("FailJob", "Failed", "PodFailurePolicy")]
#[case::fails_the_index("FailIndex", "Failed", "FailedIndexes")]
fn a_policy_decides_what_a_failure_is(#[case] action: &str, #[case] kind: &str, #[case] reason: &str) {
    let mut world = World::new();
    let rule = json!({ "action": action, "onExitCodes": { "containerName": "c", "operator": "In", "values": [42] } });
    world.create("batch/jobs", indexed(1, json!({ "backoffLimitPerIndex": 5, "podFailurePolicy": { "rules": [rule] } })));
    let pod = pod_of(&world, "0");
    end(&mut world, &pod, 42);
    let last = last_condition(&world);
    assert_eq!((&last["type"], &last["reason"]), (&json!(kind), &json!(reason)), "{last}");
    if action == "FailJob" {
        let said = format!("Container c for pod default/{pod} failed with exit code 42 matching FailJob rule at index 0");
        assert_eq!(last["message"], said);
    }
}

#[test]
fn an_ignored_failure_does_not_count() {
    let mut world = World::new();
    let rule = json!({ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] });
    world.create("batch/jobs", job(json!({ "backoffLimit": 0, "podFailurePolicy": { "rules": [rule] } })));
    let pod = pod_of(&world, "");
    let condition = json!([{ "type": "DisruptionTarget", "status": "True" }]);
    world.change("pods", &pod, Some("status"), |pod| {
        pod["status"]["phase"] = json!("Failed");
        pod["status"]["conditions"] = condition;
    });
    world.to(world.now + 20);
    let status = world.get("batch/jobs", "j")["status"].clone();
    assert_eq!((&status["failed"], &status["active"]), (&Value::Null, &json!(1)), "{status}");
}

#[test]
fn a_policy_of_success_ends_the_job_early() {
    let mut world = World::new();
    world.create("batch/jobs", indexed(3, json!({ "successPolicy": { "rules": [{ "succeededIndexes": "0-1", "succeededCount": 1 }] } })));
    let pod = pod_of(&world, "1");
    end(&mut world, &pod, 0);
    world.to(world.now + 40);
    world.kubelets();
    let last = last_condition(&world);
    assert_eq!(
        (&last["type"], &last["reason"], &last["message"]),
        (&json!("Complete"), &json!("SuccessPolicy"), &json!("Matched rules at index 0"))
    );
    assert_eq!(world.get("batch/jobs", "j")["status"]["completedIndexes"], "1");
}

fn ticking(more: Value) -> Value {
    let mut cron = json!({ "metadata": { "name": "tick" }, "spec": {
        "schedule": "* * * * *", "jobTemplate": { "metadata": { "labels": { "a": "b" } }, "spec": job(json!({}))["spec"] } } });
    for (key, value) in more.as_object().unwrap() {
        cron["spec"][key] = value.clone();
    }
    cron
}

fn jobs(world: &World) -> Vec<String> {
    world.kube.api().store().list("batch/jobs").map(|job| job.meta.name.clone()).collect()
}

#[test]
fn a_schedule_makes_a_job_each_minute_and_keeps_a_few() {
    // It is twenty seconds past a minute.
    let mut world = World::new();
    world.create("batch/cronjobs", ticking(json!({ "successfulJobsHistoryLimit": 1 })));
    assert!(jobs(&world).is_empty());
    world.to(41);
    let minute = at(40).as_second() / 60;
    assert_eq!(jobs(&world), [format!("tick-{minute}")]);
    let status = world.get("batch/cronjobs", "tick")["status"].clone();
    assert_eq!((&status["active"][0]["kind"], &status["lastScheduleTime"]), (&json!("Job"), &json!("2023-11-14T22:14:00Z")));
    let made = world.get("batch/jobs", &format!("tick-{minute}"));
    assert_eq!(made["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"], "2023-11-14T22:14:00Z");
    assert_eq!(made["metadata"]["labels"]["a"], "b");
    for _ in 0..3 {
        let pod = pod_of(&world, "");
        end(&mut world, &pod, 0);
        world.to(world.now + 60);
    }
    let status = world.get("batch/cronjobs", "tick")["status"].clone();
    assert_eq!(jobs(&world), [format!("tick-{}", minute + 2), format!("tick-{}", minute + 3)], "one that succeeded, one that runs");
    assert_eq!(status["active"].as_array().unwrap().len(), 1);
    assert!(status["lastSuccessfulTime"].is_string());
    world.change("batch/cronjobs", "tick", None, |cron| cron["spec"]["suspend"] = json!(true));
    world.to(world.now + 300);
    assert_eq!(jobs(&world).len(), 2);
}

#[rstest]
#[case::allow("Allow", 3)]
#[case::forbid("Forbid", 1)]
#[case::replace("Replace", 1)]
fn jobs_that_overlap(#[case] policy: &str, #[case] running: usize) {
    let mut world = World::new();
    world.create("batch/cronjobs", ticking(json!({ "concurrencyPolicy": policy })));
    world.to(170);
    world.kubelets();
    let names = jobs(&world);
    assert_eq!(names.len(), running, "{names:?}");
    let newest = format!("tick-{}", at(160).as_second() / 60);
    assert_eq!(names.contains(&newest), policy != "Forbid", "{names:?}");
}

#[test]
fn room_that_was_made_is_kept_for_whom_it_was_made() {
    let mut world = World::new();
    world.node("n", "4");
    world.create("scheduling.k8s.io/priorityclasses", json!({ "metadata": { "name": "high" }, "value": 1000 }));
    let pod = |name: &str, cpu: &str, class: Value| json!({ "metadata": { "name": name }, "spec": { "priorityClassName": class, "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": cpu } } }] } });
    world.create("pods", pod("low", "4", Value::Null));
    assert_eq!(world.on_node("n"), 1);
    world.create("pods", pod("high", "3", json!("high")));
    let promised = world.get("pods", "high");
    assert_eq!((&promised["status"]["nominatedNodeName"], &promised["spec"]["nodeName"]), (&json!("n"), &Value::Null));
    // The victim goes, and somebody else would fit beside nobody.
    world.create("pods", pod("later", "2", Value::Null));
    world.kubelets();
    world.to(world.now + 5);
    assert_eq!(world.get("pods", "high")["spec"]["nodeName"], "n");
    assert!(world.get("pods", "high")["status"]["nominatedNodeName"].is_null(), "a promise that was kept is none");
    assert!(world.get("pods", "later")["spec"]["nodeName"].is_null());
}

/// kube-scheduler hears that a promise is void before it tries the next pod; whoever waits behind is not woken by it.
#[test]
fn a_promise_that_is_void_wakes_those_who_were_tried_before_it() {
    let mut world = World::new();
    world.node("a", "6");
    world.node("b", "4");
    for (name, value) in [("high", 1000), ("middle", 100)] {
        world.create("scheduling.k8s.io/priorityclasses", json!({ "metadata": { "name": name }, "value": value }));
    }
    let pod = |name: &str, cpu: &str, class: Value, node: Option<&str>| {
        let selector = node.map(|node| json!({ "kubernetes.io/hostname": node }));
        json!({ "metadata": { "name": name }, "spec": { "priorityClassName": class, "nodeSelector": selector, "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": cpu } } }] } })
    };
    world.create("pods", pod("first-victim", "3", Value::Null, Some("b")));
    world.create("pods", pod("second-victim", "4", Value::Null, Some("a")));
    let middle = || json!("middle");
    world.create("pods", pod("large", "3500m", middle(), Some("a")));
    world.create("pods", pod("hopeless", "4", middle(), Some("b")));
    world.create("pods", pod("small", "2", middle(), Some("a")));
    // What was promised is not theirs any more, but for one of those on the first node.
    world.create("pods", pod("on-a", "1500m", json!("high"), Some("a")));
    world.create("pods", pod("on-b", "1", json!("high"), Some("b")));
    let promised = |world: &World, name: &str| world.get("pods", name)["status"]["nominatedNodeName"].clone();
    assert_eq!(["large", "small", "hopeless"].map(|name| promised(&world, name)), ["a", "a", "b"].map(|node| json!(node)));
    world.delete("pods", "first-victim", DeleteOptions::now());
    assert!(promised(&world, "hopeless").is_null());
    world.delete("pods", "second-victim", DeleteOptions::now());
    // `small` had failed less often, so that it was tried first, found the other's room taken, and lost its own.
    assert_eq!(world.get("pods", "large")["spec"]["nodeName"], "a");
    assert!(world.get("pods", "small")["spec"]["nodeName"].is_null());
}
