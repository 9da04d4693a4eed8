//! What Karpenter says of a pod that has no place: the text of its `FailedScheduling` Event, to the letter. Where upstream takes
//! whatever a Go map yields first, this takes the first by name.
//!
//! Source: `C/pkg/controllers/provisioning/scheduling/nodeclaim.go` (CanAdd, InstanceTypeFilterError), `scheduler.go`
//! (addToNewNodeClaim), `topology.go` (topologyError), `C/pkg/scheduling/requirements.go` (Compatible), `requirement.go` (String).

use crate::intern::{RequirementTable, RequirementsId, ResourceNames, Undefined};
use crate::output::{PodOutcome, Refusal};
use crate::ports;
use crate::shape::{Shape, Stage};
use crate::template::{MinValues, Template, buyable};
use crate::topology::{Conflict, Site, Topology};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use vocabulary::{Operator, Requirement, Requirements, Resources, Toleration, labels, resources};

/// Where a pod is asked about.
pub struct Place<'a> {
    pub template: &'a mut Template,
    pub table: &'a mut RequirementTable,
    pub topology: &'a mut Topology,
    pub names: &'a ResourceNames,
    /// The host that a new NodeClaim would be.
    pub host: usize,
    /// NodeClaims that are planned.
    pub claims: usize,
    /// `minValues` are demanded, not wished for.
    pub strict: bool,
}

/// A pod of some shape at the last of its stages, and what it asks for.
pub struct Asking<'a> {
    pub shape: &'a Shape,
    pub stage: &'a Stage,
    pub requests: &'a Resources,
}

/// Why a pool opens no NodeClaim for the pod. `None`: by itself it would; reserved capacity is what lacks.
pub fn of_pool(place: &mut Place<'_>, asking: &Asking<'_>) -> Option<String> {
    let template = &*place.template;
    if template.nodes_exhausted() {
        return Some(format!("node limits have been exhausted for nodepool (NodePool={})", template.pool.name));
    }
    if template.within_limits().is_empty() {
        return Some(format!("all available instance types exceed limits for nodepool (NodePool={})", template.pool.name));
    }
    if let Some(words) = taints(template, &asking.stage.tolerations) {
        return Some(words);
    }
    let Some(joined) = place.table.join(template.requirements, asking.stage.requirements, Undefined::WellKnown) else {
        let (pool, pod) = (place.table.get(template.requirements), place.table.get(asking.stage.requirements));
        return Some(format!("incompatible requirements, {}", incompatible(pool, pod, &template.min_values)?));
    };
    if asking.shape.volumes.is_empty() {
        return with_volumes(place, asking, joined);
    }
    // Upstream tells the last alternative's.
    let mut last = None;
    for asked in &asking.shape.volumes {
        last = match place.table.join(joined, *asked, Undefined::WellKnown) {
            Some(narrowed) => with_volumes(place, asking, narrowed),
            None => {
                let (held, asked) = (place.table.get(joined), place.table.get(*asked));
                Some(format!("incompatible volume requirements, {}", incompatible(held, asked, &place.template.min_values)?))
            }
        };
    }
    last
}

/// Why the pod has no place; `None` if it has one.
pub fn of(outcome: &PodOutcome) -> Option<String> {
    match outcome {
        PodOutcome::FitsNode(_) | PodOutcome::Launch(_) => None,
        PodOutcome::Invalid { words, .. } => Some(words.to_string()),
        // Said of the pod, not of each pool.
        PodOutcome::Unschedulable(pools) if pools.iter().any(|pool| matches!(pool.reason, Refusal::Undecided(_))) => {
            Some(RESOURCE_CLAIMS.to_owned())
        }
        PodOutcome::Unschedulable(pools) => {
            let told: Vec<&str> = pools.iter().map(|pool| &*pool.words).filter(|words| !words.is_empty()).collect();
            Some(if told.is_empty() { BARREN.to_owned() } else { told.join("; ") })
        }
    }
}

/// A pod whose NodeClaim lost what `minValues` demand when its types were cut to what CreateFleet takes.
pub fn cut_too_far(pool: &str, key: &str) -> String {
    format!(
        "pod didn’t schedule because NodePool couldn’t meet minValues requirements, validating minValues, {} (NodePool={pool})",
        too_few(&[key])
    )
}

/// All pools leave no instance type.
const BARREN: &str = "nodepool requirements filtered out all available instance types";

/// A pod with resource claims (`scheduler.go`, add).
const RESOURCE_CLAIMS: &str = "pod has Dynamic Resource Allocation requirements that are not yet supported by Karpenter";

