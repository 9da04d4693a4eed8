//! Questions of a launch: RunInstances by itself, or behind a fleet.
//!
//! CreateFleet asks about what its own request names; what stands in the launch template is asked as `ec2:RunInstances` when a pool was
//! chosen, and a refusal is then an error of that launch, in the fleet's reply. Source: service authorization reference, CreateFleet:
//! "Resource-level permissions for this action do not include the resources specified in a launch template."

use std::collections::{BTreeMap, BTreeSet};

use super::ask::Ask;
use super::ec2::{arn, on, on_create};
use crate::policy::Context;
use crate::protocol::Call;
use crate::services::ec2::launch::{Choice, Place, place};
use crate::services::ec2::spec::Spec;
use crate::services::ec2::{tags, templates};
use crate::services::input::{Members, Read};
use crate::state::network::Tags;
use crate::state::{Market, World};

/// One launch, as far as IAM wants to know.
pub(in crate::services) struct Launch<'a> {
    pub spec: &'a Spec,
    pub place: &'a Place,
    pub market: Market,
    /// The template's id.
    pub template: Option<&'a str>,
    /// Tags of the fleet's request by resource type, over the spec's.
    pub tags: &'a BTreeMap<String, Tags>,
}

/// RunInstances. What cannot be read or placed is the operation's own error, which comes after.
pub(super) fn of_run(world: &World<'_>, call: &Call) -> Vec<Ask> {
    let template = call.input.part("LaunchTemplate").and_then(|named| templates::named(world, named).ok());
    let version = call.input.part("LaunchTemplate").and_then(|named| templates::version(template?, named.text("Version")).ok());
    let data = version.and_then(|version| template?.versions.get(&version)).map(|version| version.data.clone()).unwrap_or_default();
    let Ok(spec) = Spec::read(&data, &call.input) else { return vec![Ask::of(call, "", "*")] };
    match place(world, &spec, &Choice::default()) {
        Ok(place) => {
            let none = BTreeMap::new();
            let template = template.map(|template| template.id.as_str());
            asks(world, call, &Launch { spec: &spec, place: &place, market: spec.market, template, tags: &none })
        }
        Err(_) => vec![Ask::new("ec2", "RunInstances", "instance", arn(world, "instance", "*")).request_tags(&of_kind(&spec, "instance"))],
    }
}

fn of_kind(spec: &Spec, kind: &str) -> Tags {
    spec.tags.get(kind).cloned().unwrap_or_default()
}

/// Everything that a launch touches.
pub(in crate::services) fn asks(world: &World<'_>, call: &Call, launch: &Launch<'_>) -> Vec<Ask> {
    let Launch { spec, place, market, template, tags } = launch;
    let ask = |kind: &'static str, id: &str| Ask::new("ec2", "RunInstances", kind, arn(world, kind, id));
    let mut every = Context::default();
    every.set("ec2:IsLaunchTemplateResource", template.is_some().to_string());
    every.maybe("ec2:LaunchTemplate", template.map(|id| arn(world, "launch-template", id)));
    let all_tags = |kind: &str| {
        let mut all = of_kind(spec, kind);
        all.extend(tags.get(kind).cloned().unwrap_or_default());
        all
    };
    let mut asks = vec![ask("instance", "*").keys(&instance(world, launch)).request_tags(&all_tags("instance"))];
    asks.push(on(world, ask("image", &place.image_id), &place.image_id));
    asks.push(on(world, ask("subnet", &place.subnet_id), &place.subnet_id));
    let interfaces = spec.interfaces.iter().flat_map(|interface| interface.texts("Groups"));
    let groups: BTreeSet<&str> = spec.group_ids.iter().map(String::as_str).chain(interfaces).collect();
    asks.extend(groups.into_iter().map(|group| on(world, ask("security-group", group), group)));
    let public = spec.interfaces.iter().find_map(|interface| interface.member("AssociatePublicIpAddress")?.as_bool());
    let mut address = Context::default();
    address.maybe("ec2:AssociatePublicIpAddress", public.map(|public| public.to_string()));
    asks.push(
        ask("network-interface", "*")
            .keys(&address)
            .with("ec2:AvailabilityZone", place.zone.name)
            .with("ec2:Subnet", arn(world, "subnet", &place.subnet_id))
            .with("ec2:Vpc", arn(world, "vpc", &place.vpc_id))
            .request_tags(&all_tags("network-interface")),
    );
    asks.extend(volumes(spec, place).into_iter().map(|keys| ask("volume", "*").keys(&keys).request_tags(&all_tags("volume"))));
    asks.extend(template.iter().map(|id| on(world, ask("launch-template", id), id)));
    asks.extend(spec.key_name.iter().map(|name| ask("key-pair", name).with("ec2:KeyPairName", name.clone())));
    asks.extend(spec.reservation.iter().map(|id| on(world, ask("capacity-reservation", id), id)));
    asks.extend(spec.placement_group.iter().map(|name| ask("placement-group", name).with("ec2:PlacementGroupName", name.clone())));
    if *market == Market::Spot {
        asks.push(ask("spot-instances-request", "*").request_tags(&all_tags("spot-instances-request")));
    }
    for ask in &mut asks {
        ask.keys.extend(&every);
    }
    let mut tagged: BTreeMap<String, Tags> = spec.tags.clone();
    for (kind, more) in tags.iter().filter(|(kind, _)| *kind != "fleet") {
        tagged.entry(kind.clone()).or_default().extend(more.clone());
    }
    // Tags for Spot requests are for Spot launches alone.
    tagged.retain(|kind, _| kind != "spot-instances-request" || *market == Market::Spot);
    asks.extend(on_create(world, call, &tagged, "RunInstances"));
    asks.extend(pass_role(world, spec));
    asks
}

