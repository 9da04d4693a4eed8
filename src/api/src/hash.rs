//! Hashes that decide drift: the numbers upstream writes into `karpenter.sh/nodepool-hash` and
//! `karpenter.k8s.aws/ec2nodeclass-hash`, bit for bit.
//!
//! Source: `github.com/mitchellh/hashstructure/v2` v2.0.2 with format 2, slices as sets, zero values ignored and FNV-1 of 64
//! bits; `C/pkg/apis/v1/nodepool.go` and `A/pkg/apis/v1/ec2nodeclass.go`, Hash. The names of Go types and fields, the order of
//! fields and the width of integers are part of the hash.
//!
//! Not carried over: a list or map that is present but empty hashes upstream like one with content, while here it is absent; and a
//! taint's `timeAdded`, which nobody sets in a NodePool.

use crate::duration::{NillableDuration, parse_go};
use crate::ec2nodeclass::{BlockDevice, BlockDeviceMapping, EC2NodeClassSpec, KubeletConfiguration, MetadataOptions, NetworkInterface};
use crate::nodepool::{NodeClaimTemplate, NodeClassRef};
use k8s_openapi::api::core::v1::Taint;
use serde_json::Value;
use std::collections::BTreeMap;

/// The value of `karpenter.sh/nodepool-hash`.
pub fn nodepool(template: &NodeClaimTemplate) -> String {
    let metadata = &template.metadata;
    let spec = &template.spec;
    let nillable =
        |d: &NillableDuration| d.duration.map(|duration| Struct::new("NillableDuration").field("Duration", nanoseconds(duration)).hash);
    let spec_hash = Struct::new("NodeClaimTemplateSpec")
        .present("Taints", set(&spec.taints, taint))
        .present("StartupTaints", set(&spec.startup_taints, taint))
        .field("NodeClassRef", node_class_ref(&spec.node_class_ref))
        .present("TerminationGracePeriod", spec.termination_grace_period.as_ref().map(|d| duration(d.duration.unwrap_or_default())))
        .present("ExpireAfter", spec.expire_after.as_ref().and_then(nillable))
        .hash;
    let metadata_hash = Struct::new("ObjectMeta")
        .present("Labels", map(&metadata.labels, |value| Some(text(value))))
        .present("Annotations", map(&metadata.annotations, |value| Some(text(value))))
        .hash;
    let described = !metadata.labels.is_empty() || !metadata.annotations.is_empty();
    Struct::new("NodeClaimTemplate").present("ObjectMeta", described.then_some(metadata_hash)).field("Spec", spec_hash).hash.to_string()
}

/// The value of `karpenter.k8s.aws/ec2nodeclass-hash`. `ca_bundle` is the cluster's, as the controller knows it.
pub fn ec2nodeclass(spec: &EC2NodeClassSpec, ca_bundle: Option<&str>) -> String {
    (spec_hash(spec) ^ text(ami_family(spec)) ^ text(ca_bundle.unwrap_or_default())).to_string()
}

/// `spec.amiFamily`, else the family of the first alias, else `Custom` (`A/pkg/apis/v1/ec2nodeclass.go`, AMIFamily).
pub fn ami_family(spec: &EC2NodeClassSpec) -> &str {
    const FAMILIES: [&str; 6] = ["AL2", "AL2023", "Bottlerocket", "Windows2019", "Windows2022", "Windows2025"];
    if let Some(family) = &spec.ami_family {
        return family;
    }
    let alias = spec.ami_selector_terms.iter().find_map(|term| term.alias.as_deref().filter(|alias| !alias.is_empty()));
    let family = alias.and_then(|alias| alias.split_once('@')).map(|(family, _)| family);
    family.and_then(|name| FAMILIES.into_iter().find(|known| known.to_lowercase() == name)).unwrap_or("Custom")
}

