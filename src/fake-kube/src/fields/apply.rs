//! What creates, updates and applies do to an object and to its entries.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::managers::{self, Entry, Id, Managers};
use super::set::{Element, Set};
use super::walk;
use crate::protobuf;
use crate::schema::{self, Schema};
use crate::status::{Cause, Details, Status};

/// What is known of the fields of a kind in a version.
pub(crate) struct Types {
    /// With metadata as the API has it.
    schema: Schema,
    /// Group, version and kind of a built-in kind, whose empty structs are always there.
    built_in: Option<(String, String, String)>,
}

impl Types {
    pub(crate) fn of(kind: &crate::kinds::Kind, version: &str) -> Types {
        let custom = kind.custom(version);
        let root: Option<&Schema> = custom.map(|custom| &custom.schema);
        let built_in = if custom.is_none() { schema::built_in(&kind.group, version, &kind.kind) } else { None };
        let root = root.or(built_in.as_deref());
        let mut schema = root.map(Schema::shallow).unwrap_or_else(|| Schema { preserve_unknown: true, ..Schema::default() });
        if custom.is_some() {
            let text = Arc::new(Schema { kind: schema::Type::String, ..Schema::default() });
            schema.properties.insert("apiVersion".to_owned(), text.clone());
            schema.properties.insert("kind".to_owned(), text);
            if let Some(meta) = schema::built_in("", "v1", "ConfigMap").and_then(|one| one.field("metadata").cloned()) {
                schema.properties.insert("metadata".to_owned(), meta);
            }
        }
        let built_in = custom.is_none().then(|| (kind.group.clone(), version.to_owned(), kind.kind.clone()));
        Types { schema, built_in }
    }

    /// The value as Go would write it: with the structs that it holds by value.
    fn complete(&self, value: &Value) -> Value {
        let mut value = value.clone();
        if let Some((group, version, kind)) = &self.built_in {
            protobuf::complete(group, version, kind, &mut value);
        }
        if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.shift_remove("managedFields");
        }
        value
    }
}

/// Who writes, when, how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) manager: &'a str,
    pub(crate) api_version: &'a str,
    pub(crate) subresource: Option<&'a str>,
    pub(crate) now: Timestamp,
}

impl Writer<'_> {
    fn id(&self, applied: bool) -> Id {
        Id {
            manager: if self.manager.is_empty() { "unknown".to_owned() } else { self.manager.to_owned() },
            applied,
            api_version: if applied { String::new() } else { self.api_version.to_owned() },
            subresource: self.subresource.unwrap_or_default().to_owned(),
        }
    }
}

/// Fields that belong to nobody (`stripmeta.go`).
fn strip(set: &Set) -> Set {
    let field = |name: &str| Element::Field(name.to_owned());
    let mut common = Set::default();
    for name in ["apiVersion", "kind", "metadata"] {
        common.insert(&[field(name)]);
    }
    const OF_METADATA: &[&str] =
        &["name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields", "resourceVersion"];
    for name in OF_METADATA {
        common.insert(&[field("metadata"), field(name)]);
    }
    set.difference(&common)
}

/// After a write that has been made already: whoever set a field owns it. `always` is whether objects that nobody has applied are
/// followed, too. The entries are put into `new`.
pub(crate) fn updated(types: &Types, live: Option<&Value>, new: &mut Value, writer: Writer, always: bool) {
    let said = new["metadata"]["managedFields"].take();
    let kept = live.map(|live| live["metadata"]["managedFields"].clone()).unwrap_or_default();
    let reset =
        said.as_array().is_some_and(|list| list.is_empty() || list.len() == 1 && list[0].as_object().is_some_and(|one| one.is_empty()));
    let mut entries = match () {
        () if writer.subresource.is_some() => managers::decode(&kept).unwrap_or_default(),
        () if reset => Managers::new(),
        () => managers::decode(&said).filter(|entries| !entries.is_empty()).or_else(|| managers::decode(&kept)).unwrap_or_default(),
    };
    // What was not followed from its creation on is followed from its first apply on.
    if !(entries.is_empty() && (live.is_some() || !always)) {
        let before = types.complete(live.unwrap_or(&Value::Object(Default::default())));
        let after = types.complete(new);
        take(types, &before, &after, &mut entries, writer);
        managers::cap(&mut entries);
    }
    store(new, &entries);
}

