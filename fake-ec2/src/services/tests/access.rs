//! IAM decides: who may do what, what a refused client is told, and what Karpenter's own permissions allow.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};

use super::{Answer, Desk, call, code, failed};
use crate::model::Service;
use crate::services::access::refusal;
use crate::state::{Delay, Effect, EksLab, IamMode, Propagation, Rule, Settings};

fn enforcing() -> Desk {
    Desk::with(Settings { iam: IamMode::Enforce, ..Settings::default() })
}

fn root(desk: &mut Desk, service: Service, operation: &'static str, input: Value) -> Value {
    desk.state.ask(desk.now, service, operation, input).unwrap_or_else(|error| panic!("{operation}: {error}"))
}

/// A role with one inline policy of these statements.
fn role(desk: &mut Desk, name: &str, statements: &Value) -> String {
    let trust = json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}}).to_string();
    let made = root(desk, Service::Iam, "CreateRole", json!({"RoleName": name, "AssumeRolePolicyDocument": trust}));
    let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    root(desk, Service::Iam, "PutRolePolicy", json!({"RoleName": name, "PolicyName": "own", "PolicyDocument": document}));
    made["Role"]["Arn"].as_str().expect("an ARN").to_owned()
}

fn allow(action: &str) -> Value {
    json!({"Effect": "Allow", "Action": action, "Resource": "*"})
}

#[test]
fn off_asks_nobody() {
    let mut desk = Desk::new();
    assert!(desk.as_role("nobody", Service::Ec2, "DescribeSubnets", json!({})).is_ok());
    assert_eq!(desk.state.denied(), 0);
}

#[test]
fn log_notes_and_lets_pass() {
    let mut desk = Desk::with(Settings { iam: IamMode::Log, ..Settings::default() });
    assert!(desk.as_role("nobody", Service::Ec2, "DescribeSubnets", json!({})).is_ok());
    let denial = desk.state.denials().next_back().expect("a denial");
    assert_eq!((denial.action.as_str(), denial.enforced), ("ec2:DescribeSubnets", false));
    desk.state.set_iam_mode(IamMode::Enforce);
    assert_eq!(code(&desk.as_role("nobody", Service::Ec2, "DescribeSubnets", json!({}))), "UnauthorizedOperation");
}

#[rstest]
#[case(Service::Ec2, "DescribeSubnets", json!({}), "UnauthorizedOperation", 403)]
#[case(Service::Iam, "ListRoles", json!({}), "AccessDenied", 403)]
#[case(Service::Ssm, "GetParameter", json!({"Name": "/a"}), "AccessDeniedException", 400)]
#[case(Service::Eks, "ListClusters", json!({}), "AccessDeniedException", 403)]
#[case(Service::Pricing, "GetProducts", json!({"ServiceCode": "AmazonEC2"}), "AccessDeniedException", 400)]
#[case(Service::Events, "ListRules", json!({}), "AccessDeniedException", 400)]
#[case(Service::Sqs, "ListQueues", json!({}), "AccessDeniedException", 403)]
#[case(Service::AutoScaling, "DescribeAutoScalingGroups", json!({}), "AccessDenied", 403)]
#[case(Service::Sts, "AssumeRole", json!({"RoleArn": "arn:aws:iam::123456789012:role/r", "RoleSessionName": "s2"}), "AccessDenied", 403)]
fn each_service_refuses_in_its_words(
    #[case] service: Service,
    #[case] operation: &'static str,
    #[case] input: Value,
    #[case] code: &str,
    #[case] status: u16,
) {
    let mut desk = enforcing();
    let error = failed(desk.as_role("r", service, operation, input));
    assert_eq!((error.code.as_str(), error.status), (code, status));
    assert!(error.message.contains("is not authorized to perform: "), "{}", error.message);
}

#[test]
fn root_needs_no_policy_and_identity_is_free() {
    let mut desk = enforcing();
    assert!(desk.state.ask(desk.now, Service::Ec2, "DescribeSubnets", json!({})).is_ok());
    let mut asked = call(Service::Ec2, "DescribeSubnets", json!({}));
    asked.caller.principal = "arn:aws:iam::123456789012:root".into();
    assert!(desk.as_caller(&asked).is_ok());
    assert!(desk.as_role("nobody", Service::Sts, "GetCallerIdentity", json!({})).is_ok());
    desk.state.set_service_control_policies(vec![json!({"Statement": allow("iam:*")}).to_string()]).expect("a policy");
    assert!(failed(desk.as_caller(&asked)).message.contains("because no service control policy allows the ec2:DescribeSubnets action"));
}

#[test]
fn a_dry_run_asks_and_changes_nothing() {
    let mut desk = enforcing();
    role(&mut desk, "r", &allow("ec2:DescribeSubnets"));
    let input = json!({"ImageId": desk.image_as_root(), "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "DryRun": true});
    assert_eq!(code(&desk.as_role("r", Service::Ec2, "RunInstances", input.clone())), "UnauthorizedOperation");
    role_policy(&mut desk, "r", &allow("ec2:*"));
    assert_eq!(code(&desk.as_role("r", Service::Ec2, "RunInstances", input)), "DryRunOperation");
    assert_eq!(desk.state.machines().len(), 0);
}

fn role_policy(desk: &mut Desk, name: &str, statements: &Value) {
    let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    root(desk, Service::Iam, "PutRolePolicy", json!({"RoleName": name, "PolicyName": "own", "PolicyDocument": document}));
}

impl Desk {
    fn image_as_root(&mut self) -> String {
        let name = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id";
        let answer = self.state.ask(self.now, Service::Ssm, "GetParameter", json!({"Name": name})).expect("a parameter");
        answer["Parameter"]["Value"].as_str().expect("an id").to_owned()
    }
}

/// Which of a launch's resources a policy must allow, and which keys each carries.
#[rstest]
#[case::all(json!([allow("ec2:*")]), true)]
#[case::no_subnet(json!([allow("ec2:*"), {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:subnet/*"}]), false)]
#[case::type_of_the_instance(json!([allow("ec2:*"), {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "*",
    "Condition": {"StringNotEquals": {"ec2:InstanceType": "m5.large"}, "ArnLike": {"aws:PrincipalArn": "*"}, "Null": {"ec2:InstanceType": "false"}}}]), true)]
