//! The adapter: the port on top of the providers.
//!
//! Map: [`connect`] are the two ways in; [`launch`] and [`validate`] are the flows that need many providers; [`drift`] compares a
//! machine with its class.

mod connect;
mod drift;
mod launch;
mod validate;

pub use connect::{SIMULATED_ACCESS_KEY, SIMULATED_SECRET_KEY, surroundings};

use crate::cache::Cache;
use crate::launch::fleet::{self, Fleets};
use crate::launch::templates::Templates;
use crate::port::{
    Answer, Cloud, CloudError, Discovery, Instance, LaunchError, LaunchRequest, Launched, Message, PlacementGroup, ReservationChange,
    Unhealthy, Validation,
};
use crate::providers::catalogue::{Catalogue, Market};
use crate::providers::health;
use crate::providers::images::Images;
use crate::providers::instances::Instances;
use crate::providers::placement_groups::PlacementGroups;
use crate::providers::pricing::Pricing;
use crate::providers::profiles::Profiles;
use crate::providers::queue::Queue;
use crate::providers::reservations::Reservations;
use crate::providers::security_groups::SecurityGroups;
use crate::providers::subnets::Subnets;
use crate::providers::unavailable::Unavailable;
use crate::providers::zonal_shift::ZonalShifts;
use crate::settings::Settings;
use crate::telling::{Report, tell};
use crate::wire::Service;
use crate::wire::client::{Call, Client, lock};
use crate::wire::transport::Surroundings;
use ambient::{Clock, Entropy};
use api::ec2nodeclass::{Ami, CapacityReservation, CapacityReservationSelectorTerm, SecurityGroup, Subnet};
use api::{EC2NodeClass, NodeClaim};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use planner::InstanceType;
use planner::overlay::Overlays;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use vocabulary::{CapacityType, Requirements};

/// How long a validation holds (`ValidationTTL`).
const VALIDATED: SignedDuration = SignedDuration::from_mins(30);

/// AWS behind the port. Shared by many effects at once.
pub struct AwsCloud {
    settings: Settings,
    region: String,
    clock: Clock,
    client: Arc<Client>,
    catalogue: Catalogue,
    pricing: Pricing,
    unavailable: Mutex<Unavailable>,
    reservations: Reservations,
    placement_groups: PlacementGroups,
    shifts: ZonalShifts,
    subnets: Subnets,
    security_groups: SecurityGroups,
    images: Images,
    profiles: Profiles,
    templates: Templates,
    fleets: Fleets,
    instances: Instances,
    queue: Queue,
    cluster: Mutex<Cluster>,
    validations: Mutex<Cache<String, Validation>>,
    overlays: Mutex<Option<Arc<Overlays>>>,
}

/// What EKS says of the cluster, once asked.
#[derive(Clone, Debug, Default)]
struct Cluster {
    endpoint: Option<String>,
    cidr: Option<String>,
    arn: Option<String>,
    version: Option<String>,
}

impl AwsCloud {
    fn new(settings: Settings, surroundings: &Surroundings, entropy: &Entropy) -> Self {
        let client = Client::new(surroundings, &entropy.child("wire"));
        let (region, clock) = (surroundings.region.clone(), surroundings.clock.clone());
        let cluster = settings.cluster_name.clone();
        let shifts = ZonalShifts::default();
        AwsCloud {
            pricing: Pricing::new(&region, settings.isolated_vpc),
            profiles: Profiles::new(&region, &cluster, entropy),
            templates: Templates::new(&clock, &cluster),
            fleets: fleet::batcher(&client),
            instances: Instances::new(&client, &cluster, settings.reserved_capacity, &clock, &shifts),
            queue: Queue::new(settings.interruption_queue.clone()),
            cluster: Mutex::new(Cluster { endpoint: settings.cluster_endpoint.clone(), ..Cluster::default() }),
            catalogue: Catalogue::default(),
            unavailable: Mutex::default(),
            reservations: Reservations::default(),
            placement_groups: PlacementGroups::default(),
            shifts,
            subnets: Subnets::new(settings.subnet_refresh),
            security_groups: SecurityGroups::default(),
            images: Images::new(settings.ami_refresh),
            validations: Mutex::new(Cache::new(VALIDATED)),
            overlays: Mutex::default(),
            settings,
            region,
            clock,
            client,
        }
    }

    /// Every call so far.
    #[cfg(test)]
    pub(crate) fn made(&self) -> Vec<Call> {
        lock(&self.client.made).clone()
    }

    #[cfg(test)]
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    fn types(&self, class: &EC2NodeClass, now: Timestamp) -> Result<Arc<Vec<InstanceType>>, String> {
        let market = Market {
            region: &self.region,
            settings: &self.settings,
            pricing: &self.pricing,
            unavailable: &self.unavailable,
            reservations: &self.reservations,
            shifts: &self.shifts,
            group: self.placement_groups.known(class, now),
        };
        self.catalogue.instance_types(class, &market, now)
    }

