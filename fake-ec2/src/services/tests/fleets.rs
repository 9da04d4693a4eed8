//! CreateFleet as Karpenter calls it.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rstest::rstest;
use serde_json::{Value, json};

use super::{Desk, code, failed, texts};
use crate::catalogue::MicroUsd;
use crate::model::Service;
use crate::state::settings::{Capacity, SpotPrice};
use crate::state::{Effect, Lab, Market, Rule, Settings};

/// A lab with a launch template as Karpenter makes one, and an instance profile.
fn prepared(settings: Settings) -> (Desk, Lab) {
    let (mut desk, lab) = Desk::furnished(settings);
    desk.ask(Service::Iam, "CreateInstanceProfile", json!({"InstanceProfileName": "lab_profile"})).expect("a profile");
    let role = json!({"InstanceProfileName": "lab_profile", "RoleName": "KarpenterNodeRole-lab"});
    desk.ask(Service::Iam, "AddRoleToInstanceProfile", role).expect("a role");
    let data = template_data(&mut desk, &lab);
    template(&mut desk, "karpenter.k8s.aws/1", data);
    (desk, lab)
}

fn template_data(desk: &mut Desk, lab: &Lab) -> Value {
    json!({
        "ImageId": desk.image(),
        "IamInstanceProfile": {"Name": "lab_profile"},
        "UserData": STANDARD.encode("MIME-Version: 1.0"),
        "Monitoring": {"Enabled": false},
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpProtocolIpv6": "disabled", "HttpPutResponseHopLimit": 1, "HttpTokens": "required"},
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30, "VolumeType": "gp3", "Encrypted": true}}],
        "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [lab.security_group_id]}],
        "TagSpecifications": [{"ResourceType": "network-interface", "Tags": [{"Key": "team", "Value": "a"}]}],
    })
}

fn template(desk: &mut Desk, name: &str, data: Value) {
    desk.ec2("CreateLaunchTemplate", json!({"LaunchTemplateName": name, "LaunchTemplateData": data})).expect("a template");
}

/// Types in all zones of the lab, cheapest market default.
fn request(lab: &Lab, kind: &str, strategy: &str, types: &[&str], count: u64) -> Value {
    let zones = ["us-west-2a", "us-west-2b", "us-west-2c"];
    let overrides: Vec<Value> = types
        .iter()
        .flat_map(|name| {
            lab.subnet_ids
                .iter()
                .zip(zones)
                .map(move |(subnet, zone)| json!({"InstanceType": name, "SubnetId": subnet, "AvailabilityZone": zone}))
        })
        .collect();
    let option = if kind == "spot" { "SpotOptions" } else { "OnDemandOptions" };
    json!({
        "Type": "instant",
        "LaunchTemplateConfigs": [{
            "LaunchTemplateSpecification": {"LaunchTemplateName": "karpenter.k8s.aws/1", "Version": "$Latest"}, "Overrides": overrides,
        }],
        "TargetCapacitySpecification": {"DefaultTargetCapacityType": kind, "TotalTargetCapacity": count},
        option: {"AllocationStrategy": strategy},
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": "karpenter.sh/nodepool", "Value": "default"}]},
            {"ResourceType": "volume", "Tags": [{"Key": "karpenter.sh/nodepool", "Value": "default"}]},
        ],
    })
}

const LAB_TYPES: [&str; 3] = ["m5.large", "t3.small", "t3.medium"];

/// Types of a reply's instances, one per id, sorted.
fn launched(answer: &Value) -> Vec<String> {
    let groups = answer["Instances"].as_array().cloned().unwrap_or_default();
    let mut types: Vec<String> = groups
        .iter()
        .flat_map(|group| {
            let name = group["InstanceType"].as_str().unwrap_or_default().to_owned();
            vec![name; group["InstanceIds"].as_array().map_or(0, Vec::len)]
        })
        .collect();
    types.sort();
    types
}

fn ids(answer: &Value) -> Vec<String> {
    let groups = answer["Instances"].as_array().cloned().unwrap_or_default();
    groups
        .iter()
        .flat_map(|group| group["InstanceIds"].as_array().cloned().unwrap_or_default())
        .filter_map(|id| Some(id.as_str()?.to_owned()))
        .collect()
}

