//! Capacity that is set aside, placement groups, quotas, and what EC2 does not know yet.

use rstest::rstest;
use serde_json::{Value, json};

use super::{Desk, code, filter, message, retirement, texts};
use crate::model::Service;
use crate::state::instance::Check;
use crate::state::{Capacity, Consistency, Delay, Effect, Incident, Market, Propagation, Quota, Rule, Settings};
use jiff::SignedDuration;

fn reserve(desk: &mut Desk, more: Value) -> String {
    let mut input =
        json!({"InstanceType": "m5.large", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": "us-west-2a", "InstanceCount": 2});
    for (name, value) in more.as_object().into_iter().flatten() {
        input[name] = value.clone();
    }
    let made = desk.ec2("CreateCapacityReservation", input).expect("a reservation");
    made["CapacityReservation"]["CapacityReservationId"].as_str().expect("an id").to_owned()
}

fn launch(desk: &mut Desk, count: u64, more: Value) -> super::Answer {
    let mut input = json!({
        "ImageId": desk.image(), "InstanceType": "m5.large", "MinCount": count, "MaxCount": count,
        "Placement": {"AvailabilityZone": "us-west-2a"},
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        match (input.get_mut(name).and_then(Value::as_object_mut), value.as_object()) {
            (Some(held), Some(value)) => held.extend(value.clone()),
            _ => input[name] = value.clone(),
        }
    }
    desk.ec2("RunInstances", input)
}

fn available(desk: &mut Desk, id: &str) -> i64 {
    let found = desk.ec2("DescribeCapacityReservations", json!({"CapacityReservationIds": [id]})).expect("found");
    found.pointer("/CapacityReservations/0/AvailableInstanceCount").and_then(Value::as_i64).expect("a count")
}

/// No m5.large of us-west-2a beside what is reserved.
fn scarce() -> Settings {
    let pool = Capacity { instance_type: Some("m5.large".into()), zone: Some("us-west-2a".into()), market: None, instances: Some(2) };
    Settings { capacity: vec![pool], ..Settings::default() }
}

#[test]
fn an_open_reservation_is_used_by_whoever_fits() {
    let mut desk = Desk::with(scarce());
    let id = reserve(&mut desk, json!({}));
    assert_eq!(
        code(&desk.ec2(
            "CreateCapacityReservation",
            json!({"InstanceType": "m5.large", "InstancePlatform": "Linux/UNIX",
        "AvailabilityZone": "us-west-2a", "InstanceCount": 1})
        )),
        "InsufficientInstanceCapacity"
    );
    let none = json!({"CapacityReservationSpecification": {"CapacityReservationPreference": "none"}});
    assert_eq!(code(&launch(&mut desk, 1, none)), "InsufficientInstanceCapacity");
    let run = launch(&mut desk, 1, json!({})).expect("run");
    assert_eq!(run.pointer("/Instances/0/CapacityReservationId"), Some(&json!(id)));
    assert_eq!(available(&mut desk, &id), 1);
    assert_eq!(desk.instances(json!({"Filters": filter("capacity-reservation-id", &[&id])})).len(), 1);
    let ids = texts(&run["Instances"], "InstanceId");
    desk.ec2("TerminateInstances", json!({"InstanceIds": ids})).expect("terminated");
    assert_eq!(available(&mut desk, &id), 2);
}

#[test]
fn a_targeted_reservation_is_for_those_who_name_it() {
    let mut desk = Desk::with(scarce());
    let id = reserve(&mut desk, json!({"InstanceMatchCriteria": "targeted"}));
    assert_eq!(code(&launch(&mut desk, 1, json!({}))), "InsufficientInstanceCapacity");
    let named = json!({"CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": id}}});
    launch(&mut desk, 2, named.clone()).expect("two run");
    let refused = launch(&mut desk, 1, named.clone());
    assert_eq!(code(&refused), "ReservationCapacityExceeded");
    let mut other = named;
    other["InstanceType"] = "m5.xlarge".into();
    assert!(message(launch(&mut desk, 1, other)).contains("differs from that of the Capacity Reservation"));
    let unknown = json!({"CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": "cr-0"}}});
    assert_eq!(code(&launch(&mut desk, 1, unknown)), "InvalidCapacityReservationId.NotFound");
}

