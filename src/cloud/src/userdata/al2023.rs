//! Amazon Linux 2023: custom parts, then our NodeConfig. Source: `A/pkg/providers/amifamily/bootstrap/nodeadm.go`.

use super::mime::{self, NODE_CONFIG, Part, SHELL_SCRIPT};
use super::{Bootstrap, UserDataError, arguments, yaml};
use serde_json::{Map, Value, json};

pub fn render(bootstrap: &Bootstrap) -> Result<String, UserDataError> {
    let ours = node_config(bootstrap)?;
    let mut parts = custom_parts(bootstrap.custom_text())?;
    parts.push(Part::new(NODE_CONFIG, ours));
    Ok(mime::write(&parts))
}

fn node_config(bootstrap: &Bootstrap) -> Result<String, UserDataError> {
    let cidr = bootstrap.cluster_cidr.as_deref().filter(|cidr| !cidr.is_empty()).ok_or(UserDataError::NoClusterCidr)?;
    let mut cluster = json!({"apiServerEndpoint": bootstrap.cluster_endpoint, "cidr": cidr, "name": bootstrap.cluster_name});
    if let Some(ca) = bootstrap.cluster_ca.as_deref().filter(|ca| !ca.is_empty()) {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD
            .decode(ca)
            .map_err(|error| UserDataError::Invalid(format!("decoding CABundle, {error}")))?;
        cluster["certificateAuthority"] = json!(ca);
    }
    let storage = if bootstrap.striped_disks { json!({"strategy": "RAID0"}) } else { json!({}) };
    let mut kubelet = json!({"config": kubelet_config(bootstrap)});
    if let Some(labels) = arguments::node_labels(&bootstrap.labels) {
        kubelet["flags"] = json!([labels]);
    }
    let config = json!({
        "apiVersion": "node.eks.aws/v1alpha1",
        "kind": "NodeConfig",
        "metadata": {},
        "spec": {"cluster": cluster, "containerd": {}, "instance": {"localStorage": storage}, "kubelet": kubelet},
    });
    Ok(format!("# Karpenter Generated NodeConfig\n{}", yaml::write(&config)))
}

/// The typed kubelet object and the taints.
fn kubelet_config(bootstrap: &Bootstrap) -> Value {
    let mut kubelet = bootstrap.kubelet.clone();
    for period in kubelet.eviction_soft_grace_period.values_mut() {
        *period = arguments::go_duration(period);
    }
    let mut config = serde_json::to_value(&kubelet).unwrap_or_else(|_| Value::Object(Map::new()));
    let taint = |key: &str, value: &str, effect: &str| {
        let mut taint = json!({"effect": effect, "key": key});
        if !value.is_empty() {
            taint["value"] = json!(value);
        }
        taint
    };
    config["registerWithTaints"] = bootstrap.taints.iter().map(|t| taint(&t.key, &t.value, &t.effect)).collect();
    config
}

/// An archive as it is; else one part, which is a NodeConfig when it is a YAML mapping and a shell script otherwise.
fn custom_parts(text: &str) -> Result<Vec<Part>, UserDataError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if mime::is_archive(text) {
        let parts = mime::read(text)?;
        // Upstream keeps nothing of a part but its type and text.
        let bare = |part: Part| {
            let kind = part.headers.into_iter().find(|(name, _)| name == "Content-Type").map(|(_, value)| value).unwrap_or_default();
            Part::new(&kind, part.content)
        };
        return Ok(parts.into_iter().map(bare).collect());
    }
    let mapping = serde_saphyr::from_str::<Value>(text).is_ok_and(|value| value.is_object() || value.is_null());
    Ok(vec![Part::new(if mapping { NODE_CONFIG } else { SHELL_SCRIPT }, text)])
}
