//! SigV4: who calls, and whether the signature holds.
//!
//! The credential scope is always read, since service and region come from it; the signature is checked only when the configuration
//! asks for it. Source: IAM User Guide, "Create a signed AWS API request".

mod canonical;
mod refusal;
mod signed;

pub use refusal::Refusal;
pub use signed::{Signed, read};

use jiff::Timestamp;
use serde_json::Value;

use crate::config::{AccessKey, Config};
use crate::model::Service;
use crate::protocol::{Call, Caller};

/// Checks a request's signature against the keys of the configuration, and its date against now.
pub fn verify(
    signed: &Signed,
    request: &http::Request<bytes::Bytes>,
    key: Option<&AccessKey>,
    config: &Config,
    now: Timestamp,
) -> Result<(), Refusal> {
    let key = key.ok_or(Refusal::UnknownKey)?;
    if key.session_token.as_deref() != signed.token.as_deref() {
        return Err(Refusal::UnknownKey);
    }
    let date = signed.instant.ok_or_else(|| Refusal::Incomplete("a valid X-Amz-Date".into()))?;
    let latest = date + signed.expires.unwrap_or(config.limits.clock_skew);
    if now > latest {
        return Err(Refusal::Expired { signed: date, now });
    }
    if date > now + config.limits.clock_skew {
        return Err(Refusal::NotYet { signed: date, now });
    }
    let expected = canonical::signature(signed, request, &key.secret);
    // The two are compared as a whole; a fake has no secret that timing could tell.
    if expected == signed.signature { Ok(()) } else { Err(Refusal::Mismatch) }
}

/// Whom a request speaks for: its key's principal, or the account's root for a key that nobody knows and for no key.
pub fn caller(signed: Option<&Signed>, key: Option<&AccessKey>, config: &Config) -> Caller {
    let access_key = signed.map(|signed| signed.access_key.clone());
    match key {
        Some(key) => {
            let account = key.principal.split(':').nth(4).filter(|account| !account.is_empty()).unwrap_or(&config.account);
            Caller { access_key, account: account.to_owned(), principal: key.principal.clone(), user_id: key.user_id.clone() }
        }
        None => Caller {
            access_key,
            account: config.account.clone(),
            principal: format!("arn:aws:iam::{}:root", config.account),
            user_id: config.account.clone(),
        },
    }
}

/// The key that STS or EKS Auth gave out in an answer (AssumeRole and its kin), by its id.
pub fn session(call: &Call, output: &Value) -> Option<(String, AccessKey)> {
    // The two name alike what they give, but for the first letter.
    let (credentials, user, names) = match call.service {
        Service::Sts => {
            (&output["Credentials"], &output["AssumedRoleUser"], ["AccessKeyId", "SecretAccessKey", "SessionToken", "Arn", "AssumedRoleId"])
        }
        Service::EksAuth => {
            (&output["credentials"], &output["assumedRoleUser"], ["accessKeyId", "secretAccessKey", "sessionToken", "arn", "assumeRoleId"])
        }
        _ => return None,
    };
    let text = |part: &Value, name: &str| part[name].as_str().map(str::to_owned);
    let [id, secret, token, arn, user_id] = names;
    // GetSessionToken's keys are the caller's own, for a while.
    let own = call.operation == "GetSessionToken";
    let mine = |theirs: &str| own.then(|| theirs.to_owned());
    let key = AccessKey {
        secret: text(credentials, secret)?,
        session_token: text(credentials, token),
        principal: mine(&call.caller.principal).or_else(|| text(user, arn))?,
        user_id: mine(&call.caller.user_id).or_else(|| text(user, user_id))?,
    };
    Some((text(credentials, id)?, key))
}
