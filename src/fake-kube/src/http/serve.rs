//! One request to one answer.

use bytes::Bytes;
use http::{Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::media::{self, Form};
use super::query::Query;
use super::route::{Resource, Route, route};
use super::{discovery, metrics, openapi, reviews, watch};
use crate::api::{Api, WriteOptions};
use crate::auth::Asks;
use crate::kinds::Kind;
use crate::kube::{Request, Response};
use crate::protobuf;
use crate::status::Status;
use crate::store::write_json;

/// What a request gets: a reply, or a stream.
pub(crate) enum Answer {
    Reply(Response),
    Watch(Box<watch::Watcher>),
}

/// What the server says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) version: String,
}

/// Bodies above this are refused (`--max-request-bytes`, 3 MiB).
const MOST_BYTES: usize = 3 * 1024 * 1024;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A request, taken apart.
pub(crate) struct Asked<'a> {
    pub(crate) now: Timestamp,
    pub(crate) user: crate::User,
    pub(crate) method: &'a Method,
    pub(crate) query: Query,
    pub(crate) form: Form,
    pub(crate) content_type: String,
    /// `User-Agent`.
    pub(crate) agent: String,
    pub(crate) body: &'a Bytes,
}

impl Server {
    pub(crate) fn serve(&self, api: &mut Api, now: Timestamp, request: &Request) -> Answer {
        self.answer(api, now, request).unwrap_or_else(|status| Answer::Reply(refused(&status)))
    }

    fn answer(&self, api: &mut Api, now: Timestamp, request: &Request) -> Result<Answer, Status> {
        let user = api.auth().who(api, now, request.headers())?;
        let watching = Query::parse(request.uri().query().unwrap_or_default()).flag("watch");
        api.auth().require(api, &user, &asks(request.method(), request.uri().path(), watching))?;
        if request.uri().path() == "/openapi/v2" {
            return Ok(Answer::Reply(openapi::second(request.headers())));
        }
        let form = media::form(request.headers())?;
        if request.body().len() > MOST_BYTES {
            return Err(too_large());
        }
        let header =
            |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let asked = Asked {
            now,
            user,
            method: request.method(),
            query: Query::parse(request.uri().query().unwrap_or_default()),
            form,
            content_type: header(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
            agent: header(header::USER_AGENT),
            body: request.body(),
        };
        let get = *asked.method == Method::GET;
        let path = request.uri().path();
        if let Some(answer) = metrics::answer(api, path, &asked) {
            return answer.map(Answer::Reply);
        }
        // A group that does not exist is no path of the server at all.
        if let Some(group) = path.strip_prefix("/apis/").and_then(|rest| rest.split('/').next()).filter(|group| !group.is_empty())
            && !discovery::has_group(api.store(), group)
        {
            return Ok(Answer::Reply(text_reply(StatusCode::NOT_FOUND, "404 page not found\n")));
        }
        match route(api.store(), path)? {
            Route::Other(path) => Ok(Answer::Reply(self.other(api, &path))),
            Route::Core if get => Ok(Answer::Reply(discovery::core(api.store(), form))),
            Route::Groups if get => Ok(Answer::Reply(discovery::groups(api.store(), form, api.usage().at.is_some()))),
            Route::Group(group) if get => discovery::group(api.store(), &group).map(Answer::Reply),
            Route::Version { group, version } if get => discovery::version(api.store(), &group, &version).map(Answer::Reply),
            Route::Resource(resource) => {
                let mut answer = self.resource(api, now, &resource, &asked)?;
                if let (Some(said), Answer::Reply(reply)) = (on_its_way_out(&resource), &mut answer) {
                    warn(reply, &said);
                }
                Ok(answer)
            }
            Route::Virtual { group, plural, namespace } => {
                reviews::answer(api, now, &asked, &group, &plural, &namespace).map(Answer::Reply)
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    fn other(&self, api: &Api, path: &str) -> Response {
        match path {
            "/version" | "/version/" => json_reply(StatusCode::OK, &self.version()),
            "/healthz" | "/livez" | "/readyz" | "/healthz/ping" => text_reply(StatusCode::OK, "ok"),
            "/" => json_reply(StatusCode::OK, &json!({ "paths": discovery::paths(api.store()) })),
            "/openapi/v3" => json_reply(StatusCode::OK, &openapi::index(api.store())),
            "/.well-known/openid-configuration" => text_reply(StatusCode::NOT_FOUND, "404 page not found\n"),
            path => match path.strip_prefix("/openapi/v3/").and_then(|path| openapi::document(api.store(), path)) {
                Some(document) => json_reply(StatusCode::OK, &document),
                None => text_reply(StatusCode::NOT_FOUND, "404 page not found\n"),
            },
        }
    }

    fn version(&self) -> Value {
        let mut numbers = self.version.split('.');
        let (major, minor) = (numbers.next().unwrap_or("1"), numbers.next().unwrap_or("0"));
        let lower = minor.parse::<u32>().map_or(0, |minor| minor.saturating_sub(1)).to_string();
        json!({
            "major": major, "minor": minor, "emulationMajor": major, "emulationMinor": minor, "minCompatibilityMajor": major,
            "minCompatibilityMinor": lower, "gitVersion": format!("v{}", self.version), "gitCommit": "", "gitTreeState": "",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
        })
    }

    fn resource(&self, api: &mut Api, now: Timestamp, resource: &Resource, asked: &Asked) -> Result<Answer, Status> {
        let reply = |result: Result<Response, Status>| result.map(Answer::Reply);
        // What has a name is got, whatever the query says; the path of old watches it.
        let watching = resource.watch || asked.query.flag("watch") && resource.name.is_none();
        match (asked.method.as_str(), &resource.name, &resource.subresource) {
            ("GET", name, None) if watching => {
                watch::Watcher::open(api, now, resource, asked, name.as_deref()).map(|watcher| Answer::Watch(Box::new(watcher)))
            }
            ("GET", None, None) => reply(api.list(resource, asked)),
            ("GET" | "HEAD", Some(name), None) => reply(api.get(resource, asked, name)),
            ("GET", Some(name), Some(subresource)) => reply(api.get_subresource(resource, asked, name, subresource)),
            ("POST", None, None) => reply(api.post(now, resource, asked)),
            ("PUT", Some(name), subresource) => reply(api.replace(now, resource, asked, name, subresource.as_deref())),
            ("PATCH", Some(name), subresource) => reply(api.patch(now, resource, asked, name, subresource.as_deref())),
            ("DELETE", Some(name), None) => reply(api.remove(now, resource, asked, name)),
            ("DELETE", None, None) => reply(api.remove_all(now, resource, asked)),
            ("POST", Some(name), Some(subresource)) => reply(api.post_subresource(now, resource, asked, name, subresource)),
            _ => Err(Status::method_not_allowed()),
        }
    }
}

/// What is said of a version that goes (`apiextensions-apiserver/pkg/apiserver/customresource_handler.go`,
/// `pkg/apis/core/v1/zz_generated.prerelease-lifecycle.go`).
fn on_its_way_out(resource: &Resource) -> Option<String> {
    if resource.kind.key == "endpoints" {
        return Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned());
    }
    resource.kind.custom(&resource.version)?.deprecated.clone()
}

/// A `Warning` header, which kubectl shows.
pub(crate) fn warn(reply: &mut Response, text: &str) {
    let text: String = text.chars().flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] }).collect();
    if let Ok(value) = header::HeaderValue::from_str(&format!("299 - \"{text}\"")) {
        reply.headers_mut().append(header::WARNING, value);
    }
}

