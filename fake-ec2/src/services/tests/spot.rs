//! Spot prices that move: the process, a trace, faults; what a history tells, what a fleet takes, what a machine costs.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Desk, texts};
use crate::catalogue::{self, MicroUsd};
use crate::state::market::parse_usd;
use crate::state::{Effect, Moves, Rule, Settings, SpotMarket, SpotPriceIs, Trace};

fn moving() -> Settings {
    let moves = Some(Moves { swing: 200, every: SignedDuration::from_hours(6) });
    Settings { spot: SpotMarket { moves, ..SpotMarket::default() }, ..Settings::default() }
}

fn history(desk: &mut Desk, input: Value) -> Vec<Value> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let mut input = input.clone();
        if !token.is_empty() {
            input["NextToken"] = json!(token);
        }
        let page = desk.ec2("DescribeSpotPriceHistory", input).expect("a page");
        all.extend(page["SpotPriceHistory"].as_array().cloned().unwrap_or_default());
        token = page["NextToken"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            return all;
        }
    }
}

fn price_now(desk: &Desk, name: &str, zone: &str) -> MicroUsd {
    desk.state.spot_prices(&[name.to_owned()], desk.now)[name][zone]
}

fn at(row: &Value) -> Timestamp {
    row["Timestamp"].as_str().and_then(|text| text.parse().ok()).expect("an instant")
}

#[test]
fn a_price_moves_around_its_middle_and_never_above_on_demand() {
    let mut desk = Desk::with(moving());
    let still = price_now(&Desk::new(), "m5.large", "us-west-2a");
    let most = catalogue::on_demand_price("us-west-2", "m5.large").expect("a price").per_hour;
    let mut seen = Vec::new();
    for _ in 0..800 {
        seen.push(price_now(&desk, "m5.large", "us-west-2a").0);
        desk.now += SignedDuration::from_hours(6);
    }
    let mean = seen.iter().sum::<u64>() as f64 / seen.len() as f64;
    let deviation = (seen.iter().map(|price| (*price as f64 - mean).powi(2)).sum::<f64>() / seen.len() as f64).sqrt();
    assert!((mean / still.0 as f64 - 1.0).abs() < 0.1, "{mean} around {}", still.0);
    assert!((0.1..0.3).contains(&(deviation / mean)), "{deviation} of {mean}");
    assert!(seen.iter().all(|price| *price > 0 && *price <= most.0));
    assert!(seen.windows(2).filter(|pair| pair[0] != pair[1]).count() > 700);
    // Reverting: neighbours are alike, far ones are not.
    let alike = |lag: usize| {
        seen.iter().zip(&seen[lag..]).map(|(a, b)| (*a as f64 - mean) * (*b as f64 - mean)).sum::<f64>()
            / (seen.len() as f64 * deviation.powi(2))
    };
    assert!(alike(1) > 0.7 && alike(40).abs() < 0.3, "{} {}", alike(1), alike(40));
}

#[test]
fn the_same_seed_moves_the_same_and_pools_move_apart() {
    let week = json!({"InstanceTypes": ["m5.large"], "StartTime": "2026-11-13T17:00:00Z"});
    let rows = history(&mut Desk::with(moving()), week.clone());
    assert_eq!(history(&mut Desk::with(moving()), week.clone()), rows);
    assert_ne!(history(&mut Desk::seeded(8, moving()), week), rows);
    let of =
        |zone: &str| -> Vec<&Value> { rows.iter().filter(|row| row["AvailabilityZone"] == zone).map(|row| &row["SpotPrice"]).collect() };
    assert_ne!(of("us-west-2a"), of("us-west-2b"));
}

#[test]
fn a_history_is_whole_in_order_and_within_its_time() {
    let mut desk = Desk::with(moving());
    let (start, end) = ("2026-11-15T00:00:00Z", "2026-11-18T00:00:00Z");
    let span = json!({"InstanceTypes": ["m5.large", "c5.large"], "StartTime": start, "EndTime": end});
    let rows = history(&mut desk, span.clone());
    let mut paged = span;
    paged["MaxResults"] = json!(7);
    assert_eq!(history(&mut desk, paged), rows, "pages are the whole");
    assert!(rows.windows(2).all(|pair| at(&pair[0]) >= at(&pair[1])), "the latest first");
    let (start, end): (Timestamp, Timestamp) = (start.parse().expect("an instant"), end.parse().expect("an instant"));
    assert!(rows.iter().all(|row| at(row) <= end));
    let before: BTreeSet<(String, String)> = rows
        .iter()
        .filter(|row| at(row) <= start)
        .map(|row| (row["InstanceType"].to_string(), row["AvailabilityZone"].to_string()))
        .collect();
    assert_eq!(before.len(), 8, "each pool's price in force at the start, once");
    assert_eq!(rows.iter().filter(|row| at(row) <= start).count(), 8);
    // Each pool changes about every six hours.
    assert!((8 * 11..=8 * 13).contains(&rows.len()), "{}", rows.len());
    let now = json!({"InstanceTypes": ["m5.large"], "AvailabilityZone": "us-west-2a", "StartTime": desk.now.to_string()});
    let rows = history(&mut desk, now);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["SpotPrice"].as_str().and_then(parse_usd), Some(price_now(&desk, "m5.large", "us-west-2a")));
}

