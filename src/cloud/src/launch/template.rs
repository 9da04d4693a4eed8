//! What a launch template says. Source: `A/pkg/providers/amifamily/resolver.go`, `A/pkg/providers/launchtemplate/{launchtemplate,types}.go`.

use super::claim::{Wanted, partition};
use super::filters::label;
use crate::labels as aws;
use crate::port::LaunchError;
use crate::providers::family::{Family, alias};
use crate::providers::placement_groups::PlacementGroup;
use crate::providers::reservations::CAPACITY_BLOCK;
use crate::providers::{images, tag_list};
use crate::settings::Settings;
use crate::userdata::{Bootstrap, NodeTaint, UserDataError};
use api::ec2nodeclass::{BlockDeviceMapping, MetadataOptions, NetworkInterface};
use api::{EC2NodeClass, NodeClaim};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use planner::{InstanceType, Offering};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use vocabulary::resources::PODS;
use vocabulary::{CapacityType, Quantity, labels};

/// A launch template that need not exist yet.
#[derive(Clone, Debug)]
pub struct Template {
    /// `karpenter.k8s.aws/` and a hash of everything below.
    pub name: String,
    pub image: String,
    pub types: Vec<InstanceType>,
    /// The capacity reservation that it launches into.
    pub reservation: Option<String>,
    /// Bytes of the user data, decoded.
    pub user_data: usize,
    /// Parameters of CreateLaunchTemplate, without the client token.
    pub request: Value,
}

/// What of the surroundings goes into a template.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub settings: &'a Settings,
    pub region: &'a str,
    pub cluster_endpoint: &'a str,
    pub cluster_cidr: Option<&'a str>,
    pub tags: &'a BTreeMap<String, String>,
    pub capacity_type: CapacityType,
    pub tenancy: &'a str,
    /// The class's.
    pub group: Option<&'a PlacementGroup>,
}

/// Why there is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("{0}")]
    NothingFits(String),
    #[error(transparent)]
    UserData(#[from] UserDataError),
}

impl From<TemplateError> for LaunchError {
    fn from(error: TemplateError) -> Self {
        match error {
            TemplateError::UserData(UserDataError::NoClusterCidr) => LaunchError::NodeClassNotReady(error.to_string()),
            other => {
                let (reason, message) = crate::errors::reason(&other.to_string());
                let message = format!("Error getting launch template configs: {message}");
                let cause = format!("{}, getting launch template configs, {other}", super::fleet::MAKING).into();
                LaunchError::Failed { reason: reason.to_owned(), message, cause }
            }
        }
    }
}

/// The capacity reservation of a launch, and what kind of one it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reserved {
    pub id: String,
    /// `default` or `capacity-block`.
    pub kind: String,
    pub interruptible: bool,
}

impl Reserved {
    pub fn of(offering: &Offering) -> Option<Self> {
        (offering.capacity_type == CapacityType::Reserved).then(|| Reserved {
            id: label(offering, aws::RESERVATION_ID).to_owned(),
            kind: label(offering, aws::RESERVATION_TYPE).to_owned(),
            interruptible: label(offering, aws::RESERVATION_INTERRUPTIBLE) == "true",
        })
    }
}

