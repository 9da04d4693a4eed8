//! The codecs by themselves, for tests in other languages: a JSON document per line in, one per line out.
//!
//! - `{"request": {"method", "url", "headers", "body"}}`, the body in base64: answers `{"service", "operation", "region", "input",
//!   "unknown"}`, or `{"error": {"code", "message", "status"}}`.
//! - `{"verify": {the same}, "secret", "now"}`: answers `{"ok": true}`, or the `error` of the refusal.
//! - `{"send": {the same}, "now"}`: sends the request to one cloud, which lives as long as the process, and lets virtual time run on from
//!   `now` until it answers; the same answer as a reply's, with the instant as `now`.
//! - `{"iam": "enforce"}`: whether policies of that cloud decide; answers `{"ok": true}`.
//! - `{"rule": {…}}`: a fault of that cloud, as [`Rule`] has it, of an account if `"account"` names one; `{"end": NAME, "now"}` ends it. Both answer `{"ok": true}`.
//! - `{"quotas": […]}`, `{"serviceControl": […]}`: that cloud's vCPU quotas; its service control policies, as texts. The same answer.
//! - `{"reply": {"service", "operation", "output" | "error", "headers"}}`, the headers those of the request: answers
//!   `{"status", "headers", "body"}`.

use std::io::{BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fake_ec2::config::AccessKey;
use fake_ec2::model::Service;
use fake_ec2::protocol::{self, AwsError, Dialect, Form};
use fake_ec2::state::Rule;
use fake_ec2::{Cloud, Config, Limits, Out, Request, Response, auth};
use jiff::Timestamp;
use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut cloud = Cloud::new(Config::default());
    for line in std::io::stdin().lock().lines() {
        let answer = answer(&mut cloud, &line?).unwrap_or_else(|why| json!({ "unusable": why }));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(cloud: &mut Cloud, line: &str) -> Result<Value, String> {
    let line: Value = serde_json::from_str(line).map_err(|why| why.to_string())?;
    let now = || line["now"].as_str().unwrap_or_default().parse::<Timestamp>().map_err(|why| why.to_string());
    let part = |name: &str| line.get(name).filter(|part| part.is_object());
    if let Some(sent) = part("request") {
        read(&request(sent)?)
    } else if let Some(sent) = part("verify") {
        verify(&request(sent)?, line["secret"].as_str().unwrap_or_default(), now()?)
    } else if let Some(sent) = part("send") {
        send(cloud, request(sent)?, now()?)
    } else if let Some(mode) = line.get("iam").and_then(Value::as_str) {
        cloud.state_mut().set_iam_mode(mode.parse()?);
        Ok(json!({ "ok": true }))
    } else if let Some(rule) = part("rule") {
        let rule: Rule = serde_json::from_value(rule.clone()).map_err(|why| why.to_string())?;
        let account = line.get("account").and_then(Value::as_str).unwrap_or(&cloud.config().account).to_owned();
        Ok(json!({ "ok": cloud.state_mut().add_rule_in(&account, rule) }))
    } else if let Some(name) = line.get("end").and_then(Value::as_str) {
        let ended = cloud.state_mut().end_rule(name, now()?);
        Ok(json!({ "ok": ended }))
    } else if let Some(quotas) = line.get("quotas") {
        cloud.state_mut().settings_mut().quotas = serde_json::from_value(quotas.clone()).map_err(|why| why.to_string())?;
        Ok(json!({ "ok": true }))
    } else if let Some(documents) = line.get("serviceControl") {
        let documents = serde_json::from_value(documents.clone()).map_err(|why| why.to_string())?;
        cloud.state_mut().set_service_control_policies(documents).map_err(|why| why.to_string())?;
        Ok(json!({ "ok": true }))
    } else {
        write(part("reply").ok_or("neither a request nor a reply")?)
    }
}

fn request(sent: &Value) -> Result<Request, String> {
    let text = |name: &str| sent[name].as_str().unwrap_or_default();
    let body = STANDARD.decode(text("body")).map_err(|why| why.to_string())?;
    let mut request = http::Request::builder().method(text("method")).uri(text("url"));
    for (name, value) in sent["headers"].as_object().into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap_or_default());
    }
    request.body(Bytes::from(body)).map_err(|why| why.to_string())
}

fn read(request: &Request) -> Result<Value, String> {
    let limits = Limits::default();
    let form = Form::of(request, &limits).map_err(|why| why.to_string())?;
    let signed = auth::read(request, &form).map_err(|why| why.to_string())?;
    let target = protocol::target(request, signed.as_ref(), &form).ok_or("no service")?;
    let dialect = Dialect::of(Some(target.service), request);
    Ok(match protocol::parse(target.service, dialect, request, &form, &limits) {
        Ok(parsed) => json!({
            "service": target.service.signing_name(),
            "region": target.region,
            "operation": parsed.operation,
            "input": parsed.input,
            "unknown": parsed.unknown,
        }),
        Err(why) => {
            let error = why.error(target.service, dialect.protocol);
            json!({ "error": { "code": error.code, "message": error.message, "status": error.status } })
        }
    })
}

fn verify(request: &Request, secret: &str, now: Timestamp) -> Result<Value, String> {
    let config = Config::default();
    let form = Form::of(request, &config.limits).map_err(|why| why.to_string())?;
    let signed = auth::read(request, &form).map_err(|why| why.to_string())?.ok_or("not signed")?;
    let key = AccessKey { secret: secret.into(), session_token: signed.token.clone(), principal: String::new(), user_id: String::new() };
    let service = Service::from_signing_name(&signed.service).ok_or("no such service")?;
    Ok(match auth::verify(&signed, request, Some(&key), &config, now) {
        Ok(()) => json!({ "ok": true }),
        Err(why) => {
            let error = why.error(service, service.model().protocol);
            json!({ "error": { "code": error.code, "message": error.message, "status": error.status } })
        }
    })
}

fn send(cloud: &mut Cloud, request: Request, mut now: Timestamp) -> Result<Value, String> {
    let ticket = cloud.submit(now, request);
    loop {
        for out in cloud.advance(now) {
            if let Out::Reply(answered, response) = out
                && answered == ticket
            {
                let mut answer = rendered(&response);
                answer["now"] = Value::from(now.to_string());
                return Ok(answer);
            }
        }
        let due = cloud.next_due().ok_or("the cloud owes an answer and nothing is due")?;
        now = Timestamp::max(now, due);
    }
}

fn rendered(response: &Response) -> Value {
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), Value::from(value.to_str().unwrap_or_default())));
    let headers: serde_json::Map<String, Value> = headers.collect();
    json!({ "status": response.status().as_u16(), "headers": headers, "body": STANDARD.encode(response.body()) })
}

fn write(meant: &Value) -> Result<Value, String> {
    let text = |name: &str| meant[name].as_str().unwrap_or_default();
    let service = Service::from_signing_name(text("service")).ok_or("no such service")?;
    let dialect = Dialect::of(Some(service), &request(&json!({ "method": "POST", "url": "/", "headers": meant["headers"] }))?);
    let response = match meant.get("error") {
        Some(error) => {
            let part = |name: &str| error[name].as_str().unwrap_or_default();
            protocol::failure(Some(service), dialect, "an-id", &AwsError::new(part("code"), part("message")))
        }
        None => {
            let operation = service.model().operations.get(text("operation")).ok_or("no such operation")?;
            protocol::success(service, dialect, operation, "an-id", &meant["output"])
        }
    };
    Ok(rendered(&response))
}
