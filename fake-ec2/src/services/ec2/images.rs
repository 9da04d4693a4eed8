//! Images.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::tags;
use crate::protocol::{AwsError, Call};
use crate::services::filter::{Filters, Table};
use crate::services::input::{Out, Read, stamp};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::entropy::public_id;
use crate::state::image::Image;
use crate::state::lifecycle::later;
use crate::state::machine::Phase;
use crate::state::{World, is_account};

/// Source: API reference, DescribeImages, Filters.
const FILTERS: Table = &[
    ("architecture", "Architecture"),
    ("block-device-mapping.delete-on-termination", "BlockDeviceMappings.Ebs.DeleteOnTermination"),
    ("block-device-mapping.device-name", "BlockDeviceMappings.DeviceName"),
    ("block-device-mapping.snapshot-id", "BlockDeviceMappings.Ebs.SnapshotId"),
    ("block-device-mapping.volume-size", "BlockDeviceMappings.Ebs.VolumeSize"),
    ("block-device-mapping.volume-type", "BlockDeviceMappings.Ebs.VolumeType"),
    ("block-device-mapping.encrypted", "BlockDeviceMappings.Ebs.Encrypted"),
    ("boot-mode", "BootMode"),
    ("creation-date", "CreationDate"),
    ("description", "Description"),
    ("ena-support", "EnaSupport"),
    ("free-tier-eligible", ""),
    ("hypervisor", "Hypervisor"),
    ("image-allowed", "ImageAllowed"),
    ("image-id", "ImageId"),
    ("image-type", "ImageType"),
    ("image-watermark.source-image-creation-time", ""),
    ("image-watermark.source-image-id", ""),
    ("image-watermark.source-image-region", ""),
    ("image-watermark.watermark-creation-time", ""),
    ("image-watermark.watermark-key", ""),
    ("instance-type-specification.supported-instance-type", ""),
    ("instance-type-specification.unsupported-instance-type", ""),
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
    ("public-ssm-parameter-name", PARAMETER),
    ("ramdisk-id", ""),
    ("root-device-name", "RootDeviceName"),
    ("root-device-type", "RootDeviceType"),
    ("scan-result.critical-fix-available-since", ""),
    ("scan-result.finding-scan-date", ""),
    ("scan-result.high-fix-available-since", ""),
    ("scan-result.highest-finding-severity-label", ""),
    ("scan-result.informational-fix-available-since", ""),
    ("scan-result.low-fix-available-since", ""),
    ("scan-result.medium-fix-available-since", ""),
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
    free_name(world, name)?;
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
        shared: BTreeSet::new(),
    };
    Ok(keep(world, image))
}

/// Source: API reference, CreateImage, Name.
fn free_name(world: &World<'_>, name: &str) -> Result<(), AwsError> {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "()[] ./-'@_".contains(letter);
    if !(3..=128).contains(&name.chars().count()) || !name.chars().all(letter) {
        return Err(errors::IMAGE_NAME_MALFORMED.error(&[]));
    }
    let own = |image: &&Image| image.owner == world.account.id && image.name == name;
    match world.region.images.values().find(own) {
        Some(taken) => Err(errors::IMAGE_NAME_TAKEN.error(&[name, &taken.id])),
        None => Ok(()),
    }
}

/// Gives a new image its id.
fn keep(world: &mut World<'_>, image: Image) -> Value {
    let id = world.account.entropy.id("ami");
    world.region.images.insert(id.clone(), Image { id: id.clone(), ..image });
    Out::new().with("ImageId", id).done()
}

/// The image and the device that a snapshot is of. There are no snapshots but those of images.
pub(super) fn of_snapshot<'a>(world: &'a World<'_>, id: &str) -> Result<(&'a Image, i64), AwsError> {
    let disks = world.region.images.values().flat_map(|image| image.devices.iter().map(move |disk| (image, disk)));
    let mut found = disks.filter(|(image, (device, _))| snapshot(image, device) == id);
    found.next().map(|(image, (_, size))| (image, *size)).ok_or_else(|| errors::SNAPSHOT_NOT_FOUND.error(&[id]))
}

fn snapshot(image: &Image, device: &str) -> String {
    public_id("snap", &format!("{}{device}", image.id))
}

