//! Describing, stopping, starting and terminating instances; their status.

use serde_json::{Value, json};

use super::network::{render_groups, render_instance_interface};
use super::tags;
use crate::model::Service;
use crate::protocol::{AwsError, Call};
use crate::services::filter::{Filters, Table};
use crate::services::input::{Out, Read, stamp};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::entropy::public_id;
use crate::state::instance::{Check, Instance};
use crate::state::lifecycle::BY_USER_TERMINATE;
use crate::state::machine::{Phase, private_dns_name};
use crate::state::{Market, World};

/// Source: API reference, DescribeInstances, Filters.
const FILTERS: Table = &[
    ("affinity", ""),
    ("architecture", "Architecture"),
    ("availability-zone", "Placement.AvailabilityZone"),
    ("availability-zone-id", "Placement.AvailabilityZoneId"),
    ("block-device-mapping.attach-time", "BlockDeviceMappings.Ebs.AttachTime"),
    ("block-device-mapping.delete-on-termination", "BlockDeviceMappings.Ebs.DeleteOnTermination"),
    ("block-device-mapping.device-name", "BlockDeviceMappings.DeviceName"),
    ("block-device-mapping.status", "BlockDeviceMappings.Ebs.Status"),
    ("block-device-mapping.volume-id", "BlockDeviceMappings.Ebs.VolumeId"),
    ("boot-mode", "BootMode"),
    ("capacity-reservation-id", "CapacityReservationId"),
    (
        "capacity-reservation-specification.capacity-reservation-preference",
        "CapacityReservationSpecification.CapacityReservationPreference",
    ),
    (
        "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id",
        "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId",
    ),
    ("capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn", ""),
    ("client-token", "ClientToken"),
    ("current-instance-boot-mode", "CurrentInstanceBootMode"),
    ("dns-name", "PublicDnsName"),
    ("ebs-optimized", "EbsOptimized"),
    ("ena-support", "EnaSupport"),
    ("enclave-options.enabled", "EnclaveOptions.Enabled"),
    ("hibernation-options.configured", "HibernationOptions.Configured"),
    ("host-id", ""),
    ("hypervisor", "Hypervisor"),
    ("iam-instance-profile.arn", "IamInstanceProfile.Arn"),
    ("iam-instance-profile.id", "IamInstanceProfile.Id"),
    ("image-id", "ImageId"),
    ("instance-id", "InstanceId"),
    ("instance-lifecycle", "InstanceLifecycle"),
    ("instance-state-code", "State.Code"),
    ("instance-state-name", "State.Name"),
    ("instance-type", "InstanceType"),
    ("instance.group-id", "SecurityGroups.GroupId"),
    ("instance.group-name", "SecurityGroups.GroupName"),
    ("ip-address", "PublicIpAddress"),
    ("ipv6-address", ""),
    ("kernel-id", ""),
    ("key-name", "KeyName"),
    ("launch-index", "AmiLaunchIndex"),
    ("launch-time", "LaunchTime"),
    ("maintenance-options.auto-recovery", "MaintenanceOptions.AutoRecovery"),
    ("metadata-options.http-endpoint", "MetadataOptions.HttpEndpoint"),
    ("metadata-options.http-protocol-ipv4", ""),
    ("metadata-options.http-protocol-ipv6", "MetadataOptions.HttpProtocolIpv6"),
    ("metadata-options.http-put-response-hop-limit", "MetadataOptions.HttpPutResponseHopLimit"),
    ("metadata-options.http-tokens", "MetadataOptions.HttpTokens"),
    ("metadata-options.instance-metadata-tags", "MetadataOptions.InstanceMetadataTags"),
    ("metadata-options.state", "MetadataOptions.State"),
    ("monitoring-state", "Monitoring.State"),
    ("network-interface.addresses.association.allocation-id", ""),
    ("network-interface.addresses.association.association-id", ""),
    ("network-interface.addresses.association.carrier-ip", ""),
    ("network-interface.addresses.association.customer-owned-ip", ""),
    ("network-interface.addresses.association.ip-owner-id", "NetworkInterfaces.PrivateIpAddresses.Association.IpOwnerId"),
    ("network-interface.addresses.association.public-dns-name", "NetworkInterfaces.PrivateIpAddresses.Association.PublicDnsName"),
    ("network-interface.addresses.association.public-ip", "NetworkInterfaces.PrivateIpAddresses.Association.PublicIp"),
    ("network-interface.addresses.primary", "NetworkInterfaces.PrivateIpAddresses.Primary"),
    ("network-interface.addresses.private-dns-name", "NetworkInterfaces.PrivateIpAddresses.PrivateDnsName"),
    ("network-interface.addresses.private-ip-address", "NetworkInterfaces.PrivateIpAddresses.PrivateIpAddress"),
    ("network-interface.association.allocation-id", ""),
    ("network-interface.association.association-id", ""),
    ("network-interface.association.carrier-ip", ""),
    ("network-interface.association.customer-owned-ip", ""),
    ("network-interface.association.ip-owner-id", "NetworkInterfaces.Association.IpOwnerId"),
    ("network-interface.association.public-dns-name", "NetworkInterfaces.Association.PublicDnsName"),
    ("network-interface.association.public-ip", "NetworkInterfaces.Association.PublicIp"),
    ("network-interface.attachment.attach-time", "NetworkInterfaces.Attachment.AttachTime"),
    ("network-interface.attachment.attachment-id", "NetworkInterfaces.Attachment.AttachmentId"),
    ("network-interface.attachment.delete-on-termination", "NetworkInterfaces.Attachment.DeleteOnTermination"),
    ("network-interface.attachment.device-index", "NetworkInterfaces.Attachment.DeviceIndex"),
    ("network-interface.attachment.instance-id", "InstanceId"),
    ("network-interface.attachment.instance-owner-id", "NetworkInterfaces.OwnerId"),
    ("network-interface.attachment.network-card-index", "NetworkInterfaces.Attachment.NetworkCardIndex"),
    ("network-interface.attachment.status", "NetworkInterfaces.Attachment.Status"),
    ("network-interface.availability-zone", "Placement.AvailabilityZone"),
    ("network-interface.deny-all-igw-traffic", ""),
    ("network-interface.description", "NetworkInterfaces.Description"),
    ("network-interface.group-id", "NetworkInterfaces.Groups.GroupId"),
    ("network-interface.group-name", "NetworkInterfaces.Groups.GroupName"),
    ("network-interface.ipv4-prefixes.ipv4-prefix", ""),
    ("network-interface.ipv6-address", ""),
    ("network-interface.ipv6-addresses.ipv6-address", ""),
    ("network-interface.ipv6-addresses.is-primary-ipv6", ""),
    ("network-interface.ipv6-native", ""),
    ("network-interface.ipv6-prefixes.ipv6-prefix", ""),
    ("network-interface.mac-address", "NetworkInterfaces.MacAddress"),
    ("network-interface.network-interface-id", "NetworkInterfaces.NetworkInterfaceId"),
    ("network-interface.operator.managed", ""),
    ("network-interface.operator.principal", ""),
    ("network-interface.outpost-arn", ""),
    ("network-interface.owner-id", "NetworkInterfaces.OwnerId"),
    ("network-interface.private-dns-name", "NetworkInterfaces.PrivateDnsName"),
    ("network-interface.private-ip-address", "NetworkInterfaces.PrivateIpAddress"),
    ("network-interface.public-dns-name", "NetworkInterfaces.Association.PublicDnsName"),
    ("network-interface.requester-id", ""),
    ("network-interface.requester-managed", ""),
    ("network-interface.source-dest-check", "NetworkInterfaces.SourceDestCheck"),
    ("network-interface.status", "NetworkInterfaces.Status"),
    ("network-interface.subnet-id", "NetworkInterfaces.SubnetId"),
    ("network-interface.tag-key", "InterfaceTags.Key"),
    ("network-interface.tag-value", "InterfaceTags.Value"),
    ("network-interface.vpc-id", "NetworkInterfaces.VpcId"),
    ("network-performance-options.bandwidth-weighting", ""),
    ("operator.managed", ""),
    ("operator.principal", ""),
    ("outpost-arn", ""),
    ("owner-id", "NetworkInterfaces.OwnerId"),
    ("placement-group-name", "Placement.GroupName"),
    ("placement-partition-number", "Placement.PartitionNumber"),
    ("platform", ""),
    ("platform-details", "PlatformDetails"),
    ("private-dns-name", "PrivateDnsName"),
    ("private-dns-name-options.enable-resource-name-dns-a-record", "PrivateDnsNameOptions.EnableResourceNameDnsARecord"),
    ("private-dns-name-options.enable-resource-name-dns-aaaa-record", "PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord"),
    ("private-dns-name-options.hostname-type", "PrivateDnsNameOptions.HostnameType"),
    ("private-ip-address", "PrivateIpAddress"),
    ("product-code", ""),
    ("product-code.type", ""),
    ("ramdisk-id", ""),
    ("reason", "StateTransitionReason"),
    ("requester-id", ""),
    // The reservation's id stands on the reservation, not on the instance: it is compared there.
    ("reservation-id", RESERVATION),
    ("root-device-name", "RootDeviceName"),
    ("root-device-type", "RootDeviceType"),
    ("source-dest-check", "SourceDestCheck"),
    ("spot-instance-request-id", "SpotInstanceRequestId"),
    ("state-reason-code", "StateReason.Code"),
    ("state-reason-message", "StateReason.Message"),
    ("subnet-id", "SubnetId"),
    ("tenancy", "Placement.Tenancy"),
    ("tpm-support", ""),
    ("usage-operation", "UsageOperation"),
    ("usage-operation-update-time", "UsageOperationUpdateTime"),
    ("virtualization-type", "VirtualizationType"),
    ("vpc-id", "VpcId"),
];

