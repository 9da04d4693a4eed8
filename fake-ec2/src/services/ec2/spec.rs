//! What a launch asks for: a template's data with a request over it, read into plain fields once per launch.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{tags, templates};
use crate::catalogue::MicroUsd;
use crate::protocol::AwsError;
use crate::services::errors;
use crate::services::input::{Members, Read};
use crate::state::Market;
use crate::state::market::parse_usd;
use crate::state::network::Tags;

/// What a launch asks for, before a pool is chosen.
#[derive(Debug)]
pub(in crate::services) struct Spec {
    pub instance_type: Option<String>,
    /// An id, or `resolve:ssm:` and a parameter.
    pub image: Option<String>,
    pub subnet: Option<String>,
    /// A zone, by name or by id.
    pub zone: Option<String>,
    pub group_ids: Vec<String>,
    pub group_names: Vec<String>,
    pub interfaces: Vec<Members>,
    pub profile_name: Option<String>,
    pub profile_arn: Option<String>,
    pub devices: Vec<Members>,
    pub metadata: Option<Members>,
    pub user_data: Option<String>,
    pub key_name: Option<String>,
    pub monitoring: bool,
    pub ebs_optimized: Option<bool>,
    pub tenancy: String,
    pub placement_group: Option<String>,
    /// The partition of the group that is asked for.
    pub partition: Option<i64>,
    /// `open` unless asked otherwise.
    pub reservation_preference: String,
    pub reservation: Option<String>,
    pub enclave: bool,
    /// `DisableApiTermination`, `DisableApiStop`.
    pub keep: (bool, bool),
    pub market: Market,
    /// As it was sent, and parsed.
    pub max_price: Option<(String, MicroUsd)>,
    /// By resource type.
    pub tags: BTreeMap<String, Tags>,
}

impl Spec {
    /// Reads a request's members (RunInstances' or `RequestLaunchTemplateData`'s; they are called alike) over a template's.
    pub fn read(template: &Members, request: &Members) -> Result<Self, AwsError> {
        let merged = Merged { template, request };
        let placement = merged.part("Placement");
        let profile = merged.part("IamInstanceProfile");
        let reservation = merged.part("CapacityReservationSpecification");
        let (market, max_price) = market(merged.part("InstanceMarketOptions"))?;
        let of = |part: Option<&Members>, member: &str| part.and_then(|part| part.text(member)).map(str::to_owned);
        let mut all_tags = tags::by_resource(template)?;
        for (kind, tags) in tags::by_resource(request)? {
            all_tags.entry(kind).or_default().extend(tags);
        }
        let user_data = merged.text("UserData");
        templates::check_user_data(user_data.as_deref())?;
        let texts = |member: &str| merged.list(member).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let spec = Self {
            instance_type: merged.text("InstanceType"),
            image: merged.text("ImageId"),
            subnet: merged.text("SubnetId"),
            zone: of(placement, "AvailabilityZone").or_else(|| of(placement, "AvailabilityZoneId")),
            group_ids: texts("SecurityGroupIds"),
            group_names: texts("SecurityGroups"),
            interfaces: by_key(template, request, "NetworkInterfaces", "DeviceIndex"),
            profile_name: of(profile, "Name"),
            profile_arn: of(profile, "Arn"),
            devices: by_key(template, request, "BlockDeviceMappings", "DeviceName"),
            metadata: merged.part("MetadataOptions").cloned(),
            user_data,
            key_name: merged.text("KeyName"),
            monitoring: merged.part("Monitoring").is_some_and(|monitoring| monitoring.flag("Enabled")),
            ebs_optimized: merged.member("EbsOptimized").and_then(Value::as_bool),
            tenancy: of(placement, "Tenancy").unwrap_or_else(|| "default".into()),
            placement_group: of(placement, "GroupId").or_else(|| of(placement, "GroupName")),
            partition: placement.and_then(|placement| placement.int("PartitionNumber")),
            reservation_preference: of(reservation, "CapacityReservationPreference").unwrap_or_else(|| "open".into()),
            reservation: of(reservation.and_then(|it| it.part("CapacityReservationTarget")), "CapacityReservationId"),
            enclave: merged.part("EnclaveOptions").is_some_and(|enclave| enclave.flag("Enabled")),
            keep: (merged.flag("DisableApiTermination"), merged.flag("DisableApiStop")),
            market,
            max_price,
            tags: all_tags,
        };
        spec.check_combinations()?;
        Ok(spec)
    }

