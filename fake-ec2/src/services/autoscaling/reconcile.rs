//! A group launches and terminates until it holds what it should. Launches go through the same fleet that clients ask for, so that
//! capacity, prices and allocation strategies are the account's.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::model::Service;
use crate::protocol::{Call, Caller};
use crate::services::ec2::{fleet, templates};
use crate::services::input::{Members, Read};
use crate::state::World;
use crate::state::agenda::Due;
use crate::state::group::{Activity, Group, Member};
use crate::state::lifecycle::{self, later};
use crate::state::machine::Phase;

/// From a change of a group to its work.
const SOON: SignedDuration = SignedDuration::from_secs(2);
/// From a launch that failed to the next try.
const RETRY: SignedDuration = SignedDuration::from_secs(60);

/// Why an instance of a group ends. Source: API reference, `StateReason`.
const BY_GROUP: lifecycle::Reason = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown");

pub(crate) fn soon(world: &mut World<'_>, name: &str) {
    at(world, name, SOON, false);
}

fn at(world: &mut World<'_>, name: &str, delay: SignedDuration, retry: bool) {
    let due = Due::Group { region: world.region.name.clone(), name: name.to_owned(), retry };
    world.account.agenda.add(later(world.now, delay), due);
}

/// An instance has begun to end, whoever ended it: its group looks after itself.
pub(crate) fn notice(world: &mut World<'_>, instance: &str) {
    let mut groups = world.region.groups_of_scaling.values();
    if let Some(name) = groups.find(|group| group.members.contains_key(instance)).map(|group| group.name.clone()) {
        soon(world, &name);
    }
}

fn phase(world: &World<'_>, id: &str) -> Phase {
    world.region.instances.get(id).map_or(Phase::Terminated, |instance| instance.phase)
}

fn works(phase: Phase) -> bool {
    matches!(phase, Phase::Pending | Phase::Running)
}

/// Brings a group to what it should hold.
pub(crate) fn now(world: &mut World<'_>, name: &str) {
    let Some(group) = world.region.groups_of_scaling.get(name) else { return };
    let gone: Vec<String> = group.members.keys().filter(|id| phase(world, id) == Phase::Terminated).cloned().collect();
    if let Some(group) = world.region.groups_of_scaling.get_mut(name) {
        group.members.retain(|id, _| !gone.contains(id));
    }
    replace_lost(world, name);
    let Some(group) = world.region.groups_of_scaling.get(name) else { return };
    if group.deleting && group.members.is_empty() {
        world.region.groups_of_scaling.remove(name);
        return;
    }
    let working = capacity(world, group);
    let desired = group.desired;
    if working < desired {
        if !grow(world, name) {
            at(world, name, RETRY, true);
        }
    } else if working > desired {
        shrink(world, name);
    }
}

/// Units that an instance of a group counts for.
pub(super) fn weight(world: &World<'_>, group: &Group, id: &str) -> u64 {
    let instance_type = world.region.instances.get(id).map(|instance| instance.instance_type);
    instance_type.and_then(|name| group.weight(name)).unwrap_or(1)
}

/// Units that the working instances of a group come to: as many as there are of them, unless the policy weighs them.
fn capacity(world: &World<'_>, group: &Group) -> u64 {
    group.members.keys().filter(|id| works(phase(world, id))).map(|id| weight(world, group, id)).sum()
}

/// Notes those that ended without the group's doing.
fn replace_lost(world: &mut World<'_>, name: &str) {
    let Some(group) = world.region.groups_of_scaling.get(name) else { return };
    let known =
        |id: &String| group.activities.iter().any(|it| it.instance.as_ref() == Some(id) && it.description.starts_with("Terminating"));
    let lost: Vec<String> = group.members.keys().filter(|id| !works(phase(world, id)) && !known(id)).cloned().collect();
    for id in lost {
        let cause = format!(
            "At {} an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped.",
            world.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        );
        take_out(world, name, &id, &cause);
    }
}

fn activity(world: &mut World<'_>, description: String, cause: String, instance: Option<String>) -> Activity {
    Activity {
        id: world.account.entropy.uuid("scaling-activity"),
        description,
        cause,
        start: world.now,
        end: Some(world.now),
        status: "Successful",
        message: None,
        instance,
    }
}

/// Ends an instance of a group; gives the activity that tells of it.
pub(super) fn take_out(world: &mut World<'_>, name: &str, id: &str, cause: &str) -> Activity {
    let ended = !works(phase(world, id));
    let mut told = activity(world, format!("Terminating EC2 instance: {id}"), cause.to_owned(), Some(id.to_owned()));
    if !ended {
        told.status = "InProgress";
        told.end = None;
    }
    if let Some(group) = world.region.groups_of_scaling.get_mut(name) {
        group.note(told.clone());
    }
    if !ended {
        world.terminate(id, BY_GROUP);
    }
    told
}

