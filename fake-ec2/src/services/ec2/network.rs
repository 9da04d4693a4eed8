//! VPCs, subnets, security groups, network interfaces.

use serde_json::{Value, json};

use super::tags;
use crate::protocol::{AwsError, Call};
use crate::services::filter::{Filters, Table};
use crate::services::input::{Members, Out, Read, stamp};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::machine::private_dns_name;
use crate::state::network::{Cidr, Interface, SecurityGroup, Subnet, Vpc};

const DONE: &str = "Return";

/// The ids of a request, each of which must exist.
fn named<'a>(input: &'a Members, member: &str, exists: impl Fn(&str) -> bool, row: &errors::Row) -> Result<Vec<&'a str>, AwsError> {
    let ids = input.texts(member);
    match ids.iter().find(|id| !exists(id)) {
        Some(unknown) => Err(row.error(&[unknown])),
        None => Ok(ids),
    }
}

// VPCs

const VPC_FILTERS: Table = &[
    ("cidr", "CidrBlock"),
    ("cidr-block-association.cidr-block", "CidrBlockAssociationSet.CidrBlock"),
    ("cidr-block-association.association-id", "CidrBlockAssociationSet.AssociationId"),
    ("cidr-block-association.state", "CidrBlockAssociationSet.CidrBlockState.State"),
    ("dhcp-options-id", "DhcpOptionsId"),
    ("ipv6-cidr-block-association.ipv6-cidr-block", ""),
    ("ipv6-cidr-block-association.ipv6-pool", ""),
    ("ipv6-cidr-block-association.association-id", ""),
    ("ipv6-cidr-block-association.state", ""),
    ("is-default", "IsDefault"),
    ("isDefault", "IsDefault"),
    ("owner-id", "OwnerId"),
    ("state", "State"),
    ("vpc-id", "VpcId"),
];

fn render_vpc(world: &World<'_>, vpc: &Vpc) -> Value {
    let association = format!("vpc-cidr-assoc-{}", vpc.id.trim_start_matches("vpc-"));
    json!({
        "OwnerId": world.account.id, "InstanceTenancy": "default", "IsDefault": vpc.default, "VpcId": vpc.id, "State": "available",
        "CidrBlock": vpc.cidr.to_string(), "DhcpOptionsId": "default",
        "CidrBlockAssociationSet": [{"AssociationId": association, "CidrBlock": vpc.cidr.to_string(), "CidrBlockState": {"State": "associated"}}],
        "Tags": tags::render(&vpc.tags),
    })
}

pub(super) fn describe_vpcs(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, VPC_FILTERS)?;
    let ids = named(&call.input, "VpcIds", |id| world.region.vpcs.contains_key(id), &errors::VPC_NOT_FOUND)?;
    let asked = world.region.vpcs.values().filter(|vpc| ids.is_empty() || ids.contains(&vpc.id.as_str()));
    let rows = asked.map(|vpc| (vpc.id.clone(), render_vpc(world, vpc))).filter(|(_, row)| filters.pass(row)).collect();
    let (vpcs, token) = page::cut(call, Pages::capped(5, 1000), rows)?;
    Ok(Out::new().with("Vpcs", vpcs).maybe("NextToken", token).done())
}

pub(super) fn create_vpc(world: &mut World<'_>, call: &Call) -> Answer {
    let text = call.input.need("CidrBlock")?;
    let cidr = Cidr::parse(text).ok_or_else(|| errors::VPC_RANGE.error(&[text]))?;
    let tags = tags::for_resource(&call.input, "vpc")?;
    super::dry_run(call)?;
    let mut vpc = Vpc::new(world.account.entropy.id("vpc"), cidr, false);
    vpc.tags = tags;
    world.region.add_default_group(world.account, &vpc.id);
    let shown = render_vpc(world, &vpc);
    world.region.vpcs.insert(vpc.id.clone(), vpc);
    Ok(Out::new().with("Vpc", shown).done())
}

