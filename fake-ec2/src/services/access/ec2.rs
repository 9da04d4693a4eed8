//! Questions of EC2's operations. Types of resources come from the reference; which ids an operation names, from its input.

use super::ask::Ask;
use super::launch;
use crate::policy::{Context, reference};
use crate::protocol::Call;
use crate::services::ec2::tags;
use crate::services::input::{Members, Read};
use crate::state::World;
use crate::state::network::Tags;

/// Members that name resources of a type.
const IDS: [(&str, &[&str]); 13] = [
    ("instance", &["InstanceId", "InstanceIds"]),
    ("subnet", &["SubnetId", "SubnetIds"]),
    ("vpc", &["VpcId"]),
    ("security-group", &["GroupId", "GroupName"]),
    ("volume", &["VolumeId"]),
    ("launch-template", &["LaunchTemplateId", "LaunchTemplateName"]),
    ("image", &["ImageId"]),
    ("network-interface", &["NetworkInterfaceId"]),
    ("capacity-reservation", &["CapacityReservationId"]),
    ("placement-group", &["GroupName"]),
    ("fleet", &["FleetIds"]),
    ("spot-instances-request", &["SpotInstanceRequestIds"]),
    ("key-pair", &["KeyName"]),
];

/// Types by the beginning of an id.
const PREFIXES: [(&str, &str); 13] = [
    ("i-", "instance"),
    ("subnet-", "subnet"),
    ("vpc-", "vpc"),
    ("sg-", "security-group"),
    ("vol-", "volume"),
    ("lt-", "launch-template"),
    ("ami-", "image"),
    ("eni-", "network-interface"),
    ("cr-", "capacity-reservation"),
    ("pg-", "placement-group"),
    ("fleet-", "fleet"),
    ("sir-", "spot-instances-request"),
    ("snap-", "snapshot"),
];

pub(super) fn asks(world: &World<'_>, call: &Call) -> Vec<Ask> {
    match call.operation {
        "RunInstances" => launch::of_run(world, call),
        "CreateFleet" => launch::of_fleet(world, call),
        "CreateTags" | "DeleteTags" => tagging(world, call),
        _ => plain(world, call),
    }
}

/// The ARN of a resource. Images and snapshots have no account in it.
pub(super) fn arn(world: &World<'_>, kind: &str, id: &str) -> String {
    let rest = format!("{kind}/{id}");
    let arn = world.account.arn("ec2", &world.region.name, &rest);
    if matches!(kind, "image" | "snapshot") { arn.replacen(&world.account.id, "", 1) } else { arn }
}

fn plain(world: &World<'_>, call: &Call) -> Vec<Ask> {
    let mut asks = Vec::new();
    let row = reference::action("ec2", call.operation);
    for resource in row.into_iter().flat_map(|row| &row.resources) {
        // What is created has no id yet, only a name.
        let ids = if creates(call.operation, resource.name) { Vec::new() } else { named(&call.input, resource.name) };
        for id in &ids {
            let id = &canonical(world, resource.name, id);
            asks.push(on(world, Ask::of(call, resource.name, arn(world, resource.name, id)), id));
        }
        if ids.is_empty() && resource.required {
            let tags = tags::for_resource(&call.input, resource.name).unwrap_or_default();
            let made = made(world, resource.name, &call.input);
            asks.push(Ask::of(call, resource.name, arn(world, resource.name, "*")).request_tags(&tags).keys(&made));
        }
    }
    if asks.is_empty() {
        asks.push(Ask::of(call, "", "*"));
    }
    asks.extend(on_create(world, call, &tags::by_resource(&call.input).unwrap_or_default(), call.operation));
    asks
}

