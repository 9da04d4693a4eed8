//! What may stop a call before its operation is asked: faults by rule and token buckets.

use jiff::SignedDuration;

use super::errors;
use super::input::Read;
use crate::model::Service;
use crate::protocol::{AwsError, Call};
use crate::state::World;
use crate::state::rules::{Effect, matches_operation};

/// Lets a call pass, or says what it answers instead.
pub(crate) fn admit(world: &mut World<'_>, call: &Call) -> Result<(), AwsError> {
    let now = world.now;
    for at in 0..world.account.rules.len() {
        let active = &mut world.account.rules[at];
        if let Effect::Throttle { operation, .. } = &active.rule.effect
            && active.in_force(now)
            && matches_operation(operation, call.operation)
        {
            active.met += 1;
            if !active.token(now, resources(call)) {
                active.hits += 1;
                return Err(throttled(call));
            }
        }
        if matches!(active.rule.effect, Effect::Error { after: false, .. }) && meets(world, call, at) {
            return Err(error(world, at));
        }
    }
    let settings = &world.account.settings;
    if world.account.buckets.take(now, &settings.buckets, call.operation, resources(call)) {
        return Ok(());
    }
    Err(throttled(call))
}

/// What an operation answers that was done, but whose answer a rule loses.
pub(crate) fn spoil(world: &mut World<'_>, call: &Call) -> Option<AwsError> {
    let lost = |at: &usize| matches!(world.account.rules[*at].rule.effect, Effect::Error { after: true, .. });
    let found: Vec<usize> = (0..world.account.rules.len()).filter(lost).collect();
    let at = found.into_iter().find(|at| meets(world, call, *at))?;
    Some(error(world, at))
}

/// By how much rules hold a reply back.
pub(crate) fn slowed(world: &mut World<'_>, call: &Call) -> SignedDuration {
    let mut sum = SignedDuration::ZERO;
    for at in 0..world.account.rules.len() {
        let Effect::Slow { by, .. } = world.account.rules[at].rule.effect else { continue };
        if meets(world, call, at) {
            world.account.rules[at].hits += 1;
            sum += world.account.entropy.delay("slow", by);
        }
    }
    sum
}

/// How many items a page may hold, by the strictest rule.
pub(crate) fn short_pages(world: &mut World<'_>, call: &Call) -> Option<usize> {
    let now = world.now;
    let mut least = None;
    for active in &mut world.account.rules {
        let Effect::ShortPages { operation, most } = &active.rule.effect else { continue };
        let most = usize::try_from(*most).unwrap_or(usize::MAX);
        if matches_operation(operation, call.operation) && active.in_force(now) {
            active.met += 1;
            active.hits += 1;
            least = Some(least.unwrap_or(most).min(most));
        }
    }
    least
}

/// Whether a rule in force means this call; notes that it met one, and draws where it means some calls only.
fn meets(world: &mut World<'_>, call: &Call, at: usize) -> bool {
    let active = &mut world.account.rules[at];
    let (Effect::Error { operation, only, .. } | Effect::Slow { operation, only, .. }) = &active.rule.effect else { return false };
    if !matches_operation(operation, call.operation) || !only.fits(&call.input) || !active.in_force(world.now) {
        return false;
    }
    active.met += 1;
    let Some(permille) = only.permille else { return true };
    world.account.entropy.draw("rule-chance") % 1000 < permille
}

/// The error of a rule, which is a hit of it.
fn error(world: &mut World<'_>, at: usize) -> AwsError {
    let active = &mut world.account.rules[at];
    active.hits += 1;
    let Effect::Error { code, message, status, .. } = &active.rule.effect else { return errors::REQUEST_LIMIT.error(&[]) };
    let error = AwsError::new(code.clone(), message.clone());
    status.map_or(error.clone(), |status| error.with_status(status))
}

fn throttled(call: &Call) -> AwsError {
    if call.service == Service::Ec2 { errors::REQUEST_LIMIT.error(&[]) } else { errors::THROTTLING.error(&[]) }
}

/// How many instances a request asks for.
fn resources(call: &Call) -> u64 {
    let asked = match call.operation {
        "RunInstances" => call.input.int("MaxCount").unwrap_or(1),
        "CreateFleet" => call.input.part("TargetCapacitySpecification").and_then(|target| target.int("TotalTargetCapacity")).unwrap_or(1),
        "TerminateInstances" | "StartInstances" | "StopInstances" => call.input.list("InstanceIds").len() as i64,
        _ => 1,
    };
    u64::try_from(asked).unwrap_or(0)
}
