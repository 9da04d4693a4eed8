//! The status that tells a pod's life. Source of the words: kubernetes `pkg/kubelet/{kubelet_pods.go,status/generate.go}`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::{ContainerView, Life, Stage, View};

/// A merge patch of `status` for a pod that has come to `stage`. `ip` is the pod's own address, `host` its node's.
pub fn status(view: &View, life: &Life, stage: Stage, ip: &str, host: &str, now: Timestamp) -> Value {
    let containers: Vec<Value> = view.containers.iter().map(|each| container(view, each, life, stage, false)).collect();
    let mut status = json!({
        "phase": match stage {
            Stage::Unseen | Stage::Accepted => "Pending",
            Stage::Running | Stage::Ready => "Running",
            Stage::Ended if life.never_ran() => "Failed",
            Stage::Ended => "Succeeded",
        },
        "conditions": conditions(view, stage, now),
        "hostIP": host,
        "hostIPs": [{ "ip": host }],
        "startTime": Time(life.accepted),
        "containerStatuses": containers,
    });
    if !view.init.is_empty() {
        status["initContainerStatuses"] = view.init.iter().map(|each| container(view, each, life, stage, true)).collect();
    }
    // A pod has an address from its sandbox on.
    if stage >= Stage::Running && !ip.is_empty() {
        status["podIP"] = Value::from(ip);
        status["podIPs"] = json!([{ "ip": ip }]);
    }
    json!({ "metadata": { "uid": view.uid }, "status": status })
}

fn container(view: &View, container: &ContainerView, life: &Life, stage: Stage, init: bool) -> Value {
    let id = format!("containerd://{:0>64}", format!("{}{}", view.uid.replace('-', ""), hexadecimal(&container.name)));
    let done = init && !container.sidecar;
    let (state, ready) = match stage {
        Stage::Unseen | Stage::Accepted => {
            let reason = if view.init.is_empty() || init { "ContainerCreating" } else { "PodInitializing" };
            (json!({ "waiting": { "reason": reason } }), false)
        }
        Stage::Running | Stage::Ready if done => (terminated(life.accepted, life.running, &id), true),
        Stage::Running | Stage::Ready => (json!({ "running": { "startedAt": Time(life.running) } }), init || stage == Stage::Ready),
        Stage::Ended if life.never_ran() => {
            // It never ran. Source: `convertStatusToAPIStatus`' default for a container that the runtime does not know.
            let reason = "ContainerStatusUnknown";
            let message = "The container could not be located when the pod was terminated";
            (json!({ "terminated": { "exitCode": 137, "reason": reason, "message": message } }), false)
        }
        Stage::Ended => (terminated(life.running, life.ended.unwrap_or(life.running), &id), false),
    };
    let running = state.get("running").is_some();
    let known = stage >= Stage::Running;
    json!({
        "name": container.name,
        "image": container.image,
        "imageID": if known { container.image.as_str() } else { "" },
        "containerID": known.then_some(id),
        "state": state,
        "lastState": {},
        "ready": ready,
        "restartCount": 0,
        "started": running,
    })
}

fn terminated(started: Timestamp, finished: Timestamp, id: &str) -> Value {
    let (started, finished) = (Time(started), Time(finished));
    json!({ "terminated": { "exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": finished, "containerID": id } })
}

/// Makes a container's name part of its id, which is hexadecimal.
fn hexadecimal(name: &str) -> String {
    name.bytes().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The kubelet's own conditions, put into those that are there; `PodScheduled` and other people's stay as they are.
fn conditions(view: &View, stage: Stage, now: Timestamp) -> Vec<PodCondition> {
    let unready = || {
        let names: Vec<&str> = view.containers.iter().map(|each| each.name.as_str()).collect();
        Some(("ContainersNotReady", format!("containers with unready status: [{}]", names.join(" "))))
    };
    let uninitialized = || {
        let names: Vec<&str> = view.init.iter().map(|each| each.name.as_str()).collect();
        Some(("ContainersNotInitialized", format!("containers with incomplete status: [{}]", names.join(" "))))
    };
    let completed = || Some(("PodCompleted", String::new()));
    let up = stage == Stage::Running || stage == Stage::Ready;
    let initialized = stage >= Stage::Running || view.init.is_empty();
    let readiness = match stage {
        Stage::Ready => None,
        Stage::Ended => completed(),
        _ => unready(),
    };
    let own = [
        ("PodReadyToStartContainers", up, None),
        ("Initialized", initialized, if initialized { None } else { uninitialized() }),
        ("Ready", stage == Stage::Ready, readiness.clone()),
        ("ContainersReady", stage == Stage::Ready, readiness),
        ("PodScheduled", true, None),
    ];
    let mut conditions = view.conditions.clone();
    for (kind, holds, why) in own {
        let status = if holds { "True" } else { "False" };
        let before = conditions.iter().position(|condition| condition.type_ == kind);
        let unchanged = before.and_then(|index| conditions.get(index)).filter(|condition| condition.status == status);
        let since = unchanged.and_then(|condition| condition.last_transition_time.clone()).unwrap_or(Time(now));
        let condition = PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: why.as_ref().map(|(reason, _)| (*reason).to_owned()),
            message: why.map(|(_, message)| message).filter(|message| !message.is_empty()),
            last_transition_time: Some(since),
            ..Default::default()
        };
        match before.and_then(|index| conditions.get_mut(index)) {
            Some(place) => *place = condition,
            None => conditions.push(condition),
        }
    }
    conditions
}
