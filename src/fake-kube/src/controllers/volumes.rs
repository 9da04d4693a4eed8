//! Brings claims and volumes together, and keeps both from going while they are in use.
//!
//! Source: `pkg/controller/volume/persistentvolume/{pv_controller,index}.go`, `pkg/controller/volume/{pvcprotection,pvprotection}`,
//! `plugin/pkg/admission/storage/storageclass/setdefault`. Volumes are made and deleted by an external provisioner (see
//! [`super::provisioner`]); resizing, recycling and attribute classes are not modelled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::Recorder;
use super::pods::{Key, finished, key_of, node_name};
use crate::api::Api;
use crate::controller::Controller;
use crate::quantity::Quantity;
use crate::select::Labels;
use crate::store::{Change, EventType, Object};

pub(super) const CLAIMS: &str = "persistentvolumeclaims";
pub(super) const VOLUMES: &str = "persistentvolumes";
pub(super) const CLASSES: &str = "storage.k8s.io/storageclasses";
/// Annotations of `component-helpers/storage/volume/pv_helpers.go`.
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
pub(super) const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const OLD_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PVC_PROTECTION: &str = "kubernetes.io/pvc-protection";
const PV_PROTECTION: &str = "kubernetes.io/pv-protection";
const VAC_PROTECTION: &str = "kubernetes.io/vac-protection";
const ATTRIBUTES: &str = "storage.k8s.io/volumeattributesclasses";

pub(super) struct Volumes {
    recorder: Recorder,
    /// Which pods name each claim.
    users: BTreeMap<Key, BTreeSet<String>>,
    unbound: BTreeSet<Key>,
}

impl Default for Volumes {
    fn default() -> Self {
        Volumes { recorder: Recorder::new("persistentvolume-controller"), users: BTreeMap::new(), unbound: BTreeSet::new() }
    }
}

impl Controller for Volumes {
    fn name(&self) -> &'static str {
        "persistentvolume-binder"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let (mut claims, mut volumes) = (BTreeSet::new(), BTreeSet::new());
        for change in changed {
            match change.plural() {
                CLAIMS => {
                    claims.insert(key_of(&change.object));
                    let volume = change.object.value()["spec"]["volumeName"].as_str().unwrap_or_default().to_owned();
                    volumes.extend((!volume.is_empty()).then_some(volume));
                }
                VOLUMES => {
                    volumes.insert(change.name().to_owned());
                    // Whoever waits may want it.
                    claims.extend(self.unbound.iter().cloned());
                    let of = &change.object.value()["spec"]["claimRef"];
                    let key = (text(&of["namespace"]), text(&of["name"]));
                    claims.extend((!key.1.is_empty()).then_some(key));
                }
                CLASSES => claims.extend(self.unbound.iter().cloned()),
                // A claim that waits is not looked at for a pod's sake; one that is to go is.
                "pods" => {
                    let used = self.used(change);
                    let going = |key: &Key| api.store().get(CLAIMS, &key.0, &key.1).is_some_and(|claim| claim.meta.deletion.is_some());
                    claims.extend(used.into_iter().filter(going));
                }
                _ => {}
            }
        }
        for name in volumes {
            self.volume(api, now, &name);
        }
        for key in claims {
            self.claim(api, now, &key);
        }
        if changed.iter().any(|change| matches!(change.plural(), CLAIMS | VOLUMES | ATTRIBUTES)) {
            let_attributes_go(api, now);
        }
    }

    fn unsettled(&self, _: &Api) -> Vec<String> {
        // What waits here waits for a pod, a provisioner or a user.
        Vec::new()
    }
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The claims that a pod names; ephemeral ones by the name that their controller gives them.
pub(super) fn claims_of(pod: &Value) -> impl Iterator<Item = String> + '_ {
    pod["spec"]["volumes"].as_array().into_iter().flatten().filter_map(|volume| {
        let named = volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned);
        let own = || volume["ephemeral"].is_object().then(|| format!("{}-{}", text(&pod["metadata"]["name"]), text(&volume["name"])));
        named.or_else(own)
    })
}

pub(super) fn delays(class: Option<&Value>) -> bool {
    class.is_some_and(|class| class["volumeBindingMode"] == "WaitForFirstConsumer")
}

