//! Mistakes are found all at once, each with its line and a way out.

use super::{Action, Expectation, parse};
use rstest::rstest;
use std::path::Path;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/workshops/eks-workshop/test.yaml")
}

fn mistakes(text: &str) -> String {
    parse(&folder(), text).map(|s| format!("no mistake in {}", s.name)).unwrap_or_else(|m| m.render(false))
}

const GOOD: &str = "scenario: a\ngiven:\n  apply: [inflate.yaml]\nsteps:\n  - do: scale deployment/other/inflate to 5\n    expect: { pods: { ready: 5 } }\n";

#[test]
fn the_good_one_is_read() {
    let scenario = parse(&folder(), GOOD).unwrap_or_else(|m| panic!("{m}"));
    assert_eq!(scenario.given.apply[0].objects.len(), 2);
    assert!(matches!(&scenario.steps[0].actions[0].value, Action::Scale { replicas: 5, .. }));
    assert!(matches!(&scenario.steps[0].expect[0].value, Expectation::Pods(_)));
    assert_eq!(scenario.steps[0].expect[0].text, "pods: { ready: 5 }");
}

#[rstest]
#[case("do: scale", "doo: scale", "did you mean \"do\"?")]
#[case("expect:", "expct:", "did you mean \"expect\"?")]
#[case("ready: 5", "raedy: 5", "did you mean \"ready\"?")]
#[case("scale deployment", "scael deployment", "did you mean \"scale\"?")]
#[case("to 5", "to five", "scale deployment/NAMESPACE/NAME to 5")]
#[case("ready: 5", "ready: many", "whole number")]
#[case("[inflate.yaml]", "[inflat.yaml]", "cannot be read")]
#[case("scenario: a\n", "", "begin with `scenario: a-name`")]
#[case("given:\n", "given:\n  aws: { boot: { registered: 25 } }\n", "time with its unit")]
#[case("given:\n", "given:\n  aws: { prices: { m5.large: 0.096 } }\n", "such as $0.096")]
#[case("given:\n", "given:\n  kubernetes: { version: \"1.99\" }\n", "1.26 to 1.36")]
#[case("given:\n", "given:\n  kubernetes: { pods: { pull: fast } }\n", "time with its unit")]
#[case("given:\n", "given:\n  kubernetes: { pods: { pul: 3s } }\n", "did you mean \"pull\"?")]
#[case("given:\n", "given: [\n", "not YAML")]
#[case("pods: { ready: 5 }", "latency: { pod-ready: p95 60s }", "p95 < 60s")]
#[case("pods: { ready: 5 }", "pods: {}", "ready, pending, reason, evicted or lost")]
#[case("pods: { ready: 5 }", "cost: { totl: $1 }", "did you mean \"total\"?")]
#[case("pods: { ready: 5 }", "cost: { total: 5 }", "such as $0.096")]
#[case("pods: { ready: 5 }", "cost: { pool: default, total: $5 }", "leave pool out")]
#[case("pods: { ready: 5 }", "conditions: { nodepool/default: { Ready: Maybe } }", "True, False or Unknown")]
#[case("pods: { ready: 5 }", "conditions: { default: [Ready] }", "write KIND/NAME")]
#[case("pods: { ready: 5 }", "shows: [a]", "mapping by objects")]
#[case("do: scale deployment/other/inflate to 5", "do: { aws: ec2 CreateTag }", "a service and one of its operations")]
#[case("do: scale deployment/other/inflate to 5", "do: { aws: s3 CreateBucket }", "a service and one of its operations")]
#[case("pods: { ready: 5 }", "nodeclaims: { pool: default }", "nodeclaims expects nothing")]
#[case("pods: { ready: 5 }", "latency: {}", "latency expects nothing")]
#[case("pods: { ready: 5 }", "aws: {}", "aws expects nothing")]
#[case("pods: { ready: 5 }", "aws: { calls: { TerminateInstance: 0 } }", "did you mean \"TerminateInstances\"?")]
#[case("pods: { ready: 5 }", "controller: {}", "controller expects nothing")]
#[case("pods: { ready: 5 }", "conditions: {}", "conditions expects nothing")]
#[case("pods: { ready: 5 }", "conditions: { nodepool/default: [] }", "no condition of nodepool/default")]
#[case("steps:", "always: { nodes: { count: 1 } }\nsteps:", "watched all the time")]
#[case("steps:", "always: { pods: { pending: 0 } }\nsteps:", "is a state")]
#[case("pods: { ready: 5 }", "actions: [disrupt m5.large]", "an action begins with")]
#[case("pods: { ready: 5 }", "actions: [delte m5.large]", "did you mean \"delete\"?")]
#[case("pods: { ready: 5 }", "actions: [delete m5.lage]", "did you mean \"m5.large\"?")]
#[case("pods: { ready: 5 }", "actions: [delete m5.large with t3.small]", "only replace and drift have a with")]
#[case("pods: { ready: 5 }", "actions: [delete m5.large because Emty]", "did you mean \"Empty\"?")]
#[case("pods: { ready: 5 }", "actions: [launch m5.large because Empty]", "have no reason")]
#[case("pods: { ready: 5 }", "actions: [delete 0 m5.large]", "whole number from 1")]
#[case("pods: { ready: 5 }", "actions: [delete]", "write an instance type")]
#[case("given:\n", "given:\n  aws: { spot: movng }\n", "write moving, still")]
#[case("given:\n", "given:\n  aws: { spot: { moves: 20 } }\n", "such as 20%")]
#[case("given:\n", "given:\n  aws: { spot: { every: 1s } }\n", "a minute or more")]
#[case("given:\n", "given:\n  aws: { spot: { trace: none.csv } }\n", "none.csv cannot be read")]
#[case("given:\n", "given:\n  aws: { spot: { prices: { m5.lagre: $1 } } }\n", "did you mean \"m5.large\"?")]
#[case("given:\n", "given:\n  aws: { spot: { trace: inflate.yaml } }\n", "begin with timestamp,instance_type,availability_zone,spot_price")]
#[case("given:\n", "given:\n  aws: { catalog: inflate.yaml }\n", "not a catalogue")]
#[case("    expect:", "    fault: { spot-price: { types: [m5.large] } }\n    expect:", "spot-price needs price")]
#[case("    expect:", "    fault: { spot-price: { price: 0.05 } }\n    expect:", "such as $0.05, or a factor such as x2")]
#[case("    expect:", "    fault: { events: { do: lose } }\n    expect:", "write drop, duplicate, delay or reorder")]
#[case("    expect:", "    fault: { events: { kind: [spot], do: drop } }\n    expect:", "write one of spot-interruption")]
#[case("    expect:", "    fault: { events: { do: drop, by: 1m } }\n    expect:", "belongs to delay and reorder")]
#[case("    expect:", "    fault: { node-problem: { nodes: { pool: default } } }\n    expect:", "condition: Ready, or KernelReady")]
#[case(
    "    expect:",
    "    fault: { node-problem: { condition: KernelReady, status: maybe } }\n    expect:",
    "write True, False or Unknown"
)]
#[case("    expect:", "    fault: { node-problem: { condition: Ready, status: Unknown, since: 5m } }\n    expect:", "leave since out")]
#[case("pods: { ready: 5 }", "events: [Evicted]", "events is no mapping")]
#[case("    expect:", "    fault: { icce: {} }\n    expect:", "did you mean \"ice\"?")]
#[case("    expect:", "    fault: { ice: { types: [m5.lagre] } }\n    expect:", "did you mean \"m5.large\"?")]
#[case("    expect:", "    fault: { ice: { zones: [us-west-2x] } }\n    expect:", "did you mean \"us-west-2a\"?")]
#[case("    expect:", "    fault: { ice: { capacity: [spt] } }\n    expect:", "did you mean \"spot\"?")]
#[case("    expect:", "    fault: { ice: { for: 10 } }\n    expect:", "time with its unit")]
#[case("    expect:", "    fault: { error: { operation: CreateFlet, code: X } }\n    expect:", "did you mean \"CreateFleet\"?")]
#[case("    expect:", "    fault: { error: { operation: Descibe*, code: X } }\n    expect:", "no service has an operation")]
#[case("    expect:", "    fault: { error: { operation: CreateFleet } }\n    expect:", "error needs code")]
#[case("    expect:", "    fault: { throttle: { operation: CreateFleet, rate: 2 } }\n    expect:", "such as 2/s")]
#[case("    expect:", "    fault: { lift: icy }\n    expect:", "did you mean \"ice\"?")]
#[case("    expect:", "    fault: { lift: message }\n    expect:", "cannot be lifted")]
#[case("    expect:", "    fault: { message: foriegn }\n    expect:", "write foreign, duplicate-of-last")]
#[case("    expect:", "    fault: { message: { body: a, is: foreign } }\n    expect:", "either a body or a word")]
#[case("    expect:", "    fault: { vanish: { nodes: { pol: default } } }\n    expect:", "did you mean \"pool\"?")]
#[case("    expect:", "    fault: { vanish: { nodes: { count: 1 }, count: 2 } }\n    expect:", "keep one of them")]
#[case("    expect:", "    fault: { vanish: { count: 0 } }\n    expect:", "from 1 on, or all")]
#[case("    expect:", "    fault: { spot-interruption: { nodes: { capacity: on-demand } } }\n    expect:", "Spot instances only")]
#[case(
    "    expect:",
    "    fault: { health-event: { event: reboot } }\n    expect:",
    "write instance-retirement, instance-stop, instance-reboot"
)]
#[case("    expect:", "    fault: {}\n    expect:", "a fault without a word")]
#[case("    expect:", "    within: 1m\n    until: 2m\n    expect:", "within and until in one step")]
#[case("given:\n", "given:\n  aws: { faults: [ { vanish: {} } ] }\n", "What befalls machines")]
#[case("given:\n", "given:\n  aws: { region: us-west-9 }\n", "did you mean \"us-west-")]
#[case("given:\n", "given:\n  aws: { capacity: [ { types: [m5.large] } ] }\n", "capacity needs types and count")]
#[case("scale deployment/other/inflate to 5", "delete node of pol default", "delete node of pool NAME")]
#[case("scale deployment/other/inflate to 5", "{ delete: pod, of: { pool: default } }", "write {delete: node, of:")]
fn a_mistake_names_the_way_out(#[case] from: &str, #[case] to: &str, #[case] says: &str) {
    assert!(GOOD.contains(from), "{from:?} is not in the good scenario");
    let shown = mistakes(&GOOD.replacen(from, to, 1));
    assert!(shown.contains(says), "{says:?} is missing in:\n{shown}");
    assert!(shown.contains("test.yaml"), "the file is missing in:\n{shown}");
}

