//! Roles, instance profiles, identity.

use rstest::rstest;
use serde_json::{Value, json};

use super::{Answer, Desk, TRUST, code, failed, texts};
use crate::model::Service;

const ALLOW: &str = r#"{"Statement":{"Effect":"Allow","Action":"ec2:*","Resource":"*"}}"#;

fn iam(desk: &mut Desk, operation: &'static str, input: Value) -> Answer {
    desk.ask(Service::Iam, operation, input)
}

fn role(desk: &mut Desk, name: &str) -> Value {
    iam(desk, "CreateRole", json!({"RoleName": name, "AssumeRolePolicyDocument": TRUST})).expect("a role")["Role"].clone()
}

#[test]
fn a_profile_goes_karpenters_way() {
    let mut desk = Desk::new();
    role(&mut desk, "node");
    let name = json!({"InstanceProfileName": "lab_1"});
    let missing = failed(iam(&mut desk, "GetInstanceProfile", name.clone()));
    assert_eq!((missing.code.as_str(), missing.status), ("NoSuchEntity", 404));
    let input = json!({"InstanceProfileName": "lab_1", "Path": "/karpenter/us-west-2/lab/", "Tags": [{"Key": "a", "Value": "b"}]});
    let made = iam(&mut desk, "CreateInstanceProfile", input).expect("a profile");
    assert_eq!(made["InstanceProfile"]["Arn"], "arn:aws:iam::123456789012:instance-profile/karpenter/us-west-2/lab/lab_1");
    let add = json!({"InstanceProfileName": "lab_1", "RoleName": "node"});
    iam(&mut desk, "AddRoleToInstanceProfile", add.clone()).expect("added");
    assert_eq!(code(&iam(&mut desk, "AddRoleToInstanceProfile", add.clone())), "LimitExceeded");
    let found = iam(&mut desk, "GetInstanceProfile", name.clone()).expect("a profile");
    assert_eq!(texts(&found["InstanceProfile"]["Roles"], "RoleName"), ["node"]);
    for (prefix, count) in [("/karpenter/us-west-2/lab/", 1), ("/other/", 0)] {
        let listed = iam(&mut desk, "ListInstanceProfiles", json!({"PathPrefix": prefix})).expect("profiles");
        assert_eq!(listed["InstanceProfiles"].as_array().map(Vec::len), Some(count));
    }
    assert_eq!(code(&iam(&mut desk, "DeleteInstanceProfile", name.clone())), "DeleteConflict");
    assert_eq!(code(&iam(&mut desk, "DeleteRole", json!({"RoleName": "node"}))), "DeleteConflict");
    iam(&mut desk, "RemoveRoleFromInstanceProfile", add).expect("removed");
    iam(&mut desk, "DeleteInstanceProfile", name.clone()).expect("deleted");
    iam(&mut desk, "DeleteRole", json!({"RoleName": "node"})).expect("deleted");
    assert_eq!(code(&iam(&mut desk, "DeleteInstanceProfile", name)), "NoSuchEntity");
}

#[test]
fn a_missing_role_is_told_in_words_that_karpenter_knows() {
    let mut desk = Desk::new();
    iam(&mut desk, "CreateInstanceProfile", json!({"InstanceProfileName": "p"})).expect("a profile");
    let error = failed(iam(&mut desk, "AddRoleToInstanceProfile", json!({"InstanceProfileName": "p", "RoleName": "absent"})));
    assert_eq!((error.code.as_str(), error.message.contains("role")), ("NoSuchEntity", true));
}

#[test]
fn lists_are_paged() {
    let mut desk = Desk::new();
    for number in 0..7 {
        role(&mut desk, &format!("role-{number}"));
    }
    let (mut seen, mut marker) = (Vec::new(), None::<String>);
    loop {
        let mut input = json!({"MaxItems": 3});
        if let Some(marker) = &marker {
            input["Marker"] = json!(marker);
        }
        let page = iam(&mut desk, "ListRoles", input).expect("a page");
        seen.extend(texts(&page["Roles"], "RoleName"));
        marker = page["Marker"].as_str().map(str::to_owned);
        assert_eq!(page["IsTruncated"], json!(marker.is_some()));
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted());
}