    fn check_combinations(&self) -> Result<(), AwsError> {
        if self.interfaces.is_empty() {
            return Ok(());
        }
        if !self.group_ids.is_empty() || !self.group_names.is_empty() {
            return Err(errors::INTERFACE_GROUPS.error(&["security groups"]));
        }
        if self.subnet.is_some() { Err(errors::INTERFACE_GROUPS.error(&["subnet ID"])) } else { Ok(()) }
    }

    /// The subnet that the primary interface or the launch itself names.
    pub fn asked_subnet(&self) -> Option<&str> {
        self.interfaces.first().and_then(|interface| interface.text("SubnetId")).or(self.subnet.as_deref())
    }

    /// How many addresses of the subnet one instance takes.
    pub fn addresses(&self) -> u32 {
        let with_address = self.interfaces.iter().filter(|interface| interface.text("InterfaceType") != Some("efa-only")).count();
        u32::try_from(with_address).unwrap_or(u32::MAX).max(u32::from(self.interfaces.is_empty()))
    }
}

fn market(options: Option<&Members>) -> Result<(Market, Option<(String, MicroUsd)>), AwsError> {
    let Some(options) = options else { return Ok((Market::OnDemand, None)) };
    match options.text("MarketType") {
        None => Ok((Market::OnDemand, None)),
        Some("spot") => Ok((Market::Spot, price(options.part("SpotOptions").and_then(|spot| spot.text("MaxPrice")))?)),
        Some(other) => Err(errors::MARKET_UNSUPPORTED.error(&[other])),
    }
}

/// A maximum price as it was sent.
pub(in crate::services) fn price(text: Option<&str>) -> Result<Option<(String, MicroUsd)>, AwsError> {
    let Some(text) = text else { return Ok(None) };
    let parsed = parse_usd(text).ok_or_else(|| errors::invalid(text, "price", "Expecting a price in dollars."))?;
    Ok(Some((text.to_owned(), parsed)))
}

/// A template with a request over it, member by member.
struct Merged<'a> {
    template: &'a Members,
    request: &'a Members,
}

impl<'a> Merged<'a> {
    fn member(&self, name: &str) -> Option<&'a Value> {
        self.request.get(name).or_else(|| self.template.get(name))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.request.text(name).or_else(|| self.template.text(name)).map(str::to_owned)
    }

    fn part(&self, name: &str) -> Option<&'a Members> {
        self.member(name)?.as_object()
    }

    fn flag(&self, name: &str) -> bool {
        self.member(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn list(&self, name: &str) -> &'a [Value] {
        let asked = self.request.list(name);
        if asked.is_empty() { self.template.list(name) } else { asked }
    }
}

/// Structures of two lists, merged where they agree in a key: interfaces by device index, disks by device name.
fn by_key(template: &Members, request: &Members, list: &str, key: &str) -> Vec<Members> {
    let mut merged: Vec<Members> = Vec::new();
    for (at, item) in template.list(list).iter().chain(request.list(list)).enumerate() {
        let Some(item) = item.as_object() else { continue };
        let from_request = at >= template.list(list).len();
        // Cards count apart: two interfaces of one template may have the same device index on different cards.
        let same = |held: &&mut Members| {
            held.get(key) == item.get(key) && held.int("NetworkCardIndex").unwrap_or(0) == item.int("NetworkCardIndex").unwrap_or(0)
        };
        match merged.iter_mut().find(same).filter(|_| from_request) {
            Some(held) => held.extend(item.clone()),
            None => merged.push(item.clone()),
        }
    }
    merged
}