#[case::other_type(json!([allow("ec2:*"), {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*",
    "Condition": {"StringNotEquals": {"ec2:InstanceType": ["m5.xlarge"]}}}]), false)]
#[case::type_is_no_key_of_a_subnet(json!([{"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "*",
    "Condition": {"StringEquals": {"ec2:InstanceType": "m5.large"}}}]), false)]
#[case::type_if_exists(json!([{"Effect": "Allow", "Action": "ec2:*", "Resource": "*",
    "Condition": {"StringEqualsIfExists": {"ec2:InstanceType": "m5.large"}}}]), true)]
#[case::tag_wanted(json!([allow("ec2:*"), {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*",
    "Condition": {"Null": {"aws:RequestTag/team": "true"}}}]), true)]
#[case::other_tag_wanted(json!([allow("ec2:*"), {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*",
    "Condition": {"Null": {"aws:RequestTag/owner": "true"}}}]), false)]
#[case::tags_need_create_tags(json!([allow("ec2:RunInstances")]), false)]
#[case::tags_on_create(json!([allow("ec2:RunInstances"), {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*",
    "Condition": {"StringEquals": {"ec2:CreateAction": "RunInstances"}, "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}}]), true)]
#[case::other_tag_keys(json!([allow("ec2:RunInstances"), {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*",
    "Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": ["owner"]}}}]), false)]
#[case::other_region(json!([{"Effect": "Allow", "Action": "ec2:*", "Resource": "*", "Condition": {"StringEquals": {"aws:RequestedRegion": "us-east-1"}}}]), false)]
fn a_launch_is_asked_resource_by_resource(#[case] statements: Value, #[case] allowed: bool) {
    let mut desk = enforcing();
    role(&mut desk, "r", &statements);
    let input = json!({
        "ImageId": desk.image_as_root(), "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1,
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "team", "Value": "a"}]}],
    });
    let answer = desk.as_role("r", Service::Ec2, "RunInstances", input);
    assert_eq!(answer.is_ok(), allowed, "{:?}", answer.err().map(|error| error.message));
}

