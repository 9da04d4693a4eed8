//! Which pod a node that is short of something ends next, and which it does not take.
//!
//! Source: kubernetes `pkg/kubelet/eviction/{eviction_manager,helpers}.go`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::critical;
use super::life::EVICTED;
use crate::admission::Refusal;
use crate::quantity;

/// Annotations of a pod that say what it uses (see the metrics server's): `usage.dryfit.dev/memory`, in steps by its age.
const USAGE: &str = "usage.dryfit.dev/";

/// The conditions under which a node does not take every pod.
pub const PRESSURES: [&str; 3] = ["MemoryPressure", "DiskPressure", "PIDPressure"];

/// What a node may be short of, by its condition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Shortage {
    Memory,
    Disk,
}

impl Shortage {
    pub fn of(condition: &str) -> Option<Shortage> {
        match condition {
            "MemoryPressure" => Some(Shortage::Memory),
            "DiskPressure" => Some(Shortage::Disk),
            _ => None,
        }
    }

    pub fn resource(self) -> &'static str {
        match self {
            Shortage::Memory => "memory",
            Shortage::Disk => "ephemeral-storage",
        }
    }
}

/// What decides a pod's place among those that go.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Appetite {
    priority: i32,
    /// Neither evicted nor refused: a static pod, or one of a system priority.
    critical: bool,
    /// Its owner makes it again on the same node.
    pub daemon: bool,
    best_effort: bool,
    tolerates_memory: bool,
    pub created: Option<Timestamp>,
    memory: Share,
    disk: Share,
    first: String,
}

/// Of one resource: bytes that the pod asks for and uses.
#[derive(Clone, PartialEq, Debug, Default)]
struct Share {
    request: i128,
    /// What the first container asks for, as written; that is the one that uses something.
    asked: String,
    usage: Option<String>,
}

impl Appetite {
    pub fn of(pod: &Pod) -> Appetite {
        let Some(spec) = &pod.spec else { return Appetite::default() };
        let notes = pod.metadata.annotations.as_ref();
        let note = |name: &str| notes.and_then(|notes| notes.get(name)).cloned();
        let priority = spec.priority.unwrap_or(0);
        let share = |resource: &str| Share {
            request: request(spec, resource),
            asked: spec.containers.first().and_then(|one| asked(one, resource)).unwrap_or_else(|| "0".to_owned()),
            usage: note(&format!("{USAGE}{resource}")),
        };
        let tolerates = |toleration: &k8s_openapi::api::core::v1::Toleration| {
            let key = toleration.key.as_deref().unwrap_or_default();
            let effect = toleration.effect.as_deref().unwrap_or_default();
            let exists = toleration.operator.as_deref() == Some("Exists");
            let named =
                key == "node.kubernetes.io/memory-pressure" && (exists || toleration.value.as_deref().unwrap_or_default().is_empty());
            (named || key.is_empty() && exists) && (effect.is_empty() || effect == "NoSchedule")
        };
        Appetite {
            priority,
            critical: critical::is_critical(pod),
            daemon: pod.metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true) && owner.kind == "DaemonSet"),
            best_effort: pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) == Some("BestEffort"),
            tolerates_memory: spec.tolerations.iter().flatten().any(tolerates),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            memory: share("memory"),
            disk: share("ephemeral-storage"),
            first: spec.containers.first().map(|one| one.name.clone()).unwrap_or_default(),
        }
    }

    /// Whether it may be evicted at all.
    pub fn may_go(&self) -> bool {
        !self.critical
    }

    /// Who goes first (`rankMemoryPressure`, `rankDiskPressureFunc`): who uses more than it asks for, then who counts less, then who uses
    /// more beyond what it asks for.
    pub fn rank(&self, other: &Appetite, shortage: Shortage, now: Timestamp) -> Ordering {
        let over = |one: &Appetite| one.usage(shortage, now) - one.share(shortage).request;
        let (mine, theirs) = (over(self), over(other));
        (theirs > 0).cmp(&(mine > 0)).then(self.priority.cmp(&other.priority)).then(theirs.cmp(&mine))
    }

    /// The kubelet's words for why this one goes (`evictionMessage`). It measures nothing, so it names no threshold.
    pub fn farewell(&self, shortage: Shortage, now: Timestamp) -> String {
        let (resource, used) = (shortage.resource(), self.usage(shortage, now));
        let asked = &self.share(shortage).asked;
        let mut message = format!("The node was low on resource: {resource}. ");
        if used > quantity::units(asked).unwrap_or(0) {
            let used = binary(used);
            message += &format!("Container {} was using {used}, request is {asked}, has larger consumption of {resource}. ", self.first);
        }
        message
    }

    /// Why a node with these conditions of [`PRESSURES`] does not take it, if it does not (`Admit`).
    pub fn refusal(&self, pressures: &[&str]) -> Option<Refusal> {
        let bears = match pressures {
            [] => true,
            ["MemoryPressure"] => !self.best_effort || self.tolerates_memory,
            _ => false,
        };
        (!bears && !self.critical).then(|| Refusal::new(EVICTED, format!("The node had condition: [{}]. ", pressures.join(" "))))
    }

    fn share(&self, shortage: Shortage) -> &Share {
        match shortage {
            Shortage::Memory => &self.memory,
            Shortage::Disk => &self.disk,
        }
    }

    /// Bytes at `now`, by the annotation's steps.
    fn usage(&self, shortage: Shortage, now: Timestamp) -> i128 {
        let Some(text) = &self.share(shortage).usage else { return 0 };
        let age = self.created.map_or(SignedDuration::ZERO, |created| now.duration_since(created));
        let mut steps = text.split(',').map(|step| match step.split_once('=') {
            Some((from, amount)) => (super::runs::duration(from.trim(), "").unwrap_or(SignedDuration::MAX), amount.trim()),
            None => (SignedDuration::ZERO, step.trim()),
        });
        steps.rfind(|(from, _)| *from <= age).and_then(|(_, amount)| quantity::units(amount)).unwrap_or(0)
    }
}

