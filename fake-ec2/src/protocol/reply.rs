//! Outputs and errors to responses, in the protocol that the client speaks.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value};

use super::{AwsError, fit, json, xml};
use crate::model::{Kind, Model, Operation, Protocol, Service, Shape};

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    pub protocol: Protocol,
    /// The client asked for the query protocol's error codes beside JSON's (`x-amzn-query-mode: true`).
    pub query_mode: bool,
}

impl Dialect {
    /// The dialect of a client of a service that is not here.
    #[must_use]
    pub fn of_stranger(self, name: &str) -> Self {
        let protocol = if REST_JSON.contains(&name) { Protocol::RestJson } else { self.protocol };
        Self { protocol, ..self }
    }

    /// The dialect of a request to a service, or of one that names no service.
    pub fn of<B>(service: Option<Service>, request: &http::Request<B>) -> Self {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let query_mode = header("x-amzn-query-mode").eq_ignore_ascii_case("true");
        let speaks_json = header("content-type").contains("json") || request.headers().contains_key("x-amz-target");
        let protocol = match service.map(Service::model) {
            // A service that spoke the query protocol once still does to clients that send no JSON.
            Some(model) if model.query_compatible && !speaks_json => Protocol::Query,
            Some(model) => model.protocol,
            None if speaks_json => Protocol::Json,
            None => Protocol::Query,
        };
        Self { protocol, query_mode }
    }
}

/// Services, by their signing names, whose clients read JSON though nothing in a request says so: the `restJson1` ones of botocore's models that
/// tools around a cluster call.
const REST_JSON: [&str; 22] = [
    "access-analyzer",
    "apigateway",
    "appconfig",
    "appmesh",
    "aps",
    "backup",
    "batch",
    "elasticfilesystem",
    "emr-containers",
    "fis",
    "glacier",
    "grafana",
    "guardduty",
    "kafka",
    "lambda",
    "pipes",
    "ram",
    "resource-explorer-2",
    "resource-groups",
    "scheduler",
    "vpc-lattice",
    "xray",
];

/// The response to a call that went well. An output that does not fit the model is a mistake of ours and becomes a loud `InternalError`.
pub fn success(service: Service, dialect: Dialect, operation: &Operation, request_id: &str, output: &Value) -> Response<Bytes> {
    let model = service.model();
    if let Some(shape) = operation.output {
        let misfits = fit::misfits(model, shape, output);
        if let Some(first) = misfits.first() {
            let message = format!("The reply of {} does not fit its model: {first}", operation.name);
            return failure(Some(service), dialect, request_id, &AwsError::new("InternalError", message));
        }
    }
    let body = match dialect.protocol {
        Protocol::Ec2 => ec2_body(model, operation, request_id, output),
        Protocol::Query => query_body(model, operation, request_id, output),
        Protocol::Json | Protocol::RestJson => match operation.output {
            Some(shape) => json::write(model, shape, output).to_string(),
            None => String::new(),
        },
    };
    respond(operation.status, Some(model), dialect, request_id, body)
}

fn ec2_body(model: &Model, operation: &Operation, request_id: &str, output: &Value) -> String {
    // Most lists say `item` in the model; those that say nothing are lists of `member`, and Go's SDK reads nothing else.
    let mut writer = xml::Writer::new(model, "member", true, xml::size(output));
    let root = format!("{}Response", operation.name);
    writer.open_in(&root, &ec2_namespace(model));
    writer.text("requestId", request_id);
    match operation.output {
        Some(shape) => writer.members(shape, output),
        // What EC2 says where its model says nothing.
        None => writer.text("return", "true"),
    }
    writer.close(&root);
    writer.finish()
}

/// The members of a structure deep in an operation's output, as EC2 writes them; a reply may hold the text in the structure's place.
/// Nothing if the value does not fit. `path` leads there by member names, through lists.
pub fn fragment(service: Service, operation: &str, path: &[&str], value: &Value) -> Option<String> {
    let model = service.model();
    let mut shape = model.operations.get(operation)?.output?;
    for name in path {
        let Kind::Structure(members) = &model.shape(shape).kind else { return None };
        shape = members.iter().find(|member| member.name == *name)?.shape;
        while let Kind::List { member, .. } = &model.shape(shape).kind {
            shape = member.shape;
        }
    }
    if !fit::misfits(model, shape, value).is_empty() {
        return None;
    }
    let mut writer = xml::Writer::part(model, "member", true);
    writer.members(shape, value);
    Some(writer.finish())
}

/// EC2's namespace ends in a slash on the wire and not in the model.
fn ec2_namespace(model: &Model) -> String {
    format!("{}/", model.namespace.unwrap_or_default().trim_end_matches('/'))
}

