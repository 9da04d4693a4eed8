//! Asks for volumes to be attached to the nodes of their pods, and to be detached when nobody there uses them any more.
//!
//! Source: `pkg/controller/volume/attachdetach/{attach_detach_controller,reconciler/reconciler}.go`, `pkg/volume/csi/csi_attacher.go`. CSI volumes
//! alone. A node's kubelet has unmounted a volume when the pod's object is gone, unless the node is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::events::Recorder;
use super::pods::{Key, condition, finished, key_of, node_name};
use super::volumes::{CLAIMS, VOLUMES, claims_of, text};
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, EventType, Object};

pub(super) const ATTACHMENTS: &str = "storage.k8s.io/volumeattachments";
/// On nodes whose kubelet leaves attaching to this controller.
const MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
/// `ReconcilerMaxWaitForUnmountDuration`: so long a broken node may still have a volume mounted.
const UNMOUNT: SignedDuration = SignedDuration::from_mins(6);

/// A PersistentVolume and a Node.
type Place = (String, String);

pub(super) struct AttachDetach {
    recorder: Recorder,
    /// Pods that use a volume on a node.
    wanted: BTreeMap<Place, BTreeSet<Key>>,
    of_pod: BTreeMap<Key, Vec<Place>>,
    /// Pods on nodes some of whose claims had no volume.
    unresolved: BTreeSet<Key>,
    /// Where each volume is attached, or about to be.
    attached: BTreeMap<String, BTreeSet<String>>,
    /// Volumes that are somewhere else.
    blocked: BTreeSet<Place>,
    /// When the patience with a broken node ends.
    due: BTreeMap<Place, Timestamp>,
}

impl Default for AttachDetach {
    fn default() -> Self {
        AttachDetach {
            recorder: Recorder::new("attachdetach-controller"),
            wanted: BTreeMap::new(),
            of_pod: BTreeMap::new(),
            unresolved: BTreeSet::new(),
            attached: BTreeMap::new(),
            blocked: BTreeSet::new(),
            due: BTreeMap::new(),
        }
    }
}

impl Controller for AttachDetach {
    fn name(&self) -> &'static str {
        "attachdetach"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut places = BTreeSet::new();
        for change in changed {
            match change.plural() {
                "pods" => self.pod(api, &key_of(&change.object), &mut places),
                CLAIMS | VOLUMES => {
                    for key in std::mem::take(&mut self.unresolved) {
                        self.pod(api, &key, &mut places);
                    }
                }
                "nodes" => {
                    let of = |place: &&Place| place.1 == change.name();
                    places.extend(self.due.keys().filter(of).cloned());
                    if change.event != EventType::Modified {
                        places.extend(self.wanted.keys().filter(of).cloned());
                    }
                }
                ATTACHMENTS => self.attachment(api, now, change, &mut places),
                _ => {}
            }
        }
        places.extend(self.due.iter().filter(|(_, at)| **at <= now).map(|(place, _)| place.clone()));
        for place in places {
            self.reconcile(api, now, &place);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due.values().min().copied()
    }

    fn unsettled(&self, _: &Api) -> Vec<String> {
        self.due.keys().map(|(volume, node)| format!("volume {volume} may still be mounted on node {node}, which is broken")).collect()
    }
}

impl AttachDetach {
    /// Looks at the pod anew: which volumes it uses, and where.
    fn pod(&mut self, api: &Api, key: &Key, places: &mut BTreeSet<Place>) {
        for place in self.of_pod.remove(key).unwrap_or_default() {
            if let Some(pods) = self.wanted.get_mut(&place) {
                pods.remove(key);
                if pods.is_empty() {
                    self.wanted.remove(&place);
                }
            }
            places.insert(place);
        }
        self.unresolved.remove(key);
        let Some(pod) = api.store().get("pods", &key.0, &key.1).map(|pod| pod.value()) else { return };
        let node = node_name(&pod);
        if node.is_empty() || finished(&pod) {
            return;
        }
        let mut mine = Vec::new();
        for claim in claims_of(&pod) {
            let claim = api.store().get(CLAIMS, &key.0, &claim).map(|claim| text(&claim.value()["spec"]["volumeName"]));
            match claim.filter(|volume| api.store().get(VOLUMES, "", volume).is_some()) {
                Some(volume) => mine.push((volume, node.to_owned())),
                None => drop(self.unresolved.insert(key.clone())),
            }
        }
        for place in &mine {
            self.wanted.entry(place.clone()).or_default().insert(key.clone());
            places.insert(place.clone());
        }
        if !mine.is_empty() {
            self.of_pod.insert(key.clone(), mine);
        }
    }

    /// What is said of an attachment: pods hear of it, the node shows it, and who waited may be next.
    fn attachment(&mut self, api: &mut Api, now: Timestamp, change: &Change, places: &mut BTreeSet<Place>) {
        let value = change.object.value();
        let place = (text(&value["spec"]["source"]["persistentVolumeName"]), text(&value["spec"]["nodeName"]));
        let nodes = self.attached.entry(place.0.clone()).or_default();
        if change.event == EventType::Deleted {
            nodes.remove(&place.1);
            if nodes.is_empty() {
                self.attached.remove(&place.0);
            }
            places.extend(self.blocked.iter().filter(|blocked| blocked.0 == place.0).cloned());
            places.insert(place.clone());
        } else {
            nodes.insert(place.1.clone());
        }
        let there = change.event != EventType::Deleted && change.object.meta.deletion.is_none() && value["status"]["attached"] == true;
        let before = change.previous.as_ref().is_some_and(|old| old.meta.deletion.is_none() && old.value()["status"]["attached"] == true);
        if there != before {
            show(api, now, &place, there);
        }
        if there && !before {
            let message = format!("AttachVolume.Attach succeeded for volume {:?} ", place.0);
            for pod in self.pods(api, &place) {
                self.recorder.normal(api, now, &pod, "SuccessfulAttachVolume", &message);
            }
        }
    }

