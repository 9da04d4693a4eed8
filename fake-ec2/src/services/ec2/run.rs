//! RunInstances.

use serde_json::{Value, json};

use super::ceiling::{self, Held, Why};
use super::launch::{self, Choice, Order, Place};
use super::spec::Spec;
use super::{fleet, instances, templates};
use crate::protocol::{AwsError, Call};
use crate::services::input::{Members, Out, Read};
use crate::services::{Answer, errors};
use crate::state::network::Tags;
use crate::state::{Market, World};

pub(super) fn run(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    let (least, most) = counts(input)?;
    let mut system_tags = Tags::new();
    let template = match input.part("LaunchTemplate") {
        None => Members::new(),
        Some(named) => {
            let template = templates::named(world, named)?;
            let version = templates::version(template, named.text("Version"))?;
            system_tags.insert("aws:ec2launchtemplate:id".into(), template.id.clone());
            system_tags.insert("aws:ec2launchtemplate:version".into(), version.to_string());
            template.versions.get(&version).map(|version| version.data.clone()).unwrap_or_default()
        }
    };
    let spec = Spec::read(&template, input)?;
    let market = spec.market;
    if market != Market::Spot && spec.tags.contains_key("spot-instances-request") {
        return Err(spot_tags_without_spot());
    }
    let common = launch::check_common(world, &spec)?;
    let place = roomy_place(world, &spec, least)?;
    launch::check_market(world, &place, market, spec.max_price.as_ref())?;
    if let Some(zone) = ceiling::elsewhere(world, &place, &Held::default()) {
        return Err(errors::GROUP_ELSEWHERE.error(&[place.group.as_deref().unwrap_or_default(), zone]));
    }
    super::dry_run(call)?;

    world.note_met(&[place.pool(market)]);
    let (left, bound) = ceiling::left(world, &place, market, &Held::default());
    let count = most.min(left);
    if count < least {
        world.note_dry(&place.pool(market));
        return Err(if bound == Why::Capacity { insufficient(world, &spec, &place) } else { bound.error(world, &place, market) });
    }
    let free = world.region.subnets.get(&place.subnet_id).map_or(0, |subnet| subnet.free());
    let count = count.min(free.checked_div(spec.addresses()).map_or(u64::MAX, u64::from));
    if count < least {
        return Err(errors::ADDRESSES.error(&[&place.subnet_id]));
    }
    let max_price = spec.max_price.as_ref().map(|(_, price)| *price);
    let order = Order { market, client_token: input.text("ClientToken"), max_price, tags: &fleet::NO_TAGS, system_tags };
    let ids = launch::launch(world, &spec, &common, &place, &order, count);
    let shown: Vec<Value> = ids.iter().filter_map(|id| Some(instances::render(world, world.region.instances.get(id)?))).collect();
    let reservation = ids.first().and_then(|id| world.region.instances.get(id)).map(|instance| instance.reservation_id.clone());
    let answer = Out::new().maybe("ReservationId", reservation).with("OwnerId", world.account.id.clone()).with("Groups", json!([]));
    Ok(answer.with("Instances", shown).done())
}

fn counts(input: &Members) -> Result<(u64, u64), AwsError> {
    let count = |member: &str| {
        let asked = input.int(member).ok_or_else(|| errors::MISSING.error(&[member]))?;
        u64::try_from(asked)
            .ok()
            .filter(|asked| *asked > 0)
            .ok_or_else(|| errors::invalid(&asked.to_string(), member, "Expecting a positive number."))
    };
    let (least, most) = (count("MinCount")?, count("MaxCount")?);
    if least > most {
        return Err(errors::invalid(&least.to_string(), "minCount", "Expecting a value less than or equal to maxCount."));
    }
    // The default quota of one request. Source: API reference, RunInstances, MaxCount.
    if most > 1000 {
        return Err(errors::TOO_MANY.error(&[]));
    }
    Ok((least, most))
}

/// The place asked for; where neither subnet nor zone is, a default subnet of a zone that has room.
fn roomy_place(world: &World<'_>, spec: &Spec, least: u64) -> Result<Place, AwsError> {
    let first = launch::place(world, spec, &Choice::default())?;
    if spec.asked_subnet().is_some() || spec.zone.is_some() || launch::room(world, &first, spec.market).holds(least) {
        return Ok(first);
    }
    let zones = world.account.offered_in(world.region, first.details.name());
    let places = zones.iter().filter_map(|zone| launch::place(world, spec, &Choice { zone: Some(zone.name), ..Choice::default() }).ok());
    let mut roomy = places.filter(|place| launch::room(world, place, spec.market).holds(least));
    Ok(roomy.next().unwrap_or(first))
}

fn insufficient(world: &World<'_>, spec: &Spec, place: &Place) -> AwsError {
    if spec.market == Market::Spot {
        return errors::SPOT_RUN_CAPACITY.error(&[]);
    }
    if spec.asked_subnet().is_none() && spec.zone.is_none() {
        return errors::CAPACITY_REGION.error(&[place.details.name()]);
    }
    launch::insufficient(world, place, spec.market)
}

/// Tags for Spot requests where there are none.
pub(super) fn spot_tags_without_spot() -> AwsError {
    errors::SPOT_TAGS.error(&[])
}
