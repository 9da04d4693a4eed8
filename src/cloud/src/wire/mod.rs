//! AWS's wire: operations as data, over AWS's own runtime for credentials, signing, transport and timeouts.
//!
//! Map: [`service`] says what each service speaks and where it lives; [`order`] sorts members as the models list
//! them; [`query`] writes ec2Query and awsQuery; [`xml`] and serde_json
//! read; [`failure`] reads errors; [`retry`] is the table of what is tried again; [`client`] makes the call.

pub mod client;
pub mod failure;
mod order;
pub mod query;
pub mod retry;
pub mod service;
pub mod transport;
pub mod xml;

pub use client::{Call, Client, Reply};
pub use service::Service;
pub use xml::Element;
