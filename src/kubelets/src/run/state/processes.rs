//! Containers that are processes: when one starts, ends and is asked, and what becomes of its pod.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::super::effects::{Effect, Outcome};
use super::{Key, State};
use crate::pod::{Life, ProbeKind};
use crate::process::{Exit, Id};

impl State {
    /// Whatever is next for the pod's processes is due at its time.
    pub(super) fn tend(&mut self, uid: &str) {
        let Some(life) = self.tenants.get(uid).and_then(|tenant| tenant.life.as_ref()) else { return };
        for (container, process) in &life.processes {
            let id = Id { uid: uid.to_owned(), container: container.clone() };
            for at in process.due.into_iter().chain(process.stops()) {
                self.timers.insert((at, Key::Process(id.clone())));
            }
            for (kind, at) in process.probes() {
                self.timers.insert((at, Key::Probe(id.clone(), kind)));
            }
        }
    }

    pub(super) fn process_effect(&mut self, id: &Id, now: Timestamp) -> Option<Effect> {
        if self.strays.remove(id) {
            return Some(Effect::Stop { id: id.clone(), grace: SignedDuration::ZERO });
        }
        let tenant = self.tenants.get_mut(&id.uid)?;
        let life = tenant.life.as_mut()?;
        let over = life.ended.is_some() || life.stopping.is_some();
        let process = life.processes.get_mut(&id.container)?;
        if process.lives() {
            return process.stop_now(now).map(|grace| Effect::Stop { id: id.clone(), grace });
        }
        if over || process.due.is_none_or(|due| due > now) {
            return None;
        }
        let view = &tenant.view;
        let host = self.units.get(self.names.get(&view.node)?)?.machine.private_ip.clone();
        if tenant.ip.is_empty() {
            tenant.ip = if view.host_network { host.clone() } else { self.addresses.take(&view.node) };
        }
        let (namespace, name) = (view.namespace.clone(), view.name.clone());
        Some(Effect::Start { id: id.clone(), namespace, name, addresses: (tenant.ip.clone(), host) })
    }

    pub(super) fn probe_effect(&self, id: &Id, kind: ProbeKind, now: Timestamp) -> Option<Effect> {
        let tenant = self.tenants.get(&id.uid)?;
        let life = tenant.life.as_ref().filter(|life| life.stopping.is_none() && life.ended.is_none())?;
        let process = life.processes.get(&id.container)?;
        let since = process.since()?;
        process.next_probe(kind).filter(|at| *at <= now)?;
        let container = tenant.view.containers.iter().find(|one| one.name == id.container)?;
        let probe = Box::new(container.real.as_ref()?.probes.get(&kind)?.clone());
        Some(Effect::Probe { id: id.clone(), kind, probe, since })
    }

    /// A process was started, or told to end.
    pub(super) fn processed(&mut self, id: Id, outcome: Outcome, now: Timestamp) {
        let tenant = self.tenants.get_mut(&id.uid);
        let known = tenant.and_then(|tenant| {
            let life = tenant.life.as_mut().filter(|life| life.processes.contains_key(&id.container))?;
            Some((&tenant.view, life))
        });
        match (known, outcome) {
            (Some((view, life)), Outcome::Started(Ok(()))) => life.process_starts(view, &id.container, now),
            (Some((_, life)), Outcome::Started(Err((reason, message)))) => {
                if let Some(process) = life.processes.get_mut(&id.container) {
                    process.refused(reason, message, now);
                }
            }
            (None, Outcome::Started(Ok(()))) => {
                self.strays.insert(id.clone());
                self.timers.insert((now, Key::Process(id)));
                return;
            }
            _ => {}
        }
        self.told_by_process(&id.uid, now);
    }

    pub(super) fn probed(&mut self, id: Id, kind: ProbeKind, outcome: Outcome, now: Timestamp) {
        let Some(tenant) = self.tenants.get_mut(&id.uid) else { return };
        let Some(life) = tenant.life.as_mut() else { return };
        let asked = |since: Timestamp, life: &Life| life.processes.get(&id.container).is_some_and(|one| one.since() == Some(since));
        if let Outcome::Probed { since, answer } = outcome
            && asked(since, life)
        {
            life.process_probed(&tenant.view, (&id.container, kind), answer, now);
        }
        self.told_by_process(&id.uid, now);
    }

    /// A process has ended.
    pub fn process_ended(&mut self, id: &Id, exit: Exit, now: Timestamp) {
        if let Some(tenant) = self.tenants.get_mut(&id.uid)
            && let Some(life) = tenant.life.as_mut()
        {
            life.process_ends(&tenant.view, &id.container, exit);
        }
        self.told_by_process(&id.uid, now);
    }

    pub(super) fn told_by_process(&mut self, uid: &str, now: Timestamp) {
        self.tend(uid);
        self.timers.insert((now, Key::Pod(uid.to_owned())));
        self.mark(now, uid);
    }
}

/// The processes of a life that nobody leads any more are to end.
pub(super) fn stray(strays: &mut BTreeSet<Id>, timers: &mut BTreeSet<(Timestamp, Key)>, uid: &str, life: Option<Life>) {
    for (container, process) in life.into_iter().flat_map(|life| life.processes) {
        let id = Id { uid: uid.to_owned(), container };
        if process.lives() && strays.insert(id.clone()) {
            timers.insert((Timestamp::MIN, Key::Process(id)));
        }
    }
}
