//! Volumes: those of launches, and those that are made and attached by hand.

use serde_json::{Value, json};

use super::{images, tags};
use crate::protocol::Call;
use crate::services::filter::{Filters, Table};
use crate::services::input::{Out, Read, stamp};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::instance::Volume;
use crate::state::machine::Phase;

/// Source: API reference, DescribeVolumes, Filters.
const FILTERS: Table = &[
    ("attachment.attach-time", "Attachments.AttachTime"),
    ("attachment.delete-on-termination", "Attachments.DeleteOnTermination"),
    ("attachment.device", "Attachments.Device"),
    ("attachment.instance-id", "Attachments.InstanceId"),
    ("attachment.status", "Attachments.State"),
    ("availability-zone", "AvailabilityZone"),
    ("availability-zone-id", "AvailabilityZoneId"),
    ("create-time", "CreateTime"),
    ("encrypted", "Encrypted"),
    ("fast-restored", ""),
    ("multi-attach-enabled", "MultiAttachEnabled"),
    ("operator.managed", ""),
    ("operator.principal", ""),
    ("size", "Size"),
    ("snapshot-id", "SnapshotId"),
    ("status", "State"),
    ("volume-id", "VolumeId"),
    ("volume-type", "VolumeType"),
];

/// What one attachment is, in this state.
fn attachment(volume: &Volume, state: &str) -> Value {
    json!({
        "AttachTime": stamp(volume.attached.unwrap_or(volume.created)), "Device": volume.device, "InstanceId": volume.instance_id,
        "State": state, "VolumeId": volume.id, "DeleteOnTermination": volume.delete_on_termination,
    })
}

fn render(volume: &Volume) -> Value {
    let attachment = attachment(volume, "attached");
    let attached = !volume.instance_id.is_empty();
    Out::new()
        .with("Attachments", if attached { vec![attachment] } else { Vec::new() })
        .with("AvailabilityZone", volume.zone.name)
        .with("AvailabilityZoneId", volume.zone.id)
        .with("CreateTime", stamp(volume.created))
        .with("Encrypted", volume.encrypted)
        .maybe("KmsKeyId", volume.kms_key.clone())
        .with("Size", volume.size_gib)
        .with("SnapshotId", volume.snapshot.clone().unwrap_or_default())
        .with("State", if attached { "in-use" } else { "available" })
        .with("VolumeId", volume.id.clone())
        .maybe("Iops", volume.iops)
        .maybe("Throughput", volume.throughput)
        .with("VolumeType", volume.volume_type.clone())
        .with("MultiAttachEnabled", false)
        .with("Tags", tags::render(&volume.tags))
        .done()
}

pub(super) fn describe(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, FILTERS)?;
    let ids = call.input.texts("VolumeIds");
    if let Some(unknown) = ids.iter().find(|id| !world.region.volumes.contains_key(**id)) {
        return Err(errors::VOLUME_NOT_FOUND.error(&[unknown]));
    }
    let asked = world.region.volumes.values().filter(|volume| ids.is_empty() || ids.contains(&volume.id.as_str()));
    let rows = asked.map(|volume| (volume.id.clone(), render(volume))).filter(|(_, row)| filters.pass(row)).collect();
    let (volumes, token) = page::cut(call, Pages::capped(5, 1000).not_with("VolumeIds", "volumeIds"), rows)?;
    Ok(Out::new().with("Volumes", volumes).maybe("NextToken", token).done())
}

/// Least and most.
type Bounds = (i64, i64);

/// Types with the sizes, in GiB, that a volume may have, and the IOPS that it may be given; (0, 0) for none.
/// Source: EBS user guide, "Amazon EBS volume types".
const TYPES: [(&str, Bounds, Bounds); 7] = [
    ("gp3", (1, 65_536), (3_000, 80_000)),
    ("gp2", (1, 16_384), (0, 0)),
    ("io1", (4, 16_384), (100, 64_000)),
    ("io2", (4, 65_536), (100, 256_000)),
    ("st1", (125, 16_384), (0, 0)),
    ("sc1", (125, 16_384), (0, 0)),
    ("standard", (1, 1_024), (0, 0)),
];

