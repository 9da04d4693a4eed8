//! Pods in classes of equal shape, and what each class asks as its preferences are given up one by one.

use crate::input::{HostPort, Labels, Pod, PreferencePolicy};
use crate::intern::{Amounts, RequirementTable, RequirementsId, ResourceNames};
use crate::ports::Port;
use indexmap::IndexMap;
use indexmap::map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use vocabulary::{Effect, Requirements, Resources, Toleration};

/// What pods of one class ask of a node.
pub struct Shape {
    pub requests: Amounts,
    pub ports: Vec<Port>,
    /// From all preferences to none.
    pub stages: Vec<Stage>,
}

/// A shape at one point of its relaxation.
pub struct Stage {
    /// Position among the stages of all shapes.
    pub id: usize,
    pub requirements: RequirementsId,
    pub tolerations: Vec<Toleration>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    requests: &'a Resources,
    selector: &'a Labels,
    node_affinity: &'a [Requirements],
    preferred: &'a [(i32, Requirements)],
    tolerations: &'a [Toleration],
    host_ports: &'a [HostPort],
}

/// A pod that stands for all of its shape.
struct Alike(Arc<Pod>);

impl Alike {
    fn key(&self) -> Key<'_> {
        let pod = &self.0;
        Key {
            requests: &pod.requests,
            selector: &pod.selector,
            node_affinity: &pod.node_affinity,
            preferred: &pod.preferred_node_affinity,
            tolerations: &pod.tolerations,
            host_ports: &pod.host_ports,
        }
    }
}

impl PartialEq for Alike {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Alike {}

impl Hash for Alike {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// The shapes of some pods, and the shape of each pod by position.
pub struct Shapes {
    pub shapes: Vec<Shape>,
    pub of_pod: Vec<usize>,
    known: IndexMap<Alike, usize>,
    stages: usize,
    policy: PreferencePolicy,
    tolerate_soft: bool,
}

impl Shapes {
    /// `tolerate_soft`: some NodePool has a `PreferNoSchedule` taint, so tolerating those is a last relaxation.
    pub fn of(
        pods: &[Arc<Pod>],
        names: &ResourceNames,
        table: &mut RequirementTable,
        policy: PreferencePolicy,
        tolerate_soft: bool,
    ) -> Self {
        let mut made = Shapes { shapes: Vec::new(), of_pod: Vec::new(), known: IndexMap::new(), stages: 0, policy, tolerate_soft };
        made.look_at(pods, names, table);
        made
    }

    /// From here on these are the pods; shapes that are known stay known.
    pub fn look_at(&mut self, pods: &[Arc<Pod>], names: &ResourceNames, table: &mut RequirementTable) {
        self.of_pod = pods.iter().map(|pod| self.shape_of(pod, names, table)).collect();
    }

    fn shape_of(&mut self, pod: &Arc<Pod>, names: &ResourceNames, table: &mut RequirementTable) -> usize {
        match self.known.entry(Alike(pod.clone())) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => {
                let stages = stages(pod, table, self.policy, self.tolerate_soft, &mut self.stages);
                self.shapes.push(Shape { requests: names.amounts(&pod.requests), ports: Port::read_all(&pod.host_ports), stages });
                *unknown.insert(self.shapes.len() - 1)
            }
        }
    }
}

/// The relaxations in upstream's order (`C/pkg/controllers/provisioning/scheduling/preferences.go`): required OR terms from the
/// first on, preferred terms from the heaviest on, `PreferNoSchedule` taints.
fn stages(pod: &Pod, table: &mut RequirementTable, policy: PreferencePolicy, tolerate_soft: bool, next_id: &mut usize) -> Vec<Stage> {
    let mut preferred: Vec<&(i32, Requirements)> = pod.preferred_node_affinity.iter().collect();
    preferred.sort_by_key(|(weight, _)| -i64::from(*weight));
    let mut made = Vec::new();
    let mut push = |requirements: Requirements, tolerations: Vec<Toleration>| {
        made.push(Stage { id: *next_id, requirements: table.intern(requirements), tolerations });
        *next_id += 1;
    };
    let asked = |term: Option<&Requirements>, preference: Option<&&(i32, Requirements)>| {
        let mut all = selector_requirements(pod);
        if let (Some((_, terms)), PreferencePolicy::Respect) = (preference, policy) {
            all.extend(terms);
        }
        if let Some(term) = term {
            all.extend(term);
        }
        all
    };
    for term in pod.node_affinity.iter().map(Some).chain(pod.node_affinity.is_empty().then_some(None)) {
        push(asked(term, preferred.first()), pod.tolerations.clone());
    }
    let last = pod.node_affinity.last();
    for dropped in 1..=preferred.len() {
        push(asked(last, preferred.get(dropped)), pod.tolerations.clone());
    }
    let soft = Toleration { key: "".into(), exists: true, value: "".into(), effect: Some(Effect::PreferNoSchedule) };
    if tolerate_soft && !pod.tolerations.contains(&soft) {
        let tolerations = pod.tolerations.iter().cloned().chain([soft]).collect();
        push(asked(last, None), tolerations);
    }
    made
}

/// The node selector as requirements.
pub fn selector_requirements(pod: &Pod) -> Requirements {
    Requirements::from_labels(pod.selector.iter().map(|(key, value)| (&**key, &**value)))
}
