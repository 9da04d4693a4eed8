//! The error that a refused client sees, the encoded message that STS decodes, and the explanation for whoever looks for the statement.

use std::io::{Read as _, Write as _};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::model::{Protocol, Service};
use crate::policy::verdict::{Cause, Near};
use crate::policy::{Held, Question, Source, Verdict};
use crate::protocol::{AwsError, Call};
use crate::state::denial::Denial;
use crate::state::{IamMode, World};

/// Notes a refusal; an error if policies are enforced.
pub(super) fn refuse(
    world: &mut World<'_>,
    call: &Call,
    question: &Question<'_>,
    verdict: &Verdict,
    policies: &[Held],
) -> Result<(), AwsError> {
    let enforced = world.account.settings.iam == IamMode::Enforce;
    let error = error(world, call, question, verdict, policies, enforced);
    if enforced { Err(error) } else { Ok(()) }
}

/// The error of a refusal, which is noted.
pub(super) fn error(
    world: &mut World<'_>,
    call: &Call,
    question: &Question<'_>,
    verdict: &Verdict,
    policies: &[Held],
    enforced: bool,
) -> AwsError {
    let why = explain(question, verdict, policies);
    let message = message(call, question, verdict);
    world.account.denials.add(Denial {
        at: world.now,
        request_id: call.request_id.clone(),
        enforced,
        principal: question.principal.arn.clone(),
        action: question.action.to_owned(),
        resource: question.resource.to_owned(),
        message: message.clone(),
        why: why.clone(),
    });
    match call.service {
        Service::Ec2 => {
            let encoded = encode(&body(call, question, verdict, &why));
            let message =
                format!("You are not authorized to perform this operation. {message}. Encoded authorization failure message: {encoded}");
            AwsError::new("UnauthorizedOperation", message)
        }
        // SQS says AccessDenied to clients of either protocol.
        Service::Sqs => AwsError::new("AccessDeniedException", message).with_status(403).with_query_code("AccessDenied"),
        service => match service.model().protocol {
            Protocol::Json => AwsError::new("AccessDeniedException", message).with_status(400),
            Protocol::RestJson => AwsError::new("AccessDeniedException", message).with_status(403),
            Protocol::Ec2 | Protocol::Query => AwsError::new("AccessDenied", message),
        },
    }
}

/// Source of the forms: IAM user guide, "Troubleshoot access denied error messages".
fn message(call: &Call, question: &Question<'_>, verdict: &Verdict) -> String {
    // SQS writes actions in lower case.
    let action = if call.service == Service::Sqs { question.action.to_ascii_lowercase() } else { question.action.to_owned() };
    let because = match verdict.cause {
        Cause::Denied(source) => format!("with an explicit deny in {} {}", article(source), source.words()),
        Cause::Lacks(source) => format!("because no {} allows the {action} action", source.words()),
        Cause::Allowed => String::new(),
    };
    format!("User: {} is not authorized to perform: {action} on resource: {} {because}", question.principal.arn, question.resource)
}

fn article(source: Source) -> &'static str {
    match source {
        Source::Identity => "an",
        Source::Resource | Source::Boundary | Source::Session | Source::ServiceControl => "a",
    }
}

/// Which statement denied; or which come near, and what they lack.
fn explain(question: &Question<'_>, verdict: &Verdict, policies: &[Held]) -> Vec<String> {
    match verdict.cause {
        Cause::Allowed => Vec::new(),
        Cause::Denied(_) => verdict.matched.iter().map(|named| format!("denied by {named}")).collect(),
        Cause::Lacks(source) => {
            let names: Vec<&str> = policies.iter().filter(|held| held.source == source).map(|held| held.name.as_str()).collect();
            if names.is_empty() {
                return vec![format!("{} has no {}", question.principal.arn, source.words())];
            }
            if verdict.near.is_empty() {
                return vec![format!("no statement names {}; looked in {}", question.action, names.join(", "))];
            }
            verdict.near.iter().map(|Near { statement, lacks }| format!("{statement} does not apply: {}", lacks.join("; "))).collect()
        }
    }
}

/// What DecodeAuthorizationMessage shows, with the explanation beside it. Source of the form: STS API reference,
/// DecodeAuthorizationMessage.
fn body(call: &Call, question: &Question<'_>, verdict: &Verdict, why: &[String]) -> Value {
    let matched: Vec<Value> = verdict
        .matched
        .iter()
        .map(|named| {
            json!({
                "statementId": named.sid.clone().unwrap_or_default(), "effect": "DENY",
                "sourcePolicyId": named.policy, "sourcePolicyType": named.source.words(),
            })
        })
        .collect();
    let conditions: Vec<Value> = question
        .context
        .iter()
        .map(|(key, values)| {
            let items: Vec<Value> = values.iter().map(|value| json!({"value": value})).collect();
            json!({"key": key, "values": {"items": items}})
        })
        .collect();
    json!({
        "message": {
            "allowed": false,
            "explicitDeny": matches!(verdict.cause, Cause::Denied(_)),
            "matchedStatements": {"items": matched},
            "failures": {"items": []},
            "context": {
                "principal": {"id": call.caller.user_id, "arn": question.principal.arn},
                "action": question.action,
                "resource": question.resource,
                "conditions": {"items": conditions},
            },
        },
        "account": call.caller.account,
        "why": why,
    })
}

const MARK: usize = 8;

fn mark(packed: &[u8]) -> Vec<u8> {
    Sha256::digest(packed).iter().take(MARK).copied().collect()
}

fn encode(body: &Value) -> String {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let packed = packer.write_all(body.to_string().as_bytes()).and_then(|()| packer.finish()).unwrap_or_default();
    let mut bytes = mark(&packed);
    bytes.extend(packed);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An encoded message, opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// As DecodeAuthorizationMessage shows it.
    pub message: Value,
    pub account: String,
    /// Which statement denied, or which come near and what they lack.
    pub why: Vec<String>,
}

/// Longest message that is opened, unpacked, in bytes.
const LONGEST: u64 = 1 << 20;

/// Opens an encoded message of any such cloud; `None` if it is none.
pub fn decode(text: &str) -> Option<Decoded> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim()).ok()?;
    let (sealed, packed) = bytes.split_at_checked(MARK)?;
    if mark(packed) != sealed {
        return None;
    }
    let mut body = String::new();
    ZlibDecoder::new(packed).take(LONGEST).read_to_string(&mut body).ok()?;
    let body: Value = serde_json::from_str(&body).ok()?;
    let why = body["why"].as_array()?.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect();
    Some(Decoded { message: body["message"].clone(), account: body["account"].as_str()?.to_owned(), why })
}
