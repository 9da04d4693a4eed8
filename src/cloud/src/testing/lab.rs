//! From a fresh account to a machine.

use super::account::Account;
use super::*;
use crate::port::{Cloud, Launched};
use std::time::Duration;
use vocabulary::{CapacityType, Resources};

async fn launch_one(account: &Arc<Account>) -> Launched {
    let cloud = cloud(account);
    let class = ready(&cloud).await;
    cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_claim_becomes_the_cheapest_machine_that_fits() {
    let account = Account::new(Duration::from_millis(20));
    let launched = launch_one(&account).await;
    assert_eq!(launched.provider_id, "aws:///us-west-2a/i-00000000000000001");
    assert_eq!(
        (&*launched.instance_type, launched.image_id.as_str(), launched.capacity_type),
        ("m5.large", "ami-x86", CapacityType::OnDemand)
    );
    assert_eq!(launched.price.dollars(), 0.096);
    let print = |of: &Resources| of.to_quantities();
    assert_eq!(print(&launched.allocatable)["cpu"], "1930m");
    assert_eq!(print(&launched.allocatable)["memory"], "6903Mi");
    assert_eq!((launched.allocatable.get("pods"), launched.capacity.get("vpc.amazonaws.com/pod-eni")), (29, 9));
    let expected = [
        ("karpenter.k8s.aws/instance-category", "m"),
        ("karpenter.k8s.aws/instance-cpu", "2"),
        ("karpenter.k8s.aws/instance-tenancy", "default"),
        ("karpenter.sh/capacity-type", "on-demand"),
        ("karpenter.sh/nodepool", "default"),
        ("kubernetes.io/arch", "amd64"),
        ("node.kubernetes.io/instance-type", "m5.large"),
        ("topology.k8s.aws/zone-id", "usw2-az1"),
        ("topology.kubernetes.io/zone", "us-west-2a"),
    ];
    for (key, value) in expected {
        assert_eq!(launched.labels.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(!launched.labels.contains_key("karpenter.k8s.aws/instance-gpu-name"));
    assert!(launched.annotations["karpenter.k8s.aws/instance-profile-name"].starts_with("workshop_"));
}

#[tokio::test(start_paused = true)]
async fn the_fleet_is_asked_as_upstream_asks() {
    let account = Account::new(Duration::ZERO);
    launch_one(&account).await;
    let calls = account.calls("CreateFleet");
    // The dry run of the validation, then the launch.
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].parameters["DryRun"], "true");
    assert!(!calls[0].parameters.contains_key("LaunchTemplateConfigs.1.Overrides.1.Priority"));
    let asked = &calls[1].parameters;
    let overrides: Vec<[&str; 5]> = (1..)
        .map_while(|n| {
            let part = |name: &str| asked.get(&format!("LaunchTemplateConfigs.1.Overrides.{n}.{name}")).map(String::as_str);
            Some([part("InstanceType")?, part("SubnetId")?, part("AvailabilityZone")?, part("ImageId")?, part("Priority")?])
        })
        .collect();
    // 5000 Mi fit into m5.large alone; it is not offered in zone c, and zone d has no subnet.
    assert_eq!(
        overrides,
        [["m5.large", "subnet-a", "us-west-2a", "ami-x86", "0.096"], ["m5.large", "subnet-b", "us-west-2b", "ami-x86", "0.096"]]
    );
    let expected = [
        ("Type", "instant"),
        ("TargetCapacitySpecification.DefaultTargetCapacityType", "on-demand"),
        ("TargetCapacitySpecification.TotalTargetCapacity", "1"),
        ("OnDemandOptions.AllocationStrategy", "lowest-price"),
        ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version", "$Latest"),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.3.ResourceType", "fleet"),
    ];
    for (key, value) in expected {
        assert_eq!(asked.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(asked["ClientToken"].len(), 36);
    let template = &account.calls("CreateLaunchTemplate")[1].parameters;
    assert_eq!(template["LaunchTemplateName"], asked["LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName"]);
    assert_eq!(template["LaunchTemplateData.NetworkInterface.1.SecurityGroupId.1"], "sg-1");
    assert_eq!(template["LaunchTemplateData.CapacityReservationSpecification.CapacityReservationPreference"], "none");
    assert_eq!(template["LaunchTemplateData.BlockDeviceMapping.1.Ebs.VolumeSize"], "20");
}

#[tokio::test(start_paused = true)]
async fn machines_are_found_tagged_and_terminated() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    let id = cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap().instance_id;
    let machine = cloud.get(&id).await.unwrap().unwrap();
    assert_eq!((machine.state.as_str(), machine.provider_id().as_str()), ("running", "aws:///us-west-2a/i-00000000000000001"));
    assert_eq!(cloud.known(&id), Some(machine.clone()));
    assert_eq!(cloud.list().await.unwrap(), [machine]);
    cloud.tag(&id, &[("Name".to_owned(), "node".to_owned())].into()).await.unwrap();
    assert!(cloud.terminate(&id).await.unwrap());
    let gone = "<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code><Message>gone</Message></Error></Errors></Response>";
    for _ in 0..4 {
        account.next("DescribeInstances", 400, gone);
    }
    assert_eq!(cloud.get(&id).await.unwrap(), None);
    assert!(!cloud.terminate(&id).await.unwrap());
    assert_eq!(account.calls("TerminateInstances").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_read_and_emptied() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let messages = cloud.receive_messages().await.unwrap();
    assert_eq!((messages.len(), messages[0].body.as_str()), (1, "{}"));
    cloud.delete_message(&messages[0].receipt).await.unwrap();
    assert_eq!(account.calls("GetQueueUrl").len(), 1);
    assert_eq!(account.calls("ReceiveMessage")[0].parameters["WaitTimeSeconds"], "20");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_bytes() {
    let (first, second) = (Account::new(Duration::from_millis(20)), Account::new(Duration::from_millis(20)));
    let start = "2026-11-20T17:00:00Z".parse().unwrap();
    let run = async |account: &Arc<Account>| {
        let settings = Settings { cluster_dns_ip: Some("10.100.0.10".parse().unwrap()), ..Settings::new("workshop") };
        let cloud = AwsCloud::simulated(settings, "us-west-2", account.http(), Clock::virtual_from(start), &Entropy::from_seed(3));
        let class = ready(&cloud).await;
        cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap();
    };
    run(&first).await;
    run(&second).await;
    let bytes = |account: &Arc<Account>| account.seen().into_iter().map(|seen| seen.bytes).collect::<Vec<_>>();
    assert_eq!(bytes(&first), bytes(&second));
    assert!(bytes(&first).iter().all(|text| text.contains("authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261120/")));
}
