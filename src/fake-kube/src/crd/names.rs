//! Names are a group's own: whoever comes second with one of them is kept, but not served.
//!
//! Source: `apiextensions-apiserver/pkg/controller/status/naming_controller.go`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::CRDS;
use crate::api::Api;
use crate::schema::strings;
use crate::time;

/// What the other definitions of the group are called: as resources, and as kinds.
fn taken(api: &Api, crd: &Value) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for other in api.store().list(CRDS) {
        let other = other.value();
        if other["spec"]["group"] != crd["spec"]["group"] || other["metadata"]["name"] == crd["metadata"]["name"] {
            continue;
        }
        let names = &other["status"]["acceptedNames"];
        let text = |key: &str| names[key].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        resources.extend(text("plural").into_iter().chain(text("singular")).chain(strings(&names["shortNames"])));
        kinds.extend(text("kind").into_iter().chain(text("listKind")));
    }
    (resources, kinds)
}

/// Whether all its names are free; if not, the status says which is not.
pub(crate) fn accept(api: &Api, now: Timestamp, crd: &mut Value) -> bool {
    let (resources, kinds) = taken(api, crd);
    let names = crd["spec"]["names"].clone();
    let (mut accepted, mut conflict) = (Map::new(), None);
    let mut judge = |key: &str, reason: &'static str, taken: &BTreeSet<String>| {
        let clashing: Vec<String> = match &names[key] {
            Value::String(name) => vec![name.clone()],
            list => strings(list),
        };
        let clashing: Vec<String> =
            clashing.iter().filter(|name| taken.contains(*name)).map(|name| format!("{name:?} is already in use")).collect();
        match clashing.as_slice() {
            [] if names[key].is_null() => {}
            [] => drop(accepted.insert(key.to_owned(), names[key].clone())),
            [one] => conflict = Some((reason, one.clone())),
            many => conflict = Some((reason, format!("[{}]", many.join(", ")))),
        }
    };
    judge("plural", "PluralConflict", &resources);
    judge("singular", "SingularConflict", &resources);
    judge("shortNames", "ShortNamesConflict", &resources);
    judge("kind", "KindConflict", &kinds);
    judge("listKind", "ListKindConflict", &kinds);
    let Some((reason, message)) = conflict else { return true };
    for key in ["plural", "kind"] {
        accepted.entry(key).or_insert_with(|| json!(""));
    }
    if let Some(categories) = names.get("categories") {
        accepted.insert("categories".to_owned(), categories.clone());
    }
    // Nothing is stored under such a definition, so nothing has to be cleared away with it.
    crd["metadata"].as_object_mut().map(|meta| meta.shift_remove("finalizers"));
    let at = time::seconds(now);
    crd["status"]["acceptedNames"] = Value::Object(accepted);
    crd["status"]["conditions"] = json!([
        { "type": "NamesAccepted", "status": "False", "lastTransitionTime": at, "reason": reason, "message": message },
        { "type": "Established", "status": "False", "lastTransitionTime": at, "reason": "NotAccepted", "message": "not all names are accepted" },
    ]);
    false
}

/// Whether the definition is served.
pub(super) fn established(crd: &Value) -> bool {
    let conditions = crd["status"]["conditions"].as_array();
    conditions.is_some_and(|list| list.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
}

/// Somebody has left: who waited for the names may have them now.
pub(super) fn again(api: &mut Api, now: Timestamp, group: &Value) {
    let waiting: Vec<String> = api
        .store()
        .list(CRDS)
        .filter(|object| object.meta.deletion.is_none())
        .filter(|object| object.value()["spec"]["group"] == *group && !established(&object.value()))
        .map(|object| object.meta.name.clone())
        .collect();
    for name in waiting {
        let Some(crd) = api.store().get(CRDS, "", &name).map(|object| (*object.value()).clone()) else { continue };
        let mut new = crd.clone();
        let free = accept(api, now, &mut new);
        if free {
            super::establish(now, &mut new);
        } else if new["status"]["acceptedNames"] == crd["status"]["acceptedNames"] {
            continue;
        }
        let status = new["status"].take();
        // A conflict would mean that it is gone.
        let _: Result<_, crate::status::Status> = api.update_with(now, CRDS, "", &name, Some("status"), |crd| crd["status"] = status);
        if free {
            let hold = |crd: &mut Value| crd["metadata"]["finalizers"] = json!([super::CLEANUP]);
            let _: Result<_, crate::status::Status> = api.update_with(now, CRDS, "", &name, None, hold);
        }
    }
}
