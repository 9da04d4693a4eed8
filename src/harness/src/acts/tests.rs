//! Stories of NodeClaims, a line a look, and what they are told as.

use super::*;
use crate::scenario::{Expectation, parse};
use rstest::rstest;

/// `5 a m5.large launched`, `9 a reason Empty`, `9 a clear`, `9 a delete`, `9 a event DisruptionLaunching: Launching NodeClaim: Empty`,
/// `9 a gone`; the first word is the second.
fn told(story: &[&str]) -> Vec<Act> {
    let start = Timestamp::from_second(1_790_000_000).expect("in range");
    let mut history = History::default();
    let mut looks: BTreeMap<String, Look> = BTreeMap::new();
    for (order, line) in story.iter().enumerate() {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let at = start + SignedDuration::from_secs_f64(words[0].parse().expect("seconds"));
        let stamp = Stamp { order: order as u64 + 1, at };
        let look = looks.entry(words[1].to_owned()).or_insert_with(|| Look { created: at, ..Look::default() });
        match words[2].split_once(' ').unwrap_or((words[2], "")) {
            ("event", said) => {
                let (reason, message) = said.split_once(": ").unwrap_or((said, ""));
                history.event(stamp, words[1], reason, message);
                continue;
            }
            ("gone", _) => {
                history.gone(stamp, words[1]);
                continue;
            }
            ("made", _) => {}
            ("expires", after) => look.expire_after = Some(SignedDuration::from_secs(after.parse().expect("seconds"))),
            ("reason", reason) => look.reason = Some(reason.to_owned()),
            ("clear", _) => look.reason = None,
            ("delete", _) => look.deleting = true,
            (instance_type, "launched") => {
                (look.launched, look.instance_type) = (true, instance_type.to_owned());
            }
            other => panic!("{other:?}"),
        }
        history.look(stamp, words[1], look.clone());
    }
    history.acts(start)
}

fn phrases(story: &[&str]) -> Vec<String> {
    told(story).iter().map(ToString::to_string).collect()
}

const LAUNCHED: [&str; 4] = ["0 a made", "1 a m5.large launched", "0 b made", "2 b m5.large launched"];

#[rstest]
#[case::launches(&[], &[])]
#[case::one_emptied(&["60 b reason Empty", "60.1 b delete", "70 b gone"], &["delete 1 m5.large because Empty"])]
#[case::two_at_once(&["60 a reason Empty", "60.4 b reason Empty", "61 a delete", "61 b delete"], &["delete 2 m5.large because Empty"])]
#[case::two_one_after_the_other(
    &["60 a reason Underutilized", "80 b reason Underutilized"],
    &["delete 1 m5.large because Underutilized", "delete 1 m5.large because Underutilized"]
)]
#[case::replaced(
    &["60 a reason Underutilized", "60.1 c made", "60.2 c event DisruptionLaunching: Launching NodeClaim: Underutilized", "61 c t3.small launched",
      "90 a delete", "90 a event DisruptionTerminating: Disrupting NodeClaim: Underutilized"],
    &["replace 1 m5.large with 1 t3.small because Underutilized"]
)]
#[case::the_event_comes_after_the_launch(
    &["60 a reason Underutilized", "60.1 c made", "61 c t3.small launched", "62 c event DisruptionLaunching: Launching NodeClaim: Underutilized"],
    &["replace 1 m5.large with 1 t3.small because Underutilized"]
)]
#[case::drift_is_a_command_each(
    &["60 a reason Drifted", "60 c made", "60.1 b reason Drifted", "60.2 d made", "60.3 c event DisruptionLaunching: Launching NodeClaim: Drifted",
      "60.4 d event DisruptionLaunching: Launching NodeClaim: Drifted", "61 c m5.large launched", "61 d t3.small launched"],
    &["replace 1 m5.large with 1 m5.large because Drifted", "replace 1 m5.large with 1 t3.small because Drifted"]
)]
#[case::taken_back(
    &["60 a reason Underutilized", "60.1 c made", "60.2 c event DisruptionLaunching: Launching NodeClaim: Underutilized", "61 c delete", "62 c gone", "63 a clear"],
    &["replace 1 m5.large with 1 node because Underutilized (taken back)"]
)]
#[case::expired(&["0 a expires 300", "300 a delete", "301 c made", "302 c m5.large launched"], &["expire 1 m5.large", "launch 1 m5.large"])]
#[case::removed_before_it_expires(&["0 a expires 300", "200 a delete"], &["remove 1 m5.large"])]
#[case::interrupted(
    &["60 a event SpotInterrupted: Spot interruption warning was triggered", "60.1 a delete", "60.2 a event TerminatingOnInterruption: …"],
    &["interrupt 1 m5.large because SpotInterrupted"]
)]
#[case::told_of_its_own_end_is_no_interruption(
    &["0 a expires 60", "60 a delete", "100 a event InstanceTerminating: Instance is terminating"],
    &["expire 1 m5.large"]
)]
#[case::a_recommendation_is_nothing(&["60 a event SpotRebalanceRecommendation: …"], &[])]
#[case::the_mark_was_missed(
    &["90 a delete", "90.1 a event DisruptionTerminating: Disrupting NodeClaim: Empty"],
    &["delete 1 m5.large because Empty"]
)]
#[case::never_launched_is_no_act(&["60 c made", "61 c delete", "61 c gone"], &[])]
fn stories(#[case] story: &[&str], #[case] expected: &[&str]) {
    let whole: Vec<&str> = LAUNCHED.iter().chain(story).copied().collect();
    let mut expected: Vec<&str> = expected.to_vec();
    expected.splice(0..0, ["launch 1 m5.large", "launch 1 m5.large"]);
    assert_eq!(phrases(&whole), expected);
}

