//! What the controller knows of a cloud. Every call is an effect of its own; nothing here decides.

use api::ec2nodeclass::{Ami, CapacityReservation, CapacityReservationSelectorTerm, SecurityGroup, Subnet};
use api::{EC2NodeClass, NodeClaim};
use futures::future::BoxFuture;
use jiff::Timestamp;
use planner::InstanceType;
use planner::overlay::Overlays;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use crate::providers::placement_groups::PlacementGroup;
use vocabulary::{CapacityType, Requirements, Resources, UsdPerHour};

/// The code of a [`CloudError`] when no answer came.
pub const TRANSPORT: &str = "Transport";

/// A failed call, with the wire's own code, so that one table can say whether to retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {code}: {message}")]
pub struct CloudError {
    /// `ec2:CreateFleet`.
    pub operation: String,
    /// The service's error code, `RequestLimitExceeded`; `Transport` when no answer came.
    pub code: String,
    pub message: String,
    /// HTTP status; 0 when no answer came.
    pub status: u16,
    pub request_id: Option<String>,
}

impl CloudError {
    /// The error as AWS's SDK for Go writes it, which is what upstream's log lines have.
    pub fn in_full(&self) -> String {
        if self.status == 0 {
            return self.to_string();
        }
        let (operation, keys) = (self.operation.split_once(':').map_or(&*self.operation, |(_, name)| name), self.keys());
        let keys: Vec<String> =
            keys.iter().map(|(key, value)| format!("{key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))).collect();
        format!(
            "operation error {}: {operation}, https response error StatusCode: {}, RequestID: {}, api error {}: {} ({})",
            self.service(),
            self.status,
            self.request_id.as_deref().unwrap_or_default(),
            self.code,
            self.message,
            keys.join(", ")
        )
    }

    /// `EC2`.
    fn service(&self) -> String {
        self.operation.split_once(':').map_or("", |(service, _)| service).to_uppercase()
    }

    /// The parts of the answer as keys of a log line (`A/pkg/errors/errors.go`, ToSerr).
    pub fn keys(&self) -> [(&'static str, Value); 5] {
        [
            ("aws-error-code", self.code.as_str().into()),
            ("aws-operation-name", self.operation.split_once(':').map_or(&*self.operation, |(_, name)| name).into()),
            ("aws-request-id", self.request_id.as_deref().unwrap_or_default().into()),
            ("aws-service-name", self.service().into()),
            ("aws-status-code", self.status.into()),
        ]
    }
}

/// What the log says of a failure: upstream's chain of words, and the call that it began with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    pub words: String,
    pub call: Option<Box<CloudError>>,
}

impl Cause {
    /// A call failed while this was done.
    pub fn of(doing: &str, call: &CloudError) -> Self {
        Cause { words: format!("{doing}, {}", call.in_full()), call: Some(Box::new(call.clone())) }
    }

    /// While that was done, for which this was.
    pub fn within(mut self, doing: &str) -> Self {
        self.words = format!("{doing}, {}", self.words);
        self
    }
}

impl From<String> for Cause {
    fn from(words: String) -> Self {
        Cause { words, call: None }
    }
}

impl From<&str> for Cause {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words)
    }
}

/// Facts about the surroundings that are found out once, at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    pub region: String,
    pub cluster_endpoint: String,
    /// `kube-dns` ClusterIP, given by the caller, and the service CIDR that EKS reports, needed by AL2023.
    pub service_cidr: Option<String>,
}

/// The validation of a NodeClass by real calls that change nothing (`A/pkg/controllers/nodeclass/validation.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Validation {
    Passed,
    /// Condition reason and message.
    Failed {
        reason: String,
        message: String,
    },
    /// Ask again: with nothing to say when it was throttling, a server's fault, or an instance profile that is not seen yet.
    Again(Option<Cause>),
    /// As failed, but the next look asks again, and the log has why.
    Unresolved {
        reason: String,
        message: String,
        cause: Cause,
    },
}

/// A claim that wants a machine.
#[derive(Clone, Debug)]
pub struct LaunchRequest {
    pub claim: Arc<NodeClaim>,
    pub class: Arc<EC2NodeClass>,
    /// `spec.template` labels of the pool are already in the claim's labels.
    pub tags: BTreeMap<String, String>,
}

