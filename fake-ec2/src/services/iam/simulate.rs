//! The policy simulator: what policies would say to actions, without doing them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::paged;
use crate::policy::verdict::{Cause, PrincipalKind};
use crate::policy::{Context, Held, Kind, Policy, Principal, Question, Source, decide};
use crate::protocol::{AwsError, Call};
use crate::services::access::who;
use crate::services::input::{Out, Read};
use crate::services::{Answer, errors};
use crate::state::World;

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    let principal = principal(world, call);
    let mut policies = Vec::new();
    if call.operation == "SimulatePrincipalPolicy" {
        let source = input.text("PolicySourceArn").unwrap_or_default();
        let held = who::permissions(&world.account.iam, source).ok_or_else(|| errors::SIMULATED_ENTITY.error(&[source]))?;
        policies.extend(who::of(&world.account.iam, held));
        policies.extend(who::service_control(world));
    }
    policies.extend(read(input.texts("PolicyInputList"), Source::Identity, Kind::Identity, "PolicyInputList")?);
    let bounds =
        read(input.texts("PermissionsBoundaryPolicyInputList"), Source::Boundary, Kind::Identity, "PermissionsBoundaryPolicyInputList")?;
    if !bounds.is_empty() {
        policies.retain(|held| held.source != Source::Boundary);
        policies.extend(bounds);
    }
    policies.extend(read(input.text("ResourcePolicy").into_iter().collect(), Source::Resource, Kind::Resource, "ResourcePolicy")?);
    let context = context(call, &principal);
    let mut resources = input.texts("ResourceArns");
    if resources.is_empty() {
        resources.push("*");
    }
    let mut rows = Vec::new();
    for action in input.texts("ActionNames") {
        for resource in &resources {
            let question = Question { action, resource, context: &context, principal: &principal, by_resource: false };
            rows.push((format!("{:06}", rows.len()), evaluate(&question, &policies)));
        }
    }
    paged(call, "EvaluationResults", rows)
}

/// `CallerArn`, or whose policies are asked.
fn principal(world: &World<'_>, call: &Call) -> Principal {
    let arn = call.input.text("CallerArn").or_else(|| call.input.text("PolicySourceArn")).unwrap_or(&call.caller.principal).to_owned();
    let (role, kind) = if arn.contains(":role/") { (Some(arn.clone()), PrincipalKind::Session) } else { (None, PrincipalKind::User) };
    Principal { account: world.account.id.clone(), arn, role, kind }
}

fn read(texts: Vec<&str>, source: Source, kind: Kind, name: &str) -> Result<Vec<Held>, AwsError> {
    let one = |(at, text): (usize, &str)| {
        let policy = Policy::read(text, kind).map_err(|fault| errors::SIMULATED_POLICY.error(&[&fault.to_string()]))?;
        Ok(Held { source, name: format!("{name}.{}", at + 1), policy: Arc::new(policy) })
    };
    texts.into_iter().enumerate().map(one).collect()
}

fn context(call: &Call, principal: &Principal) -> Context {
    let mut context = Context::default();
    context.set("aws:PrincipalArn", principal.arn.clone());
    context.maybe("aws:username", principal.arn.split_once(":user/").and_then(|(_, rest)| rest.rsplit('/').next()));
    for entry in call.input.list("ContextEntries") {
        if let Some(key) = entry.text("ContextKeyName") {
            context.set_all(key, entry.texts("ContextKeyValues").into_iter().map(str::to_owned).collect());
        }
    }
    context
}

fn evaluate(question: &Question<'_>, policies: &[Held]) -> Value {
    let verdict = decide(question, policies);
    let decision = match verdict.cause {
        Cause::Allowed => "allowed",
        Cause::Denied(_) => "explicitDeny",
        Cause::Lacks(_) => "implicitDeny",
    };
    let matched: Vec<Value> = verdict
        .matched
        .iter()
        .map(|named| {
            let kind = match named.source {
                Source::Resource => "resource",
                _ if named.policy.starts_with("arn:aws:iam::aws:") => "aws-managed",
                _ if named.policy.starts_with("arn:") => "user-managed",
                _ => "none",
            };
            json!({"SourcePolicyId": named.policy, "SourcePolicyType": kind})
        })
        .collect();
    let has = |source: Source| policies.iter().any(|held| held.source == source);
    let caps = |source: Source| !matches!(verdict.cause, Cause::Denied(by) | Cause::Lacks(by) if by == source);
    let detail = |member: &str, source: Source| has(source).then(|| json!({ member: caps(source) }));
    Out::new()
        .with("EvalActionName", question.action)
        .with("EvalResourceName", question.resource)
        .with("EvalDecision", decision)
        .with("MatchedStatements", matched)
        .with("MissingContextValues", missing(question, policies))
        .maybe("OrganizationsDecisionDetail", detail("AllowedByOrganizations", Source::ServiceControl))
        .maybe("PermissionsBoundaryDecisionDetail", detail("AllowedByPermissionsBoundary", Source::Boundary))
        .done()
}

/// Keys that statements about the action read and the request does not give.
fn missing(question: &Question<'_>, policies: &[Held]) -> Vec<String> {
    let statements = policies.iter().flat_map(|held| &held.policy.statements).filter(|statement| statement.names_action(question.action));
    let keys = statements.flat_map(|statement| &statement.conditions).map(|condition| &condition.key);
    let mut missing: Vec<String> = keys.filter(|key| question.context.get(key).is_none()).cloned().collect();
    missing.sort();
    missing.dedup();
    missing
}