/// An image of snapshots, which are those of other images. Source: API reference, RegisterImage.
pub(super) fn register(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    let name = input.need("Name")?;
    free_name(world, name)?;
    let root = input.need("RootDeviceName")?;
    let mut of = None;
    let mut devices = Vec::new();
    for mapping in input.list("BlockDeviceMappings") {
        let (Some(device), Some(ebs)) = (mapping.text("DeviceName"), mapping.part("Ebs")) else { continue };
        let known = ebs.text("SnapshotId").map(|id| of_snapshot(world, id)).transpose()?;
        if device == root {
            of = known.map(|(image, _)| image);
        }
        let size = ebs.int("VolumeSize").or(known.map(|(_, size)| size)).ok_or_else(|| errors::MISSING.error(&["size/snapshot"]))?;
        devices.push((device.to_owned(), size));
    }
    let of = of.ok_or_else(|| errors::invalid(root, "rootDeviceName", "It must be one of the block devices, with a snapshot."))?;
    if let Some(other) = input.text("Architecture").filter(|asked| *asked != of.architecture) {
        return Err(errors::invalid(other, "architecture", &format!("The snapshot is of {}.", of.architecture)));
    }
    let tags = tags::for_resource(input, "image")?;
    super::dry_run(call)?;
    let description = input.text("Description").unwrap_or_default().to_owned();
    let image = Image { devices, source: None, available: None, tags, ..made_from(world, of, name, description) };
    Ok(keep(world, image))
}

/// A copy of an image that the account may launch; it is the account's own. Source: API reference, CopyImage.
pub(super) fn copy(world: &mut World<'_>, call: &Call) -> Answer {
    let (id, name, region) = (call.input.need("SourceImageId")?, call.input.need("Name")?, call.input.need("SourceRegion")?);
    if region != world.region.name {
        return Err(errors::IMAGE_REGION.error(&[region]));
    }
    let of = find(world, id)?;
    free_name(world, name)?;
    let mut tags = tags::for_resource(&call.input, "image")?;
    if call.input.flag("CopyImageTags") {
        tags.extend(of.tags.clone());
    }
    super::dry_run(call)?;
    let description = call.input.text("Description").unwrap_or(&of.description).to_owned();
    let image = Image { tags, available: Some(later(world.now, MAKING)), ..made_from(world, of, name, description) };
    Ok(keep(world, image))
}

fn made_from(world: &World<'_>, of: &Image, name: &str, description: String) -> Image {
    Image {
        id: String::new(),
        name: name.to_owned(),
        description,
        owner: world.account.id.clone(),
        owner_alias: None,
        created: stamp(world.now),
        deprecated: None,
        source: None,
        shared: BTreeSet::new(),
        ..of.clone()
    }
}

/// One attribute of an image of one's own.
pub(super) fn describe_attribute(world: &mut World<'_>, call: &Call) -> Answer {
    let id = own(world, call)?;
    super::dry_run(call)?;
    let image = find(world, &id)?;
    let shown = Out::new().with("ImageId", id.clone());
    let shown = match call.input.need("Attribute")? {
        "launchPermission" => {
            let row = |who: &String| if who == "all" { json!({"Group": who}) } else { json!({"UserId": who}) };
            shown.with("LaunchPermissions", image.shared.iter().map(row).collect::<Vec<_>>())
        }
        "description" => shown.with("Description", json!({"Value": image.description})),
        "blockDeviceMapping" => shown.with("BlockDeviceMappings", devices(image)),
        other => return Err(errors::invalid(other, "attribute", "Unknown attribute.")),
    };
    Ok(shown.done())
}

/// Shares an image of one's own with other accounts, or ends that; or describes it anew.
pub(super) fn modify_attribute(world: &mut World<'_>, call: &Call) -> Answer {
    let id = own(world, call)?;
    let input = &call.input;
    let rows = |member: &str| input.part("LaunchPermission").map(|it| it.list(member).to_vec()).unwrap_or_default();
    let named = |rows: Vec<Value>| -> Vec<String> {
        rows.iter().filter_map(|row| row.text("UserId").or_else(|| row.text("Group"))).map(str::to_owned).collect()
    };
    let (mut add, mut remove) = (named(rows("Add")), named(rows("Remove")));
    let listed = input.texts("UserIds").into_iter().chain(input.texts("UserGroups")).map(str::to_owned);
    match input.text("OperationType") {
        Some("remove") => remove.extend(listed),
        _ => add.extend(listed),
    }
    if let Some(strange) = add.iter().chain(&remove).find(|who| *who != "all" && !is_account(who)) {
        return Err(errors::IMAGE_USER.error(&[strange]));
    }
    let description = input.part("Description").and_then(|it| it.text("Value"));
    let description =
        description.or_else(|| input.text("Value").filter(|_| input.text("Attribute") == Some("description"))).map(str::to_owned);
    super::dry_run(call)?;
    if let Some(image) = world.region.images.get_mut(&id) {
        image.shared.extend(add);
        image.shared.retain(|who| !remove.contains(who));
        if let Some(description) = description {
            image.description = description;
        }
    }
    world.share(&id);
    Ok(Out::new().done())
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
    world.share(&id);
    Ok(Out::new().with("Return", true).done())
}

