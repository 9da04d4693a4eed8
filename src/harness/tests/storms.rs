//! Faults, selectors, steps that end at a time, and what must never be: scenarios in the embedded world with the built-in controller.

use harness::report::{Outcome, Report};
use harness::run::{self, Options};
use harness::scenario;
use rstest::rstest;
use std::path::Path;

/// Runs the steps in the workshop's world; `given` are further lines of `given.aws`.
fn run(given: &str, steps: &str) -> Report {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/workshops/eks-workshop/storm.yaml");
    let text = format!(
        "scenario: storm\ngiven:\n  aws:\n    cluster: eks-workshop\n    role: KarpenterNodeRole-eks-workshop\n{given}  apply: [nodepool.yaml, nodeclass.yaml, inflate.yaml]\nsteps:\n{steps}"
    );
    let scenario = scenario::parse(&path, &text).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)));
    run::one(&scenario, &Options::default())
}

fn held(report: &Report) {
    assert_eq!(report.outcome, Outcome::Held, "{}", harness::report::text(report, false));
}

fn mistaken(report: &Report, says: &[&str]) {
    let Outcome::Mistaken { message } = &report.outcome else { panic!("{}", harness::report::text(report, false)) };
    assert_eq!(report.outcome.code(), 2);
    for words in says {
        assert!(message.contains(words), "{words:?} is missing in:\n{message}");
    }
}

const FIVE: &str =
    "  - do: scale deployment/other/inflate to 5\n    expect: { pods: { ready: 5 }, nodes: { pool: default, types: { m5.large: 1 } } }\n";

