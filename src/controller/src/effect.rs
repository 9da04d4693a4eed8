//! What the controller can do to the outside, as data; and what came of it.

use api::ec2nodeclass::{Ami, CapacityReservation, CapacityReservationSelectorTerm, SecurityGroup, Subnet};
use api::{EC2NodeClass, NodeClaim};
use cloud::port::{CloudError, Discovery, Instance, LaunchError, LaunchRequest, Launched, Message, PlacementGroup, Unhealthy, Validation};
use cluster::{Key, Kind, Object};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Event;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vocabulary::Requirements;

/// Names an object of a watched kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub kind: Kind,
    pub key: Key,
}

impl Target {
    pub fn cluster(kind: Kind, name: &str) -> Self {
        Target { kind, key: Key::new("", name) }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.as_str().to_lowercase(), self.key)
    }
}

/// One act. Every variant is one request to Kubernetes, or one call of the cloud's port.
#[derive(Clone, Debug)]
pub enum Effect {
    CreateClaim(Box<NodeClaim>),
    /// A JSON merge patch, of the status where `status` is set.
    Patch {
        target: Target,
        status: bool,
        body: Value,
    },
    Delete {
        target: Target,
        uid: Option<String>,
        grace_seconds: Option<i64>,
    },
    Evict {
        pod: Key,
        uid: String,
    },
    PublishEvent(Box<Event>),
    /// Names of the VolumeAttachments of this Node that have a PersistentVolume.
    ListVolumeAttachments {
        node: Arc<str>,
    },
    KubernetesVersion,
    ClusterDns,
    Discover,
    RefreshInstanceTypes,
    RefreshPrices,
    RefreshZonalShifts,
    ResolveAmis {
        class: Arc<EC2NodeClass>,
        kubernetes: String,
    },
    ResolveSubnets(Arc<EC2NodeClass>),
    ResolveCapacityReservations(Arc<EC2NodeClass>),
    ResolvePlacementGroup(Arc<EC2NodeClass>),
    /// The same by terms that nobody wrote.
    FindCapacityReservations(Vec<CapacityReservationSelectorTerm>),
    ResolveSecurityGroups(Arc<EC2NodeClass>),
    EnsureInstanceProfile(Arc<EC2NodeClass>),
    /// `pools`: requirements, labels included, of the NodePools of this class.
    Validate {
        class: Arc<EC2NodeClass>,
        pools: Vec<Requirements>,
    },
    Launch(LaunchRequest),
    GetInstance {
        id: String,
    },
    ListInstances,
    ListUnhealthy,
    Terminate {
        id: String,
    },
    Tag {
        id: String,
        tags: BTreeMap<String, String>,
    },
    CleanUp(Arc<EC2NodeClass>),
    ExpireLaunchTemplates,
    /// Instance profiles that are none of these.
    CollectProfiles(BTreeSet<String>),
    /// The lease of the leader election.
    GetLease {
        namespace: String,
        name: String,
    },
    /// Creates or replaces it.
    WriteLease {
        lease: Box<Lease>,
    },
    /// Waits for messages, up to 20 s.
    ReceiveMessages,
    DeleteMessage {
        receipt: String,
    },
}

