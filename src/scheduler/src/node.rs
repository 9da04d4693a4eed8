//! A node and the sums over its pods, kept up to date pod by pod.

use crate::pod::{HostPort, PodInfo};
use crate::resources::Resource;
use crate::wire::{self, Labels, ReadError};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::Taint;

/// A node, its allocatable amounts, and what its pods hold (`framework/types.go`, NodeInfo).
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    pub name: String,
    pub labels: Labels,
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
    pub allocatable: Resource,
    pub allowed_pods: i64,
    pub requested: Resource,
    /// Sums as scored: with defaults for containers without a request.
    pub scored_milli_cpu: i64,
    pub scored_memory: i64,
    pub used_ports: Vec<HostPort>,
    /// By `namespace/name`.
    pub pods: BTreeMap<String, Arc<PodInfo>>,
    /// Pods that are not terminating, by the view's number for their namespace and labels.
    pub(crate) shapes: BTreeMap<u32, i64>,
    pub(crate) pods_with_affinity: usize,
    pub(crate) pods_with_required_anti_affinity: usize,
}

impl NodeInfo {
    /// Reads a node as the API stores it, without pods.
    ///
    /// # Errors
    /// When a field that scheduling needs has the wrong type, or a quantity cannot be read.
    pub fn from_json(node: &Value) -> Result<Self, ReadError> {
        let node: wire::Node = wire::read("Node", node)?;
        Ok(NodeInfo {
            name: node.metadata.name,
            labels: node.metadata.labels,
            unschedulable: node.spec.unschedulable,
            taints: node
                .spec
                .taints
                .into_iter()
                .map(|taint| Taint { key: taint.key.into(), value: taint.value.into(), effect: taint.effect })
                .collect(),
            allowed_pods: node.status.allocatable.get("pods").map_or(0, |quantity| quantity.ceil()),
            allocatable: Resource::from_amounts(&node.status.allocatable),
            ..NodeInfo::default()
        })
    }

    /// The same with these pods on it, for a question about this node alone; a [`ClusterView`](crate::ClusterView) counts them otherwise.
    #[must_use]
    pub fn with_pods<'a>(mut self, pods: impl IntoIterator<Item = &'a Arc<PodInfo>>) -> NodeInfo {
        for pod in pods {
            self.add(pod.clone(), 0);
        }
        self
    }

    /// Takes over everything but the pods and their sums.
    pub(crate) fn refresh(&mut self, newer: NodeInfo) {
        let NodeInfo { name, labels, unschedulable, taints, allocatable, allowed_pods, .. } = newer;
        (self.name, self.labels, self.unschedulable, self.taints) = (name, labels, unschedulable, taints);
        (self.allocatable, self.allowed_pods) = (allocatable, allowed_pods);
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>, shape: u32) {
        self.requested.add(&pod.requests);
        self.scored_milli_cpu = self.scored_milli_cpu.saturating_add(pod.scored_milli_cpu);
        self.scored_memory = self.scored_memory.saturating_add(pod.scored_memory);
        self.used_ports.extend(pod.host_ports.iter().cloned());
        self.pods_with_affinity += usize::from(pod.has_affinity());
        self.pods_with_required_anti_affinity += usize::from(!pod.anti_affinity.required.is_empty());
        if !pod.terminating {
            *self.shapes.entry(shape).or_default() += 1;
        }
        self.pods.insert(pod.key(), pod);
    }

    pub(crate) fn remove(&mut self, key: &str, shape: u32) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(key)?;
        self.requested.subtract(&pod.requests);
        self.scored_milli_cpu = self.scored_milli_cpu.saturating_sub(pod.scored_milli_cpu);
        self.scored_memory = self.scored_memory.saturating_sub(pod.scored_memory);
        for port in &pod.host_ports {
            if let Some(at) = self.used_ports.iter().position(|used| used == port) {
                self.used_ports.swap_remove(at);
            }
        }
        self.pods_with_affinity -= usize::from(pod.has_affinity());
        self.pods_with_required_anti_affinity -= usize::from(!pod.anti_affinity.required.is_empty());
        if !pod.terminating
            && let Some(count) = self.shapes.get_mut(&shape)
        {
            *count -= 1;
            if *count == 0 {
                self.shapes.remove(&shape);
            }
        }
        Some(pod)
    }
}
