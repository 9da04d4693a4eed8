//! The writes. Each is small, may be repeated, and touches nothing that is not the kubelet's.

use ambient::Clock;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::state::Key;
use crate::node::{self, Problem};
use crate::pod::{Stage, View};

pub enum Effect {
    Join {
        id: String,
        provider_id: String,
        node: Value,
    },
    Ready {
        id: String,
        name: String,
    },
    /// Removes the Node of a machine that ended before it was ready.
    Forsake {
        id: String,
        name: String,
        uid: String,
    },
    Lease {
        id: String,
        name: String,
        uid: String,
    },
    Status {
        id: String,
        name: String,
        ready: bool,
        problems: Vec<Problem>,
    },
    /// Patch a pod's status.
    Tell {
        uid: String,
        namespace: String,
        name: String,
        stage: Stage,
        /// What is told of the stage (see [`crate::pod::Life::progress`]).
        turn: u32,
        patch: Value,
    },
    /// Confirm a pod's deletion.
    Remove {
        uid: String,
        namespace: String,
        name: String,
    },
}

pub struct Done {
    pub key: Key,
    pub outcome: Outcome,
}

pub enum Outcome {
    Joined {
        uid: String,
    },
    Written,
    Told {
        stage: Stage,
        turn: u32,
        view: Option<Box<View>>,
    },
    /// The object is not there any more, or is another of the same name.
    Gone,
    /// Worth another attempt.
    Failed,
}

pub async fn perform(client: Client, clock: Clock, effect: Effect) -> Done {
    let key = match &effect {
        Effect::Join { id, .. } | Effect::Ready { id, .. } | Effect::Forsake { id, .. } => Key::Machine(id.clone()),
        Effect::Lease { id, .. } => Key::Lease(id.clone()),
        Effect::Status { id, .. } => Key::Status(id.clone()),
        Effect::Tell { uid, .. } | Effect::Remove { uid, .. } => Key::Pod(uid.clone()),
    };
    let result = match effect {
        Effect::Join { provider_id, node, .. } => join(client, &provider_id, node).await,
        Effect::Ready { name, .. } => post_status(client, &clock, &name, true, &[]).await,
        Effect::Status { name, ready, problems, .. } => post_status(client, &clock, &name, ready, &problems).await,
        Effect::Lease { name, uid, .. } => renew(client, &clock, &name, &uid).await,
        Effect::Tell { namespace, name, stage, turn, patch, .. } => tell(client, &namespace, &name, (stage, turn), patch).await,
        Effect::Forsake { name, uid, .. } => forsake(client, &name, uid).await,
        Effect::Remove { uid, namespace, name } => remove(client, &namespace, &name, uid).await,
    };
    let outcome = result.unwrap_or_else(|error| match code(&error) {
        404 | 409 => Outcome::Gone,
        _ => {
            tracing::warn!(?key, %error, "a kubelet's write failed; it is tried again");
            Outcome::Failed
        }
    });
    Done { key, outcome }
}

/// The HTTP status of a refusal; 0 when there was no answer.
fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

fn written_by() -> PatchParams {
    PatchParams { field_manager: Some("kubelet".to_owned()), ..Default::default() }
}

/// Creates the Node, or takes the one that is there if it is this machine's: a kubelet that starts again finds its Node.
async fn join(client: Client, provider_id: &str, node: Value) -> Result<Outcome, kube::Error> {
    let nodes: Api<Node> = Api::all(client);
    let status = node["status"].clone();
    let node: Node = serde_json::from_value(node).map_err(kube::Error::SerdeError)?;
    let name = node.metadata.name.clone().unwrap_or_default();
    let parameters = PostParams { field_manager: Some("kubelet".to_owned()), ..Default::default() };
    let there = match nodes.create(&parameters, &node).await {
        Err(error) if code(&error) == 409 => nodes.get(&name).await?,
        result => result?,
    };
    if there.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()) != Some(provider_id) {
        tracing::warn!(name, provider_id, "a Node of this name belongs to another machine");
        return Ok(Outcome::Gone);
    }
    let patched = nodes.patch_status(&name, &written_by(), &Patch::Merge(json!({ "status": status }))).await?;
    Ok(Outcome::Joined { uid: patched.metadata.uid.unwrap_or_default() })
}

/// Writes the conditions, beside those of others.
async fn post_status(client: Client, clock: &Clock, name: &str, ready: bool, problems: &[Problem]) -> Result<Outcome, kube::Error> {
    let nodes: Api<Node> = Api::all(client);
    let node = nodes.get(name).await?;
    let existing = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let conditions = node::troubled(&existing, ready, problems, clock.now());
    nodes.patch_status(name, &written_by(), &Patch::Merge(json!({ "status": { "conditions": conditions } }))).await?;
    Ok(Outcome::Written)
}

async fn renew(client: Client, clock: &Clock, name: &str, uid: &str) -> Result<Outcome, kube::Error> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let lease = node::lease(name, uid, clock.now());
    let patch = Patch::Merge(json!({ "spec": lease["spec"] }));
    match leases.patch(name, &written_by(), &patch).await {
        Err(error) if code(&error) == 404 => {
            // No Lease yet, or it went with its Node; then there is nothing to renew.
            Api::<Node>::all(client).get(name).await?;
            let lease: Lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
            leases.create(&PostParams::default(), &lease).await.map(drop)?;
        }
        result => drop(result?),
    }
    Ok(Outcome::Written)
}

async fn tell(client: Client, namespace: &str, name: &str, (stage, turn): (Stage, u32), patch: Value) -> Result<Outcome, kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let pod = pods.patch_status(name, &written_by(), &Patch::Merge(patch)).await?;
    Ok(Outcome::Told { stage, turn, view: View::of(&pod).map(Box::new) })
}

async fn forsake(client: Client, name: &str, uid: String) -> Result<Outcome, kube::Error> {
    let preconditions = Some(Preconditions { uid: Some(uid), resource_version: None });
    Api::<Node>::all(client).delete(name, &DeleteParams { preconditions, ..Default::default() }).await?;
    Ok(Outcome::Written)
}

async fn remove(client: Client, namespace: &str, name: &str, uid: String) -> Result<Outcome, kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let preconditions = Some(Preconditions { uid: Some(uid), resource_version: None });
    let parameters = DeleteParams { grace_period_seconds: Some(0), preconditions, ..Default::default() };
    pods.delete(name, &parameters).await?;
    Ok(Outcome::Written)
}
