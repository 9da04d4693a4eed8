//! AMIs of a NodeClass: aliases through SSM, everything through DescribeImages, the newest per requirement.
//!
//! Source: `A/pkg/providers/amifamily/{ami,types,al2,al2023,bottlerocket,windows}.go`, `A/pkg/providers/ssm/provider.go`,
//! `A/pkg/controllers/nodeclass/ami.go`.

use super::family::{Alias, Family, alias};
use super::subnets::class_key;
use super::type_info::kube_architecture;
use super::{filter, tag_filters};
use crate::cache::Cache;
use crate::port::CloudError;
use crate::telling::{Report, tell};
use crate::wire::client::{Call, Client, lock};
use crate::wire::{Element, Service};
use api::EC2NodeClass;
use api::ec2nodeclass::Ami;
use api::nodepool::SelectorRequirement;
use jiff::{SignedDuration, Timestamp};
use planner::InstanceType;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use vocabulary::labels::{self, instance};
use vocabulary::{Operator, Requirement, Requirements};

/// `SSMCacheTTL`, and that of parameters that the class itself names.
const PARAMETER: SignedDuration = SignedDuration::from_hours(24);
const CUSTOM_PARAMETER: SignedDuration = SignedDuration::from_mins(5);

/// What an image is for, which EC2 itself does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Standard,
    Nvidia,
    Neuron,
    Windows(&'static str),
}

/// One DescribeImages call.
#[derive(Debug, Default)]
struct Query {
    filters: Vec<Value>,
    owners: Vec<String>,
    known: BTreeMap<String, Vec<Variant>>,
}

struct Candidate {
    id: String,
    name: String,
    created: Option<Timestamp>,
    deprecated: bool,
    requirements: Requirements,
}

pub struct Images {
    found: Mutex<Cache<String, Vec<Ami>>>,
    parameters: Mutex<Cache<String, String>>,
    custom_parameters: Mutex<Cache<String, String>>,
}

impl Images {
    /// `fresh` is `AMI_REFRESH_INTERVAL`.
    pub fn new(fresh: SignedDuration) -> Self {
        Images {
            found: Mutex::new(Cache::new(fresh)),
            parameters: Mutex::new(Cache::new(PARAMETER)),
            custom_parameters: Mutex::new(Cache::new(CUSTOM_PARAMETER)),
        }
    }
}

impl Images {
    /// Newest first, then by id. The code `UnsupportedAlias` says that the alias does not exist for this Kubernetes.
    pub async fn resolve(&self, client: &Client, class: &EC2NodeClass, kubernetes: &str, now: Timestamp) -> Result<Vec<Ami>, CloudError> {
        let queries = self.queries(client, class, kubernetes, now).await?;
        let key = class_key(class);
        if let Some(found) = lock(&self.found).get(&key, now) {
            return Ok(found.clone());
        }
        let mut best: Vec<Candidate> = Vec::new();
        for query in queries {
            for page in client.ec2_pages("DescribeImages", query.parameters()).await? {
                for item in page.list("imagesSet") {
                    for candidate in query.candidates(item, now) {
                        take_newer(&mut best, candidate);
                    }
                }
            }
        }
        best.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        let amis: Vec<Ami> = best.into_iter().map(Candidate::status).collect();
        lock(&self.found).set(key, amis.clone(), now);
        Ok(amis)
    }

    /// Drops the parameters whose image has gone out of date, so that the next resolution asks again
    /// (`A/pkg/controllers/providers/ssm/invalidation`).
    pub fn forget_deprecated(&self, amis: &[Ami], now: Timestamp) {
        let mut parameters = lock(&self.parameters);
        let old: BTreeSet<&str> = amis.iter().filter(|ami| ami.deprecated).map(|ami| ami.id.as_str()).collect();
        let stale: Vec<String> =
            parameters.live(now).filter(|(_, image)| old.contains(image.as_str())).map(|(name, _)| name.clone()).collect();
        stale.iter().for_each(|name| {
            parameters.remove(name);
        });
    }

