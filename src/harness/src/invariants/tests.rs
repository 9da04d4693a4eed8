//! Each rule on stories of a few objects, told as the API and the account would.

use super::*;
use crate::acts::{self, Done};
use jiff::SignedDuration;
use rstest::rstest;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

/// A watch of a world with one pool (limits of 4 CPUs, a budget of one node) and one class, begun at zero.
fn watch() -> Watch {
    let mut watch = Watch::default();
    watch.see(at(0), &pool(1, json!({"cpu": "4"}), json!([{"nodes": "1"}])));
    watch.see(
        at(0),
        &Seen::Class(Event::Apply(read(json!({"apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass",
        "metadata": {"name": "c", "generation": 1}, "spec": {}})))),
    );
    watch
}

fn pool(generation: i64, limits: Value, budgets: Value) -> Seen {
    Seen::Pool(Event::Apply(read(json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool",
        "metadata": {"name": "p", "generation": generation},
        "spec": {"limits": limits, "disruption": {"consolidateAfter": "0s", "budgets": budgets}, "template": {"spec": {}}}}))))
}

/// A NodeClaim: its name, and further words: `launched` (2 CPUs), `deleting`, or the reason of a command.
fn claim(name: &str, words: &[&str]) -> Seen {
    let is = |word: &str| words.contains(&word);
    let condition = |kind: &str, reason: &str| json!({"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let mut conditions = Vec::new();
    conditions.extend(words.iter().find(|w| w.starts_with(char::is_uppercase)).map(|reason| condition("DisruptionReason", reason)));
    let mut object = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": {"name": name, "labels": {"karpenter.sh/nodepool": "p"}}, "spec": {"nodeClassRef": {"name": "c"}},
        "status": {"conditions": conditions}});
    if is("launched") {
        object["status"]["providerID"] = format!("aws:///z/i-{name}").into();
        object["status"]["capacity"] = json!({"cpu": "2"});
    }
    if is("deleting") {
        object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    }
    Seen::Claim(if is("gone") { Event::Delete(read(object)) } else { Event::Apply(read(object)) })
}

fn node(name: &str, ready: bool) -> Seen {
    let conditions = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
    Seen::Node(Event::Apply(read(json!({"metadata": {"name": name, "labels": {"karpenter.sh/initialized": "true"}},
        "spec": {"providerID": format!("aws:///z/i-{name}")}, "status": {"conditions": conditions, "capacity": {"cpu": "2"}}}))))
}

fn event(kind: &str, namespace: &str, name: &str, reason: &str, message: &str) -> Seen {
    Seen::Event(Event::Apply(read(json!({"metadata": {"name": "e"}, "reason": reason, "message": message,
        "involvedObject": {"kind": kind, "namespace": namespace, "name": name, "uid": format!("uid-{name}")}}))))
}

fn pod(name: &str, ready: bool, more: Value) -> core::Pod {
    let mut object = json!({"metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"), "labels": {"app": "a"}},
        "spec": {"containers": [], "nodeName": "x", "terminationGracePeriodSeconds": 5},
        "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}});
    for (key, value) in more.as_object().into_iter().flatten() {
        object["metadata"][key] = value.clone();
    }
    read(object)
}

fn applied(pod: core::Pod) -> Seen {
    Seen::Pod(Event::Apply(pod))
}

use k8s_openapi::api::core::v1 as core;

fn broken(watch: &Watch, rule: Rule) -> Vec<&str> {
    watch.broken.iter().filter(|b| b.rule == rule).map(|b| b.what.as_str()).collect()
}

fn machine(instance_type: &str, zone: &str, market: &str, price: f64, on: bool) -> Machine {
    Machine { instance_type: instance_type.into(), zone: zone.into(), market: market.into(), on, autoscaled: true, price: Some(price) }
}

#[test]
fn names_are_names_of_rules() {
    for rule in Rule::ALL {
        assert_eq!(Rule::by_name(rule.name()), Some(rule));
    }
    assert_eq!(Rule::by_name("other"), None);
}

