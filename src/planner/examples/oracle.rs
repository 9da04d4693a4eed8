//! Compares this planner with Karpenter's scheduling package on random worlds.
//!
//! `cargo run --example oracle -- PATH_OF_ORACLE FIRST_SEED COUNT`, where the program at `PATH_OF_ORACLE` is built from
//! `ci/oracle`. Prints each world on which the two differ, and how; exits 1 when there was one.

#[path = "../tests/support/mod.rs"]
mod support;
mod upstream;

use serde_json::json;
use std::error::Error;
use std::process::ExitCode;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    upstream::run(false, |seed| {
        let world = support::random::world(seed);
        (json!({ "snapshot": world.snapshot }), world)
    })
}
