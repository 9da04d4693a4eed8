//! The wire protocols, interpreted from the service models: bytes to a [`Call`], values to bytes.
//!
//! | module | what it is |
//! |---|---|
//! | [`call`], [`error`] | the seam to the services |
//! | [`route`] | which service and operation a request means |
//! | [`request`] | a request to a call, whatever its protocol |
//! | [`form`], [`query`] | `application/x-www-form-urlencoded` to a tree, a tree to an input |
//! | [`json`], [`rest`] | JSON to an input, path and query string to an input |
//! | [`reply`] | outputs and errors to responses |
//! | [`xml`] | outputs to XML |
//! | [`scalar`] | numbers, booleans, timestamps |
//! | [`malformed`] | what is wrong with a request, in each service's words |
//! | [`limits`] | what the models say of values beyond their kind |
//! | [`fit`] | whether a value fits its shape |

pub mod call;
pub mod error;
pub(crate) mod fit;
mod form;
mod json;
pub(crate) mod limits;
mod malformed;
mod query;
mod reply;
mod request;
mod rest;
mod route;
mod scalar;
mod xml;

pub use call::{Call, Caller};
pub use error::AwsError;
pub use fit::misfits;
pub use form::Form;
pub use malformed::Malformed;
pub use reply::{Dialect, failure, fragment, success};
pub use request::{Parsed, parse};
pub use route::{Target, stranger, target};
pub use scalar::{http_date, timestamp};
