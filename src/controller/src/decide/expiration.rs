//! A NodeClaim older than `expireAfter` goes, whatever budgets say. Source: `C/pkg/controllers/nodeclaim/expiration/controller.go`.

use super::delete;
use crate::log::Line;
use crate::metrics::Measure;
use crate::step::{Note, Step};
use crate::world::World;
use cluster::Kind;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

pub fn decide(world: &World, name: &str, now: Timestamp) -> Step {
    let Some(claim) = world.index.claim(name) else { return Step::rest() };
    let (Some(life), None) = (claim.spec.expire_after.as_ref().and_then(|d| d.duration), &claim.metadata.deletion_timestamp) else {
        return Step::rest();
    };
    let created = claim.creation_timestamp().map_or(now, |time| time.0);
    let end = created.saturating_add(life).unwrap_or(Timestamp::MAX);
    if now < end {
        return Step::after(end.duration_since(now), None);
    }
    let mut line = Line::debug("nodeclaim.expiration", "deleting expired nodeclaim").object("NodeClaim", "", name);
    if let Some(node) = claim.status.as_ref().and_then(|s| s.node_name.as_deref()) {
        line = line.object("Node", "", node);
    }
    let hold = Note::HoldUntil(now.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX));
    Step::act(delete(Kind::NodeClaim, &**claim).then(line).then(hold).then(Measure::disrupted(claim, "expired")))
}