/// A scenario that knows every word.
const STORM: &str = r#"scenario: storm
given:
  controller: { settings: { FEATURE_GATES: "SpotToSpotConsolidation=true" } }
  aws:
    region: us-west-2
    queue: interruptions
    capacity: [{ types: [m5.large, t3.small], zones: us-west-2a, capacity: spot, count: 3 }]
    faults:
      - ice: { types: m5.large, for: 10m }
      - error: { operation: "Describe*", code: InternalError, message: broken, times: 2 }
  apply: [inflate.yaml]
steps:
  - do: [scale deployment/other/inflate to 5, delete node of pool default, { delete: nodeclaim, of: { types: [m5.large] }, count: all }]
    fault:
      - spot-interruption: { nodes: { pool: default, types: [m5.large], zones: [us-west-2a] }, count: 2, notice: 90s }
      - rebalance: { nodes: { count: all } }
      - vanish: { cause: hardware-failure }
      - health-event: { nodes: { capacity: on-demand }, event: system-reboot, notice: 3h }
      - message: foreign
      - message: { body: "{not JSON", times: 3 }
      - message: { body: { version: "0" } }
      - message: { is: duplicate-of-last }
      - throttle: { operation: CreateFleet, burst: 2, rate: 1/s, for: 1m }
      - lift: [ice, error]
    until: 16m
    expect:
      pods: { ready: 5, evicted: "<= 2", lost: 0 }
      cost: { hourly: $0.096, saved: "> $0", total: "< $1" }
      actions: [interrupt 2 m5.large because SpotInterrupted, launch t3.small or launch t3.medium]
    never: { pods: { ready: "< 4" } }
