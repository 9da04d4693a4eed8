//! What each operation does: parsed calls in, values or errors out. No bytes, no clock, no chance but the state's.
//!
//! | module | what it is |
//! |---|---|
//! | [`errors`] | every code with the form of its message and its source |
//! | [`input`], [`filter`], [`page`] | reading inputs, EC2's filters, pages and their tokens |
//! | [`access`] | IAM: may the caller do that |
//! | [`gate`] | what stops a call before its operation is asked: faults, token buckets |
//! | [`ec2`] … | one module per service; each has one `handle` that names its operations |

pub mod access;
pub mod ec2;
pub mod errors;
pub mod filter;
pub mod gate;
pub mod input;
pub mod page;

pub(crate) mod autoscaling;

mod arc;
pub(crate) mod eks;
mod events;
mod iam;
mod pricing;
mod sqs;
mod ssm;
mod sts;

use jiff::Timestamp;
use serde_json::Value;

use crate::model::Service;
use crate::protocol::{AwsError, Call};
use crate::state::{State, World};

/// What an operation answers.
pub type Answer = Result<Value, AwsError>;

/// What became of a call.
#[derive(Debug)]
pub enum Outcome {
    Done(Answer),
    /// The answer comes later: a long poll, or a reply that a latency holds back.
    Later(Pending),
}

/// Until when a long poll waits, and when the next message comes to be seen, if one is on its way.
pub(crate) type Patience = (Timestamp, Option<Timestamp>);

/// A call that waits for its answer.
#[derive(Debug)]
pub struct Pending {
    /// When it is asked again at the latest.
    due: Timestamp,
    /// When it is answered at the latest.
    until: Timestamp,
    /// The answer that is held back; `None` for a long poll, which asks its queue.
    held: Option<Answer>,
}

impl Pending {
    fn long_poll((until, visible): Patience) -> Self {
        Self { due: visible.map_or(until, |visible| visible.min(until)), until, held: None }
    }

    /// When the call must be asked again, or answered, at the latest.
    pub fn due(&self) -> Timestamp {
        self.due
    }

    /// Whether what was asked for is done, and only the answer waits.
    pub(crate) fn holds(&self) -> bool {
        self.held.is_some()
    }
}

/// Does what a call asks for.
pub fn handle(state: &mut State, now: Timestamp, call: &Call) -> Outcome {
    let Some(mut world) = state.world(now, &call.region) else {
        return Outcome::Done(Err(errors::NO_SUCH_REGION.error(&[&call.region])));
    };
    if let Err(refused) = gate::admit(&mut world, call).and_then(|()| access::authorize(&mut world, call)) {
        return hold(&mut world, call, Err(refused));
    }
    if sqs::abroad(call).is_some_and(|owner| world.others.contains_key(owner)) {
        return handle_abroad(state, now, call);
    }
    if call.service == Service::Sqs
        && call.operation == "ReceiveMessage"
        && let Some(patience) = sqs::must_wait(&mut world, call)
    {
        return Outcome::Later(Pending::long_poll(patience));
    }
    let answer = match gate::short_pages(&mut world, call) {
        None => dispatch(&mut world, call),
        most => dispatch(&mut world, &Call { short_pages: most, ..call.clone() }),
    };
    let answer = gate::spoil(&mut world, call).map_or(answer, Err);
    hold(&mut world, call, answer)
}

/// The same in the queue's owner's world, once the caller's has let it pass.
fn handle_abroad(state: &mut State, now: Timestamp, call: &Call) -> Outcome {
    if call.operation == "ReceiveMessage"
        && let Some(Some(patience)) = at_home(state, now, call, |world| sqs::must_wait(world, call))
    {
        return Outcome::Later(Pending::long_poll(patience));
    }
    let answer = at_home(state, now, call, |world| sqs::handle(world, call));
    let (Some(answer), Some(mut world)) = (answer, state.world(now, &call.region)) else {
        return Outcome::Done(Err(errors::NO_SUCH_REGION.error(&[&call.region])));
    };
    let answer = gate::spoil(&mut world, call).map_or(answer, Err);
    hold(&mut world, call, answer)
}

/// Does something in the world that a call is about: the caller's own, or that of the owner of a queue.
fn at_home<R>(state: &mut State, now: Timestamp, call: &Call, f: impl FnOnce(&mut World<'_>) -> R) -> Option<R> {
    let within = |state: &mut State| state.world(now, &call.region).map(|mut world| f(&mut world));
    match sqs::abroad(call) {
        Some(owner) => state.within(owner, within),
        None => within(state),
    }
}

/// Does an operation at once, past faults, buckets and latencies; a long poll does not wait.
pub(crate) fn perform(state: &mut State, now: Timestamp, call: &Call) -> Answer {
    match state.world(now, &call.region) {
        Some(mut world) => dispatch(&mut world, call),
        None => Err(errors::NO_SUCH_REGION.error(&[&call.region])),
    }
}

/// Asks whether a waiting call can be answered now. Answers by [`Pending::due`] at the latest.
pub fn resume(state: &mut State, now: Timestamp, call: &Call, pending: &mut Pending) -> Option<Answer> {
    if let Some(held) = pending.held.take_if(|_| now >= pending.due) {
        return Some(held);
    }
    if pending.held.is_some() {
        return None;
    }
    at_home(state, now, call, |world| {
        if now < pending.until
            && let Some((_, visible)) = sqs::must_wait(world, call)
        {
            *pending = Pending::long_poll((pending.until, visible));
            return None;
        }
        Some(sqs::handle(world, call))
    })?
}

/// Holds an answer back for as long as the operation's latency says.
fn hold(world: &mut World<'_>, call: &Call, answer: Answer) -> Outcome {
    let delay = world.account.latency(call.operation) + gate::slowed(world, call);
    if delay.is_zero() {
        Outcome::Done(answer)
    } else {
        let due = world.now + delay;
        Outcome::Later(Pending { due, until: due, held: Some(answer) })
    }
}

fn dispatch(world: &mut World<'_>, call: &Call) -> Answer {
    match call.service {
        Service::Ec2 => ec2::handle(world, call),
        Service::Iam => iam::handle(world, call),
        Service::Sts => sts::handle(world, call),
        Service::Sqs => sqs::handle(world, call),
        Service::Ssm => ssm::handle(world, call),
        Service::Eks | Service::EksAuth => eks::handle(world, call),
        Service::Pricing => pricing::handle(world, call),
        Service::Events => events::handle(world, call),
        Service::ArcZonalShift => arc::handle(world, call),
        Service::AutoScaling => autoscaling::handle(world, call),
    }
}

#[cfg(test)]
mod tests;