#[rstest]
#[case::owned(&["launched"], true, 1000, false)]
#[case::within_the_bound(&[], true, 164, false)]
#[case::beyond(&[], true, 166, true)]
#[case::its_machine_is_going(&[], false, 1000, false)]
#[case::its_claim_is_gone(&["launched", "gone"], true, 266, true)]
fn orphans(#[case] words: &[&str], #[case] on: bool, #[case] seconds: i64, #[case] caught: bool) {
    let mut watch = watch();
    watch.machines(at(0), [("i-a".to_owned(), machine("m5.large", "a", "spot", 0.1, on))].into_iter());
    watch.see(at(1), &claim("a", &["launched"].map(|w| if words.is_empty() { "" } else { w })));
    if words.contains(&"gone") {
        watch.see(at(100), &claim("a", words));
    }
    watch.tick(at(seconds));
    watch.tick(at(seconds + 1));
    assert_eq!(broken(&watch, Rule::OrphanInstance).len(), usize::from(caught), "told once: {:?}", watch.broken);
}

#[rstest]
#[case::within(&["a launched", "b launched"], false)]
#[case::beyond(&["a launched", "b launched", "c launched"], true)]
#[case::one_went_away(&["a launched", "a launched deleting", "b launched", "c launched"], false)]
#[case::one_is_replaced(&["a launched", "a launched Drifted", "b launched", "c launched"], false)]
#[case::one_never_came(&["a", "b", "c", "a gone", "b launched", "c launched"], false)]
#[case::all_in_one_plan(&["a", "b", "c", "c launched", "b launched", "a launched"], true)]
#[case::one_went_after_the_plan(&["a launched", "b launched", "c", "a launched gone", "c launched"], true)]
fn limits(#[case] story: &[&str], #[case] caught: bool) {
    let mut watch = watch();
    for (second, text) in (10..).zip(story) {
        let words: Vec<&str> = text.split(' ').collect();
        watch.see(at(second), &claim(words[0], &words[1..]));
    }
    let told = broken(&watch, Rule::Limits);
    assert_eq!(!told.is_empty(), caught, "{told:?}");
    assert!(told.iter().all(|t| t.ends_with("pool p to cpu 6 of a limit of 4: 4 beside it and its own 2")), "{told:?}");
}

#[rstest]
#[case::of_another_pass(10, true)]
#[case::of_the_same_pass(0, false)]
fn a_limit_of_nodes_counts_from_pass_to_pass(#[case] between: i64, #[case] caught: bool) {
    let mut watch = watch();
    watch.see(at(1), &pool(2, json!({"nodes": "1"}), json!([])));
    watch.see(at(10), &claim("a", &["launched"]));
    watch.see(at(10 + between), &claim("b", &["launched"]));
    assert_eq!(!broken(&watch, Rule::Limits).is_empty(), caught);
}

#[rstest]
#[case::lowered_before(5, true)]
#[case::lowered_in_the_same_moment(10, false)]
#[case::lowered_after(11, false)]
fn limits_are_those_of_the_launch(#[case] lowered: i64, #[case] caught: bool) {
    let mut watch = watch();
    for second in [5, 10, 11] {
        if second == 10 && lowered != 10 {
            watch.see(at(10), &claim("a", &[]));
        }
        if second == lowered {
            watch.see(at(second), &pool(2, json!({"cpu": "1"}), json!([])));
        }
    }
    watch.see(at(10), &claim("a", &[]));
    watch.see(at(12), &claim("a", &["launched"]));
    assert_eq!(!broken(&watch, Rule::Limits).is_empty(), caught, "{:?}", watch.broken);
}

