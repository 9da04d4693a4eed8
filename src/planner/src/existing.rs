//! Room on nodes that exist or are on their way.

use crate::bits::Bits;
use crate::daemons::Daemons;
use crate::input::Node;
use crate::intern::{Amounts, RequirementTable, RequirementsId, ResourceNames, Undefined};
use crate::ports::{self, Port};
use crate::shape::{Shape, Stage};
use crate::topology::{Site, Topology};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vocabulary::{Requirement, Requirements, Resources, Taint, labels, taint};

/// A node with what is left of it.
#[derive(Clone)]
pub struct Existing {
    pub node: Arc<Node>,
    /// Positions of the pods that it was promised.
    pub pods: Vec<usize>,
    /// Its pods came or went so lately that it takes none of those that consolidation would move.
    pub settling: bool,
    requirements: RequirementsId,
    /// `None` when something is overdrawn already: such a node takes nothing.
    remaining: Option<Amounts>,
    ports: Vec<Port>,
    host: usize,
    /// Claims of the volumes that it has to attach, by CSI driver.
    volumes: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Stages that were refused since the requirements last changed; what is left only shrinks.
    refused: Bits,
}

/// What nodes have in common, worked out once: most of them differ in little but their names.
pub struct Common<'a> {
    pub names: &'a ResourceNames,
    daemons: &'a Daemons,
    /// Whether any pod mentions the hostname.
    hostname: bool,
    /// Labels that any pod mentions, the hostname left out, and what a node is to them by their values.
    asked: Vec<Arc<str>>,
    sets: BTreeMap<Values, RequirementsId>,
    /// Labels that any daemon mentions, and what the daemons of a node ask by their values and the node's taints.
    by_daemons: Vec<Arc<str>>,
    coming: BTreeMap<Values, Vec<(Vec<Taint>, Resources)>>,
}

/// Values of some labels of a node, in the order of the labels.
type Values = Vec<Option<Arc<str>>>;

/// Every name that the labels have or had.
fn spelled<'k>(keys: impl Iterator<Item = &'k Arc<str>>) -> Vec<Arc<str>> {
    keys.flat_map(|key| labels::spellings(key)).map(Arc::from).collect()
}

fn values(node: &Node, keys: &[Arc<str>]) -> Values {
    keys.iter().map(|key| node.labels.get(key).cloned()).collect()
}

fn pairs<'k>(keys: &'k [Arc<str>], values: &'k Values) -> impl Iterator<Item = (&'k str, &'k str)> {
    keys.iter().zip(values).filter_map(|(key, value)| Some((&**key, &**value.as_ref()?)))
}

impl<'a> Common<'a> {
    /// `asked` are the label keys that any pod mentions; no other decides anything.
    pub fn new(daemons: &'a Daemons, asked: &BTreeSet<Arc<str>>, names: &'a ResourceNames) -> Self {
        Common {
            names,
            daemons,
            hostname: asked.contains(labels::HOSTNAME),
            asked: spelled(asked.iter().filter(|key| ***key != *labels::HOSTNAME)),
            sets: BTreeMap::new(),
            by_daemons: spelled(daemons.keys().iter()),
            coming: BTreeMap::new(),
        }
    }

    fn requirements(&mut self, node: &Node, table: &mut RequirementTable) -> RequirementsId {
        let values = values(node, &self.asked);
        let id = match self.sets.get(&values) {
            Some(id) => *id,
            None => {
                let id = table.intern(Requirements::from_labels(pairs(&self.asked, &values)));
                self.sets.insert(values, id);
                id
            }
        };
        if !self.hostname {
            return id;
        }
        let mut all = table.get(id).clone();
        let label = node.labels.get(labels::HOSTNAME);
        all.extend(&label.map(|name| Requirement::is_in(labels::HOSTNAME, name.clone())).into_iter().collect());
        let hostname = label.filter(|name| !name.is_empty()).unwrap_or_else(|| node.known_as());
        all.add(Requirement::is_in(labels::HOSTNAME, hostname.clone()));
        table.intern(all)
    }

    /// What the daemons ask that run on the node or are to come.
    fn daemons_of(&mut self, node: &Node) -> &Resources {
        let values = values(node, &self.by_daemons);
        let known = self.coming.entry(values).or_default();
        let at = match known.iter().position(|(taints, _)| *taints == node.taints) {
            Some(at) => at,
            None => {
                let values: Values = self.by_daemons.iter().map(|key| node.labels.get(key).cloned()).collect();
                let all = Requirements::from_labels(pairs(&self.by_daemons, &values));
                known.push((node.taints.clone(), self.daemons.requests_on_node(&all, &node.taints)));
                known.len() - 1
            }
        };
        &known[at].1
    }
}

/// What a node says to a pod.
pub enum Answer {
    /// And is this with it.
    Takes(RequirementsId),
    /// Not as long as the pods elsewhere are where they are.
    Topology,
    /// Never: what is left of a node only shrinks.
    Refuses,
}

