//! Where a Service's pods are: EndpointSlices, and the old Endpoints.
//!
//! Source: `k8s.io/endpointslice/{reconciler,utils}.go`, `pkg/controller/{endpointslice,endpoint}`. At most 100 endpoints per slice; an
//! endpoint stays in its slice. Not modelled: topology hints, dual stack, mirroring of Endpoints that people make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::{Key, finished, key_of, node_name, owner_reference, ready_since};
use crate::api::{Api, DeleteOptions};
use crate::controller::Controller;
use crate::select::Labels;
use crate::store::{Change, EventType, Object};

const SERVICES: &str = "services";
const SLICES: &str = "discovery.k8s.io/endpointslices";
const ENDPOINTS: &str = "endpoints";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// `--max-endpoints-per-slice`.
const MOST: usize = 100;

#[derive(Default)]
pub(super) struct Endpoints {
    /// What services select, by namespace.
    selectors: BTreeMap<String, BTreeMap<String, Labels>>,
}

impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        "endpointslice"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        let mut dirty: BTreeSet<Key> = BTreeSet::new();
        for change in changed {
            match change.plural() {
                SERVICES => dirty.extend([self.service(change)]),
                "pods" => dirty.extend(self.concerned(change)),
                SLICES if change.event != EventType::Added => {
                    let service = change.object.meta.labels.get(SERVICE_NAME);
                    dirty.extend(service.map(|name| (change.namespace().to_owned(), name.clone())));
                }
                _ => {}
            }
        }
        for key in dirty {
            sync(api, now, &key);
        }
    }
}

impl Endpoints {
    fn service(&mut self, change: &Change) -> Key {
        let key = key_of(&change.object);
        let selector = selector(&change.object.value()).filter(|_| change.event != EventType::Deleted);
        let here = self.selectors.entry(key.0.clone()).or_default();
        match selector {
            Some(selector) => drop(here.insert(key.1.clone(), selector)),
            None => drop(here.remove(&key.1)),
        }
        if here.is_empty() {
            self.selectors.remove(&key.0);
        }
        key
    }

    /// The services that select a pod as it is, or as it was.
    fn concerned(&self, change: &Change) -> Vec<Key> {
        let Some(here) = self.selectors.get(change.namespace()) else { return Vec::new() };
        let forms: Vec<&Arc<Object>> = [Some(&change.object), change.previous.as_ref()].into_iter().flatten().collect();
        let selects = |selector: &Labels| forms.iter().any(|pod| selector.matches(&pod.meta.labels));
        here.iter().filter(|(_, selector)| selects(selector)).map(|(name, _)| (change.namespace().to_owned(), name.clone())).collect()
    }
}

/// A service's; without one there are no endpoints.
fn selector(service: &Value) -> Option<Labels> {
    let map = service["spec"]["selector"].as_object().filter(|map| !map.is_empty())?;
    (service["spec"]["type"] != "ExternalName").then(|| Labels::of(&json!({ "matchLabels": map }))).flatten()
}

/// A port of the service as a pod has it; `None` when it names one that the pod lacks.
fn port_of(port: &Value, pod: &Value) -> Option<i64> {
    match &port["targetPort"] {
        Value::Number(number) => number.as_i64(),
        Value::String(name) => {
            let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
            let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
            ports
                .filter(|one| one["name"] == name.as_str() && one["protocol"] == port["protocol"])
                .find_map(|one| one["containerPort"].as_i64())
        }
        _ => port["port"].as_i64(),
    }
}

/// The ports as one pod has them, in the form of a slice.
fn ports(service: &Value, pod: &Value) -> Vec<Value> {
    let of = |port: &Value| {
        let mut shown =
            json!({ "name": port["name"].as_str().unwrap_or_default(), "protocol": port["protocol"], "port": port_of(port, pod)? });
        if let Some(application) = port.get("appProtocol") {
            shown["appProtocol"] = application.clone();
        }
        Some(shown)
    };
    service["spec"]["ports"].as_array().into_iter().flatten().filter_map(of).collect()
}

fn sync(api: &mut Api, now: Timestamp, key: &Key) {
    let service = api.store().get(SERVICES, &key.0, &key.1).filter(|service| service.meta.deletion.is_none()).cloned();
    let Some((service, selector)) = service.and_then(|service| Some((service.clone(), selector(&service.value())?))) else {
        return clear(api, now, key);
    };
    let value = service.value();
    // Pods with equal ports share slices.
    let mut by_ports: BTreeMap<String, (Vec<Value>, BTreeMap<String, Value>)> = BTreeMap::new();
    let pods: Vec<Arc<Object>> = api.store().list_in("pods", &key.0).filter(|pod| selector.matches(&pod.meta.labels)).cloned().collect();
    for pod in &pods {
        let pod_value = pod.value();
        let Some(endpoint) = endpoint(api, &value, pod, &pod_value) else { continue };
        let ports = ports(&value, &pod_value);
        let entry = by_ports.entry(Value::Array(ports.clone()).to_string()).or_insert_with(|| (ports, BTreeMap::new()));
        entry.1.insert(pod.meta.uid.clone(), endpoint);
    }
    slices(api, now, &service, &value, by_ports.clone());
    old_endpoints(api, now, &service, &value, &by_ports);
}