#[rstest]
#[case("a", true)]
#[case("b", false)]
fn a_resources_tags_decide(#[case] team: &str, #[case] allowed: bool) {
    let mut desk = enforcing();
    let tagged = json!({"Effect": "Allow", "Action": "ec2:TerminateInstances", "Resource": "arn:aws:ec2:us-west-2:123456789012:instance/*",
        "Condition": {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}});
    role(&mut desk, "r", &tagged);
    root(&mut desk, Service::Iam, "TagRole", json!({"RoleName": "r", "Tags": [{"Key": "team", "Value": "a"}]}));
    let tags = json!([{"ResourceType": "instance", "Tags": [{"Key": "team", "Value": team}]}]);
    let input =
        json!({"ImageId": desk.image_as_root(), "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "TagSpecifications": tags});
    let run = root(&mut desk, Service::Ec2, "RunInstances", input);
    let id = run.pointer("/Instances/0/InstanceId").cloned();
    assert_eq!(desk.as_role("r", Service::Ec2, "TerminateInstances", json!({"InstanceIds": [id]})).is_ok(), allowed);
}

/// A desk whose decisions go by what IAM was told ten seconds ago.
fn lagging() -> Desk {
    let propagation = Propagation { policies: Delay::millis(10_000, 10_000), ..Propagation::default() };
    Desk::with(Settings { iam: IamMode::Enforce, iam_propagation: propagation, ..Settings::default() })
}

#[test]
fn what_iam_was_told_is_shown_at_once_and_decides_later() {
    let mut desk = lagging();
    role(&mut desk, "r", &allow("ec2:DescribeSubnets"));
    let asks = |desk: &mut Desk, operation: &'static str| desk.as_role("r", Service::Ec2, operation, json!({})).is_ok();
    assert!(root(&mut desk, Service::Iam, "GetRolePolicy", json!({"RoleName": "r", "PolicyName": "own"})).get("PolicyDocument").is_some());
    desk.pass(9);
    assert!(!asks(&mut desk, "DescribeSubnets"));
    desk.pass(1);
    assert!(asks(&mut desk, "DescribeSubnets"));
    // What was granted goes as late as it came; a failed change changes nothing.
    role_policy(&mut desk, "r", &allow("ec2:DescribeVpcs"));
    desk.pass(4);
    let gone = json!({"RoleName": "r", "PolicyName": "never-there"});
    assert!(desk.state.ask(desk.now, Service::Iam, "DeleteRolePolicy", gone).is_err());
    desk.pass(5);
    assert_eq!([asks(&mut desk, "DescribeSubnets"), asks(&mut desk, "DescribeVpcs")], [true, false]);
    desk.pass(1);
    assert_eq!([asks(&mut desk, "DescribeSubnets"), asks(&mut desk, "DescribeVpcs")], [false, true]);
}

#[test]
fn changes_arrive_in_their_order_however_many() {
    let propagation = Propagation { policies: Delay::millis(1_000, 60_000), ..Propagation::default() };
    let mut desk = Desk::with(Settings { iam: IamMode::Enforce, iam_propagation: propagation, ..Settings::default() });
    role(&mut desk, "r", &allow("ec2:DescribeVpcs"));
    let arn = |n: u32| format!("arn:aws:iam::123456789012:policy/p{n}");
    for n in 0..200 {
        let document = json!({"Version": "2012-10-17", "Statement": allow("ec2:DescribeSubnets")}).to_string();
        root(&mut desk, Service::Iam, "CreatePolicy", json!({"PolicyName": format!("p{n}"), "PolicyDocument": document}));
    }
    root(&mut desk, Service::Iam, "AttachRolePolicy", json!({"RoleName": "r", "PolicyArn": arn(199)}));
    assert!(desk.state.account.iam.earlier.len() <= 64);
    let mut seen = Vec::new();
    for _ in 0..70 {
        let allowed = |desk: &mut Desk, operation| desk.as_role("r", Service::Ec2, operation, json!({})).is_ok();
        seen.push((allowed(&mut desk, "DescribeVpcs"), allowed(&mut desk, "DescribeSubnets")));
        desk.pass(1);
    }
    assert!(seen.is_sorted() && seen[0] == (false, false) && seen[69] == (true, true), "{seen:?}");
}

/// Where nobody is refused, nobody waits.
#[rstest]
#[case::off(IamMode::Off, true)]
#[case::log(IamMode::Log, true)]
#[case::enforce(IamMode::Enforce, false)]
fn a_new_role_is_assumed_at_once_where_policies_do_not_decide(#[case] mode: IamMode, #[case] at_once: bool) {
    let mut desk = lagging();
    role(&mut desk, "first", &allow("sts:AssumeRole"));
    desk.pass(10);
    desk.state.set_iam_mode(mode);
    let arn = role(&mut desk, "second", &allow("ec2:*"));
    let answer = desk.as_role("first", Service::Sts, "AssumeRole", json!({"RoleArn": arn, "RoleSessionName": "s"}));
    assert_eq!(answer.is_ok(), at_once, "{answer:?}");
}

#[test]
fn what_is_under_way_is_known_to_come_and_forgotten_when_it_is_there() {
    let mut desk = lagging();
    role(&mut desk, "r", &allow("ec2:*"));
    let after = |desk: &Desk, seconds: i64| desk.now + jiff::SignedDuration::from_secs(seconds);
    assert!(desk.state.comes_by_rule(desk.now, after(&desk, 10)) && !desk.state.comes_by_rule(desk.now, after(&desk, 9)));
    desk.pass(10);
    desk.state.advance(desk.now);
    assert!(desk.state.account.iam.earlier.is_empty() && !desk.state.comes_by_rule(desk.now, after(&desk, 3600)));
}

#[test]
fn a_role_keeps_its_name_and_tags_as_long_as_its_policies() {
    let mut desk = lagging();
    let trust = json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}}).to_string();
    let tags = json!([{"Key": "team", "Value": "a"}]);
    root(
        &mut desk,
        Service::Iam,
        "CreateRole",
        json!({"RoleName": "r", "Path": "/team/", "AssumeRolePolicyDocument": trust, "Tags": tags}),
    );
    let scoped = json!({"Effect": "Allow", "Action": "ec2:DescribeVpcs", "Resource": "*", "Condition":
        {"StringLike": {"aws:PrincipalArn": "*:role/team/*", "aws:PrincipalTag/team": "a"}}});
    role_policy(&mut desk, "r", &scoped);
    desk.pass(10);
    root(&mut desk, Service::Iam, "DeleteRolePolicy", json!({"RoleName": "r", "PolicyName": "own"}));
    root(&mut desk, Service::Iam, "DeleteRole", json!({"RoleName": "r"}));
    desk.pass(9);
    assert!(desk.as_role("r", Service::Ec2, "DescribeVpcs", json!({})).is_ok());
    desk.pass(1);
    assert_eq!(code(&desk.as_role("r", Service::Ec2, "DescribeVpcs", json!({}))), "UnauthorizedOperation");
}

#[test]
fn a_new_role_is_not_assumed_at_once() {
    let mut desk = lagging();
    role(&mut desk, "first", &allow("sts:AssumeRole"));
    desk.pass(10);
    let arn = role(&mut desk, "second", &allow("ec2:*"));
    let assume = |desk: &mut Desk| desk.as_role("first", Service::Sts, "AssumeRole", json!({"RoleArn": arn, "RoleSessionName": "s"}));
    assert_eq!(code(&assume(&mut desk)), "AccessDenied");
    desk.pass(10);
    assert!(assume(&mut desk).is_ok());
    let nobody =
        json!({"Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}}).to_string();
    root(&mut desk, Service::Iam, "UpdateAssumeRolePolicy", json!({"RoleName": "second", "PolicyDocument": nobody}));
    assert!(assume(&mut desk).is_ok());
    desk.pass(10);
    assert_eq!(code(&assume(&mut desk)), "AccessDenied");
}

/// What is gone has no tags: the operation says that it is gone, but only to whom its tags could have let do it.
#[rstest]
#[case::its_tags_would_let_it(json!({"StringEquals": {"aws:ResourceTag/team": "a"}}), "NotFound")]
#[case::a_key_must_be_there(json!({"Null": {"ec2:ResourceTag/team": "false"}}), "NotFound")]
#[case::in_another_region(json!({"StringEquals": {"aws:ResourceTag/team": "a", "aws:RequestedRegion": "eu-west-1"}}), "UnauthorizedOperation")]
#[case::in_another_case(json!({"StringEquals": {"AWS:resourcetag/team": "a"}}), "NotFound")]
#[case::by_a_key_of_another_type(json!({"StringEquals": {"aws:ResourceTag/team": "a", "ec2:ImageType": "machine"}}), "UnauthorizedOperation")]
#[case::by_another_key_of_the_request(json!({"StringEquals": {"aws:ResourceTag/team": "a", "ec2:LaunchTemplate": "lt-1"}}), "UnauthorizedOperation")]
#[case::by_a_key_of_the_request(json!({"StringEquals": {"aws:ResourceTag/team": "a", "ec2:CreateAction": "RunInstances"}}), "UnauthorizedOperation")]
#[case::in_another_region_of_ec2(json!({"StringEquals": {"aws:ResourceTag/team": "a", "ec2:Region": "eu-west-1"}}), "UnauthorizedOperation")]
fn of_what_is_gone_the_operation_tells(#[case] condition: Value, #[case] expected: &str) {
    let calls = [
        ("TerminateInstances", json!({"InstanceIds": ["i-0123456789abcdef0"]})),
        ("DeleteLaunchTemplate", json!({"LaunchTemplateId": "lt-0123456789abcdef0"})),
        ("DeleteLaunchTemplate", json!({"LaunchTemplateName": "gone"})),
        ("DeleteVolume", json!({"VolumeId": "vol-0123456789abcdef0"})),
        ("CreateTags", json!({"Resources": ["i-0123456789abcdef0"], "Tags": [{"Key": "k", "Value": "v"}]})),
    ];
    for (operation, input) in calls {
        let mut desk = enforcing();
        role(&mut desk, "r", &json!({"Effect": "Allow", "Action": format!("ec2:{operation}"), "Resource": "*", "Condition": condition}));
        let error = failed(desk.as_role("r", Service::Ec2, operation, input.clone()));
        assert!(error.code.contains(expected), "{operation}: {} {}", error.code, error.message);
        assert_eq!(desk.state.denied(), u64::from(expected == "UnauthorizedOperation"));
        role_policy(&mut desk, "r", &json!([allow("sqs:*")]));
        assert_eq!(code(&desk.as_role("r", Service::Ec2, operation, input)), "UnauthorizedOperation", "{operation}: not allowed anyhow");
    }
}

#[rstest]
#[case::whatever_it_is(json!({"Effect": "Deny", "Action": "ec2:TerminateInstances", "Resource": "*"}), "UnauthorizedOperation")]
#[case::for_tags_that_it_does_not_have(json!({"Effect": "Deny", "Action": "ec2:TerminateInstances", "Resource": "*",
    "Condition": {"StringEquals": {"aws:ResourceTag/keep": "yes"}}}), "InvalidInstanceID.NotFound")]
