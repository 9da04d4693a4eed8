//! Auto Scaling: groups that keep so many instances.
//!
//! | module | what it is |
//! |---|---|
//! | this | the operations that change groups |
//! | [`show`] | the operations that describe them |
//! | [`reconcile`] | a group launches and terminates until it holds what it should |

pub(crate) mod reconcile;
mod show;

use std::collections::BTreeMap;

use serde_json::Value;

use super::ec2::templates;
use super::input::{Members, Out, Read};
use super::{Answer, errors};
use crate::protocol::{AwsError, Call};
use crate::state::World;
use crate::state::group::{Group, GroupTag};

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    match call.operation {
        "CreateAutoScalingGroup" => create(world, call),
        "UpdateAutoScalingGroup" => update(world, call),
        "DeleteAutoScalingGroup" => delete(world, call),
        "SetDesiredCapacity" => set_desired(world, call),
        "TerminateInstanceInAutoScalingGroup" => terminate(world, call),
        "SetInstanceProtection" => protect(world, call),
        "CreateOrUpdateTags" => {
            for (name, tags) in tags_by_group(&call.input)? {
                group_mut(world, &name)?.tags.extend(tags);
            }
            Ok(Out::new().done())
        }
        "DeleteTags" => {
            for (name, tags) in tags_by_group(&call.input)? {
                group_mut(world, &name)?.tags.retain(|key, _| !tags.contains_key(key));
            }
            Ok(Out::new().done())
        }
        "DescribeAutoScalingGroups" => show::groups(world, call),
        "DescribeAutoScalingInstances" => show::instances(world, call),
        "DescribeScalingActivities" => show::activities(world, call),
        "DescribeTags" => show::tags(world, call),
        // Launch configurations cannot be made any more in a new account: EC2 Auto Scaling user guide, "Launch configurations".
        "DescribeLaunchConfigurations" => show::paged(call, "LaunchConfigurations", 100, Vec::new()),
        _ => Err(errors::unsupported(call)),
    }
}

fn name(input: &Members) -> &str {
    input.text("AutoScalingGroupName").unwrap_or_default()
}

fn group<'a>(world: &'a World<'_>, name: &str) -> Result<&'a Group, AwsError> {
    world.region.groups_of_scaling.get(name).filter(|group| !group.deleting).ok_or_else(|| errors::NO_GROUP.error(&[name]))
}

fn group_mut<'a>(world: &'a mut World<'_>, name: &str) -> Result<&'a mut Group, AwsError> {
    world.region.groups_of_scaling.get_mut(name).filter(|group| !group.deleting).ok_or_else(|| errors::NO_GROUP.error(&[name]))
}

fn invalid(message: &str) -> AwsError {
    errors::SCALING_VALIDATION.error(&[message])
}

/// `Tags`, each of which names its group.
fn tags_by_group(input: &Members) -> Result<BTreeMap<String, BTreeMap<String, GroupTag>>, AwsError> {
    let mut all: BTreeMap<String, BTreeMap<String, GroupTag>> = BTreeMap::new();
    for tag in input.list("Tags") {
        let name = tag.text("ResourceId").ok_or_else(|| invalid("Resource id is missing in the tag."))?;
        all.entry(name.to_owned()).or_default().extend(read_tag(tag));
    }
    Ok(all)
}

fn read_tag(tag: &Value) -> Option<(String, GroupTag)> {
    let propagate = tag.member("PropagateAtLaunch").and_then(Value::as_bool).unwrap_or(true);
    Some((tag.text("Key")?.to_owned(), GroupTag { value: tag.text("Value").unwrap_or_default().to_owned(), propagate }))
}

/// What a group is launched from, which must be there: a template, or the one in the policy.
fn launches(world: &World<'_>, input: &Members) -> Result<(Option<Members>, Option<Members>), AwsError> {
    let (template, mixed) = (input.part("LaunchTemplate"), input.part("MixedInstancesPolicy"));
    let specification = template.or_else(|| mixed?.part("LaunchTemplate")?.part("LaunchTemplateSpecification"));
    if let Some(specification) = specification {
        let found = templates::named(world, specification).and_then(|it| templates::version(it, specification.text("Version")).map(drop));
        found.map_err(|why| invalid(&format!("You must use a valid fully-formed launch template. {}", why.message)))?;
    }
    if let Some(overrides) = mixed.and_then(|mixed| Some(mixed.part("LaunchTemplate")?.list("Overrides"))) {
        check_weights(overrides)?;
    }
    Ok((template.cloned(), mixed.cloned()))
}

