//! Which change is worth a retry of a pod that failed: the queueing hints of the rules that excluded nodes.
//!
//! Source: `isSchedulableAfter…` in `framework/plugins/*`.

use crate::node::NodeInfo;
use crate::plugins::{Plugin, PluginSet, node_resources, node_unschedulable, taint_toleration};
use crate::pod::{PodInfo, PodTerm};
use crate::view::ClusterView;

/// A change in the cluster.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    NodeAdded(&'a NodeInfo),
    NodeUpdated {
        before: &'a NodeInfo,
        after: &'a NodeInfo,
    },
    NodeRemoved(&'a NodeInfo),
    /// A pod got a node, be it by this scheduler or another.
    PodAssigned(&'a PodInfo),
    /// An assigned pod's labels changed.
    PodRelabelled {
        before: &'a PodInfo,
        after: &'a PodInfo,
    },
    /// An assigned pod is gone or has finished.
    PodRemoved(&'a PodInfo),
    /// A claim came or changed: its namespace and name.
    Claim(&'a str, &'a str),
    /// A volume, a class or a driver's limit came or changed.
    Storage,
}

/// Whether the change may have made `pod` schedulable, which the rules in `by` refused. A pod that no rule refused (no nodes at all, a
/// failed request) is always worth it.
pub fn worth_retry(pod: &PodInfo, by: PluginSet, event: Event<'_>, view: &ClusterView) -> bool {
    by.is_empty() || by.iter().any(|plugin| hint(plugin, pod, event, view))
}

fn hint(plugin: Plugin, pod: &PodInfo, event: Event<'_>, view: &ClusterView) -> bool {
    match plugin {
        Plugin::NodeUnschedulable => match event {
            Event::NodeAdded(node) => !node.unschedulable,
            Event::NodeUpdated { before, after } => before.unschedulable && !after.unschedulable && !node_unschedulable::tolerates(pod),
            _ => false,
        },
        Plugin::NodeName => matches!(event, Event::NodeAdded(_)),
        Plugin::TaintToleration => match event {
            Event::NodeAdded(node) => !taint_toleration::untolerated(pod, &node.taints),
            Event::NodeUpdated { before, after } => {
                taint_toleration::untolerated(pod, &before.taints) && !taint_toleration::untolerated(pod, &after.taints)
            }
            _ => false,
        },
        Plugin::NodeAffinity => match event {
            Event::NodeAdded(node) => pod.selects_node(&node.name, &node.labels),
            Event::NodeUpdated { before, after } => {
                !pod.selects_node(&before.name, &before.labels) && pod.selects_node(&after.name, &after.labels)
            }
            _ => false,
        },
        Plugin::NodePorts => match event {
            Event::NodeAdded(_) => true,
            Event::PodRemoved(gone) => pod.host_ports.iter().any(|want| gone.host_ports.iter().any(|had| had.conflicts(want))),
            _ => false,
        },
        Plugin::NodeResourcesFit => resources_hint(pod, event),
        Plugin::VolumeRestrictions | Plugin::NodeVolumeLimits | Plugin::VolumeBinding | Plugin::VolumeZone => storage_hint(pod, event),
        Plugin::PodTopologySpread => spread_hint(pod, event),
        Plugin::InterPodAffinity => affinity_hint(pod, event, view),
        Plugin::NodeResourcesBalancedAllocation => false,
    }
}

fn resources_hint(pod: &PodInfo, event: Event<'_>) -> bool {
    let fits_empty = |node: &NodeInfo| {
        let empty = NodeInfo { allocatable: node.allocatable.clone(), allowed_pods: node.allowed_pods, ..NodeInfo::default() };
        node_resources::filter(pod, &empty).is_none()
    };
    match event {
        Event::NodeAdded(node) => fits_empty(node),
        Event::NodeUpdated { before, after } => {
            let (old, new, want) = (&before.allocatable, &after.allocatable, &pod.requests);
            let more = after.allowed_pods > before.allowed_pods
                || (want.milli_cpu > 0 && new.milli_cpu > old.milli_cpu)
                || (want.memory > 0 && new.memory > old.memory)
                || (want.ephemeral_storage > 0 && new.ephemeral_storage > old.ephemeral_storage)
                || want.scalar.iter().any(|(name, amount)| *amount > 0 && new.scalar(name) > old.scalar(name));
            more && fits_empty(after)
        }
        Event::PodRemoved(_) => true,
        Event::PodAssigned(_) | Event::PodRelabelled { .. } | Event::NodeRemoved(_) | Event::Claim(..) | Event::Storage => false,
    }
}

fn storage_hint(pod: &PodInfo, event: Event<'_>) -> bool {
    match event {
        Event::Claim(namespace, name) => pod.namespace == namespace && pod.claims.iter().any(|(claim, _)| claim == name),
        Event::Storage | Event::NodeAdded(_) => !pod.claims.is_empty(),
        Event::NodeUpdated { before, after } => before.labels != after.labels,
        Event::PodRemoved(gone) => !gone.claims.is_empty(),
        Event::NodeRemoved(_) | Event::PodAssigned(_) | Event::PodRelabelled { .. } => false,
    }
}

fn spread_hint(pod: &PodInfo, event: Event<'_>) -> bool {
    let hard = || pod.spread.iter().filter(|constraint| constraint.hard);
    let has_all = |node: &NodeInfo| hard().all(|constraint| node.labels.contains_key(&constraint.topology_key));
    let concerns =
        |other: &PodInfo| other.namespace == pod.namespace && hard().any(|constraint| constraint.selector.matches(&other.labels));
    match event {
        Event::NodeAdded(node) | Event::NodeRemoved(node) => has_all(node),
        Event::NodeUpdated { before, after } => {
            let moved = hard().any(|constraint| before.labels.get(&constraint.topology_key) != after.labels.get(&constraint.topology_key));
            has_all(before) != has_all(after) || (has_all(after) && (moved || before.taints != after.taints))
        }
        Event::PodAssigned(other) | Event::PodRemoved(other) => concerns(other),
        Event::PodRelabelled { before, after } => {
            after.namespace == pod.namespace
                && hard().any(|constraint| constraint.selector.matches(&before.labels) != constraint.selector.matches(&after.labels))
        }
        Event::Claim(..) | Event::Storage => false,
    }
}

fn affinity_hint(pod: &PodInfo, event: Event<'_>, view: &ClusterView) -> bool {
    let all = |terms: &[PodTerm], other: &PodInfo| {
        !terms.is_empty() && terms.iter().all(|term| term.matches(other, view.namespace_labels(&other.namespace)))
    };
    let (likes, dislikes) = (&pod.affinity.required, &pod.anti_affinity.required);
    match event {
        Event::PodAssigned(other) => all(likes, other),
        Event::PodRemoved(other) => all(dislikes, other) || all(&other.anti_affinity.required, pod),
        Event::PodRelabelled { before, after } => {
            (!all(likes, before) && all(likes, after)) || (all(dislikes, before) && !all(dislikes, after))
        }
        Event::NodeAdded(node) => !dislikes.is_empty() || likes.iter().any(|term| node.labels.contains_key(&term.topology_key)),
        Event::NodeUpdated { before, after } => {
            let values = |term: &PodTerm| (before.labels.get(&term.topology_key).cloned(), after.labels.get(&term.topology_key).cloned());
            likes.iter().map(values).any(|(old, new)| new.is_some() && old != new)
                || dislikes.iter().map(values).any(|(old, new)| old.is_some() && old != new)
        }
        Event::NodeRemoved(_) | Event::Claim(..) | Event::Storage => false,
    }
}
