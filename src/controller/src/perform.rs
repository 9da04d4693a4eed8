//! Performs effects. Decides nothing.

use crate::effect::{Effect, Failure, Outcome, Target};
use api::{EC2NodeClass, NodeClaim, NodeOverlay, NodePool};
use cloud::Cloud;
use cluster::{Kind, Object};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass, VolumeAttachment};
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use std::sync::Arc;

type Reply = Result<Outcome, Failure>;

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Failure::Kube { code: status.code, reason: status.reason.clone(), message: status.message.clone() },
            other => Failure::Transport(other.to_string()),
        }
    }
}

pub async fn perform(client: Client, cloud: Arc<dyn Cloud>, effect: Arc<Effect>) -> Reply {
    match &*effect {
        Effect::CreateClaim(claim) => {
            let created = Api::<NodeClaim>::all(client).create(&PostParams::default(), claim).await?;
            Ok(object(Object::NodeClaim(Arc::new(created))))
        }
        Effect::Patch { target, status, body } => patch(client, target, *status, body).await,
        Effect::Delete { target, uid, grace_seconds } => delete(client, target, uid.clone(), *grace_seconds).await,
        Effect::Evict { pod, uid } => {
            let preconditions = Preconditions { uid: Some(uid.clone()), ..Preconditions::default() };
            let options = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            let params = EvictParams { delete_options: Some(options), ..EvictParams::default() };
            Api::<Pod>::namespaced(client, &pod.namespace).evict(&pod.name, &params).await?;
            Ok(Outcome::Done)
        }
        Effect::PublishEvent(event) => {
            let namespace = event.namespace().unwrap_or_default();
            Api::<Event>::namespaced(client, &namespace).create(&PostParams::default(), event).await?;
            Ok(Outcome::Done)
        }
        Effect::ListVolumeAttachments { node } => {
            let all = Api::<VolumeAttachment>::all(client).list(&ListParams::default()).await?;
            let here = all.items.into_iter().filter(|a| a.spec.node_name == **node);
            Ok(Outcome::Attachments(here.filter_map(|a| Some((a.name_any(), a.spec.source.persistent_volume_name?))).collect()))
        }
        Effect::KubernetesVersion => {
            if let Some(version) = cloud.kubernetes_version().await? {
                return Ok(Outcome::Text(Some(version)));
            }
            let version = client.apiserver_version().await?;
            Ok(Outcome::Text(Some(format!("{}.{}", version.major, version.minor.trim_end_matches('+')))))
        }
        Effect::ClusterDns => {
            let service = Api::<Service>::namespaced(client, "kube-system").get_opt("kube-dns").await?;
            Ok(Outcome::Text(service.and_then(|s| s.spec?.cluster_ip)))
        }
        Effect::GetLease { namespace, name } => {
            let lease = Api::<Lease>::namespaced(client, namespace).get_opt(name).await?;
            Ok(Outcome::Lease(lease.map(Box::new)))
        }
        Effect::WriteLease { lease } => {
            let api = Api::<Lease>::namespaced(client, lease.metadata.namespace.as_deref().unwrap_or_default());
            let written = match &lease.metadata.resource_version {
                Some(_) => api.replace(lease.metadata.name.as_deref().unwrap_or_default(), &PostParams::default(), lease).await?,
                None => api.create(&PostParams::default(), lease).await?,
            };
            Ok(Outcome::Lease(Some(Box::new(written))))
        }
        other => call(&*cloud, other).await,
    }
}

async fn call(cloud: &dyn Cloud, effect: &Effect) -> Reply {
    Ok(match effect {
        Effect::Discover => Outcome::Discovered(cloud.discover().await?),
        Effect::RefreshInstanceTypes => cloud.refresh_instance_types().await.map(|()| Outcome::Done)?,
        Effect::RefreshPrices => cloud.refresh_prices().await.map(|()| Outcome::Done)?,
        Effect::RefreshZonalShifts => Outcome::Zones(cloud.refresh_zonal_shifts().await?),
        Effect::ResolveAmis { class, kubernetes } => Outcome::Amis(cloud.resolve_amis(class, kubernetes).await?),
        Effect::ResolveSubnets(class) => Outcome::Subnets(cloud.resolve_subnets(class).await?),
        Effect::ResolveCapacityReservations(class) => {
            Outcome::CapacityReservations(cloud.resolve_capacity_reservations(&class.spec.capacity_reservation_selector_terms).await?)
        }
        Effect::ResolvePlacementGroup(class) => Outcome::PlacementGroup(cloud.resolve_placement_group(class).await?),
        Effect::FindCapacityReservations(terms) => Outcome::CapacityReservations(cloud.resolve_capacity_reservations(terms).await?),
        Effect::ResolveSecurityGroups(class) => Outcome::SecurityGroups(cloud.resolve_security_groups(class).await?),
        Effect::EnsureInstanceProfile(class) => Outcome::Text(Some(cloud.ensure_instance_profile(class).await?)),
        Effect::Validate { class, pools } => Outcome::Validated(cloud.validate_for(class, pools).await),
        Effect::Launch(request) => Outcome::Launch(cloud.launch(request.clone()).await.map(Box::new)),
        Effect::GetInstance { id } => Outcome::Instance(cloud.get(id).await?.map(Box::new)),
        Effect::ListUnhealthy => Outcome::Unhealthy(cloud.unhealthy().await?),
        Effect::ListInstances => Outcome::Instances(cloud.list().await?),
        Effect::Terminate { id } => Outcome::Terminated(cloud.terminate(id).await?),
        Effect::Tag { id, tags } => cloud.tag(id, tags).await.map(|()| Outcome::Done)?,
        Effect::CollectProfiles(in_use) => Outcome::Names(cloud.collect_profiles(in_use).await?),
        Effect::CleanUp(class) => cloud.clean_up(class).await.map(|()| Outcome::Done)?,
        Effect::ReceiveMessages => Outcome::Messages(cloud.receive_messages().await?),
        Effect::DeleteMessage { receipt } => cloud.delete_message(receipt).await.map(|()| Outcome::Done)?,
        Effect::ExpireLaunchTemplates => cloud.expire_launch_templates().await.map(|_| Outcome::Done)?,
        // Kubernetes' own, performed above.
        _ => Outcome::Done,
    })
}

