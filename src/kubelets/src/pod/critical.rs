//! Pods that the cluster cannot do without (kubernetes `pkg/kubelet/types/pod_update.go`).

use k8s_openapi::api::core::v1::Pod;

/// `system-cluster-critical` and up (`pkg/apis/scheduling/types.go`, SystemCriticalPriority).
const PRIORITY: i32 = 2_000_000_000;

/// IsCriticalPod: static, the mirror of such a one, or of a system's priority.
pub fn is_critical(pod: &Pod) -> bool {
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    is_static(pod) || note(pod, "kubernetes.io/config.mirror").is_some() || priority >= PRIORITY
}

/// IsStaticPod: it came from elsewhere than the API server.
pub fn is_static(pod: &Pod) -> bool {
    note(pod, "kubernetes.io/config.source").is_some_and(|source| source != "api")
}

fn note<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    Some(pod.metadata.annotations.as_ref()?.get(name)?)
}
