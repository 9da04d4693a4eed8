//! Tries a NodeClass with real calls that launch nothing. Source: `A/pkg/controllers/nodeclass/validation.go`.

use super::AwsCloud;
use super::launch::{FALLBACK_TYPES, LaunchTemplate, Trouble};
use crate::errors;
use crate::launch::claim::tags;
use crate::launch::fleet::{self, Order};
use crate::port::{Cause, CloudError, Validation};
use crate::providers::family::Family;
use crate::providers::{images, tag_list};
use crate::telling::{Report, tell};
use crate::wire::client::{Call, lock};
use api::{EC2NodeClass, NodeClaim};
use planner::InstanceType;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vocabulary::labels::instance;
use vocabulary::{CapacityType, Requirements};

/// One of the three checks.
#[derive(Clone, Copy)]
enum Check {
    CreateLaunchTemplate,
    CreateFleet,
    RunInstances,
}

impl Check {
    fn unauthorized(self) -> &'static str {
        match self {
            Check::CreateLaunchTemplate => "unauthorized to call ec2:CreateLaunchTemplate",
            Check::CreateFleet => "unauthorized to call ec2:CreateFleet",
            Check::RunInstances => "unauthorized to call ec2:RunInstances",
        }
    }

    fn doing(self) -> String {
        let operation = match self {
            Check::CreateLaunchTemplate => "CreateLaunchTemplate",
            Check::CreateFleet => "CreateFleet",
            Check::RunInstances => "RunInstances",
        };
        format!("validating ec2:{operation} authorization")
    }

    fn failed(self, error: &CloudError) -> Validation {
        let (reason, what) = match self {
            Check::CreateLaunchTemplate if error.is_user_data_too_large() => {
                ("UserDataSizeLimitExceeded", "ec2:CreateLaunchTemplate rejected the rendered user data as too large")
            }
            Check::CreateLaunchTemplate => {
                ("CreateLaunchTemplateAuthCheckFailed", "Controller isn't authorized to call ec2:CreateLaunchTemplate")
            }
            Check::CreateFleet => ("CreateFleetAuthCheckFailed", "Controller isn't authorized to call ec2:CreateFleet"),
            Check::RunInstances => ("RunInstancesAuthCheckFailed", "Controller isn't authorized to call ec2:RunInstances"),
        };
        let (_, message) = errors::reason(&format!("{}: {}", error.code, error.message));
        Validation::Failed { reason: reason.to_owned(), message: format!("{what}: {message}") }
    }

    /// What an error says: nothing, a lasting answer, or that one must ask again.
    fn judge(self, result: Result<(), CloudError>) -> Result<(), Validation> {
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.is_dry_run() => Ok(()),
            Err(error) if error.is_unauthorized() => {
                tell(Report::failure(self.unauthorized(), &error));
                Err(self.failed(&error))
            }
            Err(error) if matches!(self, Check::CreateLaunchTemplate) && error.is_user_data_too_large() => Err(self.failed(&error)),
            Err(error) if error.is_rate_limited() || error.is_server_fault() || error.is_instance_profile_not_found() => {
                Err(Validation::Again(None))
            }
            Err(error) => Err(Validation::Again(Some(Cause::of(&self.doing(), &error)))),
        }
    }
}