pub(super) fn delete_vpc(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.need("VpcId")?;
    if !world.region.vpcs.contains_key(id) {
        return Err(errors::VPC_NOT_FOUND.error(&[id]));
    }
    let region = &mut *world.region;
    let grouped = region.groups.values().any(|group| group.vpc_id == id && group.name != "default");
    if grouped || region.subnets.values().any(|subnet| subnet.vpc_id == id) {
        return Err(errors::VPC_IN_USE.error(&[id]));
    }
    super::dry_run(call)?;
    region.vpcs.remove(id);
    region.groups.retain(|_, group| group.vpc_id != id);
    Ok(Out::new().done())
}

pub(super) fn account_attributes(world: &mut World<'_>, call: &Call) -> Answer {
    let default = world.region.default_vpc().map_or("none", |vpc| vpc.id.as_str());
    let all = [("supported-platforms", "VPC"), ("default-vpc", default)];
    let wanted = call.input.texts("AttributeNames");
    let asked = all.into_iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name));
    let shown = asked.map(|(name, value)| json!({"AttributeName": name, "AttributeValues": [{"AttributeValue": value}]}));
    Ok(Out::new().with("AccountAttributes", shown.collect::<Vec<_>>()).done())
}

// Subnets

const SUBNET_FILTERS: Table = &[
    ("availability-zone", "AvailabilityZone"),
    ("availabilityZone", "AvailabilityZone"),
    ("availability-zone-id", "AvailabilityZoneId"),
    ("availabilityZoneId", "AvailabilityZoneId"),
    ("available-ip-address-count", "AvailableIpAddressCount"),
    ("cidr-block", "CidrBlock"),
    ("cidr", "CidrBlock"),
    ("cidrBlock", "CidrBlock"),
    ("customer-owned-ipv4-pool", ""),
    ("default-for-az", "DefaultForAz"),
    ("defaultForAz", "DefaultForAz"),
    ("enable-dns64", "EnableDns64"),
    ("enable-lni-at-device-index", ""),
    ("ipv6-cidr-block-association.ipv6-cidr-block", ""),
    ("ipv6-cidr-block-association.association-id", ""),
    ("ipv6-cidr-block-association.state", ""),
    ("ipv6-native", "Ipv6Native"),
    ("map-customer-owned-ip-on-launch", "MapCustomerOwnedIpOnLaunch"),
    ("map-public-ip-on-launch", "MapPublicIpOnLaunch"),
    ("outpost-arn", ""),
    ("owner-id", "OwnerId"),
    ("private-dns-name-options-on-launch.hostname-type", "PrivateDnsNameOptionsOnLaunch.HostnameType"),
    ("private-dns-name-options-on-launch.enable-resource-name-dns-a-record", "PrivateDnsNameOptionsOnLaunch.EnableResourceNameDnsARecord"),
    (
        "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record",
        "PrivateDnsNameOptionsOnLaunch.EnableResourceNameDnsAAAARecord",
    ),
    ("state", "State"),
    ("subnet-arn", "SubnetArn"),
    ("subnet-id", "SubnetId"),
    ("vpc-id", "VpcId"),
];

fn render_subnet(world: &World<'_>, subnet: &Subnet) -> Value {
    json!({
        "AvailabilityZone": subnet.zone.name, "AvailabilityZoneId": subnet.zone.id, "AvailableIpAddressCount": subnet.free(),
        "CidrBlock": subnet.cidr.to_string(), "DefaultForAz": subnet.default, "MapPublicIpOnLaunch": subnet.public,
        "MapCustomerOwnedIpOnLaunch": false, "State": "available", "SubnetId": subnet.id, "VpcId": subnet.vpc_id,
        "OwnerId": world.account.id, "AssignIpv6AddressOnCreation": false, "Ipv6CidrBlockAssociationSet": [],
        "SubnetArn": world.account.arn("ec2", &world.region.name, &format!("subnet/{}", subnet.id)),
        "EnableDns64": false, "Ipv6Native": false,
        "PrivateDnsNameOptionsOnLaunch":
            {"HostnameType": "ip-name", "EnableResourceNameDnsARecord": false, "EnableResourceNameDnsAAAARecord": false},
        "Tags": tags::render(&subnet.tags),
    })
}