fn too_few(keys: &[&str]) -> String {
    format!("minValues requirement is not met for label(s) (label(s)=[{}])", keys.join(" "))
}

fn taints(template: &Template, tolerations: &[Toleration]) -> Option<String> {
    let untolerated = template
        .pool
        .taints
        .iter()
        .filter(|taint| vocabulary::taint::first_untolerated(std::slice::from_ref(*taint), tolerations).is_some());
    let told: Vec<String> = untolerated.map(|taint| format!("did not tolerate taint (taint={taint})")).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn with_volumes(place: &mut Place<'_>, asking: &Asking<'_>, joined: RequirementsId) -> Option<String> {
    let taints = place.template.pool.taints.clone();
    let site = Site { host: place.host, taints: &taints, undefined: Undefined::WellKnown };
    let min_values = place.template.min_values.clone();
    let joined = match place.topology.narrow(asking.shape, asking.stage, site, joined, place.table) {
        Ok(joined) => joined,
        Err(_) => {
            let conflict = place.topology.conflict(asking.shape, asking.stage, site, joined, place.table).err()?;
            return Some(match *conflict {
                Conflict::Rule(rule) => {
                    // Only the pool has demanded how many values there must be.
                    let told = |requirement: Option<&Requirement>, min_values: &MinValues| match requirement {
                        Some(requirement) => written(requirement, min_values),
                        None => format!("{} Exists", rule.key),
                    };
                    let placeholder = Requirement::is_in(labels::HOSTNAME, host_name(place.claims));
                    let node = rule.host.then_some(&placeholder).or(rule.node.as_ref());
                    format!(
                        "unsatisfiable topology constraint for {}, key={} (counts = {}, podDomains = {}, nodeDomains = {}",
                        rule.kind.as_str(),
                        rule.key,
                        counts(&place.topology.counts(&rule, place.claims)),
                        told(rule.pod.as_ref(), &MinValues::new()),
                        told(node, &min_values)
                    )
                }
                Conflict::Together(_, narrowed) => incompatible_within(place.table.get(joined), &narrowed, &min_values, &min_values)?,
            });
        }
    };
    no_type(place, asking, joined)
}

/// The name that a NodeClaim has as long as it is only planned.
pub fn host_name(claim: usize) -> String {
    format!("hostname-placeholder-{:04}", claim + 1)
}

/// The first 25 by name (`C/pkg/utils/pretty/pretty.go`, Map).
fn counts(domains: &BTreeMap<Arc<str>, i64>) -> String {
    let shown: Vec<String> = domains.iter().take(25).map(|(domain, count)| format!("{domain}: {count}")).collect();
    let others = domains.len().saturating_sub(25);
    shown.join(", ") + &if others > 0 { format!(" and {others} other(s)") } else { String::new() }
}

/// Which of the three criteria any instance type met, alone and in pairs.
#[derive(Default)]
struct Met {
    requirements: bool,
    fits: bool,
    offering: bool,
    without_offering: bool,
    without_fitting: bool,
    without_requirements: bool,
}

impl Met {
    fn words(&self) -> &'static str {
        match (self.requirements, self.fits, self.offering) {
            (false, false, false) => "no instance type met the scheduling requirements or had enough resources or had a required offering",
            (false, false, true) => "no instance type met the scheduling requirements or had enough resources",
            (false, true, false) => "no instance type met the scheduling requirements or had a required offering",
            (true, false, false) => "no instance type had enough resources or had a required offering",
            (false, true, true) => "no instance type met all requirements",
            (true, false, true) => "no instance type has enough resources",
            (true, true, false) => "no instance type has the required offering",
            _ if self.without_offering => {
                "no instance type which met the scheduling requirements and had enough resources, had a required offering"
            }
            _ if self.without_requirements => {
                "no instance type which had enough resources and the required offering met the scheduling requirements"
            }
            _ if self.without_fitting => {
                "no instance type which met the scheduling requirements and the required offering had the required resources"
            }
            _ => "no instance type met the requirements/resources/offering tuple",
        }
    }
}

