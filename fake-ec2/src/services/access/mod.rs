//! Asks IAM before an operation is done: which action on which resources with which context, and what the policies say to it.
//!
//! The language of policies is in [`policy`](crate::policy). With [`IamMode::Off`] nothing here is computed.
//! An operation may ask several questions (CreateFleet asks for the fleet, its instances, each subnet …); all must be allowed, and the
//! first that is not is what the client is told.
//!
//! | module | what it is |
//! |---|---|
//! | [`who`] | the caller as a principal, and the policies in force for it |
//! | [`ask`] | questions, and the parts they are made from |
//! | [`ec2`] | questions of EC2's operations; [`launch`]: those of a launch |
//! | [`others`] | questions of the other services |
//! | [`token`] | web identities |
//! | [`delivery`] | EventBridge as a sender to queues |
//! | [`refusal`] | the error, the encoded message, the explanation |

pub(crate) mod ask;
pub(crate) mod delivery;
mod ec2;
pub(crate) mod launch;
mod others;
pub mod refusal;
pub(crate) mod token;
pub(crate) mod who;

use crate::model::Service;
use crate::policy::verdict::{Cause, Named};
use crate::policy::{Question, Source, Verdict, allowed_but_for, decide};
use crate::protocol::{AwsError, Call};
use crate::services::errors;
use crate::state::rules::{Effect, matches_operation};
use crate::state::{IamMode, World, account_of};
use ask::Ask;

/// The action that an operation needs: the service's prefix, and mostly the operation's own name.
pub fn action(service: Service, operation: &'static str) -> (&'static str, &'static str) {
    let name = match (service, operation) {
        (Service::Sqs, "SendMessageBatch") => "SendMessage",
        (Service::Sqs, "DeleteMessageBatch") => "DeleteMessage",
        (Service::Sqs, "ChangeMessageVisibilityBatch") => "ChangeMessageVisibility",
        _ => operation,
    };
    (service.signing_name(), name)
}

/// Lets a call pass, or refuses it in its service's words.
pub(crate) fn authorize(world: &mut World<'_>, call: &Call) -> Result<(), AwsError> {
    deny_by_rule(world, call)?;
    if world.account.settings.iam == IamMode::Off || free(call) {
        return Ok(());
    }
    let asks = match call.service {
        Service::Ec2 => ec2::asks(world, call),
        _ => others::asks(world, call),
    };
    all(world, call, &asks)
}

/// What everybody may do. Source: STS API reference: "No permissions are required to perform this operation"; a web identity's or a pod's
/// token is its own permission, which the role's trust policy checks.
fn free(call: &Call) -> bool {
    matches!(call.operation, "GetCallerIdentity" | "GetSessionToken" | "AssumeRoleWithWebIdentity" | "AssumeRoleForPodIdentity")
}

/// Asks all questions; the first that is not allowed is the answer.
pub(crate) fn all(world: &mut World<'_>, call: &Call, asks: &[Ask]) -> Result<(), AwsError> {
    if world.account.settings.iam == IamMode::Off || asks.is_empty() {
        return Ok(());
    }
    let principal = who::of_caller(world, call);
    let policies = who::policies(world, call, &principal);
    let common = ask::common(world, call, &principal);
    for ask in asks {
        let mut context = ask.context(&common);
        context.set("aws:ResourceAccount", account_of(&ask.resource).unwrap_or(&world.account.id));
        let mut held = policies.clone();
        held.extend(ask.own_policy.clone());
        let question = Question {
            action: &ask.action(),
            resource: &ask.resource,
            context: &context,
            principal: &principal,
            by_resource: ask.by_resource,
        };
        let verdict = decide(&question, &held);
        // EC2 looks a resource up for its keys before policies are asked, and one that is not there ends the request: it is the operation
        // that says so, in its own words. Whoever would not be allowed anyhow does not learn of it. Source: karpenter-provider-aws, issue
        // 5535: InvalidLaunchTemplateId.NotFound under a policy that lets only templates with the cluster's tags be deleted.
        let told = || ask.gone && allowed_but_for(&question, &held, |key| ask.lacks(&context, key));
        if !verdict.allowed() && !told() {
            refusal::refuse(world, call, &question, &verdict, &held)?;
        }
    }
    Ok(())
}

/// Asks about a launch that a fleet has chosen. Its refusal is of this launch alone. A first Spot launch makes the service-linked role of
/// EC2 Spot, if the caller may. Source: EC2 user guide, "Service-linked role for Spot Instance requests".
pub(in crate::services) fn launch(world: &mut World<'_>, call: &Call, launch: &launch::Launch<'_>) -> Result<(), AwsError> {
    if world.account.settings.iam == IamMode::Off {
        return Ok(());
    }
    let asks = launch::asks(world, call, launch);
    all(world, call, &asks)?;
    if launch.market == crate::state::Market::Spot && !world.account.iam.roles.contains_key("AWSServiceRoleForEC2Spot") {
        let arn = world.account.arn("iam", "", "role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot");
        let ask = Ask::new("iam", "CreateServiceLinkedRole", "role", arn).with("iam:AWSServiceName", "spot.amazonaws.com");
        all(world, call, &[ask]).map_err(|_| errors::SLR_FOR_SPOT.error(&[]))?;
        super::iam::make_linked_role(world, "spot.amazonaws.com", None)?;
    }
    Ok(())
}

/// A fault that denies, whatever the policies say: as a statement of a service control policy would.
fn deny_by_rule(world: &mut World<'_>, call: &Call) -> Result<(), AwsError> {
    let (now, (prefix, name)) = (world.now, action(call.service, call.operation));
    let full = format!("{prefix}:{name}");
    let denies =
        |effect: &Effect| matches!(effect, Effect::Deny { actions } if actions.iter().any(|action| matches_operation(action, &full)));
    let Some(active) = world.account.rules.iter_mut().find(|active| active.in_force(now) && denies(&active.rule.effect)) else {
        return Ok(());
    };
    active.met += 1;
    active.hits += 1;
    let statement = Named { source: Source::ServiceControl, policy: active.rule.name.clone(), index: 0, sid: None };
    let verdict = Verdict { cause: Cause::Denied(Source::ServiceControl), matched: vec![statement], near: Vec::new() };
    let principal = who::of_caller(world, call);
    let context = ask::common(world, call, &principal);
    let question = Question { action: &full, resource: "*", context: &context, principal: &principal, by_resource: false };
    Err(refusal::error(world, call, &question, &verdict, &[], true))
}
