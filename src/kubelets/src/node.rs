//! The Node object: what a kubelet writes when it joins, and the cloud-controller-manager's part of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::boot::Bootstrap;
use crate::capacity;
use crate::machine::{Architecture, ImageFamily, Machine};
use crate::profile::Profile;
use crate::words::Word;

/// The whole object, as it is at the moment of joining: not ready. `boot_id` is a UUID that is new at each boot.
///
/// The cloud-controller-manager's labels are there from the start, and its `uninitialized` taint is not, since nothing waits for it.
pub fn node(machine: &Machine, bootstrap: &Bootstrap, profile: &Profile, boot_id: &str, now: Timestamp) -> Value {
    let taints: Vec<Value> = bootstrap
        .taints
        .iter()
        .map(|taint| match taint.value.as_str() {
            "" => json!({ "key": taint.key, "effect": taint.effect }),
            value => json!({ "key": taint.key, "value": value, "effect": taint.effect }),
        })
        .collect();
    let mut spec = json!({ "providerID": machine.provider_id() });
    if !taints.is_empty() {
        spec["taints"] = Value::from(taints);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": machine.private_dns_name,
            "labels": labels(machine, bootstrap),
            "annotations": {
                "alpha.kubernetes.io/provided-node-ip": machine.private_ip,
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        },
        "spec": spec,
        "status": status(machine, bootstrap, profile, boot_id, now),
    })
}

/// Labels by user data first; those of the kubelet and of the cloud win. Source: kubernetes `pkg/kubelet/kubelet_node_status.go`
/// (`initialNode`), cloud-provider-aws `pkg/providers/v1/instances_v2.go`.
fn labels(machine: &Machine, bootstrap: &Bootstrap) -> BTreeMap<String, String> {
    let own = [
        ("beta.kubernetes.io/arch", machine.architecture.name()),
        ("beta.kubernetes.io/instance-type", &machine.instance_type),
        ("beta.kubernetes.io/os", "linux"),
        ("failure-domain.beta.kubernetes.io/region", &machine.region),
        ("failure-domain.beta.kubernetes.io/zone", &machine.zone),
        ("kubernetes.io/arch", machine.architecture.name()),
        ("kubernetes.io/hostname", &machine.private_dns_name),
        ("kubernetes.io/os", "linux"),
        ("node.kubernetes.io/instance-type", &machine.instance_type),
        ("topology.k8s.aws/zone-id", &machine.zone_id),
        ("topology.kubernetes.io/region", &machine.region),
        ("topology.kubernetes.io/zone", &machine.zone),
    ];
    let mut labels = bootstrap.labels.clone();
    labels.extend(own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
    labels
}

/// The status at the moment of joining.
fn status(machine: &Machine, bootstrap: &Bootstrap, profile: &Profile, boot_id: &str, now: Timestamp) -> Value {
    let (capacity, allocatable) = capacity::resources(machine, bootstrap, profile);
    let hexadecimal: String = machine.id.chars().filter(char::is_ascii_hexdigit).collect();
    json!({
        "capacity": capacity,
        "allocatable": allocatable,
        "addresses": [
            { "type": "InternalIP", "address": machine.private_ip },
            { "type": "InternalDNS", "address": machine.private_dns_name },
            { "type": "Hostname", "address": machine.private_dns_name },
        ],
        "conditions": conditions(&[], false, now),
        // What containerd says of itself since 2.0.
        "features": { "supplementalGroupsPolicy": true },
        "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
        "nodeInfo": {
            "architecture": machine.architecture.name(),
            "bootID": boot_id,
            "containerRuntimeVersion": "containerd://2.1.5",
            "kernelVersion": kernel(machine.image_family, machine.architecture),
            "kubeProxyVersion": "",
            "kubeletVersion": profile.kubelet_version,
            "machineID": format!("ec2{hexadecimal:0>29}"),
            "operatingSystem": "linux",
            "osImage": os_image(machine.image_family),
            "systemUUID": format!("ec2{hexadecimal:0>29}"),
        },
    })
}

fn kernel(family: ImageFamily, architecture: Architecture) -> String {
    let suffix = architecture.kernel_name();
    match family {
        ImageFamily::AmazonLinux2 => format!("5.10.245-241.976.amzn2.{suffix}"),
        ImageFamily::Bottlerocket => "6.12.55".to_owned(),
        _ => format!("6.12.55-74.119.amzn2023.{suffix}"),
    }
}

fn os_image(family: ImageFamily) -> &'static str {
    match family {
        ImageFamily::AmazonLinux2 => "Amazon Linux 2",
        ImageFamily::Bottlerocket => "Bottlerocket OS 1.51.0 (aws-k8s-1.36)",
        _ => "Amazon Linux 2023.9.20251117",
    }
}

