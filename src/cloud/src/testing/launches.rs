//! Launches that do not go straight.

use super::account::Account;
use super::*;
use crate::port::{Cloud, LaunchError};
use jiff::SignedDuration;
use std::time::Duration;
use vocabulary::CapacityType;

const POOL: &str = "<launchTemplateAndOverrides><overrides><instanceType>m5.large</instanceType><availabilityZone>us-west-2a</availabilityZone>\
                    <subnetId>subnet-a</subnetId></overrides></launchTemplateAndOverrides>";

fn fleet_error(code: &str) -> String {
    format!(
        "<R><fleetId>f</fleetId><errorSet><item>{POOL}<errorCode>{code}</errorCode><errorMessage>none left</errorMessage></item></errorSet><fleetInstanceSet/></R>"
    )
}

#[tokio::test(start_paused = true)]
async fn what_is_not_to_be_had_is_not_asked_for_again_for_three_minutes() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    account.next("CreateFleet", 200, fleet_error("InsufficientInstanceCapacity"));
    let error = cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap_err();
    assert_eq!(error, LaunchError::InsufficientCapacity("with fleet error(s), InsufficientInstanceCapacity: none left".to_owned()));
    let start = cloud_now(&account);
    let offered = |after: i64| {
        let types = cloud.instance_types(&class, start + SignedDuration::from_secs(after)).unwrap();
        let kind = types.iter().find(|kind| &*kind.name == "m5.large").unwrap();
        let zones = kind.offerings.iter().filter(|o| o.available && o.capacity_type == CapacityType::OnDemand);
        zones.map(|offering| offering.zone.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(offered(1), ["us-west-2b"]);
    assert_eq!(offered(181), ["us-west-2a", "us-west-2b"]);
    let launched = cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap();
    assert_eq!(&*launched.zone, "us-west-2b");
}

fn cloud_now(account: &Arc<Account>) -> jiff::Timestamp {
    let epoch: jiff::Timestamp = "2026-11-20T17:00:00Z".parse().unwrap();
    let last = account.seen().last().unwrap().at;
    epoch + SignedDuration::try_from(last).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_error_of_another_kind_is_tried_again_with_its_reason() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    account.next("CreateFleet", 200, fleet_error("InvalidAMIID.NotFound"));
    let error = cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap_err();
    assert!(matches!(error, LaunchError::Failed { reason, .. } if reason == "AMINotFound"));
    let launched = cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap();
    assert_eq!(&*launched.zone, "us-west-2a");
}

#[tokio::test(start_paused = true)]
async fn equal_claims_share_a_fleet_and_a_template() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let mut class = ready(&cloud).await;
    // With two subnets in a zone, launches would take turns.
    class.status.as_mut().unwrap().subnets.retain(|subnet| subnet.id != "subnet-a2");
    account.forget();
    let launches = futures::future::join_all((0..3).map(|_| cloud.launch(request(&class, &["on-demand"], 5_000)))).await;
    let ids: Vec<String> = launches.into_iter().map(|launched| launched.unwrap().instance_id).collect();
    assert_eq!(ids, ["i-00000000000000001", "i-00000000000000002", "i-00000000000000003"]);
    let fleets = account.calls("CreateFleet");
    assert_eq!(fleets.len(), 1);
    assert_eq!(fleets[0].parameters["TargetCapacitySpecification.TotalTargetCapacity"], "3");
    assert_eq!(account.calls("CreateLaunchTemplate").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_template_that_ec2_forgot_is_made_again_once() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    account.forget();
    let gone = "<Response><Errors><Error><Code>InvalidLaunchTemplateName.NotFoundException</Code><Message>gone</Message></Error></Errors></Response>";
    account.next("CreateFleet", 400, gone);
    cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap();
    assert_eq!((account.calls("CreateFleet").len(), account.calls("CreateLaunchTemplate").len()), (2, 2));
    account.next("CreateFleet", 400, gone);
    account.next("CreateFleet", 400, gone);
    let error = cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap_err();
    assert!(matches!(error, LaunchError::Failed { message, .. } if message.starts_with("Launch templates not found")));
}

#[tokio::test(start_paused = true)]
async fn spot_comes_first_and_is_asked_for_by_its_own_rules() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    account.forget();
    let launched = cloud.launch(request(&class, &["on-demand", "spot"], 5_000)).await.unwrap();
    assert_eq!((launched.capacity_type, launched.price.dollars()), (CapacityType::Spot, 0.04));
    let fleet = &account.calls("CreateFleet")[0].parameters;
    assert_eq!(fleet["SpotOptions.AllocationStrategy"], "price-capacity-optimized");
    assert_eq!(fleet["TargetCapacitySpecification.DefaultTargetCapacityType"], "spot");
    assert!(!fleet.contains_key("OnDemandOptions.AllocationStrategy"));
    let template = &account.calls("CreateLaunchTemplate")[0].parameters;
    assert_eq!(template["LaunchTemplateData.TagSpecification.2.ResourceType"], "spot-instances-request");
    // Spot is off when its service-linked role may not be made.
    account.next("CreateFleet", 200, fleet_error("AuthFailure.ServiceLinkedRoleCreationNotPermitted"));
    let error = cloud.launch(request(&class, &["on-demand", "spot"], 5_000)).await.unwrap_err();
    assert!(matches!(error, LaunchError::InsufficientCapacity(_)));
    let launched = cloud.launch(request(&class, &["on-demand", "spot"], 5_000)).await.unwrap();
    assert_eq!(launched.capacity_type, CapacityType::OnDemand);
}