/// Members that only the filter sees; they are taken off before the reply.
const RESERVATION: &str = "ReservationId";
const INTERFACE_TAGS: &str = "InterfaceTags";

/// An instance as DescribeInstances shows it.
pub(super) fn render(world: &World<'_>, instance: &Instance) -> Value {
    let details = crate::catalogue::instance_type(instance.instance_type);
    let image = world.region.images.get(&instance.image_id);
    let primary = instance.interfaces.first().and_then(|id| world.region.interfaces.get(id));
    let address = primary.and_then(|interface| interface.address);
    let public = primary.and_then(|interface| interface.public_address).filter(|_| instance.phase != Phase::Stopped);
    let interfaces = instance.interfaces.iter().filter_map(|id| world.region.interfaces.get(id));
    let interfaces: Vec<Value> = interfaces.map(|interface| render_instance_interface(world, interface)).collect();
    let fact = |pointer: &str| details.and_then(|details| details.details().pointer(pointer).and_then(Value::as_i64));
    let cpu = fact("/VCpuInfo/DefaultCores").zip(fact("/VCpuInfo/DefaultThreadsPerCore"));
    Out::new()
        .with("AmiLaunchIndex", instance.launch_index)
        .with("ImageId", instance.image_id.clone())
        .with("InstanceId", instance.id.clone())
        .with("InstanceType", instance.instance_type)
        .maybe("KeyName", instance.key_name.clone())
        .with("LaunchTime", stamp(instance.launched))
        .with("Monitoring", json!({"State": if instance.monitoring { "enabled" } else { "disabled" }}))
        .with("Placement", placement(world, instance))
        .with("PrivateDnsName", address.map(|address| private_dns_name(&world.region.name, address)).unwrap_or_default())
        .maybe("PrivateIpAddress", address.map(|address| address.to_string()))
        .with("ProductCodes", json!([]))
        .with("PublicDnsName", public.map(|public| public_name(world, public)).unwrap_or_default())
        .maybe("PublicIpAddress", public.map(|public| public.to_string()))
        .with("State", state(instance.phase))
        .with("StateTransitionReason", instance.transition_reason.clone())
        .maybe("SubnetId", address.map(|_| instance.subnet_id.clone()))
        .maybe("VpcId", address.map(|_| instance.vpc_id.clone()))
        .with("Architecture", image.map_or("x86_64", |image| image.architecture))
        .with("BlockDeviceMappings", devices(world, instance))
        .with("ClientToken", instance.client_token.clone().unwrap_or_default())
        .with("EbsOptimized", instance.ebs_optimized)
        .with("EnaSupport", true)
        // EC2 says xen for every instance, Nitro or not. Source: API reference, Instance, Hypervisor.
        .with("Hypervisor", "xen")
        .maybe("IamInstanceProfile", instance.profile.as_ref().map(|profile| json!({"Arn": profile.arn, "Id": profile.id})))
        .maybe("InstanceLifecycle", (instance.market == Market::Spot).then_some("spot"))
        .with("NetworkInterfaces", interfaces)
        .with("RootDeviceName", image.map_or("/dev/xvda", |image| image.root_device))
        .with("RootDeviceType", "ebs")
        .with("SecurityGroups", primary.map(|interface| render_groups(world, &interface.groups)).unwrap_or_else(|| json!([])))
        .with("SourceDestCheck", true)
        .maybe("SpotInstanceRequestId", instance.spot_request.clone())
        .maybe("StateReason", instance.reason.as_ref().map(|(code, message)| json!({"Code": code, "Message": message})))
        .with("Tags", tags::render(&instance.tags))
        .with("VirtualizationType", "hvm")
        .maybe("CpuOptions", cpu.map(|(cores, threads)| json!({"CoreCount": cores, "ThreadsPerCore": threads})))
        .maybe("CapacityReservationId", instance.capacity_reservation.clone())
        .with("CapacityReservationSpecification", json!({"CapacityReservationPreference": instance.capacity_reservation_preference}))
        .with("HibernationOptions", json!({"Configured": false}))
        .with("MetadataOptions", metadata(instance))
        .with("EnclaveOptions", json!({"Enabled": instance.enclave}))
        .with("BootMode", if image.is_some_and(|image| image.architecture == "arm64") { "uefi" } else { "uefi-preferred" })
        .with("CurrentInstanceBootMode", "uefi")
        .with("PlatformDetails", "Linux/UNIX")
        .with("UsageOperation", "RunInstances")
        .with("UsageOperationUpdateTime", stamp(instance.launched))
        .with(
            "PrivateDnsNameOptions",
            json!({
                "HostnameType": "ip-name", "EnableResourceNameDnsARecord": false, "EnableResourceNameDnsAAAARecord": false,
            }),
        )
        .with("MaintenanceOptions", json!({"AutoRecovery": "default"}))
        .done()
}

