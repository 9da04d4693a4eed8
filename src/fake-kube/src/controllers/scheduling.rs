//! Gives pods a node: feeds the scheduler with what changes, binds, and says why not.
//!
//! Source: `pkg/scheduler/{eventhandlers,schedule_one}.go`. Binding takes no time here; each placement sees the ones before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use scheduler::preemption::Preemption;
use scheduler::queue::QueuedPod;
use scheduler::{Binding, ClusterView, Event, FitError, PodInfo, Queue, schedule};
use serde_json::{Value, json};

use super::events::{Note, Recorder};
use super::facts;
use super::pods::{disruption_target, set_condition};
use super::volumes::{self, CLAIMS, CLASSES, VOLUMES};
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, EventType, Object};

/// Longer notes of events are cut (`pkg/apis/core/validation/events.go`, NoteLengthLimit).
const NOTE_LIMIT: usize = 1024;

pub(super) struct Scheduling {
    view: ClusterView,
    /// Grows with every change of the view.
    version: u64,
    /// The last pod that fitted nowhere: at the same view its likes need not be tried. Nobody is evicted for them.
    refused: Option<Refused>,
    queue: Queue,
    dice: ChaCha8Rng,
    /// Pods that have a node and wait for their volumes, by key.
    waiting: BTreeMap<String, Waiting>,
    recorder: Recorder,
    /// Waiting pods that are promised a node, as the last change of each said.
    promised: BTreeMap<String, Arc<PodInfo>>,
    /// Versions of pods that were bound here: what they say is in the view already.
    bound: BTreeSet<u64>,
}

/// `plugins/volumebinding` waits so long for volumes (DefaultBindTimeoutSeconds).
const BIND_TIMEOUT: SignedDuration = SignedDuration::from_secs(600);

struct Waiting {
    queued: QueuedPod,
    node: String,
    until: Timestamp,
}

#[derive(Clone)]
struct Refused {
    version: u64,
    pod: Arc<PodInfo>,
    why: Arc<FitError>,
}

impl Scheduling {
    fn view_mut(&mut self) -> &mut ClusterView {
        self.version += 1;
        &mut self.view
    }

    pub fn new(seed: u64) -> Self {
        // A stream of its own: draws here move no uid and no name.
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        dice.set_stream(1);
        let recorder = Recorder::new(scheduler::pod::DEFAULT_SCHEDULER);
        Scheduling {
            view: ClusterView::new(),
            version: 0,
            refused: None,
            queue: Queue::new(),
            dice,
            waiting: BTreeMap::new(),
            recorder,
            promised: BTreeMap::new(),
            bound: BTreeSet::new(),
        }
    }
}

impl Controller for Scheduling {
    fn name(&self) -> &'static str {
        "scheduler"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        for change in changed {
            self.take_in(change, now);
        }
        self.bind_waiting(api, now);
        while let Some(queued) = self.queue.pop(now) {
            self.try_one(api, now, queued);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.queue.next_due().into_iter().chain(self.waiting.values().map(|waiting| waiting.until)).min()
    }

    fn unsettled(&self, _: &Api) -> Vec<String> {
        let trying = self.queue.about_to_try().map(|queued| format!("pod {} is about to be scheduled", queued.pod.key()));
        trying.chain(self.waiting.keys().map(|key| format!("pod {key} waits for its volumes"))).collect()
    }
}

impl Scheduling {
    fn take_in(&mut self, change: &Change, now: Timestamp) {
        let (namespace, name) = (change.namespace(), change.name());
        let gone = change.event == EventType::Deleted;
        // Objects that cannot be read are left out: what was stored passed validation, so they are not for us.
        match (change.plural(), gone) {
            ("pods", _) => self.pod(change, now),
            ("nodes", _) => self.node(change, now),
            ("namespaces", true) => self.view_mut().remove_namespace(name),
            ("namespaces", false) => self.view_mut().set_namespace(name, change.object.meta.labels.clone()),
            ("services", true) => self.view_mut().remove_service(namespace, name),
            ("services", false) => drop(self.view_mut().set_service(namespace, name, &change.object.value())),
            ("policy/poddisruptionbudgets", true) => self.view_mut().remove_budget(namespace, name),
            ("policy/poddisruptionbudgets", false) => drop(self.view_mut().set_budget(namespace, name, &change.object.value())),
            ("apps/replicasets", _) => self.workload(change, "ReplicaSet", gone),
            ("apps/statefulsets", _) => self.workload(change, "StatefulSet", gone),
            (CLAIMS | VOLUMES | CLASSES | "storage.k8s.io/csinodes", _) => self.storage(change, gone, now),
            _ => {}
        }
    }

