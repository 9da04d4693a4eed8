//! A request to a call's input, whatever its protocol.

use serde_json::{Map, Value};

use super::rest::{self, Found};
use super::{Dialect, Form, Malformed, json, query};
use crate::config::Limits;
use crate::model::{Model, Operation, Protocol, Service};

/// A request, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub operation: &'static str,
    /// By member names; see [`Call::input`](super::Call::input).
    pub input: Map<String, Value>,
    pub unknown: Vec<String>,
}

/// The parts of a form that are not the operation's: SigV4's when presigned, and what older signatures sent.
const NOT_PARAMETERS: [&str; 9] =
    ["Action", "Version", "AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp", "SecurityToken", "Expires"];

/// Reads a request of a service that is known already. `form` is the query string and, for forms, the body.
pub fn parse(
    service: Service,
    dialect: Dialect,
    request: &http::Request<bytes::Bytes>,
    form: &Form,
    limits: &Limits,
) -> Result<Parsed, Malformed> {
    let model = service.model();
    match dialect.protocol {
        Protocol::Ec2 | Protocol::Query => of_form(model, dialect.protocol, request, form, limits),
        Protocol::Json => of_json(model, request, limits),
        Protocol::RestJson => of_rest(model, request, form, limits),
    }
}

fn of_form(
    model: &'static Model,
    protocol: Protocol,
    request: &http::Request<bytes::Bytes>,
    form: &Form,
    limits: &Limits,
) -> Result<Parsed, Malformed> {
    let operation = operation(model, form.get("Action").filter(|name| !name.is_empty()).ok_or(Malformed::NoAction)?)?;
    let signing = |name: &str| name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"));
    let own = || form.pairs().iter().filter(|(name, _)| !NOT_PARAMETERS.contains(&name.as_str()) && !signing(name));
    let unaddressed = model.service == Service::Sqs && form.get("QueueUrl").is_none();
    let addressed = queue_url(request).filter(|_| unaddressed).map(|url| ("QueueUrl".to_owned(), url));
    let tree = Form::tree(own().chain(&addressed), limits)?;
    let mut reader = query::Reader::new(model, protocol);
    let input = match operation.input {
        Some(shape) => reader.structure(shape, &tree, &query::Path::ROOT)?,
        None => Map::new(),
    };
    let mut unknown = reader.unknown;
    if operation.input.is_none() {
        unknown.extend(own().map(|(name, _)| name.clone()));
    }
    // SQS's clients of the query age send the queue's address as the request's; operations without one have no such member.
    unknown.retain(|name| !(model.service == Service::Sqs && name == "QueueUrl"));
    Ok(Parsed { operation: operation.name, input, unknown })
}

/// The queue that a request of the query age is sent to: `/123456789012/name`.
fn queue_url(request: &http::Request<bytes::Bytes>) -> Option<String> {
    let path = request.uri().path();
    let (account, name) = path.trim_matches('/').split_once('/')?;
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) || name.is_empty() {
        return None;
    }
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("sqs");
    let scheme = request.uri().scheme_str().unwrap_or("http");
    Some(format!("{scheme}://{host}{path}"))
}

fn of_json(model: &'static Model, request: &http::Request<bytes::Bytes>, limits: &Limits) -> Result<Parsed, Malformed> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).ok_or(Malformed::NoAction)?;
    let name = match target.split_once('.') {
        Some((prefix, name)) if Some(prefix) == model.target_prefix => name,
        _ => return Err(Malformed::NoSuchOperation(target.to_owned())),
    };
    let operation = operation(model, name)?;
    let mut reader = json::Reader::new(model, limits);
    let input = reader.body(operation.input, request.body())?;
    let unknown = reader.unknown;
    checked(model, operation, input, unknown)
}

fn of_rest(model: &'static Model, request: &http::Request<bytes::Bytes>, form: &Form, limits: &Limits) -> Result<Parsed, Malformed> {
    let (operation, labels) = match rest::find(model, request) {
        Some(Found::Served(operation, labels)) => (operation, labels),
        Some(Found::Other(name)) => return Err(Malformed::NotDone(name.to_owned())),
        None => {
            return Err(Malformed::NoSuchOperation(format!("{} {}", request.method(), request.uri().path())));
        }
    };
    let mut reader = json::Reader::new(model, limits);
    let mut input = reader.body(operation.input, request.body())?;
    rest::fill(model, operation, &labels, form, &mut input)?;
    let unknown = reader.unknown;
    checked(model, operation, input, unknown)
}

fn checked(model: &Model, operation: &Operation, input: Map<String, Value>, unknown: Vec<String>) -> Result<Parsed, Malformed> {
    let input = Value::Object(input);
    if let Some(shape) = operation.input {
        json::require(model, shape, &input, "")?;
    }
    let Value::Object(input) = input else {
        return Err(Malformed::NoAction);
    };
    Ok(Parsed { operation: operation.name, input, unknown })
}

fn operation(model: &'static Model, name: &str) -> Result<&'static Operation, Malformed> {
    model.operations.get(name).ok_or_else(|| {
        if model.others.contains_key(name) { Malformed::NotDone(name.to_owned()) } else { Malformed::NoSuchOperation(name.to_owned()) }
    })
}
