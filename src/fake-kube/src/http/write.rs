//! create, update, patch, delete, deletecollection, and the subresources that are written to.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::dialect::Dialect;
use super::query::propagation;
use super::read::{render, selection};
use super::route::Resource;
use super::serve::{Asked, json_reply, parse_json, parse_yaml, warn};
use crate::api::{Api, DeleteOptions, Target, WriteOptions, Written};
use crate::fields::{self, Types, Writer};
use crate::kinds::Kind;
use crate::kube::Response;
use crate::patch;
use crate::schema;
use crate::status::{FieldError, Status};
use crate::store::Object;

const APPLY: &str = "application/apply-patch+yaml";
const ACCEPTED_PATCHES: &str =
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

fn target<'a>(resource: &'a Resource, name: &'a str, subresource: Option<&'a str>) -> Target<'a> {
    Target { kind: &resource.kind, version: &resource.version, namespace: &resource.namespace, name, subresource }
}

impl Api {
    pub(crate) fn post(&mut self, now: Timestamp, resource: &Resource, asked: &Asked) -> Result<Response, Status> {
        if resource.kind.namespaced && resource.namespace.is_empty() {
            return Err(Status::method_not_allowed());
        }
        let options = asked.write_options()?;
        let body = typed(&resource.kind, resource.dialect.read(asked.value_of(&resource.kind, &resource.version)?)?)?;
        let made = self.create_with(now, target(resource, "", None), body, &options);
        let written = made.map_err(|status| resource.dialect.refusal(status))?;
        Ok(answer(StatusCode::CREATED, &written, resource, asked))
    }

    pub(crate) fn replace(
        &mut self,
        now: Timestamp,
        resource: &Resource,
        asked: &Asked,
        name: &str,
        subresource: Option<&str>,
    ) -> Result<Response, Status> {
        let options = asked.write_options()?;
        let body = resource.dialect.read(asked.value_of(&resource.kind, &resource.version)?)?;
        let target = target(resource, name, subresource);
        if subresource == Some("scale") {
            return self.replace_scale(now, target, &body, &options);
        }
        self.has_subresource(resource, subresource)?;
        let body = typed(&resource.kind, body)?;
        let written =
            if subresource == Some("finalize") { self.finalize(now, target, &body)? } else { self.update_to(now, target, body, &options)? };
        Ok(answer(StatusCode::OK, &written, resource, asked))
    }

    fn has_subresource(&self, resource: &Resource, subresource: Option<&str>) -> Result<(), Status> {
        match subresource {
            None => Ok(()),
            Some("status") if resource.kind.status => Ok(()),
            Some("finalize") if resource.kind.key == "namespaces" => Ok(()),
            Some("ephemeralcontainers" | "resize") if resource.kind.key == "pods" => Err(Status::method_not_allowed()),
            Some("log" | "exec" | "binding" | "eviction") if resource.kind.key == "pods" => Err(Status::method_not_allowed()),
            Some(_) => Err(Status::no_such_resource()),
        }
    }

    fn replace_scale(&mut self, now: Timestamp, target: Target, body: &Value, options: &WriteOptions) -> Result<Response, Status> {
        let object = self.scale_to(now, target, body, options)?;
        let scale = self.scale_of(&object).ok_or_else(Status::no_such_resource)?;
        Ok(json_reply(StatusCode::OK, &scale))
    }

    /// `namespaces/finalize`: writes `spec.finalizers` alone, and lets the namespace go with the last of them.
    fn finalize(&mut self, now: Timestamp, target: Target, body: &Value) -> Result<Written, Status> {
        let finalizers = body["spec"]["finalizers"].clone();
        let object = self.finalize_namespace(now, target.name, finalizers)?;
        Ok(Written { object, warnings: Vec::new(), created: false })
    }

