//! Placement groups, and zones that are shifted away from.

use super::account::Account;
use super::*;
use crate::aws::AwsCloud;
use crate::port::{Cloud, LaunchError};
use crate::telling::{Report, listen};
use rstest::rstest;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vocabulary::CapacityType;

fn group(strategy: &str, partitions: u32) -> String {
    let count = if partitions > 0 { format!("<partitionCount>{partitions}</partitionCount>") } else { String::new() };
    format!(
        "<R><placementGroupSet><item><groupName>own</groupName><state>available</state><strategy>{strategy}</strategy>{count}<groupId>pg-1</groupId>\
         </item></placementGroupSet></R>"
    )
}

/// A ready class whose group is known.
async fn placed(cloud: &AwsCloud, account: &Account, strategy: &str, partitions: u32) -> EC2NodeClass {
    let mut class = ready(cloud).await;
    class.spec.placement_group_selector = Some(json!({"name": "own"}));
    account.next("DescribePlacementGroups", 200, group(strategy, partitions));
    let found = cloud.resolve_placement_group(&class).await.unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.strategy.as_str()), ("pg-1", strategy));
    class
}

#[tokio::test(start_paused = true)]
async fn a_group_is_asked_for_once_a_minute_and_believed_for_a_day() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = placed(&cloud, &account, "spread", 0).await;
    assert!(cloud.resolve_placement_group(&class).await.unwrap().is_some());
    let calls = account.calls("DescribePlacementGroups");
    assert_eq!(calls.len(), 1);
    let asked = |name: &str| calls[0].parameters.get(name).map(String::as_str);
    assert_eq!((asked("GroupName.1"), asked("Filter.1.Name"), asked("Filter.1.Value.1")), (Some("own"), Some("state"), Some("available")));
    tokio::time::sleep(Duration::from_secs(61)).await;
    let error = "<Response><Errors><Error><Code>InvalidPlacementGroup.Unknown</Code><Message>gone</Message></Error></Errors></Response>";
    account.next("DescribePlacementGroups", 400, error);
    assert_eq!(cloud.resolve_placement_group(&class).await.unwrap_err().code, "InvalidPlacementGroup.Unknown");
    let kinds = cloud.instance_types(&class, cloud_now()).unwrap();
    assert!(kinds.iter().all(|kind| kind.requirements.get(labels::PLACEMENT_GROUP_ID).is_some_and(|id| id.has("pg-1"))));
    let by_id =
        EC2NodeClass { spec: EC2NodeClassSpec { placement_group_selector: Some(json!({"id": "pg-9"})), ..class.spec.clone() }, ..class };
    account.next("DescribePlacementGroups", 200, "<R><placementGroupSet/></R>");
    assert_eq!(cloud.resolve_placement_group(&by_id).await.unwrap(), None);
    assert_eq!(account.calls("DescribePlacementGroups")[2].parameters["GroupId.1"], "pg-9");
}

fn cloud_now() -> jiff::Timestamp {
    "2026-11-20T17:02:00Z".parse().unwrap()
}

/// Types with something on offer; each offering's partition.
fn offered(cloud: &AwsCloud, class: &EC2NodeClass) -> BTreeMap<String, BTreeSet<String>> {
    let kinds = cloud.instance_types(class, cloud_now()).unwrap();
    let partition = |offering: &planner::Offering| {
        let own = offering.requirements.get(labels::PLACEMENT_GROUP_PARTITION);
        own.and_then(|own| own.single()).map(|value| value.to_string()).unwrap_or_default()
    };
    let of = |kind: &planner::InstanceType| kind.offerings.iter().filter(|o| o.available).map(partition).collect::<BTreeSet<_>>();
    kinds.iter().map(|kind| (kind.name.to_string(), of(kind))).filter(|(_, all)| !all.is_empty()).collect()
}

#[rstest]
#[case("cluster", 0, &["m5.2xlarge", "m5.large"], &[""])]
#[case("spread", 0, &["m5.2xlarge", "m5.large", "t3.small"], &[""])]
#[case("partition", 3, &["m5.2xlarge", "m5.large", "t3.small"], &["1", "2", "3"])]
#[tokio::test(start_paused = true)]
async fn types_and_offerings_are_those_of_the_strategy(
    #[case] strategy: &str,
    #[case] count: u32,
    #[case] names: &[&str],
    #[case] partitions: &[&str],
) {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = placed(&cloud, &account, strategy, count).await;
    let found = offered(&cloud, &class);
    let wanted: BTreeSet<String> = partitions.iter().map(|number| (*number).to_owned()).collect();
    let checked = ["m5.2xlarge", "m5.large", "t3.small"].into_iter().filter(|name| found.contains_key(*name)).collect::<Vec<_>>();
    assert_eq!(checked, names);
    assert!(found.values().all(|own| *own == wanted), "{found:?}");
}

