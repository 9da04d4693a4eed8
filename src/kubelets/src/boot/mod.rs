//! User data in, a kubelet's configuration out, or why there is none.
//!
//! Each image family reads its own format, as strictly as the real program does: what a real machine would refuse, is refused here,
//! with the words that then stand on the console.

mod bootstrap_sh;
mod bottlerocket;
mod flags;
mod mime;
mod nodeadm;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::machine::{ImageFamily, Machine};
use crate::profile::Profile;

/// What a kubelet is started with.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Bootstrap {
    pub cluster: String,
    pub endpoint: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// `None`: by the machine's network interfaces.
    pub max_pods: Option<u32>,
    pub pods_per_core: Option<u32>,
    /// What the user set, by resource; the rest is the image's own.
    pub kube_reserved: BTreeMap<String, String>,
    pub system_reserved: BTreeMap<String, String>,
    /// By signal: `memory.available: 100Mi`, or a percentage.
    pub eviction_hard: BTreeMap<String, String>,
    /// Local disks hold the pods' files.
    pub local_disks: bool,
    /// The reserve for memory counts the pods that may run, not those that the interfaces have addresses for.
    pub reserves_by_max_pods: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
}

/// Why a machine does not join; each reads as its console would.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("user data is empty: nothing tells this machine which cluster to join")]
    NoUserData,
    #[error("user data is not UTF-8 text")]
    NotText,
    #[error("nodeadm: {0}")]
    Nodeadm(String),
    #[error("cloud-init: {0}")]
    BootstrapScript(String),
    #[error("early-boot-config: {0}")]
    Bottlerocket(String),
    #[error("kubelet: {0}")]
    Kubelet(String),
    #[error("images of family {0:?} do not join here: their bootstrap is not modelled")]
    Family(ImageFamily),
    #[error("kubelet: unable to register node with API server: dial {given}: no such host (the cluster's endpoint is {real})")]
    WrongEndpoint { given: String, real: String },
    #[error("kubelet: unable to register node with API server: Unauthorized (a token for the cluster {given:?}, which is not {real:?})")]
    WrongCluster { given: String, real: String },
    #[error("kubelet: unable to register node with API server: Unauthorized (the machine has no instance profile with a role)")]
    NoRole,
    #[error("kubelet: unable to register node with API server: Unauthorized (the cluster has no access entry for the role {0:?})")]
    UnknownRole(String),
}

/// Reads the machine's user data as its image would, and checks that the cluster lets it in.
pub fn boot(machine: &Machine, profile: &Profile) -> Result<Bootstrap, Refusal> {
    let bootstrap = read(machine.image_family, &machine.user_data)?;
    labels_are_ours_to_set(&bootstrap.labels)?;
    if let Some(cluster) = &profile.cluster {
        if bootstrap.endpoint.trim_end_matches('/') != cluster.endpoint.trim_end_matches('/') {
            return Err(Refusal::WrongEndpoint { given: bootstrap.endpoint, real: cluster.endpoint.clone() });
        }
        if bootstrap.cluster != cluster.name {
            return Err(Refusal::WrongCluster { given: bootstrap.cluster, real: cluster.name.clone() });
        }
    }
    match (&machine.role, &profile.roles) {
        (None, _) => Err(Refusal::NoRole),
        (Some(role), Some(known)) if !known.contains(role) => Err(Refusal::UnknownRole(role.clone())),
        _ => Ok(bootstrap),
    }
}

fn read(family: ImageFamily, user_data: &[u8]) -> Result<Bootstrap, Refusal> {
    let text = std::str::from_utf8(user_data).map_err(|_| Refusal::NotText)?;
    if text.trim().is_empty() {
        return Err(Refusal::NoUserData);
    }
    match family {
        ImageFamily::AmazonLinux2023 => nodeadm::read(text),
        ImageFamily::AmazonLinux2 => bootstrap_sh::read(text),
        ImageFamily::Bottlerocket => bottlerocket::read(text),
        ImageFamily::Windows => Err(Refusal::Family(family)),
        ImageFamily::Custom => nodeadm::read(text).or_else(|first| bootstrap_sh::read(text).map_err(|_| first)),
    }
}

/// A kubelet may not give itself any label below kubernetes.io and k8s.io. Source: kubernetes `cmd/kubelet/app/options/options.go`
/// (`ValidateKubeletFlags`), `k8s.io/kubelet/pkg/apis/well_known_labels.go`.
fn labels_are_ours_to_set(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    const OWN: [&str; 11] = [
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    ];
    let below = |namespace: &str, domain: &str| namespace == domain || namespace.ends_with(&format!(".{domain}"));
    let forbidden: Vec<&str> = labels
        .keys()
        .filter(|key| {
            let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
            let kubernetes = below(namespace, "kubernetes.io") || below(namespace, "k8s.io");
            let kubelet = below(namespace, "kubelet.kubernetes.io") || below(namespace, "node.kubernetes.io");
            kubernetes && !kubelet && !OWN.contains(&key.as_str())
        })
        .map(String::as_str)
        .collect();
    if forbidden.is_empty() {
        return Ok(());
    }
    Err(Refusal::Kubelet(format!("unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: {forbidden:?}")))
}