#[test]
fn lowest_price_takes_the_cheapest_type() {
    let (mut desk, lab) = prepared(Settings::default());
    let answer = desk.ec2("CreateFleet", request(&lab, "on-demand", "lowest-price", &LAB_TYPES, 1)).expect("a fleet");
    assert_eq!((launched(&answer), &answer["Errors"]), (vec!["t3.small".to_owned()], &json!([])));
    let group = &answer["Instances"][0];
    assert_eq!(group["Lifecycle"], "on-demand");
    let overrides = &group["LaunchTemplateAndOverrides"]["Overrides"];
    assert_eq!(overrides["InstanceType"], "t3.small");
    let at = lab.subnet_ids.iter().position(|id| id == overrides["SubnetId"].as_str().unwrap_or_default()).expect("a subnet of the lab");
    assert_eq!(overrides["AvailabilityZone"], ["us-west-2a", "us-west-2b", "us-west-2c"][at]);
    assert!(answer["FleetId"].as_str().is_some_and(|id| id.starts_with("fleet-") && id.len() == 42));
}

#[test]
fn the_template_takes_effect_whole() {
    let (mut desk, lab) = prepared(Settings::default());
    let answer = desk.ec2("CreateFleet", request(&lab, "on-demand", "lowest-price", &["m5.large"], 1)).expect("a fleet");
    let id = ids(&answer).remove(0);
    let image = desk.image();
    let instance = desk.instances(json!({"InstanceIds": [id]})).remove(0);
    assert_eq!(instance["ImageId"], image);
    assert_eq!(texts(&instance["SecurityGroups"], "GroupId"), std::slice::from_ref(&lab.security_group_id));
    assert_eq!(instance["IamInstanceProfile"]["Arn"], "arn:aws:iam::123456789012:instance-profile/lab_profile");
    assert_eq!(instance["MetadataOptions"]["HttpTokens"], "required");
    assert_eq!(instance["MetadataOptions"]["HttpPutResponseHopLimit"], 1);
    assert_eq!(instance["State"], json!({"Code": 0, "Name": "pending"}));
    assert!(instance.get("InstanceLifecycle").is_none() && instance.get("SpotInstanceRequestId").is_none());
    let tags: BTreeSet<String> = texts(&instance["Tags"], "Key").into_iter().collect();
    for key in ["karpenter.sh/nodepool", "aws:ec2:fleet-id", "aws:ec2launchtemplate:id", "aws:ec2launchtemplate:version"] {
        assert!(tags.contains(key), "{key} in {tags:?}");
    }
    let volumes = desk.ec2("DescribeVolumes", json!({"Filters": [{"Name": "attachment.instance-id", "Values": [id]}]})).expect("volumes");
    assert_eq!((&volumes["Volumes"][0]["Size"], &volumes["Volumes"][0]["Encrypted"]), (&json!(30), &json!(true)));
    assert_eq!(texts(&volumes["Volumes"][0]["Tags"], "Key"), ["karpenter.sh/nodepool"]);
    let interfaces = desk.ec2("DescribeNetworkInterfaces", json!({"Filters": super::filter("tag:team", &["a"])})).expect("interfaces");
    assert_eq!(interfaces["NetworkInterfaces"][0]["Attachment"]["InstanceId"], json!(id));
    let machine = desk.state.machines().into_iter().find(|machine| machine.id == id).expect("a machine");
    assert_eq!(machine.user_data, b"MIME-Version: 1.0");
    assert_eq!(machine.role.as_deref(), Some("KarpenterNodeRole-lab"));
    assert_eq!((machine.vcpus, machine.memory_mib, machine.network.max_pods), (2, 8192, 29));
    assert_eq!(machine.price_per_hour, Some(MicroUsd(96_000)));
    assert_eq!(machine.image_family, "al2023");
}

#[test]
fn spot_instances_carry_their_request() {
    let (mut desk, lab) = prepared(Settings::default());
    let answer = desk.ec2("CreateFleet", request(&lab, "spot", "price-capacity-optimized", &LAB_TYPES, 1)).expect("a fleet");
    assert_eq!(answer["Instances"][0]["Lifecycle"], "spot");
    let instance = desk.instances(json!({"InstanceIds": ids(&answer)})).remove(0);
    assert_eq!(instance["InstanceLifecycle"], "spot");
    assert!(instance["SpotInstanceRequestId"].as_str().is_some_and(|id| id.starts_with("sir-") && id.len() == 12));
}