fn spec_hash(spec: &EC2NodeClassSpec) -> u64 {
    Struct::new("EC2NodeClassSpec")
        .present(
            "PlacementGroupSelector",
            object("PlacementGroupSelector", &spec.placement_group_selector, &[("Name", "name"), ("ID", "id")]),
        )
        .present("AssociatePublicIPAddress", spec.associate_public_ip_address.map(boolean))
        .present("UserData", spec.user_data.as_deref().map(text))
        .present("Role", nonempty(spec.role.as_deref()))
        .present("InstanceProfile", spec.instance_profile.as_deref().map(text))
        .present("Tags", map(&spec.tags, |value| Some(text(value))))
        .present("Kubelet", spec.kubelet.as_ref().map(kubelet))
        .present("BlockDeviceMappings", set(&spec.block_device_mappings, block_device_mapping))
        .present("InstanceStorePolicy", spec.instance_store_policy.as_deref().map(text))
        .present("NetworkInterfaces", set(&spec.network_interfaces, network_interface))
        .present("DetailedMonitoring", spec.detailed_monitoring.map(boolean))
        .present("MetadataOptions", spec.metadata_options.as_ref().map(metadata_options))
        .present("ConnectionTracking", object("ConnectionTracking", &spec.connection_tracking, &CONNECTION_TRACKING))
        .present("Context", spec.context.as_deref().map(text))
        .present("CPUOptions", object("CPUOptions", &spec.cpu_options, &[("NestedVirtualization", "nestedVirtualization")]))
        .hash
}

const CONNECTION_TRACKING: [(&str, &str); 3] =
    [("TCPEstablishedTimeout", "tcpEstablishedTimeout"), ("UDPStreamTimeout", "udpStreamTimeout"), ("UDPTimeout", "udpTimeout")];

/// A field that is kept as JSON: Go names with JSON names, strings or 32-bit integers.
fn object(name: &str, value: &Option<Value>, fields: &[(&str, &str)]) -> Option<u64> {
    let value = value.as_ref()?;
    let scalar = |value: &Value| match value {
        Value::String(written) => Some(text(written)),
        Value::Number(number) => Some(integer32(i32::try_from(number.as_i64()?).ok()?)),
        _ => None,
    };
    Some(fields.iter().fold(Struct::new(name), |made, (go, json)| made.present(go, value.get(*json).and_then(scalar))).hash)
}

fn kubelet(kubelet: &KubeletConfiguration) -> u64 {
    let strings = |amounts: &BTreeMap<String, String>| map(amounts, |value| Some(text(value)));
    Struct::new("KubeletConfiguration")
        .present("ClusterDNS", set(&kubelet.cluster_dns, |address| text(address)))
        .present("MaxPods", kubelet.max_pods.map(integer32))
        .present("PodsPerCore", kubelet.pods_per_core.map(integer32))
        .present("SystemReserved", strings(&kubelet.system_reserved))
        .present("KubeReserved", strings(&kubelet.kube_reserved))
        .present("EvictionHard", strings(&kubelet.eviction_hard))
        .present("EvictionSoft", strings(&kubelet.eviction_soft))
        .present("EvictionSoftGracePeriod", map(&kubelet.eviction_soft_grace_period, |value| parse_go(value).map(duration)))
        .present("EvictionMaxPodGracePeriod", kubelet.eviction_max_pod_grace_period.map(integer32))
        .present("ImageGCHighThresholdPercent", kubelet.image_gc_high_threshold_percent.map(integer32))
        .present("ImageGCLowThresholdPercent", kubelet.image_gc_low_threshold_percent.map(integer32))
        .present("CPUCFSQuota", kubelet.cpu_cfs_quota.map(boolean))
        .hash
}

fn block_device_mapping(mapping: &BlockDeviceMapping) -> u64 {
    Struct::new("BlockDeviceMapping")
        .present("DeviceName", mapping.device_name.as_deref().map(text))
        .present("EBS", mapping.ebs.as_ref().map(block_device))
        .present("RootVolume", mapping.root_volume.filter(|root| *root).map(boolean))
        .hash
}

fn block_device(device: &BlockDevice) -> u64 {
    let rate = device.volume_initialization_rate.and_then(|rate| i32::try_from(rate).ok());
    Struct::new("BlockDevice")
        .present("DeleteOnTermination", device.delete_on_termination.map(boolean))
        .present("Encrypted", device.encrypted.map(boolean))
        .present("IOPS", device.iops.map(integer64))
        .present("KMSKeyID", device.kms_key_id.as_deref().map(text))
        .present("SnapshotID", device.snapshot_id.as_deref().map(text))
        .present("Throughput", device.throughput.map(integer64))
        .present("VolumeInitializationRate", rate.map(integer32))
        .present("VolumeSize", device.volume_size.as_deref().map(|size| text(&canonical_size(size))))
        .present("VolumeType", device.volume_type.as_deref().map(text))
        .hash
}

