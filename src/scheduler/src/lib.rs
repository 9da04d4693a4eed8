//! Decides on which node a pod goes, as kube-scheduler 1.36 would, and says why it goes nowhere. Binds nothing.
//!
//! May touch: `vocabulary`, serde. Must never touch: clocks, randomness, async, clients, the planner. Time and the draw among
//! equals are arguments.
//!
//! Map, in reading order: [`wire`] reads the fields that matter from Kubernetes' JSON; [`selector`] matches labels;
//! [`pod`] and [`node`] are what the rules see; [`view`] is the cluster, kept up to date pod by pod; [`plugins`] are the
//! rules, one file each, [`storage`] what those about volumes look at; [`cycle`] runs them for one pod; [`fit_error`] is kube-scheduler's message; [`preemption`] looks for
//! victims; [`queue`] says who is next; [`hints`] says which change is worth a retry; [`admission`] is the kubelets' second look.
//!
//! Sources are paths below `k8s.io/kubernetes/pkg/scheduler` at v1.36.3 unless they say otherwise. Not modelled: storage
//! capacity, dynamic resource allocation, image locality (always zero here), extenders, several profiles, pod groups.

pub mod admission;
pub mod cycle;
pub mod fit_error;
pub mod hints;
pub mod node;
pub mod plugins;
pub mod pod;
pub mod preemption;
pub mod queue;
pub mod resources;
pub mod selector;
pub mod storage;
#[cfg(test)]
mod tests;
pub mod view;
pub mod wire;

pub use admission::{Failure, Lack, admission_check};
pub use cycle::{NodeScore, Placement, schedule, schedule_scored};
pub use fit_error::FitError;
pub use hints::Event;
pub use node::NodeInfo;
pub use plugins::volumes::Binding;
pub use plugins::{Plugin, PluginSet};
pub use pod::PodInfo;
pub use queue::Queue;
pub use view::ClusterView;
pub use wire::ReadError;

/// The highest score that a plugin gives to a node (`k8s.io/kube-scheduler/framework`, MaxNodeScore).
pub const MAX_NODE_SCORE: i64 = 100;
