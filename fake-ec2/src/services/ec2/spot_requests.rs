//! The one-time requests behind Spot instances.

use serde_json::{Value, json};

use super::network::render_groups;
use crate::protocol::{AwsError, Call};
use crate::services::filter::{Filters, Table};
use crate::services::input::{Out, Read, stamp};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::instance::Instance;
use crate::state::lifecycle::SPOT_TERMINATION;
use crate::state::machine::Phase;

/// Source: API reference, DescribeSpotInstanceRequests, Filters.
const FILTERS: Table = &[
    ("availability-zone-group", ""),
    ("create-time", "CreateTime"),
    ("fault-code", ""),
    ("fault-message", ""),
    ("instance-id", "InstanceId"),
    ("launch-group", ""),
    ("launch.block-device-mapping.delete-on-termination", "LaunchSpecification.BlockDeviceMappings.Ebs.DeleteOnTermination"),
    ("launch.block-device-mapping.device-name", "LaunchSpecification.BlockDeviceMappings.DeviceName"),
    ("launch.block-device-mapping.snapshot-id", "LaunchSpecification.BlockDeviceMappings.Ebs.SnapshotId"),
    ("launch.block-device-mapping.volume-size", "LaunchSpecification.BlockDeviceMappings.Ebs.VolumeSize"),
    ("launch.block-device-mapping.volume-type", "LaunchSpecification.BlockDeviceMappings.Ebs.VolumeType"),
    ("launch.group-id", "LaunchSpecification.SecurityGroups.GroupId"),
    ("launch.group-name", "LaunchSpecification.SecurityGroups.GroupName"),
    ("launch.image-id", "LaunchSpecification.ImageId"),
    ("launch.instance-type", "LaunchSpecification.InstanceType"),
    ("launch.kernel-id", ""),
    ("launch.key-name", "LaunchSpecification.KeyName"),
    ("launch.monitoring-enabled", "LaunchSpecification.Monitoring.Enabled"),
    ("launch.ramdisk-id", ""),
    ("launched-availability-zone", "LaunchedAvailabilityZone"),
    ("launched-availability-zone-id", "LaunchedAvailabilityZoneId"),
    ("network-interface.addresses.primary", ""),
    ("network-interface.delete-on-termination", "LaunchSpecification.NetworkInterfaces.DeleteOnTermination"),
    ("network-interface.description", "LaunchSpecification.NetworkInterfaces.Description"),
    ("network-interface.device-index", "LaunchSpecification.NetworkInterfaces.DeviceIndex"),
    ("network-interface.group-id", "LaunchSpecification.SecurityGroups.GroupId"),
    // A request names interfaces that are there already, which launches here do not take.
    ("network-interface.network-interface-id", ""),
    ("network-interface.private-ip-address", ""),
    ("network-interface.subnet-id", "LaunchSpecification.NetworkInterfaces.SubnetId"),
    ("product-description", "ProductDescription"),
    ("spot-instance-request-id", "SpotInstanceRequestId"),
    ("spot-price", "SpotPrice"),
    ("state", "State"),
    ("status-code", "Status.Code"),
    ("status-message", "Status.Message"),
    ("type", "Type"),
    ("valid-from", ""),
    ("valid-until", ""),
];

/// State, code and message. Source: EC2 user guide, "Spot request status codes", and its examples of the command line; no message where
/// those have none.
fn status(instance: &Instance) -> (&'static str, &'static str, Option<&'static str>) {
    let live = !matches!(instance.phase, Phase::ShuttingDown | Phase::Terminated);
    let taken_back = instance.reason.as_ref().is_some_and(|(code, _)| code == SPOT_TERMINATION.0);
    match (live, instance.interrupted.is_some(), taken_back) {
        (true, false, _) => ("active", "fulfilled", Some("Your spot request is fulfilled.")),
        (true, true, _) => ("active", "marked-for-termination", None),
        (false, _, true) if instance.priced_out => ("closed", "instance-terminated-by-price", None),
        (false, _, true) => ("closed", "instance-terminated-no-capacity", None),
        (false, _, false) => ("closed", "instance-terminated-by-user", Some("Spot Instance terminated due to user-initiated termination.")),
    }
}

