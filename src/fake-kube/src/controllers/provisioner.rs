//! A hollow EBS CSI driver's provisioner: makes a volume in the zone of the node that was chosen, and deletes it when it is released.
//!
//! Source: `kubernetes-csi/external-provisioner` (`pkg/controller/controller.go`, names and events of `sig-storage-lib-external-provisioner`),
//! `aws-ebs-csi-driver` `pkg/driver/controller.go` (topology, volume handle, file system).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::attach_detach::ATTACHMENTS;
use super::events::Recorder;
use super::pods::{Key, key_of};
use super::volumes::{CLAIMS, CLASSES, PROVISIONER, SELECTED_NODE, VOLUMES, delays, reference, text};
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::store::{Change, EventType, Object};

/// The driver, and the in-tree name that is migrated to it.
const DRIVERS: [&str; 2] = ["ebs.csi.aws.com", "kubernetes.io/aws-ebs"];
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// From a claim's annotation to its volume: CreateVolume, until the volume is available. An assumption; AWS publishes no number.
const CREATION: SignedDuration = SignedDuration::from_millis(2_500);

pub(super) struct EbsProvisioner {
    due: BTreeMap<Key, Timestamp>,
    recorder: Recorder,
}

impl Default for EbsProvisioner {
    fn default() -> Self {
        EbsProvisioner { due: BTreeMap::new(), recorder: Recorder::new("ebs.csi.aws.com") }
    }
}

impl Controller for EbsProvisioner {
    fn name(&self) -> &'static str {
        "ebs-provisioner"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        for change in changed {
            match change.plural() {
                CLAIMS if change.event != EventType::Deleted => self.claim(api, now, &change.object),
                CLAIMS => drop(self.due.remove(&key_of(&change.object))),
                VOLUMES => release(api, now, &change.object.meta.name),
                // What is detached at last may go.
                ATTACHMENTS if change.event == EventType::Deleted => {
                    release(api, now, &text(&change.object.value()["spec"]["source"]["persistentVolumeName"]));
                }
                _ => {}
            }
        }
        let late: Vec<Key> = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in late {
            self.due.remove(&key);
            self.provision(api, now, &key);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due.values().min().copied()
    }

    fn unsettled(&self, _: &Api) -> Vec<String> {
        self.due.keys().map(|(namespace, name)| format!("a volume for claim {namespace}/{name} is being made")).collect()
    }
}

/// The node that was chosen, if there must be one; `None` when the claim is not to be provisioned now.
fn wanted(api: &Api, claim: &Value) -> Option<Option<Arc<Object>>> {
    let notes = &claim["metadata"]["annotations"];
    let ours = notes[PROVISIONER].as_str().is_some_and(|name| DRIVERS.contains(&name));
    if !ours || !text(&claim["spec"]["volumeName"]).is_empty() || claim["metadata"]["deletionTimestamp"].is_string() {
        return None;
    }
    let class = api.store().get(CLASSES, "", &text(&claim["spec"]["storageClassName"]))?.value();
    match notes[SELECTED_NODE].as_str() {
        Some(node) => Some(api.store().get("nodes", "", node).cloned()),
        None if delays(Some(&class)) => None,
        None => Some(None),
    }
}

impl EbsProvisioner {
    fn claim(&mut self, api: &mut Api, now: Timestamp, claim: &Arc<Object>) {
        let key = key_of(claim);
        if self.due.contains_key(&key) || wanted(api, &claim.value()).is_none() {
            return;
        }
        self.due.insert(key, now.saturating_add(CREATION).unwrap_or(Timestamp::MAX));
        let message = format!("External provisioner is provisioning volume for claim \"{}/{}\"", claim.meta.namespace, claim.meta.name);
        self.recorder.normal(api, now, claim, "Provisioning", &message);
    }