/// Nobody can launch it from now on; instances of it run on.
pub(super) fn deregister(world: &mut World<'_>, call: &Call) -> Answer {
    let id = own(world, call)?;
    super::dry_run(call)?;
    world.region.images.remove(&id);
    world.share(&id);
    Ok(Out::new().with("Return", true).done())
}

fn own(world: &World<'_>, call: &Call) -> Result<String, AwsError> {
    let id = call.input.need("ImageId")?;
    let image = find(world, id)?;
    if image.owner == world.account.id { Ok(id.to_owned()) } else { Err(errors::OWN_IMAGE.error(&[id])) }
}

/// A member that only the filter sees: AWS's own parameters that name the image.
const PARAMETER: &str = "PublicSsmParameterName";

fn devices(image: &Image) -> Vec<Value> {
    let disk = |(device, size): &(String, i64)| {
        json!({
            "DeviceName": device,
            "Ebs": {"DeleteOnTermination": true, "SnapshotId": snapshot(image, device), "VolumeSize": size, "VolumeType": "gp3",
                    "Encrypted": false, "Iops": 3000, "Throughput": 125},
        })
    };
    image.devices.iter().map(disk).collect()
}

fn render(image: &Image, now: jiff::Timestamp) -> Value {
    Out::new()
        .with("Architecture", image.architecture)
        .with("CreationDate", image.created.clone())
        .with("ImageId", image.id.clone())
        .with("ImageLocation", format!("{}/{}", image.owner_alias.unwrap_or(&image.owner), image.name))
        .with("ImageType", "machine")
        .with("Public", image.public())
        .with("OwnerId", image.owner.clone())
        .with("PlatformDetails", "Linux/UNIX")
        .with("UsageOperation", "RunInstances")
        .with("State", if image.available.is_some_and(|available| now < available) { "pending" } else { "available" })
        .with("BlockDeviceMappings", devices(image))
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
    let (ids, owners, launchers) = (call.input.texts("ImageIds"), call.input.texts("Owners"), call.input.texts("ExecutableUsers"));
    for id in &ids {
        find(world, id)?;
    }
    let deprecated = call.input.flag("IncludeDeprecated");
    let now = world.now;
    let asked = world.region.images.values().filter(|image| {
        (ids.is_empty() || ids.contains(&image.id.as_str()))
            && (owners.is_empty() || owners.iter().any(|owner| owns(owner, image, &world.account.id)))
            && (launchers.is_empty() || launchers.iter().any(|who| launches(who, image, &world.account.id)))
            // An image is shown to whoever names it, deprecated or not. Source: EC2 user guide, "Deprecate an AMI".
            && (deprecated || !ids.is_empty() || image.deprecated.as_ref().and_then(|at| at.parse::<jiff::Timestamp>().ok()).is_none_or(|at| now < at))
    });
    let by_parameter = filters.ask_for(PARAMETER);
    let rows = asked.filter_map(|image| {
        let mut row = render(image, now);
        if by_parameter {
            let names = world.region.public_parameters.iter().filter(|(_, value)| **value == image.id);
            row[PARAMETER] = names.map(|(name, _)| name.as_str()).collect();
        }
        let passed = filters.pass(&row);
        row.as_object_mut().and_then(|row| row.remove(PARAMETER));
        passed.then_some((image.id.clone(), row))
    });
    let rows = rows.collect();
    let (images, token) = page::cut(call, Pages::capped(1, 1000).not_with("ImageIds", "imageIds"), rows)?;
    Ok(Out::new().with("Images", images).maybe("NextToken", token).done())
}

fn owns(owner: &str, image: &Image, account: &str) -> bool {
    owner == image.owner || Some(owner) == image.owner_alias || (owner == "self" && image.owner == account)
}

/// Source: API reference, DescribeImages, ExecutableBy: explicit permissions, or `all`.
fn launches(who: &str, image: &Image, account: &str) -> bool {
    match who {
        "all" => image.public(),
        "self" => image.shared.contains(account),
        other => image.shared.contains(other),
    }
}

/// The image of an id, in EC2's words if there is none.
pub(super) fn find<'a>(world: &'a World<'_>, id: &str) -> Result<&'a Image, AwsError> {
    if !id.starts_with("ami-") {
        return Err(errors::IMAGE_MALFORMED.error(&[id]));
    }
    world.region.images.get(id).ok_or_else(|| errors::IMAGE_NOT_FOUND.error(&[id]))
}
