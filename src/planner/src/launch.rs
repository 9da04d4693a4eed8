//! From a NodeClaim in the making to the one to create (`C/pkg/controllers/provisioning/scheduling/nodeclaimtemplate.go`).

use crate::bits::Bits;
use crate::claim::Claim;
use crate::explain;
use crate::input::{InstanceType, MinValuesPolicy, Pod};
use crate::intern::{Amounts, add};
use crate::output::{Choice, ClaimRequirement, LaunchReason, NodeClaimPlan};
use crate::schedule::Scheduler;
use crate::template::{Template, buyable};
use std::collections::BTreeSet;
use std::sync::Arc;
use vocabulary::{CapacityType, Operator, Requirement, Requirements, UsdPerHour, labels};

/// In plans that open more NodeClaims than this at once nobody is told which types each ruled out: hundreds of reasons a piece.
const TOLD: usize = 100;

/// `minValues` that the cheapest instance types do not meet any more once the list is cut.
pub struct Truncated {
    pub key: Arc<str>,
    pub wanted: u32,
    pub found: u32,
}

/// A NodeClaim before it is written: what it asks, and the types that it may become, cheapest first.
pub struct Draft {
    pub requirements: Requirements,
    pub chosen: Vec<(usize, UsdPerHour)>,
}

impl Draft {
    pub fn types(&self, template: &Template) -> Bits {
        let mut types = Bits::empty(template.types.len());
        self.chosen.iter().for_each(|(position, _)| types.insert(*position));
        types
    }
}

/// Cuts the list of instance types, cheapest first (`…/scheduling/scheduler.go`, TruncateInstanceTypes).
pub fn draft(scheduler: &Scheduler<'_>, claim: &Claim) -> Result<Draft, Truncated> {
    let template = &scheduler.templates[claim.template];
    let mut requirements = scheduler.table.get(claim.requirements).clone();
    if !claim.reserved.is_empty() {
        requirements.set(Requirement::is_in(labels::CAPACITY_TYPE, CapacityType::Reserved.as_str()));
        requirements.add(Requirement::new(labels::CAPACITY_RESERVATION_ID, Operator::In, claim.reserved.iter().cloned()));
    }
    let free = scheduler.table.get(claim.requirements);
    let chosen = cheapest(template, &claim.options, &requirements, free, scheduler.options.max_instance_types);
    let draft = Draft { requirements, chosen };
    if scheduler.options.min_values_policy == MinValuesPolicy::Strict
        && let Some((key, wanted, found)) = template.shortages(&claim.min_values, &draft.types(template)).next()
    {
        return Err(Truncated { key: key.clone(), wanted, found });
    }
    Ok(draft)
}

/// Writes the NodeClaim, with the reason for its instance types.
pub fn finish(scheduler: &Scheduler<'_>, claim: &Claim) -> Result<(NodeClaimPlan, LaunchReason), Truncated> {
    Ok(write(scheduler, claim, draft(scheduler, claim)?))
}

/// The same, with the instance types as somebody has narrowed them down.
pub fn write(scheduler: &Scheduler<'_>, claim: &Claim, draft: Draft) -> (NodeClaimPlan, LaunchReason) {
    let template = &scheduler.templates[claim.template];
    let Draft { mut requirements, chosen } = draft;
    let choices: Vec<Choice> =
        chosen.iter().map(|(t, price)| Choice { instance_type: template.types[*t].name.clone(), price: *price }).collect();
    narrow(&mut requirements, template, &chosen);
    let daemons = daemon_overhead(template, &claim.options, claim.requests.len());
    let mut requests = claim.requests.clone();
    add(&mut requests, &daemons);
    let pool = &template.pool;
    let plan = NodeClaimPlan {
        pool: pool.name.clone(),
        pool_uid: pool.uid.clone(),
        node_class: pool.node_class.clone(),
        labels: template.labels.iter().map(|(key, value)| (key.clone(), value.clone())).chain(custom_labels(&requirements)).collect(),
        annotations: annotations(template, &chosen),
        taints: pool.taints.clone(),
        startup_taints: pool.startup_taints.clone(),
        requirements: written(requirements, claim),
        requests: scheduler.names.resources(&requests),
        expire_after: pool.expire_after,
        termination_grace_period: pool.termination_grace_period,
        instance_types: choices.clone(),
        pods: claim.pods.iter().map(|pod| full_name(&scheduler.pods[*pod])).collect(),
    };
    let reason = LaunchReason {
        pool: pool.name.clone(),
        requests: plan.requests.clone(),
        daemons: scheduler.names.resources(&daemons),
        pods: claim.pods.len(),
        chosen: choices,
        ruled_out: if scheduler.claims.len() <= TOLD { explain::ruled_out(template, scheduler, claim) } else { Vec::new() },
        refused_pools: claim.refused_pools.clone(),
    };
    (plan, reason)
}

pub fn full_name(pod: &Pod) -> Arc<str> {
    [&*pod.namespace, "/", &*pod.name].concat().into()
}

/// The options by their cheapest offering that meets the requirements, at most `limit` of them; equal prices by name. A NodeClaim
/// that is pinned to a reservation keeps the types outside of it as well, after the others by name, at the price they have without it.
fn cheapest(template: &Template, options: &Bits, pinned: &Requirements, free: &Requirements, limit: usize) -> Vec<(usize, UsdPerHour)> {
    if pinned == free {
        let ranking = template.ranking(free);
        return ranking.order.iter().filter(|(t, _)| options.contains(*t)).take(limit).copied().collect();
    }
    let price = |t: usize, requirements: &Requirements| {
        template.types[t].offerings.iter().filter(|offering| buyable(offering, requirements)).map(|offering| offering.price).min()
    };
    let priced = |t: usize| match price(t, pinned) {
        Some(price) => Some((t, false, price)),
        None => price(t, free).map(|price| (t, true, price)),
    };
    let mut all: Vec<(usize, bool, UsdPerHour)> = options.iter().filter_map(priced).collect();
    let name = |t: usize| &template.types[t].name;
    all.sort_by_key(|(t, outside, price)| (*outside, (!outside).then_some(*price), name(*t)));
    all.truncate(limit);
    all.into_iter().map(|(t, _, price)| (t, price)).collect()
}

