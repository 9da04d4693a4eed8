//! Spot interruptions, machines that vanish, stray messages: what an account is told and what becomes of its instances.

use jiff::SignedDuration;
use rstest::rstest;
use serde_json::{Value, json};

use super::{Desk, retirement, texts};
use crate::model::Service;
use crate::state::incident::SPOT_NOTICE;
use crate::state::instance::Check;
use crate::state::maintenance::Maintenance;
use crate::state::{Body, Cause, Disturbance, Effect, IamMode, Incident, IncidentError, Lab, Market, Pool, Rule, Settings};

/// A lab, one Spot instance that runs, its id; the messages of its boot are gone.
fn lab_with_spot() -> (Desk, Lab, String) {
    let (mut desk, lab) = Desk::furnished(Settings::default());
    let market = json!({"MarketType": "spot"});
    let input = json!({"ImageId": desk.image(), "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "InstanceMarketOptions": market});
    let id = texts(&desk.ec2("RunInstances", input).expect("an instance")["Instances"], "InstanceId").remove(0);
    desk.pass(30);
    told(&mut desk, &lab);
    (desk, lab, id)
}

/// Takes and deletes what is in the queue.
fn told(desk: &mut Desk, lab: &Lab) -> Vec<String> {
    let url = lab.queue_url.clone().expect("a queue");
    let input = json!({"QueueUrl": url, "MaxNumberOfMessages": 10});
    let answer = desk.ask(Service::Sqs, "ReceiveMessage", input).expect("messages");
    for receipt in texts(&answer["Messages"], "ReceiptHandle") {
        desk.ask(Service::Sqs, "DeleteMessage", json!({"QueueUrl": url, "ReceiptHandle": receipt})).expect("deleted");
    }
    texts(&answer["Messages"], "Body")
}

fn events(desk: &mut Desk, lab: &Lab) -> Vec<Value> {
    told(desk, lab).iter().map(|body| serde_json::from_str(body).expect("JSON")).collect()
}

fn instance(desk: &mut Desk, id: &str) -> Value {
    desk.instances(json!({"InstanceIds": [id]})).remove(0)
}

fn interruption(id: &str) -> Incident {
    Incident::SpotInterruption { instances: vec![id.to_owned()], notice: SPOT_NOTICE }
}

fn request_status(desk: &mut Desk) -> String {
    let answer = desk.ec2("DescribeSpotInstanceRequests", json!({})).expect("requests");
    answer["SpotInstanceRequests"][0]["Status"]["Code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_spot_instance_is_warned_and_taken_back_two_minutes_later() {
    let (mut desk, lab, id) = lab_with_spot();
    let warned = desk.now;
    desk.state.befall(desk.now, &interruption(&id)).expect("interrupted");
    assert_eq!(request_status(&mut desk), "marked-for-termination");
    desk.pass(5);
    let bodies = told(&mut desk, &lab);
    let event: Value = serde_json::from_str(&bodies[0]).expect("JSON");
    let members: Vec<&str> = event.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, ["version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"]);
    assert_eq!(event["detail"], json!({"instance-id": id, "instance-action": "terminate"}));
    assert_eq!((&event["detail-type"], &event["source"]), (&json!("EC2 Spot Instance Interruption Warning"), &json!("aws.ec2")));
    assert_eq!((&event["version"], &event["account"]), (&json!("0"), &json!("123456789012")));
    assert_eq!(event["time"], json!(warned.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
    let zone = instance(&mut desk, &id)["Placement"]["AvailabilityZone"].clone();
    assert_eq!(event["resources"], json!([format!("arn:aws:ec2:{}:instance/{id}", zone.as_str().expect("a zone"))]));
    assert_eq!(bodies[0], event.to_string(), "as EventBridge writes it: no white space");

    desk.pass(114);
    assert_eq!(instance(&mut desk, &id)["State"]["Name"], "running", "119 s after the warning");
    assert_eq!(desk.state.unsettled().len(), 1, "{:?}", desk.state.unsettled());
    desk.pass(1);
    let ending = instance(&mut desk, &id);
    assert_eq!(ending["State"]["Name"], "shutting-down");
    let reason = json!({"Code": "Server.SpotInstanceTermination", "Message": "Server.SpotInstanceTermination: Spot instance termination"});
    assert_eq!(ending["StateReason"], reason);
    assert!(ending["StateTransitionReason"].as_str().is_some_and(|text| text.starts_with("Service initiated")));
    assert_eq!(request_status(&mut desk), "instance-terminated-no-capacity");
    desk.pass(60);
    let states: Vec<Value> = events(&mut desk, &lab).iter().map(|event| event["detail"]["state"].clone()).collect();
    assert_eq!(states, [json!("shutting-down"), json!("terminated")]);
    assert_eq!(desk.state.unsettled(), Vec::<String>::new());
}

#[test]
fn an_instance_that_ends_before_its_notice_is_over_leaves_nothing_to_come() {
    let (mut desk, _, id) = lab_with_spot();
    desk.state.befall(desk.now, &interruption(&id)).expect("interrupted");
    desk.ec2("TerminateInstances", json!({"InstanceIds": [id]})).expect("terminated");
    desk.pass(60);
    assert_eq!(desk.state.unsettled(), Vec::<String>::new());
    desk.pass(120);
    assert_eq!(instance(&mut desk, &id)["StateReason"]["Code"], "Client.UserInitiatedShutdown");
    assert_eq!(request_status(&mut desk), "instance-terminated-by-user");
}

#[test]
fn a_rebalance_recommendation_is_a_word_and_nothing_more() {
    let (mut desk, lab, id) = lab_with_spot();
    desk.state.befall(desk.now, &Incident::RebalanceRecommendation { instances: vec![id.clone()] }).expect("told");
    desk.pass(5);
    let event = events(&mut desk, &lab).remove(0);
    desk.pass(600);
    assert_eq!((&event["detail-type"], &event["detail"]), (&json!("EC2 Instance Rebalance Recommendation"), &json!({"instance-id": id})));
    assert_eq!(event["resources"], json!([format!("arn:aws:ec2:us-west-2:123456789012:instance/{id}")]));
    assert_eq!(instance(&mut desk, &id)["State"]["Name"], "running");
}

#[rstest]
#[case(Cause::Terminated, "Client.UserInitiatedShutdown", "User initiated")]
#[case(Cause::HardwareFailure, "Server.InternalError", "Service initiated")]
fn an_instance_vanishes(#[case] cause: Cause, #[case] code: &str, #[case] who: &str) {
    let (mut desk, lab) = Desk::furnished(Settings::default());
    let id = desk.run("m5.large", 1).remove(0);
    desk.pass(30);
    told(&mut desk, &lab);
    desk.state.befall(desk.now, &Incident::Vanish { instances: vec![id.clone()], cause }).expect("gone");
    assert_eq!(instance(&mut desk, &id)["State"]["Name"], "shutting-down");
    desk.pass(60);
    let gone = instance(&mut desk, &id);
    assert_eq!((&gone["State"]["Name"], &gone["StateReason"]["Code"]), (&json!("terminated"), &json!(code)));
    assert!(gone["StateTransitionReason"].as_str().is_some_and(|text| text.starts_with(who)), "{gone}");
    assert_eq!(events(&mut desk, &lab).len(), 2);
    let ended = desk.state.ledger()[0].end;
    assert!(ended.is_some(), "nobody pays for it any more");
}

#[test]
fn health_announces_a_retirement() {
    let (mut desk, lab) = Desk::furnished(Settings::default());
    let id = desk.run("m5.large", 1).remove(0);
    desk.pass(30);
    told(&mut desk, &lab);
    desk.state.befall(desk.now, &retirement(vec![id.clone()])).expect("announced");
    desk.pass(5);
    let event = events(&mut desk, &lab).remove(0);
    assert_eq!((&event["source"], &event["detail-type"]), (&json!("aws.health"), &json!("AWS Health Event")));
    let detail = &event["detail"];
    assert_eq!((&detail["service"], &detail["eventTypeCategory"]), (&json!("EC2"), &json!("scheduledChange")));
    assert_eq!((&detail["affectedEntities"][0]["entityValue"], &event["resources"]), (&json!(id), &json!([id])));
    assert_eq!(detail["startTime"], "Fri, 4 Dec 2026 17:00:30 GMT");
}

/// Health's type, then what the machine's status says before, at and a week after the time, then the machine's state.
#[rstest]
#[case::retirement("instance-retirement", "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED", "stopped")]
#[case::stop("instance-stop", "AWS_EC2_INSTANCE_STOP_SCHEDULED", "stopped")]
#[case::reboot("instance-reboot", "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED", "running")]
#[case::host("system-reboot", "AWS_EC2_SYSTEM_REBOOT_MAINTENANCE_SCHEDULED", "running")]
#[case::maintenance("system-maintenance", "AWS_EC2_INSTANCE_NETWORK_MAINTENANCE_SCHEDULED", "running")]
fn a_scheduled_event_takes_place(#[case] code: &str, #[case] health: &str, #[case] state: &str) {
    let (mut desk, lab) = Desk::furnished(Settings::default());
    let id = desk.run("m5.large", 1).remove(0);
    desk.pass(30);
    told(&mut desk, &lab);
    let (event, notice) = (code.parse().expect("a code"), SignedDuration::from_hours(3));
    desk.state.befall(desk.now, &Incident::ScheduledChange { instances: vec![id.clone()], event, notice }).expect("announced");
    desk.pass(5);
    assert_eq!(events(&mut desk, &lab)[0]["detail"]["eventTypeCode"], health);
    let shown = |desk: &mut Desk| {
        let input = json!({"InstanceIds": [id], "IncludeAllInstances": true});
        let status = desk.ec2("DescribeInstanceStatus", input).expect("a status")["InstanceStatuses"][0].clone();
        let events = status["Events"].as_array().cloned().unwrap_or_default();
        let told = |name: &str| events.iter().map(|event| event[name].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
        (told("Code"), told("Description"), status["InstanceState"]["Name"].clone())
    };
    desk.pass(3 * 3600 - 6);
    let (codes, before, running) = shown(&mut desk);
    assert_eq!((codes, running), (vec![code.to_owned()], json!("running")));
    desk.pass(60);
    let (codes, after, then) = shown(&mut desk);
    assert_eq!((codes, &after[0], then), (vec![code.to_owned()], &format!("[Completed] {}", before[0]), json!(state)));
    if state == "stopped" {
        assert_eq!(instance(&mut desk, &id)["StateReason"]["Code"], "Server.ScheduledStop");
    }
    desk.pass(7 * 24 * 3600);
    assert_eq!(shown(&mut desk).0, Vec::<String>::new());
}

#[test]
fn a_stop_and_a_start_are_enough_against_a_retirement() {
    let mut desk = Desk::new();
    let id = desk.run("m5.large", 1).remove(0);
    desk.pass(30);
    desk.state.befall(desk.now, &retirement(vec![id.clone()])).expect("announced");
    desk.state.befall(desk.now, &Incident::Impair { instances: vec![id.clone()], check: Check::System }).expect("impaired");
    let status = |desk: &mut Desk| {
        desk.ec2("DescribeInstanceStatus", json!({"InstanceIds": [id]})).expect("a status")["InstanceStatuses"][0].clone()
    };
    let first = status(&mut desk)["Events"][0]["InstanceEventId"].clone();
    for operation in ["StopInstances", "StartInstances"] {
        desk.ec2(operation, json!({"InstanceIds": [id]})).expect(operation);
        desk.pass(400);
    }
    let healed = status(&mut desk);
    assert_eq!((&healed["Events"], &healed["SystemStatus"]["Status"]), (&json!([]), &json!("ok")));
    desk.state.befall(desk.now, &retirement(vec![id.clone()])).expect("announced");
    assert_ne!(status(&mut desk)["Events"][0]["InstanceEventId"], first, "another event has another id");
    for operation in ["StopInstances", "StartInstances"] {
        desk.ec2(operation, json!({"InstanceIds": [id]})).expect(operation);
        desk.pass(60);
    }
    desk.pass(15 * 24 * 3600);
    assert_eq!(instance(&mut desk, &id)["State"]["Name"], "running");
}

#[test]
fn nothing_is_completed_of_a_machine_that_does_not_run() {
    let mut desk = Desk::new();
    let id = desk.run("m5.large", 1).remove(0);
    desk.pass(30);
    let (event, notice) = (Maintenance::SystemReboot, SignedDuration::from_secs(600));
    let incident = Incident::ScheduledChange { instances: vec![id.clone()], event, notice };
    desk.state.befall(desk.now, &incident).expect("announced");
    let comes = |desk: &Desk| desk.state.comes_by_rule(desk.now, desk.now + notice);
    assert!(comes(&desk));
    desk.ec2("StopInstances", json!({"InstanceIds": [id]})).expect("stopped");
    desk.pass(900);
    desk.ec2("StartInstances", json!({"InstanceIds": [id]})).expect("started");
    desk.pass(60);
    let status = desk.ec2("DescribeInstanceStatus", json!({"InstanceIds": [id]})).expect("a status");
    assert_eq!(status["InstanceStatuses"][0]["Events"], json!([]));
    desk.state.befall(desk.now, &incident).expect("announced");
    desk.ec2("TerminateInstances", json!({"InstanceIds": [id]})).expect("terminated");
    assert!(!comes(&desk), "nothing comes of it");
}

#[test]
fn a_spot_machine_cannot_be_stopped_and_ends() {
    let (mut desk, _, id) = lab_with_spot();
    let notice = SignedDuration::from_secs(60);
    let event = Maintenance::InstanceStop;
    desk.state.befall(desk.now, &Incident::ScheduledChange { instances: vec![id.clone()], event, notice }).expect("announced");
    desk.pass(180);
    let gone = instance(&mut desk, &id);
    assert_eq!((&gone["State"]["Name"], &gone["StateReason"]["Code"]), (&json!("terminated"), &json!("Server.ScheduledStop")));
}

#[test]
fn stray_messages_come_into_the_queue() {
    let (mut desk, lab, id) = lab_with_spot();
    let stray = |desk: &mut Desk, body: Body| {
        desk.state.befall(desk.now, &Incident::Message { queue: "lab".into(), body }).expect("sent");
        told(desk, &lab)
    };
    assert_eq!(stray(&mut desk, Body::Text("{not JSON".into())), ["{not JSON"]);
    assert_eq!(stray(&mut desk, Body::DuplicateOfLast), ["{not JSON"]);
    let foreign: Value = serde_json::from_str(&stray(&mut desk, Body::Foreign)[0]).expect("JSON");
    assert_eq!((&foreign["version"], &foreign["source"]), (&json!("0"), &json!("aws.s3")));
    desk.state.befall(desk.now, &interruption(&id)).expect("interrupted");
    desk.pass(5);
    let event = told(&mut desk, &lab).remove(0);
    desk.state.befall(desk.now, &Incident::Message { queue: "lab".into(), body: Body::DuplicateOfLast }).expect("sent");
    assert_eq!(told(&mut desk, &lab), [event]);
}

#[test]
fn a_stray_message_ends_a_long_poll() {
    use crate::services::Outcome;
    let (mut desk, lab) = Desk::furnished(Settings::default());
    let input = json!({"QueueUrl": lab.queue_url, "WaitTimeSeconds": 20});
    let (call, Outcome::Later(mut pending)) = desk.submit(Service::Sqs, "ReceiveMessage", input) else { panic!("it waits") };
    desk.state.befall(desk.now, &Incident::Message { queue: "lab".into(), body: Body::Foreign }).expect("sent");
    assert!(desk.state.next_due().is_some_and(|due| due <= desk.now), "whoever owns the cloud must look again at once");
    assert!(desk.resume(&call, &mut pending).is_some_and(|answer| answer.is_ok()));
}

#[test]
fn what_cannot_happen_says_why_and_happens_to_nobody() {
    let (mut desk, lab, spot) = lab_with_spot();
    let steady = desk.run("m5.large", 1).remove(0);
    let mut refused = |incident: Incident| desk.state.befall(desk.now, &incident).expect_err("refused");
    let both = Incident::SpotInterruption { instances: vec![spot.clone(), steady.clone()], notice: SPOT_NOTICE };
    assert_eq!(refused(both), IncidentError::NotSpot(steady));
    let absent = Incident::Vanish { instances: vec!["i-0".into()], cause: Cause::Terminated };
    assert_eq!(refused(absent), IncidentError::NoInstance("i-0".into()));
    assert_eq!(refused(retirement(Vec::new())), IncidentError::Nobody);
    let message = |queue: &str, body: Body| Incident::Message { queue: queue.into(), body };
    assert_eq!(refused(message("absent", Body::Foreign)), IncidentError::NoQueue("absent".into()));
    desk.state.ask(desk.now, Service::Sqs, "CreateQueue", json!({"QueueName": "empty"})).expect("a queue");
    let mut refused = |incident: Incident| desk.state.befall(desk.now, &incident).expect_err("refused");
    assert_eq!(refused(message("empty", Body::DuplicateOfLast)), IncidentError::NothingSent("empty".into()));
    assert_eq!(desk.now, "2026-11-20T17:00:30Z".parse().expect("an instant"));
    desk.pass(20);
    assert!(told(&mut desk, &lab).iter().all(|body| !body.contains("Interruption")), "nothing was done in part");
    desk.state.befall(desk.now, &interruption(&spot)).expect("interrupted");
    assert_eq!(desk.state.befall(desk.now, &interruption(&spot)), Err(IncidentError::Warned(spot.clone())));
    desk.pass(300);
    assert_eq!(desk.state.befall(desk.now, &interruption(&spot)), Err(IncidentError::Ended { id: spot, state: "terminated" }));
}

#[test]
fn a_rule_has_a_window_and_counts_what_it_meets() {
    let mut desk = Desk::new();
    let effect = Effect::InsufficientCapacity { instance_types: vec!["m5.large".into()], zones: Vec::new(), markets: Vec::new() };
    let at = |desk: &Desk, seconds| Some(desk.now + SignedDuration::from_secs(seconds));
    desk.state.add_rule(Rule { name: "ice".into(), effect, count: None, since: at(&desk, 10), until: at(&desk, 20) });
    let image = desk.image();
    let run = |desk: &mut Desk| {
        desk.ec2("RunInstances", json!({"ImageId": image, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1})).is_ok()
    };
    assert!(run(&mut desk));
    desk.pass(10);
    assert!(!run(&mut desk));
    desk.pass(10);
    assert!(run(&mut desk));
    assert_eq!((desk.state.rule_hits("ice"), desk.state.rule_met("ice")), (Some(1), Some(1)));
}

#[test]
fn a_throttle_is_a_bucket_over_its_operations() {
    let mut desk = Desk::new();
    let effect = Effect::Throttle { operation: "Describe*".into(), burst: 2, per_second: 1, per_instance: false };
    desk.state.add_rule(Rule { name: "slow".into(), effect, count: None, since: None, until: None });
    let mut ask = |seconds: i64, operation: &'static str| {
        desk.pass(seconds);
        desk.ec2(operation, json!({})).err().map(|error| error.code)
    };
    assert_eq!([ask(0, "DescribeVpcs"), ask(0, "DescribeSubnets")], [None, None]);
    assert_eq!(ask(0, "DescribeVpcs").as_deref(), Some("RequestLimitExceeded"));
    assert_eq!(ask(1, "DescribeVpcs"), None);
    assert_eq!((desk.state.rule_hits("slow"), desk.state.rule_met("slow")), (Some(1), Some(4)));
}

#[test]
fn a_rule_that_is_ended_keeps_its_count() {
    let mut desk = Desk::new();
    let error = Effect::Error {
        operation: "DescribeVpcs".into(),
        code: "InternalError".into(),
        message: "m".into(),
        status: None,
        only: Default::default(),
        after: false,
    };
    desk.state.add_rule(Rule { name: "broken".into(), effect: error, count: None, since: None, until: None });
    assert!(desk.ec2("DescribeVpcs", json!({})).is_err());
    assert!(desk.state.end_rule("broken", desk.now) && !desk.state.end_rule("absent", desk.now));
    assert!(desk.ec2("DescribeVpcs", json!({})).is_ok());
    assert_eq!(desk.state.rule_met("broken"), Some(1));
}

#[test]
fn a_pool_is_left_with_a_few_more() {
    let mut desk = Desk::new();
    desk.run("m5.large", 2);
    let zone = desk.instances(json!({})).remove(0)["Placement"]["AvailabilityZone"].as_str().expect("a zone").to_owned();
    let image = desk.image();
    desk.state.leave_capacity(&Pool { instance_type: "m5.large".into(), zone: zone.clone(), market: Market::OnDemand }, 1);
    let placed = json!({"AvailabilityZone": zone});
    let run = |desk: &mut Desk| {
        let input = json!({"ImageId": image, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "Placement": placed});
        desk.ec2("RunInstances", input).is_ok()
    };
    assert_eq!([run(&mut desk), run(&mut desk)], [true, false]);
}

#[test]
fn a_machine_shows_its_disks() {
    let mut desk = Desk::new();
    let devices = json!([
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 33, "VolumeType": "gp3"}},
        {"DeviceName": "/dev/xvdb", "Ebs": {"VolumeSize": 50, "VolumeType": "gp3"}},
    ]);
    let image = desk.image();
    let input = json!({"ImageId": image, "InstanceType": "m5d.large", "MinCount": 1, "MaxCount": 1, "BlockDeviceMappings": devices});
    desk.ec2("RunInstances", input).expect("an instance");
    let machine = desk.state.machines().remove(0);
    let shown: Vec<(&str, u64, bool)> = machine.devices.iter().map(|disk| (disk.name.as_str(), disk.size_gib, disk.root)).collect();
    assert_eq!((shown, machine.local_storage_gb), (vec![("/dev/xvda", 33, true), ("/dev/xvdb", 50, false)], 75));
}

fn disturb(desk: &mut Desk, does: Disturbance, count: Option<u64>) {
    let effect = Effect::Events { kinds: vec!["EC2 Instance Rebalance Recommendation".into()], does };
    desk.state.add_rule(Rule { name: "events".into(), effect, count, since: Some(desk.now), until: None });
}

/// Ids of the instances that recommendations are about, in the order of arrival.
fn recommended(desk: &mut Desk, lab: &Lab) -> Vec<String> {
    let about = |event: &Value| event["detail"]["instance-id"].as_str().unwrap_or_default().to_owned();
    events(desk, lab).iter().filter(|event| event["detail-type"] == "EC2 Instance Rebalance Recommendation").map(about).collect()
}

#[rstest]
#[case(Disturbance::Drop, 0, 0)]
#[case(Disturbance::Duplicate, 2, 2)]
#[case(Disturbance::Delay { by: SignedDuration::from_secs(60) }, 0, 1)]
fn an_event_is_lost_doubled_or_late_if_told_so(#[case] does: Disturbance, #[case] soon: usize, #[case] later: usize) {
    let (mut desk, lab, id) = lab_with_spot();
    disturb(&mut desk, does, Some(1));
    let told = Incident::RebalanceRecommendation { instances: vec![id] };
    desk.state.befall(desk.now, &told).expect("told");
    desk.pass(5);
    let first = recommended(&mut desk, &lab).len();
    desk.pass(65);
    assert_eq!((first, first + recommended(&mut desk, &lab).len()), (soon, later));
    assert_eq!(desk.state.rule_hits("events"), Some(1));
    desk.state.befall(desk.now, &told).expect("told");
    desk.pass(5);
    assert_eq!(recommended(&mut desk, &lab).len(), 1, "the fault is used up");
}

#[test]
fn events_of_a_stretch_arrive_in_reverse() {
    let (mut desk, lab, id) = lab_with_spot();
    let market = json!({"MarketType": "spot"});
    let input = json!({"ImageId": desk.image(), "InstanceType": "m5.large", "MinCount": 2, "MaxCount": 2, "InstanceMarketOptions": market});
    let mut ids = texts(&desk.ec2("RunInstances", input).expect("instances")["Instances"], "InstanceId");
    ids.insert(0, id);
    desk.pass(30);
    told(&mut desk, &lab);
    disturb(&mut desk, Disturbance::Reorder { within: SignedDuration::from_secs(30) }, None);
    desk.state.befall(desk.now, &Incident::RebalanceRecommendation { instances: vec![ids[0].clone(), ids[1].clone()] }).expect("told");
    desk.pass(2);
    desk.state.befall(desk.now, &Incident::RebalanceRecommendation { instances: vec![ids[2].clone()] }).expect("told");
    desk.pass(120);
    ids.reverse();
    assert_eq!(recommended(&mut desk, &lab), ids);
}

/// EventBridge asks the queue's policy as any caller would be asked; the lab's queue has the template's.
#[rstest]
#[case::as_furnished(None, 1, 0)]
#[case::no_policy(Some(""), 0, 1)]
#[case::another_sender(
    Some(r#"{"Statement":{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:*","Resource":"*"}}"#),
    0,
    1
)]
#[case::another_rule(Some(r#"{"Statement":{"Effect":"Allow","Principal":{"Service":"events.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"*","Condition":{"ArnEquals":{"aws:SourceArn":"arn:aws:events:us-west-2:123456789012:rule/other"}}}}"#), 0, 1)]
#[case::this_rule(Some(r#"{"Statement":{"Effect":"Allow","Principal":{"Service":"events.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"*","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:events:us-west-2:123456789012:rule/lab-*"}}}}"#), 1, 0)]
#[case::denied(Some(r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"sqs:*","Resource":"*"},{"Sid":"No","Effect":"Deny","Principal":{"Service":"events.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"*"}]}"#), 0, 1)]
fn a_queues_policy_decides_whether_events_reach_it(#[case] policy: Option<&str>, #[case] delivered: u64, #[case] failed: u64) {
    let (mut desk, lab, id) = lab_with_spot();
    if let Some(policy) = policy {
        let input = json!({"QueueUrl": lab.queue_url, "Attributes": {"Policy": policy}});
        desk.ask(Service::Sqs, "SetQueueAttributes", input).expect("set");
    }
    let rebalance = |desk: &Desk| {
        let counts = desk.state.deliveries().into_iter().find(|(rule, ..)| rule == "lab-RebalanceRule").expect("the rule").2;
        (counts.delivered, counts.failed, counts.why)
    };
    for (mode, expected) in [(IamMode::Enforce, (delivered, failed)), (IamMode::Off, (delivered + 1, failed))] {
        desk.state.set_iam_mode(mode);
        desk.state.befall(desk.now, &Incident::RebalanceRecommendation { instances: vec![id.clone()] }).expect("told");
        desk.pass(5);
        let (delivered, failed, why) = rebalance(&desk);
        assert_eq!((delivered, failed), expected, "{mode:?}: {why:?}");
        assert_eq!(why.is_some(), failed > 0);
    }
    desk.state.set_iam_mode(IamMode::Off);
    assert_eq!(recommended(&mut desk, &lab).len() as u64, delivered + 1);
}
