//! Create and update.
//!
//! Source: `k8s.io/apiserver/pkg/registry/rest/{create,update}.go`, `pkg/registry/generic/registry/store.go`, the strategies under
//! `k8s.io/kubernetes/pkg/registry` and `apiextensions-apiserver/pkg/registry/customresource`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Api, FieldValidation, Target, WriteOptions, metadata};
use crate::admission;
use crate::fields::{self, Types, Writer};
use crate::kinds::Kind;
use crate::schema;
use crate::status::Status;
use crate::store::{EventType, Object};
use crate::time;

/// The outcome of a write.
#[derive(Debug)]
pub struct Written {
    pub object: Arc<Object>,
    /// For the `Warning` header.
    pub warnings: Vec<String>,
    pub created: bool,
}

impl Api {
    pub(crate) fn create_with(&mut self, now: Timestamp, target: Target, object: Value, options: &WriteOptions) -> Result<Written, Status> {
        let kind = target.kind;
        let mut object = object;
        let warnings = decode(kind, target.version, &mut object, options)?;
        admission::check_data(kind, &object)?;
        self.check_namespace(kind, target.namespace, &object)?;
        let meta = metadata::of(&mut object);
        if kind.namespaced {
            meta.insert("namespace".to_owned(), Value::from(target.namespace));
        } else {
            meta.shift_remove("namespace");
        }
        if meta.get("resourceVersion").and_then(Value::as_str).is_some_and(|text| !text.is_empty() && text != "0") {
            return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        self.generate_name(target, meta);
        if let Some(user) = &options.user {
            crate::escalation::check(self, user, kind, target.namespace, None, &object)?;
        }
        let meta = metadata::of(&mut object);
        let name = meta.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        for key in ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
            meta.shift_remove(key);
        }
        if !options.applied {
            meta.shift_remove("managedFields");
        }
        meta.insert("uid".to_owned(), Value::from(self.chance.uid()));
        meta.insert("creationTimestamp".to_owned(), Value::from(time::seconds(now)));
        if metadata::has_generation(kind) {
            meta.insert("generation".to_owned(), Value::from(1));
        }
        if kind.status
            && let Some(map) = object.as_object_mut()
            && kind.key != "apiextensions.k8s.io/customresourcedefinitions"
        {
            map.shift_remove("status");
        }
        admission::default(kind, &mut object);
        self.follow(now, target, None, &mut object, options);
        admission::on_create(self, now, kind, &mut object)?;
        // A name that is taken is said before the object is looked at in detail only when it is valid: as upstream, validation first.
        let errors = admission::validate_create(self, kind, target.version, &object);
        if !errors.is_empty() {
            return Err(Status::invalid(kind, &name, errors));
        }
        if self.store.get(&kind.key, target.namespace, &name).is_some() {
            return Err(Status::already_exists(kind, &name));
        }
        crate::quota::charge(self, now, kind, target.namespace, (None, &object), options.dry_run)?;
        metadata::arrange(&mut object, kind);
        if options.dry_run {
            let value = Arc::new(object);
            return Ok(Written { object: Arc::new(Object::new(kind, EventType::Added, &value)), warnings, created: true });
        }
        let object = self.put(now, kind, object);
        Ok(Written { object, warnings, created: true })
    }

