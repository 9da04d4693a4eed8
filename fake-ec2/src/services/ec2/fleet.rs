//! CreateFleet, of type `instant`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::allocate::{Candidate, Plan, Strategy, allocate};
use super::launch::{self, Choice, Common, Order};
use super::spec::{self, Spec};
use super::{requirements, tags, templates};
use crate::catalogue::MicroUsd;
use crate::protocol::{AwsError, Call};
use crate::services::access::{self, launch::Launch};
use crate::services::input::{Members, Out, Read};
use crate::services::{Answer, errors};
use crate::state::network::Tags;
use crate::state::{Market, World};

/// A launch template of the request, read once.
struct Config {
    template_id: String,
    version: u64,
    spec: Result<(Spec, Common), AwsError>,
}

/// One override with the template that it belongs to.
struct Entry<'a> {
    config: usize,
    override_members: Option<&'a Members>,
    /// A type that was found by its attributes; of these only what can be had counts.
    found: Option<Found>,
}

#[derive(Clone, Copy)]
struct Found {
    instance_type: &'static str,
    /// Whether its price is in proportion, on demand and as Spot.
    on_demand: bool,
    spot: bool,
}

impl Found {
    fn sold(self, market: Market) -> bool {
        match market {
            Market::OnDemand => self.on_demand,
            Market::Spot => self.spot,
        }
    }
}

/// What a market's share of a fleet came to.
struct Share {
    market: Market,
    target: u64,
    plan: Plan,
}

pub(in crate::services) fn create(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    if let Some(kind) = input.text("Type").filter(|kind| *kind != "instant") {
        return Err(errors::FLEET_TYPE.error(&[kind]));
    }
    let targets = targets(input)?;
    let (configs, entries) = read_configs(world, input)?;
    let fleet_tags = tags::by_resource(input)?;
    super::dry_run(call)?;

    let mut shares = Vec::new();
    for (market, target) in targets.into_iter().filter(|(_, target)| *target > 0) {
        shares.push(plan_share(world, input, &configs, &entries, market, target)?);
    }
    let fleet_id = format!("fleet-{}", world.account.entropy.uuid("fleet"));
    let (mut instances, mut failures) = (Vec::new(), Vec::new());
    for share in shares {
        for (number, why) in &share.plan.failures {
            if matches!(why.code.as_str(), "InsufficientInstanceCapacity" | "UnfulfillableCapacity") {
                note_failure(world, &configs, &entries[*number], share.market);
            }
            failures.push(render_failure(world, &configs, &entries[*number], share.market, why));
        }
        for (number, count) in share.plan.take {
            let entry = &entries[number];
            let config = &configs[entry.config];
            let Ok((spec, common)) = &config.spec else { continue };
            let Ok(place) = launch::place(world, spec, &choice(entry)) else { continue };
            let asked = Launch { spec, place: &place, market: share.market, template: Some(&config.template_id), tags: &fleet_tags };
            if let Err(why) = access::launch(world, call, &asked) {
                failures.push(render_failure(world, &configs, entry, share.market, &why));
                continue;
            }
            let system_tags = Tags::from([
                ("aws:ec2:fleet-id".to_owned(), fleet_id.clone()),
                ("aws:ec2launchtemplate:id".to_owned(), config.template_id.clone()),
                ("aws:ec2launchtemplate:version".to_owned(), config.version.to_string()),
            ]);
            let max_price = max_price(spec, entry)?.map(|(_, price)| price);
            let order = Order { market: share.market, client_token: input.text("ClientToken"), max_price, tags: &fleet_tags, system_tags };
            let ids = launch::launch(world, spec, common, &place, &order, count);
            let shown = Out::new()
                .with("LaunchTemplateAndOverrides", render_entry(world, &configs, entry))
                .with("Lifecycle", share.market.name())
                .with("InstanceIds", ids)
                .with("InstanceType", place.details.name());
            instances.push(shown.done());
        }
    }
    super::fleets::remember(world, &fleet_id, input, &instances, &failures);
    Ok(Out::new().with("FleetId", fleet_id).with("Errors", failures).with("Instances", instances).done())
}

/// How many units each market is to give. Source: API reference, TargetCapacitySpecificationRequest.
fn targets(input: &Members) -> Result<[(Market, u64); 2], AwsError> {
    let specification = input.part("TargetCapacitySpecification").ok_or_else(|| errors::MISSING.error(&["TargetCapacitySpecification"]))?;
    let units = |member: &str| specification.int(member).map(|units| u64::try_from(units).unwrap_or(0));
    let total = units("TotalTargetCapacity").ok_or_else(|| errors::MISSING.error(&["TotalTargetCapacity"]))?;
    if total == 0 {
        return Err(errors::invalid("0", "TotalTargetCapacity", "Target capacity must be greater than 0."));
    }
    let (on_demand, spot) = (units("OnDemandTargetCapacity").unwrap_or(0), units("SpotTargetCapacity").unwrap_or(0));
    if on_demand + spot > total {
        return Err(errors::invalid(
            &total.to_string(),
            "TotalTargetCapacity",
            "The total must not be less than On-Demand and Spot together.",
        ));
    }
    let rest = total - on_demand - spot;
    match specification.text("DefaultTargetCapacityType").unwrap_or("on-demand") {
        "on-demand" => Ok([(Market::OnDemand, on_demand + rest), (Market::Spot, spot)]),
        "spot" => Ok([(Market::OnDemand, on_demand), (Market::Spot, spot + rest)]),
        other => Err(errors::MARKET_UNSUPPORTED.error(&[other])),
    }
}

