//! EC2.
//!
//! | module | operations |
//! |---|---|
//! | [`offers`] | instance types, offerings, Spot prices, zones, regions |
//! | [`network`] | VPCs, subnets, security groups, interfaces; [`permissions`]: whether a rule is one |
//! | [`images`] | images |
//! | [`templates`] | launch templates and versions |
//! | [`spec`], [`launch`] | what a launch asks for; how it is checked and done |
//! | [`fleet`], [`allocate`], [`ceiling`] | CreateFleet; which pools it takes; what bounds a launch |
//! | [`requirements`], [`fleets`] | types by their attributes; fleets described and deleted |
//! | [`run`] | RunInstances |
//! | [`instances`], [`attributes`] | describing, stopping, starting, terminating; status |
//! | [`spot_requests`] | the requests behind Spot instances |
//! | [`console`] | what a machine's console shows |
//! | [`volumes`], [`reservations`], [`tags`] | volumes; capacity reservations and placement groups; tags |

mod allocate;
mod attributes;
mod ceiling;
mod console;
pub(super) mod fleet;
mod fleets;
mod images;
mod instances;
pub(super) mod launch;
mod network;
mod offers;
mod permissions;
mod requirements;
mod reservations;
mod run;
pub(super) mod spec;
mod spot_requests;
pub(super) mod tags;
pub(super) mod templates;
mod volumes;

use super::input::Read;
use super::{Answer, errors, page};
use crate::protocol::{AwsError, Call};
use crate::state::World;
use crate::state::account::Remembered;

