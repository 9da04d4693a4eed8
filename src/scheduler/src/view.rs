//! The cluster as the scheduler knows it. Every change is applied once, so that nothing is summed up again per pod.

use crate::node::NodeInfo;
use crate::plugins::volumes::{Binding, Claims};
use crate::pod::PodInfo;
use crate::selector::Selector;
use crate::storage::Storage;
use crate::wire::{self, Labels, ReadError};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Nodes with their pods, and the few other objects that the default rules look at.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    nodes: BTreeMap<String, NodeInfo>,
    /// Node and shape of each assigned pod, by `namespace/name`.
    assigned: BTreeMap<String, (String, u32)>,
    /// Pods whose node is not (or no longer) known.
    homeless: BTreeMap<String, Arc<PodInfo>>,
    shapes: Shapes,
    namespaces: BTreeMap<String, Labels>,
    services: BTreeMap<(String, String), Selector>,
    /// Selectors of ReplicaSets, StatefulSets and ReplicationControllers, by (namespace, kind, name).
    workloads: BTreeMap<(String, String, String), Selector>,
    pub(crate) budgets: BTreeMap<(String, String), Budget>,
    storage: Storage,
    /// Pods that preemption has promised a node, by node and `namespace/name`, until they are bound or gone.
    nominated: BTreeMap<String, BTreeMap<String, Arc<PodInfo>>>,
    /// How many assigned pods have any terms about other pods, and how many of them required anti-affinity: mostly none, and then nobody
    /// looks for them.
    with_affinity: usize,
    with_required_anti_affinity: usize,
    /// Where the search for feasible nodes begins in large clusters (`schedule_one.go`, nextStartNodeIndex).
    next_start: usize,
    /// The name of the node there, while that is known: then nobody walks to it.
    start_name: Option<String>,
}

/// A PodDisruptionBudget as preemption sees it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pub selector: Selector,
    pub allowed: i32,
    pub disrupted: Vec<String>,
}

/// Numbers for pairs of namespace and labels, so that selectors are matched once per distinct pair, not once per pod.
#[derive(Clone, Debug, Default)]
struct Shapes {
    numbers: BTreeMap<(String, Labels), u32>,
    by_number: Vec<Shape>,
    free: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
struct Shape {
    namespace: String,
    labels: Labels,
    users: u64,
}

impl Shapes {
    fn take(&mut self, pod: &PodInfo) -> u32 {
        let key = (pod.namespace.clone(), pod.labels.clone());
        if let Some(number) = self.numbers.get(&key) {
            self.by_number[*number as usize].users += 1;
            return *number;
        }
        let shape = Shape { namespace: pod.namespace.clone(), labels: pod.labels.clone(), users: 1 };
        let number = match self.free.pop() {
            Some(number) => {
                self.by_number[number as usize] = shape;
                number
            }
            None => {
                self.by_number.push(shape);
                u32::try_from(self.by_number.len() - 1).expect("fewer than 4 billion distinct label sets")
            }
        };
        self.numbers.insert(key, number);
        number
    }

