//! HorizontalPodAutoscalers of `autoscaling/v1`, which are stored as those of `autoscaling/v2`: the one metric that v1 knows is a field,
//! everything else is text in annotations.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/autoscaling/v1/conversion.go`, `pkg/apis/autoscaling/annotations.go`.

use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const NOTES: [&str; 4] = [METRICS, CURRENT, CONDITIONS, BEHAVIOR];

/// What v1 asks for where nothing is asked for.
const DEFAULT_UTILIZATION: i64 = 80;

/// From v2 to v1.
pub(super) fn say(mut object: Value) -> Value {
    let notes = drop_notes(&mut object);
    let (spec, status) = (object["spec"].take(), object["status"].take());
    let metrics = list(&spec["metrics"]);
    let mut said = fields(&spec, &["scaleTargetRef", "minReplicas", "maxReplicas"]);
    if let Some(percent) = metrics.iter().find(|metric| is_cpu(metric)).map(|metric| &metric["resource"]["target"]["averageUtilization"]) {
        said["targetCPUUtilizationPercentage"] = percent.clone();
    }
    let others: Vec<Value> = metrics.iter().filter(|metric| !is_cpu(metric)).map(|metric| plain(metric, &SPEC)).collect();
    let current = list(&status["currentMetrics"]);
    let mut stands = fields(&status, &["observedGeneration", "lastScaleTime"]);
    for key in ["currentReplicas", "desiredReplicas"] {
        stands[key] = json!(status[key].as_i64().unwrap_or(0));
    }
    let cpu = |metric: &&Value| metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    if let Some(percent) = current.iter().filter(cpu).map(|metric| &metric["resource"]["current"]["averageUtilization"]).next_back()
        && !percent.is_null()
    {
        stands["currentCPUUtilizationPercentage"] = percent.clone();
    }
    let current: Vec<Value> = current.iter().map(|metric| plain(metric, &STATUS)).collect();
    let conditions: Vec<Value> = list(&status["conditions"]).iter().map(condition).collect();
    let mut notes: Map<String, Value> = notes.unwrap_or_default();
    for (key, value) in [(METRICS, &others), (CURRENT, &current), (CONDITIONS, &conditions)] {
        if !value.is_empty() {
            notes.insert(key.to_owned(), Value::from(json!(value).to_string()));
        }
    }
    if spec["behavior"].is_object() {
        notes.insert(BEHAVIOR.to_owned(), Value::from(behavior(&spec["behavior"]).to_string()));
    }
    notes.sort_keys();
    if !notes.is_empty() {
        object["metadata"]["annotations"] = Value::Object(notes);
    }
    with(object, "autoscaling/v1", said, Some(stands))
}

/// From v1 to v2. What v1 does not have stays where it is, so that decoding finds it.
pub(super) fn read(mut object: Value) -> Value {
    if !object["spec"].is_object() || !object["metadata"].is_object() {
        return object;
    }
    let noted = |key: &str| object["metadata"]["annotations"][key].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let [metrics, current, conditions, behaves] = NOTES.map(noted);
    let others = drop_notes(&mut object);
    if let Some(others) = others.filter(|others| !others.is_empty()) {
        object["metadata"]["annotations"] = Value::Object(others);
    }
    let mut spec = object["spec"].take();
    let percent = spec.as_object_mut().and_then(|spec| spec.shift_remove("targetCPUUtilizationPercentage"));
    let mut wanted: Vec<Value> = list(&metrics.unwrap_or_default()).iter().map(|metric| nested(metric, &SPEC)).collect();
    wanted.extend(percent.filter(|percent| !percent.is_null()).map(utilization));
    if wanted.is_empty() {
        wanted.push(utilization(json!(DEFAULT_UTILIZATION)));
    }
    spec["metrics"] = Value::from(wanted);
    if let Some(behaves) = behaves.filter(Value::is_object) {
        spec["behavior"] = first_letters(&behaves);
    }
    let status = object.get("status").filter(|status| status.is_object()).cloned().map(|status| {
        let mut stands = fields(&status, &["observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas"]);
        if stands["currentReplicas"] == 0 {
            stands.as_object_mut().map(|stands| stands.shift_remove("currentReplicas"));
        }
        stands["currentMetrics"] = match (current, status["currentCPUUtilizationPercentage"].as_i64()) {
            (Some(current), _) => list(&current).iter().map(|metric| nested(metric, &STATUS)).collect(),
            (None, Some(percent)) => {
                json!([{ "type": "Resource", "resource": { "name": "cpu", "current": { "averageUtilization": percent } } }])
            }
            (None, None) => Value::Null,
        };
        if let Some(conditions) = conditions {
            stands["conditions"] = conditions;
        }
        stands
    });
    with(object, "autoscaling/v2", spec, status)
}

fn with(mut object: Value, api_version: &str, spec: Value, status: Option<Value>) -> Value {
    if object.get("apiVersion").is_some() {
        object["apiVersion"] = Value::from(api_version);
    }
    object["spec"] = spec;
    if let Some(status) = status {
        object["status"] = status;
    }
    object
}

