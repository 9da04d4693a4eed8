//! RunInstances and what becomes of instances.

use rstest::rstest;
use serde_json::{Value, json};

use super::{Desk, code, failed, filter, message, texts};
use crate::state::settings::Capacity;
use crate::state::{Delay, Phase, Settings};

fn state(desk: &mut Desk, id: &str) -> String {
    desk.instances(json!({"InstanceIds": [id]}))[0]["State"]["Name"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_instance_lives_and_is_forgotten() {
    let (mut desk, _) = Desk::furnished(Settings::default());
    let id = desk.run("m5.large", 1).remove(0);
    assert_eq!(state(&mut desk, &id), "pending");
    assert!(!desk.state.unsettled().is_empty());
    desk.pass(8);
    assert_eq!(state(&mut desk, &id), "running");
    let changed = desk.ec2("TerminateInstances", json!({"InstanceIds": [id]})).expect("terminated");
    assert_eq!(changed["TerminatingInstances"][0]["CurrentState"], json!({"Code": 32, "Name": "shutting-down"}));
    assert_eq!(changed["TerminatingInstances"][0]["PreviousState"]["Name"], "running");
    desk.pass(60);
    assert_eq!(state(&mut desk, &id), "terminated");
    let instance = desk.instances(json!({"InstanceIds": [id]})).remove(0);
    assert_eq!(instance["StateReason"]["Code"], "Client.UserInitiatedShutdown");
    assert!(instance.get("PrivateIpAddress").is_none() && instance["NetworkInterfaces"] == json!([]));
    assert_eq!(desk.ec2("DescribeVolumes", json!({})).expect("volumes")["Volumes"], json!([]));
    desk.pass(3600);
    assert_eq!(code(&desk.ec2("DescribeInstances", json!({"InstanceIds": [id]}))), "InvalidInstanceID.NotFound");
    assert_eq!(desk.state.unsettled(), Vec::<String>::new());
    let entry = &desk.state.ledger()[0];
    assert_eq!(entry.end.map(|end| end.duration_since(entry.start).as_secs()), Some(8));
}

#[test]
fn delays_are_drawn_from_their_bounds() {
    let settings = Settings { pending: Delay::millis(3_000, 3_000), ..Settings::default() };
    let mut desk = Desk::with(settings);
    let id = desk.run("m5.large", 1).remove(0);
    desk.pass(2);
    assert_eq!(state(&mut desk, &id), "pending");
    desk.pass(1);
    assert_eq!(state(&mut desk, &id), "running");
}

#[test]
fn the_version_moves_with_every_change() {
    let mut desk = Desk::new();
    let mut seen = vec![desk.state.machines_version()];
    let id = desk.run("m5.large", 1).remove(0);
    seen.push(desk.state.machines_version());
    desk.pass(10);
    seen.push(desk.state.machines_version());
    desk.ec2("CreateTags", json!({"Resources": [id], "Tags": [{"Key": "Name", "Value": "n"}]})).expect("tagged");
    seen.push(desk.state.machines_version());
    desk.ec2("TerminateInstances", json!({"InstanceIds": [id]})).expect("terminated");
    seen.push(desk.state.machines_version());
    desk.pass(60);
    seen.push(desk.state.machines_version());
    assert!(seen.is_sorted_by(|one, two| one < two), "{seen:?}");
    let before = desk.state.machines_version();
    desk.instances(json!({}));
    assert_eq!(desk.state.machines_version(), before, "looking changes nothing");
}

#[test]
fn stop_and_start() {
    let mut desk = Desk::new();
    let id = desk.run("t3.micro", 1).remove(0);
    desk.pass(10);
    let answer = desk.ec2("StopInstances", json!({"InstanceIds": [id]})).expect("stopping");
    assert_eq!(answer["StoppingInstances"][0]["CurrentState"]["Code"], 64);
    desk.pass(60);
    assert_eq!(state(&mut desk, &id), "stopped");
    desk.ec2("StartInstances", json!({"InstanceIds": [id]})).expect("starting");
    desk.pass(10);
    assert_eq!(state(&mut desk, &id), "running");
    assert_eq!(desk.state.ledger().len(), 2, "a stopped instance costs nothing");
    desk.ec2("TerminateInstances", json!({"InstanceIds": [id]})).expect("terminated");
    assert_eq!(code(&desk.ec2("StartInstances", json!({"InstanceIds": [id]}))), "IncorrectInstanceState");
    assert_eq!(code(&desk.ec2("StopInstances", json!({"InstanceIds": [id]}))), "IncorrectInstanceState");
}

#[test]
fn terminating_twice_is_no_error() {
    let mut desk = Desk::new();
    let id = desk.run("t3.micro", 1).remove(0);
    desk.ec2("TerminateInstances", json!({"InstanceIds": [id]})).expect("terminated");
    let again = desk.ec2("TerminateInstances", json!({"InstanceIds": [id]})).expect("terminated");
    assert_eq!(again["TerminatingInstances"][0]["PreviousState"]["Name"], "shutting-down");
    assert_eq!(desk.state.machines()[0].phase, Phase::ShuttingDown);
}

#[rstest]
#[case(json!(["i-0123456789abcdef0"]), "InvalidInstanceID.NotFound", "The instance ID 'i-0123456789abcdef0' does not exist")]
#[case(json!(["i-0123456789abcdef0", "i-0123456789abcdef1"]), "InvalidInstanceID.NotFound", "The instance IDs 'i-0123456789abcdef0, i-0123456789abcdef1' do not exist")]
#[case(json!(["nonsense"]), "InvalidInstanceID.Malformed", "Invalid id: \"nonsense\" (expecting \"i-...\")")]
fn unknown_instances(
    #[case] ids: Value,
    #[case] code: &str,
    #[case] text: &str,
    #[values("DescribeInstances", "TerminateInstances", "StopInstances", "StartInstances")] operation: &'static str,
) {
    let error = failed(Desk::new().ec2(operation, json!({"InstanceIds": ids})));
    assert_eq!((error.code.as_str(), error.message.as_str()), (code, text));
}

#[rstest]
#[case(json!({"InstanceType": "m5.gigantic"}), "InvalidParameterValue")]
#[case(json!({"ImageId": "ami-0123456789abcdef0"}), "InvalidAMIID.NotFound")]
#[case(json!({"ImageId": "nonsense"}), "InvalidAMIID.Malformed")]
#[case(json!({"InstanceType": "m6g.large"}), "InvalidParameterValue")]
#[case(json!({"SubnetId": "subnet-0123456789abcdef0"}), "InvalidSubnetID.NotFound")]
#[case(json!({"SecurityGroupIds": ["sg-0123456789abcdef0"]}), "InvalidGroup.NotFound")]
#[case(json!({"SecurityGroups": ["absent"]}), "InvalidGroup.NotFound")]
#[case(json!({"IamInstanceProfile": {"Name": "absent"}}), "InvalidParameterValue")]
#[case(json!({"UserData": "%%%"}), "InvalidUserData.Malformed")]
#[case(json!({"Placement": {"AvailabilityZone": "us-west-2z"}}), "InvalidParameterValue")]
#[case(json!({"MinCount": 2, "MaxCount": 1}), "InvalidParameterValue")]
#[case(json!({"MinCount": 0}), "InvalidParameterValue")]
#[case(json!({"MaxCount": 5000}), "InstanceLimitExceeded")]
#[case(json!({"LaunchTemplate": {"LaunchTemplateName": "absent"}}), "InvalidLaunchTemplateName.NotFoundException")]
#[case(json!({"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.00001"}}}), "SpotMaxPriceTooLow")]
#[case(json!({"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "aws:x", "Value": "y"}]}]}), "InvalidParameterValue")]
#[case(json!({"DryRun": true}), "DryRunOperation")]
fn a_launch_is_refused(#[case] wrong: Value, #[case] expected: &str) {
    let mut desk = Desk::new();
    let mut input = json!({"ImageId": desk.image(), "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1});
    input.as_object_mut().expect("a structure").extend(wrong.as_object().cloned().expect("a structure"));
    let answer = desk.ec2("RunInstances", input);
    assert_eq!(code(&answer), expected, "{answer:?}");
    assert_eq!(desk.instances(json!({})).len(), 0);
}

#[test]
fn user_data_has_a_limit() {
    use base64::Engine;
    let mut desk = Desk::new();
    let data = |bytes: usize| base64::engine::general_purpose::STANDARD.encode(vec![b'x'; bytes]);
    let image = desk.image();
    let mut run = |bytes| {
        let input = json!({"ImageId": image, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "UserData": data(bytes)});
        desk.ec2("RunInstances", input)
    };
    assert!(run(16_384).is_ok());
    assert_eq!(message(run(16_385)), "User data is limited to 16384 bytes");
}

#[test]
fn a_zone_without_capacity_is_left_for_another_unless_it_was_asked_for() {
    let full = Capacity { instance_type: None, zone: Some("us-west-2a".into()), market: None, instances: Some(0) };
    let mut desk = Desk::with(Settings { capacity: vec![full], ..Settings::default() });
    let id = desk.run("m5.large", 1).remove(0);
    assert_eq!(desk.instances(json!({"InstanceIds": [id]}))[0]["Placement"]["AvailabilityZone"], "us-west-2b");
    let input = json!({
        "ImageId": desk.image(), "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "Placement": {"AvailabilityZone": "us-west-2a"},
    });
    assert_eq!(code(&desk.ec2("RunInstances", input)), "InsufficientInstanceCapacity");
}

#[test]
fn as_many_as_there_is_room_for_between_minimum_and_maximum() {
    let few = Capacity { instance_type: Some("m5.large".into()), zone: None, market: None, instances: Some(3) };
    let mut desk = Desk::with(Settings { capacity: vec![few], ..Settings::default() });
    let input = json!({"ImageId": desk.image(), "InstanceType": "m5.large", "MinCount": 2, "MaxCount": 5});
    let answer = desk.ec2("RunInstances", input).expect("some run");
    assert_eq!(answer["Instances"].as_array().map(Vec::len), Some(3));
    let indices: Vec<i64> = answer["Instances"].as_array().expect("a list").iter().filter_map(|it| it["AmiLaunchIndex"].as_i64()).collect();
    assert_eq!(indices, [0, 1, 2]);
}

#[test]
fn filters_of_karpenter_find_what_it_owns() {
    let mut desk = Desk::new();
    let ids = desk.run("m5.large", 3);
    let tags = json!([{"Key": "karpenter.sh/nodepool", "Value": "default"}, {"Key": "eks:eks-cluster-name", "Value": "lab"}]);
    desk.ec2("CreateTags", json!({"Resources": [ids[0], ids[1]], "Tags": tags})).expect("tagged");
    desk.ec2("TerminateInstances", json!({"InstanceIds": [ids[1]]})).expect("terminated");
    desk.pass(120);
    let filters = json!([
        {"Name": "tag-key", "Values": ["karpenter.sh/nodepool"]},
        {"Name": "tag:eks:eks-cluster-name", "Values": ["lab"]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]},
    ]);
    let found = desk.instances(json!({"Filters": filters, "MaxResults": 1000}));
    assert_eq!(found.iter().filter_map(|it| it["InstanceId"].as_str()).collect::<Vec<_>>(), [&ids[0]]);
}

#[test]
fn instances_can_be_found_by_reservation() {
    let mut desk = Desk::new();
    desk.run("m5.large", 2);
    let other = desk.run("t3.micro", 1);
    let all = desk.ec2("DescribeInstances", json!({})).expect("instances");
    let reservations = all["Reservations"].as_array().expect("a list");
    let wanted = reservations.iter().find(|it| texts(&it["Instances"], "InstanceId") == other).expect("its reservation");
    let found = desk.instances(json!({"Filters": filter("reservation-id", &[wanted["ReservationId"].as_str().unwrap_or_default()])}));
    assert_eq!(found.len(), 1);
    assert_eq!(code(&desk.ec2("DescribeInstances", json!({"Filters": filter("colour", &["red"])}))), "InvalidParameterValue");
}

#[test]
fn pages_hold_every_instance_once() {
    let mut desk = Desk::new();
    let mut all = desk.run("t3.micro", 23);
    all.sort();
    let (mut seen, mut token) = (Vec::new(), None::<String>);
    loop {
        let mut input = json!({"MaxResults": 5});
        if let Some(token) = &token {
            input["NextToken"] = json!(token);
        }
        let page = desk.ec2("DescribeInstances", input).expect("a page");
        for reservation in page["Reservations"].as_array().into_iter().flatten() {
            seen.extend(texts(&reservation["Instances"], "InstanceId"));
        }
        token = page["NextToken"].as_str().map(str::to_owned);
        if token.is_none() {
            break;
        }
        // What is seen may go meanwhile; what is not seen yet must still come.
        desk.ec2("TerminateInstances", json!({"InstanceIds": [seen[0]]})).expect("terminated");
    }
    seen.sort();
    assert_eq!(seen, all);
}

#[test]
fn a_token_is_of_its_request_alone() {
    let mut desk = Desk::new();
    desk.run("t3.micro", 12);
    let page = desk.ec2("DescribeInstances", json!({"MaxResults": 5})).expect("a page");
    let token = page["NextToken"].as_str().expect("a token").to_owned();
    let other = json!({"MaxResults": 5, "NextToken": token, "Filters": filter("instance-type", &["t3.micro"])});
    assert_eq!(code(&desk.ec2("DescribeInstances", other)), "InvalidNextToken");
    assert_eq!(code(&desk.ec2("DescribeVolumes", json!({"NextToken": token}))), "InvalidNextToken");
    assert_eq!(code(&desk.ec2("DescribeInstances", json!({"NextToken": "nonsense"}))), "InvalidNextToken");
}

#[rstest]
#[case(json!({"MaxResults": 4}), "InvalidParameterValue")]
#[case(json!({"MaxResults": 1001}), "InvalidParameterValue")]
#[case(json!({"MaxResults": 5, "InstanceIds": ["ID"]}), "InvalidParameterCombination")]
fn page_lengths_have_bounds(#[case] mut input: Value, #[case] expected: &str) {
    let mut desk = Desk::new();
    let ids = desk.run("t3.micro", 1);
    if input.get("InstanceIds").is_some() {
        input["InstanceIds"] = json!(ids);
    }
    assert_eq!(code(&desk.ec2("DescribeInstances", input)), expected);
}

#[test]
fn status_follows_the_state() {
    let mut desk = Desk::new();
    let id = desk.run("t3.micro", 1).remove(0);
    let statuses = |desk: &mut Desk, input: Value| desk.ec2("DescribeInstanceStatus", input).expect("statuses")["InstanceStatuses"].clone();
    assert_eq!(statuses(&mut desk, json!({})), json!([]), "running ones only");
    assert_eq!(statuses(&mut desk, json!({"IncludeAllInstances": true}))[0]["InstanceState"]["Name"], "pending");
    desk.pass(30);
    assert_eq!(statuses(&mut desk, json!({}))[0]["InstanceStatus"]["Status"], "initializing");
    desk.pass(120);
    let found = statuses(&mut desk, json!({"Filters": filter("instance-status.status", &["ok"])}));
    assert_eq!(found[0]["InstanceId"], json!(id));
    assert_eq!(statuses(&mut desk, json!({"Filters": filter("system-status.status", &["impaired"])})), json!([]));
}

#[test]
fn a_machine_that_nobody_plays_tells_of_its_boot() {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    let mut desk = Desk::new();
    let (image, user_data) = (desk.image(), engine.encode("#!/bin/sh\n"));
    let input = json!({"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "UserData": user_data});
    let made = desk.ec2("RunInstances", input).expect("an instance")["Instances"][0].clone();
    let (id, address) = (made["InstanceId"].as_str().expect("an id"), made["PrivateIpAddress"].as_str().expect("an address"));
    let mut output = |pass: i64| {
        desk.pass(pass);
        let answer = desk.ec2("GetConsoleOutput", json!({"InstanceId": id})).expect("a console");
        answer["Output"].as_str().map(|text| String::from_utf8(engine.decode(text).expect("base64")).expect("text"))
    };
    assert_eq!(output(0), None, "nothing has booted yet");
    let text = output(60).expect("a log");
    for word in [id, address, "t3.micro", "text/x-shellscript, 10 bytes", "login:"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    assert_eq!(output(3600), Some(text), "whenever it is read");
}

#[test]
fn the_console_shows_the_boot_log_then_the_machines_own() {
    use base64::Engine;
    let mut desk = Desk::with(Settings { boot_log: Some("hello".into()), ..Settings::default() });
    let id = desk.run("t3.micro", 1).remove(0);
    let output = |desk: &mut Desk| {
        let answer = desk.ec2("GetConsoleOutput", json!({"InstanceId": id})).expect("a console");
        let text = answer["Output"].as_str().map(|text| base64::engine::general_purpose::STANDARD.decode(text).expect("base64"));
        text.map(|text| String::from_utf8(text).expect("text"))
    };
    assert_eq!(output(&mut desk), None);
    desk.pass(10);
    assert_eq!(output(&mut desk).as_deref(), Some("hello"));
    let now = desk.now;
    assert!(desk.state.set_console(now, &id, "kubelet up"));
    assert_eq!(output(&mut desk).as_deref(), Some("kubelet up"));
    assert!(!desk.state.set_console(now, "i-0123456789abcdef0", "x"));
}

#[test]
fn spot_instances_have_a_request_and_cannot_be_stopped() {
    let mut desk = Desk::new();
    let input = json!({
        "ImageId": desk.image(), "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "InstanceMarketOptions": {"MarketType": "spot"},
    });
    let instance = desk.ec2("RunInstances", input).expect("an instance")["Instances"][0].clone();
    let found = desk.ec2("DescribeSpotInstanceRequests", json!({"Filters": filter("state", &["active"])})).expect("requests");
    assert_eq!(found["SpotInstanceRequests"][0]["SpotInstanceRequestId"], instance["SpotInstanceRequestId"]);
    desk.pass(10);
    let ids = json!({"InstanceIds": [instance["InstanceId"]]});
    assert_eq!(code(&desk.ec2("StopInstances", ids.clone())), "UnsupportedOperation");
    desk.ec2("RebootInstances", ids.clone()).expect("rebooted");
    desk.ec2("TerminateInstances", ids).expect("terminated");
    let closed = desk.ec2("DescribeSpotInstanceRequests", json!({"Filters": filter("state", &["closed"])})).expect("requests");
    assert_eq!(closed["SpotInstanceRequests"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        code(&desk.ec2("DescribeSpotInstanceRequests", json!({"SpotInstanceRequestIds": ["sir-absent00"]}))),
        "InvalidSpotInstanceRequestID.NotFound"
    );
}