fn placement(world: &World<'_>, instance: &Instance) -> Value {
    let group = instance.placement_group.as_deref();
    Out::new()
        .with("AvailabilityZone", instance.zone.name)
        .with("AvailabilityZoneId", instance.zone.id)
        .with("GroupName", group.unwrap_or_default())
        .maybe("GroupId", group.and_then(|name| world.placement_group(name)).map(|group| group.id.clone()))
        .maybe("PartitionNumber", instance.partition)
        .with("Tenancy", instance.tenancy.clone())
        .done()
}

fn public_name(world: &World<'_>, address: std::net::Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("ec2-{a}-{b}-{c}-{d}.{}.compute.amazonaws.com", world.region.name)
}

fn state(phase: Phase) -> Value {
    json!({"Code": phase.code(), "Name": phase.name()})
}

fn devices(world: &World<'_>, instance: &Instance) -> Vec<Value> {
    let volumes = instance.volumes.iter().filter_map(|(device, id)| Some((device, world.region.volumes.get(id)?)));
    let shown = volumes.map(|(device, volume)| {
        json!({
            "DeviceName": device,
            "Ebs": {
                "AttachTime": stamp(volume.attached.unwrap_or(volume.created)), "DeleteOnTermination": volume.delete_on_termination, "Status": "attached",
                "VolumeId": volume.id,
            },
        })
    });
    shown.collect()
}

