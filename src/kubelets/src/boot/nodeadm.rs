//! Amazon Linux 2023: `nodeadm` and its NodeConfig.
//!
//! Source: awslabs/amazon-eks-ami `nodeadm/internal/{configprovider/userdata.go,api/merge.go,api/validation.go,kubelet/config.go}`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Bootstrap, Refusal, Taint, flags, mime};

const MEDIA_TYPE: &str = "application/node.eks.aws";

pub fn read(text: &str) -> Result<Bootstrap, Refusal> {
    let documents = match mime::parts(text).map_err(Refusal::Nodeadm)? {
        Some(parts) => parts.into_iter().filter(|part| part.media_type == MEDIA_TYPE).map(|part| part.body).collect(),
        // What is no archive is read as one NodeConfig.
        None => vec![text.to_owned()],
    };
    let mut configs = documents.iter().map(|document| decode(document)).collect::<Result<Vec<_>, _>>()?.into_iter();
    let mut merged = configs.next().ok_or_else(|| Refusal::Nodeadm("Could not find NodeConfig within UserData".to_owned()))?;
    configs.for_each(|later| merge(&mut merged, later, ""));
    bootstrap(&merged)
}

fn decode(document: &str) -> Result<Value, Refusal> {
    let value: Value = serde_saphyr::from_str(document).map_err(|error| Refusal::Nodeadm(format!("couldn't parse NodeConfig: {error}")))?;
    let (kind, version) = (&value["kind"], &value["apiVersion"]);
    if kind != "NodeConfig" || version != "node.eks.aws/v1alpha1" {
        return Err(Refusal::Nodeadm(format!("no kind {kind} is registered for version {version}")));
    }
    Ok(value)
}

/// Later wins, key by key; an empty value overrides nothing; kubelet flags add up, other lists are replaced.
fn merge(into: &mut Value, later: Value, path: &str) {
    match (into, later) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(later)) => {
            for (key, value) in later {
                let path = format!("{path}/{key}");
                match into.get_mut(&key) {
                    Some(existing) => merge(existing, value, &path),
                    None => drop(into.insert(key, value)),
                }
            }
        }
        (Value::Array(into), Value::Array(later)) if path == "/spec/kubelet/flags" => into.extend(later),
        (_, Value::String(later)) if later.is_empty() => {}
        (_, Value::Array(later)) if later.is_empty() => {}
        (into, later) => *into = later,
    }
}

fn bootstrap(config: &Value) -> Result<Bootstrap, Refusal> {
    let cluster = &config["spec"]["cluster"];
    let required = |key: &str, name: &str| {
        let text = cluster[key].as_str().filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or_else(|| Refusal::Nodeadm(format!("{name} is missing in cluster configuration")))
    };
    let mut bootstrap = Bootstrap {
        cluster: required("name", "Name")?,
        endpoint: required("apiServerEndpoint", "Apiserver endpoint")?,
        ..Default::default()
    };
    required("certificateAuthority", "Certificate authority")?;
    required("cidr", "CIDR")?;
    bootstrap.local_disks = config["spec"]["instance"]["localStorage"]["strategy"] == "RAID0";
    if let Some(kubelet) = config["spec"]["kubelet"]["config"].as_object() {
        kubelet_config(&mut bootstrap, kubelet)?;
    }
    // Flags come after the file on the kubelet's side, and win.
    let listed = config["spec"]["kubelet"]["flags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line: Vec<&str> = listed.iter().filter_map(Value::as_str).collect();
    let words = flags::words(&line.join(" ")).map_err(Refusal::Kubelet)?;
    flags::kubelet(&mut bootstrap, &words)?;
    Ok(bootstrap)
}

fn kubelet_config(bootstrap: &mut Bootstrap, config: &Map<String, Value>) -> Result<(), Refusal> {
    let number = |key: &str| match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
            count.map(Some).ok_or_else(|| wrong(key, value))
        }
    };
    bootstrap.max_pods = number("maxPods")?.filter(|count| *count > 0);
    bootstrap.pods_per_core = number("podsPerCore")?.filter(|count| *count > 0);
    bootstrap.kube_reserved = strings(config, "kubeReserved")?;
    bootstrap.system_reserved = strings(config, "systemReserved")?;
    bootstrap.eviction_hard = strings(config, "evictionHard")?;
    let taints = config.get("registerWithTaints").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    bootstrap.taints = taints.iter().map(|each| taint(each).ok_or_else(|| wrong("registerWithTaints", each))).collect::<Result<_, _>>()?;
    Ok(())
}

fn taint(value: &Value) -> Option<Taint> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(Taint { key: text("key")?, value: text("value").unwrap_or_default(), effect: text("effect")? })
}

fn strings(config: &Map<String, Value>, key: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let Some(Value::Object(map)) = config.get(key) else { return Ok(BTreeMap::new()) };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let pair = |(name, value): (&String, &Value)| Ok((name.clone(), text(value).ok_or_else(|| wrong(key, value))?));
    map.iter().map(pair).collect()
}

fn wrong(key: &str, value: &Value) -> Refusal {
    Refusal::Kubelet(format!("failed to load kubelet config file: {key}: cannot take {value}"))
}