pub(super) fn describe_subnets(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, SUBNET_FILTERS)?;
    let ids = named(&call.input, "SubnetIds", |id| world.region.subnet(id, world.now).is_some(), &errors::SUBNET_NOT_FOUND)?;
    let asked = world
        .region
        .subnets
        .values()
        .filter(|subnet| subnet.found <= world.now)
        .filter(|subnet| ids.is_empty() || ids.contains(&subnet.id.as_str()));
    let rows = asked.map(|subnet| (subnet.id.clone(), render_subnet(world, subnet))).filter(|(_, row)| filters.pass(row)).collect();
    let (subnets, token) = page::cut(call, Pages::capped(5, 1000).not_with("SubnetIds", "subnetIds"), rows)?;
    Ok(Out::new().with("Subnets", subnets).maybe("NextToken", token).done())
}

pub(super) fn create_subnet(world: &mut World<'_>, call: &Call) -> Answer {
    let (vpc_id, text) = (call.input.need("VpcId")?, call.input.need("CidrBlock")?);
    let vpc = world.region.vpcs.get(vpc_id).ok_or_else(|| errors::VPC_NOT_FOUND.error(&[vpc_id]))?;
    let cidr = Cidr::parse(text).filter(|cidr| vpc.cidr.contains(*cidr)).ok_or_else(|| errors::SUBNET_RANGE.error(&[text]))?;
    if world.region.subnets.values().any(|subnet| subnet.vpc_id == vpc_id && subnet.cidr.overlaps(cidr)) {
        return Err(errors::SUBNET_CONFLICT.error(&[text]));
    }
    let zone = match (call.input.text("AvailabilityZone"), call.input.text("AvailabilityZoneId")) {
        (Some(name), _) => world.region.zone(name).ok_or_else(|| zone_unknown(world, name, "availabilityZone"))?,
        (None, Some(id)) => {
            let found = world.region.zones.iter().find(|zone| zone.id == id).copied();
            found.ok_or_else(|| zone_unknown(world, id, "availabilityZoneId"))?
        }
        (None, None) => *world.region.zones.first().ok_or_else(|| zone_unknown(world, "", "availabilityZone"))?,
    };
    let tags = tags::for_resource(&call.input, "subnet")?;
    super::dry_run(call)?;
    let mut subnet = Subnet::new(world.account.entropy.id("subnet"), vpc_id, zone, cidr);
    subnet.tags = tags;
    subnet.found = world.account.found_from(world.now, world.account.settings.consistency.subnets);
    let shown = render_subnet(world, &subnet);
    world.region.subnets.insert(subnet.id.clone(), subnet);
    Ok(Out::new().with("Subnet", shown).done())
}

fn zone_unknown(world: &World<'_>, zone: &str, parameter: &str) -> AwsError {
    let zones: Vec<&str> = world.region.zones.iter().map(|zone| zone.name).collect();
    errors::invalid(
        zone,
        parameter,
        &format!("Subnets can currently only be created in the following availability zones: {}.", zones.join(", ")),
    )
}

pub(super) fn modify_subnet(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.need("SubnetId")?;
    let subnet =
        world.region.subnets.get_mut(id).filter(|subnet| subnet.found <= world.now).ok_or_else(|| errors::SUBNET_NOT_FOUND.error(&[id]))?;
    if let Some(public) = call.input.part("MapPublicIpOnLaunch") {
        subnet.public = public.flag("Value");
    }
    Ok(Out::new().done())
}

