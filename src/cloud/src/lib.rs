//! The cloud in domain words (launch, list, terminate, offerings, prices, queue), and its AWS adapter.
//!
//! May touch: `vocabulary`, `api`, `ambient`, the planner's input types, AWS's runtime crates. Must never touch: Kubernetes
//! clients, decisions, the fakes.
//!
//! Map: [`port`] is what the controller knows, [`telling`] what it hears beside answers; [`aws`] is the adapter behind it, made of [`providers`] (what is known of the cloud),
//! [`launch`] (templates and fleets) and [`userdata`], on top of [`wire`] (operations as data). [`settings`] are the operator's.
//!
//! Evidence: `testdata` holds every kind of request that is made here, and the same ones from botocore's serializers and, signed and byte
//! for byte, from AWS's SDK for Rust; CONTRIBUTING.md says how they are made anew.

pub mod aws;
mod batch;
mod cache;
pub mod errors;
#[cfg(test)]
mod goldens;
mod labels;
pub mod launch;
pub mod port;
pub mod providers;
pub mod settings;
mod tables;
pub mod telling;
#[cfg(test)]
mod testing;
pub mod userdata;
pub mod wire;

pub use aws::AwsCloud;
pub use port::{Cloud, CloudError, Discovery, Instance, LaunchError, LaunchRequest, Launched, Message, ReservationChange};
pub use settings::Settings;
