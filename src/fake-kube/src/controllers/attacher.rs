//! A hollow EBS CSI driver's attacher: attaches what somebody wants attached, and detaches it, each after a while.
//!
//! Source: `kubernetes-csi/external-attacher` (`pkg/controller/csi_handler.go`), `aws-ebs-csi-driver` `pkg/driver/controller.go` (devicePath).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::attach_detach::ATTACHMENTS;
use crate::api::Api;
use crate::controller::Controller;
use crate::store::{Change, EventType, Object};

const DRIVER: &str = "ebs.csi.aws.com";
const FINALIZER: &str = "external-attacher/ebs-csi-aws-com";
/// From the request to the device, and back. Assumptions; AWS publishes no numbers.
const ATTACH: SignedDuration = SignedDuration::from_millis(2_000);
const DETACH: SignedDuration = SignedDuration::from_millis(3_000);

#[derive(Default)]
pub(super) struct EbsAttacher {
    /// By the attachment's name.
    due: BTreeMap<String, Timestamp>,
}

impl Controller for EbsAttacher {
    fn name(&self) -> &'static str {
        "ebs-attacher"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        for change in changed.iter().filter(|change| change.plural() == ATTACHMENTS) {
            match work(&change.object).filter(|_| change.event != EventType::Deleted) {
                Some(wait) => {
                    let at = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
                    self.due.entry(change.name().to_owned()).or_insert(at);
                    hold(api, now, &change.object);
                }
                None => drop(self.due.remove(change.name())),
            }
        }
        let late: Vec<String> = self.due.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        for name in late {
            self.due.remove(&name);
            self.finish(api, now, &name);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due.values().min().copied()
    }

    fn unsettled(&self, api: &Api) -> Vec<String> {
        let of = |name: &String| api.store().get(ATTACHMENTS, "", name).map(|one| (one.meta.deletion.is_some(), one.value()));
        let words = self.due.keys().filter_map(of).map(|(going, one)| {
            let (volume, node) = (&one["spec"]["source"]["persistentVolumeName"], &one["spec"]["nodeName"]);
            format!("volume {volume} is being {} node {node}", if going { "detached from" } else { "attached to" })
        });
        words.collect()
    }
}

/// How long what is to be done with it takes, if anything is.
fn work(attachment: &Object) -> Option<SignedDuration> {
    let value = attachment.value();
    if value["spec"]["attacher"] != DRIVER {
        return None;
    }
    match attachment.meta.deletion {
        Some(_) => attachment.meta.finalizers.iter().any(|one| one == FINALIZER).then_some(DETACH),
        None => (value["status"]["attached"] != true).then_some(ATTACH),
    }
}

/// From the first request on it goes only when it is detached.
fn hold(api: &mut Api, now: Timestamp, attachment: &Object) {
    if attachment.meta.deletion.is_none() && !attachment.meta.finalizers.iter().any(|one| one == FINALIZER) {
        let node = attachment.value()["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        let id = api.store().get("storage.k8s.io/csinodes", "", &node).and_then(|node| {
            let value = node.value();
            let driver = value["spec"]["drivers"].as_array()?.iter().find(|one| one["name"] == DRIVER)?["nodeID"].as_str()?.to_owned();
            Some(driver)
        });
        // A conflict cannot be; what is gone needs no hold.
        let _ = api.update_with(now, ATTACHMENTS, "", &attachment.meta.name, None, |value| {
            value["metadata"]["finalizers"] = json!([FINALIZER]);
            if let Some(id) = id {
                value["metadata"]["annotations"]["csi.alpha.kubernetes.io/node-id"] = json!(id);
            }
        });
    }
}

impl EbsAttacher {
    fn finish(&mut self, api: &mut Api, now: Timestamp, name: &str) {
        let Some(attachment) = api.store().get(ATTACHMENTS, "", name).cloned() else { return };
        // What was asked for may have been taken back meanwhile; whatever is written here is a change that is looked at again.
        let _ = match attachment.meta.deletion {
            Some(_) => api.update_with(now, ATTACHMENTS, "", name, None, |value| {
                value["metadata"].as_object_mut().map(|metadata| metadata.shift_remove("finalizers"));
            }),
            None => api.update_with(now, ATTACHMENTS, "", name, Some("status"), |value| {
                value["status"] = json!({ "attached": true, "attachmentMetadata": { "devicePath": "/dev/xvdaa" } });
            }),
        };
    }
}
