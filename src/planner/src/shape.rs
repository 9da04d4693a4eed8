//! Pods in classes of equal shape, and what each class asks as its preferences are given up one by one.

use crate::input::{HostPort, Labels, Pod, PodTerm, PodTerms, PreferencePolicy, SpreadConstraint, Volumes};
use crate::intern::{Amounts, RequirementTable, RequirementsId, ResourceNames};
use crate::ports::Port;
use crate::topology::{Left, Rules};
use indexmap::IndexMap;
use indexmap::map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use vocabulary::{Effect, Requirements, Resources, Toleration};

/// What pods of one class ask of a node.
pub struct Shape {
    pub requests: Amounts,
    pub ports: Vec<Port>,
    /// Among the pods that topology rules tell apart.
    pub class: usize,
    /// Rules that keep others away from where such a pod is.
    pub both_ways: Vec<usize>,
    /// Demands of the volumes, one of which must be met; none is no demand.
    pub volumes: Vec<RequirementsId>,
    /// CSI driver and claim of the volumes.
    pub attached: Vec<(Arc<str>, Arc<str>)>,
    /// From all preferences to none.
    pub stages: Vec<Stage>,
}

/// A shape at one point of its relaxation.
pub struct Stage {
    /// Position among the stages of all shapes.
    pub id: usize,
    pub requirements: RequirementsId,
    /// Without preferences: what decides which domains count.
    pub strict: RequirementsId,
    pub tolerations: Vec<Toleration>,
    /// Topology rules that are in force.
    pub rules: Vec<usize>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    requests: &'a Resources,
    selector: &'a Labels,
    node_affinity: &'a [Requirements],
    preferred: &'a [(i32, Requirements)],
    tolerations: &'a [Toleration],
    host_ports: &'a [HostPort],
    spread: &'a [SpreadConstraint],
    terms: [&'a PodTerms; 2],
    volumes: &'a Volumes,
    class: usize,
}

/// A pod that stands for all of its shape, with its class.
struct Alike(Arc<Pod>, usize);

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
            spread: &pod.spread,
            terms: [&pod.pod_affinity, &pod.pod_anti_affinity],
            volumes: &pod.volumes,
            class: self.1,
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
        rules: &mut Rules,
        policy: PreferencePolicy,
        tolerate_soft: bool,
    ) -> Self {
        let mut made = Shapes { shapes: Vec::new(), of_pod: Vec::new(), known: IndexMap::new(), stages: 0, policy, tolerate_soft };
        made.look_at(pods, names, table, rules);
        made
    }

    /// From here on these are the pods; shapes that are known stay known.
    pub fn look_at(&mut self, pods: &[Arc<Pod>], names: &ResourceNames, table: &mut RequirementTable, rules: &mut Rules) {
        self.of_pod = pods.iter().map(|pod| self.shape_of(pod, names, table, rules)).collect();
    }

    fn shape_of(&mut self, pod: &Arc<Pod>, names: &ResourceNames, table: &mut RequirementTable, rules: &mut Rules) -> usize {
        let class = rules.class_of(pod);
        match self.known.entry(Alike(pod.clone(), class)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => {
                let stages = stages(pod, table, rules, self.policy, self.tolerate_soft, &mut self.stages);
                self.shapes.push(Shape {
                    requests: names.amounts(&pod.requests),
                    ports: Port::read_all(&pod.host_ports),
                    class,
                    both_ways: rules.both_ways(pod, table),
                    volumes: pod.volumes.requirements.iter().map(|asked| table.intern(asked.clone())).collect(),
                    attached: pod.volumes.attached.clone(),
                    stages,
                });
                *unknown.insert(self.shapes.len() - 1)
            }
        }
    }
}

/// The preferences that a pod still has.
struct Relaxed<'a> {
    terms: &'a [Requirements],
    near: Vec<&'a (i32, PodTerm)>,
    apart: Vec<&'a (i32, PodTerm)>,
    preferred: Vec<&'a (i32, Requirements)>,
    spread: Vec<SpreadConstraint>,
    tolerations: Vec<Toleration>,
}

fn heaviest_first<T>(terms: &[(i32, T)]) -> Vec<&(i32, T)> {
    let mut all: Vec<&(i32, T)> = terms.iter().collect();
    all.sort_by_key(|(weight, _)| -i64::from(*weight));
    all
}

impl Relaxed<'_> {
    /// Gives up one thing, in upstream's order (`C/pkg/controllers/provisioning/scheduling/preferences.go`): required OR terms from the
    /// first on, preferred pod affinity, anti-affinity and node affinity from the heaviest on, soft spread constraints, and
    /// `PreferNoSchedule` taints. False when there is nothing left.
    fn relax(&mut self, tolerate_soft: bool) -> bool {
        if self.terms.len() > 1 {
            self.terms = &self.terms[1..];
            return true;
        }
        for terms in [&mut self.near, &mut self.apart] {
            if !terms.is_empty() {
                terms.remove(0);
                return true;
            }
        }
        if !self.preferred.is_empty() {
            self.preferred.remove(0);
            return true;
        }
        if let Some(soft) = self.spread.iter().position(|constraint| constraint.soft) {
            self.spread.swap_remove(soft);
            return true;
        }
        let soft = Toleration { key: "".into(), exists: true, value: "".into(), effect: Some(Effect::PreferNoSchedule) };
        if tolerate_soft && !self.tolerations.contains(&soft) {
            self.tolerations.push(soft);
            return true;
        }
        false
    }
}

fn stages(
    pod: &Pod,
    table: &mut RequirementTable,
    rules: &mut Rules,
    policy: PreferencePolicy,
    tolerate_soft: bool,
    next_id: &mut usize,
) -> Vec<Stage> {
    let mut left = Relaxed {
        terms: &pod.node_affinity,
        near: heaviest_first(&pod.pod_affinity.preferred),
        apart: heaviest_first(&pod.pod_anti_affinity.preferred),
        preferred: heaviest_first(&pod.preferred_node_affinity),
        spread: pod.spread.clone(),
        tolerations: pod.tolerations.clone(),
    };
    let selector = selector_requirements(pod);
    let with = |more: Option<&Requirements>, base: &Requirements| {
        let mut all = base.clone();
        more.into_iter().for_each(|more| all.extend(more));
        all
    };
    let mut made = Vec::new();
    loop {
        let strict = with(left.terms.first(), &selector);
        let preference = left.preferred.first().filter(|_| policy == PreferencePolicy::Respect).map(|(_, terms)| terms);
        let asked = with(left.terms.first(), &with(preference, &selector));
        let mut demands: Vec<RequirementsId> = left.terms.iter().map(|term| table.intern(with(Some(term), &selector))).collect();
        if demands.is_empty() {
            demands.push(table.intern(selector.clone()));
        }
        let tolerations = left.tolerations.clone();
        let kept =
            Left { spread: &left.spread, near: &left.near, apart: &left.apart, demands: &demands, tolerations: &tolerations, policy };
        let rules = rules.of_stage(pod, &kept, table);
        made.push(Stage { id: *next_id, requirements: table.intern(asked), strict: table.intern(strict), tolerations, rules });
        *next_id += 1;
        if !left.relax(tolerate_soft) {
            return made;
        }
    }
}

/// The node selector as requirements.
pub fn selector_requirements(pod: &Pod) -> Requirements {
    Requirements::from_labels(pod.selector.iter().map(|(key, value)| (&**key, &**value)))
}