/// Ends instances until one more would be too many: never a protected one; of the zone that has most, the oldest first.
/// Source: EC2 Auto Scaling user guide, "Default termination policy", without its step about templates and billing hours; and "Configure
/// an Auto Scaling group to use instance weights": the capacity stays above what is desired rather than below.
fn shrink(world: &mut World<'_>, name: &str) {
    loop {
        let Some(group) = world.region.groups_of_scaling.get(name) else { return };
        let (desired, deleting) = (group.desired, group.deleting);
        let surplus = capacity(world, group).saturating_sub(desired);
        let mut by_zone: BTreeMap<&str, (u64, Vec<&String>)> = BTreeMap::new();
        for (id, member) in &group.members {
            let Some(instance) = world.region.instances.get(id).filter(|instance| works(instance.phase)) else { continue };
            let weight = weight(world, group, id);
            // Protection does not outlive its group.
            if weight <= surplus && (!member.protected || deleting) {
                let (held, ids) = by_zone.entry(instance.zone.name).or_default();
                *held += weight;
                ids.push(id);
            }
        }
        let fullest = by_zone.into_values().max_by_key(|(held, _)| *held);
        let Some(id) = fullest.and_then(|(_, ids)| ids.first().map(|id| (*id).clone())) else { return };
        let cause = format!(
            "At {} a difference between desired and actual capacity shrank the capacity to {desired}. Instance {id} was selected for termination.",
            world.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        );
        take_out(world, name, &id, &cause);
    }
}

/// Launches instances until the group holds what it should, zone by zone where there is least; false if some are lacking.
fn grow(world: &mut World<'_>, name: &str) -> bool {
    let before = world.region.groups_of_scaling.get(name).map_or(0, |group| capacity(world, group));
    loop {
        let Some(group) = world.region.groups_of_scaling.get(name).cloned() else { return true };
        if capacity(world, &group) >= group.desired {
            return true;
        }
        let mut last = None;
        let zones = zones_by_need(world, &group);
        let launched = zones.iter().any(|zone| match launch(world, &group, zone) {
            Ok(()) => true,
            Err(why) => {
                last = Some(why);
                false
            }
        });
        if !launched {
            let market = if on_demand_next(world, &group) { "On-Demand" } else { "Spot" };
            let cause = format!(
                "At {} an instance was started in response to a difference between desired and actual capacity, increasing the capacity from {before} to {}.",
                world.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                group.desired
            );
            let mut told = activity(world, "Launching a new EC2 instance".to_owned(), cause, None);
            told.status = "Failed";
            told.message = last.map(|why| format!("Could not launch {market} Instances. {why} Launching EC2 instance failed."));
            if let Some(group) = world.region.groups_of_scaling.get_mut(name) {
                group.note(told);
            }
            return false;
        }
    }
}

/// Zones, those with the least capacity first.
fn zones_by_need(world: &World<'_>, group: &Group) -> Vec<String> {
    let held = |zone: &String| -> u64 {
        let instances = group.members.keys().filter_map(|id| world.region.instances.get(id));
        let here = instances.filter(|instance| works(instance.phase) && instance.zone.name == zone);
        here.map(|instance| weight(world, group, &instance.id)).sum()
    };
    let mut zones = group.zones.clone();
    zones.sort_by_key(|zone| (held(zone), zone.clone()));
    zones
}

fn specification(group: &Group) -> Option<&Members> {
    let of_policy = group.mixed.as_ref().and_then(|mixed| mixed.part("LaunchTemplate")?.part("LaunchTemplateSpecification"));
    of_policy.or(group.template.as_ref())
}

/// Whether the next instance is bought on demand: the base first, then the share above it, both in units of capacity.
/// Source: API reference, InstancesDistribution.
fn on_demand_next(world: &World<'_>, group: &Group) -> bool {
    let Some(mixed) = &group.mixed else {
        let template = specification(group).and_then(|it| templates::named(world, it).ok());
        let data = template.and_then(|it| it.versions.get(&it.default_version));
        let market = data.and_then(|version| version.data.part("InstanceMarketOptions")?.text("MarketType").map(str::to_owned));
        return market.as_deref() != Some("spot");
    };
    let distribution = mixed.part("InstancesDistribution");
    let number = |member: &str, default: i64| distribution.and_then(|it| it.int(member)).unwrap_or(default).max(0) as u64;
    let (base, share) = (number("OnDemandBaseCapacity", 0), number("OnDemandPercentageAboveBaseCapacity", 100));
    let members = group.members.keys().filter_map(|id| world.region.instances.get(id)).filter(|instance| works(instance.phase));
    let (on_demand, all) = members.fold((0u64, 0u64), |(on_demand, all), instance| {
        let weight = weight(world, group, &instance.id);
        (on_demand + if instance.market == crate::state::Market::OnDemand { weight } else { 0 }, all + weight)
    });
    // The share is rounded up in favour of on-demand.
    let wanted = base.min(all + 1) + ((all + 1).saturating_sub(base) * share).div_ceil(100);
    on_demand < wanted
}