/// How a slice shows a pod; `None` for one that has no address, or has ended.
fn endpoint(api: &Api, service: &Value, pod: &Object, value: &Value) -> Option<Value> {
    let address = value["status"]["podIP"].as_str().filter(|ip| !ip.is_empty())?;
    if finished(value) {
        return None;
    }
    let terminating = pod.meta.deletion.is_some();
    let serving = ready_since(value).is_some();
    let ready = service["spec"]["publishNotReadyAddresses"] == true || (serving && !terminating);
    let mut shown = json!({
        "addresses": [address],
        "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
        "targetRef": { "kind": "Pod", "namespace": pod.meta.namespace, "name": pod.meta.name, "uid": pod.meta.uid },
    });
    if let Some(node) = Some(node_name(value)).filter(|node| !node.is_empty()) {
        shown["nodeName"] = json!(node);
        let zone = api.store().get("nodes", "", node).and_then(|node| node.meta.labels.get("topology.kubernetes.io/zone"));
        if let Some(zone) = zone {
            shown["zone"] = json!(zone);
        }
    }
    let (hostname, subdomain) = (&value["spec"]["hostname"], &value["spec"]["subdomain"]);
    if hostname.as_str().is_some_and(|name| !name.is_empty()) && *subdomain == service["metadata"]["name"] {
        shown["hostname"] = hostname.clone();
    }
    Some(shown)
}

fn slices(
    api: &mut Api,
    now: Timestamp,
    service: &Object,
    value: &Value,
    mut by_ports: BTreeMap<String, (Vec<Value>, BTreeMap<String, Value>)>,
) {
    if by_ports.is_empty() {
        // There is one slice at least.
        by_ports.insert(String::new(), (Vec::new(), BTreeMap::new()));
    }
    let mut there: Vec<Arc<Object>> = ours(api, &(service.meta.namespace.clone(), service.meta.name.clone()));
    for (_, (ports, mut endpoints)) in by_ports {
        let (same, others): (Vec<_>, Vec<_>) = there.into_iter().partition(|slice| same_ports(&slice.value()["ports"], &ports));
        there = others;
        // Those that stay, stay where they are; the others fill up, then make new slices.
        let mut kept: Vec<(Option<Arc<Object>>, Vec<Value>)> = Vec::new();
        for slice in same {
            let old = slice.value();
            let uids = old["endpoints"].as_array().into_iter().flatten().filter_map(|one| one["targetRef"]["uid"].as_str());
            let stay = uids.filter_map(|uid| endpoints.remove(uid)).collect();
            kept.push((Some(slice.clone()), stay));
        }
        for endpoint in endpoints.into_values() {
            match kept.iter_mut().find(|(_, list)| list.len() < MOST) {
                Some((_, list)) => list.push(endpoint),
                None => kept.push((None, vec![endpoint])),
            }
        }
        if kept.is_empty() {
            kept.push((None, Vec::new()));
        }
        // An empty one is kept only when it is the last.
        let filled = kept.iter().any(|(_, list)| !list.is_empty());
        let mut spare = !filled;
        for (slice, list) in kept {
            if list.is_empty() && !std::mem::take(&mut spare) {
                there.extend(slice);
                continue;
            }
            write_slice(api, now, service, value, slice.as_deref(), &ports, list);
        }
    }
    for slice in there {
        // Gone already: then there is nothing to remove.
        let _ = api.delete(now, SLICES, &slice.meta.namespace, &slice.meta.name, DeleteOptions::default().if_uid(&slice.meta.uid));
    }
}

fn same_ports(slice: &Value, ports: &[Value]) -> bool {
    slice.as_array().map_or(ports.is_empty(), |list| list == ports)
}

/// Labels of the service and the controller's own.
fn labels(service: &Object, value: &Value) -> Value {
    let mut labels = json!(service.meta.labels);
    labels[SERVICE_NAME] = json!(service.meta.name);
    labels[MANAGED_BY] = json!(MANAGER);
    if value["spec"]["clusterIP"] == "None" {
        labels[HEADLESS] = json!("");
    }
    labels
}

