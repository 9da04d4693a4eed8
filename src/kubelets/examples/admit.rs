//! Whether our kubelets take pods: reads worlds from standard input, one JSON document a line, `{node, pods, pod}`; writes for each
//! `{admit, reason, message, victims}`. For comparisons with the kubelet's own code (`ci/judges/kubernetes/admit`).

use std::collections::BTreeMap;
use std::error::Error;
use std::io::BufRead;

use k8s_openapi::api::core::v1::Pod;
use kubelets::admission::{Applicant, Refusal, Site, Verdict, admit};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    for line in std::io::stdin().lock().lines() {
        println!("{}", answer(&serde_json::from_str(&line?)?)?);
    }
    Ok(())
}

fn answer(world: &Value) -> Result<Value, Box<dyn Error>> {
    let read = |pod: &Value| -> Result<Applicant, Box<dyn Error>> {
        let pod: Pod = serde_json::from_value(pod.clone())?;
        Ok(Applicant::of(&pod).ok_or("a pod that cannot be read")?)
    };
    let there = world["pods"].as_array().cloned().unwrap_or_default();
    let others = there.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let site = Site::from_json(&world["node"]).ok_or("a node that cannot be read")?;
    let name = |place: usize| there.get(place).map_or(Value::Null, |pod| pod["metadata"]["name"].clone());
    // No device plugin has registered.
    let verdict = admit(&read(&world["pod"])?, &site, &others.iter().collect::<Vec<_>>(), &BTreeMap::new());
    Ok(match verdict {
        Verdict::Taken { victims } => {
            json!({ "admit": true, "reason": "", "message": "", "victims": victims.into_iter().map(name).collect::<Vec<_>>() })
        }
        Verdict::Refused(Refusal { reason, message }) | Verdict::Doubtful(Refusal { reason, message }) => {
            json!({ "admit": false, "reason": reason, "message": message, "victims": [] })
        }
    })
}
