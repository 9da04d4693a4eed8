//! The kubelet's command line. Source: `A/pkg/providers/amifamily/bootstrap/bootstrap.go`.

use super::{Bootstrap, NodeTaint};
use std::collections::BTreeMap;

/// `--node-labels="a=b,c=d"`, by key; `None` without labels.
pub fn node_labels(labels: &BTreeMap<String, String>) -> Option<String> {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (!pairs.is_empty()).then(|| format!("--node-labels={:?}", pairs.join(",")))
}

pub fn kubelet_extra_args(bootstrap: &Bootstrap) -> Vec<String> {
    let kubelet = &bootstrap.kubelet;
    let taints: Vec<String> = bootstrap.taints.iter().map(NodeTaint::argument).collect();
    let mut arguments = Vec::from_iter(node_labels(&bootstrap.labels));
    arguments.push(format!("--register-with-taints={:?}", taints.join(",")));
    let number = |name: &str, value: Option<i32>| value.map(|value| format!("--{name}={value}"));
    arguments.extend(number("max-pods", kubelet.max_pods));
    arguments.extend(number("pods-per-core", kubelet.pods_per_core));
    arguments.extend(joined("system-reserved", &kubelet.system_reserved, '='));
    arguments.extend(joined("kube-reserved", &kubelet.kube_reserved, '='));
    arguments.extend(joined("eviction-hard", &kubelet.eviction_hard, '<'));
    arguments.extend(joined("eviction-soft", &kubelet.eviction_soft, '<'));
    let periods = kubelet.eviction_soft_grace_period.iter().map(|(key, value)| (key.clone(), go_duration(value))).collect();
    arguments.extend(joined("eviction-soft-grace-period", &periods, '='));
    arguments.extend(number("eviction-max-pod-grace-period", kubelet.eviction_max_pod_grace_period));
    arguments.extend(number("image-gc-high-threshold", kubelet.image_gc_high_threshold_percent));
    arguments.extend(number("image-gc-low-threshold", kubelet.image_gc_low_threshold_percent));
    arguments.extend(kubelet.cpu_cfs_quota.map(|on| format!("--cpu-cfs-quota={on}")));
    arguments
}

fn joined(name: &str, map: &BTreeMap<String, String>, separator: char) -> Option<String> {
    let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}{separator}{value}")).collect();
    (!pairs.is_empty()).then(|| format!("--{name}={:?}", pairs.join(",")))
}

impl NodeTaint {
    /// `key=value:effect`, as `corev1.Taint.ToString`.
    fn argument(&self) -> String {
        match (self.value.is_empty(), self.effect.is_empty()) {
            (true, true) => self.key.clone(),
            (true, false) => format!("{}:{}", self.key, self.effect),
            (false, _) => format!("{}={}:{}", self.key, self.value, self.effect),
        }
    }
}

/// A duration as Go prints it: `90s` is `1m30s`, `2h` is `2h0m0s`. What is no duration stays as it is.
pub fn go_duration(text: &str) -> String {
    api::duration::parse_go(text).map_or_else(|| text.to_owned(), api::duration::print_go)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("90s", "1m30s")]
    #[case("2h", "2h0m0s")]
    #[case("1.5s", "1.5s")]
    #[case("100ms", "100ms")]
    #[case("0", "0s")]
    #[case("1500us", "1.5ms")]
    #[case("soon", "soon")]
    fn durations_are_printed_as_go_does(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(go_duration(text), expected);
    }
}
