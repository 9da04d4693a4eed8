//! An embedded Kubernetes API server, as a state machine without a clock.
//!
//! A [`Kube`] takes requests with the instant at which they arrive and hands back what is due: replies, watch events, the ends of
//! streams. Its controllers run inside. The same seed and the same calls give the same bytes.
//!
//! Leases and node status are ordinary writes: a world whose heartbeats cost too much computes them in front of [`Kube::submit`].
//!
//! May touch: `scheduler`, its own types and schemas. Must never touch: sockets, threads, clocks, the machine's entropy, the
//! controller, the planner, `fake-ec2`.
//!
//! Map, from the inside out:
//! - [`store`]: objects, resourceVersions, history
//! - [`kinds`]: what is known of each kind; [`crd`]: kinds that users add
//! - [`api`]: the write path, the same for HTTP and for controllers: decoding, defaults, admission, validation, deletion
//! - `auth`: who asks, and whether they may; `escalation`: what they may hand out
//! - [`controller`]: what a controller is, and the loop that drives them; `controllers`: those that are built in
//! - `protobuf`: bodies of Go clients; `fields`: who set which field, and server-side apply
//! - [`kube`]: HTTP in, HTTP out

mod admission;
pub mod api;
mod auth;
mod bootstrap;
mod chance;
pub mod controller;
pub mod controllers;
pub mod crd;
mod cron;
mod escalation;
mod fields;
mod http;
pub mod kinds;
pub mod kube;
mod patch;
mod protobuf;
pub mod quantity;
mod quota;
mod rules;
mod schema;
pub mod select;
pub mod status;
pub mod store;
pub mod time;
mod usage;

pub use api::{Api, DeleteOptions, Preconditions, Propagation};
pub use auth::User;
pub use controller::Controller;
pub use kinds::Kind;
pub use kube::{Action, Config, Kube, Latency, Out, Request, Response, Rule, Ticket};
pub use status::Status;
pub use store::{Change, EventType, Meta, Object, OwnerRef, Store};
