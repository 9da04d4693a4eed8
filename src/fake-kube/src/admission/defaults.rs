//! Defaults of the built-in kinds that controllers and kubelets rely on.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/{core,apps,batch,policy,autoscaling,scheduling,storage}/v1*/defaults.go`, 1.36.
//!
//! - Pod (and every pod template): restartPolicy, dnsPolicy, terminationGracePeriodSeconds, schedulerName, securityContext,
//!   serviceAccount beside serviceAccountName, enableServiceLinks (pods alone), host ports under hostNetwork; of containers: resources,
//!   imagePullPolicy, terminationMessagePath and -Policy, ports' protocol, requests from limits (pods alone), probes' numbers, handlers' scheme and
//!   path, env fieldRef's apiVersion; of volumes: default modes, an empty source, hostPath's type, projected tokens' lifetime
//! - Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController, Job, CronJob: replicas and strategy numbers
//! - Service: type, protocol, target port, session affinity, internal traffic policy
//! - Namespace, Node, Secret, LimitRange, PersistentVolume, PersistentVolumeClaim, StorageClass, PriorityClass, HorizontalPodAutoscaler,
//!   EndpointSlice, webhooks: what each match arm says

use serde_json::{Map, Value, json};

use crate::kinds::Kind;

/// Fills in what is absent.
pub(crate) fn default(kind: &Kind, object: &mut Value) {
    if kind.is_custom() {
        return;
    }
    let Some(map) = object.as_object_mut() else { return };
    super::others::default(kind, map);
    match kind.key.as_str() {
        "pods" => {
            let spec = child(map, "spec");
            set(spec, "enableServiceLinks", json!(true));
            pod_spec(spec);
            requests(spec);
            if let Some(status) = existing(map, "status") {
                // Two fields of one thing (`pkg/apis/core/v1/conversion.go`).
                if let Some(ip) = status.get("podIP").filter(|ip| ip.as_str().is_some_and(|ip| !ip.is_empty())).cloned() {
                    set(status, "podIPs", json!([{ "ip": ip }]));
                }
                for condition in each(status, "conditions") {
                    set(condition, "lastProbeTime", Value::Null);
                    set(condition, "lastTransitionTime", Value::Null);
                }
                // Structs that Go holds by value.
                for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
                    for one in each(status, list) {
                        child(one, "state");
                        child(one, "lastState");
                    }
                }
            }
        }
        "apps/deployments" => deployment(child(map, "spec")),
        "apps/replicasets" => workload(child(map, "spec")),
        "apps/statefulsets" => stateful_set(child(map, "spec")),
        "apps/daemonsets" => {
            daemon_set(child(map, "spec"));
            // Kept by the conversion from the internal type (`pkg/apis/apps/v1/conversion.go`).
            let meta = child(map, "metadata");
            set(child(meta, "annotations"), "deprecated.daemonset.template.generation", json!("1"));
        }
        "nodes" => node(map),
        "replicationcontrollers" => replication_controller(map),
        "podtemplates" => template(map),
        "batch/jobs" => job(child(map, "spec")),
        "batch/cronjobs" => cron_job(child(map, "spec")),
        "services" => service(child(map, "spec")),
        "namespaces" => namespace(map),
        "secrets" => secret(map),
        "limitranges" => super::limits::complete(child(map, "spec")),
        "persistentvolumes" => {
            let spec = child(map, "spec");
            set(spec, "persistentVolumeReclaimPolicy", json!("Retain"));
            set(spec, "volumeMode", json!("Filesystem"));
        }
        "persistentvolumeclaims" => set(child(map, "spec"), "volumeMode", json!("Filesystem")),
        "storage.k8s.io/storageclasses" => {
            set(map, "reclaimPolicy", json!("Delete"));
            set(map, "volumeBindingMode", json!("Immediate"));
        }
        "scheduling.k8s.io/priorityclasses" => set(map, "preemptionPolicy", json!("PreemptLowerPriority")),
        "autoscaling/horizontalpodautoscalers" => autoscaler(child(map, "spec")),
        "discovery.k8s.io/endpointslices" => endpoint_slice(map),
        "storage.k8s.io/csidrivers" => {
            let spec = child(map, "spec");
            for (key, value) in [
                ("attachRequired", json!(true)),
                ("podInfoOnMount", json!(false)),
                ("storageCapacity", json!(false)),
                ("fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
                ("volumeLifecycleModes", json!(["Persistent"])),
                ("requiresRepublish", json!(false)),
                ("seLinuxMount", json!(false)),
            ] {
                set(spec, key, value);
            }
        }
        "networking.k8s.io/networkpolicies" => {
            let spec = child(map, "spec");
            let types = if spec.contains_key("egress") { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            set(spec, "policyTypes", types);
        }
        // Times that Go holds by value, and writes when they are zero.
        "events" => {
            ["eventTime", "firstTimestamp", "lastTimestamp"].into_iter().for_each(|key| set(map, key, Value::Null));
            set(map, "source", json!({}));
        }
        "coordination.k8s.io/leases" => drop(child(map, "spec")),
        "rbac.authorization.k8s.io/rolebindings" | "rbac.authorization.k8s.io/clusterrolebindings" => role_binding(map),
        _ => {}
    }
}

/// The status that a new object of a kind with a status begins with.
pub(crate) fn initial_status(kind: &Kind) -> Value {
    match kind.key.as_str() {
        "apps/statefulsets" => json!({ "availableReplicas": 0, "replicas": 0 }),
        "apps/replicasets" | "replicationcontrollers" => json!({ "replicas": 0 }),
        "nodes" => node_status(),
        "apps/daemonsets" => json!({ "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0 }),
        "policy/poddisruptionbudgets" => json!({ "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0 }),
        "autoscaling/horizontalpodautoscalers" => json!({ "desiredReplicas": 0, "currentMetrics": null }),
        "networking.k8s.io/ingresses" => json!({ "loadBalancer": {} }),
        "storage.k8s.io/volumeattachments" => json!({ "attached": false }),
        _ => json!({}),
    }
}

fn set(map: &mut Map<String, Value>, key: &str, value: Value) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value);
    }
}

/// As `set`, for strings that Go holds by value: empty is absent.
fn set_text(map: &mut Map<String, Value>, key: &str, value: &str) {
    if map.get(key).is_none_or(|found| found.is_null() || found == "") {
        map.insert(key.to_owned(), json!(value));
    }
}

fn child<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(key.to_owned()).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// The objects in a list, for change.
fn each<'a>(map: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn existing<'a>(map: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    map.get_mut(key).and_then(Value::as_object_mut)
}

fn template(map: &mut Map<String, Value>) {
    let template = child(map, "template");
    child(template, "metadata");
    pod_spec(child(template, "spec"));
}

pub(super) fn pod_spec(spec: &mut Map<String, Value>) {
    set_text(spec, "restartPolicy", "Always");
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set_text(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "securityContext", json!({}));
    set_text(spec, "schedulerName", "default-scheduler");
    // The old name of the field follows the new one (`pkg/apis/core/v1/conversion.go`).
    let account = spec.get("serviceAccountName").or(spec.get("serviceAccount")).cloned();
    if let Some(account) = account.filter(|account| account != "") {
        spec.insert("serviceAccountName".to_owned(), account.clone());
        spec.insert("serviceAccount".to_owned(), account);
    }
    let host_network = spec.get("hostNetwork") == Some(&json!(true));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for one in each(spec, list) {
            container(one, host_network && list != "ephemeralContainers");
        }
    }
    for one in each(spec, "volumes") {
        volume(one);
    }
    for one in each(spec, "topologySpreadConstraints") {
        set_text(one, "whenUnsatisfiable", "DoNotSchedule");
    }
}

fn container(container: &mut Map<String, Value>, host_network: bool) {
    child(container, "resources");
    set_text(container, "terminationMessagePath", "/dev/termination-log");
    set_text(container, "terminationMessagePolicy", "File");
    let policy = if pulls_always(container.get("image").and_then(Value::as_str).unwrap_or_default()) { "Always" } else { "IfNotPresent" };
    set_text(container, "imagePullPolicy", policy);
    for port in each(container, "ports") {
        set_text(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            set(port, "hostPort", number);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = existing(container, name) {
            for (key, value) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)] {
                set(probe, key, json!(value));
            }
            handler(probe);
        }
    }
    if let Some(lifecycle) = existing(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            existing(lifecycle, name).into_iter().for_each(handler);
        }
    }
    for one in each(container, "env") {
        if let Some(field) = existing(one, "valueFrom").and_then(|from| existing(from, "fieldRef")) {
            set_text(field, "apiVersion", "v1");
        }
    }
}