fn capacity(name: &str, zone: Option<&str>, instances: u64) -> Capacity {
    Capacity { instance_type: Some(name.into()), zone: zone.map(str::to_owned), market: None, instances: Some(instances) }
}

#[test]
fn a_full_pool_is_passed_over_and_told() {
    let settings = Settings { capacity: vec![capacity("t3.small", None, 0)], ..Settings::default() };
    let (mut desk, lab) = prepared(settings);
    let answer = desk.ec2("CreateFleet", request(&lab, "on-demand", "lowest-price", &LAB_TYPES, 1)).expect("a fleet");
    assert_eq!(launched(&answer), ["t3.medium"]);
    let errors = answer["Errors"].as_array().expect("errors");
    assert_eq!(errors.len(), 3, "one per zone of t3.small");
    for error in errors {
        assert_eq!(error["ErrorCode"], "InsufficientInstanceCapacity");
        assert_eq!(error["Lifecycle"], "on-demand");
        let overrides = &error["LaunchTemplateAndOverrides"]["Overrides"];
        assert_eq!(overrides["InstanceType"], "t3.small");
        assert!(overrides["AvailabilityZone"].is_string() && overrides["SubnetId"].is_string());
    }
}

#[test]
fn the_text_of_a_full_pool_names_the_zones_that_have_room() {
    let settings = Settings { capacity: vec![capacity("m5.large", Some("us-west-2a"), 0)], ..Settings::default() };
    let (mut desk, lab) = prepared(settings);
    let mut input = request(&lab, "on-demand", "lowest-price", &["m5.large"], 1);
    let first = input["LaunchTemplateConfigs"][0]["Overrides"][0].clone();
    input["LaunchTemplateConfigs"][0]["Overrides"] = json!([first]);
    let answer = desk.ec2("CreateFleet", input).expect("a fleet");
    assert_eq!(answer["Instances"], json!([]));
    let text = answer["Errors"][0]["ErrorMessage"].as_str().expect("a message");
    let start = "We currently do not have sufficient m5.large capacity in the Availability Zone you requested (us-west-2a).";
    assert!(text.starts_with(start) && text.ends_with("choosing us-west-2b, us-west-2c, us-west-2d."), "{text}");
}

#[test]
fn a_fleet_is_filled_from_several_pools_and_in_part() {
    let rows = vec![
        capacity("m5.large", Some("us-west-2a"), 2),
        capacity("m5.large", Some("us-west-2b"), 1),
        capacity("m5.large", Some("us-west-2c"), 0),
    ];
    let (mut desk, lab) = prepared(Settings { capacity: rows, ..Settings::default() });
    let answer = desk.ec2("CreateFleet", request(&lab, "on-demand", "lowest-price", &["m5.large"], 5)).expect("a fleet");
    assert_eq!((ids(&answer).len(), answer["Instances"].as_array().map(Vec::len)), (3, Some(2)), "grouped per pool");
    assert_eq!(answer["Errors"].as_array().map(Vec::len), Some(3), "every pool fell short");
    let ended = json!({"InstanceIds": ids(&answer)});
    desk.ec2("TerminateInstances", ended).expect("terminated");
    let again = desk.ec2("CreateFleet", request(&lab, "on-demand", "lowest-price", &["m5.large"], 3)).expect("a fleet");
    assert_eq!(ids(&again).len(), 3, "terminated instances give their capacity back");
}

