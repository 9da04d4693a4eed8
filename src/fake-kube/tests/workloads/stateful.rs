//! Pods with numbers and their volumes.

use super::*;

fn set(replicas: i64, more: Value) -> Value {
    let mut set = json!({
        "metadata": { "name": "db" },
        "spec": { "serviceName": "db", "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template("100m", "one") },
    });
    for (key, value) in more.as_object().unwrap() {
        set["spec"][key] = value.clone();
    }
    set
}

fn names(world: &World) -> Vec<String> {
    world.pods().iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn image(world: &World, name: &str) -> String {
    world.get("pods", name)["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

#[test]
fn pods_come_one_after_the_other_and_go_from_the_last() {
    let mut world = World::new();
    world.node("a", "32");
    world.create("apps/statefulsets", set(3, json!({})));
    assert_eq!(names(&world), ["db-0"]);
    world.kubelets();
    assert_eq!(names(&world), ["db-0", "db-1", "db-2"]);
    let value = world.get("apps/statefulsets", "db");
    assert_eq!(value["status"]["availableReplicas"], 3);
    assert_eq!(value["status"]["currentRevision"], value["status"]["updateRevision"]);
    world.change("apps/statefulsets", "db", None, |set| set["spec"]["replicas"] = json!(1));
    let going: Vec<String> = world
        .pods()
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_string())
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(going, ["db-2"]);
    world.kubelets();
    assert_eq!(names(&world), ["db-0"]);
}

#[test]
fn a_parallel_set_makes_all_at_once_and_begins_where_it_is_told() {
    let mut world = World::new();
    world.node("a", "32");
    world.create("apps/statefulsets", set(3, json!({ "podManagementPolicy": "Parallel", "ordinals": { "start": 7 } })));
    assert_eq!(names(&world), ["db-7", "db-8", "db-9"]);
}

#[test]
fn a_partition_keeps_the_old_template_below_it() {
    let mut world = World::new();
    world.node("a", "32");
    world
        .create("apps/statefulsets", set(3, json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } } })));
    world.kubelets();
    world.change("apps/statefulsets", "db", None, |set| set["spec"]["template"] = template("100m", "two"));
    world.kubelets();
    assert_eq!(["db-0", "db-1", "db-2"].map(|name| image(&world, name)), ["one", "one", "two"]);
    world.delete("pods", "db-0", DeleteOptions::now());
    world.kubelets();
    assert_eq!(image(&world, "db-0"), "one");
    world.change("apps/statefulsets", "db", None, |set| set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(0));
    world.kubelets();
    assert_eq!(["db-0", "db-1", "db-2"].map(|name| image(&world, name)), ["two", "two", "two"]);
    let revisions = world.kube.api().store().len("apps/controllerrevisions");
    assert_eq!(revisions, 2);
    world.change("apps/statefulsets", "db", None, |set| set["spec"]["template"] = template("100m", "one"));
    world.kubelets();
    assert_eq!(world.kube.api().store().len("apps/controllerrevisions"), revisions, "a template that comes back has its old revision");
}

fn class(mode: &str, provisioner: &str) -> Value {
    json!({ "metadata": { "name": "fast" }, "provisioner": provisioner, "volumeBindingMode": mode })
}

fn claim(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": {
        "storageClassName": "fast", "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } })
}

fn user(name: &str, claim: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": {
        "containers": [{ "name": "c", "image": "i" }], "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": claim } }] } })
}

fn zoned(world: &mut World, name: &str, zone: &str) {
    world.node(name, "4");
    world.change("nodes", name, None, |node| node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(zone));
}

