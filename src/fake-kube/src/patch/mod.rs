//! How a patch changes an object: JSON patch, JSON merge patch, strategic merge patch. Server-side apply is in `fields`.

mod strategic;

use json_patch::PatchOperation;
use serde_json::Value;

pub(crate) use strategic::strategic;

use crate::status::Status;

/// More operations than this are refused (`k8s.io/apiserver/pkg/endpoints/handlers/patch.go`).
const MOST_OPERATIONS: usize = 10_000;
/// Bytes that the copies of one patch may come to (`k8s.io/apiserver/pkg/server/config.go`, JSONPatchMaxCopyBytes).
const MOST_COPIED: usize = 3 << 20;

/// RFC 6902. Applied as a whole or not at all.
pub(crate) fn json(target: &mut Value, patch: &[u8]) -> Result<(), Status> {
    let patch: json_patch::Patch =
        serde_json::from_slice(patch).map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if patch.0.len() > MOST_OPERATIONS {
        let message = format!("The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {}", patch.0.len());
        return Err(Status::new(413, "RequestEntityTooLarge", message));
    }
    // Each copy may double the object, so that copies are made one by one and counted.
    let mut copied = 0;
    let mut rest = patch.0.as_slice();
    let mut made = target.clone();
    while let Some(at) = rest.iter().position(|operation| matches!(operation, PatchOperation::Copy(_))) {
        let (before, after) = rest.split_at(at);
        json_patch::patch(&mut made, before).map_err(|_| rejected())?;
        if let [PatchOperation::Copy(copy), ..] = after {
            copied += copy.from.resolve(&made).map_or(0, |value| value.to_string().len());
        }
        if copied > MOST_COPIED {
            return Err(rejected());
        }
        json_patch::patch(&mut made, &after[..1]).map_err(|_| rejected())?;
        rest = &after[1..];
    }
    json_patch::patch(&mut made, rest).map_err(|_| rejected())?;
    *target = made;
    Ok(())
}

/// What kube-apiserver says of a patch that cannot be applied.
fn rejected() -> Status {
    let mut status = Status::new(422, "Invalid", "the server rejected our request due to an error in our request");
    status.details = Some(Default::default());
    status
}

/// RFC 7386.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.shift_remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
