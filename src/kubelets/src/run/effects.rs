//! The writes. Each is small, may be repeated, and touches nothing that is not the kubelet's.

use ambient::Clock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, PersistentVolume, PersistentVolumeClaim, Pod, Probe, Secret};
use k8s_openapi::api::storage::v1::{CSINode, VolumeAttachment};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::state::Key;
use crate::admission::Site;
use crate::capacity::Resources;
use crate::node::{self, Problem};
use crate::pod::environment::{self, Sources};
use crate::pod::{ProbeKind, Stage, View};
use crate::process::{Id, Order, Processes};
use crate::words::Telling;

pub enum Effect {
    Join {
        id: String,
        provider_id: String,
        node: Value,
    },
    Ready {
        id: String,
        name: String,
        /// Its CSINode, if it has a driver.
        csi: Option<Value>,
    },
    /// Device plugins announce what the machine has.
    Devices {
        id: String,
        name: String,
        devices: Resources,
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
    /// See whether a pod's volumes are attached.
    Volumes {
        uid: String,
        namespace: String,
        node: String,
        claims: Vec<String>,
    },
    /// Fetch the Node of a pod that seems not to fit it.
    Look {
        uid: String,
        node: String,
    },
    /// Say something of a pod or of a node.
    Say {
        key: Key,
        tellings: Vec<Telling>,
        /// How much was said of it then.
        spoken: usize,
    },
    /// Start a container's process.
    Start {
        id: Id,
        namespace: String,
        name: String,
        /// The pod's address and its node's.
        addresses: (String, String),
    },
    /// Tell a process to end.
    Stop {
        id: Id,
        grace: SignedDuration,
    },
    /// Ask a process' probe.
    Probe {
        id: Id,
        kind: ProbeKind,
        probe: Box<Probe>,
        /// When the run began that is asked.
        since: Timestamp,
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
        site: Option<Box<Site>>,
    },
    Written,
    Told {
        stage: Stage,
        turn: u32,
        view: Option<Box<View>>,
    },
    /// The Node, if it is there.
    Looked(Option<Box<Site>>),
    /// Whether the volumes are there.
    Volumes(bool),
    /// A process runs, or why it could not be started: reason and message.
    Started(Result<(), (&'static str, String)>),
    Stopped,
    /// What the run that began then says to a probe.
    Probed {
        since: Timestamp,
        answer: Result<(), String>,
    },
    /// How much was said by now.
    Said(usize),
    /// The object is not there any more, or is another of the same name.
    Gone,
    /// Worth another attempt.
    Failed,
}

pub async fn perform(client: Client, clock: Clock, processes: Arc<dyn Processes>, effect: Effect) -> Done {
    let key = match &effect {
        Effect::Join { id, .. } | Effect::Ready { id, .. } | Effect::Forsake { id, .. } => Key::Machine(id.clone()),
        Effect::Lease { id, .. } => Key::Lease(id.clone()),
        Effect::Status { id, .. } => Key::Status(id.clone()),
        Effect::Devices { id, .. } => Key::Devices(id.clone()),
        Effect::Say { key, .. } => key.clone(),
        Effect::Start { id, .. } | Effect::Stop { id, .. } => Key::Process(id.clone()),
        Effect::Probe { id, kind, .. } => Key::Probe(id.clone(), *kind),
        Effect::Tell { uid, .. } | Effect::Volumes { uid, .. } | Effect::Look { uid, .. } | Effect::Remove { uid, .. } => {
            Key::Pod(uid.clone())
        }
    };
    let result = match effect {
        Effect::Join { provider_id, node, .. } => join(client, &provider_id, node).await,
        Effect::Ready { name, csi, .. } => get_ready(client, &clock, &name, csi).await,
        Effect::Devices { name, devices, .. } => announce(client, &name, &devices).await,
        Effect::Volumes { namespace, node, claims, .. } => volumes(client, &namespace, &node, &claims).await,
        Effect::Look { node, .. } => look(client, &node).await,
        Effect::Status { name, ready, problems, .. } => post_status(client, &clock, &name, ready, &problems).await,
        Effect::Lease { name, uid, .. } => renew(client, &clock, &name, &uid).await,
        Effect::Tell { namespace, name, stage, turn, patch, .. } => {
            tell(client, &*processes, (&namespace, &name), (stage, turn), patch).await
        }
        Effect::Forsake { name, uid, .. } => forsake(client, &name, uid).await,
        Effect::Say { tellings, spoken, .. } => say(client, &tellings, spoken).await,
        Effect::Start { id, namespace, name, addresses } => start(client, &*processes, id, (&namespace, &name), addresses).await,
        Effect::Stop { id, grace } => {
            processes.stop(&id, grace);
            Ok(Outcome::Stopped)
        }
        Effect::Probe { id, probe, since, .. } => Ok(Outcome::Probed { since, answer: processes.probe(&id, &probe).await }),
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
    let site = Site::of(&patched).map(Box::new);
    Ok(Outcome::Joined { uid: patched.metadata.uid.unwrap_or_default(), site })
}

async fn look(client: Client, name: &str) -> Result<Outcome, kube::Error> {
    let node = Api::<Node>::all(client).get_opt(name).await?;
    Ok(Outcome::Looked(node.as_ref().and_then(Site::of).map(Box::new)))
}

/// The network plugin runs, and so does the driver's plugin, if there is one.
async fn get_ready(client: Client, clock: &Clock, name: &str, csi: Option<Value>) -> Result<Outcome, kube::Error> {
    if let Some(csi) = csi {
        let csi: CSINode = serde_json::from_value(csi).map_err(kube::Error::SerdeError)?;
        match Api::<CSINode>::all(client.clone()).create(&PostParams::default(), &csi).await {
            // What is there already may be somebody's on purpose.
            Err(error) if code(&error) != 409 => return Err(error),
            _ => {}
        }
    }
    post_status(client, clock, name, true, &[]).await
}

/// Whether all EBS volumes of these claims are attached to the node; other drivers' volumes are taken to be there.
async fn volumes(client: Client, namespace: &str, node: &str, claims: &[String]) -> Result<Outcome, kube::Error> {
    for claim in claims {
        let Some(claim) = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace).get_opt(claim).await? else {
            return Ok(Outcome::Volumes(false));
        };
        let Some(volume) = claim.spec.and_then(|spec| spec.volume_name) else { return Ok(Outcome::Volumes(false)) };
        let volume = Api::<PersistentVolume>::all(client.clone()).get_opt(&volume).await?;
        let Some(spec) = volume.and_then(|volume| volume.spec) else { return Ok(Outcome::Volumes(false)) };
        let Some(csi) = spec.csi.filter(|csi| csi.driver == node::EBS) else { continue };
        let name = node::attachment(&csi.volume_handle, &csi.driver, node);
        let attachment = Api::<VolumeAttachment>::all(client.clone()).get_opt(&name).await?;
        let there =
            |one: &VolumeAttachment| one.metadata.deletion_timestamp.is_none() && one.status.as_ref().is_some_and(|status| status.attached);
        if !attachment.as_ref().is_some_and(there) {
            return Ok(Outcome::Volumes(false));
        }
    }
    Ok(Outcome::Volumes(true))
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

async fn announce(client: Client, name: &str, devices: &Resources) -> Result<Outcome, kube::Error> {
    let patch = Patch::Merge(json!({ "status": { "capacity": devices, "allocatable": devices } }));
    Api::<Node>::all(client).patch_status(name, &written_by(), &patch).await?;
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

async fn tell(
    client: Client,
    processes: &dyn Processes,
    (namespace, name): (&str, &str),
    (stage, turn): (Stage, u32),
    patch: Value,
) -> Result<Outcome, kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let pod = pods.patch_status(name, &written_by(), &Patch::Merge(patch)).await?;
    let view = View::of(&pod).map(|view| Box::new(view.with_processes(&pod, |image| processes.runs(image))));
    Ok(Outcome::Told { stage, turn, view })
}

/// Looks up what the process' environment is made of, and starts it.
async fn start(
    client: Client,
    processes: &dyn Processes,
    id: Id,
    (namespace, name): (&str, &str),
    (pod_ip, host_ip): (String, String),
) -> Result<Outcome, kube::Error> {
    let pod = Api::<Pod>::namespaced(client.clone(), namespace).get(name).await?;
    let spec = pod.spec.clone().unwrap_or_default();
    let container = spec.containers.iter().find(|one| one.name == id.container).cloned().unwrap_or_default();
    if pod.metadata.uid.as_deref() != Some(&id.uid) {
        return Ok(Outcome::Gone);
    }
    let (maps, secrets) = environment::wanted(&container);
    let mut sources = Sources { pod_ip, host_ip, ..Default::default() };
    for name in maps {
        if let Some(found) = Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(&name).await? {
            sources.config_maps.insert(name, found.data.unwrap_or_default());
        }
    }
    for name in secrets {
        if let Some(found) = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(&name).await? {
            let entries = found.data.unwrap_or_default().into_iter();
            sources.secrets.insert(name, entries.map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned())).collect());
        }
    }
    let node = Api::<Node>::all(client).get_opt(spec.node_name.as_deref().unwrap_or_default()).await?;
    sources.allocatable = node.and_then(|node| node.status?.allocatable).unwrap_or_default();
    let environment = match environment::environment(&pod, &container, &sources) {
        Ok(environment) => environment,
        Err(message) => return Ok(Outcome::Started(Err(("CreateContainerConfigError", message)))),
    };
    let order = Order::of(id, &pod, container, environment);
    Ok(Outcome::Started(processes.start(order).await.map_err(|message| ("RunContainerError", message))))
}

/// Events that the server refuses are lost, as everywhere; one that has expired meanwhile is written again
/// (`k8s.io/client-go/tools/record/event.go`, recordEvent).
async fn say(client: Client, tellings: &[Telling], spoken: usize) -> Result<Outcome, kube::Error> {
    for telling in tellings {
        let events: Api<Event> = Api::namespaced(client.clone(), &telling.namespace);
        if telling.again {
            let patch = json!({ "count": telling.event["count"], "lastTimestamp": telling.event["lastTimestamp"] });
            match events.patch(&telling.name, &written_by(), &Patch::Merge(patch)).await {
                Err(error) if code(&error) == 404 => {}
                Err(error) if code(&error) == 0 => return Err(error),
                _ => continue,
            }
        }
        let event: Event = serde_json::from_value(telling.event.clone()).map_err(kube::Error::SerdeError)?;
        let parameters = PostParams { field_manager: Some("kubelet".to_owned()), ..Default::default() };
        match events.create(&parameters, &event).await {
            Err(error) if code(&error) == 0 => return Err(error),
            _ => {}
        }
    }
    Ok(Outcome::Said(spoken))
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
