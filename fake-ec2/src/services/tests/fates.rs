//! Faults that wait for machines to come, releases of images, offerings and reservations that change while the cloud runs.

use jiff::SignedDuration;
use rstest::rstest;
use serde_json::{Value, json};

use super::{Desk, code};
use crate::model::Service;
use crate::state::instance::Check;
use crate::state::maintenance::{MAINTENANCE_NOTICE, Maintenance};
use crate::state::{Cause, Delay, Effect, Fate, Machines, Market, Rule};

fn rule(fate: Fate, machines: Machines) -> Rule {
    let after = Delay::fixed(SignedDuration::from_mins(5));
    Rule { name: "fate".into(), effect: Effect::Fate { fate, machines, after, permille: None }, count: None, since: None, until: None }
}

fn spot(desk: &mut Desk, count: u64) -> Vec<String> {
    let input = json!({
        "ImageId": desk.image(), "InstanceType": "m5.large", "MinCount": count, "MaxCount": count,
        "InstanceMarketOptions": {"MarketType": "spot"},
    });
    super::texts(&desk.ec2("RunInstances", input).expect("Spot instances")["Instances"], "InstanceId")
}

fn state_of(desk: &mut Desk, id: &str) -> Value {
    desk.instances(json!({"InstanceIds": [id]}))[0].clone()
}

#[rstest]
#[case::spot(Fate::SpotInterruption { notice: SignedDuration::from_mins(2) }, "Server.SpotInstanceTermination")]
#[case::gone(Fate::Vanish { cause: Cause::HardwareFailure }, "Server.InternalError")]
#[case::by_hand(Fate::Vanish { cause: Cause::Terminated }, "Client.UserInitiatedShutdown")]
fn a_machine_ends_so_long_after_its_launch(#[case] fate: Fate, #[case] reason: &str) {
    let mut desk = Desk::new();
    desk.state.add_rule(rule(fate, Machines::default()));
    let id = spot(&mut desk, 1).remove(0);
    desk.pass(4 * 60);
    assert_eq!(state_of(&mut desk, &id)["State"]["Name"], "running");
    desk.pass(5 * 60);
    assert_eq!(state_of(&mut desk, &id)["StateReason"]["Code"], reason);
    assert_eq!((desk.state.rule_met("fate"), desk.state.rule_hits("fate")), (Some(1), Some(1)));
}

#[test]
fn status_checks_fail_and_events_come_so_long_after_the_launch() {
    let mut desk = Desk::new();
    desk.state.add_rule(rule(Fate::Impair { check: Check::System }, Machines::default()));
    desk.state.add_rule(Rule {
        name: "event".into(),
        ..rule(Fate::ScheduledChange { event: Maintenance::default(), notice: MAINTENANCE_NOTICE }, Machines::default())
    });
    let id = desk.run("m5.large", 1).remove(0);
    let status = |desk: &mut Desk| desk.ec2("DescribeInstanceStatus", json!({"InstanceIds": [id]})).expect("a status");
    desk.pass(60);
    assert_eq!(status(&mut desk)["InstanceStatuses"][0]["Events"], json!([]));
    desk.pass(10 * 60);
    let shown = status(&mut desk);
    assert_eq!(shown["InstanceStatuses"][0]["SystemStatus"]["Status"], "impaired");
    assert_eq!(shown["InstanceStatuses"][0]["Events"][0]["Code"], "instance-retirement");
}

#[test]
fn only_those_that_are_meant_and_only_so_many() {
    let mut desk = Desk::new();
    let machines = Machines { markets: vec![Market::Spot], ..Machines::default() };
    let vanish = Fate::Vanish { cause: Cause::Terminated };
    desk.state.add_rule(Rule { count: Some(2), ..rule(vanish, machines) });
    desk.run("m5.large", 1);
    spot(&mut desk, 3);
    desk.pass(10 * 60);
    let gone = desk.state.machines().iter().filter(|machine| !machine.phase.holds_capacity()).count();
    assert_eq!((gone, desk.state.rule_met("fate"), desk.state.rule_hits("fate")), (2, Some(3), Some(2)));
}

#[test]
fn a_fault_that_was_lifted_has_nothing_in_store() {
    let mut desk = Desk::new();
    desk.state.add_rule(rule(Fate::Vanish { cause: Cause::Terminated }, Machines::default()));
    let id = desk.run("m5.large", 1).remove(0);
    desk.pass(60);
    assert!(desk.state.comes_by_rule(desk.now, desk.now + SignedDuration::from_mins(10)) && desk.state.unsettled().is_empty());
    desk.state.end_rule("fate", desk.now);
    desk.pass(10 * 60);
    assert_eq!(state_of(&mut desk, &id)["State"]["Name"], "running");
}