fn query_body(model: &Model, operation: &Operation, request_id: &str, output: &Value) -> String {
    let millis = model.service == Service::AutoScaling;
    let mut writer = xml::Writer::new(model, "member", millis, xml::size(output));
    let root = format!("{}Response", operation.name);
    writer.open_in(&root, model.namespace.unwrap_or_default());
    if let Some(shape) = operation.output {
        let result = operation.result_wrapper.map_or_else(|| format!("{}Result", operation.name), str::to_owned);
        writer.open(&result);
        writer.members(shape, output);
        writer.close(&result);
    }
    writer.open("ResponseMetadata");
    writer.text("RequestId", request_id);
    writer.close("ResponseMetadata");
    writer.close(&root);
    writer.finish()
}

/// The response to a call that failed, or to a request that is no call.
pub fn failure(service: Option<Service>, dialect: Dialect, request_id: &str, error: &AwsError) -> Response<Bytes> {
    let model = service.map(Service::model);
    let shape = model.and_then(|model| model.error_shape(&error.code));
    let status = status(dialect, shape, error);
    let body = match dialect.protocol {
        Protocol::Ec2 => ec2_error(request_id, error),
        Protocol::Query => query_error(model, shape, status, request_id, error),
        Protocol::Json => json_error(model, shape, error, true),
        Protocol::RestJson => json_error(model, shape, error, false),
    };
    let mut response = respond(status, model, dialect, request_id, body);
    if dialect.protocol == Protocol::RestJson {
        insert(&mut response, "x-amzn-errortype", json_code(shape, error));
    }
    if dialect.protocol == Protocol::Json && dialect.query_mode && model.is_some_and(|model| model.query_compatible) {
        insert(&mut response, "x-amzn-query-error", &format!("{};{}", query_code(shape, error), blame(status)));
    }
    response
}

/// The table of codes is silent on what the model declares, and JSON's services say 400 to all that is the client's fault: not found and
/// conflict are for REST and the query protocol.
fn status(dialect: Dialect, shape: Option<&Shape>, error: &AwsError) -> u16 {
    match (shape.and_then(|shape| shape.error.status), error.status) {
        (Some(declared), 400) => declared,
        (None, 404 | 409) if dialect.protocol == Protocol::Json => 400,
        (_, status) => status,
    }
}

fn ec2_error(request_id: &str, error: &AwsError) -> String {
    let (code, message, id) = (xml::escaped(&error.code), xml::escaped(&error.message), xml::escaped(request_id));
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    format!(
        "{head}<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>{id}</RequestID></Response>"
    )
}

fn query_error(model: Option<&Model>, shape: Option<&Shape>, status: u16, request_id: &str, error: &AwsError) -> String {
    let (code, message, id) = (xml::escaped(query_code(shape, error)), xml::escaped(&error.message), xml::escaped(request_id));
    let blame = blame(status);
    let namespace = model.and_then(|model| model.namespace).map(|name| format!(" xmlns=\"{name}\"")).unwrap_or_default();
    let body = format!("<Error><Type>{blame}</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>{id}</RequestId>");
    format!("<ErrorResponse{namespace}>{body}</ErrorResponse>")
}

fn json_error(model: Option<&Model>, shape: Option<&Shape>, error: &AwsError, typed: bool) -> String {
    let mut body = Map::new();
    let code = json_code(shape, error);
    if typed {
        let namespace = model.filter(|model| model.service == Service::Sqs && shape.is_some()).map_or("", |_| "com.amazonaws.sqs#");
        body.insert("__type".into(), Value::from(format!("{namespace}{code}")));
    }
    let member = match shape.map(|shape| &shape.kind) {
        Some(Kind::Structure(members)) => members.iter().map(|member| member.name).find(|name| name.eq_ignore_ascii_case("message")),
        _ => None,
    };
    body.insert(member.unwrap_or("message").into(), Value::from(error.message.clone()));
    Value::Object(body).to_string()
}

/// JSON calls an error by its shape.
fn json_code<'a>(shape: Option<&'a Shape>, error: &'a AwsError) -> &'a str {
    shape.map_or(error.code.as_str(), |shape| shape.name)
}

/// The query protocol calls an error by its code.
fn query_code<'a>(shape: Option<&'a Shape>, error: &'a AwsError) -> &'a str {
    let declared = || shape.and_then(|shape| shape.error.code).unwrap_or(&error.code);
    error.query_code.as_deref().unwrap_or_else(declared)
}

fn blame(status: u16) -> &'static str {
    if status < 500 { "Sender" } else { "Receiver" }
}

fn respond(status: u16, model: Option<&Model>, dialect: Dialect, request_id: &str, body: String) -> Response<Bytes> {
    let content_type = match dialect.protocol {
        Protocol::Ec2 => "text/xml;charset=UTF-8",
        Protocol::Query => "text/xml",
        Protocol::Json if model.is_some_and(|model| model.json_version == "1.0") => "application/x-amz-json-1.0",
        Protocol::Json => "application/x-amz-json-1.1",
        Protocol::RestJson => "application/json",
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    insert(&mut response, "content-type", content_type);
    insert(&mut response, "x-amzn-requestid", request_id);
    response
}

/// Adds a header; one that HTTP cannot carry is left out.
fn insert(response: &mut Response<Bytes>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