/// What was asked for, as far as the instance tells.
fn specification(world: &World<'_>, instance: &Instance) -> Value {
    let interfaces = || instance.interfaces.iter().filter_map(|id| world.region.interfaces.get(id));
    let shown = interfaces().map(|interface| {
        json!({
            "DeleteOnTermination": interface.delete_on_termination, "Description": interface.description,
            "DeviceIndex": interface.device_index, "SubnetId": interface.subnet_id,
        })
    });
    let volumes = instance.volumes.iter().filter_map(|(device, id)| Some((device, world.region.volumes.get(id)?)));
    let devices = volumes.map(|(device, volume)| {
        let ebs = Out::new()
            .with("DeleteOnTermination", volume.delete_on_termination)
            .maybe("SnapshotId", volume.snapshot.clone())
            .with("VolumeSize", volume.size_gib)
            .with("VolumeType", volume.volume_type.clone());
        json!({"DeviceName": device, "Ebs": ebs.done()})
    });
    Out::new()
        .with("BlockDeviceMappings", devices.collect::<Vec<_>>())
        .with("EbsOptimized", instance.ebs_optimized)
        .maybe("IamInstanceProfile", instance.profile.as_ref().map(|profile| json!({"Arn": profile.arn, "Name": profile.name})))
        .with("ImageId", instance.image_id.clone())
        .with("InstanceType", instance.instance_type)
        .maybe("KeyName", instance.key_name.clone())
        .with("Monitoring", json!({"Enabled": instance.monitoring}))
        .with("NetworkInterfaces", shown.collect::<Vec<_>>())
        .with(
            "Placement",
            json!({
                "AvailabilityZone": instance.zone.name, "GroupName": instance.placement_group.as_deref().unwrap_or_default(),
                "Tenancy": instance.tenancy,
            }),
        )
        .maybe("SecurityGroups", interfaces().next().map(|interface| render_groups(world, &interface.groups)))
        .with("SubnetId", instance.subnet_id.clone())
        .done()
}

/// Those whose instances are still described.
pub(super) fn describe(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, FILTERS)?;
    let ids = call.input.texts("SpotInstanceRequestIds");
    if let Some(unknown) = ids.iter().find(|id| !spot_instances(world).any(|(request, _)| request == **id)) {
        return Err(spot_request_unknown(unknown));
    }
    let asked = spot_instances(world).filter(|(request, _)| ids.is_empty() || ids.contains(request));
    let rows = asked.map(|(request, instance)| {
        let (state, code, message) = status(instance);
        let status = Out::new().with("Code", code).maybe("Message", message).with("UpdateTime", stamp(instance.launched));
        let row = Out::new()
            .with("SpotInstanceRequestId", request)
            .with("InstanceId", instance.id.clone())
            .with("CreateTime", stamp(instance.launched))
            .with("LaunchSpecification", specification(world, instance))
            .with("LaunchedAvailabilityZone", instance.zone.name)
            .with("LaunchedAvailabilityZoneId", instance.zone.id)
            .with("ProductDescription", "Linux/UNIX")
            .with("State", state)
            .with("Status", status.done())
            .with("Type", "one-time")
            .maybe("SpotPrice", instance.max_price.map(|price| price.to_decimal()))
            .with("InstanceInterruptionBehavior", "terminate");
        (request.to_owned(), row.done())
    });
    let rows = rows.filter(|(_, row)| filters.pass(row)).collect();
    let (rows, token) = page::cut(call, Pages::capped(5, 1000).not_with("SpotInstanceRequestIds", "spotInstanceRequestIds"), rows)?;
    Ok(Out::new().with("SpotInstanceRequests", rows).maybe("NextToken", token).done())
}

/// Cancelling a request leaves its instance running.
pub(super) fn cancel(world: &mut World<'_>, call: &Call) -> Answer {
    let mut cancelled = Vec::new();
    for id in call.input.texts("SpotInstanceRequestIds") {
        if !spot_instances(world).any(|(request, _)| request == id) {
            return Err(spot_request_unknown(id));
        }
        cancelled.push(json!({"SpotInstanceRequestId": id, "State": "cancelled"}));
    }
    super::dry_run(call)?;
    Ok(Out::new().with("CancelledSpotInstanceRequests", cancelled).done())
}

fn spot_instances<'a>(world: &'a World<'_>) -> impl Iterator<Item = (&'a str, &'a Instance)> {
    world.region.instances.values().filter_map(|instance| Some((instance.spot_request.as_deref()?, instance)))
}

fn spot_request_unknown(id: &str) -> AwsError {
    errors::SPOT_REQUEST_NOT_FOUND.error(&[id])
}
