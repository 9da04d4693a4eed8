//! STS: who am I, and whom may I become.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::input::{Read, stamp};
use super::{Answer, errors};
use crate::protocol::Call;
use crate::state::World;
use crate::state::lifecycle::later;

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    match call.operation {
        "AssumeRole" => assume(world, call, None),
        "AssumeRoleWithWebIdentity" => assume(world, call, Some(subject(call))),
        "GetCallerIdentity" => Ok(json!({"UserId": call.caller.user_id, "Account": call.caller.account, "Arn": call.caller.principal})),
        _ => Err(errors::unsupported(call)),
    }
}

/// Keys for a role that is there. Its trust policy is kept and not evaluated; a web identity's token is read and not verified.
fn assume(world: &mut World<'_>, call: &Call, subject: Option<String>) -> Answer {
    let arn = call.input.text("RoleArn").unwrap_or_default();
    let session = call.input.text("RoleSessionName").unwrap_or_default();
    let role = world.account.iam.roles.values().find(|role| role.arn == arn);
    let (role, most) = role.map(|role| ((role.id.clone(), role.name.clone()), role.max_session_seconds)).ok_or_else(|| {
        let action = if subject.is_some() { "sts:AssumeRoleWithWebIdentity" } else { "sts:AssumeRole" };
        errors::MAY_NOT_ASSUME.error(&[&call.caller.principal, action, arn])
    })?;
    let seconds = call.input.int("DurationSeconds").unwrap_or(3600);
    if !(900..=most).contains(&seconds) {
        return Err(errors::SESSION_LENGTH.error(&[]));
    }
    let (id, name) = role;
    let credentials = json!({
        "AccessKeyId": world.account.entropy.iam_id("ASIA")[..20],
        "SecretAccessKey": world.account.entropy.letters("secret", b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 40),
        "SessionToken": world.account.entropy.letters("session-token", b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 120),
        "Expiration": stamp(later(world.now, SignedDuration::from_secs(seconds))),
    });
    let user = json!({
        "AssumedRoleId": format!("{id}:{session}"),
        "Arn": world.account.arn("sts", "", &format!("assumed-role/{name}/{session}")),
    });
    let mut answer = json!({"Credentials": credentials, "AssumedRoleUser": user});
    if let Some(subject) = subject {
        answer["SubjectFromWebIdentityToken"] = subject.into();
    }
    Ok(answer)
}

/// The `sub` of a token (a service account of Kubernetes), unverified.
fn subject(call: &Call) -> String {
    use base64::Engine;
    let claims = call.input.text("WebIdentityToken").and_then(|token| token.split('.').nth(1));
    let claims = claims.and_then(|claims| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok());
    let claims: Option<Value> = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
    claims.and_then(|claims| claims.text("sub").map(str::to_owned)).unwrap_or_default()
}