/// One template per image, number of pods, number of EFA interfaces and, for reserved capacity, reservation.
pub fn resolve(
    class: &EC2NodeClass,
    claim: &NodeClaim,
    types: &[InstanceType],
    context: &Context<'_>,
) -> Result<Vec<Template>, TemplateError> {
    let status = class.status.clone().unwrap_or_default();
    if status.security_groups.is_empty() {
        return Err(TemplateError::NothingFits("no security groups are present in the status".to_owned()));
    }
    if status.amis.is_empty() {
        return Err(TemplateError::NothingFits("no amis exist given constraints".to_owned()));
    }
    let mapped = images::by_image(types, &status.amis);
    if mapped.is_empty() {
        let ids: Vec<&str> = status.amis.iter().map(|ami| ami.id.as_str()).collect();
        return Err(TemplateError::NothingFits(format!("no instance types satisfy requirements of amis {ids:?}")));
    }
    let wants_efa = Wanted::of(claim).requests.contains(aws::EFA);
    let mut templates = Vec::new();
    for (image, types) in mapped {
        let mut groups: indexmap::IndexMap<(i64, i64, Vec<Reserved>), Vec<InstanceType>> = indexmap::IndexMap::new();
        for kind in types {
            let efa = if wants_efa { kind.capacity.get(aws::EFA) } else { 0 };
            let reserved = if context.capacity_type == CapacityType::Reserved {
                kind.offerings.iter().filter_map(Reserved::of).collect()
            } else {
                Vec::new()
            };
            groups.entry((kind.capacity.get(PODS), efa, reserved)).or_default().push(kind.clone());
        }
        for ((pods, efa, reserved), types) in groups {
            let user_data = bootstrap(class, claim, pods, context).render(Family::of(class))?;
            let into = if reserved.is_empty() { vec![None] } else { reserved.iter().map(Some).collect() };
            for reserved in into {
                let request = request(class, claim, &image, efa, reserved, &user_data, context);
                let reservation = reserved.map(|reserved| reserved.id.clone());
                let (name, types) = (name(&request), types.clone());
                templates.push(Template {
                    name,
                    image: image.clone(),
                    types,
                    reservation,
                    user_data: user_data.len(),
                    request: with_name(request),
                });
            }
        }
    }
    Ok(templates)
}

/// Equal templates have equal names, different ones different names.
fn name(request: &Value) -> String {
    let digest = Sha256::digest(request.to_string().as_bytes());
    let number = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    format!("karpenter.k8s.aws/{number}")
}

fn with_name(request: Value) -> Value {
    let mut named = Map::new();
    named.insert("LaunchTemplateName".to_owned(), json!(name(&request)));
    if let Value::Object(members) = request {
        named.extend(members);
    }
    Value::Object(named)
}

fn bootstrap(class: &EC2NodeClass, claim: &NodeClaim, pods: i64, context: &Context<'_>) -> Bootstrap {
    let settings = context.settings;
    let mut kubelet = class.spec.kubelet.clone().unwrap_or_default();
    kubelet.max_pods.get_or_insert(i32::try_from(pods).unwrap_or(i32::MAX));
    if kubelet.cluster_dns.is_empty() {
        kubelet.cluster_dns.extend(settings.cluster_dns_ip.map(|ip| ip.to_string()));
    }
    let taint = |key: &str, value: Option<&String>, effect: &str| NodeTaint {
        key: key.to_owned(),
        value: value.cloned().unwrap_or_default(),
        effect: effect.to_owned(),
    };
    let given = claim.spec.taints.iter().chain(&claim.spec.startup_taints);
    let mut taints: Vec<NodeTaint> = given.map(|t| taint(&t.key, t.value.as_ref(), &t.effect)).collect();
    if !taints.iter().any(|taint| taint.key == labels::UNREGISTERED_TAINT && taint.effect == "NoExecute") {
        taints.push(taint(labels::UNREGISTERED_TAINT, None, "NoExecute"));
    }
    Bootstrap {
        cluster_name: settings.cluster_name.clone(),
        cluster_endpoint: context.cluster_endpoint.to_owned(),
        cluster_cidr: context.cluster_cidr.map(str::to_owned),
        cluster_ca: settings.cluster_ca.clone(),
        kubelet,
        taints,
        labels: node_labels(class, claim, context.capacity_type),
        custom: class.spec.user_data.clone(),
        striped_disks: class.spec.instance_store_policy.as_deref() == Some("RAID0"),
        image_version: image_version(class),
    }
}