/// A condition of a node that is broken on purpose: `Ready` as the kubelet says it, others as the node monitoring agent does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// `Ready`, `KernelReady`, …
    pub condition: String,
    /// `True`, `False` or `Unknown`. `Ready` that is `Unknown` means that the kubelet falls silent; `True` ends the problem.
    pub status: String,
    pub reason: String,
    pub message: String,
    /// The time of transition that it carries.
    pub since: Timestamp,
}

/// The conditions of the node with its problems, which outdo what the kubelet would say.
pub fn troubled(existing: &[NodeCondition], ready: bool, problems: &[Problem], now: Timestamp) -> Vec<NodeCondition> {
    let mut conditions = conditions(existing, ready, now);
    for problem in problems {
        let condition = NodeCondition {
            type_: problem.condition.clone(),
            status: problem.status.clone(),
            reason: Some(problem.reason.clone()),
            message: Some(problem.message.clone()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(Time(problem.since)),
        };
        match conditions.iter_mut().find(|there| there.type_ == problem.condition) {
            Some(place) => *place = condition,
            None => conditions.push(condition),
        }
    }
    conditions
}

/// The kubelet's own conditions, put into those that are there: other people's stay as they are. A condition that does not change
/// keeps its time of transition.
pub fn conditions(existing: &[NodeCondition], ready: bool, now: Timestamp) -> Vec<NodeCondition> {
    let pressure = |kind: &'static str, reason: &'static str, message: &'static str| (kind, "False", reason, message);
    let readiness = match ready {
        true => ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        false => (
            "Ready",
            "False",
            "KubeletNotReady",
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns \
             error: cni plugin not initialized",
        ),
    };
    let own = [
        pressure("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        pressure("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        pressure("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        readiness,
    ];
    let mut conditions = existing.to_vec();
    for (kind, status, reason, message) in own {
        let before = conditions.iter().position(|condition| condition.type_ == kind);
        let unchanged = before.and_then(|index| conditions.get(index)).filter(|condition| condition.status == status);
        let since = unchanged.and_then(|condition| condition.last_transition_time.clone()).unwrap_or(Time(now));
        let condition = NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(since),
        };
        match before.and_then(|index| conditions.get_mut(index)) {
            Some(place) => *place = condition,
            None => conditions.push(condition),
        }
    }
    conditions
}

/// What a kubelet says when it starts (kubernetes `pkg/kubelet/{kubelet.go,nodestatus/setters.go,cm/node_container_manager_linux.go}`).
pub fn starts(name: &str, now: Timestamp) -> [Word; 5] {
    [
        Word::normal(now, "Starting", "Starting kubelet."),
        turned(name, "NodeHasSufficientMemory", now),
        turned(name, "NodeHasNoDiskPressure", now),
        turned(name, "NodeHasSufficientPID", now),
        Word::normal(now, "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods"),
    ]
}

/// A condition of the node is another (`pkg/kubelet/kubelet_node_status.go`, recordNodeStatusEvent).
pub fn turned(name: &str, reason: &'static str, now: Timestamp) -> Word {
    Word::normal(now, reason, format!("Node {name} status is now: {reason}"))
}

/// The reason for which a kubelet speaks of a condition; it is silent about those of others.
pub fn turn(condition: &str, status: &str) -> Option<&'static str> {
    Some(match (condition, status == "True") {
        ("Ready", true) => "NodeReady",
        ("Ready", false) => "NodeNotReady",
        ("MemoryPressure", true) => "NodeHasInsufficientMemory",
        ("MemoryPressure", false) => "NodeHasSufficientMemory",
        ("DiskPressure", true) => "NodeHasDiskPressure",
        ("DiskPressure", false) => "NodeHasNoDiskPressure",
        ("PIDPressure", true) => "NodeHasInsufficientPID",
        ("PIDPressure", false) => "NodeHasSufficientPID",
        _ => return None,
    })
}

/// The driver of the cluster's volumes.
pub const EBS: &str = "ebs.csi.aws.com";

/// The name of a volume's attachment to a node (kubernetes `pkg/volume/csi/csi_attacher.go`, getAttachmentName).
pub fn attachment(handle: &str, driver: &str, node: &str) -> String {
    let digest = Sha256::digest(format!("{handle}{driver}{node}").as_bytes());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("csi-{digits}")
}

/// The node's CSINode, with the EBS driver and how many volumes it attaches.
pub fn csi_node(machine: &Machine, uid: &str) -> Value {
    let name = &machine.private_dns_name;
    let places = ["kubernetes.io/os", "topology.ebs.csi.aws.com/zone", "topology.k8s.aws/zone-id", "topology.kubernetes.io/zone"];
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSINode",
        "metadata": { "name": name, "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": uid }] },
        "spec": { "drivers": [{
            "name": EBS, "nodeID": machine.id, "topologyKeys": places, "allocatable": { "count": volumes(machine) },
        }] },
    })
}

