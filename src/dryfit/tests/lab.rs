//! The workshop's lab, as a user runs it: the same bytes every time, a trace that holds everything, a timeline that reads well.

mod common;

use common::{dryfit, lab, root};
use serde_json::Value;
use std::collections::BTreeSet;

/// Runs with a trace, twice, in two processes.
fn traced(file: &str) -> (String, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut traces = Vec::new();
    let mut told = Vec::new();
    for name in ["one", "two"] {
        let trace = folder.path().join(name);
        let ran = dryfit(&["test".as_ref(), lab().join(file).as_os_str(), "--trace".as_ref(), trace.as_os_str()]);
        ran.exits(0);
        traces.push(std::fs::read_to_string(trace).expect("a trace"));
        // The last lines tell the machine's own seconds.
        told.push(ran.out.lines().take_while(|line| !line.starts_with("held")).collect::<Vec<_>>().join("\n"));
    }
    assert_eq!(told[0], told[1], "two runs tell different stories");
    (traces.remove(0), traces.remove(0), told.remove(0))
}

#[test]
fn two_processes_give_the_same_bytes_and_the_timeline_reads_well() {
    let (one, two, told) = traced("lab.yaml");
    if let Some((line, (a, b))) = one.lines().zip(two.lines()).enumerate().find(|(_, (a, b))| a != b) {
        panic!("line {} differs:\n{a}\n{b}", line + 1);
    }
    assert_eq!(one.len(), two.len());

    let entries: Vec<Value> = one.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let kinds: BTreeSet<&str> = entries.iter().filter_map(|e| e["what"].as_str()).collect();
    for kind in ["kubernetes request", "kubernetes reply", "kubernetes event", "aws request", "aws reply", "decision"] {
        assert!(kinds.contains(kind), "no {kind} in the trace: {kinds:?}");
    }
    let fleets: Vec<&str> =
        entries.iter().filter(|e| e["of"]["operation"] == "CreateFleet").filter_map(|e| e["of"]["body"].as_str()).collect();
    assert!(fleets.iter().any(|body| body.contains("m5.large")), "{fleets:?}");
    assert!(entries.iter().any(|e| e["of"].get("planned").is_some()), "no plan in the trace");
    assert!(entries.iter().any(|e| e["of"].get("effect-begun").is_some()), "no effect in the trace");

    insta::with_settings!({ snapshot_path => root().join("snapshots"), prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("eks-workshop-lab", told);
    });
}

#[test]
fn the_readme_shows_what_is_printed() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let shown = readme.split("\n## ").find(|part| part.starts_with("What it prints")).expect("what is printed");
    let told = ["lab.yaml", "consolidation.yaml"].map(|file| dryfit(&["test".as_ref(), lab().join(file).as_os_str()]).out).concat();
    let printed: BTreeSet<&str> = told.lines().collect();
    let lines: Vec<&str> =
        shown.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| !matches!(line.trim(), "" | "…")).collect();
    assert!(lines.len() > 30, "{shown}");
    let never: Vec<&&str> = lines.iter().filter(|line| !printed.contains(**line)).collect();
    assert!(never.is_empty(), "nobody prints {never:#?}");
}

#[test]
fn another_seed_is_another_run_with_the_same_verdict() {
    let file = lab().join("lab.yaml");
    let run = |seed: &str| dryfit(&["test".as_ref(), file.as_os_str(), "--seed".as_ref(), seed.as_ref()]);
    let (one, two) = (run("1"), run("2"));
    one.exits(0);
    two.exits(0);
    let launched = |out: &str| out.lines().filter(|l| l.contains("launched")).map(str::to_owned).collect::<Vec<_>>();
    assert_ne!(launched(&one.out), launched(&two.out), "the seed draws nothing");
    assert_eq!(launched(&two.out).len(), 10);
}

#[test]
fn ten_quiet_minutes_after_the_launches() {
    dryfit(&["test".as_ref(), lab().join("quiet.yaml").as_os_str()]).exits(0);
}

#[test]
fn reports_for_machines() {
    let file = lab().join("lab.yaml");
    let json = dryfit(&["test".as_ref(), file.as_os_str(), "--format".as_ref(), "json".as_ref()]);
    json.exits(0);
    let reports: Value = serde_json::from_str(&json.out).expect("JSON");
    let nodes = reports[0]["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 10);
    // Karpenter's own estimate of an m5.large: 1930m, 6903Mi, 29 pods.
    assert_eq!(nodes[0]["claim_allocatable"]["memory"], "6903Mi");
    assert_eq!(nodes[0]["claim_allocatable"]["cpu"], "1930m");
    assert_eq!(nodes[0]["claim_allocatable"]["pods"], "29");
    let junit = dryfit(&["test".as_ref(), file.as_os_str(), "--format".as_ref(), "junit".as_ref()]);
    junit.exits(0).says("<testsuite name=\"eks-workshop-lab\"").says("failures=\"0\"");
}

#[test]
fn many_scenarios_run_side_by_side_and_are_told_as_one() {
    let ran = dryfit(&["test".as_ref(), root().join("scenarios").as_os_str()]);
    ran.exits(0).says("held  eks-workshop-lab").says("held  eks-workshop-quiet").says("0 did not");
    let listed = dryfit(&["test".as_ref(), root().join("scenarios").as_os_str(), "--list".as_ref(), "--filter".as_ref(), "quiet".as_ref()]);
    listed.exits(0).says("eks-workshop-quiet");
    assert!(!listed.out.contains("eks-workshop-lab "), "{}", listed.out);
}
