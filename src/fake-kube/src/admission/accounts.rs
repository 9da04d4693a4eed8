//! Service accounts in pods: the default name, the account's existence, the token's volume, the account's pull secrets, what a mirror pod
//! may not name.
//!
//! Source: `k8s.io/kubernetes/plugin/pkg/admission/serviceaccount/admission.go`. Where accounts are not looked at (virtual time), only the
//! default name remains: a volume and a mount for each of 100,000 pods that nobody opens would be half of what such a pod weighs.

use serde_json::{Value, json};

use crate::api::Api;
use crate::kinds::Kind;
use crate::status::Status;

const DEFAULT: &str = "default";
const ACCOUNTS: &str = "serviceaccounts";
const VOLUME: &str = "kube-api-access-";
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// `serviceaccount.WarnOnlyBoundTokenExpirationSeconds`: an hour, and seven seconds to be told apart.
const TOKEN_SECONDS: u64 = 3607;
const MIRROR: &str = "kubernetes.io/config.mirror";
const ENFORCED: &str = "kubernetes.io/enforce-mountable-secrets";

/// 403 when the account is missing, or when the pod names a secret that it may not.
pub(super) fn admit(api: &mut Api, kind: &Kind, pod: &mut Value) -> Result<(), Status> {
    if pod["metadata"]["annotations"].get(MIRROR).is_some() {
        return check_mirror(kind, pod);
    }
    if text(&pod["spec"]["serviceAccountName"]).is_empty() {
        pod["spec"]["serviceAccountName"] = json!(DEFAULT);
        pod["spec"]["serviceAccount"] = json!(DEFAULT);
    }
    if !api.looks_at_accounts() {
        return Ok(());
    }
    let account = account(api, kind, pod)?;
    let mount = pod["spec"]["automountServiceAccountToken"].as_bool().or(account["automountServiceAccountToken"].as_bool());
    if mount.unwrap_or(true) {
        mount_token(api, &mut pod["spec"]);
    }
    let secrets = &account["imagePullSecrets"];
    if list(&pod["spec"]["imagePullSecrets"]).is_empty() && !list(secrets).is_empty() {
        pod["spec"]["imagePullSecrets"] = secrets.clone();
    }
    let enforced = account["metadata"]["annotations"][ENFORCED].as_str();
    if enforced.is_some_and(|yes| matches!(yes, "1" | "t" | "T" | "true" | "TRUE" | "True")) {
        check_secrets(&account, &pod["spec"]).map_err(|why| Status::forbidden(kind, text(&pod["metadata"]["name"]), &why))?;
    }
    Ok(())
}

fn account(api: &mut Api, kind: &Kind, pod: &Value) -> Result<std::sync::Arc<Value>, Status> {
    let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["spec"]["serviceAccountName"]));
    if let Some(account) = api.store().get(ACCOUNTS, namespace, name) {
        return Ok(account.value());
    }
    if name == DEFAULT {
        api.miss_default_account();
    }
    let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
    Err(Status::forbidden(kind, text(&pod["metadata"]["name"]), &why))
}

/// Every container gets the mount that has none at its place; the volume comes when somebody needs it.
fn mount_token(api: &mut Api, spec: &mut Value) {
    let known = list(&spec["volumes"]).iter().map(|volume| text(&volume["name"])).find(|name| name.starts_with(VOLUME)).map(str::to_owned);
    let volume = known.clone().unwrap_or_else(|| format!("{VOLUME}{}", api.suffix()));
    let mut needed = false;
    for containers in ["initContainers", "containers"] {
        for container in spec.get_mut(containers).and_then(Value::as_array_mut).into_iter().flatten() {
            if list(&container["volumeMounts"]).iter().all(|mount| mount["mountPath"] != MOUNT) {
                push(container, "volumeMounts", json!({ "name": volume, "readOnly": true, "mountPath": MOUNT }));
                needed = true;
            }
        }
    }
    if known.is_none() && needed {
        push(spec, "volumes", json!({ "name": volume, "projected": token_source() }));
    }
}

fn token_source() -> Value {
    json!({
        "sources": [
            { "serviceAccountToken": { "expirationSeconds": TOKEN_SECONDS, "path": "token" } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }] } },
        ],
        "defaultMode": 420,
    })
}

