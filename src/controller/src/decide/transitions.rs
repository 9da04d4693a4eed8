//! Events about conditions that changed, and finalizers that are gone.
//!
//! Source: `awslabs/operatorpkg/status/controller.go`. Client-go's recorder counts a repeated Event up instead of writing another; here
//! the first one stands.

use crate::conditions::{EC2_NODE_CLASS, NODE_CLAIM, NODE_POOL};
use crate::metrics::{Seen, awaited, of_node, seen};
use crate::recorder::EventSpec;
use api::Condition;
use cluster::{Object, Touched};
use jiff::SignedDuration;
use kube::{Resource, ResourceExt};

/// As long as the API server keeps Events.
const ONCE: SignedDuration = SignedDuration::from_hours(1);

pub fn events(touched: &Touched) -> Vec<EventSpec> {
    let of_pool = |pool: &api::NodePool| pool.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
    let of_class = |class: &api::EC2NodeClass| class.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
    let own = |old: &[Condition], new: &[Condition], kinds| changed(&awaited(seen(old), kinds, None), &seen(new));
    match (&touched.old, &touched.new) {
        (Some(Object::NodeClaim(old)), Some(Object::NodeClaim(new))) => {
            let said = own(crate::world::conditions(old), crate::world::conditions(new), NODE_CLAIM);
            about(&**new, said, old.finalizers(), new.finalizers())
        }
        (Some(Object::Node(old)), Some(Object::Node(new))) => {
            about(&**new, changed(&of_node(old), &of_node(new)), old.finalizers(), new.finalizers())
        }
        (Some(Object::NodePool(old)), Some(Object::NodePool(new))) => {
            about(&**new, own(&of_pool(old), &of_pool(new), NODE_POOL), old.finalizers(), new.finalizers())
        }
        (Some(Object::EC2NodeClass(old)), Some(Object::EC2NodeClass(new))) => {
            about(&**new, own(&of_class(old), &of_class(new), EC2_NODE_CLASS), old.finalizers(), new.finalizers())
        }
        (Some(Object::NodeClaim(old)), None) => about(&**old, Vec::new(), old.finalizers(), &[]),
        (Some(Object::Node(old)), None) => about(&**old, Vec::new(), old.finalizers(), &[]),
        (Some(Object::NodePool(old)), None) => about(&**old, Vec::new(), old.finalizers(), &[]),
        (Some(Object::EC2NodeClass(old)), None) => about(&**old, Vec::new(), old.finalizers(), &[]),
        _ => Vec::new(),
    }
}

/// Conditions that were there with another status: their type, and what is said.
fn changed(old: &[Seen<'_>], new: &[Seen<'_>]) -> Vec<(String, String)> {
    let mut said = Vec::new();
    for condition in new {
        let Some(before) = old.iter().find(|old| old.kind == condition.kind && old.status != condition.status) else { continue };
        let Seen { kind, status, reason, message, .. } = condition;
        let message = if message.is_empty() { String::new() } else { format!(", Message: {message}") };
        let text = format!("Status condition transitioned, Type: {kind}, Status: {} -> {status}, Reason: {reason}{message}", before.status);
        said.push(((*kind).to_owned(), text));
    }
    said
}

fn about<K: Resource<DynamicType = ()>>(object: &K, said: Vec<(String, String)>, before: &[String], after: &[String]) -> Vec<EventSpec> {
    let gone = before.iter().filter(|finalizer| !after.contains(finalizer));
    let finalized = gone.map(|finalizer| ("Finalized".to_owned(), format!("Finalized {finalizer}")));
    let spec = |(reason, text): (String, String)| {
        let mut event = EventSpec::new(object, false, reason, text.as_str()).dedupe_for(ONCE);
        event.dedupe.push(text);
        event
    };
    said.into_iter().chain(finalized).map(spec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::{Key, Kind};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn claim(conditions: Value, finalizers: Value) -> Object {
        let claim = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "a", "uid": "a", "finalizers": finalizers},
            "spec": {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}}, "status": {"conditions": conditions}});
        Object::NodeClaim(Arc::new(serde_json::from_value(claim).expect("a claim")))
    }

    fn said(old: Option<Object>, new: Option<Object>) -> Vec<(String, String)> {
        let touched = Touched { kind: Kind::NodeClaim, key: Key::new("", "a"), old, new };
        events(&touched).into_iter().map(|event| (event.reason.into_owned(), event.message)).collect()
    }

    #[test]
    fn changes_are_said_in_upstreams_words() {
        let launched = |status: &str, message: &str| json!([{"type": "Launched", "status": status, "reason": "R", "message": message}]);
        let old = claim(launched("Unknown", ""), json!(["karpenter.sh/termination"]));
        let new = claim(launched("True", "well"), json!([]));
        let text = "Status condition transitioned, Type: Launched, Status: Unknown -> True, Reason: R, Message: well";
        let expected = [("Launched", text), ("Finalized", "Finalized karpenter.sh/termination")].map(|(r, t)| (r.to_owned(), t.to_owned()));
        assert_eq!(said(Some(old.clone()), Some(new.clone())), expected);
        assert_eq!(said(None, Some(new.clone())), [], "what is seen for the first time has not changed");
        assert_eq!(said(Some(new.clone()), Some(new)), []);
        assert_eq!(said(Some(old), None), [expected[1].clone()]);
    }
}
