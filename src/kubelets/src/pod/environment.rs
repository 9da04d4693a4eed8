//! The environment that a pod gives a container.
//!
//! Source: kubernetes `pkg/kubelet/kubelet_pods.go` (makeEnvironmentVariables), `third_party/forked/golang/expansion/expand.go`,
//! `pkg/api/v1/resource/helpers.go` (ExtractContainerResourceValue). Services' addresses are left out: nothing answers there.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, EnvVarSource, ObjectFieldSelector, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;

/// What is looked up elsewhere than in the pod.
#[derive(Clone, Default, Debug)]
pub struct Sources {
    /// By name, those that there are.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    pub secrets: BTreeMap<String, BTreeMap<String, String>>,
    /// The node's: what an absent limit counts as.
    pub allocatable: BTreeMap<String, Quantity>,
    /// The pod's address and its node's.
    pub pod_ip: String,
    pub host_ip: String,
}

/// Names of the ConfigMaps and of the Secrets that a container's environment is made of.
pub fn wanted(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for from in container.env_from.iter().flatten() {
        maps.extend(from.config_map_ref.as_ref().map(|one| one.name.clone()));
        secrets.extend(from.secret_ref.as_ref().map(|one| one.name.clone()));
    }
    for from in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        maps.extend(from.config_map_key_ref.as_ref().map(|one| one.name.clone()));
        secrets.extend(from.secret_key_ref.as_ref().map(|one| one.name.clone()));
    }
    (maps, secrets)
}

/// The variables by name. The error is the message of `CreateContainerConfigError`.
pub fn environment(pod: &Pod, container: &Container, sources: &Sources) -> Result<BTreeMap<String, String>, String> {
    let mut made = BTreeMap::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let maps = from.config_map_ref.as_ref().map(|one| ("configmap", &sources.config_maps, &one.name, one.optional));
        let secrets = from.secret_ref.as_ref().map(|one| ("secret", &sources.secrets, &one.name, one.optional));
        for (kind, known, name, optional) in maps.into_iter().chain(secrets) {
            match known.get(name) {
                Some(entries) => made.extend(entries.iter().map(|(key, value)| (format!("{prefix}{key}"), value.clone()))),
                None if optional == Some(true) => {}
                None => return Err(format!("{kind} {name:?} not found")),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(from) => looked_up(pod, container, sources, from)?,
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &made)),
        };
        if let Some(value) = value {
            made.insert(variable.name.clone(), value);
        }
    }
    Ok(made)
}

/// `None`: it is optional, and is not there.
fn looked_up(pod: &Pod, container: &Container, sources: &Sources, from: &EnvVarSource) -> Result<Option<String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(field) = &from.field_ref {
        return field_of(pod, sources, field).map(Some);
    }
    if let Some(resource) = &from.resource_field_ref {
        return resource_of(pod, container, sources, resource).map(Some);
    }
    let maps = from.config_map_key_ref.as_ref().map(|one| ("ConfigMap", &sources.config_maps, &one.name, &one.key, one.optional));
    let secrets = from.secret_key_ref.as_ref().map(|one| ("Secret", &sources.secrets, &one.name, &one.key, one.optional));
    let Some((kind, known, name, key, optional)) = maps.or(secrets) else { return Ok(None) };
    match known.get(name).map(|entries| entries.get(key)) {
        Some(Some(value)) => Ok(Some(value.clone())),
        _ if optional == Some(true) => Ok(None),
        Some(None) => Err(format!("couldn't find key {key} in {kind} {namespace}/{name}")),
        None => Err(format!("{} {name:?} not found", kind.to_lowercase())),
    }
}

fn field_of(pod: &Pod, sources: &Sources, field: &ObjectFieldSelector) -> Result<String, String> {
    let (meta, spec) = (&pod.metadata, pod.spec.as_ref());
    let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
    match field.field_path.as_str() {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.podIP" | "status.podIPs" => Ok(sources.pod_ip.clone()),
        "status.hostIP" | "status.hostIPs" => Ok(sources.host_ip.clone()),
        path => {
            let entry = |kind: &str, all: &Option<BTreeMap<String, String>>| {
                let key = path.strip_prefix(kind)?.strip_prefix("['")?.strip_suffix("']")?;
                Some(all.iter().flatten().find(|(known, _)| *known == key).map(|(_, value)| value.clone()).unwrap_or_default())
            };
            let found = entry("metadata.labels", &meta.labels).or_else(|| entry("metadata.annotations", &meta.annotations));
            found.ok_or_else(|| format!("unsupported fieldPath: {path}"))
        }
    }
}

