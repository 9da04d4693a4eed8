//! Bottlerocket: settings in TOML.
//!
//! Source: bottlerocket.dev, settings reference, `settings.kubernetes`; `A/pkg/providers/amifamily/bootstrap/bottlerocketsettings.go`.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{Bootstrap, Refusal, Taint};

pub fn read(text: &str) -> Result<Bootstrap, Refusal> {
    let wrong = |what: &str| Refusal::Bottlerocket(what.to_owned());
    let document: Table = text.parse().map_err(|error| Refusal::Bottlerocket(format!("Failed to parse user data as TOML: {error}")))?;
    let settings = document.get("settings").and_then(Value::as_table).ok_or_else(|| wrong("user data has no [settings]"))?;
    let kubernetes = settings.get("kubernetes").and_then(Value::as_table).ok_or_else(|| wrong("there is no [settings.kubernetes]"))?;
    let required = |key: &str| {
        let text = kubernetes.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or_else(|| Refusal::Bottlerocket(format!("settings.kubernetes.{key} is not set")))
    };
    required("cluster-certificate")?;
    let max_pods = match kubernetes.get("max-pods") {
        None => None,
        Some(value) => {
            let count = value.as_integer().and_then(|count| u32::try_from(count).ok());
            Some(count.ok_or_else(|| Refusal::Bottlerocket(format!("settings.kubernetes.max-pods cannot be {value:?}")))?)
        }
    };
    Ok(Bootstrap {
        cluster: required("cluster-name")?,
        endpoint: required("api-server")?,
        labels: strings(kubernetes, "node-labels")?,
        taints: taints(kubernetes)?,
        max_pods,
        kube_reserved: strings(kubernetes, "kube-reserved")?,
        system_reserved: strings(kubernetes, "system-reserved")?,
        eviction_hard: strings(kubernetes, "eviction-hard")?,
        local_disks: binds_local_disks(settings),
        reserves_by_max_pods: true,
        pods_per_core: None,
    })
}

fn strings(kubernetes: &Table, key: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let Some(value) = kubernetes.get(key) else { return Ok(BTreeMap::new()) };
    let wrong = || Refusal::Bottlerocket(format!("settings.kubernetes.{key} is not a table of strings"));
    let pair = |(name, value): (&String, &Value)| value.as_str().map(|text| (name.clone(), text.to_owned())).ok_or_else(wrong);
    value.as_table().ok_or_else(wrong)?.iter().map(pair).collect()
}

/// `"key" = ["value:Effect", …]`; older files have a single string.
fn taints(kubernetes: &Table) -> Result<Vec<Taint>, Refusal> {
    let Some(table) = kubernetes.get("node-taints") else { return Ok(Vec::new()) };
    let wrong = || Refusal::Bottlerocket("settings.kubernetes.node-taints is not a table of lists of \"value:Effect\"".to_owned());
    let mut taints = Vec::new();
    for (key, listed) in table.as_table().ok_or_else(wrong)? {
        let listed = listed.as_array().cloned().unwrap_or_else(|| vec![listed.clone()]);
        for each in listed {
            let (value, effect) = each.as_str().and_then(|text| text.rsplit_once(':')).ok_or_else(wrong)?;
            taints.push(Taint { key: key.clone(), value: value.to_owned(), effect: effect.to_owned() });
        }
    }
    Ok(taints)
}

/// Whether some bootstrap command makes local disks the home of the pods' files (`apiclient ephemeral-storage bind`).
fn binds_local_disks(settings: &Table) -> bool {
    let commands = settings.get("bootstrap-commands").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let runs = |command: &Value| {
        let lists = command.get("commands").and_then(Value::as_array).cloned().unwrap_or_default();
        lists.iter().any(|words| {
            let words: Vec<&str> = words.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            words.starts_with(&["apiclient", "ephemeral-storage", "bind"])
        })
    };
    commands.into_iter().any(runs)
}
