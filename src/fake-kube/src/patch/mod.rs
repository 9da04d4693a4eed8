//! How a patch changes an object: JSON patch, JSON merge patch, strategic merge patch. Server-side apply is in `fields`.

mod strategic;

use serde_json::Value;

pub(crate) use strategic::strategic;

use crate::status::Status;

/// More operations than this are refused (`k8s.io/apiserver/pkg/endpoints/handlers/patch.go`).
const MOST_OPERATIONS: usize = 10_000;

/// Bytes that all copies of a patch may add (`jsonpatch.AccumulatedCopySizeLimit`, set to the limit of a request in
/// `k8s.io/apiserver/pkg/server/config.go`).
const MOST_COPIED: usize = 3 * 1024 * 1024;

/// RFC 6902. Applied as a whole or not at all.
pub(crate) fn json(target: &mut Value, patch: &[u8]) -> Result<(), Status> {
    let patch: json_patch::Patch =
        serde_json::from_slice(patch).map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if patch.0.len() > MOST_OPERATIONS {
        let message = format!("The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {}", patch.0.len());
        return Err(Status::new(413, "RequestEntityTooLarge", message));
    }
    // One by one: each copy may double what there is.
    let mut copied = 0;
    let mut changed = target.clone();
    for operation in patch.0 {
        if let json_patch::PatchOperation::Copy(copy) = &operation
            && let Some(source) = changed.pointer(copy.from.as_str())
        {
            copied += source.to_string().len();
            if copied > MOST_COPIED {
                return Err(rejected());
            }
        }
        json_patch::patch(&mut changed, &[operation]).map_err(|_| rejected())?;
    }
    *target = changed;
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
