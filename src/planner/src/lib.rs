//! Decides what should exist. Does nothing about it.
//!
//! Input: a [`Snapshot`], the cloud's [`Offerings`], `now` and [`Options`]. Output: a [`Plan`], and an [`Explanation`] for
//! every pod and node it considered, those it left alone included.
//!
//! May touch: `vocabulary`. Must never touch: clocks, randomness, async, Kubernetes or AWS clients, every other room.
//! Planning an unchanged world again yields an empty plan.
//!
//! Map: [`input`] and [`output`] are the contract; `plan` is the way from one to the other; [`disruption`] says which nodes should go; [`fixed`] is about pools of fixed size, [`overlay`] changes what is offered; `schedule` is the loop over pods;
//! `existing`, `claim` and `template` are the places a pod may go to, in the order in which they are tried; `quick` finds nodes that
//! exist where many simulations share them; `shape`, `intern`,
//! `bits`, `ports`, `order`, `daemons` and `reservation` are what they are made of; `topology` ties a pod's place to those of others; `launch` writes NodeClaims, `explain` the reasons;
//! [`render()`] puts reasons into our words, [`words`] into Karpenter's.

mod bits;
mod claim;
mod daemons;
pub mod disruption;
mod existing;
mod explain;
pub mod fixed;
pub mod input;
mod intern;
mod launch;
mod order;
pub mod output;
pub mod overlay;
mod plan;
mod ports;
mod quick;
mod render;
mod reservation;
mod schedule;
mod shape;
mod template;
mod topology;
mod validate;
pub mod words;

pub use input::{InstanceType, Offering, Offerings, Options, Snapshot};
pub use output::{Explanation, Plan};
pub use plan::plan;
pub use render::render;
