//! Who set which field: `metadata.managedFields`, and server-side apply, which lives by it.
//!
//! - `set`: sets of field paths, and their form on the wire
//! - `walk`: what a value's fields are, what differs, merging, removing, each by the schema's list kinds
//! - `managers`: the entries of an object
//! - `apply`: create, update and apply, as they change the entries
//!
//! Source: `sigs.k8s.io/structured-merge-diff/v6/{fieldpath,typed,merge}`, `k8s.io/apimachinery/pkg/util/managedfields/internal`.

mod apply;
mod managers;
mod set;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use apply::{Types, Writer, applied, updated};