    fn storage(&mut self, change: &Change, gone: bool, now: Timestamp) {
        let (namespace, name, value) = (change.namespace(), change.name(), change.object.value());
        let storage = self.view_mut().storage_mut();
        match (change.plural(), gone) {
            (CLAIMS, true) => storage.remove_claim(namespace, name),
            (CLAIMS, false) => drop(storage.set_claim(&value)),
            (VOLUMES, true) => storage.remove_volume(name),
            (VOLUMES, false) => drop(storage.set_volume(&value)),
            (CLASSES, true) => storage.remove_class(name),
            (CLASSES, false) => drop(storage.set_class(&value)),
            (_, true) => storage.remove_limits(name),
            (_, false) => drop(storage.set_limits(&value)),
        }
        let event = if change.plural() == CLAIMS { Event::Claim(namespace, name) } else { Event::Storage };
        self.queue.on_event(event, &self.view, now);
    }

    fn workload(&mut self, change: &Change, kind: &'static str, gone: bool) {
        if gone {
            self.view_mut().remove_workload(change.namespace(), kind, change.name());
        } else {
            drop(self.view_mut().set_workload(change.namespace(), kind, change.name(), &change.object.value()));
        }
    }

    fn node(&mut self, change: &Change, now: Timestamp) {
        if change.event == EventType::Deleted {
            if let Some(node) = self.view_mut().remove_node(change.name()) {
                self.queue.on_event(Event::NodeRemoved(&node), &self.view, now);
            }
            return;
        }
        let Some(node) = facts::node(&change.object).info.clone() else { return };
        let before = self.view_mut().set_node(node.clone());
        let event = match &before {
            Some(before) => Event::NodeUpdated { before, after: &node },
            None => Event::NodeAdded(&node),
        };
        self.queue.on_event(event, &self.view, now);
    }

    fn pod(&mut self, change: &Change, now: Timestamp) {
        if self.bound.remove(&change.resource_version) {
            return;
        }
        let Ok(pod) = PodInfo::from_json(&change.object.value()).map(Arc::new) else { return };
        let key = pod.key();
        let gone = change.event == EventType::Deleted || pod.finished;
        if !gone && pod.node_name.is_empty() {
            if let Some(waiting) = self.waiting.get_mut(&key).filter(|waiting| waiting.queued.pod.uid == pod.uid && !pod.terminating) {
                waiting.queued.pod = pod;
                return;
            }
            if self.waiting.remove(&key).is_some() {
                self.view_mut().remove_pod(&key);
            }
            if pod.terminating || pod.scheduler_name != scheduler::pod::DEFAULT_SCHEDULER {
                self.queue.remove(&key);
            } else {
                if self.view.set_nominated(&pod) {
                    self.version += 1;
                }
                let touched =
                    self.queue.get(&key).is_some_and(|queued| queued.pod.labels != pod.labels || queued.pod.tolerations != pod.tolerations);
                self.queue.set(pod.clone(), touched, now);
            }
            self.note_promise(&key, Some(&pod), now);
            return;
        }
        self.queue.remove(&key);
        self.waiting.remove(&key);
        if pod.node_name.is_empty() {
            self.note_promise(&key, None, now);
        } else {
            self.promised.remove(&key);
        }
        if gone {
            if let Some(had) = self.view_mut().remove_pod(&key) {
                self.queue.on_event(Event::PodRemoved(&had), &self.view, now);
            }
            return;
        }
        let before = self.view.pod(&key).cloned();
        self.view_mut().set_pod(pod.clone());
        match before {
            None => self.queue.on_event(Event::PodAssigned(&pod), &self.view, now),
            Some(before) if before.labels != pod.labels => {
                self.queue.on_event(Event::PodRelabelled { before: &before, after: &pod }, &self.view, now);
            }
            Some(_) => {}
        }
    }

    /// A promise that is kept or given first changes nothing; one that is taken back, or goes with its pod, gives others room.
    fn note_promise(&mut self, key: &str, pod: Option<&Arc<PodInfo>>, now: Timestamp) {
        let had = self.promised.remove(key);
        if let Some(pod) = pod.filter(|pod| !pod.nominated_node_name.is_empty()) {
            self.promised.insert(key.to_owned(), pod.clone());
        }
        let now_promised = pod.map_or("", |pod| pod.nominated_node_name.as_str());
        if let Some(had) = had.filter(|had| had.nominated_node_name != now_promised) {
            self.queue.on_void_promise(&had, &self.view, now);
        }
    }

