//! A pod that is new on a node: it goes on where it was, begins, waits for others to go, or is refused.
//!
//! What the node still has is added up when a pod comes, over the pods of that node alone.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Key, Phase, State, Tenant, Unit};
use crate::admission::{self, Applicant, Refusal, Site, Verdict};
use crate::pod::{Images, Life, PRESSURES, Stage};

/// Whether the Node was fetched for a pod that seemed not to fit it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Look {
    #[default]
    Never,
    Due,
    Done,
}

impl Unit {
    /// The conditions under which it does not take every pod.
    fn pressures(&self) -> Vec<&'static str> {
        let holds = |condition: &&str| self.problems.iter().any(|problem| problem.condition == *condition && problem.status == "True");
        PRESSURES.into_iter().filter(holds).collect()
    }

    /// What its device plugins have announced.
    fn devices(&self) -> BTreeMap<String, u64> {
        let announced = matches!(self.phase, Phase::Joined { ready: true, .. }) && !self.devices;
        if announced { self.machine.extended_resources.clone() } else { BTreeMap::new() }
    }
}

impl Tenant {
    /// It holds what it asks for: it was taken and has not ended.
    fn is_active(&self, now: Timestamp) -> bool {
        let lives = |life: &Life| life.progress(&self.view, now).0 != Stage::Ended;
        !self.view.is_over() && self.life.as_ref().is_some_and(lives)
    }
}

impl State {
    /// The API server shows a Node.
    pub fn learn(&mut self, site: Option<Site>) {
        let Some(site) = site else { return };
        if self.sites.get(site.name()).is_none_or(|known| !site.is_older_than(known)) {
            self.sites.insert(site.name().to_owned(), site);
        }
    }

    /// The API server shows it no more.
    pub fn unlearn(&mut self, name: &str) {
        if !self.names.contains_key(name) {
            self.sites.remove(name);
        }
    }

    /// Brings a pod's life up to what its object says, if its node is ours.
    pub(super) fn attend(&mut self, uid: &str, now: Timestamp) {
        let Some(tenant) = self.tenants.get(uid) else { return };
        let Some(id) = self.names.get(&tenant.view.node).cloned() else { return };
        if tenant.life.is_none() {
            let Some(life) = self.begin(uid, &id, now) else { return };
            if life.accepted > now {
                self.timers.insert((life.accepted, Key::Pod(uid.to_owned())));
            }
            if let Some(tenant) = self.tenants.get_mut(uid) {
                tenant.life = Some(life);
            }
            // A node that is short of something ends whoever comes, too.
            self.press(&id, now);
        }
        let Some(Tenant { view, life: Some(life), .. }) = self.tenants.get_mut(uid) else { return };
        life.delete(view, now);
        self.timers.insert((now, Key::Pod(uid.to_owned())));
        self.mark(now, uid);
        self.tend(uid);
    }

    /// The life of a pod that its kubelet comes to know; none while the Node has to be looked at first.
    fn begin(&mut self, uid: &str, id: &str, now: Timestamp) -> Option<Life> {
        let Phase::Joined { network, .. } = self.units.get(id)?.phase else { return None };
        let mut stream = self.entropy.child("pod").stream(uid);
        let tenant = self.tenants.get_mut(uid)?;
        let view = &tenant.view;
        if view.is_over() || view.phase == "Running" {
            tenant.reported = match (view.is_over(), view.ready) {
                (true, _) => Stage::Ended,
                (false, true) => Stage::Ready,
                (false, false) => Stage::Running,
            };
            tenant.ip = view.ip.clone();
            self.addresses.claim(&view.node, &view.ip);
            return Some(Life::resume(view, &self.profile, &mut stream, now));
        }
        let at = match self.judge(uid, id, now) {
            Ok(victims) => self.make_room(victims, now),
            Err((_, true)) => {
                self.tenants.get_mut(uid)?.look = Look::Due;
                self.timers.insert((now, Key::Pod(uid.to_owned())));
                return None;
            }
            Err((refusal, false)) => return Some(Life::refused(&self.tenants.get(uid)?.view, refusal, now)),
        };
        let (tenant, unit) = (self.tenants.get_mut(uid)?, self.units.get_mut(id)?);
        let view = &tenant.view;
        if self.profile.volumes && !view.claims.is_empty() {
            tenant.volumes = Some(at);
            return Some(Life::begin(view, &self.profile, &mut stream, at, network, &mut Images::new()).held());
        }
        Some(Life::begin(view, &self.profile, &mut stream, at, network, &mut unit.images))
    }

    /// Who has to go before the node takes the pod; or why it does not, and whether that is to be seen once more first.
    fn judge(&self, uid: &str, id: &str, now: Timestamp) -> Result<Vec<String>, (Refusal, bool)> {
        let (Some(tenant), Some(unit)) = (self.tenants.get(uid), self.units.get(id)) else { return Ok(Vec::new()) };
        if let Some(refusal) = tenant.view.appetite.refusal(&unit.pressures()) {
            return Err((refusal, false));
        }
        // What cannot be read is taken: whoever let it in knows better.
        let (Some(applicant), Some(site)) = (&tenant.applicant, self.sites.get(&tenant.view.node)) else { return Ok(Vec::new()) };
        let here = self.bound.get(&tenant.view.node).into_iter().flatten().filter(|other| *other != uid);
        let active = here.filter_map(|other| Some((other, self.tenants.get(other)?))).filter(|(_, other)| other.is_active(now));
        let (uids, others): (Vec<&String>, Vec<&Applicant>) =
            active.filter_map(|(other, tenant)| Some((other, tenant.applicant.as_deref()?))).unzip();
        match admission::admit(applicant, site, &others, &unit.devices()) {
            Verdict::Taken { victims } => Ok(victims.into_iter().filter_map(|place| uids.get(place).copied().cloned()).collect()),
            Verdict::Refused(refusal) => Err((refusal, false)),
            Verdict::Doubtful(refusal) => Err((refusal, tenant.look != Look::Done)),
        }
    }

    /// Ends these pods; gives back when they are gone (`pkg/kubelet/preemption/preemption.go` waits for that).
    fn make_room(&mut self, victims: Vec<String>, now: Timestamp) -> Timestamp {
        let mut free = now;
        for uid in victims {
            if let Some(Tenant { view, life: Some(life), .. }) = self.tenants.get_mut(&uid) {
                free = free.max(life.preempt(view, now));
            }
            self.tend(&uid);
            self.mark(now, &uid);
            self.timers.insert((now, Key::Pod(uid)));
        }
        free
    }

    /// The Node was fetched for the pod, if it is there.
    pub(super) fn looked(&mut self, uid: &str, site: Option<Site>, now: Timestamp) {
        self.learn(site);
        if let Some(tenant) = self.tenants.get_mut(uid) {
            tenant.look = Look::Done;
        }
        self.attend(uid, now);
    }

    /// In the order in which a kubelet that starts takes them: those that run already, then by age (HandlePodAdditions).
    pub(super) fn waiting(&self, node: &str) -> Vec<String> {
        let uids = self.bound.get(node).into_iter().flatten();
        let mut waiting: Vec<_> = uids.filter_map(|uid| Some((uid, &self.tenants.get(uid)?.view))).collect();
        waiting.sort_by_key(|(_, view)| (view.phase != "Running", view.appetite.created));
        waiting.into_iter().map(|(uid, _)| uid.clone()).collect()
    }
}
