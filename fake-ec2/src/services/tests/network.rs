//! A fresh account's network, and what learners build.

use rstest::rstest;
use serde_json::{Value, json};

use super::{Desk, code, filter, texts};
use crate::state::Settings;

#[test]
fn a_fresh_account_has_a_default_vpc_with_a_subnet_per_zone() {
    let mut desk = Desk::new();
    let vpcs = desk.ec2("DescribeVpcs", json!({"Filters": filter("is-default", &["true"])})).expect("vpcs");
    assert_eq!(vpcs["Vpcs"][0]["CidrBlock"], "172.31.0.0/16");
    let subnets = desk.ec2("DescribeSubnets", json!({"Filters": filter("default-for-az", &["true"])})).expect("subnets");
    let mut rows: Vec<(String, i64)> = subnets["Subnets"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|subnet| {
            (subnet["AvailabilityZone"].as_str().unwrap_or_default().to_owned(), subnet["AvailableIpAddressCount"].as_i64().unwrap_or(0))
        })
        .collect();
    rows.sort();
    let zones = ["us-west-2a", "us-west-2b", "us-west-2c", "us-west-2d"];
    assert_eq!(rows, zones.map(|zone| (zone.to_owned(), 4091)));
    let groups = desk.ec2("DescribeSecurityGroups", json!({})).expect("groups");
    assert_eq!(texts(&groups["SecurityGroups"], "GroupName"), ["default"]);
    for (operation, member) in
        [("DescribeInstances", "Reservations"), ("DescribeLaunchTemplates", "LaunchTemplates"), ("DescribeVolumes", "Volumes")]
    {
        assert_eq!(desk.ec2(operation, json!({})).expect("an answer")[member], json!([]));
    }
}

#[test]
fn an_account_may_see_fewer_zones() {
    let mut desk = Desk::with(Settings { zones: vec!["us-west-2b".into()], ..Settings::default() });
    let zones = desk.ec2("DescribeAvailabilityZones", json!({})).expect("zones");
    assert_eq!(texts(&zones["AvailabilityZones"], "ZoneName"), ["us-west-2b"]);
    let offerings = desk.ec2(
        "DescribeInstanceTypeOfferings",
        json!({"LocationType": "availability-zone", "Filters": filter("instance-type", &["m5.large"])}),
    );
    assert_eq!(texts(&offerings.expect("offerings")["InstanceTypeOfferings"], "Location"), ["us-west-2b"]);
}

