//! No launch for a pod for which a NodeClaim was launched that is alive, or that a command of the controller ended.
//!
//! The Event `Nominated` says for which NodeClaim's node a pod is meant (`C/pkg/controllers/provisioning/scheduling/events.go`); near the
//! NodeClaim's creation it was made for that pod. Upstream's rules allow a second one when the first never got a machine
//! (insufficient capacity), ended from outside (interruption, expiry, deletion, a machine that vanished, one that never
//! registered), or when others have come since who may have taken its room.

use super::view::View;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use std::collections::BTreeMap;

/// Between a NodeClaim's creation and the word to its pods.
const WORD: SignedDuration = SignedDuration::from_secs(5);

#[derive(Debug, Default)]
pub struct Launches {
    /// By the pod's uid the NodeClaim that was last launched for it.
    of_pod: BTreeMap<String, String>,
    /// By NodeClaims that were not seen yet.
    waiting: BTreeMap<String, Vec<Nominated>>,
}

#[derive(Debug)]
struct Nominated {
    uid: String,
    pod: String,
    at: Timestamp,
}

impl Launches {
    pub fn event(&mut self, view: &View, event: &core::Event, now: Timestamp) -> Option<String> {
        let about = &event.involved_object;
        if event.reason.as_deref() != Some("Nominated") || about.kind.as_deref() != Some("Pod") {
            return None;
        }
        let message = event.message.as_deref().unwrap_or_default();
        let claim = message.split_once("nodeclaim/")?.1.split([',', ' ']).next()?.to_owned();
        let pod = format!("{}/{}", about.namespace.as_deref().unwrap_or(""), about.name.as_deref().unwrap_or(""));
        let nominated = Nominated { uid: about.uid.clone()?, pod, at: now };
        if view.any_claim(&claim).is_some() {
            return self.judge(view, &claim, nominated);
        }
        self.waiting.entry(claim).or_default().push(nominated);
        None
    }

    /// A NodeClaim was created.
    pub fn created(&mut self, view: &View, claim: &str) -> Vec<String> {
        let waited = self.waiting.remove(claim).unwrap_or_default();
        waited.into_iter().filter_map(|nominated| self.judge(view, claim, nominated)).collect()
    }

    fn judge(&mut self, view: &View, claim: &str, nominated: Nominated) -> Option<String> {
        let created = view.any_claim(claim)?.created;
        if nominated.at.duration_since(created).abs() > WORD {
            return None;
        }
        let first = self.of_pod.insert(nominated.uid.clone(), claim.to_owned()).filter(|first| first != claim)?;
        let before = view.any_claim(&first)?;
        let told = |how: &str| {
            let ago = created.duration_since(before.created).as_secs_f64();
            Some(format!("NodeClaim {claim} is launched for pod {}, for which {first} was launched {ago:.1}s before {how}", nominated.pod))
        };
        if view.claims.contains_key(&first) && !before.deleting {
            // A command is replacing it: its pods are told of the replacement before it ends.
            if before.reason.is_some() {
                return None;
            }
            let since = |at: Option<Timestamp>| at.is_some_and(|at| at > before.created);
            let changed = view.pools.get(&before.pool).map(|pool| pool.changed);
            let news = since(view.last_arrival) || since(view.last_claim_end) || since(changed);
            return if news { None } else { told("and is alive, with nothing new since") };
        }
        // kube-scheduler put it elsewhere, and now that node is replaced: the first was for somebody else in the end.
        let pod = nominated.pod.split_once('/').and_then(|(namespace, name)| view.pods.get(&(namespace.to_owned(), name.to_owned())));
        let stands_on = pod.filter(|pod| pod.uid == nominated.uid).and_then(|pod| view.nodes.get(pod.node.as_deref()?)?.instance.clone());
        let replaced =
            |instance: &String| view.claims.values().any(|claim| claim.instance.as_ref() == Some(instance) && claim.reason.is_some());
        if stands_on.as_ref().is_some_and(|instance| before.instance.as_ref() != Some(instance) && replaced(instance)) {
            return None;
        }
        match &before.last_reason {
            Some(reason) if before.instance.is_some() => told(&format!("and was ended as {reason} by the controller itself")),
            _ => None,
        }
    }
}
