//! Whether a machine is still what its NodeClass would launch.
//!
//! Source: `A/pkg/cloudprovider/drift.go`. Static fields first, then the image, the security groups, the subnet, the capacity reservation,
//! the placement group; the first reason found is the one.

use crate::port::Instance;
use crate::providers::images;
use crate::providers::placement_groups::PlacementGroup;
use api::{EC2NodeClass, NodeClaim};
use planner::InstanceType;
use std::collections::BTreeSet;
use vocabulary::labels;

/// `None`: as it would be launched today. An error when the NodeClass's status does not say enough.
pub fn reason(
    claim: &NodeClaim,
    class: &EC2NodeClass,
    instance: &Instance,
    group: Option<&PlacementGroup>,
    types: &[InstanceType],
) -> Result<Option<&'static str>, String> {
    let status = class.status.clone().unwrap_or_default();
    if static_fields(claim, class) {
        return Ok(Some("NodeClassDrift"));
    }
    let name = claim.metadata.labels.as_ref().and_then(|l| l.get(labels::INSTANCE_TYPE)).map(String::as_str).unwrap_or_default();
    let found = types.iter().find(|t| &*t.name == name);
    let own = found.ok_or_else(|| format!("calculating ami drift, finding node instance type (instance-type={name})"))?;
    if status.amis.is_empty() {
        return Err("calculating ami drift, no amis exist given constraints".to_owned());
    }
    let image = claim.status.as_ref().and_then(|s| s.image_id.as_deref()).filter(|id| !id.is_empty());
    let image = image.ok_or("calculating ami drift, no ami ID found in nodeClaim status")?;
    if !images::by_image(std::slice::from_ref(own), &status.amis).iter().any(|(id, _)| id == image) {
        return Ok(Some("AMIDrift"));
    }
    let groups: BTreeSet<&str> = status.security_groups.iter().map(|group| group.id.as_str()).collect();
    if groups.is_empty() {
        return Err("calculating securitygroup drift, no security groups are present in the status".to_owned());
    }
    if groups != instance.security_groups.iter().map(String::as_str).collect() {
        return Ok(Some("SecurityGroupDrift"));
    }
    if status.subnets.is_empty() {
        return Err("calculating subnet drift, no subnets are discovered".to_owned());
    }
    if !status.subnets.iter().any(|subnet| Some(subnet.id.as_str()) == instance.subnet_id.as_deref()) {
        return Ok(Some("SubnetDrift"));
    }
    let known = |id: &str| status.capacity_reservations.iter().any(|reservation| reservation.id == id);
    if instance.reservation.as_deref().is_some_and(|id| !known(id)) {
        return Ok(Some("CapacityReservationDrift"));
    }
    let own = claim.metadata.labels.as_ref().and_then(|l| l.get(labels::PLACEMENT_GROUP_ID)).map(String::as_str);
    Ok((own.unwrap_or_default() != group.map_or("", |group| group.id.as_str())).then_some("PlacementGroupDrift"))
}

/// The NodeClass is not the one that the NodeClaim was made from. Hashes of different versions say nothing.
fn static_fields(claim: &NodeClaim, class: &EC2NodeClass) -> bool {
    let pair = |key: &str| Some((class.metadata.annotations.as_ref()?.get(key)?, claim.metadata.annotations.as_ref()?.get(key)?));
    match (pair(labels::EC2NODECLASS_HASH_VERSION), pair(labels::EC2NODECLASS_HASH)) {
        (Some((wanted, made)), Some((hash, own))) => wanted == made && hash != own,
        _ => false,
    }
}
