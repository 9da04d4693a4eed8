//! Auto Scaling groups: who may change them, and what they hold.

use rstest::rstest;
use serde_json::{Value, json};

use super::{Answer, Desk, code, failed, texts};
use crate::model::Service;
use crate::state::{EksLab, IamMode, Settings};

impl Desk {
    fn as_root(&mut self, service: Service, operation: &'static str, input: Value) -> Value {
        self.state.ask(self.now, service, operation, input).unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    fn scaling(&mut self, operation: &'static str, input: Value) -> Answer {
        self.ask(Service::AutoScaling, operation, input)
    }

    /// A template of that name, of m5.large.
    fn template(&mut self, name: &str) {
        let parameter = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id";
        let image = self.as_root(Service::Ssm, "GetParameter", json!({"Name": parameter}))["Parameter"]["Value"].clone();
        let data = json!({"ImageId": image, "InstanceType": "m5.large"});
        self.as_root(Service::Ec2, "CreateLaunchTemplate", json!({"LaunchTemplateName": name, "LaunchTemplateData": data}));
    }

    fn group(&mut self, name: &str) -> Value {
        self.as_root(Service::AutoScaling, "DescribeAutoScalingGroups", json!({"AutoScalingGroupNames": [name]}))["AutoScalingGroups"][0]
            .clone()
    }
}

/// A desk that enforces, with the role `autoscaler` and a group of two instances with these tags.
fn guarded(statements: &Value, tags: &Value) -> (Desk, Vec<String>) {
    let mut desk = Desk::with(Settings { iam: IamMode::Enforce, ..Settings::default() });
    let trust = json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}}).to_string();
    desk.as_root(Service::Iam, "CreateRole", json!({"RoleName": "autoscaler", "AssumeRolePolicyDocument": trust}));
    let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    desk.as_root(Service::Iam, "PutRolePolicy", json!({"RoleName": "autoscaler", "PolicyName": "own", "PolicyDocument": document}));
    desk.template("nodes");
    desk.as_root(
        Service::AutoScaling,
        "CreateAutoScalingGroup",
        json!({
            "AutoScalingGroupName": "nodes", "MinSize": 0, "MaxSize": 4, "DesiredCapacity": 2, "AvailabilityZones": ["us-west-2a"],
            "LaunchTemplate": {"LaunchTemplateName": "nodes"}, "Tags": tags,
        }),
    );
    desk.pass(120);
    let instances = texts(&desk.group("nodes")["Instances"], "InstanceId");
    assert_eq!(instances.len(), 2);
    (desk, instances)
}

/// Source: kubernetes/autoscaler, cluster-autoscaler/cloudprovider/aws/README.md, "Minimal IAM Permissions Policy", narrowed to tagged
/// groups as the EKS user guide has it.
fn autoscalers_policy(key: &str) -> Value {
    json!([
        {"Effect": "Allow", "Resource": "*", "Action": [
            "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeLaunchConfigurations",
            "autoscaling:DescribeScalingActivities", "autoscaling:DescribeTags", "ec2:DescribeInstanceTypes",
            "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeImages", "ec2:GetInstanceTypesFromInstanceRequirements", "eks:DescribeNodegroup",
        ]},
        {"Effect": "Allow", "Resource": "*", "Action": ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"],
            "Condition": {"StringEquals": {format!("{key}/k8s.io/cluster-autoscaler/enabled"): "true"}}},
    ])
}

#[rstest]
#[case("aws:ResourceTag")]
#[case("autoscaling:ResourceTag")]
fn cluster_autoscalers_policy_reaches_its_groups_and_no_others(#[case] key: &str) {
    let tag = json!({"Key": "k8s.io/cluster-autoscaler/enabled", "Value": "true", "PropagateAtLaunch": false});
    for (tags, allowed) in [(json!([tag]), true), (json!([]), false)] {
        let (mut desk, instances) = guarded(&autoscalers_policy(key), &tags);
        let described = desk.as_role("autoscaler", Service::AutoScaling, "DescribeAutoScalingGroups", json!({}));
        assert!(described.is_ok(), "{described:?}");
        let activities = json!({"AutoScalingGroupName": "nodes"});
        assert!(desk.as_role("autoscaler", Service::AutoScaling, "DescribeScalingActivities", activities).is_ok());
        for (operation, input) in [
            ("SetDesiredCapacity", json!({"AutoScalingGroupName": "nodes", "DesiredCapacity": 2})),
            ("TerminateInstanceInAutoScalingGroup", json!({"InstanceId": instances[0], "ShouldDecrementDesiredCapacity": true})),
        ] {
            let answer = desk.as_role("autoscaler", Service::AutoScaling, operation, input);
            assert_eq!(code(&answer), if allowed { "no error" } else { "AccessDenied" }, "{operation} {tags}");
        }
    }
}

