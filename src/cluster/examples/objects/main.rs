//! Compares this index and the planner with Karpenter's own provisioner on random clusters, given as the API server's objects: who waits,
//! what they ask, where their volumes are, what daemons will take, and which machines are on their way.
//!
//! `cargo run --example objects -- PATH_OF_ORACLE FIRST_SEED COUNT`, where the program at `PATH_OF_ORACLE` is built from
//! `ci/oracle`. Prints each world on which the two differ, and how; exits 1 when there was one.

#[path = "../../../planner/tests/support/mod.rs"]
mod support;
#[path = "../../../planner/examples/upstream/mod.rs"]
mod upstream;
mod write;

use cluster::{Index, Object};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    upstream::run(true, |seed| {
        let mut world = support::random::world(seed);
        let objects = write::objects(&world, seed);
        let mut index = Index::new();
        for object in &objects {
            index.apply(read(object));
        }
        world.snapshot = (*index.snapshot()).clone();
        (json!({ "objects": objects }), world)
    })
}

fn read(object: &Value) -> Object {
    fn one<K: DeserializeOwned>(object: &Value) -> Arc<K> {
        Arc::new(serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}")))
    }
    match object["kind"].as_str() {
        Some("Pod") => Object::Pod(one(object)),
        Some("Node") => Object::Node(one(object)),
        Some("NodeClaim") => Object::NodeClaim(one(object)),
        Some("NodePool") => Object::NodePool(one(object)),
        Some("DaemonSet") => Object::DaemonSet(one(object)),
        Some("PodDisruptionBudget") => Object::PodDisruptionBudget(one(object)),
        Some("Namespace") => Object::Namespace(one(object)),
        Some("PersistentVolumeClaim") => Object::PersistentVolumeClaim(one(object)),
        Some("PersistentVolume") => Object::PersistentVolume(one(object)),
        Some("StorageClass") => Object::StorageClass(one(object)),
        Some("CSINode") => Object::CSINode(one(object)),
        other => panic!("no such kind is written: {other:?}"),
    }
}
