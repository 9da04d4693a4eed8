//! What the controller logs, held against the lines of an unmodified Karpenter (`upstream-lines.json`, from a judge's run by
//! `ci/generate/log_lines.py`): the same words, level and keys.

mod common;

use ::kube::Api;
use ::kube::ResourceExt;
use ::kube::api::DeleteParams;
use common::Lab;
use controller::What;
use controller::log::{Level, Line};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
struct Row {
    controller: String,
    message: String,
    level: String,
    keys: BTreeSet<String>,
}

fn level(line: &Line) -> &'static str {
    match line.level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Error => "ERROR",
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_s_life_is_logged_in_upstreams_words() {
    let lab = Lab::start(|_| {}).await;
    lab.pods(5, "1Gi").await;
    let claim = lab.ready_node().await;
    Api::<api::NodeClaim>::all(lab.client.clone()).delete(&claim.name_any(), &DeleteParams::default()).await.expect("deleted");
    lab.settle(120).await;

    let rows: Vec<Row> = serde_json::from_str(include_str!("upstream-lines.json")).expect("rows");
    let known: BTreeMap<(&str, &str), &Row> = rows.iter().map(|row| ((row.controller.as_str(), row.message.as_str()), row)).collect();
    let record = lab.record.lock().expect("unpoisoned");
    let lines: Vec<&Line> = record.iter().filter_map(|d| if let What::Log(line) = &d.what { Some(line) } else { None }).collect();
    let mut differences = BTreeSet::new();
    let mut said = BTreeSet::new();
    for line in lines {
        let Some(row) = known.get(&(line.controller, line.message.as_str())) else { continue };
        said.insert(line.message.as_str());
        let keys: BTreeSet<String> = line.keys.keys().cloned().collect();
        if (level(line), &keys) != (row.level.as_str(), &row.keys) {
            differences.insert(format!(
                "{} {:?}: {} {keys:?}, upstream {} {:?}",
                line.controller,
                line.message,
                level(line),
                row.level,
                row.keys
            ));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    let expected = [
        "discovered amis",
        "discovered subnets",
        "discovered security groups",
        "computing scheduling decision for provisionable pod(s)",
        "found provisionable pod(s)",
        "computed new nodeclaim(s) to fit pod(s)",
        "created nodeclaim",
        "launched nodeclaim",
        "registered nodeclaim",
        "initialized nodeclaim",
        "tainted node",
        "deleted node",
        "deleted nodeclaim",
    ];
    let missing: Vec<&str> = expected.into_iter().filter(|message| !said.contains(message)).collect();
    assert!(missing.is_empty(), "not said: {missing:?}; said: {said:?}");
}
