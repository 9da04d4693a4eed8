//! What instances do over time: pending → running → (stopping → stopped →) shutting-down → terminated → forgotten.

use jiff::Timestamp;

use super::World;
use super::agenda::Due;
use super::bus;
use super::instance::Check;
use super::machine::{LedgerEntry, Phase};
use crate::services::autoscaling::reconcile;
use crate::services::eks::updates;

/// Why an instance changes its state, in EC2's code and message of a `StateReason`.
pub(crate) type Reason = (&'static str, &'static str);

/// Source: API reference, `StateReason`.
pub(crate) const BY_USER_TERMINATE: Reason = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown");
pub(crate) const SPOT_TERMINATION: Reason = ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination");
pub(crate) const SCHEDULED_STOP: Reason =
    ("Server.ScheduledStop", "Server.ScheduledStop: The instance was stopped due to a scheduled retirement.");
pub(crate) const HARDWARE_FAILURE: Reason = ("Server.InternalError", "Server.InternalError: Internal error on launch");

/// The generation of an instance that was launched and never stopped.
const FIRST: u64 = 1;

/// Something is due.
pub(crate) fn happen(world: &mut World<'_>, due: Due) {
    match due {
        Due::Instance { id, generation, .. } => world.arrive(&id, generation),
        Due::TakeBack { id, .. } => world.take_back(&id),
        Due::Maintenance { id, .. } => world.maintain(&id),
        Due::Forget { id, .. } => world.forget(&id),
        Due::Fate { id, rule, fate, .. } => world.meet_fate(&id, &rule, fate),
        Due::Event { event, .. } => bus::deliver(world, &event),
        Due::Schedule { rule, .. } => bus::fire(world, &rule),
        // Whoever waits for a message is asked again after each advance.
        Due::Visible { .. } => {}
        Due::Reservation { id, .. } => {
            if world.region.reservations.get(&id).is_some_and(|it| it.end == Some(world.now)) {
                world.end_reservation(&id, "expired");
            }
        }
        Due::Price { .. } => {
            world.region.prices_watched = None;
            world.watch_prices();
        }
        Due::Group { name, .. } => reconcile::now(world, &name),
        Due::Nodegroup { cluster, name, .. } => updates::step(world, &cluster, &name),
        Due::Cluster { name, .. } => {
            if let Some(cluster) = world.region.clusters.get_mut(&name) {
                cluster.active = true;
            }
        }
    }
}