fn asked(container: &Container, resource: &str) -> Option<String> {
    Some(container.resources.as_ref()?.requests.as_ref()?.get(resource)?.0.clone())
}

/// What a pod asks for: its containers together, or its greediest init container.
fn request(spec: &PodSpec, resource: &str) -> i128 {
    let of = |container: &Container| asked(container, resource).and_then(|text| quantity::units(&text)).unwrap_or(0);
    let all = spec.containers.iter().map(of).fold(0, i128::saturating_add);
    let pod = spec.resources.as_ref().and_then(|own| own.requests.as_ref()).and_then(|own: &BTreeMap<_, _>| own.get(resource));
    let own = pod.and_then(|quantity| quantity::units(&quantity.0));
    own.unwrap_or_else(|| all.max(spec.init_containers.iter().flatten().map(of).max().unwrap_or(0)))
}

/// Bytes as a quantity in powers of 1024, as Go's `resource.Quantity` writes them.
fn binary(bytes: i128) -> String {
    let (mut number, mut unit) = (bytes, 0);
    while number != 0 && number % 1024 == 0 && unit < 4 {
        number /= 1024;
        unit += 1;
    }
    format!("{number}{}", ["", "Ki", "Mi", "Gi", "Ti"][unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn pod(name: &str, priority: i32, request: &str, usage: &str) -> Appetite {
        let pod = json!({
            "metadata": { "name": name, "annotations": { "usage.dryfit.dev/memory": usage }, "creationTimestamp": "2027-01-15T08:00:00Z" },
            "spec": { "priority": priority, "containers": [{ "name": name, "resources": { "requests": { "memory": request } } }] },
        });
        Appetite::of(&serde_json::from_value(pod).expect("a pod"))
    }

    fn now() -> Timestamp {
        "2027-01-15T08:10:00Z".parse().expect("a time")
    }

    #[test]
    fn who_uses_more_than_asked_goes_first_then_who_counts_less_then_who_uses_most() {
        let mut pods = [
            pod("modest", 0, "500Mi", "400Mi"),
            pod("important-and-greedy", 100, "100Mi", "900Mi"),
            pod("greedy", 0, "100Mi", "300Mi"),
            pod("greedier", 0, "100Mi", "0s=1Mi, 5m=1Gi"),
        ];
        pods.sort_by(|one, other| one.rank(other, Shortage::Memory, now()));
        let names: Vec<&str> = pods.iter().map(|one| one.first.as_str()).collect();
        assert_eq!(names, ["greedier", "greedy", "important-and-greedy", "modest"]);
    }

    #[rstest]
    #[case(
        "100Mi",
        "300Mi",
        "The node was low on resource: memory. Container c was using 300Mi, request is 100Mi, has larger consumption of memory. "
    )]
    #[case("500Mi", "300Mi", "The node was low on resource: memory. ")]
    fn it_says_so_in_the_kubelet_s_words(#[case] request: &str, #[case] usage: &str, #[case] expect: &str) {
        assert_eq!(pod("c", 0, request, usage).farewell(Shortage::Memory, now()), expect);
    }

    #[rstest]
    #[case::burstable_under_memory_pressure(&["MemoryPressure"], "Burstable", 0, None)]
    #[case::best_effort(&["MemoryPressure"], "BestEffort", 0, Some("The node had condition: [MemoryPressure]. "))]
    #[case::whoever_comes_without_disk(&["DiskPressure"], "Guaranteed", 0, Some("The node had condition: [DiskPressure]. "))]
    #[case::whoever_comes_without_processes(&["PIDPressure"], "Burstable", 0, Some("The node had condition: [PIDPressure]. "))]
    #[case::critical(&["DiskPressure"], "BestEffort", 2_000_001_000, None)]
    #[case::no_pressure(&[], "BestEffort", 0, None)]
    fn a_node_under_pressure_chooses_whom_it_takes(
        #[case] pressures: &[&str],
        #[case] class: &str,
        #[case] priority: i32,
        #[case] expect: Option<&str>,
    ) {
        let pod = json!({ "metadata": {}, "spec": { "priority": priority, "containers": [] }, "status": { "qosClass": class } });
        let appetite = Appetite::of(&serde_json::from_value(pod).expect("a pod"));
        let refusal = appetite.refusal(pressures);
        assert!(refusal.iter().all(|refusal| refusal.reason == "Evicted"));
        assert_eq!(refusal.map(|refusal| refusal.message).as_deref(), expect);
    }
}
