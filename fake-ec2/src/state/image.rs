//! Images, and the public parameters that lead to them.
//!
//! No registry package has the ids of EKS-optimized images, so they are synthesised: ids depend on region and name alone, names,
//! owners and parameter paths follow the published forms (EKS user guide "Retrieve recommended AMI IDs"; Bottlerocket's
//! QUICKSTART-EKS; karpenter-provider-aws pkg/providers/amifamily). Two releases of each are there, so that pinning and drift can be seen.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::entropy::public_id;
use super::network::Tags;
use crate::kept::{Word, word};

/// A machine image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    pub id: String,
    pub name: String,
    pub description: String,
    /// `x86_64` or `arm64`.
    #[serde(deserialize_with = "word::one")]
    pub architecture: Word,
    /// `al2023`, `al2`, `bottlerocket`.
    #[serde(deserialize_with = "word::one")]
    pub family: Word,
    /// The account that made it.
    pub owner: String,
    #[serde(deserialize_with = "word::maybe")]
    pub owner_alias: Option<Word>,
    /// RFC 3339, as DescribeImages writes it.
    pub created: String,
    /// The same; `None` for one that nobody has deprecated.
    pub deprecated: Option<String>,
    /// From when on it can be launched.
    pub available: Option<jiff::Timestamp>,
    /// The instance that it was made from.
    pub source: Option<String>,
    #[serde(deserialize_with = "word::one")]
    pub root_device: Word,
    /// Device and size in GiB.
    pub devices: Vec<(String, i64)>,
    pub tags: Tags,
    /// Who may launch it beside its owner: accounts' numbers, or `all`.
    pub shared: BTreeSet<String>,
}

impl Image {
    /// Whether it is there for an account.
    pub fn serves(&self, account: &str) -> bool {
        self.owner == account || self.public() || self.shared.contains(account)
    }

    /// As other accounts see it: tags are each account's own.
    pub(crate) fn untagged(&self) -> Image {
        Image { tags: Tags::new(), ..self.clone() }
    }

    /// AWS's own are everybody's.
    pub fn public(&self) -> bool {
        self.owner_alias.is_some() || self.shared.contains("all")
    }
}

/// Kubernetes versions that EKS offers images for, with the newest patch release of each at the time of the releases below.
const KUBERNETES: [(&str, &str); 7] = [
    ("1.30", "1.30.14"),
    ("1.31", "1.31.13"),
    ("1.32", "1.32.9"),
    ("1.33", "1.33.5"),
    ("1.34", "1.34.1"),
    ("1.35", "1.35.2"),
    ("1.36", "1.36.0"),
];

/// A synthesised release: the newest comes last.
struct Release<'a> {
    day: &'a str,
    created: &'a str,
    deprecated: &'a str,
    bottlerocket: &'a str,
    bottlerocket_commit: &'a str,
}

const RELEASES: [Release<'static>; 2] = [
    Release {
        day: "20260904",
        created: "2026-09-04T18:21:33.000Z",
        deprecated: "2028-09-04T18:21:33.000Z",
        bottlerocket: "1.49.0",
        bottlerocket_commit: "a1b5c9d3",
    },
    Release {
        day: "20260918",
        created: "2026-09-18T17:43:09.000Z",
        deprecated: "2028-09-18T17:43:09.000Z",
        bottlerocket: "1.50.0",
        bottlerocket_commit: "4c2f8e71",
    },
];

const EKS_OWNER: &str = "602401143452";
const BOTTLEROCKET_OWNER: &str = "651937483462";
const AMAZON_LINUX_OWNER: &str = "137112412989";

/// What AWS publishes in a region: images by id, and public parameters by name.
pub fn published(region: &str) -> (BTreeMap<String, Image>, BTreeMap<String, String>) {
    let mut shelf = Shelf { region, images: BTreeMap::new(), parameters: BTreeMap::new() };
    for (at, release) in RELEASES.iter().enumerate() {
        shelf.add_release(release, at + 1 == RELEASES.len());
    }
    (shelf.images, shelf.parameters)
}