    async fn queries(&self, client: &Client, class: &EC2NodeClass, kubernetes: &str, now: Timestamp) -> Result<Vec<Query>, CloudError> {
        if let Some(alias) = alias(class) {
            return Ok(vec![self.alias_query(client, &alias, kubernetes, now).await?]);
        }
        let (mut queries, mut ids) = (Vec::new(), Vec::new());
        for term in &class.spec.ami_selector_terms {
            let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            if let Some(id) = some(&term.id) {
                ids.push(id);
            } else if let Some(name) = some(&term.ssm_parameter) {
                match self.parameter(client, &name, &self.custom_parameters, now).await {
                    Ok(image) if image.starts_with("ami-") => ids.push(image),
                    Ok(image) => {
                        let keys = [("ssmParameter", name.into()), ("id", image.into())];
                        tell(Report::error("parameter value is an invalid AMI ID", keys));
                    }
                    Err(error) if error.is_not_found() => {
                        let keys = [("ssmParameter", name.into()), ("error", error.to_string().into())];
                        tell(Report::error("parameter not found", keys));
                    }
                    Err(error) => return Err(error),
                }
            } else {
                let mut query = Query { owners: some(&term.owner).into_iter().collect(), ..Query::default() };
                if let Some(name) = some(&term.name) {
                    if query.owners.is_empty() {
                        // Names are public: images of strangers count only when they are asked for.
                        query.owners = vec!["self".to_owned(), "amazon".to_owned()];
                    }
                    query.filters.push(filter("name", &[name]));
                }
                query.filters.extend(tag_filters(&term.tags));
                queries.push(query);
            }
        }
        if !ids.is_empty() {
            queries.push(Query { filters: vec![filter("image-id", &ids)], ..Query::default() });
        }
        Ok(queries)
    }

    async fn alias_query(&self, client: &Client, alias: &Alias, kubernetes: &str, now: Timestamp) -> Result<Query, CloudError> {
        let minor: Option<u32> = kubernetes.split('.').nth(1).and_then(|minor| minor.parse().ok());
        let unsupported = |message: String| Err(own_error("UnsupportedAlias", message));
        match (alias.family, minor) {
            (Family::Al2, Some(33..)) => {
                return unsupported(
                    "AL2 aliases are no longer supported on EKS 1.33+ (see https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions-standard.html#kubernetes-1-33)".to_owned(),
                );
            }
            (Family::Windows2025, Some(..35)) => {
                return unsupported(format!("Windows Server 2025 requires EKS version 1.35 or higher, current version: {kubernetes}"));
            }
            _ => {}
        }
        let mut known: BTreeMap<String, Vec<Variant>> = BTreeMap::new();
        for (name, variants) in parameters(alias, kubernetes) {
            // A family need not have every variant; those without a parameter are passed over, whatever the error.
            if let Ok(image) = self.parameter(client, &name, &self.parameters, now).await {
                known.insert(image, variants);
            }
        }
        if known.is_empty() {
            return Err(own_error(
                "NoImages",
                format!("failed to discover any AMIs for alias {:?}@{}", alias.family, alias.version).to_lowercase(),
            ));
        }
        Ok(Query { filters: vec![filter("image-id", &known.keys().collect::<Vec<_>>())], owners: Vec::new(), known })
    }

    async fn parameter(
        &self,
        client: &Client,
        name: &str,
        cache: &Mutex<Cache<String, String>>,
        now: Timestamp,
    ) -> Result<String, CloudError> {
        if let Some(value) = lock(cache).get(name, now) {
            return Ok(value.clone());
        }
        let reply = client.call(&Call::new(Service::Ssm, "GetParameter", json!({"Name": name}))).await?.json();
        let value = reply.pointer("/Parameter/Value").and_then(Value::as_str).unwrap_or_default().to_owned();
        tell(Report::info("discovered ssm parameter", [("parameter", name.into()), ("value", value.as_str().into())]));
        lock(cache).set(name.to_owned(), value.clone(), now);
        Ok(value)
    }
}

impl Query {
    fn parameters(&self) -> Value {
        let mut filters = self.filters.clone();
        filters.push(filter("state", &["available"]));
        let mut parameters = json!({"Filters": filters});
        if !self.owners.is_empty() {
            parameters["Owners"] = json!(self.owners);
        }
        parameters["IncludeDeprecated"] = json!(true);
        parameters["MaxResults"] = json!(1000);
        parameters
    }