/// The claim's labels that a node may set on itself.
fn node_labels(class: &EC2NodeClass, claim: &NodeClaim, capacity_type: CapacityType) -> BTreeMap<String, String> {
    let mut all = claim.metadata.labels.clone().unwrap_or_default();
    all.insert(labels::CAPACITY_TYPE.to_owned(), capacity_type.as_str().to_owned());
    if Family::of(class) != Family::Custom {
        // Nodes come with their taints; to add startup taints again after they were removed would be a race.
        all.insert(labels::DO_NOT_SYNC_TAINTS.to_owned(), "true".to_owned());
    }
    all.retain(|key, _| !is_refused(key));
    all
}

/// Node admission keeps nodes from setting these domains (`RejectForbiddenLabels`).
fn is_refused(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    ["node-restriction.kubernetes.io", "kubernetes.io", "k8s.io"]
        .iter()
        .any(|refused| domain == *refused || domain.strip_suffix(refused).is_some_and(|rest| rest.ends_with('.')))
}

/// Bottlerocket's version: the alias's, else one in the terms' or images' names (`bottlerocket.go`, resolveAMIVersion).
fn image_version(class: &EC2NodeClass) -> String {
    let of_name = |name: &str| name.split('-').find(|part| part.starts_with('v') && part.contains('.')).map(str::to_owned);
    let amis = class.status.as_ref().map_or(&[][..], |status| &status.amis);
    let of_ami = |ami: &api::ec2nodeclass::Ami| if ami.name.contains("bottlerocket") { of_name(&ami.name) } else { None };
    let terms = &class.spec.ami_selector_terms;
    let of_id = |id: &String| amis.iter().find(|ami| ami.id == *id).and_then(of_ami);
    alias(class)
        .map(|alias| alias.version)
        .or_else(|| terms.iter().filter_map(|term| term.name.as_deref()).find_map(of_name))
        .or_else(|| terms.iter().filter_map(|term| term.id.as_ref()).find_map(of_id))
        .or_else(|| amis.iter().find_map(of_ami))
        .unwrap_or_default()
}

fn request(
    class: &EC2NodeClass,
    claim: &NodeClaim,
    image: &str,
    efa: i64,
    reserved: Option<&Reserved>,
    user_data: &str,
    context: &Context<'_>,
) -> Value {
    let spec = &class.spec;
    let status = class.status.clone().unwrap_or_default();
    let family = Family::of(class);
    let devices = if spec.block_device_mappings.is_empty() { family.default_block_devices() } else { spec.block_device_mappings.clone() };
    let tags = tag_list(context.tags);
    let mut tagged = vec![json!({"ResourceType": "network-interface", "Tags": tags})];
    if context.capacity_type == CapacityType::Spot {
        tagged.push(json!({"ResourceType": "spot-instances-request", "Tags": tags}));
    }
    let groups: Vec<&str> = status.security_groups.iter().map(|group| group.id.as_str()).collect();
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
    if !devices.is_empty() {
        put("BlockDeviceMappings", devices.iter().map(block_device).collect());
    }
    if let Some(nested) = spec.cpu_options.as_ref().and_then(|options| options.get("nestedVirtualization")) {
        put("CpuOptions", json!({"NestedVirtualization": nested}));
    }
    put("IamInstanceProfile", json!({"Name": status.instance_profile.unwrap_or_default()}));
    put("Monitoring", json!({"Enabled": spec.detailed_monitoring.unwrap_or(false)}));
    put("UserData", json!(STANDARD.encode(user_data)));
    put("ImageId", json!(image));
    put("MetadataOptions", metadata(class, context));
    put("NetworkInterfaces", network_interfaces(class, &groups, efa, context));
    put("TagSpecifications", json!(tagged));
    put("Placement", placement(claim, context));
    put("EnclaveOptions", json!({"Enabled": claim.spec.resources.requests.contains_key(aws::NIP_SLOTS)}));
    match reserved {
        Some(reserved) if context.settings.reserved_capacity => {
            let target = json!({"CapacityReservationId": reserved.id});
            let only = json!({"CapacityReservationPreference": "capacity-reservations-only", "CapacityReservationTarget": target});
            put("CapacityReservationSpecification", only);
            if reserved.kind == CAPACITY_BLOCK {
                put("InstanceMarketOptions", json!({"MarketType": "capacity-block"}));
            } else if reserved.interruptible {
                put("InstanceMarketOptions", json!({"MarketType": "interruptible-capacity-reservation"}));
            }
        }
        None if context.settings.reserved_capacity => {
            // Keeps the machine out of open reservations.
            put("CapacityReservationSpecification", json!({"CapacityReservationPreference": "none"}));
        }
        _ => {}
    }
    json!({
        "LaunchTemplateData": data,
        "TagSpecifications": [{"ResourceType": "launch-template", "Tags": tags}],
    })
}

