//! ARC zonal shift: clusters that take part, and shifts away from zones, which end by themselves.

use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::input::{Out, Read, stamp};
use super::{Answer, errors, page};
use crate::protocol::{AwsError, Call};
use crate::state::World;
use crate::state::cluster::{Cluster, Shift};
use crate::state::lifecycle::later;

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    match call.operation {
        "GetManagedResource" => managed_resource(world, call),
        "ListZonalShifts" => list(world, call),
        "StartZonalShift" => start(world, call),
        "CancelZonalShift" => cancel(world, call),
        _ => Err(errors::unsupported(call)),
    }
}

/// A cluster is managed once zonal shift is enabled on it.
fn managed<'a>(world: &'a World<'_>, call: &Call) -> Result<&'a Cluster, AwsError> {
    let id = call.input.text("resourceIdentifier").unwrap_or_default();
    let cluster = world.region.clusters.values().find(|cluster| cluster.arn == id && cluster.zonal_shift);
    cluster.ok_or_else(|| errors::NO_MANAGED_RESOURCE.error(&[id]))
}

/// `ACTIVE`, `EXPIRED`, `CANCELED`.
fn status(world: &World<'_>, shift: &Shift) -> &'static str {
    if shift.cancelled {
        "CANCELED"
    } else if shift.expires <= world.now {
        "EXPIRED"
    } else {
        "ACTIVE"
    }
}

fn render(cluster: &Cluster, shift: &Shift) -> Out {
    Out::new()
        .with("zonalShiftId", shift.id.clone())
        .with("resourceIdentifier", cluster.arn.clone())
        .with("awayFrom", shift.away_from.clone())
        .with("startTime", stamp(shift.start))
        .with("expiryTime", stamp(shift.expires))
        .with("comment", shift.comment.clone())
}

fn managed_resource(world: &mut World<'_>, call: &Call) -> Answer {
    let cluster = managed(world, call)?;
    let active: Vec<&Shift> = cluster.shifts.iter().filter(|shift| status(world, shift) == "ACTIVE").collect();
    let weight = |zone: &str| if active.iter().any(|shift| shift.away_from == zone) { 0.0 } else { 1.0 };
    let weights: Map<String, Value> = world.region.zones.iter().map(|zone| (zone.id.to_owned(), json!(weight(zone.id)))).collect();
    let shifts: Vec<Value> = active.iter().map(|shift| render(cluster, shift).with("appliedStatus", "APPLIED").done()).collect();
    Ok(json!({
        "arn": cluster.arn, "name": cluster.name, "appliedWeights": weights, "zonalShifts": shifts, "autoshifts": [],
        "zonalAutoshiftStatus": "DISABLED",
    }))
}

fn list(world: &mut World<'_>, call: &Call) -> Answer {
    let (wanted, about) = (call.input.text("status"), call.input.text("resourceIdentifier"));
    let mut items = Vec::new();
    for cluster in world.region.clusters.values().filter(|cluster| about.is_none_or(|arn| cluster.arn == arn)) {
        for shift in &cluster.shifts {
            let status = status(world, shift);
            if wanted.is_none_or(|wanted| wanted == status) {
                let key = format!("{}/{}", cluster.name, shift.id);
                items.push((key, render(cluster, shift).with("status", status).done()));
            }
        }
    }
    let length = call.input.int("maxResults").and_then(|most| usize::try_from(most).ok()).unwrap_or(100).clamp(1, 100);
    let (items, token) = page::cut_by(call, length, call.input.text("nextToken"), &errors::SHIFT_TOKEN, items)?;
    Ok(Out::new().with("items", items).maybe("nextToken", token).done())
}

/// `90m` or `3h`; three days at most. Source: ARC API reference, StartZonalShift, expiresIn.
fn span(text: &str) -> Option<SignedDuration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = number.parse::<i64>().ok().filter(|number| *number > 0)?;
    let minutes = match unit {
        "m" => number,
        "h" => number.checked_mul(60)?,
        _ => return None,
    };
    (minutes <= 3 * 24 * 60).then(|| SignedDuration::from_mins(minutes))
}

fn start(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    let cluster = managed(world, call)?;
    let zone = input.text("awayFrom").unwrap_or_default();
    if !world.region.zones.iter().any(|known| known.id == zone) {
        return Err(errors::SHIFT_VALUE.error(&[&format!("{zone} is no Availability Zone ID of the resource.")]));
    }
    let asked = input.text("expiresIn").unwrap_or_default();
    let lasting = span(asked).ok_or_else(|| errors::SHIFT_VALUE.error(&["expiresIn must be minutes or hours, up to three days."]))?;
    if cluster.shifts.iter().any(|shift| status(world, shift) == "ACTIVE") {
        return Err(errors::SHIFT_EXISTS.error(&[]));
    }
    let name = cluster.name.clone();
    let shift = Shift {
        id: world.account.entropy.uuid("zonal-shift"),
        away_from: zone.to_owned(),
        start: world.now,
        expires: later(world.now, lasting),
        comment: input.text("comment").unwrap_or_default().to_owned(),
        cancelled: false,
    };
    let cluster = world.region.clusters.get_mut(&name).ok_or_else(|| errors::NO_CLUSTER.error(&[&name]))?;
    let shown = render(cluster, &shift).with("status", "ACTIVE").done();
    cluster.shifts.push(shift);
    Ok(shown)
}

fn cancel(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.text("zonalShiftId").unwrap_or_default();
    let now = world.now;
    for cluster in world.region.clusters.values_mut() {
        let live = |shift: &&mut Shift| shift.id == id && !shift.cancelled && shift.expires > now;
        let found = cluster.shifts.iter_mut().find(live).map(|shift| {
            shift.cancelled = true;
            shift.clone()
        });
        if let Some(shift) = found {
            return Ok(render(cluster, &shift).with("status", "CANCELED").done());
        }
    }
    Err(errors::NO_SHIFT.error(&[id]))
}
