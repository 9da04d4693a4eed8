//! Instance types: the whole shape that DescribeInstanceTypes tells, and the facts that placement needs.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};

use serde::Deserialize;
use serde_json::Value;

/// One instance type. The text is parsed when somebody looks, since a lab touches three of 1,395.
#[derive(Debug)]
pub struct InstanceType {
    name: &'static str,
    text: &'static str,
    facts: OnceLock<Facts>,
    details: OnceLock<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Facts {
    #[serde(rename = "VCpuInfo")]
    vcpu_info: VCpuInfo,
    memory_info: MemoryInfo,
    processor_info: ProcessorInfo,
    network_info: NetworkInfo,
    supported_usage_classes: Vec<String>,
    #[serde(default)]
    bare_metal: bool,
    #[serde(default)]
    current_generation: bool,
    #[serde(default)]
    hypervisor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct VCpuInfo {
    #[serde(rename = "DefaultVCpus")]
    default_vcpus: u32,
}

#[derive(Debug, Deserialize)]
struct MemoryInfo {
    #[serde(rename = "SizeInMiB")]
    size_in_mib: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ProcessorInfo {
    supported_architectures: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkInfo {
    maximum_network_interfaces: u32,
    #[serde(default)]
    ipv4_addresses_per_interface: u32,
    #[serde(default)]
    default_network_card_index: u32,
}

impl InstanceType {
    /// `m5.large`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `m5` of `m5.large`.
    pub fn family(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(family, _)| family)
    }

    /// The `InstanceTypeInfo` of DescribeInstanceTypes, by member names.
    pub fn details(&self) -> &Value {
        self.details.get_or_init(|| self.describe())
    }

    /// The same as a value of one's own, for lists of them all.
    pub fn describe(&self) -> Value {
        serde_json::from_str(self.text).expect("a committed line is JSON")
    }

    /// The same as its JSON text.
    pub fn text(&self) -> &'static str {
        self.text
    }

    pub fn vcpus(&self) -> u32 {
        self.facts().vcpu_info.default_vcpus
    }

    /// Memory in MiB, as advertised.
    pub fn memory_mib(&self) -> u64 {
        self.facts().memory_info.size_in_mib
    }

    /// `x86_64`, `arm64`, `i386`, `x86_64_mac`, `arm64_mac`.
    pub fn architectures(&self) -> &[String] {
        &self.facts().processor_info.supported_architectures
    }

    /// Network interfaces over all cards.
    pub fn max_network_interfaces(&self) -> u32 {
        self.facts().network_info.maximum_network_interfaces
    }

    pub fn ipv4_per_interface(&self) -> u32 {
        self.facts().network_info.ipv4_addresses_per_interface
    }

    pub fn default_network_card_index(&self) -> u32 {
        self.facts().network_info.default_network_card_index
    }

    /// `on-demand`, `spot`, `capacity-block`.
    pub fn usage_classes(&self) -> &[String] {
        &self.facts().supported_usage_classes
    }

    pub fn bare_metal(&self) -> bool {
        self.facts().bare_metal
    }

    pub fn current_generation(&self) -> bool {
        self.facts().current_generation
    }

    /// `nitro`, `xen`; none for bare metal.
    pub fn hypervisor(&self) -> Option<&str> {
        self.facts().hypervisor.as_deref()
    }

    fn facts(&self) -> &Facts {
        self.facts.get_or_init(|| serde_json::from_str(self.text).expect("a committed line has the facts"))
    }
}

/// Every type of every region, in the order of the names.
pub fn types() -> &'static BTreeMap<&'static str, InstanceType> {
    static TYPES: LazyLock<BTreeMap<&'static str, InstanceType>> = LazyLock::new(|| {
        text()
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once('\t'))
            .map(|(name, text)| (name, InstanceType { name, text, facts: OnceLock::new(), details: OnceLock::new() }))
            .collect()
    });
    &TYPES
}

/// One type by its name.
pub fn instance_type(name: &str) -> Option<&'static InstanceType> {
    types().get(name).or_else(|| LEARNT.read().unwrap_or_else(PoisonError::into_inner).get(name).copied())
}

/// Types that catalogue files have brought. A name's first shape stays, as what is built in does; the texts live as long as the process.
static LEARNT: RwLock<BTreeMap<&'static str, &'static InstanceType>> = RwLock::new(BTreeMap::new());

/// Makes a type known that is not built in. What its region offers is not changed by it.
pub fn learn(name: &str, details: &Value) {
    if instance_type(name).is_some() {
        return;
    }
    let (name, text): (&'static str, &'static str) = (name.to_owned().leak(), details.to_string().leak());
    let made: &'static InstanceType = Box::leak(Box::new(InstanceType { name, text, facts: OnceLock::new(), details: OnceLock::new() }));
    LEARNT.write().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert(made);
}

/// Whether a value has the facts of a type of this name.
pub(super) fn is_shape(name: &str, details: &Value) -> bool {
    details.get("InstanceType").and_then(Value::as_str) == Some(name) && Facts::deserialize(details).is_ok()
}

/// The file: a provenance, then a line `name TAB JSON` per type.
pub(super) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| super::unpack(include_bytes!("../../data/instance_types.jsonl.gz")));
    &TEXT
}
