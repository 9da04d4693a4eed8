//! How groups, their instances and activities are shown.

use serde_json::{Value, json};

use super::group;
use crate::protocol::{AwsError, Call};
use crate::services::input::{Out, Read, stamp};
use crate::services::{Answer, errors, page};
use crate::state::World;
use crate::state::group::{Activity, Group, Member};
use crate::state::machine::Phase;

/// One page in Auto Scaling's manner: `MaxRecords`, 50 unless asked, and at most so many.
pub(super) fn paged(call: &Call, member: &str, most: usize, rows: Vec<(String, Value)>) -> Answer {
    let length = call.input.int("MaxRecords").and_then(|length| usize::try_from(length).ok()).unwrap_or(50).clamp(1, most);
    let (rows, token) = page::cut_by(call, length, call.input.text("NextToken"), &errors::SCALING_TOKEN, rows)?;
    Ok(Out::new().with(member, rows).maybe("NextToken", token).done())
}

/// Where an instance stands in its group's life.
fn lifecycle(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Running => "InService",
        Phase::Stopping | Phase::Stopped | Phase::ShuttingDown => "Terminating",
        Phase::Terminated => "Terminated",
    }
}

/// The members of an instance that both `Instance` and `AutoScalingInstanceDetails` have.
fn member(world: &World<'_>, group: &Group, id: &str, member: &Member) -> Option<Out> {
    let instance = world.region.instances.get(id)?;
    let (template, version) = &member.template;
    let unhealthy = !matches!(instance.phase, Phase::Pending | Phase::Running);
    Some(
        Out::new()
            .with("InstanceId", id)
            .with("InstanceType", instance.instance_type)
            .with("AvailabilityZone", instance.zone.name)
            .with("AvailabilityZoneId", instance.zone.id)
            .with("LifecycleState", lifecycle(instance.phase))
            .with("HealthStatus", if unhealthy { "Unhealthy" } else { "Healthy" })
            .with("LaunchTemplate", json!({"LaunchTemplateId": template, "LaunchTemplateName": member.template_name, "Version": version}))
            .with("ProtectedFromScaleIn", member.protected)
            .maybe("WeightedCapacity", group.weight(instance.instance_type).map(|weight| weight.to_string())),
    )
}

fn tag_list(group: &Group) -> Vec<Value> {
    let tags = group.tags.iter().map(|(key, tag)| {
        json!({
            "ResourceId": group.name, "ResourceType": "auto-scaling-group", "Key": key, "Value": tag.value, "PropagateAtLaunch": tag.propagate,
        })
    });
    tags.collect()
}

fn render(world: &World<'_>, group: &Group) -> Value {
    let members: Vec<Value> = group.members.iter().filter_map(|(id, held)| Some(member(world, group, id, held)?.done())).collect();
    Out::new()
        .with("AutoScalingGroupName", group.name.clone())
        .with("AutoScalingGroupARN", group.arn.clone())
        .maybe("LaunchTemplate", group.template.clone().map(Value::Object))
        .maybe("MixedInstancesPolicy", group.mixed.clone().map(Value::Object))
        .with("MinSize", group.least)
        .with("MaxSize", group.most)
        .with("DesiredCapacity", group.desired)
        .with("DefaultCooldown", group.cooldown)
        .with("AvailabilityZones", group.zones.clone())
        .with("LoadBalancerNames", json!([]))
        .with("TargetGroupARNs", json!([]))
        .with("HealthCheckType", "EC2")
        .with("HealthCheckGracePeriod", 0)
        .with("Instances", members)
        .with("CreatedTime", stamp(group.created))
        .with("SuspendedProcesses", json!([]))
        .with("VPCZoneIdentifier", group.subnets.join(","))
        .with("EnabledMetrics", json!([]))
        .maybe("Status", group.deleting.then_some("Delete in progress"))
        .with("Tags", tag_list(group))
        .with("TerminationPolicies", json!(["Default"]))
        .with("NewInstancesProtectedFromScaleIn", group.protect_new)
        .with("CapacityRebalance", group.rebalance)
        .done()
}

/// Refuses filters of another name than those allowed, whether or not there is anything to filter.
fn check_filters(call: &Call, allowed: &str) -> Result<(), AwsError> {
    let known = |name: &str| allowed.split(' ').any(|known| known == name) || name.starts_with("tag:") && allowed.ends_with("tag:<key>");
    let names = call.input.list("Filters").iter().map(|filter| filter.text("Name").unwrap_or_default());
    match names.into_iter().find(|name| !known(name)) {
        Some(name) => Err(super::invalid(&format!("Filter type {name} is not correct. Allowed Filter types are: {allowed}"))),
        None => Ok(()),
    }
}

