//! Web identities: what a token claims, and whether the account trusts its issuer and the role the token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::refusal;
use crate::policy::verdict::PrincipalKind;
use crate::policy::{Context, Held, Principal, Question, Source, decide};
use crate::protocol::{AwsError, Call};
use crate::services::errors;
use crate::services::input::Read;
use crate::state::World;

/// The claims of a JWT; its signature is not looked at.
pub(crate) fn claims(token: &str) -> Option<Value> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok().filter(Value::is_object)
}

/// The claims of a token that is one and whose time has not passed; both are asked whether or not policies are.
pub(crate) fn in_time(token: &str, now: jiff::Timestamp) -> Result<Value, AwsError> {
    let claims = claims(token).filter(|_| token.split('.').count() == 3).ok_or_else(|| {
        errors::UNTRUSTED_TOKEN.error(&["The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"])
    })?;
    match claims.int("exp").is_some_and(|expires| expires <= now.as_second()) {
        true => Err(errors::TOKEN_EXPIRED.error(&[])),
        false => Ok(claims),
    }
}

/// `aud` is a text or a list of texts.
pub(crate) fn audiences(claims: &Value) -> Vec<&str> {
    claims.text("aud").into_iter().chain(claims.texts("aud")).collect()
}

/// Whether a role may be had for a token: an issuer that the account knows, an audience of it, and trusted by the role.
pub(crate) fn admit(world: &mut World<'_>, call: &Call, claims: &Value) -> Result<(), AwsError> {
    let untrusted = |why: &str| errors::UNTRUSTED_TOKEN.error(&[why]);
    let issuer = claims.text("iss").unwrap_or_default().trim_start_matches("https://").trim_end_matches('/').to_owned();
    let provider = world.account.iam.providers.values().find(|provider| provider.url == issuer);
    let provider = provider.ok_or_else(|| untrusted("No OpenIDConnect provider found in your account for the issuer of the token"))?;
    let audiences = audiences(claims);
    if !audiences.iter().any(|audience| provider.clients.iter().any(|client| client == audience)) {
        return Err(untrusted("Incorrect token audience"));
    }
    let provider = provider.arn.clone();
    let arn = call.input.text("RoleArn").unwrap_or_default();
    let Some(role) = world.account.iam.in_force(world.now).role_by_arn(arn) else { return Ok(()) };
    let mut context = Context::default();
    context.maybe(&format!("{issuer}:sub"), claims.text("sub"));
    context.set_all(&format!("{issuer}:aud"), audiences.into_iter().map(str::to_owned).collect());
    context.maybe("sts:RoleSessionName", call.input.text("RoleSessionName"));
    context.set("aws:RequestedRegion", call.region.clone());
    let trust = Held { source: Source::Resource, name: "trust policy".into(), policy: role.trust.policy.clone() };
    let principal = Principal { account: world.account.id.clone(), arn: provider, role: None, kind: PrincipalKind::Federated };
    let question =
        Question { action: "sts:AssumeRoleWithWebIdentity", resource: arn, context: &context, principal: &principal, by_resource: true };
    let held = [trust];
    let verdict = decide(&question, &held);
    if verdict.allowed() { Ok(()) } else { refusal::refuse(world, call, &question, &verdict, &held) }
}