    /// An image, once for each set of requirements that it serves.
    fn candidates(&self, item: &Element, now: Timestamp) -> Vec<Candidate> {
        let (Some(id), Some(architecture)) = (item.string("imageId"), item.text_at(&["architecture"]).and_then(kube_architecture)) else {
            return Vec::new();
        };
        let deprecated = item.number::<Timestamp>(&["deprecationTime"]).is_some_and(|at| at.as_second() <= now.as_second());
        let with_architecture = |mut requirements: Requirements| {
            requirements.add(Requirement::is_in(labels::ARCH, architecture));
            Candidate {
                id: id.clone(),
                name: item.string("name").unwrap_or_default(),
                created: item.number(&["creationDate"]),
                deprecated,
                requirements,
            }
        };
        match self.known.get(&id) {
            Some(variants) => variants.iter().map(|variant| with_architecture(variant.requirements())).collect(),
            None => vec![with_architecture(Requirements::new())],
        }
    }
}

impl Variant {
    fn requirements(self) -> Requirements {
        let one = |key, operator| Requirement::new(key, operator, [""; 0]);
        match self {
            Variant::Standard => {
                [one(instance::ACCELERATOR_COUNT, Operator::DoesNotExist), one(instance::GPU_COUNT, Operator::DoesNotExist)]
                    .into_iter()
                    .collect()
            }
            Variant::Nvidia => [one(instance::GPU_COUNT, Operator::Exists)].into_iter().collect(),
            Variant::Neuron => [one(instance::ACCELERATOR_COUNT, Operator::Exists)].into_iter().collect(),
            Variant::Windows(build) => {
                [Requirement::is_in(labels::OS, "windows"), Requirement::is_in(labels::WINDOWS_BUILD, build)].into_iter().collect()
            }
        }
    }
}

impl Candidate {
    /// Better first: not deprecated, newer, greater name (`compareAMI`).
    fn order(&self, other: &Candidate) -> Ordering {
        let second = |at: &Candidate| at.created.map(Timestamp::as_second);
        self.deprecated.cmp(&other.deprecated).then_with(|| second(other).cmp(&second(self))).then_with(|| other.name.cmp(&self.name))
    }

    fn status(self) -> Ami {
        let mut requirements: Vec<SelectorRequirement> = self.requirements.iter().map(selector).collect();
        requirements.sort_by(|a, b| a.key.len().cmp(&b.key.len()).then_with(|| a.key.cmp(&b.key)));
        Ami { id: self.id, deprecated: self.deprecated, name: self.name, requirements }
    }
}

fn take_newer(best: &mut Vec<Candidate>, candidate: Candidate) {
    match best.iter_mut().find(|held| held.requirements == candidate.requirements) {
        Some(held) if held.order(&candidate) == Ordering::Greater => *held = candidate,
        Some(_) => {}
        None => best.push(candidate),
    }
}

fn selector(requirement: &Requirement) -> SelectorRequirement {
    SelectorRequirement {
        key: requirement.key.to_string(),
        operator: format!("{:?}", requirement.operator()),
        values: requirement.values.iter().map(|value| value.to_string()).collect(),
        min_values: None,
    }
}

/// SSM parameters of an alias, with what each image is for.
fn parameters(alias: &Alias, kubernetes: &str) -> Vec<(String, Vec<Variant>)> {
    use Variant::{Neuron, Nvidia, Standard, Windows};
    let latest = alias.version == "latest";
    let version = &alias.version;
    match alias.family {
        Family::Al2 => [("", "node", vec![Standard]), ("-arm64", "arm64-node", vec![Standard]), ("-gpu", "gpu-node", vec![Neuron, Nvidia])]
            .into_iter()
            .map(|(suffix, name, variants)| {
                let image = if latest { "recommended".to_owned() } else { format!("amazon-eks-{name}-{kubernetes}-{version}") };
                (format!("/aws/service/eks/optimized-ami/{kubernetes}/amazon-linux-2{suffix}/{image}/image_id"), variants)
            })
            .collect(),
        Family::Al2023 => [
            ("x86_64", "standard", Standard),
            ("x86_64", "nvidia", Nvidia),
            ("x86_64", "neuron", Neuron),
            ("arm64", "standard", Standard),
            ("arm64", "nvidia", Nvidia),
        ]
        .into_iter()
        .map(|(arch, name, variant)| {
            let image =
                if latest { "recommended".to_owned() } else { format!("amazon-eks-node-al2023-{arch}-{name}-{kubernetes}-{version}") };
            (format!("/aws/service/eks/optimized-ami/{kubernetes}/amazon-linux-2023/{arch}/{name}/{image}/image_id"), vec![variant])
        })
        .collect(),
        Family::Bottlerocket => [
            ("", "x86_64", vec![Standard, Neuron]),
            ("", "arm64", vec![Standard]),
            ("-nvidia", "x86_64", vec![Nvidia]),
            ("-nvidia", "arm64", vec![Nvidia]),
        ]
        .into_iter()
        .map(|(suffix, arch, variants)| {
            let version = version.trim_start_matches('v');
            (format!("/aws/service/bottlerocket/aws-k8s-{kubernetes}{suffix}/{arch}/{version}/image_id"), variants)
        })
        .collect(),
        Family::Windows2019 | Family::Windows2022 | Family::Windows2025 => {
            let (year, build) = (alias.family.windows_year().unwrap_or_default(), alias.family.windows_build().unwrap_or_default());
            let name = format!("/aws/service/ami-windows-latest/Windows_Server-{year}-English-Core-EKS_Optimized-{kubernetes}/image_id");
            vec![(name, vec![Windows(build)])]
        }
        Family::Custom => Vec::new(),
    }
}