pub(super) fn delete_subnet(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.need("SubnetId")?;
    if world.region.subnet(id, world.now).is_none() {
        return Err(errors::SUBNET_NOT_FOUND.error(&[id]));
    }
    if world.region.interfaces.values().any(|interface| interface.subnet_id == id) {
        return Err(errors::SUBNET_IN_USE.error(&[id]));
    }
    super::dry_run(call)?;
    world.region.subnets.remove(id);
    Ok(Out::new().done())
}

// Security groups

const GROUP_FILTERS: Table = &[
    ("description", "Description"),
    ("egress.ip-permission.cidr", "IpPermissionsEgress.IpRanges.CidrIp"),
    ("egress.ip-permission.from-port", "IpPermissionsEgress.FromPort"),
    ("egress.ip-permission.group-id", "IpPermissionsEgress.UserIdGroupPairs.GroupId"),
    ("egress.ip-permission.group-name", "IpPermissionsEgress.UserIdGroupPairs.GroupName"),
    ("egress.ip-permission.ipv6-cidr", "IpPermissionsEgress.Ipv6Ranges.CidrIpv6"),
    ("egress.ip-permission.prefix-list-id", "IpPermissionsEgress.PrefixListIds.PrefixListId"),
    ("egress.ip-permission.protocol", "IpPermissionsEgress.IpProtocol"),
    ("egress.ip-permission.to-port", "IpPermissionsEgress.ToPort"),
    ("egress.ip-permission.user-id", "IpPermissionsEgress.UserIdGroupPairs.UserId"),
    ("group-id", "GroupId"),
    ("group-name", "GroupName"),
    ("ip-permission.cidr", "IpPermissions.IpRanges.CidrIp"),
    ("ip-permission.from-port", "IpPermissions.FromPort"),
    ("ip-permission.group-id", "IpPermissions.UserIdGroupPairs.GroupId"),
    ("ip-permission.group-name", "IpPermissions.UserIdGroupPairs.GroupName"),
    ("ip-permission.ipv6-cidr", "IpPermissions.Ipv6Ranges.CidrIpv6"),
    ("ip-permission.prefix-list-id", "IpPermissions.PrefixListIds.PrefixListId"),
    ("ip-permission.protocol", "IpPermissions.IpProtocol"),
    ("ip-permission.to-port", "IpPermissions.ToPort"),
    ("ip-permission.user-id", "IpPermissions.UserIdGroupPairs.UserId"),
    ("owner-id", "OwnerId"),
    ("vpc-id", "VpcId"),
];

fn render_group(world: &World<'_>, group: &SecurityGroup) -> Value {
    let mut ingress = group.ingress.clone();
    if group.name == "default" {
        // Members of the default group reach each other. Source: VPC user guide, "Default security groups".
        ingress.insert(0, json!({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group.id, "UserId": world.account.id}]}));
    }
    json!({
        "Description": group.description, "GroupName": group.name, "IpPermissions": ingress, "OwnerId": world.account.id,
        "GroupId": group.id, "IpPermissionsEgress": group.egress, "VpcId": group.vpc_id,
        "SecurityGroupArn": group_arn(world, &group.id), "Tags": tags::render(&group.tags),
    })
}

fn group_arn(world: &World<'_>, id: &str) -> String {
    world.account.arn("ec2", &world.region.name, &format!("security-group/{id}"))
}