    /// Asks EKS for the endpoint (kept if one was configured) and the service CIDR.
    async fn describe_cluster(&self) -> Result<Cluster, CloudError> {
        let call = Call::new(Service::Eks, "DescribeCluster", json!({"name": self.settings.cluster_name}));
        let reply = self.client.call(&call).await?.json();
        let text = |path: &str| reply.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let network = "/cluster/kubernetesNetworkConfig";
        let cidr = text(&format!("{network}/serviceIpv4Cidr")).or_else(|| text(&format!("{network}/serviceIpv6Cidr")));
        let mut cluster = lock(&self.cluster);
        if let Some(found) = cidr.as_ref().filter(|found| cluster.cidr.as_ref() != Some(found)) {
            tell(Report::debug("discovered cluster CIDR", [("cluster-cidr", found.as_str().into())]));
        }
        cluster.cidr = cidr.or(cluster.cidr.take());
        cluster.arn = text("/cluster/arn").or(cluster.arn.take());
        cluster.version = text("/cluster/version").or(cluster.version.take());
        cluster.endpoint = cluster.endpoint.take().or_else(|| text("/cluster/endpoint"));
        Ok(cluster.clone())
    }

    /// ARC must know the cluster (`A/pkg/operator/operator.go`, ValidateZonalShiftEnablement): else the controller does not start.
    async fn watch_zonal_shifts(&self, arn: Option<String>) -> Result<(), CloudError> {
        let arn = match arn {
            Some(arn) => arn,
            None => self.describe_cluster().await?.arn.unwrap_or_default(),
        };
        self.shifts.watch(&self.client, &arn).await.map_err(|error| CloudError {
            message: format!(
                "unable to find cluster {arn} in Zonal Shift: check that the cluster is enabled for Zonal Shift, and the role's \
                 permissions, or set ENABLE_ZONAL_SHIFT=false: {}",
                error.message
            ),
            ..error
        })
    }

    fn cluster(&self) -> Cluster {
        lock(&self.cluster).clone()
    }

    /// Source: `A/pkg/operator/operator.go`, CheckEC2Connectivity and ResolveClusterEndpoint.
    async fn find_surroundings(&self) -> Result<Discovery, CloudError> {
        match self.client.call(&Call::ec2("DescribeInstanceTypes", json!({"DryRun": true}))).await {
            Err(error) if error.is_dry_run() => {}
            Err(error) => return Err(error),
            Ok(_) => tracing::debug!("the dry run ran"),
        }
        let mut cluster = self.cluster();
        if cluster.endpoint.is_none() {
            cluster = self.describe_cluster().await?;
        }
        if self.settings.zonal_shift {
            self.watch_zonal_shifts(cluster.arn.clone()).await?;
        }
        if let Err(error) = self.templates.hydrate(&self.client).await {
            // Templates of an earlier run then stay in the account; launches do not need them.
            tracing::error!(error = error.to_string(), "unable to hydrate the AWS launch template cache");
        }
        Ok(Discovery { region: self.region.clone(), cluster_endpoint: cluster.endpoint.unwrap_or_default(), service_cidr: cluster.cidr })
    }
}