/// A selector requirement as the algebra's.
pub fn requirement(selector: &SelectorRequirement) -> Option<Requirement> {
    let mut made =
        Requirement::new(selector.key.as_str(), Operator::parse(&selector.operator)?, selector.values.iter().map(String::as_str));
    made.min_values = selector.min_values;
    Some(made)
}

/// Which image each type gets: the first of the class's that suits it. Types without one are left out. In order of images.
pub fn by_image<'a>(types: &'a [InstanceType], amis: &[Ami]) -> Vec<(String, Vec<&'a InstanceType>)> {
    let wanted: Vec<(String, Requirements)> =
        amis.iter().map(|ami| (ami.id.clone(), ami.requirements.iter().filter_map(requirement).collect())).collect();
    let mut images: Vec<(String, Vec<&InstanceType>)> = Vec::new();
    for (id, _) in &wanted {
        if images.iter().all(|(held, _)| held != id) {
            images.push((id.clone(), Vec::new()));
        }
    }
    for kind in types {
        let suits = wanted.iter().find(|(_, wanted)| kind.requirements.is_compatible(wanted, |_| false));
        if let Some((id, _)) = suits
            && let Some((_, list)) = images.iter_mut().find(|(held, _)| held == id)
        {
            list.push(kind);
        }
    }
    images.retain(|(_, types)| !types.is_empty());
    images
}

/// Whether an image is one for plain machines.
pub fn is_standard(ami: &Ami) -> bool {
    let requirements: Requirements = ami.requirements.iter().filter_map(requirement).collect();
    requirements.is_compatible(&Variant::Standard.requirements(), |_| false)
}

fn own_error(code: &str, message: String) -> CloudError {
    CloudError { operation: "ssm:GetParameter".to_owned(), code: code.to_owned(), message, status: 0, request_id: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Family::Al2023, "latest", "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id")]
    #[case(
        Family::Al2023,
        "v20261101",
        "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/amazon-eks-node-al2023-x86_64-standard-1.36-v20261101/image_id"
    )]
    #[case(Family::Al2, "latest", "/aws/service/eks/optimized-ami/1.36/amazon-linux-2/recommended/image_id")]
    #[case(Family::Bottlerocket, "v1.46.0", "/aws/service/bottlerocket/aws-k8s-1.36/x86_64/1.46.0/image_id")]
    #[case(Family::Windows2022, "latest", "/aws/service/ami-windows-latest/Windows_Server-2022-English-Core-EKS_Optimized-1.36/image_id")]
    fn aliases_name_parameters(#[case] family: Family, #[case] version: &str, #[case] first: &str) {
        assert_eq!(parameters(&Alias { family, version: version.to_owned() }, "1.36")[0].0, first);
    }

    #[test]
    fn the_newest_image_that_is_not_deprecated_wins() {
        let candidate = |id: &str, day: &str, deprecated| Candidate {
            id: id.to_owned(),
            name: id.to_owned(),
            created: format!("{day}T00:00:00Z").parse().ok(),
            deprecated,
            requirements: Requirements::new(),
        };
        let mut best = Vec::new();
        for next in [candidate("a", "2026-01-02", false), candidate("b", "2026-01-01", false), candidate("c", "2026-01-03", true)] {
            take_newer(&mut best, next);
        }
        take_newer(&mut best, candidate("d", "2026-01-02", false));
        assert_eq!(best.iter().map(|held| held.id.as_str()).collect::<Vec<_>>(), ["d"]);
    }
}
