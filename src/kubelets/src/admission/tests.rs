use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn site() -> Site {
    let labels = json!({ "disk": "ssd", "kubernetes.io/os": "windows" });
    let taints = json!([{ "key": "hot", "effect": "NoExecute" }, { "key": "full", "effect": "NoSchedule" }]);
    let room = json!({ "cpu": "2", "memory": "4Gi", "pods": "4", "example.com/chip": "2" });
    let node = json!({ "metadata": { "name": "n", "labels": labels, "resourceVersion": "9" }, "spec": { "taints": taints },
        "status": { "allocatable": room } });
    Site::from_json(&node).expect("a node")
}

/// A pod on the node that bears its heat and asks for `requests`, with `more` in its spec.
fn pod(requests: Value, more: Value) -> Value {
    let mut spec = json!({ "nodeName": "n", "tolerations": [{ "key": "hot", "operator": "Exists" }],
        "containers": [{ "name": "c", "resources": { "requests": requests } }] });
    spec.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
    json!({ "metadata": { "name": "p", "namespace": "d" }, "spec": spec })
}

fn applicant(pod: &Value) -> Applicant {
    Applicant::of(&serde_json::from_value(pod.clone()).expect("a pod")).expect("a readable pod")
}

fn asks(cpu: &str) -> Applicant {
    applicant(&pod(json!({ "cpu": cpu }), json!({})))
}

fn verdict(one: &Applicant, others: &[Applicant]) -> Verdict {
    admit(one, &site(), &others.iter().collect::<Vec<_>>(), &BTreeMap::new())
}

fn taken() -> Verdict {
    Verdict::Taken { victims: Vec::new() }
}

#[test]
fn what_fits_beside_the_others_is_taken() {
    assert_eq!(verdict(&asks("500m"), &[asks("1"), asks("500m")]), taken());
}

fn affine(values: &[&str]) -> Value {
    let expression = json!({ "key": "disk", "operator": "In", "values": values });
    json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
        { "nodeSelectorTerms": [{ "matchExpressions": [expression] }] } } } })
}

#[rstest]
#[case::cpu(pod(json!({ "cpu": "600m" }), json!({})), "OutOfcpu", "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000")]
#[case::memory(pod(json!({ "memory": "5Gi" }), json!({})), "OutOfmemory", "Node didn't have enough resource: memory, requested: 5368709120, used: 0, capacity: 4294967296")]
#[case::storage(pod(json!({ "ephemeral-storage": "1" }), json!({})), "OutOfephemeral-storage", "Node didn't have enough resource: ephemeral-storage, requested: 1, used: 0, capacity: 0")]
#[case::what_the_node_has(pod(json!({ "example.com/chip": "3" }), json!({})), "OutOfexample.com/chip", "Node didn't have enough resource: example.com/chip, requested: 3, used: 0, capacity: 2")]
#[case::cpu_before_rules(pod(json!({ "cpu": "3" }), json!({ "nodeSelector": { "disk": "hdd" } })), "OutOfcpu", "Node didn't have enough resource: cpu, requested: 3000, used: 1500, capacity: 2000")]
#[case::another_node(pod(json!({}), json!({ "nodeName": "m" })), "NodeName", "Predicate NodeName failed: node(s) didn't match the requested node name")]
#[case::ports(pod(json!({}), json!({ "containers": [{ "name": "c", "ports": [{ "hostPort": 80 }] }] })), "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")]
#[case::other_system(pod(json!({}), json!({ "os": { "name": "windows" } })), "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")]
#[case::groups(pod(json!({}), json!({ "securityContext": { "supplementalGroupsPolicy": "Strict" } })), "SupplementalGroupsPolicyNotSupported", "SupplementalGroupsPolicy=Strict is not supported in this node")]
#[case::sysctls(pod(json!({}), json!({ "securityContext": { "sysctls": [{ "name": "net/core.x/somaxconn", "value": "1" }] } })), "SysctlForbidden", "forbidden sysctl: \"net.core/x.somaxconn\" not allowlisted")]
#[case::sysctls_of_the_host(pod(json!({}), json!({ "hostIPC": true, "securityContext": { "sysctls": [{ "name": "kernel.shm_rmid_forced", "value": "1" }] } })), "SysctlForbidden", "forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host IPC enabled")]
fn a_pod_is_refused_in_the_kubelet_s_words(#[case] new: Value, #[case] reason: &str, #[case] message: &str) {
    let others = [
        asks("1"),
        applicant(&pod(
            json!({ "cpu": "500m" }),
            json!({ "containers": [
        { "name": "c", "ports": [{ "hostPort": 80 }], "resources": { "requests": { "cpu": "500m" } } }] }),
        )),
    ];
    assert_eq!(verdict(&applicant(&new), &others), Verdict::Refused(Refusal::new(reason, message)));
}