#[test]
fn a_fleet_falls_from_the_reservation_to_an_error_that_karpenter_knows() {
    let mut desk = Desk::new();
    let id = reserve(&mut desk, json!({"InstanceMatchCriteria": "targeted"}));
    let data = json!({
        "ImageId": desk.image(), "InstanceType": "m5.large",
        "CapacityReservationSpecification": {
            "CapacityReservationPreference": "capacity-reservations-only", "CapacityReservationTarget": {"CapacityReservationId": id},
        },
    });
    desk.ec2("CreateLaunchTemplate", json!({"LaunchTemplateName": "reserved", "LaunchTemplateData": data})).expect("a template");
    let fleet = json!({
        "Type": "instant",
        "LaunchTemplateConfigs": [{
            "LaunchTemplateSpecification": {"LaunchTemplateName": "reserved", "Version": "$Latest"},
            "Overrides": [{"InstanceType": "m5.large", "AvailabilityZone": "us-west-2a"}],
        }],
        "TargetCapacitySpecification": {"TotalTargetCapacity": 3, "DefaultTargetCapacityType": "on-demand"},
    });
    let answer = desk.ec2("CreateFleet", fleet).expect("a fleet");
    assert_eq!(answer.pointer("/Instances/0/InstanceIds").and_then(Value::as_array).map(Vec::len), Some(2));
    assert_eq!(answer.pointer("/Errors/0/ErrorCode"), Some(&json!("ReservationCapacityExceeded")));
    assert_eq!(available(&mut desk, &id), 0);
}

#[test]
fn a_reservation_ends_by_its_date_or_by_hand_and_leaves_its_instances() {
    let mut desk = Desk::new();
    let end = (desk.now + SignedDuration::from_mins(10)).to_string();
    let id = reserve(&mut desk, json!({"EndDateType": "limited", "EndDate": end}));
    launch(&mut desk, 1, json!({})).expect("run");
    desk.pass(599);
    let states =
        |desk: &mut Desk| texts(&desk.ec2("DescribeCapacityReservations", json!({})).expect("found")["CapacityReservations"], "State");
    assert_eq!(states(&mut desk), ["active"]);
    desk.pass(1);
    assert_eq!(states(&mut desk), ["expired"]);
    let found = desk.instances(json!({}));
    assert_eq!((found[0]["State"]["Name"].as_str(), found[0].get("CapacityReservationId")), (Some("running"), None));
    assert_eq!(code(&desk.ec2("CancelCapacityReservation", json!({"CapacityReservationId": id}))), "InvalidCapacityReservationState");
    let other = reserve(&mut desk, json!({}));
    desk.ec2("ModifyCapacityReservation", json!({"CapacityReservationId": other, "InstanceCount": 5})).expect("more");
    assert_eq!(available(&mut desk, &other), 5);
    desk.ec2("CancelCapacityReservation", json!({"CapacityReservationId": other})).expect("cancelled");
    assert_eq!(
        desk.ec2("DescribeCapacityReservations", json!({"Filters": filter("state", &["active"])})).expect("found")["CapacityReservations"],
        json!([])
    );
}

#[test]
fn a_spread_group_has_seven_in_a_zone() {
    let mut desk = Desk::new();
    desk.ec2("CreatePlacementGroup", json!({"GroupName": "apart", "Strategy": "spread"})).expect("a group");
    let grouped = json!({"Placement": {"GroupName": "apart"}});
    launch(&mut desk, 7, grouped.clone()).expect("seven");
    let error = launch(&mut desk, 1, grouped);
    assert_eq!(code(&error), "InsufficientInstanceCapacity");
    assert!(message(error).contains("limit of instances in this spread placement group"));
    assert_eq!(code(&desk.ec2("DeletePlacementGroup", json!({"GroupName": "apart"}))), "InvalidPlacementGroup.InUse");
    assert_eq!(code(&launch(&mut desk, 1, json!({"Placement": {"GroupName": "none"}}))), "InvalidPlacementGroup.Unknown");
}

