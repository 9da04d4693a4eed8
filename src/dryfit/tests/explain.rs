//! `dryfit explain` over real runs: the answers read well, every fact comes from the record, bad input is told.

mod common;

use common::{Ran, dryfit, lab, root};
use rstest::rstest;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file)
}

fn explain(object: &str, at: Option<&str>, run: &Path) -> Ran {
    let mut words = vec!["explain".to_owned(), object.to_owned()];
    words.extend(at.map(|at| format!("--at={at}")));
    words.push(run.display().to_string());
    dryfit(&words)
}

/// The trace of a scenario, run once.
fn traced(scenario: &Path) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    dryfit(&["test".as_ref(), scenario.as_os_str(), "--trace".as_ref(), trace.as_os_str()]);
    std::fs::read_to_string(trace).expect("a trace")
}

fn story() -> &'static str {
    static STORY: OnceLock<String> = OnceLock::new();
    STORY.get_or_init(|| traced(&data("consolidation/consolidation.yaml")))
}

/// A file that holds this trace.
fn file(trace: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&file, trace).expect("a trace");
    file
}

/// The answers to several questions, one below the other.
fn answers(trace: &str, questions: &[(&str, Option<&str>)]) -> String {
    let file = file(trace);
    let answer = |(object, at): &(&str, Option<&str>)| {
        let ran = explain(object, *at, file.path());
        ran.exits(0);
        ran.out
    };
    questions.iter().map(answer).collect::<Vec<_>>().join("\n----\n")
}

fn snapshot(name: &str, told: &str) {
    insta::with_settings!({ snapshot_path => root().join("snapshots"), prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, told);
    });
}

/// `namespace/name` of the first pod that a plan could place nowhere.
fn refused(trace: &str) -> String {
    let decisions = trace.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let verdicts = decisions.filter_map(|line| Some(line["of"]["planned"]["explanation"]["pods"].as_array()?.clone())).flatten();
    let mut refused = verdicts.filter(|verdict| verdict["outcome"].get("Unschedulable").is_some());
    refused.next().and_then(|verdict| verdict["pod"].as_str().map(str::to_owned)).expect("a pod that is refused")
}

#[test]
fn the_lab() {
    let trace = traced(&lab().join("lab.yaml"));
    let pod = format!("pod/{}", refused(&trace));
    let told = answers(&trace, &[("nodeclaim/default-h6b2h", Some("60s")), (&pod, None), ("nodepool/default", None)]);
    snapshot("explain-lab", &told);
    assert!(told.contains("limits: cpu"), "{told}");
}

/// The pods of the first plan, by name.
fn planned(trace: &str) -> Vec<String> {
    let mut decisions = trace.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let first = decisions.find_map(|line| Some(line["of"]["planned"]["explanation"]["pods"].as_array()?.clone()));
    first.expect("a plan").iter().filter_map(|verdict| Some(format!("pod/{}", verdict["pod"].as_str()?))).collect()
}

#[test]
fn nodes_that_are_deleted_and_replaced() {
    // One that was evicted in the end, and one that was not.
    let was_evicted = |pod: &String| pod.rsplit('/').next().is_some_and(|name| story().contains(&format!("/pods/{name}/eviction")));
    let (evicted, others): (Vec<String>, Vec<String>) = planned(story()).into_iter().partition(was_evicted);
    let (first, second) = ("nodeclaim/default-h6b2h", "node/default-8mkfn");
    let questions = [
        (first, Some("20s")),
        (first, Some("60s")),
        (first, Some("1m35s")),
        (second, Some("60s")),
        (second, Some("200s")),
        (second, Some("220s")),
        (first, Some("200s")),
        (first, Some("550s")),
        (first, Some("570s")),
        (first, Some("597.2s")),
        (first, None),
        ("node/default-6s26c", None),
        (&evicted[0], Some("30s")),
        (&evicted[0], Some("60s")),
        (&evicted[0], None),
        (&others[0], None),
        ("nodepool/default", Some("100s")),
    ];
    snapshot("explain-consolidation", &answers(story(), &questions));
}