fn what_is_gone_can_be_denied(#[case] never: Value, #[case] expected: &str) {
    let mut desk = enforcing();
    let scoped =
        json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/team": "a"}}});
    role(&mut desk, "r", &json!([scoped, never]));
    let input = json!({"InstanceIds": ["i-0123456789abcdef0"]});
    assert_eq!(code(&desk.as_role("r", Service::Ec2, "TerminateInstances", input)), expected);
}

#[test]
fn passing_a_role_is_asked() {
    let mut desk = enforcing();
    role(&mut desk, "r", &json!([allow("ec2:*"), allow("iam:AddRoleToInstanceProfile")]));
    let passed = role(&mut desk, "node", &allow("sqs:*"));
    root(&mut desk, Service::Iam, "CreateInstanceProfile", json!({"InstanceProfileName": "p"}));
    let add = json!({"InstanceProfileName": "p", "RoleName": "node"});
    let error = failed(desk.as_role("r", Service::Iam, "AddRoleToInstanceProfile", add.clone()));
    assert!(error.message.contains(&format!("iam:PassRole on resource: {passed}")), "{}", error.message);
    root(&mut desk, Service::Iam, "AddRoleToInstanceProfile", add);
    let input = json!({
        "ImageId": desk.image_as_root(), "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "IamInstanceProfile": {"Name": "p"},
    });
    assert!(failed(desk.as_role("r", Service::Ec2, "RunInstances", input.clone())).message.contains("iam:PassRole"));
    let pass = json!({"Effect": "Allow", "Action": "iam:PassRole", "Resource": passed,
        "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}});
    role_policy(&mut desk, "r", &json!([allow("ec2:*"), pass]));
    assert!(desk.as_role("r", Service::Ec2, "RunInstances", input).is_ok());
}

#[test]
fn the_encoded_message_is_decoded_and_explained() {
    let mut desk = enforcing();
    role(
        &mut desk,
        "r",
        &json!([{"Sid": "Here", "Effect": "Allow", "Action": "ec2:DescribeSubnets", "Resource": "*",
        "Condition": {"StringEquals": {"aws:RequestedRegion": "us-east-1"}}}, allow("sts:DecodeAuthorizationMessage")]),
    );
    let error = failed(desk.as_role("r", Service::Ec2, "DescribeSubnets", json!({})));
    let lead = "You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/r/s is not authorized to \
                perform: ec2:DescribeSubnets on resource: * because no identity-based policy allows the ec2:DescribeSubnets action. \
                Encoded authorization failure message: ";
    let encoded = error.message.strip_prefix(lead).unwrap_or_else(|| panic!("{}", error.message));
    let decoded = desk.as_role("r", Service::Sts, "DecodeAuthorizationMessage", json!({"EncodedMessage": encoded})).expect("decoded");
    let message: Value = serde_json::from_str(decoded["DecodedMessage"].as_str().expect("text")).expect("JSON");
    assert_eq!((&message["allowed"], &message["explicitDeny"]), (&json!(false), &json!(false)));
    assert_eq!(message["context"]["action"], "ec2:DescribeSubnets");
    let conditions = message["context"]["conditions"]["items"].as_array().expect("a list");
    assert!(conditions.contains(&json!({"key": "aws:RequestedRegion", "values": {"items": [{"value": "us-west-2"}]}})));
    let why = refusal::decode(encoded).expect("ours").why;
    assert_eq!(
        why,
        [
            "statement Here of identity-based policy own does not apply: StringEquals aws:RequestedRegion wants us-east-1; the request has us-west-2"
        ]
    );
    assert_eq!(desk.state.denials().next_back().map(|denial| denial.why.clone()), Some(why));
    for broken in ["", "nonsense", &encoded[1..], &format!("{encoded}AAAA")] {
        let answer = desk.as_role("r", Service::Sts, "DecodeAuthorizationMessage", json!({"EncodedMessage": broken}));
        assert_eq!(code(&answer), "InvalidAuthorizationMessageException", "{broken}");
    }
}

#[test]
fn a_session_is_capped_by_its_policy_and_a_role_by_its_boundary() {
    let mut desk = enforcing();
    let arn = role(&mut desk, "r", &allow("*"));
    let only = json!({"Version": "2012-10-17", "Statement": allow("ec2:*")}).to_string();
    let session = root(&mut desk, Service::Sts, "AssumeRole", json!({"RoleArn": arn, "RoleSessionName": "s", "Policy": only}));
    let mut asked = call(Service::Iam, "ListRoles", json!({}));
    asked.caller.principal = "arn:aws:sts::123456789012:assumed-role/r/s".into();
    assert!(desk.as_caller(&asked).is_ok());
    asked.caller.access_key = session["Credentials"]["AccessKeyId"].as_str().map(str::to_owned);
    assert!(failed(desk.as_caller(&asked)).message.ends_with("because no session policy allows the iam:ListRoles action"));
    let policy = root(&mut desk, Service::Iam, "CreatePolicy", json!({"PolicyName": "b", "PolicyDocument": only}));
    let boundary = json!({"RoleName": "r", "PermissionsBoundary": policy["Policy"]["Arn"]});
    root(&mut desk, Service::Iam, "PutRolePermissionsBoundary", boundary);
    assert!(
        failed(desk.as_role("r", Service::Iam, "ListRoles", json!({})))
            .message
            .ends_with("because no permissions boundary allows the iam:ListRoles action")
    );
    assert!(desk.as_role("r", Service::Ec2, "DescribeVpcs", json!({})).is_ok());
}

#[test]
fn a_queues_own_policy_decides_too() {
    let mut desk = enforcing();
    role(&mut desk, "r", &allow("sqs:ReceiveMessage"));
    let statement = |effect: &str, action: &str| {
        json!({"Statement": {"Effect": effect, "Action": action, "Principal": {"AWS": "arn:aws:iam::123456789012:role/r"},
        "Resource": "arn:aws:sqs:us-west-2:123456789012:q"}})
        .to_string()
    };
    let made = root(&mut desk, Service::Sqs, "CreateQueue", json!({"QueueName": "q"}));
    let url = made["QueueUrl"].clone();
    let send = json!({"QueueUrl": url, "MessageBody": "m"});
    assert_eq!(code(&desk.as_role("r", Service::Sqs, "SendMessage", send.clone())), "AccessDeniedException");
    root(
        &mut desk,
        Service::Sqs,
        "SetQueueAttributes",
        json!({"QueueUrl": url, "Attributes": {"Policy": statement("Allow", "sqs:SendMessage")}}),
    );
    assert!(desk.as_role("r", Service::Sqs, "SendMessage", send).is_ok());
    root(
        &mut desk,
        Service::Sqs,
        "SetQueueAttributes",
        json!({"QueueUrl": url, "Attributes": {"Policy": statement("Deny", "sqs:ReceiveMessage")}}),
    );
    let error = failed(desk.as_role("r", Service::Sqs, "ReceiveMessage", json!({"QueueUrl": url})));
    assert!(error.message.ends_with(
        "sqs:receivemessage on resource: arn:aws:sqs:us-west-2:123456789012:q with an explicit deny in a resource-based policy"
    ));
}

#[rstest]
#[case(json!({"AWS": "123456789012"}), json!([]), false)]
#[case(json!({"AWS": "123456789012"}), allow("sts:AssumeRole"), true)]
#[case(json!({"AWS": "arn:aws:iam::123456789012:role/r"}), allow("ec2:*"), true)]
#[case(json!({"Service": "ec2.amazonaws.com"}), allow("sts:AssumeRole"), false)]
fn trust_decides_who_assumes(#[case] principal: Value, #[case] own: Value, #[case] allowed: bool) {
    let mut desk = enforcing();
    role(&mut desk, "r", &if own == json!([]) { allow("pricing:*") } else { own });
    let trust = json!({"Statement": {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}}).to_string();
    let made = root(&mut desk, Service::Iam, "CreateRole", json!({"RoleName": "other", "AssumeRolePolicyDocument": trust}));
    let input = json!({"RoleArn": made["Role"]["Arn"], "RoleSessionName": "x"});
    assert_eq!(desk.as_role("r", Service::Sts, "AssumeRole", input).is_ok(), allowed);
}

#[test]
fn a_fault_denies_whatever_policies_say() {
    let mut desk = Desk::new();
    let effect = Effect::Deny { actions: vec!["ec2:Describe*".into()] };
    desk.state.add_rule(Rule { name: "deny 1".into(), effect, count: Some(1), since: None, until: None });
    let error = failed(desk.ec2("DescribeVpcs", json!({})));
    assert!(
        error.message.contains("ec2:DescribeVpcs on resource: * with an explicit deny in a service control policy"),
        "{}",
        error.message
    );
    assert!(desk.ec2("DescribeVpcs", json!({})).is_ok());
}

#[test]
fn the_simulator_says_what_would_be() {
    let mut desk = Desk::new();
    let arn = role(
        &mut desk,
        "r",
        &json!([allow("ec2:Describe*"), {"Effect": "Deny", "Action": "ec2:DescribeVpcs", "Resource": "*"},
        {"Effect": "Allow", "Action": "sqs:*", "Resource": "*", "Condition": {"StringEquals": {"aws:PrincipalTag/team": "a"}}}]),
    );
    let input =
        json!({"PolicySourceArn": arn, "ActionNames": ["ec2:DescribeSubnets", "ec2:DescribeVpcs", "iam:ListRoles", "sqs:SendMessage"]});
    let answer = desk.ask(Service::Iam, "SimulatePrincipalPolicy", input).expect("results");
    let results = answer["EvaluationResults"].as_array().expect("a list");
    let decisions: Vec<&str> = results.iter().filter_map(|result| result["EvalDecision"].as_str()).collect();
    assert_eq!(decisions, ["allowed", "explicitDeny", "implicitDeny", "implicitDeny"]);
    assert_eq!(results[3]["MissingContextValues"], json!(["aws:PrincipalTag/team"]));
    let input = json!({
        "PolicySourceArn": arn, "ActionNames": ["sqs:SendMessage"],
        "ContextEntries": [{"ContextKeyName": "aws:PrincipalTag/team", "ContextKeyValues": ["a"], "ContextKeyType": "string"}],
    });
    let answer = desk.ask(Service::Iam, "SimulatePrincipalPolicy", input).expect("results");
    assert_eq!(answer.pointer("/EvaluationResults/0/EvalDecision"), Some(&json!("allowed")));
}

#[test]
fn a_pods_token_must_come_from_a_known_issuer_for_a_trusting_role() {
    use base64::Engine;
    let mut desk = enforcing();
    let token = |issuer: &str, subject: &str, expires: i64| {
        let claims = json!({"iss": issuer, "aud": ["sts.amazonaws.com"], "sub": subject, "exp": expires}).to_string();
        format!("e30.{}.c2ln", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims))
    };
    let later = desk.now.as_second() + 600;
    let issuer = "https://oidc.eks.us-west-2.amazonaws.com/id/ABC";
    let provider =
        root(&mut desk, Service::Iam, "CreateOpenIDConnectProvider", json!({"Url": issuer, "ClientIDList": ["sts.amazonaws.com"]}));
    let trust = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": provider["OpenIDConnectProviderArn"]},
        "Condition": {"StringEquals": {"oidc.eks.us-west-2.amazonaws.com/id/ABC:sub": "system:serviceaccount:kube-system:karpenter"}}}});
    let made = root(&mut desk, Service::Iam, "CreateRole", json!({"RoleName": "irsa", "AssumeRolePolicyDocument": trust.to_string()}));
    let mut assume = |token: String| {
        let input = json!({"RoleArn": made["Role"]["Arn"], "RoleSessionName": "k", "WebIdentityToken": token});
        desk.as_role("unsigned", Service::Sts, "AssumeRoleWithWebIdentity", input)
    };
    let karpenter = "system:serviceaccount:kube-system:karpenter";
    assert!(assume(token(issuer, karpenter, later)).is_ok());
    assert_eq!(code(&assume(token(issuer, "system:serviceaccount:default:other", later))), "AccessDenied");
    assert_eq!(code(&assume(token("https://elsewhere", karpenter, later))), "InvalidIdentityToken");
    assert_eq!(code(&assume(token(issuer, karpenter, later - 1200))), "ExpiredTokenException");
    assert_eq!(code(&assume("nonsense".into())), "InvalidIdentityToken");
    // Form and time are asked whatever the mode; who issued it and whom the role trusts is IAM's.
    desk.state.set_iam_mode(IamMode::Off);
    let mut assume = |token: String| {
        let input = json!({"RoleArn": made["Role"]["Arn"], "RoleSessionName": "k", "WebIdentityToken": token});
        desk.as_role("unsigned", Service::Sts, "AssumeRoleWithWebIdentity", input)
    };
    assert!(assume(token("https://elsewhere", "anybody", later)).is_ok());
    assert_eq!(code(&assume(token(issuer, karpenter, later - 1200))), "ExpiredTokenException");
    for garbage in ["garbage", "a.b.c", "e30.e30", "e30.W10.c2ln"] {
        assert_eq!(code(&assume(garbage.into())), "InvalidIdentityToken", "{garbage}");
    }
}

