//! How long things take, and which heartbeats are written.

use std::collections::{BTreeMap, BTreeSet};

use ambient::Stream;
use jiff::SignedDuration;

/// How all machines of a world behave.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    /// From launch to the Node's creation.
    pub registered: Range,
    /// From the Node's creation to its condition Ready: the network plugin starts.
    pub ready: Range,
    /// From Ready until device plugins have announced what the machine has: drivers are loaded, the plugin's pod starts.
    pub devices: Range,
    /// Pulling an image that the node does not have yet.
    pub image_pull: Range,
    /// Starting a container whose image is there.
    pub start: Range,
    /// An init container's run.
    pub init: Range,
    /// From SIGTERM to the end of a container that does not linger (`pause` does not).
    pub stop: Range,
    pub heartbeats: Heartbeats,
    /// Whether kubelets say what they do, as events. In virtual time nobody reads five events per pod.
    pub events: bool,
    /// `v1.36.1-eks-…`.
    pub kubelet_version: String,
    /// What the API is, if a wrong name or endpoint in the user data is to keep a machine from joining.
    pub cluster: Option<Cluster>,
    /// Roles that the cluster lets in; `None` lets any role in.
    pub roles: Option<BTreeSet<String>>,
    /// Whether somebody attaches EBS volumes, so that pods wait for theirs, and nodes have the driver.
    pub volumes: bool,
    /// Memory capacity in KiB by instance type, where the formula is not good enough.
    pub memory_kib: BTreeMap<String, u64>,
}

impl Default for Profile {
    /// A Linux node of EKS on an average day.
    fn default() -> Self {
        Profile {
            registered: Range::millis(25_000, 45_000),
            ready: Range::millis(5_000, 5_000),
            devices: Range::millis(20_000, 20_000),
            image_pull: Range::millis(800, 2_500),
            start: Range::millis(200, 800),
            init: Range::millis(300, 1_500),
            stop: Range::millis(100, 900),
            heartbeats: Heartbeats::Renewed,
            events: true,
            kubelet_version: "v1.36.1-eks-113cf36".to_owned(),
            cluster: None,
            roles: None,
            volumes: true,
            memory_kib: BTreeMap::new(),
        }
    }
}

/// The cluster that machines have to name in order to join it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    pub name: String,
    pub endpoint: String,
}

/// Who keeps a node from being taken for dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heartbeats {
    /// We do, as a real API server needs it: a Lease every 10 s, the status every 5 minutes.
    Renewed,
    /// The API server computes them when somebody looks; we write none.
    Computed,
}

/// A duration between two bounds, both included; uniform.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    pub least: SignedDuration,
    pub most: SignedDuration,
}

impl Range {
    pub fn new(least: SignedDuration, most: SignedDuration) -> Range {
        Range { least, most: most.max(least) }
    }

    pub const fn millis(least: i64, most: i64) -> Range {
        Range { least: SignedDuration::from_millis(least), most: SignedDuration::from_millis(most) }
    }

    /// In whole milliseconds.
    pub fn draw(&self, stream: &mut Stream) -> SignedDuration {
        let width = u64::try_from(self.most.saturating_sub(self.least).as_millis()).unwrap_or(0);
        let more = i64::try_from(stream.below(width.saturating_add(1))).unwrap_or(0);
        self.least.saturating_add(SignedDuration::from_millis(more))
    }
}
