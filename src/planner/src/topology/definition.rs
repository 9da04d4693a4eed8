//! A rule that ties a pod's place to the places of others, and when two rules are one.
//!
//! Source: `C/pkg/controllers/provisioning/scheduling/topologygroup.go`, `topologynodefilter.go`.

use super::class::ClassTable;
use crate::input::{Pod, PodTerm, Selector, SelectorTerm, SpreadConstraint};
use crate::intern::{RequirementTable, RequirementsId, Undefined};
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::{Operator, Taint, Toleration, taint};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Spread { max_skew: i32, min_domains: Option<i32> },
    Affinity,
    AntiAffinity,
}

impl Kind {
    /// In the words of Karpenter's errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Spread { .. } => "topology spread",
            Kind::Affinity => "pod affinity",
            Kind::AntiAffinity => "pod anti-affinity",
        }
    }
}

/// Nodes that count for a spread constraint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// The pod's own demands, one of which a node must meet; none when the constraint ignores them.
    requirements: Vec<RequirementsId>,
    honor_affinity: bool,
    honor_taints: bool,
}

impl Filter {
    pub fn passes(&self, tolerations: &[Toleration], taints: &[Taint], node: RequirementsId, table: &mut RequirementTable) -> bool {
        let meets = !self.honor_affinity
            || self.requirements.is_empty()
            || self.requirements.iter().any(|asked| table.join(node, *asked, Undefined::Nothing).is_some());
        meets && (!self.honor_taints || taint::first_untolerated(taints, tolerations).is_none())
    }
}

/// One rule of one pod, or of all pods that say the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Definition {
    pub kind: Kind,
    pub key: Arc<str>,
    /// In order.
    pub namespaces: Vec<Arc<str>>,
    pub selector: Selector,
    /// Of spread constraints only: the others count every node.
    pub filter: Option<Filter>,
    /// Of the pod: domains of pools that it does not tolerate are none for it, unless a spread constraint ignores taints.
    pub tolerations: Vec<Toleration>,
}

/// What makes two rules one: the first pod's `minDomains`, node demands and tolerations then serve all
/// (`topologygroup.go`, Hash; of the node demands it sees the keys alone, and lists that are equal cancel each other).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    kind: u8,
    max_skew: i32,
    key: Arc<str>,
    namespaces: Vec<Arc<str>>,
    selector: Selector,
    filter: Option<FilterIdentity>,
}

/// What is seen of a filter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct FilterIdentity {
    honors: (bool, bool),
    keys: BTreeSet<Vec<Arc<str>>>,
    tolerations: BTreeSet<Toleration>,
}

/// The items that come an odd number of times.
fn odd<T: Ord>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    for item in items {
        if !set.remove(&item) {
            set.insert(item);
        }
    }
    set
}

impl Definition {
    pub fn spread(constraint: &SpreadConstraint, pod: &Pod, demands: &[RequirementsId], tolerations: &[Toleration]) -> Self {
        Definition {
            kind: Kind::Spread { max_skew: constraint.max_skew, min_domains: constraint.min_domains },
            key: constraint.key.clone(),
            namespaces: vec![pod.namespace.clone()],
            selector: constraint.selector.clone(),
            filter: Some(Filter {
                requirements: demands.to_vec(),
                honor_affinity: constraint.honor_affinity,
                honor_taints: constraint.honor_taints,
            }),
            tolerations: tolerations.to_vec(),
        }
    }

    pub fn term(kind: Kind, term: &PodTerm, pod: &Pod, tolerations: &[Toleration], classes: &ClassTable) -> Self {
        Definition {
            kind,
            key: term.key.clone(),
            namespaces: classes.namespaces(term, &pod.namespace),
            selector: term.selector.clone(),
            filter: None,
            tolerations: tolerations.to_vec(),
        }
    }

    pub fn identity(&self, table: &RequirementTable) -> Identity {
        let keys = |id: &RequirementsId| table.get(*id).iter().map(|r| r.key.clone()).collect::<Vec<_>>();
        let filter = self.filter.as_ref().map(|filter| FilterIdentity {
            honors: (filter.honor_affinity, filter.honor_taints),
            keys: odd(filter.requirements.iter().map(keys)),
            tolerations: odd(self.tolerations.iter().cloned()),
        });
        let (kind, max_skew) = match self.kind {
            Kind::Spread { max_skew, .. } => (0, max_skew),
            Kind::Affinity => (1, i32::MAX),
            Kind::AntiAffinity => (2, i32::MAX),
        };
        Identity { kind, max_skew, key: self.key.clone(), namespaces: self.namespaces.clone(), selector: self.selector.clone(), filter }
    }

    /// Whether domains of pools whose taints the pod does not tolerate are left out.
    pub fn honors_pool_taints(&self) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.honor_taints)
    }
}

/// Whether labels meet every term.
pub fn selects(terms: &[SelectorTerm], label: impl Fn(&str) -> Option<Arc<str>>) -> bool {
    terms.iter().all(|term| {
        let value = label(&term.key);
        match term.operator {
            Operator::In => value.is_some_and(|value| term.values.contains(&value)),
            Operator::NotIn => value.is_none_or(|value| !term.values.contains(&value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            _ => false,
        }
    })
}