/// Condition keys of what a request would make. Source: service authorization reference, "Condition keys for Amazon EC2"; what is not said
/// is EC2's default. Which of them an action carries is the reference's word: of what comes into a VPC it is `ec2:VpcID` of the VPC.
fn made(world: &World<'_>, kind: &str, input: &Members) -> Context {
    let mut keys = Context::default();
    let number = |member: &str| input.int(member).map(|number| number.to_string());
    let asked = input.text("AvailabilityZone").or_else(|| input.text("AvailabilityZoneId"));
    if let Some(zone) = asked.and_then(|asked| world.region.zones.iter().find(|zone| zone.name == asked || zone.id == asked)) {
        keys.set("ec2:AvailabilityZone", zone.name);
        keys.set("ec2:AvailabilityZoneId", zone.id);
    }
    keys.maybe("ec2:Vpc", input.text("VpcId").map(|id| arn(world, "vpc", id)));
    match kind {
        "volume" => {
            keys.set("ec2:VolumeType", input.text("VolumeType").unwrap_or("gp2"));
            keys.set("ec2:Encrypted", input.flag("Encrypted").to_string());
            keys.maybe("ec2:VolumeSize", number("Size"));
            keys.maybe("ec2:VolumeIops", number("Iops"));
            keys.maybe("ec2:VolumeThroughput", number("Throughput"));
            keys.maybe("ec2:KmsKeyId", input.text("KmsKeyId"));
            keys.maybe("ec2:ParentSnapshot", input.text("SnapshotId").map(|id| arn(world, "snapshot", id)));
        }
        "capacity-reservation" => {
            keys.maybe("ec2:InstanceType", input.text("InstanceType"));
            keys.maybe("ec2:InstancePlatform", input.text("InstancePlatform"));
            keys.maybe("ec2:InstanceCount", number("InstanceCount"));
            keys.maybe("ec2:EndDate", input.text("EndDate"));
            keys.maybe("ec2:PlacementGroup", input.text("PlacementGroupArn"));
            keys.set("ec2:EndDateType", input.text("EndDateType").unwrap_or("unlimited"));
            keys.set("ec2:InstanceMatchCriteria", input.text("InstanceMatchCriteria").unwrap_or("open"));
            keys.set("ec2:Tenancy", input.text("Tenancy").unwrap_or("default"));
            keys.set("ec2:EbsOptimized", input.flag("EbsOptimized").to_string());
            keys.set("ec2:EphemeralStorage", input.flag("EphemeralStorage").to_string());
        }
        _ => {}
    }
    keys
}

/// `CreateLaunchTemplate` creates a `launch-template`.
fn creates(operation: &str, kind: &str) -> bool {
    operation.strip_prefix("Create").is_some_and(|what| what.eq_ignore_ascii_case(&kind.replace('-', "")))
}

fn named(input: &Members, kind: &str) -> Vec<String> {
    let members = IDS.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, members)| members);
    members.iter().flat_map(|member| input.text(member).into_iter().chain(input.texts(member))).map(str::to_owned).collect()
}

/// The id of what may be called by a name.
fn canonical(world: &World<'_>, kind: &str, id: &str) -> String {
    let region = &world.region;
    let found = match kind {
        "launch-template" => region.templates.get(id).map(|template| template.id.clone()),
        "security-group" => region.groups.values().find(|group| group.name == id).map(|group| group.id.clone()),
        _ => None,
    };
    found.unwrap_or_else(|| id.to_owned())
}

/// Tags that come with what is created need `ec2:CreateTags`, too. Source: EC2 user guide, "Grant permission to tag Amazon EC2 resources
/// during creation".
pub(super) fn on_create(world: &World<'_>, call: &Call, tags: &std::collections::BTreeMap<String, Tags>, create_action: &str) -> Vec<Ask> {
    let kinds = tags.iter().filter(|(_, tags)| !tags.is_empty());
    let asks = kinds.filter_map(|(kind, tags)| {
        let kind = PREFIXES.iter().find(|(_, known)| known == kind)?.1;
        debug_assert!(call.service == crate::model::Service::Ec2);
        Some(Ask::new("ec2", "CreateTags", kind, arn(world, kind, "*")).with("ec2:CreateAction", create_action).request_tags(tags))
    });
    asks.collect()
}

fn tagging(world: &World<'_>, call: &Call) -> Vec<Ask> {
    let tags = tags::read(call.input.list("Tags"));
    let ids = call.input.texts("Resources");
    let asks = ids.into_iter().map(|id| {
        let kind = PREFIXES.iter().find(|(prefix, _)| id.starts_with(prefix)).map_or("", |(_, kind)| kind);
        if kind.is_empty() {
            return Ask::of(call, "", "*").request_tags(&tags);
        }
        on(world, Ask::of(call, kind, arn(world, kind, id)), id).request_tags(&tags)
    });
    asks.collect()
}

