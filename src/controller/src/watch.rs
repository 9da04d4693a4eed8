//! One task per watched kind, into one channel. Errors wait with a back-off from our own seed.

use crate::shell::{Mail, Sender};
use ambient::{Clock, Entropy, Stream};
use api::{EC2NodeClass, NodeClaim, NodeOverlay, NodePool};
use cluster::{Change, Kind, Object};
use futures::StreamExt;
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Starts all watches; they end with the set.
pub fn start(tasks: &mut JoinSet<()>, client: &Client, sender: &Sender, clock: &Clock, entropy: &Entropy, overlays: bool) {
    macro_rules! watch {
        ($kind:ident, $type:ty) => {
            let jitter = entropy.stream(Kind::$kind.as_str());
            tasks.spawn(run::<$type>(
                Api::all(client.clone()),
                Kind::$kind,
                |o| Object::$kind(Arc::new(o)),
                sender.clone(),
                clock.clone(),
                jitter,
            ));
        };
    }
    watch!(NodePool, NodePool);
    watch!(EC2NodeClass, EC2NodeClass);
    watch!(NodeClaim, NodeClaim);
    watch!(Node, Node);
    watch!(DaemonSet, DaemonSet);
    watch!(PodDisruptionBudget, PodDisruptionBudget);
    watch!(Namespace, Namespace);
    watch!(StorageClass, StorageClass);
    watch!(PersistentVolume, PersistentVolume);
    watch!(PersistentVolumeClaim, PersistentVolumeClaim);
    watch!(CSINode, CSINode);
    watch!(Pod, Pod);
    if overlays {
        watch!(NodeOverlay, NodeOverlay);
    }
}

const FIRST: SignedDuration = SignedDuration::from_millis(800);
const MOST: SignedDuration = SignedDuration::from_secs(30);

async fn run<K>(api: Api<K>, kind: Kind, wrap: fn(K) -> Object, sender: Sender, clock: Clock, mut jitter: Stream)
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut events = Box::pin(watcher(api, watcher::Config::default()));
    let mut wait = FIRST;
    // What nobody here reads and what takes the most room.
    let slim = |mut object: K| {
        object.managed_fields_mut().clear();
        object.meta_mut().managed_fields = None;
        wrap(object)
    };
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => Change::Apply(slim(object)),
            Ok(watcher::Event::Delete(object)) => Change::Delete(slim(object)),
            Ok(watcher::Event::Init) => Change::Init(kind),
            Ok(watcher::Event::InitDone) => Change::InitDone(kind),
            Err(error) => {
                if is_missing(&error) {
                    tracing::error!(kind = kind.as_str(), "the API server does not know this kind: dryfit crds | kubectl apply -f -");
                } else {
                    tracing::warn!(kind = kind.as_str(), %error, "watch failed");
                }
                // Between the whole wait and twice of it.
                let share = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                let extra = jitter.below(u64::try_from(share).unwrap_or(0));
                clock.sleep(wait + SignedDuration::from_millis(i64::try_from(extra).unwrap_or(0))).await;
                wait = (wait * 2).min(MOST);
                continue;
            }
        };
        // A list that begins has not come to anything yet.
        if !matches!(change, Change::Init(_)) {
            wait = FIRST;
        }
        sender.send(Mail::Watched(change));
    }
}

/// The kind is not served: its definition is missing. The reply is no Status then, but text.
fn is_missing(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else { return false };
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn a_kind_without_a_definition_is_told_from_other_failures() {
        let failed = |code: u16| watcher::Error::InitialListFailed(kube::Error::Api(Box::new(Status::failure("no", "no").with_code(code))));
        assert_eq!([404, 403, 500].map(|code| is_missing(&failed(code))), [true, false, false]);
    }
}