fn push(object: &mut Value, field: &str, one: Value) {
    match &mut object[field] {
        Value::Array(list) => list.push(one),
        other => *other = json!([one]),
    }
}

/// What an account that enforces its secrets does not name, a pod may not (`limitSecretReferences`).
fn check_secrets(account: &Value, spec: &Value) -> Result<(), String> {
    let who = text(&account["metadata"]["name"]);
    let named = |secrets: &str, name: &str| list(&account[secrets]).iter().any(|one| one["name"] == name);
    let denied = format!("is not allowed because service account {who} does not reference that");
    for volume in list(&spec["volumes"]).iter().filter(|volume| volume.get("secret").is_some()) {
        let name = text(&volume["secret"]["secretName"]);
        if !named("secrets", name) {
            return Err(format!("volume with secret.secretName={name:?} {denied} secret"));
        }
    }
    for (containers, what) in [("initContainers", "init container"), ("containers", "container")] {
        for container in list(&spec[containers]) {
            let whose = format!("{what} {}", text(&container["name"]));
            if let Some((variable, name)) = secrets_of(container).find(|(_, name)| !named("secrets", name)) {
                let how = variable.map_or_else(|| "envFrom".to_owned(), |variable| format!("envVar {variable}"));
                return Err(format!("{whose} with {how} referencing secret.secretName={name:?} {denied} secret"));
            }
        }
    }
    for (index, one) in list(&spec["imagePullSecrets"]).iter().enumerate() {
        let name = text(&one["name"]);
        if !named("imagePullSecrets", name) {
            return Err(format!("imagePullSecrets[{index}].name={name:?} {denied} imagePullSecret"));
        }
    }
    Ok(())
}

/// The secrets that a container's environment names, each with its variable if it has one.
fn secrets_of(container: &Value) -> impl Iterator<Item = (Option<&str>, &str)> {
    let single = list(&container["env"]).iter().filter_map(|one| {
        let secret = one["valueFrom"].get("secretKeyRef")?;
        Some((Some(text(&one["name"])), text(&secret["name"])))
    });
    let whole = list(&container["envFrom"]).iter().filter_map(|one| Some((None, text(&one.get("secretRef")?["name"]))));
    single.chain(whole)
}

/// A mirror pod is what a kubelet says it runs: nothing is added, and it may name neither accounts nor secrets.
fn check_mirror(kind: &Kind, pod: &Value) -> Result<(), Status> {
    let refused = |why: &str| Err(Status::forbidden(kind, text(&pod["metadata"]["name"]), why));
    let spec = &pod["spec"];
    if !text(&spec["serviceAccountName"]).is_empty() {
        return refused("a mirror pod may not reference service accounts");
    }
    let sources = || list(&spec["volumes"]).iter().flat_map(|volume| list(&volume["projected"]["sources"]));
    let pulled = list(&spec["imagePullSecrets"]).iter().any(|one| !text(&one["name"]).is_empty());
    let projected = sources().any(|source| !text(&source["secret"]["name"]).is_empty());
    let in_environment = ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|containers| list(&spec[*containers]))
        .any(|container| secrets_of(container).any(|(_, name)| !name.is_empty()));
    if pulled || projected || in_environment || list(&spec["volumes"]).iter().any(names_a_secret) {
        return refused("a mirror pod may not reference secrets");
    }
    if sources().any(|source| source.get("serviceAccountToken").is_some()) {
        return refused("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// Of the sources that `VisitPodSecretNames` (`pkg/api/pod/util.go`) knows, any but a projected one.
fn names_a_secret(volume: &Value) -> bool {
    const SOURCES: [&str; 10] = [
        "/azureFile/secretName",
        "/cephfs/secretRef/name",
        "/cinder/secretRef/name",
        "/flexVolume/secretRef/name",
        "/rbd/secretRef/name",
        "/secret/secretName",
        "/scaleIO/secretRef/name",
        "/iscsi/secretRef/name",
        "/storageos/secretRef/name",
        "/csi/nodePublishSecretRef/name",
    ];
    SOURCES.iter().any(|path| volume.pointer(path).and_then(Value::as_str).is_some_and(|name| !name.is_empty()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