/// An ask with what is known of a resource.
pub(super) fn on(world: &World<'_>, ask: Ask, id: &str) -> Ask {
    match facts(world, ask.kind, id) {
        Facts::Known(tags, keys) => ask.resource_tags(&tags).keys(&keys),
        Facts::Gone => ask.gone(true),
        Facts::None => ask,
    }
}

enum Facts {
    /// Tags and condition keys.
    Known(Tags, Context),
    /// There is no such resource.
    Gone,
    /// Nothing is known of resources of this type.
    None,
}

/// What is known of a resource. Source: service authorization reference, "Condition keys for Amazon EC2".
fn facts(world: &World<'_>, kind: &str, id: &str) -> Facts {
    let (region, mut keys) = (&world.region, Context::default());
    let tags = match kind {
        "instance" => region.instances.get(id).map(|it| {
            keys.set("ec2:InstanceID", it.id.clone());
            keys.set("ec2:InstanceType", it.instance_type);
            keys.set("ec2:AvailabilityZone", it.zone.name);
            keys.set("ec2:AvailabilityZoneId", it.zone.id);
            keys.set("ec2:Tenancy", it.tenancy.clone());
            keys.set("ec2:EbsOptimized", it.ebs_optimized.to_string());
            keys.set("ec2:RootDeviceType", "ebs");
            keys.set("ec2:InstanceMarketType", it.market.name());
            keys.set("ec2:MetadataHttpEndpoint", it.metadata.endpoint.clone());
            keys.set("ec2:MetadataHttpTokens", it.metadata.tokens.clone());
            keys.set("ec2:MetadataHttpPutResponseHopLimit", it.metadata.hop_limit.to_string());
            keys.maybe("ec2:InstanceProfile", it.profile.as_ref().map(|profile| profile.arn.clone()));
            &it.tags
        }),
        "subnet" => region.subnets.get(id).map(|it| {
            keys.set("ec2:SubnetID", it.id.clone());
            keys.set("ec2:AvailabilityZone", it.zone.name);
            keys.set("ec2:AvailabilityZoneId", it.zone.id);
            keys.set("ec2:Vpc", arn(world, "vpc", &it.vpc_id));
            &it.tags
        }),
        "security-group" => region.groups.get(id).map(|it| {
            keys.set("ec2:SecurityGroupID", it.id.clone());
            keys.set("ec2:Vpc", arn(world, "vpc", &it.vpc_id));
            &it.tags
        }),
        "vpc" => region.vpcs.get(id).map(|it| {
            keys.set("ec2:VpcID", it.id.clone());
            keys.set("ec2:Tenancy", "default");
            &it.tags
        }),
        "volume" => region.volumes.get(id).map(|it| {
            keys.set("ec2:VolumeID", it.id.clone());
            keys.set("ec2:AvailabilityZone", it.zone.name);
            keys.set("ec2:Encrypted", it.encrypted.to_string());
            keys.set("ec2:VolumeSize", it.size_gib.to_string());
            keys.set("ec2:VolumeType", it.volume_type.clone());
            keys.maybe("ec2:VolumeIops", it.iops.map(|iops| iops.to_string()));
            keys.maybe("ec2:VolumeThroughput", it.throughput.map(|throughput| throughput.to_string()));
            &it.tags
        }),
        "network-interface" => region.interfaces.get(id).map(|it| {
            keys.set("ec2:NetworkInterfaceID", it.id.clone());
            keys.set("ec2:AvailabilityZone", it.zone.name);
            keys.set("ec2:Subnet", arn(world, "subnet", &it.subnet_id));
            keys.set("ec2:Vpc", arn(world, "vpc", &it.vpc_id));
            &it.tags
        }),
        "image" => region.images.get(id).map(|it| {
            keys.set("ec2:ImageID", it.id.clone());
            keys.set("ec2:ImageType", "machine");
            keys.set("ec2:Owner", it.owner_alias.unwrap_or(&it.owner));
            keys.set("ec2:Public", it.public().to_string());
            keys.set("ec2:RootDeviceType", "ebs");
            &it.tags
        }),
        "launch-template" => region.templates.values().find(|it| it.id == id).map(|it| &it.tags),
        _ => return Facts::None,
    };
    tags.map_or(Facts::Gone, |tags| Facts::Known(tags.clone(), keys))
}
