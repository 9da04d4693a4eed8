//! IAM's policy language: documents and a question in, a verdict with its reasons out. Pure: no state, no clock.
//!
//! Who asks what of whom (which resources a call touches, which keys its context has) is decided in
//! [`services::access`](crate::services); here stands only what a document says to it.
//! Source of the rules: IAM user guide, "Policy evaluation logic" and "IAM JSON policy elements".
//!
//! | module | what it is |
//! |---|---|
//! | [`document`] | documents, read and checked |
//! | [`identity`] | what IAM asks of an identity's policy beyond the grammar |
//! | [`pattern`] | wildcards and policy variables |
//! | [`condition`] | operators |
//! | [`context`] | the keys of a request |
//! | [`verdict`] | all policies together: allowed, denied, by which statement, or for lack of what |
//! | [`reference`] | the service authorization reference: resource types and condition keys of each action |

pub mod condition;
pub mod context;
pub mod document;
pub mod identity;
pub mod pattern;
pub mod reference;
pub mod verdict;

pub use context::Context;
pub use document::{Kind, Policy};
pub use verdict::{Held, Principal, Question, Source, Verdict, allowed_but_for, decide};
