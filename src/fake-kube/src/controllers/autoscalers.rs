//! HorizontalPodAutoscalers: measures every 15 s and scales.
//!
//! Source: `pkg/controller/podautoscaler/horizontal.go`; the arithmetic is in [`super::autoscaling`]. Metrics of type Resource and
//! ContainerResource; Pods, Object and External have nobody here who serves them, and say so as upstream does.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::autoscaling::{Bounds, Measured, Memory, Proposal, State, Target, replicas, tolerances};
use super::events::Recorder;
use super::pods::{Key, condition, key_of, phase, set_condition};
use crate::api::Api;
use crate::controller::Controller;
use crate::quantity::Quantity;
use crate::select::Labels;
use crate::store::{Change, EventType, Object};
use crate::time;
use crate::usage::{Amounts, RESOLUTION, says};

const PLURAL: &str = "autoscaling/horizontalpodautoscalers";
/// `--horizontal-pod-autoscaler-sync-period`, `-cpu-initialization-period`, `-initial-readiness-delay`.
const PERIOD: SignedDuration = SignedDuration::from_secs(15);
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
const READINESS_DELAY: SignedDuration = SignedDuration::from_secs(30);

pub(super) struct Autoscalers {
    due: BTreeMap<Key, Timestamp>,
    memory: BTreeMap<Key, Memory>,
    /// Those that want another number than there is, and why they wait.
    wanting: BTreeMap<Key, (i64, i64)>,
    /// When the last load was told that not everybody has looked at yet.
    told: Option<Timestamp>,
    recorder: Recorder,
}

impl Default for Autoscalers {
    fn default() -> Self {
        let recorder = Recorder::new("horizontal-pod-autoscaler");
        Autoscalers { due: BTreeMap::new(), memory: BTreeMap::new(), wanting: BTreeMap::new(), told: None, recorder }
    }
}

impl Controller for Autoscalers {
    fn name(&self) -> &'static str {
        "horizontalpodautoscaler"
    }

    fn step(&mut self, api: &mut Api, now: Timestamp, changed: &[Change]) {
        for change in changed {
            let before = |key: &str| change.previous.as_ref().map(|object| &object.meta.annotations).and_then(|all| all.get(key));
            let differs = says(&change.object) && change.object.meta.annotations.iter().any(|(key, value)| before(key) != Some(value));
            if differs && change.plural() != "pods" {
                self.told = Some(now);
            }
            if change.plural() == PLURAL {
                let key = key_of(&change.object);
                if change.event == EventType::Deleted {
                    self.due.remove(&key);
                    self.memory.remove(&key);
                    self.wanting.remove(&key);
                } else {
                    // A new one is looked at after a period, too (`FixedItemIntervalRateLimiter`).
                    self.due.entry(key).or_insert(now.saturating_add(PERIOD).unwrap_or(Timestamp::MAX));
                }
            }
        }
        let late: Vec<Key> = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in late {
            self.due.insert(key.clone(), now.saturating_add(PERIOD).unwrap_or(Timestamp::MAX));
            self.reconcile(api, now, &key);
        }
        // Seen when a sample was taken after it, and everybody has looked since.
        let looked = self.due.values().min().is_none_or(|next| self.told.is_some_and(|told| *next > told + RESOLUTION + PERIOD));
        if looked {
            self.told = None;
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.due.values().min().copied()
    }

    fn unsettled(&self, _: &Api) -> Vec<String> {
        let wants = self.wanting.iter().map(|((namespace, name), (has, wants))| {
            format!("HorizontalPodAutoscaler {namespace}/{name} has {has} replicas and will come to {wants}")
        });
        let told = self.told.filter(|_| !self.due.is_empty()).map(|_| "autoscalers have not seen the last load yet".to_owned());
        wants.chain(told).collect()
    }
}

