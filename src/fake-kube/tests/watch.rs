//! Lists and watches: one snapshot over pages, histories, selections, bookmarks, ends.

mod common;

use common::{World, start};
use fake_kube::{Config, Latency, Out};
use jiff::SignedDuration;
use rstest::rstest;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

fn map(name: &str, label: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "side": label } } })
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

fn kinds(events: &[Value]) -> Vec<(&str, &str)> {
    events.iter().map(|event| (event["type"].as_str().unwrap(), event["object"]["metadata"]["name"].as_str().unwrap_or_default())).collect()
}

#[test]
fn pages_show_one_snapshot() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d", "e"] {
        world.make(MAPS, map(name, "left"));
    }
    let first = world.get(&format!("{MAPS}?limit=2"));
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    world.ask("DELETE", &format!("{MAPS}/c"), Value::Null);
    world.make(MAPS, map("cc", "left"));
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = world.get(&format!("{MAPS}?limit=10&continue={token}"));
    assert_eq!(names(&rest), ["c", "d", "e"], "the page shows the state of the first page");
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(names(&world.get(MAPS)), ["a", "b", "cc", "d", "e"]);
    world.kube.compact();
    let (code, status) = world.ask("GET", &format!("{MAPS}?limit=2&continue={token}"), Value::Null);
    assert_eq!((code, status["reason"].as_str()), (410, Some("Expired")));
}

#[rstest]
#[case::from_nothing("", &[("ADDED", "a")])]
#[case::from_any("&resourceVersion=0", &[("ADDED", "a")])]
#[case::with_initial_events(
    "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
    &[("ADDED", "a"), ("BOOKMARK", "")],
)]
fn a_watch_begins_with_the_state(#[case] query: &str, #[case] first: &[(&str, &str)]) {
    let mut world = World::new();
    world.make(MAPS, map("a", "left"));
    let watch = world.submit("GET", &format!("{MAPS}?watch=1{query}"), "", JSON, JSON);
    let events = world.events(watch);
    assert_eq!(kinds(&events), first);
    if let Some(bookmark) = events.iter().find(|event| event["type"] == "BOOKMARK") {
        assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    }
    world.make(MAPS, map("b", "left"));
    assert_eq!(kinds(&world.events(watch)), [("ADDED", "b")]);
}