/// Source: API reference, LaunchTemplateOverrides, `WeightedCapacity`: from 1 to 999, and of all overrides or of none.
fn check_weights(overrides: &[Value]) -> Result<(), AwsError> {
    let weights: Vec<&str> = overrides.iter().filter_map(|one| one.text("WeightedCapacity")).collect();
    if let Some(wrong) = weights.iter().find(|weight| !weight.parse::<u64>().is_ok_and(|weight| (1..=999).contains(&weight))) {
        return Err(invalid(&format!("The weighted capacity {wrong} is not valid. It must be a whole number from 1 to 999.")));
    }
    if !weights.is_empty() && weights.len() < overrides.len() {
        return Err(invalid("If you specify a weighted capacity for one instance type, you must specify it for all of them."));
    }
    Ok(())
}

/// Subnets by id, and zones.
type Places = (Vec<String>, Vec<String>);

/// Subnets and their zones, or zones with their default subnets.
fn places(world: &World<'_>, input: &Members) -> Result<Option<Places>, AwsError> {
    if let Some(list) = input.text("VPCZoneIdentifier") {
        let subnets: Vec<String> = list.split(',').map(|id| id.trim().to_owned()).collect();
        let mut zones = Vec::new();
        for id in &subnets {
            let subnet = world.region.subnets.get(id).ok_or_else(|| invalid(&format!("The subnet ID '{id}' does not exist")))?;
            zones.push(subnet.zone.name.to_owned());
        }
        zones.sort();
        zones.dedup();
        return Ok(Some((subnets, zones)));
    }
    let zones: Vec<String> = input.texts("AvailabilityZones").into_iter().map(str::to_owned).collect();
    if let Some(unknown) = zones.iter().find(|zone| world.region.zone(zone).is_none()) {
        return Err(invalid(&format!("Invalid availability zone: [{unknown}]")));
    }
    Ok((!zones.is_empty()).then(|| (Vec::new(), zones)))
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// The sizes of a group: the least, the most and what is desired.
/// Source: API reference, CreateAutoScalingGroup: the desired capacity lies between the minimum and the maximum.
fn checked(least: i64, most: i64, desired: i64) -> Result<(u64, u64, u64), AwsError> {
    if least < 0 {
        return Err(invalid("Min bound, must not be negative."));
    }
    if least > most {
        return Err(invalid("Max bound, must be greater than or equal to min bound."));
    }
    if !(least..=most).contains(&desired) {
        return Err(invalid(&format!("Desired capacity:{desired} must be between the specified min size:{least} and max size:{most}")));
    }
    Ok((least.unsigned_abs(), most.unsigned_abs(), desired.unsigned_abs()))
}

fn create(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    let name = name(input);
    if world.region.groups_of_scaling.contains_key(name) {
        return Err(errors::GROUP_EXISTS.error(&[name]));
    }
    let (template, mixed) = launches(world, input)?;
    if template.is_none() && mixed.is_none() {
        return Err(invalid(
            "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter.",
        ));
    }
    let (subnets, zones) = places(world, input)?.ok_or_else(|| invalid("At least one Availability Zone or VPC Subnet is required."))?;
    let (least, most) = (input.int("MinSize").unwrap_or(0), input.int("MaxSize").unwrap_or(0));
    let (least, most, desired) = checked(least, most, input.int("DesiredCapacity").unwrap_or(least))?;
    let id = world.account.entropy.uuid("auto-scaling-group");
    let group = Group {
        name: name.to_owned(),
        arn: world.account.arn("autoscaling", &world.region.name, &format!("autoScalingGroup:{id}:autoScalingGroupName/{name}")),
        least,
        most,
        desired,
        template,
        mixed,
        subnets,
        zones,
        cooldown: input.int("DefaultCooldown").unwrap_or(300),
        created: world.now,
        tags: input.list("Tags").iter().filter_map(read_tag).collect(),
        protect_new: input.flag("NewInstancesProtectedFromScaleIn"),
        rebalance: input.flag("CapacityRebalance"),
        members: Default::default(),
        activities: Default::default(),
        deleting: false,
    };
    world.region.groups_of_scaling.insert(name.to_owned(), group);
    reconcile::soon(world, name);
    Ok(Out::new().done())
}

fn update(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    let name = name(input).to_owned();
    let (template, mixed) = launches(world, input)?;
    let places = places(world, input)?;
    let group = group_mut(world, &name)?;
    let (least, most) = (input.int("MinSize").unwrap_or(signed(group.least)), input.int("MaxSize").unwrap_or(signed(group.most)));
    // A desired capacity that is not named follows the new bounds.
    let desired = input.int("DesiredCapacity").unwrap_or_else(|| signed(group.desired).min(most).max(least));
    (group.least, group.most, group.desired) = checked(least, most, desired)?;
    if template.is_some() || mixed.is_some() {
        (group.template, group.mixed) = (template, mixed);
    }
    if let Some((subnets, zones)) = places {
        (group.subnets, group.zones) = (subnets, zones);
    }
    group.cooldown = input.int("DefaultCooldown").unwrap_or(group.cooldown);
    if let Some(protect) = input.member("NewInstancesProtectedFromScaleIn").and_then(Value::as_bool) {
        group.protect_new = protect;
    }
    reconcile::soon(world, &name);
    Ok(Out::new().done())
}

fn delete(world: &mut World<'_>, call: &Call) -> Answer {
    let name = name(&call.input).to_owned();
    let force = call.input.flag("ForceDelete");
    let group = group_mut(world, &name)?;
    if !group.members.is_empty() && !force {
        return Err(errors::SCALING_IN_USE.error(&[]));
    }
    (group.least, group.desired, group.deleting) = (0, 0, true);
    reconcile::now(world, &name);
    Ok(Out::new().done())
}

fn set_desired(world: &mut World<'_>, call: &Call) -> Answer {
    let name = name(&call.input).to_owned();
    let desired = call.input.int("DesiredCapacity").unwrap_or(0);
    let group = group_mut(world, &name)?;
    if desired > signed(group.most) {
        return Err(invalid(&format!(
            "New SetDesiredCapacity value {desired} is above max value {} for the AutoScalingGroup.",
            group.most
        )));
    }
    if desired < signed(group.least) {
        return Err(invalid(&format!(
            "New SetDesiredCapacity value {desired} is below min value {} for the AutoScalingGroup.",
            group.least
        )));
    }
    group.desired = desired.unsigned_abs();
    reconcile::soon(world, &name);
    Ok(Out::new().done())
}

/// The group of an instance.
fn group_of(world: &World<'_>, instance: &str) -> Option<String> {
    let mut groups = world.region.groups_of_scaling.values();
    groups.find(|group| group.members.contains_key(instance)).map(|group| group.name.clone())
}

fn terminate(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.text("InstanceId").unwrap_or_default().to_owned();
    let name = group_of(world, &id).ok_or_else(|| errors::NOT_IN_GROUP.error(&[&id]))?;
    let decrement = call.input.flag("ShouldDecrementDesiredCapacity");
    let units = reconcile::weight(world, group(world, &name)?, &id);
    let group = group_mut(world, &name)?;
    if decrement {
        if group.desired < group.least + units {
            let least = group.least;
            return Err(invalid(&format!(
                "Currently, desiredSize equals minSize ({least}). Terminating instance without replacement will violate group's min size \
                 constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size."
            )));
        }
        group.desired -= units;
    }
    let desired = group.desired;
    let cause = format!(
        "At {} instance {id} was taken out of service in response to a user request{}.",
        world.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        if decrement { format!(", shrinking the capacity from {} to {desired}", desired + units) } else { String::new() }
    );
    let activity = reconcile::take_out(world, &name, &id, &cause);
    reconcile::soon(world, &name);
    let shown = group_mut(world, &name).ok().map(|group| show::activity(group, &activity));
    Ok(Out::new().maybe("Activity", shown).done())
}

fn protect(world: &mut World<'_>, call: &Call) -> Answer {
    let protected = call.input.flag("ProtectedFromScaleIn");
    let group = group_mut(world, name(&call.input))?;
    let ids = call.input.texts("InstanceIds");
    if let Some(unknown) = ids.iter().find(|id| !group.members.contains_key(**id)) {
        let (unknown, name) = ((*unknown).to_owned(), group.name.clone());
        return Err(invalid(&format!("The instance {unknown} is not part of Auto Scaling group {name}.")));
    }
    for id in ids {
        if let Some(member) = group.members.get_mut(id) {
            member.protected = protected;
        }
    }
    Ok(Out::new().done())
}
