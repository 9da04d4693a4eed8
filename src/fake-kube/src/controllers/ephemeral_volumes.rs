//! Makes the claims of pods' generic ephemeral volumes, which go with their pods.
//!
//! Source: `pkg/controller/volume/ephemeral/controller.go`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::Recorder;
use super::pods::{Key, key_of, owner_reference};
use crate::api::Api;
use crate::controller::Controller;
use crate::store::Change;

const PODS: &str = "pods";
const CLAIMS: &str = "persistentvolumeclaims";

pub(super) struct EphemeralVolumes {
    recorder: Recorder,
}

impl Default for EphemeralVolumes {
    fn default() -> Self {
        EphemeralVolumes { recorder: Recorder::new("ephemeral_volume") }
    }
}

impl Controller for EphemeralVolumes {
    fn name(&self) -> &'static str {
        "ephemeral-volume"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut concerned: BTreeSet<Key> = BTreeSet::new();
        for change in changed {
            match change.plural() {
                PODS => drop(concerned.insert((change.namespace().to_owned(), change.name().to_owned()))),
                // A claim that is gone is made again while its pod is there.
                CLAIMS => {
                    let owner = change.object.meta.controller().filter(|owner| owner.kind == "Pod");
                    concerned.extend(owner.map(|owner| (change.namespace().to_owned(), owner.name.clone())));
                }
                _ => {}
            }
        }
        for key in concerned {
            self.furnish(api, now, &key);
        }
    }
}

impl EphemeralVolumes {
    fn furnish(&mut self, api: &mut Api, now: Timestamp, key: &Key) {
        let Some(pod) = api.store().get(PODS, &key.0, &key.1).filter(|pod| pod.meta.deletion.is_none()).cloned() else { return };
        let value = pod.value();
        for volume in value["spec"]["volumes"].as_array().into_iter().flatten().filter(|volume| volume["ephemeral"].is_object()) {
            let volume_name = volume["name"].as_str().unwrap_or_default();
            let name = format!("{}-{volume_name}", key_of(&pod).1);
            let refused = match api.store().get(CLAIMS, &key.0, &name) {
                Some(claim) if claim.meta.controller().is_some_and(|owner| owner.uid == pod.meta.uid) => continue,
                Some(_) => format!("PVC {}/{name} was not created for pod {}/{} (pod is not owner)", key.0, key.0, key.1),
                None => match api.create_aside(
                    now,
                    CLAIMS,
                    &key.0,
                    claim(&volume["ephemeral"]["volumeClaimTemplate"], &name, owner_reference(&pod)),
                ) {
                    Ok(_) => continue,
                    Err(status) => format!("create PVC {name}: {}", status.message),
                },
            };
            self.recorder.warning(api, now, &pod, "FailedBinding", &format!("ephemeral volume {volume_name}: {refused}"));
        }
    }
}

fn claim(template: &Value, name: &str, owner: Value) -> Value {
    let mut metadata = json!({ "name": name, "ownerReferences": [owner] });
    for key in ["labels", "annotations"] {
        if let Some(value) = template["metadata"].get(key).filter(|value| !value.is_null()) {
            metadata[key] = value.clone();
        }
    }
    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"] })
}
