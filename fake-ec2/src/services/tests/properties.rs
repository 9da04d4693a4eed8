//! What holds whatever is asked.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Desk, retirement};
use crate::state::settings::Capacity;
use crate::state::{Phase, Settings};

/// A step of a story.
#[derive(Clone, Debug)]
enum Step {
    Run { kind: usize, count: u64 },
    Fleet { count: u64, spot: bool },
    Terminate(usize),
    Stop(usize),
    Start(usize),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..3, 1u64..4).prop_map(|(kind, count)| Step::Run { kind, count }),
        (1u64..6, any::<bool>()).prop_map(|(count, spot)| Step::Fleet { count, spot }),
        (0usize..20).prop_map(Step::Terminate),
        (0usize..20).prop_map(Step::Stop),
        (0usize..20).prop_map(Step::Start),
        (1i64..90).prop_map(Step::Pass),
    ]
}

const TYPES: [&str; 3] = ["m5.large", "t3.small", "c5.large"];
const LIMIT: u64 = 2;

fn desk(seed: u64) -> Desk {
    let limit = Capacity { instance_type: None, zone: None, market: None, instances: Some(LIMIT) };
    let mut desk = Desk::seeded(seed, Settings { capacity: vec![limit], ..Settings::default() });
    let image = desk.image();
    let input = json!({"LaunchTemplateName": "web", "LaunchTemplateData": {"ImageId": image, "InstanceType": "m5.large"}});
    desk.ec2("CreateLaunchTemplate", input).expect("a template");
    desk
}

fn take(desk: &mut Desk, step: &Step) -> Value {
    let pick = |desk: &Desk, at: usize| desk.state.machines().get(at).map(|machine| machine.id.clone());
    let answer = match step {
        Step::Run { kind, count } => {
            let input = json!({"ImageId": desk.image(), "InstanceType": TYPES[*kind], "MinCount": 1, "MaxCount": count});
            Some(desk.ec2("RunInstances", input))
        }
        Step::Fleet { count, spot } => {
            let overrides: Vec<Value> = TYPES.iter().map(|name| json!({"InstanceType": name})).collect();
            let kind = if *spot { "spot" } else { "on-demand" };
            Some(desk.ec2("CreateFleet", json!({
                "Type": "instant", "TargetCapacitySpecification": {"TotalTargetCapacity": count, "DefaultTargetCapacityType": kind},
                "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": {"LaunchTemplateName": "web", "Version": "$Latest"}, "Overrides": overrides}],
            })))
        }
        Step::Terminate(at) => pick(desk, *at).map(|id| desk.ec2("TerminateInstances", json!({"InstanceIds": [id]}))),
        Step::Stop(at) => pick(desk, *at).map(|id| desk.ec2("StopInstances", json!({"InstanceIds": [id]}))),
        Step::Start(at) => pick(desk, *at).map(|id| desk.ec2("StartInstances", json!({"InstanceIds": [id]}))),
        Step::Pass(seconds) => {
            desk.pass(*seconds);
            None
        }
    };
    match answer {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => json!(error.to_string()),
        None => Value::Null,
    }
}

/// The ids of the instances that an answer says were launched.
fn launched(answer: &Value) -> Vec<String> {
    let groups = answer["Instances"].as_array().cloned().unwrap_or_default();
    let of_fleet = groups.iter().flat_map(|group| group["InstanceIds"].as_array().cloned().unwrap_or_default());
    let of_run = groups.iter().map(|instance| instance["InstanceId"].clone());
    of_fleet.chain(of_run).filter_map(|id| Some(id.as_str()?.to_owned())).collect()
}