fn message(world: &World, pod: &str) -> String {
    let value = world.get("pods", pod);
    let conditions = value["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|one| one["type"] == "PodScheduled").unwrap()["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn claims_of_a_set_outlive_its_pods_or_go_with_them() {
    let mut world = World::new();
    zoned(&mut world, "a", "one");
    world.create("storage.k8s.io/storageclasses", class("WaitForFirstConsumer", "ebs.csi.aws.com"));
    let templates = json!([{ "metadata": { "name": "data" }, "spec": claim("x")["spec"] }]);
    let policy = json!({ "whenScaled": "Delete", "whenDeleted": "Retain" });
    let more =
        json!({ "podManagementPolicy": "Parallel", "volumeClaimTemplates": templates, "persistentVolumeClaimRetentionPolicy": policy });
    world.create("apps/statefulsets", set(3, more));
    world.to(10);
    world.kubelets();
    let bound = |world: &World, name: &str| world.get("persistentvolumeclaims", name)["status"]["phase"].clone();
    assert_eq!(["data-db-0", "data-db-1", "data-db-2"].map(|name| bound(&world, name)), ["Bound", "Bound", "Bound"]);
    world.change("apps/statefulsets", "db", None, |set| set["spec"]["replicas"] = json!(2));
    world.kubelets();
    world.to(20);
    assert!(world.kube.api().store().get("persistentvolumeclaims", "default", "data-db-2").is_none());
    assert_eq!(world.kube.api().store().len("persistentvolumes"), 2, "its volume was released and deleted");
    world.delete("apps/statefulsets", "db", DeleteOptions::background());
    world.kubelets();
    assert_eq!((names(&world).len(), world.kube.api().store().len("persistentvolumeclaims")), (0, 2));
}

#[test]
fn a_volume_is_made_where_its_pod_goes_and_holds_the_next_pod_there() {
    let mut world = World::new();
    zoned(&mut world, "a", "one");
    world.create("storage.k8s.io/storageclasses", class("WaitForFirstConsumer", "ebs.csi.aws.com"));
    world.create("persistentvolumeclaims", claim("data"));
    assert_eq!(world.get("persistentvolumeclaims", "data")["status"]["phase"], "Pending");
    world.create("pods", user("p", "data"));
    assert_eq!(world.on_node("a"), 0, "the volume takes a while");
    world.to(5);
    assert_eq!(world.on_node("a"), 1);
    let name = world.get("persistentvolumeclaims", "data")["spec"]["volumeName"].as_str().unwrap().to_owned();
    let volume = world.kube.api().store().get("persistentvolumes", "", &name).unwrap().value();
    let values = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"];
    assert_eq!((values, &volume["status"]["phase"]), (&json!(["one"]), &json!("Bound")));
    world.delete("pods", "p", DeleteOptions::now());
    zoned(&mut world, "b", "two");
    world.change("nodes", "a", None, |node| node["spec"]["unschedulable"] = json!(true));
    world.create("pods", user("q", "data"));
    let said = message(&world, "q");
    assert!(said.contains("1 node(s) didn't match PersistentVolume's node affinity"), "{said}");
    world.change("nodes", "a", None, |node| node["spec"]["unschedulable"] = json!(false));
    world.to(30);
    assert_eq!(world.on_node("a"), 1);
}

#[test]
fn a_pods_own_volume_has_a_claim_that_goes_with_it_and_another_ones_claim_is_left_alone() {
    let mut world = World::new();
    zoned(&mut world, "a", "one");
    world.create("storage.k8s.io/storageclasses", class("WaitForFirstConsumer", "ebs.csi.aws.com"));
    let mut pod = user("p", "-");
    let mut template = json!({ "spec": claim("x")["spec"] });
    template["metadata"] = json!({ "labels": { "of": "p" } });
    pod["spec"]["volumes"] = json!([{ "name": "own", "ephemeral": { "volumeClaimTemplate": template } }]);
    world.create("pods", pod.clone());
    world.to(5);
    let made = world.get("persistentvolumeclaims", "p-own");
    let owner = &made["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["name"], &owner["controller"]), (&json!("Pod"), &json!("p"), &json!(true)));
    assert_eq!((&made["metadata"]["labels"]["of"], &made["status"]["phase"]), (&json!("p"), &json!("Bound")));
    assert_eq!(world.on_node("a"), 1);
    world.delete("pods", "p", DeleteOptions::now());
    world.to(60);
    assert_eq!(world.kube.api().store().len("persistentvolumeclaims"), 0, "it goes with its pod");

    world.create("persistentvolumeclaims", claim("q-own"));
    pod["metadata"]["name"] = json!("q");
    world.create("pods", pod);
    world.to(70);
    assert!(world.get("persistentvolumeclaims", "q-own")["metadata"]["ownerReferences"].is_null());
    let events = world.kube.api().store().list("events").map(|event| event.value()["message"].clone()).collect::<Vec<_>>();
    assert!(
        events.iter().any(|said| said == "ephemeral volume own: PVC default/q-own was not created for pod default/q (pod is not owner)"),
        "{events:?}"
    );
}

#[rstest]
#[case::missing(None, "persistentvolumeclaim \"data\" not found")]
#[case::immediate(Some("Immediate"), "pod has unbound immediate PersistentVolumeClaims")]
#[case::nobody_provisions(Some("WaitForFirstConsumer"), "1 node(s) didn't find available persistent volumes to bind")]
fn why_a_pod_waits_for_its_claim(#[case] mode: Option<&str>, #[case] words: &str) {
    let mut world = World::new();
    world.node("a", "4");
    if let Some(mode) = mode {
        world.create("storage.k8s.io/storageclasses", class(mode, "kubernetes.io/no-provisioner"));
        world.create("persistentvolumeclaims", claim("data"));
    }
    world.create("pods", user("p", "data"));
    let said = message(&world, "p");
    assert!(said.contains(words), "{said}");
}

#[test]
fn a_node_takes_as_many_volumes_as_its_driver_says() {
    let mut world = World::new();
    zoned(&mut world, "a", "one");
    world.create("storage.k8s.io/storageclasses", class("WaitForFirstConsumer", "ebs.csi.aws.com"));
    let driver = json!({ "name": "ebs.csi.aws.com", "nodeID": "i-1", "topologyKeys": [], "allocatable": { "count": 1 } });
    world.create("storage.k8s.io/csinodes", json!({ "metadata": { "name": "a" }, "spec": { "drivers": [driver] } }));
    for name in ["one", "two"] {
        world.create("persistentvolumeclaims", claim(name));
        world.create("pods", user(name, name));
    }
    world.to(5);
    let said = message(&world, "two");
    assert!(world.on_node("a") == 1 && said.contains("1 node(s) exceed max volume count"), "{said}");
}

#[test]
fn a_volume_that_is_there_is_taken_the_smallest_first() {
    let mut world = World::new();
    world.create("storage.k8s.io/storageclasses", class("Immediate", "kubernetes.io/no-provisioner"));
    for (name, size) in [("large", "9Gi"), ("small", "2Gi"), ("tiny", "1Mi")] {
        let spec = json!({ "storageClassName": "fast", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": size }, "hostPath": { "path": "/x" } });
        world.create("persistentvolumes", json!({ "metadata": { "name": name }, "spec": spec }));
    }
    world.create("persistentvolumeclaims", claim("data"));
    let value = world.get("persistentvolumeclaims", "data");
    assert_eq!((&value["spec"]["volumeName"], &value["status"]["phase"]), (&json!("small"), &json!("Bound")));
    world.delete("persistentvolumeclaims", "data", DeleteOptions::background());
    assert_eq!(world.kube.api().store().get("persistentvolumes", "", "small").unwrap().value()["status"]["phase"], "Released");
}

#[test]
fn a_claim_in_use_goes_when_its_pod_has_gone() {
    let mut world = World::new();
    zoned(&mut world, "a", "one");
    world.create("storage.k8s.io/storageclasses", class("WaitForFirstConsumer", "ebs.csi.aws.com"));
    world.create("persistentvolumeclaims", claim("data"));
    world.create("pods", user("p", "data"));
    world.to(5);
    world.delete("persistentvolumeclaims", "data", DeleteOptions::background());
    assert!(world.get("persistentvolumeclaims", "data")["metadata"]["deletionTimestamp"].is_string());
    world.delete("pods", "p", DeleteOptions::now());
    assert!(world.kube.api().store().get("persistentvolumeclaims", "default", "data").is_none());
}

/// Nodes `a` and `b` of one zone, whose kubelets leave attaching to the controller; a claim with its volume; and its name.
fn attaching(world: &mut World) -> String {
    for name in ["a", "b"] {
        zoned(world, name, "one");
        world.change("nodes", name, None, |node| {
            node["metadata"]["annotations"]["volumes.kubernetes.io/controller-managed-attach-detach"] = json!("true");
        });
    }
    world.create("storage.k8s.io/storageclasses", class("WaitForFirstConsumer", "ebs.csi.aws.com"));
    world.create("persistentvolumeclaims", claim("data"));
    let mut pod = user("p", "data");
    pod["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": "a" });
    world.create("pods", pod);
    world.to(4);
    world.get("persistentvolumeclaims", "data")["spec"]["volumeName"].as_str().unwrap().to_owned()
}

/// Attachments: node, whether attached, whether on its way out.
fn attachments(world: &World) -> Vec<(String, bool, bool)> {
    let all = world.kube.api().store().list("storage.k8s.io/volumeattachments").map(|one| {
        let value = one.value();
        (value["spec"]["nodeName"].as_str().unwrap().to_owned(), value["status"]["attached"] == true, one.meta.deletion.is_some())
    });
    all.collect()
}

fn events(world: &World, reason: &str) -> Vec<String> {
    let all = world.kube.api().store().list("events").map(|event| event.value());
    all.filter(|event| event["reason"] == reason).map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_volume_is_attached_to_one_node_and_must_leave_it_before_it_goes_to_another() {
    let mut world = World::new();
    let volume = attaching(&mut world);
    assert_eq!(attachments(&world), [("a".to_owned(), false, false)]);
    world.to(6);
    assert_eq!(attachments(&world), [("a".to_owned(), true, false)]);
    assert_eq!(events(&world, "SuccessfulAttachVolume"), [format!("AttachVolume.Attach succeeded for volume {volume:?} ")]);
    let shown = world.get("nodes", "a")["status"]["volumesAttached"][0]["name"].as_str().unwrap().to_owned();
    assert!(shown.starts_with("kubernetes.io/csi/ebs.csi.aws.com^vol-"), "{shown}");
    let mut other = user("q", "data");
    other["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": "b" });
    world.create("pods", other);
    assert_eq!(attachments(&world).len(), 1);
    assert_eq!(
        events(&world, "FailedAttachVolume"),
        [format!("Multi-Attach error for volume {volume:?} Volume is already used by pod(s) p")]
    );
    world.delete("pods", "p", DeleteOptions::now());
    assert_eq!(attachments(&world), [("a".to_owned(), true, true)], "it takes a while to leave");
    assert!(world.get("nodes", "a")["status"]["volumesAttached"].is_null());
    world.to(9);
    assert_eq!(attachments(&world), [("b".to_owned(), false, false)]);
    world.to(12);
    assert_eq!(attachments(&world), [("b".to_owned(), true, false)]);
}

#[test]
fn a_broken_node_keeps_its_volumes_for_six_minutes_or_until_it_is_whole() {
    for (mended, gone) in [(false, 6 + 370), (true, 106)] {
        let mut world = World::new();
        attaching(&mut world);
        world.to(6);
        world.ready("a", "Unknown");
        world.delete("pods", "p", DeleteOptions::now());
        world.to(100);
        assert_eq!(attachments(&world), [("a".to_owned(), true, false)]);
        if mended {
            world.ready("a", "True");
        }
        world.to(gone);
        assert_eq!(attachments(&world), [], "mended: {mended}");
    }
}

#[test]
fn a_volume_is_deleted_when_it_is_detached() {
    let mut world = World::new();
    let volume = attaching(&mut world);
    world.to(6);
    world.delete("persistentvolumeclaims", "data", DeleteOptions::background());
    world.delete("pods", "p", DeleteOptions::now());
    assert!(world.kube.api().store().get("persistentvolumes", "", &volume).is_some());
    world.to(12);
    assert!(world.kube.api().store().get("persistentvolumes", "", &volume).is_none());
}
