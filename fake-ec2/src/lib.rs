//! A cloud that remembers: EC2, IAM, STS, SQS, SSM, EKS, Pricing, EventBridge, Auto Scaling and ARC zonal shift behind AWS's wire,
//! as a seeded state machine without a clock.
//!
//! May touch: its own models, catalogue and codecs. Must never touch: any other room, sockets, clocks, the machine's entropy.
//!
//! | module | what it is |
//! |---|---|
//! | [`cloud`] | [`Cloud`]: requests in, replies out; routing, request ids, limits |
//! | [`config`] | [`Config`]: the account, its keys, the seed, the limits |
//! | [`protocol`] | the four wire protocols, both ways, between bytes and a [`Call`](protocol::Call) |
//! | [`model`] | the pruned service models that the protocols interpret |
//! | [`auth`] | SigV4: who calls, and whether the signature holds |
//! | [`catalogue`] | instance types, offerings and prices |
//! | [`policy`] | IAM's policy language |
//! | [`services`] | what each operation does |
//! | [`state`] | what the cloud remembers |
//! | `kept` | how it is written down, and comes back |

pub mod auth;
pub mod catalogue;
pub mod cloud;
pub mod config;
mod kept;
pub mod model;
pub mod policy;
pub mod protocol;
pub mod services;
pub mod state;

pub use cloud::{Cloud, Out, Request, Response, Ticket};
pub use config::{Config, Limits};