    /// Writes `new` over the stored object, as far as the subresource may change it.
    pub(crate) fn update_to(&mut self, now: Timestamp, target: Target, new: Value, options: &WriteOptions) -> Result<Written, Status> {
        let kind = target.kind;
        let mut new = new;
        let warnings = decode(kind, target.version, &mut new, options)?;
        admission::check_data(kind, &new)?;
        let old = self.existing(kind, target.namespace, target.name)?.clone();
        let before = old.value();
        check_identity(kind, target, &mut new, &old)?;
        restrict(kind, target.subresource, &before, &mut new);
        if let Some(user) = &options.user {
            crate::escalation::check(self, user, kind, target.namespace, Some(&before), &new)?;
        }
        admission::default(kind, &mut new);
        self.follow(now, target, Some(&before), &mut new, options);
        admission::on_update(now, kind, &before, &mut new, target.subresource);
        let meta = metadata::of(&mut new);
        metadata::keep(meta, &before["metadata"]);
        if metadata::has_generation(kind) && target.subresource != Some("status") && metadata::desired_changed(kind, &before, &new) {
            metadata::of(&mut new).insert("generation".to_owned(), Value::from(old.meta.generation + 1));
        }
        let errors = admission::validate_update(self, kind, target.version, &before, &new, target.subresource);
        if !errors.is_empty() {
            return Err(Status::invalid(kind, target.name, errors));
        }
        metadata::arrange(&mut new, kind);
        if metadata::same(&before, &new) {
            return Ok(Written { object: old, warnings, created: false });
        }
        // Of updates only these can need more (the evaluators' Handles).
        if target.subresource.is_none() && matches!(kind.key.as_str(), "services" | "persistentvolumeclaims")
            || target.subresource == Some("resize")
        {
            crate::quota::charge(self, now, kind, target.namespace, (Some(&before), &new), options.dry_run)?;
        }
        if options.dry_run {
            let value = Arc::new(new);
            return Ok(Written { object: Arc::new(Object::new(kind, EventType::Modified, &value)), warnings, created: false });
        }
        let last_finalizer = old.meta.deletion.is_some() && metadata::nothing_holds(kind, &new);
        let object = self.put(now, kind, new);
        if last_finalizer {
            self.take_away(now, kind, target.namespace, target.name);
        }
        Ok(Written { object, warnings, created: false })
    }

    /// Notes whose the fields are that a write sets.
    fn follow(&self, now: Timestamp, target: Target, before: Option<&Value>, new: &mut Value, options: &WriteOptions) {
        let managed = |object: &Value| !object["metadata"]["managedFields"].is_null();
        if options.applied || !(self.tracking || before.is_some_and(managed)) {
            return;
        }
        let api_version = target.kind.api_version_of(target.version);
        let writer = Writer { manager: &options.field_manager, api_version: &api_version, subresource: target.subresource, now };
        fields::updated(&Types::of(target.kind, target.version), before, new, writer, self.tracking);
    }

    /// Sets a namespace's `spec.finalizers`; without any, a namespace that is being deleted is gone.
    pub(crate) fn finalize_namespace(&mut self, now: Timestamp, name: &str, finalizers: Value) -> Result<Arc<Object>, Status> {
        let kind = self.known("namespaces")?;
        let old = self.existing(&kind, "", name)?.clone();
        let mut value = (*old.value()).clone();
        match finalizers {
            Value::Array(list) if !list.is_empty() => value["spec"]["finalizers"] = Value::Array(list),
            _ => {
                value["spec"].as_object_mut().map(|spec| spec.shift_remove("finalizers"));
            }
        }
        metadata::arrange(&mut value, &kind);
        let object = self.put(now, &kind, value);
        if object.meta.deletion.is_some() && metadata::nothing_holds(&kind, &object.value()) {
            self.take_away(now, &kind, "", name);
        }
        Ok(object)
    }

    /// Stores, and lets what depends on the kind follow: a CRD registers its kind, a service takes its address.
    pub(super) fn put(&mut self, now: Timestamp, kind: &Arc<Kind>, object: Value) -> Arc<Object> {
        self.last_write = now;
        let object = self.store.put(kind, object);
        match kind.key.as_str() {
            "apiextensions.k8s.io/customresourcedefinitions" => crate::crd::changed(self, &object),
            "services" => admission::addresses(self, now, &object),
            _ => {}
        }
        object
    }

    pub(super) fn take_away(&mut self, now: Timestamp, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.last_write = now;
        let object = self.store.remove(&kind.key, namespace, name)?;
        match kind.key.as_str() {
            "apiextensions.k8s.io/customresourcedefinitions" => crate::crd::removed(self, &object),
            "services" => admission::free_addresses(self, now, &object),
            _ => {}
        }
        Some(object)
    }