#[test]
fn a_network_is_built_and_taken_down() {
    let mut desk = Desk::new();
    let tags = json!([{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "mine"}]}]);
    let vpc = desk.ec2("CreateVpc", json!({"CidrBlock": "10.0.0.0/16", "TagSpecifications": tags})).expect("a vpc");
    let vpc_id = vpc["Vpc"]["VpcId"].as_str().expect("an id").to_owned();
    let subnet =
        desk.ec2("CreateSubnet", json!({"VpcId": vpc_id, "CidrBlock": "10.0.1.0/24", "AvailabilityZone": "us-west-2c"})).expect("a subnet");
    assert_eq!((&subnet["Subnet"]["AvailabilityZoneId"], &subnet["Subnet"]["AvailableIpAddressCount"]), (&json!("usw2-az3"), &json!(251)));
    let input = json!({"GroupName": "web", "Description": "web", "VpcId": vpc_id});
    let group = desk.ec2("CreateSecurityGroup", input.clone()).expect("a group");
    assert_eq!(code(&desk.ec2("CreateSecurityGroup", input)), "InvalidGroup.Duplicate");
    let ingress = json!({"GroupId": group["GroupId"], "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]});
    desk.ec2("AuthorizeSecurityGroupIngress", ingress.clone()).expect("authorized");
    assert_eq!(code(&desk.ec2("AuthorizeSecurityGroupIngress", ingress.clone())), "InvalidPermission.Duplicate");
    let found = desk.ec2("DescribeSecurityGroups", json!({"Filters": filter("ip-permission.to-port", &["80"])})).expect("groups");
    assert_eq!(texts(&found["SecurityGroups"], "GroupName"), ["web"]);
    desk.ec2("RevokeSecurityGroupIngress", ingress.clone()).expect("revoked");
    assert_eq!(code(&desk.ec2("RevokeSecurityGroupIngress", ingress)), "InvalidPermission.NotFound");
    assert_eq!(code(&desk.ec2("DeleteVpc", json!({"VpcId": vpc_id}))), "DependencyViolation");
    desk.ec2("DeleteSubnet", json!({"SubnetId": subnet["Subnet"]["SubnetId"]})).expect("deleted");
    desk.ec2("DeleteSecurityGroup", json!({"GroupId": group["GroupId"]})).expect("deleted");
    desk.ec2("DeleteVpc", json!({"VpcId": vpc_id})).expect("deleted");
    assert_eq!(code(&desk.ec2("DescribeVpcs", json!({"VpcIds": [vpc_id]}))), "InvalidVpcID.NotFound");
}

#[rstest]
#[case("CreateVpc", json!({"CidrBlock": "10.0.0.0/8"}), "InvalidVpc.Range")]
#[case("CreateVpc", json!({}), "MissingParameter")]
#[case("CreateSubnet", json!({"VpcId": "vpc-0123456789abcdef0", "CidrBlock": "10.0.0.0/24"}), "InvalidVpcID.NotFound")]
#[case("CreateSubnet", json!({"VpcId": "DEFAULT", "CidrBlock": "10.0.0.0/24"}), "InvalidSubnet.Range")]
#[case("CreateSubnet", json!({"VpcId": "DEFAULT", "CidrBlock": "172.31.0.0/24"}), "InvalidSubnet.Conflict")]
#[case("CreateSubnet", json!({"VpcId": "DEFAULT", "CidrBlock": "172.31.240.0/24", "AvailabilityZone": "eu-west-1a"}), "InvalidParameterValue")]
#[case("CreateVpc", json!({"CidrBlock": "10.0.0.0/16", "DryRun": true}), "DryRunOperation")]
#[case("DescribeSubnets", json!({"SubnetIds": ["subnet-0123456789abcdef0"]}), "InvalidSubnetID.NotFound")]
#[case("DescribeSubnets", json!({"Filters": [{"Name": "colour", "Values": ["red"]}]}), "InvalidParameterValue")]
#[case("DescribeSecurityGroups", json!({"GroupIds": ["sg-0123456789abcdef0"]}), "InvalidGroup.NotFound")]
#[case("DescribeNetworkInterfaces", json!({"NetworkInterfaceIds": ["eni-0123456789abcdef0"]}), "InvalidNetworkInterfaceID.NotFound")]
#[case("CreateTags", json!({"Resources": ["i-0123456789abcdef0"], "Tags": [{"Key": "a", "Value": "b"}]}), "InvalidInstanceID.NotFound")]
#[case("DescribeAvailabilityZones", json!({"ZoneNames": ["us-west-2z"]}), "InvalidParameterValue")]
fn refused(#[case] operation: &'static str, #[case] mut input: Value, #[case] expected: &str) {
    let mut desk = Desk::new();
    if input["VpcId"] == "DEFAULT" {
        let vpcs = desk.ec2("DescribeVpcs", json!({})).expect("vpcs");
        input["VpcId"] = vpcs["Vpcs"][0]["VpcId"].clone();
    }
    let input: Value =
        Value::Object(input.as_object().cloned().expect("a structure").into_iter().filter(|(_, value)| !value.is_null()).collect());
    assert_eq!(code(&desk.ec2(operation, input)), expected);
}

#[test]
fn tags_come_and_go() {
    let mut desk = Desk::new();
    let subnets = desk.ec2("DescribeSubnets", json!({})).expect("subnets");
    let id = texts(&subnets["Subnets"], "SubnetId").remove(0);
    let tags = json!([{"Key": "karpenter.sh/discovery", "Value": "lab"}, {"Key": "empty"}]);
    desk.ec2("CreateTags", json!({"Resources": [id], "Tags": tags})).expect("tagged");
    for by in [filter("tag:karpenter.sh/discovery", &["lab"]), filter("tag-key", &["karpenter.sh/discovery"])] {
        let found = desk.ec2("DescribeSubnets", json!({"Filters": by, "MaxResults": 500})).expect("subnets");
        assert_eq!(texts(&found["Subnets"], "SubnetId"), std::slice::from_ref(&id));
    }
    let listed = desk.ec2("DescribeTags", json!({"Filters": filter("resource-id", &[&id])})).expect("tags");
    assert_eq!(listed["Tags"].as_array().map(Vec::len), Some(2));
    desk.ec2("DeleteTags", json!({"Resources": [id], "Tags": [{"Key": "karpenter.sh/discovery", "Value": "other"}]}))
        .expect("nothing to do");
    assert_eq!(desk.ec2("DescribeTags", json!({})).expect("tags")["Tags"].as_array().map(Vec::len), Some(2));
    desk.ec2("DeleteTags", json!({"Resources": [id]})).expect("all gone");
    assert_eq!(desk.ec2("DescribeTags", json!({})).expect("tags")["Tags"], json!([]));
}

#[test]
fn what_was_just_made_is_not_found_at_once_if_told_so() {
    let late = crate::state::Delay::fixed(jiff::SignedDuration::from_secs(5));
    let consistency = crate::state::Consistency { security_groups: late, subnets: late, ..Default::default() };
    let mut desk = Desk::with(crate::state::Settings { consistency, ..Default::default() });
    let vpc = desk.ec2("CreateVpc", json!({"CidrBlock": "10.9.0.0/16"})).expect("a VPC")["Vpc"]["VpcId"].clone();
    let subnet =
        desk.ec2("CreateSubnet", json!({"VpcId": vpc, "CidrBlock": "10.9.0.0/24"})).expect("a subnet")["Subnet"]["SubnetId"].clone();
    let group =
        desk.ec2("CreateSecurityGroup", json!({"GroupName": "g", "Description": "d", "VpcId": vpc})).expect("a group")["GroupId"].clone();
    let by_id = |desk: &mut Desk| {
        let subnets = desk.ec2("DescribeSubnets", json!({"SubnetIds": [subnet]}));
        let groups = desk.ec2("DescribeSecurityGroups", json!({"GroupIds": [group]}));
        (code(&subnets).to_owned(), code(&groups).to_owned())
    };
    assert_eq!(by_id(&mut desk), ("InvalidSubnetID.NotFound".into(), "InvalidGroup.NotFound".into()));
    let listed =
        desk.ec2("DescribeSubnets", json!({"Filters": super::filter("vpc-id", &[vpc.as_str().expect("an id")])})).expect("subnets");
    assert_eq!(listed["Subnets"], json!([]));
    desk.pass(5);
    assert_eq!(by_id(&mut desk), ("no error".into(), "no error".into()));
}