/// Operations that change nothing that instances refer to: of what they change in instances, those know by themselves.
const OF_INSTANCES: [&str; 12] = [
    "CreateFleet",
    "DeleteFleets",
    "CreateLaunchTemplate",
    "CreateLaunchTemplateVersion",
    "CreateTags",
    "DeleteLaunchTemplate",
    "DeleteTags",
    "RebootInstances",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
];

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    if call.operation.starts_with("Describe") || call.operation.starts_with("Get") {
        dry_run(call)?;
    } else if !OF_INSTANCES.contains(&call.operation) {
        world.region.written.around += 1;
    }
    match call.operation {
        "AttachVolume" => volumes::attach(world, call),
        "AuthorizeSecurityGroupEgress" => network::authorize(world, call, false),
        "AuthorizeSecurityGroupIngress" => network::authorize(world, call, true),
        "CancelCapacityReservation" => reservations::cancel_capacity(world, call),
        "CancelSpotInstanceRequests" => spot_requests::cancel(world, call),
        "CopyImage" => idempotent(world, call, images::copy),
        "CreateCapacityReservation" => idempotent(world, call, reservations::create_capacity),
        "CreateFleet" => idempotent(world, call, fleet::create),
        "CreateImage" => images::create(world, call),
        "CreateLaunchTemplate" => idempotent(world, call, templates::create),
        "CreateLaunchTemplateVersion" => idempotent(world, call, templates::create_version),
        "CreatePlacementGroup" => reservations::create_placement_group(world, call),
        "CreateSecurityGroup" => network::create_group(world, call),
        "CreateSubnet" => network::create_subnet(world, call),
        "CreateTags" => tags::create(world, call),
        "CreateVolume" => idempotent(world, call, volumes::create),
        "CreateVpc" => network::create_vpc(world, call),
        "DeleteFleets" => fleets::delete(world, call),
        "DeleteLaunchTemplate" => templates::delete(world, call),
        "DeletePlacementGroup" => reservations::delete_placement_group(world, call),
        "DeleteSecurityGroup" => network::delete_group(world, call),
        "DeleteSubnet" => network::delete_subnet(world, call),
        "DeleteTags" => tags::delete(world, call),
        "DeleteVolume" => volumes::delete(world, call),
        "DeleteVpc" => network::delete_vpc(world, call),
        "DeregisterImage" => images::deregister(world, call),
        "DescribeAccountAttributes" => network::account_attributes(world, call),
        "DescribeAvailabilityZones" => offers::zones(world, call),
        "DescribeCapacityReservations" => reservations::describe_capacity(world, call),
        "DescribeFleets" => fleets::describe(world, call),
        "DescribeImageAttribute" => images::describe_attribute(world, call),
        "DescribeImages" => images::describe(world, call),
        "DescribeInstanceAttribute" => attributes::describe(world, call),
        "DescribeInstanceStatus" => instances::status(world, call),
        "DescribeInstanceTypeOfferings" => offers::offerings(world, call),
        "DescribeInstanceTypes" => offers::types(world, call),
        "DescribeInstances" => instances::describe(world, call),
        "DescribeLaunchTemplateVersions" => templates::describe_versions(world, call),
        "DescribeLaunchTemplates" => templates::describe(world, call),
        "DescribeNetworkInterfaces" => network::describe_interfaces(world, call),
        "DescribePlacementGroups" => reservations::describe_placement_groups(world, call),
        "DescribeRegions" => offers::regions(world, call),
        "DescribeSecurityGroups" => network::describe_groups(world, call),
        "DescribeSpotInstanceRequests" => spot_requests::describe(world, call),
        "DescribeSpotPriceHistory" => offers::spot_prices(world, call),
        "DescribeSubnets" => network::describe_subnets(world, call),
        "DescribeTags" => tags::describe(world, call),
        "DescribeVolumes" => volumes::describe(world, call),
        "DescribeVpcs" => network::describe_vpcs(world, call),
        "DetachVolume" => volumes::detach(world, call),
        "DisableImageDeprecation" => images::deprecate(world, call, false),
        "EnableImageDeprecation" => images::deprecate(world, call, true),
        "GetConsoleOutput" => console::output(world, call),
        "GetInstanceTypesFromInstanceRequirements" => requirements::preview(world, call),
        "ModifyCapacityReservation" => reservations::modify_capacity(world, call),
        "ModifyImageAttribute" => images::modify_attribute(world, call),
        "ModifyInstanceAttribute" => attributes::modify(world, call),
        "ModifyLaunchTemplate" => templates::modify(world, call),
        "ModifySubnetAttribute" => network::modify_subnet(world, call),
        "RebootInstances" => instances::reboot(world, call),
        "RegisterImage" => images::register(world, call),
        "RevokeSecurityGroupIngress" => network::revoke_ingress(world, call),
        "RunInstances" => idempotent(world, call, run::run),
        "StartInstances" => instances::start(world, call),
        "StopInstances" => instances::stop(world, call),
        "TerminateInstances" => instances::terminate(world, call),
        _ => Err(errors::unsupported(call)),
    }
}

/// The end of a dry run: everything was checked, nothing is done.
fn dry_run(call: &Call) -> Result<(), AwsError> {
    if call.input.flag("DryRun") { Err(errors::DRY_RUN.error(&[])) } else { Ok(()) }
}

/// Answers a repeated client token as it was answered before; refuses it for another request. Failures and dry runs use no token up.
/// Source: EC2 API reference, "Ensuring idempotency".
fn idempotent(world: &mut World<'_>, call: &Call, operation: fn(&mut World<'_>, &Call) -> Answer) -> Answer {
    let Some(token) = call.input.text("ClientToken") else { return operation(world, call) };
    let key = (world.region.name.clone(), call.operation.to_owned(), token.to_owned());
    let fingerprint = page::fingerprint(&call.input, &["ClientToken", "DryRun"]);
    if let Some(remembered) = world.account.tokens.get(&key).filter(|_| !call.input.flag("DryRun")) {
        let same = remembered.fingerprint == fingerprint;
        return if same { Ok(remembered.answer.clone()) } else { Err(errors::MISMATCH.error(&[])) };
    }
    let answer = operation(world, call)?;
    world.account.remember(key, Remembered { fingerprint, answer: answer.clone() });
    Ok(answer)
}