    fn check_namespace(&self, kind: &Kind, namespace: &str, object: &Value) -> Result<(), Status> {
        if !kind.namespaced {
            return Ok(());
        }
        let own = object["metadata"]["namespace"].as_str().unwrap_or_default();
        if !own.is_empty() && own != namespace {
            return Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
        }
        let spaces = self.known("namespaces")?;
        let space = self.existing(&spaces, "", namespace)?;
        if space.meta.deletion.is_some() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            let status = Status::forbidden(kind, name, &why);
            return Err(status.with_cause(
                "NamespaceTerminating",
                format!("namespace {namespace} is being terminated"),
                "metadata.namespace",
            ));
        }
        Ok(())
    }

    /// A name that is taken is drawn again, up to seven times (`k8s.io/apiserver/pkg/registry/generic/registry/store.go`, Create).
    fn generate_name(&mut self, target: Target, meta: &mut Map<String, Value>) {
        let has_name = meta.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        if let Some(base) = meta.get("generateName").and_then(Value::as_str).filter(|base| !base.is_empty() && !has_name) {
            let base: String = base.chars().take(58).collect();
            let mut name = format!("{base}{}", self.chance.suffix());
            for _ in 0..7 {
                if self.store.get(&target.kind.key, target.namespace, &name).is_none() {
                    break;
                }
                name = format!("{base}{}", self.chance.suffix());
            }
            meta.insert("name".to_owned(), Value::from(name));
        }
    }

    /// Five letters for a generated name, from the server's seed.
    pub fn suffix(&mut self) -> String {
        self.chance.suffix()
    }
}

/// Types, quantities, unknown fields. What comes back are warnings.
fn decode(kind: &Kind, version: &str, object: &mut Value, options: &WriteOptions) -> Result<Vec<String>, Status> {
    let handled =
        |why: &str| Status::bad_request(format!("{} in version {version:?} cannot be handled as a {}: {why}", kind.kind, kind.kind));
    let Value::Object(map) = &mut *object else {
        let found = match object {
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) => "bool",
            _ => "null",
        };
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }} ({})",
            kind.kind,
            hex(&object.to_string())
        )));
    };
    check_type(kind, version, map)?;
    let mut unknown = Vec::new();
    if let Some(custom) = kind.custom(version) {
        schema::prune(&custom.schema, object, true, &mut unknown);
        if let (Some(meta), Some(schema)) =
            (object.get_mut("metadata"), schema::built_in("", "v1", "ConfigMap").and_then(|one| one.field("metadata").cloned()))
        {
            let mut below = Vec::new();
            schema::decode(&schema, meta, &mut below).map_err(|why| handled(&why))?;
            unknown.extend(below.into_iter().map(|path| format!("metadata.{path}")));
        }
        schema::fill_defaults(&custom.schema, object);
    } else if let Some(schema) = schema::built_in(&kind.group, version, &kind.kind) {
        schema::decode(&schema, object, &mut unknown).map_err(|why| handled(&why))?;
    }
    let named: Vec<String> = unknown.iter().map(|path| format!("unknown field {}", crate::status::quoted(path))).collect();
    match options.field_validation {
        _ if named.is_empty() => Ok(Vec::new()),
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(named),
        FieldValidation::Strict => Err(handled(&format!("strict decoding error: {}", named.join(", ")))),
    }
}

/// What the object says it is must be what the path is for; what it does not say is filled in.
fn check_type(kind: &Kind, version: &str, map: &mut Map<String, Value>) -> Result<(), Status> {
    let wanted = kind.api_version_of(version);
    let said = |key: &str, default: &str| match map.get(key).unwrap_or(&Value::Null) {
        Value::Null => Ok(default.to_owned()),
        Value::String(text) if text.is_empty() => Ok(default.to_owned()),
        Value::String(text) => Ok(text.clone()),
        other => Err(Status::bad_request(format!(
            "{} in version {version:?} cannot be handled as a {}: json: cannot unmarshal {} into Go struct field {}.{key} of type string",
            kind.kind,
            kind.kind,
            json_kind(other),
            kind.kind
        ))),
    };
    let (api_version, name) = (said("apiVersion", &wanted)?, said("kind", &kind.kind)?);
    if api_version != wanted || name != kind.kind {
        if kind.is_custom() && name == kind.kind {
            let message = format!("the API version in the data ({api_version}) does not match the expected API version ({wanted})");
            return Err(Status::bad_request(message));
        }
        let (group, short) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
        let why = if kind.is_custom() || schema::built_in(group, short, &name).is_some() {
            let home = if kind.group.is_empty() { "core" } else { kind.group.split('.').next().unwrap_or_default() };
            format!("converting ({short}.{name}) to ({home}.{}): unknown conversion", kind.kind)
        } else {
            format!("no kind {name:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\"")
        };
        return Err(Status::bad_request(format!("{name} in version {short:?} cannot be handled as a {}: {why}", kind.kind)));
    }
    map.insert("apiVersion".to_owned(), Value::from(kind.api_version()));
    map.insert("kind".to_owned(), Value::from(kind.kind.clone()));
    Ok(())
}