/// Upstream's offerings without capacity are out for three minutes; the retry runs on what is left, which is cheaper.
#[rstest]
#[case::by_fault("", "  - fault: { ice: { types: [m5.large] } }\n")]
#[case::from_the_start("    faults: [{ ice: { types: m5.large, capacity: on-demand, for: 30m } }]\n", "")]
#[case::by_capacity("    capacity: [{ types: m5.large, count: 0 }]\n", "")]
fn a_type_that_is_not_to_be_had(#[case] given: &str, #[case] before: &str) {
    let steps = "  - do: scale deployment/other/inflate to 5
    expect:
      pods: { ready: 5 }
      nodes: { pool: default, types: { t3.medium: 2 } }
      cost: { pool: default, hourly: $0.0832, saved: \"< $0\" }
      actions: [launch 2 t3.medium]
";
    held(&run(given, &format!("{before}{steps}")));
}

#[test]
fn a_fault_of_a_while_is_over_afterwards_and_one_that_is_lifted_at_once() {
    let steps = "  - fault: { ice: { types: [m5.large], for: 1m } }
    do: scale deployment/other/inflate to 5
    expect: { nodes: { pool: default, types: { t3.medium: 2 } } }
  - do: advance 10m
    fault: { ice: { types: [m5.large] } }
  - fault: { lift: ice }
    do: scale deployment/other/inflate to 20
    expect: { pods: { ready: 20 } }
";
    let report = run("", steps);
    mistaken(&report, &["this fault has met nothing", "no launch asked for such a machine", "storm.yaml:12"]);
}

#[rstest]
#[case("  - fault: { ice: { types: [c5.large] } }\n    do: scale deployment/other/inflate to 1\n", &["this fault has met nothing", "storm.yaml:8"])]
#[case("  - fault: { error: { operation: TerminateInstances, code: InternalError } }\n", &["no such call was made", "storm.yaml:8"])]
#[case("  - fault: { vanish: { nodes: { pool: default } } }\n", &["no node is meant by this", "storm.yaml:8"])]
#[case("  - fault: { spot-interruption: {} }\n", &["no node is meant by this"])]
#[case("  - fault: { vanish: { count: 3 } }\n", &["3 nodes are asked for, and 1 are meant"])]
#[case("  - fault: { lift: throttle }\n", &["no throttle is in force"])]
#[case("  - fault: { message: { is: foreign, queue: absent } }\n", &["there is no queue absent"])]
#[case("  - do: delete node of pool other\n", &["no node is meant by this", "storm.yaml:8"])]
fn what_matches_nothing_is_a_mistake(#[case] steps: &str, #[case] says: &[&str]) {
    mistaken(&run("", &format!("{steps}    until: 1m\n")), says);
}

#[test]
fn a_queue_that_is_not_there_takes_no_message() {
    mistaken(&run("    queue: false\n", "  - fault: { message: foreign }\n"), &["no interruption queue", "given.aws.queue: true"]);
}

#[test]
fn a_call_that_fails_is_made_again() {
    let steps = "  - fault: { error: { operation: CreateFleet, code: InternalError, times: 2 } }
    do: scale deployment/other/inflate to 5
    expect: { pods: { ready: 5 }, aws: { calls: { CreateFleet: \">= 3\" } } }
";
    held(&run("", steps));
}

#[test]
fn calls_that_are_throttled_are_made_again() {
    let steps = "  - fault: { throttle: { operation: CreateFleet, burst: 1, rate: 0/s, for: 20s } }
    do: scale deployment/other/inflate to 5
    expect: { pods: { ready: 5 } }
  - fault: { throttle: { operation: CreateFleet, burst: 1, rate: 0/s, for: 20s } }
    do: scale deployment/other/inflate to 30
    expect: { pods: { ready: 30 } }
";
    held(&run("", steps));
}

#[test]
fn a_machine_that_vanishes_takes_its_pods_with_it() {
    let steps = format!(
        "{FIVE}  - fault: {{ vanish: {{ nodes: {{ pool: default }}, cause: hardware-failure }} }}
    until: 30s
    expect: {{ pods: {{ lost: 5 }} }}
  - until: 30s
    expect: {{ pods: {{ lost: 0 }} }}
"
    );
    let report = run("", &steps);
    held(&report);
    assert!(report.steps[1].seconds >= 30.0 && report.steps[1].seconds < 31.0, "{}", report.steps[1].seconds);
    let told = harness::report::text(&report, false);
    assert!(told.contains("5 pods of other/inflate lost with ip-"), "{told}");
}

#[test]
fn a_node_that_is_deleted_by_hand_is_drained_and_replaced() {
    let steps = format!(
        "{FIVE}  - do: delete node of pool default
    expect:
      pods: {{ ready: 5, evicted: 5, lost: 0 }}
      nodes: {{ pool: default, types: {{ m5.large: 1 }} }}
      actions: [remove m5.large, launch m5.large]
"
    );
    let report = run("", &steps);
    held(&report);
    let told = harness::report::text(&report, false);
    assert!(told.contains("actions: remove 1 m5.large, launch 1 m5.large"), "{told}");
    assert!(told.contains("tainted karpenter.sh/disrupted: remove 1 m5.large"), "{told}");
}

#[test]
fn what_must_never_be_is_watched_all_the_way() {
    let steps = |least: &str| {
        format!(
            "{FIVE}  - do: delete node of pool default
    expect: {{ pods: {{ ready: 5 }} }}
    never: {{ pods: {{ ready: \"< {least}\" }} }}
"
        )
    };
    held(&run("", &steps("0")));
    let report = run("", &steps("5"));
    assert_eq!(report.outcome, Outcome::Failed);
    let verdict = report.steps[1].verdicts.iter().find(|verdict| !verdict.held).expect("one is broken");
    assert_eq!(verdict.expected, "never pods: { ready: \"< 5\" }");
    assert!(verdict.seen.starts_with("4 ready, 0 pending, at "), "the first change that broke it: {}", verdict.seen);
}

#[test]
fn an_emptied_node_is_told_as_a_command_with_its_reason() {
    let steps = format!(
        "{FIVE}  - do: scale deployment/other/inflate to 0
    expect:
      nodes: {{ pool: default, count: 0 }}
      actions: [delete 1 m5.large because Empty]
      cost: {{ pool: default, hourly: $0, saved: $0.096, }}
      launches: 0
"
    );
    let report = run("", &steps);
    held(&report);
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!((&json["steps"][1]["acts"][0]["done"], &json["steps"][1]["acts"][0]["reason"]), (&"delete".into(), &"Empty".into()));
    let junit = harness::report::junit(std::slice::from_ref(&report)).expect("XML");
    assert!(junit.contains("delete 1 m5.large because Empty"), "{junit}");
}

#[test]
fn a_step_ends_at_its_time_settled_or_not() {
    let report = run("", "  - do: scale deployment/other/inflate to 5\n    until: 10s\n    expect: { pods: { pending: 5 } }\n");
    held(&report);
    assert!((report.steps[0].seconds - 10.0).abs() < 0.01, "{}", report.steps[0].seconds);
}

/// A pool of Spot machines alone, five pods on one of them.
const FIVE_ON_SPOT: &str = "  - do:
      - patch: nodepool/default
        with:
          spec:
            template:
              spec:
                requirements:
                  - { key: karpenter.sh/capacity-type, operator: In, values: [spot] }
                  - { key: node.kubernetes.io/instance-type, operator: In, values: [m5.large] }
      - scale deployment/other/inflate to 5
    expect: { pods: { ready: 5 }, nodes: { pool: default, count: 1, capacity: [spot] } }
";

/// Without a notice nobody has the time to move the pods, however good the controller is.
#[test]
fn a_spot_machine_that_is_taken_back_at_once_takes_its_pods_with_it() {
    let steps = format!(
        "{FIVE_ON_SPOT}  - fault: {{ spot-interruption: {{ nodes: {{ pool: default, types: [m5.large] }}, notice: 0s }} }}
    until: 5s
    expect: {{ pods: {{ lost: 5 }} }}
  - fault: {{ message: {{ is: duplicate-of-last }} }}
    until: 5s
"
    );
    held(&run("", &steps));
}

#[test]
fn a_machine_is_warned_once() {
    let steps = format!(
        "{FIVE_ON_SPOT}  - fault: [{{ spot-interruption: {{}} }}, {{ rebalance: {{}} }}, {{ health-event: {{}} }}, {{ spot-interruption: {{}} }}]
    until: 5s
"
    );
    mistaken(&run("", &steps), &["has its interruption warning already"]);
}
