//! Excludes nodes where a pod's volumes cannot be, or are one too many; says which claims must be bound for a node.
//!
//! Source: `framework/plugins/{volumerestrictions,nodevolumelimits,volumebinding,volumezone}`. Storage capacity (CSIStorageCapacity),
//! VolumeAttachments of pods that are gone and volumes named in the pod itself are not looked at.

use super::{Plugin, Rejection};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::storage::{Claim, Storage, Volume};
use crate::view::ClusterView;
use std::collections::BTreeMap;

const NODE_CONFLICT: &str = "node(s) didn't match PersistentVolume's node affinity";
const BIND_CONFLICT: &str = "node(s) didn't find available persistent volumes to bind";
const NOT_THERE: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const TOO_MANY: &str = "node(s) exceed max volume count";
const NO_ZONE: &str = "node(s) had no available volume zone";
const IN_USE: &str = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";
/// Labels of volumes that bind them to a place (`volume_zone.go`, topologyLabels).
const PLACES: [&str; 4] = [
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

/// What becomes of a claim when its pod goes to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// This volume is there and fits.
    Volume(String),
    /// A volume is to be made where the node is.
    Provision,
}

/// A pod's claims, looked up once per cycle.
#[derive(Clone)]
pub(crate) struct Claims<'a> {
    storage: &'a Storage,
    bound: Vec<&'a Claim>,
    unbound: Vec<&'a Claim>,
    /// How many others have a claim of its that only one pod may have.
    in_use: i64,
}

