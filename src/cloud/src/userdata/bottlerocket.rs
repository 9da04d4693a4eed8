//! Bottlerocket: TOML settings; ours overwrite the custom ones. Source: `A/pkg/providers/amifamily/bootstrap/bottlerocket*.go`.

use super::{Bootstrap, UserDataError, arguments};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// The settings under `settings.kubernetes` that upstream knows; it drops the others.
const KUBERNETES: [&str; 48] = [
    "api-server",
    "cloud-provider",
    "cluster-certificate",
    "cluster-name",
    "cluster-dns-ip",
    "credential-providers",
    "node-labels",
    "node-taints",
    "max-pods",
    "static-pods",
    "eviction-hard",
    "eviction-soft",
    "eviction-soft-grace-period",
    "eviction-max-pod-grace-period",
    "kube-reserved",
    "system-reserved",
    "allowed-unsafe-sysctls",
    "server-tls-bootstrap",
    "registry-qps",
    "registry-burst",
    "event-qps",
    "event-burst",
    "kube-api-qps",
    "kube-api-burst",
    "container-log-max-size",
    "container-log-max-files",
    "cpu-manager-policy",
    "cpu-manager-policy-options",
    "cpu-manager-reconcile-period",
    "memory-manager-policy",
    "topology-manager-scope",
    "topology-manager-policy",
    "topology-manager-policy-options",
    "image-gc-high-threshold-percent",
    "image-gc-low-threshold-percent",
    "ids-per-pod",
    "cpu-cfs-quota-enforced",
    "shutdown-grace-period",
    "shutdown-grace-period-for-critical-pods",
    "cluster-domain",
    "seccomp-default",
    "pod-pids-limit",
    "device-ownership-from-security-context",
    "single-process-oom-kill",
    "container-log-max-workers",
    "container-log-monitor-interval",
    "hostname-override-source",
    "log-level",
];

pub fn render(bootstrap: &Bootstrap) -> Result<String, UserDataError> {
    let custom: Table = toml::from_str(bootstrap.custom_text())
        .map_err(|error| UserDataError::Invalid(format!("invalid UserData toml: {}", error.message())))?;
    let mut settings = match custom.get("settings") {
        Some(Value::Table(settings)) => settings.clone(),
        None => Table::new(),
        Some(_) => return Err(UserDataError::Invalid("invalid UserData: settings is no table".to_owned())),
    };
    let mut kubernetes = match settings.remove("kubernetes") {
        Some(Value::Table(kubernetes)) => kubernetes,
        None => Table::new(),
        Some(_) => return Err(UserDataError::Invalid("invalid UserData: settings.kubernetes is no table".to_owned())),
    };
    kubernetes.retain(|key, _| KUBERNETES.contains(&key));
    overwrite(&mut kubernetes, bootstrap);
    settings.insert("kubernetes".to_owned(), Value::Table(kubernetes));
    if bootstrap.striped_disks {
        mount_disks(&mut settings, &bootstrap.image_version)?;
    }
    let document = Table::from_iter([("settings".to_owned(), Value::Table(settings))]);
    toml::to_string(&document).map_err(|error| UserDataError::Invalid(format!("constructing toml UserData {error}")))
}

fn overwrite(kubernetes: &mut Table, bootstrap: &Bootstrap) {
    let kubelet = &bootstrap.kubelet;
    let mut put = |key: &str, value: Option<Value>| match value {
        Some(value) => {
            kubernetes.insert(key.to_owned(), value);
        }
        None if key == "cluster-certificate" => {
            kubernetes.remove(key);
        }
        None => {}
    };
    let text = |text: &str| Some(Value::from(text));
    put("cluster-name", text(&bootstrap.cluster_name));
    put("api-server", text(&bootstrap.cluster_endpoint));
    put("cluster-certificate", bootstrap.cluster_ca.as_deref().map(Value::from));
    put("max-pods", kubelet.max_pods.map(Value::from));
    put("cluster-dns-ip", kubelet.cluster_dns.first().map(|dns| Value::from(dns.as_str())));
    put("system-reserved", map(&kubelet.system_reserved));
    put("kube-reserved", map(&kubelet.kube_reserved));
    put("eviction-hard", map(&kubelet.eviction_hard));
    put("eviction-soft", map(&kubelet.eviction_soft));
    let periods = kubelet.eviction_soft_grace_period.iter().map(|(key, value)| (key.clone(), arguments::go_duration(value))).collect();
    put("eviction-soft-grace-period", map(&periods));
    put("eviction-max-pod-grace-period", kubelet.eviction_max_pod_grace_period.map(Value::from));
    put("image-gc-high-threshold-percent", kubelet.image_gc_high_threshold_percent.map(|percent| Value::from(percent.to_string())));
    put("image-gc-low-threshold-percent", kubelet.image_gc_low_threshold_percent.map(|percent| Value::from(percent.to_string())));
    put("cpu-cfs-quota-enforced", kubelet.cpu_cfs_quota.map(Value::from));
    let mut taints: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for taint in &bootstrap.taints {
        taints.entry(&taint.key).or_default().push(Value::from(format!("{}:{}", taint.value, taint.effect)));
    }
    put("node-taints", Some(Value::Table(taints.into_iter().map(|(key, list)| (key.to_owned(), Value::Array(list))).collect())));
    if !bootstrap.labels.is_empty() {
        let labels = kubernetes.entry("node-labels".to_owned()).or_insert_with(|| Value::Table(Table::new()));
        if !labels.is_table() {
            *labels = Value::Table(Table::new());
        }
        if let Value::Table(labels) = labels {
            labels.extend(bootstrap.labels.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
        }
    }
}

fn map(values: &BTreeMap<String, String>) -> Option<Value> {
    (!values.is_empty()).then(|| Value::Table(values.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()))
}

/// Striped local disks hold containers, the kubelet and logs; since 1.46 Bottlerocket knows the folders itself.
fn mount_disks(settings: &mut Table, version: &str) -> Result<(), UserDataError> {
    let words = |words: &[&str]| Value::Array(words.iter().map(|word| Value::from(*word)).collect());
    let bind = if binds_by_default(version) {
        words(&["apiclient", "ephemeral-storage", "bind"])
    } else {
        words(&["apiclient", "ephemeral-storage", "bind", "--dirs", "/var/lib/containerd", "/var/lib/kubelet", "/var/log/pods"])
    };
    let init = words(&["apiclient", "ephemeral-storage", "init"]);
    let command = Table::from_iter([
        ("commands".to_owned(), Value::Array(vec![init, bind])),
        ("mode".to_owned(), Value::from("always")),
        ("essential".to_owned(), Value::from(true)),
    ]);
    match settings.entry("bootstrap-commands".to_owned()).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(commands) => commands.insert("000-mount-instance-storage".to_owned(), Value::Table(command)),
        _ => return Err(UserDataError::Invalid("invalid UserData: settings.bootstrap-commands is no table".to_owned())),
    };
    Ok(())
}

/// Source: `A/pkg/providers/version/version.go`, SupportsDefaultBind.
fn binds_by_default(version: &str) -> bool {
    if version == "latest" {
        return true;
    }
    let parts: Vec<&str> = version.trim_start_matches('v').split('.').collect();
    match parts[..] {
        [major, minor, _, ..] => {
            matches!((major.parse::<u32>(), minor.parse::<u32>()), (Ok(major), Ok(minor)) if (major, minor) >= (1, 46))
        }
        _ => false,
    }
}
