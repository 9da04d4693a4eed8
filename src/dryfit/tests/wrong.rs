//! Bad input: the file, the line, the way out; nothing runs; the exit codes of the manual.

mod common;

use common::{changed, dryfit, lab, run_changed};
use rstest::rstest;

#[rstest]
#[case::unknown_key(&[("lab.yaml", "within: 3m", "wihtin: 3m")], &["lab.yaml", "unknown key \"wihtin\"", "did you mean \"within\"?"])]
#[case::several_at_once(&[("lab.yaml", "within: 3m", "wihtin: 3m"), ("lab.yaml", "daemonsets:", "demonsets:")], &["\"wihtin\"", "\"demonsets\""])]
#[case::missing_manifest(&[("lab.yaml", "nodepool.yaml", "nodepol.yaml")], &["nodepol.yaml cannot be read", "relative to the scenario file"])]
#[case::manifest_not_yaml(&[("nodepool.yaml", "spec:\n", "spec: [\n")], &["nodepool.yaml", "not YAML"])]
#[case::manifest_without_name(&[("nodeclass.yaml", "  name: default\n", "")], &["nodeclass.yaml", "metadata.name"])]
#[case::refused_enum(&[("nodepool.yaml", "operator: In", "operator: Inn")], &["nodepool.yaml", "spec.template.spec.requirements[0].operator", "Unsupported value: \"Inn\""])]
#[case::refused_rule(&[("nodepool.yaml", "values: [on-demand]", "values: []")], &["nodepool.yaml", "requirements with operator 'In' must have a value defined"])]
#[case::refused_deployment(&[("inflate.yaml", "        app: inflate", "        app: deflate")], &["inflate.yaml", "selector"])]
#[case::unknown_kind(&[("nodeclass.yaml", "kind: EC2NodeClass", "kind: EC2NodeClas")], &["nodeclass.yaml", "EC2NodeClas"])]
fn a_mistake_is_shown_and_nothing_runs(#[case] changes: &[(&str, &str, &str)], #[case] says: &[&str]) {
    let ran = run_changed(changes);
    ran.exits(2);
    for words in says {
        ran.says(words);
    }
    assert!(!ran.out.contains("launched"), "something ran: {}", ran.out);
}

#[test]
fn a_world_that_does_not_settle_ends_at_its_bound_with_what_kept_moving() {
    let slow = ("lab.yaml", "registered: 25s..45s", "registered: 10m..14m");
    run_changed(&[slow]).exits(1).says("did not settle").says("waits for its node");
}

#[test]
fn nothing_to_run() {
    let folder = tempfile::tempdir().expect("a folder");
    dryfit(&["test".as_ref(), folder.path().as_os_str()]).exits(4).says("no scenario found");
    dryfit(&["test".as_ref(), lab().as_os_str(), "--filter".as_ref(), "nothing-has-this-name".as_ref()]).exits(4);
    dryfit(&["test".as_ref(), folder.path().join("absent.yaml").as_os_str()]).exits(2).says("cannot be read");
}

#[test]
fn the_command_line_is_checked() {
    dryfit(&["tset"]).exits(2);
    dryfit(&["test"]).exits(2);
    let file = lab().join("lab.yaml");
    dryfit(&["test".as_ref(), file.as_os_str(), "--controller".as_ref(), "command:/bin/true".as_ref()])
        .exits(3)
        .says("ended early (exit status: 0)");
    dryfit(&["test".as_ref(), file.as_os_str(), "--cluster".as_ref(), "moon".as_ref()]).exits(2).says("known: embedded, local");
    dryfit(&["cloud", "--listen", "0.0.0.0:0"]).exits(2).says("not a loopback address");
    dryfit(&["cloud", "--listen", "127.0.0.1:0", "--region", "mars-1"]).exits(2).says("there is no region mars-1").says("us-west-2");
    dryfit(&["--help"]).exits(0).says("What will my node autoscaler do?");
    dryfit(&["test", "--help"]).exits(0).says("Exit codes: 0 all held");
}

#[test]
fn another_version_is_not_answered_by_the_local_one() {
    let folder = changed(&[("lab.yaml", "version: \"1.36\"", "version: \"1.35\"")]);
    let file = folder.path().join("lab.yaml");
    dryfit(&["test".as_ref(), file.as_os_str(), "--cluster".as_ref(), "local".as_ref()]).exits(3).says("the scenario asks for 1.35");
}

#[test]
fn a_missing_control_plane_is_the_environments_fault() {
    let folder = changed(&[]);
    let file = folder.path().join("lab.yaml");
    let ran = dryfit(&[
        "test".as_ref(),
        file.as_os_str(),
        "--cluster".as_ref(),
        "local".as_ref(),
        "--control-plane".as_ref(),
        folder.path().as_os_str(),
    ]);
    ran.exits(3).says("ci/judges/build");
}

/// Standard output is a pipe that nobody reads, or a full disk.
#[test]
fn an_answer_that_cannot_be_written_is_no_panic() {
    let lists: [&[&str]; 3] = [&["catalog", "list", "us-west-2"], &["catalog", "list", "--json"], &["crds"]];
    for words in lists {
        let run = |out: std::process::Stdio| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dryfit"));
            let mut child = command.args(words).stdout(out).stderr(std::process::Stdio::piped()).spawn().expect("the program runs");
            drop(child.stdout.take());
            let ended = child.wait_with_output().expect("the program ends");
            (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
        };
        assert_eq!(run(std::process::Stdio::piped()), (Some(0), String::new()), "{words:?}");
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a full disk");
        let (code, said) = run(full.into());
        assert!(code == Some(3) && said.starts_with("print: ") && !said.contains("panicked"), "{words:?} {code:?} {said}");
    }
}
