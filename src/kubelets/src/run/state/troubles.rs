//! Nodes that break: conditions that somebody sets, kubelets that fall silent, and pods that go because their node is short of something.

use jiff::{SignedDuration, Timestamp};

use super::{Key, Phase, State, Tenant, Unit};
use crate::boot::boot;
use crate::node::{self, Problem};
use crate::pod::{Shortage, Stage, View};
use crate::profile::Heartbeats;
use crate::words::Word;

/// How often a node that is short of something ends a pod (`monitoringInterval` of `pkg/kubelet/kubelet.go`, evictionMonitoringPeriod).
const EVICT_EVERY: SignedDuration = SignedDuration::from_secs(10);

impl Unit {
    pub(super) fn short_of(&self) -> Vec<Shortage> {
        self.problems.iter().filter(|problem| problem.status == "True").filter_map(|problem| Shortage::of(&problem.condition)).collect()
    }
}

impl Tenant {
    pub(super) fn may_be_evicted(&self) -> bool {
        let lives = self.life.as_ref().is_some_and(|life| life.ended.is_none());
        lives && self.reported != Stage::Ended && !self.view.is_over() && self.view.appetite.may_go()
    }
}

impl State {
    /// Breaks the node of a machine, or mends it. Only a node that is ready can be broken.
    pub fn trouble(&mut self, id: &str, problem: Problem, now: Timestamp) -> Result<(), String> {
        let Some(unit) = self.units.get_mut(id) else { return Err(format!("machine {id} is not running")) };
        let ready = problem.condition == "Ready";
        match &unit.phase {
            Phase::Silent if ready && problem.status == "True" => {
                let bootstrap = boot(&unit.machine, &self.profile).map_err(|refusal| refusal.to_string())?;
                unit.phase = Phase::Booting { joins: now, bootstrap: Box::new(bootstrap) };
                self.timers.insert((now, Key::Machine(id.to_owned())));
                return Ok(());
            }
            Phase::Silent => return Err(format!("the kubelet of machine {id} is silent already; Ready: \"True\" wakes it")),
            Phase::Joined { uid, ready: true, .. } if ready && problem.status == "Unknown" => {
                let (name, uid) = (unit.machine.private_dns_name.clone(), uid.clone());
                unit.phase = Phase::Silent;
                // As when the machine ends: the last sign of life is written down.
                if self.profile.heartbeats == Heartbeats::Computed && !std::mem::replace(&mut unit.renews, true) {
                    self.silent.insert(id.to_owned(), (name.clone(), uid));
                    self.timers.insert((now, Key::Lease(id.to_owned())));
                }
                self.abandon(id, &name);
                return Ok(());
            }
            Phase::Joined { ready: true, .. } => {}
            _ => return Err(format!("the node of machine {id} is not ready")),
        }
        let before = unit.problems.iter().find(|known| known.condition == problem.condition).map(|known| known.status.clone());
        let changes = before.unwrap_or_else(|| if ready { "True".to_owned() } else { "False".to_owned() }) != problem.status;
        unit.problems.retain(|known| known.condition != problem.condition);
        let shortage = Shortage::of(&problem.condition).is_some();
        let words = node::turn(&problem.condition, &problem.status).filter(|_| changes);
        let words = words.map(|reason| node::turned(&unit.machine.private_dns_name, reason, now));
        // What the kubelet says by itself, it says again by itself.
        if !(ready && problem.status == "True" || shortage && problem.status != "True") {
            unit.problems.push(problem);
        }
        if shortage {
            unit.evicts = None;
        }
        self.timers.insert((now, Key::Status(id.to_owned())));
        self.say(id, words, now);
        // The node says so first; who goes is decided when it is looked at again.
        self.press(id, now);
        Ok(())
    }

    /// A node that is short of something ends one pod at a time, until it is not, or nobody is left.
    pub(super) fn relieve(&mut self, id: &str, now: Timestamp) {
        let Some(unit) = self.units.get_mut(id).filter(|unit| unit.evicts.is_some_and(|at| at <= now)) else { return };
        unit.evicts = None;
        let Some(shortage) = unit.short_of().first().copied() else { return };
        let node = unit.machine.private_dns_name.clone();
        let threshold = Word::warning(now, "EvictionThresholdMet", format!("Attempting to reclaim {}", shortage.resource()));
        self.say(id, [threshold], now);
        if self.names.get(&node).is_none_or(|owner| owner != id) {
            return;
        }
        let here = self.bound.get(&node).into_iter().flatten().filter_map(|uid| Some((uid, self.tenants.get(uid)?)));
        let mut candidates: Vec<_> = here.filter(|(_, tenant)| tenant.may_be_evicted()).map(|(uid, tenant)| (&tenant.view, uid)).collect();
        let name = |view: &View| (view.namespace.clone(), view.name.clone());
        candidates
            .sort_by(|(one, _), (other, _)| one.appetite.rank(&other.appetite, shortage, now).then_with(|| name(one).cmp(&name(other))));
        let Some(uid) = candidates.first().map(|(_, uid)| (*uid).clone()) else { return };
        if let Some(Tenant { view, life: Some(life), .. }) = self.tenants.get_mut(&uid) {
            life.evict(view.appetite.farewell(shortage, now), now);
        }
        self.tend(&uid);
        self.mark(now, &uid);
        self.timers.insert((now, Key::Pod(uid)));
        self.press(id, now);
    }

    /// The next pod goes a while from now.
    pub(super) fn press(&mut self, id: &str, now: Timestamp) {
        let Some(unit) = self.units.get_mut(id) else { return };
        if unit.evicts.is_none() && !unit.short_of().is_empty() {
            let at = now.saturating_add(EVICT_EVERY).unwrap_or(now);
            unit.evicts = Some(at);
            self.timers.insert((at, Key::Pressure(id.to_owned())));
        }
    }
}
