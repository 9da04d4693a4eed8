//! What a pod's PersistentVolumeClaims mean for its place.
//!
//! Source: `C/pkg/controllers/provisioning/scheduling/volumetopology.go`, `C/pkg/scheduling/volumeusage.go`,
//! `C/pkg/utils/volume/volume.go`; the words of the faults are upstream's.

use crate::pod::expressions;
use crate::store::Key;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use planner::input::Volumes;
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::{Operator, Requirement, Requirements, labels};

/// What is known of storage.
pub trait Storage {
    fn volume_claim(&self, key: &Key) -> Option<&Arc<core::PersistentVolumeClaim>>;
    fn volume(&self, name: &str) -> Option<&Arc<core::PersistentVolume>>;
    fn storage_class(&self, name: &str) -> Option<&Arc<StorageClass>>;
}

/// The claims that the pod's volumes stand for; an ephemeral volume's is named after pod and volume.
pub fn claims(pod: &core::Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let name = |volume: &core::Volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or(""), volume.name)),
        (None, None) => None,
    };
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    volumes.iter().filter_map(name).map(|name| Key::new(namespace, &name)).collect()
}

/// Demands, limits and faults of these claims.
pub fn resolve(claims: &[Key], storage: &impl Storage) -> Volumes {
    let mut made = Volumes::default();
    let mut alternatives: Option<Vec<Requirements>> = None;
    for key in claims {
        if made.fault.is_none() {
            made.fault = fault(key, storage).map(Arc::from);
        }
        let Some(claim) = storage.volume_claim(key) else { continue };
        let more = demands(claim, storage);
        if !more.is_empty() {
            alternatives = Some(alternatives.map_or_else(|| more.clone(), |held| combined(&held, &more)));
        }
        if let Some(driver) = driver(claim, storage) {
            made.attached.push((driver, key.to_string().into()));
        }
    }
    made.requirements = alternatives.unwrap_or_default();
    made
}

fn text(field: Option<&String>) -> Option<&str> {
    field.map(String::as_str).filter(|text| !text.is_empty())
}

fn volume_of(claim: &core::PersistentVolumeClaim) -> Option<&str> {
    text(claim.spec.as_ref()?.volume_name.as_ref())
}

fn class_of(claim: &core::PersistentVolumeClaim) -> Option<&str> {
    text(claim.spec.as_ref()?.storage_class_name.as_ref())
}

/// Every pair of alternatives that go together; all pairs when none does.
fn combined(held: &[Requirements], more: &[Requirements]) -> Vec<Requirements> {
    let pairs = || held.iter().flat_map(|a| more.iter().map(move |b| (a, b)));
    let joined = |(a, b): (&Requirements, &Requirements)| {
        let mut both = a.clone();
        both.extend(b);
        both
    };
    let compatible: Vec<Requirements> = pairs().filter(|(a, b)| a.intersects(b)).map(joined).collect();
    if compatible.is_empty() { pairs().map(joined).collect() } else { compatible }
}

/// The OR terms of the bound volume, or of the class that will make one.
fn demands(claim: &core::PersistentVolumeClaim, storage: &impl Storage) -> Vec<Requirements> {
    match volume_of(claim) {
        Some(name) => storage.volume(name).map(|volume| volume_terms(volume)).unwrap_or_default(),
        None => class_of(claim).and_then(|name| storage.storage_class(name)).map(|class| class_terms(class)).unwrap_or_default(),
    }
}

fn volume_terms(volume: &core::PersistentVolume) -> Vec<Requirements> {
    let Some(spec) = &volume.spec else { return Vec::new() };
    let terms = spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref()).map(|r| r.node_selector_terms.as_slice());
    // A pod that moves leaves a local volume behind, so that the host of it does not bind.
    let leaves_host = spec.local.is_some() || spec.host_path.is_some();
    let read = |term: &core::NodeSelectorTerm| {
        let mut asked = expressions(term);
        if leaves_host {
            asked.remove(labels::HOSTNAME);
        }
        let named = term.match_expressions.as_ref().is_some_and(|all| !all.is_empty());
        (named && (leaves_host || !asked.is_empty())).then_some(asked)
    };
    terms.unwrap_or_default().iter().filter_map(read).collect()
}

fn class_terms(class: &StorageClass) -> Vec<Requirements> {
    let read = |term: &core::TopologySelectorTerm| -> Requirements {
        let all = term.match_label_expressions.iter().flatten();
        all.map(|e| Requirement::new(e.key.as_str(), Operator::In, e.values.iter().map(String::as_str))).collect()
    };
    class.allowed_topologies.iter().flatten().map(read).filter(|asked| !asked.is_empty()).collect()
}

