//! The status that tells a pod's life. Source of the words: kubernetes `pkg/kubelet/{kubelet_pods.go,status/generate.go}`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::life::Eviction;
use super::runs::{Now, Run};
use super::{ContainerView, Life, Stage, View};

/// A merge patch of `status` for a pod that has come to `stage`. `ip` is the pod's own address, `host` its node's.
pub fn status(view: &View, life: &Life, stage: Stage, ip: &str, host: &str, now: Timestamp) -> Value {
    if let Some(refused) = life.evicted.as_ref().filter(|eviction| eviction.refused) {
        return json!({ "metadata": { "uid": view.uid }, "status": rejected(view, life, refused) });
    }
    let containers: Vec<Value> = view.containers.iter().map(|each| container(view, each, life, (stage, now))).collect();
    let mut status = json!({
        "phase": match stage {
            Stage::Unseen | Stage::Accepted => "Pending",
            Stage::Running | Stage::Ready => "Running",
            Stage::Ended if life.never_ran() || life.evicted.is_some() || failed(view, life, now) => "Failed",
            Stage::Ended => "Succeeded",
        },
        "conditions": conditions(view, life, stage, now),
        "hostIP": host,
        "hostIPs": [{ "ip": host }],
        "startTime": Time(life.accepted),
        "containerStatuses": containers,
    });
    if !view.init.is_empty() {
        status["initContainerStatuses"] = (0..view.init.len()).filter_map(|place| initial(view, place, life, (stage, now))).collect();
    }
    if let Some(eviction) = life.evicted.as_ref().filter(|_| stage == Stage::Ended) {
        status["reason"] = Value::from(&*eviction.reason);
        status["message"] = Value::from(eviction.message.as_str());
    }
    // A pod has an address from its sandbox on.
    if stage >= Stage::Running && !ip.is_empty() {
        status["podIP"] = Value::from(ip);
        status["podIPs"] = json!([{ "ip": ip }]);
    }
    json!({ "metadata": { "uid": view.uid }, "status": status })
}

/// Nothing else is told of a pod that its node does not take (`pkg/kubelet/kubelet.go`, rejectPod): of the conditions only other people's
/// stay, and what was told before the kubelet started anew is taken back (`pkg/kubelet/status/status_manager.go`, mergePodStatus).
fn rejected(view: &View, life: &Life, refused: &Eviction) -> Value {
    const OWN: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let others: Vec<&PodCondition> = view.conditions.iter().filter(|condition| !OWN.contains(&condition.type_.as_str())).collect();
    let mut status = json!({
        "phase": "Failed",
        "reason": refused.reason,
        "message": format!("Pod was rejected: {}", refused.message),
        "startTime": Time(view.started.unwrap_or(life.accepted)),
        "conditions": others,
    });
    if view.started.is_some() {
        for told in ["hostIP", "hostIPs", "podIP", "podIPs", "containerStatuses", "initContainerStatuses"] {
            status[told] = Value::Null;
        }
    }
    status
}

/// Whether it has come to its end by itself, and not well.
fn failed(view: &View, life: &Life, now: Timestamp) -> bool {
    let ended = |each: &ContainerView| life.container(view, each, now);
    if life.spoilt(view, now) {
        return true;
    }
    let all: Vec<_> = view.containers.iter().map(ended).collect();
    all.iter().all(|state| state.now == Now::Over) && all.iter().any(|state| state.last.is_some_and(|run| run.exit != 0))
}

/// An init container or a sidecar.
fn initial(view: &View, place: usize, life: &Life, (stage, now): (Stage, Timestamp)) -> Option<Value> {
    let (container, span) = (view.init.get(place)?, life.init.get(place)?);
    let id = container_id(view, container);
    let until = life.ended.map_or(now, |ended| now.min(ended));
    let (mut last, mut restarts) = (json!({}), 0);
    let mut ready = !container.sidecar && span.done <= until;
    let state = match life.initial(view, place, now) {
        _ if span.start > until && stage == Stage::Ended && life.ended.is_some() => unknown(),
        _ if span.start > until => json!({ "waiting": { "reason": "PodInitializing" } }),
        Some(state) => {
            restarts = state.restarts;
            if let Some(run) = state.last.filter(|_| state.now != Now::Over) {
                last = ended(&run, &id);
            }
            ready |= container.sidecar && matches!(state.now, Now::Running { .. }) && span.done <= until;
            match (state.now, state.last) {
                (Now::Running { since }, _) if stage == Stage::Ended => terminated(since, until, &id),
                (Now::Running { since }, _) => json!({ "running": { "startedAt": Time(since) } }),
                (Now::Waits { wait }, _) if stage != Stage::Ended => crash_loop(view, container, wait),
                (_, Some(run)) => ended(&run, &id),
                _ => json!({}),
            }
        }
        None if !container.sidecar && span.done <= until => terminated(span.start, span.done, &id),
        None if stage == Stage::Ended => terminated(span.start, until, &id),
        None => {
            ready = container.sidecar && span.done <= until;
            json!({ "running": { "startedAt": Time(span.start) } })
        }
    };
    Some(told(container, id, (state, last), ready, restarts))
}

