//! Services: addresses out of 10.100.0.0/16, EKS's range for clusters in 192.168.0.0/16, counted up.
//!
//! Source: `k8s.io/kubernetes/pkg/registry/core/service/storage/alloc.go`, for one IPv4 family.

use serde_json::{Value, json};

use crate::api::Api;

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