/// The CSI driver that attaches the claim's volume, unless it is none that limits are known for.
fn driver(claim: &core::PersistentVolumeClaim, storage: &impl Storage) -> Option<Arc<str>> {
    if let Some(name) = volume_of(claim) {
        let spec = storage.volume(name)?.spec.as_ref()?;
        return match (&spec.csi, &spec.aws_elastic_block_store) {
            (Some(csi), _) => Some(csi.driver.as_str().into()),
            (None, Some(_)) => Some("ebs.csi.aws.com".into()),
            (None, None) => None,
        };
    }
    let provisioner = storage.storage_class(class_of(claim)?)?.provisioner.as_str();
    // `k8s.io/csi-translation-lib/plugins`
    let driver = match provisioner {
        "kubernetes.io/aws-ebs" => "ebs.csi.aws.com",
        "kubernetes.io/azure-disk" => "disk.csi.azure.com",
        "kubernetes.io/azure-file" => "file.csi.azure.com",
        "kubernetes.io/gce-pd" => "pd.csi.storage.gke.io",
        "kubernetes.io/cinder" => "cinder.csi.openstack.org",
        "kubernetes.io/portworx-volume" => "pxd.portworx.com",
        "kubernetes.io/vsphere-volume" => "csi.vsphere.vmware.com",
        other => other,
    };
    (!driver.is_empty()).then(|| driver.into())
}

/// Why kube-scheduler would refuse the claim (`volumetopology.go`, ValidatePersistentVolumeClaims).
fn fault(key: &Key, storage: &impl Storage) -> Option<String> {
    let Some(claim) = storage.volume_claim(key) else {
        let name = &key.name;
        return Some(format!(
            "getting persistent volume claim, persistentvolumeclaims \"{name}\" not found (PersistentVolumeClaim={name})"
        ));
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Some(format!("persistentvolumeclaim is being deleted (PersistentVolumeClaim={key})"));
    }
    let (volume, class) = (volume_of(claim), class_of(claim).unwrap_or(""));
    if claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Lost") {
        let volume = volume.unwrap_or("");
        return Some(format!(
            "persistentvolumeclaim bound to non-existent persistentvolume (PersistentVolume={volume}, PersistentVolumeClaim={key})"
        ));
    }
    if let Some(name) = volume {
        let wrong = match storage.volume(name) {
            None => Some(format!("persistentvolumes \"{name}\" not found")),
            Some(volume) => volume.metadata.deletion_timestamp.as_ref().map(|_| "persistentvolume is being deleted".to_owned()),
        };
        if let Some(wrong) = wrong {
            return Some(format!(
                "failed to validate pvc, {wrong} (PersistentVolume={name}, PersistentVolumeClaim={key}, StorageClass={class})"
            ));
        }
        let bound = claim.metadata.annotations.as_ref().is_some_and(|a| a.contains_key("pv.kubernetes.io/bind-completed"));
        return (!bound).then(|| {
            format!(
                "pvc is considered unbound because it does not contain annotation (PersistentVolume={name}, PersistentVolumeClaim={}, \
                 annotation=pv.kubernetes.io/bind-completed)",
                key.name
            )
        });
    }
    if class.is_empty() {
        return Some(format!("unbound pvc must define a storage class (PersistentVolumeClaim={key}, StorageClass=)"));
    }
    let place = format!("(PersistentVolumeClaim={key}, StorageClass={class})");
    match storage.storage_class(class) {
        None => Some(format!(
            "failed to validate pvc, failed to get storage class, storageclasses.storage.k8s.io \"{class}\" not found {place}"
        )),
        Some(found) if found.volume_binding_mode.as_deref() == Some("Immediate") => {
            Some(format!("failed to validate pvc, pvc with immediate volume binding mode must be bound {place}"))
        }
        Some(_) => None,
    }
}

