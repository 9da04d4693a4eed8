//! Images.

use serde_json::{Value, json};

use super::tags;
use crate::protocol::{AwsError, Call};
use crate::services::filter::{Filters, Table};
use crate::services::input::{Out, Read};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::entropy::public_id;
use crate::state::image::Image;

/// Source: API reference, DescribeImages, Filters.
const FILTERS: Table = &[
    ("architecture", "Architecture"),
    ("block-device-mapping.delete-on-termination", "BlockDeviceMappings.Ebs.DeleteOnTermination"),
    ("block-device-mapping.device-name", "BlockDeviceMappings.DeviceName"),
    ("block-device-mapping.snapshot-id", "BlockDeviceMappings.Ebs.SnapshotId"),
    ("block-device-mapping.volume-size", "BlockDeviceMappings.Ebs.VolumeSize"),
    ("block-device-mapping.volume-type", "BlockDeviceMappings.Ebs.VolumeType"),
    ("block-device-mapping.encrypted", "BlockDeviceMappings.Ebs.Encrypted"),
    ("creation-date", "CreationDate"),
    ("description", "Description"),
    ("ena-support", "EnaSupport"),
    ("free-tier-eligible", ""),
    ("hypervisor", "Hypervisor"),
    ("image-allowed", "ImageAllowed"),
    ("image-id", "ImageId"),
    ("image-type", "ImageType"),
    ("is-public", "Public"),
    ("kernel-id", ""),
    ("manifest-location", "ImageLocation"),
    ("name", "Name"),
    ("owner-alias", "ImageOwnerAlias"),
    ("owner-id", "OwnerId"),
    ("platform", ""),
    ("platform-details", "PlatformDetails"),
    ("product-code", ""),
    ("product-code.type", ""),
    ("ramdisk-id", ""),
    ("root-device-name", "RootDeviceName"),
    ("root-device-type", "RootDeviceType"),
    ("source-image-id", ""),
    ("source-image-region", ""),
    ("source-instance-id", ""),
    ("state", "State"),
    ("state-reason-code", ""),
    ("state-reason-message", ""),
    ("sriov-net-support", "SriovNetSupport"),
    ("virtualization-type", "VirtualizationType"),
];

/// The images of this account's clouds are AWS's own, which nobody else deprecates or deregisters.
pub(super) fn deprecate(world: &mut World<'_>, call: &Call, _on: bool) -> Answer {
    let id = call.input.need("ImageId")?;
    let image = find(world, id)?;
    if image.owner != world.account.id {
        return Err(errors::OWN_IMAGE.error(&[id]));
    }
    super::dry_run(call)?;
    Ok(Out::new().with("Return", true).done())
}

pub(super) fn deregister(world: &mut World<'_>, call: &Call) -> Answer {
    deprecate(world, call, false)
}

fn render(image: &Image) -> Value {
    let devices: Vec<Value> = image
        .devices
        .iter()
        .map(|(device, size)| {
            let snapshot = public_id("snap", &format!("{}{device}", image.id));
            json!({
                "DeviceName": device,
                "Ebs": {"DeleteOnTermination": true, "SnapshotId": snapshot, "VolumeSize": size, "VolumeType": "gp3", "Encrypted": false,
                        "Iops": 3000, "Throughput": 125},
            })
        })
        .collect();
    Out::new()
        .with("Architecture", image.architecture)
        .with("CreationDate", image.created.clone())
        .with("ImageId", image.id.clone())
        .with("ImageLocation", format!("amazon/{}", image.name))
        .with("ImageType", "machine")
        .with("Public", true)
        .with("OwnerId", image.owner)
        .with("PlatformDetails", "Linux/UNIX")
        .with("UsageOperation", "RunInstances")
        .with("State", "available")
        .with("BlockDeviceMappings", devices)
        .with("Description", image.description.clone())
        .with("EnaSupport", true)
        .with("Hypervisor", "xen")
        .maybe("ImageOwnerAlias", image.owner_alias)
        .with("Name", image.name.clone())
        .with("RootDeviceName", image.root_device)
        .with("RootDeviceType", "ebs")
        .with("SriovNetSupport", "simple")
        .with("VirtualizationType", "hvm")
        .with("BootMode", if image.architecture == "arm64" { "uefi" } else { "uefi-preferred" })
        .with("ImdsSupport", "v2.0")
        .with("DeprecationTime", image.deprecated.clone())
        .with("ImageAllowed", true)
        .with("Tags", tags::render(&image.tags))
        .done()
}

pub(super) fn describe(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, FILTERS)?;
    let (ids, owners) = (call.input.texts("ImageIds"), call.input.texts("Owners"));
    for id in &ids {
        find(world, id)?;
    }
    let deprecated = call.input.flag("IncludeDeprecated");
    let now = world.now;
    let asked = world.region.images.values().filter(|image| {
        (ids.is_empty() || ids.contains(&image.id.as_str()))
            && (owners.is_empty() || owners.iter().any(|owner| owns(owner, image, &world.account.id)))
            // An image is shown to whoever names it, deprecated or not. Source: EC2 user guide, "Deprecate an AMI".
            && (deprecated || !ids.is_empty() || image.deprecated.parse::<jiff::Timestamp>().map_or(true, |at| now < at))
    });
    let rows = asked.map(|image| (image.id.clone(), render(image))).filter(|(_, row)| filters.pass(row)).collect();
    let (images, token) = page::cut(call, Pages::capped(1, 1000).not_with("ImageIds", "imageIds"), rows)?;
    Ok(Out::new().with("Images", images).maybe("NextToken", token).done())
}

fn owns(owner: &str, image: &Image, account: &str) -> bool {
    owner == image.owner || Some(owner) == image.owner_alias || (owner == "self" && image.owner == account)
}

/// The image of an id, in EC2's words if there is none.
pub(super) fn find<'a>(world: &'a World<'_>, id: &str) -> Result<&'a Image, AwsError> {
    if !id.starts_with("ami-") {
        return Err(errors::IMAGE_MALFORMED.error(&[id]));
    }
    world.region.images.get(id).ok_or_else(|| errors::IMAGE_NOT_FOUND.error(&[id]))
}