fn metadata(instance: &Instance) -> Value {
    json!({
        "State": if instance.phase == Phase::Pending { "pending" } else { "applied" },
        "HttpTokens": instance.metadata.tokens, "HttpPutResponseHopLimit": instance.metadata.hop_limit,
        "HttpEndpoint": instance.metadata.endpoint, "HttpProtocolIpv6": instance.metadata.ipv6,
        "InstanceMetadataTags": instance.metadata.tags,
    })
}

/// The instances that a request names, all of which must be there.
fn named(world: &World<'_>, call: &Call) -> Result<Vec<String>, AwsError> {
    let ids = call.input.texts("InstanceIds");
    let hexadecimal = |id: &str| {
        id.strip_prefix("i-").is_some_and(|rest| matches!(rest.len(), 8 | 17) && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    if let Some(malformed) = ids.iter().find(|id| !hexadecimal(id)) {
        return Err(errors::INSTANCE_MALFORMED.error(&[malformed]));
    }
    let known = |id: &str| world.region.instances.get(id).is_some_and(|instance| instance.found <= world.now);
    let unknown: Vec<&str> = ids.iter().copied().filter(|id| !known(id)).collect();
    match unknown[..] {
        [] => Ok(ids.into_iter().map(str::to_owned).collect()),
        [one] => Err(errors::INSTANCE_NOT_FOUND.error(&[one])),
        _ => Err(errors::INSTANCES_NOT_FOUND.error(&[&unknown.join(", ")])),
    }
}

pub(super) fn describe(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, FILTERS)?;
    let ids = named(world, call)?;
    // Source: API reference, DescribeInstances: during an outage of a zone, a call that names instances in it, or none at all, fails.
    let down = |id: &String| world.region.instances.get(id).is_some_and(|instance| world.zone_down(instance.zone.name));
    if (ids.is_empty() && world.region.zones.iter().any(|zone| world.zone_down(zone.name))) || ids.iter().any(down) {
        world.note_zone_down();
        return Err(errors::ZONE_DOWN.error(&[]));
    }
    let asked = |instance: &&Instance| {
        (ids.is_empty() || ids.contains(&instance.id))
            && instance.found <= world.now
            && filters.pass_tags(&instance.tags)
            && filters.pass_path("State.Name", instance.phase.name())
    };
    let pages = Pages::capped(5, 1000).not_with("InstanceIds", "instancesSet");
    let place = page::place(call, pages)?;
    let keeps = world.account.writes_xml;
    let known = filters.only_on(&["State.Name", "InstanceId"]);
    let by_interface = filters.ask_for(INTERFACE_TAGS);
    let mut fresh = Vec::new();
    let candidates = world.region.instances.values().filter(asked).map(|instance| (instance.id.clone(), instance));
    let (rows, token) = place.take(call, candidates, |instance| {
        if !filters.pass_path("InstanceId", &instance.id) {
            return None;
        }
        let version = world.region.instances.version(&instance.id);
        let kept = if keeps && known { world.region.written.get(&instance.id, version) } else { None };
        if let Some(text) = kept {
            return Some((instance.reservation_id.clone(), Value::from(&*text)));
        }
        let mut row = render(world, instance);
        if !known {
            row[RESERVATION] = instance.reservation_id.clone().into();
            if by_interface {
                let interfaces = instance.interfaces.iter().filter_map(|id| world.region.interfaces.get(id));
                row[INTERFACE_TAGS] = interfaces.map(|interface| tags::render(&interface.tags)).collect();
            }
            if !filters.pass(&row) {
                return None;
            }
            for hidden in [RESERVATION, INTERFACE_TAGS] {
                row.as_object_mut().and_then(|row| row.remove(hidden));
            }
        }
        match written(&row).filter(|_| keeps) {
            Some(text) => {
                fresh.push((instance.id.clone(), version, text.clone()));
                Some((instance.reservation_id.clone(), text.into()))
            }
            None => Some((instance.reservation_id.clone(), row)),
        }
    });
    for (id, version, text) in fresh {
        world.region.written.keep(&id, version, text.into());
    }
    let mut reservations = indexmap::IndexMap::<String, Vec<Value>>::new();
    for (id, row) in rows {
        reservations.entry(id).or_default().push(row);
    }
    let owner = &world.account.id;
    let shown = reservations.into_iter().map(|(id, instances)| {
        Out::new().with("ReservationId", id).with("OwnerId", owner.clone()).with("Groups", json!([])).with("Instances", instances).done()
    });
    Ok(Out::new().with("Reservations", shown.collect::<Vec<_>>()).maybe("NextToken", token).done())
}

/// An instance in EC2's XML; nothing if it does not fit the model, which the reply then says.
fn written(row: &Value) -> Option<String> {
    crate::protocol::fragment(Service::Ec2, "DescribeInstances", &["Reservations", "Instances"], row)
}

fn change(id: &str, before: Phase, after: Phase) -> Value {
    json!({"InstanceId": id, "CurrentState": state(after), "PreviousState": state(before)})
}

fn phase(world: &World<'_>, id: &str) -> Phase {
    world.region.instances.get(id).map_or(Phase::Terminated, |instance| instance.phase)
}

pub(super) fn terminate(world: &mut World<'_>, call: &Call) -> Answer {
    let ids = named(world, call)?;
    if ids.is_empty() {
        return Err(errors::MISSING.error(&["InstanceId"]));
    }
    let kept = |id: &&String| world.region.instances.get(*id).is_some_and(|instance| instance.keep.0);
    if let Some(id) = ids.iter().find(kept) {
        return Err(errors::KEPT.error(&[id, "terminated", "disableApiTermination"]));
    }
    super::dry_run(call)?;
    let mut changes = Vec::new();
    for id in &ids {
        let before = phase(world, id);
        world.terminate(id, BY_USER_TERMINATE);
        changes.push(change(id, before, phase(world, id)));
    }
    Ok(Out::new().with("TerminatingInstances", changes).done())
}

pub(super) fn stop(world: &mut World<'_>, call: &Call) -> Answer {
    let ids = named(world, call)?;
    for id in &ids {
        let instance = world.region.instances.get(id);
        if instance.is_some_and(|instance| instance.market == Market::Spot) {
            return Err(errors::SPOT_STOP.error(&[id]));
        }
        if matches!(phase(world, id), Phase::ShuttingDown | Phase::Terminated) {
            return Err(errors::INSTANCE_STATE.error(&[id, "stopped"]));
        }
        if instance.is_some_and(|instance| instance.keep.1) {
            return Err(errors::KEPT.error(&[id, "stopped", "disableApiStop"]));
        }
    }
    super::dry_run(call)?;
    let mut changes = Vec::new();
    for id in &ids {
        let before = phase(world, id);
        world.stop(id);
        changes.push(change(id, before, phase(world, id)));
    }
    Ok(Out::new().with("StoppingInstances", changes).done())
}

pub(super) fn start(world: &mut World<'_>, call: &Call) -> Answer {
    let ids = named(world, call)?;
    for id in &ids {
        match world.region.instances.get(id) {
            Some(instance) if matches!(instance.phase, Phase::Stopped) => {
                if world.room(&instance.pool()).none() {
                    let (name, zone) = (instance.instance_type, instance.zone.name);
                    return Err(errors::CAPACITY_NOWHERE.error(&[name, zone]));
                }
            }
            Some(instance) if matches!(instance.phase, Phase::Pending | Phase::Running) => {}
            _ => return Err(errors::INSTANCE_STATE.error(&[id, "started"])),
        }
    }
    super::dry_run(call)?;
    let mut changes = Vec::new();
    for id in &ids {
        let before = phase(world, id);
        if before == Phase::Stopped {
            if let Some(instance) = world.region.instances.get_mut(id) {
                instance.launched = world.now;
            }
            world.begin(id);
        }
        changes.push(change(id, before, phase(world, id)));
    }
    Ok(Out::new().with("StartingInstances", changes).done())
}

/// A reboot is over before anybody can look: the state stays `running`.
pub(super) fn reboot(world: &mut World<'_>, call: &Call) -> Answer {
    for id in named(world, call)? {
        if !matches!(phase(world, &id), Phase::Running | Phase::Pending) {
            return Err(errors::INSTANCE_STATE.error(&[&id, "rebooted"]));
        }
    }
    super::dry_run(call)?;
    Ok(Out::new().done())
}

const STATUS_FILTERS: Table = &[
    ("availability-zone", "AvailabilityZone"),
    ("availability-zone-id", "AvailabilityZoneId"),
    ("event.code", "Events.Code"),
    ("event.description", "Events.Description"),
    ("event.instance-event-id", "Events.InstanceEventId"),
    ("event.not-after", "Events.NotAfter"),
    ("event.not-before", "Events.NotBefore"),
    ("event.not-before-deadline", "Events.NotBeforeDeadline"),
    ("instance-state-code", "InstanceState.Code"),
    ("instance-state-name", "InstanceState.Name"),
    ("instance-status.reachability", "InstanceStatus.Details.Status"),
    ("instance-status.status", "InstanceStatus.Status"),
    ("operator.managed", ""),
    ("operator.principal", ""),
    ("system-status.reachability", "SystemStatus.Details.Status"),
    ("system-status.status", "SystemStatus.Status"),
    // Of instances of their own kind, which are not here.
    ("application-status.status", ""),
    ("attached-ebs-status.status", "AttachedEbsStatus.Status"),
];

/// The status of instances; of running ones only, unless all are asked for. A new instance is `initializing` for two minutes, about what
/// the console shows.
pub(super) fn status(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, STATUS_FILTERS)?;
    let ids = named(world, call)?;
    let all = call.input.flag("IncludeAllInstances");
    let mut rows = Vec::new();
    for instance in world.region.instances.values() {
        if (!ids.is_empty() && !ids.contains(&instance.id)) || !(all || instance.phase == Phase::Running) {
            continue;
        }
        let young = world.now.duration_since(instance.launched) < jiff::SignedDuration::from_mins(2);
        let (word, passed) = match instance.phase {
            Phase::Running if young => ("initializing", "initializing"),
            Phase::Running => ("ok", "passed"),
            _ => ("not-applicable", ""),
        };
        // Where a zone is down, nothing in it is reached.
        let down = world.zone_down(instance.zone.name).then_some(world.now);
        let check = |which: Check| {
            let failed = instance.impaired.iter().find(|(check, _)| *check == which).map(|(_, since)| *since).or(down);
            match (passed, failed) {
                ("", _) => json!({"Status": word}),
                (_, Some(since)) => {
                    json!({"Status": "impaired", "Details": [{"Name": "reachability", "Status": "failed", "ImpairedSince": stamp(since)}]})
                }
                (_, None) => json!({"Status": word, "Details": [{"Name": "reachability", "Status": passed}]}),
            }
        };
        let events: Vec<Value> = instance
            .events
            .iter()
            .filter(|event| event.is_shown(world.now))
            .map(|event| {
                let id = public_id("instance-event", &format!("{}/{:x}", instance.id, event.number));
                let (code, not_before) = (event.event.code(), stamp(event.not_before));
                json!({"InstanceEventId": id, "Code": code, "Description": event.description(), "NotBefore": not_before})
            })
            .collect();
        let row = json!({
            "AvailabilityZone": instance.zone.name, "AvailabilityZoneId": instance.zone.id, "InstanceId": instance.id,
            "InstanceState": state(instance.phase), "InstanceStatus": check(Check::Instance), "SystemStatus": check(Check::System),
            "AttachedEbsStatus": check(Check::AttachedEbs), "Events": events,
        });
        if filters.pass(&row) {
            rows.push((instance.id.clone(), row));
        }
    }
    let (rows, token) = page::cut(call, Pages::capped(5, 1000).by_default(100).not_with("InstanceIds", "instancesSet"), rows)?;
    Ok(Out::new().with("InstanceStatuses", rows).maybe("NextToken", token).done())
}
