//! Planning an unchanged world again changes nothing: of the built-in controller alone, whose record tells its plans.
//!
//! A pod for which a launch is planned while the NodeClaim of an earlier one lives is a violation, unless the later plan knew more: a
//! pod that the earlier one did not have to place, or a NodeClaim that ended since, may have taken the room. And what has settled
//! wants nothing: another plan of the same picture is empty.

use super::view::View;
use jiff::Timestamp;
use planner::Explanation;
use planner::output::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Replans {
    /// By pod and uid.
    launched: BTreeMap<(Arc<str>, String), Launch>,
}

#[derive(Clone, Debug)]
struct Launch {
    claim: String,
    at: Timestamp,
    /// Every pod that its plan had to place.
    considered: Arc<BTreeSet<Arc<str>>>,
}

impl Replans {
    /// `names` are the NodeClaims of the plan's launches, in order.
    pub fn planned(&mut self, view: &View, plan: &Plan, explanation: &Explanation, names: &[String], now: Timestamp) -> Vec<String> {
        let mut broken = Vec::new();
        if plan.launches.is_empty() {
            return broken;
        }
        let considered: Arc<BTreeSet<Arc<str>>> = Arc::new(explanation.pods.iter().map(|verdict| verdict.pod.clone()).collect());
        for (launch, claim) in plan.launches.iter().zip(names) {
            let mut again: BTreeMap<String, Vec<&str>> = BTreeMap::new();
            for pod in &launch.pods {
                let (namespace, name) = pod.split_once('/').unwrap_or(("", pod));
                let uid = view.pods.get(&(namespace.to_owned(), name.to_owned())).map(|p| p.uid.clone()).unwrap_or_default();
                let new = Launch { claim: claim.clone(), at: now, considered: considered.clone() };
                let Some(first) = self.launched.insert((pod.clone(), uid), new) else { continue };
                if first.claim != *claim && lives(view, &first, now) && knew_as_much(view, &first, &considered) {
                    again.entry(first.claim).or_default().push(pod);
                }
            }
            broken.extend(again.into_iter().map(|(first, pods)| {
                let shown = pods.iter().take(3).copied().collect::<Vec<_>>().join(", ");
                format!("NodeClaim {claim} is planned for {} pods ({shown}) for which {first} was planned and lives", pods.len())
            }));
        }
        broken
    }
}

/// In the same plan it is only about to be created.
fn lives(view: &View, first: &Launch, now: Timestamp) -> bool {
    first.at == now || view.claims.get(&first.claim).is_some_and(|claim| !claim.deleting)
}

fn knew_as_much(view: &View, first: &Launch, considered: &BTreeSet<Arc<str>>) -> bool {
    view.last_claim_end.is_none_or(|end| end < first.at) && considered.is_subset(&first.considered)
}

/// A plan for a world that has settled.
pub fn again(plan: &Plan) -> Option<String> {
    let pods = plan.launches.iter().map(|launch| launch.pods.len()).sum::<usize>();
    (!plan.is_empty()).then(|| {
        format!(
            "the world has settled, and another plan of it wants {} launches for {pods} pods and {} nominations",
            plan.launches.len(),
            plan.nominations.len()
        )
    })
}