#[test]
fn a_node_takes_so_many_pods() {
    let others: Vec<Applicant> = (0..4).map(|_| asks("0")).collect();
    let message = "Node didn't have enough resource: pods, requested: 1, used: 4, capacity: 4";
    assert_eq!(verdict(&asks("0"), &distinct(others)), Verdict::Refused(Refusal::new("OutOfpods", message)));
}

/// With names of their own, as pods of one namespace have.
fn distinct(mut all: Vec<Applicant>) -> Vec<Applicant> {
    all.iter_mut().enumerate().for_each(|(at, one)| Arc::make_mut(&mut one.pod).name = at.to_string());
    all
}

#[rstest]
#[case::labels(pod(json!({}), json!({ "nodeSelector": { "disk": "hdd" } })), "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")]
#[case::affinity(pod(json!({}), affine(&["hdd"])), "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")]
#[case::taints(pod(json!({}), json!({ "tolerations": [{ "key": "full", "operator": "Exists" }] })), "TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate")]
fn labels_and_taints_are_worth_another_look(#[case] new: Value, #[case] reason: &str, #[case] message: &str) {
    assert_eq!(verdict(&applicant(&new), &[]), Verdict::Doubtful(Refusal::new(reason, message)));
}

#[rstest]
#[case::taints_of_the_scheduler_are_not_the_kubelet_s(pod(json!({}), json!({})))]
#[case::what_the_node_does_not_have_is_somebody_else_s(pod(json!({ "example.com/other": "3" }), json!({})))]
#[case::the_system_is_what_it_is_whatever_the_label_says(pod(json!({}), json!({ "nodeSelector": { "kubernetes.io/os": "linux" } })))]
#[case::affinity(pod(json!({}), affine(&["hdd", "ssd"])))]
fn some_things_are_no_reason(#[case] new: Value) {
    assert_eq!(verdict(&applicant(&new), &[]), taken());
}

#[test]
fn a_label_of_the_pod_names_its_system() {
    let mut new = pod(json!({}), json!({}));
    new["metadata"]["labels"] = json!({ "kubernetes.io/os": "windows" });
    let Verdict::Refused(refusal) = verdict(&applicant(&new), &[]) else { panic!("it is refused") };
    assert_eq!(refusal.reason, "PodOSSelectorNodeLabelDoesNotMatch");
}

#[test]
fn taints_do_not_keep_static_pods_away() {
    let mut new = pod(json!({}), json!({ "tolerations": [] }));
    new["metadata"]["annotations"] = json!({ "kubernetes.io/config.source": "file" });
    assert_eq!(verdict(&applicant(&new), &[]), taken());
}

fn of_class(class: &str, cpu: &str, priority: i32) -> Applicant {
    let mut pod = pod(json!({ "cpu": cpu }), json!({ "priority": priority }));
    pod["status"] = json!({ "qosClass": class });
    applicant(&pod)
}

const SYSTEM: i32 = 2_000_001_000;

#[test]
fn a_critical_pod_makes_the_least_of_the_others_go() {
    let others = distinct(vec![
        of_class("Guaranteed", "400m", 0),
        of_class("Burstable", "700m", 0),
        of_class("Burstable", "600m", 0),
        of_class("Burstable", "300m", SYSTEM),
    ]);
    // Two thousand less what is there is nothing: 500m have to come free, and a place among four pods.
    let new = of_class("Burstable", "500m", SYSTEM);
    assert_eq!(verdict(&new, &others), Verdict::Taken { victims: vec![2] }, "the nearest of those that count less");
    let new = of_class("Burstable", "1300m", SYSTEM);
    assert_eq!(verdict(&new, &others), Verdict::Taken { victims: vec![1, 2] });
    let new = of_class("Burstable", "1500m", SYSTEM);
    assert_eq!(verdict(&new, &others), Verdict::Taken { victims: vec![1, 2, 0] }, "guaranteed pods last");
}