fn container(view: &View, container: &ContainerView, life: &Life, (stage, now): (Stage, Timestamp)) -> Value {
    let id = container_id(view, container);
    let history = (stage >= Stage::Running && life.running <= now && !life.never_ran()).then(|| life.container(view, container, now));
    let restarts = history.map_or(0, |history| history.restarts);
    let mut last = json!({});
    if let Some(run) = history.filter(|history| history.now != Now::Over).and_then(|history| history.last) {
        last = ended(&run, &id);
    }
    let (state, ready) = match stage {
        // It will never run, though nobody ended the pod: an init container failed.
        Stage::Ended if life.ended.is_none() && life.running > now => (json!({ "waiting": { "reason": "PodInitializing" } }), false),
        Stage::Unseen | Stage::Accepted => {
            let reason = if view.init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
            let refusal = life.process(&container.name).and_then(|process| process.refusal.as_ref());
            match refusal {
                Some((reason, message)) => (json!({ "waiting": { "reason": reason, "message": message } }), false),
                None => (json!({ "waiting": { "reason": reason } }), false),
            }
        }
        Stage::Running | Stage::Ready | Stage::Ended if history.is_some_and(|history| !matches!(history.now, Now::Running { .. })) => {
            match history.map(|history| (history.now, history.last)) {
                // It is about to start again, without a wait.
                Some((Now::Waits { wait }, Some(run))) if wait.is_zero() => (ended(&run, &id), false),
                Some((Now::Waits { wait }, _)) if stage != Stage::Ended => (crash_loop(view, container, wait), false),
                Some((_, Some(run))) => (ended(&run, &id), false),
                _ => (json!({}), false),
            }
        }
        Stage::Running | Stage::Ready if restarts > 0 || container.real.is_some() => {
            let since = history.and_then(|history| if let Now::Running { since } = history.now { Some(since) } else { None });
            (json!({ "running": { "startedAt": Time(since.unwrap_or(life.running)) } }), life.is_ready(view, container, now))
        }
        Stage::Running | Stage::Ready => {
            let ready = stage == Stage::Ready && life.is_ready(view, container, now);
            (json!({ "running": { "startedAt": Time(life.running) } }), ready)
        }
        Stage::Ended if life.never_ran() => (unknown(), false),
        Stage::Ended => {
            let finished = life.ended.unwrap_or(life.running);
            let killed = Run { started: life.running, finished, exit: 137, oom: false };
            (
                if life.evicted.as_ref().is_some_and(Eviction::kills) {
                    ended(&killed, &id)
                } else {
                    terminated(life.running, finished, &id)
                },
                false,
            )
        }
    };
    told(container, if stage >= Stage::Running { id } else { String::new() }, (state, last), ready, restarts)
}

fn container_id(view: &View, container: &ContainerView) -> String {
    format!("containerd://{:0>64}", format!("{}{}", view.uid.replace('-', ""), hexadecimal(&container.name)))
}

/// It never ran. Source: `convertStatusToAPIStatus`' default for a container that the runtime does not know.
fn unknown() -> Value {
    let message = "The container could not be located when the pod was terminated";
    json!({ "terminated": { "exitCode": 137, "reason": "ContainerStatusUnknown", "message": message } })
}

fn told(container: &ContainerView, id: String, (state, last): (Value, Value), ready: bool, restarts: u32) -> Value {
    let known = state.get("waiting").is_none_or(|waiting| waiting["reason"] == "CrashLoopBackOff") && !id.is_empty();
    let running = state.get("running").is_some();
    json!({
        "name": container.name,
        "image": container.image,
        "imageID": if known { container.image.as_str() } else { "" },
        "containerID": known.then_some(id),
        "state": state,
        "lastState": last,
        "ready": ready,
        "restartCount": restarts,
        "started": running,
    })
}

