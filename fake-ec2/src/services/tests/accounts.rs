//! A second account: a world of its own, entered by a role that trusts the first.

use rstest::rstest;
use serde_json::{Value, json};

use super::{Desk, call, code, failed, texts};
use crate::model::Service;
use crate::services::{Answer, Outcome, handle};
use crate::state::{Consistency, Delay, IamMode, Propagation};

const OTHER: &str = "210987654321";
const ROLE: &str = "arn:aws:iam::210987654321:role/visitor";

/// A desk whose other account has a role `visitor` with this trust.
fn desk(principal: &Value) -> Desk {
    let mut desk = Desk::new();
    let trust = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}});
    let input = json!({"RoleName": "visitor", "AssumeRolePolicyDocument": trust.to_string()});
    desk.state.ask_in(desk.now, OTHER, Service::Iam, "CreateRole", input).expect("a role of the other account");
    desk
}

/// Lets a user of the first account do what a statement says.
fn with_user(desk: &mut Desk, actions: &str) {
    let document = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}});
    desk.ask(Service::Iam, "CreateUser", json!({"UserName": "tester"})).expect("a user");
    let input = json!({"UserName": "tester", "PolicyName": "p", "PolicyDocument": document.to_string()});
    desk.ask(Service::Iam, "PutUserPolicy", input).expect("a policy");
}

/// Asks with a session's keys.
fn with_keys(desk: &mut Desk, assumed: &Value, service: Service, operation: &'static str, input: Value) -> Answer {
    let mut call = call(service, operation, input);
    call.caller.access_key = assumed["Credentials"]["AccessKeyId"].as_str().map(str::to_owned);
    call.caller.principal = assumed["AssumedRoleUser"]["Arn"].as_str().expect("an ARN").to_owned();
    call.caller.account = OTHER.to_owned();
    let now = desk.now;
    match desk.state.within(OTHER, |state| handle(state, now, &call)) {
        Outcome::Done(answer) => answer,
        Outcome::Later(pending) => panic!("{operation} waits until {}", pending.due()),
    }
}

// IAM user guide, "Cross-account policy evaluation logic": both accounts must allow it.
#[rstest]
#[case::both(json!({"AWS": "123456789012"}), "sts:AssumeRole", "no error")]
#[case::the_user_is_named(json!({"AWS": "arn:aws:iam::123456789012:user/tester"}), "sts:AssumeRole", "no error")]
#[case::no_trust(json!({"AWS": "333333333333"}), "sts:AssumeRole", "AccessDenied")]
#[case::no_policy(json!({"AWS": "123456789012"}), "ec2:*", "AccessDenied")]
#[case::trust_alone_is_not_enough(json!({"AWS": "arn:aws:iam::123456789012:user/tester"}), "ec2:*", "AccessDenied")]
fn a_role_abroad_needs_both_accounts(#[case] trust: Value, #[case] actions: &str, #[case] expected: &str) {
    let mut desk = desk(&trust);
    with_user(&mut desk, actions);
    desk.state.set_iam_mode(IamMode::Enforce);
    let answer = desk.ask(Service::Sts, "AssumeRole", json!({"RoleArn": ROLE, "RoleSessionName": "s"}));
    assert_eq!(code(&answer), expected);
}

/// Whether the account was there before or comes after.
#[rstest]
#[case::before(OTHER)]
#[case::after("333333333333")]
fn every_account_learns_late(#[case] account: &str) {
    let mut desk = desk(&json!({"AWS": "123456789012"}));
    with_user(&mut desk, "sts:AssumeRole");
    let wait = Delay::millis(10_000, 10_000);
    desk.state.set_consistency(Consistency::default(), Propagation { policies: wait, profiles: wait });
    let trust = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}});
    let input = json!({"RoleName": "late", "AssumeRolePolicyDocument": trust.to_string()});
    desk.state.ask_in(desk.now, account, Service::Iam, "CreateRole", input).expect("a role");
    desk.state.set_iam_mode(IamMode::Enforce);
    let input = json!({"RoleArn": format!("arn:aws:iam::{account}:role/late"), "RoleSessionName": "s"});
    let before = code(&desk.ask(Service::Sts, "AssumeRole", input.clone())).to_owned();
    desk.pass(10);
    assert_eq!((before.as_str(), code(&desk.ask(Service::Sts, "AssumeRole", input))), ("AccessDenied", "no error"));
}

#[test]
fn a_session_abroad_sees_that_accounts_world_alone() {
    let mut desk = desk(&json!({"AWS": "123456789012"}));
    let ours = desk.run("m5.large", 1);
    let assumed = desk.ask(Service::Sts, "AssumeRole", json!({"RoleArn": ROLE, "RoleSessionName": "s"})).expect("keys");
    assert_eq!(assumed["AssumedRoleUser"]["Arn"], format!("arn:aws:sts::{OTHER}:assumed-role/visitor/s"));
    let seen = with_keys(&mut desk, &assumed, Service::Ec2, "DescribeInstances", json!({})).expect("none");
    assert_eq!(seen["Reservations"], json!([]));
    let image = desk.image();
    let run = json!({"ImageId": image, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1});
    let theirs = texts(&with_keys(&mut desk, &assumed, Service::Ec2, "RunInstances", run).expect("an instance")["Instances"], "InstanceId");
    assert_ne!(theirs, ours);
    // Its states move on the same clock.
    desk.pass(20);
    let seen = with_keys(&mut desk, &assumed, Service::Ec2, "DescribeInstances", json!({})).expect("one");
    let instances = &seen["Reservations"][0]["Instances"];
    assert_eq!((texts(instances, "InstanceId"), &instances[0]["State"]["Name"]), (theirs, &json!("running")));
    assert_eq!(seen["Reservations"][0]["OwnerId"], OTHER);
    assert_eq!(desk.instances(json!({})).len(), 1, "the first account sees its own alone");
    assert_eq!(desk.state.machines().len(), 1);
}

#[test]
fn what_an_account_refuses_is_told_with_the_rest() {
    let mut desk = desk(&json!({"AWS": "123456789012"}));
    let assumed = desk.ask(Service::Sts, "AssumeRole", json!({"RoleArn": ROLE, "RoleSessionName": "s"})).expect("keys");
    desk.state.set_iam_mode(IamMode::Enforce);
    let refused = with_keys(&mut desk, &assumed, Service::Sqs, "ListQueues", json!({}));
    assert_eq!(failed(refused).code, "AccessDeniedException");
    let denial = desk.state.denials().next_back().expect("a denial");
    assert_eq!((denial.action.as_str(), desk.state.denied()), ("sqs:ListQueues", 1));
}

#[test]
fn accounts_are_bounded_and_have_twelve_digits() {
    let mut desk = Desk::new();
    assert!(!desk.state.open_account("123") && !desk.state.open_account("12345678901a"));
    let opened = (0..2 * crate::state::accounts::MOST_ACCOUNTS).filter(|at| desk.state.open_account(&format!("{at:012}"))).count();
    assert_eq!(opened, crate::state::accounts::MOST_ACCOUNTS);
    let absent = desk.ask(Service::Sts, "AssumeRole", json!({"RoleArn": "arn:aws:iam::999999999999:role/x", "RoleSessionName": "s"}));
    assert_eq!(code(&absent), "AccessDenied");
}
