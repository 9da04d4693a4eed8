//! What the cluster and its pools say of domains: which there are, and which bound pods are where.
//!
//! Source: `C/pkg/controllers/provisioning/scheduling/topology.go` (buildDomainGroups, countDomains), `topologydomaingroup.go`.

use super::class::ClassTable;
use super::definition::Definition;
use crate::input::{InstanceType, Node, Offerings, Pool, Snapshot};
use crate::intern::{RequirementTable, RequirementsId};
use indexmap::IndexSet;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use vocabulary::{Operator, Requirement, Requirements, Taint, Toleration, labels, taint};

/// Domains of a key with the taints of the pools that reach them, one list per pool.
type Universe = BTreeMap<Arc<str>, Vec<Vec<Taint>>>;

/// A Node object, as counting sees it.
pub struct Place {
    pub node: Arc<Node>,
    pub host: usize,
    requirements: RequirementsId,
}

/// Bound pods that count, by class and place.
type Bound = Vec<BTreeMap<usize, u32>>;

pub struct Ground {
    pools: Vec<(Arc<Pool>, Arc<Vec<InstanceType>>)>,
    universes: BTreeMap<Arc<str>, Rc<Universe>>,
    pub hosts: IndexSet<Arc<str>>,
    /// Of those, the nodes that are on their way out.
    pub going: BTreeSet<usize>,
    /// Position in `hosts` of each node of the snapshot.
    pub host_of: Vec<usize>,
    pub places: Vec<Place>,
    bound: Bound,
    /// Class and place of the bound pods that count, by uid.
    pub whereabouts: BTreeMap<Arc<str>, (usize, usize)>,
    /// Required anti-affinity of bound pods: rule, place, and whose it is.
    pub wards: Vec<Ward>,
}

pub struct Ward {
    pub uid: Arc<str>,
    pub rule: usize,
    pub place: usize,
}

/// How a rule stands while every node stays and no bound pod moves.
pub struct Base {
    pub hosts: Rc<Vec<u32>>,
    /// Counts by domain.
    pub pods: BTreeMap<Arc<str>, i64>,
    /// How many nodes that stay have the domain.
    pub nodes: BTreeMap<Arc<str>, u32>,
    pub universe: BTreeSet<Arc<str>>,
}

pub fn host_name(node: &Node) -> &Arc<str> {
    node.labels.get(labels::HOSTNAME).filter(|name| !name.is_empty()).unwrap_or_else(|| node.known_as())
}

impl Ground {
    /// `pools` in the order in which they are tried.
    pub fn new(snapshot: &Snapshot, pools: &[&Arc<Pool>], offerings: &Offerings) -> Self {
        let known = |pool: &&Arc<Pool>| Some(((*pool).clone(), offerings.get(&pool.name)?.clone()));
        let mut hosts = IndexSet::with_capacity(snapshot.nodes.len());
        let host_of: Vec<usize> = snapshot.nodes.iter().map(|node| hosts.insert_full(host_name(node).clone()).0).collect();
        let going = snapshot.nodes.iter().zip(&host_of).filter(|(node, _)| node.deleting).map(|(_, host)| *host).collect();
        Ground {
            pools: pools.iter().filter_map(known).collect(),
            universes: BTreeMap::new(),
            hosts,
            going,
            host_of,
            places: Vec::new(),
            bound: Vec::new(),
            whereabouts: BTreeMap::new(),
            wards: Vec::new(),
        }
    }

    /// Looks at nodes and bound pods; `rules` numbers the rules of pods that are bound. Keys that nobody asks for decide nothing.
    pub fn read(
        &mut self,
        snapshot: &Snapshot,
        classes: &mut ClassTable,
        table: &mut RequirementTable,
        mut rules: impl FnMut(&crate::input::Pod, &ClassTable) -> Vec<usize>,
    ) {
        let mut nodes: Vec<&Arc<Node>> = snapshot.nodes.iter().filter(|node| node.has_node).collect();
        nodes.sort_by_key(|node| &node.name);
        for node in nodes {
            let place = self.places.len();
            let host = self.hosts.get_index_of(host_name(node)).expect("every node's host is known");
            let all = Requirements::from_labels(node.shown_labels().iter().map(|(key, value)| (&**key, &**value)));
            self.places.push(Place { node: node.clone(), host, requirements: table.intern(all) });
            for pod in node.pods.iter().filter(|pod| !pod.terminal) {
                if !pod.pod_anti_affinity.required.is_empty() {
                    let ward = |rule| Ward { uid: pod.uid.clone(), rule, place };
                    self.wards.extend(rules(pod, classes).into_iter().map(ward));
                }
                if !pod.terminating {
                    let class = classes.class_of(pod);
                    self.bound.resize_with(classes.len().max(self.bound.len()), BTreeMap::new);
                    *self.bound[class].entry(place).or_default() += 1;
                    self.whereabouts.insert(pod.uid.clone(), (class, place));
                }
            }
        }
    }