pub(super) fn describe_groups(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, GROUP_FILTERS)?;
    let ids = named(&call.input, "GroupIds", |id| world.region.group(id, world.now).is_some(), &errors::GROUP_NOT_FOUND)?;
    let default_vpc = world.region.default_vpc().map(|vpc| vpc.id.clone()).unwrap_or_default();
    let in_default = |name: &str| world.region.groups.values().any(|group| group.name == name && group.vpc_id == default_vpc);
    let names = named(&call.input, "GroupNames", in_default, &errors::GROUP_NOT_FOUND)?;
    let asked = world
        .region
        .groups
        .values()
        .filter(|group| group.found <= world.now)
        .filter(|group| ids.is_empty() || ids.contains(&group.id.as_str()));
    let asked = asked.filter(|group| names.is_empty() || (names.contains(&group.name.as_str()) && group.vpc_id == default_vpc));
    let rows = asked.map(|group| (group.id.clone(), render_group(world, group))).filter(|(_, row)| filters.pass(row)).collect();
    let (groups, token) = page::cut(call, Pages::capped(5, 1000).not_with("GroupIds", "groupIds"), rows)?;
    Ok(Out::new().with("SecurityGroups", groups).maybe("NextToken", token).done())
}

pub(super) fn create_group(world: &mut World<'_>, call: &Call) -> Answer {
    let (name, description) = (call.input.need("GroupName")?, call.input.need("Description")?);
    let vpc_id = match call.input.text("VpcId") {
        Some(id) => world.region.vpcs.get(id).ok_or_else(|| errors::VPC_NOT_FOUND.error(&[id]))?.id.clone(),
        None => world.region.default_vpc().ok_or_else(|| errors::NO_DEFAULT_VPC.error(&[]))?.id.clone(),
    };
    if name.starts_with("sg-") {
        return Err(errors::invalid(name, "GroupName", "Group names may not be in the format sg-*."));
    }
    if world.region.groups.values().any(|group| group.vpc_id == vpc_id && group.name == name) {
        return Err(errors::GROUP_DUPLICATE.error(&[name, &vpc_id]));
    }
    let tags = tags::for_resource(&call.input, "security-group")?;
    super::dry_run(call)?;
    let id = world.account.entropy.id("sg");
    let mut group = SecurityGroup::new(id.clone(), name, description, &vpc_id);
    let answer = Out::new().with("GroupId", id.clone()).with("Tags", tags::render(&tags)).with("SecurityGroupArn", group_arn(world, &id));
    group.tags = tags;
    group.found = world.account.found_from(world.now, world.account.settings.consistency.security_groups);
    world.region.groups.insert(id, group);
    Ok(answer.done())
}

pub(super) fn authorize(world: &mut World<'_>, call: &Call, ingress: bool) -> Answer {
    let by_name = || {
        let name = call.input.text("GroupName")?;
        world.region.groups.values().find(|group| group.name == name).map(|group| group.id.clone())
    };
    let id = call.input.text("GroupId").map(str::to_owned).or_else(by_name).ok_or_else(|| errors::MISSING.error(&["groupId"]))?;
    let mut permissions = call.input.list("IpPermissions").to_vec();
    if let Some(protocol) = call.input.text("IpProtocol") {
        let ranges: Vec<Value> = call.input.text("CidrIp").map(|cidr| json!({"CidrIp": cidr})).into_iter().collect();
        let short = Out::new().with("IpProtocol", protocol).maybe("FromPort", call.input.int("FromPort"));
        permissions.push(short.maybe("ToPort", call.input.int("ToPort")).with("IpRanges", ranges).done());
    }
    // What is wrong in itself comes before a group that is not there, what lacks after it.
    permissions.iter().filter(|permission| permission["IpProtocol"].is_string()).try_for_each(super::permissions::check)?;
    let group =
        world.region.groups.get_mut(&id).filter(|group| group.found <= world.now).ok_or_else(|| errors::GROUP_NOT_FOUND.error(&[&id]))?;
    if permissions.is_empty() {
        return Err(errors::MISSING.error(&["ipPermissions"]));
    }
    permissions.iter().try_for_each(super::permissions::check)?;
    let held = if ingress { &mut group.ingress } else { &mut group.egress };
    if permissions.iter().any(|permission| held.contains(permission)) {
        return Err(errors::PERMISSION_EXISTS.error(&[]));
    }
    super::dry_run(call)?;
    held.extend(permissions);
    Ok(Out::new().with(DONE, true).done())
}

