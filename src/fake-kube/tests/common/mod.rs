//! A server and somebody who asks it things.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use fake_kube::{Config, Kube, Out, Ticket};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub struct World {
    pub kube: Kube,
    pub now: Timestamp,
    /// What streams said while somebody waited for something else.
    streams: BTreeMap<Ticket, Vec<u8>>,
}

pub fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

impl World {
    pub fn new() -> World {
        World::with(Config { start: start(), ..Config::default() })
    }

    pub fn with(config: Config) -> World {
        World { kube: Kube::new(config), now: start(), streams: BTreeMap::new() }
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub fn submit(&mut self, method: &str, path: &str, body: impl AsRef<[u8]>, content_type: &str, accept: &str) -> Ticket {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("accept", accept)
            .header("user-agent", "replay")
            .body(Bytes::copy_from_slice(body.as_ref()))
            .unwrap();
        self.kube.submit(self.now, request)
    }

    /// Status and body; a stream is read until it ends.
    pub fn raw(&mut self, method: &str, path: &str, body: impl AsRef<[u8]>, content_type: &str, accept: &str) -> (u16, String) {
        let ticket = self.submit(method, path, body, content_type, accept);
        let mut stream: Option<(u16, Vec<u8>)> = None;
        for _ in 0..100 {
            let mut answer = None;
            for out in self.kube.advance(self.now) {
                match out {
                    Out::Reply(one, response) if one == ticket => {
                        answer = Some((response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned()));
                    }
                    Out::Head(one, parts) if one == ticket => stream = Some((parts.status.as_u16(), Vec::new())),
                    Out::Chunk(one, bytes) if one == ticket => stream.as_mut().unwrap().1.extend_from_slice(&bytes),
                    Out::End(one) if one == ticket => {
                        let (code, bytes) = stream.take().unwrap();
                        answer = Some((code, String::from_utf8_lossy(&bytes).into_owned()));
                    }
                    Out::Chunk(other, bytes) => self.streams.entry(other).or_default().extend_from_slice(&bytes),
                    _ => {}
                }
            }
            if let Some(answer) = answer {
                return answer;
            }
            self.now = self.now.max(self.kube.next_due().expect("an answer is due"));
        }
        panic!("no answer to {method} {path}");
    }

    pub fn ask(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (code, text) = self.raw(method, path, &text, content_type, "application/json");
        (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub fn get(&mut self, path: &str) -> Value {
        let (code, value) = self.ask("GET", path, Value::Null);
        assert_eq!(code, 200, "GET {path}: {value}");
        value
    }

    pub fn make(&mut self, path: &str, body: Value) -> Value {
        let (code, value) = self.ask("POST", path, body);
        assert_eq!(code, 201, "POST {path}: {value}");
        value
    }

    /// Events that a watch has for us now, one JSON value each.
    pub fn events(&mut self, ticket: Ticket) -> Vec<Value> {
        let mut bytes = self.streams.remove(&ticket).unwrap_or_default();
        for out in self.kube.advance(self.now) {
            match out {
                Out::Chunk(one, chunk) if one == ticket => bytes.extend_from_slice(&chunk),
                Out::Chunk(other, chunk) => self.streams.entry(other).or_default().extend_from_slice(&chunk),
                _ => {}
            }
        }
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Installs Karpenter's definitions.
pub fn karpenter(world: &mut World) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/crds");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("the api room has the definitions").map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        world.kube.install_crd(world.now, &text).unwrap_or_else(|status| panic!("{}: {status}", file.display()));
    }
}
