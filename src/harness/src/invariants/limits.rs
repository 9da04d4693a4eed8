//! No launch beyond a NodePool's limits, judged as things were when the NodeClaim was created.
//!
//! What is left of `spec.limits` is what they say less the capacity of the pool's machines, those that are going away left out:
//! scheduling looks at active nodes, and a command's own nodes count as gone (`C/pkg/controllers/provisioning/provisioner.go`,
//! `nodes.Active()`; `…/scheduling/scheduler.go`, remainingResources; `C/pkg/controllers/disruption/helpers.go`). A launch takes the
//! most that any of its types could; so what it turns out to be must fit as well. `nodes` is not taken off within one pass.

use super::view::{Claim, View};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use vocabulary::Resources;

/// Limits that changed so shortly before may not have been known yet to who decided.
const NEWS: SignedDuration = SignedDuration::from_secs(1);
/// NodeClaims of one plan are created within this.
const ONE_PASS: SignedDuration = SignedDuration::from_secs(1);

#[derive(Debug, Default)]
pub struct Limits {
    /// Launches that cannot be judged before more is known, by NodeClaim.
    open: BTreeMap<String, Case>,
}

#[derive(Debug)]
struct Case {
    pool: String,
    /// Each may have been the one that was known.
    limits: Vec<Resources>,
    /// NodeClaims that counted, with their capacity if it was known.
    beside: Vec<(String, Option<Resources>)>,
    /// How many of them another pass had created.
    nodes: i64,
}

impl Limits {
    pub fn created(&mut self, view: &View, name: &str, now: Timestamp) {
        let Some(pool) = view.claims.get(name).and_then(|claim| view.pools.get(&claim.pool)) else { return };
        let before = pool.before.as_ref().filter(|(at, _)| now.duration_since(*at) <= NEWS).map(|(_, limits)| limits.clone());
        let own = &view.claims[name];
        let counts = |claim: &Claim| claim.pool == own.pool && !claim.deleting && claim.reason.is_none();
        let beside: Vec<(&String, &Claim)> = view.claims.iter().filter(|(other, claim)| *other != name && counts(claim)).collect();
        let case = Case {
            pool: own.pool.clone(),
            limits: std::iter::once(pool.limits.clone()).chain(before).collect(),
            nodes: beside.iter().filter(|(_, claim)| own.created.duration_since(claim.created) > ONE_PASS).count() as i64,
            beside: beside.into_iter().map(|(other, claim)| (other.clone(), capacity(view, claim))).collect(),
        };
        self.open.insert(name.to_owned(), case);
    }

    /// Judges what can be judged now.
    pub fn look(&mut self, view: &View) -> Vec<String> {
        let mut broken = Vec::new();
        self.open.retain(|name, case| {
            let Some(own) = view.any_claim(name) else { return true };
            if own.capacity.is_empty() {
                // Without a machine there is no launch.
                return view.claims.contains_key(name);
            }
            let mut used = own.capacity.clone();
            for (other, known) in &case.beside {
                match known.clone().or_else(|| view.any_claim(other).map(|claim| claim.capacity.clone())) {
                    Some(capacity) if capacity.is_empty() && view.claims.contains_key(other) => return true,
                    Some(capacity) => used.add(&capacity),
                    None => {}
                }
            }
            used.set("nodes", case.nodes + 1);
            let over =
                |limits: &Resources| limits.iter().find(|(resource, limit)| used.get(resource) > *limit).map(|(r, l)| (r.to_owned(), l));
            if let Some((resource, limit)) = case.limits.iter().map(over).collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().next())
            {
                let print = |amount: i64| Resources::print(&resource, amount);
                broken.push(format!(
                    "NodeClaim {name} brings pool {} to {resource} {} of a limit of {}: {} beside it and its own {}",
                    case.pool,
                    print(used.get(&resource)),
                    print(limit),
                    print(used.get(&resource) - own.capacity.get(&resource)),
                    print(own.capacity.get(&resource)),
                ));
            }
            false
        });
        broken
    }
}

/// An initialized node's own, else what the NodeClaim says (`C/pkg/controllers/state/statenode.go`, Capacity).
fn capacity(view: &View, claim: &Claim) -> Option<Resources> {
    let node = view.node_of(claim).filter(|node| node.initialized).map(|node| node.capacity.clone());
    node.or_else(|| Some(claim.capacity.clone())).filter(|capacity| !capacity.is_empty())
}