/// Volumes that a node can attach, by driver (`C/pkg/controllers/state/cluster.go`, populateVolumeLimits).
pub fn limits(node: &CSINode) -> BTreeMap<Arc<str>, i64> {
    let limit = |driver: &k8s_openapi::api::storage::v1::CSINodeDriver| {
        Some((Arc::from(driver.name.as_str()), i64::from(driver.allocatable.as_ref()?.count.unwrap_or(0))))
    };
    node.spec.drivers.iter().filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[derive(Default)]
    struct Known {
        claims: BTreeMap<Key, Arc<core::PersistentVolumeClaim>>,
        volumes: BTreeMap<String, Arc<core::PersistentVolume>>,
        classes: BTreeMap<String, Arc<StorageClass>>,
    }

    impl Storage for Known {
        fn volume_claim(&self, key: &Key) -> Option<&Arc<core::PersistentVolumeClaim>> {
            self.claims.get(key)
        }
        fn volume(&self, name: &str) -> Option<&Arc<core::PersistentVolume>> {
            self.volumes.get(name)
        }
        fn storage_class(&self, name: &str) -> Option<&Arc<StorageClass>> {
            self.classes.get(name)
        }
    }

    fn key(name: &str) -> Key {
        Key::new("default", name)
    }

    fn known(claim: Value, volume: Value, class: Value) -> Known {
        let read = |value: Value| serde_json::from_value(value).expect("an object");
        let mut known = Known::default();
        known.claims.insert(key("data"), Arc::new(read(claim)));
        known.volumes.insert("pv".to_owned(), Arc::new(serde_json::from_value(volume).expect("a volume")));
        known.classes.insert("gp3".to_owned(), Arc::new(serde_json::from_value(class).expect("a class")));
        known
    }

    fn bound() -> Value {
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "pv", "storageClassName": "gp3"}})
    }

    fn unbound() -> Value {
        json!({"metadata": {}, "spec": {"storageClassName": "gp3"}})
    }

    fn volume(zones: &[&str]) -> Value {
        let term = |zone: &&str| json!({"matchExpressions": [{"key": labels::ZONE, "operator": "In", "values": [zone]}]});
        json!({"metadata": {}, "spec": {"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": zones.iter().map(term).collect::<Vec<_>>()}}}})
    }

    fn class(mode: &str) -> Value {
        json!({"metadata": {}, "provisioner": "kubernetes.io/aws-ebs", "volumeBindingMode": mode,
            "allowedTopologies": [{"matchLabelExpressions": [{"key": labels::ZONE, "values": ["c"]}]}]})
    }

    fn zones(volumes: &Volumes) -> Vec<String> {
        volumes.requirements.iter().map(|r| r.get(labels::ZONE).map_or_else(|| "any".to_owned(), ToString::to_string)).collect()
    }

    #[test]
    fn a_bound_claim_asks_for_where_its_volume_is_and_an_unbound_one_for_where_its_class_may_make_it() {
        let made = resolve(&[key("data")], &known(bound(), volume(&["a", "b"]), class("WaitForFirstConsumer")));
        assert_eq!((made.requirements.len(), made.fault.as_deref()), (2, None));
        assert_eq!(made.attached, [("ebs.csi.aws.com".into(), "default/data".into())]);
        let made = resolve(&[key("data")], &known(unbound(), volume(&["a"]), class("WaitForFirstConsumer")));
        assert_eq!((made.requirements.len(), made.fault.as_deref(), &*made.attached[0].0), (1, None, "ebs.csi.aws.com"));
        assert!(made.requirements[0].get(labels::ZONE).is_some_and(|zone| zone.has("c") && !zone.has("a")));
    }

    #[test]
    fn several_volumes_go_where_all_of_them_are() {
        let mut known = known(bound(), volume(&["a", "b"]), class("WaitForFirstConsumer"));
        let second = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "second"}});
        known.claims.insert(key("logs"), Arc::new(serde_json::from_value(second).expect("a claim")));
        known.volumes.insert("second".to_owned(), Arc::new(serde_json::from_value(volume(&["b", "c"])).expect("a volume")));
        let made = resolve(&[key("data"), key("logs")], &known);
        assert_eq!(zones(&made).len(), 1);
        assert!(made.requirements[0].get(labels::ZONE).is_some_and(|zone| zone.single().is_some_and(|z| &**z == "b")));
    }

    #[test]
    fn the_host_of_a_local_volume_does_not_bind() {
        let local = json!({"metadata": {}, "spec": {"local": {"path": "/mnt"}, "nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n"]}]}]}}}});
        let made = resolve(&[key("data")], &known(bound(), local, class("WaitForFirstConsumer")));
        assert!(made.requirements == [Requirements::new()] && made.attached.is_empty());
    }

    #[rstest]
    #[case::missing("other", bound(), volume(&["a"]), class("WaitForFirstConsumer"), "getting persistent volume claim")]
    #[case::no_volume("data", json!({"metadata": {}, "spec": {"volumeName": "gone"}}), volume(&["a"]), class("WaitForFirstConsumer"), "persistentvolumes \"gone\" not found")]
    #[case::not_bound_yet("data", json!({"metadata": {}, "spec": {"volumeName": "pv"}}), volume(&["a"]), class("WaitForFirstConsumer"), "considered unbound")]
    #[case::lost("data", json!({"metadata": {}, "spec": {"volumeName": "pv"}, "status": {"phase": "Lost"}}), volume(&["a"]), class("WaitForFirstConsumer"), "bound to non-existent")]
    #[case::no_class("data", json!({"metadata": {}, "spec": {}}), volume(&["a"]), class("WaitForFirstConsumer"), "must define a storage class")]
    #[case::unknown_class("data", json!({"metadata": {}, "spec": {"storageClassName": "io9"}}), volume(&["a"]), class("WaitForFirstConsumer"), "failed to get storage class")]
    #[case::immediate("data", unbound(), volume(&["a"]), class("Immediate"), "immediate volume binding mode")]
    #[case::going("data", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}}), volume(&["a"]), class("Immediate"), "is being deleted")]
    fn faults(#[case] name: &str, #[case] claim: Value, #[case] volume: Value, #[case] class: Value, #[case] words: &str) {
        let made = resolve(&[key(name)], &known(claim, volume, class));
        assert!(made.fault.as_deref().is_some_and(|fault| fault.contains(words)), "{:?}", made.fault);
    }

    #[test]
    fn ephemeral_claims_are_named_after_pod_and_volume() {
        let pod = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"containers": [], "volumes": [
            {"name": "scratch", "ephemeral": {}}, {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "e", "emptyDir": {}}]}}))
        .expect("a pod");
        assert_eq!(claims(&pod), [key("web-scratch"), key("data")]);
    }
}