fn write_slice(api: &mut Api, now: Timestamp, service: &Object, value: &Value, slice: Option<&Object>, ports: &[Value], list: Vec<Value>) {
    let labels = labels(service, value);
    // Refused in a namespace that is going; the slices go with it.
    let _ = match slice {
        Some(slice) => api.update_with(now, SLICES, &slice.meta.namespace, &slice.meta.name, None, |object| {
            object["endpoints"] = listed(list);
            object["metadata"]["labels"] = labels;
        }),
        None => api.create(
            now,
            SLICES,
            &service.meta.namespace,
            json!({
                "metadata": { "generateName": format!("{}-", service.meta.name), "labels": labels, "ownerReferences": [owner_reference(service)] },
                "addressType": "IPv4", "endpoints": listed(list), "ports": listed(ports.to_vec()),
            }),
        ),
    };
}

/// Go writes a list that was never filled as null.
fn listed(list: Vec<Value>) -> Value {
    if list.is_empty() { Value::Null } else { Value::Array(list) }
}

fn ours(api: &Api, key: &Key) -> Vec<Arc<Object>> {
    let of = |slice: &&Arc<Object>| {
        let labels = &slice.meta.labels;
        labels.get(SERVICE_NAME) == Some(&key.1) && labels.get(MANAGED_BY).is_some_and(|by| by == MANAGER) && slice.meta.deletion.is_none()
    };
    api.store().list_in(SLICES, &key.0).filter(of).cloned().collect()
}

/// One object with all addresses; the first thousand, as upstream cuts it.
fn old_endpoints(
    api: &mut Api,
    now: Timestamp,
    service: &Object,
    value: &Value,
    by_ports: &BTreeMap<String, (Vec<Value>, BTreeMap<String, Value>)>,
) {
    const CAPACITY: usize = 1000;
    let mut subsets = Vec::new();
    for (ports, endpoints) in by_ports.values() {
        let (mut ready, mut waiting) = (Vec::new(), Vec::new());
        let mut all: Vec<&Value> = endpoints.values().filter(|one| one["conditions"]["terminating"] != true).collect();
        all.sort_by_key(|one| one["addresses"][0].to_string());
        for one in all.into_iter().take(CAPACITY) {
            let mut address = json!({ "ip": one["addresses"][0], "targetRef": one["targetRef"] });
            for key in ["nodeName", "hostname"] {
                if let Some(value) = one.get(key) {
                    address[key] = value.clone();
                }
            }
            if one["conditions"]["ready"] == true { &mut ready } else { &mut waiting }.push(address);
        }
        let ports: Vec<Value> = ports.iter().map(unnamed).collect();
        let mut subset = json!({ "ports": ports });
        for (key, list) in [("addresses", ready), ("notReadyAddresses", waiting)] {
            if !list.is_empty() {
                subset[key] = Value::Array(list);
            }
        }
        if subset.as_object().is_some_and(|map| map.len() > 1) {
            subsets.push(subset);
        }
    }
    let (namespace, name) = (&service.meta.namespace, &service.meta.name);
    let mut labels = json!(service.meta.labels);
    labels["endpoints.kubernetes.io/managed-by"] = json!("endpoint-controller");
    if value["spec"]["clusterIP"] == "None" {
        labels[HEADLESS] = json!("");
    }
    let change = |object: &mut Value| {
        object["metadata"]["labels"] = labels.clone();
        match (subsets.is_empty(), object.as_object_mut()) {
            (true, Some(map)) => drop(map.shift_remove("subsets")),
            _ => object["subsets"] = Value::Array(subsets.clone()),
        }
    };
    // Refused in a namespace that is going.
    let _ = if api.store().get(ENDPOINTS, namespace, name).is_some() {
        api.update_with(now, ENDPOINTS, namespace, name, None, change)
    } else {
        let mut object = json!({ "metadata": { "name": name } });
        change(&mut object);
        api.create(now, ENDPOINTS, namespace, object)
    };
}

/// Endpoints leave out an empty name.
fn unnamed(port: &Value) -> Value {
    let mut port = port.clone();
    if port["name"] == ""
        && let Some(map) = port.as_object_mut()
    {
        map.shift_remove("name");
    }
    port
}

/// The service is gone, or selects nothing any more: what was made for it goes; what people made stays.
fn clear(api: &mut Api, now: Timestamp, key: &Key) {
    let gone = api.store().get(SERVICES, &key.0, &key.1).is_none();
    for slice in ours(api, key) {
        // Gone already: then there is nothing to remove.
        let _ = api.delete(now, SLICES, &key.0, &slice.meta.name, DeleteOptions::default().if_uid(&slice.meta.uid));
    }
    if gone && api.store().get(ENDPOINTS, &key.0, &key.1).is_some() {
        let _ = api.delete(now, ENDPOINTS, &key.0, &key.1, DeleteOptions::default());
    }
}
