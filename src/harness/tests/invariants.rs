//! What always holds: each rule catches a controller that is sabotaged to break it, by its name, and the untampered one breaks none.

use controller::Tamper;
use controller::effect::{Effect, Target};
use controller::work::Work;
use harness::report::{Outcome, Report, junit, text};
use harness::run::{self, Options};
use harness::scenario::{self, Scenario};
use planner::disruption::{Command, Method, Removed};
use planner::input::Budget;
use planner::output::{ClaimRequirement, NodeClaimPlan};
use rstest::rstest;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use vocabulary::{Requirement, Resources, UsdPerHour, labels};

/// The workshop's world in two zones; `more` are further lines of the file.
fn parse(more: &str, steps: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/workshops/eks-workshop/sabotage.yaml");
    let text = format!(
        "scenario: sabotage\n{more}given:\n  aws:\n    cluster: eks-workshop\n    zones: [us-west-2a, us-west-2b]\n    role: KarpenterNodeRole-eks-workshop\n  apply: [nodepool.yaml, nodeclass.yaml, inflate.yaml]\nsteps:\n{steps}"
    );
    scenario::parse(&path, &text).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)))
}

fn run(tamper: Option<Tamper>, steps: &str) -> Report {
    told(&parse("", steps), tamper)
}

fn told(scenario: &Scenario, tamper: Option<Tamper>) -> Report {
    let mut options = Options::default();
    options.world.tamper = tamper;
    run::one(scenario, &options)
}

