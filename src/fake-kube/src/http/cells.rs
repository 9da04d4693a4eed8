//! Columns and cells of the kinds that have more to show than a name and an age, pods, nodes and workloads apart (see [`super::table`]).
//!
//! Source: `k8s.io/kubernetes/pkg/printers/internalversion/printers.go`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::table::{age, joined, labels};

/// Columns by kind; those for `-o wide` end with a star, those that hold numbers or truths with `#` or `?` (before the star).
pub(super) fn columns(key: &str) -> Option<&'static [&'static str]> {
    Some(match key {
        "autoscaling/horizontalpodautoscalers" => &["Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"],
        "persistentvolumes" => &[
            "Name",
            "Capacity",
            "Access Modes",
            "Reclaim Policy",
            "Status",
            "Claim",
            "StorageClass",
            "VolumeAttributesClass",
            "Reason",
            "Age",
            "VolumeMode*",
        ],
        "persistentvolumeclaims" => {
            &["Name", "Status", "Volume", "Capacity", "Access Modes", "StorageClass", "VolumeAttributesClass", "Age", "VolumeMode*"]
        }
        "storage.k8s.io/storageclasses" => &["Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"],
        "storage.k8s.io/csidrivers" => {
            &["Name", "AttachRequired?", "PodInfoOnMount?", "StorageCapacity?", "TokenRequests", "RequiresRepublish?", "Modes", "Age"]
        }
        "storage.k8s.io/csinodes" => &["Name", "Drivers#", "Age"],
        "storage.k8s.io/volumeattachments" => &["Name", "Attacher", "PV", "Node", "Attached?", "Age"],
        "batch/cronjobs" => {
            &["Name", "Schedule", "Timezone", "Suspend?", "Active#", "Last Schedule", "Age", "Containers*", "Images*", "Selector*"]
        }
        "endpoints" => &["Name", "Endpoints", "Age"],
        "discovery.k8s.io/endpointslices" => &["Name", "AddressType", "Ports", "Endpoints", "Age"],
        "resourcequotas" => &["Name", "Request", "Limit", "Age"],
        "replicationcontrollers" => &["Name", "Desired#", "Current#", "Ready#", "Age", "Containers*", "Images*", "Selector*"],
        "podtemplates" => &["Name", "Containers", "Images", "Pod Labels"],
        "apps/controllerrevisions" => &["Name", "Controller", "Revision", "Age"],
        "networking.k8s.io/ingresses" => &["Name", "Class", "Hosts", "Address", "Ports", "Age"],
        "networking.k8s.io/ingressclasses" => &["Name", "Controller", "Parameters", "Age"],
        "networking.k8s.io/networkpolicies" => &["Name", "Pod-Selector", "Age"],
        "node.k8s.io/runtimeclasses" => &["Name", "Handler", "Age"],
        "resource.k8s.io/deviceclasses" | "resource.k8s.io/resourceclaimtemplates" => &["Name", "Age"],
        "resource.k8s.io/resourceclaims" => &["Name", "State", "Age"],
        "resource.k8s.io/resourceslices" => &["Name", "Node", "Driver", "Pool", "Age"],
        "rbac.authorization.k8s.io/rolebindings" | "rbac.authorization.k8s.io/clusterrolebindings" => {
            &["Name", "Role", "Age", "Users*", "Groups*", "ServiceAccounts*"]
        }
        "admissionregistration.k8s.io/mutatingwebhookconfigurations" | "admissionregistration.k8s.io/validatingwebhookconfigurations" => {
            &["Name", "Webhooks#", "Age"]
        }
        "storage.k8s.io/volumeattributesclasses" => &["Name", "DriverName", "Age"],
        "networking.k8s.io/ipaddresses" => &["Name", "ParentRef"],
        "networking.k8s.io/servicecidrs" => &["Name", "CIDRs", "Age"],
        "admissionregistration.k8s.io/validatingadmissionpolicies" => &["Name", "Validations#", "ParamKind", "Age"],
        "admissionregistration.k8s.io/validatingadmissionpolicybindings" => &["Name", "PolicyName", "ParamRef", "Age"],
        _ => return None,
    })
}

