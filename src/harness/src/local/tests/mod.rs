//! The least that a control plane owes: it serves, it says what is wrong, and nothing of it outlives us.
//!
//! Tests that need the judges' binaries are ignored unless asked for (`cargo test -- --ignored`); then they fail when a binary is missing.

mod binaries;
mod kubelets;
mod lifetime;
mod serving;
