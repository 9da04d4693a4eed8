//! The cluster as it was last seen: an index of watched objects that keeps the planner's [`Snapshot`](planner::Snapshot) up to date.
//!
//! May touch: `vocabulary`, `api`, the planner's input types, Kubernetes' object types. Must never touch: clients, async, clocks,
//! chance. Every answer is a function of the changes that were applied, in their order.
//!
//! Map: [`index`] takes changes and hands out snapshots; [`store`] keeps one kind in order and drops what is older than what it
//! has; [`pod`] (with `relations` and `volumes`), [`machine`], [`pool`], [`daemon`] and [`pod_budget`] turn objects into the planner's words; [`hash`] tells whether a template
//! changed.

pub mod daemon;
pub mod hash;
pub mod index;
pub mod machine;
pub mod pod;
pub mod pod_budget;
pub mod pool;
mod relations;
pub mod store;
mod volumes;

pub use index::{Change, Index, Kind, Object, Touched};
pub use store::Key;
