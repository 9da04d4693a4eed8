//! Strategic merge patch: a merge patch that knows which lists merge by key.
//!
//! Source: `k8s.io/apimachinery/pkg/util/strategicpatch/patch.go`; the merge keys are in the schemas.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::schema::{Schema, Type, lists};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Merges `patch` into `target`. `Err` is the server's message.
pub(crate) fn strategic(schema: &Schema, target: &mut Value, patch: &Value) -> Result<(), String> {
    let Value::Object(patch) = patch else { return Err("invalid patch: not a JSON object".to_owned()) };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    match target {
        Value::Object(map) => object(Some(schema), map, patch),
        _ => Ok(()),
    }
}

fn object(schema: Option<&Schema>, target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), String> {
    match patch.get(DIRECTIVE).map(|value| value.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => {
            *target = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(format!("unknown patch type: {other}")),
    }
    if let Some(retain) = patch.get(RETAIN) {
        let keep = crate::schema::strings(retain);
        if patch.keys().any(|key| !key.starts_with('$') && !keep.contains(key)) {
            return Err("$retainKeys directive is invalid: all keys in the patch must be present in the $retainKeys list".to_owned());
        }
        target.retain(|key, _| keep.contains(key));
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let field = schema.and_then(|schema| schema.field(key));
        if value.is_null() {
            target.shift_remove(key);
            continue;
        }
        let mergeable = field.is_none_or(|field| field.kind != Type::Any && !field.patch.replace);
        match (target.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) if mergeable => object(field.map(Arc::as_ref), old, new)?,
            (Some(Value::Array(old)), Value::Array(new)) if field.is_some_and(|field| field.patch.merge) => {
                let order = patch.get(&format!("{ORDER}{key}")).and_then(Value::as_array);
                list(field.map(Arc::as_ref), old, new, order.unwrap_or(new))?;
            }
            (_, new) => {
                let new = cleaned(field.map(Arc::as_ref), new)?;
                target.insert(key.clone(), new);
            }
        }
    }
    for (key, value) in patch {
        if let Some(name) = key.strip_prefix(DELETE_FROM)
            && let (Some(Value::Array(old)), Value::Array(gone)) = (target.get_mut(name), value)
        {
            old.retain(|item| !gone.contains(item));
        }
    }
    Ok(())
}

/// Merges a list with the patch strategy `merge`: by key when it holds objects, as a set when it holds scalars.
fn list(field: Option<&Schema>, target: &mut Vec<Value>, patch: &[Value], order: &[Value]) -> Result<(), String> {
    let server = target.clone();
    let items = field.and_then(|field| field.items.clone());
    if patch.iter().any(|item| item[DIRECTIVE] == "replace") {
        *target = patch.iter().filter(|item| item.get(DIRECTIVE).is_none()).cloned().collect();
        return Ok(());
    }
    let Some(merge_key) = field.and_then(lists) else {
        for item in patch.iter().filter(|item| !target.contains(item)).collect::<Vec<_>>() {
            target.push(item.clone());
        }
        arrange(target, order, &server, None);
        return Ok(());
    };
    for item in patch {
        let Value::Object(new) = item else { return Err("expected objects in a list that merges by key".to_owned()) };
        let Some(key) = new.get(merge_key) else { return Err(format!("map: {item} does not contain declared merge key: {merge_key}")) };
        let found = target.iter().position(|old| &old[merge_key] == key);
        match (new.get(DIRECTIVE).and_then(Value::as_str), found) {
            (Some("delete"), _) => target.retain(|old| &old[merge_key] != key),
            (_, Some(index)) => {
                if let Some(Value::Object(old)) = target.get_mut(index) {
                    object(items.as_deref(), old, new)?;
                }
            }
            (_, None) => target.push(cleaned(items.as_deref(), item)?),
        }
    }
    arrange(target, order, &server, Some(merge_key));
    Ok(())
}

/// Elements that the patch lists take its order; the others keep the server's. Where the server knows two neighbours of both sorts, its
/// order decides, else the patch's come first (`normalizeElementOrder`, `mergeSortedSlice`).
fn arrange(items: &mut Vec<Value>, order: &[Value], server: &[Value], merge_key: Option<&str>) {
    let place = |list: &[Value], item: &Value| {
        list.iter().position(|one| match merge_key {
            Some(key) => one[key] == item[key],
            None => one == item,
        })
    };
    let (mut patched, kept): (Vec<Value>, Vec<Value>) = std::mem::take(items).into_iter().partition(|item| place(order, item).is_some());
    patched.sort_by_key(|item| place(order, item));
    let mut patched = patched.into_iter().peekable();
    for item in kept {
        let before = |other: &Value| match (place(server, &item), place(server, other)) {
            (Some(mine), Some(theirs)) => mine < theirs,
            _ => false,
        };
        while let Some(next) = patched.next_if(|next| !before(next)) {
            items.push(next);
        }
        items.push(item);
    }
    items.extend(patched);
}

/// A new value without directives and nulls.
fn cleaned(field: Option<&Schema>, value: &Value) -> Result<Value, String> {
    match value {
        Value::Object(map) if field.is_none_or(|field| field.kind != Type::Any) => {
            let mut fresh = Map::new();
            if map.get(DIRECTIVE).is_some_and(|directive| directive == "replace") {
                return Ok(Value::Object(without_directives(map)));
            }
            object(field, &mut fresh, map)?;
            Ok(Value::Object(fresh))
        }
        Value::Array(list) => {
            let items = field.and_then(|field| field.items.as_deref());
            let kept = list.iter().filter(|item| item.get(DIRECTIVE).is_none());
            Ok(Value::Array(kept.map(|item| cleaned(items, item)).collect::<Result<_, _>>()?))
        }
        other => Ok(other.clone()),
    }
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().filter(|(key, _)| !key.starts_with('$')).map(|(key, value)| (key.clone(), value.clone())).collect()
}