/// AWS publishes new images, which the public parameters recommend from now on.
pub(crate) fn release(region: &mut super::Region, now: jiff::Timestamp) {
    // More than one release a day would have one name.
    let serial = region.releases;
    region.releases += 1;
    let text = |form: &str, at: jiff::Timestamp| at.strftime(form).to_string();
    let day = if serial == 0 { text("%Y%m%d", now) } else { format!("{}{serial:02}", text("%Y%m%d", now)) };
    let later = now.checked_add(jiff::SignedDuration::from_hours(2 * 365 * 24)).unwrap_or(now);
    let (created, deprecated) = (super::super::services::input::stamp(now), super::super::services::input::stamp(later));
    let (bottlerocket, commit) = (format!("1.{}.0", 51 + serial), public_id("c", &format!("bottlerocket/{day}"))[2..10].to_owned());
    let release =
        Release { day: &day, created: &created, deprecated: &deprecated, bottlerocket: &bottlerocket, bottlerocket_commit: &commit };
    let name = region.name.clone();
    let mut shelf = Shelf { region: &name, images: BTreeMap::new(), parameters: BTreeMap::new() };
    shelf.add_release(&release, true);
    region.images.extend(shelf.images);
    region.public_parameters.extend(shelf.parameters);
}

struct Shelf<'a> {
    region: &'a str,
    images: BTreeMap<String, Image>,
    parameters: BTreeMap<String, String>,
}