impl<'a> Claims<'a> {
    /// # Errors
    /// The words of the pre-filter when no node will do: a claim that is missing, lost, going, or to be bound before any pod.
    pub fn prepare(pod: &'a PodInfo, view: &'a ClusterView) -> Result<Self, (Plugin, String)> {
        let storage = view.storage();
        let mut claims = Claims { storage, bound: Vec::new(), unbound: Vec::new(), in_use: 0 };
        let refuse = |why: String| (Plugin::VolumeBinding, why);
        let mut immediate = false;
        for (name, ephemeral) in &pod.claims {
            let Some(claim) = storage.claim(&pod.namespace, name) else {
                return Err(refuse(match ephemeral {
                    true => format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"),
                    false => format!("persistentvolumeclaim {name:?} not found"),
                }));
            };
            if claim.lost {
                return Err(refuse(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {:?}", claim.volume)));
            }
            if claim.terminating {
                return Err(refuse(format!("persistentvolumeclaim {name:?} is being deleted")));
            }
            if claim.one_pod {
                let others = view.assigned_pods().filter(|other| other.namespace == pod.namespace && other.name != pod.name);
                claims.in_use += others.filter(|other| other.claims.iter().any(|(used, _)| used == name)).count() as i64;
            }
            if claim.bound {
                claims.bound.push(claim);
            } else if storage.delays(claim) && claim.volume.is_empty() {
                claims.unbound.push(claim);
            } else {
                immediate = true;
            }
        }
        if immediate { Err(refuse("pod has unbound immediate PersistentVolumeClaims".to_owned())) } else { Ok(claims) }
    }

    pub fn filter(&self, node: &NodeInfo) -> Option<Rejection> {
        if self.bound.is_empty() && self.unbound.is_empty() {
            return None;
        }
        self.restriction().or_else(|| self.limits(node)).or_else(|| self.binding(node).err()).or_else(|| self.zone(node))
    }

    /// As they would be with these pods as well (`by` 1), or without them (-1).
    pub fn change(&mut self, pod: &PodInfo, changed: &[&PodInfo], by: i64) {
        for claim in self.bound.iter().chain(&self.unbound).filter(|claim| claim.one_pod) {
            let using = |one: &&&PodInfo| one.namespace == pod.namespace && one.claims.iter().any(|(used, _)| *used == claim.name);
            self.in_use += by * changed.iter().filter(using).count() as i64;
        }
    }

    fn restriction(&self) -> Option<Rejection> {
        (self.in_use > 0).then(|| Rejection::resolvable(Plugin::VolumeRestrictions, IN_USE))
    }

    /// More volumes of one driver than its CSINode says.
    fn limits(&self, node: &NodeInfo) -> Option<Rejection> {
        let limits = self.storage.limits(&node.name)?;
        let mut attached: BTreeMap<String, &str> = BTreeMap::new();
        for pod in node.pods.values() {
            let theirs = pod.claims.iter().filter_map(|(name, _)| self.storage.claim(&pod.namespace, name));
            attached.extend(theirs.filter_map(|claim| self.storage.attachment(claim)));
        }
        let wanted: BTreeMap<String, &str> =
            self.bound.iter().chain(&self.unbound).filter_map(|claim| self.storage.attachment(claim)).collect();
        let count = |all: &BTreeMap<String, &str>, driver: &str| all.values().filter(|one| **one == driver).count() as i64;
        let new: BTreeMap<String, &str> = wanted.into_iter().filter(|(name, _)| !attached.contains_key(name)).collect();
        let over = limits.iter().any(|(driver, limit)| count(&new, driver) > 0 && count(&attached, driver) + count(&new, driver) > *limit);
        over.then(|| Rejection::resolvable(Plugin::NodeVolumeLimits, TOO_MANY))
    }

    /// What the claims need on this node.
    pub fn binding(&self, node: &NodeInfo) -> Result<Vec<(String, Binding)>, Rejection> {
        let (mut conflict, mut missing, mut unmatched) = (false, false, false);
        for claim in &self.bound {
            match self.storage.volume(&claim.volume) {
                Some(volume) => conflict |= !volume.allows(node),
                None => missing = true,
            }
        }
        let mut plan: Vec<(String, Binding)> = Vec::new();
        // The smaller claims choose first (`findMatchingVolumes`, byPVCSize).
        let mut unbound = self.unbound.clone();
        unbound.sort_by_key(|claim| claim.size);
        for claim in unbound {
            let taken = |volume: &Volume| plan.iter().any(|(_, with)| *with == Binding::Volume(volume.name.clone()));
            let binding = match &claim.selected_node {
                Some(selected) => (*selected == node.name).then_some(Binding::Provision),
                None => self
                    .storage
                    .match_for(claim, node, taken)
                    .map(|volume| Binding::Volume(volume.name.clone()))
                    .or_else(|| self.storage.can_provision(claim, node).then_some(Binding::Provision)),
            };
            match binding {
                Some(binding) => plan.push((claim.name.clone(), binding)),
                None => unmatched = true,
            }
        }
        let reasons: Vec<String> = [(conflict, NODE_CONFLICT), (unmatched, BIND_CONFLICT), (missing, NOT_THERE)]
            .into_iter()
            .filter(|(holds, _)| *holds)
            .map(|(_, words)| words.to_owned())
            .collect();
        if reasons.is_empty() { Ok(plan) } else { Err(Rejection { plugin: Plugin::VolumeBinding, reasons, unresolvable: true }) }
    }

    /// A volume's zone label must be one that the node has; nodes without any such label are let through.
    fn zone(&self, node: &NodeInfo) -> Option<Rejection> {
        if !PLACES.iter().any(|key| node.labels.contains_key(*key)) {
            return None;
        }
        let volumes = self.bound.iter().filter_map(|claim| self.storage.volume(&claim.volume));
        let elsewhere = |volume: &Volume| {
            PLACES.iter().any(|key| {
                let Some(places) = volume.labels.get(*key) else { return false };
                let other = key.replace("failure-domain.beta.kubernetes.io", "topology.kubernetes.io");
                let here = node.labels.get(*key).or_else(|| node.labels.get(&other));
                // Several places are joined by `__`.
                !here.is_some_and(|here| places.split("__").any(|place| place == here))
            })
        };
        volumes.into_iter().any(elsewhere).then(|| Rejection::unresolvable(Plugin::VolumeZone, NO_ZONE))
    }
}