    pub(crate) fn patch(
        &mut self,
        now: Timestamp,
        resource: &Resource,
        asked: &Asked,
        name: &str,
        subresource: Option<&str>,
    ) -> Result<Response, Status> {
        let options = asked.write_options()?;
        let kind = &resource.kind;
        if subresource == Some("scale") && kind.scale.is_some() {
            return self.patch_scale(now, resource, asked, name, &options);
        }
        self.has_subresource(resource, subresource)?;
        let stored = self.store().get(&kind.key, &resource.namespace, name).cloned();
        if asked.content_type != APPLY && !asked.query.get("force").is_empty() {
            return Err(Status::invalid_options(
                "PatchOptions",
                FieldError::forbidden("force", "may not be specified for non-apply patch"),
            ));
        }
        if asked.content_type == APPLY {
            return self.apply(now, resource, asked, name, subresource, stored);
        }
        let stored = stored.ok_or_else(|| Status::not_found(kind, name))?;
        let mut value = in_version(&stored, &resource.version);
        value = resource.dialect.say(value);
        self.change(&mut value, resource, asked)?;
        value = resource.dialect.read(value)?;
        let written = self.update_to(now, target(resource, name, subresource), value, &options).map_err(|status| {
            let plain = matches!(asked.content_type.as_str(), "application/merge-patch+json" | "application/json-patch+json");
            let why = status.message.split_once(&format!("cannot be handled as a {}: ", kind.kind)).map(|(_, why)| why.to_owned());
            match why {
                // What such a patch makes is shown as a whole (`handlers/patch.go`, applyPatchToCurrentObject).
                Some(why) if plain && status.code == 400 => {
                    let mut again = resource.dialect.say(in_version(&stored, &resource.version));
                    match self.change(&mut again, resource, asked) {
                        Ok(()) => unreadable_patch(&again, &why),
                        Err(status) => status,
                    }
                }
                _ => status,
            }
        })?;
        Ok(answer(StatusCode::OK, &written, resource, asked))
    }

    fn change(&self, value: &mut Value, resource: &Resource, asked: &Asked) -> Result<(), Status> {
        let kind = &resource.kind;
        let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match asked.content_type.as_str() {
            "application/json-patch+json" => patch::json(value, asked.body)?,
            "application/merge-patch+json" => patch::merge(value, &patch_body(asked)?),
            "application/strategic-merge-patch+json" => {
                let schema = schema::built_in(&kind.group, &resource.version, &kind.kind).filter(|_| !kind.is_custom());
                let schema = schema.ok_or_else(|| {
                    unsupported_patch("application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml", kind)
                })?;
                patch::strategic(&schema, value, &patch_body(asked)?).map_err(Status::bad_request)?;
            }
            _ => return Err(unsupported_patch(ACCEPTED_PATCHES, kind)),
        }
        if !value.is_object() {
            return Err(Status::invalid(
                kind,
                &name,
                vec![FieldError::invalid("patch", &Value::from("..."), "the patch made something that is no object")],
            ));
        }
        Ok(())
    }

    fn patch_scale(
        &mut self,
        now: Timestamp,
        resource: &Resource,
        asked: &Asked,
        name: &str,
        options: &WriteOptions,
    ) -> Result<Response, Status> {
        let stored = self.existing(&resource.kind, &resource.namespace, name)?.clone();
        let mut scale = self.scale_of(&stored).ok_or_else(Status::no_such_resource)?;
        match asked.content_type.as_str() {
            "application/json-patch+json" => patch::json(&mut scale, asked.body)?,
            "application/merge-patch+json" | "application/strategic-merge-patch+json" => patch::merge(&mut scale, &patch_body(asked)?),
            APPLY => patch::merge(&mut scale, &parse_yaml(asked.body)?),
            _ => return Err(unsupported_patch(ACCEPTED_PATCHES, &resource.kind)),
        }
        self.replace_scale(now, target(resource, name, None), &scale, options)
    }