/// Volumes that may be attached beside the root: a Nitro machine shares 28 places among volumes, network interfaces (one at the driver's
/// start) and local disks. Source: aws-ebs-csi-driver `pkg/driver/node.go`, getVolumesLimit. Machines of a fixed size of their own (dedicated
/// limits, metal, Xen) are not told apart, and local disks count as one.
fn volumes(machine: &Machine) -> u32 {
    28 - 1 - 1 - u32::from(machine.local_storage_gb > 0)
}

/// How long a Lease holds without a renewal, in seconds (`nodeLeaseDurationSeconds`); it is renewed after a quarter of that.
pub const LEASE_SECONDS: i64 = 40;

/// The node's Lease, in the form that the node-lifecycle controller reads.
pub fn lease(name: &str, uid: &str, now: Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": uid }],
        },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": MicroTime(now) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    fn of<'a>(conditions: &'a [NodeCondition], kind: &str) -> &'a NodeCondition {
        conditions.iter().find(|condition| condition.type_ == kind).expect("it is there")
    }

    #[test]
    fn becoming_ready_moves_one_transition_and_every_heartbeat() {
        let joined = conditions(&[], false, at(0));
        let ready = conditions(&joined, true, at(5));
        assert_eq!(of(&ready, "Ready").status, "True");
        assert_eq!(of(&ready, "Ready").last_transition_time, Some(Time(at(5))));
        assert_eq!(of(&ready, "MemoryPressure").last_transition_time, Some(Time(at(0))));
        assert!(ready.iter().all(|condition| condition.last_heartbeat_time == Some(Time(at(5)))));
    }

    #[test]
    fn a_node_says_how_many_volumes_it_takes() {
        let mut machine = crate::machine::tests::machine("i-1");
        let count = |machine: &Machine| csi_node(machine, "u")["spec"]["drivers"][0]["allocatable"]["count"].as_u64();
        assert_eq!(count(&machine), Some(26));
        machine.local_storage_gb = 75;
        assert_eq!(count(&machine), Some(25));
        assert_eq!(csi_node(&machine, "u")["metadata"]["ownerReferences"][0]["uid"], "u");
    }

    #[test]
    fn conditions_of_others_stay() {
        let foreign = NodeCondition { type_: "KernelReady".into(), status: "True".into(), ..Default::default() };
        let merged = conditions(std::slice::from_ref(&foreign), true, at(0));
        assert_eq!(merged.first(), Some(&foreign));
        assert_eq!(merged.len(), 5);
    }
}