/// Reads templates and overrides. A template that is not there fails the call; what is wrong inside one fails its launches.
fn read_configs<'a>(world: &World<'_>, input: &'a Members) -> Result<(Vec<Config>, Vec<Entry<'a>>), AwsError> {
    let (mut configs, mut entries) = (Vec::new(), Vec::new());
    let asked = input.list("LaunchTemplateConfigs");
    if asked.is_empty() {
        return Err(errors::MISSING.error(&["LaunchTemplateConfigs"]));
    }
    for config in asked {
        let named = config.part("LaunchTemplateSpecification").ok_or_else(|| errors::MISSING.error(&["LaunchTemplateSpecification"]))?;
        let template = templates::named(world, named)?;
        let version = templates::version(template, named.text("Version"))?;
        let data = template.versions.get(&version).map(|version| &version.data);
        let of_template = data.and_then(|data| data.part("InstanceRequirements")).cloned();
        let spec = Spec::read(data.unwrap_or(&Members::new()), &Members::new());
        let spec = spec.and_then(|spec| Ok((launch::check_common(world, &spec)?, spec)));
        let at = configs.len();
        let image = spec.as_ref().ok().and_then(|(_, spec)| spec.image.clone());
        configs.push(Config { template_id: template.id.clone(), version, spec: spec.map(|(common, spec)| (spec, common)) });
        let overrides = config.list("Overrides");
        let members = overrides.iter().filter_map(Value::as_object).map(Some);
        for override_members in members.chain(overrides.is_empty().then_some(None)) {
            let own = override_members.and_then(|members| members.part("InstanceRequirements"));
            let named = override_members.is_some_and(|members| members.text("InstanceType").is_some());
            if own.is_some() && named {
                return Err(errors::REQUIREMENTS_AND_TYPE.error(&[]));
            }
            let Some(asked) = own.or(of_template.as_ref().filter(|_| !named)) else {
                entries.push(Entry { config: at, override_members, found: None });
                continue;
            };
            let image = override_members.and_then(|members| members.text("ImageId")).or(image.as_deref());
            let found = by_attributes(world, asked, image);
            if found.is_empty() {
                return Err(errors::FLEET_REQUIREMENTS.error(&[]));
            }
            entries.extend(found.into_iter().map(|found| Entry { config: at, override_members, found: Some(found) }));
        }
    }
    Ok((configs, entries))
}

/// Types with the attributes that are asked for, of the image's architecture.
fn by_attributes(world: &World<'_>, asked: &Members, image: Option<&str>) -> Vec<Found> {
    let architecture = image.and_then(|image| world.region.images.get(image)).map(|image| image.architecture);
    let architectures: &[&str] = &architecture.map_or(vec!["x86_64", "arm64"], |one| vec![one]);
    let types = requirements::matching(world, asked, architectures);
    let on_demand = requirements::protected(world, asked, Market::OnDemand, types.clone());
    let spot = requirements::protected(world, asked, Market::Spot, types.clone());
    let found =
        types.into_iter().map(|name| Found { instance_type: name, on_demand: on_demand.contains(&name), spot: spot.contains(&name) });
    found.filter(|found| found.on_demand || found.spot).collect()
}

fn choice<'a>(entry: &Entry<'a>) -> Choice<'a> {
    let found = entry.found.map(|found| found.instance_type);
    let Some(members) = entry.override_members else { return Choice { instance_type: found, ..Choice::default() } };
    let zone = members.text("AvailabilityZone").or_else(|| members.text("AvailabilityZoneId"));
    let zone = zone.or_else(|| members.part("Placement").and_then(|placement| placement.text("AvailabilityZone")));
    Choice { instance_type: found.or(members.text("InstanceType")), image: members.text("ImageId"), subnet: members.text("SubnetId"), zone }
}