impl AwsCloud {
    /// `pools` are the requirements, labels included, of the NodePools that use the class; they choose the type that is tried.
    pub(super) async fn validate_class(&self, class: &EC2NodeClass, pools: &[Requirements]) -> Validation {
        if Family::of(class) == Family::Al2023
            && self.cluster().cidr.is_none()
            && let Err(error) = self.describe_cluster().await
        {
            if error.is_server_fault() {
                return Validation::Again(None);
            }
            return no_cidr(Cause::of("failed to detect the cluster CIDR", &error));
        }
        if Family::of(class) == Family::Al2023 && self.cluster().cidr.is_none() {
            return no_cidr("failed to detect the cluster CIDR, no CIDR found in DescribeCluster response".into());
        }
        let tags = match tags(class, "", &self.settings.cluster_name) {
            Ok(tags) => tags,
            Err(message) => return Validation::Failed { reason: "TagValidationFailed".to_owned(), message },
        };
        let key = cache_key(class, &tags);
        if let Some(held) = lock(&self.validations).get(&key, self.clock.now()) {
            return held.clone();
        }
        let outcome = if self.settings.disable_dry_run { Ok(()) } else { self.try_class(class, pools, &tags).await };
        let outcome = outcome.err().unwrap_or(Validation::Passed);
        if matches!(outcome, Validation::Passed | Validation::Failed { .. }) {
            let mut validations = lock(&self.validations);
            validations.sweep(self.clock.now());
            validations.set(key, outcome.clone(), self.clock.now());
        }
        outcome
    }

    async fn try_class(&self, class: &EC2NodeClass, pools: &[Requirements], tags: &BTreeMap<String, String>) -> Result<(), Validation> {
        let template = self.try_template(class, pools, tags).await?;
        self.try_fleet(class, &template, tags).await?;
        self.try_instances(class, &template, tags).await
    }

    /// The launch template is made for real: EC2 has no dry run that would read it.
    async fn try_template(
        &self,
        class: &EC2NodeClass,
        pools: &[Requirements],
        tags: &BTreeMap<String, String>,
    ) -> Result<LaunchTemplate, Validation> {
        let own = |words: String| Validation::Again(Some(words.into()));
        let types = self.types_to_try(class, pools).map_err(|error| own(format!("generating options, {error}")))?;
        let tried = types.get(..1).ok_or_else(|| own("no instance types satisfy AMI requirements".to_owned()))?;
        let dedicated = pools.iter().any(|pool| pool.get(instance::TENANCY).is_some_and(|tenancy| tenancy.has("dedicated")));
        let tenancy = if dedicated { "dedicated" } else { "default" };
        let claim = NodeClaim::new("", Default::default());
        let group = self.placement_groups.for_launch(&self.client, class, self.clock.now()).await;
        match self.ensure_templates(class, &claim, tried, CapacityType::OnDemand, tenancy, tags, group.as_ref()).await {
            Ok(templates) => templates.into_iter().next().ok_or_else(|| own("no compatible launch templates created".to_owned())),
            Err(Trouble::Template(error)) => {
                Err(own(format!("{}, creating launch template, {error}", Check::CreateLaunchTemplate.doing())))
            }
            Err(Trouble::Call(error)) => Err(Check::CreateLaunchTemplate.judge(Err(error)).err().unwrap_or(Validation::Passed)),
        }
    }

    async fn try_fleet(&self, class: &EC2NodeClass, template: &LaunchTemplate, tags: &BTreeMap<String, String>) -> Result<(), Validation> {
        let subnets = class.status.as_ref().map_or(&[][..], |status| &status.subnets);
        let pools = template.types.iter().flat_map(|kind| subnets.iter().map(move |subnet| (kind, subnet)));
        let overrides: Vec<Value> = pools.map(|(kind, subnet)| json!({"InstanceType": &*kind.name, "SubnetId": subnet.id})).collect();
        let config = json!({"LaunchTemplateSpecification": fleet::specification(&template.name), "Overrides": overrides});
        let order = Order { capacity_type: CapacityType::OnDemand, tags, context: None, overlay: false, reserved: None };
        let mut request = fleet::request(&order, vec![config]);
        request["DryRun"] = json!(true);
        request["ClientToken"] = json!(self.client.id());
        Check::CreateFleet.judge(self.client.call(&Call::ec2("CreateFleet", request).once()).await.map(drop))
    }