/// In units of the divisor, rounded up.
fn resource_of(pod: &Pod, own: &Container, sources: &Sources, field: &ResourceFieldSelector) -> Result<String, String> {
    let name = field.container_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&own.name);
    let containers = pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let container = containers.into_iter().find(|one| one.name == name).ok_or_else(|| format!("container {name} not found"))?;
    let resources = container.resources.as_ref();
    let set = |list: Option<&Option<BTreeMap<String, Quantity>>>, name: &str| list.and_then(|list| list.as_ref()?.get(name).cloned());
    let value = match field.resource.split_once('.') {
        Some(("limits", name)) => set(resources.map(|one| &one.limits), name).or_else(|| sources.allocatable.get(name).cloned()),
        Some(("requests", name)) => set(resources.map(|one| &one.requests), name),
        _ => return Err(format!("unsupported container resource : {}", field.resource)),
    };
    let milli = |quantity: Option<&Quantity>| quantity.and_then(|one| quantity::milli(&one.0)).unwrap_or(0);
    let divisor = match milli(field.divisor.as_ref()) {
        divisor if divisor > 0 => divisor,
        _ => 1000,
    };
    Ok(milli(value.as_ref()).saturating_add(divisor - 1).div_euclid(divisor).to_string())
}

/// `$(NAME)` becomes the variable's value, `$$` a dollar sign; a name that nobody knows stays as it is.
pub fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let name = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = name {
            match known.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn made(container: Value) -> Result<BTreeMap<String, String>, String> {
        let spec = json!({ "nodeName": "n", "containers": [container] });
        let meta = json!({ "name": "p", "namespace": "d", "labels": { "app": "karpenter" } });
        let pod: Pod = serde_json::from_value(json!({ "metadata": meta, "spec": spec })).expect("a pod");
        let entries = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let sources = Sources {
            config_maps: [("settings".to_owned(), entries("IDLE", "1s"))].into(),
            secrets: [("keys".to_owned(), entries("KEY", "k"))].into(),
            allocatable: [("memory".to_owned(), Quantity("1Gi".to_owned()))].into(),
            ..Default::default()
        };
        environment(&pod, &pod.spec.as_ref().expect("a spec").containers[0], &sources)
    }

    #[rstest]
    #[case::value(json!({ "name": "A", "value": "b" }), Ok(Some("b")))]
    #[case::field(json!({ "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } }), Ok(Some("d")))]
    #[case::label(json!({ "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['app']" } } }), Ok(Some("karpenter")))]
    #[case::cpu(json!({ "name": "A", "valueFrom": { "resourceFieldRef": { "resource": "requests.cpu", "divisor": "1m" } } }), Ok(Some("1500")))]
    #[case::whole(json!({ "name": "A", "valueFrom": { "resourceFieldRef": { "resource": "requests.cpu" } } }), Ok(Some("2")))]
    #[case::no_limit(json!({ "name": "A", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory", "divisor": "0" } } }), Ok(Some("1073741824")))]
    #[case::map(json!({ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "IDLE" } } }), Ok(Some("1s")))]
    #[case::secret(json!({ "name": "A", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "KEY" } } }), Ok(Some("k")))]
    #[case::no_key(json!({ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "MAX" } } }), Err("couldn't find key MAX in ConfigMap d/settings"))]
    #[case::no_map(json!({ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "more", "key": "MAX" } } }), Err("configmap \"more\" not found"))]
    #[case::optional(json!({ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "more", "key": "MAX", "optional": true } } }), Ok(None))]
    fn variables(#[case] variable: Value, #[case] expect: Result<Option<&str>, &str>) {
        let container = json!({ "name": "c", "env": [variable], "resources": { "requests": { "cpu": "1500m" } } });
        let found = made(container).map(|all| all.get("A").cloned());
        assert_eq!(found, expect.map(|value| value.map(str::to_owned)).map_err(str::to_owned));
    }

    #[test]
    fn later_variables_stand_on_earlier_ones_and_win_over_those_of_maps() {
        let container = json!({
            "name": "c",
            "envFrom": [{ "prefix": "BATCH_", "configMapRef": { "name": "settings" } }],
            "env": [{ "name": "A", "value": "$(BATCH_IDLE) $$(BATCH_IDLE) $(NOBODY) $" }, { "name": "BATCH_IDLE", "value": "2s" }],
        });
        let all = made(container).expect("everything is there");
        assert_eq!((all["A"].as_str(), all["BATCH_IDLE"].as_str()), ("1s $(BATCH_IDLE) $(NOBODY) $", "2s"));
        assert_eq!(made(json!({ "name": "c", "envFrom": [{ "secretRef": { "name": "x" } }] })), Err("secret \"x\" not found".to_owned()));
    }
}