/// A run of its own accord that is over.
fn ended(run: &Run, id: &str) -> Value {
    let mut state = terminated(run.started, run.finished, id);
    if run.exit != 0 {
        state["terminated"]["exitCode"] = Value::from(run.exit);
        state["terminated"]["reason"] = Value::from(if run.oom { "OOMKilled" } else { "Error" });
    }
    state
}

/// `pkg/kubelet/kuberuntime/kuberuntime_manager.go`, doBackOff.
fn crash_loop(view: &View, container: &ContainerView, wait: jiff::SignedDuration) -> Value {
    let wait = match wait.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    };
    let (name, namespace) = (&view.name, &view.namespace);
    let message = format!("back-off {wait} restarting failed container={} pod={name}_{namespace}({})", container.name, view.uid);
    json!({ "waiting": { "reason": "CrashLoopBackOff", "message": message } })
}

fn terminated(started: Timestamp, finished: Timestamp, id: &str) -> Value {
    let (started, finished) = (Time(started), Time(finished));
    json!({ "terminated": { "exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": finished, "containerID": id } })
}

/// Makes a container's name part of its id, which is hexadecimal.
fn hexadecimal(name: &str) -> String {
    name.bytes().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// In words, the readiness gates that are not open.
fn closed_gates(view: &View) -> Vec<String> {
    let say = |gate: &String| match view.conditions.iter().find(|one| one.type_ == *gate) {
        None => Some(format!("corresponding condition of pod readiness gate {gate:?} does not exist.")),
        Some(one) if one.status != "True" => Some(format!("the status of pod readiness gate {gate:?} is not \"True\", but {}", one.status)),
        Some(_) => None,
    };
    view.gates.iter().filter_map(say).collect()
}

/// The kubelet's own conditions, put into those that are there; `PodScheduled` and other people's stay as they are.
fn conditions(view: &View, life: &Life, stage: Stage, now: Timestamp) -> Vec<PodCondition> {
    let down = |each: &&ContainerView| stage != Stage::Ready || !life.is_ready(view, each, now);
    let ready = stage == Stage::Ready && !view.containers.iter().any(|each| down(&each));
    let unready = || {
        let names: Vec<&str> = view.containers.iter().filter(down).map(|each| each.name.as_str()).collect();
        Some(("ContainersNotReady", format!("containers with unready status: [{}]", names.join(" "))))
    };
    let uninitialized = || {
        let pending = view.init.iter().zip(&life.init).filter(|(_, span)| span.done > now);
        let names: Vec<&str> = pending.map(|(each, _)| each.name.as_str()).collect();
        Some(("ContainersNotInitialized", format!("containers with incomplete status: [{}]", names.join(" "))))
    };
    let over = if life.evicted.is_some() || failed(view, life, now) { "PodFailed" } else { "PodCompleted" };
    let completed = || Some((over, String::new()));
    let up = stage == Stage::Running || stage == Stage::Ready;
    let done = life.init.iter().all(|span| span.done <= now);
    let initialized = stage >= Stage::Running && done || view.init.is_empty();
    let readiness = match stage {
        Stage::Ready if ready => None,
        Stage::Ended => completed(),
        _ => unready(),
    };
    // Conditions that others set hold a ready pod back (`pkg/kubelet/status/generate.go`, GeneratePodReadyCondition).
    let closed = closed_gates(view);
    let gated = if ready && !closed.is_empty() { Some(("ReadinessGatesNotReady", closed.join(", "))) } else { readiness.clone() };
    let own = [
        ("PodReadyToStartContainers", up, None),
        ("Initialized", initialized, if initialized { None } else { uninitialized() }),
        ("Ready", ready && closed.is_empty(), gated),
        ("ContainersReady", ready, readiness),
        ("PodScheduled", true, None),
    ];
    let farewell = life.evicted.as_ref().filter(|_| stage == Stage::Ended).and_then(Eviction::disruption);
    let disrupted = farewell.map(|message| ("DisruptionTarget", true, Some(("TerminationByKubelet", message.to_owned()))));
    let mut conditions = view.conditions.clone();
    for (kind, holds, why) in own.into_iter().chain(disrupted) {
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