fn store(object: &mut Value, entries: &Managers) {
    let Some(meta) = object["metadata"].as_object_mut() else { return };
    if entries.is_empty() {
        meta.shift_remove("managedFields");
    } else {
        meta.insert("managedFields".to_owned(), managers::encode(entries));
    }
}

/// An update: what it changed is the writer's and nobody else's.
fn take(types: &Types, before: &Value, after: &Value, entries: &mut Managers, writer: Writer) {
    let comparison = walk::compare(Some(&types.schema), before, after);
    let changed = comparison.modified.union(&comparison.added);
    release(entries, None, &changed, &comparison.removed);
    let set = strip(&changed);
    if !set.is_empty() {
        let fresh = Entry { api_version: writer.api_version.to_owned(), time: None, set: Set::default() };
        let entry = entries.entry(writer.id(false)).or_insert(fresh);
        entry.set.add(&set);
        entry.time = Some(writer.now);
    }
}

/// Takes fields away from everybody but one.
fn release(entries: &mut Managers, but: Option<&Id>, changed: &Set, removed: &Set) {
    for (_, entry) in entries.iter_mut().filter(|(id, _)| Some(*id) != but) {
        entry.set = entry.set.difference(changed).difference(removed);
    }
    entries.retain(|_, entry| !entry.set.is_empty());
}

/// Server-side apply: the configuration's fields are set and owned, what the applier owned and does not name any more goes, unless
/// somebody else owns it, too. `Err` is the conflict, or what is wrong with the configuration.
pub(crate) fn applied(types: &Types, live: Option<&Value>, config: &Value, writer: Writer, force: bool) -> Result<Value, Status> {
    let fresh = Value::Object(Default::default());
    let live = live.unwrap_or(&fresh);
    let mut wrong = Vec::new();
    walk::check(Some(&types.schema), config, "", &mut wrong);
    if !wrong.is_empty() {
        return Err(mistyped(config, &wrong));
    }
    let mut entries = managers::decode(&live["metadata"]["managedFields"]).unwrap_or_default();
    let before = types.complete(live);
    if entries.is_empty() && !live["metadata"]["uid"].is_null() {
        let first = Writer { manager: "before-first-apply", ..writer };
        take(types, &Value::Object(Default::default()), &before, &mut entries, Writer { subresource: None, ..first });
    }
    let id = writer.id(true);
    let untouched: &[&str] = if writer.subresource == Some("status") { &["spec"] } else { &["status"] };
    let ignored = if writer.subresource.is_some() || has_status(&types.schema) { untouched } else { &[] };
    let last = entries.get(&id).cloned();
    let set = walk::fields(Some(&types.schema), config).without_fields(ignored);
    let fresh = Entry { api_version: writer.api_version.to_owned(), time: last.as_ref().and_then(|last| last.time), set };
    entries.insert(id.clone(), fresh);
    let schema = Some(&types.schema);
    let merged = walk::merge(schema, Some(&before), Some(config)).unwrap_or_else(|| before.clone());
    let merged = match &last {
        Some(last) => prune(types, merged, &last.set, &entries),
        None => merged,
    };
    let comparison = walk::compare(schema, &before, &merged);
    let (modified, added) = (comparison.modified.without_fields(ignored), comparison.added.without_fields(ignored));
    let (changed, removed) = (modified.union(&added), comparison.removed.without_fields(ignored));
    if !force {
        let conflicts: Vec<(&Id, &Entry, Set)> = entries
            .iter()
            .filter(|(other, _)| **other != id)
            .map(|(other, entry)| (other, entry, entry.set.intersection(&changed)))
            .filter(|(_, _, set)| !set.is_empty())
            .collect();
        if !conflicts.is_empty() && !excused(types, live, &conflicts) {
            return Err(conflict(&conflicts));
        }
    }
    release(&mut entries, Some(&id), &changed, &removed);
    if let Some(entry) = entries.get_mut(&id) {
        entry.set = strip(&entry.set);
        // An apply that finds everything as it wants it has no time.
        if merged != before {
            entry.time = Some(writer.now);
        }
    }
    entries.retain(|_, entry| !entry.set.is_empty());
    let mut object = merged;
    if writer.manager == "kubectl" && object["metadata"]["annotations"][LAST_APPLIED].as_str().is_some_and(|text| !text.is_empty()) {
        object["metadata"]["annotations"][LAST_APPLIED] = Value::from(last_applied(config));
    }
    store(&mut object, &entries);
    Ok(object)
}

