//! The description of an instance type, as far as Karpenter reads it (DescribeInstanceTypes).

use crate::wire::Element;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TypeInfo {
    pub name: String,
    /// `on-demand`, `spot`, `capacity-block`.
    pub usage_classes: Vec<String>,
    /// `nitro`, `xen` or empty.
    pub hypervisor: String,
    pub vcpus: i64,
    /// MiB.
    pub memory: i64,
    pub processor: Option<Processor>,
    pub network: Network,
    pub storage: Option<InstanceStorage>,
    pub gpus: Option<Vec<Gpu>>,
    pub accelerators: Option<Vec<Accelerator>>,
    pub neuron: Option<Vec<Neuron>>,
    pub ebs: Option<Ebs>,
    /// Placement groups that it can be in: `cluster`, `partition`, `spread`.
    pub strategies: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Processor {
    pub architectures: Vec<String>,
    pub manufacturer: String,
    /// GHz.
    pub sustained_clock_speed: f64,
    pub features: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    pub cards: Vec<NetworkCard>,
    pub default_card: usize,
    pub ipv4_per_interface: i64,
    pub maximum_efa: Option<i64>,
    pub ena_support: String,
    pub encryption_in_transit: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NetworkCard {
    pub index: i64,
    pub maximum_interfaces: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceStorage {
    pub nvme_support: String,
    /// GB, decimal.
    pub total: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpu {
    pub name: String,
    pub manufacturer: String,
    pub count: i64,
    /// MiB.
    pub memory: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accelerator {
    pub name: String,
    pub manufacturer: String,
    pub count: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neuron {
    pub name: String,
    pub count: i64,
    pub cores: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ebs {
    /// `default`, `supported`, `unsupported`.
    pub optimized: String,
    /// Mbit/s.
    pub maximum_bandwidth: Option<i64>,
}

impl TypeInfo {
    /// One item of `instanceTypeSet`; `None` without the facts that everything else stands on (Karpenter would panic).
    pub fn read(item: &Element) -> Option<Self> {
        Some(TypeInfo {
            name: item.string("instanceType")?,
            usage_classes: item.texts("supportedUsageClasses"),
            hypervisor: item.string("hypervisor").unwrap_or_default(),
            vcpus: item.number(&["vCpuInfo", "defaultVCpus"])?,
            memory: item.number(&["memoryInfo", "sizeInMiB"])?,
            processor: item.child("processorInfo").map(processor),
            network: network(item.child("networkInfo")?)?,
            storage: item.child("instanceStorageInfo").map(|storage| InstanceStorage {
                nvme_support: storage.string("nvmeSupport").unwrap_or_default(),
                total: storage.number(&["totalSizeInGB"]),
            }),
            gpus: item.child("gpuInfo").map(|info| info.list("gpus").map(gpu).collect()),
            accelerators: item.child("inferenceAcceleratorInfo").map(|info| info.list("accelerators").map(accelerator).collect()),
            neuron: item.child("neuronInfo").map(|info| info.list("neuronDevices").map(neuron).collect()),
            ebs: item.child("ebsInfo").map(|ebs| Ebs {
                optimized: ebs.string("ebsOptimizedSupport").unwrap_or_default(),
                maximum_bandwidth: ebs.child("ebsOptimizedInfo").map(|info| info.number(&["maximumBandwidthInMbps"]).unwrap_or(0)),
            }),
            strategies: item.child("placementGroupInfo").map(|info| info.texts("supportedStrategies")).unwrap_or_default(),
        })
    }

    /// Interfaces of the card that the VPC's network plugin uses.
    pub fn default_card_interfaces(&self) -> i64 {
        self.network.cards.get(self.network.default_card).map_or(0, |card| card.maximum_interfaces)
    }

    /// `amd64` or `arm64`; what AWS calls it when it is neither.
    pub fn architecture(&self) -> String {
        let all = self.processor.as_ref().map_or(&[][..], |processor| &processor.architectures);
        let known = all.iter().find_map(|name| kube_architecture(name));
        known.map_or_else(|| format!("[{}]", all.join(" ")), str::to_owned)
    }
}

/// Source: `A/pkg/apis/v1/labels.go`, AWSToKubeArchitectures.
pub fn kube_architecture(name: &str) -> Option<&'static str> {
    match name {
        "x86_64" => Some("amd64"),
        "arm64" => Some("arm64"),
        _ => None,
    }
}

fn processor(info: &Element) -> Processor {
    Processor {
        architectures: info.texts("supportedArchitectures"),
        manufacturer: info.string("manufacturer").unwrap_or_default(),
        sustained_clock_speed: info.number(&["sustainedClockSpeedInGhz"]).unwrap_or(0.0),
        features: info.texts("supportedFeatures"),
    }
}

fn network(info: &Element) -> Option<Network> {
    let card = |card: &Element| {
        Some(NetworkCard {
            index: card.number(&["networkCardIndex"]).unwrap_or(0),
            maximum_interfaces: card.number(&["maximumNetworkInterfaces"])?,
        })
    };
    Some(Network {
        cards: info.list("networkCards").map(card).collect::<Option<Vec<_>>>()?,
        default_card: info.number(&["defaultNetworkCardIndex"])?,
        ipv4_per_interface: info.number(&["ipv4AddressesPerInterface"])?,
        maximum_efa: info.number(&["efaInfo", "maximumEfaInterfaces"]),
        ena_support: info.string("enaSupport").unwrap_or_default(),
        encryption_in_transit: info.boolean(&["encryptionInTransitSupported"]).unwrap_or(false),
    })
}

fn gpu(item: &Element) -> Gpu {
    Gpu {
        name: item.string("name").unwrap_or_default(),
        manufacturer: item.string("manufacturer").unwrap_or_default(),
        count: item.number(&["count"]).unwrap_or(0),
        memory: item.number(&["memoryInfo", "sizeInMiB"]).unwrap_or(0),
    }
}

fn accelerator(item: &Element) -> Accelerator {
    Accelerator {
        name: item.string("name").unwrap_or_default(),
        manufacturer: item.string("manufacturer").unwrap_or_default(),
        count: item.number(&["count"]).unwrap_or(0),
    }
}

fn neuron(item: &Element) -> Neuron {
    Neuron {
        name: item.string("name").unwrap_or_default(),
        count: item.number(&["count"]).unwrap_or(0),
        cores: item.number(&["coreInfo", "count"]).unwrap_or(0),
    }
}