/// The group, and the one partition that EC2 takes, where the claim names any; else EC2 chooses.
fn placement(claim: &NodeClaim, context: &Context<'_>) -> Value {
    let mut placement = json!({"Tenancy": context.tenancy});
    if let Some(group) = context.group {
        placement["GroupId"] = json!(group.id);
        let asked = partition(&Wanted::of(claim).requirements).filter(|_| group.is_partitioned());
        if let Some(number) = asked.and_then(|name| name.parse::<i32>().ok()).filter(|number| *number != 0) {
            placement["PartitionNumber"] = json!(number);
        }
    }
    placement
}

fn block_device(mapping: &BlockDeviceMapping) -> Value {
    let mut device = Map::new();
    let mut put = |name: &str, value: Option<Value>| value.map(|value| device.insert(name.to_owned(), value));
    put("DeviceName", mapping.device_name.as_ref().map(|name| json!(name)));
    if let Some(ebs) = &mapping.ebs {
        let mut volume = Map::new();
        let mut put_volume = |name: &str, value: Option<Value>| value.map(|value| volume.insert(name.to_owned(), value));
        // Zero counts as unset.
        let positive = |number: Option<i64>| number.filter(|number| *number != 0).map(|number| json!(number));
        put_volume("DeleteOnTermination", ebs.delete_on_termination.map(Value::Bool));
        put_volume("Encrypted", ebs.encrypted.map(Value::Bool));
        put_volume("VolumeType", ebs.volume_type.as_ref().map(|kind| json!(kind)));
        put_volume("Iops", positive(ebs.iops));
        put_volume("Throughput", positive(ebs.throughput));
        put_volume("KmsKeyId", ebs.kms_key_id.as_ref().map(|key| json!(key)));
        put_volume("SnapshotId", ebs.snapshot_id.as_ref().map(|id| json!(id)));
        put_volume("VolumeInitializationRate", ebs.volume_initialization_rate.map(|rate| json!(rate)));
        put_volume("VolumeSize", ebs.volume_size.as_deref().and_then(gibibytes).map(|size| json!(size)));
        put("Ebs", Some(Value::Object(volume)));
    }
    Value::Object(device)
}

/// Whole GiB, rounded up.
fn gibibytes(text: &str) -> Option<i64> {
    let bytes = text.parse::<Quantity>().ok()?.ceil();
    Some(bytes.div_euclid(1 << 30) + i64::from(bytes.rem_euclid(1 << 30) != 0))
}

