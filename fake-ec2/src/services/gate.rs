//! What may stop a call before its operation is asked: faults by rule and token buckets.

use super::errors;
use super::input::Read;
use crate::model::Service;
use crate::protocol::{AwsError, Call};
use crate::state::World;
use crate::state::rules::{Effect, matches_operation};

/// Lets a call pass, or says what it answers instead.
pub(crate) fn admit(world: &mut World<'_>, call: &Call) -> Result<(), AwsError> {
    let now = world.now;
    for active in &mut world.account.rules {
        let (Effect::Error { operation, .. } | Effect::Throttle { operation, .. }) = &active.rule.effect else { continue };
        if !matches_operation(operation, call.operation) || !active.in_force(now) {
            continue;
        }
        active.met += 1;
        if matches!(active.rule.effect, Effect::Throttle { .. }) && active.token(now) {
            continue;
        }
        active.hits += 1;
        let Effect::Error { code, message, status, .. } = &active.rule.effect else { return Err(throttled(call)) };
        let error = AwsError::new(code.clone(), message.clone());
        return Err(status.map_or(error.clone(), |status| error.with_status(status)));
    }
    let settings = &world.account.settings;
    if world.account.buckets.take(now, &settings.buckets, call.operation, resources(call)) {
        return Ok(());
    }
    Err(throttled(call))
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
