//! NodeOverlays in the planner's words, and what their status says.
//!
//! Source: `C/pkg/controllers/nodeoverlay/controller.go`.

use super::locked;
use crate::conditions::{ConditionSet, NODE_OVERLAY};
use crate::patch;
use crate::step::Act;
use api::NodeOverlay;
use cluster::Kind;
use jiff::Timestamp;
use kube::ResourceExt;
use planner::overlay::{Overlay, PriceChange};

/// `Err` says what is wrong with it.
pub fn read(overlay: &NodeOverlay) -> Result<Overlay, String> {
    let mut faults = overlay.spec.faults();
    let written = overlay.spec.price.as_deref().or(overlay.spec.price_adjustment.as_deref());
    let price = written.map(|text| PriceChange::parse(text).ok_or_else(|| format!("invalid price: {text:?} is no number")));
    let price = price.transpose().unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    Ok(Overlay {
        name: overlay.name_any().into(),
        weight: overlay.spec.weight.unwrap_or(0),
        requirements: overlay.spec.requirements.iter().map(cluster::pool::requirement).collect(),
        price,
        capacity: cluster::pool::quantities(&overlay.spec.capacity),
    })
}

/// The patch of its status, unless that says so already. `problem`: reason and message.
pub fn status(overlay: &NodeOverlay, problem: Option<(&str, &str)>, now: Timestamp) -> Option<Act> {
    let mut status = overlay.status.clone().unwrap_or_default();
    let mut set = ConditionSet::new(overlay, &status.conditions, NODE_OVERLAY, now);
    match problem {
        None => set.set_true("ValidationSucceeded"),
        Some((reason, message)) => set.set_false("ValidationSucceeded", reason, message),
    };
    status.conditions = set.into_conditions();
    let mut next = overlay.clone();
    next.status = Some(status);
    Some(locked(Kind::NodeOverlay, overlay, true, patch::of_field("status", overlay, &next)?))
}