/// What a path and a method mean to an authorizer (`endpoints/request/requestinfo.go`).
fn asks<'a>(method: &Method, path: &'a str, watching: bool) -> Asks<'a> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, mut rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => ("", &[][..]),
    };
    let mut old_watch = false;
    if let ["watch", more @ ..] = rest {
        (old_watch, rest) = (true, more);
    }
    let mut namespace = "";
    if let ["namespaces", name, more @ ..] = rest {
        namespace = *name;
        if !(more.is_empty() || group.is_empty() && matches!(more[0], "status" | "finalize")) {
            rest = more;
        }
    }
    let Some(plural) = rest.first() else {
        let verb = match method.as_str() {
            "GET" => "get",
            "HEAD" => "head",
            "POST" => "post",
            "PUT" => "put",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "options",
        };
        return Asks { verb, path, ..Asks::default() };
    };
    let name = rest.get(1).copied().unwrap_or_default();
    let verb = match (method.as_str(), name.is_empty()) {
        ("GET" | "HEAD", _) if old_watch || watching => "watch",
        ("GET" | "HEAD", true) => "list",
        ("GET" | "HEAD", false) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "deletecollection",
        ("DELETE", false) => "delete",
        _ => "",
    };
    let resource = rest.get(2).map_or_else(|| (*plural).to_owned(), |sub| format!("{plural}/{sub}"));
    Asks { verb, group, resource, namespace, name, path }
}

