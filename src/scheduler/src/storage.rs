//! Claims, volumes, classes and drivers' limits as scheduling sees them.

use crate::node::NodeInfo;
use crate::selector::{NodeSelectorTerm, Selector};
use crate::wire::{self, Labels, ReadError};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The in-tree name of a driver that is migrated (`csi-translation-lib/plugins/aws_ebs.go`).
const MIGRATED: (&str, &str) = ("kubernetes.io/aws-ebs", "ebs.csi.aws.com");
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// Everything about volumes that the rules look at.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    /// By namespace and name.
    claims: BTreeMap<(String, String), Claim>,
    volumes: BTreeMap<String, Volume>,
    classes: BTreeMap<String, Class>,
    /// Per node and driver.
    limits: BTreeMap<String, BTreeMap<String, i64>>,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub namespace: String,
    pub name: String,
    pub class: String,
    /// The volume that it has, or asks for; empty for none.
    pub volume: String,
    /// The volume controller has finished.
    pub bound: bool,
    pub lost: bool,
    pub terminating: bool,
    /// `ReadWriteOncePod`.
    pub one_pod: bool,
    pub modes: BTreeSet<String>,
    pub mode: String,
    /// Bytes.
    pub size: i64,
    pub selector: Option<Selector>,
    pub selected_node: Option<String>,
}

/// A PersistentVolume.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    pub name: String,
    pub labels: Labels,
    pub class: String,
    pub modes: BTreeSet<String>,
    pub mode: String,
    /// Bytes.
    pub size: i64,
    /// Namespace and name of the claim that it is kept for.
    pub claim: Option<(String, String)>,
    pub available: bool,
    /// CSI driver and handle.
    pub driver: Option<(String, String)>,
    /// Where it can be; `None`: anywhere.
    pub terms: Option<Vec<NodeSelectorTerm>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Class {
    provisioner: String,
    delays: bool,
    /// Alternatives of key and values.
    topologies: Vec<Vec<(String, Vec<String>)>>,
}

impl Volume {
    pub fn allows(&self, node: &NodeInfo) -> bool {
        self.terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(&node.name, &node.labels)))
    }
}

fn driver_of(provisioner: &str) -> &str {
    if provisioner == MIGRATED.0 { MIGRATED.1 } else { provisioner }
}

