//! For CI servers: one suite a scenario, one case an expectation.

use super::{Outcome, Report};
use crate::check::Verdict;
use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// The reports as JUnit XML.
pub fn junit(reports: &[Report]) -> Result<String, quick_junit::SerializeError> {
    let mut all = Junit::new("dryfit");
    for report in reports {
        let mut suite = TestSuite::new(&report.scenario);
        suite.set_time(Duration::from_secs_f64(report.wall_seconds.max(0.0)));
        for (index, step) in report.steps.iter().enumerate() {
            for verdict in &step.verdicts {
                suite.add_test_case(case(&report.path, &format!("step {}", index + 1), verdict));
            }
            if !step.moving.is_empty() {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(format!("did not settle: {}", step.moving.join("; ")));
                suite.add_test_case(TestCase::new(format!("step {}: settles", index + 1), status));
            }
        }
        for verdict in &report.always {
            suite.add_test_case(case(&report.path, "always", verdict));
        }
        for verdict in &report.invariants {
            suite.add_test_case(case(&report.path, "what always holds", verdict));
        }
        let acts = report.steps.iter().enumerate().flat_map(|(index, step)| step.acts.iter().map(move |act| (index + 1, act)));
        let told: Vec<String> = acts.map(|(step, act)| format!("step {step}, {:.1}s: {act}", act.at)).collect();
        if !told.is_empty() {
            suite.set_system_out(told.join("\n"));
        }
        if let Outcome::Mistaken { message } | Outcome::Broken { message } = &report.outcome {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(message);
            suite.add_test_case(TestCase::new("runs", status));
        }
        all.add_test_suite(suite);
    }
    all.to_string()
}

fn case(path: &str, place: &str, verdict: &Verdict) -> TestCase {
    let status = if verdict.held {
        TestCaseStatus::success()
    } else {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(format!("expected {}; saw {} ({path}:{})", verdict.expected, verdict.seen, verdict.line));
        status
    };
    let mut case = TestCase::new(format!("{place}: {}", verdict.expected), status);
    case.set_classname(path);
    case
}
