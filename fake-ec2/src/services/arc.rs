//! ARC zonal shift: clusters that take part, none of which is shifted.

use serde_json::{Map, Value, json};

use super::input::Read;
use super::{Answer, errors};
use crate::protocol::Call;
use crate::state::World;

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    match call.operation {
        "GetManagedResource" => managed_resource(world, call),
        _ => Err(errors::unsupported(call)),
    }
}

/// A cluster is managed once zonal shift is enabled on it.
fn managed_resource(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.text("resourceIdentifier").unwrap_or_default();
    let cluster = world.region.clusters.values().find(|cluster| cluster.arn == id && cluster.zonal_shift);
    let cluster = cluster.ok_or_else(|| errors::NO_MANAGED_RESOURCE.error(&[id]))?;
    let weights: Map<String, Value> = world.region.zones.iter().map(|zone| (zone.id.to_owned(), json!(1.0))).collect();
    Ok(json!({
        "arn": cluster.arn, "name": cluster.name, "appliedWeights": weights, "zonalShifts": [], "autoshifts": [],
        "zonalAutoshiftStatus": "DISABLED",
    }))
}