#[rstest]
#[case::one(json!([{"nodes": "1"}]), &[("a", "Empty")], true, None)]
#[case::two(json!([{"nodes": "1"}]), &[("a", "Empty"), ("b", "Empty")], true, Some("2 of 3 nodes"))]
#[case::rounded_up(json!([{"nodes": "34%"}]), &[("a", "Drifted"), ("b", "Drifted")], true, None)]
#[case::one_is_not_ready(json!([{"nodes": "1"}]), &[("a", "Underutilized")], false, Some("2 of 3 nodes"))]
#[case::for_another_reason(json!([{"nodes": "0", "reasons": ["Drifted"]}]), &[("a", "Empty")], true, None)]
#[case::for_this_reason(json!([{"nodes": "0", "reasons": ["Drifted"]}]), &[("a", "Drifted")], true, Some("its budgets allow 0"))]
#[case::closed_by_the_clock(json!([{"nodes": "0", "schedule": "@daily", "duration": "24h"}]), &[("a", "Empty")], true, Some("allow 0"))]
#[case::unreadable(json!([{"nodes": "0", "schedule": "never", "duration": "1h"}]), &[("a", "Empty")], true, Some("allow 0"))]
#[case::no_graceful_reason(json!([{"nodes": "0"}]), &[("a", "Other")], true, None)]
fn marks_against_budgets(#[case] budgets: Value, #[case] marks: &[(&str, &str)], #[case] ready: bool, #[case] says: Option<&str>) {
    let mut watch = watch();
    watch.see(at(0), &pool(2, json!({}), budgets));
    for name in ["a", "b", "c"] {
        watch.see(at(1), &claim(name, &["launched"]));
        watch.see(at(2), &node(name, ready || name != "c"));
    }
    for (name, reason) in marks {
        watch.see(at(3), &claim(name, &["launched", reason]));
        watch.see(at(3), &claim(name, &["launched", reason]));
    }
    let told = broken(&watch, Rule::Budgets);
    assert_eq!(told.len(), usize::from(says.is_some()), "{told:?}");
    assert!(says.is_none_or(|says| told[0].contains(says)), "{told:?}");
}

/// Three pods and a budget that demands two.
#[rstest]
#[case::one(&["a"], &[], "deleted", None, false)]
#[case::two(&["a", "b"], &[], "deleted", None, true)]
#[case::evicted_by_anybody(&["a", "b"], &[], "evicted", None, true)]
#[case::not_by_the_controller(&["a", "b"], &[], "", None, false)]
#[case::it_was_broken_before(&["a"], &["b", "c"], "deleted", None, false)]
#[case::an_unhealthy_one(&["c"], &["c"], "deleted", None, false)]
#[case::the_grace_is_over(&["a", "b"], &[], "deleted", Some(98), false)]
#[case::the_grace_is_not_over(&["a", "b"], &[], "deleted", Some(200), true)]
fn evictions(#[case] go: &[&str], #[case] unhealthy: &[&str], #[case] how: &str, #[case] ends: Option<i64>, #[case] caught: bool) {
    let mut watch = watch();
    watch.see(
        at(0),
        &Seen::Budget(Event::Apply(read(json!({"metadata": {"name": "b", "namespace": "n"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}},
        "status": {"desiredHealthy": 2, "currentHealthy": 3, "expectedPods": 3, "disruptionsAllowed": 1}})))),
    );
    watch.see(at(0), &claim("x", &["launched"]));
    watch.see(at(0), &node("x", true));
    if let (Some(seconds), Some(known)) = (ends, watch.view.claims.get_mut("x")) {
        known.ends = Some(at(seconds));
    }
    for name in ["a", "b", "c"] {
        watch.see(at(1), &applied(pod(name, !unhealthy.contains(&name), json!({}))));
    }
    for name in go {
        let mut going = pod(name, !unhealthy.contains(name), json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
        match how {
            "deleted" => watch.evictions.ask(("n".into(), (*name).into()), "deleted"),
            "evicted" => {
                let status = going.status.get_or_insert_default();
                status
                    .conditions
                    .get_or_insert_default()
                    .push(read(json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"})));
            }
            _ => {}
        }
        watch.see(at(95), &applied(going));
    }
    let told = broken(&watch, Rule::Evictions);
    assert_eq!(!told.is_empty(), caught, "{told:?}");
    assert!(told.iter().all(|t| t.contains("leaves 1 healthy pods, PodDisruptionBudget n/b demands 2")), "{told:?}");
}

#[test]
fn a_refused_eviction_is_nobodys_fault() {
    let mut watch = watch();
    watch.evictions.ask(("n".into(), "a".into()), "evicted");
    watch.evictions.refused(&("n".into(), "a".into()));
    watch.see(at(1), &applied(pod("a", true, json!({}))));
    watch.see(at(2), &applied(pod("a", true, json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}))));
    assert!(watch.broken.is_empty());
}