    fn pods(&self, api: &Api, place: &Place) -> Vec<Arc<Object>> {
        let keys = self.wanted.get(place).into_iter().flatten();
        keys.filter_map(|(namespace, name)| api.store().get("pods", namespace, name).cloned()).collect()
    }

    fn reconcile(&mut self, api: &mut Api, now: Timestamp, place: &Place) {
        let (volume, node) = place;
        let Some(value) = api.store().get(VOLUMES, "", volume).map(|volume| volume.value()) else {
            self.blocked.remove(place);
            self.due.remove(place);
            return;
        };
        let Some(name) = attachment_name(&value, node) else { return };
        let there = api.store().get(ATTACHMENTS, "", &name).cloned();
        let host = api.store().get("nodes", "", node).cloned();
        let managed = host.as_ref().is_some_and(|host| host.meta.annotations.get(MANAGED).is_some_and(|text| text == "true"));
        if self.wanted.contains_key(place) {
            self.due.remove(place);
            match there {
                None if managed => self.attach(api, now, place, (&name, &value)),
                Some(one) if one.meta.deletion.is_some() => drop(self.blocked.insert(place.clone())),
                _ => drop(self.blocked.remove(place)),
            }
            return;
        }
        self.blocked.remove(place);
        let Some(there) = there.filter(|one| one.meta.deletion.is_none()) else {
            self.due.remove(place);
            return;
        };
        let healthy = host.is_some_and(|host| condition(&host.value(), "Ready").is_some_and(|ready| ready["status"] == "True"));
        let until = *self.due.entry(place.clone()).or_insert_with(|| now.saturating_add(UNMOUNT).unwrap_or(Timestamp::MAX));
        if healthy || until <= now {
            self.due.remove(place);
            // Gone already: then it is detached.
            let _ = api.delete(now, ATTACHMENTS, "", &there.meta.name, DeleteOptions::default());
        }
    }

    fn attach(&mut self, api: &mut Api, now: Timestamp, place: &Place, (name, volume): (&str, &Value)) {
        let modes = volume["spec"]["accessModes"].as_array().into_iter().flatten();
        let shared = modes.clone().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany");
        let elsewhere = self.attached.get(&place.0).into_iter().flatten().any(|node| *node != place.1);
        if elsewhere && !shared {
            if self.blocked.insert(place.clone()) {
                self.refuse(api, now, place);
            }
            return;
        }
        self.blocked.remove(place);
        let attachment = json!({
            "metadata": { "name": name },
            "spec": { "attacher": volume["spec"]["csi"]["driver"], "nodeName": place.1, "source": { "persistentVolumeName": place.0 } },
        });
        // It is there already: then it is attached, or about to be.
        let _: Result<_, crate::Status> = api.create(now, ATTACHMENTS, "", attachment);
    }

    /// `reportMultiAttachError`.
    fn refuse(&mut self, api: &mut Api, now: Timestamp, place: &Place) {
        let others: Vec<Key> = self
            .wanted
            .iter()
            .filter(|((volume, node), _)| *volume == place.0 && *node != place.1)
            .flat_map(|(_, pods)| pods.iter().cloned())
            .collect();
        for pod in self.pods(api, place) {
            let (here, elsewhere): (Vec<&Key>, Vec<&Key>) = others.iter().partition(|(namespace, _)| *namespace == pod.meta.namespace);
            let names: Vec<&str> = here.iter().map(|(_, name)| name.as_str()).collect();
            let why = match (names.is_empty(), elsewhere.len()) {
                (true, 0) => "Volume is already exclusively attached to one node and can't be attached to another".to_owned(),
                (true, count) => format!("Volume is already used by {count} pod(s) in different namespaces"),
                (false, 0) => format!("Volume is already used by pod(s) {}", names.join(", ")),
                (false, count) => {
                    format!("Volume is already used by pod(s) {} and {count} pod(s) in different namespaces", names.join(", "))
                }
            };
            self.recorder.warning(api, now, &pod, "FailedAttachVolume", &format!("Multi-Attach error for volume {:?} {why}", place.0));
        }
    }
}

/// `csi_attacher.go`, getAttachmentName. `None` for what is no CSI volume.
fn attachment_name(volume: &Value, node: &str) -> Option<String> {
    let csi = &volume["spec"]["csi"];
    let text = format!("{}{}{node}", csi["volumeHandle"].as_str()?, csi["driver"].as_str()?);
    let digits: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("csi-{digits}"))
}

/// `status.volumesAttached` of the node: what a kubelet looks at before it mounts.
fn show(api: &mut Api, now: Timestamp, place: &Place, there: bool) {
    let Some(csi) = api.store().get(VOLUMES, "", &place.0).map(|volume| volume.value()["spec"]["csi"].clone()) else { return };
    let name = format!("kubernetes.io/csi/{}^{}", text(&csi["driver"]), text(&csi["volumeHandle"]));
    // A node that is gone shows nothing.
    let _ = api.update_with(now, "nodes", "", &place.1, Some("status"), |node| {
        let mut list = node["status"]["volumesAttached"].as_array().cloned().unwrap_or_default();
        list.retain(|one| one["name"] != name.as_str());
        if there {
            list.push(json!({ "name": name, "devicePath": "" }));
        }
        match (list.is_empty(), node["status"].as_object_mut()) {
            (true, Some(status)) => drop(status.shift_remove("volumesAttached")),
            _ => node["status"]["volumesAttached"] = Value::from(list),
        }
    });
}
