//! Which room may know which: a dependency that a room's row forbids fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Room, folder, the rooms it may know, and whether it may reach for IO (clients, runtimes, sockets).
const ROOMS: [(&str, &str, &[&str], Reach); 15] = [
    ("vocabulary", "src/vocabulary", &[], Reach::Pure),
    ("api", "src/api", &["vocabulary"], Reach::Schemas),
    ("ambient", "src/ambient", &[], Reach::Clock),
    ("planner", "src/planner", &["vocabulary"], Reach::Pure),
    ("cluster", "src/cluster", &["vocabulary", "api", "planner"], Reach::Schemas),
    ("cloud", "src/cloud", &["vocabulary", "api", "ambient", "planner"], Reach::Aws),
    ("controller", "src/controller", &["vocabulary", "api", "ambient", "planner", "cluster", "cloud"], Reach::Kube),
    ("operator", "src/operator", &["api", "ambient", "planner", "cloud", "controller"], Reach::Everything),
    ("scheduler", "src/scheduler", &["vocabulary"], Reach::Schemas),
    ("fake-kube", "src/fake-kube", &["scheduler"], Reach::Schemas),
    ("kubelets", "src/kubelets", &["ambient", "scheduler"], Reach::Kube),
    ("fake-ec2", "fake-ec2", &[], Reach::Pure),
    (
        "harness",
        "src/harness",
        &[
            "vocabulary",
            "api",
            "ambient",
            "planner",
            "cluster",
            "cloud",
            "controller",
            "operator",
            "scheduler",
            "fake-kube",
            "kubelets",
            "fake-ec2",
        ],
        Reach::Everything,
    ),
    ("dryfit", "src/dryfit", &["harness", "operator"], Reach::Everything),
    ("workspace", ".", &[], Reach::Everything),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Values in, values out.
    Pure,
    /// Also Kubernetes' types and schemas, no client in use.
    Schemas,
    /// Also tokio's clock.
    Clock,
    /// Also AWS's runtime crates.
    Aws,
    /// Also Kubernetes clients.
    Kube,
    Everything,
}

/// Crates that give a room more reach, by prefix.
fn needs(name: &str) -> Option<&'static [Reach]> {
    let table: [(&str, &'static [Reach]); 12] = [
        ("aws-", &[Reach::Aws, Reach::Everything]),
        ("kube-cel", &[Reach::Schemas, Reach::Everything]),
        ("kube", &[Reach::Schemas, Reach::Kube, Reach::Everything]),
        ("k8s-openapi", &[Reach::Schemas, Reach::Kube, Reach::Everything]),
        ("tokio", &[Reach::Clock, Reach::Aws, Reach::Kube, Reach::Everything]),
        ("futures", &[Reach::Clock, Reach::Aws, Reach::Kube, Reach::Everything]),
        ("hyper", &[Reach::Everything]),
        ("tower", &[Reach::Everything]),
        ("reqwest", &[]),
        ("rand_chacha", &[Reach::Clock, Reach::Pure, Reach::Schemas]),
        ("fastrand", &[Reach::Aws, Reach::Everything]),
        ("process-wrap", &[Reach::Everything]),
    ];
    table.into_iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, reach)| reach)
}

/// Names under `[dependencies]` of a room's manifest; those for its tests are free.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && let Some((name, _)) = line.split_once(['.', '=', ' ']) {
            found.insert(name.trim().to_owned());
        }
    }
    found
}

#[test]
fn no_room_knows_more_than_its_row_allows() {
    let names: BTreeSet<&str> = ROOMS.iter().map(|(name, ..)| *name).collect();
    let mut broken = Vec::new();
    for (room, folder, may, reach) in ROOMS.iter().filter(|(name, ..)| *name != "workspace") {
        for dependency in dependencies(folder) {
            if names.contains(dependency.as_str()) && !may.contains(&dependency.as_str()) {
                broken.push(format!("{room} must not know {dependency}"));
            }
            if needs(&dependency).is_some_and(|allowed| !allowed.contains(reach)) {
                broken.push(format!("{room} must not reach for {dependency}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_room_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let known: BTreeMap<&str, &str> = ROOMS.iter().map(|(name, folder, ..)| (*folder, *name)).collect();
    for entry in std::fs::read_dir(root.join("src")).expect("the street").flatten() {
        let folder = format!("src/{}", entry.file_name().to_string_lossy());
        assert!(known.contains_key(folder.as_str()), "{folder} has no row");
    }
}

#[test]
fn the_check_can_fail() {
    assert!(needs("kube").is_some_and(|allowed| !allowed.contains(&Reach::Pure)));
    assert!(needs("tokio").is_some_and(|allowed| !allowed.contains(&Reach::Schemas)));
    assert!(dependencies("src/controller").contains("planner"));
}
