//! What a scenario does to the cluster: apply, scale, patch, delete, as a client would.

use crate::scenario::{Manifest, Mistake, Target};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, Status};
use kube::discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind};
use kube::{Api, Client};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The API server refuses a manifest: shown in the manifest.
    #[error("{0}")]
    Refused(Box<Mistake>),
    #[error("{target}: {message}")]
    Target { target: String, message: String },
    #[error("{what}: {message}")]
    Failed { what: String, message: String },
}

/// Kinds by the names that scenarios use, so that no discovery is needed for them.
const KNOWN: [(&[&str], &str, &str, &str); 15] = [
    (&["deployment", "deployments", "deploy"], "apps", "v1", "Deployment"),
    (&["statefulset", "statefulsets", "sts"], "apps", "v1", "StatefulSet"),
    (&["daemonset", "daemonsets", "ds"], "apps", "v1", "DaemonSet"),
    (&["replicaset", "replicasets", "rs"], "apps", "v1", "ReplicaSet"),
    (&["pod", "pods", "po"], "", "v1", "Pod"),
    (&["node", "nodes", "no"], "", "v1", "Node"),
    (&["namespace", "namespaces", "ns"], "", "v1", "Namespace"),
    (&["service", "services", "svc"], "", "v1", "Service"),
    (&["configmap", "configmaps", "cm"], "", "v1", "ConfigMap"),
    (&["job", "jobs"], "batch", "v1", "Job"),
    (&["poddisruptionbudget", "poddisruptionbudgets", "pdb"], "policy", "v1", "PodDisruptionBudget"),
    (&["nodepool", "nodepools"], "karpenter.sh", "v1", "NodePool"),
    (&["nodeclaim", "nodeclaims"], "karpenter.sh", "v1", "NodeClaim"),
    (&["nodeoverlay", "nodeoverlays", "overlays"], "karpenter.sh", "v1alpha1", "NodeOverlay"),
    (&["ec2nodeclass", "ec2nodeclasses", "ec2nc"], "karpenter.k8s.aws", "v1", "EC2NodeClass"),
];

/// A client that remembers what it discovered.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    kinds: BTreeMap<(String, String), (ApiResource, ApiCapabilities)>,
}

impl Objects {
    pub fn new(client: Client) -> Self {
        Objects { client, kinds: BTreeMap::new() }
    }

    async fn api(&mut self, api_version: &str, kind: &str, namespace: Option<&str>) -> Result<Api<DynamicObject>, kube::Error> {
        let key = (api_version.to_owned(), kind.to_owned());
        if !self.kinds.contains_key(&key) {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let found = pinned_kind(&self.client, &GroupVersionKind::gvk(group, version, kind)).await?;
            self.kinds.insert(key.clone(), found);
        }
        let (resource, capabilities) = &self.kinds[&key];
        Ok(match (&capabilities.scope, namespace) {
            (Scope::Cluster, _) => Api::all_with(self.client.clone(), resource),
            (Scope::Namespaced, namespace) => Api::namespaced_with(self.client.clone(), namespace.unwrap_or("default"), resource),
        })
    }

    /// Creates every object of a manifest in order, or patches what exists, like `kubectl apply`.
    pub async fn apply(&mut self, manifest: &Manifest) -> Result<(), ObjectError> {
        for (node, value) in &manifest.objects {
            if let Err(error) = self.apply_value(value).await {
                let name = value["metadata"]["name"].as_str().unwrap_or("");
                let kind = value["kind"].as_str().unwrap_or("");
                let mistake = match &error {
                    kube::Error::Api(status) => manifest.mistake(
                        node,
                        first_field(status).as_deref(),
                        format!("the API refuses {kind} {name:?}: {}", status.message),
                    ),
                    kube::Error::Discovery(_) => manifest.mistake(
                        node,
                        Some("kind"),
                        format!("the API knows no kind {kind} in {}", value["apiVersion"].as_str().unwrap_or("")),
                    ),
                    other => return Err(ObjectError::Failed { what: format!("apply {kind} {name}"), message: other.to_string() }),
                };
                return Err(ObjectError::Refused(Box::new(mistake)));
            }
        }
        Ok(())
    }

