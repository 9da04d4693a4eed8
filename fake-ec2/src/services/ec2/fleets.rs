//! Fleets that were created: described, deleted. All are `instant`, so that nothing of them moves.

use serde_json::{Value, json};

use crate::protocol::Call;
use crate::services::filter::{Filters, Table};
use crate::services::input::{Members, Out, Read, stamp};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::fleet::Fleet;
use crate::state::lifecycle::BY_USER_TERMINATE;
use crate::state::machine::Phase;

/// Source: API reference, DescribeFleets, Filters.
const FILTERS: Table = &[
    ("activity-status", "ActivityStatus"),
    ("excess-capacity-termination-policy", "ExcessCapacityTerminationPolicy"),
    ("fleet-state", "FleetState"),
    ("replace-unhealthy-instances", "ReplaceUnhealthyInstances"),
    ("type", "Type"),
];

/// What CreateFleet remembers of itself.
pub(super) fn remember(world: &mut World<'_>, id: &str, input: &Members, instances: &[Value], failures: &[Value]) {
    let described = ["ClientToken", "LaunchTemplateConfigs", "TargetCapacitySpecification", "SpotOptions", "OnDemandOptions"];
    let request: std::collections::BTreeMap<&str, &Value> =
        described.into_iter().filter_map(|name| Some((name, input.get(name)?))).collect();
    let tags = super::tags::for_resource(input, "fleet").unwrap_or_default();
    let fleet = Fleet {
        id: id.to_owned(),
        created: world.now,
        state: "active",
        request: serde_json::to_string(&request).unwrap_or_default(),
        instances: instances.to_vec(),
        failures: failures.to_vec(),
        tags,
    };
    world.region.fleets.remember(fleet);
}

fn ids(fleet: &Fleet) -> impl Iterator<Item = &str> {
    fleet.instances.iter().flat_map(|group| group.list("InstanceIds")).filter_map(Value::as_str)
}

fn render(world: &World<'_>, fleet: &Fleet) -> Value {
    let request: Members = serde_json::from_str(&fleet.request).unwrap_or_default();
    let lives = |id: &&str| {
        world.region.instances.get(*id).is_some_and(|instance| !matches!(instance.phase, Phase::ShuttingDown | Phase::Terminated))
    };
    let mut shown = Out::new()
        .with("FleetId", fleet.id.clone())
        .with("CreateTime", stamp(fleet.created))
        .with("FleetState", fleet.state)
        .with("Type", "instant")
        .with("ExcessCapacityTerminationPolicy", "termination")
        .with("FulfilledCapacity", ids(fleet).filter(lives).count() as f64)
        .with("TerminateInstancesWithExpiration", false)
        .with("ReplaceUnhealthyInstances", false)
        .with("Instances", fleet.instances.clone())
        .with("Errors", fleet.failures.clone())
        .with("Tags", super::tags::render(&fleet.tags));
    for (member, value) in request {
        shown = shown.with(&member, value);
    }
    shown.done()
}

/// Instant fleets are told only to those who name them. Source: API reference, DescribeFleets.
pub(super) fn describe(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, FILTERS)?;
    let named = call.input.texts("FleetIds");
    if let Some(unknown) = named.iter().find(|id| world.region.fleets.get(id).is_none()) {
        return Err(errors::FLEET_NOT_FOUND.error(&[unknown]));
    }
    let rows = named.iter().filter_map(|id| world.region.fleets.get(id));
    let rows = rows.map(|fleet| (fleet.id.clone(), render(world, fleet))).filter(|(_, row)| filters.pass(row)).collect();
    let (fleets, token) = page::cut(call, Pages::capped(1, 1000), rows)?;
    Ok(Out::new().with("Fleets", fleets).maybe("NextToken", token).done())
}

/// An instant fleet goes only with its instances. Source: API reference, DeleteFleets.
pub(super) fn delete(world: &mut World<'_>, call: &Call) -> Answer {
    let terminate = call.input.flag("TerminateInstances");
    super::dry_run(call)?;
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    let failure = |id: &str, code: &str, message: String| json!({"FleetId": id, "Error": {"Code": code, "Message": message}});
    for id in call.input.texts("FleetIds") {
        let Some(fleet) = world.region.fleets.get(id) else {
            refused.push(failure(id, "fleetIdDoesNotExist", format!("The fleet ID '{id}' does not exist")));
            continue;
        };
        if fleet.state != "active" {
            refused.push(failure(id, "fleetNotInDeletableState", format!("The fleet '{id}' is not in a state that can be deleted")));
            continue;
        }
        if !terminate {
            let message = "Deleting an instant fleet with NoTerminateInstances is not supported".to_owned();
            refused.push(failure(id, "unexpectedError", message));
            continue;
        }
        let instances: Vec<String> = ids(fleet).map(str::to_owned).collect();
        for instance in &instances {
            world.terminate(instance, BY_USER_TERMINATE);
        }
        let state = if instances.is_empty() { "deleted" } else { "deleted_terminating" };
        world.region.fleets.set_state(id, state);
        done.push(json!({"FleetId": id, "CurrentFleetState": state, "PreviousFleetState": "active"}));
    }
    Ok(Out::new().with("SuccessfulFleetDeletions", done).with("UnsuccessfulFleetDeletions", refused).done())
}
