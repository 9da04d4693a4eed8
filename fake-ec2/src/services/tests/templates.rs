//! Launch templates.

use rstest::rstest;
use serde_json::{Value, json};

use super::{Desk, code, filter, texts};

fn template(desk: &mut Desk, name: &str, data: Value) -> Value {
    let tags = json!([{"ResourceType": "launch-template", "Tags": [{"Key": "eks:eks-cluster-name", "Value": "lab"}]}]);
    let input = json!({"LaunchTemplateName": name, "LaunchTemplateData": data, "TagSpecifications": tags});
    desk.ec2("CreateLaunchTemplate", input).expect("a template")["LaunchTemplate"].clone()
}

#[test]
fn a_template_is_made_found_and_deleted() {
    let mut desk = Desk::new();
    let made = template(&mut desk, "karpenter.k8s.aws/123", json!({"InstanceType": "m5.large"}));
    let found = desk.ec2("DescribeLaunchTemplates", json!({"LaunchTemplateNames": ["karpenter.k8s.aws/123"]})).expect("templates");
    assert_eq!(found["LaunchTemplates"], json!([made]));
    let by_tag = json!({"Filters": filter("tag:eks:eks-cluster-name", &["lab"]), "MaxResults": 200});
    assert_eq!(desk.ec2("DescribeLaunchTemplates", by_tag).expect("templates")["LaunchTemplates"].as_array().map(Vec::len), Some(1));
    desk.ec2("DeleteLaunchTemplate", json!({"LaunchTemplateId": made["LaunchTemplateId"]})).expect("deleted");
    assert_eq!(
        code(&desk.ec2("DeleteLaunchTemplate", json!({"LaunchTemplateName": "karpenter.k8s.aws/123"}))),
        "InvalidLaunchTemplateName.NotFoundException"
    );
}

#[test]
fn versions_count_up_and_are_named() {
    let mut desk = Desk::new();
    template(&mut desk, "web", json!({"InstanceType": "m5.large", "KeyName": "old"}));
    let input = json!({"LaunchTemplateName": "web", "SourceVersion": "1", "LaunchTemplateData": {"KeyName": "new"}});
    let made = desk.ec2("CreateLaunchTemplateVersion", input).expect("a version");
    assert_eq!(made["LaunchTemplateVersion"]["LaunchTemplateData"], json!({"InstanceType": "m5.large", "KeyName": "new"}));
    let versions = |desk: &mut Desk, asked: Value| {
        let answer = desk.ec2("DescribeLaunchTemplateVersions", json!({"LaunchTemplateName": "web", "Versions": asked})).expect("versions");
        answer["LaunchTemplateVersions"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|it| it["VersionNumber"].as_i64())
            .collect::<Vec<_>>()
    };
    assert_eq!(versions(&mut desk, json!([])), [2, 1]);
    assert_eq!(versions(&mut desk, json!(["$Latest"])), [2]);
    assert_eq!(versions(&mut desk, json!(["$Default"])), [1]);
    desk.ec2("ModifyLaunchTemplate", json!({"LaunchTemplateName": "web", "DefaultVersion": "2"})).expect("modified");
    assert_eq!(versions(&mut desk, json!(["$Default"])), [2]);
    assert_eq!(
        code(&desk.ec2("DescribeLaunchTemplateVersions", json!({"LaunchTemplateName": "web", "Versions": ["7"]}))),
        "InvalidLaunchTemplateId.VersionNotFound"
    );
}

#[test]
fn a_request_goes_over_its_template() {
    let mut desk = Desk::new();
    let (image, groups) = (desk.image(), desk.ec2("DescribeSecurityGroups", json!({})).expect("groups"));
    let group = texts(&groups["SecurityGroups"], "GroupId").remove(0);
    let subnets = desk.ec2("DescribeSubnets", json!({"Filters": filter("availability-zone", &["us-west-2c"])})).expect("subnets");
    let subnet = texts(&subnets["Subnets"], "SubnetId").remove(0);
    let data = json!({
        "ImageId": image, "InstanceType": "m5.large", "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [group], "AssociatePublicIpAddress": false}],
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "template"}, {"Key": "b", "Value": "template"}]}],
    });
    template(&mut desk, "web", data);
    let input = json!({
        "LaunchTemplate": {"LaunchTemplateName": "web", "Version": "$Latest"}, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.micro",
        "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": subnet}],
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "request"}]}],
    });
    let answer = desk.ec2("RunInstances", input).expect("an instance");
    let instance = &answer["Instances"][0];
    assert_eq!((&instance["InstanceType"], &instance["SubnetId"]), (&json!("t3.micro"), &json!(subnet)));
    assert_eq!(texts(&instance["SecurityGroups"], "GroupId"), [group]);
    assert!(instance.get("PublicIpAddress").is_none());
    let tags = instance["Tags"].as_array().expect("tags");
    assert!(tags.contains(&json!({"Key": "a", "Value": "request"})) && tags.contains(&json!({"Key": "b", "Value": "template"})));
}

#[rstest]
#[case("CreateLaunchTemplate", json!({"LaunchTemplateName": "web", "LaunchTemplateData": {}}), "InvalidLaunchTemplateName.AlreadyExistsException")]
#[case("CreateLaunchTemplate", json!({"LaunchTemplateName": "a b", "LaunchTemplateData": {}}), "InvalidLaunchTemplateName.MalformedException")]
#[case("CreateLaunchTemplate", json!({"LaunchTemplateName": "new"}), "MissingParameter")]
#[case("CreateLaunchTemplate", json!({"LaunchTemplateName": "new", "LaunchTemplateData": {"UserData": "%"}}), "InvalidUserData.Malformed")]
#[case("CreateLaunchTemplate", json!({"LaunchTemplateName": "new", "LaunchTemplateData": {}, "DryRun": true}), "DryRunOperation")]
#[case("CreateLaunchTemplateVersion", json!({"LaunchTemplateName": "absent", "LaunchTemplateData": {}}), "InvalidLaunchTemplateName.NotFoundException")]
#[case("CreateLaunchTemplateVersion", json!({"LaunchTemplateName": "web", "SourceVersion": "4", "LaunchTemplateData": {}}), "InvalidLaunchTemplateId.VersionNotFound")]
#[case("DescribeLaunchTemplates", json!({"LaunchTemplateNames": ["absent"]}), "InvalidLaunchTemplateName.NotFoundException")]
#[case("DescribeLaunchTemplates", json!({"LaunchTemplateIds": ["lt-0123456789abcdef0"]}), "InvalidLaunchTemplateId.NotFound")]
#[case("DescribeLaunchTemplates", json!({"MaxResults": 201}), "InvalidParameterValue")]
#[case("DescribeLaunchTemplateVersions", json!({}), "MissingParameter")]
fn refused(#[case] operation: &'static str, #[case] input: Value, #[case] expected: &str) {
    let mut desk = Desk::new();
    template(&mut desk, "web", json!({"InstanceType": "m5.large"}));
    assert_eq!(code(&desk.ec2(operation, input)), expected);
    assert_eq!(desk.ec2("DescribeLaunchTemplates", json!({})).expect("templates")["LaunchTemplates"].as_array().map(Vec::len), Some(1));
}
