//! Placement groups, shifted zones, prices and tags that are refused, labels that older versions did not write.

mod common;

use ::kube::api::{Patch, PatchParams};
use ::kube::{Api, ResourceExt};
use api::{EC2NodeClass, NodeClaim};
use cloud::port::PlacementGroup;
use common::cloud::refusal;
use common::{Lab, condition, is};
use k8s_openapi::api::core::v1::Node;
use serde_json::json;

fn group() -> PlacementGroup {
    PlacementGroup { id: "pg-1".into(), name: "close".into(), strategy: "partition".into(), partitions: 3 }
}

async fn select(lab: &Lab) {
    let body = json!({"spec": {"placementGroupSelector": {"name": "close"}}});
    let classes = Api::<EC2NodeClass>::all(lab.client.clone());
    classes.patch("default", &PatchParams::default(), &Patch::Merge(body)).await.expect("patched");
}

async fn ready(lab: &Lab) -> (String, String, String) {
    let status = lab.class().await.status.unwrap_or_default();
    let condition = api::condition::find(&status.conditions, "PlacementGroupReady").cloned();
    condition.map(|c| (c.status, c.reason, c.message)).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_class_waits_for_its_placement_group() {
    let lab = Lab::start(|_| {}).await;
    lab.settle(30).await;
    assert_eq!(ready(&lab).await.0, "True");
    lab.cloud.answer_group(Some(Err(refusal("InvalidPlacementGroup.Unknown"))));
    select(&lab).await;
    lab.wait(5).await;
    let told = |status: &str, reason: &str, message: &str| (status.to_owned(), reason.to_owned(), message.to_owned());
    assert_eq!(ready(&lab).await, told("False", "PlacementGroupResolutionFailed", "Failed to resolve placement group"));
    assert!(!lab.class().await.status.is_some_and(|s| api::condition::is_true(&s.conditions, "Ready")));
    lab.cloud.answer_group(None);
    lab.until("not found", 70, || async { ready(&lab).await.1 == "PlacementGroupNotFound" }).await;
    assert_eq!(ready(&lab).await.2, "Placement group \"close\" not found");
    lab.cloud.answer_group(Some(Ok(group())));
    lab.until("found", 70, || async { ready(&lab).await.0 == "True" }).await;
    lab.wait(300).await;
    assert_eq!(lab.lines().iter().filter(|line| *line == "discovered placement group").count(), 1, "said once");
}

#[tokio::test(start_paused = true)]
async fn a_node_is_registered_once_its_partition_is_known() {
    let lab = Lab::start(|_| {}).await;
    lab.cloud.in_partitions();
    lab.pods(1, "1Gi").await;
    lab.until("launched", 30, || async { lab.claims().await.iter().any(|c| is(c, "Launched")) }).await;
    let partition = |object: &dyn Fn() -> Option<String>| object().unwrap_or_default();
    let claim = lab.claim().await;
    assert_eq!(claim.labels().get("karpenter.k8s.aws/placement-group-partition").map(String::as_str), Some(""));
    lab.node_joins(&claim, "ip-10-0-0-1").await;
    lab.node_is_ready("ip-10-0-0-1").await;
    lab.until("pending", 30, || async { condition(&lab.claim().await, "Registered").1 == "RegistrationHookPending" }).await;
    lab.wait(20).await;
    let node = || async { Api::<Node>::all(lab.client.clone()).get("ip-10-0-0-1").await.expect("the Node") };
    let waiting = node().await;
    let tainted = |node: &Node| {
        node.spec.as_ref().and_then(|s| s.taints.as_ref()).is_some_and(|all| all.iter().any(|t| t.key == "karpenter.sh/unregistered"))
    };
    assert!(tainted(&waiting) && !waiting.labels().contains_key("karpenter.sh/registered"));
    assert!(lab.lines().iter().any(|line| line == "awaiting registration hooks"));
    lab.cloud.partition(2);
    lab.until("initialized", 90, || async { is(&lab.claim().await, "Initialized") }).await;
    let (claim, node) = (lab.claim().await, node().await);
    for own in [claim.labels(), node.labels()] {
        assert_eq!(partition(&|| own.get("karpenter.k8s.aws/placement-group-partition").cloned()), "2");
    }
    assert!(!tainted(&node));
}

#[tokio::test(start_paused = true)]
async fn pools_hear_of_zones_that_are_shifted_away_from() {
    let lab = Lab::start(|settings| settings.zonal_shift = true).await;
    lab.settle(30).await;
    lab.cloud.shift(&["usw2-az1", "usw2-az2"]);
    lab.wait(31).await;
    let told = lab.events("ZonalShiftActive").await;
    assert_eq!(told.len(), 1, "the class has no subnet in the other zone");
    let text = "Zonal shift detected: offerings in zone us-west-2a (usw2-az1) are unavailable for this NodePool";
    assert_eq!((told[0].message.as_deref(), told[0].type_.as_deref()), (Some(text), Some("Warning")));
    lab.cloud.shift(&[]);
    lab.wait(31).await;
    let told = lab.events("ZonalShiftCleared").await;
    assert_eq!((told.len(), told[0].type_.as_deref()), (1, Some("Normal")));
}

#[tokio::test(start_paused = true)]
async fn without_the_price_list_the_controller_works_and_asks_again() {
    let lab = Lab::start(|_| {}).await;
    lab.cloud.refuse_prices(true);
    lab.pods(1, "1Gi").await;
    lab.ready_node().await;
    lab.wait(60).await;
    let calls = lab.cloud.price_calls();
    assert!(calls > 3, "{calls}");
    lab.cloud.refuse_prices(false);
    lab.wait(1_100).await;
    let calls = lab.cloud.price_calls();
    lab.wait(3_600).await;
    assert_eq!(lab.cloud.price_calls(), calls, "every twelve hours only, once they are there");
}

#[tokio::test(start_paused = true)]
async fn tags_that_are_refused_are_tried_for_ever_and_those_of_a_machine_that_is_gone_never_again() {
    for (code, again) in [("UnauthorizedOperation", true), ("InvalidInstanceID.NotFound", false)] {
        let lab = Lab::start(|_| {}).await;
        lab.cloud.refuse_tags(Some(refusal(code)));
        lab.pods(1, "1Gi").await;
        lab.ready_node().await;
        lab.wait(300).await;
        let calls = lab.cloud.tag_calls();
        lab.wait(300).await;
        assert_eq!(lab.cloud.tag_calls() > calls, again, "{code}");
        assert!(lab.claims().await.iter().all(|claim| !claim.annotations().contains_key("karpenter.k8s.aws/tagged")));
    }
}

#[tokio::test(start_paused = true)]
async fn claims_and_nodes_name_their_class() {
    let lab = Lab::start(|_| {}).await;
    lab.pods(1, "1Gi").await;
    let claim = lab.ready_node().await;
    const KEY: &str = "karpenter.k8s.aws/ec2nodeclass";
    let body = json!({"metadata": {"labels": {KEY: null}}});
    let (claims, nodes) = (Api::<NodeClaim>::all(lab.client.clone()), Api::<Node>::all(lab.client.clone()));
    claims.patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await.expect("patched");
    nodes.patch("ip-10-0-0-1", &PatchParams::default(), &Patch::Merge(&body)).await.expect("patched");
    lab.wait(2).await;
    let (claim, node) = (lab.claim().await, nodes.get("ip-10-0-0-1").await.expect("the Node"));
    assert_eq!(
        (claim.labels().get(KEY).map(String::as_str), node.labels().get(KEY).map(String::as_str)),
        (Some("default"), Some("default"))
    );
}

#[tokio::test(start_paused = true)]
async fn without_observability_single_objects_are_not_told_of() {
    for observed in [true, false] {
        let lab = Lab::start(|settings| settings.observability = observed).await;
        lab.pods(1, "1Gi").await;
        lab.ready_node().await;
        let text = lab.handle.metrics().await.expect("metrics");
        for family in [
            "karpenter_pods_state",
            "karpenter_nodes_allocatable",
            "karpenter_nodepools_usage",
            "operator_nodeclaim_status_condition_count",
            "operator_node_status_condition_count",
        ] {
            assert_eq!(text.contains(&format!("# TYPE {family} ")), observed, "{family}");
        }
        for family in
            ["operator_ec2nodeclass_status_condition_count", "karpenter_nodes_created_total", "karpenter_cluster_state_node_count"]
        {
            assert!(text.contains(&format!("# TYPE {family} ")), "{family}");
        }
        assert_eq!(text.contains("kind=\"NodeClaim\""), observed);
        assert!(text.contains("kind=\"EC2NodeClass\""));
        let transitions = lab.events("Initialized").await.len();
        assert_eq!(transitions > 0, observed);
    }
}
