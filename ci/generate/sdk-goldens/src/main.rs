//! Writes src/cloud/testdata/sdk-requests.json: the whole signed requests that AWS's own SDK for Rust makes of the adapter's parameters.
//!
//!     cargo run --manifest-path ci/generate/sdk-goldens/Cargo.toml                          # all; see below what that costs
//!     cargo run --manifest-path ci/generate/sdk-goldens/Cargo.toml --no-default-features    # all but EC2, whose requests stay as they are
//!
//! Read are the calls of src/cloud/testdata/requests.json. Clock, credentials, invocation id and idempotency token are fixed; nothing
//! is sent, each request is caught where it would go out and answered with an empty 200.
//!
//! This crate is no member of the workspace, and nothing builds it but who wants new goldens: six minutes of one core and 7.2 GB of
//! memory with EC2, two and a half minutes and 2.2 GB without. Its Cargo.lock began as the workspace's, so that the code that signs is
//! the same; the goldens say which versions made them.
//!
//! Map: [`members`] reads parameters and refuses what it does not know; [`catch`] is what is fixed, and the net; [`ec2`] and [`others`]
//! hand each call to its client.

mod catch;
#[cfg(feature = "ec2")]
mod ec2;
mod members;
mod others;

use catch::{Caught, Fixed};
use members::Members;
use serde_json::Value;
use std::path::PathBuf;

fn testdata(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../../src/cloud/testdata", name].iter().collect()
}

fn read(name: &str) -> Option<Value> {
    let text = std::fs::read_to_string(testdata(name)).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}")))
}

async fn call(request: &Value) -> Option<Caught> {
    let text = |name: &str| request[name].as_str().unwrap_or_else(|| panic!("a request without {name}"));
    let (service, operation) = (text("service"), text("operation"));
    let attempts = request["attempts"].as_u64().expect("a request says how often it may be tried");
    let fixed = Fixed::new(attempts.try_into().expect("few attempts"));
    let mut members = Members::new(operation, &request["parameters"]);
    match service {
        #[cfg(feature = "ec2")]
        "ec2" => ec2::call(&fixed, operation, &mut members).await,
        #[cfg(not(feature = "ec2"))]
        "ec2" => return None,
        "iam" => others::iam(&fixed, operation, &mut members).await,
        "sqs" => others::sqs(&fixed, operation, &mut members).await,
        "ssm" => others::ssm(&fixed, operation, &mut members).await,
        "eks" => others::eks(&fixed, operation, &mut members).await,
        "arc-zonal-shift" => others::zonal_shift(&fixed, operation, &mut members).await,
        "pricing" => others::pricing(&fixed, operation, &mut members).await,
        other => panic!("no client for {other}"),
    }
    members.done();
    Some(fixed.caught(service, operation))
}

/// The versions of the clients and of what signs, as Cargo.lock has them.
fn versions() -> Value {
    let lock = include_str!("../Cargo.lock");
    let lines: Vec<&str> = lock.lines().collect();
    let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    lines
        .windows(2)
        .filter(|pair| pair[0].starts_with("name = \"aws-"))
        .map(|pair| (quoted(pair[0]), Value::String(quoted(pair[1]))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let calls = read("requests.json").expect("the adapter's requests are committed");
    let held = read("sdk-requests.json");
    let mut lines = Vec::new();
    for request in calls.as_array().expect("a list of requests") {
        let entry = match call(request).await {
            Some(caught) => caught.entry(request),
            // EC2's client was left out: what is held of the same call is kept.
            None => held
                .as_ref()
                .and_then(|held| held["requests"].as_array()?.iter().find(|entry| catch::same_call(entry, request)).cloned())
                .unwrap_or_else(|| panic!("no request of {} is held: run with EC2's client", request["operation"])),
        };
        lines.push(entry.to_string());
    }
    let text = format!("{{\"versions\":{},\n\"fixed\":{},\n\"requests\":[\n{}\n]}}\n", versions(), Fixed::described(), lines.join(",\n"));
    std::fs::write(testdata("sdk-requests.json"), text).expect("the folder of goldens can be written");
    println!("src/cloud/testdata/sdk-requests.json: {} requests", lines.len());
}