/// What is limited and asks for nothing asks for its limit; of pods alone, not of templates (`SetDefaults_Pod`).
fn requests(spec: &mut Map<String, Value>) {
    for list in ["containers", "initContainers"] {
        for resources in each(spec, list).filter_map(|container| existing(container, "resources")) {
            let limits = resources.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
            if !limits.is_empty() {
                let requests = child(resources, "requests");
                limits.into_iter().for_each(|(name, limit)| set(requests, &name, limit));
            }
        }
    }
}

fn handler(handler: &mut Map<String, Value>) {
    if let Some(get) = existing(handler, "httpGet") {
        set_text(get, "path", "/");
        set_text(get, "scheme", "HTTP");
    }
    if let Some(grpc) = existing(handler, "grpc") {
        set(grpc, "service", json!(""));
    }
}

/// No tag, or `latest`, and no digest (`pkg/util/parsers`).
fn pulls_always(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    let last = name.rsplit('/').next().unwrap_or(name);
    !digest && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn volume(volume: &mut Map<String, Value>) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = existing(volume, name) {
            set(source, "defaultMode", json!(420));
            for one in each(source, "sources") {
                if let Some(token) = existing(one, "serviceAccountToken") {
                    set(token, "expirationSeconds", json!(3600));
                }
                downward(existing(one, "downwardAPI"));
            }
        }
    }
    downward(existing(volume, "downwardAPI"));
    if let Some(path) = existing(volume, "hostPath") {
        set(path, "type", json!(""));
    }
    if let Some(spec) = existing(volume, "ephemeral").and_then(|one| existing(one, "volumeClaimTemplate")).map(|one| child(one, "spec")) {
        set(spec, "volumeMode", json!("Filesystem"));
    }
}

