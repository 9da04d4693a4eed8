//! Instances that were written before are what they would be if they were written anew.

use serde_json::{Value, json};

use super::{Desk, filter};
use crate::model::Service;
use crate::protocol;
use crate::state::{Incident, Settings};

/// What DescribeInstances says in XML, out of what is kept and anew.
fn both(desk: &mut Desk, input: &Value) -> (String, String) {
    let model = Service::Ec2.model();
    let operation = &model.operations["DescribeInstances"];
    let dialect = protocol::Dialect { protocol: model.protocol, query_mode: false };
    let mut body = |keeps: bool| {
        desk.state.account.writes_xml = keeps;
        let output = desk.ec2("DescribeInstances", input.clone()).expect("instances");
        let response = protocol::success(Service::Ec2, dialect, operation, "r", &output);
        desk.state.account.writes_xml = false;
        String::from_utf8_lossy(response.body()).into_owned()
    };
    (body(true), body(false))
}

#[test]
fn what_is_kept_is_what_is_there() {
    let (mut desk, _) = Desk::furnished(Settings::default());
    let ids = desk.run("m5.large", 3);
    let group = desk.ec2("CreateSecurityGroup", json!({"GroupName": "g", "Description": "d"})).expect("a group")["GroupId"].clone();
    type Step = Box<dyn Fn(&mut Desk)>;
    let id = ids[0].clone();
    let op = |operation: &'static str, input: Value| -> Step {
        Box::new(move |desk: &mut Desk| drop(desk.ec2(operation, input.clone()).expect(operation)))
    };
    let image = desk.image();
    let vanish = id.clone();
    let steps: Vec<(&str, Step)> = vec![
        ("nothing", Box::new(|_| {})),
        ("time", Box::new(|desk| desk.pass(30))),
        ("tags", op("CreateTags", json!({"Resources": [id], "Tags": [{"Key": "team", "Value": "<a&b>"}]}))),
        ("tags gone", op("DeleteTags", json!({"Resources": [id], "Tags": [{"Key": "team"}]}))),
        ("groups", op("ModifyInstanceAttribute", json!({"InstanceId": id, "Groups": [group]}))),
        ("image", Box::new(move |desk| drop(desk.ec2("DeregisterImage", json!({"ImageId": image}))))),
        ("stop", op("StopInstances", json!({"InstanceIds": [ids[1]]}))),
        ("stopped", Box::new(|desk| desk.pass(60))),
        ("start", op("StartInstances", json!({"InstanceIds": [ids[1]]}))),
        ("end", op("TerminateInstances", json!({"InstanceIds": [ids[2]]}))),
        ("ended", Box::new(|desk| desk.pass(120))),
        (
            "vanish",
            Box::new(move |desk| {
                let incident = Incident::Vanish { instances: vec![vanish.clone()], cause: Default::default() };
                desk.state.befall(desk.now, &incident).expect("gone");
            }),
        ),
        ("forgotten", Box::new(|desk| desk.pass(2 * 3600))),
    ];
    let inputs = [
        json!({}),
        json!({"Filters": filter("instance-state-name", &["running", "pending"])}),
        json!({"Filters": filter("tag-key", &["team"])}),
    ];
    for (name, step) in steps {
        step(&mut desk);
        for input in &inputs {
            let (kept, anew) = both(&mut desk, input);
            assert_eq!(kept, anew, "after {name}");
        }
    }
}
