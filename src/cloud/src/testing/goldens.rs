//! The adapter's requests, committed, and what botocore's serializers make of the same parameters.
//!
//! `requests.json` is written by this test when `DRYFIT_BLESS` is set; from it `ci/generate/cloud_goldens.py` writes `expected.json`, and
//! `ci/generate/sdk-goldens` what [`super::signed`] compares.

use super::account::{Account, form};
use super::*;
use crate::port::Cloud;
use crate::wire::client::{Call, encode};
use crate::wire::service::{Protocol, Service};
use api::ec2nodeclass::{
    BlockDevice, BlockDeviceMapping, CapacityReservationSelectorTerm, KubeletConfiguration, MetadataOptions, NetworkInterface,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "testdata", name].iter().collect()
}

pub fn read(name: &str) -> Value {
    let text = std::fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// Every operation, with every member that the adapter can set.
async fn tour() -> Vec<Call> {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let plain = ready(&cloud).await;
    let id = cloud.launch(request(&plain, &["on-demand"], 5_000)).await.unwrap().instance_id;
    cloud.get(&id).await.unwrap();
    cloud.list().await.unwrap();
    cloud
        .tag(&id, &[("Name".to_owned(), "a b".to_owned()), ("karpenter.sh/nodeclaim".to_owned(), "default-x7".to_owned())].into())
        .await
        .unwrap();
    cloud.terminate(&id).await.unwrap();
    cloud.receive_messages().await.unwrap();
    cloud.delete_message("receipt").await.unwrap();
    let mut rich = plain.clone();
    enrich(&mut rich);
    cloud.resolve_subnets(&rich).await.unwrap();
    cloud.resolve_security_groups(&rich).await.unwrap();
    cloud.resolve_amis(&rich, "1.36").await.unwrap();
    assert_eq!(cloud.validate(&rich).await, crate::port::Validation::Passed);
    let mut spot = request(&rich, &["spot"], 5_000);
    let claim = Arc::get_mut(&mut spot.claim).unwrap();
    claim.spec.requirements.push(requirement("karpenter.k8s.aws/instance-tenancy", &["dedicated"]));
    claim.spec.resources.requests.insert("eks.amazonaws.com/nip-slots".to_owned(), "0".parse().unwrap());
    cloud.launch(spot).await.unwrap();
    tokio::time::sleep(Duration::from_secs(90)).await;
    cloud.expire_launch_templates().await.unwrap();
    let profile = "<GetInstanceProfileResponse><GetInstanceProfileResult><InstanceProfile><Roles><member><RoleName>r</RoleName></member></Roles></InstanceProfile></GetInstanceProfileResult></GetInstanceProfileResponse>";
    account.next("GetInstanceProfile", 200, profile);
    account.next(
        "DescribeLaunchTemplates",
        200,
        "<R><launchTemplates><item><launchTemplateName>karpenter.k8s.aws/1</launchTemplateName></item></launchTemplates></R>",
    );
    cloud.clean_up(&rich).await.unwrap();
    for operation in ["DescribeCapacityReservations", "DescribeInstanceStatus"] {
        (0..3).for_each(|_| account.next(operation, 200, "<R/>"));
    }
    cloud.resolve_capacity_reservations(&reservations()).await.unwrap();
    cloud.unhealthy().await.unwrap();
    for selector in [json!({"name": "near"}), json!({"id": "pg-1"})] {
        let mut class = plain.clone();
        class.spec.placement_group_selector = Some(selector);
        account.next("DescribePlacementGroups", 200, "<R><placementGroupSet/></R>");
        cloud.resolve_placement_group(&class).await.unwrap();
    }
    let clock = Clock::virtual_from("2026-11-20T17:00:00Z".parse().unwrap());
    let settings = Settings { zonal_shift: true, ..Settings::new("workshop") };
    let shifting = AwsCloud::simulated(settings, "us-west-2", account.http(), clock, &Entropy::from_seed(7));
    account.next("GetManagedResource", 200, json!({"zonalShifts": []}).to_string());
    shifting.discover().await.unwrap();
    cloud.made().into_iter().chain(shifting.made()).collect()
}

fn reservations() -> [CapacityReservationSelectorTerm; 3] {
    let by_tags = CapacityReservationSelectorTerm { tags: tags("own"), ..CapacityReservationSelectorTerm::default() };
    let by_owner = CapacityReservationSelectorTerm { owner_id: Some("123456789012".to_owned()), ..by_tags.clone() };
    let by_id = CapacityReservationSelectorTerm { id: Some("cr-1".to_owned()), ..CapacityReservationSelectorTerm::default() };
    [by_id, by_tags, by_owner]
}

fn enrich(class: &mut EC2NodeClass) {
    class.metadata.name = Some("rich".to_owned());
    class.metadata.generation = Some(2);
    class.status.as_mut().unwrap().conditions[0].observed_generation = Some(2);
    let spec = &mut class.spec;
    spec.ami_family = Some("Bottlerocket".to_owned());
    spec.ami_selector_terms = vec![
        AmiSelectorTerm { id: Some("ami-1".to_owned()), ..AmiSelectorTerm::default() },
        AmiSelectorTerm { name: Some("bottlerocket-*".to_owned()), tags: tags("*"), ..AmiSelectorTerm::default() },
        AmiSelectorTerm { name: Some("own".to_owned()), owner: Some("123456789012".to_owned()), ..AmiSelectorTerm::default() },
        AmiSelectorTerm { ssm_parameter: Some("/mine/x86_64/standard/image".to_owned()), ..AmiSelectorTerm::default() },
    ];
    spec.subnet_selector_terms.push(SubnetSelectorTerm { id: Some("subnet-a".to_owned()), ..SubnetSelectorTerm::default() });
    spec.security_group_selector_terms
        .push(SecurityGroupSelectorTerm { id: Some("sg-1".to_owned()), ..SecurityGroupSelectorTerm::default() });
    spec.security_group_selector_terms
        .push(SecurityGroupSelectorTerm { name: Some("b".to_owned()), ..SecurityGroupSelectorTerm::default() });
    spec.tags = [("team".to_owned(), "a&b=c".to_owned())].into();
    spec.kubelet = Some(KubeletConfiguration { max_pods: Some(29), ..KubeletConfiguration::default() });
    spec.block_device_mappings = vec![BlockDeviceMapping {
        device_name: Some("/dev/xvda".to_owned()),
        root_volume: Some(true),
        ebs: Some(BlockDevice {
            delete_on_termination: Some(true),
            encrypted: Some(true),
            iops: Some(3_000),
            kms_key_id: Some("key".to_owned()),
            snapshot_id: Some("snap-1".to_owned()),
            throughput: Some(125),
            volume_initialization_rate: Some(200),
            volume_size: Some("100G".to_owned()),
            volume_type: Some("gp3".to_owned()),
        }),
    }];
    spec.metadata_options = Some(MetadataOptions {
        http_endpoint: Some("enabled".to_owned()),
        http_protocol_ipv6: Some("disabled".to_owned()),
        http_put_response_hop_limit: Some(1),
        http_tokens: Some("required".to_owned()),
    });
    spec.network_interfaces = vec![NetworkInterface { network_card_index: 0, device_index: 0, interface_type: "interface".to_owned() }];
    spec.associate_public_ip_address = Some(false);
    spec.ip_prefix_count = Some(2);
    spec.detailed_monitoring = Some(true);
    spec.connection_tracking = Some(json!({"tcpEstablishedTimeout": 60, "udpStreamTimeout": 60, "udpTimeout": 30}));
    spec.context = Some("arn:context".to_owned());
}

/// The tour's calls, each once.
pub async fn calls() -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for call in tour().await {
        if !calls.iter().any(|known| written(known) == written(&call)) {
            calls.push(call);
        }
    }
    calls
}