    fn apply(
        &mut self,
        now: Timestamp,
        resource: &Resource,
        asked: &Asked,
        name: &str,
        subresource: Option<&str>,
        stored: Option<Arc<Object>>,
    ) -> Result<Response, Status> {
        let options = WriteOptions { applied: true, user: Some(asked.user.clone()), ..asked.query.write_options("PatchOptions")? };
        let kind = &resource.kind;
        if options.field_manager.is_empty() {
            let error = FieldError::required("fieldManager", "is required for apply patch");
            return Err(Status::invalid_options("PatchOptions", error));
        }
        let mut config =
            parse_yaml(asked.body).map_err(|status| Status::bad_request(format!("error decoding YAML: {}", status.message)))?;
        if !config.is_object() {
            let found = json_type(&config);
            return Err(Status::bad_request(format!(
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            )));
        }
        if !config["metadata"].is_null() && !config["metadata"].is_object() {
            let found = json_type(&config["metadata"]);
            return Err(Status::bad_request(format!(
                "json: cannot unmarshal {found} into Go struct field .metadata of type v1.ObjectMeta"
            )));
        }
        if !config["metadata"]["managedFields"].is_null() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        if config["apiVersion"].is_null() || config["kind"].is_null() {
            return Err(Status::bad_request("invalid object type: /, Kind="));
        }
        if resource.dialect == Dialect::Autoscalers {
            config = resource.dialect.read(config)?;
        }
        check_config(kind, &resource.version, name, &config)?;
        let types = Types::of(kind, &resource.version);
        let api_version = kind.api_version_of(&resource.version);
        let writer = Writer { manager: &options.field_manager, api_version: &api_version, subresource, now };
        let live = stored.as_ref().map(|object| in_version(object, &resource.version));
        if live.is_none() && subresource.is_some() {
            return Err(Status::not_found(kind, name));
        }
        let force = asked.query.flag("force");
        if config["metadata"]["name"].is_null() {
            config["metadata"]["name"] = Value::from(name);
        }
        let object = fields::applied(&types, live.as_ref(), &config, writer, force)?;
        if stored.is_none() {
            let written = self.create_with(now, target(resource, name, None), object, &options)?;
            return Ok(answer(StatusCode::CREATED, &written, resource, asked));
        }
        let written = self.update_to(now, target(resource, name, subresource), object, &options)?;
        Ok(answer(StatusCode::OK, &written, resource, asked))
    }

    pub(crate) fn remove(&mut self, now: Timestamp, resource: &Resource, asked: &Asked, name: &str) -> Result<Response, Status> {
        let options = delete_options(asked)?;
        let deleted = self.delete_with(now, target(resource, name, None), &options)?;
        let kind = &resource.kind;
        if deleted.gone && !returns_object(kind) {
            let mut details = json!({ "name": name, "group": kind.group, "kind": kind.plural, "uid": deleted.object.meta.uid });
            if kind.group.is_empty() {
                details.as_object_mut().map(|map| map.shift_remove("group"));
            }
            let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details });
            return Ok(json_reply(StatusCode::OK, &status));
        }
        Ok(render(StatusCode::OK, &deleted.object, resource, asked))
    }

    pub(crate) fn remove_all(&mut self, now: Timestamp, resource: &Resource, asked: &Asked) -> Result<Response, Status> {
        let kind = resource.kind.clone();
        if kind.namespaced && resource.namespace.is_empty() || kind.key == "namespaces" {
            return Err(Status::method_not_allowed());
        }
        let options = delete_options(asked)?;
        let selection = selection(resource, asked)?;
        let chosen: Vec<Arc<Object>> =
            self.store().list_in(&kind.key, &resource.namespace).filter(|object| selection.matches(object)).cloned().collect();
        let mut items = Vec::with_capacity(chosen.len());
        for object in &chosen {
            match self.delete_with(now, Target { name: &object.meta.name, ..target(resource, "", None) }, &options) {
                Ok(deleted) => items.push((*deleted.object.value()).clone()),
                Err(status) if status.is_not_found() => {}
                Err(status) => return Err(status),
            }
        }
        let meta = json!({ "resourceVersion": self.store().resource_version().to_string() });
        Ok(json_reply(
            StatusCode::OK,
            &json!({ "kind": kind.list_kind, "apiVersion": kind.api_version_of(&resource.version), "metadata": meta, "items": items }),
        ))
    }

    pub(crate) fn post_subresource(
        &mut self,
        now: Timestamp,
        resource: &Resource,
        asked: &Asked,
        name: &str,
        subresource: &str,
    ) -> Result<Response, Status> {
        let namespace = resource.namespace.as_str();
        match (resource.kind.key.as_str(), subresource) {
            ("pods", "binding") => {
                let body = asked.value_as("v1", "Binding")?;
                named(&body, name, "Binding")?;
                let node = bound_to(&body)?;
                if asked.query.write_options("CreateOptions")?.dry_run {
                    self.bound(now, namespace, name, &node)?;
                } else {
                    self.bind(now, namespace, name, &node)?;
                }
                Ok(done(StatusCode::CREATED))
            }
            ("pods", "eviction") => {
                let body = asked.value_as("policy/v1", "Eviction")?;
                named(&body, name, "Eviction")?;
                let mut options = read_options(&body["deleteOptions"])?;
                options.dry_run |= asked.query.write_options("CreateOptions")?.dry_run;
                self.evict(now, namespace, name, &options)?;
                Ok(done(StatusCode::CREATED))
            }
            ("serviceaccounts", "token") => {
                let account = self.existing(&resource.kind, namespace, name)?.clone();
                let body = super::reviews::token_request(asked)?;
                self.bound_object(namespace, name, &body["spec"]["boundObjectRef"])?;
                Ok(json_reply(StatusCode::CREATED, &self.auth().issue(now, &account, &body)))
            }
            ("pods", "exec" | "attach" | "portforward" | "proxy") => {
                self.existing(&resource.kind, namespace, name)?;
                Err(Status::new(501, "NotImplemented", format!("no kubelet serves {subresource} here")))
            }
            ("pods", "status" | "log") => Err(Status::method_not_allowed()),
            _ => Err(Status::no_such_resource()),
        }
    }
}