/// One cell, but for name and age.
pub(super) fn cell(now: Timestamp, key: &str, column: &str, object: &Value) -> Value {
    let (spec, status) = (&object["spec"], &object["status"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let or_none = |value: &Value| value.as_str().filter(|text| !text.is_empty()).unwrap_or("<none>").to_owned();
    let number = |value: &Value| json!(value.as_i64().unwrap_or(0));
    let count = |value: &Value| json!(value.as_array().map_or(0, Vec::len));
    match (key, column) {
        ("autoscaling/horizontalpodautoscalers", column) => autoscaler(column, spec, status),
        ("persistentvolumes" | "persistentvolumeclaims", column) => volume(key, column, object),
        (_, "Provisioner") => object["provisioner"].clone(),
        (_, "ReclaimPolicy") => json!(object["reclaimPolicy"].as_str().unwrap_or("Delete")),
        (_, "VolumeBindingMode") => json!(object["volumeBindingMode"].as_str().unwrap_or("Immediate")),
        (_, "AllowVolumeExpansion") => json!(object["allowVolumeExpansion"] == true),
        ("storage.k8s.io/csidrivers", column) => driver(column, spec),
        (_, "DriverName") => object["driverName"].clone(),
        (_, "ParentRef") => json!(parent(&spec["parentRef"])),
        (_, "CIDRs") => json!(crate::schema::strings(&spec["cidrs"]).join(",")),
        (_, "Validations") => count(&spec["validations"]),
        (_, "ParamKind") => match &spec["paramKind"] {
            Value::Null => json!("<unset>"),
            of => json!(format!("{}/{}", text(&of["apiVersion"]), text(&of["kind"]))),
        },
        (_, "PolicyName") => spec["policyName"].clone(),
        (_, "ParamRef") => json!(parameters(&spec["paramRef"])),
        (_, "Drivers") => count(&spec["drivers"]),
        (_, "Webhooks") => count(&object["webhooks"]),
        (_, "Attacher") => spec["attacher"].clone(),
        (_, "PV") => json!(text(&spec["source"]["persistentVolumeName"])),
        ("resource.k8s.io/resourceslices", "Driver") => json!(text(&spec["driver"])),
        ("resource.k8s.io/resourceslices", "Pool") => json!(text(&spec["pool"]["name"])),
        ("resource.k8s.io/resourceslices", "Node") => json!(text(&spec["nodeName"])),
        ("resource.k8s.io/resourceclaims", "State") => json!(claim_state(object)),
        (_, "Node") => spec["nodeName"].clone(),
        (_, "Attached") => json!(status["attached"] == true),
        ("batch/cronjobs", "Schedule") => spec["schedule"].clone(),
        (_, "Timezone") => json!(or_none(&spec["timeZone"])),
        (_, "Suspend") => json!(if spec["suspend"] == true { "True" } else { "False" }),
        (_, "Active") => count(&status["active"]),
        (_, "Last Schedule") => match &status["lastScheduleTime"] {
            Value::Null => json!("<none>"),
            at => json!(age(now, at)),
        },
        ("batch/cronjobs", column) => {
            template(column, &spec["jobTemplate"]["spec"]["template"], &spec["jobTemplate"]["spec"]["selector"]["matchLabels"])
        }
        ("podtemplates", "Pod Labels") => json!(labels(&object["template"]["metadata"]["labels"])),
        ("podtemplates", column) => template(column, &object["template"], &Value::Null),
        (_, "Desired") => number(&spec["replicas"]),
        (_, "Current") => number(&status["replicas"]),
        (_, "Ready") => number(&status["readyReplicas"]),
        ("replicationcontrollers", column) => template(column, &spec["template"], &spec["selector"]),
        ("endpoints", _) => json!(endpoints(&object["subsets"])),
        (_, "AddressType") => object["addressType"].clone(),
        ("discovery.k8s.io/endpointslices", column) => slice(column, object),
        ("resourcequotas", column) => json!(quota(status, column == "Limit")),
        ("apps/controllerrevisions", "Controller") => json!(controller(object)),
        (_, "Revision") => number(&object["revision"]),
        ("networking.k8s.io/ingresses", column) => ingress(column, spec, status),
        (_, "Controller") => spec["controller"].clone(),
        (_, "Parameters") => match &spec["parameters"] {
            Value::Null => json!("<none>"),
            of => {
                let group = of["apiGroup"].as_str().map(|group| format!(".{group}")).unwrap_or_default();
                json!(format!("{}{group}/{}", text(&of["kind"]), text(&of["name"])))
            }
        },
        (_, "Pod-Selector") => json!(labels(&spec["podSelector"]["matchLabels"])),
        (_, "Handler") => object["handler"].clone(),
        (_, "Role") => json!(format!("{}/{}", text(&object["roleRef"]["kind"]), text(&object["roleRef"]["name"]))),
        (_, "Users") => json!(subjects(object, "User")),
        (_, "Groups") => json!(subjects(object, "Group")),
        (_, "ServiceAccounts") => json!(subjects(object, "ServiceAccount")),
        _ => json!("<none>"),
    }
}

/// `services/default/web`, with the group behind the resource if there is one.
fn parent(of: &Value) -> String {
    let part = |key: &str| of[key].as_str().filter(|text| !text.is_empty());
    let Some(resource) = part("resource") else { return "<none>".to_owned() };
    let resource = part("group").map_or_else(|| resource.to_owned(), |group| format!("{resource}.{group}")).to_lowercase();
    [Some(resource.as_str()), part("namespace"), part("name")].into_iter().flatten().collect::<Vec<_>>().join("/")
}

/// Whether the parameters are cluster-scoped cannot be told, so a name without a namespace stands for any.
fn parameters(of: &Value) -> String {
    match (of["name"].as_str().filter(|name| !name.is_empty()), of["namespace"].as_str()) {
        (Some(name), namespace) => format!("{}/{name}", namespace.filter(|text| !text.is_empty()).unwrap_or("*")),
        (None, _) => "<unset>".to_owned(),
    }
}

fn driver(column: &str, spec: &Value) -> Value {
    let listed = |list: &Value, none: &str| match list.as_array().filter(|list| !list.is_empty()) {
        Some(list) => list.iter().filter_map(|one| one.as_str().or(one["audience"].as_str())).collect::<Vec<_>>().join(","),
        None => none.to_owned(),
    };
    match column {
        "AttachRequired" => json!(spec["attachRequired"].as_bool().unwrap_or(true)),
        "PodInfoOnMount" => json!(spec["podInfoOnMount"] == true),
        "StorageCapacity" => json!(spec["storageCapacity"] == true),
        "TokenRequests" => json!(listed(&spec["tokenRequests"], "<unset>")),
        "RequiresRepublish" => json!(spec["requiresRepublish"] == true),
        _ => json!(listed(&spec["volumeLifecycleModes"], "<none>")),
    }
}

fn template(column: &str, template: &Value, selector: &Value) -> Value {
    match column {
        "Containers" => json!(joined(&template["spec"]["containers"], "name")),
        "Images" => json!(joined(&template["spec"]["containers"], "image")),
        _ => json!(labels(selector)),
    }
}

fn autoscaler(column: &str, spec: &Value, status: &Value) -> Value {
    match column {
        "Reference" => {
            let of = &spec["scaleTargetRef"];
            json!(format!("{}/{}", of["kind"].as_str().unwrap_or_default(), of["name"].as_str().unwrap_or_default()))
        }
        "Targets" => json!(targets(&spec["metrics"], &status["currentMetrics"])),
        "MinPods" => json!(spec["minReplicas"].as_i64().map_or("<unset>".to_owned(), |least| least.to_string())),
        "MaxPods" => json!(spec["maxReplicas"].as_i64().unwrap_or(0)),
        _ => json!(status["currentReplicas"].as_i64().unwrap_or(0)),
    }
}

/// formatHPAMetrics: current and wanted, two of them at most.
fn targets(specs: &Value, current: &Value) -> String {
    const MOST: usize = 2;
    let Some(specs) = specs.as_array().filter(|specs| !specs.is_empty()) else { return "<none>".to_owned() };
    let one = |(at, spec): (usize, &Value)| {
        let key = match spec["type"].as_str() {
            Some("Resource") => "resource",
            Some("ContainerResource") => "containerResource",
            Some("Pods") => "pods",
            Some("Object") => "object",
            Some("External") => "external",
            _ => return "<unknown type>".to_owned(),
        };
        let (wanted, now) = (&spec[key]["target"], &current[at][key]["current"]);
        let known = |value: &Value| value.as_str().unwrap_or("<unknown>").to_owned();
        let name = spec[key]["name"].as_str().map(|name| format!("{name}: ")).unwrap_or_default();
        match (key, wanted["averageValue"].as_str()) {
            ("resource" | "containerResource", Some(wanted)) => format!("{name}{}/{wanted}", known(&now["averageValue"])),
            ("resource" | "containerResource", None) => {
                let percent = |value: &Value, none: &str| value.as_i64().map_or(none.to_owned(), |value| format!("{value}%"));
                format!("{name}{}/{}", percent(&now["averageUtilization"], "<unknown>"), percent(&wanted["averageUtilization"], "<auto>"))
            }
            ("pods", Some(wanted)) => format!("{}/{wanted}", known(&now["averageValue"])),
            (_, Some(wanted)) => format!("{}/{wanted} (avg)", known(&now["averageValue"])),
            (_, None) => format!("{}/{}", known(&now["value"]), wanted["value"].as_str().unwrap_or_default()),
        }
    };
    let list: Vec<String> = specs.iter().enumerate().take(MOST).map(one).collect();
    more(list.join(", "), specs.len(), MOST)
}

fn more(list: String, count: usize, most: usize) -> String {
    if count > most { format!("{list} + {} more...", count - most) } else { list }
}

fn volume(key: &str, column: &str, object: &Value) -> Value {
    let (spec, status) = (&object["spec"], &object["status"]);
    let claim = key == "persistentvolumeclaims";
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let bound = !claim || !text(&spec["volumeName"]).is_empty();
    match column {
        "Status" => {
            let going = !object["metadata"]["deletionTimestamp"].is_null();
            json!(if going { "Terminating".to_owned() } else { text(&status["phase"]) })
        }
        "Volume" => json!(text(&spec["volumeName"])),
        "Capacity" if !bound => json!(""),
        "Capacity" => json!(text(if claim { &status["capacity"]["storage"] } else { &spec["capacity"]["storage"] })),
        "Access Modes" if !bound => json!(""),
        "Access Modes" => json!(modes(if claim { &status["accessModes"] } else { &spec["accessModes"] })),
        "Reclaim Policy" => json!(text(&spec["persistentVolumeReclaimPolicy"])),
        "Claim" => match &spec["claimRef"] {
            Value::Null => json!(""),
            of => json!(format!("{}/{}", text(&of["namespace"]), text(&of["name"]))),
        },
        "StorageClass" => json!(text(&spec["storageClassName"])),
        "VolumeAttributesClass" => json!(spec["volumeAttributesClassName"].as_str().unwrap_or("<unset>")),
        "Reason" => json!(text(&status["reason"])),
        _ => json!(spec["volumeMode"].as_str().unwrap_or("<unset>")),
    }
}

fn modes(list: &Value) -> String {
    let short = [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| list.as_array().into_iter().flatten().any(|one| one == mode);
    short.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// formatEndpoints: three at most.
fn endpoints(subsets: &Value) -> String {
    const MOST: usize = 3;
    let mut found = Vec::new();
    for subset in subsets.as_array().into_iter().flatten() {
        let addresses: Vec<&str> = subset["addresses"].as_array().into_iter().flatten().filter_map(|one| one["ip"].as_str()).collect();
        match subset["ports"].as_array().filter(|ports| !ports.is_empty()) {
            None => found.extend(addresses.iter().map(|address| (*address).to_owned())),
            Some(ports) => {
                for port in ports {
                    found.extend(addresses.iter().map(|address| format!("{address}:{}", port["port"])));
                }
            }
        }
    }
    if subsets.as_array().is_none_or(Vec::is_empty) {
        return "<none>".to_owned();
    }
    more(found.iter().take(MOST).cloned().collect::<Vec<_>>().join(","), found.len(), MOST)
}

fn slice(column: &str, object: &Value) -> Value {
    const MOST: usize = 3;
    let all: Vec<String> = if column == "Ports" {
        let port = |port: &Value| match (port["port"].as_i64(), port["name"].as_str()) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => "*".to_owned(),
        };
        object["ports"].as_array().into_iter().flatten().map(port).collect()
    } else {
        let endpoints = object["endpoints"].as_array().into_iter().flatten();
        endpoints
            .flat_map(|one| one["addresses"].as_array().into_iter().flatten())
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect()
    };
    if all.is_empty() {
        return json!("<unset>");
    }
    json!(more(all.iter().take(MOST).cloned().collect::<Vec<_>>().join(","), all.len(), MOST))
}

fn quota(status: &Value, limits: bool) -> String {
    let mut names: Vec<&String> = status["hard"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
    names.retain(|name| name.starts_with("limits.") == limits);
    names.sort();
    let amount = |of: &str, name: &str| status[of][name].as_str().unwrap_or("0").to_owned();
    names.iter().map(|name| format!("{name}: {}/{}", amount("used", name), amount("hard", name))).collect::<Vec<_>>().join(", ")
}

/// `deployment.apps/web`.
fn controller(object: &Value) -> String {
    let mut owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let Some(owner) = owners.find(|owner| owner["controller"] == true) else { return "<none>".to_owned() };
    let group = owner["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| format!(".{group}"));
    let kind = owner["kind"].as_str().unwrap_or_default().to_lowercase();
    format!("{kind}{}/{}", group.unwrap_or_default(), owner["name"].as_str().unwrap_or_default())
}

fn ingress(column: &str, spec: &Value, status: &Value) -> Value {
    match column {
        "Class" => json!(spec["ingressClassName"].as_str().unwrap_or("<none>")),
        "Hosts" => {
            const MOST: usize = 3;
            let rules = spec["rules"].as_array().map_or(&[][..], Vec::as_slice);
            let hosts: Vec<&str> =
                rules.iter().filter_map(|rule| rule["host"].as_str().filter(|host| !host.is_empty())).take(MOST).collect();
            if hosts.is_empty() {
                json!("*")
            } else {
                json!(more(hosts.join(","), if hosts.len() == MOST { rules.len() } else { 0 }, MOST))
            }
        }
        "Address" => {
            let places = status["loadBalancer"]["ingress"].as_array().into_iter().flatten();
            let mut found: Vec<&str> = places.filter_map(|one| one["ip"].as_str().or(one["hostname"].as_str())).collect();
            found.sort_unstable();
            json!(found.join(","))
        }
        _ => json!(if spec["tls"].as_array().is_some_and(|tls| !tls.is_empty()) { "80, 443" } else { "80" }),
    }
}

fn subjects(object: &Value, kind: &str) -> String {
    let all = object["subjects"].as_array().into_iter().flatten().filter(|one| one["kind"] == kind);
    let name = |one: &Value| match one["namespace"].as_str().filter(|_| kind == "ServiceAccount") {
        Some(namespace) => format!("{namespace}/{}", one["name"].as_str().unwrap_or_default()),
        None => one["name"].as_str().unwrap_or_default().to_owned(),
    };
    all.map(name).collect::<Vec<_>>().join(", ")
}

/// Source: `pkg/printers/internalversion/printers.go`, resourceClaimState.
fn claim_state(claim: &Value) -> String {
    let allocated = claim["status"]["allocation"].is_object();
    let reserved = allocated && claim["status"]["reservedFor"].as_array().is_some_and(|list| !list.is_empty());
    let deleted = claim["metadata"]["deletionTimestamp"].is_string();
    let states = [("deleted", deleted), ("pending", !allocated && !deleted), ("allocated", allocated), ("reserved", reserved)];
    states.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect::<Vec<_>>().join(",")
}
