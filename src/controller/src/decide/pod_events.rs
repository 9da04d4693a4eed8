//! When a pod last came to the NodeClaim's node, or left it.
//!
//! Source: `C/pkg/controllers/nodeclaim/podevents/controller.go`. A pod that is deleted without a grace period is gone before it
//! could be seen terminating, so its end is no event.

use super::unlocked;
use crate::conditions::seconds;
use crate::step::Step;
use crate::world::World;
use cluster::{Kind, pod};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

/// Events in quick succession count once; shorter than the wait before validation, so that a command that was decided meanwhile is
/// still caught.
const DEDUPE: SignedDuration = SignedDuration::from_secs(10);

/// Whether the change makes an event: the pod was bound, finished, or began to terminate.
pub fn is_event(old: Option<&Pod>, new: &Pod) -> bool {
    if pod::node_name(new).is_none() || pod::is_owned_by(&new.metadata, "apps/v1", "DaemonSet") {
        return false;
    }
    let Some(old) = old else { return true };
    pod::node_name(old).is_none()
        || !pod::is_terminal(old) && pod::is_terminal(new)
        || !pod::is_terminating(old) && pod::is_terminating(new)
}

pub fn decide(world: &World, name: &str, now: Timestamp) -> Step {
    let Some(claim) = world.index.claim(name) else { return Step::rest() };
    let last = claim.status.as_ref().and_then(|s| s.last_pod_event_time);
    if last.is_some_and(|last| now.duration_since(last) < DEDUPE) {
        return Step::rest();
    }
    let at = seconds(now).to_string();
    Step::act(unlocked(Kind::NodeClaim, &**claim, true, json!({"status": {"lastPodEventTime": at}})))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::pod;
    use rstest::rstest;

    const BOUND: &str = r#"{"spec": {"nodeName": "n"}}"#;

    #[rstest]
    #[case::bound("{}", BOUND, true)]
    #[case::nothing_new(BOUND, BOUND, false)]
    #[case::terminating(BOUND, r#"{"spec": {"nodeName": "n"}, "metadata": {"deletionTimestamp": "1970-01-01T00:00:00Z"}}"#, true)]
    #[case::finished(BOUND, r#"{"spec": {"nodeName": "n"}, "status": {"phase": "Succeeded"}}"#, true)]
    #[case::never_bound("{}", r#"{"metadata": {"deletionTimestamp": "1970-01-01T00:00:00Z"}}"#, false)]
    #[case::daemon("{}", r#"{"spec": {"nodeName": "n"}, "metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u"}]}}"#, false)]
    fn events(#[case] old: &str, #[case] new: &str, #[case] event: bool) {
        let [old, new] = [old, new].map(|text| pod(&serde_json::from_str(text).expect("JSON")));
        assert_eq!(is_event(Some(&old), &new), event);
    }

    #[test]
    fn pods_that_are_there_at_the_start_are_events() {
        assert!(is_event(None, &pod(&serde_json::from_str(BOUND).expect("JSON"))));
    }
}
