//! The operations, asked as a client asks them. Inputs and outputs are held against the service's model, so that a member that AWS
//! does not know fails the test that uses it.

mod access;
mod accounts;
mod catalogue;
mod fates;
mod fleets;
mod iam;
mod incidents;
mod instances;
mod lab;
mod messages;
mod network;
mod parameters;
mod properties;
mod reservations;
mod rules;
mod scaling;
mod spot;
mod templates;
mod written;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Answer, Outcome, Pending, handle, resume};
use crate::Config;
use crate::model::Service;
use crate::protocol::{AwsError, Call, Caller, fit};
use crate::state::maintenance::{MAINTENANCE_NOTICE, Maintenance};
use crate::state::{EksLab, Incident, Lab, Settings, State};

/// A retirement two weeks from now.
fn retirement(instances: Vec<String>) -> Incident {
    Incident::ScheduledChange { instances, event: Maintenance::default(), notice: MAINTENANCE_NOTICE }
}

/// A cloud with a clock that the test moves.
pub struct Desk {
    pub state: State,
    pub now: Timestamp,
    calls: u32,
}

impl Desk {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Self {
        Self::seeded(7, settings)
    }

    pub fn seeded(seed: u64, world: Settings) -> Self {
        let config = Config { seed, world, ..Config::default() };
        Self { state: State::new(&config), now: "2026-11-20T17:00:00Z".parse().expect("an instant"), calls: 0 }
    }

    /// A desk with an EKS lab called `lab`.
    pub fn furnished(settings: Settings) -> (Self, Lab) {
        let mut desk = Self::with(settings);
        let mut spec = EksLab::new("lab", "1.36");
        spec.interruption_queue = Some("lab".into());
        let lab = desk.state.furnish_eks(desk.now, &spec).expect("a lab");
        (desk, lab)
    }

    /// Whatever a story has made is written down and read again before its next call; in long ones before some of them.
    fn rest_on_paper(&mut self) {
        self.calls += 1;
        if self.calls < 40 || self.calls.is_multiple_of(50) {
            let text = serde_json::to_string(&self.state).expect("a state is JSON");
            self.state = serde_json::from_str(&text).expect("what was written is read");
            assert_eq!(serde_json::to_string(&self.state).expect("a state is JSON"), text, "and is what was written");
        }
    }

    pub fn ec2(&mut self, operation: &'static str, input: Value) -> Answer {
        self.ask(Service::Ec2, operation, input)
    }

    /// Asks and expects an answer at once.
    pub fn ask(&mut self, service: Service, operation: &'static str, input: Value) -> Answer {
        match self.submit(service, operation, input) {
            (_, Outcome::Done(answer)) => answer,
            (_, Outcome::Later(pending)) => panic!("{operation} waits until {}", pending.due()),
        }
    }

    pub fn submit(&mut self, service: Service, operation: &'static str, input: Value) -> (Call, Outcome) {
        self.rest_on_paper();
        self.state.advance(self.now);
        let call = call(service, operation, input);
        let outcome = handle(&mut self.state, self.now, &call);
        if let Outcome::Done(Ok(output)) = &outcome {
            check_output(&call, output);
        }
        (call, outcome)
    }

    pub fn resume(&mut self, call: &Call, pending: &mut Pending) -> Option<Answer> {
        let answer = resume(&mut self.state, self.now, call, pending);
        if let Some(Ok(output)) = &answer {
            check_output(call, output);
        }
        answer
    }

    /// Asks as a session of a role.
    pub fn as_role(&mut self, role: &str, service: Service, operation: &'static str, input: Value) -> Answer {
        let mut call = call(service, operation, input);
        call.caller.principal = format!("arn:aws:sts::123456789012:assumed-role/{role}/s");
        self.as_caller(&call)
    }

    pub fn as_caller(&mut self, call: &Call) -> Answer {
        self.state.advance(self.now);
        match handle(&mut self.state, self.now, call) {
            Outcome::Done(answer) => answer,
            Outcome::Later(pending) => panic!("{} waits until {}", call.operation, pending.due()),
        }
    }

