//! Room on nodes that exist or are on their way.

use crate::bits::Bits;
use crate::daemons::Daemons;
use crate::input::Node;
use crate::intern::{Amounts, RequirementTable, RequirementsId, ResourceNames, Undefined};
use crate::ports::{self, Port};
use crate::shape::{Shape, Stage};
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::{Requirement, Requirements, Resources, labels, taint};

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
    /// Stages that were refused since the requirements last changed; what is left only shrinks.
    refused: Bits,
}

impl Existing {
    /// `asked` are the label keys that any pod mentions; no other decides anything.
    pub fn new(
        node: &Arc<Node>,
        daemons: &Daemons,
        asked: &BTreeSet<Arc<str>>,
        names: &ResourceNames,
        table: &mut RequirementTable,
    ) -> Self {
        let mut all = Requirements::from_labels(node.labels.iter().map(|(key, value)| (&**key, &**value)));
        let live = || node.pods.iter().filter(|pod| !pod.terminal);
        let mut coming = daemons.requests_on_node(&all, &node.taints);
        coming.subtract(&Resources::sum(live().filter(|pod| pod.daemon).map(|pod| &pod.requests)));
        coming.max(&coming.iter().fold(Resources::new(), |zero, (name, _)| zero.with(name, 0)));
        let used = Resources::sum(live().map(|pod| &pod.requests));
        let left = node.allocatable.minus(&used).minus(&coming);
        let overdrawn = left.iter().any(|(_, amount)| amount < 0);
        let hostname = node.labels.get(labels::HOSTNAME).filter(|name| !name.is_empty()).unwrap_or(&node.name);
        all.add(Requirement::is_in(labels::HOSTNAME, hostname.clone()));
        let requirements = table.intern(all.iter().filter(|r| asked.contains(&r.key)).cloned().collect());
        Existing {
            node: node.clone(),
            pods: Vec::new(),
            settling: false,
            requirements,
            remaining: (!overdrawn).then(|| names.amounts(&left)),
            ports: live().flat_map(|pod| Port::read_all(&pod.host_ports)).collect(),
            refused: Bits::default(),
        }
    }

    /// Places the pod here if the node allows it (`C/pkg/controllers/provisioning/scheduling/existingnode.go`).
    pub fn try_add(&mut self, pod: usize, shape: &Shape, stage: &Stage, table: &mut RequirementTable) -> bool {
        if self.refused.contains(stage.id) {
            return false;
        }
        let Some(joined) = self.accepts(shape, stage, table) else {
            self.refused.insert(stage.id);
            return false;
        };
        self.take(pod, shape, joined);
        true
    }

    /// `joined` is what it asks with the pod, as it [accepts](Self::accepts) it.
    pub fn take(&mut self, pod: usize, shape: &Shape, joined: RequirementsId) {
        if joined != self.requirements {
            self.requirements = joined;
            self.refused.clear();
        }
        self.pods.push(pod);
        self.ports.extend(shape.ports.iter().cloned());
        for (left, asked) in self.remaining.iter_mut().flatten().zip(&shape.requests) {
            *left -= asked;
        }
    }

    pub fn accepts(&self, shape: &Shape, stage: &Stage, table: &mut RequirementTable) -> Option<RequirementsId> {
        let remaining = self.remaining.as_ref()?;
        if taint::first_untolerated(&self.node.taints, &stage.tolerations).is_some()
            || ports::first_conflict(&shape.ports, &self.ports).is_some()
            || shape.requests.iter().zip(remaining).any(|(asked, left)| asked > left)
        {
            return None;
        }
        table.join(self.requirements, stage.requirements, Undefined::Nothing)
    }
}