#[test]
fn a_critical_pod_that_cannot_be_helped_is_refused() {
    let others = distinct(vec![of_class("Guaranteed", "1", SYSTEM), of_class("BestEffort", "0", 0)]);
    let new = of_class("Guaranteed", "2", SYSTEM);
    let message = "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: \
                   no set of running pods found to reclaim resources: [(res: cpu, q: 1000), ]";
    assert_eq!(verdict(&new, &others), Verdict::Refused(Refusal::new("UnexpectedAdmissionError", message)));
    // Rules are not bent for it, and come before what it lacks.
    let mut new = pod(json!({ "cpu": "3" }), json!({ "priority": SYSTEM, "nodeSelector": { "disk": "hdd" } }));
    new["status"] = json!({ "qosClass": "Burstable" });
    let Verdict::Refused(refusal) = verdict(&applicant(&new), &others) else { panic!("it is refused") };
    assert_eq!(refusal.reason, "NodeAffinity");
}

fn chips(init: &[(u64, bool)], main: u64) -> Applicant {
    let container = |name: String, count: u64| json!({ "name": name, "resources": { "limits": { "x.io/chip": count.to_string() } } });
    let inits: Vec<Value> = init
        .iter()
        .enumerate()
        .map(|(at, (count, sidecar))| {
            let mut one = container(format!("i{at}"), *count);
            if *sidecar {
                one["restartPolicy"] = json!("Always");
            }
            one
        })
        .collect();
    applicant(&pod(json!({}), json!({ "initContainers": inits, "containers": [container("c".to_owned(), main)] })))
}

#[rstest]
#[case::enough(chips(&[], 2), None)]
#[case::too_many(chips(&[], 3), Some((3, 2)))]
#[case::init_containers_hand_on(chips(&[(2, false)], 2), None)]
#[case::sidecars_keep(chips(&[(1, true)], 2), Some((2, 1)))]
#[case::sidecars_take_over_what_they_keep(chips(&[(1, false), (1, true)], 2), Some((2, 1)))]
#[case::part_is_handed_on(chips(&[(1, false)], 3), Some((2, 1)))]
fn devices_are_given_as_long_as_there_are_some(#[case] new: Applicant, #[case] lacks: Option<(u64, u64)>) {
    let announced = BTreeMap::from([("x.io/chip".to_owned(), 4)]);
    let other = chips(&[(2, false)], 2);
    let message = |(requested, available): (u64, u64)| {
        format!(
            "Allocate failed due to requested number of devices unavailable for x.io/chip. Requested: {requested}, Available: {available}, \
             which is unexpected"
        )
    };
    let expect = lacks.map_or(taken(), |lacks| Verdict::Refused(Refusal::new("UnexpectedAdmissionError", message(lacks))));
    assert_eq!(admit(&new, &site(), &[&other], &announced), expect);
    assert_eq!(admit(&new, &site(), &[&other], &BTreeMap::new()), taken(), "nobody knows them before their plugin has spoken");
}

#[test]
fn amounts_beyond_measure_end_nothing() {
    let most = "9223372036854775807";
    let huge = applicant(&pod(json!({ "cpu": most, "memory": most, "example.com/chip": most }), json!({ "priority": SYSTEM })));
    let others = distinct(vec![huge.clone(), huge.clone()]);
    assert!(matches!(verdict(&huge, &others), Verdict::Refused(_)));
    assert!(Site::from_json(&json!({ "status": { "allocatable": { "cpu": "many" } } })).is_none());
}

#[test]
fn what_was_seen_earlier_is_older() {
    let seen = |version: &str| Site::from_json(&json!({ "metadata": { "name": "n", "resourceVersion": version } })).expect("a node");
    assert!(seen("9").is_older_than(&seen("10")) && !seen("10").is_older_than(&seen("9")));
}