/// The first bytes of a body, as the decoder's errors show what is no object.
fn hex(text: &str) -> String {
    let shown: String = text.bytes().take(30).map(|byte| format!("{byte:02x}")).collect();
    if text.len() > 30 { format!("{shown} ...") } else { shown }
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Name, uid and resourceVersion of an update must be those of the stored object, where they are given.
fn check_identity(kind: &Kind, target: Target, new: &mut Value, old: &Object) -> Result<(), Status> {
    let meta = metadata::of(new);
    let text = |meta: &Map<String, Value>, key: &str| meta.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text(meta, "name");
    if name.is_empty() {
        meta.insert("name".to_owned(), Value::from(target.name));
    } else if name != target.name {
        return Err(Status::bad_request(format!("the name of the object ({name}) does not match the name on the URL ({})", target.name)));
    }
    let namespace = text(meta, "namespace");
    if kind.namespaced && !namespace.is_empty() && namespace != target.namespace {
        return Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
    }
    let uid = text(meta, "uid");
    if !uid.is_empty() && uid != old.meta.uid {
        let place = if kind.namespaced {
            format!("{}/{}/{}", kind.plural, target.namespace, target.name)
        } else {
            format!("{}/{}", kind.plural, target.name)
        };
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{place}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old.meta.uid
        );
        return Err(Status::conflict(kind, target.name, &why));
    }
    let version = text(meta, "resourceVersion");
    if version.is_empty() || version == "0" {
        if !metadata::unconditional_update(kind) {
            let error = crate::status::FieldError::invalid("metadata.resourceVersion", &Value::from(0), "must be specified for an update");
            return Err(Status::invalid_resource(kind, target.name, error));
        }
    } else if version.parse::<u64>().is_err() {
        return Err(Status::new(500, "", format!("strconv.ParseUint: parsing {}: invalid syntax", crate::status::quoted(&version))));
    } else if version != old.meta.resource_version.to_string() {
        return Err(Status::modified(kind, target.name));
    }
    Ok(())
}

/// Puts back what this (sub)resource may not change.
fn restrict(kind: &Kind, subresource: Option<&str>, old: &Value, new: &mut Value) {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object_mut()) else { return };
    match subresource {
        Some("status") => {
            let status = new.shift_remove("status");
            let meta = new.shift_remove("metadata");
            let mut kept = old.clone();
            match status {
                Some(status) => kept.insert("status".to_owned(), status),
                None => kept.shift_remove("status"),
            };
            // Kubelets may set labels and annotations through `pods/status` and `nodes/status`; elsewhere metadata stays
            // (`pkg/registry/core/{pod,node}/strategy.go`).
            // A Deployment's status takes annotations along, labels not.
            let stays = match kind.key.as_str() {
                "pods" | "nodes" => Some("ownerReferences"),
                "apps/deployments" => Some("labels"),
                _ => None,
            };
            if let (Some(stays), Some(Value::Object(mut meta)), Some(old_meta)) = (stays, meta, old.get("metadata")) {
                match old_meta.get(stays) {
                    Some(value) => meta.insert(stays.to_owned(), value.clone()),
                    None => meta.shift_remove(stays),
                };
                kept.insert("metadata".to_owned(), Value::Object(meta));
            }
            *new = kept;
        }
        _ if kind.status => {
            match old.get("status") {
                Some(status) => new.insert("status".to_owned(), status.clone()),
                None => new.shift_remove("status"),
            };
        }
        _ => {}
    }
}