#[test]
fn a_policy_may_name_a_group_by_its_arn() {
    let other = json!({"Effect": "Allow", "Action": "autoscaling:Describe*", "Resource": "*"});
    let (mut desk, _) = guarded(&other, &json!([]));
    let arn = desk.group("nodes")["AutoScalingGroupARN"].clone();
    let input = json!({"AutoScalingGroupName": "nodes", "DesiredCapacity": 2});
    let why = failed(desk.as_role("autoscaler", Service::AutoScaling, "SetDesiredCapacity", input.clone()));
    assert!(why.message.contains(arn.as_str().expect("an ARN")), "{}", why.message);
    let document =
        json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "autoscaling:*", "Resource": arn}}).to_string();
    desk.as_root(Service::Iam, "PutRolePolicy", json!({"RoleName": "autoscaler", "PolicyName": "own", "PolicyDocument": document}));
    assert!(desk.as_role("autoscaler", Service::AutoScaling, "SetDesiredCapacity", input).is_ok());
    let tags = |group: &str| json!({"Tags": [{"ResourceId": group, "ResourceType": "auto-scaling-group", "Key": "a", "Value": "b"}]});
    assert!(desk.as_role("autoscaler", Service::AutoScaling, "CreateOrUpdateTags", tags("nodes")).is_ok());
    assert_eq!(code(&desk.as_role("autoscaler", Service::AutoScaling, "CreateOrUpdateTags", tags("other"))), "AccessDenied");
}

#[test]
fn a_node_groups_own_tags_are_asked() {
    let mut desk = Desk::with(Settings { iam: IamMode::Enforce, ..Settings::default() });
    let lab = desk.state.furnish_eks(desk.now, &EksLab::new("lab", "1.36")).expect("a lab");
    for (name, team) in [("a", "us"), ("b", "them")] {
        let input = json!({
            "clusterName": "lab", "nodegroupName": name, "subnets": lab.subnet_ids, "nodeRole": lab.node_role_arn, "tags": {"team": team},
            "scalingConfig": {"minSize": 0, "maxSize": 1, "desiredSize": 0},
        });
        desk.as_root(Service::Eks, "CreateNodegroup", input);
    }
    let trust = json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}}).to_string();
    desk.as_root(Service::Iam, "CreateRole", json!({"RoleName": "r", "AssumeRolePolicyDocument": trust}));
    let document = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "eks:DescribeNodegroup", "Resource": "*",
        "Condition": {"StringEquals": {"aws:ResourceTag/team": "us"}}}})
    .to_string();
    desk.as_root(Service::Iam, "PutRolePolicy", json!({"RoleName": "r", "PolicyName": "own", "PolicyDocument": document}));
    for (name, allowed) in [("a", "no error"), ("b", "AccessDeniedException")] {
        let input = json!({"clusterName": "lab", "nodegroupName": name});
        assert_eq!(code(&desk.as_role("r", Service::Eks, "DescribeNodegroup", input)), allowed);
    }
}

/// A group of weighed types in one zone: m5.xlarge for four units, c5.large for three.
fn weighed(desired: u64, strategy: Option<&str>) -> Desk {
    let mut desk = Desk::new();
    desk.template("nodes");
    let input = json!({
        "AutoScalingGroupName": "nodes", "MinSize": 0, "MaxSize": 20, "DesiredCapacity": desired, "AvailabilityZones": ["us-west-2a"],
        "MixedInstancesPolicy": {
            "LaunchTemplate": {"LaunchTemplateSpecification": {"LaunchTemplateName": "nodes"}, "Overrides": [
                {"InstanceType": "m5.xlarge", "WeightedCapacity": "4"}, {"InstanceType": "c5.large", "WeightedCapacity": "3"},
            ]},
            "InstancesDistribution": {"OnDemandAllocationStrategy": strategy.unwrap_or("prioritized")},
        },
    });
    desk.scaling("CreateAutoScalingGroup", input).expect("a group");
    desk.pass(120);
    desk
}

fn types(desk: &mut Desk) -> Vec<(String, String)> {
    let group = desk.group("nodes");
    let shown = group["Instances"].as_array().into_iter().flatten().map(|it| {
        let text = |member: &str| it[member].as_str().unwrap_or_default().to_owned();
        (text("InstanceType"), text("WeightedCapacity"))
    });
    shown.collect()
}