#[rstest]
#[case::no_partition_wanted("partition", &[], None, Some(""))]
#[case::one_of_several("partition", &["3", "2"], Some("2"), Some("2"))]
#[case::of_another_kind("cluster", &[], None, None)]
#[tokio::test(start_paused = true)]
async fn the_template_names_the_group_and_the_claim_hears_of_it(
    #[case] strategy: &str,
    #[case] wanted: &[&str],
    #[case] number: Option<&str>,
    #[case] label: Option<&str>,
) {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = placed(&cloud, &account, strategy, 3).await;
    let mut asked = request(&class, &["on-demand"], 5_000);
    if !wanted.is_empty() {
        Arc::get_mut(&mut asked.claim).unwrap().spec.requirements.push(requirement(labels::PLACEMENT_GROUP_PARTITION, wanted));
    }
    let launched = cloud.launch(asked).await.unwrap();
    let made = account.calls("CreateLaunchTemplate").pop().unwrap().parameters;
    let of = |name: &str| made.get(&format!("LaunchTemplateData.Placement.{name}")).map(String::as_str);
    assert_eq!((of("GroupId"), of("PartitionNumber"), of("Tenancy")), (Some("pg-1"), number, Some("default")));
    let own = |key: &str| launched.labels.get(key).map(String::as_str);
    assert_eq!((own(labels::PLACEMENT_GROUP_ID), own(labels::PLACEMENT_GROUP_PARTITION)), (Some("pg-1"), label));
    // Offerings of one pool in several partitions are one override.
    let fleet = account.calls("CreateFleet").pop().unwrap().parameters;
    let overrides = fleet.keys().filter(|key| key.ends_with(".SubnetId")).count();
    assert_eq!(overrides, 2, "m5.large in two zones");
}

fn fleet_error(message: &str) -> String {
    format!(
        "<R><fleetId>fleet-1</fleetId><errorSet><item><launchTemplateAndOverrides><overrides><instanceType>m5.large</instanceType>\
         <availabilityZone>us-west-2a</availabilityZone><subnetId>subnet-a</subnetId></overrides></launchTemplateAndOverrides>\
         <errorCode>InsufficientInstanceCapacity</errorCode><errorMessage>{message}</errorMessage></item></errorSet><fleetInstanceSet/></R>"
    )
}

