//! Pods in classes that no selector tells apart.

use super::definition::{Definition, selects};
use crate::input::{Labels, Namespace, Pod, PodTerm, PodTerms, Selector, Snapshot};
use indexmap::IndexSet;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Namespaces, the labels that any rule asks for, and the classes seen so far.
#[derive(Default)]
pub struct ClassTable {
    asked: BTreeSet<Arc<str>>,
    namespaces: Vec<Arc<Namespace>>,
    /// Namespace, and labels as far as they are asked for.
    classes: IndexSet<(Arc<str>, Labels)>,
}

fn terms_of(pod: &Pod) -> impl Iterator<Item = &PodTerm> {
    fn all(terms: &PodTerms) -> impl Iterator<Item = &PodTerm> {
        terms.required.iter().chain(terms.preferred.iter().map(|(_, term)| term))
    }
    all(&pod.pod_affinity).chain(all(&pod.pod_anti_affinity))
}

/// Whether the pod says anything of others.
pub fn relates(pod: &Pod) -> bool {
    !pod.spread.is_empty() || terms_of(pod).next().is_some()
}

impl ClassTable {
    pub fn of(snapshot: &Snapshot) -> Self {
        let bound = snapshot.nodes.iter().flat_map(|node| &node.pods);
        let mut asked = BTreeSet::new();
        let mut ask = |selector: &Selector| {
            for term in selector.iter().flatten() {
                if !asked.contains(&term.key) {
                    asked.insert(term.key.clone());
                }
            }
        };
        for pod in snapshot.pending.iter().chain(bound).filter(|pod| relates(pod)) {
            pod.spread.iter().for_each(|constraint| ask(&constraint.selector));
            terms_of(pod).for_each(|term| ask(&term.selector));
        }
        ClassTable { asked, namespaces: snapshot.namespaces.clone(), classes: IndexSet::new() }
    }

    pub fn class_of(&mut self, pod: &Pod) -> usize {
        let labels = self.asked.iter().filter_map(|key| Some((key.clone(), pod.labels.get(key)?.clone()))).collect();
        self.classes.insert_full((pod.namespace.clone(), labels)).0
    }

    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether the rule is about pods of this class. One without a selector is about none.
    pub fn selects(&self, rule: &Definition, class: usize) -> bool {
        rule.selector.is_some() && self.lists(rule, class)
    }

    /// Whether pods of this class that are bound count for the rule. Without a selector all of the namespaces do
    /// (`C/pkg/controllers/provisioning/scheduling/topology.go`, TopologyListOptions).
    pub fn lists(&self, rule: &Definition, class: usize) -> bool {
        let (namespace, labels) = &self.classes[class];
        rule.namespaces.binary_search(namespace).is_ok()
            && rule.selector.as_ref().is_none_or(|terms| selects(terms, |key| labels.get(key).cloned()))
    }

    /// Namespaces of a term (`topology.go`, buildNamespaceList), in order.
    pub fn namespaces(&self, term: &PodTerm, own: &Arc<str>) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = match &term.namespace_selector {
            None if term.namespaces.is_empty() => vec![own.clone()],
            None => term.namespaces.clone(),
            Some(selector) => {
                let found = self.namespaces.iter().filter(|n| selects(selector, |key| n.labels.get(key).cloned()));
                found.map(|namespace| namespace.name.clone()).chain(term.namespaces.iter().cloned()).collect()
            }
        };
        names.sort();
        names.dedup();
        names
    }
}