fn no_type(place: &Place<'_>, asking: &Asking<'_>, joined: RequirementsId) -> Option<String> {
    let (template, requirements) = (&*place.template, place.table.get(joined));
    let eligible = template.within_limits();
    let mut met = Met::default();
    let mut remaining = eligible.clone();
    remaining.clear();
    let mut overheads: Vec<Resources> = Vec::new();
    for group in &template.groups {
        if ports::first_conflict(&asking.shape.ports, &group.ports).is_some() {
            continue;
        }
        let overhead = place.names.resources(&group.overhead);
        if !overhead.is_empty() {
            overheads.push(overhead);
        }
        for t in group.types.and(&eligible).iter() {
            let instance_type = &template.types[t];
            let compatible = requirements.intersects(&instance_type.requirements);
            let offering = instance_type.offerings.iter().any(|offering| buyable(offering, requirements));
            let room = place.names.amounts(&instance_type.allocatable);
            let enough = asking.shape.requests.iter().zip(&group.overhead).zip(&room).all(|((pod, daemons), room)| pod + daemons <= *room);
            // Upstream asks whether something fits only where there is an offering (`nodeclaim.go`, fits).
            let fits = offering && enough && instance_type.allocatable.iter().all(|(_, amount)| amount >= 0);
            met.requirements |= compatible;
            met.fits |= fits;
            met.offering |= offering;
            met.without_offering |= compatible && fits && !offering;
            met.without_fitting |= compatible && offering && !fits;
            met.without_requirements |= fits && offering && !compatible;
            if compatible && fits && offering {
                remaining.insert(t);
            }
        }
    }
    let words = if remaining.is_empty() {
        met.words().to_owned()
    } else {
        let short: Vec<&str> = template.shortages(&template.min_values, &remaining).map(|(key, ..)| &**key).collect();
        if short.is_empty() || !place.strict {
            return None;
        }
        too_few(&short)
    };
    let typo = words == "no instance type has enough resources" && asking.requests.get(resources::CPU) >= 1_000_000_000;
    Some(format!(
        "{words}, requirements={}, resources={}{}",
        all_written(requirements, &template.min_values),
        between(asking.requests, &overheads),
        if typo { " (CPU request >= 1 Million, m vs M typo?)" } else { "" }
    ))
}

/// The pod's requests with the least and the most that daemons add (`nodeclaim.go`, resourcesString).
fn between(pod: &Resources, overheads: &[Resources]) -> String {
    let Some((first, others)) = overheads.split_first() else { return amounts(pod) };
    let (mut least, mut most) = (first.clone(), first.clone());
    for overhead in others {
        let mut common = Resources::new();
        for (name, amount) in least.iter().filter(|(name, _)| overhead.contains(name)) {
            common.set(name, amount.min(overhead.get(name)));
        }
        least = common;
        for (name, amount) in overhead.iter() {
            most.set(name, amount.max(most.get(name)));
        }
    }
    // When they have nothing in common, upstream takes it that there are none.
    if least.is_empty() {
        return amounts(pod);
    }
    let [least, most] = [least, most].map(|daemons| {
        let mut total = pod.clone();
        daemons.iter().for_each(|(name, amount)| total.set(name, total.get(name).saturating_add(amount)));
        amounts(&total)
    });
    if least == most { least } else { format!("min={least}, max={most}") }
}

/// As JSON, in order of names.
fn amounts(list: &Resources) -> String {
    let entries: Vec<String> = list.iter().map(|(name, amount)| format!("\"{name}\":\"{}\"", quantity(name, amount))).collect();
    format!("{{{}}}", entries.join(","))
}

