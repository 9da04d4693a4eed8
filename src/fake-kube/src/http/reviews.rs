//! Requests that are answered and forgotten: access reviews, token requests and reviews, bindings.

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::serve::{Asked, json_reply};
use crate::User;
use crate::api::Api;
use crate::auth::Asks;
use crate::kube::Response;
use crate::status::{Details, FieldError, Status};

pub(crate) fn answer(api: &mut Api, now: Timestamp, asked: &Asked, group: &str, plural: &str, namespace: &str) -> Result<Response, Status> {
    if *asked.method != Method::POST {
        return Err(Status::method_not_allowed());
    }
    let (api_version, kind) = match plural {
        "selfsubjectaccessreviews" => ("authorization.k8s.io/v1", "SelfSubjectAccessReview"),
        "subjectaccessreviews" => ("authorization.k8s.io/v1", "SubjectAccessReview"),
        "localsubjectaccessreviews" => ("authorization.k8s.io/v1", "LocalSubjectAccessReview"),
        "selfsubjectrulesreviews" => ("authorization.k8s.io/v1", "SelfSubjectRulesReview"),
        "selfsubjectreviews" => ("authentication.k8s.io/v1", "SelfSubjectReview"),
        "tokenreviews" => ("authentication.k8s.io/v1", "TokenReview"),
        "bindings" => ("v1", "Binding"),
        _ => return Err(Status::no_such_resource()),
    };
    let mut body = asked.value_as(api_version, kind)?;
    if !body.is_object() {
        return Err(Status::bad_request("the body is no object"));
    }
    if group.is_empty() {
        let pod = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let node = super::write::bound_to(&body)?;
        api.bind(now, namespace, &pod, &node)?;
        return Ok(json_reply(
            StatusCode::CREATED,
            &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 }),
        ));
    }
    if plural.ends_with("subjectaccessreviews")
        && !body["spec"]["resourceAttributes"].is_object()
        && !body["spec"]["nonResourceAttributes"].is_object()
    {
        return Err(about_nothing());
    }
    if plural.ends_with("subjectaccessreviews")
        && body["spec"]["resourceAttributes"].is_object()
        && body["spec"]["nonResourceAttributes"].is_object()
    {
        let about = &body["spec"]["nonResourceAttributes"];
        let part = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
        let shown = json!({ "Path": part("path"), "Verb": part("verb") });
        let why = "cannot be specified in combination with resourceAttributes";
        return Err(bad_review(FieldError::invalid("spec.nonResourceAttributes", &shown, why)));
    }
    if plural == "tokenreviews" && body["spec"]["token"].as_str().unwrap_or_default().is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let status = match plural {
        "selfsubjectaccessreviews" => access(api, &asked.user, &body["spec"], ""),
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            let user = subject(&body["spec"])?;
            access(api, &user, &body["spec"], namespace)
        }
        "selfsubjectrulesreviews" => {
            let place = body["spec"]["namespace"].as_str().unwrap_or_default();
            let rules = api.auth().rules(api, &asked.user, place);
            let (paths, resources): (Vec<Value>, Vec<Value>) = rules.into_iter().partition(|rule| rule["nonResourceURLs"].is_array());
            json!({ "resourceRules": resources, "nonResourceRules": paths, "incomplete": false })
        }
        "selfsubjectreviews" => json!({ "userInfo": asked.user.info() }),
        "tokenreviews" => token_review(api, now, &body["spec"]),
        _ => return Err(Status::no_such_resource()),
    };
    body["kind"] = json!(kind);
    body["apiVersion"] = json!(api_version);
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    body["status"] = status;
    Ok(json_reply(StatusCode::CREATED, &body))
}

/// A review without a question (`pkg/apis/authorization/validation`).
fn about_nothing() -> Status {
    let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
    bad_review(FieldError::invalid("spec.resourceAttributes", &Value::Null, why))
}

/// In upstream's words, which have lost the kind.
fn bad_review(error: FieldError) -> Status {
    let message = format!(".authorization.k8s.io \"\" is invalid: {error}");
    let details = Details { group: "authorization.k8s.io".to_owned(), causes: vec![error.cause()], ..Details::default() };
    Status { details: Some(Box::new(details)), ..Status::new(422, "Invalid", message) }
}

