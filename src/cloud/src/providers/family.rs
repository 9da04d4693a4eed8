//! AMI families and their defaults. Source: `A/pkg/providers/amifamily/{resolver,al2,al2023,bottlerocket,windows,custom}.go`.

use api::EC2NodeClass;
use api::ec2nodeclass::{BlockDevice, BlockDeviceMapping};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Al2,
    Al2023,
    Bottlerocket,
    Windows2019,
    Windows2022,
    Windows2025,
    Custom,
}

/// The size of a root volume that nobody chose, in bytes.
pub const DEFAULT_VOLUME: i64 = 20 << 30;

/// `family@version` of the first selector term with an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    pub family: Family,
    pub version: String,
}

impl Family {
    /// `spec.amiFamily`, else the alias's, else Custom (`A/pkg/apis/v1/ec2nodeclass.go`, AMIFamily).
    pub fn of(class: &EC2NodeClass) -> Self {
        match &class.spec.ami_family {
            Some(name) => Self::parse(name),
            None => alias(class).map_or(Family::Custom, |alias| alias.family),
        }
    }

    fn parse(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "al2023" => Family::Al2023,
            "bottlerocket" => Family::Bottlerocket,
            "windows2019" => Family::Windows2019,
            "windows2022" => Family::Windows2022,
            "windows2025" => Family::Windows2025,
            "custom" => Family::Custom,
            // GetAMIFamily falls through to AL2.
            _ => Family::Al2,
        }
    }

    /// The build that nodes of a Windows family report.
    pub fn windows_build(self) -> Option<&'static str> {
        match self {
            Family::Windows2019 => Some("10.0.17763"),
            Family::Windows2022 => Some("10.0.20348"),
            Family::Windows2025 => Some("10.0.26100"),
            _ => None,
        }
    }

    /// The year of a Windows family.
    pub fn windows_year(self) -> Option<&'static str> {
        match self {
            Family::Windows2019 => Some("2019"),
            Family::Windows2022 => Some("2022"),
            Family::Windows2025 => Some("2025"),
            _ => None,
        }
    }

    pub fn is_windows(self) -> bool {
        self.windows_build().is_some()
    }

    /// Memory kept back for pods counts all pods that the interfaces could carry.
    pub fn uses_eni_limited_memory_overhead(self) -> bool {
        matches!(self, Family::Al2 | Family::Al2023 | Family::Custom)
    }

    pub fn knows_pods_per_core(self) -> bool {
        self != Family::Bottlerocket
    }

    pub fn knows_eni_limited_pods(self) -> bool {
        !self.is_windows()
    }

    /// The device that pods' ephemeral storage lies on; unknown for custom images.
    pub fn ephemeral_device(self) -> Option<&'static str> {
        match self {
            Family::Al2 | Family::Al2023 => Some("/dev/xvda"),
            Family::Bottlerocket => Some("/dev/xvdb"),
            Family::Windows2019 | Family::Windows2022 | Family::Windows2025 => Some("/dev/sda1"),
            Family::Custom => None,
        }
    }

    pub fn default_block_devices(self) -> Vec<BlockDeviceMapping> {
        let volume = |device: &str, size: &str| BlockDeviceMapping {
            device_name: Some(device.to_owned()),
            root_volume: None,
            ebs: Some(BlockDevice {
                encrypted: Some(true),
                volume_type: Some("gp3".to_owned()),
                volume_size: Some(size.to_owned()),
                ..BlockDevice::default()
            }),
        };
        match self {
            Family::Al2 | Family::Al2023 => vec![volume("/dev/xvda", "20Gi")],
            Family::Bottlerocket => vec![volume("/dev/xvda", "4Gi"), volume("/dev/xvdb", "20Gi")],
            Family::Windows2019 | Family::Windows2022 | Family::Windows2025 => vec![volume("/dev/sda1", "50Gi")],
            // The image's own volumes.
            Family::Custom => Vec::new(),
        }
    }
}

/// The class's alias, if it has one.
pub fn alias(class: &EC2NodeClass) -> Option<Alias> {
    let text = class.spec.ami_selector_terms.iter().find_map(|term| term.alias.as_deref().filter(|alias| !alias.is_empty()))?;
    let (family, version) = text.split_once('@').unwrap_or((text, "latest"));
    Some(Alias { family: Family::parse(family), version: version.to_owned() })
}
