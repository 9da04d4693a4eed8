//! The controllers that are built in: state machines over the API, with Kubernetes' own rules and constants.
//!
//! May touch: [`crate::api`], [`crate::store`], `scheduler`. Must never touch: HTTP, clocks, the machine's entropy.
//!
//! Each is level-triggered: changes say which objects to look at, the store says what is true. Map, in the order in which they run:
//! [`nodes`] keeps nodes' taints and conditions, [`taint_eviction`] removes pods that do not
//! tolerate them; [`deployments`], [`replica_sets`], [`daemon_sets`], [`jobs`] make pods; [`scheduling`] gives them nodes;
//! [`disruption`] keeps budgets' numbers; [`pod_gc`] and [`garbage`] remove what nobody owns; [`event_ttl`] forgets old events.
//! [`pods`], [`facts`], [`events`], [`owned`] and [`census`] are what several of them need. The end of namespaces is the server's own (`bootstrap`).
//!
//! Not modelled: adoption of orphans by selector, rate limits of taint evictions per zone, finalizers that track pods of Jobs,
//! indexed Jobs, StatefulSets, ControllerRevision objects.

mod census;
mod daemon_sets;
mod deployments;
mod disruption;
mod event_ttl;
mod events;
mod facts;
mod garbage;
mod jobs;
mod nodes;
mod owned;
mod pod_gc;
mod pods;
mod quotas;
mod ranking;
mod replica_sets;
mod rollout;
mod scheduling;
mod taint_eviction;
#[cfg(test)]
mod tests;

use crate::controller::Controller;

/// All of them, in the order in which they run. `seed` decides among nodes of equal score.
pub fn all(seed: u64) -> Vec<Box<dyn Controller>> {
    vec![
        Box::<nodes::Nodes>::default(),
        Box::<taint_eviction::TaintEviction>::default(),
        Box::<deployments::Deployments>::default(),
        Box::<replica_sets::ReplicaSets>::default(),
        Box::<daemon_sets::DaemonSets>::default(),
        Box::<jobs::Jobs>::default(),
        Box::new(scheduling::Scheduling::new(seed)),
        Box::<disruption::Disruption>::default(),
        Box::<pod_gc::PodGc>::default(),
        Box::<garbage::Garbage>::default(),
        Box::<event_ttl::EventTtl>::default(),
        Box::<quotas::Quotas>::default(),
    ]
}