#[rstest]
#[case::alive_and_nothing_new(&[], 0, true)]
#[case::another_pod_came(&["pod"], 0, false)]
#[case::never_launched(&["gone"], 0, false)]
#[case::ended_from_outside(&["launched", "gone"], 0, false)]
#[case::ended_by_a_command(&["launched", "Empty", "gone"], 0, true)]
#[case::only_promised_a_place(&[], 60, false)]
fn a_pod_is_launched_for_once(#[case] between: &[&str], #[case] late: i64, #[case] caught: bool) {
    let mut watch = watch();
    let nominated = |claim: &str| event("Pod", "n", "a", "Nominated", &format!("Pod should schedule on: nodeclaim/{claim}"));
    watch.see(at(1), &applied(pod("a", false, json!({}))));
    watch.see(at(2), &claim("x", &[]));
    watch.see(at(2), &nominated("x"));
    match between {
        ["pod"] => watch.see(at(5), &applied(pod("b", false, json!({})))),
        words if words.contains(&"gone") => {
            let lived: Vec<&str> = words.iter().copied().filter(|w| *w != "gone").collect();
            watch.see(at(5), &claim("x", &lived));
            watch.see(at(6), &claim("x", words));
        }
        _ => {}
    }
    watch.see(at(30 + late), &nominated("y"));
    watch.see(at(30), &claim("y", &[]));
    let told = broken(&watch, Rule::LaunchLoop);
    assert_eq!(!told.is_empty(), caught, "{told:?}");
}

#[rstest]
#[case::for_ever("Drifted", false, "Drifted", true)]
#[case::something_changed("Drifted", true, "Drifted", false)]
#[case::consolidated_afterwards("Drifted", false, "Empty", false)]
#[case::of_an_underutilized_one("Underutilized", false, "Drifted", false)]
fn a_replacement_is_replaced(#[case] first: &str, #[case] changed: bool, #[case] again: &str, #[case] caught: bool) {
    let mut watch = watch();
    watch.see(at(10), &claim("a", &["launched"]));
    watch.see(at(11), &event("NodeClaim", "", "a", "DisruptionLaunching", &format!("Launching NodeClaim: {first}")));
    if changed {
        watch.see(at(20), &pool(2, json!({"cpu": "4"}), json!([])));
    }
    watch.see(at(41), &claim("a", &["launched", again]));
    let told = broken(&watch, Rule::LaunchLoop);
    assert_eq!(
        told,
        if caught {
            vec![
                "NodeClaim a replaced a drifted node 31s ago and is disrupted as Drifted itself, though neither NodePool p nor EC2NodeClass c has changed since",
            ]
        } else {
            vec![]
        }
    );
}