/// `tag-key`, `tag-value`, `tag:KEY`. Source: API reference, DescribeAutoScalingGroups, Filters.
fn passes(group: &Group, call: &Call) -> bool {
    call.input.list("Filters").iter().all(|filter| {
        let name = filter.text("Name").unwrap_or_default();
        let values = filter.texts("Values");
        match name.strip_prefix("tag:") {
            Some(key) => group.tags.get(key).is_some_and(|tag| values.contains(&tag.value.as_str())),
            None if name == "tag-key" => group.tags.keys().any(|key| values.contains(&key.as_str())),
            None => group.tags.values().any(|tag| values.contains(&tag.value.as_str())),
        }
    })
}

pub(super) fn groups(world: &mut World<'_>, call: &Call) -> Answer {
    check_filters(call, "tag-key tag-value tag:<key>")?;
    let names = call.input.texts("AutoScalingGroupNames");
    let mut rows = Vec::new();
    // Names that are not there are no error.
    for group in world.region.groups_of_scaling.values().filter(|group| names.is_empty() || names.contains(&group.name.as_str())) {
        if passes(group, call) {
            rows.push((group.name.clone(), render(world, group)));
        }
    }
    paged(call, "AutoScalingGroups", 100, rows)
}

pub(super) fn instances(world: &mut World<'_>, call: &Call) -> Answer {
    let ids = call.input.texts("InstanceIds");
    let mut rows = Vec::new();
    for group in world.region.groups_of_scaling.values() {
        for (id, held) in group.members.iter().filter(|(id, _)| ids.is_empty() || ids.contains(&id.as_str())) {
            // Details write health in capitals.
            let shown = member(world, group, id, held).map(|out| out.with("AutoScalingGroupName", group.name.clone()).done());
            rows.extend(shown.map(|mut shown| {
                shown["HealthStatus"] = shown["HealthStatus"].as_str().unwrap_or_default().to_uppercase().into();
                (id.clone(), shown)
            }));
        }
    }
    paged(call, "AutoScalingInstances", 50, rows)
}

pub(super) fn activity(group: &Group, activity: &Activity) -> Value {
    Out::new()
        .with("ActivityId", activity.id.clone())
        .with("AutoScalingGroupName", group.name.clone())
        .with("AutoScalingGroupARN", group.arn.clone())
        .with("Description", activity.description.clone())
        .with("Cause", activity.cause.clone())
        .with("StartTime", stamp(activity.start))
        .maybe("EndTime", activity.end.map(stamp))
        .with("StatusCode", activity.status)
        .maybe("StatusMessage", activity.message.clone())
        .with("Progress", if activity.end.is_some() { 100 } else { 50 })
        .with("Details", "{}")
        .done()
}

pub(super) fn activities(world: &mut World<'_>, call: &Call) -> Answer {
    let ids = call.input.texts("ActivityIds");
    let groups: Vec<&Group> = match call.input.text("AutoScalingGroupName") {
        Some(name) => vec![group(world, name)?],
        None => world.region.groups_of_scaling.values().collect(),
    };
    let mut rows = Vec::new();
    for group in groups {
        let asked = group.activities.iter().filter(|activity| ids.is_empty() || ids.contains(&activity.id.as_str()));
        rows.extend(asked.enumerate().map(|(at, it)| (format!("{}/{at:06}", group.name), activity(group, it))));
    }
    paged(call, "Activities", 100, rows)
}

pub(super) fn tags(world: &mut World<'_>, call: &Call) -> Answer {
    check_filters(call, "auto-scaling-group key value propagate-at-launch")?;
    let wanted = |row: &Value| {
        call.input.list("Filters").iter().all(|filter| {
            let values = filter.texts("Values");
            match filter.text("Name").unwrap_or_default() {
                "auto-scaling-group" => row.text("ResourceId").is_some_and(|it| values.contains(&it)),
                "key" => row.text("Key").is_some_and(|it| values.contains(&it)),
                "value" => row.text("Value").is_some_and(|it| values.contains(&it)),
                _ => values.iter().any(|value| value.parse() == Ok(row["PropagateAtLaunch"] == true)),
            }
        })
    };
    let mut rows = Vec::new();
    for group in world.region.groups_of_scaling.values() {
        for row in tag_list(group).into_iter().filter(wanted) {
            rows.push((format!("{}/{}", group.name, row.text("Key").unwrap_or_default()), row));
        }
    }
    paged(call, "Tags", 100, rows)
}