/// A subresource's object says whose it is (`pkg/registry/core/pod/storage`).
fn named(body: &Value, name: &str, kind: &str) -> Result<(), Status> {
    if body["metadata"]["name"].as_str().unwrap_or_default() != name {
        return Err(Status::bad_request(format!("name in URL does not match name in {kind} object")));
    }
    Ok(())
}

/// The node of a Binding (`ValidatePodBinding`, whose errors the real server reports as its own failure).
pub(super) fn bound_to(body: &Value) -> Result<String, Status> {
    let target = &body["target"];
    let error = match target["kind"].as_str().unwrap_or_default() {
        "" | "Node" if target["name"].as_str().unwrap_or_default().is_empty() => FieldError::required("target.name", ""),
        "" | "Node" => return Ok(target["name"].as_str().unwrap_or_default().to_owned()),
        _ => FieldError::unsupported("target.kind", &target["kind"], &["Node", "<empty>"]),
    };
    Err(Status { reason: "", ..Status::new(500, "", error.to_string()) })
}

/// An apply says what the path is for: version, kind and name.
fn check_config(kind: &Kind, version: &str, name: &str, config: &Value) -> Result<(), Status> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (said, named) = (text(&config["apiVersion"]), text(&config["kind"]));
    if said != kind.api_version_of(version) || named != kind.kind {
        let said = if said.contains('/') { said } else { format!("/{said}") };
        return Err(Status::bad_request(format!("invalid object type: {said}, Kind={named}")));
    }
    let own = text(&config["metadata"]["name"]);
    if !own.is_empty() && own != name {
        return Err(Status::bad_request(format!("the name of the object ({own}) does not match the name on the URL ({name})")));
    }
    Ok(())
}

/// The stored object as the request's version sees it.
fn in_version(object: &Object, version: &str) -> Value {
    let mut value = (*object.value()).clone();
    value["apiVersion"] = Value::from(object.kind.api_version_of(version));
    value
}

/// Over HTTP a body says what it is.
fn typed(kind: &Kind, body: Value) -> Result<Value, Status> {
    if body.is_object() && body["kind"].as_str().unwrap_or_default().is_empty() && kind.is_custom() {
        let mut unnamed = body.clone();
        unnamed.as_object_mut().map(|map| map.shift_remove("kind"));
        let text = body.to_string();
        let shown: String = text.chars().take(30).collect();
        let more = if text.len() > 30 { " ..." } else { "" };
        let message = format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{unnamed}' ({shown}{more})",
            kind.kind
        );
        return Err(Status::bad_request(message));
    }
    Ok(body)
}

fn unreadable_patch(patched: &Value, why: &str) -> Status {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect::<std::collections::BTreeMap<_, _>>()
                .into_iter()
                .map(|(key, value)| (key.clone(), value))
                .collect(),
            Value::Array(list) => list.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }
    let error = FieldError::invalid("patch", &Value::from(sorted(patched).to_string()), why);
    let message = format!(" \"\" is invalid: {error}");
    Status::new(422, "Invalid", message).with_cause(
        "FieldValueInvalid",
        error.to_string().trim_start_matches("patch: ").to_owned(),
        "patch",
    )
}