pub(super) fn create(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    let zone = input.need("AvailabilityZone")?;
    let zone = world.region.zone(zone).ok_or_else(|| errors::VOLUME_ZONE.error(&[zone]))?;
    let kind = input.text("VolumeType").unwrap_or("gp2");
    let Some((_, (least, most), iops)) = TYPES.iter().find(|(name, ..)| *name == kind) else {
        return Err(errors::invalid(kind, "volumeType", "Unknown volume type."));
    };
    let snapshot = input.text("SnapshotId").map(str::to_owned);
    let of_snapshot = snapshot.as_ref().map(|id| images::of_snapshot(world, id)).transpose()?.map(|(_, size)| size);
    let size = input.int("Size").or(of_snapshot).ok_or_else(|| errors::MISSING.error(&["size/snapshot"]))?;
    let least = &of_snapshot.map_or(*least, |size| size.max(*least));
    if !(*least..=*most).contains(&size) {
        return Err(errors::VOLUME_SIZE.error(&[kind, &least.to_string(), &most.to_string()]));
    }
    let asked = input.int("Iops");
    if let Some(asked) = asked.filter(|asked| !(iops.0..=iops.1).contains(asked)) {
        let why = if iops.1 == 0 {
            "The volume type has no such parameter.".to_owned()
        } else {
            format!("It must be from {} to {}.", iops.0, iops.1)
        };
        return Err(errors::invalid(&asked.to_string(), "iops", &why));
    }
    if asked.is_none() && kind.starts_with("io") {
        return Err(errors::MISSING.error(&["iops"]));
    }
    let tags = tags::for_resource(input, "volume")?;
    super::dry_run(call)?;
    let gp3 = kind == "gp3";
    let volume = Volume {
        id: world.account.entropy.id("vol"),
        instance_id: String::new(),
        device: String::new(),
        zone,
        size_gib: size,
        iops: asked.or(gp3.then_some(3000)),
        throughput: input.int("Throughput").or(gp3.then_some(125)),
        volume_type: kind.to_owned(),
        encrypted: input.flag("Encrypted"),
        kms_key: input.text("KmsKeyId").map(str::to_owned),
        snapshot,
        delete_on_termination: false,
        created: world.now,
        attached: None,
        tags,
    };
    let mut shown = render(&volume);
    shown["State"] = "creating".into();
    world.region.volumes.insert(volume.id.clone(), volume);
    Ok(shown)
}

pub(super) fn attach(world: &mut World<'_>, call: &Call) -> Answer {
    let (id, of, device) = (call.input.need("VolumeId")?, call.input.need("InstanceId")?, call.input.need("Device")?);
    let volume = world.region.volumes.get(id).ok_or_else(|| errors::VOLUME_NOT_FOUND.error(&[id]))?;
    let instance =
        world.region.instances.get(of).filter(|it| it.found <= world.now).ok_or_else(|| errors::INSTANCE_NOT_FOUND.error(&[of]))?;
    if !matches!(instance.phase, Phase::Running | Phase::Stopped) {
        return Err(errors::INSTANCE_NOT_RUNNING.error(&[of]));
    }
    if !volume.instance_id.is_empty() {
        return Err(errors::VOLUME_ATTACHED.error(&[id]));
    }
    if volume.zone != instance.zone {
        return Err(errors::VOLUME_ELSEWHERE.error(&[id, of]));
    }
    if instance.volumes.iter().any(|(held, _)| held == device) {
        return Err(errors::DEVICE_TAKEN.error(&[device]));
    }
    super::dry_run(call)?;
    let now = world.now;
    if let Some(instance) = world.region.instances.get_mut(of) {
        instance.volumes.push((device.to_owned(), id.to_owned()));
    }
    let Some(volume) = world.region.volumes.get_mut(id) else { return Err(errors::VOLUME_NOT_FOUND.error(&[id])) };
    (volume.instance_id, volume.device, volume.attached, volume.delete_on_termination) =
        (of.to_owned(), device.to_owned(), Some(now), false);
    Ok(attachment(volume, "attaching"))
}

pub(super) fn detach(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.need("VolumeId")?;
    let volume = world.region.volumes.get(id).ok_or_else(|| errors::VOLUME_NOT_FOUND.error(&[id]))?;
    if volume.instance_id.is_empty() {
        return Err(errors::VOLUME_FREE.error(&[id]));
    }
    let named = |member: &str, is: &str| call.input.text(member).is_none_or(|asked| asked == is);
    if !named("InstanceId", &volume.instance_id) || !named("Device", &volume.device) {
        return Err(errors::NO_ATTACHMENT.error(&[id, call.input.text("InstanceId").unwrap_or(&volume.instance_id)]));
    }
    let of = volume.instance_id.clone();
    let holder = world.region.instances.get(&of);
    let root = holder.and_then(|it| world.region.images.get(&it.image_id)).map_or("/dev/xvda", |image| image.root_device);
    if holder.is_some_and(|it| it.phase == Phase::Running) && volume.device == root {
        return Err(errors::ROOT_VOLUME.error(&[&volume.device, &of]));
    }
    super::dry_run(call)?;
    if let Some(instance) = world.region.instances.get_mut(&of) {
        instance.volumes.retain(|(_, held)| held != id);
    }
    let Some(volume) = world.region.volumes.get_mut(id) else { return Err(errors::VOLUME_NOT_FOUND.error(&[id])) };
    let shown = attachment(volume, "detaching");
    volume.instance_id.clear();
    (volume.device, volume.attached) = (String::new(), None);
    Ok(shown)
}

pub(super) fn delete(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.need("VolumeId")?;
    let volume = world.region.volumes.get(id).ok_or_else(|| errors::VOLUME_NOT_FOUND.error(&[id]))?;
    if !volume.instance_id.is_empty() {
        return Err(errors::VOLUME_IN_USE.error(&[id, &volume.instance_id]));
    }
    super::dry_run(call)?;
    world.region.volumes.remove(id);
    Ok(Out::new().done())
}
