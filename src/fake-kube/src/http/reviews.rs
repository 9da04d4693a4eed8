//! Requests that are answered and forgotten: access reviews (everything is allowed), token requests and reviews, bindings.

use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::serve::{Asked, json_reply};
use crate::api::Api;
use crate::kube::Response;
use crate::status::Status;
use crate::time;

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
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (pod, node) = (text(&body["metadata"]["name"]), text(&body["target"]["name"]));
        api.bind_asked(now, namespace, &pod, &node)?;
        return Ok(json_reply(
            StatusCode::CREATED,
            &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 }),
        ));
    }
    let status = match plural {
        "selfsubjectaccessreviews" => json!({ "allowed": true }),
        "subjectaccessreviews" => json!({ "allowed": true }),
        "localsubjectaccessreviews" => json!({ "allowed": true }),
        "selfsubjectrulesreviews" => json!({
                "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }], "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
                "incomplete": false,
        }),
        "selfsubjectreviews" => {
            json!({ "userInfo": { "username": "admin", "uid": "admin", "groups": ["system:masters", "system:authenticated"] } })
        }
        "tokenreviews" => json!({ "authenticated": true, "user": { "username": "admin", "groups": ["system:masters"] } }),
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

/// `serviceaccounts/token`: a token that names its account and signs nothing.
pub(crate) fn token(now: Timestamp, namespace: &str, name: &str, uid: &str, body: &Value) -> Value {
    use base64::Engine as _;
    let seconds = body["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    let expires = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    let encode = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "aud": body["spec"]["audiences"], "exp": expires.as_second(), "iat": now.as_second(), "sub": format!("system:serviceaccount:{namespace}:{name}"),
    });
    let token = format!("{}.{}.unsigned", encode(json!({ "alg": "none" })), encode(claims));
    json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": { "name": name, "namespace": namespace, "creationTimestamp": time::seconds(now), "uid": uid },
        "spec": { "audiences": body["spec"]["audiences"], "expirationSeconds": seconds, "boundObjectRef": body["spec"]["boundObjectRef"] },
        "status": { "token": token, "expirationTimestamp": time::seconds(expires) },
    })
}