impl Asked<'_> {
    /// Whoever names no field manager goes by the first part of the user agent (`prefixFromUserAgent`).
    pub(crate) fn write_options(&self) -> Result<WriteOptions, Status> {
        let kind = match *self.method {
            Method::POST => "CreateOptions",
            Method::PATCH => "PatchOptions",
            _ => "UpdateOptions",
        };
        let mut options = self.query.write_options(kind)?;
        options.user = Some(self.user.clone());
        if options.field_manager.is_empty() {
            const LONGEST: usize = 128;
            let name = self.agent.split('/').next().unwrap_or_default();
            options.field_manager = name.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
        }
        Ok(options)
    }

    /// The body as an object of a kind, or as what may be sent for one: a Scale.
    pub(crate) fn value_of(&self, kind: &Kind, version: &str) -> Result<Value, Status> {
        if self.content_type == PROTOBUF {
            return self.protobuf_of(kind, version);
        }
        self.value().map_err(|status| match status.message.strip_prefix("couldn't get") {
            Some(rest) => {
                let text = String::from_utf8_lossy(self.body);
                let shown: String = if text.is_empty() { "<empty>".to_owned() } else { text.chars().take(30).collect() };
                let more = if text.chars().count() > 30 { " ..." } else { "" };
                Status::bad_request(format!(
                    "the object provided is unrecognized (must be of type {}): couldn't get{rest} ({shown}{more})",
                    kind.kind
                ))
            }
            None => status,
        })
    }

    fn protobuf_of(&self, kind: &Kind, version: &str) -> Result<Value, Status> {
        if kind.is_custom() {
            return Err(Status::unsupported_media_type("application/json, application/yaml"));
        }
        self.protobuf(&kind.api_version_of(version), &kind.kind)
    }

    fn protobuf(&self, api_version: &str, kind: &str) -> Result<Value, Status> {
        let expected = protobuf::Expected { api_version, kind };
        protobuf::read(self.body, Some(expected)).map_err(|failure| match &failure.said {
            _ if failure.too_large => too_large(),
            Some((said, name)) => {
                let said = said.rsplit('/').next().unwrap_or(said);
                Status::bad_request(format!("{name} in version {said:?} cannot be handled as a {kind}: {}", failure.why))
            }
            None => {
                let shown = summary(self.body);
                Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {} ({shown})", failure.why))
            }
        })
    }

    /// The body of a request that takes a kind of its own: an Eviction, a review.
    pub(crate) fn value_as(&self, api_version: &str, kind: &str) -> Result<Value, Status> {
        if self.content_type == PROTOBUF { self.protobuf(api_version, kind) } else { self.value() }
    }

    /// The body, of no particular kind.
    pub(crate) fn value(&self) -> Result<Value, Status> {
        match self.content_type.as_str() {
            PROTOBUF => protobuf::read(self.body, None)
                .map_err(|failure| if failure.too_large { too_large() } else { Status::bad_request(failure.why) }),
            "application/json" | "" | "application/x-www-form-urlencoded" => parse_json(self.body),
            "application/yaml" | "application/x-yaml" | "text/yaml" => parse_yaml(self.body),
            _ => Err(Status::unsupported_media_type("application/json, application/yaml, application/vnd.kubernetes.protobuf")),
        }
    }
}

fn too_large() -> Status {
    Status::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {MOST_BYTES}"))
}

/// The first bytes of a body, as errors show them (`summarizeData` in `endpoints/handlers/rest.go`).
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let head = &body[..body.len().min(SHOWN)];
    let more = if body.len() > SHOWN { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => head.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + more,
    }
}

pub(crate) fn parse_json(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|error| {
        let why = if body.is_empty() || error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() };
        Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
    })
}

pub(crate) fn parse_yaml(body: &[u8]) -> Result<Value, Status> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body).map_err(|_| Status::bad_request("yaml: invalid UTF-8"))?;
    serde_saphyr::from_str(text).map_err(|error| Status::bad_request(format!("error converting YAML to JSON: yaml: {error}")))
}

pub(crate) fn refused(status: &Status) -> Response {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = json_reply(code, &status.to_value());
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        reply.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    reply
}

pub(crate) fn json_reply(code: StatusCode, value: &Value) -> Response {
    let mut body = Vec::new();
    write_json(&mut body, value);
    bytes_reply(code, body.into())
}

pub(crate) fn bytes_reply(code: StatusCode, body: Bytes) -> Response {
    with_type(code, body, "application/json")
}

pub(crate) fn text_reply(code: StatusCode, body: &'static str) -> Response {
    with_type(code, Bytes::from_static(body.as_bytes()), "text/plain; charset=utf-8")
}

pub(crate) fn with_type(code: StatusCode, body: Bytes, content_type: &'static str) -> Response {
    let mut reply = Response::new(body);
    *reply.status_mut() = code;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, private"));
    reply
}
