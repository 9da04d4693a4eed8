//! get and list.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::dialect::Dialect;
use super::media::Form;
use super::route::Resource;
use super::serve::{Asked, bytes_reply, json_reply};
use super::table;
use crate::api::Api;
use crate::kinds::Kind;
use crate::kube::Response;
use crate::select::{Fields, Labels, Selection};
use crate::status::{FieldError, Status};
use crate::store::{Compacted, Object, write_json};

impl Api {
    pub(crate) fn get(&self, resource: &Resource, asked: &Asked, name: &str) -> Result<Response, Status> {
        let object = self.existing(&resource.kind, &resource.namespace, name)?;
        Ok(render(StatusCode::OK, object, resource, asked))
    }

    pub(crate) fn get_subresource(&self, resource: &Resource, asked: &Asked, name: &str, subresource: &str) -> Result<Response, Status> {
        let kind = &resource.kind;
        let known = kind.status && subresource == "status"
            || kind.scale.is_some() && subresource == "scale"
            || kind.key == "pods" && matches!(subresource, "log" | "exec" | "attach" | "portforward" | "proxy");
        if !known {
            return Err(Status::no_such_resource());
        }
        let object = self.existing(kind, &resource.namespace, name)?;
        match subresource {
            "status" if kind.status => Ok(render(StatusCode::OK, object, resource, asked)),
            "scale" if kind.scale.is_some() => {
                let scale = self.scale_of(object).ok_or_else(Status::no_such_resource)?;
                Ok(json_reply(StatusCode::OK, &scale))
            }
            "log" | "exec" | "attach" | "portforward" | "proxy" if kind.key == "pods" => {
                // There is no kubelet to ask: what a server says whose kubelet does not answer.
                let node = object.field("spec.nodeName").unwrap_or_default();
                if !node.is_empty() && self.store().get("nodes", "", node).is_none() {
                    return Err(Status::not_found(kind, node));
                }
                let why = if node.is_empty() {
                    return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
                } else {
                    format!("the kubelet of node {node} serves no {subresource}")
                };
                Err(Status::new(501, "NotImplemented", why))
            }
            _ => Err(Status::no_such_resource()),
        }
    }

    pub(crate) fn list(&self, resource: &Resource, asked: &Asked) -> Result<Response, Status> {
        let kind = &resource.kind;
        let selection = selection(resource, asked)?;
        let page = Page::read(self, asked)?;
        let objects = self
            .store()
            .snapshot(&kind.key, &selection.namespace, page.at)
            .map_err(|compacted| if page.start.is_some() { continue_expired() } else { too_old(page.at, compacted) })?;
        let from = match &page.start {
            Some(start) => objects.partition_point(|object| token_key(object) < *start),
            None => 0,
        };
        let mut chosen: Vec<&Arc<Object>> = Vec::new();
        let mut next = None;
        let mut left = 0u64;
        for object in objects[from..].iter().filter(|object| selection.matches(object)) {
            match page.limit {
                Some(limit) if chosen.len() >= limit => {
                    next.get_or_insert_with(|| token(page.at, object));
                    left += 1;
                }
                _ => chosen.push(object),
            }
        }
        let meta = list_meta(page.at, next, (selection.labels.is_empty() && selection.fields.is_empty()).then_some(left));
        Ok(match asked.form {
            Form::Table => json_reply(
                StatusCode::OK,
                &table::table(asked.now, kind, &resource.version, &chosen, meta, asked.query.get("includeObject")),
            ),
            Form::Partial => {
                let items: Vec<Value> = chosen.iter().map(|object| partial(object)).collect();
                // Go's nil slice.
                let items = if items.is_empty() { Value::Null } else { Value::from(items) };
                json_reply(
                    StatusCode::OK,
                    &json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items }),
                )
            }
            _ if resource.dialect != Dialect::Plain => {
                let one = |object: &&Arc<Object>| {
                    let mut said = resource.dialect.say((*object.value()).clone());
                    if let Some(map) = said.as_object_mut().filter(|_| resource.dialect == Dialect::Autoscalers) {
                        map.retain(|key, _| !matches!(key.as_str(), "kind" | "apiVersion"));
                    }
                    said
                };
                let items: Vec<Value> = chosen.iter().map(one).collect();
                let api_version = resource.dialect.api_version();
                json_reply(StatusCode::OK, &json!({ "kind": kind.list_kind, "apiVersion": api_version, "metadata": meta, "items": items }))
            }
            _ => bytes_reply(StatusCode::OK, list_body(kind, &resource.version, &chosen, &meta)),
        })
    }
}

/// What a list or watch is restricted to.
pub(crate) fn selection(resource: &Resource, asked: &Asked) -> Result<Selection, Status> {
    Ok(Selection {
        namespace: resource.namespace.clone(),
        labels: Labels::parse(asked.query.get("labelSelector"))?,
        fields: Fields::parse(&resource.kind, asked.query.get("fieldSelector"))?,
    })
}

/// Which state is listed, from where, how much of it.
struct Page {
    at: u64,
    start: Option<Start>,
    limit: Option<usize>,
}