/// Takes permissions away that were authorized in the same form.
pub(super) fn revoke_ingress(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.need("GroupId")?;
    let group =
        world.region.groups.get_mut(id).filter(|group| group.found <= world.now).ok_or_else(|| errors::GROUP_NOT_FOUND.error(&[id]))?;
    let permissions = call.input.list("IpPermissions");
    if permissions.iter().any(|permission| !group.ingress.contains(permission)) {
        return Err(errors::NO_PERMISSION.error(&[]));
    }
    super::dry_run(call)?;
    group.ingress.retain(|held| !permissions.contains(held));
    Ok(Out::new().with(DONE, true).done())
}

pub(super) fn delete_group(world: &mut World<'_>, call: &Call) -> Answer {
    let id = call.input.need("GroupId")?;
    let group = world.region.group(id, world.now).ok_or_else(|| errors::GROUP_NOT_FOUND.error(&[id]))?;
    if group.name == "default" {
        return Err(errors::DEFAULT_GROUP.error(&[id]));
    }
    if world.region.interfaces.values().any(|interface| interface.groups.iter().any(|group| group == id)) {
        return Err(errors::GROUP_IN_USE.error(&[id]));
    }
    super::dry_run(call)?;
    world.region.groups.remove(id);
    Ok(Out::new().with(DONE, true).with("GroupId", id).done())
}

// Interfaces

const INTERFACE_FILTERS: Table = &[
    ("addresses.private-ip-address", "PrivateIpAddresses.PrivateIpAddress"),
    ("addresses.primary", "PrivateIpAddresses.Primary"),
    ("addresses.association.public-ip", "PrivateIpAddresses.Association.PublicIp"),
    ("addresses.association.owner-id", "PrivateIpAddresses.Association.IpOwnerId"),
    ("association.association-id", ""),
    ("association.allocation-id", ""),
    ("association.ip-owner-id", "Association.IpOwnerId"),
    ("association.public-ip", "Association.PublicIp"),
    ("association.public-dns-name", "Association.PublicDnsName"),
    ("attachment.attach-time", "Attachment.AttachTime"),
    ("attachment.attachment-id", "Attachment.AttachmentId"),
    ("attachment.delete-on-termination", "Attachment.DeleteOnTermination"),
    ("attachment.device-index", "Attachment.DeviceIndex"),
    ("attachment.instance-id", "Attachment.InstanceId"),
    ("attachment.instance-owner-id", "Attachment.InstanceOwnerId"),
    ("attachment.status", "Attachment.Status"),
    ("availability-zone", "AvailabilityZone"),
    ("availability-zone-id", "AvailabilityZoneId"),
    ("description", "Description"),
    ("group-id", "Groups.GroupId"),
    ("group-name", "Groups.GroupName"),
    ("interface-type", "InterfaceType"),
    ("ipv6-addresses.ipv6-address", ""),
    ("mac-address", "MacAddress"),
    ("network-interface-id", "NetworkInterfaceId"),
    ("operator.managed", ""),
    ("operator.principal", ""),
    ("owner-id", "OwnerId"),
    ("private-dns-name", "PrivateDnsName"),
    ("private-ip-address", "PrivateIpAddress"),
    ("requester-id", ""),
    ("requester-managed", "RequesterManaged"),
    ("source-dest-check", "SourceDestCheck"),
    ("status", "Status"),
    ("subnet-id", "SubnetId"),
    ("vpc-id", "VpcId"),
];

/// The groups of an interface: `{GroupId, GroupName}`.
pub(super) fn render_groups(world: &World<'_>, ids: &[String]) -> Value {
    let name = |id: &String| world.region.groups.get(id).map_or("", |group| group.name.as_str());
    ids.iter().map(|id| json!({"GroupId": id, "GroupName": name(id)})).collect()
}