/// A volume's size as Kubernetes prints it: the largest suffix of its kind that leaves a whole number. The definition admits
/// whole numbers with `G`, `Gi`, `T` or `Ti` only.
fn canonical_size(size: &str) -> String {
    let end = size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len());
    let (number, suffix) = size.split_at(end);
    let ladder: &[&str] = if suffix.ends_with('i') { &["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] } else { &["", "k", "M", "G", "T", "P", "E"] };
    let step: u64 = if suffix.ends_with('i') { 1024 } else { 1000 };
    let (Ok(mut number), Some(mut rung)) = (number.parse::<u64>(), ladder.iter().position(|known| *known == suffix)) else {
        return size.to_owned();
    };
    while number != 0 && number % step == 0 && rung + 1 < ladder.len() {
        number /= step;
        rung += 1;
    }
    format!("{number}{}", ladder[rung])
}

fn network_interface(interface: &NetworkInterface) -> u64 {
    let number = |n: i32| (n != 0).then(|| integer32(n));
    Struct::new("NetworkInterface")
        .present("NetworkCardIndex", number(interface.network_card_index))
        .present("DeviceIndex", number(interface.device_index))
        .present("InterfaceType", nonempty(Some(&interface.interface_type)))
        .hash
}

fn metadata_options(options: &MetadataOptions) -> u64 {
    Struct::new("MetadataOptions")
        .present("HTTPEndpoint", options.http_endpoint.as_deref().map(text))
        .present("HTTPProtocolIPv6", options.http_protocol_ipv6.as_deref().map(text))
        .present("HTTPPutResponseHopLimit", options.http_put_response_hop_limit.map(integer64))
        .present("HTTPTokens", options.http_tokens.as_deref().map(text))
        .hash
}

fn taint(taint: &Taint) -> u64 {
    Struct::new("Taint")
        .present("Key", nonempty(Some(&taint.key)))
        .present("Value", nonempty(taint.value.as_deref()))
        .present("Effect", nonempty(Some(&taint.effect)))
        .hash
}

fn node_class_ref(reference: &NodeClassRef) -> u64 {
    Struct::new("NodeClassReference")
        .present("Kind", nonempty(Some(&reference.kind)))
        .present("Name", nonempty(Some(&reference.name)))
        .present("Group", nonempty(Some(&reference.group)))
        .hash
}

/// `metav1.Duration`.
fn duration(duration: jiff::SignedDuration) -> u64 {
    let held = (!duration.is_zero()).then(|| nanoseconds(duration));
    Struct::new("Duration").present("Duration", held).hash
}

fn nanoseconds(duration: jiff::SignedDuration) -> u64 {
    integer64(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

fn nonempty(value: Option<&str>) -> Option<u64> {
    value.filter(|value| !value.is_empty()).map(text)
}

fn text(value: &str) -> u64 {
    fnv1(value.as_bytes())
}

fn boolean(value: bool) -> u64 {
    fnv1(&[u8::from(value)])
}

fn integer32(value: i32) -> u64 {
    fnv1(&value.to_le_bytes())
}

fn integer64(value: i64) -> u64 {
    fnv1(&value.to_le_bytes())
}

/// A list, in any order; `None` when empty.
fn set<T>(items: &[T], hash: impl Fn(&T) -> u64) -> Option<u64> {
    (!items.is_empty()).then(|| items.iter().fold(0, |all, item| all ^ hash(item)))
}

/// A map; `None` when empty, or when a value has no hash.
fn map(entries: &BTreeMap<String, String>, hash: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    if entries.is_empty() {
        return None;
    }
    let all = entries.iter().try_fold(0, |all, (key, value)| Some(all ^ pair(text(key), hash(value)?)))?;
    Some(finish(all))
}

/// A Go struct, field by field. Fields that are absent leave no trace.
struct Struct {
    hash: u64,
}

impl Struct {
    fn new(name: &str) -> Self {
        Struct { hash: text(name) }
    }

    fn field(self, name: &str, value: u64) -> Self {
        Struct { hash: finish(self.hash ^ pair(text(name), value)) }
    }

    fn present(self, name: &str, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }
}

/// Two hashes in order.
fn pair(a: u64, b: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&a.to_le_bytes());
    bytes[8..].copy_from_slice(&b.to_le_bytes());
    fnv1(&bytes)
}

/// Hardens what was mixed without order.
fn finish(hash: u64) -> u64 {
    fnv1(&hash.to_le_bytes())
}

/// Fowler–Noll–Vo of 64 bits, version 1: multiply, then mix in.
fn fnv1(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| hash.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(*byte))
}