/// What an operation that makes something says of it, by the keys of the service authorization reference.
#[rstest]
#[case("CreateVolume", json!({"AvailabilityZone": "us-west-2a", "Size": 8, "VolumeType": "gp3", "Encrypted": true}),
    json!({"StringEquals": {"ec2:VolumeType": "gp3", "ec2:AvailabilityZone": "us-west-2a"}, "NumericEquals": {"ec2:VolumeSize": "8"}, "Bool": {"ec2:Encrypted": "true"}}))]
#[case("CreateVolume", json!({"AvailabilityZone": "us-west-2a", "Size": 8}), json!({"StringEquals": {"ec2:VolumeType": "gp2"}, "Bool": {"ec2:Encrypted": "false"}}))]
#[case("CreateCapacityReservation", json!({"AvailabilityZone": "us-west-2a", "InstanceType": "m5.large", "InstancePlatform": "Linux/UNIX", "InstanceCount": 2}),
    json!({"StringEquals": {"ec2:InstanceType": "m5.large", "ec2:AvailabilityZone": "us-west-2a", "ec2:Tenancy": "default", "ec2:InstanceMatchCriteria": "open"},
        "NumericLessThanEquals": {"ec2:InstanceCount": "2"}}))]
fn what_is_made_is_known_by_its_keys(#[case] operation: &'static str, #[case] input: Value, #[case] condition: Value) {
    for (operator, allowed) in [("", true), ("not", false)] {
        let mut desk = enforcing();
        let mut condition = condition.clone();
        if operator == "not" {
            condition["StringEquals"]["ec2:AvailabilityZone"] = json!("us-west-2b");
        }
        role(&mut desk, "r", &json!({"Effect": "Allow", "Action": format!("ec2:{operation}"), "Resource": "*", "Condition": condition}));
        let answer = desk.as_role("r", Service::Ec2, operation, input.clone());
        assert_eq!(code(&answer), if allowed { "no error" } else { "UnauthorizedOperation" }, "{answer:?}");
    }
}