#[tokio::test(start_paused = true)]
async fn unused_templates_are_deleted_after_a_minute() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(40)).await;
    cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    // The validation's template lapsed; the launch's was used 30 s ago.
    assert_eq!(cloud.expire_launch_templates().await.unwrap(), 1);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(cloud.expire_launch_templates().await.unwrap(), 1);
    assert_eq!(account.calls("DeleteLaunchTemplate").len(), 2);
    account.forget();
    cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap();
    assert_eq!(account.calls("CreateLaunchTemplate").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_zone_uses_the_subnet_with_the_most_addresses_left() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    let mut used = Vec::new();
    for _ in 0..3 {
        account.forget();
        cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap();
        used.push(account.calls("CreateFleet")[0].parameters["LaunchTemplateConfigs.1.Overrides.1.SubnetId"].clone());
    }
    // 100 and 90 free addresses; a launch takes 29.
    assert_eq!(used, ["subnet-a", "subnet-a2", "subnet-a"]);
    account.next("CreateFleet", 200, fleet_error("InsufficientFreeAddressesInSubnet"));
    cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap_err();
    account.forget();
    cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap();
    let first = &account.calls("CreateFleet")[0].parameters;
    assert_eq!(first["LaunchTemplateConfigs.1.Overrides.1.AvailabilityZone"], "us-west-2b", "the pool of the error is marked too");
}

#[tokio::test(start_paused = true)]
async fn a_class_that_is_not_ready_launches_nothing() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    let with = |change: fn(&mut EC2NodeClass)| {
        let mut changed = class.clone();
        change(&mut changed);
        request(&changed, &["on-demand"], 5_000)
    };
    let newer = cloud.launch(with(|class| class.metadata.generation = Some(2))).await.unwrap_err();
    assert!(matches!(newer, LaunchError::NodeClassNotReady(_)));
    let unknown = cloud.launch(with(|class| class.status.as_mut().unwrap().conditions.clear())).await.unwrap_err();
    assert!(matches!(unknown, LaunchError::Failed { reason, .. } if reason == "NodeClassReadinessUnknown"));
    let tagged =
        cloud.launch(with(|class| class.spec.tags = [("karpenter.sh/nodepool".to_owned(), "x".to_owned())].into())).await.unwrap_err();
    assert!(matches!(tagged, LaunchError::NodeClassNotReady(_)));
    let large = cloud.launch(request(&class, &["on-demand"], 500_000)).await.unwrap_err();
    assert!(matches!(large, LaunchError::InsufficientCapacity(_)));
    assert_eq!(account.calls("CreateFleet").len(), 1, "the validation's alone");
}