fn downward(source: Option<&mut Map<String, Value>>) {
    if let Some(source) = source {
        for item in each(source, "items") {
            if let Some(field) = existing(item, "fieldRef") {
                set_text(field, "apiVersion", "v1");
            }
        }
    }
}

/// What a Node's status says before a kubelet has said anything.
fn node_status() -> Value {
    let info: Map<String, Value> = [
        "machineID",
        "systemUUID",
        "bootID",
        "kernelVersion",
        "osImage",
        "containerRuntimeVersion",
        "kubeletVersion",
        "kubeProxyVersion",
        "operatingSystem",
        "architecture",
    ]
    .iter()
    .map(|key| ((*key).to_owned(), json!("")))
    .collect();
    json!({ "daemonEndpoints": { "kubeletEndpoint": { "Port": 0 } }, "nodeInfo": info })
}

/// Without `allocatable`, everything is.
fn node(map: &mut Map<String, Value>) {
    if let Some(status) = existing(map, "status") {
        if let Some(capacity) = status.get("capacity").cloned() {
            set(status, "allocatable", capacity);
        }
        for condition in each(status, "conditions") {
            set(condition, "lastHeartbeatTime", Value::Null);
            set(condition, "lastTransitionTime", Value::Null);
        }
    }
}

fn workload(spec: &mut Map<String, Value>) {
    set(spec, "replicas", json!(1));
    template(spec);
}

fn deployment(spec: &mut Map<String, Value>) {
    workload(spec);
    let strategy = child(spec, "strategy");
    set_text(strategy, "type", "RollingUpdate");
    if strategy.get("type") == Some(&json!("RollingUpdate")) {
        let rolling = child(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", json!("25%"));
        set(rolling, "maxSurge", json!("25%"));
    }
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "progressDeadlineSeconds", json!(600));
}

fn stateful_set(spec: &mut Map<String, Value>) {
    workload(spec);
    set(spec, "serviceName", json!(""));
    set_text(spec, "podManagementPolicy", "OrderedReady");
    let strategy = child(spec, "updateStrategy");
    set_text(strategy, "type", "RollingUpdate");
    if strategy.get("type") == Some(&json!("RollingUpdate")) {
        set(child(strategy, "rollingUpdate"), "partition", json!(0));
    }
    set(spec, "revisionHistoryLimit", json!(10));
    let retention = child(spec, "persistentVolumeClaimRetentionPolicy");
    set_text(retention, "whenDeleted", "Retain");
    set_text(retention, "whenScaled", "Retain");
    for claim in each(spec, "volumeClaimTemplates") {
        claim.insert("kind".to_owned(), json!("PersistentVolumeClaim"));
        claim.insert("apiVersion".to_owned(), json!("v1"));
        set(child(claim, "spec"), "volumeMode", json!("Filesystem"));
        set(claim, "status", json!({ "phase": "Pending" }));
    }
}