/// Where client-side apply keeps its configuration.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What kubectl applies on the server's side it may go on to apply on its own (`lastappliedupdater.go`).
fn last_applied(config: &Value) -> String {
    let mut config = config.clone();
    if let Some(annotations) = config["metadata"]["annotations"].as_object_mut() {
        annotations.shift_remove(LAST_APPLIED);
    }
    if config["metadata"]["annotations"].is_null()
        && let Some(meta) = config["metadata"].as_object_mut()
    {
        meta.shift_remove("annotations");
    }
    config.sort_all_objects();
    format!("{config}\n")
}

fn has_status(schema: &Schema) -> bool {
    schema.properties.contains_key("status")
}

/// Takes away what the applier owned last and does not name any more, but nothing that anybody owns.
fn prune(types: &Types, merged: Value, last: &Set, entries: &Managers) -> Value {
    let schema = Some(&types.schema);
    let whole = |set: &Set| walk::with_structs(schema, set);
    let empty = || Value::Object(Default::default());
    let pruned = walk::remove(schema, &merged, &whole(last)).unwrap_or_else(empty);
    // Back comes what somebody owns, the applier by its new configuration included.
    let owned = entries.values().fold(Set::default(), |all, entry| all.union(&entry.set));
    let all = walk::fields(schema, &merged);
    let kept = walk::fields(schema, &pruned);
    let gone = whole(&all).difference(&whole(&kept).union(&whole(&owned)));
    let pruned = walk::remove(schema, &merged, &gone).unwrap_or_else(empty);
    // And what went though the applier never owned it.
    let kept = walk::fields(schema, &pruned);
    let gone = whole(&all).difference(&whole(&kept)).intersection(&whole(last));
    walk::remove(schema, &merged, &gone).unwrap_or_else(empty)
}

/// From client-side to server-side apply: what the annotation of the former names, the latter may take (`lastappliedmanager.go`).
fn excused(types: &Types, live: &Value, conflicts: &[(&Id, &Entry, Set)]) -> bool {
    let annotation = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    let Some(last) = annotation.and_then(|text| serde_json::from_str::<Value>(text).ok()) else { return false };
    let named = walk::fields(Some(&types.schema), &last);
    conflicts.iter().all(|(id, _, set)| !id.applied && set.difference(&named).is_empty())
}

fn mistyped(config: &Value, wrong: &[String]) -> Status {
    let text = |key: &str| config["metadata"][key].as_str().unwrap_or_default();
    let (api_version, kind) = (config["apiVersion"].as_str().unwrap_or_default(), config["kind"].as_str().unwrap_or_default());
    let api_version = if api_version.contains('/') { api_version.to_owned() } else { format!("/{api_version}") };
    let why = match wrong {
        [one] => one.clone(),
        many => format!("errors:{}", many.iter().map(|one| format!("\n  {one}")).collect::<String>()),
    };
    let message =
        format!("failed to create typed patch object ({}/{}; {api_version}, Kind={kind}): {why}", text("namespace"), text("name"));
    Status::new(500, "", message)
}

fn said(id: &Id, entry: &Entry) -> String {
    let mut out = format!("{:?}", id.manager);
    if !id.subresource.is_empty() {
        out.push_str(&format!(" with subresource {:?}", id.subresource));
    }
    if !id.applied {
        out.push_str(&format!(" using {}", entry.api_version));
    }
    out
}

fn conflict(conflicts: &[(&Id, &Entry, Set)]) -> Status {
    let listed: Vec<(String, Vec<String>)> = conflicts.iter().map(|(id, entry, set)| (said(id, entry), set.paths())).collect();
    let causes = listed.iter().flat_map(|(manager, paths)| {
        paths.iter().map(move |path| Cause {
            reason: "FieldManagerConflict",
            message: format!("conflict with {manager}"),
            field: path.clone(),
        })
    });
    let causes: Vec<Cause> = causes.collect();
    let message = match listed.as_slice() {
        [(manager, paths)] if paths.len() == 1 => format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths[0]),
        many => {
            let lines = many.iter().flat_map(|(manager, paths)| {
                std::iter::once(format!("conflicts with {manager}:")).chain(paths.iter().map(|path| format!("- {path}")))
            });
            format!("Apply failed with {} conflicts: {}", causes.len(), lines.collect::<Vec<_>>().join("\n"))
        }
    };
    Status { details: Some(Box::new(Details { causes, ..Details::default() })), ..Status::new(409, "Conflict", message) }
}
