//! The controllers that are built in: state machines over the API, with Kubernetes' own rules and constants.
//!
//! May touch: [`crate::api`], [`crate::store`], `scheduler`. Must never touch: HTTP, clocks, the machine's entropy.
//!
//! Each is level-triggered: changes say which objects to look at, the store says what is true. Map, in the order in which they run:
//! [`accounts`] furnishes namespaces, [`cluster_roles`] fills roles that gather others; [`nodes`] keeps nodes' taints and conditions (how fast: [`zones`]), [`taint_eviction`] removes pods that do not
//! tolerate them; [`usage`] measures
//! what pods use, [`autoscalers`] (with [`autoscaling`]) change how many there shall be; [`deployments`], [`replica_sets`], [`daemon_sets`], [`stateful_sets`], [`cron_jobs`], [`jobs`] (with [`job_status`], [`job_indexes`] and [`job_policies`]) make pods; [`ephemeral_volumes`] makes the claims that are only theirs, [`volumes`] and
//! [`provisioner`] give their claims volumes, [`scheduling`] gives them nodes, [`attach_detach`] and
//! [`attacher`] bring their volumes there;
//! [`endpoints`] says where services' pods are, [`disruption`] keeps budgets' numbers; [`pod_gc`] and [`garbage`] remove what nobody owns; [`event_ttl`] forgets old events.
//! [`pods`], [`facts`], [`events`], [`owned`], [`census`] and [`history`] are what several of them need. The end of namespaces is the server's own (`bootstrap`).
//!
//! Not modelled: adoption of orphans by selector.

mod accounts;
mod attach_detach;
mod attacher;
mod autoscalers;
mod autoscaling;
mod census;
mod claims;
mod cluster_roles;
mod cron_jobs;
mod daemon_sets;
mod deployments;
mod disruption;
mod endpoints;
mod ephemeral_volumes;
mod event_ttl;
mod events;
mod facts;
mod garbage;
mod history;
mod job_indexes;
mod job_policies;
mod job_status;
mod jobs;
mod nodes;
mod owned;
mod pod_gc;
mod pods;
mod provisioner;
mod quotas;
mod ranking;
mod replica_sets;
mod rollout;
mod scheduling;
mod stateful_sets;
mod taint_eviction;
#[cfg(test)]
mod tests;
mod usage;
mod volumes;
mod zones;

use crate::controller::Controller;

/// What is no part of kube-controller-manager and kube-scheduler: for a cluster whose controllers are those programs.
pub fn beside_a_manager() -> Vec<Box<dyn Controller>> {
    vec![
        Box::<usage::MetricsServer>::default(),
        Box::<provisioner::EbsProvisioner>::default(),
        Box::<attacher::EbsAttacher>::default(),
        Box::<event_ttl::EventTtl>::default(),
    ]
}

/// All of them, in the order in which they run. `seed` decides among nodes of equal score.
pub fn all(seed: u64) -> Vec<Box<dyn Controller>> {
    vec![
        Box::<accounts::Accounts>::default(),
        Box::<cluster_roles::ClusterRoles>::default(),
        Box::<nodes::Nodes>::default(),
        Box::<taint_eviction::TaintEviction>::default(),
        Box::<usage::MetricsServer>::default(),
        Box::<autoscalers::Autoscalers>::default(),
        Box::<deployments::Deployments>::default(),
        Box::<replica_sets::ReplicaSets>::default(),
        Box::<daemon_sets::DaemonSets>::default(),
        Box::<stateful_sets::StatefulSets>::default(),
        Box::<cron_jobs::CronJobs>::default(),
        Box::<jobs::Jobs>::default(),
        Box::<ephemeral_volumes::EphemeralVolumes>::default(),
        Box::<volumes::Volumes>::default(),
        Box::<provisioner::EbsProvisioner>::default(),
        Box::new(scheduling::Scheduling::new(seed)),
        Box::<attach_detach::AttachDetach>::default(),
        Box::<attacher::EbsAttacher>::default(),
        Box::<endpoints::Endpoints>::default(),
        Box::<disruption::Disruption>::default(),
        Box::<pod_gc::PodGc>::default(),
        Box::<garbage::Garbage>::default(),
        Box::<event_ttl::EventTtl>::default(),
        Box::<quotas::Quotas>::default(),
    ]
}
