//! Why a pod fits nowhere, in kube-scheduler's words.
//!
//! Source: `framework/types.go`, FitError.Error; the order of post-filters (`no new claims to deallocate` before `preemption:`) is
//! the default profile's, `apis/config/v1/default_plugins.go`.

use crate::cycle::Prepared;
use crate::node::NodeInfo;
use crate::plugins::{Plugin, PluginSet, Rejection};
use crate::preemption::{Preemption, preempt};
use crate::view::ClusterView;
use std::collections::BTreeMap;
use std::fmt;

/// A pod that fits nowhere.
#[derive(Clone, Debug, PartialEq)]
pub struct FitError {
    /// kube-scheduler's message, whole.
    message: String,
    /// Why each node was excluded, in the order in which they were looked at.
    pub rejected: Vec<(String, Rejection)>,
    /// The rules that did it: only a change that concerns them is worth a retry.
    pub plugins: PluginSet,
    /// Pods whose removal would make room, if there are such.
    pub preemption: Option<Preemption>,
    /// Preemption was tried and cannot help, so that a promise of an earlier one is void.
    pub hopeless: bool,
    /// How many nodes were looked at; for [`ClusterView::advance_start`].
    pub examined: usize,
}

pub(crate) struct Diagnosis {
    pub rejected: Vec<(String, Rejection)>,
    /// Only nodes that required affinity names were looked at.
    pub restricted_to_named: bool,
}

impl FitError {
    /// `schedule_one.go`, ErrNoNodesAvailable.
    pub(crate) fn no_nodes() -> Self {
        FitError {
            message: "no nodes available to schedule pods".into(),
            rejected: Vec::new(),
            plugins: PluginSet::default(),
            preemption: None,
            hopeless: false,
            examined: 0,
        }
    }

    /// A rule that refused before any node was looked at.
    pub(crate) fn before_filters(nodes: usize, plugin: Plugin, reason: &str) -> Self {
        let mut plugins = PluginSet::default();
        plugins.insert(plugin);
        let post = match plugin {
            // The post-filter of dynamic resources misses its state then, and these are its words.
            Plugin::VolumeBinding => "not found".to_owned(),
            _ => post_filter_message(&[], nodes, "Preemption is not helpful for scheduling"),
        };
        let message = format!("0/{nodes} nodes are available: {reason}. {post}");
        FitError { message, rejected: Vec::new(), plugins, preemption: None, hopeless: plugin != Plugin::VolumeBinding, examined: 0 }
    }

    pub(crate) fn new<'a>(view: &'a ClusterView, prepared: &Prepared<'a>, diagnosis: Diagnosis) -> Self {
        let nodes = view.nodes().len();
        let mut reasons: Vec<&str> = diagnosis.rejected.iter().flat_map(|(_, rejection)| &rejection.reasons).map(String::as_str).collect();
        let mut plugins = Self::plugins_of(&diagnosis.rejected);
        if diagnosis.restricted_to_named {
            plugins.insert(Plugin::NodeAffinity);
            reasons.extend(vec!["node(s) didn't satisfy plugin(s) [NodeAffinity]"; nodes - diagnosis.rejected.len()]);
        }
        let filters = histogram(&reasons);
        let mut waits = prepared.pod.never_preempts;
        let (preemption, post) = if prepared.pod.never_preempts {
            (None, "no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.".to_owned())
        } else if waits_for_victims(view, prepared, &diagnosis.rejected) {
            waits = true;
            (None, "no new claims to deallocate, preemption: not eligible due to a terminating pod on the nominated node.".to_owned())
        } else {
            let (found, tried) = preempt(view, prepared, &diagnosis.rejected);
            (found, post_filter_message(&tried, nodes, "Preemption is not helpful for scheduling"))
        };
        // With a victim found, the post-filters succeeded and say nothing.
        let message = match (&filters[..], &preemption) {
            ("", None) => format!("0/{nodes} nodes are available: {post}"),
            (filters, None) => format!("0/{nodes} nodes are available: {filters}. {post}"),
            (filters, Some(_)) => format!("0/{nodes} nodes are available: {filters}."),
        };
        let hopeless = !waits && preemption.is_none();
        FitError { message, plugins, preemption, hopeless, examined: diagnosis.rejected.len(), rejected: diagnosis.rejected }
    }

    /// kube-scheduler's message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Victims are still terminating on the node that it was promised, and the node could still do (PodEligibleToPreemptOthers).
fn waits_for_victims(view: &ClusterView, prepared: &Prepared<'_>, rejected: &[(String, Rejection)]) -> bool {
    let promised = &prepared.pod.nominated_node_name;
    let unresolvable = || rejected.iter().any(|(node, rejection)| node == promised && rejection.unresolvable);
    let victims = |node: &NodeInfo| node.pods.values().any(|other| other.preempted && other.priority < prepared.pod.priority);
    view.node(promised).is_some_and(|node| victims(node) && !unresolvable())
}

/// `tried` are the reasons, one or more, of each node where preemption was tried; all other nodes get `otherwise`.
fn post_filter_message(tried: &[Vec<String>], nodes: usize, otherwise: &str) -> String {
    let mut reasons: Vec<&str> = tried.iter().flatten().map(String::as_str).collect();
    reasons.extend(std::iter::repeat_n(otherwise, nodes.saturating_sub(tried.len())));
    format!("no new claims to deallocate, preemption: 0/{nodes} nodes are available: {}.", histogram(&reasons))
}

/// `1 reason, 2 other reason`, sorted as strings.
fn histogram(reasons: &[&str]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort_unstable();
    parts.join(", ")
}

impl fmt::Display for FitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FitError {}
