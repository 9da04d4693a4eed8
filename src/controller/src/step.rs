//! What deciding yields: acts to perform, things to say and to remember, and when to look again.

use crate::effect::{Effect, Failure, Outcome};
use crate::log::Line;
use crate::metrics::Measure;
use crate::recorder::EventSpec;
use crate::work::Work;
use cloud::port::{Cause, Discovery, Launched, ReservationChange, Validation};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::CapacityType;

/// One decision about one piece of work.
#[derive(Debug, Default)]
pub struct Step {
    /// Performed side by side. When all are done the work is decided again, with their outcomes at hand.
    pub acts: Vec<Act>,
    /// What happens when there is nothing to do now.
    pub then: Then,
    pub notes: Vec<Note>,
    pub enqueue: Vec<Work>,
}

#[derive(Debug)]
pub struct Act {
    pub effect: Effect,
    /// Said and remembered once it has worked.
    pub after: Vec<Note>,
    /// A failure is shown to the next decision instead of ending in a retry.
    pub tolerant: bool,
}

impl From<Effect> for Act {
    fn from(effect: Effect) -> Self {
        Act { effect, after: Vec::new(), tolerant: false }
    }
}

impl Act {
    pub fn then(mut self, note: impl Into<Note>) -> Self {
        self.after.push(note.into());
        self
    }

    pub fn tolerant(mut self) -> Self {
        self.tolerant = true;
        self
    }
}

#[derive(Debug, Default)]
pub enum Then {
    /// Until something changes.
    #[default]
    Rest,
    /// Look again after a while; `why` is said when that counts as work under way, not as a poll.
    After { wait: SignedDuration, why: Option<String> },
    /// With the work's back-off; the error is logged as controller-runtime does.
    Retry(Cause),
    /// With the work's back-off, without a word (conflicts, blocked evictions).
    Again,
    /// At once, with what the notes made the world remember.
    Continue,
}

#[derive(Clone, Debug)]
pub enum Note {
    Log(Line),
    Event(EventSpec),
    Remember(Memo),
    /// An offering lately was not to be had.
    Unavailable {
        instance_type: String,
        zone: String,
        capacity_type: CapacityType,
    },
    /// What became known of a capacity reservation, by its id.
    Reservation(String, ReservationChange),
    /// The work is left alone until then, whatever happens.
    HoldUntil(Timestamp),
    Count(Measure),
}

impl From<Line> for Note {
    fn from(line: Line) -> Self {
        Note::Log(line)
    }
}

impl From<EventSpec> for Note {
    fn from(event: EventSpec) -> Self {
        Note::Event(event)
    }
}

impl From<Measure> for Note {
    fn from(measure: Measure) -> Self {
        Note::Count(measure)
    }
}

impl From<Memo> for Note {
    fn from(memo: Memo) -> Self {
        Note::Remember(memo)
    }
}

/// Memory that outlives a decision and that no object carries.
#[derive(Clone, Debug)]
pub enum Memo {
    /// By the claim's uid: should the status patch fail, the same machine is used again (`C/…/nodeclaim/lifecycle/launch.go`).
    Launched(String, Arc<Launched>),
    ForgetLaunch(String),
    /// By a digest of what was validated.
    Validated(String, Timestamp, Validation),
    /// A NodeClaim of the pool (by uid) registered, or did not, with reason and message.
    Registration {
        pool_uid: String,
        failure: Option<(String, String)>,
    },
    /// The pool's or its class's generation changed: nothing is known of its health.
    ForgetHealth(String),
    Health(String, bool),
    Discovered(Discovery),
    Kubernetes(String),
    ClusterDns(Option<String>),
    Started,
    /// The next tag call may not come before.
    TaggedUntil(Timestamp),
    InstanceGcSucceeded,
    /// A disruption command is over; if it did not succeed its nodes stay.
    CommandEnded {
        id: u64,
        succeeded: bool,
    },
    /// The NodeOverlays, held against all pools.
    Overlaid(Arc<planner::overlay::Overlays>),
    /// The lease was written with this process as its holder.
    Leading(Timestamp),
    /// Holder and renewal of the lease, and since when this process knows them.
    LeaseSeen {
        holder: String,
        renewal: Option<Timestamp>,
        since: Timestamp,
    },
    /// Somebody else works now, or may.
    LeaseLost,
    /// The NodeClaim, by uid, was held against its Node.
    Scanned(String, Timestamp),
    /// Zones that are shifted away from, by id.
    Shifted(BTreeSet<String>),
    /// The placement group of a NodeClass, by its name: the group's id.
    PlacementGroup(String, String),
    /// Prices could not be asked at the start: those that are compiled in are gone by, and it is tried again.
    PricesMissing,
    /// The type of this NodeClaim was found to be on offer.
    TypeChecked(String, Timestamp),
}

/// An effect of the present reconcile, with what came of it.
#[derive(Clone, Debug)]
pub struct Done {
    pub effect: Arc<Effect>,
    pub outcome: Result<Outcome, Failure>,
}

impl Step {
    pub fn rest() -> Self {
        Step::default()
    }

    pub fn after(wait: SignedDuration, why: Option<String>) -> Self {
        Step { then: Then::After { wait, why }, ..Step::default() }
    }

    pub fn retry(error: impl Into<Cause>) -> Self {
        Step { then: Then::Retry(error.into()), ..Step::default() }
    }

    pub fn act(act: impl Into<Act>) -> Self {
        Step { acts: vec![act.into()], ..Step::default() }
    }

    pub fn note(mut self, note: impl Into<Note>) -> Self {
        self.notes.push(note.into());
        self
    }
}
