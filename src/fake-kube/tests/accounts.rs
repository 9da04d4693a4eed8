//! The account of a namespace that is new: a pod may come before it. What the server adds to pods and refuses is in `replay/accounts.json`.

mod common;

use common::{World, start};
use fake_kube::{Config, Out};
use jiff::SignedDuration;
use serde_json::{Value, json};

const SPACES: &str = "/api/v1/namespaces";

/// A server whose controllers are somebody else, with a namespace that has no account yet.
fn new_namespace() -> World {
    let mut world = World::with(Config { start: start(), service_accounts: true, unmanaged: true, ..Config::default() });
    world.make(SPACES, json!({ "metadata": { "name": "new" } }));
    world
}

fn pod(account: &str) -> String {
    json!({ "metadata": { "name": "p" }, "spec": { "serviceAccountName": account, "containers": [{ "name": "c", "image": "i" }] } })
        .to_string()
}

#[test]
fn a_pod_waits_for_the_account_that_a_controller_is_about_to_make() {
    let mut world = new_namespace();
    let ticket = world.submit("POST", &format!("{SPACES}/new/pods"), pod(""), "application/json", "application/json");
    assert!(world.kube.advance(world.now).is_empty(), "no answer yet");
    world.make(&format!("{SPACES}/new/serviceaccounts"), json!({ "metadata": { "name": "default" } }));
    world.now += SignedDuration::from_millis(150);
    let answer = world.kube.advance(world.now).into_iter().find_map(|out| match out {
        Out::Reply(one, response) if one == ticket => Some(response),
        _ => None,
    });
    assert_eq!(answer.expect("it is answered now").status(), 201);
    let made: Value = world.get(&format!("{SPACES}/new/pods/p"));
    assert_eq!(made["spec"]["serviceAccountName"], "default");
}

#[test]
fn it_does_not_wait_for_ever_nor_for_any_other() {
    let mut world = new_namespace();
    let before = world.now;
    let (code, text) = world.raw("POST", &format!("{SPACES}/new/pods"), pod("other"), "application/json", "application/json");
    assert_eq!((code, world.now), (403, before), "{text}");
    let (code, text) = world.raw("POST", &format!("{SPACES}/new/pods"), pod(""), "application/json", "application/json");
    assert_eq!((code, world.now), (403, before + SignedDuration::from_millis(9 * 150)), "{text}");
    assert!(text.contains(r#"error looking up service account new/default: serviceaccount \"default\" not found"#), "{text}");
}
