//! Hashes against what upstream's own `Hash()` gave for the same objects (`hashes.json`; Karpenter v1.14.1).

use api::{EC2NodeClassSpec, NodePoolSpec, hash};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    kind: String,
    ca_bundle: Option<String>,
    object: Value,
    hash: String,
}

#[test]
fn equal_upstreams_bit_for_bit() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("hashes.json")).unwrap();
    assert!(cases.len() > 30);
    let wrong: Vec<String> =
        cases.iter().filter(|case| ours(case) != case.hash).map(|case| format!("{} {}", case.kind, case.name)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn ours(case: &Case) -> String {
    let spec = case.object["spec"].clone();
    match &*case.kind {
        "NodePool" => hash::nodepool(&serde_json::from_value::<NodePoolSpec>(spec).unwrap().template),
        _ => hash::ec2nodeclass(&serde_json::from_value::<EC2NodeClassSpec>(spec).unwrap(), case.ca_bundle.as_deref()),
    }
}