    fn give_back(&mut self, number: u32) {
        let shape = &mut self.by_number[number as usize];
        shape.users -= 1;
        if shape.users == 0 {
            let Shape { namespace, labels, .. } = std::mem::take(shape);
            self.numbers.remove(&(namespace, labels));
            self.free.push(number);
        }
    }
}

/// Which shapes a selector matches in one namespace; made once per scheduling cycle and constraint.
#[derive(Clone)]
pub(crate) struct ShapeMatch(Vec<bool>);

impl ShapeMatch {
    /// Pods of the node that match and are not terminating.
    pub fn count(&self, node: &NodeInfo) -> i64 {
        node.shapes.iter().filter(|(shape, _)| self.0[**shape as usize]).map(|(_, count)| count).sum()
    }
}

impl ClusterView {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeInfo> {
        self.nodes.values()
    }

    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name)
    }

    /// Adds or updates a node; its pods stay. Gives back the node as it was, without its pods.
    pub fn set_node(&mut self, node: NodeInfo) -> Option<NodeInfo> {
        let name = node.name.clone();
        if let Some(existing) = self.nodes.get_mut(&name) {
            let before = NodeInfo {
                name: existing.name.clone(),
                labels: existing.labels.clone(),
                unschedulable: existing.unschedulable,
                taints: existing.taints.clone(),
                allocatable: existing.allocatable.clone(),
                allowed_pods: existing.allowed_pods,
                ..NodeInfo::default()
            };
            existing.refresh(node);
            return Some(before);
        }
        self.nodes.insert(name.clone(), node);
        self.start_name = None;
        let waiting: Vec<_> = self.homeless.values().filter(|pod| pod.node_name == name).cloned().collect();
        for pod in waiting {
            self.homeless.remove(&pod.key());
            self.place(pod);
        }
        None
    }

    /// Forgets a node. Its pods are kept aside in case it comes back.
    pub fn remove_node(&mut self, name: &str) -> Option<NodeInfo> {
        let node = self.nodes.remove(name)?;
        self.start_name = None;
        for (key, pod) in &node.pods {
            if let Some((_, shape)) = self.assigned.remove(key) {
                self.shapes.give_back(shape);
                self.with_affinity -= usize::from(pod.has_affinity());
                self.with_required_anti_affinity -= usize::from(!pod.anti_affinity.required.is_empty());
            }
            self.homeless.insert(key.clone(), pod.clone());
        }
        Some(node)
    }

    /// Adds or updates an assigned pod. One that is finished, or not assigned, is removed instead.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>) {
        self.remove_pod(&pod.key());
        if !pod.node_name.is_empty() && !pod.finished {
            self.place(pod);
        }
    }

    /// Takes over a pod's promise, or that it has none. Says whether anything changed.
    pub fn set_nominated(&mut self, pod: &Arc<PodInfo>) -> bool {
        let node = &pod.nominated_node_name;
        let known = self.nominated.get(node).and_then(|pods| pods.get(&pod.key()));
        if known.is_some_and(|known| known.is_scheduled_like(pod) && known.uid == pod.uid) {
            return false;
        }
        let had = self.remove_nominated(&pod.key());
        if !node.is_empty() {
            self.nominated.entry(node.clone()).or_default().insert(pod.key(), pod.clone());
        }
        had || !node.is_empty()
    }

    /// Says whether the pod had a promise.
    pub fn remove_nominated(&mut self, key: &str) -> bool {
        if self.nominated.is_empty() {
            return false;
        }
        let had = self.nominated.values_mut().any(|pods| pods.remove(key).is_some());
        self.nominated.retain(|_, pods| !pods.is_empty());
        had
    }

    /// Pods that a node is promised to.
    pub fn nominated(&self, node: &str) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.nominated.get(node).into_iter().flat_map(BTreeMap::values)
    }

    fn place(&mut self, pod: Arc<PodInfo>) {
        self.remove_nominated(&pod.key());
        let Some(node) = self.nodes.get_mut(&pod.node_name) else {
            self.homeless.insert(pod.key(), pod);
            return;
        };
        let shape = self.shapes.take(&pod);
        self.assigned.insert(pod.key(), (pod.node_name.clone(), shape));
        self.with_affinity += usize::from(pod.has_affinity());
        self.with_required_anti_affinity += usize::from(!pod.anti_affinity.required.is_empty());
        node.add(pod, shape);
    }

    pub fn remove_pod(&mut self, key: &str) -> Option<Arc<PodInfo>> {
        self.remove_nominated(key);
        if let Some(pod) = self.homeless.remove(key) {
            return Some(pod);
        }
        let (node, shape) = self.assigned.remove(key)?;
        let pod = self.nodes.get_mut(&node).and_then(|node| node.remove(key, shape));
        self.shapes.give_back(shape);
        if let Some(pod) = &pod {
            self.with_affinity -= usize::from(pod.has_affinity());
            self.with_required_anti_affinity -= usize::from(!pod.anti_affinity.required.is_empty());
        }
        pod
    }

    /// Nodes with pods that have terms about other pods.
    pub(crate) fn nodes_with_affinity(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().filter(|node| node.pods_with_affinity > 0).take(if self.with_affinity == 0 { 0 } else { usize::MAX })
    }

    pub(crate) fn nodes_with_required_anti_affinity(&self) -> impl Iterator<Item = &NodeInfo> {
        let most = if self.with_required_anti_affinity == 0 { 0 } else { usize::MAX };
        self.nodes.values().filter(|node| node.pods_with_required_anti_affinity > 0).take(most)
    }

    /// All nodes, beginning where the next search begins; then how many come before the first by name.
    pub(crate) fn nodes_from_start(&self) -> (impl Iterator<Item = &NodeInfo>, usize) {
        let start = if self.nodes.is_empty() { 0 } else { self.next_start % self.nodes.len() };
        let (name, skipped) = match &self.start_name {
            Some(name) => (name.as_str(), 0),
            None => ("", start),
        };
        let from = self.nodes.range::<str, _>((Bound::Included(name), Bound::Unbounded)).skip(skipped).map(|(_, node)| node);
        (from.chain(self.nodes.values().take(start)), self.nodes.len() - start)
    }

    pub fn pod(&self, key: &str) -> Option<&Arc<PodInfo>> {
        match self.assigned.get(key) {
            Some((node, _)) => self.nodes.get(node)?.pods.get(key),
            None => self.homeless.get(key),
        }
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    pub fn storage_mut(&mut self) -> &mut Storage {
        &mut self.storage
    }

    /// Every pod that has a known node.
    pub(crate) fn assigned_pods(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.nodes.values().flat_map(|node| node.pods.values())
    }

    /// What the pod's unbound claims need so that it can go to this node; empty when all are bound.
    pub fn bindings(&self, pod: &PodInfo, node: &str) -> Vec<(String, Binding)> {
        let (Ok(claims), Some(node)) = (Claims::prepare(pod, self), self.nodes.get(node)) else { return Vec::new() };
        claims.binding(node).unwrap_or_default()
    }

    pub fn set_namespace(&mut self, name: &str, labels: Labels) {
        self.namespaces.insert(name.to_owned(), labels);
    }

    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// A Service's selector spreads its pods by default (`framework/plugins/helper/spread.go`).
    ///
    /// # Errors
    /// When the object is not a readable Service.
    pub fn set_service(&mut self, namespace: &str, name: &str, service: &Value) -> Result<(), ReadError> {
        let service: wire::Service = wire::read("Service", service)?;
        let key = (namespace.to_owned(), name.to_owned());
        match service.spec.selector {
            Some(selector) => self.services.insert(key, Selector::from_labels(&selector)),
            // Services without a selector match nothing, not everything.
            None => self.services.remove(&key),
        };
        Ok(())
    }

    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        self.services.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// The selector of a ReplicaSet or StatefulSet, which spreads its pods by default.
    ///
    /// # Errors
    /// When the object is not readable.
    pub fn set_workload(&mut self, namespace: &str, kind: &'static str, name: &str, workload: &Value) -> Result<(), ReadError> {
        let workload: wire::Workload = wire::read(kind, workload)?;
        let selector = Selector::from_wire(Some(&workload.spec.selector));
        self.workloads.insert((namespace.to_owned(), kind.to_owned(), name.to_owned()), selector);
        Ok(())
    }

    pub fn remove_workload(&mut self, namespace: &str, kind: &str, name: &str) {
        self.workloads.remove(&(namespace.to_owned(), kind.to_owned(), name.to_owned()));
    }

    /// # Errors
    /// When the object is not a readable PodDisruptionBudget.
    pub fn set_budget(&mut self, namespace: &str, name: &str, budget: &Value) -> Result<(), ReadError> {
        let budget: wire::DisruptionBudget = wire::read("PodDisruptionBudget", budget)?;
        let read = Budget {
            selector: Selector::from_wire(budget.spec.selector.as_ref()),
            allowed: budget.status.disruptions_allowed,
            disrupted: budget.status.disrupted_pods.into_keys().collect(),
        };
        self.budgets.insert((namespace.to_owned(), name.to_owned()), read);
        Ok(())
    }

    pub fn remove_budget(&mut self, namespace: &str, name: &str) {
        self.budgets.remove(&(namespace.to_owned(), name.to_owned()));
    }

    pub(crate) fn namespace_labels(&self, name: &str) -> &Labels {
        static NONE: Labels = Labels::new();
        self.namespaces.get(name).unwrap_or(&NONE)
    }

    /// What the services and the controller of a pod select; None when that is nothing in particular
    /// (`framework/plugins/helper/spread.go`, DefaultSelector).
    pub(crate) fn default_selector(&self, pod: &PodInfo) -> Option<Selector> {
        let first = (pod.namespace.clone(), String::new());
        let mut selector = Selector::everything();
        for ((namespace, _), service) in self.services.range(first..) {
            if *namespace != pod.namespace {
                break;
            }
            if service.matches(&pod.labels) {
                selector = selector.and(service.clone());
            }
        }
        if let Some((kind, name)) = &pod.owner
            && let Some(of_owner) = self.workloads.get(&(pod.namespace.clone(), kind.clone(), name.clone()))
        {
            selector = selector.and(of_owner.clone());
        }
        (!selector.is_everything()).then_some(selector)
    }

    /// Upstream counts nothing for a selector of everything (`podtopologyspread/common.go`, countPodsMatchSelector).
    pub(crate) fn matching_shapes(&self, selector: &Selector, namespace: &str) -> ShapeMatch {
        let none = selector.is_everything();
        ShapeMatch(
            self.shapes
                .by_number
                .iter()
                .map(|shape| !none && shape.users > 0 && shape.namespace == namespace && selector.matches(&shape.labels))
                .collect(),
        )
    }

    pub(crate) fn next_start(&self) -> usize {
        self.next_start
    }

    /// To be called after a scheduling cycle with the number of nodes that it looked at, so that the next one begins behind them.
    pub fn advance_start(&mut self, examined: usize) {
        if !self.nodes.is_empty() {
            let next = (self.next_start + examined) % self.nodes.len();
            // On from where it was; behind the last node it begins anew.
            let from = self.start_name.take().filter(|_| next >= self.next_start);
            let (name, steps) = from.as_deref().map_or(("", next), |name| (name, next - self.next_start));
            self.start_name =
                self.nodes.range::<str, _>((Bound::Included(name), Bound::Unbounded)).nth(steps).map(|(name, _)| name.clone());
            self.next_start = next;
        }
    }
}
