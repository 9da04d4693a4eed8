//! STS: who am I, and whom may I become.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::access::{refusal, token};
use super::input::{Read, stamp};
use super::{Answer, errors};
use crate::policy::Kind;
use crate::protocol::{AwsError, Call};
use crate::state::iam::{Document, Session};
use crate::state::lifecycle::later;
use crate::state::network::Tags;
use crate::state::{Account, IamMode, World};

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    match call.operation {
        "AssumeRole" => assume(world, call),
        "AssumeRoleWithWebIdentity" => with_web_identity(world, call),
        "DecodeAuthorizationMessage" => {
            let decoded = refusal::decode(call.input.text("EncodedMessage").unwrap_or_default());
            let decoded = decoded.filter(|decoded| decoded.account == world.account.id).ok_or_else(|| errors::DECODE.error(&[]))?;
            Ok(json!({"DecodedMessage": decoded.message.to_string()}))
        }
        "GetAccessKeyInfo" => key_info(world, call),
        "GetSessionToken" => session_token(world, call),
        "GetCallerIdentity" => Ok(json!({"UserId": call.caller.user_id, "Account": call.caller.account, "Arn": call.caller.principal})),
        _ => Err(errors::unsupported(call)),
    }
}

/// The account of a key that is known, or else the one that the key's own letters tell.
/// Source: STS API reference, GetAccessKeyInfo: whose key it is, whether or not it is still active.
fn key_info(world: &World<'_>, call: &Call) -> Answer {
    let id = call.input.text("AccessKeyId").unwrap_or_default();
    // The model: 16 to 128 word characters.
    if !(16..=128).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(errors::KEY_FORM.error(&[id]));
    }
    let knows = |account: &Account| account.iam.sessions.contains_key(id) || account.iam.keys.contains_key(id) || account.id == id;
    let other = world.others.values().map(|state| &state.account).find(|account| knows(account));
    Ok(json!({"Account": other.map_or(&world.account.id, |account| &account.id)}))
}

/// Keys of the caller's own for a while. Whoever has a session's keys may not ask for others.
/// Source: STS API reference, GetSessionToken: 900 seconds to 36 hours, for the root an hour at most and by default, else 12 hours.
fn session_token(world: &mut World<'_>, call: &Call) -> Answer {
    let session = call.caller.access_key.as_deref().is_some_and(|key| world.account.iam.sessions.contains_key(key));
    if session || call.caller.principal.contains(":assumed-role/") {
        return Err(errors::SESSION_OF_SESSION.error(&[]));
    }
    let root = call.caller.principal.ends_with(":root");
    let seconds = call.input.int("DurationSeconds").unwrap_or(if root { 3600 } else { 12 * 3600 });
    if !(900..=129_600).contains(&seconds) {
        return Err(errors::SESSION_SECONDS.error(&[&seconds.to_string(), "from 900 to 129600"]));
    }
    let seconds = if root { seconds.min(3600) } else { seconds };
    Ok(json!({"Credentials": keys(world.account, world.now, seconds, Vec::new(), Tags::new())}))
}

/// Keys for a role that is there. Whether the caller may have them, IAM has been asked before.
fn assume(world: &mut World<'_>, call: &Call) -> Answer {
    credentials(world, call, "sts:AssumeRole")
}

/// Keys for whoever holds a token that the role trusts. The token's signature is not verified; its form and time always are, its issuer,
/// audience and the role's trust policy where policies are asked.
fn with_web_identity(world: &mut World<'_>, call: &Call) -> Answer {
    let claims = token::in_time(call.input.text("WebIdentityToken").unwrap_or_default(), world.now)?;
    let subject = claims.text("sub").unwrap_or_default().to_owned();
    if world.account.settings.iam != IamMode::Off {
        let refused = token::admit(world, call, &claims);
        if world.account.settings.iam == IamMode::Enforce {
            refused?;
        }
    }
    let mut answer = credentials(world, call, "sts:AssumeRoleWithWebIdentity")?;
    answer["SubjectFromWebIdentityToken"] = subject.into();
    Ok(answer)
}

fn credentials(world: &mut World<'_>, call: &Call, action: &str) -> Answer {
    let arn = call.input.text("RoleArn").unwrap_or_default();
    let session = call.input.text("RoleSessionName").unwrap_or_default();
    // Where nobody is refused, nobody waits either.
    let role = world.role_anywhere(arn, world.account.settings.iam == IamMode::Enforce);
    let role = role.map(|(account, role)| (account.to_owned(), role.id.clone(), role.name.clone(), role.max_session_seconds));
    let (account, id, name, most) = role.ok_or_else(|| errors::MAY_NOT_ASSUME.error(&[&call.caller.principal, action, arn]))?;
    let seconds = call.input.int("DurationSeconds").unwrap_or(3600);
    if !(900..=most).contains(&seconds) {
        return Err(errors::SESSION_LENGTH.error(&[]));
    }
    let now = world.now;
    let account = world.account_mut(&account);
    let policies = session_policies(account, call, now)?;
    let tags =
        call.input.list("Tags").iter().filter_map(|tag| Some((tag.text("Key")?.to_owned(), tag.text("Value")?.to_owned()))).collect();
    let keys = keys(account, now, seconds, policies, tags);
    let user = json!({
        "AssumedRoleId": format!("{id}:{session}"),
        "Arn": account.arn("sts", "", &format!("assumed-role/{name}/{session}")),
    });
    Ok(json!({"Credentials": keys, "AssumedRoleUser": user}))
}

/// `Policy` and `PolicyArns`, which cap what the session may do.
fn session_policies(account: &Account, call: &Call, now: Timestamp) -> Result<Vec<(String, Document)>, AwsError> {
    let mut policies = Vec::new();
    if let Some(text) = call.input.text("Policy") {
        let document = Document::read(text, Kind::Identity).map_err(|fault| errors::POLICY_DOCUMENT.error(&[&fault.to_string()]))?;
        policies.push(("of the session".to_owned(), document));
    }
    for arn in call.input.list("PolicyArns").iter().filter_map(|part| part.text("arn")) {
        let document = account.iam.in_force(now).managed(arn).or_else(|| account.iam.managed(arn));
        let document = document.ok_or_else(|| errors::NO_MANAGED_POLICY.error(&[arn]))?;
        policies.push((arn.to_owned(), document));
    }
    Ok(policies)
}

/// Fresh keys of a session, which IAM remembers.
pub(super) fn keys(account: &mut Account, now: Timestamp, seconds: i64, policies: Vec<(String, Document)>, tags: Tags) -> Value {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let id = account.entropy.iam_id("ASIA")[..20].to_owned();
    let expires = later(now, SignedDuration::from_secs(seconds));
    let session = Session { policies, tags, issued: now, expires };
    account.iam.begin_session(now, id.clone(), session);
    json!({
        "AccessKeyId": id,
        "SecretAccessKey": account.entropy.letters("secret", LETTERS, 40),
        "SessionToken": account.entropy.letters("session-token", LETTERS, 120),
        "Expiration": stamp(expires),
    })
}