"#;

#[test]
fn every_word_of_a_storm_is_read() {
    use super::fault::{Blow, Body, Force, What};
    let scenario = parse(&folder(), STORM).unwrap_or_else(|m| panic!("{}", m.render(false)));
    assert_eq!(scenario.given.aws.queue_name().as_deref(), Some("interruptions"));
    assert_eq!((scenario.given.aws.capacity[0].count, scenario.given.aws.faults.len()), (3, 2));
    let step = &scenario.steps[0];
    assert_eq!((step.actions.len(), step.until), (13, Some(jiff::SignedDuration::from_mins(16))));
    let faults: Vec<&What> =
        step.actions.iter().filter_map(|a| if let Action::Fault(fault) = &a.value { Some(&fault.what) } else { None }).collect();
    let What::Blow { blow: Blow::SpotInterruption { notice }, nodes } = faults[0] else { panic!("{:?}", faults[0]) };
    assert_eq!((notice.as_secs(), nodes.capacity.as_slice()), (90, &["spot".to_owned()][..]));
    assert!(matches!(faults[2], What::Blow { blow: Blow::Vanish { hardware: true }, .. }));
    let What::Blow { blow: Blow::HealthEvent { event, notice }, .. } = faults[3] else { panic!("{:?}", faults[3]) };
    assert_eq!((event.code(), notice.as_hours()), ("system-reboot", 3));
    assert!(matches!(faults[6], What::Message { body: Body::Text(text), times: 1, .. } if text == r#"{"version":"0"}"#), "{:?}", faults[6]);
    assert!(matches!(faults[8], What::Force { force: Force::Throttle { burst: 2, per_second: 1, .. }, .. }), "{:?}", faults[8]);
    assert!(matches!(faults[9], What::Lift(words) if words.len() == 2));
    assert_eq!(step.actions[3].text.split(':').next(), Some("fault"));
}

#[test]
fn a_fault_names_an_account_if_it_stays_in_force() {
    let read = |text: &str| super::fault::read("the request", text, "us-west-2");
    let faults = read(r#"{ account: "210987654321", error: { operation: RunInstances, code: X }, ice: { types: [m5.large] } }"#);
    let accounts: Vec<Option<String>> = faults.expect("two faults").into_iter().map(|fault| fault.account).collect();
    assert_eq!(accounts, [Some("210987654321".to_owned()), Some("210987654321".to_owned())]);
    assert_eq!(read("ice: { types: [m5.large] }").expect("a fault")[0].account, None);
    for (text, why) in [
        (r#"{ account: "21098765432", ice: {} }"#, "account: cannot read \"21098765432\""),
        (r#"{ account: "210987654321", vanish: {} }"#, "vanish is of the first account"),
        (r#"{ account: "210987654321" }"#, "a fault without a word"),
    ] {
        let said = read(text).expect_err(text).to_string();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn several_mistakes_are_shown_at_once_with_their_lines() {
    let text = GOOD.replacen("given:", "gven:", 1).replacen("ready: 5", "redy: 5", 1);
    let parsed = parse(&folder(), &text).expect_err("two mistakes");
    let lines: Vec<String> = parsed.0.iter().map(ToString::to_string).collect();
    assert!(lines.iter().any(|l| l.contains("test.yaml:2: unknown key \"gven\"")), "{lines:?}");
    assert!(lines.iter().any(|l| l.contains("test.yaml:6: unknown key \"redy\"")), "{lines:?}");
}

#[test]
fn conditions_say_what_they_must() {
    let wanted = "conditions: { nodepool/default: { Ready: False because Unready, Other: Unknown } }";
    let scenario = parse(&folder(), &GOOD.replace("pods: { ready: 5 }", wanted)).unwrap_or_else(|m| panic!("{}", m.render(false)));
    let Expectation::Conditions { wanted, .. } = &scenario.steps[0].expect[0].value else { panic!("not conditions") };
    assert!(wanted[0].holds("False (Unready: for a reason)"));
    assert!(!wanted[0].holds("False (UnreadyYet: for another)") && !wanted[0].holds("True"));
    assert!(wanted[1].holds("Unknown (AnyReason: x)"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    /// No bytes make the reader panic: the good scenario with a random stretch replaced by random text.
    #[test]
    fn mutated_scenarios_never_panic(
        good in proptest::sample::select(vec![GOOD, STORM]),
        at in 0.0f64..1.0,
        length in 0usize..40,
        text in "(\\PC|[\\[\\]{}:,&*!|>'\"%@`#?\n\t -]){0,30}",
    ) {
        let mut bytes = good.as_bytes().to_vec();
        let at = (at * bytes.len() as f64) as usize;
        let at = at.min(bytes.len());
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, text.bytes());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Err(mistakes) = parse(&folder(), &text) {
            let _ = mistakes.render(false);
        }
    }
}

/// Rows of the table of what the cloud does: what, `given.aws`, `fault`, control.
fn three_ways() -> Vec<[String; 4]> {
    let docs = include_str!("../../../../docs/scenarios.md");
    let (_, table) = docs.split_once("### What the cloud does, in three ways").expect("the heading");
    let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with("| "));
    let cells = |row: &str| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    rows.map(|row| cells(row).try_into().unwrap_or_else(|cells| panic!("four cells: {cells:?}"))).collect()
}

/// What stands in a cell; none where it says why there is nothing.
fn words(cell: &str) -> Option<&str> {
    let words = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
    assert!(words.is_some() || cell.starts_with("none: "), "a cell holds words, or says why it does not: {cell}");
    words
}

#[test]
fn what_the_cloud_does_can_be_said_in_three_ways() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = "timestamp,instance_type,availability_zone,spot_price\n+0s,m5.large,us-west-2a,0.05\n";
    std::fs::write(folder.path().join("prices.csv"), trace).expect("a trace");
    let mut faults = Vec::new();
    let rows = three_ways();
    assert!(rows.len() > 20, "{}", rows.len());
    for [what, given, fault, control] in &rows {
        if let Some(given) = words(given) {
            let text = format!("scenario: a\ngiven:\n  aws:\n    {given}\nsteps:\n  - do: advance 1m\n");
            let read = parse(&folder.path().join("a.yaml"), &text);
            assert!(read.is_ok(), "{what}: {}", read.map(drop).expect_err("a mistake").render(false));
        }
        if let Some(fault) = words(fault) {
            let read = super::fault::read("the table", fault, "us-west-2");
            assert!(read.is_ok(), "{what}: {}", read.map(drop).expect_err("a mistake").render(false));
            faults.push(fault.split(':').next().unwrap_or_default());
        }
        if let Some(control) = words(control) {
            assert!(["POST /_dryfit/faults", "PUT /_dryfit/spot"].contains(&control), "{what}: {control}");
        }
    }
    let missing: Vec<_> = super::fault::words().into_iter().filter(|word| *word != "lift" && !faults.contains(word)).collect();
    assert!(missing.is_empty(), "faults that the table does not have: {missing:?}");
}

#[rstest]
#[case("{ spot-interruption: { nodes: { pool: default } } }", "nothing runs yet")]
#[case("{ vanish: { after: 10m, count: 2 } }", "no count can be told")]
#[case("{ vanish: { times: 2 } }", "belongs to what comes after each launch")]
#[case("{ ami-release: {} }", "nothing runs yet")]
#[case("{ ami-release: { every: 3s } }", "a minute or more")]
fn what_cannot_stand_before_the_story_is_a_mistake(#[case] fault: &str, #[case] said: &str) {
    let told = mistakes(&GOOD.replace("given:\n", &format!("given:\n  aws: {{ faults: [{fault}] }}\n")));
    assert!(told.contains(said), "{told}");
}

#[rstest]
#[case("offerings: [m5.large]", "map instance types to zones")]
#[case("offerings: { m5.larg: none }", "did you mean \"m5.large\"?")]
#[case("offerings: { m5.large: [us-west-9a] }", "us-west-9a")]
#[case("accounts: { \"123\": [] }", "twelve digits")]
#[case("accounts: { \"210987654321\": [{ with: {} }] }", "an account's calls need aws")]
#[case("accounts: { \"210987654321\": [{ aws: iam CreateRol }] }", "one of its operations")]
fn offerings_and_accounts_are_read_with_care(#[case] key: &str, #[case] said: &str) {
    let told = mistakes(&GOOD.replace("given:\n", &format!("given:\n  aws:\n    {key}\n")));
    assert!(told.contains(said), "{told}");
}
