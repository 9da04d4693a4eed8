//! Whatever ends us ends the components: the test starts itself as another process, with a control plane in it, and ends that.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rstest::rstest;

use crate::local::process::{Leashed, Program};
use crate::local::{Binary, ControlPlane, Options, find_binaries};

const WORKDIR: &str = "DRYFIT_TEST_WORKDIR";

/// The judges' binaries, or a failure that says how to make them.
pub(super) fn binaries() -> PathBuf {
    find_binaries(None, |name| std::env::var(name).ok(), &Binary::CONTROL_PLANE).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether a process with this id runs (a zombie does not).
pub(super) fn alive(id: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &id.to_string()]).output().expect("ps runs");
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

/// The members of a process group that run.
fn members(group: u32) -> Vec<String> {
    let output = Command::new("ps").args(["-eo", "pgid=,stat=,pid=,args="]).output().expect("ps runs");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let in_group = |line: &&str| {
        let mut fields = line.split_whitespace();
        fields.next() == Some(&group.to_string()) && !fields.next().unwrap_or("Z").starts_with('Z')
    };
    lines.lines().filter(in_group).map(str::to_owned).collect()
}

fn gone(group: u32) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        members(group).is_empty()
    })
}

/// Not a test of its own: what the tests below end. Prints its components' process ids and waits.
#[tokio::test]
#[ignore = "started by the tests of this file"]
async fn owner() {
    let Ok(workdir) = std::env::var(WORKDIR) else { return };
    let plane = ControlPlane::start(Options { binaries: binaries(), workdir: workdir.into(), crds: Vec::new() }).await;
    for (name, id) in plane.as_ref().expect("a control plane").processes() {
        println!("component {name} {id}");
    }
    println!("components end");
    if Path::new(&std::env::var(WORKDIR).expect("it was there")).join("panic").exists() {
        panic!("as asked");
    }
    std::future::pending::<()>().await;
}

fn start_owner(workdir: &Path) -> (Child, Vec<u32>) {
    let module = module_path!().split_once("::").expect("a path below the crate").1;
    let mut child = Command::new(std::env::current_exe().expect("our own path"))
        .args(["--exact", &format!("{module}::owner"), "--ignored", "--nocapture"])
        .env(WORKDIR, workdir)
        .stdout(Stdio::piped())
        // A panic that was asked for must not look like one that was not.
        .stderr(Stdio::null())
        .spawn()
        .expect("the test binary starts again");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let ids = lines
        .take_while(|line| !line.contains("components end"))
        .filter_map(|line| line.split_once("component ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok()))
        .collect();
    (child, ids)
}

#[rstest]
#[case::killed(Some("KILL"))]
#[case::interrupted(Some("INT"))]
#[case::terminated(Some("TERM"))]
#[case::panicked(None)]
#[ignore = "needs the judges' binaries"]
fn nothing_outlives_an_owner_that_is(#[case] signal: Option<&str>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if signal.is_none() {
        std::fs::write(folder.path().join("panic"), "").expect("a file");
    }
    let (mut owner, groups) = start_owner(folder.path());
    assert_eq!(groups.len(), 4, "the owner says its components");
    if let Some(signal) = signal {
        assert!(groups.iter().all(|group| members(*group).len() >= 2), "each component runs, with its watcher");
        let sent = Command::new("kill").args(["-s", signal, &owner.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }
    assert!(!owner.wait().expect("it ends").success());
    for group in groups {
        assert!(gone(group), "left behind: {:?}", members(group));
    }
}

#[test]
fn a_child_that_starts_others_takes_them_along() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let leashed = Leashed::start(Program {
        name: "sleepers",
        binary: "/bin/sh".into(),
        arguments: ["-c", "sleep 300 & sleep 300; echo never"].map(str::to_owned).into(),
        environment: Default::default(),
        hostname: "",
        log: folder.path().join("log"),
        goes_on: false,
        remedy: "none",
    })
    .expect("sh starts");
    let group = leashed.id();
    assert!((0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        members(group).len() >= 4
    }));
    drop(leashed);
    assert!(gone(group), "left behind: {:?}", members(group));
}

#[test]
fn nothing_is_inherited_from_the_environment_but_the_path() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log");
    let leashed = Leashed::start(Program {
        name: "env",
        binary: "/usr/bin/env".into(),
        arguments: Vec::new(),
        environment: [("AWS_REGION".to_owned(), "us-west-2".to_owned())].into(),
        hostname: "",
        log: log.clone(),
        goes_on: false,
        remedy: "none",
    })
    .expect("env starts");
    let ended = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        leashed.check().is_err()
    });
    assert!(ended);
    let printed = std::fs::read_to_string(log).expect("a log");
    let mut names: Vec<&str> = printed.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| !["PWD", "_", "SHLVL", "OLDPWD"].contains(name)); // A shell's own.
    names.sort_unstable();
    assert_eq!(names, ["AWS_REGION", "PATH"]);
}

#[test]
fn who_is_asked_to_end_may_say_farewell_and_its_log_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log");
    let start = || {
        let script = "trap 'echo farewell; exit 3' TERM; echo named $(hostname); while :; do sleep 0.02; done";
        Leashed::start(Program {
            name: "polite",
            binary: "/bin/sh".into(),
            arguments: ["-c", script].map(str::to_owned).into(),
            environment: Default::default(),
            hostname: "pod-1",
            log: log.clone(),
            goes_on: true,
            remedy: "none",
        })
        .expect("sh starts")
    };
    // The shell may say that its `sleep` was ended, too.
    let said = |word: &str| std::fs::read_to_string(&log).unwrap_or_default().lines().filter(|line| line.contains(word)).count();
    let may =
        std::process::Command::new("unshare").args(["--map-root-user", "--uts", "true"]).status().is_ok_and(|status| status.success());
    for run in 1..=2 {
        let leashed = start();
        let soon = |what: &dyn Fn() -> bool| {
            (0..200).any(|_| {
                std::thread::sleep(Duration::from_millis(20));
                what()
            })
        };
        assert!(soon(&|| said("named ") == run), "it runs");
        assert_eq!(said("named pod-1"), if may { run } else { 0 });
        assert!(leashed.ended().expect("it is ours").is_none());
        leashed.terminate();
        assert!(soon(&|| leashed.ended().is_ok_and(|status| status.is_some_and(|status| status.code() == Some(3)))), "it ends");
        assert_eq!(said("farewell"), run);
    }
}
