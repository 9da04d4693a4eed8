//! The controller, whole, on an embedded Kubernetes and a cloud in memory, under a paused clock.

mod common;

use ::kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use ::kube::{Api, ResourceExt};
use api::{EC2NodeClass, NodeClaim, NodePool};
use cloud::port::LaunchError;
use common::{Lab, condition, is};
use controller::{CrashPoint, Stopped, What};
use k8s_openapi::api::core::v1::Node;
use rstest::rstest;
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_node_class_and_its_pool_become_ready() {
    let lab = Lab::start(|_| {}).await;
    lab.settle(30).await;
    let (class, pool) = (lab.class().await, lab.pool().await);
    let status = class.status.clone().unwrap_or_default();
    assert!(api::condition::is_true(&status.conditions, "Ready"), "{status:#?}");
    assert_eq!((status.amis.len(), status.subnets.len(), status.instance_profile.as_deref()), (1, 1, Some("lab_1")));
    assert_eq!(class.finalizers(), ["karpenter.k8s.aws/termination"]);
    assert!(class.annotations().contains_key("karpenter.k8s.aws/ec2nodeclass-hash"));
    let status = pool.status.clone().unwrap_or_default();
    assert!(api::condition::is_true(&status.conditions, "Ready"), "{status:#?}");
    assert_eq!((status.nodes, status.node_class_observed_generation), (Some(0), Some(1)));
    assert!(pool.annotations().contains_key("karpenter.sh/nodepool-hash"));
}

#[tokio::test(start_paused = true)]
async fn what_a_node_class_lacks_is_said_and_asked_for_again() {
    let lab = Lab::start(|_| {}).await;
    lab.cloud.hide_subnets(true);
    lab.settle(30).await;
    let status = lab.class().await.status.unwrap_or_default();
    let reason = |kind: &str| api::condition::find(&status.conditions, kind).map(|c| c.reason.clone()).unwrap_or_default();
    assert_eq!((reason("SubnetsReady").as_str(), reason("ValidationSucceeded").as_str()), ("SubnetsNotFound", "DependenciesNotReady"));
    let pool = lab.pool().await.status.unwrap_or_default();
    assert!(!api::condition::is_true(&pool.conditions, "Ready"));
    lab.cloud.hide_subnets(false);
    let ready = || async { lab.pool().await.status.is_some_and(|s| api::condition::is_true(&s.conditions, "Ready")) };
    let seconds = lab.until("ready", 90, ready).await;
    assert!(seconds >= 50, "asked again after a minute, not before: {seconds}");
}

#[tokio::test(start_paused = true)]
async fn pending_pods_get_a_ready_node() {
    let lab = Lab::start(|_| {}).await;
    lab.pods(5, "1Gi").await;
    let claim = lab.ready_node().await;
    let types = claim.spec.requirements.iter().find(|r| r.key == "node.kubernetes.io/instance-type").map(|r| r.values.clone());
    assert_eq!(types, Some(vec!["m5.large".to_owned()]));
    assert!(claim.name_any().starts_with("default-") && claim.name_any().len() == "default-".len() + 5);
    assert_eq!(claim.finalizers(), ["karpenter.sh/termination"]);
    assert_eq!(claim.labels().get("topology.kubernetes.io/zone").map(String::as_str), Some("us-west-2a"));
    assert_eq!(claim.owner_references().first().map(|o| (o.kind.as_str(), o.block_owner_deletion)), Some(("NodePool", Some(true))));
    let kinds = ["Launched", "Registered", "Initialized", "Ready"];
    assert!(kinds.iter().all(|kind| is(&claim, kind)), "{:#?}", claim.status);

    let nodes = lab.nodes().await;
    let node = nodes.iter().find(|n| n.name_any() == "ip-10-0-0-1").expect("the Node");
    assert_eq!(node.labels().get("karpenter.sh/initialized").map(String::as_str), Some("true"));
    assert_eq!(node.labels().get("karpenter.sh/registered").map(String::as_str), Some("true"));
    assert_eq!(node.finalizers(), ["karpenter.sh/termination"]);
    assert!(
        node.spec.as_ref().and_then(|s| s.taints.as_ref()).is_none_or(|taints| taints.iter().all(|t| t.key != "karpenter.sh/unregistered"))
    );

    lab.settle(30).await;
    let pods = lab.all_pods().await;
    assert!(pods.iter().all(|p| cluster::pod::node_name(p) == Some("ip-10-0-0-1")), "all five are bound");
    assert_eq!((lab.claims().await.len(), lab.cloud.launches()), (1, 1));
    assert_eq!(lab.pool().await.status.and_then(|s| s.nodes), Some(1));
    let tags = &lab.cloud.running()[0].tags;
    assert_eq!((tags.get("Name").map(String::as_str), tags.get("karpenter.sh/nodeclaim")), (Some("ip-10-0-0-1"), Some(&claim.name_any())));
    assert_eq!(lab.events("Nominated").await.len(), 5);

    let wanted = [
        "found provisionable pod(s)",
        "computed new nodeclaim(s) to fit pod(s)",
        "created nodeclaim",
        "launched nodeclaim",
        "registered nodeclaim",
        "initialized nodeclaim",
    ];
    let lines: Vec<String> = lab.lines().into_iter().filter(|line| wanted.contains(&line.as_str())).collect();
    assert_eq!(lines, wanted);
}