/// What was launched (`A/pkg/cloudprovider/cloudprovider.go`, Create).
#[derive(Clone, Debug, PartialEq)]
pub struct Launched {
    /// `aws:///us-west-2a/i-0123456789abcdef0`.
    pub provider_id: String,
    pub instance_id: String,
    pub image_id: String,
    pub instance_type: Arc<str>,
    pub zone: Arc<str>,
    pub capacity_type: CapacityType,
    /// Single-valued requirements of the type plus zone, zone id, capacity type, tenancy.
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Without zero amounts.
    pub capacity: Resources,
    pub allocatable: Resources,
    pub price: UsdPerHour,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LaunchError {
    /// Nothing of what was asked is to be had: the claim is deleted and its pods are planned again.
    #[error("insufficient capacity, {0}")]
    InsufficientCapacity(String),
    /// The NodeClass cannot launch: the claim is deleted.
    #[error("NodeClass is not ready, {0}")]
    NodeClassNotReady(String),
    /// Anything else: `Launched` becomes Unknown with this reason, and the launch is tried again with a back-off.
    #[error("{message}")]
    Failed { reason: String, message: String, cause: Cause },
}

/// A machine as the cloud lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    pub id: String,
    /// `pending`, `running`, `stopping`, `stopped`, `shutting-down`.
    pub state: String,
    pub instance_type: Arc<str>,
    pub image_id: String,
    pub zone: Arc<str>,
    pub zone_id: Option<Arc<str>>,
    pub subnet_id: Option<String>,
    pub security_groups: Vec<String>,
    pub capacity_type: CapacityType,
    /// The capacity reservation of a reserved machine.
    pub reservation: Option<String>,
    /// Its partition of a placement group, once EC2 says which.
    pub partition: Option<i64>,
    pub launch_time: Timestamp,
    pub tags: BTreeMap<String, String>,
}

impl Instance {
    /// Source: `A/pkg/cloudprovider/cloudprovider.go`, instanceToNodeClaim.
    pub fn provider_id(&self) -> String {
        format!("aws:///{}/{}", self.zone, self.id)
    }
}

/// What EC2's checks, or its plans, say against a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The machine's own check has failed for two minutes.
    Instance,
    /// The check of what it runs on.
    System,
    /// It is to be stopped, rebooted or retired.
    Event,
}

impl Trouble {
    /// Upstream's name of the category.
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::Instance => "InstanceStatus",
            Trouble::System => "SystemStatus",
            Trouble::Event => "EventStatus",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhealthy {
    pub instance_id: String,
    pub trouble: Trouble,
}

/// What became known of a capacity reservation between two answers of EC2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservationChange {
    /// A machine of it is gone.
    Released,
    /// Nothing is left of it.
    Exhausted,
}

/// A message of the interruption queue, body as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub body: String,
    pub receipt: String,
}

/// One step of making the cloud ready or of keeping what is known of it fresh.
pub type Answer<'a, T, E = CloudError> = BoxFuture<'a, Result<T, E>>;

/// The port. Implementations are shared by many effects at once.
pub trait Cloud: Send + Sync {
    /// Connectivity check and discovery of region, endpoint and service CIDR.
    fn discover(&self) -> Answer<'_, Discovery>;

