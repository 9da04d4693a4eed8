//! What the built-in controller logs in whole stories, held against the lines of an unmodified Karpenter in the same stories
//! (`upstream-lines.json`, from a judge's runs by `ci/judges/log_lines.py --stories`): the same words by the same controller, level and keys.

use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Row {
    controller: String,
    message: String,
    level: String,
    keys: BTreeSet<String>,
}

const STORIES: [&str; 4] =
    ["nodeclass/conditions", "incidents/each-interruption", "placement/placement-groups", "iam/without-pricing-read-actions"];

/// Upstream's lines that are not there, and why: controller, message, reason.
const LEFT_OUT: [(&str, &str, &str); 5] = [
    ("", "discovered karpenter version", "it is another program, with a version of its own"),
    ("disruption", "failed listing instance types", "that a NodeClass has no subnets is said by its condition"),
    (
        "providers.pricing",
        "updated on-demand pricing",
        "prices are read before anything is decided, and told of as what belongs to the start",
    ),
    ("provisioner", "no dynamic nodepools found", "which NodePool is not ready is said, and that is all of them"),
    ("providers.pricing", "updated spot pricing with instance types and offerings", "the same"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The lines of a story's decisions.
fn said(story: &str, folder: &Path, rows: &mut BTreeMap<(String, String), Row>) {
    let file = root().join(format!("scenarios/{story}.yaml"));
    let trace = folder.join("trace");
    let run = Command::new(env!("CARGO_BIN_EXE_dryfit")).args(["test", "--trace"]).arg(&trace).arg(file).output().expect("dryfit runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    for line in std::fs::read_to_string(trace).expect("a trace").lines().filter(|line| line.contains("\"log\":")) {
        let entry: Value = serde_json::from_str(line).expect("a line of the trace");
        let Some(log) = find(&entry) else { continue };
        let text = |key: &str| log.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let keys: BTreeSet<String> = log.get("keys").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.clone()).collect();
        let row = Row { controller: text("controller"), message: text("message"), level: text("level"), keys };
        let held = rows.entry((row.controller.clone(), row.message.clone())).or_insert_with(|| row.clone());
        // Keys that are not always there are not asked for.
        held.keys.retain(|key| row.keys.contains(key));
    }
}

fn find(value: &Value) -> Option<&Value> {
    match value {
        Value::Object(members) => members.get("log").or_else(|| members.values().find_map(find)),
        _ => None,
    }
}

#[test]
fn stories_are_told_in_upstreams_words() {
    let upstream: Vec<Row> = serde_json::from_str(include_str!("upstream-lines.json")).expect("rows");
    let folder = tempfile::tempdir().expect("a folder");
    let mut ours = BTreeMap::new();
    STORIES.iter().for_each(|story| said(story, folder.path(), &mut ours));
    let mut differences = Vec::new();
    for row in &upstream {
        let excused = LEFT_OUT.iter().any(|(controller, message, _)| (*controller, *message) == (&row.controller, &row.message));
        match ours.get(&(row.controller.clone(), row.message.clone())) {
            None if excused => {}
            None => differences.push(format!("{} {:?} is not said", row.controller, row.message)),
            Some(_) if excused => differences.push(format!("{} {:?} is said, and need not be excused", row.controller, row.message)),
            Some(own) if own.level != row.level || !row.keys.is_subset(&own.keys) => {
                let lacking: Vec<&String> = row.keys.difference(&own.keys).collect();
                differences.push(format!("{} {:?}: {}, upstream {}; lacks {lacking:?}", row.controller, row.message, own.level, row.level));
            }
            Some(_) => {}
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