#[test]
fn capacity_is_counted_in_weights() {
    let one = ("m5.xlarge".to_owned(), "4".to_owned());
    let mut desk = weighed(8, None);
    assert_eq!(types(&mut desk), [one.clone(), one.clone()]);
    // What is desired is met, and one more would be too many to lose.
    desk.scaling("SetDesiredCapacity", json!({"AutoScalingGroupName": "nodes", "DesiredCapacity": 5})).expect("set");
    desk.pass(120);
    assert_eq!(types(&mut desk).len(), 2);
    desk.scaling("SetDesiredCapacity", json!({"AutoScalingGroupName": "nodes", "DesiredCapacity": 4})).expect("set");
    desk.pass(120);
    assert_eq!(types(&mut desk), std::slice::from_ref(&one));
    desk.scaling("SetDesiredCapacity", json!({"AutoScalingGroupName": "nodes", "DesiredCapacity": 9})).expect("set");
    desk.pass(120);
    assert_eq!(types(&mut desk).len(), 3);
    let id = texts(&desk.group("nodes")["Instances"], "InstanceId")[0].clone();
    let gone = json!({"InstanceId": id, "ShouldDecrementDesiredCapacity": true});
    desk.scaling("TerminateInstanceInAutoScalingGroup", gone).expect("terminated");
    assert_eq!(desk.group("nodes")["DesiredCapacity"], 5);
    let shown = desk.scaling("DescribeAutoScalingInstances", json!({})).expect("instances");
    assert_eq!(texts(&shown["AutoScalingInstances"], "WeightedCapacity")[0], "4");
}

#[test]
fn the_lowest_price_is_that_of_a_unit() {
    let mut desk = weighed(6, Some("lowest-price"));
    // $0.085 for three units against $0.192 for four.
    assert_eq!(types(&mut desk), vec![("c5.large".to_owned(), "3".to_owned()); 2]);
    let policy = json!({
        "LaunchTemplate": {"LaunchTemplateSpecification": {"LaunchTemplateName": "nodes"}, "Overrides": [
            {"InstanceType": "m5.xlarge", "WeightedCapacity": "9"}, {"InstanceType": "c5.large", "WeightedCapacity": "1"},
        ]},
        "InstancesDistribution": {"OnDemandAllocationStrategy": "lowest-price"},
    });
    desk.scaling("UpdateAutoScalingGroup", json!({"AutoScalingGroupName": "nodes", "MixedInstancesPolicy": policy})).expect("updated");
    desk.pass(120);
    assert!(types(&mut desk).contains(&("m5.xlarge".to_owned(), "9".to_owned())), "{:?}", types(&mut desk));
}

#[rstest]
#[case(json!([{"InstanceType": "m5.large", "WeightedCapacity": "0"}]))]
#[case(json!([{"InstanceType": "m5.large", "WeightedCapacity": "1000"}]))]
#[case(json!([{"InstanceType": "m5.large", "WeightedCapacity": "1.5"}]))]
#[case(json!([{"InstanceType": "m5.large", "WeightedCapacity": "1"}, {"InstanceType": "c5.large"}]))]
fn weights_are_of_all_types_or_of_none(#[case] overrides: Value) {
    let mut desk = Desk::new();
    desk.template("nodes");
    let input = json!({
        "AutoScalingGroupName": "nodes", "MinSize": 0, "MaxSize": 1, "AvailabilityZones": ["us-west-2a"],
        "MixedInstancesPolicy": {"LaunchTemplate": {"LaunchTemplateSpecification": {"LaunchTemplateName": "nodes"}, "Overrides": overrides}},
    });
    assert_eq!(code(&desk.scaling("CreateAutoScalingGroup", input)), "ValidationError");
}

#[rstest]
#[case("SetDesiredCapacity", json!({"DesiredCapacity": -1}), "New SetDesiredCapacity value -1 is below min value 0")]
#[case("SetDesiredCapacity", json!({"DesiredCapacity": 21}), "New SetDesiredCapacity value 21 is above max value 20")]
#[case("UpdateAutoScalingGroup", json!({"DesiredCapacity": -1}), "Desired capacity:-1 must be between")]
#[case("UpdateAutoScalingGroup", json!({"MaxSize": -1}), "Max bound")]
#[case("UpdateAutoScalingGroup", json!({"MinSize": -1}), "Min bound")]
fn sizes_are_not_negative(#[case] operation: &'static str, #[case] mut input: Value, #[case] why: &str) {
    let mut desk = weighed(4, None);
    input["AutoScalingGroupName"] = json!("nodes");
    let error = failed(desk.scaling(operation, input));
    assert!(error.code == "ValidationError" && error.message.contains(why), "{error}");
    assert_eq!(desk.group("nodes")["DesiredCapacity"], 4);
}
