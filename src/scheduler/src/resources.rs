//! Amounts as kube-scheduler counts them (`framework/types.go`, Resource).

use crate::wire::{Amounts, Container, PodSpec};
use std::collections::BTreeMap;

/// CPU in thousandths of a core, memory and ephemeral storage in bytes, pieces of everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// Extended resources, huge pages and attachable volumes.
    pub scalar: BTreeMap<String, i64>,
}

/// What a container without a request counts for when nodes are scored: 0.1 core and 200 MiB (`util/pod_resources.go`).
pub const DEFAULT_MILLI_CPU_REQUEST: i64 = 100;
pub const DEFAULT_MEMORY_REQUEST: i64 = 200 * 1024 * 1024;

impl Resource {
    pub fn from_amounts(amounts: &Amounts) -> Self {
        let mut resource = Resource::default();
        for (name, quantity) in amounts {
            match name.as_str() {
                "cpu" => resource.milli_cpu = quantity.milli_ceil(),
                "memory" => resource.memory = quantity.ceil(),
                "ephemeral-storage" => resource.ephemeral_storage = quantity.ceil(),
                _ if is_scalar(name) => {
                    resource.scalar.insert(name.clone(), quantity.ceil());
                }
                _ => {}
            }
        }
        resource
    }

    pub fn add(&mut self, other: &Resource) {
        self.milli_cpu = self.milli_cpu.saturating_add(other.milli_cpu);
        self.memory = self.memory.saturating_add(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.saturating_add(other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            let slot = self.scalar.entry(name.clone()).or_default();
            *slot = slot.saturating_add(*amount);
        }
    }

    pub fn subtract(&mut self, other: &Resource) {
        self.milli_cpu = self.milli_cpu.saturating_sub(other.milli_cpu);
        self.memory = self.memory.saturating_sub(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.saturating_sub(other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            let slot = self.scalar.entry(name.clone()).or_default();
            *slot = slot.saturating_sub(*amount);
        }
    }

    fn max(&mut self, other: &Resource) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.max(other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            let slot = self.scalar.entry(name.clone()).or_default();
            *slot = (*slot).max(*amount);
        }
    }

    pub fn scalar(&self, name: &str) -> i64 {
        self.scalar.get(name).copied().unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.milli_cpu == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.scalar.is_empty()
    }
}

/// `util/utils.go`, IsScalarResourceName: extended resources, huge pages, `*kubernetes.io/*`, attachable volumes.
fn is_scalar(name: &str) -> bool {
    name.contains('/') || name.starts_with("hugepages-") || name.starts_with("attachable-volumes-")
}

/// What a pod asks for: containers and sidecars together, or the widest moment of its init containers, and its overhead
/// (`k8s.io/component-helpers/resource/helpers.go`, PodRequests). With `for_scoring`, a container without a request for CPU or
/// memory counts for the defaults above. The second and the first answer differ in these two amounts only.
pub fn pod_requests(spec: &PodSpec, for_scoring: bool) -> Resource {
    let of = |container: &Container| {
        let mut resource = Resource::from_amounts(&container.resources.requests);
        if for_scoring && !container.resources.requests.contains_key("cpu") {
            resource.milli_cpu = DEFAULT_MILLI_CPU_REQUEST;
        }
        if for_scoring && !container.resources.requests.contains_key("memory") {
            resource.memory = DEFAULT_MEMORY_REQUEST;
        }
        resource
    };
    let mut total = Resource::default();
    for container in &spec.containers {
        total.add(&of(container));
    }
    let (mut sidecars, mut widest) = (Resource::default(), Resource::default());
    for container in &spec.init_containers {
        let mut step = of(container);
        if container.restart_policy == "Always" {
            total.add(&step);
            sidecars.add(&step);
            step = sidecars.clone();
        } else {
            step.add(&sidecars);
        }
        widest.max(&step);
    }
    total.max(&widest);
    override_by_pod_level(&mut total, &spec.resources.requests);
    total.add(&Resource::from_amounts(&spec.overhead));
    total
}

/// Requests of the pod itself replace the sum of its containers, for CPU, memory and huge pages.
fn override_by_pod_level(total: &mut Resource, requests: &Amounts) {
    let level = Resource::from_amounts(requests);
    if requests.contains_key("cpu") {
        total.milli_cpu = level.milli_cpu;
    }
    if requests.contains_key("memory") {
        total.memory = level.memory;
    }
    total.scalar.extend(level.scalar.into_iter().filter(|(name, _)| name.starts_with("hugepages-")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn container(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}})
    }

    fn sidecar(cpu: &str) -> Value {
        json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}})
    }

    #[rstest]
    #[case::containers_add_up(json!({"containers": [container("1"), container("500m")]}), 1500)]
    #[case::init_containers_run_one_by_one(json!({"containers": [container("1")], "initContainers": [container("2"), container("3")]}), 3000)]
    #[case::sidecars_stay(json!({"containers": [container("1")], "initContainers": [sidecar("1"), container("3")]}), 4000)]
    #[case::later_sidecars_do_not_count_for_earlier_steps(json!({"containers": [container("1")], "initContainers": [container("3"), sidecar("1")]}), 3000)]
    #[case::overhead(json!({"containers": [container("1")], "overhead": {"cpu": "250m"}}), 1250)]
    #[case::pod_level(json!({"containers": [container("1")], "resources": {"requests": {"cpu": "300m"}}}), 300)]
    #[case::rounded_up(json!({"containers": [container("0.0001")]}), 1)]
    fn cpu(#[case] spec: Value, #[case] milli: i64) {
        assert_eq!(pod_requests(&crate::wire::read("spec", &spec).unwrap(), false).milli_cpu, milli);
    }

    #[test]
    fn a_container_without_requests_counts_when_scored() {
        let spec: PodSpec = crate::wire::read("spec", &json!({"containers": [{}, {"resources": {"requests": {"memory": "0"}}}]})).unwrap();
        assert_eq!(pod_requests(&spec, false), Resource::default());
        let scored = pod_requests(&spec, true);
        assert_eq!((scored.milli_cpu, scored.memory), (200, DEFAULT_MEMORY_REQUEST));
    }

    #[test]
    fn only_known_names_count() {
        let amounts = serde_json::from_value(json!({"nvidia.com/gpu": "2", "hugepages-2Mi": "4Mi", "apples": "3"})).unwrap();
        let scalar = Resource::from_amounts(&amounts).scalar;
        assert_eq!(scalar.keys().map(String::as_str).collect::<Vec<_>>(), ["hugepages-2Mi", "nvidia.com/gpu"]);
    }
}