/// In the canonical form of a quantity. Whether bytes were written in powers of two or of ten is not known any more: the shorter
/// of the two is what people write.
fn quantity(name: &str, amount: i64) -> String {
    let decimal = |amount: i64| {
        let units = [(1_000_000_000_000i64, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
        match units.into_iter().find(|(unit, _)| amount != 0 && amount % unit == 0) {
            Some((unit, suffix)) => format!("{}{suffix}", amount / unit),
            None => amount.to_string(),
        }
    };
    match name {
        resources::CPU if amount % 1000 != 0 => format!("{amount}m"),
        resources::CPU => decimal(amount / 1000),
        _ if name == resources::MEMORY || name == resources::EPHEMERAL_STORAGE || name.starts_with("hugepages-") => {
            let (binary, decimal) = (Resources::print(name, amount), decimal(amount));
            if decimal.len() < binary.len() { decimal } else { binary }
        }
        _ => decimal(amount),
    }
}

/// Why what is held cannot be narrowed to what is asked.
fn incompatible(held: &Requirements, asked: &Requirements, min_values: &MinValues) -> Option<String> {
    incompatible_within(held, asked, min_values, &MinValues::new())
}

/// The same where what is asked comes with `minValues`, too.
fn incompatible_within(held: &Requirements, asked: &Requirements, min_values: &MinValues, asked_values: &MinValues) -> Option<String> {
    let absent = [Operator::NotIn, Operator::DoesNotExist];
    let unknown = asked.iter().find(|r| !labels::is_well_known(&r.key) && !held.contains(&r.key) && !absent.contains(&r.operator()));
    if let Some(requirement) = unknown {
        return Some(format!("label \"{}\" does not have known values{}", requirement.key, hint(held, &requirement.key)));
    }
    let conflicts = asked.iter().filter_map(|incoming| {
        let existing = held.get(&incoming.key)?;
        let both_absent = absent.contains(&incoming.operator()) && absent.contains(&existing.operator());
        (!existing.intersects(incoming) && !both_absent)
            .then(|| format!("key {}, {} not in {}", incoming.key, written(incoming, asked_values), written(existing, min_values)))
    });
    let conflicts: Vec<String> = conflicts.collect();
    (!conflicts.is_empty()).then(|| conflicts.join("; "))
}

/// A label of nearly this name.
fn hint(held: &Requirements, key: &str) -> String {
    let suffix = key.split_once('/').map_or(key, |(_, rest)| rest);
    let near = |known: &&str| known.contains(key) || known.ends_with(suffix);
    let found = labels::WELL_KNOWN.into_iter().find(near).or_else(|| held.iter().map(|r| &*r.key).find(near));
    found.map_or_else(String::new, |known| format!(" (typo of \"{known}\"?)"))
}

fn written(requirement: &Requirement, min_values: &MinValues) -> String {
    let operator = requirement.operator();
    let mut text = format!("{} {operator:?}", requirement.key);
    if !matches!(operator, Operator::Exists | Operator::DoesNotExist) {
        let values: Vec<&str> = requirement.values.iter().take(5).map(|value| &**value).collect();
        let others = requirement.values.len().saturating_sub(5);
        let others = if others > 0 { format!(" and {others} others") } else { String::new() };
        let _ = write!(text, " [{}{others}]", values.join(" "));
    }
    requirement.gte.iter().for_each(|low| text.push_str(&format!(" >={low}")));
    requirement.lte.iter().for_each(|high| text.push_str(&format!(" <={high}")));
    min_values.get(&requirement.key).iter().for_each(|least| text.push_str(&format!(" minValues {least}")));
    text
}

fn all_written(requirements: &Requirements, min_values: &MinValues) -> String {
    let mut all: Vec<String> =
        requirements.iter().filter(|r| *r.key != *labels::HOSTNAME).map(|requirement| written(requirement, min_values)).collect();
    all.sort();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("cpu", 1500, "1500m")]
    #[case("cpu", 2_000_000, "2k")]
    #[case("memory", 1 << 30, "1Gi")]
    #[case("memory", 1536 << 20, "1536Mi")]
    #[case("memory", 512_000_000, "512M")]
    #[case("memory", 1_000_001, "1000001")]
    #[case("pods", 1024, "1024")]
    #[case("nvidia.com/gpu", 0, "0")]
    fn quantities_are_canonical(#[case] name: &str, #[case] amount: i64, #[case] text: &str) {
        assert_eq!(quantity(name, amount), text);
    }

    #[test]
    fn daemons_are_told_as_least_and_most() {
        let of = |cpu: i64, pods: i64| Resources::new().with("cpu", cpu).with("pods", pods);
        assert_eq!(between(&of(1000, 1), &[]), r#"{"cpu":"1","pods":"1"}"#);
        assert_eq!(between(&of(1000, 1), &[of(500, 1), of(500, 1)]), r#"{"cpu":"1500m","pods":"2"}"#);
        assert_eq!(between(&of(1000, 1), &[of(500, 1), of(250, 2)]), r#"min={"cpu":"1250m","pods":"2"}, max={"cpu":"1500m","pods":"3"}"#);
    }

    #[test]
    fn a_label_that_is_nearly_known_is_named() {
        let held: Requirements = [Requirement::is_in("example.com/team", "a")].into_iter().collect();
        let asked = |key: &str| [Requirement::is_in(key, "b")].into_iter().collect::<Requirements>();
        let words = |key: &str| incompatible(&held, &asked(key), &BTreeMap::new());
        assert_eq!(words("team").as_deref(), Some("label \"team\" does not have known values (typo of \"example.com/team\"?)"));
        assert_eq!(
            words("kubernetes.io/zone").as_deref(),
            Some("label \"kubernetes.io/zone\" does not have known values (typo of \"topology.kubernetes.io/zone\"?)")
        );
        assert_eq!(words("other").as_deref(), Some("label \"other\" does not have known values"));
        assert_eq!(
            words("example.com/team").as_deref(),
            Some("key example.com/team, example.com/team In [b] not in example.com/team In [a]")
        );
    }
}