#[test]
fn a_start_after_a_stop_is_no_launch() {
    let mut desk = Desk::new();
    let id = desk.run("m5.large", 1).remove(0);
    desk.pass(60);
    desk.state.add_rule(rule(Fate::Vanish { cause: Cause::Terminated }, Machines::default()));
    desk.ec2("StopInstances", json!({"InstanceIds": [id]})).expect("it stops");
    desk.pass(60);
    desk.ec2("StartInstances", json!({"InstanceIds": [id]})).expect("it starts");
    desk.pass(10 * 60);
    assert_eq!((state_of(&mut desk, &id)["State"]["Name"].clone(), desk.state.rule_met("fate")), (json!("running"), Some(0)));
}

#[test]
fn images_are_released_again_and_again() {
    let mut desk = Desk::new();
    let every = SignedDuration::from_hours(24);
    desk.state.add_rule(Rule {
        name: "images".into(),
        effect: Effect::ImageRelease { every },
        count: Some(2),
        since: Some(desk.now),
        until: None,
    });
    let mut seen = vec![desk.image()];
    for _ in 0..4 {
        desk.pass(24 * 3600);
        let image = desk.image();
        if seen.last() != Some(&image) {
            seen.push(image);
        }
    }
    assert_eq!((seen.len(), desk.state.rule_hits("images")), (3, Some(2)));
}

#[test]
fn what_is_on_offer_changes() {
    let mut desk = Desk::new();
    let zones = |desk: &mut Desk| {
        let input = json!({"LocationType": "availability-zone", "Filters": super::filter("instance-type", &["m5.large"])});
        super::texts(&desk.ec2("DescribeInstanceTypeOfferings", input).expect("offerings")["InstanceTypeOfferings"], "Location").len()
    };
    assert_eq!(zones(&mut desk), 4);
    let offer = |zones: &[&str]| zones.iter().map(|zone| (*zone).to_owned()).collect::<Vec<String>>();
    let (one, none) = (offer(&["us-west-2b"]), offer(&[]));
    desk.state.settings_mut().offered_zones.insert("m5.large".into(), one);
    assert_eq!(zones(&mut desk), 1);
    desk.state.settings_mut().offered_zones.insert("m5.large".into(), none);
    assert_eq!(zones(&mut desk), 0);
    let input = json!({"ImageId": desk.image(), "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1});
    assert_ne!(code(&desk.ec2("RunInstances", input)), "no error");
}

#[test]
fn a_reservation_shrinks_grows_and_ends() {
    let mut desk = Desk::new();
    let input = json!({"InstanceType": "m5.large", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": "us-west-2a", "InstanceCount": 3});
    let id = desk.ec2("CreateCapacityReservation", input).expect("a reservation")["CapacityReservation"]["CapacityReservationId"].clone();
    let now = desk.now;
    let resize = |desk: &mut Desk, zone: &str, count| desk.state.resize_reservations(now, "m5.large", zone, &Default::default(), count);
    let shown = |desk: &mut Desk| {
        let found = desk.ask(Service::Ec2, "DescribeCapacityReservations", json!({"CapacityReservationIds": [id]})).expect("it");
        let found = &found["CapacityReservations"][0];
        (found["TotalInstanceCount"].clone(), found["State"].clone())
    };
    assert_eq!(resize(&mut desk, "us-west-2b", 1), Ok(0));
    let subnet = desk.ec2("DescribeSubnets", json!({"Filters": super::filter("availability-zone", &["us-west-2a"])})).expect("a subnet");
    let run = json!({
        "ImageId": desk.image(), "InstanceType": "m5.large", "MinCount": 2, "MaxCount": 2, "SubnetId": subnet["Subnets"][0]["SubnetId"],
    });
    desk.ec2("RunInstances", run).expect("two run in it");
    assert!(resize(&mut desk, "us-west-2a", 1).is_err_and(|why| why.starts_with("2 machines run in cr-")));
    assert_eq!((resize(&mut desk, "us-west-2a", 5), shown(&mut desk)), (Ok(1), (json!(5), json!("active"))));
    assert_eq!((resize(&mut desk, "us-west-2a", 0), shown(&mut desk).1), (Ok(1), json!("expired")));
}