#[test]
fn a_cluster_group_is_in_one_zone() {
    let mut desk = Desk::new();
    desk.ec2("CreatePlacementGroup", json!({"GroupName": "close", "Strategy": "cluster"})).expect("a group");
    let placed = |zone: &str| json!({"Placement": {"GroupName": "close", "AvailabilityZone": zone}});
    launch(&mut desk, 1, placed("us-west-2b")).expect("one");
    launch(&mut desk, 1, placed("us-west-2b")).expect("another");
    let error = launch(&mut desk, 1, placed("us-west-2a"));
    assert_eq!(code(&error), "InvalidPlacementGroup.InUse");
    assert!(message(error).ends_with("in use in another availability zone: us-west-2b"));
    let burstable = launch(&mut desk, 1, json!({"InstanceType": "t3.small", "Placement": {"GroupName": "close"}}));
    assert_eq!(code(&burstable), "InvalidParameterCombination");
}

#[rstest]
#[case(json!({"GroupName": "parts", "PartitionNumber": 2}), Ok(2))]
#[case(json!({"GroupName": "parts", "PartitionNumber": 4}), Err("InvalidParameterValue"))]
#[case(json!({"PartitionNumber": 1}), Err("InvalidParameterCombination"))]
fn a_partition_can_be_asked_for(#[case] placement: Value, #[case] expected: Result<i64, &str>) {
    let mut desk = Desk::new();
    desk.ec2("CreatePlacementGroup", json!({"GroupName": "parts", "Strategy": "partition", "PartitionCount": 3})).expect("a group");
    let answer = launch(&mut desk, 1, json!({"Placement": placement}));
    match expected {
        Ok(number) => assert_eq!(answer.expect("run")["Instances"][0]["Placement"]["PartitionNumber"], number),
        Err(expected) => assert_eq!(code(&answer), expected),
    }
}

#[test]
fn partitions_are_filled_evenly() {
    let mut desk = Desk::new();
    desk.ec2("CreatePlacementGroup", json!({"GroupName": "parts", "Strategy": "partition", "PartitionCount": 3})).expect("a group");
    let run = launch(&mut desk, 6, json!({"Placement": {"GroupName": "parts"}})).expect("run");
    let mut parts: Vec<i64> =
        run["Instances"].as_array().into_iter().flatten().filter_map(|it| it.pointer("/Placement/PartitionNumber")?.as_i64()).collect();
    parts.sort_unstable();
    assert_eq!(parts, [1, 1, 2, 2, 3, 3]);
}

#[rstest]
#[case(Market::OnDemand, json!({}), "VcpuLimitExceeded")]
#[case(Market::Spot, json!({"InstanceMarketOptions": {"MarketType": "spot"}}), "MaxSpotInstanceCountExceeded")]
fn quotas_count_vcpus_by_class_and_market(#[case] market: Market, #[case] more: Value, #[case] refusal: &str) {
    let quotas = vec![Quota { class: "standard".into(), market, vcpus: 4 }];
    let mut desk = Desk::with(Settings { quotas, ..Settings::default() });
    let ids = texts(&launch(&mut desk, 2, more.clone()).expect("four vCPUs")["Instances"], "InstanceId");
    assert_eq!(code(&launch(&mut desk, 1, more.clone())), refusal);
    let other = if market == Market::Spot { json!({}) } else { json!({"InstanceMarketOptions": {"MarketType": "spot"}}) };
    launch(&mut desk, 1, other).expect("the other market has none");
    desk.ec2("TerminateInstances", json!({"InstanceIds": [ids[0]]})).expect("terminated");
    launch(&mut desk, 1, more).expect("two vCPUs are free again");
}

