//! From a claim to a machine.

use super::AwsCloud;
use crate::errors;
use crate::labels as aws;
use crate::launch::claim::{Wanted, check_ready, partition, tags};
use crate::launch::fleet::{self, FleetError, Order, Overrides};
use crate::launch::template::{self, Context, Reserved, Template, TemplateError};
use crate::launch::{filters, template::resolve};
use crate::port::{Cause, CloudError, LaunchError, LaunchRequest, Launched};
use crate::providers::placement_groups::PlacementGroup;
use crate::providers::subnets::ZonalSubnet;
use crate::providers::unavailable::Unavailable;
use crate::telling::{Report, tell};
use crate::wire::client::lock;
use api::{EC2NodeClass, NodeClaim};
use planner::{InstanceType, Offering};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vocabulary::{CapacityType, Resources, labels};

/// What a launch is about.
struct Plan<'a> {
    class: &'a EC2NodeClass,
    claim: &'a NodeClaim,
    wanted: Wanted,
    tags: BTreeMap<String, String>,
    types: Vec<InstanceType>,
    capacity_type: CapacityType,
    tenancy: &'static str,
    group: Option<PlacementGroup>,
}

impl Plan<'_> {
    /// The kind of reservations that the launch is of, with the first of them.
    fn reserved(&self) -> Option<Reserved> {
        let offerings = self.types.iter().flat_map(|kind| &kind.offerings);
        offerings.filter_map(Reserved::of).next().filter(|_| self.capacity_type == CapacityType::Reserved)
    }

    /// The one reservation that the launch may take of this type in this zone.
    fn reservation(&self, instance_type: &str, zone: &str) -> Option<Reserved> {
        let kind = self.types.iter().find(|kind| *kind.name == *instance_type)?;
        let found = kind.offerings.iter().filter(|offering| *offering.zone == *zone).find_map(Reserved::of);
        found.filter(|_| self.capacity_type == CapacityType::Reserved)
    }
}

enum Attempt {
    Launched(String, Overrides),
    /// EC2 does not know a template that we took to be there.
    TemplateGone(LaunchError),
}

impl AwsCloud {
    pub(super) async fn launch_claim(&self, request: LaunchRequest) -> Result<Launched, LaunchError> {
        let (class, claim) = (&*request.class, &*request.claim);
        check_ready(class)?;
        let pool = claim.metadata.labels.as_ref().and_then(|all| all.get(labels::NODEPOOL)).map_or("", String::as_str);
        let mut all_tags = request.tags.clone();
        all_tags.extend(tags(class, pool, &self.settings.cluster_name).map_err(LaunchError::NodeClassNotReady)?);
        let group = self.placement_groups.for_launch(&self.client, class, self.clock.now()).await;
        let all = self.types(class, self.clock.now()).map_err(|error| {
            failed(
                "InstanceTypeResolutionFailed",
                "Error resolving instance types",
                format!("creating nodeclaim, resolving instance types, {error}"),
            )
        })?;
        let overlays = lock(&self.overlays).clone().filter(|_| !pool.is_empty());
        let all = match &overlays {
            Some(overlays) => overlays.apply(pool, &all).ok_or_else(|| {
                let message = "NodeOverlays are not evaluated yet";
                failed("LaunchFailed", message, format!("creating instance, {message}"))
            })?,
            None => all,
        };
        let wanted = Wanted::of(claim);
        let types = filters::filter(&all, &wanted, self.settings.min_values_best_effort).map_err(LaunchError::InsufficientCapacity)?;
        let (capacity_type, tenancy) = (wanted.capacity_type(&types), wanted.tenancy());
        let plan = Plan { class, claim, wanted, tags: all_tags, types, capacity_type, tenancy, group };
        let (id, pool) = match self.attempt(&plan).await? {
            Attempt::Launched(id, pool) => (id, pool),
            // Once more with templates that are made anew.
            Attempt::TemplateGone(_) => match self.attempt(&plan).await? {
                Attempt::Launched(id, pool) => (id, pool),
                Attempt::TemplateGone(error) => return Err(error),
            },
        };
        if let Some(reserved) = plan.reservation(&pool.instance_type, &pool.zone) {
            self.reservations.launched(&reserved.id, self.clock.now());
        }
        Ok(describe(&plan, &all, id, pool))
    }