/// Caught by the rule, with these words, wherever the run is told; and by no rule besides those named.
fn caught(report: &Report, rule: &str, words: &str, also: &[&str]) {
    let whole = text(report, false);
    assert_eq!((&report.outcome, report.outcome.code()), (&Outcome::Failed, 1), "{whole}");
    let named = |name: &str| format!("invariant: {name}: ");
    let broken = report.invariants.iter().find(|v| v.expected.starts_with(&named(rule))).expect("a verdict of each rule");
    assert!(!broken.held && broken.seen.contains(words), "{rule}: {}\n{whole}", broken.seen);
    for other in report.invariants.iter().filter(|v| !v.held && *v != broken) {
        assert!(also.iter().any(|name| other.expected.starts_with(&named(name))), "{}: {}\n{whole}", other.expected, other.seen);
    }
    assert!(whole.contains(&format!("✗ {}", named(rule))), "{whole}");
    let xml = junit(std::slice::from_ref(report)).expect("XML");
    let case = xml.split("<testcase ").find(|case| case.contains(&named(rule))).expect("a case of the rule");
    assert!(case.contains("<failure "), "{case}");
    let json = serde_json::to_value(report).expect("JSON");
    let told = json["invariants"].as_array().expect("a list").iter().any(|v| v["held"] == false && v["seen"] == *broken.seen);
    assert!(told, "{json}");
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const UP: &str = "  - do: scale deployment/other/inflate to 5\n    expect: { pods: { ready: 5 } }\n";
const DOWN: &str = "  - do: scale deployment/other/inflate to 1\n    until: 5m\n";

/// Every launch of every plan, remembered, and changed by `change` before it is carried out.
fn remembering(
    change: impl Fn(&mut planner::Plan, &mut Option<NodeClaimPlan>) + Send + Sync + 'static,
) -> (Tamper, Arc<Mutex<Option<NodeClaimPlan>>>) {
    let kept: Arc<Mutex<Option<NodeClaimPlan>>> = Arc::default();
    let shared = kept.clone();
    let plan = move |plan: &mut planner::Plan| {
        let mut kept = locked(&shared);
        if let Some(first) = plan.launches.first() {
            *kept = Some(first.clone());
        }
        change(plan, &mut kept);
    };
    (Tamper { plan: Some(Arc::new(plan)), ..Tamper::default() }, kept)
}

/// Commands that replace launch this type instead.
fn replacing_with(instance_type: &'static str) -> Tamper {
    let change = move |command: &mut Command| {
        for replacement in &mut command.replacements {
            replacement.requirements.retain(|r| &*r.requirement.key != labels::INSTANCE_TYPE);
            let requirement = Requirement::is_in(labels::INSTANCE_TYPE, instance_type);
            replacement.requirements.push(ClaimRequirement { requirement, ordered_values: vec![instance_type.into()] });
        }
    };
    Tamper { command: Some(Arc::new(change)), ..Tamper::default() }
}

#[test]
fn launches_that_are_doubled() {
    let (tamper, _) = remembering(|plan, _| plan.launches.extend(plan.launches.clone()));
    let report = run(Some(tamper), "  - do: scale deployment/other/inflate to 5\n    until: 30s\n");
    // The Event that says for which NodeClaim a pod is meant is written once in two minutes: the record knows more.
    caught(&report, "replan", "is planned for 5 pods (other/inflate-", &[]);
}

#[test]
fn a_planner_that_always_wants_one_more() {
    let (tamper, _) = remembering(|plan, first| {
        if plan.is_empty() {
            plan.launches.extend(first.clone());
        }
    });
    caught(&run(Some(tamper), UP), "replan", "another plan of it wants 1 launches for 5 pods", &[]);
}

#[test]
fn a_replacement_that_is_dearer() {
    let report = run(Some(replacing_with("m5.xlarge")), &format!("{UP}{DOWN}"));
    caught(
        &report,
        "consolidation",
        "on-demand m5.large in us-west-2b at $0.0960/h is replaced by on-demand m5.xlarge in us-west-2b at $0.1920/h",
        // The pool does not even allow the type, so that what came drifts at once.
        &["launch-loop"],
    );
}

#[test]
fn a_replacement_by_its_own_kind() {
    let report = run(Some(replacing_with("m5.large")), &format!("{UP}{DOWN}"));
    caught(&report, "consolidation", "on-demand m5.large in us-west-2b is replaced by its own kind", &[]);
}

#[test]
fn two_nodes_at_once_against_a_budget_of_one() {
    let blind = |snapshot: &mut planner::Snapshot| {
        for pool in &mut snapshot.pools {
            let all = Budget { nodes: "100%".into(), reasons: None, schedule: None, duration: None };
            Arc::make_mut(pool).disruption.budgets = vec![all];
        }
    };
    let tamper = Tamper { picture: Some(Arc::new(blind)), ..Tamper::default() };
    let steps = "  - do: scale deployment/other/inflate to 12\n    expect: { nodes: { pool: default, count: 2 } }\n  - do: scale deployment/other/inflate to 0\n    expect: { nodes: { pool: default, count: 0 } }\n";
    let report = run(Some(tamper), steps);
    caught(&report, "budgets", "2 of 2 nodes of pool default are being disrupted with one more for Empty, its budgets allow 1", &[]);
}

#[test]
fn a_launch_beyond_the_limits() {
    let blind = |snapshot: &mut planner::Snapshot| {
        for pool in &mut snapshot.pools {
            Arc::make_mut(pool).limits = Resources::new();
        }
    };
    let tamper = Tamper { picture: Some(Arc::new(blind)), ..Tamper::default() };
    let steps = "  - do: { patch: nodepool/default, with: { spec: { limits: { cpu: \"2\" } } } }\n    until: 5s\n  - do: scale deployment/other/inflate to 12\n    until: 1m\n";
    caught(&run(Some(tamper), steps), "limits", "brings pool default to cpu 4 of a limit of 2: 2 beside it and its own 2", &[]);
}

#[test]
fn pods_that_are_deleted_past_their_budget() {
    let deletes = |_: &Work, step: &mut controller::step::Step| {
        for act in &mut step.acts {
            if let Effect::Evict { pod, uid } = &act.effect {
                let target = Target { kind: cluster::Kind::Pod, key: pod.clone() };
                act.effect = Effect::Delete { target, uid: Some(uid.clone()), grace_seconds: None };
            }
        }
    };
    let tamper = Tamper { step: Some(Arc::new(deletes)), ..Tamper::default() };
    let steps = format!(
        "  - do: apply budget.yaml\n{UP}  - do: {{ patch: nodepool/default, with: {{ spec: {{ template: {{ metadata: {{ annotations: {{ changed: \"yes\" }} }} }} }} }} }}\n    until: 5m\n"
    );
    caught(
        &run(Some(tamper), &steps),
        "evictions",
        "is deleted and leaves 3 healthy pods, PodDisruptionBudget other/inflate demands 4",
        &[],
    );
}

#[test]
fn a_machine_that_nobody_owns() {
    let once = AtomicBool::new(false);
    let twice = move |work: &Work, step: &mut controller::step::Step| {
        let launch = step.acts.iter().find(|act| matches!(act.effect, Effect::Launch(_))).map(|act| act.effect.clone());
        if let Some(launch) = launch.filter(|_| !once.swap(true, Ordering::Relaxed)) {
            step.acts.push(launch.into());
        }
        if *work == Work::InstanceGc {
            step.acts.clear();
        }
    };
    let tamper = Tamper { step: Some(Arc::new(twice)), ..Tamper::default() };
    caught(&run(Some(tamper), UP), "orphan-instance", "runs without a NodeClaim for 165s, garbage collection takes 165s at most", &[]);
}

#[test]
fn a_node_that_is_written_for_ever() {
    let node: Arc<Mutex<Option<Arc<str>>>> = Arc::default();
    let seen = node.clone();
    let look = move |snapshot: &mut planner::Snapshot| {
        *locked(&seen) = snapshot.nodes.iter().find(|n| n.has_node).map(|n| n.name.clone());
    };
    let writes = move |work: &Work, step: &mut controller::step::Step| {
        let listing = step.acts.iter().any(|act| matches!(act.effect, Effect::ListInstances));
        if let Some(name) = locked(&node).as_ref().filter(|_| *work == Work::InstanceGc && listing) {
            let body = serde_json::json!({"metadata": {"annotations": {"example.com/touched": "again"}}});
            let patch = Effect::Patch { target: Target::cluster(cluster::Kind::Node, name), status: false, body };
            step.acts.push(controller::step::Act::from(patch).tolerant());
        }
    };
    let tamper = Tamper { picture: Some(Arc::new(look)), step: Some(Arc::new(writes)), ..Tamper::default() };
    caught(&run(Some(tamper), UP), "quiet", "nothing is to be done, and the controller writes: PATCH nodes/ip-", &[]);
}

/// As on a cloud that drops the security groups of what it launches: every node is drifted, and so is what comes in its place.
#[test]
fn nodes_that_are_replaced_for_ever() {
    let (mut tamper, kept) = remembering(|_, _| {});
    tamper.proposal = Some(Arc::new(move |method, snapshot: &planner::Snapshot, proposal| {
        let ours = || snapshot.nodes.iter().filter(|n| n.pool.is_some());
        let (Method::Drift, Some(replacement), false) = (method, locked(&kept).clone(), ours().any(|n| n.deleting || !n.initialized))
        else {
            return;
        };
        let removed = ours().next().map(|node| Removed {
            node: node.name.clone(),
            node_claim: node.node_claim.clone().expect("a node of a pool has a NodeClaim"),
            provider_id: node.provider_id.clone().expect("an initialized node has a machine"),
            pool: node.pool.clone().expect("filtered"),
            instance_type: "m5.large".into(),
            capacity_type: "on-demand".into(),
            pods: node.pods.len(),
            price: UsdPerHour::ZERO,
        });
        proposal.command = removed.map(|removed| Command {
            method,
            nodes: vec![removed],
            replacements: vec![replacement],
            nominations: Vec::new(),
            savings: 0.0,
        });
    }));
    let report = run(Some(tamper), "  - do: scale deployment/other/inflate to 5\n    until: 6m\n");
    caught(&report, "launch-loop", "replaced a drifted node", &[]);
}

/// Launches, an empty node, a replacement, drift under a budget, a launch up to the limits: and every rule was judged.
#[rstest]
#[case::up_and_down(&format!("{UP}  - do: scale deployment/other/inflate to 12\n    expect: {{ pods: {{ ready: 12 }} }}\n  - do: scale deployment/other/inflate to 0\n    expect: {{ nodes: {{ pool: default, count: 0 }} }}\n"))]
#[case::a_cheaper_node(&format!("{UP}  - do: scale deployment/other/inflate to 1\n    expect: {{ nodes: {{ pool: default, types: {{ t3.small: 1 }} }} }}\n"))]
#[case::drift_under_a_budget(&format!("  - do: apply budget.yaml\n{UP}  - do: {{ patch: nodepool/default, with: {{ spec: {{ template: {{ metadata: {{ annotations: {{ changed: \"yes\" }} }} }} }} }} }}\n    expect: {{ pods: {{ ready: 5 }}, disruptions: 1 }}\n"))]
#[case::up_to_the_limits(
    "  - do: [{ patch: nodepool/default, with: { spec: { limits: { cpu: \"4\" } } } }, scale deployment/other/inflate to 30]\n    expect: { nodes: { pool: default, count: 2 }, pods: { pending: \">= 10\" } }\n"
)]
#[case::a_node_that_is_deleted(&format!("{UP}  - do: delete node of pool default\n    expect: {{ pods: {{ ready: 5 }} }}\n"))]
fn the_controller_as_it_is_breaks_none(#[case] steps: &str) {
    let report = run(None, steps);
    assert_eq!(report.outcome, Outcome::Held, "{}", text(&report, false));
    assert_eq!(report.invariants.len(), 8);
    let other: Vec<_> = report.invariants.iter().filter(|v| v.seen != "held").collect();
    assert!(other.is_empty(), "{other:?}");
    assert!(text(&report, false).contains("✓ what always holds  — 8 rules held"));
}