/// Chooses pools for one market's share.
fn plan_share(
    world: &mut World<'_>,
    input: &Members,
    configs: &[Config],
    entries: &[Entry<'_>],
    market: Market,
    target: u64,
) -> Result<Share, AwsError> {
    let options = input.part(if market == Market::Spot { "SpotOptions" } else { "OnDemandOptions" });
    let pools = options.and_then(|options| options.int("InstancePoolsToUseCount")).and_then(|pools| usize::try_from(pools).ok());
    let name = options.and_then(|options| options.text("AllocationStrategy"));
    let strategy = Strategy::read(market, name, pools.unwrap_or(1))?;
    let (mut candidates, mut refused) = (Vec::new(), Vec::new());
    for (number, entry) in entries.iter().enumerate() {
        match candidate(world, configs, entry, market) {
            _ if entry.found.is_some_and(|found| !found.sold(market)) => {}
            Ok(candidate) => candidates.push((number, candidate)),
            // One of many that might have done.
            Err(_) if entry.found.is_some() => {}
            Err(why) => refused.push((number, why)),
        }
    }
    only_one(options, &mut candidates);
    if !world.account.rules.is_empty() {
        let pools: Vec<_> = candidates.iter().map(|(_, candidate)| candidate.place.pool(market)).collect();
        world.note_met(&pools);
    }
    let draw = world.account.entropy.draw("fleet-tie");
    let mut plan = allocate(world, &candidates, market, strategy, target, draw);
    refused.append(&mut plan.failures);
    plan.failures = refused;
    if let Some(least) = options.and_then(|options| options.int("MinTargetCapacity")).and_then(|least| u64::try_from(least).ok())
        && plan.met < least
    {
        plan.take.clear();
        if plan.failures.is_empty() {
            plan.failures.push((0, errors::MINIMUM.error(&[&least.to_string()])));
        }
    }
    Ok(Share { market, target, plan }.checked())
}

impl Share {
    /// A shortfall is never silent: clients read the errors to learn why.
    fn checked(mut self) -> Self {
        if self.plan.met < self.target && self.plan.failures.is_empty() {
            self.plan.failures.push((0, errors::SPOT_CAPACITY.error(&[])));
        }
        self
    }
}

fn candidate(world: &World<'_>, configs: &[Config], entry: &Entry<'_>, market: Market) -> Result<Candidate, AwsError> {
    let (spec, _) = configs[entry.config].spec.as_ref().map_err(Clone::clone)?;
    if market != Market::Spot && spec.tags.contains_key("spot-instances-request") {
        return Err(super::run::spot_tags_without_spot());
    }
    let place = launch::place(world, spec, &choice(entry))?;
    let members = entry.override_members;
    let max_price = max_price(spec, entry)?;
    let number = |member: &str| members.and_then(|members| members.get(member)?.as_f64());
    let weight = number("WeightedCapacity").map_or(1, |weight| (weight.max(1.0)) as u64);
    Ok(Candidate { place, priority: number("Priority"), weight, max_price, addresses: spec.addresses() })
}

/// The most that is paid per hour: the override's, else the template's.
fn max_price(spec: &Spec, entry: &Entry<'_>) -> Result<Option<(String, MicroUsd)>, AwsError> {
    let own = spec::price(entry.override_members.and_then(|members| members.text("MaxPrice")))?;
    Ok(own.or_else(|| spec.max_price.clone()))
}

/// `SingleInstanceType` and `SingleAvailabilityZone`: the first candidate's decides.
fn only_one(options: Option<&Members>, candidates: &mut Vec<(usize, Candidate)>) {
    let Some(options) = options else { return };
    let Some((name, zone)) = candidates.first().map(|(_, first)| (first.place.details.name(), first.place.zone)) else { return };
    if options.flag("SingleInstanceType") {
        candidates.retain(|(_, candidate)| candidate.place.details.name() == name);
    }
    if options.flag("SingleAvailabilityZone") {
        candidates.retain(|(_, candidate)| candidate.place.zone == zone);
    }
}

/// Template and override as the reply repeats them: clients take type, subnet and zone from here, on instances and errors alike.
fn render_entry(world: &World<'_>, configs: &[Config], entry: &Entry<'_>) -> Value {
    let config = &configs[entry.config];
    let mut overrides = entry.override_members.cloned().unwrap_or_default();
    if let Ok((spec, _)) = &config.spec {
        match launch::place(world, spec, &choice(entry)) {
            Ok(place) => {
                overrides.entry("InstanceType").or_insert_with(|| place.details.name().into());
                overrides.shift_remove("InstanceRequirements");
                overrides.entry("SubnetId").or_insert_with(|| place.subnet_id.into());
                overrides.entry("AvailabilityZone").or_insert_with(|| place.zone.name.into());
            }
            Err(_) => {
                if let Some(name) = &spec.instance_type {
                    overrides.entry("InstanceType").or_insert_with(|| name.clone().into());
                }
            }
        }
    }
    json!({
        "LaunchTemplateSpecification": {"LaunchTemplateId": config.template_id, "Version": config.version.to_string()},
        "Overrides": overrides,
    })
}

fn render_failure(world: &World<'_>, configs: &[Config], entry: &Entry<'_>, market: Market, why: &AwsError) -> Value {
    Out::new()
        .with("LaunchTemplateAndOverrides", render_entry(world, configs, entry))
        .with("Lifecycle", market.name())
        .with("ErrorCode", why.code.clone())
        .with("ErrorMessage", why.message.clone())
        .done()
}

/// Tells the faults of capacity which launches they have met.
fn note_failure(world: &mut World<'_>, configs: &[Config], entry: &Entry<'_>, market: Market) {
    let Ok((spec, _)) = &configs[entry.config].spec else { return };
    if let Ok(place) = launch::place(world, spec, &choice(entry)) {
        world.note_dry(&place.pool(market));
    }
}

/// No tags by type: for launches without any of their own.
pub(super) static NO_TAGS: BTreeMap<String, Tags> = BTreeMap::new();
