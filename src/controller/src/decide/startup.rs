//! Before anything else: where are we, and what can be bought here (`A/pkg/operator/operator.go`).

use super::last;
use crate::effect::{Effect, Outcome};
use crate::log::Line;
use crate::step::{Act, Done, Memo, Step};
use crate::world::World;
use jiff::SignedDuration;

pub fn decide(done: &[Done]) -> Step {
    let Some(Ok(Outcome::Discovered(discovery))) = last(done, |e| matches!(e, Effect::Discover)) else {
        return Step::act(Effect::Discover);
    };
    let Some(version) = last(done, |e| matches!(e, Effect::KubernetesVersion)) else {
        return Step::act(Effect::KubernetesVersion)
            .note(Memo::Discovered(discovery.clone()))
            .note(Line::debug("", "discovered region").with("region", discovery.region.as_str()))
            .note(Line::debug("", "discovered cluster endpoint").with("cluster-endpoint", discovery.cluster_endpoint.as_str()));
    };
    let Some(dns) = last(done, |e| matches!(e, Effect::ClusterDns)) else {
        let mut step = Step::act(Act::from(Effect::ClusterDns).tolerant());
        if let Ok(Outcome::Text(Some(version))) = version {
            step = step.note(Memo::Kubernetes(version.clone())).note(discovered(version));
        }
        return step;
    };
    if last(done, |e| matches!(e, Effect::RefreshPrices)).is_none() {
        // Upstream brings prices along and goes by those while the list is out of reach (`A/pkg/providers/pricing/zz_generated.pricing_*.go`).
        let acts = vec![Effect::RefreshInstanceTypes.into(), Act::from(Effect::RefreshPrices).tolerant()];
        let mut step = Step { acts, ..Step::default() };
        if let Ok(Outcome::Text(dns)) = dns {
            let line = Line::debug("", "discovered kube dns").with("kube-dns-ip", dns.as_deref().unwrap_or(""));
            step = step.note(Memo::ClusterDns(dns.clone())).note(line);
        }
        return step;
    }
    // What is missing must be known when the works begin.
    let step = match last(done, |e| matches!(e, Effect::RefreshPrices)) {
        Some(Err(_)) => Step::rest().note(Memo::PricesMissing),
        _ => Step::rest(),
    };
    step.note(Memo::Started)
}

fn discovered(version: &str) -> Line {
    Line::debug("providers.version", "discovered kubernetes version").with("version", version)
}

/// Every five minutes; a new version changes which AMIs are wanted.
pub fn version(world: &World, done: &[Done]) -> Step {
    match last(done, |e| matches!(e, Effect::KubernetesVersion)) {
        None => Step::act(Effect::KubernetesVersion),
        Some(Ok(Outcome::Text(Some(version)))) if world.facts.kubernetes.as_deref() != Some(version) => {
            Step::after(SignedDuration::from_mins(5), None).note(Memo::Kubernetes(version.clone())).note(discovered(version))
        }
        Some(_) => Step::after(SignedDuration::from_mins(5), None),
    }
}