#[test]
fn ninety_days_of_everything_come_page_by_page() {
    let mut desk = Desk::with(moving());
    let page = desk.ec2("DescribeSpotPriceHistory", json!({})).expect("a page");
    assert_eq!(page["SpotPriceHistory"].as_array().map(Vec::len), Some(1000));
    let mut seen: BTreeSet<String> = page["SpotPriceHistory"].as_array().into_iter().flatten().map(Value::to_string).collect();
    let next = desk.ec2("DescribeSpotPriceHistory", json!({"NextToken": page["NextToken"]})).expect("a page");
    let fresh = next["SpotPriceHistory"].as_array().into_iter().flatten().filter(|row| seen.insert(row.to_string())).count();
    assert_eq!(fresh, 1000);
}

#[test]
fn a_fault_changes_the_price_from_its_moment_on() {
    let mut desk = Desk::new();
    let before = price_now(&desk, "m5.large", "us-west-2a");
    let effect = Effect::SpotPrice {
        instance_types: vec!["m5.large".into()],
        zones: vec!["us-west-2a".into()],
        price: SpotPriceIs::PerHour(MicroUsd(51_200)),
    };
    let until = desk.now + SignedDuration::from_hours(1);
    desk.state.add_rule(Rule { name: "p".into(), effect, count: None, since: Some(desk.now), until: Some(until) });
    assert_eq!(price_now(&desk, "m5.large", "us-west-2a"), MicroUsd(51_200));
    assert!(price_now(&desk, "m5.large", "us-west-2b").0.abs_diff(before.0) < 10_000, "another zone is as it was");
    desk.pass(2 * 3600);
    assert_eq!(price_now(&desk, "m5.large", "us-west-2a"), before);
    let rows =
        history(&mut desk, json!({"InstanceTypes": ["m5.large"], "AvailabilityZone": "us-west-2a", "StartTime": "2026-11-20T16:00:00Z"}));
    assert_eq!(texts(&json!(rows), "SpotPrice"), [before.to_decimal(), "0.051200".into(), before.to_decimal()]);
    assert!(desk.state.rule_met("p") > Some(0));
}

#[test]
fn a_factor_stops_at_the_on_demand_price() {
    let mut desk = Desk::new();
    let effect = Effect::SpotPrice { instance_types: Vec::new(), zones: Vec::new(), price: SpotPriceIs::Permille(9000) };
    desk.state.add_rule(Rule { name: "p".into(), effect, count: None, since: Some(desk.now), until: None });
    assert_eq!(price_now(&desk, "m5.large", "us-west-2a"), MicroUsd(96_000));
}

#[test]
fn a_trace_is_played_from_its_origin() {
    let text = "timestamp,instance_type,availability_zone,spot_price\n+0s,m5.large,us-west-2a,0.03\n+2h,m5.large,us-west-2a,0.05\n";
    let trace = Trace::read("t.csv", text, "us-west-2").expect("a trace");
    let mut desk = Desk::with(Settings { spot: SpotMarket { trace: Some(trace), ..SpotMarket::default() }, ..Settings::default() });
    let other = price_now(&desk, "m5.large", "us-west-2b");
    desk.state.begin_spot_trace(desk.now);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(price_now(&desk, "m5.large", "us-west-2a").0);
        desk.pass(3600);
    }
    assert_eq!(seen, [30_000, 30_000, 50_000, 50_000]);
    assert_eq!(price_now(&desk, "m5.large", "us-west-2b"), other, "the trace says nothing of it");
}

#[test]
fn spot_is_paid_at_the_price_of_each_moment() {
    let mut desk = Desk::new();
    let market = json!({"MarketType": "spot"});
    let input = json!({"ImageId": desk.image(), "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "InstanceMarketOptions": market});
    desk.ec2("RunInstances", input).expect("an instance");
    let machine = desk.state.machines().remove(0);
    let (begun, launched_at) = (desk.now, machine.price_per_hour.expect("a price").0 as f64 / 1e6);
    desk.pass(3600);
    let effect = Effect::SpotPrice { instance_types: Vec::new(), zones: Vec::new(), price: SpotPriceIs::PerHour(MicroUsd(80_000)) };
    desk.state.add_rule(Rule { name: "p".into(), effect, count: None, since: Some(desk.now), until: None });
    desk.pass(3600);
    let spent = desk.state.spent(&desk.state.ledger()[0], begun, desk.now);
    assert!((spent - launched_at - 0.08).abs() < 1e-9, "{spent}");
    assert_eq!(desk.state.price_at(&machine, desk.now), Some(MicroUsd(80_000)));
}