#[rstest]
#[case("price-capacity-optimized", "m5.large")]
#[case("capacity-optimized", "c5.large")]
#[case("lowest-price", "t3.small")]
#[case("capacity-optimized-prioritized", "c5.large")]
fn spot_strategies_choose_differently(#[case] strategy: &str, #[case] chosen: &str) {
    let price = |name: &str, micro| SpotPrice { instance_type: name.into(), zone: None, per_hour: MicroUsd(micro) };
    let settings = Settings {
        spot_prices: vec![price("t3.small", 1_000), price("m5.large", 2_000), price("c5.large", 3_000)],
        // t3.small is cheapest and too shallow for two, m5.large holds two, c5.large is deepest.
        capacity: vec![capacity("t3.small", None, 1), capacity("m5.large", None, 10), capacity("c5.large", None, 50)],
        ..Settings::default()
    };
    let (mut desk, lab) = prepared(settings);
    let mut input = request(&lab, "spot", strategy, &["t3.small", "m5.large", "c5.large"], 2);
    for at in input["LaunchTemplateConfigs"][0]["Overrides"].as_array_mut().expect("overrides") {
        at["Priority"] = json!(if at["InstanceType"] == "c5.large" { 1.0 } else { 2.0 });
    }
    let answer = desk.ec2("CreateFleet", input).expect("a fleet");
    assert_eq!(launched(&answer), [chosen, chosen]);
}

#[test]
fn prioritized_follows_the_priorities() {
    let (mut desk, lab) = prepared(Settings::default());
    let mut input = request(&lab, "on-demand", "prioritized", &LAB_TYPES, 1);
    for at in input["LaunchTemplateConfigs"][0]["Overrides"].as_array_mut().expect("overrides") {
        at["Priority"] = json!(if at["InstanceType"] == "m5.large" { 0.5 } else { 1.5 });
    }
    assert_eq!(launched(&desk.ec2("CreateFleet", input).expect("a fleet")), ["m5.large"]);
}