    async fn attempt(&self, plan: &Plan<'_>) -> Result<Attempt, LaunchError> {
        let subnets = plan.class.status.as_ref().map_or(&[][..], |status| &status.subnets);
        if subnets.is_empty() {
            return Err(failed(
                "SubnetResolutionFailed",
                "Error getting subnets",
                format!("{}, getting subnets, no subnets matched selector", fleet::MAKING),
            ));
        }
        let zonal = self.subnets.for_launch(subnets, &plan.types, plan.capacity_type, self.clock.now());
        let group = plan.group.as_ref();
        let templates =
            self.ensure_templates(plan.class, plan.claim, &plan.types, plan.capacity_type, plan.tenancy, &plan.tags, group).await?;
        let configs = fleet::configs(&templates, &zonal, &plan.wanted.of_market(plan.capacity_type));
        if configs.is_empty() {
            let message = "Error getting launch template configs: Instance launch failed";
            let why = "getting launch template configs, no capacity offerings are currently available given the constraints";
            return Err(failed("LaunchFailed", message, format!("{}, {why}", fleet::MAKING)));
        }
        if plan.capacity_type == CapacityType::OnDemand && plan.wanted.allows(CapacityType::Spot) && plan.types.len() < 5 {
            let why = "at least 5 instance types are recommended when flexible to spot but requesting on-demand, the current provisioning request only has";
            let why = format!("{why} {} instance type options", plan.types.len());
            tell(Report::error("failed while checking on-demand fallback", [("error", why.into())]));
        }
        let annotation = |key: &str| plan.claim.metadata.annotations.as_ref().and_then(|all| all.get(key));
        let order = Order {
            capacity_type: plan.capacity_type,
            tags: &plan.tags,
            context: plan
                .class
                .spec
                .context
                .as_deref()
                .filter(|_| annotation(labels::NODECLAIM_MIN_VALUES_RELAXED).is_none_or(|value| value != "true")),
            overlay: annotation(labels::PRICE_OVERLAY_APPLIED).is_some(),
            reserved: plan.reserved(),
        };
        let offered = fleet::offered_subnets(&configs);
        let request = fleet::request(&order, configs);
        let answer = self.fleets.add(request.to_string(), request).await;
        let used: BTreeSet<String> = answer.iter().flat_map(|share| &share.machine).map(|(_, pool)| pool.subnet.clone()).collect();
        self.subnets.after_launch(&offered, &used, &zonal, &plan.types, plan.capacity_type, self.clock.now());
        let share = match answer {
            Ok(share) => share,
            Err(error) if error.is_launch_template_not_found() => {
                self.templates.forget(&templates.iter().map(|template| template.name.clone()).collect::<Vec<_>>()).await;
                return Ok(Attempt::TemplateGone(fleet::call_failed(&error)));
            }
            Err(error) => return Err(fleet::call_failed(&error)),
        };
        self.learn(&share.errors, plan, &zonal);
        match share.machine {
            Some((id, pool)) => Ok(Attempt::Launched(id, pool)),
            None => Err(fleet::combine(&share.errors)),
        }
    }

    /// Finds or makes the templates of these types.
    #[expect(clippy::too_many_arguments, reason = "what a template is made of")]
    pub(super) async fn ensure_templates(
        &self,
        class: &EC2NodeClass,
        claim: &NodeClaim,
        types: &[InstanceType],
        capacity_type: CapacityType,
        tenancy: &str,
        tags: &BTreeMap<String, String>,
        group: Option<&PlacementGroup>,
    ) -> Result<Vec<Template>, Trouble> {
        let cluster = self.cluster();
        let context = Context {
            settings: &self.settings,
            region: &self.region,
            cluster_endpoint: cluster.endpoint.as_deref().unwrap_or_default(),
            cluster_cidr: cluster.cidr.as_deref(),
            tags,
            capacity_type,
            tenancy,
            group,
        };
        let templates = resolve(class, claim, types, &context).map_err(Trouble::Template)?;
        self.templates.ensure(&self.client, class, &templates).await.map_err(Trouble::Call)?;
        Ok(templates)
    }

