//! Images.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::tags;
use crate::protocol::{AwsError, Call};
use crate::services::filter::{Filters, Table};
use crate::services::input::{Out, Read, stamp};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::entropy::public_id;
use crate::state::image::Image;
use crate::state::lifecycle::later;
use crate::state::machine::Phase;

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
    ("source-instance-id", "SourceInstanceId"),
    ("state", "State"),
    ("state-reason-code", ""),
    ("state-reason-message", ""),
    ("sriov-net-support", "SriovNetSupport"),
    ("virtualization-type", "VirtualizationType"),
];

/// How long the snapshots of an image of one's own take.
const MAKING: SignedDuration = SignedDuration::from_secs(60);

/// An image of an instance, with the disks that it has. Source: API reference, CreateImage.
pub(super) fn create(world: &mut World<'_>, call: &Call) -> Answer {
    let (id, name) = (call.input.need("InstanceId")?, call.input.need("Name")?);
    let instance =
        world.region.instances.get(id).filter(|it| it.found <= world.now).ok_or_else(|| errors::INSTANCE_NOT_FOUND.error(&[id]))?;
    if !matches!(instance.phase, Phase::Running | Phase::Stopped | Phase::Pending) {
        return Err(errors::INSTANCE_STATE.error(&[id, "imaged"]));
    }
    // Source: API reference, CreateImage, Name.
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "()[] ./-'@_".contains(letter);
    if !(3..=128).contains(&name.chars().count()) || !name.chars().all(letter) {
        return Err(errors::IMAGE_NAME_MALFORMED.error(&[]));
    }
    let own = |image: &&Image| image.owner == world.account.id && image.name == name;
    if let Some(taken) = world.region.images.values().find(own) {
        return Err(errors::IMAGE_NAME_TAKEN.error(&[name, &taken.id]));
    }
    let tags = tags::for_resource(&call.input, "image")?;
    super::dry_run(call)?;
    let of = world.region.images.get(&instance.image_id);
    let (architecture, family, root_device) =
        of.map_or(("x86_64", "al2023", "/dev/xvda"), |of| (of.architecture, of.family, of.root_device));
    let disk = |(device, volume): &(String, String)| Some((device.clone(), world.region.volumes.get(volume)?.size_gib));
    let devices = instance.volumes.iter().filter_map(disk).collect();
    let image = Image {
        id: String::new(),
        name: name.to_owned(),
        description: call.input.text("Description").unwrap_or_default().to_owned(),
        architecture,
        family,
        owner: world.account.id.clone(),
        owner_alias: None,
        created: stamp(world.now),
        deprecated: None,
        available: Some(later(world.now, MAKING)),
        source: Some(id.to_owned()),
        root_device,
        devices,
        tags,
    };
    let id = world.account.entropy.id("ami");
    world.region.images.insert(id.clone(), Image { id: id.clone(), ..image });
    Ok(Out::new().with("ImageId", id).done())
}

/// Sets or takes back when an image of one's own is deprecated. AWS's own are not anybody else's to change.
pub(super) fn deprecate(world: &mut World<'_>, call: &Call, on: bool) -> Answer {
    let id = own(world, call)?;
    let at = call.input.text("DeprecateAt").filter(|_| on).map(str::to_owned);
    if let Some(at) = &at
        && at.parse::<jiff::Timestamp>().map_or(true, |at| at <= world.now)
    {
        return Err(errors::invalid(at, "DeprecateAt", "The date and time must be in the future."));
    }
    super::dry_run(call)?;
    if let Some(image) = world.region.images.get_mut(&id) {
        image.deprecated = at;
    }
    Ok(Out::new().with("Return", true).done())
}

/// Nobody can launch it from now on; instances of it run on.
pub(super) fn deregister(world: &mut World<'_>, call: &Call) -> Answer {
    let id = own(world, call)?;
    super::dry_run(call)?;
    world.region.images.remove(&id);
    Ok(Out::new().with("Return", true).done())
}

fn own(world: &World<'_>, call: &Call) -> Result<String, AwsError> {
    let id = call.input.need("ImageId")?;
    let image = find(world, id)?;
    if image.owner == world.account.id { Ok(id.to_owned()) } else { Err(errors::OWN_IMAGE.error(&[id])) }
}

fn render(image: &Image, account: &str, now: jiff::Timestamp) -> Value {
    let own = image.owner == account;
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
        .with("ImageLocation", format!("{}/{}", image.owner_alias.unwrap_or(&image.owner), image.name))
        .with("ImageType", "machine")
        .with("Public", !own)
        .with("OwnerId", image.owner.clone())
        .with("PlatformDetails", "Linux/UNIX")
        .with("UsageOperation", "RunInstances")
        .with("State", if image.available.is_some_and(|available| now < available) { "pending" } else { "available" })
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
        .maybe("DeprecationTime", image.deprecated.clone())
        .maybe("SourceInstanceId", image.source.clone())
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
            && (deprecated || !ids.is_empty() || image.deprecated.as_ref().and_then(|at| at.parse::<jiff::Timestamp>().ok()).is_none_or(|at| now < at))
    });
    let rows = asked.map(|image| (image.id.clone(), render(image, &world.account.id, now))).filter(|(_, row)| filters.pass(row)).collect();
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
