//! Scores of every node that would take a pod: reads `{nodes, pods, promised, claims, volumes, limits, pod}` as JSON, writes `{node: score}`. For comparisons with
//! kube-scheduler, which draws lots among equals.

use scheduler::{ClusterView, NodeInfo, PodInfo, schedule_scored};
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let asked: Value = serde_json::from_reader(std::io::stdin())?;
    let list = |key: &str| asked[key].as_array().cloned().unwrap_or_default();
    let mut view = ClusterView::new();
    for node in list("nodes") {
        view.set_node(NodeInfo::from_json(&node)?);
    }
    for pod in list("pods") {
        view.set_pod(Arc::new(PodInfo::from_json(&pod)?));
    }
    for pod in list("promised") {
        view.set_nominated(&Arc::new(PodInfo::from_json(&pod)?));
    }
    for claim in list("claims") {
        view.storage_mut().set_claim(&claim)?;
    }
    for volume in list("volumes") {
        view.storage_mut().set_volume(&volume)?;
    }
    for limits in list("limits") {
        view.storage_mut().set_limits(&limits)?;
    }
    let pod = PodInfo::from_json(&asked["pod"])?;
    let scores: BTreeMap<String, i64> = match schedule_scored(&view, &pod, 0) {
        Ok(placement) if placement.scores.is_empty() => [(placement.node, 0)].into(),
        Ok(placement) => placement.scores.into_iter().map(|score| (score.node, score.total)).collect(),
        Err(_) => BTreeMap::new(),
    };
    println!("{}", serde_json::to_string(&scores)?);
    Ok(())
}