impl Storage {
    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Claim> {
        self.claims.get(&(namespace.to_owned(), name.to_owned()))
    }

    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.get(name)
    }

    pub(crate) fn limits(&self, node: &str) -> Option<&BTreeMap<String, i64>> {
        self.limits.get(node)
    }

    pub(crate) fn delays(&self, claim: &Claim) -> bool {
        self.classes.get(&claim.class).is_some_and(|class| class.delays)
    }

    /// The volume that a claim attaches, by a name that is its own, and its driver.
    pub(crate) fn attachment<'a>(&'a self, claim: &'a Claim) -> Option<(String, &'a str)> {
        match self.volumes.get(&claim.volume) {
            Some(volume) => volume.driver.as_ref().map(|(driver, handle)| (format!("{driver}/{handle}"), driver.as_str())),
            None => {
                let class = self.classes.get(&claim.class)?;
                let driver = driver_of(&class.provisioner);
                Some((format!("{driver}/{}/{}", claim.namespace, claim.name), driver))
            }
        }
    }

    /// The smallest volume for a claim that can be where the node is (`FindMatchingVolume`).
    pub(crate) fn match_for(&self, claim: &Claim, node: &NodeInfo, taken: impl Fn(&Volume) -> bool) -> Option<&Volume> {
        let mine = |volume: &Volume| volume.claim.as_ref().map(|(namespace, name)| (*namespace == claim.namespace) & (*name == claim.name));
        let fits = |volume: &&Volume| {
            volume.class == claim.class
                && volume.size >= claim.size
                && volume.mode == claim.mode
                && claim.modes.is_subset(&volume.modes)
                && mine(volume) != Some(false)
                && (volume.available || mine(volume) == Some(true))
                && claim.selector.as_ref().is_none_or(|selector| selector.matches(&volume.labels))
                && volume.allows(node)
                && !taken(volume)
        };
        let all: Vec<&Volume> = self.volumes.values().filter(fits).collect();
        let kept = all.iter().copied().find(|volume| volume.claim.is_some());
        kept.or_else(|| all.into_iter().min_by_key(|volume| (volume.size, volume.name.clone())))
    }

    /// Whether the class makes volumes, there too (`checkVolumeProvisions`).
    pub(crate) fn can_provision(&self, claim: &Claim, node: &NodeInfo) -> bool {
        let Some(class) = self.classes.get(&claim.class) else { return false };
        let provisions = !class.provisioner.is_empty() && class.provisioner != NO_PROVISIONER;
        let here = |term: &Vec<(String, Vec<String>)>| {
            term.iter().all(|(key, values)| node.labels.get(key).is_some_and(|value| values.contains(value)))
        };
        provisions && (class.topologies.is_empty() || class.topologies.iter().any(here))
    }

    /// # Errors
    /// When the object is not a readable PersistentVolumeClaim.
    pub fn set_claim(&mut self, value: &Value) -> Result<(), ReadError> {
        let claim: wire::Claim = wire::read("PersistentVolumeClaim", value)?;
        let wire::Claim { metadata: meta, spec, status } = claim;
        let key = (meta.namespace.clone(), meta.name.clone());
        let note = |key: &str| meta.annotations.get(key).cloned();
        let read = Claim {
            bound: !spec.volume_name.is_empty() && note("pv.kubernetes.io/bind-completed").is_some(),
            selected_node: note("volume.kubernetes.io/selected-node"),
            lost: status.phase == "Lost",
            terminating: meta.deletion_timestamp.is_some(),
            one_pod: spec.access_modes.iter().any(|mode| mode == "ReadWriteOncePod"),
            modes: spec.access_modes.into_iter().collect(),
            mode: spec.volume_mode,
            size: spec.resources.requests.get("storage").map_or(0, vocabulary::Quantity::ceil),
            selector: spec.selector.as_ref().map(|selector| Selector::from_wire(Some(selector))),
            class: spec.storage_class_name,
            volume: spec.volume_name,
            namespace: meta.namespace,
            name: meta.name,
        };
        self.claims.insert(key, read);
        Ok(())
    }

    pub fn remove_claim(&mut self, namespace: &str, name: &str) {
        self.claims.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// # Errors
    /// When the object is not a readable PersistentVolume.
    pub fn set_volume(&mut self, value: &Value) -> Result<(), ReadError> {
        let volume: wire::Volume = wire::read("PersistentVolume", value)?;
        let wire::Volume { metadata: meta, spec, status } = volume;
        let claim = (!spec.claim_ref.name.is_empty()).then_some((spec.claim_ref.namespace, spec.claim_ref.name));
        let read = Volume {
            available: claim.is_none() && matches!(status.phase.as_str(), "Available" | "") && meta.deletion_timestamp.is_none(),
            claim,
            labels: meta.labels,
            class: spec.storage_class_name,
            modes: spec.access_modes.into_iter().collect(),
            mode: spec.volume_mode,
            size: spec.capacity.get("storage").map_or(0, vocabulary::Quantity::ceil),
            driver: (!spec.csi.driver.is_empty()).then_some((spec.csi.driver, spec.csi.volume_handle)),
            terms: spec
                .node_affinity
                .required
                .map(|required| required.node_selector_terms.iter().filter_map(NodeSelectorTerm::from_wire).collect()),
            name: meta.name.clone(),
        };
        self.volumes.insert(meta.name, read);
        Ok(())
    }

    pub fn remove_volume(&mut self, name: &str) {
        self.volumes.remove(name);
    }

    /// # Errors
    /// When the object is not a readable StorageClass.
    pub fn set_class(&mut self, value: &Value) -> Result<(), ReadError> {
        let class: wire::StorageClass = wire::read("StorageClass", value)?;
        let terms = class.allowed_topologies.into_iter().map(|term| {
            let of = term.match_label_expressions.into_iter();
            of.map(|one| (one.key, one.values)).collect()
        });
        let read = Class {
            topologies: terms.collect(),
            delays: class.volume_binding_mode == "WaitForFirstConsumer",
            provisioner: class.provisioner,
        };
        self.classes.insert(class.metadata.name, read);
        Ok(())
    }

    pub fn remove_class(&mut self, name: &str) {
        self.classes.remove(name);
    }

    /// # Errors
    /// When the object is not a readable CSINode.
    pub fn set_limits(&mut self, value: &Value) -> Result<(), ReadError> {
        let node: wire::CsiNode = wire::read("CSINode", value)?;
        let limits = node.spec.drivers.into_iter().filter_map(|driver| Some((driver.name, driver.allocatable?.count?)));
        self.limits.insert(node.metadata.name, limits.collect());
        Ok(())
    }

    pub fn remove_limits(&mut self, node: &str) {
        self.limits.remove(node);
    }
}