/// Takes the annotations off; what of them is the user's own.
fn drop_notes(object: &mut Value) -> Option<Map<String, Value>> {
    let mut notes = match object["metadata"].as_object_mut()?.shift_remove("annotations")? {
        Value::Object(notes) => notes,
        _ => return None,
    };
    notes.retain(|key, _| !NOTES.contains(&key.as_str()));
    Some(notes)
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn fields(value: &Value, names: &[&str]) -> Value {
    let known = names.iter().filter_map(|name| Some(((*name).to_owned(), value.get(*name).filter(|value| !value.is_null())?.clone())));
    Value::Object(known.collect())
}

fn is_cpu(metric: &Value) -> bool {
    let resource = &metric["resource"];
    metric["type"] == "Resource" && resource["name"] == "cpu" && !resource["target"]["averageUtilization"].is_null()
}

fn utilization(percent: Value) -> Value {
    json!({ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": percent } } })
}

/// Where a metric of v2 has its number, and what v1 calls the three forms of it.
struct Side {
    number: &'static str,
    utilization: &'static str,
    average: &'static str,
    value: &'static str,
}

const SPEC: Side = Side { number: "target", utilization: "targetAverageUtilization", average: "targetAverageValue", value: "targetValue" };
const STATUS: Side =
    Side { number: "current", utilization: "currentAverageUtilization", average: "currentAverageValue", value: "currentValue" };

/// The field that a metric of a type has its source in.
fn source(metric: &Value) -> String {
    small(metric["type"].as_str().unwrap_or_default())
}

/// A name that begins with a small letter, whatever bytes it is made of.
fn small(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

/// A metric of v2 as v1 writes it.
fn plain(metric: &Value, side: &Side) -> Value {
    let name = source(metric);
    let (from, mut out) = (&metric[&name], Map::new());
    let mut put = |key: &str, value: &Value| {
        if !value.is_null() {
            out.insert(key.to_owned(), value.clone());
        }
    };
    let number = &from[side.number];
    let object = name == "object";
    if object {
        put("target", &from["describedObject"]);
    }
    put("name", &from["name"]);
    put("metricName", &from["metric"]["name"]);
    if name == "external" {
        put("metricSelector", &from["metric"]["selector"]);
    }
    put(side.utilization, &number["averageUtilization"]);
    put(side.value, &number["value"]);
    put(if object { "averageValue" } else { side.average }, &number["averageValue"]);
    if name != "external" {
        put("selector", &from["metric"]["selector"]);
    }
    put("container", &from["container"]);
    let mut whole = Map::new();
    whole.insert("type".to_owned(), metric["type"].clone());
    whole.insert(name, Value::Object(out));
    Value::Object(whole)
}

/// A metric of v1 as v2 writes it.
fn nested(metric: &Value, side: &Side) -> Value {
    let name = source(metric);
    let (from, object) = (&metric[&name], name == "object");
    let average = if object { "averageValue" } else { side.average };
    let mut number = Map::new();
    let forms = [
        ("averageUtilization", side.utilization, "Utilization"),
        ("value", side.value, "Value"),
        ("averageValue", average, "AverageValue"),
    ];
    for (key, old, kind) in forms {
        if let Some(value) = from.get(old).filter(|value| !value.is_null()) {
            if side.number == "target" && !number.contains_key("type") {
                number.insert("type".to_owned(), Value::from(kind));
            }
            number.insert(key.to_owned(), value.clone());
        }
    }
    let mut out = fields(from, &["name", "container"]);
    if object {
        out["describedObject"] = from["target"].clone();
    }
    if let Some(named) = from.get("metricName") {
        out["metric"] = json!({ "name": named });
        if let Some(selector) = from.get("selector").or(from.get("metricSelector")) {
            out["metric"]["selector"] = selector.clone();
        }
    }
    out[side.number] = Value::Object(number);
    let mut whole = Map::new();
    whole.insert("type".to_owned(), metric["type"].clone());
    whole.insert(name, out);
    Value::Object(whole)
}

/// As Go writes it: a time that is not known is null.
fn condition(value: &Value) -> Value {
    let mut out = json!({ "type": value["type"], "status": value["status"], "lastTransitionTime": value["lastTransitionTime"] });
    for key in ["reason", "message"] {
        if let Some(text) = value.get(key) {
            out[key] = text.clone();
        }
    }
    out
}

/// As Go writes a type without tags: every field, with its own name.
fn behavior(value: &Value) -> Value {
    let side = |rules: &Value| {
        if rules.is_null() {
            return Value::Null;
        }
        let policy = |one: &Value| json!({ "Type": one["type"], "Value": one["value"], "PeriodSeconds": one["periodSeconds"] });
        let policies = rules["policies"].as_array().map(|list| list.iter().map(policy).collect::<Vec<_>>());
        json!({
            "StabilizationWindowSeconds": rules["stabilizationWindowSeconds"], "SelectPolicy": rules["selectPolicy"],
            "Policies": policies, "Tolerance": rules["tolerance"],
        })
    };
    json!({ "ScaleUp": side(&value["scaleUp"]), "ScaleDown": side(&value["scaleDown"]) })
}

/// Names that begin with a small letter, without what is null.
fn first_letters(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (small(key), first_letters(value))).collect()
        }
        Value::Array(list) => list.iter().map(first_letters).collect(),
        other => other.clone(),
    }
}