#[test]
fn what_was_just_made_may_not_be_found_yet() {
    let wait = Delay::fixed(SignedDuration::from_secs(5));
    let consistency = Consistency { instances: wait, launch_templates: wait, ..Default::default() };
    let mut desk = Desk::with(Settings {
        consistency,
        iam_propagation: Propagation { profiles: wait, ..Propagation::default() },
        ..Settings::default()
    });
    let ids = texts(&launch(&mut desk, 1, json!({})).expect("run")["Instances"], "InstanceId");
    let tags = json!([{"Key": "a", "Value": "b"}]);
    assert_eq!(code(&desk.ec2("DescribeInstances", json!({"InstanceIds": ids}))), "InvalidInstanceID.NotFound");
    assert_eq!(code(&desk.ec2("CreateTags", json!({"Resources": ids, "Tags": tags}))), "InvalidInstanceID.NotFound");
    assert_eq!(desk.instances(json!({})).len(), 0);
    let data = json!({"ImageId": desk.image(), "InstanceType": "m5.large"});
    desk.ec2("CreateLaunchTemplate", json!({"LaunchTemplateName": "fresh", "LaunchTemplateData": data})).expect("a template");
    let by_template = json!({"LaunchTemplate": {"LaunchTemplateName": "fresh"}});
    assert_eq!(code(&launch(&mut desk, 1, by_template.clone())), "InvalidLaunchTemplateName.NotFoundException");
    desk.ask(Service::Iam, "CreateInstanceProfile", json!({"InstanceProfileName": "fresh"})).expect("a profile");
    let by_profile = json!({"IamInstanceProfile": {"Name": "fresh"}});
    assert!(message(launch(&mut desk, 1, by_profile.clone())).contains("Invalid IAM Instance Profile name"));
    desk.pass(5);
    assert_eq!(desk.instances(json!({"InstanceIds": ids})).len(), 1);
    launch(&mut desk, 1, by_template).expect("found");
    launch(&mut desk, 1, by_profile).expect("found");
}

#[test]
fn a_failing_check_and_a_scheduled_event_are_shown() {
    let mut desk = Desk::new();
    let ids = texts(&launch(&mut desk, 2, json!({})).expect("run")["Instances"], "InstanceId");
    desk.pass(300);
    let incident = Incident::Impair { instances: vec![ids[0].clone()], check: Check::System };
    desk.state.befall(desk.now, &incident).expect("impaired");
    desk.state.befall(desk.now, &retirement(vec![ids[1].clone()])).expect("announced");
    let mut found = |name: &str, value: &str| {
        let answer = desk.ec2("DescribeInstanceStatus", json!({"Filters": filter(name, &[value])})).expect("statuses");
        texts(&answer["InstanceStatuses"], "InstanceId")
    };
    assert_eq!(found("system-status.status", "impaired"), [ids[0].clone()]);
    assert_eq!(found("instance-status.status", "impaired"), Vec::<String>::new());
    assert_eq!(found("event.code", "instance-retirement"), [ids[1].clone()]);
}

#[test]
fn a_zone_that_is_down_gives_nothing_and_fails_who_asks() {
    let mut desk = Desk::new();
    let ids = texts(&launch(&mut desk, 1, json!({})).expect("run")["Instances"], "InstanceId");
    let other =
        texts(&launch(&mut desk, 1, json!({"Placement": {"AvailabilityZone": "us-west-2b"}})).expect("run")["Instances"], "InstanceId");
    desk.pass(300);
    let until = Some(desk.now + SignedDuration::from_mins(10));
    let effect = Effect::ZoneDown { zones: vec!["us-west-2a".into()] };
    desk.state.add_rule(Rule { name: "zone-down 1".into(), effect, count: None, since: None, until });
    assert_eq!(code(&desk.ec2("DescribeInstances", json!({}))), "Unavailable");
    assert_eq!(code(&desk.ec2("DescribeInstances", json!({"InstanceIds": ids}))), "Unavailable");
    assert_eq!(desk.instances(json!({"InstanceIds": other})).len(), 1);
    assert_eq!(code(&launch(&mut desk, 1, json!({}))), "InsufficientInstanceCapacity");
    let statuses =
        desk.ec2("DescribeInstanceStatus", json!({"Filters": filter("instance-status.status", &["impaired"])})).expect("statuses");
    assert_eq!(texts(&statuses["InstanceStatuses"], "InstanceId"), ids);
    desk.pass(600);
    assert_eq!(desk.instances(json!({})).len(), 2);
}