#[test]
fn a_drain_that_a_budget_holds() {
    let told = answers(&traced(&data("held/held.yaml")), &[("node/default-h6b2h", None)]);
    snapshot("explain-held", &told);
    assert!(told.contains("PodDisruptionBudget other/keep can never be met"), "{told}");
    assert!(told.contains("it expired: expireAfter 3m"), "{told}");
}

#[test]
fn spot_for_spot_is_refused() {
    let told = answers(&traced(&data("spot/spot.yaml")), &[("node/default-h6b2h", None)]);
    snapshot("explain-spot", &told);
    assert!(told.contains("SpotToSpotConsolidation is off"), "{told}");
}

#[test]
fn a_scenario_and_its_trace_give_the_same_answer_and_a_seed_another() {
    let scenario = data("consolidation/consolidation.yaml");
    let ran = explain("nodepool/default", None, &scenario);
    ran.exits(0);
    assert_eq!(ran.out, answers(story(), &[("nodepool/default", None)]));
    let words = ["explain", "nodepool/default", &scenario.display().to_string(), "--seed", "7"].map(str::to_owned);
    let other = dryfit(&words);
    other.exits(0);
    assert_ne!(other.out, ran.out);
}

#[test]
fn json_is_the_same_answer_as_data() {
    let file = file(story());
    let path = file.path().display().to_string();
    let ran = dryfit(&["explain", "node/default-h6b2h", "--at", "79s", &path, "--format", "json"]);
    ran.exits(0);
    let answer: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(answer["at"], 79.0);
    let text = explain("node/default-h6b2h", Some("79s"), file.path());
    for section in answer["sections"].as_array().expect("sections") {
        text.says(section["title"].as_str().expect("a title"));
        for fact in section["facts"].as_array().expect("facts") {
            text.says(fact["says"].as_str().expect("words"));
        }
    }
    let stays = &answer["sections"][2]["facts"];
    let lost = stays.as_array().and_then(|facts| facts.iter().find(|fact| fact["data"]["methods"][0] == "SingleNode"));
    assert_eq!(lost.expect("a verdict")["data"]["verdict"]["why"]["Unconsolidatable"]["NotCheaper"]["price"], 0.096);
}

