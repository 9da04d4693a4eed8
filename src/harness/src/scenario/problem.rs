//! `node-problem`: a node is broken, and its conditions say so.

use super::fault::What;
use super::fields::Reader;
use super::{select, units};
use crate::yaml::Node;
use jiff::SignedDuration;

/// A condition as the kubelet or the node monitoring agent writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub condition: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    pub reason: String,
    pub message: String,
    /// How long it has been so, by its time of transition.
    pub since: SignedDuration,
}

/// Reason and message that a broken node gives.
fn words(condition: &str, status: &str) -> (&'static str, String) {
    match (condition, status) {
        ("MemoryPressure", "True") => ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available".to_owned()),
        ("DiskPressure", "True") => ("KubeletHasDiskPressure", "kubelet has disk pressure".to_owned()),
        (_, "True") => ("Recovered", format!("{condition} is healthy again")),
        ("Ready", _) => ("KubeletNotReady", "[container runtime is down]".to_owned()),
        _ => ("NodeProblem", format!("{condition} is broken, as the scenario has it")),
    }
}

pub(super) fn read(reader: &Reader, node: &Node, region: &str) -> Option<What> {
    let fields = reader.map(node, "node-problem", &["nodes", "count", "condition", "status", "since", "reason", "message"]);
    let Some(place) = fields.get("condition") else {
        reader.wrong(&node.span, "node-problem without condition", "condition: Ready, or KernelReady, StorageReady, …".to_owned());
        return None;
    };
    let condition = reader.parsed(place, "condition", |text| {
        let letters = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._/".contains(c));
        if letters { Ok(text.to_owned()) } else { Err("write a condition's type, such as KernelReady".to_owned()) }
    })?;
    let status = fields.get("status").map_or(Some("False".to_owned()), |n| {
        reader.parsed(n, "status", |text| match text.to_ascii_lowercase().as_str() {
            "true" => Ok("True".to_owned()),
            "false" => Ok("False".to_owned()),
            "unknown" => Ok("Unknown".to_owned()),
            _ => Err("write True, False or Unknown".to_owned()),
        })
    })?;
    let since = fields.get("since").and_then(|n| Some((n, reader.parsed(n, "since", units::duration)?)));
    if let (Some((place, _)), "Ready", "Unknown" | "True") = (since, condition.as_str(), status.as_str()) {
        reader.wrong(&place.span, "since belongs to what the node itself says to be broken", "leave since out".to_owned());
    }
    let (reason, message) = words(&condition, &status);
    let text = |name: &str| fields.get(name).and_then(|n| reader.text_of(n, name));
    let nodes = select::nodes(reader, fields.get("nodes"), fields.get("count"), "node-problem.nodes", region);
    let problem = Problem {
        reason: text("reason").unwrap_or_else(|| reason.to_owned()),
        message: text("message").unwrap_or(message),
        since: since.map(|(_, since)| since).unwrap_or_default(),
        condition,
        status,
    };
    Some(What::NodeProblem { problem, nodes })
}