impl Existing {
    pub fn new(node: &Arc<Node>, common: &mut Common<'_>, table: &mut RequirementTable, host: usize) -> Self {
        let requirements = common.requirements(node, table);
        let live = || node.pods.iter().filter(|pod| !pod.terminal);
        let names = common.names;
        let coming = common.daemons_of(node);
        // What pods have of each resource, and what daemons have of that. Names are told apart by their lengths mostly.
        let mut held: Vec<(&str, i64, i64)> = node.allocatable.iter().map(|(name, _)| (name, 0, 0)).collect();
        for pod in live() {
            for (name, amount) in pod.requests.iter() {
                if let Some((_, all, daemons)) = held.iter_mut().find(|(held, ..)| *held == name) {
                    *all = all.saturating_add(amount);
                    *daemons = daemons.saturating_add(if pod.daemon { amount } else { 0 });
                }
            }
        }
        let left: Vec<(&str, i64)> = node
            .allocatable
            .iter()
            .zip(held)
            // Daemons that are not there yet will come.
            .map(|((name, has), (_, all, daemons))| {
                (name, has.saturating_sub(all).saturating_sub(coming.get(name).saturating_sub(daemons).max(0)))
            })
            .collect();
        let overdrawn = left.iter().any(|(_, amount)| *amount < 0);
        let remaining = |name: &str| left.iter().find(|(left, _)| *left == name).map_or(0, |(_, amount)| *amount);
        Existing {
            node: node.clone(),
            pods: Vec::new(),
            settling: false,
            requirements,
            remaining: (!overdrawn).then(|| names.amounts_by(remaining)),
            ports: live().flat_map(|pod| Port::read_all(&pod.host_ports)).collect(),
            host,
            volumes: live().flat_map(|pod| &pod.volumes.attached).fold(BTreeMap::new(), |mut all, (driver, claim)| {
                all.entry(driver.clone()).or_insert_with(BTreeSet::new).insert(claim.clone());
                all
            }),
            refused: Bits::default(),
        }
    }

    fn site(&self) -> Site<'_> {
        Site { host: self.host, taints: &self.node.taints, undefined: Undefined::Nothing }
    }

    /// Places the pod here if the node allows it (`C/pkg/controllers/provisioning/scheduling/existingnode.go`).
    pub fn try_add(&mut self, pod: usize, shape: &Shape, stage: &Stage, table: &mut RequirementTable, topology: &mut Topology) -> bool {
        if self.refused.contains(stage.id) {
            return false;
        }
        match self.accepts(shape, stage, table, topology) {
            Answer::Takes(joined) => {
                self.take(pod, shape, joined, table, topology);
                true
            }
            Answer::Topology => false,
            Answer::Refuses => {
                self.refused.insert(stage.id);
                false
            }
        }
    }

    /// `joined` is what it asks with the pod, as it [accepts](Self::accepts) it.
    pub fn take(&mut self, pod: usize, shape: &Shape, joined: RequirementsId, table: &mut RequirementTable, topology: &mut Topology) {
        if joined != self.requirements {
            self.requirements = joined;
            self.refused.clear();
        }
        self.pods.push(pod);
        self.ports.extend(shape.ports.iter().cloned());
        for (left, asked) in self.remaining.iter_mut().flatten().zip(&shape.requests) {
            *left -= asked;
        }
        for (driver, claim) in &shape.attached {
            self.volumes.entry(driver.clone()).or_default().insert(claim.clone());
        }
        topology.record(shape, self.site(), joined, table);
    }

    pub fn accepts(&self, shape: &Shape, stage: &Stage, table: &mut RequirementTable, topology: &mut Topology) -> Answer {
        let Some(remaining) = self.remaining.as_ref() else { return Answer::Refuses };
        if taint::first_untolerated(&self.node.taints, &stage.tolerations).is_some()
            || self.exceeds_volume_limits(shape)
            || ports::first_conflict(&shape.ports, &self.ports).is_some()
            || shape.requests.iter().zip(remaining).any(|(asked, left)| asked > left)
        {
            return Answer::Refuses;
        }
        let Some(base) = table.join(self.requirements, stage.requirements, Undefined::Nothing) else { return Answer::Refuses };
        if shape.volumes.is_empty() {
            return topology.narrow(shape, stage, self.site(), base, table).map_or_else(|_| Answer::Topology, Answer::Takes);
        }
        let reachable: Vec<_> = shape.volumes.iter().filter_map(|asked| table.join(base, *asked, Undefined::Nothing)).collect();
        if reachable.is_empty() {
            return Answer::Refuses;
        }
        let mut narrowed = reachable.into_iter().filter_map(|base| topology.narrow(shape, stage, self.site(), base, table).ok());
        narrowed.next().map_or(Answer::Topology, Answer::Takes)
    }

    /// A claim counts once, however many pods of the node use it. A node that has too many already takes no pod at all
    /// (`C/pkg/scheduling/volumeusage.go`, ExceedsLimits).
    fn exceeds_volume_limits(&self, shape: &Shape) -> bool {
        self.node.volume_limits.iter().any(|(driver, limit)| {
            let held = self.volumes.get(driver);
            let wanted = shape.attached.iter().filter(|(d, _)| d == driver).map(|(_, claim)| claim);
            let more: BTreeSet<&Arc<str>> = wanted.filter(|claim| held.is_none_or(|held| !held.contains(*claim))).collect();
            let total = held.map_or(0, BTreeSet::len) + more.len();
            i64::try_from(total).is_ok_and(|total| total > *limit) && total > 0
        })
    }
}
