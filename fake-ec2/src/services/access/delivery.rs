//! EventBridge as a sender to queues: it has no identity policies, so that the queue's own policy decides alone.

use super::others::queue_policy;
use crate::policy::verdict::PrincipalKind;
use crate::policy::{Context, Held, Principal, Question, Source, decide};
use crate::state::{IamMode, World};

/// Why a queue does not take a rule's event; `None` if it does. Where policies do not decide, every queue takes all.
/// Source: EventBridge user guide, "Using resource-based policies: Amazon SQS permissions".
pub(crate) fn refused(world: &World<'_>, rule_arn: &str, queue: &str) -> Option<String> {
    if world.account.settings.iam == IamMode::Off {
        return None;
    }
    let held_by = world.region.queues.get(queue)?;
    let resource = world.account.arn("sqs", &world.region.name, queue);
    let mut context = Context::default();
    context.set("aws:SourceArn", rule_arn);
    context.set("aws:SourceAccount", world.account.id.clone());
    context.set("aws:PrincipalIsAWSService", "true");
    context.set("aws:PrincipalServiceName", SENDER);
    context.set("aws:SecureTransport", "true");
    context.set("aws:RequestedRegion", world.region.name.clone());
    context.set("aws:ResourceAccount", world.account.id.clone());
    context.set("aws:CurrentTime", world.now.to_string());
    context.set("aws:EpochTime", world.now.as_second().to_string());
    let policy =
        queue_policy(held_by).map(|document| Held { source: Source::Resource, name: format!("of queue {queue}"), policy: document.policy });
    let held: Vec<Held> = policy.into_iter().collect();
    let principal = Principal { account: String::new(), arn: SENDER.into(), role: None, kind: PrincipalKind::Service };
    let question = Question { action: "sqs:SendMessage", resource: &resource, context: &context, principal: &principal, by_resource: true };
    let verdict = decide(&question, &held);
    if verdict.allowed() {
        return None;
    }
    Some(match verdict.matched.first() {
        Some(statement) => format!("{SENDER} may not send to queue {queue}: {statement} denies it"),
        None if held.is_empty() => format!("{SENDER} may not send to queue {queue}: the queue has no policy"),
        None => format!("{SENDER} may not send to queue {queue}: no statement of the queue's policy allows it"),
    })
}

const SENDER: &str = "events.amazonaws.com";
