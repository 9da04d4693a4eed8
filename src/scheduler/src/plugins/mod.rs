//! The rules of the default profile, one file each: what excludes a node, and what makes it better.
//!
//! Order and weights: `apis/config/v1/default_plugins.go`.

pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources;
pub mod node_unschedulable;
pub mod pod_topology_spread;
pub mod taint_toleration;
pub mod volumes;

/// A rule that can exclude nodes or score them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plugin {
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    VolumeRestrictions,
    NodeVolumeLimits,
    VolumeBinding,
    VolumeZone,
    PodTopologySpread,
    InterPodAffinity,
    NodeResourcesBalancedAllocation,
}

impl Plugin {
    pub const ALL: [Plugin; 13] = [
        Plugin::NodeUnschedulable,
        Plugin::NodeName,
        Plugin::TaintToleration,
        Plugin::NodeAffinity,
        Plugin::NodePorts,
        Plugin::NodeResourcesFit,
        Plugin::VolumeRestrictions,
        Plugin::NodeVolumeLimits,
        Plugin::VolumeBinding,
        Plugin::VolumeZone,
        Plugin::PodTopologySpread,
        Plugin::InterPodAffinity,
        Plugin::NodeResourcesBalancedAllocation,
    ];

    /// Those that score, with their weights.
    pub const SCORING: [(Plugin, i64); 6] = [
        (Plugin::TaintToleration, 3),
        (Plugin::NodeAffinity, 2),
        (Plugin::NodeResourcesFit, 1),
        (Plugin::PodTopologySpread, 2),
        (Plugin::InterPodAffinity, 2),
        (Plugin::NodeResourcesBalancedAllocation, 1),
    ];

    fn bit(self) -> u16 {
        1 << (self as u16)
    }
}

/// A set of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginSet(u16);

impl PluginSet {
    pub fn insert(&mut self, plugin: Plugin) {
        self.0 |= plugin.bit();
    }

    pub fn contains(self, plugin: Plugin) -> bool {
        self.0 & plugin.bit() != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Plugin> {
        Plugin::ALL.into_iter().filter(move |plugin| self.contains(*plugin))
    }
}

/// Why a node is excluded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub plugin: Plugin,
    /// The server's words.
    pub reasons: Vec<String>,
    /// Whether removing pods from the node could not help (`UnschedulableAndUnresolvable`).
    pub unresolvable: bool,
}

impl Rejection {
    pub(crate) fn resolvable(plugin: Plugin, reason: &str) -> Self {
        Rejection { plugin, reasons: vec![reason.to_owned()], unresolvable: false }
    }

    pub(crate) fn unresolvable(plugin: Plugin, reason: &str) -> Self {
        Rejection { plugin, reasons: vec![reason.to_owned()], unresolvable: true }
    }
}

/// Scales scores so that the highest becomes 100; with `reverse`, the highest becomes 0
/// (`framework/plugins/helper/normalize_score.go`). Integer division, as there.
pub(crate) fn normalize(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0).max(0);
    for score in scores {
        let scaled = if highest == 0 { 0 } else { crate::MAX_NODE_SCORE * *score / highest };
        *score = if reverse { crate::MAX_NODE_SCORE - scaled } else { scaled };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(vec![0, 0], false, vec![0, 0])]
    #[case(vec![0, 0], true, vec![100, 100])]
    #[case(vec![1, 3], false, vec![33, 100])]
    #[case(vec![1, 3, 0], true, vec![67, 0, 100])]
    fn normalizes(#[case] mut scores: Vec<i64>, #[case] reverse: bool, #[case] expect: Vec<i64>) {
        normalize(&mut scores, reverse);
        assert_eq!(scores, expect);
    }
}