fn object(object: Object) -> Outcome {
    Outcome::Object(Box::new(object))
}

async fn patch(client: Client, target: &Target, status: bool, body: &Value) -> Reply {
    macro_rules! patched {
        ($api:expr, $wrap:expr) => {{
            let (api, params) = ($api, PatchParams::default());
            let name = &*target.key.name;
            let done = if status {
                api.patch_status(name, &params, &Patch::Merge(body)).await?
            } else {
                api.patch(name, &params, &Patch::Merge(body)).await?
            };
            object($wrap(Arc::new(done)))
        }};
    }
    Ok(match target.kind {
        Kind::Pod => patched!(Api::<Pod>::namespaced(client, &target.key.namespace), Object::Pod),
        Kind::PodDisruptionBudget => {
            patched!(Api::<PodDisruptionBudget>::namespaced(client, &target.key.namespace), Object::PodDisruptionBudget)
        }
        Kind::DaemonSet => patched!(Api::<DaemonSet>::namespaced(client, &target.key.namespace), Object::DaemonSet),
        Kind::Node => patched!(Api::<Node>::all(client), Object::Node),
        Kind::NodeClaim => patched!(Api::<NodeClaim>::all(client), Object::NodeClaim),
        Kind::NodePool => patched!(Api::<NodePool>::all(client), Object::NodePool),
        Kind::EC2NodeClass => patched!(Api::<EC2NodeClass>::all(client), Object::EC2NodeClass),
        Kind::Namespace => patched!(Api::<Namespace>::all(client), Object::Namespace),
        Kind::PersistentVolumeClaim => {
            patched!(Api::<PersistentVolumeClaim>::namespaced(client, &target.key.namespace), Object::PersistentVolumeClaim)
        }
        Kind::PersistentVolume => patched!(Api::<PersistentVolume>::all(client), Object::PersistentVolume),
        Kind::StorageClass => patched!(Api::<StorageClass>::all(client), Object::StorageClass),
        Kind::NodeOverlay => patched!(Api::<NodeOverlay>::all(client), Object::NodeOverlay),
        Kind::CSINode => patched!(Api::<CSINode>::all(client), Object::CSINode),
    })
}

async fn delete(client: Client, target: &Target, uid: Option<String>, grace_seconds: Option<i64>) -> Reply {
    let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), ..Preconditions::default() });
    let grace = grace_seconds.and_then(|seconds| u32::try_from(seconds).ok());
    let params = DeleteParams { preconditions, grace_period_seconds: grace, ..DeleteParams::default() };
    macro_rules! deleted {
        ($api:expr, $wrap:expr) => {
            // The reply shows the object also when it is gone at once; what stays behind carries a deletion timestamp and waits
            // for somebody.
            match $api.delete(&target.key.name, &params).await?.left() {
                Some(left) if stays(&left) => object($wrap(Arc::new(left))),
                _ => Outcome::Gone(target.clone()),
            }
        };
    }
    Ok(match target.kind {
        Kind::Pod => deleted!(namespaced::<Pod>(client, target), Object::Pod),
        Kind::PodDisruptionBudget => deleted!(namespaced::<PodDisruptionBudget>(client, target), Object::PodDisruptionBudget),
        Kind::DaemonSet => deleted!(namespaced::<DaemonSet>(client, target), Object::DaemonSet),
        Kind::Node => deleted!(Api::<Node>::all(client), Object::Node),
        Kind::NodeClaim => deleted!(Api::<NodeClaim>::all(client), Object::NodeClaim),
        Kind::NodePool => deleted!(Api::<NodePool>::all(client), Object::NodePool),
        Kind::EC2NodeClass => deleted!(Api::<EC2NodeClass>::all(client), Object::EC2NodeClass),
        Kind::Namespace => deleted!(Api::<Namespace>::all(client), Object::Namespace),
        Kind::PersistentVolumeClaim => deleted!(namespaced::<PersistentVolumeClaim>(client, target), Object::PersistentVolumeClaim),
        Kind::PersistentVolume => deleted!(Api::<PersistentVolume>::all(client), Object::PersistentVolume),
        Kind::StorageClass => deleted!(Api::<StorageClass>::all(client), Object::StorageClass),
        Kind::NodeOverlay => deleted!(Api::<NodeOverlay>::all(client), Object::NodeOverlay),
        Kind::CSINode => deleted!(Api::<CSINode>::all(client), Object::CSINode),
    })
}

fn stays(object: &impl ResourceExt) -> bool {
    object.meta().deletion_timestamp.is_some()
        && (!object.finalizers().is_empty() || object.meta().deletion_grace_period_seconds.is_some_and(|s| s > 0))
}

fn namespaced<K>(client: Client, target: &Target) -> Api<K>
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(client, &target.key.namespace)
}