/// The members that an instance's interface and a network interface by itself share.
fn interface_core(world: &World<'_>, interface: &Interface, tags_member: &str) -> Out {
    let mut out = Out::new()
        .with("Description", interface.description.clone())
        .with("Groups", render_groups(world, &interface.groups))
        .with("InterfaceType", interface.interface_type.clone())
        .with("Ipv6Addresses", Vec::<Value>::new())
        .with("MacAddress", interface.mac.clone())
        .with("NetworkInterfaceId", interface.id.clone())
        .with("OwnerId", world.account.id.clone())
        .with("SourceDestCheck", true)
        .with("Status", "in-use")
        .with("SubnetId", interface.subnet_id.clone())
        .with("VpcId", interface.vpc_id.clone());
    if let Some(address) = interface.address {
        let name = private_dns_name(&world.region.name, address);
        let association = interface.public_address.map(|public| {
            let [a, b, c, d] = public.octets();
            let host = format!("ec2-{a}-{b}-{c}-{d}.{}.compute.amazonaws.com", world.region.name);
            json!({"IpOwnerId": "amazon", "PublicDnsName": host, "PublicIp": public.to_string()})
        });
        let one = Out::new().with("Primary", true).with("PrivateDnsName", name.clone()).with("PrivateIpAddress", address.to_string());
        out = out
            .with("PrivateDnsName", name)
            .with("PrivateIpAddress", address.to_string())
            .with("PrivateIpAddresses", vec![one.maybe("Association", association.clone()).done()])
            .maybe("Association", association);
    }
    if tags_member.is_empty() { out } else { out.with(tags_member, tags::render(&interface.tags)) }
}

/// As DescribeInstances shows it.
pub(super) fn render_instance_interface(world: &World<'_>, interface: &Interface) -> Value {
    let attachment = json!({
        "AttachTime": stamp(interface.attached_at), "AttachmentId": interface.attachment_id,
        "DeleteOnTermination": interface.delete_on_termination, "DeviceIndex": interface.device_index, "Status": "attached",
        "NetworkCardIndex": interface.card_index,
    });
    interface_core(world, interface, "").with("Attachment", attachment).done()
}

fn render_interface(world: &World<'_>, interface: &Interface) -> Value {
    let attachment = json!({
        "AttachTime": stamp(interface.attached_at), "AttachmentId": interface.attachment_id,
        "DeleteOnTermination": interface.delete_on_termination, "DeviceIndex": interface.device_index, "Status": "attached",
        "NetworkCardIndex": interface.card_index, "InstanceId": interface.instance_id, "InstanceOwnerId": world.account.id,
    });
    interface_core(world, interface, "TagSet")
        .with("Attachment", attachment)
        .with("AvailabilityZone", interface.zone.name)
        .with("AvailabilityZoneId", interface.zone.id)
        .with("RequesterManaged", false)
        .done()
}

pub(super) fn describe_interfaces(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, INTERFACE_FILTERS)?;
    let exists = |id: &str| world.region.interfaces.contains_key(id);
    let ids = named(&call.input, "NetworkInterfaceIds", exists, &errors::INTERFACE_NOT_FOUND)?;
    let asked = world.region.interfaces.values().filter(|interface| ids.is_empty() || ids.contains(&interface.id.as_str()));
    let rows = asked.filter(|interface| filters.pass_tags(&interface.tags));
    let rows = rows.map(|interface| (interface.id.clone(), render_interface(world, interface)));
    // The tags were looked at above: they are called `TagSet` here.
    let rows = rows.filter(|(_, row)| filters.pass_paths(row)).collect();
    let pages = Pages::capped(5, 1000).not_with("NetworkInterfaceIds", "networkInterfaceIds");
    let (interfaces, token) = page::cut(call, pages, rows)?;
    Ok(Out::new().with("NetworkInterfaces", interfaces).maybe("NextToken", token).done())
}
