//! Leader election: of several processes one works, the others watch and wait.
//!
//! Source: `k8s.io/client-go/tools/leaderelection/leaderelection.go` with controller-runtime's times and upstream's names
//! (`C/pkg/operator/operator.go`: `karpenter-leader-election`). A clock is never compared with another machine's: a lease lapses when
//! its holder has not been seen to renew it for its duration.

use crate::effect::{Effect, Outcome};
use crate::log::Line;
use crate::step::{Done, Memo, Step, Then};
use crate::world::World;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

const DURATION: SignedDuration = SignedDuration::from_secs(15);
const RENEW_DEADLINE: SignedDuration = SignedDuration::from_secs(10);
const RETRY: SignedDuration = SignedDuration::from_secs(2);

/// What this process knows of the lease.
#[derive(Clone, Debug, Default)]
pub struct Election {
    /// When this process last wrote the lease as its holder.
    pub renewed: Option<Timestamp>,
    /// Holder and renewal as last seen, and when that was first seen.
    pub seen: Option<(String, Option<Timestamp>, Timestamp)>,
    pub lost: bool,
}

/// One round: read the lease, take or renew it if that may be, come again in two seconds.
pub fn decide(world: &World, done: &[Done], now: Timestamp) -> Step {
    let Some(settings) = &world.settings.leader_election else { return Step::rest() };
    let again = Step { then: Then::After { wait: RETRY, why: None }, ..Step::default() };
    let election = &world.election;
    let overdue = election.renewed.is_some_and(|renewed| now.duration_since(renewed) >= RENEW_DEADLINE);
    let written = done.iter().rev().find(|d| matches!(&*d.effect, Effect::WriteLease { .. }));
    if let Some(written) = written {
        return match &written.outcome {
            Ok(_) => again.note(Memo::Leading(now)),
            Err(_) if overdue => lost(again),
            Err(_) => again,
        };
    }
    let Some(read) = done.iter().rev().find(|d| matches!(&*d.effect, Effect::GetLease { .. })) else {
        let effect = Effect::GetLease { namespace: settings.namespace.clone(), name: settings.name.clone() };
        return Step::act(crate::step::Act::from(effect).tolerant());
    };
    let lease = match &read.outcome {
        Ok(Outcome::Lease(lease)) => lease.as_deref(),
        _ if overdue => return lost(again),
        _ => return again,
    };
    let spec = lease.and_then(|l| l.spec.as_ref());
    let holder = spec.and_then(|s| s.holder_identity.clone()).unwrap_or_default();
    let renewal = spec.and_then(|s| s.renew_time.as_ref()).map(|time| time.0);
    let ours = holder == settings.identity;
    if election.renewed.is_some() && !ours {
        return lost(again);
    }
    let known = election.seen.as_ref().filter(|(who, when, _)| *who == holder && *when == renewal).map(|(_, _, since)| *since);
    let since = known.unwrap_or(now);
    let seconds = spec.and_then(|s| s.lease_duration_seconds).map_or(DURATION, |s| SignedDuration::from_secs(s.into()));
    let lapsed = holder.is_empty() || now.duration_since(since) >= seconds;
    if !ours && !lapsed {
        return again.note(Memo::LeaseSeen { holder, renewal, since });
    }
    let write = Effect::WriteLease { lease: Box::new(next(lease, settings, ours, now)) };
    Step::act(crate::step::Act::from(write).tolerant()).note(Memo::LeaseSeen { holder, renewal, since })
}

fn lost(step: Step) -> Step {
    step.note(Line::error("", "leader election lost", "the lease could not be renewed in time")).note(Memo::LeaseLost)
}

/// The lease with this process as its holder. Its resource version makes the write fail when somebody was faster.
fn next(present: Option<&Lease>, settings: &crate::settings::LeaderElection, ours: bool, now: Timestamp) -> Lease {
    let before = present.and_then(|l| l.spec.clone()).unwrap_or_default();
    let transitions = before.lease_transitions.unwrap_or(0);
    let spec = LeaseSpec {
        holder_identity: Some(settings.identity.clone()),
        lease_duration_seconds: Some(15),
        acquire_time: if ours { before.acquire_time } else { Some(MicroTime(now)) },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(if ours || present.is_none() { transitions } else { transitions + 1 }),
        ..LeaseSpec::default()
    };
    let metadata = present.map(|l| l.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: Some(settings.name.clone()),
        namespace: Some(settings.namespace.clone()),
        ..ObjectMeta::default()
    });
    Lease { metadata, spec: Some(spec) }
}
