//! Queues, and events that reach them.

use rstest::rstest;
use serde_json::{Value, json};

use super::super::Outcome;
use super::{Answer, Desk, code, failed, texts};
use crate::model::Service;
use crate::state::Settings;

fn sqs(desk: &mut Desk, operation: &'static str, input: Value) -> Answer {
    desk.ask(Service::Sqs, operation, input)
}

fn queue(desk: &mut Desk, attributes: Value) -> String {
    let made = sqs(desk, "CreateQueue", json!({"QueueName": "q", "Attributes": attributes})).expect("a queue");
    made["QueueUrl"].as_str().expect("a URL").to_owned()
}

fn send(desk: &mut Desk, url: &str, body: &str) -> Value {
    sqs(desk, "SendMessage", json!({"QueueUrl": url, "MessageBody": body})).expect("sent")
}

fn receive(desk: &mut Desk, url: &str) -> Vec<Value> {
    let input = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 20, "AttributeNames": ["All"]});
    sqs(desk, "ReceiveMessage", input).expect("received")["Messages"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_message_is_received_returned_and_deleted() {
    let mut desk = Desk::new();
    let url = queue(&mut desk, json!({}));
    assert_eq!(url, "https://sqs.us-west-2.amazonaws.com/123456789012/q");
    assert_eq!(send(&mut desk, &url, "hello")["MD5OfMessageBody"], "5d41402abc4b2a76b9719d911017c592");
    let first = receive(&mut desk, &url).remove(0);
    assert_eq!((&first["Body"], &first["MD5OfBody"]), (&json!("hello"), &json!("5d41402abc4b2a76b9719d911017c592")));
    assert_eq!(first["Attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(first["Attributes"]["SentTimestamp"], "1795194000000");
    assert_eq!(receive(&mut desk, &url).len(), 0);
    desk.pass(20);
    let again = receive(&mut desk, &url).remove(0);
    assert_eq!((&again["Attributes"]["ApproximateReceiveCount"], &again["MessageId"]), (&json!("2"), &first["MessageId"]));
    assert_ne!(again["ReceiptHandle"], first["ReceiptHandle"]);
    sqs(&mut desk, "DeleteMessage", json!({"QueueUrl": url, "ReceiptHandle": again["ReceiptHandle"]})).expect("deleted");
    sqs(&mut desk, "DeleteMessage", json!({"QueueUrl": url, "ReceiptHandle": again["ReceiptHandle"]})).expect("deleted already");
    desk.pass(60);
    assert_eq!(receive(&mut desk, &url).len(), 0);
}

#[test]
fn attributes_have_their_checksum() {
    let mut desk = Desk::new();
    let url = queue(&mut desk, json!({}));
    let attributes = json!({"test_attribute_name_1": {"DataType": "String", "StringValue": "test_attribute_value_1"}});
    let sent = sqs(&mut desk, "SendMessage", json!({"QueueUrl": url, "MessageBody": "b", "MessageAttributes": attributes})).expect("sent");
    // Made with another implementation of the documented rule (Python's hashlib).
    assert_eq!(sent["MD5OfMessageAttributes"], "ba056227cfd9533dba1f72ad9816d233");
    let input = json!({"QueueUrl": url, "MessageAttributeNames": ["All"]});
    let message = sqs(&mut desk, "ReceiveMessage", input).expect("received")["Messages"][0].clone();
    assert_eq!((&message["MessageAttributes"], &message["MD5OfMessageAttributes"]), (&attributes, &sent["MD5OfMessageAttributes"]));
}

#[test]
fn a_long_poll_waits_for_a_message_or_its_end() {
    let mut desk = Desk::new();
    let url = queue(&mut desk, json!({}));
    let input = json!({"QueueUrl": url, "WaitTimeSeconds": 20});
    let (call, Outcome::Later(mut pending)) = desk.submit(Service::Sqs, "ReceiveMessage", input.clone()) else { panic!("it waits") };
    assert_eq!(pending.due().duration_since(desk.now).as_secs(), 20);
    desk.pass(5);
    assert!(desk.resume(&call, &mut pending).is_none());
    send(&mut desk, &url, "late");
    let answer = desk.resume(&call, &mut pending).expect("an answer").expect("a message");
    assert_eq!(texts(&answer["Messages"], "Body"), ["late"]);
    let (call, Outcome::Later(mut pending)) = desk.submit(Service::Sqs, "ReceiveMessage", input) else { panic!("it waits") };
    desk.pass(20);
    assert_eq!(desk.resume(&call, &mut pending), Some(Ok(json!({}))));
    assert_eq!(desk.state.unsettled(), Vec::<String>::new(), "polls are no work");
}

#[test]
fn a_message_that_comes_back_wakes_a_poll() {
    let mut desk = Desk::new();
    let url = queue(&mut desk, json!({"VisibilityTimeout": "10"}));
    send(&mut desk, &url, "again");
    assert_eq!(sqs(&mut desk, "ReceiveMessage", json!({"QueueUrl": url})).expect("received")["Messages"].as_array().map(Vec::len), Some(1));
    let (call, Outcome::Later(mut pending)) = desk.submit(Service::Sqs, "ReceiveMessage", json!({"QueueUrl": url, "WaitTimeSeconds": 20}))
    else {
        panic!("it waits")
    };
    assert_eq!(pending.due().duration_since(desk.now).as_secs(), 10, "the message's return");
    desk.pass(10);
    assert!(desk.resume(&call, &mut pending).is_some());
    // Of two that wait, one gets it, and the other waits for its next return.
    let wait = json!({"QueueUrl": url, "WaitTimeSeconds": 20});
    let (call, Outcome::Later(mut pending)) = desk.submit(Service::Sqs, "ReceiveMessage", wait.clone()) else { panic!("it waits") };
    let (other, Outcome::Later(mut waits)) = desk.submit(Service::Sqs, "ReceiveMessage", wait) else { panic!("it waits") };
    desk.pass(10);
    assert!(desk.resume(&call, &mut pending).is_some() && desk.resume(&other, &mut waits).is_none());
    assert_eq!(waits.due().duration_since(desk.now).as_secs(), 10);
}

#[test]
fn a_queue_that_was_used_leaves_nothing_to_wake_for() {
    let mut desk = Desk::new();
    let url = queue(&mut desk, json!({"VisibilityTimeout": "10"}));
    for _ in 0..20 {
        send(&mut desk, &url, "m");
        let receipt = receive(&mut desk, &url).remove(0)["ReceiptHandle"].clone();
        sqs(&mut desk, "DeleteMessage", json!({"QueueUrl": url, "ReceiptHandle": receipt})).expect("deleted");
    }
    assert_eq!(desk.state.next_due(), None);
}

#[test]
fn visibility_can_be_changed() {
    let mut desk = Desk::new();
    let url = queue(&mut desk, json!({}));
    send(&mut desk, &url, "m");
    let receipt = receive(&mut desk, &url).remove(0)["ReceiptHandle"].clone();
    sqs(&mut desk, "ChangeMessageVisibility", json!({"QueueUrl": url, "ReceiptHandle": receipt, "VisibilityTimeout": 0})).expect("changed");
    assert_eq!(receive(&mut desk, &url).len(), 1);
}

#[test]
fn what_is_received_too_often_goes_to_the_dead_letter_queue() {
    let mut desk = Desk::new();
    let dead =
        sqs(&mut desk, "CreateQueue", json!({"QueueName": "dead"})).expect("a queue")["QueueUrl"].as_str().expect("a URL").to_owned();
    let policy = json!({"deadLetterTargetArn": "arn:aws:sqs:us-west-2:123456789012:dead", "maxReceiveCount": 2}).to_string();
    let url = queue(&mut desk, json!({"RedrivePolicy": policy}));
    send(&mut desk, &url, "poison");
    for _ in 0..2 {
        assert_eq!(receive(&mut desk, &url).len(), 1);
        desk.pass(20);
    }
    assert_eq!(receive(&mut desk, &url).len(), 0);
    assert_eq!(texts(&json!(receive(&mut desk, &dead)), "Body"), ["poison"]);
}

#[test]
fn batches_succeed_and_fail_entry_by_entry() {
    let mut desk = Desk::new();
    let url = queue(&mut desk, json!({}));
    let entries = json!([{"Id": "a", "MessageBody": "1"}, {"Id": "b", "MessageBody": "2", "DelaySeconds": 5000}]);
    let answer = sqs(&mut desk, "SendMessageBatch", json!({"QueueUrl": url, "Entries": entries})).expect("a batch");
    assert_eq!((texts(&answer["Successful"], "Id"), texts(&answer["Failed"], "Id")), (vec!["a".to_owned()], vec!["b".to_owned()]));
    let twice = json!([{"Id": "a", "MessageBody": "1"}, {"Id": "a", "MessageBody": "2"}]);
    assert_eq!(code(&sqs(&mut desk, "SendMessageBatch", json!({"QueueUrl": url, "Entries": twice}))), "BatchEntryIdsNotDistinct");
    assert_eq!(code(&sqs(&mut desk, "SendMessageBatch", json!({"QueueUrl": url, "Entries": []}))), "EmptyBatchRequest");
}

#[test]
fn a_queue_tells_its_attributes() {
    let mut desk = Desk::new();
    let url = queue(&mut desk, json!({"MessageRetentionPeriod": "300"}));
    send(&mut desk, &url, "m");
    let names = json!(["QueueArn", "ApproximateNumberOfMessages", "MessageRetentionPeriod"]);
    let answer = sqs(&mut desk, "GetQueueAttributes", json!({"QueueUrl": url, "AttributeNames": names})).expect("attributes");
    let expected =
        json!({"MessageRetentionPeriod": "300", "ApproximateNumberOfMessages": "1", "QueueArn": "arn:aws:sqs:us-west-2:123456789012:q"});
    assert_eq!(answer["Attributes"], expected);
    sqs(&mut desk, "CreateQueue", json!({"QueueName": "q", "Attributes": {"MessageRetentionPeriod": "300"}})).expect("the same queue");
    let other = json!({"QueueName": "q", "Attributes": {"MessageRetentionPeriod": "400"}});
    assert_eq!(code(&sqs(&mut desk, "CreateQueue", other)), "QueueNameExists");
    sqs(&mut desk, "DeleteQueue", json!({"QueueUrl": url})).expect("deleted");
    let gone = failed(sqs(&mut desk, "GetQueueUrl", json!({"QueueName": "q"})));
    assert_eq!((gone.code.as_str(), gone.query_code.as_deref()), ("QueueDoesNotExist", Some("AWS.SimpleQueueService.NonExistentQueue")));
}

#[rstest]
#[case("ReceiveMessage", json!({"QueueUrl": "https://x/123456789012/absent"}), "QueueDoesNotExist")]
#[case("ReceiveMessage", json!({"QueueUrl": "https://x/123456789012/q", "MaxNumberOfMessages": 11}), "InvalidParameterValue")]
#[case("DeleteMessage", json!({"QueueUrl": "https://x/123456789012/q", "ReceiptHandle": "nonsense"}), "ReceiptHandleIsInvalid")]
#[case("CreateQueue", json!({"QueueName": "a b"}), "InvalidParameterValue")]
#[case("CreateQueue", json!({"QueueName": "a.fifo"}), "UnsupportedOperation")]
#[case("CreateQueue", json!({"QueueName": "a", "Attributes": {"Colour": "red"}}), "InvalidAttributeName")]
#[case("CreateQueue", json!({"QueueName": "a", "Attributes": {"DelaySeconds": "-1"}}), "InvalidAttributeValue")]
fn refused(#[case] operation: &'static str, #[case] input: Value, #[case] expected: &str) {
    let mut desk = Desk::new();
    queue(&mut desk, json!({}));
    assert_eq!(code(&sqs(&mut desk, operation, input)), expected);
}

#[test]
fn an_instances_changes_reach_the_labs_queue() {
    let (mut desk, lab) = Desk::furnished(Settings::default());
    let url = lab.queue_url.expect("a queue");
    let id = desk.run("m5.large", 1).remove(0);
    desk.pass(30);
    desk.ec2("TerminateInstances", json!({"InstanceIds": [id]})).expect("terminated");
    desk.pass(60);
    let bodies: Vec<Value> =
        receive(&mut desk, &url).iter().filter_map(|message| serde_json::from_str(message["Body"].as_str()?).ok()).collect();
    let states: Vec<&str> = bodies.iter().filter_map(|event| event["detail"]["state"].as_str()).collect();
    assert_eq!(states, ["pending", "running", "shutting-down", "terminated"]);
    let event = &bodies[0];
    assert_eq!(
        (&event["version"], &event["source"], &event["detail-type"]),
        (&json!("0"), &json!("aws.ec2"), &json!("EC2 Instance State-change Notification"))
    );
    assert_eq!(event["detail"]["instance-id"], json!(id));
    assert_eq!(event["resources"], json!([format!("arn:aws:ec2:us-west-2:123456789012:instance/{id}")]));
}

#[test]
fn rules_route_what_they_match() {
    let (mut desk, lab) = Desk::furnished(Settings::default());
    let arn = json!("arn:aws:sqs:us-west-2:123456789012:lab");
    desk.ask(Service::Events, "PutRule", json!({"Name": "own", "EventPattern": "{\"source\":[\"own\"],\"detail-type\":[\"Something\"]}"}))
        .expect("a rule");
    desk.ask(Service::Events, "PutTargets", json!({"Rule": "own", "Targets": [{"Id": "a", "Arn": arn}]})).expect("targets");
    let entry = |source: &str, kind: &str| json!({"Source": source, "DetailType": kind, "Detail": "{}", "EventBusName": "default"});
    let input = json!({"Entries": [
        entry("own", "Something"), entry("own", "Something Else"), {"Source": "x", "DetailType": "y", "Detail": "nonsense"},
        entry("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    ]});
    let answer = desk.ask(Service::Events, "PutEvents", input).expect("put");
    assert_eq!((&answer["FailedEntryCount"], &answer["Entries"][2]["ErrorCode"]), (&json!(2), &json!("MalformedDetail")));
    assert_eq!(answer["Entries"][3]["ErrorCode"], "NotAuthorizedForSourceException", "the prefix is AWS's own");
    assert_eq!(desk.state.unsettled().len(), 1, "{:?}", desk.state.unsettled());
    desk.pass(5);
    let found = receive(&mut desk, &lab.queue_url.expect("a queue"));
    assert_eq!(found.len(), 1);
    let rules = desk.ask(Service::Events, "ListRules", json!({"NamePrefix": "lab-"})).expect("rules");
    assert_eq!(rules["Rules"].as_array().map(Vec::len), Some(5));
    let name = json!({"Name": "lab-RebalanceRule"});
    assert_eq!(code(&desk.ask(Service::Events, "DeleteRule", name.clone())), "ValidationException");
    let targets = desk.ask(Service::Events, "ListTargetsByRule", json!({"Rule": "lab-RebalanceRule"})).expect("targets");
    desk.ask(Service::Events, "RemoveTargets", json!({"Rule": "lab-RebalanceRule", "Ids": texts(&targets["Targets"], "Id")}))
        .expect("removed");
    desk.ask(Service::Events, "DeleteRule", name).expect("deleted");
    let bad = json!({"Name": "bad", "EventPattern": "{\"source\":\"aws.ec2\"}"});
    assert_eq!(code(&desk.ask(Service::Events, "PutRule", bad)), "InvalidEventPatternException");
    assert_eq!(code(&desk.ask(Service::Events, "DescribeRule", json!({"Name": "absent"}))), "ResourceNotFoundException");
}

/// A rule with one target, the queue `q`.
fn rule(desk: &mut Desk, rule: Value, mut target: Value) -> Answer {
    desk.ask(Service::Events, "PutRule", rule.clone())?;
    (target["Id"], target["Arn"]) = (json!("t"), json!("arn:aws:sqs:us-west-2:123456789012:q"));
    desk.ask(Service::Events, "PutTargets", json!({"Rule": rule["Name"], "Targets": [target]}))
}

#[test]
fn a_target_gets_the_input_that_it_asks_for() {
    let path = json!({"InputPath": "$.detail.name"});
    let transformer = json!({"InputTransformer": {"InputPathsMap": {"name": "$.detail.name"}, "InputTemplate": "{\"who\": <name>}"}});
    for (target, sent) in [(path, "\"m\""), (transformer, "{\"who\": \"m\"}"), (json!({"Input": "{}"}), "{}")] {
        let mut desk = Desk::new();
        let url = queue(&mut desk, json!({}));
        rule(&mut desk, json!({"Name": "r", "EventPattern": "{\"source\":[\"own\"]}"}), target).expect("a rule");
        let event = json!({"Source": "own", "DetailType": "d", "Detail": "{\"name\":\"m\"}"});
        desk.ask(Service::Events, "PutEvents", json!({"Entries": [event]})).expect("put");
        desk.pass(5);
        assert_eq!(texts(&json!(receive(&mut desk, &url)), "Body"), [sent]);
    }
    let two = json!({"Input": "{}", "InputPath": "$.detail"});
    let pattern = json!({"Name": "r", "EventPattern": "{\"source\":[\"own\"]}"});
    assert_eq!(code(&rule(&mut Desk::new(), pattern, two)), "ValidationException");
}

#[test]
fn a_rate_fires() {
    let mut desk = Desk::new();
    let url = queue(&mut desk, json!({}));
    rule(&mut desk, json!({"Name": "r", "ScheduleExpression": "rate(5 minutes)"}), json!({})).expect("a rule");
    assert_eq!(desk.state.unsettled(), Vec::<String>::new(), "a schedule is no work");
    desk.pass(299);
    assert_eq!(receive(&mut desk, &url).len(), 0);
    desk.pass(301);
    let bodies = texts(&json!(receive(&mut desk, &url)), "Body");
    assert_eq!(bodies.len(), 2);
    let event: Value = serde_json::from_str(&bodies[0]).expect("an event");
    assert_eq!((&event["source"], &event["detail-type"]), (&json!("aws.events"), &json!("Scheduled Event")));
    assert_eq!(event["resources"], json!(["arn:aws:events:us-west-2:123456789012:rule/r"]));
    desk.ask(Service::Events, "DisableRule", json!({"Name": "r"})).expect("disabled");
    desk.pass(3600);
    assert_eq!(receive(&mut desk, &url).len(), 2, "the same two, for their visibility has ended");
}

#[rstest]
#[case("rate(1 minutes)", "ValidationException")]
#[case("hourly", "ValidationException")]
#[case("cron(0 12 * * ? *)", "UnsupportedOperation")]
fn other_schedules_are_refused(#[case] schedule: &str, #[case] expected: &str) {
    let made = Desk::new().ask(Service::Events, "PutRule", json!({"Name": "r", "ScheduleExpression": schedule}));
    assert_eq!(code(&made), expected);
}