#[tokio::test(start_paused = true)]
async fn one_plan_serves_all_pods_of_a_second() {
    let lab = Lab::start(|_| {}).await;
    lab.settle(30).await;
    lab.pods(3, "1Gi").await;
    lab.until("planned", 5, || async { !lab.claims().await.is_empty() }).await;
    let record = lab.record.lock().expect("unpoisoned");
    let at = |wanted: fn(&What) -> bool| record.iter().find(|d| wanted(&d.what)).map(|d| d.at).expect("recorded");
    let (opened, planned) = (at(|w| matches!(w, What::BatchOpened)), at(|w| matches!(w, What::Planned { .. })));
    assert_eq!(planned.duration_since(opened).as_secs(), 1);
    assert_eq!(record.iter().filter(|d| matches!(d.what, What::Planned { .. })).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_world_is_not_written_to() {
    let lab = Lab::start(|_| {}).await;
    lab.pods(5, "1Gi").await;
    lab.ready_node().await;
    // Half a minute later the node becomes Consolidatable; ten minutes after the launch it is found to be what its claim promised, which is the
    // last thing that happens.
    lab.wait(660).await;
    lab.settle(30).await;
    let before = lab.record.lock().expect("unpoisoned").len();
    lab.wait(600).await;
    let record = lab.record.lock().expect("unpoisoned");
    let writes: Vec<_> = record[before..]
        .iter()
        .filter(|d| matches!(&d.what, What::EffectBegun { verb, .. } if ["create", "patch", "patch-status", "delete", "evict", "launch", "terminate", "tag"].contains(verb)))
        .collect();
    assert!(writes.is_empty(), "{writes:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_beyond_the_limits_stays_and_is_told_why() {
    let lab = Lab::start(|_| {}).await;
    let pools = Api::<NodePool>::all(lab.client.clone());
    pools.patch("default", &PatchParams::default(), &Patch::Merge(json!({"spec": {"limits": {"cpu": "1"}}}))).await.expect("patched");
    lab.pods(1, "1Gi").await;
    lab.settle(60).await;
    assert!(lab.claims().await.is_empty());
    let events: Vec<_> =
        lab.events("FailedScheduling").await.into_iter().filter(|e| e.reporting_component.as_deref() == Some("karpenter")).collect();
    let message = events.first().and_then(|e| e.message.clone()).unwrap_or_default();
    assert_eq!(message, "Failed to schedule pod, all available instance types exceed limits for nodepool (NodePool=default)");
    pools.patch("default", &PatchParams::default(), &Patch::Merge(json!({"spec": {"limits": {"cpu": "1000"}}}))).await.expect("patched");
    let seconds = lab.until("a claim", 30, || async { !lab.claims().await.is_empty() }).await;
    assert!(seconds <= 12, "the next poll plans again: {seconds}");
}

#[tokio::test(start_paused = true)]
async fn without_capacity_the_claim_goes_and_the_pods_are_planned_again() {
    let lab = Lab::start(|_| {}).await;
    lab.cloud.refuse(LaunchError::InsufficientCapacity("all requested instance types were unavailable during launch".into()));
    lab.pods(1, "6Gi").await;
    lab.until("a machine", 40, || async { !lab.cloud.running().is_empty() }).await;
    assert_eq!(lab.cloud.launches(), 2);
    assert_eq!(lab.events("InsufficientCapacityError").await.len(), 1);
    assert_eq!(lab.claims().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn other_launch_errors_are_tried_again_and_end_after_five_minutes() {
    let lab = Lab::start(|_| {}).await;
    for _ in 0..40 {
        lab.cloud.refuse(LaunchError::Failed {
            reason: "Unauthorized".into(),
            message: "not allowed".into(),
            cause: "creating fleet request, not allowed".into(),
        });
    }
    lab.pods(1, "1Gi").await;
    lab.until("refused", 20, || async {
        lab.claims().await.iter().any(|c| condition(c, "Launched") == ("Unknown".into(), "Unauthorized".into()))
    })
    .await;
    // In upstream's chain of words.
    assert!(lab.said("Reconciler error", "error").contains(&"launching nodeclaim, creating fleet request, not allowed".to_owned()));
    let first = lab.claim().await.name_any();
    lab.wait(240).await;
    assert_eq!(lab.claim().await.name_any(), first);
    let tries = lab.cloud.launches();
    assert!((6..12).contains(&tries), "1, 2, 4 … 60 s apart: {tries}");
    lab.until("given up", 90, || async { lab.claims().await.iter().all(|c| c.name_any() != first) }).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_node_never_comes_is_given_up_after_fifteen_minutes() {
    let lab = Lab::start(|_| {}).await;
    lab.pods(1, "1Gi").await;
    lab.until("launched", 20, || async { lab.claims().await.iter().any(|c| is(c, "Launched")) }).await;
    let first = lab.claim().await.name_any();
    let waits = format!("claim {first} waits for its node");
    assert!(lab.handle.unsettled().contains(&waits), "{:?}", lab.handle.unsettled());
    lab.wait(870).await;
    assert_eq!(lab.claim().await.name_any(), first);
    lab.until("given up", 90, || async { lab.claims().await.iter().all(|c| c.name_any() != first) }).await;
    lab.until("only the new machine runs", 60, || async { lab.cloud.running().len() == 1 && lab.cloud.launches() == 2 }).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_claim_drains_its_node_and_ends_its_machine() {
    let lab = Lab::start(|_| {}).await;
    lab.pods(2, "1Gi").await;
    let claim = lab.ready_node().await;
    lab.settle(30).await;
    let began = lab.clock.now();
    Api::<NodeClaim>::all(lab.client.clone()).delete(&claim.name_any(), &DeleteParams::default()).await.expect("deleted");
    lab.wait(2).await;
    let node = Api::<Node>::all(lab.client.clone()).get("ip-10-0-0-1").await.expect("still there");
    assert!(node.spec.and_then(|s| s.taints).is_some_and(|t| t.iter().any(|t| t.key == "karpenter.sh/disrupted")));
    assert_eq!(lab.pods_end().await, 2, "both were evicted");
    let gone = || async { lab.claims().await.iter().all(|c| c.name_any() != claim.name_any()) };
    lab.until("the claim is gone", 60, gone).await;
    assert!(lab.nodes().await.iter().all(|n| n.name_any() != "ip-10-0-0-1"));
    let terminated =
        lab.record.lock().expect("unpoisoned").iter().find(|d| matches!(d.what, What::EffectBegun { verb: "terminate", .. })).map(|d| d.at);
    let drained = terminated.expect("terminated").duration_since(began).as_secs();
    assert!((5..8).contains(&drained), "drained for five seconds at least, though the pods left after two: {drained}");
    assert!(lab.cloud.running().is_empty());
    let wanted = ["tainted node", "deleted node", "deleted nodeclaim"];
    let lines: Vec<String> = lab.lines().into_iter().filter(|line| wanted.contains(&line.as_str())).collect();
    assert_eq!(lines, wanted);
    lab.settle(60).await;
}

/// Source: `C/pkg/controllers/node/termination/controller.go`, filterVolumeAttachments.
#[rstest]
#[case::of_one_that_stays(json!([{"operator": "Exists"}]), true)]
#[case::of_one_that_was_drained(json!([]), false)]
#[tokio::test(start_paused = true)]
async fn a_node_waits_for_the_volumes_of_drained_pods_only(#[case] tolerations: serde_json::Value, #[case] goes: bool) {
    use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
    use k8s_openapi::api::storage::v1::VolumeAttachment;
    fn read<K: serde::de::DeserializeOwned>(value: serde_json::Value) -> K {
        serde_json::from_value(value).expect("an object")
    }
    let lab = Lab::start(|_| {}).await;
    lab.pods(1, "1Gi").await;
    let claim = lab.ready_node().await;
    let create = PostParams::default();
    let volume: PersistentVolumeClaim =
        read(json!({"metadata": {"name": "data"}, "spec": {"volumeName": "pv-1", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}}));
    Api::<PersistentVolumeClaim>::namespaced(lab.client.clone(), "default").create(&create, &volume).await.expect("a claim");
    let pod: Pod = read(json!({"metadata": {"name": "agent"}, "spec": {"nodeName": "ip-10-0-0-1", "tolerations": tolerations,
        "containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}}));
    Api::<Pod>::namespaced(lab.client.clone(), "default").create(&create, &pod).await.expect("a pod");
    let attachment: VolumeAttachment =
        read(json!({"metadata": {"name": "csi-1"}, "spec": {"attacher": "ebs.csi.aws.com", "nodeName": "ip-10-0-0-1",
        "source": {"persistentVolumeName": "pv-1"}}}));
    Api::<VolumeAttachment>::all(lab.client.clone()).create(&create, &attachment).await.expect("an attachment");
    lab.settle(30).await;
    Api::<NodeClaim>::all(lab.client.clone()).delete(&claim.name_any(), &DeleteParams::default()).await.expect("deleted");
    lab.wait(2).await;
    lab.pods_end().await;
    lab.wait(60).await;
    let there = lab.nodes().await.iter().any(|node| node.name_any() == "ip-10-0-0-1");
    assert_eq!(there, !goes);
}

#[tokio::test(start_paused = true)]
async fn a_claim_without_a_node_ends_with_its_machine() {
    let lab = Lab::start(|_| {}).await;
    lab.pods(1, "1Gi").await;
    lab.until("launched", 20, || async { lab.claims().await.iter().any(|c| is(c, "Launched")) }).await;
    let name = lab.claim().await.name_any();
    Api::<NodeClaim>::all(lab.client.clone()).delete(&name, &DeleteParams::default()).await.expect("deleted");
    lab.wait(3).await;
    assert!(is(&lab.claims().await[0], "InstanceTerminating"));
    lab.until("gone", 60, || async { lab.claims().await.iter().all(|c| c.name_any() != name) }).await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_claim_goes() {
    let lab = Lab::start(|_| {}).await;
    let body = json!({"spec": {"template": {"spec": {"expireAfter": "5m"}}}});
    Api::<NodePool>::all(lab.client.clone()).patch("default", &PatchParams::default(), &Patch::Merge(body)).await.expect("patched");
    lab.pods(1, "1Gi").await;
    let claim = lab.ready_node().await;
    let created = claim.creation_timestamp().expect("created").0;
    lab.until("deleted", 400, || async {
        lab.claims().await.iter().any(|c| c.name_any() == claim.name_any() && c.metadata.deletion_timestamp.is_some())
    })
    .await;
    let life = lab.clock.now().duration_since(created).as_secs();
    assert!((300..303).contains(&life), "{life}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_nobody_knows_is_collected() {
    let lab = Lab::start(|_| {}).await;
    lab.settle(30).await;
    lab.cloud.stray();
    lab.wait(25).await;
    assert_eq!(lab.cloud.running().len(), 1, "it may still be on its way to a claim");
    lab.until("collected", 30, || async { lab.cloud.running().is_empty() }).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_machine_vanished_is_collected() {
    let lab = Lab::start(|_| {}).await;
    // Five pods need the type that this cloud gives first; for fewer a smaller one would take over.
    lab.pods(5, "1Gi").await;
    let claim = lab.ready_node().await;
    lab.settle(30).await;
    lab.cloud.vanish(&lab.cloud.running()[0].id);
    lab.wait(130).await;
    assert!(lab.claim().await.metadata.deletion_timestamp.is_none(), "a ready kubelet counts more than a list");
    let body = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    Api::<Node>::all(lab.client.clone()).patch_status("ip-10-0-0-1", &PatchParams::default(), &Patch::Merge(body)).await.expect("patched");
    lab.until("collected", 130, || async { lab.claims().await.iter().all(|c| c.name_any() != claim.name_any()) }).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_class_waits_for_its_claims() {
    let lab = Lab::start(|_| {}).await;
    lab.pods(1, "1Gi").await;
    let claim = lab.ready_node().await;
    lab.settle(30).await;
    Api::<NodePool>::all(lab.client.clone()).delete("default", &DeleteParams::foreground()).await.ok();
    Api::<EC2NodeClass>::all(lab.client.clone()).delete("default", &DeleteParams::default()).await.expect("deleted");
    lab.wait(5).await;
    assert!(lab.class().await.metadata.deletion_timestamp.is_some());
    Api::<NodeClaim>::all(lab.client.clone()).delete(&claim.name_any(), &DeleteParams::default()).await.ok();
    lab.wait(2).await;
    lab.pods_end().await;
    let classes = Api::<EC2NodeClass>::all(lab.client.clone());
    lab.until("gone", 60, || async { classes.get_opt("default").await.expect("answered").is_none() }).await;
}

/// Source: `C/pkg/controllers/nodepool/hash/controller.go`, `A/pkg/controllers/nodeclass/hash/controller.go`.
#[tokio::test(start_paused = true)]
async fn claims_are_carried_over_to_another_hash_version() {
    let lab = Lab::start(|_| {}).await;
    lab.pods(1, "1Gi").await;
    let name = lab.ready_node().await.name_any();
    lab.settle(30).await;
    let stamp =
        |hash: &str, of: &str| json!({"metadata": {"annotations": {format!("{of}-hash"): hash, format!("{of}-hash-version"): "v0"}}});
    let (params, pool, class) = (PatchParams::default(), "karpenter.sh/nodepool", "karpenter.k8s.aws/ec2nodeclass");
    let claims = Api::<NodeClaim>::all(lab.client.clone());
    for of in [pool, class] {
        claims.patch(&name, &params, &Patch::Merge(stamp("old", of))).await.expect("patched");
    }
    Api::<NodePool>::all(lab.client.clone()).patch("default", &params, &Patch::Merge(stamp("old", pool))).await.expect("patched");
    Api::<EC2NodeClass>::all(lab.client.clone()).patch("default", &params, &Patch::Merge(stamp("old", class))).await.expect("patched");
    lab.wait(5).await;
    let (claim, now) = (lab.claim().await, |of: &str| (format!("{of}-hash"), format!("{of}-hash-version")));
    for (of, owner) in [(pool, lab.pool().await.annotations().clone()), (class, lab.class().await.annotations().clone())] {
        let (hash, version) = now(of);
        assert_ne!(owner[&version], "v0", "{of}");
        assert_eq!((&claim.annotations()[&hash], &claim.annotations()[&version]), (&owner[&hash], &owner[&version]), "{of}");
    }
    assert!(!is(&claim, "Drifted"), "another version is no other template");
}

/// Source: `A/pkg/cloudprovider/cloudprovider.go`, GetInstanceTypes.
#[tokio::test(start_paused = true)]
async fn a_pool_whose_class_is_missing_is_told_of_after_a_while() {
    let lab = Lab::start(|_| {}).await;
    lab.settle(30).await;
    let classes = Api::<EC2NodeClass>::all(lab.client.clone());
    classes.delete("default", &DeleteParams::default()).await.expect("deleted");
    lab.until("gone", 60, || async { classes.get_opt("default").await.expect("answered").is_none() }).await;
    lab.wait(5).await;
    assert!(lab.events("").await.is_empty());
    lab.wait(10).await;
    let told: Vec<_> = lab.events("").await.into_iter().map(|event| (event.involved_object.kind, event.message)).collect();
    assert_eq!(told, [(Some("NodePool".to_owned()), Some("Failed resolving NodeClass".to_owned()))]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_the_launch_leaves_one_machine_in_the_end() {
    // The number of the launch, from a run without a crash.
    let lab = Lab::start(|_| {}).await;
    lab.pods(1, "1Gi").await;
    lab.until("launched", 20, || async { lab.claims().await.iter().any(|c| is(c, "Launched")) }).await;
    let number = lab.record.lock().expect("unpoisoned").iter().find_map(|d| match d.what {
        What::EffectBegun { number, verb: "launch", .. } => Some(number),
        _ => None,
    });
    let number = number.expect("a launch");
    lab.handle.stop();
    assert_eq!(lab.running.await.expect("ended"), Stopped::Asked);

    let lab = Lab::start(|settings| settings.crash_at = Some(CrashPoint::After(number))).await;
    lab.pods(1, "1Gi").await;
    let (client, cloud, clock) = (lab.client.clone(), lab.cloud.clone(), lab.clock.clone());
    assert_eq!(lab.running.await.expect("ended"), Stopped::Crashed(number));
    assert_eq!(cloud.running().len(), 1);
    let lab = Lab::resume(client, cloud, clock, |_| {});
    lab.until("launched again", 20, || async { lab.claims().await.iter().any(|c| is(c, "Launched")) }).await;
    assert_eq!(lab.cloud.running().len(), 2, "the first machine was lost with the memory of it");
    lab.until("collected", 60, || async { lab.cloud.running().len() == 1 }).await;
    let kept = lab.cloud.running()[0].provider_id();
    assert_eq!(lab.claim().await.status.and_then(|s| s.provider_id), Some(kept));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_record() {
    async fn run() -> String {
        let lab = Lab::start(|_| {}).await;
        lab.pods(5, "1Gi").await;
        lab.ready_node().await;
        lab.settle(30).await;
        lab.handle.stop();
        let record = lab.record.lock().expect("unpoisoned");
        record.iter().map(|d| serde_json::to_string(d).expect("serializes") + "\n").collect()
    }
    assert_eq!(run().await, run().await);
}

/// Two processes of the same controller on one cluster, told apart by their names.
fn elected(identity: &'static str) -> impl FnOnce(&mut controller::Settings) {
    move |settings| {
        let election = controller::LeaderElection {
            namespace: "default".to_owned(),
            name: controller::LeaderElection::NAME.to_owned(),
            identity: identity.to_owned(),
        };
        settings.leader_election = Some(election);
    }
}

fn started(lab: &Lab) -> bool {
    lab.record.lock().expect("unpoisoned").iter().any(|d| matches!(d.what, What::Started))
}

#[tokio::test(start_paused = true)]
async fn one_of_two_processes_works_and_the_other_takes_over_when_it_dies() {
    let first = Lab::start(elected("a")).await;
    first.until("the first leads", 10, || async { started(&first) }).await;
    let second = Lab::resume(first.client.clone(), first.cloud.clone(), first.clock.clone(), elected("b"));
    first.wait(120).await;
    assert!(!started(&second), "as long as the first renews its lease the second waits");
    first.running.abort();
    let seconds = second.until("the second leads", 30, || async { started(&second) }).await;
    assert!((13..=17).contains(&seconds), "not before the lease has lapsed, 15 s: {seconds}");
    second.pods(1, "1Gi").await;
    second.ready_node().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_lost_its_lease_stops() {
    use k8s_openapi::api::coordination::v1::Lease;
    let lab = Lab::start(elected("a")).await;
    lab.until("leads", 10, || async { started(&lab) }).await;
    let thief = json!({"spec": {"holderIdentity": "b"}});
    let leases = Api::<Lease>::namespaced(lab.client.clone(), "default");
    leases.patch("karpenter-leader-election", &PatchParams::default(), &Patch::Merge(thief)).await.expect("patched");
    lab.wait(5).await;
    assert_eq!(lab.running.await.expect("ended"), Stopped::LeaseLost);
}

#[tokio::test(start_paused = true)]
async fn an_end_in_good_order_forgets_no_machine() {
    let begun = |lab: &Lab| {
        let record = lab.record.lock().expect("unpoisoned");
        record.iter().filter(|d| matches!(d.what, What::EffectBegun { verb: "launch", .. })).count()
    };
    let lab = Lab::start(|_| {}).await;
    lab.pods(1, "1Gi").await;
    while begun(&lab) == 0 {
        tokio::task::yield_now().await;
        lab.clock.sleep(jiff::SignedDuration::from_millis(1)).await;
    }
    assert!(!is(&lab.claim().await, "Launched"), "the launch is still under way");
    lab.handle.finish();
    let before = lab.clock.now();
    assert_eq!(lab.running.await.expect("ended"), Stopped::Asked);
    assert!(lab.clock.now().duration_since(before) < jiff::SignedDuration::from_secs(20), "it ended as soon as all was done");
    let claims = Api::<api::NodeClaim>::all(lab.client.clone()).list(&Default::default()).await.expect("claims").items;
    let ids: Vec<_> = claims.iter().map(|c| c.status.as_ref().and_then(|s| s.provider_id.clone())).collect();
    assert_eq!(ids, [Some(lab.cloud.running()[0].provider_id())], "its machine is known");
}