impl Effect {
    /// Verb and object, for people and traces.
    pub fn describe(&self) -> (&'static str, String) {
        let class = |c: &EC2NodeClass| format!("ec2nodeclass/{}", c.metadata.name.as_deref().unwrap_or(""));
        match self {
            Effect::CreateClaim(claim) => ("create", format!("nodeclaim/{}", claim.metadata.name.as_deref().unwrap_or(""))),
            Effect::Patch { target, status: false, .. } => ("patch", target.to_string()),
            Effect::Patch { target, status: true, .. } => ("patch-status", target.to_string()),
            Effect::Delete { target, .. } => ("delete", target.to_string()),
            Effect::Evict { pod, .. } => ("evict", format!("pod/{pod}")),
            Effect::PublishEvent(event) => {
                let about = &event.involved_object;
                (
                    "event",
                    format!(
                        "{} {}/{}",
                        event.reason.as_deref().unwrap_or(""),
                        about.kind.as_deref().unwrap_or("").to_lowercase(),
                        about.name.as_deref().unwrap_or("")
                    ),
                )
            }
            Effect::ListVolumeAttachments { node } => ("list-volume-attachments", format!("node/{node}")),
            Effect::KubernetesVersion => ("kubernetes-version", String::new()),
            Effect::ClusterDns => ("cluster-dns", "service/kube-system/kube-dns".into()),
            Effect::Discover => ("discover", String::new()),
            Effect::RefreshInstanceTypes => ("refresh-instance-types", String::new()),
            Effect::RefreshPrices => ("refresh-prices", String::new()),
            Effect::RefreshZonalShifts => ("refresh-zonal-shifts", String::new()),
            Effect::ResolveAmis { class: c, .. } => ("resolve-amis", class(c)),
            Effect::ResolveSubnets(c) => ("resolve-subnets", class(c)),
            Effect::ResolveCapacityReservations(c) => ("resolve-capacity-reservations", class(c)),
            Effect::ResolvePlacementGroup(c) => ("resolve-placement-group", class(c)),
            Effect::FindCapacityReservations(_) => ("find-capacity-reservations", String::new()),
            Effect::ResolveSecurityGroups(c) => ("resolve-security-groups", class(c)),
            Effect::EnsureInstanceProfile(c) => ("ensure-instance-profile", class(c)),
            Effect::Validate { class: c, .. } => ("validate", class(c)),
            Effect::Launch(request) => ("launch", format!("nodeclaim/{}", request.claim.metadata.name.as_deref().unwrap_or(""))),
            Effect::GetInstance { id } => ("get-instance", id.clone()),
            Effect::ListUnhealthy => ("list-unhealthy", String::new()),
            Effect::ListInstances => ("list-instances", String::new()),
            Effect::Terminate { id } => ("terminate", id.clone()),
            Effect::Tag { id, .. } => ("tag", id.clone()),
            Effect::CleanUp(c) => ("clean-up", class(c)),
            Effect::ExpireLaunchTemplates => ("expire-launch-templates", String::new()),
            Effect::CollectProfiles(_) => ("collect-instance-profiles", String::new()),
            Effect::GetLease { namespace, name } => ("get-lease", format!("lease/{namespace}/{name}")),
            Effect::WriteLease { lease } => {
                let [namespace, name] = [&lease.metadata.namespace, &lease.metadata.name].map(|part| part.as_deref().unwrap_or(""));
                ("write-lease", format!("lease/{namespace}/{name}"))
            }
            Effect::ReceiveMessages => ("receive-messages", String::new()),
            Effect::DeleteMessage { .. } => ("delete-message", String::new()),
        }
    }
}

/// The reply to an effect that worked. Objects are taken into the index before anybody decides anew.
#[derive(Clone, Debug)]
pub enum Outcome {
    Object(Box<Object>),
    /// The object is no more.
    Gone(Target),
    Done,
    /// VolumeAttachments, and the PersistentVolumes that they attach.
    Attachments(Vec<(String, String)>),
    Text(Option<String>),
    Names(Vec<String>),
    /// Ids of zones.
    Zones(BTreeSet<String>),
    Discovered(Discovery),
    Amis(Vec<Ami>),
    Subnets(Vec<Subnet>),
    CapacityReservations(Vec<CapacityReservation>),
    PlacementGroup(Option<PlacementGroup>),
    SecurityGroups(Vec<SecurityGroup>),
    Validated(Validation),
    Launch(Result<Box<Launched>, LaunchError>),
    Instance(Option<Box<Instance>>),
    Instances(Vec<Instance>),
    Unhealthy(Vec<Unhealthy>),
    Messages(Vec<Message>),
    Lease(Option<Box<Lease>>),
    /// `false`: there was nothing left to terminate.
    Terminated(bool),
}

/// An effect that did not work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// Kubernetes said no.
    #[error("{message}")]
    Kube { code: u16, reason: String, message: String },
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// No answer, or one that cannot be read.
    #[error("{0}")]
    Transport(String),
}

impl Failure {
    pub fn is_conflict(&self) -> bool {
        matches!(self, Failure::Kube { code: 409, reason, .. } if reason != "AlreadyExists")
    }

    pub fn already_exists(&self) -> bool {
        matches!(self, Failure::Kube { code: 409, reason, .. } if reason == "AlreadyExists")
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Failure::Kube { code: 404, .. })
    }
}
