//! What an operator, or a scenario, can set. Names and defaults are upstream's (`C/pkg/operator/options/options.go`,
//! `A/pkg/operator/options/options.go`).

use crate::record::Decision;
use crate::step::Step;
use crate::work::Work;
use jiff::SignedDuration;
use planner::disruption::{Command, Method, Proposal};
use planner::{Plan, Snapshot};
use std::sync::Arc;

pub type Observer = Arc<dyn Fn(Decision) + Send + Sync>;

#[derive(Clone)]
pub struct Settings {
    pub cluster_name: String,
    /// `CLUSTER_CA_BUNDLE`, else the authority that the API server is trusted by, base64: it is part of a NodeClass's hash.
    pub cluster_ca: Option<String>,
    /// `BATCH_IDLE_DURATION`, `BATCH_MAX_DURATION`.
    pub batch_idle: SignedDuration,
    pub batch_max: SignedDuration,
    /// `DISABLE_DRY_RUN`: NodeClasses are taken for valid.
    pub disable_dry_run: bool,
    /// `ISOLATED_VPC`: instance profiles are left alone when a NodeClass goes.
    pub isolated_vpc: bool,
    /// `INTERRUPTION_QUEUE`: messages of this queue are received.
    pub interruption_queue: Option<String>,
    pub options: planner::Options,
    /// The gates `StaticCapacity` and `NodeOverlay`.
    pub static_capacity: bool,
    pub node_overlay: bool,
    /// The gate `NodeRepair`.
    pub node_repair: bool,
    /// `ENABLE_ZONAL_SHIFT`: ARC is asked for zones to leave alone.
    pub zonal_shift: bool,
    /// Not `DISABLE_CLUSTER_STATE_OBSERVABILITY`: gauges of single pods, nodes and pools, and what becomes of conditions, metrics and Events.
    pub observability: bool,
    /// `LEADER_ELECTION_NAME`'s lease is taken before anything is decided; `None`: this process is alone.
    pub leader_election: Option<LeaderElection>,
    /// Receives every decision, effect and explanation, in order.
    pub observer: Option<Observer>,
    /// Stops the controller dead at this effect, as a crash would.
    pub crash_at: Option<CrashPoint>,
    /// For tests of those who judge the controller; `None` otherwise.
    pub tamper: Option<Tamper>,
}

impl Settings {
    pub fn new(cluster_name: impl Into<String>) -> Self {
        Settings {
            cluster_name: cluster_name.into(),
            cluster_ca: None,
            batch_idle: SignedDuration::from_secs(1),
            batch_max: SignedDuration::from_secs(10),
            disable_dry_run: false,
            isolated_vpc: false,
            interruption_queue: None,
            options: planner::Options::default(),
            static_capacity: false,
            node_overlay: false,
            node_repair: false,
            zonal_shift: false,
            observability: true,
            leader_election: None,
            observer: None,
            crash_at: None,
            tamper: None,
        }
    }

    /// How long a node that pods are meant for is left alone: twice the longest batch, and ten seconds at the least
    /// (`C/pkg/controllers/state/statenode.go`, nominationWindow).
    pub fn nomination_window(&self) -> SignedDuration {
        (self.batch_max * 2).max(SignedDuration::from_secs(10))
    }
}

/// Without the functions.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Settings {
            cluster_name, cluster_ca, batch_idle, batch_max, disable_dry_run, isolated_vpc, interruption_queue, options, ..
        } = self;
        f.debug_struct("Settings")
            .field("cluster_name", cluster_name)
            .field("cluster_ca", cluster_ca)
            .field("batch", &(batch_idle, batch_max))
            .field("disable_dry_run", disable_dry_run)
            .field("isolated_vpc", isolated_vpc)
            .field("interruption_queue", interruption_queue)
            .field("options", options)
            .field("gates", &(self.static_capacity, self.node_overlay, self.node_repair))
            .field("zonal_shift", &self.zonal_shift)
            .field("observability", &self.observability)
            .field("leader_election", &self.leader_election)
            .finish_non_exhaustive()
    }
}

/// Who takes the lease, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElection {
    pub namespace: String,
    /// `LEADER_ELECTION_NAME`; upstream's default is [`LeaderElection::NAME`].
    pub name: String,
    /// Different for each process.
    pub identity: String,
}

impl LeaderElection {
    pub const NAME: &str = "karpenter-leader-election";
}

/// Where the controller stops: before the effect of this number is begun, or when its reply has come and is not yet read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    Before(u64),
    After(u64),
}

/// Changes a value in place.
pub type Change<T> = Arc<dyn Fn(&mut T) + Send + Sync>;
/// Changes a method's proposal about a picture.
pub type ChangeProposal = Arc<dyn Fn(Method, &Snapshot, &mut Proposal) + Send + Sync>;
/// Changes what was decided about a piece of work.
pub type ChangeStep = Arc<dyn Fn(&Work, &mut Step) + Send + Sync>;

/// Sabotage, for tests alone: what the planner sees and says is changed before it is carried out, so that a judge can be shown to
/// catch a controller that does wrong. No flag and no file reaches it.
#[derive(Clone, Default)]
pub struct Tamper {
    /// What the planner is shown: without limits, with wider budgets.
    pub picture: Option<Change<Snapshot>>,
    pub plan: Option<Change<Plan>>,
    /// What a method proposes about the picture, before it is judged again.
    pub proposal: Option<ChangeProposal>,
    /// A command that held, before its nodes are marked.
    pub command: Option<Change<Command>>,
    /// Whatever was decided about a piece of work.
    pub step: Option<ChangeStep>,
}

impl std::fmt::Debug for Tamper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tamper")
    }
}