/// The user that a review is about.
fn subject(spec: &Value) -> Result<User, Status> {
    let (name, groups) = (spec["user"].as_str().unwrap_or_default(), crate::schema::strings(&spec["groups"]));
    if name.is_empty() && groups.is_empty() {
        let why = "SubjectAccessReview.authorization.k8s.io \"\" is invalid: [spec.user: Invalid value: \"\": at least one of user or group must be specified, spec.groups: Invalid value: \"\": at least one of user or group must be specified]";
        return Err(Status::new(422, "Invalid", why.to_owned()));
    }
    Ok(User { name: name.to_owned(), uid: spec["uid"].as_str().unwrap_or_default().to_owned(), groups })
}

/// Whether the user may (`pkg/registry/authorization`).
fn access(api: &Api, user: &User, spec: &Value, namespace: &str) -> Value {
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let [verb, group, place, name, sub, plural] =
        ["verb", "group", "namespace", "name", "subresource", "resource"].map(|key| text(&resource[key]));
    let (path_verb, path_text) = (text(&path["verb"]), text(&path["path"]));
    let asks = if resource.is_object() {
        let resource = if sub.is_empty() { plural } else { format!("{plural}/{sub}") };
        let place = if place.is_empty() { namespace } else { &place };
        Asks { verb: &verb, group: &group, resource, namespace: place, name: &name, path: "" }
    } else {
        Asks { verb: &path_verb, path: &path_text, ..Asks::default() }
    };
    match api.auth().allowed(api, user, &asks) {
        Ok(why) if why.is_empty() => json!({ "allowed": true }),
        Ok(why) => json!({ "allowed": true, "reason": why }),
        Err(_) => json!({ "allowed": false }),
    }
}

fn token_review(api: &Api, now: Timestamp, spec: &Value) -> Value {
    match api.auth().of_token(api, now, spec["token"].as_str().unwrap_or_default()) {
        Some(user) => json!({ "authenticated": true, "user": user.info(), "audiences": [crate::auth::ISSUER] }),
        None => json!({ "user": {}, "error": "invalid bearer token" }),
    }
}

impl Api {
    /// What a token is bound to is there, and of that account (`pkg/registry/core/serviceaccount/storage/token.go`).
    pub(super) fn bound_object(&self, namespace: &str, account: &str, bound: &Value) -> Result<(), Status> {
        if !bound.is_object() {
            return Ok(());
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, version, name) = (text(&bound["kind"]), text(&bound["apiVersion"]), text(&bound["name"]));
        let (plural, place) = match (version.as_str(), kind.as_str()) {
            ("v1", "Pod") => ("pods", namespace),
            ("v1", "Secret") => ("secrets", namespace),
            ("v1", "Node") => ("nodes", ""),
            _ => {
                let version = if version.contains('/') { version } else { format!("/{version}") };
                return Err(Status::bad_request(format!("cannot bind token to object of type {version}, Kind={kind}")));
            }
        };
        let kind = self.known(plural)?;
        let object = self.existing(&kind, place, &name)?;
        if plural == "pods" && object.value()["spec"]["serviceAccountName"].as_str().unwrap_or("default") != account {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
            )));
        }
        if let Some(uid) = bound["uid"].as_str().filter(|uid| !uid.is_empty() && *uid != object.meta.uid) {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(Status::conflict(&object.kind, &name, &why));
        }
        Ok(())
    }
}

/// The body of a TokenRequest, checked (`pkg/apis/authentication/validation`).
pub(crate) fn token_request(asked: &Asked) -> Result<Value, Status> {
    const LEAST: i64 = 600;
    const MOST: i64 = 1 << 32;
    let body = asked.value_as("authentication.k8s.io/v1", "TokenRequest")?;
    let why = match body["spec"]["expirationSeconds"].as_i64() {
        Some(seconds) if seconds < LEAST => "may not specify a duration less than 10 minutes",
        Some(seconds) if seconds > MOST => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(body),
    };
    let message = format!(
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: {}: {why}",
        body["spec"]["expirationSeconds"]
    );
    Err(Status::new(422, "Invalid", message))
}