impl Volumes {
    /// Takes a pod in; the claims that it concerns.
    fn used(&mut self, change: &Change) -> Vec<Key> {
        let pod = change.object.value();
        let uses = change.event != EventType::Deleted && !finished(&pod);
        let mut keys = Vec::new();
        for claim in claims_of(&pod) {
            let key = (change.namespace().to_owned(), claim);
            let users = self.users.entry(key.clone()).or_default();
            if uses {
                users.insert(change.name().to_owned());
            } else {
                users.remove(change.name());
            }
            if users.is_empty() {
                self.users.remove(&key);
            }
            keys.push(key);
        }
        keys
    }

    fn claim(&mut self, api: &mut Api, now: Timestamp, key: &Key) {
        let Some(claim) = api.store().get(CLAIMS, &key.0, &key.1).cloned() else {
            self.unbound.remove(key);
            return;
        };
        if claim.meta.deletion.is_some() && claim.meta.finalizers.iter().any(|one| one == PVC_PROTECTION) && !self.users.contains_key(key) {
            drop_finalizer(api, now, &claim, PVC_PROTECTION);
            return;
        }
        let value = claim.value();
        if value["metadata"]["annotations"][BIND_COMPLETED].is_string() {
            self.unbound.remove(key);
            return self.bound_claim(api, now, &claim, &value);
        }
        self.unbound.insert(key.clone());
        if let Some(name) = value["spec"]["volumeName"].as_str().filter(|name| !name.is_empty()) {
            let volume = api.store().get(VOLUMES, "", name).cloned();
            // A volume that is another claim's stays so: the claim waits.
            if let Some(volume) = volume.filter(|volume| may_take(&volume.value(), &claim) && satisfies(&volume.value(), &value)) {
                self.bind(api, now, &volume, &claim, false);
            }
            return;
        }
        let class = value["spec"]["storageClassName"].as_str().unwrap_or_default();
        let class_value = api.store().get(CLASSES, "", class).map(|class| class.value());
        let delayed = delays(class_value.as_deref());
        if let Some(volume) = best(api, &claim, &value, delayed) {
            return self.bind(api, now, &volume, &claim, true);
        }
        if value["spec"].get("storageClassName").is_none() && self.take_default_class(api, now, &claim) {
            return;
        }
        let chosen = value["metadata"]["annotations"][SELECTED_NODE].is_string();
        if delayed && !chosen {
            let waiting: Vec<&String> = self.users.get(key).into_iter().flatten().filter(|pod| unscheduled(api, &key.0, pod)).collect();
            let (reason, message) = match waiting[..] {
                [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
                [pod] => ("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
                _ => {
                    let names: Vec<&str> = waiting.iter().map(|name| name.as_str()).collect();
                    ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", names.join(",")))
                }
            };
            self.recorder.normal(api, now, &claim, reason, &message);
        } else if !class.is_empty() {
            self.ask_provisioner(api, now, &claim, class, class_value.as_deref());
        } else {
            let message = "no persistent volumes available for this claim and no storage class is set";
            self.recorder.normal(api, now, &claim, "FailedBinding", message);
        }
    }

    fn ask_provisioner(&mut self, api: &mut Api, now: Timestamp, claim: &Arc<Object>, class: &str, value: Option<&Value>) {
        let Some(provisioner) = value.and_then(|class| class["provisioner"].as_str()) else {
            let message = format!("storageclass.storage.k8s.io {class:?} not found");
            return self.recorder.warning(api, now, claim, "ProvisioningFailed", &message);
        };
        if provisioner == "kubernetes.io/no-provisioner" {
            return;
        }
        let asked = api.update_with(now, CLAIMS, &claim.meta.namespace, &claim.meta.name, None, |claim| {
            for key in [PROVISIONER, OLD_PROVISIONER] {
                annotate(claim, key, provisioner);
            }
        });
        let Ok(claim) = asked else { return };
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. \
             If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        self.recorder.normal(api, now, &claim, "ExternalProvisioning", &message);
    }

    /// A claim made before there was a default class gets it when there is one (assignDefaultStorageClass).
    fn take_default_class(&mut self, api: &mut Api, now: Timestamp, claim: &Object) -> bool {
        let Some(class) = crate::admission::default_class(api) else { return false };
        let change = |claim: &mut Value| claim["spec"]["storageClassName"] = json!(class);
        api.update_with(now, CLAIMS, &claim.meta.namespace, &claim.meta.name, None, change).is_ok()
    }

    fn bind(&mut self, api: &mut Api, now: Timestamp, volume: &Object, claim: &Arc<Object>, chosen_here: bool) {
        let was_free = !volume.value()["spec"]["claimRef"].is_object();
        let bound = api.update_with(now, VOLUMES, "", &volume.meta.name, None, |volume| {
            volume["spec"]["claimRef"] = reference(claim);
            if was_free {
                annotate(volume, BOUND_BY_CONTROLLER, "yes");
            }
        });
        let told = bound.and_then(|_| set_phase(api, now, VOLUMES, "", &volume.meta.name, "Bound"));
        let Ok(volume) = told else { return };
        let written = api.update_with(now, CLAIMS, &claim.meta.namespace, &claim.meta.name, None, |claim| {
            claim["spec"]["volumeName"] = json!(volume.meta.name);
            if chosen_here {
                annotate(claim, BOUND_BY_CONTROLLER, "yes");
            }
            annotate(claim, BIND_COMPLETED, "yes");
        });
        if written.is_ok() {
            tell_bound(api, now, claim, &volume.value());
            self.unbound.remove(&key_of(claim));
        }
    }

    fn bound_claim(&mut self, api: &mut Api, now: Timestamp, claim: &Arc<Object>, value: &Value) {
        let name = text(&value["spec"]["volumeName"]);
        let volume = api.store().get(VOLUMES, "", &name).map(|volume| volume.value());
        match volume.filter(|volume| volume["spec"]["claimRef"]["uid"] == claim.meta.uid.as_str()) {
            Some(volume) => tell_bound(api, now, claim, &volume),
            None if value["status"]["phase"] != "Lost" => {
                // Gone meanwhile: nobody is left to tell.
                let _ = set_phase(api, now, CLAIMS, &claim.meta.namespace, &claim.meta.name, "Lost");
                let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
                self.recorder.warning(api, now, claim, "ClaimLost", message);
            }
            None => {}
        }
    }

    fn volume(&mut self, api: &mut Api, now: Timestamp, name: &str) {
        let Some(volume) = api.store().get(VOLUMES, "", name).cloned() else { return };
        let value = volume.value();
        let of = &value["spec"]["claimRef"];
        let claim = api.store().get(CLAIMS, &text(&of["namespace"]), &text(&of["name"])).cloned();
        let phase = match claim {
            _ if !of.is_object() || text(&of["uid"]).is_empty() => "Available",
            Some(claim) if of["uid"] == claim.meta.uid.as_str() => {
                let claims_it = claim.value()["spec"]["volumeName"] == name;
                if claims_it { "Bound" } else { value["status"]["phase"].as_str().unwrap_or("Pending") }
            }
            _ => "Released",
        };
        if value["status"]["phase"] != phase {
            // Gone meanwhile: then there is nothing to say of it.
            let _ = set_phase(api, now, VOLUMES, "", name, phase);
        }
        if volume.meta.deletion.is_some() && phase != "Bound" && volume.meta.finalizers.iter().any(|one| one == PV_PROTECTION) {
            drop_finalizer(api, now, &volume, PV_PROTECTION);
        }
    }
}

/// The smallest volume that will do; one that is the claim's already comes first (findBestMatchForClaim).
fn best(api: &Api, claim: &Arc<Object>, value: &Value, delayed: bool) -> Option<Arc<Object>> {
    let fits = |volume: &&Arc<Object>| {
        let found = volume.value();
        satisfies(&found, value) && selects(value, &volume.meta.labels) && may_take(&found, claim)
    };
    let mine = |volume: &&Arc<Object>| volume.value()["spec"]["claimRef"].is_object();
    let all: Vec<&Arc<Object>> = api.store().list(VOLUMES).filter(fits).collect();
    if let Some(found) = all.iter().copied().find(mine) {
        return Some(found.clone());
    }
    if delayed {
        return None;
    }
    let free = all.into_iter().filter(|volume| matches!(volume.value()["status"]["phase"].as_str(), Some("Available")));
    free.min_by_key(|volume| (size(&volume.value()["spec"]["capacity"]), volume.meta.name.clone())).cloned()
}

fn selects(claim: &Value, labels: &BTreeMap<String, String>) -> bool {
    let selector = &claim["spec"]["selector"];
    !selector.is_object() || Labels::of(selector).is_some_and(|selector| selector.matches(labels))
}

fn may_take(volume: &Value, claim: &Object) -> bool {
    let of = &volume["spec"]["claimRef"];
    let ours = of["namespace"] == claim.meta.namespace.as_str() && of["name"] == claim.meta.name.as_str();
    !of.is_object() || (ours && (text(&of["uid"]).is_empty() || of["uid"] == claim.meta.uid.as_str()))
}

/// Size, class, mode and access (checkVolumeSatisfyClaim).
fn satisfies(volume: &Value, claim: &Value) -> bool {
    let (has, wants) = (&volume["spec"], &claim["spec"]);
    let modes = has["accessModes"].as_array();
    let class = |of: &Value| text(&of["storageClassName"]);
    !volume["metadata"]["deletionTimestamp"].is_string()
        && size(&has["capacity"]) >= size(&wants["resources"]["requests"])
        && class(has) == class(wants)
        && has["volumeMode"] == wants["volumeMode"]
        && wants["accessModes"].as_array().into_iter().flatten().all(|mode| modes.is_some_and(|modes| modes.contains(mode)))
}

/// Bytes of `storage`.
fn size(amounts: &Value) -> i64 {
    amounts["storage"].as_str().and_then(|text| Quantity::parse(text).ok()).map_or(0, |quantity| quantity.value())
}

fn unscheduled(api: &Api, namespace: &str, pod: &str) -> bool {
    api.store().get("pods", namespace, pod).is_some_and(|pod| node_name(&pod.value()).is_empty())
}

pub(super) fn reference(claim: &Object) -> Value {
    json!({
        "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": claim.meta.namespace, "name": claim.meta.name,
        "uid": claim.meta.uid, "resourceVersion": claim.meta.resource_version.to_string(),
    })
}

pub(super) fn annotate(object: &mut Value, key: &str, value: &str) {
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][key] = json!(value);
}

fn tell_bound(api: &mut Api, now: Timestamp, claim: &Object, volume: &Value) {
    // Gone meanwhile: then it is not bound.
    let _ = api.update_with(now, CLAIMS, &claim.meta.namespace, &claim.meta.name, Some("status"), |claim| {
        claim["status"]["phase"] = json!("Bound");
        claim["status"]["accessModes"] = volume["spec"]["accessModes"].clone();
        claim["status"]["capacity"] = volume["spec"]["capacity"].clone();
    });
}

fn set_phase(api: &mut Api, now: Timestamp, plural: &str, namespace: &str, name: &str, phase: &str) -> Result<Arc<Object>, crate::Status> {
    api.update_with(now, plural, namespace, name, Some("status"), |object| {
        if plural == VOLUMES && object["status"]["phase"] != phase {
            object["status"]["lastPhaseTransitionTime"] = json!(crate::time::seconds(now));
        }
        object["status"]["phase"] = json!(phase);
    })
}

/// A class of attributes goes when no claim and no volume has it (`pkg/controller/volume/vacprotection`).
fn let_attributes_go(api: &mut Api, now: Timestamp) {
    let going: Vec<Arc<Object>> = api.store().list(ATTRIBUTES).filter(|class| class.meta.deletion.is_some()).cloned().collect();
    for class in going {
        let has = |object: &Arc<Object>| {
            let value = object.value();
            [&value["spec"]["volumeAttributesClassName"], &value["status"]["currentVolumeAttributesClassName"]]
                .into_iter()
                .any(|name| *name == class.meta.name.as_str())
        };
        if !api.store().list(CLAIMS).chain(api.store().list(VOLUMES)).any(has) {
            drop_finalizer(api, now, &class, VAC_PROTECTION);
        }
    }
}

fn drop_finalizer(api: &mut Api, now: Timestamp, object: &Object, finalizer: &str) {
    // Gone meanwhile: then it needs no protection.
    let _ = api.update_with(now, &object.kind.key, &object.meta.namespace, &object.meta.name, None, |object| {
        if let Some(list) = object["metadata"]["finalizers"].as_array_mut() {
            list.retain(|one| one != finalizer);
        }
    });
}
