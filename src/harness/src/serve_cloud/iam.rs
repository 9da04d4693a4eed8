//! `/_dryfit/iam` and `/_dryfit/denials`: whether policies decide, service control policies, and what was refused.

use fake_ec2::Cloud;
use fake_ec2::policy::{Kind, Policy};
use fake_ec2::state::IamMode;
use serde_json::{Value, json};

/// What is to be changed; what is absent stays.
pub struct Change {
    mode: Option<IamMode>,
    service_control_policies: Option<Vec<String>>,
}

/// `{"mode": "enforce", "serviceControlPolicies": [{…}]}`.
pub fn read(text: &str) -> Result<Change, String> {
    let body: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let body = body.as_object().ok_or("write {\"mode\": \"enforce\"}")?;
    if let Some(unknown) = body.keys().find(|key| !matches!(key.as_str(), "mode" | "serviceControlPolicies")) {
        return Err(format!("unknown member {unknown:?}; there are mode and serviceControlPolicies"));
    }
    let mode = body.get("mode").map(|mode| mode.as_str().unwrap_or_default().parse()).transpose()?;
    let service_control_policies = match body.get("serviceControlPolicies") {
        None => None,
        Some(Value::Array(documents)) => {
            let text = |document: &Value| document.as_str().map_or_else(|| document.to_string(), str::to_owned);
            let documents: Vec<String> = documents.iter().map(text).collect();
            for document in &documents {
                Policy::read(document, Kind::Identity).map_err(|fault| fault.to_string())?;
            }
            Some(documents)
        }
        Some(_) => return Err("serviceControlPolicies is a list of documents".to_owned()),
    };
    Ok(Change { mode, service_control_policies })
}

pub fn change(cloud: &mut Cloud, change: Change) -> Value {
    if let Some(mode) = change.mode {
        cloud.state_mut().set_iam_mode(mode);
    }
    if let Some(documents) = change.service_control_policies {
        // They were read before.
        let _ = cloud.state_mut().set_service_control_policies(documents);
    }
    shown(cloud)
}

pub fn shown(cloud: &Cloud) -> Value {
    json!({"mode": cloud.state().iam_mode(), "denied": cloud.state().denied()})
}

/// The latest refusals first; those of one request, if it is named.
pub fn denials(cloud: &Cloud, request: Option<&str>) -> Value {
    let about = |id: &str| request.is_none_or(|request| request == id);
    let found = cloud.state().denials().rev().filter(|denial| about(&denial.request_id));
    json!({ "denials": found.collect::<Vec<_>>() })
}