#[test]
fn a_rule_is_switched_off_by_name_and_with_a_reason() {
    let (tamper, _) = remembering(|plan, _| plan.launches.extend(plan.launches.clone()));
    let more = "without: { replan: a planner in two minds }\n";
    let report = told(&parse(more, "  - do: scale deployment/other/inflate to 5\n    until: 30s\n"), Some(tamper));
    let whole = text(&report, false);
    assert_eq!(report.outcome, Outcome::Held, "{whole}");
    assert!(whole.contains("- invariant: replan: ") && whole.contains("switched off: a planner in two minds; broken 1 times"), "{whole}");
}

#[rstest]
#[case("{ launch-lop: why }", &["unknown key \"launch-lop\" in without", "did you mean \"launch-loop\"?"])]
#[case("{ quiet: }", &["without.quiet needs a reason"])]
#[case("{ quiet: \"  \" }", &["without.quiet needs a reason"])]
#[case("quiet", &["without must be a mapping"])]
fn what_is_switched_off_wrongly(#[case] without: &str, #[case] says: &[&str]) {
    let text = format!("scenario: a\nwithout: {without}\nsteps:\n  - until: 1s\n");
    let mistakes = scenario::parse(Path::new("a.yaml"), &text).expect_err("it is wrong").render(false);
    for words in says {
        assert!(mistakes.contains(words), "{words:?} is missing in:\n{mistakes}");
    }
}
