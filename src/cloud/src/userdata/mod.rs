//! What a machine is told at its first boot, per AMI family. Source: `A/pkg/providers/amifamily/bootstrap`.
//!
//! Map: [`arguments`] are the kubelet's; [`al2`], [`al2023`], [`bottlerocket`], [`windows`] are the families; [`mime`] and [`yaml`] are
//! how some of them write. A custom family's user data are handed on as they are.

mod al2;
mod al2023;
mod arguments;
mod bottlerocket;
pub mod mime;
mod windows;
mod yaml;

use crate::providers::family::Family;
use api::ec2nodeclass::KubeletConfiguration;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct NodeTaint {
    pub key: String,
    pub value: String,
    pub effect: String,
}

/// Everything that goes into user data.
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    pub cluster_name: String,
    pub cluster_endpoint: String,
    /// The service CIDR, which AL2023 wants.
    pub cluster_cidr: Option<String>,
    /// Base64.
    pub cluster_ca: Option<String>,
    /// With `maxPods` and `clusterDNS` filled in.
    pub kubelet: KubeletConfiguration,
    pub taints: Vec<NodeTaint>,
    /// Without those that node admission refuses.
    pub labels: BTreeMap<String, String>,
    /// `spec.userData`.
    pub custom: Option<String>,
    /// `instanceStorePolicy: RAID0`.
    pub striped_disks: bool,
    /// For Bottlerocket; empty when unknown.
    pub image_version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserDataError {
    /// The NodeClass is not ready: the cluster's CIDR has not been found out yet.
    #[error("resolving cluster CIDR")]
    NoClusterCidr,
    #[error("{0}")]
    Invalid(String),
}

impl Bootstrap {
    /// The user data, decoded.
    pub fn render(&self, family: Family) -> Result<String, UserDataError> {
        match family {
            Family::Al2 => al2::render(self),
            Family::Al2023 => al2023::render(self),
            Family::Bottlerocket => bottlerocket::render(self),
            Family::Windows2019 | Family::Windows2022 | Family::Windows2025 => Ok(windows::render(self)),
            Family::Custom => Ok(self.custom.clone().unwrap_or_default()),
        }
    }

    fn custom_text(&self) -> &str {
        self.custom.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