impl Page {
    fn read(api: &Api, asked: &Asked) -> Result<Page, Status> {
        let current = api.store().resource_version();
        let limit = asked.query.number("limit")?.filter(|&limit| limit > 0).map(|limit| limit as usize);
        let (version, rule) = (asked.query.get("resourceVersion"), asked.query.get("resourceVersionMatch"));
        let continued = asked.query.get("continue");
        if !continued.is_empty() {
            if !version.is_empty() && version != "0" {
                return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
            }
            let (at, start) = read_token(continued)
                .ok_or_else(|| Status::bad_request(format!("invalid continue token: continue key is not valid: {continued}")))?;
            return Ok(Page { at: at.min(current), start: Some(start), limit });
        }
        if !asked.query.get("sendInitialEvents").is_empty() {
            return Err(list_options(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")));
        }
        let wanted = resource_version(version)?;
        if !rule.is_empty() && version.is_empty() {
            return Err(list_options(FieldError::forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            )));
        }
        match rule {
            "" | "NotOlderThan" | "Exact" => {}
            other => {
                return Err(list_options(FieldError::unsupported("resourceVersionMatch", &json!(other), &["Exact", "NotOlderThan", ""])));
            }
        }
        if rule == "Exact" && version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            return Err(list_options(FieldError::forbidden("resourceVersionMatch", why)));
        }
        if wanted > current {
            return Err(too_large(wanted, current));
        }
        let at = if rule == "Exact" { wanted } else { current };
        Ok(Page { at, start: None, limit })
    }
}

pub(crate) fn list_options(error: FieldError) -> Status {
    Status::invalid_options("ListOptions", error)
}

/// Empty is 0: any version.
pub(crate) fn resource_version(text: &str) -> Result<u64, Status> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        let shown = crate::status::quoted(text);
        Status::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {shown}: strconv.ParseUint: parsing {shown}: invalid syntax"
        ))
    })
}

fn too_large(wanted: u64, current: u64) -> Status {
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let mut status = Status::new(504, "Timeout", message).with_cause("ResourceVersionTooLarge", "Too large resource version", "");
    if let Some(details) = &mut status.details {
        details.retry_after_seconds = 1;
    }
    status
}

pub(crate) fn too_old(wanted: u64, compacted: Compacted) -> Status {
    Status::expired(format!("too old resource version: {wanted} ({})", compacted.oldest))
}

fn continue_expired() -> Status {
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
    )
}

type Start = (String, String);

/// Namespace and name: the order of lists.
fn token_key(object: &Object) -> Start {
    (object.meta.namespace.clone(), object.meta.name.clone())
}

fn token(at: u64, object: &Object) -> String {
    URL_SAFE_NO_PAD
        .encode(json!({ "v": "meta.k8s.io/v1", "rv": at, "start": format!("{}/{}", object.meta.namespace, object.meta.name) }).to_string())
}

fn read_token(text: &str) -> Option<(u64, Start)> {
    let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (namespace, name) = value["start"].as_str()?.split_once('/')?;
    Some((value["rv"].as_u64()?, (namespace.to_owned(), name.to_owned())))
}

fn list_meta(at: u64, next: Option<String>, left: Option<u64>) -> Value {
    let mut meta = json!({ "resourceVersion": at.to_string() });
    if let Some(next) = next {
        meta["continue"] = Value::from(next);
        if let Some(left) = left {
            meta["remainingItemCount"] = Value::from(left);
        }
    }
    meta
}

fn list_body(kind: &Kind, version: &str, objects: &[&Arc<Object>], meta: &Value) -> Bytes {
    let mut body = Vec::with_capacity(128 + objects.iter().map(|object| object.rest().len() + 64).sum::<usize>());
    body.extend_from_slice(b"{\"kind\":");
    write_json(&mut body, &Value::from(kind.list_kind.clone()));
    body.extend_from_slice(b",\"apiVersion\":");
    write_json(&mut body, &Value::from(kind.api_version_of(version)));
    body.extend_from_slice(b",\"metadata\":");
    write_json(&mut body, meta);
    body.extend_from_slice(b",\"items\":[");
    let head = head(kind, version);
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        if kind.is_custom() {
            body.extend_from_slice(&head);
            body.extend_from_slice(object.rest());
        } else {
            // Items of typed lists say their kind nowhere.
            body.push(b'{');
            body.extend_from_slice(object.rest().strip_prefix(b",").unwrap_or(object.rest()));
        }
    }
    body.extend_from_slice(b"]}");
    body.into()
}

/// How an object of a kind begins.
pub(crate) fn head(kind: &Kind, version: &str) -> Vec<u8> {
    let mut head = b"{\"kind\":".to_vec();
    write_json(&mut head, &Value::from(kind.kind.clone()));
    head.extend_from_slice(b",\"apiVersion\":");
    write_json(&mut head, &Value::from(kind.api_version_of(version)));
    head
}

/// The object in a version, whole.
pub(crate) fn whole(object: &Object, version: &str, dialect: Dialect) -> Bytes {
    if dialect != Dialect::Plain {
        let mut body = Vec::new();
        write_json(&mut body, &dialect.say((*object.value()).clone()));
        return body.into();
    }
    if version == object.kind.version {
        return object.bytes();
    }
    let mut body = head(&object.kind, version);
    body.extend_from_slice(object.rest());
    body.into()
}

pub(crate) fn partial(object: &Object) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.value()["metadata"] })
}

/// One object as the client wants it.
pub(crate) fn render(code: StatusCode, object: &Arc<Object>, resource: &Resource, asked: &Asked) -> Response {
    match asked.form {
        Form::Table => {
            let meta = json!({ "resourceVersion": object.meta.resource_version.to_string() });
            json_reply(code, &table::table(asked.now, &object.kind, &resource.version, &[object], meta, asked.query.get("includeObject")))
        }
        Form::Partial => json_reply(code, &partial(object)),
        _ => bytes_reply(code, whole(object, &resource.version, resource.dialect)),
    }
}