    /// Refreshes instance types and their zones (every 12 h), or prices (every 12 h).
    fn refresh_instance_types(&self) -> Answer<'_, ()>;
    fn refresh_prices(&self) -> Answer<'_, ()>;
    /// Asks which zones are shifted away from (every 30 s); their ids.
    fn refresh_zonal_shifts(&self) -> Answer<'_, BTreeSet<String>> {
        Box::pin(async { Ok(BTreeSet::new()) })
    }
    /// The cluster's version as its provider says, `1.36`; `None` where that is left to the API server.
    fn kubernetes_version(&self) -> Answer<'_, Option<String>> {
        Box::pin(async { Ok(None) })
    }

    /// Every instance type as this NodeClass would get it, with offerings as they are known at `now` (subnets in the class's
    /// status, prices, what lately was not to be had). No call is made. `Err` names what is not known yet.
    fn instance_types(&self, class: &EC2NodeClass, now: Timestamp) -> Result<Arc<Vec<InstanceType>>, String>;

    /// NodeClass status, in the order in which Karpenter resolves it.
    fn resolve_amis<'a>(&'a self, class: &'a EC2NodeClass, kubernetes_version: &'a str) -> Answer<'a, Vec<Ami>>;
    fn resolve_subnets<'a>(&'a self, class: &'a EC2NodeClass) -> Answer<'a, Vec<Subnet>>;
    fn resolve_security_groups<'a>(&'a self, class: &'a EC2NodeClass) -> Answer<'a, Vec<SecurityGroup>>;
    /// What these terms select of the account's capacity reservations, by id; none without a term.
    fn resolve_capacity_reservations<'a>(&'a self, _terms: &'a [CapacityReservationSelectorTerm]) -> Answer<'a, Vec<CapacityReservation>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// Whether there is the placement group that the class names, if it names one: its id, name and strategy.
    fn resolve_placement_group<'a>(&'a self, _class: &'a EC2NodeClass) -> Answer<'a, Option<PlacementGroup>> {
        Box::pin(async { Ok(None) })
    }
    /// Makes or finds the instance profile of `spec.role`; its name.
    fn ensure_instance_profile<'a>(&'a self, class: &'a EC2NodeClass) -> Answer<'a, String>;
    /// Launch template, fleet and instance dry runs. `labels` and `taints` as a NodePool of this class would launch.
    fn validate<'a>(&'a self, class: &'a EC2NodeClass) -> BoxFuture<'a, Validation>;
    /// The same, tried with a type that the NodePools of this class would get: `pools` are their requirements, labels included.
    fn validate_for<'a>(&'a self, class: &'a EC2NodeClass, pools: &'a [Requirements]) -> BoxFuture<'a, Validation> {
        let _ = pools;
        self.validate(class)
    }

    fn launch(&self, request: LaunchRequest) -> Answer<'_, Launched, LaunchError>;
    /// `None` when the cloud no longer knows the machine.
    fn get<'a>(&'a self, instance_id: &'a str) -> Answer<'a, Option<Instance>>;
    /// The machine as it was last described or listed, without a call.
    fn known(&self, _instance_id: &str) -> Option<Instance> {
        None
    }
    /// Why the machine is no longer what its NodeClass would launch, as far as is known at `now`; `None` when it is. No call is
    /// made. `Err` says what is not known.
    fn drift(
        &self,
        _claim: &NodeClaim,
        _class: &EC2NodeClass,
        _instance: &Instance,
        _now: Timestamp,
    ) -> Result<Option<&'static str>, String> {
        Ok(None)
    }
    /// All machines of this cluster.
    fn list(&self) -> Answer<'_, Vec<Instance>>;
    /// Machines of the account, ours or not, that are broken or about to be stopped.
    fn unhealthy(&self) -> Answer<'_, Vec<Unhealthy>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// `false` when there was nothing left to terminate.
    fn terminate<'a>(&'a self, instance_id: &'a str) -> Answer<'a, bool>;
    fn tag<'a>(&'a self, instance_id: &'a str, tags: &'a BTreeMap<String, String>) -> Answer<'a, ()>;

    /// Removes what a NodeClass left in the account: instance profiles and launch templates.
    fn clean_up<'a>(&'a self, class: &'a EC2NodeClass) -> Answer<'a, ()>;
    /// Deletes launch templates that lapsed from the cache (a minute without use).
    fn expire_launch_templates(&self) -> Answer<'_, usize>;

    /// Up to ten messages; waits up to 20 s. An empty list when no queue is configured.
    fn receive_messages(&self) -> Answer<'_, Vec<Message>>;
    fn delete_message<'a>(&'a self, receipt: &'a str) -> Answer<'a, ()>;

    /// Marks an offering as not to be had for a while (3 min), as an interruption does.
    fn mark_unavailable(&self, instance_type: &str, zone: &str, capacity_type: CapacityType, now: Timestamp);
    /// Launches choose by these from now on.
    fn overlay(&self, _overlays: Arc<Overlays>) {}
    /// Keeps the count of the machines that are left in a reservation.
    fn reservation_changed(&self, _id: &str, _change: ReservationChange, _now: Timestamp) {}
    /// A node of this type and image reported so many bytes of memory; `true` when that is less than was known, or the first report. A
    /// node whose image is no longer its class's tells nothing
    /// (`A/pkg/providers/instancetype/instancetype.go`, UpdateInstanceTypeCapacityFromNode).
    fn observe_memory(&self, _class: &EC2NodeClass, _instance_type: &str, _image: &str, _bytes: i64, _now: Timestamp) -> bool {
        false
    }
    /// Deletes the instance profiles that were made for NodeClasses of this cluster, are none of these, and have not been in use for an
    /// hour; their names (`A/pkg/controllers/nodeclass/garbagecollection/controller.go`).
    fn collect_profiles<'a>(&'a self, _in_use: &'a BTreeSet<String>) -> Answer<'a, Vec<String>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// Looks up aliases anew whose image is deprecated (every 30 min).
    fn forget_deprecated_images(&self, _amis: &[Ami], _now: Timestamp) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As upstream's binary wrote it.
    #[test]
    fn a_failed_call_is_told_as_the_sdk_tells_it() {
        let error = CloudError {
            operation: "ec2:CreateFleet".to_owned(),
            code: "InvalidParameterValue".to_owned(),
            message: "The weird thing is wrong".to_owned(),
            status: 400,
            request_id: Some("9473a084".to_owned()),
        };
        let cause = Cause::of("creating fleet request", &error).within("creating instance, creating nodeclaim");
        assert_eq!(
            cause.to_string(),
            "creating instance, creating nodeclaim, creating fleet request, operation error EC2: CreateFleet, https response error \
             StatusCode: 400, RequestID: 9473a084, api error InvalidParameterValue: The weird thing is wrong \
             (aws-error-code=InvalidParameterValue, aws-operation-name=CreateFleet, aws-request-id=9473a084, aws-service-name=EC2, \
             aws-status-code=400)"
        );
        let silent = CloudError { status: 0, code: TRANSPORT.to_owned(), ..error };
        assert_eq!(silent.in_full(), "ec2:CreateFleet: Transport: The weird thing is wrong", "no answer has no status");
    }
}