fn instance(world: &World<'_>, launch: &Launch<'_>) -> Context {
    let Launch { spec, place, market, .. } = launch;
    let mut keys = Context::default();
    keys.set("ec2:InstanceType", place.details.name());
    keys.set("ec2:AvailabilityZone", place.zone.name);
    keys.set("ec2:AvailabilityZoneId", place.zone.id);
    keys.set("ec2:Tenancy", spec.tenancy.clone());
    keys.set("ec2:RootDeviceType", "ebs");
    keys.set("ec2:InstanceMarketType", market.name());
    keys.maybe("ec2:EbsOptimized", spec.ebs_optimized.map(|it| it.to_string()));
    keys.maybe("ec2:InstanceProfile", profile(world, spec).map(|profile| profile.arn.clone()));
    let metadata = |member: &str| spec.metadata.as_ref().and_then(|options| options.text(member)).map(str::to_owned);
    keys.maybe("ec2:MetadataHttpTokens", metadata("HttpTokens"));
    keys.maybe("ec2:MetadataHttpEndpoint", metadata("HttpEndpoint"));
    let hops = spec.metadata.as_ref().and_then(|options| options.int("HttpPutResponseHopLimit"));
    keys.maybe("ec2:MetadataHttpPutResponseHopLimit", hops.map(|hops| hops.to_string()));
    keys
}

/// Per disk that the launch names; an image's own disk where it names none.
fn volumes(spec: &Spec, place: &Place) -> Vec<Context> {
    let plain = [Members::new()];
    let disks: Vec<&Members> = spec.devices.iter().filter_map(|mapping| mapping.part("Ebs")).collect();
    let disks = if disks.is_empty() { plain.iter().collect() } else { disks };
    let keys = disks.into_iter().map(|ebs| {
        let mut keys = Context::default();
        keys.set("ec2:AvailabilityZone", place.zone.name);
        keys.set("ec2:Encrypted", ebs.flag("Encrypted").to_string());
        keys.maybe("ec2:VolumeType", ebs.text("VolumeType"));
        keys.maybe("ec2:VolumeSize", ebs.int("VolumeSize").map(|size| size.to_string()));
        keys.maybe("ec2:VolumeIops", ebs.int("Iops").map(|iops| iops.to_string()));
        keys.maybe("ec2:VolumeThroughput", ebs.int("Throughput").map(|throughput| throughput.to_string()));
        keys.maybe("ec2:KmsKeyId", ebs.text("KmsKeyId"));
        keys
    });
    keys.collect()
}

fn profile<'a>(world: &'a World<'_>, spec: &Spec) -> Option<&'a crate::state::iam::InstanceProfile> {
    let profiles = &world.account.iam.profiles;
    match (&spec.profile_name, &spec.profile_arn) {
        (Some(name), _) => profiles.get(name),
        (None, Some(arn)) => profiles.values().find(|profile| profile.arn == *arn),
        (None, None) => None,
    }
}

/// A launch with a profile passes the profile's role to EC2. Source: EC2 user guide, "Grant permissions to pass an IAM role to an instance".
fn pass_role(world: &World<'_>, spec: &Spec) -> Option<Ask> {
    let role = profile(world, spec)?.roles.first()?;
    Some(passed(&world.account.iam.roles.get(role)?.arn, "ec2.amazonaws.com"))
}

/// `iam:PassRole` of a role to a service.
pub(super) fn passed(role_arn: &str, service: &str) -> Ask {
    Ask::new("iam", "PassRole", "role", role_arn).with("iam:PassedToService", service)
}

/// CreateFleet: what its own request names.
pub(super) fn of_fleet(world: &World<'_>, call: &Call) -> Vec<Ask> {
    let tags = tags::by_resource(&call.input).unwrap_or_default();
    let of = |kind: &str| tags.get(kind).cloned().unwrap_or_default();
    let mut asks = Vec::new();
    for kind in ["fleet", "instance", "volume"] {
        // Volumes only where the request speaks of them: what is in the template is RunInstances' question.
        if kind != "volume" || tags.contains_key(kind) {
            asks.push(Ask::of(call, kind, arn(world, kind, "*")).request_tags(&of(kind)));
        }
    }
    let mut named: BTreeSet<(&'static str, String)> = BTreeSet::new();
    for config in call.input.list("LaunchTemplateConfigs") {
        let template = config.part("LaunchTemplateSpecification").and_then(|named| templates::named(world, named).ok());
        named.extend(template.map(|template| ("launch-template", template.id.clone())));
        for overrides in config.list("Overrides") {
            named.extend(overrides.text("SubnetId").map(|id| ("subnet", id.to_owned())));
            named.extend(overrides.text("ImageId").map(|id| ("image", id.to_owned())));
        }
    }
    asks.extend(named.iter().map(|(kind, id)| on(world, Ask::of(call, kind, arn(world, kind, id)), id)));
    asks.extend(on_create(world, call, &tags, "CreateFleet"));
    asks
}