/// A subnet and a group are known by the VPC that they come into.
#[rstest]
#[case("CreateSubnet", json!({"CidrBlock": "172.31.240.0/24"}))]
#[case("CreateSecurityGroup", json!({"GroupName": "g", "Description": "d"}))]
fn what_comes_into_a_vpc_is_asked_with_it(#[case] operation: &'static str, #[case] mut input: Value) {
    for allowed in [true, false] {
        let mut desk = enforcing();
        let vpc = root(&mut desk, Service::Ec2, "DescribeVpcs", json!({}))["Vpcs"][0]["VpcId"].as_str().expect("a VPC").to_owned();
        input["VpcId"] = json!(vpc);
        let wanted = if allowed { vpc.as_str() } else { "vpc-0123456789abcdef0" };
        let others = json!({"Effect": "Allow", "Action": "ec2:*", "NotResource": "arn:aws:ec2:*:*:vpc/*"});
        let own = json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "arn:aws:ec2:*:*:vpc/*", "Condition": {"StringEquals": {"ec2:VpcID": wanted}}});
        role(&mut desk, "r", &json!([others, own]));
        let answer = desk.as_role("r", Service::Ec2, operation, input.clone());
        assert_eq!(code(&answer), if allowed { "no error" } else { "UnauthorizedOperation" }, "{answer:?}");
    }
}

