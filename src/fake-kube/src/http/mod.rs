//! HTTP as kube-apiserver speaks it: paths, queries, media types, and what they ask of the [`Api`](crate::api::Api).
//!
//! - `route`: a path to a resource; `query`: a query to options; `media`: what the client accepts
//! - `serve`: one request to one answer; `read`, `write`: the verbs; `reviews`: requests that are answered and forgotten
//! - `discovery`, `openapi`: what there is; `table`, `cells`: what kubectl prints
//! - `watch`: streams; `dialect`: the two forms of events, and those of autoscalers (`autoscalers`)

mod autoscalers;
mod cells;
mod dialect;
mod discovery;
mod media;
mod metrics;
mod openapi;
mod query;
mod read;
mod reviews;
mod route;
mod serve;
mod table;
pub(crate) mod watch;
mod write;

pub(crate) use serve::{Answer, Server, parse_yaml, refused};
