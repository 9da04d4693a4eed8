//! Volumes, as instances have them.

use serde_json::{Value, json};

use super::tags;
use crate::protocol::Call;
use crate::services::filter::{Filters, Table};
use crate::services::input::{Out, Read, stamp};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::instance::Volume;

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

fn render(volume: &Volume) -> Value {
    let attachment = json!({
        "AttachTime": stamp(volume.created), "Device": volume.device, "InstanceId": volume.instance_id, "State": "attached",
        "VolumeId": volume.id, "DeleteOnTermination": volume.delete_on_termination,
    });
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