    /// Creates one object, or patches it when it exists.
    pub async fn apply_value(&mut self, value: &Value) -> Result<(), kube::Error> {
        let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or("").to_owned();
        let namespace = value.pointer("/metadata/namespace").and_then(Value::as_str);
        let api = self.api(&text("/apiVersion"), &text("/kind"), namespace).await?;
        let object: DynamicObject = serde_json::from_value(value.clone()).map_err(kube::Error::SerdeError)?;
        match api.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                api.patch(&text("/metadata/name"), &PatchParams::default(), &Patch::Merge(value)).await?;
                Ok(())
            }
            other => other.map(drop),
        }
    }

    async fn target(&mut self, target: &Target) -> Result<Api<DynamicObject>, ObjectError> {
        let wrong = |message: String| ObjectError::Target { target: target.to_string(), message };
        let Some((_, group, version, kind)) = KNOWN.iter().find(|(names, ..)| names.contains(&target.kind.as_str())) else {
            return Err(wrong(format!("unknown kind {:?}; known: {}", target.kind, KNOWN.map(|(names, ..)| names[0]).join(", "))));
        };
        let api_version = if group.is_empty() { (*version).to_owned() } else { format!("{group}/{version}") };
        self.api(&api_version, kind, target.namespace.as_deref()).await.map_err(|error| wrong(error.to_string()))
    }

    pub async fn patch(&mut self, target: &Target, patch: &Value) -> Result<(), ObjectError> {
        let api = self.target(target).await?;
        let done = api.patch(&target.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        done.map(drop).map_err(|error| ObjectError::Target { target: target.to_string(), message: error.to_string() })
    }

    pub async fn scale(&mut self, target: &Target, replicas: u32) -> Result<(), ObjectError> {
        self.patch(target, &serde_json::json!({"spec": {"replicas": replicas}})).await
    }

    pub async fn delete(&mut self, target: &Target) -> Result<(), ObjectError> {
        let api = self.target(target).await?;
        let done = api.delete(&target.name, &DeleteParams::background()).await;
        done.map(drop).map_err(|error| ObjectError::Target { target: target.to_string(), message: error.to_string() })
    }

    /// The whole object; null if there is none.
    pub async fn get(&mut self, target: &Target) -> Result<Value, ObjectError> {
        let api = self.target(target).await?;
        let failed = |message: String| ObjectError::Target { target: target.to_string(), message };
        match api.get_opt(&target.name).await.map_err(|error| failed(error.to_string()))? {
            Some(object) => serde_json::to_value(object).map_err(|error| failed(error.to_string())),
            None => Ok(Value::Null),
        }
    }

    /// Status conditions of an object: `Ready` → `True`, or `False (Reason: message)`.
    pub async fn conditions(&mut self, target: &Target) -> Result<Option<BTreeMap<String, String>>, ObjectError> {
        let api = self.target(target).await?;
        let found = api
            .get_opt(&target.name)
            .await
            .map_err(|error| ObjectError::Target { target: target.to_string(), message: error.to_string() })?;
        Ok(found.map(|object| {
            let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
            let text = |c: &Value, key: &str| c[key].as_str().unwrap_or("").to_owned();
            conditions
                .iter()
                .map(|c| {
                    let status = text(c, "status");
                    let why = if status == "True" { status } else { format!("{status} ({}: {})", text(c, "reason"), text(c, "message")) };
                    (text(c, "type"), why)
                })
                .collect()
        }))
    }
}

/// The field that an API refusal names first.
fn first_field(status: &Status) -> Option<String> {
    let cause = status.details.as_ref()?.causes.iter().find(|c| !c.field.is_empty())?;
    Some(cause.field.clone())
}