fn metadata(class: &EC2NodeClass, context: &Context<'_>) -> Value {
    let family_default = || MetadataOptions {
        http_endpoint: Some("disabled".to_owned()),
        http_protocol_ipv6: Some(if context.settings.ipv6() { "enabled" } else { "disabled" }.to_owned()),
        http_put_response_hop_limit: Some(2),
        http_tokens: Some("required".to_owned()),
    };
    let options = class.spec.metadata_options.clone().unwrap_or_else(family_default);
    let isolated = ["us-iso-", "us-isob-", "us-isof-"].iter().any(|prefix| context.region.starts_with(prefix));
    let mut members = Map::new();
    let mut put =
        |name: &str, value: Option<String>| value.filter(|v| !v.is_empty()).map(|value| members.insert(name.to_owned(), json!(value)));
    put("HttpEndpoint", options.http_endpoint);
    put("HttpProtocolIpv6", options.http_protocol_ipv6.filter(|_| !isolated));
    put("HttpTokens", options.http_tokens);
    // Said outright, since an account's default could switch tags on, and they hold characters that tags of machines may not.
    put("InstanceMetadataTags", Some("disabled".to_owned()));
    members.insert("HttpPutResponseHopLimit".to_owned(), json!(options.http_put_response_hop_limit.unwrap_or(0)));
    Value::Object(members)
}

fn network_interfaces(class: &EC2NodeClass, groups: &[&str], efa: i64, context: &Context<'_>) -> Value {
    let given = &class.spec.network_interfaces;
    if !given.is_empty() {
        return given.iter().map(|interface| configured_interface(class, interface, groups, context)).collect();
    }
    let addressed = |index: i64, kind: Option<&str>| {
        let mut members = Map::new();
        if kind.is_some() {
            members.insert("NetworkCardIndex".to_owned(), json!(index));
        }
        // One card ranks above all others, which matters where a public address is wanted.
        members.insert("DeviceIndex".to_owned(), json!(if kind.is_none() || index == 0 { 0 } else { 1 }));
        if let Some(kind) = kind {
            members.insert("InterfaceType".to_owned(), json!(kind));
        }
        members.insert("Groups".to_owned(), json!(groups));
        addresses(class, &mut members, context);
        Value::Object(members)
    };
    if efa > 0 { (0..efa).map(|index| addressed(index, Some("efa"))).collect() } else { json!([addressed(0, None)]) }
}

fn configured_interface(class: &EC2NodeClass, interface: &NetworkInterface, groups: &[&str], context: &Context<'_>) -> Value {
    let mut members = Map::new();
    members.insert("NetworkCardIndex".to_owned(), json!(interface.network_card_index));
    members.insert("DeviceIndex".to_owned(), json!(interface.device_index));
    members.insert("InterfaceType".to_owned(), json!(interface.interface_type));
    members.insert("Groups".to_owned(), json!(groups));
    if interface.interface_type != "efa-only" {
        // EFA-only interfaces carry no IP and refuse everything about it.
        addresses(class, &mut members, context);
    }
    Value::Object(members)
}

fn addresses(class: &EC2NodeClass, members: &mut Map<String, Value>, context: &Context<'_>) {
    let spec = &class.spec;
    let ipv6 = context.settings.ipv6();
    let mut put = |name: &str, value: Option<Value>| value.map(|value| members.insert(name.to_owned(), value));
    put("AssociatePublicIpAddress", spec.associate_public_ip_address.map(Value::Bool));
    put(if ipv6 { "Ipv6PrefixCount" } else { "Ipv4PrefixCount" }, spec.ip_prefix_count.map(|count| json!(count)));
    put("PrimaryIpv6", ipv6.then_some(json!(true)));
    put("Ipv6AddressCount", ipv6.then_some(json!(1)));
    put("ConnectionTrackingSpecification", spec.connection_tracking.as_ref().and_then(connection_tracking));
}

/// Seconds; upstream's names to EC2's.
fn connection_tracking(given: &Value) -> Option<Value> {
    let names =
        [("tcpEstablishedTimeout", "TcpEstablishedTimeout"), ("udpStreamTimeout", "UdpStreamTimeout"), ("udpTimeout", "UdpTimeout")];
    let members: Map<String, Value> = names
        .iter()
        .filter_map(|(from, to)| Some(((*to).to_owned(), given.get(from).filter(|value| value.is_number())?.clone())))
        .collect();
    (!members.is_empty()).then_some(Value::Object(members))
}