#[test]
fn a_watch_from_a_version_tells_what_came_after() {
    let mut world = World::new();
    let version = world.make(MAPS, map("a", "left"))["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    world.ask("PATCH", &format!("{MAPS}/a"), json!({ "data": { "k": "v" } }));
    world.make(MAPS, map("b", "left"));
    let deleted = world.ask("DELETE", &format!("{MAPS}/a"), Value::Null);
    assert_eq!(deleted.0, 200);
    let watch = world.submit("GET", &format!("{MAPS}?watch=1&resourceVersion={version}"), "", JSON, JSON);
    let events = world.events(watch);
    assert_eq!(kinds(&events), [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]);
    let versions: Vec<u64> =
        events.iter().map(|event| event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()).collect();
    assert!(versions.is_sorted() && versions[2] > versions[1], "a deletion has a version of its own: {versions:?}");
}

#[test]
fn leaving_a_selection_is_a_deletion_and_entering_it_an_addition() {
    let mut world = World::new();
    world.make(MAPS, map("a", "left"));
    world.make(MAPS, map("b", "right"));
    let watch = world.submit("GET", &format!("{MAPS}?watch=1&labelSelector=side%3Dleft"), "", JSON, JSON);
    assert_eq!(kinds(&world.events(watch)), [("ADDED", "a")]);
    world.ask("PATCH", &format!("{MAPS}/a"), json!({ "metadata": { "labels": { "side": "right" } } }));
    let events = world.events(watch);
    assert_eq!(kinds(&events), [("DELETED", "a")]);
    assert_eq!(events[0]["object"]["metadata"]["labels"]["side"], "left", "the last state that the watcher knew");
    world.ask("PATCH", &format!("{MAPS}/b"), json!({ "metadata": { "labels": { "side": "left" } } }));
    assert_eq!(kinds(&world.events(watch)), [("ADDED", "b")]);
    world.ask("PATCH", &format!("{MAPS}/a"), json!({ "data": { "k": "v" } }));
    assert_eq!(kinds(&world.events(watch)), []);
}

#[test]
fn a_compacted_version_is_expired_within_the_stream() {
    let mut world = World::new();
    let version = world.make(MAPS, map("a", "left"))["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    world.make(MAPS, map("b", "left"));
    world.kube.compact();
    let (code, text) = world.raw("GET", &format!("{MAPS}?watch=1&resourceVersion={version}"), "", JSON, JSON);
    let event: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(
        (code, event["type"].as_str(), event["object"]["code"].as_u64(), event["object"]["reason"].as_str()),
        (200, Some("ERROR"), Some(410), Some("Expired"))
    );
}

#[test]
fn old_history_falls_out_of_the_ring() {
    let mut world = World::with(Config { start: start(), history: 4, ..Config::default() });
    let version = world.make(MAPS, map("a", "left"))["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    for number in 0..8 {
        world.ask("PATCH", &format!("{MAPS}/a"), json!({ "data": { "k": number.to_string() } }));
    }
    let (_, text) = world.raw("GET", &format!("{MAPS}?watch=1&resourceVersion={version}"), "", JSON, JSON);
    assert!(text.contains("too old resource version"), "{text}");
}

#[test]
fn bookmarks_come_every_minute_when_there_is_something_new_and_the_watch_ends_on_time() {
    let mut world = World::new();
    let version = world.make(MAPS, map("a", "left"))["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let watch = world.submit(
        "GET",
        &format!("{MAPS}?watch=1&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=290"),
        "",
        JSON,
        JSON,
    );
    assert!(world.events(watch).is_empty());
    assert_eq!(world.kube.next_due(), Some(world.now + SignedDuration::from_secs(290)), "nothing new, no bookmark");
    world.make("/api/v1/namespaces/default/secrets", json!({ "metadata": { "name": "s" } }));
    world.kube.advance(world.now);
    assert_eq!(world.kube.next_due(), Some(start() + SignedDuration::from_secs(60)));
    world.pass(60);
    let events = world.events(watch);
    assert_eq!(kinds(&events), [("BOOKMARK", "")]);
    assert!(events[0]["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > version.parse().unwrap());
    world.pass(230);
    let ended = world.kube.advance(world.now).iter().any(|out| matches!(out, Out::End(ticket) if *ticket == watch));
    assert!(ended);
}

#[test]
fn events_and_replies_take_the_time_that_they_are_given() {
    let latency =
        Latency { read: SignedDuration::from_millis(5), write: SignedDuration::from_millis(20), watch: SignedDuration::from_millis(30) };
    let mut world = World::with(Config { start: start(), latency, ..Config::default() });
    let watch = world.submit("GET", &format!("{MAPS}?watch=1&resourceVersion=0"), "", JSON, JSON);
    assert!(world.events(watch).is_empty());
    world.submit("POST", MAPS, map("a", "left").to_string(), JSON, JSON);
    assert!(world.kube.advance(world.now).is_empty());
    assert_eq!(world.kube.next_due(), Some(world.now + SignedDuration::from_millis(20)));
    world.now += SignedDuration::from_millis(20);
    assert!(matches!(world.kube.advance(world.now).as_slice(), [Out::Reply(_, response)] if response.status() == 201));
    world.now += SignedDuration::from_millis(10);
    assert_eq!(kinds(&world.events(watch)), [("ADDED", "a")]);
}

#[test]
fn a_cancelled_watch_says_nothing_more() {
    let mut world = World::new();
    let watch = world.submit("GET", &format!("{MAPS}?watch=1"), "", JSON, JSON);
    world.events(watch);
    world.kube.cancel(world.now, watch);
    world.make(MAPS, map("a", "left"));
    assert!(world.events(watch).is_empty());
    assert_eq!(world.kube.next_due(), None, "nobody waits for anything");
}

#[test]
fn tables_and_metadata_alone() {
    let mut world = World::new();
    world.make(
        "/api/v1/namespaces/default/pods",
        json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } }),
    );
    world.pass(130);
    let (_, text) = world.raw("GET", "/api/v1/pods", "", JSON, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    let table: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(table["rows"][0]["cells"], json!(["p", "0/1", "Pending", "0", "2m10s", "<none>", "<none>", "<none>", "<none>"]));
    let (_, text) =
        world.raw("GET", "/api/v1/namespaces/default/pods/p", "", JSON, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
    let partial: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((partial["kind"].as_str(), partial.get("spec")), (Some("PartialObjectMetadata"), None));
}