    /// Lets seconds pass.
    pub fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        self.state.advance(self.now);
    }

    /// The instances that a filter finds, over all pages.
    pub fn instances(&mut self, input: Value) -> Vec<Value> {
        let answer = self.ec2("DescribeInstances", input).expect("instances");
        let reservations = answer["Reservations"].as_array().cloned().unwrap_or_default();
        reservations.iter().flat_map(|reservation| reservation["Instances"].as_array().cloned().unwrap_or_default()).collect()
    }

    /// Runs `count` instances of a type and gives their ids.
    pub fn run(&mut self, instance_type: &str, count: u64) -> Vec<String> {
        let input = json!({"ImageId": self.image(), "InstanceType": instance_type, "MinCount": count, "MaxCount": count});
        let answer = self.ec2("RunInstances", input).expect("instances run");
        texts(&answer["Instances"], "InstanceId")
    }

    /// The recommended x86 image of Amazon Linux 2023 for Kubernetes 1.36.
    pub fn image(&mut self) -> String {
        let name = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id";
        let answer = self.ask(Service::Ssm, "GetParameter", json!({"Name": name})).expect("a parameter");
        answer["Parameter"]["Value"].as_str().expect("an id").to_owned()
    }
}

/// Who may assume the roles of these tests.
pub const TRUST: &str = r#"{"Statement":{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}}"#;

pub fn call(service: Service, operation: &str, input: Value) -> Call {
    let known = service.model().operations.get(operation).unwrap_or_else(|| panic!("{operation} is in the model"));
    if let Some(shape) = known.input {
        assert_eq!(fit::misfits(service.model(), shape, &input), Vec::<String>::new(), "{operation} takes what AWS takes");
    }
    Call {
        service,
        operation: known.name,
        region: "us-west-2".into(),
        caller: Caller {
            access_key: None,
            account: "123456789012".into(),
            principal: "arn:aws:iam::123456789012:user/tester".into(),
            user_id: "AIDATESTER".into(),
        },
        request_id: "r".into(),
        input: input.as_object().cloned().expect("an input is a structure"),
        unknown: Vec::new(),
        short_pages: None,
    }
}

fn check_output(call: &Call, output: &Value) {
    let model = call.service.model();
    match model.operations[call.operation].output {
        Some(shape) => assert_eq!(fit::misfits(model, shape, output), Vec::<String>::new(), "{} says what AWS says", call.operation),
        None => assert_eq!(output.as_object().map(serde_json::Map::len), Some(0), "{} says nothing", call.operation),
    }
}

/// One member of each of a list's structures.
pub fn texts(list: &Value, member: &str) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|item| Some(item[member].as_str()?.to_owned())).collect()
}

pub fn code(answer: &Answer) -> &str {
    answer.as_ref().err().map_or("no error", |error| error.code.as_str())
}

pub fn message(answer: Answer) -> String {
    answer.expect_err("an error").message
}

pub fn failed(answer: Answer) -> AwsError {
    answer.expect_err("an error")
}

pub fn filter(name: &str, values: &[&str]) -> Value {
    json!([{"Name": name, "Values": values}])
}

/// What the models describe and nothing does yet.
const UNDONE: &[&str] = &[];

/// What every operation of the models is: done, or refused in so many words.
#[test]
fn every_operation_is_done_or_says_that_it_is_not() {
    let undone: Vec<String> = Service::ALL
        .into_iter()
        .flat_map(|service| service.model().operations.keys().map(move |operation| (service, *operation)))
        .filter(|(service, operation)| {
            let mut desk = Desk::new();
            let call = call(*service, operation, json!({}));
            match handle(&mut desk.state, desk.now, &call) {
                Outcome::Done(Err(error)) => error.code == "UnsupportedOperation" && error.message.starts_with("The operation "),
                _ => false,
            }
        })
        .map(|(service, operation)| format!("{service:?} {operation}"))
        .collect();
    assert_eq!(undone, UNDONE);
}