    /// Remembers what the fleet could not have (`updateUnavailableOfferingsCache`).
    fn learn(&self, fleet_errors: &[FleetError], plan: &Plan<'_>, zonal: &BTreeMap<String, ZonalSubnet>) {
        let capacity_type = plan.capacity_type;
        let now = self.clock.now();
        let mut unavailable = lock(&self.unavailable);
        unavailable.sweep(now);
        for error in fleet_errors {
            let pool = &error.overrides;
            let zone_id = zonal.get(&pool.zone).map_or("", |subnet| subnet.zone_id.as_str());
            let (reason, _) = errors::reason(&format!("{}: {}", error.code, error.message));
            let (zone, zone_id) = (pool.zone.clone(), zone_id.to_owned());
            tell(Report::LaunchFailure { zone, zone_id, capacity_type: capacity_type.as_str(), reason });
            if error.code == errors::NO_FREE_ADDRESSES && !pool.subnet.is_empty() {
                unavailable.mark_subnet(&pool.subnet, now);
                self.subnets.mark_full(&pool.subnet, now);
            }
            if capacity_type == CapacityType::Reserved {
                // What is marked is the reservation; the market beside it is another matter.
                let reserved = plan.reservation(&pool.instance_type, &pool.zone);
                let spent = errors::is_unfulfillable(&error.code) && !errors::is_spread_limit(&error.message);
                if let Some(reserved) = reserved.filter(|_| spent) {
                    tell(Report::debug(
                        "marking capacity reservation unavailable",
                        [
                            ("reason", error.code.as_str().into()),
                            ("instance-type", pool.instance_type.as_str().into()),
                            ("zone", pool.zone.as_str().into()),
                            ("capacity-reservation-id", reserved.id.as_str().into()),
                        ],
                    ));
                    self.reservations.exhausted(&reserved.id, now);
                }
                continue;
            }
            if errors::is_unfulfillable(&error.code) {
                self.mark_lacking(&mut unavailable, error, plan);
            }
            if error.code == errors::SERVICE_LINKED_ROLE_NOT_PERMITTED {
                unavailable.mark_market(CapacityType::Spot, now);
            }
        }
    }
}

impl AwsCloud {
    /// What a placement group lacks is its own affair; a spread group that is full in a zone takes no type there.
    fn mark_lacking(&self, unavailable: &mut Unavailable, error: &FleetError, plan: &Plan<'_>) {
        let (pool, market, now) = (&error.overrides, plan.capacity_type, self.clock.now());
        let said = |instance_type: &str, group: Option<(&str, Option<&str>)>| {
            let report = Report::debug(
                "removing offering from offerings",
                [
                    ("reason", error.code.as_str().into()),
                    ("instance-type", instance_type.into()),
                    ("zone", pool.zone.as_str().into()),
                    ("capacity-type", market.as_str().into()),
                    ("ttl", "3m0s".into()),
                ],
            );
            let mut more = vec![("fleet-id", error.fleet.as_deref())];
            more.extend([("placement-group-id", group.map(|g| g.0)), ("placement-group-partition", group.and_then(|g| g.1))]);
            tell(more.into_iter().filter_map(|(key, value)| Some((key, value?))).fold(report, |r, (key, value)| r.with(key, value)));
        };
        let Some(group) = &plan.group else {
            said(&pool.instance_type, None);
            return unavailable.mark(&pool.instance_type, &pool.zone, market, now);
        };
        if errors::is_spread_limit(&error.message) {
            tell(Report::debug(
                "spread placement group availability zone limit reached, marking all instance types unavailable for this placement group in availability zone",
                [("placement-group-id", group.id.as_str().into()), ("zone", pool.zone.as_str().into())],
            ));
            for kind in &plan.types {
                said(&kind.name, Some((&group.id, None)));
                unavailable.mark_in_group(&kind.name, &pool.zone, market, (&group.id, None), now);
            }
            return;
        }
        let asked = partition(&plan.wanted.requirements);
        let place = (group.id.as_str(), asked.as_deref());
        said(&pool.instance_type, Some(place));
        unavailable.mark_in_group(&pool.instance_type, &pool.zone, market, place, now);
    }
}

/// Why the templates are not there.
pub(super) enum Trouble {
    Template(TemplateError),
    Call(CloudError),
}

impl From<Trouble> for LaunchError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Template(error) => error.into(),
            Trouble::Call(error) => {
                let (reason, message) = errors::reason(&format!("{}: {}", error.code, error.message));
                let cause = Cause::of("getting launch template configs", &error).within(fleet::MAKING);
                failed(reason, &format!("Error getting launch template configs: {message}"), cause)
            }
        }
    }
}

fn failed(reason: &str, message: &str, cause: impl Into<Cause>) -> LaunchError {
    LaunchError::Failed { reason: reason.to_owned(), message: message.to_owned(), cause: cause.into() }
}