/// Why no number could be computed: the condition's reason, and words.
struct Invalid(&'static str, String);

/// What the metrics of one autoscaler say together.
struct Verdict {
    replicas: i64,
    /// The metric that wants the most.
    metric: String,
    statuses: Vec<Value>,
}

impl Autoscalers {
    fn reconcile(&mut self, api: &mut Api, now: Timestamp, key: &Key) {
        let Some(hpa) = api.store().get(PLURAL, &key.0, &key.1).cloned() else { return };
        let value = hpa.value();
        let mut next = (*value).clone();
        let Some(target) = target(api, &value) else {
            let reference = &value["spec"]["scaleTargetRef"];
            let plural = format!("{}s", reference["kind"].as_str().unwrap_or_default().to_lowercase());
            let group = reference["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| format!(".{group}"));
            let why = format!("{plural}{} {:?} not found", group.unwrap_or_default(), reference["name"].as_str().unwrap_or_default());
            self.recorder.warning(api, now, &hpa, "FailedGetScale", &why);
            let why = format!("the HPA controller was unable to get the target's current scale: {why}");
            set(&mut next, now, "AbleToScale", false, ("FailedGetScale", &why));
            return write(api, now, &hpa, &next);
        };
        let words = ("SucceededGetScale", "the HPA controller was able to get the target's current scale");
        set(&mut next, now, "AbleToScale", true, words);
        let current = target.value()["spec"]["replicas"].as_i64().unwrap_or(1);
        let memory = self.memory.entry(key.clone()).or_default();
        if memory.recommendations.is_empty() {
            memory.recommendations.push((now, current));
        }
        let least = value["spec"]["minReplicas"].as_i64().unwrap_or(1);
        let most = value["spec"]["maxReplicas"].as_i64().unwrap_or(1);
        let bounds = Bounds { current, least, most };
        let mut statuses = Vec::new();
        let (desired, reason) = if current == 0 {
            let words = ("ScalingDisabled", "scaling is disabled since the replica count of the target is zero");
            set(&mut next, now, "ScalingActive", false, words);
            (0, String::new())
        } else if current > most {
            (most, "Current number of replicas above Spec.MaxReplicas".to_owned())
        } else if current < least {
            (least, "Current number of replicas below Spec.MinReplicas".to_owned())
        } else {
            match self.by_metrics(api, now, &hpa, &value, &target, &mut next) {
                Ok(verdict) => {
                    statuses = verdict.statuses;
                    let desired = self.normalize(now, key, verdict.replicas, bounds, &value, &mut next);
                    let above = format!("{} above target", verdict.metric);
                    (desired, if verdict.replicas > current { above } else { "All metrics below target".to_owned() })
                }
                Err(why) => {
                    next["status"]["currentReplicas"] = json!(current);
                    next["status"]["currentMetrics"] =
                        value["spec"]["metrics"].as_array().into_iter().flatten().map(|_| json!({ "type": "" })).collect();
                    self.wanting.remove(key);
                    self.recorder.warning(api, now, &hpa, "FailedComputeMetricsReplicas", &why);
                    return write(api, now, &hpa, &next);
                }
            }
        };
        if desired != current && !self.rescale(api, now, &hpa, &target, (current, desired), &reason, &mut next) {
            return write(api, now, &hpa, &next);
        }
        let status = &mut next["status"];
        status["currentReplicas"] = json!(current);
        status["desiredReplicas"] = json!(desired);
        status["currentMetrics"] = if statuses.is_empty() { Value::Null } else { Value::Array(statuses) };
        if desired != current {
            status["lastScaleTime"] = json!(time::seconds(now));
        }
        write(api, now, &hpa, &next);
    }

    fn normalize(&mut self, now: Timestamp, key: &Key, wanted: i64, bounds: Bounds, hpa: &Value, next: &mut Value) -> i64 {
        let memory = self.memory.entry(key.clone()).or_default();
        let normal = memory.normalize(now, wanted, bounds, &hpa["spec"]["behavior"]);
        let ready = ("ReadyForNewScale", "recommended size matches current size");
        set(next, now, "AbleToScale", true, normal.stabilized.unwrap_or(ready));
        set(next, now, "ScalingLimited", normal.limited, normal.limit);
        let within = wanted.clamp(bounds.least, bounds.most);
        // What was scaled just now is looked at again as well: new pods share the load.
        if within == bounds.current && normal.replicas == bounds.current {
            self.wanting.remove(key);
        } else {
            self.wanting.insert(key.clone(), (bounds.current, within));
        }
        normal.replicas
    }

    #[expect(clippy::too_many_arguments, reason = "what a change of scale is made of")]
    fn rescale(
        &mut self,
        api: &mut Api,
        now: Timestamp,
        hpa: &Object,
        target: &Object,
        (current, desired): (i64, i64),
        reason: &str,
        next: &mut Value,
    ) -> bool {
        let meta = &target.meta;
        let scaled =
            api.update_with(now, &target.kind.key, &meta.namespace, &meta.name, None, |target| target["spec"]["replicas"] = json!(desired));
        match scaled {
            Ok(_) => {
                let words = format!("the HPA controller was able to update the target scale to {desired}");
                set(next, now, "AbleToScale", true, ("SucceededRescale", &words));
                self.recorder.normal(api, now, hpa, "SuccessfulRescale", &format!("New size: {desired}; reason: {reason}"));
                self.memory.entry(key_of(hpa)).or_default().scaled(now, current, desired);
                true
            }
            Err(why) => {
                let message = format!("New size: {desired}; reason: {reason}; error: {why}");
                self.recorder.warning(api, now, hpa, "FailedRescale", &message);
                let words = format!("the HPA controller was unable to update the target scale: {why}");
                set(next, now, "AbleToScale", false, ("FailedUpdateScale", &words));
                false
            }
        }
    }

    /// computeReplicasForMetrics.
    fn by_metrics(
        &mut self,
        api: &mut Api,
        now: Timestamp,
        hpa: &Object,
        value: &Value,
        target: &Object,
        next: &mut Value,
    ) -> Result<Verdict, String> {
        let metrics = value["spec"]["metrics"].as_array().cloned().unwrap_or_default();
        let current = target.value()["spec"]["replicas"].as_i64().unwrap_or(1);
        let (mut best, mut statuses, mut invalid): (Option<(i64, String)>, Vec<Value>, Vec<Invalid>) = (None, Vec::new(), Vec::new());
        for metric in &metrics {
            match measure(api, now, hpa, metric, target, current, &value["spec"]["behavior"]) {
                Ok((proposal, words, status)) => {
                    statuses.push(status);
                    if best.as_ref().is_none_or(|(most, _)| proposal.replicas > *most) {
                        best = Some((proposal.replicas, words));
                    }
                }
                Err(why) => {
                    self.recorder.warning(api, now, hpa, why.0, &why.1);
                    statuses.push(json!({ "type": "" }));
                    invalid.push(why);
                }
            }
        }
        let first = |invalid: &[Invalid]| {
            let count = (invalid.len(), metrics.len());
            // Each kind of metric wraps its error once more (computeReplicasForMetric).
            let sort = match invalid[0].0 {
                "FailedGetResourceMetric" => {
                    metrics.first().and_then(|metric| metric["resource"]["name"].as_str()).map(|name| format!("{name} resource"))
                }
                "FailedGetContainerResourceMetric" => metrics
                    .first()
                    .and_then(|metric| metric["containerResource"]["name"].as_str())
                    .map(|name| format!("{name} container resource")),
                _ => None,
            };
            let wrapped = sort.map_or_else(|| invalid[0].1.clone(), |sort| format!("failed to get {sort} metric value: {}", invalid[0].1));
            format!("invalid metrics ({} invalid out of {}), first error is: {wrapped}", count.0, count.1)
        };
        match best {
            Some((replicas, metric)) if invalid.is_empty() || replicas >= current => {
                let words = format!("the HPA was able to successfully calculate a replica count from {metric}");
                set(next, now, "ScalingActive", true, ("ValidMetricFound", &words));
                Ok(Verdict { replicas, metric, statuses })
            }
            _ if invalid.is_empty() => Err("no metrics".to_owned()),
            _ => {
                let words = format!("the HPA was unable to compute the replica count: {}", invalid[0].1);
                set(next, now, "ScalingActive", false, (invalid[0].0, &words));
                Err(first(&invalid))
            }
        }
    }
}

/// One metric: the proposal, its name for people, its status.
fn measure(
    api: &Api,
    now: Timestamp,
    hpa: &Object,
    metric: &Value,
    target: &Object,
    current: i64,
    behavior: &Value,
) -> Result<(Proposal, String, Value), Invalid> {
    let kind = metric["type"].as_str().unwrap_or_default();
    let (source, reason) = match kind {
        "Resource" => (&metric["resource"], "FailedGetResourceMetric"),
        "ContainerResource" => (&metric["containerResource"], "FailedGetContainerResourceMetric"),
        "Pods" => return Err(Invalid("FailedGetPodsMetric", unserved("pods", metric["pods"]["metric"]["name"].as_str()))),
        "Object" => return Err(Invalid("FailedGetObjectMetric", unserved("object", metric["object"]["metric"]["name"].as_str()))),
        _ => return Err(Invalid("FailedGetExternalMetric", unserved("external", metric["external"]["metric"]["name"].as_str()))),
    };
    let name = source["name"].as_str().unwrap_or_default();
    let container = source["container"].as_str();
    let wanted = match (source["target"]["averageUtilization"].as_i64(), source["target"]["averageValue"].as_str()) {
        (_, Some(text)) => Target::Average(Quantity::parse(text).map_or(0, Quantity::milli_value).max(1)),
        (Some(percent), None) => Target::Utilization(percent.max(1)),
        (None, None) => {
            let why = "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set";
            return Err(Invalid(reason, why.to_owned()));
        }
    };
    let what = if matches!(wanted, Target::Utilization(_)) { "utilization" } else { "usage" };
    let failed = |why: String| Invalid(reason, format!("failed to get {name} {what}: {why}"));
    let selector = Labels::of(&target.value()["spec"]["selector"]).unwrap_or_default();
    let pods: Vec<Arc<Object>> =
        api.store().list_in("pods", &hpa.meta.namespace).filter(|pod| selector.matches(&pod.meta.labels)).cloned().collect();
    if api.usage().at.is_none() {
        let why =
            "unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)";
        return Err(failed(format!("unable to get metrics for resource {name}: {why}")));
    }
    if !pods.iter().any(|pod| api.usage().pods.contains_key(&key_of(pod))) {
        let why = "no metrics returned from resource metrics API";
        return Err(failed(format!("unable to get metrics for resource {name}: {why}")));
    }
    let mut measured = Vec::new();
    for pod in &pods {
        measured.extend(look(api, now, pod, name, container, wanted).map_err(failed)?);
    }
    let found = replicas(&measured, current, wanted, tolerances(behavior))
        .ok_or_else(|| failed("did not receive metrics for targeted pods (pods might be unready)".to_owned()))?;
    let words = match (wanted, container) {
        (Target::Average(_), None) => format!("{name} resource"),
        (Target::Average(_), Some(_)) => format!("{name} container resource"),
        (Target::Utilization(_), None) => format!("{name} resource utilization (percentage of request)"),
        (Target::Utilization(_), Some(_)) => format!("{name} container resource utilization (percentage of request)"),
    };
    // Memory in bytes, all else in thousandths (`buildQuantity`).
    let average = if name == "memory" { (found.average / 1000).to_string() } else { thousandths(found.average) };
    let mut shown = json!({ "averageValue": average });
    if let Some(percent) = found.utilization {
        shown["averageUtilization"] = json!(percent);
    }
    let status = match container {
        None => json!({ "type": kind, "resource": { "name": name, "current": shown } }),
        Some(container) => json!({ "type": kind, "containerResource": { "name": name, "container": container, "current": shown } }),
    };
    Ok((found, words, status))
}

fn unserved(kind: &str, metric: Option<&str>) -> String {
    let metric = metric.unwrap_or_default();
    let group = if kind == "external" { "external" } else { "custom" };
    format!(
        "unable to get {kind} metric {metric}: unable to fetch metrics from {group} metrics API: the server could not find the requested resource"
    )
}

/// `242m`, `2`: as Go writes a quantity of thousandths.
fn thousandths(milli: i64) -> String {
    if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") }
}

/// groupPods: a pod's part in the calculation; None for one that is going.
fn look(api: &Api, now: Timestamp, pod: &Object, name: &str, container: Option<&str>, target: Target) -> Result<Option<Measured>, String> {
    let value = pod.value();
    let request = match target {
        Target::Utilization(_) => requested(pod, &value, name, container)?,
        Target::Average(_) => 0,
    };
    if pod.meta.deletion.is_some() || phase(&value) == "Failed" {
        return Ok(None);
    }
    let measured = |state, usage| Ok(Some(Measured { state, usage, request }));
    if phase(&value) == "Pending" {
        return measured(State::Unready, 0);
    }
    let usage = api.usage();
    let Some(used) = usage.pods.get(&key_of(pod)) else { return measured(State::Missing, 0) };
    let chosen = used.containers.iter().filter(|(one, _)| container.is_none_or(|wanted| wanted == one)).map(|(_, amounts)| amounts);
    let of = |amounts: &Amounts| if name == "memory" { amounts.memory.saturating_mul(1000) } else { amounts.milli_cpu };
    let usage_now = chosen.map(of).fold(0, i64::saturating_add);
    let unready = name == "cpu" && unready(&value, now, usage.at.unwrap_or(now));
    measured(if unready { State::Unready } else { State::Ready }, usage_now)
}

fn unready(pod: &Value, now: Timestamp, sampled: Timestamp) -> bool {
    let start = pod["status"]["startTime"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let (Some(start), Some(ready)) = (start, condition(pod, "Ready")) else { return true };
    let since = ready["lastTransitionTime"].as_str().and_then(|text| text.parse::<Timestamp>().ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    let not_ready = ready["status"] == "False";
    if start + CPU_INITIALIZATION > now { not_ready || sampled < since + RESOLUTION } else { not_ready && start + READINESS_DELAY > since }
}

/// What the pod's containers ask for, in thousandths.
fn requested(pod: &Object, value: &Value, name: &str, container: Option<&str>) -> Result<i64, String> {
    let sidecars = value["spec"]["initContainers"].as_array().into_iter().flatten().filter(|one| one["restartPolicy"] == "Always");
    let mut sum = 0_i64;
    for one in value["spec"]["containers"].as_array().into_iter().flatten().chain(sidecars) {
        let this = one["name"].as_str().unwrap_or_default();
        if container.is_some_and(|wanted| wanted != this) {
            continue;
        }
        let request = one["resources"]["requests"][name].as_str().and_then(|text| Quantity::parse(text).ok());
        let Some(request) = request else {
            return Err(format!("missing request for {name} in container {this} of Pod {}", pod.meta.name));
        };
        sum = sum.saturating_add(request.milli_value());
    }
    Ok(sum)
}

/// What is to be scaled.
fn target(api: &Api, hpa: &Value) -> Option<Arc<Object>> {
    let reference = &hpa["spec"]["scaleTargetRef"];
    let group = reference["apiVersion"].as_str().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
    let kind = api.store().kinds().find(|kind| kind.group == group && reference["kind"] == kind.kind.as_str() && kind.scale.is_some())?;
    let namespace = hpa["metadata"]["namespace"].as_str().unwrap_or_default();
    api.store().get(&kind.key, namespace, reference["name"].as_str().unwrap_or_default()).cloned()
}

fn set(hpa: &mut Value, now: Timestamp, kind: &str, holds: bool, (reason, message): (&str, &str)) {
    let status = if holds { "True" } else { "False" };
    set_condition(hpa, now, json!({ "type": kind, "status": status, "reason": reason, "message": message }));
}

fn write(api: &mut Api, now: Timestamp, hpa: &Object, next: &Value) {
    // Gone meanwhile: then nobody asks for its status.
    let _ = api.update_with(now, PLURAL, &hpa.meta.namespace, &hpa.meta.name, Some("status"), |hpa| hpa["status"] = next["status"].clone());
}