#[rstest]
#[case(json!(true), false)]
#[case(json!(false), true)]
#[case(Value::Null, true)]
fn a_public_address_can_be_denied(#[case] public: Value, #[case] allowed: bool) {
    let mut desk = enforcing();
    let deny = json!({"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:network-interface/*",
        "Condition": {"Bool": {"ec2:AssociatePublicIpAddress": "true"}}});
    role(&mut desk, "r", &json!([allow("ec2:*"), deny]));
    let mut interface = json!({"DeviceIndex": 0});
    if !public.is_null() {
        interface["AssociatePublicIpAddress"] = public;
    }
    let image = desk.image_as_root();
    let input = json!({"ImageId": image, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "NetworkInterfaces": [interface]});
    assert_eq!(desk.as_role("r", Service::Ec2, "RunInstances", input).is_ok(), allowed);
}

// ---------------------------------------------------------------------------------------------------------------- Karpenter's own policy

const CONTROLLER: &str = "KarpenterControllerRole-lab";

fn karpenters_desk() -> Desk {
    let mut desk = enforcing();
    let mut spec = EksLab::new("lab", "1.36");
    spec.interruption_queue = Some("lab".into());
    spec.controller_role = Some(CONTROLLER.into());
    desk.state.furnish_eks(desk.now, &spec).expect("a lab");
    desk
}