#[rstest]
#[case::full_for_all_types("spread", 0, "limit of instances in this spread placement group.", &[], &["us-west-2b"], &["us-west-2b", "us-west-2c"])]
#[case::one_type("cluster", 0, "no room", &[], &["us-west-2b"], &["us-west-2a", "us-west-2b", "us-west-2c"])]
// A partition's mark is kept apart, and upstream never looks at it.
#[case::one_partition("partition", 2, "no room", &["1"], &["us-west-2a", "us-west-2b"], &["us-west-2a", "us-west-2b", "us-west-2c"])]
#[tokio::test(start_paused = true)]
async fn what_a_group_lacks_is_its_own_affair(
    #[case] strategy: &str,
    #[case] count: u32,
    #[case] message: &str,
    #[case] wanted: &[&str],
    #[case] large: &[&str],
    #[case] larger: &[&str],
) {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = placed(&cloud, &account, strategy, count).await;
    account.next("CreateFleet", 200, fleet_error(message));
    let mut asked = request(&class, &["on-demand"], 5_000);
    let claim = Arc::get_mut(&mut asked.claim).unwrap();
    claim.spec.requirements =
        vec![requirement(labels::CAPACITY_TYPE, &["on-demand"]), requirement(labels::INSTANCE_TYPE, &["m5.large", "m5.2xlarge"])];
    if !wanted.is_empty() {
        claim.spec.requirements.push(requirement(labels::PLACEMENT_GROUP_PARTITION, wanted));
    }
    let (answer, told) = listen(cloud.launch(asked)).await;
    assert!(matches!(answer, Err(LaunchError::InsufficientCapacity(_))));
    let failed = |report: &&Report| matches!(report, Report::LaunchFailure { zone, zone_id, capacity_type: "on-demand", .. } if zone == "us-west-2a" && zone_id == "usw2-az1");
    assert_eq!(told.iter().filter(failed).count(), 1);
    let now = "2026-11-20T17:00:10Z".parse().unwrap();
    let zones = |class: &EC2NodeClass, name: &str| {
        let kinds = cloud.instance_types(class, now).unwrap();
        let kind = kinds.iter().find(|kind| &*kind.name == name).unwrap();
        let own = kind.offerings.iter().filter(|o| o.available && o.capacity_type == CapacityType::OnDemand);
        own.map(|offering| offering.zone.to_string()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(
        (zones(&class, "m5.large"), zones(&class, "m5.2xlarge")),
        (large.iter().map(|z| (*z).to_owned()).collect(), larger.iter().map(|z| (*z).to_owned()).collect())
    );
    let mut other = class.clone();
    other.metadata.name = Some("other".to_owned());
    other.spec.placement_group_selector = None;
    assert_eq!(zones(&other, "m5.large"), ["us-west-2a", "us-west-2b"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_of_another_group_has_drifted() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = placed(&cloud, &account, "cluster", 0).await;
    let launched = cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap();
    let mut instance = cloud.get(&launched.instance_id).await.unwrap().unwrap();
    instance.security_groups = class.status.as_ref().unwrap().security_groups.iter().map(|group| group.id.clone()).collect();
    let mut claim = NodeClaim::new("default-x7", Default::default());
    claim.metadata.labels = Some(launched.labels.clone());
    claim.status = Some(api::NodeClaimStatus { image_id: Some(launched.image_id.clone()), ..Default::default() });
    let drift = |claim: &NodeClaim, class: &EC2NodeClass| cloud.drift(claim, class, &instance, cloud_now()).unwrap();
    assert_eq!(drift(&claim, &class), None);
    let mut without = class.clone();
    without.spec.placement_group_selector = None;
    assert_eq!(drift(&claim, &without), Some("PlacementGroupDrift"));
    claim.metadata.labels.as_mut().unwrap().remove(labels::PLACEMENT_GROUP_ID);
    assert_eq!(drift(&claim, &class), Some("PlacementGroupDrift"));
}

fn shifts(zone: &str) -> String {
    json!({"zonalShifts": [{"awayFrom": zone, "appliedStatus": "APPLIED", "expiryTime": 1795194600.0}]}).to_string()
}

fn shifting(account: &Arc<Account>) -> AwsCloud {
    let settings = Settings { zonal_shift: true, ..Settings::new("workshop") };
    let clock = Clock::virtual_from("2026-11-20T17:00:00Z".parse().unwrap());
    AwsCloud::simulated(settings, "us-west-2", account.http(), clock, &Entropy::from_seed(7))
}

#[tokio::test(start_paused = true)]
async fn machines_of_a_shifted_zone_are_left_alone() {
    let account = Account::new(Duration::ZERO);
    let cloud = shifting(&account);
    account.next("GetManagedResource", 200, json!({"zonalShifts": []}).to_string());
    let class = ready(&cloud).await;
    let launched = cloud.launch(request(&class, &["on-demand"], 5_000)).await.unwrap();
    assert_eq!(&*launched.zone, "us-west-2a");
    let id = launched.instance_id.as_str();
    cloud.get(id).await.unwrap();
    account.next("GetManagedResource", 200, shifts("usw2-az1"));
    assert_eq!(cloud.refresh_zonal_shifts().await.unwrap().into_iter().collect::<Vec<_>>(), ["usw2-az1"]);
    account.forget();
    assert_eq!(cloud.get(id).await.unwrap().unwrap().id, id);
    let error = cloud.terminate(id).await.unwrap_err();
    assert_eq!(error.message, format!("instance {id} is in zonally shifted availability zone us-west-2a (usw2-az1), skipping termination"));
    let error = cloud.tag(id, &[("Name".to_owned(), "n".to_owned())].into()).await.unwrap_err();
    assert!(error.message.ends_with("skipping tag creation"));
    assert_eq!(account.seen(), []);
    let kinds = cloud.instance_types(&class, "2026-11-20T17:00:10Z".parse().unwrap()).unwrap();
    let zones: BTreeSet<&str> = kinds.iter().flat_map(|kind| &kind.offerings).filter(|o| o.available).map(|o| &*o.zone).collect();
    assert_eq!(zones.into_iter().collect::<Vec<_>>(), ["us-west-2b", "us-west-2c"]);
    account.next("GetManagedResource", 200, json!({"zonalShifts": []}).to_string());
    cloud.refresh_zonal_shifts().await.unwrap();
    assert!(cloud.terminate(id).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_arc_does_not_know_is_no_place_to_start() {
    let account = Account::new(Duration::ZERO);
    let cloud = shifting(&account);
    account.next("GetManagedResource", 404, json!({"message": "no such resource"}).to_string());
    let error = cloud.discover().await.unwrap_err();
    assert!(error.message.starts_with("unable to find cluster arn:") && error.message.ends_with("no such resource"), "{error}");
}
