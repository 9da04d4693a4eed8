//! No replacement of replacements for ever.
//!
//! A node that was launched in place of a drifted one is made from what its NodePool and EC2NodeClass say now. If it is found drifted
//! again although neither has changed since it was created (nor what the class's selectors come to: images, subnets, security
//! groups), the next will be as well: so it goes on, every half minute.

use super::view::{Claim, View};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use std::collections::BTreeSet;

const DRIFTED: &str = "Drifted";

#[derive(Debug, Default)]
pub struct Loops {
    /// NodeClaims that were made in place of drifted ones (Event `DisruptionLaunching`).
    replacements: BTreeSet<String>,
}

impl Loops {
    pub fn event(&mut self, event: &core::Event) {
        let launching = event.reason.as_deref() == Some("DisruptionLaunching");
        let drifted = event.message.as_deref().is_some_and(|text| text.to_ascii_lowercase().ends_with("drifted"));
        if let Some(name) = event.involved_object.name.as_ref().filter(|_| launching && drifted) {
            self.replacements.insert(name.clone());
        }
    }

    /// A NodeClaim has got another reason to be disrupted.
    pub fn marked(&self, view: &View, name: &str, claim: &Claim, now: Timestamp) -> Option<String> {
        let again = claim.reason.as_deref() == Some(DRIFTED) && self.replacements.contains(name);
        let changed = [view.pools.get(&claim.pool).map(|p| p.changed), view.classes.get(&claim.class).map(|c| c.changed)];
        let unchanged = changed.iter().all(|at| at.is_some_and(|at| at <= claim.created));
        (again && unchanged).then(|| {
            format!(
                "NodeClaim {name} replaced a drifted node {}s ago and is disrupted as Drifted itself, though neither NodePool {} nor EC2NodeClass {} has changed since",
                now.duration_since(claim.created).as_secs(),
                claim.pool,
                claim.class
            )
        })
    }
}