/// Whether a state may follow another, be it with others in between.
fn follows(before: Phase, after: Phase) -> bool {
    match before {
        Phase::ShuttingDown => after >= Phase::ShuttingDown,
        Phase::Terminated => after == Phase::Terminated,
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pools_hold_what_they_can_and_states_go_forward(steps in prop::collection::vec(step(), 1..40)) {
        let mut desk = desk(1);
        let mut seen: BTreeMap<String, Phase> = BTreeMap::new();
        let mut ever = BTreeSet::new();
        for step in &steps {
            for id in launched(&take(&mut desk, step)) {
                prop_assert!(ever.insert(id), "an id twice");
            }
            let machines = desk.state.machines();
            let mut pools: BTreeMap<(String, String, &str), u64> = BTreeMap::new();
            let mut addresses = BTreeSet::new();
            for machine in &machines {
                if machine.phase.holds_capacity() {
                    *pools.entry((machine.instance_type.clone(), machine.zone.clone(), machine.market.name())).or_default() += 1;
                }
                if let Some(address) = machine.private_ip {
                    prop_assert!(addresses.insert((machine.zone.clone(), address)), "an address twice");
                }
                if let Some(before) = seen.insert(machine.id.clone(), machine.phase) {
                    prop_assert!(follows(before, machine.phase), "{before:?} then {:?}", machine.phase);
                }
            }
            prop_assert!(pools.values().all(|held| *held <= LIMIT), "{pools:?}");
        }
        let ids: BTreeSet<String> = desk.state.ledger().iter().map(|entry| entry.instance_id.clone()).collect();
        prop_assert_eq!(ids, ever, "the ledger has what was launched");
        desk.pass(200);
        prop_assert!(desk.state.unsettled().is_empty(), "everything comes to rest");
        let used = desk.ec2("DescribeSubnets", json!({})).expect("subnets");
        let free: i64 = used["Subnets"].as_array().expect("a list").iter().filter_map(|it| it["AvailableIpAddressCount"].as_i64()).sum();
        let held = desk.state.machines().iter().filter(|machine| machine.private_ip.is_some()).count();
        prop_assert_eq!(free, 4 * 4091 - i64::try_from(held).expect("few"));
    }

    #[test]
    fn one_seed_and_the_same_calls_give_the_same_answers(seed in 0u64..4, steps in prop::collection::vec(step(), 1..25)) {
        let (mut one, mut two) = (desk(seed), desk(seed));
        for step in &steps {
            prop_assert_eq!(take(&mut one, step), take(&mut two, step));
        }
        prop_assert_eq!(one.state.machines(), two.state.machines());
        prop_assert_eq!(one.state.next_due(), two.state.next_due());
    }

    #[test]
    fn pages_are_complete_whatever_their_length(count in 1u64..40, length in 5i64..30) {
        let mut desk = Desk::new();
        let mut all = desk.run("t3.micro", count);
        let (mut seen, mut token) = (Vec::new(), Value::Null);
        loop {
            let input = if token.is_null() { json!({"MaxResults": length}) } else { json!({"MaxResults": length, "NextToken": token}) };
            let page = desk.ec2("DescribeInstances", input).expect("a page");
            let ids: Vec<String> = page["Reservations"].as_array().expect("a list").iter().flat_map(|it| super::texts(&it["Instances"], "InstanceId")).collect();
            prop_assert!(i64::try_from(ids.len()).expect("few") <= length);
            seen.extend(ids);
            token = page["NextToken"].clone();
            if token.is_null() {
                break;
            }
        }
        all.sort();
        prop_assert_eq!(seen, all);
    }
}

#[test]
fn another_seed_gives_other_ids() {
    let ids = |seed| Desk::seeded(seed, Settings::default()).run("m5.large", 1);
    assert_ne!(ids(1), ids(2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever befalls the account, each event is in the queue once, in whatever order; unless a fault said otherwise, then as it said.
    #[test]
    fn no_event_is_lost_unless_told(steps in prop::collection::vec((0usize..4, 0usize..8, 0i64..40), 1..30), doubled in 0u64..4) {
        let (mut desk, lab) = Desk::furnished(Settings::default());
        let market = json!({"MarketType": "spot"});
        let image = desk.image();
        let run = json!({"ImageId": image, "InstanceType": "m5.large", "MinCount": 8, "MaxCount": 8, "InstanceMarketOptions": market});
        let ids = super::texts(&desk.ec2("RunInstances", run).expect("instances")["Instances"], "InstanceId");
        let effect = crate::state::Effect::Events {
            kinds: vec!["EC2 Instance Rebalance Recommendation".into()],
            does: crate::state::Disturbance::Duplicate,
        };
        if doubled > 0 {
            desk.state.add_rule(crate::state::Rule { name: "twice".into(), effect, count: Some(doubled), since: None, until: None });
        }
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        let mut rebalances = 0;
        for (what, at, seconds) in steps {
            let instances = vec![ids[at].clone()];
            let (kind, incident) = match what {
                0 => ("EC2 Spot Instance Interruption Warning", crate::state::Incident::SpotInterruption { instances, notice: crate::state::incident::SPOT_NOTICE }),
                1 => ("EC2 Instance Rebalance Recommendation", crate::state::Incident::RebalanceRecommendation { instances }),
                2 => ("AWS Health Event", retirement(instances)),
                _ => ("", crate::state::Incident::Vanish { instances, cause: Default::default() }),
            };
            if desk.state.befall(desk.now, &incident).is_ok() && !kind.is_empty() {
                let times = if what == 1 && rebalances < doubled { 2 } else { 1 };
                rebalances += u64::from(what == 1);
                *expected.entry(kind.to_owned()).or_default() += times;
            }
            desk.pass(seconds);
        }
        desk.pass(200);
        let (url, mut seen) = (lab.queue_url.expect("a queue"), BTreeMap::new());
        loop {
            let answer = desk.ask(crate::model::Service::Sqs, "ReceiveMessage", json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 3600}));
            let bodies = super::texts(&answer.expect("messages")["Messages"], "Body");
            if bodies.is_empty() {
                break;
            }
            for body in bodies {
                let event: Value = serde_json::from_str(&body).expect("JSON");
                let kind = event["detail-type"].as_str().unwrap_or_default().to_owned();
                if kind != "EC2 Instance State-change Notification" {
                    *seen.entry(kind).or_insert(0u64) += 1;
                }
            }
        }
        // What is older than the queue keeps (five minutes in the lab) is gone, as told by the queue's own attribute.
        for (kind, count) in &seen {
            prop_assert!(count <= expected.get(kind).unwrap_or(&0), "{kind}: {count} of {expected:?}");
        }
        let whole: u64 = desk.state.deliveries().iter().filter(|(rule, ..)| !rule.ends_with("InstanceStateChangeRule")).map(|(.., counts)| counts.delivered).sum();
        prop_assert_eq!(whole, expected.values().sum::<u64>(), "every event reached its queue");
    }

    /// A token belongs to the request that got it: any other filter, operation or region refuses it.
    #[test]
    fn tokens_are_bound(length in 5i64..20, noise in "[A-Za-z0-9_-]{0,60}") {
        let mut desk = Desk::new();
        desk.run("t3.micro", 25);
        let first = desk.ec2("DescribeInstances", json!({"MaxResults": length})).expect("a page");
        let token = first["NextToken"].clone();
        prop_assert!(token.is_string());
        let filters = json!([{"Name": "instance-type", "Values": ["t3.micro"]}]);
        for (operation, input) in [
            ("DescribeInstances", json!({"MaxResults": length, "NextToken": token, "Filters": filters})),
            ("DescribeVolumes", json!({"MaxResults": length, "NextToken": token})),
            ("DescribeInstances", json!({"MaxResults": length, "NextToken": noise})),
        ] {
            if input["NextToken"] == json!("") {
                continue;
            }
            let refused = desk.ec2(operation, input);
            prop_assert!(refused.is_err(), "{operation} took a token that is not its own");
        }
        prop_assert!(desk.ec2("DescribeInstances", json!({"MaxResults": 7, "NextToken": token})).is_ok(), "another length is the same list");
    }
}
