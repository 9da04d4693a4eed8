//! `metadata.managedFields`: entries, by who wrote how.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::set::Set;
use crate::time;

/// What tells an entry from another. Appliers have one entry, whatever version they apply in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Id {
    pub(super) manager: String,
    pub(super) applied: bool,
    /// Of updates.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) api_version: String,
    pub(super) time: Option<Timestamp>,
    pub(super) set: Set,
}

pub(super) type Managers = BTreeMap<Id, Entry>;

/// As many updaters as an object remembers (`DefaultMaxUpdateManagers`).
const MOST_UPDATERS: usize = 10;
/// Who the oldest of them become.
const ANCIENT: &str = "ancient-changes";

/// Reads the entries; `None` when one of them is malformed.
pub(super) fn decode(list: &Value) -> Option<Managers> {
    let mut managers = Managers::new();
    for entry in list.as_array().into_iter().flatten() {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let applied = match entry["operation"].as_str()? {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        let api_version = text("apiVersion");
        if api_version.is_empty() || entry["fieldsType"] != "FieldsV1" {
            return None;
        }
        let empty = json!({});
        let fields = entry.get("fieldsV1").filter(|fields| !fields.is_null()).unwrap_or(&empty);
        let id = Id {
            manager: text("manager"),
            applied,
            api_version: if applied { String::new() } else { api_version.clone() },
            subresource: text("subresource"),
        };
        let time = entry["time"].as_str().and_then(|text| text.parse().ok());
        managers.insert(id, Entry { api_version, time, set: Set::decode(fields)? });
    }
    Some(managers)
}

/// Appliers first, then by time and name.
pub(super) fn encode(managers: &Managers) -> Value {
    let mut entries: Vec<(&Id, &Entry)> = managers.iter().collect();
    entries.sort_by_key(|(id, entry)| {
        (!id.applied, entry.time.map_or(0, Timestamp::as_second), &id.manager, &entry.api_version, &id.subresource)
    });
    entries
        .into_iter()
        .map(|(id, entry)| {
            let mut out = json!({
                "manager": id.manager, "operation": if id.applied { "Apply" } else { "Update" }, "apiVersion": entry.api_version,
            });
            if let Some(at) = entry.time {
                out["time"] = Value::from(time::seconds(at));
            }
            out["fieldsType"] = Value::from("FieldsV1");
            out["fieldsV1"] = entry.set.encode();
            if !id.subresource.is_empty() {
                out["subresource"] = Value::from(id.subresource.clone());
            }
            out
        })
        .collect()
}

/// Makes the oldest updaters one, when there are too many.
pub(super) fn cap(managers: &mut Managers) {
    let mut updaters: Vec<Id> = managers.keys().filter(|id| !id.applied).cloned().collect();
    if updaters.len() <= MOST_UPDATERS {
        return;
    }
    updaters.sort_by_key(|id| (managers[id].time.map_or(0, Timestamp::as_second), id.clone()));
    let mut left = updaters.len();
    let mut first: BTreeMap<String, Id> = BTreeMap::new();
    for id in updaters {
        if left <= MOST_UPDATERS {
            return;
        }
        let version = managers[&id].api_version.clone();
        let bucket = Id { manager: ANCIENT.to_owned(), applied: false, api_version: version.clone(), subresource: String::new() };
        let Some(oldest) = first.get(&version) else {
            first.insert(version, id);
            continue;
        };
        if !managers.contains_key(&bucket)
            && let Some(entry) = managers.remove(oldest)
        {
            managers.insert(bucket.clone(), entry);
        }
        if let Some(entry) = managers.remove(&id)
            && let Some(into) = managers.get_mut(&bucket)
        {
            into.set.add(&entry.set);
            into.time = entry.time;
        }
        left -= 1;
    }
}