    /// Subnet by subnet until one passes; else the first one's error counts.
    async fn try_instances(
        &self,
        class: &EC2NodeClass,
        template: &LaunchTemplate,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), Validation> {
        let mut first = Ok(());
        let subnets = class.status.as_ref().map_or(&[][..], |status| &status.subnets);
        for (index, subnet) in subnets.iter().enumerate() {
            let mut request = run_request(class, template, &subnet.id, tags);
            request["ClientToken"] = json!(self.client.id());
            match self.client.call(&Call::ec2("RunInstances", request).once()).await {
                Err(error) if !error.is_dry_run() => {
                    if index == 0 {
                        first = Err(error);
                    }
                }
                _ => return Ok(()),
            }
        }
        Check::RunInstances.judge(first)
    }

    /// Types of the pools, else `m5.large` and `m6g.large`, else any; those with an image for plain machines first.
    fn types_to_try(&self, class: &EC2NodeClass, pools: &[Requirements]) -> Result<Vec<InstanceType>, String> {
        let all = self.types(class, self.clock.now())?;
        let group = self.placement_groups.known(class, self.clock.now());
        let carried = self.catalogue.compatible(class, group.as_ref());
        let all: Vec<&InstanceType> = all.iter().filter(|kind| carried.contains(&*kind.name)).collect();
        let mut types: Vec<&InstanceType> = Vec::new();
        for pool in pools {
            let fits = |kind: &&InstanceType| kind.requirements.intersects(pool) && types.iter().all(|held| held.name != kind.name);
            let found: Vec<&InstanceType> = all.iter().copied().filter(fits).collect();
            types.extend(found);
        }
        if types.is_empty() || Family::of(class).is_windows() {
            types = all.iter().copied().filter(|kind| FALLBACK_TYPES.iter().any(|(name, _)| *kind.name == **name)).collect();
        }
        if types.is_empty() {
            types = all;
        }
        let types: Vec<InstanceType> = types.into_iter().cloned().collect();
        let amis = class.status.as_ref().map_or(&[][..], |status| &status.amis);
        let mapped = images::by_image(&types, amis);
        let plain = |id: &str| amis.iter().any(|ami| ami.id == id && images::is_standard(ami));
        let (standard, special): (Vec<_>, Vec<_>) = mapped.into_iter().partition(|(id, _)| plain(id));
        let chosen = if standard.is_empty() { special } else { standard };
        Ok(chosen.into_iter().flat_map(|(_, types)| types.into_iter().cloned()).collect())
    }
}

fn run_request(class: &EC2NodeClass, template: &LaunchTemplate, subnet: &str, tags: &BTreeMap<String, String>) -> Value {
    let given = &class.spec.network_interfaces;
    let interfaces: Value = if given.is_empty() {
        json!([{"DeviceIndex": 0, "SubnetId": subnet}])
    } else {
        let interface = |interface: &api::ec2nodeclass::NetworkInterface| {
            json!({
                "NetworkCardIndex": interface.network_card_index,
                "DeviceIndex": interface.device_index,
                "InterfaceType": interface.interface_type,
                "SubnetId": subnet,
            })
        };
        given.iter().map(interface).collect()
    };
    let tags = tag_list(tags);
    let tagged: Vec<Value> =
        ["instance", "volume", "network-interface"].iter().map(|kind| json!({"ResourceType": kind, "Tags": tags})).collect();
    json!({
        "DryRun": true,
        "MaxCount": 1,
        "MinCount": 1,
        "LaunchTemplate": fleet::specification(&template.name),
        "InstanceType": template.types.first().map_or("", |kind| &*kind.name),
        "NetworkInterfaces": interfaces,
        "TagSpecifications": tagged,
    })
}

fn no_cidr(cause: Cause) -> Validation {
    let message = "Failed to detect the cluster CIDR".to_owned();
    Validation::Unresolved { reason: "ClusterCIDRResolutionFailed".to_owned(), message, cause }
}

fn cache_key(class: &EC2NodeClass, tags: &BTreeMap<String, String>) -> String {
    let status = class.status.as_ref();
    json!([
        class.metadata.name,
        status.map(|status| &status.subnets),
        status.map(|status| &status.security_groups),
        status.map(|status| &status.amis),
        status.map(|status| &status.instance_profile),
        class.spec,
        class.metadata.annotations,
        tags,
    ])
    .to_string()
}