    fn try_one(&mut self, api: &mut Api, now: Timestamp, queued: QueuedPod) {
        let Some(object) =
            api.store().get("pods", &queued.pod.namespace, &queued.pod.name).filter(|found| found.meta.uid == queued.pod.uid).cloned()
        else {
            return;
        };
        let draw = self.dice.next_u64();
        let known = self.refused.as_ref().filter(|held| held.version == self.version && held.pod.is_scheduled_like(&queued.pod));
        if let Some(held) = known.cloned() {
            return self.refuse(api, now, queued, &object, &held.why);
        }
        match schedule(&self.view, &queued.pod, draw) {
            Ok(placement) => {
                self.view_mut().advance_start(placement.examined);
                self.place(api, now, queued, &object, &placement.node);
            }
            Err(why) => {
                // Whoever looks at all nodes leaves the start where it was.
                if why.examined != self.view.nodes().len() {
                    self.view_mut().advance_start(why.examined);
                } else if why.preemption.is_none() {
                    let held = Refused { version: self.version, pod: queued.pod.clone(), why: Arc::from(why) };
                    self.refused = Some(held.clone());
                    return self.refuse(api, now, queued, &object, &held.why);
                }
                self.refuse(api, now, queued, &object, &why);
            }
        }
    }

    /// Binds a pod to its node, at once or when its volumes are there.
    fn place(&mut self, api: &mut Api, now: Timestamp, queued: QueuedPod, object: &Object, node: &str) {
        let bindings = if queued.pod.claims.is_empty() { Vec::new() } else { self.view.bindings(&queued.pod, node) };
        if bindings.is_empty() {
            return self.bind(api, now, queued, object, node);
        }
        for (claim, binding) in &bindings {
            if !self.ask_for_volume(api, now, &queued.pod.namespace, claim, binding, node) {
                self.queue.failed(queued, now);
                return;
            }
        }
        // Who looks on learns where it will be (the gate NominatedNodeNameForExpectation, on since 1.35).
        let _ = api.update_with(now, "pods", &queued.pod.namespace, &queued.pod.name, Some("status"), |value| promise(value, node));
        // It takes its room from now on.
        let pod = Arc::new(PodInfo { node_name: node.to_owned(), ..(*queued.pod).clone() });
        let until = now.saturating_add(BIND_TIMEOUT).unwrap_or(Timestamp::MAX);
        self.waiting.insert(pod.key(), Waiting { queued, node: node.to_owned(), until });
        self.view_mut().set_pod(pod);
    }

    /// Tells the volume controller, or the provisioner, what a claim shall get (`bindAPIUpdate`).
    fn ask_for_volume(&mut self, api: &mut Api, now: Timestamp, namespace: &str, claim: &str, binding: &Binding, node: &str) -> bool {
        let Some(object) = api.store().get(CLAIMS, namespace, claim).cloned() else { return false };
        match binding {
            Binding::Provision => {
                let told =
                    api.update_with(now, CLAIMS, namespace, claim, None, |claim| volumes::annotate(claim, volumes::SELECTED_NODE, node));
                told.is_ok_and(|claim| self.view_mut().storage_mut().set_claim(&claim.value()).is_ok())
            }
            Binding::Volume(name) => {
                let told = api.update_with(now, VOLUMES, "", name, None, |volume| {
                    volume["spec"]["claimRef"] = volumes::reference(&object);
                    volumes::annotate(volume, "pv.kubernetes.io/bound-by-controller", "yes");
                });
                told.is_ok_and(|volume| self.view_mut().storage_mut().set_volume(&volume.value()).is_ok())
            }
        }
    }