/// What the controller is told of a new machine (`instanceToNodeClaim`).
fn describe(plan: &Plan<'_>, all: &[InstanceType], id: String, pool: Overrides) -> Launched {
    let kind = all.iter().find(|kind| *kind.name == *pool.instance_type);
    let status = plan.class.status.as_ref();
    let mut set: BTreeMap<String, String> = BTreeMap::new();
    let of_reservations = [aws::RESERVATION_ID, aws::RESERVATION_TYPE, aws::RESERVATION_INTERRUPTIBLE];
    for (key, value) in kind.iter().flat_map(|kind| kind.requirements.labels()) {
        if !of_reservations.contains(&&*key) {
            set.insert(key.to_string(), value.to_string());
        }
    }
    set.insert(labels::ZONE.to_owned(), pool.zone.clone());
    let subnet = status.and_then(|status| status.subnets.iter().find(|subnet| subnet.zone == pool.zone && !subnet.zone_id.is_empty()));
    set.extend(subnet.map(|subnet| (labels::ZONE_ID.to_owned(), subnet.zone_id.clone())));
    set.insert(labels::CAPACITY_TYPE.to_owned(), plan.capacity_type.as_str().to_owned());
    set.insert(labels::instance::TENANCY.to_owned(), plan.tenancy.to_owned());
    let reserved = plan.reservation(&pool.instance_type, &pool.zone);
    if let Some(reserved) = &reserved {
        set.insert(aws::RESERVATION_ID.to_owned(), reserved.id.clone());
        set.insert(aws::RESERVATION_TYPE.to_owned(), reserved.kind.clone());
        set.insert(aws::RESERVATION_INTERRUPTIBLE.to_owned(), reserved.interruptible.to_string());
    }
    if let Some(group) = &plan.group {
        set.insert(labels::PLACEMENT_GROUP_ID.to_owned(), group.id.clone());
        if group.is_partitioned() {
            // Empty until EC2 has said which it chose, at the registration.
            let asked = partition(&plan.wanted.requirements);
            set.insert(labels::PLACEMENT_GROUP_PARTITION.to_owned(), asked.as_deref().unwrap_or_default().to_owned());
        }
    }
    set.extend(plan.tags.get(labels::NODEPOOL).map(|name| (labels::NODEPOOL.to_owned(), name.clone())));
    // EFA counts only where interfaces for it were asked for.
    let with_efa = plan.wanted.requests.contains(aws::EFA) || !plan.class.spec.network_interfaces.is_empty();
    let amounts = |of: fn(&InstanceType) -> &Resources| {
        let mut kept = Resources::new();
        let listed = kind.map(of).into_iter().flat_map(Resources::iter);
        listed.filter(|(name, amount)| *amount != 0 && (*name != aws::EFA || with_efa)).for_each(|(name, amount)| kept.set(name, amount));
        kept
    };
    let is_own = |o: &&Offering| {
        let same = reserved.as_ref().is_none_or(|reserved| Reserved::of(o).is_some_and(|own| own.id == reserved.id));
        *o.zone == *pool.zone && o.capacity_type == plan.capacity_type && same
    };
    let offering = kind.and_then(|kind| kind.offerings.iter().find(is_own));
    let class_annotations = plan.class.metadata.annotations.clone().unwrap_or_default();
    let kept = [labels::EC2NODECLASS_HASH, labels::EC2NODECLASS_HASH_VERSION];
    let mut annotations: BTreeMap<String, String> = class_annotations.into_iter().filter(|(key, _)| kept.contains(&key.as_str())).collect();
    let profile = status.and_then(|status| status.instance_profile.clone()).unwrap_or_default();
    annotations.insert(labels::INSTANCE_PROFILE_NAME.to_owned(), profile);
    Launched {
        provider_id: format!("aws:///{}/{id}", pool.zone),
        instance_id: id,
        image_id: pool.image,
        instance_type: Arc::from(pool.instance_type),
        zone: Arc::from(pool.zone),
        capacity_type: plan.capacity_type,
        labels: set,
        annotations,
        capacity: amounts(|kind| &kind.capacity),
        allocatable: amounts(|kind| &kind.allocatable),
        price: offering.map(|offering| offering.price).unwrap_or_default(),
    }
}

/// Types that a NodeClass without a NodePool is tried with, by architecture.
pub(super) const FALLBACK_TYPES: [(&str, &str); 2] = [("m5.large", "amd64"), ("m6g.large", "arm64")];

pub(super) use template::Template as LaunchTemplate;