impl Cloud for AwsCloud {
    fn discover(&self) -> Answer<'_, Discovery> {
        Box::pin(self.find_surroundings())
    }

    fn refresh_instance_types(&self) -> Answer<'_, ()> {
        Box::pin(self.catalogue.refresh(&self.client))
    }

    fn refresh_prices(&self) -> Answer<'_, ()> {
        Box::pin(self.pricing.refresh(&self.client, self.clock.now()))
    }

    fn refresh_zonal_shifts(&self) -> Answer<'_, BTreeSet<String>> {
        Box::pin(async {
            self.shifts.refresh(&self.client).await?;
            Ok(self.shifts.shifted(self.clock.now()))
        })
    }

    fn kubernetes_version(&self) -> Answer<'_, Option<String>> {
        Box::pin(async {
            if !self.settings.eks_control_plane {
                return Ok(None);
            }
            self.describe_cluster().await.map(|cluster| cluster.version)
        })
    }

    fn instance_types(&self, class: &EC2NodeClass, now: Timestamp) -> Result<Arc<Vec<InstanceType>>, String> {
        self.types(class, now)
    }

    fn resolve_amis<'a>(&'a self, class: &'a EC2NodeClass, kubernetes_version: &'a str) -> Answer<'a, Vec<Ami>> {
        Box::pin(self.images.resolve(&self.client, class, kubernetes_version, self.clock.now()))
    }

    fn resolve_subnets<'a>(&'a self, class: &'a EC2NodeClass) -> Answer<'a, Vec<Subnet>> {
        Box::pin(self.subnets.resolve(&self.client, class, self.clock.now()))
    }

    fn resolve_security_groups<'a>(&'a self, class: &'a EC2NodeClass) -> Answer<'a, Vec<SecurityGroup>> {
        Box::pin(self.security_groups.resolve(&self.client, class, self.clock.now()))
    }

    fn resolve_capacity_reservations<'a>(&'a self, terms: &'a [CapacityReservationSelectorTerm]) -> Answer<'a, Vec<CapacityReservation>> {
        Box::pin(self.reservations.resolve(&self.client, terms, self.clock.now()))
    }

    fn resolve_placement_group<'a>(&'a self, class: &'a EC2NodeClass) -> Answer<'a, Option<PlacementGroup>> {
        Box::pin(self.placement_groups.resolve(&self.client, class, self.clock.now()))
    }

    fn ensure_instance_profile<'a>(&'a self, class: &'a EC2NodeClass) -> Answer<'a, String> {
        Box::pin(self.profiles.ensure(&self.client, class, self.clock.now()))
    }

    fn validate<'a>(&'a self, class: &'a EC2NodeClass) -> BoxFuture<'a, Validation> {
        Box::pin(self.validate_class(class, &[]))
    }

    fn validate_for<'a>(&'a self, class: &'a EC2NodeClass, pools: &'a [Requirements]) -> BoxFuture<'a, Validation> {
        Box::pin(self.validate_class(class, pools))
    }

    fn launch(&self, request: LaunchRequest) -> Answer<'_, Launched, LaunchError> {
        Box::pin(self.launch_claim(request))
    }

    fn get<'a>(&'a self, instance_id: &'a str) -> Answer<'a, Option<Instance>> {
        Box::pin(self.instances.get(instance_id))
    }

    fn known(&self, instance_id: &str) -> Option<Instance> {
        self.instances.known(instance_id)
    }

    fn drift(&self, claim: &NodeClaim, class: &EC2NodeClass, instance: &Instance, now: Timestamp) -> Result<Option<&'static str>, String> {
        let group = self.placement_groups.known(class, now);
        drift::reason(claim, class, instance, group.as_ref(), &self.types(class, now)?)
    }

    fn list(&self) -> Answer<'_, Vec<Instance>> {
        Box::pin(self.instances.list())
    }

    fn unhealthy(&self) -> Answer<'_, Vec<Unhealthy>> {
        Box::pin(health::unhealthy(&self.client, self.clock.now()))
    }

    fn terminate<'a>(&'a self, instance_id: &'a str) -> Answer<'a, bool> {
        Box::pin(self.instances.terminate(instance_id))
    }

    fn tag<'a>(&'a self, instance_id: &'a str, tags: &'a BTreeMap<String, String>) -> Answer<'a, ()> {
        Box::pin(self.instances.tag(instance_id, tags))
    }

    fn clean_up<'a>(&'a self, class: &'a EC2NodeClass) -> Answer<'a, ()> {
        Box::pin(async move {
            if !self.settings.isolated_vpc {
                self.profiles.clean_up(&self.client, class).await?;
            }
            self.templates.clean_up(&self.client, class.metadata.name.as_deref().unwrap_or_default()).await
        })
    }

    fn expire_launch_templates(&self) -> Answer<'_, usize> {
        Box::pin(self.templates.expire(&self.client))
    }

    fn receive_messages(&self) -> Answer<'_, Vec<Message>> {
        Box::pin(self.queue.receive(&self.client))
    }

    fn delete_message<'a>(&'a self, receipt: &'a str) -> Answer<'a, ()> {
        Box::pin(self.queue.delete(&self.client, receipt))
    }

    fn mark_unavailable(&self, instance_type: &str, zone: &str, capacity_type: CapacityType, now: Timestamp) {
        lock(&self.unavailable).mark(instance_type, zone, capacity_type, now);
    }

    fn overlay(&self, overlays: Arc<Overlays>) {
        self.pricing.name(overlays.named());
        *lock(&self.overlays) = Some(overlays);
    }

    fn reservation_changed(&self, id: &str, change: ReservationChange, now: Timestamp) {
        match change {
            ReservationChange::Released => self.reservations.terminated(id, now),
            ReservationChange::Exhausted => self.reservations.exhausted(id, now),
        }
    }

    fn observe_memory(&self, class: &EC2NodeClass, instance_type: &str, image: &str, bytes: i64, now: Timestamp) -> bool {
        let Ok(types) = self.instance_types(class, now) else { return false };
        let Some(own) = types.iter().find(|kind| *kind.name == *instance_type) else { return false };
        let amis = class.status.as_ref().map_or(&[][..], |status| &status.amis);
        let current = crate::providers::images::by_image(std::slice::from_ref(own), amis).iter().any(|(id, _)| id == image);
        current && self.catalogue.observe_memory(class, instance_type, bytes, now)
    }

    fn collect_profiles<'a>(&'a self, in_use: &'a BTreeSet<String>) -> Answer<'a, Vec<String>> {
        Box::pin(async move { self.profiles.collect(&self.client, in_use, self.clock.now()).await })
    }

    fn forget_deprecated_images(&self, amis: &[Ami], now: Timestamp) {
        self.images.forget_deprecated(amis, now);
    }
}