impl Shelf<'_> {
    fn add_release(&mut self, release: &Release<'_>, newest: bool) {
        for (version, patch) in KUBERNETES {
            self.add_amazon_linux_2023(release, version, patch, newest);
            // EKS publishes Amazon Linux 2 up to Kubernetes 1.32.
            if matches!(version, "1.30" | "1.31" | "1.32") {
                self.add_amazon_linux_2(release, version, patch, newest);
            }
            self.add_bottlerocket(release, version, newest);
        }
        self.add_plain_amazon_linux(release, newest);
    }

    fn add(&mut self, release: &Release<'_>, name: String, description: String, kind: &Kind) -> String {
        let id = public_id("ami", &format!("{}/{name}", self.region));
        let image = Image {
            id: id.clone(),
            name,
            description,
            architecture: kind.architecture,
            family: kind.family,
            owner: kind.owner.to_owned(),
            owner_alias: Some("amazon"),
            created: release.created.to_owned(),
            deprecated: Some(release.deprecated.to_owned()),
            available: None,
            source: None,
            root_device: "/dev/xvda",
            devices: kind.devices.iter().map(|(device, size)| ((*device).to_owned(), *size)).collect(),
            tags: Tags::new(),
            shared: BTreeSet::new(),
        };
        self.images.insert(id.clone(), image);
        id
    }

    /// `…/<named>/image_id` and, for the newest, `…/recommended[/…]`.
    fn eks_parameters(&mut self, stem: &str, id: &str, name: &str, release_version: &str, newest: bool) {
        let mut leaves = vec![name];
        if newest {
            leaves.push("recommended");
        }
        for leaf in leaves {
            let path = format!("{stem}/{leaf}");
            let whole = serde_json::json!({"schema_version": "2", "image_id": id, "image_name": name, "release_version": release_version});
            self.parameters.insert(format!("{path}/image_id"), id.to_owned());
            self.parameters.insert(format!("{path}/image_name"), name.to_owned());
            self.parameters.insert(format!("{path}/release_version"), release_version.to_owned());
            self.parameters.insert(path, whole.to_string());
        }
    }

    fn add_amazon_linux_2023(&mut self, release: &Release<'_>, version: &str, patch: &str, newest: bool) {
        let kinds = [("x86_64", "standard"), ("x86_64", "nvidia"), ("x86_64", "neuron"), ("arm64", "standard"), ("arm64", "nvidia")];
        for (architecture, variant) in kinds {
            let name = format!("amazon-eks-node-al2023-{architecture}-{variant}-{version}-v{}", release.day);
            let description = format!(
                "EKS-optimized Kubernetes node based on Amazon Linux 2023, (k8s: {patch}, containerd: 2.1.*) ({variant}, {architecture})"
            );
            let kind = Kind { architecture, family: "al2023", owner: EKS_OWNER, devices: &[("/dev/xvda", 20)] };
            let id = self.add(release, name.clone(), description, &kind);
            let stem = format!("/aws/service/eks/optimized-ami/{version}/amazon-linux-2023/{architecture}/{variant}");
            self.eks_parameters(&stem, &id, &name, &format!("{patch}-{}", release.day), newest);
        }
    }

    fn add_amazon_linux_2(&mut self, release: &Release<'_>, version: &str, patch: &str, newest: bool) {
        let kinds = [
            ("amazon-linux-2", "amazon-eks-node", "x86_64"),
            ("amazon-linux-2-arm64", "amazon-eks-arm64-node", "arm64"),
            ("amazon-linux-2-gpu", "amazon-eks-gpu-node", "x86_64"),
        ];
        for (tree, stem, architecture) in kinds {
            let name = format!("{stem}-{version}-v{}", release.day);
            let description = format!("EKS Kubernetes Worker AMI with AmazonLinux2 image, (k8s: {patch}, containerd: 1.7.*)");
            let kind = Kind { architecture, family: "al2", owner: EKS_OWNER, devices: &[("/dev/xvda", 20)] };
            let id = self.add(release, name.clone(), description, &kind);
            let stem = format!("/aws/service/eks/optimized-ami/{version}/{tree}");
            self.eks_parameters(&stem, &id, &name, &format!("{patch}-{}", release.day), newest);
        }
    }

    fn add_bottlerocket(&mut self, release: &Release<'_>, version: &str, newest: bool) {
        for (variant, architecture) in [("", "x86_64"), ("", "arm64"), ("-nvidia", "x86_64"), ("-nvidia", "arm64")] {
            let Release { bottlerocket: build, bottlerocket_commit: commit, .. } = release;
            let name = format!("bottlerocket-aws-k8s-{version}{variant}-{architecture}-v{build}-{commit}");
            let devices = &[("/dev/xvda", 2), ("/dev/xvdb", 20)];
            let kind = Kind { architecture, family: "bottlerocket", owner: BOTTLEROCKET_OWNER, devices };
            let id = self.add(release, name.clone(), name, &kind);
            let stem = format!("/aws/service/bottlerocket/aws-k8s-{version}{variant}/{architecture}");
            let full = format!("{build}-{commit}");
            let mut leaves = vec![(*build).to_owned(), full.clone()];
            if newest {
                leaves.push("latest".to_owned());
            }
            for leaf in leaves {
                self.parameters.insert(format!("{stem}/{leaf}/image_id"), id.clone());
                self.parameters.insert(format!("{stem}/{leaf}/image_version"), full.clone());
            }
        }
    }

    /// Amazon Linux without Kubernetes, under the parameters that people paste into RunInstances.
    fn add_plain_amazon_linux(&mut self, release: &Release<'_>, newest: bool) {
        for architecture in ["x86_64", "arm64"] {
            let name = format!("al2023-ami-2023.9.{}.0-kernel-6.1-{architecture}", release.day);
            let description = format!("Amazon Linux 2023 AMI 2023.9.{}.0 {architecture} HVM kernel-6.1", release.day);
            let kind = Kind { architecture, family: "al2023", owner: AMAZON_LINUX_OWNER, devices: &[("/dev/xvda", 8)] };
            let id = self.add(release, name, description, &kind);
            if newest {
                for kernel in ["kernel-default", "kernel-6.1"] {
                    let path = format!("/aws/service/ami-amazon-linux-latest/al2023-ami-{kernel}-{architecture}");
                    self.parameters.insert(path, id.clone());
                }
            }
        }
    }
}

struct Kind<'a> {
    architecture: &'static str,
    family: &'static str,
    owner: &'static str,
    devices: &'a [(&'static str, i64)],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_lead_to_images_and_differ_between_regions() {
        let (images, parameters) = published("us-west-2");
        for (name, id) in parameters.iter().filter(|(name, _)| name.ends_with("/image_id")) {
            assert!(images.contains_key(id), "{name} = {id}");
        }
        let recommended = &parameters["/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id"];
        assert_eq!(images[recommended].name, "amazon-eks-node-al2023-x86_64-standard-1.36-v20260918");
        assert!(!published("us-east-1").0.contains_key(recommended));
        assert!(!parameters.keys().any(|name| name.contains("/1.33/amazon-linux-2/")), "no Amazon Linux 2 from 1.33 on");
        assert!(parameters.contains_key("/aws/service/bottlerocket/aws-k8s-1.33-nvidia/arm64/latest/image_id"));
    }

    #[test]
    fn ids_are_unique() {
        let names: std::collections::BTreeSet<_> = published("us-west-2").0.into_values().map(|image| image.name).collect();
        assert_eq!(names.len(), published("us-west-2").0.len());
    }
}
