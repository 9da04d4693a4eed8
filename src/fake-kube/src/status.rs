//! The API's errors: `metav1.Status`, word for word as kube-apiserver says them.
//!
//! Source: `k8s.io/apimachinery/pkg/api/errors/errors.go`, `pkg/util/validation/field/errors.go`.

use serde_json::{Value, json};

use crate::kinds::Kind;

/// A refusal. What a client gets as `kind: Status`, with `code` as the HTTP status.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Box<Details>>,
}

/// `status.details`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Details {
    pub name: String,
    pub group: String,
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: u32,
}

/// One reason, one field: `status.details.causes`.
#[derive(Clone, PartialEq, Debug)]
pub struct Cause {
    pub reason: &'static str,
    pub message: String,
    pub field: String,
}

impl Status {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
        Status { code, reason, message: message.into(), details: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    pub fn not_found(kind: &Kind, name: &str) -> Status {
        Status::new(404, "NotFound", format!("{} {name:?} not found", kind.resource())).about(kind, name)
    }

    /// A path that no resource serves.
    pub fn no_such_resource() -> Status {
        Status { details: Some(Box::default()), ..Status::new(404, "NotFound", "the server could not find the requested resource") }
    }

    pub fn already_exists(kind: &Kind, name: &str) -> Status {
        Status::new(409, "AlreadyExists", format!("{} {name:?} already exists", kind.resource())).about(kind, name)
    }

    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Status {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.resource());
        Status::new(409, "Conflict", message).about(kind, name)
    }

    /// The conflict of optimistic locking.
    pub fn modified(kind: &Kind, name: &str) -> Status {
        Status::conflict(kind, name, "the object has been modified; please apply your changes to the latest version and try again")
    }

    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Status {
        let resource = kind.resource();
        let message =
            if name.is_empty() { format!("{resource} is forbidden: {why}") } else { format!("{resource} {name:?} is forbidden: {why}") };
        Status::new(403, "Forbidden", message).about(kind, name)
    }

    /// 422 with one cause per field error; its name is the kind's, not the resource's.
    pub fn invalid(kind: &Kind, name: &str, errors: Vec<FieldError>) -> Status {
        // The message says each error once, the causes as often as they were found.
        let mut listed: Vec<String> = Vec::with_capacity(errors.len());
        for error in errors.iter().map(ToString::to_string) {
            if !listed.contains(&error) {
                listed.push(error);
            }
        }
        let why = match listed.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} {name:?} is invalid: {why}", kind.qualified_kind());
        let causes = errors.into_iter().map(FieldError::cause).collect();
        let details = Details { name: name.to_owned(), group: kind.group.clone(), kind: kind.kind.clone(), causes, ..Details::default() };
        Status { details: Some(Box::new(details)), ..Status::new(422, "Invalid", message) }
    }

    /// What is wrong with the options of a request; `kind` is `ListOptions`, `DeleteOptions`, …
    pub fn invalid_options(kind: &str, error: FieldError) -> Status {
        Status::invalid_options_all(kind, vec![error])
    }

    pub(crate) fn invalid_options_all(kind: &str, errors: Vec<FieldError>) -> Status {
        let listed: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let why = if let [one] = listed.as_slice() { one.clone() } else { format!("[{}]", listed.join(", ")) };
        let message = format!("{kind}.meta.k8s.io \"\" is invalid: {why}");
        let causes = errors.into_iter().map(FieldError::cause).collect();
        let details = Details { group: "meta.k8s.io".to_owned(), kind: kind.to_owned(), causes, ..Details::default() };
        Status { details: Some(Box::new(details)), ..Status::new(422, "Invalid", message) }
    }

    /// As [`Status::invalid`], named after the resource.
    pub(crate) fn invalid_resource(kind: &Kind, name: &str, error: FieldError) -> Status {
        let mut status = Status::invalid(kind, name, vec![error.clone()]);
        status.message = format!("{} {name:?} is invalid: {error}", kind.resource());
        if let Some(details) = &mut status.details {
            details.kind = kind.plural.clone();
        }
        status
    }

    pub fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource";
        Status { details: Some(Box::default()), ..Status::new(405, "MethodNotAllowed", message) }
    }

    pub fn unsupported_media_type(accepted: &str) -> Status {
        let message = format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Status::new(415, "UnsupportedMediaType", message)
    }

    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(410, "Expired", message)
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        let details = Details { retry_after_seconds, ..Details::default() };
        Status { details: Some(Box::new(details)), ..Status::new(429, "TooManyRequests", message) }
    }

    pub fn internal(message: impl std::fmt::Display) -> Status {
        let message = format!("Internal error occurred: {message}");
        Status::new(500, "InternalError", message)
    }

    fn about(mut self, kind: &Kind, name: &str) -> Status {
        self.details =
            Some(Box::new(Details { name: name.to_owned(), group: kind.group.clone(), kind: kind.plural.clone(), ..Details::default() }));
        self
    }

    /// The same, of a resource that may not be known.
    pub(crate) fn of_resource(mut self, group: &str, plural: &str, name: &str) -> Status {
        self.details =
            Some(Box::new(Details { name: name.to_owned(), group: group.to_owned(), kind: plural.to_owned(), ..Details::default() }));
        self
    }

    pub(crate) fn with_cause(mut self, reason: &'static str, message: impl Into<String>, field: &str) -> Status {
        let cause = Cause { reason, message: message.into(), field: field.to_owned() };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    pub fn is_not_found(&self) -> bool {
        self.reason == "NotFound"
    }

    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    /// As on the wire.
    pub fn to_value(&self) -> Value {
        let mut value = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
        });
        if !self.reason.is_empty() {
            value["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            value["details"] = details.to_value();
        }
        value["code"] = json!(self.code);
        value
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut map = serde_json::Map::new();
        let texts = [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)];
        for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            map.insert(key.to_owned(), json!(text));
        }
        if !self.causes.is_empty() {
            map.insert("causes".to_owned(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_seconds > 0 {
            map.insert("retryAfterSeconds".to_owned(), json!(self.retry_after_seconds));
        }
        Value::Object(map)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut map = serde_json::Map::new();
        for (key, text) in [("reason", self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                map.insert(key.to_owned(), json!(text));
            }
        }
        Value::Object(map)
    }
}

/// What is wrong with one field.
#[derive(Clone, PartialEq, Debug)]
pub struct FieldError {
    pub field: String,
    pub kind: FieldErrorKind,
    /// What the message shows of the value; already rendered.
    pub value: Option<String>,
    pub detail: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldErrorKind {
    Required,
    Invalid,
    TypeInvalid,
    NotSupported,
    Duplicate,
    Forbidden,
    TooLong,
    TooMany,
    NotFound,
}

impl FieldErrorKind {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            FieldErrorKind::Required => ("FieldValueRequired", "Required value"),
            FieldErrorKind::Invalid => ("FieldValueInvalid", "Invalid value"),
            FieldErrorKind::TypeInvalid => ("FieldValueTypeInvalid", "Invalid value"),
            FieldErrorKind::NotSupported => ("FieldValueNotSupported", "Unsupported value"),
            FieldErrorKind::Duplicate => ("FieldValueDuplicate", "Duplicate value"),
            FieldErrorKind::Forbidden => ("FieldValueForbidden", "Forbidden"),
            FieldErrorKind::TooLong => ("FieldValueTooLong", "Too long"),
            FieldErrorKind::TooMany => ("FieldValueTooMany", "Too many"),
            FieldErrorKind::NotFound => ("FieldValueNotFound", "Not found"),
        }
    }
}