#[test]
fn policies_are_kept() {
    let mut desk = Desk::new();
    role(&mut desk, "node");
    let arn = "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy";
    iam(&mut desk, "AttachRolePolicy", json!({"RoleName": "node", "PolicyArn": arn})).expect("attached");
    let attached = iam(&mut desk, "ListAttachedRolePolicies", json!({"RoleName": "node"})).expect("policies");
    assert_eq!(attached["AttachedPolicies"], json!([{"PolicyName": "AmazonEKSWorkerNodePolicy", "PolicyArn": arn}]));
    iam(&mut desk, "PutRolePolicy", json!({"RoleName": "node", "PolicyName": "p", "PolicyDocument": ALLOW})).expect("put");
    let inline = iam(&mut desk, "GetRolePolicy", json!({"RoleName": "node", "PolicyName": "p"})).expect("a policy");
    assert_eq!(
        inline["PolicyDocument"],
        "%7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22ec2%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%7D"
    );
    assert_eq!(code(&iam(&mut desk, "DeleteRole", json!({"RoleName": "node"}))), "DeleteConflict");
    iam(&mut desk, "DetachRolePolicy", json!({"RoleName": "node", "PolicyArn": arn})).expect("detached");
    assert_eq!(code(&iam(&mut desk, "DetachRolePolicy", json!({"RoleName": "node", "PolicyArn": arn}))), "NoSuchEntity");
}

#[rstest]
#[case("CreateRole", json!({"RoleName": "node", "AssumeRolePolicyDocument": TRUST}), "EntityAlreadyExists")]
#[case("CreateRole", json!({"RoleName": "a b", "AssumeRolePolicyDocument": TRUST}), "ValidationError")]
#[case("CreateRole", json!({"RoleName": "new", "AssumeRolePolicyDocument": "nonsense"}), "MalformedPolicyDocument")]
#[case("GetRole", json!({"RoleName": "absent"}), "NoSuchEntity")]
#[case("CreateInstanceProfile", json!({"InstanceProfileName": "node/profile"}), "ValidationError")]
#[case("RemoveRoleFromInstanceProfile", json!({"InstanceProfileName": "absent", "RoleName": "node"}), "NoSuchEntity")]
#[case("GetRolePolicy", json!({"RoleName": "node", "PolicyName": "absent"}), "NoSuchEntity")]
#[case("ListRoles", json!({"Marker": "nonsense"}), "ValidationError")]
#[case("CreateServiceLinkedRole", json!({"AWSServiceName": "unknown.amazonaws.com"}), "InvalidInput")]
fn refused(#[case] operation: &'static str, #[case] input: Value, #[case] expected: &str) {
    let mut desk = Desk::new();
    role(&mut desk, "node");
    assert_eq!(code(&iam(&mut desk, operation, input)), expected);
}

#[test]
fn service_linked_roles_are_made_once() {
    let mut desk = Desk::new();
    let input = json!({"AWSServiceName": "spot.amazonaws.com"});
    let made = iam(&mut desk, "CreateServiceLinkedRole", input.clone()).expect("a role");
    assert_eq!(made["Role"]["RoleName"], "AWSServiceRoleForEC2Spot");
    assert_eq!(code(&iam(&mut desk, "CreateServiceLinkedRole", input)), "InvalidInput");
}

#[test]
fn the_caller_is_told_who_it_is() {
    let answer = Desk::new().ask(Service::Sts, "GetCallerIdentity", json!({})).expect("an identity");
    assert_eq!(answer, json!({"UserId": "AIDATESTER", "Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/tester"}));
}

#[test]
fn a_role_is_assumed_by_those_who_name_it() {
    let mut desk = Desk::new();
    let arn = role(&mut desk, "karpenter")["Arn"].clone();
    // {"sub":"system:serviceaccount:kube-system:karpenter"}
    let token = "e30.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6a3ViZS1zeXN0ZW06a2FycGVudGVyIn0.e30";
    let input = json!({"RoleArn": arn, "RoleSessionName": "s", "WebIdentityToken": token});
    let answer = desk.ask(Service::Sts, "AssumeRoleWithWebIdentity", input).expect("keys");
    assert_eq!(answer["SubjectFromWebIdentityToken"], "system:serviceaccount:kube-system:karpenter");
    assert_eq!(answer["AssumedRoleUser"]["Arn"], "arn:aws:sts::123456789012:assumed-role/karpenter/s");
    assert_eq!(answer["Credentials"]["AccessKeyId"].as_str().map(str::len), Some(20));
    let absent = json!({"RoleArn": "arn:aws:iam::123456789012:role/absent", "RoleSessionName": "s"});
    assert_eq!(code(&desk.ask(Service::Sts, "AssumeRole", absent)), "AccessDenied");
}