fn patch_body(asked: &Asked) -> Result<Value, Status> {
    let value = parse_json(asked.body).map_err(|_| Status::bad_request("error decoding patch: unexpected end of JSON input"))?;
    if value.is_object() {
        return Ok(value);
    }
    let found = json_type(&value);
    Err(Status::bad_request(format!(
        "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
    )))
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null => "null",
    }
}

/// A patch of a kind that the resource does not take.
fn unsupported_patch(accepted: &str, kind: &Kind) -> Status {
    if kind.is_custom() {
        return Status::unsupported_media_type(accepted);
    }
    let status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
    Status { details: Some(Default::default()), ..status }
}

fn answer(code: StatusCode, written: &Written, resource: &Resource, asked: &Asked) -> Response {
    let mut reply = render(code, &written.object, resource, asked);
    for warning in &written.warnings {
        warn(&mut reply, warning);
    }
    reply
}

/// `Status: Success`, the answer of verbs that make nothing.
fn done(code: StatusCode) -> Response {
    json_reply(code, &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code.as_u16() }))
}

/// Kinds whose deletion answers with the object (`ReturnDeletedObject`).
fn returns_object(kind: &Kind) -> bool {
    matches!(
        kind.key.as_str(),
        "pods"
            | "namespaces"
            | "services"
            | "serviceaccounts"
            | "persistentvolumes"
            | "persistentvolumeclaims"
            | "podtemplates"
            | "resourcequotas"
            | "storage.k8s.io/storageclasses"
            | "storage.k8s.io/csidrivers"
            | "storage.k8s.io/csinodes"
            | "storage.k8s.io/volumeattachments"
    )
}

/// From the body, else from the query.
fn delete_options(asked: &Asked) -> Result<DeleteOptions, Status> {
    const KIND: &str = "DeleteOptions";
    let body = if asked.body.is_empty() { Value::Null } else { asked.value()? };
    if let Some(kind) = body["kind"].as_str().filter(|kind| !matches!(*kind, "" | KIND)) {
        let version = body["apiVersion"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\""
        )));
    }
    let mut options = read_options(&body)?;
    if asked.body.is_empty() {
        options.grace_period_seconds = asked.query.number("gracePeriodSeconds")?;
        let policy = asked.query.get("propagationPolicy");
        if !asked.query.get("orphanDependents").is_empty() {
            let orphan = asked.query.flag("orphanDependents");
            options = read_options(&json!({ "orphanDependents": orphan, "propagationPolicy": (!policy.is_empty()).then_some(policy) }))?;
        } else {
            options.propagation = propagation(policy)?;
        }
    }
    options.dry_run |= asked.query.write_options(KIND)?.dry_run;
    Ok(options)
}

/// `ValidateDeleteOptions` (`k8s.io/apimachinery/pkg/apis/meta/v1/validation`).
fn read_options(body: &Value) -> Result<DeleteOptions, Status> {
    let orphan = body["orphanDependents"].as_bool().map(|orphan| if orphan { "Orphan" } else { "Background" });
    let policy = body["propagationPolicy"].as_str();
    if orphan.is_some() && policy.is_some() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        let error = FieldError::invalid("propagationPolicy", &body["propagationPolicy"], why);
        return Err(Status::invalid_options("DeleteOptions", error));
    }
    let dry_run = body["dryRun"].as_array().map(Vec::as_slice).unwrap_or_default();
    if dry_run.iter().any(|one| one != "All") {
        return Err(Status::invalid_options("DeleteOptions", FieldError::unsupported("dryRun", &body["dryRun"], &["All"])));
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(DeleteOptions {
        grace_period_seconds: body["gracePeriodSeconds"].as_i64(),
        propagation: propagation(policy.or(orphan).unwrap_or_default())?,
        preconditions: crate::api::Preconditions {
            uid: text(&body["preconditions"]["uid"]),
            resource_version: text(&body["preconditions"]["resourceVersion"]),
        },
        dry_run: !dry_run.is_empty(),
    })
}