fn daemon_set(spec: &mut Map<String, Value>) {
    template(spec);
    let strategy = child(spec, "updateStrategy");
    set_text(strategy, "type", "RollingUpdate");
    if strategy.get("type") == Some(&json!("RollingUpdate")) {
        let rolling = child(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", json!(1));
        set(rolling, "maxSurge", json!(0));
    }
    set(spec, "revisionHistoryLimit", json!(10));
}

fn replication_controller(map: &mut Map<String, Value>) {
    let spec = child(map, "spec");
    set(spec, "replicas", json!(1));
    if spec.contains_key("template") {
        template(spec);
        let labels = spec["template"]["metadata"]["labels"].clone();
        if labels.is_object() {
            set(spec, "selector", labels);
        }
    }
}

fn job(spec: &mut Map<String, Value>) {
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        spec.insert("completions".to_owned(), json!(1));
        spec.insert("parallelism".to_owned(), json!(1));
    }
    set(spec, "parallelism", json!(1));
    let indexed = spec.contains_key("backoffLimitPerIndex");
    set(spec, "backoffLimit", json!(if indexed { i32::MAX } else { 6 }));
    set(spec, "completionMode", json!("NonIndexed"));
    set(spec, "suspend", json!(false));
    set(spec, "manualSelector", json!(false));
    let failed_only = spec.contains_key("podFailurePolicy");
    set(spec, "podReplacementPolicy", json!(if failed_only { "Failed" } else { "TerminatingOrFailed" }));
    template(spec);
}

fn cron_job(spec: &mut Map<String, Value>) {
    set_text(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", json!(false));
    set(spec, "successfulJobsHistoryLimit", json!(3));
    set(spec, "failedJobsHistoryLimit", json!(1));
    let template_of_job = child(spec, "jobTemplate");
    child(template_of_job, "metadata");
    template(child(template_of_job, "spec"));
}

fn service(spec: &mut Map<String, Value>) {
    set_text(spec, "sessionAffinity", "None");
    set_text(spec, "type", "ClusterIP");
    if spec.get("type") != Some(&json!("ExternalName")) {
        set(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if matches!(spec.get("type").and_then(Value::as_str), Some("NodePort" | "LoadBalancer")) {
        set_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if spec.get("type") == Some(&json!("LoadBalancer")) {
        set(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    for port in each(spec, "ports") {
        set_text(port, "protocol", "TCP");
        let same = port.get("port").cloned().unwrap_or(json!(0));
        set(port, "targetPort", same);
    }
}

fn namespace(map: &mut Map<String, Value>) {
    let name = map.get("metadata").map(|meta| meta["name"].clone()).unwrap_or_default();
    if let Some(name) = name.as_str() {
        child(child(map, "metadata"), "labels").insert("kubernetes.io/metadata.name".to_owned(), json!(name));
    }
    set(child(map, "spec"), "finalizers", json!(["kubernetes"]));
}

fn secret(map: &mut Map<String, Value>) {
    set_text(map, "type", "Opaque");
    if let Some(Value::Object(texts)) = map.shift_remove("stringData") {
        use base64::Engine as _;
        let data = child(map, "data");
        for (key, value) in texts {
            data.insert(key, json!(base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default())));
        }
    }
}

fn autoscaler(spec: &mut Map<String, Value>) {
    set(spec, "minReplicas", json!(1));
    set(
        spec,
        "metrics",
        json!([{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } } }]),
    );
    if let Some(behavior) = existing(spec, "behavior") {
        let up = json!([{ "type": "Pods", "value": 4, "periodSeconds": 15 }, { "type": "Percent", "value": 100, "periodSeconds": 15 }]);
        let down = json!([{ "type": "Percent", "value": 100, "periodSeconds": 15 }]);
        for (direction, policies) in [("scaleUp", up), ("scaleDown", down)] {
            let rules = child(behavior, direction);
            set(rules, "policies", policies);
            set(rules, "selectPolicy", json!("Max"));
            if direction == "scaleUp" {
                set(rules, "stabilizationWindowSeconds", json!(0));
            }
        }
    }
}

fn endpoint_slice(map: &mut Map<String, Value>) {
    // Go writes these lists when they are nil, too.
    ["endpoints", "ports"].into_iter().for_each(|key| set(map, key, Value::Null));
    for port in each(map, "ports") {
        set(port, "name", json!(""));
        set(port, "protocol", json!("TCP"));
    }
}

fn role_binding(map: &mut Map<String, Value>) {
    if let Some(role) = existing(map, "roleRef") {
        set_text(role, "apiGroup", "rbac.authorization.k8s.io");
    }
    for subject in each(map, "subjects") {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            set_text(subject, "apiGroup", "rbac.authorization.k8s.io");
        }
    }
}