#[test]
fn a_release_moves_what_is_recommended() {
    let mut desk = Desk::new();
    let before = desk.image();
    desk.state.befall(desk.now, &Incident::ImageRelease).expect("released");
    let after = desk.image();
    assert_ne!(before, after);
    let found = desk.ec2("DescribeImages", json!({"ImageIds": [before, after]})).expect("images");
    let names = texts(&found["Images"], "Name");
    assert!(names.iter().any(|name| name.ends_with("-v20261120")) && names.len() == 2, "{names:?}");
    desk.state.befall(desk.now, &Incident::ImageRelease).expect("released again");
    assert_ne!(desk.image(), after);
}

#[test]
fn protection_is_an_attribute() {
    let mut desk = Desk::new();
    let ids = texts(&launch(&mut desk, 1, json!({"DisableApiTermination": true})).expect("run")["Instances"], "InstanceId");
    let error = desk.ec2("TerminateInstances", json!({"InstanceIds": ids}));
    assert_eq!(code(&error), "OperationNotPermitted");
    let asked = json!({"InstanceId": ids[0], "Attribute": "disableApiTermination"});
    assert_eq!(desk.ec2("DescribeInstanceAttribute", asked).expect("shown")["DisableApiTermination"], json!({"Value": true}));
    desk.ec2("ModifyInstanceAttribute", json!({"InstanceId": ids[0], "DisableApiTermination": {"Value": false}})).expect("modified");
    desk.ec2("TerminateInstances", json!({"InstanceIds": ids})).expect("terminated");
    let wrong = json!({"InstanceId": ids[0], "InstanceType": {"Value": "m5.xlarge"}});
    assert_eq!(code(&desk.ec2("ModifyInstanceAttribute", wrong)), "IncorrectInstanceState");
}

#[test]
fn a_zonal_shift_is_applied_until_it_expires() {
    let (mut desk, lab) = Desk::furnished(Settings::default());
    let arn = json!({"resourceIdentifier": lab.cluster_arn});
    let start = json!({"resourceIdentifier": lab.cluster_arn, "awayFrom": "usw2-az1", "expiresIn": "1h", "comment": "a drill"});
    assert_eq!(code(&desk.ask(Service::ArcZonalShift, "StartZonalShift", start.clone())), "ResourceNotFoundException");
    desk.state.enable_zonal_shift("lab");
    let started = desk.ask(Service::ArcZonalShift, "StartZonalShift", start.clone()).expect("started");
    assert_eq!(code(&desk.ask(Service::ArcZonalShift, "StartZonalShift", start)), "ConflictException");
    let held = desk.ask(Service::ArcZonalShift, "GetManagedResource", arn.clone()).expect("managed");
    assert_eq!(held.pointer("/zonalShifts/0/appliedStatus"), Some(&json!("APPLIED")));
    assert_eq!(held.pointer("/appliedWeights/usw2-az1"), Some(&json!(0.0)));
    desk.pass(3600);
    assert_eq!(desk.ask(Service::ArcZonalShift, "GetManagedResource", arn).expect("managed")["zonalShifts"], json!([]));
    let cancel = json!({"zonalShiftId": started["zonalShiftId"]});
    assert_eq!(code(&desk.ask(Service::ArcZonalShift, "CancelZonalShift", cancel)), "ResourceNotFoundException");
}