#[test]
fn diversified_spreads_over_all_pools() {
    let (mut desk, lab) = prepared(Settings::default());
    let answer = desk.ec2("CreateFleet", request(&lab, "spot", "diversified", &["m5.large"], 6)).expect("a fleet");
    let per_pool: Vec<usize> =
        answer["Instances"].as_array().expect("groups").iter().map(|group| group["InstanceIds"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(per_pool, [2, 2, 2]);
}

#[test]
fn a_subnet_without_addresses_gives_none() {
    let (mut desk, lab) = prepared(Settings::default());
    for id in &lab.subnet_ids {
        assert!(desk.state.set_free_addresses(id, 1));
    }
    let answer = desk.ec2("CreateFleet", request(&lab, "on-demand", "lowest-price", &["m5.large"], 4)).expect("a fleet");
    assert_eq!(ids(&answer).len(), 3);
    let codes: BTreeSet<String> = texts(&answer["Errors"], "ErrorCode").into_iter().collect();
    assert_eq!(codes, BTreeSet::from(["InsufficientFreeAddressesInSubnet".to_owned()]));
    let subnets = desk.ec2("DescribeSubnets", json!({"SubnetIds": lab.subnet_ids})).expect("subnets");
    assert!(subnets["Subnets"].as_array().expect("subnets").iter().all(|subnet| subnet["AvailableIpAddressCount"] == 0));
    desk.ec2("TerminateInstances", json!({"InstanceIds": ids(&answer)})).expect("terminated");
    desk.pass(120);
    let subnets = desk.ec2("DescribeSubnets", json!({"SubnetIds": lab.subnet_ids})).expect("subnets");
    assert!(subnets["Subnets"].as_array().expect("subnets").iter().all(|subnet| subnet["AvailableIpAddressCount"] == 1));
}

#[test]
fn a_dry_run_creates_nothing_and_uses_no_token_up() {
    let (mut desk, lab) = prepared(Settings::default());
    let mut input = request(&lab, "on-demand", "lowest-price", &LAB_TYPES, 1);
    input["ClientToken"] = json!("once");
    input["DryRun"] = json!(true);
    let error = failed(desk.ec2("CreateFleet", input.clone()));
    assert_eq!((error.code.as_str(), error.status), ("DryRunOperation", 412));
    assert_eq!(desk.instances(json!({})).len(), 0);
    input["DryRun"] = json!(false);
    assert_eq!(ids(&desk.ec2("CreateFleet", input).expect("a fleet")).len(), 1);
}

#[test]
fn a_client_token_is_answered_once() {
    let (mut desk, lab) = prepared(Settings::default());
    let mut input = request(&lab, "on-demand", "lowest-price", &LAB_TYPES, 2);
    input["ClientToken"] = json!("once");
    let first = desk.ec2("CreateFleet", input.clone()).expect("a fleet");
    desk.pass(30);
    assert_eq!(desk.ec2("CreateFleet", input.clone()).expect("the same"), first);
    assert_eq!(desk.instances(json!({})).len(), 2);
    input["TargetCapacitySpecification"]["TotalTargetCapacity"] = json!(3);
    assert_eq!(code(&desk.ec2("CreateFleet", input)), "IdempotentParameterMismatch");
}

#[rstest]
#[case(
    "profile",
    "InvalidParameterValue",
    "Value (absent) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
)]
#[case("image", "InvalidAMIID.NotFound", "The image id '[ami-0123456789abcdef0]' does not exist")]
#[case("group", "InvalidGroup.NotFound", "The security group 'sg-0123456789abcdef0' does not exist")]
#[case("network", "InvalidParameter", "belong to different networks.")]
#[case("architecture", "InvalidParameterValue", "does not match the architecture 'arm64'")]
fn what_is_wrong_in_a_template_fails_its_launches(#[case] fault: &str, #[case] code: &str, #[case] text: &str) {
    let (mut desk, lab) = prepared(Settings::default());
    let mut data = template_data(&mut desk, &lab);
    match fault {
        "profile" => data["IamInstanceProfile"]["Name"] = json!("absent"),
        "image" => data["ImageId"] = json!("ami-0123456789abcdef0"),
        "group" => data["NetworkInterfaces"][0]["Groups"] = json!(["sg-0123456789abcdef0"]),
        "network" => {
            let groups = desk.ec2("DescribeSecurityGroups", json!({"GroupNames": ["default"]})).expect("groups");
            data["NetworkInterfaces"][0]["Groups"] = json!(texts(&groups["SecurityGroups"], "GroupId"));
        }
        _ => {
            let name = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/arm64/standard/recommended/image_id";
            data["ImageId"] =
                desk.ask(Service::Ssm, "GetParameter", json!({"Name": name})).expect("a parameter")["Parameter"]["Value"].clone();
        }
    }
    template(&mut desk, "broken", data);
    let mut input = request(&lab, "on-demand", "lowest-price", &["m5.large"], 1);
    input["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["LaunchTemplateName"] = json!("broken");
    let answer = desk.ec2("CreateFleet", input).expect("an instant fleet answers with errors inside");
    assert_eq!((&answer["Instances"], answer["Errors"].as_array().map(Vec::len)), (&json!([]), Some(3)));
    assert_eq!(answer["Errors"][0]["ErrorCode"], code);
    let message = answer["Errors"][0]["ErrorMessage"].as_str().unwrap_or_default();
    assert!(message.contains(text), "{message}");
    assert_eq!(answer["Errors"][0]["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"], "m5.large");
}

#[rstest]
#[case(json!({"LaunchTemplateName": "absent", "Version": "$Latest"}), "InvalidLaunchTemplateName.NotFoundException")]
#[case(json!({"LaunchTemplateId": "lt-0123456789abcdef0", "Version": "$Latest"}), "InvalidLaunchTemplateId.NotFound")]
#[case(json!({"LaunchTemplateName": "karpenter.k8s.aws/1", "Version": "9"}), "InvalidLaunchTemplateId.VersionNotFound")]
fn a_template_that_is_not_there_fails_the_call(#[case] named: Value, #[case] code: &str) {
    let (mut desk, lab) = prepared(Settings::default());
    let mut input = request(&lab, "on-demand", "lowest-price", &["m5.large"], 1);
    input["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"] = named;
    assert_eq!(super::code(&desk.ec2("CreateFleet", input)), code);
}

#[rstest]
#[case("Type", json!("maintain"), "UnsupportedOperation")]
#[case("LaunchTemplateConfigs", json!([]), "MissingParameter")]
#[case("TargetCapacitySpecification", json!({"TotalTargetCapacity": 0}), "InvalidParameterValue")]
#[case("TargetCapacitySpecification", json!({"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "capacity-block"}), "UnsupportedOperation")]
#[case("OnDemandOptions", json!({"AllocationStrategy": "diversified"}), "InvalidParameterValue")]
fn a_wrong_request_is_refused(#[case] member: &str, #[case] value: Value, #[case] code: &str) {
    let (mut desk, lab) = prepared(Settings::default());
    let mut input = request(&lab, "on-demand", "lowest-price", &["m5.large"], 1);
    input[member] = value;
    assert_eq!(super::code(&desk.ec2("CreateFleet", input)), code);
    assert_eq!(desk.instances(json!({})).len(), 0);
}

#[test]
fn a_type_that_a_zone_lacks_is_an_error_beside_those_that_launch() {
    let (mut desk, lab) =
        prepared(Settings { zones: vec!["us-west-2a".into(), "us-west-2b".into(), "us-west-2c".into()], ..Settings::default() });
    let mut input = request(&lab, "on-demand", "lowest-price", &["m5.large"], 1);
    input["LaunchTemplateConfigs"][0]["Overrides"][0]["InstanceType"] = json!("p5.48xlarge");
    let lacks = crate::catalogue::region("us-west-2")
        .expect("a region")
        .offerings_of("p5.48xlarge")
        .iter()
        .all(|offering| offering.zone.name != "us-west-2a");
    let answer = desk.ec2("CreateFleet", input).expect("a fleet");
    assert_eq!(launched(&answer), ["m5.large"]);
    if lacks {
        assert_eq!(answer["Errors"][0]["ErrorCode"], "Unsupported");
    }
}

#[test]
fn a_maximum_price_below_the_market_buys_nothing() {
    let (mut desk, lab) = prepared(Settings::default());
    let mut input = request(&lab, "spot", "price-capacity-optimized", &["m5.large"], 1);
    for at in input["LaunchTemplateConfigs"][0]["Overrides"].as_array_mut().expect("overrides") {
        at["MaxPrice"] = json!("0.0001");
    }
    let answer = desk.ec2("CreateFleet", input).expect("a fleet");
    assert_eq!((ids(&answer).len(), answer["Errors"][0]["ErrorCode"].as_str()), (0, Some("SpotMaxPriceTooLow")));
}

#[test]
fn a_fault_of_capacity_holds_until_its_instant_and_counts_its_hits() {
    let (mut desk, lab) = prepared(Settings::default());
    let effect = Effect::InsufficientCapacity { instance_types: vec!["m5.large".into()], zones: Vec::new(), markets: vec![Market::Spot] };
    let until = Some(desk.now + jiff::SignedDuration::from_secs(60));
    desk.state.add_rule(Rule { name: "ice".into(), effect, count: None, since: None, until });
    let input = |desk: &mut Desk, kind: &str, strategy: &str| {
        desk.ec2("CreateFleet", request(&lab, kind, strategy, &["m5.large"], 1)).expect("a fleet")
    };
    let answer = input(&mut desk, "spot", "price-capacity-optimized");
    assert_eq!((ids(&answer).len(), answer["Errors"][0]["ErrorCode"].as_str()), (0, Some("UnfulfillableCapacity")));
    assert_eq!(desk.state.rule_hits("ice"), Some(3));
    assert_eq!(ids(&input(&mut desk, "on-demand", "lowest-price")).len(), 1, "another market");
    desk.pass(60);
    assert_eq!(ids(&input(&mut desk, "spot", "price-capacity-optimized")).len(), 1, "the fault is over");
}

#[test]
fn a_minimum_that_cannot_be_met_launches_nothing() {
    let settings = Settings { capacity: vec![capacity("m5.large", None, 1)], ..Settings::default() };
    let (mut desk, lab) = prepared(settings);
    let mut input = request(&lab, "on-demand", "lowest-price", &["m5.large"], 6);
    input["OnDemandOptions"]["MinTargetCapacity"] = json!(5);
    let answer = desk.ec2("CreateFleet", input).expect("a fleet");
    assert_eq!(ids(&answer).len(), 0);
    assert!(!answer["Errors"].as_array().expect("errors").is_empty());
}

#[test]
fn tags_of_spot_requests_need_spot() {
    let (mut desk, lab) = prepared(Settings::default());
    let mut data = template_data(&mut desk, &lab);
    data["TagSpecifications"] = json!([{"ResourceType": "spot-instances-request", "Tags": [{"Key": "a", "Value": "b"}]}]);
    template(&mut desk, "karpenter.k8s.aws/spot", data);
    let mut input = request(&lab, "on-demand", "lowest-price", &["m5.large"], 1);
    input["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["LaunchTemplateName"] = json!("karpenter.k8s.aws/spot");
    let answer = desk.ec2("CreateFleet", input).expect("a fleet");
    assert!(
        answer["Errors"][0]["ErrorMessage"]
            .as_str()
            .is_some_and(|text| text.starts_with("You cannot specify tags for Spot instances requests"))
    );
}

/// Prices of the moment decide, not those of the start.
#[rstest]
#[case("lowest-price")]
#[case("price-capacity-optimized")]
fn a_moved_spot_price_moves_the_choice(#[case] strategy: &str) {
    let price = |name: &str, micro| SpotPrice { instance_type: name.into(), zone: None, per_hour: MicroUsd(micro) };
    let settings = Settings { spot_prices: vec![price("m5.large", 2_000), price("c5.large", 3_000)], ..Settings::default() };
    let (mut desk, lab) = prepared(settings);
    let input = request(&lab, "spot", strategy, &["m5.large", "c5.large"], 1);
    assert_eq!(launched(&desk.ec2("CreateFleet", input.clone()).expect("a fleet")), ["m5.large"]);
    let effect = crate::state::Effect::SpotPrice {
        instance_types: vec!["m5.large".into()],
        zones: Vec::new(),
        price: crate::state::SpotPriceIs::PerHour(MicroUsd(4_000)),
    };
    desk.state.add_rule(crate::state::Rule { name: "p".into(), effect, count: None, since: Some(desk.now), until: None });
    assert_eq!(launched(&desk.ec2("CreateFleet", input).expect("a fleet")), ["c5.large"]);
    assert!(desk.state.rule_met("p") > Some(0));
}

/// Types that a fleet by attributes would take, from the operation that previews them.
fn preview(desk: &mut Desk, asked: serde_json::Value) -> Vec<String> {
    let input = json!({"ArchitectureTypes": ["x86_64"], "VirtualizationTypes": ["hvm"], "InstanceRequirements": asked});
    texts(&desk.ec2("GetInstanceTypesFromInstanceRequirements", input).expect("types")["InstanceTypes"], "InstanceType")
}

#[test]
fn attributes_find_types() {
    let mut desk = Desk::new();
    let small = json!({"VCpuCount": {"Min": 2, "Max": 2}, "MemoryMiB": {"Min": 8192, "Max": 8192}});
    let plain = preview(&mut desk, small.clone());
    assert!(plain.contains(&"m5.large".to_owned()) && plain.contains(&"m5d.large".to_owned()) && plain.len() > 10);
    assert!(!plain.iter().any(|name| name.starts_with('t') || name.contains("metal") || name.starts_with("m6g")), "{plain:?}");
    let with = |member: &str, value: serde_json::Value| {
        let mut asked = small.clone();
        asked[member] = value;
        asked
    };
    let cases: [(&str, serde_json::Value, &[&str], &[&str]); 9] = [
        ("BurstablePerformance", json!("required"), &["t3.large"], &["m5.large"]),
        ("LocalStorage", json!("required"), &["m5d.large"], &["m5.large"]),
        ("LocalStorage", json!("excluded"), &["m5.large"], &["m5d.large"]),
        ("CpuManufacturers", json!(["amd"]), &["m5a.large"], &["m5.large"]),
        ("ExcludedInstanceTypes", json!(["m5*"]), &["m6i.large"], &["m5.large", "m5d.large"]),
        ("AllowedInstanceTypes", json!(["m5.*"]), &["m5.large"], &["m6i.large"]),
        ("MemoryGiBPerVCpu", json!({"Min": 4.0, "Max": 4.0}), &["m5.large"], &[]),
        ("TotalLocalStorageGB", json!({"Min": 70.0, "Max": 80.0}), &["m5d.large"], &["m5.large"]),
        ("InstanceGenerations", json!(["previous"]), &["m4.large"], &["m5.large", "m7i.large"]),
    ];
    for (member, value, there, gone) in cases {
        let found = preview(&mut desk, with(member, value));
        assert!(there.iter().all(|name| found.iter().any(|found| found == name)), "{member}: {found:?}");
        assert!(!gone.iter().any(|name| found.iter().any(|found| found == name)), "{member}: {found:?}");
    }
    let gpu =
        json!({"VCpuCount": {"Min": 4, "Max": 4}, "MemoryMiB": {"Min": 0}, "AcceleratorNames": ["a10g"], "AcceleratorCount": {"Min": 1}});
    assert_eq!(preview(&mut desk, gpu), ["g5.xlarge"]);
    let dear = with("OnDemandMaxPricePercentageOverLowestPrice", json!(5));
    assert!(preview(&mut desk, dear).len() < plain.len(), "price protection leaves the dear ones out");
}

#[test]
fn a_fleet_takes_the_cheapest_type_with_the_attributes() {
    let (mut desk, lab) = prepared(Settings::default());
    let mut input = request(&lab, "on-demand", "lowest-price", &["m5.large"], 2);
    let subnet = input["LaunchTemplateConfigs"][0]["Overrides"][0]["SubnetId"].clone();
    let asked = json!({"VCpuCount": {"Min": 2, "Max": 4}, "MemoryMiB": {"Min": 4096, "Max": 16384}, "AllowedInstanceTypes": ["m5*.large", "c5*.large", "m5.xlarge"]});
    input["LaunchTemplateConfigs"][0]["Overrides"] = json!([{"SubnetId": subnet, "InstanceRequirements": asked}]);
    let answer = desk.ec2("CreateFleet", input.clone()).expect("a fleet");
    let cheapest = launched(&answer)[0].clone();
    assert_eq!((launched(&answer).len(), cheapest.as_str()), (2, "c5a.large"));
    assert_eq!(answer["Errors"], json!([]));
    input["LaunchTemplateConfigs"][0]["Overrides"][0]["InstanceType"] = json!("m5.large");
    assert_eq!(code(&desk.ec2("CreateFleet", input.clone())), "InvalidParameterCombination");
    input["LaunchTemplateConfigs"][0]["Overrides"] =
        json!([{"SubnetId": subnet, "InstanceRequirements": {"VCpuCount": {"Min": 9999}, "MemoryMiB": {"Min": 1}}}]);
    assert_eq!(code(&desk.ec2("CreateFleet", input)), "InvalidParameterValue");
}

#[test]
fn a_fleet_is_told_to_those_who_name_it_and_goes_with_its_instances() {
    let (mut desk, lab) = prepared(Settings::default());
    let made = desk.ec2("CreateFleet", request(&lab, "on-demand", "lowest-price", &["m5.large"], 2)).expect("a fleet");
    let id = made["FleetId"].clone();
    assert_eq!(desk.ec2("DescribeFleets", json!({})).expect("fleets")["Fleets"], json!([]));
    let told = desk.ec2("DescribeFleets", json!({"FleetIds": [id]})).expect("fleets")["Fleets"][0].clone();
    assert_eq!((&told["FleetState"], &told["Type"], &told["FulfilledCapacity"]), (&json!("active"), &json!("instant"), &json!(2.0)));
    assert_eq!(told["Instances"], made["Instances"]);
    let unknown = json!({"FleetIds": ["fleet-0"]});
    assert_eq!(code(&desk.ec2("DescribeFleets", unknown)), "InvalidFleetId.NotFound");
    let delete = |desk: &mut Desk, terminate: bool| {
        desk.ec2("DeleteFleets", json!({"FleetIds": [id, "fleet-0"], "TerminateInstances": terminate})).expect("told")
    };
    let kept = delete(&mut desk, false);
    assert_eq!(
        (texts(&kept["SuccessfulFleetDeletions"], "FleetId").len(), texts(&kept["UnsuccessfulFleetDeletions"], "FleetId").len()),
        (0, 2)
    );
    let gone = delete(&mut desk, true);
    assert_eq!(gone["SuccessfulFleetDeletions"][0]["CurrentFleetState"], "deleted_terminating");
    assert_eq!(gone["UnsuccessfulFleetDeletions"][0]["Error"]["Code"], "fleetIdDoesNotExist");
    assert!(desk.state.machines().iter().all(|machine| machine.phase == crate::state::Phase::ShuttingDown));
}
