//! Who has to go so that a critical pod finds room.
//!
//! Source: kubernetes `pkg/kubelet/preemption/preemption.go`, `pkg/kubelet/types/pod_update.go` (Preemptable). A pod's overhead counts as
//! asked for even where it asks for nothing else, which is not so there.

use scheduler::{Failure, Lack};

use super::Applicant;

/// `status.qosClass`, in the order in which pods go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    BestEffort,
    Burstable,
    Guaranteed,
}

impl Class {
    pub fn of(text: Option<&str>) -> Class {
        match text {
            Some("BestEffort") => Class::BestEffort,
            Some("Guaranteed") => Class::Guaranteed,
            _ => Class::Burstable,
        }
    }
}

/// An amount that has to become free; CPU in thousandths of a core.
#[derive(Clone, Debug)]
struct Need {
    resource: String,
    quantity: i64,
}

/// The places of those of `others` who go, so that nothing of `lacks` is lacking; the error is the kubelet's message when all of them
/// together would not be enough (getPodsToPreempt).
///
/// As few as possible of the guaranteed, then of the burstable, then of the best-effort pods.
pub fn victims(preemptor: &Applicant, others: &[&Applicant], lacks: &[Failure]) -> Result<Vec<usize>, String> {
    let needs: Vec<Need> = lacks.iter().filter_map(need).collect();
    let of = |class: Class| -> Vec<usize> {
        let goes = |(_, other): &(usize, &&Applicant)| other.class == class && preemptable(preemptor, other);
        others.iter().enumerate().filter(goes).map(|(place, _)| place).collect()
    };
    let [best_effort, burstable, guaranteed] = [Class::BestEffort, Class::Burstable, Class::Guaranteed].map(of);
    let left = without(&needs, others, [&best_effort, &burstable, &guaranteed]);
    if !left.is_empty() {
        return Err(hopeless(&left));
    }
    let third = nearest(others, guaranteed, without(&needs, others, [&best_effort, &burstable]))?;
    let second = nearest(others, burstable, without(&needs, others, [&best_effort, &third]))?;
    let first = nearest(others, best_effort, without(&needs, others, [&second, &third]))?;
    Ok([first, second, third].concat())
}

fn need(failure: &Failure) -> Option<Need> {
    let Failure::Insufficient(Lack { resource, requested, used, capacity }) = failure else { return None };
    Some(Need { resource: resource.clone(), quantity: requested.saturating_sub(capacity.saturating_sub(*used)) })
}

fn preemptable(preemptor: &Applicant, other: &Applicant) -> bool {
    preemptor.critical && !other.critical || matches!((preemptor.priority, other.priority), (Some(mine), Some(theirs)) if mine > theirs)
}

/// What a pod's end sets free of a resource (GetResourceRequest).
fn freed(pod: &Applicant, resource: &str) -> i64 {
    let requests = &pod.pod.requests;
    match resource {
        "pods" => 1,
        "cpu" => requests.milli_cpu,
        "memory" => requests.memory,
        "ephemeral-storage" => requests.ephemeral_storage,
        name => requests.scalar(name),
    }
}

/// What is still needed once these have gone.
fn without<const N: usize>(needs: &[Need], others: &[&Applicant], gone: [&Vec<usize>; N]) -> Vec<Need> {
    let left = |need: &Need| {
        let freed = gone.iter().copied().flatten().filter_map(|place| others.get(*place)).map(|pod| freed(pod, &need.resource));
        let quantity = freed.fold(need.quantity, i64::saturating_sub);
        (quantity > 0).then(|| Need { resource: need.resource.clone(), quantity })
    };
    needs.iter().filter_map(left).collect()
}

/// Takes the pod whose requests come nearest to what is needed, again and again (getPodsToPreemptByDistance).
fn nearest(others: &[&Applicant], mut places: Vec<usize>, mut needs: Vec<Need>) -> Result<Vec<usize>, String> {
    let mut chosen = Vec::new();
    while !needs.is_empty() {
        let mut best: Option<(f64, usize)> = None;
        for (at, pod) in places.iter().enumerate().filter_map(|(at, place)| Some((at, others.get(*place)?))) {
            let far = distance(&needs, pod);
            let nearer = best.is_none_or(|(least, first)| {
                let known = places.get(first).and_then(|place| others.get(*place));
                far < least || far == least && known.is_some_and(|known| asks_for_less(pod, known))
            });
            if nearer {
                best = Some((far, at));
            }
        }
        let Some((_, at)) = best else { return Err(hopeless(&needs)) };
        let place = places.swap_remove(at);
        needs = without(&needs, others, [&vec![place]]);
        chosen.push(place);
    }
    Ok(chosen)
}

/// The sum of the squares of the shares that would still be missing.
#[expect(clippy::cast_precision_loss, reason = "shares are compared, as upstream compares them")]
fn distance(needs: &[Need], pod: &Applicant) -> f64 {
    let share = |need: &Need| {
        let missing = need.quantity.saturating_sub(freed(pod, &need.resource));
        if missing > 0 { (missing as f64 / need.quantity as f64).powi(2) } else { 0.0 }
    };
    needs.iter().map(share).sum()
}

/// smallerResourceRequest: by memory, then by CPU; equal is less.
fn asks_for_less(one: &Applicant, other: &Applicant) -> bool {
    let both = |pod: &Applicant| (pod.pod.requests.memory, pod.pod.requests.milli_cpu);
    both(one) <= both(other)
}

fn hopeless(needs: &[Need]) -> String {
    let list: String = needs.iter().map(|need| format!("(res: {}, q: {}), ", need.resource, need.quantity)).collect();
    format!(
        "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: no set of \
         running pods found to reclaim resources: [{list}]"
    )
}
