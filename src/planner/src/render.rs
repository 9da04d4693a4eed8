//! Reasons in sentences.

use crate::output::{Explanation, LaunchReason, PodOutcome, PoolRefusal, Refusal};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use vocabulary::Resources;

/// The explanation as text, one launch or one group of like pods a paragraph.
pub fn render(explanation: &Explanation) -> String {
    let mut text = String::new();
    for launch in &explanation.launches {
        text.push_str(&launch_text(launch));
    }
    for pool in &explanation.barren {
        let why = if pool.min_values { " in the variety that its minValues demand" } else { "" };
        let _ = writeln!(text, "NodePool {}: its requirements leave no instance type that can be had{why}", pool.pool);
    }
    let mut groups: BTreeMap<String, Vec<&Arc<str>>> = BTreeMap::new();
    for verdict in &explanation.pods {
        if let Some(words) = outcome_text(&verdict.outcome) {
            groups.entry(words).or_default().push(&verdict.pod);
        }
    }
    for (words, pods) in groups {
        let others = if pods.len() > 1 { format!(" and {} more", pods.len() - 1) } else { String::new() };
        let _ = writeln!(text, "{}{others}: {words}", pods[0]);
    }
    text
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&refusal_text(self))
    }
}

fn count(number: i64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn launch_text(launch: &LaunchReason) -> String {
    let pods = i64::try_from(launch.pods).unwrap_or(i64::MAX);
    let mut text = format!("NodePool {}: {}", launch.pool, count(pods, "pod"));
    let daemons = launch.daemons.get(vocabulary::resources::PODS);
    if daemons > 0 {
        let _ = write!(text, " and {}", count(daemons, "daemon"));
    }
    let verb = if pods + daemons == 1 { "asks" } else { "ask" };
    let _ = write!(text, " {verb} {}", amounts(&launch.requests));
    if let Some(first) = launch.chosen.first() {
        let of = if launch.chosen.len() == 1 {
            "the only type that fits".to_owned()
        } else {
            format!("the cheapest of {} that fit", launch.chosen.len())
        };
        let _ = write!(text, "; {} at {}/h is {of}", first.instance_type, first.price);
    }
    for (name, refusal) in &launch.ruled_out {
        let _ = write!(text, "; {name}: {}", refusal_text(refusal));
    }
    text.push('\n');
    for refused in &launch.refused_pools {
        let _ = writeln!(text, "  before it {}", pool_text(refused));
    }
    text
}

fn amounts(resources: &Resources) -> String {
    let shown: Vec<String> = resources
        .iter()
        .filter(|(name, _)| *name != vocabulary::resources::PODS)
        .map(|(name, amount)| format!("{} {name}", amount_text(name, amount)))
        .collect();
    if shown.is_empty() { "no resources".to_owned() } else { shown.join(", ") }
}

/// As Kubernetes prints it, but with a decimal where that is shorter to read than seven digits of Mi or Ki.
fn amount_text(name: &str, amount: i64) -> String {
    Resources::print(name, amount)
}

/// `None` for pods that have a place.
fn outcome_text(outcome: &PodOutcome) -> Option<String> {
    match outcome {
        PodOutcome::FitsNode(_) | PodOutcome::Launch(_) => None,
        PodOutcome::Invalid { fault, .. } => Some(format!("Pending: {fault}")),
        PodOutcome::Unschedulable(pools) if pools.is_empty() => Some("Pending: there is no NodePool".to_owned()),
        PodOutcome::Unschedulable(pools) => Some(format!("Pending: {}", pools.iter().map(pool_text).collect::<Vec<_>>().join("; "))),
    }
}

fn pool_text(refusal: &PoolRefusal) -> String {
    format!("NodePool {}: {}", refusal.pool, refusal_text(&refusal.reason))
}

fn refusal_text(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotReady => "not ready".to_owned(),
        Refusal::Taint(taint) => format!("taint {taint} is not tolerated"),
        Refusal::Requirement { asked, offered } => format!("{asked} is asked, but {offered}"),
        Refusal::Resource { name, asked, room } => format!("{name} {} of {}", amount_text(name, *asked), amount_text(name, *room)),
        Refusal::Limits { name, limit, left, smallest } => format!(
            "limits: {name} {} would exceed {} left of {}",
            amount_text(name, *smallest),
            amount_text(name, (*left).max(0)),
            amount_text(name, *limit)
        ),
        Refusal::NoOffering { detail } => detail.clone(),
        Refusal::HostPort { port } => format!("host port {port} is taken by a daemon or another pod"),
        Refusal::Topology { rule, key, domains } => {
            let counts: Vec<String> = domains.iter().map(|(domain, count)| format!("{domain} {count}")).collect();
            let counts = if counts.is_empty() { String::new() } else { format!(" (pods there: {})", counts.join(", ")) };
            format!("{rule} over {key} leaves no domain{counts}")
        }
        Refusal::Volume { asked, offered } => format!("its volumes ask for {asked}, but {offered}"),
        Refusal::MinValues { key, wanted, found } => format!("minValues: {found} of {wanted} values of {key} are left"),
        Refusal::NoInstanceTypes => "no instance type meets its requirements".to_owned(),
        Refusal::ReservedCapacity => "reserved capacity would fit but is all taken; waiting for it".to_owned(),
        Refusal::Undecided(field) => format!("{field} is not supported yet, so the pod is left alone"),
    }
}
