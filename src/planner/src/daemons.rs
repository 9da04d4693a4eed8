//! Which daemons would run on which instance types of a NodePool, and on which existing nodes.

use crate::bits::Bits;
use crate::input::{InstanceType, Pod, Snapshot};
use crate::intern::{Amounts, ResourceNames, add};
use crate::ports::Port;
use crate::shape::selector_requirements;
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::{Effect, Requirements, Taint, Toleration, labels, taint};

/// The daemons of one plan. Giving up a daemon's OR terms, and tolerating `PreferNoSchedule`, stays with the daemon for all later
/// questions: upstream changes the pod that it asks about (`C/pkg/controllers/provisioning/scheduling/scheduler.go`,
/// isDaemonPodCompatible), so a later instance type and every existing node see what the earlier ones left.
pub struct Daemons {
    all: Vec<DaemonState>,
}

struct DaemonState {
    pod: Arc<Pod>,
    tolerations: Vec<Toleration>,
    dropped_terms: usize,
}

impl DaemonState {
    fn requirements(&self) -> Requirements {
        let mut all = selector_requirements(&self.pod);
        if let Some(term) = self.pod.node_affinity.get(self.dropped_terms) {
            all.extend(term);
        }
        all
    }

    fn tolerate_soft(&mut self) {
        let soft = Toleration { key: "".into(), exists: true, value: "".into(), effect: Some(Effect::PreferNoSchedule) };
        if !self.tolerations.contains(&soft) {
            self.tolerations.push(soft);
        }
    }

    fn runs_on_type(&mut self, taints: &[Taint], pool: &Requirements, instance_type: &InstanceType) -> bool {
        self.tolerate_soft();
        if taint::first_untolerated(taints, &self.tolerations).is_some() {
            return false;
        }
        loop {
            let asked = self.requirements();
            if pool.is_compatible(&asked, labels::is_well_known) && instance_type.requirements.intersects(&asked) {
                return true;
            }
            if self.dropped_terms + 1 >= self.pod.node_affinity.len() {
                return false;
            }
            self.dropped_terms += 1;
        }
    }
}

/// Instance types of a pool on which the same daemons run.
pub struct DaemonGroup {
    pub types: Bits,
    pub overhead: Amounts,
    pub ports: Vec<Port>,
}

impl Daemons {
    pub fn of(snapshot: &Snapshot) -> Self {
        let state = |pod: &Arc<Pod>| DaemonState { pod: pod.clone(), tolerations: pod.tolerations.clone(), dropped_terms: 0 };
        Daemons { all: snapshot.daemons.iter().map(|daemon| state(&daemon.pod)).collect() }
    }

    /// Groups in order of their first instance type.
    pub fn groups(
        &mut self,
        taints: &[Taint],
        pool: &Requirements,
        types: &[InstanceType],
        options: &Bits,
        names: &ResourceNames,
    ) -> Vec<DaemonGroup> {
        let mut groups: Vec<(Vec<usize>, Bits)> = Vec::new();
        for position in options.iter() {
            let runs: Vec<usize> = (0..self.all.len()).filter(|d| self.all[*d].runs_on_type(taints, pool, &types[position])).collect();
            match groups.iter_mut().find(|(daemons, _)| *daemons == runs) {
                Some((_, members)) => members.insert(position),
                None => {
                    let mut members = Bits::empty(types.len());
                    members.insert(position);
                    groups.push((runs, members));
                }
            }
        }
        let group = |(daemons, types): (Vec<usize>, Bits)| DaemonGroup {
            types,
            overhead: self.requests(&daemons, names),
            ports: daemons.iter().flat_map(|d| Port::read_all(&self.all[*d].pod.host_ports)).collect(),
        };
        groups.into_iter().map(group).collect()
    }

    fn requests(&self, daemons: &[usize], names: &ResourceNames) -> Amounts {
        let mut total = names.amounts(&vocabulary::Resources::new());
        for daemon in daemons {
            add(&mut total, &names.amounts(&self.all[*daemon].pod.requests));
        }
        total
    }

    /// Labels that any of them asks about.
    pub fn keys(&self) -> BTreeSet<Arc<str>> {
        self.all.iter().flat_map(|daemon| daemon.requirements().iter().map(|r| r.key.clone()).collect::<Vec<_>>()).collect()
    }

    /// What the daemons ask that run on an existing node with these labels and taints.
    pub fn requests_on_node(&self, node: &Requirements, taints: &[Taint]) -> vocabulary::Resources {
        let runs = |daemon: &&DaemonState| {
            taint::first_untolerated(taints, &daemon.tolerations).is_none() && node.is_compatible(&daemon.requirements(), |_| false)
        };
        vocabulary::Resources::sum(self.all.iter().filter(runs).map(|daemon| &daemon.pod.requests))
    }
}