#[rstest]
#[case::cheaper(&["m5.large a 0.096"], &["t3.small a 0.02"], "Underutilized", None)]
#[case::dearer(&["t3.small a 0.02"], &["m5.large a 0.096"], "Underutilized", Some("at $0.0200/h is replaced by"))]
#[case::two_into_one(&["t3.small a 0.05", "t3.small b 0.05"], &["m5.large a 0.096"], "Underutilized", None)]
#[case::its_own_kind(&["m5.large a 0.096"], &["m5.large a 0.096"], "Underutilized", Some("its own kind"))]
#[case::another_zone(&["m5.large a 0.096"], &["m5.large b 0.096"], "Underutilized", None)]
#[case::one_of_two(&["m5.large a 0.096", "t3.small a 0.02"], &["m5.large a 0.096"], "Underutilized", Some("its own kind"))]
#[case::drift_may(&["m5.large a 0.096"], &["m5.large a 0.096"], "Drifted", None)]
#[case::not_launched_yet(&["t3.small a 0.02"], &["nothing"], "Underutilized", None)]
fn consolidations(#[case] gone: &[&str], #[case] come: &[&str], #[case] reason: &str, #[case] says: Option<&str>) {
    let mut watch = watch();
    let mut nodes = |prefix: &str, list: &[&str]| -> Vec<acts::Machine> {
        list.iter()
            .enumerate()
            .map(|(number, words)| {
                let claim = format!("{prefix}{number}");
                watch.see(at(1), &self::claim(&claim, &["launched"]));
                if let [kind, zone, price] = words.split(' ').collect::<Vec<_>>()[..] {
                    watch.machines(
                        at(1),
                        [(format!("i-{claim}"), machine(kind, zone, "on-demand", price.parse().expect("a price"), true))].into_iter(),
                    );
                }
                acts::Machine { claim, ..Default::default() }
            })
            .collect()
    };
    let (nodes, with) = (nodes("old", gone), nodes("new", come));
    let act = Act { order: 1, at: 7.5, done: Done::Replace, reason: Some(reason.into()), nodes, with, taken_back: false };
    let verdicts = watch.verdicts(&[act], at(0), &BTreeMap::new());
    let verdict = verdicts.iter().find(|v| v.expected.starts_with("invariant: consolidation: ")).expect("one a rule");
    assert_eq!(verdict.held, says.is_none(), "{verdict:?}");
    assert!(says.is_none_or(|says| verdict.seen.contains(says) && verdict.seen.ends_with(", at 7.5s")), "{verdict:?}");
}

#[rstest]
#[case("Action=CreateFleet&Version=2016-11-15", Some("CreateFleet"))]
#[case("Action=CreateFleet&DryRun=true", None)]
#[case("Action=DescribeInstances", None)]
#[case("Action=CreateTags&ResourceId.1=i-0a", Some("CreateTags"))]
#[case("Action=CreateTags&ResourceId.1=lt-0a", None)]
#[case("", None)]
fn writes_to_instances(#[case] body: &str, #[case] write: Option<&str>) {
    assert_eq!(quiet::of_aws(body), write);
}

#[rstest]
#[case("PATCH", "/api/v1/nodes/a/status", Some("PATCH nodes/a/status"))]
#[case("POST", "/apis/karpenter.sh/v1/nodeclaims", Some("POST nodeclaims"))]
#[case("GET", "/api/v1/nodes/a", None)]
#[case("POST", "/api/v1/namespaces/default/events", None)]
#[case("PATCH", "/apis/karpenter.sh/v1/nodepools/a/status", None)]
fn writes_to_nodes_and_claims(#[case] method: &str, #[case] path: &str, #[case] write: Option<&str>) {
    assert_eq!(quiet::of_kubernetes(method, path, b"", Timestamp::UNIX_EPOCH).as_deref(), write);
}

#[rstest]
#[case::just_now("1970-01-01T00:10:00Z", None)]
#[case::a_while_ago("1970-01-01T00:09:00Z", Some("PATCH nodeclaims/a/status"))]
fn a_verdict_on_consistency_is_no_write_for_nothing(#[case] turned: &str, #[case] write: Option<&str>) {
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(10);
    let body = format!(r#"{{"status": {{"conditions": [{{"type": "ConsistentStateFound", "lastTransitionTime": "{turned}"}}]}}}}"#);
    let found = quiet::of_kubernetes("PATCH", "/apis/karpenter.sh/v1/nodeclaims/a/status", body.as_bytes(), now);
    assert_eq!(found.as_deref(), write);
}