/// Adds the instance types, and keeps the markets in which they can be had.
fn narrow(requirements: &mut Requirements, template: &Template, chosen: &[(usize, UsdPerHour)]) {
    let mut types = Bits::empty(template.types.len());
    chosen.iter().for_each(|(t, _)| types.insert(*t));
    let ranking = template.ranking(requirements);
    let markets: BTreeSet<CapacityType> = types.iter().flat_map(|t| ranking.markets[t].iter().copied()).collect();
    requirements.add(Requirement::new(labels::INSTANCE_TYPE, Operator::In, template.names_of(&types).cloned()));
    if !markets.is_empty() {
        requirements.add(Requirement::new(labels::CAPACITY_TYPE, Operator::In, markets.into_iter().map(CapacityType::as_str)));
    }
}

/// Requirements as they are created: without those that only served the simulation, with `minValues` as they ended up.
fn written(requirements: Requirements, claim: &Claim) -> Vec<ClaimRequirement> {
    let simulated = [labels::HOSTNAME, labels::REGISTERED, labels::INITIALIZED];
    let kept = requirements.iter().filter(|r| !simulated.contains(&&*r.key)).cloned();
    kept.map(|mut requirement| {
        // FinalizeScheduling writes the market of reserved capacity anew, and with it no `minValues`.
        let anew = !claim.reserved.is_empty() && *requirement.key == *labels::CAPACITY_TYPE;
        requirement.min_values = claim.min_values.get(&requirement.key).copied().filter(|_| !anew);
        let ordered_values = requirement.values.iter().cloned().collect();
        ClaimRequirement { requirement, ordered_values }
    })
    .collect()
}

/// Labels for the user's own keys. Where a requirement leaves a choice upstream draws one; here it is the least.
pub fn custom_labels(requirements: &Requirements) -> impl Iterator<Item = (Arc<str>, Arc<str>)> + '_ {
    let own = |r: &&Requirement| {
        !labels::is_well_known(&r.key) && ![labels::HOSTNAME, labels::REGISTERED, labels::INITIALIZED].contains(&&*r.key)
    };
    requirements.iter().filter(own).filter_map(|r| Some((r.key.clone(), any_value(r)?)))
}

fn any_value(requirement: &Requirement) -> Option<Arc<str>> {
    match requirement.operator() {
        Operator::DoesNotExist => None,
        Operator::In => requirement.values.first().cloned(),
        _ => {
            let least = requirement.gte.unwrap_or(0);
            let last = requirement.lte.unwrap_or(i64::MAX);
            // Upstream draws within the bounds without a look at what is ruled out, and fails where they hold nothing.
            let value = (least..=last).map(|n| Arc::from(n.to_string())).find(|value| requirement.has(value));
            value.or_else(|| (least <= last).then(|| Arc::from(least.to_string())))
        }
    }
}

fn annotations(template: &Template, chosen: &[(usize, UsdPerHour)]) -> crate::input::Labels {
    let mut made = template.pool.annotations.clone();
    made.insert(labels::NODEPOOL_HASH.into(), template.pool.hash.clone());
    made.insert(labels::NODEPOOL_HASH_VERSION.into(), labels::NODEPOOL_HASH_VERSION_VALUE.into());
    made.insert(labels::NODECLAIM_MIN_VALUES_RELAXED.into(), template.relaxed.to_string().into());
    let any = |says: fn(&InstanceType) -> bool| chosen.iter().any(|(t, _)| says(&template.types[*t]));
    if any(|t| t.offerings.iter().any(|offering| offering.overlaid)) {
        made.insert(labels::PRICE_OVERLAY_APPLIED.into(), "true".into());
    }
    if any(|t| t.overlaid) {
        made.insert(labels::CAPACITY_OVERLAY_APPLIED.into(), "true".into());
    }
    made
}

/// The least that daemons ask on any remaining option. Upstream (`nodeclaim.go`, addDaemonRequests) walks the groups in the order
/// of a Go map and starts anew after a group without daemons, so that there the result depends on the draw; this is one of them.
fn daemon_overhead(template: &Template, options: &Bits, width: usize) -> Amounts {
    let groups = template.groups.iter().filter(|group| group.types.intersects(options));
    let least =
        groups.map(|group| group.overhead.clone()).reduce(|least, other| least.iter().zip(&other).map(|(a, b)| *a.min(b)).collect());
    least.unwrap_or_else(|| vec![0; width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::least_allowed(Some(1), None, &["1", "2"], Some("3"))]
    #[case::nothing_within(Some(0), Some(-1), &[], None)]
    #[case::all_within_ruled_out(Some(1), Some(2), &["1", "2"], Some("1"))]
    fn a_value_of_a_label_of_ones_own(
        #[case] gte: Option<i64>,
        #[case] lte: Option<i64>,
        #[case] not: &[&str],
        #[case] value: Option<&str>,
    ) {
        let mut requirement = Requirement::new("example.com/x", Operator::NotIn, not.iter().copied());
        (requirement.gte, requirement.lte) = (gte, lte);
        assert_eq!(any_value(&requirement).as_deref(), value);
    }
}
