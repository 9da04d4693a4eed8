use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

/// `tag, bytes` of a counted field.
fn counted(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, bytes.len() as u8];
    out.extend_from_slice(bytes);
    out
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut meta = counted(1, api_version.as_bytes());
    meta.extend(counted(2, kind.as_bytes()));
    let mut out = MAGIC.to_vec();
    out.extend(counted(1, &meta));
    out.extend(counted(2, raw));
    out
}

#[test]
fn a_lease_is_read_with_its_times() {
    let spec = [counted(1, b"me"), vec![0x10, 40], counted(3, &[0x08, 1, 0x10, 0xd0, 0x0f])].concat();
    let raw = [counted(1, &counted(1, b"node-a")), counted(2, &spec)].concat();
    let read = read(&body("coordination.k8s.io/v1", "Lease", &raw), None).unwrap();
    assert_eq!(
        read,
        json!({
            "kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": { "name": "node-a" },
            "spec": { "holderIdentity": "me", "leaseDurationSeconds": 40, "acquireTime": "1970-01-01T00:00:01.000002Z" },
        })
    );
}

/// What is JSON inside of a message is JSON outside of it.
#[test]
fn a_revision_keeps_its_data_and_who_owns_which_field() {
    let entry = [counted(1, b"me"), counted(6, b"FieldsV1"), counted(7, &counted(1, br#"{"f:data":{}}"#))].concat();
    // Field 17, whose tag takes two bytes.
    let meta = [counted(1, b"r"), vec![0x8a, 0x01, entry.len() as u8], entry].concat();
    let raw = [counted(1, &meta), counted(2, &counted(1, br#"{"spec":{"a":"b"}}"#)), vec![0x18, 3]].concat();
    let read = read(&body("apps/v1", "ControllerRevision", &raw), None).unwrap();
    assert_eq!(read["data"], json!({ "spec": { "a": "b" } }));
    assert_eq!(read["metadata"]["managedFields"][0]["fieldsV1"], json!({ "f:data": {} }));
}

#[rstest]
#[case::nothing(b"", "empty data")]
#[case::no_magic(b"{}", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
#[case::magic_alone(b"k8s\0", "empty body")]
#[case::cut_short(b"k8s\0\x0a\x05v", "unexpected EOF")]
#[case::endless_number(b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "proto: integer overflow")]
#[case::not_counted(b"k8s\0\x08\x01", "proto: wrong wireType = 0 for field TypeMeta")]
#[case::end_of_no_group(b"k8s\0\x0c", "proto: Unknown: wiretype end group for non-group")]
#[case::field_zero(b"k8s\0\x02\x00", "proto: Unknown: illegal tag 0 (wire type 2)")]
#[case::no_such_wire_type(b"k8s\0\x37\x00", "proto: illegal wireType 7")]
#[case::negative_length(b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "proto: negative length found during unmarshaling")]
fn broken_bytes_are_said_in_go_s_words(#[case] bytes: &[u8], #[case] why: &str) {
    assert_eq!(read(bytes, None).unwrap_err().why, why);
}

#[test]
fn memory_is_bounded() {
    // Half a million empty containers in a megabyte.
    let mut raw = Vec::new();
    let containers: Vec<u8> = [0x12, 0x00].repeat(500_000);
    raw.push(0x12);
    let mut length = containers.len();
    while length >= 0x80 {
        raw.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    raw.push(length as u8);
    raw.extend(containers);
    let mut whole = MAGIC.to_vec();
    whole.push(0x12);
    let mut length = raw.len();
    while length >= 0x80 {
        whole.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    whole.push(length as u8);
    whole.extend(raw);
    let failure = read(&whole, Some(Expected { api_version: "v1", kind: "Pod" })).unwrap_err();
    assert!(failure.too_large, "{failure}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..200), kind in 0usize..4) {
        let (api_version, kind) = [("v1", "Pod"), ("apps/v1", "Deployment"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("v1", "Node")][kind];
        let mut whole = MAGIC.to_vec();
        whole.extend(&raw);
        let _ = read(&whole, Some(Expected { api_version, kind }));
        if raw.len() < 128 {
            let _ = read(&body(api_version, kind, &raw), None);
        }
    }
}
