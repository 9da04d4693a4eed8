//! Services: addresses out of 10.100.0.0/16, EKS's range for clusters in 192.168.0.0/16, counted up.
//!
//! Source: `k8s.io/kubernetes/pkg/registry/core/service/{storage/alloc.go,ipallocator/ipallocator.go}`, for one IPv4 family.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::Api;
use crate::store::Object;

pub(super) fn allocate(api: &mut Api, service: &mut Value) {
    service["status"] = json!({ "loadBalancer": {} });
    let spec = &mut service["spec"];
    if spec["type"] == "ExternalName" {
        return;
    }
    let given = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    let address = if given.is_empty() {
        let number = api.next_address;
        api.next_address = number % 65_534 + 1;
        format!("10.100.{}.{}", number >> 8, number & 0xff)
    } else {
        given
    };
    spec["clusterIPs"] = json!([address]);
    spec["clusterIP"] = json!(address);
    spec["ipFamilies"] = json!(["IPv4"]);
    spec["ipFamilyPolicy"] = json!("SingleStack");
}

const ADDRESSES: &str = "networking.k8s.io/ipaddresses";

/// Each address of a service is an object of its own, as long as the service has it.
pub(crate) fn addresses(api: &mut Api, now: Timestamp, service: &Object) {
    for address in taken(service) {
        if api.store().get(ADDRESSES, "", &address).is_none() {
            let labels = json!({ "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io" });
            let parent = json!({ "resource": "services", "namespace": service.meta.namespace, "name": service.meta.name });
            let object = json!({ "metadata": { "name": address, "labels": labels }, "spec": { "parentRef": parent } });
            // What is no address was refused with its service.
            drop(api.create_aside(now, ADDRESSES, "", object));
        }
    }
}

pub(crate) fn free_addresses(api: &mut Api, now: Timestamp, service: &Object) {
    for address in taken(service) {
        drop(api.delete(now, ADDRESSES, "", &address, crate::api::DeleteOptions::default()));
    }
}

fn taken(service: &Object) -> Vec<String> {
    crate::schema::strings(&service.value()["spec"]["clusterIPs"]).into_iter().filter(|address| address != "None").collect()
}

/// An update that does not name the address keeps it.
pub(super) fn keep(old: &Value, new: &mut Value) {
    for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if new["spec"].get(key).is_none_or(Value::is_null)
            && let Some(value) = old["spec"].get(key)
        {
            new["spec"][key] = value.clone();
        }
    }
}