    fn provision(&mut self, api: &mut Api, now: Timestamp, key: &Key) {
        let Some(claim) = api.store().get(CLAIMS, &key.0, &key.1).cloned() else { return };
        let value = claim.value();
        let Some(node) = wanted(api, &value) else { return };
        let Some(class) = api.store().get(CLASSES, "", &text(&value["spec"]["storageClassName"])).map(|class| class.value()) else {
            return;
        };
        let place = match node {
            Some(node) => node.meta.labels.get(ZONE).cloned().zip(Some(node.meta.labels.get(REGION).cloned())),
            // Anywhere: the zones of the nodes that there are, by the claim's name (`chooseZoneForVolume`).
            None => spread(api, &class, &claim.meta.uid).map(|zone| (zone, None)),
        };
        let Some((zone, _)) = place else {
            let message = format!(
                "failed to provision volume with StorageClass {:?}: error generating accessibility requirements: no topology key found on CSINode",
                text(&value["spec"]["storageClassName"])
            );
            self.due.insert(key.clone(), now.saturating_add(SignedDuration::from_secs(10)).unwrap_or(Timestamp::MAX));
            return self.recorder.warning(api, now, &claim, "ProvisioningFailed", &message);
        };
        let name = format!("pvc-{}", claim.meta.uid);
        match api.create(now, VOLUMES, "", volume(&name, &claim, &value, &class, &zone)) {
            Err(why) if why.code != 409 => {
                self.recorder.warning(api, now, &claim, "ProvisioningFailed", &format!("failed to save volume: {why}"));
            }
            _ => self.recorder.normal(api, now, &claim, "ProvisioningSucceeded", &format!("Successfully provisioned volume {name}")),
        }
    }
}

/// A zone for a volume that no pod asked for: allowed by the class, else one that nodes are in.
fn spread(api: &Api, class: &Value, uid: &str) -> Option<String> {
    let allowed = class["allowedTopologies"].as_array().into_iter().flatten();
    let mut zones: BTreeSet<String> = allowed
        .flat_map(|term| term["matchLabelExpressions"].as_array().into_iter().flatten())
        .filter(|one| one["key"].as_str().is_some_and(|key| key.ends_with("/zone")))
        .flat_map(|one| one["values"].as_array().into_iter().flatten().map(text))
        .collect();
    if zones.is_empty() {
        zones.extend(api.store().list("nodes").filter_map(|node| node.meta.labels.get(ZONE).cloned()));
    }
    let turn = uid.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    let count = zones.len();
    zones.into_iter().nth(turn.checked_rem(count)?)
}

fn volume(name: &str, claim: &Object, value: &Value, class: &Value, zone: &str) -> Value {
    // An EBS volume's name is `vol-` and 17 hexadecimal digits.
    let digits: String = claim.meta.uid.chars().filter(char::is_ascii_hexdigit).take(17).collect();
    let mut spec = json!({
        "capacity": { "storage": value["spec"]["resources"]["requests"]["storage"] },
        "accessModes": value["spec"]["accessModes"],
        "claimRef": reference(claim),
        "csi": { "driver": DRIVERS[0], "volumeHandle": format!("vol-{digits}"), "fsType": "ext4" },
        "storageClassName": value["spec"]["storageClassName"],
        "persistentVolumeReclaimPolicy": class["reclaimPolicy"],
        "nodeAffinity": { "required": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": ZONE, "operator": "In", "values": [zone] }] },
        ] } },
    });
    if let Some(mode) = value["spec"].get("volumeMode") {
        spec["volumeMode"] = mode.clone();
    }
    json!({ "metadata": { "name": name, "annotations": { PROVISIONED_BY: DRIVERS[0] } }, "spec": spec })
}

/// Deletes what was made here and is nobody's any more, if its policy says so.
fn release(api: &mut Api, now: Timestamp, volume: &str) {
    let Some(volume) = api.store().get(VOLUMES, "", volume).cloned() else { return };
    let value = volume.value();
    let ours = volume.meta.annotations.get(PROVISIONED_BY).is_some_and(|by| by == DRIVERS[0]);
    let released = value["status"]["phase"] == "Released" && value["spec"]["persistentVolumeReclaimPolicy"] == "Delete";
    let attached =
        || api.store().list(ATTACHMENTS).any(|one| one.value()["spec"]["source"]["persistentVolumeName"] == volume.meta.name.as_str());
    if ours && released && volume.meta.deletion.is_none() && !attached() {
        // Gone already: then it is deleted.
        let _ = api.delete(now, VOLUMES, "", &volume.meta.name, DeleteOptions::default());
    }
}
