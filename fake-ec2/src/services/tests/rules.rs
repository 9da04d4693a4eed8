//! Faults, buckets and latencies.

use jiff::SignedDuration;
use serde_json::json;

use super::super::Outcome;
use super::{Desk, code, failed};
use crate::model::Service;
use crate::state::settings::Latency;
use crate::state::{Bucket, Delay, Effect, Rule, Settings};

fn fault(operation: &str, count: Option<u64>) -> Rule {
    let effect = Effect::Error {
        operation: operation.into(),
        code: "RequestLimitExceeded".into(),
        message: "Request limit exceeded.".into(),
        status: None,
        only: Default::default(),
        after: false,
    };
    Rule { name: "throttle".into(), effect, count, since: None, until: None }
}

#[test]
fn a_fault_hits_as_often_as_it_says() {
    let mut desk = Desk::with(Settings { rules: vec![fault("Describe*", Some(2))], ..Settings::default() });
    let error = failed(desk.ec2("DescribeVpcs", json!({})));
    assert_eq!((error.code.as_str(), error.status), ("RequestLimitExceeded", 503));
    assert_eq!(code(&desk.ec2("DescribeSubnets", json!({}))), "RequestLimitExceeded");
    assert!(desk.ec2("DescribeVpcs", json!({})).is_ok());
    assert_eq!(desk.state.rule_hits("throttle"), Some(2));
}

#[test]
fn a_fault_has_no_effect_besides_and_can_be_taken_away() {
    let mut desk = Desk::new();
    desk.state.add_rule(fault("CreateVpc", None));
    assert!(desk.ec2("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"})).is_err());
    assert_eq!(desk.ec2("DescribeVpcs", json!({})).expect("vpcs")["Vpcs"].as_array().map(Vec::len), Some(1));
    assert!(desk.state.remove_rule("throttle") && !desk.state.remove_rule("throttle"));
    assert!(desk.ec2("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"})).is_ok());
    assert_eq!(desk.state.rule_hits("throttle"), None);
}

#[test]
fn buckets_throttle_in_each_services_words() {
    let bucket = |operation: &str| Bucket { operation: operation.into(), size: 1, refill: 1, per_resource: false };
    let mut desk = Desk::with(Settings { buckets: vec![bucket("DescribeVpcs"), bucket("GetParameter")], ..Settings::default() });
    assert!(desk.ec2("DescribeVpcs", json!({})).is_ok());
    assert_eq!(code(&desk.ec2("DescribeVpcs", json!({}))), "RequestLimitExceeded");
    assert!(desk.ec2("DescribeSubnets", json!({})).is_ok());
    desk.image();
    assert_eq!(code(&desk.ask(Service::Ssm, "GetParameter", json!({"Name": "x"}))), "ThrottlingException");
    desk.pass(1);
    assert!(desk.ec2("DescribeVpcs", json!({})).is_ok());
}

#[test]
fn a_latency_holds_the_answer_and_not_the_effect() {
    let latency = Latency { operation: "CreateVpc".into(), delay: Delay::fixed(SignedDuration::from_secs(3)) };
    let mut desk = Desk::with(Settings { latency: vec![latency], ..Settings::default() });
    let (call, Outcome::Later(mut pending)) = desk.submit(Service::Ec2, "CreateVpc", json!({"CidrBlock": "10.0.0.0/16"})) else {
        panic!("it waits")
    };
    assert_eq!(desk.ec2("DescribeVpcs", json!({})).expect("vpcs")["Vpcs"].as_array().map(Vec::len), Some(2));
    desk.pass(2);
    assert!(desk.resume(&call, &mut pending).is_none());
    desk.pass(1);
    assert!(desk.resume(&call, &mut pending).is_some_and(|answer| answer.is_ok()));
}

#[test]
fn settings_are_plain_data() {
    let settings = Settings { rules: vec![fault("CreateFleet", Some(1))], ..Settings::default() };
    let text = serde_json::to_string(&settings).expect("JSON");
    assert_eq!(serde_json::from_str::<Settings>(&text).expect("settings"), settings);
    let few: Settings = serde_json::from_str(r#"{"spot_prices": [{"instance_type": "m5.large", "per_hour": "0.04"}]}"#).expect("settings");
    assert_eq!(few.spot_prices[0].per_hour, crate::catalogue::MicroUsd(40_000));
    assert!(serde_json::from_str::<Settings>(r#"{"colour": "red"}"#).is_err());
}