/// Launches one instance in a zone through an instant fleet.
fn launch(world: &mut World<'_>, group: &Group, zone: &str) -> Result<(), String> {
    let specification = specification(group).cloned().ok_or("There is no launch template.")?;
    let (template_id, template_name, version) = {
        let template = templates::named(world, &specification).map_err(|why| why.message)?;
        let version = templates::version(template, specification.text("Version")).map_err(|why| why.message)?;
        (template.id.clone(), template.name.clone(), version.to_string())
    };
    let on_demand = on_demand_next(world, group);
    let call = Call {
        service: Service::Ec2,
        operation: "CreateFleet",
        region: world.region.name.clone(),
        caller: Caller {
            access_key: None,
            account: world.account.id.clone(),
            principal: format!("arn:aws:iam::{}:root", world.account.id),
            user_id: world.account.id.clone(),
        },
        request_id: String::new(),
        input: fleet_input(world, group, zone, &template_id, &version, on_demand),
        unknown: Vec::new(),
        short_pages: None,
    };
    let answer = fleet::create(world, &call).map_err(|why| format!("{} - {}", why.code, why.message))?;
    let id = answer.pointer("/Instances/0/InstanceIds/0").and_then(Value::as_str).map(str::to_owned);
    let Some(id) = id else {
        let why = |member: &str| answer.pointer(&format!("/Errors/0/{member}")).and_then(Value::as_str).unwrap_or_default().to_owned();
        return Err(format!("{} - {}", why("ErrorCode"), why("ErrorMessage")));
    };
    if let Some(instance) = world.region.instances.get_mut(&id) {
        instance.tags.remove("aws:ec2:fleet-id");
        instance.tags.insert("aws:autoscaling:groupName".into(), group.name.clone());
    }
    let cause = format!(
        "At {} an instance was started in response to a difference between desired and actual capacity, increasing the capacity to {}.",
        world.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        group.desired
    );
    let told = activity(world, format!("Launching a new EC2 instance: {id}"), cause, Some(id.clone()));
    if let Some(group) = world.region.groups_of_scaling.get_mut(&group.name) {
        group.note(told);
        group.members.insert(id, Member { protected: group.protect_new, template: (template_id, version), template_name });
    }
    Ok(())
}

fn fleet_input(world: &World<'_>, group: &Group, zone: &str, template: &str, version: &str, on_demand: bool) -> Members {
    let distribution = group.mixed.as_ref().and_then(|mixed| mixed.part("InstancesDistribution"));
    let strategy = |member: &str, default: &str| distribution.and_then(|it| it.text(member)).unwrap_or(default).to_owned();
    let types = group.mixed.as_ref().and_then(|mixed| mixed.part("LaunchTemplate")).map_or(&[][..], |part| part.list("Overrides"));
    let in_zone = group.subnets.iter().filter(|id| world.region.subnets.get(*id).is_some_and(|subnet| subnet.zone.name == zone));
    let mut places: Vec<(&str, Value)> = in_zone.map(|id| ("SubnetId", json!(id))).collect();
    if places.is_empty() {
        places.push(("AvailabilityZone", json!(zone)));
    }
    let mut overrides = Vec::new();
    for (member, place) in &places {
        if types.is_empty() {
            overrides.push(json!({ *member: place }));
        }
        for (priority, one) in types.iter().enumerate() {
            let mut made = json!({ "Priority": priority as f64, *member: place });
            for named in ["InstanceType", "InstanceRequirements"] {
                if let Some(value) = one.member(named) {
                    made[named] = value.clone();
                }
            }
            // The fleet then goes by the price of a unit.
            if let Some(weight) = one.text("InstanceType").and_then(|name| group.weight(name)) {
                made["WeightedCapacity"] = json!(weight as f64);
            }
            overrides.push(made);
        }
    }
    let tags: Vec<Value> =
        group.tags.iter().filter(|(_, tag)| tag.propagate).map(|(key, tag)| json!({"Key": key, "Value": tag.value})).collect();
    let spot = strategy("SpotAllocationStrategy", "lowest-price");
    let input = json!({
        "Type": "instant",
        "LaunchTemplateConfigs": [{
            "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": version}, "Overrides": overrides,
        }],
        // One unit is one instance, of whatever weight: the next may belong to another zone or market.
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": 1, "DefaultTargetCapacityType": if on_demand { "on-demand" } else { "spot" },
        },
        // Auto Scaling goes by the order of the overrides unless it is told otherwise.
        "OnDemandOptions": {"AllocationStrategy": strategy("OnDemandAllocationStrategy", "prioritized")},
        "SpotOptions": {"AllocationStrategy": spot},
        "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
    });
    input.as_object().cloned().unwrap_or_default()
}