impl World<'_> {
    /// An instance that has just been made, or is started again, goes its way to `running`.
    pub(crate) fn begin(&mut self, id: &str) {
        let Some(instance) = self.region.instances.get_mut(id) else { return };
        instance.phase = Phase::Pending;
        instance.reason = None;
        // It comes to another host, of which nothing is announced and which is well.
        instance.events.retain(|event| event.over);
        instance.impaired.retain(|(check, _)| *check != Check::System);
        instance.transition_reason.clear();
        let entry = LedgerEntry {
            instance_id: id.to_owned(),
            region: self.region.name.clone(),
            zone: instance.zone.name.to_owned(),
            instance_type: instance.instance_type.to_owned(),
            market: instance.market,
            start: self.now,
            end: None,
            price_per_hour: instance.price,
        };
        // A reservation has taken its room before.
        let pool = instance.capacity_reservation.is_none().then(|| instance.pool());
        self.account.ledger.open(entry);
        if let Some(pool) = pool {
            self.enter_pool(pool);
        }
        let delay = self.account.settings.pending;
        self.after_change(id, Some(("pending", delay)));
    }

    /// An instance begins to shut down. Does nothing to one that already does, or is gone.
    pub(crate) fn terminate(&mut self, id: &str, reason: Reason) {
        let Some(instance) = self.region.instances.get(id) else { return };
        if matches!(instance.phase, Phase::ShuttingDown | Phase::Terminated) {
            return;
        }
        if instance.interrupted.is_some() {
            self.account.agenda.forget_notice(id);
        }
        if !instance.events.is_empty() {
            self.account.agenda.forget_maintenance(id);
        }
        self.leave(id, Phase::ShuttingDown, reason);
        let delay = self.account.settings.shutting_down;
        self.after_change(id, Some(("shutting-down", delay)));
    }

    /// A running instance begins to stop, as its user wants.
    pub(crate) fn stop(&mut self, id: &str) {
        self.stop_for(id, BY_USER_TERMINATE);
    }

    /// A running instance begins to stop.
    pub(super) fn stop_for(&mut self, id: &str, reason: Reason) {
        let Some(instance) = self.region.instances.get(id) else { return };
        if !matches!(instance.phase, Phase::Running | Phase::Pending) {
            return;
        }
        self.leave(id, Phase::Stopping, reason);
        let delay = self.account.settings.stopping;
        self.after_change(id, Some(("stopping", delay)));
    }

    /// Moves to a state in which AWS bills no longer.
    fn leave(&mut self, id: &str, to: Phase, (code, message): Reason) {
        let Some(instance) = self.region.instances.get_mut(id) else { return };
        let held = instance.phase.holds_capacity();
        instance.phase = to;
        instance.reason = Some((code.to_owned(), message.to_owned()));
        let who = if code.starts_with("Server.") { "Service" } else { "User" };
        instance.transition_reason = format!("{who} initiated ({})", self.now.strftime("%Y-%m-%d %H:%M:%S GMT"));
        let pool = instance.capacity_reservation.is_none().then(|| instance.pool());
        if held
            && !to.holds_capacity()
            && let Some(pool) = pool
        {
            self.leave_pool(&pool);
        }
        self.account.ledger.close(id, self.now);
    }

    /// The transitional state ends.
    fn arrive(&mut self, id: &str, generation: u64) {
        let Some(instance) = self.region.instances.get_mut(id).filter(|instance| instance.generation == generation) else { return };
        // A start after a stop is no launch.
        let launched = instance.phase == Phase::Pending && generation == FIRST;
        match instance.phase {
            Phase::Pending => {
                instance.phase = Phase::Running;
                if let Some(log) = &self.account.settings.boot_log {
                    instance.console.get_or_insert_with(|| (self.now, log.clone()));
                }
            }
            Phase::Stopping => {
                instance.phase = Phase::Stopped;
                let pool = instance.capacity_reservation.is_none().then(|| instance.pool());
                if let Some(pool) = pool {
                    self.leave_pool(&pool);
                }
            }
            Phase::ShuttingDown => self.end(id),
            Phase::Running | Phase::Stopped | Phase::Terminated => return,
        }
        self.after_change(id, None);
        if launched {
            self.draw_fates(id);
        }
    }

    /// A terminated instance gives its addresses and volumes back, and is described for a while.
    fn end(&mut self, id: &str) {
        let Some(instance) = self.region.instances.get_mut(id) else { return };
        instance.phase = Phase::Terminated;
        instance.ended = Some(self.now);
        for interface in std::mem::take(&mut instance.interfaces) {
            if let Some(interface) = self.region.interfaces.remove(&interface)
                && let Some(address) = interface.address
                && let Some(subnet) = self.region.subnets.get_mut(&interface.subnet_id)
            {
                subnet.release(address);
            }
        }
        for (_, volume) in std::mem::take(&mut instance.volumes) {
            // A volume that outlives its instance would be `available`; it stays listed until somebody deletes it.
            let kept = self.region.volumes.get(&volume).is_some_and(|volume| !volume.delete_on_termination);
            if !kept {
                self.region.volumes.remove(&volume);
            } else if let Some(volume) = self.region.volumes.get_mut(&volume) {
                volume.instance_id.clear();
            }
        }
        let at = later(self.now, self.account.settings.terminated_visible);
        self.account.agenda.add(at, Due::Forget { region: self.region.name.clone(), id: id.to_owned() });
    }

    fn forget(&mut self, id: &str) {
        self.region.instances.remove(id);
        self.region.written.forget(id);
        self.account.machines_version += 1;
    }

    /// Every change: generation, version, the event, and the end of a transitional state.
    fn after_change(&mut self, id: &str, transition: Option<(&str, super::Delay)>) {
        self.account.machines_version += 1;
        let Some(instance) = self.region.instances.get_mut(id) else { return };
        instance.generation += 1;
        let (generation, phase) = (instance.generation, instance.phase);
        if let Some((stream, delay)) = transition {
            let at = later(self.now, self.account.entropy.delay(stream, delay));
            self.account.agenda.add(at, Due::Instance { region: self.region.name.clone(), id: id.to_owned(), generation });
        }
        bus::instance_changed(self, id, phase);
        if !matches!(phase, Phase::Pending | Phase::Running) {
            reconcile::notice(self, id);
        }
    }
}

/// An instant plus a span; the last instant there is, should it overflow.
pub(crate) fn later(at: Timestamp, span: jiff::SignedDuration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}