/// What a scenario's `actions` are read as.
fn expected(text: &str) -> Vec<Vec<Phrase>> {
    let text = format!("scenario: a\nsteps:\n  - expect: {{ actions: [{text}] }}\n");
    let scenario = parse(std::path::Path::new("a.yaml"), &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    match &scenario.steps[0].expect[0].value {
        Expectation::Actions(phrases) => phrases.clone(),
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case("launch 2 m5.large, delete 1 m5.large because Empty", true)]
#[case("launch m5.large, launch m5.large, delete m5.large", true)]
#[case("launch 2 node, delete node because Underutilized or Empty", true)]
#[case("launch 2 nodes, replace m5.large or delete m5.large", true)]
#[case("launch m5.large, delete m5.large", false)]
#[case("launch 3 m5.large, delete m5.large", false)]
#[case("launch 2 m5.large, delete 2 m5.large", false)]
#[case("launch 2 m5.large, delete t3.small", false)]
#[case("launch 2 m5.large, delete m5.large because Underutilized", false)]
#[case("launch 2 m5.large, drift m5.large", false)]
#[case("delete m5.large, launch 2 m5.large", false)]
#[case("launch 2 m5.large", false)]
fn an_emptied_node_is_held_against(#[case] written: &str, #[case] held: bool) {
    let story: Vec<&str> = LAUNCHED.iter().chain(&["60 b reason Empty", "60.1 b delete"]).copied().collect();
    let acts = told(&story);
    assert_eq!(hold(&expected(written), &acts.iter().collect::<Vec<_>>()), held);
}

#[rstest]
#[case("replace 2 m5.large with t3.small because Underutilized", true)]
#[case("replace m5.large with 1 t3.small", true)]
#[case("replace m5.large", true)]
#[case("replace 2 m5.large with 2 t3.small", false)]
#[case("replace 2 m5.large with t3.medium", false)]
#[case("replace 1 m5.large and 1 t3.medium with t3.small", false)]
#[case("delete 2 m5.large", false)]
fn a_replacement_is_held_against(#[case] written: &str, #[case] held: bool) {
    let story = [
        "60 a reason Underutilized",
        "60 b reason Underutilized",
        "60.1 c made",
        "60.2 c event DisruptionLaunching: Launching NodeClaim: Underutilized",
        "61 c t3.small launched",
    ];
    let story: Vec<&str> = LAUNCHED.iter().chain(&story).copied().collect();
    let acts = told(&story);
    let after: Vec<&Act> = acts.iter().filter(|act| act.done != Done::Launch).collect();
    assert_eq!(hold(&expected(written), &after), held, "{after:?}");
}