    fn bind_waiting(&mut self, api: &mut Api, now: Timestamp) {
        let storage = self.view.storage();
        let bound = |pod: &PodInfo| pod.claims.iter().all(|(name, _)| storage.claim(&pod.namespace, name).is_some_and(|claim| claim.bound));
        let over = self.waiting.iter().filter(|(_, waiting)| bound(&waiting.queued.pod) || waiting.until <= now);
        let keys: Vec<String> = over.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(Waiting { queued, node, .. }) = self.waiting.remove(&key) else { continue };
            let pod = &queued.pod;
            let object = api.store().get("pods", &pod.namespace, &pod.name).filter(|found| found.meta.uid == pod.uid).cloned();
            let ready = pod.claims.iter().all(|(name, _)| self.view.storage().claim(&pod.namespace, name).is_some_and(|claim| claim.bound));
            match object {
                Some(object) if ready => self.bind(api, now, queued, &object, &node),
                object => {
                    self.view_mut().remove_pod(&key);
                    if object.is_some() {
                        self.view.set_nominated(&queued.pod);
                        self.queue.failed(queued, now);
                    }
                }
            }
        }
    }

    fn bind(&mut self, api: &mut Api, now: Timestamp, queued: QueuedPod, object: &Object, node: &str) {
        let Ok(bound) = api.bind(now, &queued.pod.namespace, &queued.pod.name, node) else {
            // One that waited for its volumes had its room already.
            self.view_mut().remove_pod(&queued.pod.key());
            self.queue.failed(queued, now);
            return;
        };
        self.bound.insert(bound.meta.resource_version);
        self.promised.remove(&queued.pod.key());
        let pod = Arc::new(PodInfo {
            node_name: node.to_owned(),
            nominated_node_name: String::new(),
            // With the place of its node.
            labels: bound.meta.labels.clone(),
            ..(*queued.pod).clone()
        });
        self.view_mut().set_pod(pod.clone());
        let message = format!("Successfully assigned {} to {node}", pod.key());
        self.recorder.record(api, now, object, &Note { warning: false, reason: "Scheduled", action: Some("Binding"), message: &message });
        self.queue.on_event(Event::PodAssigned(&pod), &self.view, now);
    }

    fn refuse(&mut self, api: &mut Api, now: Timestamp, queued: QueuedPod, object: &Object, why: &FitError) {
        let pod = queued.pod.clone();
        self.queue.refused(queued, why.plugins, now);
        let message = why.message();
        let note = Note { warning: true, reason: "FailedScheduling", action: Some("Scheduling"), message: &cut(message) };
        self.recorder.record(api, now, object, &note);
        // A promise, or that an earlier one is void; where nobody looked it stays as it is.
        let promised = match &why.preemption {
            Some(preemption) => Some(preemption.node.clone()),
            None => (why.hopeless && !pod.nominated_node_name.is_empty()).then(String::new),
        };
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message, "lastProbeTime": null,
            "observedGeneration": object.meta.generation,
        });
        // Deleted meanwhile: then nobody waits for a reason.
        let _ = api.update_with(now, "pods", &pod.namespace, &pod.name, Some("status"), |value| {
            set_condition(value, now, condition);
            if let Some(node) = &promised {
                promise(value, node);
            }
        });
        if let Some(node) = promised {
            let pod = Arc::new(PodInfo { nominated_node_name: node, ..(*pod).clone() });
            self.view_mut().set_nominated(&pod);
            // Upstream waits for this write, and its watch tells it before it tries the next pod.
            self.note_promise(&pod.key(), Some(&pod), now);
        }
        if let Some(preemption) = &why.preemption {
            self.preempt(api, now, &pod, preemption);
        }
    }

    /// `pkg/scheduler/framework/preemption/executor.go`.
    fn preempt(&mut self, api: &mut Api, now: Timestamp, pod: &PodInfo, preemption: &Preemption) {
        // Who is already on the way out needs no second word.
        let mut victims = preemption.victims.iter().filter(|victim| !victim.terminating).peekable();
        if victims.peek().is_none() {
            return;
        }
        // Whoever counts less may not fit any more where both were promised room (getLowerPriorityNominatedPods).
        let lesser: Vec<Arc<PodInfo>> =
            self.view.nominated(&preemption.node).filter(|other| other.priority < pod.priority).cloned().collect();
        for other in lesser {
            let _ = api.update_with(now, "pods", &other.namespace, &other.name, Some("status"), |value| promise(value, ""));
            self.view_mut().remove_nominated(&other.key());
        }
        for victim in victims {
            let Some(object) =
                api.store().get("pods", &victim.namespace, &victim.name).filter(|found| found.meta.uid == victim.uid).cloned()
            else {
                continue;
            };
            let target =
                disruption_target(&object, "PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod");
            // Either fails only when the victim is gone already.
            let _ = api.update_with(now, "pods", &victim.namespace, &victim.name, Some("status"), |value| {
                set_condition(value, now, target);
            });
            let _ = api.delete(now, "pods", &victim.namespace, &victim.name, DeleteOptions::default().if_uid(&victim.uid));
            let message = format!("Preempted by pod {} on node {}", pod.uid, preemption.node);
            self.recorder.record(
                api,
                now,
                &object,
                &Note { warning: false, reason: "Preempted", action: Some("Preempting"), message: &message },
            );
        }
    }
}

/// Writes the node that a pod is promised; none when empty.
fn promise(pod: &mut Value, node: &str) {
    if !node.is_empty() {
        pod["status"]["nominatedNodeName"] = json!(node);
    } else if let Some(status) = pod["status"].as_object_mut() {
        status.shift_remove("nominatedNodeName");
    }
}

fn cut(message: &str) -> String {
    const SUFFIX: &str = " ...";
    if message.len() <= NOTE_LIMIT {
        return message.to_owned();
    }
    format!("{}{SUFFIX}", &message[..message.floor_char_boundary(NOTE_LIMIT - SUFFIX.len())])
}

#[cfg(test)]
#[test]
fn long_notes_are_cut_to_the_limit() {
    let note = cut(&"x".repeat(3000));
    assert_eq!(note.len(), NOTE_LIMIT);
    assert!(note.ends_with("x ..."));
}
