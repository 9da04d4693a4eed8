//! What device plugins can give, and to whom they gave it.
//!
//! Source: kubernetes `pkg/kubelet/cm/devicemanager/manager.go` (Allocate, devicesToAllocate), `pkg/kubelet/cm/admission/errors.go`. Devices
//! are told apart by nothing, so they are counted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::{Applicant, Refusal, UNEXPECTED};
use crate::quantity;

/// A container's limits of extended resources.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    kind: Kind,
    counts: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// What it had, later containers use again.
    Init,
    Sidecar,
    Main,
}

impl Limits {
    /// Those of a pod's containers that have any, in the order in which they are served.
    pub fn of(spec: &PodSpec) -> Vec<Limits> {
        let init = spec.init_containers.iter().flatten().map(|one| match one.restart_policy.as_deref() {
            Some("Always") => (Kind::Sidecar, one),
            _ => (Kind::Init, one),
        });
        let all = init.chain(spec.containers.iter().map(|one| (Kind::Main, one)));
        all.map(|(kind, one)| Limits { kind, counts: counts(one) }).filter(|one| !one.counts.is_empty()).collect()
    }
}

fn counts(container: &Container) -> BTreeMap<String, u64> {
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let count = |text: &str| quantity::units(text).and_then(|count| u64::try_from(count).ok());
    let all = limits.into_iter().flatten().filter(|(name, _)| is_extended(name));
    all.filter_map(|(name, amount)| Some((name.clone(), count(&amount.0).filter(|count| *count > 0)?))).collect()
}

/// `pkg/apis/core/v1/helper/helpers.go`, IsExtendedResourceName.
pub fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// Why the pod does not get the devices that it wants, if it does not. What no plugin has announced is nobody's to give.
pub fn unavailable(applicant: &Applicant, others: &[&Applicant], announced: &BTreeMap<String, u64>) -> Option<Refusal> {
    for limits in &applicant.limits {
        for resource in limits.counts.keys() {
            let Some(all) = announced.get(resource) else { continue };
            let taken = others.iter().map(|other| allot(&other.limits, resource, u64::MAX).unwrap_or(0));
            let free = taken.fold(*all, u64::saturating_sub);
            if let Err((requested, available)) = allot(&applicant.limits, resource, free) {
                let message = format!(
                    "Allocate failed due to requested number of devices unavailable for {resource}. Requested: {requested}, Available: \
                     {available}, which is unexpected"
                );
                return Some(Refusal::new(UNEXPECTED, message));
            }
        }
    }
    None
}

/// The devices that a pod holds once all its containers are served out of `free`, or how many one of them lacks and how many are left then.
fn allot(limits: &[Limits], resource: &str, free: u64) -> Result<u64, (u64, u64)> {
    let (mut held, mut reusable) = (0_u64, 0_u64);
    for one in limits {
        let wanted = one.counts.get(resource).copied().unwrap_or(0);
        let again = wanted.min(reusable);
        let (more, left) = (wanted - again, free.saturating_sub(held));
        if more > left {
            return Err((more, left));
        }
        held = held.saturating_add(more);
        reusable = if one.kind == Kind::Init { reusable.saturating_add(more) } else { reusable - again };
    }
    Ok(held)
}