fn tag_list(tags: &[(&str, &str)]) -> Value {
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

/// Calls as Karpenter makes them, in its order (A/pkg/providers/…); gives the actions that were refused, fleets' own errors included.
fn karpenters_day(desk: &mut Desk) -> BTreeSet<String> {
    let before = desk.state.denied();
    let mut ask = |service: Service, operation: &'static str, input: Value| desk.as_role(CONTROLLER, service, operation, input);
    for operation in
        ["DescribeSubnets", "DescribeSecurityGroups", "DescribeInstanceStatus", "DescribeCapacityReservations", "DescribePlacementGroups"]
    {
        let _: Answer = ask(Service::Ec2, operation, json!({}));
    }
    let name = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id";
    let image =
        ask(Service::Ssm, "GetParameter", json!({"Name": name})).map_or(json!("ami-0"), |found| found["Parameter"]["Value"].clone());
    let _: Answer = ask(Service::Pricing, "GetProducts", json!({"ServiceCode": "AmazonEC2", "MaxResults": 1}));
    let _: Answer = ask(Service::Eks, "DescribeCluster", json!({"name": "lab"}));
    let arn = "arn:aws:eks:us-west-2:123456789012:cluster/lab";
    let _: Answer = ask(Service::ArcZonalShift, "GetManagedResource", json!({"resourceIdentifier": arn}));
    let _: Answer = ask(Service::Sqs, "GetQueueUrl", json!({"QueueName": "lab"}));
    let profile = json!({"InstanceProfileName": "lab_1"});
    let _: Answer = ask(Service::Iam, "ListInstanceProfiles", json!({"PathPrefix": "/karpenter/"}));
    let _: Answer = ask(Service::Iam, "GetInstanceProfile", profile.clone());
    let tags = tag_list(&[
        ("kubernetes.io/cluster/lab", "owned"),
        ("eks:eks-cluster-name", "lab"),
        ("topology.kubernetes.io/region", "us-west-2"),
        ("karpenter.k8s.aws/ec2nodeclass", "default"),
    ]);
    let _: Answer = ask(Service::Iam, "CreateInstanceProfile", json!({"InstanceProfileName": "lab_1", "Tags": tags}));
    let _: Answer = ask(Service::Iam, "TagInstanceProfile", json!({"InstanceProfileName": "lab_1", "Tags": tags}));
    let _: Answer =
        ask(Service::Iam, "AddRoleToInstanceProfile", json!({"InstanceProfileName": "lab_1", "RoleName": "KarpenterNodeRole-lab"}));
    let tags = tag_list(&[
        ("kubernetes.io/cluster/lab", "owned"),
        ("eks:eks-cluster-name", "lab"),
        ("karpenter.sh/nodepool", "default"),
        ("karpenter.k8s.aws/ec2nodeclass", "default"),
    ]);
    let of = |kinds: &[&str]| -> Value { kinds.iter().map(|kind| json!({"ResourceType": kind, "Tags": tags})).collect() };
    let template = json!({
        "LaunchTemplateName": "karpenter.k8s.aws/1", "TagSpecifications": of(&["launch-template"]),
        "LaunchTemplateData": {
            "ImageId": image, "IamInstanceProfile": {"Name": "lab_1"},
            "TagSpecifications": of(&["instance", "volume", "network-interface", "spot-instances-request"]),
        },
    });
    let _: Answer = ask(Service::Ec2, "CreateLaunchTemplate", template);
    let fleet = json!({
        "Type": "instant", "TagSpecifications": of(&["fleet", "instance", "volume"]),
        "LaunchTemplateConfigs": [{
            "LaunchTemplateSpecification": {"LaunchTemplateName": "karpenter.k8s.aws/1", "Version": "$Latest"},
            "Overrides": [{"InstanceType": "m5.large"}],
        }],
        "TargetCapacitySpecification": {"DefaultTargetCapacityType": "spot", "TotalTargetCapacity": 1},
        "SpotOptions": {"AllocationStrategy": "price-capacity-optimized"},
    });
    let id = ask(Service::Ec2, "CreateFleet", fleet).ok().and_then(|answer| answer.pointer("/Instances/0/InstanceIds/0").cloned());
    if let Some(id) = id {
        let names = tag_list(&[("Name", "default/n"), ("karpenter.sh/nodeclaim", "n"), ("eks:eks-cluster-name", "lab")]);
        let _: Answer = ask(Service::Ec2, "CreateTags", json!({"Resources": [id], "Tags": names}));
        let _: Answer = ask(Service::Ec2, "TerminateInstances", json!({"InstanceIds": [id]}));
    }
    let _: Answer = ask(Service::Ec2, "DeleteLaunchTemplate", json!({"LaunchTemplateName": "karpenter.k8s.aws/1"}));
    let denied = desk.state.denied() - before;
    desk.state.denials().rev().take(denied as usize).map(|denial| denial.action.clone()).collect()
}

/// Makes the service-linked role of Spot, which the template leaves to the account's owner.
fn spot_role(desk: &mut Desk) {
    root(desk, Service::Iam, "CreateServiceLinkedRole", json!({"AWSServiceName": "spot.amazonaws.com"}));
}

#[test]
fn karpenters_own_policy_allows_karpenters_day() {
    let mut desk = karpenters_desk();
    spot_role(&mut desk);
    assert_eq!(karpenters_day(&mut desk), BTreeSet::new());
    assert_eq!(desk.state.machines().len(), 1);
}

#[test]
fn a_first_spot_launch_needs_the_service_linked_role() {
    let mut desk = karpenters_desk();
    assert_eq!(karpenters_day(&mut desk), BTreeSet::from(["iam:CreateServiceLinkedRole".to_owned()]));
    assert_eq!(desk.state.machines().len(), 0);
}

/// Each statement of the template, taken away: what is refused then.
#[rstest]
#[case("AllowScopedEC2InstanceAccessActions", &["ec2:RunInstances"])]
#[case("AllowScopedEC2LaunchTemplateAccessActions", &["ec2:CreateFleet"])]
#[case("AllowScopedEC2InstanceActionsWithTags", &["ec2:CreateFleet", "ec2:CreateLaunchTemplate"])]
#[case("AllowScopedResourceCreationTagging", &["ec2:CreateTags"])]
#[case("AllowScopedResourceTagging", &["ec2:CreateTags"])]
#[case("AllowScopedDeletion", &["ec2:DeleteLaunchTemplate", "ec2:TerminateInstances"])]
#[case("AllowPassingInstanceRole", &["iam:PassRole"])]
#[case("AllowScopedInstanceProfileCreationActions", &["iam:AddRoleToInstanceProfile", "iam:CreateInstanceProfile", "iam:TagInstanceProfile"])]
#[case("AllowScopedInstanceProfileTagActions", &["iam:TagInstanceProfile"])]
#[case("AllowScopedInstanceProfileActions", &["iam:AddRoleToInstanceProfile"])]
#[case("AllowAPIServerEndpointDiscovery", &["eks:DescribeCluster"])]
#[case("AllowZonalShiftStatusReadOnly", &["arc-zonal-shift:GetManagedResource"])]
#[case("AllowRegionalReadActions", &["ec2:DescribeCapacityReservations", "ec2:DescribeInstanceStatus", "ec2:DescribePlacementGroups", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets"])]
#[case("AllowSSMReadActions", &["ssm:GetParameter"])]
#[case("AllowPricingReadActions", &["pricing:GetProducts"])]
#[case("AllowUnscopedInstanceProfileListAction", &["iam:ListInstanceProfiles"])]
#[case("AllowInstanceProfileReadActions", &["iam:GetInstanceProfile"])]
#[case("AllowInterruptionQueueActions", &["sqs:GetQueueUrl"])]
fn without_one_statement(#[case] sid: &str, #[case] refused: &[&str]) {
    let mut desk = karpenters_desk();
    spot_role(&mut desk);
    take_away(&mut desk, sid);
    let refused: BTreeSet<String> = refused.iter().map(|action| (*action).to_owned()).collect();
    assert_eq!(karpenters_day(&mut desk), refused);
}

/// Removes the statement from whichever managed policy has it, through a new default version.
fn take_away(desk: &mut Desk, sid: &str) {
    let policies = root(desk, Service::Iam, "ListPolicies", json!({"Scope": "Local"}));
    let mut found = false;
    for arn in super::texts(&policies["Policies"], "Arn") {
        let version = root(desk, Service::Iam, "GetPolicyVersion", json!({"PolicyArn": arn, "VersionId": "v1"}));
        let text = version.pointer("/PolicyVersion/Document").and_then(Value::as_str).expect("a document");
        let text = percent_encoding::percent_decode_str(text).decode_utf8().expect("text").into_owned();
        let mut document: Value = serde_json::from_str(&text).expect("JSON");
        let statements = document["Statement"].as_array_mut().expect("statements");
        let before = statements.len();
        statements.retain(|statement| statement["Sid"] != sid);
        if statements.len() == before {
            continue;
        }
        found = true;
        if statements.is_empty() {
            root(desk, Service::Iam, "DetachRolePolicy", json!({"RoleName": CONTROLLER, "PolicyArn": arn}));
        } else {
            let input = json!({"PolicyArn": arn, "PolicyDocument": document.to_string(), "SetAsDefault": true});
            root(desk, Service::Iam, "CreatePolicyVersion", input);
        }
    }
    assert!(found, "there is a statement {sid}");
}