/// A changed record changes the answer: nothing is said that is not in it.
#[rstest]
#[case::price_of_the_bill("79s", r#""i-075dea9490d973cbe":0.096"#, r#""i-075dea9490d973cbe":0.111"#, "us-west-2b, $0.111/h")]
#[case::price_of_the_chosen(
    "79s",
    r#""chosen":[{"instance_type":"m5.large","price":0.096}]"#,
    r#""chosen":[{"instance_type":"m5.large","price":0.2}]"#,
    "m5.large at $0.200/h is the only type"
)]
#[case::another_choice(
    "79s",
    r#""chosen":[{"instance_type":"m5.large","price":0.096}]"#,
    r#""chosen":[{"instance_type":"a","price":0.1},{"instance_type":"b","price":0.2}]"#,
    "a at $0.100/h is the cheapest of 2 types of NodePool default that fit the others: b at $0.200/h"
)]
#[case::what_ruled_a_type_out("79s", r#""room":1486880768"#, r#""room":1048576"#, "t3.small: memory 5240Mi of 1Mi")]
#[case::pool_that_lost(
    "79s",
    r#""refused_pools":[]"#,
    r#""refused_pools":[{"pool":"gold","reason":"NotReady","types":[]}]"#,
    "NodePool gold lost before: not ready"
)]
#[case::market(
    "79s",
    r#""ordered_values":["on-demand"]"#,
    r#""ordered_values":["on-demand","spot"]"#,
    "on-demand: allowed were on-demand and spot"
)]
#[case::replacement_that_lost(
    "79s",
    r#"{"NotCheaper":{"best":["m5.large",0.096],"price":0.096}}"#,
    r#"{"NotCheaper":{"best":["m5.xlarge",0.192],"price":0.096}}"#,
    "its cheapest replacement is m5.xlarge at $0.192/h, $0.096/h more than it does now ($0.096/h)"
)]
#[case::another_blocker(
    "60s",
    r#""Blocked":"Nominated""#,
    r#""Blocked":{"PodBudget":"other/keep"}"#,
    "every method: PodDisruptionBudget other/keep allows no eviction"
)]
#[case::another_time(
    "95s",
    r#""consolidateAfter":"30s""#,
    r#""consolidateAfter":"40s""#,
    "at the earliest at 119.0s: consolidateAfter 40s from 79.0s"
)]
#[case::budget("60s", r#""why":{"Blocked":"Nominated"}"#, r#""why":"Budget""#, "which allow 1 of 1 node at a time, and 0 not ready")]
#[case::savings("550s", r#""savings":0.0752"#, r#""savings":0.05"#, "which saves $0.050/h; it is judged again at 559.0s")]
#[case::end(
    "1019s",
    r#""message":"initialized nodeclaim""#,
    r#""message":"said something else""#,
    "launched at 1.0s, registered at 41.3s Why this type"
)]
fn another_record_is_another_answer(#[case] at: &str, #[case] from: &str, #[case] to: &str, #[case] says: &str) {
    assert!(story().contains(from), "{from} is not in the trace");
    let ask = |trace: &str| {
        let ran = explain("node/default-h6b2h", Some(at), file(trace).path());
        ran.exits(0);
        ran.out.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let (before, after) = (ask(story()), ask(&story().replace(from, to)));
    assert!(!before.contains(says), "said before: {before}");
    assert!(after.contains(says), "{says:?} is missing in {after}");
}

#[rstest]
#[case::unknown_node("node/default-h6b2x", None, "the run knows no node default-h6b2x; did you mean node/default-h6b2h")]
#[case::unknown_pod("pod/other/nobody", None, "the run knows no pod other/nobody")]
#[case::unknown_pool("nodepool/defualt", None, "did you mean nodepool/default?")]
#[case::two_meant("nodeclaim/default-", None, "default- may be any of default-6s26c, default-8mkfn, default-h6b2h")]
#[case::no_kind("default-h6b2h", None, "write node/NAME")]
#[case::before_the_beginning("node/default-h6b2h", Some("-1s"), "-1.0s is before the beginning")]
#[case::after_the_end("node/default-h6b2h", Some("3h"), "10800.0s is after the end: the run ended at")]
#[case::no_time("node/default-h6b2h", Some("soon"), "a time is written as 3m20s or 80.5s")]
fn wrong_questions(#[case] object: &str, #[case] at: Option<&str>, #[case] says: &str) {
    let ran = explain(object, at, file(story()).path());
    ran.exits(2).says(says);
    assert!(ran.out.is_empty(), "{}", ran.out);
}

#[rstest]
#[case::cut_off(|trace: &str| trace[..trace.len() - 20].to_owned(), "is not a whole line of a trace")]
#[case::a_line_cut_in_the_middle(|trace: &str| trace.replacen(r#""names":["default-h6b2h"]"#, "", 1), "is not a whole line of a trace")]
#[case::a_decision_without_its_half(|trace: &str| trace.replacen(r#","names":["default-h6b2h"]"#, "", 1), "missing field `names`")]
#[case::json_of_something_else(|_: &str| "{\"kind\":\"List\"}\n".to_owned(), "line 1 is not a whole line of a trace")]
#[case::no_decisions(|trace: &str| trace.lines().filter(|l| !l.contains("\"decision\"")).map(|l| format!("{l}\n")).collect(), "holds no decisions")]
#[case::no_story(|trace: &str| trace.lines().filter(|l| !l.contains("\"story\"")).map(|l| format!("{l}\n")).collect(), "does not say when the story began")]
#[case::neither(|_: &str| "hello\n".to_owned(), "scenario")]
#[case::nothing(|_: &str| String::new(), "scenario")]
fn wrong_runs(#[case] change: fn(&str) -> String, #[case] says: &str) {
    explain("node/default-h6b2h", None, file(&change(story())).path()).exits(2).says(says);
}

#[test]
fn the_command_line() {
    explain("node/a", None, Path::new("/nowhere/at/all")).exits(2).says("cannot be read");
    let file = file(story());
    let path = file.path().display().to_string();
    dryfit(&["explain", "node/default-h6b2h", &path, "--seed", "3"]).exits(2).says("a trace has its seed");
    dryfit(&["explain", "--help"]).exits(0).says("Exit codes: 0 answered").says("--at 3m20s");
    dryfit(&["explain"]).exits(2);
}