pub fn written(call: &Call) -> Value {
    let request = encode(call).unwrap();
    let headers: BTreeMap<_, _> = request.headers.into_iter().collect();
    json!({
        "service": call.service.signing_name(),
        "operation": call.operation,
        "attempts": call.attempts(),
        "parameters": call.parameters,
        "method": request.method,
        "path": request.path,
        "headers": headers,
        "body": request.body,
    })
}

#[tokio::test(start_paused = true)]
async fn the_adapter_sends_the_committed_requests() {
    let requests: Vec<Value> = calls().await.iter().map(written).collect();
    if std::env::var_os("DRYFIT_BLESS").is_some() {
        let lines: Vec<String> = requests.iter().map(Value::to_string).collect();
        std::fs::create_dir_all(file("")).unwrap();
        std::fs::write(file("requests.json"), format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
        return;
    }
    let committed = read("requests.json");
    let committed = committed.as_array().unwrap();
    for (made, held) in requests.iter().zip(committed) {
        assert_eq!(made, held);
    }
    assert_eq!(requests.len(), committed.len());
}

#[test]
fn botocore_writes_the_same_parameters() {
    let (requests, expected) = (read("requests.json"), read("expected.json"));
    let (requests, expected) = (requests.as_array().unwrap(), expected["requests"].as_array().unwrap());
    assert_eq!(requests.len(), expected.len(), "run ci/generate/cloud_goldens.py");
    let mut operations = std::collections::BTreeSet::new();
    for (ours, theirs) in requests.iter().zip(expected) {
        let operation = ours["operation"].as_str().unwrap();
        operations.insert(operation);
        let service = Service::ALL.into_iter().find(|service| service.signing_name() == ours["service"]).unwrap();
        assert_eq!((&ours["method"], &ours["path"]), (&theirs["method"], &theirs["path"]), "{operation}");
        let body = ours["body"].as_str().unwrap();
        match service.protocol() {
            Protocol::Ec2Query { .. } | Protocol::AwsQuery { .. } => {
                let theirs: BTreeMap<String, String> = serde_json::from_value(theirs["body"].clone()).unwrap();
                assert_eq!(form(body), theirs, "{operation}");
            }
            Protocol::Json { .. } => {
                assert_eq!(serde_json::from_str::<Value>(body).unwrap(), theirs["body"], "{operation}");
                for name in ["content-type", "x-amz-target", "x-amzn-query-mode"] {
                    assert_eq!(ours["headers"].get(name), theirs["headers"].get(name), "{operation} {name}");
                }
            }
            Protocol::RestJson => assert_eq!(body, ""),
        }
    }
    assert_eq!(operations.len(), 30, "{operations:?}");
}