impl FieldError {
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), kind: FieldErrorKind::Required, value: None, detail: detail.into() }
    }

    pub fn invalid(field: impl Into<String>, value: &Value, detail: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), kind: FieldErrorKind::Invalid, value: Some(shown(value)), detail: detail.into() }
    }

    pub fn of_type(field: impl Into<String>, value: &Value, detail: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), kind: FieldErrorKind::TypeInvalid, value: Some(shown(value)), detail: detail.into() }
    }

    /// A rule that could not be evaluated, shown with the type that it was for.
    pub(crate) fn of_rule(field: impl Into<String>, type_name: &str, detail: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), kind: FieldErrorKind::Invalid, value: Some(quoted(type_name)), detail: detail.into() }
    }

    /// A value that is not shown.
    pub fn invalid_unshown(field: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), kind: FieldErrorKind::Invalid, value: None, detail: detail.into() }
    }

    /// `supported` is listed in the order given, quoted.
    pub fn unsupported<T: AsRef<str>>(field: impl Into<String>, value: &Value, supported: &[T]) -> FieldError {
        let listed: Vec<String> = supported.iter().map(|one| quoted(one.as_ref())).collect();
        let detail = if listed.is_empty() { String::new() } else { format!("supported values: {}", listed.join(", ")) };
        FieldError { field: field.into(), kind: FieldErrorKind::NotSupported, value: Some(shown(value)), detail }
    }

    pub fn duplicate(field: impl Into<String>, value: &Value) -> FieldError {
        FieldError { field: field.into(), kind: FieldErrorKind::Duplicate, value: Some(shown(value)), detail: String::new() }
    }

    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), kind: FieldErrorKind::Forbidden, value: None, detail: detail.into() }
    }

    pub fn too_long(field: impl Into<String>, most: u64) -> FieldError {
        let unit = if most == 1 { "byte" } else { "bytes" };
        FieldError {
            field: field.into(),
            kind: FieldErrorKind::TooLong,
            value: None,
            detail: format!("may not be more than {most} {unit}"),
        }
    }

    pub fn too_many(field: impl Into<String>, actual: usize, most: u64) -> FieldError {
        let unit = if most == 1 { "item" } else { "items" };
        let detail = format!("must have at most {most} {unit}");
        FieldError { field: field.into(), kind: FieldErrorKind::TooMany, value: Some(actual.to_string()), detail }
    }

    fn body(&self) -> String {
        let (_, words) = self.kind.words();
        let mut text = words.to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    pub(crate) fn cause(self) -> Cause {
        Cause { reason: self.kind.words().0, message: self.body(), field: self.field }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// A value as `field.Error` prints it: strings quoted, scalars bare, the rest as JSON.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Null => "null".to_owned(),
        other => other.to_string(),
    }
}

/// Go's `%q`.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
