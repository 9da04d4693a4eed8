//! The adapter against an account in the process, under virtual time.
//!
//! Map: [`account`] answers; the other modules are tests by area.

mod account;
mod goldens;
mod lab;
mod launches;
mod placement;
mod resolution;
mod signed;
mod sockets;
mod wire;

use crate::aws::AwsCloud;
use crate::port::{Cloud, LaunchRequest};
use crate::settings::Settings;
use account::Account;
use ambient::{Clock, Entropy};
use api::condition::Condition;
use api::ec2nodeclass::{AmiSelectorTerm, EC2NodeClassSpec, EC2NodeClassStatus, SecurityGroupSelectorTerm, SubnetSelectorTerm};
use api::nodepool::SelectorRequirement;
use api::{EC2NodeClass, NodeClaim};
use std::sync::Arc;
use vocabulary::labels;

/// A cloud and the account behind it, 2026-11-20T17:00:00Z.
fn cloud(account: &Arc<Account>) -> AwsCloud {
    let settings = Settings {
        cluster_dns_ip: Some("10.100.0.10".parse().unwrap()),
        interruption_queue: Some("interruptions".to_owned()),
        ..Settings::new("workshop")
    };
    let clock = Clock::virtual_from("2026-11-20T17:00:00Z".parse().unwrap());
    AwsCloud::simulated(settings, "us-west-2", account.http(), clock, &Entropy::from_seed(7))
}

fn tags(value: &str) -> std::collections::BTreeMap<String, String> {
    [("karpenter.sh/discovery".to_owned(), value.to_owned())].into()
}

fn class() -> EC2NodeClass {
    let spec = EC2NodeClassSpec {
        role: Some("KarpenterNodeRole".to_owned()),
        ami_selector_terms: vec![AmiSelectorTerm { alias: Some("al2023@latest".to_owned()), ..AmiSelectorTerm::default() }],
        subnet_selector_terms: vec![SubnetSelectorTerm { tags: tags("workshop"), id: None }],
        security_group_selector_terms: vec![SecurityGroupSelectorTerm { tags: tags("*"), ..SecurityGroupSelectorTerm::default() }],
        ..EC2NodeClassSpec::default()
    };
    let mut class = EC2NodeClass::new("default", spec);
    class.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
    class.metadata.generation = Some(1);
    class
}

/// Everything up to a class that is ready.
async fn ready(cloud: &AwsCloud) -> EC2NodeClass {
    let mut class = class();
    cloud.discover().await.unwrap();
    cloud.refresh_instance_types().await.unwrap();
    cloud.refresh_prices().await.unwrap();
    let mut status = EC2NodeClassStatus {
        amis: cloud.resolve_amis(&class, "1.36").await.unwrap(),
        subnets: cloud.resolve_subnets(&class).await.unwrap(),
        security_groups: cloud.resolve_security_groups(&class).await.unwrap(),
        instance_profile: Some(cloud.ensure_instance_profile(&class).await.unwrap()),
        ..EC2NodeClassStatus::default()
    };
    status.conditions.push(Condition {
        kind: "Ready".to_owned(),
        status: "True".to_owned(),
        reason: "Ready".to_owned(),
        message: String::new(),
        last_transition_time: None,
        observed_generation: Some(1),
    });
    class.status = Some(status);
    assert_eq!(cloud.validate(&class).await, crate::port::Validation::Passed);
    class
}

fn requirement(key: &str, values: &[&str]) -> SelectorRequirement {
    SelectorRequirement {
        key: key.to_owned(),
        operator: "In".to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        min_values: None,
    }
}

/// A claim of the workshop's pool for so much memory, in Mi.
fn request(class: &EC2NodeClass, markets: &[&str], memory: i64) -> LaunchRequest {
    let mut claim = NodeClaim::new("default-x7", Default::default());
    let pairs = [
        (labels::NODEPOOL, "default"),
        (labels::EC2NODECLASS, "default"),
        ("type", "karpenter"),
        ("topology.kubernetes.io/region", "us-west-2"),
    ];
    claim.metadata.labels = Some(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    claim.spec.requirements =
        vec![requirement(labels::CAPACITY_TYPE, markets), requirement(labels::INSTANCE_TYPE, &["t3.small", "t3.medium", "m5.large"])];
    claim.spec.resources.requests.insert("memory".to_owned(), format!("{memory}Mi").parse().unwrap());
    LaunchRequest { claim: Arc::new(claim), class: Arc::new(class.clone()), tags: Default::default() }
}
