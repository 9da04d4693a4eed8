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
#[case("given:\n", "given: [\n", "not YAML")]
#[case("pods: { ready: 5 }", "latency: { pod-ready: p95 60s }", "p95 < 60s")]
fn a_mistake_names_the_way_out(#[case] from: &str, #[case] to: &str, #[case] says: &str) {
    assert!(GOOD.contains(from), "{from:?} is not in the good scenario");
    let shown = mistakes(&GOOD.replacen(from, to, 1));
    assert!(shown.contains(says), "{says:?} is missing in:\n{shown}");
    assert!(shown.contains("test.yaml"), "the file is missing in:\n{shown}");
}

#[test]
fn several_mistakes_are_shown_at_once_with_their_lines() {
    let text = GOOD.replacen("given:", "gven:", 1).replacen("ready: 5", "redy: 5", 1);
    let parsed = parse(&folder(), &text).expect_err("two mistakes");
    let lines: Vec<String> = parsed.0.iter().map(ToString::to_string).collect();
    assert!(lines.iter().any(|l| l.contains("test.yaml:2: unknown key \"gven\"")), "{lines:?}");
    assert!(lines.iter().any(|l| l.contains("test.yaml:6: unknown key \"redy\"")), "{lines:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    /// No bytes make the reader panic: the good scenario with a random stretch replaced by random text.
    #[test]
    fn mutated_scenarios_never_panic(at in 0usize..160, length in 0usize..40, text in "(\\PC|[\\[\\]{}:,&*!|>'\"%@`#?\n\t -]){0,30}") {
        let mut bytes = GOOD.as_bytes().to_vec();
        let at = at.min(bytes.len());
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, text.bytes());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Err(mistakes) = parse(&folder(), &text) {
            let _ = mistakes.render(false);
        }
    }
}
