//! The built-in kinds that are served, and what is known of each.
//!
//! Names, short names and categories: `kubectl api-resources` of Kubernetes 1.36. Selectable fields:
//! `k8s.io/kubernetes/pkg/registry/*/*/strategy.go` and `pkg/apis/core/v1/conversion.go`.

use super::{Kind, Scale, Selectable};

/// Flags of a row: namespaced, has a status subresource, has a scale subresource.
const N: u8 = 1;
const S: u8 = 2;
const R: u8 = 4;
/// In category `all`.
const A: u8 = 8;

/// Group, version, kind, plural, short names (comma), flags.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, u8);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("", "v1", "Namespace", "namespaces", "ns", S),
    ("", "v1", "Node", "nodes", "no", S),
    ("", "v1", "Pod", "pods", "po", N | S | A),
    ("", "v1", "Service", "services", "svc", N | S | A),
    ("", "v1", "Endpoints", "endpoints", "ep", N),
    ("", "v1", "ConfigMap", "configmaps", "cm", N),
    ("", "v1", "Secret", "secrets", "", N),
    ("", "v1", "ServiceAccount", "serviceaccounts", "sa", N),
    ("", "v1", "Event", "events", "ev", N),
    ("", "v1", "PersistentVolume", "persistentvolumes", "pv", S),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", N | S),
    ("", "v1", "ReplicationController", "replicationcontrollers", "rc", N | S | R | A),
    ("", "v1", "LimitRange", "limitranges", "limits", N),
    ("", "v1", "ResourceQuota", "resourcequotas", "quota", N | S),
    ("", "v1", "PodTemplate", "podtemplates", "", N),
    ("apps", "v1", "Deployment", "deployments", "deploy", N | S | R | A),
    ("apps", "v1", "ReplicaSet", "replicasets", "rs", N | S | R | A),
    ("apps", "v1", "DaemonSet", "daemonsets", "ds", N | S | A),
    ("apps", "v1", "StatefulSet", "statefulsets", "sts", N | S | R | A),
    ("apps", "v1", "ControllerRevision", "controllerrevisions", "", N),
    ("batch", "v1", "Job", "jobs", "", N | S | A),
    ("batch", "v1", "CronJob", "cronjobs", "cj", N | S | A),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", N | S),
    ("coordination.k8s.io", "v1", "Lease", "leases", "", N),
    ("storage.k8s.io", "v1", "StorageClass", "storageclasses", "sc", 0),
    ("storage.k8s.io", "v1", "CSINode", "csinodes", "", 0),
    ("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", "", S),
    ("storage.k8s.io", "v1", "CSIDriver", "csidrivers", "", 0),
    ("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities", "", N),
    ("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses", "vac", 0),
    ("resource.k8s.io", "v1", "DeviceClass", "deviceclasses", "", 0),
    ("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims", "", N | S),
    ("resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates", "", N),
    ("resource.k8s.io", "v1", "ResourceSlice", "resourceslices", "", 0),
    ("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "pc", 0),
    ("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", "", 0),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "", N),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", N | S | A),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", "", N),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", "", N),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", "", 0),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", "", 0),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "netpol", N),
    ("networking.k8s.io", "v1", "Ingress", "ingresses", "ing", N | S),
    ("networking.k8s.io", "v1", "IngressClass", "ingressclasses", "", 0),
    ("networking.k8s.io", "v1", "IPAddress", "ipaddresses", "ip", 0),
    ("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", "", S),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", "crd,crds", S),
    ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "", 0),
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "", 0),
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", "", S),
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", "", 0),
    ("apiregistration.k8s.io", "v1", "APIService", "apiservices", "", S),
];

/// The built-in kinds, in the order of the table.
pub fn built_in() -> Vec<Kind> {
    ROWS.iter().map(kind).collect()
}

fn kind(&(group, version, kind, plural, short, flags): &Row) -> Kind {
    Kind {
        key: super::key(group, plural),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        namespaced: flags & N != 0,
        short_names: short.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        categories: category(flags, group, plural),
        status: flags & S != 0,
        scale: (flags & R != 0).then(|| Scale {
            spec_replicas: "spec.replicas".to_owned(),
            status_replicas: "status.replicas".to_owned(),
            selector: None,
        }),
        selectable: selectable(plural),
        versions: Vec::new(),
    }
}

fn category(flags: u8, group: &str, plural: &str) -> Vec<String> {
    let categories: &[&str] = match (group, plural) {
        _ if flags & A != 0 => &["all"],
        ("apiextensions.k8s.io" | "admissionregistration.k8s.io" | "apiregistration.k8s.io", _) => &["api-extensions"],
        _ => &[],
    };
    categories.iter().map(|&name| name.to_owned()).collect()
}

fn selectable(plural: &str) -> Vec<Selectable> {
    let fields: &[(&str, &str)] = match plural {
        "pods" => &[
            ("spec.nodeName", ""),
            ("spec.restartPolicy", ""),
            ("spec.schedulerName", ""),
            ("spec.serviceAccountName", ""),
            ("spec.hostNetwork", "false"),
            ("status.phase", ""),
            ("status.podIP", ""),
            ("status.nominatedNodeName", ""),
        ],
        "nodes" => &[("spec.unschedulable", "false")],
        "namespaces" => &[("status.phase", "")],
        "secrets" => &[("type", "")],
        "resourceslices" => &[("spec.nodeName", ""), ("spec.driver", "")],
        "services" => &[("spec.clusterIP", ""), ("spec.type", "")],
        "replicasets" | "replicationcontrollers" => &[("status.replicas", "0")],
        "jobs" => &[("status.successful", "")],
        "events" => &[
            ("involvedObject.kind", ""),
            ("involvedObject.namespace", ""),
            ("involvedObject.name", ""),
            ("involvedObject.uid", ""),
            ("involvedObject.apiVersion", ""),
            ("involvedObject.resourceVersion", ""),
            ("involvedObject.fieldPath", ""),
            ("reason", ""),
            ("reportingComponent", ""),
            ("source", ""),
            ("type", ""),
        ],
        _ => &[],
    };
    fields
        .iter()
        .map(|&(name, absent)| {
            let mut field = Selectable::new(name, absent);
            if name == "source" {
                field.path = vec!["source".to_owned(), "component".to_owned()];
            }
            if name == "status.successful" {
                field.path = vec!["status".to_owned(), "succeeded".to_owned()];
                field.absent = "0".to_owned();
            }
            field
        })
        .collect()
}