    /// The domain of a place for counted pods: the host's name stands in for a label that is not there yet.
    pub fn domain<'a>(&'a self, place: usize, key: &str) -> Option<&'a Arc<str>> {
        let node = &self.places[place].node;
        node.shown_labels().get(key).or_else(|| (key == labels::HOSTNAME).then_some(&node.name))
    }

    pub fn passes(&self, place: usize, rule: &Definition, table: &mut RequirementTable) -> bool {
        let place = &self.places[place];
        rule.filter.as_ref().is_none_or(|filter| filter.passes(&rule.tolerations, place.node.shown_taints(), place.requirements, table))
    }

    pub fn base(&mut self, rule: &Definition, classes: &ClassTable, table: &mut RequirementTable) -> Base {
        let mut made = Base {
            hosts: Rc::default(),
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            universe: self.universe(&rule.key, rule.honors_pool_taints().then_some(&*rule.tolerations)),
        };
        let passing: Vec<bool> = (0..self.places.len()).map(|place| self.passes(place, rule, table)).collect();
        let counted = self.bound.iter().enumerate().filter(|(class, _)| classes.lists(rule, *class)).flat_map(|(_, places)| places);
        let counted = counted.filter(|(place, _)| passing[**place]);
        if *rule.key == *labels::HOSTNAME {
            let mut hosts = vec![0; self.hosts.len()];
            counted.for_each(|(place, count)| hosts[self.places[*place].host] += count);
            made.hosts = Rc::new(hosts);
            return made;
        }
        for (place, count) in counted {
            if let Some(domain) = self.domain(*place, &rule.key) {
                *made.pods.entry(domain.clone()).or_default() += i64::from(*count);
            }
        }
        for (place, _) in passing.iter().enumerate().filter(|(_, passes)| **passes) {
            let node = &self.places[place].node;
            if let Some(domain) = node.labels.get(&rule.key).filter(|_| !node.deleting) {
                *made.nodes.entry(domain.clone()).or_default() += 1;
            }
        }
        made
    }

    /// Domains that pools can give; of pools whose taints are tolerated, when tolerations are given.
    pub fn universe(&mut self, key: &Arc<str>, tolerations: Option<&[Toleration]>) -> BTreeSet<Arc<str>> {
        let pools = &self.pools;
        let universe = self.universes.entry(key.clone()).or_insert_with(|| Rc::new(universe(pools, key)));
        let reaches = |taints: &[Vec<Taint>]| {
            tolerations.is_none_or(|tolerations| taints.iter().any(|taints| taint::first_untolerated(taints, tolerations).is_none()))
        };
        universe.iter().filter(|(_, taints)| reaches(taints)).map(|(domain, _)| domain.clone()).collect()
    }
}

/// A value that a pool rules out on a key that its types do not have counts as a domain too, as upstream has it.
fn universe(pools: &[(Arc<Pool>, Arc<Vec<InstanceType>>)], key: &str) -> Universe {
    let mut made = Universe::new();
    for (pool, types) in pools {
        let labels = pool.labels.get(key).map(|value| Requirement::is_in(key, value.clone()));
        let own = pool.requirements.iter().filter(|r| *r.key == *key).cloned().chain(labels);
        let own = own.reduce(|both, next| both.intersection(&next));
        let mut domains: BTreeSet<Arc<str>> = BTreeSet::new();
        let kinds: IndexSet<Option<&Requirement>> = types.iter().map(|t| t.requirements.get(key)).collect();
        for offered in kinds {
            let both = match (&own, offered) {
                (Some(own), Some(offered)) => Some(own.intersection(offered)),
                (own, offered) => own.clone().or(offered.cloned()),
            };
            domains.extend(both.into_iter().flat_map(|both| both.values));
        }
        domains.extend(own.filter(|own| own.operator() == Operator::In).into_iter().flat_map(|own| own.values));
        for domain in domains {
            made.entry(domain).or_default().push(pool.taints.clone());
        }
    }
    made
}

impl Ground {
    /// Whether a host is what the requirement asks; a NodeClaim has a name that nobody asks for, as upstream's has
    /// (`C/pkg/controllers/provisioning/scheduling/nodeclaim.go`, NewNodeClaim).
    pub fn is_in(&self, asked: &Requirement, host: usize) -> bool {
        asked.has(self.hosts.get_index(host).map_or("hostname-placeholder-0000", |name| name))
    }
}
