//! The built-in controller's metrics, held against those of an unmodified Karpenter (`upstream-metrics.json`, from a judge's runs by
//! `ci/judges/metrics.py`): the same families, types and labels.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Family {
    #[serde(rename = "type")]
    kind: String,
    labels: BTreeSet<String>,
}

/// Those that are there only while something lasts, which nothing does at the end of these stories.
const MOMENTARY: [&str; 7] = [
    "karpenter_pods_provisioning_scheduling_undecided_time_seconds",
    "karpenter_pods_unbound_time_seconds",
    "karpenter_pods_unstarted_time_seconds",
    "operator_node_termination_current_time_seconds",
    "operator_nodeclaim_termination_current_time_seconds",
    "operator_termination_current_time_seconds",
    "operator_ec2nodeclass_status_condition_transition_seconds",
];
const STORIES: [&str; 4] = [
    "workshops/eks-workshop/consolidation",
    "workshops/eks-workshop/spot-interruption",
    "workshops/eks-workshop/insufficient-capacity",
    "incidents/node-repair",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What `/metrics` would say at the end of the story.
fn metrics(story: &str, folder: &Path) -> String {
    let file = root().join(format!("scenarios/{story}.yaml"));
    let logs = folder.join(story);
    let run = Command::new(env!("CARGO_BIN_EXE_dryfit")).args(["test", "--logs"]).arg(&logs).arg(file).output().expect("dryfit runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    std::fs::read_to_string(logs.join("metrics.txt")).expect("metrics were kept")
}

fn families(text: &str, found: &mut BTreeMap<String, Family>) {
    let mut kinds = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            kinds.insert(name, kind);
        } else if !line.starts_with('#') {
            let end = line.find(['{', ' ']).expect("a name");
            let name = &line[..end];
            let family =
                ["_bucket", "_sum", "_count"].iter().filter_map(|suffix| name.strip_suffix(suffix)).find(|base| kinds.contains_key(base));
            let family = family.unwrap_or(name);
            let kind = kinds.get(family).unwrap_or_else(|| panic!("{line} has no type")).to_string();
            let labels = label_names(&line[end..]);
            let row = found.entry(family.to_owned()).or_insert_with(|| Family { kind, labels: labels.clone() });
            assert_eq!(row.labels, labels, "{line}");
        }
    }
}

/// The names between the braces; values may hold anything but a bare quote.
fn label_names(text: &str) -> BTreeSet<String> {
    let Some(mut rest) = text.strip_prefix('{') else { return BTreeSet::new() };
    let mut names = BTreeSet::new();
    while let Some((name, value)) = rest.split_once("=\"") {
        names.insert(name.trim_start_matches(',').to_owned());
        let mut escaped = false;
        let end = value.char_indices().find(|(_, c)| {
            let quote = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            quote
        });
        rest = &value[end.expect("a value ends").0 + 1..];
    }
    names.remove("le");
    names.remove("quantile");
    names
}

#[test]
fn families_are_upstreams() {
    let upstream: BTreeMap<String, Family> = serde_json::from_str(include_str!("upstream-metrics.json")).expect("rows");
    let folder = tempfile::tempdir().expect("a folder");
    let mut ours = BTreeMap::new();
    for story in STORIES {
        families(&metrics(story, folder.path()), &mut ours);
    }
    let mut differences = Vec::new();
    for (name, family) in &upstream {
        match ours.get(name) {
            None if MOMENTARY.contains(&name.as_str()) => {}
            None => differences.push(format!("{name} is not there")),
            Some(own) if own != family => differences.push(format!("{name}: {own:?}, upstream {family:?}")),
            Some(_) => {}
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
